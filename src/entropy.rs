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

/// A function as [`Entropy`]: for a peripheral of one's own, or the call of an operating system.
///
/// ```
/// # use moteseal::{entropy::{Entropy, FromFn}, error::EntropyError};
/// # fn read_rng_register() -> Option<u8> { Some(4) }
/// let mut entropy = FromFn(|bytes: &mut [u8]| {
///     bytes.iter_mut().try_for_each(|byte| {
///         *byte = read_rng_register().ok_or(EntropyError::Failed)?;
///         Ok(())
///     })
/// });
/// # entropy.fill(&mut [0; 4]).unwrap();
/// ```
#[derive(Clone, Copy)]
pub struct FromFn<F>(pub F);

impl<F: FnMut(&mut [u8]) -> Result<(), EntropyError>> Entropy for FromFn<F> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        (self.0)(bytes)
    }
}

/// A cryptographic generator of `rand_core` 0.6 as [`Entropy`].
#[cfg(feature = "rand_core-06")]
#[derive(Clone, Copy)]
pub struct RandCore06<R>(pub R);

#[cfg(feature = "rand_core-06")]
impl<R: rand_core_06::RngCore + rand_core_06::CryptoRng> Entropy for RandCore06<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.try_fill_bytes(bytes).map_err(|_| EntropyError::Failed)
    }
}

/// A cryptographic generator of `rand_core` 0.9 as [`Entropy`], one that may fail included.
#[cfg(feature = "rand_core-09")]
#[derive(Clone, Copy)]
pub struct RandCore09<R>(pub R);

#[cfg(feature = "rand_core-09")]
impl<R: rand_core_09::TryCryptoRng> Entropy for RandCore09<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.try_fill_bytes(bytes).map_err(|_| EntropyError::Failed)
    }
}

/// A cryptographic generator of `rand_core` 0.10 as [`Entropy`], one that may fail included.
#[cfg(feature = "rand_core-010")]
#[derive(Clone, Copy)]
pub struct RandCore010<R>(pub R);

#[cfg(feature = "rand_core-010")]
impl<R: rand_core_010::TryCryptoRng> Entropy for RandCore010<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.try_fill_bytes(bytes).map_err(|_| EntropyError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up, and fails when it is told to: enough to see what comes through an adapter.
    struct Counting {
        next: u8,
        fails: bool,
    }

    impl Counting {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            for byte in bytes {
                *byte = self.next;
                self.next = self.next.wrapping_add(1);
            }
            if self.fails { Err(EntropyError::Failed) } else { Ok(()) }
        }
    }

    #[cfg(any(feature = "rand_core-06", feature = "rand_core-09", feature = "rand_core-010"))]
    fn check<E: Entropy>(adapter: fn(Counting) -> E) {
        let mut entropy = adapter(Counting { next: 1, fails: false });
        let mut bytes = [0; 5];
        assert_eq!(entropy.fill(&mut bytes), Ok(()));
        assert_eq!(bytes, [1, 2, 3, 4, 5]);
        assert_eq!(entropy.fill(&mut bytes), Ok(()));
        assert_eq!(bytes, [6, 7, 8, 9, 10]);
        assert_eq!(adapter(Counting { next: 1, fails: true }).fill(&mut bytes), Err(EntropyError::Failed));
    }

    fn lent(mut source: impl Entropy, bytes: &mut [u8]) -> Result<(), EntropyError> {
        source.fill(bytes)
    }

    #[test]
    fn a_function_is_entropy() {
        let mut source = Counting { next: 1, fails: false };
        let mut bytes = [0; 3];
        assert_eq!(FromFn(|bytes: &mut [u8]| source.fill(bytes)).fill(&mut bytes), Ok(()));
        assert_eq!(bytes, [1, 2, 3]);
        // And so is one that is lent.
        assert_eq!(lent(&mut FromFn(|bytes: &mut [u8]| source.fill(bytes)), &mut bytes), Ok(()));
        assert_eq!(bytes, [4, 5, 6]);
        assert_eq!(FromFn(|_: &mut [u8]| Err(EntropyError::Failed)).fill(&mut []), Err(EntropyError::Failed));
    }

    #[cfg(feature = "rand_core-06")]
    mod with_rand_core_06 {
        use core::num::NonZeroU32;

        use super::*;

        impl rand_core_06::RngCore for Counting {
            fn next_u32(&mut self) -> u32 {
                unreachable!("only bytes are wanted")
            }

            fn next_u64(&mut self) -> u64 {
                unreachable!("only bytes are wanted")
            }

            fn fill_bytes(&mut self, _: &mut [u8]) {
                unreachable!("this one cannot report a failure")
            }

            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
                self.fill(bytes).map_err(|_| NonZeroU32::MIN.into())
            }
        }

        impl rand_core_06::CryptoRng for Counting {}

        #[test]
        fn a_generator_is_entropy() {
            check(RandCore06);
        }
    }

    /// In 0.9 and 0.10 the traits have the same methods.
    macro_rules! fallible_generator {
        ($feature:literal, $module:ident, $rand_core:ident::$base:ident, $adapter:ident) => {
            #[cfg(feature = $feature)]
            mod $module {
                use super::*;

                impl $rand_core::$base for Counting {
                    type Error = EntropyError;

                    fn try_next_u32(&mut self) -> Result<u32, EntropyError> {
                        unreachable!("only bytes are wanted")
                    }

                    fn try_next_u64(&mut self) -> Result<u64, EntropyError> {
                        unreachable!("only bytes are wanted")
                    }

                    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
                        self.fill(bytes)
                    }
                }

                impl $rand_core::TryCryptoRng for Counting {}

                #[test]
                fn a_generator_is_entropy() {
                    check($adapter);
                }
            }
        };
    }

    fallible_generator!("rand_core-09", with_rand_core_09, rand_core_09::TryRngCore, RandCore09);
    fallible_generator!("rand_core-010", with_rand_core_010, rand_core_010::TryRng, RandCore010);
}
