//! The power goes at any moment, again and again, on a network that loses and delays.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::auditor::Opened;
use crate::gateway::Gateway;
use crate::promises;
use crate::relay::Fate;
use crate::rig::Rig;

/// How often the power goes.
const CUTS: usize = 20;

/// A small generator: the schedule is the seed's, the moments are the machine's.
pub struct Dice(u64);

impl Dice {
    /// From `MOTESEAL_SEED`, or from the time; says which, so that a run can be tried again.
    pub fn thrown() -> Self {
        let seed = match std::env::var("MOTESEAL_SEED") {
            Ok(seed) => seed.parse().expect("MOTESEAL_SEED is a number"),
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()),
        };
        println!("MOTESEAL_SEED={seed}");
        Self(seed)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn a_device_killed_at_any_moment_keeps_its_word() {
    let mut dice = Dice::thrown();
    let (rig, mut gateway) = Rig::start();
    let mut fates = Dice(dice.roll(1 << 30));
    rig.relay.rule(move |_, _| match fates.roll(16) {
        0 => Fate::Lose,
        1 => Fate::Delay(Duration::from_millis(fates.roll(120))),
        _ => Fate::Pass,
    });
    let mut runs = Vec::new();
    let mut commands = Vec::new();
    for cut in 0..CUTS {
        let mut machine = rig.machine(60);
        if cut % 3 == 0 {
            let payload = format!("command {cut}").into_bytes();
            commands.push((rig.send(&payload), payload));
        }
        // Some do not live any longer than until the first write to their flash: that is the boot counter's.
        if cut % 4 == 1 {
            rig.wait_for_write();
        } else {
            machine.listen(Duration::from_millis(dice.roll(1800)));
        }
        runs.push(machine.kill());
    }
    rig.relay.rule(|_, _| Fate::Pass);
    // Whatever happened, it comes back by itself.
    let mut machine = rig.machine(60);
    machine.expect("session");
    machine.expect("acknowledged");
    settle_commands(&mut gateway, commands.len());
    machine.expect("acknowledged");
    runs.push(machine.kill());
    let told = gateway.stop();

    let auditor = rig.audit();
    let delivered = promises::are_kept(&auditor, &runs, &told);
    let boots = promises::boots(&runs);
    assert!(boots.is_sorted_by(|before, after| before < after), "{boots:?}");
    obeyed_once(&runs, &told, &commands);
    let sessions = auditor.count(|opened| matches!(opened, Opened::Welcome { .. }));
    println!(
        "{} datagrams, {sessions} sessions, {} payloads delivered, {} runs cut before they spoke, boots {boots:?}",
        auditor.opened.len(),
        delivered.len(),
        runs.len() - boots.len()
    );
    assert!(sessions >= CUTS / 4 && delivered.len() > CUTS, "hardly anything happened");
}

/// Waits until each command has come to an outcome.
fn settle_commands(gateway: &mut Gateway, count: usize) {
    let outcomes = |told: &[Value]| {
        told.iter().filter(|event| event["event"] == "acknowledged" || event["event"] == "unknown").count()
    };
    for _ in 0..200 {
        if outcomes(&gateway.told) == count {
            return;
        }
        gateway.listen(Duration::from_millis(100));
    }
    panic!("not every command has its outcome: {:#?}", gateway.told);
}

/// A command runs at most once, and one that is acknowledged ran.
fn obeyed_once(runs: &[Vec<String>], told: &[Value], commands: &[(Value, Vec<u8>)]) {
    let obeyed = promises::commands(runs);
    assert!(obeyed.values().all(|times| *times == 1), "{obeyed:?}");
    let mut acknowledged = 0;
    for event in told.iter().filter(|event| event["event"] == "acknowledged") {
        let (_, payload) = commands.iter().find(|(command, _)| *command == event["command"]).unwrap();
        assert!(obeyed.contains_key(payload), "acknowledged, and not obeyed: {payload:?}");
        acknowledged += 1;
    }
    assert!(acknowledged > 0, "no command arrived");
}
