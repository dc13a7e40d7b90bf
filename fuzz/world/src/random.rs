//! Chance, as the world knows it, out of a fuzzer's bytes: each decision takes one or two of them, in the order in which
//! the decisions come up. When they are used up, chance is chance again. What the two halves draw as random bytes
//! (salts, keys) is never the fuzzer's: a generator that an attacker steers is not promised anything.

use std::cell::RefCell;
use std::collections::VecDeque;

use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;

thread_local! {
    static BYTES: RefCell<VecDeque<u8>> = const { RefCell::new(VecDeque::new()) };
}

/// From now on decisions are these bytes.
pub fn load(bytes: &[u8]) {
    BYTES.with_borrow_mut(|left| *left = bytes.iter().copied().collect());
}

/// Whether none is left.
pub fn is_used_up() -> bool {
    BYTES.with_borrow(VecDeque::is_empty)
}

/// One byte for choices among up to 256, more where a byte does not reach.
fn decide(limit: u64) -> Option<u64> {
    BYTES.with_borrow_mut(|left| {
        let mut value = u64::from(left.pop_front()?);
        let mut reach = 0xFF;
        while reach < limit.saturating_sub(1) && reach < u64::MAX >> 8 {
            value = value << 8 | u64::from(left.pop_front().unwrap_or(0));
            reach = reach << 8 | 0xFF;
        }
        Some(value % limit.max(1))
    })
}

/// One stream of chance.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        decide(limit).unwrap_or_else(|| self.next() % limit)
    }

    /// One of the places in something of this length.
    pub fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub fn pick<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.place(choice.len())]
    }

    /// True so many times in a thousand, for bytes as they fall; the highest byte is always yes, and zero never. What never
    /// or always happens takes none.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        match per_mille {
            0 => false,
            1_000.. => true,
            _ => decide(256).map_or_else(
                || self.next() % 1_000 < per_mille,
                |byte| (255 - byte) * 1_000 < per_mille * 256,
            ),
        }
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    pub fn array<const L: usize>(&mut self) -> [u8; L] {
        std::array::from_fn(|_| self.byte())
    }
}

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill_with(|| self.byte());
        Ok(())
    }
}
