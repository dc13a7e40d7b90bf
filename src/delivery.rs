//! Acknowledgements and repeats, as times: when to repeat, when to give up, when to answer again. Times are
//! milliseconds of any clock that does not run backwards, and does not stand still. It has never heard of bytes. SPEC
//! section 9.

use core::num::NonZeroU16;

use crate::number::Salt;

/// A moment in milliseconds, by the caller's clock, which goes on while the device sleeps: a command that was held back
/// meanwhile looks younger than it is by as long as the clock stood still.
pub type Millis = u64;

/// Names a payload that was handed over and whose outcome will be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(NonZeroU16);

impl Ticket {
    /// The first one.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The ticket with this number; zero is none.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The one after this; after 65,535 the first again, when the outcomes of the early ones are long known.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::FIRST,
        }
    }

    /// The number of the ticket.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

/// What became of a payload (SPEC 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The peer has recorded it. Whether its application has acted on it, only that application can say.
    Acknowledged,
    /// It was sealed and sent, and what came of it will never be known. To send it again, as a new payload, is the
    /// application's decision.
    Unknown,
    /// It was never sealed: nobody has it. It may be sent again without a second thought.
    Unsent,
}

/// The outcome of one payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settled {
    /// Which payload.
    pub ticket: Ticket,
    /// What became of it.
    pub outcome: Outcome,
}

/// How patient a half is. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Timing {
    /// The shortest first wait for an acknowledgement or a Welcome (RFC 7252, `ACK_TIMEOUT`): 2,000.
    pub answer_timeout_ms: u32,
    /// How often a Data with C is repeated (RFC 7252, `MAX_RETRANSMIT`): 4; 254 at most.
    pub repeats: u8,
    /// The longest wait between two Hellos: 600,000, ten minutes.
    pub hello_cap_ms: u32,
    /// After so long without sending, or without an acknowledgement, a Data carries C: 600,000, ten minutes.
    pub confirm_after_ms: u32,
    /// After so many Data without C, one carries it: 64, so that one byte of sequence number stays enough.
    pub confirm_every: u16,
}

impl Timing {
    /// The times that SPEC recommends.
    pub const DEFAULT: Self = Self {
        answer_timeout_ms: 2_000,
        repeats: 4,
        hello_cap_ms: 600_000,
        confirm_after_ms: 600_000,
        confirm_every: 64,
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Spreads repeats over time, so that a fleet does not speak in one voice. Not for secrets.
#[derive(Clone, Copy, Debug)]
pub struct Jitter(u32);

/// An exploration waits past every deadline: how far jitter puts one off tells no two states apart.
#[cfg(moteseal_explore)]
impl core::hash::Hash for Jitter {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

impl Jitter {
    /// Starts from the bytes of a salt, which differ from device to device and from boot to boot.
    pub const fn new(salt: Salt) -> Self {
        let s = salt.0;
        Self(u32::from_be_bytes([s[0], s[1], s[2], s[3]]) ^ u32::from_be_bytes([s[5], s[4], 0, 0]))
    }

    /// `wait` times something between 1 and 1.5 (RFC 7252, `ACK_RANDOM_FACTOR`).
    #[inline(never)] // part of every schedule of a device
    fn stretch(&mut self, wait: u32) -> u32 {
        // A Weyl sequence through the finalizer of MurmurHash3.
        self.0 = self.0.wrapping_add(0x9E37_79B9);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85EB_CA6B);
        mixed = (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35);
        let extra = (u64::from(wait) * u64::from(mixed >> 16)) >> 17;
        wait.saturating_add(u32::try_from(extra).unwrap_or(0))
    }
}

/// The schedule of one datagram's repeats: waits that double, with jitter, up to a cap.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Backoff {
    next: Millis,
    wait: u32,
    sent: u8,
}

impl Backoff {
    /// The datagram is to be sent at `at` for the first time.
    pub const fn due(at: Millis) -> Self {
        Self { next: at, wait: 0, sent: 0 }
    }

    /// The datagram is sent now for the first time.
    pub fn start(now: Millis, timing: &Timing, jitter: &mut Jitter) -> Self {
        let wait = jitter.stretch(timing.answer_timeout_ms.max(1));
        Self { next: now.saturating_add(wait.into()), wait, sent: 1 }
    }

    /// When to repeat it, or, after the last repeat, to give up.
    pub const fn next(&self) -> Millis {
        self.next
    }

    /// How often it was sent.
    pub const fn sent(&self) -> u8 {
        self.sent
    }

    /// The datagram is sent once more, now. Each wait is twice the one before, and at most `cap_ms`, with
    /// jitter taken off the top so that capped waits differ too.
    pub fn repeat(&mut self, now: Millis, cap_ms: u32, jitter: &mut Jitter) {
        let doubled = self.wait.saturating_mul(2);
        self.wait = if doubled < cap_ms { doubled } else { jitter.stretch(cap_ms - cap_ms / 3).min(cap_ms) };
        self.sent = self.sent.saturating_add(1);
        self.next = now.saturating_add(self.wait.into());
    }

