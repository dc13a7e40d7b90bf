//! `moteseal device` as people run it, over UDP, against the server half of the crate.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use moteseal::delivery::Timing;
use moteseal::entropy::FromFn;
use moteseal::error::EntropyError;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{CommandId, FixedTable, Index, Received, Server};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const ID: DeviceId = DeviceId::new([2, 0, 0, 0, 0, 0, 0, 7]);

type Entropy = FromFn<fn(&mut [u8]) -> Result<(), EntropyError>>;
type Half = Server<FixedTable<SocketAddr, 4, 256>, Entropy>;

fn image() -> FactoryImage {
    FactoryImage::new(
        Identity { device_id: ID, rotation_key: RotationKey::new([3; 32]) },
        DeviceKey::new([1; 32]),
    )
}

/// A gateway of one device, which remembers its record only, as a database would.
struct Gateway {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

struct State {
    socket: UdpSocket,
    half: Half,
    record: Record,
    started: Instant,
    payloads: Vec<Vec<u8>>,
    acknowledged: Vec<u64>,
    /// Nothing is received.
    down: bool,
}

fn half(record: &Record, mark: u32) -> Half {
    let mut table = FixedTable::new();
    table.insert(record.clone()).unwrap();
    let os: Entropy = FromFn(|bytes| getrandom::fill(bytes).map_err(|_| EntropyError::Failed));
    Server::new(table, os, GatewayId(0), Timing::DEFAULT, mark).unwrap()
}

impl Gateway {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let record = Record::provisioned(ID, Generation::FIRST, DeviceKey::new([1; 32]));
        let receiving = socket.try_clone().unwrap();
        let (payloads, acknowledged) = (Vec::new(), Vec::new());
        let (half, started) = (half(&record, 0), Instant::now());
        let state = State { socket, half, record, started, payloads, acknowledged, down: false };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::downgrade(&state);
        thread::spawn(move || {
            receiving.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut datagram = [0; 2048];
            loop {
                let received = receiving.recv_from(&mut datagram);
                let Some(state) = shared.upgrade() else { return };
                let mut state = state.lock().unwrap();
                if let (Ok((len, from)), false) = (received, state.down) {
                    state.receive(from, &datagram[..len]);
                }
                state.poll();
            }
        });
        Self { state, address }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    /// Waits until what was sent has been received.
    fn wait(&self, until: impl Fn(&State) -> bool) {
        let begun = Instant::now();
        while !self.with(|state| until(state)) {
            assert!(begun.elapsed() < PATIENCE, "it did not come to that");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn payloads(&self) -> Vec<String> {
        self.with(|state| state.payloads.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect())
    }

    fn command(&self, id: u64, payload: &[u8]) {
        self.with(|state| {
            let (sending, mark) = state.half.begin_command(ID, CommandId(id), payload.len()).unwrap();
            let now = state.now();
            let sent = state.half.seal_command(now, sending, &mark.committed(), payload).unwrap();
            let transmit = sent.unwrap();
            state.socket.send_to(transmit.datagram, transmit.to).unwrap();
        });
    }

    fn crash(&self) {
        self.with(|state| state.half = half(&state.record, 0));
    }
}

impl State {
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap()
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let now = self.now();
        let (answer, to) = match self.half.receive(now, from, datagram.to_vec()) {
            Received::Rejected { reason, .. } => panic!("rejected: {reason}"),
            Received::Answered { answer, to, .. } => (answer, to),
            Received::Pending(held, change) => {
                self.record = change.value().record.clone();
                let committed = self.half.commit(held, change.committed()).unwrap();
                self.payloads.extend(committed.payload.map(|payload| payload.as_bytes().to_vec()));
                let Some(answer) = committed.welcome else { return };
                answer
            }
            Received::Data(data) => {
                self.payloads.extend(data.payload.map(|payload| payload.as_bytes().to_vec()));
                self.acknowledged.extend(data.acknowledged.map(|command| command.0));
                let Some(answer) = data.answer else { return };
                answer
            }
        };
        self.socket.send_to(answer.as_bytes(), to).unwrap();
    }

    fn poll(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.half.poll(now, Index(0)) {
            self.socket.send_to(transmit.datagram, transmit.to).unwrap();
        }
        if self.half.rotation_to_finish(Index(0)).is_some() {
            let (admin, change) = self.half.finish_rotation(Index(0)).unwrap();
            self.record = change.value().record.clone();
            self.half.apply(admin, change.committed()).unwrap();
        }
    }
}

/// A device that runs.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Value>,
}

impl Running {
    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Skips to the next event of this name.
    fn expect(&self, name: &str) -> Value {
        let mut skipped = Vec::new();
        loop {
            let event =
                self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {name} after {skipped:?}"));
            assert!(event["at"].as_u64().unwrap() > 1_500_000_000_000, "{event}");
            if event["event"] == name {
                return event;
            }
            skipped.push(event);
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Ends the input and gives what is told until the end.
    fn finish(mut self) -> Vec<Value> {
        drop(self.stdin.take());
        self.wait()
    }

    fn wait(mut self) -> Vec<Value> {
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
        let events: Vec<_> = self.events.iter().collect();
        assert_eq!(events.last().unwrap()["event"], "stopped", "{events:?}");
        events
    }

    fn cut_power(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A directory with an image, and a device's state once it has run.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("image.bin"), image().encode().expose()).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, server: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moteseal"));
        command
            .current_dir(self.path())
            .arg("device")
            .args(["--state", "state", "--server", server])
            .args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, gateway: &Gateway, args: &[&str]) -> Running {
        let args = [&["--image", "image.bin"], args].concat();
        let mut child = self.command(&gateway.address.to_string(), &args).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Running { stdin: child.stdin.take(), child, events }
    }

    /// Runs it where it cannot start, and gives the error message.
    fn fails(&self, args: &[&str]) -> String {
        let output: Output = self.command("127.0.0.1:9", args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        said
    }
}

#[test]
fn lines_arrive_once_and_are_acknowledged() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &[]);
    let started = device.expect("started");
    assert_eq!(started["device"], ID.to_string());
    assert_eq!((&started["boot"], &started["server"]), (&1.into(), &gateway.address.to_string().into()));
    for line in ["21.5 C", "", "hex: 00ff80", "hex:zz", " spaced ", "last"] {
        device.say(line);
    }
    let sent = device.expect("sent");
    assert_eq!((&sent["ticket"], &sent["payload"]), (&1.into(), &hex::encode("21.5 C").into()));
    assert_eq!(device.expect("session")["epoch"], "1.0");
    let events = device.finish();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((count("sent"), count("acknowledged"), count("unknown")), (3, 4, 0), "{events:?}");
    let refused = events.iter().find(|event| event["event"] == "refused").unwrap();
    assert!(refused["reason"].as_str().unwrap().starts_with("after hex: "));
    let delivered = gateway.with(|state| state.payloads.clone());
    assert_eq!(delivered, [b"21.5 C".as_slice(), b"\x00\xff\x80", b" spaced ", b"last"]);
}

#[test]
fn commands_come_out_as_json() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &["--connect"]);
    device.expect("session");
    device.say("here");
    device.expect("acknowledged");
    gateway.command(42, b"open the door");
    let command = device.expect("command");
    assert_eq!(
        (&command["payload"], &command["epoch"]),
        (&hex::encode("open the door").into(), &"1.0".into())
    );
    assert!(command["age_ms"].as_u64().unwrap() < 60_000 && command["seq"].is_u64(), "{command}");
    device.finish();
    gateway.wait(|state| state.acknowledged == [42]);
}

