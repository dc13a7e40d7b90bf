//! The network between the devices and the gateway, and the attacker who owns it: loses, repeats, delays, changes,
//! replays and makes up datagrams. Each device has a socket of its own towards the gateway, and so an address of
//! its own; what the two sides sealed is shown to the auditor before anybody touches it. SPEC section 2.1.
//!
//! ```text
//! device sockets --> | front | lane 0 | --> gateway
//!                    |       | lane 1 |
//! ```
//!
//! What becomes of the n-th datagram of a lane is drawn from the seed; when it is sent, and so which datagram that
//! is, is not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use moteseal::number::DeviceId;

use super::auditor::Auditor;
use super::ledger::Origin;
use super::tally::{Fault, Tally};
use super::{attack, chaos, lock};

/// What the relay is told to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The gateway listens here from now on.
    Gateway(SocketAddr),
    /// This device gets another address.
    Rebind(usize),
    /// This device is cut off until then.
    Outage(usize, Instant),
    /// The attacker goes home: what comes is passed on as it is.
    Calm,
}

/// Lost, of 100 datagrams.
const LOST: u8 = 12;
/// Sent twice.
const DUPLICATED: u8 = 10;
/// Changed.
const CORRUPTED: u8 = 6;
/// Sent to the gateway from the address of another device.
const REROUTED: u8 = 3;
/// Delayed so long that others overtake them.
const DELAYED: u8 = 25;
/// Held back for up to two seconds.
const HELD_BACK: u8 = 4;

/// How often something is replayed, and something made up.
const BETWEEN_ATTACKS: Duration = Duration::from_millis(6);
/// How long the relay sleeps when nothing comes.
const NAP: Duration = Duration::from_millis(1);
/// The longest datagram that is passed on, in bytes.
const MAX_LEN: usize = 2_048;

/// The relay.
pub struct Relay {
    front: UdpSocket,
    lanes: Vec<Lane>,
    by_address: HashMap<SocketAddr, usize>,
    ids: Vec<DeviceId>,
    gateway: Option<SocketAddr>,
    hostile: bool,
    attacker: Rng,
    next_attack: Instant,
    history: Vec<Heard>,
    flights: BinaryHeap<Reverse<Flight>>,
    launched: u64,
    auditor: Arc<Mutex<Auditor>>,
    tally: Arc<Tally>,
}

/// The way of one device.
struct Lane {
    device: SocketAddr,
    socket: UdpSocket,
    /// Sockets of addresses that the device had before. What comes there is heard and not passed on.
    former: Vec<UdpSocket>,
    cut_off_until: Option<Instant>,
    /// What becomes of datagrams: up, down.
    fates: [Rng; 2],
    /// The serial numbers of the last datagram that came, and of the last that was passed on: up, down.
    came: [u64; 2],
    passed: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Up,
    Down,
}

/// A datagram that was sent once.
struct Heard {
    lane: usize,
    datagram: Vec<u8>,
}

/// A datagram on its way: ordered by when it arrives.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrives: Instant,
    launched: u64,
    way: Way,
    lane: usize,
    /// Its number within its lane and way, unless it is an attacker's.
    serial: Option<u64>,
    datagram: Vec<u8>,
}

impl Relay {
    /// A relay for devices that send from these addresses.
    pub fn new(
        seed: u64,
        devices: &[(DeviceId, SocketAddr)],
        auditor: Arc<Mutex<Auditor>>,
        tally: Arc<Tally>,
    ) -> io::Result<Self> {
        let lanes = devices.iter().enumerate().map(|(lane, (_, device))| Lane::new(seed, lane, *device));
        Ok(Self {
            front: socket()?,
            lanes: lanes.collect::<Result<_, _>>()?,
            by_address: devices.iter().enumerate().map(|(lane, (_, device))| (*device, lane)).collect(),
            ids: devices.iter().map(|(device_id, _)| *device_id).collect(),
            gateway: None,
            hostile: true,
            attacker: chaos::stream(seed, "attacker", 0),
            next_attack: Instant::now(),
            history: Vec::new(),
            flights: BinaryHeap::new(),
            launched: 0,
            auditor,
            tally,
        })
    }

