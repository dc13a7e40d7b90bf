//! A server with its store, and a scripted device that does whatever a test tells it to, right or wrong.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use moteseal::aead::{Backend, Nonce, Portable, Tag};
use moteseal::control::{Control, Role};
use moteseal::delivery::{Millis, Timing};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, Inauthentic, Malformed, Reject, ResetError};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, SequenceNumber};
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{
    AnswerKind, Change, CidRange, CommandId, Committed, ControlEvent, DataReceived, Durable, Held, Index,
    Received, RecordChange, Server, Table,
};
use moteseal::session::{Content, Incoming, Outgoing, Session};
use moteseal::wire::{AckBlock, Header, Hello, Unverified};

pub use crate::indexed::Devices;

pub type Address = u16;
pub type TestServer = Server<Devices, Noise>;
pub type Pending = (Held<Vec<u8>, Address>, Change<RecordChange>);

pub const GATEWAY: GatewayId = GatewayId(7);

type KeyAndNonce = ([u8; 32], [u8; 12]);
type AadAndPlaintext = (Vec<u8>, Vec<u8>);

thread_local! {
    static IS_LOST: Cell<bool> = const { Cell::new(false) };
    static SEALED: RefCell<HashMap<KeyAndNonce, AadAndPlaintext>> = RefCell::default();
}

/// The real cipher, which remembers what it sealed: no key and nonce may ever meet two messages (P3). All
/// servers and devices of a test seal through it, across every crash.
#[derive(Clone, Copy, Debug)]
pub struct Recording;

impl Backend for Recording {
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        if IS_LOST.get() {
            return [0; 16];
        }
        let name = (*key.expose(), *nonce.as_bytes());
        let message = (aad.to_vec(), buffer.to_vec());
        SEALED.with_borrow_mut(|sealed| {
            let first = sealed.entry(name).or_insert_with(|| message.clone());
            assert_eq!(*first, message, "P3: one key and nonce, two messages");
        });
        Portable::seal(key, nonce, aad, buffer)
    }

    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Inauthentic> {
        Portable::open(key, nonce, aad, buffer, tag)
    }
}

/// Datagrams that all get lost need not be sealed: 65,536 of them take their time.
pub fn lost(send: impl FnOnce()) {
    IS_LOST.set(true);
    send();
    IS_LOST.set(false);
}

/// Random numbers that are the same in every run: `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

impl Entropy for Noise {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A store of records that compares before it sets, and outlives crashes.
#[derive(Clone, Default)]
pub struct Store {
    pub records: BTreeMap<[u8; 8], Vec<u8>>,
    pub writes: usize,
    /// The journal's notes of boot counts (M-127).
    pub noted: Vec<u32>,
}

impl Store {
    pub fn put(&mut self, record: &Record) {
        self.records.insert(*record.device_id().as_bytes(), record.encode().expose().to_vec());
    }

    /// Makes the change if the record is still what it was made from.
    pub fn make(&mut self, change: Change<RecordChange>) -> Option<Durable<RecordChange>> {
        let RecordChange { expected, record, note_boot } = change.value();
        if self.records[expected.device_id().as_bytes()] != expected.encode().expose() {
            return None;
        }
        self.noted.extend(note_boot);
        self.put(record);
        self.writes += 1;
        Some(change.committed())
    }

    pub fn record(&self, device_id: DeviceId) -> Record {
        Record::decode(&self.records[device_id.as_bytes()]).unwrap()
    }
}

/// A server, its store, and a clock.
pub struct World {
    pub server: TestServer,
    pub store: Store,
    pub now: Millis,
    pub mark: u32,
    pub gateway: GatewayId,
    starts: u64,
}

/// What became of a datagram, with everything that had to be durable made so.
#[derive(Debug)]
pub enum Outcome {
    Rejected(Reject),
    Answered(AnswerKind, Vec<u8>, Address),
    Fresh(Fresh),
    Data(Data),
}

#[derive(Debug)]
pub struct Fresh {
    pub payload: Option<Vec<u8>>,
    pub welcome: Option<Vec<u8>>,
    pub to: Option<Address>,
    pub jump: bool,
    pub unknown: Option<CommandId>,
}

#[derive(Debug)]
pub struct Data {
    pub number: SequenceNumber,
    pub payload: Option<Vec<u8>>,
    pub malformed: Option<Malformed>,
    pub confirmed: bool,
    pub acknowledged: Option<CommandId>,
    pub unknown: Option<CommandId>,
    pub control: Option<ControlEvent>,
    pub answer: Option<(Vec<u8>, Address)>,
}

impl World {
    /// A world of its own, in which no key has sealed anything.
    pub fn new(devices: &[&Device]) -> Self {
        SEALED.with_borrow_mut(HashMap::clear);
        let mut store = Store::default();
        for device in devices {
            store.put(&Record::provisioned(device.id, Generation::FIRST, device.keys[0].1.clone()));
        }
        Self::over(store, 0)
    }

