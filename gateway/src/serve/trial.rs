//! A file that is only looked at: what is written to it stays in memory and is forgotten. With it a store is
//! opened, repaired and checked on trial, so that one that is refused is left as it was found.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// How much of the file one piece of the overlay covers, in bytes.
const PIECE: u64 = 4_096;

/// The file and what was written over it.
#[derive(Debug)]
pub struct Trial {
    file: File,
    overlay: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    len: u64,
    /// How much of the file itself still counts.
    file_len: u64,
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl Trial {
    /// Opens the file for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, overlay: Mutex::new(Overlay { len, file_len: len, pieces: BTreeMap::new() }) })
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One piece of the file as it is, with zeros behind its end.
    fn piece(&self, number: u64, file_len: u64) -> io::Result<Box<[u8]>> {
        let start = number * PIECE;
        let mut piece = vec![0; index(PIECE)];
        let there = file_len.saturating_sub(start).min(PIECE);
        if let Some(there) = piece.get_mut(..index(there)) {
            self.file.read_exact_at(there, start)?;
        }
        Ok(piece.into())
    }
}

/// The parts of a range, by piece: its number, where the part begins in it, and how long it is.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(len as u64);
    (offset / PIECE..end.div_ceil(PIECE)).map(move |number| {
        let start = number * PIECE;
        let (from, to) = (offset.max(start) - start, end.min(start + PIECE) - start);
        (number, index(from), index(to - from))
    })
}

/// At most the length of one piece.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.overlay().len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let overlay = self.overlay();
        if offset.saturating_add(out.len() as u64) > overlay.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, from, len) in parts(offset, out.len()) {
            let (to, rest) = out.split_at_mut(len);
            match overlay.pieces.get(&number) {
                Some(piece) => to.copy_from_slice(&piece[from..from + len]),
                None => to.copy_from_slice(&self.piece(number, overlay.file_len)?[from..from + len]),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut overlay = self.overlay();
        if len < overlay.len {
            // What is cut off is zero where the file grows again.
            let last = len / PIECE;
            overlay.pieces.retain(|number, _| *number <= last);
            if let Some(piece) = overlay.pieces.get_mut(&last) {
                piece[index(len % PIECE)..].fill(0);
            }
            overlay.file_len = overlay.file_len.min(len);
        }
        overlay.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut overlay = self.overlay();
        if offset.saturating_add(data.len() as u64) > overlay.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let file_len = overlay.file_len;
        for (number, from, len) in parts(offset, data.len()) {
            let (part, rest) = data.split_at(len);
            let piece = match overlay.pieces.entry(number) {
                Entry::Occupied(piece) => piece.into_mut(),
                Entry::Vacant(place) => place.insert(self.piece(number, file_len)?),
            };
            piece[from..from + len].copy_from_slice(part);
            data = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain vector.
        #[test]
        fn it_reads_what_was_written_and_leaves_the_file_alone(
            steps in proptest::collection::vec((0u64..20_000, 0usize..9_000, any::<u8>(), any::<bool>()), 1..12),
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut model: Vec<u8> = (0..10_000u32).map(|at| at.to_be_bytes()[3] | 1).collect();
            std::fs::write(file.path(), &model).unwrap();
            let before = model.clone();
            let trial = Trial::open(file.path()).unwrap();
            for (offset, len, byte, resizes) in steps {
                if resizes {
                    model.resize(usize::try_from(offset).unwrap(), 0);
                    trial.set_len(offset).unwrap();
                } else if offset + len as u64 <= model.len() as u64 {
                    let at = usize::try_from(offset).unwrap();
                    model[at..at + len].fill(byte);
                    trial.write(offset, &vec![byte; len]).unwrap();
                }
                let mut read = vec![0; model.len()];
                trial.read(0, &mut read).unwrap();
                prop_assert!(read == model);
                prop_assert!(trial.read(1, &mut read).is_err() || model.is_empty());
            }
            prop_assert!(std::fs::read(file.path()).unwrap() == before);
        }
    }
}
