//! The firmware without the library, with the raw primitives that the library stands on: ChaCha20-Poly1305 both ways
//! and HKDF-SHA-256. What `device` weighs more than this one is the protocol's own.

#![no_std]
#![no_main]

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use cortex_m_rt::entry;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use hkdf::Hkdf;
use moteseal::entropy::Entropy;
use moteseal_cortex_m::chip::{Flash, Rng};
use moteseal_cortex_m::port::{self, Register};
use sha2::Sha256;

/// The raw crates can panic as far as the linker knows, so that this firmware may.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[entry]
fn main() -> ! {
    let mut buffer = [0; 128];
    let (mut key, mut nonce, mut aad) = ([0; 32], [0; 12], [0; 16]);
    loop {
        match port::read(Register::Command) {
            0 => port::give(port::take(&mut buffer)),
            1 => port::tell(u32::from(Flash.read(port::argument() as u32, &mut buffer).is_ok())),
            2 => port::tell(u32::from(Flash.write(port::argument() as u32, &buffer).is_ok())),
            3 => port::tell(u32::from(Flash.erase(port::argument() as u32, 0x1_0000).is_ok())),
            4 => port::tell(u32::from(Rng.fill(port::take(&mut buffer)).is_ok())),
            5 => _ = (port::take(&mut key), port::take(&mut nonce)),
            6 => {
                let cipher = ChaCha20Poly1305::new(&key.into());
                let (aad, text) = (port::take(&mut aad), port::take(&mut buffer));
                if let Ok(tag) = cipher.encrypt_inout_detached(&nonce.into(), aad, (&mut *text).into()) {
                    port::give(text);
                    port::give(&tag);
                }
            }
            7 => {
                let mut tag = [0; 16];
                port::take(&mut tag);
                let cipher = ChaCha20Poly1305::new(&key.into());
                let (aad, text) = (port::take(&mut aad), port::take(&mut buffer));
                let opened =
                    cipher.decrypt_inout_detached(&nonce.into(), aad, (&mut *text).into(), &tag.into());
                if opened.is_ok() {
                    port::give(text);
                }
            }
            8 => {
                let mut okm = [0; 32];
                if Hkdf::<Sha256>::new(Some(&nonce), &key).expand(port::take(&mut buffer), &mut okm).is_ok() {
                    port::give(&okm);
                }
            }
            _ => port::tell(u32::from(port::now() == 0)),
        }
    }
}
