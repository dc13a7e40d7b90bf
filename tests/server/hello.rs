//! Hellos: SPEC 7.1 to 7.3.

use moteseal::error::{CommitError, ParseError, Reject};
use moteseal::number::{Epoch, Generation, Salt};
use moteseal::record::{MARK_MAX, Record, Status};
use moteseal::server::AnswerKind;

use crate::support::*;

const HERE: Address = 1;
const THERE: Address = 2;

#[test]
fn m_51_what_is_not_for_this_server_changes_nothing_and_gets_no_answer() {
    let (mut device, stranger) = (Device::new(1), &mut Device::new(2));
    let mut world = World::new(&[&device]);
    assert_eq!(world.rejects(HERE, &stranger.hello(b"x")), Reject::UnknownDevice);
    let hello = device.hello(b"x");
    assert_eq!(world.rejects(HERE, &forged(&hello)), Reject::Inauthentic);
    for (at, reason) in [(0, Reject::UnknownGeneration), (9, Reject::Inauthentic), (21, Reject::Inauthentic)]
    {
        let mut other = hello.clone();
        other[at] ^= 8;
        assert_eq!(world.rejects(HERE, &other), reason);
    }
    assert_eq!(world.rejects(HERE, &[]), Reject::Parse(ParseError::Length));
    assert_eq!(world.rejects(HERE, &hello[..36]), Reject::Parse(ParseError::Length));
    assert_eq!(world.rejects(HERE, &[0x58; 28]), Reject::NotForServer);
    assert_eq!(world.rejects(HERE, &[0x54; 25]), Reject::NotForServer);
    let reset = [&[0x70, 0x00, 0x00][..], &[0; 16]].concat();
    assert_eq!(world.rejects(HERE, &reset), Reject::NotForServer);
    world.set_status(&device, Status::Quarantined);
    assert_eq!(world.rejects(HERE, &hello), Reject::NotActive);
    world.set_status(&device, Status::Active);
    let before = world.store.writes;
    assert_eq!(world.welcomes(HERE, &hello).payload.as_deref(), Some(&b"x"[..]));
    assert_eq!(world.store.writes, before + 1, "P4");
}

#[test]
fn m_52_a_boot_count_out_of_reach_is_refused_and_the_device_lives_on() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    // A thief of the key leaves the true device no epoch above his own.
    for boot in [0xFF00_0000, 0xFFFF_FFFF] {
        let hello = device.hello_of(Epoch::new(boot, 0xFFFF), Salt([7; 6]), b"");
        assert_eq!(world.rejects(HERE, &hello), Reject::BootCounterUsedUp);
    }
    assert_eq!(world.store.writes, 0);
    world.connect(&mut device, HERE);
    let last = device.hello_of(Epoch::new(0xFEFF_FFFF, 0xFFFF), Salt([8; 6]), b"");
    assert!(world.welcomes(HERE, &last).jump);
}

#[test]
fn m_39_a_floor_that_would_stop_a_device_for_good_is_never_sent() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    for (boot, sent) in [(0xFEFF_FFFE, true), (0xFEFF_FFFF, false)] {
        let newest = device.hello_of(Epoch::new(boot, 5), Salt([boot.to_be_bytes()[3] ^ 3; 6]), b"");
        world.welcomes(HERE, &newest);
        let stale = device.hello_of(Epoch::new(1, 0), Salt([1, 2, 3, 4, 5, 6]), b"");
        match world.deliver(HERE, &stale) {
            Outcome::Answered(AnswerKind::Floor, floor, _) if sent => {
                assert_eq!(device.floor(&floor), Epoch::new(boot, 5));
            }
            Outcome::Rejected(Reject::FloorOutOfRange) if !sent => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn m_53_the_window_of_hellos_is_the_newest_and_the_31_below_it() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let mut hello = |count| device.hello_of(Epoch::new(1, count), Salt([1, 2, 3, 4, 5, 6]), b"x");
    let (newest, left, inside, again) = (hello(100), hello(68), hello(69), hello(69));
    world.welcomes(HERE, &newest);
    world.answers(AnswerKind::Floor, HERE, &left);
    assert_eq!(world.welcomes(HERE, &inside).payload.as_deref(), Some(&b"x"[..]));
    world.answers(AnswerKind::Floor, HERE, &again);
}

#[test]
fn m_54_a_crash_before_or_after_the_write_never_delivers_twice() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"once");
    // Cut before the write: nothing was delivered, and the device's repeat is.
    let (held, change) = world.pending(HERE, &hello);
    drop((held, change));
    world.crash();
    let first = world.welcomes(HERE, &hello);
    assert_eq!(first.payload.as_deref(), Some(&b"once"[..]));
    // The one write had everything: newest epoch, window, candidate.
    let record = world.record(&device);
    assert_eq!((world.store.writes, record.newest()), (1, Epoch::new(1, 0)));
    assert_eq!(record.candidate().unwrap().epoch, Epoch::new(1, 0));
    // Cut after it: delivered or not, never again.
    world.crash();
    world.answers(AnswerKind::Floor, HERE, &hello);
    let second = device.hello(b"twice");
    let (held, change) = world.pending(HERE, &second);
    let _ = world.store.make(change).unwrap();
    drop(held);
    world.crash();
    world.answers(AnswerKind::Floor, HERE, &second);
}

