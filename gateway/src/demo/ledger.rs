//! The ledger of everything that was ever sealed: it opens each datagram that a device or the gateway sends,
//! before the network touches it, and holds against them every nonce that one key has sealed two different things
//! under. SPEC sections 4 and 5; P3.
//!
//! It was there when the devices were provisioned, so it knows their keys; all others it derives from what it
//! opens, as the two sides do: session keys from Hello and Welcome, the next device key from *rotate*. It asks
//! neither side what it did.

use std::collections::HashMap;

use moteseal::aead::{Backend, NONCE_LEN, Nonce, Ring};
use moteseal::control::{Control, Role};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Echo, Epoch, Generation, Salt, SequenceNumber};
use moteseal::wire::{self, ACK_BLOCK_LEN, Header, Seq, Unverified};
use sha2::{Digest, Sha256};

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This device.
    Device(DeviceId),
    /// The gateway.
    Gateway,
}

/// The name of a payload (SPEC M-105): of early data without a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The device that sent it, or that it is for.
    pub device_id: DeviceId,
    /// The epoch of the Hello or of the session.
    pub epoch: Epoch,
    /// The number within the session.
    pub number: Option<SequenceNumber>,
}

/// What a datagram turned out to be.
#[derive(Debug)]
pub struct Opened {
    /// Whose session, or whose Hello.
    pub device_id: DeviceId,
    /// The same bytes had been sent before.
    pub repeated: bool,
    /// The application's bytes, with their name. Nothing for a control message or none at all.
    pub payload: Option<(Name, Vec<u8>)>,
    /// What it is, where that matters.
    pub kind: Kind,
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Hello of this epoch.
    Hello(Epoch),
    /// A Floor: the newest epoch that the gateway has accepted.
    Floor(Epoch),
    /// Any other.
    Other,
}

/// Why a datagram is held against its sender.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// No key that this sender may use opens it. The ledger would be blind to its nonce.
    Unopened,
    /// Its key has sealed something else under its nonce.
    NonceReused(DeviceId),
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    devices: HashMap<DeviceId, Keys>,
    hellos: HashMap<Echo, Vec<Hello>>,
    sessions: HashMap<ConnectionId, Vec<Session>>,
    /// What each key sealed under each nonce.
    sealed: HashMap<(Fingerprint, [u8; NONCE_LEN]), Fingerprint>,
}

/// The start of a SHA-256.
type Fingerprint = [u8; 16];

#[derive(Debug)]
struct Keys {
    rotation_key: RotationKey,
    device_keys: Vec<(Generation, DeviceKey)>,
}

/// A Hello that was sent, and the key that it was sealed under.
#[derive(Clone, Debug)]
struct Hello {
    device_id: DeviceId,
    key: DeviceKey,
    epoch: Epoch,
    salt: Salt,
}

#[derive(Debug)]
struct Session {
    device_id: DeviceId,
    epoch: Epoch,
    keys: SessionKeys,
    /// The highest numbers sent: by the device, by the gateway.
    highest: [Option<SequenceNumber>; 2],
}

/// What opened a Data: its full number, and the key; and what came out.
struct Seal {
    number: SequenceNumber,
    key: AeadKey,
    plaintext: Vec<u8>,
}

impl Ledger {
    /// The number of different things sealed so far.
    pub fn len(&self) -> usize {
        self.sealed.len()
    }

    /// Learns of a device from those who provisioned it.
    pub fn provision(
        &mut self,
        device_id: DeviceId,
        generation: Generation,
        device_key: DeviceKey,
        rotation_key: RotationKey,
    ) {
        self.devices.insert(device_id, Keys { rotation_key, device_keys: vec![(generation, device_key)] });
    }

    /// Opens a datagram and writes it down.
    pub fn enter(&mut self, origin: Origin, datagram: &[u8]) -> Result<Opened, Fault> {
        let mut copy = datagram.to_vec();
        let header = Unverified::parse(&mut copy).map_err(|_| Fault::Unopened)?.header;
        match (origin, header) {
            (Origin::Device(device_id), Header::Hello(hello)) if hello.device_id == device_id => {
                self.hello(&hello, datagram)
            }
            (Origin::Gateway, Header::Welcome(welcome)) => self.welcome(&welcome, datagram),
            (Origin::Gateway, Header::Floor(floor)) => self.floor(floor, datagram),
            (_, Header::Data(data)) => self.data(origin, &data, datagram),
            (Origin::Gateway, Header::Reset(reset)) => self.reset(reset, datagram),
            _ => Err(Fault::Unopened),
        }
    }