    pub fn over(store: Store, mark: u32) -> Self {
        Self::of(GATEWAY, store, mark)
    }

    /// One of several gateways; each has connection ids and random numbers of its own.
    pub fn of(gateway: GatewayId, store: Store, mark: u32) -> Self {
        Self { server: start(gateway, &store, mark, 1), store, now: 1_000_000, mark, gateway, starts: 1 }
    }

    /// Everything is gone but the store.
    pub fn crash(&mut self) {
        self.starts += 1;
        self.server = start(self.gateway, &self.store, self.mark, self.starts);
    }

    /// An old backup comes back, as section 7.7 wants it.
    pub fn restore(&mut self, backup: Store) {
        let newest = |store: &Store| {
            let boots = store.records.values().map(|bytes| Record::decode(bytes).unwrap().newest().boot());
            boots.chain(store.noted.iter().copied()).max().unwrap_or(0)
        };
        let noted = self.store.noted.clone();
        self.mark = moteseal::record::raised_mark(
            self.mark,
            newest(&backup).max(noted.iter().copied().max().unwrap_or(0)),
        );
        self.store = backup;
        self.store.noted = noted;
        for bytes in self.store.records.values_mut() {
            *bytes = Record::decode(bytes).unwrap().raised(self.mark).encode().expose().to_vec();
        }
        self.crash();
    }

    pub fn record(&self, device: &Device) -> Record {
        self.store.record(device.id)
    }

    pub fn index(&self, device: &Device) -> Index {
        self.server.table().find(device.id).unwrap()
    }

    pub fn receive(&mut self, from: Address, datagram: &[u8]) -> Received<Vec<u8>, Address> {
        self.server.receive(self.now, from, datagram.to_vec())
    }

    /// Receives a datagram that must be a fresh Hello.
    pub fn pending(&mut self, from: Address, datagram: &[u8]) -> Pending {
        match self.receive(from, datagram) {
            Received::Pending(held, change) => (held, change),
            other => panic!("not a fresh Hello: {other:?}"),
        }
    }

    /// Makes a change durable and takes what follows from it.
    pub fn finish(&mut self, (held, change): Pending) -> Option<Fresh> {
        let durable = self.store.make(change)?;
        Some(fresh(self.server.commit(held, durable).unwrap()))
    }

    /// Receives a datagram and does everything that follows from it at once.
    pub fn deliver(&mut self, from: Address, datagram: &[u8]) -> Outcome {
        match self.receive(from, datagram) {
            Received::Rejected { reason, .. } => Outcome::Rejected(reason),
            Received::Answered { kind, answer, to, .. } => {
                assert!(
                    answer.as_bytes().len() <= datagram.len() || kind == AnswerKind::Acknowledgement,
                    "M-19"
                );
                Outcome::Answered(kind, answer.as_bytes().to_vec(), to)
            }
            Received::Pending(held, change) => Outcome::Fresh(self.finish((held, change)).unwrap()),
            Received::Data(received) => Outcome::Data(data(received)),
        }
    }

