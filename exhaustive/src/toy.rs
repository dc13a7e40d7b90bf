//! The AEAD of an exploration: no secret is kept, but a datagram opens only under the key, the nonce and the
//! associated data that it was sealed with. It keeps a log of what is sealed, from which the properties are judged.
//! What it does cannot be told from a real AEAD by code that never looks at a ciphertext.

use std::cell::RefCell;

use moteseal::aead::{Backend, Nonce, TAG_LEN, Tag};
use moteseal::error::Inauthentic;
use moteseal::keys::{AeadKey, KEY_LEN};

/// A fast keyed check in the place of ChaCha20-Poly1305.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Toy;

/// Something that was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seal {
    /// The key.
    pub key: [u8; KEY_LEN],
    /// The nonce.
    pub nonce: [u8; 12],
    /// The associated data.
    pub aad: Vec<u8>,
    /// The plaintext.
    pub plaintext: Vec<u8>,
}

thread_local! {
    static LOG: RefCell<Vec<Seal>> = const { RefCell::new(Vec::new()) };
}

/// Takes what was sealed on this thread since the last call.
pub fn sealed() -> Vec<Seal> {
    LOG.with_borrow_mut(std::mem::take)
}

impl Backend for Toy {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        let (key, nonce) = (*key.expose(), *nonce.as_bytes());
        let tag = tag(&key, &nonce, aad, buffer);
        let seal = Seal { key, nonce, aad: aad.to_vec(), plaintext: buffer.to_vec() };
        LOG.with_borrow_mut(|log| log.push(seal));
        tag
    }

    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        expected: &Tag,
    ) -> Result<(), Inauthentic> {
        let tag = tag(key.expose(), nonce.as_bytes(), aad, buffer);
        if tag == *expected { Ok(()) } else { Err(Inauthentic) }
    }
}

/// 128 bits over everything. Nobody looks for collisions here; that two inputs of one run have the same tag by chance
/// is as likely as a guess at a real one.
fn tag(key: &[u8], nonce: &[u8], aad: &[u8], text: &[u8]) -> [u8; TAG_LEN] {
    let mut mixed = [0x9E37_79B9_7F4A_7C15_u64, 0xC2B2_AE3D_27D4_EB4F];
    for part in [key, nonce, aad, text] {
        mix(&mut mixed, part.len() as u64);
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(&mut mixed, u64::from_le_bytes(word));
        }
    }
    mix(&mut mixed, 0);
    let mut tag = [0; TAG_LEN];
    tag[..8].copy_from_slice(&mixed[0].to_le_bytes());
    tag[8..].copy_from_slice(&mixed[1].to_le_bytes());
    tag
}

fn mix([a, b]: &mut [u64; 2], word: u64) {
    *a = (*a ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD).rotate_left(29) ^ *b;
    *b = b.wrapping_add(word).wrapping_mul(0x94D0_49BB_1331_11EB).rotate_left(31).wrapping_add(*a);
}
