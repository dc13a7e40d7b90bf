//! Calls in random orders, with a network, a server, flash and a generator that misbehave: whatever a program does, no
//! nonce seals two things, nothing is delivered twice, and each outcome is told once and is true.
//!
//! `MOTESEAL_SEEDS=100000 cargo test --release -p moteseal-capi --test interface sequences` looks for longer.

use std::collections::{BTreeMap, BTreeSet};

use moteseal_capi::error::Error;
use moteseal_capi::sizes::{DATAGRAM_MAX, FLASH_LEN, FLASH_PAGE};
use moteseal_capi::types::{Event, Outcome, Settled};
use moteseal_sim::nor::{Fault, Tear};

use crate::board::{Answer, Mote, Rng, booted};
use crate::site::{Site, provision};

const STEPS: u32 = 400;
const PAYLOAD_MAX: u64 = DATAGRAM_MAX as u64 - 37;

/// Dice (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % sides
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).unwrap()
    }
}

/// A device, its server, and what each has said.
struct World {
    dice: Dice,
    mote: Mote,
    site: Site,
    now: u64,
    server_now: u64,
    /// What is on its way, either way; anything may come any number of times.
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
    /// What was sealed under each nonce: epoch and salt of a Hello, or a session and a number in it.
    sealed: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
    sessions: u32,
    in_session: u32,
    payloads: u32,
    commands: u64,
    /// The payloads of this boot that have a ticket and no outcome yet.
    awaited: BTreeMap<u16, String>,
    never_sealed: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
    obeyed: BTreeSet<Vec<u8>>,
}

