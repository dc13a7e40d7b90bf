//! How often Floors are sent: limited for each source address, in a table of fixed size, and never for each
//! device, so that a replayer cannot use up what an erased device needs. Whoever forges the device's own address
//! can. SPEC section 7.2.

use core::hash::{Hash, Hasher};

use crate::delivery::Millis;

/// How many buckets there are.
const BUCKETS: usize = 256;
/// How many Floors a bucket gives at once.
const BURST: u64 = 64;
/// After how many milliseconds a bucket gives one more.
const REFILL_MS: Millis = 20;

/// The buckets: for each the time at which it will be full again.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone))]
pub(crate) struct FloorLimit([Millis; BUCKETS]);

/// An exploration is over before a bucket is empty: how full they are tells no two states apart.
#[cfg(moteseal_explore)]
impl Hash for FloorLimit {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl FloorLimit {
    pub(crate) const fn new() -> Self {
        Self([0; BUCKETS])
    }

    /// Whether a Floor may go to this address now; if so, it counts as sent.
    pub(crate) fn take(&mut self, now: Millis, address: &impl Hash) -> bool {
        let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
        address.hash(&mut hasher);
        let bucket = usize::try_from(hasher.finish() % BUCKETS as u64).ok().and_then(|i| self.0.get_mut(i));
        let Some(full_at) = bucket else { return false };
        let wait = full_at.saturating_sub(now);
        if wait > (BURST - 1) * REFILL_MS {
            return false;
        }
        *full_at = now.saturating_add(wait + REFILL_MS);
        true
    }
}

/// FNV-1a: spreads addresses over buckets. Nothing rests on its being hard to guess.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    // Its lowest bits depend on the lowest bits of the bytes alone; multiplied once more, the upper ones on all.
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_burst_and_then_fifty_a_second() {
        let mut limit = FloorLimit::new();
        assert_eq!((0..100).filter(|_| limit.take(0, &7u32)).count(), 64);
        assert_eq!((1..=4_000).filter(|ms| limit.take(*ms, &7u32)).count(), 200);
        assert_eq!((0..100).filter(|_| limit.take(4_000, &9u32)).count(), 64);
    }

    /// The known answers of FNV-1a.
    #[test]
    fn addresses_are_hashed_by_fnv_1a() {
        for (bytes, hash) in [
            (&b""[..], 0xCBF2_9CE4_8422_2325),
            (b"a", 0xAF63_DC4C_8601_EC8C),
            (b"foobar", 0x8594_4171_F739_67E8),
        ] {
            let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
            hasher.write(bytes);
            assert_eq!(hasher.0, hash);
        }
    }

    /// M-61: whoever has one address shares its bucket with few. 256 addresses in 256 buckets would take up 162 of
    /// them by chance, also where two bytes of an address run together.
    #[test]
    fn addresses_spread_over_the_buckets() {
        for address in [|i: u8| [10, 0, 0, i], |i| [10, 0, i, i], |i| [i, i, 7, 7]] {
            let mut limit = FloorLimit::new();
            for i in 0..=255 {
                assert!(limit.take(0, &address(i)));
            }
            let used = limit.0.iter().filter(|full_at| **full_at != 0).count();
            assert!(used > 120, "{used}");
        }
    }
}
