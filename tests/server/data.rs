//! Data of a session in service: SPEC 4.10, 4.11, 7.4, 9.3, 9.7 and 10.

use moteseal::control::Control;
use moteseal::error::{CommandError, Malformed, Reject, VerifyError};
use moteseal::keys::RotationSecret;
use moteseal::number::{ConnectionId, Generation, SequenceNumber};
use moteseal::record::Status;
use moteseal::server::{AnswerKind, CommandId, ControlEvent};
use moteseal::session::Outgoing;
use moteseal::wire::AckBlock;

use crate::support::*;

const HERE: Address = 1;
const THERE: Address = 2;

fn connected() -> (World, Device) {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    (world, device)
}

fn number(value: u16) -> SequenceNumber {
    SequenceNumber::new(value)
}

fn block(number: u16, before: u8) -> AckBlock {
    AckBlock { number: SequenceNumber::new(number), before }
}

/// What the answer to a Data with C acknowledges.
fn acknowledged(device: &mut Device, answer: &[u8]) -> Option<(u16, u8)> {
    device.open(answer).ack.map(|block| (block.number.value(), block.before))
}

/// The Data with this number and one byte of it, as no sender of these would send it.
fn short(device: &mut Device, number: u16) -> Vec<u8> {
    use moteseal::aead::{Backend, Nonce};
    use moteseal::wire::{Data, Header, Seq};
    let [_, low] = number.to_be_bytes();
    let cid = cid_of(device);
    let header =
        Header::Data(Data { cid, seq: Seq::One(low), confirm: false, ack: false, control: false }).encode();
    let tag =
        Recording::seal(&device.up_key, Nonce::data(SequenceNumber::new(number)), header.as_bytes(), &mut []);
    [header.as_bytes(), &tag].concat()
}

#[test]
fn m_13_one_byte_is_the_nearest_number_and_of_two_the_lower() {
    let (mut world, mut device) = connected();
    // 127 in a row are dropped, and the next is rebuilt.
    for _ in 0..127 {
        device.data(b"lost", false);
    }
    let data = device.data(b"", false);
    assert_eq!(data.len(), 19, "one byte");
    assert_eq!(world.hears(HERE, &data).number, number(128));
    while device.session.as_ref().unwrap().next() != Some(number(0xFF)) {
        device.data(b"lost", false);
    }
    let data = device.data(b"", true);
    assert_eq!(world.hears(HERE, &data).number, number(0xFF));
    // 0080 and 0180 are equally near to 0100: the lower is meant, and that lies left of the window.
    let tie = short(&mut device, 0x0180);
    assert_eq!(world.rejects(HERE, &tie), Reject::Verify(VerifyError::TooOld));
    let nearest = short(&mut device, 0x017F);
    assert_eq!(world.hears(HERE, &nearest).number, number(0x017F));
}

#[test]
fn m_14_the_128th_unacknowledged_number_has_two_bytes() {
    let (mut world, mut device) = connected();
    // The acknowledgement of Data 0 was number 0; the device acknowledges it, then hears nothing.
    let data = device.data(b"", true);
    let answer = world.hears(HERE, &data).answer;
    assert!(answer.is_some());
    let mut last = Vec::new();
    let lengths: Vec<_> = (0..129)
        .map(|_| {
            last = world.plain(&device, b"x");
            last.len()
        })
        .collect();
    // Numbers 2 to 130; 0 is acknowledged.
    assert!(lengths[..127].iter().all(|len| *len == 23), "{lengths:?}");
    assert!(lengths[127..].iter().all(|len| *len == 24), "{lengths:?}");
    assert_eq!(device.open(&last).number, number(130), "all but the last were dropped");
}

#[test]
fn m_15_a_delayed_number_is_acknowledged_by_name() {
    let (mut world, mut device) = connected();
    let delayed = device.data(b"delayed", true);
    for _ in 0..9 {
        let data = device.data(b"x", false);
        world.hears(HERE, &data);
    }
    let heard = world.hears(HERE, &delayed);
    assert_eq!(acknowledged(&mut device, &heard.answer.unwrap().0), Some((1, 1)));
    // And so is its repeat.
    world.now += 1_000;
    let again = world.answers(AnswerKind::Acknowledgement, HERE, &delayed);
    assert_eq!(acknowledged(&mut device, &again), Some((1, 1)));
    // Within eight of the highest the highest does.
    let data = device.data(b"x", true);
    let answer = world.hears(HERE, &data).answer.unwrap().0;
    assert_eq!(acknowledged(&mut device, &answer), Some((11, 0xFF)));
}

