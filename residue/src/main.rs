//! What is left of keys in the memory of a process once everything is dropped. A child lives the life of a device and its
//! server up to some point and drops both; this process searches all that the child can write for every key of that life.
//! Exits with 1 if more is left than [`bounds`] allows, or if a control is not found.

mod actor;
mod bounds;
mod keys;
mod life;
mod memory;

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use moteseal::aead::{Portable, Ring};
use moteseal::number::{Epoch, Salt, ServerSalt};

use bounds::Place;
use keys::Told;
use memory::Piece;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["live", directory, backend, phase, left] => live(Path::new(directory), backend, phase, left),
        [] => watch(false),
        ["--pieces"] => watch(true),
        _ => ExitCode::from(2),
    }
}

fn live(directory: &Path, backend: &str, phase: &str, left: &str) -> ExitCode {
    let phase = phase.parse().expect("a number");
    let run = if backend == "ring" { life::run::<Ring> } else { life::run::<Portable> };
    run(directory, phase, left == "leave", left == "keep");
    ExitCode::SUCCESS
}

/// Watches every life, and holds what is left to the bounds.
fn watch(pieces: bool) -> ExitCode {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let mut faults = controls(directory.path());
    println!("the longest piece of a key, and bytes in all, that are left on or in");
    println!(
        "{:8} {:16} {:>14} {:>14} {:>14} {:>14}",
        "", "dropped after", "device's stack", "server's stack", "heap, globals", "one-time keys"
    );
    for backend in ["portable", "ring"] {
        for (phase, name) in life::PHASES.iter().enumerate() {
            let left = Left::of(directory.path(), backend, phase, "");
            print!("{backend:8} {name:16}");
            for place in Place::ALL {
                let (longest, sum) = left.in_place(place);
                print!(" {:>14}", format!("{longest} / {sum}"));
                let most = bounds::most(backend, phase, place);
                if longest > most.longest || sum > most.sum {
                    faults.push(format!(
                        "{backend}, {name}: {longest} / {sum} in {place:?}, and {most:?} is allowed"
                    ));
                }
            }
            let (longest, sum) = left.of_one_time_keys();
            println!(" {:>14}", format!("{longest} / {sum}"));
            let most = bounds::one_time(backend, phase);
            if longest > most.longest || sum > most.sum {
                faults.push(format!(
                    "{backend}, {name}: {longest} / {sum} of one-time keys, and {most:?} is allowed"
                ));
            }
            if pieces {
                left.tell();
            }
        }
    }
    for fault in &faults {
        println!("FAULT {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What must be found, or nothing that is not found means anything: an image that was left, and keys that are in use.
fn controls(directory: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (left, phase, place, name) in [
        ("leave", 0, Place::Elsewhere, "device key 1"),
        ("leave", 0, Place::Elsewhere, "rotation key"),
        ("keep", 3, Place::Elsewhere, "up key"),
        ("keep", 3, Place::Elsewhere, "down key"),
    ] {
        let found = Left::of(directory, "portable", phase, left);
        let whole =
            |piece: &&Piece| piece.name.starts_with(name) && piece.len == 32 && found.place(piece) == place;
        let count = found.pieces.iter().filter(whole).count();
        println!("control: {name}, {left}: {count} found in {place:?}");
        if count == 0 {
            faults.push(format!("{name} was not found, and is there"));
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

/// What was left in one child.
struct Left {
    pieces: Vec<Piece>,
    /// An address on the stack of the device, and of the server.
    stacks: [usize; 2],
}

impl Left {
    fn of(directory: &Path, backend: &str, phase: usize, left: &str) -> Self {
        let program = env::current_exe().expect("it runs");
        let mut command = Command::new(program);
        command.arg("live").arg(directory).args([backend, &phase.to_string(), left]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let (told, stacks) = listen(&mut child);
        let pieces = memory::search(child.id(), &keys::needles(&told)).expect("a child may be read");
        drop(child.stdin.take());
        child.wait().expect("it ends");
        Self { pieces, stacks }
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
        self.sum(|piece| self.place(piece) == place && !piece.name.starts_with(keys::ONE_TIME))
    }

    /// The same of the one-time keys, anywhere.
    fn of_one_time_keys(&self) -> (usize, usize) {
        self.sum(|piece| piece.name.starts_with(keys::ONE_TIME))
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

/// Reads what the child tells, until it is ready.
fn listen(child: &mut Child) -> (Told, [usize; 2]) {
    let (mut told, mut stacks, mut hello) = (Told { r0: [life::R0; 16], ..Told::default() }, [0; 2], None);
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["stack", "device", address] => stacks[0] = address.parse().expect("a number"),
            ["stack", "server", address] => stacks[1] = address.parse().expect("a number"),
            ["hello", digits] => hello = Some(bytes(digits)),
            ["welcome", digits] => {
                let (hello, welcome) = (hello.as_ref().expect("it came before"), bytes(digits));
                let epoch = Epoch::from_bytes(hello[9..15].try_into().expect("six"));
                let salt = Salt(hello[15..21].try_into().expect("six"));
                let server_salt = ServerSalt(welcome[3..11].try_into().expect("eight"));
                told.sessions.push((hello[0] >> 2 & 3, epoch, salt, server_salt));
            }
            _ => break,
        }
    }
    (told, stacks)
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).expect("two digits")).collect()
}
