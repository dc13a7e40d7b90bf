//! Memory-mapped NOR flash under its rules: an erase sets a page, a write clears bits of erased words. What is changed
//! lasts before a call returns: each word goes to a [`Backing`] first, and can be cut off after any word, as on a
//! chip. On a real board the backing is the flash controller, and the memory follows by itself.

use core::fmt;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// What is read and written at once, in bytes.
pub const WORD_LEN: usize = 4;
/// What is erased at once, in bytes.
pub const PAGE_LEN: usize = 4096;
/// What erased flash reads as.
const BLANK: u8 = 0xFF;

/// Where the contents last.
pub trait Backing {
    /// Why it failed.
    type Error: fmt::Debug;

    /// Reads as many bytes as there are in `bytes`, from `offset` on.
    ///
    /// # Errors
    /// It failed, or has fewer bytes.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Replaces the bytes from `offset` on. They last when this returns.
    ///
    /// # Errors
    /// It failed; some of the bytes may have been replaced.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// The flash: memory, and what it is written through to.
pub struct MappedFlash<'m, B> {
    memory: &'m mut [u8],
    backing: B,
}

/// Why the flash did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// Not in whole words or pages, or behind the end.
    Region(NorFlashErrorKind),
    /// A word that is not erased was to be written.
    NotErased,
    /// The backing failed: the memory still says what it said before.
    Backing,
    /// Memory and backing do not say the same.
    Different,
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Region(_) => "not in whole words or pages of the flash",
            Self::NotErased => "a word of the flash that is not erased was to be written",
            Self::Backing => "the file of the flash cannot be read or written",
            Self::Different => "the file of the flash is not what lies in the memory of the flash",
        })
    }
}

impl core::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Region(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<'m, B: Backing> MappedFlash<'m, B> {
    /// The flash in `memory`, if that is what the backing holds. Written through to the wrong one, a boot counter would
    /// be lost, and with it every promise.
    ///
    /// # Errors
    /// [`FlashError::Different`], or [`FlashError::Backing`].
    pub fn open(memory: &'m mut [u8], mut backing: B) -> Result<Self, FlashError> {
        let mut chunk = [0; 256];
        let mut offset = 0;
        for expected in memory.chunks(chunk.len()) {
            let chunk = chunk.get_mut(..expected.len()).ok_or(FlashError::Different)?;
            backing.read(offset, chunk).map_err(|_| FlashError::Backing)?;
            if chunk != expected {
                return Err(FlashError::Different);
            }
            offset += as_u32(expected.len());
        }
        Ok(Self { memory, backing })
    }

    /// Changes one word or less: in the backing, then in the memory.
    fn change(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let to = part(self.memory, offset, bytes.len())?;
        self.backing.write(offset, bytes).map_err(|_| FlashError::Backing)?;
        to.copy_from_slice(bytes);
        Ok(())
    }
}

impl<B> ErrorType for MappedFlash<'_, B> {
    type Error = FlashError;
}

impl<B: Backing> ReadNorFlash for MappedFlash<'_, B> {
    const READ_SIZE: usize = WORD_LEN;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check_read(self, offset, bytes.len()).map_err(FlashError::Region)?;
        bytes.copy_from_slice(part(self.memory, offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl<B: Backing> NorFlash for MappedFlash<'_, B> {
    const WRITE_SIZE: usize = WORD_LEN;
    const ERASE_SIZE: usize = PAGE_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to).map_err(FlashError::Region)?;
        // In steps, so that a power cut can come in the middle of a page.
        let step = [BLANK; 16 * WORD_LEN];
        for offset in (from..to).step_by(step.len()) {
            self.change(offset, &step)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len()).map_err(FlashError::Region)?;
        if part(self.memory, offset, bytes.len())?.iter().any(|byte| *byte != BLANK) {
            return Err(FlashError::NotErased);
        }
        let mut at = offset;
        for word in bytes.chunks(WORD_LEN) {
            self.change(at, word)?;
            at += as_u32(word.len());
        }
        Ok(())
    }
}

fn part(memory: &mut [u8], offset: u32, len: usize) -> Result<&mut [u8], FlashError> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(len);
    memory.get_mut(start..end).ok_or(FlashError::Region(NorFlashErrorKind::OutOfBounds))
}

