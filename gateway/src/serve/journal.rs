//! The administrative journal: what must survive a restored backup. A file that only grows, save when a rotation
//! is finished: then it is written anew, without the old key. It is as secret as the store and part of no backup.
//! SPEC section 7.7.
//!
//! ```text
//! file   "moteseal journal 1\n" | frame | frame | ...
//! frame  length of entries 4 | number 8 | entries | check 16      numbers follow each other
//! entry  kind 1 | fields                                          a frame is written and synced as one
//! check  the first 16 bytes of SHA-256 over the frame before it
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use moteseal::keys::{DeviceKey, KEY_LEN, RotationSecret};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::Status;
use moteseal::server::RecordChange;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::files::FileError;

const HEAD: &[u8] = b"moteseal journal 1\n";
const FRAME_HEAD_LEN: usize = 12;
const CHECK_LEN: usize = 16;
/// The longest journal that is read, in bytes.
const MAX_LEN: u64 = 1 << 32;

/// One fact.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A device and its key.
    Provisioned(DeviceId, Generation, DeviceKey),
    /// Its status from now on.
    Status(DeviceId, Status),
    /// A rotation to this generation: its secret, the new key and the old one.
    RotationBegun(DeviceId, Generation, RotationSecret, DeviceKey, DeviceKey),
    /// A session under this generation was confirmed: the key before it is gone.
    RotationFinished(DeviceId, Generation),
    /// A boot count that the device has come to (M-127).
    BootNoted(DeviceId, u32),
    /// The high-water mark.
    Mark(u32),
    /// A record was written since the mark was raised last.
    Written,
}

/// What the journal knows of one device.
#[derive(Clone, Debug)]
pub struct Known {
    pub generation: Generation,
    pub key: DeviceKey,
    pub status: Status,
    /// The secret and the key of the next generation.
    pub rotation: Option<(RotationSecret, DeviceKey)>,
    /// The highest boot count noted.
    pub boot: u32,
}

/// What all entries together say.
#[derive(Debug, Default)]
pub struct State {
    pub devices: BTreeMap<DeviceId, Known>,
    pub mark: u32,
    pub written: bool,
}

/// The open file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The length of what is good; behind it nothing is.
    len: u64,
    /// The number of the last frame.
    number: u64,
    state: State,
    /// A write failed: what the file holds now nobody knows, so it is written anew.
    is_torn: bool,
    /// A crash left part of a frame behind what is good.
    has_tail: bool,
}

/// What a change of a record has to say to the journal.
pub fn entries_of(change: &RecordChange) -> Vec<Entry> {
    let (before, after) = (&change.expected, &change.record);
    let device_id = after.device_id();
    let mut entries = Vec::new();
    if before.status() != after.status() {
        entries.push(Entry::Status(device_id, after.status()));
    }
    if before.generation() != after.generation() {
        entries.push(Entry::RotationFinished(device_id, after.generation()));
    } else if let (None, Some(rotation), Some(next)) =
        (before.rotation(), after.rotation(), after.generation().next())
    {
        let (secret, key) = (rotation.secret.clone(), rotation.key.clone());
        entries.push(Entry::RotationBegun(device_id, next, secret, key, before.key().clone()));
    }
    entries.extend(change.note_boot.map(|boot| Entry::BootNoted(device_id, boot)));
    entries
}

