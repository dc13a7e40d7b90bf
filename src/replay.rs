//! What has been seen: windows over sequence numbers and over epochs, in two steps. A check hands out a slot,
//! and only the slot, once the tag is good, commits: a forgery cannot move a window. SPEC sections 4.11, 7.2 and 7.4.
//!
//! ```text
//! seen   ...0 1 1 0 1 1|   bit 0 is the highest number, bit i the number i below it
//! ```
//!
//! A slot is used up by its commit, and there is one at a time:
//!
//! ```
//! # use moteseal::{error::NotFresh, number::SequenceNumber, replay::ReplayWindow};
//! # fn main() -> Result<(), NotFresh> {
//! let mut window = ReplayWindow::default();
//! window.check(SequenceNumber::new(7))?; // the tag was wrong: dropped
//! window.check(SequenceNumber::new(7))?.commit(true);
//! assert_eq!(window.check(SequenceNumber::new(7)).err(), Some(NotFresh::Repeat));
//! # Ok(())
//! # }
//! ```
//!
//! Two datagrams of one number that are checked before either is committed would both be delivered. They cannot be:
//!
//! ```compile_fail,E0499
//! # use moteseal::{error::NotFresh, number::SequenceNumber, replay::ReplayWindow};
//! # fn main() -> Result<(), NotFresh> {
//! let mut window = ReplayWindow::default();
//! let first = window.check(SequenceNumber::new(7))?;
//! let second = window.check(SequenceNumber::new(7))?;
//! first.commit(true);
//! second.commit(true);
//! # Ok(())
//! # }
//! ```

use crate::error::NotFresh;
use crate::number::{Epoch, SequenceNumber};
use crate::wire::AckBlock;

/// How many sequence numbers the replay window of a session covers.
pub const WINDOW_WIDTH: u16 = 64;
/// How many epochs the window of a device's Hellos covers, the newest counted.
pub const EPOCH_WINDOW_WIDTH: u64 = 32;

/// The verified sequence numbers of one direction, 64 wide. Seen and acknowledgeable are two bits: a number
/// whose content was malformed is never delivered again, and never acknowledged (M-16).
#[derive(Clone, Debug, Default)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct ReplayWindow {
    seen: u64,
    acknowledgeable: u64,
    highest: u16,
}

/// A number that the window has not seen. Dropping it changes nothing.
#[derive(Debug)]
pub struct Slot<'w> {
    window: &'w mut ReplayWindow,
    number: SequenceNumber,
}

impl ReplayWindow {
    /// The highest verified number.
    pub const fn highest(&self) -> Option<SequenceNumber> {
        // The highest number is always seen, so that an empty window is an empty bitmap.
        if self.seen == 0 { None } else { Some(SequenceNumber::new(self.highest)) }
    }

    /// Asks whether `number` may be delivered if its tag is good.
    ///
    /// # Errors
    /// [`NotFresh::Repeat`] if it has been seen, [`NotFresh::TooOld`] if it lies left of the window.
    pub fn check(&mut self, number: SequenceNumber) -> Result<Slot<'_>, NotFresh> {
        match self.below(number) {
            // M-67: what was seen there is not known any more.
            Some(distance) if distance >= WINDOW_WIDTH => Err(NotFresh::TooOld),
            Some(distance) if self.seen >> distance & 1 == 1 => Err(NotFresh::Repeat),
            _ => Ok(Slot { window: self, number }),
        }
    }

    /// A number that was committed as not acknowledgeable has turned out well after all.
    pub fn acknowledge(&mut self, number: SequenceNumber) {
        if let Some(distance) = self.below(number) {
            let bit = 1u64.checked_shl(u32::from(distance)).unwrap_or(0);
            self.acknowledgeable |= bit & self.seen;
        }
    }

    /// Whether `number` was seen and its content was well formed.
    #[inline(never)] // shifts of 64 bits are long on a device
    pub const fn is_acknowledgeable(&self, number: SequenceNumber) -> bool {
        match self.below(number) {
            Some(distance) if distance < WINDOW_WIDTH => self.acknowledgeable >> distance & 1 == 1,
            _ => false,
        }
    }

    /// The facts to send when `answering` that number, or unasked: the highest acknowledgeable number, or the
    /// one answered where that is more than eight behind (M-15). A repeat is answered with itself.
    pub fn ack_block(&self, answering: Option<Answering>) -> Option<AckBlock> {
        let newest = self.below_highest(self.acknowledgeable.trailing_zeros())?;
        let number = match answering {
            Some(Answering::Repeat(number)) if self.is_acknowledgeable(number) => number,
            Some(Answering::New(number)) if newest.value().saturating_sub(number.value()) > 8 => number,
            _ => newest,
        };
        // Below 0 no bit is ever set.
        let below = self.acknowledgeable.checked_shr(u32::from(self.below(number)?) + 1).unwrap_or(0);
        let [.., before] = below.to_be_bytes();
        Some(AckBlock { number, before })
    }

    /// How far `number` lies below the highest; nothing if it lies above, or if nothing was seen.
    const fn below(&self, number: SequenceNumber) -> Option<u16> {
        if self.seen == 0 { None } else { self.highest.checked_sub(number.value()) }
    }

    fn advance_to(&mut self, number: SequenceNumber) {
        let ahead = self.highest().map_or(u64::BITS, |highest| u32::from(number.value() - highest.value()));
        self.seen = self.seen.checked_shl(ahead).unwrap_or(0);
        self.acknowledgeable = self.acknowledgeable.checked_shl(ahead).unwrap_or(0);
        self.highest = number.value();
    }

    fn below_highest(&self, distance: u32) -> Option<SequenceNumber> {
        if self.acknowledgeable == 0 {
            return None;
        }
        SequenceNumber::new(self.highest).before(u16::try_from(distance).ok()?)
    }
}

