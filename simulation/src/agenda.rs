//! What is due when: datagrams under way, deadlines, steps of gateways. One heap for a world of any size; equal times
//! go in the order in which they were noted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use moteseal::device::Millis;

use crate::network::Datagram;

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A datagram arrives.
    Flight(usize),
    /// A device may have something to do, or wakes.
    Device(usize),
    /// A gateway may have something to do for a device.
    Gateway { site: usize, device: usize },
    /// Something that a gateway waits for goes on.
    Step { site: usize, run: u32, slot: usize },
    /// A gateway writes down which commands were acknowledged.
    Flush { site: usize, run: u32 },
    /// A gateway hears that a record has changed.
    Notice { site: usize, run: u32, device: usize },
    /// A gateway that is down starts.
    Start { site: usize },
    /// The application of a device has something to say.
    Application(usize),
}

/// The agenda of a world.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(Millis, u64, Due)>>,
    order: u64,
    flights: Vec<Option<Datagram>>,
    free: Vec<usize>,
}

impl Agenda {
    /// Notes something for a time.
    pub fn note(&mut self, at: Millis, due: Due) {
        self.order += 1;
        self.heap.push(Reverse((at, self.order, due)));
    }

    /// A datagram that arrives at a time.
    pub fn carry(&mut self, at: Millis, datagram: Datagram) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            self.flights.len() - 1
        });
        self.flights[slot] = Some(datagram);
        self.note(at, Due::Flight(slot));
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next thing that is due.
    pub fn take(&mut self) -> Option<(Millis, Due)> {
        self.heap.pop().map(|Reverse((at, _, due))| (at, due))
    }

    /// The datagram of a flight; nothing if it was lost.
    pub fn land(&mut self, slot: usize) -> Option<Datagram> {
        let datagram = self.flights[slot].take();
        self.free.push(slot);
        datagram
    }

    /// All that is under way is lost.
    pub fn lose_flights(&mut self) {
        self.flights.iter_mut().for_each(|flight| *flight = None);
    }
}
