//! Booting, checking, wiping: what flash and generator may do to a device before it says a word.

use moteseal_capi::error::Error;
use moteseal_capi::sizes::{FLASH_LEN, FLASH_PAGE, FLASH_WORD};
use moteseal_capi::types::Device;
use moteseal_sim::nor::{Fault, Tear};

use crate::board::{Mote, Rng, blank, booted};
use crate::site::{ID, provision};

const PAGE: usize = FLASH_PAGE as usize;
const COUNTER: usize = 3 * PAGE;

fn flash() -> Vec<u8> {
    provision(PAGE).0
}

/// A device whose flash has these bytes at `offset`.
fn with_bytes(offset: usize, bytes: &[u8]) -> Mote {
    let mut flash = flash();
    flash[offset..][..bytes.len()].copy_from_slice(bytes);
    blank(flash)
}

#[test]
fn a_boot_counts_and_names_the_device() {
    let mut mote = booted(flash());
    assert_eq!(mote.device_id(), Ok(*ID.as_bytes()));
    assert_eq!(mote.boot_count(), Ok(1));
    assert_eq!(mote.session(), Ok(None));
    assert_eq!(mote.deadline(), Ok(u64::MAX));
    assert_eq!(mote.poll(0), Ok(vec![]));
    mote.reboot().unwrap();
    assert_eq!(mote.boot_count(), Ok(2));
    let wear = mote.hardware.flash.borrow().total_wear();
    assert_eq!((wear.writes, wear.erases), (2, 0), "one write a boot");
}

#[test]
fn a_wiped_device_is_blank_and_may_boot_again() {
    let mut mote = booted(flash());
    mote.send(0, b"secret", true).unwrap();
    mote.wipe().unwrap();
    // SAFETY: it was zeroed when it was made, and is bytes.
    let bytes = unsafe { std::slice::from_raw_parts(mote.device().cast::<u8>(), size_of::<Device>()) };
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(mote.wipe(), Ok(()), "once more does nothing");
    assert_eq!(mote.poll(0), Err(Error::NotBooted));
    mote.boot().unwrap();
    assert_eq!(mote.boot_count(), Ok(2));
}

#[test]
fn what_is_no_factory_image_is_told_apart_by_boot_and_check() {
    let table: [(usize, &[u8], Error); 7] = [
        (0, &[0xFF; 64], Error::ImageBlank),
        (0, b"junk", Error::ImageMagic),
        (4, &[2], Error::ImageVersion),
        (30, &[0], Error::ImageDamaged),
        (PAGE, &[0xFF; 64], Error::ImageNoKey),
        (PAGE + 40, &[0], Error::ImageNoKey),
        (2 * PAGE, &flash()[PAGE..][..64], Error::ImageKeys),
    ];
    for (offset, bytes, error) in table {
        let mut mote = with_bytes(offset, bytes);
        assert_eq!((mote.check(), mote.boot()), (Err(error), Err(error)), "{offset}");
        assert_eq!(mote.hardware.flash.borrow().operations(), 0, "nothing was written");
        assert_eq!(mote.poll(0), Err(Error::NotBooted));
        // The memory is blank again: with the image put right, it boots.
        mote.hardware.flash.borrow_mut().put(0, &flash()[..3 * PAGE]).unwrap();
        assert_eq!((mote.check(), mote.boot()), (Ok(*ID.as_bytes()), Ok(())));
    }
}

#[test]
fn flash_that_fails_is_an_error_and_no_device() {
    let table = [
        (0..64, Fault::ReadFails, Error::FlashRead),
        (PAGE..PAGE + 64, Fault::ReadFails, Error::FlashRead),
        (COUNTER..FLASH_LEN as usize, Fault::ReadFails, Error::FlashRead),
        (COUNTER..FLASH_LEN as usize, Fault::WriteFails, Error::FlashWrite),
        (COUNTER..FLASH_LEN as usize, Fault::WriteIgnored, Error::FlashVerify),
    ];
    for (bytes, fault, error) in table {
        let mut mote = blank(flash());
        mote.hardware.flash.borrow_mut().set_fault(bytes, fault);
        assert_eq!(mote.boot(), Err(error), "{fault:?}");
        assert_eq!(mote.send(0, b"x", true), Err(Error::NotBooted));
        mote.hardware.flash.borrow_mut().clear_faults();
        assert_eq!(mote.boot(), Ok(()));
    }
}

#[test]
fn a_power_cut_in_the_one_write_leaves_a_device_that_boots() {
    for seed in 0..50 {
        let mut mote = blank(flash());
        mote.hardware.flash.borrow_mut().cut_power(0, Tear::Random(seed));
        assert!(mote.boot().is_err());
        mote.reboot().unwrap();
        assert!(matches!(mote.boot_count(), Ok(1 | 2)));
    }
}

#[test]
fn the_counter_wraps_around_its_pages_by_an_erase() {
    let mut mote = booted(flash());
    // Entry 0 of the factory, and as many boots as there are slots left and one more.
    let slots = FLASH_PAGE / FLASH_WORD;
    for boot in 2..=slots {
        mote.reboot().unwrap();
        assert_eq!(mote.boot_count(), Ok(boot));
    }
    assert_eq!(mote.hardware.flash.borrow().total_wear().erases, 1);
}

#[test]
fn a_lost_counter_needs_a_generator() {
    let lost = || with_bytes(COUNTER, &[0xFF; 8]);
    let mut mote = lost();
    let mut config = mote.hardware.config();
    config.random = None;
    assert_eq!(mote.boot_with(&config), Err(Error::CounterLost));
    assert_eq!(mote.boot(), Ok(()));
    // With its counter a device without a generator boots and speaks.
    let mut mote = blank(flash());
    let mut config = mote.hardware.config();
    config.random = None;
    assert_eq!(mote.boot_with(&config), Ok(()));
    mote.hardware.rng.set(Rng::Fails);
    assert!(mote.send(0, b"x", true).is_ok());
}

#[test]
fn a_counter_at_its_end_is_told() {
    let mut mote = with_bytes(COUNTER, &moteseal::boot_counter::entry(u32::MAX));
    assert_eq!(mote.boot(), Err(Error::CounterUsedUp));
}

#[test]
fn a_generator_that_fails_or_stands_still_sends_nothing() {
    for (rng, error) in [
        (Rng::Fails, Error::RandomFailed),
        (Rng::Gives(0), Error::RandomStuck),
        (Rng::Gives(0xFF), Error::RandomStuck),
    ] {
        let mut mote = booted(flash());
        mote.hardware.rng.set(rng);
        assert_eq!(mote.send(0, b"x", true), Err(error));
        mote.connect(0).unwrap();
        assert_eq!(mote.poll(0), Err(error));
        mote.hardware.rng.set(Rng::Works);
        let due = mote.deadline().unwrap();
        assert!(due > 0, "tried again, later");
        assert!(!mote.poll(due).unwrap().is_empty());
    }
}