    /// Where devices send to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.front.local_addr()
    }

    /// Passes datagrams on until nobody gives orders any more.
    pub fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            let now = Instant::now();
            lock(&self.auditor).pass_begins(now);
            let busy = self.hear_devices(now)? | self.hear_gateway(now)?;
            self.attack(now);
            self.land(Instant::now());
            if !busy {
                std::thread::sleep(NAP);
            }
        }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Gateway(address) => self.gateway = Some(address),
            Order::Rebind(lane) => {
                let former = std::mem::replace(&mut self.lanes[lane].socket, socket()?);
                self.lanes[lane].former.push(former);
                self.tally.add(Fault::Rebound);
            }
            Order::Outage(lane, until) => {
                self.lanes[lane].cut_off_until = Some(until);
                self.tally.add(Fault::Outage);
            }
            Order::Calm => {
                self.hostile = false;
                self.flights.clear();
                self.lanes.iter_mut().for_each(|lane| lane.cut_off_until = None);
            }
        }
        Ok(())
    }

    fn hear_devices(&mut self, now: Instant) -> io::Result<bool> {
        let mut buffer = [0; MAX_LEN];
        let mut busy = false;
        while let Some((len, from)) = receive(&self.front, &mut buffer)? {
            busy = true;
            let Some(lane) = self.by_address.get(&from).copied() else { continue };
            lock(&self.auditor).sealed(Origin::Device(self.ids[lane]), &buffer[..len]);
            self.pass_on(now, Way::Up, lane, &buffer[..len]);
        }
        Ok(busy)
    }

    fn hear_gateway(&mut self, now: Instant) -> io::Result<bool> {
        let mut buffer = [0; MAX_LEN];
        let mut busy = false;
        for lane in 0..self.lanes.len() {
            for former in 0..self.lanes[lane].former.len() {
                while let Some((len, _)) = receive(&self.lanes[lane].former[former], &mut buffer)? {
                    lock(&self.auditor).sealed(Origin::Gateway, &buffer[..len]);
                }
            }
            while let Some((len, _)) = receive(&self.lanes[lane].socket, &mut buffer)? {
                busy = true;
                lock(&self.auditor).sealed(Origin::Gateway, &buffer[..len]);
                self.pass_on(now, Way::Down, lane, &buffer[..len]);
            }
        }
        Ok(busy)
    }

    /// What becomes of a datagram that one side has sent.
    fn pass_on(&mut self, now: Instant, way: Way, lane: usize, datagram: &[u8]) {
        let from = &mut self.lanes[lane];
        from.came[way as usize] += 1;
        let serial = Some(from.came[way as usize]);
        let mut datagram = datagram.to_vec();
        if !self.hostile {
            return self.launch(now, way, lane, serial, datagram);
        }
        self.history.push(Heard { lane, datagram: datagram.clone() });
        let fate = Fate::draw(&mut from.fates[way as usize], self.ids.len());
        if fate.lost || from.cut_off_until.is_some_and(|until| now < until) {
            return self.tally.add(Fault::Lost);
        }
        if fate.duplicated {
            self.tally.add(Fault::Duplicated);
            self.launch(now + fate.second_delay, way, lane, None, datagram.clone());
        }
        if let Some(seed) = fate.corrupted {
            self.tally.add(Fault::Corrupted);
            attack::corrupt(&mut Rng::with_seed(seed), &mut datagram);
        }
        let arrives = now + fate.delay;
        match fate.rerouted.filter(|other| way == Way::Up && *other != lane) {
            Some(other) => {
                self.tally.add(Fault::Rerouted);
                self.launch(arrives, way, other, None, datagram);
            }
            None => self.launch(arrives, way, lane, serial, datagram),
        }
    }

    fn launch(&mut self, arrives: Instant, way: Way, lane: usize, serial: Option<u64>, datagram: Vec<u8>) {
        self.launched += 1;
        self.flights.push(Reverse(Flight { arrives, launched: self.launched, way, lane, serial, datagram }));
    }

    /// Replays what was ever sent, to whomever, and makes datagrams up.
    fn attack(&mut self, now: Instant) {
        if !self.hostile || self.history.is_empty() {
            self.next_attack = now;
            return;
        }
        while self.next_attack <= now {
            self.next_attack += BETWEEN_ATTACKS;
            let rng = &mut self.attacker;
            // Half of it from all that was ever sent, half from what was sent lately.
            let oldest = if rng.bool() { 0 } else { self.history.len().saturating_sub(300) };
            let heard = &self.history[rng.usize(oldest..self.history.len())];
            let own = rng.u8(0..3) > 0;
            let lane = if own { heard.lane } else { rng.usize(0..self.lanes.len()) };
            let way = if rng.u8(0..3) > 0 { Way::Up } else { Way::Down };
            let (fault, datagram) = if rng.bool() {
                (Fault::Replayed, heard.datagram.clone())
            } else {
                (Fault::Forged, attack::forge(rng, &heard.datagram, &self.ids))
            };
            self.tally.add(fault);
            self.launch(now, way, lane, None, datagram);
        }
    }

    /// Hands over what has arrived. Like any network, it drops what a socket does not take.
    fn land(&mut self, now: Instant) {
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.arrives <= now) {
            let Some(Reverse(flight)) = self.flights.pop() else { return };
            let lane = &mut self.lanes[flight.lane];
            if let Some(serial) = flight.serial {
                let passed = &mut lane.passed[flight.way as usize];
                if serial < *passed {
                    self.tally.add(Fault::Reordered);
                }
                *passed = serial.max(*passed);
            }
            let _ = match (flight.way, self.gateway) {
                (Way::Up, Some(gateway)) => lane.socket.send_to(&flight.datagram, gateway),
                (Way::Up, None) => continue,
                (Way::Down, _) => self.front.send_to(&flight.datagram, lane.device),
            };
        }
    }
}

