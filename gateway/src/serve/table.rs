//! The devices of a gateway in memory: found by id through a map, and by connection id through flat tables for
//! the short ones. It holds what the store holds, and no file. SPEC sections 4.8 and 7.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use moteseal::aead::Ring;
use moteseal::error::TableError;
use moteseal::number::{ConnectionId, DeviceId};
use moteseal::record::Record;
use moteseal::server::{self, Index};

/// The one unacknowledged datagram of a device, on the heap.
#[derive(Debug, Default)]
pub struct Outbox(Vec<u8>);

impl server::Outbox for Outbox {
    fn resize(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.resize(len, 0);
        Some(&mut self.0)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A device with its sessions.
pub type Peer = server::Peer<SocketAddr, Outbox, Ring>;

/// All devices.
#[derive(Debug)]
pub struct Devices {
    peers: Vec<Peer>,
    by_id: HashMap<DeviceId, Index>,
    /// Connection ids of one and of two bytes, by value.
    short: [Vec<Place>; 2],
    long: HashMap<ConnectionId, Index>,
}

/// The place of a device, one up, so that none takes no room of its own.
type Place = Option<NonZeroU32>;

impl Devices {
    /// No devices.
    pub fn new() -> Self {
        let flat = |len| vec![None; usize::try_from(ConnectionId::values(len)).unwrap_or(0)];
        Self { peers: Vec::new(), by_id: HashMap::new(), short: [flat(1), flat(2)], long: HashMap::new() }
    }

    /// Adds a device as its record says.
    ///
    /// # Errors
    /// [`TableError`]; the table is then as it was.
    pub fn insert(&mut self, record: Record) -> Result<Index, TableError> {
        if self.by_id.contains_key(&record.device_id()) {
            return Err(TableError::Known);
        }
        // One below the highest number, since places are kept one up.
        let index =
            u32::try_from(self.peers.len()).ok().filter(|at| *at < u32::MAX).ok_or(TableError::Full)?;
        let (index, device_id, peer) = (Index(index), record.device_id(), Peer::new(record));
        let cids: Vec<ConnectionId> = peer.cids().collect();
        let is_taken = |cid: &ConnectionId| server::Table::owner(self, *cid).is_some();
        if cids.iter().any(is_taken) || matches!(cids.as_slice(), [one, other] if one == other) {
            return Err(TableError::CidTaken);
        }
        self.by_id.insert(device_id, index);
        self.peers.push(peer);
        for cid in cids {
            server::Table::claim(self, cid, index);
        }
        Ok(index)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    fn flat(&mut self, cid: ConnectionId) -> Option<&mut Place> {
        let table = self.short.get_mut(cid.as_bytes().len() - 1)?;
        table.get_mut(usize::try_from(cid.value()).ok()?)
    }
}

fn place(Index(at): Index) -> Place {
    NonZeroU32::new(at.wrapping_add(1))
}

impl server::Table for Devices {
    type Address = SocketAddr;
    type Outbox = Outbox;
    type Backend = Ring;

    /// A host, or for IPv6 the network of 64 bits that a host may have to itself.
    fn source(address: SocketAddr) -> impl Hash {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => {
                ip.segments()[..4].iter().fold(0, |network, part| network << 16 | u64::from(*part))
            }
        }
    }

    fn find(&self, device_id: DeviceId) -> Option<Index> {
        self.by_id.get(&device_id).copied()
    }

    fn owner(&self, cid: ConnectionId) -> Option<Index> {
        match self.short.get(cid.as_bytes().len() - 1) {
            Some(table) => table.get(usize::try_from(cid.value()).ok()?)?.map(|up| Index(up.get() - 1)),
            None => self.long.get(&cid).copied(),
        }
    }

    fn peer(&self, index: Index) -> Option<&Peer> {
        self.peers.get(usize::try_from(index.0).ok()?)
    }

    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer> {
        self.peers.get_mut(usize::try_from(index.0).ok()?)
    }

    fn claim(&mut self, cid: ConnectionId, index: Index) {
        match self.flat(cid) {
            Some(flat) => *flat = place(index),
            None => {
                self.long.insert(cid, index);
            }
        }
    }

    fn release(&mut self, cid: ConnectionId) {
        match self.flat(cid) {
            Some(flat) => *flat = None,
            None => {
                self.long.remove(&cid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moteseal::keys::DeviceKey;
    use moteseal::number::Generation;
    use moteseal::server::Table as _;

    fn record(id: u8) -> Record {
        Record::provisioned(DeviceId::new([id; 8]), Generation::FIRST, DeviceKey::new([id; 32]))
    }

    #[test]
    fn connection_ids_of_every_length_are_found_and_released() {
        let mut devices = Devices::new();
        let first = devices.insert(record(1)).unwrap();
        let second = devices.insert(record(2)).unwrap();
        assert_eq!(devices.find(DeviceId::new([2; 8])), Some(second));
        for (len, value) in [(1, 0), (1, 63), (2, 0), (2, 0x3FFF), (3, 0), (4, 0x3FFF_FFFF)] {
            let cid = ConnectionId::new(len, value).unwrap();
            assert_eq!(devices.owner(cid), None);
            devices.claim(cid, first);
            assert_eq!(devices.owner(cid), Some(first));
            devices.claim(cid, second);
            assert_eq!(devices.owner(cid), Some(second));
            devices.release(cid);
            assert_eq!(devices.owner(cid), None);
        }
    }

    #[test]
    fn a_device_is_taken_once() {
        let mut devices = Devices::new();
        devices.insert(record(1)).unwrap();
        assert_eq!(devices.insert(record(1)), Err(TableError::Known));
    }
}
