//! How deep an operation goes: the stack below it is painted, and read back afterwards.

use core::arch::asm;
use core::ptr;

unsafe extern "C" {
    /// The end of the variables, from `cortex-m-rt`'s linker script; the stack grows down towards it.
    static __sheap: u32;
}

const PAINT: u32 = 0xA5C3_96E1;
/// Deeper is nothing that is measured.
const DEEPEST: usize = 8192;
/// What the functions that paint and read may themselves use below the one that calls them.
const OWN: usize = 128;

/// Runs `operation` and gives the bytes of stack that it used, to a multiple of 4.
#[inline(never)]
pub fn depth(operation: impl FnOnce()) -> usize {
    let top = pointer() - OWN;
    let bottom = paint();
    let before = pointer();
    operation();
    let is_painted = |word: &usize| {
        // SAFETY: as above.
        unsafe { ptr::with_exposed_provenance::<u32>(*word).read_volatile() == PAINT }
    };
    let deepest = (bottom..top).step_by(4).find(|word| !is_painted(word)).unwrap_or(top);
    before - deepest
}

/// Paints the stack below its caller, and tells from where on.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it paints below its caller")]
pub fn paint() -> usize {
    let top = pointer() - OWN;
    let bottom = (&raw const __sheap).addr().next_multiple_of(4).max(top - DEEPEST);
    for word in (bottom..top).step_by(4) {
        // SAFETY: between the variables and what is in use of the stack, nothing lies.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(word).write_volatile(PAINT) };
    }
    bottom
}

/// Where the stack of the caller ends.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it reads the stack pointer of its caller")]
pub fn pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}
