//! Drivers of an imaginary chip, as small as real ones are: flash that is mapped into memory, with pages of 4,096 bytes
//! and words of 4, and a random number generator. They take no memory, as their registers stand where they stand.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;

use crate::port::{self, Register};

const FLASH_START: usize = 0x0003_0000;
const FLASH_LEN: usize = 0x0001_0000;
const PAGE_LEN: usize = 4096;

/// The flash controller.
#[derive(Clone, Copy, Debug)]
pub struct Flash;

impl ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    #[inline(never)]
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for (at, byte) in (FLASH_START + offset as usize..).zip(bytes) {
            // SAFETY: flash is mapped there, and only the controller changes it.
            *byte = unsafe { core::ptr::read_volatile(at as *const u8) };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_LEN
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE_LEN;

    #[inline(never)]
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        for page in (from..to).step_by(PAGE_LEN) {
            command(2, page, 0)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let (words, _) = bytes.as_chunks();
        for (at, word) in (offset..).step_by(4).zip(words) {
            command(1, at, u32::from_le_bytes(*word))?;
        }
        Ok(())
    }
}

fn command(key: u32, address: u32, word: u32) -> Result<(), NorFlashErrorKind> {
    port::write(Register::FlashAddress, address);
    port::write(Register::FlashWord, word);
    port::write(Register::FlashKey, key);
    loop {
        match port::read(Register::FlashStatus) {
            0 => return Ok(()),
            1 => {}
            _ => return Err(NorFlashErrorKind::Other),
        }
    }
}

/// The random number generator.
#[derive(Clone, Copy, Debug)]
pub struct Rng;

impl Entropy for Rng {
    #[inline(never)]
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            if port::read(Register::RngStatus) != 0 {
                return Err(EntropyError::Failed);
            }
            *byte = port::read(Register::RngWord).to_le_bytes()[0];
        }
        Ok(())
    }
}
