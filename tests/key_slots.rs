//! The key slots on simulated flash: cut at every word and every erase, in the middle of bits. SPEC sections
//! 3.1 and 10.2 (M-118, M-120).

use std::cell::RefCell;

use moteseal::boot_counter::{BootCounter, NorBootCounter, Stored};
use moteseal::error::{IdentityError, ImageError, RegionError, StorageError};
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity, KeySlot};
use moteseal::key_slots::{KeySlots, NorKeySlots, Slot};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal_sim::nor::{Fault, Nor, NorError, Tear, Wear};

const PAGE: usize = 128;
const CAPACITY: usize = 3 * PAGE;

type Flash<const WORD: usize> = Nor<WORD, PAGE>;

fn identity() -> Identity {
    Identity { device_id: DeviceId::new(*b"sensor-7"), rotation_key: RotationKey::new([0x52; 32]) }
}

fn key(generation: u8) -> KeySlot {
    let mut bytes = [generation; 32];
    for (at, byte) in (0..).zip(&mut bytes) {
        *byte ^= u8::wrapping_mul(at, 37);
    }
    KeySlot { generation: Generation::new(generation).unwrap(), device_key: DeviceKey::new(bytes) }
}

/// What the flash holds with these generations in slots A and B.
fn flashed(slots: [Option<u8>; 2]) -> Vec<u8> {
    let image = FactoryImage { identity: identity(), slots: slots.map(|slot| slot.map(key)) };
    let mut flash = Flash::<4>::new(CAPACITY);
    for (offset, part) in image.parts(128) {
        flash.put(offset as usize, part.expose()).unwrap();
    }
    flash.as_bytes().to_vec()
}

fn device<const WORD: usize>(contents: &[u8]) -> NorKeySlots<Flash<WORD>> {
    NorKeySlots::new(Flash::from_bytes(contents.to_vec()), 0).unwrap()
}

fn tears() -> impl Iterator<Item = Tear> {
    let halves = [0, u64::MAX, u64::MAX << 32, u64::MAX >> 32, 0x5555_5555_5555_5555];
    let single = (0..64).flat_map(|bit| [1 << bit, !(1 << bit)]);
    let seeded = (0..32).flat_map(|seed| [Tear::Random(seed), Tear::Garbage(seed)]);
    halves.into_iter().chain(single).map(Tear::Bits).chain(seeded)
}

/// Does `change` with a cut at each operation and each tear of it; shows `check` the device afterwards.
fn cut_everywhere<const WORD: usize>(
    contents: &[u8],
    change: impl Fn(&mut NorKeySlots<&mut Flash<WORD>>) -> Result<(), StorageError>,
    check: impl Fn(&mut NorKeySlots<&mut Flash<WORD>>),
) {
    let run = |cut: Option<(u64, Tear)>| {
        let mut flash = Flash::<WORD>::from_bytes(contents.to_vec());
        if let Some((at, tear)) = cut {
            flash.cut_power(at, tear);
        }
        let changed = change(&mut NorKeySlots::new(&mut flash, 0).unwrap());
        assert_eq!(changed.is_err(), cut.is_some(), "{cut:?}");
        let operations = flash.operations();
        flash.power_on();
        check(&mut NorKeySlots::new(&mut flash, 0).unwrap());
        operations
    };
    for at in 0..run(None) {
        for tear in tears() {
            run(Some((at, tear)));
        }
    }
}

fn a_cut_write_leaves_the_slot_as_it_was_absent_or_complete<const WORD: usize>() {
    // Into an empty slot, over a key of another rotation, and over a torn one.
    let mut torn = flashed([Some(1), Some(2)]);
    torn[2 * PAGE + 40] |= 0x10;
    for (before, old) in
        [(flashed([Some(1), None]), None), (flashed([Some(1), Some(7)]), Some(7)), (torn, None)]
    {
        cut_everywhere::<WORD>(
            &before,
            |slots| slots.write(Slot::B, &key(2)),
            |slots| {
                let found = slots.read(Slot::B).unwrap();
                assert!([None, old.map(key), Some(key(2))].contains(&found), "{found:?}");
                assert_eq!(slots.read(Slot::A), Ok(Some(key(1))));
                assert_eq!(slots.identity(), Ok(identity()));
                // And a second attempt completes it.
                slots.write(Slot::B, &key(2)).unwrap();
                assert_eq!(slots.read(Slot::B), Ok(Some(key(2))));
            },
        );
    }
}

