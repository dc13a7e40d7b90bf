//! The gateways' side of a world: each the real half over the shared disk, with crashes between any two steps.

use moteseal::delivery::{Millis, Timing};
use moteseal::error::{Reject, VerifyError};
use moteseal::number::DeviceId;
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{
    AnswerKind, CidRange, CommandId, ControlEvent, DataReceived, Received, Server, Table,
};

use crate::agenda::Due;
use crate::answers::Answers;
use crate::auditor::{Kind, Origin};
use crate::clock::Clock;
use crate::devices::number;
use crate::digest::{Map, Set};
use crate::hellos::{self, Memory, Name};
use crate::network::{self, Address, Datagram};
use crate::random::Random;
use crate::steps::{Pending, Steps};
use crate::store::Started;
use crate::table::{Devices, place};
use crate::world::World;

pub type Half = Server<Devices, Random>;

/// One place for a gateway, whether one runs there or not.
#[derive(Default)]
pub struct Site {
    pub gateway: Option<Gateway>,
    pub clock: Clock,
    /// The generation that it knows of each device: what is older is erased.
    generations: Vec<u8>,
    /// How many gateways have run here.
    pub runs: u32,
    /// When the agenda will ask next for each device.
    asked: Vec<Millis>,
}

/// One run of a gateway.
pub struct Gateway {
    pub half: Half,
    pub steps: Steps,
    /// Acknowledged, and not yet written down (M-109).
    pub acknowledged: Vec<(usize, CommandId)>,
    /// Devices that must be silent, and the order that said so last.
    pub silenced: Map<usize, u64>,
    pub orders: u64,
    /// Orders that the store has refused, to be given again.
    pub refused: Map<usize, Status>,
    /// The sessions whose counters this run has.
    pub live: Map<usize, Live>,
    /// The Hellos whose Welcomes wait for their first Data.
    pub offered: Map<usize, Name>,
    /// When this run heard a Hello or a Data for the first time, where several gateways share the records.
    heard: Map<Copied, Millis>,
    /// Hellos that this run has committed: no replay of one asks for a write again (P6).
    pub committed: Set<(usize, u64)>,
}

/// What copies have in common: device, epoch, and the number of a Data or the salt of a Hello.
type Copied = (usize, u64, u64);

/// A session in service, as far as somebody who watches can know it.
#[derive(Clone, Copy)]
pub struct Live {
    pub epoch: u64,
    /// That of its Hello.
    salt: [u8; 6],
    /// The highest number verified.
    highest: u16,
    answers: Answers,
}

const fn copied(Origin { device, kind, .. }: Origin) -> Option<Copied> {
    match kind {
        Kind::Hello { epoch, salt, .. } => {
            let ([high @ .., _, _, _, _], [_, _, low @ ..]) = (&salt, &salt);
            let salt = (u16::from_be_bytes(*high) as u64) << 32 | u32::from_be_bytes(*low) as u64;
            Some((device, epoch, 1 << 48 | salt))
        }
        Kind::Up { epoch, number, .. } => Some((device, epoch, number as u64)),
        _ => None,
    }
}

/// Which gateway has this name.
pub fn id(site: usize) -> GatewayId {
    GatewayId(u16::try_from(site).unwrap())
}

impl Gateway {
    /// A session may have ended with a write; says whether it has.
    pub fn forget_ended(&mut self, device: usize) -> bool {
        let is_gone = self.half.table().peer(place(device)).is_some_and(|peer| !peer.has_session());
        is_gone && self.live.remove(&device).is_some()
    }

    /// The epoch of the session in service.
    pub fn session_of(&self, device: usize) -> Option<u64> {
        self.live.get(&device).map(|live| live.epoch)
    }

