//! Crashes and restored backups: SPEC 7.6 and 7.7.

use moteseal::error::{RecordError, Reject, VerifyError};
use moteseal::number::Epoch;
use moteseal::record::{MARK_MAX, RAISE, RECORD_LEN, Record, raised_mark};
use moteseal::server::{AnswerKind, CommandId};

use crate::support::*;

const HERE: Address = 1;
const THERE: Address = 2;

#[test]
fn m_73_m_74_without_counters_nothing_is_delivered_and_only_resets_are_sealed() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let recorded: Vec<_> = (0..10).map(|_| device.data(b"x", true)).collect();
    for datagram in &recorded {
        world.hears(HERE, datagram);
    }
    world.crash();
    let index = world.index(&device);
    // The attacker plays the whole session again.
    for datagram in &recorded {
        world.now += 1_000;
        world.answers(AnswerKind::Reset, THERE, datagram);
    }
    assert!(world.poll(&device).is_none() && world.server.deadline(index).is_none());
    assert!(world.server.begin_command(device.id, CommandId(1), 1).is_err());
    assert!(world.server.send_plain(device.id, b"x", &mut [0; 99]).is_err());
    // A forgery gets none, and does not use the second up.
    world.now += 1_000;
    let data = device.data(b"new", true);
    assert_eq!(world.rejects(THERE, &forged(&data)), Reject::Verify(VerifyError::Inauthentic));
    // To the source of that Data, at most one a second.
    let Outcome::Answered(AnswerKind::Reset, reset, HERE) = world.deliver(HERE, &data) else { panic!() };
    assert_eq!(reset.len(), 20);
    assert_eq!(device.reset(&reset), Ok(()));
    world.now += 999;
    assert_eq!(world.rejects(HERE, &data), Reject::ResetLimited);
    world.now += 1;
    assert_eq!(world.answers(AnswerKind::Reset, HERE, &data), reset, "the same question, the same bytes");
    // P5: one round trip more, and the device is back; the session before stays dead.
    world.connect(&mut device, HERE);
    for datagram in &recorded {
        world.rejects(THERE, datagram);
    }
}

#[test]
fn m_74_resets_are_limited_for_each_session() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let old = device.data(b"", true);
    world.connect(&mut device, HERE);
    let real = device.data(b"", true);
    world.crash();
    // The attacker's repeats of the old session do not silence the Reset of the real one.
    world.answers(AnswerKind::Reset, THERE, &old);
    assert_eq!(world.rejects(THERE, &old), Reject::ResetLimited);
    let reset = world.answers(AnswerKind::Reset, HERE, &real);
    assert_eq!(device.reset(&reset), Ok(()));
}

#[test]
fn m_75_without_counters_one_byte_is_the_number_itself() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    let short = device.data(b"x", false);
    assert_eq!(short.len(), 20);
    world.crash();
    let reset = world.answers(AnswerKind::Reset, HERE, &short);
    assert_eq!((reset.len(), device.reset(&reset)), (19, Ok(())));
    // A high number in one byte only delays: the next C has two.
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    for _ in 0..300 {
        device.data(b"x", true);
    }
    let data = device.data(b"x", true);
    let answer = world.hears(HERE, &data).answer.unwrap().0;
    device.open(&answer);
    let down = world.plain(&device, b"x");
    device.open(&down);
    // The server's acknowledgement of 301 lets the device shorten 302.
    let short = device.data(b"x", false);
    assert_eq!(short.len(), 20);
    world.crash();
    assert_eq!(world.rejects(HERE, &short), Reject::Verify(VerifyError::Inauthentic));
    let confirmed = device.data(b"x", true);
    let reset = world.answers(AnswerKind::Reset, HERE, &confirmed);
    assert_eq!(device.reset(&reset), Ok(()));
}

