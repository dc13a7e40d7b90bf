//! What a C program gets wrong is an error and nothing happened: no crash, no datagram, no damage.

use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use moteseal_capi::api::*;
use moteseal_capi::error::Error;
use moteseal_capi::sizes::{DATAGRAM_MAX, FLASH_PAGE};
use moteseal_capi::types::{Closed, Config, Device, Epoch, Outcome, Received, Sent};

use crate::board::{Mote, blank, booted, call_everything};
use crate::site::provision;

fn flash() -> Vec<u8> {
    provision(FLASH_PAGE as usize).0
}

/// Everything, called with `device`: boot and wipe first, then the ten that need a booted device.
fn everything(mote: &Mote, device: *mut Device) -> (Error, Error, Vec<Error>) {
    let mut answers = call_everything(device, &mote.hardware);
    let rest = answers.split_off(2);
    assert_eq!(rest.len(), 10);
    (answers[0], answers[1], rest)
}

#[test]
fn a_device_must_be_booted_first() {
    let mut mote = blank(flash());
    let all = [Error::NotBooted; 10];
    // The config lacks its read function here, so that boot is refused and the memory stays blank.
    let mut config = mote.hardware.config();
    config.flash_read = None;
    assert_eq!(mote.boot_with(&config), Err(Error::NullPointer));
    assert_eq!(mote.poll(0), Err(Error::NotBooted));
    mote.boot().unwrap();
    mote.wipe().unwrap();
    assert_eq!(mote.hardware.flash.borrow().operations(), 1);
    let device = mote.device();
    // Wiped memory is blank: `boot` works, `wipe` does nothing; so each is called alone.
    let (boot, wipe, rest) = everything(&mote, device);
    assert_eq!((boot, wipe, &rest[..]), (Error::Ok, Error::Ok, &all[..]));
}

#[test]
fn memory_that_is_not_zero_is_not_booted() {
    for byte in [1, 0x55, 0xFF] {
        let mote = blank(flash());
        let mut garbage = Box::new(MaybeUninit::<Device>::uninit());
        // SAFETY: bytes into memory that is there.
        unsafe { garbage.as_mut_ptr().cast::<u8>().write_bytes(byte, size_of::<Device>()) };
        let (boot, wipe, rest) = everything(&mote, garbage.as_mut_ptr());
        assert_eq!((boot, wipe, rest), (Error::InUse, Error::NotBooted, vec![Error::NotBooted; 10]));
        // Nothing was wiped either: it is no device.
        // SAFETY: all of it was written above.
        assert_eq!(unsafe { garbage.as_ptr().cast::<u8>().read() }, byte);
    }
}

#[test]
fn a_booted_device_is_not_booted_again() {
    let mut mote = booted(flash());
    assert_eq!(mote.boot(), Err(Error::InUse));
    assert_eq!(mote.boot_count(), Ok(1), "and the counter stands");
    assert!(mote.send(0, b"x", true).is_ok());
}

#[test]
fn a_copy_is_refused_and_may_be_wiped() {
    let mut mote = booted(flash());
    mote.connect(0).unwrap();
    let mut copy = Box::new(MaybeUninit::<Device>::uninit());
    // SAFETY: two devices.
    unsafe { copy.as_mut_ptr().copy_from(mote.device(), 1) };
    let mut answers = call_everything(copy.as_mut_ptr(), &mote.hardware);
    assert_eq!((answers.remove(0), answers.remove(0)), (Error::InUse, Error::Ok));
    assert_eq!(answers, [Error::NotBooted; 10], "wiped");
    // SAFETY: two devices.
    unsafe { copy.as_mut_ptr().copy_from(mote.device(), 1) };
    let (mut out, mut len) = ([0; DATAGRAM_MAX], 0);
    // SAFETY: a copy, and a buffer.
    let error = unsafe { moteseal_poll(copy.as_mut_ptr(), 0, out.as_mut_ptr(), out.len(), &raw mut len) };
    assert_eq!((error, len), (Error::Copied, 0));
    // The original goes on.
    assert_eq!(mote.poll(0).unwrap().len(), 37);
}

