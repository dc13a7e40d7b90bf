//! Intel HEX, as programmers of flash read it: data records of 16 bytes, extended linear addresses.

use std::fmt::Write as _;

use zeroize::Zeroizing;

const DATA: u8 = 0;
const END: u8 = 1;
const EXTENDED_LINEAR_ADDRESS: u8 = 4;

/// Most data bytes in a record.
const RECORD_LEN: usize = 16;
/// Length of the longest record as text: colon, count, address, type, data, checksum, line end.
const LINE_LEN: usize = 1 + 2 * (1 + 2 + 1 + RECORD_LEN + 1) + 1;

/// The text that puts each block of bytes at its address, addresses ascending.
pub fn text(blocks: &[(u32, &[u8])]) -> Zeroizing<String> {
    let records = blocks.iter().map(|(_, bytes)| 2 * (bytes.len() / RECORD_LEN + 2)).sum::<usize>() + 1;
    // In one piece: a string that grows leaves copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(records * LINE_LEN));
    let mut upper = None;
    for (start, bytes) in blocks {
        block(*start, bytes, &mut upper, &mut text);
    }
    record(END, 0, &[], &mut text);
    text
}

/// One block; `upper` are the high 16 bits of the address that the records before have set.
#[expect(clippy::cast_possible_truncation, reason = "a record has 16 bytes at most")]
fn block(mut address: u32, mut bytes: &[u8], upper: &mut Option<u16>, text: &mut String) {
    while !bytes.is_empty() {
        let [a, b, c, d] = address.to_be_bytes();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if upper.replace(high) != Some(high) {
            record(EXTENDED_LINEAR_ADDRESS, 0, &[a, b], text);
        }
        // The 16-bit address of a record does not carry into the upper half.
        let left = 0x1_0000 - usize::from(low);
        let (now, rest) = bytes.split_at(bytes.len().min(RECORD_LEN).min(left));
        record(DATA, low, now, text);
        address = address.wrapping_add(now.len() as u32);
        bytes = rest;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a record has 16 bytes at most")]
fn record(kind: u8, address: u16, data: &[u8], text: &mut String) {
    let [high, low] = address.to_be_bytes();
    let head = [data.len() as u8, high, low, kind];
    let bytes = || head.iter().chain(data).copied();
    let checksum = bytes().fold(0, u8::wrapping_sub);
    text.push(':');
    for byte in bytes().chain([checksum]) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02X}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use ihex::{Reader, Record};

    use super::*;

    #[test]
    fn records_are_those_of_the_specification() {
        // Its examples: data, extended linear address, end of file.
        let bytes: [u8; 16] = hex::decode("214601360121470136007EFE09D21901").unwrap().try_into().unwrap();
        let expected = ":020000040000FA\n:10010000214601360121470136007EFE09D2190140\n:00000001FF\n";
        assert_eq!(*text(&[(0x100, &bytes)]), expected);
        let at_the_top = text(&[(0xFFFF_0000, &[])]);
        assert_eq!(*at_the_top, ":00000001FF\n");
        assert!(text(&[(0xFFFF_0000, &[1])]).starts_with(":02000004FFFFFC\n:0100000001FE\n"));
    }

    /// Reads with a reader that is not ours.
    fn read(text: &str) -> Vec<(u64, u8)> {
        let mut upper = 0;
        let mut memory = Vec::new();
        for record in Reader::new(text) {
            match record.unwrap() {
                Record::ExtendedLinearAddress(high) => upper = u64::from(high) << 16,
                Record::Data { offset, value } => {
                    let start = upper + u64::from(offset);
                    assert!(usize::from(offset) + value.len() <= 0x1_0000);
                    memory.extend((start..).zip(value));
                }
                Record::EndOfFile => return memory,
                other => panic!("{other:?}"),
            }
        }
        panic!("no end")
    }

    #[test]
    fn another_reader_reads_the_same() {
        for start in [0, 1, 0xFFF9, 0xFFFF, 0x1_0000, 0x0801_FFF0, 0xFFFF_FFC0] {
            for len in [1, 15, 16, 17, 63, 64] {
                let bytes: Vec<u8> = (0..len).collect();
                let other = [0xEE; 8];
                let blocks = [(0, other.as_slice()), (start, &bytes)];
                let text = text(&blocks);
                let expected: Vec<_> = (0..).zip(other).chain((u64::from(start)..).zip(bytes)).collect();
                assert_eq!(read(&text), expected);
                let records = 2 * 2 + 2 * (usize::from(len) / RECORD_LEN + 2) + 1;
                assert!(text.len() <= records * LINE_LEN, "more than was reserved");
            }
        }
    }
}
