//! Where a device keeps its identity and the two slots of its device key, and how a slot is replaced and
//! erased so that a power cut loses nothing else. Owns the order of erases and writes; never sees a datagram,
//! and of the bytes only whether they are whole. SPEC sections 3.1 and 10.2 (M-118, M-120).
//!
//! [`NorKeySlots`] (feature `embedded-storage`) keeps each part of the [factory image](crate::identity) in an
//! erase page of its own, so that erasing one slot cannot touch the other, nor the identity:
//!
//! ```text
//! page 0   identity (64) | blank      written by the factory, never by the device
//! page 1   slot A   (64) | blank
//! page 2   slot B   (64) | blank
//! ```

use crate::error::{IdentityError, StorageError};
use crate::identity::{FactoryImage, Identity, KeySlot};

/// Which of the two key slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The one that the factory fills.
    A,
    /// The one that the first rotation fills.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Where a device keeps its identity and its two key slots.
pub trait KeySlots {
    /// Reads the identity, which the factory wrote and nothing changes.
    ///
    /// # Errors
    /// [`IdentityError::Storage`] if it could not be read, [`IdentityError::Image`] if what was read is none.
    fn identity(&mut self) -> Result<Identity, IdentityError>;

    /// Reads a slot: nothing if it is absent or torn.
    ///
    /// # Errors
    /// [`StorageError::Read`]; [`StorageError::Format`] if the slot is intact, but not of this version.
    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError>;

    /// Replaces what `slot` holds, durably, and reads it back. A power cut at any instant leaves the slot as
    /// it was, absent, or complete, and everything else untouched.
    ///
    /// # Errors
    /// Any [`StorageError`]; the slot is then absent, torn or complete.
    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError>;

    /// Removes what `slot` holds, remains of a torn slot included, so that no key can be read from it any
    /// more. A slot that is blank already is not worn.
    ///
    /// # Errors
    /// Any [`StorageError`]; the key may then still be there.
    fn erase(&mut self, slot: Slot) -> Result<(), StorageError>;
}

impl<T: KeySlots + ?Sized> KeySlots for &mut T {
    fn identity(&mut self) -> Result<Identity, IdentityError> {
        (**self).identity()
    }

    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        (**self).read(slot)
    }

    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
        (**self).write(slot, key)
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
        (**self).erase(slot)
    }
}

impl KeySlots for FactoryImage {
    fn identity(&mut self) -> Result<Identity, IdentityError> {
        Ok(self.identity.clone())
    }

    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        Ok(in_memory(self, slot).clone())
    }

    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
        *in_memory(self, slot) = Some(key.clone());
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
        *in_memory(self, slot) = None;
        Ok(())
    }
}

fn in_memory(image: &mut FactoryImage, slot: Slot) -> &mut Option<KeySlot> {
    let [a, b] = &mut image.slots;
    match slot {
        Slot::A => a,
        Slot::B => b,
    }
}

#[cfg(feature = "embedded-storage")]
pub use nor::NorKeySlots;

#[cfg(feature = "embedded-storage")]
mod nor {
    use embedded_storage::nor_flash::NorFlash;
    use subtle::ConstantTimeEq;
    use zeroize::Zeroizing;

    use super::{Identity, IdentityError, KeySlot, KeySlots, Slot, StorageError};
    use crate::error::RegionError;
    use crate::flash;
    use crate::identity::PART_LEN;

    /// [`KeySlots`] in three neighbouring erase pages of NOR flash.
    ///
    /// Any [`NorFlash`] whose read and write sizes are powers of two up to 32 bytes and whose erase size is a
    /// multiple of 64; other flash is refused at compile time. Each word is written once between erases.
    #[derive(Debug)]
    pub struct NorKeySlots<F> {
        flash: F,
        offset: u32,
    }

    impl<F: NorFlash> NorKeySlots<F> {
        /// Length in bytes of the region: three erase pages.
        pub const LEN: u32 = 3 * Self::PAGE_LEN;

        const PAGE_LEN: u32 = flash::page_len::<F>();

        /// The slots in the region of [`LEN`](Self::LEN) bytes at `offset`, into which
        /// [`FactoryImage::parts`](super::FactoryImage::parts) was flashed. Touches nothing yet.
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

        const fn start(&self, slot: Slot) -> u32 {
            match slot {
                Slot::A => self.offset + Self::PAGE_LEN,
                Slot::B => self.offset + 2 * Self::PAGE_LEN,
            }
        }

        fn part(&mut self, start: u32) -> Result<Zeroizing<[u8; PART_LEN]>, StorageError> {
            let mut part = Zeroizing::new([0; PART_LEN]);
            self.flash.read(start, part.as_mut_slice()).map_err(|_| StorageError::Read)?;
            Ok(part)
        }
    }

    impl<F: NorFlash> KeySlots for NorKeySlots<F> {
        fn identity(&mut self) -> Result<Identity, IdentityError> {
            let part = self.part(self.offset)?;
            Ok(Identity::parse(&part)?)
        }

        fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
            let part = self.part(self.start(slot))?;
            KeySlot::parse(&part).map_err(|_| StorageError::Format)
        }

        #[inline(never)] // a rotation calls it, and reads afterwards: so their stacks overlap
        fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
            let (start, part) = (self.start(slot), key.encode());
            // Even a page that reads blank: an erase that was cut short near its end would read so too.
            flash::erase(&mut self.flash, start)?;
            self.flash.write(start, part.expose()).map_err(|_| StorageError::Write)?;
            let written = self.part(start)?;
            if written.ct_eq(part.expose()).into() { Ok(()) } else { Err(StorageError::Verify) }
        }

        fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
            let start = self.start(slot);
            if flash::is_blank(&mut self.flash, start)? {
                return Ok(());
            }
            flash::erase(&mut self.flash, start)
        }
    }
}
