//! How often somebody may guess: a bounded table of addresses that have been wrong.
//!
//! A few mistakes are free, then each costs a wait that doubles, then the address is locked out
//! for a while and begins anew. All of an IPv6 /64 is one address, since whoever has one has them
//! all. Where the table is full, nobody in it is forgotten before the time: newcomers share one
//! entry, so that changing one's address gains nothing (F50, F76).
//!
//! Time is the engine's, which is monotonic: a wall clock that jumps lets nobody in or out.

use std::net::IpAddr;

use loka_stratum::limits::{
    ATTEMPT_WAIT_MIN, ATTEMPTS_FREE, ATTEMPTS_KEPT_MAX, ATTEMPTS_LOCK, ATTEMPTS_MAX,
};
use loka_stratum::offenders::Place;
use loka_stratum::time::{Duration, Instant};

/// Addresses that were wrong, and when they may try again.
#[derive(Default)]
pub struct Attempts {
    wrong: Vec<Entry>,
    /// All for which there is no room.
    others: Count,
}

struct Entry {
    by: Place,
    count: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    wrong: u32,
    /// Before this nothing is tried.
    until: Instant,
    last: Instant,
}

/// An attempt that came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooEarly {
    /// How long is to be waited.
    pub wait: Duration,
}

impl Attempts {
    /// Begins an attempt, which counts as wrong until [`Self::was_right`] is told, so that
    /// several at once gain nothing.
    ///
    /// # Errors
    ///
    /// It is too early; nothing is counted then.
    pub fn begin(&mut self, from: IpAddr, now: Instant) -> Result<(), TooEarly> {
        let by = Place::from(from);
        self.wrong.retain(|entry| !entry.count.is_over(now));
        if self.others.is_over(now) {
            self.others = Count::default();
        }
        let is_known = self.wrong.iter().any(|entry| entry.by == by);
        if !is_known && self.wrong.len() < ATTEMPTS_KEPT_MAX {
            self.wrong.push(Entry { by, count: Count::default() });
        }
        self.count(by).begin(now)
    }

    /// Takes the last attempt back, which was right; those before it stay counted, so that who
    /// knows one password cannot wash guesses at another.
    pub fn was_right(&mut self, from: IpAddr, now: Instant) {
        let count = self.count(Place::from(from));
        count.wrong = count.wrong.saturating_sub(1);
        count.until = now;
        self.wrong.retain(|entry| entry.count.wrong > 0);
    }

    /// Says whether an address is locked out.
    pub fn is_locked_out(&mut self, from: IpAddr) -> bool {
        self.count(Place::from(from)).wrong >= ATTEMPTS_MAX
    }

    fn count(&mut self, by: Place) -> &mut Count {
        match self.wrong.iter_mut().find(|entry| entry.by == by) {
            Some(entry) => &mut entry.count,
            None => &mut self.others,
        }
    }
}

impl Count {
    fn begin(&mut self, now: Instant) -> Result<(), TooEarly> {
        let wait = self.until.since(now);
        if wait > Duration::ZERO {
            return Err(TooEarly { wait });
        }
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
        self.until = now + wait_after(self.wrong);
        Ok(())
    }

    /// Says whether what it counts is forgotten.
    fn is_over(&self, now: Instant) -> bool {
        now.since(self.last) >= ATTEMPTS_LOCK
    }
}

/// Returns the wait after so many that were wrong.
fn wait_after(wrong: u32) -> Duration {
    if wrong >= ATTEMPTS_MAX {
        return ATTEMPTS_LOCK;
    }
    match wrong.checked_sub(ATTEMPTS_FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => ATTEMPT_WAIT_MIN.saturating_mul(1 << doublings.min(16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(1) + Duration::from_secs(secs)
    }

    fn wait(attempts: &mut Attempts, from: &str, secs: u64) -> Option<u64> {
        let result = attempts.begin(from.parse().unwrap(), at(secs));
        result.err().map(|early| early.wait.as_secs())
    }

    #[test]
    fn f76_guessing_gets_slower_then_stops_then_begins_anew() {
        let mut attempts = Attempts::default();
        let mut now = 0;
        for waited in [0, 0, 0, 0, 1, 2, 4, 8, 16, 32] {
            now += waited;
            assert_eq!(wait(&mut attempts, "192.0.2.1", now), None, "after {waited} s");
        }
        assert!(attempts.is_locked_out("192.0.2.1".parse().unwrap()));
        assert_eq!(wait(&mut attempts, "192.0.2.1", now), Some(ATTEMPTS_LOCK.as_secs()));
        let end = now + ATTEMPTS_LOCK.as_secs();
        assert_eq!(
            wait(&mut attempts, "192.0.2.1", end - 1),
            Some(1),
            "asking does not lengthen it"
        );
        assert_eq!(wait(&mut attempts, "192.0.2.2", end - 1), None, "another address");
        for _ in 0..=ATTEMPTS_FREE {
            assert_eq!(wait(&mut attempts, "192.0.2.1", end), None, "as if nothing had been");
        }
        assert_eq!(wait(&mut attempts, "192.0.2.1", end), Some(1));
    }

    #[test]
    fn f76_who_is_right_takes_back_that_attempt_alone() {
        let mut attempts = Attempts::default();
        let from = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            attempts.begin(from, at(0)).unwrap();
            attempts.was_right(from, at(0));
        }
        assert!(attempts.wrong.is_empty());
        for _ in 0..=ATTEMPTS_FREE {
            assert_eq!(wait(&mut attempts, "192.0.2.1", 0), None);
        }
        attempts.begin(from, at(1)).unwrap();
        attempts.was_right(from, at(1));
        assert_eq!(wait(&mut attempts, "192.0.2.1", 1), None);
        assert_eq!(
            wait(&mut attempts, "192.0.2.1", 1),
            Some(2),
            "the wrong ones are still counted"
        );
    }

    #[test]
    fn f50_a_64_is_one_address_and_a_full_table_is_strict() {
        let mut attempts = Attempts::default();
        for host in 0..=ATTEMPTS_FREE {
            assert_eq!(wait(&mut attempts, &format!("2001:db8::{host:x}"), 0), None);
        }
        assert_eq!(wait(&mut attempts, "2001:db8::ffff", 0), Some(1));
        assert_eq!(wait(&mut attempts, "2001:db8:0:1::1", 0), None);
        for network in 0..ATTEMPTS_KEPT_MAX {
            let _ = wait(&mut attempts, &format!("2001:db8:1:{network:x}::1"), 0);
        }
        assert_eq!(attempts.wrong.len(), ATTEMPTS_KEPT_MAX);
        let mut refused = 0;
        for last in 0..100 {
            refused += u32::from(wait(&mut attempts, &format!("198.51.100.{last}"), 0).is_some());
        }
        assert!(refused >= 95, "{refused} of 100 newcomers");
        assert_eq!(wait(&mut attempts, "2001:db8::1", 0), Some(1), "nobody was forgotten for them");
        assert_eq!(wait(&mut attempts, "198.51.100.1", ATTEMPTS_LOCK.as_secs()), None);
    }
}
