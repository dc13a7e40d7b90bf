//! What a device sends: payloads of the application, and what the protocol itself has due. SPEC sections 6.5, 6.7,
//! 9 and 10.

use core::num::NonZeroU32;

use super::hello::Opening;
use super::link::Link;
use super::{Device, Hardware, Millis, Settled, Ticket};
use crate::aead::Backend;
use crate::control::Control;
use crate::delivery::{Backoff, Outcome};
use crate::error::{PollError, ProtectError, SendError};
use crate::session::{Outgoing, Protected};

/// Whether an outcome is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The payload is repeated until the server acknowledges it, and its outcome is told.
    Yes,
    /// It is sent once, unless the protocol wants an acknowledgement at this point anyway.
    No,
}

/// A payload that was taken.
#[derive(Debug)]
pub struct Sent<'o> {
    /// Names the payload when its outcome is told. A Data without C has none: no outcome will be told.
    pub ticket: Option<Ticket>,
    /// What to send now; nothing if the payload waits for a session.
    pub datagram: Option<&'o [u8]>,
}

/// A session that was closed.
#[derive(Debug)]
pub struct Closed<'o> {
    /// What to send now; nothing if there was no session to close.
    pub datagram: Option<&'o [u8]>,
    /// What became of own payloads, two at most.
    pub settled: heapless::Vec<Settled, 2>,
}

