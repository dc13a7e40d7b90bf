//! What the explored server keeps: a store with one record and a queue of commands, one backup of it, and beside them the
//! journal that no backup rolls back (SPEC 7.7). Every change is one write, whole or not there.

use moteseal::delivery::Millis;
use moteseal::keys::{DeviceKey, RotationSecret};
use moteseal::number::Generation;
use moteseal::record::{Record, Rotation, Status, raised_mark};
use moteseal::server::{Command, CommandId, CommandState, RecordChange};

use crate::device::{ID, first_key};

/// Time of the command queue: no command expires here.
const WALL_CLOCK: Millis = 0;

/// What a restore brings back.
#[derive(Clone, Hash)]
struct Store {
    /// The record as a database holds it.
    record: Vec<u8>,
    queue: Vec<(u64, QueueState)>,
    /// The mark that the record was raised to, written last (M-83).
    mark: u32,
}

/// A command's place in the queue; an ended one may be told once more after a restore only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum QueueState {
    Queued,
    Sent,
    Ended,
}

/// What no restore touches.
#[derive(Clone, Hash)]
struct Journal {
    status: Status,
    generation: Generation,
    key: DeviceKey,
    rotation: Option<Rotation>,
    noted: u32,
    mark: u32,
}

/// What goes into the journal before a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// Nothing but a boot count, where the change says so.
    None,
    /// The device is revoked.
    Revoked,
    /// A rotation has begun.
    Begun,
    /// It is finished.
    Finished,
}

/// Where a restore is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreCut {
    /// Nowhere.
    Nowhere,
    /// After the mark was raised in the journal.
    AfterMark,
    /// After the backup was copied back, before anything is raised.
    AfterCopy,
}

/// Journal, store and backup.
#[derive(Clone, Hash)]
pub struct Disk {
    store: Store,
    journal: Journal,
    backup: Option<Store>,
}

impl Disk {
    /// A device has just been provisioned.
    pub fn new() -> Self {
        let (generation, key) = (Generation::FIRST, first_key());
        let record = Record::provisioned(ID, generation, key.clone()).encode().expose().to_vec();
        let journal = Journal { status: Status::Active, generation, key, rotation: None, noted: 0, mark: 0 };
        Self { store: Store { record, queue: Vec::new(), mark: 0 }, journal, backup: None }
    }

    /// The record as it is durable.
    pub fn record(&self) -> Record {
        Record::decode(&self.store.record).expect("the store holds what was encoded")
    }

    /// Whether the change may be made: a compare-and-set of the whole record (M-88).
    pub fn matches(&self, change: &RecordChange) -> bool {
        self.store.record == change.expected.encode().expose()
    }

    /// The journal's part of a change, which comes first (M-78, M-127).
    pub fn note(&mut self, change: &RecordChange, note: Note) {
        let journal = &mut self.journal;
        journal.noted = journal.noted.max(change.note_boot.unwrap_or(0));
        match note {
            Note::None => {}
            Note::Revoked => journal.status = Status::Revoked,
            Note::Begun => journal.rotation = change.record.rotation().cloned(),
            // M-79: the old key leaves the journal too.
            Note::Finished => {
                if let (Some(rotation), Some(next)) = (journal.rotation.take(), journal.generation.next()) {
                    (journal.generation, journal.key) = (next, rotation.key.clone());
                }
            }
        }
    }

    /// The store's part.
    pub fn set(&mut self, change: &RecordChange) {
        self.store.record = change.record.encode().expose().to_vec();
    }

    /// A command that came from somewhere, unless the queue knows it.
    pub fn enqueue(&mut self, id: CommandId) {
        if self.store.queue.iter().all(|(other, _)| *other != id.0) {
            self.store.queue.push((id.0, QueueState::Queued));
        }
    }

    /// Whether the queue knows this command and has not sent it.
    pub fn is_queued(&self, id: CommandId) -> bool {
        self.store.queue.contains(&(id.0, QueueState::Queued))
    }

    /// M-106: *sent*, with the gateway and the session, before it is sealed. The state machine is the crate's.
    pub fn mark_sent(&mut self, id: CommandId) {
        self.set_state(id, QueueState::Sent);
    }

    /// A command has its word.
    pub fn end(&mut self, id: CommandId) {
        self.set_state(id, QueueState::Ended);
    }

    /// It was marked, and never sealed.
    pub fn never_sealed(&mut self, id: CommandId) {
        self.set_state(id, QueueState::Queued);
    }

    fn set_state(&mut self, id: CommandId, state: QueueState) {
        if let Some(entry) = self.store.queue.iter_mut().find(|(other, _)| *other == id.0) {
            entry.1 = state;
        }
    }

    /// Keeps a copy of the store, of the first time it is asked.
    pub fn back_up(&mut self) -> bool {
        if self.backup.is_some() {
            return false;
        }
        self.backup = Some(self.store.clone());
        true
    }

    /// M-80: first the mark, durably, past every boot count that is known; then the backup. Of the store that is replaced
    /// nothing is known any more: its disk may be what broke. Nothing without a backup.
    pub fn restore(&mut self, cut: RestoreCut) -> Option<()> {
        let backup = self.backup.clone()?;
        let in_backup = Record::decode(&backup.record).ok()?.newest().boot();
        self.journal.mark = raised_mark(self.journal.mark, in_backup.max(self.journal.noted));
        if cut != RestoreCut::AfterMark {
            self.store = backup;
        }
        Some(())
    }

    /// What a start does before anything else: the journal is applied, a raise is finished (M-83), and commands that
    /// were under way have their word, after a raise all of them (M-82). Gives the record, the mark and those commands.
    pub fn start(&mut self) -> (Record, u32, Vec<CommandId>) {
        let raises = self.store.mark != self.journal.mark;
        let mut record = self.journal.apply(self.record());
        if raises {
            record = record.raised(self.journal.mark);
        }
        self.store.record = record.encode().expose().to_vec();
        let mut unknown = Vec::new();
        for (id, state) in &mut self.store.queue {
            if *state == QueueState::Sent || raises && *state == QueueState::Queued {
                *state = QueueState::Ended;
                unknown.push(CommandId(*id));
            }
        }
        self.store.mark = self.journal.mark;
        (record, self.journal.mark, unknown)
    }

    /// Whether the journal says so, which is final (M-5).
    pub fn is_revoked(&self) -> bool {
        self.journal.status == Status::Revoked
    }

    /// The key that the journal holds in service.
    pub const fn key(&self) -> &DeviceKey {
        &self.journal.key
    }

    /// Whether the crate's own state machine lets this command be marked now.
    pub fn may_send(&self, id: CommandId, gateway: moteseal::record::GatewayId) -> bool {
        let state = if self.is_queued(id) { CommandState::Queued } else { CommandState::Unknown };
        let command = Command { id, device_id: ID, idempotent: false, expires: None, state };
        command.sent(WALL_CLOCK, gateway, self.record().newest()).is_ok()
    }
}

impl Journal {
    /// The record as the journal says it must be.
    fn apply(&self, mut record: Record) -> Record {
        if record.generation() < self.generation {
            let secret = RotationSecret::from_bytes([0; 32]);
            let rotation = Rotation { secret, key: self.key.clone() };
            record =
                record.with_rotation(rotation).expect("there is a next generation").with_rotation_finished();
        }
        if let Some(rotation) = &self.rotation {
            record = record.with_rotation(rotation.clone()).expect("there is a next generation");
        }
        record.with_status(self.status)
    }
}
