//! Bytes to and from the four datagrams. It has never heard of keys: what it reads is [`Unverified`].
//! SPEC section 4.
//!
//! ```text
//! Hello    flags 1 | device id 8 | epoch 6 | salt 6 | ciphertext n | tag 16
//! Welcome  flags 1 | echo 2 | server salt 8 | ciphertext 1-4 | tag 16
//! Floor    flags 1 | echo 2 | floor 6 | tag 16
//! Data     flags 1 | cid 1-4 | seq 1-2 | ciphertext n | tag 16
//! Reset    flags 1 | cid 1-4 | seq 1-2 | tag 16
//! ```
//!
//! What is parsed can be routed, not delivered. A payload comes from [`Session::verify`](crate::session::Session):
//!
//! ```
//! # use moteseal::{error::VerifyError, session::{Content, Incoming, Session}, wire::{Data, Sealed}};
//! # fn deliver(_: &[u8]) {}
//! # fn take(session: &mut Session, data: &Data, sealed: Sealed<'_>) -> Result<(), VerifyError> {
//! if let Incoming::New(verified) = session.verify(data, sealed)? {
//!     if let Content::Payload(payload) = verified.content {
//!         deliver(payload);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `verify` uses the sealed body up. What was refused, and what had been delivered before, cannot be read after it:
//!
//! ```compile_fail,E0382
//! # use moteseal::{error::VerifyError, session::{Content, Incoming, Session}, wire::{Data, Sealed}};
//! # fn deliver(_: &[u8]) {}
//! # fn take(session: &mut Session, data: &Data, sealed: Sealed<'_>) -> Result<(), VerifyError> {
//! let _ = session.verify(data, sealed)?;
//! deliver(sealed.ciphertext);
//! # Ok(())
//! # }
//! ```

use crate::aead::{TAG_LEN, Tag};
use crate::error::ParseError;
use crate::number::{ConnectionId, DeviceId, Echo, Epoch, Salt, SequenceNumber, ServerSalt};

/// Bytes that a Hello adds to its payload.
pub const HELLO_OVERHEAD: usize = 21 + TAG_LEN;
/// Length of the shortest Welcome in bytes, with a connection id of 1 byte.
pub const WELCOME_MIN_LEN: usize = 12 + TAG_LEN;
/// Length of the longest Welcome in bytes, with a connection id of 4 bytes.
pub const WELCOME_MAX_LEN: usize = 15 + TAG_LEN;
/// Length of a Floor in bytes.
pub const FLOOR_LEN: usize = 9 + TAG_LEN;
/// Bytes that the shortest Data adds to its payload: a connection id and a sequence number of 1 byte each.
pub const DATA_MIN_OVERHEAD: usize = 3 + TAG_LEN;
/// Bytes that the longest Data adds to its payload: a connection id of 4 bytes, a sequence number of 2, an
/// acknowledgement block.
pub const DATA_MAX_OVERHEAD: usize = 7 + ACK_BLOCK_LEN + TAG_LEN;
/// Length of the shortest Reset in bytes.
pub const RESET_MIN_LEN: usize = DATA_MIN_OVERHEAD;
/// Length of the longest Reset in bytes.
pub const RESET_MAX_LEN: usize = 7 + TAG_LEN;
/// Length of an acknowledgement block in bytes.
pub const ACK_BLOCK_LEN: usize = 3;
/// Length of a Hello's header in bytes.
pub(crate) const HELLO_HEADER_LEN: usize = 21;
/// A Hello's associated data are its first bytes, flags and device id: epoch and salt are its nonce.
pub(crate) const HELLO_AAD_LEN: usize = 9;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION_1: u8 = 0b0100_0000;
const TYPE_MASK: u8 = 0b0011_0000;
const HELLO: u8 = VERSION_1;
const ANSWER: u8 = VERSION_1 | 0b0001_0000;
const DATA: u8 = VERSION_1 | 0b0010_0000;
const RESET: u8 = VERSION_1 | 0b0011_0000;
const EARLY_TAKEN: u8 = 0b1000;
const IS_FLOOR: u8 = 0b0100;
const TWO_BYTES: u8 = 0b1000;
const CONFIRM: u8 = 0b0100;
const ACK: u8 = 0b0010;
const CONTROL: u8 = 0b0001;

