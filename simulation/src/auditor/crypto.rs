//! The auditor's own cryptography: HKDF-Expand and ChaCha20-Poly1305 of `ring`, and the key schedule read out of SPEC
//! section 5 once more. The halves use another implementation, and none of this.

use ring::{aead, hkdf};

pub type Key = [u8; 32];
pub type Nonce = [u8; 12];
pub type DeviceId = [u8; 8];

const SUITE: u8 = 1;

/// The length of what is expanded, for `ring`.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const L: usize>(key: &Key, info: &[&[u8]]) -> [u8; L] {
    let key = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key);
    let mut out = [0; L];
    key.expand(info, Len(L)).unwrap().fill(&mut out).unwrap();
    out
}

/// SPEC 5.1.
pub fn hello_key(device_key: &Key, id: DeviceId) -> Key {
    expand(device_key, &[b"moteseal/1 hello", &[SUITE], &id])
}

/// SPEC 5.1.
pub fn floor_key(device_key: &Key, id: DeviceId, floor: u64) -> Key {
    expand(device_key, &[b"moteseal/1 floor", &[SUITE], &id, &epoch_bytes(floor)])
}

/// SPEC 5.1: the key up, and the key down.
pub fn session_keys(
    device_key: &Key,
    id: DeviceId,
    epoch: u64,
    salt: [u8; 6],
    server_salt: [u8; 8],
) -> (Key, Key) {
    let epoch = epoch_bytes(epoch);
    let keys: [u8; 64] =
        expand(device_key, &[b"moteseal/1 session", &[SUITE], &id, &epoch, &salt, &server_salt]);
    (keys[..32].try_into().unwrap(), keys[32..].try_into().unwrap())
}

pub fn epoch_bytes(epoch: u64) -> [u8; 6] {
    epoch.to_be_bytes()[2..].try_into().unwrap()
}

/// SPEC 5.4: of a Hello and of the Floor that answers it.
pub fn hello_nonce(epoch: u64, salt: [u8; 6]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..6].copy_from_slice(&epoch_bytes(epoch));
    nonce[6..].copy_from_slice(&salt);
    nonce
}

/// SPEC 5.4: 1 is a Welcome, 2 Data, 3 a Reset.
pub fn nonce(kind: u8, number: u16) -> Nonce {
    let [high, low] = number.to_be_bytes();
    [kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}

fn cipher(key: &Key) -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).unwrap())
}

/// The plaintext, if the tag at the end of `sealed` is good.
pub fn open(key: &Key, nonce: Nonce, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let plaintext = cipher(key).open_in_place(nonce, aead::Aad::from(aad), &mut bytes).ok()?;
    let len = plaintext.len();
    bytes.truncate(len);
    Some(bytes)
}

/// Ciphertext and tag, for a thief of keys.
pub fn seal(key: &Key, nonce: Nonce, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut bytes = plaintext.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    cipher(key).seal_in_place_append_tag(nonce, aead::Aad::from(aad), &mut bytes).unwrap();
    bytes
}
