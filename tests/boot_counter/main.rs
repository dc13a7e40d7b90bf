//! The boot counter on simulated flash: cut at every word and every erase, in the middle of bits, again and
//! again. SPEC section 6.1, M-26.

mod properties;

use moteseal::boot_counter::{BootCounter, NorBootCounter, Stored, entry};
use moteseal::error::{RegionError, StorageError};
use moteseal_sim::nor::{Fault, Nor, Tear, Wear};

const PAGE: usize = 64;
const CAPACITY: usize = 2 * PAGE;

type Small<const WORD: usize> = Nor<WORD, PAGE>;

const fn slot_len(word: usize) -> usize {
    if word > 8 { word } else { 8 }
}

fn counter<const WORD: usize, const P: usize>(flash: &mut Nor<WORD, P>) -> NorBootCounter<&mut Nor<WORD, P>> {
    NorBootCounter::new(flash, 0).unwrap()
}

fn load<const WORD: usize>(flash: &mut Small<WORD>) -> Stored {
    counter(flash).load().unwrap()
}

/// Flash after the factory and `boots` whole boots.
fn after<const WORD: usize>(boots: u32) -> Vec<u8> {
    let mut flash = Small::<WORD>::new(CAPACITY);
    flash.put(0, &entry(0)).unwrap();
    for boot in 1..=boots {
        counter(&mut flash).store(boot).unwrap();
    }
    flash.as_bytes().to_vec()
}

/// How many operations `store(boot)` takes.
fn operations<const WORD: usize>(contents: &[u8], boot: u32) -> u64 {
    let mut flash = Small::<WORD>::from_bytes(contents.to_vec());
    counter(&mut flash).store(boot).unwrap();
    flash.operations()
}

/// Stores `boot` with the power cut, and gives what the flash then holds.
fn torn<const WORD: usize>(contents: &[u8], boot: u32, at: u64, tear: Tear) -> Vec<u8> {
    let mut flash = Small::<WORD>::from_bytes(contents.to_vec());
    flash.cut_power(at, tear);
    let stored = counter(&mut flash).store(boot);
    assert!(!flash.has_power(), "no cut at operation {at}: {stored:?}");
    flash.power_on();
    flash.as_bytes().to_vec()
}

fn few_tears() -> Vec<Tear> {
    let bits = [0, 1, 1 << 63, 0x5555_5555_5555_5555, u64::MAX << 32, u64::MAX >> 32, u64::MAX];
    bits.map(Tear::Bits)
        .into_iter()
        .chain((0..3).map(Tear::Random))
        .chain((0..3).map(Tear::Garbage))
        .collect()
}

fn many_tears() -> Vec<Tear> {
    let single = (0..64).map(|bit| 1 << bit);
    let missing = (0..64).map(|bit| !(1 << bit));
    // All that can be left of a single byte, which is all that can be left of a word of one byte.
    let bytes = (0..=0xFF).map(|byte| byte * 0x0101_0101_0101_0101);
    let seeded = (100..132).flat_map(|seed| [Tear::Random(seed), Tear::Garbage(seed)]);
    few_tears().into_iter().chain(single.chain(missing).chain(bytes).map(Tear::Bits)).chain(seeded).collect()
}

/// How many slots there are up to the last torn one in a page in which nothing is whole: each may have been a boot.
fn doubtful<const WORD: usize>(contents: &[u8]) -> u32 {
    let slots = |page: &[u8]| page.chunks(slot_len(WORD)).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let padding = |slot: &[u8]| slot[8..].iter().all(|byte| *byte == 0xFF);
    let is_whole = |slot: &[u8]| whole(*slot.first_chunk().unwrap()).is_some() && padding(slot);
    let is_torn = |slot: &[u8]| !is_whole(slot) && slot.iter().any(|byte| *byte != 0xFF);
    let pages = contents.chunks(PAGE).map(slots).filter(|page| !page.iter().any(|slot| is_whole(slot)));
    let torn: usize =
        pages.map(|page| page.iter().rposition(|slot| is_torn(slot)).map_or(0, |last| last + 1)).sum();
    u32::try_from(torn).unwrap()
}

