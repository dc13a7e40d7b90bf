//! The gateway: a process of its own, `moteseal serve`, whose lines are read to the last one however it ends. It is
//! started, killed, stopped, backed up and restored by nothing but what an operator has. What it says goes to the
//! auditor.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use moteseal::number::{DeviceId, Epoch, SequenceNumber};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::auditor::{Auditor, Word};
use super::lock;
use super::promise::Promise;
use super::tally::{Fault, Tally};
use crate::registry::parse_device_id;

/// How long a gateway may take to start or to stop, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of the gateway, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Listening {
        addr: SocketAddr,
    },
    Early {
        device: String,
        epoch: String,
        payload: String,
    },
    Data {
        device: String,
        epoch: String,
        seq: u16,
        payload: String,
    },
    Queued {
        device: String,
        command: u64,
    },
    Acknowledged {
        command: u64,
    },
    Unknown {
        command: u64,
        requeued: bool,
    },
    Expired {
        command: u64,
    },
    Refused {
        device: Option<String>,
        command: Option<u64>,
        reason: String,
    },
    Revoked {
        device: String,
    },
    RotationBegun {
        device: String,
    },
    RotationFinished {
        device: String,
    },
    Rejected {
        count: u64,
    },
    StorageError {
        error: String,
    },
    Stopped,
    #[serde(other)]
    Other,
}

/// What an operator asks for and must ask for again when the gateway was killed before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Revoke a device.
    Revoke(DeviceId),
    /// Rotate the key of a device.
    Rotate(DeviceId),
}

impl Request {
    fn line(self) -> String {
        match self {
            Self::Revoke(device_id) => format!("revoke {device_id}"),
            Self::Rotate(device_id) => format!("rotate {device_id}"),
        }
    }
}

/// What the lines said, of all gateways so far.
#[derive(Debug, Default)]
struct Heard {
    /// Commands that are not answered yet, in the order in which they were handed over.
    pushed: HashMap<DeviceId, VecDeque<Vec<u8>>>,
    requests: BTreeSet<Request>,
    finished: BTreeSet<DeviceId>,
    rejected: u64,
    stopped: bool,
}

/// The gateway and its files.
pub struct Gateway {
    program: PathBuf,
    directory: PathBuf,
    auditor: Arc<Mutex<Auditor>>,
    tally: Arc<Tally>,
    heard: Arc<Mutex<Heard>>,
    running: Option<Running>,
}

/// One process.
struct Running {
    child: Child,
    stdin: ChildStdin,
    reader: JoinHandle<()>,
}