#[test]
fn null_is_refused_wherever_it_must_not_be() {
    let mut mote = blank(flash());
    let (boot, wipe, rest) = everything(&mote, null_mut());
    assert_eq!((boot, wipe, rest), (Error::NullPointer, Error::NullPointer, vec![Error::NullPointer; 10]));
    let config = mote.hardware.config();
    let without: [fn(&mut Config); 3] = [
        |config| config.flash_read = None,
        |config| config.flash_write = None,
        |config| config.flash_erase = None,
    ];
    for without in without {
        let mut config = config;
        without(&mut config);
        assert_eq!(mote.boot_with(&config), Err(Error::NullPointer));
    }
    mote.boot().unwrap();
    let device = mote.device();
    let (mut out, size, mut id, mut open) = ([0; DATAGRAM_MAX], DATAGRAM_MAX, [0; 8], 0);
    let (mut sent, mut received, mut closed) =
        (Sent::default(), MaybeUninit::<Received>::zeroed(), Closed::default());
    let (mut len, mut epoch) = (0, Epoch::default());
    let (bytes, id, len, config) = (out.as_mut_ptr(), id.as_mut_ptr(), &raw mut len, &raw const config);
    let (sent, closed, received) = (&raw mut sent, &raw mut closed, received.as_mut_ptr());
    // SAFETY: each pointer is NULL or points to what the header asks for.
    let answers = unsafe {
        [
            moteseal_boot(device, null()),
            moteseal_check(null(), id),
            moteseal_check(config, null_mut()),
            moteseal_send(device, 0, null(), 1, 1, bytes, size, sent),
            moteseal_send(device, 0, id, 1, 1, null_mut(), size, sent),
            moteseal_send(device, 0, id, 1, 1, bytes, size, null_mut()),
            moteseal_receive(device, 0, null_mut(), 1, received),
            moteseal_receive(device, 0, bytes, 1, null_mut()),
            moteseal_poll(device, 0, null_mut(), size, len),
            moteseal_poll(device, 0, bytes, size, null_mut()),
            moteseal_deadline(device, null_mut()),
            moteseal_withdraw(device, 0, 1, null_mut()),
            moteseal_close(device, 0, null_mut(), size, closed),
            moteseal_close(device, 0, bytes, size, null_mut()),
            moteseal_device_id(device, null_mut()),
            moteseal_boot_count(device, null_mut()),
            moteseal_session(device, null_mut(), &raw mut epoch),
            moteseal_session(device, &raw mut open, null_mut()),
        ]
    };
    assert_eq!(answers, [Error::NullPointer; 18]);
    assert_eq!(mote.deadline(), Ok(u64::MAX), "nothing happened");
}

#[test]
fn what_is_not_aligned_is_refused() {
    let mut mote = booted(flash());
    let odd = mote.device().wrapping_byte_add(4);
    let (boot, wipe, rest) = everything(&mote, odd);
    assert_eq!((boot, wipe, rest), (Error::Misaligned, Error::Misaligned, vec![Error::Misaligned; 10]));
    let (mut out, mut places) = ([0; DATAGRAM_MAX], [0_u64; 20]);
    let (out, place) = (out.as_mut_ptr(), places.as_mut_ptr().wrapping_byte_add(1));
    let device = mote.device();
    // SAFETY: there is room for each result behind `place`, one byte off.
    let answers = unsafe {
        [
            moteseal_boot(device, place.cast()),
            moteseal_check(place.cast(), out),
            moteseal_send(device, 0, b"x".as_ptr(), 1, 1, out, DATAGRAM_MAX, place.cast()),
            moteseal_receive(device, 0, out, 1, place.cast()),
            moteseal_poll(device, 0, out, DATAGRAM_MAX, place.cast()),
            moteseal_deadline(device, place),
            moteseal_close(device, 0, out, DATAGRAM_MAX, place.cast()),
            moteseal_boot_count(device, place.cast()),
            moteseal_session(device, out, place.cast()),
        ]
    };
    assert_eq!(answers, [Error::Misaligned; 9]);
}

