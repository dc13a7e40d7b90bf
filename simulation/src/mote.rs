//! One device: the real half on simulated flash, and an application that remembers what it handed over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use moteseal::boot_counter::{BootCounter, NorBootCounter, Stored, entry};
use moteseal::device::{CommandAge, Config, Device, Hardware, Millis, Ticket, Timing};
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::{KeySlots, NorKeySlots};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::DeviceId;
use moteseal_sim::nor::{Fault, Nor};

use crate::answers::Answers;
use crate::clock::Clock;
use crate::network::{self, Address};
use crate::random::Random;

const PAGE: usize = 64;
/// Where the two key slots lie, and where the counter does.
const SLOTS: usize = PAGE;
const COUNTER: usize = 3 * PAGE;
const END: usize = 5 * PAGE;

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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about what has struck it")]
pub struct Mote {
    pub id: DeviceId,
    pub rotation_key: RotationKey,
    pub config: Config,
    pub board: Board,
    /// Nothing while the power is off.
    pub half: Option<Half>,
    pub address: Address,
    /// The gateways that it reaches, one bit each.
    pub reach: u32,
    pub clock: Clock,
    /// Payloads whose outcome this boot still has to tell, by the number of their ticket.
    pub open: Vec<(Ticket, u32)>,
    pub wakes: Millis,
    /// When the agenda will ask next whether something is due.
    pub asked: Millis,
    /// The highest epoch that this boot has used (M-29).
    pub epoch: Option<u64>,
    /// The highest boot count that it ever had.
    pub highest_boot: u32,
    /// The attacker sends on what it says from this address, until then.
    pub abducted: Option<(Address, Millis)>,
    /// What the gateway has acknowledged in this session.
    pub acknowledged: BTreeSet<u16>,
    /// The numbers of the gateway that came in this session.
    pub verified: BTreeSet<u16>,
    /// The highest of its own numbers in this session.
    pub sent: Option<u16>,
    /// A repeat of this number has just come.
    pub repeated: Option<u16>,
    pub answers: Answers,
    /// A Hello is out and has had no answer.
    pub is_opening: bool,
    /// In this boot it has taken a key, and no Welcome since: both its keys are valid.
    pub has_two_keys: bool,
    /// With two keys: epoch and generation of the last Hello, unless a Floor came after it.
    pub last_hello: Option<(u64, u8)>,
    /// This boot found its counter blank or broken and has had no answer yet (M-32).
    pub untrusted: bool,
    /// It refuses to start: it has no RNG and no counter (M-27).
    pub refuses_to_start: bool,
    /// Its flash is worn out.
    pub is_worn: bool,
    /// Words of the counter cannot be read, and there is no RNG: power is not cut at the same time.
    pub is_blind: bool,
    /// The counter's pages as they once were.
    pub saved_counter: Option<Vec<u8>>,
    /// The key slots as they are, and as they were before the last rotation.
    slots: [Vec<u8>; 2],
    /// The key slots are those from before.
    pub slots_rolled_back: bool,
    /// Since the attacker stopped: answers that ended a round trip and opened no session yet.
    pub round_trips: Option<u32>,
    /// A key was taken, and no session opened under it yet. Where the counter was lost, an old Hello that arrives at last may be
    /// newer than the session before, so that one Floor more may come.
    pub may_be_stale: bool,
    /// Since then a payload was acknowledged: the session is there both ways.
    pub is_back: bool,
    /// New Hellos since then.
    pub hellos: u32,
}

