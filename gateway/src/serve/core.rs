//! The gateway's one loop: it owns the protocol's server half, and takes datagrams, durable writes, requests and
//! times, one after the other. Nothing else touches sessions. SPEC sections 7 to 10.
//!
//! ```text
//! socket --.                      .--> stdout (first)
//! storage --> Input -> Core -------+--> socket (then)
//! requests-'                      `--> storage
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::io::{self, Stdout};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use moteseal::delivery::Millis;
use moteseal::entropy::FromFn;
use moteseal::error::EntropyError;
use moteseal::keys::RotationKey;
use moteseal::number::DeviceId;
use moteseal::server::{Index, Server};
use zeroize::Zeroizing;

use super::control::Reply;
use super::events::{Event, Events, wall_clock};
use super::queue::Queue;
use super::storage::{Done, Job};
use super::table::Devices;

/// The longest sleep, so that a step of the wall clock is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// How long a stop waits for writes under way.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Something that happened.
#[expect(clippy::large_enum_variant, reason = "few wait at a time, in memory that is used again")]
pub enum Input {
    /// A datagram came.
    Datagram(SocketAddr, Vec<u8>),
    /// Something is durable, or refused.
    Done(Done),
    /// Writing fails, or works again.
    Storage(Result<(), String>),
    /// An operator asks for something.
    Line(Zeroizing<String>, Reply),
    /// SIGTERM or SIGINT.
    Stop,
}

/// The randomness of the operating system.
pub type Os = FromFn<fn(&mut [u8]) -> Result<(), EntropyError>>;

/// Everything that one thread owns.
pub struct Core {
    pub(super) server: Server<Devices, Os>,
    pub(super) socket: UdpSocket,
    pub(super) events: Events<Stdout>,
    pub(super) queue: Queue,
    pub(super) next_command: u64,
    pub(super) rotation_keys: BTreeMap<DeviceId, RotationKey>,
    pub(super) jobs: Sender<Job>,
    /// Hellos that wait until they are durable.
    pub(super) in_flight: usize,
    /// Writing works.
    pub(super) storage_works: bool,
    /// Devices whose rotation is being finished.
    pub(super) finishing: HashSet<Index>,
    timers: Timers,
    started: Instant,
    stopping: Arc<AtomicBool>,
}

/// Why it cannot go on.
enum End {
    /// Nobody listens.
    Stdout(io::Error),
    /// Nobody writes.
    Writer,
}

/// What [`Core`] is made of.
pub struct Parts {
    pub server: Server<Devices, Os>,
    pub socket: UdpSocket,
    pub queue: Queue,
    pub next_command: u64,
    pub rotation_keys: BTreeMap<DeviceId, RotationKey>,
    pub jobs: Sender<Job>,
    pub stopping: Arc<AtomicBool>,
}

impl Core {
    pub fn new(parts: Parts) -> Self {
        let Parts { server, socket, queue, next_command, rotation_keys, jobs, stopping } = parts;
        Self {
            server,
            socket,
            events: Events::new(io::stdout()),
            queue,
            next_command,
            rotation_keys,
            jobs,
            in_flight: 0,
            storage_works: true,
            finishing: HashSet::new(),
            timers: Timers::default(),
            started: Instant::now(),
            stopping,
        }
    }

    /// Runs until it is told to stop, or stdout is closed. The end of stdout is an error, and so is a stop while
    /// the store cannot be written.
    pub fn run(mut self, inputs: &Receiver<Input>) -> Result<(), String> {
        let ended = self.serve(inputs);
        self.stopping.store(true, Ordering::Relaxed);
        match ended {
            Ok(()) => self.stop(inputs, true),
            Err(End::Stdout(error)) => {
                let _ = self.stop(inputs, false);
                Err(format!("stdout, where events go, is closed: {error}"))
            }
            Err(End::Writer) => Err("the thread that writes the store has ended; its panic is above".into()),
        }
    }

    fn serve(&mut self, inputs: &Receiver<Input>) -> Result<(), End> {
        loop {
            match inputs.recv_timeout(self.sleep()) {
                Ok(Input::Stop) => return Ok(()),
                Ok(Input::Done(Done::Stopped(_))) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(End::Writer);
                }
                Ok(input) => self.handle(input).map_err(End::Stdout)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.act_in_time().map_err(End::Stdout)?;
        }
    }

