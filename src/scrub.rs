//! Wipes the stack below a call: where ciphers have worked, and from where values with keys were moved. SPEC M-23.

use core::mem::MaybeUninit;

use zeroize::Zeroize as _;

/// In bytes. On a microcontroller the drop shall be no deeper than a device's deepest call, and some 150 bytes deeper than the
/// deepest word of a key that calls leave: `residue/check` measures both. Cores without atomic operations (Armv6-M) have
/// few registers and go deeper. Where vectors are spilled, there is more to wipe, and stack enough.
const LEN: usize = if cfg!(moteseal_explore) {
    0 // the exhaustive search drops millions of halves, and looks at no memory
} else if cfg!(target_pointer_width = "64") {
    16 << 10
} else if cfg!(target_has_atomic = "32") {
    1216
} else {
    1408
};

/// Overwrites the stack below the caller's frame: 16 KiB where a pointer has 64 bits, else 1,216 bytes, or 1,408 on a core
/// without atomic operations (Armv6-M). Dropping a half does so by itself, and so does a server before it puts a session in
/// service; call it besides where a device that lives on should leave no copies of keys below its stack, for instance before
/// a long sleep.
///
/// What lies there was left by functions that have returned to the caller, so call it from the function that calls the
/// half, on the same thread. The compiler may put anything anywhere, so that nobody can promise more; `residue/` searches
/// what is left.
#[inline(never)]
pub fn stack() {
    let mut below = [const { MaybeUninit::<usize>::uninit() }; LEN / size_of::<usize>()];
    below.zeroize();
}

/// A field that wipes the stack when it is dropped. The last field, it is dropped when the others are wiped.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(crate) struct ScrubOnDrop;

impl Drop for ScrubOnDrop {
    fn drop(&mut self) {
        stack();
    }
}
