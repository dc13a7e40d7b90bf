//! Boot, Hello, Welcome and Floor: SPEC 6.1 to 6.4.

use moteseal::boot_counter::Stored;
use moteseal::device::{Config, Confirm, Device, Event, OldKey, Outcome, Settled};
use moteseal::error::{
    BootError, CounterError, EntropyError, HelloError, ImageError, PollError, ReceiveError, SendError,
    StorageError, VerifyError,
};
use moteseal::identity::KeySlot;
use moteseal::key_slots::Slot;
use moteseal::number::{Epoch, Salt};

use crate::board::{Board, Convenient, Effect, Fault, Mote, N, Op, Rng, boot, device_key, generation};
use crate::server::{Hello, Peer, cid, data_header, is_hello, nothing, open_hello};

fn try_boot(board: &mut Board) -> Result<Mote<'_>, BootError> {
    Device::boot(board, Config::default())
}

#[test]
fn m25_the_counter_is_advanced_and_read_back_before_anything_is_sent() {
    let mut board = Board::with_counter(Stored::Intact(7));
    assert_eq!(boot(&mut board).drain(0), [[0u8; 0]; 0]);
    assert_eq!((board.ops.as_slice(), board.loads), (&[Op::Store(8)][..], 3));
    let mut device = boot(&mut board);
    device.connect(0);
    assert_eq!(open_hello(&device.one(0)).epoch, Epoch::new(9, 0));
}

#[test]
fn m25_a_counter_that_is_not_stored_stops_the_boot() {
    for (effect, error) in [
        (Effect::None, StorageError::Write),
        (Effect::Whole, StorageError::Write),
        (Effect::Lost, StorageError::Verify),
    ] {
        let mut board = Board::new();
        board.fault = Some(Fault { at: 0, effect, power_cut: false });
        assert_eq!(try_boot(&mut board).unwrap_err(), BootError::Counter(CounterError::Storage(error)));
    }
}

#[test]
fn m27_without_an_rng_a_lost_counter_stops_the_boot() {
    for counter in [Stored::Blank, Stored::Broken] {
        let mut board = Board { counter, ..Board::without_rng() };
        assert_eq!(try_boot(&mut board).unwrap_err(), BootError::CounterLost);
        assert_eq!(board.ops, []);
        // With one it starts over at 1.
        let mut board = Board::with_counter(counter);
        boot(&mut board);
        assert_eq!(board.ops, [Op::Store(1)]);
    }
}

#[test]
fn m28_the_counter_does_not_wrap() {
    let mut board = Board::with_counter(Stored::Intact(u32::MAX));
    assert_eq!(try_boot(&mut board).unwrap_err(), BootError::Counter(CounterError::UsedUp));
    assert_eq!(board.ops, []);
}

#[test]
fn a_device_without_a_key_does_not_start() {
    let mut board = Board::new();
    board.image.slots = [None, None];
    assert_eq!(try_boot(&mut board).unwrap_err(), BootError::Identity(ImageError::NoKey.into()));
    assert_eq!(board.ops, []);
}

#[test]
fn a_device_whose_keys_cannot_be_together_does_not_start() {
    let key = |number| KeySlot { generation: generation(number), device_key: device_key(number) };
    for (a, b, fault) in [
        (2, 2, ImageError::SameGeneration),
        (1, 3, ImageError::GenerationGap),
        (3, 1, ImageError::GenerationGap),
    ] {
        let mut board = Board::new();
        board.image.slots = [Some(key(a)), Some(key(b))];
        assert_eq!(try_boot(&mut board).unwrap_err(), BootError::Identity(fault.into()), "{a} {b}");
        assert_eq!(board.ops, []);
    }
}

#[test]
fn m30_without_an_rng_the_salt_follows_from_the_epoch() {
    let mut board = Board::without_rng();
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = open_hello(&device.one(0));
    assert_eq!(hello.salt, device_key(1).salt(hello.epoch));
    let (_, welcome) = Peer::answer(&hello);
    assert!(matches!(device.hear(0, &welcome).event, Some(Event::SessionOpened { .. })));
}

