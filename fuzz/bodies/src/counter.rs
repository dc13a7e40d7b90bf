//! The boot counter in flash that may hold anything before the first boot: never a panic, a typed error or a boot, and
//! no boot has an epoch that an earlier one had, whatever power cuts, faults and rotting bits come between. SPEC 6.1.

use std::cell::RefCell;

use moteseal::boot_counter::{BootCounter, NorBootCounter, Stored};
use moteseal::device::{Config, Confirm, Device, Hardware};
use moteseal::entropy::Entropy;
use moteseal::error::{BootError, EntropyError};
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::{KeySlots, NorKeySlots};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::DeviceId;
use moteseal::wire::{Header, Unverified};
use moteseal_sim::nor::{Fault, Nor, Tear};

use crate::tape::Tape;

/// A life on flash of one geometry.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    match tape.below(4) {
        0 => life::<4, 64, 8>(&mut tape),
        1 => life::<8, 128, 8>(&mut tape),
        2 => life::<16, 64, 16>(&mut tape),
        _ => life::<32, 64, 32>(&mut tape),
    }
}

struct Board<'f, const WORD: usize, const PAGE: usize> {
    flash: &'f RefCell<Nor<WORD, PAGE>>,
    has_rng: bool,
}

/// Random enough: this test is about counters.
struct Rng;

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0xA5);
        Ok(())
    }
}

impl<const WORD: usize, const PAGE: usize> Hardware for Board<'_, WORD, PAGE> {
    fn counter(&mut self) -> impl BootCounter {
        NorBootCounter::new(SharedFlash::new(self.flash), offset::<PAGE>()).expect("it fits")
    }

    fn keys(&mut self) -> impl KeySlots {
        NorKeySlots::new(SharedFlash::new(self.flash), 0).expect("it fits")
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.has_rng.then_some(Rng)
    }
}

fn offset<const PAGE: usize>() -> u32 {
    u32::try_from(3 * PAGE).expect("small")
}

fn life<const WORD: usize, const PAGE: usize, const SLOT: usize>(tape: &mut Tape<'_>) {
    let mut flash = Nor::<WORD, PAGE>::new(5 * PAGE);
    let identity = Identity { device_id: DeviceId::new([9; 8]), rotation_key: RotationKey::new([8; 32]) };
    for (offset, part) in
        FactoryImage::new(identity, DeviceKey::new([1; 32])).parts(u32::try_from(PAGE).expect("small"))
    {
        flash.put(offset as usize, part.expose()).expect("in memory");
    }
    let has_rng = tape.flag();
    fill::<WORD, PAGE, SLOT>(&mut flash, tape);
    let flash = RefCell::new(flash);
    let mut last = None;
    while !tape.is_empty() {
        let disturbed = disturb::<WORD, PAGE, SLOT>(&mut flash.borrow_mut(), last, tape);
        let stored = counter(&flash).load();
        let wear = flash.borrow().total_wear();
        let booted = Device::<_, 64>::boot(Board { flash: &flash, has_rng }, Config::default());
        let spent = (
            flash.borrow().total_wear().writes - wear.writes,
            flash.borrow().total_wear().erases - wear.erases,
        );
        match booted {
            Ok(mut device) => {
                let boot = first_hello(&mut device);
                assert!(last.is_none_or(|last| boot > last), "M-25, M-26: boot {boot} after {last:?}");
                let trusted = matches!(stored, Ok(Stored::Intact(_)));
                assert!(trusted || has_rng, "M-27");
                assert!(spent.0 <= 5 && spent.1 <= 1, "P4: {spent:?}");
                assert!(disturbed || spent.0 <= 2, "P4: {spent:?}");
                last = Some(boot);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let lost = matches!(stored, Ok(Stored::Blank | Stored::Broken)) && !has_rng;
                let used_up = matches!(stored, Ok(Stored::Intact(u32::MAX)));
                let hardware = matches!(error, BootError::Storage(_) | BootError::Counter(_));
                // Flash that holds anything may refuse a word: what a power cut left of one.
                assert!(lost || used_up || disturbed || (hardware && last.is_none()), "{error}");
            }
        }
        flash.borrow_mut().power_on();
        flash.borrow_mut().clear_faults();
        if let (Some(last), Ok(Stored::Intact(found))) = (last, counter(&flash).load()) {
            assert!(found >= last, "M-26: {found} is stored after boot {last}");
        }
    }
}

fn counter<const WORD: usize, const PAGE: usize>(
    flash: &RefCell<Nor<WORD, PAGE>>,
) -> NorBootCounter<SharedFlash<'_, Nor<WORD, PAGE>>> {
    NorBootCounter::new(SharedFlash::new(flash), offset::<PAGE>()).expect("it fits")
}

