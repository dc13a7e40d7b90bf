//! Flash of which nothing is in RAM: memory of the machine's that QEMU fills with an image and that is never searched.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

const START: usize = 0x0010_0000;
const PAGE: usize = 1024;
/// Three pages of keys and two of the boot counter.
const LEN: usize = 5 * PAGE;

#[derive(Clone, Copy, Debug)]
pub struct Flash;

impl Flash {
    fn cell(offset: usize) -> *mut u8 {
        assert!(offset < LEN);
        (START + offset) as *mut u8
    }
}

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    #[inline(never)]
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for (at, byte) in (offset as usize..).zip(bytes) {
            // SAFETY: memory that nothing else uses lies there.
            *byte = unsafe { Self::cell(at).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        LEN
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    #[inline(never)]
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        for at in from as usize..to as usize {
            // SAFETY: as above.
            unsafe { Self::cell(at).write_volatile(0xFF) };
        }
        Ok(())
    }

    #[inline(never)]
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        for (at, byte) in (offset as usize..).zip(bytes) {
            let cell = Self::cell(at);
            // SAFETY: as above; programming clears bits.
            unsafe { cell.write_volatile(cell.read_volatile() & byte) };
        }
        Ok(())
    }
}