#[test]
fn m4_a_stuck_or_broken_rng_makes_no_hello_until_it_works() {
    for (rng, error) in [
        (Rng::Stuck(0), EntropyError::Stuck),
        (Rng::Stuck(0xFF), EntropyError::Stuck),
        (Rng::Broken, EntropyError::Failed),
    ] {
        let mut board = Board { rng: Some(rng), ..Board::new() };
        let mut device = boot(&mut board);
        let mut out = [0; N];
        let failed = HelloError::Entropy(error);
        // A payload is not kept.
        assert_eq!(device.send(0, b"x", Confirm::Yes, &mut out).unwrap_err(), SendError::Hello(failed));
        assert_eq!((device.poll(0, &mut out), device.deadline()), (Ok(None), None));
        device.connect(0);
        let mut now = 0;
        for wait in [2_000, 4_000, 8_000] {
            assert_eq!(device.poll(now, &mut out), Err(PollError::Hello(failed)));
            assert_eq!(device.poll(now, &mut out), Ok(None), "it is tried again later and later");
            let next = device.deadline().unwrap();
            assert!((wait..=wait * 3 / 2).contains(&(next - now)), "{}", next - now);
            now = next;
        }
        device.hardware().rng = Some(Rng::Works(9));
        open_hello(&device.one(now));
    }
}

#[test]
fn m31_the_same_bytes_are_repeated_with_backoff_up_to_the_cap() {
    for payload in [None, Some(b"21.5")] {
        let mut board = Board::new();
        let mut device = boot(&mut board);
        let first = if let Some(payload) = payload {
            device.say(0, payload, Confirm::Yes).datagram.unwrap()
        } else {
            device.connect(0);
            device.one(0)
        };
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..14 {
            let next = device.deadline().unwrap();
            assert_eq!(device.drain(next - 1), [[0u8; 0]; 0]);
            assert_eq!(device.one(next), first);
            waits.push(next - now);
            now = next;
        }
        assert!((2_000..=3_000).contains(&waits[0]), "{waits:?}");
        assert!(waits.windows(2).take(7).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");
        assert!(waits.iter().skip(9).all(|wait| (400_000..=600_000).contains(wait)), "{waits:?}");
    }
}

#[test]
fn m29_each_hello_of_a_boot_has_an_epoch_of_its_own() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    for count in 0..5 {
        let said = device.say(0, b"x", Confirm::Yes);
        assert_eq!(open_hello(&said.datagram.unwrap()).epoch, Epoch::new(1, 2 * count));
        assert_eq!(device.withdraw(0, said.ticket.unwrap()), Some(Outcome::Unknown));
        let hello = open_hello(&device.one(0));
        assert_eq!((hello.epoch, hello.payload), (Epoch::new(1, 2 * count + 1), vec![]));
        let mut out = [0; N];
        device.close(0, &mut out).unwrap();
    }
    assert_eq!(board.ops, [Op::Store(1)]);
}

/// A fleet whose power comes back at once must not repeat in step, boot after boot.
#[test]
fn the_first_wait_differs_from_boot_to_boot() {
    let mut board = Board::new();
    let mut waits: Vec<_> = (0..16)
        .map(|_| {
            let mut device = boot(&mut board);
            device.connect(0);
            device.one(0);
            device.deadline().unwrap()
        })
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 12, "{waits:?}");
}

