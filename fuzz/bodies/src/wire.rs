//! The parser of datagrams against the table of SPEC 4.1, read byte by byte; what is parsed is encoded again.

use moteseal::wire::{Header, Seq, Unverified};

/// A datagram as the table has it: where its header and its associated data end.
struct Slow {
    kind: &'static str,
    header_len: usize,
    aad_len: usize,
}

/// SPEC 4.1 to 4.8, line by line. Nothing where the datagram must be refused.
fn slow(bytes: &[u8]) -> Option<Slow> {
    let first = *bytes.first()?;
    let session = |at: usize, two: bool| {
        let cid_len = usize::from(bytes.get(at)? >> 6) + 1;
        Some(at + cid_len + if two { 2 } else { 1 })
    };
    let two = first & 8 != 0;
    let (kind, header_len, aad_len, ciphertext) = match first {
        0x40 | 0x44 | 0x48 | 0x4C => ("hello", 21, 9, 0..=usize::MAX),
        0x50 | 0x58 => ("welcome", 11, 11, 1..=4),
        0x54 => ("floor", 9, 9, 0..=0),
        0x60..=0x63 | 0x68..=0x6F => ("data", session(1, two)?, session(1, two)?, 0..=usize::MAX),
        0x70 | 0x78 => ("reset", session(1, two)?, session(1, two)?, 0..=0),
        _ => return None,
    };
    let rest = bytes.len().checked_sub(header_len + 16)?;
    ciphertext.contains(&rest).then_some(Slow { kind, header_len, aad_len })
}

/// Whether these bytes can be a datagram.
pub fn is_one(bytes: &[u8]) -> bool {
    slow(bytes).is_some()
}

const fn kind(header: &Header) -> &'static str {
    match header {
        Header::Hello(_) => "hello",
        Header::Welcome(_) => "welcome",
        Header::Floor(_) => "floor",
        Header::Data(_) => "data",
        Header::Reset(_) => "reset",
    }
}

/// One datagram, whatever it is.
pub fn run(bytes: &[u8]) {
    let mut datagram = bytes.to_vec();
    let expected = slow(bytes);
    match Unverified::parse(&mut datagram) {
        Err(error) => {
            assert!(expected.is_none(), "M-7: refused as {error:?}, and is one");
            assert!(!error.to_string().is_empty());
        }
        Ok(unverified) => {
            let expected = expected.expect("M-7: taken, and is none");
            assert_eq!(kind(&unverified.header), expected.kind);
            let header = unverified.header.encode();
            assert_eq!(header.as_bytes(), &bytes[..expected.header_len], "encoded otherwise");
            let (body, tag) = bytes[expected.header_len..].split_at(bytes.len() - expected.header_len - 16);
            assert_eq!(unverified.sealed.aad, &bytes[..expected.aad_len]);
            assert_eq!((&*unverified.sealed.ciphertext, &unverified.sealed.tag[..]), (body, tag));
            fields(&unverified.header, bytes);
        }
    }
    assert_eq!(datagram, bytes, "parsing changed a byte");
}

/// The fields, read from their places.
fn fields(header: &Header, bytes: &[u8]) {
    match header {
        Header::Hello(hello) => {
            assert_eq!(hello.generation_bits, bytes[0] >> 2 & 3);
            assert_eq!(hello.device_id.as_bytes(), &bytes[1..9]);
            assert_eq!(hello.epoch.as_bytes(), &bytes[9..15]);
            assert_eq!(hello.salt.0, bytes[15..21]);
            assert_eq!(hello.salt.echo(), bytes[15..17]);
        }
        Header::Welcome(welcome) => {
            assert_eq!(welcome.early_taken, bytes[0] == 0x58);
            assert_eq!((&welcome.echo[..], &welcome.server_salt.0[..]), (&bytes[1..3], &bytes[3..11]));
        }
        Header::Floor(floor) => {
            assert_eq!((&floor.echo[..], &floor.floor.as_bytes()[..]), (&bytes[1..3], &bytes[3..9]));
        }
        Header::Data(data) => {
            let bits = u8::from(data.confirm) << 2 | u8::from(data.ack) << 1 | u8::from(data.control);
            assert_eq!(bits, bytes[0] & 7);
            assert!(!data.confirm || matches!(data.seq, Seq::Two(_)), "C implies S");
            assert_eq!(data.cid.as_bytes()[0] >> 6, bytes[1] >> 6);
        }
        Header::Reset(reset) => assert_eq!(matches!(reset.seq, Seq::Two(_)), bytes[0] & 8 != 0),
    }
}
