//! The auditor knows every device key and sees every datagram that leaves either half, every payload that is handed
//! to an application, and every word that is told. It believes nothing else. It opens each datagram itself:
//!
//! * P1, P2: what is delivered is what was sealed under that very name, once.
//! * P3: a pair of key and nonce has one pair of associated data and plaintext.
//! * Outcomes: *acknowledged* was delivered, *unsent* was never sealed; one word each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::device::{Millis, Outcome};
use moteseal::keys::{AeadKey, DeviceKey};
use moteseal::number::{ConnectionId, DeviceId, Echo, Epoch, Generation, Salt, SequenceNumber};
use moteseal::server::CommandId;
use moteseal::wire::{self, AckBlock, Header, Sealed, Seq, Unverified};

use crate::mote::Mote;

/// A payload's name: device, epoch, and the number unless it is early data (M-105).
pub type Name = (usize, Epoch, Option<u16>);
/// A key and a nonce, and what they sealed: associated data and plaintext.
type Sealings = HashMap<([u8; 32], [u8; 12]), (Vec<u8>, Vec<u8>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Up,
    Down,
}

#[derive(Debug)]
struct Owner {
    id: DeviceId,
    keys: Vec<(Generation, DeviceKey)>,
    /// Generations below this one are erased for good.
    oldest: Generation,
}

#[derive(Debug)]
struct Hello {
    device: usize,
    generation: Generation,
    epoch: Epoch,
    salt: Salt,
}

#[derive(Debug)]
struct Session {
    device: usize,
    generation: Generation,
    epoch: Epoch,
    up: AeadKey,
    down: AeadKey,
    /// One past the highest number seen leaving, each way.
    next: [u32; 2],
    /// When the device first sent each of its numbers.
    sent_at: BTreeMap<u16, Millis>,
}

/// What the auditor found a datagram to be.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub device: usize,
    pub generation: Generation,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Hello {
        epoch: Epoch,
        payload_len: usize,
    },
    /// A Welcome or a Floor.
    Answer,
    Data {
        way: Way,
        epoch: Epoch,
        number: u16,
        block: Option<AckBlock>,
    },
    Reset {
        number: u16,
    },
}

#[derive(Debug, Default)]
pub struct Auditor {
    devices: Vec<Owner>,
    hellos: HashMap<Echo, Vec<Hello>>,
    sessions: HashMap<ConnectionId, Vec<Session>>,
    sealings: Sealings,
    known: HashMap<Vec<u8>, Seen>,
    /// Every payload by its name. A rolled-back device may use a name twice; one of the two is delivered at most.
    named: HashMap<(Way, Name), Vec<Vec<u8>>>,
    /// The age that the block in a downlink Data stands for: the number that it names.
    blocks: HashMap<Name, Option<u16>>,
    delivered: HashSet<(Way, Name)>,
    /// Payload ids that a device's application handed over and the server's got.
    delivered_up: BTreeSet<u32>,
    sealed_up: BTreeSet<u32>,
    /// Commands and plain payloads that reached a device's application, or were refused there.
    delivered_down: BTreeMap<u64, u32>,
    /// Epochs of Hellos that a store has ever made durable: once each, over all restores.
    durable: HashSet<(usize, Epoch)>,
    pub opened: u64,
}

impl Auditor {
    pub fn provision(&mut self, mote: &Mote, key: DeviceKey) {
        let keys = vec![(Generation::FIRST, key)];
        self.devices.push(Owner { id: mote.id, keys, oldest: Generation::FIRST });
    }