#[test]
fn m32_an_untrusted_counter_lets_no_payload_into_a_hello() {
    let mut board = Board::with_counter(Stored::Blank);
    let mut device = boot(&mut board);
    let said = device.say(0, b"21.5", Confirm::No);
    let hello = open_hello(&said.datagram.unwrap());
    assert_eq!(hello.payload, []);
    // Nor into one that follows.
    let repeat = device.deadline().unwrap();
    assert_eq!(open_hello(&device.one(repeat)), hello);
    let (mut peer, welcome) = Peer::answer(&hello);
    assert_eq!(device.hear(repeat, &welcome).settled, []);
    let data = peer.hear(&device.one(repeat));
    assert_eq!((data.payload.as_slice(), data.confirm, data.number), (&b"21.5"[..], true, 0));
    let acknowledged = device.hear(repeat, &peer.acknowledge()).settled;
    assert_eq!(acknowledged, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    // The server has answered: from now on the epochs are new to it.
    let mut out = [0; N];
    device.close(repeat, &mut out).unwrap();
    let said = device.say(repeat, b"21.6", Confirm::No);
    assert_eq!(open_hello(&said.datagram.unwrap()).payload, b"21.6");
}

#[test]
fn a_payload_waits_for_the_hello_under_way_or_replaces_one_that_stays_unanswered() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = open_hello(&device.one(0));
    let said = device.say(10, b"21.5", Confirm::Yes);
    assert_eq!(said.datagram, None);
    let mut out = [0; N];
    assert_eq!(device.send(10, b"more", Confirm::No, &mut out).unwrap_err(), SendError::Busy);
    assert_eq!(device.withdraw(10, said.ticket.unwrap()), Some(Outcome::Unsent));
    assert_eq!(device.withdraw(10, said.ticket.unwrap()), None);
    let repeat = device.deadline().unwrap();
    assert_eq!(open_hello(&device.one(repeat)), hello);
    let said = device.say(repeat + 10, b"21.6", Confirm::Yes);
    let second = open_hello(&said.datagram.unwrap());
    assert_eq!((second.epoch, second.payload.as_slice()), (Epoch::new(1, 1), &b"21.6"[..]));
    // The first is not outstanding any more.
    let (_, welcome) = Peer::answer(&hello);
    assert_eq!(device.refuse(repeat + 20, &welcome), ReceiveError::EchoMismatch);
    let (_, welcome) = Peer::answer(&second);
    let settled = device.hear(repeat + 20, &welcome).settled;
    assert_eq!(settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
}

#[test]
fn m36_m37_a_welcome_brings_a_session_and_data_with_c_at_once() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let said = device.say(0, b"21.5", Confirm::No);
    let hello = open_hello(&said.datagram.unwrap());
    assert_eq!(hello.payload, b"21.5");
    let (mut peer, welcome) = Peer::answer(&hello);
    let heard = device.hear(5, &welcome);
    let opened = Event::SessionOpened { epoch: hello.epoch, old_key: OldKey::Untouched };
    assert_eq!(heard.event, Some(opened));
    assert_eq!(heard.settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    assert_eq!((device.session(), device.deadline()), (Some(hello.epoch), Some(0)));
    let first = device.one(5);
    assert!(data_header(&first).confirm && !data_header(&first).ack);
    assert_eq!(peer.hear(&first).payload, []);
}

#[test]
fn m37_a_payload_that_comes_before_the_first_data_is_the_first_data() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let (mut peer, welcome) = Peer::answer(&open_hello(&device.one(0)));
    device.hear(5, &welcome);
    let said = device.say(5, b"21.5", Confirm::No);
    let data = peer.hear(&said.datagram.unwrap());
    assert!(data.confirm && said.ticket.is_some());
    assert_eq!(device.drain(5), [[0u8; 0]; 0]);
}

#[test]
fn m33_a_welcome_is_tried_against_the_outstanding_hello_only() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let hello = Hello { epoch: Epoch::new(1, 0), salt: Salt([7; 6]), generation_bits: 1, payload: vec![] };
    let welcome = hello.welcome_with(&device_key(1), false, 1, cid().as_bytes());
    assert_eq!(device.refuse(0, &welcome), ReceiveError::NoHello);
    device.connect(0);
    let hello = open_hello(&device.one(0));
    assert_eq!(device.refuse(0, &welcome), ReceiveError::EchoMismatch);
    // Of another Hello with the same echo, under another key, of another device: the tag tells.
    let mut salt = hello.salt;
    salt.0[5] ^= 1;
    let inauthentic = ReceiveError::Verify(VerifyError::Inauthentic);
    let other = Hello { salt, payload: vec![], ..hello };
    assert_eq!(device.refuse(0, &Peer::answer(&other).1), inauthentic);
    let welcome = hello.welcome_with(&device_key(2), false, 1, cid().as_bytes());
    assert_eq!(device.refuse(0, &welcome), inauthentic);
    let mut welcome = Peer::answer(&hello).1;
    welcome[0] ^= 0b1000;
    assert_eq!(device.refuse(0, &welcome), inauthentic);
    welcome[0] ^= 0b1000;
    device.hear(0, &welcome);
}

