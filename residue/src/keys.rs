//! The keys of the life that is watched, and in how many forms each may stand in memory. Only the watching process has
//! these values; the watched one reads images and records from files.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use hkdf::Hkdf;
use moteseal::aead::Nonce;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{AeadKey, DeviceKey, KEY_LEN, RotationKey};
use moteseal::number::{DeviceId, Epoch, Generation, Salt, SequenceNumber, ServerSalt};
use moteseal::record::Record;
use sha2::Sha256;
use sha2::block_api::compress256;

use crate::memory::{Needle, ONE_TIME};

/// The device.
pub const ID: DeviceId = DeviceId::new(*b"residue1");

/// What the factory knows.
pub fn image() -> FactoryImage {
    let identity = Identity { device_id: ID, rotation_key: RotationKey::new(marker(2)) };
    FactoryImage::new(identity, DeviceKey::new(marker(1)))
}

/// What the server knows.
pub fn record() -> Record {
    Record::provisioned(ID, Generation::FIRST, DeviceKey::new(marker(1)))
}

/// A key that is like no other.
pub fn marker(which: u8) -> [u8; KEY_LEN] {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(which) + 1);
    std::array::from_fn(|_| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        state.to_be_bytes()[0]
    })
}

/// What the watched process tells of a life, all of it public: the epoch and salts of its sessions, and what became of the
/// device.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Each call of the device, by its first letter, with the datagram that it made or was given.
    pub calls: Vec<(u8, Vec<u8>)>,
    /// Of each session.
    pub sessions: Vec<(u8, Epoch, Salt, ServerSalt)>,
    /// The random half of the rotation's secret.
    pub r0: [u8; 16],
}

/// Every key of that life, in every form.
pub fn needles(told: &Told) -> Vec<Needle> {
    let (first, rotation) = (DeviceKey::new(marker(1)), RotationKey::new(marker(2)));
    let next = Generation::new(2).expect("not 0");
    let secret = rotation.rotation_secret(next, ID, &told.r0);
    let second = rotation.next_device_key(&secret, next, ID);
    let mut keys = vec![
        ("device key 1".to_owned(), *first.expose()),
        ("device key 2".to_owned(), *second.expose()),
        ("rotation key".to_owned(), *rotation.expose()),
        ("hello key 1".to_owned(), *first.hello_key(ID).expose()),
        ("hello key 2".to_owned(), *second.hello_key(ID).expose()),
    ];
    let mut one_time = Vec::new();
    for (generation, epoch, salt, server_salt) in &told.sessions {
        let key = if *generation == 1 { &first } else { &second };
        let session = key.session_keys(ID, *epoch, *salt, *server_salt);
        one_time
            .push((format!("Hello {epoch}"), one_time_key(&key.hello_key(ID), &Nonce::hello(*epoch, *salt))));
        one_time.push((format!("Welcome {epoch}"), one_time_key(&session.down, &Nonce::welcome())));
        for number in 0..4 {
            let nonce = || Nonce::data(SequenceNumber::new(number));
            one_time.push((format!("up {number} of {epoch}"), one_time_key(&session.up, &nonce())));
            one_time.push((format!("down {number} of {epoch}"), one_time_key(&session.down, &nonce())));
        }
        keys.push((format!("up key of {epoch}"), *session.up.expose()));
        keys.push((format!("down key of {epoch}"), *session.down.expose()));
    }
    let mut needles: Vec<_> = keys.iter().flat_map(|(name, key)| forms(name, key)).collect();
    for (name, key) in &one_time {
        needles.push(Needle { name: format!("{ONE_TIME} of {name}"), bytes: key.to_vec() });
        needles.push(Needle { name: format!("{ONE_TIME} of {name}, in limbs"), bytes: limbs(key).to_vec() });
    }
    // Of r only the half that proves it: the other half comes from a generator that everybody knows.
    needles.push(Needle { name: "proof of r".to_owned(), bytes: secret.expose()[16..].to_vec() });
    let (prk, _) = Hkdf::<Sha256>::extract(Some(rotation.expose()), secret.expose());
    needles.extend(forms("PRK of device key 2", &prk.into()));
    needles
}

/// The key of Poly1305 for one datagram (RFC 8439, 2.6).
fn one_time_key(key: &AeadKey, nonce: &Nonce) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    ChaCha20::new(key.expose().into(), nonce.as_bytes().into()).apply_keystream(&mut bytes);
    bytes
}

/// The half that is multiplied by, clamped, in five limbs of 26 bits, as the portable Poly1305 has it.
fn limbs(key: &[u8; KEY_LEN]) -> [u8; 20] {
    let word = |at: usize, shift: u32, mask: u32| {
        let bytes = key[at..at + 4].try_into().expect("four");
        (u32::from_le_bytes(bytes) >> shift & mask).to_ne_bytes()
    };
    let limbs = [
        word(0, 0, 0x3FF_FFFF),
        word(3, 2, 0x3FF_FF03),
        word(6, 4, 0x3FF_C0FF),
        word(9, 6, 0x3F0_3FFF),
        word(12, 8, 0x00F_FFFF),
    ];
    limbs.as_flattened().try_into().expect("twenty")
}

/// As it is; as SHA-256 reads it; as HMAC has it, inside and outside, both of which SHA-256 reads; and what SHA-256 makes of
/// those, from where on HMAC needs the key no more.
fn forms(name: &str, key: &[u8; KEY_LEN]) -> Vec<Needle> {
    let masked = |mask: u8| key.map(|byte| byte ^ mask);
    let swapped = |bytes: [u8; KEY_LEN]| {
        let words = bytes.as_chunks::<4>().0.iter();
        words.flat_map(|word| u32::from_be_bytes(*word).to_le_bytes()).collect::<Vec<u8>>()
    };
    let forms = [
        ("", key.to_vec()),
        (", as words", swapped(*key)),
        (", in HMAC", masked(0x36).to_vec()),
        (", in HMAC, as words", swapped(masked(0x36))),
        (", in HMAC outside", masked(0x5C).to_vec()),
        (", in HMAC outside, as words", swapped(masked(0x5C))),
    ];
    let states = [
        (", state of HMAC", state(masked(0x36), 0x36)),
        (", outer state of HMAC", state(masked(0x5C), 0x5C)),
    ];
    let forms = forms.into_iter().chain(states);
    forms.map(|(form, bytes)| Needle { name: format!("{name}{form}"), bytes }).collect()
}

/// SHA-256 after one block, which ends with the mask.
fn state(masked: [u8; KEY_LEN], mask: u8) -> Vec<u8> {
    let mut block = [mask; 64];
    block[..KEY_LEN].copy_from_slice(&masked);
    let mut state = [
        0x6A09_E667,
        0xBB67_AE85,
        0x3C6E_F372,
        0xA54F_F53A,
        0x510E_527F,
        0x9B05_688C,
        0x1F83_D9AB,
        0x5BE0_CD19,
    ];
    compress256(&mut state, &[block]);
    state.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
