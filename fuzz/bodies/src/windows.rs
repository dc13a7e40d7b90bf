//! The replay window, the union of acknowledgements and the window of Hellos, each against a plain set that forgets
//! nothing. SPEC 4.11, 7.2 and 7.4.

use std::collections::BTreeSet;

use moteseal::error::NotFresh;
use moteseal::number::{Epoch, SequenceNumber};
use moteseal::replay::{Acknowledged, Answering, EpochWindow, Freshness, ReplayWindow};
use moteseal::wire::AckBlock;

use crate::tape::Tape;

/// One of the three, for as long as the bytes last.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    match tape.below(3) {
        0 => replay(&mut tape),
        1 => acknowledged(&mut tape),
        _ => epochs(&mut tape),
    }
}

fn replay(tape: &mut Tape<'_>) {
    let mut window = ReplayWindow::default();
    let mut model = SlowWindow::default();
    while !tape.is_empty() {
        let number = tape.number(model.highest());
        match tape.below(6) {
            0..=2 => {
                let (commit, good) = (tape.flag(), tape.flag());
                let expected = model.check(number);
                let slot = window.check(SequenceNumber::new(number));
                assert_eq!(slot.as_ref().err(), expected.err().as_ref(), "M-66: {number}");
                if let Ok(slot) = slot
                    && commit
                {
                    slot.commit(good);
                    model.commit(number, good);
                }
            }
            3 => {
                window.acknowledge(SequenceNumber::new(number));
                model.acknowledge(number);
            }
            _ => {
                let answering = match tape.below(3) {
                    0 => None,
                    1 => Some(Answering::Repeat(SequenceNumber::new(number))),
                    _ if model.acknowledgeable.contains(&number) => {
                        Some(Answering::New(SequenceNumber::new(number)))
                    }
                    _ => None,
                };
                let block = window.ack_block(answering);
                assert_eq!(block.map(AckBlock::encode), model.block(answering), "M-15: {answering:?}");
            }
        }
        assert_eq!(window.highest().map(SequenceNumber::value), model.highest());
        let told = window.is_acknowledgeable(SequenceNumber::new(number));
        assert_eq!(told, model.is_acknowledgeable(number), "M-16: {number}");
    }
}

/// What a receiver of Data must know, as sets (M-16).
#[derive(Clone, Debug, Default)]
pub struct SlowWindow {
    /// Every number that was verified.
    pub seen: BTreeSet<u16>,
    /// Those that were well formed.
    pub acknowledgeable: BTreeSet<u16>,
}

impl SlowWindow {
    /// The highest number verified.
    pub fn highest(&self) -> Option<u16> {
        self.seen.last().copied()
    }

    fn is_in(&self, number: u16) -> bool {
        self.highest().is_none_or(|highest| u32::from(number) + 64 > u32::from(highest))
    }

    /// M-66 to M-68.
    ///
    /// # Errors
    /// Why it must not be delivered.
    pub fn check(&self, number: u16) -> Result<(), NotFresh> {
        match () {
            () if !self.is_in(number) => Err(NotFresh::TooOld),
            () if self.seen.contains(&number) => Err(NotFresh::Repeat),
            () => Ok(()),
        }
    }

    /// It was verified.
    pub fn commit(&mut self, number: u16, good: bool) {
        self.seen.insert(number);
        if good {
            self.acknowledgeable.insert(number);
        }
    }

    /// It has turned out well after all, if it is in the window still.
    pub fn acknowledge(&mut self, number: u16) {
        if self.seen.contains(&number) && self.is_in(number) {
            self.acknowledgeable.insert(number);
        }
    }

    /// In the window, and well formed.
    pub fn is_acknowledgeable(&self, number: u16) -> bool {
        self.is_in(number) && self.acknowledgeable.contains(&number)
    }

