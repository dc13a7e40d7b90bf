//! The server's side of a world: the real half over the disk, with writes under way that complete in any order, and
//! crashes between any two steps.

use std::collections::{BTreeMap, HashSet};

use moteseal::delivery::{Millis, Timing};
use moteseal::error::{Reject, VerifyError};
use moteseal::number::{DeviceId, Epoch};
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{
    Admin, AnswerKind, Change, CommandId, CommandState, ControlEvent, DataReceived, Durable, FixedTable,
    Held, Index, Received, RecordChange, Sending, SentMark, Server, Table,
};

use crate::auditor::{Kind, Way};
use crate::network::{Address, Datagram, SERVER};
use crate::random::Random;
use crate::store::{Note, Started, Stopped};
use crate::world::World;

type Half = Server<FixedTable<Address, 40, 160>, Random>;

pub struct Gateway {
    pub half: Half,
    pub pending: Vec<Pending>,
    /// Acknowledged, and not yet written down (M-109).
    pub acknowledged: Vec<CommandId>,
    /// Devices that must be silent, and the order that said so last.
    silenced: BTreeMap<usize, u64>,
    orders: u64,
    /// The sessions whose counters this run has, and the highest number verified in each.
    live: BTreeMap<usize, (Epoch, u16)>,
    /// Hellos that this run of the server has committed: no replay of one asks for a write again (P6).
    committed: HashSet<(DeviceId, Epoch)>,
}

/// Something that waits for the disk, or for what follows once it is there.
pub enum Pending {
    Hello(Held<Vec<u8>, Address>, Change<RecordChange>, usize),
    DurableHello(Held<Vec<u8>, Address>, Durable<RecordChange>, usize),
    Admin(Admin, Change<RecordChange>, Order),
    DurableAdmin(Admin, Durable<RecordChange>, Order),
    Command(Sending, Change<SentMark>),
    DurableCommand(Sending, Durable<SentMark>),
}

impl Pending {
    /// The device whose record the store has changed.
    fn durable_of(&self) -> Option<DeviceId> {
        match self {
            Self::DurableHello(held, ..) => Some(held.device_id()),
            Self::DurableAdmin(_, durable, _) => Some(durable.value().record.device_id()),
            _ => None,
        }
    }
}

/// An administrative order.
#[derive(Clone, Debug)]
pub struct Order {
    device: usize,
    number: u64,
    note: Note,
}

impl Gateway {
    pub fn deadline(&self, device: usize) -> Option<Millis> {
        self.half.deadline(place(device))
    }

    pub fn is_silenced(&self, device: usize) -> bool {
        self.silenced.contains_key(&device)
    }

    /// A session that the record does not name any more has ended with the write.
    fn forget_ended(&mut self, device: usize) {
        let Some(peer) = self.half.table().peer(place(device)) else { return };
        let entries = [peer.record().confirmed(), peer.record().candidate()];
        let named = |epoch| entries.into_iter().flatten().any(|entry| entry.epoch == epoch);
        if self.live.get(&device).is_some_and(|(epoch, _)| !named(*epoch)) {
            self.live.remove(&device);
        }
    }

