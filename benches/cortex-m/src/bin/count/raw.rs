//! The raw primitives: ChaCha20-Poly1305 with its key set-up and as many bytes of associated data as a Data has, and
//! HKDF-Expand to the two keys of a session.

use core::hint::black_box;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::measure::{Aligned, LENGTHS, measure, measure_len};

const SEAL: [&str; 5] = ["raw/seal/0", "raw/seal/16", "raw/seal/64", "raw/seal/256", "raw/seal/1024"];
const OPEN: [&str; 5] = ["raw/open/0", "raw/open/16", "raw/open/64", "raw/open/256", "raw/open/1024"];
/// With an acknowledgement block before the payload.
const ACK_SEAL: [&str; 5] = ["raw/seal/3", "raw/seal/19", "raw/seal/67", "raw/seal/259", "raw/seal/1027"];
const ACK_OPEN: [&str; 5] = ["raw/open/3", "raw/open/19", "raw/open/67", "raw/open/259", "raw/open/1027"];
/// Where the ciphertext of a Data begins.
const HEADER_LEN: usize = 3;

#[inline(never)]
fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; 16] {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt_inout_detached(&nonce.into(), aad, buffer.into()).expect("short").into()
}

#[inline(never)]
fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8], tag: &[u8; 16]) -> bool {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(&nonce.into(), aad, buffer.into(), tag.into()).is_ok()
}

/// Counts both ways at each length, and HKDF.
#[inline(never)]
pub fn run() {
    let (key, nonce, aad) = (black_box([7; 32]), black_box([2; 12]), black_box([0x60, 5, 9]));
    let Aligned(datagram) = &mut Aligned([0xA5; HEADER_LEN + 1027]);
    for (extra, seals, opens) in [(0, &SEAL, &OPEN), (3, &ACK_SEAL, &ACK_OPEN)] {
        for (at, len) in LENGTHS.into_iter().enumerate() {
            // As it lies in a datagram, and nothing known of its place.
            let text = black_box(&mut datagram[HEADER_LEN..HEADER_LEN + len + extra]);
            let tag = measure_len(seals, at, || seal(&key, nonce, &aad, text));
            assert!(measure_len(opens, at, || open(&key, nonce, &aad, text, black_box(&tag))));
            assert!(text.iter().all(|byte| *byte == 0xA5));
        }
    }
    let mut okm = [0; 64];
    measure("raw/hkdf", || {
        let hkdf = Hkdf::<Sha256>::from_prk(black_box(&key)).expect("32 bytes");
        hkdf.expand_multi_info(&[b"moteseal 1 session", &[1], &[0; 8], &[0; 6], &[0; 6], &[0; 8]], &mut okm)
    })
    .expect("two blocks");
    black_box(okm);
}