    /// Not before `wait` has passed; what was scheduled later stays.
    pub fn postpone(&mut self, until: Millis) {
        self.next = self.next.max(until);
    }
}

/// How often repeats are acknowledged: once a second, and 8 times between two newly verified numbers. Without
/// it one captured datagram would drain a battery.
///
/// The low four bits count the answers; above them stands the time of the last one, without its highest bits: what
/// counts is the difference, so a clock may start anywhere.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct AnswerLimit(u64);

impl Default for AnswerLimit {
    /// The last answer was long enough ago, by a clock that starts at 0.
    fn default() -> Self {
        Self((Self::INTERVAL_MS << 4).wrapping_neg())
    }
}

impl AnswerLimit {
    /// The shortest time between two answers to repeats, in milliseconds.
    pub const INTERVAL_MS: Millis = 1_000;
    /// The most answers to repeats between two newly verified numbers.
    pub const BETWEEN_NEW: u8 = 8;

    const COUNT: u64 = 0xF;

    /// A new number was verified.
    pub const fn renew(&mut self) {
        self.0 &= !Self::COUNT;
    }

    /// Whether a repeat may be answered now; if so, it counts as answered.
    pub fn take(&mut self, now: Millis) -> bool {
        let (now, answered) = (now << 4, self.0 & Self::COUNT);
        let since = now.wrapping_sub(self.0 & !Self::COUNT);
        if since < Self::INTERVAL_MS << 4 || answered >= Self::BETWEEN_NEW.into() {
            return false;
        }
        self.0 = now | (answered + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_and_stay_under_the_cap() {
        let timing = Timing::DEFAULT;
        for seed in 0..=255 {
            let mut jitter = Jitter::new(Salt([seed; 6]));
            let mut backoff = Backoff::start(0, &timing, &mut jitter);
            let first = backoff.next();
            assert!((2_000..=3_000).contains(&first), "{first}");
            assert_eq!(backoff.sent(), 1);
            let (mut now, mut expected) = (first, first);
            while expected * 2 < 60_000 {
                backoff.repeat(now, 60_000, &mut jitter);
                expected *= 2;
                assert_eq!(backoff.next() - now, expected);
                now = backoff.next();
            }
            let mut least = u64::MAX;
            for _ in 0..20 {
                backoff.repeat(now, 60_000, &mut jitter);
                let wait = backoff.next() - now;
                assert!((40_000..=60_000).contains(&wait));
                (now, least) = (backoff.next(), least.min(wait));
            }
            assert!(least < 55_000, "capped waits differ, {least}");
        }
    }

    #[test]
    fn a_wait_that_doubles_to_the_cap_has_its_jitter_too() {
        let mut jitter = Jitter::new(Salt([3; 6]));
        let waits = [(); 64].map(|()| {
            let mut backoff = Backoff::start(0, &Timing::DEFAULT, &mut jitter);
            let cap = 2 * u32::try_from(backoff.next()).unwrap();
            backoff.repeat(0, cap, &mut jitter);
            assert!(backoff.next() <= cap.into());
            backoff.next() < cap.into()
        });
        assert!(waits.into_iter().filter(|below| *below).count() > 48);
    }

    #[test]
    fn what_is_put_off_is_never_put_forward() {
        let mut backoff = Backoff::due(5);
        assert_eq!((backoff.next(), backoff.sent()), (5, 0));
        for (until, next) in [(9, 9), (7, 9)] {
            backoff.postpone(until);
            assert_eq!(backoff.next(), next);
        }
    }

    #[test]
    fn tickets_are_counted_and_start_over() {
        assert_eq!((Ticket::new(0), Ticket::FIRST.number()), (None, 1));
        assert_eq!(Ticket::new(7).unwrap().next().number(), 8);
        assert_eq!(Ticket::new(u16::MAX).unwrap().next(), Ticket::FIRST);
    }

    /// The finalizer is that of `MurmurHash3`: its hashes of nothing under the seeds 1 and FFFFFFFF.
    #[test]
    fn jitter_is_the_hash_that_it_says() {
        for (state, hash) in [(1u32, 0x514E_28B7u32), (u32::MAX, 0x81F1_6F39)] {
            let [a, b, c, d] = state.wrapping_sub(0x9E37_79B9).to_be_bytes();
            let mut jitter = Jitter::new(Salt([a, b, c, d, 0, 0]));
            // Of 2^17 the half is 2^16: the upper half of the hash as it is.
            assert_eq!(jitter.stretch(1 << 17), (1 << 17) + (hash >> 16));
        }
    }

    #[test]
    fn jitter_spreads_a_fleet() {
        let mut waits = [0u64; 64];
        for (wait, seed) in waits.iter_mut().zip(0..) {
            let mut jitter = Jitter::new(Salt([7, 1, 9, seed, 0, 0]));
            *wait = Backoff::start(0, &Timing::DEFAULT, &mut jitter).next();
        }
        waits.sort_unstable();
        let distinct = waits.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(distinct > 48, "{distinct}");
    }

    #[test]
    fn repeats_are_answered_once_a_second_and_eight_times() {
        let mut limit = AnswerLimit::default();
        assert!(limit.take(0));
        assert!(!limit.take(999));
        assert_eq!((1..20).filter(|second| limit.take(second * 1_000)).count(), 7);
        limit.renew();
        assert!(limit.take(30_000));
        // A new number gives back the eight, not the second.
        limit.renew();
        assert!(!limit.take(30_999));
        assert!(limit.take(31_000));
    }

    #[test]
    fn a_clock_may_start_anywhere() {
        for start in [1, 1 << 59, 1 << 60, 1 << 63, u64::MAX - 10_000] {
            let mut limit = AnswerLimit::default();
            assert!(limit.take(start), "{start}");
            assert_eq!((0..1_000).filter(|later| limit.take(start + later)).count(), 0, "{start}");
            assert_eq!((1_000..10_000).filter(|later| limit.take(start + later)).count(), 7, "{start}");
        }
    }
}
