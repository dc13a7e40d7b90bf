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
    hello: First<(Epoch, Salt)>,
    /// Of the confirmed entry, and of the candidate's.
    data: [First<(Epoch, SequenceNumber)>; 2],
}

/// What was heard, and when first.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
struct First<T> {
    what: T,
    at: Millis,
}

/// Epoch 0 is nobody's: nothing was heard yet.
const NOBODY: Epoch = Epoch::new(0, 0);

impl Default for Overheard {
    fn default() -> Self {
        let nothing = First { what: (NOBODY, SequenceNumber::FIRST), at: 0 };
        Self { hello: First { what: (NOBODY, Salt([0; Salt::LEN])), at: 0 }, data: [nothing; 2] }
    }
}

/// Whether the entry that a Data names is the confirmed one or the candidate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Confirmed,
    Candidate,
}

impl Overheard {
    /// A Hello that is fresh: another gateway may win the race for it, so this was its first copy (M-91). An older one, which
    /// may be a recording, displaces nothing.
    pub(super) fn heard_hello(&mut self, now: Millis, hello: &Hello) {
        let (epoch, _) = self.hello.what;
        // A device whose counter was rolled back uses an epoch again, with another salt: that is another Hello.
        if hello.epoch >= epoch {
            self.hello.hear(now, (hello.epoch, hello.salt));
        }
    }

    /// M-91: whether this Hello, of which the record says that another gateway has its Welcome, is to be answered by this one
    /// now. There is one such Hello, so it takes the place of whatever is remembered: a newer one may have come to nothing
    /// before the device lost its counter, and would keep this gateway silent for ever.
    pub(super) fn answers_hello(&mut self, now: Millis, hello: &Hello) -> bool {
        self.hello.hear(now, (hello.epoch, hello.salt));
        self.hello.is_over(now)
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
        // Only the newest is remembered: that is what a device repeats, and what was recorded before cannot displace it.
        if (epoch, number) >= first.what {
            first.hear(now, (epoch, number));
        }
        first.what == (epoch, number) && first.is_over(now)
    }
}

impl<T: PartialEq> First<T> {
    /// Remembers it, and the time if this is its first copy.
    fn hear(&mut self, now: Millis, what: T) {
        if self.what != what {
            *self = Self { what, at: now };
        }
    }

    /// Whether a copy that comes now is one that its own gateway would have spared the device.
    const fn is_over(&self, now: Millis) -> bool {
        now.saturating_sub(self.at) >= PATIENCE_MS
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
    }

    /// It sent a Hello that nobody could write, lost its counter, and another gateway has offered a session for a lower epoch.
    #[test]
    fn a_newer_hello_that_came_to_nothing_keeps_nobody_silent() {
        let mut overheard = Overheard::default();
        let (newer, epoch) = (Epoch::new(9, 0), Epoch::new(4, 2));
        overheard.heard_hello(0, &hello(newer, 7));
        assert!(!overheard.answers_hello(5_000, &hello(epoch, 3)));
        assert!(overheard.answers_hello(6_000, &hello(epoch, 3)));
    }

    /// What is fresh and older may be a recording: the first copy of the newest one stays the first.
    #[test]
    fn a_recorded_hello_displaces_nothing() {
        let mut overheard = Overheard::default();
        let epoch = Epoch::new(4, 2);
        overheard.heard_hello(0, &hello(epoch, 3));
        overheard.heard_hello(500, &hello(Epoch::new(4, 1), 9));
        overheard.heard_hello(600, &hello(epoch, 3));
        assert!(!overheard.answers_hello(999, &hello(epoch, 3)));
        assert!(overheard.answers_hello(1_000, &hello(epoch, 3)));
        // A newer one is another.
        overheard.heard_hello(1_100, &hello(Epoch::new(4, 3), 3));
        assert!(!overheard.answers_hello(2_099, &hello(Epoch::new(4, 3), 3)));
        assert!(overheard.answers_hello(2_100, &hello(Epoch::new(4, 3), 3)));
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