#[test]
fn m_54_only_the_proof_of_its_own_change_delivers_a_payload() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut world = World::new(&[&one, &two]);
    let (held, _lost) = world.pending(HERE, &one.hello(b"one"));
    let (_other, change) = world.pending(HERE, &two.hello(b"two"));
    let durable = world.store.make(change).unwrap();
    assert_eq!(world.server.commit(held, durable).err(), Some(CommitError::OtherTicket));
}

#[test]
fn m_55_m_62_a_candidate_stands_beside_the_session_until_its_first_data() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let mut old = device.session.take();
    let serving = *world.record(&device).candidate().unwrap();
    world.offer(&mut device, THERE);
    let record = world.record(&device);
    assert_eq!(record.confirmed(), Some(&serving), "M-64");
    assert_ne!(record.candidate(), Some(&serving));
    // The session before serves in both directions.
    std::mem::swap(&mut device.session, &mut old);
    let data = device.data(b"old", true);
    assert_eq!(world.hears(HERE, &data).payload.as_deref(), Some(&b"old"[..]));
    let command = world.command(&device, 1, b"c").unwrap();
    assert_eq!((device.open(&command.0).payload.as_slice(), command.1), (&b"c"[..], HERE));
    // A forgery does not confirm, the first Data does, and the word about the command is told.
    std::mem::swap(&mut device.session, &mut old);
    let first = device.data(b"new", true);
    world.rejects(THERE, &forged(&first));
    let heard = world.hears(THERE, &first);
    assert!(heard.confirmed);
    assert_eq!(heard.unknown.map(|id| id.0), Some(1));
    // Now the old one has no counters.
    std::mem::swap(&mut device.session, &mut old);
    let late = device.data(b"late", true);
    world.answers(AnswerKind::Reset, HERE, &late);
}

#[test]
fn m_56_the_same_hello_gets_the_same_welcome_until_it_is_confirmed_and_then_nothing() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"x");
    // Before it is durable each copy is fresh; the store makes one of the changes.
    let (one, two) = (world.pending(HERE, &hello), world.pending(HERE, &hello));
    let first = world.finish(one).unwrap();
    assert!(world.finish(two).is_none());
    let welcome = first.welcome.unwrap();
    for from in [HERE, THERE] {
        assert_eq!(world.answers(AnswerKind::Welcome, from, &hello), welcome);
    }
    assert!(device.welcome(&welcome), "M-58: E");
    let data = device.data(b"", true);
    world.hears(HERE, &data);
    assert_eq!(world.rejects(HERE, &hello), Reject::SameHello);
    // After a crash epoch and salt decide, for the confirmed entry only.
    world.connect(&mut device, HERE);
    assert_eq!(world.rejects(HERE, &hello), Reject::SameHello);
    world.crash();
    assert_eq!(world.rejects(HERE, &hello), Reject::SameHello);
    assert_eq!(world.store.writes, 2);
}

