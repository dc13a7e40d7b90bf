//! The factory image: what is flashed into a device, its identity and the two slots of its device key,
//! encoded and checked. Owns these bytes; never sees flash or a datagram. SPEC section 3.1, M-3.
//!
//! A factory image is three parts of 64 bytes, so that each fits any flash word and can stand in an erase
//! page of its own:
//!
//! ```text
//! identity                           key slot (two: A, B)
//!  0  magic "MSid"               4    0  magic "MSky"               4
//!  4  format version, 1          1    4  format version, 1          1
//!  5  suite, 1                   1    5  suite, 1                   1
//!  6  reserved, 0               10    6  generation, 1 to 255       1
//! 16  device id                  8    7  reserved, 0               17
//! 24  rotation key              32   24  device key                32
//! 56  check value                8   56  check value                8
//! ```
//!
//! The check value is the first 8 bytes of SHA-256 over the 56 bytes before it. It finds corruption, such as
//! a write that a power cut tore; it is no protection against somebody who can write to the flash.
//!
//! A slot of nothing but FF is absent, and so is one whose check value does not match: it was torn. An image
//! has one slot, or two of generations that follow each other (a rotation underway).

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::ImageError;
use crate::hash::{DIGEST_LEN, sha256};
use crate::keys::{DeviceKey, KEY_LEN, RotationKey, SUITE};
use crate::number::{DeviceId, Generation};

/// What erased flash reads as, and so an absent slot.
const BLANK: u8 = 0xFF;

/// Length in bytes of each of the three parts of an image.
pub const PART_LEN: usize = 64;

/// The format version that this crate reads and writes.
pub const FORMAT_VERSION: u8 = 1;

/// Who a device is, and the key that proves rotations to it. Its suite is the one of this version,
/// [`SUITE`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Identity {
    /// The public name, 8 bytes.
    pub device_id: DeviceId,
    /// The key that a rotation is proven with, 32 bytes.
    pub rotation_key: RotationKey,
}

/// A device key and its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct KeySlot {
    /// The generation, 1 from the factory.
    pub generation: Generation,
    /// The key, 32 bytes.
    pub device_key: DeviceKey,
}

/// All that the factory flashes. Held in memory it is its own [`KeySlots`](crate::key_slots::KeySlots), for
/// hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct FactoryImage {
    /// Who the device is.
    pub identity: Identity,
    /// Slots A and B.
    pub slots: [Option<KeySlot>; 2],
}

impl FactoryImage {
    /// Length in bytes.
    pub const LEN: usize = 3 * PART_LEN;

    /// The image of a new device: the key in slot A, in the first generation.
    pub const fn new(identity: Identity, device_key: DeviceKey) -> Self {
        Self { identity, slots: [Some(KeySlot { generation: Generation::FIRST, device_key }), None] }
    }

    /// The three parts one after the other. What [`parse`](Self::parse) refuses can be encoded all the same:
    /// an image without a key.
    pub fn encode(&self) -> SecretBytes<{ Self::LEN }> {
        let mut bytes = SecretBytes::blank();
        let parts = self.parts(0);
        let from = parts.iter().flat_map(|(_, part)| part.expose());
        for (to, from) in bytes.0.iter_mut().zip(from) {
            *to = *from;
        }
        bytes
    }

    /// The three parts, each with its offset in bytes in a region of erase pages of `page_len` bytes: as
    /// [`key_slots`](crate::key_slots) finds them, one part a page.
    pub fn parts(&self, page_len: u32) -> [(u32, SecretBytes<PART_LEN>); 3] {
        let [a, b] = &self.slots;
        let encode = |slot: &Option<KeySlot>| slot.as_ref().map_or(SecretBytes::blank(), KeySlot::encode);
        [(0, self.identity.encode()), (page_len, encode(a)), (page_len.saturating_mul(2), encode(b))]
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// An [`ImageError`] that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let (parts, []) = bytes.as_chunks() else { return Err(ImageError::Length) };
        let [identity, a, b] = parts else { return Err(ImageError::Length) };
        let identity = Identity::parse(identity)?;
        let slots = [KeySlot::parse(a)?, KeySlot::parse(b)?];
        check_generations(&slots)?;
        Ok(Self { identity, slots })
    }
}

