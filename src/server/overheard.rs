//! What another gateway is to answer: silence to the first copy, and only where that other gateway seems to be gone,
//! an answer to a later one. A device that hears its own gateway never sends a copy a second later. SPEC section 8.

use crate::delivery::Millis;
use crate::number::{Epoch, Salt, SequenceNumber};
use crate::wire::Hello;

/// How much later than the first a copy is answered, in milliseconds.
const PATIENCE_MS: Millis = 1_000;

/// The first copies of one device's datagrams for another gateway: three of them, whatever comes (M-92).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(super) struct Overheard {
    hello: First,
    /// That of this Hello.
    salt: Salt,
    /// Of the confirmed entry, and of the candidate's.
    data: [First; 2],
}

/// What was heard, and when first. Epoch 0 is nobody's: nothing was heard yet.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
struct First {
    what: (Epoch, SequenceNumber),
    at: Millis,
}

impl Default for Overheard {
    fn default() -> Self {
        Self { hello: First::default(), salt: Salt([0; Salt::LEN]), data: <[First; 2]>::default() }
    }
}

impl Default for First {
    fn default() -> Self {
        Self { what: (Epoch::new(0, 0), SequenceNumber::FIRST), at: 0 }
    }
}

/// Whether the entry that a Data names is the confirmed one or the candidate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Confirmed,
    Candidate,
}

impl Overheard {
    /// M-91: whether this Hello, which verified, is to be answered by this gateway now.
    pub(super) fn answers_hello(&mut self, now: Millis, hello: &Hello) -> bool {
        let (epoch, _) = self.hello.what;
        // A device whose counter was rolled back uses an epoch again, with another salt: that is another Hello.
        if hello.epoch == epoch && hello.salt != self.salt {
            self.hello = First::default();
        }
        if hello.epoch >= epoch {
            self.salt = hello.salt;
        }
        self.hello.answers(now, (hello.epoch, SequenceNumber::FIRST))
    }

    /// M-90: the same for a Data with C that verified.
    pub(super) fn answers_data(
        &mut self,
        now: Millis,
        which: Which,
        epoch: Epoch,
        number: SequenceNumber,
    ) -> bool {
        let [confirmed, candidate] = &mut self.data;
        let first = match which {
            Which::Confirmed => confirmed,
            Which::Candidate => candidate,
        };
        first.answers(now, (epoch, number))
    }
}

impl First {
    /// Only the newest is remembered: that is what a device repeats, and what was recorded before cannot displace it.
    fn answers(&mut self, now: Millis, what: (Epoch, SequenceNumber)) -> bool {
        if what > self.what {
            *self = Self { what, at: now };
        }
        what == self.what && now.saturating_sub(self.at) >= PATIENCE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(epoch: Epoch, salt: u8) -> Hello {
        let device_id = crate::number::DeviceId::new([1; 8]);
        Hello { generation_bits: 1, device_id, epoch, salt: Salt([salt; Salt::LEN]) }
    }

    fn number(number: u16) -> SequenceNumber {
        SequenceNumber::new(number)
    }

    #[test]
    fn the_first_copy_gets_silence_and_one_a_second_later_an_answer() {
        let mut overheard = Overheard::default();
        let epoch = Epoch::new(1, 0);
        for (at, answered) in [(5, false), (5, false), (1_004, false), (1_005, true), (90_000, true)] {
            assert_eq!(overheard.answers_hello(at, &hello(epoch, 7)), answered, "{at}");
            assert_eq!(overheard.answers_data(at, Which::Candidate, epoch, number(0)), answered, "{at}");
        }
        // Another entry's Data is another's.
        assert!(!overheard.answers_data(90_000, Which::Confirmed, epoch, number(0)));
        // A newer one starts anew.
        assert!(!overheard.answers_hello(90_000, &hello(Epoch::new(1, 1), 8)));
        assert!(!overheard.answers_data(90_000, Which::Candidate, epoch, number(1)));
        assert!(!overheard.answers_data(90_000, Which::Candidate, Epoch::new(1, 1), number(0)));
    }

    /// A device whose counter was rolled back: the first copy of its new Hello is a first copy.
    #[test]
    fn an_epoch_that_comes_again_with_another_salt_is_another_hello() {
        let mut overheard = Overheard::default();
        let epoch = Epoch::new(4, 2);
        assert!(!overheard.answers_hello(0, &hello(epoch, 9)));
        assert!(!overheard.answers_hello(5_000, &hello(epoch, 3)));
        assert!(!overheard.answers_hello(5_999, &hello(epoch, 3)));
        assert!(overheard.answers_hello(6_000, &hello(epoch, 3)));
        // What came before is older, whatever its salt is.
        assert!(!overheard.answers_hello(6_000, &hello(Epoch::new(4, 1), 9)));
        assert!(overheard.answers_hello(6_000, &hello(epoch, 3)));
    }

    #[test]
    fn a_recording_displaces_nothing() {
        let mut overheard = Overheard::default();
        assert!(!overheard.answers_data(0, Which::Confirmed, Epoch::new(2, 0), number(7)));
        for (at, epoch, old) in [(100, 2, 6), (200, 1, 9), (2_000, 2, 6), (2_000, 1, 9)] {
            assert!(!overheard.answers_data(at, Which::Confirmed, Epoch::new(epoch, 0), number(old)));
        }
        assert!(overheard.answers_data(1_000, Which::Confirmed, Epoch::new(2, 0), number(7)));
    }
}
