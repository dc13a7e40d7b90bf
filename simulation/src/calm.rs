//! The attacker stops. From there on everybody who is in service comes back within the promised round trips, everything
//! that was handed over gets its word, and every rotation ends (P5, P8). SPEC section 2.2.

use moteseal::device::{Confirm, Millis};
use moteseal::record::BOOT_LIMIT;

use crate::archive::Archive;
use crate::gateway::Gateway;
use crate::mote::Half;
use crate::world::World;

/// New Hellos in one calm, at the most: those of three round trips, those that a rotation makes in turn under two keys
/// until an answer is there, and those that carry a payload. A storm of Hellos makes thousands (SPEC 8).
const HELLOS: u32 = 40;

impl World {
    pub fn calm(&mut self) {
        self.agenda.lose_flights();
        self.network.hostile = false;
        (self.mood.crashes, self.mood.cuts, self.mood.deafness) = (0, 0, 0);
        self.disk.refuses = false;
        for site in 0..self.sites.len() {
            self.start_gateway(site);
        }
        // Writes that are under way are made, and what comes late is read at last.
        let waits = |gateway: &Gateway| !gateway.steps.is_empty() || !gateway.refused.is_empty();
        while self.sites.iter().filter_map(|site| site.gateway.as_ref()).any(waits) {
            self.pass(100);
        }
        for site in 0..self.sites.len() {
            (0..self.motes.len()).for_each(|device| self.refresh(site, device));
        }
        let started = self.now;
        for device in 0..self.motes.len() {
            self.repair(device);
            let mote = &mut self.motes[device];
            mote.abducted = None;
            (mote.round_trips, mote.is_back, mote.hellos) = (Some(0), false, 0);
            self.connect(device);
        }
        let patience = self.motes.iter().map(|mote| Millis::from(mote.config.timing.hello_cap_ms)).max();
        let deadline = started + 2 * patience.unwrap() + 500_000;
        let mut waiting: Vec<usize> = (0..self.motes.len()).collect();
        loop {
            waiting.retain(|device| self.unsettled(*device).is_some());
            if waiting.is_empty() {
                break;
            }
            let seconds = (self.now - started) / 1_000;
            if self.now >= deadline {
                self.trace.about = waiting.first().copied();
                panic!("P5: {} {seconds} s after the attacker stopped", self.unsettled(waiting[0]).unwrap());
            }
            if seconds % 20 < 2 {
                for device in &waiting {
                    self.hand_over(*device);
                }
            }
            self.pass(2_000);
        }
        self.check_one_more();
        self.check_bounds();
        self.coverage.hit("calm: recovered");
        for (device, mote) in self.motes.iter_mut().enumerate() {
            if mote.hellos > HELLOS {
                self.trace.about = Some(device);
                panic!("P5: a storm of {} Hellos of device {device}, without an attacker", mote.hellos);
            }
            mote.round_trips = None;
        }
    }

    /// In calm weather a payload is acknowledged at once (M-100).
    fn check_one_more(&mut self) {
        self.pass(1_000);
        for device in 0..self.motes.len() {
            if self.is_in_service(device) {
                self.hand_over_one(device, Confirm::Yes, &[]);
            }
        }
        self.pass(200);
        for device in 0..self.motes.len() {
            if self.is_in_service(device) && !self.motes[device].open.is_empty() {
                self.trace.about = Some(device);
                panic!("M-100: device {device} waits");
            }
        }
    }

    /// Nothing has grown with the number of datagrams.
    fn check_bounds(&mut self) {
        for gateway in self.sites.iter().filter_map(|site| site.gateway.as_ref()) {
            gateway.half.table().check();
            assert!(gateway.steps.is_empty(), "P6: writes under way in calm weather");
        }
        assert!(self.network.archive().len() <= Archive::bound());
    }

    /// Whether the promises hold for a device: it is active, its key is its own, and its boot counter is not used up.
    pub fn is_in_service(&self, device: usize) -> bool {
        let mut gateways = self.sites.iter().filter_map(|site| site.gateway.as_ref());
        let silenced = gateways.any(|gateway| gateway.silenced.contains_key(&device));
        let is_used_up = self.motes[device].highest_boot >= BOOT_LIMIT - 3;
        self.disk.is_in_service(device) && !silenced && !self.auditor.is_stolen(device) && !is_used_up
    }

    /// What a device still waits for.
    fn unsettled(&self, device: usize) -> Option<String> {
        if !self.is_in_service(device) {
            return None;
        }
        let mote = &self.motes[device];
        if !mote.is_back || mote.half.as_ref().is_none_or(|half| Half::session(half).is_none()) {
            return Some(format!("device {device} has no session"));
        }
        if !mote.open.is_empty() {
            return Some(format!("device {device} has no word for {:?}", mote.open));
        }
        if self.disk.journal.is_rotating(device) {
            return Some(format!("device {device} still rotates"));
        }
        let command = self.unfinished_command(device)?;
        Some(format!("device {device} has {command:?}"))
    }
}
