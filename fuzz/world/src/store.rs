//! What a gateway keeps: a store of whole records with compare-and-set, a queue of commands, and beside them the
//! administrative journal, which is never rolled back. SPEC section 7.7.

use std::collections::BTreeMap;

use moteseal::device::Millis;
use moteseal::keys::{DeviceKey, RotationSecret};
use moteseal::number::{DeviceId, Epoch, Generation};
use moteseal::record::{Record, Rotation, Status, raised_mark};
use moteseal::server::{Command, CommandId, CommandState, RecordChange};

use crate::coverage::Coverage;
use crate::random::Random;

/// A command with its payload.
#[derive(Clone, Debug)]
pub struct Queued {
    pub command: Command,
    pub payload: Vec<u8>,
}

/// What a restore brings back.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Records as bytes, as a database holds them.
    records: BTreeMap<DeviceId, Vec<u8>>,
    pub commands: BTreeMap<u64, Queued>,
    /// The mark that the records were raised to, written last (M-83).
    mark: u32,
}

/// What no restore touches.
#[derive(Debug, Default)]
struct Journal {
    devices: BTreeMap<DeviceId, Entry>,
    mark: u32,
    written_since: bool,
}

#[derive(Debug)]
struct Entry {
    status: Status,
    generation: Generation,
    key: DeviceKey,
    rotation: Option<Rotation>,
    noted: u32,
}

/// A change of the journal that goes before a change of a record.
#[derive(Clone, Debug)]
pub enum Note {
    None,
    Status(Status),
    Begun,
    Finished,
}

/// Where a write stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Conflict,
    Crash { written: bool },
}

/// What a server starts with.
#[derive(Debug)]
pub struct Started {
    pub records: Vec<Record>,
    pub mark: u32,
    /// Commands that were under way, and what became of them.
    pub words: Vec<(CommandId, CommandState)>,
}

/// The disk of a gateway.
#[derive(Debug, Default)]
pub struct Disk {
    pub store: Store,
    journal: Journal,
    backups: Vec<Store>,
}

impl Disk {
    pub fn provision(&mut self, id: DeviceId, key: DeviceKey) {
        let generation = Generation::FIRST;
        let record = Record::provisioned(id, generation, key.clone());
        let entry = Entry { status: Status::Active, generation, key, rotation: None, noted: 0 };
        self.journal.devices.insert(id, entry);
        self.store.records.insert(id, record.encode().expose().to_vec());
    }

    /// Compares, notes, sets. The crash, if one is planned, strikes before, between or after.
    pub fn write(
        &mut self,
        change: &RecordChange,
        note: &Note,
        random: &mut Random,
        crash_per_mille: u64,
        coverage: &mut Coverage,
    ) -> Result<(), Stopped> {
        let id = change.record.device_id();
        if self.store.records[&id] != change.expected.encode().expose() {
            coverage.hit("server: conflict");
            return Err(Stopped::Conflict);
        }
        if random.chance(crash_per_mille) {
            coverage.hit("server: crash before the write");
            return Err(Stopped::Crash { written: false });
        }
        self.journal.note(change, note, coverage);
        if random.chance(crash_per_mille) {
            coverage.hit("server: crash between journal and store");
            return Err(Stopped::Crash { written: false });
        }
        self.journal.written_since = true;
        self.store.records.insert(id, change.record.encode().expose().to_vec());
        if random.chance(crash_per_mille) {
            coverage.hit("server: crash after the write");
            return Err(Stopped::Crash { written: true });
        }
        Ok(())
    }

    pub fn enqueue(&mut self, command: Command, payload: Vec<u8>) {
        self.store.commands.insert(command.id.0, Queued { command, payload });
    }

    /// Changes a command; one that the store does not know any more stays unknown to it.
    pub fn update(&mut self, id: CommandId, change: impl FnOnce(Command) -> Command) -> Option<CommandState> {
        let queued = self.store.commands.get_mut(&id.0)?;
        let before = queued.command.state;
        queued.command = change(queued.command);
        (queued.command.state != before).then_some(queued.command.state)
    }

    pub fn back_up(&mut self) {
        self.backups.push(self.store.clone());
    }

