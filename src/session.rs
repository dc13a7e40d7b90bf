//! One established session, in either role: protect and verify Data, judge a Reset. It knows numbers and
//! windows, not time. SPEC sections 4.5, 4.6, 5.4, 6.6, 7.6 and 9.7.
//!
//! ```text
//! protect   payload -> [ack block] || payload -> seal -> Data       takes a number, for good
//! verify    Data -> rebuild -> check -> open -> read -> commit      a forgery stops before the commit
//! ```

use core::fmt;
use core::marker::PhantomData;

use zeroize::Zeroize;

use crate::aead::{Backend, FORGERY_LIMIT, Nonce, Portable, TAG_LEN, Tag};
use crate::control::{Control, Role};
use crate::error::{Inauthentic, Malformed, NotFresh, ProtectError, ResetError, VerifyError};
use crate::keys::{AeadKey, SessionKeys};
use crate::number::{ConnectionId, Epoch, SequenceNumber};
use crate::replay::{Acknowledged, Answering, ReplayWindow};
use crate::wire::{self, ACK_BLOCK_LEN, AckBlock, Header, RESET_MAX_LEN, Sealed, Seq};

/// A session: two keys, a connection id, the numbers sent and the numbers seen.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone))]
pub struct Session<A: Backend = Portable> {
    keys: SessionKeys,
    window: ReplayWindow,
    acknowledged: Acknowledged,
    forgeries: u64,
    next: Option<SequenceNumber>,
    cid: ConnectionId,
    epoch: Epoch,
    role: Role,
    backend: PhantomData<A>,
}

/// Without the count of forgeries, the one thing that what is rejected may change (M-24).
#[cfg(moteseal_explore)]
impl<A: Backend> core::hash::Hash for Session<A> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self { keys, window, acknowledged, forgeries: _, next, cid, epoch, role, backend: _ } = self;
        (keys, window, acknowledged, next, cid, epoch, role).hash(state);
    }
}

/// What goes into one Data.
#[derive(Clone, Copy, Default)]
pub struct Outgoing<'p> {
    /// The application's bytes, or a control message.
    pub payload: &'p [u8],
    /// A: acknowledge these numbers of the peer.
    pub ack: Option<AckBlock>,
    /// C: ask for an acknowledgement.
    pub confirm: bool,
    /// K: the payload is a control message.
    pub control: bool,
}

impl fmt::Debug for Outgoing<'_> {
    /// Without the payload, which may be a *rotate*.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, ack, confirm, control } = self;
        let (len, mut shown) = (payload.len(), f.debug_struct("Outgoing"));
        shown
            .field("len", &len)
            .field("ack", ack)
            .field("confirm", confirm)
            .field("control", control)
            .finish()
    }
}

/// A Data that was protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The number that it took.
    pub number: SequenceNumber,
    /// Its length in bytes.
    pub len: usize,
}

/// What a Data said, once its tag was good.
#[derive(Debug)]
pub struct Verified<'d> {
    /// Its number.
    pub number: SequenceNumber,
    /// It is the highest number verified so far.
    pub newest: bool,
    /// C: it asks for an acknowledgement.
    pub confirm: bool,
    /// A: the own numbers that it acknowledges; the session has taken note of them, except of those of a *rotate*.
    pub ack: Option<AckBlock>,
    /// What it carries.
    pub content: Content<'d>,
}

/// What a Data carries.
pub enum Content<'d> {
    /// Nothing to deliver.
    Empty,
    /// The application's bytes, never none.
    Payload(&'d [u8]),
    /// A word between the halves. A *rotate* is acknowledgeable only once [`Session::accept`] says so.
    Control(Control),
}

impl fmt::Debug for Content<'_> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Payload(payload) => write!(f, "Payload({} bytes)", payload.len()),
            Self::Control(control) => f.debug_tuple("Control").field(control).finish(),
        }
    }
}

/// A Data that verifies: seen for the first time, or again.
#[derive(Debug)]
pub enum Incoming<'d> {
    /// Deliver it.
    New(Verified<'d>),
    /// It had been verified before and asks again: acknowledge, deliver nothing.
    Repeat(SequenceNumber),
}

