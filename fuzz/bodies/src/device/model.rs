//! What the device may do, plainly: it is told everything that comes and goes, opens each datagram of the device with
//! the keys, and panics at the first that breaks a rule.

mod leaving;
mod outcomes;

use std::collections::{BTreeMap, HashMap, HashSet};

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::control::Role;
use moteseal::device::{CommandAge, Event, Millis, Outcome, Received, Settled, Ticket};
use moteseal::error::{Malformed, ReceiveError, ResetError, VerifyError};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, RotationSecret, SessionKeys};
use moteseal::number::{ConnectionId, Epoch, Generation};
use moteseal::wire::{self, Data, Header, Sealed, Unverified};

use super::board::ID;
use super::peer::{Hello, Kind, Peer};
use crate::slow::{Carried, Judged, SlowSession};
use crate::tape::Tape;

/// What a datagram brought, without borrows.
#[derive(Debug)]
pub struct Brought {
    payload: Option<(Vec<u8>, Epoch, u16, Option<u64>)>,
    settled: Vec<Settled>,
    event: Option<Event>,
}

impl Brought {
    /// A copy.
    pub fn of(received: Received<'_>) -> Self {
        let payload = received.payload.map(|p| (p.bytes.to_vec(), p.epoch, p.number.value(), p.age_ms));
        Self { payload, settled: received.settled.to_vec(), event: received.event }
    }
}

/// What a datagram may have cost the flash.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// Nobody holds a key for it, or it came before.
    None,
    /// It was authentic, and nothing of it goes to flash.
    Authentic,
    /// A Floor moved the counter.
    Moved,
    /// A key was taken.
    Key,
    /// A session was opened, and an old key may be erased.
    Opened,
}

/// Writes and erases at the most (P4).
pub const fn allowed_wear(effect: Effect) -> (u64, u64) {
    match effect {
        Effect::None | Effect::Authentic => (0, 0),
        // Twice at a turn of the counter's pages that was cut short before.
        Effect::Moved => (2, 1),
        Effect::Key => (1, 1),
        Effect::Opened => (0, 1),
    }
}

/// Where a payload was sealed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Hello(Epoch),
    Data(Epoch, u16),
}

/// A session that was installed.
struct Live {
    number: usize,
    keys: SessionKeys,
    cid: ConnectionId,
    epoch: Epoch,
    generation: Generation,
    slow: SlowSession,
    sent: HashSet<Vec<u8>>,
    sent_at: BTreeMap<u16, Millis>,
    /// A Reset came: it only receives.
    silent: bool,
    /// Mere answers since a number was new.
    answers: u32,
}

/// A key and a nonce, and what they sealed: associated data and plaintext.
type Sealings = HashMap<([u8; 32], [u8; 12]), (Vec<u8>, Vec<u8>)>;

/// Everything that is known.
pub struct Model {
    /// The server.
    pub peer: Peer,
    command_age: CommandAge,
    starts_late: bool,
    rotation_key: RotationKey,
    keys: Vec<(Generation, DeviceKey)>,
    sealings: Sealings,
    hellos: Vec<Hello>,
    /// The highest epoch that ever left.
    highest: Option<Epoch>,
    /// What the next new Hello must be above.
    floor: Option<Epoch>,
    outstanding: Option<usize>,
    /// Something came up since the last Hello for which a new one may be made (M-31).
    caused: bool,
    sessions: usize,
    live: Option<Live>,
    open: BTreeMap<u16, (Ticket, Vec<u8>)>,
    sealed: HashMap<Vec<u8>, Place>,
    delivered: HashSet<(Epoch, u16)>,
}

impl Model {
    /// A device from the factory.
    pub fn new(
        device_key: DeviceKey,
        rotation_key: RotationKey,
        command_age: CommandAge,
        boots: u32,
    ) -> Self {
        Self {
            starts_late: boots > 0xFFFF_0000,
            peer: Peer::default(),
            command_age,
            rotation_key,
            keys: vec![(Generation::FIRST, device_key)],
            sealings: HashMap::new(),
            hellos: Vec::new(),
            highest: None,
            floor: None,
            outstanding: None,
            caused: true,
            sessions: 0,
            live: None,
            open: BTreeMap::new(),
            sealed: HashMap::new(),
            delivered: HashSet::new(),
        }
    }

