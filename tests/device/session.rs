//! Data, Reset, liveness, renewal, acknowledgements: SPEC 6.5 to 6.7, 9.2, 9.3, 9.6 and 9.7.

use moteseal::control::Control;
use moteseal::device::{CommandAge, Config, Confirm, Device, Event, Millis, Outcome, Settled, Timing};
use moteseal::error::{Malformed, ReceiveError, ResetError, SendError, VerifyError};
use moteseal::number::{ConnectionId, SequenceNumber};
use moteseal::replay::Answering;
use moteseal::session::Outgoing;
use moteseal::wire::{AckBlock, Seq};

use crate::board::{Board, Convenient, Mote, N, Op, Rng, boot};
use crate::server::{Peer, data_header, is_hello, nothing, open_hello};

fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// Runs a confirmed Data out of its repeats; gives its bytes and the time at which the device gave up.
fn exhaust(device: &mut Mote<'_>, mut now: Millis) -> (Vec<u8>, Millis) {
    let said = device.say(now, b"lost", Confirm::Yes);
    let datagram = said.datagram.unwrap();
    for _ in 0..4 {
        now = device.deadline().unwrap();
        assert_eq!(device.one(now), datagram);
    }
    (datagram, device.deadline().unwrap())
}

#[test]
fn m37_the_first_data_after_a_silence_carries_c() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let plain = device.say(599_999, b"a", Confirm::No);
    assert!(!peer.hear(&plain.datagram.unwrap()).confirm && plain.ticket.is_none());
    let after = device.say(599_999 + 600_000, b"b", Confirm::No);
    assert!(peer.hear(&after.datagram.unwrap()).confirm && after.ticket.is_some());
}

#[test]
fn m37_m45_an_answer_after_a_silence_carries_no_c_and_the_data_after_it_does() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let now = 5_000_000;
    assert_eq!(device.hear(now, &peer.command(b"on")).payload.unwrap(), b"on");
    let answer = peer.hear(&device.one(now));
    assert_eq!((answer.confirm, answer.ack.unwrap().number.value(), answer.payload), (false, 1, vec![]));
    assert!(peer.hear(&device.say(now, b"x", Confirm::No).datagram.unwrap()).confirm);
}

#[test]
fn m42_every_so_many_data_or_minutes_one_carries_c() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let mut confirmed = Vec::new();
    for sent in 1..=200 {
        let data = peer.hear(&device.say(1, b"x", Confirm::No).datagram.unwrap());
        if data.confirm {
            confirmed.push(sent);
            device.hear(1, &peer.acknowledge());
        }
    }
    assert_eq!(confirmed, [65, 130, 195]);
    // One a minute: every tenth.
    confirmed.clear();
    for minute in 0..31 {
        let now = 1_000_000 + minute * 60_000;
        let data = peer.hear(&device.say(now, b"x", Confirm::No).datagram.unwrap());
        if data.confirm {
            confirmed.push(minute);
            device.hear(now, &peer.acknowledge());
        }
    }
    assert_eq!(confirmed, [0, 10, 20, 30]);
}

#[test]
fn m42_confirmation_cannot_be_switched_off() {
    let timing = Timing { confirm_every: u16::MAX, confirm_after_ms: 0, ..Timing::DEFAULT };
    let mut board = Board::new();
    let config = Config { timing, ..Config::default() };
    let mut device = Device::<_, N>::boot(&mut board, config).unwrap();
    let mut peer = Peer::connected(&mut device, 0);
    assert!(peer.hear(&device.say(0, b"x", Confirm::No).datagram.unwrap()).confirm);
}

