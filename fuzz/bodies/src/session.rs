//! One session under the cipher of glass: raw bytes are authentic, so a fuzzer plays a peer who holds the keys and keeps
//! no rule. Everything that the session answers and sends is compared with the slow one.

use moteseal::control::{Control, Role};
use moteseal::error::{ProtectError, ResetError, VerifyError};
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Salt, SequenceNumber, ServerSalt};
use moteseal::replay::Answering;
use moteseal::session::{Content, Incoming, Outgoing, Session, answer_without_counters};
use moteseal::wire::{AckBlock, Data, Header, Seq, Unverified};

use crate::glass::{Glass, tag};
use crate::slow::{Carried, Judged, SlowSession};
use crate::tape::Tape;

struct Pair {
    fast: Session<Glass>,
    slow: SlowSession,
    keys: SessionKeys,
}

/// A session of either role, for as long as the bytes last.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let role = if tape.flag() { Role::Device } else { Role::Server };
    let id = DeviceId::new([7; 8]);
    let keys = DeviceKey::new([1; 32]).session_keys(id, Epoch::new(1, 0), Salt([2; 6]), ServerSalt([3; 8]));
    let cid = ConnectionId::new(1, 5).expect("it fits");
    let fast = Session::new(role, keys.clone(), Epoch::new(1, 0), cid);
    let mut pair = Pair { fast, slow: SlowSession::new(role), keys };
    while !tape.is_empty() {
        match tape.below(8) {
            0..=3 => pair.receive(&mut tape),
            4 => pair.send(&mut tape),
            5 if tape.u8() == 0xFF => pair.skip(tape.u16()),
            5 => {
                // A way at once, so that numbers need two bytes.
                for _ in 0..tape.pick(&[20_u32, 127, 128, 300]) {
                    pair.protect(Outgoing::default());
                }
            }
            6 => pair.raw(tape.bytes(80)),
            _ => pair.reset(&mut tape),
        }
        pair.compare(&mut tape);
    }
}

impl Pair {
    /// The keys by which this side seals and opens.
    fn sealing(&self) -> &[u8; 32] {
        if self.slow.role == Role::Device { self.keys.up.expose() } else { self.keys.down.expose() }
    }

    fn opening(&self) -> &[u8; 32] {
        if self.slow.role == Role::Device { self.keys.down.expose() } else { self.keys.up.expose() }
    }

    /// Any Data of the peer, sealed under any number, of any content.
    fn receive(&mut self, tape: &mut Tape<'_>) {
        let bits = tape.u8();
        let (confirm, ack, control) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
        let number = tape.number(self.slow.window.highest());
        let two = confirm || bits & 8 != 0;
        let [_, low] = number.to_be_bytes();
        let seq = if two { Seq::Two(SequenceNumber::new(number)) } else { Seq::One(low) };
        let data = Data { cid: self.fast.cid(), seq, confirm, ack, control };
        let mut text = tape.bytes(48).to_vec();
        if bits & 16 != 0 && ack && text.len() >= 2 {
            // A block near what was sent.
            let near = u16::try_from(self.slow.next).unwrap_or(u16::MAX).wrapping_sub(text[0].into());
            text[..2].copy_from_slice(&near.to_be_bytes());
        }
        let nonce = nonce(2, number);
        let mut tag = tag(self.opening(), &nonce, data.encode().as_bytes(), &text);
        if bits & 32 != 0 {
            tag[0] ^= 1;
        }
        self.raw(&[data.encode().as_bytes(), &text, &tag].concat());
    }

