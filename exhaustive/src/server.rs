//! The server half as the exploration drives it: the real [`Server`] over a table with one device, its [`Disk`], and what
//! waits between a write and its consequences. Receiving, writing, and handing out are steps of their own, so that a
//! crash can come between any two of them.

use moteseal::delivery::{Millis, Outcome};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, Reject, VerifyError};
use moteseal::number::Epoch;
use moteseal::record::{Entry, GatewayId, Status};
use moteseal::server::{
    Admin, AnswerKind, Change, CommandId, ControlEvent, DataReceived, FixedTable, Held, Index, Peer,
    Received, RecordChange, Sending, SentMark, Server, Table,
};

use crate::catalog::{Catalog, DatagramId, Name, Payload, Way};
use crate::device::{ID, Step, WAIT_MS, delivered, rotation_key, timing};
use crate::disk::{Disk, Note, RestoreCut};
use crate::emit::{Emit, fingerprint, take_sealed};
use crate::toy::{self, Toy};

type Half = Server<FixedTable<u8, 1, 80, Toy>, Draws>;
const INDEX: Index = Index(0);
/// Where the device is. Addresses play no part in an exploration: the attacker has the network.
const ADDRESS: u8 = 1;
/// More than this many changes never wait at once.
const PENDING_MAX: usize = 2;

/// Randomness that is never the same twice where that matters: salts and secrets name the life of the server and the
/// draw. Connection ids are always asked for from the same place, so they are used again as soon as that is allowed.
#[derive(Clone, Debug, Hash)]
struct Draws {
    life: u8,
    drawn: u8,
}

impl Entropy for Draws {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(3);
        if bytes.len() >= 8 {
            self.drawn += 1;
            bytes[6] = self.life;
            bytes[7] = self.drawn;
        }
        Ok(())
    }
}

/// What can happen to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A datagram comes.
    Receive(DatagramId),
    /// The store makes a waiting change durable.
    Write(u8),
    /// The journal has noted it, and the server crashes before the store is written.
    NoteAndCrash(u8),
    /// What a durable change allows happens: payloads are delivered, answers sent, commands sealed.
    Finish(u8),
    /// The same, and the server crashes before anything is sent.
    FinishAndCrash(u8),
    /// The server crashes and starts.
    Crash,
    /// A copy of the store is made.
    BackUp,
    /// It is restored, and the server starts.
    Restore(RestoreCut),
    /// The queue tries to send a command, which may only just have come. (Where a restored queue does not know it, nobody
    /// hands it over again.)
    Command { index: u8, comes: bool },
    /// A Data without C.
    Plain { index: u8 },
    /// Time passes: every timer has run out.
    Wait,
    /// The device is revoked.
    Revoke,
    /// A rotation begins.
    BeginRotation,
    /// It is finished, once a session under the new key is confirmed.
    FinishRotation,
}

/// Something that waits for the store, or for what follows.
#[derive(Clone, Hash)]
struct Pending {
    what: What,
    written: bool,
}

#[derive(Clone, Hash)]
enum What {
    Hello(Held<Vec<u8>, u8>, Change<RecordChange>),
    Admin(Admin, Change<RecordChange>, Note),
    Command(Sending, Change<SentMark>),
}

/// The server between two steps.
#[derive(Clone, Hash)]
pub struct ServerState {
    disk: Disk,
    half: Half,
    pending: Vec<Pending>,
    now: Millis,
    life: u8,
}

impl ServerState {
    /// A device has been provisioned, and the server has started.
    pub fn new() -> Self {
        let mut disk = Disk::new();
        let (half, _) = start(&mut disk, 0);
        Self { disk, half, pending: Vec::new(), now: 0, life: 0 }
    }

    /// How many changes wait.
    pub const fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether this one is durable.
    pub fn is_written(&self, index: u8) -> bool {
        self.pending.get(usize::from(index)).is_some_and(|pending| pending.written)
    }

    /// Whether the device is out of service, or about to be.
    pub fn is_revoked(&self) -> bool {
        self.disk.is_revoked() || self.half.table().peer(INDEX).is_some_and(|peer| !peer.is_active())
    }

    /// Whether a rotation is under way.
    pub fn has_rotation(&self) -> bool {
        self.half.table().peer(INDEX).is_some_and(|peer| peer.record().rotation().is_some())
    }

    /// Whether a rotation waits for its end.
    pub fn has_rotation_to_finish(&self) -> bool {
        self.half.rotation_to_finish(INDEX).is_some()
    }

