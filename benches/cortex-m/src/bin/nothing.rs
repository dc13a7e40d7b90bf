//! The firmware without the library: the same drivers, all in use, and payloads that travel bare. What the others
//! weigh more than this one is what they add.

#![no_std]
#![no_main]

use cortex_m_rt::entry;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use moteseal::entropy::Entropy;
use moteseal_cortex_m::chip::{Flash, Rng};
use moteseal_cortex_m::port::{self, Register};

moteseal_cortex_m::forbid_panics!();

#[entry]
fn main() -> ! {
    let mut buffer = [0; 128];
    loop {
        match port::read(Register::Command) {
            0 => port::give(port::take(&mut buffer)),
            1 => port::tell(u32::from(Flash.read(port::argument() as u32, &mut buffer).is_ok())),
            2 => port::tell(u32::from(Flash.write(port::argument() as u32, &buffer).is_ok())),
            3 => port::tell(u32::from(Flash.erase(port::argument() as u32, 0x1_0000).is_ok())),
            4 => port::tell(u32::from(Rng.fill(port::take(&mut buffer)).is_ok())),
            _ => port::tell(u32::from(port::now() == 0)),
        }
    }
}
