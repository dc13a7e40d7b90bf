//! The firmware that counts, in QEMU: each operation of a device beside the raw cipher, in one binary. A device and its
//! server stand here in one memory, so that every datagram is a real one; what the server does is not counted.
//! A line of output: name, ticks, bytes of stack.

#![no_std]
#![no_main]

mod life;
mod measure;
mod raw;
mod rejects;
mod sessions;
mod world;

use core::mem::size_of;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use moteseal::boot_counter::NorBootCounter;
use moteseal::device::{Device, Parts};
use moteseal::key_slots::NorKeySlots;
use moteseal_cortex_m::chip::{Flash, Rng};
use moteseal_cortex_m::host;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    host::failed(info)
}

/// The device as `device.rs` has it: this is what it takes in memory.
type Mote<const N: usize> = Device<Parts<NorBootCounter<Flash>, NorKeySlots<Flash>, Rng>, N>;

#[entry]
fn main() -> ! {
    host::line("size/0", &[size_of::<Mote<0>>() as u32]);
    host::line("size/64", &[size_of::<Mote<64>>() as u32]);
    host::line("size/128", &[size_of::<Mote<128>>() as u32]);
    measure::calibrate();
    raw::run();
    sessions::run();
    life::run();
    host::exit(0)
}