/// The header of a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The low two bits of the generation of the key.
    pub generation_bits: u8,
    /// Who says hello.
    pub device_id: DeviceId,
    /// Boot counter and Hello count.
    pub epoch: Epoch,
    /// The device's fresh part.
    pub salt: Salt,
}

/// The header of a Welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// E: the Hello's payload was taken.
    pub early_taken: bool,
    /// The start of the salt of the Hello that it answers.
    pub echo: Echo,
    /// The server's fresh part.
    pub server_salt: ServerSalt,
}

/// The header of a Floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The start of the salt of the Hello that it answers.
    pub echo: Echo,
    /// The newest epoch that the server knows of.
    pub floor: Epoch,
}

/// A sequence number as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    /// The low byte; the receiver rebuilds the rest.
    One(u8),
    /// The number itself.
    Two(SequenceNumber),
}

impl Seq {
    /// The number that this stands for, when `highest` is the reference (SPEC section 4.10).
    pub fn rebuild(self, highest: Option<SequenceNumber>) -> SequenceNumber {
        match self {
            Self::One(low) => SequenceNumber::rebuild(low, highest),
            Self::Two(number) => number,
        }
    }
}

/// The header of a Data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// The session.
    pub cid: ConnectionId,
    /// The sequence number, perhaps shortened.
    pub seq: Seq,
    /// C: please acknowledge.
    pub confirm: bool,
    /// A: an acknowledgement block leads the plaintext.
    pub ack: bool,
    /// K: the payload is a control message.
    pub control: bool,
}

/// The header of a Reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The session.
    pub cid: ConnectionId,
    /// The sequence number of the Data that it answers, as it stood there.
    pub seq: Seq,
}

/// The header of any datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Device to server: opens a session.
    Hello(Hello),
    /// Server to device: answers a fresh Hello.
    Welcome(Welcome),
    /// Server to device: answers a stale Hello.
    Floor(Floor),
    /// Either way, inside a session.
    Data(Data),
    /// Server to device: a session without its counters.
    Reset(Reset),
}

/// A sealed body, split at its borders: nothing in it is to be believed yet.
#[derive(Debug)]
pub struct Sealed<'d> {
    /// The associated data.
    pub aad: &'d [u8],
    /// The ciphertext, which opening turns into the plaintext.
    pub ciphertext: &'d mut [u8],
    /// The tag.
    pub tag: &'d Tag,
}

/// A datagram that is well formed, and about which nothing else is known.
#[derive(Debug)]
pub struct Unverified<'d> {
    /// What it says of itself; enough to find the one key to try.
    pub header: Header,
    /// What that key opens.
    pub sealed: Sealed<'d>,
}

impl<'d> Unverified<'d> {
    /// Reads a datagram, or refuses it before any cryptography (M-7, M-125). Nothing is copied, and no byte is changed.
    ///
    /// # Errors
    /// [`ParseError`] for whatever is not a datagram of version 1 (SPEC section 4.1).
    #[inline]
    pub fn parse(datagram: &'d mut [u8]) -> Result<Self, ParseError> {
        let (header, header_len, aad_len) = parse_header(datagram)?;
        let (head, body) = datagram.split_at_mut_checked(header_len).ok_or(ParseError::Length)?;
        let ciphertext_len = body.len().checked_sub(TAG_LEN).ok_or(ParseError::Length)?;
        let (ciphertext, tag) = body.split_at_mut_checked(ciphertext_len).ok_or(ParseError::Length)?;
        let tag = (&*tag).try_into().map_err(|_| ParseError::Length)?;
        if !ciphertext_fits(&header, ciphertext_len) {
            return Err(ParseError::Length);
        }
        let aad = head.get(..aad_len).ok_or(ParseError::Length)?;
        Ok(Self { header, sealed: Sealed { aad, ciphertext, tag } })
    }
}

