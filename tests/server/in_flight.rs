//! Several changes under way at once, in every order, some of them given up: SPEC 7.2, 7.3 and 8.

use moteseal::error::{CommitError, Reject};
use moteseal::record::Status;
use moteseal::server::{AnswerKind, CommandId};

use crate::support::*;

const HERE: Address = 1;

#[test]
fn of_two_changes_under_way_the_store_makes_one_in_either_order() {
    for second_first in [false, true] {
        let mut device = Device::new(1);
        let mut world = World::new(&[&device]);
        world.connect(&mut device, HERE);
        let (one, two) = (device.hello(b"one"), device.hello(b"two"));
        let (first, second) = (world.pending(HERE, &one), world.pending(HERE, &two));
        let (made, lost) = if second_first { (second, first) } else { (first, second) };
        let fresh = world.finish(made).unwrap();
        let payload: &[u8] = if second_first { b"two" } else { b"one" };
        assert_eq!(fresh.payload.as_deref(), Some(payload));
        assert!(world.finish(lost).is_none(), "the store compares before it sets");
        // The device repeats what it still waits for; nothing is lost and nothing comes twice.
        if second_first {
            let late = world.welcomes(HERE, &one);
            assert_eq!((late.payload.as_deref(), late.welcome), (Some(&b"one"[..]), None));
            assert!(device.welcome(&world.answers(AnswerKind::Welcome, HERE, &two)));
        } else {
            let fresh = world.welcomes(HERE, &two);
            assert_eq!(fresh.payload.as_deref(), Some(&b"two"[..]));
            assert!(device.welcome(&fresh.welcome.unwrap()));
        }
        let data = device.data(b"", true);
        assert!(world.hears(HERE, &data).confirmed);
    }
}

#[test]
fn a_store_that_does_not_compare_is_told_and_delivers_nothing() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"once");
    let ((one, first), (two, second)) = (world.pending(HERE, &hello), world.pending(HERE, &hello));
    assert!(world.server.commit(one, first.committed()).is_ok());
    assert_eq!(world.server.commit(two, second.committed()).err(), Some(CommitError::Conflict));
    // Two proofs that got mixed up deliver nothing either.
    let next = device.hello(b"next");
    let ((one, first), (two, second)) = (world.pending(HERE, &next), world.pending(HERE, &next));
    assert_eq!(world.server.commit(one, second.committed()).err(), Some(CommitError::OtherTicket));
    assert_eq!(world.server.commit(two, first.committed()).err(), Some(CommitError::OtherTicket));
    assert_eq!(world.welcomes_unchecked(&next).payload.as_deref(), Some(&b"next"[..]));
}

impl World {
    /// Over a store that does as it is told.
    fn welcomes_unchecked(&mut self, datagram: &[u8]) -> Fresh {
        let (held, change) = self.pending(HERE, datagram);
        fresh(self.server.commit(held, change.committed()).unwrap())
    }
}

#[test]
fn changes_that_are_given_up_lock_nobody_out() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let hello = device.hello(b"x");
    for _ in 0..200 {
        drop(world.pending(HERE, &hello));
    }
    let fresh = world.welcomes(HERE, &hello);
    assert_eq!(fresh.payload.as_deref(), Some(&b"x"[..]));
    device.welcome(&fresh.welcome.unwrap());
    let data = device.data(b"", true);
    world.hears(HERE, &data);
    // A quarantine that the store could not write: silent, until somebody says otherwise.
    drop(world.server.set_status(device.id, Status::Quarantined).unwrap());
    let data = device.data(b"x", false);
    assert_eq!(world.rejects(HERE, &data), Reject::NotActive);
    world.set_status(&device, Status::Active);
    assert!(world.hears(HERE, &data).payload.is_some());
    // A rotation that could not be written.
    drop(world.server.begin_rotation(device.id, &device.rotation_key).unwrap());
    assert!(world.poll(&device).is_none(), "M-117: nothing is sealed before it is durable");
    world.begin_rotation(&device);
    assert!(world.poll(&device).is_some());
}