/// Else the same keys are installed again, numbers start over, and other payloads are sealed under used nonces.
#[test]
fn m34_a_welcome_consumes_the_hello() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = open_hello(&device.one(0));
    let (mut peer, welcome) = Peer::answer(&hello);
    device.hear(0, &welcome);
    assert_eq!(peer.hear(&device.one(0)).number, 0);
    assert_eq!(device.refuse(1, &welcome), ReceiveError::NoHello);
    // Nor another one for it, with a salt of its own.
    let second = hello.welcome_with(&device_key(1), false, 0x77, cid().as_bytes());
    assert_eq!(device.refuse(1, &second), ReceiveError::NoHello);
    device.hear(1, &peer.acknowledge());
    let said = device.say(2, b"x", Confirm::No);
    assert_eq!(peer.hear(&said.datagram.unwrap()).number, 1);
}

#[test]
fn m35_a_welcome_to_an_invalid_cid_is_consumed_and_followed_by_a_new_hello() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let said = device.say(0, b"21.5", Confirm::Yes);
    let hello = open_hello(&said.datagram.unwrap());
    // Two bytes where the first says three.
    let welcome = hello.welcome_with(&device_key(1), true, 1, &[0x80, 0x01]);
    let ReceiveError::InvalidConnectionId(error) = device.refuse(1, &welcome) else { panic!() };
    let acknowledged = Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged };
    assert_eq!(error.settled, Some(acknowledged));
    assert_eq!((device.refuse(1, &welcome), device.session()), (ReceiveError::NoHello, None));
    let second = open_hello(&device.one(1));
    assert_eq!((second.epoch, second.payload), (Epoch::new(1, 1), vec![]));
}

#[test]
fn m38_a_floor_is_tried_against_the_outstanding_hello_only_and_consumes_it() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let floor = |hello: &Hello| hello.floor(&device_key(1), Epoch::new(0x100, 3));
    let stranger = Hello { epoch: Epoch::new(1, 0), salt: Salt([7; 6]), generation_bits: 1, payload: vec![] };
    assert_eq!(device.refuse(0, &floor(&stranger)), ReceiveError::NoHello);
    let said = device.say(0, b"21.5", Confirm::Yes);
    let hello = open_hello(&said.datagram.unwrap());
    assert_eq!(device.refuse(0, &floor(&stranger)), ReceiveError::EchoMismatch);
    let mut forged = floor(&hello);
    forged[4] ^= 1;
    assert_eq!(device.refuse(0, &forged), ReceiveError::Verify(VerifyError::Inauthentic));
    assert_eq!(device.hardware().ops, [Op::Store(1)]);
    let heard = device.hear(0, &floor(&hello));
    assert_eq!(heard.event, Some(Event::Stale { floor: Epoch::new(0x100, 3), moved: true }));
    assert_eq!(heard.settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Unknown }]);
    assert_eq!(device.refuse(0, &floor(&hello)), ReceiveError::NoHello);
    // M-104: the payload is not sent again.
    let second = open_hello(&device.one(0));
    assert_eq!((second.epoch, second.payload), (Epoch::new(0x101, 0), vec![]));
    assert_eq!(device.hardware().ops, [Op::Store(1), Op::Store(0x101)]);
}

/// Else whoever holds the key, or a damaged record, moves the counter to its end, and the device is dead for good.
#[test]
fn m39_a_floor_out_of_reach_is_refused() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let bytes = device.one(0);
    let hello = open_hello(&bytes);
    for boot in [0xFEFF_FFFF, 0xFF00_0000, 0xFFFF_FFFF] {
        let floor = hello.floor(&device_key(1), Epoch::new(boot, 0));
        assert_eq!(device.refuse(0, &floor), ReceiveError::FloorTooHigh);
    }
    assert_eq!(device.hardware().ops, [Op::Store(1)]);
    // Nothing has changed: the Hello is still outstanding.
    let repeat = device.deadline().unwrap();
    assert_eq!(device.one(repeat), bytes);
    device.hear(repeat, &hello.floor(&device_key(1), Epoch::new(0xFEFF_FFFE, 0xFFFF)));
    assert_eq!(open_hello(&device.one(repeat)).epoch, Epoch::new(0xFEFF_FFFF, 0));
}

