//! A life in another process: starts it, reads what it tells, ends it.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use moteseal::number::{Epoch, Salt, ServerSalt};

use crate::keys::Told;
use crate::life::{self, Lapse};

/// A process that has lived and waits to be searched.
pub struct Living {
    child: Child,
    /// What it has told.
    pub told: Told,
    /// An address on the stack of the device, and of the server.
    pub stacks: [usize; 2],
}

impl Living {
    /// Lives up to `phase`.
    pub fn start(directory: &Path, backend: &str, phase: usize, lapse: Lapse) -> Self {
        let program = env::current_exe().expect("it runs");
        let mut command = Command::new(program);
        command.arg("live").arg(directory).args([backend, &phase.to_string(), lapse.name()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let (told, stacks) = listen(&mut child);
        Self { child, told, stacks }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

/// Reads what the child tells, until it is ready.
fn listen(child: &mut Child) -> (Told, [usize; 2]) {
    let (mut told, mut stacks, mut hello) =
        (Told { r0: [life::R0; 16], ..Told::default() }, [0; 2], Vec::new());
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["stack", "device", address] => stacks[0] = address.parse().expect("a number"),
            ["stack", "server", address] => stacks[1] = address.parse().expect("a number"),
            [call @ ("send" | "poll" | "receive"), digits] => {
                let datagram = bytes(digits);
                if call != "receive" && kind(&datagram) == Some(4) {
                    hello.clone_from(&datagram);
                }
                told.calls.push((call.as_bytes()[0], datagram));
            }
            ["answer", digits] => {
                let answer = bytes(digits);
                if kind(&answer) == Some(5) {
                    told.sessions.push(session(&hello, &answer));
                }
            }
            ["ready"] => return (told, stacks),
            _ => panic!("the child says: {line}"),
        }
    }
    panic!("the child has failed");
}

/// What kind of datagram it is: 4 is a Hello, 5 a Welcome.
fn kind(datagram: &[u8]) -> Option<u8> {
    datagram.first().map(|byte| byte >> 4)
}

/// Which keys a session has: the generation, the epoch and the salts.
fn session(hello: &[u8], welcome: &[u8]) -> (u8, Epoch, Salt, ServerSalt) {
    let epoch = Epoch::from_bytes(hello[9..15].try_into().expect("six"));
    let salt = Salt(hello[15..21].try_into().expect("six"));
    (hello[0] >> 2 & 3, epoch, salt, ServerSalt(welcome[3..11].try_into().expect("eight")))
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(|pair| byte(pair).expect("two digits")).collect()
}
