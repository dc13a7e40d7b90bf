//! Power and flash of the devices: boots, cuts at every operation, counters and key slots that are erased or rolled
//! back, flash that wears out, clocks that stand still.

use moteseal::error::BootError;
use moteseal_sim::nor::Tear;

use crate::agenda::Due;
use crate::mote::Half;
use crate::world::World;

/// The words of a key slot, and what a cut in each is called.
const SLOT_WORDS: [&str; 16] = [
    "cut: key slot, word 1",
    "cut: key slot, word 2",
    "cut: key slot, word 3",
    "cut: key slot, word 4",
    "cut: key slot, word 5",
    "cut: key slot, word 6",
    "cut: key slot, word 7",
    "cut: key slot, word 8",
    "cut: key slot, word 9",
    "cut: key slot, word 10",
    "cut: key slot, word 11",
    "cut: key slot, word 12",
    "cut: key slot, word 13",
    "cut: key slot, word 14",
    "cut: key slot, word 15",
    "cut: key slot, word 16",
];

/// What a device was doing when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Boot,
    Floor,
    Welcome,
    Rotation,
}

/// Flash before a call.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    operations: u64,
    pub wear: (u64, u64),
}

impl World {
    pub fn flash_before(&self, device: usize) -> Before {
        let mote = &self.motes[device];
        Before { operations: mote.board.flash.borrow().operations(), wear: mote.wear() }
    }

    /// Power comes, and may go again at any of the next writes.
    pub fn boot(&mut self, device: usize) {
        self.trace.note(self.now, "boots", device, None, 0);
        self.motes[device].board.flash.borrow_mut().power_on();
        if self.network.hostile && self.random.chance(self.mood.cuts) {
            let after = self.random.pick(&[0, 0, 1, 1, 2, 3, 20]);
            self.plan_cut(device, after);
        }
        let before = self.flash_before(device);
        let mote = &mut self.motes[device];
        match Half::boot(mote.board.clone(), mote.config) {
            Ok(half) => {
                let (writes, erases) = (mote.wear().0 - before.wear.0, mote.wear().1 - before.wear.1);
                // At a turn of the pages that was cut short, what the erased one may have held is written first.
                let once = erases <= 1 && (writes == 1 || (writes, erases) == (2, 1));
                assert!(once || mote.is_worn, "P4: {writes} writes and {erases} erases in a boot");
                if !mote.has_rng() {
                    self.coverage.hit("device: without RNG");
                }
                mote.half = Some(half);
                self.schedule_device(device);
            }
            Err(error) if self.motes[device].has_power() => self.does_not_start(device, error),
            Err(_) => self.lost_power(device, Doing::Boot, before),
        }
    }

    fn does_not_start(&mut self, device: usize, error: BootError) {
        let mote = &mut self.motes[device];
        if matches!(error, BootError::CounterLost) {
            assert!(!mote.has_rng(), "M-27: {error}");
            mote.refuses_to_start = true;
            self.coverage.hit("device: refuses to start without RNG and counter");
        } else {
            assert!(mote.is_worn, "{error}");
            self.coverage.hit("device: worn flash keeps it from starting");
            // The boot after this one may find the counter that this one has written.
            mote.untrusted = false;
        }
        mote.wakes = self.now + 30_000;
        self.schedule_device(device);
    }

    pub fn power_off(&mut self, device: usize) {
        let wakes = self.now + self.random.pick(&[0, 100, 20_000]);
        let mote = &mut self.motes[device];
        mote.half = None;
        mote.open.clear();
        (mote.epoch, mote.is_opening, mote.has_two_keys) = (None, false, false);
        mote.untrusted = false;
        mote.wakes = wakes;
        self.schedule_device(device);
    }

    /// The power goes in the operation number `after` from now, in any of the ways that flash has.
    pub fn plan_cut(&mut self, device: usize, after: u64) {
        if self.motes[device].is_blind {
            return;
        }
        let tear = match self.random.below(4) {
            0 => Tear::Bits(self.random.pick(&[0, u64::MAX])),
            1 => Tear::Garbage(self.random.next()),
            _ => Tear::Random(self.random.next()),
        };
        self.coverage.hit(match tear {
            Tear::Bits(_) => "cut planned: before or after an operation",
            Tear::Random(_) => "cut planned: within an operation",
            Tear::Garbage(_) => "cut planned: leaves garbage",
        });
        self.motes[device].board.flash.borrow_mut().cut_power(after, tear);
    }