impl<A: Backend> Session<A> {
    /// A session that has just been agreed on: nothing sent, nothing seen.
    pub fn new(role: Role, keys: SessionKeys, epoch: Epoch, cid: ConnectionId) -> Self {
        Self {
            keys,
            window: ReplayWindow::default(),
            acknowledged: Acknowledged::default(),
            forgeries: 0,
            next: Some(SequenceNumber::FIRST),
            cid,
            epoch,
            role,
            backend: PhantomData,
        }
    }

    /// Changes keys with somebody: into a session that has its place, or out of one that leaves it, so that no copy stays
    /// behind (M-23).
    pub(crate) const fn swap_keys(&mut self, keys: &mut SessionKeys) {
        core::mem::swap(&mut self.keys, keys);
    }

    /// The connection id.
    pub const fn cid(&self) -> ConnectionId {
        self.cid
    }

    /// The epoch of the Hello that opened the session.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the peer has acknowledged.
    pub const fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// The highest number verified so far.
    pub const fn highest_verified(&self) -> Option<SequenceNumber> {
        self.window.highest()
    }

    /// The number that the next Data takes; none is left after 65,535.
    pub const fn next(&self) -> Option<SequenceNumber> {
        self.next
    }

    /// Whether a number sent or verified has reached FF00, so that the device should open a new session.
    pub fn is_due_for_renewal(&self) -> bool {
        let due = |number: SequenceNumber| number >= SequenceNumber::RENEWAL;
        // The next number is one past the last one sent.
        self.next.is_none_or(|next| next > SequenceNumber::RENEWAL) || self.window.highest().is_some_and(due)
    }

    /// Whether so many verifications failed that the keys must no longer be used (RFC 9147, 4.5.3).
    pub const fn is_worn_out(&self) -> bool {
        self.forgeries >= FORGERY_LIMIT
    }

    /// As if that many had failed.
    #[cfg(test)]
    pub(crate) const fn wear_out(&mut self) {
        self.forgeries = FORGERY_LIMIT;
    }

    /// The facts to send when answering, or unasked; nothing before a number is acknowledgeable.
    pub fn ack_block(&self, answering: Option<Answering>) -> Option<AckBlock> {
        self.window.ack_block(answering)
    }

    /// The *rotate* with this number has proved itself: it may be acknowledged, and the block that came with it
    /// counts. Until then it may be malformed, and nothing in it takes effect (M-113).
    pub fn accept(&mut self, number: SequenceNumber, ack: Option<AckBlock>) {
        self.window.acknowledge(number);
        if let Some(block) = ack {
            self.acknowledged.unite(block);
        }
    }

    /// Protects one Data into the front of `out`.
    ///
    /// # Errors
    /// [`ProtectError::BufferTooShort`], and no number is taken; [`ProtectError::NumbersUsedUp`].
    pub fn protect(&mut self, outgoing: Outgoing<'_>, out: &mut [u8]) -> Result<Protected, ProtectError> {
        let number = self.next.ok_or(ProtectError::NumbersUsedUp)?;
        let short = !outgoing.confirm && number.fits_one_byte(self.acknowledged.highest());
        let [_, low] = number.value().to_be_bytes();
        let data = wire::Data {
            cid: self.cid,
            seq: if short { Seq::One(low) } else { Seq::Two(number) },
            confirm: outgoing.confirm,
            ack: outgoing.ack.is_some(),
            control: outgoing.control,
        };
        let header = data.encode();
        let mut writer = Writer { rest: out, len: 0 };
        let aad = writer.reserve(header.as_bytes().len())?;
        aad.copy_from_slice(header.as_bytes());
        let ack_len = if outgoing.ack.is_some() { ACK_BLOCK_LEN } else { 0 };
        let len = ack_len.checked_add(outgoing.payload.len()).ok_or(ProtectError::BufferTooShort)?;
        let plaintext = writer.reserve(len)?;
        let (ack, payload) = plaintext.split_at_mut_checked(ack_len).ok_or(ProtectError::BufferTooShort)?;
        if let (Some(block), Some(ack)) = (outgoing.ack, ack.first_chunk_mut()) {
            *ack = block.encode();
        }
        payload.copy_from_slice(outgoing.payload);
        let tag = writer.tag()?;
        // From here on the number is gone, whatever becomes of the datagram.
        self.next = number.next();
        *tag = A::seal(sending_key(self.role, &self.keys), Nonce::data(number), aad, plaintext);
        Ok(Protected { number, len: writer.len })
    }

