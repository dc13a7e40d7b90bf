//! Answers for the attacker: out of a battery, or to a victim whose address he writes on what he has recorded.

use moteseal::device::Confirm;

use crate::scene::{HERE, Scene, VICTIM};

#[test]
fn a_captured_command_again_and_again() {
    let mut scene = Scene::connected();
    let (captured, _) = scene.world.command(&scene.twin, 1, b"on").unwrap();
    scene.device_gets(&captured).unwrap();
    assert_eq!(scene.due().len(), 1, "the one that is owed");
    // Ten times a second for a quarter of an hour.
    let mut answers = 0;
    for _ in 0..9_000 {
        scene.world.now += 100;
        let _ = scene.device_gets(&captured);
        answers += scene.due().len();
    }
    assert!((1..=8).contains(&answers), "{answers} answers to one captured datagram");
    assert_eq!(scene.ran, [b"on"]);
}

#[test]
fn a_captured_data_again_and_again_from_the_address_of_a_victim() {
    let mut scene = Scene::connected();
    let captured = scene.say(b"21.5 C", Confirm::Yes).unwrap();
    // He sends it on before the original arrives, and then over and over, while a command waits for the device.
    let mut to_victim = 0;
    for _ in 0..60 {
        let sent = scene.server_gets(VICTIM, &captured);
        to_victim +=
            sent.iter().filter(|(_, to)| *to == VICTIM).map(|(datagram, _)| datagram.len()).sum::<usize>();
        scene.world.now += 1_000;
    }
    assert!(to_victim > 0, "the address has moved");
    assert!(to_victim <= 3 * captured.len(), "{to_victim} bytes for the {} of the attacker", captured.len());
    // The device's next Data takes the address back.
    let datagram = scene.say(b"21.6 C", Confirm::No).unwrap();
    assert!(scene.server_gets(HERE, &datagram).iter().all(|(_, to)| *to == HERE));
}
