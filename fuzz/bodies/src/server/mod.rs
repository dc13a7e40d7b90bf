//! The server half, driven by bytes and held against what it may do: datagrams of three devices in any order, changed
//! ones and junk, the time, writes under way, and crashes between change, commit and answer. SPEC sections 7 and 9.

mod fleet;
mod model;
mod model_down;

use std::collections::BTreeMap;

use moteseal::delivery::{Millis, Timing};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, Reject, VerifyError};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{
    AnswerKind, Change, CommandId, Durable, FixedTable, Held, Index, Received, RecordChange, Sending,
    SentMark, Server,
};

use crate::tape::Tape;
use fleet::{DEVICES, Fleet, id, key};
use model::{Expected, Model, View};

type Address = u8;
type Half = Server<FixedTable<Address, 4, 96>, Noise>;

/// Random enough for salts and connection ids.
#[derive(Debug)]
struct Noise(u64);

impl Entropy for Noise {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
        Ok(())
    }
}

/// A fresh Hello on its way to the disk and back.
enum Pending {
    Asked(Held<Vec<u8>, Address>, Change<RecordChange>, Fresh),
    Written(Held<Vec<u8>, Address>, Durable<RecordChange>, Fresh),
}

/// What follows from it.
struct Fresh {
    device: u8,
    question: usize,
    tag: [u8; 16],
    payload: Vec<u8>,
    /// The device after it, as the model has it.
    after: View,
    /// The number of the session that it offers.
    session: Option<usize>,
}

/// One server and its crashes.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut life = Life::new();
    while !tape.is_empty() {
        life.step(&mut tape);
    }
}

struct Life {
    half: Half,
    store: BTreeMap<DeviceId, Vec<u8>>,
    pending: Vec<Pending>,
    sending: Option<(Sending, Change<SentMark>, u8)>,
    model: Model,
    fleet: Fleet,
    now: Millis,
    starts: u64,
    commands: u64,
}

impl Life {
    fn new() -> Self {
        let record = |device| Record::provisioned(id(device), Generation::FIRST, key(device));
        let store: BTreeMap<_, _> =
            (0..DEVICES).map(|device| (id(device), record(device).encode().expose().to_vec())).collect();
        let half = start(&store, 1);
        let (model, fleet) = (Model::new(), Fleet::default());
        let (pending, sending) = (Vec::new(), None);
        Self { half, store, pending, sending, model, fleet, now: 10_000, starts: 1, commands: 0 }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        match tape.u8() {
            0..=49 => {
                let device = tape.below(DEVICES);
                let newest = self.model.view(device).epochs.newest();
                let bytes = self.fleet.hello(tape, device, newest);
                self.receive(tape, bytes);
            }
            50..=139 => {
                let numbers = |session| self.model.numbers(session);
                if let Some(bytes) = self.fleet.data(tape, numbers) {
                    self.receive(tape, bytes);
                }
            }
            140..=169 => {
                let bytes = self.fleet.again(tape);
                self.receive(tape, bytes);
            }
            170..=189 => self.complete(tape),
            190..=209 => self.complete_all(),
            210..=219 => self.now += u64::from(tape.pick(&[1_u32, 40, 999, 1_000, 2_500, 60_000])),
            220..=229 => self.command(tape),
            230..=236 => self.seal(),
            237..=240 => self.set_status(tape),
            241..=243 => self.crash(),
            _ => self.now += 1,
        }
        (0..DEVICES).for_each(|device| self.poll(device));
    }

    /// Everything in memory is gone.
    fn crash(&mut self) {
        self.starts += 1;
        self.pending.clear();
        self.sending = None;
        self.half = start(&self.store, self.starts);
        self.model.crashed();
    }

