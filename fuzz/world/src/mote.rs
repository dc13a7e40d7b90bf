//! One device: the real half on simulated flash, and an application that remembers what it handed over.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use moteseal::boot_counter::{BootCounter, NorBootCounter, entry};
use moteseal::device::{CommandAge, Config, Device, Hardware, Millis, Ticket, Timing};
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::{KeySlots, NorKeySlots};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Epoch};
use moteseal_sim::nor::Nor;

use crate::network::Address;
use crate::random::Random;

const PAGE: usize = 64;
const COUNTER: usize = 3 * PAGE;
pub type Flash = Nor<4, PAGE>;
pub type Half = Device<Board, 128>;

/// What survives a loss of power, and a generator that does not care.
#[derive(Clone, Debug)]
pub struct Board {
    pub flash: Rc<RefCell<Flash>>,
    rng: Option<Generator>,
}

/// A generator that can be made to fail.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Rc<RefCell<Random>>,
    failing: Rc<Cell<bool>>,
}

impl Entropy for Generator {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if self.failing.get() { Err(EntropyError::Failed) } else { self.random.borrow_mut().fill(bytes) }
    }
}

impl Hardware for Board {
    fn counter(&mut self) -> impl BootCounter {
        NorBootCounter::new(SharedFlash::new(&self.flash), u32::try_from(COUNTER).unwrap()).unwrap()
    }

    fn keys(&mut self) -> impl KeySlots {
        NorKeySlots::new(SharedFlash::new(&self.flash), 0).unwrap()
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.rng.clone()
    }
}

/// A device and its owner.
pub struct Mote {
    pub index: usize,
    pub id: DeviceId,
    pub rotation_key: RotationKey,
    pub config: Config,
    pub board: Board,
    /// Nothing while the power is off.
    pub half: Option<Half>,
    pub address: Address,
    /// Payloads whose outcome this boot still has to tell.
    pub open: BTreeMap<u16, (Ticket, u32)>,
    pub wakes: Millis,
    /// The highest epoch that this boot has used (M-29).
    pub epoch: Option<Epoch>,
    /// What the server has acknowledged in this session.
    pub acknowledged: BTreeSet<u16>,
    /// This boot found its counter blank or broken and has had no answer yet (M-32).
    pub untrusted: bool,
    /// The counter's pages as they once were.
    pub saved: Option<Vec<u8>>,
    /// Since the attacker stopped: answers that ended a round trip and opened no session yet.
    pub round_trips: Option<u32>,
    /// Since then a payload was acknowledged: the session is there both ways.
    pub is_back: bool,
}

impl Mote {
    pub fn provision(index: usize, random: &mut Random) -> (Self, DeviceKey) {
        let id = DeviceId::new([b'm', b'o', b't', b'e', 0, 0, 0, u8::try_from(index).unwrap()]);
        let (rotation_key, device_key) = (RotationKey::new(random.array()), DeviceKey::new(random.array()));
        let identity = Identity { device_id: id, rotation_key: rotation_key.clone() };
        let image = FactoryImage::new(identity, device_key.clone());
        let mut flash = Flash::new(5 * PAGE);
        for (offset, part) in image.parts(u32::try_from(PAGE).unwrap()) {
            flash.put(offset as usize, part.expose()).unwrap();
        }
        // Some start near a border of 2^19 boots, which the journal notes (M-127); some far up (M-85).
        let boots = random.pick(&[0, 0, 5, (1 << 19) - 3, (7 << 19) - 2]);
        flash.put(COUNTER, &entry(boots)).unwrap();
        let rng = Generator {
            random: Rc::new(RefCell::new(Random::new(random.next()))),
            failing: Rc::new(Cell::new(false)),
        };
        let rng = (index % 4 != 3).then_some(rng);
        let board = Board { flash: Rc::new(RefCell::new(flash)), rng };
        let mote = Self {
            index,
            id,
            rotation_key,
            config: config(random),
            board,
            half: None,
            address: address(index, 0),
            open: BTreeMap::new(),
            wakes: 0,
            epoch: None,
            acknowledged: BTreeSet::new(),
            untrusted: false,
            saved: None,
            round_trips: None,
            is_back: false,
        };
        (mote, device_key)
    }

    pub const fn has_rng(&self) -> bool {
        self.board.rng.is_some()
    }

    pub fn rng_fails(&self, fails: bool) {
        if let Some(rng) = &self.board.rng {
            rng.failing.set(fails);
        }
    }

    pub fn has_power(&self) -> bool {
        self.board.flash.borrow().has_power()
    }

    /// Erases the counter, or leaves a word of it that says nothing.
    pub fn lose_counter(&mut self, broken: bool) {
        let mut flash = self.board.flash.borrow_mut();
        flash.put(COUNTER, &[0xFF; 2 * PAGE]).unwrap();
        if broken {
            flash.put(COUNTER, &[0x5A; 8]).unwrap();
        }
    }

    pub fn save_counter(&mut self) {
        self.saved = Some(self.board.flash.borrow().as_bytes()[COUNTER..].to_vec());
    }

    pub fn roll_counter_back(&mut self, saved: &[u8]) {
        self.board.flash.borrow_mut().put(COUNTER, saved).unwrap();
    }

    /// Writes and erases so far.
    pub fn wear(&self) -> (u64, u64) {
        let wear = self.board.flash.borrow().total_wear();
        (wear.writes, wear.erases)
    }

    pub const fn bound_ms(&self) -> u32 {
        match self.config.command_age {
            CommandAge::Refuse { bound_ms } | CommandAge::Report { bound_ms } => bound_ms,
        }
    }

    pub const fn refuses(&self) -> bool {
        matches!(self.config.command_age, CommandAge::Refuse { .. })
    }
}

/// Where a device may be reached.
pub fn address(device: usize, place: u32) -> Address {
    0x100 + 0x10 * u32::try_from(device).unwrap() + place
}

fn config(random: &mut Random) -> Config {
    let timing = Timing {
        hello_cap_ms: random.pick(&[60_000, 600_000]),
        confirm_after_ms: random.pick(&[30_000, 600_000]),
        confirm_every: random.pick(&[4, 16, 64]),
        ..Timing::DEFAULT
    };
    let command_age = if random.chance(500) {
        CommandAge::Refuse { bound_ms: random.pick(&[4_000, 60_000]) }
    } else {
        CommandAge::Report { bound_ms: 600_000 }
    };
    Config { timing, command_age }
}
