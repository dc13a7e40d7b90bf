//! QEMU as a child process: started on a flash file, killed at any moment, and heard line by line.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::PATIENCE;

/// What an environment variable says; there is no test without it.
fn variable(name: &str, example: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, for instance to {example}"))
}

/// The firmware in QEMU. Dropped, it is killed.
pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    /// Everything that was told.
    pub told: Vec<String>,
}

impl Machine {
    /// Starts it, with telemetry every so many milliseconds.
    pub fn start(flash: &Path, server: SocketAddr, every_ms: u32) -> Self {
        Self::spawn(qemu(flash, server, every_ms))
    }

    /// Starts it on a flash file that cannot be written: the kernel refuses each write.
    pub fn start_unwritable(flash: &Path, server: SocketAddr, every_ms: u32) -> Self {
        let qemu = qemu(flash, server, every_ms);
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
        command.arg(qemu.get_program()).args(qemu.get_args());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("qemu-system-arm can be started");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Until QEMU ends, whether anybody listens or not.
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Self { child, lines, told: Vec::new() }
    }

    /// The next line that begins with these words: what follows them.
    pub fn expect(&mut self, words: &str) -> String {
        self.wait_for(words, PATIENCE).unwrap_or_else(|| panic!("no {words} after {:#?}", self.told))
    }

    pub fn wait_for(&mut self, words: &str, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            let rest = line.strip_prefix(words).map(|rest| rest.trim_start().to_owned());
            self.take(line);
            if rest.is_some() {
                return rest;
            }
        }
    }

    /// Everything that is told within this time.
    pub fn listen(&mut self, patience: Duration) -> Vec<String> {
        let (end, before) = (Instant::now() + patience, self.told.len());
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.take(line);
        }
        self.told[before..].to_vec()
    }

    /// Only what is documented is told.
    fn take(&mut self, line: String) {
        const WORDS: [&str; 13] = [
            "device ",
            "sent ",
            "session ",
            "acknowledged ",
            "unknown ",
            "unsent ",
            "command ",
            "stale ",
            "reset",
            "key taken ",
            "rotated",
            "closed",
            "stopped: ",
        ];
        assert!(WORDS.iter().any(|word| line.starts_with(word)), "told: {line}");
        self.told.push(line);
    }

    /// SIGKILL, as good as a power cut; everything that it told, to the last.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest()
    }

    /// How it ends by itself, and everything that it told.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it goes on: {:#?}", self.listen(Duration::ZERO));
            thread::sleep(Duration::from_millis(10));
        };
        (status, self.rest())
    }

    fn rest(&mut self) -> Vec<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Disconnected) => return std::mem::take(&mut self.told),
                Err(RecvTimeoutError::Timeout) => panic!("the output of a QEMU that has ended stays open"),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command line of QEMU.
fn qemu(flash: &Path, server: SocketAddr, every_ms: u32) -> Command {
    let elf = PathBuf::from(variable("MOTESEAL_FIRMWARE", "the ELF that examples/firmware builds"));
    assert!(elf.is_file(), "MOTESEAL_FIRMWARE: {} is no file", elf.display());
    let machine = variable("MOTESEAL_MACHINE", "mps2-an386");
    let address = if machine == "mps2-an505" { "0x10300000" } else { "0x00300000" };
    let (flash, port) = (flash.display(), server.port());
    let mut command = Command::new("qemu-system-arm");
    command.args(["-machine", &machine, "-display", "none", "-monitor", "none", "-serial", "none"]);
    command.args(["-netdev", "user,id=n0", "-net", "nic,netdev=n0", "-chardev", "stdio,id=console"]);
    command.arg("-semihosting-config").arg(format!(
        "enable=on,target=native,chardev=console,arg=firmware,arg=flash={flash},arg=server=10.0.2.2:{port},\
         arg=every={every_ms}"
    ));
    command.arg("-device").arg(format!("loader,file={flash},addr={address},force-raw=on"));
    command.arg("-kernel").arg(elf);
    command
}
