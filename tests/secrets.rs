//! No formatter shows a secret (M-23): every public type that holds one, or holds something that does, with keys that would be
//! known again.

use std::fmt::Debug;

use moteseal::aead::Portable;
use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::control::{Control, Role};
use moteseal::delivery::Timing;
use moteseal::device::{Config, Confirm, Device, Parts};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, StorageError};
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{AeadKey, DeviceKey, FleetKey, RotationKey, RotationRoot};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::record::{GatewayId, Record, Rotation};
use moteseal::server::{FixedTable, Index, Received, Server, Table as _};
use moteseal::session::{Outgoing, Session};
use moteseal::wire::{Header, Unverified};
use moteseal_sim::leaks::Secrets;

const ID: DeviceId = DeviceId::new([7; 8]);
const EPOCH: Epoch = Epoch::new(1, 0);

/// A key that is like no other.
fn marker(which: u8) -> [u8; 32] {
    let mut state = u32::from(which) + 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
}

/// Everything that is formatted, and what must not be in it.
#[derive(Default)]
struct Shown {
    secrets: Secrets,
    types: usize,
}

impl Shown {
    fn look(&mut self, value: &dyn Debug) {
        self.types += 1;
        for text in
            [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}"), format!("{value:#X?}")]
        {
            assert_eq!(self.secrets.found_in(text.as_bytes()), [""; 0], "{text}");
        }
    }
}

#[test]
fn the_search_sees_a_secret_that_a_formatter_shows() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "it is formatted")]
    struct Careless(Option<[u8; 32]>);
    let mut secrets = Secrets::default();
    secrets.add("it", &marker(1));
    for text in [format!("{:?}", Careless(Some(marker(1)))), format!("{:#x?}", Careless(Some(marker(1))))] {
        assert_eq!(secrets.found_in(text.as_bytes()), ["it"]);
    }
}

#[test]
fn m_23_no_formatter_shows_a_secret() {
    let (key, rotation_key) = (DeviceKey::new(marker(1)), RotationKey::new(marker(2)));
    let (fleet, root) = (FleetKey::new(marker(3)), RotationRoot::new(marker(4)));
    let next = Generation::new(2).unwrap();
    let secret = rotation_key.rotation_secret(next, ID, &[0xB7; 16]);
    let next_key = rotation_key.next_device_key(&secret, next, ID);
    let keys = key.session_keys(ID, EPOCH, Salt([1; 6]), ServerSalt([2; 8]));
    let mut shown = Shown::default();
    let payload = marker(9);
    for (name, secret) in [
        ("device key", key.expose()),
        ("rotation key", rotation_key.expose()),
        ("fleet key", fleet.expose()),
        ("rotation root", root.expose()),
        ("next device key", next_key.expose()),
        ("hello key", key.hello_key(ID).expose()),
        ("up key", keys.up.expose()),
        ("down key", keys.down.expose()),
        ("payload", &payload),
    ] {
        shown.secrets.add(name, secret);
    }
    shown.secrets.add("proof of r", &secret.expose()[16..]);

    let hello_key: AeadKey = key.hello_key(ID);
    let identity = Identity { device_id: ID, rotation_key: rotation_key.clone() };
    let image = FactoryImage::new(identity.clone(), key.clone());
    let record = Record::provisioned(ID, Generation::FIRST, key.clone());
    let rotation = Rotation { secret: secret.clone(), key: next_key };
    let rotating = record.clone().with_rotation(rotation.clone()).unwrap();
    let rotate = Control::Rotate { generation: next, secret: secret.clone() };
    let bytes = rotate.encode();
    let all: [&dyn Debug; 20] = [
        &key,
        &rotation_key,
        &fleet,
        &root,
        &secret,
        &keys,
        &hello_key,
        &identity,
        &image,
        &image.slots,
        &image.encode(),
        &image.parts(64),
        &record,
        &rotation,
        &rotating,
        &rotating.encode(),
        &rotate,
        &bytes,
        &FactoryImage::parse(image.encode().expose()),
        &Record::decode(rotating.encode().expose()),
    ];
    for value in all {
        shown.look(value);
    }
    sessions(&mut shown, &payload, bytes.as_bytes(), || {
        key.session_keys(ID, EPOCH, Salt([1; 6]), ServerSalt([2; 8]))
    });
    halves(&mut shown, image, rotating, &payload);
    assert!(shown.types > 40, "{}", shown.types);
}

