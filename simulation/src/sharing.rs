//! What gateways that share records learn of each other: by notices that come late, by reading, by conflicts. SPEC
//! section 8.

use moteseal::number::Epoch;
use moteseal::record::{Record, Status};
use moteseal::server::Table as _;

use crate::agenda::Due;
use crate::journal::Note;
use crate::steps::{Order, Pending};
use crate::table::place;
use crate::world::World;

impl World {
    /// A gateway reads what the store holds now. Not while the store has made a change of its own for which the proof is
    /// still on its way: that comes first.
    pub fn refresh(&mut self, site: usize, device: usize) {
        let run = self.sites[site].runs;
        let Some(gateway) = &mut self.sites[site].gateway else { return };
        let Some(record) = self.disk.known(device) else { return };
        if gateway.steps.has_proof(device) {
            return self.agenda.note(self.now + 1, Due::Notice { site, run, device });
        }
        let status = record.status();
        let (generation, before) = (record.generation().number(), gateway.half.table().peer(place(device)));
        let is_news = before.is_none_or(|peer| *peer.record() != record);
        let may_end = before.is_none_or(|peer| {
            let confirmed = |record: &Record| record.confirmed().map(|entry| entry.epoch);
            let is_void = status == Status::Revoked || peer.record().generation() != record.generation();
            is_void || gateway.session_of(device) < confirmed(&record).map(Epoch::value)
        });
        let unknown = gateway.half.refresh(place(device), record).expect("M-11: the ranges do not overlap");
        let has_ended = gateway.forget_ended(device);
        assert!(may_end || !has_ended, "M-129: a session ends for what another gateway has merely offered");
        gateway.note_status(device, status);
        self.note_generation(site, device, generation);
        if is_news {
            self.trace.note(self.now, "reads the record", device, Some(site), 0);
            self.coverage.hit("sharing: a record of another gateway read");
        }
        if unknown.is_some() {
            self.coverage.hit("sharing: a session ended by another gateway's");
        }
        self.end(device, unknown);
        self.confirm(site, device);
        self.schedule_gateway(site, device);
    }

    /// The others hear of a change, some of them late.
    pub fn tell_others(&mut self, site: usize, device: usize) {
        for other in (0..self.sites.len()).filter(|other| *other != site) {
            let (run, is_up) = (self.sites[other].runs, self.sites[other].gateway.is_some());
            if !is_up {
                continue;
            }
            let mut later = 1 + self.random.below(self.mood.latency);
            if self.random.chance(self.mood.deafness) {
                self.coverage.hit("sharing: a notice comes late");
                later += self.random.below(60_000);
            }
            self.agenda.note(self.now + later, Due::Notice { site: other, run, device });
        }
    }

    /// A gateway hears of a change.
    pub fn notice(&mut self, site: usize, run: u32, device: usize) {
        if self.sites[site].runs != run {
            return;
        }
        let refused = self.gateway(site).and_then(|gateway| gateway.refused.remove(&device));
        match refused {
            Some(status) => self.set_status(site, device, status),
            None => self.refresh(site, device),
        }
    }

    /// A gateway may read the store before it looks at a Hello.
    pub fn read_before_hello(&mut self, site: usize, device: usize) {
        if self.mood.reads {
            self.refresh(site, device);
        }
    }

    /// A session was confirmed, perhaps beside one of another gateway: that is written down (M-93).
    pub fn confirm(&mut self, site: usize, device: usize) {
        let Some(gateway) = self.gateway(site) else { return };
        if !gateway.half.confirmation_to_write(place(device)) {
            return;
        }
        let (admin, change) = gateway.half.write_confirmation(place(device)).expect("it is due");
        let number = gateway.orders;
        let order = Order { device, number, note: Note::None };
        self.push(site, device, Pending::Admin(admin, change, order));
    }
}