#[test]
fn plain_data_goes_out_beside_an_outstanding_one_and_a_second_confirmed_one_does_not() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let first = device.say(0, b"first", Confirm::Yes);
    peer.hear(first.datagram.as_ref().unwrap());
    let mut out = [0; N];
    assert_eq!(device.send(0, b"second", Confirm::Yes, &mut out).unwrap_err(), SendError::Busy);
    for number in 2..80 {
        let data = peer.hear(&device.say(1, b"plain", Confirm::No).datagram.unwrap());
        assert_eq!((data.number, data.confirm), (number, false));
    }
    let settled = device.hear(2, &peer.acknowledge_number(1)).settled;
    assert_eq!(settled, [Settled { ticket: first.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    device.say(2, b"second", Confirm::Yes);
}

#[test]
fn m43_m96_m99_repeats_run_out_and_a_hello_follows_while_the_old_session_receives() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let (lost, now) = exhaust(&mut device, 10);
    assert!((2_000 * 31..=3_000 * 31).contains(&(now - 10)), "{now}");
    let hello = open_hello(&device.one(now));
    // The old session only receives: a command is delivered and not answered, and a payload waits.
    assert_eq!(device.hear(now, &peer.command(b"on")).payload.unwrap(), b"on");
    assert_eq!(device.drain(now), none());
    let waiting = device.say(now, b"next", Confirm::No);
    assert_eq!(waiting.datagram, None);
    // M-103: not unknown yet, and an acknowledgement that was held back still counts.
    peer.hear(&lost);
    let settled = device.hear(now, &peer.acknowledge()).settled;
    assert_eq!((settled.len(), settled[0].outcome), (1, Outcome::Acknowledged));
    let (mut peer, welcome) = Peer::answer(&hello);
    assert_eq!(device.hear(now, &welcome).settled, []);
    assert_eq!(peer.hear(&device.one(now)).payload, b"next");
}

#[test]
fn m103_an_unacknowledged_payload_is_unknown_when_the_next_session_opens() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    Peer::connected(&mut device, 0);
    let (_, now) = exhaust(&mut device, 10);
    let first = open_hello(&device.one(now));
    let repeat = device.deadline().unwrap();
    assert_eq!(open_hello(&device.one(repeat)), first);
    // This Hello takes a payload along: two outcomes at once.
    let said = device.say(repeat, b"next", Confirm::Yes);
    let hello = open_hello(&said.datagram.unwrap());
    assert_eq!(hello.payload, b"next");
    let (_, welcome) = Peer::answer(&hello);
    let settled = device.hear(repeat, &welcome).settled;
    let outcomes: Vec<_> = settled.iter().map(|settled| settled.outcome).collect();
    assert_eq!(outcomes, [Outcome::Acknowledged, Outcome::Unknown]);
    assert_eq!(settled[0].ticket, said.ticket.unwrap());
}

/// An acknowledgement in the old session must not release the bytes of the Hello that took the buffer over.
#[test]
fn m31_a_late_acknowledgement_leaves_the_hello_as_it_is() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let (lost, now) = exhaust(&mut device, 10);
    device.one(now);
    let repeat = device.deadline().unwrap();
    device.one(repeat);
    let hello = device.say(repeat, b"next", Confirm::Yes).datagram.unwrap();
    peer.hear(&lost);
    assert_eq!(device.hear(repeat, &peer.acknowledge()).settled.len(), 1);
    let repeat = device.deadline().unwrap();
    assert_eq!(device.one(repeat), hello);
}

#[test]
fn m44_an_answer_rides_on_a_payload_that_is_sent_first() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    device.hear(1, &peer.command(b"on"));
    let data = peer.hear(&device.say(1, b"state: on", Confirm::No).datagram.unwrap());
    assert_eq!((data.ack.unwrap().number.value(), data.confirm), (1, false));
    assert_eq!(device.drain(1), none());
    // Without C and without an answer that is owed there is none.
    assert_eq!(peer.hear(&device.say(1, b"x", Confirm::No).datagram.unwrap()).ack, None);
    assert!(peer.hear(&device.say(1, b"x", Confirm::Yes).datagram.unwrap()).ack.is_some());
}