    /// What `input` leads to; nothing where it cannot happen or says nothing new.
    pub fn step(&self, input: Input, catalog: &mut Catalog) -> Step<Self> {
        // What an input sealed that turned out not to be possible.
        toy::sealed();
        let mut next = self.clone();
        let mut emits = Vec::new();
        let was_revoked = self.disk.is_revoked();
        match input {
            Input::Receive(id) => next.receive(self, id, catalog, &mut emits)?,
            Input::Write(index) => next.write(index, &mut emits)?,
            Input::NoteAndCrash(index) => next.note_and_crash(index, &mut emits)?,
            Input::Finish(index) => next.finish(index, catalog, &mut emits)?,
            Input::FinishAndCrash(index) => {
                next.finish(index, catalog, &mut emits)?;
                emits.retain(|emit| !matches!(emit, Emit::Sent(_)));
                next.crash(&mut emits);
            }
            Input::Crash => next.crash(&mut emits),
            Input::BackUp => {
                next.disk.back_up().then_some(())?;
            }
            Input::Restore(cut) => {
                next.disk.restore(cut)?;
                emits.push(Emit::Restored);
                next.crash(&mut emits);
            }
            Input::Command { index, comes } => next.begin_command(index, comes)?,
            Input::Plain { index } => next.plain(index, catalog, &mut emits)?,
            Input::Wait => {
                next.now += WAIT_MS;
                next.poll(catalog, &mut emits);
            }
            Input::Revoke => {
                let (admin, change) = next.half.set_status(ID, Status::Revoked).ok()?;
                next.wait_for(What::Admin(admin, change, Note::Revoked))?;
            }
            Input::BeginRotation => {
                let (admin, change) = next.half.begin_rotation(ID, &rotation_key()).ok()?;
                let key = change.value().record.rotation().map(|rotation| rotation.key.clone());
                catalog.genuine_keys.extend(key);
                next.wait_for(What::Admin(admin, change, Note::Begun))?;
            }
            Input::FinishRotation => {
                let (admin, change) = next.half.finish_rotation(INDEX).ok()?;
                next.wait_for(What::Admin(admin, change, Note::Finished))?;
            }
        }
        take_sealed(catalog, Way::Down, |cid| next.session(cid), &mut emits);
        next.check(was_revoked, &mut emits);
        Some((next, emits))
    }

    /// The epoch of the session with this connection id, which the record names.
    fn session(&self, cid: &[u8]) -> Option<Epoch> {
        let record = self.half.table().peer(INDEX)?.record();
        let mut entries = [record.confirmed(), record.candidate()].into_iter().flatten();
        entries.find(|entry| cid.starts_with(entry.cid.as_bytes())).map(|entry| entry.epoch)
    }

    fn wait_for(&mut self, what: What) -> Option<()> {
        (self.pending.len() < PENDING_MAX).then(|| self.pending.push(Pending { what, written: false }))
    }

    fn receive(
        &mut self,
        before: &Self,
        id: DatagramId,
        catalog: &mut Catalog,
        emits: &mut Vec<Emit>,
    ) -> Option<()> {
        let datagram = catalog.bytes(id).to_vec();
        let question = datagram.len();
        match self.half.receive(self.now, ADDRESS, datagram) {
            // The one rejection with an effect: the number counts as seen (M-113).
            Received::Rejected { reason: Reject::Verify(VerifyError::Malformed(_)), .. } => Some(()),
            Received::Rejected { reason, .. } => {
                if fingerprint(self) != fingerprint(before) {
                    emits.push(Emit::Broken(format!(
                        "M-24: rejected ({reason:?}), and the server has changed"
                    )));
                    return Some(());
                }
                None
            }
            Received::Answered { kind, answer, .. } => {
                emits.push(Emit::Note(match kind {
                    AnswerKind::Welcome => "server: the same Welcome again",
                    AnswerKind::Floor => "server: Floor",
                    AnswerKind::Reset => "server: Reset",
                    AnswerKind::Acknowledgement => "server: acknowledged again",
                }));
                let answer = answer.as_bytes();
                if kind != AnswerKind::Acknowledgement && answer.len() > question {
                    emits.push(Emit::Broken("M-19: an answer longer than its question".to_owned()));
                }
                if kind == AnswerKind::Floor && fingerprint(self) != fingerprint(before) {
                    emits.push(Emit::Broken("M-59: a stale Hello has changed something".to_owned()));
                }
                if kind == AnswerKind::Acknowledgement {
                    emits.push(Emit::Heard);
                }
                emits.push(Emit::Sent(catalog.datagram(answer)));
                Some(())
            }
            Received::Pending(held, change) => {
                let RecordChange { expected, record, .. } = change.value();
                let displaces = record.candidate() != expected.candidate();
                if displaces && record.candidate().is_some_and(|entry| entry.epoch <= expected.newest()) {
                    emits.push(Emit::Broken(
                        "M-63: a Hello that is not newer displaces a candidate".to_owned(),
                    ));
                }
                self.wait_for(What::Hello(held, change))
            }
            Received::Data(data) => {
                emits.push(Emit::Heard);
                self.heard(&data, catalog, emits);
                Some(())
            }
        }
    }

