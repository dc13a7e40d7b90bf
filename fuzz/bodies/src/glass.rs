//! A cipher of glass, through the crate's own seam: what goes in comes out, and whoever sets one bit has a good tag. So
//! a fuzzer's raw bytes are authentic, and everything behind the tag is reached. Nothing else is switched off by it.

use moteseal::aead::{Backend, NONCE_LEN, Nonce, TAG_LEN, Tag};
use moteseal::error::Inauthentic;
use moteseal::keys::AeadKey;

/// The cipher.
#[derive(Clone, Copy, Debug)]
pub struct Glass;

/// The bit of a tag's last byte that makes any tag good.
pub const MASTER: u8 = 0x80;

/// The tag that sealing gives: everything that it must bind, folded into 16 bytes. Never the master bit.
pub fn tag(key: &[u8; 32], nonce: &[u8; NONCE_LEN], aad: &[u8], text: &[u8]) -> Tag {
    let mut sum = 0xCBF2_9CE4_8422_2325_u128;
    let lengths = [aad.len().to_be_bytes(), text.len().to_be_bytes()];
    for byte in key.iter().chain(nonce).chain(aad).chain(text).chain(lengths.as_flattened()) {
        sum = (sum ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    let mut tag = (sum ^ sum >> 64).to_be_bytes();
    tag[TAG_LEN - 1] &= !MASTER;
    tag
}

impl Backend for Glass {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        tag(key.expose(), nonce.as_bytes(), aad, buffer)
    }

    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        found: &Tag,
    ) -> Result<(), Inauthentic> {
        let good =
            found[TAG_LEN - 1] & MASTER != 0 || *found == tag(key.expose(), nonce.as_bytes(), aad, buffer);
        if good {
            return Ok(());
        }
        // As the trait demands: nothing of the plaintext is left.
        buffer.fill(0);
        Err(Inauthentic)
    }
}
