//! State is lost, on either side: both come back by themselves.

use std::time::Duration;

use serde_json::json;

use crate::auditor::Opened;
use crate::gateway::count;
use crate::promises;
use crate::rig::{COUNTER, Rig};

#[test]
fn a_device_whose_counter_was_erased_comes_back() {
    let (rig, mut gateway) = Rig::start();
    for boot in 1..=3 {
        let mut machine = rig.machine(100);
        assert_eq!(machine.expect("device"), format!("{} boot {boot}", rig.id));
        machine.expect("session");
        machine.expect("acknowledged");
        machine.kill();
    }
    let mut contents = rig.read_flash();
    contents[COUNTER].fill(0xFF);
    rig.write_flash(&contents);
    gateway.listen(Duration::from_millis(50));
    let before = gateway.told.len();

    let mut machine = rig.machine(100);
    assert_eq!(machine.expect("device"), format!("{} boot 1", rig.id));
    assert_eq!(machine.expect("stale"), "3.0 moved");
    assert_eq!(machine.expect("session"), "4.0");
    gateway.expect("floor");
    let moved = gateway.expect("moved");
    assert_eq!((&moved["from"], &moved["excused"]), (&json!(1), &json!(false)), "{moved}");
    for _ in 0..3 {
        machine.expect("acknowledged");
    }
    let lines = machine.kill();
    // From the moved counter the next boot goes on as if nothing had happened.
    let mut machine = rig.machine(100);
    assert_eq!(machine.expect("device"), format!("{} boot 5", rig.id));
    assert_eq!(machine.expect("session"), "5.0");
    machine.expect("acknowledged");
    machine.kill();
    let told = gateway.stop();

    // M-32: nothing of that boot went out early before the Floor.
    let auditor = rig.audit();
    let earlies: Vec<_> = auditor
        .opened
        .iter()
        .filter_map(|opened| match opened {
            Opened::Hello { epoch, early } => Some((epoch.boot(), early.is_empty())),
            _ => None,
        })
        .collect();
    assert_eq!(earlies, [(1, false), (2, false), (3, false), (1, true), (4, false), (5, false)]);
    let acknowledged = promises::acknowledged(&lines);
    assert!(acknowledged.len() >= 3, "{acknowledged:?}");
    let delivered = promises::delivered(&told[before..]);
    assert!(acknowledged.is_subset(&delivered), "{acknowledged:?} {delivered:?}");
    assert_eq!(count(&told, "floor"), 1);
}

#[test]
fn a_gateway_killed_and_started_again_is_found_again() {
    let (rig, mut gateway) = Rig::start();
    let mut machine = rig.machine(150);
    machine.expect("session");
    for _ in 0..3 {
        machine.expect("acknowledged");
    }
    let mut told = gateway.kill();
    machine.listen(Duration::from_millis(400));
    gateway = rig.restart_gateway();
    machine.expect("reset");
    gateway.expect("reset");
    assert_eq!(machine.expect("session"), "1.1");
    for _ in 0..3 {
        machine.expect("acknowledged");
    }
    let runs = [machine.kill()];
    told.extend(gateway.stop());
    let auditor = rig.audit();
    assert!(auditor.count(|opened| matches!(opened, Opened::Reset { .. })) > 0);
    promises::are_kept(&auditor, &runs, &told);
    assert_eq!(promises::boots(&runs), [1]);
}