#[test]
fn the_latest_order_about_a_device_counts() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    world.set_status(&device, Status::Quarantined);
    let (readmit, readmitted) = world.server.set_status(device.id, Status::Active).unwrap();
    let (_, quarantined) = world.server.set_status(device.id, Status::Quarantined).unwrap();
    let durable = world.store.make(readmitted).unwrap();
    assert!(world.store.make(quarantined).is_none());
    world.server.apply(readmit, durable).unwrap();
    let data = device.data(b"x", false);
    assert_eq!(world.rejects(HERE, &data), Reject::NotActive, "the quarantine came later");
    world.set_status(&device, Status::Quarantined);
    world.set_status(&device, Status::Active);
    assert!(world.hears(HERE, &data).payload.is_some());
}

#[test]
fn a_record_that_has_changed_and_changed_back_is_the_same_for_store_and_server() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let pending = world.pending(HERE, &device.hello(b"slow"));
    world.set_status(&device, Status::Active);
    world.set_status(&device, Status::Quarantined);
    world.set_status(&device, Status::Active);
    // The store finds what it expects; were it refused in memory, no later change could be made.
    assert_eq!(world.finish(pending).unwrap().payload.as_deref(), Some(&b"slow"[..]));
    world.connect(&mut device, HERE);
}

#[test]
fn m_12_m_55_a_candidate_confirmed_while_its_successor_is_under_way_ends_with_the_write() {
    let (mut device, mut other) = (Device::new(1), Device::new(2));
    let mut world = World::new(&[&device, &other]);
    world.connect(&mut device, HERE);
    world.offer(&mut device, HERE);
    let displaced = device.session.take();
    let hello = device.hello(b"");
    let pending = world.pending(HERE, &hello);
    let asked = device.asked.take();
    // Its first Data comes while the Hello that displaces it is being written.
    device.session = displaced;
    let (first, second) = (device.data(b"first", true), device.data(b"second", true));
    assert!(world.hears(HERE, &first).confirmed);
    world.command(&device, 1, b"c").unwrap();
    let fresh = world.finish(pending).unwrap();
    assert_eq!(fresh.unknown, Some(CommandId(1)), "M-102: its command gets its word");
    // No record names it any more, so it does not serve: its id may be another device's.
    for _ in 0..70 {
        world.connect(&mut other, HERE);
    }
    assert!(matches!(world.deliver(HERE, &second), Outcome::Rejected(_)));
    assert!(world.server.begin_command(device.id, CommandId(2), 1).is_err());
    device.asked = asked;
    device.welcome(&fresh.welcome.unwrap());
    let data = device.data(b"served", true);
    let heard = world.hears(HERE, &data);
    assert!(heard.confirmed && heard.unknown.is_none());
    world.connect(&mut device, HERE);
}

#[test]
fn m_63_a_late_hello_under_way_leaves_the_candidate_alone() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let late = device.hello(b"late");
    let hello = device.hello(b"");
    let welcome = world.welcomes(HERE, &hello).welcome.unwrap();
    let pending = world.pending(HERE, &late);
    device.welcome(&welcome);
    let data = device.data(b"x", true);
    assert!(world.hears(HERE, &data).confirmed);
    world.command(&device, 1, b"c").unwrap();
    let fresh = world.finish(pending).unwrap();
    assert_eq!((fresh.payload.as_deref(), fresh.unknown), (Some(&b"late"[..]), None));
    let data = device.data(b"y", true);
    assert!(world.hears(HERE, &data).payload.is_some());
}

#[test]
fn what_is_of_another_device_does_not_mix() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut world = World::new(&[&one, &two]);
    let (first, second) = (one.hello(b"one"), two.hello(b"two"));
    let pending = [world.pending(HERE, &first), world.pending(2, &second)];
    let [a, b] = pending.map(|pending| world.finish(pending).unwrap());
    assert_eq!((a.payload.unwrap(), b.payload.unwrap()), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!((a.to, b.to), (Some(HERE), Some(2)));
    let (a, b) = (a.welcome.unwrap(), b.welcome.unwrap());
    assert!(one.try_welcome(&b).is_none() && two.try_welcome(&a).is_none());
    one.welcome(&a);
    two.welcome(&b);
    assert_ne!(cid_of(&one), cid_of(&two), "ids are taken while they are being written");
    // Under another's connection id nothing opens.
    let mut data = one.data(b"x", true);
    data[1] = cid_of(&two).as_bytes()[0];
    assert!(matches!(world.rejects(HERE, &data), Reject::Verify(_)));
}
