//! Hellos: the same again, fresh, or stale; and what follows once a fresh one is durable. SPEC sections 7.1 to
//! 7.3.

use core::fmt;
use core::ops::Range;

use subtle::ConstantTimeEq;

use crate::aead::{Backend, Nonce, TAG_LEN, Tag};
use crate::control::Role;
use crate::delivery::Millis;
use crate::entropy::Entropy;
use crate::error::{CommitError, Reject};
use crate::keys::{AeadKey, DeviceKey, SessionKeys};
use crate::number::{ConnectionId, DeviceId, Epoch, Generation, ServerSalt};
use crate::record::{BOOT_LIMIT, Entry, FLOOR_LIMIT, MARK_MAX, RAISE, Record};
use crate::replay::Freshness;
use crate::session::Session;
use crate::wire::{Floor, HELLO_HEADER_LEN, Header, Hello, Sealed, Welcome};

use super::change::{Change, Durable, Payload, RecordChange, Ticket};
use super::command::CommandId;
use super::link::Candidate;
use super::records::reported;
use super::table::{Index, Peer, Table};
use super::{Answer, AnswerKind, Outcome, Server, draw};

/// A fresh Hello that waits until its change is durable. Dropped, it was never there: the device repeats it.
#[must_use]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Held<B, Address> {
    fresh: Fresh<Address>,
    buffer: B,
}

impl<B, Address: fmt::Debug> fmt::Debug for Held<B, Address> {
    /// Without the buffer, which holds a payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("fresh", &self.fresh).finish_non_exhaustive()
    }
}

impl<B, Address> Held<B, Address> {
    /// The change that it waits for.
    pub const fn ticket(&self) -> Ticket {
        self.fresh.ticket
    }

    /// The device.
    pub const fn device_id(&self) -> DeviceId {
        self.fresh.device_id
    }

    /// The epoch of the Hello.
    pub const fn epoch(&self) -> Epoch {
        self.fresh.epoch
    }

    /// Where the Hello came from.
    pub const fn from(&self) -> Address
    where
        Address: Copy,
    {
        self.fresh.from
    }
}

/// What a fresh Hello leads to once it is durable.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Fresh<Address> {
    ticket: Ticket,
    index: Index,
    device_id: DeviceId,
    epoch: Epoch,
    from: Address,
    payload: Range<usize>,
    hello_tag: Tag,
    /// It was the newest: there is a candidate to install and a Welcome to send.
    newest: bool,
    jump: bool,
}

impl<Address> Fresh<Address> {
    pub(super) fn holding<B>(self, buffer: B) -> Held<B, Address> {
        Held { fresh: self, buffer }
    }
}

/// A fresh Hello that is durable.
#[derive(Debug)]
#[must_use]
pub struct Committed<B, Address> {
    /// The device.
    pub device_id: DeviceId,
    /// The place of the device.
    pub index: Index,
    /// The epoch of the Hello; with the device id it names the payload (M-105).
    pub epoch: Epoch,
    /// Early data, to be delivered now, once.
    pub payload: Option<Payload<B>>,
    /// The Welcome and where it goes; a Hello that was not the newest gets none (M-57).
    pub welcome: Option<(Answer, Address)>,
    /// The boot count jumped further than a device boots: report it (M-85).
    pub jump: bool,
    /// The command of a session that was confirmed while this change was under way, and that it has displaced.
    pub unknown: Option<CommandId>,
}

