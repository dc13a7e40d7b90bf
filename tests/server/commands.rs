//! Commands to devices: SPEC 9.1, 9.2, 9.4 and 9.5.

use moteseal::control::Control;
use moteseal::error::CommandError;
use moteseal::number::{Epoch, SequenceNumber};
use moteseal::record::Status;
use moteseal::replay::Answering;
use moteseal::server::{Change, Command, CommandId, CommandState, Sending, SentMark};
use moteseal::session::Outgoing;

use crate::support::*;

const HERE: Address = 1;

fn connected() -> (World, Device) {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    (world, device)
}

fn begin(world: &mut World, device: &Device, id: u64) -> Result<(Sending, Change<SentMark>), CommandError> {
    world.server.begin_command(device.id, CommandId(id), 7)
}

fn refusal(world: &mut World, device: &Device, id: u64) -> Option<CommandError> {
    begin(world, device, id).err()
}

#[test]
fn m_95_m_96_a_command_is_sealed_once_and_repeated_byte_for_byte() {
    let (mut world, mut device) = connected();
    let index = world.index(&device);
    let (command, to) = world.command(&device, 1, b"unlock!").unwrap();
    assert_eq!(to, HERE);
    let (mut waits, mut last) = (Vec::new(), world.now);
    while let Some(deadline) = world.server.deadline(index) {
        world.now = deadline - 1;
        assert!(world.poll(&device).is_none());
        world.now = deadline;
        waits.push(deadline - last);
        last = deadline;
        if let Some((repeat, _)) = world.poll(&device) {
            assert_eq!(repeat, command, "the same bytes, or it runs twice");
        }
        assert!(world.poll(&device).is_none());
    }
    // Four repeats, and the wait after the last of them.
    assert_eq!(waits.len(), 5);
    assert!((2_000..=3_000).contains(&waits[0]));
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
    // That its repeats ran out settles nothing (M-103), and it is still the one that is out.
    assert_eq!(refusal(&mut world, &device, 2), Some(CommandError::Busy));
    // M-98: once more at each newly verified Data; not at a repeat.
    for _ in 0..6 {
        let data = device.data(b"x", false);
        assert_eq!(world.hears(HERE, &data).unknown, None);
        assert_eq!(world.server.deadline(index), Some(0));
        assert_eq!(world.poll(&device).unwrap().0, command);
        assert!(world.poll(&device).is_none());
        let _ = world.deliver(HERE, &data);
        assert!(world.poll(&device).is_none());
    }
    let opened = device.open(&command);
    assert!(opened.confirm && opened.payload == b"unlock!");
    assert!(device.open(&command).is_repeat);
    let acknowledgement = device.acknowledge();
    assert_eq!(world.hears(HERE, &acknowledgement).acknowledged, Some(CommandId(1)));
    assert_eq!(world.hears(HERE, &device.acknowledge()).acknowledged, None, "one word");
    world.now += 1_000_000;
    assert!(world.poll(&device).is_none() && world.server.deadline(index).is_none());
    assert!(world.command(&device, 2, b"x").is_some());
}

#[test]
fn m_97_plain_data_is_not_repeated() {
    let (mut world, mut device) = connected();
    let data = world.plain(&device, b"x");
    assert!(!device.open(&data).confirm);
    world.now += 1_000_000;
    assert!(world.poll(&device).is_none());
    let mut sent = |payload: &[u8], room| {
        world.server.send_plain(device.id, payload, &mut [0; 99][..room]).map(|(data, _)| data.len())
    };
    assert_eq!(sent(b"", 99), Err(CommandError::Length));
    // Room for the longest Data with this payload is asked for, whatever this one needs.
    assert_eq!((sent(b"x", 26), sent(b"x", 27)), (Err(CommandError::Length), Ok(23)));
}

#[test]
fn m_102_m_103_the_end_of_the_session_makes_a_command_unknown() {
    let (mut world, mut device) = connected();
    world.command(&device, 1, b"c").unwrap();
    world.offer(&mut device, HERE);
    let data = device.data(b"", true);
    assert_eq!(world.hears(HERE, &data).unknown, Some(CommandId(1)));
    // An acknowledged one is not unknown.
    let (command, _) = world.command(&device, 2, b"c").unwrap();
    device.open(&command);
    let data = device.acknowledge();
    assert_eq!(world.hears(HERE, &data).acknowledged, Some(CommandId(2)));
    world.offer(&mut device, HERE);
    let data = device.data(b"", true);
    assert_eq!(world.hears(HERE, &data).unknown, None);
}

/// The attacker lets `count` later numbers of the server pass, and their acknowledgement.
fn passes(world: &mut World, device: &mut Device, count: usize) -> Data {
    for _ in 0..count {
        let plain = world.plain(device, b"x");
        device.open(&plain);
    }
    let acknowledgement = device.acknowledge();
    world.hears(HERE, &acknowledgement)
}