impl Lane {
    fn new(seed: u64, lane: usize, device: SocketAddr) -> io::Result<Self> {
        let fates = [chaos::stream(seed, "up", lane), chaos::stream(seed, "down", lane)];
        let (former, socket) = (Vec::new(), socket()?);
        Ok(Self { device, socket, former, cut_off_until: None, fates, came: [0; 2], passed: [0; 2] })
    }
}

/// What becomes of one datagram.
struct Fate {
    lost: bool,
    duplicated: bool,
    corrupted: Option<u64>,
    rerouted: Option<usize>,
    delay: Duration,
    second_delay: Duration,
}

impl Fate {
    /// Draws everything whatever comes out, so that the fate of the n-th datagram follows from the seed and n alone.
    fn draw(rng: &mut Rng, lanes: usize) -> Self {
        let mut percent = |of: u8| rng.u8(0..100) < of;
        let (lost, duplicated, corrupted) = (percent(LOST), percent(DUPLICATED), percent(CORRUPTED));
        let rerouted = percent(REROUTED);
        let (seed, other) = (rng.u64(..), rng.usize(0..lanes.max(1)));
        let (delay, second_delay) = (delay(rng), delay(rng));
        let (corrupted, rerouted) = (corrupted.then_some(seed), rerouted.then_some(other));
        Self { lost, duplicated, corrupted, rerouted, delay, second_delay }
    }
}

fn delay(rng: &mut Rng) -> Duration {
    let (kind, part) = (rng.u8(0..100), rng.f64());
    let (from, to) = match kind {
        0..HELD_BACK => (0.2, 2.0),
        HELD_BACK..DELAYED => (0.005, 0.08),
        _ => (0.0, 0.003),
    };
    Duration::from_secs_f64(from + (to - from) * part)
}

