//! What a device half needs of its hardware: the boot counter, the key slots, and a generator if there is one.
//! SPEC section 3.1.

use crate::boot_counter::BootCounter;
use crate::entropy::Entropy;
use crate::error::EntropyError;
use crate::key_slots::KeySlots;

/// The hardware of one device. [`Parts`] is one made of values; implement it yourself for a board that makes its
/// drivers when they are wanted.
pub trait Hardware {
    /// The boot counter.
    fn counter(&mut self) -> impl BootCounter;

    /// Identity and device keys.
    fn keys(&mut self) -> impl KeySlots;

    /// The random number generator. The same answer at every call: a device has one, or it has none.
    fn rng(&mut self) -> Option<impl Entropy>;
}

/// Hardware from its parts. Where counter and keys share one flash, see `flash::SharedFlash` (feature
/// `embedded-storage`).
#[derive(Clone, Copy, Debug)]
pub struct Parts<C, K, R = NoRng> {
    /// The boot counter.
    pub counter: C,
    /// Identity and device keys.
    pub keys: K,
    /// The generator, recommended wherever there is one.
    pub rng: Option<R>,
}

impl<C: BootCounter, K: KeySlots, R: Entropy> Parts<C, K, R> {
    /// A device with a random number generator.
    pub const fn new(counter: C, keys: K, rng: R) -> Self {
        Self { counter, keys, rng: Some(rng) }
    }
}

impl<C: BootCounter, K: KeySlots> Parts<C, K> {
    /// A device without a random number generator. It refuses to start once its boot counter is lost.
    pub const fn without_rng(counter: C, keys: K) -> Self {
        Self { counter, keys, rng: None }
    }
}

impl<C: BootCounter, K: KeySlots, R: Entropy> Hardware for Parts<C, K, R> {
    fn counter(&mut self) -> impl BootCounter {
        &mut self.counter
    }

    fn keys(&mut self) -> impl KeySlots {
        &mut self.keys
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.rng.as_mut()
    }
}

/// The generator of a device that has none: no value of this type exists.
#[derive(Clone, Copy, Debug)]
pub enum NoRng {}

impl Entropy for NoRng {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        match *self {}
    }
}