/// Errors of hardware come while hardware misbehaves; the others are named.
fn may_fail<T>(answer: Answer<T>, with: &[Error]) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(error) => {
            assert!((32..64).contains(&(error as u8)) || with.contains(&error), "{error:?}");
            None
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let (flash, site) = provision(FLASH_PAGE as usize);
        Self {
            dice: Dice(seed),
            mote: booted(flash),
            site,
            now: 0,
            server_now: 0,
            up: Vec::new(),
            down: Vec::new(),
            sealed: BTreeMap::new(),
            sessions: 0,
            in_session: 0,
            payloads: 0,
            commands: 0,
            awaited: BTreeMap::new(),
            never_sealed: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            obeyed: BTreeSet::new(),
        }
    }

    /// A datagram of the device: its nonce has sealed nothing else.
    fn says(&mut self, datagram: Vec<u8>) {
        if datagram.is_empty() {
            return;
        }
        let nonce = if datagram[0] & 0x30 == 0 {
            (0, datagram[9..21].to_vec())
        } else {
            // Fewer than 256 numbers a session, so the last byte of the number tells them apart.
            self.in_session += 1;
            (self.sessions, vec![datagram[2 + usize::from(datagram[0] >> 3 & 1)]])
        };
        let before = self.sealed.entry(nonce.clone()).or_insert_with(|| datagram.clone());
        assert_eq!(*before, datagram, "two datagrams under the nonce {nonce:?}");
        self.up.push(datagram);
    }

    fn settle(&mut self, settled: &[Settled]) {
        for Settled { ticket, outcome } in settled {
            let payload = self.awaited.remove(ticket).expect("an outcome is told once");
            self.outcome(payload, *outcome);
        }
    }

    fn outcome(&mut self, payload: String, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => drop(self.acknowledged.insert(payload)),
            Outcome::Unsent => drop(self.never_sealed.insert(payload)),
            Outcome::Unknown => {}
            Outcome::None => panic!("an outcome that is none"),
        }
    }

    fn send(&mut self) {
        self.payloads += 1;
        let len = if self.dice.roll(20) == 0 { PAYLOAD_MAX + 1 } else { 1 + self.dice.roll(PAYLOAD_MAX) };
        let payload = format!("{:0len$}", self.payloads, len = usize::try_from(len).unwrap());
        let confirm = self.dice.roll(2) == 0;
        let sent = self.mote.send(self.now, payload.as_bytes(), confirm);
        let Some((ticket, datagram)) = may_fail(sent, &[Error::Busy, Error::TooLong]) else {
            self.never_sealed.insert(payload);
            return;
        };
        if ticket != 0 {
            assert_eq!(self.awaited.insert(ticket, payload), None);
        }
        self.says(datagram);
    }

    fn poll(&mut self) {
        for _ in 0..10 {
            match may_fail(self.mote.poll(self.now), &[]) {
                Some(datagram) if !datagram.is_empty() => self.says(datagram),
                _ => return,
            }
        }
        panic!("it speaks without end");
    }

    /// One of a side's datagrams, whole or broken.
    fn pick(&mut self, from_device: bool) -> Vec<u8> {
        let on_way = if from_device { &self.up } else { &self.down };
        // The newest ones most of the time.
        let span = if self.dice.roll(4) == 0 { on_way.len() } else { on_way.len().min(2) };
        let mut datagram =
            if span == 0 { vec![0x50; 31] } else { on_way[on_way.len() - 1 - self.dice.index(span)].clone() };
        match self.dice.roll(12) {
            0 => datagram.truncate(self.dice.index(datagram.len() + 1)),
            1 => datagram.extend([0; 700]),
            2 | 3 => {
                let at = self.dice.index(datagram.len());
                datagram[at] ^= 1 << self.dice.roll(8);
            }
            _ => {}
        }
        datagram
    }

    fn receive(&mut self) {
        let datagram = self.pick(false);
        let (error, received, command) = self.mote.receive(self.now, &datagram);
        assert!(error == Error::Ok || error as u8 >= 32, "{error:?}");
        self.settle(&received.settled[..received.settled_count.into()]);
        if let Some(command) = command {
            assert_eq!(error, Error::Ok);
            assert!(self.obeyed.insert(command), "a command is handed up once");
        }
        if received.event == Event::SessionOpened {
            (self.sessions, self.in_session) = (self.sessions + 1, 0);
        }
    }

    fn server_receives(&mut self) {
        let datagram = self.pick(true);
        if let Ok(answers) = self.site.take(self.server_now, &datagram) {
            self.down.extend(answers);
        }
    }

    fn command(&mut self) {
        self.commands += 1;
        let payload = format!("command {}", self.commands);
        if let Ok(datagram) = self.site.try_command(self.server_now, self.commands, payload.as_bytes()) {
            self.down.extend(datagram);
        }
    }

    fn withdraw(&mut self) {
        let ticket = self.awaited.keys().next().copied().unwrap_or(9);
        let outcome = self.mote.withdraw(self.now, ticket).unwrap();
        if outcome != Outcome::None {
            let payload = self.awaited.remove(&ticket).expect("an outcome is told once");
            self.outcome(payload, outcome);
        }
    }

    fn close(&mut self) {
        let (closed, datagram) = self.mote.close(self.now).unwrap();
        self.settle(&closed.settled[..closed.settled_count.into()]);
        assert!(self.awaited.is_empty(), "all outcomes are told");
        self.says(datagram);
        self.in_session = 0;
    }

    /// The power goes, or the device is wiped; it comes up again once its hardware does.
    fn restart(&mut self) {
        if self.dice.roll(2) == 0 {
            self.mote.wipe().unwrap();
        }
        self.awaited.clear();
        self.in_session = 0;
        while may_fail(self.mote.reboot(), &[]).is_none() {
            self.hardware_works();
        }
    }

    fn hardware_works(&mut self) {
        self.mote.hardware.rng.set(Rng::Works);
        self.mote.hardware.flash.borrow_mut().clear_faults();
    }

    fn hardware_misbehaves(&mut self) {
        let hardware = &self.mote.hardware;
        let dice = &mut self.dice;
        let faults = [
            Fault::ReadFails,
            Fault::WriteFails,
            Fault::WriteIgnored,
            Fault::EraseFails,
            Fault::EraseIgnored,
        ];
        let page = dice.index(5) * FLASH_PAGE as usize;
        match dice.roll(4) {
            0 => hardware.rng.set([Rng::Fails, Rng::Gives(0), Rng::Gives(0xFF)][dice.index(3)]),
            1 => hardware.flash.borrow_mut().cut_power(dice.roll(3), Tear::Random(dice.roll(u64::MAX))),
            2 => hardware.flash.borrow_mut().set_fault(page..page + 64, faults[dice.index(5)]),
            _ => hardware.flash.borrow_mut().set_fault(0..FLASH_LEN as usize, faults[dice.index(5)]),
        }
    }

    /// Time goes on, stands, jumps, or runs backwards.
    fn time_passes(&mut self) {
        let deadline = self.mote.deadline().unwrap();
        self.now = match self.dice.roll(40) {
            0 => u64::MAX - self.dice.roll(2),
            1 => 0,
            2 => self.now / 2,
            3 => self.now.saturating_add(1 << 40),
            4..10 => self.now.saturating_add(self.dice.roll(700_000)),
            10..30 if deadline != u64::MAX => self.now.max(deadline),
            _ => self.now.saturating_add(self.dice.roll(1_000)),
        };
        self.server_now += self.dice.roll(5_000);
    }

    fn step(&mut self) {
        if self.in_session > 200 {
            self.close();
        }
        match self.dice.roll(100) {
            0..18 => self.send(),
            18..38 => self.poll(),
            38..58 => self.receive(),
            58..76 => self.server_receives(),
            76..84 => self.time_passes(),
            84..88 => self.command(),
            88 => self.mote.connect(self.now).unwrap(),
            89 => self.withdraw(),
            90 => self.close(),
            91 => self.restart(),
            92 => self.hardware_misbehaves(),
            93 | 94 => self.hardware_works(),
            95 => self.site.restart(),
            96 => drop(self.site.begin_rotation()),
            97 => drop(self.site.finish_rotation()),
            98 => self.down.extend(self.site.poll(self.server_now)),
            _ => drop(may_fail(self.mote.boot_count(), &[])),
        }
    }

    /// Nothing came twice, and each outcome was true.
    fn check(&self) {
        let delivered: BTreeSet<_> = self.site.payloads.iter().cloned().collect();
        assert_eq!(delivered.len(), self.site.payloads.len(), "a payload was delivered twice");
        assert!(self.acknowledged.is_subset(&delivered), "acknowledged, and never recorded");
        assert!(self.never_sealed.is_disjoint(&delivered), "unsent, and recorded");
    }
}

#[test]
fn whatever_a_program_does_no_promise_is_broken() {
    let seeds = std::env::var("MOTESEAL_SEEDS").map_or(60, |seeds: String| seeds.parse().unwrap());
    let (mut delivered, mut obeyed, mut acknowledged) = (0, 0, 0);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..STEPS).for_each(|_| world.step());
            world.check();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
        delivered += world.site.payloads.len();
        obeyed += world.obeyed.len();
        acknowledged += world.acknowledged.len();
    }
    // The orders are such that much works.
    let least = usize::try_from(seeds).unwrap() / 5;
    assert!(delivered > 20 * least && acknowledged > 5 * least && obeyed > least);
}
