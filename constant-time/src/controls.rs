//! Code that leaks. If memcheck did not flag every one of these, a table without faults would mean nothing.

use std::hint::black_box;

use moteseal::aead::{Backend, Nonce, Portable, Tag};
use moteseal::error::Inauthentic;
use moteseal::keys::{AeadKey, DeviceKey};
use moteseal::number::SequenceNumber;

use crate::judged::Judged;
use crate::memcheck::secret;
use crate::table::Table;

/// Runs all of them.
pub fn run(table: &mut Table) {
    Table::group("controls: each of them must be flagged");
    let (key, other) = (secret([7; 32]), [7; 32]);
    table.leaking("an early exit at the first byte that differs", 1, || early_exit(&key, &other));
    table.leaking("an iterator that stops where bytes differ", 1, || iterator(&key, &other));
    table.leaking("a table that is indexed by a secret", 0, || look_up(&key));
    table.leaking("a branch on one bit of a secret", 0, || branch(&key));
    table.leaking("a loop that runs as often as a secret says", 0, || repeat(&key));
    let key = AeadKey::new(secret([7; 32]));
    let mut text = secret([1; 32]);
    let tag = Portable::seal(&key, Nonce::data(SequenceNumber::FIRST), &[0x60], &mut text);
    crate::memcheck::publish(&tag);
    crate::memcheck::publish(&text);
    table
        .leaking("an AEAD that leaves the comparison of tags early", 0, || {
            Judged::<EarlyExit>::open(&key, Nonce::data(SequenceNumber::FIRST), &[0x60], &mut text, &tag)
        })
        .expect("the tag is right");
    let device_key = DeviceKey::new(secret([9; 32]));
    table.leaking("a key as the name that something is found by", 0, || found(&device_key));
}

#[inline(never)]
fn early_exit(left: &[u8], right: &[u8]) -> bool {
    let (left, right) = (black_box(left), black_box(right));
    for at in 0..black_box(left.len()) {
        // One byte after the other: LLVM would compare sixteen at once.
        if black_box(left[at]) != right[at] {
            return false;
        }
    }
    true
}

#[inline(never)]
fn iterator(left: &[u8], right: &[u8]) -> bool {
    left.iter().zip(right).all(|(left, right)| black_box(*left) == *right)
}

#[inline(never)]
fn look_up(key: &[u8; 32]) -> u8 {
    let table: [u8; 256] = black_box(std::array::from_fn(|at| u8::try_from(at).unwrap_or(0) ^ 0x5A));
    black_box(table[usize::from(key[3])])
}

#[inline(never)]
fn branch(key: &[u8; 32]) -> u32 {
    if key[5] & 1 == 1 { black_box(long(3)) } else { 0 }
}

#[inline(never)]
fn long(rounds: u32) -> u32 {
    (0..black_box(rounds)).map(black_box).sum()
}

#[inline(never)]
fn repeat(key: &[u8; 32]) -> u32 {
    long(u32::from(key[1] & 7))
}

#[inline(never)]
fn found(key: &DeviceKey) -> Option<usize> {
    let known: Vec<[u8; 32]> = black_box((0..8).map(|at| [at; 32]).collect());
    known.iter().position(|other| iterator(other, key.expose()))
}

/// Portable, but for the last step: the tag is made anew and compared byte by byte.
struct EarlyExit;

impl Backend for EarlyExit {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        Portable::seal(key, nonce, aad, buffer)
    }

    fn open(key: &AeadKey, _: Nonce, aad: &[u8], buffer: &mut [u8], tag: &Tag) -> Result<(), Inauthentic> {
        let nonce = || Nonce::data(SequenceNumber::FIRST);
        // Sealing twice takes the keystream off; sealing that once more makes the tag.
        let _ = Portable::seal(key, nonce(), aad, buffer);
        let expected = Portable::seal(key, nonce(), aad, &mut buffer.to_vec());
        if early_exit(&expected, tag) { Ok(()) } else { Err(Inauthentic) }
    }
}
