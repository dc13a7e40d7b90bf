//! The committed test vectors are what their generator makes. It is Python, on the package `cryptography`.

use std::path::Path;
use std::process::Command;

/// Set to 1 where there is no Python.
const SKIP: &str = "MOTESEAL_SKIP_PYTHON";

#[test]
fn the_vectors_are_what_the_generator_makes() {
    if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
        println!("NOT CHECKED: {SKIP}=1, so the test vectors were not compared with their generator");
        return;
    }
    let install = format!(
        "install Python 3 and `pip install -r test-vectors/requirements.txt`, or set {SKIP}=1 to leave this out"
    );
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors");
    let python = |args: &[&str]| {
        let output = Command::new("python3").args(args).current_dir(&vectors).output();
        let output = output.unwrap_or_else(|error| panic!("python3: {error}; {install}"));
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (found, text) = python(&["-B", "-c", "import cryptography"]);
    assert!(found, "{text}\nthe Python package `cryptography` is missing; {install}");
    let (same, text) = python(&["-B", "generate.py", "--check"]);
    assert!(
        same,
        "{text}\na committed file differs; run `python3 test-vectors/generate.py` and commit what it writes"
    );
}
