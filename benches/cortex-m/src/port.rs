//! Registers of an imaginary chip: words from outside that the compiler knows nothing of, so that nothing folds.

const BASE: usize = 0x4000_0000;

/// The registers.
#[derive(Clone, Copy, Debug)]
pub enum Register {
    /// What is to be done next.
    Command = 0,
    /// The time in milliseconds.
    Clock = 4,
    /// Lengths and other arguments.
    Argument = 8,
    /// A byte in or out.
    Byte = 12,
    /// What is told to the outside.
    Result = 16,
    /// The flash controller's key, address, word and status.
    FlashKey = 20,
    /// See there.
    FlashAddress = 24,
    /// See there.
    FlashWord = 28,
    /// See there.
    FlashStatus = 32,
    /// The random number generator's status and word.
    RngStatus = 36,
    /// See there.
    RngWord = 40,
}

/// Reads a register.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one load instruction")]
pub fn read(register: Register) -> u32 {
    // SAFETY: aligned addresses in a chip's peripheral space; reading them has no effect on memory.
    unsafe { core::ptr::read_volatile((BASE + register as usize) as *const u32) }
}

/// Writes a register.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one store instruction")]
pub fn write(register: Register, word: u32) {
    // SAFETY: as for `read`.
    unsafe { core::ptr::write_volatile((BASE + register as usize) as *mut u32, word) };
}

/// An argument from outside.
#[inline(never)]
pub fn argument() -> usize {
    read(Register::Argument) as usize
}

/// The time.
#[inline(never)]
pub fn now() -> u64 {
    u64::from(read(Register::Clock))
}

/// Tells a word to the outside.
#[inline(never)]
pub fn tell(word: u32) {
    write(Register::Result, word);
}

/// Takes bytes from outside: `buffer` or less of it.
#[inline(never)]
pub fn take(buffer: &mut [u8]) -> &mut [u8] {
    let len = argument().min(buffer.len());
    let (taken, _) = buffer.split_at_mut_checked(len).unwrap_or_default();
    for byte in taken.iter_mut() {
        *byte = read(Register::Byte).to_le_bytes()[0];
    }
    taken
}

/// Gives bytes to the outside: the network, the application.
#[inline(never)]
pub fn give(bytes: &[u8]) {
    for byte in bytes {
        write(Register::Byte, u32::from(*byte));
    }
}
