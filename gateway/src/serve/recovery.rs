//! The start of a gateway: the lock, the journal applied to the store, the raise of the mark where the store
//! cannot be believed, and new devices from a registry. When it is done, memory, store and journal say the same.
//! SPEC sections 7.6 and 7.7.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use moteseal::number::DeviceId;
use moteseal::record::{MARK_MAX, Record, Rotation, Status, raised_mark};

use super::events::wall_clock;
use super::journal::{Entry, Journal, Known};
use super::store::{Contents, Item, Meta, Store};
use crate::files::FileError;
use crate::registry::Device;

/// A raise of more than this needs the operator's word (M-80).
const LARGE_RAISE: u32 = 1 << 24;

/// The files of a gateway.
#[derive(Clone, Debug)]
pub struct Paths {
    pub directory: PathBuf,
    pub store: PathBuf,
    pub journal: PathBuf,
    lock: PathBuf,
}

impl Paths {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            store: directory.join("store.redb"),
            journal: journal_path(directory),
            lock: directory.join("lock"),
        }
    }
}

/// Where the journal is. A link to storage that is never rolled back is followed here and for good, also where nothing
/// is behind it yet: a journal that is written anew would otherwise take the place of the link.
fn journal_path(directory: &Path) -> PathBuf {
    let path = directory.join("journal");
    let target =
        fs::canonicalize(&path).or_else(|_| fs::read_link(&path).map(|target| directory.join(target)));
    target.unwrap_or(path)
}

/// Everything that a gateway has when it starts.
#[derive(Debug)]
pub struct Opened {
    pub journal: Journal,
    pub store: Store,
    pub records: Vec<Record>,
    pub commands: Vec<Item>,
    pub next_command: u64,
}

/// Makes the directory of a store, unless it is there.
pub fn make_directory(paths: &Paths) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o700).create(&paths.directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(FileError::new(&paths.directory, format_args!("cannot be created: {error}")))
        }
        _ => {
            let mode = fs::metadata(&paths.directory).map_or(0, |directory| directory.permissions().mode());
            if mode & 0o077 != 0 {
                tracing::warn!(
                    "{}: others can look into it; take their rights away",
                    paths.directory.display()
                );
            }
            Ok(())
        }
    }
}

/// Takes the directory for this process alone; nothing if another process has it.
pub fn try_lock(paths: &Paths) -> Result<Option<File>, FileError> {
    let fail = |error: io::Error| {
        FileError::new(&paths.directory, format_args!("cannot be used as a store: {error}"))
    };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&paths.lock);
    let file = file.map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Takes the directory for this process alone.
pub fn lock(paths: &Paths) -> Result<File, FileError> {
    let in_use = "another gateway, a backup or a restore is using this store; stop it first";
    try_lock(paths)?.ok_or_else(|| FileError::new(&paths.directory, in_use))
}

/// Opens journal and store, or makes them where there is neither, and brings the store up to the journal. Holders
/// of the lock only.
pub fn open(paths: &Paths, confirms_raise: bool) -> Result<Opened, FileError> {
    let has_store = fs::exists(&paths.store).map_err(|error| FileError::new(&paths.store, error))?;
    let has_journal = fs::exists(&paths.journal).map_err(|error| FileError::new(&paths.journal, error))?;
    let mut journal = match (has_journal, has_store) {
        (true, _) => Journal::open(&paths.journal)?,
        (false, false) => Journal::create(&paths.journal)?,
        (false, true) => return Err(no_journal(paths)),
    };
    let contents = if has_store { Store::look_at(&paths.store)? } else { Contents::default() };
    if contents.is_backup {
        let what = "is a backup that was copied into place, and without a raise of the mark replays would be taken; \
                    move it away and give it to `moteseal restore --from`";
        return Err(FileError::new(&paths.store, what));
    }
    if contents.records.is_empty() {
        raise_if_written(&mut journal, paths, confirms_raise)?;
    }
    reconcile(paths, journal, contents, has_store)
}

/// Why nothing is done without a journal.
pub fn no_journal(paths: &Paths) -> FileError {
    let what = "is missing beside the store; without it replays could not be refused: put it back";
    FileError::new(&paths.journal, what)
}

/// M-80: the store is empty, and devices have spoken since the last raise.
fn raise_if_written(journal: &mut Journal, paths: &Paths, is_confirmed: bool) -> Result<(), FileError> {
    if !journal.state().written {
        return Ok(());
    }
    tracing::warn!("{}: the store is empty; the high-water mark is raised", paths.store.display());
    raise(journal, paths, [], is_confirmed)
}

