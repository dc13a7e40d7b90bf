//! A small generator for faults: `SplitMix64` (Steele, Lea, Flood, 2014). Good enough to scatter bits, and
//! the same on every machine. Never for keys.

pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) const fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// A byte whose bits are set with a probability of `density` in 256 each.
    pub(crate) fn bits(&mut self, density: u8) -> u8 {
        let draws = self.next().to_be_bytes();
        draws.into_iter().fold(0, |bits, draw| bits << 1 | u8::from(draw < density))
    }
}