    fn hello(&mut self, hello: &wire::Hello, datagram: &[u8]) -> Result<Opened, Fault> {
        let keys = &self.devices.get(&hello.device_id).ok_or(Fault::Unopened)?.device_keys;
        let named = keys.iter().filter(|(generation, _)| generation.low_bits() == hello.generation_bits);
        let (key, hello_key, plaintext) = named
            .rev()
            .find_map(|(_, key)| {
                let hello_key = key.hello_key(hello.device_id);
                let plaintext = open(&hello_key, Nonce::hello(hello.epoch, hello.salt), datagram)?;
                Some((key.clone(), hello_key, plaintext))
            })
            .ok_or(Fault::Unopened)?;
        let nonce = Nonce::hello(hello.epoch, hello.salt);
        let repeated = self.write_down(hello.device_id, &hello_key, &nonce, datagram)?;
        if !repeated {
            let (device_id, epoch, salt) = (hello.device_id, hello.epoch, hello.salt);
            self.hellos.entry(salt.echo()).or_default().push(Hello { device_id, key, epoch, salt });
        }
        let name = Name { device_id: hello.device_id, epoch: hello.epoch, number: None };
        let payload = (!plaintext.is_empty()).then_some((name, plaintext));
        Ok(Opened { device_id: hello.device_id, repeated, payload, kind: Kind::Hello(hello.epoch) })
    }

    fn welcome(&mut self, welcome: &wire::Welcome, datagram: &[u8]) -> Result<Opened, Fault> {
        let hellos = self.hellos.get(&welcome.echo).ok_or(Fault::Unopened)?;
        let (hello, keys, cid) = hellos
            .iter()
            .rev()
            .find_map(|hello| {
                let server_salt = welcome.server_salt;
                let keys = hello.key.session_keys(hello.device_id, hello.epoch, hello.salt, server_salt);
                let cid = open(&keys.down, Nonce::welcome(), datagram)?;
                Some((hello.clone(), keys, ConnectionId::from_bytes(&cid)?))
            })
            .ok_or(Fault::Unopened)?;
        let repeated = self.write_down(hello.device_id, &keys.down, &Nonce::welcome(), datagram)?;
        if !repeated {
            let Hello { device_id, epoch, .. } = hello;
            let session = Session { device_id, epoch, keys, highest: [None; 2] };
            self.sessions.entry(cid).or_default().push(session);
        }
        Ok(Opened { device_id: hello.device_id, repeated, payload: None, kind: Kind::Other })
    }

    fn floor(&mut self, floor: wire::Floor, datagram: &[u8]) -> Result<Opened, Fault> {
        let hellos = self.hellos.get(&floor.echo).ok_or(Fault::Unopened)?;
        let (device_id, key, nonce) = hellos
            .iter()
            .find_map(|hello| {
                let key = hello.key.floor_key(hello.device_id, floor.floor);
                open(&key, Nonce::hello(hello.epoch, hello.salt), datagram)?;
                Some((hello.device_id, key, Nonce::hello(hello.epoch, hello.salt)))
            })
            .ok_or(Fault::Unopened)?;
        let repeated = self.write_down(device_id, &key, &nonce, datagram)?;
        Ok(Opened { device_id, repeated, payload: None, kind: Kind::Floor(floor.floor) })
    }

    fn data(&mut self, origin: Origin, data: &wire::Data, datagram: &[u8]) -> Result<Opened, Fault> {
        let sessions = self.sessions.get_mut(&data.cid).ok_or(Fault::Unopened)?;
        let (device_id, epoch, Seal { number, key, plaintext }) = sessions
            .iter_mut()
            .rev()
            .filter(|session| origin == Origin::Gateway || origin == Origin::Device(session.device_id))
            .find_map(|session| {
                Some((session.device_id, session.epoch, session.open(origin, data.seq, datagram)?))
            })
            .ok_or(Fault::Unopened)?;
        let repeated = self.write_down(device_id, &key, &Nonce::data(number), datagram)?;
        let payload = plaintext.get(if data.ack { ACK_BLOCK_LEN } else { 0 }..).unwrap_or_default();
        if data.control {
            if let Ok(Control::Rotate { generation, secret }) =
                Control::decode(payload, Role::Server, data.confirm)
                && let Some(keys) = self.devices.get_mut(&device_id)
            {
                keys.take(device_id, generation, &secret);
            }
            return Ok(Opened { device_id, repeated, payload: None, kind: Kind::Other });
        }
        let name = Name { device_id, epoch, number: Some(number) };
        let payload = (!payload.is_empty()).then(|| (name, payload.to_vec()));
        Ok(Opened { device_id, repeated, payload, kind: Kind::Other })
    }

