//! The key schedule (SPEC 5 and 3.3), comparisons of keys, and the secret of a rotation (M-115).

use std::hint::black_box;

use moteseal::keys::{AeadKey, DeviceKey, RotationKey, RotationSecret};
use moteseal::number::{Epoch, Generation, Salt, ServerSalt};

use crate::memcheck::{declassified, secret};
use crate::table::Table;
use crate::world::{ID, device_key, fleet, rotation_key};

const EPOCH: Epoch = Epoch::new(7, 1);
const EQUAL: &str = "whether they are equal";

/// Runs all of them.
pub fn run(table: &mut Table) {
    Table::group("keys");
    let (fleet_key, root) = fleet();
    let next = Generation::FIRST.next().expect("there are 255");
    table.clean("device_key of a fleet", || fleet_key.device_key(Generation::FIRST, ID));
    table.clean("rotation_key of a fleet", || root.rotation_key(ID));
    let (key, rotation) = (device_key(), rotation_key());
    table.clean("hello_key", || key.hello_key(ID));
    table.clean("floor_key", || key.floor_key(ID, EPOCH));
    table.clean("up_key and down_key", || key.session_keys(ID, EPOCH, Salt([3; 6]), ServerSalt([4; 8])));
    table.clean("salt without an RNG", || key.salt(EPOCH));
    let r0 = secret([8; 16]);
    let made = table.clean("the secret of a rotation", || rotation.rotation_secret(next, ID, &r0));
    table.clean("device_key of the next generation", || rotation.next_device_key(&made, next, ID));
    table.clean("a copy of each, dropped", || {
        drop(black_box((key.clone(), rotation.clone(), made.clone(), fleet_key.clone(), root.clone())));
    });
    table.clean("what a formatter shows of each", || {
        black_box(format!("{key:?} {rotation:?} {made:?} {fleet_key:?} {root:?}"))
    });
    proofs(table, &rotation, &made, next);
    equality(table);
}

/// M-115: r is checked against its proof.
fn proofs(table: &mut Table, key: &RotationKey, made: &RotationSecret, next: Generation) {
    for (what, at, mask) in [
        ("right", 16, 0),
        ("wrong at byte 0", 16, 1),
        ("wrong at byte 7", 23, 0x80),
        ("wrong at byte 15", 31, 1),
        ("of another r0", 0, 1),
    ] {
        let mut r = *made.expose();
        r[at] ^= mask;
        let r = RotationSecret::from_bytes(r);
        let name = format!("r with a proof that is {what}");
        let proves = table.judging(&name, 1, "the verdict on r", || verdict(key.proves(&r, next, ID)));
        assert_eq!(proves, mask == 0);
    }
}

fn equality(table: &mut Table) {
    for (what, at, mask) in [
        ("equal", 0, 0),
        ("first byte", 0, 1),
        ("middle", 15, 1),
        ("last byte", 31, 1),
        ("one bit", 31, 0x80),
    ] {
        let mut other = [0xD1; 32];
        other[at] ^= mask;
        let (left, right) = (DeviceKey::new(secret([0xD1; 32])), DeviceKey::new(secret(other)));
        let equal = table.judging(&format!("device keys, {what}"), 1, EQUAL, || verdict(left == right));
        assert_eq!(equal, mask == 0);
        let (left, right) = (AeadKey::new(secret([0xD1; 32])), AeadKey::new(secret(other)));
        table.judging(&format!("session keys, {what}"), 1, EQUAL, || verdict(left == right));
        let (left, right) =
            (RotationSecret::from_bytes(secret([0xD1; 32])), RotationSecret::from_bytes(secret(other)));
        table.judging(&format!("secrets of rotations, {what}"), 1, EQUAL, || verdict(left == right));
    }
}

/// Decides one branch, as the caller of a comparison does.
#[inline(never)]
fn verdict(is_equal: bool) -> bool {
    if black_box(is_equal) { declassified(true) } else { declassified(false) }
}