    /// A datagram as it comes.
    fn raw(&mut self, bytes: &[u8]) {
        let key = *self.opening();
        let mut datagram = bytes.to_vec();
        let Ok(Unverified { header: Header::Data(data), sealed }) = Unverified::parse(&mut datagram) else {
            return;
        };
        // To find the session is its holder's business.
        let (text, found) = (sealed.ciphertext.to_vec(), *sealed.tag);
        let aad = data.encode().as_bytes().to_vec();
        let expected = self.slow.receive(&data, |number| {
            let good =
                found[15] & crate::glass::MASTER != 0 || found == tag(&key, &nonce(2, number), &aad, &text);
            good.then(|| text.clone())
        });
        let before = format!("{:?}", self.fast);
        let result = self.fast.verify(&data, sealed);
        let rotate = match &result {
            Ok(Incoming::New(verified))
                if matches!(verified.content, Content::Control(Control::Rotate { .. })) =>
            {
                Some((verified.number, verified.ack))
            }
            _ => None,
        };
        let found = result.map(|incoming| judged(incoming, &text, data.ack));
        assert_eq!(found, expected, "{data:?}");
        if let Err(VerifyError::Replayed | VerifyError::TooOld) = found {
            assert_eq!(before, format!("{:?}", self.fast), "M-24");
        }
        if found == Err(VerifyError::Inauthentic) {
            assert!(
                datagram.iter().skip(aad.len()).take(text.len()).all(|byte| *byte == 0),
                "plaintext is left"
            );
        }
        // Whoever knows the rotation key says whether it is good: here the lowest bit of the number does.
        if let Some((number, ack)) = rotate.filter(|(number, _)| number.value() & 1 == 1) {
            self.fast.accept(number, ack);
            self.slow.accept(number.value(), ack.map(AckBlock::encode));
        }
    }

    fn send(&mut self, tape: &mut Tape<'_>) {
        let bits = tape.u8();
        let answering = match bits >> 4 & 3 {
            1 => self.slow.window.highest().map(|number| Answering::Repeat(SequenceNumber::new(number))),
            _ => None,
        };
        let ack = if bits & 2 != 0 { self.fast.ack_block(answering) } else { None };
        let outgoing =
            Outgoing { payload: tape.bytes(64), ack, confirm: bits & 1 != 0, control: bits & 4 != 0 };
        if bits & 8 != 0 {
            let short = outgoing.payload.len() + if ack.is_some() { 3 } else { 0 } + 18;
            let mut out = vec![0; short];
            let result = self.fast.protect(outgoing, &mut out);
            let expected = if self.slow.next > 0xFFFF {
                ProtectError::NumbersUsedUp
            } else {
                ProtectError::BufferTooShort
            };
            assert_eq!(result, Err(expected), "M-21");
        }
        self.protect(outgoing);
    }

    /// What is sent is the next number, once, in the fewest bytes, under the right key.
    fn protect(&mut self, outgoing: Outgoing<'_>) {
        let mut out = [0; 128];
        let result = self.fast.protect(outgoing, &mut out);
        if self.slow.next > 0xFFFF {
            assert_eq!(result, Err(ProtectError::NumbersUsedUp), "M-50");
            return;
        }
        let protected = result.expect("there is room");
        let mut datagram = out[..protected.len].to_vec();
        let parsed = Unverified::parse(&mut datagram).expect("a Data");
        let Header::Data(data) = parsed.header else { panic!("not a Data") };
        let bits = (data.confirm, data.ack, data.control);
        assert_eq!(bits, (outgoing.confirm, outgoing.ack.is_some(), outgoing.control));
        let number = self.slow.sent(&data);
        assert_eq!(protected.number.value(), number);
        let block = outgoing.ack.map(AckBlock::encode);
        let text = [block.as_ref().map_or(&[][..], |block| block), outgoing.payload].concat();
        assert_eq!(*parsed.sealed.ciphertext, *text);
        let expected = tag(self.sealing(), &nonce(2, number), data.encode().as_bytes(), &text);
        assert_eq!(*parsed.sealed.tag, expected, "5.4");
    }

    /// So many Data that nobody looks at, so that numbers come to their end.
    fn skip(&mut self, count: u16) {
        let mut out = [0; 32];
        for _ in 0..count {
            if self.fast.protect(Outgoing::default(), &mut out).is_ok() {
                self.slow.next += 1;
            }
        }
    }

