//! The store: records, queued commands, and the mark that the records were raised to, in one redb file. It
//! compares before it sets, and knows nothing of sessions. SPEC sections 7 and 9.5.
//!
//! ```text
//! records    device id 8 -> record 200
//! commands   id -> version 1 | device id 8 | idempotent 1 | expires 8 | state 1 | gateway 2 | epoch 6 | payload
//! meta       "format", "mark", "journal" (number of its last frame), "next_command", "backup" (if it is one) -> number
//! ```

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use moteseal::number::{DeviceId, Epoch};
use moteseal::record::{EncodedRecord, GatewayId, RECORD_LEN, Record};
use moteseal::server::{Command, CommandId, CommandState};
use redb::{
    Builder, Database, Error, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    StorageBackend as _, Table, TableDefinition, WriteTransaction,
};

use super::trial::Trial;
use crate::files::FileError;

const RECORDS: TableDefinition<&[u8; DeviceId::LEN], &[u8; RECORD_LEN]> = TableDefinition::new("records");
const COMMANDS: TableDefinition<u64, &[u8]> = TableDefinition::new("commands");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// What the database may keep in memory, in bytes: the records are in memory once more.
const CACHE_LEN: usize = 16 << 20;

const FORMAT: u64 = 1;
const COMMAND_VERSION: u8 = 1;
const COMMAND_HEAD_LEN: usize = 27;
/// What stands for "never".
const NEVER: u64 = u64::MAX;

/// A command with what it says.
#[derive(Clone, Debug)]
pub struct Item {
    pub command: Command,
    pub payload: Vec<u8>,
}

/// The numbers that a store keeps beside its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The mark that its records were raised to (M-83).
    pub mark: u32,
    /// The number of the last frame of the journal when it was written last.
    pub journal: u64,
    /// The name of the next command.
    pub next_command: u64,
}

/// Everything in a store.
#[derive(Debug, Default)]
pub struct Contents {
    pub records: Vec<Record>,
    pub commands: Vec<Item>,
    pub meta: Meta,
    /// It is a backup, which nothing but a restore makes a store of.
    pub is_backup: bool,
}

/// The open file.
#[derive(Debug)]
pub struct Store(Database);

impl Store {
    /// Makes an empty store, whole or not at all.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let fail =
            |what: &dyn std::fmt::Display| FileError::new(path, format_args!("cannot be created: {what}"));
        let draft = path.with_extension("new");
        let _ = fs::remove_file(&draft);
        write_new(&draft, |store| {
            let mut batch = store.begin()?;
            batch.set_meta(&Meta::default())?;
            batch.commit()
        })?;
        fs::rename(&draft, path).map_err(|error| fail(&error))?;
        super::sync_directory_of(path).map_err(|error| fail(&error))?;
        Self::open(path)
    }

    /// Opens a store that has been looked at.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let store = Builder::new().set_cache_size(CACHE_LEN).open(path).map(Self).map_err(Error::from);
        store.and_then(|store| store.check_format().map(|()| store)).map_err(|error| unreadable(path, &error))
    }

    /// Reads everything, and checks every page; the file is left as it is.
    pub fn look_at(path: &Path) -> Result<Contents, FileError> {
        let look = || {
            let trial = Trial::open(path)?;
            if trial.len()? == 0 {
                return Err(Error::Corrupted("it is empty".into()));
            }
            let database = Builder::new()
                .set_check_integrity_on_open(true)
                .set_cache_size(CACHE_LEN)
                .create_with_backend(trial)?;
            let store = Self(database);
            store.check_format()?;
            store.load()
        };
        look().map_err(|error| unreadable(path, &error))
    }

    fn check_format(&self) -> Result<(), Error> {
        let meta = self.0.begin_read()?.open_table(META)?;
        match meta.get("format")?.map(|found| found.value()) {
            Some(FORMAT) => Ok(()),
            _ => Err(Error::Corrupted("it is not a store of this version".into())),
        }
    }

    fn load(&self) -> Result<Contents, Error> {
        let transaction = self.0.begin_read()?;
        let mut records = Vec::new();
        for row in transaction.open_table(RECORDS)?.iter()? {
            let (id, bytes) = row?;
            let record =
                Record::decode(bytes.value()).ok().filter(|r| r.device_id().as_bytes() == id.value());
            let name = DeviceId::new(*id.value());
            let damaged = || Error::Corrupted(format!("the record of device {name} is damaged"));
            records.push(record.ok_or_else(damaged)?);
        }
        let mut commands = Vec::new();
        for row in transaction.open_table(COMMANDS)?.iter()? {
            let (id, bytes) = row?;
            let damaged = || Error::Corrupted(format!("command {} is damaged", id.value()));
            commands.push(decode_command(CommandId(id.value()), bytes.value()).ok_or_else(damaged)?);
        }
        let meta = transaction.open_table(META)?;
        let number = |name| Ok::<_, Error>(meta.get(name)?.map_or(0, |found| found.value()));
        let mark = u32::try_from(number("mark")?)
            .map_err(|_| Error::Corrupted("the high-water mark is out of range".into()))?;
        let is_backup = number("backup")? != 0;
        let meta = Meta { mark, journal: number("journal")?, next_command: number("next_command")? };
        Ok(Contents { records, commands, meta, is_backup })
    }

    /// Makes a store of a backup, in its file. To be called once the mark is raised.
    pub fn adopt(path: &Path) -> Result<(), FileError> {
        let store = Self::open(path)?;
        let adopt = || {
            let batch = store.begin()?;
            batch.0.open_table(META)?.remove("backup")?;
            batch.commit()?;
            store.0.close()?;
            Ok(())
        };
        adopt().map_err(|error: Error| unreadable(path, &error))
    }

    /// Begins a group of writes, which become durable together.
    pub fn begin(&self) -> Result<Batch, Error> {
        Ok(Batch(self.0.begin_write()?))
    }

    /// A view of this moment, which later writes do not change.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(Snapshot(self.0.begin_read()?))
    }
}