impl<T: Table, E: Entropy> Server<T, E> {
    pub(super) fn receive_hello(
        &mut self,
        now: Millis,
        from: T::Address,
        hello: &Hello,
        sealed: Sealed<'_>,
    ) -> Result<Outcome<T::Address>, Reject> {
        let gateway = self.gateway;
        // M-51: what is not known, not active or not authentic is counted, and nothing else.
        let index = self.table.find(hello.device_id).ok_or(Reject::UnknownDevice)?;
        if !self.is_active(index) {
            return Err(Reject::NotActive);
        }
        let peer = self.table.peer(index).ok_or(Reject::UnknownDevice)?;
        let (generation, key) =
            peer.record.key_by_bits(hello.generation_bits).ok_or(Reject::UnknownGeneration)?;
        let (payload_len, hello_tag) = (sealed.ciphertext.len(), *sealed.tag);
        open_hello::<T::Backend>(key, hello, sealed)?;
        if hello.epoch.boot() >= BOOT_LIMIT {
            return Err(Reject::BootCounterUsedUp);
        }
        let peer = self.table.peer_mut(index).ok_or(Reject::UnknownDevice)?;
        if let Some(again) = same_again(peer, hello, &hello_tag, from) {
            return again;
        }
        let freshness = peer.record.window.check(hello.epoch);
        if freshness == Freshness::Stale {
            // M-91: the candidate's own Hello, and another gateway has its Welcome.
            let is_elsewhere =
                peer.record.candidate.is_some_and(|entry| is_of(&entry, hello) && entry.gateway != gateway);
            if is_elsewhere && !peer.link.overheard.answers_hello(now, hello) {
                return Err(Reject::OtherGateway);
            }
            return self.answer_stale(now, from, index, hello, generation);
        }
        let newest = freshness == Freshness::Newest;
        let payload = HELLO_HEADER_LEN..HELLO_HEADER_LEN + payload_len;
        self.prepare(now, index, from, hello, generation, hello_tag, payload, newest)
    }

    /// M-59, M-87: nothing is delivered, kept, written or held against the device, which learns how far its epochs
    /// have come.
    fn answer_stale(
        &mut self,
        now: Millis,
        from: T::Address,
        index: Index,
        hello: &Hello,
        generation: Generation,
    ) -> Result<Outcome<T::Address>, Reject> {
        let record = &self.table.peer(index).ok_or(Reject::UnknownDevice)?.record;
        let floor = record.newest();
        if floor.boot() >= FLOOR_LIMIT {
            return Err(Reject::FloorOutOfRange);
        }
        if !self.floors.take(now, &T::source(from)) {
            return Err(Reject::FloorLimited);
        }
        let (_, key) = record.key_by_bits(generation.low_bits()).ok_or(Reject::UnknownGeneration)?;
        let answer = seal_floor::<T::Backend>(key, hello, floor);
        Ok(Outcome::Answered { kind: AnswerKind::Floor, device_id: hello.device_id, answer, to: from })
    }

    /// M-54: one change holds the newest epoch, the window and the candidate's entry.
    #[expect(clippy::too_many_arguments, reason = "the parts of one Hello, each of another type")]
    fn prepare(
        &mut self,
        now: Millis,
        index: Index,
        from: T::Address,
        hello: &Hello,
        generation: Generation,
        hello_tag: Tag,
        payload: Range<usize>,
        newest: bool,
    ) -> Result<Outcome<T::Address>, Reject> {
        let candidate = if newest { Some(self.new_entry(index, hello, generation)?) } else { None };
        let (ticket, mark) = (self.ticket(), self.mark);
        let peer = self.table.peer_mut(index).ok_or(Reject::UnknownDevice)?;
        // Another gateway may win the race for it: this was the first copy (M-91).
        peer.link.overheard.heard_hello(now, hello);
        let expected = peer.record.clone();
        let record = after_hello(peer, hello.epoch, candidate);
        let (old, new) = (expected.newest().boot(), hello.epoch.boot());
        // M-127: far above the mark, and where no mark reaches, the journal learns how far a device has come.
        let is_beyond_marks = old <= MARK_MAX && new > MARK_MAX;
        let note_boot = (new > mark && (old >> 19 != new >> 19 || is_beyond_marks)).then_some(new);
        let fresh = Fresh {
            ticket,
            index,
            device_id: hello.device_id,
            epoch: hello.epoch,
            from,
            payload,
            hello_tag,
            newest,
            jump: new.saturating_sub(old.max(mark)) > RAISE,
        };
        let value = RecordChange { expected, record, note_boot };
        Ok(Outcome::Fresh(fresh, Change { ticket, value }))
    }

