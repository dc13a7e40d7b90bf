//! What the server may do, plainly: one view of each device as the server has it and one as the store has it, sets for
//! windows, and the table of SPEC 7.1 read from top to bottom. It panics at the first answer that breaks a rule.

mod orders;

use std::collections::{BTreeSet, HashMap};

use moteseal::control::Role;
use moteseal::delivery::Millis;
use moteseal::error::{Malformed, Reject, VerifyError};
use moteseal::number::{ConnectionId, Epoch, Salt};
use moteseal::record::Status;
use moteseal::replay::Freshness;
use moteseal::server::{AnswerKind, CommandId, ControlEvent, DataReceived, RecordChange};
use moteseal::wire::{self, Data, Header, Unverified};

use super::fleet::{DEVICES, Fleet, Offered, Up, id};
use super::model_down::Down;
use crate::slow::{Carried, Judged, SlowSession};
use crate::windows::SlowEpochs;

/// A session's entry: its number in the fleet, epoch, salt and connection id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its number in the fleet.
    pub session: usize,
    epoch: Epoch,
    salt: Salt,
    cid: ConnectionId,
}

/// What is durable of one device.
#[derive(Clone, Debug)]
pub struct View {
    /// Its Hellos.
    pub epochs: SlowEpochs,
    confirmed: Option<Entry>,
    candidate: Option<Entry>,
}

/// A session with its counters.
#[derive(Clone, Debug)]
pub struct Live {
    entry: Entry,
    tag: [u8; 16],
    /// Its numbers.
    pub slow: SlowSession,
    /// The only Welcome.
    welcome: Vec<u8>,
    /// From where something came that verified.
    heard_from: BTreeSet<u8>,
    /// A command and its number, until there is a word for it.
    command: Option<(CommandId, u16)>,
    /// The number of the last command that was sealed, and whether it had a block to carry.
    sealed: (u16, bool),
    /// The bytes of commands, which are repeated.
    sent: BTreeSet<Vec<u8>>,
    resent: u32,
}

/// One device.
#[derive(Clone, Debug)]
struct Peer {
    view: View,
    stored: View,
    status: Status,
    candidate: Option<Live>,
    active: Option<Live>,
    resets: [Option<Millis>; 2],
    /// Connection ids that a change under way will put into the record.
    reserved: BTreeSet<Vec<u8>>,
}

/// Everything that is known.
#[derive(Debug)]
pub struct Model {
    peers: Vec<Peer>,
    delivered: BTreeSet<(u8, u64, Option<u16>)>,
    /// Epochs that a store has made durable.
    written: BTreeSet<(u8, u64)>,
    floors: u32,
    down: Down,
}

/// What must become of a datagram.
#[derive(Debug)]
pub enum Expected {
    /// Nothing, for this reason.
    Rejected(Reject),
    /// A datagram of a connection id that is about to be somebody's.
    Reserved,
    /// The same Welcome again.
    Welcome(Vec<u8>),
    /// A Floor, or nothing where there were many.
    Floor(Epoch),
    /// A write.
    Fresh { device: u8, newest: bool, tag: [u8; 16], payload: Vec<u8> },
    /// Refused by the session, or acknowledged again, or delivered.
    Data { device: u8, confirms: bool, judged: Result<Judged, VerifyError>, confirm: bool },
    /// A Reset for the session of this number.
    Reset { session: usize, seq: wire::Seq },
}

impl View {
    /// Whether an entry names this session still.
    fn names(&self, entry: &Entry) -> bool {
        self.confirmed.as_ref() == Some(entry) || self.candidate.as_ref() == Some(entry)
    }

    fn entries(&self) -> [Option<Entry>; 2] {
        [self.confirmed, self.candidate]
    }
}

impl Model {
    /// Three devices that have never spoken.
    pub fn new() -> Self {
        let epochs = SlowEpochs::raised(Epoch::new(0, 0));
        let view = View { epochs, confirmed: None, candidate: None };
        let peer = Peer {
            stored: view.clone(),
            view,
            status: Status::Active,
            candidate: None,
            active: None,
            resets: [None; 2],
            reserved: BTreeSet::new(),
        };
        let peers = vec![peer; DEVICES.into()];
        Self { peers, delivered: BTreeSet::new(), written: BTreeSet::new(), floors: 0, down: Down::default() }
    }

    fn peer(&mut self, device: u8) -> &mut Peer {
        &mut self.peers[usize::from(device)]
    }

