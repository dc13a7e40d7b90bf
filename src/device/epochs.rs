//! The epochs of a device: which boot this is, and which Hello within it. Owns the order of reading, advancing and
//! reading back the boot counter; never sees a key. SPEC sections 6.1, 6.2 and 6.4.

use core::num::NonZeroU32;

use super::Hardware;
use crate::boot_counter::{BootCounter, Stored};
use crate::error::{BootError, CounterError, StorageError};
use crate::number::Epoch;

/// The boot counter as this boot knows it, and the count of Hellos.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Epochs {
    boot: u32,
    /// The count of the next Hello; none is left after 65,535.
    next: Option<u16>,
    /// The counter before the first Floor that moved it, until the server was told.
    moved_from: Option<NonZeroU32>,
    trusted: bool,
}

impl Epochs {
    /// Advances the counter before anything is sent (M-25).
    ///
    /// A lost counter without an RNG would repeat old Hellos, and with them old sessions (M-27).
    pub(super) fn boot(hardware: &mut impl Hardware) -> Result<Self, BootError> {
        let stored = hardware.counter().load()?;
        let trusted = matches!(stored, Stored::Intact(_));
        if !trusted && hardware.rng().is_none() {
            return Err(BootError::CounterLost);
        }
        let boot = advance(&mut hardware.counter(), stored, 1)?;
        Ok(Self { boot, next: Some(0), moved_from: None, trusted })
    }

    /// The epoch of the next Hello; it is used up from here on, whatever becomes of that Hello (M-21, M-29).
    pub(super) fn take(&mut self, counter: &mut impl BootCounter) -> Result<Epoch, CounterError> {
        if self.next.is_none() {
            self.advance(counter, self.boot.checked_add(1).ok_or(CounterError::UsedUp)?)?;
        }
        let count = self.next.unwrap_or(0);
        self.next = count.checked_add(1);
        Ok(Epoch::new(self.boot, count))
    }

    /// Gets past `floor`, which answered a Hello of epoch `used`, the highest that this boot has used (M-40). Tells
    /// whether that took a write.
    pub(super) fn pass(
        &mut self,
        counter: &mut impl BootCounter,
        floor: Epoch,
        used: Epoch,
    ) -> Result<bool, CounterError> {
        let moves = floor > used;
        if moves {
            // The first boot is 1, so there always is a value.
            let before = NonZeroU32::new(self.boot);
            self.advance(counter, floor.boot().checked_add(1).ok_or(CounterError::UsedUp)?)?;
            self.moved_from = self.moved_from.or(before);
        }
        self.trust();
        Ok(moves)
    }

    /// The boot counter of this boot.
    pub(super) const fn current(&self) -> u32 {
        self.boot
    }

    /// Whether a Hello of this boot may carry a payload (M-32).
    pub(super) const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The server has answered: the epochs from here on are new to it.
    pub(super) const fn trust(&mut self) {
        self.trusted = true;
    }

    /// What *moved* has to tell, if anything (M-41).
    pub(super) const fn moved_from(&self) -> Option<NonZeroU32> {
        self.moved_from
    }

    /// *Moved* was sent.
    pub(super) const fn told(&mut self) {
        self.moved_from = None;
    }

    fn advance(&mut self, counter: &mut impl BootCounter, target: u32) -> Result<(), CounterError> {
        let stored = counter.load()?;
        self.boot = advance(counter, stored, target)?;
        self.next = Some(0);
        Ok(())
    }
}

