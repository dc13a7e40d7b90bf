//! The device half as the exploration drives it: the real [`Device`] on a [`Board`], its clock, and the application's
//! memory of what it handed over. A step takes one input, asks the device for all that is due, and tells what came of it.

use moteseal::boot_counter::Stored;
use moteseal::device::{Config, Confirm, Device, Event, Millis, Outcome, Received, Timing};
use moteseal::error::{ReceiveError, VerifyError};
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::DeviceId;

use crate::board::{Board, Fuse};
use crate::catalog::{Catalog, DatagramId, Name, Payload, Way};
use crate::emit::{Emit, fingerprint, take_sealed};
use crate::toy::{self, Toy};

/// The device of every exploration.
pub const ID: DeviceId = DeviceId::new(*b"mote-001");
/// Room for the longest datagram of an exploration.
const BUFFER: usize = 64;
/// A wait, in milliseconds: longer than any timer of [`timing`] and than the second between two answers to repeats. So
/// a clock is always either before all of them or past all of them, which are the two cases that matter.
pub const WAIT_MS: Millis = 2_000;

/// Its key of the first generation.
pub fn first_key() -> DeviceKey {
    DeviceKey::new([1; 32])
}

/// Its rotation key.
pub fn rotation_key() -> RotationKey {
    RotationKey::new([0xEE; 32])
}

/// Timers that all run out within one wait, so that jitter has no say; a Data with C is repeated once, then given up.
pub const fn timing() -> Timing {
    Timing { answer_timeout_ms: 1, repeats: 1, hello_cap_ms: 1, ..Timing::DEFAULT }
}

/// What can happen to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Power goes, if it was there, and comes.
    Boot,
    /// The application hands a payload over.
    Send { index: u8, confirm: bool },
    /// It sends so many Data without C that what lies before them leaves the windows.
    Burst,
    /// It asks for a session, or for a sign of life.
    Connect,
    /// It takes the payload back that waits or travels in a Hello.
    Withdraw,
    /// It closes the session.
    Close,
    /// Time passes: every timer has run out.
    Wait,
    /// A datagram comes.
    Receive(DatagramId),
    /// A datagram comes, and the power goes at the flash write that it causes.
    ReceiveCut { datagram: DatagramId, done: bool },
    /// What is due is asked for, where that is not done at once.
    Poll,
    /// Power goes, and the flash of the boot counter is erased.
    Erase,
    /// Power goes, and that flash is rolled back to what the factory wrote.
    RollBack,
}

type Half = Device<Board, BUFFER, Toy>;

/// The device between two steps.
#[derive(Clone, Hash)]
pub struct DeviceState {
    power: Power,
    now: Millis,
    /// Tickets of payloads without a word.
    tickets: Vec<(u16, u8)>,
    /// What is due is asked for in a step of its own.
    lazy: bool,
}

#[derive(Clone, Hash)]
enum Power {
    Off(Board),
    /// It refuses to start, as it must where it cannot be safe (M-27).
    Refused(Board),
    On(Box<Half>),
}

/// What a step leads to.
pub type Step<S> = Option<(S, Vec<Emit>)>;

impl DeviceState {
    /// From the factory, and off.
    pub fn new(has_rng: bool, boots: u32, lazy: bool) -> Self {
        let identity = Identity { device_id: ID, rotation_key: rotation_key() };
        let image = FactoryImage::new(identity, first_key());
        let rng = has_rng.then_some(0);
        let board = Board { counter: Stored::Intact(boots), image, rng, fuse: Fuse::None };
        Self { power: Power::Off(board), now: 0, tickets: Vec::new(), lazy }
    }

    /// Whether it has power and has not refused to start.
    pub const fn is_on(&self) -> bool {
        matches!(self.power, Power::On(_))
    }

    /// Whether it refused to start.
    pub const fn has_refused(&self) -> bool {
        matches!(self.power, Power::Refused(_))
    }

    /// What it is from now on asked at once for what is due.
    pub const fn eager(&mut self) {
        self.lazy = false;
    }

