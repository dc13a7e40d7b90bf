//! A device that must not speak says why, and does not: no identity, no key, no counter.

use std::time::Duration;

use crate::machine::Machine;
use crate::rig::{PAGE_LEN, Rig};

/// It stops with status 1 and a reason, and nothing was sent.
fn stops(rig: &Rig, machine: Machine, what: &str) {
    let (status, told) = machine.end();
    assert_eq!(status.code(), Some(1), "{what}: {told:?}");
    let [reason] = &told[..] else { panic!("{what}: {told:?}") };
    assert!(reason.starts_with("stopped: ") && reason.len() > "stopped: ".len(), "{what}: {reason}");
    println!("{what}: {reason}");
    std::thread::sleep(Duration::from_millis(100));
    assert!(rig.relay.captured().is_empty(), "{what}: it spoke");
}

#[test]
fn nothing_is_sent_without_identity_key_and_counter() {
    let (rig, gateway) = Rig::start();
    let good = rig.factory_flash();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut contents = good.clone();
        change(&mut contents);
        contents
    };
    let bad = [
        ("blank flash", changed(&|contents| contents.fill(0xFF))),
        ("other data", changed(&|contents| contents.fill(0))),
        ("a check value that does not match", changed(&|contents| contents[63] ^= 1)),
        ("an identity of another device", changed(&|contents| contents[16] ^= 1)),
        ("a torn key", changed(&|contents| contents[PAGE_LEN + 63] ^= 1)),
        ("an erased key", changed(&|contents| contents[PAGE_LEN..2 * PAGE_LEN].fill(0xFF))),
    ];
    for (what, contents) in bad {
        rig.write_flash(&contents);
        stops(&rig, rig.machine(50), what);
        assert!(rig.read_flash() == contents, "{what}: the flash was written");
    }
    rig.write_flash(&good);
    let machine = Machine::start_unwritable(&rig.flash(), rig.relay.addr, 50);
    stops(&rig, machine, "flash that cannot be written");
    assert!(rig.read_flash() == good);
    // All that was wrong was the flash.
    let mut machine = rig.machine(50);
    machine.expect("acknowledged");
    machine.kill();
    gateway.stop();
}