#[test]
fn m_16_m_113_what_was_malformed_is_seen_and_never_acknowledged() {
    let (mut world, mut device) = connected();
    let none = Outgoing { confirm: true, ..Outgoing::default() };
    let bytes = |control: Control| control.encode();
    let rotate =
        Control::Rotate { generation: Generation::FIRST, secret: RotationSecret::from_bytes([1; 32]) };
    let (rotate, close) = (bytes(rotate), bytes(Control::Close));
    let cases = [
        (Outgoing { control: true, ..none }, Malformed::EmptyControl),
        (Outgoing { control: true, payload: &[2, 0], confirm: false, ..none }, Malformed::ControlLength),
        (Outgoing { control: true, payload: &[3, 0], ..none }, Malformed::ControlLength),
        (Outgoing { control: true, payload: close.as_bytes(), ..none }, Malformed::ConfirmedClose),
        (Outgoing { control: true, payload: rotate.as_bytes(), ..none }, Malformed::WrongDirection),
        (Outgoing { ack: Some(block(7, 0)), payload: b"x", ..none }, Malformed::AckOfUnsent),
        (Outgoing { ack: Some(block(0, 1)), payload: b"x", ..none }, Malformed::AckOfUnsent),
    ];
    let mut last = 0;
    for (outgoing, malformed) in cases {
        let data = device.send(outgoing);
        last += 1;
        assert_eq!(world.rejects(HERE, &data), Reject::Verify(VerifyError::Malformed(malformed)));
        world.now += 10_000;
        assert_eq!(world.rejects(HERE, &data), Reject::Verify(VerifyError::Replayed));
    }
    let data = device.data(b"", true);
    let answer = world.hears(HERE, &data).answer.unwrap().0;
    assert_eq!(acknowledged(&mut device, &answer), Some((last + 1, 1 << last)), "only 0 beside it");
}

#[test]
fn m_113_a_malformed_block_settles_no_command() {
    let (mut world, mut device) = connected();
    let (command, _) = world.command(&device, 1, b"c").unwrap();
    device.open(&command);
    // The command is number 1; the block names it and one that is not there.
    let data = device.send(Outgoing { ack: Some(block(1, 2)), confirm: true, ..Outgoing::default() });
    world.rejects(HERE, &data);
    assert!(matches!(world.server.begin_command(device.id, CommandId(2), 1), Err(CommandError::Busy)));
    let data = device.acknowledge();
    assert_eq!(world.hears(HERE, &data).acknowledged, Some(CommandId(1)));
}

#[test]
fn m_17_a_later_block_takes_nothing_back() {
    let (mut world, mut device) = connected();
    for _ in 0..200 {
        let data = world.plain(&device, b"x");
        device.open(&data);
    }
    let old = device.send(Outgoing { ack: Some(block(0, 0)), ..Outgoing::default() });
    let new = device.acknowledge();
    world.hears(HERE, &new);
    assert_eq!(world.plain(&device, b"x").len(), 23, "200 is acknowledged: one byte");
    world.hears(HERE, &old);
    assert_eq!(world.plain(&device, b"x").len(), 23);
}

#[test]
fn m_18_no_block_names_what_was_not_heard() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.offer(&mut device, HERE);
    let malformed = device.send(Outgoing { control: true, confirm: true, ..Outgoing::default() });
    let heard = world.hears(HERE, &malformed);
    assert!(heard.confirmed && heard.malformed == Some(Malformed::EmptyControl) && heard.answer.is_none());
    let data = world.plain(&device, b"x");
    assert_eq!(device.open(&data).ack, None, "A = 0 while nothing is acknowledgeable");
}