/// Else each old copy of it throws the device into a Hello, for ever.
#[test]
fn m46_a_reset_counts_only_for_a_number_that_was_sent_and_is_not_acknowledged() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let two = |number| Seq::Two(SequenceNumber::new(number));
    let refused = |error| ReceiveError::Reset(error);
    assert_eq!(device.refuse(1, &peer.reset_for(two(1), 1)), refused(ResetError::NeverSent));
    assert_eq!(device.refuse(1, &peer.reset_for(two(0), 0)), refused(ResetError::Acknowledged));
    let datagram = device.say(1, b"x", Confirm::Yes).datagram.unwrap();
    let old = peer.reset(&datagram);
    let mut forged = old.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(device.refuse(1, &forged), refused(ResetError::Inauthentic));
    peer.hear(&datagram);
    device.hear(1, &peer.acknowledge());
    assert_eq!(device.refuse(1, &old), refused(ResetError::Acknowledged));
    assert_eq!(device.drain(1), none());
    // Of another session.
    let other = ConnectionId::new(1, 9).unwrap();
    let header = moteseal::wire::Reset { cid: other, seq: two(1) };
    let mut other = moteseal::wire::Header::Reset(header).encode().as_bytes().to_vec();
    other.extend([0; 16]);
    assert_eq!(device.refuse(1, &other), ReceiveError::UnknownConnection);
}

#[test]
fn m46_m48_a_reset_starts_one_hello_and_silences_the_old_session() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let said = device.say(1, b"x", Confirm::Yes);
    let datagram = said.datagram.unwrap();
    let reset = peer.reset(&datagram);
    let heard = device.hear(2, &reset);
    assert_eq!((heard.event, heard.settled), (Some(Event::SessionLost), vec![]));
    // Even before the Hello is made, and after it.
    assert_eq!(device.refuse(2, &reset), ReceiveError::HelloOutstanding);
    let hello = open_hello(&device.one(2));
    assert_eq!(device.refuse(3, &reset), ReceiveError::HelloOutstanding);
    assert_eq!(device.say(3, b"waits", Confirm::Yes).datagram, None);
    // Nothing of the old session is repeated, and it still delivers.
    let repeat = device.deadline().unwrap();
    assert!(is_hello(&device.one(repeat)));
    assert_eq!(device.hear(repeat, &peer.command(b"on")).payload.unwrap(), b"on");
    let (_, welcome) = Peer::answer(&hello);
    let settled = device.hear(repeat, &welcome).settled;
    assert_eq!(settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Unknown }]);
}

#[test]
fn m48_a_payload_that_comes_after_a_reset_goes_along_with_the_hello() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let peer = Peer::connected(&mut device, 0);
    let datagram = device.say(1, b"x", Confirm::Yes).datagram.unwrap();
    device.hear(2, &peer.reset(&datagram));
    let hello = open_hello(&device.say(2, b"next", Confirm::Yes).datagram.unwrap());
    assert_eq!(hello.payload, b"next");
}

#[test]
fn m47_one_byte_of_a_reset_is_read_from_what_is_acknowledged() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    for _ in 1..=300 {
        let data = peer.hear(&device.say(0, b"x", Confirm::No).datagram.unwrap());
        if data.confirm {
            device.hear(0, &peer.acknowledge());
        }
    }
    // 260 is the last that was acknowledged; 300 is 0x12c.
    assert_eq!(device.hear(0, &peer.reset_for(Seq::One(0x2c), 300)).event, Some(Event::SessionLost));
}

