//! `numbers.json`, `cids.json` and `ack.json`: what needs no key. SPEC sections 4.8, 4.10 and 4.11.

use std::collections::BTreeSet;

use moteseal::number::{ConnectionId, SequenceNumber};
use moteseal::replay::{Acknowledged, Answering, ReplayWindow, WINDOW_WIDTH};
use moteseal::wire::{AckBlock, Seq};
use serde::Deserialize;

use crate::file::{Array, Bytes, Cases, read};

pub fn number(value: u16) -> SequenceNumber {
    SequenceNumber::new(value)
}

/// A sequence number as it stands on the wire, of one byte or two.
fn seq(bytes: &[u8]) -> Seq {
    match *bytes {
        [low] => Seq::One(low),
        [high, low] => Seq::Two(number(u16::from_be_bytes([high, low]))),
        _ => panic!("{bytes:02x?} is no sequence number"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    reconstruct: Cases<Reconstruct>,
    two_bytes: Cases<TwoBytes>,
    one_byte_permitted: Cases<Permitted>,
    reset: Cases<OfReset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconstruct {
    seq: Array<1>,
    highest: Option<u16>,
    number: u16,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TwoBytes {
    seq: Array<2>,
    highest: Option<u16>,
    number: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Permitted {
    number: u16,
    highest_acknowledged: Option<u16>,
    permitted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfReset {
    seq: Bytes,
    highest_acknowledged: Option<u16>,
    number: u16,
}

#[test]
fn sequence_numbers() {
    let file = read::<Numbers>("numbers");
    for case in file.reconstruct.iter() {
        let rebuilt = seq(&case.seq.0).rebuild(case.highest.map(number));
        assert_eq!(rebuilt.value(), case.number, "{}", case.why);
    }
    for case in file.two_bytes.iter() {
        assert_eq!(seq(&case.seq.0).rebuild(case.highest.map(number)).value(), case.number);
    }
    for case in file.one_byte_permitted.iter() {
        let fits = number(case.number).fits_one_byte(case.highest_acknowledged.map(number));
        assert_eq!(fits, case.permitted, "{} after {:?}", case.number, case.highest_acknowledged);
    }
    for case in file.reset.iter() {
        assert_eq!(seq(&case.seq).rebuild(case.highest_acknowledged.map(number)).value(), case.number);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cids {
    valid: Cases<ValidCid>,
    unencodable: Cases<Unencodable>,
    invalid: Cases<InvalidCid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidCid {
    cid: Bytes,
    length: u8,
    bits: u32,
    value: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unencodable {
    length: u8,
    value: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvalidCid {
    cid: Bytes,
    length: usize,
    length_told: usize,
}

#[test]
fn connection_ids() {
    let file = read::<Cids>("cids");
    for case in file.valid.iter() {
        let cid = ConnectionId::new(case.length, case.value).unwrap();
        assert_eq!(cid.as_bytes(), &*case.cid);
        assert_eq!(ConnectionId::from_bytes(&case.cid), Some(cid));
        assert_eq!(cid.value(), case.value);
        assert_eq!(ConnectionId::len_from(case.cid[0]), usize::from(case.length));
        assert_eq!(ConnectionId::values(case.length), 1 << case.bits);
    }
    for case in file.unencodable.iter() {
        let refused = u32::try_from(case.value).map_or(None, |value| ConnectionId::new(case.length, value));
        assert_eq!(refused, None, "{} in {} bytes", case.value, case.length);
    }
    for case in file.invalid.iter() {
        assert_eq!(case.cid.len(), case.length);
        assert_eq!(ConnectionId::len_from(case.cid[0]), case.length_told);
        assert_eq!(ConnectionId::from_bytes(&case.cid), None, "{:?}", case.cid);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acks {
    encode: Cases<Encode>,
    decode: Cases<Decode>,
    union: Cases<Union>,
    outcomes: Cases<Outcomes>,
    impossible: Cases<Impossible>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encode {
    why: String,
    number: u16,
    acknowledgeable: Cases<u16>,
    block: Array<3>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decode {
    block: Array<3>,
    numbers: BTreeSet<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Union {
    why: String,
    blocks: Cases<Array<3>>,
    numbers: BTreeSet<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcomes {
    why: String,
    number: u16,
    steps: Cases<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    block: Array<3>,
    word: Option<Word>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Word {
    Acknowledged,
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Impossible {
    block: Array<3>,
    why: String,
}

#[test]
fn acknowledgement_blocks() {
    let file = read::<Acks>("ack");
    for case in file.encode.iter() {
        let mut window = ReplayWindow::default();
        for value in case.acknowledgeable.iter() {
            window.check(number(*value)).unwrap().commit(true);
        }
        // N is either what a receiver says unasked, or what it answers a repeat with.
        let block = window.ack_block(Some(Answering::Repeat(number(case.number)))).unwrap();
        assert_eq!(block.encode(), case.block.0, "{}", case.why);
        if case.acknowledgeable.iter().max() == Some(&case.number) {
            assert_eq!(window.ack_block(None), Some(block), "{}", case.why);
        }
    }
    for case in file.decode.iter() {
        let block = AckBlock::decode(case.block.0).unwrap();
        assert_eq!(block.numbers().map(SequenceNumber::value).collect::<BTreeSet<_>>(), case.numbers);
        assert_eq!(block.encode(), case.block.0);
    }
    for case in file.union.iter() {
        let mut acknowledged = Acknowledged::default();
        for block in case.blocks.iter() {
            acknowledged.unite(AckBlock::decode(block.0).unwrap());
        }
        let highest = acknowledged.highest().unwrap();
        assert_eq!(Some(&highest.value()), case.numbers.last(), "{}", case.why);
        for below in 0..WINDOW_WIDTH {
            let Some(number) = highest.before(below) else { break };
            let is_named = case.numbers.contains(&number.value());
            assert_eq!(acknowledged.contains(number), is_named, "{}: {number:?}", case.why);
            assert_eq!(acknowledged.is_missing(number), !is_named, "{}: {number:?}", case.why);
        }
    }
    for case in file.outcomes.iter() {
        let (mut acknowledged, mut word) = (Acknowledged::default(), None);
        for step in case.steps.iter() {
            acknowledged.unite(AckBlock::decode(step.block.0).unwrap());
            let number = number(case.number);
            // M-128: what is neither is out of the peer's reach. The first word stays.
            word = word.or(match (acknowledged.contains(number), acknowledged.is_missing(number)) {
                (true, _) => Some(Word::Acknowledged),
                (false, true) => None,
                (false, false) => Some(Word::Unknown),
            });
            assert_eq!(word, step.word, "{}: {:?}", case.why, step.block.0);
        }
    }
    for case in file.impossible.iter() {
        assert_eq!(AckBlock::decode(case.block.0), None, "{}", case.why);
    }
}