/// A store as it was at one moment.
pub struct Snapshot(ReadTransaction);

impl Snapshot {
    /// Writes it to a new file of mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        write_new(path, |store| {
            let batch = store.begin()?;
            {
                let mut records = batch.0.open_table(RECORDS)?;
                for row in self.0.open_table(RECORDS)?.iter()? {
                    let (id, record) = row?;
                    records.insert(id.value(), record.value())?;
                }
                let mut commands = batch.0.open_table(COMMANDS)?;
                for row in self.0.open_table(COMMANDS)?.iter()? {
                    let (id, command) = row?;
                    commands.insert(id.value(), command.value())?;
                }
                let mut meta = batch.0.open_table(META)?;
                for row in self.0.open_table(META)?.iter()? {
                    let (name, number) = row?;
                    meta.insert(name.value(), number.value())?;
                }
                meta.insert("backup", 1)?;
            }
            batch.commit()
        })
    }
}

/// Writes that become durable together, or not at all.
pub struct Batch(WriteTransaction);

/// Whether a compare-and-set was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Made,
    /// The record is another one.
    Conflict,
}

impl Batch {
    /// The table of records.
    pub fn records(&self) -> Result<Records<'_>, Error> {
        Ok(Records(self.0.open_table(RECORDS)?))
    }

    /// Writes a command; one that has come to its end is removed.
    pub fn put_command(&self, command: &Command, payload: Option<&[u8]>) -> Result<(), Error> {
        let mut commands = self.0.open_table(COMMANDS)?;
        let CommandId(id) = command.id;
        if !matches!(command.state, CommandState::Queued | CommandState::Sent { .. }) {
            commands.remove(id)?;
            return Ok(());
        }
        let stored = match payload {
            Some(payload) => Some(payload.to_vec()),
            None => commands.get(id)?.and_then(|found| Some(found.value().get(COMMAND_HEAD_LEN..)?.to_vec())),
        };
        // Without a payload it has been removed, and stays so.
        if let Some(payload) = stored {
            commands.insert(id, encode_command(command, &payload).as_slice())?;
        }
        Ok(())
    }

    /// Writes a command in whatever state, so that the next start reports it.
    pub fn keep_command(&self, item: &Item) -> Result<(), Error> {
        let mut commands = self.0.open_table(COMMANDS)?;
        commands.insert(item.command.id.0, encode_command(&item.command, &item.payload).as_slice())?;
        Ok(())
    }

    /// Writes the name of the next command.
    pub fn set_next_command(&self, next: u64) -> Result<(), Error> {
        self.0.open_table(META)?.insert("next_command", next)?;
        Ok(())
    }

    /// Writes the number of the journal's last frame.
    pub fn set_journal(&self, number: u64) -> Result<(), Error> {
        self.0.open_table(META)?.insert("journal", number)?;
        Ok(())
    }

    /// Writes all numbers.
    pub fn set_meta(&mut self, meta: &Meta) -> Result<(), Error> {
        let mut table = self.0.open_table(META)?;
        table.insert("format", FORMAT)?;
        table.insert("mark", u64::from(meta.mark))?;
        table.insert("journal", meta.journal)?;
        table.insert("next_command", meta.next_command)?;
        drop(table);
        // Tables are there from the start, so that a reader finds them.
        self.0.open_table(RECORDS)?;
        self.0.open_table(COMMANDS)?;
        Ok(())
    }

    /// Makes all of it durable.
    pub fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit()?)
    }
}

