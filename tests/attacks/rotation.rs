//! Keys in two generations: a thief who plays the server, and a device that cannot know which keys the server holds.

use moteseal::control::{Control, Role};
use moteseal::device::Confirm;
use moteseal::keys::RotationSecret;
use moteseal::number::{Generation, ServerSalt};
use moteseal::session::{Outgoing, Session};

use crate::board::{ID, Op, device_key};
use crate::scene::{HERE, Scene};

/// He has the device key and has recorded Hello and Welcome, so he has the keys of the session. The rotation key he has not.
#[test]
fn a_thief_of_the_device_key_sends_rotate() {
    let mut scene = Scene::new();
    scene.mote.connect(scene.world.now);
    scene.calm();
    let entry = *scene.world.record(&scene.twin).candidate().unwrap();
    let keys = device_key(1).session_keys(ID, entry.epoch, entry.salt, ServerSalt(entry.server_salt.0));
    let mut thief = Session::<moteseal::aead::Portable>::new(Role::Server, keys, entry.epoch, entry.cid);
    let writes = scene.mote.hardware().ops.len();
    for secret in 0..20 {
        let generation = Generation::new(2).unwrap();
        let rotate =
            Control::Rotate { generation, secret: RotationSecret::from_bytes([secret; 32]) }.encode();
        let outgoing = Outgoing { payload: rotate.as_bytes(), confirm: true, control: true, ack: None };
        let mut out = [0; 100];
        let len = thief.protect(outgoing, &mut out).unwrap().len;
        let _ = scene.device_gets(&out[..len]);
    }
    assert_eq!(scene.mote.hardware().ops[writes..], [] as [Op; 0], "the thief wears the flash");
    let datagram = scene.say(b"21.5 C", Confirm::Yes).unwrap();
    scene.carry(&datagram);
    assert_eq!(scene.times(b"21.5 C"), 1);
}

/// The server holds both keys and so does the device. The attacker lets every Hello through and no Welcome.
#[test]
fn a_payload_while_both_keys_are_valid() {
    let mut scene = Scene::connected();
    scene.world.begin_rotation(&scene.twin);
    let (rotate, _) = scene.world.poll(&scene.twin).unwrap();
    scene.device_gets(&rotate).unwrap();
    let mut scene = scene.power_cut();
    let first = scene.say(b"paid 5", Confirm::Yes);
    if let Some(hello) = first {
        scene.server_gets(HERE, &hello);
    }
    for _ in 0..6 {
        let hello = scene.repeat();
        scene.server_gets(HERE, &hello);
    }
    // Then the weather clears.
    let hello = scene.repeat();
    scene.carry(&hello);
    scene.calm();
    assert_eq!(scene.times(b"paid 5"), 1);
}
