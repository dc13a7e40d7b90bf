//! To a device: commands, which are marked *sent* before they are sealed, their repeats, the *rotate* of a
//! rotation under way, and plain Data. SPEC sections 9.1, 9.2, 9.5 and 10.2.

use crate::aead::Backend;
use crate::control::Control;
use crate::delivery::{Backoff, Jitter, Millis, Timing};
use crate::entropy::Entropy;
use crate::error::{CommandError, ProtectError};
use crate::number::{DeviceId, Epoch};
use crate::record::{GatewayId, Record};
use crate::session::{Outgoing, Protected};
use crate::wire::DATA_MAX_OVERHEAD;

use super::Server;
use super::change::{Change, Durable, Ticket};
use super::command::CommandId;
use super::link::{Active, Outstanding, Purpose, Repeats};
use super::table::{Index, Outbox, Table};

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit<'s, Address> {
    /// Where to.
    pub to: Address,
    /// The datagram.
    pub datagram: &'s [u8],
}

/// What the queue must write of a command before it is sealed (M-106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct SentMark {
    /// The command.
    pub command: CommandId,
    /// The gateway that seals it.
    pub gateway: GatewayId,
    /// The epoch of the session that seals it.
    pub epoch: Epoch,
}

/// A command that waits until its mark is durable. Until it is sealed or given up, its session sends no other.
#[derive(Debug)]
#[must_use = "seal it, or give it up with `Server::give_up`; its session sends no other command until then"]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Sending {
    ticket: Ticket,
    index: Index,
    command: CommandId,
}

impl Sending {
    /// The mark that it waits for.
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The command.
    pub const fn command(&self) -> CommandId {
        self.command
    }

    /// The place of the device.
    pub const fn index(&self) -> Index {
        self.index
    }
}

impl<T: Table, E: Entropy> Server<T, E> {
    /// Asks whether a command with a payload of `len` bytes can go to its device now.
    ///
    /// # Errors
    /// [`CommandError`]; the command stays in the queue.
    pub fn begin_command(
        &mut self,
        device_id: DeviceId,
        command: CommandId,
        len: usize,
    ) -> Result<(Sending, Change<SentMark>), CommandError> {
        let index = self.table.find(device_id).ok_or(CommandError::UnknownDevice)?;
        let (ticket, gateway) = (self.ticket(), self.gateway);
        let peer = self.table.peer_mut(index).ok_or(CommandError::UnknownDevice)?;
        if !peer.is_active() {
            return Err(CommandError::NotActive);
        }
        let rotates = rotate_to_send(&peer.record, peer.link.active.as_ref()).is_some();
        // Without a number left it could be marked, and never sealed.
        let has_number = |active: &&mut Active<_, _, _>| active.session.next().is_some();
        let active = peer.link.in_service().filter(has_number).ok_or(CommandError::NoSession)?;
        // A *rotate* that stays without an answer gives way; it is sealed again after the command (M-117).
        let gives_way = |outstanding: &mut Outstanding| {
            outstanding.purpose == Purpose::Rotate && matches!(outstanding.repeats, Repeats::OnSight(_))
        };
        active.outstanding.take_if(gives_way);
        if active.outstanding.is_some() || active.sending.is_some() || rotates {
            return Err(CommandError::Busy);
        }
        if len == 0 || active.outbox.resize(len.saturating_add(DATA_MAX_OVERHEAD)).is_none() {
            return Err(CommandError::Length);
        }
        active.sending = Some(ticket);
        let value = SentMark { command, gateway, epoch: active.session.epoch() };
        Ok((Sending { ticket, index, command }, Change { ticket, value }))
    }

    /// The mark could not be written: the command stays in the queue, and another may be tried.
    pub fn give_up(&mut self, sending: &Sending) {
        let active = self.table.peer_mut(sending.index).and_then(|peer| peer.link.active.as_mut());
        if let Some(active) = active.filter(|active| active.sending == Some(sending.ticket)) {
            active.sending = None;
        }
    }

