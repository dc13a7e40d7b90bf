//! Administration of devices: revoked, quarantined, readmitted; rotations begun and finished. SPEC sections 7.7 and 10.2.

use moteseal::record::Status;
use moteseal::server::{Admin, Change, Durable, RecordChange};

use crate::agenda::Due;
use crate::journal::Note;
use crate::steps::{Order, Pending};
use crate::store::Stopped;
use crate::table::place;
use crate::world::World;

impl World {
    /// Somebody at a gateway changes the status of a device. One in eight may be revoked for good: somebody must be
    /// left.
    pub fn administrate(&mut self, site: usize, device: usize) {
        let status = match self.random.below(20) {
            0 if device % 8 == 4 => Status::Revoked,
            0..8 => Status::Quarantined,
            _ => Status::Active,
        };
        self.set_status(site, device, status);
    }

    pub fn set_status(&mut self, site: usize, device: usize, status: Status) {
        self.refresh(site, device);
        let id = self.id_of(device);
        let Some(gateway) = self.gateway(site) else { return };
        let Ok((admin, change)) = gateway.half.set_status(id, status) else { return };
        gateway.orders += 1;
        let order = Order { device, number: gateway.orders, note: Note::Status(status) };
        if status != Status::Active {
            gateway.silenced.insert(device, order.number);
        }
        self.push(site, device, Pending::Admin(admin, change, order));
    }

    pub fn begin_rotation(&mut self, site: usize, device: usize) {
        self.refresh(site, device);
        let (id, key) = (self.id_of(device), self.motes[device].rotation_key.clone());
        let Some(gateway) = self.gateway(site) else { return };
        let Ok((admin, change)) = gateway.half.begin_rotation(id, &key) else { return };
        gateway.orders += 1;
        let order = Order { device, number: gateway.orders, note: Note::Begun };
        self.push(site, device, Pending::Admin(admin, change, order));
    }

    pub fn finish_rotation(&mut self, site: usize, device: usize) {
        let Some(gateway) = self.gateway(site) else { return };
        if gateway.half.rotation_to_finish(place(device)).is_none() {
            return;
        }
        let Ok((admin, change)) = gateway.half.finish_rotation(place(device)) else { return };
        gateway.orders += 1;
        let order = Order { device, number: gateway.orders, note: Note::Finished };
        self.push(site, device, Pending::Admin(admin, change, order));
    }

    pub fn write_order(&mut self, site: usize, admin: Admin, change: Change<RecordChange>, order: Order) {
        let stopped = self.write(order.device, change.value(), &order.note);
        if matches!(stopped, Ok(()) | Err(Stopped::Crash { written: true })) {
            let record = &change.value().record;
            self.learn_key(order.device, record);
            if let (Note::None, Some(entry)) = (&order.note, record.confirmed()) {
                self.auditor.made_confirmed(order.device, entry.epoch.value());
            }
            self.tell_others(site, order.device);
        }
        match stopped {
            Ok(()) => {
                let device = order.device;
                self.note_compared(site, device, &change.value().expected);
                self.push(site, device, Pending::DurableAdmin(admin, change.committed(), order));
            }
            Err(stopped) => {
                self.stopped(site, order.device, stopped);
                self.order_again(site, &order, stopped);
            }
        }
    }

    /// What the store has not made is ordered again; a Data of the device brings a *finished* back, and a notice a
    /// confirmation.
    fn order_again(&mut self, site: usize, order: &Order, stopped: Stopped) {
        let (device, run) = (order.device, self.sites[site].runs);
        match (stopped, &order.note) {
            (Stopped::Crash { .. }, _) | (_, Note::Begun | Note::Finished) => {}
            (Stopped::Conflict, Note::Status(status)) => self.set_status(site, device, *status),
            (Stopped::Refused, Note::Status(status)) => {
                if let Some(gateway) = self.gateway(site) {
                    gateway.refused.insert(device, *status);
                }
                self.agenda.note(self.now + 1_000, Due::Notice { site, run, device });
            }
            (_, Note::None) => self.agenda.note(self.now + 1_000, Due::Notice { site, run, device }),
        }
    }

    pub fn apply(&mut self, site: usize, admin: Admin, durable: Durable<RecordChange>, order: &Order) {
        let generation = durable.value().record.generation();
        let gateway = self.gateway(site).unwrap();
        let unknown = gateway.half.apply(admin, durable).expect("the store compares");
        gateway.forget_ended(order.device);
        if let Some(silencing) = gateway.silenced.get_mut(&order.device).filter(|of| **of == order.number) {
            // From here on the record says it, and whoever changes the record takes it back.
            *silencing = 0;
        }
        match order.note {
            Note::Status(Status::Active) => {
                if gateway.silenced.get(&order.device).is_some_and(|silencing| *silencing < order.number) {
                    gateway.silenced.remove(&order.device);
                }
                self.coverage.hit("admin: readmitted");
            }
            Note::Status(Status::Revoked) => self.coverage.hit("admin: revoked"),
            Note::Status(_) => self.coverage.hit("admin: quarantined"),
            Note::Begun => self.coverage.hit("admin: rotation begun"),
            Note::Finished => {
                self.coverage.hit("admin: rotation finished");
                self.note_generation(site, order.device, generation.number());
            }
            Note::None => self.coverage.hit("gateway: confirmation written"),
        }
        self.end(order.device, unknown);
        self.poll_gateway(site, order.device);
    }
}