#[test]
fn m40_a_floor_of_this_boot_or_an_earlier_one_needs_no_write() {
    for floor in [Epoch::new(6, 0xFFFF), Epoch::new(8, 0)] {
        let mut board = Board::with_counter(Stored::Intact(7));
        let mut device = boot(&mut board);
        device.connect(0);
        let hello = open_hello(&device.one(0));
        let heard = device.hear(0, &hello.floor(&device_key(1), floor));
        assert_eq!(heard.event, Some(Event::Stale { floor, moved: false }));
        let hello = open_hello(&device.one(0));
        assert_eq!(hello.epoch, Epoch::new(8, 1));
        // And there is nothing to tell.
        let (mut peer, welcome) = Peer::answer(&hello);
        device.hear(0, &welcome);
        assert_eq!(peer.hear(&device.one(0)).moved, None);
        assert_eq!(board.ops, [Op::Store(8)]);
    }
}

#[test]
fn m41_moved_is_the_first_data_and_tells_the_value_before_the_first_floor() {
    let mut board = Board::with_counter(Stored::Blank);
    let mut device = boot(&mut board);
    let mut said = device.say(0, b"21.5", Confirm::Yes);
    let hello = open_hello(said.datagram.as_ref().unwrap());
    device.hear(0, &hello.floor(&device_key(1), Epoch::new(50, 1)));
    // The epochs past a floor are new: the payload that waited goes along now, and is lost to a second floor.
    let hello = open_hello(&device.one(0));
    assert_eq!((hello.epoch, hello.payload.as_slice()), (Epoch::new(51, 0), &b"21.5"[..]));
    let heard = device.hear(1, &hello.floor(&device_key(1), Epoch::new(90, 1)));
    assert_eq!(heard.settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Unknown }]);
    let again = device.deadline().unwrap();
    let hello = open_hello(&device.one(again));
    assert_eq!(hello.epoch, Epoch::new(91, 0));
    // A payload that waits comes after *moved*, as a Data with C of its own.
    said = device.say(again, b"21.6", Confirm::No);
    assert_eq!(said.datagram, None);
    let (mut peer, welcome) = Peer::answer(&hello);
    device.hear(again, &welcome);
    let mut out = [0; N];
    assert_eq!(device.send(again, b"early bird", Confirm::No, &mut out).unwrap_err(), SendError::Busy);
    let moved = device.one(again);
    let data = peer.hear(&moved);
    assert_eq!((data.moved, data.confirm, data.number), (Some(1), true, 0));
    // It is repeated while the payload waits.
    let repeat = device.deadline().unwrap();
    assert_eq!(device.one(repeat), moved);
    assert_eq!(device.hear(repeat, &peer.acknowledge()), nothing());
    let data = peer.hear(&device.one(repeat));
    assert_eq!((data.payload.as_slice(), data.confirm), (&b"21.6"[..], true));
    let settled = device.hear(repeat, &peer.acknowledge()).settled;
    assert_eq!(settled, [Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Acknowledged }]);
    // The next session has nothing more to tell: else the server counts a clone.
    device.close(repeat, &mut out).unwrap();
    assert_eq!(Peer::connected_saying(&mut device, repeat).1.moved, None);
}

#[test]
fn the_longest_payload_waits_beside_moved() {
    let mut board = Board::with_counter(Stored::Blank);
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = open_hello(&device.one(0));
    device.hear(0, &hello.floor(&device_key(1), Epoch::new(50, 1)));
    let hello = open_hello(&device.one(0));
    let payload = [0xAB; Mote::PAYLOAD_MAX];
    device.say(0, &payload, Confirm::No);
    let keys = device_key(1);
    let welcome = hello.welcome_with(&keys, false, crate::server::SERVER_SALT, &[0xC0, 0, 0, 1]);
    device.hear(0, &welcome);
    let moved = device.one(0);
    assert_eq!(moved.len(), 1 + 4 + 2 + 5 + 16);
    let repeat = device.deadline().unwrap();
    assert_eq!(device.one(repeat), moved);
}

