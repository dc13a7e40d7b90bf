//! The boot counter: the one number that a device must never have twice, kept through power cuts. Owns the
//! layout of its two flash pages and the order of writes and erases; never sees a key. SPEC section 6.1,
//! M-25 to M-28.
//!
//! [`NorBootCounter`] (feature `embedded-storage`) keeps it in NOR flash as a log in two erase pages that
//! take turns:
//!
//! ```text
//! page 0   | 41, !41 | 42, !42 |  torn   | 43, !43 | blank   | ...   the newest, then free slots
//! page 1   | 37, !37 | 38, !38 | 39, !39 | 40, !40 | ...             full, older, erased at the turn
//! slot     value (4, big-endian) | its complement (4) | FF up to the write size
//! ```
//!
//! # Why a power cut is always seen
//!
//! Of each bit of the value and the same bit of the complement exactly one is 0. A program operation only
//! clears bits; cut short, it leaves at least one such pair at 11. An erase only sets bits; cut short, it
//! leaves an entry either whole or with a pair at 11. So an entry whose pairs all differ is one that was
//! written, whole. (Some parts clear a page before they set it. A cut there can leave any mixture; that 32
//! pairs then differ by chance, in one entry, has a probability of 2^-32, and the counter could only jump
//! *ahead* by it.)
//!
//! The highest whole entry is the value. It is never erased: a page is erased only while the other one holds
//! the highest, so what a torn erase leaves over is older and loses. No slot is written twice, and none
//! before a used one; the first slot of a page is only written right after an erase of that page that read
//! back blank, so no erase that may have been cut short is relied upon.
//!
//! # Bits that rot
//!
//! An entry that was whole and lost a bit looks like a torn one, and so does one that cannot be read for a while. So each
//! torn entry behind the highest adds one to the value: what it said is not said again, and a write that was cut short
//! costs a value that nobody had. A page that has torn entries and no whole one may be what an erase that was cut short
//! left, or it may hold boots above the highest that can be read. So each of its torn entries adds one as well, and before
//! it is erased at its turn, more than that is written to the other page, whose last slot is kept for it.
//!
//! Not covered are two faults that meet: a page that hides what it holds while the slot that is kept in the other one was used,
//! is torn or takes nothing; and a value that moved ahead (by a Floor, or because a page could not be read for a while),
//! where its own entry is lost or hidden later: the counter goes on from the one before.
//!
//! # Wear
//!
//! One small write a boot and one erase a page of boots. With pages of 4,096 bytes and slots of 8 a page
//! lasts 511 boots an erase; at 10,000 erases a page the pair lasts 10,220,000 boots.

use crate::error::StorageError;

/// What the storage of a boot counter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub enum Stored {
    /// The highest value that was stored.
    Intact(u32),
    /// Nothing: never written, or erased since.
    Blank,
    /// Something, but no value.
    Broken,
}

/// The storage of a device's boot counter.
///
/// The device half trusts it with replay protection: implement it only on storage that keeps what [`store`]
/// was given before it returned, through any loss of power.
///
/// [`store`]: Self::store
pub trait BootCounter {
    /// Reads the counter, from the storage itself and not from a copy in memory. Where a part of what was stored cannot be
    /// read, the value may be above the highest that was stored; it must not be below.
    ///
    /// # Errors
    /// [`StorageError::Read`] if the storage could not be read at all.
    fn load(&mut self) -> Result<Stored, StorageError>;

    /// Stores a value above the one before: durable when it returns, and at a power cut at any instant either
    /// the old or the new value, or one above that was never stored. Starts afresh where nothing or nothing
    /// intact is stored.
    ///
    /// # Errors
    /// [`StorageError::Backwards`] for a value below the one stored, which then stays; any other
    /// [`StorageError`] if the storage failed, which leaves the old or the new value, or one somewhat above.
    fn store(&mut self, boot: u32) -> Result<(), StorageError>;
}

impl<T: BootCounter + ?Sized> BootCounter for &mut T {
    fn load(&mut self) -> Result<Stored, StorageError> {
        (**self).load()
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        (**self).store(boot)
    }
}

/// Length in bytes of one entry of the log, without padding.
pub const ENTRY_LEN: usize = 8;

/// The entry that says `boot`. What the factory writes at the start of the region is `entry(0)`; on flash
/// with a longer write size, FF follows.
pub const fn entry(boot: u32) -> [u8; ENTRY_LEN] {
    ((boot as u64) << 32 | !boot as u64).to_be_bytes()
}

#[cfg(feature = "embedded-storage")]
pub use nor::NorBootCounter;

#[cfg(feature = "embedded-storage")]
mod nor {
    use core::cmp::Reverse;
    use core::ops::Range;

    use embedded_storage::nor_flash::NorFlash;

