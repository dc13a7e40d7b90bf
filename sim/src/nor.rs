//! NOR flash: erased to ones, programmed to zeros word by word, and cut short by a loss of power.
//!
//! * Programming clears bits, erasing a page sets them all.
//! * A word is programmed once between erases, as flash with ECC demands. Breaking this rule, or those of
//!   alignment and range, is a defect of the caller and **panics**, so that no test can pass over it.
//! * A loss of power is planned with [`Nor::cut_power`]: it strikes in one word or one erase, which is then
//!   done in part. From there on everything fails until [`Nor::power_on`].
//! * Flash that is worn out is had with [`Nor::set_fault`].
//!
//! ```
//! use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
//! use moteseal_sim::nor::{Nor, Tear};
//!
//! let mut flash = Nor::<4, 256>::new(512);
//! flash.cut_power(1, Tear::Bits(0xF0 << 56)); // in the second word from now
//! assert!(flash.write(0, &[0; 8]).is_err());
//! flash.power_on();
//! let mut bytes = [0; 12];
//! flash.read(0, &mut bytes).unwrap();
//! assert_eq!(bytes, [0, 0, 0, 0, 0x0F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::Path;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use zeroize::Zeroizing;

use crate::random::SplitMix;

/// How far an operation got when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Exactly the bits of this mask were changed as far as they had to be, the mask standing for 8 bytes
    /// (big-endian) and again for each 8 after: 0 for an operation that had not begun, `u64::MAX` for one
    /// that was complete.
    Bits(u64),
    /// Some of the bits that had to change were changed: which and how many, the seed says.
    Random(u64),
    /// The word or the page holds anything, which is all that `embedded-storage` promises.
    Garbage(u64),
}

/// What flash does that is worn out, write-protected or badly wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reading is an error.
    ReadFails,
    /// Programming is an error, and changes nothing.
    WriteFails,
    /// Programming changes nothing, and says that it did.
    WriteIgnored,
    /// Erasing is an error, and changes nothing.
    EraseFails,
    /// Erasing changes nothing, and says that it did.
    EraseIgnored,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NorError {
    /// There is no power, or it went during this operation.
    PowerOff,
    /// A [`Fault`] that was set.
    Fault,
    /// The file that keeps the contents could not be written.
    File,
}

impl NorFlashError for NorError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// What was done to a page, or to all of them: calls, whole or torn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Calls of `write` that began in this page.
    pub writes: u64,
    /// Erases of this page.
    pub erases: u64,
}

/// Simulated NOR flash with words of `WORD` bytes and erase pages of `PAGE` bytes.
#[derive(Debug)]
pub struct Nor<const WORD: usize, const PAGE: usize> {
    bytes: Zeroizing<Vec<u8>>,
    wear: Vec<Wear>,
    faults: Vec<(Range<usize>, Fault)>,
    operations: u64,
    cut: Option<(u64, Tear)>,
    power: bool,
    file: Option<File>,
}

impl<const WORD: usize, const PAGE: usize> Nor<WORD, PAGE> {
    /// Erased flash of `capacity` bytes.
    ///
    /// # Panics
    /// If `capacity` is no multiple of the page.
    pub fn new(capacity: usize) -> Self {
        Self::from_bytes(vec![0xFF; capacity])
    }