#[test]
fn m_62_a_malformed_first_data_confirms_its_session() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    world.command(&device, 1, b"c").unwrap();
    world.offer(&mut device, HERE);
    device.data(b"lost", true);
    let malformed = device.send(Outgoing { control: true, confirm: true, ..Outgoing::default() });
    let heard = world.hears(HERE, &malformed);
    assert!(heard.confirmed && heard.payload.is_none() && heard.acknowledged.is_none());
    assert_eq!((heard.number, heard.unknown), (number(1), Some(CommandId(1))));
    assert_eq!(world.rejects(HERE, &malformed), Reject::Verify(VerifyError::Replayed));
}

/// Nothing is opened, and nothing is sealed.
fn is_silent(world: &mut World, device: &mut Device, repeat: &[u8]) {
    let (data, hello) = (device.data(b"x", true), device.hello(b"x"));
    for datagram in [&data, &hello, repeat] {
        assert_eq!(world.rejects(HERE, datagram), Reject::NotActive);
    }
    world.now += 10_000;
    let index = world.index(device);
    assert!(world.poll(device).is_none() && world.server.deadline(index).is_none());
    let begun = world.server.begin_command(device.id, CommandId(3), 1).map(|_| ());
    let plain = world.server.send_plain(device.id, b"x", &mut [0; 99]).map(|_| ());
    assert_eq!((begun, plain), (Err(CommandError::NotActive), Err(CommandError::NotActive)));
}

#[test]
fn m_65_a_revoked_device_is_silent_from_the_next_datagram_on() {
    for status in [Status::Revoked, Status::Quarantined] {
        let (mut world, mut device) = connected();
        world.command(&device, 1, b"c").unwrap();
        let repeat = device.data(b"again", true);
        world.hears(HERE, &repeat);
        // At once, before the store has said a word; then for good.
        let (admin, change) = world.server.set_status(device.id, status).unwrap();
        is_silent(&mut world, &mut device, &repeat);
        let durable = world.store.make(change).unwrap();
        let unknown = world.server.apply(admin, durable).unwrap();
        assert_eq!(unknown, (status == Status::Revoked).then_some(CommandId(1)));
        is_silent(&mut world, &mut device, &repeat);
        world.crash();
        is_silent(&mut world, &mut device, &repeat);
    }
}

#[test]
fn m_65_a_command_marked_before_a_quarantine_is_not_sealed_after_it() {
    let (mut world, mut device) = connected();
    let (sending, mark) = world.server.begin_command(device.id, CommandId(1), 1).unwrap();
    world.set_status(&device, Status::Quarantined);
    let sealed = world.server.seal_command(world.now, sending, &mark.committed(), b"c");
    assert!(matches!(sealed, Err(CommandError::NotActive)));
    // Readmitted, it is not in the way of others.
    world.set_status(&device, Status::Active);
    let (command, _) = world.command(&device, 2, b"d").unwrap();
    assert_eq!(device.open(&command).payload, b"d");
}

#[test]
fn m_65_a_hello_under_way_is_not_delivered_after_a_revocation() {
    let (mut world, mut device) = connected();
    let pending = world.pending(HERE, &device.hello(b"x"));
    let (_admin, _change) = world.server.set_status(device.id, Status::Revoked).unwrap();
    let fresh = world.finish(pending).unwrap();
    assert_eq!((fresh.payload, fresh.welcome), (None, None));
}

#[test]
fn m_65_an_unknown_connection_is_dropped() {
    let (mut world, mut device) = connected();
    let mut data = device.data(b"x", true);
    let other = ConnectionId::new(1, cid_of(&device).value() ^ 1).unwrap();
    data[1] = other.as_bytes()[0];
    assert_eq!(world.rejects(HERE, &data), Reject::UnknownConnection);
}

#[test]
fn m_66_a_forgery_moves_neither_window_nor_address() {
    let (mut world, mut device) = connected();
    let mut forgery = device.data(b"x", true);
    (forgery[2], forgery[3]) = (0xFF, 0xFF);
    assert_eq!(world.rejects(THERE, &forgery), Reject::Verify(VerifyError::Inauthentic));
    let data = device.data(b"x", true);
    assert_eq!(world.hears(HERE, &data).answer.unwrap().1, HERE);
}

