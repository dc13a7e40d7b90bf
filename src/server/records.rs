//! Changes of records that no datagram asks for: status, rotation begun and finished. Each is a change that the
//! journal and the store make durable first. SPEC sections 7.7 and 10.2.

use core::mem;

use crate::aead::Backend;
use crate::entropy::Entropy;
use crate::error::{AdminError, CommitError};
use crate::keys::RotationKey;
use crate::number::{ConnectionId, DeviceId, Generation};
use crate::record::{Entry, Record, Rotation, Status};

use super::change::{Change, Durable, RecordChange, Ticket};
use super::command::CommandId;
use super::link::{Active, Candidate};
use super::table::{Index, Peer, Table};
use super::{Server, draw};

/// An administrative change that waits until it is durable.
#[derive(Debug)]
#[must_use]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Admin {
    ticket: Ticket,
    index: Index,
    /// It says that the device may speak, whatever was said before.
    readmits: bool,
}

impl Admin {
    /// The change that it waits for.
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl<T: Table, E: Entropy> Server<T, E> {
    /// Revokes, quarantines or (if it is not revoked) readmits a device. A device that is taken out of service
    /// is silent at once; the change makes that last. If the store cannot make it, because the record has changed
    /// or for another reason, ask again: the device stays silent here until then, or until a later readmission by
    /// this server, but not over a restart.
    ///
    /// # Errors
    /// [`AdminError::UnknownDevice`]; [`AdminError::Revoked`], which is final.
    pub fn set_status(
        &mut self,
        device_id: DeviceId,
        status: Status,
    ) -> Result<(Admin, Change<RecordChange>), AdminError> {
        let index = self.table.find(device_id).ok_or(AdminError::UnknownDevice)?;
        let record = &self.table.peer(index).ok_or(AdminError::UnknownDevice)?.record;
        if record.status() == Status::Revoked && status != Status::Revoked {
            return Err(AdminError::Revoked);
        }
        let record = record.clone().with_status(status);
        let (mut admin, change) = self.change(index, record).ok_or(AdminError::UnknownDevice)?;
        admin.readmits = status == Status::Active;
        if let Some(peer) = self.table.peer_mut(index).filter(|_| !admin.readmits) {
            peer.link.silenced = Some(admin.ticket);
        }
        Ok((admin, change))
    }

    /// Begins a rotation to the next generation: one secret for each generation (M-117). From the moment that
    /// it is durable, in journal and store, both generations are accepted and *rotate* goes out in every session.
    ///
    /// # Errors
    /// [`AdminError`] where the device is not known or not active, where a rotation has begun already, after
    /// generation 255, and where the generator does not work.
    pub fn begin_rotation(
        &mut self,
        device_id: DeviceId,
        rotation_key: &RotationKey,
    ) -> Result<(Admin, Change<RecordChange>), AdminError> {
        let index = self.table.find(device_id).ok_or(AdminError::UnknownDevice)?;
        if !self.is_active(index) {
            return Err(AdminError::NotActive);
        }
        let random = draw(&mut self.entropy).map_err(AdminError::Entropy)?;
        let record = &self.table.peer(index).ok_or(AdminError::UnknownDevice)?.record;
        if record.rotation().is_some() {
            return Err(AdminError::RotationUnderWay);
        }
        let next = record.generation().next().ok_or(AdminError::LastGeneration)?;
        let mut record = record.clone();
        let rotation = record.rotation.insert(Rotation::blank());
        rotation_key.put_rotation_secret(next, device_id, &random, &mut rotation.secret);
        rotation_key.put_next_device_key(&rotation.secret, next, device_id, &mut rotation.key);
        self.change(index, record).ok_or(AdminError::UnknownDevice)
    }

    /// The generation that a session of this device was confirmed under while the old key is still accepted:
    /// [`finish_rotation`](Self::finish_rotation) is due.
    pub fn rotation_to_finish(&self, index: Index) -> Option<Generation> {
        let peer = self.table.peer(index)?;
        let next = peer.record.generation().next()?;
        let confirmed = peer.link.active.as_ref()?.entry.generation;
        (peer.record.rotation().is_some() && confirmed == next).then_some(next)
    }

    /// Finishes the rotation of a device that has a session under the new key (M-123): the journal records that
    /// it finished and scrubs the old key, then the store.
    ///
    /// # Errors
    /// [`AdminError::NoRotation`] if no session under the next generation was confirmed.
    pub fn finish_rotation(&mut self, index: Index) -> Result<(Admin, Change<RecordChange>), AdminError> {
        self.rotation_to_finish(index).ok_or(AdminError::NoRotation)?;
        let peer = self.table.peer(index).ok_or(AdminError::UnknownDevice)?;
        // Nothing else than the session in service is left to fall back on.
        let record = with_confirmation(peer).with_rotation_finished();
        self.change(index, record).ok_or(AdminError::UnknownDevice)
    }

    /// Applies an administrative change, for the proof that it is durable. Gives the command that its end of a
    /// session leaves *unknown*.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    #[expect(clippy::needless_pass_by_value, reason = "applied once")]
    pub fn apply(
        &mut self,
        admin: Admin,
        mut durable: Durable<RecordChange>,
    ) -> Result<Option<CommandId>, CommitError> {
        if admin.ticket != durable.ticket {
            return Err(CommitError::OtherTicket);
        }
        let unknown = self.replace(admin.index, &mut durable.value)?;
        if let Some(peer) = self.table.peer_mut(admin.index) {
            // From here on the record says it, and whoever changes the record takes it back, here or elsewhere. What
            // was ordered after a readmission stands.
            let is_settled = |silenced: &mut Ticket| {
                *silenced == admin.ticket || admin.readmits && *silenced < admin.ticket
            };
            peer.link.silenced.take_if(is_settled);
        }
        Ok(unknown)
    }

    /// Puts a durable record in the place of the one that it was made from. They change places, and whoever holds the
    /// change wipes both of its records: of one that is moved a copy stays behind.
    pub(super) fn replace(
        &mut self,
        index: Index,
        RecordChange { expected, record, .. }: &mut RecordChange,
    ) -> Result<Option<CommandId>, CommitError> {
        let gateway = self.gateway;
        let displaced = expected.entries().filter(|entry| entry.gateway != gateway && !record.names(entry));
        let displaced = displaced.map(|entry| entry.epoch).max();
        self.forget(index, expected);
        self.forget(index, record);
        let peer = self.table.peer_mut(index).ok_or(CommitError::Conflict)?;
        let is_known = is_known(&peer.record, expected, record);
        // By content, as a store compares (M-88): a quarantine and a readmission leave the record as it was, and a
        // change from before them, which the store has made, must not be refused here.
        if !is_known && peer.record != *expected {
            return Err(CommitError::Conflict);
        }
        peer.link.displaced = displaced.max(peer.link.displaced);
        let counted = record.clones.saturating_sub(expected.clones);
        peer.link.clones = peer.link.clones.saturating_sub(counted);
        Ok(if is_known { None } else { self.install(index, record, Author::Here) })
    }

    /// From now on this is the record. Sessions that have no place beside it end, and their connection ids belong to
    /// nobody then. Gives the command that this leaves *unknown*, and the record that was there before in `record`.
    pub(super) fn install(&mut self, index: Index, record: &mut Record, author: Author) -> Option<CommandId> {
        let peer = self.table.peer_mut(index)?;
        let (before, old, new) = (in_use(peer), &peer.record, &*record);
        let link = &mut peer.link;
        link.reserved.take_if(|cid| new.entries().any(|entry| entry.cid == *cid));
        // Assigned rather than taken, here and below: so the keys are wiped where they lie, and not in a copy.
        let is_gone = |offer: &Candidate<_, _>| !new.names(&offer.entry) || is_void(&offer.entry, old, new);
        if link.candidate.as_ref().is_some_and(is_gone) {
            link.candidate = None;
        }
        let ended = link.active.as_ref().filter(|active| is_over(&active.entry, old, new, author));
        let unknown = ended.and_then(Active::unanswered);
        if ended.is_some() {
            link.active = None;
        }
        link.held = None;
        mem::swap(&mut peer.record, record);
        let after = in_use(peer);
        for cid in before.into_iter().flatten().filter(|cid| !after.contains(&Some(*cid))) {
            self.table.release(cid);
        }
        for cid in after.into_iter().flatten().filter(|cid| !before.contains(&Some(*cid))) {
            self.table.claim(cid, index);
        }
        unknown
    }

    pub(super) fn change(&mut self, index: Index, record: Record) -> Option<(Admin, Change<RecordChange>)> {
        let ticket = self.ticket();
        let peer = self.table.peer(index)?;
        let admin = Admin { ticket, index, readmits: false };
        let value = RecordChange { expected: peer.record.clone(), record, note_boot: None };
        Some((admin, Change { ticket, value }))
    }
}

/// Whether the store's word of a change has come before its proof ([`refresh`](Server::refresh)). Of a newest Hello the
/// entry tells, which no other change makes; a late one looks the same whoever recorded it, so it is never taken as
/// known, or it might be delivered twice.
fn is_known(now: &Record, expected: &Record, record: &Record) -> bool {
    let brings_entry = record.candidate.as_ref().is_some_and(|entry| !expected.names(entry));
    brings_entry && record.candidate == now.candidate || record.window == expected.window && now == record
}

/// Who has changed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// This server.
    Here,
    /// Another gateway.
    Elsewhere,
}