    use super::{BootCounter, ENTRY_LEN, Stored, entry};
    use crate::error::{RegionError, StorageError};
    use crate::flash::{self, BLANK, CHUNK_LEN, MAX_WORD_LEN};

    /// A [`BootCounter`] in two neighbouring erase pages of NOR flash.
    ///
    /// Any [`NorFlash`] whose read and write sizes are powers of two up to 32 bytes and whose erase size is a
    /// multiple of 64; other flash is refused at compile time. Needs no [`MultiwriteNorFlash`]: each word is
    /// written once between erases, as flash with ECC wants it. Where such flash fails to *read* a torn word,
    /// that word counts as torn.
    ///
    /// Keeps nothing in memory: each call reads the two pages anew.
    ///
    /// [`MultiwriteNorFlash`]: embedded_storage::nor_flash::MultiwriteNorFlash
    #[derive(Debug)]
    pub struct NorBootCounter<F> {
        flash: F,
        offset: u32,
    }

    /// One of the two pages.
    #[derive(Clone, Copy, PartialEq)]
    enum Page {
        First,
        Second,
    }

    /// What a slot holds.
    #[derive(Clone, Copy, PartialEq)]
    enum Entry {
        Blank,
        Whole(u32),
        Torn,
    }

    /// What one page holds.
    #[derive(Clone, Copy)]
    struct Log {
        page: Page,
        highest: Option<u32>,
        /// How many slots behind the highest, or in all, hold nothing whole, up to the last that is used.
        torn: u32,
        /// The number of the first slot that has no used slot behind it.
        next: u32,
    }

    impl Log {
        /// Not one entry is whole, and not every slot is blank.
        const fn is_doubtful(&self) -> bool {
            self.highest.is_none() && self.torn != 0
        }

        /// Takes note of the next slot.
        fn take(&mut self, slot: u32, entry: Entry) {
            match entry {
                Entry::Blank => return,
                Entry::Whole(boot) if Some(boot) >= self.highest => {
                    (self.highest, self.torn) = (Some(boot), 0);
                }
                Entry::Whole(_) => self.torn += slot - self.next,
                // With the slots before it that read blank: it may be an entry that went past words that refused.
                Entry::Torn => self.torn += slot + 1 - self.next,
            }
            self.next = slot + 1;
        }
    }

    /// The highest value that may have been stored: whatever was written after the highest and is not whole may be a boot
    /// that was used.
    fn value(newest: &Log, other: &Log) -> Option<u32> {
        let doubtful = if other.is_doubtful() { other.torn } else { 0 };
        Some(newest.highest?.saturating_add(newest.torn).saturating_add(doubtful))
    }

    impl Entry {
        /// What these bytes of a slot say.
        fn of(bytes: &[u8]) -> Self {
            let [boot, complement, padding @ ..] = bytes.as_chunks().0 else { return Self::Torn };
            let (boot, complement) = (u32::from_be_bytes(*boot), u32::from_be_bytes(*complement));
            if padding.as_flattened().iter().any(|byte| *byte != BLANK) {
                Self::Torn
            } else if boot == !complement {
                Self::Whole(boot)
            } else if boot & complement == u32::MAX {
                Self::Blank
            } else {
                Self::Torn
            }
        }
    }

    /// How many slots of a page are tried: one that reads blank may still refuse, when a write to it was cut
    /// short just after it began.
    const ATTEMPTS: u32 = 3;

    impl<F: NorFlash> NorBootCounter<F> {
        /// Length in bytes of the region: two erase pages.
        pub const LEN: u32 = 2 * Self::PAGE_LEN;

        const PAGE_LEN: u32 = flash::page_len::<F>();
        const SLOT_LEN: u32 = {
            let word = if F::WRITE_SIZE > F::READ_SIZE { F::WRITE_SIZE } else { F::READ_SIZE };
            flash::as_u32(if word > ENTRY_LEN { word } else { ENTRY_LEN })
        };
        const SLOTS: u32 = Self::PAGE_LEN / Self::SLOT_LEN;

        /// The counter in the region of [`LEN`](Self::LEN) bytes at `offset`. Touches nothing yet.
        ///
        /// # Errors
        /// [`RegionError`] if `offset` is no multiple of the erase size, or the region does not fit.
        pub fn new(flash: F, offset: u32) -> Result<Self, RegionError> {
            flash::check_region(&flash, offset, Self::LEN)?;
            Ok(Self { flash, offset })
        }

        /// Gives the flash back.
        pub fn into_flash(self) -> F {
            self.flash
        }

        const fn start(&self, page: Page) -> u32 {
            match page {
                Page::First => self.offset,
                Page::Second => self.offset + Self::PAGE_LEN,
            }
        }

