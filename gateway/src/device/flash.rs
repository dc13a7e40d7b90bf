//! The flash of the device: a file that keeps the rules of NOR flash, with the factory image and the boot counter
//! in it, for one process at a time. SPEC sections 3.1 and 6.1.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};

use moteseal::boot_counter::{self, NorBootCounter};
use moteseal::flash::SharedFlash;
use moteseal::identity::FactoryImage;
use moteseal::key_slots::{KeySlots as _, NorKeySlots};
use moteseal_sim::nor::Nor;
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// Length of an erase page in bytes.
const PAGE_LEN: usize = 4096;
/// Pages of the key slots, and behind them those of the boot counter.
const PAGES: usize = 5;
/// Where the boot counter starts.
const COUNTER: usize = 3 * PAGE_LEN;

/// Simulated NOR flash with words of 8 bytes.
type Simulated = Nor<8, PAGE_LEN>;
type Shared<'f> = SharedFlash<'f, Simulated>;

/// The file, locked: two processes on one flash would use every epoch twice.
#[derive(Debug)]
pub struct Flash {
    path: PathBuf,
    contents: RefCell<Simulated>,
    _lock: File,
}

impl Flash {
    /// Opens the flash, which is made from `image` if it is not there. An image that is given all the same must be
    /// of the same device.
    pub fn open(path: &Path, image: Option<&Path>) -> Result<Self, FileError> {
        let image = image.map(|path| Ok((path, read_image(path)?))).transpose()?;
        if !path.try_exists().map_err(|error| FileError::new(path, error))? {
            let Some((_, image)) = &image else {
                return Err(FileError::new(path, "does not exist; give the factory image with --image"));
            };
            files::create(path, &flashed(image))?;
        }
        let lock = lock(path)?;
        let contents = Simulated::open(path, PAGES * PAGE_LEN)
            .map_err(|error| FileError::new(path, format_args!("cannot be used: {error}")))?;
        let flash = Self { path: path.to_owned(), contents: RefCell::new(contents), _lock: lock };
        flash.check(image)?;
        Ok(flash)
    }

    /// The identity and the key slots in it.
    pub fn keys(&self) -> Result<NorKeySlots<Shared<'_>>, FileError> {
        NorKeySlots::new(SharedFlash::new(&self.contents), 0).map_err(|error| self.error(error))
    }

    /// The boot counter in it.
    pub fn counter(&self) -> Result<NorBootCounter<Shared<'_>>, FileError> {
        let region = NorKeySlots::<Simulated>::LEN;
        NorBootCounter::new(SharedFlash::new(&self.contents), region).map_err(|error| self.error(error))
    }

    /// An error about this file.
    pub fn error(&self, what: impl std::fmt::Display) -> FileError {
        FileError::new(&self.path, what)
    }

    fn check(&self, image: Option<(&Path, FactoryImage)>) -> Result<(), FileError> {
        let here = self.keys()?.identity().map_err(|error| self.error(error))?.device_id;
        match image.map(|(path, image)| (path, image.identity.device_id)) {
            Some((path, other)) if other != here => {
                let state = self.path.display();
                Err(FileError::new(
                    path,
                    format_args!("is of device {other}, but {state} is of device {here}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a factory image: what `moteseal provision` writes, to the bit.
fn read_image(path: &Path) -> Result<FactoryImage, FileError> {
    let bytes = files::read(path, FactoryImage::LEN as u64)?;
    let image = FactoryImage::parse(&bytes).map_err(|error| FileError::new(path, error))?;
    // In flash a torn slot is an absent one; in a file it is damage.
    if image.encode().expose()[..] != bytes[..] {
        return Err(FileError::new(path, "holds a damaged key slot; take the factory image as it was made"));
    }
    Ok(image)
}

/// Flash as the factory leaves it.
fn flashed(image: &FactoryImage) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0xFF; PAGES * PAGE_LEN]);
    let parts = image.parts(1);
    let counter = boot_counter::entry(0);
    let parts = parts.iter().map(|(page, part)| (*page as usize * PAGE_LEN, part.expose().as_slice()));
    for (start, part) in parts.chain([(COUNTER, counter.as_slice())]) {
        bytes[start..start + part.len()].copy_from_slice(part);
    }
    bytes
}

fn lock(path: &Path) -> Result<File, FileError> {
    let file =
        File::open(path).map_err(|error| FileError::new(path, format_args!("cannot be opened: {error}")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(FileError::new(path, "is in use: another process runs this device"))
        }
        Err(error) => Err(FileError::new(path, format_args!("cannot be locked: {error}"))),
    }
}
