//! What only these tests want of a gateway's directory: invented devices, starts that fail, copies.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::gateway::{Gateway, Site};
use crate::mote::Mote;

impl Site {
    /// With a registry of devices 1 to `count`.
    pub fn new(count: u8) -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        site.register(1..=count);
        site
    }

    pub fn register(&self, numbers: impl IntoIterator<Item = u8>) {
        let mut registry = String::from("device_id,generation,device_key\n");
        let mut rotation = String::from("device_id,rotation_key\n");
        for mote in numbers.into_iter().map(Mote::new) {
            writeln!(registry, "{},1,{}", mote.id, hex::encode(mote.key.expose())).unwrap();
            writeln!(rotation, "{},{}", mote.id, hex::encode(mote.rotation_key.expose())).unwrap();
        }
        fs::write(self.registry(), registry).unwrap();
        fs::write(self.rotation_keys(), rotation).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.store().join(name)
    }

    pub fn start(&self) -> Gateway {
        Gateway::start(self.serve_command())
    }

    /// A start that must fail: what it says on stderr.
    pub fn fail_to_start(&self) -> String {
        failure(self.serve_command())
    }
}

/// What a program says that must fail without an event.
pub fn failure(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
