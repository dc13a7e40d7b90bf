//! `data.json`, `control.json` and `reset.json`: what is sent inside a session, from both of its ends.

use moteseal::aead::{Backend, Nonce};
use moteseal::control::{Control, Role};
use moteseal::keys::{RotationKey, SessionKeys};
use moteseal::number::{ConnectionId, Generation, SequenceNumber};
use moteseal::session::{Content, Incoming, Outgoing, Session, answer_without_counters};
use moteseal::wire::{self, AckBlock, Header, Seq, Unverified};
use serde::Deserialize;

use crate::file::{Array, Bytes, Cases, read};
use crate::numbers::number;
use crate::sealed::{Origin, Sealed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    cases: Cases<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataCase {
    #[serde(flatten)]
    origin: Origin,
    #[serde(flatten)]
    data: Data,
    #[serde(flatten)]
    sealed: Sealed,
}

/// What a Data of both files has.
#[derive(Deserialize)]
struct Data {
    name: String,
    description: String,
    server_salt: Array<8>,
    cid: Bytes,
    direction: Direction,
    number: u16,
    seq_len: usize,
    receiver_highest_verified: Option<u16>,
    c: bool,
    k: bool,
    ack_block: Option<Array<3>>,
    payload: Bytes,
}

/// A Data with all that belongs to it, from either file.
struct Case<'c> {
    origin: &'c Origin,
    data: &'c Data,
    sealed: &'c Sealed,
}