#[test]
fn a_cut_write_of_any_word_size_leaves_the_slot_as_it_was_absent_or_complete() {
    a_cut_write_leaves_the_slot_as_it_was_absent_or_complete::<1>();
    a_cut_write_leaves_the_slot_as_it_was_absent_or_complete::<4>();
    a_cut_write_leaves_the_slot_as_it_was_absent_or_complete::<32>();
}

#[test]
fn a_cut_erase_leaves_the_slot_as_it_was_or_absent_and_is_finished_by_the_next() {
    cut_everywhere::<4>(
        &flashed([Some(1), Some(2)]),
        |slots| slots.erase(Slot::A),
        |slots| {
            let found = slots.read(Slot::A).unwrap();
            assert!([None, Some(key(1))].contains(&found), "{found:?}");
            assert_eq!(slots.read(Slot::B), Ok(Some(key(2))));
            assert_eq!(slots.identity(), Ok(identity()));
            slots.erase(Slot::A).unwrap();
            assert_eq!(slots.read(Slot::A), Ok(None));
        },
    );
}

#[test]
fn nothing_of_an_erased_key_stays() {
    let mut slots = device::<4>(&flashed([Some(1), Some(2)]));
    slots.erase(Slot::A).unwrap();
    assert_eq!((slots.read(Slot::A), slots.read(Slot::B)), (Ok(None), Ok(Some(key(2)))));
    let flash = slots.into_flash();
    assert_eq!(flash.as_bytes()[PAGE..2 * PAGE], [0xFF; PAGE]);
    assert_eq!(flash.as_bytes(), flashed([None, Some(2)]));
}

#[test]
fn erasing_a_blank_slot_wears_nothing_and_a_torn_one_is_cleaned() {
    let mut torn = flashed([Some(1), Some(2)]);
    torn[2 * PAGE..2 * PAGE + 16].fill(0xFF);
    for (contents, erases) in [(flashed([Some(1), None]), 0), (torn, 1)] {
        let mut slots = device::<4>(&contents);
        assert_eq!(slots.read(Slot::B), Ok(None));
        slots.erase(Slot::B).unwrap();
        let flash = slots.into_flash();
        assert_eq!(flash.total_wear(), Wear { writes: 0, erases });
        assert_eq!(flash.as_bytes()[2 * PAGE..], [0xFF; PAGE]);
    }
}

#[test]
fn a_whole_rotation_goes_round_the_slots() {
    let mut slots = device::<8>(&flashed([Some(1), None]));
    let mut current = Slot::A;
    for generation in 2..20 {
        slots.write(current.other(), &key(generation)).unwrap();
        assert_eq!(slots.read(current), Ok(Some(key(generation - 1))));
        slots.erase(current).unwrap();
        current = current.other();
        assert_eq!(slots.read(current), Ok(Some(key(generation))));
        assert_eq!(slots.read(current.other()), Ok(None));
    }
    assert_eq!(slots.identity(), Ok(identity()));
    assert_eq!(slots.into_flash().wear(0), Wear::default());
}

#[test]
fn a_damaged_identity_is_an_error() {
    let error = |at: usize, byte: u8| {
        let mut contents = flashed([Some(1), None]);
        contents[at] ^= byte;
        device::<4>(&contents).identity().unwrap_err()
    };
    assert_eq!(error(0, 1), IdentityError::Image(ImageError::Magic));
    assert_eq!(error(20, 1), IdentityError::Image(ImageError::Check));
    assert_eq!(device::<4>(&[0xFF; CAPACITY]).identity(), Err(IdentityError::Image(ImageError::Blank)));
}

#[test]
fn an_intact_slot_of_another_format_is_an_error() {
    let mut contents = flashed([Some(1), None]);
    // An intact part, but not of a slot: the identity where slot A should be.
    contents.copy_within(0..PAGE, PAGE);
    assert_eq!(device::<4>(&contents).read(Slot::A), Err(StorageError::Format));
}

