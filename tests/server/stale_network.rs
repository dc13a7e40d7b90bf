//! Three gateways over one store, each as far behind it as it happens to be: changes are refused, proofs come late, old
//! records come after new ones, gateways crash, and the network hands any datagram to any of them. What must hold: P1,
//! P2, P3 (in [`Recording`]), P5, one word for each command, and one device for each connection id.

use std::collections::{HashMap, HashSet};

use moteseal::error::{CommitError, TableError};
use moteseal::number::ConnectionId;
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{
    Admin, AnswerKind, Change, CommandId, Durable, Held, Index, Received, RecordChange, Table,
};

use crate::support::*;

const DEVICES: u8 = 4;
const GATEWAYS: usize = 3;

/// What waits for its change, and what for its proof.
enum Waiting {
    Hello(Held<Vec<u8>, Address>),
    Admin(Admin),
}

struct Fleet {
    gateways: Vec<World>,
    store: Store,
    devices: Vec<Device>,
    noise: Noise,
    up: Vec<(Address, Vec<u8>)>,
    down: Vec<(usize, Vec<u8>)>,
    /// Everything that was ever sent.
    sent_up: Vec<(Address, Vec<u8>)>,
    sent_down: Vec<(usize, Vec<u8>)>,
    under_way: Vec<(usize, Waiting, Change<RecordChange>)>,
    /// Of each gateway in the order of the store.
    proved: Vec<(usize, Waiting, Durable<RecordChange>)>,
    written: Vec<Record>,
    confirmations: usize,
    conflicts: usize,
    refused: usize,
    next_payload: u32,
    owner: HashMap<u32, usize>,
    delivered: HashSet<u32>,
    executed: HashSet<u64>,
    words: HashMap<u64, &'static str>,
}