fn ciphertext_fits(header: &Header, len: usize) -> bool {
    match header {
        Header::Hello(_) | Header::Data(_) => true,
        Header::Welcome(_) => (1..=ConnectionId::MAX_LEN).contains(&len),
        Header::Floor(_) | Header::Reset(_) => len == 0,
    }
}

/// The header, its length, and the length of the associated data.
#[inline]
fn parse_header(datagram: &[u8]) -> Result<(Header, usize, usize), ParseError> {
    let flags = *datagram.first().ok_or(ParseError::Length)?;
    if flags & VERSION_MASK != VERSION_1 {
        return Err(ParseError::Version);
    }
    let mut reader = Reader(datagram.get(1..).ok_or(ParseError::Length)?);
    let header = match flags & (VERSION_MASK | TYPE_MASK) {
        HELLO => Header::Hello(parse_hello(flags, &mut reader)?),
        ANSWER if flags & IS_FLOOR != 0 => Header::Floor(parse_floor(flags, &mut reader)?),
        ANSWER => Header::Welcome(parse_welcome(flags, &mut reader)?),
        DATA => Header::Data(parse_data(flags, &mut reader)?),
        _ => Header::Reset(parse_reset(flags, &mut reader)?),
    };
    let header_len = datagram.len() - reader.0.len();
    let aad_len = if matches!(header, Header::Hello(_)) { HELLO_AAD_LEN } else { header_len };
    Ok((header, header_len, aad_len))
}

/// Bits of the low nibble outside `defined` must be zero.
fn only(flags: u8, defined: u8) -> Result<(), ParseError> {
    if flags & 0b1111 & !defined == 0 { Ok(()) } else { Err(ParseError::ReservedBit) }
}

fn parse_hello(flags: u8, reader: &mut Reader<'_>) -> Result<Hello, ParseError> {
    only(flags, 0b1100)?;
    Ok(Hello {
        generation_bits: flags >> 2 & 0b11,
        device_id: DeviceId::new(reader.array()?),
        epoch: Epoch::from_bytes(reader.array()?),
        salt: Salt(reader.array()?),
    })
}

fn parse_welcome(flags: u8, reader: &mut Reader<'_>) -> Result<Welcome, ParseError> {
    only(flags, EARLY_TAKEN)?;
    Ok(Welcome {
        early_taken: flags & EARLY_TAKEN != 0,
        echo: reader.array()?,
        server_salt: ServerSalt(reader.array()?),
    })
}

fn parse_floor(flags: u8, reader: &mut Reader<'_>) -> Result<Floor, ParseError> {
    only(flags, IS_FLOOR)?;
    Ok(Floor { echo: reader.array()?, floor: Epoch::from_bytes(reader.array()?) })
}

#[inline]
fn parse_data(flags: u8, reader: &mut Reader<'_>) -> Result<Data, ParseError> {
    if flags & (CONFIRM | TWO_BYTES) == CONFIRM {
        return Err(ParseError::ConfirmWithoutFullNumber);
    }
    Ok(Data {
        cid: reader.cid()?,
        seq: reader.seq(flags)?,
        confirm: flags & CONFIRM != 0,
        ack: flags & ACK != 0,
        control: flags & CONTROL != 0,
    })
}

fn parse_reset(flags: u8, reader: &mut Reader<'_>) -> Result<Reset, ParseError> {
    only(flags, TWO_BYTES)?;
    Ok(Reset { cid: reader.cid()?, seq: reader.seq(flags)? })
}

/// What is left to read of a header.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn take(&mut self, len: usize) -> Result<&'d [u8], ParseError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ParseError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const L: usize>(&mut self) -> Result<[u8; L], ParseError> {
        self.take(L)?.try_into().map_err(|_| ParseError::Length)
    }

    fn cid(&mut self) -> Result<ConnectionId, ParseError> {
        let first = *self.0.first().ok_or(ParseError::Length)?;
        ConnectionId::from_bytes(self.take(ConnectionId::len_from(first))?).ok_or(ParseError::Length)
    }

    fn seq(&mut self, flags: u8) -> Result<Seq, ParseError> {
        if flags & TWO_BYTES == 0 {
            let [low] = self.array()?;
            return Ok(Seq::One(low));
        }
        Ok(Seq::Two(SequenceNumber::new(u16::from_be_bytes(self.array()?))))
    }
}

