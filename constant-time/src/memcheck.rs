//! What valgrind's memcheck is told and asked: which bytes are secret, which have become public, and how often it has
//! seen a branch or an address that depends on a secret. The only `unsafe` here.

use std::ffi::{c_uint, c_void};
use std::hint::black_box;

unsafe extern "C" {
    fn moteseal_undefined(start: *const c_void, len: usize);
    fn moteseal_defined(start: *const c_void, len: usize);
    fn moteseal_flagged() -> c_uint;
    fn moteseal_is_watched() -> c_uint;
}

/// Whether memcheck is there at all.
pub fn is_watching() -> bool {
    // SAFETY: a client request without arguments; outside of valgrind it is 0.
    unsafe { moteseal_is_watched() != 0 }
}

/// These bytes as a secret: memcheck takes them for never written, and follows them through every computation.
#[inline(never)]
pub fn secret<const N: usize>(bytes: [u8; N]) -> [u8; N] {
    hide(&bytes);
    bytes
}

/// Makes secrets of bytes where they lie.
#[inline(never)]
pub fn hide(bytes: &[u8]) {
    // SAFETY: a client request about memory that is borrowed; the bytes keep their values.
    unsafe { moteseal_undefined(bytes.as_ptr().cast(), bytes.len()) }
}

/// These bytes are public from here on. Each caller says why.
#[inline(never)]
pub fn publish(bytes: &[u8]) {
    // SAFETY: a client request about memory that is borrowed; the bytes keep their values.
    unsafe { moteseal_defined(bytes.as_ptr().cast(), bytes.len()) }
}

/// A value that is public from here on, whatever it was computed from. Each caller says why.
#[inline(never)]
pub fn declassified<T: Copy>(value: T) -> T {
    let value = black_box(value);
    // SAFETY: a client request about a value on this stack frame; it keeps its bytes.
    unsafe { moteseal_defined((&raw const value).cast(), size_of::<T>()) };
    black_box(value)
}

/// How many times a branch or an address depended on a secret, since the start.
pub fn flagged() -> u64 {
    // SAFETY: a client request without arguments.
    u64::from(unsafe { moteseal_flagged() })
}
