//! NOR flash in RAM for the counting firmware: what it costs to read is a copy, as where flash is mapped into memory;
//! to program and to erase costs its instructions and no time.

use core::cell::RefCell;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// The bytes of a flash, for several users after each other.
#[derive(Debug)]
pub struct Cells<const LEN: usize>(RefCell<[u8; LEN]>);

// SAFETY: this firmware has one thread and no interrupt handlers.
unsafe impl<const LEN: usize> Sync for Cells<LEN> {}

impl<const LEN: usize> Cells<LEN> {
    /// Erased.
    #[expect(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self(RefCell::new([0xFF; LEN]))
    }
}

/// A flash of `LEN` bytes in pages of `PAGE`.
#[derive(Clone, Copy, Debug)]
pub struct Nor<'c, const PAGE: usize, const LEN: usize>(pub &'c Cells<LEN>);

impl<const PAGE: usize, const LEN: usize> ErrorType for Nor<'_, PAGE, LEN> {
    type Error = NorFlashErrorKind;
}

impl<const PAGE: usize, const LEN: usize> ReadNorFlash for Nor<'_, PAGE, LEN> {
    const READ_SIZE: usize = 1;

    #[inline(never)]
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let (cells, start) = (self.0.0.borrow(), offset as usize);
        let from = cells.get(start..start + bytes.len()).ok_or(NorFlashErrorKind::OutOfBounds)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        LEN
    }
}

impl<const PAGE: usize, const LEN: usize> NorFlash for Nor<'_, PAGE, LEN> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    #[inline(never)]
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let mut cells = self.0.0.borrow_mut();
        let range = cells.get_mut(from as usize..to as usize).ok_or(NorFlashErrorKind::OutOfBounds)?;
        range.fill(0xFF);
        Ok(())
    }

    #[inline(never)]
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let (mut cells, start) = (self.0.0.borrow_mut(), offset as usize);
        let to = cells.get_mut(start..start + bytes.len()).ok_or(NorFlashErrorKind::OutOfBounds)?;
        for (cell, byte) in to.iter_mut().zip(bytes) {
            *cell &= *byte; // programming clears bits
        }
        Ok(())
    }
}
