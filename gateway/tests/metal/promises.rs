//! What the device and the gateway told, held against each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::auditor::Auditor;
use crate::gateway::payloads;

/// The payloads that the gateway told. No payload is told twice.
pub fn delivered(told: &[Value]) -> BTreeSet<Vec<u8>> {
    let all: Vec<_> = [payloads(told, "early"), payloads(told, "data")].concat();
    let once: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(once.len(), all.len(), "a payload is told twice: {told:#?}");
    once
}

/// The payloads that one run of the firmware was told are acknowledged.
pub fn acknowledged(lines: &[String]) -> BTreeSet<Vec<u8>> {
    let mut waiting = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    for line in lines {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["sent", "-", _] => {}
            ["sent", ticket, payload] => {
                waiting.insert(ticket.to_owned(), hex::decode(payload).unwrap());
            }
            ["acknowledged", ticket] => {
                let payload = waiting.remove(ticket);
                acknowledged.insert(payload.expect("only what was sent is acknowledged, and once"));
            }
            ["unknown" | "unsent", ticket] => {
                waiting.remove(ticket).expect("one outcome for each ticket");
            }
            _ => {}
        }
    }
    acknowledged
}

/// What every run has to keep: each payload sealed once; told once; nothing acknowledged is lost; nothing is told that was
/// not sent. Returns what was delivered.
pub fn are_kept(auditor: &Auditor, runs: &[Vec<String>], told: &[Value]) -> BTreeSet<Vec<u8>> {
    let sealed = auditor.payloads();
    let sent: BTreeSet<_> = sealed.iter().cloned().collect();
    assert_eq!(sent.len(), sealed.len(), "a payload was sealed twice");
    let delivered = delivered(told);
    assert!(delivered.is_subset(&sent), "told, and not sent: {:?}", delivered.difference(&sent));
    for run in runs {
        let promised = acknowledged(run);
        let lost: Vec<_> = promised.difference(&delivered).collect();
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    }
    delivered
}

/// How often each command was obeyed, by its bytes.
pub fn commands(runs: &[Vec<String>]) -> BTreeMap<Vec<u8>, usize> {
    let mut obeyed = BTreeMap::new();
    for line in runs.iter().flatten().filter_map(|line| line.strip_prefix("command ")) {
        let payload = hex::decode(line.split(' ').next().unwrap()).unwrap();
        *obeyed.entry(payload).or_insert(0) += 1;
    }
    obeyed
}

/// The boot counts, one for each run that came so far.
pub fn boots(runs: &[Vec<String>]) -> Vec<u32> {
    let boot = |line: &String| line.strip_prefix("device ")?.split(' ').nth(2)?.parse().ok();
    runs.iter().flatten().filter_map(boot).collect()
}