    /// Verifies one Data of this session: window, tag, commit, content, in this order (M-66). Nothing but the count of
    /// forgeries changes before the tag is good.
    ///
    /// # Errors
    /// [`VerifyError::Inauthentic`] for a forgery; [`VerifyError::Replayed`] and [`VerifyError::TooOld`] for
    /// what the window refuses; [`VerifyError::Malformed`] for what is authentic and makes no sense.
    pub fn verify<'d>(&mut self, data: &wire::Data, sealed: Sealed<'d>) -> Result<Incoming<'d>, VerifyError> {
        let number = data.seq.rebuild(self.window.highest());
        let newest = self.window.highest().is_none_or(|highest| number > highest);
        let slot = match self.window.check(number) {
            Ok(slot) => slot,
            Err(NotFresh::Repeat) if data.confirm => return self.verify_repeat(number, sealed),
            Err(NotFresh::TooOld) => return Err(VerifyError::TooOld),
            Err(_) => return Err(VerifyError::Replayed),
        };
        let receiving = receiving_key(self.role, &self.keys);
        let plaintext = open_counted::<A>(receiving, &mut self.forgeries, Nonce::data(number), sealed)?;
        let read = read(self.role, self.next, data, plaintext);
        let acknowledgeable = !matches!(read, Ok((_, Content::Control(Control::Rotate { .. }))) | Err(_));
        slot.commit(acknowledgeable);
        let (ack, content) = read.map_err(VerifyError::Malformed)?;
        if let Some(block) = ack.filter(|_| acknowledgeable) {
            self.acknowledged.unite(block);
        }
        Ok(Incoming::New(Verified { number, newest, confirm: data.confirm, ack, content }))
    }

    /// A repeat is opened too, so that nobody but the peer draws an answer (M-68).
    fn verify_repeat<'d>(
        &mut self,
        number: SequenceNumber,
        sealed: Sealed<'d>,
    ) -> Result<Incoming<'d>, VerifyError> {
        let receiving = receiving_key(self.role, &self.keys);
        open_counted::<A>(receiving, &mut self.forgeries, Nonce::data(number), sealed)?;
        if self.window.is_acknowledgeable(number) {
            Ok(Incoming::Repeat(number))
        } else {
            Err(VerifyError::Replayed)
        }
    }

    /// Verifies a Reset: valid only for a number that was sent and is not acknowledged (M-46, M-47), so that a Reset
    /// of another gateway, or an old one, ends nothing that lives.
    ///
    /// # Errors
    /// [`ResetError`]; nothing has changed but the count of forgeries.
    pub fn verify_reset(&mut self, reset: &wire::Reset, sealed: Sealed<'_>) -> Result<(), ResetError> {
        let number = reset.seq.rebuild(self.acknowledged.highest());
        if !self.has_sent(number) {
            return Err(ResetError::NeverSent);
        }
        if !self.acknowledged.is_missing(number) {
            return Err(ResetError::Acknowledged);
        }
        let receiving = receiving_key(self.role, &self.keys);
        open_counted::<A>(receiving, &mut self.forgeries, Nonce::reset(number), sealed)
            .map(|_| ())
            .map_err(|_| ResetError::Inauthentic)
    }

    fn has_sent(&self, number: SequenceNumber) -> bool {
        is_sent(self.next, number)
    }
}

/// Whether `number` lies before the next one to be sent.
fn is_sent(next: Option<SequenceNumber>, number: SequenceNumber) -> bool {
    next.is_none_or(|next| number < next)
}

const fn sending_key(role: Role, keys: &SessionKeys) -> &AeadKey {
    match role {
        Role::Device => &keys.up,
        Role::Server => &keys.down,
    }
}

const fn receiving_key(role: Role, keys: &SessionKeys) -> &AeadKey {
    match role {
        Role::Device => &keys.down,
        Role::Server => &keys.up,
    }
}