/// The Data that an acknowledgement block answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub enum Answering {
    /// It was verified for the first time.
    New(SequenceNumber),
    /// It had been verified before.
    Repeat(SequenceNumber),
}

impl Slot<'_> {
    /// The number was verified. It can be acknowledged from now on if its content was well formed.
    pub fn commit(self, acknowledgeable: bool) {
        let Self { window, number } = self;
        let distance = window.below(number).unwrap_or_else(|| {
            window.advance_to(number);
            0
        });
        // `check` let no distance through that is not below 64.
        let bit = 1u64.checked_shl(u32::from(distance)).unwrap_or(0);
        window.seen |= bit;
        if acknowledgeable {
            window.acknowledgeable |= bit;
        }
    }
}

/// What acknowledgement blocks have told of an own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet.
    Nothing,
    /// It is acknowledged.
    Acknowledged,
    /// It lies left of the peer's window, so that no copy of it is accepted any more.
    OutOfReach,
}

/// Which of the own numbers the peer has acknowledged: exact for the highest and the 63 below it.
#[derive(Clone, Debug, Default)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Acknowledged {
    bits: u64,
    highest: u16,
}

impl Acknowledged {
    /// The highest acknowledged number.
    pub const fn highest(&self) -> Option<SequenceNumber> {
        if self.bits == 0 { None } else { Some(SequenceNumber::new(self.highest)) }
    }

    /// Unites a block with what is known. Blocks are facts: none takes one back (M-17).
    pub fn unite(&mut self, block: AckBlock) {
        let facts = u64::from(block.before) << 1 | 1;
        let number = block.number.value();
        match self.highest.checked_sub(number) {
            Some(distance) if self.bits != 0 => self.bits |= facts.checked_shl(distance.into()).unwrap_or(0),
            _ => {
                let ahead = u32::from(number.wrapping_sub(self.highest));
                self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | facts;
                self.highest = number;
            }
        }
    }

    /// Whether `number` is known to be acknowledged.
    pub const fn contains(&self, number: SequenceNumber) -> bool {
        matches!(self.told(number), Told::Acknowledged)
    }

    /// Whether `number` is known not to be acknowledged. Left of the 64 that are remembered nothing is known,
    /// and the answer is no.
    pub const fn is_missing(&self, number: SequenceNumber) -> bool {
        matches!(self.told(number), Told::Nothing)
    }

    /// What the blocks have told of `number`.
    pub(crate) const fn told(&self, number: SequenceNumber) -> Told {
        match self.highest.checked_sub(number.value()) {
            Some(distance) if self.bits != 0 && distance >= WINDOW_WIDTH => Told::OutOfReach,
            Some(distance) if self.bits != 0 && self.bits >> distance & 1 == 1 => Told::Acknowledged,
            _ => Told::Nothing,
        }
    }
}

