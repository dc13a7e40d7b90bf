use super::*;
use moteseal::session::{Outgoing, Session as Half, answer_without_counters};
use moteseal::wire::AckBlock;

/// One device, and what both sides seal in one session with it.
pub struct Exchange {
    pub device_id: DeviceId,
    pub epoch: Epoch,
    pub salt: Salt,
    cid: ConnectionId,
    key: DeviceKey,
    rotation_key: RotationKey,
}

const SERVER_SALT: moteseal::number::ServerSalt = moteseal::number::ServerSalt([9; 8]);

impl Exchange {
    pub fn new(number: u8) -> Self {
        Self {
            device_id: DeviceId::new([number; 8]),
            epoch: Epoch::new(7, 0),
            salt: Salt([number; 6]),
            cid: ConnectionId::new(1, number.into()).unwrap(),
            key: DeviceKey::new([number; 32]),
            rotation_key: RotationKey::new([number ^ 0xFF; 32]),
        }
    }

    pub fn provision(&self, ledger: &mut Ledger) {
        ledger.provision(self.device_id, Generation::FIRST, self.key.clone(), self.rotation_key.clone());
    }

    pub fn device(&self) -> Origin {
        Origin::Device(self.device_id)
    }

    fn keys(&self) -> SessionKeys {
        self.key.session_keys(self.device_id, self.epoch, self.salt, SERVER_SALT)
    }

    pub fn hello(&self, payload: &[u8]) -> Vec<u8> {
        self.hello_of(self.epoch, Generation::FIRST, &self.key, payload)
    }

    fn hello_of(&self, epoch: Epoch, generation: Generation, key: &DeviceKey, payload: &[u8]) -> Vec<u8> {
        let (device_id, salt, generation_bits) = (self.device_id, self.salt, generation.low_bits());
        let header = Header::Hello(wire::Hello { generation_bits, device_id, epoch, salt }).encode();
        let key = key.hello_key(device_id);
        sealed(&key, Nonce::hello(epoch, salt), header.as_bytes(), 9, payload)
    }

    pub fn welcome(&self, early_taken: bool) -> Vec<u8> {
        let welcome = wire::Welcome { early_taken, echo: self.salt.echo(), server_salt: SERVER_SALT };
        let header = Header::Welcome(welcome).encode();
        sealed(&self.keys().down, Nonce::welcome(), header.as_bytes(), 11, self.cid.as_bytes())
    }

    pub fn floor(&self, floor: Epoch) -> Vec<u8> {
        let header = Header::Floor(wire::Floor { echo: self.salt.echo(), floor }).encode();
        let key = self.key.floor_key(self.device_id, floor);
        sealed(&key, Nonce::hello(self.epoch, self.salt), header.as_bytes(), 9, &[])
    }

    /// Its half of the session, from the first number on.
    pub fn half(&self, role: Role) -> Half<Ring> {
        Half::new(role, self.keys(), self.epoch, self.cid)
    }

    pub fn name(&self, number: u16) -> Name {
        let number = Some(SequenceNumber::new(number));
        Name { device_id: self.device_id, epoch: self.epoch, number }
    }

    /// A ledger that has seen the session being opened.
    fn opened(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.provision(&mut ledger);
        ledger.enter(self.device(), &self.hello(b"")).unwrap();
        ledger.enter(Origin::Gateway, &self.welcome(false)).unwrap();
        ledger
    }
}

fn sealed(key: &AeadKey, nonce: Nonce, header: &[u8], aad_len: usize, plaintext: &[u8]) -> Vec<u8> {
    let mut body = plaintext.to_vec();
    let tag = Ring::seal(key, nonce, &header[..aad_len], &mut body);
    [header, &body, &tag].concat()
}

pub fn data(half: &mut Half<Ring>, payload: &[u8], confirm: bool) -> Vec<u8> {
    protect(half, Outgoing { payload, confirm, ..Outgoing::default() })
}

fn protect(half: &mut Half<Ring>, outgoing: Outgoing<'_>) -> Vec<u8> {
    let mut out = [0; 128];
    let len = half.protect(outgoing, &mut out).unwrap().len;
    out[..len].to_vec()
}

#[test]
fn everything_of_a_session_opens_and_names_its_payload() {
    let one = Exchange::new(1);
    let mut ledger = Ledger::default();
    one.provision(&mut ledger);
    let hello = ledger.enter(one.device(), &one.hello(b"early")).unwrap();
    let name = Name { device_id: one.device_id, epoch: one.epoch, number: None };
    assert_eq!((hello.payload, hello.repeated), (Some((name, b"early".to_vec())), false));
    assert_eq!(ledger.enter(Origin::Gateway, &one.welcome(true)).unwrap().payload, None);
    let floor = Epoch::new(9, 3);
    assert_eq!(ledger.enter(Origin::Gateway, &one.floor(floor)).unwrap().kind, Kind::Floor(floor));
    let (mut up, mut down) = (one.half(Role::Device), one.half(Role::Server));
    let ack = Some(AckBlock { number: SequenceNumber::FIRST, before: 0 });
    let up = data(&mut up, b"21.5", true);
    let down = protect(&mut down, Outgoing { payload: b"on", ack, ..Outgoing::default() });
    assert_eq!(ledger.enter(one.device(), &up).unwrap().payload, Some((one.name(0), b"21.5".to_vec())));
    assert_eq!(ledger.enter(Origin::Gateway, &down).unwrap().payload, Some((one.name(0), b"on".to_vec())));
    assert_eq!(ledger.len(), 5);
    // The same bytes again are the same thing.
    for (origin, datagram) in
        [(one.device(), &up), (Origin::Gateway, &down), (one.device(), &one.hello(b"early"))]
    {
        assert!(ledger.enter(origin, datagram).unwrap().repeated);
    }
    assert_eq!(ledger.len(), 5);
}

