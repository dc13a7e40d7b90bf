//! Rotation: SPEC 10.2.

use moteseal::control::Control;
use moteseal::device::{Confirm, Event, OldKey, Outcome};
use moteseal::error::{Malformed, ReceiveError, StorageError, VerifyError};
use moteseal::identity::KeySlot;
use moteseal::key_slots::Slot;
use moteseal::keys::{DeviceKey, RotationKey, RotationSecret};
use moteseal::number::Epoch;

use crate::board::{
    Board, Convenient, Effect, Fault, ID, Mote, N, Op, boot, device_key, generation, rotation_key,
};
use crate::server::{Hello, Peer, is_hello, open_hello_under};

/// The secret of the rotation to `next`, and the key that it makes.
pub fn rotation_to(next: u8, seed: u8) -> (RotationSecret, DeviceKey) {
    let secret = rotation_key().rotation_secret(generation(next), ID, &[seed; 16]);
    let key = rotation_key().next_device_key(&secret, generation(next), ID);
    (secret, key)
}

fn rotate(next: u8, secret: &RotationSecret) -> Control {
    Control::Rotate { generation: generation(next), secret: secret.clone() }
}

/// Opens a Hello of generation 1 or 2.
fn open(datagram: &[u8], new: &DeviceKey) -> Hello {
    open_hello_under(datagram, &|bits| if bits == 2 { new.clone() } else { device_key(bits) })
}

/// A board whose rotation to generation 2 is underway: both slots valid.
fn rotating(new: &DeviceKey) -> Board {
    let mut board = Board::new();
    board.image.slots[1] = Some(KeySlot { generation: generation(2), device_key: new.clone() });
    board
}

/// Opens a session under the old key on a device with both.
fn connect_under_old(device: &mut Mote<'_>, new: &DeviceKey) -> Peer {
    device.connect(0);
    assert_eq!(open(&device.one(0), new).generation_bits, 2);
    let now = device.deadline().unwrap();
    let old = open(&device.one(now), new);
    assert_eq!(old.generation_bits, 1);
    let (mut peer, welcome) = Peer::answer(&old);
    let heard = device.hear(now, &welcome);
    assert_eq!(heard.event, Some(Event::SessionOpened { epoch: old.epoch, old_key: OldKey::Untouched }));
    peer.hear(&device.one(now));
    device.hear(now, &peer.acknowledge());
    peer
}

#[test]
fn m118_m120_a_rotation_from_the_message_to_the_erased_key() {
    let (secret, new) = rotation_to(2, 1);
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let heard = device.hear(1, &peer.control(&rotate(2, &secret), true));
    assert_eq!(heard.event, Some(Event::KeyTaken(generation(2))));
    assert_eq!(device.hardware().ops, [Op::Store(1), Op::Write(Slot::B, 2)]);
    // The acknowledgement, and at once a Hello under the new key.
    let sent = device.drain(1);
    assert_eq!(peer.hear(&sent[0]).ack.unwrap().number.value(), 1);
    let hello = open(&sent[1], &new);
    assert_eq!((hello.generation_bits, hello.epoch, sent.len()), (2, Epoch::new(1, 1), 2));
    let (mut peer, welcome) = Peer::answer_under(&hello, &new);
    let heard = device.hear(2, &welcome);
    assert_eq!(heard.event, Some(Event::SessionOpened { epoch: hello.epoch, old_key: OldKey::Erased }));
    peer.hear(&device.one(2));
    assert_eq!(board.ops[2..], [Op::Erase(Slot::A)]);
    assert_eq!((board.generation(Slot::A), board.generation(Slot::B)), (None, Some(2)));
    // The next one goes into the free slot.
    let (secret, _) = rotation_to(3, 1);
    let mut device = boot(&mut board);
    device.connect(0);
    let (mut peer, welcome) = Peer::answer_under(&open(&device.one(0), &new), &new);
    device.hear(0, &welcome);
    peer.hear(&device.one(0));
    device.hear(0, &peer.control(&rotate(3, &secret), true));
    assert_eq!((board.generation(Slot::A), board.generation(Slot::B)), (Some(3), Some(2)));
}

