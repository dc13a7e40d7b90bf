//! The two key slots of a device: which keys there are, which one a Hello is made under, and how the next one is
//! taken and the old one erased. Device keys pass through and are never kept. SPEC section 10.2.
//!
//! ```text
//! A: g      B: -        rotate(g + 1)   B is written and read back
//! A: g      B: g + 1    each Hello in turn, B first
//! A: -      B: g + 1    a Welcome under B erased A
//! ```

use crate::error::{BootError, ImageError, Malformed, ReceiveError, StorageError, VerifyError};
use crate::identity::{Identity, KeySlot};
use crate::key_slots::{KeySlots, Slot};
use crate::keys::{DeviceKey, RotationSecret};
use crate::number::Generation;

/// What became of the key before the one under which a session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKey {
    /// There is none, or the session is still under it.
    Untouched,
    /// It is erased: the rotation is finished.
    Erased,
    /// Erasing it failed. It is tried again at the next Welcome.
    Kept(StorageError),
}

/// The generations in the two slots.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Keyring {
    a: Option<Generation>,
    b: Option<Generation>,
}

impl Keyring {
    /// Finds out which keys there are.
    pub(super) fn load(keys: &mut impl KeySlots) -> Result<Self, BootError> {
        let keyring = Self {
            a: keys.read(Slot::A)?.map(|key| key.generation),
            b: keys.read(Slot::B)?.map(|key| key.generation),
        };
        let fault = match (keyring.a, keyring.b) {
            (None, None) => ImageError::NoKey,
            (Some(a), Some(b)) if a == b => ImageError::SameGeneration,
            (Some(a), Some(b)) if a.number().abs_diff(b.number()) > 1 => ImageError::GenerationGap,
            _ => return Ok(keyring),
        };
        Err(BootError::Identity(fault.into()))
    }

    /// Whether a rotation is underway: two valid slots.
    pub(super) const fn is_rotating(&self) -> bool {
        self.a.is_some() && self.b.is_some()
    }

    /// The slot of the newest key, under which a Hello is tried first.
    #[inline(never)]
    pub(super) fn newest(&self) -> Slot {
        let number = |generation: Option<Generation>| generation.map_or(0, Generation::number);
        if number(self.b) > number(self.a) { Slot::B } else { Slot::A }
    }

    /// Whether `slot` holds the only key there is.
    pub(super) const fn is_only(&self, slot: Slot) -> bool {
        !self.is_rotating() && self.generation(slot).is_some()
    }

    /// `slot`, or the one that holds a key where a write that failed has emptied it.
    pub(super) fn valid(&self, slot: Slot) -> Slot {
        if self.generation(slot).is_some() { slot } else { self.newest() }
    }

    /// The slot for the next Hello when one under `slot` stays without an answer: in turn, if there are two (M-119).
    pub(super) const fn in_turn(&self, slot: Slot) -> Slot {
        if self.is_rotating() { slot.other() } else { slot }
    }

    /// Takes the key that *rotate* offers in a session under the key in `own`. Tells whether there is something to do
    /// at all: a *rotate* for another generation is ignored (M-116).
    ///
    /// Nothing is written before the secret has proved itself (M-115), and nothing that is there already (M-121).
    /// Another secret that proves itself takes the place of the one before (M-122).
    #[inline(never)] // a rotation is rare, and its stack is not that of every Data
    pub(super) fn take(
        &mut self,
        keys: &mut impl KeySlots,
        own: Slot,
        generation: Generation,
        secret: &RotationSecret,
    ) -> Result<Option<Slot>, ReceiveError> {
        if self.generation(own).and_then(Generation::next) != Some(generation) {
            return Ok(None);
        }
        let mut offered = KeySlot { generation, device_key: DeviceKey::blank() };
        offer(keys.identity().as_ref().map_err(|error| *error)?, secret, &mut offered)?;
        let slot = own.other();
        if !holds(keys, slot, &offered)? {
            // Until it is read back, the slot counts as absent: a failed write may have torn it.
            *self.slot(slot) = None;
            keys.write(slot, &offered)?;
            if !holds(keys, slot, &offered)? {
                return Err(StorageError::Verify.into());
            }
        }
        *self.slot(slot) = Some(generation);
        Ok(Some(slot))
    }

    /// A Welcome under the key in `slot` was opened: erases the other key if that is the older one (M-120). Where there
    /// is no other, what a power cut left of one goes: half an erase may leave most of the old key. A slot that is blank
    /// is only read.
    pub(super) fn welcomed(&mut self, keys: &mut impl KeySlots, slot: Slot) -> OldKey {
        if slot != self.newest() {
            return OldKey::Untouched;
        }
        let erased = if self.is_rotating() { OldKey::Erased } else { OldKey::Untouched };
        match keys.erase(slot.other()) {
            Ok(()) => {
                *self.slot(slot.other()) = None;
                erased
            }
            Err(error) => OldKey::Kept(error),
        }
    }

    /// The generation of the key in `slot`.
    pub(super) const fn generation(&self, slot: Slot) -> Option<Generation> {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    const fn slot(&mut self, slot: Slot) -> &mut Option<Generation> {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }
}

/// Puts the key that `secret` stands for into its place, if it proves itself: one that is returned leaves a copy behind.
#[inline(never)] // as `holds`: what each works with is not on the stack below the other
fn offer(identity: &Identity, secret: &RotationSecret, offered: &mut KeySlot) -> Result<(), VerifyError> {
    let Identity { device_id, rotation_key } = identity;
    if !rotation_key.proves(secret, offered.generation, *device_id) {
        return Err(Malformed::UnprovenRotation.into());
    }
    rotation_key.put_next_device_key(secret, offered.generation, *device_id, &mut offered.device_key);
    Ok(())
}

#[inline(never)]
fn holds(keys: &mut impl KeySlots, slot: Slot, key: &KeySlot) -> Result<bool, StorageError> {
    let read = keys.read(slot);
    read.as_ref().map(|found| found.as_ref() == Some(key)).map_err(|error| *error)
}