/// Without it a number wraps, and a nonce is used twice.
#[test]
fn m49_m50_at_ff00_a_new_session_is_opened_and_no_number_passes_the_last() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let plain = |device: &mut Mote<'_>| device.say(0, b"x", Confirm::No).datagram.unwrap();
    for number in 1..0xFF00u32 {
        let datagram = plain(&mut device);
        // Everything counts as acknowledged now and then, so that few carry C for long.
        if number % 64 == 0 {
            device.hear(0, &peer.acknowledge_number(number.try_into().unwrap()));
        }
        assert!(!is_hello(&datagram));
    }
    assert_eq!(device.drain(0), none());
    plain(&mut device);
    let hello = device.one(0);
    assert_eq!(open_hello(&hello).payload, []);
    // Until the Welcome the old session is used in both directions.
    assert_eq!(device.hear(0, &peer.command(b"on")).payload.unwrap(), b"on");
    let answer = device.one(0);
    let number = |datagram: &[u8]| data_header(datagram).seq.rebuild(Some(SequenceNumber::RENEWAL)).value();
    assert_eq!(number(&answer), 0xFF01);
    let last = (0xFF02..=0xFFFFu32).map(|_| plain(&mut device)).last().unwrap();
    assert_eq!(number(&last), 0xFFFF);
    // M-50: no number is left. Acknowledgements are not said any more, and a payload waits for the new session.
    device.hear(0, &peer.command(b"off"));
    assert_eq!(device.drain(0), none());
    let mut out = [0; N];
    let waits = device.send(0, b"waits", Confirm::No, &mut out);
    assert!(waits.is_ok_and(|sent| sent.datagram.is_none()));
    let (mut peer, welcome) = Peer::answer(&open_hello(&hello));
    device.hear(0, &welcome);
    assert_eq!(peer.hear(&device.one(0)).payload, b"waits");
}

#[test]
fn m49_a_number_of_the_server_at_ff00_opens_a_new_session_too() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let mut last = Vec::new();
    // One was sent by `connected`.
    for _ in 1..0xFF00u32 {
        last = peer.send(Outgoing { payload: b"x", confirm: true, ..Outgoing::default() });
    }
    device.hear(0, &last);
    assert!(!is_hello(&device.one(0)));
    device.hear(0, &peer.command(b"x"));
    let sent = device.drain(0);
    assert!(!is_hello(&sent[0]) && is_hello(&sent[1]) && sent.len() == 2);
}

#[test]
fn m49_while_a_new_session_is_opened_an_outstanding_data_is_repeated_and_so_is_the_hello() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    for _ in 1..0xFF00u32 {
        peer.send(Outgoing::default());
    }
    let data = device.say(0, &[0xAB; Mote::PAYLOAD_MAX], Confirm::Yes).datagram.unwrap();
    device.hear(0, &peer.acknowledge_number(0));
    let hello = device.one(0);
    let (mut hellos, mut datas) = (0, 0);
    while datas < 4 {
        assert!(hellos < 20, "the Data is not repeated");
        let now = device.deadline().unwrap();
        for datagram in device.drain(now) {
            if is_hello(&datagram) {
                assert_eq!(datagram, hello);
                hellos += 1;
            } else {
                assert_eq!(datagram, data);
                datas += 1;
            }
        }
    }
    assert!(hellos >= 3);
}

#[test]
fn m68_m101_a_repeat_is_answered_once_a_second_and_eight_times_and_never_delivered_again() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let command = peer.command(b"on");
    assert!(device.hear(1, &command).payload.is_some());
    peer.hear(&device.one(1));
    let mut forged = command.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut answered = Vec::new();
    for now in (10..20_000).step_by(250) {
        assert_eq!(device.refuse(now, &forged), ReceiveError::Verify(VerifyError::Inauthentic));
        assert_eq!(device.drain(now), none());
        assert_eq!(device.hear(now, &command), nothing());
        for datagram in device.drain(now) {
            let data = peer.hear(&datagram);
            assert_eq!((data.ack.unwrap().number.value(), data.confirm), (1, false));
            answered.push(now);
        }
    }
    assert_eq!(answered.len(), 8);
    assert!(answered.windows(2).all(|pair| pair[1] - pair[0] >= 1_000));
    // A new number, and the limit starts afresh.
    device.hear(30_000, &peer.command(b"off"));
    device.one(30_000);
    device.hear(31_000, &command);
    assert_eq!(
        peer.hear(&device.one(31_000)).ack,
        Some(AckBlock { number: SequenceNumber::new(1), before: 1 })
    );
}

