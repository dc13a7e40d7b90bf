//! Status and rotation: SPEC 3.2, 7.7 and 10.2.

use moteseal::control::Control;
use moteseal::error::{AdminError, CommandError, CommitError, Reject};
use moteseal::keys::DeviceKey;
use moteseal::number::Generation;
use moteseal::record::{Record, Status};
use moteseal::server::{AnswerKind, CommandId};

use crate::support::*;

const HERE: Address = 1;

fn connected() -> (World, Device) {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    (world, device)
}

fn generation(number: u8) -> Generation {
    Generation::new(number).unwrap()
}

/// The *rotate* that is due, as the device opens it.
fn rotate(world: &mut World, device: &mut Device) -> Control {
    let (datagram, _) = world.poll(device).expect("a rotate");
    let down = device.open(&datagram);
    assert!(down.confirm);
    down.control.expect("a control message")
}

fn finish(world: &mut World, device: &Device) {
    let index = world.index(device);
    let (admin, change) = world.server.finish_rotation(index).unwrap();
    let durable = world.store.make(change).unwrap();
    world.server.apply(admin, durable).unwrap();
}

#[test]
fn m_5_revoked_is_final() {
    let (mut world, device) = connected();
    world.set_status(&device, Status::Revoked);
    for status in [Status::Active, Status::Quarantined] {
        assert_eq!(world.server.set_status(device.id, status).err(), Some(AdminError::Revoked));
    }
    world.set_status(&device, Status::Revoked);
    assert_eq!(world.record(&device).with_status(Status::Active).status(), Status::Revoked);
    let error = world.server.begin_rotation(device.id, &device.rotation_key).err();
    assert_eq!(error, Some(AdminError::NotActive));
    let stranger = Device::new(9);
    assert_eq!(world.server.set_status(stranger.id, Status::Revoked).err(), Some(AdminError::UnknownDevice));
}

#[test]
fn m_115_m_117_a_rotate_proves_itself_and_is_sealed_only_when_durable() {
    let (mut world, mut device) = connected();
    let (admin, change) = world.server.begin_rotation(device.id, &device.rotation_key).unwrap();
    assert!(world.poll(&device).is_none());
    let durable = world.store.make(change).unwrap();
    world.server.apply(admin, durable).unwrap();
    // One r for a generation.
    let again = world.server.begin_rotation(device.id, &device.rotation_key);
    assert_eq!(again.err(), Some(AdminError::RotationUnderWay));
    let first = rotate(&mut world, &mut device);
    let Control::Rotate { generation: next, secret } = &first else { panic!() };
    assert_eq!(*next, generation(2));
    assert!(device.rotation_key.proves(secret, *next, device.id));
    assert!(!device.rotation_key.proves(secret, generation(3), device.id));
    assert!(!device.rotation_key.proves(secret, *next, Device::new(2).id));
    // The same r in the next session.
    world.connect(&mut device, HERE);
    let Control::Rotate { secret: again, .. } = rotate(&mut world, &mut device) else { panic!() };
    assert_eq!(again.expose(), secret.expose());
}

#[test]
fn m_123_rotate_goes_out_in_every_session_under_the_old_key_until_the_new_one_is_confirmed() {
    let (mut world, mut device) = connected();
    world.begin_rotation(&device);
    for acknowledges in [false, true, false] {
        let control = rotate(&mut world, &mut device);
        assert!(matches!(control, Control::Rotate { .. }));
        let busy = world.server.begin_command(device.id, CommandId(1), 1).err();
        assert_eq!(busy, Some(CommandError::Busy));
        if acknowledges {
            let data = device.acknowledge();
            assert_eq!(world.hears(HERE, &data).acknowledged, None);
            world.now += 1_000_000;
            assert!(world.poll(&device).is_none(), "once in a session");
            assert!(world.command(&device, 1, b"c").is_some());
        }
        // A crash, a power cut, a Hello under the old key: it is said again.
        world.crash();
        world.connect(&mut device, HERE);
    }
    let index = world.index(&device);
    assert_eq!(world.server.rotation_to_finish(index), None);
    assert_eq!(world.server.finish_rotation(index).err(), Some(AdminError::NoRotation));
    let control = rotate(&mut world, &mut device);
    device.rotate(&control);
    // Hellos under either key are taken, and a candidate under the new one finishes nothing.
    world.offer(&mut device, HERE);
    assert_eq!(world.server.rotation_to_finish(index), None);
    let new = device.keys.pop().unwrap();
    world.connect(&mut device, HERE);
    device.keys.push(new);
    world.connect(&mut device, HERE);
    assert_eq!(world.server.rotation_to_finish(index), Some(generation(2)));
    assert!(world.poll(&device).is_none(), "M-116: no rotate under the new key");
}

