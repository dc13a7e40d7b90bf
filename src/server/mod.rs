//! The server half: records, candidates, sessions. It opens no socket, knows no clock and writes nothing itself:
//! datagrams and times come in; answers, payloads and changes to be made durable go out. SPEC sections 7 to 10.
//!
//! ```text
//! Hello   find the device -> status -> open -> window -> Change => Durable -> payload, Welcome
//! Data    find by cid -> status -> window -> open -> commit -> payload, acknowledgement
//! ```

mod change;
mod cids;
mod command;
mod data;
mod floors;
mod hello;
mod link;
mod overheard;
mod path;
mod records;
mod send;
mod shared;
mod table;

use core::ops::Range;

pub use change::{Change, Durable, Payload, RecordChange, Ticket};
pub use cids::CidRange;
pub use command::{Command, CommandId, CommandState};
pub use data::{ControlEvent, DataReceived};
pub use hello::{Committed, Held};
pub use records::Admin;
pub use send::{Sending, SentMark, Transmit};
pub use table::{FixedOutbox, FixedTable, Index, Outbox, Peer, Table};

use crate::delivery::{Jitter, Millis, Timing};
use crate::entropy::Entropy;
use crate::error::{EntropyError, Reject};
use crate::number::{DeviceId, Salt};
use crate::record::GatewayId;
use crate::scrub::ScrubOnDrop;
use crate::wire::{Header, Unverified, WELCOME_MAX_LEN};

/// The server half, over a table of devices and a generator of random numbers. Dropping it wipes what [`Device`]'s drop
/// does.
///
/// [`Device`]: crate::device::Device
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Server<T: Table, E: Entropy> {
    table: T,
    entropy: E,
    gateway: GatewayId,
    cids: CidRange,
    timing: Timing,
    /// The high-water mark of boot counts (M-127 needs it).
    mark: u32,
    floors: floors::FloorLimit,
    jitter: Jitter,
    next_ticket: u64,
    _scrub: ScrubOnDrop,
}

/// A datagram that answers another, and is never longer than it; 31 bytes at most.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Answer {
    bytes: [u8; WELCOME_MAX_LEN],
    len: usize,
}

impl Answer {
    /// An answer of these parts, which together fit.
    fn new(parts: &[&[u8]]) -> Self {
        let mut answer = Self { bytes: [0; WELCOME_MAX_LEN], len: 0 };
        for (to, from) in answer.bytes.iter_mut().zip(parts.iter().copied().flatten()) {
            *to = *from;
            answer.len += 1;
        }
        answer
    }

    /// The datagram.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// What became of a datagram.
#[derive(Debug)]
#[must_use]
#[expect(clippy::large_enum_variant, reason = "there is no heap to box a change in")]
pub enum Received<B, Address> {
    /// Nothing. Count it; answer nothing.
    Rejected {
        /// Why.
        reason: Reject,
        /// The device that it named. Only the tag could tell whether it was that device.
        device_id: Option<DeviceId>,
    },
    /// Nothing new: an answer goes back to where the datagram came from.
    Answered {
        /// Which answer.
        kind: AnswerKind,
        /// The device.
        device_id: DeviceId,
        /// The datagram to send.
        answer: Answer,
        /// Where to.
        to: Address,
    },
    /// A fresh Hello: payload and answer wait until the change is durable.
    Pending(Held<B, Address>, Change<RecordChange>),
    /// A Data of a session.
    Data(DataReceived<B, Address>),
}

/// What an answer says that needs no change of any state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// The same Welcome again.
    Welcome,
    /// A stale Hello.
    Floor,
    /// A session without counters.
    Reset,
    /// A Data that had been acknowledged before.
    Acknowledgement,
}

/// Why a datagram was dropped, with the device that it named.
type Rejected = (Reject, Option<DeviceId>);

impl<T: Table, E: Entropy> Server<T, E> {
    /// A server that has just started: records, and no counters. `mark` is the high-water mark of boot counts
    /// (M-80), 0 where nothing was ever restored.
    ///
    /// # Errors
    /// [`EntropyError`] if the generator does not work.
    pub fn new(
        table: T,
        mut entropy: E,
        gateway: GatewayId,
        timing: Timing,
        mark: u32,
    ) -> Result<Self, EntropyError> {
        let seed = Salt(draw(&mut entropy)?);
        Ok(Self {
            table,
            entropy,
            gateway,
            cids: CidRange::ALL,
            timing,
            mark,
            floors: floors::FloorLimit::new(),
            jitter: Jitter::new(seed),
            next_ticket: 0,
            _scrub: ScrubOnDrop,
        })
    }

    /// The devices.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// The devices, to add some. Records that are in the table change only through this server.
    pub const fn table_mut(&mut self) -> &mut T {
        &mut self.table
    }

    /// This gateway's name in entries and commands.
    pub const fn gateway(&self) -> GatewayId {
        self.gateway
    }

    /// Takes one datagram, which is opened in place; `datagram` comes back with the payload, if there is one.
    /// `now` is in milliseconds and does not run backwards.
    pub fn receive<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        now: Millis,
        from: T::Address,
        mut datagram: B,
    ) -> Received<B, T::Address> {
        match self.dispatch(now, from, datagram.as_mut()) {
            Ok(Outcome::Answered { kind, device_id, answer, to }) => {
                Received::Answered { kind, device_id, answer, to }
            }
            Ok(Outcome::Fresh(fresh, change)) => Received::Pending(fresh.holding(datagram), change),
            Ok(Outcome::Data(data, payload)) => Received::Data(data.with(datagram, payload)),
            Err((reason, device_id)) => Received::Rejected { reason, device_id },
        }
    }

    fn dispatch(
        &mut self,
        now: Millis,
        from: T::Address,
        datagram: &mut [u8],
    ) -> Result<Outcome<T::Address>, Rejected> {
        let len = datagram.len();
        let Unverified { header, sealed } =
            Unverified::parse(datagram).map_err(|error| (Reject::Parse(error), None))?;
        match header {
            Header::Hello(hello) => {
                self.receive_hello(now, from, &hello, sealed).map_err(|e| (e, Some(hello.device_id)))
            }
            Header::Data(data) => self.receive_data(now, from, len, &data, sealed),
            Header::Welcome(_) | Header::Floor(_) | Header::Reset(_) => Err((Reject::NotForServer, None)),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Nothing is opened and nothing is sealed for a device that is not active (M-65).
    fn is_active(&self, index: Index) -> bool {
        self.table.peer(index).is_some_and(Peer::is_active)
    }
}

/// What one datagram leads to, before the caller's buffer joins it.
#[expect(clippy::large_enum_variant, reason = "there is no heap to box a change in")]
enum Outcome<Address> {
    Answered { kind: AnswerKind, device_id: DeviceId, answer: Answer, to: Address },
    Fresh(hello::Fresh<Address>, Change<RecordChange>),
    Data(DataReceived<(), Address>, Option<Range<usize>>),
}

/// Draws random bytes; none that a generator gives which does not run (M-4).
fn draw<const L: usize>(entropy: &mut impl Entropy) -> Result<[u8; L], EntropyError> {
    let mut bytes = [0; L];
    entropy.fill(&mut bytes)?;
    if bytes == [0; L] || bytes == [0xFF; L] { Err(EntropyError::Stuck) } else { Ok(bytes) }
}