#[test]
fn m_67_m_68_each_number_is_delivered_once_and_none_left_of_the_window() {
    let (mut world, mut device) = connected();
    let sent: Vec<_> = (0..70).map(|_| device.data(b"x", true)).collect();
    // Number 70 first: 7 to 69 are in the window, 1 to 6 are not.
    world.hears(HERE, &sent[69]);
    for (datagram, number) in sent.iter().zip(1..) {
        match number {
            1..=6 => assert_eq!(world.rejects(HERE, datagram), Reject::Verify(VerifyError::TooOld)),
            70 => {}
            _ => assert_eq!(world.hears(HERE, datagram).payload.as_deref(), Some(&b"x"[..])),
        }
    }
    for datagram in &sent {
        world.now += 1;
        assert!(!matches!(world.deliver(HERE, datagram), Outcome::Data(_)));
    }
    // A repeat with a wrong tag draws no acknowledgement.
    let data = device.data(b"x", true);
    world.hears(HERE, &data);
    world.now += 10_000;
    assert_eq!(world.rejects(HERE, &forged(&data)), Reject::Verify(VerifyError::Inauthentic));
    world.answers(AnswerKind::Acknowledgement, HERE, &data);
    // Without C none is due.
    let data = device.data(b"x", false);
    world.hears(HERE, &data);
    assert_eq!(world.rejects(HERE, &data), Reject::Verify(VerifyError::Replayed));
}

#[test]
fn m_72_a_repeat_is_acknowledged_to_the_sessions_address_only() {
    let (mut world, mut device) = connected();
    let data = device.data(b"x", true);
    world.hears(HERE, &data);
    world.now += 10_000;
    let Outcome::Answered(AnswerKind::Acknowledgement, answer, to) = world.deliver(THERE, &data) else {
        panic!()
    };
    assert_eq!(to, HERE);
    assert!(device.open(&answer).ack.is_some());
}

#[test]
fn m_86_only_a_moved_that_nothing_on_this_side_caused_is_counted() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let backup = world.store.clone();
    world.restore(backup);
    // A session that is offered and not taken up hands the excuse on.
    device.boot = world.mark + 1;
    world.offer(&mut device, HERE);
    world.offer(&mut device, HERE);
    let moved = |world: &mut World, device: &mut Device| {
        let data = device.control(&Control::Moved(5), true);
        let heard = world.hears(HERE, &data);
        assert!(heard.answer.is_some());
        heard.control.unwrap()
    };
    assert_eq!(moved(&mut world, &mut device), ControlEvent::Moved { from: 5, excused: true });
    // Confirmed, the excuse is used up, in memory at once and in the record with its next write.
    world.offer(&mut device, HERE);
    assert_eq!(moved(&mut world, &mut device), ControlEvent::Moved { from: 5, excused: false });
    assert_eq!(world.record(&device).clones(), 0, "no write of its own");
    world.offer(&mut device, HERE);
    assert_eq!(world.record(&device).clones(), 1);
    world.crash();
    world.offer(&mut device, HERE);
    assert_eq!(moved(&mut world, &mut device), ControlEvent::Moved { from: 5, excused: false });
    // A change under way counts what it holds, once.
    let pending = world.pending(HERE, &device.hello(b""));
    assert_eq!(moved(&mut world, &mut device), ControlEvent::Moved { from: 5, excused: false });
    world.finish(pending).unwrap();
    assert_eq!(world.record(&device).clones(), 2);
    world.offer(&mut device, HERE);
    assert_eq!(world.record(&device).clones(), 3);
}

#[test]
fn m_86_a_hello_under_way_does_not_bring_an_excuse_back() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let backup = world.store.clone();
    world.restore(backup);
    device.boot = world.mark + 1;
    world.offer(&mut device, HERE);
    let old = device.session.take();
    let hello = device.hello(b"");
    let pending = world.pending(HERE, &hello);
    let asked = device.asked.take();
    device.session = old;
    let data = device.data(b"", true);
    assert!(world.hears(HERE, &data).confirmed);
    let fresh = world.finish(pending).unwrap();
    device.asked = asked;
    device.welcome(&fresh.welcome.unwrap());
    let moved = device.control(&Control::Moved(5), true);
    let told = world.hears(HERE, &moved).control;
    assert_eq!(told, Some(ControlEvent::Moved { from: 5, excused: false }));
}