#[test]
fn m15_an_answer_to_a_late_one_names_it() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let late = peer.command(b"late");
    for _ in 0..20 {
        let ahead = peer.send(Outgoing { payload: b"x", ..Outgoing::default() });
        device.hear(0, &ahead);
    }
    assert_eq!(device.drain(0), none());
    device.hear(0, &late);
    let ack = peer.hear(&device.one(0)).ack.unwrap();
    assert_eq!(ack.number.value(), 1);
    assert_eq!(peer.block(Some(Answering::New(SequenceNumber::FIRST))).unwrap().number.value(), 1);
}

#[test]
fn m113_malformed_data_is_seen_and_neither_delivered_nor_acknowledged() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let said = device.say(0, b"x", Confirm::Yes);
    peer.hear(&said.datagram.unwrap());
    let malformed = |malformed| ReceiveError::Verify(VerifyError::Malformed(malformed));
    let ack = peer.block(None);
    for (outgoing, error) in [
        (Outgoing { control: true, ..Outgoing::default() }, Malformed::EmptyControl),
        (Outgoing { control: true, payload: &[1, 2], ..Outgoing::default() }, Malformed::ControlLength),
        (Outgoing { control: true, payload: &[2], ..Outgoing::default() }, Malformed::WrongDirection),
    ] {
        let datagram = peer.send(Outgoing { confirm: true, ack, ..outgoing });
        assert_eq!(device.refuse(0, &datagram), malformed(error));
        assert_eq!(device.refuse(0, &datagram), ReceiveError::Verify(VerifyError::Replayed));
        // The block in it has no effect either.
        assert_eq!(device.drain(0), none());
    }
    let unsent = Some(AckBlock { number: SequenceNumber::new(2), before: 0 });
    let datagram = peer.send(Outgoing { payload: b"on", ack: unsent, ..Outgoing::default() });
    assert_eq!(device.refuse(0, &datagram), malformed(Malformed::AckOfUnsent));
    assert_eq!(device.hear(0, &peer.acknowledge()).settled.len(), 1);
}

#[test]
fn m114_an_unknown_control_message_is_ignored_and_acknowledged() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let heard = device.hear(0, &peer.control(&Control::Unknown(0x77), true));
    assert_eq!((heard.event, heard.payload), (Some(Event::ControlIgnored), None));
    assert_eq!(peer.hear(&device.one(0)).ack.unwrap().number.value(), 1);
}

#[test]
fn m110_m111_a_command_is_as_old_as_the_data_that_its_server_had_seen() {
    let mut board = Board::new();
    let config = Config { command_age: CommandAge::Refuse { bound_ms: 40_000 }, ..Config::default() };
    let mut device = Device::<_, N>::boot(&mut board, config).unwrap();
    let mut peer = Peer::connected(&mut device, 0);
    // Sealed now; the attacker releases it when it suits him.
    let held_back = peer.command(b"unlock");
    peer.hear(&device.say(35_000, b"x", Confirm::No).datagram.unwrap());
    let fresh = peer.command(b"unlock");
    let heard = device.hear(36_000, &fresh);
    assert_eq!(heard.payload.unwrap(), b"unlock");
    // From the start of the slot of ten seconds in which it was sent.
    assert_eq!(heard.age_ms, Some(6_000));
    device.one(36_000);
    let heard = device.hear(40_001, &held_back);
    let refused = Event::CommandRefused { number: SequenceNumber::new(1), age_ms: Some(40_001) };
    assert_eq!((heard.payload, heard.event), (None, Some(refused)));
    // M-112: it is acknowledged.
    assert_eq!(
        peer.hear(&device.one(40_001)).ack.unwrap(),
        AckBlock { number: SequenceNumber::new(2), before: 3 }
    );
}