/// After a cut: no value below the last that a boot used, none above the one that was about to be stored and as many as
/// slots are torn in a page without a value; and a counter that goes on.
fn check<const WORD: usize>(contents: &[u8], used: u32, new: u32) -> u32 {
    let mut flash = Small::<WORD>::from_bytes(contents.to_vec());
    let Stored::Intact(stored) = load(&mut flash) else { panic!("lost {used}: {contents:02x?}") };
    let above = doubtful::<WORD>(contents);
    assert!(used <= stored && stored <= new + above, "{stored} after {used}, {new}: {contents:02x?}");
    counter(&mut flash).store(stored + 1).unwrap();
    let above = doubtful::<WORD>(flash.as_bytes());
    assert_eq!(load(&mut flash), Stored::Intact(stored + 1 + above));
    stored
}

/// One cut at every operation of every boot over two turns of the pages.
fn one_cut<const WORD: usize>() {
    let slots = u32::try_from(CAPACITY / slot_len(WORD)).unwrap();
    let mut outcomes = [0; 3];
    for old in 0..2 * slots {
        let contents = after::<WORD>(old);
        for at in 0..operations::<WORD>(&contents, old + 1) {
            for tear in many_tears() {
                let stored = check::<WORD>(&torn::<WORD>(&contents, old + 1, at, tear), old, old + 1);
                outcomes[(stored - old).min(2) as usize] += 1;
            }
        }
    }
    assert!(outcomes.iter().all(|seen| *seen > 0), "{outcomes:?}");
}

#[test]
fn a_cut_anywhere_leaves_the_old_value_or_a_new_one() {
    one_cut::<1>();
    one_cut::<2>();
    one_cut::<4>();
    one_cut::<8>();
    one_cut::<16>();
    one_cut::<32>();
}

/// Two cuts, each at every operation: the second while the first is being got over.
fn two_cuts<const WORD: usize>() {
    let slots = u32::try_from(PAGE / slot_len(WORD)).unwrap();
    // Around the turn of each page.
    for old in [1, slots - 2, slots - 1, slots, 2 * slots - 2, 2 * slots - 1, 2 * slots] {
        let contents = after::<WORD>(old);
        for at in 0..operations::<WORD>(&contents, old + 1) {
            for tear in few_tears() {
                let once = torn::<WORD>(&contents, old + 1, at, tear);
                let stored = check::<WORD>(&once, old, old + 1);
                for at in 0..operations::<WORD>(&once, stored + 1) {
                    for tear in few_tears() {
                        check::<WORD>(&torn::<WORD>(&once, stored + 1, at, tear), old, stored + 1);
                    }
                }
            }
        }
    }
}

#[test]
fn a_cut_while_a_cut_is_got_over_leaves_the_old_value_or_a_new_one() {
    two_cuts::<2>();
    two_cuts::<4>();
    two_cuts::<8>();
    two_cuts::<32>();
}

#[test]
fn a_cut_in_the_first_store_of_blank_flash_leaves_no_value_or_the_new_one() {
    let blank = vec![0xFF; CAPACITY];
    for at in 0..operations::<4>(&blank, 1) {
        for tear in many_tears().into_iter().filter(|tear| !matches!(tear, Tear::Garbage(_))) {
            let mut flash = Small::<4>::from_bytes(torn::<4>(&blank, 1, at, tear));
            assert!(matches!(load(&mut flash), Stored::Blank | Stored::Broken | Stored::Intact(1)));
            counter(&mut flash).store(1).unwrap();
            assert_eq!(load(&mut flash), Stored::Intact(1));
        }
    }
}

#[test]
fn the_state_of_the_storage_is_told() {
    let [old, new] = [entry(6), entry(7)];
    let torn = [0, 0, 0, 7, 0xFF, 0xFF, 0xFF, 0xF9]; // a bit of the complement not yet cleared
    let table = [
        (vec![], Stored::Blank),
        (vec![(0, entry(0))], Stored::Intact(0)),
        (vec![(0, entry(u32::MAX))], Stored::Intact(u32::MAX)),
        (vec![(0, torn)], Stored::Broken),
        (vec![(PAGE, torn)], Stored::Broken),
        // It may be a 7 that was whole once.
        (vec![(0, old), (8, torn)], Stored::Intact(7)),
        // With what reads blank before it.
        (vec![(0, old), (8, torn), (24, torn)], Stored::Intact(9)),
        (vec![(0, entry(u32::MAX)), (8, torn)], Stored::Intact(u32::MAX)),
        (vec![(0, old), (8, torn), (16, new)], Stored::Intact(7)),
        (vec![(8, new), (PAGE, old)], Stored::Intact(7)),
        (vec![(8, new), (PAGE, old), (PAGE + 8, torn)], Stored::Intact(7)),
    ];
    for (slots, stored) in table {
        let mut flash = Small::<4>::new(CAPACITY);
        for (at, bytes) in &slots {
            flash.put(*at, bytes).unwrap();
        }
        assert_eq!(load(&mut flash), stored, "{slots:02x?}");
    }
}

