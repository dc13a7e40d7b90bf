//! The cases that a server receives, and the states that it receives them in.

use moteseal::aead::Backend;
use moteseal::error::Reject;
use moteseal::keys::{DeviceKey, SUITE};
use moteseal::number::{DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::record::{self, GatewayId};
use moteseal::replay::EPOCH_WINDOW_WIDTH;
use moteseal::server::{self, Received};
use moteseal::wire::{AckBlock, Header, Unverified};

use super::{
    Answer, AnswerKind, Case, Context, Effect, Entry, File, KnownDevice, Reason, Receiver, ServerContext,
    Stage, Status, acknowledgement, malformed_reason, parse_reason, verify_reason,
};
use crate::data::seal_data;
use crate::server::{DEVICE, Host, Stored};
use moteseal::control::Role;

/// When a case is received: long after what led to its state.
const NOW: u64 = 1_000_000;

impl KnownDevice {
    fn device_id(&self) -> DeviceId {
        DeviceId::new(self.device_id.0)
    }

    /// The one session that the record knows.
    fn entry(&self) -> Option<&Entry> {
        assert!(self.confirmed.is_none() || self.candidate.is_none());
        self.confirmed.as_ref().or(self.candidate.as_ref())
    }

    /// Whether the session's Hello and Data are received for real. Otherwise the record is all that there is: after
    /// a crash, or where the device is out of service.
    fn is_live(&self) -> bool {
        self.status == Status::Active && self.entry().is_some_and(|entry| entry.counters.is_some())
    }

    /// The record at the start.
    fn stored(&self) -> Stored {
        assert_eq!(self.suite, SUITE);
        assert_eq!(Some(&epoch(&self.newest_epoch.0).value()), self.hello_window_seen.last());
        let live = self.entry().filter(|_| self.is_live());
        let opened = live.map(|entry| entry.epoch().value());
        let seen: Vec<_> = self.hello_window_seen.iter().filter(|epoch| Some(**epoch) != opened).collect();
        let newest = seen.last().map_or(0, |newest| **newest);
        let bits = seen.iter().map(|epoch| newest - **epoch).filter(|below| *below < EPOCH_WINDOW_WIDTH);
        let stored = |entry: &Option<Entry>| entry.as_ref().filter(|_| !self.is_live()).map(Entry::stored);
        Stored {
            device_id: self.device_id(),
            status: match self.status {
                Status::Active => record::Status::Active,
                Status::Revoked => record::Status::Revoked,
                Status::Quarantined => record::Status::Quarantined,
            },
            keys: self
                .keys
                .iter()
                .map(|key| (Generation::new(key.generation).unwrap(), DeviceKey::new(key.device_key.0)))
                .collect(),
            newest: epoch(&newest.to_be_bytes()[2..]),
            seen: bits.fold(0, |bits, below| bits | 1 << below).max(1),
            confirmed: stored(&self.confirmed),
            candidate: stored(&self.candidate),
        }
    }

    /// Leads the session to where the file has it.
    fn bring_up<A: Backend>(&self, host: &mut Host<A>) {
        let Some(entry) = self.entry().filter(|_| self.is_live()) else { return };
        let fresh = host.open(&entry.hello, entry.server_salt.0, entry.cid());
        assert_eq!(fresh.welcome.as_deref(), Some(&*entry.welcome));
        assert!(entry.welcome_kept);
        let counters = entry.counters.as_ref().unwrap();
        assert_eq!(self.confirmed.is_some(), !counters.received.is_empty());
        let mut sent = 0;
        let answers = counters.received.iter().filter(|datagram| asks(datagram)).count();
        for (at, datagram) in counters.received.iter().enumerate() {
            match host.server.receive(0, DEVICE, datagram.to_vec()) {
                Received::Data(data) => {
                    assert_eq!((data.confirmed, data.malformed), (at == 0, None));
                    assert_eq!(data.answer.is_some(), asks(datagram));
                    sent += usize::from(data.answer.is_some());
                }
                other => panic!("{other:?}"),
            }
            // What it sent of its own goes out after the first: the file acknowledges it from then on.
            while at == 0 && sent + answers < usize::from(counters.next_number) + 1 {
                host.server.send_plain(self.device_id(), b"sent", &mut [0; 64]).unwrap();
                sent += 1;
            }
        }
        assert_eq!(sent, usize::from(counters.next_number));
    }
}

impl Entry {
    fn stored(&self) -> record::Entry {
        record::Entry {
            generation: self.generation(),
            epoch: self.epoch(),
            salt: Salt(self.salt.0),
            server_salt: ServerSalt(self.server_salt.0),
            cid: self.cid(),
            gateway: GatewayId(1),
        }
    }
}

fn epoch(bytes: &[u8]) -> Epoch {
    Epoch::from_bytes(bytes.try_into().unwrap())
}

/// Whether a Data carries C.
fn asks(datagram: &[u8]) -> bool {
    datagram[0] & 0b100 != 0
}

fn host<A: Backend>(context: &ServerContext) -> Host<A> {
    let stored: Vec<_> = context.devices.iter().map(KnownDevice::stored).collect();
    let mut host = Host::start(&stored);
    for device in context.devices.iter() {
        device.bring_up(&mut host);
        let peer = server::Table::find(host.server.table(), device.device_id()).unwrap();
        let record = server::Table::peer(host.server.table(), peer).unwrap().record();
        assert_eq!(record.newest(), epoch(&device.newest_epoch.0));
        let entries =
            record.confirmed().iter().chain(&record.candidate()).copied().copied().collect::<Vec<_>>();
        assert_eq!(entries, device.entry().map(Entry::stored).into_iter().collect::<Vec<_>>());
    }
    host
}

fn context<'f>(file: &'f File, name: &str) -> &'f ServerContext {
    match &file.contexts[name] {
        Context::Server(server) => server,
        Context::Device(_) => panic!("{name} is no server"),
    }
}