#[test]
fn m_128_a_command_left_of_the_window_is_unknown_and_the_next_may_go() {
    let (mut world, mut device) = connected();
    let index = world.index(&device);
    // The attacker takes it and every repeat.
    let (held, _) = world.command(&device, 1, b"unlock!").unwrap();
    let data = passes(&mut world, &mut device, 63);
    assert_eq!((data.acknowledged, data.unknown), (None, None), "it may still be accepted");
    assert_eq!(refusal(&mut world, &device, 2), Some(CommandError::Busy));
    let data = passes(&mut world, &mut device, 1);
    assert_eq!((data.acknowledged, data.unknown), (None, Some(CommandId(1))));
    assert!(device.try_open(&held).is_none(), "it comes too late");
    world.now += 1_000_000;
    assert!(world.poll(&device).is_none() && world.server.deadline(index).is_none());
    // The session lives, and the next command goes in it.
    let (next, _) = world.command(&device, 2, b"c").unwrap();
    assert_eq!(device.open(&next).payload, b"c");
    let acknowledgement = device.acknowledge();
    assert_eq!(world.hears(HERE, &acknowledgement).acknowledged, Some(CommandId(2)));
    // The first has had its word.
    world.offer(&mut device, HERE);
    let first = device.data(b"", true);
    assert_eq!(world.hears(HERE, &first).unknown, None);
}

#[test]
fn m_128_it_is_one_word_whichever_comes_first() {
    let (mut world, mut device) = connected();
    // Accepted, and its acknowledgement is held back until the device has gone past it.
    let (command, _) = world.command(&device, 1, b"c").unwrap();
    device.open(&command);
    let late = device.acknowledge();
    assert_eq!(passes(&mut world, &mut device, 64).unknown, Some(CommandId(1)));
    let data = world.hears(HERE, &late);
    assert_eq!((data.acknowledged, data.unknown), (None, None));
    // Acknowledged in the last moment, by a block that names a number far behind.
    let (command, _) = world.command(&device, 2, b"c").unwrap();
    let number = device.open(&command).number;
    assert_eq!(passes(&mut world, &mut device, 63).unknown, None);
    let ack = device.session.as_ref().unwrap().ack_block(Some(Answering::Repeat(number)));
    let named = device.send(Outgoing { ack, ..Outgoing::default() });
    assert_eq!(world.hears(HERE, &named).acknowledged, Some(CommandId(2)));
    let data = passes(&mut world, &mut device, 64);
    assert_eq!((data.acknowledged, data.unknown), (None, None));
    // Its repeats had run out (M-98).
    world.command(&device, 3, b"c").unwrap();
    while let Some(deadline) = world.server.deadline(world.index(&device)) {
        world.now = deadline;
        world.poll(&device);
    }
    assert_eq!(passes(&mut world, &mut device, 64).unknown, Some(CommandId(3)));
    assert!(world.poll(&device).is_none());
    // The block comes in the very Data that closes the session.
    world.command(&device, 4, b"c").unwrap();
    for _ in 0..64 {
        let plain = world.plain(&device, b"x");
        device.open(&plain);
    }
    let ack = device.session.as_ref().unwrap().ack_block(None);
    let close = Control::Close.encode();
    let close = device.send(Outgoing { payload: close.as_bytes(), ack, confirm: false, control: true });
    assert_eq!(world.hears(HERE, &close).unknown, Some(CommandId(4)));
    world.connect(&mut device, HERE);
    assert!(world.command(&device, 5, b"c").is_some());
}

#[test]
fn m_128_a_command_at_the_end_of_the_numbers_waits_for_the_next_session() {
    let (mut world, mut device) = connected();
    lost(|| (1..0xFFC0).for_each(|_| drop(world.plain(&device, b"x"))));
    let (held, _) = world.command(&device, 1, b"c").unwrap();
    assert_eq!(passes(&mut world, &mut device, 63).unknown, None, "no number is left to pass it");
    assert_eq!(device.open(&held).number.value(), 0xFFC0);
    let acknowledgement = device.send(Outgoing {
        ack: device.session.as_ref().unwrap().ack_block(Some(Answering::Repeat(SequenceNumber::new(0xFFC0)))),
        ..Outgoing::default()
    });
    assert_eq!(world.hears(HERE, &acknowledgement).acknowledged, Some(CommandId(1)));
}

#[test]
fn m_106_nothing_is_sealed_without_the_durable_mark_of_this_command() {
    let (mut world, device) = connected();
    let (sending, mark) = begin(&mut world, &device, 1).unwrap();
    assert_eq!(*mark.value(), SentMark { command: CommandId(1), gateway: GATEWAY, epoch: Epoch::new(1, 0) });
    assert!(world.poll(&device).is_none(), "it waits for the mark");
    assert_eq!(refusal(&mut world, &device, 2), Some(CommandError::Busy));
    // The store failed; the command stays in the queue, and another may go.
    world.server.give_up(&sending);
    let (other, other_mark) = begin(&mut world, &device, 2).unwrap();
    let sealed = world.server.seal_command(world.now, other, &mark.committed(), b"payload");
    assert!(matches!(sealed, Err(CommandError::OtherTicket)));
    let sealed = world.server.seal_command(world.now, sending, &other_mark.committed(), b"payload");
    assert!(matches!(sealed, Err(CommandError::OtherTicket)));
    world.now += 60_000;
    assert!(world.poll(&device).is_none());
    // None of this is in the way of the next.
    assert!(world.command(&device, 3, b"c").is_some());
}

