//! `moteseal demo`: provisions a fleet, runs the gateway and the devices over a hostile network on loopback, lets
//! everything go wrong that the protocol promises to survive, and holds the outcome against the promises.
//!
//! ```text
//! fleet (devices) <--> relay (attacker) <--> gateway (process) <--> store
//!       |                   |                     |
//!       '------------------ auditor --------------'
//! ```

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use fastrand::Rng;
use moteseal::identity::FactoryImage;
use moteseal::number::DeviceId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::registry;
use auditor::Auditor;
use chaos::{Act, Millis};
use fleet::{Mote, Sight, Surroundings};
use gateway::{Gateway, Request};
use ledger::Ledger;
use promise::Promise;
use relay::Relay;
use tally::{Fault, Tally};
use view::{Picture, View};

mod attack;
mod auditor;
mod chaos;
mod fleet;
mod gateway;
mod ledger;
mod promise;
mod relay;
mod tally;
mod totals;
mod view;

/// Options of `moteseal demo`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The seed fixes the schedule: what goes wrong, when and to whom, what becomes of the n-th datagram of each device, and \
what the attacker does. How threads and processes interleave is the machine's, so two runs with one seed are alike \
and not equal.

Exit status: 0 if every promise was kept, 1 if one was broken or something of the schedule never happened.")]
pub struct Args {
    /// For how many seconds the network is hostile; some seconds of calm follow
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// How many devices there are
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(4..=1_000))]
    devices: u16,
    /// Repeats a schedule; without it each run has its own
    #[arg(long)]
    seed: Option<u64>,
}

/// How many threads run the devices.
const FLEET_THREADS: usize = 2;
/// How often the main loop looks around.
const TICK: Duration = Duration::from_millis(5);
/// How long the calm may last. The longest wait of a device is two seconds, and two more answers may be needed.
const CALM: Duration = Duration::from_secs(15);

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(|error| format!("signals cannot be watched: {error}"))?;
    }
    let seed = args.seed.unwrap_or_else(|| Rng::new().u64(..1_000_000));
    let directory = tempfile::Builder::new().prefix("moteseal-demo-").tempdir();
    let directory = directory.map_err(|error| format!("a temporary directory cannot be made: {error}"))?;
    view::print(&format!(
        "seed {seed}: {} devices, {} seconds of hostile network\n",
        args.devices, args.seconds
    ));
    let mut demo = Demo::new(args, seed, directory.path())?;
    let finished = demo.hostile(&interrupted)? && demo.calm(&interrupted)?;
    demo.end()?;
    if !finished {
        view::print("interrupted; nothing was judged\n");
        return Ok(ExitCode::from(130));
    }
    Ok(demo.judge())
}

/// Everything that runs.
struct Demo {
    schedule: Vec<(Millis, Act)>,
    hostile: Duration,
    ids: Vec<DeviceId>,
    payloads: Rng,
    next_payload: u64,
    start: Instant,
    auditor: Arc<Mutex<Auditor>>,
    tally: Arc<Tally>,
    sights: Arc<Mutex<Vec<Sight>>>,
    gateway: Gateway,
    relay: Sender<relay::Order>,
    fleet: Vec<Sender<fleet::Order>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    view: View,
    phase: &'static str,
}

impl Demo {
    /// Provisions the fleet and starts everything.
    fn new(args: &Args, seed: u64, directory: &Path) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let fleet = directory.join("fleet");
        provision(&program, &fleet, args.devices)?;
        let (ledger, motes) = factory(&fleet)?;
        let addresses: Result<Vec<_>, _> = motes.iter().map(Mote::address).collect();
        let addresses = addresses.map_err(no_socket)?;

        let (start, tally) = (Instant::now(), Arc::new(Tally::default()));
        let auditor = Arc::new(Mutex::new(Auditor::new(ledger)));
        let sights = Arc::new(Mutex::new(vec![Sight::default(); motes.len()]));
        let mut gateway = Gateway::new(program, directory, auditor.clone(), tally.clone());
        let relay = Relay::new(seed, &addresses, auditor.clone(), tally.clone()).map_err(no_socket)?;
        let server = relay.address().map_err(no_socket)?;
        let around = Surroundings {
            server,
            seed,
            start,
            auditor: auditor.clone(),
            tally: tally.clone(),
            sights: sights.clone(),
        };
        let address = gateway.start()?;

