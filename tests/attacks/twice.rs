//! A payload that is delivered twice (P2): recordings are played again, and datagrams held back and released.

use moteseal::device::Confirm;

use crate::scene::{HERE, Scene, VICTIM};

#[test]
fn a_hello_replayed_after_a_crash() {
    let mut scene = Scene::new();
    let hello = scene.say(b"paid 5", Confirm::Yes).unwrap();
    scene.carry(&hello);
    for from in [HERE, VICTIM] {
        scene.world.crash();
        scene.server_gets(from, &hello);
        scene.server_gets(from, &hello);
    }
    assert_eq!(scene.times(b"paid 5"), 1);
}

#[test]
fn a_session_replayed_after_a_crash() {
    let mut scene = Scene::connected();
    let payments: [&[u8]; 4] = [b"paid 1", b"paid 2", b"paid 3", b"paid 4"];
    let recorded: Vec<_> = payments.iter().map(|paid| scene.say(paid, Confirm::No).unwrap()).collect();
    for datagram in &recorded {
        scene.carry(datagram);
    }
    scene.world.crash();
    for _ in 0..3 {
        for datagram in &recorded {
            scene.world.now += 1_000;
            scene.server_gets(HERE, datagram);
        }
    }
    assert_eq!(payments.map(|paid| scene.times(paid)), [1; 4]);
}

#[test]
fn a_hello_held_back_until_its_repeat_was_delivered() {
    let mut scene = Scene::new();
    let held_back = scene.say(b"paid 5", Confirm::Yes).unwrap();
    let repeat = scene.repeat();
    scene.carry(&repeat);
    assert_eq!(scene.times(b"paid 5"), 1);
    scene.carry(&held_back);
    scene.calm();
    assert_eq!(scene.times(b"paid 5"), 1);
}

#[test]
fn a_command_held_back_until_its_repeat_ran() {
    let mut scene = Scene::connected();
    let (held_back, _) = scene.world.command(&scene.twin, 1, b"one turn to the left").unwrap();
    scene.world.now += 3_000;
    let (repeat, _) = scene.world.poll(&scene.twin).unwrap();
    scene.device_gets(&repeat).unwrap();
    assert_eq!(scene.ran, [b"one turn to the left"]);
    let _ = scene.device_gets(&held_back);
    assert_eq!(scene.ran, [b"one turn to the left"]);
}