    /// M-90, M-91: what belongs to another gateway is answered a second or more after its first copy, and of Data only what
    /// carries C.
    fn check_patience(&self, site: usize, origin: Origin, kind: AnswerKind, now: Millis, confirm: bool) {
        let Some(peer) = self.half.table().peer(place(origin.device)) else { return };
        let (record, copied) = (peer.record(), copied(origin));
        let of_epoch = |epoch| {
            let mut entries = [record.confirmed(), record.candidate()].into_iter().flatten();
            entries.find(|entry| entry.epoch.value() == epoch && entry.gateway != id(site))
        };
        let is_elsewhere = match (kind, origin.kind) {
            (AnswerKind::Floor, Kind::Hello { epoch, salt, .. }) => {
                of_epoch(epoch).is_some_and(|entry| entry.salt.0 == salt && record.candidate() == Some(entry))
            }
            (AnswerKind::Reset, Kind::Up { epoch, .. }) => of_epoch(epoch).is_some(),
            _ => false,
        };
        let first = copied.and_then(|copied| self.heard.get(&copied)).filter(|_| is_elsewhere);
        if let Some(first) = first {
            assert!(
                now - first >= 1_000,
                "M-90, M-91: {kind:?} to the first copy of what is another gateway's"
            );
            assert!(confirm || kind == AnswerKind::Floor, "M-90: a Reset for Data without C");
        }
    }

    /// What the table of SPEC 7.1 says of a Hello that a device has made.
    fn case_of(&self, site: usize, Origin { device, kind, .. }: Origin) -> Option<hellos::Case> {
        let (name, generation) = hellos::named(kind)?;
        let peer = self.half.table().peer(place(device))?;
        let memory = Memory {
            is_active: peer.is_active(),
            gateway: id(site),
            offered: self.offered.get(&device).copied(),
            live: self.live.get(&device).map(|live| (live.epoch, live.salt)),
        };
        Some(hellos::case(peer.record(), &memory, name, generation))
    }

    /// A record of this status is what the half goes by now: what the record before said of it is over, what an order
    /// under way says is not.
    pub fn note_status(&mut self, device: usize, status: Status) {
        if status != Status::Active {
            self.silenced.entry(device).or_default();
        } else if self.silenced.get(&device) == Some(&0) {
            self.silenced.remove(&device);
        }
    }

    /// A Data is new. The first of a session confirms it.
    fn note_taken(&mut self, device: usize, epoch: u64, number: u16, confirms: bool) {
        if confirms {
            let (offered, salt) = self.offered.remove(&device).expect("M-62: confirmed, and never offered");
            assert_eq!(offered, epoch, "M-62: another session was offered");
            self.live.insert(device, Live { epoch, salt, highest: number, answers: Answers::default() });
        }
        let live = self.live.get_mut(&device).expect("M-73: verified without counters");
        assert_eq!(live.epoch, epoch, "M-62: verified under another session than the one in service");
        live.highest = live.highest.max(number);
        live.answers.renew();
    }