        let mut threads = Vec::new();
        let (relay_orders, orders) = mpsc::channel();
        threads.push(thread::spawn(move || relay.run(&orders)));
        let _ = relay_orders.send(relay::Order::Gateway(address));
        let mut fleet_orders = Vec::new();
        for part in split(motes, FLEET_THREADS) {
            let (sender, orders) = mpsc::channel();
            let around = around.clone();
            threads.push(thread::spawn(move || fleet::run(part, &around, &orders)));
            fleet_orders.push(sender);
        }
        let hostile = Duration::from_secs(args.seconds);
        Ok(Self {
            schedule: chaos::schedule(seed, addresses.len(), args.seconds * 1_000),
            hostile,
            ids: addresses.into_iter().map(|(device_id, _)| device_id).collect(),
            payloads: chaos::stream(seed, "commands", 0),
            next_payload: 0,
            start,
            auditor,
            tally,
            sights,
            gateway,
            relay: relay_orders,
            fleet: fleet_orders,
            threads,
            view: View::new(start),
            phase: "hostile network",
        })
    }

    /// Everything goes wrong, in the order of the schedule. No if it was interrupted.
    fn hostile(&mut self, interrupted: &AtomicBool) -> Result<bool, String> {
        self.view.happened("the fleet starts, the network is hostile");
        let mut schedule = std::mem::take(&mut self.schedule).into_iter().peekable();
        while self.start.elapsed() < self.hostile || schedule.peek().is_some() {
            let now = Millis::try_from(self.start.elapsed().as_millis()).unwrap_or(Millis::MAX);
            while let Some((_, act)) = schedule.next_if(|(at, _)| *at <= now) {
                self.act(act)?;
            }
            if !self.look_around(interrupted)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::CutPower(cut) => self.order_fleet(fleet::Order::CutPower(cut)),
            Act::Rebind(device) => self.order_relay(relay::Order::Rebind(device)),
            Act::Outage(device, ms) => {
                let until = Instant::now() + Duration::from_millis(ms);
                self.order_relay(relay::Order::Outage(device, until));
            }
            Act::Command { device, idempotent } => self.push(device, idempotent),
            Act::Revoke(device) => {
                self.view.happened(&format!("device {} is revoked", self.ids[device]));
                self.gateway.request(Request::Revoke(self.ids[device]));
            }
            Act::Rotate(device) => {
                self.view.happened(&format!("the key of device {} is rotated", self.ids[device]));
                self.gateway.request(Request::Rotate(self.ids[device]));
            }
            Act::Backup => {
                self.gateway.back_up()?;
                self.view.happened("the store is backed up");
            }
            Act::Kill => {
                self.gateway.kill();
                self.tally.add(Fault::Kill);
                self.start_again("the gateway is killed")?;
            }
            Act::Restore => {
                self.gateway.stop()?;
                self.gateway.restore()?;
                self.tally.add(Fault::Restore);
                self.start_again("the gateway is stopped, the backup restored")?;
            }
        }
        Ok(())
    }

    fn start_again(&mut self, why: &str) -> Result<(), String> {
        let since = Instant::now();
        let address = self.gateway.start()?;
        self.order_relay(relay::Order::Gateway(address));
        self.view.happened(&format!("{why}; it is back after {} ms", since.elapsed().as_millis()));
        Ok(())
    }

    /// A command that was never sent before.
    fn push(&mut self, device: usize, idempotent: bool) {
        self.next_payload += 1;
        let mut payload = self.next_payload.to_be_bytes().to_vec();
        payload.extend((0..self.payloads.usize(0..24)).map(|_| 0xC0));
        self.gateway.push(self.ids[device], payload, idempotent);
    }

    fn order_fleet(&self, order: fleet::Order) {
        for fleet in &self.fleet {
            let _ = fleet.send(order);
        }
    }

    fn order_relay(&self, order: relay::Order) {
        // Should the relay have ended, the next look around says so.
        let _ = self.relay.send(order);
    }

    /// The attacker goes home. Every device that is not revoked has to show that it has a session.
    fn calm(&mut self, interrupted: &AtomicBool) -> Result<bool, String> {
        self.phase = "calm network";
        self.view.happened("the attacker goes home");
        self.order_relay(relay::Order::Calm);
        self.order_fleet(fleet::Order::Calm);
        let since = Instant::now();
        while since.elapsed() < CALM && !self.missing().is_empty() {
            if !self.look_around(interrupted)? {
                return Ok(false);
            }
        }
        let missing = self.missing();
        if missing.is_empty() {
            let text = format!(
                "every device that is not revoked is in session, after {} ms",
                since.elapsed().as_millis()
            );
            self.view.happened(&text);
        }
        for device_id in missing {
            lock(&self.auditor).broke(Promise::NobodyLockedOut, format!("device {device_id} has no session"));
        }
        Ok(true)
    }

    /// The devices that have not shown yet that they have a session, though they should.
    fn missing(&self) -> Vec<DeviceId> {
        let (sights, auditor) = (lock(&self.sights), lock(&self.auditor));
        let open = self.ids.iter().zip(sights.iter()).filter(|(_, sight)| !sight.proven);
        open.map(|(device_id, _)| *device_id).filter(|device_id| !auditor.is_revoked(*device_id)).collect()
    }

    /// Waits a moment, shows how things stand, and sees whether everything still runs. No if it was interrupted.
    fn look_around(&mut self, interrupted: &AtomicBool) -> Result<bool, String> {
        thread::sleep(TICK);
        if self.view.is_due() {
            let picture = self.picture();
            self.view.draw(&picture);
        }
        if self.gateway.has_failed() {
            return Err(self.gateway.stop().err().unwrap_or_else(|| "the gateway ended by itself".into()));
        }
        if self.threads.iter().any(JoinHandle::is_finished) {
            self.end()?;
            return Err("a thread of the demonstration ended by itself".into());
        }
        Ok(!interrupted.load(Ordering::Relaxed))
    }

    fn picture(&self) -> Picture {
        let (totals, broken) = {
            let auditor = lock(&self.auditor);
            (auditor.totals(), auditor.broken().to_vec())
        };
        Picture {
            phase: self.phase,
            totals,
            tally: self.tally.clone(),
            sights: lock(&self.sights).clone(),
            finished_rotations: self.gateway.finished_rotations(),
            rejected: self.gateway.rejected(),
            broken,
        }
    }

    /// Ends everything in the order in which nothing is missed: devices, gateway, relay.
    fn end(&mut self) -> Result<(), String> {
        self.fleet.clear();
        let relay = (!self.threads.is_empty()).then(|| self.threads.remove(0));
        let fleet = self.threads.drain(..).map(join).collect::<Result<Vec<()>, String>>();
        let stopped = self.gateway.stop();
        self.relay = mpsc::channel().0;
        fleet.and(stopped).and(relay.map_or(Ok(()), join))
    }

    /// Holds what happened against the promises, and tells it.
    fn judge(&mut self) -> ExitCode {
        let sights = lock(&self.sights).clone();
        let mut auditor = lock(&self.auditor);
        auditor.close();
        for (device_id, sight) in self.ids.iter().zip(&sights) {
            let Sight { writes, boots, moves, turns, .. } = sight;
            if *writes > boots + moves + turns {
                let how = format!(
                    "device {device_id}: {writes} writes in {boots} boots, for {moves} Floors and {turns} turns"
                );
                auditor.broke(Promise::FlashSpared, how);
            }
        }
        drop(auditor);
        let picture = self.picture();
        view::print(&view::table(&picture));
        for broken in picture.broken.iter().take(20) {
            view::print(&format!("BROKEN  {broken}\n"));
        }
        let missing = self.tally.missing();
        for fault in &missing {
            view::print(&format!("NOT EXERCISED  {}\n", fault.label()));
        }
        if picture.broken.is_empty() && missing.is_empty() {
            view::print("every promise was kept\n");
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn provision(program: &Path, fleet: &Path, devices: u16) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(["provision", "--count"]).arg(devices.to_string()).arg("--out").arg(fleet);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: cannot be started: {error}", program.display()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Reads what was provisioned: the auditor's keys, and the flash of each device.
fn factory(fleet: &Path) -> Result<(Ledger, Vec<Mote>), String> {
    let rotation_keys = registry::read_rotation_keys(&fleet.join("rotation-keys.csv"))?;
    let (mut ledger, mut motes) = (Ledger::default(), Vec::new());
    for device in registry::read(&fleet.join("registry.csv"))? {
        let path = fleet.join("images").join(format!("{}.bin", device.device_id));
        let bytes =
            fs::read(&path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let image = FactoryImage::parse(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        let rotation_key = rotation_keys.get(&device.device_id).cloned();
        let rotation_key =
            rotation_key.ok_or_else(|| format!("device {} has no rotation key", device.device_id))?;
        ledger.provision(device.device_id, device.generation, device.device_key, rotation_key);
        motes.push(Mote::flashed(motes.len(), &image)?);
    }
    Ok((ledger, motes))
}

/// Deals things out to so many parts.
fn split<T>(things: Vec<T>, parts: usize) -> Vec<Vec<T>> {
    let mut dealt: Vec<Vec<T>> = (0..parts).map(|_| Vec::new()).collect();
    for (number, thing) in things.into_iter().enumerate() {
        dealt[number % parts].push(thing);
    }
    dealt
}

fn join(thread: JoinHandle<io::Result<()>>) -> Result<(), String> {
    match thread.join() {
        Ok(result) => result.map_err(|error| format!("a socket of the demonstration: {error}")),
        Err(_) => Err("a thread of the demonstration panicked".into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_socket(error: io::Error) -> String {
    format!("a socket on loopback cannot be opened: {error}")
}

/// The data behind a lock. A thread that panics ends the run, and what it left is not looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
