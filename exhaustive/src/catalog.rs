//! Everything that was ever sent or sealed in any branch of an exploration, each thing once, under a small number. A
//! set of datagrams, such as what the attacker knows, is a list of such numbers.

use std::collections::HashMap;
use std::fmt::Write as _;

use moteseal::keys::DeviceKey;
use moteseal::number::{Epoch, SequenceNumber};
use moteseal::wire::{ACK_BLOCK_LEN, AckBlock, Header, Seq, Unverified};

use crate::toy::Seal;

/// The number of a datagram.
pub type DatagramId = u16;
/// The number of a seal.
pub type SealId = u16;

/// Which way a payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the device.
    Up,
    /// From the server.
    Down,
}

/// A payload of the application, each with bytes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Payload {
    /// Which way it goes.
    pub way: Way,
    /// Which of that way.
    pub index: u8,
}

impl Payload {
    /// Its bytes.
    pub const fn bytes(self) -> [u8; 2] {
        [if matches!(self.way, Way::Up) { b'u' } else { b'd' }, b'0' + self.index]
    }

    /// The payload with these bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (way, index) = match bytes {
            [b'u', index] => (Way::Up, index),
            [b'd', index] => (Way::Down, index),
            _ => return None,
        };
        Some(Self { way, index: index.checked_sub(b'0')? })
    }
}

/// What names a payload for good (M-105): the epoch, and in a Data the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The epoch of the Hello, or of the session.
    pub epoch: Epoch,
    /// The number of the Data.
    pub number: Option<SequenceNumber>,
}

/// A seal as far as the properties need it.
#[derive(Clone, Debug)]
pub struct SealFacts {
    /// One number for each pair of key and nonce.
    pub place: u16,
    /// The payload that was sealed, and in a Hello its epoch, in a Data its number.
    pub payload: Option<(Payload, Option<Epoch>, Option<SequenceNumber>)>,
    /// The numbers that it acknowledges.
    pub acknowledges: Vec<u16>,
}

/// The catalog.
#[derive(Debug, Default)]
pub struct Catalog {
    datagrams: Vec<Vec<u8>>,
    datagram_ids: HashMap<Vec<u8>, DatagramId>,
    seals: Vec<SealFacts>,
    seal_ids: HashMap<Seal, SealId>,
    places: HashMap<([u8; 32], [u8; 12]), u16>,
    /// The keys that the true server has made.
    pub genuine_keys: Vec<DeviceKey>,
}

fn small(number: usize) -> u16 {
    u16::try_from(number).expect("an exploration has fewer than 65,536 datagrams")
}

impl Catalog {
    /// An empty one, for a server that has made these keys.
    pub fn with_keys(keys: &[DeviceKey]) -> Self {
        Self { genuine_keys: keys.to_vec(), ..Self::default() }
    }

    /// The number of a datagram.
    pub fn datagram(&mut self, bytes: &[u8]) -> DatagramId {
        if let Some(id) = self.datagram_ids.get(bytes) {
            return *id;
        }
        let id = small(self.datagrams.len());
        self.datagrams.push(bytes.to_vec());
        self.datagram_ids.insert(bytes.to_vec(), id);
        id
    }

    /// The bytes of a datagram.
    pub fn bytes(&self, id: DatagramId) -> &[u8] {
        &self.datagrams[usize::from(id)]
    }

    /// Its header.
    pub fn header(&self, id: DatagramId) -> Option<Header> {
        Unverified::parse(&mut self.bytes(id).to_vec()).ok().map(|datagram| datagram.header)
    }

    /// How many datagrams there are.
    pub const fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// The number of a seal.
    pub fn seal(&mut self, seal: Seal) -> SealId {
        if let Some(id) = self.seal_ids.get(&seal) {
            return *id;
        }
        let id = small(self.seals.len());
        let next = small(self.places.len());
        let place = *self.places.entry((seal.key, seal.nonce)).or_insert(next);
        self.seals.push(read(&seal, place));
        self.seal_ids.insert(seal, id);
        id
    }

