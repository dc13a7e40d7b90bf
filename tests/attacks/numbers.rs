//! Numbers that are not whole on the wire: the attacker drops so many that the two sides would mean different ones.

use moteseal::device::Confirm;

use crate::scene::Scene;

/// 300 Data of a device are dropped in a row, all that the server sends is too, and then the weather clears.
fn after_300_lost() -> Scene {
    let mut scene = Scene::connected();
    for _ in 0..300 {
        scene.say(b"lost", Confirm::No).unwrap();
    }
    scene
}

#[test]
fn after_300_lost_in_a_row_the_next_plain_data_is_understood() {
    let mut scene = after_300_lost();
    let datagram = scene.say(b"heard", Confirm::No).unwrap();
    scene.carry(&datagram);
    assert_eq!(scene.times(b"heard"), 1);
}

/// Of what was lost, the 64th asked for an answer, and is repeated.
#[test]
fn after_300_lost_in_a_row_the_next_question_is_understood() {
    let mut scene = after_300_lost();
    let outstanding = scene.repeat();
    scene.carry(&outstanding);
    let datagram = scene.say(b"heard", Confirm::Yes).unwrap();
    scene.carry(&datagram);
    assert_eq!(scene.times(b"heard"), 1);
}
