//! The memory of a microcontroller: the life of the device on the host is lived again by firmware in QEMU, call for call. It is
//! ended after every call in turn, and the RAM is searched as it was before the device was dropped and as it is
//! afterwards. What lies below the stack before the drop is what would be left if nothing wiped it.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::bounds;
use crate::child::Living;
use crate::firmware::{Call, Ending, Firmware};
use crate::keys;
use crate::life::{Lapse, PHASES};
use crate::memory::{self, Needle, Piece};

/// Where RAM begins.
const RAM: usize = 0x2000_0000;
/// What the stack is painted with, a word.
const PAINT: u32 = 0xA5C3_96E1;

/// Watches a life on every firmware that the standard input names: a name, a machine of QEMU's and a path in a line.
pub fn watch(directory: &Path, pieces: bool) -> Vec<String> {
    let firmwares: Vec<_> = io::stdin().lines().map(|line| Firmware::named(&line.expect("text"))).collect();
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
        let life = |calls: usize, ending: Ending| {
            let memory = Memory::of(firmware, directory, &told.calls[..calls], ending, &needles);
            if pieces {
                println!("{} after {calls} calls, {ending:?}", firmware.name);
                memory.tell();
            }
            memory
        };
        let all = told.calls.len();
        let most = Most::of(&(0..=all).map(|calls| life(calls, Ending::Dropped)).collect::<Vec<_>>());
        println!("{:6} {most}", firmware.name);
        faults.extend(most.faults(&firmware.name));
        faults.extend(too_much(&firmware.name, Bytes::both(&life(all, Ending::Living).below())));
        let unseen = life(all, Ending::Deep).unseen();
        faults.extend(unseen.map(|what| format!("{}: {what} was not found, and is there", firmware.name)));
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
    fn of(firmware: &Firmware, directory: &Path, calls: &[Call], ending: Ending, needles: &[Needle]) -> Self {
        firmware.run(directory, calls, ending);
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

    /// A control, for a device that was called deeper than its drop reaches: what must be found, whole in the device before it
    /// is dropped, and on the stack afterwards, and is not.
    fn unseen(&self) -> impl Iterator<Item = &'static str> + use<> {
        let has = |image: &Image, name: &str, shortest: usize, place: Range<usize>| {
            let found = |piece: &Piece| {
                piece.name.starts_with(name) && piece.len >= shortest && place.contains(&piece.at)
            };
            image.pieces.iter().any(found)
        };
        [
            ("the up key in a device", has(&self.before, "up key", 32, self.device.clone())),
            ("the down key in a device", has(&self.before, "down key", 32, self.device.clone())),
            ("a key on the stack", has(&self.after, "down key", memory::SHORTEST, self.stack())),
        ]
        .into_iter()
        .filter_map(|(what, is_found)| (!is_found).then_some(what))
    }

    /// Pieces before the drop that are not in use in the device.
    fn lost(&self) -> impl Iterator<Item = &Piece> + Clone {
        self.before.pieces.iter().filter(|piece| !self.device.contains(&piece.at))
    }

    /// Pieces on the stack at the end.
    fn below(&self) -> impl Iterator<Item = &Piece> + Clone {
        self.after.pieces.iter().filter(|piece| self.stack().contains(&piece.at))
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

/// What of keys and of one-time keys is more than the bounds allow.
fn too_much(firmware: &str, [keys, one_time]: [Bytes; 2]) -> impl Iterator<Item = String> {
    let bounds = bounds::metal(firmware);
    [("keys", keys, bounds.keys), ("one-time keys", one_time, bounds.one_time)]
        .into_iter()
        .filter(|(_, left, most)| left.longest > most.longest || left.sum > most.sum)
        .map(move |(what, left, most)| format!("{firmware}: {left} of {what}, and {most:?} is allowed"))
}

impl Bytes {
    /// Of keys, and of one-time keys.
    fn both<'p>(pieces: &(impl Iterator<Item = &'p Piece> + Clone)) -> [Self; 2] {
        [false, true].map(|kind| Self::of(pieces.clone().filter(|piece| piece.is_one_time() == kind)))
    }

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
            let (before, after) = (Bytes::both(&life.lost()), Bytes::both(&life.after.pieces.iter()));
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
        let mut faults: Vec<_> = too_much(firmware, self.after).collect();
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
