//! A server that holds the keys and keeps no rule: whatever a tape says, sealed under the right key. It remembers what
//! each datagram of its is, so that the model need not open one.

use std::collections::HashMap;

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, SessionKeys};
use moteseal::number::{ConnectionId, Epoch, Generation, Salt, SequenceNumber, ServerSalt};
use moteseal::wire::{Data, Floor, Header, Reset, Seq, Welcome};

use super::board::ID;
use crate::tape::Tape;

/// A Hello that left the device.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its salt.
    pub salt: Salt,
    /// The generation of its key.
    pub generation: Generation,
    /// That key.
    pub key: DeviceKey,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What a datagram of the server is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Answers the Hello of this number.
    Welcome { hello: usize, server_salt: ServerSalt, early_taken: bool, inside: Vec<u8> },
    /// Answers the Hello of this number.
    Floor { hello: usize, floor: Epoch },
    /// Under the session of this number.
    Data { session: usize, number: u16, text: Vec<u8> },
    /// Under the session of this number.
    Reset { session: usize, number: u16 },
}

/// Everything that was sent to the device.
#[derive(Debug, Default)]
pub struct Peer {
    /// What each datagram is.
    pub known: HashMap<Vec<u8>, Kind>,
    /// In order, for replays.
    pub recorded: Vec<Vec<u8>>,
}

impl Peer {
    fn record(&mut self, bytes: Vec<u8>, kind: Kind) -> Vec<u8> {
        self.known.insert(bytes.clone(), kind);
        self.recorded.push(bytes.clone());
        bytes
    }

    /// A Welcome for this Hello; what is inside may be no connection id.
    pub fn welcome(&mut self, tape: &mut Tape<'_>, at: usize, hello: &Hello) -> Vec<u8> {
        let (bits, server_salt) = (tape.u8(), ServerSalt([tape.u8(); 8]));
        let inside = match bits & 3 {
            0 => {
                let len = usize::from(tape.below(4)) + 1;
                tape.take(len).to_vec()
            }
            _ => ConnectionId::new(1 + (bits >> 6), u32::from(bits & 0x3C))
                .expect("it fits")
                .as_bytes()
                .to_vec(),
        };
        let inside = if inside.is_empty() { vec![0xFF] } else { inside };
        let early_taken = !hello.payload.is_empty() ^ (bits & 0x1C == 0x1C);
        let header = Welcome { early_taken, echo: hello.salt.echo(), server_salt };
        let keys = hello.key.session_keys(ID, hello.epoch, hello.salt, server_salt);
        let bytes = seal(&keys.down, Nonce::welcome(), Header::Welcome(header), &inside);
        self.record(bytes, Kind::Welcome { hello: at, server_salt, early_taken, inside })
    }

    /// A Floor for this Hello, near it or anywhere.
    pub fn floor(&mut self, tape: &mut Tape<'_>, at: usize, hello: &Hello) -> Vec<u8> {
        let floor = match tape.below(4) {
            0 => Epoch::from_bytes(tape.array()),
            1 => Epoch::new(hello.epoch.boot().wrapping_add(u32::from(tape.u8())), tape.u16()),
            2 => Epoch::new(tape.pick(&[0xFEFF_FFFE, 0xFEFF_FFFF, 0xFF00_0000, u32::MAX]), tape.u16()),
            _ => Epoch::new(hello.epoch.boot(), hello.epoch.count().wrapping_add(tape.u8().into())),
        };
        let header = Header::Floor(Floor { echo: hello.salt.echo(), floor });
        let nonce = Nonce::hello(hello.epoch, hello.salt);
        let bytes = seal(&hello.key.floor_key(ID, floor), nonce, header, &[]);
        self.record(bytes, Kind::Floor { hello: at, floor })
    }

