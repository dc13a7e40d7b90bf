//! What a Hello that a device has made must lead to, by the table of SPEC 7.1 read once more, and what the record may look
//! like after it (7.2). Held against the server half at every Hello that arrives.

use moteseal::record::{BOOT_LIMIT, Entry, Record};
use moteseal::server::{AnswerKind, Received, RecordChange};

use crate::auditor::Kind;
use crate::network::Address;
use moteseal::error::Reject;

/// Epoch and salt: what tells a Hello from others of its device.
pub type Name = (u64, [u8; 6]);

/// A line of the table, or why none of them is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    NotActive,
    OtherGeneration,
    UsedUp,
    SameCandidate,
    SameConfirmed,
    Stale { offered_elsewhere: bool },
    Newest,
    Late,
}

/// What a gateway has in memory beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub is_active: bool,
    pub gateway: moteseal::record::GatewayId,
    /// The Hello whose Welcome waits for its first Data.
    pub offered: Option<Name>,
    /// The Hello of the session in service.
    pub live: Option<Name>,
}

/// The first line of the table that fits.
pub fn case(record: &Record, memory: &Memory, name: Name, generation: u8) -> Case {
    let is_of = |entry: Option<&Entry>| entry.is_some_and(|entry| name_of(entry) == name);
    let held = record.generation().number();
    if !memory.is_active {
        Case::NotActive
    } else if generation != held && (record.rotation().is_none() || generation != held + 1) {
        Case::OtherGeneration
    } else if name.0 >> 16 >= BOOT_LIMIT.into() {
        Case::UsedUp
    } else if memory.live == Some(name) {
        Case::SameConfirmed
    } else if is_of(record.candidate()) && memory.offered == Some(name) {
        Case::SameCandidate
    } else if is_of(record.confirmed()) {
        Case::SameConfirmed
    } else {
        match window(record) {
            (newest, _) if name.0 > newest => Case::Newest,
            (newest, seen) if newest - name.0 < 32 && seen >> (newest - name.0) & 1 == 0 => Case::Late,
            _ => {
                let elsewhere = record.candidate().is_some_and(|entry| entry.gateway != memory.gateway);
                Case::Stale { offered_elsewhere: elsewhere && is_of(record.candidate()) }
            }
        }
    }
}

/// Whether the half has done what the table says.
pub fn check<B>(case: Case, received: &Received<B, Address>) {
    let is_right = match (case, received) {
        (_, Received::Rejected { reason, .. }) => match case {
            Case::NotActive => *reason == Reject::NotActive,
            // The bits of the generation may stand for another one that is held.
            Case::OtherGeneration => matches!(reason, Reject::UnknownGeneration | Reject::Inauthentic),
            Case::UsedUp => *reason == Reject::BootCounterUsedUp,
            Case::SameConfirmed => *reason == Reject::SameHello,
            Case::Stale { offered_elsewhere } => {
                matches!(reason, Reject::FloorLimited | Reject::FloorOutOfRange)
                    || offered_elsewhere && *reason == Reject::OtherGateway
            }
            Case::SameCandidate | Case::Newest | Case::Late => false,
        },
        (Case::SameCandidate, Received::Answered { kind, .. }) => *kind == AnswerKind::Welcome,
        (Case::Stale { .. }, Received::Answered { kind, .. }) => *kind == AnswerKind::Floor,
        (Case::Newest | Case::Late, Received::Pending(_, change)) => {
            check_change(case, change.value());
            true
        }
        _ => false,
    };
    assert!(is_right, "SPEC 7.1, M-57, M-59, M-60: {case:?} was {}", told(received));
}

/// M-54, M-55, M-57, M-63: what a fresh Hello writes. A candidate comes with a newest one alone.
fn check_change(case: Case, RecordChange { expected, record, .. }: &RecordChange) {
    let ((before, seen_before), (newest, seen)) = (window(expected), window(record));
    if case == Case::Late {
        let entries = |record: &Record| (record.confirmed().copied(), record.candidate().copied());
        assert!(entries(expected) == entries(record), "M-63: a late Hello displaces a candidate");
        assert!(newest == before && (seen ^ seen_before).is_power_of_two(), "M-57: not written down");
        return;
    }
    let entry = record.candidate().expect("M-54: no candidate in the write");
    assert!(newest > before && seen & 1 == 1 && entry.epoch.value() == newest, "M-54: not in one write");
    let displaced = expected.confirmed().filter(|entry| record.confirmed() != Some(entry));
    let moves_up = displaced.is_none() || record.confirmed().is_some();
    assert!(moves_up, "M-55: the candidate stands in the place of the confirmed entry");
}

/// The newest epoch and the 32 bits of the window, from the record's bytes.
fn window(record: &Record) -> (u64, u32) {
    let bytes = record.encode();
    let (_, rest) = bytes.expose().split_at(16);
    let newest = rest[..6].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (newest, u32::from_be_bytes(rest[6..10].try_into().unwrap()))
}

fn name_of(entry: &Entry) -> Name {
    (entry.epoch.value(), entry.salt.0)
}

/// A Hello that a device has made, by name and generation.
pub const fn named(kind: Kind) -> Option<(Name, u8)> {
    match kind {
        Kind::Hello { epoch, salt, generation, .. } => Some(((epoch, salt), generation)),
        _ => None,
    }
}

fn told<B>(received: &Received<B, Address>) -> String {
    match received {
        Received::Rejected { reason, .. } => format!("dropped as {:?}", reason.word()),
        Received::Answered { kind, .. } => format!("answered by {kind:?}"),
        Received::Pending(..) => "to be written".to_owned(),
        Received::Data(_) => "taken for Data".to_owned(),
    }
}