    /// A device as the server has it.
    pub fn view(&self, device: u8) -> &View {
        &self.peers[usize::from(device)].view
    }

    /// The highest number verified and the next own one of a session, as far as there are counters.
    pub fn numbers(&self, session: usize) -> (Option<u16>, u32) {
        let lives = self.peers.iter().flat_map(|peer| peer.active.iter().chain(&peer.candidate));
        let live = lives.into_iter().find(|live| live.entry.session == session);
        live.map_or((None, 0), |live| (live.slow.window.highest(), live.slow.next))
    }

    /// Everything in memory is gone.
    pub fn crashed(&mut self) {
        for peer in &mut self.peers {
            (peer.candidate, peer.active, peer.resets) = (None, None, [None; 2]);
            peer.view = peer.stored.clone();
            peer.reserved.clear();
        }
        self.floors = 0;
    }

    /// What must become of these bytes.
    pub fn expect(&mut self, fleet: &Fleet, now: Millis, from: u8, bytes: &[u8]) -> Expected {
        let mut datagram = bytes.to_vec();
        let (header, tag) = match Unverified::parse(&mut datagram) {
            Ok(unverified) => (unverified.header, *unverified.sealed.tag),
            Err(error) => return Expected::Rejected(Reject::Parse(error)),
        };
        match header {
            Header::Hello(hello) => self.expect_hello(&hello, tag, fleet.known.get(bytes)),
            Header::Data(data) => self.expect_data(now, from, &data, fleet.known.get(bytes)),
            _ => Expected::Rejected(Reject::NotForServer),
        }
    }

    /// SPEC 7.1.
    fn expect_hello(&mut self, hello: &wire::Hello, tag: [u8; 16], known: Option<&Up>) -> Expected {
        let Some(device) = (0..DEVICES).find(|device| id(*device) == hello.device_id) else {
            return Expected::Rejected(Reject::UnknownDevice);
        };
        let peer = self.peer(device);
        if peer.status != Status::Active {
            return Expected::Rejected(Reject::NotActive);
        }
        if hello.generation_bits != 1 {
            return Expected::Rejected(Reject::UnknownGeneration);
        }
        let Some(Up::Hello { payload }) = known else { return Expected::Rejected(Reject::Inauthentic) };
        if hello.epoch.boot() >= 0xFF00_0000 {
            return Expected::Rejected(Reject::BootCounterUsedUp);
        }
        let same = |entry: &Entry| entry.epoch == hello.epoch && entry.salt == hello.salt;
        let in_record = peer.view.entries().iter().flatten().any(same);
        let active = peer.active.as_ref().filter(|active| active.entry.epoch == hello.epoch && in_record);
        let stale = match active {
            Some(active) if active.tag == tag => return Expected::Rejected(Reject::SameHello),
            Some(_) => true,
            None if peer.view.candidate.as_ref().is_some_and(same) => {
                match peer.candidate.as_ref().filter(|candidate| candidate.tag == tag) {
                    Some(candidate) => return Expected::Welcome(candidate.welcome.clone()),
                    None => true,
                }
            }
            None if peer.view.confirmed.as_ref().is_some_and(same) => {
                return Expected::Rejected(Reject::SameHello);
            }
            None => peer.view.epochs.check(hello.epoch) == Freshness::Stale,
        };
        if stale {
            let newest = peer.view.epochs.newest();
            return if newest.boot() >= 0xFEFF_FFFF {
                Expected::Rejected(Reject::FloorOutOfRange)
            } else {
                Expected::Floor(newest)
            };
        }
        let newest = peer.view.epochs.check(hello.epoch) == Freshness::Newest;
        Expected::Fresh { device, newest, tag, payload: payload.clone() }
    }