    fn new_entry(&mut self, index: Index, hello: &Hello, generation: Generation) -> Result<Entry, Reject> {
        let server_salt = ServerSalt(draw(&mut self.entropy).map_err(Reject::Entropy)?);
        let cid = self.reserve_cid(index)?;
        let (epoch, salt, gateway) = (hello.epoch, hello.salt, self.gateway);
        Ok(Entry { generation, epoch, salt, server_salt, cid, gateway })
    }

    /// Hands out what a fresh Hello brought, for the proof that it is durable. Proofs of one device are to be handed
    /// over, here and to [`apply`](Self::apply), in the order in which the store made the changes.
    ///
    /// # Errors
    /// [`CommitError::OtherTicket`] if the proof belongs to another change, and [`CommitError::Conflict`] if the
    /// record has changed since: the store must not have made both changes. Nothing is delivered then.
    pub fn commit<B: AsRef<[u8]>>(
        &mut self,
        held: Held<B, T::Address>,
        mut durable: Durable<RecordChange>,
    ) -> Result<Committed<B, T::Address>, CommitError> {
        let Held { fresh, buffer } = held;
        if fresh.ticket != durable.ticket {
            return Err(CommitError::OtherTicket);
        }
        let index = fresh.index;
        let unknown = self.replace(index, &mut durable.value)?;
        let device_id = fresh.device_id;
        let mut committed = Committed {
            device_id,
            index,
            epoch: fresh.epoch,
            payload: None,
            welcome: None,
            jump: fresh.jump,
            unknown,
        };
        // It may have been revoked meanwhile.
        let Some(peer) = self.table.peer_mut(index).filter(|peer| peer.is_active()) else {
            return Ok(committed);
        };
        let has_payload = !fresh.payload.is_empty();
        if fresh.newest {
            let excused = peer.record.excused && !peer.link.excuse_used;
            let mut keys = SessionKeys::blank();
            let candidate = candidate::<T>(&peer.record, &fresh, has_payload, excused, &mut keys);
            committed.welcome = candidate.as_ref().map(|candidate| (candidate.welcome, fresh.from));
            peer.link.candidate = candidate;
            if let Some(candidate) = &mut peer.link.candidate {
                candidate.session.swap_keys(&mut keys);
            }
        }
        committed.payload = has_payload.then(|| Payload::new(buffer, fresh.payload));
        Ok(committed)
    }
}

/// The same Hello again: as long as its candidate waits, the same Welcome; once it is confirmed, nothing. A candidate
/// that a crash took is not known any more: its Hello is stale (M-60).
fn same_again<Address: Copy + PartialEq, O, A: Backend>(
    peer: &mut Peer<Address, O, A>,
    hello: &Hello,
    tag: &Tag,
    from: Address,
) -> Option<Result<Outcome<Address>, Reject>> {
    let is_same = |entry: &Option<Entry>| entry.is_some_and(|entry| is_of(&entry, hello));
    let same_tag = |other: &Tag| bool::from(other.ct_eq(tag));
    if let Some(active) = peer.link.active.as_ref().filter(|active| is_of(&active.entry, hello)) {
        // Equal in epoch and not in bytes is stale.
        return same_tag(&active.hello_tag).then_some(Err(Reject::SameHello));
    }
    if is_same(&peer.record.candidate) {
        let candidate = peer.link.candidate.as_mut().filter(|candidate| same_tag(&candidate.hello_tag))?;
        // Whoever takes the session up now may have heard of it at either address (M-71).
        candidate.from.take_if(|first| *first != from);
        let (kind, answer) = (AnswerKind::Welcome, candidate.welcome);
        return Some(Ok(Outcome::Answered { kind, device_id: hello.device_id, answer, to: from }));
    }
    // After a crash epoch and salt decide.
    is_same(&peer.record.confirmed).then_some(Err(Reject::SameHello))
}

