//! A table that keeps an index of connection ids, as large ones do, and holds what the server claims and releases in it
//! against the devices themselves.

use std::collections::HashMap;

use moteseal::error::TableError;
use moteseal::number::{ConnectionId, DeviceId};
use moteseal::record::Record;
use moteseal::server::{FixedTable, Index, Peer, Table};

use crate::support::{Address, Recording};

type All = FixedTable<Address, 80, 200, Recording>;

/// A [`FixedTable`] with an index.
#[derive(Debug, Default)]
pub struct Devices {
    all: All,
    index: HashMap<ConnectionId, Index>,
}

impl Devices {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn insert(&mut self, record: Record) -> Result<Index, TableError> {
        let index = self.all.insert(record)?;
        let cids = self.all.peer(index).into_iter().flat_map(Peer::cids);
        self.index.extend(cids.map(|cid| (cid, index)));
        Ok(index)
    }
}

impl Table for Devices {
    type Address = Address;
    type Outbox = <All as Table>::Outbox;
    type Backend = Recording;

    fn find(&self, device_id: DeviceId) -> Option<Index> {
        self.all.find(device_id)
    }

    fn owner(&self, cid: ConnectionId) -> Option<Index> {
        let owner = self.index.get(&cid).copied();
        assert_eq!(owner, self.all.owner(cid), "{cid:?} was claimed or released wrongly");
        owner
    }

    fn peer(&self, index: Index) -> Option<&Peer<Address, Self::Outbox, Recording>> {
        self.all.peer(index)
    }

    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer<Address, Self::Outbox, Recording>> {
        self.all.peer_mut(index)
    }

    fn claim(&mut self, cid: ConnectionId, index: Index) {
        assert_eq!(self.index.insert(cid, index), None, "{cid:?} has an owner");
    }

    fn release(&mut self, cid: ConnectionId) {
        assert!(self.index.remove(&cid).is_some(), "{cid:?} has no owner");
    }
}