    /// Seals a command whose mark is durable. It is repeated by [`poll`](Self::poll), which also sends it later
    /// where its address may not receive it yet.
    ///
    /// # Errors
    /// [`CommandError`]: the session ended meanwhile, or the device was taken out of service. The command was not
    /// sealed and never will be under this mark; the queue takes it back
    /// ([`Command::never_sealed`](super::Command::never_sealed)).
    #[expect(clippy::needless_pass_by_value, reason = "sealed once")]
    pub fn seal_command(
        &mut self,
        now: Millis,
        sending: Sending,
        durable: &Durable<SentMark>,
        payload: &[u8],
    ) -> Result<Option<Transmit<'_, T::Address>>, CommandError> {
        let peer = self.table.peer_mut(sending.index).ok_or(CommandError::UnknownDevice)?;
        let is_active = peer.is_active();
        let active = peer.link.in_service().ok_or(CommandError::NoSession)?;
        // Whatever becomes of it, nothing waits for this command any more.
        let was_awaited = active.sending.take_if(|ticket| *ticket == sending.ticket).is_some();
        if sending.ticket != durable.ticket {
            return Err(CommandError::OtherTicket);
        }
        if !is_active {
            return Err(CommandError::NotActive);
        }
        if !was_awaited {
            return Err(CommandError::NoSession);
        }
        let outgoing = Outgoing { payload, confirm: true, ..Outgoing::default() };
        let purpose = Purpose::Command(sending.command);
        active.seal(now, &self.timing, &mut self.jitter, outgoing, purpose).map_err(|error| match error {
            ProtectError::BufferTooShort => CommandError::Length,
            _ => CommandError::NoSession,
        })?;
        Ok(active.first_transmission())
    }

    /// Protects a Data that asks for no acknowledgement, and says where it goes. Its outcome stays unknown.
    ///
    /// # Errors
    /// [`CommandError`]; [`CommandError::Busy`] while the device's new address may not receive so much.
    pub fn send_plain<'o>(
        &mut self,
        device_id: DeviceId,
        payload: &[u8],
        out: &'o mut [u8],
    ) -> Result<(&'o [u8], T::Address), CommandError> {
        let index = self.table.find(device_id).ok_or(CommandError::UnknownDevice)?;
        let peer = self.table.peer_mut(index).ok_or(CommandError::UnknownDevice)?;
        if !peer.is_active() {
            return Err(CommandError::NotActive);
        }
        let active = peer.link.in_service().ok_or(CommandError::NoSession)?;
        let needed = payload.len().saturating_add(DATA_MAX_OVERHEAD);
        if payload.is_empty() || out.len() < needed {
            return Err(CommandError::Length);
        }
        if !active.path.spend(needed) {
            return Err(CommandError::Busy);
        }
        let outgoing = Outgoing { payload, ack: active.session.ack_block(None), ..Outgoing::default() };
        let protected = active.session.protect(outgoing, out).map_err(|_| CommandError::NoSession)?;
        Ok((out.get(..protected.len).unwrap_or(&[]), active.path.address()))
    }

    /// What is to be sent to a device now: to be asked until it gives nothing, after each datagram of the device
    /// and at its [`deadline`](Self::deadline).
    pub fn poll(&mut self, now: Millis, index: Index) -> Option<Transmit<'_, T::Address>> {
        let peer = self.table.peer_mut(index).filter(|peer| peer.is_active())?;
        let rotate = rotate_to_send(&peer.record, peer.link.active.as_ref());
        let active = peer.link.in_service()?;
        if let Some(rotate) = rotate {
            let bytes = rotate.encode();
            let outgoing =
                Outgoing { payload: bytes.as_bytes(), confirm: true, control: true, ..Outgoing::default() };
            let sealed = active.seal(now, &self.timing, &mut self.jitter, outgoing, Purpose::Rotate);
            // What cannot be sealed now cannot be sealed later in this session either.
            active.rotate_over = sealed.is_err();
            return sealed.ok().and_then(|()| active.first_transmission());
        }
        active.repeat(now, &self.timing, &mut self.jitter)
    }

    /// When `poll` has something to do for a device.
    pub fn deadline(&self, index: Index) -> Option<Millis> {
        let peer = self.table.peer(index).filter(|peer| peer.is_active())?;
        if rotate_to_send(&peer.record, peer.link.active.as_ref()).is_some() {
            return Some(0);
        }
        match peer.link.active.as_ref().filter(|active| !active.session.is_worn_out())?.outstanding?.repeats {
            Repeats::Timed(backoff) => Some(backoff.next()),
            Repeats::OnSight(true) => Some(0),
            Repeats::OnSight(false) => None,
        }
    }
}

/// M-123: the *rotate* that this session still owes its device.
fn rotate_to_send<Address, O, A: Backend>(
    record: &Record,
    active: Option<&Active<Address, O, A>>,
) -> Option<Control> {
    let active = active.filter(|active| !active.session.is_worn_out())?;
    let is_due = active.entry.generation == record.generation()
        && !active.rotate_over
        && active.outstanding.is_none()
        && active.sending.is_none();
    let generation = record.generation().next()?;
    let rotation = record.rotation().filter(|_| is_due)?;
    Some(Control::Rotate { generation, secret: rotation.secret.clone() })
}

impl<Address: Copy + PartialEq, O: Outbox, A: Backend> Active<Address, O, A> {
    /// Seals a Data with C into the outbox, once and for all (M-95).
    fn seal(
        &mut self,
        now: Millis,
        timing: &Timing,
        jitter: &mut Jitter,
        outgoing: Outgoing<'_>,
        purpose: Purpose,
    ) -> Result<(), ProtectError> {
        // M-110: so the device can tell how old it is.
        let outgoing = Outgoing { ack: self.session.ack_block(None), ..outgoing };
        let len = outgoing.payload.len().saturating_add(DATA_MAX_OVERHEAD);
        let out = self.outbox.resize(len).ok_or(ProtectError::BufferTooShort)?;
        let Protected { number, len } = self.session.protect(outgoing, out)?;
        self.outbox.resize(len).ok_or(ProtectError::BufferTooShort)?;
        let repeats = Repeats::Timed(Backoff::start(now, timing, jitter));
        self.outstanding = Some(Outstanding { purpose, number, repeats });
        Ok(())
    }

    fn first_transmission(&mut self) -> Option<Transmit<'_, Address>> {
        if self.path.spend(self.outbox.bytes().len()) { Some(self.transmit()) } else { None }
    }

    fn transmit(&self) -> Transmit<'_, Address> {
        Transmit { to: self.path.address(), datagram: self.outbox.bytes() }
    }

    /// M-96, M-98.
    fn repeat(&mut self, now: Millis, timing: &Timing, jitter: &mut Jitter) -> Option<Transmit<'_, Address>> {
        let outstanding = self.outstanding.as_mut()?;
        match &mut outstanding.repeats {
            Repeats::Timed(backoff) if backoff.next() > now => return None,
            Repeats::Timed(backoff) if backoff.sent() > timing.repeats => {
                outstanding.repeats = Repeats::OnSight(false);
                return None;
            }
            Repeats::Timed(backoff) => backoff.repeat(now, u32::MAX, jitter),
            Repeats::OnSight(due) => {
                if !core::mem::take(due) {
                    return None;
                }
            }
        }
        self.first_transmission()
    }
}
