//! A directory where the program runs, and all that it says there. Nobody's umask keeps others out, logs tell the most, and
//! backtraces are on.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process, umask};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_moteseal");
/// Files that the test itself makes.
pub const GIVEN: &str = "given";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Site {
    runs: TempDir,
    outputs: TempDir,
    number: Cell<usize>,
    /// What came out, and of which command.
    pub said: Vec<(String, Vec<u8>)>,
}

/// A program that runs.
pub struct Running {
    name: String,
    child: Child,
    outputs: [PathBuf; 2],
}

impl Site {
    pub fn new() -> Self {
        umask(Mode::empty());
        let directory = || tempfile::tempdir().unwrap();
        let site = Self { runs: directory(), outputs: directory(), number: Cell::new(0), said: Vec::new() };
        for directory in [GIVEN, "tmp", "home"] {
            fs::create_dir(site.path(directory)).unwrap();
        }
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.runs.path().to_owned() } else { self.runs.path().join(name) }
    }

    /// Writes a file for the program to read.
    pub fn give(&self, name: &str, contents: &[u8]) -> String {
        let name = format!("{GIVEN}/{name}");
        fs::write(self.path(&name), contents).unwrap();
        name
    }

    pub fn start(&self, program: &str, arguments: &[&str]) -> Running {
        self.start_with(Command::new(program).args(arguments))
    }

    fn start_with(&self, command: &mut Command) -> Running {
        self.number.set(self.number.get() + 1);
        let output = |of: &str| self.outputs.path().join(format!("{} {of}", self.number.get()));
        let outputs = [output("stdout"), output("stderr")];
        command.current_dir(self.runs.path()).stdin(Stdio::piped());
        command.stdout(File::create(&outputs[0]).unwrap()).stderr(File::create(&outputs[1]).unwrap());
        command.env("TMPDIR", self.path("tmp")).env("HOME", self.path("home"));
        command.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace");
        if command.get_envs().all(|(name, _)| name != "MOTESEAL_LOG") {
            command.env("MOTESEAL_LOG", "trace");
        }
        Running { name: format!("{command:?}"), child: command.spawn().unwrap(), outputs }
    }

    /// Runs the program to its end.
    pub fn run(&mut self, arguments: &[&str], stdin: &str) -> ExitStatus {
        self.run_with(Command::new(PROGRAM).args(arguments), stdin)
    }

    pub fn run_with(&mut self, command: &mut Command, stdin: &str) -> ExitStatus {
        let mut running = self.start_with(command);
        // Whoever fails before it reads leaves a broken pipe.
        let _ = running.child.stdin.take().unwrap().write_all(stdin.as_bytes());
        running.end(self)
    }

    /// Runs the program, which must succeed.
    pub fn succeed(&mut self, arguments: &[&str]) {
        assert!(self.run(arguments, "").success(), "{arguments:?}: {}", self.last_words());
    }

    pub fn last_words(&self) -> String {
        self.said.last().map(|(_, said)| String::from_utf8_lossy(said).into_owned()).unwrap_or_default()
    }

    pub fn shell(&mut self, script: &str) {
        let status = self.start("sh", &["-c", script]).end(self);
        assert!(status.success(), "{script}");
    }

    /// What others see of a process that runs, where they see it: the environment of a closed one they do not.
    pub fn look_at(&mut self, running: &Running) {
        let process = PathBuf::from(format!("/proc/{}", running.child.id()));
        // A process that has just begun has no arguments yet.
        while fs::read(process.join("cmdline")).unwrap().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        for file in ["cmdline", "comm", "status", "environ"] {
            match fs::read(process.join(file)) {
                Ok(bytes) => self.said.push((format!("{file} of {}", running.name), bytes)),
                Err(error) => assert_eq!((file, error.kind()), ("environ", io::ErrorKind::PermissionDenied)),
            }
        }
        for thread in fs::read_dir(process.join("task")).unwrap().flatten() {
            let name = fs::read(thread.path().join("comm")).unwrap_or_default();
            self.said.push((format!("a thread's name of {}", running.name), name));
        }
    }
}

impl Running {
    pub fn say(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// What it has said on standard output.
    pub fn told(&self) -> String {
        fs::read_to_string(&self.outputs[0]).unwrap_or_default()
    }

    /// Waits until it has told this event so often; the last of them.
    pub fn expect(&mut self, event: &str, times: usize) -> serde_json::Value {
        let end = Instant::now() + PATIENCE;
        let begin = format!(r#"{{"event":"{event}""#);
        loop {
            let told = self.told();
            let whole = told.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let events: Vec<_> = whole.filter(|line| line.starts_with(&begin)).collect();
            if let Some(last) = events.last().filter(|_| events.len() >= times) {
                return serde_json::from_str(last).unwrap();
            }
            let errors = fs::read_to_string(&self.outputs[1]).unwrap();
            assert!(Instant::now() < end, "{}: no {times}. {event}: {told}{errors}", self.name);
            assert!(self.child.try_wait().unwrap().is_none(), "{} has ended: {told}{errors}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it comes to this event; otherwise it ends.
    pub fn has_told(&mut self, event: &str) -> bool {
        let begin = format!(r#"{{"event":"{event}""#);
        loop {
            if self.told().contains(&begin) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM.
    pub fn stop(self, site: &mut Site) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let name = self.name.clone();
        assert!(self.end(site).success(), "{name}");
    }

    /// SIGKILL.
    pub fn kill(&mut self, site: &mut Site) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.keep(site);
    }

    /// Waits for its end, and keeps what it has said.
    pub fn end(mut self, site: &mut Site) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.keep(site);
                return status;
            }
            assert!(Instant::now() < end, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn keep(&self, site: &mut Site) {
        for (output, of) in self.outputs.iter().zip(["stdout", "stderr"]) {
            site.said.push((format!("{of} of {}", self.name), fs::read(output).unwrap()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