#[test]
fn a_second_floor_does_not_hurry_the_device() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let mut hello = open_hello(&device.one(0));
    device.hear(1, &hello.floor(&device_key(1), Epoch::new(10, 0)));
    let mut now = 1;
    hello = open_hello(&device.one(now));
    for (wait, floor) in [(2_000, 20), (4_000, 30), (8_000, 40)] {
        device.hear(now, &hello.floor(&device_key(1), Epoch::new(floor, 0)));
        assert_eq!(device.drain(now), [[0u8; 0]; 0]);
        let next = device.deadline().unwrap();
        assert!((wait..=wait * 3 / 2).contains(&(next - now)), "{}", next - now);
        now = next;
        hello = open_hello(&device.one(now));
    }
    // A session wipes the slate.
    let (_, welcome) = Peer::answer(&hello);
    device.hear(now, &welcome);
    assert_eq!(device.drain(now).len(), 1);
}

#[test]
fn a_floor_that_cannot_be_stored_changes_nothing() {
    for effect in [Effect::None, Effect::Whole] {
        let mut board = Board::new();
        board.fault = Some(Fault { at: 1, effect, power_cut: false });
        let mut device = boot(&mut board);
        let said = device.say(0, b"21.5", Confirm::Yes);
        let first = said.datagram.unwrap();
        let hello = open_hello(&first);
        let floor = hello.floor(&device_key(1), Epoch::new(10, 0));
        let failed = ReceiveError::Counter(CounterError::Storage(StorageError::Write));
        assert_eq!(device.refuse(0, &floor), failed);
        let repeat = device.deadline().unwrap();
        assert_eq!(device.one(repeat), first);
        // The next copy of the floor finds flash that works.
        device.hear(repeat, &floor);
        assert!(open_hello(&device.one(repeat)).epoch >= Epoch::new(11, 0));
    }
}

#[test]
fn too_short_a_buffer_changes_nothing() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut out = [0; N];
    let (long, empty) = ([0; Mote::PAYLOAD_MAX + 1], []);
    assert_eq!(device.send(0, &long, Confirm::No, &mut out).unwrap_err(), SendError::TooLong);
    assert_eq!(device.send(0, &empty, Confirm::No, &mut out).unwrap_err(), SendError::Empty);
    let error = device.send(0, b"x", Confirm::No, &mut out[..37]).unwrap_err();
    assert_eq!((error, device.deadline()), (SendError::BufferTooShort, None));
    device.connect(0);
    assert_eq!(device.poll(0, &mut out[..36]), Err(PollError::BufferTooShort));
    let hello = open_hello(&device.one(0));
    assert_eq!(hello.epoch, Epoch::new(1, 0));
    let (mut peer, welcome) = Peer::answer(&hello);
    device.hear(0, &welcome);
    let error = device.send(0, b"x", Confirm::No, &mut out[..21]).unwrap_err();
    assert_eq!(error, SendError::BufferTooShort);
    assert_eq!(device.poll(0, &mut out[..20]), Err(PollError::BufferTooShort));
    let first = device.one(0);
    assert_eq!(peer.hear(&first).number, 0);
    let repeat = device.deadline().unwrap();
    assert_eq!(device.poll(repeat, &mut out[..20]), Err(PollError::BufferTooShort));
    assert_eq!(device.one(repeat), first);
    device.hear(repeat, &peer.acknowledge());
    assert!(device.close(repeat, &mut out[..19]).is_err());
    assert_eq!(device.session(), Some(hello.epoch));
}

#[test]
fn flash_that_fails_to_read_a_key_delays_a_hello_and_a_welcome() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let key = device.hardware().image.slots[0].take();
    device.connect(0);
    let mut out = [0; N];
    assert_eq!(device.poll(0, &mut out), Err(PollError::Hello(HelloError::KeyMissing)));
    device.hardware().image.slots[0].clone_from(&key);
    let now = device.deadline().unwrap();
    let (_, welcome) = Peer::answer(&open_hello(&device.one(now)));
    device.hardware().image.slots[0] = None;
    assert_eq!(device.refuse(now, &welcome), ReceiveError::KeyMissing);
    device.hardware().image.slots[0] = key;
    device.hear(now, &welcome);
    assert_eq!(board.generation(Slot::A), Some(1));
}

#[test]
fn a_hello_is_not_for_devices() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    device.connect(0);
    let hello = device.one(0);
    assert!(is_hello(&hello));
    assert_eq!(device.refuse(0, &hello), ReceiveError::ForServer);
}