/// What a server made of a datagram, in the words of the file. A stale Hello is one thing to a server, whether it
/// was seen or lies left of the window.
struct Verdict {
    reasons: Vec<Reason>,
    answer: Option<(server::AnswerKind, Vec<u8>)>,
}

fn rejected(reason: Reason) -> Verdict {
    Verdict { reasons: vec![reason], answer: None }
}

fn judge(received: Received<Vec<u8>, u32>) -> Verdict {
    match received {
        Received::Rejected { reason, .. } => rejected(match reason {
            Reject::Parse(error) => parse_reason(error),
            Reject::NotForServer => Reason::WrongDirection,
            Reject::UnknownDevice => Reason::UnknownDevice,
            Reject::UnknownConnection => Reason::UnknownCid,
            Reject::NotActive => Reason::DeviceNotActive,
            Reject::UnknownGeneration => Reason::UnknownGeneration,
            Reject::Inauthentic => Reason::BadTag,
            Reject::BootCounterUsedUp => Reason::BootCountReserved,
            Reject::SameHello => Reason::Replayed,
            Reject::Verify(error) => verify_reason(error),
            other => panic!("{other}"),
        }),
        Received::Answered { kind, answer, to, .. } => {
            assert_eq!(to, DEVICE);
            let reasons = match kind {
                server::AnswerKind::Floor => vec![Reason::Replayed, Reason::TooOld],
                server::AnswerKind::Reset => vec![Reason::NoCounters],
                server::AnswerKind::Acknowledgement => vec![Reason::Replayed],
                server::AnswerKind::Welcome => vec![],
            };
            Verdict { reasons, answer: Some((kind, answer.as_bytes().to_vec())) }
        }
        Received::Data(data) => {
            assert!(
                data.confirmed && data.payload.is_none() && data.control.is_none() && data.answer.is_none()
            );
            rejected(malformed_reason(data.malformed.expect("it was accepted")))
        }
        Received::Pending(held, _) => panic!("accepted as {:?}", held.epoch()),
    }
}

/// The state of all devices, without the fields that may change.
fn state<A: Backend + std::fmt::Debug>(host: &Host<A>, but: &[&str]) -> String {
    crate::masked::mask(&format!("{:?}", host.server.table()), &[&["forgeries"], but].concat())
}

fn check_answer<A: Backend>(
    case: &Case,
    context: &ServerContext,
    answer: Option<&(server::AnswerKind, Vec<u8>)>,
) {
    let told = case.answer.as_ref().map(|Answer { kind, datagram }| (*kind, datagram.as_deref()));
    match (told, answer) {
        (None, None) => {}
        (Some((AnswerKind::Floor, bytes)), Some((server::AnswerKind::Floor, answer)))
        | (Some((AnswerKind::Reset, bytes)), Some((server::AnswerKind::Reset, answer))) => {
            assert_eq!(bytes, Some(answer.as_slice()));
            assert!(answer.len() <= case.datagram.len(), "M-19");
        }
        (Some((AnswerKind::Acknowledgement, None)), Some((server::AnswerKind::Acknowledgement, answer))) => {
            let (_, _, entry) = session_of(case, context);
            let key = moteseal::keys::AeadKey::new(entry.down_key.0);
            let block = acknowledgement::<A>(&key, answer);
            let highest = entry.counters.as_ref().unwrap().highest_verified;
            assert_eq!(block.number.value(), case.number(highest));
        }
        (told, answer) => panic!("{answer:?} instead of {told:?}"),
    }
}

/// What the accepted datagrams of a context lead to, in order.
fn later<A: Backend>(file: &File, context: &str, host: &mut Host<A>) -> Vec<String> {
    let led_to = |datagram: &[u8]| match host.server.receive(NOW + 10_000, DEVICE, datagram.to_vec()) {
        Received::Pending(held, change) => format!("{:?}", host.commit(held, change)),
        other => format!("{other:?}"),
    };
    file.later(context).map(|later| &*later.datagram).map(led_to).collect()
}

