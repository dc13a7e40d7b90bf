//! What is left of keys in the memory of a process once everything is dropped. A child lives the life of a device and its
//! server up to some point and drops both; this process searches all that the child can write for every key of that life.
//! Exits with 1 if anything is left, on a microcontroller if it is more than [`bounds`] allows, or if a control is not found.

mod actor;
mod bounds;
mod child;
mod firmware;
mod keys;
mod life;
mod memory;
mod metal;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use moteseal::aead::{Portable, Ring};

use child::Living;
use life::Lapse;
use memory::Piece;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let ["live", directory, backend, phase, lapse] = arguments[..] {
        live(Path::new(directory), backend, phase, lapse);
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let faults = match arguments[..] {
        [] => watch(directory.path(), false),
        ["--pieces"] => watch(directory.path(), true),
        ["metal"] => metal::watch(directory.path(), false),
        ["metal", "--pieces"] => metal::watch(directory.path(), true),
        _ => return ExitCode::from(2),
    };
    for fault in &faults {
        println!("FAULT {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn live(directory: &Path, backend: &str, phase: &str, lapse: &str) {
    let phase = phase.parse().expect("a number");
    let lapse = Lapse::ALL.into_iter().find(|one| one.name() == lapse).expect("there is one of that name");
    let run = if backend == "ring" { life::run::<Ring> } else { life::run::<Portable> };
    run(directory, phase, lapse);
}

/// Watches every life. Nothing may be left.
fn watch(directory: &Path, pieces: bool) -> Vec<String> {
    let mut faults = controls(directory);
    println!("the longest piece of a key, and bytes in all, that are left on or in");
    println!(
        "{:8} {:16} {:>14} {:>14} {:>14} {:>14}",
        "", "dropped after", "device's stack", "server's stack", "heap, globals", "one-time keys"
    );
    for backend in ["portable", "ring"] {
        for (phase, name) in life::PHASES.iter().enumerate() {
            let left = Left::of(directory, backend, phase, Lapse::None);
            print!("{backend:8} {name:16}");
            for (longest, sum) in Place::ALL.map(|place| left.in_place(place)) {
                print!(" {:>14}", format!("{longest} / {sum}"));
            }
            let (longest, sum) = left.of_one_time_keys();
            println!(" {:>14}", format!("{longest} / {sum}"));
            if !left.pieces.is_empty() {
                faults.push(format!("{backend}, {name}: keys are left, and none may be"));
            }
            if pieces {
                left.tell();
            }
        }
    }
    faults
}

/// What must be found, or nothing that is not found means anything: an image that was left, keys that are in use, and what
/// a drop does not reach on the stack.
fn controls(directory: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let (image, halves, depths) = (Lapse::Image, Lapse::Halves, Lapse::Depths);
    for (lapse, phase, place, name, shortest) in [
        (image, 0, Place::Elsewhere, "device key 1", 32),
        (image, 0, Place::Elsewhere, "rotation key", 32),
        (halves, 3, Place::Elsewhere, "up key", 32),
        (halves, 3, Place::Elsewhere, "down key", 32),
        (depths, 3, Place::Device, "down key", memory::SHORTEST),
        (depths, 3, Place::Server, "device key", memory::SHORTEST),
    ] {
        let found = Left::of(directory, "portable", phase, lapse);
        let counts = |piece: &&Piece| {
            piece.name.starts_with(name) && piece.len >= shortest && found.place(piece) == place
        };
        let (count, lapse) = (found.pieces.iter().filter(counts).count(), lapse.name());
        println!("control: {name}, {lapse}: {count} found in {place:?}");
        if count == 0 {
            faults.push(format!("{name}, {lapse}: not found in {place:?}, and is there"));
        }
    }
    faults
}

/// The files that the child reads. In the parts of an image lie the keys.
fn write(directory: &Path) {
    let mut image = vec![0xFF; 3 * 128];
    for (offset, part) in keys::image().parts(128) {
        let at = offset as usize;
        image[at..at + 64].copy_from_slice(part.expose());
    }
    std::fs::write(directory.join("image"), image).expect("it can be written");
    std::fs::write(directory.join("record"), keys::record().encode().expose()).expect("it can be written");
}

/// Where something is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On the stack of the device.
    Device,
    /// On the stack of the server.
    Server,
    /// In the heap, in globals, or on another stack.
    Elsewhere,
}

impl Place {
    /// All of them.
    const ALL: [Self; 3] = [Self::Device, Self::Server, Self::Elsewhere];
}

/// What was left in one child.
struct Left {
    pieces: Vec<Piece>,
    /// An address on the stack of the device, and of the server.
    stacks: [usize; 2],
}

impl Left {
    fn of(directory: &Path, backend: &str, phase: usize, lapse: Lapse) -> Self {
        let living = Living::start(directory, backend, phase, lapse);
        let pieces = memory::search(living.id(), &keys::needles(&living.told)).expect("a child may be read");
        Self { pieces, stacks: living.stacks }
    }

    fn place(&self, piece: &Piece) -> Place {
        // A stack of 1 MiB, of which the address is near the top.
        let on = |stack: usize| (stack - (1 << 20)..stack + 8192).contains(&piece.at);
        match self.stacks {
            [device, _] if on(device) => Place::Device,
            [_, server] if on(server) => Place::Server,
            _ => Place::Elsewhere,
        }
    }

    /// The longest piece of a key in one place, and how many bytes all pieces there are.
    fn in_place(&self, place: Place) -> (usize, usize) {
        self.sum(|piece| self.place(piece) == place && !piece.is_one_time())
    }

    /// The same of the one-time keys, anywhere.
    fn of_one_time_keys(&self) -> (usize, usize) {
        self.sum(Piece::is_one_time)
    }

    fn sum(&self, counts: impl Fn(&Piece) -> bool) -> (usize, usize) {
        let lengths = || self.pieces.iter().filter(|piece| counts(piece)).map(|piece| piece.len);
        (lengths().max().unwrap_or(0), lengths().sum())
    }

    fn tell(&self) {
        for piece in &self.pieces {
            let Piece { name, len, at, mapping } = piece;
            let below = self.stacks.map(|stack| stack.wrapping_sub(*at)).into_iter().min().unwrap_or(0);
            println!("    {len:2} of {name} in {:?} {mapping} {below:#x} below", self.place(piece));
        }
    }
}