/// Opens a datagram of a session. Every failure under the key counts, whatever type of datagram it was (M-77).
fn open_counted<'d, A: Backend>(
    key: &AeadKey,
    forgeries: &mut u64,
    nonce: Nonce,
    sealed: Sealed<'d>,
) -> Result<&'d mut [u8], VerifyError> {
    if *forgeries >= FORGERY_LIMIT {
        return Err(VerifyError::Inauthentic);
    }
    open::<A>(key, nonce, sealed).inspect_err(|_| *forgeries = forgeries.saturating_add(1))
}

/// Opens a sealed body, and gives the plaintext.
#[inline(never)]
pub(crate) fn open<'d, A: Backend>(
    key: &AeadKey,
    nonce: Nonce,
    sealed: Sealed<'d>,
) -> Result<&'d mut [u8], VerifyError> {
    let Sealed { aad, ciphertext, tag } = sealed;
    match A::open(key, nonce, aad, ciphertext, tag) {
        Ok(()) => Ok(ciphertext),
        Err(Inauthentic) => Err(VerifyError::Inauthentic),
    }
}

/// `[ack block] || payload`, or why it cannot be that. `next` is the next number that `role` sends.
fn read<'d>(
    role: Role,
    next: Option<SequenceNumber>,
    data: &wire::Data,
    plaintext: &'d mut [u8],
) -> Result<(Option<AckBlock>, Content<'d>), Malformed> {
    let (ack, payload) = if data.ack {
        let (block, payload) =
            plaintext.split_first_chunk_mut::<ACK_BLOCK_LEN>().ok_or(Malformed::ShortAck)?;
        let block = AckBlock::decode(*block).ok_or(Malformed::AckOfUnsent)?;
        if !is_sent(next, block.number) {
            return Err(Malformed::AckOfUnsent);
        }
        (Some(block), payload)
    } else {
        (None, plaintext)
    };
    if data.control {
        let control = Control::decode(payload, role.peer(), data.confirm);
        // A *rotate* is a secret, and the buffer is the caller's.
        payload.zeroize();
        return Ok((ack, Content::Control(control?)));
    }
    Ok((ack, if payload.is_empty() { Content::Empty } else { Content::Payload(payload) }))
}

/// The server's answer to a Data of a session whose counters are gone.
#[derive(Clone, Copy, Debug)]
pub struct ResetDatagram {
    bytes: [u8; RESET_MAX_LEN],
    len: usize,
}

impl ResetDatagram {
    /// The datagram.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// Verifies a Data without counters, and makes the Reset that answers it. Nothing in it can be delivered:
/// whether it was delivered before is what the counters would have told. A one-byte number stands for itself (M-75).
///
/// # Errors
/// [`VerifyError::Inauthentic`], which here is no forgery: the number may have been rebuilt wrongly.
pub fn answer_without_counters<A: Backend>(
    keys: &SessionKeys,
    data: &wire::Data,
    sealed: Sealed<'_>,
) -> Result<ResetDatagram, VerifyError> {
    let number = number_without_counters(data.seq);
    open::<A>(&keys.up, Nonce::data(number), sealed)?;
    let header = Header::Reset(wire::Reset { cid: data.cid, seq: data.seq }).encode();
    let tag = A::seal(&keys.down, Nonce::reset(number), header.as_bytes(), &mut []);
    let mut reset = ResetDatagram { bytes: [0; RESET_MAX_LEN], len: header.as_bytes().len() + TAG_LEN };
    for (to, from) in reset.bytes.iter_mut().zip(header.as_bytes().iter().chain(&tag)) {
        *to = *from;
    }
    Ok(reset)
}

/// M-75: one byte is the number itself.
pub(crate) fn number_without_counters(seq: Seq) -> SequenceNumber {
    match seq {
        Seq::One(low) => SequenceNumber::new(u16::from(low)),
        Seq::Two(number) => number,
    }
}

/// The free end of a buffer.
struct Writer<'o> {
    rest: &'o mut [u8],
    len: usize,
}

