//! A server in a state of one's choice: its records, its random numbers, the connection ids that are free.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use moteseal::aead::Backend;
use moteseal::delivery::Timing;
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::keys::DeviceKey;
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation};
use moteseal::record::{Entry, GatewayId, RECORD_LEN, Record, Status};
use moteseal::server::{Change, FixedOutbox, Held, Index, Peer, Received, RecordChange, Server, Table};

/// Where all datagrams of these tests come from.
pub const DEVICE: u32 = 0x0A00_0001;
const GATEWAY: GatewayId = GatewayId(1);

/// A record, as a store would give it back.
#[derive(Clone)]
pub struct Stored {
    pub device_id: DeviceId,
    pub status: Status,
    /// One key, or two that follow each other.
    pub keys: Vec<(Generation, DeviceKey)>,
    pub newest: Epoch,
    pub seen: u32,
    pub confirmed: Option<Entry>,
    pub candidate: Option<Entry>,
}

impl Stored {
    /// A device of which nothing has been heard.
    pub fn new(device_id: DeviceId, generation: Generation, key: DeviceKey) -> Self {
        let newest = Epoch::new(0, 0);
        let keys = vec![(generation, key)];
        let (confirmed, candidate) = (None, None);
        Self { device_id, status: Status::Active, keys, newest, seen: 1, confirmed, candidate }
    }

    pub fn record(&self) -> Record {
        let (generation, key) = &self.keys[0];
        let status = match self.status {
            Status::Active => 0,
            Status::Revoked => 1,
            Status::Quarantined => 2,
        };
        let mut bytes = vec![1, status, generation.number(), 0];
        bytes.extend(self.device_id.as_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.newest.as_bytes());
        bytes.extend(self.seen.to_be_bytes());
        bytes.extend(key.expose());
        bytes.extend(entry(self.confirmed));
        bytes.extend(entry(self.candidate));
        if let Some((next, key)) = self.keys.get(1) {
            assert_eq!(generation.next(), Some(*next));
            bytes.push(1);
            bytes.extend([0x5A; 32]);
            bytes.extend(key.expose());
        }
        bytes.resize(RECORD_LEN, 0);
        let record = Record::decode(&bytes).unwrap();
        assert_eq!(record.encode().expose().as_slice(), bytes);
        record
    }
}

fn entry(entry: Option<Entry>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(entry) = entry {
        bytes.extend([1, entry.generation.number()]);
        bytes.extend(entry.epoch.as_bytes());
        bytes.extend(entry.salt.0);
        bytes.extend(entry.server_salt.0);
        bytes.extend(entry.cid.as_bytes());
        bytes.resize(26, 0);
        bytes.extend(GATEWAY.0.to_be_bytes());
    }
    bytes.resize(28, 0);
    bytes
}

/// Random numbers that are known beforehand. When they run out, a stream that no file contains goes on.
#[derive(Clone, Debug, Default)]
pub struct Script(Rc<RefCell<VecDeque<u8>>>, u8);

impl Entropy for Script {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.1 = self.1.wrapping_mul(5).wrapping_add(0x35);
            *byte = self.0.borrow_mut().pop_front().unwrap_or(self.1);
        }
        Ok(())
    }
}

/// Some devices, and which connection ids may be given out.
#[derive(Debug)]
pub struct Devices<A: Backend> {
    peers: BTreeMap<u32, Peer<u32, FixedOutbox<1280>, A>>,
    /// If there is one, all others are taken.
    free: Option<ConnectionId>,
}

impl<A: Backend> Table for Devices<A> {
    type Address = u32;
    type Outbox = FixedOutbox<1280>;
    type Backend = A;

    fn find(&self, device_id: DeviceId) -> Option<Index> {
        let mut peers = self.peers.iter();
        peers.find(|(_, peer)| peer.record().device_id() == device_id).map(|(at, _)| Index(*at))
    }

    fn owner(&self, cid: ConnectionId) -> Option<Index> {
        let mut peers = self.peers.iter();
        let owner = peers.find(|(_, peer)| peer.cids().any(|own| own == cid)).map(|(at, _)| Index(*at));
        owner.or_else(|| self.free.filter(|free| *free != cid).map(|_| Index(u32::MAX)))
    }

    fn peer(&self, index: Index) -> Option<&Peer<u32, Self::Outbox, A>> {
        self.peers.get(&index.0)
    }

    fn peer_mut(&mut self, index: Index) -> Option<&mut Peer<u32, Self::Outbox, A>> {
        self.peers.get_mut(&index.0)
    }

    fn claim(&mut self, _: ConnectionId, _: Index) {}
    fn release(&mut self, _: ConnectionId) {}
}

/// A server, and what its random numbers will be.
pub struct Host<A: Backend> {
    pub server: Server<Devices<A>, Script>,
    script: Script,
}

impl<A: Backend> Host<A> {
    /// A server that has just started with these records.
    pub fn start<'s>(records: impl IntoIterator<Item = &'s Stored>) -> Self {
        let records = records.into_iter().map(|stored| Peer::new(stored.record()));
        let table = Devices { peers: (0..).zip(records).collect(), free: None };
        let script = Script::default();
        let server = Server::new(table, script.clone(), GATEWAY, Timing::DEFAULT, 0).unwrap();
        Self { server, script }
    }

    /// Receives a fresh Hello and makes it durable; a session that it opens has this server salt and this cid.
    pub fn open(&mut self, hello: &[u8], server_salt: [u8; 8], cid: ConnectionId) -> Fresh {
        let mut script = self.script.0.borrow_mut();
        script.extend(server_salt);
        // More than the values of the length, so that the four bytes are never zero.
        script.extend((1 << 30 | cid.value()).to_be_bytes());
        drop(script);
        self.server.table_mut().free = Some(cid);
        let fresh = match self.server.receive(0, DEVICE, hello.to_vec()) {
            Received::Pending(held, change) => self.commit(held, change),
            other => panic!("not a fresh Hello: {other:?}"),
        };
        self.server.table_mut().free = None;
        self.script.0.borrow_mut().clear();
        fresh
    }
}

impl<A: Backend> Host<A> {
    /// Makes a fresh Hello durable.
    pub fn commit(&mut self, held: Held<Vec<u8>, u32>, change: Change<RecordChange>) -> Fresh {
        let committed = self.server.commit(held, change.committed()).unwrap();
        let welcome = committed.welcome.map(|(answer, to)| {
            assert_eq!(to, DEVICE);
            answer.as_bytes().to_vec()
        });
        let payload = committed.payload.map(|payload| payload.as_bytes().to_vec());
        Fresh { device_id: committed.device_id, epoch: committed.epoch, payload, welcome }
    }
}

/// What a fresh Hello led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Fresh {
    pub device_id: DeviceId,
    pub epoch: Epoch,
    pub payload: Option<Vec<u8>>,
    pub welcome: Option<Vec<u8>>,
}
