//! Where a server keeps its devices: a trait, and a table of fixed size for a gateway without a heap. A database
//! stands behind the first; what must be durable leaves the server as a [`Change`](super::Change).
//! SPEC sections 4.8 and 7.

use core::fmt;
use core::hash::Hash;

use crate::aead::{Backend, Portable};
use crate::error::TableError;
use crate::number::{ConnectionId, DeviceId};
use crate::record::{Entry, Record, Status};

use super::link::Link;

/// The place of a device in a table; it stays as long as the device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u32);

/// A buffer for the one datagram that a device has not acknowledged. A *rotate* needs up to 60 bytes; where they
/// are not to be had no rotation reaches the device.
pub trait Outbox: Default {
    /// Makes it `len` bytes long; nothing if it cannot be.
    fn resize(&mut self, len: usize) -> Option<&mut [u8]>;
    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

/// A buffer of fixed size. All of it is written from the start: room that was never written takes along, wherever it is
/// moved, what the stack held before, and that may be a key.
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct FixedOutbox<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for FixedOutbox<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> fmt::Debug for FixedOutbox<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedOutbox({} bytes)", self.len)
    }
}

impl<const N: usize> Outbox for FixedOutbox<N> {
    fn resize(&mut self, len: usize) -> Option<&mut [u8]> {
        let bytes = self.bytes.get_mut(..len)?;
        self.len = len;
        Some(bytes)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What a server knows of one device: the record as it is durable, and what a crash takes away.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Peer<Address, O, A: Backend = Portable> {
    pub(super) record: Record,
    pub(super) link: Link<Address, O, A>,
}

impl<Address, O, A: Backend> Peer<Address, O, A> {
    /// A device as it is after a start: its record, and no counters.
    pub fn new(record: Record) -> Self {
        Self { record, link: Link::default() }
    }

    /// The record as it is durable.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Whether anything may be opened or sealed for it (M-65).
    pub fn is_active(&self) -> bool {
        self.record.status() == Status::Active && self.link.silenced.is_none()
    }

    /// Whether it has a confirmed session with its counters.
    pub const fn has_session(&self) -> bool {
        self.link.active.is_some()
    }

    /// The connection ids that are in use for this device: those of its record, that of a session in service which
    /// the record does not name, and one that is about to be.
    pub fn cids(&self) -> impl Iterator<Item = ConnectionId> {
        let entries = self.record.entries().chain(self.unnamed());
        entries.map(|entry| entry.cid).chain(self.link.reserved).chain(self.link.held)
    }

    /// The session in service, where the record does not name it (M-129).
    pub(super) fn unnamed(&self) -> Option<&Entry> {
        let in_service = self.link.active.as_ref().map(|active| &active.entry);
        in_service.filter(|entry| !self.record.names(entry))
    }
}

/// Devices by id and by connection id.
pub trait Table {
    /// Where datagrams come from and go to.
    type Address: Copy + Eq + Hash;
    /// Holds what is not acknowledged.
    type Outbox: Outbox;
    /// The AEAD.
    type Backend: Backend;

    /// What counts as one source where Floors are limited (M-61). By default the whole address; leave a port out, or
    /// whoever has one address has a budget for each of its ports, and soon everybody's.
    fn source(address: Self::Address) -> impl Hash {
        address
    }

    /// The place of a device.
    fn find(&self, device_id: DeviceId) -> Option<Index>;

    /// The place of the device that this connection id belongs to: the one whose [`Peer::cids`] has it.
    fn owner(&self, cid: ConnectionId) -> Option<Index>;

    /// The device at a place.
    fn peer(&self, index: Index) -> Option<&Peer<Self::Address, Self::Outbox, Self::Backend>>;

    /// The device at a place.
    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer<Self::Address, Self::Outbox, Self::Backend>>;

    /// From now on `owner` must find this place by this connection id. For tables that keep an index.
    fn claim(&mut self, cid: ConnectionId, index: Index);

    /// From now on nobody owns this connection id. For tables that keep an index.
    fn release(&mut self, cid: ConnectionId);
}

/// A table of at most `N` devices in fixed memory, with datagrams of at most `O` bytes to a device. It is
/// searched from end to end: right for some dozens of devices.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct FixedTable<Address, const N: usize, const O: usize, A: Backend = Portable> {
    peers: heapless::Vec<Peer<Address, FixedOutbox<O>, A>, N>,
}

impl<Address, const N: usize, const O: usize, A: Backend> FixedTable<Address, N, O, A> {
    /// A table without devices.
    pub const fn new() -> Self {
        Self { peers: heapless::Vec::new() }
    }

    /// Adds a device as its record says.
    ///
    /// # Errors
    /// [`TableError::Full`]; [`TableError::Known`] if the id is there already; [`TableError::CidTaken`] if
    /// another device's record names one of its connection ids. The table is then as it was.
    pub fn insert(&mut self, record: Record) -> Result<Index, TableError> {
        if self.position(|peer| peer.record.device_id() == record.device_id()).is_some() {
            return Err(TableError::Known);
        }
        let peer = Peer::new(record);
        if peer.cids().any(|cid| self.position(|other| other.cids().any(|taken| taken == cid)).is_some()) {
            return Err(TableError::CidTaken);
        }
        let index = u32::try_from(self.peers.len()).map_err(|_| TableError::Full)?;
        self.peers.push(peer).map_err(|_| TableError::Full)?;
        Ok(Index(index))
    }

    fn position(&self, found: impl Fn(&Peer<Address, FixedOutbox<O>, A>) -> bool) -> Option<Index> {
        self.peers.iter().position(found).and_then(|at| u32::try_from(at).ok()).map(Index)
    }
}

impl<Address, const N: usize, const O: usize, A: Backend> Default for FixedTable<Address, N, O, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Address: Copy + Eq + Hash, const N: usize, const O: usize, A: Backend> Table
    for FixedTable<Address, N, O, A>
{
    type Address = Address;
    type Outbox = FixedOutbox<O>;
    type Backend = A;

    fn find(&self, device_id: DeviceId) -> Option<Index> {
        self.position(|peer| peer.record.device_id() == device_id)
    }

    fn owner(&self, cid: ConnectionId) -> Option<Index> {
        self.position(|peer| peer.cids().any(|own| own == cid))
    }

    fn peer(&self, index: Index) -> Option<&Peer<Address, Self::Outbox, A>> {
        self.peers.get(usize::try_from(index.0).ok()?)
    }

    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer<Address, Self::Outbox, A>> {
        self.peers.get_mut(usize::try_from(index.0).ok()?)
    }

    // `owner` looks at the peers themselves.
    fn claim(&mut self, _: ConnectionId, _: Index) {}
    fn release(&mut self, _: ConnectionId) {}
}