    /// What `input` leads to; nothing where it cannot happen or says nothing new.
    pub fn step(&self, input: Input, catalog: &mut Catalog) -> Step<Self> {
        // What an input sealed that turned out not to be possible.
        toy::sealed();
        let mut next = self.clone();
        let mut emits = Vec::new();
        let polls = match input {
            Input::Boot => next.boot(),
            Input::Erase => next.lose_power(Stored::Blank),
            Input::RollBack => next.lose_power(Stored::Intact(0)),
            Input::Receive(id) => next.receive(self, id, catalog, &mut emits)?,
            Input::ReceiveCut { datagram, done } => next.receive_cut(datagram, done, catalog)?,
            Input::Send { index, confirm } => next.send(index, confirm, catalog, &mut emits)?,
            Input::Burst => next.burst(catalog, &mut emits)?,
            Input::Close => next.close(catalog, &mut emits)?,
            Input::Withdraw => next.withdraw(&mut emits)?,
            Input::Connect => {
                let now = next.now;
                next.half()?.connect(now);
                true
            }
            Input::Wait => {
                next.half()?.deadline()?;
                next.now += WAIT_MS;
                true
            }
            Input::Poll => {
                next.poll(catalog, &mut emits);
                false
            }
        };
        if polls && (!next.lazy || matches!(input, Input::Wait)) {
            next.poll(catalog, &mut emits);
        }
        let epoch = next.half().and_then(|half| half.session());
        take_sealed(catalog, Way::Up, |_| epoch, &mut emits);
        next.check_slots(catalog, &mut emits);
        Some((next, emits))
    }

    fn half(&mut self) -> Option<&mut Half> {
        if let Power::On(half) = &mut self.power { Some(half) } else { None }
    }

    fn board(&self) -> Board {
        match &self.power {
            Power::Off(board) | Power::Refused(board) => board.clone(),
            Power::On(half) => half.clone().into_hardware(),
        }
    }

    fn boot(&mut self) -> bool {
        let board = self.board();
        self.power = match Half::boot(board.clone(), Config { timing: timing(), ..Config::default() }) {
            Ok(half) => Power::On(Box::new(half)),
            Err(_) => Power::Refused(board),
        };
        self.now = 0;
        self.tickets.clear();
        false
    }

    fn lose_power(&mut self, counter: Stored) -> bool {
        self.power = Power::Off(Board { counter, ..self.board() });
        self.now = 0;
        self.tickets.clear();
        false
    }

    fn poll(&mut self, catalog: &mut Catalog, emits: &mut Vec<Emit>) {
        let now = self.now;
        let Some(half) = self.half() else { return };
        let mut out = [0; BUFFER];
        for _ in 0..8 {
            match half.poll(now, &mut out) {
                Ok(Some(datagram)) => emits.push(Emit::Sent(catalog.datagram(datagram))),
                Ok(None) => return,
                Err(error) => {
                    emits.push(Emit::Broken(format!("the device cannot go on: {error:?}")));
                    return;
                }
            }
        }
        emits.push(Emit::Broken("P6: the device sends without end".to_owned()));
    }

    fn send(
        &mut self,
        index: u8,
        confirm: bool,
        catalog: &mut Catalog,
        emits: &mut Vec<Emit>,
    ) -> Option<bool> {
        let now = self.now;
        let payload = Payload { way: Way::Up, index };
        let mut out = [0; BUFFER];
        let confirm = if confirm { Confirm::Yes } else { Confirm::No };
        let sent = self.half()?.send(now, &payload.bytes(), confirm, &mut out).ok()?;
        emits.extend(sent.datagram.map(|datagram| Emit::Sent(catalog.datagram(datagram))));
        let ticket = sent.ticket;
        self.tickets.extend(ticket.map(|ticket| (ticket.number(), index)));
        Some(true)
    }

    /// The attacker keeps the first and the last of them: what lies between differs from these in nothing.
    fn burst(&mut self, catalog: &mut Catalog, emits: &mut Vec<Emit>) -> Option<bool> {
        let now = self.now;
        let half = self.half()?;
        half.session()?;
        let mut out = [0; BUFFER];
        let mut datagrams = Vec::new();
        for _ in 0..63 {
            let sent = half.send(now, b"telemetry", Confirm::No, &mut out).ok()?;
            if sent.ticket.is_some() {
                return None;
            }
            datagrams.push(catalog.datagram(sent.datagram?));
        }
        emits.extend([datagrams.first()?, datagrams.last()?].map(|id| Emit::Sent(*id)));
        Some(true)
    }

    fn withdraw(&mut self, emits: &mut Vec<Emit>) -> Option<bool> {
        let now = self.now;
        let (number, index) = *self.tickets.last()?;
        let ticket = moteseal::device::Ticket::new(number)?;
        let outcome = self.half()?.withdraw(now, ticket)?;
        self.tickets.retain(|(other, _)| *other != number);
        emits.push(Emit::Told(Payload { way: Way::Up, index }, outcome));
        Some(true)
    }

    fn close(&mut self, catalog: &mut Catalog, emits: &mut Vec<Emit>) -> Option<bool> {
        let now = self.now;
        let mut out = [0; BUFFER];
        let half = self.half()?;
        half.session()?;
        let closed = half.close(now, &mut out).ok()?;
        emits.extend(closed.datagram.map(|datagram| Emit::Sent(catalog.datagram(datagram))));
        self.settle(&closed.settled, emits);
        Some(true)
    }

