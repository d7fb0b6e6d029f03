//! A rate limit: a burst at once, then one more after each interval.

use loka_stratum::time::{Duration, Instant};

/// A rate limiter for one kind of action.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    burst_max: u32,
    interval: Duration,
    recent: u32,
    forgiven_at: Instant,
}

impl Allowance {
    /// Allows a burst of `burst_max`, and one more after each interval.
    pub fn new(burst_max: u32, interval: Duration) -> Self {
        Self { burst_max, interval, recent: 0, forgiven_at: Instant::default() }
    }

    /// Says whether one more is allowed, and counts it if so.
    pub fn allow(&mut self, now: Instant) -> bool {
        self.forgive(now);
        let is_allowed = self.recent < self.burst_max;
        self.recent += u32::from(is_allowed);
        is_allowed
    }

    /// Returns how many are not forgiven yet.
    pub fn recent(&self) -> u32 {
        self.recent
    }

    /// Forgives what is long ago.
    pub fn forgive(&mut self, now: Instant) {
        let interval = self.interval.as_micros();
        let count = now.since(self.forgiven_at).as_micros() / interval;
        self.recent = self.recent.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        self.forgiven_at = self.forgiven_at + Duration::from_micros(count * interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_interval_and_all_again_after_a_pause() {
        let at = |secs| Instant::from_micros(0) + Duration::from_secs(secs);
        let mut allowance = Allowance::new(3, Duration::from_secs(10));
        let mut count = |secs| (0..10).filter(|_| allowance.allow(at(secs))).count();
        assert_eq!(count(5), 3);
        assert_eq!(count(9), 0);
        assert_eq!(count(10), 1);
        assert_eq!(count(19), 0);
        assert_eq!(count(39), 2);
        assert_eq!(count(1_000), 3);
    }
}
