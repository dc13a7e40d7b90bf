//! What the attacker does besides the network: to the power, the flash and the clocks of devices, to gateways and their
//! disk. Each datagram that arrives may bring a disturbance, so that disturbances keep pace with the datagrams.

use crate::auditor;
use crate::network::Datagram;
use crate::world::{Mood, World};
use crate::{Kind, network};

impl World {
    /// So many datagrams of the attacker's world.
    pub fn storm(&mut self, datagrams: u64) {
        self.network.hostile = true;
        let mildness = self.random.pick(&[0, 500, 900, 1_000]);
        let size = u64::try_from(self.motes.len()).unwrap();
        self.mood = Mood {
            crashes: (1_000 - mildness) * self.random.pick(&[1, 10]) / size.clamp(1, 1_000),
            cuts: self.random.pick(&[0, 200, 500]),
            latency: self.random.pick(&[2, 50, 3_000]),
            mildness,
            deafness: self.random.pick(&[0, 0, 500]),
            reads: self.random.chance(500),
        };
        self.network.rate = self.random.pick(&[10, 100, 300, 600]);
        self.network.attacks = self.random.pick(&[20, 200, 500]);
        let until = self.network.carried + datagrams;
        // Where nobody may speak any more, or nothing arrives, the storm passes too.
        for _ in 0..20 * datagrams {
            if self.network.carried >= until {
                break;
            }
            self.advance();
        }
    }

    /// A datagram has arrived. What follows strikes one device or one gateway, or all: the rarer, the more it strikes.
    pub fn disturb(&mut self) {
        let device = self.random.place(self.motes.len());
        let dice = self.random.below(1_000_000);
        match dice {
            0..20_000 => self.order(device),
            20_000..30_000 => self.send_plain(device),
            30_000..40_000 => self.withdraw(device),
            40_000..41_000 => self.close(device),
            41_000..46_000 => self.connect(device),
            46_000..46_500 => self.burst(device),
            _ if self.random.chance(self.mood.mildness) => {}
            46_500..47_000 => self.abduct(device),
            47_000..47_500 => self.pester(device),
            47_500..56_000 => self.cut_power(device),
            56_000..58_000 => self.move_address(device),
            58_000..61_000 => self.damage_counter(device),
            61_000..61_500 => self.roll_slots(device),
            61_500..62_500 => self.wear_out(device),
            62_500..63_500 => self.replace_flash(device),
            63_500..65_000 => self.stop_clock(device),
            65_000..69_000 => self.toggle_rng(device),
            69_000..72_000 => self.administrate_somewhere(device),
            72_000..76_000 => self.rotate_somewhere(device),
            76_000..79_000 => self.travel(device),
            79_000..80_000 => self.replay_erased_key(device),
            80_000..81_000 => self.thieve(),
            81_000.. if dice - 81_000 < self.per_fleet(20_000) => self.strike_gateway(),
            _ => {}
        }
    }

    /// What strikes all devices, as often in the life of each as in a small world.
    fn per_fleet(&self, per_million: u64) -> u64 {
        (per_million / u64::try_from(self.motes.len()).unwrap()).max(3)
    }

    fn strike_gateway(&mut self) {
        let site = self.random.place(self.sites.len());
        match self.random.below(100) {
            0..40 => self.crash(site),
            40..48 => self.disk.back_up(&mut self.random),
            48..54 => self.restore(),
            54..64 => self.disk.refuses = !self.disk.refuses,
            64..70 => self.keep_silent(),
            70..80 => {
                self.coverage.hit("gateway: clock stood still");
                let ms = self.random.pick(&[500, 5_000]);
                self.sites[site].clock.stop(self.now, ms);
            }
            _ => self.disk.refuses = false,
        }
    }