    /// A Data of any bits, number and content.
    pub fn data(
        &mut self,
        tape: &mut Tape<'_>,
        session: usize,
        (keys, cid): (&SessionKeys, ConnectionId),
        (highest, next): (Option<u16>, u32),
        (generation, rotation_key): (Generation, &RotationKey),
    ) -> Vec<u8> {
        let bits = tape.u8();
        let (confirm, ack, mut control) = (bits & 1 != 0, bits & 2 != 0, bits & 0xC == 0xC);
        let number = tape.number(highest);
        let [_, low] = number.to_be_bytes();
        let two = confirm || bits & 16 != 0;
        let seq = if two { Seq::Two(SequenceNumber::new(number)) } else { Seq::One(low) };
        let mut text = Vec::new();
        if ack {
            let newest = u16::try_from(next.min(0x1_0000)).unwrap_or(u16::MAX);
            let named = newest.wrapping_sub(1 + u16::from(tape.near()));
            text.extend(named.to_be_bytes());
            text.push(tape.u8());
        }
        match bits >> 5 {
            0 => {
                control = true;
                text.extend(rotate(tape, generation, rotation_key));
            }
            1 => text = tape.bytes(40).to_vec(),
            _ => text.extend(tape.bytes(30)),
        }
        let header = Data { cid, seq, confirm, ack, control };
        let bytes = seal(&keys.down, Nonce::data(SequenceNumber::new(number)), Header::Data(header), &text);
        self.record(bytes, Kind::Data { session, number, text })
    }

    /// A Reset for any number.
    pub fn reset(
        &mut self,
        tape: &mut Tape<'_>,
        session: usize,
        (keys, cid): (&SessionKeys, ConnectionId),
        next: u32,
    ) -> Vec<u8> {
        let (bits, back) = (tape.u8(), u16::from(tape.near()));
        let number = u16::try_from(next & 0xFFFF).unwrap_or(0).wrapping_sub(back);
        let [_, low] = number.to_be_bytes();
        let seq = if bits & 1 == 0 { Seq::Two(SequenceNumber::new(number)) } else { Seq::One(low) };
        let nonce = Nonce::reset(SequenceNumber::new(number));
        let bytes = seal(&keys.down, nonce, Header::Reset(Reset { cid, seq }), &[]);
        self.record(bytes, Kind::Reset { session, number })
    }

    /// Something that was sent before, as it was or changed; or junk.
    pub fn again(&self, tape: &mut Tape<'_>) -> Vec<u8> {
        let bits = tape.u8();
        if self.recorded.is_empty() || bits < 40 {
            return tape.bytes(64).to_vec();
        }
        // What was sent last, or long ago.
        let back = if bits & 4 == 0 { usize::from(tape.near()) } else { usize::from(tape.u16()) };
        let mut bytes = self.recorded[self.recorded.len() - 1 - back % self.recorded.len()].clone();
        if bits >= 160 {
            let at = tape.place(bytes.len());
            match bits & 3 {
                0 => bytes.truncate(at),
                1 => bytes.extend(tape.bytes(8)),
                _ => bytes[at] ^= tape.u8(),
            }
        }
        bytes
    }
}

/// A *rotate*, of the next generation and with a secret that proves itself, or not.
fn rotate(tape: &mut Tape<'_>, own: Generation, rotation_key: &RotationKey) -> Vec<u8> {
    let bits = tape.u8();
    let generation = if bits & 7 == 0 { tape.u8() } else { own.number().wrapping_add(1) };
    let proven = Generation::new(generation).unwrap_or(own);
    let secret = rotation_key.rotation_secret(proven, ID, &[tape.u8(); 16]);
    let mut message = vec![1, generation];
    message.extend(secret.expose());
    if bits & 0x38 == 0x38 {
        let at = tape.place(message.len());
        message[at] ^= 1;
    }
    if bits & 0xC0 == 0xC0 {
        message.truncate(tape.place(34));
    }
    message
}

/// A datagram of this header under this key.
pub fn seal(key: &AeadKey, nonce: Nonce, header: Header, text: &[u8]) -> Vec<u8> {
    let mut datagram = header.encode().as_bytes().to_vec();
    let aad = datagram.clone();
    let aad = if matches!(header, Header::Hello(_)) { &aad[..9] } else { &aad[..] };
    let mut text = text.to_vec();
    let tag = Portable::seal(key, nonce, aad, &mut text);
    datagram.extend(text);
    datagram.extend(tag);
    datagram
}
