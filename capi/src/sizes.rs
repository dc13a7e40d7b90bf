//! The three sizes that are chosen when the library is built, and what follows from them. The header has the same
//! three as macros; `moteseal_boot` refuses a caller that was compiled with others.

/// The longest datagram in bytes that a device makes and keeps, 38 to 65,535.
pub const DATAGRAM_MAX: usize = chosen(option_env!("MOTESEAL_DATAGRAM_MAX"), 256) as usize;

/// The erase size of the flash in bytes: a multiple of 64.
pub const FLASH_PAGE: u32 = chosen(option_env!("MOTESEAL_FLASH_PAGE"), 4096);

/// The write size of the flash in bytes: 8 for all up to 8, 16 or 32.
pub const FLASH_WORD: u32 = chosen(option_env!("MOTESEAL_FLASH_WORD"), 8);

/// Identity, two key slots and the two pages of the boot counter.
pub const FLASH_LEN: u32 = 5 * FLASH_PAGE;

/// The bytes of a `moteseal_device` in the header.
pub const DEVICE_LEN: usize = (DATAGRAM_MAX + 320 + 8 * size_of::<*const ()>()).next_multiple_of(8);

const _: () = {
    assert!(DATAGRAM_MAX >= 38 && DATAGRAM_MAX <= 65_535, "MOTESEAL_DATAGRAM_MAX: 38 to 65535");
    assert!(FLASH_PAGE >= 64 && FLASH_PAGE <= 1 << 28, "MOTESEAL_FLASH_PAGE: 64 to 2^28");
    assert!(FLASH_PAGE.is_multiple_of(64), "MOTESEAL_FLASH_PAGE: a multiple of 64");
    assert!(matches!(FLASH_WORD, 8 | 16 | 32), "MOTESEAL_FLASH_WORD: 8, 16 or 32");
};

/// The number in a variable of the environment of cargo, or the default.
const fn chosen(variable: Option<&str>, default: u32) -> u32 {
    let Some(text) = variable else { return default };
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => {
            panic!("MOTESEAL_DATAGRAM_MAX, MOTESEAL_FLASH_PAGE and MOTESEAL_FLASH_WORD are decimal numbers")
        }
    }
}