#[test]
fn m_106_a_mark_of_a_session_that_has_ended_seals_nothing() {
    let (mut world, mut device) = connected();
    let (sending, mark) = begin(&mut world, &device, 1).unwrap();
    world.connect(&mut device, HERE);
    let sealed = world.server.seal_command(world.now, sending, &mark.committed(), b"payload");
    assert!(matches!(sealed, Err(CommandError::NoSession)));
    let (command, _) = world.command(&device, 1, b"payload").unwrap();
    assert_eq!(device.open(&command).payload, b"payload");
    // Nor does one from before a crash.
    world.connect(&mut device, HERE);
    let (sending, mark) = begin(&mut world, &device, 2).unwrap();
    world.crash();
    let sealed = world.server.seal_command(world.now, sending, &mark.committed(), b"payload");
    assert!(matches!(sealed, Err(CommandError::NoSession)));
}

#[test]
fn commands_are_refused_where_they_cannot_go() {
    let (mut world, mut device) = connected();
    let refused = |world: &mut World, device: &Device, len| {
        world.server.begin_command(device.id, CommandId(1), len).err()
    };
    assert_eq!(refused(&mut world, &Device::new(9), 1), Some(CommandError::UnknownDevice));
    assert_eq!(refused(&mut world, &device, 0), Some(CommandError::Length));
    assert_eq!(refused(&mut world, &device, 175), Some(CommandError::Length));
    assert_eq!(refused(&mut world, &device, usize::MAX), Some(CommandError::Length));
    let (sending, mark) = begin(&mut world, &device, 1).unwrap();
    let sealed = world.server.seal_command(world.now, sending, &mark.committed(), &[1; 175]);
    assert!(matches!(sealed, Err(CommandError::Length)));
    let (command, _) = world.command(&device, 1, &[5; 174]).unwrap();
    assert_eq!(device.open(&command).payload, [5; 174]);
    world.crash();
    assert_eq!(refused(&mut world, &device, 1), Some(CommandError::NoSession));
    // A candidate is not a session (M-62).
    world.offer(&mut device, HERE);
    assert_eq!(refused(&mut world, &device, 1), Some(CommandError::NoSession));
    assert!(world.server.send_plain(device.id, b"x", &mut [0; 99]).is_err());
    world.set_status(&device, Status::Quarantined);
    assert_eq!(refused(&mut world, &device, 1), Some(CommandError::NotActive));
}

#[test]
fn m_50_no_number_passes_the_last() {
    let (mut world, mut device) = connected();
    lost(|| (1..0xFFFF).for_each(|_| drop(world.plain(&device, b"x"))));
    let (sending, mark) = begin(&mut world, &device, 1).unwrap();
    let last = world.plain(&device, b"x");
    assert_eq!(device.open(&last).number.value(), 0xFFFF);
    assert!(world.server.send_plain(device.id, b"x", &mut [0; 99]).is_err());
    let sealed = world.server.seal_command(world.now, sending, &mark.committed(), b"c");
    assert!(matches!(sealed, Err(CommandError::NoSession)));
    // It waits in the queue, and is not marked again before there is another session.
    assert!(matches!(begin(&mut world, &device, 1), Err(CommandError::NoSession)));
    // Nothing spins on what cannot be sealed any more, and the device is served on.
    world.begin_rotation(&device);
    let index = world.index(&device);
    assert!(world.poll(&device).is_none());
    assert_eq!(world.server.deadline(index), None);
    let data = device.data(b"x", true);
    let heard = world.hears(HERE, &data);
    assert!(heard.payload.is_some() && heard.answer.is_none());
    world.connect(&mut device, HERE);
    assert!(world.poll(&device).is_some(), "the rotate goes out in the next session");
}

#[test]
fn m_107_m_108_the_queue_moves_a_command_through_its_states() {
    let queued = Command {
        id: CommandId(1),
        device_id: Device::new(1).id,
        idempotent: true,
        expires: Some(1_000),
        state: CommandState::Queued,
    };
    let epoch = Epoch::new(1, 0);
    let sent = queued.sent(999, GATEWAY, epoch).unwrap();
    assert_eq!(sent.state, CommandState::Sent { gateway: GATEWAY, epoch });
    assert_eq!(queued.sent(1_000, GATEWAY, epoch), Err(CommandError::Expired));
    assert_eq!(sent.unknown(999).state, CommandState::Queued);
    assert_eq!(sent.unknown(1_000).state, CommandState::Unknown);
    let once = Command { idempotent: false, ..queued };
    assert_eq!(once.unknown(0).state, CommandState::Unknown, "M-82: after a restore it may have been sent");
    assert_eq!(sent.never_sealed().state, CommandState::Queued);
}
