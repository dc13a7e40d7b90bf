//! The committed test vectors are what their generator makes. It is Python, on the package `cryptography`. Where that
//! is not installed the check cannot be made, and says so; CI sets `MOTESEAL_REQUIRE_PYTHON=1`, and then it fails.

use std::path::Path;
use std::process::Command;

const REQUIRE: &str = "MOTESEAL_REQUIRE_PYTHON";

#[test]
fn the_vectors_are_what_the_generator_makes() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors");
    let python = |args: &[&str]| {
        let output = Command::new("python3").args(args).current_dir(&vectors).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    };
    if python(&["-B", "-c", "import cryptography"]).is_none_or(|(found, _)| !found) {
        let missing = "the test vectors were not compared with their generator: install Python 3 and \
                       `pip install -r test-vectors/requirements.txt`";
        assert!(std::env::var_os(REQUIRE).is_none(), "{missing}");
        eprintln!("NOT CHECKED: {missing}");
        return;
    }
    let (same, text) = python(&["-B", "generate.py", "--check"]).expect("it ran a moment ago");
    assert!(
        same,
        "{text}\na committed file differs; run `python3 test-vectors/generate.py` and commit what it writes"
    );
}
