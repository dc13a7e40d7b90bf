//! What became of everything, as figures.

use super::auditor::Word;

/// What became of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// From devices.
    pub telemetry: Column,
    /// To devices.
    pub commands: Column,
    /// Early data that was recorded, and whose line a kill of the gateway came before.
    pub lines_lost: usize,
    /// Commands that may run twice and were put back into the queue.
    pub requeued: usize,
    /// Pairs of key and nonce.
    pub sealed: usize,
    /// Telemetry in sessions.
    pub bytes: Bytes,
}

/// Payloads in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Handed over.
    pub sent: usize,
    /// Told to be recorded.
    pub acknowledged: usize,
    /// Told that nobody knows.
    pub unknown: usize,
    /// Refused, expired or withdrawn, and never sealed.
    pub unsent: usize,
    /// No outcome was asked for.
    pub unasked: usize,
    /// The device lost its power before it was told.
    pub forgotten: usize,
    /// Not told yet.
    pub open: usize,
    /// Delivered, once or more.
    pub delivered: usize,
    /// Delivered, and told that nobody knows.
    pub delivered_unknown: usize,
}

/// What became of the word that a sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was told.
    Told(Word),
    /// Nobody asked.
    Unasked,
    /// Its device lost its power.
    Forgotten,
    /// It is still to come.
    Open,
}

/// Bytes of telemetry in sessions, repeats left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    datagrams: usize,
    payload: usize,
    wire: usize,
}

impl Column {
    /// One more payload.
    pub const fn add(&mut self, fate: Fate, delivered: bool) {
        self.sent += 1;
        self.delivered += delivered as usize;
        *match fate {
            Fate::Told(Word::Acknowledged) => &mut self.acknowledged,
            Fate::Told(Word::Unknown) => {
                self.delivered_unknown += delivered as usize;
                &mut self.unknown
            }
            Fate::Told(Word::Unsent) => &mut self.unsent,
            Fate::Unasked => &mut self.unasked,
            Fate::Forgotten => &mut self.forgotten,
            Fate::Open => &mut self.open,
        } += 1;
    }
}

impl Bytes {
    /// One more datagram, and how long it and its payload are.
    pub const fn add(&mut self, payload: usize, wire: usize) {
        self.datagrams += 1;
        self.payload += payload;
        self.wire += wire;
    }

    /// The mean length of a payload, in bytes.
    pub fn mean_payload(self) -> f64 {
        mean(self.payload, self.datagrams)
    }

    /// The mean length of a datagram, in bytes.
    pub fn mean_wire(self) -> f64 {
        mean(self.wire, self.datagrams)
    }
}

/// A mean; of nothing, nothing.
#[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
pub fn mean(sum: usize, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}
