//! Hardware in memory: what survives a reboot, how often it was written, and where it fails or loses power.

use std::collections::HashSet;

use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::device::{Config, Device, Hardware, Millis, Received};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, IdentityError, ReceiveError, StorageError};
use moteseal::identity::{FactoryImage, Identity, KeySlot};
use moteseal::key_slots::{KeySlots, Slot};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};

pub const ID: DeviceId = DeviceId::new(*b"mote\0\0\0\x01");
pub const N: usize = 96;

/// A write or an erase, as it reached the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Store(u32),
    Write(Slot, u8),
    Erase(Slot),
}

/// What a write does when the power fails or the flash does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// A torn slot is absent. A counter has no such state (M-26).
    Torn,
    Whole,
    /// Reported as done, and nothing is stored.
    Lost,
}

/// A write that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which write, counted from 0 over the life of the board.
    pub at: usize,
    pub effect: Effect,
    /// Power is gone from then on, until [`Board::repair`].
    pub power_cut: bool,
}

#[derive(Clone, Debug)]
pub struct Board {
    pub counter: Stored,
    pub image: FactoryImage,
    pub rng: Option<Rng>,
    pub ops: Vec<Op>,
    pub fault: Option<Fault>,
    pub loads: usize,
    pub dead: bool,
    /// Slots with what a power cut left of a write or an erase.
    pub remains: HashSet<Slot>,
}

/// A generator that is good enough for tests, and may be stuck or broken.
#[derive(Clone, Debug)]
pub enum Rng {
    Works(u64),
    Stuck(u8),
    Broken,
}

pub fn device_key(generation: u8) -> DeviceKey {
    DeviceKey::new([generation; 32])
}

pub fn rotation_key() -> RotationKey {
    RotationKey::new([0xEE; 32])
}

impl Board {
    /// From the factory: counter 0, key of generation 1 in slot A.
    pub fn new() -> Self {
        let identity = Identity { device_id: ID, rotation_key: rotation_key() };
        Self {
            counter: Stored::Intact(0),
            image: FactoryImage::new(identity, device_key(1)),
            rng: Some(Rng::Works(1)),
            ops: Vec::new(),
            fault: None,
            loads: 0,
            dead: false,
            remains: HashSet::new(),
        }
    }

    pub fn with_counter(counter: Stored) -> Self {
        Self { counter, ..Self::new() }
    }

    pub fn without_rng() -> Self {
        Self { rng: None, ..Self::new() }
    }

    /// Power is back, and the flash works.
    pub fn repair(&mut self) {
        (self.fault, self.dead) = (None, false);
    }

    pub fn generation(&self, slot: Slot) -> Option<u8> {
        let [a, b] = &self.image.slots;
        let slot = if slot == Slot::A { a } else { b };
        slot.as_ref().map(|key| key.generation.number())
    }

    fn change(&mut self, op: Op) -> (Effect, Result<(), StorageError>) {
        if self.dead {
            return (Effect::None, Err(StorageError::Write));
        }
        let fault = self.fault.filter(|fault| fault.at == self.ops.len());
        self.ops.push(op);
        let Some(fault) = fault else { return (Effect::Whole, Ok(())) };
        self.dead = fault.power_cut;
        let result = if fault.effect == Effect::Lost { Ok(()) } else { Err(StorageError::Write) };
        (fault.effect, result)
    }

    fn powered<T>(&self, value: T) -> Result<T, StorageError> {
        if self.dead { Err(StorageError::Read) } else { Ok(value) }
    }

    fn tear(&mut self, slot: Slot) {
        *self.slot(slot) = None;
        self.remains.insert(slot);
    }

    fn slot(&mut self, slot: Slot) -> &mut Option<KeySlot> {
        let [a, b] = &mut self.image.slots;
        if slot == Slot::A { a } else { b }
    }
}

impl BootCounter for Board {
    fn load(&mut self) -> Result<Stored, StorageError> {
        self.loads += 1;
        self.powered(self.counter)
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        if matches!(self.counter, Stored::Intact(stored) if stored > boot) {
            return Err(StorageError::Backwards);
        }
        let (effect, result) = self.change(Op::Store(boot));
        if effect == Effect::Whole {
            self.counter = Stored::Intact(boot);
        }
        result
    }
}

impl KeySlots for Board {
    fn identity(&mut self) -> Result<Identity, IdentityError> {
        Ok(self.powered(self.image.identity.clone())?)
    }

