//! What the gateways keep, shared: a store of whole records with compare-and-set, and a queue of commands. A restore
//! brings back an older one. Beside it lies the journal, which is never rolled back. SPEC sections 7.7, 8 and 9.5.

use std::collections::BTreeMap;

use moteseal::device::Millis;
use moteseal::keys::DeviceKey;
use moteseal::number::DeviceId;
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{Command, CommandId, CommandState, RecordChange};

use crate::coverage::Coverage;
use crate::journal::{Journal, Note};
use crate::random::Random;

/// How many backups are kept.
const BACKUPS: usize = 3;

/// A command with its payload.
#[derive(Clone, Debug)]
pub struct Queued {
    pub command: Command,
    pub payload: Vec<u8>,
}

/// What a restore brings back.
#[derive(Clone, Debug, Default)]
struct Store {
    /// Records as bytes, as a database holds them. None after the store was lost.
    records: Vec<Option<Vec<u8>>>,
    /// Commands that wait or are under way, by device and id.
    commands: BTreeMap<(usize, u64), Queued>,
    /// The mark that the records were raised to, written last (M-83).
    mark: u32,
}

/// Where a write stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The store holds something else.
    Conflict,
    /// It is full, or not to be reached.
    Refused,
    Crash {
        written: bool,
    },
}

/// What a gateway starts with.
#[derive(Debug)]
pub struct Started {
    pub records: Vec<Record>,
    pub mark: u32,
    /// Commands that were under way, and what became of them.
    pub words: Vec<(CommandId, CommandState)>,
}

/// The disk that the gateways share.
#[derive(Debug, Default)]
pub struct Disk {
    store: Store,
    pub journal: Journal,
    backups: Vec<Store>,
    /// The store takes nothing.
    pub refuses: bool,
    /// Durable writes of records.
    pub writes: u64,
}

impl Disk {
    pub fn provision(&mut self, id: DeviceId, key: DeviceKey) {
        let record = self.journal.provision(id, key);
        let record = if self.journal.mark > 0 { record.raised(self.journal.mark) } else { record };
        self.store.mark = self.journal.mark;
        self.store.records.push(Some(record.encode().expose().to_vec()));
    }

    /// What the store holds for a device; nothing after it was lost.
    pub fn known(&self, device: usize) -> Option<Record> {
        self.store.records[device].as_ref().map(|bytes| Record::decode(bytes).unwrap())
    }

    /// Compares, notes, sets. The crash, if one is planned, strikes before, between or after.
    pub fn write(
        &mut self,
        device: usize,
        change: &RecordChange,
        note: &Note,
        random: &mut Random,
        crash_per_million: u64,
        coverage: &mut Coverage,
    ) -> Result<(), Stopped> {
        if self.refuses {
            coverage.hit("store: write refused");
            return Err(Stopped::Refused);
        }
        if self.store.records[device].as_deref() != Some(&change.expected.encode().expose()[..]) {
            coverage.hit("store: conflict");
            return Err(Stopped::Conflict);
        }
        if random.chance_in_million(crash_per_million) {
            coverage.hit("gateway: crash before the write");
            return Err(Stopped::Crash { written: false });
        }
        self.journal.note(device, change, note, coverage);
        if random.chance_in_million(crash_per_million) {
            coverage.hit("gateway: crash between journal and store");
            return Err(Stopped::Crash { written: false });
        }
        self.journal.written_since = true;
        self.writes += 1;
        self.store.records[device] = Some(change.record.encode().expose().to_vec());
        if random.chance_in_million(crash_per_million) {
            coverage.hit("gateway: crash after the write");
            return Err(Stopped::Crash { written: true });
        }
        Ok(())
    }

    pub fn enqueue(&mut self, device: usize, command: Command, payload: Vec<u8>) {
        self.store.commands.insert((device, command.id.0), Queued { command, payload });
    }

    /// The commands of a device that have no word yet.
    pub fn commands(&self, device: usize) -> impl Iterator<Item = &Queued> {
        self.store.commands.range((device, 0)..=(device, u64::MAX)).map(|(_, queued)| queued)
    }

    pub fn command(&self, device: usize, id: CommandId) -> Option<&Queued> {
        self.store.commands.get(&(device, id.0))
    }