    fn heard(&mut self, data: &DataReceived<Vec<u8>, u8>, catalog: &mut Catalog, emits: &mut Vec<Emit>) {
        if let Some(payload) = &data.payload {
            let name = Name { epoch: data.epoch, number: Some(data.number) };
            emits.push(delivered(payload.as_bytes(), name));
        }
        if let Some(ControlEvent::Moved { .. }) = data.control {
            emits.push(Emit::Note("server: told of a moved counter"));
        }
        for (id, outcome) in [(data.acknowledged, Outcome::Acknowledged), (data.unknown, Outcome::Unknown)] {
            self.tell(id, outcome, emits);
        }
        if let Some((answer, _)) = &data.answer {
            emits.push(Emit::Sent(catalog.datagram(answer.as_bytes())));
        }
        self.poll(catalog, emits);
    }

    fn tell(&mut self, id: Option<CommandId>, outcome: Outcome, emits: &mut Vec<Emit>) {
        if let Some(id) = id {
            self.disk.end(id);
            emits.push(Emit::Told(payload(id), outcome));
        }
    }

    fn poll(&mut self, catalog: &mut Catalog, emits: &mut Vec<Emit>) {
        for _ in 0..8 {
            let Some(transmit) = self.half.poll(self.now, INDEX) else { return };
            emits.push(Emit::Sent(catalog.datagram(transmit.datagram)));
        }
        emits.push(Emit::Broken("P6: the server sends without end".to_owned()));
    }

    /// Journal, then store; a conflict gives the change up.
    fn write(&mut self, index: u8, emits: &mut Vec<Emit>) -> Option<()> {
        let at = usize::from(index);
        let pending = self.pending.get_mut(at).filter(|pending| !pending.written)?;
        pending.written = true;
        let (change, note) = match &pending.what {
            What::Hello(_, change) => (change.value(), Note::None),
            What::Admin(_, change, note) => (change.value(), *note),
            What::Command(sending, _) => {
                self.disk.mark_sent(sending.command());
                return Some(());
            }
        };
        if self.disk.matches(change) {
            self.disk.note(change, note);
            self.disk.set(change);
        } else {
            emits.push(Emit::Note("store: conflict"));
            self.pending.remove(at);
        }
        Some(())
    }

    fn note_and_crash(&mut self, index: u8, emits: &mut Vec<Emit>) -> Option<()> {
        let pending = self.pending.get(usize::from(index)).filter(|pending| !pending.written)?;
        let (change, note) = match &pending.what {
            What::Hello(_, change) if change.value().note_boot.is_some() => (change.value(), Note::None),
            What::Admin(_, change, note) => (change.value(), *note),
            _ => return None,
        };
        if !self.disk.matches(change) {
            return None;
        }
        self.disk.note(change, note);
        self.crash(emits);
        Some(())
    }