impl Journal {
    /// Makes an empty journal.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let fail = |error| FileError::new(path, format_args!("cannot be created: {error}"));
        let file = replace(path, HEAD).map_err(fail)?;
        let (len, state) = (HEAD.len() as u64, State::default());
        Ok(Self { path: path.to_owned(), file, len, number: 0, state, is_torn: false, has_tail: false })
    }

    /// Reads a journal. A frame that a crash cut short, the last one, was never acted on and is left out; any
    /// other damage is an error. Nothing is written.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let bytes = crate::files::read(path, MAX_LEN)?;
        let damaged = |what: &str| {
            FileError::new(
                path,
                format_args!("{what}; put the newest intact copy of the journal in its place"),
            )
        };
        let mut rest = bytes.strip_prefix(HEAD).ok_or_else(|| damaged("is not a journal, or damaged"))?;
        let (mut number, mut state) = (0, State::default());
        while !rest.is_empty() {
            let Some((frame_number, entries, behind)) = split_frame(rest) else {
                if has_frame_after(rest, number) {
                    return Err(damaged("is damaged in the middle"));
                }
                break;
            };
            if number != 0 && frame_number != number + 1 {
                return Err(damaged("lacks entries in the middle"));
            }
            // Nothing that this program has counted: entries would run out of numbers.
            if frame_number > u64::MAX / 2 {
                return Err(damaged("has numbers that no gateway has counted"));
            }
            state.read(entries).map_err(damaged)?;
            (number, rest) = (frame_number, behind);
        }
        let len = (bytes.len() - rest.len()) as u64;
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| FileError::new(path, format_args!("cannot be written: {error}")))?;
        let (path, has_tail) = (path.to_owned(), !rest.is_empty());
        Ok(Self { path, file, len, number, state, is_torn: false, has_tail })
    }

    /// Cuts off what a crash left of a frame, once it is certain that the store knows of no such frame.
    pub fn cut_tail(&mut self) -> Result<(), FileError> {
        if self.has_tail {
            tracing::warn!("{}: the last entry was cut short by a crash and is dropped", self.path.display());
            let cut = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
            cut.map_err(|error| FileError::new(&self.path, format_args!("cannot be written: {error}")))?;
        }
        self.has_tail = false;
        Ok(())
    }

    /// What it says.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The number of its last frame, which a store carries to tell that a journal was rolled back.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// A write failed: what is known is not in the file, and another append is due, of nothing if need be.
    pub const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Writes these entries, all or none, and syncs. After an error it is to be called again; what is known by then
    /// is written with whatever is added.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            self.state.apply(entry).map_err(io::Error::other)?;
        }
        let scrubs = entries.iter().any(|entry| matches!(entry, Entry::RotationFinished(..)));
        if self.is_torn || self.has_tail || scrubs {
            self.rewrite()?;
        } else {
            self.is_torn = true;
            let frame = frame(self.number + 1, entries);
            self.file.write_all_at(&frame, self.len)?;
            self.file.sync_data()?;
            self.len += frame.len() as u64;
        }
        self.number += 1;
        (self.is_torn, self.has_tail) = (false, false);
        Ok(())
    }

    /// M-79: everything that is known, and nothing that has been erased, in a new file.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut contents = Zeroizing::new(HEAD.to_vec());
        contents.append(&mut frame(self.number + 1, &self.state.entries()));
        self.is_torn = true;
        let old = std::mem::replace(&mut self.file, replace(&self.path, &contents)?);
        self.len = contents.len() as u64;
        // The old file has no name any more. Its blocks need not outlive it either; where a file system
        // writes elsewhere instead, this is in vain.
        let _ = old.metadata().and_then(|old_file| overwrite(&old, old_file.len()));
        Ok(())
    }
}

/// Writes a file whole: beside its place, synced, then renamed into it.
fn replace(path: &Path, contents: &[u8]) -> io::Result<File> {
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    super::sync_directory_of(path)?;
    Ok(file)
}

fn overwrite(file: &File, len: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    for at in (0..len).step_by(zeros.len()) {
        let part = usize::try_from(len - at).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all_at(&zeros[..part], at)?;
    }
    file.sync_data()
}

fn check(frame: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::digest(frame).into();
    std::array::from_fn(|at| digest[at])
}

fn frame(number: u64, entries: &[Entry]) -> Zeroizing<Vec<u8>> {
    let mut frame = Zeroizing::new(Vec::with_capacity(64 + 128 * entries.len()));
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&number.to_be_bytes());
    for entry in entries {
        entry.encode(&mut frame);
    }
    let len = u32::try_from(frame.len() - FRAME_HEAD_LEN).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&len.to_be_bytes());
    let check = check(&frame);
    frame.extend_from_slice(&check);
    frame
}

