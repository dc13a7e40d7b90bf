//! An ordinary life: a session, telemetry, a command.

use std::time::{Duration, Instant};

use crate::auditor::Opened;
use crate::gateway::{PATIENCE, count, payloads};
use crate::promises;
use crate::relay::{Direction, Fate};
use crate::rig::Rig;

#[test]
fn telemetry_and_a_command_each_exactly_once() {
    let (rig, mut gateway) = Rig::start();
    let mut machine = rig.machine(200);
    assert_eq!(machine.expect("device"), format!("{} boot 1", rig.id));
    let first = machine.expect("sent 1");
    assert_eq!(machine.expect("session"), "1.0");
    machine.expect("acknowledged 1");
    for _ in 0..6 {
        machine.expect("acknowledged");
    }
    // What the device says is lost for a while: the gateway repeats the command.
    rig.relay.rule(|direction, _| if direction == Direction::Up { Fate::Lose } else { Fate::Pass });
    let (down, command) = (rig.relay.count(Direction::Down), b"\x01open\xFF");
    rig.send(command);
    let obeyed = machine.expect("command");
    assert!(obeyed.starts_with(&format!("{} seq ", hex::encode(command))), "{obeyed}");
    while rig.relay.count(Direction::Down) < down + 2 {
        assert_eq!(machine.wait_for("command", Duration::from_millis(20)), None);
    }
    assert!(gateway.wait_for("acknowledged", Duration::from_millis(1)).is_none());
    rig.relay.rule(|_, _| Fate::Pass);
    gateway.expect("acknowledged");
    machine.wait_for("acknowledged", PATIENCE).expect("telemetry goes on");
    let lines = machine.kill();
    let told = gateway.stop();

    let auditor = rig.audit();
    let Some([Opened::Hello { early, .. }, Opened::Welcome { early_taken: true, .. }]) =
        auditor.opened.first_chunk()
    else {
        panic!("a Hello and a Welcome come first: {:?}", auditor.opened);
    };
    assert_eq!(first, hex::encode(early));
    assert_eq!(payloads(&told, "early"), std::slice::from_ref(early));
    let runs = [lines];
    let delivered = promises::are_kept(&auditor, &runs, &told);
    assert!(delivered.len() > 7, "{delivered:?}");
    assert!(delivered.iter().all(|payload| payload.starts_with(b"1.")), "{delivered:?}");
    assert_eq!(promises::commands(&runs).into_iter().collect::<Vec<_>>(), [(command.to_vec(), 1)]);
    assert_eq!((count(&told, "hello"), count(&told, "session")), (1, 1), "{told:#?}");
    assert_eq!((count(&told, "acknowledged"), count(&told, "unknown")), (1, 0), "{told:#?}");
}

#[test]
fn a_device_does_as_it_is_told() {
    let (rig, mut gateway) = Rig::start();
    let mut machine = rig.machine(60_000);
    machine.expect("acknowledged 1");
    rig.send(b"every 150");
    machine.expect("command");
    let start = Instant::now();
    for ticket in 2..6 {
        machine.expect(&format!("sent {ticket}"));
    }
    // Four of them, by the device's own clock; QEMU may be late, and never early.
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(6)).contains(&took), "{took:?}");
    rig.send(b"close");
    machine.expect("command");
    machine.expect("closed");
    gateway.expect("acknowledged");
    gateway.expect("closed");
    let (status, lines) = machine.end();
    assert_eq!(status.code(), Some(0), "{lines:?}");
    promises::are_kept(&rig.audit(), &[lines], &gateway.stop());
}
