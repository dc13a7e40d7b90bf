//! The numbers that the protocol counts and names with: device ids, generations, epochs, sequence numbers,
//! connection ids, and the salts. Newtypes with their limits built in; no cryptography. SPEC sections 3.1 and 4.7 to 4.10.

use core::fmt;
use core::num::NonZeroU8;

/// Writes bytes as lower-case hexadecimal digits, for ids that people read in logs.
fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The public name of a device, 8 bytes; an EUI-64 fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; Self::LEN]);

impl DeviceId {
    /// Length in bytes.
    pub const LEN: usize = 8;

    /// The id made of these bytes.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in a Hello.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

/// Which device key: 1 from the factory, one more with each rotation, 255 the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU8);

impl Generation {
    /// The generation of a key that the factory flashed.
    pub const FIRST: Self = Self(NonZeroU8::MIN);

    /// The generation with this number; zero is none.
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, 1 to 255.
    pub const fn number(self) -> u8 {
        self.0.get()
    }

    /// The generation after this one, unless this is the last.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The two bits that name it in a Hello.
    pub const fn low_bits(self) -> u8 {
        self.0.get() & 0b11
    }
}

/// A boot counter and the count of Hellos within that boot, ordered as they happen: 48 bits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch([u8; Self::LEN]);

impl Epoch {
    /// Length in bytes.
    pub const LEN: usize = 6;

    /// Hello number `count` of boot number `boot`.
    pub const fn new(boot: u32, count: u16) -> Self {
        let (boot, count) = (boot.to_be_bytes(), count.to_be_bytes());
        Self([boot[0], boot[1], boot[2], boot[3], count[0], count[1]])
    }

    /// The epoch with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand on the wire.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The boot counter.
    pub const fn boot(self) -> u32 {
        let [a, b, c, d, _, _] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The count of Hellos within the boot, from 0.
    pub const fn count(self) -> u16 {
        let [.., e, f] = self.0;
        u16::from_be_bytes([e, f])
    }

    /// The epoch as one 48-bit integer.
    pub const fn value(self) -> u64 {
        (self.boot() as u64) << 16 | self.count() as u64
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot(), self.count())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// The device's fresh part of a Hello, 6 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Salt(pub [u8; Self::LEN]);

impl Salt {
    /// Length in bytes.
    pub const LEN: usize = 6;

    /// The first two bytes, which a Welcome and a Floor echo.
    pub const fn echo(self) -> Echo {
        let [a, b, ..] = self.0;
        [a, b]
    }
}

/// The first two bytes of a Hello's salt.
pub type Echo = [u8; 2];

/// The server's fresh part of a session, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct ServerSalt(pub [u8; Self::LEN]);

impl ServerSalt {
    /// Length in bytes.
    pub const LEN: usize = 8;
}

/// The number of a Data within one direction of one session, 0 to 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(u16);

impl SequenceNumber {
    /// The first number of each direction.
    pub const FIRST: Self = Self(0);
    /// The last number of each direction.
    pub const LAST: Self = Self(u16::MAX);
    /// From this number on, sent or verified, the device opens a new session (M-49).
    pub const RENEWAL: Self = Self(0xFF00);

    /// The sequence number `value`.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The number as an integer.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The number after this one; the last has none.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number `distance` before this one, if there is one.
    pub const fn before(self, distance: u16) -> Option<Self> {
        match self.0.checked_sub(distance) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Whether a sender may leave out the high byte, when `acknowledged` is the highest number of its own
    /// that the peer acknowledged: the distance to one past that number must be under 128, so that a
    /// receiver that has verified at least that number rebuilds the right one (M-14).
    pub const fn fits_one_byte(self, acknowledged: Option<Self>) -> bool {
        let expected = one_past(acknowledged);
        // A number at or below an acknowledged one is never sealed anew; the subtraction saturates for callers
        // that ask all the same.
        (self.0 as u32).saturating_sub(expected) < 128
    }

    /// Rebuilds a number from its low byte: the one nearest to one past `highest`, of two equally near the
    /// lower, never below 0 or above 65,535 (M-13).
    pub fn rebuild(low: u8, highest: Option<Self>) -> Self {
        // Of the 256 numbers that are near enough exactly one has this low byte: from 128 below to 127 above.
        let lowest = one_past(highest).wrapping_sub(128);
        let nearest = lowest.wrapping_add(u32::from(low).wrapping_sub(lowest) & 0xFF);
        let [.., high, low] = nearest.to_be_bytes();
        // Below 0 (FFFFFFxx) or above 65,535 (000100xx): 256 up or down.
        Self(u16::try_from(nearest).unwrap_or(u16::from_be_bytes([!high, low])))
    }
}

/// One past a number, where "none" counts as -1: 0 to 65,536.
const fn one_past(number: Option<SequenceNumber>) -> u32 {
    match number {
        Some(SequenceNumber(value)) => value as u32 + 1,
        None => 0,
    }
}

/// The server's short name of a session, 1 to 4 bytes; the top two bits of the first byte are length - 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId([u8; Self::MAX_LEN]);

impl ConnectionId {
    /// The longest connection id, in bytes.
    pub const MAX_LEN: usize = 4;

    /// The connection id of `len` bytes (1 to 4) with `value` in the 6, 14, 22 or 30 bits that the length
    /// leaves; nothing if it does not fit.
    pub const fn new(len: u8, value: u32) -> Option<Self> {
        if len == 0 || len > 4 || value >> (len as u32 * 8 - 2) != 0 {
            return None;
        }
        let prefix = (len as u32 - 1) << 30;
        let shift = 32 - len as u32 * 8;
        Some(Self((prefix | value << shift).to_be_bytes()))
    }

    /// How many values a length in bytes leaves.
    pub const fn values(len: u8) -> u32 {
        match len {
            1 => 1 << 6,
            2 => 1 << 14,
            3 => 1 << 22,
            _ => 1 << 30,
        }
    }

    /// How long the connection id is that starts with this byte: 1 to 4 bytes.
    pub const fn len_from(first: u8) -> usize {
        (first >> 6) as usize + 1
    }

    /// Reads exactly one connection id: nothing if `bytes` is not as long as its first byte says (M-10).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let id = match *bytes {
            [a] => [a, 0, 0, 0],
            [a, b] => [a, b, 0, 0],
            [a, b, c] => [a, b, c, 0],
            [a, b, c, d] => [a, b, c, d],
            _ => return None,
        };
        (bytes.len() == Self::len_from(id[0])).then_some(Self(id))
    }

    /// The bytes as they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        let [first, ..] = self.0;
        self.0.get(..Self::len_from(first)).unwrap_or(&self.0)
    }

