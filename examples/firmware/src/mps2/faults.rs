//! What happens when the device cannot go on: it says why, and stops with status 1. A real one would reset, or blink.

use core::fmt;
use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, exception};
use mote::report::Line;

use crate::semihosting;

/// Says why the device stops, and stops.
pub fn stop(why: &dyn fmt::Display) -> ! {
    semihosting::tell(&Line::Stopped(why));
    semihosting::exit(1)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("", 0), |location| (location.file(), location.line()));
    stop(&format_args!("panic in {file}, line {line}: {}", info.message()))
}

/// # Safety
/// Called by the processor only.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    stop(&format_args!("hard fault at {:#010x}, called from {:#010x}", frame.pc(), frame.lr()))
}

/// # Safety
/// Called by the processor only.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    stop(&format_args!("exception {number}, which nobody expects"))
}
