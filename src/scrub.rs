//! Wipes the stack below a call: where ciphers have worked, and from where values with keys were moved.

use core::mem::MaybeUninit;

use zeroize::Zeroize as _;

/// In bytes: what the deepest call of a half needs, less on a microcontroller than where vectors are spilled.
const LEN: usize = if cfg!(moteseal_explore) {
    0 // the exhaustive search drops millions of halves, and looks at no memory
} else if cfg!(target_pointer_width = "32") {
    1024
} else {
    16 << 10
};

/// A field that wipes the stack when it is dropped. The last field, it is dropped when the others are wiped.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct ScrubOnDrop;

impl Drop for ScrubOnDrop {
    fn drop(&mut self) {
        stack();
    }
}

/// Overwrites [`LEN`] bytes below the caller's frame. The compiler may put anything anywhere, so that nobody can promise
/// more than that; `residue/` searches what is left.
#[inline(never)]
pub fn stack() {
    let mut below = [const { MaybeUninit::<usize>::uninit() }; LEN / size_of::<usize>()];
    below.zeroize();
}
