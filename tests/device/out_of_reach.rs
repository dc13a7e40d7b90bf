//! A payload that is held back until it lies left of the server's window: SPEC M-128.

use moteseal::device::{Confirm, Outcome, Settled};
use moteseal::error::SendError;

use crate::board::{Board, Convenient, Mote, N, boot};
use crate::server::{Peer, data_header, nothing, open_hello};

/// The attacker lets `count` later Data of the device pass.
fn passes(device: &mut Mote<'_>, peer: &mut Peer, count: usize) {
    for _ in 0..count {
        let plain = device.say(0, b"plain", Confirm::No);
        peer.hear(&plain.datagram.unwrap());
    }
}

#[test]
fn m128_a_payload_left_of_the_window_is_unknown_and_the_next_may_go() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    // The attacker takes it and every repeat.
    let held = device.say(0, b"lost", Confirm::Yes);
    passes(&mut device, &mut peer, 63);
    assert_eq!(device.hear(0, &peer.acknowledge()), nothing(), "it may still be accepted");
    let mut out = [0; N];
    assert_eq!(device.send(0, b"next", Confirm::Yes, &mut out).unwrap_err(), SendError::Busy);
    passes(&mut device, &mut peer, 1);
    let settled = device.hear(0, &peer.acknowledge()).settled;
    assert_eq!(settled, [Settled { ticket: held.ticket.unwrap(), outcome: Outcome::Unknown }]);
    // The session lives: no repeat, no Hello, and the next goes out in it.
    assert_eq!((device.deadline(), device.drain(1_000_000).len()), (None, 0));
    let next = device.say(1_000_000, b"next", Confirm::Yes);
    assert_eq!(peer.hear(&next.datagram.unwrap()).number, 66);
    // An acknowledgement that was held back comes too late: one word each.
    let late = peer.acknowledge_number(1);
    assert_eq!(device.hear(1_000_000, &late), nothing());
    let settled = device.hear(1_000_000, &peer.acknowledge()).settled;
    assert_eq!(settled, [Settled { ticket: next.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    assert_eq!(device.close(1_000_000, &mut out).unwrap().settled.len(), 0);
}

#[test]
fn m128_what_is_acknowledged_in_time_is_not_unknown_later() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let said = device.say(0, b"x", Confirm::Yes);
    peer.hear(said.datagram.as_ref().unwrap());
    passes(&mut device, &mut peer, 63);
    assert_eq!(device.hear(0, &peer.acknowledge()), nothing());
    let settled = device.hear(0, &peer.acknowledge_number(1)).settled;
    assert_eq!(settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    passes(&mut device, &mut peer, 1);
    assert_eq!(device.hear(0, &peer.acknowledge()), nothing());
}

#[test]
fn m128_a_probe_that_is_out_of_reach_is_given_up_in_silence() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    device.connect(0);
    assert!(data_header(&device.one(0)).confirm);
    passes(&mut device, &mut peer, 64);
    assert_eq!(device.hear(0, &peer.acknowledge()), nothing());
    assert_eq!(device.deadline(), None);
}

/// The old session only receives, and the buffer holds a Hello with a payload of its own.
#[test]
fn m128_in_a_session_that_only_receives_the_hello_goes_on() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let held = device.say(10, b"lost", Confirm::Yes);
    passes(&mut device, &mut peer, 64);
    for _ in 0..4 {
        let repeat = device.deadline().unwrap();
        assert_eq!(Some(device.one(repeat)), held.datagram);
    }
    let now = device.deadline().unwrap();
    let early = device.say(now, b"early", Confirm::Yes);
    let hello = early.datagram.clone().unwrap();
    assert_eq!(open_hello(&hello).payload, b"early");
    let settled = device.hear(now, &peer.acknowledge()).settled;
    assert_eq!(settled, [Settled { ticket: held.ticket.unwrap(), outcome: Outcome::Unknown }]);
    let now = device.deadline().unwrap();
    assert_eq!(device.one(now), hello, "the same bytes again");
    let (_, welcome) = Peer::answer(&open_hello(&hello));
    let settled = device.hear(now, &welcome).settled;
    assert_eq!(settled, [Settled { ticket: early.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
}