#[test]
fn a_rotate_without_an_answer_gives_way_to_a_command_and_comes_again() {
    // Such as one that was made under a wrong rotation key: the device never acknowledges it.
    let (mut world, mut device) = connected();
    world.begin_rotation(&device);
    rotate(&mut world, &mut device);
    let index = world.index(&device);
    while let Some(deadline) = world.server.deadline(index) {
        let busy = world.server.begin_command(device.id, CommandId(1), 1).err();
        assert_eq!(busy, Some(CommandError::Busy), "the rotate is being repeated");
        world.now = deadline;
        world.poll(&device);
    }
    let (command, _) = world.command(&device, 1, b"c").expect("a command");
    assert!(device.open(&command).control.is_none());
    let data = device.acknowledge();
    assert_eq!(world.hears(HERE, &data).acknowledged, Some(CommandId(1)));
    rotate(&mut world, &mut device);
}

#[test]
fn m_79_m_123_a_finished_rotation_leaves_nothing_to_the_thief_of_the_old_key() {
    let (mut world, mut device) = connected();
    let mut thief = Device::new(1);
    let stolen = thief.keys[0].1.clone();
    let old_session = device.data(b"recorded", true);
    world.begin_rotation(&device);
    let control = rotate(&mut world, &mut device);
    device.rotate(&control);
    world.connect(&mut device, HERE);
    // His session under the old key is erased with it.
    thief.boot = 7;
    world.offer(&mut thief, HERE);
    finish(&mut world, &device);
    let record = world.record(&device);
    assert_eq!(record.generation(), generation(2));
    let secret = stolen.expose();
    assert!(!record.encode().expose().windows(32).any(|bytes| bytes == secret));
    for crashed in [false, true] {
        if crashed {
            world.crash();
        }
        assert!(matches!(world.rejects(HERE, &thief.hello(b"x")), Reject::UnknownGeneration));
        let data = thief.data(b"x", true);
        assert!(matches!(world.rejects(HERE, &data), Reject::UnknownConnection | Reject::Verify(_)));
        assert!(matches!(world.rejects(HERE, &old_session), Reject::UnknownConnection | Reject::Verify(_)));
    }
    device.boot = 8;
    world.connect(&mut device, HERE);
    assert!(record.key() != &stolen);
}

#[test]
fn a_crash_at_each_step_of_a_rotation_strands_nobody() {
    // Which of the steps is followed by a crash, and whether the write before it was made.
    for cut in 0..7 {
        let (mut world, mut device) = connected();
        let crash = |world: &mut World, device: &mut Device, at| {
            if at == cut {
                world.crash();
                let data = device.data(b"", true);
                let reset = world.answers(AnswerKind::Reset, HERE, &data);
                assert_eq!(device.reset(&reset), Ok(()));
                world.connect(device, HERE);
            }
        };
        let (admin, change) = world.server.begin_rotation(device.id, &device.rotation_key).unwrap();
        if cut == 0 {
            drop((admin, change));
            crash(&mut world, &mut device, 0);
            world.begin_rotation(&device);
        } else {
            let durable = world.store.make(change).unwrap();
            if cut == 1 {
                drop((admin, durable));
                crash(&mut world, &mut device, 1);
            } else {
                world.server.apply(admin, durable).unwrap();
            }
        }
        crash(&mut world, &mut device, 2);
        let control = rotate(&mut world, &mut device);
        crash(&mut world, &mut device, 3);
        device.rotate(&control);
        world.connect(&mut device, HERE);
        crash(&mut world, &mut device, 4);
        let index = world.index(&device);
        let (admin, change) = world.server.finish_rotation(index).unwrap();
        if cut == 5 {
            drop((admin, change));
            crash(&mut world, &mut device, 5);
            finish(&mut world, &device);
        } else {
            let durable = world.store.make(change).unwrap();
            if cut == 6 {
                drop((admin, durable));
                crash(&mut world, &mut device, 6);
            } else {
                world.server.apply(admin, durable).unwrap();
            }
        }
        // The session that finished it serves on, and the next rotation can come.
        let data = device.data(b"x", true);
        assert!(world.hears(HERE, &data).payload.is_some(), "{cut}");
        assert_eq!(world.record(&device).generation(), generation(2), "{cut}");
        world.begin_rotation(&device);
        let control = rotate(&mut world, &mut device);
        device.rotate(&control);
        world.connect(&mut device, HERE);
        finish(&mut world, &device);
        assert_eq!(world.record(&device).generation(), generation(3), "{cut}");
    }
}

