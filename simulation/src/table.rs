//! The table of a gateway with thousands of devices: an index of connection ids, as a large gateway keeps one.

use moteseal::aead::Portable;
use moteseal::number::{ConnectionId, DeviceId};
use moteseal::record::Record;
use moteseal::server::{Index, Outbox, Peer, Table};

use crate::digest::Map;
use crate::network::Address;

/// Room for one datagram to a device.
#[derive(Clone, Debug, Default)]
pub struct Room(Vec<u8>);

impl Outbox for Room {
    fn resize(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.resize(len, 0);
        (len <= 160).then_some(&mut self.0)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The devices of a gateway.
#[derive(Debug, Default)]
pub struct Devices {
    peers: Vec<Peer<Address, Room>>,
    owners: Map<ConnectionId, Index>,
}

/// The place of the device with this number.
pub fn place(device: usize) -> Index {
    Index(u32::try_from(device).unwrap())
}

impl Devices {
    pub fn insert(&mut self, record: Record) {
        let index = place(self.peers.len());
        let peer = Peer::new(record);
        for cid in peer.cids() {
            let other = self.owners.insert(cid, index);
            assert!(other.is_none(), "M-12: {cid} belongs to two devices");
        }
        self.peers.push(peer);
    }

    /// Every connection id of a device leads to it, and no other id leads anywhere: the index does not grow with what
    /// was received.
    pub fn check(&self) {
        let mut count = 0;
        for (index, peer) in self.peers.iter().enumerate() {
            for cid in peer.cids() {
                assert_eq!(self.owners.get(&cid), Some(&place(index)), "M-12: {cid} leads elsewhere");
                count += 1;
            }
        }
        assert_eq!(count, self.owners.len(), "P6: connection ids that nobody has");
    }
}

impl Table for Devices {
    type Address = Address;
    type Outbox = Room;
    type Backend = Portable;

    fn find(&self, device_id: DeviceId) -> Option<Index> {
        let (name, number) = device_id.as_bytes().split_at(4);
        let index = u32::from_be_bytes(number.try_into().ok()?);
        (name == b"mote" && (index as usize) < self.peers.len()).then_some(Index(index))
    }

    fn owner(&self, cid: ConnectionId) -> Option<Index> {
        self.owners.get(&cid).copied()
    }

    fn peer(&self, index: Index) -> Option<&Peer<Address, Room>> {
        self.peers.get(index.0 as usize)
    }

    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer<Address, Room>> {
        self.peers.get_mut(index.0 as usize)
    }

    fn claim(&mut self, cid: ConnectionId, index: Index) {
        let other = self.owners.insert(cid, index);
        assert!(other.is_none(), "M-12: {cid} has an owner");
    }

    fn release(&mut self, cid: ConnectionId) {
        assert!(self.owners.remove(&cid).is_some(), "M-12: {cid} has no owner");
    }
}
