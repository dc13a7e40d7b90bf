//! The single seam to the cipher: seal, open, the nonces, the usage limit. Nothing else in the crate names a
//! cipher. ChaCha20-Poly1305 (RFC 8439), interface of RFC 5116. SPEC sections 3.4, 5.4 and 5.5.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::consts::U12;
use chacha20poly1305::{ChaChaPoly1305, KeyInit};

use crate::error::Inauthentic;
use crate::keys::AeadKey;
use crate::keystream::Keystream;
use crate::number::{Epoch, Salt, SequenceNumber};

/// Length of a tag in bytes.
pub const TAG_LEN: usize = 16;
/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Failed verifications that one session key may see (RFC 9147, 4.5.3).
pub const FORGERY_LIMIT: u64 = 1 << 36;

/// An authentication tag.
pub type Tag = [u8; TAG_LEN];

/// An implementation of ChaCha20-Poly1305.
///
/// Implementations hold no state: a key serves few datagrams, and set-up is cheap.
pub trait Backend {
    /// Encrypts `buffer` in place and returns the tag over it and `aad`.
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag;

    /// Checks `tag` in constant time and decrypts `buffer` in place.
    ///
    /// # Errors
    /// [`Inauthentic`]; `buffer` then holds nothing of the plaintext.
    fn open(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8], tag: &Tag)
    -> Result<(), Inauthentic>;
}

/// A nonce: made from the numbers of one datagram, used up by sealing or opening it (M-20).
///
/// ```
/// # use moteseal::{aead::{Backend, Nonce, Portable}, keys::AeadKey, number::SequenceNumber};
/// # let (key, mut first, mut second) = (AeadKey::new([7; 32]), [1; 8], [2; 8]);
/// let (one, two) = (Nonce::data(SequenceNumber::new(1)), Nonce::data(SequenceNumber::new(2)));
/// Portable::seal(&key, one, &[], &mut first);
/// Portable::seal(&key, two, &[], &mut second);
/// ```
///
/// One nonce for two plaintexts, which would give both away, does not compile:
///
/// ```compile_fail,E0382
/// # use moteseal::{aead::{Backend, Nonce, Portable}, keys::AeadKey, number::SequenceNumber};
/// # let (key, mut first, mut second) = (AeadKey::new([7; 32]), [1; 8], [2; 8]);
/// let one = Nonce::data(SequenceNumber::new(1));
/// Portable::seal(&key, one, &[], &mut first);
/// Portable::seal(&key, one, &[], &mut second);
/// ```
#[derive(Debug)]
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// Of a Hello, and of the Floor that answers it: `epoch || salt`.
    pub const fn hello(epoch: Epoch, salt: Salt) -> Self {
        let (e, s) = (epoch.as_bytes(), salt.0);
        Self([e[0], e[1], e[2], e[3], e[4], e[5], s[0], s[1], s[2], s[3], s[4], s[5]])
    }

    /// Of a Welcome: `01 || 00 x 11`, once in the life of a key.
    pub const fn welcome() -> Self {
        Self([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Of a Data: `02 || 00 x 9 || seq`.
    pub const fn data(number: SequenceNumber) -> Self {
        Self::numbered(2, number)
    }

    /// Of a Reset: `03 || 00 x 9 || seq` of the Data that it answers.
    pub const fn reset(number: SequenceNumber) -> Self {
        Self::numbered(3, number)
    }

    const fn numbered(kind: u8, number: SequenceNumber) -> Self {
        let [high, low] = number.value().to_be_bytes();
        Self([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low])
    }

    /// The bytes that go into the cipher.
    pub const fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

/// Both ciphers fail on plaintexts over 256 GiB only. Were it to happen, nothing of the plaintext leaves.
fn nothing_sealed(buffer: &mut [u8]) -> Tag {
    buffer.fill(0);
    [0; TAG_LEN]
}

/// The backend for devices and the default: the portable `chacha20poly1305`.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

type Cipher = ChaChaPoly1305<Keystream, U12>;

impl Backend for Portable {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        let cipher = Cipher::new(key.expose().into());
        match cipher.encrypt_inout_detached(&nonce.0.into(), aad, (&mut *buffer).into()) {
            Ok(tag) => tag.into(),
            Err(_) => nothing_sealed(buffer),
        }
    }

    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Inauthentic> {
        Cipher::new(key.expose().into())
            .decrypt_inout_detached(&nonce.0.into(), aad, buffer.into(), tag.into())
            .map_err(|_| Inauthentic)
    }
}

/// The backend for hosts: the assembly of `ring`.
#[cfg(feature = "ring")]
#[derive(Clone, Copy, Debug)]
pub struct Ring;

#[cfg(feature = "ring")]
impl Backend for Ring {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        use ring::aead;
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        // `ring`'s keys are half a kilobyte: they are not passed through closures.
        let Ok(key) = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key.expose()) else {
            return nothing_sealed(buffer);
        };
        let sealed =
            aead::LessSafeKey::new(key).seal_in_place_separate_tag(nonce, aead::Aad::from(aad), buffer);
        match sealed.map(|tag| tag.as_ref().try_into()) {
            Ok(Ok(tag)) => tag,
            _ => nothing_sealed(buffer),
        }
    }

    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Inauthentic> {
        use ring::aead;
        let nonce = aead::Nonce::assume_unique_for_key(nonce.0);
        let Ok(key) = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key.expose()) else {
            return Err(Inauthentic);
        };
        aead::LessSafeKey::new(key)
            .open_in_place_separate_tag(nonce, aead::Aad::from(aad), aead::Tag::from(*tag), buffer, 0..)
            .map(|_| ())
            .map_err(|_| Inauthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no test can bring a cipher to say: a plaintext that it does not seal must not travel as it is.
    #[test]
    fn what_cannot_be_sealed_is_gone() {
        let mut buffer = [7; 5];
        assert_eq!(nothing_sealed(&mut buffer), [0; TAG_LEN]);
        assert_eq!(buffer, [0; 5]);
    }

    /// SPEC 5.5: 2^36.
    #[test]
    fn a_key_sees_as_many_forgeries_as_the_specification_says() {
        assert_eq!(FORGERY_LIMIT, 0x10_0000_0000);
    }
}