    fn reset(&mut self, reset: wire::Reset, datagram: &[u8]) -> Result<Opened, Fault> {
        let number = match reset.seq {
            Seq::One(low) => SequenceNumber::new(low.into()),
            Seq::Two(number) => number,
        };
        let sessions = self.sessions.get(&reset.cid).ok_or(Fault::Unopened)?;
        let (device_id, key) = sessions
            .iter()
            .rev()
            .find_map(|session| {
                open(&session.keys.down, Nonce::reset(number), datagram)?;
                Some((session.device_id, session.keys.down.clone()))
            })
            .ok_or(Fault::Unopened)?;
        let repeated = self.write_down(device_id, &key, &Nonce::reset(number), datagram)?;
        Ok(Opened { device_id, repeated, payload: None, kind: Kind::Other })
    }

    /// Whether the same datagram stands there already. The nonce is the header's or follows from it, so that two
    /// datagrams differ exactly if what was sealed does.
    fn write_down(
        &mut self,
        device_id: DeviceId,
        key: &AeadKey,
        nonce: &Nonce,
        datagram: &[u8],
    ) -> Result<bool, Fault> {
        let sealed = fingerprint(datagram);
        match self.sealed.insert((fingerprint(key.expose()), *nonce.as_bytes()), sealed) {
            None => Ok(false),
            Some(before) if before == sealed => Ok(true),
            Some(_) => Err(Fault::NonceReused(device_id)),
        }
    }
}

impl Keys {
    /// The next device key, which the device will take too if the secret proves itself.
    fn take(&mut self, device_id: DeviceId, generation: Generation, secret: &moteseal::keys::RotationSecret) {
        let next = (generation, self.rotation_key.next_device_key(secret, generation, device_id));
        if self.rotation_key.proves(secret, generation, device_id) && !self.device_keys.contains(&next) {
            self.device_keys.push(next);
        }
    }
}

impl Session {
    fn open(&mut self, origin: Origin, seq: Seq, datagram: &[u8]) -> Option<Seal> {
        let key = match origin {
            Origin::Device(_) => &self.keys.up,
            Origin::Gateway => &self.keys.down,
        };
        // The sender counts from what is acknowledged, the ledger from what was sent: they may be 256 apart.
        let nearest = seq.rebuild(self.highest[direction(origin)]);
        let around = [nearest.before(256), nearest.value().checked_add(256).map(SequenceNumber::new)];
        let others = around.into_iter().flatten().filter(|_| matches!(seq, Seq::One(_)));
        let (number, plaintext) = core::iter::once(nearest)
            .chain(others)
            .find_map(|number| Some((number, open(key, Nonce::data(number), datagram)?)))?;
        let key = key.clone();
        let highest = &mut self.highest[direction(origin)];
        *highest = (*highest).max(Some(number));
        Some(Seal { number, key, plaintext })
    }
}

const fn direction(origin: Origin) -> usize {
    match origin {
        Origin::Device(_) => 0,
        Origin::Gateway => 1,
    }
}

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let digest = Sha256::digest(bytes);
    digest.first_chunk().copied().unwrap_or_default()
}

/// The plaintext, if this key and nonce sealed the datagram.
fn open(key: &AeadKey, nonce: Nonce, datagram: &[u8]) -> Option<Vec<u8>> {
    let mut copy = datagram.to_vec();
    let sealed = Unverified::parse(&mut copy).ok()?.sealed;
    Ring::open(key, nonce, sealed.aad, sealed.ciphertext, sealed.tag).ok()?;
    Some(sealed.ciphertext.to_vec())
}

#[cfg(test)]
pub(super) mod tests;