/// The first frame: its number, its entries, and what follows it. Nothing unless its check value is right.
fn split_frame(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (head, _) = bytes.split_first_chunk::<FRAME_HEAD_LEN>()?;
    let [a, b, c, d, number @ ..] = *head;
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let (frame, rest) = bytes.split_at_checked(FRAME_HEAD_LEN.checked_add(len)?)?;
    let (found, rest) = rest.split_first_chunk::<CHECK_LEN>()?;
    let entries = frame.get(FRAME_HEAD_LEN..)?;
    (check(frame) == *found).then_some((u64::from_be_bytes(number), entries, rest))
}

/// Whether an intact frame follows somewhere: then this damage was not done by a crash, since a frame is
/// written only after the one before it is synced.
fn has_frame_after(bytes: &[u8], number: u64) -> bool {
    let plausible = |at: &usize| {
        let head = bytes.get(at + 4..at + FRAME_HEAD_LEN).and_then(|head| head.try_into().ok());
        head.map(u64::from_be_bytes)
            .is_some_and(|found| found > number && found - number <= bytes.len() as u64)
    };
    (1..bytes.len()).filter(plausible).any(|at| split_frame(&bytes[at..]).is_some())
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, parts: &[&[u8]]| {
            out.push(kind);
            for part in parts {
                out.extend_from_slice(part);
            }
        };
        match self {
            Self::Provisioned(id, generation, key) => {
                put(1, &[id.as_bytes(), &[generation.number()], key.expose()]);
            }
            Self::Status(id, status) => {
                let status = match status {
                    Status::Active => 0,
                    Status::Revoked => 1,
                    Status::Quarantined => 2,
                };
                put(2, &[id.as_bytes(), &[status]]);
            }
            Self::RotationBegun(id, next, secret, key, old) => {
                let keys = [secret.expose().as_slice(), key.expose(), old.expose()];
                put(3, &[id.as_bytes(), &[next.number()], keys[0], keys[1], keys[2]]);
            }
            Self::RotationFinished(id, generation) => put(4, &[id.as_bytes(), &[generation.number()]]),
            Self::BootNoted(id, boot) => put(5, &[id.as_bytes(), &boot.to_be_bytes()]),
            Self::Mark(mark) => put(6, &[&mark.to_be_bytes()]),
            Self::Written => put(7, &[]),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let [kind] = reader.take()?;
        Some(match kind {
            1 => Self::Provisioned(reader.device_id()?, reader.generation()?, reader.key()?),
            2 => {
                let (device_id, [status]) = (reader.device_id()?, reader.take()?);
                let status = match status {
                    0 => Status::Active,
                    1 => Status::Revoked,
                    2 => Status::Quarantined,
                    _ => return None,
                };
                Self::Status(device_id, status)
            }
            3 => Self::RotationBegun(
                reader.device_id()?,
                reader.generation()?,
                RotationSecret::from_bytes(reader.take()?),
                reader.key()?,
                reader.key()?,
            ),
            4 => Self::RotationFinished(reader.device_id()?, reader.generation()?),
            5 => Self::BootNoted(reader.device_id()?, u32::from_be_bytes(reader.take()?)),
            6 => Self::Mark(u32::from_be_bytes(reader.take()?)),
            7 => Self::Written,
            _ => return None,
        })
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take<const L: usize>(&mut self) -> Option<[u8; L]> {
        let (taken, rest) = self.0.split_first_chunk::<L>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn device_id(&mut self) -> Option<DeviceId> {
        self.take().map(DeviceId::new)
    }

    fn generation(&mut self) -> Option<Generation> {
        self.take().and_then(|[number]| Generation::new(number))
    }

    fn key(&mut self) -> Option<DeviceKey> {
        self.take::<KEY_LEN>().map(DeviceKey::new)
    }
}

impl State {
    fn read(&mut self, entries: &[u8]) -> Result<(), &'static str> {
        let mut reader = Reader(entries);
        while !reader.0.is_empty() {
            let entry = Entry::decode(&mut reader).ok_or("holds an entry of another version")?;
            self.apply(&entry)?;
        }
        Ok(())
    }

    /// Takes note of an entry. The same entry again changes nothing.
    fn apply(&mut self, entry: &Entry) -> Result<(), &'static str> {
        const UNKNOWN: &str = "speaks of a device that it does not know";
        match entry {
            Entry::Provisioned(device_id, generation, key) => {
                let (generation, key) = (*generation, key.clone());
                let known = Known { generation, key, status: Status::Active, rotation: None, boot: 0 };
                self.devices.entry(*device_id).or_insert(known);
            }
            Entry::Status(device_id, status) => {
                let known = self.devices.get_mut(device_id).ok_or(UNKNOWN)?;
                if known.status != Status::Revoked {
                    known.status = *status;
                }
            }
            Entry::RotationBegun(device_id, next, secret, key, _) => {
                let known = self.devices.get_mut(device_id).ok_or(UNKNOWN)?;
                if known.generation.next() == Some(*next) {
                    known.rotation = Some((secret.clone(), key.clone()));
                }
            }
            Entry::RotationFinished(device_id, generation) => {
                let known = self.devices.get_mut(device_id).ok_or(UNKNOWN)?;
                if known.generation < *generation {
                    let rotation = known.rotation.take();
                    let (_, key) = rotation.ok_or("finishes a rotation that was not begun")?;
                    (known.generation, known.key) = (*generation, key);
                }
            }
            Entry::BootNoted(device_id, boot) => {
                let known = self.devices.get_mut(device_id).ok_or(UNKNOWN)?;
                known.boot = known.boot.max(*boot);
            }
            Entry::Mark(mark) => (self.mark, self.written) = (*mark, false),
            Entry::Written => self.written = true,
        }
        Ok(())
    }

    /// The fewest entries that say the same, as a frame holds them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.entries().iter().for_each(|entry| entry.encode(&mut bytes));
        bytes
    }

    /// The fewest entries that say the same.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Mark(self.mark)];
        for (id, known) in &self.devices {
            entries.push(Entry::Provisioned(*id, known.generation, known.key.clone()));
            if known.status != Status::Active {
                entries.push(Entry::Status(*id, known.status));
            }
            if let (Some((secret, key)), Some(next)) = (&known.rotation, known.generation.next()) {
                let (secret, key) = (secret.clone(), key.clone());
                entries.push(Entry::RotationBegun(*id, next, secret, key, known.key.clone()));
            }
            if known.boot != 0 {
                entries.push(Entry::BootNoted(*id, known.boot));
            }
        }
        if self.written {
            entries.push(Entry::Written);
        }
        entries
    }
}