    /// A datagram that must be dropped.
    pub fn rejects(&mut self, from: Address, datagram: &[u8]) -> Reject {
        match self.deliver(from, datagram) {
            Outcome::Rejected(reason) => reason,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// A datagram that must be newly verified Data.
    pub fn hears(&mut self, from: Address, datagram: &[u8]) -> Data {
        match self.deliver(from, datagram) {
            Outcome::Data(data) => data,
            other => panic!("not Data: {other:?}"),
        }
    }

    /// A datagram that must get an answer of this kind.
    pub fn answers(&mut self, kind: AnswerKind, from: Address, datagram: &[u8]) -> Vec<u8> {
        match self.deliver(from, datagram) {
            Outcome::Answered(found, answer, _) if found == kind => answer,
            other => panic!("no {kind:?}: {other:?}"),
        }
    }

    /// A datagram that must be a fresh Hello.
    pub fn welcomes(&mut self, from: Address, datagram: &[u8]) -> Fresh {
        match self.deliver(from, datagram) {
            Outcome::Fresh(fresh) => fresh,
            other => panic!("not fresh: {other:?}"),
        }
    }

    /// Hello, Welcome, Data 0: a session in service.
    pub fn connect(&mut self, device: &mut Device, from: Address) -> Data {
        self.offer(device, from);
        let first = device.data(b"first", true);
        let data = self.hears(from, &first);
        assert!(data.confirmed);
        device.open(&data.answer.as_ref().unwrap().0);
        data
    }

    /// Hello and Welcome: a candidate.
    pub fn offer(&mut self, device: &mut Device, from: Address) {
        let hello = device.hello(b"");
        let fresh = self.welcomes(from, &hello);
        assert!(!device.welcome(&fresh.welcome.unwrap()));
    }

    pub fn poll(&mut self, device: &Device) -> Option<(Vec<u8>, Address)> {
        let index = self.index(device);
        self.server.poll(self.now, index).map(|transmit| (transmit.datagram.to_vec(), transmit.to))
    }

    /// Marks, seals and sends a command.
    pub fn command(&mut self, device: &Device, id: u64, payload: &[u8]) -> Option<(Vec<u8>, Address)> {
        let (sending, mark) = self.server.begin_command(device.id, CommandId(id), payload.len()).unwrap();
        let sealed = self.server.seal_command(self.now, sending, &mark.committed(), payload).unwrap();
        sealed.map(|transmit| (transmit.datagram.to_vec(), transmit.to))
    }

    pub fn plain(&mut self, device: &Device, payload: &[u8]) -> Vec<u8> {
        let mut out = [0; 200];
        self.server.send_plain(device.id, payload, &mut out).unwrap().0.to_vec()
    }

    /// Makes a change of a status durable.
    pub fn set_status(&mut self, device: &Device, status: Status) -> Option<CommandId> {
        let (admin, change) = self.server.set_status(device.id, status).unwrap();
        let durable = self.store.make(change).unwrap();
        self.server.apply(admin, durable).unwrap()
    }

    pub fn begin_rotation(&mut self, device: &Device) {
        let (admin, change) = self.server.begin_rotation(device.id, &device.rotation_key).unwrap();
        let durable = self.store.make(change).unwrap();
        self.server.apply(admin, durable).unwrap();
    }
}

fn start(gateway: GatewayId, store: &Store, mark: u32, seed: u64) -> TestServer {
    let mut table = Devices::new();
    for bytes in store.records.values() {
        table.insert(Record::decode(bytes).unwrap()).unwrap();
    }
    let noise = Noise(seed << 32 | u64::from(gateway.0) << 20);
    let server = Server::new(table, noise, gateway, Timing::DEFAULT, mark).unwrap();
    match gateway {
        GATEWAY => server,
        GatewayId(other) => server.with_cids(CidRange::new(3, u8::try_from(other).unwrap()).unwrap()),
    }
}

pub fn fresh(committed: Committed<Vec<u8>, Address>) -> Fresh {
    Fresh {
        payload: committed.payload.map(|payload| payload.as_bytes().to_vec()),
        to: committed.welcome.map(|(_, to)| to),
        welcome: committed.welcome.map(|(answer, _)| answer.as_bytes().to_vec()),
        jump: committed.jump,
        unknown: committed.unknown,
    }
}

fn data(received: DataReceived<Vec<u8>, Address>) -> Data {
    Data {
        number: received.number,
        payload: received.payload.map(|payload| payload.as_bytes().to_vec()),
        malformed: received.malformed,
        confirmed: received.confirmed,
        acknowledged: received.acknowledged,
        unknown: received.unknown,
        control: received.control,
        answer: received.answer.map(|(answer, to)| (answer.as_bytes().to_vec(), to)),
    }
}

/// What a device took from a datagram.
#[derive(Debug)]
pub struct Down {
    pub number: SequenceNumber,
    pub payload: Vec<u8>,
    pub control: Option<Control>,
    pub confirm: bool,
    pub ack: Option<AckBlock>,
    pub is_repeat: bool,
}

/// A device that does as it is told.
pub struct Device {
    pub id: DeviceId,
    /// Generations and keys, the one in use last.
    pub keys: Vec<(Generation, DeviceKey)>,
    pub rotation_key: RotationKey,
    pub boot: u32,
    pub count: u16,
    pub noise: Noise,
    pub asked: Option<Asked>,
    pub session: Option<Session<Recording>>,
    /// The key of that session by which the device seals, for what `Session` would never seal.
    pub up_key: AeadKey,
}

/// The Hello that is outstanding.
#[derive(Clone)]
pub struct Asked {
    pub epoch: Epoch,
    pub salt: Salt,
    pub key: DeviceKey,
    pub datagram: Vec<u8>,
}

impl Device {
    pub fn new(number: u8) -> Self {
        Self {
            id: DeviceId::new([number; 8]),
            keys: vec![(Generation::FIRST, DeviceKey::new([number ^ 0x55; 32]))],
            rotation_key: RotationKey::new([number ^ 0xAA; 32]),
            boot: 1,
            count: 0,
            noise: Noise(u64::from(number) << 48),
            asked: None,
            session: None,
            up_key: AeadKey::new([0; 32]),
        }
    }

    /// A new Hello, with an epoch and a salt of its own.
    pub fn hello(&mut self, payload: &[u8]) -> Vec<u8> {
        let epoch = Epoch::new(self.boot, self.count);
        (self.boot, self.count) =
            if self.count == u16::MAX { (self.boot + 1, 0) } else { (self.boot, self.count + 1) };
        let mut salt = [0; 6];
        self.noise.fill(&mut salt).unwrap();
        self.hello_of(epoch, Salt(salt), payload)
    }

    pub fn hello_of(&mut self, epoch: Epoch, salt: Salt, payload: &[u8]) -> Vec<u8> {
        let (generation, key) = self.keys.last().unwrap();
        let datagram = seal_hello(self.id, *generation, key, epoch, salt, payload);
        self.asked = Some(Asked { epoch, salt, key: key.clone(), datagram: datagram.clone() });
        datagram
    }

    /// Takes the Welcome for the outstanding Hello; gives its E.
    pub fn welcome(&mut self, datagram: &[u8]) -> bool {
        self.try_welcome(datagram).expect("a Welcome that opens")
    }

    pub fn try_welcome(&mut self, datagram: &[u8]) -> Option<bool> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Welcome(welcome), sealed } =
            Unverified::parse(&mut datagram).ok()?
        else {
            return None;
        };
        let asked = self.asked.as_ref().filter(|asked| asked.salt.echo() == welcome.echo)?;
        let keys = asked.key.session_keys(self.id, asked.epoch, asked.salt, welcome.server_salt);
        Recording::open(&keys.down, Nonce::welcome(), sealed.aad, sealed.ciphertext, sealed.tag).ok()?;
        let cid = ConnectionId::from_bytes(sealed.ciphertext).unwrap();
        self.up_key = keys.up.clone();
        self.session = Some(Session::new(Role::Device, keys, asked.epoch, cid));
        self.asked = None;
        Some(welcome.early_taken)
    }