/// The newest accepted epoch of a device and which of the 32 up to it have been accepted (M-53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct EpochWindow {
    newest: Epoch,
    /// Bit 0 is the newest, bit i the epoch i below it.
    seen: u32,
}

/// How an epoch stands to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Above every epoch accepted so far.
    Newest,
    /// Inside the window and not accepted yet.
    Late,
    /// Accepted already, or left of the window.
    Stale,
}

impl EpochWindow {
    /// The window of a device that starts at a known zero: only epochs from 1 on are fresh.
    pub const fn new() -> Self {
        Self::raised(Epoch::new(0, 0))
    }

    /// The window in which everything up to `floor` counts as accepted.
    pub const fn raised(floor: Epoch) -> Self {
        Self { newest: floor, seen: u32::MAX }
    }

    /// A window as it was stored.
    pub const fn from_parts(newest: Epoch, seen: u32) -> Self {
        Self { newest, seen }
    }

    /// The newest accepted epoch.
    pub const fn newest(&self) -> Epoch {
        self.newest
    }

    /// The bitmap to store.
    pub const fn seen(&self) -> u32 {
        self.seen
    }

    /// How `epoch` stands to what has been accepted.
    pub const fn check(&self, epoch: Epoch) -> Freshness {
        match self.newest.value().checked_sub(epoch.value()) {
            None => Freshness::Newest,
            Some(below) if below < EPOCH_WINDOW_WIDTH && self.seen >> below & 1 == 0 => Freshness::Late,
            Some(_) => Freshness::Stale,
        }
    }

    /// Whether something was accepted in `other` that is fresh here.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        self.newest < other.newest || self.newest == other.newest && other.seen & !self.seen != 0
    }

    /// The window after `epoch` was accepted.
    #[must_use]
    pub fn with(&self, epoch: Epoch) -> Self {
        let ahead = epoch.value().saturating_sub(self.newest.value());
        let below = self.newest.value().saturating_sub(epoch.value());
        let shift =
            |bits: u32, by: u64| u32::try_from(by).ok().and_then(|by| bits.checked_shl(by)).unwrap_or(0);
        Self { newest: self.newest.max(epoch), seen: shift(self.seen, ahead) | shift(1, below) }
    }
}

impl Default for EpochWindow {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn number(value: u16) -> SequenceNumber {
        SequenceNumber::new(value)
    }

    /// A window after these numbers were verified.
    fn window(numbers: &[u16]) -> ReplayWindow {
        let mut window = ReplayWindow::default();
        for value in numbers {
            window.check(number(*value)).unwrap().commit(true);
        }
        window
    }

    #[test]
    fn the_window_tells_fresh_from_repeat_from_too_old() {
        // (verified so far, asked, verdict)
        let table: [(&[u16], u16, Result<(), NotFresh>); 10] = [
            (&[], 0, Ok(())),
            (&[], 0xFFFF, Ok(())),
            (&[0], 0, Err(NotFresh::Repeat)),
            (&[5], 4, Ok(())),
            (&[64], 1, Ok(())),
            (&[64], 0, Err(NotFresh::TooOld)),
            (&[1, 64], 1, Err(NotFresh::Repeat)),
            (&[0, 63], 0, Err(NotFresh::Repeat)),
            (&[0, 0xFFFF], 0xFFC0, Ok(())),
            (&[0, 0xFFFF], 0xFFBF, Err(NotFresh::TooOld)),
        ];
        for (seen, asked, verdict) in table {
            assert_eq!(window(seen).check(number(asked)).map(|_| ()), verdict, "{seen:?} {asked}");
        }
    }

    #[test]
    fn a_dropped_slot_changes_nothing() {
        let mut window = window(&[7]);
        let _ = window.check(number(60_000)).unwrap();
        assert_eq!(window.highest(), Some(number(7)));
        assert!(window.check(number(8)).is_ok());
    }

    #[test]
    fn what_was_malformed_is_seen_and_never_acknowledged() {
        let mut window = window(&[3]);
        window.check(number(4)).unwrap().commit(false);
        assert_eq!(window.check(number(4)).map(|_| ()), Err(NotFresh::Repeat));
        assert_eq!(window.ack_block(None), Some(AckBlock { number: number(3), before: 0 }));
        assert_eq!(window.ack_block(Some(Answering::Repeat(number(4)))).unwrap().number, number(3));
        // Nor by a *rotate* after it that turns out well.
        window.check(number(5)).unwrap().commit(false);
        window.acknowledge(number(5));
        assert_eq!(window.ack_block(None), Some(AckBlock { number: number(5), before: 0b10 }));
    }

