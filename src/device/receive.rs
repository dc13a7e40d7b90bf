//! What a device makes of a datagram. Nothing has an effect before its tag is good (M-24). SPEC sections 6.3 to 6.6,
//! 9 and 10.

use core::fmt;

use super::rotation::OldKey;
use super::send::tell;
use super::{CommandAge, Device, Hardware, Millis, Settled};
use crate::aead::Backend;
use crate::control::Control;
use crate::error::ReceiveError;
use crate::number::{Epoch, Generation, SequenceNumber};
use crate::session::{Content, Incoming, Verified};
use crate::wire::{self, AckBlock, Header, Sealed, Unverified};

/// What a datagram brought.
#[derive(Debug, Default)]
pub struct Received<'d> {
    /// The server's payload, delivered this once.
    pub payload: Option<Payload<'d>>,
    /// Own payloads whose outcome is known now, two at most.
    pub settled: heapless::Vec<Settled, 2>,
    /// What else happened.
    pub event: Option<Event>,
}

/// A payload of the server. (device id, epoch, number) names it for good (SPEC 9.4).
pub struct Payload<'d> {
    /// The bytes, never none.
    pub bytes: &'d [u8],
    /// The epoch of the session.
    pub epoch: Epoch,
    /// Its number within the session.
    pub number: SequenceNumber,
    /// How old it may be, in milliseconds; nothing if that is not known, or longer than the bound of
    /// [`CommandAge`].
    pub age_ms: Option<Millis>,
}

impl fmt::Debug for Payload<'_> {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, epoch, number, age_ms } = self;
        let (len, mut shown) = (bytes.len(), f.debug_struct("Payload"));
        shown
            .field("len", &len)
            .field("epoch", epoch)
            .field("number", number)
            .field("age_ms", age_ms)
            .finish()
    }
}

/// Something that the application may want to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session is open. What was outstanding in the one before is settled.
    SessionOpened {
        /// The epoch of its Hello.
        epoch: Epoch,
        /// What became of the key before this one, if a rotation was underway.
        old_key: OldKey,
    },
    /// The server has seen later epochs; a new Hello follows.
    Stale {
        /// The newest epoch that the server knows of.
        floor: Epoch,
        /// The boot counter was moved: it had been lost or rolled back, or the server was restored.
        moved: bool,
    },
    /// The server has lost the session; a new one is being opened.
    SessionLost,
    /// A new device key is in flash, and a Hello under it follows.
    KeyTaken(Generation),
    /// A command was older than the bound, or of unknown age. It is acknowledged.
    CommandRefused {
        /// Its number within the session.
        number: SequenceNumber,
        /// How old it may be, in milliseconds.
        age_ms: Option<Millis>,
    },
    /// A control message that this version does not act upon. It is acknowledged.
    ControlIgnored,
}

impl Received<'_> {
    pub(super) fn settle(&mut self, settled: Option<Settled>) {
        // A datagram ends one Hello and one session at most: there is room.
        tell(&mut self.settled, settled);
    }
}

