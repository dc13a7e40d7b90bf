//! What the attacker has recorded. Everything that was ever sent passes here; he keeps the latest, and of all others
//! a sample in which each datagram is as likely to be as any other (reservoir sampling), so that what is replayed comes
//! from any time of the world's life, and the memory has a bound.

use moteseal::device::Millis;

use crate::network::Datagram;
use crate::random::Random;

/// How many of the latest datagrams he has.
const LATEST: usize = 2_048;
/// How many of all.
const SAMPLE: usize = 65_536;

/// A datagram, and when it was sent.
pub type Recorded = (Millis, Datagram);

/// The attacker's recordings.
#[derive(Debug, Default)]
pub struct Archive {
    latest: Vec<Recorded>,
    sample: Vec<Recorded>,
    count: u64,
}

impl Archive {
    /// A datagram is sent.
    pub fn record(&mut self, now: Millis, datagram: &Datagram, random: &mut Random) {
        let recorded = (now, datagram.clone());
        let place = usize::try_from(self.count).unwrap() % LATEST;
        self.count += 1;
        if self.sample.len() < SAMPLE {
            self.sample.push(recorded.clone());
        } else if let Some(kept) = usize::try_from(random.below(self.count)).ok().filter(|at| *at < SAMPLE) {
            self.sample[kept] = recorded.clone();
        }
        if self.latest.len() < LATEST {
            self.latest.push(recorded);
        } else {
            self.latest[place] = recorded;
        }
    }

    /// One of the latest, or one of all.
    pub fn pick(&self, random: &mut Random) -> Option<&Recorded> {
        let from = if random.chance(500) { &self.latest } else { &self.sample };
        (!from.is_empty()).then(|| &from[random.place(from.len())])
    }

    /// The latest for which a condition holds.
    pub fn latest(&self, wanted: impl Fn(&Datagram) -> bool) -> Option<&Datagram> {
        let newest = usize::try_from(self.count).unwrap();
        let places = (1..=self.latest.len()).map(|back| (newest - back) % LATEST);
        places.map(|at| &self.latest[at].1).find(|datagram| wanted(datagram))
    }

    /// How many datagrams he holds.
    pub fn len(&self) -> usize {
        self.latest.len() + self.sample.len()
    }

    /// The most that he ever holds.
    pub const fn bound() -> usize {
        LATEST + SAMPLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(number: u32) -> Datagram {
        Datagram { from: number, to: 0, bytes: Vec::new(), origin: None }
    }

    #[test]
    fn old_and_new_are_recalled_and_the_memory_has_a_bound() {
        let (mut archive, mut random) = (Archive::default(), Random::new(1));
        let all = 400_000;
        for number in 0..all {
            archive.record(0, &datagram(number), &mut random);
        }
        assert_eq!(archive.len(), Archive::bound());
        assert_eq!(archive.latest(|datagram| datagram.from % 1_000 == 7).unwrap().from, all - 1_000 + 7);
        let picked: Vec<u32> = (0..1_000).map(|_| archive.pick(&mut random).unwrap().1.from).collect();
        let latest = picked.iter().filter(|number| **number >= all - 2_048).count();
        let oldest = picked.iter().filter(|number| **number < all / 4).count();
        assert!((400..600).contains(&latest) && (75..175).contains(&oldest), "{latest} {oldest}");
    }
}