    /// The flash has lost power in the middle of a call: what it would have returned, nobody saw.
    pub fn lost_power(&mut self, device: usize, doing: Doing, before: Before) {
        let after = self.flash_before(device);
        let erases = after.wear.1 - before.wear.1;
        let operation = after.operations - before.operations - 1;
        let what = match operation.checked_sub(erases) {
            None if doing == Doing::Boot => "cut: boot, page erased",
            None if doing == Doing::Floor => "cut: floor, page erased",
            None if doing == Doing::Welcome => "cut: welcome, old key erased",
            None => "cut: rotation, key slot erased",
            Some(word) if doing == Doing::Rotation => {
                SLOT_WORDS[usize::try_from(word).unwrap().min(SLOT_WORDS.len() - 1)]
            }
            Some(0) if doing == Doing::Boot => "cut: boot, first word",
            Some(_) if doing == Doing::Boot => "cut: boot, second word",
            Some(0) => "cut: floor, first word",
            Some(_) => "cut: floor, second word",
        };
        self.coverage.hit(what);
        self.trace.note(self.now, what, device, None, operation);
        self.power_off(device);
    }

    pub fn cut_power(&mut self, device: usize) {
        if self.motes[device].half.is_some() {
            self.coverage.hit("device: power cut between two calls");
            self.trace.note(self.now, "power cut", device, None, 0);
            self.power_off(device);
        }
    }

    /// Erases the boot counter, or puts back what it was. That of a device without an RNG is only erased, and then it
    /// must not start (2.3, M-27).
    pub fn damage_counter(&mut self, device: usize) {
        match (self.random.below(3), self.motes[device].saved_counter.clone()) {
            (0, _) => self.motes[device].save_counter(),
            (1, Some(saved)) if self.motes[device].has_rng() => {
                self.coverage.hit("device: counter rolled back");
                self.trace.note(self.now, "counter rolled back", device, None, 0);
                self.power_off(device);
                self.motes[device].roll_counter_back(&saved);
            }
            _ => {
                self.coverage.hit("device: counter erased");
                self.trace.note(self.now, "counter erased", device, None, 0);
                self.power_off(device);
                let broken = self.random.chance(500);
                self.motes[device].lose_counter(broken);
                self.motes[device].untrusted = true;
            }
        }
    }

    /// Puts the key slots back to what they were before the last rotation, or back again.
    pub fn roll_slots(&mut self, device: usize) {
        let back = !self.motes[device].slots_rolled_back;
        if self.motes[device].roll_slots(back) {
            self.coverage.hit(if back {
                "device: key slots rolled back"
            } else {
                "device: key slots put back"
            });
            self.trace.note(self.now, "key slots rolled", device, None, back.into());
            self.power_off(device);
        }
    }

    pub fn wear_out(&mut self, device: usize) {
        self.coverage.hit("device: flash worn out");
        self.trace.note(self.now, "flash worn out", device, None, 0);
        self.motes[device].wear_out(&mut self.random);
    }

    /// A clock that stands still, as in a sleep too deep.
    pub fn stop_clock(&mut self, device: usize) {
        self.coverage.hit("device: clock stood still");
        let ms = self.random.pick(&[50, 3_000, 100_000]);
        self.motes[device].clock.stop(self.now, ms);
        self.schedule_device(device);
    }

    pub fn toggle_rng(&mut self, device: usize) {
        let fails = self.random.chance(300);
        self.motes[device].rng_fails(fails);
    }

    /// What the owner of a device does about it when the attacker is gone.
    pub fn repair(&mut self, device: usize) {
        let mote = &mut self.motes[device];
        mote.rng_fails(false);
        let was_worn = mote.is_worn;
        mote.replace_flash();
        if mote.slots_rolled_back {
            self.roll_slots(device);
        }
        if self.motes[device].half.is_none() {
            self.boot(device);
        }
        if self.motes[device].refuses_to_start {
            let mote = &mut self.motes[device];
            (mote.refuses_to_start, mote.untrusted) = (false, false);
            mote.repair_counter();
        } else if was_worn {
            self.power_off(device);
        }
        let mote = &mut self.motes[device];
        if mote.half.is_some() {
            mote.board.flash.borrow_mut().power_on();
        } else {
            self.boot(device);
        }
    }

    /// Has the agenda ask when something is due.
    pub fn schedule_device(&mut self, device: usize) {
        let mote = &mut self.motes[device];
        let Some(at) = mote.deadline() else { return };
        let at = at.max(self.now);
        if at < mote.asked {
            mote.asked = at;
            self.agenda.note(at, Due::Device(device));
        }
    }

    /// The agenda asks.
    pub fn device_is_due(&mut self, device: usize) {
        let mote = &mut self.motes[device];
        mote.asked = u64::MAX;
        match mote.deadline() {
            Some(at) if at > self.now => self.schedule_device(device),
            Some(_) if self.motes[device].half.is_none() => self.boot(device),
            Some(_) => self.poll_device(device),
            None => {}
        }
    }
}