    /// M-15, M-18: the block to send.
    pub fn block(&self, answering: Option<Answering>) -> Option<[u8; 3]> {
        let newest = self.acknowledgeable.iter().rfind(|number| self.is_in(**number)).copied()?;
        let number = match answering {
            Some(Answering::Repeat(number)) if self.is_acknowledgeable(number.value()) => number.value(),
            Some(Answering::New(number)) if u32::from(number.value()) + 8 < newest.into() => number.value(),
            _ => newest,
        };
        let before = (0..8)
            .filter(|bit| number.checked_sub(1 + bit).is_some_and(|number| self.is_acknowledgeable(number)));
        let bits = before.fold(0_u8, |bits, bit| bits | 1 << bit);
        let [high, low] = number.to_be_bytes();
        Some([high, low, bits])
    }
}

fn acknowledged(tape: &mut Tape<'_>) {
    let mut union = Acknowledged::default();
    let mut model = BTreeSet::new();
    while !tape.is_empty() {
        let number = tape.number(model.last().copied());
        if tape.flag() {
            let [high, low] = number.to_be_bytes();
            let Some(block) = AckBlock::decode([high, low, tape.u8()]) else { continue };
            union.unite(block);
            model.extend(block.numbers().map(SequenceNumber::value));
        }
        assert_eq!(union.highest().map(SequenceNumber::value), model.last().copied());
        let asked = tape.number(model.last().copied());
        let remembered = model.last().is_none_or(|highest| u32::from(asked) + 64 > u32::from(*highest));
        let named = model.contains(&asked);
        let asked = SequenceNumber::new(asked);
        assert_eq!(union.contains(asked), remembered && named, "M-17: {asked:?}");
        assert_eq!(union.is_missing(asked), remembered && !named, "M-46: {asked:?}");
    }
}

fn epochs(tape: &mut Tape<'_>) {
    let start = Epoch::from_bytes(tape.array());
    let mut window = EpochWindow::raised(start);
    let mut model = SlowEpochs::raised(start);
    while !tape.is_empty() {
        let epoch = match tape.u8() {
            255 => Epoch::from_bytes(tape.array()),
            step => {
                let value = model.newest.saturating_add_signed(i64::from(step) - 100).min((1 << 48) - 1);
                let [_, _, bytes @ ..] = value.to_be_bytes();
                Epoch::from_bytes(bytes)
            }
        };
        let freshness = window.check(epoch);
        assert_eq!(freshness, model.check(epoch), "M-53: {epoch}");
        if tape.flag() && freshness != Freshness::Stale {
            window = window.with(epoch);
            model.accept(epoch);
        }
        assert_eq!(window.newest().value(), model.newest);
        assert_eq!(EpochWindow::from_parts(window.newest(), window.seen()), window);
    }
}

/// The accepted epochs of one device, as a set.
#[derive(Clone, Debug)]
pub struct SlowEpochs {
    newest: u64,
    accepted: BTreeSet<u64>,
    floor: u64,
}

impl SlowEpochs {
    /// Everything up to `floor` counts as accepted.
    pub const fn raised(floor: Epoch) -> Self {
        Self { newest: floor.value(), accepted: BTreeSet::new(), floor: floor.value() }
    }

    /// The newest, as an epoch.
    pub fn newest(&self) -> Epoch {
        let [_, _, bytes @ ..] = self.newest.to_be_bytes();
        Epoch::from_bytes(bytes)
    }

    /// M-53.
    pub fn check(&self, epoch: Epoch) -> Freshness {
        let value = epoch.value();
        match () {
            () if value > self.newest => Freshness::Newest,
            () if value + 32 <= self.newest || value <= self.floor || self.accepted.contains(&value) => {
                Freshness::Stale
            }
            () => Freshness::Late,
        }
    }

    /// It was recorded.
    pub fn accept(&mut self, epoch: Epoch) {
        self.newest = self.newest.max(epoch.value());
        self.accepted.insert(epoch.value());
    }
}