        /// Reads both pages, the newer one first: that with the highest value, and where both have it, that with more
        /// behind it, or with more slots left. Fails only if not one slot could be read.
        #[inline(never)] // of two callers
        fn logs(&mut self) -> Result<(Log, Log), StorageError> {
            let mut readable = false;
            let first = self.log(Page::First, &mut readable);
            let second = self.log(Page::Second, &mut readable);
            if !readable {
                return Err(StorageError::Read);
            }
            let order = |log: &Log| (log.highest, log.highest.map(|_| log.torn), Reverse(log.next));
            let is_newer = order(&second) > order(&first);
            Ok(if is_newer { (second, first) } else { (first, second) })
        }

        fn log(&mut self, page: Page, readable: &mut bool) -> Log {
            let mut log = Log { page, highest: None, torn: 0, next: 0 };
            let mut chunk = [0; CHUNK_LEN];
            for start in (0..Self::PAGE_LEN).step_by(CHUNK_LEN) {
                let whole = self.flash.read(self.start(page) + start, &mut chunk).is_ok();
                for (slot, bytes) in
                    (start / Self::SLOT_LEN..).zip(chunk.chunks_exact(Self::SLOT_LEN as usize))
                {
                    // Where a word cannot be read, the other slots beside it are.
                    let entry = if whole { Ok(Entry::of(bytes)) } else { self.read(page, slot) };
                    *readable |= entry.is_ok();
                    log.take(slot, entry.unwrap_or(Entry::Torn));
                }
            }
            log
        }

        fn read(&mut self, page: Page, slot: u32) -> Result<Entry, F::Error> {
            let mut bytes = [0; MAX_WORD_LEN];
            let bytes = slot_bytes::<F>(&mut bytes);
            self.flash.read(self.start(page) + slot * Self::SLOT_LEN, bytes)?;
            Ok(Entry::of(bytes))
        }

        /// Writes to the first of these slots that takes it.
        fn append(&mut self, page: Page, slots: Range<u32>, boot: u32) -> Result<(), StorageError> {
            let mut error = StorageError::Write;
            for slot in slots.take(ATTEMPTS as usize) {
                match self.write(page, slot, boot) {
                    Ok(()) => return Ok(()),
                    Err(failed) => error = failed,
                }
            }
            Err(error)
        }

        fn write(&mut self, page: Page, slot: u32, boot: u32) -> Result<(), StorageError> {
            let start = self.start(page) + slot * Self::SLOT_LEN;
            let written = self.flash.write(start, slot_bytes::<F>(&mut padded(boot)));
            written.map_err(|_| StorageError::Write)?;
            match self.read(page, slot) {
                Ok(Entry::Whole(value)) if value == boot => Ok(()),
                Ok(_) => Err(StorageError::Verify),
                Err(_) => Err(StorageError::Read),
            }
        }
    }

    impl<F: NorFlash> BootCounter for NorBootCounter<F> {
        fn load(&mut self) -> Result<Stored, StorageError> {
            let (newest, other) = self.logs()?;
            Ok(match value(&newest, &other) {
                Some(boot) => Stored::Intact(boot),
                None if newest.next == 0 && other.next == 0 => Stored::Blank,
                None => Stored::Broken,
            })
        }

        fn store(&mut self, boot: u32) -> Result<(), StorageError> {
            let (newest, other) = self.logs()?;
            match value(&newest, &other) {
                Some(stored) if boot < stored => return Err(StorageError::Backwards),
                Some(stored) if boot == stored && newest.highest == Some(stored) => return Ok(()),
                Some(_) if self.append(newest.page, newest.next..Self::SLOTS - 1, boot).is_ok() => {
                    return Ok(());
                }
                // The page is full, or its free slots do not take anything: the other one's turn. What that one may
                // have said is forgotten with it, so more than that is written first; where nothing can be, to refuse
                // would be to lose the device.
                Some(_) if other.is_doubtful() => {
                    let kept = newest.next.max(Self::SLOTS - 1)..Self::SLOTS;
                    self.append(newest.page, kept, boot).ok();
                }
                _ => {}
            }
            let start = self.start(other.page);
            flash::erase(&mut self.flash, start)?;
            self.append(other.page, 0..Self::SLOTS, boot)
        }
    }

    /// The entry, and FF behind it.
    fn padded(boot: u32) -> [u8; MAX_WORD_LEN] {
        let mut bytes = [BLANK; MAX_WORD_LEN];
        for (to, from) in bytes.iter_mut().zip(entry(boot)) {
            *to = from;
        }
        bytes
    }

    /// As many bytes as a slot has.
    fn slot_bytes<F: NorFlash>(bytes: &mut [u8; MAX_WORD_LEN]) -> &mut [u8] {
        let len = NorBootCounter::<F>::SLOT_LEN as usize;
        bytes.get_mut(..len).unwrap_or_default()
    }
}