/// The place of an entry.
fn place(contents: &[u8], boot: u32) -> usize {
    contents.chunks(8).position(|slot| slot == entry(boot)).unwrap() * 8
}

/// Flash forgets a bit of what was whole, at any time and place.
#[test]
fn a_boot_whose_entry_rots_is_not_had_again() {
    for newest in 1..40 {
        let contents = after::<4>(newest);
        let at = [newest, newest - 1].map(|boot| place(&contents, boot));
        for bit in 0..64 {
            let mut contents = contents.clone();
            contents[at[0] + bit / 8] ^= 0x80 >> (bit % 8);
            let mut flash = Small::<4>::from_bytes(contents.clone());
            assert_eq!(load(&mut flash), Stored::Intact(newest));
            assert_eq!(boot(&mut flash), Some(newest + 1));
            // One more that rots, and a cut wherever one can strike.
            if newest > 1 {
                contents[at[1] + bit / 8] ^= 0x80 >> (bit % 8);
                assert_eq!(load(&mut Small::<4>::from_bytes(contents.clone())), Stored::Intact(newest));
            }
            for cut in 0..operations::<4>(&contents, newest + 1) {
                for tear in few_tears() {
                    let left = torn::<4>(&contents, newest + 1, cut, tear);
                    // An erase cut short may make what has rotted whole again, with another value.
                    let mut values = left.chunks(8).filter_map(|slot| whole(*slot.first_chunk().unwrap()));
                    if values.all(|value| value <= newest + 1) {
                        check::<4>(&left, newest, newest + 1);
                    }
                }
            }
        }
    }
}

/// The newest page, all of it or from any slot on, cannot be read for a while: no boot of it comes again, neither in the
/// meantime nor after it.
#[test]
fn boots_that_cannot_be_read_for_a_while_are_not_had_again() {
    for newest in 1..40 {
        let contents = after::<4>(newest);
        let page = place(&contents, newest) / PAGE * PAGE;
        for (from, meanwhile) in
            (page..page + PAGE).step_by(8).flat_map(|from| [(from, 0), (from, 1), (from, 20)])
        {
            let mut flash = Small::<4>::from_bytes(contents.clone());
            flash.set_fault(from..page + PAGE, Fault::ReadFails);
            let mut last = newest;
            for _ in 0..meanwhile {
                // Where the page cannot be read after its erase either, the counter may be stuck; it never goes back.
                if let Some(boot) = boot(&mut flash) {
                    assert!(boot > last, "{boot} after {last}, from {from}");
                    last = boot;
                }
            }
            flash.clear_faults();
            let next = boot(&mut flash);
            assert!(next.is_some_and(|next| next > last), "{next:?} after {last}, from {from}");
        }
    }
}

/// A second page that the factory did not erase, or that an erase which was cut short left, costs boots until its turn.
#[test]
fn a_page_in_which_nothing_is_whole_counts_until_it_is_erased() {
    let mut flash = Small::<4>::new(CAPACITY);
    flash.put(0, &entry(0)).unwrap();
    flash.put(PAGE, &[0x5A; 3 * 8]).unwrap();
    assert_eq!(load(&mut flash), Stored::Intact(3));
    let boots: Vec<_> = (0..9).map(|_| boot(&mut flash).unwrap()).collect();
    // The seventh is the first of the other page, and stands in the slot that is kept in this one too.
    assert_eq!(boots, [4, 8, 12, 16, 20, 24, 28, 29, 30]);
    assert_eq!(flash.as_bytes()[PAGE - 8..PAGE + 16], [entry(28), entry(28), entry(29)].concat());
    assert_eq!(flash.total_wear(), Wear { writes: 10, erases: 1 });
}

/// What stands in both pages, after a turn that was cut short, does not make the older page the newer one while the rest of
/// the newer cannot be read.
#[test]
fn of_two_pages_with_one_value_that_counts_which_hides_more() {
    let entries = (0..7).chain([8]).chain(8..12).flat_map(entry);
    let mut flash = Small::<4>::from_bytes(entries.chain([0xFF; 32]).collect());
    assert_eq!(load(&mut flash), Stored::Intact(11));
    flash.set_fault(PAGE + 8..CAPACITY, Fault::ReadFails);
    assert_eq!(load(&mut flash), Stored::Intact(8 + 7));
}