impl<'o> Writer<'o> {
    fn reserve(&mut self, len: usize) -> Result<&'o mut [u8], ProtectError> {
        let rest = core::mem::take(&mut self.rest);
        let (reserved, rest) = rest.split_at_mut_checked(len).ok_or(ProtectError::BufferTooShort)?;
        self.rest = rest;
        self.len += len;
        Ok(reserved)
    }

    fn tag(&mut self) -> Result<&'o mut Tag, ProtectError> {
        self.reserve(TAG_LEN)?.try_into().map_err(|_| ProtectError::BufferTooShort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DeviceKey;
    use crate::number::{DeviceId, Salt, ServerSalt};

    fn pair() -> (Session, Session) {
        let device_id = DeviceId::new([1; 8]);
        let (epoch, cid) = (Epoch::new(1, 0), ConnectionId::new(1, 5).unwrap());
        let keys =
            || DeviceKey::new([2; 32]).session_keys(device_id, epoch, Salt([3; 6]), ServerSalt([4; 8]));
        let session = |role| Session::new(role, keys(), epoch, cid);
        (session(Role::Device), session(Role::Server))
    }

    fn verify(session: &mut Session, datagram: &mut [u8]) -> Result<(), VerifyError> {
        match wire::Unverified::parse(datagram).unwrap() {
            wire::Unverified { header: Header::Data(data), sealed } => {
                session.verify(&data, sealed).map(|_| ())
            }
            other => panic!("{other:?}"),
        }
    }

    fn protect(session: &mut Session) -> [u8; 20] {
        let mut datagram = [0; 20];
        session.protect(Outgoing { payload: b"x", ..Outgoing::default() }, &mut datagram).unwrap();
        datagram
    }

    /// M-77: a forged Reset is a guess at the same key as a forged Data.
    #[test]
    fn every_failure_under_a_key_counts() {
        let (mut device, mut server) = pair();
        let mut forged = protect(&mut server);
        forged[19] ^= 1;
        assert_eq!(verify(&mut device, &mut forged), Err(VerifyError::Inauthentic));
        assert_eq!(device.forgeries, 1);
        protect(&mut device);
        let reset = wire::Reset { cid: device.cid(), seq: Seq::One(0) };
        let sealed = Sealed { aad: &[], ciphertext: &mut [], tag: &[0; TAG_LEN] };
        assert_eq!(device.verify_reset(&reset, sealed), Err(ResetError::Inauthentic));
        assert_eq!(device.forgeries, 2);
        // A number that the window refuses is never tried.
        let mut genuine = protect(&mut server);
        assert_eq!(verify(&mut device, &mut genuine), Ok(()));
        assert_eq!(verify(&mut device, &mut genuine), Err(VerifyError::Replayed));
        assert_eq!(device.forgeries, 2);
    }

    /// M-113: what may yet prove to be malformed acknowledges nothing.
    #[test]
    fn the_block_of_a_rotate_counts_once_it_is_accepted() {
        let (mut device, mut server) = pair();
        let mut own = protect(&mut device);
        verify(&mut server, &mut own).unwrap();
        let secret = crate::keys::RotationSecret::from_bytes([7; 32]);
        let rotate = Control::Rotate { generation: crate::number::Generation::FIRST, secret }.encode();
        let ack = server.ack_block(None);
        let outgoing = Outgoing { payload: rotate.as_bytes(), ack, confirm: true, control: true };
        let mut datagram = [0; 57];
        assert_eq!(server.protect(outgoing, &mut datagram).unwrap().len, 57);
        verify(&mut device, &mut datagram).unwrap();
        assert_eq!((device.acknowledged().highest(), device.ack_block(None)), (None, None));
        device.accept(SequenceNumber::FIRST, ack);
        assert_eq!(device.acknowledged().highest(), Some(SequenceNumber::FIRST));
        assert!(device.ack_block(None).is_some());
    }

    #[test]
    fn a_worn_out_key_opens_nothing() {
        let (mut device, mut server) = pair();
        let mut genuine = protect(&mut server);
        device.forgeries = FORGERY_LIMIT - 1;
        let mut forged = genuine;
        forged[19] ^= 1;
        assert_eq!(verify(&mut device, &mut forged), Err(VerifyError::Inauthentic));
        assert!(device.is_worn_out());
        assert_eq!(verify(&mut device, &mut genuine), Err(VerifyError::Inauthentic));
    }
}
