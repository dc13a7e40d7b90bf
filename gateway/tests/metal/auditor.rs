//! Opens everything that was captured with the device's key, and holds it to the one rule under all others (SPEC, P3):
//! one key and one nonce never seal two different datagrams. Unlike a receiver it may try keys and numbers.

use std::collections::BTreeMap;

use moteseal::aead::{Backend as _, Nonce, Ring};
use moteseal::control::{Control, Role};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Salt, SequenceNumber};
use moteseal::wire::{self, ACK_BLOCK_LEN, Header, Sealed, Seq, Unverified};

use crate::relay::{Captured, Direction};

/// What a datagram turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Hello { epoch: Epoch, early: Vec<u8> },
    Welcome { epoch: Epoch, early_taken: bool },
    Floor { epoch: Epoch, floor: Epoch },
    Payload { direction: Direction, epoch: Epoch, number: SequenceNumber, payload: Vec<u8> },
    Control { direction: Direction, epoch: Epoch, number: SequenceNumber },
    Reset { epoch: Epoch, number: SequenceNumber },
}

struct Hello {
    epoch: Epoch,
    salt: Salt,
    key: DeviceKey,
}

struct Session {
    epoch: Epoch,
    cid: ConnectionId,
    keys: SessionKeys,
}

/// A key and a nonce.
type Place = ([u8; 32], [u8; 12]);

/// What is known of one device.
pub struct Auditor {
    id: DeviceId,
    rotation_key: RotationKey,
    device_keys: Vec<DeviceKey>,
    hellos: Vec<Hello>,
    sessions: Vec<Session>,
    sealed: BTreeMap<Place, Vec<u8>>,
    /// Each datagram once, in the order of the capture; repeats are left out.
    pub opened: Vec<Opened>,
}

impl Auditor {
    pub fn new(id: DeviceId, device_key: DeviceKey, rotation_key: RotationKey) -> Self {
        Self {
            id,
            rotation_key,
            device_keys: vec![device_key],
            hellos: Vec::new(),
            sessions: Vec::new(),
            sealed: BTreeMap::new(),
            opened: Vec::new(),
        }
    }

    /// Takes the next datagram. Nobody but the two halves sends any, so each one has to open.
    ///
    /// # Panics
    /// If it does not, or if its key and nonce have sealed another one before.
    pub fn take(&mut self, captured: &Captured) {
        let mut bytes = captured.bytes.clone();
        let Unverified { header, sealed } = Unverified::parse(&mut bytes).expect("a datagram of version 1");
        let direction = captured.direction;
        let found = match header {
            Header::Hello(hello) => self.open_hello(&hello, &sealed),
            Header::Welcome(welcome) => self.open_welcome(&welcome, &sealed),
            Header::Floor(floor) => self.open_floor(floor, &sealed),
            Header::Data(data) => self.open_data(direction, &data, &sealed),
            Header::Reset(reset) => self.open_reset(reset, &sealed),
        };
        let (place, opened) = found.unwrap_or_else(|| panic!("{direction:?} {header:?} does not open"));
        let is_from_device = matches!(
            opened,
            Opened::Hello { .. }
                | Opened::Payload { direction: Direction::Up, .. }
                | Opened::Control { direction: Direction::Up, .. }
        );
        assert_eq!(is_from_device, direction == Direction::Up, "{opened:?}");
        match self.sealed.insert(place, captured.bytes.clone()) {
            None => self.opened.push(opened),
            Some(before) => assert_eq!(before, captured.bytes, "a nonce was used twice: {opened:?}"),
        }
    }

    fn open_hello(&mut self, hello: &wire::Hello, sealed: &Sealed<'_>) -> Option<(Place, Opened)> {
        assert_eq!(hello.device_id, self.id);
        let (epoch, salt) = (hello.epoch, hello.salt);
        let (key, (place, early)) = self.device_keys.iter().rev().find_map(|key| {
            Some((key.clone(), open(&key.hello_key(self.id), || Nonce::hello(epoch, salt), sealed)?))
        })?;
        self.hellos.push(Hello { epoch, salt, key });
        Some((place, Opened::Hello { epoch, early }))
    }