/// Encoded secrets: wiped on drop, shown by no formatter.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes<const N: usize>([u8; N]);

impl<const N: usize> SecretBytes<N> {
    /// The bytes, for the code that must write them to protected storage.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// As erased flash reads.
    const fn blank() -> Self {
        Self([BLANK; N])
    }
}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

impl Identity {
    const MAGIC: [u8; 4] = *b"MSid";

    /// The identity part of an image.
    pub fn encode(&self) -> SecretBytes<PART_LEN> {
        encode_part(Self::MAGIC, 0, *self.device_id.as_bytes(), self.rotation_key.expose())
    }

    /// Reads the identity part of an image.
    ///
    /// # Errors
    /// An [`ImageError`] that says what is wrong.
    pub fn parse(bytes: &[u8; PART_LEN]) -> Result<Self, ImageError> {
        if is_blank(bytes) {
            return Err(ImageError::Blank);
        }
        let mut fields = Fields::new(bytes, Self::MAGIC)?;
        if !check_matches(bytes) {
            return Err(ImageError::Check);
        }
        fields.suite()?;
        fields.reserved::<10>()?;
        Ok(Self {
            device_id: DeviceId::new(*fields.take()?),
            rotation_key: RotationKey::new(*fields.take()?),
        })
    }
}

impl KeySlot {
    const MAGIC: [u8; 4] = *b"MSky";

    /// One key slot part of an image.
    pub fn encode(&self) -> SecretBytes<PART_LEN> {
        encode_part(Self::MAGIC, self.generation.number(), [0; 8], self.device_key.expose())
    }

    /// Reads one key slot part of an image: nothing if it is absent or torn.
    ///
    /// # Errors
    /// An [`ImageError`] that says what is wrong with a slot that is intact.
    pub fn parse(bytes: &[u8; PART_LEN]) -> Result<Option<Self>, ImageError> {
        if !check_matches(bytes) {
            return Ok(None);
        }
        let mut fields = Fields::new(bytes, Self::MAGIC)?;
        fields.suite()?;
        let [generation] = *fields.take()?;
        fields.reserved::<17>()?;
        Ok(Some(Self {
            generation: Generation::new(generation).ok_or(ImageError::Generation)?,
            device_key: DeviceKey::new(*fields.take()?),
        }))
    }
}

/// How long the check value is, and where it starts.
const CHECK_LEN: usize = 8;
const CHECK_AT: usize = PART_LEN - CHECK_LEN;

/// One part: what all begin with, the fields of one kind or the other, the check value.
fn encode_part(
    magic: [u8; 4],
    generation: u8,
    device_id: [u8; DeviceId::LEN],
    key: &[u8; KEY_LEN],
) -> SecretBytes<PART_LEN> {
    let mut part = SecretBytes([0; PART_LEN]);
    let rest = put(&mut part.0, &magic);
    let rest = put(rest, &[FORMAT_VERSION, SUITE, generation]);
    let rest = put(rest, &[0; 9]);
    let rest = put(rest, &device_id);
    put(rest, key);
    let check = check_value(&part.0);
    if let Some(to) = part.0.last_chunk_mut() {
        *to = check;
    }
    part
}

/// Puts one field, and gives the room behind it; the fields of a part all fit.
fn put<'p, const N: usize>(room: &'p mut [u8], field: &[u8; N]) -> &'p mut [u8] {
    let Some((to, behind)) = room.split_first_chunk_mut() else { return &mut [] };
    *to = *field;
    behind
}

