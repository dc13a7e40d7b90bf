//! Every error of the header has a text of its own.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::path::Path;

use moteseal_capi::api::moteseal_error_text;

fn text(error: u8) -> &'static str {
    // SAFETY: never NULL, static, and it ends with a zero.
    unsafe { CStr::from_ptr(moteseal_error_text(error)) }.to_str().unwrap()
}

/// The numbers in the header's enum of errors.
fn numbers() -> Vec<u8> {
    let header =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/moteseal.h")).unwrap();
    let (_, errors) = header.split_once("typedef uint8_t moteseal_error;").unwrap();
    let (errors, _) = errors.split_once("};").unwrap();
    let number = |line: &str| Some(line.split_once(" = ")?.1.trim_end_matches(',').parse().unwrap());
    errors.lines().filter_map(number).collect()
}

#[test]
fn each_error_has_a_text_that_says_what_to_do() {
    let numbers = numbers();
    assert!(numbers.len() > 30, "{numbers:?}");
    let nothing = text(200);
    let texts: HashSet<_> = numbers.iter().map(|number| text(*number)).collect();
    assert_eq!(texts.len(), numbers.len(), "two errors have one text");
    assert!(!texts.contains(nothing), "an error has no text");
    for number in numbers.iter().filter(|number| **number != 0) {
        assert!(text(*number).contains(": "), "{}: what to do?", text(*number));
    }
    for number in (0..=u8::MAX).filter(|number| !numbers.contains(number)) {
        assert_eq!(text(number), nothing);
    }
}