impl Gateway {
    /// A gateway that does not run yet, for the devices whose registry `moteseal provision` has put into
    /// `directory/fleet`.
    pub fn new(program: PathBuf, directory: &Path, auditor: Arc<Mutex<Auditor>>, tally: Arc<Tally>) -> Self {
        let (directory, heard) = (directory.to_path_buf(), Arc::default());
        Self { program, directory, auditor, tally, heard, running: None }
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self) -> Result<SocketAddr, String> {
        let fleet = self.directory.join("fleet");
        let mut child = self
            .command("serve")?
            .args(["--listen", "127.0.0.1:0", "--log", "warn"])
            .arg("--registry")
            .arg(fleet.join("registry.csv"))
            .arg("--rotation-keys")
            .arg(fleet.join("rotation-keys.csv"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: cannot be started: {error}", self.program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let Some((stdin, stdout)) = stdin.zip(stdout) else { return Err("the gateway has no pipes".into()) };
        let (listening, address) = mpsc::channel();
        let reader = self.read(stdout, listening);
        self.running = Some(Running { child, stdin, reader });
        let address = address.recv_timeout(PATIENCE).map_err(|_| self.complaint("does not listen"))?;
        let again: Vec<Request> = lock(&self.heard).requests.iter().copied().collect();
        for request in again {
            self.write(&request.line());
        }
        Ok(address)
    }

    fn read(&self, stdout: ChildStdout, listening: Sender<SocketAddr>) -> JoinHandle<()> {
        let reader = Reader {
            auditor: self.auditor.clone(),
            tally: self.tally.clone(),
            heard: self.heard.clone(),
            listening,
        };
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { return };
                reader.hear(&line);
            }
        })
    }

    /// Whether its process has ended by itself.
    pub fn has_failed(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| !matches!(running.child.try_wait(), Ok(None)))
    }

    /// SIGKILL, as when the machine loses its power. Every line that it wrote is read.
    pub fn kill(&mut self) {
        let Some(Running { mut child, stdin, reader }) = self.running.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
        let _ = reader.join();
        drop(stdin);
        self.ended();
    }

    /// SIGTERM, and the exit status that belongs to it.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        lock(&self.heard).stopped = false;
        let _ = kill_process(Pid::from_child(&running.child), Signal::TERM);
        let patience = Instant::now() + PATIENCE;
        let status = loop {
            match running.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < patience => thread::sleep(Duration::from_millis(5)),
                _ => break None,
            }
        };
        // Joins the reader, and is harmless to a process that has ended.
        self.kill();
        match status {
            Some(status) if status.success() && lock(&self.heard).stopped => Ok(()),
            Some(status) if status.success() => Err(self.complaint("stopped without its last line")),
            Some(status) => Err(self.complaint(&format!("stopped with {status}"))),
            None => Err(self.complaint("does not stop")),
        }
    }

    fn ended(&self) {
        lock(&self.auditor).gateway_ended();
        lock(&self.heard).pushed.clear();
    }

    /// Hands a command over.
    pub fn push(&mut self, device_id: DeviceId, payload: Vec<u8>, idempotent: bool) {
        // What the gateway says at once about a device that is just being revoked could be the answer to either.
        if self.running.is_none() || lock(&self.heard).requests.contains(&Request::Revoke(device_id)) {
            return;
        }
        lock(&self.auditor).pushed(device_id, payload.clone(), idempotent);
        let option = if idempotent { " --idempotent" } else { "" };
        let line = format!("send {device_id} {}{option}", hex::encode(&payload));
        lock(&self.heard).pushed.entry(device_id).or_default().push_back(payload);
        self.write(&line);
    }

    /// Asks for something, and again after a restart if it was not answered.
    pub fn request(&mut self, request: Request) {
        lock(&self.heard).requests.insert(request);
        self.write(&request.line());
    }

    /// A pipe that is broken belongs to a gateway that has ended, which is noticed elsewhere.
    fn write(&mut self, line: &str) {
        if let Some(running) = &mut self.running {
            let _ = running.stdin.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Copies the store while the gateway runs.
    pub fn back_up(&self) -> Result<(), String> {
        self.run("backup", "--to")
    }

    /// Puts the copy in place of the store. The gateway must not run.
    pub fn restore(&self) -> Result<(), String> {
        self.run("restore", "--from")
    }

    fn run(&self, verb: &str, option: &str) -> Result<(), String> {
        let mut command = self.command(verb)?;
        command.arg(option).arg(self.directory.join("backup")).stdin(Stdio::null()).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.complaint(&format!("refuses to {verb}, {status}"))),
            Err(error) => Err(format!("{}: cannot be started: {error}", self.program.display())),
        }
    }

    /// A command of the program on the store, in a process group of its own: Ctrl-C is for the demonstration.
    fn command(&self, verb: &str) -> Result<Command, String> {
        let log = self.log();
        let stderr = File::options().create(true).append(true).open(&log);
        let stderr = stderr.map_err(|error| format!("{}: cannot be written: {error}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.process_group(0).stderr(stderr).arg(verb).arg("--store").arg(self.directory.join("store"));
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.directory.join("gateway.log")
    }

    fn complaint(&self, what: &str) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        format!(
            "the gateway {what}; the end of its log: {}",
            last.into_iter().rev().collect::<Vec<_>>().join(" | ")
        )
    }

    /// Rotations that were finished.
    pub fn finished_rotations(&self) -> usize {
        lock(&self.heard).finished.len()
    }

    /// Datagrams that the gateway dropped.
    pub fn rejected(&self) -> u64 {
        lock(&self.heard).rejected
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the lines of one process.
struct Reader {
    auditor: Arc<Mutex<Auditor>>,
    tally: Arc<Tally>,
    heard: Arc<Mutex<Heard>>,
    listening: Sender<SocketAddr>,
}

impl Reader {
    fn hear(&self, line: &[u8]) {
        let read = serde_json::from_slice(line).ok().and_then(|line| self.take(line));
        if read.is_none() {
            let how = format!("it wrote {}", String::from_utf8_lossy(line));
            lock(&self.auditor).broke(Promise::GatewayRuns, how);
        }
    }

    /// Nothing if the line is not as documented.
    fn take(&self, line: Line) -> Option<()> {
        let now = Instant::now();
        match line {
            Line::Listening { addr } => {
                let _ = self.listening.send(addr);
            }
            Line::Early { device, epoch, payload } => {
                let (device, epoch, payload) =
                    (id(&device)?, parse_epoch(&epoch)?, hex::decode(payload).ok()?);
                lock(&self.auditor).delivered(device, epoch, None, &payload);
            }
            Line::Data { device, epoch, seq, payload } => {
                let (device, epoch, payload) =
                    (id(&device)?, parse_epoch(&epoch)?, hex::decode(payload).ok()?);
                lock(&self.auditor).delivered(device, epoch, Some(SequenceNumber::new(seq)), &payload);
            }
            Line::Queued { device, command } => {
                let payload = self.answered(id(&device)?)?;
                lock(&self.auditor).queued(command, &payload);
            }
            // A command that waited for a device that is revoked now.
            Line::Refused { command: Some(command), .. } => {
                lock(&self.auditor).command_told(command, Word::Unsent);
            }
            Line::Refused { command: None, device, reason } => {
                match device.as_deref().and_then(id).and_then(|device| self.answered(device)) {
                    Some(payload) => lock(&self.auditor).refused(&payload),
                    None => lock(&self.auditor).broke(Promise::GatewayRuns, format!("it refused: {reason}")),
                }
            }
            Line::Acknowledged { command } => lock(&self.auditor).command_told(command, Word::Acknowledged),
            Line::Unknown { command, requeued: false } => {
                lock(&self.auditor).command_told(command, Word::Unknown);
            }
            Line::Unknown { command, requeued: true } => lock(&self.auditor).requeued(command),
            Line::Expired { command } => lock(&self.auditor).command_told(command, Word::Unsent),
            Line::Revoked { device } => {
                let device = id(&device)?;
                lock(&self.auditor).revoked(device, now);
                self.granted(Request::Revoke(device), Fault::Revocation);
            }
            Line::RotationBegun { device } => self.granted(Request::Rotate(id(&device)?), Fault::Rotation),
            Line::RotationFinished { device } => {
                lock(&self.heard).finished.insert(id(&device)?);
            }
            Line::Rejected { count } => lock(&self.heard).rejected += count,
            Line::StorageError { error } => lock(&self.auditor).broke(Promise::GatewayRuns, error),
            Line::Stopped => lock(&self.heard).stopped = true,
            Line::Other => {}
        }
        Some(())
    }

    /// The command that the gateway has just answered.
    fn answered(&self, device_id: DeviceId) -> Option<Vec<u8>> {
        lock(&self.heard).pushed.get_mut(&device_id)?.pop_front()
    }

    fn granted(&self, request: Request, fault: Fault) {
        if lock(&self.heard).requests.remove(&request) {
            self.tally.add(fault);
        }
    }
}

fn id(text: &str) -> Option<DeviceId> {
    parse_device_id(text).ok()
}

fn parse_epoch(text: &str) -> Option<Epoch> {
    let (boot, count) = text.split_once('.')?;
    Some(Epoch::new(boot.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ledger::Ledger;

    const ID: &str = "0102030405060708";

    /// What the auditor makes of these lines, after a command was handed over.
    fn read(lines: &[&str]) -> (Reader, Arc<Mutex<Auditor>>) {
        let (listening, _) = mpsc::channel();
        let auditor = Arc::new(Mutex::new(Auditor::new(Ledger::default())));
        let (tally, heard) = (Arc::default(), Arc::default());
        let reader = Reader { auditor: auditor.clone(), tally, heard, listening };
        let device_id = id(ID).unwrap();
        lock(&auditor).pushed(device_id, vec![1], false);
        lock(&reader.heard).pushed.entry(device_id).or_default().push_back(vec![1]);
        lock(&reader.heard).requests.insert(Request::Revoke(device_id));
        for line in lines {
            reader.hear(line.as_bytes());
        }
        (reader, auditor)
    }

    #[test]
    fn the_outcome_of_a_command_is_the_one_of_its_line() {
        let queued = format!(r#"{{"event":"queued","device":"{ID}","command":7,"at":1}}"#);
        let word = |line: &str| lock(&read(&[&queued, line]).1).totals().commands;
        assert_eq!(
            word(r#"{"event":"acknowledged","device":"0102030405060708","command":7,"at":2}"#).acknowledged,
            1
        );
        assert_eq!(word(r#"{"event":"unknown","command":7,"requeued":false,"at":2}"#).unknown, 1);
        assert_eq!(word(r#"{"event":"unknown","command":7,"requeued":true,"at":2}"#).open, 1);
        assert_eq!(word(r#"{"event":"expired","command":7,"at":2}"#).unsent, 1);
        assert_eq!(word(r#"{"event":"refused","device":null,"command":7,"reason":"late","at":2}"#).unsent, 1);
        assert_eq!(word(r#"{"event":"acknowledged","command":8,"at":2}"#).open, 1);
        let refused =
            format!(r#"{{"event":"refused","device":"{ID}","command":null,"reason":"full","at":2}}"#);
        assert_eq!(lock(&read(&[&refused]).1).totals().commands.unsent, 1);
    }

    #[test]
    fn a_delivery_goes_to_the_auditor_with_its_name() {
        for line in [
            format!(r#"{{"event":"early","device":"{ID}","epoch":"7.1","payload":"01ff","at":1}}"#),
            format!(r#"{{"event":"data","device":"{ID}","epoch":"7.1","seq":3,"payload":"01ff","at":1}}"#),
        ] {
            // It was never sent, and so the auditor says what it was told.
            let (_, auditor) = read(&[&line]);
            let broken = lock(&auditor).broken().to_vec();
            assert_eq!(broken[0].promise, Promise::Authentic);
            assert!(broken[0].how.contains("01ff") && broken[0].how.contains("7.1"), "{}", broken[0]);
        }
    }

    #[test]
    fn a_request_is_granted_once() {
        let line = format!(r#"{{"event":"revoked","device":"{ID}","at":1}}"#);
        let (reader, auditor) = read(&[&line, &line]);
        assert!(lock(&reader.heard).requests.is_empty() && lock(&auditor).is_revoked(id(ID).unwrap()));
        assert_eq!(reader.tally.count(Fault::Revocation), 1);
    }

    #[test]
    fn a_line_that_is_not_as_documented_is_a_failure() {
        for line in
            ["", "{", r#"{"event":"data","device":"01"}"#, r#"{"event":"storage_error","error":"full"}"#]
        {
            assert_eq!(lock(&read(&[line]).1).broken()[0].promise, Promise::GatewayRuns, "{line}");
        }
        assert!(lock(&read(&[r#"{"event":"of a later version"}"#]).1).broken().is_empty());
    }
}
