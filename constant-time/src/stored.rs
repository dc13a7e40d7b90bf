//! Keys on their way to storage and back: factory images, key slots, records.

use moteseal::identity::{FactoryImage, Identity, KeySlot};
use moteseal::key_slots::{KeySlots as _, Slot};
use moteseal::number::Generation;
use moteseal::record::{Record, Rotation};

use crate::memcheck::secret;
use crate::table::Table;
use crate::world::{ID, board, device_key, hide_key, record, rotation_key};

const WHOLE: &str = "the check value: whether it is whole";

/// Runs all of them.
pub fn run(table: &mut Table) {
    Table::group("storage");
    images(table);
    slots(table);
    records(table);
}

fn image() -> FactoryImage {
    FactoryImage::new(Identity { device_id: ID, rotation_key: rotation_key() }, device_key())
}

fn images(table: &mut Table) {
    let image = image();
    let encoded = table.clean("factory image encoded", || image.encode());
    // What a device finds in flash: keys and what is computed from them are secret.
    let mut bytes = *encoded.expose();
    bytes.chunks_exact_mut(64).take(2).for_each(hide_key);
    let parsed = table.judging("factory image parsed", 2, WHOLE, || FactoryImage::parse(&bytes));
    assert!(parsed.is_ok());
    for (what, at) in [("key", 24), ("key", 55), ("check value", 56), ("check value", 63)] {
        let mut torn = bytes;
        torn[64 + at] ^= 1;
        let parsed =
            table.judging(&format!("factory image, {what} of slot A changed at byte {at}"), 2, WHOLE, || {
                FactoryImage::parse(&torn)
            });
        assert!(parsed.is_err());
        let mut torn = bytes;
        torn[at] ^= 1;
        let parsed = table.judging(
            &format!("factory image, {what} of the identity changed at byte {at}"),
            1,
            WHOLE,
            || FactoryImage::parse(&torn),
        );
        assert!(parsed.is_err());
    }
    for key in [[0; 32], [0xFF; 32]] {
        let slot = KeySlot {
            generation: Generation::FIRST,
            device_key: moteseal::keys::DeviceKey::new(secret(key)),
        };
        let encoded = slot.encode();
        let name = format!("key slot of nothing but {:#04x}: is it taken for blank?", key[0]);
        let parsed = table.judging(&name, 1, WHOLE, || KeySlot::parse(encoded.expose()));
        assert!(parsed.is_ok_and(|slot| slot.is_some()));
    }
}

fn slots(table: &mut Table) {
    let mut keys = board(None).keys;
    let key = KeySlot { generation: Generation::new(2).expect("not 0"), device_key: device_key() };
    table.judging("identity read", 1, WHOLE, || keys.identity()).expect("it is whole");
    table.judging("key slot read", 1, WHOLE, || keys.read(Slot::A)).expect("it is whole");
    table
        .judging("key slot written and read back", 1, "whether it reads as it was written", || {
            keys.write(Slot::B, &key)
        })
        .expect("the flash works");
    table.clean("key slot erased", || keys.erase(Slot::B)).expect("the flash works");
}

fn records(table: &mut Table) {
    let next = Generation::FIRST.next().expect("there are 255");
    let r = rotation_key().rotation_secret(next, ID, &secret([8; 16]));
    let key = rotation_key().next_device_key(&r, next, ID);
    let rotating = record().with_rotation(Rotation { secret: r, key }).expect("the first of 255");
    for (what, keys, record) in [("record", 1, record()), ("record with a rotation", 3, rotating)] {
        let encoded = table.clean(&format!("{what} encoded"), || record.encode());
        let decoded = table.clean(&format!("{what} decoded"), || Record::decode(encoded.expose()));
        let decoded = decoded.expect("it was encoded");
        let same = table.judging(
            &format!("{what} compared with its copy"),
            keys,
            "whether each key is equal",
            || decoded == record,
        );
        assert!(same);
    }
}