impl<H: Hardware, const N: usize, A: Backend> Device<H, N, A> {
    /// Takes a payload of 1 to [`PAYLOAD_MAX`](Self::PAYLOAD_MAX) bytes, at `now` in milliseconds. In a session it
    /// goes out as Data. Without one it goes out in a Hello, or waits until a session is open. `out` takes a datagram,
    /// as long as the device's own buffer.
    ///
    /// One payload is outstanding or waits at a time. Data without [`Confirm::Yes`] goes out beside it.
    ///
    /// # Errors
    /// A [`SendError`]; nothing of the payload was kept or sent.
    pub fn send<'o>(
        &mut self,
        now: Millis,
        payload: &[u8],
        confirm: Confirm,
        out: &'o mut [u8],
    ) -> Result<Sent<'o>, SendError> {
        if payload.is_empty() {
            return Err(SendError::Empty);
        }
        if payload.len() > Self::PAYLOAD_MAX {
            return Err(SendError::TooLong);
        }
        self.tend(now);
        let (ticket, len) = if self.can_speak() {
            self.send_data(now, payload, confirm, out)?
        } else {
            self.send_or_wait(now, payload, out)?
        };
        Ok(Sent { ticket, datagram: len.and_then(|len| out.get(..len)) })
    }

    fn send_data(
        &mut self,
        now: Millis,
        payload: &[u8],
        confirm: Confirm,
        out: &mut [u8],
    ) -> Result<(Option<Ticket>, Option<usize>), SendError> {
        let link = self.link.as_ref().ok_or(SendError::Busy)?;
        let due = confirm == Confirm::Yes || link.is_confirmation_due(now, &self.config.timing);
        let outstanding = link.in_flight.is_some();
        let free = !outstanding && self.buffer.waiting().is_none() && self.moved_due().is_none();
        // What is outstanding asks for an acknowledgement already; what waits has to go first.
        if !free && (confirm == Confirm::Yes || due && !outstanding) {
            return Err(SendError::Busy);
        }
        let ticket = (due && free).then_some(self.next_ticket);
        let outgoing = Outgoing { payload, confirm: ticket.is_some(), ..Outgoing::default() };
        let len = self.protect(now, outgoing, ticket, out).map_err(|_| SendError::BufferTooShort)?;
        if ticket.is_some() {
            self.next_ticket = self.next_ticket.next();
        }
        Ok((ticket, Some(len)))
    }

    /// Without a session: the payload waits, and goes along with the next Hello that may carry one.
    fn send_or_wait(
        &mut self,
        now: Millis,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(Option<Ticket>, Option<usize>), SendError> {
        let ticket = self.next_ticket;
        let carries = self.outstanding_hello().is_some_and(|hello| hello.early.is_some());
        if carries || self.buffer.waiting().is_some() || !self.buffer.wait(ticket, payload) {
            return Err(SendError::Busy);
        }
        // A Hello that stays without an answer may as well be replaced by one that carries the payload (M-31).
        let unanswered = |opening: &Opening| opening.hello.is_some_and(|hello| hello.repeated);
        let anew = self.opening.as_ref().is_none_or(unanswered) && self.may_carry() || self.opening.is_none();
        let before = self.opening;
        if anew {
            self.open(now);
        }
        match self.poll_hello(now, out) {
            Ok(len) => {
                self.next_ticket = ticket.next();
                Ok((Some(ticket), len))
            }
            Err(error) => {
                self.buffer.stop_waiting();
                if anew {
                    self.opening = before;
                }
                Err(match error {
                    PollError::Hello(error) => SendError::Hello(error),
                    PollError::BufferTooShort => SendError::BufferTooShort,
                })
            }
        }
    }

    /// Opens a session if there is none. In a session, asks the server for a sign of life: an empty Data with C. Either
    /// comes from the next [`poll`](Self::poll).
    pub fn connect(&mut self, now: Millis) {
        match &mut self.link {
            Some(link) if link.can_speak() => link.probe_due |= link.in_flight.is_none(),
            _ => self.connect_anew(now),
        }
    }

    /// Takes back a payload that waits, or the one of an outstanding Hello, which is then replaced by a Hello without
    /// it (M-31). Tells the outcome: *unsent* or *unknown*.
    ///
    /// Nothing comes back for any other ticket: a payload in Data is repeated until its outcome is told.
    pub fn withdraw(&mut self, now: Millis, ticket: Ticket) -> Option<Outcome> {
        if self.buffer.waiting().is_some_and(|(waiting, _)| waiting == ticket) {
            self.buffer.stop_waiting();
            return Some(Outcome::Unsent);
        }
        let hello = self.outstanding_hello()?;
        if hello.early != Some(ticket) {
            return None;
        }
        self.open_anew(now).map(|settled| settled.outcome)
    }

    /// Ends the session and whatever is outstanding; the device is as after boot (M-124). The server then sends nothing
    /// more in vain.
    ///
    /// # Errors
    /// [`ProtectError::BufferTooShort`], and nothing has changed.
    pub fn close<'o>(&mut self, now: Millis, out: &'o mut [u8]) -> Result<Closed<'o>, ProtectError> {
        let close = Control::Close.encode();
        let outgoing = Outgoing { payload: close.as_bytes(), control: true, ..Outgoing::default() };
        let bound_ms = self.config.command_age.bound_ms();
        let len = match self.link.as_mut().filter(|link| link.can_speak()) {
            Some(link) => Some(link.protect(now, bound_ms, outgoing, out)?.len),
            None => None,
        };
        let hello = self.outstanding_hello();
        self.opening = None;
        let unsent = self.buffer.stop_waiting();
        let mut settled = heapless::Vec::new();
        tell(&mut settled, self.end_link());
        tell(&mut settled, hello.and_then(|hello| self.end_hello(&hello, Outcome::Unknown)));
        tell(&mut settled, unsent.map(|ticket| Settled { ticket, outcome: Outcome::Unsent }));
        Ok(Closed { datagram: len.and_then(|len| out.get(..len)), settled })
    }

    /// The next datagram that is due at `now` in milliseconds: an acknowledgement, a repeat, a Hello. Call it until it
    /// has nothing, after each [`receive`](Self::receive) and at each [`deadline`](Self::deadline). `out` takes a
    /// datagram, as long as the device's own buffer.
    ///
    /// # Errors
    /// A [`PollError`]; what was due stays due, what needs the hardware later and later.
    pub fn poll<'o>(&mut self, now: Millis, out: &'o mut [u8]) -> Result<Option<&'o [u8]>, PollError> {
        self.tend(now);
        let len = match self.poll_link(now, out)? {
            Some(len) => Some(len),
            None => self.poll_hello(now, out)?,
        };
        Ok(len.and_then(|len| out.get(..len)))
    }

    fn poll_link(&mut self, now: Millis, out: &mut [u8]) -> Result<Option<usize>, PollError> {
        if !self.owes_something() {
            return self.poll_repeat(now, out);
        }
        let Some(link) = &self.link else { return Ok(None) };
        let free = link.in_flight.is_none();
        if let Some(boot) = self.moved_due().filter(|_| free) {
            return self.send_moved(now, boot, out).map(Some);
        }
        if free && self.buffer.waiting().is_some() {
            return self.send_waiting(now, out);
        }
        // The first Data of a session (M-36), or a mere answer, which never asks for one itself (M-45).
        let outgoing = Outgoing { confirm: free && link.probe_due, ..Outgoing::default() };
        self.protect(now, outgoing, None, out).map(Some).map_err(too_short)
    }

    /// The counter before a Floor moved it, in the first Data of the session (M-41).
    fn send_moved(&mut self, now: Millis, boot: NonZeroU32, out: &mut [u8]) -> Result<usize, PollError> {
        let moved = Control::Moved(boot.get()).encode();
        let outgoing = Outgoing { payload: moved.as_bytes(), confirm: true, control: true, ack: None };
        let len = self.protect(now, outgoing, None, out).map_err(too_short)?;
        self.epochs.told();
        Ok(len)
    }

    /// The payload that waited, now that there is a session.
    fn send_waiting(&mut self, now: Millis, out: &mut [u8]) -> Result<Option<usize>, PollError> {
        let (Some(link), Some((ticket, payload))) = (&mut self.link, self.buffer.waiting()) else {
            return Ok(None);
        };
        let outgoing = Outgoing { payload, confirm: true, ..Outgoing::default() };
        let bound_ms = self.config.command_age.bound_ms();
        let protected = link.protect(now, bound_ms, outgoing, out).map_err(too_short)?;
        self.buffer.stop_waiting();
        self.keep(now, protected, Some(ticket), out);
        Ok(Some(protected.len))
    }

    /// The same bytes again (M-96).
    fn poll_repeat(&mut self, now: Millis, out: &mut [u8]) -> Result<Option<usize>, PollError> {
        let Some(link) = &mut self.link else { return Ok(None) };
        if link.repeating().is_none_or(|backoff| now < backoff.next()) {
            return Ok(None);
        }
        let Some(datagram) = self.buffer.datagram() else { return Ok(None) };
        let out = out.get_mut(..datagram.len()).ok_or(PollError::BufferTooShort)?;
        out.copy_from_slice(datagram);
        link.backoff.repeat(now, u32::MAX, &mut self.jitter);
        Ok(Some(datagram.len()))
    }

    /// Protects a Data, and keeps it for repeats only if it asks for an acknowledgement (M-96, M-97).
    fn protect(
        &mut self,
        now: Millis,
        outgoing: Outgoing<'_>,
        ticket: Option<Ticket>,
        out: &mut [u8],
    ) -> Result<usize, ProtectError> {
        let link = self.link.as_mut().ok_or(ProtectError::NumbersUsedUp)?;
        let protected = link.protect(now, self.config.command_age.bound_ms(), outgoing, out)?;
        if outgoing.confirm {
            self.keep(now, protected, ticket, out);
        }
        Ok(protected.len)
    }

    /// Keeps the Data at the front of `out` until it is acknowledged.
    fn keep(&mut self, now: Millis, protected: Protected, ticket: Option<Ticket>, out: &[u8]) {
        let backoff = Backoff::start(now, &self.config.timing, &mut self.jitter);
        if let Some(link) = &mut self.link {
            link.outstanding(protected.number, ticket, backoff);
            self.buffer.keep(out.get(..protected.len).unwrap_or_default());
        }
    }

    /// What time alone brings about: repeats that ran out (M-43), numbers or keys that are used up (M-49, M-77).
    pub(super) fn tend(&mut self, now: Millis) {
        let repeats = self.config.timing.repeats;
        let ran_out = |link: &Link<A>| {
            let backoff = link.repeating();
            backoff.is_some_and(|backoff| backoff.sent() > repeats && backoff.next() <= now)
        };
        if self.link.as_ref().is_some_and(ran_out) {
            self.fall_silent(now);
        }
        if self.is_due_for_hello() {
            self.connect_anew(now);
        }
    }

    /// The session only receives from now on, and a new one is opened.
    pub(super) fn fall_silent(&mut self, now: Millis) {
        if let Some(link) = &mut self.link {
            link.fall_silent();
            self.buffer.release();
        }
        self.connect_anew(now);
    }

    /// Ends the session. What is outstanding in it is unknown from now on (M-103). A session ends with a Hello that is
    /// answered or forgotten, so whosever bytes were kept, none are repeated any more.
    pub(super) fn end_link(&mut self) -> Option<Settled> {
        let outstanding = self.link.as_mut()?.in_flight.take();
        self.buffer.release();
        // Assigned rather than taken: so the keys are wiped where they lie, and not in a copy.
        self.link = None;
        outstanding?.settle(Outcome::Unknown)
    }

    fn connect_anew(&mut self, now: Millis) {
        if self.opening.is_none() {
            self.open(now);
        }
    }

    /// Whether the session nears its end and no new one is being opened.
    pub(super) fn is_due_for_hello(&self) -> bool {
        let due = |link: &Link<A>| link.session.is_due_for_renewal() || link.session.is_worn_out();
        self.opening.is_none() && self.link.as_ref().is_some_and(due)
    }

    /// Whether a Data is due at once.
    pub(super) fn owes_something(&self) -> bool {
        self.link.as_ref().filter(|link| link.can_speak()).is_some_and(|link| {
            let free = link.in_flight.is_none();
            link.owes_answer() || free && (link.probe_due || self.buffer.waiting().is_some())
        })
    }

    /// The boot counter that *moved* has to tell before anything else is said.
    fn moved_due(&self) -> Option<NonZeroU32> {
        self.epochs.moved_from().filter(|_| self.link.as_ref().is_some_and(Link::is_silent))
    }
}

/// Takes an outcome to the others, which are two at most.
#[inline(never)] // eight callers
pub(super) fn tell(settled: &mut heapless::Vec<Settled, 2>, outcome: Option<Settled>) {
    if let Some(outcome) = outcome {
        let _ = settled.push(outcome);
    }
}

/// Why protecting failed, where there are numbers left.
const fn too_short(_: ProtectError) -> PollError {
    PollError::BufferTooShort
}
