//! The codec and the session on random input: what is written is read back, what is read was written in one way only,
//! and nothing that was not sealed by the peer is ever taken, or changes what comes after it (M-7, M-8, M-10, M-13, M-24,
//! M-125).

use moteseal::aead::{Backend, Portable};
use moteseal::control::Role;
use moteseal::error::{ParseError, VerifyError};
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Salt, SequenceNumber, ServerSalt};
use moteseal::session::{Content, Incoming, Outgoing, Session};
use moteseal::wire::{
    ACK_BLOCK_LEN, AckBlock, DATA_MAX_OVERHEAD, DATA_MIN_OVERHEAD, Data, FLOOR_LEN, Floor, HELLO_OVERHEAD,
    Header, Hello, RESET_MAX_LEN, RESET_MIN_LEN, Reset, Seq, Unverified, WELCOME_MAX_LEN, WELCOME_MIN_LEN,
    Welcome,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn cid() -> impl Strategy<Value = ConnectionId> {
    (1u8..=4, any::<u32>())
        .prop_map(|(len, value)| ConnectionId::new(len, value % ConnectionId::values(len)).unwrap())
}

fn number() -> impl Strategy<Value = SequenceNumber> {
    any::<u16>().prop_map(SequenceNumber::new)
}

fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![any::<u8>().prop_map(Seq::One), number().prop_map(Seq::Two)]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<[u8; 6]>().prop_map(Epoch::from_bytes)
}

fn hello() -> impl Strategy<Value = Header> {
    (0u8..4, any::<[u8; 8]>(), epoch(), any::<[u8; 6]>()).prop_map(|(generation_bits, id, epoch, salt)| {
        Header::Hello(Hello { generation_bits, device_id: DeviceId::new(id), epoch, salt: Salt(salt) })
    })
}

fn welcome() -> impl Strategy<Value = Header> {
    (any::<bool>(), any::<[u8; 2]>(), any::<[u8; 8]>()).prop_map(|(early_taken, echo, salt)| {
        Header::Welcome(Welcome { early_taken, echo, server_salt: ServerSalt(salt) })
    })
}

fn floor() -> impl Strategy<Value = Header> {
    (any::<[u8; 2]>(), epoch()).prop_map(|(echo, floor)| Header::Floor(Floor { echo, floor }))
}