#[test]
fn a_short_buffer_is_refused_at_once() {
    let mut mote = booted(flash());
    let (mut out, mut sent, mut closed, mut len) =
        ([0x77; DATAGRAM_MAX], Sent::default(), Closed::default(), 0);
    let (bytes, device) = (out.as_mut_ptr(), mote.device());
    for size in [0, 1, 37, DATAGRAM_MAX - 1] {
        // SAFETY: the buffer is longer than said.
        let answers = unsafe {
            [
                moteseal_send(device, 0, b"x".as_ptr(), 1, 1, bytes, size, &raw mut sent),
                moteseal_poll(device, 0, bytes, size, &raw mut len),
                moteseal_close(device, 0, bytes, size, &raw mut closed),
            ]
        };
        assert_eq!(answers, [Error::BufferTooShort; 3]);
    }
    assert_eq!(out, [0x77; DATAGRAM_MAX]);
    assert_eq!(mote.deadline(), Ok(u64::MAX), "nothing was taken");
}

#[test]
fn what_overlaps_is_refused() {
    let mut mote = booted(flash());
    let mut out = [1; 2 * DATAGRAM_MAX];
    let (device, bytes, mut sent, mut len) = (mote.device(), out.as_mut_ptr(), Sent::default(), 0);
    let mut received = MaybeUninit::<Received>::zeroed();
    let received = received.as_mut_ptr();
    let inside = device.cast::<u8>().wrapping_add(64);
    let last = device.cast::<u8>().wrapping_add(size_of::<Device>() - 1);
    let before = device.cast::<u8>().wrapping_sub(DATAGRAM_MAX - 1);
    let size = DATAGRAM_MAX;
    // SAFETY: what is not within the device or the buffer is refused before it is touched.
    let answers = unsafe {
        [
            // The payload within the output, or around its ends.
            moteseal_send(device, 0, bytes, 1, 1, bytes, size, &raw mut sent),
            moteseal_send(device, 0, bytes.add(size - 1), 1, 1, bytes, size, &raw mut sent),
            moteseal_send(device, 0, bytes, 9, 1, bytes.add(8), size, &raw mut sent),
            // Anything within the device, or around its ends.
            moteseal_send(device, 0, inside, 1, 1, bytes, size, &raw mut sent),
            moteseal_send(device, 0, bytes, 1, 1, last, size, &raw mut sent),
            moteseal_send(device, 0, bytes, 1, 1, bytes.add(1), size, inside.cast()),
            moteseal_receive(device, 0, inside, 40, received),
            moteseal_receive(device, 0, bytes, 40, inside.cast()),
            moteseal_poll(device, 0, before, size, &raw mut len),
            moteseal_deadline(device, inside.cast()),
            moteseal_boot_count(device, inside.cast()),
            moteseal_device_id(device, inside),
            moteseal_boot(device, inside.cast()),
            // Longer than memory.
            moteseal_receive(device, 0, bytes, usize::MAX, received),
            moteseal_receive(device, 0, bytes, isize::MAX as usize + 1, received),
            moteseal_poll(device, 0, bytes, usize::MAX, &raw mut len),
        ]
    };
    assert_eq!(answers, [Error::Overlap; 16]);
    // Side by side is fine.
    // SAFETY: a payload of 8 bytes, and the buffer behind it.
    let error = unsafe { moteseal_send(device, 0, bytes, 8, 1, bytes.add(8), size, &raw mut sent) };
    assert_eq!((error, sent.datagram_len), (Error::Ok, 37 + 8));
}