/// Whether nothing may be opened or sealed any more under an entry's keys: the device is revoked, or the key that they
/// were made from is gone, or is another one for a device that was provisioned anew.
fn is_void(entry: &Entry, old: &Record, new: &Record) -> bool {
    let key = new.key_of(entry);
    new.status() == Status::Revoked || key.is_none() || key != old.key_of(entry)
}

/// Whether a session in service ends with a new record: the device is revoked, the session's key is gone, a newer
/// session is confirmed, or this server gave its connection id or its place away. What another gateway has merely
/// offered ends nothing (M-129).
fn is_over(in_service: &Entry, old: &Record, new: &Record, author: Author) -> bool {
    let was_displaced = old.names(in_service) && !new.names(in_service);
    let is_without_id = new.entries().any(|entry| entry.cid == in_service.cid && entry != in_service);
    is_void(in_service, old, new)
        || new.confirmed().is_some_and(|confirmed| confirmed.epoch > in_service.epoch)
        || is_without_id
        || author == Author::Here && was_displaced
}

/// The record with what the device has reported since it was written (M-86).
pub(super) fn reported<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> Record {
    let mut record = peer.record.clone();
    record.clones = record.clones.saturating_add(peer.link.clones);
    record.excused &= !peer.link.excuse_used;
    record
}

/// The record with the session in service as the confirmed one.
pub(super) fn with_confirmation<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> Record {
    let mut record = reported(peer);
    if let Some(active) = &peer.link.active {
        record.candidate.take_if(|candidate| *candidate == active.entry);
        record.confirmed = Some(active.entry);
    }
    record
}

/// The connection ids that a device takes up: of the sessions in its record and in service, and one that is about
/// to be.
fn in_use<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> [Option<ConnectionId>; 5] {
    let mut cids = peer.cids();
    [cids.next(), cids.next(), cids.next(), cids.next(), cids.next()]
}