    #[test]
    fn a_block_names_the_highest_or_the_one_answered() {
        let window = window(&[10, 11, 13, 20]);
        let block = |answering| window.ack_block(answering).map(|b| (b.number.value(), b.before));
        assert_eq!(block(None), Some((20, 0b0100_0000)));
        assert_eq!(block(Some(Answering::New(number(13)))), Some((20, 0b0100_0000)));
        assert_eq!(block(Some(Answering::New(number(11)))), Some((11, 0b0000_0001)));
        assert_eq!(block(Some(Answering::Repeat(number(13)))), Some((13, 0b0000_0110)));
        assert_eq!(ReplayWindow::default().ack_block(None), None);
        // Eight behind the highest is the last that its bitmap still says.
        let window = self::window(&[11, 12, 20]);
        let block = |asked| {
            window.ack_block(Some(Answering::New(number(asked)))).map(|b| (b.number.value(), b.before))
        };
        assert_eq!((block(12), block(11)), (Some((20, 0b1000_0000)), Some((11, 0))));
    }

    #[test]
    fn epochs_are_newest_late_or_stale() {
        let window = EpochWindow::new().with(Epoch::new(1, 0)).with(Epoch::new(1, 3));
        for (boot, count, freshness) in [
            (1, 4, Freshness::Newest),
            (2, 0, Freshness::Newest),
            (1, 3, Freshness::Stale),
            (1, 2, Freshness::Late),
            (1, 0, Freshness::Stale),
            (0, 0xFFFF, Freshness::Late), // nothing but 32 below is remembered, and nothing that was not seen
            (0, 0xFF00, Freshness::Stale),
        ] {
            assert_eq!(window.check(Epoch::new(boot, count)), freshness, "{boot}.{count}");
        }
        assert_eq!(
            window.with(Epoch::new(1, 3)).with(Epoch::new(1, 0)),
            window,
            "what was accepted stays so"
        );
        let raised = EpochWindow::raised(Epoch::new(9, 0xFFFF));
        assert_eq!(raised.check(Epoch::new(9, 0xFFF0)), Freshness::Stale);
        assert_eq!(raised.check(Epoch::new(10, 0)), Freshness::Newest);
        assert_eq!(EpochWindow::new().check(Epoch::new(0, 0)), Freshness::Stale);
    }

    #[test]
    fn m_128_what_the_peer_can_no_longer_accept_is_out_of_reach() {
        let block = |value: u16, before| AckBlock { number: number(value), before };
        // (blocks so far, asked, told)
        let table: [(&[AckBlock], u16, Told); 12] = [
            (&[], 0, Told::Nothing),
            (&[], 0xFFFF, Told::Nothing),
            (&[block(0, 0)], 0, Told::Acknowledged),
            (&[block(0, 0)], 1, Told::Nothing),
            (&[block(63, 0)], 0, Told::Nothing),
            (&[block(64, 0)], 0, Told::OutOfReach),
            (&[block(64, 0xFF)], 1, Told::Nothing),
            (&[block(0, 0), block(63, 0)], 0, Told::Acknowledged),
            (&[block(64, 0), block(0, 0)], 0, Told::OutOfReach), // too late
            (&[block(8, 0x80), block(63, 0), block(5, 0)], 0, Told::Acknowledged),
            (&[block(0xFFFF, 0)], 0xFFC0, Told::Nothing),
            (&[block(0xFFFF, 0)], 0xFFBF, Told::OutOfReach),
        ];
        for (blocks, asked, told) in table {
            let mut acknowledged = Acknowledged::default();
            for block in blocks {
                acknowledged.unite(*block);
            }
            assert_eq!(acknowledged.told(number(asked)), told, "{blocks:?} {asked}");
        }
    }