/// Else a thief of the device key fills the slot with a key of his own, and wears the flash.
#[test]
fn m115_a_rotation_that_does_not_prove_itself_writes_nothing() {
    let (secret, _) = rotation_to(2, 1);
    let forgeries = [
        RotationKey::new([0xED; 32]).rotation_secret(generation(2), ID, &[1; 16]),
        rotation_key().rotation_secret(generation(3), ID, &[1; 16]),
        RotationSecret::from_bytes({
            let mut bytes = *secret.expose();
            bytes[31] ^= 1;
            bytes
        }),
        RotationSecret::from_bytes({
            let mut bytes = *secret.expose();
            bytes[0] ^= 1;
            bytes
        }),
    ];
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let said = device.say(0, b"x", Confirm::Yes);
    peer.hear(&said.datagram.unwrap());
    for forgery in forgeries {
        let datagram = peer.control(&rotate(2, &forgery), true);
        let malformed = VerifyError::Malformed(Malformed::UnprovenRotation);
        assert_eq!(device.refuse(1, &datagram), ReceiveError::Verify(malformed));
        // Not acknowledged, not even when it comes again, and its block has no effect.
        assert_eq!(device.refuse(2_000, &datagram), ReceiveError::Verify(VerifyError::Replayed));
        assert_eq!(device.drain(1), Vec::<Vec<u8>>::new());
    }
    assert_eq!(device.hardware().ops, [Op::Store(1)]);
    assert_eq!(device.hear(1, &peer.acknowledge()).settled.len(), 1);
}

#[test]
fn m116_a_rotation_to_another_generation_is_ignored_and_acknowledged() {
    for next in [1, 3, 255] {
        let (secret, _) = rotation_to(next, 1);
        let mut board = Board::new();
        let mut device = boot(&mut board);
        let mut peer = Peer::connected(&mut device, 0);
        let heard = device.hear(1, &peer.control(&rotate(next, &secret), true));
        assert_eq!(heard.event, Some(Event::ControlIgnored));
        assert_eq!(peer.hear(&device.one(1)).ack.unwrap().number.value(), 1);
        assert_eq!(board.ops, [Op::Store(1)]);
    }
}

/// Else a device whose server holds one of the two keys only is stranded with the other.
#[test]
fn m119_with_two_keys_each_transmission_is_a_hello_of_its_own_in_turn() {
    let (_, new) = rotation_to(2, 1);
    let mut board = rotating(&new);
    let mut device = boot(&mut board);
    // A payload waits: the Hello that carried it would be replaced by the next.
    let said = device.say(0, b"21.5", Confirm::Yes);
    let mut hellos = vec![open(&said.datagram.unwrap(), &new)];
    for _ in 0..5 {
        let now = device.deadline().unwrap();
        hellos.push(open(&device.one(now), &new));
    }
    let bits: Vec<_> = hellos.iter().map(|hello| hello.generation_bits).collect();
    assert_eq!(bits, [2, 1, 2, 1, 2, 1]);
    for (hello, count) in hellos.iter().zip(0..) {
        assert_eq!((hello.epoch, hello.payload.len()), (Epoch::new(1, count), 0));
    }
    // Only the last one is outstanding.
    let now = device.deadline().unwrap() - 1;
    let welcome = Peer::answer_under(&hellos[4], &new).1;
    assert_eq!(device.refuse(now, &welcome), ReceiveError::EchoMismatch);
    let (mut peer, welcome) = Peer::answer(&hellos[5]);
    device.hear(now, &welcome);
    assert_eq!(peer.hear(&device.one(now)).payload, b"21.5");
    // A Welcome under the old key changes no slot.
    assert_eq!(board.ops, [Op::Store(1)]);
}

#[test]
fn m119_after_a_floor_the_same_key_is_used_again() {
    let (_, new) = rotation_to(2, 1);
    for turns in 0..2 {
        let mut board = rotating(&new);
        let mut device = boot(&mut board);
        device.connect(0);
        let (mut now, mut hello) = (0, open(&device.one(0), &new));
        for _ in 0..turns {
            now = device.deadline().unwrap();
            hello = open(&device.one(now), &new);
        }
        let key = if hello.generation_bits == 2 { new.clone() } else { device_key(1) };
        device.hear(now, &hello.floor(&key, Epoch::new(20, 0)));
        let after = open(&device.one(now), &new);
        assert_eq!((after.generation_bits, after.epoch), (hello.generation_bits, Epoch::new(21, 0)));
    }
}