#[test]
fn a_reset_opens_and_its_repeat_is_the_same() {
    let one = Exchange::new(1);
    let mut ledger = one.opened();
    let mut up = data(&mut one.half(Role::Device), b"21.5", true);
    ledger.enter(one.device(), &up).unwrap();
    let parsed = Unverified::parse(&mut up).unwrap();
    let Header::Data(header) = parsed.header else { panic!() };
    let reset = answer_without_counters::<Ring>(&one.keys(), &header, parsed.sealed).unwrap();
    assert!(!ledger.enter(Origin::Gateway, reset.as_bytes()).unwrap().repeated);
    assert!(ledger.enter(Origin::Gateway, reset.as_bytes()).unwrap().repeated);
}

#[test]
fn two_things_under_one_nonce_are_seen() {
    let one = Exchange::new(1);
    let reused = Fault::NonceReused(one.device_id);
    for role in [Role::Device, Role::Server] {
        let origin = if role == Role::Device { one.device() } else { Origin::Gateway };
        let mut ledger = one.opened();
        ledger.enter(origin, &data(&mut one.half(role), b"one", true)).unwrap();
        // A half that has lost its numbers, and differs in the payload, in the flags, or in nothing.
        assert_eq!(ledger.enter(origin, &data(&mut one.half(role), b"two", true)).unwrap_err(), reused);
        let mut ledger = one.opened();
        ledger.enter(origin, &data(&mut one.half(role), b"one", true)).unwrap();
        assert_eq!(ledger.enter(origin, &data(&mut one.half(role), b"one", false)).unwrap_err(), reused);
        let mut ledger = one.opened();
        ledger.enter(origin, &data(&mut one.half(role), b"one", true)).unwrap();
        assert!(ledger.enter(origin, &data(&mut one.half(role), b"one", true)).unwrap().repeated);
    }
    let mut ledger = one.opened();
    assert_eq!(ledger.enter(one.device(), &one.hello(b"another")).unwrap_err(), reused);
    assert_eq!(ledger.enter(Origin::Gateway, &one.welcome(true)).unwrap_err(), reused);
}

#[test]
fn what_no_key_of_the_sender_opens_is_seen() {
    let (one, two) = (Exchange::new(1), Exchange::new(2));
    let mut ledger = one.opened();
    two.provision(&mut ledger);
    let mut up = data(&mut one.half(Role::Device), b"21.5", true);
    let down = data(&mut one.half(Role::Server), b"on", true);
    for (origin, datagram) in [
        (two.device(), &up),
        (Origin::Gateway, &up),
        (one.device(), &down),
        (two.device(), &one.hello(b"x")),
        (Origin::Gateway, &one.hello(b"x")),
        (one.device(), &one.welcome(true)),
        (Origin::Gateway, &two.welcome(false)),
        (one.device(), &vec![]),
    ] {
        assert_eq!(ledger.enter(origin, datagram).unwrap_err(), Fault::Unopened, "{origin:?}");
    }
    up[4] ^= 1;
    assert_eq!(ledger.enter(one.device(), &up).unwrap_err(), Fault::Unopened);
}

#[test]
fn the_key_of_a_rotation_is_followed() {
    let one = Exchange::new(1);
    let mut ledger = one.opened();
    let generation = Generation::new(2).unwrap();
    let secret = one.rotation_key.rotation_secret(generation, one.device_id, &[5; 16]);
    let next = one.rotation_key.next_device_key(&secret, generation, one.device_id);
    let hello = one.hello_of(Epoch::new(7, 1), generation, &next, b"new");
    assert_eq!(ledger.enter(one.device(), &hello).unwrap_err(), Fault::Unopened);
    let rotate = Control::Rotate { generation, secret }.encode();
    let outgoing =
        Outgoing { payload: rotate.as_bytes(), confirm: true, control: true, ..Outgoing::default() };
    let rotate = protect(&mut one.half(Role::Server), outgoing);
    assert_eq!(ledger.enter(Origin::Gateway, &rotate).unwrap().payload, None);
    assert!(ledger.enter(one.device(), &hello).unwrap().payload.is_some());
    // The old key is still one of the device's.
    let old = one.hello_of(Epoch::new(7, 2), Generation::FIRST, &one.key, b"old");
    assert!(ledger.enter(one.device(), &old).unwrap().payload.is_some());
}

#[test]
fn numbers_of_one_byte_are_rebuilt_over_gaps() {
    let one = Exchange::new(1);
    let mut ledger = one.opened();
    let mut up = one.half(Role::Device);
    for number in 0..600u16 {
        let datagram = data(&mut up, b"x", false);
        // What the relay lost to a full socket is not in the ledger.
        if !(100..300).contains(&number) {
            let payload = ledger.enter(one.device(), &datagram).unwrap().payload;
            assert_eq!(payload.unwrap().0, one.name(number));
        }
    }
}
