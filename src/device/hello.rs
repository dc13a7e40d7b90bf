//! Opening a session: the Hello, its repeats, and the Welcome or Floor that answers it. SPEC sections 6.2 to 6.4.
//!
//! ```text
//! opening: none --start--> due --Hello--> outstanding --Welcome--> none, and a session
//!                           ^                  |  repeats: the same bytes, or with two keys a new Hello in turn
//!                           +-----Floor--------+
//! ```

use super::link::Link;
use super::{Device, Event, Hardware, Millis, Received};
use crate::aead::{Backend, Nonce};
use crate::control::Role;
use crate::delivery::{Backoff, Jitter, Outcome, Settled, Ticket, Timing};
use crate::entropy::Entropy;
use crate::error::{EntropyError, HelloError, InvalidConnectionId, PollError, ReceiveError, StorageError};
use crate::identity::KeySlot;
use crate::key_slots::{KeySlots, Slot};
use crate::keys::{AeadKey, SessionKeys};
use crate::number::{ConnectionId, DeviceId, Echo, Epoch, Salt};
use crate::session::{Session, open};
use crate::wire::{self, HELLO_AAD_LEN, HELLO_HEADER_LEN, HELLO_OVERHEAD, Sealed};

/// A floor with this boot count or a higher one is refused (M-39).
const FLOOR_BOOT_LIMIT: u32 = 0xFEFF_FFFF;

/// A session is being opened: a Hello is due or outstanding.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(super) struct Opening {
    pub(super) hello: Option<Hello>,
    pub(super) backoff: Backoff,
    /// The slot of the key for the next Hello.
    slot: Slot,
    /// The server has answered without opening a session. The first time the next Hello follows at once, from then
    /// on no sooner than a repeat would: two servers that disagree must not drain a battery.
    turned_away: bool,
}

/// The outstanding Hello. Its bytes lie in the buffer if it carries a payload. Without one they are made again at each
/// repeat: sealing nothing under the same key, nonce and header gives the same bytes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(super) struct Hello {
    epoch: Epoch,
    salt: Salt,
    slot: Slot,
    pub(super) early: Option<Ticket>,
    pub(super) repeated: bool,
}

impl Opening {
    pub(super) const fn start(now: Millis, slot: Slot) -> Self {
        Self { hello: None, backoff: Backoff::due(now), slot, turned_away: false }
    }

    /// An answer came that opened no session.
    fn turn_away(&mut self, now: Millis, slot: Slot) {
        if !self.turned_away {
            self.backoff = Backoff::due(now);
        }
        (self.hello, self.slot, self.turned_away) = (None, slot, true);
    }

    fn schedule(&mut self, now: Millis, timing: &Timing, jitter: &mut Jitter) {
        if self.backoff.sent() == 0 {
            self.backoff = Backoff::start(now, timing, jitter);
        } else {
            let cap = timing.hello_cap_ms.max(timing.answer_timeout_ms).max(1);
            self.backoff.repeat(now, cap, jitter);
        }
    }
}

impl Hello {
    const fn settle(&self, outcome: Outcome) -> Option<Settled> {
        match self.early {
            Some(ticket) => Some(Settled { ticket, outcome }),
            None => None,
        }
    }

    fn header(&self, generation_bits: u8, device_id: DeviceId) -> wire::HeaderBytes {
        wire::Hello { generation_bits, device_id, epoch: self.epoch, salt: self.salt }.encode()
    }
}

impl<H: Hardware, const N: usize, A: Backend> Device<H, N, A> {
    /// A Hello is due, under the newest key, in place of one that may be outstanding.
    #[inline(never)]
    pub(super) fn open(&mut self, now: Millis) {
        self.opening = Some(Opening::start(now, self.keyring.newest()));
    }

    /// As [`open`](Self::open). What becomes of the payload of the Hello before is told.
    pub(super) fn open_anew(&mut self, now: Millis) -> Option<Settled> {
        let replaced = self.outstanding_hello();
        self.open(now);
        self.end_hello(&replaced?, Outcome::Unknown)
    }

    /// A Hello is answered or replaced; its bytes are not repeated any more.
    pub(super) fn end_hello(&mut self, hello: &Hello, outcome: Outcome) -> Option<Settled> {
        let settled = hello.settle(outcome)?;
        self.buffer.release();
        Some(settled)
    }

    /// Whether a new Hello may carry the waiting payload. With two keys none does: its Hello would be replaced by the
    /// next one, and the payload's outcome unknown (M-119 would allow it in the first).
    pub(super) fn may_carry(&self) -> bool {
        self.epochs.is_trusted()
            && !self.keyring.is_rotating()
            && !self.can_speak()
            && self.buffer.datagram().is_none()
    }

