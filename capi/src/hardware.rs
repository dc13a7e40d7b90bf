//! The callbacks as what the crate asks of hardware. Boot counter and key slots are the crate's own, on flash that
//! calls back, so that C devices and Rust devices keep the same bytes.

use core::ffi::{c_int, c_void};

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use moteseal::boot_counter::{BootCounter, NorBootCounter, Stored};
use moteseal::device::Hardware;
use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::{EntropyError, IdentityError, RegionError, StorageError};
use moteseal::identity::{Identity, KeySlot};
use moteseal::key_slots::{KeySlots, NorKeySlots, Slot};
use moteseal::number::DeviceId;

use crate::error::Error;
use crate::sizes::{DATAGRAM_MAX, FLASH_LEN, FLASH_PAGE, FLASH_WORD};
use crate::types::Config;

type Read = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize) -> c_int;
type Write = unsafe extern "C" fn(*mut c_void, u32, *const u8, usize) -> c_int;
type Erase = unsafe extern "C" fn(*mut c_void, u32, usize) -> c_int;
type Random = unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> c_int;

/// The callbacks of one device.
pub(crate) struct Callbacks {
    context: *mut c_void,
    read: Read,
    write: Write,
    erase: Erase,
    random: Option<Random>,
}

impl Callbacks {
    /// Those of a config. It must have been compiled for the sizes of this library.
    ///
    /// # Safety
    /// Each function may be called with this context as the header says, as long as the value lives.
    pub(crate) unsafe fn new(config: &Config) -> Result<Self, Error> {
        let sizes = (config.datagram_max as usize, config.flash_page, config.flash_word);
        if sizes != (DATAGRAM_MAX, FLASH_PAGE, FLASH_WORD) {
            return Err(Error::WrongBuild);
        }
        Ok(Self {
            context: config.context,
            read: config.flash_read.ok_or(Error::NullPointer)?,
            write: config.flash_write.ok_or(Error::NullPointer)?,
            erase: config.flash_erase.ok_or(Error::NullPointer)?,
            random: config.random,
        })
    }

    /// The name of the device, if there is all that it needs to boot. Keys are read one at a time, as by boot, and not kept:
    /// a whole image handed about would leave copies of them behind.
    pub(crate) fn check(&mut self) -> Result<DeviceId, Error> {
        let mut keys = self.keys();
        let device_id = keys.identity()?.device_id;
        let a = keys.read(Slot::A)?.map(|key| key.generation.number());
        let b = keys.read(Slot::B)?.map(|key| key.generation.number());
        match (a, b) {
            (None, None) => Err(Error::ImageNoKey),
            (Some(a), Some(b)) if a.abs_diff(b) != 1 => Err(Error::ImageKeys),
            _ => Ok(device_id),
        }
    }
}

impl Hardware for Callbacks {
    fn counter(&mut self) -> impl BootCounter {
        InPartition(NorBootCounter::new(Flash(self), NorKeySlots::<Flash<'_>>::LEN))
    }

    fn keys(&mut self) -> impl KeySlots {
        InPartition(NorKeySlots::new(Flash(self), 0))
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        let (random, context) = (self.random?, self.context);
        Some(FromFn(move |bytes: &mut [u8]| {
            // SAFETY: promised when the config was taken.
            let failed = unsafe { random(context, bytes.as_mut_ptr(), bytes.len()) };
            if failed == 0 { Ok(()) } else { Err(EntropyError::Failed) }
        }))
    }
}

/// The partition.
struct Flash<'a>(&'a Callbacks);

/// What a flash callback says.
const fn done(failed: c_int) -> Result<(), NorFlashErrorKind> {
    if failed == 0 { Ok(()) } else { Err(NorFlashErrorKind::Other) }
}

impl ErrorType for Flash<'_> {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash<'_> {
    const READ_SIZE: usize = FLASH_WORD as usize;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        // SAFETY: promised when the config was taken.
        done(unsafe { (self.0.read)(self.0.context, offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        FLASH_LEN as usize
    }
}

impl NorFlash for Flash<'_> {
    const WRITE_SIZE: usize = FLASH_WORD as usize;
    const ERASE_SIZE: usize = FLASH_PAGE as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        // SAFETY: promised when the config was taken.
        done(unsafe { (self.0.erase)(self.0.context, from, (to - from) as usize) })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        // SAFETY: promised when the config was taken.
        done(unsafe { (self.0.write)(self.0.context, offset, bytes.as_ptr(), bytes.len()) })
    }
}

/// A region of the partition. That it fits is known when this is compiled, and the error then goes.
struct InPartition<T>(Result<T, RegionError>);

impl<T> InPartition<T> {
    fn get(&mut self) -> Result<&mut T, StorageError> {
        self.0.as_mut().map_err(|_| StorageError::Read)
    }
}

impl<T: BootCounter> BootCounter for InPartition<T> {
    fn load(&mut self) -> Result<Stored, StorageError> {
        self.get()?.load()
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        self.get()?.store(boot)
    }
}

impl<T: KeySlots> KeySlots for InPartition<T> {
    fn identity(&mut self) -> Result<Identity, IdentityError> {
        self.get()?.identity()
    }

    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        self.get()?.read(slot)
    }

    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
        self.get()?.write(slot, key)
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
        self.get()?.erase(slot)
    }
}