    fn finish(&mut self, index: u8, catalog: &mut Catalog, emits: &mut Vec<Emit>) -> Option<()> {
        let at = usize::from(index);
        if !self.pending.get(at)?.written {
            return None;
        }
        match self.pending.remove(at).what {
            What::Hello(held, change) => {
                let committed = match self.half.commit(held, change.committed()) {
                    Ok(committed) => committed,
                    Err(error) => {
                        emits.push(Emit::Broken(format!("M-88: the store and the server differ: {error:?}")));
                        return Some(());
                    }
                };
                if let Some(payload) = &committed.payload {
                    let name = Name { epoch: committed.epoch, number: None };
                    emits.push(delivered(payload.as_bytes(), name));
                }
                emits.extend(
                    committed.welcome.map(|(welcome, _)| Emit::Sent(catalog.datagram(welcome.as_bytes()))),
                );
                self.tell(committed.unknown, Outcome::Unknown, emits);
            }
            What::Admin(admin, change, note) => match self.half.apply(admin, change.committed()) {
                Ok(unknown) => {
                    emits.push(Emit::Note(match note {
                        Note::None => "server: record changed",
                        Note::Revoked => "server: device revoked",
                        Note::Begun => "server: rotation begun",
                        Note::Finished => "server: rotation finished",
                    }));
                    self.tell(unknown, Outcome::Unknown, emits);
                    self.poll(catalog, emits);
                }
                Err(error) => {
                    emits.push(Emit::Broken(format!("M-88: the store and the server differ: {error:?}")));
                }
            },
            What::Command(sending, mark) => {
                let (id, durable) = (sending.command(), mark.committed());
                let bytes = payload(id).bytes();
                match self.half.seal_command(self.now, sending, &durable, &bytes) {
                    Ok(transmit) => {
                        emits.extend(transmit.map(|it| Emit::Sent(catalog.datagram(it.datagram))));
                    }
                    Err(_) => self.disk.never_sealed(id),
                }
            }
        }
        Some(())
    }

    fn begin_command(&mut self, index: u8, comes: bool) -> Option<()> {
        let id = command(index);
        if comes {
            self.disk.enqueue(id);
        }
        self.disk.may_send(id, self.half.gateway()).then_some(())?;
        let (sending, change) = self.half.begin_command(ID, id, 2).ok()?;
        self.wait_for(What::Command(sending, change))
    }

    fn plain(&mut self, index: u8, catalog: &mut Catalog, emits: &mut Vec<Emit>) -> Option<()> {
        let mut out = [0; 64];
        let bytes = Payload { way: Way::Down, index }.bytes();
        let (datagram, _) = self.half.send_plain(ID, &bytes, &mut out).ok()?;
        emits.push(Emit::Sent(catalog.datagram(datagram)));
        Some(())
    }

    fn crash(&mut self, emits: &mut Vec<Emit>) {
        self.life += 1;
        self.pending.clear();
        self.now = 0;
        let (half, unknown) = start(&mut self.disk, self.life);
        self.half = half;
        emits.extend(unknown.into_iter().map(|id| Emit::Told(payload(id), Outcome::Unknown)));
    }

    /// What must hold of a server after every step.
    fn check(&self, was_revoked: bool, emits: &mut Vec<Emit>) {
        let spoke = |emit: &Emit| matches!(emit, Emit::Sealed(_) | Emit::Delivered(..) | Emit::Sent(_));
        if was_revoked && emits.iter().any(spoke) {
            emits.push(Emit::Broken(
                "P7: something was sealed, sent or delivered after a revocation".to_owned(),
            ));
        }
        let Some(peer) = self.half.table().peer(INDEX) else { return };
        let written = |pending: &Pending| pending.written;
        if !self.pending.iter().any(written) && peer.record().key() != self.disk.key() {
            emits.push(Emit::Broken("P8, M-79: a key that is not the journal's is in service".to_owned()));
        }
        if !self.pending.iter().any(written) && *peer.record() != self.disk.record() {
            emits.push(Emit::Broken("M-88: the store and the server differ".to_owned()));
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let record = self.disk.record();
        let entry = |entry: Option<&Entry>| {
            entry.map_or("none".to_owned(), |entry| format!("{} cid {}", entry.epoch, entry.cid))
        };
        format!(
            "record newest {}, confirmed {}, candidate {}; {}; {} pending",
            record.newest(),
            entry(record.confirmed()),
            entry(record.candidate()),
            if self.half.table().peer(INDEX).is_some_and(Peer::has_session) {
                "in session"
            } else {
                "no session"
            },
            self.pending.len()
        )
    }
}

fn start(disk: &mut Disk, life: u8) -> (Half, Vec<CommandId>) {
    let (record, mark, unknown) = disk.start();
    let mut table = FixedTable::new();
    table.insert(record).expect("the table has room for one device");
    let half = Server::new(table, Draws { life, drawn: 0 }, GatewayId(0), timing(), mark);
    (half.expect("the generator works"), unknown)
}

/// The command that carries the payload of this index.
pub const fn command(index: u8) -> CommandId {
    CommandId(index as u64)
}

fn payload(id: CommandId) -> Payload {
    Payload { way: Way::Down, index: u8::try_from(id.0).unwrap_or(u8::MAX) }
}