    /// All that the server knows, but for the counters of forgeries.
    fn state(&self) -> String {
        let text = format!("{:?}", self.half.table());
        let mut parts = text.split("forgeries: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    }
}

fn place(device: usize) -> Index {
    Index(u32::try_from(device).unwrap())
}

impl World {
    /// A start may crash in the middle of a raise; the one after it finishes what is left (M-83).
    pub fn start_server(&mut self) {
        let started = loop {
            let crash = 10 * self.crash_per_mille;
            let started = self.disk.start(self.now, &mut self.random, crash, &mut self.coverage);
            if let Some(started) = started {
                break started;
            }
        };
        let Started { records, mark, words } = started;
        let mut table = FixedTable::new();
        let mut silenced = BTreeMap::new();
        for record in records {
            let device = self.auditor.index(record.device_id());
            self.learn_key(&record);
            self.auditor.finished(device, record.generation());
            if record.status() != Status::Active {
                silenced.insert(device, 0);
            }
            table.insert(record).unwrap();
        }
        let entropy = Random::new(self.random.next());
        let half = Server::new(table, entropy, GatewayId(0), Timing::DEFAULT, mark).unwrap();
        let (pending, acknowledged, committed) = (Vec::new(), Vec::new(), HashSet::new());
        self.gateway = Some(Gateway {
            half,
            pending,
            acknowledged,
            silenced,
            orders: 0,
            live: BTreeMap::new(),
            committed,
        });
        for (id, state) in words {
            self.word(id, state);
        }
    }

    pub fn crash(&mut self) {
        let Some(gateway) = self.gateway.take() else { return };
        self.coverage.hit(if gateway.pending.is_empty() {
            "server: crash at rest"
        } else {
            "server: crash with writes under way"
        });
        drop(gateway);
        self.start_server();
    }

    /// Whether the server crashes here; then it has started again already.
    pub fn crashes(&mut self, where_: &'static str) -> bool {
        let crashes = self.random.chance(self.crash_per_mille);
        if crashes {
            self.coverage.hit(where_);
            self.gateway = None;
            self.start_server();
        }
        crashes
    }

    pub fn restore(&mut self) {
        self.gateway = None;
        if self.random.chance(200) {
            self.coverage.hit("store: lost");
            self.disk.lose_store();
        } else if let Some(rotating) = self.disk.restore(&mut self.random) {
            self.coverage.hit("store: backup restored");
            if rotating {
                self.coverage.hit("admin: restored between begin and finish of a rotation");
            }
        }
        // What the store tells of commands from now on is what the backup knew.
        self.words.clear();
        for (id, queued) in &self.disk.store.commands {
            let state = queued.command.state;
            if !matches!(state, CommandState::Queued | CommandState::Sent { .. }) {
                self.words.insert(*id, state);
            }
        }
        self.start_server();
    }

    pub fn server_receives(&mut self, from: Address, bytes: Vec<u8>) {
        let Some(gateway) = &mut self.gateway else { return };
        let before = (self.network.hostile && self.random.chance(150)).then(|| gateway.state());
        let len = bytes.len();
        let (kind, device) = (self.auditor.recognise(&bytes), self.auditor.sender(&bytes));
        match gateway.half.receive(self.now, from, bytes) {
            Received::Rejected { reason, .. } => {
                self.coverage.hit("server: rejected");
                let malformed = matches!(reason, Reject::Verify(VerifyError::Malformed(_)));
                assert!(!malformed && !matches!(reason, Reject::Entropy(_)), "{reason}");
                if let (Some(Kind::Data { way: Way::Up, epoch, number, .. }), Some(device)) = (kind, device) {
                    let newer =
                        gateway.live.get(&device).is_some_and(|live| live.0 == epoch && live.1 < number);
                    let lost = newer && reason == Reject::Verify(VerifyError::Inauthentic);
                    assert!(!lost, "M-14: number {number} was rebuilt wrongly");
                }
                let same = before.is_none_or(|before| before == gateway.state());
                assert!(same || reason == Reject::AnswerLimited, "P6: {reason} has changed something");
            }
            Received::Answered { kind, answer, to, .. } => {
                let stateless = kind == AnswerKind::Floor;
                let same = before.is_none_or(|before| before == gateway.state());
                assert!(same || !stateless, "P6: {kind:?} has changed something");
                let long = answer.as_bytes().len() > len && kind != AnswerKind::Acknowledgement;
                assert!(!long, "M-19: {kind:?} is longer than its question");
                self.coverage.hit(match kind {
                    AnswerKind::Welcome => "server: same hello answered by the same welcome",
                    AnswerKind::Floor => "server: floor sent",
                    AnswerKind::Reset => "server: reset sent",
                    AnswerKind::Acknowledgement => "server: repeat acknowledged",
                });
                self.server_sends(to, answer.as_bytes().to_vec());
            }
            Received::Pending(held, change) => {
                let name = (held.device_id(), held.epoch());
                assert!(!gateway.committed.contains(&name), "P6: a replay asks for a write");
                let candidate = change.value().record.candidate();
                let is_newest = candidate.is_some_and(|entry| entry.epoch == held.epoch());
                self.coverage.hit(if is_newest { "server: newest hello" } else { "server: late hello" });
                if candidate.is_some_and(|entry| entry.cid.as_bytes().len() > 1) {
                    self.coverage.hit("server: long connection ids");
                }
                gateway.pending.push(Pending::Hello(held, change, len));
            }
            Received::Data(data) => self.server_takes(data),
        }
    }

    fn server_takes(&mut self, data: DataReceived<Vec<u8>, Address>) {
        let DataReceived {
            device_id,
            index,
            epoch,
            number,
            payload,
            acknowledged,
            unknown,
            control,
            answer,
            ..
        } = data;
        assert!(data.malformed.is_none(), "a device makes no malformed Data");
        let device = self.auditor.index(device_id);
        assert!(!self.gateway.as_ref().is_some_and(|gateway| gateway.is_silenced(device)), "P7: opened");
        if self.crashes("server: crash between commit and delivery") {
            return;
        }
        let live = &mut self.gateway.as_mut().unwrap().live;
        let highest = live.get(&device).filter(|live| live.0 == epoch).map_or(0, |live| live.1);
        live.insert(device, (epoch, highest.max(number.value())));
        if let Some(payload) = payload {
            self.auditor.delivered_up(device_id, epoch, Some(number), payload.as_bytes());
        }
        if self.crashes("server: crash between delivery and answer") {
            return;
        }
        if let Some(id) = acknowledged {
            assert!(self.auditor.has_reached(id.0), "a command is acknowledged that never came");
            self.gateway.as_mut().unwrap().acknowledged.push(id);
        }
        if let Some(id) = unknown.filter(|_| !data.confirmed && !matches!(control, Some(ControlEvent::Close)))
        {
            let since = self.auditor.numbers_since(device, epoch, id);
            // It may never have left, as its address was not free (M-70).
            assert!(since.is_none_or(|numbers| numbers > 64), "M-128: {since:?} numbers");
            self.coverage.hit("command: left of the window");
        }
        self.end(unknown);
        match control {
            Some(ControlEvent::Moved { excused, .. }) => {
                self.coverage.hit("device: moved told");
                self.coverage.hit(if excused {
                    "server: moved excused"
                } else {
                    "server: moved not excused"
                });
            }
            Some(ControlEvent::Close) => {
                self.gateway.as_mut().unwrap().live.remove(&device);
            }
            None => {}
            other => panic!("{other:?}"),
        }
        if let Some((answer, to)) = answer {
            self.server_sends(to, answer.as_bytes().to_vec());
        }
        self.finish_rotation(index);
        self.pump(device);
        self.poll_server(device);
    }

    pub fn poll_server(&mut self, device: usize) {
        for _ in 0..8 {
            let Some(gateway) = &mut self.gateway else { return };
            let Some(transmit) = gateway.half.poll(self.now, place(device)) else {
                let deadline = gateway.deadline(device);
                assert!(deadline.is_none_or(|deadline| deadline > self.now), "polled, and something is due");
                return;
            };
            let (to, bytes) = (transmit.to, transmit.datagram.to_vec());
            self.server_sends(to, bytes);
        }
        panic!("a server that does not stop speaking");
    }

    pub fn server_sends(&mut self, to: Address, bytes: Vec<u8>) {
        let seen = self.auditor.left_server(&bytes);
        let silenced = self.gateway.as_ref().is_some_and(|gateway| gateway.is_silenced(seen.device));
        assert!(!silenced, "P7: sent to a device out of service");
        self.network.send(self.now, Datagram { from: SERVER, to, bytes }, &mut self.coverage);
    }

    /// One of the things under way goes one step on.
    pub fn complete_one(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        if gateway.pending.is_empty() {
            self.write_acknowledged();
            return;
        }
        let at = self.random.place(gateway.pending.len());
        if at > 0 {
            self.coverage.hit("server: writes completed out of order");
        }
        // Proofs of one device are handed over in the order in which the store made the changes.
        let device = gateway.pending[at].durable_of();
        let first =
            gateway.pending.iter().position(|pending| device.is_some() && pending.durable_of() == device);
        match gateway.pending.remove(first.unwrap_or(at)) {
            Pending::Hello(held, change, len) => {
                let device = self.auditor.index(held.device_id());
                let epoch = held.epoch();
                let stopped = self.write(change.value(), &Note::None);
                if matches!(stopped, Ok(()) | Err(Stopped::Crash { written: true })) {
                    self.auditor.made_durable(device, epoch);
                }
                match stopped {
                    Ok(()) => self.push(Pending::DurableHello(held, change.committed(), len)),
                    Err(stopped) => self.stopped(stopped),
                }
            }
            Pending::DurableHello(held, durable, len) => self.commit(held, durable, len),
            Pending::Admin(admin, change, order) => match self.write(change.value(), &order.note) {
                Ok(()) => {
                    self.learn_key(&change.value().record);
                    self.push(Pending::DurableAdmin(admin, change.committed(), order));
                }
                Err(Stopped::Conflict) => self.order_again(&order),
                Err(stopped) => self.stopped(stopped),
            },
            Pending::DurableAdmin(admin, durable, order) => self.apply(admin, durable, &order),
            Pending::Command(sending, change) => self.mark_sent(sending, change),
            Pending::DurableCommand(sending, durable) => self.seal(sending, &durable),
        }
    }

    pub fn complete_all(&mut self) {
        while self.gateway.as_ref().is_some_and(|gateway| !gateway.pending.is_empty()) {
            self.complete_one();
        }
        self.write_acknowledged();
    }

    pub fn push(&mut self, pending: Pending) {
        self.gateway.as_mut().unwrap().pending.push(pending);
    }

    /// The auditor knows every key from the moment that it is durable.
    fn learn_key(&mut self, record: &Record) {
        if let (Some(rotation), Some(next)) = (record.rotation(), record.generation().next()) {
            self.auditor.next_key(self.auditor.index(record.device_id()), next, &rotation.key);
        }
    }

    fn write(&mut self, change: &RecordChange, note: &Note) -> Result<(), Stopped> {
        self.disk.write(change, note, &mut self.random, self.crash_per_mille, &mut self.coverage)
    }

    fn stopped(&mut self, stopped: Stopped) {
        if matches!(stopped, Stopped::Crash { .. }) {
            self.gateway = None;
            self.start_server();
        }
    }

    /// A fresh Hello is durable: payload, then answer.
    fn commit(&mut self, held: Held<Vec<u8>, Address>, durable: Durable<RecordChange>, len: usize) {
        let gateway = self.gateway.as_mut().unwrap();
        gateway.committed.insert((held.device_id(), held.epoch()));
        let committed = gateway.half.commit(held, durable).expect("the store compares");
        let device = self.auditor.index(committed.device_id);
        gateway.forget_ended(device);
        let silenced = gateway.is_silenced(device);
        if committed.jump {
            self.coverage.hit("server: jump reported");
        }
        if self.crashes("server: crash between commit and delivery") {
            return;
        }
        if let Some(payload) = &committed.payload {
            assert!(!silenced, "P7: delivered");
            self.auditor.delivered_up(committed.device_id, committed.epoch, None, payload.as_bytes());
        }
        if self.crashes("server: crash between delivery and answer") {
            return;
        }
        self.end(committed.unknown);
        if let Some((welcome, to)) = committed.welcome {
            assert!(welcome.as_bytes().len() <= len, "M-19");
            self.server_sends(to, welcome.as_bytes().to_vec());
        }
    }

    fn apply(&mut self, admin: Admin, durable: Durable<RecordChange>, order: &Order) {
        let generation = durable.value().record.generation();
        let gateway = self.gateway.as_mut().unwrap();
        let unknown = gateway.half.apply(admin, durable).expect("the store compares");
        gateway.forget_ended(order.device);
        match order.note {
            Note::Status(Status::Active) => {
                self.coverage.hit("admin: readmitted");
                if gateway.silenced.get(&order.device).is_some_and(|silencing| *silencing < order.number) {
                    gateway.silenced.remove(&order.device);
                }
            }
            Note::Status(Status::Revoked) => self.coverage.hit("admin: revoked"),
            Note::Status(_) => self.coverage.hit("admin: quarantined"),
            Note::Begun => self.coverage.hit("admin: rotation begun"),
            Note::Finished => {
                self.coverage.hit("admin: rotation finished");
                self.auditor.finished(order.device, generation);
            }
            Note::None => {}
        }
        self.end(unknown);
        self.poll_server(order.device);
    }

    pub fn administrate(&mut self, device: usize) {
        let status = match self.random.below(20) {
            // Somebody must be left.
            0..4 if device == 4 => Status::Revoked,
            0..8 => Status::Quarantined,
            _ => Status::Active,
        };
        self.set_status(device, status);
    }

    fn set_status(&mut self, device: usize, status: Status) {
        let Some(gateway) = &mut self.gateway else { return };
        let Ok((admin, change)) = gateway.half.set_status(self.motes[device].id, status) else { return };
        gateway.orders += 1;
        let order = Order { device, number: gateway.orders, note: Note::Status(status) };
        if status != Status::Active {
            gateway.silenced.insert(device, order.number);
        }
        gateway.pending.push(Pending::Admin(admin, change, order));
    }

    fn order_again(&mut self, order: &Order) {
        if let Note::Status(status) = order.note {
            self.set_status(order.device, status);
        }
    }

    pub fn begin_rotation(&mut self, device: usize) {
        let mote = &self.motes[device];
        let Some(gateway) = &mut self.gateway else { return };
        let Ok((admin, change)) = gateway.half.begin_rotation(mote.id, &mote.rotation_key) else { return };
        gateway.orders += 1;
        let order = Order { device, number: gateway.orders, note: Note::Begun };
        gateway.pending.push(Pending::Admin(admin, change, order));
    }

    pub fn finish_rotation(&mut self, index: Index) {
        let gateway = self.gateway.as_mut().unwrap();
        if gateway.half.rotation_to_finish(index).is_none() {
            return;
        }
        let Ok((admin, change)) = gateway.half.finish_rotation(index) else { return };
        gateway.orders += 1;
        let device = usize::try_from(index.0).unwrap();
        let order = Order { device, number: gateway.orders, note: Note::Finished };
        gateway.pending.push(Pending::Admin(admin, change, order));
    }
}
