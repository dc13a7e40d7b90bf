//! One world: devices, a server, a disk, a network, a clock, and the attacker who owns all of them but the keys.

use moteseal::device::{Confirm, Millis};
use moteseal::record::Status;

use crate::auditor::Auditor;
use crate::coverage::Coverage;
use crate::gateway::Gateway;
use crate::mote::{Mote, address};
use crate::network::{Address, Datagram, Network, SERVER};
use crate::random::Random;
use crate::store::Disk;
use crate::thief;

pub struct World {
    pub now: Millis,
    pub random: Random,
    pub motes: Vec<Mote>,
    pub gateway: Option<Gateway>,
    pub disk: Disk,
    pub network: Network,
    pub auditor: Auditor,
    pub coverage: Coverage,
    pub words: std::collections::BTreeMap<u64, moteseal::server::CommandState>,
    /// How many of a thousand steps of the server are its last.
    pub crash_per_mille: u64,
    /// Of the faults that end sessions, so many in a thousand are left out, so that some sessions live long.
    mildness: u64,
    pub next_payload: u32,
    pub next_command: u64,
}

/// What is due next.
#[derive(Clone, Copy, Debug)]
enum Due {
    Network,
    Device(usize),
    Server(usize),
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network::new(Random::new(random.next()));
        let crowd = if seed % 8 == 5 { 32 } else { 0 };
        let mut world = Self {
            now: 1_000,
            motes: Vec::new(),
            gateway: None,
            disk: Disk::default(),
            network,
            auditor: Auditor::default(),
            coverage: Coverage::default(),
            words: std::collections::BTreeMap::new(),
            crash_per_mille: 0,
            mildness: 0,
            next_payload: 0,
            next_command: 0,
            random,
        };
        for index in 0..5 + crowd {
            let (mote, key) = Mote::provision(index, &mut world.random);
            world.disk.provision(mote.id, key.clone());
            world.auditor.provision(&mote, key);
            world.motes.push(mote);
        }
        world.start_server();
        if crowd > 0 {
            world.seat_the_crowd();
        }
        world
    }

    /// Two sessions for each of 32 devices take the 64 connection ids of one byte (M-12).
    fn seat_the_crowd(&mut self) {
        self.network.hostile = false;
        for device in 5..self.motes.len() {
            for _ in 0..2 {
                self.boot(device);
                self.connect(device);
                let until = self.now + 1_000;
                while self.now < until {
                    self.advance();
                    self.complete_all();
                }
                self.power_off(device);
                self.motes[device].wakes = Millis::MAX;
            }
        }
        self.motes.truncate(5);
        self.network.hostile = true;
    }

    /// A device that sends so many payloads in calm weather, and gets as many if it is answered.
    pub fn talk(&mut self, device: usize, payloads: u32, is_answered: bool) {
        self.calm();
        for _ in 0..payloads {
            self.hand_over_one(device, Confirm::No, &[]);
            if is_answered {
                self.send_plain(device);
            }
            for _ in 0..2 {
                self.now += 40;
                while self.network.next().is_some_and(|at| at <= self.now) {
                    self.carry();
                }
            }
        }
    }

    /// So many steps of the attacker's world.
    pub fn storm(&mut self, steps: u64) {
        self.network.hostile = true;
        self.mildness = self.random.pick(&[0, 900, 1_000]);
        self.crash_per_mille = (1_000 - self.mildness) / 100;
        self.network.rate = self.random.pick(&[10, 100, 300, 600]);
        for _ in 0..steps {
            self.step();
        }
    }

    fn step(&mut self) {
        let device = self.random.place(self.motes.len());
        match self.random.below(1_000) {
            0..600 => self.advance(),
            600..602 => self.burst(device),
            602..720 => self.hand_over(device),
            720..740 => self.withdraw(device),
            740..745 => self.close(device),
            745..755 => self.connect(device),
            755..785 => self.order(device),
            785..800 => self.send_plain(device),
            800..870 => self.attack(),
            870..965 => self.complete_one(),
            965.. if self.random.chance(self.mildness) => self.complete_all(),
            965..970 => self.cut_power(device),
            970..974 => self.crash(),
            974..977 => self.move_address(device),
            977..981 => self.damage_counter(device),
            981..985 => self.keep_silent(),
            985..988 => self.disk.back_up(),
            988..990 => self.restore(),
            990..994 => self.administrate(device),
            994..998 => self.begin_rotation(device),
            _ => self.toggle_rng(device),
        }
    }

    /// To the next thing that is due, whatever it is.
    pub fn advance(&mut self) {
        let network = self.network.next().map(|at| (at, Due::Network));
        let devices = self.motes.iter().filter_map(|mote| {
            let at = mote.half.as_ref().map_or(Some(mote.wakes), moteseal::device::Device::deadline)?;
            Some((at, Due::Device(mote.index)))
        });
        let gateway = self.gateway.iter().flat_map(|gateway| {
            (0..self.motes.len()).filter_map(|index| Some((gateway.deadline(index)?, Due::Server(index))))
        });
        let all = network.into_iter().chain(devices).chain(gateway).filter(|(at, _)| *at < Millis::MAX);
        let Some((at, due)) = all.min_by_key(|(at, _)| *at) else {
            self.now += 1_000;
            return;
        };
        self.now = self.now.max(at);
        match due {
            Due::Network => self.carry(),
            Due::Device(device) if self.motes[device].half.is_none() => self.boot(device),
            Due::Device(device) => self.poll_device(device),
            Due::Server(index) => self.poll_server(index),
        }
    }

    fn carry(&mut self) {
        let Some(Datagram { from, to, bytes }) = self.network.take(self.now) else { return };
        if to == SERVER {
            self.server_receives(from, bytes);
        } else if let Some(device) = self.motes.iter().position(|mote| mote.address == to) {
            self.device_receives(device, bytes);
        }
    }

    fn addresses(&self) -> Vec<Address> {
        self.motes.iter().map(|mote| mote.address).collect()
    }

    fn attack(&mut self) {
        let addresses = self.addresses();
        let device = self.random.place(self.motes.len());
        if self.random.chance(30)
            && let Some((generation, key)) = self.auditor.erased_key(device)
        {
            self.coverage.hit("attack: hello under an erased key");
            let bytes = thief::hello(self.motes[device].id, generation, &key, &mut self.random);
            self.network.inject(self.now, Datagram { from: self.motes[device].address, to: SERVER, bytes });
            return;
        }
        for _ in 0..=self.random.below(4) {
            self.network.attack(self.now, &addresses, &mut self.coverage);
        }
    }

    fn move_address(&mut self, device: usize) {
        self.coverage.hit("device: address moved");
        let place = u32::try_from(self.random.below(16)).unwrap();
        self.motes[device].address = address(device, place);
    }

    /// Clocks go on, and nobody acts.
    fn keep_silent(&mut self) {
        self.coverage.hit("device: long silence");
        self.now += self.random.pick(&[1_000, 10_000, 100_000, 1_000_000, 100_000_000]);
    }

    fn toggle_rng(&mut self, device: usize) {
        let fails = self.random.chance(300);
        self.motes[device].rng_fails(fails);
    }

    fn is_in_service(&self, device: usize) -> bool {
        let silenced = self.gateway.as_ref().is_some_and(|gateway| gateway.is_silenced(device));
        self.disk.status(self.motes[device].id) == Status::Active && !silenced
    }

    /// The attacker stops. From here on everybody who is in service comes back, everything that was handed over gets
    /// its word, and every rotation ends (P5, P8).
    pub fn calm(&mut self) {
        self.network.calm_down();
        self.crash_per_mille = 0;
        if self.gateway.is_none() {
            self.start_server();
        }
        self.complete_all();
        let started = self.now;
        for device in 0..self.motes.len() {
            self.motes[device].rng_fails(false);
            self.motes[device].round_trips = Some(0);
            self.motes[device].is_back = false;
            if self.motes[device].half.is_some() {
                self.motes[device].board.flash.borrow_mut().power_on();
            } else {
                self.boot(device);
            }
            self.connect(device);
        }
        let patience = self.motes.iter().map(|mote| Millis::from(mote.config.timing.hello_cap_ms)).max();
        let deadline = started + 2 * patience.unwrap() + 500_000;
        let mut speaks = self.now;
        while let Some(unsettled) = self.unsettled() {
            assert!(
                self.now < deadline,
                "P5: {unsettled} {} s after the attacker stopped",
                (self.now - started) / 1_000
            );
            if self.now >= speaks {
                speaks = self.now + 20_000;
                (0..self.motes.len()).for_each(|device| self.hand_over(device));
            }
            self.advance();
            self.complete_all();
            self.now = self.now.max(self.network.next().unwrap_or(self.now + 50).min(self.now + 50));
        }
        self.check_one_more();
        self.coverage.hit("calm: recovered");
        self.motes.iter_mut().for_each(|mote| mote.round_trips = None);
    }

    /// In calm weather a payload is acknowledged at once (M-100).
    fn check_one_more(&mut self) {
        self.pass(1_000);
        for device in 0..self.motes.len() {
            if self.is_in_service(device) {
                self.hand_over_one(device, Confirm::Yes, &[]);
                self.pass(100);
                assert!(self.motes[device].open.is_empty(), "M-100: {} waits", self.motes[device].id);
            }
        }
    }

    /// So much time in calm weather.
    fn pass(&mut self, ms: Millis) {
        let until = self.now + ms;
        while self.network.next().is_some_and(|at| at <= until) {
            self.now = self.now.max(self.network.next().unwrap());
            self.carry();
            self.complete_all();
        }
        self.now = until;
    }

    fn unsettled(&self) -> Option<String> {
        let in_service = self.motes.iter().filter(|mote| self.is_in_service(mote.index));
        for mote in in_service {
            let half = mote.half.as_ref();
            if !mote.is_back || half.is_none_or(|half| half.session().is_none()) {
                return Some(format!("{} has no session", mote.id));
            }
            if !mote.open.is_empty() {
                return Some(format!("{} has no word for {:?}", mote.id, mote.open));
            }
            if self.disk.is_rotating(mote.id) {
                return Some(format!("{} still rotates", mote.id));
            }
            if let Some(command) = self.unfinished_command(mote.id) {
                return Some(format!("{} has {command:?}", mote.id));
            }
        }
        None
    }
}