/// The session that a Data belongs to.
fn session_of<'c>(
    case: &Case,
    context: &'c ServerContext,
) -> (moteseal::wire::Data, &'c KnownDevice, &'c Entry) {
    let mut datagram = case.datagram.to_vec();
    let Header::Data(data) = Unverified::parse(&mut datagram).unwrap().header else { panic!("no Data") };
    let entries = context.devices.iter().filter_map(|device| Some((device, device.entry()?)));
    let (device, entry) = entries.into_iter().find(|(_, entry)| entry.cid() == data.cid).unwrap();
    (data, device, entry)
}

/// Its number is seen; it is never acknowledged, and later traffic is.
fn check_committed<A: Backend>(case: &Case, context: &ServerContext, host: &mut Host<A>) {
    let again = judge(host.server.receive(NOW + 5_000, DEVICE, case.datagram.to_vec()));
    assert_eq!((again.reasons, again.answer), (vec![Reason::Replayed], None));
    let (data, device, entry) = session_of(case, context);
    let number = case.number(entry.counters.as_ref().unwrap().highest_verified);
    let next = moteseal::number::SequenceNumber::new(number + 1);
    let header = moteseal::wire::Data {
        seq: moteseal::wire::Seq::Two(next),
        confirm: true,
        ack: false,
        control: false,
        ..data
    };
    let keys = entry.keys(device.device_id(), &device.keys[0].device_key);
    let after = seal_data::<A>(&keys, Role::Device, number + 1, header, b"after");
    let Received::Data(received) = host.server.receive(NOW + 6_000, DEVICE, after) else { panic!("refused") };
    let (answer, to) = received.answer.expect("an acknowledgement");
    let block = acknowledgement::<A>(&keys.down, answer.as_bytes());
    assert_eq!((block.number, to), (next, DEVICE));
    let names = |block: AckBlock| block.numbers().any(|named| named.value() == number);
    assert!(!names(block), "a malformed Data was acknowledged");
}

fn rejected_by_a_server<A: Backend + std::fmt::Debug>() {
    let file = File::read();
    let mut count = 0;
    for case in file.cases(Receiver::Server) {
        println!("{}: {}", case.name, case.description);
        count += 1;
        let Some(name) = &case.context else {
            let mut host = Host::<A>::start([]);
            let verdict = judge(host.server.receive(NOW, DEVICE, case.datagram.to_vec()));
            assert_eq!((verdict.reasons, verdict.answer), (vec![case.reason], None));
            continue;
        };
        let context = context(&file, name);
        let mut host = host::<A>(context);
        let changes: &[&str] = match case.answer.as_ref().map(|answer| answer.kind) {
            // When the last one went out, and which number an acknowledgement took.
            Some(AnswerKind::Reset) => &["resets"],
            Some(AnswerKind::Acknowledgement) => &["next", "answers"],
            _ => &[],
        };
        let before = state(&host, changes);
        let received = host.server.receive(NOW, DEVICE, case.datagram.to_vec());
        // What verifies under a candidate confirms it (M-62), well-formed or not; all else is rejected whole.
        let confirms = name == "server-candidate" && case.stage == Stage::Content;
        assert_eq!(matches!(received, Received::Data(_)), confirms);
        let verdict = judge(received);
        assert!(verdict.reasons.contains(&case.reason), "{:?}", verdict.reasons);
        check_answer::<A>(case, context, verdict.answer.as_ref());
        if case.effect == Effect::NumberCommitted {
            assert_eq!(case.stage, Stage::Content);
            check_committed(case, context, &mut host);
            continue;
        }
        assert_eq!(case.effect, Effect::None);
        assert_eq!(state(&host, changes), before);
        if !matches!(verdict.answer, Some((server::AnswerKind::Acknowledgement, _))) {
            let after = later(&file, name, &mut host);
            assert_eq!(
                after,
                later(&file, name, &mut self::host::<A>(context)),
                "it changed what comes later"
            );
        }
    }
    assert!(count > 250, "{count}");
}

fn accepted_by_a_server<A: Backend>() {
    let file = File::read();
    let mut count = 0;
    for case in file.accepted(Receiver::Server) {
        println!("{}: {}", case.name, case.description);
        let mut host = host::<A>(context(&file, &case.context));
        let delivered = match host.server.receive(NOW, DEVICE, case.datagram.to_vec()) {
            Received::Pending(held, change) => host.commit(held, change).payload,
            Received::Data(data) => {
                assert_eq!(data.malformed, None);
                assert_eq!(data.confirmed, case.context == "server-candidate");
                data.payload.map(|payload| payload.as_bytes().to_vec())
            }
            Received::Answered { kind: server::AnswerKind::Welcome, answer, .. } => {
                let entry = context(&file, &case.context).devices[0].entry().unwrap();
                assert_eq!(answer.as_bytes(), &*entry.welcome);
                None
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(delivered.as_deref(), case.delivers.as_deref());
        count += 1;
    }
    assert!(count >= 17, "{count}");
}

crate::with_each_backend!(rejected_by_a_server, accepted_by_a_server);