impl Mote {
    pub fn provision(index: usize, boots: u32, random: &mut Random) -> (Self, DeviceKey) {
        let [a, b, c, d] = u32::try_from(index).unwrap().to_be_bytes();
        let id = DeviceId::new([b'm', b'o', b't', b'e', a, b, c, d]);
        let (rotation_key, device_key) = (RotationKey::new(random.array()), DeviceKey::new(random.array()));
        let identity = Identity { device_id: id, rotation_key: rotation_key.clone() };
        let image = FactoryImage::new(identity, device_key.clone());
        let mut flash = Flash::new(END);
        for (offset, part) in image.parts(u32::try_from(PAGE).unwrap()) {
            flash.put(offset as usize, part.expose()).unwrap();
        }
        flash.put(COUNTER, &entry(boots)).unwrap();
        let slots = flash.as_bytes()[SLOTS..COUNTER].to_vec();
        let rng = Generator {
            random: Rc::new(RefCell::new(Random::new(random.next()))),
            failing: Rc::new(Cell::new(false)),
        };
        let rng = (index % 4 != 3).then_some(rng);
        let board = Board { flash: Rc::new(RefCell::new(flash)), rng };
        let mote = Self {
            id,
            rotation_key,
            config: config(random),
            board,
            half: None,
            address: network::device(index, 0),
            reach: 1,
            clock: Clock::default(),
            open: Vec::new(),
            wakes: random.below(30_000),
            asked: Millis::MAX,
            epoch: None,
            highest_boot: 0,
            abducted: None,
            acknowledged: BTreeSet::new(),
            verified: BTreeSet::new(),
            sent: None,
            repeated: None,
            answers: Answers::default(),
            is_opening: false,
            has_two_keys: false,
            last_hello: None,
            untrusted: false,
            refuses_to_start: false,
            is_worn: false,
            is_blind: false,
            saved_counter: None,
            slots: [slots.clone(), slots],
            slots_rolled_back: false,
            round_trips: None,
            may_be_stale: false,
            is_back: false,
            hellos: 0,
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

    /// When there is something to do, by the world's clock.
    pub fn deadline(&self) -> Option<Millis> {
        match &self.half {
            Some(half) => Some(self.clock.shows(half.deadline()?)),
            None => Some(self.wakes),
        }
    }

    /// Erases the counter, or leaves a word of it that says nothing.
    pub fn lose_counter(&mut self, broken: bool) {
        let mut flash = self.board.flash.borrow_mut();
        flash.put(COUNTER, &[0xFF; 2 * PAGE]).unwrap();
        if broken {
            flash.put(COUNTER, &[0x5A; 8]).unwrap();
        }
    }

    /// What a workshop does with a device that does not start.
    pub fn repair_counter(&mut self) {
        let mut flash = self.board.flash.borrow_mut();
        flash.put(COUNTER, &[0xFF; 2 * PAGE]).unwrap();
        flash.put(COUNTER, &entry(self.highest_boot + 1)).unwrap();
    }

    pub fn save_counter(&mut self) {
        self.saved_counter = Some(self.board.flash.borrow().as_bytes()[COUNTER..].to_vec());
    }

    pub fn roll_counter_back(&mut self, saved: &[u8]) {
        self.board.flash.borrow_mut().put(COUNTER, saved).unwrap();
    }

    /// The key slots have changed, as the protocol wants it.
    pub fn keep_slots(&mut self) {
        let now = self.board.flash.borrow().as_bytes()[SLOTS..COUNTER].to_vec();
        if now != self.slots[0] {
            self.slots.swap(0, 1);
            self.slots[0] = now;
        }
        self.slots_rolled_back = false;
    }

    /// Puts the key slots back as they were, or as they are; says whether that has changed the flash, so
    /// that a device that runs must lose its power.
    pub fn roll_slots(&mut self, back: bool) -> bool {
        if back {
            // A power cut may have left something of which nobody heard.
            self.keep_slots();
        } else if self.board.flash.borrow().as_bytes()[SLOTS..COUNTER] != self.slots[1] {
            // The device has changed them since: what was there before the roll is no state of its any more.
            self.keep_slots();
            return false;
        }
        let slots = &self.slots[usize::from(back)];
        let mut flash = self.board.flash.borrow_mut();
        let changes = flash.as_bytes()[SLOTS..COUNTER] != slots[..];
        flash.put(SLOTS, slots).unwrap();
        self.slots_rolled_back = back;
        changes
    }

    /// Flash that does not do, from now on, what it is told to, in a part of the counter's pages.
    ///
    /// Words that cannot be read are counted, and a page of them is not erased before more than it may hold is written to
    /// the slot that the other one keeps for it (M-26). A device without an RNG has nothing else. So there no other fault
    /// comes with that: the slots that are kept are free and can be read, no power cut strikes, and no value that a Floor
    /// moved ahead is hidden. Otherwise words fail to be written in the same place. A counter that says nothing at all is
    /// no such case: the device must refuse to start (M-27).
    pub fn wear_out(&mut self, random: &mut Random) {
        let fault = random.pick(&[
            Fault::ReadFails,
            Fault::WriteFails,
            Fault::WriteIgnored,
            Fault::EraseFails,
            Fault::EraseIgnored,
        ]);
        let start = COUNTER + random.place(2 * PAGE / 4) * 4;
        let end = (start + random.pick(&[4, 8, 64, 128])).min(END);
        let before = self.board.counter().load();
        self.board.flash.borrow_mut().set_fault(start..end, fault);
        self.is_worn = true;
        if self.has_rng() || fault != Fault::ReadFails {
            return;
        }
        let after = self.board.counter().load();
        let is_lower = matches!((before, after), (Ok(Stored::Intact(b)), Ok(Stored::Intact(a))) if a < b);
        let mut flash = self.board.flash.borrow_mut();
        // Of the page beside each that is hidden in part.
        let is_taken =
            [(COUNTER, END - 8), (COUNTER + PAGE, COUNTER + PAGE - 8)].into_iter().any(|(page, kept)| {
                let is_hidden = start < page + PAGE && page < end;
                is_hidden && (flash.as_bytes()[kept..kept + 8] != [0xFF; 8] || (start..end).contains(&kept))
            });
        if is_lower || is_taken && !matches!(after, Ok(Stored::Broken | Stored::Blank)) {
            flash.clear_faults();
            flash.set_fault(start..end, Fault::WriteFails);
        } else {
            self.is_blind = true;
        }
    }

    pub fn replace_flash(&mut self) {
        self.board.flash.borrow_mut().clear_faults();
        self.is_worn = false;
        self.is_blind = false;
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
