//! A clock of a device or a gateway: it does not run backwards, and stands still when the attacker wants.

use moteseal::device::Millis;

/// A clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// By how much it is behind the world's.
    lag: Millis,
    /// It has shown this, and shows nothing less.
    shown: Millis,
}

impl Clock {
    /// What it shows at this time of the world.
    pub fn at(self, now: Millis) -> Millis {
        now.saturating_sub(self.lag).max(self.shown)
    }

    /// It stands still for so long from now on.
    pub fn stop(&mut self, now: Millis, ms: Millis) {
        *self = Self { lag: self.lag + ms, shown: self.at(now) };
    }

    /// When it will show this, by the world's clock.
    pub const fn shows(self, time: Millis) -> Millis {
        time.saturating_add(self.lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stops_goes_on_from_where_it_stood() {
        let mut clock = Clock::default();
        clock.stop(100, 50);
        assert_eq!([100, 149, 150, 151, 250].map(|now| clock.at(now)), [100, 100, 100, 101, 200]);
        clock.stop(250, 1_000);
        assert_eq!([250, 1_250, 1_251].map(|now| clock.at(now)), [200, 200, 201]);
        assert_eq!(clock.shows(201), 1_251);
    }
}