    /// M-80, with all gateways down: the mark rises first. Says whether a rotation was between begin and finish.
    pub fn restore(&mut self, random: &mut Random) -> Option<bool> {
        if self.backups.is_empty() {
            return None;
        }
        let backup = self.backups[random.place(self.backups.len())].clone();
        self.journal.raise(&backup);
        self.store = backup;
        Some(self.journal.devices.values().any(|entry| entry.rotation.is_some()))
    }

    /// The store's disk is gone; the journal's is not.
    pub fn lose_store(&mut self) {
        self.store = Store { mark: self.journal.mark, ..Store::default() };
        if self.journal.written_since {
            self.journal.raise(&Store::default());
        }
    }

    /// What a start does before anything else: the journal is applied, a raise is finished (M-83), and what was sent
    /// is unknown. Gives nothing if it crashed on the way.
    pub fn start(
        &mut self,
        now: Millis,
        random: &mut Random,
        crash_per_mille: u64,
        coverage: &mut Coverage,
    ) -> Option<Started> {
        let raises = self.store.mark != self.journal.mark;
        let mut records = Vec::new();
        for (id, entry) in &self.journal.devices {
            if raises && random.chance(crash_per_mille) {
                coverage.hit("server: crash during a raise");
                return None;
            }
            let stored = self.store.records.get(id).map(|bytes| Record::decode(bytes).unwrap());
            let fresh = stored.is_none();
            let record = entry.apply(stored, *id);
            let record = if raises || fresh { record.raised(self.journal.mark) } else { record };
            self.store.records.insert(*id, record.encode().expose().to_vec());
            records.push(record);
        }
        let words = self.end_commands(now, raises);
        self.store.mark = self.journal.mark;
        Some(Started { records, mark: self.journal.mark, words })
    }

    /// Counters are gone, so what was sent is unknown; after a raise, what is queued too (M-82).
    fn end_commands(&mut self, now: Millis, all: bool) -> Vec<(CommandId, CommandState)> {
        let mut words = Vec::new();
        for Queued { command, .. } in self.store.commands.values_mut() {
            let before = command.state;
            if all || matches!(before, CommandState::Sent { .. }) {
                *command = command.unknown(now);
            }
            if command.state != before {
                words.push((command.id, command.state));
            }
        }
        words
    }

    pub fn status(&self, id: DeviceId) -> Status {
        self.journal.devices[&id].status
    }

    pub fn is_rotating(&self, id: DeviceId) -> bool {
        self.journal.devices[&id].rotation.is_some()
    }
}

impl Journal {
    fn note(&mut self, change: &RecordChange, note: &Note, coverage: &mut Coverage) {
        let entry = self.devices.get_mut(&change.record.device_id()).unwrap();
        if let Some(boot) = change.note_boot {
            coverage.hit("server: boot count noted");
            entry.noted = entry.noted.max(boot);
        }
        match note {
            Note::None => {}
            Note::Status(status) => {
                assert!(
                    entry.status != Status::Revoked || *status == Status::Revoked,
                    "M-5: revoked is final"
                );
                entry.status = *status;
            }
            Note::Begun => entry.rotation = change.record.rotation().cloned(),
            Note::Finished => {
                // The old key leaves the journal too (M-79).
                let rotation = entry.rotation.take().unwrap();
                (entry.generation, entry.key) = (entry.generation.next().unwrap(), rotation.key);
            }
        }
    }

    fn raise(&mut self, store: &Store) {
        let in_records = store.records.values().map(|bytes| Record::decode(bytes).unwrap().newest().boot());
        let noted = self.devices.values().map(|entry| entry.noted);
        self.mark = raised_mark(self.mark, in_records.chain(noted).max().unwrap_or(0));
        self.written_since = false;
    }
}

impl Entry {
    /// A record as the journal says it must be.
    fn apply(&self, stored: Option<Record>, id: DeviceId) -> Record {
        let mut record = stored.unwrap_or_else(|| Record::provisioned(id, self.generation, self.key.clone()));
        while record.generation() < self.generation {
            // Of generations in between no key is kept, and none is needed.
            let rotation = Rotation { secret: RotationSecret::from_bytes([0; 32]), key: self.key.clone() };
            record = record.with_rotation(rotation).unwrap().with_rotation_finished();
        }
        if let Some(rotation) = &self.rotation {
            record = record.with_rotation(rotation.clone()).unwrap();
        }
        assert!(record.newest() >= Epoch::new(0, 0) && record.key() == &self.key);
        record.with_status(self.status)
    }
}