#[cfg(test)]
impl Journal {
    /// As on a full disk: the next write fails.
    pub fn fail_once(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: DeviceId = DeviceId::new([7; 8]);

    fn generation(number: u8) -> Generation {
        Generation::new(number).unwrap()
    }

    fn key(byte: u8) -> DeviceKey {
        DeviceKey::new([byte; KEY_LEN])
    }

    /// A device whose rotation has begun, and everything else that there is.
    fn entries() -> Vec<Entry> {
        let secret = RotationSecret::from_bytes([3; KEY_LEN]);
        vec![
            Entry::Provisioned(ID, Generation::FIRST, key(1)),
            Entry::Status(ID, Status::Quarantined),
            Entry::RotationBegun(ID, generation(2), secret, key(2), key(1)),
            Entry::BootNoted(ID, 1 << 20),
            Entry::Mark(77),
            Entry::Written,
        ]
    }

    fn bytes_of(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            entry.encode(&mut bytes);
        }
        bytes
    }

    fn with_journal(test: impl FnOnce(Journal, &Path)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        test(Journal::create(&path).unwrap(), &path);
    }

    #[test]
    fn what_is_written_is_read() {
        with_journal(|mut journal, path| {
            for entry in entries() {
                journal.append(&[entry]).unwrap();
            }
            let read = Journal::open(path).unwrap();
            assert_eq!((read.number(), read.state().mark, read.state().written), (6, 77, true));
            let known = &read.state().devices[&ID];
            assert_eq!(
                (known.generation, known.status, known.boot),
                (generation(1), Status::Quarantined, 1 << 20)
            );
            assert_eq!((&known.key, &known.rotation.as_ref().unwrap().1), (&key(1), &key(2)));
            assert_eq!(bytes_of(&read.state().entries()), bytes_of(&journal.state().entries()));
        });
    }