    fn open_welcome(&mut self, welcome: &wire::Welcome, sealed: &Sealed<'_>) -> Option<(Place, Opened)> {
        let (epoch, keys, (place, cid)) = self.hellos.iter().rev().find_map(|hello| {
            let keys = hello.key.session_keys(self.id, hello.epoch, hello.salt, welcome.server_salt);
            let opened = open(&keys.down, Nonce::welcome, sealed)?;
            Some((hello.epoch, keys, opened))
        })?;
        let cid = ConnectionId::from_bytes(&cid).expect("a Welcome names a connection id");
        self.sessions.push(Session { epoch, cid, keys });
        Some((place, Opened::Welcome { epoch, early_taken: welcome.early_taken }))
    }

    fn open_floor(&self, floor: wire::Floor, sealed: &Sealed<'_>) -> Option<(Place, Opened)> {
        self.hellos.iter().rev().find_map(|hello| {
            let key = hello.key.floor_key(self.id, floor.floor);
            let (place, _) = open(&key, || Nonce::hello(hello.epoch, hello.salt), sealed)?;
            Some((place, Opened::Floor { epoch: hello.epoch, floor: floor.floor }))
        })
    }

    fn open_data(
        &mut self,
        direction: Direction,
        data: &wire::Data,
        sealed: &Sealed<'_>,
    ) -> Option<(Place, Opened)> {
        let (epoch, number, (place, plaintext)) = self.in_session(data.cid, |session| {
            let key = if direction == Direction::Up { &session.keys.up } else { &session.keys.down };
            numbers(data.seq).find_map(|n| Some((session.epoch, n, open(key, || Nonce::data(n), sealed)?)))
        })?;
        let payload = if data.ack { plaintext[ACK_BLOCK_LEN..].to_vec() } else { plaintext };
        if !data.control {
            return Some((place, Opened::Payload { direction, epoch, number, payload }));
        }
        let role = if direction == Direction::Up { Role::Device } else { Role::Server };
        let control = Control::decode(&payload, role, data.confirm).expect("a control message");
        if let Control::Rotate { generation, secret } = control {
            assert!(self.rotation_key.proves(&secret, generation, self.id), "a rotation without its proof");
            let key = self.rotation_key.next_device_key(&secret, generation, self.id);
            if !self.device_keys.contains(&key) {
                self.device_keys.push(key);
            }
        }
        Some((place, Opened::Control { direction, epoch, number }))
    }

    fn open_reset(&self, reset: wire::Reset, sealed: &Sealed<'_>) -> Option<(Place, Opened)> {
        self.in_session(reset.cid, |session| {
            numbers(reset.seq).find_map(|number| {
                let (place, _) = open(&session.keys.down, || Nonce::reset(number), sealed)?;
                Some((place, Opened::Reset { epoch: session.epoch, number }))
            })
        })
    }

    /// Tries the sessions of this connection id, the latest first.
    fn in_session<T>(&self, cid: ConnectionId, attempt: impl Fn(&Session) -> Option<T>) -> Option<T> {
        self.sessions.iter().rev().filter(|session| session.cid == cid).find_map(attempt)
    }

    /// How many of them there are.
    pub fn count(&self, is_one: impl Fn(&Opened) -> bool) -> usize {
        self.opened.iter().filter(|opened| is_one(opened)).count()
    }

    /// The device's payloads, early ones included, as often as each was sealed.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        let payload = |opened: &Opened| match opened {
            Opened::Hello { early, .. } => Some(early.clone()),
            Opened::Payload { direction: Direction::Up, payload, .. } => Some(payload.clone()),
            _ => None,
        };
        self.opened.iter().filter_map(payload).filter(|payload| !payload.is_empty()).collect()
    }
}

/// The numbers that a shortened one may stand for.
fn numbers(seq: Seq) -> impl Iterator<Item = SequenceNumber> {
    let all = match seq {
        Seq::One(low) => (0..=u8::MAX).map(|high| u16::from_be_bytes([high, low])).collect(),
        Seq::Two(number) => vec![number.value()],
    };
    all.into_iter().map(SequenceNumber::new)
}

/// Opens: where it was sealed, and what was.
fn open(key: &AeadKey, nonce: impl Fn() -> Nonce, sealed: &Sealed<'_>) -> Option<(Place, Vec<u8>)> {
    let mut buffer = sealed.ciphertext.to_vec();
    Ring::open(key, nonce(), sealed.aad, &mut buffer, sealed.tag).ok()?;
    Some(((*key.expose(), *nonce().as_bytes()), buffer))
}