#[test]
fn a_cut_power_costs_one_boot() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    for boot in 1..=3 {
        let mut device = bench.start(&gateway, &[]);
        assert_eq!(device.expect("started")["boot"], boot);
        device.say(&format!("boot {boot}"));
        device.expect("acknowledged");
        device.cut_power();
    }
    assert_eq!(gateway.payloads(), ["boot 1", "boot 2", "boot 3"]);
    let state = bench.path().join("state");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o7777, 0o600);
    // The image is not needed any more.
    fs::remove_file(bench.path().join("image.bin")).unwrap();
    let output = bench.command("127.0.0.1:9", &[]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_server_that_crashed_answers_reset() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &[]);
    // The second one is Data: the session is confirmed.
    for line in ["early", "data"] {
        device.say(line);
        device.expect("acknowledged");
    }
    gateway.crash();
    device.say("during");
    device.expect("reset");
    assert_eq!(device.expect("unknown")["ticket"], 3);
    device.say("after");
    device.expect("acknowledged");
    device.finish();
    assert_eq!(gateway.payloads(), ["early", "data", "after"]);
}

#[test]
fn an_erased_counter_is_moved() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let state = bench.path().join("state");
    for _ in 0..3 {
        let mut device = bench.start(&gateway, &[]);
        device.say("x");
        device.expect("acknowledged");
        device.finish();
    }
    let mut bytes = fs::read(&state).unwrap();
    bytes[3 * 4096..].fill(0xFF);
    fs::write(&state, &bytes).unwrap();
    let said = bench.fails(&["--no-rng"]);
    assert!(said.contains("state: the boot counter is blank or broken"), "{said}");
    let mut device = bench.start(&gateway, &[]);
    assert_eq!(device.expect("started")["boot"], 1);
    device.say("back");
    assert_eq!(device.expect("moved")["floor"], "3.0");
    assert_eq!(device.expect("session")["epoch"], "4.0");
    device.expect("acknowledged");
    device.finish();
    assert_eq!(gateway.payloads().last().unwrap(), "back");
}

