//! The time, and sleep. The time is a counter of the board that goes on by itself, so that no interrupt has to be in
//! time for it; `SysTick` only wakes the processor up. On a battery both would be a low-power timer.

use core::arch::asm;

use cortex_m_rt::exception;
use moteseal::device::Millis;

use crate::board::{self, Registers};

/// Of the board's FPGA I/O: counts the ticks of a prescaled clock.
const COUNTER: usize = 0x18;
const PRESCALE: usize = 0x1C;
/// Of `SysTick`.
const CONTROL: usize = 0x0;
const RELOAD: usize = 0x4;
const CURRENT: usize = 0x8;
/// On, with interrupts, at the processor's clock.
const CONTROL_ON: u32 = 0b111;
/// How many times a second the processor wakes up.
const WAKES_PER_SECOND: u32 = 500;

/// The clock.
pub struct Clock {
    io: Registers,
    /// The counter when it was last read: it wraps after 49 days, and is read far more often.
    last: u32,
    wraps: u32,
}

impl Clock {
    /// Starts to count milliseconds at 0.
    pub fn start() -> Self {
        let (io, tick) = (board::fpga_io(), board::systick());
        io.write(PRESCALE, board::PRESCALED_HZ / 1000 - 1);
        io.write(COUNTER, 0);
        tick.write(RELOAD, board::CORE_HZ / WAKES_PER_SECOND - 1);
        tick.write(CURRENT, 0);
        tick.write(CONTROL, CONTROL_ON);
        Self { io, last: 0, wraps: 0 }
    }

    /// Milliseconds since the start.
    pub fn now(&mut self) -> Millis {
        let counter = self.io.read(COUNTER);
        if counter < self.last {
            self.wraps += 1;
        }
        self.last = counter;
        Millis::from(self.wraps) << 32 | Millis::from(counter)
    }
}

/// Sleeps for 2 milliseconds, or less, once the clock is started.
pub fn doze() {
    // SAFETY: waits for an interrupt, and that of `SysTick` comes; no register and no memory is changed.
    unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) }
}

/// Waking up was all.
#[exception]
fn SysTick() {}