/// The records, within a batch.
pub struct Records<'b>(Table<'b, &'static [u8; DeviceId::LEN], &'static [u8; RECORD_LEN]>);

impl Records<'_> {
    /// Replaces one record by another, if it is the expected one still (M-88). With `again`, the same may have
    /// been done before, by a write whose end nobody learned.
    pub fn swap(&mut self, expected: &Record, record: &Record, again: bool) -> Result<Swap, Error> {
        let id = record.device_id();
        let (expected, record) = (expected.encode(), record.encode());
        // Compared where it is: a copy of it would be one of its keys too.
        let found = self.0.get(id.as_bytes())?;
        let is = |other: &EncodedRecord| found.as_ref().is_some_and(|found| found.value() == other.expose());
        if is(&expected) {
            drop(found);
            self.0.insert(id.as_bytes(), record.expose())?;
            return Ok(Swap::Made);
        }
        Ok(if again && is(&record) { Swap::Made } else { Swap::Conflict })
    }

    /// Writes a record whatever was there.
    pub fn put(&mut self, record: &Record) -> Result<(), Error> {
        self.0.insert(record.device_id().as_bytes(), record.encode().expose())?;
        Ok(())
    }
}

/// Makes a new file of mode 0600 and fills it; after an error it is gone again.
fn write_new(path: &Path, fill: impl FnOnce(&Store) -> Result<(), Error>) -> Result<(), FileError> {
    let fail = |what: &dyn std::fmt::Display| FileError::new(path, format_args!("cannot be created: {what}"));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    drop(made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => fail(&"it exists, and nothing is overwritten; give a new name"),
        _ => fail(&error),
    })?);
    let write = || {
        let store = Store(Database::create(path)?);
        fill(&store)?;
        store.0.close()?;
        Ok::<_, Error>(())
    };
    write().map_err(|error| {
        let _ = fs::remove_file(path);
        fail(&error)
    })
}

fn unreadable(path: &Path, error: &Error) -> FileError {
    match error {
        Error::DatabaseAlreadyOpen => FileError::new(path, "is in use; one gateway at a time has a store"),
        Error::Io(error) => FileError::new(path, format_args!("cannot be opened: {error}")),
        error => FileError::new(path, format_args!("is not a store, or damaged ({error}); restore a backup")),
    }
}