#[test]
fn a_device_without_a_generator_works() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    for _ in 0..2 {
        let mut device = bench.start(&gateway, &["--no-rng"]);
        device.say("x");
        device.expect("acknowledged");
        device.finish();
    }
    assert_eq!(gateway.payloads(), ["x", "x"]);
}

#[test]
fn a_key_is_rotated_and_stays() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &[]);
    device.say("old");
    device.expect("acknowledged");
    gateway.with(|state| {
        let (admin, change) = state.half.begin_rotation(ID, &RotationKey::new([3; 32])).unwrap();
        state.record = change.value().record.clone();
        state.half.apply(admin, change.committed()).unwrap();
    });
    device.say("touch");
    assert_eq!(device.expect("key_taken")["generation"], 2);
    device.expect("rotated");
    device.say("new");
    device.finish();
    gateway.wait(|state| state.record.generation().number() == 2);
    let mut device = bench.start(&gateway, &[]);
    device.say("again");
    device.expect("acknowledged");
    device.finish();
}

#[test]
fn old_commands_are_refused() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &["--max-age", "1"]);
    device.say("x");
    device.expect("acknowledged");
    thread::sleep(Duration::from_millis(2_500));
    gateway.command(1, b"late");
    device.expect("command_refused");
    let events = device.finish();
    assert!(events.iter().all(|event| event["event"] != "command"), "{events:?}");
}

#[test]
fn signals_close_the_session() {
    for signal in ["-TERM", "-INT"] {
        let (bench, gateway) = (Bench::new(), Gateway::start());
        let mut device = bench.start(&gateway, &[]);
        for line in ["early", "data"] {
            device.say(line);
            device.expect("acknowledged");
        }
        gateway.with(|state| state.down = true);
        device.say("never acknowledged");
        device.expect("sent");
        device.say("never taken");
        // Time for the line to arrive.
        thread::sleep(Duration::from_millis(200));
        device.signal(signal);
        let events = device.wait();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["unknown", "refused", "stopped"], "{events:?}");
        assert_eq!(events[0]["ticket"], 3);
    }
}

#[test]
fn an_absent_server_is_waited_for() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    gateway.with(|state| state.down = true);
    let mut device = bench.start(&gateway, &[]);
    device.say("patient");
    device.expect("sent");
    thread::sleep(Duration::from_millis(200));
    gateway.with(|state| state.down = false);
    device.expect("acknowledged");
    assert_eq!(gateway.payloads(), ["patient"]);

    // Nobody listens there at all.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = Bench::new();
    let mut device = other.start(&Gateway { address: nobody, ..gateway }, &[]);
    device.say("x");
    device.expect("sent");
    thread::sleep(Duration::from_millis(200));
    device.signal("-TERM");
    let events = device.wait();
    assert!(events.iter().all(|event| event["event"] != "error"), "{events:?}");
}