/// A Floor under the new key moves the counter while the session under the old one serves: that session says nothing
/// of it, since its own server may not be the one that sent the Floor.
#[test]
fn m41_moved_waits_for_the_new_session_while_the_old_one_serves() {
    let (secret, new) = rotation_to(2, 1);
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    device.hear(1, &peer.control(&rotate(2, &secret), true));
    let sent = device.drain(1);
    assert!(peer.hear(&sent[0]).ack.is_some());
    device.hear(1, &open(&sent[1], &new).floor(&new, Epoch::new(20, 0)));
    let hello = open(&device.one(1), &new);
    assert_eq!((hello.epoch, hello.generation_bits), (Epoch::new(21, 0), 2));
    let plain = device.say(1, b"x", Confirm::No).datagram.unwrap();
    assert_eq!(peer.hear(&plain).payload, b"x");
    let confirmed = device.say(1, b"y", Confirm::Yes).datagram.unwrap();
    assert_eq!(peer.hear(&confirmed).payload, b"y");
    device.hear(1, &peer.acknowledge());
    let (mut peer, welcome) = Peer::answer_under(&hello, &new);
    device.hear(1, &welcome);
    assert_eq!(peer.hear(&device.one(1)).moved, Some(1));
}

#[test]
fn m121_a_rotation_that_is_there_already_writes_nothing_and_starts_the_hello() {
    let (secret, new) = rotation_to(2, 1);
    let mut board = rotating(&new);
    let mut device = boot(&mut board);
    let mut peer = connect_under_old(&mut device, &new);
    for _ in 0..2 {
        let now = 10_000;
        device.hear(now, &peer.control(&rotate(2, &secret), true));
        let sent = device.drain(now);
        assert!(peer.hear(&sent[0]).ack.is_some());
        assert_eq!(open(&sent[1], &new).generation_bits, 2);
    }
    assert_eq!(board.ops, [Op::Store(1)]);
}

#[test]
fn m122_another_secret_that_proves_itself_replaces_the_slot() {
    let (_, first) = rotation_to(2, 1);
    let (secret, second) = rotation_to(2, 2);
    let mut board = rotating(&first);
    let mut device = boot(&mut board);
    let mut peer = connect_under_old(&mut device, &first);
    let now = 10_000;
    device.hear(now, &peer.control(&rotate(2, &secret), true));
    let sent = device.drain(now);
    let hello = open(&sent[1], &second);
    let (_, welcome) = Peer::answer_under(&hello, &second);
    let heard = device.hear(now, &welcome);
    assert_eq!(heard.event, Some(Event::SessionOpened { epoch: hello.epoch, old_key: OldKey::Erased }));
    assert_eq!(board.ops, [Op::Store(1), Op::Write(Slot::B, 2), Op::Erase(Slot::A)]);
}

#[test]
fn m118_a_write_that_fails_is_not_acknowledged_and_strands_nobody() {
    for (effect, error) in [
        (Effect::None, StorageError::Write),
        (Effect::Torn, StorageError::Write),
        (Effect::Lost, StorageError::Verify),
    ] {
        let (secret, _) = rotation_to(2, 1);
        let mut board = Board::new();
        board.fault = Some(Fault { at: 1, effect, power_cut: false });
        let mut device = boot(&mut board);
        let mut peer = Peer::connected(&mut device, 0);
        let datagram = peer.control(&rotate(2, &secret), true);
        assert_eq!(device.refuse(1, &datagram), ReceiveError::Storage(error));
        assert_eq!(device.refuse(2_000, &datagram), ReceiveError::Verify(VerifyError::Replayed));
        assert_eq!(device.drain(2_000), Vec::<Vec<u8>>::new());
        // Sealed again it finds flash that works.
        let heard = device.hear(3_000, &peer.control(&rotate(2, &secret), true));
        assert_eq!(heard.event, Some(Event::KeyTaken(generation(2))));
    }
}

