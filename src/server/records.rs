//! Changes of records that no datagram asks for: status, rotation begun and finished. Each is a change that the
//! journal and the store make durable first. SPEC sections 7.7 and 10.2.

use crate::aead::Backend;
use crate::entropy::Entropy;
use crate::error::{AdminError, CommitError};
use crate::keys::RotationKey;
use crate::number::{ConnectionId, DeviceId, Epoch, Generation};
use crate::record::{Record, Rotation, Status};

use super::change::{Change, Durable, RecordChange, Ticket};
use super::command::CommandId;
use super::table::{Index, Peer, Table};
use super::{Server, draw};

/// An administrative change that waits until it is durable.
#[derive(Debug)]
#[must_use]
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
    /// or for another reason, ask again: the device stays silent until then, or until a later readmission, but not
    /// over a restart.
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
        let secret = rotation_key.rotation_secret(next, device_id, &random);
        let key = rotation_key.next_device_key(&secret, next, device_id);
        let record = record.clone().with_rotation(Rotation { secret, key });
        let record = record.map_err(|_| AdminError::LastGeneration)?;
        self.change(index, record).ok_or(AdminError::UnknownDevice)
    }

    /// The generation that a session of this device was confirmed under while the old key is still accepted:
    /// [`finish_rotation`](Self::finish_rotation) is due.
    pub fn rotation_to_finish(&self, index: Index) -> Option<Generation> {
        let peer = self.table.peer(index)?;
        let next = peer.record.generation().next()?;
        let confirmed = peer.link.active.as_ref()?.generation;
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
        let mut record = peer.record.clone();
        // The session in service becomes the confirmed entry: nothing else is left to fall back on.
        let epoch = peer.link.active.as_ref().map(|active| active.session.epoch());
        if record.candidate.is_some_and(|entry| Some(entry.epoch) == epoch) {
            record.confirmed = record.candidate.take();
        }
        self.change(index, record.with_rotation_finished()).ok_or(AdminError::UnknownDevice)
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
        durable: Durable<RecordChange>,
    ) -> Result<Option<CommandId>, CommitError> {
        if admin.ticket != durable.ticket {
            return Err(CommitError::OtherTicket);
        }
        let unknown = self.replace(admin.index, durable.value)?;
        let Some(peer) = self.table.peer_mut(admin.index) else { return Ok(unknown) };
        // What was ordered after the readmission stands.
        peer.link.silenced.take_if(|silenced| admin.readmits && *silenced < admin.ticket);
        if peer.record.status() != Status::Revoked {
            return Ok(unknown);
        }
        peer.link.candidate = None;
        let ended = peer.link.active.take();
        Ok(unknown.or(ended.and_then(|active| active.unanswered())))
    }

    /// Puts a durable record in the place of the one that it was made from. A session that it does not name ends:
    /// its rotation is finished, or it was confirmed while the change that displaces it was under way. Its
    /// connection id belongs to nobody then. Gives the command that this leaves *unknown*.
    pub(super) fn replace(
        &mut self,
        index: Index,
        RecordChange { expected, record, .. }: RecordChange,
    ) -> Result<Option<CommandId>, CommitError> {
        let peer = self.table.peer_mut(index).ok_or(CommitError::Conflict)?;
        // By content, as a store compares (M-88): a quarantine and a readmission leave the record as it was, and a
        // change from before them, which the store has made, must not be refused here.
        if peer.record != expected {
            return Err(CommitError::Conflict);
        }
        let before = in_use(peer);
        let counted = record.clones.saturating_sub(peer.record.clones);
        peer.link.clones = peer.link.clones.saturating_sub(counted);
        peer.record = record;
        if peer.link.reserved.is_some_and(|cid| peer.record.entries().any(|entry| entry.cid == cid)) {
            peer.link.reserved = None;
        }
        let after = in_use(peer);
        let is_gone = |epoch: Epoch| !peer.record.entries().any(|entry| entry.epoch == epoch);
        peer.link.candidate.take_if(|candidate| is_gone(candidate.session.epoch()));
        let ended = peer.link.active.take_if(|active| is_gone(active.session.epoch()));
        for cid in before.into_iter().flatten().filter(|cid| !after.contains(&Some(*cid))) {
            self.table.release(cid);
        }
        Ok(ended.and_then(|active| active.unanswered()))
    }

    fn change(&mut self, index: Index, record: Record) -> Option<(Admin, Change<RecordChange>)> {
        let ticket = self.ticket();
        let peer = self.table.peer(index)?;
        let admin = Admin { ticket, index, readmits: false };
        let value = RecordChange { expected: peer.record.clone(), record, note_boot: None };
        Some((admin, Change { ticket, value }))
    }
}

/// The connection ids that a device takes up: of two sessions, and one that is about to be.
fn in_use<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> [Option<ConnectionId>; 3] {
    let mut cids = peer.cids();
    [cids.next(), cids.next(), cids.next()]
}
