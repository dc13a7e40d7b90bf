//! When the device sent which number, so that it can tell how old a command is. Owns the times; has never heard of
//! bytes. SPEC section 9.6.
//!
//! Time is cut into slots of a quarter of the age bound. Of the newest five slots the first number is kept:
//!
//! ```text
//! slot      40      41      42      43      44 (newest)
//! first     17      17      20      31      33        number 21 was sent in slot 42 or later
//! ```
//!
//! So an age is measured from the start of the slot, never too young, and too old by less than a quarter of the
//! bound. What left the slots is older than the bound.

use crate::delivery::Millis;
use crate::number::SequenceNumber;

const SLOTS: usize = 5;

/// The numbers that this session sent, by time.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Ages {
    /// When the newest slot began.
    start: Millis,
    first: [u16; SLOTS],
}

impl Ages {
    /// Nothing is sent yet.
    pub(super) const fn new(now: Millis) -> Self {
        Self { start: now, first: [0; SLOTS] }
    }

    /// `number` is sent now, for the first time.
    pub(super) fn note(&mut self, now: Millis, bound_ms: u32, number: SequenceNumber) {
        for _ in 0..SLOTS {
            if self.since(now) < slot_ms(bound_ms) {
                return;
            }
            self.start = self.start.wrapping_add(slot_ms(bound_ms));
            self.first.rotate_right(1);
            let [first, ..] = &mut self.first;
            *first = number.value();
        }
        // Whatever was sent before is out of sight.
        self.start = now;
    }

    /// How long ago `number` was sent, in milliseconds, or somewhat more. Nothing if that is longer than the bound
    /// and out of sight.
    pub(super) fn of(&self, now: Millis, bound_ms: u32, number: SequenceNumber) -> Option<Millis> {
        let mut age = self.since(now);
        for first in self.first {
            if number.value() >= first {
                return Some(age);
            }
            age = age.saturating_add(slot_ms(bound_ms));
        }
        None
    }

    /// How long the newest slot lasts. If the clock ran backwards, that is longer than any bound: nothing is too young.
    const fn since(&self, now: Millis) -> Millis {
        now.wrapping_sub(self.start)
    }
}

/// Rounded up, so that four slots are never less than the bound.
const fn slot_ms(bound_ms: u32) -> u64 {
    let quarter = bound_ms.div_ceil(4);
    if quarter == 0 { 1 } else { quarter as u64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_age_is_that_of_the_slot() {
        let number = SequenceNumber::new;
        let mut ages = Ages::new(1_000);
        for (now, sent) in [(1_010, 0), (1_020, 1), (1_150, 2), (1_420, 3)] {
            ages.note(now, 400, number(sent));
        }
        // (number, its age at 1,450): slots start at 1,000, 1,100, ...
        for (sent, age) in [(0, Some(450)), (1, Some(450)), (2, Some(350)), (3, Some(50))] {
            assert_eq!(ages.of(1_450, 400, number(sent)), age, "{sent}");
        }
        ages.note(1_500, 400, number(4));
        assert_eq!(ages.of(1_500, 400, number(1)), None);
        assert_eq!(ages.of(1_500, 400, number(2)), Some(400));
        ages.note(9_000_000_000, 400, number(5));
        assert_eq!(ages.of(9_000_000_000, 400, number(4)), None);
        assert_eq!(ages.of(9_000_000_001, 400, number(5)), Some(1));
    }

    /// No clock should, but a counter of 32 bits wraps: after it nothing looks younger than it is (M-112).
    #[test]
    fn a_clock_that_runs_backwards_makes_nothing_younger() {
        let number = SequenceNumber::new;
        for start in [1_000, 1 << 32] {
            let mut ages = Ages::new(start - 10);
            ages.note(start, 400, number(0));
            assert!(ages.of(5, 400, number(0)) > Some(1 << 32), "{start}");
            ages.note(5, 400, number(1));
            // Of the one before nothing is known any more, and of the next ones everything.
            for (now, sent, age) in [(5, 0, None), (5, 1, Some(0)), (405, 1, Some(400))] {
                assert_eq!(ages.of(now, 400, number(sent)), age, "{start} {now} {sent}");
            }
            ages.note(505, 400, number(2));
            assert_eq!((ages.of(505, 400, number(1)), ages.of(505, 400, number(2))), (None, Some(0)));
        }
    }

    proptest! {
        /// Against the list of all times: never too young, too old by less than a quarter, unknown only past the bound.
        #[test]
        fn ages_are_never_too_young(
            bound in 1u32..2_000,
            start in 0u64..5_000,
            waits in proptest::collection::vec(0u64..700, 1..60),
            after in 0u64..3_000,
        ) {
            let mut ages = Ages::new(start);
            let (mut now, mut sent) = (start, [0u64; 60]);
            for ((wait, at), number) in waits.iter().zip(&mut sent).zip(0..) {
                now += wait;
                *at = now;
                ages.note(now, bound, SequenceNumber::new(number));
            }
            now += after;
            for (at, number) in sent.iter().take(waits.len()).zip(0..) {
                let truth = now - at;
                match ages.of(now, bound, SequenceNumber::new(number)) {
                    Some(age) => prop_assert!(age >= truth && age - truth < slot_ms(bound)),
                    None => prop_assert!(truth > u64::from(bound)),
                }
            }
        }
    }
}