    #[test]
    fn m_79_a_finished_rotation_leaves_nothing_of_the_old_key() {
        with_journal(|mut journal, path| {
            journal.append(&entries()).unwrap();
            journal.append(&[Entry::RotationFinished(ID, generation(2))]).unwrap();
            let bytes = fs::read(path).unwrap();
            let holds = |byte: u8| bytes.windows(KEY_LEN).any(|window| window == [byte; KEY_LEN]);
            assert!(!holds(1) && !holds(3) && holds(2));
            // It goes on, and everything else is still there.
            journal.append(&[Entry::Status(ID, Status::Revoked)]).unwrap();
            journal.append(&[Entry::Status(ID, Status::Active)]).unwrap();
            let read = Journal::open(path).unwrap();
            assert_eq!((read.number(), read.state().mark, read.state().written), (4, 77, true));
            let known = &read.state().devices[&ID];
            assert_eq!((known.generation, &known.key, known.boot), (generation(2), &key(2), 1 << 20));
            assert_eq!((known.status, known.rotation.is_none()), (Status::Revoked, true));
        });
    }

    #[test]
    fn a_journal_cut_anywhere_is_as_long_as_its_whole_frames() {
        with_journal(|mut journal, path| {
            let mut ends = vec![HEAD.len()];
            for entry in entries() {
                journal.append(&[entry]).unwrap();
                ends.push(usize::try_from(journal.len).unwrap());
            }
            let bytes = fs::read(path).unwrap();
            for cut in 0..bytes.len() {
                fs::write(path, &bytes[..cut]).unwrap();
                let Some(frames) = ends.iter().rposition(|end| *end <= cut) else {
                    assert!(Journal::open(path).is_err());
                    continue;
                };
                let mut journal = Journal::open(path).unwrap();
                assert_eq!(journal.number(), frames as u64);
                assert_eq!(fs::read(path).unwrap().len(), cut, "written while it was read");
                if frames > 0 && cut % 7 == 0 {
                    journal.append(&[Entry::Mark(99)]).unwrap();
                    let read = Journal::open(path).unwrap();
                    assert_eq!((read.number(), read.state().mark), (frames as u64 + 1, 99));
                }
            }
        });
    }

    #[test]
    fn a_changed_byte_before_the_last_frame_is_an_error() {
        with_journal(|mut journal, path| {
            for entry in entries() {
                journal.append(&[entry]).unwrap();
            }
            let bytes = fs::read(path).unwrap();
            // The last frame holds one byte.
            for at in 0..bytes.len() - FRAME_HEAD_LEN - 1 - CHECK_LEN {
                for bit in [1, 0x80] {
                    let mut changed = bytes.clone();
                    changed[at] ^= bit;
                    fs::write(path, &changed).unwrap();
                    assert!(Journal::open(path).is_err(), "byte {at}");
                }
            }
        });
    }

    #[test]
    fn after_a_write_that_failed_it_is_written_anew() {
        with_journal(|mut journal, path| {
            journal.append(&entries()).unwrap();
            // A file that cannot be written, with what a write may have left behind.
            journal.fail_once();
            assert!(journal.append(&[Entry::Mark(88)]).is_err());
            let torn = [fs::read(path).unwrap(), vec![0xAA; 30]].concat();
            fs::write(path, torn).unwrap();
            assert_eq!(Journal::open(path).unwrap().state().mark, 77);
            journal.append(&[Entry::Mark(88)]).unwrap();
            let read = Journal::open(path).unwrap();
            assert_eq!((read.number(), read.state().mark, read.state().devices.len()), (2, 88, 1));
        });
    }

    #[test]
    fn a_journal_whose_numbers_would_run_out_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        for (number, is_taken) in [(u64::MAX, false), (u64::MAX - 1, false), (1 << 62, true)] {
            let frame = frame(number, &[Entry::Mark(5)]);
            std::fs::write(&path, [HEAD, &frame].concat()).unwrap();
            assert_eq!(Journal::open(&path).is_ok(), is_taken, "{number}");
        }
    }
}