    /// A Reset for any number (M-46, M-47); and what a server without counters would answer (M-75).
    fn reset(&mut self, tape: &mut Tape<'_>) {
        let (bits, number) = (tape.u8(), tape.u16());
        let near = u16::try_from(self.slow.next.min(0xFFFF)).unwrap_or(0).wrapping_sub(number & 0x7F);
        let number = if bits & 1 != 0 { number } else { near };
        let [_, low] = number.to_be_bytes();
        let seq = if bits & 2 != 0 { Seq::One(low) } else { Seq::Two(SequenceNumber::new(number)) };
        let header = Header::Reset(moteseal::wire::Reset { cid: self.fast.cid(), seq });
        let mut good = tag(self.opening(), &nonce(3, number), header.encode().as_bytes(), &[]);
        if bits & 4 != 0 {
            good[1] ^= 1;
        }
        let mut datagram = [header.encode().as_bytes(), &good].concat();
        let Ok(Unverified { header: Header::Reset(reset), sealed }) = Unverified::parse(&mut datagram) else {
            panic!("not a Reset")
        };
        let read = match reset.seq {
            Seq::One(low) => crate::codecs::nearest(low, self.slow.acknowledged.last().copied()),
            Seq::Two(number) => number.value(),
        };
        let result = self.fast.verify_reset(&reset, sealed);
        let expected = match () {
            () if u32::from(read) >= self.slow.next => Err(ResetError::NeverSent),
            () if !self.slow.may_reset(read) => Err(ResetError::Acknowledged),
            () if bits & 4 != 0 || read != number => Err(ResetError::Inauthentic),
            () => Ok(()),
        };
        assert_eq!(result, expected, "M-46: {read}");
        let data = Data { cid: self.fast.cid(), seq, confirm: false, ack: false, control: false };
        self.without_counters(&data, tape.bytes(8));
    }

    fn without_counters(&self, data: &Data, text: &[u8]) {
        let number = match data.seq {
            Seq::One(low) => low.into(),
            Seq::Two(number) => number.value(),
        };
        let good = tag(self.keys.up.expose(), &nonce(2, number), data.encode().as_bytes(), text);
        let mut datagram = [data.encode().as_bytes(), text, &good].concat();
        let len = datagram.len();
        let parsed = Unverified::parse(&mut datagram).expect("a Data");
        let reset = answer_without_counters::<Glass>(&self.keys, data, parsed.sealed).expect("M-74");
        assert!(reset.as_bytes().len() <= len, "M-19");
        let header = Header::Reset(moteseal::wire::Reset { cid: data.cid, seq: data.seq }).encode();
        let tag = tag(self.keys.down.expose(), &nonce(3, number), header.as_bytes(), &[]);
        assert_eq!(reset.as_bytes(), [header.as_bytes(), &tag].concat());
    }

    fn compare(&self, tape: &mut Tape<'_>) {
        let next = self.fast.next().map_or(0x1_0000, |number| u32::from(number.value()));
        assert_eq!(next, self.slow.next);
        assert_eq!(self.fast.highest_verified().map(SequenceNumber::value), self.slow.window.highest());
        assert_eq!(self.fast.ack_block(None).map(AckBlock::encode), self.slow.window.block(None), "M-15");
        let highest = self.fast.acknowledged().highest().map(SequenceNumber::value);
        assert_eq!(highest, self.slow.acknowledged.last().copied(), "M-17");
        let due =
            self.slow.next > 0xFF00 || self.slow.window.highest().is_some_and(|number| number >= 0xFF00);
        assert_eq!(self.fast.is_due_for_renewal(), due, "M-49");
        self.compare_acknowledged(tape.u16());
        let near = highest.unwrap_or(0).saturating_sub(65);
        (near..near.saturating_add(67)).for_each(|asked| self.compare_acknowledged(asked));
    }

    fn compare_acknowledged(&self, asked: u16) {
        let highest = self.slow.acknowledged.last().copied();
        let remembered = highest.is_none_or(|highest| u32::from(asked) + 64 > u32::from(highest));
        let expected = remembered && self.slow.acknowledged.contains(&asked);
        assert_eq!(self.fast.acknowledged().contains(SequenceNumber::new(asked)), expected, "M-17: {asked}");
    }
}

fn nonce(kind: u8, number: u16) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[0] = kind;
    nonce[10..].copy_from_slice(&number.to_be_bytes());
    nonce
}

fn judged(incoming: Incoming<'_>, text: &[u8], ack: bool) -> Judged {
    let verified = match incoming {
        Incoming::Repeat(number) => return Judged::Repeat(number.value()),
        Incoming::New(verified) => verified,
    };
    // The buffer's part behind the block: a control message is wiped there, so it is read from what came.
    let behind = &text[if ack { 3 } else { 0 }..];
    let carried = match verified.content {
        Content::Empty => Carried::Payload(Vec::new()),
        Content::Payload(bytes) => Carried::Payload(bytes.to_vec()),
        Content::Control(control) => {
            let encoded = control.encode();
            let known = !matches!(control, Control::Unknown(_));
            assert!(!known || encoded.as_bytes() == behind);
            Carried::Control(behind.to_vec())
        }
    };
    Judged::New(verified.number.value(), verified.newest, verified.ack.map(AckBlock::encode), carried)
}