/// A result within a buffer of the same call would change the datagram behind its tag, or the payload before it.
#[test]
fn a_result_within_a_buffer_is_refused() {
    let mut mote = booted(flash());
    mote.connect(0).unwrap();
    let (device, size) = (mote.device(), DATAGRAM_MAX);
    let mut memory = [0x7777_7777_7777_7777_u64; DATAGRAM_MAX.div_ceil(8)];
    let memory = memory.as_mut_ptr();
    let (out, inside) = (memory.cast::<u8>(), memory.wrapping_add(2));
    let mut apart = [1_u8; DATAGRAM_MAX];
    // SAFETY: what does not overlap is as long as said.
    let answers = unsafe {
        [
            moteseal_send(device, 0, b"x".as_ptr(), 1, 1, out, size, inside.cast()),
            moteseal_send(device, 0, out, 32, 1, apart.as_mut_ptr(), size, inside.cast()),
            moteseal_receive(device, 0, out, size, inside.cast()),
            moteseal_poll(device, 0, out, size, inside.cast()),
            moteseal_close(device, 0, out, size, inside.cast()),
            moteseal_session(device, out, memory.cast()),
        ]
    };
    assert_eq!(answers, [Error::Overlap; 6]);
    let mut config = mote.hardware.config();
    let config = &raw mut config;
    // SAFETY: a config, and a place within it.
    assert_eq!(unsafe { moteseal_check(config, config.cast()) }, Error::Overlap);
    // SAFETY: it was all written above.
    let bytes = unsafe { std::slice::from_raw_parts(out, size) };
    assert!(bytes.iter().all(|byte| *byte == 0x77), "nothing was written");
    // What was due is due, and a result right behind the buffer is fine.
    let mut both = [0_u64; DATAGRAM_MAX.div_ceil(8) + 2];
    let (both, behind) = (both.as_mut_ptr(), DATAGRAM_MAX.div_ceil(8));
    let (out, place) = (both.cast::<u8>(), both.wrapping_add(behind).cast::<Sent>());
    // SAFETY: there is room for 16 bytes behind the buffer.
    let error = unsafe { moteseal_send(device, 0, b"x".as_ptr(), 1, 1, out, size, place) };
    // SAFETY: it was written, whatever happened.
    assert_eq!((error, unsafe { place.read() }.datagram_len), (Error::Ok, 38));
}

#[test]
fn a_library_of_other_sizes_is_refused() {
    let mut mote = blank(flash());
    let other: [fn(&mut Config); 4] = [
        |config| config.datagram_max += 8,
        |config| config.flash_page *= 2,
        |config| config.flash_word *= 2,
        |config| (config.datagram_max, config.flash_page, config.flash_word) = (0, 0, 0),
    ];
    for other in other {
        let mut config = mote.hardware.config();
        other(&mut config);
        assert_eq!(mote.boot_with(&config), Err(Error::WrongBuild));
        let mut id = [0; 8];
        // SAFETY: 8 bytes.
        assert_eq!(unsafe { moteseal_check(&raw const config, id.as_mut_ptr()) }, Error::WrongBuild);
    }
    assert_eq!(mote.hardware.flash.borrow().operations(), 0);
}

#[test]
fn a_callback_that_calls_back_is_refused() {
    // Calls that reach a callback: boot, a Hello, the counter.
    let calls: [fn(&mut Mote); 3] = [
        |mote| mote.boot().unwrap(),
        |mote| drop(mote.send(0, b"x", true).unwrap()),
        |mote| assert_eq!(mote.boot_count(), Ok(1)),
    ];
    let mut mote = blank(flash());
    let device = mote.device();
    for call in calls {
        mote.hardware.meanwhile.set(Some(device));
        call(&mut mote);
        mote.hardware.meanwhile.set(None);
        let answers = mote.hardware.answers.take();
        assert!(!answers.is_empty(), "no callback was called");
        for answers in answers.chunks(12) {
            assert_eq!(answers[0], Error::InUse);
            assert_eq!(answers[1..], [Error::Reentered; 11]);
        }
    }
    // Another device may be used meanwhile.
    let mut other = booted(flash());
    mote.hardware.meanwhile.set(Some(other.device()));
    mote.hardware.once.set(true);
    assert_eq!(mote.boot_count(), Ok(1));
    // Its answers: in use, and then it was wiped.
    let answers = mote.hardware.answers.take();
    assert_eq!((answers.len(), &answers[..3]), (12, &[Error::InUse, Error::Ok, Error::NotBooted][..]));
    assert_eq!(other.poll(0), Err(Error::NotBooted));
}

#[test]
fn an_outcome_is_none_where_the_call_is_refused() {
    let mut mote = blank(flash());
    let mut outcome = Outcome::Unsent;
    // SAFETY: a blank device.
    let error = unsafe { moteseal_withdraw(mote.device(), 0, 1, &raw mut outcome) };
    assert_eq!((error, outcome), (Error::NotBooted, Outcome::None));
}
