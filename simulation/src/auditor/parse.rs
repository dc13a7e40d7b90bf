//! The auditor's own parser, read out of SPEC section 4 once more. What the halves send is well-formed, or the run has
//! failed; so it says no more than yes or no.

/// A connection id: its bytes, padded, and how many they are.
pub type Cid = ([u8; 4], usize);

/// What a datagram is.
#[derive(Clone, Copy, Debug)]
pub enum Parsed {
    Hello { bits: u8, id: [u8; 8], epoch: u64, salt: [u8; 6] },
    Welcome { early: bool, echo: [u8; 2], server_salt: [u8; 8] },
    Floor { echo: [u8; 2], floor: u64 },
    Data { cid: Cid, seq: Seq, ack: bool, control: bool },
    Reset { cid: Cid, seq: Seq },
}

/// The sequence number as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    One(u8),
    Two(u16),
}

/// A datagram, and where its associated data and what is sealed in it lie.
#[derive(Clone, Copy, Debug)]
pub struct Split<'d> {
    pub parsed: Parsed,
    pub aad: &'d [u8],
    pub sealed: &'d [u8],
}

/// Takes a datagram apart.
pub fn parse(bytes: &[u8]) -> Option<Split<'_>> {
    let (first, rest) = bytes.split_first()?;
    let split = |parsed, aad_len: usize, header_len: usize| {
        let sealed = bytes.get(header_len..).filter(|sealed| sealed.len() >= 16)?;
        Some(Split { parsed, aad: &bytes[..aad_len], sealed })
    };
    match first {
        0x40 | 0x44 | 0x48 | 0x4C => {
            let epoch = be(rest.get(8..14)?);
            let (id, salt) = (rest[..8].try_into().unwrap(), rest.get(14..20)?.try_into().unwrap());
            split(Parsed::Hello { bits: first >> 2 & 3, id, epoch, salt }, 9, 21)
        }
        0x50 | 0x58 => {
            let server_salt = rest.get(2..10)?.try_into().unwrap();
            let echo = rest[..2].try_into().unwrap();
            split(Parsed::Welcome { early: first & 8 != 0, echo, server_salt }, 11, 11)
        }
        0x54 => {
            let floor = be(rest.get(2..8)?);
            split(Parsed::Floor { echo: rest[..2].try_into().unwrap(), floor }, 9, 9)
                .filter(|split| split.sealed.len() == 16)
        }
        0x60..=0x63 | 0x68..=0x6F => {
            let (cid, seq, len) = numbers(*first, rest)?;
            let (ack, control) = (first & 2 != 0, first & 1 != 0);
            split(Parsed::Data { cid, seq, ack, control }, len, len)
        }
        0x70 | 0x78 => {
            let (cid, seq, len) = numbers(*first, rest)?;
            split(Parsed::Reset { cid, seq }, len, len).filter(|split| split.sealed.len() == 16)
        }
        _ => None,
    }
}

/// Connection id and sequence number behind the first byte, and the length of the header.
fn numbers(first: u8, rest: &[u8]) -> Option<(Cid, Seq, usize)> {
    let cid = cid(rest)?;
    let seq = rest.get(cid.1..)?;
    if first & 8 == 0 {
        return Some((cid, Seq::One(*seq.first()?), 1 + cid.1 + 1));
    }
    Some((cid, Seq::Two(u16::from_be_bytes(*seq.first_chunk()?)), 1 + cid.1 + 2))
}

/// The connection id at the front.
pub fn cid(bytes: &[u8]) -> Option<Cid> {
    let len = usize::from(bytes.first()? >> 6) + 1;
    let mut padded = [0; 4];
    padded[..len].copy_from_slice(bytes.get(..len)?);
    Some((padded, len))
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