/// Raises the mark past every boot count that is known, in the journal, durably (M-80, M-126).
pub fn raise<'r>(
    journal: &mut Journal,
    paths: &Paths,
    records: impl IntoIterator<Item = &'r Record>,
    is_confirmed: bool,
) -> Result<(), FileError> {
    let state = journal.state();
    if state.mark >= MARK_MAX {
        let what = "the high-water mark cannot rise any more; the fleet must be provisioned anew";
        return Err(FileError::new(&paths.journal, what));
    }
    // Revoked is final, so a thief who used a device's epochs up does not use everyone's up (M-80).
    let is_revoked = |id: DeviceId| state.devices.get(&id).is_some_and(|k| k.status == Status::Revoked);
    let noted = state.devices.iter().map(|(id, known)| (known.boot, *id));
    let stored = records.into_iter().map(|record| (record.newest().boot(), record.device_id()));
    let highest = noted.chain(stored).filter(|(_, id)| !is_revoked(*id)).max();
    let boot = highest.map_or(0, |(boot, _)| boot);
    if boot > MARK_MAX {
        let device = highest.map(|(_, id)| id.to_string()).unwrap_or_default();
        let what = format_args!(
            "device {device} has boot count {boot}, which lies above every high-water mark: after a raise its old \
             Hellos would be taken once more. Revoke it, and provision it anew"
        );
        return Err(FileError::new(&paths.journal, what));
    }
    let mark = raised_mark(state.mark, boot);
    if mark - state.mark > LARGE_RAISE && !is_confirmed {
        let device = highest.map(|(_, id)| id.to_string()).unwrap_or_default();
        let what = format_args!(
            "the high-water mark would rise from {} to {mark}, because of boot count {boot} of device {device}. \
             If that device cannot have booted so often, its key was stolen: revoke it first. Otherwise give \
             --confirm-raise",
            state.mark
        );
        return Err(FileError::new(&paths.journal, what));
    }
    let fail = |error| FileError::new(&paths.journal, format_args!("cannot be written: {error}"));
    journal.append(&[Entry::Mark(mark)]).map_err(fail)
}

/// M-78, M-81 to M-83: what the journal knows goes into the store, and a raise is finished.
fn reconcile(
    paths: &Paths,
    mut journal: Journal,
    contents: Contents,
    has_store: bool,
) -> Result<Opened, FileError> {
    let Contents { records, mut commands, meta, .. } = contents;
    let state = journal.state();
    if meta.journal > journal.number() || meta.mark > state.mark {
        return Err(journal_is_older(paths));
    }
    let raises = meta.mark != state.mark;
    let mut present = BTreeSet::new();
    let mut after = Vec::with_capacity(state.devices.len());
    let mut changed = Vec::new();
    for record in records {
        let device_id = record.device_id();
        let known = state.devices.get(&device_id).ok_or_else(|| journal_is_older(paths))?;
        present.insert(device_id);
        let before = record.encode();
        let mut record = apply(known, record).ok_or_else(|| journal_is_older(paths))?;
        if raises {
            record = record.raised(state.mark);
        }
        if record.encode().expose() != before.expose() {
            changed.push(after.len());
        }
        after.push(record);
    }
    for (device_id, known) in state.devices.iter().filter(|(id, _)| !present.contains(id)) {
        changed.push(after.len());
        after.push(new_record(*device_id, known, state.mark).ok_or_else(|| journal_is_older(paths))?);
    }
    // Nothing is written before this line, and nothing is refused behind it.
    let mark = state.mark;
    journal.cut_tail()?;
    for draft in [&paths.journal, &paths.store] {
        // What a crash left of a write to be renamed. It holds keys.
        let _ = fs::remove_file(draft.with_extension("new"));
    }
    let store = if has_store { Store::open(&paths.store)? } else { Store::create(&paths.store)? };
    let next_command = if raises {
        for item in &mut commands {
            item.command = item.command.unknown(wall_clock());
        }
        // Above every name that was given since the backup: marks only grow, and by more than 2^20.
        meta.next_command.max(u64::from(mark) << 20)
    } else {
        meta.next_command
    };
    if raises || !changed.is_empty() {
        let meta = Meta { mark, journal: journal.number(), next_command };
        let write = || {
            let mut batch = store.begin()?;
            {
                let mut records = batch.records()?;
                changed.iter().filter_map(|at| after.get(*at)).try_for_each(|record| records.put(record))?;
            }
            if raises {
                commands.iter().try_for_each(|item| batch.keep_command(item))?;
            }
            batch.set_meta(&meta)?;
            batch.commit()
        };
        write().map_err(|error: redb::Error| cannot_write(&paths.store, &error))?;
    }
    Ok(Opened { journal, store, records: after, commands, next_command })
}

