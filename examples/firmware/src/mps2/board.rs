//! The boards: where things are, the registers behind these addresses, and the device's [`Board`].
//!
//! Sources: Arm application notes 385, 386 and 505; QEMU's `hw/arm/mps2.c` and `mps2-tz.c`.

use core::ptr::with_exposed_provenance_mut;
use core::slice;

use mote::mote::Board;
use mote::report::Line;
use moteseal::device::Millis;

use crate::clock::{self, Clock};
use crate::network::Network;
use crate::semihosting;

/// Length in bytes of the flash that is the device's.
pub const FLASH_LEN: usize = 64 * 1024;

/// AN385 and AN386.
#[cfg(not(an505))]
mod at {
    pub const FLASH: usize = 0x0030_0000;
    pub const ETHERNET: usize = 0x4020_0000;
    pub const FPGA_IO: usize = 0x4002_8000;
    pub const CORE_HZ: u32 = 25_000_000;
    pub const PRESCALED_HZ: u32 = 25_000_000;
}

/// AN505, as its secure side sees it. The Ethernet controller has no secure address.
#[cfg(an505)]
mod at {
    pub const FLASH: usize = 0x1030_0000;
    pub const ETHERNET: usize = 0x4200_0000;
    pub const FPGA_IO: usize = 0x5030_2000;
    pub const CORE_HZ: u32 = 20_000_000;
    pub const PRESCALED_HZ: u32 = 20_000_000;
}

pub use at::{CORE_HZ, PRESCALED_HZ};

/// `SysTick`, which every Cortex-M has here.
const SYSTICK: usize = 0xE000_E010;

/// The registers of a peripheral.
#[derive(Clone, Copy)]
pub struct Registers {
    base: usize,
}

impl Registers {
    /// Reads the register at an offset.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: `base` is that of a peripheral of this board, see below, and each driver reads the registers of its
        // own peripheral, of 32 bits. They lie outside of all memory that Rust knows of.
        unsafe { with_exposed_provenance_mut::<u32>(self.base + offset).read_volatile() }
    }

    /// Writes the register at an offset.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as above. No register that is written here lets a peripheral touch memory.
        unsafe { with_exposed_provenance_mut::<u32>(self.base + offset).write_volatile(value) }
    }
}

pub fn ethernet() -> Registers {
    Registers { base: at::ETHERNET }
}

pub fn fpga_io() -> Registers {
    Registers { base: at::FPGA_IO }
}

pub fn systick() -> Registers {
    Registers { base: SYSTICK }
}

/// The memory of the device's flash. To be called once.
///
/// # Panics
/// The second time.
pub fn flash() -> &'static mut [u8] {
    use core::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // One core and no interrupt that calls this: load and store are enough, and all that a Cortex-M0 has.
    assert!(!TAKEN.load(Ordering::Relaxed), "the flash is taken");
    TAKEN.store(true, Ordering::Relaxed);
    // SAFETY: this memory is there on the board, `memory.x` leaves it out, QEMU has loaded it, and this is the one
    // reference to it.
    unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(at::FLASH), FLASH_LEN) }
}

/// The board, as the main loop sees it.
pub struct Mps2<'b> {
    clock: Clock,
    network: Network<'b>,
    measurements: u16,
}

impl<'b> Mps2<'b> {
    pub const fn new(clock: Clock, network: Network<'b>) -> Self {
        Self { clock, network, measurements: 0 }
    }
}

impl Board for Mps2<'_> {
    fn now(&mut self) -> Millis {
        self.clock.now()
    }

    fn send(&mut self, datagram: &[u8]) {
        self.network.send(datagram, self.clock.now());
    }

    fn receive(&mut self, until: Millis, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let now = self.clock.now();
            if let Some(len) = self.network.receive(buffer, now) {
                return Some(len);
            }
            if now >= until {
                return None;
            }
            clock::doze();
        }
    }

    /// The board has no thermometer: 18.0 to 25.9 degrees, made up.
    fn temperature(&mut self) -> i16 {
        self.measurements = self.measurements.wrapping_add(7);
        180 + i16::try_from(self.measurements % 80).unwrap_or_default()
    }

    fn tell(&mut self, line: &Line<'_>) {
        semihosting::tell(line);
    }
}