    /// All gateways go down, and the disk is replaced by a backup or lost (M-84).
    fn restore(&mut self) {
        for site in 0..self.sites.len() {
            self.take_down(site);
        }
        self.trace.note(self.now, "restore", 0, None, self.disk.journal.mark.into());
        let before = self.disk.journal.mark;
        if self.random.chance(200) {
            self.disk.lose(&mut self.coverage);
        } else {
            self.disk.restore(&mut self.random, &mut self.coverage);
        }
        let mark = self.disk.journal.mark;
        for device in (0..self.motes.len()).filter(|device| mark > before && !self.disk.is_revoked(*device)) {
            let boot = self.auditor.newest_boot(device);
            assert!(boot <= mark, "M-80, M-127: device {device} has come to {boot}, and the mark to {mark}");
        }
        // What the store tells of commands from now on is what the backup knew.
        self.words.clear();
    }

    /// Many payloads in a row; of the second half the attacker takes every one, so that one byte of the next number says
    /// too little (M-14).
    fn burst(&mut self, device: usize) {
        self.coverage.hit("device: burst");
        let (rate, attacks) = (self.network.rate, self.network.attacks);
        self.network.attacks = 0;
        for rate in [rate, 1_000] {
            self.network.rate = rate;
            for _ in 0..140 {
                self.hand_over_one(device, moteseal::device::Confirm::No, &[]);
                self.send_plain(device);
            }
        }
        (self.network.rate, self.network.attacks) = (rate, attacks);
        self.hand_over_one(device, moteseal::device::Confirm::No, &[]);
    }

    /// The attacker repeats the latest Data of a device or for it, so often and so slowly that it would be answered for ever
    /// (M-101).
    fn pester(&mut self, device: usize) {
        let is_data = |datagram: &Datagram| {
            let origin = datagram.origin.filter(|origin| origin.device == device);
            matches!(
                origin.map(|origin| origin.kind),
                Some(auditor::Kind::Up { .. } | auditor::Kind::Down { .. })
            ) && datagram.bytes[0] & 4 != 0
        };
        let Some(datagram) = self.network.archive().latest(is_data).cloned() else { return };
        self.coverage.hit("attack: one Data repeated for long");
        let pace = self.random.pick(&[100, 1_100]);
        for copy in 1..=14 {
            self.agenda.carry(self.now + copy * pace, datagram.clone());
        }
    }

    fn move_address(&mut self, device: usize) {
        self.coverage.hit("device: address moved");
        let place = u32::try_from(self.random.below(u64::from(network::PLACES))).unwrap();
        self.motes[device].address = network::device(device, place);
    }

    /// A device comes into the range of other gateways: of one, of some, of all.
    pub fn travel(&mut self, device: usize) {
        let all: u32 = (1 << self.sites.len()) - 1;
        let one = 1 << self.random.place(self.sites.len());
        let some = u32::try_from(self.random.below(u64::from(all))).unwrap() | one;
        self.motes[device].reach = self.random.pick(&[one, one, some, all]);
        if self.motes[device].reach.count_ones() > 1 {
            self.coverage.hit("device: several gateways in range");
        }
    }

    fn replace_flash(&mut self, device: usize) {
        if self.motes[device].is_worn {
            self.coverage.hit("device: flash replaced");
            self.motes[device].replace_flash();
            self.power_off(device);
        }
    }

    fn administrate_somewhere(&mut self, device: usize) {
        let site = self.random.place(self.sites.len());
        self.administrate(site, device);
    }

    fn rotate_somewhere(&mut self, device: usize) {
        let site = self.random.place(self.sites.len());
        self.begin_rotation(site, device);
    }

    /// Clocks go on, and nobody acts.
    fn keep_silent(&mut self) {
        self.coverage.hit("device: long silence");
        self.now += self.random.pick(&[1_000, 10_000, 100_000, 1_000_000, 100_000_000]);
    }

    /// Somebody takes a device apart. In a world on the edge he uses its epochs up (2.3).
    pub fn steal(&mut self) {
        let victim = self.random.place(self.motes.len());
        let (generation, key) = self.auditor.steal(victim);
        self.stolen = Some((victim, generation, key));
        if self.kind == Kind::Edge {
            self.thief_reach = 0xFEFF_FFFE << 16;
        }
    }
}
