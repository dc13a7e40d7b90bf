//! The one buffer of a device. At its front lies the datagram that is repeated until it is answered, byte for byte
//! (M-95); at its back a payload that was never sealed and waits for a session.
//!
//! ```text
//! | datagram, sealed ->            free             <- waiting payload |
//! ```
//!
//! Both are there at once only while a short control message is outstanding.

use crate::delivery::Ticket;
use crate::wire::HELLO_OVERHEAD;

/// The buffer.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(super) struct Buffer<const N: usize> {
    bytes: [u8; N],
    datagram_len: u16,
    waiting_len: u16,
    waiting: Option<Ticket>,
}

impl<const N: usize> Buffer<N> {
    /// The longest payload in bytes, so that it fits into a Hello.
    pub(super) const PAYLOAD_MAX: usize = N.saturating_sub(HELLO_OVERHEAD);

    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], datagram_len: 0, waiting_len: 0, waiting: None }
    }

    /// The datagram, if there is one.
    pub(super) fn datagram(&self) -> Option<&[u8]> {
        self.bytes.get(..self.datagram_len.into()).filter(|datagram| !datagram.is_empty())
    }

    /// Takes a copy of a datagram that was sent for the first time.
    pub(super) fn keep(&mut self, datagram: &[u8]) {
        // The limits on payloads see to it that it fits; what did not fit would not be repeated.
        let room = N.saturating_sub(self.waiting_len.into());
        let front = self.bytes.get_mut(..datagram.len()).filter(|front| front.len() <= room);
        if let (Some(front), Ok(len)) = (front, u16::try_from(datagram.len())) {
            front.copy_from_slice(datagram);
            self.datagram_len = len;
        }
    }

    /// The datagram need not be repeated any more.
    pub(super) const fn release(&mut self) {
        self.datagram_len = 0;
    }

    /// The waiting payload.
    pub(super) fn waiting(&self) -> Option<(Ticket, &[u8])> {
        let payload = self.bytes.get(N.checked_sub(self.waiting_len.into())?..)?;
        Some((self.waiting?, payload))
    }

    /// Lets a payload wait, if there is room.
    pub(super) fn wait(&mut self, ticket: Ticket, payload: &[u8]) -> bool {
        let Some(start) = N.checked_sub(payload.len()).filter(|start| *start >= self.datagram_len.into())
        else {
            return false;
        };
        let (Some(back), Ok(len)) = (self.bytes.get_mut(start..), u16::try_from(payload.len())) else {
            return false;
        };
        back.copy_from_slice(payload);
        (self.waiting_len, self.waiting) = (len, Some(ticket));
        true
    }

    /// The waiting payload waits no longer.
    pub(super) const fn stop_waiting(&mut self) -> Option<Ticket> {
        self.waiting_len = 0;
        self.waiting.take()
    }
}