fn first_hello<H: Hardware>(device: &mut Device<H, 64>) -> u32 {
    device.connect(0);
    let mut out = [0; 64];
    let hello = match device.send(0, b"x", Confirm::Yes, &mut out) {
        Ok(sent) => sent.datagram.map(<[u8]>::to_vec),
        Err(_) => None,
    };
    let hello = hello.or_else(|| device.poll(0, &mut out).ok().flatten().map(<[u8]>::to_vec));
    let mut hello = hello.expect("a Hello");
    let Header::Hello(hello) = Unverified::parse(&mut hello).expect("a Hello").header else {
        panic!("not a Hello")
    };
    assert_eq!(hello.epoch.count(), 0, "4.9");
    hello.epoch.boot()
}

/// Before the first boot: any bytes, or a counter of any value in any slot, so that ends and turns are near.
fn fill<const WORD: usize, const PAGE: usize, const SLOT: usize>(
    flash: &mut Nor<WORD, PAGE>,
    tape: &mut Tape<'_>,
) {
    for _ in 0..tape.below(4) {
        let at = 3 * PAGE + tape.place(2 * PAGE / SLOT) * SLOT;
        if tape.flag() {
            let entry = moteseal::boot_counter::entry(tape.u32());
            flash.put(at, &entry).expect("in memory");
        } else {
            let bytes = tape.bytes(32);
            let end = (at + bytes.len()).min(5 * PAGE);
            flash.put(at, &bytes[..end - at]).expect("in memory");
        }
    }
}

/// What happens between two boots, or during the next. Says whether the next boot may fail by it.
fn disturb<const WORD: usize, const PAGE: usize, const SLOT: usize>(
    flash: &mut Nor<WORD, PAGE>,
    last: Option<u32>,
    tape: &mut Tape<'_>,
) -> bool {
    let (kind, after, seed) = (tape.below(16), tape.below(4), tape.u32());
    let tear = u64::from(seed) << 32 | u64::from(seed);
    let first = 3 * PAGE;
    let page = first + usize::from(after & 1) * PAGE;
    let slots = PAGE / SLOT;
    match kind {
        0 => flash.cut_power(after.into(), Tear::Bits(tear)),
        1 => flash.cut_power(after.into(), Tear::Random(tear)),
        // An entry that was whole loses bits. Not the first of a page, nor one that jumped ahead: see the documentation of
        // the counter.
        2 if slots > 1 => {
            let slot = 1 + (seed >> 8) as usize % (slots - 1);
            if jumps::<SLOT>(&flash.as_bytes()[page..page + PAGE], slot) {
                return false;
            }
            let at = page + slot * SLOT + (seed >> 16) as usize % 8;
            let byte = flash.as_bytes()[at] & !(1 << (seed & 7));
            flash.put(at, &[byte]).expect("in memory");
            return false;
        }
        3 => flash.set_fault(page..page + PAGE, Fault::WriteFails),
        4 => flash.set_fault(page..page + PAGE, Fault::WriteIgnored),
        5 => flash.set_fault(page..page + PAGE, Fault::EraseFails),
        6 => flash.set_fault(page..page + PAGE, Fault::EraseIgnored),
        7 => flash.set_fault(first..first + 2 * PAGE, Fault::ReadFails),
        8 if may_hide::<SLOT>(&flash.as_bytes()[first..first + 2 * PAGE], page - first, last) => {
            flash.set_fault(page..page + PAGE, Fault::ReadFails);
        }
        _ => return false,
    }
    true
}

/// Whether the other page tells enough where this one cannot be read: what it holds, with one more for each slot that is
/// used in this one, is not below the last boot, and the slot is free that it keeps for its turn.
fn may_hide<const SLOT: usize>(pages: &[u8], page: usize, last: Option<u32>) -> bool {
    let slots = |at: usize| pages[at..at + pages.len() / 2].chunks(SLOT);
    let is_used = |slot: &[u8]| slot.iter().any(|byte| *byte != 0xFF);
    let other = pages.len() / 2 - page;
    let (Some(highest), Some(last)) = (slots(other).filter_map(value).max(), last) else { return false };
    let used = slots(page).filter(|slot| is_used(slot)).count();
    let kept = slots(other).next_back().is_some_and(|slot| !is_used(slot));
    kept && u64::from(highest) + used as u64 >= u64::from(last)
}

/// Whether the entry in this slot says more than the slots between it and the one before it account for.
fn jumps<const SLOT: usize>(page: &[u8], slot: usize) -> bool {
    let before =
        page[..slot * SLOT].chunks(SLOT).rev().zip(1..).find_map(|(slot, back)| Some((value(slot)?, back)));
    match (value(&page[slot * SLOT..(slot + 1) * SLOT]), before) {
        (Some(newer), Some((older, back))) => u64::from(older) + back < u64::from(newer),
        (newer, _) => newer.is_some(),
    }
}

/// What a slot says, if it is whole.
fn value(slot: &[u8]) -> Option<u32> {
    let (value, rest) = slot.split_first_chunk::<4>()?;
    let (complement, padding) = rest.split_first_chunk::<4>()?;
    let value = u32::from_be_bytes(*value);
    let whole = value == !u32::from_be_bytes(*complement) && padding.iter().all(|byte| *byte == 0xFF);
    whole.then_some(value)
}