#[test]
fn one_process_at_a_time() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let mut device = bench.start(&gateway, &[]);
    device.expect("started");
    let before = fs::read(bench.path().join("state")).unwrap();
    let said = bench.fails(&[]);
    assert!(said.contains("state: is in use"), "{said}");
    assert_eq!(fs::read(bench.path().join("state")).unwrap(), before);
    device.say("x");
    device.expect("acknowledged");
}

#[test]
fn every_damaged_image_is_refused_by_name() {
    let bench = Bench::new();
    let image = image().encode().expose().to_vec();
    let state = bench.path().join("state");
    let mut damaged: Vec<Vec<u8>> = Vec::new();
    for byte in 0..image.len() {
        let mut changed = image.clone();
        changed[byte] ^= 1 << (byte % 8);
        damaged.push(changed);
    }
    damaged.extend([0, 1, 64, 128, 191].map(|len| image[..len].to_vec()));
    damaged.extend([[image.as_slice(), &[0]].concat(), vec![0xFF; 192], vec![0; 192], vec![0xFF; 1 << 20]]);
    for image in damaged {
        fs::write(bench.path().join("broken.bin"), image).unwrap();
        let said = bench.fails(&["--image", "broken.bin"]);
        assert!(said.starts_with("moteseal: broken.bin: "), "{said}");
        assert!(!state.exists());
    }
    assert!(bench.fails(&["--image", "none.bin"]).contains("none.bin: cannot be read"));
    assert!(bench.fails(&[]).contains("state: does not exist; give the factory image"));
}

#[test]
fn a_state_is_not_overwritten() {
    let (bench, gateway) = (Bench::new(), Gateway::start());
    let device = bench.start(&gateway, &[]);
    device.expect("started");
    device.finish();
    let state = bench.path().join("state");
    let other = Identity { device_id: DeviceId::new([9; 8]), rotation_key: RotationKey::new([3; 32]) };
    let other = FactoryImage::new(other, DeviceKey::new([1; 32]));
    fs::write(bench.path().join("other.bin"), other.encode().expose()).unwrap();
    let before = fs::read(&state).unwrap();
    let said = bench.fails(&["--image", "other.bin"]);
    assert!(said.contains("other.bin: is of device 0909090909090909, but state is of device"), "{said}");
    assert_eq!(fs::read(&state).unwrap(), before);

    for (contents, expected) in [
        (vec![0xFF; 5 * 4096], "state: the identity is erased"),
        (vec![0x00; 5 * 4096], "state: the magic is not that of a factory image"),
        (before[..before.len() - 1].to_vec(), "has 20479 bytes, the flash of a device 20480"),
        (Vec::new(), "has 0 bytes"),
        ([before.as_slice(), &[0; 4096]].concat(), "has 24576 bytes"),
    ] {
        fs::write(&state, &contents).unwrap();
        let said = bench.fails(&["--image", "image.bin"]);
        assert!(said.contains(expected), "{said}");
        assert_eq!(fs::read(&state).unwrap(), contents);
    }
    let mut keyless = before.clone();
    keyless[4096..8192].fill(0xFF);
    fs::write(&state, keyless).unwrap();
    let said = bench.fails(&[]);
    assert!(said.starts_with("moteseal: state: "), "{said}");
}

#[test]
fn servers_that_cannot_be_are_named() {
    let bench = Bench::new();
    for server in ["nowhere", "127.0.0.1", "127.0.0.1:99999", "host.invalid:1"] {
        let mut command = bench.command(server, &["--image", "image.bin"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("--server {server}: ")), "{said}");
    }
}

#[test]
fn help_lists_the_events() {
    let output = Bench::new().command("x", &["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["--image", "--state", "--server", "hex:", "early data", "acknowledged", "age_ms", "stopped"]
    {
        assert!(help.contains(word), "{word}");
    }
}