    /// What is known of a seal.
    pub fn facts(&self, id: SealId) -> &SealFacts {
        &self.seals[usize::from(id)]
    }

    /// A datagram for people.
    pub fn describe(&self, id: DatagramId) -> String {
        let bytes = self.bytes(id);
        let mut copy = bytes.to_vec();
        let Ok(Unverified { header, sealed }) = Unverified::parse(&mut copy) else {
            return format!("#{id} {bytes:02x?}");
        };
        let mut text = format!("#{id} ");
        let text_of = |plaintext: &[u8]| match Payload::read(plaintext) {
            Some(payload) => format!(" \"{}\"", String::from_utf8_lossy(&payload.bytes())),
            None if plaintext.is_empty() => String::new(),
            None => format!(" {plaintext:02x?}"),
        };
        let number = |seq: Seq| match seq {
            Seq::One(low) => format!("{low} in one byte"),
            Seq::Two(number) => number.value().to_string(),
        };
        let _ = match header {
            Header::Hello(hello) => write!(
                text,
                "Hello({}, generation {}, salt ..{:02x}){}",
                hello.epoch,
                hello.generation_bits,
                hello.salt.0[5],
                text_of(sealed.ciphertext)
            ),
            Header::Welcome(welcome) => write!(
                text,
                "Welcome(E = {}, server_salt ..{:02x}, cid {:02x?})",
                u8::from(welcome.early_taken),
                welcome.server_salt.0[7],
                sealed.ciphertext
            ),
            Header::Floor(floor) => write!(text, "Floor({})", floor.floor),
            Header::Data(data) => {
                let (block, rest) = sealed.ciphertext.split_at(if data.ack {
                    ACK_BLOCK_LEN.min(sealed.ciphertext.len())
                } else {
                    0
                });
                let _ = write!(text, "Data(cid {}, {}", data.cid, number(data.seq));
                for (is_set, name) in [(data.confirm, "C"), (data.ack, "A"), (data.control, "K")] {
                    if is_set {
                        let _ = write!(text, ", {name}");
                    }
                }
                if data.ack {
                    let _ = write!(text, " acknowledging {:?}", acknowledged(block));
                }
                write!(text, "){}", text_of(rest))
            }
            Header::Reset(reset) => write!(text, "Reset(cid {}, {})", reset.cid, number(reset.seq)),
        };
        text
    }
}

fn acknowledged(block: &[u8]) -> Vec<u16> {
    let block = block.first_chunk().and_then(|block| AckBlock::decode(*block));
    block.into_iter().flat_map(AckBlock::numbers).map(SequenceNumber::value).collect()
}

/// Takes a seal apart by its associated data, which start with the first byte of the datagram (SPEC 4.1).
fn read(seal: &Seal, place: u16) -> SealFacts {
    let flags = seal.aad.first().copied().unwrap_or(0);
    let mut facts = SealFacts { place, payload: None, acknowledges: Vec::new() };
    let n = seal.nonce;
    match flags & 0b0011_0000 {
        0 => {
            let epoch = Epoch::from_bytes([n[0], n[1], n[2], n[3], n[4], n[5]]);
            facts.payload = Payload::read(&seal.plaintext).map(|payload| (payload, Some(epoch), None));
        }
        0b10_0000 => {
            let number = SequenceNumber::new(u16::from_be_bytes([n[10], n[11]]));
            let has_ack = flags & 0b10 != 0 && seal.plaintext.len() >= ACK_BLOCK_LEN;
            let (block, rest) = seal.plaintext.split_at(if has_ack { ACK_BLOCK_LEN } else { 0 });
            facts.acknowledges = acknowledged(block);
            if flags & 1 == 0 {
                facts.payload = Payload::read(rest).map(|payload| (payload, None, Some(number)));
            }
        }
        _ => {}
    }
    facts
}