fn data() -> impl Strategy<Value = Header> {
    (cid(), seq(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(cid, seq, confirm, ack, control)| {
            // C comes with the full number only.
            let confirm = confirm && matches!(seq, Seq::Two(_));
            Header::Data(Data { cid, seq, confirm, ack, control })
        },
    )
}

fn reset() -> impl Strategy<Value = Header> {
    (cid(), seq()).prop_map(|(cid, seq)| Header::Reset(Reset { cid, seq }))
}

/// A header, and how many bytes of ciphertext it may have.
fn datagram() -> impl Strategy<Value = (Header, usize)> {
    prop_oneof![
        (hello(), 0usize..80),
        (welcome(), 1usize..=4),
        (floor(), Just(0)),
        (data(), 0usize..80),
        (reset(), Just(0)),
    ]
}

fn with_body(header: &Header, ciphertext_len: usize) -> Vec<u8> {
    let body = (0..).map(|at: usize| at.to_le_bytes()[0] ^ 0xA5).take(ciphertext_len + 16);
    header.encode().as_bytes().iter().copied().chain(body).collect()
}

/// The first bytes of SPEC 4.1.
const FIRST_BYTES: [u8; 21] = [
    0x40, 0x44, 0x48, 0x4C, 0x50, 0x58, 0x54, 0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6A, 0x6B, 0x6C, 0x6D,
    0x6E, 0x6F, 0x70, 0x78,
];

fn parse_error(bytes: &[u8]) -> Option<ParseError> {
    Unverified::parse(&mut bytes.to_vec()).err()
}

#[test]
fn every_first_byte_that_is_not_in_the_table_is_refused() {
    for first in 0..=255u8 {
        // Long enough for all, right for none but Hello and Data; cid 05.
        let any_len: Vec<_> = [first, 5].into_iter().chain([7; 60]).collect();
        let lens = [WELCOME_MIN_LEN, FLOOR_LEN, DATA_MIN_OVERHEAD, DATA_MIN_OVERHEAD + 1, any_len.len()];
        let parses = lens.iter().any(|len| parse_error(&any_len[..*len]).is_none());
        assert_eq!(parses, FIRST_BYTES.contains(&first), "{first:02x}");
        if !parses {
            let expected = if first >> 6 != 1 {
                ParseError::Version
            } else if first >> 4 == 6 {
                ParseError::ConfirmWithoutFullNumber
            } else {
                ParseError::ReservedBit
            };
            assert_eq!(parse_error(&any_len), Some(expected), "{first:02x}");
        }
    }
}

/// The lengths of SPEC 4.1 to 4.6, in figures.
#[test]
fn the_lengths_are_those_of_the_specification() {
    assert_eq!((HELLO_OVERHEAD, WELCOME_MIN_LEN, WELCOME_MAX_LEN, FLOOR_LEN), (37, 28, 31, 25));
    // Headers of 3 to 7 bytes, a tag of 16, and in Data perhaps a block of 3.
    assert_eq!((DATA_MIN_OVERHEAD, DATA_MAX_OVERHEAD, ACK_BLOCK_LEN), (19, 26, 3));
    assert_eq!((RESET_MIN_LEN, RESET_MAX_LEN), (19, 23));
}

/// SPEC 4.11, M-18: a number, and the eight before it from the lowest bit on, none of them below 0.
#[test]
fn an_acknowledgement_block_names_a_number_and_the_eight_before_it() {
    for (bytes, numbers) in [
        ([0x12, 0x34, 0b0000_0000], Some(&[0x1234][..])),
        ([0x12, 0x34, 0b1000_0101], Some(&[0x1234, 0x1233, 0x1231, 0x122C])),
        ([0x01, 0x00, 0b0000_0010], Some(&[0x0100, 0x00FE])),
        ([0x00, 0x02, 0b0000_0011], Some(&[2, 1, 0])),
        ([0x00, 0x00, 0b0000_0000], Some(&[0])),
        ([0x00, 0x02, 0b0000_0100], None),
        ([0x00, 0x00, 0b0000_0001], None),
        ([0x00, 0x07, 0b1000_0000], None),
    ] {
        let block = AckBlock::decode(bytes);
        let named = block.map(|block| block.numbers().map(SequenceNumber::value).collect::<Vec<_>>());
        assert_eq!(named.as_deref(), numbers, "{bytes:02x?}");
        assert_eq!(block.map(AckBlock::encode), numbers.map(|_| bytes));
    }
}

proptest! {
    #[test]
    fn a_header_is_read_as_it_was_written((header, len) in datagram()) {
        let mut datagram = with_body(&header, len);
        let before = datagram.clone();
        let unverified = Unverified::parse(&mut datagram).unwrap();
        prop_assert_eq!(unverified.header, header);
        let encoded = header.encode();
        let aad_len = if matches!(header, Header::Hello(_)) { 9 } else { encoded.as_bytes().len() };
        prop_assert_eq!(unverified.sealed.aad, &before[..aad_len]);
        prop_assert_eq!(&*unverified.sealed.ciphertext, &before[encoded.as_bytes().len()..before.len() - 16]);
        prop_assert_eq!(&unverified.sealed.tag[..], &before[before.len() - 16..]);
        prop_assert_eq!(datagram, before, "nothing is written");
    }

    /// There is one way to write each header: bits that nobody reads would be bits that nobody authenticates.
    #[test]
    fn what_parses_is_canonical(first in any::<u8>(), rest in vec(any::<u8>(), 0..80), likely in any::<bool>()) {
        let first = if likely { 0x40 | first & 0x3F } else { first };
        let mut datagram: Vec<_> = [first].into_iter().chain(rest).collect();
        let before = datagram.clone();
        if let Ok(unverified) = Unverified::parse(&mut datagram) {
            let header = unverified.header.encode();
            let sealed = unverified.sealed;
            prop_assert_eq!([header.as_bytes(), sealed.ciphertext, sealed.tag].concat(), before);
        }
    }

    #[test]
    fn any_bytes_of_any_length_are_an_answer(mut bytes in vec(any::<u8>(), 0..1500)) {
        let _ = Unverified::parse(&mut bytes);
    }

    /// A cut datagram is refused, or it is a shorter one of its kind, which its tag then tells.
    #[test]
    fn a_truncated_datagram_is_refused_or_shorter((header, len) in datagram()) {
        let whole = with_body(&header, len);
        for cut in 0..whole.len() {
            let shortest = match header {
                Header::Hello(_) => HELLO_OVERHEAD,
                Header::Welcome(_) => WELCOME_MIN_LEN,
                Header::Floor(_) => FLOOR_LEN,
                Header::Data(_) => header.encode().as_bytes().len() + 16,
                Header::Reset(_) => whole.len(),
            };
            let expected = (cut < shortest).then_some(ParseError::Length);
            prop_assert_eq!(parse_error(&whole[..cut]), expected, "{} of {}", cut, whole.len());
        }
        // One that has a greatest length is refused beyond it.
        let longest = match header {
            Header::Welcome(_) => Some(WELCOME_MAX_LEN),
            Header::Floor(_) => Some(FLOOR_LEN),
            Header::Reset(_) => Some(whole.len()),
            Header::Hello(_) | Header::Data(_) => None,
        };
        let longer = [&whole[..], &[0; RESET_MAX_LEN]].concat();
        for len in whole.len() + 1..longer.len() {
            let expected = longest.filter(|longest| len > *longest).map(|_| ParseError::Length);
            prop_assert_eq!(parse_error(&longer[..len]), expected, "{}", len);
        }
    }

    /// Every bit that a type does not define.
    #[test]
    fn a_bit_that_is_not_defined_is_refused((header, len) in datagram(), bit in 0u8..4) {
        let mut datagram = with_body(&header, len);
        let defined = match header {
            // Bit 2 of a Welcome makes a Floor of it.
            Header::Hello(_) | Header::Welcome(_) => 0b1100,
            Header::Floor(_) => 0b0100,
            Header::Data(_) => 0b1111,
            Header::Reset(_) => 0b1000,
        };
        prop_assume!(defined >> bit & 1 == 0);
        datagram[0] |= 1 << bit;
        prop_assert_eq!(parse_error(&datagram), Some(ParseError::ReservedBit));
    }
}

fn keys() -> SessionKeys {
    let key = DeviceKey::new([0x3C; 32]);
    key.session_keys(DeviceId::new([1; 8]), Epoch::new(4, 2), Salt([2; 6]), ServerSalt([3; 8]))
}

fn session<A: Backend>(role: Role, cid: ConnectionId) -> Session<A> {
    Session::new(role, keys(), Epoch::new(4, 2), cid)
}

/// What a receiver made of a datagram, without borrowing it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    New { number: u16, newest: bool, confirm: bool, ack: Option<AckBlock>, payload: Vec<u8> },
    Repeat(u16),
    Refused(VerifyError),
}

