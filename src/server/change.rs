//! What must be durable, and the proof that it is: a [`Change`] goes to the store, and only a store that has
//! committed it can turn it into the [`Durable`] for which payload and answer are handed out. Many may be under
//! way at once. SPEC sections 7.2 and 9.5.
//!
//! ```text
//! receive -> (Held, Change)     Change -> store: compare, set, sync -> committed() -> Durable
//!                               Held + Durable -> payload, answer
//! ```
//!
//! The order is the compiler's business. A payload is there once the store has committed:
//!
//! ```
//! # use moteseal::{entropy::Entropy, error::CommitError, server::{Change, Held, RecordChange, Server, Table}};
//! # fn write_and_sync(_: &RecordChange) {}
//! # fn deliver(_: &[u8]) {}
//! # fn take<T: Table, E: Entropy>(
//! #     server: &mut Server<T, E>, held: Held<Vec<u8>, T::Address>, change: Change<RecordChange>,
//! # ) -> Result<(), CommitError> {
//! write_and_sync(change.value());
//! let committed = server.commit(held, change.committed())?;
//! if let Some(payload) = committed.payload {
//!     deliver(payload.as_bytes());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Before that there is no way to it, neither through a change that is not proved to be durable
//!
//! ```compile_fail,E0308
//! # use moteseal::{entropy::Entropy, error::CommitError, server::{Change, Held, RecordChange, Server, Table}};
//! # fn deliver(_: &[u8]) {}
//! # fn take<T: Table, E: Entropy>(
//! #     server: &mut Server<T, E>, held: Held<Vec<u8>, T::Address>, change: Change<RecordChange>,
//! # ) -> Result<(), CommitError> {
//! let committed = server.commit(held, change)?;
//! if let Some(payload) = committed.payload {
//!     deliver(payload.as_bytes());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! nor through what is held
//!
//! ```compile_fail,E0616
//! # use moteseal::server::Held;
//! # fn deliver(_: &[u8]) {}
//! # fn take(held: Held<Vec<u8>, u32>) {
//! deliver(&held.buffer);
//! # }
//! ```
//!
//! nor a second time, since the proof is used up.
//!
//! ```compile_fail,E0382
//! # use moteseal::{entropy::Entropy, error::CommitError, server::{Change, Held, RecordChange, Server, Table}};
//! # fn take<T: Table, E: Entropy>(
//! #     server: &mut Server<T, E>, held: [Held<Vec<u8>, T::Address>; 2], change: Change<RecordChange>,
//! # ) -> Result<(), CommitError> {
//! let [first, second] = held;
//! let durable = change.committed();
//! let _ = server.commit(first, durable)?;
//! let _ = server.commit(second, durable)?;
//! # Ok(())
//! # }
//! ```

use core::fmt;
use core::ops::Range;

use crate::record::Record;

/// Tells one change from another, within one run of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// Something that a store must make durable before anything that follows from it happens.
#[derive(Debug)]
#[must_use = "what it says is not durable yet; dropping it gives the datagram up"]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Change<T> {
    pub(super) ticket: Ticket,
    pub(super) value: T,
}

impl<T> Change<T> {
    /// Which change it is.
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// What to make durable.
    pub const fn value(&self) -> &T {
        &self.value
    }

    /// The proof. To be called by a store, after the change is on stable storage and not before: whoever calls
    /// it early delivers payloads twice after the next crash (M-54, M-106). Nor is it to be called because the record
    /// looks as if the change had been made: another gateway may have made the same one (M-131).
    pub fn committed(self) -> Durable<T> {
        Durable { ticket: self.ticket, value: self.value }
    }
}

/// The proof that a change is on stable storage.
#[derive(Debug)]
#[must_use = "hand it to the server: one that does not learn of a change conflicts with the store from then on"]
pub struct Durable<T> {
    pub(super) ticket: Ticket,
    pub(super) value: T,
}

impl<T> Durable<T> {
    /// Which change it was.
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// What has become durable.
    pub const fn value(&self) -> &T {
        &self.value
    }
}

/// A record to be replaced, as a compare-and-set of the whole record (M-88).
#[derive(Clone, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct RecordChange {
    /// What the store must hold for the change to be made.
    pub expected: Record,
    /// What it holds afterwards.
    pub record: Record,
    /// A boot count that the journal must note before the record is written (M-127).
    pub note_boot: Option<u32>,
}

/// A payload that may be delivered: its place in the caller's own buffer, which it gives back.
pub struct Payload<B> {
    buffer: B,
    range: Range<usize>,
}

impl<B> fmt::Debug for Payload<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.range.len())
    }
}

impl<B: AsRef<[u8]>> Payload<B> {
    pub(super) const fn new(buffer: B, range: Range<usize>) -> Self {
        Self { buffer, range }
    }

    /// The application's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.as_ref().get(self.range.clone()).unwrap_or(&[])
    }

    /// The caller's buffer.
    pub fn into_buffer(self) -> B {
        self.buffer
    }
}
