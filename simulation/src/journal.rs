//! The administrative journal: what no restore touches. SPEC section 7.7.

use moteseal::keys::{DeviceKey, RotationSecret};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{MARK_MAX, Record, Rotation, Status, raised_mark};
use moteseal::server::RecordChange;

use crate::coverage::Coverage;

/// The journal.
#[derive(Debug, Default)]
pub struct Journal {
    devices: Vec<Entry>,
    /// The high-water mark of boot counts.
    pub mark: u32,
    /// A record was written since the last raise.
    pub written_since: bool,
}

#[derive(Debug)]
struct Entry {
    id: DeviceId,
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

impl Journal {
    /// A device, with a known history unless a mark was raised already.
    pub fn provision(&mut self, id: DeviceId, key: DeviceKey) -> Record {
        let generation = Generation::FIRST;
        let record = Record::provisioned(id, generation, key.clone());
        self.devices.push(Entry { id, status: Status::Active, generation, key, rotation: None, noted: 0 });
        record
    }

    pub fn note(&mut self, device: usize, change: &RecordChange, note: &Note, coverage: &mut Coverage) {
        let entry = &mut self.devices[device];
        if let Some(boot) = change.note_boot {
            coverage.hit("gateway: boot count noted");
            entry.noted = entry.noted.max(boot);
        }
        match note {
            Note::None => {}
            Note::Status(status) => {
                let stays = entry.status != Status::Revoked || *status == Status::Revoked;
                assert!(stays, "M-5: revoked is final");
                entry.status = *status;
            }
            Note::Begun => entry.rotation = change.record.rotation().cloned(),
            Note::Finished => {
                // The old key leaves the journal too (M-79).
                let rotation = entry.rotation.take().expect("M-123: finished, and not begun");
                (entry.generation, entry.key) = (entry.generation.next().unwrap(), rotation.key);
            }
        }
    }

    /// M-80: raises the mark past every boot count that is known. Refused where no mark is past it (M-126).
    pub fn raise(&mut self, in_records: impl Iterator<Item = u32>) -> bool {
        let in_service = self.devices.iter().filter(|entry| entry.status != Status::Revoked);
        let noted = in_service.map(|entry| entry.noted);
        let highest = in_records.chain(noted).max().unwrap_or(0);
        if self.mark >= MARK_MAX || highest > MARK_MAX {
            return false;
        }
        self.mark = raised_mark(self.mark, highest);
        self.written_since = false;
        true
    }

    pub fn status(&self, device: usize) -> Status {
        self.devices[device].status
    }

    pub fn is_rotating(&self, device: usize) -> bool {
        self.devices[device].rotation.is_some()
    }

    pub fn is_any_rotating(&self) -> bool {
        self.devices.iter().any(|entry| entry.rotation.is_some())
    }

    /// A record as the journal says it must be.
    pub fn apply(&self, device: usize, stored: Option<Record>) -> Record {
        let entry = &self.devices[device];
        let new = || Record::provisioned(entry.id, entry.generation, entry.key.clone());
        let mut record = stored.unwrap_or_else(new);
        while record.generation() < entry.generation {
            // Of generations in between no key is kept, and none is needed.
            let rotation = Rotation { secret: RotationSecret::from_bytes([0; 32]), key: entry.key.clone() };
            record = record.with_rotation(rotation).unwrap().with_rotation_finished();
        }
        if let Some(rotation) = &entry.rotation {
            record = record.with_rotation(rotation.clone()).unwrap();
        }
        assert!(record.key() == &entry.key);
        record.with_status(entry.status)
    }
}