    /// SPEC 7.3, 7.4 and 7.6.
    fn expect_data(&mut self, now: Millis, from: u8, data: &Data, known: Option<&Up>) -> Expected {
        let bytes = data.cid.as_bytes();
        let names = |peer: &Peer| peer.view.entries().iter().flatten().any(|entry| entry.cid == data.cid);
        let Some(at) = self.peers.iter().position(names) else {
            let reserved = self.peers.iter().any(|peer| peer.reserved.contains(bytes));
            return if reserved { Expected::Reserved } else { Expected::Rejected(Reject::UnknownConnection) };
        };
        let device = u8::try_from(at).expect("few");
        let peer = self.peer(device);
        if peer.status != Status::Active {
            return Expected::Rejected(Reject::NotActive);
        }
        let opens = |session: usize, rebuilt: u16| match known {
            Some(Up::Data { session: sealed, number, text }) if *sealed == session && *number == rebuilt => {
                Some(text.clone())
            }
            _ => None,
        };
        if let Some(candidate) = peer.candidate.as_mut().filter(|live| live.entry.cid == data.cid) {
            let session = candidate.entry.session;
            let judged = candidate.slow.receive(data, |number| opens(session, number));
            let opened = matches!(judged, Ok(_) | Err(VerifyError::Malformed(_)));
            let (confirm, confirms) = (data.confirm, opened);
            if opened {
                candidate.heard_from.insert(from);
            }
            return Expected::Data { device, confirms, judged, confirm };
        }
        if let Some(active) = peer.active.as_mut().filter(|live| live.entry.cid == data.cid) {
            let session = active.entry.session;
            let judged = active.slow.receive(data, |number| opens(session, number));
            if matches!(judged, Ok(Judged::New(..))) {
                active.heard_from.insert(from);
            }
            return Expected::Data { device, confirms: false, judged, confirm: data.confirm };
        }
        let entries = peer.view.entries();
        let place = entries.iter().position(|entry| entry.is_some_and(|entry| entry.cid == data.cid));
        let place = place.expect("found before");
        let session = entries[place].expect("found before").session;
        if peer.resets[place].is_some_and(|last| now - last < 1_000) {
            return Expected::Rejected(Reject::ResetLimited);
        }
        let number = match data.seq {
            wire::Seq::One(low) => low.into(),
            wire::Seq::Two(number) => number.value(),
        };
        if opens(session, number).is_none() {
            return Expected::Rejected(Reject::Verify(VerifyError::Inauthentic));
        }
        peer.resets[place] = Some(now);
        Expected::Reset { session, seq: data.seq }
    }

    /// A datagram was dropped.
    pub fn rejected(&mut self, reason: Reject, expected: Expected) {
        match expected {
            Expected::Rejected(expected) => assert_eq!(reason, expected),
            Expected::Reserved => {
                assert!(matches!(reason, Reject::UnknownConnection | Reject::NotActive), "{reason}");
            }
            Expected::Floor(_) => {
                // M-61: 64 at once.
                assert!(reason == Reject::FloorLimited && self.floors >= 64, "{reason}");
            }
            Expected::Data { judged: Err(error), confirms: false, .. } => {
                assert_eq!(reason, Reject::Verify(error));
            }
            // M-101, M-70.
            Expected::Data { judged: Ok(Judged::Repeat(_)), .. } => assert_eq!(reason, Reject::AnswerLimited),
            other => panic!("{reason}, and not {other:?}"),
        }
    }

    /// A datagram was answered, and nothing was delivered.
    pub fn answered(
        &mut self,
        fleet: &Fleet,
        kind: AnswerKind,
        device: u8,
        answer: &[u8],
        (from, to): (u8, u8),
        expected: Expected,
    ) {
        match (kind, expected) {
            (AnswerKind::Welcome, Expected::Welcome(bytes)) => {
                assert_eq!((answer, to), (&bytes[..], from), "M-56");
            }
            (AnswerKind::Floor, Expected::Floor(newest)) => {
                self.floors += 1;
                assert_eq!(to, from);
                assert_eq!(answer[3..9], newest.as_bytes()[..], "M-59");
            }
            (AnswerKind::Reset, Expected::Reset { session, seq }) => {
                assert_eq!(to, from, "M-74");
                self.down.reset(&fleet.sessions[session], seq, answer);
            }
            (AnswerKind::Acknowledgement, Expected::Data { judged: Ok(Judged::Repeat(number)), .. }) => {
                let live = self.active(device);
                live.resent += 1;
                assert!(live.resent <= 8, "M-101: without end");
                assert!(live.heard_from.contains(&to), "M-72");
                let number = moteseal::number::SequenceNumber::new(number);
                let block = live.slow.window.block(Some(moteseal::replay::Answering::Repeat(number)));
                self.acknowledged(fleet, device, answer, block);
            }
            (kind, expected) => panic!("{kind:?}, and not {expected:?}"),
        }
    }

    fn active(&mut self, device: u8) -> &mut Live {
        self.peer(device).active.as_mut().expect("M-73: no counters")
    }

