//! How much may be left, so that it can only become less.

/// Where something is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the stack of the device.
    Device,
    /// On the stack of the server.
    Server,
    /// In the heap, in globals, or on another stack.
    Elsewhere,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Device, Self::Server, Self::Elsewhere];
}

/// A bound, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of the longest piece.
    pub longest: usize,
    /// Of all pieces together.
    pub sum: usize,
}

/// What may be left there: the most that was measured, and half as much again on the stacks of the server and of `ring`,
/// where pieces come and go with the addresses of a run, the processor and every change of a frame.
pub const fn most(backend: &str, phase: usize, place: Place) -> Most {
    let is_portable = backend.len() == "portable".len();
    let (longest, sum) = match (place, is_portable, phase) {
        (Place::Device, _, 0) | (Place::Elsewhere, _, 0..=2) => (0, 0),
        // 8 bytes of the key that was used last.
        (Place::Device, true, 1..=2) => (16, 16),
        // The key that the last Data was opened with.
        (Place::Device, true, _) => (32, 48),
        // `ring` wipes nothing.
        (Place::Device, false, _) => (32, 220),
        // Where a session in the heap has nothing yet, it has what the stack held when it was put there (README.md).
        (Place::Elsewhere, _, _) => (24, 32),
        (Place::Server, _, 0) => (32, 96),
        // A change travels by value, with both of its records, each with its key.
        (Place::Server, true, 1..=3) => (32, 180),
        (Place::Server, true, _) => (32, 350),
        (Place::Server, false, 1..=3) => (32, 300),
        (Place::Server, false, _) => (32, 680),
    };
    Most { longest, sum }
}

/// What may be left anywhere of the keys of Poly1305, one for each datagram.
pub const fn one_time(backend: &str, phase: usize) -> Most {
    let is_portable = backend.len() == "portable".len();
    let sum = match (is_portable, phase) {
        (_, 0) => 0,
        (true, 1..=2) => 160,
        (true, _) => 270,
        (false, _) => 220,
    };
    Most { longest: 20, sum }
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
    // The end of a window after its last number, 6 bytes, takes along what the stack held where it was made.
    Metal { keys: Most { longest: 6, sum: 6 }, one_time: Most { longest: 0, sum: 0 }, margin: Some(128) }
}
