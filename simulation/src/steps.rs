//! What a gateway has under way: writes that complete in any order, and what follows once they are durable.

use moteseal::record::Record;
use moteseal::server::{Admin, Change, Durable, Held, Peer, RecordChange, Sending, SentMark, Table as _};

use crate::agenda::Due;
use crate::auditor::{Kind, Origin};
use crate::digest::Map;
use crate::journal::Note;
use crate::network::Address;
use crate::store::Stopped;
use crate::table::place;
use crate::world::World;

/// Something that waits for the disk, or for what follows once it is there.
pub enum Pending {
    Hello(Held<Vec<u8>, Address>, Change<RecordChange>, Origin, usize),
    DurableHello(Held<Vec<u8>, Address>, Durable<RecordChange>, Origin, usize),
    Admin(Admin, Change<RecordChange>, Order),
    DurableAdmin(Admin, Durable<RecordChange>, Order),
    Command(Sending, Change<SentMark>),
    DurableCommand(Sending, Durable<SentMark>),
}

/// An administrative order.
#[derive(Clone, Debug)]
pub struct Order {
    pub device: usize,
    pub number: u64,
    pub note: Note,
}

/// All that is under way.
#[derive(Default)]
pub struct Steps {
    slots: Vec<Option<Pending>>,
    free: Vec<usize>,
    /// When the latest proof of a device is handed over: proofs of one device keep the order of their writes.
    latest: Map<usize, u64>,
    /// How many proofs of a device wait to be handed over.
    proofs: Map<usize, u32>,
}

impl Steps {
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Whether the store has made a change for this device that the half has not been told of yet.
    pub fn has_proof(&self, device: usize) -> bool {
        self.proofs.get(&device).is_some_and(|proofs| *proofs > 0)
    }
}

impl World {
    /// The store held what a change was made from. The half may have read something else in between, where the record
    /// went and came back: a quarantine and a readmission.
    pub fn note_compared(&mut self, site: usize, device: usize, expected: &Record) {
        let Some(gateway) = &mut self.sites[site].gateway else { return };
        let known = gateway.half.table().peer(place(device)).map(Peer::record);
        if !gateway.steps.has_proof(device) && known != Some(expected) {
            let unknown = gateway.half.refresh(place(device), expected.clone()).expect("M-11");
            gateway.forget_ended(device);
            gateway.note_status(device, expected.status());
            self.end(device, unknown);
        }
    }

    /// Something is under way now, and goes on after a while.
    pub fn push(&mut self, site: usize, device: usize, pending: Pending) {
        let latency = if self.network.hostile { self.random.below(self.mood.latency) } else { 1 };
        let run = self.sites[site].runs;
        let Some(gateway) = &mut self.sites[site].gateway else { return };
        let mut at = self.now + latency;
        if matches!(pending, Pending::DurableHello(..) | Pending::DurableAdmin(..)) {
            let latest = gateway.steps.latest.entry(device).or_default();
            (at, *latest) = (at.max(*latest), at.max(*latest));
            *gateway.steps.proofs.entry(device).or_default() += 1;
        }
        let slot = gateway.steps.free.pop().unwrap_or_else(|| {
            gateway.steps.slots.push(None);
            gateway.steps.slots.len() - 1
        });
        gateway.steps.slots[slot] = Some(pending);
        self.agenda.note(at, Due::Step { site, run, slot });
    }

    /// One of the things under way goes on.
    pub fn step(&mut self, site: usize, run: u32, slot: usize) {
        if self.sites[site].runs != run {
            return;
        }
        let Some(gateway) = &mut self.sites[site].gateway else { return };
        let pending = gateway.steps.slots[slot].take().expect("a step that is under way");
        gateway.steps.free.push(slot);
        match pending {
            Pending::Hello(held, change, origin, len) => {
                let (device, epoch) = (origin.device, held.epoch().value());
                let stopped = self.write(device, change.value(), &Note::None);
                if matches!(stopped, Ok(()) | Err(Stopped::Crash { written: true })) {
                    self.auditor.made_durable(device, epoch);
                    self.tell_others(site, device);
                }
                match stopped {
                    Ok(()) => {
                        self.note_compared(site, device, &change.value().expected);
                        let durable = Pending::DurableHello(held, change.committed(), origin, len);
                        self.push(site, device, durable);
                    }
                    Err(stopped) => self.stopped(site, device, stopped),
                }
            }
            Pending::DurableHello(held, durable, origin, len) => {
                self.handed_over(site, origin.device);
                self.commit(site, held, durable, origin, len);
            }
            Pending::Admin(admin, change, order) => self.write_order(site, admin, change, order),
            Pending::DurableAdmin(admin, durable, order) => {
                self.handed_over(site, order.device);
                self.apply(site, admin, durable, &order);
            }
            Pending::Command(sending, change) => self.mark_sent(site, sending, change),
            Pending::DurableCommand(sending, durable) => self.seal(site, sending, &durable),
        }
    }

    fn handed_over(&mut self, site: usize, device: usize) {
        let steps = &mut self.gateway(site).unwrap().steps;
        *steps.proofs.get_mut(&device).unwrap() -= 1;
    }

    /// The store is asked to make a change.
    pub fn write(&mut self, device: usize, change: &RecordChange, note: &Note) -> Result<(), Stopped> {
        let crashes = self.mood.crashes;
        self.disk.write(device, change, note, &mut self.random, crashes, &mut self.coverage)
    }

    /// The store has not made a change, or the gateway has not lived to see it.
    pub fn stopped(&mut self, site: usize, device: usize, stopped: Stopped) {
        match stopped {
            Stopped::Crash { .. } => self.take_down(site),
            Stopped::Conflict => self.refresh(site, device),
            Stopped::Refused => {}
        }
    }

    /// A fresh Hello is durable: payload, then answer.
    fn commit(
        &mut self,
        site: usize,
        held: Held<Vec<u8>, Address>,
        durable: Durable<RecordChange>,
        origin: Origin,
        len: usize,
    ) {
        let (device, epoch) = (origin.device, held.epoch().value());
        let gateway = self.gateway(site).unwrap();
        gateway.committed.insert((device, epoch));
        let committed = gateway.half.commit(held, durable).expect("the store compares");
        gateway.forget_ended(device);
        let silenced = gateway.silenced.contains_key(&device);
        if committed.jump {
            self.coverage.hit("gateway: jump reported");
        }
        if self.crashes(site, "gateway: crash between commit and delivery") {
            return;
        }
        if let Some(payload) = &committed.payload {
            assert!(!silenced, "P7: delivered");
            let id = *committed.device_id.as_bytes();
            self.auditor.delivered_up(id, epoch, None, payload.as_bytes());
        }
        if self.crashes(site, "gateway: crash between delivery and answer") {
            return;
        }
        self.end(device, committed.unknown);
        if let Some((welcome, to)) = committed.welcome {
            let Kind::Hello { epoch, salt, .. } = origin.kind else { unreachable!("a Hello was held") };
            self.gateway(site).unwrap().offered.insert(device, (epoch, salt));
            assert!(welcome.as_bytes().len() <= len, "M-19");
            self.gateway_sends(site, device, Some(origin), to, welcome.as_bytes().to_vec());
        }
        self.schedule_gateway(site, device);
    }
}