    fn acknowledged(&mut self, fleet: &Fleet, device: u8, answer: &[u8], block: Option<[u8; 3]>) {
        let Self { peers, down, .. } = self;
        let live = peers[usize::from(device)].active.as_mut().expect("M-73: no counters");
        let (data, text) = down.data(&fleet.sessions[live.entry.session], &mut live.slow, answer);
        assert!(data.ack && !data.confirm && !data.control, "M-45");
        assert_eq!(Some(&text[..]), block.as_ref().map(|block| &block[..]), "M-15, M-18");
    }

    /// A fresh Hello asks for a write: what the record must be after it (M-53 to M-57, M-63, M-64).
    pub fn fresh(
        &mut self,
        fleet: &mut Fleet,
        device: u8,
        newest: bool,
        change: &RecordChange,
    ) -> (View, Option<usize>) {
        let peer = self.peer(device);
        let record = &change.record;
        let mut after = peer.view.clone();
        let serves = |entry: Option<Entry>| {
            entry.is_some() && entry == peer.active.as_ref().map(|active| active.entry)
        };
        let mut session = None;
        if newest {
            if serves(after.candidate) {
                after.confirmed = after.candidate;
            }
            let made = record.candidate().expect("M-54: without a candidate");
            let keys =
                super::fleet::key(device).session_keys(id(device), made.epoch, made.salt, made.server_salt);
            session = Some(fleet.sessions.len());
            let (epoch, salt, cid) = (made.epoch, made.salt, made.cid);
            after.candidate = Some(Entry { session: fleet.sessions.len(), epoch, salt, cid });
            fleet.sessions.push(Offered { keys, cid });
            peer.reserved.insert(cid.as_bytes().to_vec());
            after.epochs.accept(epoch);
            self.cid_is_free(device, cid);
        }
        (after, session)
    }

    /// M-12.
    fn cid_is_free(&self, device: u8, cid: ConnectionId) {
        for (other, peer) in self.peers.iter().enumerate() {
            let entries = peer.view.entries().into_iter().chain(peer.stored.entries());
            let named = entries.flatten().any(|entry| entry.cid == cid);
            assert!(other == usize::from(device) || !named, "M-12: {cid} is another's");
        }
    }

    /// The store has made the change.
    pub fn written(&mut self, device: u8, epoch: Epoch, after: &View) {
        assert!(self.written.insert((device, epoch.value())), "P2, P4: a second write for one Hello");
        let peer = self.peer(device);
        peer.stored = after.clone();
        if !matches!(after.candidate, Some(entry) if entry.epoch == epoch) {
            peer.stored.epochs.accept(epoch);
        }
    }

    /// The server has learned that it is durable. Gives the command that must be told as *unknown*.
    pub fn committed(
        &mut self,
        fleet: &Fleet,
        device: u8,
        mut after: View,
        newest: Option<(usize, [u8; 16], u8)>,
        welcome: Option<&(Vec<u8>, u8)>,
    ) -> Option<CommandId> {
        let peer = self.peer(device);
        after.epochs = peer.stored.epochs.clone();
        peer.view = after;
        let gone = |live: &mut Live, view: &View| !view.names(&live.entry);
        let view = peer.view.clone();
        peer.candidate.take_if(|live| gone(live, &view));
        let ended = peer.active.take_if(|live| gone(live, &view));
        let unknown = ended.and_then(|live| live.command).map(|(command, _)| command);
        if let Some(entry) = peer.view.candidate {
            peer.reserved.remove(entry.cid.as_bytes());
        }
        if peer.status != Status::Active {
            return unknown;
        }
        if let Some((session, tag, from)) = newest {
            let (bytes, to) = welcome.cloned().expect("M-54: no Welcome");
            assert_eq!(to, from);
            let entry = peer.view.candidate.expect("M-54");
            self.down.welcome(&fleet.sessions[session], entry.cid, &bytes);
            let slow = SlowSession::new(Role::Server);
            let (heard_from, command, sent) = (BTreeSet::new(), None, BTreeSet::new());
            let live = Live {
                entry,
                tag,
                slow,
                welcome: bytes,
                heard_from,
                command,
                sealed: (0, false),
                sent,
                resent: 0,
            };
            self.peer(device).candidate = Some(live);
        } else {
            assert!(welcome.is_none(), "M-57: a late Hello is answered");
        }
        unknown
    }

    /// A payload goes to the application.
    pub fn deliver(&mut self, device: u8, epoch: Epoch, number: Option<u16>) {
        let new = self.delivered.insert((device, epoch.value(), number));
        assert!(new, "P2: {device} {epoch} {number:?} is delivered twice");
    }

