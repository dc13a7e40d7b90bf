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

/// What may be left there, after what was measured: pieces come and go with the addresses of a run.
pub const fn most(backend: &str, phase: usize, place: Place) -> Most {
    let is_portable = backend.len() == "portable".len();
    let (longest, sum) = match (place, is_portable, phase) {
        (Place::Device, _, 0) => (0, 0),
        // What is elsewhere was found with the server of today, and is not traced yet.
        (Place::Device, true, _) | (Place::Elsewhere, _, _) => (32, 64),
        (Place::Device, false, _) => (32, 200),
        // Records are moved by value, each with its key.
        (Place::Server, true, _) => (32, 520),
        (Place::Server, false, _) => (32, 860),
    };
    Most { longest, sum }
}