fn as_payload(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let devices: Vec<_> = (1..=DEVICES).map(Device::new).collect();
        let store = World::new(&devices.iter().collect::<Vec<_>>()).store;
        let gateways = (1..=3).map(|id| World::of(GatewayId(id), store.clone(), 0)).collect();
        Self {
            gateways,
            store,
            devices,
            noise: Noise(seed),
            up: Vec::new(),
            down: Vec::new(),
            sent_up: Vec::new(),
            sent_down: Vec::new(),
            under_way: Vec::new(),
            proved: Vec::new(),
            written: Vec::new(),
            confirmations: 0,
            conflicts: 0,
            refused: 0,
            next_payload: 0,
            owner: HashMap::new(),
            delivered: HashSet::new(),
            executed: HashSet::new(),
            words: HashMap::new(),
        }
    }

    fn step(&mut self) {
        let (at, gateway) = (self.noise.below(self.devices.len()), self.noise.below(GATEWAYS));
        for world in &mut self.gateways {
            world.now += 300;
        }
        match self.noise.below(40) {
            0..10 => self.speak(at),
            10..21 => self.carry_up(gateway),
            21..26 => self.carry_down(),
            26..29 => self.write_one(),
            29..33 => self.prove_one(),
            33..36 => self.read(gateway, at),
            36..38 => self.command(gateway, at),
            _ => match self.noise.below(20) {
                0 => self.crash(gateway),
                1 => self.reboot(at),
                2 => self.set_status(gateway, at, Status::Quarantined),
                3 | 4 => self.set_status(gateway, at, Status::Active),
                5 => self.rotate(gateway, at),
                _ => {}
            },
        }
        for gateway in 0..GATEWAYS {
            for at in 0..self.devices.len() {
                while let Some((datagram, _)) = self.gateways[gateway].poll(&self.devices[at]) {
                    self.send_down(at, &datagram);
                }
            }
        }
        self.check_ids();
    }

    /// No connection id is in the store twice. (That each table finds what it holds, it sees to itself.)
    fn check_ids(&self) {
        let mut owners: HashMap<ConnectionId, [u8; 8]> = HashMap::new();
        for (id, bytes) in &self.store.records {
            let record = Record::decode(bytes).unwrap();
            for entry in record.confirmed().into_iter().chain(record.candidate()) {
                assert_eq!(owners.insert(entry.cid, *id), None, "{:?} is in the store twice", entry.cid);
            }
        }
    }

    fn payload(&mut self, at: usize) -> [u8; 4] {
        self.next_payload += 1;
        self.owner.insert(self.next_payload, at);
        self.next_payload.to_be_bytes()
    }

    fn speak(&mut self, at: usize) {
        let payload = self.payload(at);
        let (says_hello, repeats, confirm) =
            (self.noise.once_in(12), self.noise.once_in(2), self.noise.once_in(2));
        let device = &mut self.devices[at];
        let datagram = match (&device.asked, &device.session) {
            (Some(asked), _) if repeats => asked.datagram.clone(),
            (_, Some(_)) if !says_hello => device.data(&payload, confirm),
            // A device keeps its session until the Welcome.
            (_, Some(_)) => {
                let session = device.session.take();
                let hello = device.hello(&payload);
                device.session = session;
                hello
            }
            _ => device.hello(&payload),
        };
        self.send_up(at, &datagram);
    }

    fn send_up(&mut self, at: usize, datagram: &[u8]) {
        let from = if self.noise.once_in(9) { 50 } else { u16::try_from(at).unwrap() };
        self.sent_up.push((from, datagram.to_vec()));
        for _ in 0..[0, 1, 2, 3][self.noise.below(4)] {
            self.up.push((from, datagram.to_vec()));
        }
    }

    fn carry_up(&mut self, gateway: usize) {
        let (from, datagram) = if self.noise.once_in(3) && !self.sent_up.is_empty() {
            // What was sent lately says more than what was sent at the start.
            let lately = self.sent_up.len().min(40);
            self.sent_up[self.sent_up.len() - 1 - self.noise.below(lately)].clone()
        } else if self.up.is_empty() {
            return;
        } else {
            self.up.swap_remove(self.noise.below(self.up.len()))
        };
        self.take(gateway, from, &datagram);
    }

    fn take(&mut self, gateway: usize, from: Address, datagram: &[u8]) {
        match self.gateways[gateway].receive(from, datagram) {
            Received::Rejected { .. } => {}
            Received::Answered { device_id, answer, .. } => {
                self.send_down(usize::from(device_id.as_bytes()[0]) - 1, answer.as_bytes());
            }
            Received::Pending(held, change) => self.under_way.push((gateway, Waiting::Hello(held), change)),
            Received::Data(data) => {
                let at = usize::from(data.device_id.as_bytes()[0]) - 1;
                if let Some(payload) = &data.payload {
                    self.deliver(at, payload.as_bytes());
                }
                self.word(data.acknowledged, "acknowledged");
                self.word(data.unknown, "unknown");
                if let Some((answer, _)) = &data.answer {
                    self.send_down(at, answer.as_bytes());
                }
                self.follow_up(gateway, data.index);
            }
        }
    }

    /// What is due at a gateway is begun, sooner or later.
    fn follow_up(&mut self, gateway: usize, index: Index) {
        let server = &mut self.gateways[gateway].server;
        if self.noise.once_in(2) && server.rotation_to_finish(index).is_some() {
            let (admin, change) = server.finish_rotation(index).unwrap();
            self.under_way.push((gateway, Waiting::Admin(admin), change));
        } else if self.noise.once_in(2) && server.confirmation_to_write(index) {
            let (admin, change) = server.write_confirmation(index).unwrap();
            self.confirmations += 1;
            self.under_way.push((gateway, Waiting::Admin(admin), change));
        }
    }

    fn deliver(&mut self, at: usize, bytes: &[u8]) {
        let payload = as_payload(bytes);
        assert_eq!(self.owner[&payload], at, "P1");
        assert!(self.delivered.insert(payload), "P2: {payload} twice");
    }

    fn word(&mut self, command: Option<CommandId>, word: &'static str) {
        let Some(CommandId(id)) = command else { return };
        assert_eq!(self.words.insert(id, word), None, "M-102: two words about {id}");
        assert!(word == "unknown" || self.executed.contains(&id), "{id} was never taken");
    }

    fn send_down(&mut self, at: usize, datagram: &[u8]) {
        self.sent_down.push((at, datagram.to_vec()));
        for _ in 0..[0, 1, 1, 2][self.noise.below(4)] {
            self.down.push((at, datagram.to_vec()));
        }
    }

    fn carry_down(&mut self) {
        let (at, datagram) = if self.noise.once_in(4) && !self.sent_down.is_empty() {
            self.sent_down[self.noise.below(self.sent_down.len())].clone()
        } else if self.down.is_empty() {
            return;
        } else {
            self.down.swap_remove(self.noise.below(self.down.len()))
        };
        let device = &mut self.devices[at];
        if device.try_welcome(&datagram).is_some() || device.try_floor(&datagram).is_some() {
            return;
        }
        if datagram[0] & 0xF0 == 0x70 {
            if device.session.is_some() && device.asked.is_none() && device.reset(&datagram).is_ok() {
                device.session = None;
            }
            return;
        }
        let Some(down) = device.try_open(&datagram) else { return };
        if let Some(control) = &down.control {
            device.rotate(control);
        }
        if !down.payload.is_empty() {
            let id = as_payload(&down.payload);
            assert_eq!(self.owner[&id], at, "P1");
            assert!(self.executed.insert(id.into()), "P2: command {id} twice");
        }
        if down.confirm {
            let datagram = self.devices[at].acknowledge();
            self.send_up(at, &datagram);
        }
    }

    /// The store makes one of the changes under way, refuses it, or never hears of it.
    fn write_one(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let (gateway, waiting, change) = self.under_way.swap_remove(self.noise.below(self.under_way.len()));
        let record = change.value().record.clone();
        let at = usize::from(record.device_id().as_bytes()[0]) - 1;
        if self.noise.once_in(8) {
            return;
        }
        if let Some(durable) = self.store.make(change) {
            self.written.push(record);
            // Of one in a few, the gateway never learns that it was made.
            if !self.noise.once_in(8) {
                self.proved.push((gateway, waiting, durable));
            }
        } else {
            self.refused += 1;
            self.read_now(gateway, at);
        }
    }

    /// The oldest proof of one gateway arrives.
    fn prove_one(&mut self) {
        let gateway = self.noise.below(GATEWAYS);
        let Some(first) = self.proved.iter().position(|(of, ..)| *of == gateway) else { return };
        let (_, waiting, durable) = self.proved.remove(first);
        let device_id = durable.value().record.device_id();
        let at = usize::from(device_id.as_bytes()[0]) - 1;
        let server = &mut self.gateways[gateway].server;
        match waiting {
            Waiting::Hello(held) => match server.commit(held, durable) {
                Ok(committed) => {
                    let fresh = fresh(committed);
                    if let Some(payload) = &fresh.payload {
                        self.deliver(at, payload);
                    }
                    self.word(fresh.unknown, "unknown");
                    if let Some(welcome) = &fresh.welcome {
                        self.send_down(at, welcome);
                    }
                }
                Err(error) => self.conflict(gateway, at, error),
            },
            Waiting::Admin(admin) => match server.apply(admin, durable) {
                Ok(unknown) => self.word(unknown, "unknown"),
                Err(error) => self.conflict(gateway, at, error),
            },
        }
    }

    /// Another gateway's change came in between.
    fn conflict(&mut self, gateway: usize, at: usize, error: CommitError) {
        assert_eq!(error, CommitError::Conflict);
        self.conflicts += 1;
        self.read_now(gateway, at);
    }

    /// A gateway is handed a record: what the store holds, or what it once held.
    fn read(&mut self, gateway: usize, at: usize) {
        let old = self.written.iter().rev().take(60).filter(|r| r.device_id() == self.devices[at].id);
        let old: Vec<_> = old.cloned().collect();
        if old.is_empty() || !self.noise.once_in(3) {
            return self.read_now(gateway, at);
        }
        let record = old[self.noise.below(old.len())].clone();
        self.hand(gateway, at, record);
    }

    fn read_now(&mut self, gateway: usize, at: usize) {
        let record = self.store.record(self.devices[at].id);
        self.hand(gateway, at, record);
    }

    fn hand(&mut self, gateway: usize, at: usize, record: Record) {
        let world = &mut self.gateways[gateway];
        let index = world.index(&self.devices[at]);
        match world.server.refresh(index, record) {
            Ok(unknown) => {
                self.word(unknown, "unknown");
                self.follow_up(gateway, index);
            }
            Err(error) => assert_eq!(error, TableError::Older),
        }
    }

    fn command(&mut self, gateway: usize, at: usize) {
        let payload = self.payload(at);
        let id = CommandId(as_payload(&payload).into());
        let world = &mut self.gateways[gateway];
        let Ok((sending, mark)) = world.server.begin_command(self.devices[at].id, id, 4) else { return };
        let sealed = world.server.seal_command(world.now, sending, &mark.committed(), &payload).unwrap();
        if let Some(datagram) = sealed.map(|transmit| transmit.datagram.to_vec()) {
            self.send_down(at, &datagram);
        }
    }

    fn set_status(&mut self, gateway: usize, at: usize, status: Status) {
        let (admin, change) = self.gateways[gateway].server.set_status(self.devices[at].id, status).unwrap();
        self.under_way.push((gateway, Waiting::Admin(admin), change));
    }

    fn rotate(&mut self, gateway: usize, at: usize) {
        let device = &self.devices[at];
        let begun = self.gateways[gateway].server.begin_rotation(device.id, &device.rotation_key);
        if let Ok((admin, change)) = begun {
            self.under_way.push((gateway, Waiting::Admin(admin), change));
        }
    }

    fn reboot(&mut self, at: usize) {
        let device = &mut self.devices[at];
        (device.boot, device.count) = (device.boot + 1, 0);
        (device.session, device.asked) = (None, None);
    }

    /// Of each change under way at this gateway the store has made all or nothing.
    fn crash(&mut self, gateway: usize) {
        let (own, others) =
            std::mem::take(&mut self.under_way).into_iter().partition::<Vec<_>, _>(|(of, ..)| *of == gateway);
        self.under_way = others;
        for (.., change) in own {
            let record = change.value().record.clone();
            if self.noise.once_in(2) && self.store.make(change).is_some() {
                self.written.push(record);
            }
        }
        self.proved.retain(|(of, ..)| *of != gateway);
        let world = &mut self.gateways[gateway];
        world.store = self.store.clone();
        world.crash();
    }

    /// Everything under way comes to its end, and all gateways read the store until nothing is due. Then one of them at
    /// most has a session of each device.
    fn settle(&mut self) {
        self.under_way.clear();
        while !self.proved.is_empty() {
            self.prove_one();
        }
        self.under_way.clear();
        for at in 0..self.devices.len() {
            for turn in 0.. {
                assert!(turn < 4 * GATEWAYS, "confirmations of device {at} without end");
                let gateway = turn % GATEWAYS;
                self.read_now(gateway, at);
                self.under_way.clear();
                let server = &mut self.gateways[gateway].server;
                let index = server.table().find(self.devices[at].id).unwrap();
                if server.confirmation_to_write(index) {
                    let (admin, change) = server.write_confirmation(index).unwrap();
                    let durable = self.store.make(change).unwrap();
                    let unknown = server.apply(admin, durable).unwrap();
                    self.word(unknown, "unknown");
                } else if turn >= 3 * GATEWAYS {
                    break;
                }
            }
            let serve = |world: &&World| {
                let index = world.index(&self.devices[at]);
                world.server.table().peer(index).unwrap().has_session()
            };
            assert!(self.gateways.iter().filter(serve).count() <= 1, "two gateways serve device {at}");
        }
    }

    /// P5: with a network that works and one gateway in range, everybody is back after three round trips.
    fn recover(&mut self) {
        self.settle();
        self.down.clear();
        for at in 0..self.devices.len() {
            let gateway = self.noise.below(GATEWAYS);
            self.gateways[gateway].store = self.store.clone();
            self.gateways[gateway].set_status(&self.devices[at], Status::Quarantined);
            self.gateways[gateway].set_status(&self.devices[at], Status::Active);
            self.store = self.gateways[gateway].store.clone();
            self.devices[at].session = None;
            let back = (0..3).any(|_| self.exchange(gateway, at));
            assert!(back, "device {at} is not back at {gateway}");
            self.settle();
            let (world, device) = (&self.gateways[gateway], &self.devices[at]);
            assert!(world.server.table().peer(world.index(device)).unwrap().has_session());
        }
    }

    fn exchange(&mut self, gateway: usize, at: usize) -> bool {
        let device = &mut self.devices[at];
        let datagram = if device.session.is_some() { device.data(b"", true) } else { device.hello(b"") };
        let world = &mut self.gateways[gateway];
        world.now += 60_000;
        world.store = self.store.clone();
        let outcome = world.deliver(u16::try_from(at).unwrap(), &datagram);
        self.store = world.store.clone();
        match outcome {
            Outcome::Data(data) => {
                self.word(data.unknown, "unknown");
                return data.confirmed && data.answer.is_some();
            }
            Outcome::Fresh(fresh) => {
                self.word(fresh.unknown, "unknown");
                assert!(!self.devices[at].welcome(&fresh.welcome.unwrap()));
            }
            Outcome::Answered(AnswerKind::Floor, floor, _) => drop(self.devices[at].floor(&floor)),
            other => panic!("{other:?}"),
        }
        false
    }
}

#[test]
fn gateways_that_know_too_little_deliver_nothing_twice_and_keep_nobody_out() {
    let (mut delivered, mut executed, mut confirmations, mut conflicts, mut refused) = (0, 0, 0, 0, 0);
    let seeds = std::env::var("MOTESEAL_SEEDS").ok().map_or(4, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut fleet = Fleet::new(seed);
        for _ in 0..3 {
            for _ in 0..1_000 {
                fleet.step();
            }
            fleet.recover();
        }
        delivered += fleet.delivered.len();
        executed += fleet.executed.len();
        confirmations += fleet.confirmations;
        conflicts += fleet.conflicts;
        refused += fleet.refused;
    }
    let counts = [delivered, executed, confirmations, conflicts, refused];
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}