/// The length of a few words.
fn as_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 2 * PAGE_LEN;
    /// Offsets of the second page, and of the end.
    const SECOND: u32 = 4096;
    const END: u32 = 8192;

    /// A file of bytes that takes so many writes.
    struct File<'f> {
        bytes: &'f mut Vec<u8>,
        writes: usize,
    }

    impl Backing for File<'_> {
        type Error = ();

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
            let start = offset as usize;
            bytes.copy_from_slice(self.bytes.get(start..start + bytes.len()).ok_or(())?);
            Ok(())
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
            self.writes = self.writes.checked_sub(1).ok_or(())?;
            let start = offset as usize;
            self.bytes.get_mut(start..start + bytes.len()).ok_or(())?.copy_from_slice(bytes);
            Ok(())
        }
    }

    /// Runs `test` on blank flash, and returns what lies in memory and file afterwards.
    fn run(writes: usize, test: impl FnOnce(&mut MappedFlash<'_, File<'_>>)) -> (Vec<u8>, Vec<u8>) {
        let (mut memory, mut bytes) = (vec![BLANK; LEN], vec![BLANK; LEN]);
        let file = File { bytes: &mut bytes, writes };
        test(&mut MappedFlash::open(&mut memory, file).unwrap());
        (memory, bytes)
    }

    #[test]
    fn what_is_written_is_in_memory_and_in_the_file() {
        let (memory, file) = run(usize::MAX, |flash| {
            flash.write(8, b"eightlen").unwrap();
            let mut read = [0; 8];
            flash.read(8, &mut read).unwrap();
            assert_eq!(&read, b"eightlen");
            assert_eq!(flash.capacity(), LEN);
        });
        assert_eq!(memory, file);
        assert_eq!(memory.iter().filter(|byte| **byte != BLANK).count(), 8);
    }

    #[test]
    fn a_word_is_written_once_between_erases() {
        let (memory, file) = run(usize::MAX, |flash| {
            flash.write(SECOND, &[0; 4]).unwrap();
            // Even bits that are clear already.
            assert_eq!(flash.write(SECOND, &[0; 4]), Err(FlashError::NotErased));
            flash.write(0, b"kept").unwrap();
            flash.erase(SECOND, END).unwrap();
            flash.write(SECOND, b"new!").unwrap();
        });
        assert_eq!(memory, file);
        assert_eq!((&memory[..4], &memory[PAGE_LEN..PAGE_LEN + 4]), (&b"kept"[..], &b"new!"[..]));
    }

    #[test]
    fn only_whole_words_and_pages_inside_are_taken() {
        run(usize::MAX, |flash| {
            let region = |result: Result<(), FlashError>| matches!(result, Err(FlashError::Region(_)));
            assert!(region(flash.write(2, &[0; 4])));
            assert!(region(flash.write(0, &[0; 3])));
            assert!(region(flash.write(END - 4, &[0; 8])));
            assert!(region(flash.read(1, &mut [0; 4])));
            assert!(region(flash.read(END, &mut [0; 4])));
            assert!(region(flash.erase(0, 4)));
            assert!(region(flash.erase(0, 2 * END)));
        });
    }

    #[test]
    fn a_file_that_fails_leaves_what_lasts_and_memory_alike() {
        for writes in 0..4 {
            let (memory, file) = run(writes, |flash| {
                assert_eq!(flash.write(0, &[7; 16]), Err(FlashError::Backing));
                let kind = FlashError::Backing.kind();
                assert_eq!(kind, NorFlashErrorKind::Other);
            });
            assert_eq!(memory, file);
            assert_eq!(memory.iter().filter(|byte| **byte != BLANK).count(), writes * WORD_LEN);
        }
        let (memory, file) = run(3, |flash| assert_eq!(flash.erase(0, SECOND), Err(FlashError::Backing)));
        assert_eq!(memory, file);
    }

    #[test]
    fn another_file_is_refused() {
        let mut memory = vec![BLANK; LEN];
        let mut other = memory.clone();
        other[LEN - 1] = 0;
        let file = File { bytes: &mut other, writes: 0 };
        assert_eq!(MappedFlash::open(&mut memory, file).err(), Some(FlashError::Different));
        let mut short = vec![BLANK; LEN - 1];
        let file = File { bytes: &mut short, writes: 0 };
        assert_eq!(MappedFlash::open(&mut memory, file).err(), Some(FlashError::Backing));
    }
}
