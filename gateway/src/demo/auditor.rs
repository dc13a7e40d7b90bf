//! The auditor: holds what happened against what was promised, and believes neither half. It is told what each
//! application handed over and was handed, what each sender was told, which lines the gateway wrote, and every
//! datagram before the network touches it. SPEC section 2.2.
//!
//! ```text
//! devices' applications --- sent, told, received ---.
//! the relay --------------- sealed -------------------> auditor --> broken promises, totals
//! gateway's lines --------- delivered, outcomes ----'
//! ```

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use moteseal::number::{DeviceId, Epoch, SequenceNumber};

use super::ledger::{self, Kind, Ledger, Name, Origin};
use super::promise::{Broken, Promise};
use super::totals::{Bytes, Column, Fate, Totals};

/// What a sender was told of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The peer has recorded it.
    Acknowledged,
    /// Nobody knows.
    Unknown,
    /// It was never sealed.
    Unsent,
}

/// How old a revocation must be, counted from when its line was read, before a datagram that the relay finds
/// waiting must have been sent after it. Far more than a loaded machine takes to put a datagram into a socket.
const REVOCATION_GRACE: Duration = Duration::from_millis(250);

/// The auditor.
#[derive(Debug)]
pub struct Auditor {
    /// The nonces.
    pub ledger: Ledger,
    up: HashMap<Vec<u8>, Telemetry>,
    down: HashMap<Vec<u8>, Command>,
    /// The gateway's own number of a command.
    command_ids: HashMap<u64, Vec<u8>>,
    received: HashSet<Name>,
    /// How many different Hellos there were of an epoch: two only after a counter was erased.
    hellos: HashMap<(DeviceId, Epoch), u64>,
    /// Epochs that the gateway named as the newest that it has accepted.
    floors: HashSet<(DeviceId, Epoch)>,
    /// How often the gateway ended.
    gateway_ends: u64,
    revoked: HashMap<DeviceId, Instant>,
    /// When the last but one pass of the relay over its sockets began: what it finds now was sent after that.
    passes: [Option<Instant>; 2],
    broken: Vec<Broken>,
    bytes: Bytes,
}

/// A payload of a device.
#[derive(Debug)]
struct Telemetry {
    device_id: DeviceId,
    wants_word: bool,
    word: Option<Word>,
    /// The device lost its power before it was told.
    forgotten: bool,
    sealed: Option<Name>,
    delivered: u64,
}

/// A payload for a device.
#[derive(Debug)]
struct Command {
    device_id: DeviceId,
    idempotent: bool,
    /// The last word, and how often the gateway had ended before it.
    word: Option<(Word, u64)>,
    acknowledged: bool,
    requeued: bool,
    sealed: HashSet<Name>,
    delivered: u64,
}

