//! The header is what the comments in the code make it: generated anew and compared.
//! `MOTESEAL_WRITE_HEADER=1 cargo test -p moteseal-capi --test header` writes it.

use std::fs;
use std::path::Path;

use moteseal::control::CONTROL_MAX_LEN;
use moteseal::delivery::Timing;
use moteseal::device::{CommandAge, Config};
use moteseal::number::DeviceId;
use moteseal::wire::{DATA_MAX_OVERHEAD, FLOOR_LEN, HELLO_OVERHEAD, RESET_MAX_LEN, WELCOME_MAX_LEN};

/// Enums are bytes and constants, for C and C++ alike: their own size would be the compiler's choice, and another one
/// with `-fshort-enums`.
fn simplify(header: &str) -> String {
    let mut lines = header.lines();
    let mut simple = String::new();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("enum ") {
            lines.by_ref().find(|line| *line == " {").expect("an enum begins");
            simple.extend(["typedef uint8_t ", name, ";\nenum {"]);
        } else if line == "#ifndef __cplusplus" {
            lines.by_ref().find(|line| *line == "#endif // __cplusplus").expect("a typedef ends");
            continue;
        } else {
            simple.push_str(&plain(line));
        }
        simple.push('\n');
    }
    // Errors are what one writes most. The text of any number can be asked for, which an enum of Rust does not take.
    simple
        .replace("MOTESEAL_ERROR_", "MOTESEAL_")
        .replace("_text(uint8_t error)", "_text(moteseal_error error)")
}

/// Types by their short names; they have tags all the same, so that they can be declared ahead.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    if line.starts_with("typedef") { line.to_owned() } else { line.replace("struct moteseal_", "moteseal_") }
}

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join("src").join(name)).unwrap();
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    config.header = Some(read("prologue.h").trim_end().to_owned());
    config.after_includes = Some(format!("\n{}", read("sizes.h").trim_end()));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["types.rs", "error.rs", "api.rs"] {
        builder = builder.with_src(root.join("src").join(file));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    simplify(&String::from_utf8(header).unwrap())
}

/// What stands behind `#define NAME`, up to the end of the line.
fn define<'a>(header: &'a str, name: &str) -> &'a str {
    let (_, behind) = header.split_once(&format!("#define {name} ")).unwrap_or_else(|| panic!("{name}"));
    behind.lines().next().unwrap_or_default()
}

/// The numbers that the header repeats from the protocol.
#[test]
fn the_numbers_of_the_header_are_those_of_the_crate() {
    let header = include_str!("../include/moteseal.h");
    let input_min = CONTROL_MAX_LEN + DATA_MAX_OVERHEAD;
    assert_eq!(define(header, "MOTESEAL_INPUT_MIN"), input_min.to_string());
    assert!(input_min >= WELCOME_MAX_LEN.max(FLOOR_LEN).max(RESET_MAX_LEN));
    assert_eq!(define(header, "MOTESEAL_PAYLOAD_MAX"), format!("(MOTESEAL_DATAGRAM_MAX - {HELLO_OVERHEAD})"));
    assert_eq!(define(header, "MOTESEAL_DEVICE_ID_LEN"), DeviceId::LEN.to_string());
    let Config { timing, command_age } = Config::default();
    let CommandAge::Report { bound_ms } = command_age else { panic!("the default is to report") };
    let Timing { answer_timeout_ms, repeats, hello_cap_ms, confirm_after_ms, confirm_every } = timing;
    let times = format!(
        "{answer_timeout_ms}, {hello_cap_ms}, {confirm_after_ms}, {bound_ms}, {confirm_every}, {repeats}, 0 "
    );
    assert!(header.contains(&times), "MOTESEAL_CONFIG_INIT should have {times}");
}

#[test]
fn the_header_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/moteseal.h");
    let generated = generate();
    if std::env::var_os("MOTESEAL_WRITE_HEADER").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let checked_in = fs::read_to_string(&path).unwrap();
    assert!(
        checked_in == generated,
        "include/moteseal.h is not what the code says; see the head of this test"
    );
}
