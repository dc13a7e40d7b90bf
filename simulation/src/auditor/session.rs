//! One session as the auditor knows it: its keys, and for each number and direction what was sealed under it. A key
//! belongs to one session and direction, so this is the set of all nonces that were ever used with it (P3), compact.

use moteseal::device::Millis;

use super::crypto::{self, Key};
use super::parse::{Cid, Seq, Split};
use super::{Block, Way};
use crate::digest::digest;

/// What one number of one direction was used for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealing {
    /// The fingerprint of the datagram; 0 while nothing has left under this number.
    pub datagram: u64,
    /// The fingerprint of the payload; 0 where there is none to deliver.
    pub payload: u64,
    /// When it was first sent, by the sender's clock.
    pub at: Millis,
    /// The command, in Data to a device.
    pub command: u64,
    /// The number that the block names.
    pub block: Option<u16>,
    pub delivered: bool,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    pub epoch: u64,
    pub generation: u8,
    pub salt: [u8; 6],
    pub server_salt: [u8; 8],
    pub cid: Cid,
    /// The fingerprint of its one Welcome.
    pub welcome: u64,
    keys: [Key; 2],
    sealings: [Vec<Sealing>; 2],
    resets: Vec<(u16, Seq, u64)>,
}

/// A Data as it was opened.
pub struct Opened {
    pub number: u16,
    /// It left for the first time.
    pub is_new: bool,
    pub block: Option<Block>,
    pub payload: Vec<u8>,
}

impl Session {
    pub fn new(
        keys: (Key, Key),
        (epoch, generation): (u64, u8),
        (salt, server_salt): ([u8; 6], [u8; 8]),
        cid: Cid,
        welcome: u64,
    ) -> Self {
        let (keys, sealings) = ([keys.0, keys.1], [Vec::new(), Vec::new()]);
        let resets = Vec::new();
        Self { epoch, generation, salt, server_salt, cid, welcome, keys, sealings, resets }
    }

    pub const fn key(&self, way: Way) -> &Key {
        &self.keys[way as usize]
    }

    pub fn sealing(&self, way: Way, number: u16) -> Option<&Sealing> {
        self.sealings[way as usize].get(usize::from(number)).filter(|sealing| sealing.datagram != 0)
    }

    pub fn sealing_mut(&mut self, way: Way, number: u16) -> Option<&mut Sealing> {
        let sealing = self.sealings[way as usize].get_mut(usize::from(number));
        sealing.filter(|sealing| sealing.datagram != 0)
    }

    /// One past the highest number that has left.
    pub const fn next(&self, way: Way) -> usize {
        self.sealings[way as usize].len()
    }

    /// Opens a Data that leaves, under the number that it must stand for. One that left before must be the same, bit
    /// by bit: nothing else may be sealed under its nonce (P3).
    pub fn open(&mut self, way: Way, seq: Seq, ack: bool, split: &Split<'_>, bytes: &[u8]) -> Option<Opened> {
        let fingerprint = digest(bytes);
        let (number, plaintext) = self.numbers(way, seq).into_iter().flatten().find_map(|number| {
            let nonce = crypto::nonce(2, number);
            Some((number, crypto::open(self.key(way), nonce, split.aad, split.sealed)?))
        })?;
        let place = usize::from(number);
        let sealings = &mut self.sealings[way as usize];
        if place >= sealings.len() {
            sealings.resize_with(place + 1, Sealing::default);
        }
        let sealing = &mut sealings[place];
        let is_new = sealing.datagram == 0;
        assert!(
            is_new || sealing.datagram == fingerprint,
            "P3: two Data under one nonce, number {number} {way:?}"
        );
        sealing.datagram = fingerprint;
        let (block, payload) = match plaintext.split_first_chunk::<3>() {
            Some(([high, low, before], payload)) if ack => {
                (Some(Block { number: u16::from_be_bytes([*high, *low]), before: *before }), payload)
            }
            _ => (None, &plaintext[..]),
        };
        let payload = payload.to_vec();
        Some(Opened { number, is_new, block, payload })
    }

    /// Opens a Reset that leaves: a Data of this number was sent, and no other Reset has its nonce (P3).
    pub fn open_reset(&mut self, seq: Seq, split: &Split<'_>, bytes: &[u8], stolen: bool) -> Option<u16> {
        // A server without counters reads one byte as the number itself (M-75).
        let number = match seq {
            Seq::One(low) => low.into(),
            Seq::Two(number) => number,
        };
        crypto::open(self.key(Way::Down), crypto::nonce(3, number), split.aad, split.sealed)?;
        let is_known = stolen || self.sealing(Way::Up, number).is_some();
        assert!(is_known, "a Reset for number {number}, which was never sent");
        let fingerprint = digest(bytes);
        for (_, known, sealed) in self.resets.iter().filter(|(known, ..)| *known == number) {
            // A thief seals one number with one byte and with two, and has the key of both answers anyway.
            let is_allowed = stolen && *known != seq;
            assert!(is_allowed || *sealed == fingerprint, "P3: two Resets under one nonce");
        }
        if !self.resets.iter().any(|(known, form, _)| (*known, *form) == (number, seq)) {
            self.resets.push((number, seq, fingerprint));
        }
        Some(number)
    }

    /// The numbers that a seq may stand for.
    fn numbers(&self, way: Way, seq: Seq) -> [Option<u16>; 3] {
        match seq {
            Seq::Two(number) => [Some(number), None, None],
            Seq::One(low) => {
                let near = (self.next(way) & !0xFF) + usize::from(low);
                [Some(near), near.checked_sub(0x100), Some(near + 0x100)]
                    .map(|number| number.and_then(|number| u16::try_from(number).ok()))
            }
        }
    }
}