    /// The Hello that is due at `now`, new or repeated.
    pub(super) fn poll_hello(&mut self, now: Millis, out: &mut [u8]) -> Result<Option<usize>, PollError> {
        let Some(opening) = self.opening.as_ref().filter(|opening| opening.backoff.next() <= now) else {
            return Ok(None);
        };
        let sent = match opening.hello {
            Some(hello) if self.keyring.is_only(hello.slot) => self.repeat_hello(&hello, out),
            _ => self.new_hello(self.keyring.valid(opening.slot), out),
        };
        if sent == Err(PollError::BufferTooShort) {
            return Err(PollError::BufferTooShort);
        }
        // The schedule moves on after a failure as well: flash or RNG are tried again later and later.
        if let Some(opening) = &mut self.opening {
            opening.schedule(now, &self.config.timing, &mut self.jitter);
        }
        sent.map(Some)
    }

    fn new_hello(&mut self, slot: Slot, out: &mut [u8]) -> Result<usize, PollError> {
        let waiting = if self.may_carry() { self.buffer.waiting() } else { None };
        let (early, payload) = waiting.map_or((None, &[][..]), |(ticket, payload)| (Some(ticket), payload));
        let out = out.get_mut(..HELLO_OVERHEAD + payload.len()).ok_or(PollError::BufferTooShort)?;
        for (to, from) in out.iter_mut().skip(HELLO_HEADER_LEN).zip(payload) {
            *to = *from;
        }
        let read = self.read_key(slot);
        let key = found(&read)?;
        let random = self.hardware.rng().map(random_salt).transpose().map_err(HelloError::Entropy)?;
        let epoch = self.epochs.take(&mut self.hardware.counter()).map_err(HelloError::Counter)?;
        // M-30.
        let salt = random.unwrap_or_else(|| key.device_key.salt(epoch));
        let hello = Hello { epoch, salt, slot, early, repeated: false };
        self.seal_hello(&hello, key, out);
        if early.is_some() {
            self.buffer.stop_waiting();
            self.buffer.keep(out);
        }
        if let Some(opening) = &mut self.opening {
            (opening.hello, opening.slot) = (Some(hello), self.keyring.in_turn(slot));
        }
        Ok(out.len())
    }

    /// The same bytes again (M-31).
    fn repeat_hello(&mut self, hello: &Hello, out: &mut [u8]) -> Result<usize, PollError> {
        let kept = self.buffer.datagram().filter(|_| hello.early.is_some());
        let len = kept.map_or(HELLO_OVERHEAD, <[u8]>::len);
        let out = out.get_mut(..len).ok_or(PollError::BufferTooShort)?;
        if let Some(datagram) = kept {
            out.copy_from_slice(datagram);
        } else {
            let read = self.read_key(hello.slot);
            self.seal_hello(hello, found(&read)?, out);
        }
        if let Some(hello) = self.opening.as_mut().and_then(|opening| opening.hello.as_mut()) {
            hello.repeated = true;
        }
        Ok(len)
    }

    /// Seals the Hello whose payload stands in `out` already, behind the room for the header (SPEC 4.2).
    fn seal_hello(&self, hello: &Hello, key: &KeySlot, out: &mut [u8]) {
        let header = hello.header(key.generation.low_bits(), self.id);
        let header = header.as_bytes();
        let aad = header.get(..HELLO_AAD_LEN).unwrap_or(header);
        let Some((head, body)) = out.split_at_mut_checked(header.len()) else { return };
        head.copy_from_slice(header);
        let Some((payload, tag)) = body.split_last_chunk_mut() else { return };
        let nonce = Nonce::hello(hello.epoch, hello.salt);
        let mut hello_key = AeadKey::blank();
        key.device_key.put_hello_key(self.id, &mut hello_key);
        *tag = A::seal(&hello_key, nonce, aad, payload);
    }

