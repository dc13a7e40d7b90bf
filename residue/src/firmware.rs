//! Firmware in QEMU: starts it beside a flash and a script of what happens to its device, from which it writes its RAM into files.
//! The addresses and numbers here are those of the firmware, `benches/cortex-m/src/bin/residue`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use moteseal::boot_counter;

use crate::keys;

/// Where QEMU puts the flash and the script.
const FLASH: usize = 0x0010_0000;
const SCRIPT: usize = 0x0020_0000;
const PAGE: usize = 1024;

/// A call of the device: its letter, and the datagram that it made or was given.
pub type Call = (u8, Vec<u8>);

/// Firmware for a core, built in some way.
pub struct Firmware {
    /// The core, and the level of optimization.
    pub name: String,
    machine: String,
    path: String,
}

impl Firmware {
    /// From a line: a name, a machine of QEMU's and a path.
    pub fn named(line: &str) -> Self {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("a name, a machine and a path");
        Self { name: word(), machine: word(), path: word() }
    }

    /// Lives through these calls. Its RAM stands in the directory then, as it was `before` the end and `after` it.
    pub fn run(&self, directory: &Path, calls: &[Call], ending: Ending) {
        fs::write(directory.join("flash"), flash()).expect("it can be written");
        fs::write(directory.join("script"), script(calls, ending)).expect("it can be written");
        let load = |name: &str, at: usize| {
            format!("loader,file={},addr={at:#x},force-raw=on", directory.join(name).display())
        };
        let mut command = Command::new("timeout");
        command.current_dir(directory).stdin(Stdio::null()).args(["60", "qemu-system-arm"]);
        command.args(["-machine", &self.machine, "-kernel", &self.path, "-nographic", "-monitor", "none"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        command.args(["-device", &load("flash", FLASH), "-device", &load("script", SCRIPT)]);
        let done = command.output().expect("coreutils are there");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{} has failed: {said}", self.name);
    }
}

/// What the factory writes, and the first boot count behind it.
fn flash() -> Vec<u8> {
    let mut flash = vec![0xFF; 5 * PAGE];
    let page = u32::try_from(PAGE).expect("it is short");
    for (offset, part) in keys::image().parts(page) {
        flash[offset as usize..][..64].copy_from_slice(part.expose());
    }
    let entry = boot_counter::entry(0);
    flash[3 * PAGE..][..entry.len()].copy_from_slice(&entry);
    flash
}

/// How a device ends: by the numbers that the firmware knows.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// Dropped.
    Dropped = 0,
    /// Dropped, and called before from deeper than a drop wipes.
    Deep = 1,
    /// It lives on, and the stack is wiped.
    Living = 2,
}

/// What the firmware is to do with its device.
fn script(calls: &[Call], ending: Ending) -> Vec<u8> {
    let mut script = vec![ending as u8];
    for (call, datagram) in calls {
        script.extend([*call, u8::try_from(datagram.len()).expect("it is short")]);
        script.extend(datagram);
    }
    script.push(0);
    script
}