/// An entry that went past words that could not be read for a while, and is lost: the blank words before it count too.
#[test]
fn what_was_skipped_counts_where_what_skipped_it_is_lost() {
    let mut flash = Small::<4>::from_bytes(after::<4>(2));
    flash.set_fault(24..40, Fault::ReadFails);
    assert_eq!(boot(&mut flash), Some(5));
    flash.clear_faults();
    assert_eq!(place(flash.as_bytes(), 5), 40);
    let mut contents = flash.as_bytes().to_vec();
    contents[40] = 0x80;
    assert_eq!(load(&mut Small::<4>::from_bytes(contents)), Stored::Intact(5));
}

/// With two slots a page, of which one does not take anything.
#[test]
fn the_smallest_pages_live_with_a_dead_word() {
    let mut flash = Nor::<32, PAGE>::new(CAPACITY);
    flash.put(0, &entry(0)).unwrap();
    flash.set_fault(PAGE..PAGE + 32, Fault::WriteIgnored);
    for boot in 1..20 {
        counter(&mut flash).store(boot).unwrap();
        assert_eq!(counter(&mut flash).load(), Ok(Stored::Intact(boot)));
    }
}

#[test]
fn what_is_stored_again_behind_a_torn_entry_is_read_back() {
    let mut flash = Small::<4>::from_bytes(after::<4>(2));
    flash.put(24, &[0; 8]).unwrap();
    assert_eq!(load(&mut flash), Stored::Intact(3));
    let before = flash.as_bytes().to_vec();
    // A 3 may have been there, so that a 2 would go back.
    assert_eq!(counter(&mut flash).store(2), Err(StorageError::Backwards));
    assert_eq!(load(&mut flash), Stored::Intact(3));
    assert_eq!(flash.as_bytes(), before);
    for boot in [3, 3, 4] {
        counter(&mut flash).store(boot).unwrap();
        assert_eq!(load(&mut flash), Stored::Intact(boot));
    }
    assert_eq!(flash.as_bytes()[32..48], [entry(3), entry(4)].concat());
}

