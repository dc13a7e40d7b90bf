//! Where datagrams go, and how many: SPEC 7.5.

use moteseal::error::CommandError;
use moteseal::server::{AnswerKind, CommandId};

use crate::support::*;

const HOME: Address = 1;
const VICTIM: Address = 2;

/// Everything that a server sends to an address while commands and answers press on it.
fn flood(world: &mut World, device: &mut Device, repeat: &[u8]) -> usize {
    let mut sent = 0;
    for step in 0..600 {
        world.now += 1_000;
        if let Outcome::Answered(_, answer, VICTIM) = world.deliver(VICTIM, repeat) {
            sent += answer.len();
        }
        while let Some((datagram, to)) = world.poll(device) {
            assert_eq!(to, VICTIM);
            sent += datagram.len();
        }
        let mut out = [0; 200];
        if let Ok((plain, VICTIM)) = world.server.send_plain(device.id, b"telemetry", &mut out) {
            sent += plain.len();
        }
        if step == 100
            && let Some((command, VICTIM)) = world.command(device, 9, b"a command of some length")
        {
            sent += command.len();
        }
    }
    sent
}

#[test]
fn m_70_a_forged_source_receives_three_times_what_it_sent() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HOME);
    // The attacker takes a Data off the air and sends it on first, from his victim's address.
    let data = device.data(b"twenty bytes payload", true);
    let answer = world.hears(VICTIM, &data).answer.unwrap();
    assert_eq!(answer.1, VICTIM);
    let sent = answer.0.len() + flood(&mut world, &mut device, &data);
    assert!(sent <= 3 * data.len(), "{sent} for {}", data.len());
    assert!(sent > 2 * data.len(), "the bound is used");
}

#[test]
fn m_70_m_71_a_forged_source_of_the_first_data_receives_three_times_what_it_sent() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.offer(&mut device, HOME);
    let data = device.data(b"twenty bytes payload", true);
    let answer = world.hears(VICTIM, &data).answer.unwrap();
    let sent = answer.0.len() + flood(&mut world, &mut device, &data);
    assert!(sent <= 3 * data.len(), "{sent} for {}", data.len());
}

/// The attacker sends the Hello on with the victim's source address before the original, and the first Data too. The
/// device has its Welcome from the answer to the original.
#[test]
fn m_71_a_forged_source_of_hello_and_first_data_receives_three_times_what_it_sent() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"x");
    world.welcomes(VICTIM, &hello);
    assert!(device.welcome(&world.answers(AnswerKind::Welcome, HOME, &hello)));
    let data = device.data(b"twenty bytes payload", true);
    let answer = world.hears(VICTIM, &data).answer.unwrap();
    let sent = answer.0.len() + flood(&mut world, &mut device, &data);
    assert!(sent <= 3 * data.len(), "{sent} for {}", data.len());
}

#[test]
fn m_71_the_source_of_the_hello_is_free_at_once() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HOME);
    for _ in 0..100 {
        world.plain(&device, &[7; 100]);
    }
}

#[test]
fn m_70_an_acknowledgement_of_what_was_sealed_since_the_move_frees_the_address() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HOME);
    let before = world.plain(&device, b"before the move");
    // The device has moved, and acknowledges what was sealed before.
    let data = device.data(b"x", true);
    let answer = world.hears(VICTIM, &data).answer.unwrap().0;
    device.open(&before);
    let acknowledges_old = device.acknowledge();
    world.hears(VICTIM, &acknowledges_old);
    let id = device.id;
    let budget_left = |world: &mut World| {
        let mut sent = 0;
        while world.server.send_plain(id, &[7; 10], &mut [0; 99]).is_ok() {
            sent += 1;
            if sent == 50 {
                break;
            }
        }
        sent
    };
    assert!(budget_left(&mut world) < 5);
    // The answer was sealed after the move; its acknowledgement from elsewhere frees nothing.
    device.open(&answer);
    let (from_elsewhere, newer) = (device.acknowledge(), device.data(b"", false));
    world.hears(VICTIM, &newer);
    world.hears(HOME, &from_elsewhere);
    assert!(budget_left(&mut world) < 5);
    let from_there = device.acknowledge();
    world.hears(VICTIM, &from_there);
    let mut out = [0; 99];
    for _ in 0..50 {
        world.server.send_plain(device.id, &[7; 10], &mut out).unwrap();
    }
}

#[test]
fn m_69_only_the_highest_number_moves_the_address() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HOME);
    let (one, two) = (device.data(b"1", true), device.data(b"2", true));
    world.hears(HOME, &two);
    assert_eq!(world.hears(VICTIM, &one).answer.unwrap().1, HOME, "older");
    world.now += 1_000;
    world.answers(AnswerKind::Acknowledgement, VICTIM, &two);
    let three = device.data(b"3", true);
    world.rejects(VICTIM, &forged(&three));
    assert_eq!(world.hears(HOME, &three).answer.unwrap().1, HOME);
    // The device itself comes back from where the attacker has put it.
    let four = device.data(b"4", true);
    assert_eq!(world.hears(VICTIM, &four).answer.unwrap().1, VICTIM);
    let five = device.data(b"5", true);
    assert_eq!(world.hears(HOME, &five).answer.unwrap().1, HOME);
}

#[test]
fn m_70_a_command_waits_for_its_address_and_goes_out_later() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.offer(&mut device, HOME);
    let first = device.data(b"", false);
    world.hears(VICTIM, &first);
    assert!(world.command(&device, 1, &[7; 100]).is_none(), "sealed, and not sent");
    let busy = world.server.begin_command(device.id, CommandId(2), 1).map(|_| ());
    assert_eq!(busy, Err(CommandError::Busy));
    for _ in 0..7 {
        world.now += 60_000;
        assert!(world.poll(&device).is_none());
    }
    // Each Data earns three times its length.
    let mut heard = 0;
    let command = loop {
        heard += 1;
        let data = device.data(b"0123456789", false);
        world.hears(VICTIM, &data);
        if let Some((command, VICTIM)) = world.poll(&device) {
            break command;
        }
        assert!(heard < 5);
    };
    assert_eq!(device.open(&command).payload, [7; 100]);
}
