//! Data: of the candidate, which its first Data confirms, of the session in service, or of one without counters.
//! SPEC sections 7.3 to 7.6, 9.3 and 10.

use core::ops::Range;

use crate::aead::{Backend, TAG_LEN};
use crate::control::Control;
use crate::delivery::{AnswerLimit, Millis};
use crate::entropy::Entropy;
use crate::error::{Malformed, Reject, VerifyError};
use crate::keys::SessionKeys;
use crate::number::{DeviceId, Epoch, SequenceNumber};
use crate::record::{Entry, GatewayId};
use crate::replay::{Answering, Told};
use crate::scrub;
use crate::session::{
    Content, Incoming, Outgoing, Session, Verified, answer_without_counters, number_without_counters,
};
use crate::wire::{self, Sealed};

use super::change::Payload;
use super::command::CommandId;
use super::link::{Active, Purpose, Repeats};
use super::overheard::Which;
use super::table::{Index, Peer, Table};
use super::{Answer, AnswerKind, Outcome, Rejected, Server};

/// A Data that verified, for the first time.
#[derive(Debug)]
#[must_use]
pub struct DataReceived<B, Address> {
    /// The device.
    pub device_id: DeviceId,
    /// The place of the device; ask [`Server::poll`] for it what is to be sent now.
    pub index: Index,
    /// The epoch of the session.
    pub epoch: Epoch,
    /// The number; with device id and epoch it names the payload (M-105).
    pub number: SequenceNumber,
    /// The application's bytes, to be delivered now, once.
    pub payload: Option<Payload<B>>,
    /// It was authentic and made no sense: nothing else of it counts.
    pub malformed: Option<Malformed>,
    /// It confirmed the session: the one before has ended.
    pub confirmed: bool,
    /// The command that the device has now acknowledged.
    pub acknowledged: Option<CommandId>,
    /// The command whose session ended without an acknowledgement, or which was given up (M-128).
    pub unknown: Option<CommandId>,
    /// What the device told the server itself.
    pub control: Option<ControlEvent>,
    /// The acknowledgement that it asked for, and where that goes: to the session's address.
    pub answer: Option<(Answer, Address)>,
}

/// What a device tells its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// It has forgotten the session.
    Close,
    /// A Floor moved its boot counter.
    Moved {
        /// The boot counter before.
        from: u32,
        /// A restore or a first sight caused it; otherwise flash was erased or rolled back, or there is a clone.
        excused: bool,
    },
    /// A kind that this version does not know.
    Unknown(u8),
}

impl<Address> DataReceived<(), Address> {
    pub(super) fn with<B: AsRef<[u8]>>(
        self,
        buffer: B,
        payload: Option<Range<usize>>,
    ) -> DataReceived<B, Address> {
        DataReceived {
            payload: payload.map(|range| Payload::new(buffer, range)),
            device_id: self.device_id,
            index: self.index,
            epoch: self.epoch,
            number: self.number,
            malformed: self.malformed,
            confirmed: self.confirmed,
            acknowledged: self.acknowledged,
            unknown: self.unknown,
            control: self.control,
            answer: self.answer,
        }
    }
}

impl<T: Table, E: Entropy> Server<T, E> {
    pub(super) fn receive_data(
        &mut self,
        now: Millis,
        from: T::Address,
        len: usize,
        data: &wire::Data,
        sealed: Sealed<'_>,
    ) -> Result<Outcome<T::Address>, Rejected> {
        let gateway = self.gateway;
        let index = self.table.owner(data.cid).ok_or((Reject::UnknownConnection, None))?;
        let peer = self.table.peer_mut(index).ok_or((Reject::UnknownConnection, None))?;
        let device_id = peer.record.device_id();
        let rejected = |reason: Reject| (reason, Some(device_id));
        if !peer.is_active() {
            return Err(rejected(Reject::NotActive));
        }
        let arrival = Arrival { now, from, len, index };
        let unnamed = peer.unnamed().map(|entry| entry.cid);
        let outcome = data_of(gateway, peer, &arrival, data, sealed).map_err(rejected);
        // A session that no record names holds its id until it ends, and it may just have ended. A change under way may
        // still put that id into the record; once the record is another, it cannot.
        if let Some(cid) = unnamed.filter(|cid| peer.cids().all(|own| own != *cid)) {
            peer.link.held = Some(cid);
        }
        outcome
    }
}

