//! Opens the datagrams of a capture, one after the other: a Hello by its device key, what follows by what came
//! before. Unlike a receiver it may try several keys and numbers: it answers nobody, so it is no oracle
//! (SPEC, M-22). SPEC sections 4 and 5.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;

use moteseal::aead::{Backend as _, Nonce, Ring};
use moteseal::control::{Control, Role};
use moteseal::error::Malformed;
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Echo, Epoch, Salt, SequenceNumber};
use moteseal::wire::{self, ACK_BLOCK_LEN, AckBlock, Header, Sealed, Seq, Unverified};

use zeroize::Zeroizing;

use crate::registry::Device;

/// What a datagram says, once it is open.
#[derive(Debug)]
pub enum Opened {
    /// A Hello, with its early data.
    Hello(Plaintext),
    /// A Welcome: which Hello it answers, and the connection id, if it is one.
    Welcome { hello: Name, cid: Option<ConnectionId> },
    /// A Floor: which Hello it answers.
    Floor { hello: Name },
    /// A Data.
    Data { session: Name, sender: Role, number: SequenceNumber, content: Result<Content, Malformed> },
    /// A Reset, and the number of the Data that it answers.
    Reset { session: Name, number: SequenceNumber },
}

/// What was sealed; it may hold the secret of a rotation.
pub type Plaintext = Zeroizing<Vec<u8>>;

/// A Hello, and the session that it opened.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    pub device_id: DeviceId,
    pub epoch: Epoch,
}

/// What a Data carries.
#[derive(Debug)]
pub struct Content {
    pub ack: Option<AckBlock>,
    pub body: Body,
}

/// What a Data carries behind the acknowledgements.
#[derive(Debug)]
pub enum Body {
    Payload(Plaintext),
    Control(Control),
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    UnknownDevice,
    UnknownGeneration,
    NoHello,
    NoWelcome,
    Inauthentic,
}

impl fmt::Display for NotOpened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownDevice => "the key file does not hold this device",
            Self::UnknownGeneration => "the key file holds another generation of this device's key",
            Self::NoHello => "no Hello with this echo was opened before it",
            Self::NoWelcome => "no Welcome with this connection id was opened before it",
            Self::Inauthentic => "the tag does not verify",
        })
    }
}

/// Keys of devices, and what the datagrams so far have led to.
#[derive(Debug)]
pub struct Opener {
    /// The keys of each device, by their bits in a Hello.
    device_keys: BTreeMap<DeviceId, BTreeMap<u8, DeviceKey>>,
    rotation_keys: BTreeMap<DeviceId, RotationKey>,
    hellos: BTreeMap<Echo, Vec<Hello>>,
    sessions: BTreeMap<Vec<u8>, Session>,
}

/// A Hello that was opened.
#[derive(Debug)]
struct Hello {
    name: Name,
    device_key: DeviceKey,
    salt: Salt,
}

/// A session whose Welcome was opened, and the highest number seen from either side.
#[derive(Debug)]
struct Session {
    name: Name,
    keys: SessionKeys,
    highest_up: Option<SequenceNumber>,
    highest_down: Option<SequenceNumber>,
}

impl Opener {
    /// With these device keys, and with the rotation keys that tell the device keys to come.
    pub fn new(devices: Vec<Device>, rotation_keys: BTreeMap<DeviceId, RotationKey>) -> Self {
        let keys = |device: Device| {
            (device.device_id, BTreeMap::from([(device.generation.low_bits(), device.device_key)]))
        };
        let device_keys = devices.into_iter().map(keys).collect();
        Self { device_keys, rotation_keys, hellos: BTreeMap::new(), sessions: BTreeMap::new() }
    }

    /// Opens the next datagram of the capture.
    pub fn open(&mut self, datagram: &Unverified<'_>) -> Result<Opened, NotOpened> {
        let sealed = &datagram.sealed;
        match &datagram.header {
            Header::Hello(hello) => self.open_hello(hello, sealed),
            Header::Welcome(welcome) => self.open_welcome(welcome, sealed),
            Header::Floor(floor) => self.open_floor(*floor, sealed),
            Header::Data(data) => self.open_data(data, sealed),
            Header::Reset(reset) => self.open_reset(*reset, sealed),
        }
    }

    fn open_hello(&mut self, hello: &wire::Hello, sealed: &Sealed<'_>) -> Result<Opened, NotOpened> {
        let wire::Hello { device_id, epoch, salt, generation_bits } = *hello;
        let keys = self.device_keys.get(&device_id).ok_or(NotOpened::UnknownDevice)?;
        let device_key = keys.get(&generation_bits).ok_or(NotOpened::UnknownGeneration)?.clone();
        let payload = open(&device_key.hello_key(device_id), Nonce::hello(epoch, salt), sealed)
            .ok_or(NotOpened::Inauthentic)?;
        self.hellos.entry(salt.echo()).or_default().push(Hello {
            name: Name { device_id, epoch },
            device_key,
            salt,
        });
        Ok(Opened::Hello(payload))
    }

