//! How much may be left on a microcontroller, so that it can only become less. In a process nothing may.

/// A bound, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of the longest piece.
    pub longest: usize,
    /// Of all pieces together.
    pub sum: usize,
}

/// What is asked of a drop on a microcontroller.
pub struct Metal {
    /// What of keys may be left.
    pub keys: Most,
    /// What of one-time keys may be left.
    pub one_time: Most,
    /// By how much the drop must reach deeper than the deepest piece of a key, so that an application may call the device
    /// from so much deeper than it drops it. It must never be deeper than the deepest call, or it would be what the stack
    /// has to have room for.
    pub margin: Option<usize>,
}

/// For firmware of this name.
pub fn metal(name: &str) -> Metal {
    if name.ends_with("/z") {
        // Calls are deeper by half than at 3 and s, and a drop for them would be the deepest call there.
        let (keys, one_time) = (Most { longest: 4, sum: 60 }, Most { longest: 6, sum: 6 });
        return Metal { keys, one_time, margin: None };
    }
    // Bytes of a session that nobody writes, and that take along what the stack held where it was made.
    Metal { keys: Most { longest: 6, sum: 6 }, one_time: Most { longest: 0, sum: 0 }, margin: Some(128) }
}