    pub fn index(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|keys| keys.id == id).expect("nobody's id")
    }

    /// A rotation to this key was begun.
    pub fn next_key(&mut self, device: usize, generation: Generation, key: &DeviceKey) {
        let keys = &mut self.devices[device].keys;
        if let Some((_, known)) = keys.iter().find(|(known, _)| *known == generation) {
            assert!(known == key, "M-117: two keys of one generation");
            return;
        }
        keys.push((generation, key.clone()));
    }

    /// The keys before this generation are erased: nothing is sealed or opened under them any more (P8).
    pub fn finished(&mut self, device: usize, generation: Generation) {
        let oldest = &mut self.devices[device].oldest;
        *oldest = (*oldest).max(generation);
    }

    /// A key that was erased, for the thief who kept it.
    pub fn erased_key(&self, device: usize) -> Option<(Generation, DeviceKey)> {
        let keys = &self.devices[device];
        keys.keys.iter().rfind(|(generation, _)| *generation < keys.oldest).cloned()
    }

    /// A datagram leaves a device.
    pub fn left_device(&mut self, now: Millis, device: usize, bytes: &[u8]) -> Seen {
        let seen = match self.known.get(bytes) {
            Some(seen) => *seen,
            None => {
                self.open_up(now, device, bytes).unwrap_or_else(|| panic!("opens under no key: {bytes:02x?}"))
            }
        };
        assert_eq!(seen.device, device, "a datagram of another device");
        self.known.insert(bytes.to_vec(), seen);
        seen
    }

    /// A datagram leaves the server: for which device, under a key of which generation.
    pub fn left_server(&mut self, bytes: &[u8]) -> Seen {
        let seen = match self.known.get(bytes) {
            Some(seen) => *seen,
            None => self.open_down(bytes).unwrap_or_else(|| panic!("opens under no key: {bytes:02x?}")),
        };
        assert!(seen.generation >= self.devices[seen.device].oldest, "P8: sealed under an erased key");
        self.known.insert(bytes.to_vec(), seen);
        seen
    }

    /// What these bytes are, if they left one of the halves just so.
    pub fn recognise(&self, bytes: &[u8]) -> Option<Kind> {
        self.known.get(bytes).map(|seen| seen.kind)
    }

    /// Of which device they are.
    pub fn sender(&self, bytes: &[u8]) -> Option<usize> {
        self.known.get(bytes).map(|seen| seen.device)
    }

    fn open_up(&mut self, now: Millis, device: usize, bytes: &[u8]) -> Option<Seen> {
        let mut bytes = bytes.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut bytes).unwrap();
        match header {
            Header::Hello(hello) => self.open_hello(device, &hello, &sealed),
            Header::Data(data) => self.open_data(now, Way::Up, Some(device), &data, &sealed),
            _ => panic!("a device sends {header:?}"),
        }
    }

    fn open_down(&mut self, bytes: &[u8]) -> Option<Seen> {
        let mut bytes = bytes.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut bytes).unwrap();
        match header {
            Header::Welcome(welcome) => self.open_welcome(&welcome, &sealed),
            Header::Floor(floor) => self.open_floor(floor, &sealed),
            Header::Data(data) => self.open_data(0, Way::Down, None, &data, &sealed),
            Header::Reset(reset) => self.open_reset(reset, &sealed),
            Header::Hello(_) => panic!("a server sends a Hello"),
        }
    }

    fn open_hello(&mut self, device: usize, hello: &wire::Hello, sealed: &Sealed<'_>) -> Option<Seen> {
        let Owner { id, keys, .. } = &self.devices[device];
        assert_eq!(*id, hello.device_id, "a Hello in another's name");
        let nonce = || Nonce::hello(hello.epoch, hello.salt);
        let (generation, key, plaintext) = keys.iter().rev().find_map(|(generation, key)| {
            let key = key.hello_key(*id);
            let plaintext = (generation.low_bits() == hello.generation_bits)
                .then(|| open(&key, nonce(), sealed))
                .flatten()?;
            Some((*generation, key, plaintext))
        })?;
        self.sealed(&key, &nonce(), sealed.aad, &plaintext);
        let seen = Hello { device, generation, epoch: hello.epoch, salt: hello.salt };
        self.hellos.entry(hello.salt.echo()).or_default().push(seen);
        let kind = Kind::Hello { epoch: hello.epoch, payload_len: plaintext.len() };
        self.name(Way::Up, (device, hello.epoch, None), plaintext);
        Some(Seen { device, generation, kind })
    }

    fn open_welcome(&mut self, welcome: &wire::Welcome, sealed: &Sealed<'_>) -> Option<Seen> {
        let candidates = self.hellos.get(&welcome.echo)?;
        let (session, cid) = candidates.iter().rev().find_map(|hello| {
            let key = self.key(hello.device, hello.generation);
            let id = self.devices[hello.device].id;
            let keys = key.session_keys(id, hello.epoch, hello.salt, welcome.server_salt);
            let cid = ConnectionId::from_bytes(&open(&keys.down, Nonce::welcome(), sealed)?)?;
            let Hello { device, generation, epoch, .. } = *hello;
            let (up, down, next, sent_at) = (keys.up, keys.down, [0; 2], BTreeMap::new());
            Some((Session { device, generation, epoch, up, down, next, sent_at }, cid))
        })?;
        let has_payload = self.named.get(&(Way::Up, (session.device, session.epoch, None)));
        let has_payload = has_payload.is_some_and(|payloads| payloads.iter().any(|p| !p.is_empty()));
        assert!(has_payload || !welcome.early_taken, "E for a Hello without a payload");
        let (device, generation) = (session.device, session.generation);
        self.sealed(&session.down.clone(), &Nonce::welcome(), sealed.aad, cid.as_bytes());
        self.sessions.entry(cid).or_default().push(session);
        Some(Seen { device, generation, kind: Kind::Answer })
    }

    fn open_floor(&mut self, floor: wire::Floor, sealed: &Sealed<'_>) -> Option<Seen> {
        let (device, generation, key, nonce) =
            self.hellos.get(&floor.echo)?.iter().rev().find_map(|hello| {
                let id = self.devices[hello.device].id;
                let key = self.key(hello.device, hello.generation).floor_key(id, floor.floor);
                let nonce = || Nonce::hello(hello.epoch, hello.salt);
                open(&key, nonce(), sealed)?;
                Some((hello.device, hello.generation, key, nonce()))
            })?;
        self.sealed(&key, &nonce, sealed.aad, &[]);
        Some(Seen { device, generation, kind: Kind::Answer })
    }

    fn open_reset(&mut self, reset: wire::Reset, sealed: &Sealed<'_>) -> Option<Seen> {
        let number = match reset.seq {
            Seq::One(low) => SequenceNumber::new(low.into()),
            Seq::Two(number) => number,
        };
        let (device, generation, key) = self.sessions.get(&reset.cid)?.iter().rev().find_map(|session| {
            open(&session.down, Nonce::reset(number), sealed)?;
            Some((session.device, session.generation, session.down.clone()))
        })?;
        self.sealed(&key, &Nonce::reset(number), sealed.aad, &[]);
        Some(Seen { device, generation, kind: Kind::Reset { number: number.value() } })
    }

    fn open_data(
        &mut self,
        now: Millis,
        way: Way,
        device: Option<usize>,
        data: &wire::Data,
        sealed: &Sealed<'_>,
    ) -> Option<Seen> {
        let sessions = self.sessions.get_mut(&data.cid)?.iter_mut().rev();
        let mut mine = sessions.filter(|session| device.is_none_or(|device| device == session.device));
        let (session, number, plaintext) = mine.find_map(|session| {
            let key = if way == Way::Up { &session.up } else { &session.down };
            let (number, plaintext) = numbers(data.seq, session.next[way as usize])
                .find_map(|number| Some((number, open(key, Nonce::data(number), sealed)?)))?;
            Some((session, number, plaintext))
        })?;
        let next = &mut session.next[way as usize];
        *next = (*next).max(u32::from(number.value()) + 1);
        let Session { device, generation, epoch, .. } = *session;
        let key = if way == Way::Up { session.up.clone() } else { session.down.clone() };
        if way == Way::Up {
            session.sent_at.entry(number.value()).or_insert(now);
        }
        self.sealed(&key, &Nonce::data(number), sealed.aad, &plaintext);
        let (block, payload) = match plaintext.split_first_chunk::<3>() {
            Some((block, payload)) if data.ack => (AckBlock::decode(*block), payload),
            _ => (None, &plaintext[..]),
        };
        let name = (device, epoch, Some(number.value()));
        if way == Way::Down {
            self.blocks.insert(name, block.map(|block| block.number.value()));
        }
        let payload = if data.control { Vec::new() } else { payload.to_vec() };
        self.name(way, name, payload);
        Some(Seen { device, generation, kind: Kind::Data { way, epoch, number: number.value(), block } })
    }

    fn key(&self, device: usize, generation: Generation) -> &DeviceKey {
        let mut keys = self.devices[device].keys.iter();
        &keys.find(|(known, _)| *known == generation).expect("an unknown generation").1
    }

    /// P3.
    fn sealed(&mut self, key: &AeadKey, nonce: &Nonce, aad: &[u8], plaintext: &[u8]) {
        self.opened += 1;
        let what = (aad.to_vec(), plaintext.to_vec());
        let before = self.sealings.entry((*key.expose(), *nonce.as_bytes())).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "P3: one nonce, two plaintexts");
    }

    fn name(&mut self, way: Way, name: Name, payload: Vec<u8>) {
        if way == Way::Up && !payload.is_empty() {
            assert!(self.sealed_up.insert(up_id(&payload)), "M-95: sealed twice");
        }
        self.named.entry((way, name)).or_default().push(payload);
    }

    /// The store made a Hello durable (P4, P6): never twice, whatever is restored.
    pub fn made_durable(&mut self, device: usize, epoch: Epoch) {
        assert!(self.durable.insert((device, epoch)), "P4: a second durable write for one Hello");
    }

    /// The server's application gets a payload.
    pub fn delivered_up(
        &mut self,
        id: DeviceId,
        epoch: Epoch,
        number: Option<SequenceNumber>,
        payload: &[u8],
    ) {
        let name = (self.index(id), epoch, number.map(SequenceNumber::value));
        self.deliver(Way::Up, name, payload);
        assert!(self.delivered_up.insert(up_id(payload)), "P2: delivered twice");
    }

    /// A device's application gets a payload; `truth` is asked for how old it is at the least.
    pub fn delivered_down(
        &mut self,
        device: usize,
        epoch: Epoch,
        number: SequenceNumber,
        payload: &[u8],
    ) -> Down {
        self.deliver(Way::Down, (device, epoch, Some(number.value())), payload);
        let down = Down::read(payload);
        let count = self.delivered_down.entry(down.id).or_default();
        *count += 1;
        assert!(down.idempotent || *count == 1, "P2: a command ran twice");
        down
    }

    /// A device refused a command for its age.
    pub fn refused(&mut self, device: usize, epoch: Epoch, number: SequenceNumber) -> Down {
        let name = (device, epoch, Some(number.value()));
        assert!(self.delivered.insert((Way::Down, name)), "P2: refused twice");
        let payloads = &self.named[&(Way::Down, name)];
        let down = Down::read(&payloads[0]);
        *self.delivered_down.entry(down.id).or_default() += 1;
        down
    }

    fn deliver(&mut self, way: Way, name: Name, payload: &[u8]) {
        let sealed = self.named.get(&(way, name)).expect("P1: the peer sent nothing of this name");
        assert!(sealed.iter().any(|sealed| sealed == payload), "P1: the peer sent something else");
        assert!(self.delivered.insert((way, name)), "P2: one name delivered twice");
    }

    /// When the number was first sent that the block in this command names (M-111).
    pub fn block_sent_at(&self, device: usize, epoch: Epoch, number: SequenceNumber) -> Option<Millis> {
        let named = self.blocks.get(&(device, epoch, Some(number.value()))).copied().flatten()?;
        let sessions = self.sessions.values().flatten();
        let mut of_epoch = sessions.filter(|session| session.device == device && session.epoch == epoch);
        of_epoch.find_map(|session| session.sent_at.get(&named).copied())
    }

    /// A device's application learns what became of a payload.
    pub fn outcome(&self, id: u32, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged => {
                assert!(self.delivered_up.contains(&id), "acknowledged, and not delivered");
            }
            Outcome::Unknown => assert!(self.sealed_up.contains(&id), "unknown, and never sealed"),
            Outcome::Unsent => self.never_sealed(id),
        }
    }

    /// A payload that was not taken, or was unsent.
    pub fn never_sealed(&self, id: u32) {
        assert!(!self.sealed_up.contains(&id), "not taken, or unsent, and sealed all the same");
    }

    /// The last number that a device has sent in its latest session.
    pub fn last_number_of(&self, device: usize) -> u16 {
        let sessions = self.sessions.values().flatten().filter(|session| session.device == device);
        let latest = sessions.max_by_key(|session| session.epoch).unwrap();
        *latest.sent_at.last_key_value().unwrap().0
    }

    /// By how many numbers the server has gone past the one that carries this command, in the session of this epoch.
    pub fn numbers_since(&self, device: usize, epoch: Epoch, command: CommandId) -> Option<u32> {
        let mut sessions = self.sessions.values().flatten();
        let session = sessions.find(|session| (session.device, session.epoch) == (device, epoch))?;
        (0..session.next[Way::Down as usize]).rev().find_map(|number| {
            let name = (device, epoch, u16::try_from(number).ok());
            let payload = self.named.get(&(Way::Down, name))?.first().filter(|payload| payload.len() >= 9)?;
            (Down::read(payload).id == command.0).then(|| session.next[Way::Down as usize] - number)
        })
    }

    /// Whether a command reached its device.
    pub fn has_reached(&self, command: u64) -> bool {
        self.delivered_down.contains_key(&command)
    }
}

