//! A network that loses, repeats, reorders and replays, under devices that reboot and a server that crashes, is
//! restored, and has several changes under way. What must hold: P1, P2, P3 (in [`Recording`]), P5, and one word for
//! each command.

use std::collections::{HashMap, HashSet};

use moteseal::server::{AnswerKind, CommandId, Received, Table};

use crate::support::*;

const DEVICES: u8 = 4;

struct Network {
    world: World,
    devices: Vec<Device>,
    noise: Noise,
    /// Every datagram to the server, with its source, and those under way.
    sent_up: Vec<(Address, Vec<u8>)>,
    up: Vec<(Address, Vec<u8>)>,
    /// Every datagram to a device, and those under way.
    sent_down: Vec<(usize, Vec<u8>)>,
    down: Vec<(usize, Vec<u8>)>,
    pending: Vec<Pending>,
    backups: Vec<Store>,
    next_payload: u32,
    /// Who sent a payload, and what was delivered.
    owner: HashMap<u32, usize>,
    delivered: HashSet<u32>,
    commanded: HashMap<u64, usize>,
    executed: HashSet<u64>,
    words: HashMap<u64, &'static str>,
}

fn as_payload(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

impl Network {
    fn new(seed: u64) -> Self {
        let devices: Vec<_> = (1..=DEVICES).map(Device::new).collect();
        Self {
            world: World::new(&devices.iter().collect::<Vec<_>>()),
            devices,
            noise: Noise(seed),
            sent_up: Vec::new(),
            up: Vec::new(),
            sent_down: Vec::new(),
            down: Vec::new(),
            pending: Vec::new(),
            backups: Vec::new(),
            next_payload: 0,
            owner: HashMap::new(),
            delivered: HashSet::new(),
            commanded: HashMap::new(),
            executed: HashSet::new(),
            words: HashMap::new(),
        }
    }

    fn step(&mut self, restores: bool) {
        self.world.now += 500;
        let at = self.noise.below(usize::from(DEVICES));
        match self.noise.below(25) {
            0..8 => self.speak(at),
            8..16 => self.carry_up(),
            16..19 => self.carry_down(),
            19..21 => self.settle_one(),
            21..23 => self.command(at),
            _ => match self.noise.below(30) {
                0 => self.reboot(at),
                1 => self.crash(),
                2 => self.backups.push(self.world.store.clone()),
                3 if restores && !self.backups.is_empty() => {
                    let backup = self.backups[self.noise.below(self.backups.len())].clone();
                    self.pending.clear();
                    self.world.restore(backup);
                }
                4 if !restores => self.rotate(at),
                _ => {}
            },
        }
        for at in 0..self.devices.len() {
            while let Some((datagram, _)) = self.world.poll(&self.devices[at]) {
                self.send_down(at, &datagram);
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
        let (says_hello, repeats) = (self.noise.once_in(20), self.noise.once_in(2));
        let confirm = self.noise.once_in(2);
        let device = &mut self.devices[at];
        let datagram = match (&device.asked, &device.session) {
            (Some(asked), _) if repeats => asked.datagram.clone(),
            (_, Some(_)) if !says_hello => device.data(&payload, confirm),
            _ => device.hello(&payload),
        };
        let from = if self.noise.once_in(9) { 50 } else { u16::try_from(at).unwrap() };
        self.sent_up.push((from, datagram.clone()));
        for _ in 0..[0, 1, 1, 2][self.noise.below(4)] {
            self.up.push((from, datagram.clone()));
        }
    }

    fn carry_up(&mut self) {
        let (from, datagram) = if self.noise.once_in(3) && !self.sent_up.is_empty() {
            let at = self.noise.below(self.sent_up.len());
            (if self.noise.once_in(2) { 99 } else { self.sent_up[at].0 }, self.sent_up[at].1.clone())
        } else if self.up.is_empty() {
            return;
        } else {
            self.up.swap_remove(self.noise.below(self.up.len()))
        };
        match self.world.receive(from, &datagram) {
            Received::Rejected { .. } => {}
            Received::Answered { device_id, answer, kind, .. } => {
                assert!(answer.as_bytes().len() <= datagram.len() || kind == AnswerKind::Acknowledgement);
                self.answer(device_id.as_bytes()[0], answer.as_bytes());
            }
            Received::Pending(held, change) => self.pending.push((held, change)),
            Received::Data(data) => {
                let number = data.device_id.as_bytes()[0];
                if let Some(payload) = &data.payload {
                    self.deliver(number, payload.as_bytes());
                }
                self.word(data.acknowledged, "acknowledged");
                self.word(data.unknown, "unknown");
                if let Some((answer, _)) = &data.answer {
                    self.answer(number, answer.as_bytes());
                }
                let index = data.index;
                if self.world.server.rotation_to_finish(index).is_some() {
                    let (admin, change) = self.world.server.finish_rotation(index).unwrap();
                    if let Some(durable) = self.world.store.make(change) {
                        let unknown = self.world.server.apply(admin, durable).unwrap();
                        self.word(unknown, "unknown");
                    }
                }
            }
        }
    }

    fn deliver(&mut self, number: u8, bytes: &[u8]) {
        let payload = as_payload(bytes);
        assert_eq!(self.owner[&payload], usize::from(number) - 1, "P1");
        assert!(self.delivered.insert(payload), "P2: {payload} twice");
    }

    fn word(&mut self, command: Option<CommandId>, word: &'static str) {
        let Some(CommandId(id)) = command else { return };
        assert_eq!(self.words.insert(id, word), None, "M-102: two words about {id}");
        assert!(word == "unknown" || self.executed.contains(&id), "{id} was never taken");
    }

    fn answer(&mut self, number: u8, datagram: &[u8]) {
        self.send_down(usize::from(number) - 1, datagram);
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
        self.hear(at, &datagram);
    }

    fn hear(&mut self, at: usize, datagram: &[u8]) {
        let device = &mut self.devices[at];
        if device.try_welcome(datagram).is_some() || device.try_floor(datagram).is_some() {
            return;
        }
        if datagram[0] & 0xF0 == 0x70 {
            if device.session.is_some() && device.asked.is_none() && device.reset(datagram).is_ok() {
                device.session = None;
            }
            return;
        }
        let Some(down) = device.try_open(datagram) else { return };
        if let Some(control) = &down.control {
            device.rotate(control);
        }
        if !down.payload.is_empty() {
            let id = u64::from(as_payload(&down.payload));
            assert_eq!(self.commanded[&id], at, "P1");
            assert!(self.executed.insert(id), "P2: command {id} twice");
        }
        if down.confirm && !self.noise.once_in(4) {
            let datagram = self.devices[at].acknowledge();
            let from = u16::try_from(at).unwrap();
            self.sent_up.push((from, datagram.clone()));
            self.up.push((from, datagram));
        }
    }

    /// One of the changes under way gets durable, or is given up.
    fn settle_one(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let (held, change) = self.pending.swap_remove(self.noise.below(self.pending.len()));
        if self.noise.once_in(5) {
            return;
        }
        let number = held.device_id().as_bytes()[0];
        let Some(fresh) = self.world.finish((held, change)) else { return };
        if let Some(payload) = &fresh.payload {
            self.deliver(number, payload);
        }
        self.word(fresh.unknown, "unknown");
        if let Some(welcome) = &fresh.welcome {
            self.answer(number, welcome);
        }
    }

    fn command(&mut self, at: usize) {
        let payload = self.payload(at);
        let id = u64::from(as_payload(&payload));
        let Ok((sending, mark)) = self.world.server.begin_command(self.devices[at].id, CommandId(id), 4)
        else {
            return;
        };
        if self.noise.once_in(5) {
            return self.world.server.give_up(&sending);
        }
        self.commanded.insert(id, at);
        let sealed = self.world.server.seal_command(self.world.now, sending, &mark.committed(), &payload);
        if let Some(transmit) = sealed.unwrap() {
            let datagram = transmit.datagram.to_vec();
            self.send_down(at, &datagram);
        }
    }

    fn reboot(&mut self, at: usize) {
        let device = &mut self.devices[at];
        (device.boot, device.count) = (device.boot + 1, 0);
        (device.session, device.asked) = (None, None);
    }

    /// The power is cut: of each change under way the store has made all or nothing.
    fn crash(&mut self) {
        for (held, change) in std::mem::take(&mut self.pending) {
            drop(held);
            if self.noise.once_in(2) {
                drop(self.world.store.make(change));
            }
        }
        self.world.crash();
    }

    fn rotate(&mut self, at: usize) {
        let device = &self.devices[at];
        if let Ok((admin, change)) = self.world.server.begin_rotation(device.id, &device.rotation_key)
            && let Some(durable) = self.world.store.make(change)
        {
            self.world.server.apply(admin, durable).unwrap();
        }
    }

    /// P5: with a network that works, everybody is back after three round trips.
    fn recover(&mut self) {
        self.pending.clear();
        self.down.clear();
        for at in 0..self.devices.len() {
            self.devices[at].session = None;
            let back = (0..3).any(|_| {
                self.world.now += 60_000;
                let datagram = match self.devices[at].session {
                    Some(_) => self.devices[at].data(b"", true),
                    None => self.devices[at].hello(b""),
                };
                match self.world.deliver(u16::try_from(at).unwrap(), &datagram) {
                    Outcome::Data(data) => return data.confirmed && data.answer.is_some(),
                    Outcome::Fresh(fresh) => assert!(!self.devices[at].welcome(&fresh.welcome.unwrap())),
                    Outcome::Answered(AnswerKind::Floor, floor, _) => drop(self.devices[at].floor(&floor)),
                    other => panic!("{other:?}"),
                }
                false
            });
            assert!(back, "device {at} is not back");
            assert!(self.world.server.table().find(self.devices[at].id).is_some());
        }
    }
}

#[test]
fn a_hostile_network_gets_nothing_delivered_twice_and_keeps_nobody_out() {
    let (mut delivered, mut executed, mut acknowledged) = (0, 0, 0);
    for seed in 0..8 {
        let mut network = Network::new(seed);
        for round in 0..4 {
            for _ in 0..700 {
                network.step(seed % 2 == 0);
            }
            network.recover();
            assert!(round > 0 || !network.delivered.is_empty());
        }
        delivered += network.delivered.len();
        executed += network.executed.len();
        acknowledged += network.words.values().filter(|word| **word == "acknowledged").count();
    }
    // The network was hostile, and still carried something of everything.
    assert!(delivered > 500 && executed > 50 && acknowledged > 25, "{delivered} {executed} {acknowledged}");
}
