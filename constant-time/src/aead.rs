//! Sealing and opening, by each backend: payloads around the lengths at which the code changes, and tags that are wrong in
//! different places.

use moteseal::aead::{Backend, Nonce, Tag};
use moteseal::keys::AeadKey;
use moteseal::number::SequenceNumber;

use crate::judged::Judged;
use crate::memcheck::{publish, secret};
use crate::table::Table;

/// Around the block of ChaCha20, what is done at once on hosts (4 and 16 blocks), and Poly1305.
const LENGTHS: [usize; 16] = [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192, 255, 256, 1024, 1200];
const AAD: [u8; 3] = [0x60, 5, 9];

fn nonce() -> Nonce {
    Nonce::data(SequenceNumber::new(9))
}

/// Runs all of them with the backend `A`.
pub fn run<A: Backend>(table: &mut Table, name: &str) {
    Table::group(&format!("AEAD: {name}, payloads of {} lengths up to 1,200 bytes", LENGTHS.len()));
    let key = AeadKey::new(secret([7; 32]));
    let mut texts = LENGTHS.map(|len| secret([0x42; 1200])[..len].to_vec());
    let seal = |text: &mut Vec<u8>| A::seal(&key, nonce(), &AAD, text);
    let tags = table.clean("seal", || texts.each_mut().map(seal));
    publish(tags.as_flattened());
    publish_all(&texts);
    let masks = [
        ("right", [0; 16]),
        ("wrong at byte 0", at(0, 1)),
        ("wrong at byte 7", at(7, 0x80)),
        ("wrong at byte 15", at(15, 1)),
        ("wrong in every bit", [0xFF; 16]),
    ];
    for (what, mask) in masks {
        let opened = table.clean(&format!("open, tag {what}"), || {
            let open = |(text, tag): (&Vec<u8>, &Tag)| {
                let tag = std::array::from_fn(|at| tag[at] ^ mask[at]);
                Judged::<A>::open(&key, nonce(), &AAD, &mut text.clone(), &tag)
            };
            texts.iter().zip(&tags).flat_map(open).count()
        });
        assert_eq!(opened, if mask == [0; 16] { LENGTHS.len() } else { 0 });
    }
}

/// Ciphertexts travel.
fn publish_all(texts: &[Vec<u8>]) {
    for text in texts {
        publish(text);
    }
}

/// A mask for one byte of a tag.
fn at(at: usize, mask: u8) -> Tag {
    let mut tag = [0; 16];
    tag[at] = mask;
    tag
}