    proptest! {
        /// M-128: whatever blocks are said, lost, repeated and overtaken, a number is out of reach only where the window
        /// that they come from refuses it, and acknowledged only where it has seen it.
        #[test]
        fn what_is_told_is_true(
            numbers in proptest::collection::vec((0u16..400, any::<bool>()), 0..100),
            said in proptest::collection::vec(any::<proptest::sample::Index>(), 0..100),
        ) {
            let (mut window, mut blocks) = (ReplayWindow::default(), Vec::new());
            let (mut seen, mut acknowledged) = (BTreeSet::new(), Acknowledged::default());
            for (value, well_formed) in numbers {
                if let Ok(slot) = window.check(number(value)) {
                    slot.commit(well_formed);
                    seen.insert(value);
                    // What is malformed is not answered.
                    let answering = well_formed.then_some(Answering::New(number(value)));
                    blocks.extend(window.ack_block(answering));
                }
                blocks.extend(window.ack_block(Some(Answering::Repeat(number(value)))));
            }
            for index in said.iter().filter(|_| !blocks.is_empty()) {
                acknowledged.unite(*index.get(&blocks));
                for value in 0..400 {
                    match acknowledged.told(number(value)) {
                        Told::Nothing => {}
                        Told::Acknowledged => prop_assert!(seen.contains(&value)),
                        Told::OutOfReach => {
                            prop_assert_eq!(window.check(number(value)).err(), Some(NotFresh::TooOld));
                        }
                    }
                }
            }
        }

        #[test]
        fn the_window_agrees_with_a_set_of_numbers(numbers in proptest::collection::vec((0u16..400, any::<bool>()), 0..200)) {
            let (mut window, mut seen, mut good) = (ReplayWindow::default(), BTreeSet::new(), BTreeSet::new());
            for (value, well_formed) in numbers {
                let slow = match seen.last() {
                    Some(highest) if value + WINDOW_WIDTH <= *highest => Err(NotFresh::TooOld),
                    _ if seen.contains(&value) => Err(NotFresh::Repeat),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(number(value)).map(|_| ()), slow);
                if let Ok(slot) = window.check(number(value)) {
                    slot.commit(well_formed);
                    seen.insert(value);
                    if well_formed {
                        good.insert(value);
                    }
                }
                let highest = *seen.last().unwrap();
                good.retain(|n| *n + WINDOW_WIDTH > highest);
                prop_assert_eq!(window.highest(), Some(number(highest)));
                let block = window.ack_block(None).map(|b| b.numbers().collect::<Vec<_>>());
                let slow = good.last().map(|last| {
                    good.iter().rev().filter(|n| **n + 8 >= *last).map(|n| number(*n)).collect::<Vec<_>>()
                });
                prop_assert_eq!(block, slow);
            }
        }

        #[test]
        fn acknowledgements_agree_with_a_set_of_numbers(blocks in proptest::collection::vec((0u16..300, any::<u8>()), 1..60)) {
            let (mut acknowledged, mut slow) = (Acknowledged::default(), BTreeSet::new());
            for (value, before) in blocks {
                let [high, low] = value.to_be_bytes();
                let Some(block) = AckBlock::decode([high, low, before]) else { continue };
                acknowledged.unite(block);
                slow.extend(block.numbers().map(SequenceNumber::value));
                let highest = *slow.last().unwrap();
                prop_assert_eq!(acknowledged.highest(), Some(number(highest)));
                for value in 0..320 {
                    let remembered = value + WINDOW_WIDTH > highest;
                    prop_assert_eq!(acknowledged.is_missing(number(value)), remembered && !slow.contains(&value), "{}", value);
                    prop_assert_eq!(acknowledged.contains(number(value)), remembered && slow.contains(&value), "{}", value);
                }
            }
        }

        #[test]
        fn the_epoch_window_agrees_with_a_set(epochs in proptest::collection::vec(0xFFE0u64..0x1_0060, 0..100)) {
            let epoch = |value: u64| Epoch::new(u32::try_from(value >> 16).unwrap(), u16::try_from(value & 0xFFFF).unwrap());
            let (mut window, mut seen) = (EpochWindow::raised(epoch(0xFFE0)), BTreeSet::from([0xFFE0]));
            for value in epochs {
                let newest = *seen.last().unwrap();
                let slow = if value > newest { Freshness::Newest }
                    else if value + EPOCH_WINDOW_WIDTH > newest && !seen.contains(&value) && value > 0xFFE0 { Freshness::Late }
                    else { Freshness::Stale };
                prop_assert_eq!(window.check(epoch(value)), slow);
                if slow != Freshness::Stale {
                    window = window.with(epoch(value));
                    seen.insert(value);
                }
            }
        }
    }
}