    /// Nothing more is received; what is under way becomes durable and is told and answered.
    fn stop(&mut self, inputs: &Receiver<Input>, tells: bool) -> Result<(), String> {
        let _ = self.jobs.send(Job::Stop);
        let patience = Instant::now() + STOP_PATIENCE;
        let result = loop {
            match inputs.recv_timeout(patience.saturating_duration_since(Instant::now())) {
                Ok(Input::Done(Done::Stopped(result))) => break result,
                Ok(Input::Done(done)) if tells => {
                    self.handle_done(done).map_err(|error| format!("stdout is closed: {error}"))?;
                }
                Ok(_) => {}
                Err(_) => break Err("the store did not answer; what was not durable is lost".into()),
            }
        };
        if tells {
            let last =
                self.events.tell_all_rejects(self.now()).and_then(|()| self.events.tell(&Event::Stopped));
            last.map_err(|error| format!("stdout is closed: {error}"))?;
        }
        result
    }

    fn handle(&mut self, input: Input) -> io::Result<()> {
        match input {
            Input::Datagram(from, datagram) => self.receive(from, datagram),
            Input::Done(done) => self.handle_done(done),
            Input::Storage(Err(error)) => {
                self.storage_works = false;
                tracing::error!("{error}; Hellos are not answered until writing works again");
                self.events.tell(&Event::StorageError { error: &error })
            }
            Input::Storage(Ok(())) => {
                self.storage_works = true;
                self.events.tell(&Event::StorageRecovered)
            }
            Input::Line(line, reply) => self.obey(&line, reply),
            // `serve` has seen it.
            Input::Stop => Ok(()),
        }
    }

    fn handle_done(&mut self, done: Done) -> io::Result<()> {
        match done {
            Done::Hello(held, durable) => self.welcome(held, durable),
            Done::Admin(admin, durable, intent, reply) => self.applied(admin, durable, intent, &reply),
            Done::Mark(sending, durable) => self.seal(sending, &durable),
            Done::Put(item, reply) => self.queued(item, &reply),
            Done::Backup(to, result, reply) => self.backed_up(&to, result, &reply),
            Done::Stopped(_) => Ok(()),
        }
    }

    /// Repeats, counts of rejects and expiries that are due.
    fn act_in_time(&mut self) -> io::Result<()> {
        let now = self.now();
        while let Some(index) = self.timers.due(now) {
            self.send_to_device(index);
        }
        self.events.tell_rejects(now)?;
        self.expire_commands()
    }

    fn sleep(&self) -> Duration {
        let now = self.now();
        let in_ms = |deadline: Millis, now: Millis| Duration::from_millis(deadline.saturating_sub(now));
        let timers = [self.timers.next(), self.events.deadline()].into_iter().flatten().min();
        let timers = timers.map_or(MAX_SLEEP, |deadline| in_ms(deadline, now));
        let expiry = self.queue.deadline().map_or(MAX_SLEEP, |deadline| in_ms(deadline, wall_clock()));
        timers.min(expiry).min(MAX_SLEEP)
    }

    /// Milliseconds since the start, which do not run backwards.
    pub(super) fn now(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// A device has something to do at this time.
    pub(super) fn wake(&mut self, index: Index, at: Option<Millis>) {
        // What is due and still was not done waits for something else than time.
        if let Some(at) = at.filter(|at| *at > self.now()) {
            self.timers.set(index, at);
        }
    }
}

/// For each device at most one time that counts.
#[derive(Debug, Default)]
struct Timers {
    heap: BinaryHeap<Reverse<(Millis, Index)>>,
    set: HashMap<Index, Millis>,
}

impl Timers {
    fn set(&mut self, index: Index, at: Millis) {
        if self.set.get(&index).is_none_or(|earlier| at < *earlier) {
            self.set.insert(index, at);
            self.heap.push(Reverse((at, index)));
        }
    }

    fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A device whose time has come.
    fn due(&mut self, now: Millis) -> Option<Index> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((at, index)) = self.heap.pop()?;
            // A later one in the heap was overtaken by an earlier one, and is forgotten.
            if self.set.get(&index) == Some(&at) {
                self.set.remove(&index);
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_wakes_once_at_its_earliest_time() {
        let mut timers = Timers::default();
        for (index, at) in [(1, 50), (1, 30), (2, 40), (1, 60)] {
            timers.set(Index(index), at);
        }
        assert_eq!(timers.next(), Some(30));
        assert_eq!(timers.due(29), None);
        assert_eq!(timers.due(100), Some(Index(1)));
        assert_eq!(timers.due(100), Some(Index(2)));
        assert_eq!((timers.due(100), timers.next()), (None, None));
    }
}
