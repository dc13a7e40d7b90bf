//! One key and nonce for two messages: what gives both away, and lets tags be forged (P3).

use moteseal::device::Confirm;

use crate::scene::{HERE, Scene, is_hello};
use crate::support::lost;

#[test]
fn the_recorded_welcome_again_after_the_device_has_spoken() {
    let mut scene = Scene::new();
    let hello = scene.say(b"21.5 C", Confirm::Yes).unwrap();
    let (welcome, _) = scene.server_gets(HERE, &hello).remove(0);
    scene.device_gets(&welcome).unwrap();
    scene.calm();
    // He plays it again whenever the device has sealed something.
    for reading in [b"door shut", b"door open", b"door shut"] {
        let datagram = scene.say(reading, Confirm::No).unwrap();
        let _ = scene.device_gets(&welcome);
        scene.carry(&datagram);
        scene.calm();
        assert_eq!(scene.delivered.last().unwrap(), reading);
    }
}

#[test]
fn no_hello_gets_through_until_the_numbers_are_used_up() {
    let mut scene = Scene::connected();
    let first = scene.say(b"number 1", Confirm::No).unwrap();
    scene.carry(&first);
    let session = scene.mote.session();
    lost(|| {
        for _ in 0..0x1_0000 {
            let datagram = scene.say(b"x", Confirm::No);
            if datagram.is_none_or(|datagram| is_hello(&datagram)) {
                break;
            }
        }
    });
    // The numbers 0 and 1 sealed something else. There is no other session yet, and this one says nothing any more.
    assert_eq!(scene.mote.session(), session);
    let mut out = [0; crate::board::N];
    for _ in 0..3 {
        let said = scene.mote.send(scene.world.now, b"after the last", Confirm::No, &mut out);
        let datagram = said.ok().and_then(|sent| sent.datagram);
        assert!(datagram.is_none_or(is_hello), "P3: Data after number 65,535");
    }
    // A Data with C is repeated too, and jitter decides which of them comes first.
    let hello = std::iter::repeat_with(|| scene.repeat()).find(|datagram| is_hello(datagram)).unwrap();
    scene.carry(&hello);
    scene.calm();
    assert_ne!(scene.mote.session(), session);
}

#[test]
fn the_hello_of_a_candidate_that_a_crash_took() {
    let mut scene = Scene::new();
    let hello = scene.say(b"21.5 C", Confirm::Yes).unwrap();
    let (welcome, _) = scene.server_gets(HERE, &hello).remove(0);
    scene.world.crash();
    // Whatever comes back is no second Welcome: its E could only be a guess.
    for (answer, _) in scene.server_gets(HERE, &hello) {
        assert_ne!(answer[0] & 0b0111_0100, welcome[0] & 0b0111_0100, "a Welcome was sealed again");
    }
}