    /// A Welcome: for the outstanding Hello only (M-33).
    #[inline(never)] // as all that `receive` branches to: so their stacks overlap
    pub(super) fn receive_welcome(
        &mut self,
        now: Millis,
        welcome: &wire::Welcome,
        sealed: Sealed<'_>,
        received: &mut Received<'_>,
    ) -> Result<(), ReceiveError> {
        let hello = self.outstanding(welcome.echo)?;
        let read = self.read_key(hello.slot);
        let key = &found(&read)?.device_key;
        let mut keys = SessionKeys::blank();
        key.put_session_keys(self.id, hello.epoch, hello.salt, welcome.server_salt, &mut keys);
        let cid = open::<A>(&keys.down, Nonce::welcome(), sealed)?;
        self.epochs.trust();
        let outcome = if welcome.early_taken { Outcome::Acknowledged } else { Outcome::Unknown };
        let early = self.end_hello(&hello, outcome);
        let Some(cid) = ConnectionId::from_bytes(cid) else {
            self.turn_away(now, hello.slot);
            return Err(InvalidConnectionId { settled: early }.into());
        };
        // M-34: the Hello is consumed. A second Welcome would install the same keys again, and numbers start over.
        self.opening = None;
        let unknown = self.end_link();
        self.establish(now, &hello, cid);
        if let Some(link) = &mut self.link {
            link.session.swap_keys(&mut keys);
        }
        let old_key = self.keyring.welcomed(&mut self.hardware.keys(), hello.slot);
        received.event = Some(Event::SessionOpened { epoch: hello.epoch, old_key });
        received.settle(early);
        received.settle(unknown);
        Ok(())
    }

    #[inline(never)] // a link on its way into its place is no part of the stack below which keys are derived
    fn establish(&mut self, now: Millis, hello: &Hello, cid: ConnectionId) {
        let session = Session::new(Role::Device, SessionKeys::blank(), hello.epoch, cid);
        self.link = Some(Link::new(session, hello.slot, now));
    }

    /// A Floor: for the outstanding Hello only (M-38).
    #[inline(never)]
    pub(super) fn receive_floor(
        &mut self,
        now: Millis,
        floor: wire::Floor,
        sealed: Sealed<'_>,
        received: &mut Received<'_>,
    ) -> Result<(), ReceiveError> {
        let hello = self.outstanding(floor.echo)?;
        let read = self.read_key(hello.slot);
        let key = &found(&read)?.device_key;
        let mut floor_key = AeadKey::blank();
        key.put_floor_key(self.id, floor.floor, &mut floor_key);
        open::<A>(&floor_key, Nonce::hello(hello.epoch, hello.salt), sealed)?;
        // M-39: from up there no device comes back.
        if floor.floor.boot() >= FLOOR_BOOT_LIMIT {
            return Err(ReceiveError::FloorTooHigh);
        }
        let moved = self.epochs.pass(&mut self.hardware.counter(), floor.floor, hello.epoch)?;
        // Of two keys the same one again (M-119).
        self.turn_away(now, hello.slot);
        received.event = Some(Event::Stale { floor: floor.floor, moved });
        received.settle(self.end_hello(&hello, Outcome::Unknown));
        Ok(())
    }

    /// The Hello is consumed, and no session open.
    fn turn_away(&mut self, now: Millis, slot: Slot) {
        if let Some(opening) = &mut self.opening {
            opening.turn_away(now, slot);
        }
    }

    pub(super) fn outstanding_hello(&self) -> Option<Hello> {
        self.opening.as_ref()?.hello
    }

    /// The outstanding Hello, if this is the echo of its salt (M-9).
    fn outstanding(&self, echo: Echo) -> Result<Hello, ReceiveError> {
        let hello = self.outstanding_hello().ok_or(ReceiveError::NoHello)?;
        if hello.salt.echo() == echo { Ok(hello) } else { Err(ReceiveError::EchoMismatch) }
    }

    /// What is in a slot, as it was read: it is looked at where it lies, since a key that is moved leaves a copy behind.
    #[inline(never)]
    fn read_key(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        self.hardware.keys().read(slot)
    }
}

const fn found(read: &Result<Option<KeySlot>, StorageError>) -> Result<&KeySlot, KeyError> {
    match read {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(KeyError::Missing),
        Err(error) => Err(KeyError::Storage(*error)),
    }
}

/// Why there is no key to work with.
enum KeyError {
    Storage(StorageError),
    Missing,
}

impl From<KeyError> for PollError {
    fn from(error: KeyError) -> Self {
        Self::Hello(match error {
            KeyError::Storage(error) => HelloError::Storage(error),
            KeyError::Missing => HelloError::KeyMissing,
        })
    }
}

impl From<KeyError> for ReceiveError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Storage(error) => Self::Storage(error),
            KeyError::Missing => Self::KeyMissing,
        }
    }
}

/// Six bytes that no stuck generator gives (M-4).
fn random_salt(mut rng: impl Entropy) -> Result<Salt, EntropyError> {
    let mut salt = [0; Salt::LEN];
    rng.fill(&mut salt)?;
    if salt == [0; Salt::LEN] || salt == [0xFF; Salt::LEN] {
        return Err(EntropyError::Stuck);
    }
    Ok(Salt(salt))
}
