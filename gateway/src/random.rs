//! The randomness of the operating system, for the protocol and for new keys.

use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::EntropyError;
use moteseal::keys::KEY_LEN;
use zeroize::Zeroizing;

/// The generator of the operating system.
pub type Os = FromFn<fn(&mut [u8]) -> Result<(), EntropyError>>;

/// The generator of the operating system.
pub fn os() -> Os {
    FromFn(|bytes| getrandom::fill(bytes).map_err(|_| EntropyError::Failed))
}

/// A new key: 32 uniform bytes.
pub fn key() -> Result<Zeroizing<[u8; KEY_LEN]>, EntropyError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    os().fill(key.as_mut_slice())?;
    Ok(key)
}