#[test]
fn m112_a_command_of_unknown_age_is_refused() {
    let mut board = Board::new();
    let config = Config { command_age: CommandAge::Refuse { bound_ms: 40_000 }, ..Config::default() };
    let mut device = Device::<_, N>::boot(&mut board, config).unwrap();
    let mut peer = Peer::connected(&mut device, 0);
    let without = peer.send(Outgoing { payload: b"unlock", confirm: true, ..Outgoing::default() });
    let refused = device.hear(10, &without).event;
    assert_eq!(refused, Some(Event::CommandRefused { number: SequenceNumber::new(1), age_ms: None }));
    // A device that was silent for long refuses until it has spoken.
    device.one(10);
    let late = device.hear(1_000_000, &peer.command(b"unlock"));
    assert!(matches!(late.event, Some(Event::CommandRefused { .. })));
    device.one(1_000_000);
    device.connect(1_000_000);
    let probe = peer.hear(&device.one(1_000_000));
    assert!(probe.confirm && probe.payload.is_empty());
    assert_eq!(device.hear(1_000_001, &peer.command(b"unlock")).payload.unwrap(), b"unlock");
}

#[test]
fn without_a_bound_ages_are_reported() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    assert_eq!(device.hear(1_000, &peer.command(b"on")).age_ms, Some(1_000));
    device.one(1_000);
    let late = device.hear(90_000_000, &peer.command(b"on"));
    assert_eq!(late.payload.unwrap(), b"on");
}

/// A datagram that fails changes nothing: the device goes on exactly as its twin that never saw it.
#[test]
fn m24_what_is_refused_leaves_no_trace() {
    let run = |disturb: bool| {
        let mut board = Board { rng: Some(Rng::Works(5)), ..Board::new() };
        let mut device = boot(&mut board);
        let mut sent = Vec::new();
        let junk = |device: &mut Mote<'_>, now: Millis, genuine: &[u8]| {
            if !disturb {
                return;
            }
            for at in 0..genuine.len() * 8 {
                let mut bytes = genuine.to_vec();
                bytes[at / 8] ^= 1 << (at % 8);
                device.receive(now, &mut bytes).unwrap_err();
            }
            for len in 0..genuine.len() {
                device.receive(now, &mut genuine[..len].to_vec()).unwrap_err();
            }
        };
        let said = device.say(0, b"early", Confirm::Yes);
        sent.extend(said.datagram);
        let hello = open_hello(sent.last().unwrap());
        junk(&mut device, 1, &hello.floor(&crate::board::device_key(1), moteseal::number::Epoch::new(5, 5)));
        let (mut peer, welcome) = Peer::answer(&hello);
        junk(&mut device, 2, &welcome);
        device.hear(3, &welcome);
        sent.extend(device.drain(3));
        junk(&mut device, 4, &peer.reset(&sent.last().unwrap().clone()));
        peer.hear(sent.last().unwrap());
        let command = peer.command(b"on");
        junk(&mut device, 5, &command);
        device.hear(6, &command);
        junk(&mut device, 6, &command);
        sent.extend(device.drain(6));
        sent.extend(device.say(7, b"more", Confirm::Yes).datagram);
        for _ in 0..9 {
            let now = device.deadline().unwrap();
            junk(&mut device, now, &command);
            sent.extend(device.drain(now));
        }
        (sent, board.ops)
    };
    let (calm, disturbed) = (run(false), run(true));
    assert_eq!(calm.0.len(), 3 + 1 + 4 + 5);
    assert_eq!(calm, disturbed);
    assert_eq!(calm.1, [Op::Store(1)]);
}

#[test]
fn data_without_a_session_or_of_another_one_is_refused() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut other = Board { rng: Some(Rng::Works(77)), ..Board::new() };
    let mut peer = Peer::connected(&mut boot(&mut other), 0);
    assert_eq!(device.refuse(0, &peer.command(b"on")), ReceiveError::NoSession);
    let reset = peer.reset_for(Seq::Two(SequenceNumber::FIRST), 0);
    assert_eq!(device.refuse(0, &reset), ReceiveError::NoSession);
    Peer::connected(&mut device, 0);
    let inauthentic = ReceiveError::Verify(VerifyError::Inauthentic);
    assert_eq!(device.refuse(0, &peer.command(b"on")), inauthentic);
    let cid = ConnectionId::new(2, 0x124).unwrap();
    let mut command = peer.command(b"on");
    command[1..3].copy_from_slice(cid.as_bytes());
    assert_eq!(device.refuse(0, &command), ReceiveError::UnknownConnection);
}
