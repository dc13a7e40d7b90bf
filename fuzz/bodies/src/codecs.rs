//! Round trips: any fields, encoded, parsed, equal. And the arithmetic of numbers against its definition in SPEC 4.8 to
//! 4.11.

use std::collections::BTreeSet;

use moteseal::control::{Control, Role};
use moteseal::keys::{DeviceKey, RotationSecret};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, SequenceNumber, ServerSalt};
use moteseal::record::{Record, Rotation, Status, raised_mark};
use moteseal::wire::{AckBlock, Data, Floor, Header, Hello, Reset, Seq, Unverified, Welcome};

use crate::tape::Tape;

/// One round trip of each kind that the bytes reach.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    while !tape.is_empty() {
        match tape.below(6) {
            0 => datagram(&mut tape),
            1 => ack_block(&mut tape),
            2 => control(&mut tape),
            3 => record(&mut tape),
            4 => numbers(&mut tape),
            _ => raw_record(&mut tape),
        }
    }
}

/// A connection id of any length and value.
pub fn cid(tape: &mut Tape<'_>) -> ConnectionId {
    let len = tape.below(4) + 1;
    let value = tape.u32() % ConnectionId::values(len);
    let cid = ConnectionId::new(len, value).expect("it fits");
    assert_eq!((cid.as_bytes().len(), cid.value()), (len.into(), value));
    assert_eq!(ConnectionId::from_bytes(cid.as_bytes()), Some(cid));
    cid
}

fn seq(tape: &mut Tape<'_>, two: bool) -> Seq {
    if two { Seq::Two(SequenceNumber::new(tape.u16())) } else { Seq::One(tape.u8()) }
}

fn header(tape: &mut Tape<'_>) -> (Header, u8) {
    let epoch = Epoch::from_bytes(tape.array());
    match tape.below(5) {
        0 => {
            let (generation_bits, device_id) = (tape.below(4), DeviceId::new(tape.array()));
            (Header::Hello(Hello { generation_bits, device_id, epoch, salt: Salt(tape.array()) }), 255)
        }
        1 => {
            let (early_taken, echo) = (tape.flag(), tape.array());
            (Header::Welcome(Welcome { early_taken, echo, server_salt: ServerSalt(tape.array()) }), 4)
        }
        2 => (Header::Floor(Floor { echo: tape.array(), floor: epoch }), 0),
        3 => {
            let (confirm, ack, control) = (tape.flag(), tape.flag(), tape.flag());
            let two = confirm || tape.flag();
            (Header::Data(Data { cid: cid(tape), seq: seq(tape, two), confirm, ack, control }), 255)
        }
        _ => {
            let two = tape.flag();
            (Header::Reset(Reset { cid: cid(tape), seq: seq(tape, two) }), 0)
        }
    }
}

fn datagram(tape: &mut Tape<'_>) {
    let (header, ciphertext) = header(tape);
    let mut ciphertext = tape.bytes(ciphertext).to_vec();
    if matches!(header, Header::Welcome(_)) && ciphertext.is_empty() {
        ciphertext.push(0);
    }
    let tag: [u8; 16] = tape.array();
    let mut datagram = [header.encode().as_bytes(), &ciphertext, &tag].concat();
    let parsed = Unverified::parse(&mut datagram).expect("what is encoded is parsed");
    assert_eq!(parsed.header, header);
    assert_eq!((&*parsed.sealed.ciphertext, parsed.sealed.tag), (&ciphertext[..], &tag));
}

fn ack_block(tape: &mut Tape<'_>) {
    let bytes: [u8; 3] = tape.array();
    let number = i32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let named: BTreeSet<i32> =
        (0..8).filter(|bit| bytes[2] >> bit & 1 == 1).map(|bit| number - 1 - bit).chain([number]).collect();
    let block = AckBlock::decode(bytes);
    assert_eq!(block.is_none(), named.iter().any(|number| *number < 0), "M-18");
    if let Some(block) = block {
        assert_eq!(block.encode(), bytes);
        let numbers: Vec<i32> = block.numbers().map(|number| number.value().into()).collect();
        assert!(numbers.iter().copied().eq(named.into_iter().rev()), "4.11");
    }
}

