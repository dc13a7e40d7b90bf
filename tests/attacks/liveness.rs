//! A device that talks to nobody and does not know it, or that is kept busy opening sessions (P5).

use moteseal::device::Confirm;

use crate::scene::{HERE, Scene, is_hello};
use crate::support::World;

const READINGS: [&[u8]; 5] = [b"20.1", b"20.2", b"20.3", b"20.4", b"20.5"];

/// The server came back from a backup that knows nothing of the session; what comes under its cid is dropped in silence.
#[test]
fn the_server_was_restored_after_its_welcome() {
    let mut scene = Scene::new();
    let backup = scene.world.store.clone();
    scene.mote.connect(scene.world.now);
    let hello = scene.due().remove(0);
    let (welcome, _) = scene.server_gets(HERE, &hello).remove(0);
    scene.world.restore(backup);
    scene.device_gets(&welcome).unwrap();
    // The device has nothing to say that wants an answer.
    scene.readings(&READINGS);
    assert_eq!(scene.delivered.last().map(Vec::as_slice), READINGS.last().copied());
}

#[test]
fn the_server_was_restored_while_the_device_slept() {
    let mut scene = Scene::new();
    let backup = scene.world.store.clone();
    scene.mote.connect(scene.world.now);
    scene.calm();
    scene.readings(&[b"19.9"]);
    assert_eq!(scene.times(b"19.9"), 1);
    scene.world.restore(backup);
    scene.world.now += 11 * 3_600_000;
    scene.readings(&READINGS);
    assert_eq!(scene.delivered.last().map(Vec::as_slice), READINGS.last().copied());
}

/// Another gateway has the record and not the counters; it heard the Data, and the right one heard it too.
#[test]
fn a_recorded_reset_again_and_again() {
    let mut scene = Scene::connected();
    let datagram = scene.say(b"21.5 C", Confirm::Yes).unwrap();
    let mut other = World::over(scene.world.store.clone(), scene.world.mark);
    let reset = other.answers(moteseal::server::AnswerKind::Reset, HERE, &datagram);
    scene.carry(&datagram);
    let session = scene.mote.session();
    let mut hellos = 0;
    for _ in 0..100 {
        scene.world.now += 60_000;
        let _ = scene.device_gets(&reset);
        hellos += scene.due().iter().filter(|datagram| is_hello(datagram)).count();
    }
    assert_eq!((hellos, scene.mote.session()), (0, session));
}