    /// The value without the length bits.
    pub const fn value(self) -> u32 {
        (u32::from_be_bytes(self.0) & 0x3FFF_FFFF) >> (30 - self.value_bits())
    }

    /// How many bits the value has: 6, 14, 22 or 30.
    pub(crate) const fn value_bits(self) -> u8 {
        6 + 8 * (self.0[0] >> 6)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(self.as_bytes(), f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;
    use proptest::prelude::*;

    fn number(value: u16) -> SequenceNumber {
        SequenceNumber::new(value)
    }

    #[test]
    fn ids_are_shown_as_they_stand_on_the_wire() {
        assert_eq!(DeviceId::new([0, 0x1A, 2, 3, 4, 5, 6, 0xFF]).to_string(), "001a0203040506ff");
        assert_eq!(ConnectionId::new(2, 0x0A0B).unwrap().to_string(), "4a0b");
        assert_eq!(Epoch::new(7, 12).to_string(), "7.12");
    }

    #[test]
    fn a_generation_is_1_to_255_and_a_hello_names_its_low_bits() {
        assert_eq!(Generation::new(0), None);
        assert_eq!(Generation::FIRST.number(), 1);
        for (number, next, low_bits) in [(1, Some(2), 1), (4, Some(5), 0), (6, Some(7), 2), (255, None, 3)] {
            let generation = Generation::new(number).unwrap();
            assert_eq!((generation.number(), generation.low_bits()), (number, low_bits));
            assert_eq!(generation.next().map(Generation::number), next);
        }
    }

    #[test]
    fn numbers_have_no_neighbour_beyond_their_ends() {
        assert_eq!((number(6).next(), SequenceNumber::LAST.next()), (Some(number(7)), None));
        assert_eq!((number(6).before(6), number(6).before(7)), (Some(SequenceNumber::FIRST), None));
    }

    #[test]
    fn a_salt_is_echoed_by_its_start() {
        assert_eq!(Salt([9, 8, 7, 6, 5, 4]).echo(), [9, 8]);
    }

    #[test]
    fn an_epoch_orders_by_boot_and_then_by_count() {
        assert!(Epoch::new(1, 0xFFFF) < Epoch::new(2, 0));
        assert!(Epoch::new(0x0100, 0) > Epoch::new(0x00FF, 0xFFFF));
        let epoch = Epoch::new(0x0102_0304, 0x0506);
        assert_eq!(epoch.as_bytes(), &[1, 2, 3, 4, 5, 6]);
        assert_eq!((epoch.boot(), epoch.count(), epoch.value()), (0x0102_0304, 0x0506, 0x0102_0304_0506));
    }

    #[test]
    fn one_byte_is_rebuilt_to_the_nearest_number_and_the_lower_of_two() {
        // (low byte, highest verified, number)
        let table = [
            (0x00, None, 0x0000),
            (0xFF, None, 0x00FF), // nothing below 0
            (0x00, Some(0x0000), 0x0000),
            (0x81, Some(0x0000), 0x0081), // 0x0081 - 1 = 128 away, and -127 does not exist
            (0x80, Some(0x00FF), 0x0080), // expected 0x100: 0x80 and 0x180 are 128 away
            (0x7F, Some(0x00FF), 0x017F),
            (0x00, Some(0x00FF), 0x0100),
            (0xFF, Some(0x0100), 0x00FF),
            (0xFE, Some(0xFFFF), 0xFFFE),
            (0x00, Some(0xFFFF), 0xFF00), // 0x10000 does not exist
            (0x7F, Some(0xFFFF), 0xFF7F),
        ];
        for (low, highest, expected) in table {
            assert_eq!(
                SequenceNumber::rebuild(low, highest.map(number)),
                number(expected),
                "{low:02x} {highest:?}"
            );
        }
    }

    #[test]
    fn one_byte_is_used_below_128_past_the_acknowledged() {
        for (value, acknowledged, fits) in [
            (0, None, true),
            (127, None, true),
            (128, None, false),
            (128, Some(0), true),
            (129, Some(0), false),
            (0xFFFF, Some(0xFF7F), true),
            (0xFFFF, Some(0xFF7E), false),
        ] {
            assert_eq!(
                number(value).fits_one_byte(acknowledged.map(number)),
                fits,
                "{value} {acknowledged:?}"
            );
        }
    }

    #[test]
    fn a_connection_id_tells_its_own_length() {
        for (len, value, bytes) in [
            (1, 0x00, &[0x00][..]),
            (1, 0x3F, &[0x3F]),
            (2, 0x0000, &[0x40, 0x00]),
            (2, 0x3FFF, &[0x7F, 0xFF]),
            (3, 0x3F_FFFF, &[0xBF, 0xFF, 0xFF]),
            (4, 0x3FFF_FFFF, &[0xFF, 0xFF, 0xFF, 0xFF]),
            (4, 1, &[0xC0, 0, 0, 1]),
        ] {
            let cid = ConnectionId::new(len, value).unwrap();
            assert_eq!((cid.as_bytes(), cid.value()), (bytes, value));
            assert_eq!(u32::from(cid.value_bits()), u32::from(len) * 8 - 2);
            assert_eq!(ConnectionId::values(len), 1 << cid.value_bits());
            assert_eq!(ConnectionId::from_bytes(bytes), Some(cid));
        }
        for (len, value) in [(0, 0), (5, 0), (1, 0x40), (2, 0x4000), (3, 0x40_0000), (4, 0x4000_0000)] {
            assert_eq!(ConnectionId::new(len, value), None);
        }
        for bytes in [&[][..], &[0x00, 0x00], &[0x40], &[0x80, 0], &[0xC0, 0, 0], &[0xC0, 0, 0, 0, 0]] {
            assert_eq!(ConnectionId::from_bytes(bytes), None);
        }
    }

    proptest! {
        /// What a sender may shorten, every receiver that verified the acknowledged number rebuilds.
        #[test]
        fn a_shortened_number_is_rebuilt(acknowledged in proptest::option::of(0u16..), ahead in 0u32..128, heard in 0u32..128) {
            let expected = acknowledged.map_or(0, |a| u32::from(a) + 1);
            let (value, heard) = (expected + ahead, expected + heard);
            prop_assume!(value <= 0xFFFF && heard <= 0x10000);
            let value = number(u16::try_from(value).unwrap());
            prop_assert!(value.fits_one_byte(acknowledged.map(number)));
            let highest = heard.checked_sub(1).map(|h| number(u16::try_from(h).unwrap()));
            prop_assert_eq!(SequenceNumber::rebuild(value.value().to_be_bytes()[1], highest), value);
        }

        /// Against the slow definition: every number with that low byte, by distance and then by size.
        #[test]
        fn rebuild_is_the_nearest(low: u8, highest: Option<u16>) {
            let expected = highest.map_or(0, |h| i64::from(h) + 1);
            let slow = (0..=0xFFu8)
                .map(|high| u16::from_be_bytes([high, low]))
                .min_by_key(|n| ((i64::from(*n) - expected).abs(), *n))
                .unwrap();
            prop_assert_eq!(SequenceNumber::rebuild(low, highest.map(number)), number(slow));
        }
    }
}
