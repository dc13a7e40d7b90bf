//! The memory of a microcontroller: the life of the device on the host is lived again by firmware in QEMU, call for call. It is
//! ended after every call in turn, and the RAM is searched as it was before the device was dropped and as it is
//! afterwards. What lies below the stack before the drop is what would be left if nothing wiped it.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use moteseal::boot_counter;

use crate::bounds;
use crate::child::Living;
use crate::keys;
use crate::life::{Lapse, PHASES};
use crate::memory::{self, Needle, Piece};

/// Where RAM begins, and where QEMU puts the flash and the script: as the firmware has it.
const RAM: usize = 0x2000_0000;
const FLASH: usize = 0x0010_0000;
const SCRIPT: usize = 0x0020_0000;
const PAGE: usize = 1024;
/// What the stack is painted with, a word.
const PAINT: u32 = 0xA5C3_96E1;

/// Firmware for a core, built in some way.
struct Firmware {
    name: String,
    machine: String,
    path: String,
}

/// A call of the device: its letter, and the datagram that it made or was given.
type Call = (u8, Vec<u8>);

/// Watches a life on every firmware that the standard input names: a name, a machine of QEMU's and a path in a line.
pub fn watch(directory: &Path, pieces: bool) -> Vec<String> {
    let firmwares: Vec<_> = io::stdin().lines().map(|line| Firmware::named(&line.expect("text"))).collect();
    fs::write(directory.join("flash"), flash()).expect("it can be written");
    let told = Living::start(directory, "portable", PHASES.len() - 1, Lapse::None).told.clone();
    let needles = keys::needles(&told);
    let mut faults = Vec::new();
    println!(
        "dropped after each of {} calls: the most bytes of stack, and of keys in RAM",
        told.calls.len() + 1
    );
    println!("{:6} {:>11}   {:^35}   {:^35}", "", "the calls", "before the drop", "after it");
    println!(
        "{:6} {:>11}   {:>11} {:>11} {:>11}   {:>11} {:>11} {:>11}",
        "", "reach", "keys", "one-time", "deepest", "reaches", "keys", "one-time"
    );
    for firmware in &firmwares {
        let lives = (0..=told.calls.len()).map(|calls| {
            let memory = Memory::of(firmware, directory, &told.calls[..calls], false, &needles);
            if pieces {
                println!("{} after {calls} calls", firmware.name);
                memory.tell();
            }
            memory
        });
        let most = Most::of(&lives.collect::<Vec<_>>());
        println!("{:6} {most}", firmware.name);
        faults.extend(most.faults(&firmware.name));
        let control = Memory::of(firmware, directory, &told.calls, true, &needles);
        faults.extend(
            control.blindness().map(|what| format!("{}: {what} was not found, and is there", firmware.name)),
        );
    }
    if firmwares.is_empty() {
        faults.push("no firmware was named".to_owned());
    }
    faults
}

/// The most of all lives.
#[derive(Default)]
struct Most {
    /// How far below the stack of the loop the calls of the device reach, the deepest piece of a key lies, and the drop reaches.
    called: usize,
    deepest: usize,
    wiped: usize,
    before: [Bytes; 2],
    after: [Bytes; 2],
}

/// The longest piece, and how many bytes all pieces have.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    longest: usize,
    sum: usize,
}
impl Firmware {
    fn named(line: &str) -> Self {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("a name, a machine and a path");
        Self { name: word(), machine: word(), path: word() }
    }