/// Data of one device: its candidate's, that of its session in service, or of an entry without counters.
fn data_of<Address: Copy + PartialEq, O: Default, A: Backend>(
    gateway: GatewayId,
    peer: &mut Peer<Address, O, A>,
    arrival: &Arrival<Address>,
    data: &wire::Data,
    sealed: Sealed<'_>,
) -> Result<Outcome<Address>, Reject> {
    let has_counters = |session: &Session<A>| session.cid() == data.cid && !session.is_worn_out();
    if peer.link.candidate.as_ref().is_some_and(|candidate| has_counters(&candidate.session)) {
        return first_data(peer, arrival, data, sealed);
    }
    match peer.link.active.as_mut().filter(|active| has_counters(&active.session)) {
        Some(active) => {
            let result = active.session.verify(data, sealed);
            finish(peer, arrival, result, Confirmed::default())
        }
        None => without_counters(gateway, peer, arrival, data, sealed),
    }
}

/// Where, when and for whom a datagram came.
struct Arrival<Address> {
    now: Millis,
    from: Address,
    len: usize,
    index: Index,
}

/// Whether a Data confirmed its session, and the command that the session before left unanswered.
#[derive(Clone, Copy, Default)]
struct Confirmed {
    is_now: bool,
    left_unanswered: Option<CommandId>,
}

/// M-62: the first Data that verifies under the candidate makes it the session.
fn first_data<Address: Copy + PartialEq, O: Default, A: Backend>(
    peer: &mut Peer<Address, O, A>,
    arrival: &Arrival<Address>,
    data: &wire::Data,
    sealed: Sealed<'_>,
) -> Result<Outcome<Address>, Reject> {
    let Some(candidate) = peer.link.candidate.as_mut() else { return Err(Reject::UnknownConnection) };
    let result = candidate.session.verify(data, sealed);
    if let Err(error @ (VerifyError::Inauthentic | VerifyError::Replayed | VerifyError::TooOld)) = result {
        return Err(Reject::Verify(error));
    }
    // The keys go from place to place; nothing of them stays where the candidate was.
    let mut keys = SessionKeys::blank();
    candidate.session.swap_keys(&mut keys);
    let left_unanswered = peer.link.end_session();
    // What is not under way in a session has no bytes of its own: it takes along what the stack held, so that it is wiped.
    scrub::stack();
    let Some(active) = peer.link.confirm(arrival.from) else { return Err(Reject::UnknownConnection) };
    active.session.swap_keys(&mut keys);
    finish(peer, arrival, result, Confirmed { is_now: true, left_unanswered })
}

/// Everything that follows from a Data of the session in service.
fn finish<Address: Copy + PartialEq, O, A: Backend>(
    peer: &mut Peer<Address, O, A>,
    arrival: &Arrival<Address>,
    result: Result<Incoming<'_>, VerifyError>,
    confirmed: Confirmed,
) -> Result<Outcome<Address>, Reject> {
    let device_id = peer.record.device_id();
    let Some(active) = peer.link.active.as_mut() else { return Err(Reject::UnknownConnection) };
    let mut received = DataReceived {
        device_id,
        index: arrival.index,
        epoch: active.session.epoch(),
        number: SequenceNumber::FIRST,
        payload: None,
        malformed: None,
        confirmed: confirmed.is_now,
        acknowledged: None,
        unknown: confirmed.left_unanswered,
        control: None,
        answer: None,
    };
    let verified = match result {
        Ok(Incoming::New(verified)) => verified,
        Ok(Incoming::Repeat(number)) => return active.answer_repeat(arrival.now, number, device_id),
        Err(VerifyError::Malformed(malformed)) if received.confirmed => {
            received.malformed = Some(malformed);
            received.number = active.session.highest_verified().unwrap_or(received.number);
            return Ok(Outcome::Data(received, None));
        }
        Err(error) => return Err(Reject::Verify(error)),
    };
    received.number = verified.number;
    active.heard(arrival, &verified, &mut received);
    received.answer = verified.confirm.then(|| active.acknowledge(Answering::New(verified.number))).flatten();
    let payload = match verified.content {
        Content::Empty => None,
        Content::Payload(payload) => {
            let end = arrival.len.saturating_sub(TAG_LEN);
            Some(end.saturating_sub(payload.len())..end)
        }
        Content::Control(control) => {
            received.control = told(peer, &control);
            // M-76: the counters are dropped; what comes under this entry now gets a Reset.
            if matches!(received.control, Some(ControlEvent::Close)) {
                received.unknown = received.unknown.or(peer.link.end_session());
            }
            None
        }
    };
    Ok(Outcome::Data(received, payload))
}