fn encode_command(command: &Command, payload: &[u8]) -> Vec<u8> {
    let none = (GatewayId(0), Epoch::new(0, 0));
    let (state, (gateway, epoch)) = match command.state {
        CommandState::Queued => (0, none),
        CommandState::Sent { gateway, epoch } => (1, (gateway, epoch)),
        CommandState::Acknowledged => (2, none),
        CommandState::Unknown => (3, none),
        CommandState::Expired => (4, none),
    };
    let mut bytes = Vec::with_capacity(COMMAND_HEAD_LEN + payload.len());
    bytes.push(COMMAND_VERSION);
    bytes.extend_from_slice(command.device_id.as_bytes());
    bytes.push(u8::from(command.idempotent));
    bytes.extend_from_slice(&command.expires.unwrap_or(NEVER).to_be_bytes());
    bytes.push(state);
    bytes.extend_from_slice(&gateway.0.to_be_bytes());
    bytes.extend_from_slice(epoch.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn decode_command(id: CommandId, bytes: &[u8]) -> Option<Item> {
    let (head, payload) = bytes.split_first_chunk::<COMMAND_HEAD_LEN>()?;
    let (device_id, gateway) = (head[1..9].try_into().ok()?, head[19..21].try_into().ok()?);
    let (expires, epoch) = (u64::from_be_bytes(head[10..18].try_into().ok()?), head[21..27].try_into().ok()?);
    let (gateway, epoch) = (GatewayId(u16::from_be_bytes(gateway)), Epoch::from_bytes(epoch));
    let state = match head[18] {
        0 => CommandState::Queued,
        1 => CommandState::Sent { gateway, epoch },
        2 => CommandState::Acknowledged,
        3 => CommandState::Unknown,
        4 => CommandState::Expired,
        _ => return None,
    };
    let command = Command {
        id,
        device_id: DeviceId::new(device_id),
        idempotent: head[9] == 1,
        expires: (expires != NEVER).then_some(expires),
        state,
    };
    (head[0] == COMMAND_VERSION && head[9] < 2).then(|| Item { command, payload: payload.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moteseal::keys::DeviceKey;
    use moteseal::number::Generation;
    use moteseal::record::Status;

    fn with_store(test: impl FnOnce(Store, &Path)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        test(Store::create(&path).unwrap(), &path);
    }

    fn record() -> Record {
        Record::provisioned(DeviceId::new([1; 8]), Generation::FIRST, DeviceKey::new([2; 32]))
    }

    fn item(state: CommandState, expires: Option<u64>) -> Item {
        let (id, device_id) = (CommandId(9), DeviceId::new([1; 8]));
        Item { command: Command { id, device_id, idempotent: true, expires, state }, payload: vec![1, 2, 3] }
    }

    #[test]
    fn m_88_a_record_is_set_only_where_it_is_the_expected_one() {
        with_store(|store, path| {
            let (old, new) = (record(), record().with_status(Status::Quarantined));
            let other = record().with_status(Status::Revoked);
            let batch = store.begin().unwrap();
            {
                let mut records = batch.records().unwrap();
                assert_eq!(records.swap(&old, &new, false).unwrap(), Swap::Conflict);
                records.put(&old).unwrap();
                assert_eq!(records.swap(&old, &new, false).unwrap(), Swap::Made);
                // The same once more is another's, unless it is this very write that is tried again.
                assert_eq!(records.swap(&old, &new, false).unwrap(), Swap::Conflict);
                assert_eq!(records.swap(&old, &new, true).unwrap(), Swap::Made);
                assert_eq!(records.swap(&old, &other, true).unwrap(), Swap::Conflict);
            }
            batch.commit().unwrap();
            drop(store);
            let records = Store::look_at(path).unwrap().records;
            assert_eq!((records.len(), records[0].status()), (1, Status::Quarantined));
        });
    }

    #[test]
    fn commands_are_read_as_they_were_written_until_they_end() {
        with_store(|store, path| {
            let sent = CommandState::Sent { gateway: GatewayId(3), epoch: Epoch::new(7, 8) };
            for (state, expires) in
                [(CommandState::Queued, None), (sent, Some(5)), (CommandState::Unknown, None)]
            {
                let (item, batch) = (item(state, expires), store.begin().unwrap());
                batch.keep_command(&item).unwrap();
                batch.commit().unwrap();
                let read = &store.load().unwrap().commands[0];
                assert_eq!((read.command, &read.payload), (item.command, &item.payload));
            }
            // A new state keeps the payload; the end removes it, and nothing brings it back.
            for (state, left) in [(sent, 1), (CommandState::Acknowledged, 0), (CommandState::Queued, 0)] {
                let batch = store.begin().unwrap();
                batch.put_command(&item(state, None).command, None).unwrap();
                batch.commit().unwrap();
                assert_eq!(store.load().unwrap().commands.len(), left);
            }
            drop(store);
            assert!(Store::look_at(path).unwrap().commands.is_empty());
        });
    }

    #[test]
    fn a_snapshot_is_of_its_moment_and_overwrites_nothing() {
        with_store(|store, path| {
            let batch = store.begin().unwrap();
            batch.records().unwrap().put(&record()).unwrap();
            batch.commit().unwrap();
            let snapshot = store.snapshot().unwrap();
            let batch = store.begin().unwrap();
            batch.records().unwrap().put(&record().with_status(Status::Revoked)).unwrap();
            batch.commit().unwrap();
            let copy = path.with_file_name("copy");
            snapshot.save(&copy).unwrap();
            assert_eq!(Store::look_at(&copy).unwrap().records[0].status(), Status::Active);
            assert!(snapshot.save(&copy).unwrap_err().to_string().contains("nothing is overwritten"));
        });
    }

    /// The store's file holds what was overwritten until its page is used again; a copy is written from what is there.
    #[test]
    fn a_snapshot_holds_no_key_that_was_replaced() {
        with_store(|store, path| {
            let next = Generation::FIRST.next().unwrap();
            for (generation, key) in [(Generation::FIRST, 0xA7), (next, 0xB7)] {
                let batch = store.begin().unwrap();
                for id in 0..100 {
                    let record =
                        Record::provisioned(DeviceId::new([id; 8]), generation, DeviceKey::new([key; 32]));
                    batch.records().unwrap().put(&record).unwrap();
                }
                batch.commit().unwrap();
            }
            let copy = path.with_file_name("copy");
            store.snapshot().unwrap().save(&copy).unwrap();
            drop(store);
            let holds = |path: &Path, byte| fs::read(path).unwrap().windows(32).any(|key| key == [byte; 32]);
            assert_eq!([holds(path, 0xA7), holds(path, 0xB7)], [true, true]);
            assert_eq!([holds(&copy, 0xA7), holds(&copy, 0xB7)], [false, true]);
        });
    }

    #[test]
    fn a_look_changes_nothing() {
        with_store(|store, path| {
            drop(store);
            let before = fs::read(path).unwrap();
            let meta = Store::look_at(path).unwrap().meta;
            assert_eq!(meta, Meta::default());
            assert!(fs::read(path).unwrap() == before);
        });
    }
}
