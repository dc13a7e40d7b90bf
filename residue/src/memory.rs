//! The memory of another process, and what of some keys is in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// The shortest piece of a key that counts in a process: shorter ones are there by chance.
pub const SHORTEST: usize = 8;
/// The shortest one that counts in the little memory of a microcontroller, which puts words between others.
pub const WORD: usize = 4;

/// What the names of Poly1305's keys begin with.
pub const ONE_TIME: &str = "one-time key";

/// Bytes that must not be left behind.
#[derive(Clone, Debug)]
pub struct Needle {
    /// What they are.
    pub name: String,
    /// As they stand.
    pub bytes: Vec<u8>,
}

/// A piece of a key.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Of which.
    pub name: String,
    /// How many bytes in a row.
    pub len: usize,
    /// Where.
    pub at: usize,
    /// The name of that mapping, if it has one.
    pub mapping: String,
}

impl Piece {
    /// Whether it is of a key of Poly1305.
    pub fn is_one_time(&self) -> bool {
        self.name.starts_with(ONE_TIME)
    }
}

/// Searches everything that the process can write: heap, stacks, globals.
pub fn search(pid: u32, needles: &[Needle]) -> io::Result<Vec<Piece>> {
    let index = index::<SHORTEST>(needles);
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut pieces = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let Some((range, mapping)) = writable(line) else { continue };
        let mut bytes = vec![0; range.len()];
        // What cannot be read is not there for anybody: guard pages, mappings of the kernel.
        if memory.read_exact_at(&mut bytes, range.start as u64).is_ok() {
            within(&bytes, range.start, mapping, needles, &index, &mut pieces);
        }
    }
    Ok(pieces)
}

/// A line of `maps`: `start-end perms offset device inode name`.
fn writable(line: &str) -> Option<(Range<usize>, &str)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let parse = |digits| usize::from_str_radix(digits, 16).ok();
    let range = parse(start)?..parse(end)?;
    fields.next().filter(|permissions| permissions.starts_with("rw"))?;
    Some((range, fields.nth(3).unwrap_or("")))
}

/// Searches the RAM of another machine, which begins at this address.
pub fn search_ram(bytes: &[u8], start: usize, needles: &[Needle]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    within(bytes, start, "", needles, &index::<WORD>(needles), &mut pieces);
    pieces
}

type Index<const N: usize> = HashMap<[u8; N], Vec<(usize, usize)>>;

/// Every stretch of the shortest length, with its needle and place.
fn index<const N: usize>(needles: &[Needle]) -> Index<N> {
    let mut index = Index::new();
    for (number, needle) in needles.iter().enumerate() {
        for (at, window) in needle.bytes.windows(N).enumerate() {
            let window = window.try_into().expect("that long");
            index.entry(window).or_default().push((number, at));
        }
    }
    index
}

fn within<const N: usize>(
    bytes: &[u8],
    start: usize,
    mapping: &str,
    needles: &[Needle],
    index: &Index<N>,
    pieces: &mut Vec<Piece>,
) {
    // Where the piece that was found last ends, of each needle.
    let mut ends = vec![0; needles.len()];
    for (at, window) in bytes.windows(N).enumerate() {
        let Some(found) = window.first_chunk().and_then(|window| index.get(window)) else { continue };
        for (number, from) in found {
            if at < ends[*number] {
                continue;
            }
            let Needle { name, bytes: needle } = &needles[*number];
            let same = bytes[at..].iter().zip(&needle[*from..]).take_while(|(a, b)| a == b);
            let len = same.count();
            ends[*number] = at + len - N + 1;
            pieces.push(Piece { name: name.clone(), len, at: start + at, mapping: mapping.to_owned() });
        }
    }
}
