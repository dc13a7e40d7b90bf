//! The boot counter through random lives and over random contents, against slow readers. SPEC section 6.1, M-26.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use moteseal::boot_counter::{BootCounter, Stored, entry};
use moteseal_sim::nor::Tear;
use proptest::prelude::*;

use super::{CAPACITY, PAGE, Small, boot, counter, doubtful, load, place, whole};

/// Whether what stands before the entry at this place tells what it says, were it lost: the entry before it and the torn
/// ones between them; or, where it is the only one of its page, the slot of the other page that is kept for its turn.
fn is_counted(contents: &[u8], at: usize) -> bool {
    let value = |slot: &[u8]| whole(*slot.first_chunk().unwrap());
    let page = at / PAGE * PAGE;
    let before: Vec<_> = contents[page..at].chunks(8).collect();
    match before.iter().rposition(|slot| value(slot).is_some()) {
        Some(last) => value(before[last]).zip(value(&contents[at..])).is_some_and(|(last_value, newest)| {
            last_value as usize + (before.len() - last) == newest as usize
        }),
        None => contents[CAPACITY - page - 8..][..8] == [0xFF; 8],
    }
}

/// Whether a page of which nothing is whole is to be erased without more than it may have held being written first: the
/// slot that the other page keeps for that was used.
fn hides_and_has_no_slot(contents: &[u8]) -> bool {
    let hides = |page: usize| {
        let mut slots = contents[page..page + PAGE].chunks(8);
        slots.all(|slot| whole(*slot.first_chunk().unwrap()).is_none())
    };
    [0, PAGE].into_iter().any(|page| hides(page) && contents[CAPACITY - page - 8..][..8] != [0xFF; 8])
}

/// What one slot may hold after any history.
fn slot() -> impl Strategy<Value = [u8; 8]> {
    prop_oneof![
        4 => (0u32..40).prop_map(entry),
        3 => Just([0xFF; 8]),
        2 => (any::<u32>(), any::<u64>()).prop_map(|(boot, kept)| {
            (u64::from_be_bytes(entry(boot)) | kept).to_be_bytes()
        }),
        1 => any::<[u8; 8]>(),
    ]
}

