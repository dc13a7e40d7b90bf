//! The established session as the device uses it: which Data carry C and A, what is outstanding, what is owed.
//! Owns no payload; the bytes that are repeated lie in the device's buffer. SPEC sections 6.5 and 9.

use super::ages::Ages;
use crate::aead::Backend;
use crate::delivery::{AnswerLimit, Backoff, Millis, Outcome, Settled, Ticket, Timing};
use crate::error::ProtectError;
use crate::key_slots::Slot;
use crate::number::SequenceNumber;
use crate::replay::{Answering, Told};
use crate::session::{Outgoing, Protected, Session};

/// A session and what is underway in it.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Link<A: Backend> {
    pub(super) session: Session<A>,
    /// The slot of the device key that the session's keys come from.
    pub(super) slot: Slot,
    /// Cleared by a Reset and by repeats that ran out: from then on the session only receives (M-48, M-99).
    pub(super) speaking: bool,
    /// The next Data must carry C: the first of the session (M-37), or because the application asks.
    pub(super) probe_due: bool,
    /// The one Data with C that is not acknowledged yet.
    pub(super) in_flight: Option<InFlight>,
    /// Its schedule, while it is repeated.
    pub(super) backoff: Backoff,
    answer: Option<Answering>,
    limit: AnswerLimit,
    confirmed_at: Millis,
    unconfirmed: u16,
    pub(super) ages: Ages,
}

/// A Data with C until its acknowledgement.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct InFlight {
    number: SequenceNumber,
    ticket: Option<Ticket>,
}

impl InFlight {
    pub(super) fn settle(self, outcome: Outcome) -> Option<Settled> {
        self.ticket.map(|ticket| Settled { ticket, outcome })
    }
}

impl<A: Backend> Link<A> {
    pub(super) fn new(session: Session<A>, slot: Slot, now: Millis) -> Self {
        Self {
            session,
            slot,
            speaking: true,
            probe_due: true,
            in_flight: None,
            backoff: Backoff::due(now),
            answer: None,
            limit: AnswerLimit::default(),
            confirmed_at: now,
            unconfirmed: 0,
            ages: Ages::new(now),
        }
    }

    /// Whether a new Data can go out.
    pub(super) const fn can_speak(&self) -> bool {
        self.speaking && self.session.next().is_some()
    }

    /// Whether nothing was sent in this session yet.
    pub(super) fn is_silent(&self) -> bool {
        self.session.next() == Some(SequenceNumber::FIRST)
    }

    /// Whether the next Data that is not a mere answer must carry C: it is the first, or the last C is long ago
    /// (M-37: a silence of that length included) or many datagrams back (M-42).
    pub(super) fn is_confirmation_due(&self, now: Millis, timing: &Timing) -> bool {
        self.probe_due
            || now.saturating_sub(self.confirmed_at) >= timing.confirm_after_ms.into()
            || self.unconfirmed >= timing.confirm_every
    }

    /// A Data with C was sent for the first time.
    pub(super) const fn outstanding(
        &mut self,
        number: SequenceNumber,
        ticket: Option<Ticket>,
        backoff: Backoff,
    ) {
        (self.in_flight, self.backoff) = (Some(InFlight { number, ticket }), backoff);
    }

    /// The schedule of the outstanding Data, unless the session only receives.
    pub(super) fn repeating(&self) -> Option<&Backoff> {
        (self.speaking && self.in_flight.is_some()).then_some(&self.backoff)
    }

    /// An acknowledgement is owed to the server.
    pub(super) const fn owes_answer(&self) -> bool {
        self.answer.is_some() && self.can_speak()
    }

    /// A new Data was verified.
    pub(super) fn heard(&mut self, number: SequenceNumber, confirm: bool) {
        self.limit.renew();
        if confirm && self.speaking {
            self.answer = Some(Answering::New(number));
        }
    }

    /// A Data was verified again: it is acknowledged again, within limits (M-101).
    pub(super) fn heard_again(&mut self, now: Millis, number: SequenceNumber) {
        if self.answer.is_none() && self.speaking && self.limit.take(now) {
            self.answer = Some(Answering::Repeat(number));
        }
    }

    /// What the block that has just come settles. Out of reach, it is given up (M-128).
    pub(super) fn settle(&mut self) -> Option<(InFlight, Outcome)> {
        let outcome = match self.session.acknowledged().told(self.in_flight.as_ref()?.number) {
            Told::Nothing => return None,
            Told::Acknowledged => Outcome::Acknowledged,
            Told::OutOfReach => Outcome::Unknown,
        };
        Some((self.in_flight.take()?, outcome))
    }

    /// Protects a Data into the front of `out`. It carries A if it carries C or an answer is owed (M-44).
    pub(super) fn protect(
        &mut self,
        now: Millis,
        bound_ms: u32,
        mut outgoing: Outgoing<'_>,
        out: &mut [u8],
    ) -> Result<Protected, ProtectError> {
        if outgoing.confirm || self.answer.is_some() {
            outgoing.ack = self.session.ack_block(self.answer);
        }
        let protected = self.session.protect(outgoing, out)?;
        self.ages.note(now, bound_ms, protected.number);
        self.answer = None;
        if outgoing.confirm {
            (self.confirmed_at, self.unconfirmed, self.probe_due) = (now, 0, false);
        } else {
            self.unconfirmed = self.unconfirmed.saturating_add(1);
        }
        Ok(protected)
    }

    /// From now on the session only receives.
    pub(super) const fn fall_silent(&mut self) {
        self.speaking = false;
        self.answer = None;
    }
}
