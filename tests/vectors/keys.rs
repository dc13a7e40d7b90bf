//! `keys.json`: the key schedule. SPEC section 5.

use hkdf::Hkdf;
use moteseal::keys::{DeviceKey, FleetKey, RotationKey, RotationRoot, SUITE};
use moteseal::number::{DeviceId, Epoch, Generation, Salt, ServerSalt};
use serde::Deserialize;
use sha2::Sha256;

use crate::file::{Array, Bytes, Cases, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    device_keys: Cases<OfFleet>,
    rotation_keys: Cases<OfRoot>,
    hello_keys: Cases<Hello>,
    floor_keys: Cases<Floor>,
    session_keys: Cases<Session>,
    salts_without_rng: Cases<SaltWithoutRng>,
    rotations: Cases<Rotation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfFleet {
    fleet_key: Array<32>,
    generation: u8,
    device_id: Array<8>,
    salt: Bytes,
    prk: Array<32>,
    info: Bytes,
    device_key: Array<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRoot {
    rotation_root: Array<32>,
    device_id: Array<8>,
    salt: Bytes,
    prk: Array<32>,
    info: Bytes,
    rotation_key: Array<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hello {
    suite: u8,
    device_id: Array<8>,
    device_key: Array<32>,
    info: Bytes,
    hello_key: Array<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    suite: u8,
    device_id: Array<8>,
    device_key: Array<32>,
    floor: Array<6>,
    info: Bytes,
    floor_key: Array<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    suite: u8,
    device_id: Array<8>,
    device_key: Array<32>,
    epoch: Array<6>,
    salt: Array<6>,
    server_salt: Array<8>,
    info: Bytes,
    up_key: Array<32>,
    down_key: Array<32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaltWithoutRng {
    device_key: Array<32>,
    epoch: Array<6>,
    info: Bytes,
    salt: Array<6>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    suite: u8,
    device_id: Array<8>,
    rotation_key: Array<32>,
    generation: u8,
    new_generation: u8,
    r0: Array<16>,
    hmac_message: Bytes,
    hmac: Array<32>,
    r: Array<32>,
    prk: Array<32>,
    info: Bytes,
    new_device_key: Array<32>,
}

/// What the crate does not show (PRK and info) is held against the same steps of the `hkdf` crate: where they
/// and the key agree, the crate went through these very values.
fn expand<const L: usize>(prk: &[u8], info: &[u8]) -> [u8; L] {
    let mut okm = [0; L];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(info, &mut okm).unwrap();
    okm
}

fn extract(salt: &[u8], ikm: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), ikm).0.into()
}

#[test]
fn device_keys_of_a_fleet() {
    for case in read::<File>("keys").device_keys.iter() {
        let generation = Generation::new(case.generation).unwrap();
        let key = FleetKey::new(case.fleet_key.0).device_key(generation, DeviceId::new(case.device_id.0));
        assert_eq!(*key.expose(), case.device_key.0);
        assert_eq!(extract(&case.salt, &case.fleet_key.0), case.prk.0);
        assert_eq!(expand(&case.prk.0, &case.info), case.device_key.0);
    }
}

#[test]
fn rotation_keys_of_a_root() {
    for case in read::<File>("keys").rotation_keys.iter() {
        let key = RotationRoot::new(case.rotation_root.0).rotation_key(DeviceId::new(case.device_id.0));
        assert_eq!(*key.expose(), case.rotation_key.0);
        assert_eq!(extract(&case.salt, &case.rotation_root.0), case.prk.0);
        assert_eq!(expand(&case.prk.0, &case.info), case.rotation_key.0);
    }
}

#[test]
fn keys_of_hellos_and_floors() {
    let file = read::<File>("keys");
    for case in file.hello_keys.iter() {
        assert_eq!(case.suite, SUITE);
        let key = DeviceKey::new(case.device_key.0).hello_key(DeviceId::new(case.device_id.0));
        assert_eq!(*key.expose(), case.hello_key.0);
        assert_eq!(expand(&case.device_key.0, &case.info), case.hello_key.0);
    }
    for case in file.floor_keys.iter() {
        assert_eq!(case.suite, SUITE);
        let floor = Epoch::from_bytes(case.floor.0);
        let key = DeviceKey::new(case.device_key.0).floor_key(DeviceId::new(case.device_id.0), floor);
        assert_eq!(*key.expose(), case.floor_key.0);
        assert_eq!(expand(&case.device_key.0, &case.info), case.floor_key.0);
    }
}

#[test]
fn keys_of_sessions() {
    for case in read::<File>("keys").session_keys.iter() {
        assert_eq!(case.suite, SUITE);
        let keys = DeviceKey::new(case.device_key.0).session_keys(
            DeviceId::new(case.device_id.0),
            Epoch::from_bytes(case.epoch.0),
            Salt(case.salt.0),
            ServerSalt(case.server_salt.0),
        );
        assert_eq!((keys.up.expose(), keys.down.expose()), (&case.up_key.0, &case.down_key.0));
        let okm: [u8; 64] = expand(&case.device_key.0, &case.info);
        assert_eq!(okm.as_slice(), [case.up_key.0, case.down_key.0].concat());
    }
}

#[test]
fn salts_of_devices_without_rng() {
    for case in read::<File>("keys").salts_without_rng.iter() {
        let salt = DeviceKey::new(case.device_key.0).salt(Epoch::from_bytes(case.epoch.0));
        assert_eq!(salt.0, case.salt.0);
        assert_eq!(expand(&case.device_key.0, &case.info), case.salt.0);
    }
}

#[test]
fn rotations() {
    use hmac::{Hmac, KeyInit, Mac};
    for case in read::<File>("keys").rotations.iter() {
        assert_eq!(case.suite, SUITE);
        let next = Generation::new(case.generation).unwrap().next().unwrap();
        assert_eq!(next.number(), case.new_generation);
        let (device_id, key) = (DeviceId::new(case.device_id.0), RotationKey::new(case.rotation_key.0));
        let secret = key.rotation_secret(next, device_id, &case.r0.0);
        assert_eq!(*secret.expose(), case.r.0);
        assert!(key.proves(&secret, next, device_id));
        assert_eq!(*key.next_device_key(&secret, next, device_id).expose(), case.new_device_key.0);

        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&case.rotation_key.0).unwrap();
        mac.update(&case.hmac_message);
        assert_eq!(mac.finalize().into_bytes().as_slice(), case.hmac.0);
        assert_eq!(case.r.0, [case.r0.0, case.hmac.0[..16].try_into().unwrap()].concat()[..]);
        assert_eq!(extract(&case.rotation_key.0, &case.r.0), case.prk.0);
        assert_eq!(expand(&case.prk.0, &case.info), case.new_device_key.0);
    }
}
