//! The hardware of the device under test: simulated flash that outlives a boot, and a generator that can be broken.

use std::cell::RefCell;
use std::rc::Rc;

use moteseal::boot_counter::{BootCounter, NorBootCounter, entry};
use moteseal::device::Hardware;
use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::{KeySlots, NorKeySlots};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::DeviceId;
use moteseal_sim::nor::{Fault, Nor, Tear};

use crate::tape::Tape;

const PAGE: usize = 64;
const COUNTER: u32 = 3 * 64;

/// Whose device it is.
pub const ID: DeviceId = DeviceId::new(*b"fuzzmote");

/// What is there between two boots.
#[derive(Clone, Debug)]
pub struct Board {
    flash: Rc<RefCell<Nor<4, PAGE>>>,
    rng: Option<Rc<RefCell<Rng>>>,
}

/// A generator.
#[derive(Debug)]
struct Rng {
    state: u64,
    /// Nothing while it works; `Err` while it fails, a byte while it is stuck.
    broken: Option<Result<u8, EntropyError>>,
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if let Some(broken) = self.broken {
            bytes.fill(broken?);
            return Ok(());
        }
        for byte in bytes {
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.state.to_be_bytes()[0];
        }
        Ok(())
    }
}

/// The generator as the device borrows it.
struct Borrowed(Rc<RefCell<Rng>>);

impl Entropy for Borrowed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.borrow_mut().fill(bytes)
    }
}

impl Hardware for Board {
    fn counter(&mut self) -> impl BootCounter {
        NorBootCounter::new(SharedFlash::new(&self.flash), COUNTER).expect("it fits")
    }

    fn keys(&mut self) -> impl KeySlots {
        NorKeySlots::new(SharedFlash::new(&self.flash), 0).expect("it fits")
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.rng.clone().map(Borrowed)
    }
}

impl Board {
    /// From the factory.
    pub fn new(device_key: DeviceKey, rotation_key: RotationKey, has_rng: bool, boots: u32) -> Self {
        let identity = Identity { device_id: ID, rotation_key };
        let mut flash = Nor::new(5 * PAGE);
        for (offset, part) in FactoryImage::new(identity, device_key).parts(64) {
            flash.put(offset as usize, part.expose()).expect("in memory");
        }
        flash.put(COUNTER as usize, &entry(boots)).expect("in memory");
        let rng = has_rng.then(|| Rc::new(RefCell::new(Rng { state: 1, broken: None })));
        Self { flash: Rc::new(RefCell::new(flash)), rng }
    }

    /// Writes and erases so far.
    pub fn wear(&self) -> (u64, u64) {
        let wear = self.flash.borrow().total_wear();
        (wear.writes, wear.erases)
    }

    /// Whether there is power.
    pub fn has_power(&self) -> bool {
        self.flash.borrow().has_power()
    }

    /// Power is back, and the flash works.
    pub fn repair(&self) {
        self.flash.borrow_mut().power_on();
        self.flash.borrow_mut().clear_faults();
    }

    /// The power goes at one of the next words, or a page stops to work.
    pub fn disturb(&self, tape: &mut Tape<'_>) {
        let (kind, after, seed) = (tape.below(7), tape.below(24), tape.u8());
        let mut flash = self.flash.borrow_mut();
        let tear = Tear::Random(seed.into());
        let page = usize::from(after % 5) * PAGE;
        match kind {
            0 => flash.cut_power(after.into(), Tear::Bits(if seed & 1 == 0 { 0 } else { u64::MAX })),
            1 | 2 => flash.cut_power(after.into(), tear),
            3 => flash.set_fault(page..page + PAGE, Fault::WriteFails),
            4 => flash.set_fault(page..page + PAGE, Fault::WriteIgnored),
            5 => flash.set_fault(page..page + PAGE, Fault::EraseFails),
            _ => flash.set_fault(page..page + PAGE, Fault::EraseIgnored),
        }
    }

    /// The generator works, fails, or gives one byte again and again.
    pub fn break_rng(&self, tape: &mut Tape<'_>) {
        let broken = tape.pick(&[None, None, Some(Err(EntropyError::Failed)), Some(Ok(0)), Some(Ok(0xFF))]);
        if let Some(rng) = &self.rng {
            rng.borrow_mut().broken = broken;
        }
    }

    /// Whether the generator works, or there is none.
    pub fn rng_works(&self) -> bool {
        self.rng.as_ref().is_none_or(|rng| rng.borrow().broken.is_none())
    }
}
