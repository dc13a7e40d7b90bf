//! Counts instructions: QEMU with `-icount shift=7` lets 128 ns of its clock pass for each, and `SysTick` tells that
//! clock. Not cycles: QEMU knows neither wait states nor pipelines.

use core::sync::atomic::{Ordering, compiler_fence};

const CONTROL: *mut u32 = 0xE000_E010 as *mut u32;
const RELOAD: *mut u32 = 0xE000_E014 as *mut u32;
const VALUE: *mut u32 = 0xE000_E018 as *mut u32;
const LONGEST: u32 = 0x00FF_FFFF;
const ENABLED: u32 = 0b101;
const WRAPPED: u32 = 1 << 16;

/// Runs `operation` and gives the ticks that it took; nothing if they are more than the counter holds.
#[inline(never)]
pub fn ticks(operation: impl FnOnce()) -> Option<u32> {
    // SAFETY: the registers of SysTick, which every Cortex-M here has, and which nothing else uses. It is started anew, so
    // that one wrap is seen; to read the control register clears the mark of one.
    let start = unsafe {
        CONTROL.write_volatile(0);
        RELOAD.write_volatile(LONGEST);
        VALUE.write_volatile(0);
        CONTROL.write_volatile(ENABLED);
        while VALUE.read_volatile() == 0 {}
        CONTROL.read_volatile();
        VALUE.read_volatile()
    };
    compiler_fence(Ordering::SeqCst);
    operation();
    compiler_fence(Ordering::SeqCst);
    // SAFETY: as above.
    let (end, control) = unsafe { (VALUE.read_volatile(), CONTROL.read_volatile()) };
    (control & WRAPPED == 0).then(|| start - end)
}