    /// Runs it; it writes its RAM into the directory.
    fn run(&self, directory: &Path) {
        let load = |name: &str, at: usize| {
            format!("loader,file={},addr={at:#x},force-raw=on", directory.join(name).display())
        };
        let mut command = Command::new("qemu-system-arm");
        command.current_dir(directory).stdin(Stdio::null());
        command.args(["-machine", &self.machine, "-kernel", &self.path, "-nographic", "-monitor", "none"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        command.args(["-device", &load("flash", FLASH), "-device", &load("script", SCRIPT)]);
        let done = command.output().expect("qemu-system-arm is installed");
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

/// What the firmware is to do with its device.
fn script(calls: &[Call], is_deep: bool) -> Vec<u8> {
    let mut script = vec![u8::from(is_deep)];
    for (call, datagram) in calls {
        script.extend([*call, u8::try_from(datagram.len()).expect("it is short")]);
        script.extend(datagram);
    }
    script.push(0);
    script
}

/// The RAM of one run.
struct Memory {
    /// Where the stack of the loop ends that calls the device and drops it.
    top: usize,
    /// How far below it nothing was called.
    bottom: usize,
    device: Range<usize>,
    before: Image,
    after: Image,
}

/// The RAM at one moment.
struct Image {
    ram: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Memory {
    fn of(firmware: &Firmware, directory: &Path, calls: &[Call], is_deep: bool, needles: &[Needle]) -> Self {
        fs::write(directory.join("script"), script(calls, is_deep)).expect("it can be written");
        firmware.run(directory);
        let ([top, bottom, start, end], before) = Image::read(&directory.join("before"), needles);
        let (_, after) = Image::read(&directory.join("after"), needles);
        Self { top, bottom, device: start..end, before, after }
    }

    fn tell(&self) {
        for (when, image) in [("before", &self.before), ("after", &self.after)] {
            for Piece { name, len, at, .. } in &image.pieces {
                let place = if self.stack().contains(at) {
                    format!("{} below", self.top - at)
                } else if self.device.contains(at) {
                    format!("at {} of the device", at - self.device.start)
                } else {
                    format!("at {at:#x}")
                };
                println!("    {when} {len:2} of {name} {place}");
            }
        }
    }

    /// What a search that sees must find in a device that was called deeper than its drop reaches: in the device before it
    /// is dropped, whole, and on the stack afterwards.
    fn blindness(&self) -> impl Iterator<Item = &'static str> {
        let has = |image: &Image, name: &str, shortest: usize, place: &Range<usize>| {
            let found = |piece: &Piece| {
                piece.name.starts_with(name) && piece.len >= shortest && place.contains(&piece.at)
            };
            image.pieces.iter().any(found)
        };
        let (device, stack) = (&self.device, &self.stack());
        [
            ("the up key in a device", has(&self.before, "up key", 32, device)),
            ("the down key in a device", has(&self.before, "down key", 32, device)),
            ("a key on the stack", has(&self.after, "down key", memory::SHORTEST, stack)),
        ]
        .into_iter()
        .filter_map(|(what, is_found)| (!is_found).then_some(what))
    }

    /// Pieces before the drop that are not in use in the device.
    fn lost(&self) -> impl Iterator<Item = &Piece> {
        self.before.pieces.iter().filter(|piece| !self.device.contains(&piece.at))
    }

    fn stack(&self) -> Range<usize> {
        self.bottom..self.top
    }

    /// How deep the calls of the device went.
    fn called(&self) -> Option<usize> {
        self.stack().step_by(4).find(|at| self.before.word(*at) != PAINT)
    }

    /// How deep the drop went.
    fn wiped(&self) -> Option<usize> {
        self.stack().step_by(4).find(|at| self.before.word(*at) != self.after.word(*at))
    }
}

impl Image {
    fn read(path: &Path, needles: &[Needle]) -> ([usize; 4], Self) {
        let file = fs::read(path).expect("the firmware has written it");
        let (places, ram) = file.split_at(16);
        let places = std::array::from_fn(|at| word(places, 4 * at) as usize);
        (places, Self { ram: ram.to_vec(), pieces: memory::search_ram(ram, RAM, needles) })
    }

    fn word(&self, at: usize) -> u32 {
        word(&self.ram, at - RAM)
    }
}

impl Bytes {
    fn of<'p>(pieces: impl Iterator<Item = &'p Piece>) -> Self {
        pieces.fold(Self::default(), |Self { longest, sum }, piece| Self {
            longest: longest.max(piece.len),
            sum: sum + piece.len,
        })
    }

    fn max(self, other: Self) -> Self {
        Self { longest: self.longest.max(other.longest), sum: self.sum.max(other.sum) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} / {}", self.longest, self.sum))
    }
}

impl Most {
    fn of(lives: &[Memory]) -> Self {
        lives.iter().fold(Self::default(), |most, life| {
            let below = |at: Option<usize>| at.map_or(0, |at| life.top - at);
            let deepest = life.lost().map(|piece| piece.at).filter(|at| life.stack().contains(at)).min();
            let kinds = [false, true];
            let before = kinds.map(|kind| Bytes::of(life.lost().filter(|piece| piece.is_one_time() == kind)));
            let after = kinds
                .map(|kind| Bytes::of(life.after.pieces.iter().filter(|piece| piece.is_one_time() == kind)));
            Self {
                called: most.called.max(below(life.called())),
                deepest: most.deepest.max(below(deepest)),
                wiped: most.wiped.max(below(life.wiped())),
                before: [0, 1].map(|kind| most.before[kind].max(before[kind])),
                after: [0, 1].map(|kind| most.after[kind].max(after[kind])),
            }
        })
    }

    fn faults(&self, firmware: &str) -> Vec<String> {
        let bounds = bounds::metal(firmware);
        let (called, deepest, wiped) = (self.called, self.deepest, self.wiped);
        let mut faults = Vec::new();
        for (what, left, most) in
            [("keys", self.after[0], bounds.keys), ("one-time keys", self.after[1], bounds.one_time)]
        {
            if left.longest > most.longest || left.sum > most.sum {
                faults.push(format!("{firmware}: {left} of {what}, and {most:?} is allowed"));
            }
        }
        if wiped > called {
            faults.push(format!("{firmware}: a drop reaches {wiped}, and no call is deeper than {called}"));
        }
        if bounds.margin.is_some_and(|margin| wiped < deepest + margin) {
            faults.push(format!("{firmware}: a drop reaches {wiped}, and a key lies {deepest} deep"));
        }
        faults
    }
}

impl fmt::Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([keys, one_time], [keys_left, one_time_left]) = (self.before, self.after);
        write!(f, "{:11}   {keys:>11} {one_time:>11} {:11}   ", self.called, self.deepest)?;
        write!(f, "{:11} {keys_left:>11} {one_time_left:>11}", self.wiped)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"))
}
