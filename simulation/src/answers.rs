//! How often a repeat was acknowledged again in one session: at most once a second, and 8 times between two numbers that
//! were new (M-101).

use moteseal::device::Millis;

/// The answers to repeats in one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    last: Option<Millis>,
    since_new: u32,
}

impl Answers {
    /// A number was verified for the first time.
    pub const fn renew(&mut self) {
        self.since_new = 0;
    }

    /// A repeat is acknowledged, at this time by the clock of whoever does.
    pub fn answered(&mut self, now: Millis) {
        let early = self.last.is_some_and(|last| now - last < 1_000);
        assert!(!early, "M-101: two repeats answered within a second");
        (self.last, self.since_new) = (Some(now), self.since_new + 1);
        assert!(self.since_new <= 8, "M-101: nine repeats answered, and nothing new came");
    }
}
