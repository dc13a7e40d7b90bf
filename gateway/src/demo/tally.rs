//! How much of everything was thrown at the fleet. A fault that never struck was not tested, and the run says so.

use std::sync::atomic::{AtomicU64, Ordering};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A datagram did not arrive.
    Lost,
    /// A datagram arrived twice.
    Duplicated,
    /// A datagram was overtaken by a later one.
    Reordered,
    /// Bits of a datagram were changed, or it was cut short or made longer.
    Corrupted,
    /// A datagram of any time was sent once more, to anybody.
    Replayed,
    /// A datagram that nobody had sealed was sent.
    Forged,
    /// A datagram of a device came from the address of another one.
    Rerouted,
    /// A device got another source address.
    Rebound,
    /// A device was cut off the network for a while.
    Outage,
    /// A device lost its power.
    PowerCut,
    /// It did so in the middle of a flash operation.
    TornFlash,
    /// The flash of a boot counter was erased.
    ErasedCounter,
    /// The gateway's process was killed.
    Kill,
    /// An older copy of the store was put in place.
    Restore,
    /// A device was revoked.
    Revocation,
    /// A rotation began.
    Rotation,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::Corrupted,
        Self::Replayed,
        Self::Forged,
        Self::Rerouted,
        Self::Rebound,
        Self::Outage,
        Self::PowerCut,
        Self::TornFlash,
        Self::ErasedCounter,
        Self::Kill,
        Self::Restore,
        Self::Revocation,
        Self::Rotation,
    ];

    /// What the table calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupted => "corrupted",
            Self::Replayed => "replayed",
            Self::Forged => "forged",
            Self::Rerouted => "from a wrong address",
            Self::Rebound => "new addresses",
            Self::Outage => "outages",
            Self::PowerCut => "power cuts",
            Self::TornFlash => "torn flash operations",
            Self::ErasedCounter => "erased counters",
            Self::Kill => "kills",
            Self::Restore => "restores",
            Self::Revocation => "revocations",
            Self::Rotation => "rotations",
        }
    }
}

/// A count of each fault, shared by all that cause them.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Fault::ALL.len()]);

impl Tally {
    /// One more.
    pub fn add(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize].load(Ordering::Relaxed)
    }

    /// What never struck.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.count(*fault) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_struck_is_told() {
        let tally = Tally::default();
        for fault in Fault::ALL {
            if fault != Fault::Restore {
                tally.add(fault);
            }
        }
        tally.add(Fault::Lost);
        assert_eq!(tally.missing(), [Fault::Restore]);
        assert_eq!((tally.count(Fault::Lost), tally.count(Fault::Kill)), (2, 1));
    }
}