impl<H: Hardware, const N: usize, A: Backend> Device<H, N, A> {
    /// Takes a datagram from the network, at `now` in milliseconds. It is decrypted in place. Call
    /// [`poll`](Self::poll) afterwards until it has nothing: an answer may be due.
    ///
    /// # Errors
    /// A [`ReceiveError`]; drop the datagram in silence.
    pub fn receive<'d>(&mut self, now: Millis, datagram: &'d mut [u8]) -> Result<Received<'d>, ReceiveError> {
        let Unverified { header, sealed } = Unverified::parse(datagram)?;
        // Filled in place: what came is large next to the code that says so.
        let mut received = Received::default();
        match header {
            Header::Hello(_) => Err(ReceiveError::ForServer),
            Header::Welcome(welcome) => self.receive_welcome(now, &welcome, sealed, &mut received),
            Header::Floor(floor) => self.receive_floor(now, floor, sealed, &mut received),
            Header::Data(data) => self.receive_data(now, &data, sealed, &mut received),
            Header::Reset(reset) => self.receive_reset(now, reset, sealed, &mut received),
        }?;
        Ok(received)
    }

    #[inline(never)]
    fn receive_data<'d>(
        &mut self,
        now: Millis,
        data: &wire::Data,
        sealed: Sealed<'d>,
        received: &mut Received<'d>,
    ) -> Result<(), ReceiveError> {
        let link = self.link.as_mut().ok_or(ReceiveError::NoSession)?;
        if link.session.cid() != data.cid {
            return Err(ReceiveError::UnknownConnection);
        }
        match link.session.verify(data, sealed)? {
            Incoming::New(verified) => self.receive_new(now, verified, received),
            Incoming::Repeat(number) => {
                link.heard_again(now, number);
                Ok(())
            }
        }
    }

    fn receive_new<'d>(
        &mut self,
        now: Millis,
        verified: Verified<'d>,
        received: &mut Received<'d>,
    ) -> Result<(), ReceiveError> {
        let Verified { number, confirm, ack, content, .. } = verified;
        match content {
            Content::Empty => {}
            Content::Payload(bytes) => self.take_payload(now, number, ack, bytes, received),
            Content::Control(Control::Rotate { generation, secret }) => {
                let link = self.link.as_ref().ok_or(ReceiveError::NoSession)?;
                let own = link.slot;
                let taken = self.keyring.take(&mut self.hardware.keys(), own, generation, &secret)?;
                received.event = Some(Event::ControlIgnored);
                self.take_rotation(now, number, ack, taken.map(|_| generation), received);
            }
            Content::Control(_) => received.event = Some(Event::ControlIgnored),
        }
        received.settle(self.settle());
        if let Some(link) = &mut self.link {
            link.heard(number, confirm);
        }
        Ok(())
    }

    /// Hands a payload up, unless it is too old for the bound (M-112).
    fn take_payload<'d>(
        &self,
        now: Millis,
        number: SequenceNumber,
        ack: Option<AckBlock>,
        bytes: &'d [u8],
        received: &mut Received<'d>,
    ) {
        let Some(link) = &self.link else { return };
        let bound_ms = self.config.command_age.bound_ms();
        // M-111: as old as the latest own number that the server had seen.
        let age_ms = ack.and_then(|block| link.ages.of(now, bound_ms, block.number));
        let in_time = age_ms.is_some_and(|age| age <= bound_ms.into());
        if matches!(self.config.command_age, CommandAge::Refuse { .. }) && !in_time {
            received.event = Some(Event::CommandRefused { number, age_ms });
        } else {
            received.payload = Some(Payload { bytes, epoch: link.session.epoch(), number, age_ms });
        }
    }

    /// A *rotate* has proved itself, or is none of ours: it may be acknowledged. A Hello under its key follows at once
    /// (M-118, M-121).
    fn take_rotation(
        &mut self,
        now: Millis,
        number: SequenceNumber,
        ack: Option<AckBlock>,
        taken: Option<Generation>,
        received: &mut Received<'_>,
    ) {
        if let Some(link) = &mut self.link {
            link.session.accept(number, ack);
        }
        if let Some(generation) = taken {
            received.event = Some(Event::KeyTaken(generation));
            received.settle(self.open_anew(now));
        }
    }

    /// The outstanding Data may have its word now.
    fn settle(&mut self) -> Option<Settled> {
        let link = self.link.as_mut()?;
        let (in_flight, outcome) = link.settle()?;
        // In a session that only receives, the buffer is somebody else's already.
        if link.speaking {
            self.buffer.release();
        }
        in_flight.settle(outcome)
    }

    /// A Reset, valid only for a number that was sent and is not acknowledged, and only while no Hello is outstanding
    /// (M-46).
    fn receive_reset(
        &mut self,
        now: Millis,
        reset: wire::Reset,
        sealed: Sealed<'_>,
        received: &mut Received<'_>,
    ) -> Result<(), ReceiveError> {
        let link = self.link.as_mut().ok_or(ReceiveError::NoSession)?;
        if link.session.cid() != reset.cid {
            return Err(ReceiveError::UnknownConnection);
        }
        if self.opening.is_some() {
            return Err(ReceiveError::HelloOutstanding);
        }
        link.session.verify_reset(&reset, sealed)?;
        self.fall_silent(now);
        received.event = Some(Event::SessionLost);
        Ok(())
    }
}
