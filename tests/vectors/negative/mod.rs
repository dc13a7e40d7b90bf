//! `negative.json`: every datagram is received in the very state that its context names, and must be rejected for the
//! reason that the file gives, with the effect and the answer that it gives. The accepted ones show that the states
//! are right: without them, everything could be rejected for no good reason.

mod device;
mod server;
mod session;

use std::collections::{BTreeMap, BTreeSet};

use moteseal::aead::{Backend, Nonce};
use moteseal::error::{Malformed, ParseError, VerifyError};
use moteseal::keys::{AeadKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::wire::{AckBlock, Header, Unverified};
use serde::Deserialize;

use crate::file::{Array, Bytes, Cases, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    stages: BTreeMap<Stage, BTreeSet<Reason>>,
    contexts: BTreeMap<String, Context>,
    accepted: Cases<Accepted>,
    cases: Cases<Case>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Parse,
    Route,
    Open,
    Window,
    Content,
    State,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Reason {
    Length,
    Version,
    UndefinedBit,
    CWithoutS,
    WrongDirection,
    UnknownDevice,
    DeviceNotActive,
    UnknownGeneration,
    UnknownCid,
    NoHelloOutstanding,
    EchoMismatch,
    BadTag,
    Replayed,
    TooOld,
    InvalidCid,
    ShortAckBlock,
    AcknowledgedNeverSent,
    EmptyControl,
    ControlWrongDirection,
    ControlLength,
    CloseWithC,
    RotateNotProven,
    BootCountReserved,
    FloorRefused,
    NumberNeverSent,
    NumberAcknowledged,
    HelloOutstanding,
    NoCounters,
}

#[derive(Clone, Deserialize)]
#[serde(tag = "receiver", rename_all = "snake_case", deny_unknown_fields)]
enum Context {
    Device(Box<DeviceContext>),
    Server(ServerContext),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceContext {
    description: String,
    suite: u8,
    device_id: Array<8>,
    generation: u8,
    device_key: Array<32>,
    rotation_key: Array<32>,
    hello: Option<OutstandingHello>,
    session: Option<Entry>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutstandingHello {
    epoch: Array<6>,
    salt: Array<6>,
    payload: Bytes,
    datagram: Bytes,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerContext {
    description: String,
    devices: Cases<KnownDevice>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownDevice {
    device_id: Array<8>,
    suite: u8,
    status: Status,
    keys: Cases<Key>,
    newest_epoch: Array<6>,
    hello_window_seen: Cases<u64>,
    candidate: Option<Entry>,
    confirmed: Option<Entry>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Status {
    Active,
    Revoked,
    Quarantined,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    generation: u8,
    device_key: Array<32>,
}

/// A session as one side knows it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    generation: u8,
    epoch: Array<6>,
    salt: Array<6>,
    server_salt: Array<8>,
    cid: Bytes,
    up_key: Array<32>,
    down_key: Array<32>,
    hello: Bytes,
    welcome: Bytes,
    welcome_kept: bool,
    counters: Option<Counters>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    highest_verified: Option<u16>,
    seen: BTreeSet<u16>,
    received: Vec<Bytes>,
    next_number: u16,
    acknowledged: BTreeSet<u16>,
}

impl Entry {
    fn cid(&self) -> ConnectionId {
        ConnectionId::from_bytes(&self.cid).unwrap()
    }

    fn epoch(&self) -> Epoch {
        Epoch::from_bytes(self.epoch.0)
    }

    /// The keys, which follow from what else the entry says.
    fn keys(&self, device_id: DeviceId, device_key: &Array<32>) -> SessionKeys {
        let key = moteseal::keys::DeviceKey::new(device_key.0);
        let keys =
            key.session_keys(device_id, self.epoch(), Salt(self.salt.0), ServerSalt(self.server_salt.0));
        assert_eq!((keys.up.expose(), keys.down.expose()), (&self.up_key.0, &self.down_key.0));
        keys
    }

    fn generation(&self) -> Generation {
        Generation::new(self.generation).unwrap()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    description: String,
    receiver: Receiver,
    context: String,
    delivers: Option<Bytes>,
    datagram: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    description: String,
    receiver: Receiver,
    context: Option<String>,
    stage: Stage,
    reason: Reason,
    effect: Effect,
    answer: Option<Answer>,
    datagram: Bytes,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Receiver {
    Device,
    Server,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Effect {
    None,
    NumberCommitted,
    HelloConsumed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    kind: AnswerKind,
    datagram: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum AnswerKind {
    Floor,
    Reset,
    Acknowledgement,
    Hello,
}

impl File {
    fn read() -> Self {
        read("negative")
    }

    fn cases(&self, receiver: Receiver) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(move |case| case.receiver == receiver)
    }

    fn accepted(&self, receiver: Receiver) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter().filter(move |case| case.receiver == receiver)
    }

    /// The accepted datagrams of a context: what later traffic of the peer looks like.
    fn later(&self, context: &str) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter().filter(move |case| case.context == context)
    }
}

impl Case {
    /// The number of a Data that is received when `highest` is the highest number verified.
    fn number(&self, highest: Option<u16>) -> u16 {
        let mut datagram = self.datagram.to_vec();
        match Unverified::parse(&mut datagram).unwrap().header {
            Header::Data(data) => data.seq.rebuild(highest.map(crate::numbers::number)).value(),
            other => panic!("{other:?}"),
        }
    }
}

fn parse_reason(error: ParseError) -> Reason {
    match error {
        ParseError::Length => Reason::Length,
        ParseError::Version => Reason::Version,
        ParseError::ReservedBit => Reason::UndefinedBit,
        ParseError::ConfirmWithoutFullNumber => Reason::CWithoutS,
        other => panic!("{other}"),
    }
}

fn verify_reason(error: VerifyError) -> Reason {
    match error {
        VerifyError::Inauthentic => Reason::BadTag,
        VerifyError::Replayed => Reason::Replayed,
        VerifyError::TooOld => Reason::TooOld,
        VerifyError::Malformed(malformed) => malformed_reason(malformed),
        other => panic!("{other}"),
    }
}

fn malformed_reason(malformed: Malformed) -> Reason {
    match malformed {
        Malformed::ShortAck => Reason::ShortAckBlock,
        Malformed::AckOfUnsent => Reason::AcknowledgedNeverSent,
        Malformed::EmptyControl => Reason::EmptyControl,
        Malformed::WrongDirection => Reason::ControlWrongDirection,
        Malformed::ControlLength => Reason::ControlLength,
        Malformed::ConfirmedClose => Reason::CloseWithC,
        Malformed::UnprovenRotation => Reason::RotateNotProven,
        other => panic!("{other}"),
    }
}

/// The block of a pure acknowledgement.
fn acknowledgement<A: Backend>(key: &AeadKey, datagram: &[u8]) -> AckBlock {
    let mut datagram = datagram.to_vec();
    let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut datagram).unwrap() else {
        panic!("no Data")
    };
    assert!(data.ack && !data.confirm && !data.control);
    // It stands near the numbers that were sent before; both receivers send fewer than 301.
    let numbers = (0..=300).map(crate::numbers::number);
    let low = |n: moteseal::number::SequenceNumber| n.value().to_be_bytes()[1];
    let fits = |n: &moteseal::number::SequenceNumber| match data.seq {
        moteseal::wire::Seq::One(seq) => seq == low(*n),
        moteseal::wire::Seq::Two(seq) => seq == *n,
    };
    for number in numbers.filter(fits) {
        let mut plaintext = sealed.ciphertext.to_vec();
        if A::open(key, Nonce::data(number), sealed.aad, &mut plaintext, sealed.tag).is_ok() {
            return AckBlock::decode(plaintext.try_into().unwrap()).unwrap();
        }
    }
    panic!("it does not open")
}

#[test]
fn the_file_keeps_its_own_rules() {
    let file = File::read();
    let by_stage: BTreeSet<_> = file.cases.iter().map(|case| (case.stage, case.reason)).collect();
    let listed: BTreeSet<_> = file
        .stages
        .iter()
        .flat_map(|(stage, reasons)| reasons.iter().map(|reason| (*stage, *reason)))
        .collect();
    assert_eq!(by_stage, listed, "every reason has cases, and no case another reason");
    let mut names = BTreeSet::new();
    for case in file.cases.iter() {
        assert!(names.insert(&case.name), "{} twice", case.name);
        assert_eq!(case.context.is_none(), case.stage == Stage::Parse, "{}", case.name);
    }
    for case in file.accepted.iter() {
        assert!(names.insert(&case.name), "{} twice", case.name);
    }
    for (name, context) in &file.contexts {
        let (receiver, description) = match context {
            Context::Device(device) => (Receiver::Device, &device.description),
            Context::Server(server) => (Receiver::Server, &server.description),
        };
        let in_context = |case: &&Case| case.context.as_ref() == Some(name);
        assert!(file.cases.iter().any(|case| in_context(&case)), "no case in {name}: {description}");
        assert!(file.cases.iter().filter(in_context).all(|case| case.receiver == receiver), "{name}");
        assert!(file.later(name).all(|case| case.receiver == receiver), "{name}");
    }
}

#[test]
fn what_is_no_datagram_is_not_parsed() {
    let mut count = 0;
    for case in File::read().cases.iter().filter(|case| case.stage == Stage::Parse) {
        let mut datagram = case.datagram.to_vec();
        let error = Unverified::parse(&mut datagram).err();
        assert_eq!(error.map(parse_reason), Some(case.reason), "{}: {}", case.name, case.description);
        assert_eq!(datagram, *case.datagram);
        assert_eq!((case.effect, case.answer.is_none()), (Effect::None, true));
        count += 1;
    }
    assert!(count > 200, "{count}");
}