/// The record as the journal says it is. Nothing if the journal is the older of the two.
fn apply(known: &Known, mut record: Record) -> Option<Record> {
    if known.generation > record.generation() {
        record = record.with_key(known.generation, known.key.clone());
    }
    if known.generation < record.generation() || known.key != *record.key() {
        return None;
    }
    match &known.rotation {
        Some((secret, key)) => {
            record = record.with_rotation(Rotation { secret: secret.clone(), key: key.clone() }).ok()?;
        }
        None if record.rotation().is_some() => return None,
        None => {}
    }
    Some(record.with_status(known.status))
}

/// A device that the journal knows and the store does not.
fn new_record(device_id: DeviceId, known: &Known, mark: u32) -> Option<Record> {
    let record = Record::provisioned(device_id, known.generation, known.key.clone());
    let record = apply(known, record)?;
    // Where nothing was ever raised, it was provisioned into this very store and never got there.
    Some(if mark > 0 { record.raised(mark) } else { record })
}

/// Takes in the devices of a registry, which was read from `path`: the journal first. Nothing is written if one
/// of them cannot be taken in.
pub fn import(
    opened: &mut Opened,
    paths: &Paths,
    path: &Path,
    devices: &[Device],
) -> Result<usize, FileError> {
    let state = opened.journal.state();
    let mut entries = Vec::new();
    for device in devices {
        let is_known = match state.devices.get(&device.device_id) {
            None => false,
            // An older key than the one in service cannot be compared: it is erased.
            Some(known) if device.generation < known.generation => true,
            Some(known) if device.generation == known.generation && device.device_key == known.key => true,
            Some(known) => {
                let next = known.rotation.as_ref().filter(|(_, key)| *key == device.device_key);
                if known.generation.next() != Some(device.generation) || next.is_none() {
                    let what = "is known with another key; nothing was taken in. Remove its line, or give the \
                                device a new id";
                    return Err(FileError::new(path, format_args!("device {} {what}", device.device_id)));
                }
                true
            }
        };
        if !is_known {
            let key = device.device_key.clone();
            entries.push(Entry::Provisioned(device.device_id, device.generation, key));
        }
    }
    if entries.is_empty() {
        return Ok(0);
    }
    let mark = state.mark;
    let fail = |error| FileError::new(&paths.journal, format_args!("cannot be written: {error}"));
    opened.journal.append(&entries).map_err(fail)?;
    let known = &opened.journal.state().devices;
    let ids = entries.iter().filter_map(|entry| match entry {
        Entry::Provisioned(id, ..) => Some(*id),
        _ => None,
    });
    let new: Vec<Record> = ids.filter_map(|id| new_record(id, known.get(&id)?, mark)).collect();
    let write = || {
        let batch = opened.store.begin()?;
        {
            let mut records = batch.records()?;
            new.iter().try_for_each(|record| records.put(record))?;
        }
        batch.set_journal(opened.journal.number())?;
        batch.commit()
    };
    write().map_err(|error: redb::Error| cannot_write(&paths.store, &error))?;
    let count = new.len();
    opened.records.extend(new);
    Ok(count)
}

fn journal_is_older(paths: &Paths) -> FileError {
    let what =
        "is older than the store, or belongs to another; put the newest copy of the journal in its place";
    FileError::new(&paths.journal, what)
}