fn check_value(part: &[u8; PART_LEN]) -> [u8; CHECK_LEN] {
    let mut digest = [0; DIGEST_LEN];
    sha256([part.get(..CHECK_AT).unwrap_or_default(), &[]], &[], &[], &mut digest);
    digest.first_chunk().copied().unwrap_or_default()
}

fn check_matches(part: &[u8; PART_LEN]) -> bool {
    part.last_chunk().is_some_and(|check: &[u8; CHECK_LEN]| check.ct_eq(&check_value(part)).into())
}

fn is_blank(part: &[u8; PART_LEN]) -> bool {
    part.iter().all(|byte| *byte == BLANK)
}

fn check_generations(slots: &[Option<KeySlot>; 2]) -> Result<(), ImageError> {
    match slots {
        [None, None] => Err(ImageError::NoKey),
        [Some(a), Some(b)] if a.generation == b.generation => Err(ImageError::SameGeneration),
        [Some(a), Some(b)] if a.generation.number().abs_diff(b.generation.number()) != 1 => {
            Err(ImageError::GenerationGap)
        }
        _ => Ok(()),
    }
}

/// The fields of a part, taken one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields after magic and version.
    fn new(part: &'a [u8; PART_LEN], magic: [u8; 4]) -> Result<Self, ImageError> {
        let mut fields = Self(part);
        if *fields.take()? != magic {
            return Err(ImageError::Magic);
        }
        match fields.take()? {
            [FORMAT_VERSION] => Ok(fields),
            _ => Err(ImageError::Version),
        }
    }

    fn suite(&mut self) -> Result<(), ImageError> {
        match self.take()? {
            [SUITE] => Ok(()),
            _ => Err(ImageError::Suite),
        }
    }

    fn reserved<const N: usize>(&mut self) -> Result<(), ImageError> {
        if *self.take()? == [0; N] { Ok(()) } else { Err(ImageError::Reserved) }
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], ImageError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(ImageError::Length)?;
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{format, vec, vec::Vec};

    use sha2::{Digest, Sha256};

    use super::*;

    fn key_slot(generation: u8) -> KeySlot {
        KeySlot {
            generation: Generation::new(generation).unwrap(),
            device_key: DeviceKey::new([generation; 32]),
        }
    }

    fn image(slots: [Option<u8>; 2]) -> FactoryImage {
        let identity =
            Identity { device_id: DeviceId::new(*b"sensor-7"), rotation_key: RotationKey::new([0x52; 32]) };
        FactoryImage { identity, slots: slots.map(|slot| slot.map(key_slot)) }
    }

    /// An image with one byte changed, and the check value of that part made to match.
    fn forged(at: usize, byte: u8) -> [u8; FactoryImage::LEN] {
        let mut bytes = *image([Some(1), Some(2)]).encode().expose();
        bytes[at] = byte;
        let (parts, _) = bytes.as_chunks_mut::<PART_LEN>();
        let part = &mut parts[at / PART_LEN];
        let check = check_value(part);
        part[CHECK_AT..].copy_from_slice(&check);
        bytes
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = *image([Some(3), None]).encode().expose();
        assert_eq!(&bytes[..16], b"MSid\x01\x01\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&bytes[16..24], b"sensor-7");
        assert_eq!(bytes[24..56], [0x52; 32]);
        assert_eq!(bytes[56..64], Sha256::digest(&bytes[..56])[..8]);
        assert_eq!(&bytes[64..88], b"MSky\x01\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes[88..120], [3; 32]);
        assert_eq!(bytes[120..128], Sha256::digest(&bytes[64..120])[..8]);
        assert_eq!(bytes[128..], [0xFF; 64]);
    }

    #[test]
    fn what_was_encoded_is_parsed() {
        for slots in [
            [Some(1), None],
            [None, Some(1)],
            [Some(1), Some(2)],
            [Some(3), Some(2)],
            [Some(255), Some(254)],
            [None, Some(255)],
        ] {
            let image = image(slots);
            assert_eq!(FactoryImage::parse(image.encode().expose()), Ok(image));
        }
        let identity = image([None, None]).identity;
        let new = FactoryImage::new(identity, DeviceKey::new([1; 32]));
        assert_eq!(new, image([Some(1), None]));
    }

    #[test]
    fn slots_that_cannot_be_together_are_refused() {
        for (slots, error) in [
            ([None, None], ImageError::NoKey),
            ([Some(2), Some(2)], ImageError::SameGeneration),
            ([Some(1), Some(3)], ImageError::GenerationGap),
            ([Some(255), Some(1)], ImageError::GenerationGap),
        ] {
            assert_eq!(FactoryImage::parse(image(slots).encode().expose()), Err(error), "{slots:?}");
        }
    }

    #[test]
    fn an_image_has_its_length() {
        let bytes = *image([Some(1), None]).encode().expose();
        for len in 0..FactoryImage::LEN {
            assert_eq!(FactoryImage::parse(&bytes[..len]), Err(ImageError::Length));
        }
        for more in [1, PART_LEN] {
            let longer = [&bytes[..], &vec![0xFF; more]].concat();
            assert_eq!(FactoryImage::parse(&longer), Err(ImageError::Length));
        }
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let whole = image([Some(1), Some(2)]);
        let bytes = *whole.encode().expose();
        for bit in 0..8 * FactoryImage::LEN {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            let parsed = FactoryImage::parse(&changed);
            match bit / 8 {
                0..4 => assert_eq!(parsed, Err(ImageError::Magic)),
                4 => assert_eq!(parsed, Err(ImageError::Version)),
                5..64 => assert_eq!(parsed, Err(ImageError::Check)),
                64..128 => assert_eq!(parsed, Ok(image([None, Some(2)]))),
                _ => assert_eq!(parsed, Ok(image([Some(1), None]))),
            }
        }
    }

    #[test]
    fn an_intact_part_that_says_something_else_is_refused() {
        let mut table = vec![
            (0, b'X', ImageError::Magic),
            (4, 2, ImageError::Version),
            (5, 2, ImageError::Suite),
            (5, 0, ImageError::Suite),
            (70, 0, ImageError::Generation),
            (70, 2, ImageError::SameGeneration),
            (70, 4, ImageError::GenerationGap),
        ];
        for slot in [64, 128] {
            table.extend([
                (slot, b'X', ImageError::Magic),
                (slot + 4, 2, ImageError::Version),
                (slot + 5, 2, ImageError::Suite),
            ]);
            table.extend((7..24).map(|at| (slot + at, 1, ImageError::Reserved)));
        }
        table.extend((6..16).map(|at| (at, 1, ImageError::Reserved)));
        for (at, byte, error) in table {
            assert_eq!(FactoryImage::parse(&forged(at, byte)), Err(error), "{byte} at {at}");
        }
    }

    #[test]
    fn erased_flash_is_told_from_other_data() {
        assert_eq!(FactoryImage::parse(&[0xFF; FactoryImage::LEN]), Err(ImageError::Blank));
        assert_eq!(FactoryImage::parse(&[0; FactoryImage::LEN]), Err(ImageError::Magic));
    }

    #[test]
    fn the_parts_in_pages_of_their_own_make_the_image() {
        let image = image([Some(1), None]);
        let parts = image.parts(4096);
        assert_eq!([0, 1, 2].map(|part: usize| parts[part].0), [0, 4096, 8192]);
        let joined: Vec<u8> = parts.iter().flat_map(|(_, part)| part.expose().to_vec()).collect();
        assert_eq!(joined, image.encode().expose());
    }

    #[test]
    fn no_formatter_shows_a_key() {
        let image = image([Some(1), None]);
        let shown = format!("{image:?} {:?}", image.encode());
        assert!(!shown.contains("82") && !shown.contains("52, "), "{shown}");
        assert!(shown.contains("RotationKey(..)") && shown.ends_with("SecretBytes(..)"), "{shown}");
    }
}
