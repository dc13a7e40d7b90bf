//! Records that several gateways share: what another one has written, and what this one must write because another
//! one had the session before. SPEC section 8.

use crate::entropy::Entropy;
use crate::error::{AdminError, TableError};
use crate::number::ConnectionId;
use crate::record::{Record, Status};

use super::Server;
use super::change::{Change, RecordChange};
use super::command::CommandId;
use super::records::{Admin, Author, with_confirmation};
use super::table::{Index, Table};

impl<T: Table, E: Entropy> Server<T, E> {
    /// Takes note of what the shared store holds for a device now. To be called after a change of this server
    /// that the store refused, and whenever another gateway has changed the record: what this server does not know
    /// yet it does not obey, so a revocation holds on each gateway from here on. A session in service ends where
    /// the record names a newer one as confirmed; gives the command that this leaves *unknown*.
    ///
    /// A record that was read before the last change and comes after it is refused, where that can be seen (M-130). A
    /// quarantine or readmission is not seen in this way: hand records over in the order in which they were written. A
    /// change of this server's own may come back in this way before its proof is handed over.
    ///
    /// # Errors
    /// [`TableError::OtherDevice`]; [`TableError::Older`]; [`TableError::CidTaken`] if the record names a connection id
    /// that this server has given to another device: their ranges overlap. Nothing has changed then, but that a device
    /// which the record takes out of service is silent.
    pub fn refresh(&mut self, index: Index, mut record: Record) -> Result<Option<CommandId>, TableError> {
        let peer = self.table.peer(index).filter(|peer| peer.record.device_id() == record.device_id());
        let known = &peer.ok_or(TableError::OtherDevice)?.record;
        if *known == record {
            return Ok(None);
        }
        if record.precedes(known) {
            return Err(TableError::Older);
        }
        if record.entries().any(|entry| self.is_given_to_other(index, entry.cid)) {
            if let Some(peer) = self.table.peer_mut(index).filter(|_| record.status() != Status::Active) {
                // What cannot be taken as a whole does not keep a device in service.
                peer.record.status = record.status();
            }
            return Err(TableError::CidTaken);
        }
        for entry in record.entries() {
            self.forget_elsewhere(index, entry.cid);
        }
        Ok(self.install(index, &mut record, Author::Elsewhere))
    }

    /// Whether another device than this has the connection id from this very server.
    fn is_given_to_other(&self, index: Index, cid: ConnectionId) -> bool {
        let other = self.table.owner(cid).filter(|other| *other != index);
        let Some(peer) = other.and_then(|other| self.table.peer(other)) else { return false };
        peer.link.reserved == Some(cid)
            || peer.link.active.as_ref().is_some_and(|active| active.entry.cid == cid)
            || peer.record.entries().any(|entry| entry.cid == cid && entry.gateway == self.gateway)
    }

    /// Another gateway has taken a connection id of its own from one device and given it to another, and of the first
    /// this server has not heard yet: its record here is an old one, so that the store refuses what is made from it.
    fn forget_elsewhere(&mut self, index: Index, cid: ConnectionId) {
        let Some(other) = self.table.owner(cid).filter(|other| *other != index) else { return };
        let Some(peer) = self.table.peer_mut(other) else { return };
        for entry in [&mut peer.record.confirmed, &mut peer.record.candidate] {
            entry.take_if(|entry| entry.cid == cid);
        }
        self.table.release(cid);
    }

    /// A record as it was made from, without the entries that were [forgotten](Self::forget_elsewhere) since: a change
    /// of this server may have freed a connection id, and its proof come later than the news of who has that id now.
    pub(super) fn forget(&self, index: Index, record: &mut Record) {
        for entry in [&mut record.confirmed, &mut record.candidate] {
            entry.take_if(|entry| self.table.owner(entry.cid) != Some(index));
        }
    }

    /// Whether another gateway has, or had, a session in the record, and this server's session in service does not
    /// stand there as the confirmed one: [`write_confirmation`](Self::write_confirmation) is due (M-93). To be asked
    /// after a Data that confirmed a session, and after [`refresh`](Self::refresh).
    pub fn confirmation_to_write(&self, index: Index) -> bool {
        let Some(peer) = self.table.peer(index) else { return false };
        let in_service = peer.link.active.as_ref().map(|active| &active.entry);
        let confirmed = peer.record.confirmed();
        in_service.is_some()
            && confirmed != in_service
            && (peer.record.entries().any(|entry| entry.gateway != self.gateway)
                || peer.link.displaced > confirmed.map(|entry| entry.epoch))
    }

    /// Writes down that the session in service is confirmed (M-93). Nothing waits for it.
    ///
    /// # Errors
    /// [`AdminError::NotDue`] where nothing is to be written, be it that no device has this place.
    pub fn write_confirmation(&mut self, index: Index) -> Result<(Admin, Change<RecordChange>), AdminError> {
        if !self.confirmation_to_write(index) {
            return Err(AdminError::NotDue);
        }
        let record = with_confirmation(self.table.peer(index).ok_or(AdminError::UnknownDevice)?);
        self.change(index, record).ok_or(AdminError::UnknownDevice)
    }
}