/// Whether a Hello is the one that an entry was made for.
fn is_of(entry: &Entry, hello: &Hello) -> bool {
    entry.epoch == hello.epoch && entry.salt == hello.salt
}

/// The record after a fresh Hello. The candidate stands beside the confirmed entry (M-55), and what was
/// confirmed in memory since the last change moves up (M-64). Only a newest Hello brings a candidate (M-63).
fn after_hello<Address, O, A: Backend>(
    peer: &Peer<Address, O, A>,
    epoch: Epoch,
    candidate: Option<Entry>,
) -> Record {
    let mut record = reported(peer);
    record.window = record.window.with(epoch);
    if candidate.is_some() {
        let in_service = peer.link.active.as_ref().map(|active| active.entry);
        record.confirmed = in_service.or(record.confirmed);
        record.candidate = candidate;
    }
    record
}

/// The entry that a newest Hello takes the place of.
pub(super) fn displaced<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> Option<&Entry> {
    if candidate_serves(peer) { peer.record.confirmed() } else { peer.record.candidate() }
}

/// Whether the record's candidate has been confirmed, which is not written by itself.
fn candidate_serves<Address, O, A: Backend>(peer: &Peer<Address, O, A>) -> bool {
    let in_service = peer.link.active.as_ref().map(|active| &active.entry);
    in_service.is_some() && peer.record.candidate() == in_service
}

fn open_hello<A: Backend>(key: &DeviceKey, hello: &Hello, sealed: Sealed<'_>) -> Result<(), Reject> {
    let Sealed { aad, ciphertext, tag } = sealed;
    let nonce = Nonce::hello(hello.epoch, hello.salt);
    let mut hello_key = AeadKey::blank();
    key.put_hello_key(hello.device_id, &mut hello_key);
    A::open(&hello_key, nonce, aad, ciphertext, tag).map_err(|_| Reject::Inauthentic)
}

fn seal_floor<A: Backend>(key: &DeviceKey, hello: &Hello, floor: Epoch) -> Answer {
    let header = Header::Floor(Floor { echo: hello.salt.echo(), floor }).encode();
    let mut floor_key = AeadKey::blank();
    key.put_floor_key(hello.device_id, floor, &mut floor_key);
    let tag = A::seal(&floor_key, Nonce::hello(hello.epoch, hello.salt), header.as_bytes(), &mut []);
    Answer::new(&[header.as_bytes(), &tag])
}

/// The session that a durable Hello offers, with its one Welcome (M-56). Its keys come beside it: it has yet to be put into
/// its place.
fn candidate<T: Table>(
    record: &Record,
    fresh: &Fresh<T::Address>,
    early_taken: bool,
    excused: bool,
    keys: &mut SessionKeys,
) -> Option<Candidate<T::Address, T::Backend>> {
    let entry = record.candidate()?;
    let key = record.key_of(entry)?;
    key.put_session_keys(record.device_id(), entry.epoch, entry.salt, entry.server_salt, keys);
    let (echo, server_salt) = (entry.salt.echo(), entry.server_salt);
    let header = Header::Welcome(Welcome { early_taken, echo, server_salt }).encode();
    let mut cid = [0; ConnectionId::MAX_LEN];
    let cid_len = entry.cid.as_bytes().len();
    let plaintext = cid.get_mut(..cid_len)?;
    plaintext.copy_from_slice(entry.cid.as_bytes());
    let tag: [u8; TAG_LEN] =
        <T::Backend as Backend>::seal(&keys.down, Nonce::welcome(), header.as_bytes(), plaintext);
    Some(Candidate {
        welcome: Answer::new(&[header.as_bytes(), plaintext, &tag]),
        session: Session::new(Role::Server, SessionKeys::blank(), entry.epoch, entry.cid),
        entry: *entry,
        hello_tag: fresh.hello_tag,
        from: Some(fresh.from),
        excused,
    })
}