fn cannot_write(path: &Path, error: &redb::Error) -> FileError {
    FileError::new(path, format_args!("cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moteseal::keys::DeviceKey;
    use moteseal::number::Generation;
    use moteseal::record::RAISE;

    fn id(byte: u8) -> DeviceId {
        DeviceId::new([byte; 8])
    }

    fn with_journal(entries: &[Entry], test: impl FnOnce(Journal, &Paths)) {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path());
        let mut journal = Journal::create(&paths.journal).unwrap();
        let key = |byte| DeviceKey::new([byte; 32]);
        let devices = [1, 2].map(|byte| Entry::Provisioned(id(byte), Generation::FIRST, key(byte)));
        journal.append(&devices).unwrap();
        journal.append(entries).unwrap();
        test(journal, &paths);
    }

    #[test]
    fn m_80_a_raise_passes_every_boot_count_that_is_known() {
        with_journal(
            &[Entry::BootNoted(id(1), 500), Entry::BootNoted(id(2), 700), Entry::Written],
            |mut j, paths| {
                raise(&mut j, paths, [], false).unwrap();
                assert_eq!((j.state().mark, j.state().written), (700 + RAISE, false));
                raise(&mut j, paths, [], false).unwrap();
                assert_eq!(Journal::open(&paths.journal).unwrap().state().mark, 700 + 2 * RAISE);
            },
        );
        let revoked = Entry::Status(id(2), moteseal::record::Status::Revoked);
        with_journal(
            &[Entry::BootNoted(id(1), 500), Entry::BootNoted(id(2), 700), revoked],
            |mut j, paths| {
                raise(&mut j, paths, [], false).unwrap();
                assert_eq!(j.state().mark, 500 + RAISE);
            },
        );
    }

    #[test]
    fn m_80_a_large_raise_is_confirmed_and_names_its_device() {
        with_journal(&[Entry::BootNoted(id(2), 0xFEFF_FFFE)], |mut journal, paths| {
            let error = raise(&mut journal, paths, [], false).unwrap_err().to_string();
            assert!(error.contains(&id(2).to_string()) && error.contains("--confirm-raise"), "{error}");
            assert_eq!(journal.state().mark, 0);
            raise(&mut journal, paths, [], true).unwrap();
            assert_eq!(journal.state().mark, MARK_MAX);
            // M-126: it cannot rise any more.
            assert!(raise(&mut journal, paths, [], true).is_err());
        });
    }

    #[test]
    fn m_78_a_journal_kept_elsewhere_through_a_link_stays_there() {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, target) = (directory.path().join("journal"), elsewhere.path().join("fleet.journal"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for mark in [0, 77] {
            // The first time there is nothing behind the link.
            let mut journal = open(&Paths::new(directory.path()), false).unwrap().journal;
            assert_eq!(journal.state().mark, mark);
            journal.append(&[Entry::Mark(77)]).unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        assert_eq!(Journal::open(&target).unwrap().state().mark, 77);
    }

    #[test]
    fn m_80_a_backup_copied_into_place_by_hand_is_refused_and_restored_by_the_command() {
        with_journal(&[Entry::Written], |journal, paths| {
            drop(journal);
            drop(open(paths, false).unwrap());
            let backup = paths.directory.join("backup");
            Store::open(&paths.store).unwrap().snapshot().unwrap().save(&backup).unwrap();
            let mark = Journal::open(&paths.journal).unwrap().state().mark;
            fs::copy(&backup, &paths.store).unwrap();
            let error = open(paths, false).unwrap_err().to_string();
            assert!(error.contains("moteseal restore"), "{error}");
            assert_eq!(Journal::open(&paths.journal).unwrap().state().mark, mark);
            super::super::restore::restore(paths, &backup, false).unwrap();
            let opened = open(paths, false).unwrap();
            assert!(opened.journal.state().mark > mark);
            assert!(opened.records.iter().all(|record| record.newest().boot() > mark));
        });
    }

    #[test]
    fn m_78_a_restore_sees_by_the_store_in_place_that_the_journal_was_rolled_back() {
        with_journal(&[Entry::Written], |journal, paths| {
            drop(journal);
            drop(open(paths, false).unwrap());
            let (backup, old) = (paths.directory.join("backup"), fs::read(&paths.journal).unwrap());
            Store::open(&paths.store).unwrap().snapshot().unwrap().save(&backup).unwrap();
            // A device is revoked, and then the journal forgets it.
            Journal::open(&paths.journal).unwrap().append(&[Entry::Status(id(1), Status::Revoked)]).unwrap();
            drop(open(paths, false).unwrap());
            fs::write(&paths.journal, &old).unwrap();
            let error = super::super::restore::restore(paths, &backup, false).unwrap_err().to_string();
            assert!(error.contains("rolled back"), "{error}");
            assert!(fs::read(&paths.journal).unwrap() == old);
        });
    }

    #[test]
    fn m_126_a_raise_that_would_not_cover_a_device_is_refused_until_it_is_revoked() {
        with_journal(&[Entry::BootNoted(id(2), MARK_MAX + 1)], |mut journal, paths| {
            let error = raise(&mut journal, paths, [], true).unwrap_err().to_string();
            assert!(error.contains(&id(2).to_string()) && error.contains("Revoke"), "{error}");
            assert_eq!(journal.state().mark, 0);
            journal.append(&[Entry::Status(id(2), Status::Revoked)]).unwrap();
            raise(&mut journal, paths, [], true).unwrap();
        });
    }

    #[test]
    fn m_126_a_start_that_needs_a_raise_is_refused_at_the_highest_mark() {
        with_journal(&[Entry::Mark(MARK_MAX), Entry::Written], |_, paths| {
            let error = open(paths, true).unwrap_err().to_string();
            assert!(error.contains("provisioned anew"), "{error}");
            assert!(!paths.store.exists());
        });
    }
}
