//! What the firmwares of this bench share. Each binary is one firmware: `nothing`, `crypto`, `device` and `server` are
//! never run, but measured as they lie in flash; `count` runs in QEMU and counts.

#![no_std]

use core::panic::PanicInfo;

pub mod chip;
pub mod counter;
pub mod host;
pub mod nor;
pub mod port;
pub mod stack;

/// The panic handler of a firmware that must have no reachable panic: it calls a symbol that does not exist, so that
/// such a firmware does not link.
#[macro_export]
macro_rules! forbid_panics {
    () => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo) -> ! {
            $crate::panicked(info)
        }
    };
}

/// See [`forbid_panics`].
pub fn panicked(info: &PanicInfo) -> ! {
    unsafe extern "C" {
        fn a_panic_is_reachable(place: *const ()) -> !;
    }
    // Who looks for panics wants their places kept; who measures, does not.
    let place = if cfg!(feature = "locate-panics") { info.location() } else { None };
    // SAFETY: no firmware that calls it is ever linked, but to be looked at.
    unsafe {
        a_panic_is_reachable(place.map_or(core::ptr::null(), |place| core::ptr::from_ref(place).cast()))
    }
}