    fn read(&mut self, slot: Slot) -> Result<Option<KeySlot>, StorageError> {
        let key = self.slot(slot).clone();
        self.powered(key)
    }

    fn write(&mut self, slot: Slot, key: &KeySlot) -> Result<(), StorageError> {
        let (effect, result) = self.change(Op::Write(slot, key.generation.number()));
        match effect {
            Effect::None | Effect::Lost => {}
            Effect::Torn => self.tear(slot),
            Effect::Whole => {
                *self.slot(slot) = Some(key.clone());
                self.remains.remove(&slot);
            }
        }
        result
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageError> {
        if self.slot(slot).is_none() && !self.remains.contains(&slot) {
            return self.powered(());
        }
        let (effect, result) = self.change(Op::Erase(slot));
        match effect {
            Effect::None | Effect::Lost => {}
            Effect::Torn => self.tear(slot),
            Effect::Whole => {
                *self.slot(slot) = None;
                self.remains.remove(&slot);
            }
        }
        result
    }
}

impl Entropy for Rng {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self {
            Self::Works(state) => {
                for byte in bytes {
                    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = state.to_be_bytes()[0];
                }
                Ok(())
            }
            Self::Stuck(value) => {
                bytes.fill(*value);
                Ok(())
            }
            Self::Broken => Err(EntropyError::Failed),
        }
    }
}

impl Hardware for &mut Board {
    fn counter(&mut self) -> impl BootCounter {
        &mut **self
    }

    fn keys(&mut self) -> impl KeySlots {
        &mut **self
    }

    fn rng(&mut self) -> Option<impl Entropy> {
        self.rng.as_mut()
    }
}

/// A device with its board; what survives is the board.
pub type Mote<'b> = Device<&'b mut Board, N>;

pub fn boot(board: &mut Board) -> Mote<'_> {
    Device::boot(board, Config::default()).unwrap()
}

/// What only tests want of a device.
pub trait Convenient {
    fn drain(&mut self, now: Millis) -> Vec<Vec<u8>>;
    /// The one datagram that is due.
    fn one(&mut self, now: Millis) -> Vec<u8>;
    fn hear(&mut self, now: Millis, datagram: &[u8]) -> Heard;
    fn refuse(&mut self, now: Millis, datagram: &[u8]) -> ReceiveError;
    fn say(&mut self, now: Millis, payload: &[u8], confirm: moteseal::device::Confirm) -> Said;
}

/// A payload that the device took.
#[derive(Debug)]
pub struct Said {
    pub ticket: Option<moteseal::device::Ticket>,
    pub datagram: Option<Vec<u8>>,
}

/// What a datagram brought, without borrows.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    pub payload: Option<Vec<u8>>,
    pub age_ms: Option<Millis>,
    pub settled: Vec<moteseal::device::Settled>,
    pub event: Option<moteseal::device::Event>,
}

impl Convenient for Mote<'_> {
    fn drain(&mut self, now: Millis) -> Vec<Vec<u8>> {
        let mut out = [0; N];
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.poll(now, &mut out).unwrap() {
            datagrams.push(datagram.to_vec());
            assert!(datagrams.len() < 100, "it always has something to say");
        }
        assert!(self.deadline().is_none_or(|deadline| deadline > now), "drained, and something is due");
        datagrams
    }

    fn one(&mut self, now: Millis) -> Vec<u8> {
        let [datagram] = <[_; 1]>::try_from(self.drain(now)).unwrap();
        datagram
    }

    fn hear(&mut self, now: Millis, datagram: &[u8]) -> Heard {
        let mut datagram = datagram.to_vec();
        let Received { payload, settled, event } = self.receive(now, &mut datagram).unwrap();
        Heard {
            age_ms: payload.as_ref().and_then(|payload| payload.age_ms),
            payload: payload.map(|payload| payload.bytes.to_vec()),
            settled: settled.to_vec(),
            event,
        }
    }

    fn refuse(&mut self, now: Millis, datagram: &[u8]) -> ReceiveError {
        self.receive(now, &mut datagram.to_vec()).unwrap_err()
    }

    fn say(&mut self, now: Millis, payload: &[u8], confirm: moteseal::device::Confirm) -> Said {
        let mut out = [0; N];
        let sent = self.send(now, payload, confirm, &mut out).unwrap();
        Said { ticket: sent.ticket, datagram: sent.datagram.map(<[u8]>::to_vec) }
    }
}

pub fn generation(number: u8) -> Generation {
    Generation::new(number).unwrap()
}