#[test]
fn a_rotation_that_finishes_beside_a_hello_is_asked_for_again() {
    let (mut world, mut device) = connected();
    world.begin_rotation(&device);
    let control = rotate(&mut world, &mut device);
    device.rotate(&control);
    world.connect(&mut device, HERE);
    let pending = world.pending(HERE, &device.hello(b"x"));
    let index = world.index(&device);
    let (admin, change) = world.server.finish_rotation(index).unwrap();
    assert!(world.finish(pending).is_some());
    assert!(world.store.make(change).is_none());
    drop(admin);
    assert_eq!(world.server.rotation_to_finish(index), Some(generation(2)));
    finish(&mut world, &device);
    assert_eq!(world.server.rotation_to_finish(index), None);
    // And the other way round.
    let pending = world.pending(HERE, &device.hello(b"x"));
    world.begin_rotation(&device);
    assert!(world.finish(pending).is_none());
    // A proof of something else changes nothing.
    let (one, first) = world.server.set_status(device.id, Status::Active).unwrap();
    let (_two, second) = world.server.set_status(device.id, Status::Quarantined).unwrap();
    assert_eq!(world.server.apply(one, second.committed()), Err(CommitError::OtherTicket));
    drop(first);
}

#[test]
fn m_117_a_rotate_left_of_the_window_is_sealed_again() {
    let (mut world, mut device) = connected();
    world.begin_rotation(&device);
    // The attacker takes it and every repeat, and lets 64 numbers after it pass.
    let lost = world.poll(&device).unwrap().0;
    for _ in 0..64 {
        let plain = world.plain(&device, b"x");
        device.open(&plain);
    }
    let data = device.acknowledge();
    world.hears(HERE, &data);
    assert!(device.try_open(&lost).is_none(), "it comes too late");
    let control = rotate(&mut world, &mut device);
    assert!(matches!(control, Control::Rotate { .. }));
}

#[test]
fn m_116_generation_255_is_the_last() {
    let mut device = Device::new(1);
    device.keys = vec![(generation(255), DeviceKey::new([5; 32]))];
    let mut store = Store::default();
    store.put(&Record::provisioned(device.id, generation(255), device.keys[0].1.clone()));
    let mut world = World::over(store, 0);
    world.connect(&mut device, HERE);
    let error = world.server.begin_rotation(device.id, &device.rotation_key).err();
    assert_eq!(error, Some(AdminError::LastGeneration));
}

#[test]
fn m_22_a_hello_is_tried_under_the_key_that_it_names_and_no_other() {
    let (mut world, mut device) = connected();
    world.begin_rotation(&device);
    let control = rotate(&mut world, &mut device);
    device.rotate(&control);
    let new = device.hello(b"x");
    let mut relabelled = new.clone();
    relabelled[0] = 0x44;
    assert_eq!(world.rejects(HERE, &relabelled), Reject::Inauthentic);
    relabelled[0] = 0x4C;
    assert_eq!(world.rejects(HERE, &relabelled), Reject::UnknownGeneration);
    assert_eq!(new[0], 0x48);
    world.welcomes(HERE, &new);
}