    /// Changes a command; one that the store does not know any more stays unknown to it. One that has its word goes.
    pub fn update(
        &mut self,
        device: usize,
        id: CommandId,
        change: impl FnOnce(Command) -> Command,
    ) -> Option<CommandState> {
        let queued = self.store.commands.get_mut(&(device, id.0))?;
        let before = queued.command.state;
        queued.command = change(queued.command);
        let state = queued.command.state;
        if !is_open(state) {
            self.store.commands.remove(&(device, id.0));
        }
        (state != before).then_some(state)
    }

    pub fn back_up(&mut self, random: &mut Random) {
        if self.backups.len() < BACKUPS {
            self.backups.push(self.store.clone());
        } else {
            // Mostly the newest gives way, so that an old one lives long.
            let place = random.pick(&[0, 1, 1, 2, 2, 2]);
            self.backups[place] = self.store.clone();
        }
    }

    /// M-80, with all gateways down: the mark rises first. Refused where it could not rise (M-126).
    pub fn restore(&mut self, random: &mut Random, coverage: &mut Coverage) {
        if self.backups.is_empty() {
            return;
        }
        let backup = self.backups[random.place(self.backups.len())].clone();
        if !self.journal.raise(backup.boots()) {
            return coverage.hit("store: restore refused at the last mark");
        }
        self.store = backup;
        coverage.hit("store: backup restored");
        if self.journal.is_any_rotating() {
            coverage.hit("admin: restored between begin and finish of a rotation");
        }
    }

    /// The store's disk is gone; the journal's is not.
    pub fn lose(&mut self, coverage: &mut Coverage) {
        if self.journal.written_since && !self.journal.raise([].into_iter()) {
            return coverage.hit("store: restore refused at the last mark");
        }
        let records = vec![None; self.store.records.len()];
        // The mark that the store carried is lost with it; that of an empty store counts as raised to.
        self.store = Store { records, ..Store::default() };
        coverage.hit("store: lost");
    }

    /// What a start does before anything else: the journal is applied, a raise is finished (M-83), and what this gateway
    /// has sent is unknown. Gives nothing if it crashed on the way.
    pub fn start(
        &mut self,
        now: Millis,
        gateway: GatewayId,
        random: &mut Random,
        crash_per_million: u64,
        coverage: &mut Coverage,
    ) -> Option<Started> {
        let (raises, mark) = (self.store.mark != self.journal.mark, self.journal.mark);
        let mut records = Vec::new();
        for (device, stored) in self.store.records.iter_mut().enumerate() {
            if raises && random.chance_in_million(crash_per_million) {
                coverage.hit("gateway: crash during a raise");
                return None;
            }
            let known = stored.as_ref().map(|bytes| Record::decode(bytes).unwrap());
            let fresh = known.is_none();
            let record = self.journal.apply(device, known);
            let record = if raises || fresh { record.raised(mark) } else { record };
            *stored = Some(record.encode().expose().to_vec());
            records.push(record);
        }
        let words = self.end_commands(now, gateway, raises);
        self.store.mark = mark;
        Some(Started { records, mark, words })
    }

    /// Counters are gone, so what this gateway had sent is unknown; after a raise, what is queued too (M-82).
    fn end_commands(&mut self, now: Millis, gateway: GatewayId, all: bool) -> Vec<(CommandId, CommandState)> {
        let mut words = Vec::new();
        for Queued { command, .. } in self.store.commands.values_mut() {
            let before = command.state;
            let own = matches!(before, CommandState::Sent { gateway: by, .. } if by == gateway);
            if all || own {
                *command = command.unknown(now);
            }
            if command.state != before {
                words.push((command.id, command.state));
            }
        }
        self.store.commands.retain(|_, queued| is_open(queued.command.state));
        words
    }

    pub fn is_revoked(&self, device: usize) -> bool {
        self.journal.status(device) == Status::Revoked
    }

    pub fn is_in_service(&self, device: usize) -> bool {
        self.journal.status(device) == Status::Active
    }
}

impl Store {
    /// The boot counts that the records show; those of revoked devices are left out (M-80).
    fn boots(&self) -> impl Iterator<Item = u32> + use<> {
        let records = self.records.iter().flatten().map(|bytes| Record::decode(bytes).unwrap());
        let boots: Vec<u32> = records
            .filter(|record| record.status() != Status::Revoked)
            .map(|record| record.newest().boot())
            .collect();
        boots.into_iter()
    }
}

/// Whether a command has no last word yet.
const fn is_open(state: CommandState) -> bool {
    matches!(state, CommandState::Queued | CommandState::Sent { .. })
}