fn control(tape: &mut Tape<'_>) {
    let (sender, confirm) = (if tape.flag() { Role::Device } else { Role::Server }, tape.flag());
    let bytes = tape.bytes(40);
    // 10.1, 9.7 and M-114.
    let right = match bytes {
        [] => false,
        [1, ..] => sender == Role::Server && bytes.len() == 34,
        [2, ..] => sender == Role::Device && bytes.len() == 1 && !confirm,
        [3, ..] => sender == Role::Device && bytes.len() == 5,
        _ => true,
    };
    let decoded = Control::decode(bytes, sender, confirm);
    assert_eq!(decoded.is_ok(), right, "{decoded:?}");
    match decoded {
        Err(_) => {}
        // A kind that is not known has nothing behind it that could be encoded; generation 0 comes after none.
        Ok(Control::Unknown(kind)) => assert_eq!(kind, bytes[0]),
        Ok(known) => assert_eq!(known.encode().as_bytes(), bytes),
    }
}

fn key(tape: &mut Tape<'_>) -> DeviceKey {
    DeviceKey::new([tape.u8(); 32])
}

fn generation(tape: &mut Tape<'_>) -> Generation {
    Generation::new(tape.u8().max(1)).expect("not 0")
}

/// A record after any changes of an operator.
fn record(tape: &mut Tape<'_>) {
    let (id, first) = (DeviceId::new(tape.array()), generation(tape));
    let mut record = Record::provisioned(id, first, key(tape));
    for _ in 0..tape.below(8) {
        let before = record.clone();
        record = match tape.below(5) {
            0 => {
                let status = tape.pick(&[Status::Active, Status::Quarantined, Status::Revoked]);
                let after = record.with_status(status);
                let revoked = before.status() == Status::Revoked;
                assert_eq!(after.status(), if revoked { Status::Revoked } else { status }, "M-5");
                after
            }
            1 => {
                let secret = RotationSecret::from_bytes([tape.u8(); 32]);
                let rotated = record.with_rotation(Rotation { secret, key: key(tape) });
                assert_eq!(rotated.is_err(), before.generation().number() == 255);
                rotated.unwrap_or(before)
            }
            2 => {
                let after = record.with_rotation_finished();
                let expected = before.rotation().map_or(before.key(), |rotation| &rotation.key);
                assert!(after.key() == expected && after.rotation().is_none());
                after
            }
            3 => record.with_key(generation(tape), key(tape)),
            _ => {
                let mark = raised_mark(tape.u32(), before.newest().boot());
                let after = record.raised(mark);
                assert!(after.newest() >= before.newest(), "M-81");
                after
            }
        };
        assert_eq!(record.device_id(), id);
    }
    let encoded = record.encode();
    assert_eq!(Record::decode(encoded.expose()).as_ref(), Ok(&record));
}

/// Bytes that somebody else wrote into a store.
fn raw_record(tape: &mut Tape<'_>) {
    let len = if tape.flag() { 200 } else { 230 };
    let bytes = tape.take(len);
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode().expose(), bytes, "two encodings of one record");
        let text = format!("{record:?}");
        assert!(!text.contains(&format!("{:?}", record.key().expose())), "a key in a text");
    }
}

fn numbers(tape: &mut Tape<'_>) {
    let (a, b) = (Epoch::from_bytes(tape.array()), Epoch::new(tape.u32(), tape.u16()));
    assert_eq!(Epoch::new(a.boot(), a.count()), a);
    assert_eq!(a.cmp(&b), a.value().cmp(&b.value()), "4.9");
    let (low, highest) = (tape.u8(), tape.flag().then(|| tape.u16()));
    let (number, reference) = (SequenceNumber::new(tape.u16()), highest.map(SequenceNumber::new));
    assert_eq!(SequenceNumber::rebuild(low, reference).value(), nearest(low, highest), "M-13");
    let expected = highest.map_or(0, |highest| i32::from(highest) + 1);
    assert_eq!(number.fits_one_byte(reference), i32::from(number.value()) - expected < 128, "M-14");
    let raw = tape.bytes(5);
    let right = raw.first().is_some_and(|first| raw.len() == usize::from(first >> 6) + 1);
    let cid = ConnectionId::from_bytes(raw);
    assert_eq!(cid.map(|cid| cid.as_bytes().to_vec()), right.then(|| raw.to_vec()), "M-10");
}

/// M-13 by trying all.
pub fn nearest(low: u8, highest: Option<u16>) -> u16 {
    let expected = highest.map_or(0, |highest| i32::from(highest) + 1);
    let all = (0..256).map(|high| u16::from_be_bytes([u8::try_from(high).unwrap_or(0), low]));
    all.min_by_key(|number| ((i32::from(*number) - expected).abs(), *number)).unwrap_or(0)
}
