//! What an attacker does to bytes: corrupts them, and makes up new ones that look as real as he can. He has read
//! every datagram so far and knows every id; he has no key. SPEC section 2.1.

use fastrand::Rng;
use moteseal::aead::TAG_LEN;
use moteseal::number::DeviceId;

/// Changes a datagram: some bits, some bytes at the end cut off, or some added.
pub fn corrupt(rng: &mut Rng, datagram: &mut Vec<u8>) {
    match rng.u8(0..4) {
        0 if datagram.len() > 1 => datagram.truncate(rng.usize(1..datagram.len())),
        1 => datagram.extend((0..rng.usize(1..9)).map(|_| 0)),
        _ => {
            for _ in 0..rng.usize(1..4) {
                flip(rng, datagram);
            }
        }
    }
}

/// Adds less than a third of 256, so that three changes of one byte never cancel out.
fn flip(rng: &mut Rng, datagram: &mut [u8]) {
    let at = rng.usize(0..datagram.len().max(1));
    if let Some(byte) = datagram.get_mut(at) {
        *byte = byte.wrapping_add(rng.u8(1..0x55));
    }
}

/// Makes a datagram that nobody sealed: noise, or one after the model of a real datagram.
pub fn forge(rng: &mut Rng, model: &[u8], devices: &[DeviceId]) -> Vec<u8> {
    match rng.u8(0..6) {
        0 => noise(rng, 0..80),
        1 => hello(rng, devices),
        2 => spliced(rng, model),
        3 => with_low_nibble(rng, model),
        4 => data_of_every_cid(rng),
        _ => with_tag(rng, model.to_vec()),
    }
}

fn noise(rng: &mut Rng, len: std::ops::Range<usize>) -> Vec<u8> {
    let len = rng.usize(len);
    (0..len).map(|_| rng.u8(..)).collect()
}

/// A Hello of a device that exists, with an epoch far ahead.
fn hello(rng: &mut Rng, devices: &[DeviceId]) -> Vec<u8> {
    let mut datagram = vec![0x44];
    datagram.extend(rng.choice(devices).map_or([0; DeviceId::LEN], |device_id| *device_id.as_bytes()));
    datagram.extend(rng.u32(0..2_000_000).to_be_bytes());
    datagram.extend(noise(rng, 32..60));
    datagram
}

/// The head of a real datagram, and a body that is none.
fn spliced(rng: &mut Rng, model: &[u8]) -> Vec<u8> {
    let keep = rng.usize(0..=model.len().min(24));
    let mut datagram = model[..keep].to_vec();
    datagram.extend(noise(rng, TAG_LEN..60));
    datagram
}

/// A real datagram that says something else of itself: another type of the same length, or other bits.
fn with_low_nibble(rng: &mut Rng, model: &[u8]) -> Vec<u8> {
    let mut datagram = model.to_vec();
    if let Some(flags) = datagram.first_mut() {
        *flags = 0x40 | (*flags & 0x3F ^ rng.u8(1..0x40));
    }
    datagram
}

/// A Data for a session that may exist.
fn data_of_every_cid(rng: &mut Rng) -> Vec<u8> {
    let mut datagram = vec![0x60 | rng.u8(..) & 0x0F, rng.u8(0..0x40)];
    datagram.extend(noise(rng, TAG_LEN + 1..60));
    datagram
}

/// A real datagram under another tag.
fn with_tag(rng: &mut Rng, mut datagram: Vec<u8>) -> Vec<u8> {
    let body = datagram.len().saturating_sub(TAG_LEN);
    let at = rng.usize(body..datagram.len().max(body + 1));
    if let Some(byte) = datagram.get_mut(at) {
        *byte ^= rng.u8(1..);
    }
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: [u8; 40] = [0x6C; 40];

    #[test]
    fn what_is_corrupted_differs() {
        for seed in 0..10_000 {
            let mut datagram = REAL.to_vec();
            corrupt(&mut Rng::with_seed(seed), &mut datagram);
            assert_ne!(datagram, REAL, "{seed}");
        }
    }

    #[test]
    fn what_is_forged_was_not_sealed() {
        let devices = [DeviceId::new([1; 8])];
        for seed in 0..10_000 {
            let forged = forge(&mut Rng::with_seed(seed), &REAL, &devices);
            assert_ne!(forged, REAL, "{seed}");
        }
    }

    #[test]
    fn nothing_is_forged_without_a_model_too() {
        for seed in 0..1_000 {
            let _ = forge(&mut Rng::with_seed(seed), &[], &[]);
            let _ = forge(&mut Rng::with_seed(seed), &[0x50], &[]);
        }
    }
}
