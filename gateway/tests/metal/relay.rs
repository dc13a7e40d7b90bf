//! Between QEMU's user network and the gateway: every datagram passes here and is recorded, whether it is sent on or not.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::gateway::PATIENCE;

/// How long the relay waits for a datagram before it looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the device to the gateway.
    Up,
    /// From the gateway to the device.
    Down,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    Lose,
    Delay(Duration),
}

/// A datagram as it was seen.
#[derive(Clone, Debug)]
pub struct Captured {
    pub direction: Direction,
    pub bytes: Vec<u8>,
}

impl Captured {
    /// Whether it is a Hello, by its first byte (SPEC 4.1).
    pub fn is_hello(&self) -> bool {
        is_hello(&self.bytes)
    }
}

/// Whether a datagram is a Hello, by its first byte (SPEC 4.1).
pub fn is_hello(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 4 == 0b0100)
}

type Rule = Box<dyn FnMut(Direction, &[u8]) -> Fate + Send>;

/// What both threads know.
struct Shared {
    front: UdpSocket,
    back: UdpSocket,
    gateway: Mutex<SocketAddr>,
    device: Mutex<Option<SocketAddr>>,
    captured: Mutex<Vec<Captured>>,
    rule: Mutex<Rule>,
    over: AtomicBool,
}

/// The relay. Dropped, it ends.
pub struct Relay {
    /// Where the device sends to.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    pub fn start(gateway: SocketAddr) -> Self {
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            socket
        };
        let shared = Arc::new(Shared {
            front: socket(),
            back: socket(),
            gateway: Mutex::new(gateway),
            device: Mutex::new(None),
            captured: Mutex::new(Vec::new()),
            rule: Mutex::new(Box::new(|_, _| Fate::Pass)),
            over: AtomicBool::new(false),
        });
        for direction in [Direction::Up, Direction::Down] {
            let shared = Arc::clone(&shared);
            thread::spawn(move || run(&shared, direction));
        }
        Self { addr: shared.front.local_addr().unwrap(), shared }
    }

    /// Where the gateway is from now on.
    pub fn redirect(&self, gateway: SocketAddr) {
        *self.shared.gateway.lock().unwrap() = gateway;
    }

    /// What becomes of each datagram from now on.
    pub fn rule(&self, rule: impl FnMut(Direction, &[u8]) -> Fate + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Everything that was seen so far.
    pub fn captured(&self) -> Vec<Captured> {
        self.shared.captured.lock().unwrap().clone()
    }

    /// How many datagrams were seen in this direction.
    pub fn count(&self, direction: Direction) -> usize {
        self.captured().iter().filter(|captured| captured.direction == direction).count()
    }

    /// Waits until there is a datagram like this among those behind the first `from`.
    pub fn wait_for(&self, from: usize, is_like: impl Fn(&Captured) -> bool) {
        for _ in 0..PATIENCE.as_millis() / 10 {
            if self.captured()[from..].iter().any(&is_like) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no such datagram");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn run(shared: &Arc<Shared>, direction: Direction) {
    let from = if direction == Direction::Up { &shared.front } else { &shared.back };
    let mut buffer = vec![0; 65_536];
    while !shared.over.load(Ordering::Relaxed) {
        let (len, source) = match from.recv_from(&mut buffer) {
            Ok(received) => received,
            // Nothing came, or somebody whom it was sent to before is gone.
            Err(error) => {
                let kind = error.kind();
                let usual = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];
                assert!(usual.contains(&kind), "{error}");
                continue;
            }
        };
        if direction == Direction::Up {
            *shared.device.lock().unwrap() = Some(source);
        }
        let bytes = buffer[..len].to_vec();
        shared.captured.lock().unwrap().push(Captured { direction, bytes: bytes.clone() });
        let fate = (shared.rule.lock().unwrap())(direction, &bytes);
        match fate {
            Fate::Pass => shared.send(direction, &bytes),
            Fate::Lose => {}
            Fate::Delay(delay) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    thread::sleep(delay);
                    shared.send(direction, &bytes);
                });
            }
        }
    }
}

impl Shared {
    /// Sends a datagram on. Nobody may be there, as on any network.
    fn send(&self, direction: Direction, bytes: &[u8]) {
        match direction {
            Direction::Up => {
                let gateway = *self.gateway.lock().unwrap();
                let _ = self.back.send_to(bytes, gateway);
            }
            Direction::Down => {
                if let Some(device) = *self.device.lock().unwrap() {
                    let _ = self.front.send_to(bytes, device);
                }
            }
        }
    }
}
