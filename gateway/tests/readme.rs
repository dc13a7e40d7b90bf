//! The README's lines about the program are the program's own, and its tutorial works.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const MOTESEAL: &str = env!("CARGO_BIN_EXE_moteseal");

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).expect("the README is there")
}

/// Whether the README has a text block that is the end of this command's `--help`, from a line that begins so.
fn shows_help_of(command: &str, from: &str) -> bool {
    let help = Command::new(MOTESEAL).args([command, "--help"]).output().expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let start = help.find(from).expect("help has this line");
    readme().contains(&format!("```text\n{}\n```", help[start..].trim_end()))
}

#[test]
fn the_readme_shows_what_serve_and_device_tell() {
    assert!(
        shows_help_of("serve", "Events: one JSON object a line"),
        "copy `moteseal serve --help` into README.md"
    );
    assert!(shows_help_of("device", "Each line of stdin"), "copy `moteseal device --help` into README.md");
}

#[test]
fn the_tutorial_of_the_readme_works() {
    let readme = readme();
    let blocks: Vec<&str> =
        readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [_, gateway, device] = blocks[..] else { panic!("two commands, then the tutorial in two terminals") };
    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(MOTESEAL).parent().expect("it lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(directory.path()).env("PATH", &path).stdout(Stdio::piped());
        shell
    };
    // Any free port, so that two runs do not meet.
    let gateway =
        gateway.replace("127.0.0.1:4242", "127.0.0.1:0").replace("moteseal serve", "exec moteseal serve");
    let mut gateway = shell(&gateway).stdin(Stdio::piped()).spawn().expect("a shell runs");
    let mut lines = BufReader::new(gateway.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, rest) = line.split_once("\"addr\":\"127.0.0.1:")?;
        Some(rest.split('"').next()?.to_owned())
    });
    let device = device.replace("4242", &port.expect("the gateway tells its port"));
    let device = shell(&device).output().expect("a shell runs");
    let told = String::from_utf8(device.stdout).expect("events are text");
    drop(gateway.stdin.take());
    gateway.kill().expect("it runs");
    gateway.wait().expect("it ends");
    assert!(device.status.success(), "{told}");
    for event in ["\"event\":\"acknowledged\"", "\"event\":\"queued\"", "\"queued\":1"] {
        assert!(told.contains(event), "{event} in {told}");
    }
}