/// Stores `target`, or one more than what is stored where that is higher, as after a write that was reported as failed
/// and was none. Reads it back.
///
/// What was read must read the same once more: where the newest entry of a log could not be read for a moment, the one
/// before it counts, and one more than that is a boot that has been.
fn advance(counter: &mut impl BootCounter, stored: Stored, target: u32) -> Result<u32, CounterError> {
    if counter.load()? != stored {
        return Err(StorageError::Verify.into());
    }
    let boot = match stored {
        Stored::Intact(stored) => stored.checked_add(1).ok_or(CounterError::UsedUp)?.max(target),
        Stored::Blank | Stored::Broken => target,
    };
    counter.store(boot)?;
    match counter.load()? {
        // More, where a part of the storage can still not be read.
        Stored::Intact(read) if read >= boot => Ok(boot),
        _ => Err(StorageError::Verify.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(Stored);

    impl BootCounter for Counter {
        fn load(&mut self) -> Result<Stored, StorageError> {
            Ok(self.0)
        }

        fn store(&mut self, boot: u32) -> Result<(), StorageError> {
            self.0 = Stored::Intact(boot);
            Ok(())
        }
    }

    fn epochs(boot: u32, next: Option<u16>) -> (Epochs, Counter) {
        (Epochs { boot, next, moved_from: None, trusted: true }, Counter(Stored::Intact(boot)))
    }

    #[test]
    fn past_the_last_count_the_boot_counter_advances() {
        let (mut epochs, mut counter) = epochs(7, Some(0xFFFF));
        assert_eq!(epochs.take(&mut counter), Ok(Epoch::new(7, 0xFFFF)));
        assert_eq!(counter.0, Stored::Intact(7));
        assert_eq!(epochs.take(&mut counter), Ok(Epoch::new(8, 0)));
        assert_eq!(epochs.take(&mut counter), Ok(Epoch::new(8, 1)));
        assert_eq!(counter.0, Stored::Intact(8));
    }

    #[test]
    fn the_boot_counter_does_not_wrap() {
        let (mut epochs, mut counter) = epochs(u32::MAX, None);
        assert_eq!(epochs.take(&mut counter), Err(CounterError::UsedUp));
        assert_eq!(counter.0, Stored::Intact(u32::MAX));
        assert_eq!(advance(&mut counter, Stored::Intact(u32::MAX), 1), Err(CounterError::UsedUp));
    }

    #[test]
    fn a_floor_is_passed_with_a_write_only_where_it_lies_above_what_this_boot_used() {
        // (floor, whether it moves, the epoch after it); this boot is 7 and has used counts up to 4
        let table = [
            (Epoch::new(6, 0xFFFF), false, Epoch::new(7, 5)),
            (Epoch::new(7, 4), false, Epoch::new(7, 5)),
            (Epoch::new(7, 5), true, Epoch::new(8, 0)),
            (Epoch::new(9, 3), true, Epoch::new(10, 0)),
        ];
        for (floor, moves, next) in table {
            let (mut epochs, mut counter) = epochs(7, Some(5));
            assert_eq!(epochs.pass(&mut counter, floor, Epoch::new(7, 4)), Ok(moves), "{floor}");
            assert_eq!(epochs.moved_from(), moves.then_some(7).and_then(NonZeroU32::new));
            assert_eq!(counter.0, Stored::Intact(if moves { next.boot() } else { 7 }));
            assert_eq!(epochs.take(&mut counter), Ok(next));
        }
    }

    #[test]
    fn several_floors_tell_of_the_value_before_the_first() {
        let (mut epochs, mut counter) = epochs(7, Some(1));
        assert_eq!(epochs.pass(&mut counter, Epoch::new(20, 0), Epoch::new(7, 0)), Ok(true));
        assert_eq!(epochs.pass(&mut counter, Epoch::new(40, 0), Epoch::new(21, 0)), Ok(true));
        assert_eq!(epochs.moved_from(), NonZeroU32::new(7));
    }

    #[test]
    fn a_counter_that_was_misread_once_is_not_used_twice() {
        let mut counter = Counter(Stored::Intact(90));
        assert_eq!(advance(&mut counter, Stored::Intact(89), 1), Err(StorageError::Verify.into()));
        assert_eq!(advance(&mut counter, Stored::Broken, 1), Err(StorageError::Verify.into()));
        assert_eq!(counter.0, Stored::Intact(90));
    }

    #[test]
    fn what_a_failed_write_left_behind_is_passed_too() {
        let mut counter = Counter(Stored::Intact(90));
        assert_eq!(advance(&mut counter, Stored::Intact(90), 8), Ok(91));
    }
}