    /// All that the server knows, but for the counters of forgeries.
    fn state(&self) -> String {
        let text = format!("{:?}", self.half.table());
        let mut parts = text.split("forgeries: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    }

    fn receive(&mut self, tape: &mut Tape<'_>, bytes: Vec<u8>) {
        let (from, question) = (tape.below(6), bytes.len());
        let before = tape.flag().then(|| self.state());
        let expected = self.model.expect(&self.fleet, self.now, from, &bytes);
        match self.half.receive(self.now, from, bytes.clone()) {
            Received::Rejected { reason, .. } => {
                self.model.rejected(reason, expected);
                let same = before.is_none_or(|before| before == self.state());
                // What is authentic and malformed is seen from now on (M-113).
                let counts =
                    matches!(reason, Reject::AnswerLimited | Reject::Verify(VerifyError::Malformed(_)));
                assert!(same || counts, "P6, M-24: {reason} has changed something");
            }
            Received::Answered { kind, device_id, answer, to } => {
                assert!(kind == AnswerKind::Acknowledgement || answer.as_bytes().len() <= question, "M-19");
                let same = before.is_none_or(|before| before == self.state());
                assert!(same || kind != AnswerKind::Floor, "M-59: a Floor has changed something");
                let device = device_id.as_bytes()[0];
                self.model.answered(&self.fleet, kind, device, answer.as_bytes(), (from, to), expected);
            }
            Received::Pending(held, change) => {
                let Expected::Fresh { device, newest, tag, payload } = expected else {
                    panic!("P2: it asks for a write: {expected:?}");
                };
                let (after, session) = self.model.fresh(&mut self.fleet, device, newest, change.value());
                let fresh = Fresh { device, question, tag, payload, after, session };
                self.pending.push(Pending::Asked(held, change, fresh));
            }
            Received::Data(data) => self.model.data(&self.fleet, from, data, expected),
        }
    }

    /// One of the writes goes one step on.
    fn complete(&mut self, tape: &mut Tape<'_>) {
        if self.pending.is_empty() {
            return;
        }
        let at = tape.place(self.pending.len());
        // Proofs of one device come in the order in which the store made the changes.
        let device = match &self.pending[at] {
            Pending::Asked(..) => None,
            Pending::Written(_, _, fresh) => Some(fresh.device),
        };
        let earlier = |pending: &Pending| match pending {
            Pending::Written(_, _, fresh) => Some(fresh.device) == device,
            Pending::Asked(..) => false,
        };
        let at = self.pending.iter().position(earlier).unwrap_or(at);
        match self.pending.remove(at) {
            Pending::Asked(held, change, fresh) => self.write(held, change, fresh),
            Pending::Written(held, durable, fresh) => self.commit(held, durable, fresh),
        }
    }

    fn complete_all(&mut self) {
        while !self.pending.is_empty() {
            self.complete(&mut Tape::new(&[]));
        }
    }

    /// A compare-and-set of whole records, as a store makes it (M-88).
    fn write(&mut self, held: Held<Vec<u8>, Address>, change: Change<RecordChange>, fresh: Fresh) {
        let RecordChange { expected, record, .. } = change.value();
        let stored = self.store.get_mut(&record.device_id()).expect("provisioned");
        if stored != expected.encode().expose() {
            return;
        }
        *stored = record.encode().expose().to_vec();
        self.model.written(fresh.device, held.epoch(), &fresh.after);
        self.pending.push(Pending::Written(held, change.committed(), fresh));
    }

    fn commit(&mut self, held: Held<Vec<u8>, Address>, durable: Durable<RecordChange>, fresh: Fresh) {
        let (epoch, from) = (held.epoch(), held.from());
        let committed = self.half.commit(held, durable).expect("the store compares");
        let payload = committed.payload.as_ref().map(|payload| payload.as_bytes().to_vec());
        assert!(
            committed.welcome.as_ref().is_none_or(|(welcome, _)| welcome.as_bytes().len() <= fresh.question),
            "M-19"
        );
        let welcome = committed.welcome.map(|(welcome, to)| (welcome.as_bytes().to_vec(), to));
        let Fresh { device, tag, after, session, .. } = fresh;
        let unknown = self.model.committed(
            &self.fleet,
            device,
            after,
            session.map(|session| (session, tag, from)),
            welcome.as_ref(),
        );
        assert_eq!(committed.unknown, unknown, "M-103");
        let silent = self.model.is_silent(device);
        let expected = (!silent && !fresh.payload.is_empty()).then_some(fresh.payload);
        assert_eq!(payload, expected, "P1, M-54");
        assert!(!silent || welcome.is_none(), "P7");
        if payload.is_some() {
            self.model.deliver(device, epoch, None);
        }
    }

    fn command(&mut self, tape: &mut Tape<'_>) {
        let (device, len) = (tape.below(DEVICES), tape.below(80));
        if let Some((sending, ..)) = self.sending.take() {
            self.half.give_up(&sending);
        }
        self.commands += 1;
        let begun = self.half.begin_command(id(device), CommandId(self.commands), len.into());
        if let Ok((sending, change)) = begun {
            assert!(len > 0 && self.model.can_command(device), "P7, M-73: to a device without a session");
            self.sending = Some((sending, change, len));
        }
    }

    /// The mark is durable (M-106).
    fn seal(&mut self) {
        let Some((sending, change, len)) = self.sending.take() else { return };
        let payload = vec![0xC0; len.into()];
        let (command, index) = (sending.command(), sending.index());
        let durable = change.committed();
        let epoch = durable.value().epoch;
        let sealed = self.half.seal_command(self.now, sending, &durable, &payload);
        let Ok(transmit) = sealed else { return };
        let transmit = transmit.map(|transmit| (transmit.to, transmit.datagram.to_vec()));
        let device = u8::try_from(index.0).expect("few");
        self.model.sealed(device, command, epoch);
        if let Some((to, bytes)) = transmit {
            self.model.transmitted(&self.fleet, device, to, &bytes, &payload);
        }
    }

    fn set_status(&mut self, tape: &mut Tape<'_>) {
        let (device, bits) = (tape.below(DEVICES), tape.u8());
        let status = match bits {
            0..100 => Status::Quarantined,
            100..108 => Status::Revoked,
            _ => Status::Active,
        };
        let under_way =
            |pending: &Pending| matches!(pending, Pending::Written(_, _, fresh) if fresh.device == device);
        if self.pending.iter().any(under_way) {
            return;
        }
        let Ok((admin, change)) = self.half.set_status(id(device), status) else {
            assert!(self.model.is_revoked(device), "M-5");
            return;
        };
        let record = change.value().record.encode();
        self.store.insert(id(device), record.expose().to_vec());
        let unknown = self.half.apply(admin, change.committed()).expect("nothing else is under way");
        let expected = self.model.status_set(device, status);
        assert_eq!(unknown, expected, "M-103");
    }

    fn poll(&mut self, device: u8) {
        for _ in 0..4 {
            let Some(transmit) = self.half.poll(self.now, Index(device.into())) else { return };
            let (to, bytes) = (transmit.to, transmit.datagram.to_vec());
            let payload = vec![0xC0; 80];
            self.model.transmitted(&self.fleet, device, to, &bytes, &payload);
        }
        panic!("a server that does not stop speaking");
    }
}

fn start(store: &BTreeMap<DeviceId, Vec<u8>>, seed: u64) -> Half {
    let mut table = FixedTable::new();
    for bytes in store.values() {
        let record = Record::decode(bytes).expect("what a server writes it reads");
        table.insert(record).expect("M-12: two records with one connection id");
    }
    Server::new(table, Noise(seed), GatewayId(0), Timing::DEFAULT, 0).expect("the generator works")
}
