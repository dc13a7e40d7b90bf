//! A gateway that is killed at any instant: nothing is delivered twice, nothing acknowledged is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use moteseal::number::Epoch;
use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE, Site, count, payloads};
use crate::mote::{Heard, Mote};

/// A small generator: the schedule is the seed's, the instants are the machine's.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What one device was promised, and everything that it ever sent.
struct Ledger {
    mote: Mote,
    serial: u32,
    acknowledged: BTreeSet<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    early: Vec<u8>,
    waits_for: Option<Vec<u8>>,
}

impl Ledger {
    fn payload(&mut self) -> Vec<u8> {
        self.serial += 1;
        format!("{} {}", self.mote.id, self.serial).into_bytes()
    }

    /// One step: it sends what it would, and hears what there is.
    fn step(&mut self, gateway: &Gateway, dice: &mut Dice) {
        if self.mote.session.is_some() {
            let payload = self.payload();
            let data = self.mote.data(&payload, true);
            self.waits_for = Some(payload);
            self.transmit(gateway, data);
        } else if self.mote.outstanding.is_none() || dice.roll(4) == 0 {
            self.early = self.payload();
            let payload = self.early.clone();
            let hello = self.mote.hello(&payload);
            self.transmit(gateway, hello);
        } else {
            let again = self.mote.hellos.last().unwrap().clone();
            self.transmit(gateway, again);
        }
        if dice.roll(3) == 0 {
            let old = usize::try_from(dice.roll(self.sent.len() as u64)).unwrap();
            self.mote.send(&self.sent[old], gateway.addr);
        }
        while let Some(heard) = self.mote.hear(Duration::from_millis(4)) {
            match heard {
                Heard::Welcome { early_taken } => {
                    if early_taken {
                        self.acknowledged.insert(self.early.clone());
                    }
                }
                Heard::Ack => self.acknowledged.extend(self.waits_for.take()),
                Heard::Floor(_) | Heard::Reset | Heard::Repeat(_) | Heard::Other => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn transmit(&mut self, gateway: &Gateway, datagram: Vec<u8>) {
        self.mote.send(&datagram, gateway.addr);
        self.sent.push(datagram);
    }
}

#[test]
fn a_gateway_killed_at_any_instant_keeps_its_word() {
    let site = Site::new(3);
    let mut dice = Dice(7);
    let mut told: Vec<Value> = Vec::new();
    let mut ledgers: Vec<Ledger> = (1..=3)
        .map(|number| Ledger {
            mote: Mote::new(number),
            serial: 0,
            acknowledged: BTreeSet::new(),
            sent: Vec::new(),
            early: Vec::new(),
            waits_for: None,
        })
        .collect();
    for round in 0..16 {
        let gateway = site.start();
        // Of what the one before was sent, some is still on the way, and a new one hears it.
        for ledger in &mut ledgers {
            while ledger.mote.hear(Duration::from_millis(1)).is_some() {}
            ledger.waits_for = None;
        }
        let end = Instant::now() + Duration::from_millis(20 + dice.roll(250));
        while Instant::now() < end {
            for ledger in &mut ledgers {
                ledger.step(&gateway, &mut dice);
            }
        }
        told.extend(if round == 15 { gateway.stop() } else { gateway.kill() });
    }
    let mut delivered: Vec<_> = payloads(&told, "early");
    delivered.extend(payloads(&told, "data"));
    let once: BTreeSet<_> = delivered.iter().cloned().collect();
    assert_eq!(once.len(), delivered.len(), "delivered twice");
    let mut promised = 0;
    for ledger in &ledgers {
        promised += ledger.acknowledged.len();
        assert!(ledger.acknowledged.is_subset(&once), "{:?}", ledger.acknowledged.difference(&once));
    }
    assert!(promised > 50, "{promised}");
    assert!(count(&told, "reset") > 0, "no gateway was killed with a session");
}

#[test]
fn m_60_m_73_after_a_crash_there_are_floors_and_resets() {
    let site = Site::new(2);
    let gateway = site.start();
    let (mut offered, mut live) = (Mote::new(1), Mote::new(2));
    live.connect(gateway.addr);
    let hello = offered.hello(b"once");
    offered.send(&hello, gateway.addr);
    let outstanding = offered.outstanding;
    assert!(matches!(offered.hear(PATIENCE), Some(Heard::Welcome { .. })));
    let told = gateway.kill();
    assert_eq!(payloads(&told, "early"), [b"once"]);

    let mut gateway = site.start();
    // A session without counters: a Reset, and nothing is delivered.
    let lost = live.data(b"lost", true);
    live.send(&lost, gateway.addr);
    assert_eq!(live.hear(PATIENCE), Some(Heard::Reset));
    gateway.expect("reset");
    // Data under the candidate of before: a Reset too.
    let first = offered.data(b"also lost", true);
    offered.send(&first, gateway.addr);
    assert_eq!(offered.hear(PATIENCE), Some(Heard::Reset));
    // The candidate's own Hello: its Welcome is never sealed again.
    offered.outstanding = outstanding;
    offered.send(&hello, gateway.addr);
    assert_eq!(offered.hear(PATIENCE), Some(Heard::Floor(Epoch::new(1, 0))));
    gateway.expect("floor");
    offered.connect(gateway.addr);
    live.connect(gateway.addr);
    let told = gateway.stop();
    assert_eq!(payloads(&told, "data"), [b"first", b"first"]);
    assert_eq!(count(&told, "early"), 0);
}

#[test]
fn m_106_a_command_that_was_sent_is_unknown_after_a_crash() {
    let site = Site::new(2);
    let mut gateway = site.start();
    let mut commands = Vec::new();
    for (number, idempotent) in [(1, false), (2, true)] {
        let mut mote = Mote::new(number);
        mote.connect(gateway.addr);
        let id = mote.id.to_string();
        let options: &[&str] = if idempotent { &[&id, "aa", "--idempotent"] } else { &[&id, "aa"] };
        commands.push(site.ask("send", options)[0]["command"].clone());
        gateway.expect("sent");
    }
    // One more waits behind it, and goes on waiting.
    let id = Mote::new(1).id.to_string();
    let waiting = site.ask("send", &[&id, "bb"])[0]["command"].clone();
    gateway.kill();

    let mut gateway = site.start();
    let unknown = [gateway.expect("unknown"), gateway.expect("unknown")];
    let outcome = |command: &Value| &unknown.iter().find(|e| e["command"] == *command).unwrap()["requeued"];
    assert_eq!((outcome(&commands[0]), outcome(&commands[1])), (&json!(false), &json!(true)));
    for (number, command, payload) in [(1, &waiting, 0xBB), (2, &commands[1], 0xAA)] {
        let mut mote = Mote::new(number);
        mote.boot = 2;
        mote.connect(gateway.addr);
        assert_eq!(gateway.expect("sent")["command"], *command);
        let Some(Heard::Command(number, heard)) = mote.hear(PATIENCE) else { panic!() };
        assert_eq!(heard, [payload]);
        let ack = mote.ack(number);
        mote.send(&ack, gateway.addr);
        assert_eq!(gateway.expect("acknowledged")["command"], *command);
    }
    gateway.stop();
    // What has come to its end is gone.
    let mut gateway = site.start();
    assert_eq!(count(&gateway.listen(Duration::from_millis(300)), "unknown"), 0);
}
