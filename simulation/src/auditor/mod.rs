//! The auditor knows every device key and sees every datagram that leaves either half, every payload that is handed to
//! an application, and every word that is told. It believes nothing else, and shares no code with the halves: it has its
//! own parser, key schedule and cipher. It opens each datagram itself:
//!
//! * P1, P2: what is delivered is what was sealed under that very name, once.
//! * P3: a pair of key and nonce has one pair of associated data and plaintext, over all time.
//! * P8: nothing is sealed under a key that a rotation has erased.
//! * Outcomes: *acknowledged* was delivered, *unsent* was never sealed; one word each.
//!
//! A device whose key was stolen is exempt where the thief can speak in its name. All others are not (P7).

pub mod crypto;
pub mod parse;
mod payloads;
pub mod session;

use moteseal::device::Millis;

use crate::digest::{Map, Set, digest};
use crypto::{DeviceId, Key};
use parse::{Parsed, Split, parse};
use payloads::Bits;
pub use payloads::{Down, up_id, up_payload};
use session::{Opened, Session};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Up,
    Down,
}

/// An ack block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub number: u16,
    pub before: u8,
}

impl Block {
    /// The numbers that it states.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        let before = (0..8).filter(move |bit| self.before >> bit & 1 == 1);
        std::iter::once(self.number).chain(before.filter_map(move |bit| self.number.checked_sub(bit + 1)))
    }
}

/// What the auditor found a datagram to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub device: usize,
    pub kind: Kind,
    /// A thief has made it with a stolen key.
    pub by_thief: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello { epoch: u64, salt: [u8; 6], generation: u8, payload_len: usize },
    Welcome { epoch: u64 },
    Floor { floor: u64 },
    Up { epoch: u64, number: u16, block: Option<Block> },
    Down { epoch: u64, number: u16, block: Option<Block>, control: bool },
    Reset { epoch: u64, number: u16 },
}

/// A device, and all that was ever made under its keys.
#[derive(Debug, Default)]
struct Owner {
    id: DeviceId,
    /// The key of generation 1, 2 and so on, and the key of its Hellos.
    keys: Vec<(Key, Key)>,
    /// Generations below this one are erased for good.
    oldest: u8,
    /// Somebody has a copy of a key that is in use.
    stolen: bool,
    /// By generation and nonce: the fingerprint of the Hello.
    hellos: Map<(u8, crypto::Nonce), u64>,
    /// Fingerprints of early data by epoch. A rolled-back device may use a name twice; one of the two is delivered.
    early: Map<u64, Vec<u64>>,
    early_delivered: Set<u64>,
    /// Epochs of Hellos that a store has ever made durable: once each, over all restores.
    durable: Set<u64>,
    newest: u64,
    /// Epochs of sessions that were written down as confirmed.
    confirmed: Set<u64>,
    sessions: Vec<Session>,
}

#[derive(Debug, Default)]
pub struct Auditor {
    owners: Vec<Owner>,
    by_id: Map<DeviceId, usize>,
    sealed_up: Bits,
    delivered_up: Bits,
    delivered_down: Bits,
    /// Commands that may be sealed once only.
    sealed_down: Bits,
    /// How many datagrams were opened.
    pub opened: u64,
}

impl Auditor {
    pub fn provision(&mut self, id: DeviceId, key: Key) {
        self.by_id.insert(id, self.owners.len());
        let keys = vec![(key, crypto::hello_key(&key, id))];
        self.owners.push(Owner { id, keys, oldest: 1, ..Owner::default() });
    }

    pub fn index(&self, id: DeviceId) -> usize {
        self.by_id[&id]
    }

    /// A rotation to this key was begun.
    pub fn next_key(&mut self, device: usize, generation: u8, key: &Key) {
        let owner = &mut self.owners[device];
        if let Some((known, _)) = owner.keys.get(usize::from(generation) - 1) {
            assert!(known == key, "M-117: two keys of one generation");
        } else {
            assert_eq!(owner.keys.len() + 1, usize::from(generation), "a generation was left out");
            owner.keys.push((*key, crypto::hello_key(key, owner.id)));
        }
    }

    /// The keys before this generation are erased: nothing is sealed or opened under them any more (P8).
    pub fn finished(&mut self, device: usize, generation: u8) {
        let oldest = &mut self.owners[device].oldest;
        *oldest = (*oldest).max(generation);
    }

    /// A key that was erased, for the thief who kept it.
    pub fn erased_key(&self, device: usize) -> Option<(u8, Key)> {
        let owner = &self.owners[device];
        let generation = owner.oldest.checked_sub(1).filter(|generation| *generation > 0)?;
        Some((generation, owner.keys[usize::from(generation) - 1].0))
    }

