//! Where in a device's flash the factory image goes: the three parts, then the boot counter, in neighbouring
//! erase pages. SPEC section 3.1.
//!
//! ```text
//! page 0 identity | page 1 key slot A | page 2 key slot B | pages 3 and 4 boot counter
//! ```

use moteseal::boot_counter;
use moteseal::identity::FactoryImage;
use zeroize::Zeroizing;

use super::intel_hex;

/// Erase pages that a device needs: three parts of the image, two of the boot counter.
const PAGES: u64 = 5;
/// The first page of the boot counter.
const COUNTER_PAGE: u32 = 3;
/// What the length of an erase page is a multiple of, and the longest one, in bytes.
const PAGE_STEP: u32 = 64;
const MAX_PAGE_LEN: u32 = 1 << 28;

/// The part of a device's flash that is Moteseal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    base: u32,
    page_len: u32,
}

impl Region {
    /// Five erase pages of `page_len` bytes from address `base` on.
    pub fn new(base: u32, page_len: u32) -> Result<Self, String> {
        if page_len == 0 || page_len > MAX_PAGE_LEN || !page_len.is_multiple_of(PAGE_STEP) {
            return Err(format!(
                "--page-size {page_len}: must be a multiple of {PAGE_STEP}, up to {MAX_PAGE_LEN}"
            ));
        }
        if !base.is_multiple_of(page_len) {
            return Err(format!("--flash-base {base:#x}: must be a multiple of the page size, {page_len}"));
        }
        if u64::from(base) + PAGES * u64::from(page_len) > 1 << 32 {
            return Err(format!("--flash-base {base:#x}: five pages of {page_len} do not fit behind it"));
        }
        Ok(Self { base, page_len })
    }

    /// The image as Intel HEX: the three parts, an absent slot as erased, so that a programmer erases what was
    /// there, and the boot counter at 0.
    pub fn intel_hex(self, image: &FactoryImage) -> Zeroizing<String> {
        let Self { base, page_len } = self;
        let [identity, a, b] = image.parts(page_len);
        let counter = boot_counter::entry(0);
        intel_hex::text(&[
            (base + identity.0, identity.1.expose()),
            (base + a.0, a.1.expose()),
            (base + b.0, b.1.expose()),
            (base + COUNTER_PAGE * page_len, &counter),
        ])
    }
}

/// Reads an address: decimal, or hexadecimal after `0x`.
pub fn parse_address(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let address = digits.map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16));
    address.map_err(|_| "not an address of 32 bits, such as 0x0807e000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hexadecimal_or_decimal() {
        assert_eq!(parse_address("0x0807e000"), Ok(0x0807_E000));
        assert_eq!(parse_address("0XFF"), Ok(255));
        assert_eq!(parse_address("4096"), Ok(4096));
        for wrong in ["", "0x", "-1", "0x100000000", "4294967296", "e000"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_region_is_whole_pages_of_the_address_space() {
        for (base, page_len) in [(0, 64), (0x0807_E000, 0x2000), (0xFFFF_FEC0, 64), (0, MAX_PAGE_LEN)] {
            assert!(Region::new(base, page_len).is_ok(), "{base:#x} {page_len}");
        }
        for (base, page_len) in
            [(0, 0), (0, 63), (0, 100), (0, MAX_PAGE_LEN + 64), (64, 128), (0xFFFF_FF00, 64), (1, 64)]
        {
            assert!(Region::new(base, page_len).is_err(), "{base:#x} {page_len}");
        }
    }
}