    /// All that the half knows of a device, but for the count of forgeries.
    fn state(&self, device: usize) -> String {
        let text = format!("{:?}", self.half.table().peer(place(device)));
        let mut parts = text.split("forgeries: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    }
}

impl World {
    pub fn gateway(&mut self, site: usize) -> Option<&mut Gateway> {
        self.sites[site].gateway.as_mut()
    }

    /// The time by a gateway's clock.
    pub fn time_at(&self, site: usize) -> Millis {
        self.sites[site].clock.at(self.now)
    }

    pub fn is_silenced(&self, site: usize, device: usize) -> bool {
        let gateway = self.sites[site].gateway.as_ref();
        gateway.is_some_and(|gateway| gateway.silenced.contains_key(&device))
    }

    /// A start may crash in the middle of a raise; the one after it finishes what is left (M-83).
    pub fn start_gateway(&mut self, site: usize) {
        if self.sites[site].gateway.is_some() {
            return;
        }
        self.trace.note(self.now, "gateway starts", 0, Some(site), 0);
        let crash = 10 * self.mood.crashes;
        let started = loop {
            let random = &mut self.random;
            if let Some(started) = self.disk.start(self.now, id(site), random, crash, &mut self.coverage) {
                break started;
            }
        };
        let Started { records, mark, words } = started;
        let (mut table, mut silenced) = (Devices::default(), Map::default());
        self.sites[site].asked = vec![Millis::MAX; records.len()];
        self.sites[site].generations = vec![1; records.len()];
        for (device, record) in records.into_iter().enumerate() {
            self.learn_key(device, &record);
            self.note_generation(site, device, record.generation().number());
            if record.status() != Status::Active {
                silenced.insert(device, 0);
            }
            table.insert(record);
        }
        let entropy = Random::new(self.random.next());
        let half = self.new_half(table, entropy, site, mark);
        self.sites[site].runs += 1;
        self.sites[site].gateway = Some(Gateway {
            half,
            steps: Steps::default(),
            acknowledged: Vec::new(),
            silenced,
            orders: 0,
            refused: Map::default(),
            live: Map::default(),
            offered: Map::default(),
            heard: Map::default(),
            committed: Set::default(),
        });
        for (id, state) in words {
            self.word(id, state);
        }
    }

    /// The half of a gateway that hands out connection ids of a range of its own (M-11).
    fn new_half(&self, table: Devices, entropy: Random, site: usize, mark: u32) -> Half {
        let bits = if self.has_few_cids { 6 } else { self.sites.len().next_power_of_two().trailing_zeros() };
        let range = CidRange::new(u8::try_from(bits).unwrap(), u8::try_from(site).unwrap()).unwrap();
        Server::new(table, entropy, id(site), Timing::DEFAULT, mark).unwrap().with_cids(range)
    }

    /// A gateway stops, and starts again after a while.
    pub fn take_down(&mut self, site: usize) {
        self.trace.note(self.now, "gateway stops", 0, Some(site), 0);
        self.sites[site].gateway = None;
        let later = self.random.pick(&[0, 0, 1_000, 20_000]);
        self.agenda.note(self.now + later, Due::Start { site });
    }

    pub fn crash(&mut self, site: usize) {
        let Some(gateway) = &self.sites[site].gateway else { return };
        self.coverage.hit(if gateway.steps.is_empty() {
            "gateway: crash at rest"
        } else {
            "gateway: crash with writes under way"
        });
        self.take_down(site);
    }

    /// Whether the gateway crashes here.
    pub fn crashes(&mut self, site: usize, where_: &'static str) -> bool {
        let crashes = self.random.chance_in_million(self.mood.crashes);
        if crashes {
            self.coverage.hit(where_);
            self.take_down(site);
        }
        crashes
    }

    /// A datagram reaches a gateway.
    pub fn gateway_receives(&mut self, site: usize, datagram: Datagram) {
        let Datagram { from, bytes, origin, .. } = datagram;
        let (now, len) = (self.time_at(site), bytes.len());
        if matches!(origin.map(|origin| origin.kind), Some(Kind::Hello { .. })) {
            self.read_before_hello(site, origin.unwrap().device);
        }
        let is_shared = self.sites.len() > 1;
        let is_checked = self.network.hostile && self.random.chance(20);
        let Some(gateway) = &mut self.sites[site].gateway else { return };
        let device = origin.map(|origin| origin.device);
        let before = device.filter(|_| is_checked).map(|device| gateway.state(device));
        let is_same =
            |gateway: &Gateway| before.is_none_or(|before| before == gateway.state(device.unwrap()));
        // A thief may use a name again.
        let genuine = origin.filter(|origin| !self.auditor.is_stolen(origin.device));
        let case = genuine.and_then(|origin| gateway.case_of(site, origin));
        if let Some(copied) = genuine.and_then(copied).filter(|_| is_shared) {
            gateway.heard.entry(copied).or_insert(now);
        }
        let confirm = bytes.first().is_some_and(|first| first & 4 != 0);
        let received = gateway.half.receive(now, from, bytes);
        if let (Some(origin), Received::Answered { kind, .. }) = (genuine, &received) {
            gateway.check_patience(site, origin, *kind, now, confirm);
        }
        if let Some(case) = case {
            hellos::check(case, &received);
        }
        match received {
            Received::Rejected { reason, .. } => {
                let same = is_same(gateway);
                assert!(same || changes_something(reason), "P6: {reason} has changed something");
                self.rejected(site, origin, reason);
            }
            Received::Answered { kind, answer, to, device_id } => {
                let same = is_same(gateway);
                assert!(same || kind != AnswerKind::Floor, "P6: {kind:?} has changed something");
                let long = answer.as_bytes().len() > len && kind != AnswerKind::Acknowledgement;
                assert!(!long, "M-19: {kind:?} is longer than its question");
                self.coverage.hit(match kind {
                    AnswerKind::Welcome => "gateway: same hello answered by the same welcome",
                    AnswerKind::Floor => "gateway: floor sent",
                    AnswerKind::Reset => "gateway: reset sent",
                    AnswerKind::Acknowledgement => "gateway: repeat acknowledged",
                });
                let device = self.auditor.index(*device_id.as_bytes());
                if kind == AnswerKind::Acknowledgement {
                    let live = gateway.live.get_mut(&device).expect("M-73: no session has counters here");
                    live.answers.answered(now);
                }
                assert!(
                    origin.is_some(),
                    "P6: an answer to what nobody has sent: {kind:?} to device {device}"
                );
                self.gateway_sends(site, device, origin, to, answer.as_bytes().to_vec());
            }
            Received::Pending(held, change) => {
                let (device, epoch) = (device.expect("P1: nobody has sent this Hello"), held.epoch());
                let is_new = !gateway.committed.contains(&(device, epoch.value()));
                assert!(is_new, "P6: a replay asks for a write");
                let candidate = change.value().record.candidate();
                let is_newest = candidate.is_some_and(|entry| entry.epoch == epoch);
                self.coverage.hit(if is_newest { "gateway: newest hello" } else { "gateway: late hello" });
                match candidate.filter(|_| is_newest).map_or(0, |entry| entry.cid.as_bytes().len()) {
                    2 => self.coverage.hit("gateway: long connection ids"),
                    3.. => self.coverage.hit("gateway: two-byte connection ids used up"),
                    _ => {}
                }
                self.trace.note(self.now, "asks to write Hello", device, Some(site), epoch.value());
                self.push(site, device, Pending::Hello(held, change, origin.unwrap(), len));
            }
            Received::Data(data) => {
                let origin = origin.expect("P1: nobody has sent this");
                self.trace.note(self.now, "takes Data", origin.device, Some(site), number(&origin));
                self.bystanders.heard(from, (origin.device, data.epoch.value()), len);
                self.gateway_takes(site, origin, &data);
            }
        }
    }

    fn rejected(&mut self, site: usize, origin: Option<Origin>, reason: Reject) {
        if let Some(origin) = origin {
            self.trace.note(self.now, reason.word(), origin.device, Some(site), number(&origin));
        }
        self.coverage.hit(match reason {
            Reject::BootCounterUsedUp => "rejected: boot counter used up",
            Reject::UnknownGeneration => "rejected: unknown generation",
            Reject::NotActive => "rejected: not active",
            Reject::ResetLimited => "rejected: resets limited",
            Reject::AnswerLimited => "rejected: answers limited",
            Reject::Verify(VerifyError::Replayed) => "rejected: replayed",
            Reject::Verify(VerifyError::TooOld) => "rejected: left of the window",
            Reject::Inauthentic | Reject::Verify(VerifyError::Inauthentic) => "rejected: inauthentic",
            Reject::Parse(_) => "rejected: no datagram",
            Reject::NotForServer => "rejected: not for a server",
            Reject::UnknownConnection => "rejected: unknown connection",
            Reject::SameHello => "rejected: same hello",
            Reject::OtherGateway => "rejected: for another gateway",
            Reject::Entropy(_) => panic!("{reason}"),
            Reject::Verify(VerifyError::Malformed(_)) => {
                assert!(origin.is_some_and(|origin| self.auditor.is_stolen(origin.device)), "{reason}");
                "rejected: malformed"
            }
            _ => "rejected: for another reason",
        });
        if let (
            Some(gateway),
            Some(Origin { device, kind: Kind::Up { epoch, number, .. }, by_thief: false }),
        ) = (&self.sites[site].gateway, origin)
        {
            let live = gateway.live.get(&device);
            let newer = live.is_some_and(|live| live.epoch == epoch && live.highest < number);
            let newer = newer && !self.auditor.is_stolen(device);
            let lost = newer && reason == Reject::Verify(VerifyError::Inauthentic);
            assert!(!lost, "M-14: number {number} was rebuilt wrongly");
        }
    }

    /// A Data was verified for the first time.
    fn gateway_takes(&mut self, site: usize, origin: Origin, data: &DataReceived<Vec<u8>, Address>) {
        let is_stolen = self.auditor.is_stolen(origin.device);
        assert!(data.malformed.is_none() || is_stolen, "a device makes no malformed Data");
        let (device, epoch, number) = (origin.device, data.epoch.value(), data.number.value());
        assert_eq!(self.auditor.index(*data.device_id.as_bytes()), device, "P7: in another's name");
        assert!(!self.is_silenced(site, device), "P7: opened");
        if self.crashes(site, "gateway: crash between commit and delivery") {
            return;
        }
        self.gateway(site).unwrap().note_taken(device, epoch, number, data.confirmed);
        if let Some(payload) = &data.payload {
            let id = *data.device_id.as_bytes();
            self.auditor.delivered_up(id, epoch, Some(number), payload.as_bytes());
        }
        if self.crashes(site, "gateway: crash between delivery and answer") {
            return;
        }
        if let Some(id) = data.acknowledged {
            let has_reached = self.auditor.has_reached(id.0);
            assert!(has_reached || is_stolen, "M-102: a command is acknowledged that never came");
            self.note_acknowledged(site, device, id);
        }
        let closes = matches!(data.control, Some(ControlEvent::Close));
        if let Some(id) = data.unknown.filter(|_| !data.confirmed && !closes) {
            let since = self.auditor.numbers_since(device, epoch, id.0);
            // It may never have left, as its address was not free (M-70).
            assert!(since.is_none_or(|numbers| numbers > 64), "M-128: {since:?} numbers");
            self.coverage.hit("command: left of the window");
        }
        self.end(device, data.unknown);
        self.gateway_hears(site, device, data.control);
        if let Some((answer, to)) = &data.answer {
            self.gateway_sends(site, device, Some(origin), *to, answer.as_bytes().to_vec());
        }
        self.confirm(site, device);
        self.finish_rotation(site, device);
        self.pump(device);
        self.poll_gateway(site, device);
    }

    /// What a device tells of itself.
    fn gateway_hears(&mut self, site: usize, device: usize, control: Option<ControlEvent>) {
        match control {
            Some(ControlEvent::Moved { excused, .. }) => self.coverage.hit(if excused {
                "gateway: moved excused"
            } else {
                "gateway: moved not excused"
            }),
            Some(ControlEvent::Close) => {
                self.gateway(site).unwrap().live.remove(&device);
            }
            None => {}
            Some(ControlEvent::Unknown(_)) => panic!("{control:?}"),
        }
    }

    /// Everything that is due now for a device.
    pub fn poll_gateway(&mut self, site: usize, device: usize) {
        let now = self.time_at(site);
        for _ in 0..8 {
            let Some(gateway) = &mut self.sites[site].gateway else { return };
            let Some(transmit) = gateway.half.poll(now, place(device)) else {
                let deadline = gateway.half.deadline(place(device));
                assert!(deadline.is_none_or(|deadline| deadline > now), "polled, and something is due");
                return self.schedule_gateway(site, device);
            };
            let (to, bytes) = (transmit.to, transmit.datagram.to_vec());
            self.gateway_sends(site, device, None, to, bytes);
        }
        panic!("a gateway that does not stop speaking");
    }

    /// A datagram leaves a gateway; it answers `question`, if it answers one.
    pub fn gateway_sends(
        &mut self,
        site: usize,
        device: usize,
        question: Option<Origin>,
        to: Address,
        bytes: Vec<u8>,
    ) {
        let (now, known) = (self.time_at(site), self.sites[site].generations[device]);
        let origin = self.auditor.left_gateway(now, (device, known), question, &bytes);
        if self.is_silenced(site, device) {
            self.trace.about = Some(device);
            panic!("P7: sent to a device out of service: {:?}", origin.kind);
        }
        let what = match origin.kind {
            Kind::Welcome { .. } => "sends Welcome",
            Kind::Floor { .. } => "sends Floor",
            Kind::Reset { .. } => "sends Reset",
            _ => "sends Data",
        };
        self.trace.note(self.now, what, device, Some(site), number(&origin));
        if let Kind::Down { epoch, block, .. } = origin.kind {
            if let Some(Kind::Up { number, .. }) = question.map(|question| question.kind) {
                let says = block.is_some_and(|block| block.numbers().any(|named| named == number));
                assert!(says, "M-15: {number} is answered by {block:?}");
            }
            self.bystanders.sent(to, (device, epoch), bytes.len());
        }
        let datagram = Datagram { from: network::gateway(site), to, bytes, origin: Some(origin) };
        self.network.send(self.now, datagram, &mut self.agenda, &mut self.coverage);
    }

    /// Has the agenda ask when something is due.
    pub fn schedule_gateway(&mut self, site: usize, device: usize) {
        let Site { gateway: Some(gateway), clock, asked, .. } = &mut self.sites[site] else { return };
        let Some(at) = gateway.half.deadline(place(device)) else { return };
        let at = clock.shows(at).max(self.now);
        if at < asked[device] {
            asked[device] = at;
            self.agenda.note(at, Due::Gateway { site, device });
        }
    }

    /// The agenda asks.
    pub fn gateway_is_due(&mut self, site: usize, device: usize) {
        let Site { gateway: Some(gateway), clock, asked, .. } = &mut self.sites[site] else { return };
        asked[device] = Millis::MAX;
        match gateway.half.deadline(place(device)) {
            Some(at) if clock.shows(at) <= self.now => self.poll_gateway(site, device),
            _ => self.schedule_gateway(site, device),
        }
    }

    /// The auditor knows every key from the moment that it is durable.
    pub fn learn_key(&mut self, device: usize, record: &Record) {
        if let (Some(rotation), Some(next)) = (record.rotation(), record.generation().next()) {
            self.auditor.next_key(device, next.number(), rotation.key.expose());
        }
    }

    /// A gateway has learned that a rotation is finished. The old key is erased once all of them have (P8).
    pub fn note_generation(&mut self, site: usize, device: usize, generation: u8) {
        let known = &mut self.sites[site].generations[device];
        *known = (*known).max(generation);
        let running = self.sites.iter().filter(|site| site.gateway.is_some() || site.runs == 0);
        let least = running.filter_map(|site| site.generations.get(device)).min().copied();
        self.auditor.finished(device, least.unwrap_or(1).min(generation));
    }

    pub fn id_of(&self, device: usize) -> DeviceId {
        self.motes[device].id
    }
}

/// A rejection that leaves something behind, in memory of a fixed size: what is authentic and malformed is seen (M-113).
const fn changes_something(reason: Reject) -> bool {
    let is_malformed = matches!(reason, Reject::Verify(VerifyError::Malformed(_)));
    is_malformed || matches!(reason, Reject::AnswerLimited | Reject::OtherGateway)
}
