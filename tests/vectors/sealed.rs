//! What every datagram of the files has: the device, its Hello, and what the AEAD was given and gave.

use moteseal::aead::{Backend, Nonce};
use moteseal::keys::{AeadKey, DeviceKey, SUITE, SessionKeys};
use moteseal::number::{DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::wire::{Header, Unverified};
use serde::Deserialize;

use crate::file::{Array, Bytes};

/// A device and one of its Hellos.
#[derive(Deserialize)]
pub struct Origin {
    suite: u8,
    generation: u8,
    device_id: Array<8>,
    device_key: Array<32>,
    epoch: Array<6>,
    boot_count: u32,
    hello_count: u16,
    salt: Array<6>,
}

impl Origin {
    pub fn generation(&self) -> Generation {
        assert_eq!(self.suite, SUITE);
        Generation::new(self.generation).unwrap()
    }

    pub fn device_id(&self) -> DeviceId {
        DeviceId::new(self.device_id.0)
    }

    pub fn device_key(&self) -> DeviceKey {
        DeviceKey::new(self.device_key.0)
    }

    pub fn epoch(&self) -> Epoch {
        let epoch = Epoch::new(self.boot_count, self.hello_count);
        assert_eq!(epoch.as_bytes(), &self.epoch.0);
        epoch
    }

    pub fn salt(&self) -> Salt {
        Salt(self.salt.0)
    }

    pub fn session_keys(&self, server_salt: Array<8>) -> SessionKeys {
        let server_salt = ServerSalt(server_salt.0);
        self.device_key().session_keys(self.device_id(), self.epoch(), self.salt(), server_salt)
    }

    /// The header of its Hello.
    pub fn hello(&self) -> Header {
        Header::Hello(moteseal::wire::Hello {
            generation_bits: self.generation().low_bits(),
            device_id: self.device_id(),
            epoch: self.epoch(),
            salt: self.salt(),
        })
    }
}

/// What the AEAD was given, what it gave, and the datagram made of it.
#[derive(Deserialize)]
pub struct Sealed {
    key: Array<32>,
    nonce: Array<12>,
    aad: Bytes,
    plaintext: Bytes,
    ciphertext: Bytes,
    tag: Array<16>,
    pub datagram: Bytes,
}

impl Sealed {
    /// Seals the datagram from its parts, reads it back and opens it, and compares every step.
    pub fn check<A: Backend>(
        &self,
        key: &AeadKey,
        nonce: impl Fn() -> Nonce,
        header: Header,
        plaintext: &[u8],
    ) {
        assert_eq!(*key.expose(), self.key.0, "key");
        assert_eq!(*nonce().as_bytes(), self.nonce.0, "nonce");
        assert_eq!(plaintext, &*self.plaintext, "plaintext");
        let encoded = header.encode();
        let mut buffer = plaintext.to_vec();
        let tag = A::seal(key, nonce(), &self.aad, &mut buffer);
        assert_eq!(buffer, *self.ciphertext, "ciphertext");
        assert_eq!(tag, self.tag.0, "tag");
        assert_eq!([encoded.as_bytes(), &buffer, &tag].concat(), *self.datagram, "datagram");

        let mut datagram = self.datagram.to_vec();
        let unverified = Unverified::parse(&mut datagram).unwrap();
        assert_eq!(unverified.header, header, "header");
        let sealed = unverified.sealed;
        assert_eq!(sealed.aad, &*self.aad, "aad");
        assert_eq!(sealed.ciphertext, &*self.ciphertext, "ciphertext");
        assert_eq!(*sealed.tag, self.tag.0, "tag");
        A::open(key, nonce(), sealed.aad, sealed.ciphertext, sealed.tag).unwrap();
        assert_eq!(sealed.ciphertext, &*self.plaintext, "plaintext");
    }
}