impl std::ops::Deref for Case<'_> {
    type Target = Data;

    fn deref(&self) -> &Data {
        self.data
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

impl Direction {
    fn sender(self) -> Role {
        if self == Self::Up { Role::Device } else { Role::Server }
    }

    fn receiver(self) -> Role {
        if self == Self::Up { Role::Server } else { Role::Device }
    }
}

fn seq(number: u16, len: usize) -> Seq {
    match len {
        1 => Seq::One(number.to_be_bytes()[1]),
        2 => Seq::Two(SequenceNumber::new(number)),
        _ => panic!("{len} bytes of sequence number"),
    }
}

/// A Data as its sender seals it, whatever that sender did before.
pub fn seal_data<A: Backend>(
    keys: &SessionKeys,
    sender: Role,
    number: u16,
    header: wire::Data,
    plaintext: &[u8],
) -> Vec<u8> {
    let key = if sender == Role::Device { &keys.up } else { &keys.down };
    let header = Header::Data(header).encode();
    let mut buffer = plaintext.to_vec();
    let tag = A::seal(key, Nonce::data(SequenceNumber::new(number)), header.as_bytes(), &mut buffer);
    [header.as_bytes(), &buffer, &tag].concat()
}

/// Gives a datagram to a session.
pub fn verify<A: Backend, R>(
    session: &mut Session<A>,
    datagram: &[u8],
    read: impl FnOnce(Result<Incoming<'_>, moteseal::error::VerifyError>) -> R,
) -> R {
    let mut datagram = datagram.to_vec();
    let Unverified { header, sealed } = Unverified::parse(&mut datagram).unwrap();
    let Header::Data(data) = header else { panic!("no Data: {header:?}") };
    read(session.verify(&data, sealed))
}

impl Case<'_> {
    fn keys(&self) -> SessionKeys {
        self.origin.session_keys(self.server_salt)
    }

    fn cid(&self) -> ConnectionId {
        ConnectionId::from_bytes(&self.cid).unwrap()
    }

    fn header(&self) -> wire::Data {
        let (cid, seq) = (self.cid(), seq(self.number, self.seq_len));
        wire::Data { cid, seq, confirm: self.c, ack: self.ack_block.is_some(), control: self.k }
    }

    fn session<A: Backend>(&self, role: Role) -> Session<A> {
        Session::new(role, self.keys(), self.origin.epoch(), self.cid())
    }

    fn plaintext(&self) -> Vec<u8> {
        [self.ack_block.map_or(vec![], |block| block.0.to_vec()), self.payload.to_vec()].concat()
    }

    fn check_sealing<A: Backend>(&self) {
        let keys = self.keys();
        let key = if self.direction == Direction::Up { &keys.up } else { &keys.down };
        let nonce = || Nonce::data(number(self.number));
        self.sealed.check::<A>(key, nonce, Header::Data(self.header()), &self.plaintext());
    }

    /// A session that will give its next Data this case's number, and the length of number that it has here.
    fn sender<A: Backend>(&self) -> Session<A> {
        let mut session = self.session::<A>(self.direction.sender());
        send_until(&mut session, self.number);
        if let Some(before) = self.number.checked_sub(1).filter(|_| self.seq_len == 1) {
            let block = AckBlock { number: number(before), before: 0 };
            let header =
                wire::Data { seq: seq(0, 2), ack: true, confirm: false, control: false, ..self.header() };
            let peer = self.direction.receiver();
            let datagram = seal_data::<A>(&self.keys(), peer, 0, header, &block.encode());
            verify(&mut session, &datagram, |incoming| assert!(matches!(incoming, Ok(Incoming::New(_)))));
        }
        session
    }

    /// The sender's end makes the same bytes, unless it would have sent one byte of number less.
    fn check_sender<A: Backend>(&self) -> bool {
        let ack = self.ack_block.map(|block| AckBlock::decode(block.0).unwrap());
        let outgoing = Outgoing { payload: &self.payload, ack, confirm: self.c, control: self.k };
        let mut out = vec![0xEE; self.sealed.datagram.len() + 5];
        let protected = self.sender::<A>().protect(outgoing, &mut out).unwrap();
        assert_eq!(protected.number, number(self.number));
        let shorter = self.seq_len == 2 && !self.c && number(self.number).fits_one_byte(None);
        assert_eq!(protected.len + usize::from(shorter), self.sealed.datagram.len());
        if !shorter {
            assert_eq!(out[..protected.len], *self.sealed.datagram);
        }
        assert_eq!(out[protected.len..], vec![0xEE; out.len() - protected.len]);
        !shorter
    }

    /// The receiver's end, before this Data came.
    fn receiver<A: Backend>(&self) -> Session<A> {
        let mut session = self.session::<A>(self.direction.receiver());
        if let Some(block) = self.ack_block {
            let highest = AckBlock::decode(block.0).unwrap().number.value();
            send_until(&mut session, highest);
            session.protect(Outgoing::default(), &mut [0; 32]).unwrap();
        }
        if let Some(highest) = self.receiver_highest_verified {
            let header = wire::Data {
                seq: seq(highest, 2),
                ack: false,
                confirm: false,
                control: false,
                ..self.header()
            };
            let datagram = seal_data::<A>(&self.keys(), self.direction.sender(), highest, header, b"before");
            verify(&mut session, &datagram, |incoming| assert!(matches!(incoming, Ok(Incoming::New(_)))));
        }
        assert_eq!(session.highest_verified(), self.receiver_highest_verified.map(number));
        session
    }

    /// The receiver's end reads the same out of it; `content` judges what it carries.
    fn check_receiver<A: Backend>(
        &self,
        content: impl FnOnce(&mut Session<A>, Option<AckBlock>, Content<'_>),
    ) {
        let mut session = self.receiver::<A>();
        let mut datagram = self.sealed.datagram.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut datagram).unwrap();
        assert_eq!(header, Header::Data(self.header()));
        let Ok(Incoming::New(verified)) = session.verify(&self.header(), sealed) else {
            panic!("not taken as new");
        };
        assert_eq!((verified.number, verified.confirm), (number(self.number), self.c));
        assert_eq!(verified.ack.map(AckBlock::encode), self.ack_block.map(|block| block.0));
        assert_eq!(verified.newest, self.receiver_highest_verified.is_none_or(|h| self.number > h));
        content(&mut session, verified.ack, verified.content);
        let acknowledged = |number| session.acknowledged().contains(number);
        assert!(verified.ack.is_none_or(|block| block.numbers().all(acknowledged)));
        assert_eq!(session.ack_block(None).map(|block| block.number), Some(number(self.number)));
        // A second time it is a repeat.
        verify(&mut session, &self.sealed.datagram, |again| match again {
            Ok(Incoming::Repeat(repeated)) => assert_eq!((repeated.value(), true), (self.number, self.c)),
            Err(moteseal::error::VerifyError::Replayed) => assert!(!self.c),
            other => panic!("{other:?}"),
        });
    }
}

/// Sends empty Data until the next number is `number`.
fn send_until<A: Backend>(session: &mut Session<A>, number: u16) {
    let mut out = [0; 32];
    for _ in 0..number {
        session.protect(Outgoing::default(), &mut out).unwrap();
    }
    assert_eq!(session.next(), Some(SequenceNumber::new(number)));
}

fn data<A: Backend>() {
    let mut made = 0;
    for DataCase { origin, data, sealed } in read::<File<DataCase>>("data").cases.iter() {
        let case = Case { origin, data, sealed };
        println!("{}: {}", case.name, case.description);
        case.check_sealing::<A>();
        made += u32::from(case.check_sender::<A>());
        case.check_receiver::<A>(|_, _, content| match content {
            Content::Payload(payload) => assert_eq!((payload, case.k), (&*case.payload, false)),
            Content::Empty => assert!(case.payload.is_empty() && !case.k),
            Content::Control(Control::Unknown(kind)) => assert_eq!((kind, case.k), (case.payload[0], true)),
            Content::Control(other) => panic!("{other:?}"),
        });
    }
    // The rest has two bytes of number where this sender takes one.
    assert!(made >= 15, "{made}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlCase {
    #[serde(flatten)]
    origin: Origin,
    #[serde(flatten)]
    data: Data,
    #[serde(flatten)]
    sealed: Sealed,
    rotation_key: Array<32>,
    kind: Kind,
    outcome: Outcome,
    new_device_key: Option<Array<32>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Rotate,
    Close,
    Moved,
    Unknown,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Accepted,
    Ignored,
}

impl ControlCase {
    /// What a device does with a *rotate*, as far as the session and the keys go.
    fn check_rotate(&self, generation: Generation, secret: &moteseal::keys::RotationSecret) {
        let key = RotationKey::new(self.rotation_key.0);
        let device_id = self.origin.device_id();
        let is_next = self.origin.generation().next() == Some(generation);
        let outcome = if is_next { Outcome::Accepted } else { Outcome::Ignored };
        assert_eq!(self.outcome, outcome);
        assert_eq!(self.new_device_key.is_some(), is_next);
        if let Some(next) = self.new_device_key {
            assert!(key.proves(secret, generation, device_id));
            assert_eq!(*key.next_device_key(secret, generation, device_id).expose(), next.0);
        }
    }
}

fn controls<A: Backend>() {
    for case in read::<File<ControlCase>>("control").cases.iter() {
        println!("{}: {}", case.data.name, case.data.description);
        assert!(case.data.k);
        let whole = Case { origin: &case.origin, data: &case.data, sealed: &case.sealed };
        whole.check_sealing::<A>();
        whole.check_sender::<A>();
        whole.check_receiver::<A>(|session, ack, content| {
            let Content::Control(control) = content else { panic!("{content:?}") };
            let kind = match &control {
                Control::Rotate { generation, secret } => {
                    // Nothing of it counts until it has proved itself.
                    assert_ne!(session.ack_block(None).map(|b| b.number.value()), Some(case.data.number));
                    case.check_rotate(*generation, secret);
                    session.accept(number(case.data.number), ack);
                    Kind::Rotate
                }
                // Generation 0 comes after none.
                Control::Unknown(1) => Kind::Rotate,
                Control::Close => Kind::Close,
                Control::Moved(_) => Kind::Moved,
                Control::Unknown(_) => Kind::Unknown,
            };
            assert_eq!(kind, case.kind);
            if let Control::Unknown(_) = control {
                assert_eq!((case.outcome, case.new_device_key), (Outcome::Ignored, None));
                assert_eq!(control.encode().as_bytes(), &case.data.payload[..1]);
            } else {
                assert_eq!(control.encode().as_bytes(), &*case.data.payload);
            }
            if kind != Kind::Rotate {
                assert_eq!(case.new_device_key, None);
            }
        });
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetCase {
    name: String,
    description: String,
    #[serde(flatten)]
    origin: Origin,
    server_salt: Array<8>,
    cid: Bytes,
    direction: Direction,
    number: u16,
    seq_len: usize,
    device_highest_acknowledged: Option<u16>,
    answers: Bytes,
    #[serde(flatten)]
    sealed: Sealed,
}

fn resets<A: Backend>() {
    for case in read::<File<ResetCase>>("reset").cases.iter() {
        println!("{}: {}", case.name, case.description);
        assert_eq!(case.direction, Direction::Down);
        let keys = case.origin.session_keys(case.server_salt);
        let cid = ConnectionId::from_bytes(&case.cid).unwrap();
        let reset = wire::Reset { cid, seq: seq(case.number, case.seq_len) };
        let nonce = || Nonce::reset(number(case.number));
        case.sealed.check::<A>(&keys.down, nonce, Header::Reset(reset), &[]);

        // A server without counters makes it, if it rebuilds the number.
        let mut answered = case.answers.to_vec();
        let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut answered).unwrap()
        else {
            panic!("no Data")
        };
        let made = answer_without_counters::<A>(&keys, &data, sealed);
        if case.seq_len == 2 || case.number < 256 {
            assert_eq!(made.unwrap().as_bytes(), &*case.sealed.datagram);
        } else {
            assert!(made.is_err());
        }

        // The device takes it, having sent that number and heard what the case says.
        let mut session = Session::<A>::new(Role::Device, keys.clone(), case.origin.epoch(), cid);
        send_until(&mut session, case.number);
        session.protect(Outgoing::default(), &mut [0; 32]).unwrap();
        if let Some(highest) = case.device_highest_acknowledged {
            let header = wire::Data { cid, seq: seq(0, 2), confirm: false, ack: true, control: false };
            let block = AckBlock { number: number(highest), before: 0 };
            let datagram = seal_data::<A>(&keys, Role::Server, 0, header, &block.encode());
            verify(&mut session, &datagram, |incoming| assert!(matches!(incoming, Ok(Incoming::New(_)))));
        }
        assert_eq!(session.acknowledged().highest(), case.device_highest_acknowledged.map(number));
        let mut datagram = case.sealed.datagram.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut datagram).unwrap();
        assert_eq!(header, Header::Reset(reset));
        assert_eq!(session.verify_reset(&reset, sealed), Ok(()));
    }
}

crate::with_each_backend!(data, controls, resets);
