//! `window.json`: the steps of both windows. SPEC sections 6 and 7.2.

use std::collections::BTreeSet;

use moteseal::error::NotFresh;
use moteseal::number::{Epoch, SequenceNumber};
use moteseal::replay::{EPOCH_WINDOW_WIDTH, EpochWindow, Freshness, ReplayWindow, WINDOW_WIDTH};
use serde::Deserialize;

use crate::file::{Cases, read};
use crate::numbers::number;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Cases<Window>,
    hello: Cases<Window>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    why: String,
    width: u64,
    start_seen: BTreeSet<u64>,
    steps: Cases<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    number: u64,
    verdict: Verdict,
    highest: u64,
    seen: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Fresh,
    Replayed,
    TooOld,
}

fn narrow(value: u64) -> SequenceNumber {
    number(value.try_into().unwrap())
}

fn verdict(window: &mut ReplayWindow, number: SequenceNumber) -> Verdict {
    match window.check(number).map(|_| ()) {
        Ok(()) => Verdict::Fresh,
        Err(NotFresh::Repeat) => Verdict::Replayed,
        Err(NotFresh::TooOld) => Verdict::TooOld,
        Err(other) => panic!("{other}"),
    }
}

/// Those of the window's numbers that it calls seen.
fn seen(window: &mut ReplayWindow) -> BTreeSet<u64> {
    let Some(highest) = window.highest() else { return BTreeSet::new() };
    let inside = (0..WINDOW_WIDTH).filter_map(|below| highest.before(below));
    inside
        .filter(|number| verdict(window, *number) == Verdict::Replayed)
        .map(|number| number.value().into())
        .collect()
}

#[test]
fn windows_of_data() {
    for case in read::<File>("window").data.iter() {
        assert_eq!(case.width, u64::from(WINDOW_WIDTH));
        let mut window = ReplayWindow::default();
        for value in &case.start_seen {
            window.check(narrow(*value)).unwrap().commit(true);
        }
        for step in case.steps.iter() {
            let told = format!("{}: {}", case.why, step.number);
            assert_eq!(verdict(&mut window, narrow(step.number)), step.verdict, "{told}");
            if let Ok(slot) = window.check(narrow(step.number)) {
                slot.commit(true);
            }
            assert_eq!(window.highest(), Some(narrow(step.highest)), "{told}");
            assert_eq!(seen(&mut window), step.seen, "{told}");
        }
    }
}

fn epoch(value: u64) -> Epoch {
    let bytes = value.to_be_bytes();
    assert_eq!(bytes[..2], [0, 0]);
    Epoch::from_bytes(bytes[2..].try_into().unwrap())
}

/// The crate's window has no state of its own for "nothing seen": a device that is new starts at epoch 0, seen.
fn epoch_window(seen: &BTreeSet<u64>) -> EpochWindow {
    let Some(newest) = seen.last() else { return EpochWindow::from_parts(epoch(0), 1) };
    let bits = seen.iter().map(|value| newest - value).filter(|below| *below < EPOCH_WINDOW_WIDTH);
    EpochWindow::from_parts(epoch(*newest), bits.fold(0, |bits, below| bits | 1 << below))
}

#[test]
fn windows_of_hellos() {
    for case in read::<File>("window").hello.iter() {
        assert_eq!(case.width, EPOCH_WINDOW_WIDTH);
        let mut window = epoch_window(&case.start_seen);
        for step in case.steps.iter() {
            let told = format!("{}: {}", case.why, step.number);
            // Seen and left of the window are one to a Hello: stale.
            let is_seen = |window: &EpochWindow| {
                let below = window.newest().value().checked_sub(step.number);
                below.is_some_and(|below| below < EPOCH_WINDOW_WIDTH && window.seen() >> below & 1 == 1)
            };
            let verdict = match window.check(epoch(step.number)) {
                Freshness::Newest | Freshness::Late => Verdict::Fresh,
                Freshness::Stale if is_seen(&window) => Verdict::Replayed,
                Freshness::Stale => Verdict::TooOld,
            };
            assert_eq!(verdict, step.verdict, "{told}");
            if verdict == Verdict::Fresh {
                window = window.with(epoch(step.number));
            }
            assert_eq!(window.newest(), epoch(step.highest), "{told}");
            let inside = (0..EPOCH_WINDOW_WIDTH).filter(|below| window.seen() >> below & 1 == 1);
            let seen = inside.filter_map(|below| window.newest().value().checked_sub(below)).collect();
            assert_eq!(step.seen, seen, "{told}");
        }
    }
}