/// A socket on loopback that does not wait.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The next datagram that waits.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    loop {
        match socket.recv_from(buffer) {
            Ok(received) => return Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // Nobody listened where the last datagram went: the gateway is down.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ledger::Ledger;
    use std::sync::mpsc;

    /// Two devices and a gateway that says what came and from where, with a relay between them.
    struct Net {
        devices: Vec<UdpSocket>,
        gateway: UdpSocket,
        relay: SocketAddr,
        orders: mpsc::Sender<Order>,
        tally: Arc<Tally>,
    }

    fn net() -> Net {
        let (devices, gateway) = (vec![socket().unwrap(), socket().unwrap()], socket().unwrap());
        let ids = (1..).map(|id| DeviceId::new([id; 8]));
        let addresses: Vec<_> = ids.zip(devices.iter().map(|device| device.local_addr().unwrap())).collect();
        let (auditor, tally) =
            (Arc::new(Mutex::new(Auditor::new(Ledger::default()))), Arc::<Tally>::default());
        let relay = Relay::new(1, &addresses, auditor, tally.clone()).unwrap();
        let (address, (orders, taken)) = (relay.address().unwrap(), mpsc::channel());
        orders.send(Order::Gateway(gateway.local_addr().unwrap())).unwrap();
        std::thread::spawn(move || relay.run(&taken).unwrap());
        Net { devices, gateway, relay: address, orders, tally }
    }

    fn wait_for(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let (mut buffer, patience) = ([0; 64], Instant::now() + Duration::from_secs(20));
        while Instant::now() < patience {
            if let Some((len, from)) = receive(socket, &mut buffer).unwrap() {
                return (buffer[..len].to_vec(), from);
            }
            std::thread::sleep(NAP);
        }
        panic!("nothing came");
    }

    #[test]
    fn in_the_calm_each_device_has_an_address_of_its_own_and_nothing_is_touched() {
        let net = net();
        net.orders.send(Order::Calm).unwrap();
        let mut addresses = Vec::new();
        for (number, device) in net.devices.iter().enumerate() {
            for text in [b"first ", b"second"] {
                device.send_to(text, net.relay).unwrap();
                let (datagram, from) = wait_for(&net.gateway);
                assert_eq!(datagram, text);
                net.gateway.send_to(&[number.to_be_bytes()[7]], from).unwrap();
                assert_eq!(wait_for(device).0, [number.to_be_bytes()[7]]);
                addresses.push(from);
            }
        }
        assert!(addresses[0] == addresses[1] && addresses[2] == addresses[3] && addresses[0] != addresses[2]);
        net.orders.send(Order::Rebind(0)).unwrap();
        net.devices[0].send_to(b"third", net.relay).unwrap();
        assert!(!addresses.contains(&wait_for(&net.gateway).1));
    }

    #[test]
    fn a_hostile_network_does_everything_to_datagrams() {
        let net = net();
        let faults = [
            Fault::Lost,
            Fault::Duplicated,
            Fault::Corrupted,
            Fault::Reordered,
            Fault::Rerouted,
            Fault::Replayed,
            Fault::Forged,
        ];
        let patience = Instant::now() + Duration::from_secs(20);
        while faults.iter().any(|fault| net.tally.count(*fault) == 0) {
            assert!(Instant::now() < patience, "{:?}", net.tally);
            net.devices[0].send_to(b"telemetry", net.relay).unwrap();
            std::thread::sleep(NAP);
        }
    }

    #[test]
    fn the_fate_of_the_nth_datagram_is_the_seed_s() {
        let fates = |seed| {
            let mut rng = chaos::stream(seed, "up", 3);
            (0..200).map(|_| Fate::draw(&mut rng, 50)).map(|fate| (fate.lost, fate.delay)).collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }
}