fn tear() -> impl Strategy<Value = Tear> {
    prop_oneof![
        2 => any::<u64>().prop_map(Tear::Random),
        1 => any::<u64>().prop_map(Tear::Garbage),
        1 => prop_oneof![Just(0), Just(u64::MAX), any::<u64>()].prop_map(Tear::Bits),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Three hundred boots, most of them cut short: no value is ever used twice, and each is the old or the new, or above
    /// it by no more than slots are torn.
    #[test]
    fn no_boot_is_ever_had_twice(
        cuts in prop::collection::vec(prop::option::weighted(0.7, (0u64..5, tear())), 300),
    ) {
        let mut flash = Small::<4>::new(CAPACITY);
        flash.put(0, &entry(0)).unwrap();
        let (mut stored, mut used) = (0, 0);
        for cut in cuts {
            if let Some((after, tear)) = cut {
                flash.cut_power(after, tear);
            }
            if let Some(boot) = boot(&mut flash) {
                prop_assert!(boot > used, "{} after {}", boot, used);
                used = boot;
            }
            flash.power_on();
            let Stored::Intact(now) = load(&mut flash) else { panic!("lost {used}") };
            let above = doubtful::<4>(flash.as_bytes());
            prop_assert!(used <= now && now <= stored + 1 + above, "{} after {}, {}", now, used, stored);
            stored = now;
        }
    }

    /// The same, and the newest entry rots again and again. (An erase cut short may make one of them whole again, with
    /// another value. If that is higher, the counter jumps ahead; this one is left to stand.)
    #[test]
    fn no_boot_is_ever_had_twice_where_entries_rot(
        steps in prop::collection::vec(
            (prop::option::weighted(0.5, (0u64..5, tear())), prop::option::weighted(0.3, 0usize..64)),
            200,
        ),
    ) {
        let mut flash = Small::<4>::new(CAPACITY);
        flash.put(0, &entry(0)).unwrap();
        let (mut used, mut written) = (0, BTreeSet::new());
        for (cut, rot) in steps {
            let Stored::Intact(now) = load(&mut flash) else { panic!("lost {used}") };
            let is_last_resort = hides_and_has_no_slot(flash.as_bytes());
            written.insert(now.saturating_add(1));
            if let Some((after, tear)) = cut {
                flash.cut_power(after, tear);
            }
            if let Some(boot) = boot(&mut flash) {
                prop_assert!(boot > used, "{} after {}", boot, used);
                used = boot;
            }
            flash.power_on();
            let mut contents = flash.as_bytes().to_vec();
            let newest = contents.chunks(8).filter_map(|slot| whole(*slot.first_chunk().unwrap())).max().unwrap();
            let at = place(&contents, newest);
            if let Some(bit) = rot.filter(|_| is_counted(&contents, at) && written.contains(&newest)) {
                contents[at + bit / 8] ^= 0x80 >> (bit % 8);
                flash = Small::<4>::from_bytes(contents);
            }
            // All that was whole has rotted: the device knows that (M-27).
            let Stored::Intact(now) = load(&mut flash) else { return Ok(()) };
            if is_last_resort && now < used {
                return Ok(());
            }
            prop_assert!(now >= used, "{} after {}", now, used);
        }
    }

    /// Whatever the flash holds: the highest entry is the value, and storing keeps the rules of the flash.
    #[test]
    fn any_contents_are_read_as_a_slow_reader_would(slots in prop::collection::vec(slot(), CAPACITY / 8)) {
        let mut flash = Small::<4>::from_bytes(slots.concat());
        let highest = slots.iter().copied().filter_map(whole).max();
        // In the page of the highest, behind it, whatever is not whole counts as one more, up to the last that is not
        // blank; and so it does in a page in which nothing is whole.
        let blank = [0xFF; 8];
        let torn = |slots: &[[u8; 8]]| {
            let used = slots.iter().rposition(|slot| *slot != blank).map_or(&slots[..0], |last| &slots[..=last]);
            used.iter().filter(|slot| whole(**slot).is_none()).count()
        };
        let is_highest = |slot: &[u8; 8]| whole(*slot).is_some() && whole(*slot) == highest;
        let mut pages = slots.chunks(PAGE / 8).collect::<Vec<_>>();
        // Where both have the highest, the page counts that has more behind it.
        let behind = |page: &[[u8; 8]]| page.iter().rposition(is_highest).map(|at| torn(&page[at..]));
        pages.sort_by_key(|page| Reverse(behind(page)));
        let behind = pages.iter().find_map(|page| behind(page));
        let hidden = pages.iter().filter(|page| page.iter().all(|slot| whole(*slot).is_none())).map(|page| torn(page));
        let torn = u32::try_from(behind.unwrap_or(0) + hidden.sum::<usize>()).unwrap();
        let expected = match highest {
            Some(boot) => Stored::Intact(boot.saturating_add(torn)),
            None if slots.iter().all(|slot| *slot == blank) => Stored::Blank,
            None => Stored::Broken,
        };
        prop_assert_eq!(load(&mut flash), expected);
        let next = highest.map_or(1, |boot| boot.saturating_add(torn).saturating_add(1));
        prop_assert_eq!(counter(&mut flash).store(next), Ok(()));
        let above = doubtful::<4>(flash.as_bytes());
        prop_assert_eq!(load(&mut flash), Stored::Intact(next.saturating_add(above)));
        // The first cut after that harms nothing either.
        flash.cut_power(0, Tear::Bits(0x0F0F_0F0F_0F0F_0F0F));
        let after = next.saturating_add(above).saturating_add(1);
        let _ = counter(&mut flash).store(after);
        flash.power_on();
        let Stored::Intact(left) = load(&mut flash) else { panic!("lost {next}") };
        let above = doubtful::<4>(flash.as_bytes());
        prop_assert!(next <= left && left <= after.saturating_add(above), "{} after {}", left, next);
    }

    /// Values that jump ahead, as after a Floor, over many turns.
    #[test]
    fn jumps_are_kept(jumps in prop::collection::vec(1u32..1_000_000, 200)) {
        let mut flash = Small::<8>::new(CAPACITY);
        let mut value = 0;
        for jump in jumps {
            value += jump;
            prop_assert_eq!(counter(&mut flash).store(value), Ok(()));
            prop_assert_eq!(load(&mut flash), Stored::Intact(value));
        }
    }
}
