//! Somebody who stole a device key before it was rotated away, and makes datagrams with it.

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::keys::DeviceKey;
use moteseal::number::{DeviceId, Epoch, Generation, Salt};
use moteseal::wire::{self, Header};

use crate::random::Random;

/// A Hello of a plausible epoch, with a payload.
pub fn hello(id: DeviceId, generation: Generation, key: &DeviceKey, random: &mut Random) -> Vec<u8> {
    let boot = u32::try_from(random.below(1 << 24)).unwrap();
    let (epoch, salt) = (Epoch::new(boot, 0), Salt(random.array()));
    let hello = wire::Hello { generation_bits: generation.low_bits(), device_id: id, epoch, salt };
    let mut datagram = Header::Hello(hello).encode().as_bytes().to_vec();
    let mut payload = *b"\xFF\xFF\xFF\xFFfrom the thief";
    // Flags and device id are the associated data (SPEC 4.2).
    let tag = Portable::seal(&key.hello_key(id), Nonce::hello(epoch, salt), &datagram[..9], &mut payload);
    datagram.extend(payload);
    datagram.extend(tag);
    datagram
}
