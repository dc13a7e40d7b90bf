//! What the boot counter and the key slots both need of NOR flash: the geometry that they support, erasing
//! that is read back, and one flash shared by both. SPEC sections 6.1 and 10.2.

use core::cell::RefCell;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use zeroize::Zeroizing;

use crate::error::{RegionError, StorageError};

/// The longest read or write size in bytes that is supported.
pub(crate) const MAX_WORD_LEN: usize = 32;

/// What erased flash reads as.
pub(crate) const BLANK: u8 = 0xFF;

/// In what steps a page is read: every supported read and write size divides it, and it divides every supported page.
pub(crate) const CHUNK_LEN: usize = 64;

/// One NOR flash for several users, one after the other: the boot counter and the key slots of a device whose
/// only flash is that of its microcontroller.
///
/// ```
/// # use core::cell::RefCell;
/// # use embedded_storage::nor_flash::NorFlash;
/// # use moteseal::boot_counter::NorBootCounter;
/// # use moteseal::error::RegionError;
/// # use moteseal::flash::SharedFlash;
/// # use moteseal::key_slots::NorKeySlots;
/// # fn sample<F: NorFlash>(flash: F) -> Result<(), RegionError> {
/// let flash = RefCell::new(flash);
/// let slots = NorKeySlots::new(SharedFlash::new(&flash), 0)?;
/// let counter = NorBootCounter::new(SharedFlash::new(&flash), NorKeySlots::<F>::LEN)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SharedFlash<'a, F>(&'a RefCell<F>);

impl<'a, F> SharedFlash<'a, F> {
    /// One more user of `flash`.
    pub const fn new(flash: &'a RefCell<F>) -> Self {
        Self(flash)
    }
}

impl<F> Clone for SharedFlash<'_, F> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<F: ErrorType> SharedFlash<'_, F> {
    /// Runs `operation` alone. A flash that is in use, by a driver that calls back, is an error and no panic.
    fn with<T>(&self, operation: impl FnOnce(&mut F) -> Result<T, F::Error>) -> Result<T, NorFlashErrorKind> {
        let mut flash = self.0.try_borrow_mut().map_err(|_| NorFlashErrorKind::Other)?;
        operation(&mut flash).map_err(|error| error.kind())
    }
}

impl<F> ErrorType for SharedFlash<'_, F> {
    type Error = NorFlashErrorKind;
}

impl<F: ReadNorFlash> ReadNorFlash for SharedFlash<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.with(|flash| flash.read(offset, bytes))
    }

    fn capacity(&self) -> usize {
        self.with(|flash| Ok(flash.capacity())).unwrap_or(0)
    }
}

impl<F: NorFlash> NorFlash for SharedFlash<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.with(|flash| flash.erase(from, to))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.with(|flash| flash.write(offset, bytes))
    }
}

/// The erase size; compiles for supported flash only.
///
/// ```
/// let flash = moteseal_sim::nor::Nor::<32, 64>::new(128);
/// let counter = moteseal::boot_counter::NorBootCounter::new(flash, 0);
/// ```
///
/// ```compile_fail,E0080
/// let flash = moteseal_sim::nor::Nor::<64, 64>::new(128);
/// let counter = moteseal::boot_counter::NorBootCounter::new(flash, 0);
/// ```
pub(crate) const fn page_len<F: NorFlash>() -> u32 {
    const {
        assert!(F::READ_SIZE.is_power_of_two() && F::READ_SIZE <= MAX_WORD_LEN, "read size over 32 bytes");
        assert!(F::WRITE_SIZE.is_power_of_two() && F::WRITE_SIZE <= MAX_WORD_LEN, "write size over 32 bytes");
        assert!(F::ERASE_SIZE != 0 && F::ERASE_SIZE.is_multiple_of(CHUNK_LEN), "erase size not in 64 bytes");
        // So that the few pages of a region are counted in 32 bits.
        assert!(F::ERASE_SIZE <= 1 << 28, "erase size over 256 MiB");
        as_u32(F::ERASE_SIZE)
    }
}

/// A small constant as the type of flash offsets.
#[allow(clippy::cast_possible_truncation)] // asserted, at compile time where it is used
pub(crate) const fn as_u32(len: usize) -> u32 {
    assert!(len <= 1 << 28);
    len as u32
}

pub(crate) fn check_region<F: NorFlash>(flash: &F, offset: u32, len: u32) -> Result<(), RegionError> {
    if !offset.is_multiple_of(page_len::<F>()) {
        return Err(RegionError::Misaligned);
    }
    let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
    if end.is_none_or(|end| end > flash.capacity()) {
        return Err(RegionError::OutOfRange);
    }
    Ok(())
}

/// Erases the page that starts at `start` and reads it back.
pub(crate) fn erase<F: NorFlash>(flash: &mut F, start: u32) -> Result<(), StorageError> {
    flash.erase(start, start + page_len::<F>()).map_err(|_| StorageError::Write)?;
    if is_blank(flash, start)? { Ok(()) } else { Err(StorageError::Verify) }
}

/// Whether the page that starts at `start` reads as erased.
pub(crate) fn is_blank<F: NorFlash>(flash: &mut F, start: u32) -> Result<bool, StorageError> {
    let mut chunk = Zeroizing::new([0; CHUNK_LEN]);
    for at in (start..start + page_len::<F>()).step_by(CHUNK_LEN) {
        flash.read(at, chunk.as_mut_slice()).map_err(|_| StorageError::Read)?;
        if chunk.iter().any(|byte| *byte != BLANK) {
            return Ok(false);
        }
    }
    Ok(true)
}