fn told<Address, O, A: Backend>(peer: &mut Peer<Address, O, A>, control: &Control) -> Option<ControlEvent> {
    match control {
        Control::Close => Some(ControlEvent::Close),
        Control::Moved(from) => {
            let excused = peer.link.active.as_ref().is_some_and(|active| active.excused);
            if !excused {
                peer.link.clones = peer.link.clones.saturating_add(1);
            }
            Some(ControlEvent::Moved { from: *from, excused })
        }
        Control::Unknown(kind) => Some(ControlEvent::Unknown(*kind)),
        // A device does not send one: it is malformed in this direction.
        Control::Rotate { .. } => None,
    }
}

impl<Address: Copy + PartialEq, O, A: Backend> Active<Address, O, A> {
    /// Takes note of where a Data came from and of what it acknowledges.
    fn heard(
        &mut self,
        arrival: &Arrival<Address>,
        verified: &Verified<'_>,
        received: &mut DataReceived<(), Address>,
    ) {
        self.answers.renew();
        self.path.heard(arrival.from, verified.newest, arrival.len, self.session.next());
        if let Some(block) = verified.ack {
            self.path.acknowledged(arrival.from, block);
        }
        let Some(outstanding) = self.outstanding.as_mut() else { return };
        match (self.session.acknowledged().told(outstanding.number), outstanding.purpose) {
            (Told::Nothing, _) => {
                if let Repeats::OnSight(due) = &mut outstanding.repeats {
                    *due = true;
                }
                return;
            }
            (Told::Acknowledged, Purpose::Command(id)) => received.acknowledged = Some(id),
            (Told::Acknowledged, Purpose::Rotate) => self.rotate_over = true,
            // M-128. A *rotate* is sealed again (M-117).
            (Told::OutOfReach, Purpose::Command(id)) => received.unknown = Some(id),
            (Told::OutOfReach, Purpose::Rotate) => {}
        }
        self.outstanding = None;
    }

    /// M-101: again, but not without end.
    fn answer_repeat(
        &mut self,
        now: Millis,
        number: SequenceNumber,
        device_id: DeviceId,
    ) -> Result<Outcome<Address>, Reject> {
        if !self.answers.take(now) {
            return Err(Reject::AnswerLimited);
        }
        let (answer, to) = self.acknowledge(Answering::Repeat(number)).ok_or(Reject::AnswerLimited)?;
        Ok(Outcome::Answered { kind: AnswerKind::Acknowledgement, device_id, answer, to })
    }

    /// A pure acknowledgement, to the session's address and never elsewhere (M-72).
    fn acknowledge(&mut self, answering: Answering) -> Option<(Answer, Address)> {
        let ack = self.session.ack_block(Some(answering))?;
        let mut bytes = [0; wire::DATA_MAX_OVERHEAD];
        let outgoing = Outgoing { ack: Some(ack), ..Outgoing::default() };
        // Of an address that is not free the budget is asked first: a number taken is gone.
        if !self.path.spend(wire::DATA_MAX_OVERHEAD) {
            return None;
        }
        let protected = self.session.protect(outgoing, &mut bytes).ok()?;
        Some((Answer::new(&[bytes.get(..protected.len)?]), self.path.address()))
    }
}

