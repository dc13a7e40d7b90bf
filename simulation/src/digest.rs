//! Fingerprints of 64 bits, and a hasher for tables: fast, and the same in every run, so that a world replays exactly.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose order is the same in every run.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;
/// A set whose order is the same in every run.
pub type Set<K> = HashSet<K, BuildHasherDefault<Mix>>;

const A: u64 = 0x9E37_79B9_7F4A_7C15;
const B: u64 = 0xD6E8_FEB8_6659_FD93;

/// Folds 128 bits of a product into 64.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let [low, high] =
        [product & u128::from(u64::MAX), product >> 64].map(|half| u64::try_from(half).unwrap());
    low ^ high
}

/// A fingerprint of bytes, never 0.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut state = fold(A ^ (bytes.len() as u64), B);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), B).wrapping_add(A);
    }
    fold(state, A).max(1)
}

/// A hasher for keys that nobody hostile chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0 ^ digest(bytes), B);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value ^ A, B);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_have_another_fingerprint() {
        let mut all = Set::default();
        for len in 0..40 {
            for value in 0..=255 {
                all.insert(digest(&vec![value; len]));
            }
        }
        assert_eq!(all.len(), 39 * 256 + 1);
    }
}
