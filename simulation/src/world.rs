//! One world: devices, gateways, a disk, a network, a clock, and the attacker who owns all of them but the keys.

use moteseal::device::{Confirm, Millis};
use moteseal::server::CommandState;

use crate::agenda::{Agenda, Due};
use crate::auditor::Auditor;
use crate::auditor::crypto::Key;
use crate::bystanders::Bystanders;
use crate::coverage::Coverage;
use crate::digest::Map;
use crate::gateway::Site;
use crate::mote::Mote;
use crate::network::{self, Network};
use crate::random::Random;
use crate::store::Disk;
use crate::trace::Trace;
use crate::{Kind, Spec};

/// What the attacker feels like for a while.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// How many of a million steps of a gateway are its last.
    pub crashes: u64,
    /// How many of a thousand boots, and half as many other uses of the flash, lose power.
    pub cuts: u64,
    /// How many milliseconds a write takes at the most.
    pub latency: u64,
    /// How many of a thousand disturbances are left out, so that some sessions live long.
    pub mildness: u64,
    /// How many of a thousand notices between gateways come late.
    pub deafness: u64,
    /// Whether a gateway reads the store before it looks at a Hello.
    pub reads: bool,
}

/// A world.
pub struct World {
    pub kind: Kind,
    pub now: Millis,
    pub random: Random,
    pub motes: Vec<Mote>,
    pub sites: Vec<Site>,
    pub disk: Disk,
    pub network: Network,
    pub bystanders: Bystanders,
    pub agenda: Agenda,
    pub auditor: Auditor,
    pub coverage: Coverage,
    pub trace: Trace,
    /// What the applications were told of commands, since the last restore.
    pub words: Map<u64, CommandState>,
    pub mood: Mood,
    /// A device that was taken apart, and its key.
    pub stolen: Option<(usize, u8, Key)>,
    /// How many epochs the thief jumps ahead at the most.
    pub thief_reach: u64,
    /// Each gateway owns one connection id of one byte and 256 of two: they are used up (M-12).
    pub has_few_cids: bool,
    pub next_payload: u32,
    pub next_command: u64,
}

impl World {
    pub fn new(spec: &Spec) -> Self {
        let mut random = Random::new(spec.seed);
        let gateways = spec.gateways;
        let network = Network::new(Random::new(random.next()), gateways);
        let mood = Mood { crashes: 0, cuts: 0, latency: 50, mildness: 0, deafness: 0, reads: false };
        let mut world = Self {
            kind: spec.kind,
            now: 1_000,
            motes: Vec::new(),
            sites: Vec::new(),
            disk: Disk::default(),
            network,
            bystanders: Bystanders::default(),
            agenda: Agenda::default(),
            auditor: Auditor::default(),
            coverage: Coverage::default(),
            trace: Trace::default(),
            words: Map::default(),
            mood,
            stolen: None,
            thief_reach: 1 << 20,
            has_few_cids: spec.kind == Kind::Fleet && (spec.seed / 4).is_multiple_of(2),
            next_payload: 0,
            next_command: 0,
            random,
        };
        if spec.kind == Kind::Edge {
            // So near the last mark that a few restores reach it (M-126).
            world.disk.journal.mark = 0xFEFF_FFFE - (world.random.pick(&[1, 3, 6]) << 20) - 7;
        }
        for index in 0..spec.devices {
            let boots = world.first_boot(index);
            let (mote, key) = Mote::provision(index, boots, &mut world.random);
            world.auditor.provision(*mote.id.as_bytes(), *key.expose());
            world.disk.provision(mote.id, key);
            world.motes.push(mote);
            let speaks = world.random.below(60_000);
            world.agenda.note(world.now + speaks, Due::Application(index));
            world.schedule_device(index);
        }
        world.sites.resize_with(gateways, Site::default);
        (0..gateways).for_each(|site| world.start_gateway(site));
        (0..world.motes.len()).for_each(|device| world.travel(device));
        world
    }

    /// Some start near a border of 2^19 boots, which the journal notes (M-127); some far up (M-85); on the edge some
    /// are at the end of their lives (M-52).
    fn first_boot(&mut self, index: usize) -> u32 {
        let usual = self.random.pick(&[0, 0, 5, (1 << 19) - 3, (7 << 19) - 2]);
        match self.kind {
            Kind::Edge if index < 2 => self.random.pick(&[0xFEFF_FFF0, 0xFEFF_FFFC]),
            _ => usual,
        }
    }

    /// A device that sends so many payloads in calm weather, and gets as many if it is answered.
    pub fn talk(&mut self, device: usize, payloads: u32, is_answered: bool) {
        for _ in 0..payloads {
            self.hand_over_one(device, Confirm::No, &[]);
            if is_answered {
                self.send_plain(device);
            }
            self.pass(100);
        }
    }

    /// Goes on to the next thing that is due.
    pub fn advance(&mut self) {
        let Some((at, due)) = self.agenda.take() else {
            self.now += 1_000;
            return;
        };
        self.now = self.now.max(at);
        match due {
            Due::Flight(slot) => self.land(slot),
            Due::Device(device) => self.device_is_due(device),
            Due::Gateway { site, device } => self.gateway_is_due(site, device),
            Due::Step { site, run, slot } => self.step(site, run, slot),
            Due::Flush { site, run } => self.flush(site, run),
            Due::Notice { site, run, device } => self.notice(site, run, device),
            Due::Start { site } => self.start_gateway(site),
            Due::Application(device) => self.application_speaks(device),
        }
    }

    /// So much time.
    pub fn pass(&mut self, ms: Millis) {
        let until = self.now + ms;
        while self.agenda.next_at().is_some_and(|at| at <= until) {
            self.advance();
        }
        self.now = self.now.max(until);
    }

    fn land(&mut self, slot: usize) {
        let Some(datagram) = self.agenda.land(slot) else { return };
        self.network.landed();
        if let Some(site) = network::site_at(datagram.to) {
            if site < self.sites.len() {
                self.gateway_receives(site, datagram);
            }
        } else if let Some(device) = network::device_at(datagram.to)
            && self.motes.get(device).is_some_and(|mote| mote.address == datagram.to)
        {
            self.device_receives(device, datagram);
        }
        if self.network.hostile {
            self.disturb();
        }
    }

    /// The application of a device says something now and then.
    fn application_speaks(&mut self, device: usize) {
        if self.network.hostile {
            self.hand_over(device);
            self.disturb();
            let again = self.random.pick(&[300, 3_000, 3_000, 20_000, 20_000, 60_000]);
            self.agenda.note(self.now + self.random.below(again), Due::Application(device));
        } else {
            // It waits for the weather that comes after the calm.
            self.agenda.note(self.now + 30_000, Due::Application(device));
        }
    }
}