/// A header that is being written: the bytes and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; HELLO_HEADER_LEN],
    len: usize,
}

impl HeaderBytes {
    fn new(flags: u8) -> Self {
        let mut header = Self { bytes: [0; HELLO_HEADER_LEN], len: 0 };
        header.push(&[flags]);
        header
    }

    /// Appends; the headers of this file all fit.
    fn push(&mut self, part: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(part) {
            *to = *from;
        }
        self.len += part.len();
    }

    fn push_seq(&mut self, seq: Seq) {
        match seq {
            Seq::One(low) => self.push(&[low]),
            Seq::Two(number) => self.push(&number.value().to_be_bytes()),
        }
    }

    /// The header's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl Hello {
    /// The bytes of this header.
    pub fn encode(&self) -> HeaderBytes {
        let mut header = HeaderBytes::new(HELLO | (self.generation_bits & 0b11) << 2);
        header.push(self.device_id.as_bytes());
        header.push(self.epoch.as_bytes());
        header.push(&self.salt.0);
        header
    }
}

impl Data {
    /// The bytes of this header.
    pub fn encode(&self) -> HeaderBytes {
        let flags = flag(self.confirm, CONFIRM) | flag(self.ack, ACK) | flag(self.control, CONTROL);
        encode_session(DATA | flags, self.cid, self.seq)
    }
}

impl Header {
    /// The bytes of this header; a bit that is not defined is zero (M-8).
    pub fn encode(&self) -> HeaderBytes {
        match self {
            Self::Hello(hello) => hello.encode(),
            Self::Welcome(welcome) => {
                let mut header = HeaderBytes::new(ANSWER | flag(welcome.early_taken, EARLY_TAKEN));
                header.push(&welcome.echo);
                header.push(&welcome.server_salt.0);
                header
            }
            Self::Floor(floor) => {
                let mut header = HeaderBytes::new(ANSWER | IS_FLOOR);
                header.push(&floor.echo);
                header.push(floor.floor.as_bytes());
                header
            }
            Self::Data(data) => data.encode(),
            Self::Reset(reset) => encode_session(RESET, reset.cid, reset.seq),
        }
    }
}

fn encode_session(flags: u8, cid: ConnectionId, seq: Seq) -> HeaderBytes {
    let mut header = HeaderBytes::new(flags | flag(matches!(seq, Seq::Two(_)), TWO_BYTES));
    header.push(cid.as_bytes());
    header.push_seq(seq);
    header
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Numbers that a receiver has verified: one, and which of the eight before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckBlock {
    /// A verified number.
    pub number: SequenceNumber,
    /// Bit i is set if `number - 1 - i` is verified too.
    pub before: u8,
}

impl AckBlock {
    /// The bytes that lead a plaintext.
    pub const fn encode(self) -> [u8; ACK_BLOCK_LEN] {
        let [high, low] = self.number.value().to_be_bytes();
        [high, low, self.before]
    }

    /// The block that these bytes are, unless it acknowledges a number below 0 (M-18).
    pub fn decode([high, low, before]: [u8; ACK_BLOCK_LEN]) -> Option<Self> {
        let block = Self { number: SequenceNumber::new(u16::from_be_bytes([high, low])), before };
        let named = before.checked_shr(u32::from(block.number.value())).unwrap_or(0);
        (named == 0).then_some(block)
    }

    /// Every number that the block acknowledges, from the highest down.
    pub fn numbers(self) -> impl Iterator<Item = SequenceNumber> {
        let before = (0..8u16).filter(move |bit| self.before >> bit & 1 == 1);
        core::iter::once(self.number).chain(before.filter_map(move |bit| self.number.before(bit + 1)))
    }
}