/// What a payload to a device says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    pub id: u64,
    pub idempotent: bool,
}

impl Down {
    pub fn write(self, padding: &[u8]) -> Vec<u8> {
        let kind = if self.idempotent { b'I' } else { b'D' };
        [&[kind][..], &self.id.to_be_bytes(), padding].concat()
    }

    fn read(payload: &[u8]) -> Self {
        let id = u64::from_be_bytes(payload[1..9].try_into().unwrap());
        Self { id, idempotent: payload[0] == b'I' }
    }
}

pub fn up_payload(id: u32, padding: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), padding].concat()
}

fn up_id(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// The numbers that a seq may stand for, near `next`.
fn numbers(seq: Seq, next: u32) -> impl Iterator<Item = SequenceNumber> {
    let (low, only) = match seq {
        Seq::One(low) => (u32::from(low), None),
        Seq::Two(number) => (0, Some(u32::from(number.value()))),
    };
    let near = (next & !0xFF) + low;
    let nearby = [Some(near), near.checked_sub(0x100), Some(near + 0x100)];
    let all = if only.is_some() { [only, None, None] } else { nearby };
    all.into_iter().flatten().filter_map(|number| u16::try_from(number).ok()).map(SequenceNumber::new)
}

fn open(key: &AeadKey, nonce: Nonce, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
    let mut plaintext = sealed.ciphertext.to_vec();
    Portable::open(key, nonce, sealed.aad, &mut plaintext, sealed.tag).ok()?;
    Some(plaintext)
}