    /// The key that is in service, for somebody who takes the device apart.
    pub fn steal(&mut self, device: usize) -> (u8, Key) {
        let owner = &mut self.owners[device];
        owner.stolen = true;
        (owner.oldest, owner.keys[usize::from(owner.oldest) - 1].0)
    }

    /// The thief offers his victim a session.
    pub fn forged_welcome(
        &mut self,
        device: usize,
        keys: (Key, Key),
        (epoch, generation): (u64, u8),
        salts: ([u8; 6], [u8; 8]),
        bytes: &[u8],
    ) {
        let cid = parse::cid(&[0x7F, 0xFF]).unwrap();
        let session = Session::new(keys, (epoch, generation), salts, cid, digest(bytes));
        self.owners[device].sessions.push(session);
    }

    pub fn is_stolen(&self, device: usize) -> bool {
        self.owners[device].stolen
    }

    /// The latest session of a device, for the thief of its key: epoch, connection id, key down.
    pub fn latest_session(&self, device: usize) -> Option<&Session> {
        self.owners[device].sessions.last()
    }

    /// A datagram leaves a device, at this time by its clock.
    pub fn left_device(&mut self, now: Millis, device: usize, bytes: &[u8]) -> Origin {
        self.opened += 1;
        let split = parse(bytes).unwrap_or_else(|| panic!("M-8: no datagram: {bytes:02x?}"));
        let owner = &mut self.owners[device];
        let kind = match split.parsed {
            Parsed::Hello { bits, id, epoch, salt } => {
                assert_eq!(id, owner.id, "a Hello in another's name");
                owner.open_hello(bits, epoch, salt, &split, bytes, &mut self.sealed_up)
            }
            Parsed::Data { cid, seq, ack, control } => {
                let sessions = owner.sessions.iter_mut().rev().filter(|session| session.cid == cid);
                let mut opened = sessions.map(|session| {
                    let opened = session.open(Way::Up, seq, ack, &split, bytes)?;
                    Some(note_up(session, now, opened, control, &mut self.sealed_up))
                });
                opened.find_map(|kind| kind)
            }
            other => panic!("a device sends {other:?}"),
        };
        let kind =
            kind.unwrap_or_else(|| panic!("P3, P8: opens under no key of device {device}: {bytes:02x?}"));
        Origin { device, kind, by_thief: false }
    }

    /// A datagram leaves a gateway, which knows of the keys below `oldest` that they are erased, for this device; it
    /// answers this Hello, if it answers one.
    pub fn left_gateway(
        &mut self,
        now: Millis,
        (device, oldest): (usize, u8),
        hello: Option<Origin>,
        bytes: &[u8],
    ) -> Origin {
        self.opened += 1;
        let split = parse(bytes).unwrap_or_else(|| panic!("M-8: no datagram: {bytes:02x?}"));
        let owner = &mut self.owners[device];
        let found = match split.parsed {
            Parsed::Welcome { early, echo, server_salt } => {
                owner.open_welcome(hello, (early, echo, server_salt), &split, bytes)
            }
            Parsed::Floor { echo, floor } => owner.open_floor(hello, echo, floor, &split),
            Parsed::Data { cid, seq, ack, control } => {
                let sessions = owner.sessions.iter_mut().rev().filter(|session| session.cid == cid);
                let mut opened = sessions.map(|session| {
                    let opened = session.open(Way::Down, seq, ack, &split, bytes)?;
                    let sealed_down = &mut self.sealed_down;
                    Some((session.generation, note_down(session, now, opened, control, sealed_down)))
                });
                opened.find_map(|kind| kind)
            }
            Parsed::Reset { cid, seq } => {
                let stolen = owner.stolen;
                let sessions = owner.sessions.iter_mut().rev().filter(|session| session.cid == cid);
                let mut opened = sessions.map(|session| {
                    let number = session.open_reset(seq, &split, bytes, stolen)?;
                    Some((session.generation, Kind::Reset { epoch: session.epoch, number }))
                });
                opened.find_map(|kind| kind)
            }
            Parsed::Hello { .. } => panic!("a gateway sends a Hello"),
        };
        let (generation, kind) =
            found.unwrap_or_else(|| panic!("P3, P8: opens under no key of device {device}: {bytes:02x?}"));
        assert!(generation >= oldest, "P8: sealed under an erased key");
        Origin { device, kind, by_thief: false }
    }
}