/// The Hello underway was made with the key that the write has just destroyed.
#[test]
fn m122_a_replacement_that_fails_leaves_the_old_key_in_use() {
    let (same, first) = rotation_to(2, 1);
    let (secret, _) = rotation_to(2, 2);
    // The Hello under the new key is due, outstanding, or has had its turn.
    for hellos in 0..3 {
        let mut board = rotating(&first);
        board.fault = Some(Fault { at: 1, effect: Effect::Torn, power_cut: false });
        let mut device = boot(&mut board);
        let mut peer = connect_under_old(&mut device, &first);
        let mut now = 10_000;
        device.hear(now, &peer.control(&rotate(2, &same), false));
        for bits in [2, 1].into_iter().take(hellos) {
            now = now.max(device.deadline().unwrap());
            assert_eq!(open(&device.one(now), &first).generation_bits, bits);
        }
        let datagram = peer.control(&rotate(2, &secret), true);
        assert_eq!(device.refuse(now, &datagram), ReceiveError::Storage(StorageError::Write));
        for _ in 0..3 {
            now = now.max(device.deadline().unwrap());
            let hello = device.one(now);
            assert!(is_hello(&hello));
            assert_eq!(open(&hello, &first).generation_bits, 1);
        }
    }
}

#[test]
fn m120_an_erase_that_fails_is_told_and_tried_again() {
    let (secret, new) = rotation_to(2, 1);
    let mut board = Board::new();
    board.fault = Some(Fault { at: 2, effect: Effect::None, power_cut: false });
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    device.hear(1, &peer.control(&rotate(2, &secret), true));
    let hello = open(&device.drain(1)[1], &new);
    let (_, welcome) = Peer::answer_under(&hello, &new);
    let kept = OldKey::Kept(StorageError::Write);
    let opened = Event::SessionOpened { epoch: hello.epoch, old_key: kept };
    assert_eq!(device.hear(2, &welcome).event, Some(opened));
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = open(&device.one(0), &new);
    let (_, welcome) = Peer::answer_under(&hello, &new);
    let opened = Event::SessionOpened { epoch: hello.epoch, old_key: OldKey::Erased };
    assert_eq!(device.hear(0, &welcome).event, Some(opened));
}

#[test]
fn m120_what_a_cut_erase_left_of_the_old_key_goes_at_the_next_welcome() {
    let (_, new) = rotation_to(2, 1);
    let mut board = rotating(&new);
    board.fault = Some(Fault { at: 1, effect: Effect::Torn, power_cut: true });
    for ops in
        [vec![Op::Store(1), Op::Erase(Slot::A)], vec![Op::Store(2), Op::Erase(Slot::A)], vec![Op::Store(3)]]
    {
        let mut device = boot(&mut board);
        device.connect(0);
        let (_, welcome) = Peer::answer_under(&open(&device.one(0), &new), &new);
        device.hear(0, &welcome);
        assert_eq!(board.ops, ops);
        board.repair();
        board.ops.clear();
    }
}

#[test]
fn a_rotation_replaces_an_outstanding_hello_and_its_payload_is_unknown() {
    let (secret, new) = rotation_to(2, 1);
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let datagram = device.say(1, b"x", Confirm::Yes).datagram.unwrap();
    device.hear(1, &peer.reset(&datagram));
    let early = device.say(1, b"early", Confirm::Yes);
    assert_eq!(open(&early.datagram.unwrap(), &new).payload, b"early");
    // The old session still receives. It does not answer.
    let heard = device.hear(2, &peer.control(&rotate(2, &secret), true));
    assert_eq!(heard.settled.len(), 1);
    assert_eq!(
        (heard.settled[0].ticket, heard.settled[0].outcome),
        (early.ticket.unwrap(), Outcome::Unknown)
    );
    let hello = open(&device.one(2), &new);
    assert_eq!((hello.generation_bits, hello.payload), (2, vec![]));
    let mut out = [0; N];
    assert_eq!(device.close(2, &mut out).unwrap().settled.len(), 1);
}
