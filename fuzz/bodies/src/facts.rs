//! What the files of a gateway say, read once more, plainly: a journal by its drawing in `gateway/src/serve/journal.rs`, a
//! file of keys by the head of `gateway/src/registry.rs`, a capture by the table of SPEC 4.1.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::wire;

/// The first line of a journal.
pub const HEAD: &[u8] = b"moteseal journal 1\n";

/// What a journal says, as far as a start goes by it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub number: u64,
    pub mark: u32,
    /// By device: 0 active, 1 revoked, 2 quarantined.
    pub statuses: BTreeMap<[u8; 8], u8>,
    /// By device: the generation in service, and the key of the next one, if a rotation has begun.
    generations: BTreeMap<[u8; 8], (u8, bool)>,
    /// The highest boot count noted of each device.
    boots: BTreeMap<[u8; 8], u32>,
}

/// A frame with its check value.
pub fn frame(number: u64, entries: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(entries.len()).expect("short").to_be_bytes().to_vec();
    frame.extend(number.to_be_bytes());
    frame.extend(entries);
    let check = Sha256::digest(&frame);
    frame.extend(&check[..16]);
    frame
}

/// Number, entries and what follows of a frame whose check value is good.
fn first_frame(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let len = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    let number = u64::from_be_bytes(bytes.get(4..12)?.try_into().ok()?);
    let entries = bytes.get(12..len.checked_add(12)?)?;
    let whole = frame(number, entries);
    let rest = bytes.strip_prefix(whole.as_slice())?;
    Some((number, entries, rest))
}

/// Nothing where the journal must be refused.
pub fn journal(bytes: &[u8]) -> Option<Facts> {
    let mut rest = bytes.strip_prefix(HEAD)?;
    let mut facts = Facts::default();
    while let Some((number, entries, behind)) = first_frame(rest) {
        if facts.number != 0 && number != facts.number + 1 || number > u64::MAX / 2 {
            return None;
        }
        facts.number = number;
        facts.read(entries)?;
        rest = behind;
    }
    // What a crash has cut short is the last frame: none that is whole and later stands behind it.
    let later = |at: usize| {
        let found = first_frame(&rest[at..]).map(|(number, ..)| number);
        found.is_some_and(|number| number > facts.number && number - facts.number <= rest.len() as u64)
    };
    (!(1..rest.len()).any(later)).then_some(facts)
}

impl Facts {
    fn read(&mut self, mut entries: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = entries.split_first() {
            let len = match kind {
                1 => 8 + 1 + 32,
                2 | 4 => 8 + 1,
                3 => 8 + 1 + 3 * 32,
                5 => 8 + 4,
                6 => 4,
                7 => 0,
                _ => return None,
            };
            let (fields, behind) = rest.split_at_checked(len)?;
            entries = behind;
            match kind {
                6 => self.mark = u32::from_be_bytes(fields.try_into().ok()?),
                7 => {}
                _ => self.of_device(*kind, fields)?,
            }
        }
        Some(())
    }

    fn of_device(&mut self, kind: u8, fields: &[u8]) -> Option<()> {
        let (id, fields) = fields.split_first_chunk::<8>()?;
        let value = fields[0];
        if kind != 5 && kind != 2 && value == 0 {
            // No generation is 0.
            return None;
        }
        if kind == 1 {
            self.statuses.entry(*id).or_insert(0);
            self.generations.entry(*id).or_insert((value, false));
            return Some(());
        }
        let status = self.statuses.get_mut(id);
        if kind == 2 && value > 2 {
            return None;
        }
        let (status, generation) = (status?, self.generations.get_mut(id)?);
        match kind {
            // M-5: revoked is final.
            2 if *status != 1 => *status = value,
            3 if generation.0.checked_add(1) == Some(value) => generation.1 = true,
            4 if generation.0 < value => {
                if !std::mem::take(&mut generation.1) {
                    return None;
                }
                generation.0 = value;
            }
            5 => {
                let boot = u32::from_be_bytes(fields.try_into().ok()?);
                let noted = self.boots.entry(*id).or_default();
                *noted = boot.max(*noted);
            }
            _ => {}
        }
        Some(())
    }
}

/// The rows of a file of keys as they are to be written, in the order of their devices; nothing where the file must be
/// refused.
pub fn rows(bytes: &[u8], columns: usize) -> Option<BTreeSet<String>> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
    let said = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut lines = text.lines().map(str::trim).filter(said);
    let head = ["device_id,rotation_key", "device_id,generation,device_key"][columns - 2];
    if lines.next()? != head {
        return None;
    }
    let (mut rows, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let fields: Vec<_> = line.split(',').map(|field| field.trim().to_lowercase()).collect();
        let is_hex = |field: &String, len| field.len() == len && hex::decode(field).is_ok();
        if fields.len() != columns || !is_hex(&fields[0], 16) || !is_hex(&fields[columns - 1], 64) {
            return None;
        }
        let mut row = fields.clone();
        if columns == 3 {
            let generation: u8 = fields[1].parse().ok().filter(|generation| *generation > 0)?;
            row[1] = generation.to_string();
        }
        rows.insert(row.join(","));
        if !ids.insert(fields[0].clone()) {
            return None;
        }
    }
    Some(rows)
}

/// Whether a line of a capture is a datagram; only for lines that are nothing but digits.
pub fn is_datagram(digits: &str) -> Option<bool> {
    hex::decode(digits).ok().map(|bytes| wire::is_one(&bytes))
}

/// Words so long that they may be keys, or keys with a digit too few or too many.
pub fn long_words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| word.len() >= 48 && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