/// M-73, M-74: nothing is delivered under an entry without counters, and a Data that verifies gets a Reset; but
/// another gateway may have the counters, which is then the one to answer (M-90).
fn without_counters<Address: Copy, O, A: Backend>(
    gateway: GatewayId,
    peer: &mut Peer<Address, O, A>,
    arrival: &Arrival<Address>,
    data: &wire::Data,
    sealed: Sealed<'_>,
) -> Result<Outcome<Address>, Reject> {
    let record = &peer.record;
    let [confirmed, candidate] = &mut peer.link.resets;
    let is_named = |entry: &&Entry| entry.cid == data.cid;
    let (entry, which, last) = if let Some(entry) = record.confirmed().filter(is_named) {
        (entry, Which::Confirmed, confirmed)
    } else {
        let entry = record.candidate().filter(is_named).ok_or(Reject::UnknownConnection)?;
        (entry, Which::Candidate, candidate)
    };
    let is_elsewhere = entry.gateway != gateway;
    if is_elsewhere && !data.confirm {
        return Err(Reject::OtherGateway);
    }
    if last.is_some_and(|last| arrival.now.saturating_sub(last) < AnswerLimit::INTERVAL_MS) {
        return Err(Reject::ResetLimited);
    }
    let key = record.key_of(entry).ok_or(Reject::UnknownGeneration)?;
    let mut keys = SessionKeys::blank();
    key.put_session_keys(record.device_id(), entry.epoch, entry.salt, entry.server_salt, &mut keys);
    let reset = answer_without_counters::<A>(&keys, data, sealed).map_err(Reject::Verify)?;
    let number = number_without_counters(data.seq);
    if is_elsewhere && !peer.link.overheard.answers_data(arrival.now, which, entry.epoch, number) {
        return Err(Reject::OtherGateway);
    }
    let device_id = record.device_id();
    *last = Some(arrival.now);
    let answer = Answer::new(&[reset.as_bytes()]);
    Ok(Outcome::Answered { kind: AnswerKind::Reset, device_id, answer, to: arrival.from })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::aead::{Nonce, Portable};
    use crate::control::Role;
    use crate::delivery::Timing;
    use crate::entropy::FromFn;
    use crate::keys::DeviceKey;
    use crate::number::{Generation, Salt};
    use crate::record::{Record, Status};
    use crate::server::{FixedOutbox, FixedTable, Received};
    use crate::wire::{Header, Hello};
    use std::vec::Vec;

    const ID: DeviceId = DeviceId::new([3; 8]);
    const EPOCH: Epoch = Epoch::new(1, 0);
    const SALT: Salt = Salt([4; 6]);

    fn hello(key: &DeviceKey) -> Vec<u8> {
        let header =
            Header::Hello(Hello { generation_bits: 1, device_id: ID, epoch: EPOCH, salt: SALT }).encode();
        let (header, key) = (header.as_bytes(), key.hello_key(ID));
        let tag = Portable::seal(&key, Nonce::hello(EPOCH, SALT), &header[..9], &mut []);
        [header, &tag].concat()
    }

    fn data(session: &mut Session) -> Vec<u8> {
        let mut out = [0; 64];
        let outgoing = Outgoing { payload: b"x", confirm: true, ..Outgoing::default() };
        let len = session.protect(outgoing, &mut out).unwrap().len;
        out[..len].to_vec()
    }

    fn peer(server: &mut Server<FixedTable<u8, 1, 100>, impl Entropy>) -> &mut Peer<u8, FixedOutbox<100>> {
        server.table.peer_mut(Index(0)).unwrap()
    }

    /// A server with one device, which it has offered a session.
    fn offered(key: &DeviceKey) -> (Server<FixedTable<u8, 1, 100>, impl Entropy + use<>>, Index) {
        let mut table = FixedTable::<u8, 1, 100>::new();
        let record = Record::provisioned(ID, Generation::FIRST, key.clone());
        let index = table.insert(record).unwrap();
        let mut next = 0;
        let entropy = FromFn(move |bytes: &mut [u8]| {
            next += 1;
            bytes.fill(next);
            Ok(())
        });
        let mut server = Server::new(table, entropy, GatewayId(0), Timing::DEFAULT, 0).unwrap();
        let Received::Pending(held, change) = server.receive(0, 1, hello(key)) else { panic!() };
        assert!(server.commit(held, change.committed()).unwrap().welcome.is_some());
        (server, index)
    }

    #[test]
    fn m_23_a_revocation_leaves_no_session_key_in_memory() {
        let (mut server, index) = offered(&DeviceKey::new([9; 32]));
        assert!(peer(&mut server).link.candidate.is_some());
        let (admin, change) = server.set_status(ID, Status::Revoked).unwrap();
        assert_eq!(server.apply(admin, change.committed()), Ok(None));
        assert!(peer(&mut server).link.candidate.is_none());
        assert!(!server.confirmation_to_write(index));
    }

    /// The count itself, 2^36 forgeries, is out of a test's reach.
    #[test]
    fn m_77_a_worn_out_session_delivers_and_seals_nothing_and_its_command_gets_its_word() {
        let key = DeviceKey::new([9; 32]);
        let (mut server, index) = offered(&key);
        let entry = *server.table().peer(index).unwrap().record().candidate().unwrap();
        let keys = key.session_keys(ID, EPOCH, SALT, entry.server_salt);
        let mut device = Session::<Portable>::new(Role::Device, keys, EPOCH, entry.cid);

        assert!(matches!(server.receive(0, 1, data(&mut device)), Received::Data(_)));
        let (sending, mark) = server.begin_command(ID, CommandId(5), 1).unwrap();
        assert!(server.seal_command(0, sending, &mark.committed(), b"c").unwrap().is_some());
        peer(&mut server).link.active.as_mut().unwrap().session.wear_out();
        let Received::Answered { kind: AnswerKind::Reset, .. } = server.receive(0, 1, data(&mut device))
        else {
            panic!("no Reset")
        };
        assert!(server.poll(60_000, index).is_none() && server.deadline(index).is_none());
        assert!(server.send_plain(ID, b"x", &mut [0; 100]).is_err());
        assert_eq!(peer(&mut server).link.active.as_ref().unwrap().unanswered(), Some(CommandId(5)));
    }
}