    /// Flash that holds these bytes.
    ///
    /// # Panics
    /// If their number is no multiple of the page.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        assert!(
            bytes.len().is_multiple_of(PAGE) && PAGE.is_multiple_of(WORD),
            "no whole pages of whole words"
        );
        let wear = vec![Wear::default(); bytes.len() / PAGE];
        let bytes = Zeroizing::new(bytes);
        Self { bytes, wear, faults: Vec::new(), operations: 0, cut: None, power: true, file: None }
    }

    /// Flash of `capacity` bytes whose contents are kept in a file: plain bytes, mode 0600, durable when an
    /// operation returns. Made, erased, if it is not there.
    ///
    /// # Errors
    /// Any [`io::Error`]; [`io::ErrorKind::InvalidData`] if the file has another size and so is not this
    /// flash. The file is then left as it was.
    ///
    /// # Panics
    /// If `capacity` is no multiple of the page.
    pub fn open(path: &Path, capacity: usize) -> io::Result<Self> {
        if !path.try_exists()? {
            create(path, capacity)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        if len != capacity as u64 {
            let path = path.display();
            let text =
                format!("{path}: has {len} bytes, the flash of a device {capacity}; this is another file");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = vec![0; capacity];
        file.read_exact(&mut bytes)?;
        Ok(Self { file: Some(file), ..Self::from_bytes(bytes) })
    }

    /// Plans a loss of power in the operation number `after` from now, 0 being the next. An operation is one
    /// word programmed or one page erased. Replaces an earlier plan.
    pub const fn cut_power(&mut self, after: u64, tear: Tear) {
        self.cut = Some((self.operations + after, tear));
    }

    /// The power is back; a plan that has not struck is dropped.
    pub const fn power_on(&mut self) {
        self.power = true;
        self.cut = None;
    }

    /// Whether there is power.
    pub const fn has_power(&self) -> bool {
        self.power
    }

    /// Words programmed and pages erased so far, the torn ones and those that a fault hit included.
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// What was done to page number `page`.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn wear(&self, page: usize) -> Wear {
        self.wear[page]
    }

    /// What was done to all pages together.
    pub fn total_wear(&self) -> Wear {
        let add = |a: Wear, b: &Wear| Wear { writes: a.writes + b.writes, erases: a.erases + b.erases };
        self.wear.iter().fold(Wear::default(), add)
    }

    /// From now on these bytes have this fault; an operation that touches one of them shows it.
    pub fn set_fault(&mut self, bytes: Range<usize>, fault: Fault) {
        self.faults.push((bytes, fault));
    }

    /// There are no faults any more.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// All that the flash holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts bytes where they are wanted, bound by no rule: as the factory does, somebody who rolls the flash
    /// back, or a defect. Counts as no operation.
    ///
    /// # Errors
    /// [`NorError::File`].
    ///
    /// # Panics
    /// If they reach past the end.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) -> Result<(), NorError> {
        let range = offset..offset + bytes.len();
        self.bytes[range.clone()].copy_from_slice(bytes);
        self.persist(range)
    }

    fn has_fault(&self, bytes: &Range<usize>, fault: Fault) -> bool {
        self.faults.iter().any(|(r, f)| *f == fault && r.start < bytes.end && bytes.start < r.end)
    }

    /// One operation on the bytes in `range`, which are to become `wanted`.
    fn operate(
        &mut self,
        range: Range<usize>,
        wanted: &[u8],
        [fails, ignored]: [Fault; 2],
    ) -> Result<(), NorError> {
        if !self.power {
            return Err(NorError::PowerOff);
        }
        let cut = self.cut.filter(|(at, _)| *at == self.operations);
        self.operations += 1;
        self.power = cut.is_none();
        if self.has_fault(&range, fails) {
            return Err(if self.power { NorError::Fault } else { NorError::PowerOff });
        }
        if !self.has_fault(&range, ignored) {
            let bytes = &mut self.bytes[range];
            match cut {
                Some((_, tear)) => tear.apply(bytes, wanted),
                None => bytes.copy_from_slice(wanted),
            }
        }
        if self.power { Ok(()) } else { Err(NorError::PowerOff) }
    }

    fn persist(&mut self, range: Range<usize>) -> Result<(), NorError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.seek(SeekFrom::Start(range.start as u64))
            .and_then(|_| file.write_all(&self.bytes[range]))
            .and_then(|()| file.sync_data())
            .map_err(|_| NorError::File)
    }
}

impl Tear {
    /// Brings `bytes` part of the way to `wanted`.
    fn apply(self, bytes: &mut [u8], wanted: &[u8]) {
        let mut seeded = match self {
            Self::Bits(_) => SplitMix::new(0),
            Self::Random(seed) | Self::Garbage(seed) => SplitMix::new(seed),
        };
        let density = seeded.byte();
        for (at, (byte, wanted)) in bytes.iter_mut().zip(wanted).enumerate() {
            let changed = match self {
                Self::Bits(mask) => mask.to_be_bytes()[at % 8],
                Self::Random(_) => seeded.bits(density),
                Self::Garbage(_) => {
                    *byte = seeded.byte();
                    continue;
                }
            };
            *byte = *byte & !changed | wanted & changed;
        }
    }
}

