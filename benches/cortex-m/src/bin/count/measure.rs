//! One measurement: an operation is run once, counted, with the stack below it painted.

use core::arch::asm;
use core::hint::black_box;

use moteseal_cortex_m::{counter, host, stack};

/// The lengths of payloads that are measured.
pub const LENGTHS: [usize; 5] = [0, 16, 64, 256, 1024];

/// A buffer for datagrams that begins at a word, as one does that a driver fills by DMA. The ciphertext behind a header of
/// three bytes does not, and is copied byte by byte: that is counted, for the raw cipher in the same place too.
#[repr(align(4))]
pub struct Aligned<const N: usize>(pub [u8; N]);

/// Runs `operation` once and prints what it took.
#[inline(never)]
pub fn measure<T>(name: &str, operation: impl FnOnce() -> T) -> T {
    let (result, ticks, depth) = once(operation);
    host::line(name, &[ticks, depth]);
    result
}

/// The same with the length of a payload in the name.
#[inline(never)]
pub fn measure_len<T>(names: &[&str; 5], at: usize, operation: impl FnOnce() -> T) -> T {
    measure(names[at], operation)
}

/// Runs `operation` once: its result, ticks and bytes of stack.
#[inline(never)]
pub fn once<T>(operation: impl FnOnce() -> T) -> (T, u32, u32) {
    let (mut result, mut ticks) = (None, None);
    let depth = stack::depth(|| ticks = counter::ticks(|| result = Some(operation())));
    (black_box(result).expect("it ran"), ticks.expect("the counter wrapped"), depth as u32)
}

/// Nothing, and a loop of known length: what the method itself adds, and whether it counts right.
pub fn calibrate() {
    measure("nothing", || ());
    measure("loop", || {
        // SAFETY: counts a register down.
        unsafe {
            asm!("2:", "subs {left}, #1", "bne 2b", left = inout(reg) 200_000 => _, options(nomem, nostack));
        };
    });
}
