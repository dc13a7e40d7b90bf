//! The real program as a child process, and what it tells. For all tests that run it beside a device.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a registry, where a gateway runs.
pub struct Site {
    pub root: tempfile::TempDir,
}

impl Site {
    pub fn registry(&self) -> PathBuf {
        self.root.path().join("registry.csv")
    }

    pub fn rotation_keys(&self) -> PathBuf {
        self.root.path().join("rotation-keys.csv")
    }

    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    pub fn serve_command(&self) -> Command {
        let mut command = moteseal();
        command.args(["serve", "--listen", "127.0.0.1:0", "--answer-timeout", "200", "--store"]);
        command.arg(self.store()).arg("--registry").arg(self.registry());
        command
    }

    /// Runs a client subcommand on the store.
    pub fn run(&self, verb: &str, args: &[&str]) -> Output {
        moteseal().arg(verb).arg("--store").arg(self.store()).args(args).output().unwrap()
    }

    /// Runs a client subcommand that must succeed; the events that it prints.
    pub fn ask(&self, verb: &str, args: &[&str]) -> Vec<Value> {
        let output = self.run(verb, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {stderr} {}", String::from_utf8_lossy(&output.stdout));
        events(&String::from_utf8(output.stdout).unwrap())
    }
}

pub fn moteseal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moteseal"))
}

pub fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub struct Gateway {
    pub child: Child,
    pub addr: SocketAddr,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Everything that was told.
    pub told: Vec<Value>,
}

impl Gateway {
    pub fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|len| len > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    let _ = stdout.read_to_end(&mut Vec::new());
                    return;
                }
            }
        });
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self { child, addr, stdin, lines, told: Vec::new() };
        let listening = gateway.expect("listening");
        gateway.addr = listening["addr"].as_str().unwrap().parse().unwrap();
        gateway
    }

    pub fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next event of this name; those before it are kept in `told` too.
    pub fn expect(&mut self, name: &str) -> Value {
        self.wait_for(name, PATIENCE).unwrap_or_else(|| panic!("no {name} after {:#?}", self.told))
    }

    pub fn wait_for(&mut self, name: &str, patience: Duration) -> Option<Value> {
        let end = Instant::now() + patience;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            let event = self.take(&line);
            if event["event"] == name {
                return Some(event);
            }
        }
    }

    /// Everything that is told within this time.
    pub fn listen(&mut self, patience: Duration) -> Vec<Value> {
        let (end, before) = (Instant::now() + patience, self.told.len());
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.take(&line);
        }
        self.told[before..].to_vec()
    }

    fn take(&mut self, line: &str) -> Value {
        assert!(line.ends_with('\n'), "a torn line: {line}");
        let event: Value = serde_json::from_str(line).expect(line);
        assert!(event["at"].as_u64().is_some(), "{line}");
        let fields = event.as_object().unwrap().keys().filter(|key| !matches!(key.as_str(), "event" | "at"));
        let documented = documented().get(event["event"].as_str().unwrap()).expect(line);
        assert_eq!(&fields.cloned().collect::<BTreeSet<_>>(), documented, "{line}");
        self.told.push(event.clone());
        event
    }

    /// SIGKILL; what it told before, to the last.
    pub fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest()
    }

    /// SIGTERM, which must end it well.
    pub fn stop(mut self) -> Vec<Value> {
        terminate(&self.child);
        let status = self.child.wait().unwrap();
        let told = self.rest();
        assert!(status.success(), "{status}");
        assert_eq!(told.last().unwrap()["event"], "stopped");
        told
    }

    pub fn rest(&mut self) -> Vec<Value> {
        while let Ok(line) = self.lines.recv() {
            if line.ends_with('\n') {
                self.take(&line);
            }
        }
        std::mem::take(&mut self.told)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// The fields of each event, as `--help` has them.
fn documented() -> &'static BTreeMap<String, BTreeSet<String>> {
    static DOCUMENTED: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    DOCUMENTED.get_or_init(|| {
        let help = String::from_utf8(moteseal().args(["serve", "--help"]).output().unwrap().stdout).unwrap();
        let mut events = BTreeMap::new();
        let lines = help.lines().skip_while(|line| !line.starts_with("Events:"));
        for line in lines.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  ")) {
            let Some((names, _)) = line.split_once(": ").filter(|_| !line.starts_with(' ')) else { continue };
            for name in names.split_inclusive(')') {
                let (name, fields) = name.split_once(" (").unwrap_or((name, ""));
                let fields = fields.trim_end_matches(')').split(", ").filter(|field| !field.is_empty());
                let name = name.trim_start_matches([',', ' ']).to_owned();
                events.insert(name, fields.map(str::to_owned).collect());
            }
        }
        assert!(events.len() > 25, "{events:?}");
        events
    })
}

/// Payloads as events of this name told them.
pub fn payloads(told: &[Value], name: &str) -> Vec<Vec<u8>> {
    let of = told.iter().filter(|event| event["event"] == name);
    of.map(|event| hex::decode(event["payload"].as_str().unwrap()).unwrap()).collect()
}

pub fn count(told: &[Value], name: &str) -> usize {
    told.iter().filter(|event| event["event"] == name).count()
}