fn sessions(
    shown: &mut Shown,
    payload: &[u8],
    rotate: &[u8],
    keys: impl Fn() -> moteseal::keys::SessionKeys,
) {
    let cid = ConnectionId::new(1, 3).unwrap();
    let mut server = Session::<Portable>::new(Role::Server, keys(), EPOCH, cid);
    let mut device = Session::<Portable>::new(Role::Device, keys(), EPOCH, cid);
    shown.look(&server);
    for (payload, control) in [(payload, false), (rotate, true)] {
        let outgoing = Outgoing { payload, confirm: true, control, ..Outgoing::default() };
        shown.look(&outgoing);
        let mut out = [0; 128];
        let len = server.protect(outgoing, &mut out).unwrap().len;
        let parsed = Unverified::parse(&mut out[..len]).unwrap();
        shown.look(&parsed);
        let Unverified { header: Header::Data(data), sealed } = parsed else { panic!() };
        shown.look(&device.verify(&data, sealed).unwrap());
    }
    shown.look(&device);
}

/// Everything that a device and a server hand out in their life.
fn halves(shown: &mut Shown, image: FactoryImage, record: Record, payload: &[u8]) {
    let mut device: Device<_, 128> =
        Device::boot(Parts::new(Counter(0), image, Counting(1)), Config::default()).unwrap();
    let mut table = FixedTable::<u8, 1, 128>::new();
    table.insert(record).unwrap();
    let mut server = Server::new(table, Counting(2), GatewayId(0), Timing::DEFAULT, 0).unwrap();
    let mut out = [0; 128];
    shown.look(&device);
    shown.look(device.hardware());
    let hello = device.send(0, payload, Confirm::Yes, &mut out).unwrap().datagram.unwrap().to_vec();
    let Received::Pending(held, change) = server.receive(0, 1, hello) else { panic!() };
    shown.look(&held);
    shown.look(&change);
    let durable = change.committed();
    shown.look(&durable);
    let committed = server.commit(held, durable).unwrap();
    shown.look(&committed);
    let mut welcome = committed.welcome.unwrap().0.as_bytes().to_vec();
    shown.look(&device.receive(0, &mut welcome).unwrap());
    while let Some(datagram) = device.poll(0, &mut out).unwrap() {
        let received = server.receive(0, 1, datagram.to_vec());
        shown.look(&received);
        if let Received::Data(data) = received
            && let Some((answer, _)) = data.answer
        {
            let mut answer = answer.as_bytes().to_vec();
            shown.look(&device.receive(0, &mut answer).unwrap());
        }
    }
    let up = device.send(0, payload, Confirm::No, &mut out).unwrap().datagram.unwrap().to_vec();
    shown.look(&server.receive(0, 1, up));
    let mut room = [0; 128];
    let mut down = server.send_plain(ID, payload, &mut room).unwrap().0.to_vec();
    let received = device.receive(0, &mut down).unwrap();
    assert_eq!(received.payload.as_ref().unwrap().bytes, payload);
    shown.look(&received);
    let mut rotate = server.poll(0, Index(0)).unwrap().datagram.to_vec();
    shown.look(&device.receive(0, &mut rotate).unwrap());
    shown.look(&device);
    shown.look(&server.table().peer(Index(0)).unwrap());
    shown.look(server.table());
    shown.look(&server);
}

/// A generator whose numbers are no secret, and that can be formatted.
#[derive(Clone, Copy, Debug)]
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
        Ok(())
    }
}

/// A boot counter in memory.
#[derive(Debug)]
struct Counter(u32);

impl BootCounter for Counter {
    fn load(&mut self) -> Result<Stored, StorageError> {
        Ok(Stored::Intact(self.0))
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        self.0 = boot;
        Ok(())
    }
}
