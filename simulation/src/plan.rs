//! Which worlds a run consists of. Their seeds follow each other, and each can be run alone: threads share nothing.

use crate::{Kind, Spec};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of the first world.
    pub seed: u64,
    /// How many datagrams are to arrive in all worlds together.
    pub datagrams: u64,
    /// How many devices a fleet has.
    pub devices: usize,
    /// How many gateways a fleet has.
    pub gateways: usize,
}

/// One round of worlds, and how many of a hundred datagrams each carries.
const ROUND: [(Kind, u64); 4] = [(Kind::Fleet, 76), (Kind::Village, 14), (Kind::Edge, 5), (Kind::Long, 5)];
/// A round carries this many datagrams at the most, so that the memory of a run has a bound.
const LARGEST: u64 = 5_000_000;

impl Plan {
    /// How many worlds there are: two rounds at the least.
    pub fn worlds(&self) -> u64 {
        self.rounds() * ROUND.len() as u64
    }

    fn rounds(&self) -> u64 {
        self.datagrams.div_ceil(LARGEST).max(2)
    }

    /// The world with this number, from 0.
    pub fn world(&self, number: u64) -> Spec {
        let place = usize::try_from(number).unwrap_or(0) % ROUND.len();
        let (kind, share) = ROUND[place];
        let seed = self.seed.wrapping_add(number);
        let datagrams = (self.datagrams.div_ceil(self.rounds()) * share).div_ceil(100);
        let (devices, gateways) = match kind {
            Kind::Fleet => (self.devices, self.gateways),
            Kind::Village if seed.is_multiple_of(2) => (37, 1),
            Kind::Village => (9, self.gateways.min(2)),
            Kind::Edge => (12, self.gateways.min(2)),
            Kind::Long => (4, 1),
        };
        Spec { kind, seed, datagrams, devices, gateways }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worlds_carry_what_was_asked_for_and_no_world_is_too_large() {
        for datagrams in [100_000, 10_000_000, 3_000_000_000] {
            let plan = Plan { seed: 7, datagrams, devices: 3_000, gateways: 3 };
            let worlds: Vec<_> = (0..plan.worlds()).map(|number| plan.world(number)).collect();
            assert!(worlds.iter().map(|spec| spec.datagrams).sum::<u64>() >= datagrams);
            assert!(worlds.iter().all(|spec| spec.datagrams <= LARGEST));
            assert!(worlds.iter().zip(7..).all(|(spec, seed)| spec.seed == seed));
        }
    }
}