impl Owner {
    fn open_hello(
        &mut self,
        bits: u8,
        epoch: u64,
        salt: [u8; 6],
        split: &Split<'_>,
        bytes: &[u8],
        sealed_up: &mut Bits,
    ) -> Option<Kind> {
        let nonce = crypto::hello_nonce(epoch, salt);
        let generations = (1..=u8::try_from(self.keys.len()).unwrap()).rev();
        let (generation, plaintext) =
            generations.filter(|generation| generation & 3 == bits).find_map(|generation| {
                let key = &self.keys[usize::from(generation) - 1].1;
                Some((generation, crypto::open(key, nonce, split.aad, split.sealed)?))
            })?;
        let fingerprint = digest(bytes);
        let known = *self.hellos.entry((generation, nonce)).or_insert(fingerprint);
        assert!(known == fingerprint || self.stolen, "P3: two Hellos under one nonce");
        let payload_len = plaintext.len();
        if payload_len > 0 {
            let payloads = self.early.entry(epoch).or_default();
            if !payloads.contains(&digest(&plaintext)) {
                payloads.push(digest(&plaintext));
                assert!(sealed_up.insert(up_id(&plaintext).into()), "M-95: sealed twice");
            }
        }
        Some(Kind::Hello { epoch, salt, generation, payload_len })
    }

    fn open_welcome(
        &mut self,
        hello: Option<Origin>,
        (early, echo, server_salt): (bool, [u8; 2], [u8; 8]),
        split: &Split<'_>,
        bytes: &[u8],
    ) -> Option<(u8, Kind)> {
        let Kind::Hello { epoch, salt, generation, .. } = hello?.kind else { return None };
        assert_eq!(echo, salt[..2], "M-9");
        let fingerprint = digest(bytes);
        let mut of_hello = self.sessions.iter().filter(|session| session.epoch == epoch);
        if let Some(same) =
            of_hello.find(|session| session.server_salt == server_salt && session.salt == salt)
        {
            assert_eq!(same.welcome, fingerprint, "P3: two Welcomes under one key");
            return Some((generation, Kind::Welcome { epoch }));
        }
        let device_key = &self.keys[usize::from(generation) - 1].0;
        let keys = crypto::session_keys(device_key, self.id, epoch, salt, server_salt);
        let plaintext = crypto::open(&keys.1, crypto::nonce(1, 0), split.aad, split.sealed)?;
        let cid = parse::cid(&plaintext).filter(|cid| cid.1 == plaintext.len())?;
        let has_payload = self.early.get(&epoch).is_some_and(|payloads| !payloads.is_empty());
        assert!(has_payload || !early || self.stolen, "M-58: E for a Hello without a payload");
        let salts = (salt, server_salt);
        self.sessions.push(Session::new(keys, (epoch, generation), salts, cid, fingerprint));
        Some((generation, Kind::Welcome { epoch }))
    }

    /// Key and nonce of a Floor leave nothing else to say, so it is the same at every time (M-59).
    fn open_floor(
        &self,
        hello: Option<Origin>,
        echo: [u8; 2],
        floor: u64,
        split: &Split<'_>,
    ) -> Option<(u8, Kind)> {
        let Kind::Hello { epoch, salt, generation, .. } = hello?.kind else { return None };
        assert_eq!(echo, salt[..2], "M-9");
        assert!(floor >> 16 < 0xFEFF_FFFF, "M-39: a floor of {floor:012x}");
        let key = crypto::floor_key(&self.keys[usize::from(generation) - 1].0, self.id, floor);
        crypto::open(&key, crypto::hello_nonce(epoch, salt), split.aad, split.sealed)?;
        Some((generation, Kind::Floor { floor }))
    }
}

fn note_up(session: &mut Session, now: Millis, opened: Opened, control: bool, sealed_up: &mut Bits) -> Kind {
    let Opened { number, is_new, block, payload } = opened;
    let epoch = session.epoch;
    if is_new {
        let sealing = session.sealing_mut(Way::Up, number).unwrap();
        sealing.at = now;
        if !control && !payload.is_empty() {
            sealing.payload = digest(&payload);
            assert!(sealed_up.insert(up_id(&payload).into()), "M-95: sealed twice");
        }
    }
    Kind::Up { epoch, number, block }
}

fn note_down(
    session: &mut Session,
    now: Millis,
    opened: Opened,
    control: bool,
    sealed_down: &mut Bits,
) -> Kind {
    let Opened { number, is_new, block, payload } = opened;
    let epoch = session.epoch;
    if is_new {
        let sealing = session.sealing_mut(Way::Down, number).unwrap();
        (sealing.at, sealing.block) = (now, block.map(|block| block.number));
        if !control && !payload.is_empty() {
            sealing.payload = digest(&payload);
            let Down { id, idempotent } = Down::read(&payload);
            sealing.command = id;
            assert!(idempotent || sealed_down.insert(id), "M-95: a command is sealed twice");
        }
    }
    Kind::Down { epoch, number, block, control }
}