    /// A Data that verified for the first time.
    pub fn data(&mut self, fleet: &Fleet, from: u8, data: DataReceived<Vec<u8>, u8>, expected: Expected) {
        let Expected::Data { device, confirms, judged, confirm } = expected else {
            panic!("P1: a Data is taken, and not {expected:?}");
        };
        assert_eq!(data.confirmed, confirms, "M-62");
        let peer = self.peer(device);
        let mut unknown = None;
        if confirms {
            let ended = std::mem::replace(&mut peer.active, peer.candidate.take());
            unknown = ended.and_then(|live| live.command).map(|(command, _)| command);
        }
        let live = self.active(device);
        assert_eq!((data.device_id, data.epoch), (id(device), live.entry.epoch));
        let (number, carried) = match judged {
            Ok(Judged::New(number, _, _, carried)) => (number, carried),
            Err(VerifyError::Malformed(malformed)) if confirms => {
                return Self::malformed(&data, malformed, unknown);
            }
            other => panic!("P2: taken, and {other:?}"),
        };
        live.resent = 0;
        assert_eq!(data.number.value(), number);
        assert_eq!(data.malformed, None);
        let told = live.settle();
        assert_eq!(data.acknowledged, told.ok(), "M-102");
        let mut unknown = unknown.or(told.err().flatten());
        let block = live.slow.window.block(Some(moteseal::replay::Answering::New(data.number)));
        let (epoch, heard_from) = (live.entry.epoch, live.heard_from.clone());
        match &data.answer {
            None => assert!(
                !confirm || heard_from.len() > 1 || data.confirmed || from_is_new(&heard_from, from),
                "M-100"
            ),
            Some((answer, to)) => {
                assert!(confirm && heard_from.contains(to), "M-100, M-72");
                self.acknowledged(fleet, device, answer.as_bytes(), block);
            }
        }
        let payload = data.payload.as_ref().map(|payload| payload.as_bytes().to_vec());
        match carried {
            Carried::Payload(expected) => {
                assert_eq!(payload.unwrap_or_default(), expected, "P1");
                assert_eq!(data.control, None);
                if !expected.is_empty() {
                    self.deliver(device, epoch, Some(number));
                }
            }
            Carried::Control(message) => {
                assert!(payload.is_none());
                let expected = match message[..] {
                    [2, ..] => Some(ControlEvent::Close),
                    [3, a, b, c, d] => {
                        let from = u32::from_be_bytes([a, b, c, d]);
                        Some(ControlEvent::Moved { from, excused: false })
                    }
                    [kind, ..] => Some(ControlEvent::Unknown(kind)),
                    [] => None,
                };
                assert_eq!(data.control, expected, "10.1");
                if expected == Some(ControlEvent::Close) {
                    // M-76.
                    let ended = self.peer(device).active.take();
                    unknown = unknown.or(ended.and_then(|live| live.command).map(|(command, _)| command));
                }
            }
        }
        assert_eq!(data.unknown, unknown, "M-103, M-128");
    }

    fn malformed(data: &DataReceived<Vec<u8>, u8>, malformed: Malformed, unknown: Option<CommandId>) {
        assert_eq!(data.malformed, Some(malformed), "M-113");
        let nothing = data.payload.is_none() && data.answer.is_none() && data.control.is_none();
        assert!(nothing && data.acknowledged.is_none(), "M-113");
        assert_eq!(data.unknown, unknown);
    }
}

/// An address that has just become the session's may have too small a budget (M-70).
fn from_is_new(heard_from: &BTreeSet<u8>, from: u8) -> bool {
    heard_from.len() == 1 && heard_from.contains(&from)
}

impl Live {
    /// What the blocks say of its command: acknowledged, or given up.
    fn settle(&mut self) -> Result<CommandId, Option<CommandId>> {
        let Some((command, number)) = self.command else { return Err(None) };
        let highest = self.slow.acknowledged.last().copied().unwrap_or(0);
        if self.slow.acknowledged.contains(&number) && highest - number < 64 {
            self.command = None;
            return Ok(command);
        }
        if highest >= number && highest - number >= 64 {
            self.command = None;
            return Err(Some(command));
        }
        Err(None)
    }
}

/// What was sealed under which key and nonce.
pub type Sealings = HashMap<([u8; 32], [u8; 12], u8), (Vec<u8>, Vec<u8>)>;
