//! What lies where in flash: the program, and behind it the five erase pages of Moteseal. `build.rs` makes the linker
//! script from it.

/// Where flash is mapped to.
pub const FLASH_START: u32 = 0x1000_0000;
/// Length of the flash in bytes, as far as it is used. A Pico 2 has twice as much.
pub const FLASH_LEN: u32 = 2 * 1024 * 1024;
/// Length of an erase page in bytes.
pub const PAGE_LEN: u32 = 4096;
/// Identity, key slot A, key slot B, and two pages of the boot counter.
pub const PAGES: u32 = 5;

/// Offset of the factory image in flash: the address that `moteseal provision` is told is `FLASH_START` above it.
pub const FACTORY: u32 = FLASH_LEN - PAGES * PAGE_LEN;
/// Offset of the boot counter: behind the three pages of the factory image.
pub const COUNTER: u32 = FACTORY + 3 * PAGE_LEN;

const _: () = {
    assert!(FLASH_START.is_multiple_of(PAGE_LEN) && FLASH_LEN.is_multiple_of(PAGE_LEN), "not in whole pages");
    assert!(COUNTER + 2 * PAGE_LEN <= FLASH_LEN, "the boot counter ends behind the flash");
    assert!(FLASH_START + FACTORY == 0x101f_b000, "README.md says another --flash-base");
};