impl<const WORD: usize, const PAGE: usize> ErrorType for Nor<WORD, PAGE> {
    type Error = NorError;
}

impl<const WORD: usize, const PAGE: usize> ReadNorFlash for Nor<WORD, PAGE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorError> {
        rule(check_read(self, offset, bytes.len()));
        if !self.power {
            return Err(NorError::PowerOff);
        }
        let range = offset as usize..offset as usize + bytes.len();
        if self.has_fault(&range, Fault::ReadFails) {
            return Err(NorError::Fault);
        }
        bytes.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WORD: usize, const PAGE: usize> NorFlash for Nor<WORD, PAGE> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorError> {
        rule(check_erase(self, from, to));
        let whole = from as usize..to as usize;
        let erased = whole.clone().step_by(PAGE).try_for_each(|start| {
            if self.power {
                self.wear[start / PAGE].erases += 1;
            }
            self.operate(start..start + PAGE, &[0xFF; PAGE], [Fault::EraseFails, Fault::EraseIgnored])
        });
        self.persist(whole).and(erased)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorError> {
        rule(check_write(self, offset, bytes.len()));
        let offset = offset as usize;
        let whole = offset..offset + bytes.len();
        if self.power && !bytes.is_empty() {
            self.wear[offset / PAGE].writes += 1;
        }
        let starts = whole.clone().step_by(WORD);
        let written = starts.zip(bytes.chunks(WORD)).try_for_each(|(start, word)| {
            let range = start..start + WORD;
            let erased = self.bytes[range.clone()].iter().all(|byte| *byte == 0xFF);
            assert!(
                erased || !self.power,
                "rule of NOR flash broken: the word at {start} was not erased before this write"
            );
            self.operate(range, word, [Fault::WriteFails, Fault::WriteIgnored])
        });
        self.persist(whole).and(written)
    }
}

fn rule(checked: Result<(), NorFlashErrorKind>) {
    if let Err(broken) = checked {
        panic!("rule of NOR flash broken: {broken}");
    }
}

/// Makes the file of erased flash: whole, or not at all.
fn create(path: &Path, capacity: usize) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    // What an earlier attempt left. The new file is always ours, so that its mode is too.
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&vec![0xFF; capacity])?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    #[cfg(unix)]
    if let Some(directory) = path.parent() {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Nor<4, 64>;

    fn read(flash: &mut Small, offset: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        flash.read(offset, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn words_are_programmed_and_pages_erased() {
        let mut flash = Small::new(192);
        flash.write(64, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        flash.write(128, &[9; 4]).unwrap();
        assert_eq!(read(&mut flash, 64), [1, 2, 3, 4, 5, 6, 7, 8]);
        flash.erase(64, 128).unwrap();
        assert_eq!(read(&mut flash, 64), [0xFF; 8]);
        assert_eq!(read(&mut flash, 128), [9, 9, 9, 9, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!((flash.wear(0), flash.wear(1)), (Wear::default(), Wear { writes: 1, erases: 1 }));
        assert_eq!((flash.total_wear(), flash.operations()), (Wear { writes: 2, erases: 1 }, 4));
    }

    #[test]
    #[should_panic = "the word at 4 was not erased"]
    fn a_word_is_not_programmed_twice() {
        let mut flash = Small::new(64);
        flash.write(4, &[0xFE, 0xFF, 0xFF, 0xFF]).unwrap();
        let _ = flash.write(0, &[0xFF; 8]);
    }

    #[test]
    #[should_panic = "not properly aligned"]
    fn a_write_is_aligned() {
        let _ = Small::new(64).write(2, &[0; 4]);
    }

    #[test]
    #[should_panic = "out of bounds"]
    fn an_erase_is_within_the_flash() {
        let _ = Small::new(64).erase(0, 128);
    }

    #[test]
    fn a_torn_write_clears_only_bits_that_it_was_to_clear() {
        for seed in 0..1000 {
            let mut flash = Small::new(64);
            flash.cut_power(1, Tear::Random(seed));
            assert_eq!(flash.write(0, &[0x5A; 12]), Err(NorError::PowerOff));
            assert_eq!(flash.read(0, &mut [0]), Err(NorError::PowerOff));
            assert_eq!(flash.erase(0, 64), Err(NorError::PowerOff));
            flash.power_on();
            let [before @ .., a, b, c, d] = read(&mut flash, 0);
            assert_eq!(before, [0x5A; 4]);
            assert!([a, b, c, d].iter().all(|byte| byte & 0x5A == 0x5A));
            assert_eq!(read(&mut flash, 8), [0xFF; 8]);
        }
    }

    #[test]
    fn a_torn_erase_sets_only_bits_and_touches_one_page() {
        for seed in 0..1000 {
            let mut flash = Small::from_bytes(vec![0xA5; 192]);
            flash.cut_power(1, Tear::Random(seed));
            assert_eq!(flash.erase(0, 192), Err(NorError::PowerOff));
            let (erased, rest) = flash.as_bytes().split_at(64);
            let (torn, untouched) = rest.split_at(64);
            assert_eq!((erased, untouched), (&[0xFF; 64][..], &[0xA5; 64][..]));
            assert!(torn.iter().all(|byte| byte & 0xA5 == 0xA5));
        }
    }

    #[test]
    fn a_cut_before_or_after_an_operation_is_one_too() {
        for (mask, byte) in [(0, 0xFF), (u64::MAX, 0)] {
            let mut flash = Small::new(64);
            flash.cut_power(0, Tear::Bits(mask));
            assert_eq!(flash.write(0, &[0; 4]), Err(NorError::PowerOff));
            assert_eq!(flash.as_bytes()[0], byte);
        }
    }

    #[test]
    fn tears_come_from_their_seed() {
        let torn = |tear| {
            let mut flash = Small::new(64);
            flash.cut_power(0, tear);
            let _ = flash.write(0, &[0; 4]);
            flash.as_bytes().to_vec()
        };
        assert_eq!(torn(Tear::Random(7)), torn(Tear::Random(7)));
        assert!((0..10).any(|seed| torn(Tear::Random(seed)) != torn(Tear::Random(seed + 1))));
        assert_eq!(torn(Tear::Garbage(7)), torn(Tear::Garbage(7)));
        assert_ne!(torn(Tear::Garbage(7)), torn(Tear::Garbage(8)));
    }

    #[test]
    fn worn_out_flash_errs_or_lies() {
        let mut flash = Small::from_bytes([[0; 64], [0xFF; 64]].concat());
        flash.set_fault(64..68, Fault::WriteFails);
        flash.set_fault(68..69, Fault::WriteIgnored);
        flash.set_fault(72..73, Fault::ReadFails);
        flash.set_fault(0..1, Fault::EraseIgnored);
        assert_eq!(flash.write(64, &[0; 4]), Err(NorError::Fault));
        assert_eq!(flash.write(68, &[0; 4]), Ok(()));
        assert_eq!(read(&mut flash, 64), [0xFF; 8]);
        assert_eq!(flash.read(72, &mut [0]), Err(NorError::Fault));
        assert_eq!(flash.erase(0, 64), Ok(()));
        assert_eq!(flash.as_bytes()[0], 0);
        flash.clear_faults();
        flash.set_fault(63..64, Fault::EraseFails);
        assert_eq!(flash.erase(0, 64), Err(NorError::Fault));
        assert_eq!(flash.write(64, &[0; 4]), Ok(()));
    }

    #[test]
    fn a_file_keeps_the_contents() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flash");
        let mut flash = Small::open(&path, 128).unwrap();
        flash.put(64, &[3; 64]).unwrap();
        flash.write(0, &[1; 4]).unwrap();
        flash.erase(64, 128).unwrap();
        flash.cut_power(1, Tear::Bits(u64::MAX << 60));
        assert!(flash.write(64, &[0; 8]).is_err());
        let bytes = flash.as_bytes().to_vec();
        assert_eq!((&bytes[..5], bytes[64], bytes[68]), (&[1, 1, 1, 1, 0xFF][..], 0, 0x0F));
        drop(flash);
        assert_eq!(Small::open(&path, 128).unwrap().as_bytes(), bytes);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let permissions = fs::metadata(&path).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_of_another_size_is_refused_and_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flash");
        fs::write(&path, [7; 100]).unwrap();
        let error = Small::open(&path, 128).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("flash: has 100 bytes, the flash of a device 128"));
        assert_eq!(fs::read(&path).unwrap(), [7; 100]);
    }
}