#[test]
fn m_80_m_81_a_restored_backup_delivers_no_recording() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    let say = |world: &mut World, device: &mut Device, recorded: &mut Vec<Vec<u8>>| {
        recorded.push(device.hello(b"reading"));
        let fresh = world.welcomes(HERE, recorded.last().unwrap());
        assert!(device.welcome(&fresh.welcome.unwrap()));
        recorded.push(device.data(b"more", true));
        world.hears(HERE, recorded.last().unwrap());
    };
    say(&mut world, &mut device, &mut recorded);
    let backup = world.store.clone();
    // The same backup comes back twice, and is two lives behind.
    for _ in 0..2 {
        for _ in 0..3 {
            device.boot += 1;
            device.count = 0;
            say(&mut world, &mut device, &mut recorded);
        }
        let mark = world.mark;
        world.restore(backup.clone());
        assert!(world.mark >= mark + RAISE);
        for datagram in &recorded {
            world.now += 10_000;
            match world.deliver(THERE, datagram) {
                Outcome::Rejected(_) | Outcome::Answered(AnswerKind::Floor | AnswerKind::Reset, ..) => {}
                other => panic!("{other:?}"),
            }
        }
        // P5: a Hello, a Floor, a Hello, a Welcome.
        let stale = device.hello(b"");
        let floor = world.answers(AnswerKind::Floor, HERE, &stale);
        assert_eq!(device.floor(&floor), Epoch::new(world.mark, 0xFFFF));
        say(&mut world, &mut device, &mut recorded);
    }
}

#[test]
fn m_81_a_raise_lowers_no_newest_epoch_and_closes_the_whole_window() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    device.boot = 0x20_0000;
    let late = device.hello(b"late");
    let hello = device.hello(b"");
    world.welcomes(HERE, &hello);
    let record = world.record(&device);
    for (mark, newest) in [(0x10, Epoch::new(0x20_0000, 1)), (0x30_0000, Epoch::new(0x30_0000, 0xFFFF))] {
        assert_eq!(record.clone().raised(mark).newest(), newest);
        world.store.put(&record.clone().raised(mark));
        world.mark = mark;
        world.crash();
        // In the window, and never delivered: nobody knows that any more.
        world.answers(AnswerKind::Floor, HERE, &late);
    }
}

#[test]
fn m_80_the_mark_only_grows_and_ends_where_floors_end() {
    assert_eq!(raised_mark(5, 9), 9 + RAISE);
    assert_eq!(raised_mark(9, 5), 9 + RAISE);
    assert_eq!(raised_mark(MARK_MAX - 1, 0), MARK_MAX);
    assert_eq!(raised_mark(MARK_MAX, u32::MAX), MARK_MAX);
    // Raised to the end, a device still gets its Floor and has one boot left.
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    let record = world.record(&device).raised(MARK_MAX);
    world.store.put(&record);
    world.mark = MARK_MAX;
    world.crash();
    let stale = device.hello(b"");
    let floor = world.answers(AnswerKind::Floor, HERE, &stale);
    assert_eq!(device.floor(&floor), Epoch::new(MARK_MAX, 0xFFFF));
    world.connect(&mut device, HERE);
}

#[test]
fn a_record_outlives_a_crash_as_it_is_and_nothing_else_is_one() {
    let mut device = Device::new(1);
    let mut world = World::new(&[&device]);
    world.connect(&mut device, HERE);
    world.begin_rotation(&device);
    world.offer(&mut device, HERE);
    let bytes = world.record(&device).encode();
    let again = Record::decode(bytes.expose()).unwrap();
    assert_eq!(again.encode().expose(), bytes.expose());
    assert_eq!(again.confirmed(), world.record(&device).confirmed());
    assert_eq!(again.rotation().unwrap().key, world.record(&device).rotation().unwrap().key);
    assert!(
        !format!("{again:?} {bytes:?}").contains(&format!("{:?}", &[device.keys[0].1.expose()[0]; 4])[1..])
    );
    assert_eq!(Record::decode(&bytes.expose()[1..]).err(), Some(RecordError::Length));
    // Every byte string gives a record or an error, and a record reads back as the bytes it came from.
    let mut noise = Noise(3);
    for _ in 0..20_000 {
        let mut other = *bytes.expose();
        for _ in 0..=noise.below(3) {
            other[noise.below(RECORD_LEN)] = noise.next().to_be_bytes()[0];
        }
        if let Ok(record) = Record::decode(&other) {
            assert_eq!(*record.encode().expose(), other, "one encoding only");
        }
    }
}