#[test]
fn flash_that_fails_is_an_error_and_never_a_key() {
    for (fault, written, erased) in [
        (Fault::EraseFails, Err(StorageError::Write), Err(StorageError::Write)),
        (Fault::EraseIgnored, Err(StorageError::Verify), Err(StorageError::Verify)),
        (Fault::WriteFails, Err(StorageError::Write), Ok(())),
        (Fault::WriteIgnored, Err(StorageError::Verify), Ok(())),
        (Fault::ReadFails, Err(StorageError::Read), Err(StorageError::Read)),
    ] {
        let mut flash = Flash::<4>::from_bytes(flashed([Some(1), Some(2)]));
        flash.set_fault(2 * PAGE..CAPACITY, fault);
        let mut slots = NorKeySlots::new(&mut flash, 0).unwrap();
        assert_eq!(slots.erase(Slot::B), erased, "{fault:?}");
        assert_eq!(slots.write(Slot::B, &key(3)), written, "{fault:?}");
        assert_eq!(slots.read(Slot::A), Ok(Some(key(1))));
        assert_ne!(slots.read(Slot::B), Ok(Some(key(3))));
    }
    // A word that stays blank is seen where the page was erased and the rest was written.
    let mut flash = Flash::<4>::from_bytes(flashed([Some(1), None]));
    flash.set_fault(2 * PAGE + 60..2 * PAGE + 64, Fault::WriteIgnored);
    let mut slots = NorKeySlots::new(&mut flash, 0).unwrap();
    assert_eq!(slots.write(Slot::B, &key(2)), Err(StorageError::Verify));
    assert_eq!(slots.read(Slot::B), Ok(None));
    flash.set_fault(0..CAPACITY, Fault::ReadFails);
    let mut slots = NorKeySlots::new(&mut flash, 0).unwrap();
    assert_eq!(slots.identity(), Err(IdentityError::Storage(StorageError::Read)));
}

#[test]
fn the_region_lies_whole_and_aligned_in_the_flash() {
    let region = |offset| NorKeySlots::new(Flash::<4>::new(4 * PAGE), offset).map(|_| ());
    assert_eq!(region(0), Ok(()));
    assert_eq!(region(128), Ok(()));
    assert_eq!(region(64), Err(RegionError::Misaligned));
    assert_eq!(region(256), Err(RegionError::OutOfRange));
}

#[test]
fn slots_and_counter_share_one_flash() -> Result<(), NorError> {
    let flash = RefCell::new(Flash::<4>::new(5 * PAGE));
    flash.borrow_mut().put(0, &flashed([Some(1), None]))?;
    let mut slots = NorKeySlots::new(SharedFlash::new(&flash), 0).unwrap();
    let mut counter = NorBootCounter::new(SharedFlash::new(&flash), NorKeySlots::<Flash<4>>::LEN).unwrap();
    for generation in 2..50 {
        counter.store(generation.into()).unwrap();
        slots.write(Slot::B, &key(generation)).unwrap();
    }
    assert_eq!(counter.load(), Ok(Stored::Intact(49)));
    assert_eq!(slots.read(Slot::B), Ok(Some(key(49))));
    // A driver that is in use is an error, not a panic.
    let busy = flash.borrow_mut();
    assert_eq!(counter.load(), Err(StorageError::Read));
    assert_eq!(slots.erase(Slot::B), Err(StorageError::Read));
    drop(busy);
    Ok(())
}

fn rotate(mut slots: impl KeySlots) {
    assert_eq!(slots.identity(), Ok(identity()));
    assert_eq!((slots.read(Slot::A), slots.read(Slot::B)), (Ok(Some(key(1))), Ok(None)));
    slots.write(Slot::B, &key(2)).unwrap();
    slots.erase(Slot::A).unwrap();
}

#[test]
fn an_image_in_memory_is_its_own_key_slots() {
    let mut image = FactoryImage::new(identity(), key(1).device_key);
    // Lent to whoever wants key slots.
    rotate(&mut image);
    assert_eq!(FactoryImage::parse(image.encode().expose()), Ok(image.clone()));
    assert_eq!(image.slots, [None, Some(key(2))]);
}