    fn open_welcome(&mut self, welcome: &wire::Welcome, sealed: &Sealed<'_>) -> Result<Opened, NotOpened> {
        let attempt = |hello: &Hello| {
            let Hello { name: Name { device_id, epoch }, device_key, salt } = hello;
            let keys = device_key.session_keys(*device_id, *epoch, *salt, welcome.server_salt);
            let plaintext = open(&keys.down, Nonce::welcome(), sealed)?;
            Some((plaintext, hello.name, keys))
        };
        let (plaintext, hello, keys) = self.answered(welcome.echo, attempt)?;
        let cid = ConnectionId::from_bytes(&plaintext);
        if cid.is_some() {
            let session = Session { name: hello, keys, highest_up: None, highest_down: None };
            self.sessions.insert(plaintext.to_vec(), session);
        }
        Ok(Opened::Welcome { hello, cid })
    }

    fn open_floor(&self, floor: wire::Floor, sealed: &Sealed<'_>) -> Result<Opened, NotOpened> {
        self.answered(floor.echo, |hello| {
            let Hello { name: Name { device_id, epoch }, device_key, salt } = hello;
            let key = device_key.floor_key(*device_id, floor.floor);
            open(&key, Nonce::hello(*epoch, *salt), sealed)?;
            Some(Opened::Floor { hello: hello.name })
        })
    }

    /// Tries the Hellos with this echo, the latest first.
    fn answered<T>(&self, echo: Echo, attempt: impl Fn(&Hello) -> Option<T>) -> Result<T, NotOpened> {
        let hellos = self.hellos.get(&echo).ok_or(NotOpened::NoHello)?;
        hellos.iter().rev().find_map(attempt).ok_or(NotOpened::Inauthentic)
    }

    fn open_data(&mut self, data: &wire::Data, sealed: &Sealed<'_>) -> Result<Opened, NotOpened> {
        let session = self.sessions.get_mut(data.cid.as_bytes()).ok_or(NotOpened::NoWelcome)?;
        let (sender, number, plaintext) = session.open(data, sealed).ok_or(NotOpened::Inauthentic)?;
        let (session, content) = (session.name, read(data, sender, &plaintext));
        if let Ok(Content { body: Body::Control(control), .. }) = &content {
            self.follow(session.device_id, control);
        }
        Ok(Opened::Data { session, sender, number, content })
    }

    /// Learns the key to come from a *rotate* that proves itself.
    fn follow(&mut self, device_id: DeviceId, control: &Control) {
        let Control::Rotate { generation, secret } = control else { return };
        let Some(rotation_key) = self.rotation_keys.get(&device_id) else { return };
        if rotation_key.proves(secret, *generation, device_id) {
            let device_key = rotation_key.next_device_key(secret, *generation, device_id);
            self.device_keys.entry(device_id).or_default().insert(generation.low_bits(), device_key);
        }
    }

    fn open_reset(&self, reset: wire::Reset, sealed: &Sealed<'_>) -> Result<Opened, NotOpened> {
        let session = self.sessions.get(reset.cid.as_bytes()).ok_or(NotOpened::NoWelcome)?;
        let opens =
            |number: &SequenceNumber| open(&session.keys.down, Nonce::reset(*number), sealed).is_some();
        let number = numbers(reset.seq, session.highest_up).find(opens).ok_or(NotOpened::Inauthentic)?;
        Ok(Opened::Reset { session: session.name, number })
    }
}

impl Session {
    /// Opens a Data: the datagram does not tell from which side it comes.
    fn open(&mut self, data: &wire::Data, sealed: &Sealed<'_>) -> Option<(Role, SequenceNumber, Plaintext)> {
        let directions = [
            (Role::Device, &self.keys.up, &mut self.highest_up),
            (Role::Server, &self.keys.down, &mut self.highest_down),
        ];
        directions.into_iter().find_map(|(sender, key, highest)| {
            let attempt = |number| Some((number, open(key, Nonce::data(number), sealed)?));
            let (number, plaintext) = numbers(data.seq, *highest).find_map(attempt)?;
            *highest = (*highest).max(Some(number));
            Some((sender, number, plaintext))
        })
    }
}

/// The numbers that may be meant: first the one that a receiver would take, then, as a capture has gaps, all
/// with that low byte.
fn numbers(seq: Seq, highest: Option<SequenceNumber>) -> impl Iterator<Item = SequenceNumber> {
    let others = match seq {
        Seq::One(low) => Some((0..=u8::MAX).map(move |high| u16::from_be_bytes([high, low]))),
        Seq::Two(_) => None,
    };
    iter::once(seq.rebuild(highest)).chain(others.into_iter().flatten().map(SequenceNumber::new))
}

fn open(key: &AeadKey, nonce: Nonce, sealed: &Sealed<'_>) -> Option<Plaintext> {
    let mut buffer = Zeroizing::new(sealed.ciphertext.to_vec());
    Ring::open(key, nonce, sealed.aad, &mut buffer, sealed.tag).ok()?;
    Some(buffer)
}

/// `[ack block] || payload`, or why it cannot be that (SPEC section 9.7).
fn read(data: &wire::Data, sender: Role, plaintext: &[u8]) -> Result<Content, Malformed> {
    let (ack, payload) = if data.ack {
        let (block, payload) = plaintext.split_first_chunk::<ACK_BLOCK_LEN>().ok_or(Malformed::ShortAck)?;
        (Some(AckBlock::decode(*block).ok_or(Malformed::AckOfUnsent)?), payload)
    } else {
        (None, plaintext)
    };
    let body = if data.control {
        Body::Control(Control::decode(payload, sender, data.confirm)?)
    } else {
        Body::Payload(payload.to_vec().into())
    };
    Ok(Content { ack, body })
}