#[test]
fn an_entry_is_the_value_and_its_complement() {
    assert_eq!(entry(0), [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(entry(0x0102_0304), [1, 2, 3, 4, 0xFE, 0xFD, 0xFC, 0xFB]);
}

#[test]
fn the_first_boot_after_the_factory_costs_one_write_and_no_erase() {
    let mut flash = Small::<4>::new(CAPACITY);
    flash.put(0, &entry(0)).unwrap();
    counter(&mut flash).store(1).unwrap();
    assert_eq!(flash.total_wear(), Wear { writes: 1, erases: 0 });
    assert_eq!(flash.as_bytes()[8..16], entry(1));
}

#[test]
fn pages_of_4096_bytes_last_511_boots_an_erase() {
    let mut flash = Nor::<8, 4096>::new(8192);
    flash.put(0, &entry(0)).unwrap();
    for boot in 1..=4 * 512 {
        counter(&mut flash).store(boot).unwrap();
    }
    assert_eq!(flash.total_wear(), Wear { writes: 4 * 512, erases: 4 });
    assert_eq!((flash.wear(0).erases, flash.wear(1).erases), (2, 2));
}

#[test]
fn the_counter_never_goes_back() {
    let mut flash = Small::<4>::from_bytes(after::<4>(9));
    let before = flash.as_bytes().to_vec();
    assert_eq!(counter(&mut flash).store(8), Err(StorageError::Backwards));
    assert_eq!(counter(&mut flash).store(9), Ok(()));
    assert_eq!((flash.as_bytes(), flash.operations()), (&before[..], 0));
    counter(&mut flash).store(u32::MAX).unwrap();
    assert_eq!(counter(&mut flash).store(0), Err(StorageError::Backwards));
    assert_eq!(load(&mut flash), Stored::Intact(u32::MAX));
}

#[test]
fn slots_that_refuse_are_passed_over() {
    for fault in [Fault::WriteFails, Fault::WriteIgnored] {
        // 1 stands in slot 1; 2 and 3 refuse, and 4 takes it.
        let mut flash = Small::<8>::from_bytes(after::<8>(1));
        flash.set_fault(16..32, fault);
        counter(&mut flash).store(2).unwrap();
        assert_eq!(flash.as_bytes()[32..40], entry(2));
        // Three in a row: the other page.
        let mut flash = Small::<8>::from_bytes(after::<8>(1));
        flash.set_fault(16..40, fault);
        counter(&mut flash).store(2).unwrap();
        assert_eq!(flash.as_bytes()[PAGE..PAGE + 8], entry(2));
        assert_eq!(load(&mut flash), Stored::Intact(2));
    }
}

#[test]
fn flash_that_takes_nothing_is_an_error_and_keeps_the_value() {
    for (fault, error) in [
        (Fault::WriteFails, StorageError::Write),
        (Fault::WriteIgnored, StorageError::Verify),
        (Fault::EraseFails, StorageError::Write),
        (Fault::EraseIgnored, StorageError::Verify),
    ] {
        // Both pages are full, so that the next store needs an erase.
        let mut flash = Small::<8>::from_bytes(after::<8>(13));
        flash.set_fault(0..CAPACITY, fault);
        assert_eq!(counter(&mut flash).store(14), Err(error), "{fault:?}");
        assert_eq!(load(&mut flash), Stored::Intact(13));
    }
}

#[test]
fn flash_that_cannot_be_read_is_an_error_and_an_unreadable_slot_is_a_torn_one() {
    let mut flash = Small::<8>::from_bytes(after::<8>(2));
    flash.set_fault(0..CAPACITY, Fault::ReadFails);
    assert_eq!(counter(&mut flash).load(), Err(StorageError::Read));
    assert_eq!(counter(&mut flash).store(3), Err(StorageError::Read));
    assert_eq!(flash.operations(), 0);
    // As flash with ECC answers after a cut: slot 3 is an error until its page is erased.
    flash.clear_faults();
    flash.set_fault(24..25, Fault::ReadFails);
    assert_eq!(load(&mut flash), Stored::Intact(3));
    counter(&mut flash).store(4).unwrap();
    assert_eq!((&flash.as_bytes()[24..32], &flash.as_bytes()[32..40]), (&[0xFF; 8][..], &entry(4)[..]));
    // And blank flash of which a part cannot be read is not known to be blank.
    let mut flash = Small::<8>::new(CAPACITY);
    flash.set_fault(24..25, Fault::ReadFails);
    assert_eq!(load(&mut flash), Stored::Broken);
}

#[test]
fn the_region_lies_whole_and_aligned_in_the_flash() {
    let region = |offset| {
        let counter = NorBootCounter::new(Small::<4>::new(3 * PAGE), offset);
        counter.map(|_| ()).map_err(|error: RegionError| error)
    };
    assert_eq!(NorBootCounter::<Small<4>>::LEN as usize, CAPACITY);
    assert_eq!(region(0), Ok(()));
    assert_eq!(region(64), Ok(()));
    assert_eq!(region(4), Err(RegionError::Misaligned));
    assert_eq!(region(128), Err(RegionError::OutOfRange));
    assert_eq!(region(u32::MAX - 63), Err(RegionError::OutOfRange));
}

#[test]
fn a_counter_at_an_offset_leaves_the_rest_alone() {
    let mut flash = Nor::<4, PAGE>::from_bytes([[7; PAGE], [0xFF; PAGE], [0xFF; PAGE], [7; PAGE]].concat());
    for boot in 1..100 {
        NorBootCounter::new(&mut flash, 64).unwrap().store(boot).unwrap();
    }
    assert!(flash.as_bytes()[..PAGE].iter().chain(&flash.as_bytes()[3 * PAGE..]).all(|byte| *byte == 7));
}

/// A boot as the device half does it: advance, read back, use.
fn boot(flash: &mut Small<4>) -> Option<u32> {
    let mut counter = counter(flash);
    let Ok(Stored::Intact(last)) = counter.load() else { return None };
    let next = last.checked_add(1)?;
    counter.store(next).ok()?;
    matches!(counter.load(), Ok(Stored::Intact(read)) if read >= next).then_some(next)
}

/// What an entry says, if it is whole.
fn whole(slot: [u8; 8]) -> Option<u32> {
    let [value, complement] = [0, 4].map(|at| u32::from_be_bytes(*slot[at..].first_chunk().unwrap()));
    (value ^ complement == u32::MAX).then_some(value)
}