#[test]
fn m_100_m_110_every_data_with_c_is_acknowledged_and_all_downlink_carries_a_block() {
    let (mut world, mut device) = connected();
    for payload in [&b""[..], b"x"] {
        let data = device.data(payload, true);
        let heard = world.hears(HERE, &data);
        let down = device.open(&heard.answer.unwrap().0);
        assert!(!down.confirm && down.payload.is_empty() && down.ack.unwrap().number == heard.number);
        assert_eq!(heard.payload.is_some(), !payload.is_empty(), "an empty payload is never delivered");
    }
    let data = device.data(b"x", false);
    assert!(world.hears(HERE, &data).answer.is_none());
    let plain = world.plain(&device, b"x");
    assert_eq!(device.open(&plain).ack.unwrap().number, number(3));
    let (command, _) = world.command(&device, 1, b"x").unwrap();
    assert_eq!(device.open(&command).ack.unwrap().number, number(3));
}

#[test]
fn m_101_a_captured_data_draws_one_answer_a_second_and_eight_in_all() {
    let (mut world, mut device) = connected();
    let captured = device.data(b"x", true);
    world.hears(HERE, &captured);
    let storm = |world: &mut World| {
        let answered = (0..20_000).step_by(100).filter(|_| {
            world.now += 100;
            matches!(world.deliver(THERE, &captured), Outcome::Answered(AnswerKind::Acknowledgement, ..))
        });
        answered.count()
    };
    assert_eq!(storm(&mut world), 8);
    assert_eq!(storm(&mut world), 0);
    let data = device.data(b"y", false);
    world.hears(HERE, &data);
    assert_eq!(storm(&mut world), 8);
    // One a second.
    let data = device.data(b"z", false);
    world.hears(HERE, &data);
    world.now += 1_000;
    world.answers(AnswerKind::Acknowledgement, HERE, &captured);
    world.now += 999;
    assert_eq!(world.rejects(HERE, &captured), Reject::AnswerLimited);
}

#[test]
fn m_114_an_unknown_kind_is_acknowledged_and_ignored() {
    let (mut world, mut device) = connected();
    let data = device.control(&Control::Unknown(0x7F), true);
    let heard = world.hears(HERE, &data);
    assert_eq!((heard.control, heard.payload), (Some(ControlEvent::Unknown(0x7F)), None));
    assert!(heard.answer.is_some());
}

#[test]
fn m_124_after_a_close_nothing_more_is_sent() {
    let (mut world, mut device) = connected();
    world.command(&device, 1, b"c").unwrap();
    let close = device.control(&Control::Close, false);
    let heard = world.hears(HERE, &close);
    assert_eq!((heard.control, heard.unknown), (Some(ControlEvent::Close), Some(CommandId(1))));
    assert!(heard.answer.is_none());
    world.now += 60_000;
    let index = world.index(&device);
    assert!(world.poll(&device).is_none() && world.server.deadline(index).is_none());
    assert!(matches!(world.server.begin_command(device.id, CommandId(2), 1), Err(CommandError::NoSession)));
    let data = device.data(b"x", true);
    world.answers(AnswerKind::Reset, HERE, &data);
    world.connect(&mut device, HERE);
}

#[test]
fn m_125_any_bytes_give_a_typed_error() {
    let (mut world, mut device) = connected();
    let (data, hello) = (device.data(b"payload", true), device.hello(b"payload"));
    let mut noise = Noise(5);
    for datagram in [data, hello] {
        for len in 0..datagram.len() {
            world.rejects(HERE, &datagram[..len]);
        }
        for _ in 0..500 {
            let mut other = datagram.clone();
            let at = noise.below(other.len());
            other[at] ^= 1 << noise.below(8);
            world.rejects(HERE, &other);
        }
    }
    for len in 0..300 {
        let bytes: Vec<_> = (0..len).map(|_| noise.next().to_be_bytes()[0]).collect();
        world.rejects(HERE, &bytes);
    }
}