    fn receive(
        &mut self,
        before: &Self,
        id: DatagramId,
        catalog: &mut Catalog,
        emits: &mut Vec<Emit>,
    ) -> Option<bool> {
        let (now, mut datagram) = (self.now, catalog.bytes(id).to_vec());
        match self.half()?.receive(now, &mut datagram) {
            Ok(Received { payload, settled, event, .. }) => {
                if let Some(payload) = payload {
                    let name = Name { epoch: payload.epoch, number: Some(payload.number) };
                    emits.push(delivered(payload.bytes, name));
                }
                emits.extend(event.as_ref().map(note));
                self.settle(&settled, emits);
                Some(true)
            }
            // The one rejection with an effect: the number counts as seen (M-113).
            Err(ReceiveError::Verify(VerifyError::Malformed(_))) => Some(true),
            Err(error) => {
                if fingerprint(self) != fingerprint(before) {
                    emits.push(Emit::Broken(format!(
                        "M-24: rejected ({error:?}), and the device has changed"
                    )));
                    return Some(true);
                }
                None
            }
        }
    }

    /// Enabled where the datagram makes the device write to its flash.
    fn receive_cut(&mut self, id: DatagramId, done: bool, catalog: &mut Catalog) -> Option<bool> {
        let (now, mut datagram) = (self.now, catalog.bytes(id).to_vec());
        let half = self.half()?;
        half.hardware().fuse = Fuse::Armed { done };
        let _ = half.receive(now, &mut datagram);
        if half.hardware().fuse != Fuse::Blown {
            return None;
        }
        let board = Board { fuse: Fuse::None, ..self.board() };
        *self = Self { power: Power::Off(board), now: 0, tickets: Vec::new(), lazy: self.lazy };
        Some(false)
    }

    fn settle(&mut self, settled: &[moteseal::device::Settled], emits: &mut Vec<Emit>) {
        for settled in settled {
            let number = settled.ticket.number();
            let Some((_, index)) = self.tickets.iter().find(|(ticket, _)| *ticket == number) else {
                emits.push(Emit::Broken("M-102: a word for a payload that has one".to_owned()));
                continue;
            };
            emits.push(Emit::Told(Payload { way: Way::Up, index: *index }, settled.outcome));
            self.tickets.retain(|(ticket, _)| *ticket != number);
        }
    }

    /// M-115: no key in a slot that the true server has not made.
    fn check_slots(&self, catalog: &Catalog, emits: &mut Vec<Emit>) {
        let board = match &self.power {
            Power::On(half) => half.clone().into_hardware(),
            Power::Off(board) | Power::Refused(board) => board.clone(),
        };
        let foreign = |key: &DeviceKey| *key != first_key() && !catalog.genuine_keys.contains(key);
        if board.image.slots.iter().flatten().any(|slot| foreign(&slot.device_key)) {
            emits.push(Emit::Broken("M-115: a key in flash that the server has not made".to_owned()));
        }
    }

    /// Whether a payload of this index still waits for its word.
    pub fn awaits(&self, index: u8) -> bool {
        self.tickets.iter().any(|(_, other)| *other == index)
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match &self.power {
            Power::Off(board) => format!("device off, counter {:?}", board.counter),
            Power::Refused(board) => format!("device refuses to start, counter {:?}", board.counter),
            Power::On(half) => {
                let session = half.session().map_or("none".to_owned(), |epoch| epoch.to_string());
                format!("device on, session {session}, {} without a word", self.tickets.len())
            }
        }
    }
}

/// A payload that a half has handed up; what nobody ever sent is a broken promise.
pub fn delivered(bytes: &[u8], name: Name) -> Emit {
    match (bytes, Payload::read(bytes)) {
        (_, Some(payload)) => Emit::Delivered(payload, name),
        (b"telemetry", None) => Emit::Note("telemetry delivered"),
        _ => Emit::Broken(format!("P1: nobody sent {bytes:02x?}")),
    }
}

fn note(event: &Event) -> Emit {
    Emit::Note(match event {
        Event::SessionOpened { .. } => "device: session opened",
        Event::Stale { moved: true, .. } => "device: Floor accepted, counter moved",
        Event::Stale { moved: false, .. } => "device: Floor accepted",
        Event::SessionLost => "device: Reset accepted",
        Event::KeyTaken(_) => "device: next key taken",
        Event::CommandRefused { .. } => "device: command refused",
        _ => "device: control message ignored",
    })
}

/// The word of an outcome in a trace.
pub const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Acknowledged => "acknowledged",
        Outcome::Unknown => "unknown",
        Outcome::Unsent => "never sent",
    }
}
