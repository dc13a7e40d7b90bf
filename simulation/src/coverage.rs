//! How often each fault struck and each path was taken. A fault that never strikes is a hole in the test.

use crate::digest::Map;

/// How often each was hit.
#[derive(Clone, Debug, Default)]
pub struct Coverage(Map<&'static str, u64>);

/// What a whole run must have hit, each at least once.
pub const REQUIRED: &[&str] = &[
    "network: bits flipped",
    "network: duplicated",
    "network: extended",
    "network: lost",
    "network: reordered by a long delay",
    "network: source forged",
    "network: truncated",
    "attack: a device speaks from a bystander's address",
    "attack: garbage",
    "attack: garbage behind a true header",
    "attack: one Data repeated for long",
    "attack: reflected",
    "attack: replayed",
    "attack: replayed a day later",
    "attack: replayed ten minutes later",
    "attack: replayed to another device",
    "attack: replayed to another gateway",
    "thief: floor",
    "thief: hello under an erased key",
    "thief: hello under the key in service",
    "thief: malformed data",
    "thief: reset",
    "thief: rotate without a proof",
    "thief: welcome",
    "cut planned: before or after an operation",
    "cut planned: leaves garbage",
    "cut planned: within an operation",
    "cut: boot, first word",
    "cut: boot, page erased",
    "cut: boot, second word",
    "cut: floor, first word",
    "cut: floor, page erased",
    "cut: floor, second word",
    "cut: key slot, word 1",
    "cut: key slot, word 10",
    "cut: key slot, word 11",
    "cut: key slot, word 12",
    "cut: key slot, word 13",
    "cut: key slot, word 14",
    "cut: key slot, word 15",
    "cut: key slot, word 16",
    "cut: key slot, word 2",
    "cut: key slot, word 3",
    "cut: key slot, word 4",
    "cut: key slot, word 5",
    "cut: key slot, word 6",
    "cut: key slot, word 7",
    "cut: key slot, word 8",
    "cut: key slot, word 9",
    "cut: rotation, key slot erased",
    "cut: welcome, old key erased",
    "device: address moved",
    "device: burst",
    "device: clock stood still",
    "device: closed",
    "device: command delivered under a bound",
    "device: command refused for its age",
    "device: counter erased",
    "device: counter rolled back",
    "device: flash replaced",
    "device: flash worn out",
    "device: floor out of range",
    "device: floor passed with a write",
    "device: floor passed without a write",
    "device: generator failed",
    "device: key slots put back",
    "device: key slots rolled back",
    "device: key taken",
    "device: long silence",
    "device: malformed data",
    "device: old key erased",
    "device: power cut between two calls",
    "device: refuses to start without RNG and counter",
    "device: repeat acknowledged",
    "device: session lost",
    "device: session replaced",
    "device: several gateways in range",
    "device: stale hello",
    "device: welcome without a connection id",
    "device: withdrawn after it was sealed",
    "device: withdrawn before it was sealed",
    "device: without RNG",
    "device: worn flash keeps it from starting",
    "device: worn flash refuses",
    "outcome: acknowledged data",
    "outcome: acknowledged early data",
    "outcome: left of the window",
    "outcome: unknown",
    "outcome: unsent",
    "session: last number sent",
    "gateway: boot count noted",
    "gateway: clock stood still",
    "gateway: confirmation written",
    "gateway: crash after the write",
    "gateway: crash at rest",
    "gateway: crash before the write",
    "gateway: crash between commit and delivery",
    "gateway: crash between delivery and answer",
    "gateway: crash between journal and store",
    "gateway: crash during a raise",
    "gateway: crash with writes under way",
    "gateway: floor sent",
    "gateway: jump reported",
    "gateway: late hello",
    "gateway: long connection ids",
    "gateway: moved excused",
    "gateway: moved not excused",
    "gateway: newest hello",
    "gateway: plain data",
    "gateway: repeat acknowledged",
    "gateway: reset sent",
    "gateway: same hello answered by the same welcome",
    "gateway: two-byte connection ids used up",
    "rejected: answers limited",
    "rejected: boot counter used up",
    "rejected: for another gateway",
    "rejected: for another reason",
    "rejected: inauthentic",
    "rejected: left of the window",
    "rejected: malformed",
    "rejected: no datagram",
    "rejected: not active",
    "rejected: not for a server",
    "rejected: replayed",
    "rejected: resets limited",
    "rejected: same hello",
    "rejected: unknown connection",
    "rejected: unknown generation",
    "sharing: a notice comes late",
    "sharing: a record of another gateway read",
    "sharing: a session ended by another gateway's",
    "store: backup restored",
    "store: conflict",
    "store: lost",
    "store: restore refused at the last mark",
    "store: write refused",
    "admin: quarantined",
    "admin: readmitted",
    "admin: restored between begin and finish of a rotation",
    "admin: revoked",
    "admin: rotation begun",
    "admin: rotation finished",
    "command: acknowledged",
    "command: back in the queue",
    "command: could not be marked",
    "command: expired",
    "command: left of the window",
    "command: never sealed",
    "command: unknown",
    "calm: recovered",
];

impl Coverage {
    /// Something happened that is in the list.
    pub fn hit(&mut self, what: &'static str) {
        self.hits(what, 1);
    }

    /// It happened so many times.
    ///
    /// # Panics
    /// Where the list does not have it: then nothing would ask for it either.
    pub fn hits(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_insert_with(|| {
            assert!(REQUIRED.contains(&what), "{what:?} is not in the list");
            0
        }) += times;
    }

    /// Takes in what another world has hit.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.hits(what, *count);
        }
    }

    /// How often this was hit.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// What was never hit.
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|what| self.count(what) == 0).collect()
    }

    /// A line each.
    pub fn report(&self) -> String {
        let lines: Vec<_> = REQUIRED.iter().map(|what| format!("{:>12}  {what}", self.count(what))).collect();
        lines.join("\n")
    }
}