    /// Takes the Floor for the outstanding Hello; gives the floor.
    pub fn floor(&mut self, datagram: &[u8]) -> Epoch {
        self.try_floor(datagram).expect("a Floor that opens")
    }

    pub fn try_floor(&mut self, datagram: &[u8]) -> Option<Epoch> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Floor(floor), sealed } = Unverified::parse(&mut datagram).ok()?
        else {
            return None;
        };
        let asked = self.asked.as_ref().filter(|asked| asked.salt.echo() == floor.echo)?;
        let key = asked.key.floor_key(self.id, floor.floor);
        let nonce = Nonce::hello(asked.epoch, asked.salt);
        Recording::open(&key, nonce, sealed.aad, sealed.ciphertext, sealed.tag).ok()?;
        self.asked = None;
        if floor.floor >= Epoch::new(self.boot, self.count) {
            (self.boot, self.count) = (floor.floor.boot() + 1, 0);
        }
        Some(floor.floor)
    }

    /// A Data that carries what a device's Data with C carries.
    pub fn data(&mut self, payload: &[u8], confirm: bool) -> Vec<u8> {
        let ack = self.session.as_ref().unwrap().ack_block(None).filter(|_| confirm);
        self.send(Outgoing { payload, ack, confirm, control: false })
    }

    pub fn control(&mut self, control: &Control, confirm: bool) -> Vec<u8> {
        let bytes = control.encode();
        self.send(Outgoing { payload: bytes.as_bytes(), ack: None, confirm, control: true })
    }

    /// A pure acknowledgement.
    pub fn acknowledge(&mut self) -> Vec<u8> {
        let ack = self.session.as_ref().unwrap().ack_block(None);
        self.send(Outgoing { ack, ..Outgoing::default() })
    }

    pub fn send(&mut self, outgoing: Outgoing<'_>) -> Vec<u8> {
        let mut out = [0; 300];
        let protected = self.session.as_mut().unwrap().protect(outgoing, &mut out).unwrap();
        out[..protected.len].to_vec()
    }

    /// Opens a Data of the server.
    pub fn open(&mut self, datagram: &[u8]) -> Down {
        self.try_open(datagram).expect("a Data that opens")
    }

    pub fn try_open(&mut self, datagram: &[u8]) -> Option<Down> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut datagram).ok()? else {
            return None;
        };
        let session = self.session.as_mut().filter(|session| session.cid() == data.cid)?;
        let nothing = |number, is_repeat| Down {
            number,
            payload: Vec::new(),
            control: None,
            confirm: data.confirm,
            ack: None,
            is_repeat,
        };
        let verified = match session.verify(&data, sealed).ok()? {
            Incoming::Repeat(number) => return Some(nothing(number, true)),
            Incoming::New(verified) => verified,
        };
        let (payload, control) = match verified.content {
            Content::Empty => (Vec::new(), None),
            Content::Payload(payload) => (payload.to_vec(), None),
            Content::Control(control) => (Vec::new(), Some(control)),
        };
        let number = verified.number;
        let down = Down { payload, control, ack: verified.ack, ..nothing(number, false) };
        if down.control.is_some() {
            session.accept(number, down.ack);
        }
        Some(down)
    }

    /// Judges a Reset.
    pub fn reset(&mut self, datagram: &[u8]) -> Result<(), ResetError> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Reset(reset), sealed } = Unverified::parse(&mut datagram).unwrap()
        else {
            panic!("not a Reset");
        };
        self.session.as_mut().unwrap().verify_reset(&reset, sealed)
    }

    /// Makes the key that a *rotate* tells of, after checking it, and uses it from now on.
    pub fn rotate(&mut self, control: &Control) {
        let Control::Rotate { generation, secret } = control else { panic!("not a rotate: {control:?}") };
        assert!(self.rotation_key.proves(secret, *generation, self.id), "M-115");
        let key = self.rotation_key.next_device_key(secret, *generation, self.id);
        self.keys.push((*generation, key));
    }
}

pub fn seal_hello(
    device_id: DeviceId,
    generation: Generation,
    key: &DeviceKey,
    epoch: Epoch,
    salt: Salt,
    payload: &[u8],
) -> Vec<u8> {
    let header =
        Header::Hello(Hello { generation_bits: generation.low_bits(), device_id, epoch, salt }).encode();
    let mut ciphertext = payload.to_vec();
    // Not through `Recording`: a device without an RNG may say the same Hello with two payloads, and tests do.
    let key = key.hello_key(device_id);
    let tag = Portable::seal(&key, Nonce::hello(epoch, salt), &header.as_bytes()[..9], &mut ciphertext);
    [header.as_bytes(), &ciphertext, &tag].concat()
}

/// The datagram with its last bit changed.
pub fn forged(datagram: &[u8]) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    *datagram.last_mut().unwrap() ^= 1;
    datagram
}

/// The connection id of a Data or Reset.
pub fn cid_of(device: &Device) -> ConnectionId {
    device.session.as_ref().unwrap().cid()
}
