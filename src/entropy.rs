//! Randomness is the caller's: one small fallible trait, and adapters for the generators of the ecosystem.

use crate::error::EntropyError;

/// A cryptographic random number generator.
pub trait Entropy {
    /// Fills `bytes` with uniform, unpredictable bytes.
    ///
    /// # Errors
    /// [`EntropyError::Failed`] where the generator cannot; `bytes` is then not used.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

impl<T: Entropy + ?Sized> Entropy for &mut T {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        (**self).fill(bytes)
    }
}