#[test]
fn m_57_a_late_hello_is_delivered_once_and_not_answered() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let (late, newest) = (device.hello(b"late"), device.hello(b"newest"));
    let welcome = world.welcomes(HERE, &newest).welcome.unwrap();
    let candidate = *world.record(&device).candidate().unwrap();
    let (held, change) = world.pending(HERE, &late);
    drop((held, change));
    world.crash();
    let fresh = world.welcomes(HERE, &late);
    assert_eq!((fresh.payload.as_deref(), fresh.welcome), (Some(&b"late"[..]), None));
    assert_eq!(world.record(&device).candidate(), Some(&candidate));
    world.answers(AnswerKind::Floor, HERE, &late);
    world.crash();
    world.answers(AnswerKind::Floor, HERE, &late);
    assert!(device.welcome(&welcome));
}

#[test]
fn m_58_an_empty_hello_is_not_delivered() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let fresh = world.welcomes(HERE, &device.hello(b""));
    assert_eq!(fresh.payload, None);
    assert!(!device.welcome(&fresh.welcome.unwrap()), "E = 0");
    let late = device.hello(b"");
    world.welcomes(HERE, &device.hello(b""));
    assert_eq!(world.welcomes(HERE, &late).payload, None);
}

#[test]
fn m_59_a_stale_hello_delivers_keeps_and_writes_nothing() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let old = device.hello(b"old");
    world.welcomes(HERE, &old);
    world.connect(&mut device, HERE);
    let (writes, record) = (world.store.writes, world.record(&device).encode());
    // With and without the memory of it, from anywhere and again: the same bytes.
    let floor = world.answers(AnswerKind::Floor, HERE, &old);
    assert_eq!(world.answers(AnswerKind::Floor, THERE, &old), floor);
    world.crash();
    assert_eq!(world.answers(AnswerKind::Floor, HERE, &old), floor);
    assert_eq!(world.record(&device).encode().expose(), record.expose());
    assert_eq!(world.store.writes, writes);
    // Equal in epoch, not in bytes: a device without an RNG whose counter was rolled back.
    let first = device.hello_of(Epoch::new(9, 0), Salt([5; 6]), b"one");
    let fresh = world.welcomes(HERE, &first);
    let other = device.hello_of(Epoch::new(9, 0), Salt([5; 6]), b"two");
    world.answers(AnswerKind::Floor, HERE, &other);
    assert!(device.welcome(&fresh.welcome.unwrap()));
    let data = device.data(b"", true);
    world.hears(HERE, &data);
    world.answers(AnswerKind::Floor, HERE, &other);
    assert_eq!(world.rejects(HERE, &first), Reject::SameHello);
}

#[test]
fn m_60_a_candidate_without_memory_is_stale_and_the_device_comes_back() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"x");
    let lost = world.welcomes(HERE, &hello).welcome.unwrap();
    world.crash();
    // The server may or may not have delivered it: it must not say that it did.
    let floor = world.answers(AnswerKind::Floor, HERE, &hello);
    assert_eq!(device.floor(&floor), Epoch::new(1, 0));
    world.connect(&mut device, HERE);
    assert!(device.try_welcome(&lost).is_none());
}

#[test]
fn m_61_floors_are_limited_for_each_source_and_not_for_each_device() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let old = device.hello(b"");
    world.welcomes(HERE, &old);
    world.connect(&mut device, HERE);
    let floors = (0..200).filter(|_| matches!(world.deliver(THERE, &old), Outcome::Answered(..))).count();
    assert_eq!(floors, 64);
    assert_eq!(world.rejects(THERE, &old), Reject::FloorLimited);
    // The device, which has lost its counter, gets its own.
    let erased = device.hello_of(Epoch::new(1, 0), Salt([9, 8, 7, 6, 5, 4]), b"");
    let floor = world.answers(AnswerKind::Floor, HERE, &erased);
    device.floor(&floor);
    world.now += 20;
    world.answers(AnswerKind::Floor, THERE, &old);
}

