//! `moteseal demo`, short: every promise is kept, everything of the schedule happens, nothing stays behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_moteseal");

#[test]
fn every_promise_is_kept_and_nothing_stays_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--seconds", "6", "--devices", "12", "--seed", "1"];
    let output = Command::new(BINARY).args(arguments).env("TMPDIR", temporary.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.ends_with("every promise was kept\n"), "{stdout}");
    for row in ["duplicates", "forgeries accepted", "devices locked out", "nonces reused"] {
        let line = stdout.lines().find(|line| line.trim_start().starts_with(row)).unwrap();
        assert!(line.ends_with(" 0"), "{line}");
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_run_cleans_up_and_judges_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = Command::new(BINARY)
        .args(["demo", "--devices", "4", "--seed", "1"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while fs::read_dir(temporary.path()).unwrap().count() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn what_is_out_of_range_is_refused() {
    for arguments in [["--seconds", "4"], ["--devices", "3"], ["--devices", "1001"], ["--seed", "-1"]] {
        let output = Command::new(BINARY).arg("demo").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