    /// The application does something, or the hardware fails.
    pub const fn calls(&mut self) {
        self.caused = true;
    }

    /// Near the end of the boot counter a device may not go on (M-28).
    pub fn is_used_up(&self) -> bool {
        self.starts_late
            || self.highest.is_some_and(|epoch| epoch.boot() >= u32::MAX - 2)
            || self.floor.is_some_and(|epoch| epoch.boot() >= u32::MAX - 2)
    }

    /// Sending writes only where the counts of a boot are used up (M-29).
    pub fn may_advance(&self) -> bool {
        self.highest.is_some_and(|epoch| epoch.count() >= u16::MAX - 1)
    }

    /// A boot worked.
    pub fn booted(&mut self) {
        self.caused = true;
    }

    /// What is in memory is gone.
    pub fn lost_power(&mut self) {
        (self.outstanding, self.live, self.floor) = (None, None, None);
        self.open.clear();
    }

    /// A payload was taken.
    pub fn handed_over(&mut self, payload: &[u8], ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            let other = self.open.insert(ticket.number(), (ticket, payload.to_vec()));
            assert!(other.is_none(), "one ticket for two payloads");
        }
    }

    /// One of the tickets that wait for their word.
    pub fn any_ticket(&self, tape: &mut Tape<'_>) -> Option<Ticket> {
        let at = tape.place(self.open.len());
        self.open.values().nth(at).map(|(ticket, _)| *ticket)
    }

    /// A Welcome or a Floor for the newest Hello, or for one before it.
    pub fn answer_hello(&mut self, tape: &mut Tape<'_>) -> Option<Vec<u8>> {
        let (bits, len) = (tape.u8(), self.hellos.len());
        let back = if bits & 0xE0 == 0xE0 { tape.place(len) } else { 0 };
        let at = len.checked_sub(1 + back)?;
        let hello = self.hellos[at].clone();
        Some(if bits & 3 == 3 {
            self.peer.floor(tape, at, &hello)
        } else {
            self.peer.welcome(tape, at, &hello)
        })
    }

    /// Something in the session.
    pub fn speak(&mut self, tape: &mut Tape<'_>) -> Option<Vec<u8>> {
        let Self { live, peer, rotation_key, .. } = self;
        let Live { number, keys, cid, slow, generation, .. } = live.as_ref()?;
        Some(if tape.u8() < 24 {
            peer.reset(tape, *number, (keys, *cid), slow.next)
        } else {
            let numbers = (slow.window.highest(), slow.next);
            peer.data(tape, *number, (keys, *cid), numbers, (*generation, rotation_key))
        })
    }

    /// The device took a datagram, or refused it.
    pub fn heard(
        &mut self,
        now: Millis,
        bytes: &[u8],
        result: Result<Brought, ReceiveError>,
        disturbed: bool,
    ) -> Effect {
        let mut datagram = bytes.to_vec();
        let header = match Unverified::parse(&mut datagram) {
            Ok(unverified) => unverified.header,
            Err(error) => {
                assert_eq!(result.err(), Some(ReceiveError::Parse(error)));
                return Effect::None;
            }
        };
        let kind = self.peer.known.get(bytes).cloned();
        match header {
            Header::Hello(_) => {
                assert_eq!(result.err(), Some(ReceiveError::ForServer));
                Effect::None
            }
            Header::Welcome(header) => self.heard_welcome(header.echo, kind, result, disturbed),
            Header::Floor(header) => self.heard_floor(header.echo, kind, result, disturbed),
            Header::Data(data) => self.heard_data(now, &data, kind, result, disturbed),
            Header::Reset(reset) => self.heard_reset(reset, kind, result),
        }
    }

    /// The Hello that an answer with this echo may be for, or the error.
    fn asked(&self, echo: [u8; 2]) -> Result<usize, ReceiveError> {
        let at = self.outstanding.ok_or(ReceiveError::NoHello)?;
        if self.hellos[at].salt.echo() == echo { Ok(at) } else { Err(ReceiveError::EchoMismatch) }
    }

    fn heard_welcome(
        &mut self,
        echo: [u8; 2],
        kind: Option<Kind>,
        result: Result<Brought, ReceiveError>,
        disturbed: bool,
    ) -> Effect {
        let at = match self.asked(echo) {
            Ok(at) => at,
            Err(error) => {
                assert_eq!(result.err(), Some(error), "M-33, M-9");
                return Effect::None;
            }
        };
        let Some(Kind::Welcome { server_salt, early_taken, inside, .. }) =
            kind.filter(|kind| matches!(kind, Kind::Welcome { hello, .. } if *hello == at))
        else {
            let error = result.expect_err("P1: a Welcome that nobody made");
            let fails = matches!(error, ReceiveError::Verify(VerifyError::Inauthentic));
            assert!(fails || disturbed && is_hardware(error), "{error}");
            return Effect::None;
        };
        if let Err(error) = &result
            && disturbed
            && is_hardware(*error)
        {
            return Effect::None;
        }
        let hello = self.hellos[at].clone();
        // M-34: consumed, whatever is inside.
        (self.outstanding, self.floor, self.caused) = (None, None, true);
        let outcome = if early_taken { Outcome::Acknowledged } else { Outcome::Unknown };
        let Some(cid) = ConnectionId::from_bytes(&inside) else {
            let Err(ReceiveError::InvalidConnectionId(invalid)) = result else { panic!("M-35: {result:?}") };
            if let Some(settled) = invalid.settled {
                self.settle_hello(settled, hello.epoch, outcome);
            }
            self.nothing_open_in(Place::Hello(hello.epoch));
            return Effect::Authentic;
        };
        let brought = result.expect("a good Welcome");
        assert!(brought.payload.is_none());
        let Some(Event::SessionOpened { epoch, .. }) = brought.event else {
            panic!("M-36: {:?}", brought.event)
        };
        assert_eq!(epoch, hello.epoch);
        for settled in brought.settled {
            if self.place_of(settled.ticket) == Some(Place::Hello(hello.epoch)) {
                self.settle_hello(settled, hello.epoch, outcome);
            } else {
                assert_eq!(settled.outcome, Outcome::Unknown, "M-103");
                self.close_ticket(settled.ticket);
            }
        }
        let keys = hello.key.session_keys(ID, hello.epoch, hello.salt, server_salt);
        self.sessions += 1;
        self.live = Some(Live {
            number: self.sessions,
            keys,
            cid,
            epoch: hello.epoch,
            generation: hello.generation,
            slow: SlowSession::new(Role::Device),
            sent: HashSet::new(),
            sent_at: BTreeMap::new(),
            silent: false,
            answers: 0,
        });
        // M-102: whatever was sealed before has its word.
        assert!(self.open.values().all(|(_, payload)| !self.sealed.contains_key(payload)), "M-103: no word");
        Effect::Opened
    }

    fn heard_floor(
        &mut self,
        echo: [u8; 2],
        kind: Option<Kind>,
        result: Result<Brought, ReceiveError>,
        disturbed: bool,
    ) -> Effect {
        let at = match self.asked(echo) {
            Ok(at) => at,
            Err(error) => {
                assert_eq!(result.err(), Some(error), "M-38, M-9");
                return Effect::None;
            }
        };
        let floor = match kind {
            Some(Kind::Floor { hello, floor }) if hello == at => floor,
            _ => {
                let error = result.expect_err("P1: a Floor that nobody made");
                let fails = matches!(error, ReceiveError::Verify(VerifyError::Inauthentic));
                assert!(fails || disturbed && is_hardware(error), "{error}");
                return Effect::None;
            }
        };
        let brought = match result {
            Err(error) if floor.boot() >= 0xFEFF_FFFF => {
                assert!(
                    error == ReceiveError::FloorTooHigh || disturbed && is_hardware(error),
                    "M-39: {error}"
                );
                return Effect::None;
            }
            Err(error) => {
                let used_up = self.is_used_up();
                assert!(used_up || disturbed && is_hardware(error), "{error}");
                // The counter may have moved all the same.
                self.caused = true;
                return Effect::Moved;
            }
            Ok(brought) => brought,
        };
        assert!(floor.boot() < 0xFEFF_FFFF, "M-39");
        let hello = self.hellos[at].epoch;
        let moved = floor > hello;
        assert_eq!(brought.event, Some(Event::Stale { floor, moved }), "M-40");
        for settled in brought.settled {
            self.settle_hello(settled, hello, Outcome::Unknown);
        }
        self.nothing_open_in(Place::Hello(hello));
        (self.outstanding, self.floor, self.caused) = (None, Some(floor), true);
        if moved { Effect::Moved } else { Effect::Authentic }
    }

    fn heard_data(
        &mut self,
        now: Millis,
        data: &Data,
        kind: Option<Kind>,
        result: Result<Brought, ReceiveError>,
        disturbed: bool,
    ) -> Effect {
        let Some(live) = &mut self.live else {
            assert_eq!(result.err(), Some(ReceiveError::NoSession));
            return Effect::None;
        };
        if live.cid != data.cid {
            assert_eq!(result.err(), Some(ReceiveError::UnknownConnection));
            return Effect::None;
        }
        let opens = |rebuilt: u16| match &kind {
            Some(Kind::Data { session, number, text }) if *session == live.number && *number == rebuilt => {
                Some(text.clone())
            }
            _ => None,
        };
        let authentic = opens(live.slow.number_of(data)).is_some();
        let judged = match live.slow.receive(data, opens) {
            Err(error) => {
                assert_eq!(result.err(), Some(ReceiveError::Verify(error)), "{data:?}");
                return if authentic { Effect::Authentic } else { Effect::None };
            }
            Ok(judged) => judged,
        };
        let (number, block, carried) = match judged {
            Judged::Repeat(_) => {
                let brought = result.expect("M-68");
                assert!(
                    brought.payload.is_none() && brought.event.is_none(),
                    "P2: a repeat brought something"
                );
                return Effect::Authentic;
            }
            Judged::New(number, _, block, carried) => (number, block, carried),
        };
        live.answers = 0;
        let epoch = live.epoch;
        match carried {
            Carried::Control(message) => {
                return self.heard_control(number, block, &message, result, disturbed);
            }
            Carried::Payload(expected) => {
                let brought = result.expect("a good Data");
                self.check_payload(now, (epoch, number, block), &expected, &brought);
                self.check_settled(&brought.settled);
            }
        }
        Effect::Authentic
    }

    /// Delivered once and as it was, or refused for its age (9.6).
    fn check_payload(
        &mut self,
        now: Millis,
        (epoch, number, block): (Epoch, u16, Option<[u8; 3]>),
        expected: &[u8],
        brought: &Brought,
    ) {
        let live = self.live.as_ref().expect("a session");
        let named = block.map(|[high, low, _]| u16::from_be_bytes([high, low]));
        let truth = named.map(|named| now - live.sent_at[&named]);
        let (refuses, bound) = match self.command_age {
            CommandAge::Refuse { bound_ms } => (true, u64::from(bound_ms)),
            CommandAge::Report { bound_ms } => (false, u64::from(bound_ms)),
        };
        if expected.is_empty() {
            assert!(brought.payload.is_none() && brought.event.is_none());
            return;
        }
        if let Some(Event::CommandRefused { .. }) = brought.event {
            assert!(refuses && brought.payload.is_none(), "M-112");
            let young = truth.is_some_and(|truth| truth + bound / 4 < bound);
            assert!(!young, "refused at an age of {truth:?} ms");
            return;
        }
        assert_eq!(brought.event, None);
        let (payload, told_epoch, told_number, age) = brought.payload.as_ref().expect("not delivered");
        assert_eq!((payload.as_slice(), *told_epoch, *told_number), (expected, epoch, number), "P1");
        assert!(self.delivered.insert((epoch, number)), "P2: delivered twice");
        if let Some(age) = age {
            assert!(*age >= truth.expect("an age out of nothing"), "M-111: {age}, in truth {truth:?}");
        }
        assert!(!refuses || age.is_some_and(|age| age <= bound), "M-112: {age:?}");
    }

    fn heard_control(
        &mut self,
        number: u16,
        block: Option<[u8; 3]>,
        message: &[u8],
        result: Result<Brought, ReceiveError>,
        disturbed: bool,
    ) -> Effect {
        let live = self.live.as_mut().expect("a session");
        let own = live.generation;
        if let (1, Some(offered)) = (message[0], Generation::new(message.get(1).copied().unwrap_or(0))) {
            let secret: [u8; 32] = message[2..].try_into().expect("as long as it must be");
            let secret = RotationSecret::from_bytes(secret);
            if own.next() == Some(offered) {
                let fails = |error: &ReceiveError| disturbed && is_hardware(*error);
                if !self.rotation_key.proves(&secret, offered, ID) {
                    let error = result.expect_err("M-115: a key that proves nothing");
                    let malformed = ReceiveError::Verify(VerifyError::Malformed(Malformed::UnprovenRotation));
                    assert!(error == malformed || fails(&error), "M-115: {error}");
                    return Effect::Authentic;
                }
                let brought = match result {
                    Err(error) => {
                        // A slot may be torn by it. The key may be there all the same.
                        assert!(fails(&error), "{error}");
                        self.learn(offered, &secret);
                        return Effect::Key;
                    }
                    Ok(brought) => brought,
                };
                assert_eq!(brought.event, Some(Event::KeyTaken(offered)), "M-118");
                live.slow.accept(number, block);
                self.learn(offered, &secret);
                self.check_settled(&brought.settled);
                (self.outstanding, self.caused) = (None, true);
                return Effect::Key;
            }
            live.slow.accept(number, block);
        }
        let brought = result.expect("a control message that is ignored");
        assert_eq!(brought.event, Some(Event::ControlIgnored), "M-114, M-116");
        assert!(brought.payload.is_none());
        self.check_settled(&brought.settled);
        Effect::Authentic
    }

    /// The power went while the device took this: a key that it offers may be in flash, or not.
    pub fn heard_in_part(&mut self, bytes: &[u8]) {
        let Some(Kind::Data { text, .. }) = self.peer.known.get(bytes) else { return };
        let behind = if bytes[0] & 2 == 0 { 0 } else { 3 };
        let Some([1, generation, secret @ ..]) = text.get(behind..) else { return };
        if let (Some(generation), Ok(secret)) = (Generation::new(*generation), secret.try_into()) {
            let secret = RotationSecret::from_bytes(secret);
            if bytes[0] & 1 == 1 && self.rotation_key.proves(&secret, generation, ID) {
                self.learn(generation, &secret);
            }
        }
    }

    fn learn(&mut self, generation: Generation, secret: &RotationSecret) {
        self.keys.push((generation, self.rotation_key.next_device_key(secret, generation, ID)));
    }

    fn heard_reset(
        &mut self,
        reset: wire::Reset,
        kind: Option<Kind>,
        result: Result<Brought, ReceiveError>,
    ) -> Effect {
        let Some(live) = &mut self.live else {
            assert_eq!(result.err(), Some(ReceiveError::NoSession));
            return Effect::None;
        };
        if live.cid != reset.cid {
            assert_eq!(result.err(), Some(ReceiveError::UnknownConnection));
            return Effect::None;
        }
        let read = match reset.seq {
            wire::Seq::One(low) => crate::codecs::nearest(low, live.slow.acknowledged.last().copied()),
            wire::Seq::Two(number) => number.value(),
        };
        let authentic =
            matches!(kind, Some(Kind::Reset { session, number }) if session == live.number && number == read);
        let error = match result {
            Ok(brought) => {
                assert!(authentic && live.slow.may_reset(read) && !live.silent, "M-46: number {read}");
                assert!(self.outstanding.is_none(), "M-46: while a Hello is outstanding");
                assert_eq!(brought.event, Some(Event::SessionLost));
                live.silent = true;
                self.caused = true;
                return Effect::Authentic;
            }
            Err(error) => error,
        };
        match error {
            // A Hello may be due that has not left yet.
            ReceiveError::HelloOutstanding => {}
            ReceiveError::Reset(ResetError::NeverSent) => assert!(u32::from(read) >= live.slow.next),
            ReceiveError::Reset(ResetError::Acknowledged) => assert!(!live.slow.may_reset(read)),
            ReceiveError::Reset(ResetError::Inauthentic) => assert!(!authentic),
            other => panic!("{other}"),
        }
        Effect::None
    }
}

const fn is_hardware(error: ReceiveError) -> bool {
    matches!(
        error,
        ReceiveError::Storage(_)
            | ReceiveError::Identity(_)
            | ReceiveError::Counter(_)
            | ReceiveError::KeyMissing
    )
}

fn open(key: &AeadKey, nonce: Nonce, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
    let mut text = sealed.ciphertext.to_vec();
    Portable::open(key, nonce, sealed.aad, &mut text, sealed.tag).ok()?;
    Some(text)
}