fn receive<A: Backend>(session: &mut Session<A>, datagram: &[u8]) -> Seen {
    let mut datagram = datagram.to_vec();
    let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut datagram).unwrap() else {
        panic!("no Data")
    };
    match session.verify(&data, sealed) {
        Ok(Incoming::New(verified)) => {
            let payload = match verified.content {
                Content::Empty => vec![],
                Content::Payload(payload) => payload.to_vec(),
                Content::Control(control) => panic!("{control:?}"),
            };
            let (number, newest) = (verified.number.value(), verified.newest);
            Seen::New { number, newest, confirm: verified.confirm, ack: verified.ack, payload }
        }
        Ok(Incoming::Repeat(number)) => Seen::Repeat(number.value()),
        Err(error) => Seen::Refused(error),
    }
}

/// What is sent: a payload, whether it asks for an acknowledgement, whether it carries one.
type Message = (Vec<u8>, bool, bool);

fn messages() -> impl Strategy<Value = Vec<Message>> {
    vec((vec(any::<u8>(), 0..40), any::<bool>(), any::<bool>()), 1..30)
}

/// Both ends talk in turn; every datagram arrives and says what was meant.
fn talk<A: Backend, B: Backend>(cid: ConnectionId, messages: &[Message]) -> Vec<Vec<u8>> {
    let (mut device, mut server) = (session::<A>(Role::Device, cid), session::<B>(Role::Server, cid));
    let mut sent = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let datagram = if at % 3 == 2 {
            pass(&mut server, &mut device, message)
        } else {
            pass(&mut device, &mut server, message)
        };
        sent.push(datagram);
    }
    sent
}

