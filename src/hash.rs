//! SHA-256 (FIPS 180-4) and HMAC over it (RFC 2104), each in one place. The compression function, padding and buffer are
//! those of the crate `sha2`; HMAC is two calls of it.
//!
//! Neither is inlined, whatever the optimisation: a device calls them from seven places, and a hash that is moved about,
//! as the crate `hmac` does it, takes 700 bytes of flash and half a kilobyte of stack more.

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Length of a digest in bytes.
pub(crate) const DIGEST_LEN: usize = 32;
/// Length of the block of SHA-256 in bytes.
const BLOCK_LEN: usize = 64;
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5C;

/// SHA-256 over these bytes, one after the other.
#[inline(never)]
pub(crate) fn sha256(head: [&[u8]; 2], message: &[&[u8]], tail: &[u8], digest: &mut [u8; DIGEST_LEN]) {
    let mut hash = Sha256::new();
    for part in head.iter().chain(message).chain([&tail]) {
        hash.update(part);
    }
    // Where it stands: what is finished by value is moved, with half a kilobyte of stack.
    hash.finalize_into_reset(digest.into());
}

/// HMAC-SHA-256 under a key of 32 bytes, over these bytes, one after the other. It is put into its place: of keys that are
/// returned copies stay behind.
#[inline(never)]
pub(crate) fn hmac(
    key: &[u8; DIGEST_LEN],
    head: &[u8],
    message: &[&[u8]],
    tail: &[u8],
    mac: &mut [u8; DIGEST_LEN],
) {
    // A key that is shorter than a block is filled up with zeros.
    let mut block = [INNER; BLOCK_LEN];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut inner = [0; DIGEST_LEN];
    sha256([&block, head], message, tail, &mut inner);
    for byte in &mut block {
        *byte ^= INNER ^ OUTER;
    }
    sha256([&block, &inner], &[], &[], mac);
    block.zeroize();
    inner.zeroize();
}
