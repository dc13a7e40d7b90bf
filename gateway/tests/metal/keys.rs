//! Keys that change over the air, whenever the power goes; and a device that is taken out of service.

use std::time::Duration;

use moteseal::number::Generation;

use crate::gateway::{Gateway, count};
use crate::machine::Machine;
use crate::power::Dice;
use crate::promises;
use crate::relay::{Captured, Direction, Fate, is_hello};
use crate::rig::Rig;

fn begin_rotation(rig: &Rig, gateway: &mut Gateway, generation: u8) {
    assert_eq!(rig.site.ask("rotate", &[&rig.id.to_string()])[0]["generation"], generation);
    assert_eq!(gateway.expect("rotation_begun")["generation"], generation);
}

/// The gateway has finished, and the device has one key.
fn is_finished(rig: &Rig, gateway: &mut Gateway, machine: &mut Machine, generation: u8) {
    assert_eq!(gateway.expect("rotation_finished")["generation"], generation);
    machine.expect("acknowledged");
    let slots = rig.generations();
    let newest = Generation::new(generation);
    assert!(slots == [newest, None] || slots == [None, newest], "{slots:?}");
}

fn session(rig: &Rig) -> Machine {
    let mut machine = rig.machine(100);
    machine.expect("session");
    machine.expect("acknowledged");
    machine
}

#[test]
fn a_key_is_rotated_and_the_power_goes_in_the_middle() {
    let mut dice = Dice::thrown();
    let (rig, mut gateway) = Rig::start();
    let mut runs = Vec::new();
    let mut machine = session(&rig);
    begin_rotation(&rig, &mut gateway, 2);
    assert_eq!(machine.expect("key taken"), "2");
    machine.expect("session");
    machine.expect("rotated");
    is_finished(&rig, &mut gateway, &mut machine, 2);

    // The power goes when both keys are in flash and no Hello under the new one has arrived.
    rig.relay.rule(|_, datagram| if is_hello(datagram) { Fate::Lose } else { Fate::Pass });
    let before = rig.relay.captured().len();
    begin_rotation(&rig, &mut gateway, 3);
    assert_eq!(machine.expect("key taken"), "3");
    rig.relay.wait_for(before, Captured::is_hello);
    runs.push(machine.kill());
    assert_eq!(rig.generations().map(|slot| slot.map(Generation::number)), [Some(3), Some(2)]);
    rig.relay.rule(|_, _| Fate::Pass);
    machine = rig.machine(100);
    machine.expect("session");
    machine.expect("rotated");
    is_finished(&rig, &mut gateway, &mut machine, 3);

    // The power goes at any moment of it, flash half written included.
    for generation in 4..=7 {
        begin_rotation(&rig, &mut gateway, generation);
        machine.listen(Duration::from_millis(dice.roll(16)));
        runs.push(machine.kill());
        machine = rig.machine(100);
        machine.expect("session");
        is_finished(&rig, &mut gateway, &mut machine, generation);
    }
    runs.push(machine.kill());
    let told = gateway.stop();
    promises::are_kept(&rig.audit(), &runs, &told);
    assert_eq!(count(&told, "rotation_finished"), 6);
}

#[test]
fn a_revoked_device_gets_nothing_any_more() {
    let (rig, mut gateway) = Rig::start();
    let mut machine = session(&rig);
    gateway.say(&format!("revoke {}", rig.id));
    gateway.expect("revoked");
    // What was on its way arrives.
    machine.listen(Duration::from_millis(300));
    gateway.listen(Duration::from_millis(100));
    let (down, events) = (rig.relay.count(Direction::Down), gateway.told.len());
    let deaf = machine.listen(Duration::from_millis(1500));
    assert!(deaf.iter().all(|line| line.starts_with("sent ")), "{deaf:?}");
    assert!(deaf.len() > 5, "it goes on: {deaf:?}");
    let mut runs = vec![machine.kill()];
    // Nor does it get a new session.
    let mut machine = rig.machine(100);
    machine.expect("sent");
    assert_eq!(machine.wait_for("session", Duration::from_secs(3)), None);
    runs.push(machine.kill());
    assert_eq!(rig.relay.count(Direction::Down), down, "it is answered");
    let told = gateway.stop();
    let rejected = told[events..].iter().filter(|event| event["event"] == "rejected");
    assert!(rejected.clone().all(|event| event["reason"] == "not_active"), "{told:#?}");
    assert!(rejected.count() > 0, "{told:#?}");
    for name in ["hello", "early", "session", "data"] {
        assert_eq!(count(&told[events..], name), 0, "{told:#?}");
    }
    promises::are_kept(&rig.audit(), &runs, &told);
}
