//! The C API of Moteseal's device half, and of nothing else: no server, no provisioning. `include/moteseal.h` is its
//! documentation; this crate is a thin layer between that header and the crate `moteseal`.
//!
//! ```text
//! api        the functions of the header; each checks, claims, calls the crate, converts
//! memory     a `moteseal_device`: whether it is blank, ready, busy, or a copy; lending it out once at a time
//! buffers    pointers and lengths from C, checked, as slices and outputs
//! hardware   the callbacks as the crate's boot counter, key slots and generator
//! error      the one enum of errors, its texts, which error of the crate is which
//! types      the structs and enums of the header
//! sizes      what is chosen at build time
//! ```
//!
//! This is the only crate of the workspace that says `unsafe`: C gives no other way to hand over memory and functions.
//! There is no heap and no global, and nothing panics (`tests/firmware` proves it on the linked library).

#![no_std]

// Where panics unwind, as in tests, `std` handles them. A library that aborts has nothing of `std`: a program may have
// another library in Rust, and two of `std` clash.
#[cfg(not(any(target_os = "none", panic = "abort")))]
extern crate std;

pub mod api;
mod buffers;
pub mod error;
mod hardware;
mod memory;
pub mod sizes;
pub mod types;

/// Never reached, and linked only if it could be.
#[cfg(any(target_os = "none", panic = "abort"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