fn pass<A: Backend, B: Backend>(from: &mut Session<A>, to: &mut Session<B>, message: &Message) -> Vec<u8> {
    let (payload, confirm, acks) = message;
    let ack = from.ack_block(None).filter(|_| *acks);
    let mut out = [0; 100];
    let outgoing = Outgoing { payload, ack, confirm: *confirm, control: false };
    let protected = from.protect(outgoing, &mut out).unwrap();
    let number = protected.number.value();
    let seen = receive(to, &out[..protected.len]);
    assert_eq!(seen, Seen::New { number, newest: true, confirm: *confirm, ack, payload: payload.clone() });
    assert!(ack.is_none_or(|block| block.numbers().all(|number| to.acknowledged().contains(number))));
    // Sent again it is a repeat, and nothing else.
    let again = if *confirm { Seen::Repeat(number) } else { Seen::Refused(VerifyError::Replayed) };
    assert_eq!(receive(to, &out[..protected.len]), again);
    out[..protected.len].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_protected_verifies(cid in cid(), messages in messages()) {
        talk::<Portable, Portable>(cid, &messages);
    }

    /// Each backend opens what the other sealed, and both seal the same bytes.
    #[cfg(feature = "ring")]
    #[test]
    fn backends_agree(cid in cid(), messages in messages()) {
        use moteseal::aead::Ring;
        let sent = talk::<Portable, Ring>(cid, &messages);
        prop_assert_eq!(&sent, &talk::<Ring, Portable>(cid, &messages));
        prop_assert_eq!(&sent, &talk::<Portable, Portable>(cid, &messages));
    }

    /// Datagrams come late, twice, and with forged ones between them: a receiver that got the forged ones too sees
    /// the same as one that did not.
    #[test]
    fn a_forgery_verifies_never_and_changes_nothing(
        cid in cid(),
        messages in messages(),
        order in vec(any::<Index>(), 1..60),
        flips in vec((any::<Index>(), any::<Index>()), 60),
    ) {
        let mut device = session::<Portable>(Role::Device, cid);
        let sent: Vec<_> = messages.iter().map(|(payload, confirm, _)| {
            let mut out = [0; 100];
            let outgoing = Outgoing { payload, confirm: *confirm, ..Outgoing::default() };
            let protected = device.protect(outgoing, &mut out).unwrap();
            out[..protected.len].to_vec()
        }).collect();
        let [mut clean, mut attacked] = [(); 2].map(|()| session::<Portable>(Role::Server, cid));
        for (datagram, (victim, bit)) in order.iter().map(|index| index.get(&sent)).zip(&flips) {
            let mut forged = victim.get(&sent).clone();
            let bit = bit.index(forged.len() * 8);
            forged[bit / 8] ^= 1 << (bit % 8);
            let is_data = matches!(Unverified::parse(&mut forged.clone()), Ok(Unverified { header: Header::Data(_), .. }));
            if is_data {
                let seen = receive(&mut attacked, &forged);
                prop_assert!(matches!(seen, Seen::Refused(_)), "{:?}", seen);
            }
            prop_assert_eq!(receive(&mut attacked, datagram), receive(&mut clean, datagram));
            prop_assert_eq!(attacked.highest_verified(), clean.highest_verified());
            prop_assert_eq!(attacked.ack_block(None), clean.ack_block(None));
        }
    }

    /// Under the keys of the other direction nothing verifies: what is reflected to its sender is a forgery.
    #[test]
    fn a_reflected_datagram_is_a_forgery(cid in cid(), messages in messages()) {
        let [mut device, mut other] = [(); 2].map(|()| session::<Portable>(Role::Device, cid));
        for (payload, confirm, _) in &messages {
            let mut out = [0; 100];
            let outgoing = Outgoing { payload, confirm: *confirm, ..Outgoing::default() };
            let protected = device.protect(outgoing, &mut out).unwrap();
            prop_assert_eq!(receive(&mut other, &out[..protected.len]), Seen::Refused(VerifyError::Inauthentic));
        }
    }
}
