//! The hardware of the explored device: a counter and two key slots that outlive a boot, a generator that never gives
//! the same twice, and a fuse that takes the power away at a write. That a single write is whole or never happened is
//! what `tests/boot_counter` and `tests/key_slots.rs` show of the real flash.

use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::device::Hardware;
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, IdentityError, StorageError};
use moteseal::identity::{FactoryImage, Identity, KeySlot};
use moteseal::key_slots::{KeySlots, Slot};

/// What survives a reboot.
#[derive(Clone, Debug, Hash)]
pub struct Board {
    /// The boot counter.
    pub counter: Stored,
    /// Identity and keys.
    pub image: FactoryImage,
    /// The generator: how often it was asked. None on a device that has no generator.
    pub rng: Option<u8>,
    /// When the power goes.
    pub fuse: Fuse,
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fuse {
    /// Not by itself.
    None,
    /// At the next write or erase; says whether that is still done.
    Armed {
        /// The write is whole.
        done: bool,
    },
    /// It is gone.
    Blown,
}

impl Board {
    /// Whether this write is done, and what its caller hears.
    fn write(&mut self) -> (bool, Result<(), StorageError>) {
        match self.fuse {
            Fuse::None => (true, Ok(())),
            Fuse::Armed { done } => {
                self.fuse = Fuse::Blown;
                (done, Err(StorageError::Write))
            }
            Fuse::Blown => (false, Err(StorageError::Write)),
        }
    }

    fn powered(&self) -> Result<(), StorageError> {
        if self.fuse == Fuse::Blown { Err(StorageError::Read) } else { Ok(()) }
    }
}

impl BootCounter for Board {
    fn load(&mut self) -> Result<Stored, StorageError> {
        self.powered().map(|()| self.counter)
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        if matches!(self.counter, Stored::Intact(stored) if stored > boot) {
            return Err(StorageError::Backwards);
        }
        let (done, result) = self.write();
        if done {
            self.counter = Stored::Intact(boot);
        }
        result
    }
}

impl KeySlots for Board {
    fn identity(&mut self) -> Result<Identity, IdentityError> {
        self.powered()?;
        self.image.identity()
    }

    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        self.powered().and_then(|()| self.image.read(slot))
    }

    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
        let powered = self.powered();
        let (done, result) = self.write();
        if done {
            self.image.write(slot, key)?;
        } else if powered.is_ok() {
            // Torn, the slot is absent.
            self.image.erase(slot)?;
        }
        result
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
        if self.image.read(slot)?.is_none() {
            return Ok(());
        }
        let (done, result) = self.write();
        if done {
            self.image.erase(slot)?;
        }
        result
    }
}

/// Six bytes that differ in the last one only: echoes are always the same, so no Welcome and no Floor is dropped for its
/// echo, and what holds here holds without that filter.
#[derive(Debug)]
pub struct Rng<'b>(&'b mut u8);

impl Entropy for Rng<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        *self.0 += 1;
        bytes.fill(7);
        if let Some(last) = bytes.last_mut() {
            *last = 0x80 | *self.0;
        }
        Ok(())
    }
}

impl Hardware for Board {
    fn counter(&mut self) -> impl BootCounter {
        &mut *self
    }

    fn keys(&mut self) -> impl KeySlots {
        &mut *self
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.rng.as_mut().map(Rng)
    }
}