#[test]
fn m_63_only_a_newer_fresh_hello_displaces_a_candidate() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let stale = device.hello(b"stale");
    world.welcomes(HERE, &stale);
    let late = device.hello(b"late");
    let displaced = device.hello(b"displaced");
    world.welcomes(HERE, &displaced);
    let hello = device.hello(b"kept");
    let welcome = world.welcomes(HERE, &hello).welcome.unwrap();
    // The attacker plays everything that he has, over and over.
    for _ in 0..3 {
        for datagram in [&stale, &late, &displaced, &hello, &forged(&hello)] {
            let _ = world.deliver(THERE, datagram);
        }
        assert_eq!(world.answers(AnswerKind::Welcome, HERE, &hello), welcome);
    }
    assert!(device.welcome(&welcome));
    let data = device.data(b"served", true);
    assert!(world.hears(HERE, &data).confirmed);
}

#[test]
fn m_64_confirmation_rides_on_the_next_newest_hello() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let one = *world.record(&device).candidate().unwrap();
    assert_eq!(world.record(&device).confirmed(), None, "confirmation is not written");
    // A candidate that was never confirmed does not move up.
    world.offer(&mut device, HERE);
    world.offer(&mut device, HERE);
    assert_eq!(world.record(&device).confirmed(), Some(&one));
    // After a crash the real session is a candidate still; neither delivers.
    let data = device.data(b"", true);
    assert!(world.hears(HERE, &data).confirmed);
    world.crash();
    let next = device.data(b"x", true);
    let reset = world.answers(AnswerKind::Reset, HERE, &next);
    assert_eq!(device.reset(&reset), Ok(()));
}

#[test]
fn m_85_m_127_a_jump_is_reported_and_far_boot_counts_are_noted() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let mut seed = 0;
    let mut boot = |world: &mut World, boot| {
        seed += 1;
        let hello = device.hello_of(Epoch::new(boot, 0), Salt([seed, 1, 1, 1, 1, 1]), b"");
        world.welcomes(HERE, &hello).jump
    };
    assert!(!boot(&mut world, 1));
    assert!(!boot(&mut world, (1 << 19) - 1));
    assert_eq!(world.store.noted, []);
    assert!(!boot(&mut world, 1 << 19));
    assert_eq!(world.store.noted, [1 << 19]);
    assert!(!boot(&mut world, (1 << 19) + (1 << 20)));
    assert_eq!(world.store.noted.len(), 2);
    assert!(!boot(&mut world, (1 << 20) - 1 + (1 << 20)));
    assert_eq!(world.store.noted.len(), 2);
    assert!(boot(&mut world, 1 << 22), "M-85");
    // Below the mark all is known already.
    let mut world = World::over(world.store, 1 << 24);
    assert!(!boot(&mut world, (1 << 23) + 5) && world.store.noted.len() == 3);
    assert!(!boot(&mut world, 1 << 24) && world.store.noted.len() == 3, "as far as the mark is not above it");
    assert!(!boot(&mut world, (1 << 24) + (1 << 19)));
    assert_eq!(world.store.noted.last(), Some(&((1 << 24) + (1 << 19))), "M-127");
    // Past the highest mark, in the same block of 2^19: no raise would cover it (M-126).
    for (up, noted) in [(MARK_MAX - 1, 5), (MARK_MAX, 5), (MARK_MAX + 1, 6)] {
        boot(&mut world, up);
        assert_eq!(world.store.noted.len(), noted, "{up:x}");
    }
}

#[test]
fn m_87_m_6_a_replayed_hello_is_no_evidence_of_a_clone() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let old = device.hello(b"");
    world.welcomes(HERE, &old);
    world.connect(&mut device, HERE);
    for _ in 0..1_000 {
        world.now += 20;
        world.answers(AnswerKind::Floor, THERE, &old);
    }
    world.connect(&mut device, HERE);
    let record = world.record(&device);
    assert_eq!((record.clones(), record.status()), (0, Status::Active));
}

#[test]
fn m_6_a_device_seen_for_the_first_time_has_no_known_history() {
    let mut device = Device::new(1);
    let mut store = Store::default();
    let key = device.keys[0].1.clone();
    store.put(&Record::provisioned(device.id, Generation::FIRST, key).raised(0x1000));
    let mut world = World::over(store, 0x1000);
    let recorded = device.hello(b"replayed");
    let floor = world.answers(AnswerKind::Floor, HERE, &recorded);
    assert_eq!(device.floor(&floor), Epoch::new(0x1000, 0xFFFF));
    world.connect(&mut device, HERE);
    assert_eq!(world.record(&device).newest(), Epoch::new(0x1001, 0));
}