impl Auditor {
    /// An auditor who has seen nothing yet, with the keys that the factory flashed.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            up: HashMap::new(),
            down: HashMap::new(),
            command_ids: HashMap::new(),
            received: HashSet::new(),
            hellos: HashMap::new(),
            floors: HashSet::new(),
            gateway_ends: 0,
            revoked: HashMap::new(),
            passes: [None; 2],
            broken: Vec::new(),
            bytes: Bytes::default(),
        }
    }

    /// A promise was broken in a way that only somebody else can see.
    pub fn broke(&mut self, promise: Promise, how: impl Into<String>) {
        self.broken.push(Broken { promise, how: how.into() });
    }

    /// The promises broken so far.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// An application on a device handed a payload over, and will be told its outcome or not.
    pub fn sent(&mut self, device_id: DeviceId, payload: Vec<u8>, wants_word: bool) {
        let telemetry =
            Telemetry { device_id, wants_word, word: None, forgotten: false, sealed: None, delivered: 0 };
        self.up.insert(payload, telemetry);
    }

    /// A device told its application the outcome of a payload.
    pub fn told(&mut self, payload: &[u8], word: Word) {
        let Some(telemetry) = self.up.get_mut(payload) else { return };
        let before = telemetry.word.replace(word);
        if before.is_some() || telemetry.forgotten {
            let how = format!("device {} was told of {} twice", telemetry.device_id, hex::encode(payload));
            self.broke(Promise::OneWord, how);
        }
    }

    /// A device lost its power with a payload whose outcome was open.
    pub fn forgotten(&mut self, payload: &[u8]) {
        if let Some(telemetry) = self.up.get_mut(payload) {
            telemetry.forgotten = true;
        }
    }

    /// A command is about to be handed to the gateway.
    pub fn pushed(&mut self, device_id: DeviceId, payload: Vec<u8>, idempotent: bool) {
        let (sealed, delivered) = (HashSet::new(), 0);
        let command = Command {
            device_id,
            idempotent,
            word: None,
            acknowledged: false,
            requeued: false,
            sealed,
            delivered,
        };
        self.down.insert(payload, command);
    }

    /// A device handed its application a payload.
    pub fn received(&mut self, device_id: DeviceId, payload: &[u8], epoch: Epoch, number: SequenceNumber) {
        let name = Name { device_id, epoch, number: Some(number) };
        let shown =
            format!("command {} at device {device_id}, {epoch}/{}", hex::encode(payload), number.value());
        let first = self.received.insert(name);
        let Some(command) = self.down.get_mut(payload) else {
            return self.broke(Promise::Authentic, format!("{shown}: nobody sent it"));
        };
        command.delivered += 1;
        let authentic = command.device_id == device_id && command.sealed.contains(&name);
        let again = !first || command.delivered > 1 && !command.idempotent;
        if !authentic {
            self.broke(Promise::Authentic, format!("{shown}: it was not sealed there"));
        }
        if again {
            self.broke(Promise::OnlyOnce, format!("{shown}: not for the first time"));
        }
    }

    /// The relay begins to look at all its sockets.
    pub fn pass_begins(&mut self, now: Instant) {
        let [_, last] = self.passes;
        self.passes = [last, Some(now)];
    }

    /// A datagram was sent, and nobody has touched it yet.
    pub fn sealed(&mut self, origin: Origin, datagram: &[u8]) {
        let opened = match self.ledger.enter(origin, datagram) {
            Ok(opened) => opened,
            Err(ledger::Fault::Unopened) => {
                let how = format!("{origin:?} sent what no key of its own opens: {}", hex::encode(datagram));
                return self.broke(Promise::Audited, how);
            }
            Err(ledger::Fault::NonceReused(device_id)) => {
                let how = format!("{origin:?}, key of {device_id}: {}", hex::encode(datagram));
                return self.broke(Promise::NoncesOnce, how);
            }
        };
        if origin == Origin::Gateway && self.is_revoked_for_long(opened.device_id) {
            let how = format!("the gateway sent {} to {}", hex::encode(datagram), opened.device_id);
            self.broke(Promise::RevokedSilent, how);
        }
        match opened.kind {
            Kind::Hello(epoch) if !opened.repeated => {
                *self.hellos.entry((opened.device_id, epoch)).or_default() += 1;
            }
            Kind::Floor(floor) => drop(self.floors.insert((opened.device_id, floor))),
            _ => {}
        }
        if let Some((name, payload)) = opened.payload.filter(|_| !opened.repeated) {
            match origin {
                Origin::Device(_) => self.sealed_up(name, &payload, datagram.len()),
                Origin::Gateway => self.sealed_down(name, &payload),
            }
        }
    }

    fn sealed_up(&mut self, name: Name, payload: &[u8], len: usize) {
        if name.number.is_some() {
            self.bytes.add(payload.len(), len);
        }
        let before = self.up.get_mut(payload).map(|telemetry| telemetry.sealed.replace(name));
        if before != Some(None) {
            let how = format!("{} as {name:?}, before that {before:?}", hex::encode(payload));
            self.broke(Promise::SealedOnce, how);
        }
    }

    fn sealed_down(&mut self, name: Name, payload: &[u8]) {
        let Some(command) = self.down.get_mut(payload) else {
            return self.broke(Promise::SealedOnce, format!("{}, which nobody sent", hex::encode(payload)));
        };
        command.sealed.insert(name);
        if command.sealed.len() > 1 && !command.idempotent {
            let how = format!("command {} as {:?}", hex::encode(payload), command.sealed);
            self.broke(Promise::SealedOnce, how);
        }
    }

    /// Whether a datagram that the relay finds now was sent after the device was revoked.
    fn is_revoked_for_long(&self, device_id: DeviceId) -> bool {
        let [last_pass, _] = self.passes;
        let revoked = self.revoked.get(&device_id);
        revoked.zip(last_pass).is_some_and(|(revoked, pass)| pass > *revoked + REVOCATION_GRACE)
    }

    /// The gateway wrote that it delivered a payload.
    pub fn delivered(
        &mut self,
        device_id: DeviceId,
        epoch: Epoch,
        number: Option<SequenceNumber>,
        payload: &[u8],
    ) {
        let name = Name { device_id, epoch, number };
        let shown = format!("{} as {name:?}", hex::encode(payload));
        if self.revoked.contains_key(&device_id) {
            self.broke(Promise::RevokedSilent, format!("{shown} was delivered"));
        }
        let Some(telemetry) = self.up.get_mut(payload) else {
            return self.broke(Promise::Authentic, format!("{shown}: nobody sent it"));
        };
        telemetry.delivered += 1;
        let (times, sealed) = (telemetry.delivered, telemetry.sealed);
        if telemetry.device_id != device_id || sealed != Some(name) {
            self.broke(Promise::Authentic, format!("{shown}: it was sealed as {sealed:?}"));
        }
        if times > 1 {
            self.broke(Promise::OnlyOnce, format!("{shown}: {times} times"));
        }
    }

    /// The gateway wrote that it took a command, and what it calls it.
    pub fn queued(&mut self, id: u64, payload: &[u8]) {
        self.command_ids.insert(id, payload.to_vec());
    }

    /// The gateway wrote the outcome of a command. After an end of the gateway it may know less than before and say so
    /// (SPEC M-82, M-109), but what was over cannot have succeeded since.
    pub fn command_told(&mut self, id: u64, word: Word) {
        let Some(command) = self.command_ids.get(&id).and_then(|payload| self.down.get_mut(payload)) else {
            return;
        };
        command.acknowledged |= word == Word::Acknowledged;
        let before = command.word.replace((word, self.gateway_ends));
        let untrue = |(before, ends)| {
            ends == self.gateway_ends || before != Word::Acknowledged && word == Word::Acknowledged
        };
        if let Some(before) = before.filter(|before| untrue(*before)) {
            self.broke(Promise::OneWord, format!("command {id}: {before:?}, then {word:?}"));
        }
    }

    /// The gateway refused a command that it was handed.
    pub fn refused(&mut self, payload: &[u8]) {
        if let Some(command) = self.down.get_mut(payload) {
            command.word = Some((Word::Unsent, self.gateway_ends));
        }
    }

    /// The gateway wrote that it does not know what became of a command, and put it back into the queue.
    pub fn requeued(&mut self, id: u64) {
        let Some(command) = self.command_ids.get(&id).and_then(|payload| self.down.get_mut(payload)) else {
            return;
        };
        (command.requeued, command.word) = (true, None);
        if !command.idempotent {
            self.broke(Promise::SealedOnce, format!("command {id} was put back, and must not run twice"));
        }
    }

    /// The gateway ended, and all its lines were read.
    pub fn gateway_ended(&mut self) {
        self.gateway_ends += 1;
    }

    /// The gateway wrote that a device is revoked. From its next line on, nothing of the device may follow.
    pub fn revoked(&mut self, device_id: DeviceId, now: Instant) {
        self.revoked.entry(device_id).or_insert(now);
    }

    /// Whether a device is revoked.
    pub fn is_revoked(&self, device_id: DeviceId) -> bool {
        self.revoked.contains_key(&device_id)
    }

    /// Looks at everything once more when all is over and every line of the gateway was read.
    pub fn close(&mut self) {
        let mut broken = Vec::new();
        for (payload, telemetry) in &self.up {
            let shown = || {
                let Telemetry { device_id, sealed, .. } = telemetry;
                format!("{} of device {device_id}, sealed as {sealed:?}", hex::encode(payload))
            };
            match telemetry.word {
                Some(Word::Acknowledged) if telemetry.delivered == 0 => {
                    broken.push((Promise::NothingLost, shown()));
                }
                Some(Word::Unsent) if telemetry.sealed.is_some() => broken.push((Promise::OneWord, shown())),
                _ => {}
            }
        }
        for (payload, command) in &self.down {
            if command.acknowledged && command.delivered == 0 {
                let how = format!("command {} for device {}", hex::encode(payload), command.device_id);
                broken.push((Promise::NothingLost, how));
            }
        }
        for (promise, how) in broken {
            self.broke(promise, how);
        }
    }

    /// Whether the gateway has recorded early data, and was killed before it wrote the line that delivers it: it names
    /// its epoch as accepted, no other Hello had that epoch, and there is no line. At most once allows for that, as
    /// long as the device is not told that it was acknowledged.
    fn is_line_lost(&self, payload: &Telemetry) -> bool {
        let early = payload.sealed.filter(|name| name.number.is_none() && payload.delivered == 0);
        early.is_some_and(|Name { device_id, epoch, .. }| {
            self.floors.contains(&(device_id, epoch)) && self.hellos.get(&(device_id, epoch)) == Some(&1)
        })
    }

    /// Everything counted so far.
    pub fn totals(&self) -> Totals {
        let mut telemetry = Column::default();
        for payload in self.up.values() {
            let fate = match payload.word {
                Some(word) => Fate::Told(word),
                None if !payload.wants_word => Fate::Unasked,
                None if payload.forgotten => Fate::Forgotten,
                None => Fate::Open,
            };
            telemetry.add(fate, payload.delivered > 0);
        }
        let mut commands = Column::default();
        for command in self.down.values() {
            let fate = match command.word {
                _ if command.acknowledged => Fate::Told(Word::Acknowledged),
                Some((word, _)) => Fate::Told(word),
                None => Fate::Open,
            };
            commands.add(fate, command.delivered > 0);
        }
        Totals {
            telemetry,
            commands,
            lines_lost: self.up.values().filter(|payload| self.is_line_lost(payload)).count(),
            requeued: self.down.values().filter(|command| command.requeued).count(),
            sealed: self.ledger.len(),
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests;
