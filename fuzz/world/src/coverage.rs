//! How often each fault struck and each path was taken. A fault that never strikes is a hole in the test.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

/// What the seeds of a whole run must have hit, each at least once.
pub const REQUIRED: &[&str] = &[
    "network: lost",
    "network: duplicated",
    "network: reordered by a long delay",
    "network: bits flipped",
    "network: truncated",
    "network: extended",
    "network: source forged",
    "attack: replayed",
    "attack: replayed much later",
    "attack: replayed to another device",
    "attack: reflected",
    "attack: garbage",
    "attack: garbage behind a true header",
    "attack: hello under an erased key",
    "device: power cut between two calls",
    "device: power cut during boot",
    "device: power cut during an erase",
    "device: power cut while the counter moves past a floor",
    "device: power cut while a key is taken or erased",
    "device: torn to garbage",
    "device: counter erased",
    "device: counter rolled back",
    "device: without RNG",
    "device: address moved",
    "device: long silence",
    "device: stale hello",
    "device: floor passed with a write",
    "device: floor passed without a write",
    "device: session lost",
    "device: session replaced",
    "device: generator failed",
    "device: moved told",
    "device: command refused for its age",
    "device: command delivered under a bound",
    "device: withdrawn before it was sealed",
    "device: withdrawn after it was sealed",
    "device: closed",
    "device: key taken",
    "device: old key erased",
    "outcome: acknowledged early data",
    "outcome: acknowledged data",
    "outcome: unknown",
    "outcome: unsent",
    "outcome: left of the window",
    "server: crash at rest",
    "server: crash with writes under way",
    "server: crash before the write",
    "server: crash between journal and store",
    "server: crash after the write",
    "server: crash between commit and delivery",
    "server: crash between delivery and answer",
    "server: crash during a raise",
    "server: conflict",
    "server: writes completed out of order",
    "server: late hello",
    "server: newest hello",
    "server: same hello answered by the same welcome",
    "server: floor sent",
    "server: reset sent",
    "server: repeat acknowledged",
    "server: boot count noted",
    "server: jump reported",
    "server: moved excused",
    "server: moved not excused",
    "server: rejected",
    "server: plain data",
    "server: long connection ids",
    "store: backup restored",
    "store: lost",
    "admin: quarantined",
    "admin: readmitted",
    "admin: revoked",
    "admin: rotation begun",
    "admin: rotation finished",
    "admin: restored between begin and finish of a rotation",
    "command: acknowledged",
    "command: unknown",
    "command: back in the queue",
    "command: expired",
    "command: never sealed",
    "command: left of the window",
    "calm: recovered",
];

impl Coverage {
    pub fn hit(&mut self, what: &'static str) {
        assert!(REQUIRED.contains(&what), "{what:?} is not in the list");
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|what| !self.0.contains_key(what)).collect()
    }

    pub fn report(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|(what, count)| format!("{count:>10}  {what}")).collect();
        lines.join("\n")
    }
}
