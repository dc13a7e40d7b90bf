//! Three devices that hold their keys and keep no rule: any Hello, any Data, as a tape says. What each datagram is is
//! remembered, so that the model need not open one.

use std::collections::HashMap;

use moteseal::aead::Nonce;
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Salt, SequenceNumber};
use moteseal::wire::{Data, Header, Hello, Seq};

use crate::device::seal;
use crate::tape::Tape;

/// How many devices there are.
pub const DEVICES: u8 = 3;

/// A session that a server offered.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Its keys.
    pub keys: SessionKeys,
    /// Its connection id.
    pub cid: ConnectionId,
}

/// What a datagram of a device is.
#[derive(Clone, Debug)]
pub enum Up {
    /// With this payload.
    Hello { payload: Vec<u8> },
    /// Under the session of this number.
    Data { session: usize, number: u16, text: Vec<u8> },
}

/// Everything that was sent to the server.
#[derive(Debug, Default)]
pub struct Fleet {
    /// What each datagram is.
    pub known: HashMap<Vec<u8>, Up>,
    recorded: Vec<Vec<u8>>,
    /// In the order in which they were offered.
    pub sessions: Vec<Offered>,
}

/// The name of a device.
pub fn id(device: u8) -> DeviceId {
    DeviceId::new([device; 8])
}

/// Its key.
pub fn key(device: u8) -> DeviceKey {
    DeviceKey::new([device + 0x10; 32])
}

impl Fleet {
    fn record(&mut self, bytes: Vec<u8>, what: Up) -> Vec<u8> {
        self.known.insert(bytes.clone(), what);
        self.recorded.push(bytes.clone());
        bytes
    }

    /// A Hello near the newest epoch that the server knows, or anywhere.
    pub fn hello(&mut self, tape: &mut Tape<'_>, device: u8, newest: Epoch) -> Vec<u8> {
        let epoch = match tape.below(8) {
            0 => Epoch::from_bytes(tape.array()),
            1 => Epoch::new(tape.pick(&[0xFEFF_FFFE, 0xFEFF_FFFF, 0xFF00_0000, u32::MAX]), tape.u8().into()),
            2 => Epoch::new(newest.boot().wrapping_add(u32::from(tape.u8())), tape.u8().into()),
            3 => newest,
            4 | 5 => Epoch::new(newest.boot().wrapping_add(1), 0),
            _ => {
                let value = newest.value().saturating_add_signed(i64::from(tape.u8()) - 40);
                let [_, _, bytes @ ..] = value.min((1 << 48) - 1).to_be_bytes();
                Epoch::from_bytes(bytes)
            }
        };
        let (salt, bits) = (Salt([tape.below(4) + 1; 6]), tape.u8());
        let generation_bits = if bits & 0xF0 == 0xF0 { bits & 3 } else { 1 };
        let payload = if bits & 4 == 0 { tape.bytes(20).to_vec() } else { Vec::new() };
        let header = Hello { generation_bits, device_id: id(device), epoch, salt };
        let nonce = Nonce::hello(epoch, salt);
        let bytes = seal(&key(device).hello_key(id(device)), nonce, Header::Hello(header), &payload);
        if generation_bits != 1 {
            // Of a generation that nobody has.
            return bytes;
        }
        self.record(bytes, Up::Hello { payload })
    }

    /// A Data of any bits, number and content in one of the sessions, mostly the newest.
    pub fn data(
        &mut self,
        tape: &mut Tape<'_>,
        numbers: impl Fn(usize) -> (Option<u16>, u32),
    ) -> Option<Vec<u8>> {
        let back = tape.u8();
        let back = if back < 200 { usize::from(back & 3) } else { usize::from(back) };
        let session = self.sessions.len().checked_sub(1)?.saturating_sub(back);
        let (highest, next) = numbers(session);
        let Offered { keys, cid, .. } = self.sessions[session].clone();
        let bits = tape.u8();
        let (confirm, ack, control) = (bits & 1 != 0, bits & 2 != 0, bits & 0xC == 0xC);
        let number = tape.number(highest);
        let [_, low] = number.to_be_bytes();
        let two = confirm || bits & 16 != 0;
        let seq = if two { Seq::Two(SequenceNumber::new(number)) } else { Seq::One(low) };
        let mut text = Vec::new();
        if ack {
            let newest = u16::try_from(next.min(0x1_0000)).unwrap_or(u16::MAX);
            text.extend(newest.wrapping_sub(1 + u16::from(tape.near())).to_be_bytes());
            text.push(tape.u8());
        }
        match bits >> 5 {
            0 if control => text.extend([2]),
            1 if control => text.extend([3, 0, 0, 0, tape.u8()]),
            2 => text = tape.bytes(20).to_vec(),
            _ => text.extend(tape.bytes(20)),
        }
        let header = Data { cid, seq, confirm, ack, control };
        let bytes = seal(&keys.up, Nonce::data(SequenceNumber::new(number)), Header::Data(header), &text);
        Some(self.record(bytes, Up::Data { session, number, text }))
    }

    /// Something that was sent before, as it was or changed; or junk.
    pub fn again(&self, tape: &mut Tape<'_>) -> Vec<u8> {
        let bits = tape.u8();
        if self.recorded.is_empty() || bits < 30 {
            return tape.bytes(64).to_vec();
        }
        // What was sent last, or long ago.
        let back = if bits & 4 == 0 { usize::from(tape.near()) } else { usize::from(tape.u16()) };
        let mut bytes = self.recorded[self.recorded.len() - 1 - back % self.recorded.len()].clone();
        if bits >= 180 {
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
