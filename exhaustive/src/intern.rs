//! Things that are many and equal, under small numbers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

/// A hasher for small keys: what is hashed here is made by the exploration itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quick(u64);

/// Builds it.
pub type QuickBuild = BuildHasherDefault<Quick>;

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}

/// The number of something that was seen before, or a new number.
#[derive(Debug)]
pub struct Intern<T> {
    ids: HashMap<Rc<T>, u32, QuickBuild>,
    values: Vec<Rc<T>>,
}

impl<T: Eq + Hash> Intern<T> {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self { ids: HashMap::default(), values: Vec::new() }
    }

    /// The number of `value`.
    pub fn id(&mut self, value: T) -> u32 {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let (id, value) = (number(self.values.len()), Rc::new(value));
        self.values.push(Rc::clone(&value));
        self.ids.insert(value, id);
        id
    }

    /// What has this number.
    pub fn value(&self, id: u32) -> &Rc<T> {
        &self.values[id as usize]
    }
}

/// A count as a small number.
pub fn number(count: usize) -> u32 {
    u32::try_from(count).expect("an exploration has fewer than 2^32 of anything")
}
