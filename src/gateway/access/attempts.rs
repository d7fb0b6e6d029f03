//! Rate limits for guesses: bounded tables of failed log-ins.
//!
//! A few mistakes are free, then each costs a wait that doubles. A network address is locked out
//! after ten failures, for a while, and then starts afresh. An IPv6 /64 counts as one address,
//! since its owner can use all of it. A full table forgets no entry before its time: new addresses
//! share a few counts, so changing one's address gains little (F50, F76).
//!
//! Others' guesses lock nobody out (F98). This machine and known browsers have counts of their own,
//! which only they can raise and which never lock. The shared counts slow down and never lock
//! either.
//!
//! Time is the engine's monotonic time: a jump of the wall clock changes no wait.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use loka_stratum::limits::{
    ATTEMPT_COUNTS_SHARED, ATTEMPT_WAIT_KNOWN_MAX, ATTEMPT_WAIT_MIN, ATTEMPT_WAIT_SHARED_MAX,
    ATTEMPTS_FREE, ATTEMPTS_KEPT_MAX, ATTEMPTS_LOCK, ATTEMPTS_MAX, DEVICES_COUNTED_MAX,
};
use loka_stratum::offenders::{self, Place};
use loka_stratum::time::{Duration, Instant};

use super::devices::DeviceId;

/// Failed log-ins, and when the next attempt is allowed.
#[derive(Default)]
pub struct Attempts {
    wrong: Vec<Entry>,
    /// Counts shared by the addresses without an entry, chosen by hash.
    others: [Count; ATTEMPT_COUNTS_SHARED],
    hasher: RandomState,
    machine: Count,
    devices: Vec<(DeviceId, Count)>,
}

/// The origin of a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A process on this machine.
    Machine,
    /// A browser that logged in to the same account before.
    Device(DeviceId),
    /// An address of the network.
    Address(Place),
}

struct Entry {
    by: Place,
    count: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    wrong: u32,
    /// No attempt is allowed before this time.
    until: Instant,
    last: Instant,
}

/// An attempt that came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooEarly {
    /// The time left to wait.
    pub wait: Duration,
}

impl Whose {
    /// Chooses the count by address and known browser.
    pub fn of(from: IpAddr, device: Option<DeviceId>) -> Self {
        match device {
            _ if offenders::is_this_machine(offenders::octets(from)) => Self::Machine,
            Some(device) => Self::Device(device),
            None => Self::Address(Place::from(from)),
        }
    }
}

impl Attempts {
    /// Begins an attempt. It counts as wrong until [`Self::was_right`], so parallel attempts gain
    /// nothing.
    ///
    /// # Errors
    ///
    /// It is too early; the attempt is not counted.
    pub fn begin(&mut self, by: Whose, now: Instant) -> Result<(), TooEarly> {
        self.wrong.retain(|entry| !entry.count.is_over(now));
        self.devices.retain(|(_, count)| !count.is_over(now));
        for count in self.others.iter_mut().chain([&mut self.machine]) {
            if count.is_over(now) {
                *count = Count::default();
            }
        }
        self.make_room(by);
        let (count, longest) = self.count(by);
        count.begin(longest, now)
    }

    /// Uncounts the last attempt, which was right. Earlier failures stay counted, so knowing one
    /// password does not hide guesses at another.
    pub fn was_right(&mut self, by: Whose, now: Instant) {
        let (count, _) = self.count(by);
        count.wrong = count.wrong.saturating_sub(1);
        count.until = now;
        self.wrong.retain(|entry| entry.count.wrong > 0);
        self.devices.retain(|(_, count)| count.wrong > 0);
    }

    /// Says whether this origin is locked out.
    pub fn is_locked_out(&mut self, by: Whose) -> bool {
        let (count, longest) = self.count(by);
        longest.is_none() && count.wrong >= ATTEMPTS_MAX
    }

    /// Gives an origin its own entry if there is room.
    fn make_room(&mut self, by: Whose) {
        match by {
            Whose::Machine => {}
            Whose::Device(id) => {
                if self.devices.iter().any(|(known, _)| *known == id) {
                    return;
                }
                if self.devices.len() >= DEVICES_COUNTED_MAX
                    && let Some(oldest) =
                        (0..self.devices.len()).min_by_key(|index| self.devices[*index].1.last)
                {
                    self.devices.swap_remove(oldest);
                }
                self.devices.push((id, Count::default()));
            }
            Whose::Address(place) => {
                let is_known = self.wrong.iter().any(|entry| entry.by == place);
                if !is_known && self.wrong.len() < ATTEMPTS_KEPT_MAX {
                    self.wrong.push(Entry { by: place, count: Count::default() });
                }
            }
        }
    }

    /// Returns an origin's count, and the longest wait if that count never locks.
    fn count(&mut self, by: Whose) -> (&mut Count, Option<Duration>) {
        let Self { wrong, others, hasher, machine, devices } = self;
        let place = match by {
            Whose::Machine => return (machine, Some(ATTEMPT_WAIT_KNOWN_MAX)),
            Whose::Device(id) => {
                let own = devices.iter_mut().find(|(known, _)| *known == id);
                // Its entry is gone after a right attempt, so this machine's count stands in.
                let count = own.map_or(machine, |(_, count)| count);
                return (count, Some(ATTEMPT_WAIT_KNOWN_MAX));
            }
            Whose::Address(place) => place,
        };
        if let Some(entry) = wrong.iter_mut().find(|entry| entry.by == place) {
            return (&mut entry.count, None);
        }
        let index = hasher.hash_one(place) % ATTEMPT_COUNTS_SHARED as u64;
        let index = usize::try_from(index).unwrap_or_default();
        (&mut others[index], Some(ATTEMPT_WAIT_SHARED_MAX))
    }
}

impl Count {
    fn begin(&mut self, longest: Option<Duration>, now: Instant) -> Result<(), TooEarly> {
        let wait = self.until.since(now);
        if wait > Duration::ZERO {
            return Err(TooEarly { wait });
        }
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
        let wait = wait_after(self.wrong);
        self.until = now + longest.map_or(wait, |longest| wait.min(longest));
        Ok(())
    }

    /// Says whether the count has expired.
    fn is_over(&self, now: Instant) -> bool {
        now.since(self.last) >= ATTEMPTS_LOCK
    }
}

/// Returns the wait after this many failures.
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

    fn whose(from: &str) -> Whose {
        Whose::of(from.parse().unwrap(), None)
    }

    fn wait_of(attempts: &mut Attempts, by: Whose, secs: u64) -> Option<u64> {
        attempts.begin(by, at(secs)).err().map(|early| early.wait.as_secs())
    }

    fn wait(attempts: &mut Attempts, from: &str, secs: u64) -> Option<u64> {
        wait_of(attempts, whose(from), secs)
    }

    #[test]
    fn f76_guessing_gets_slower_then_stops_then_begins_anew() {
        let mut attempts = Attempts::default();
        let mut now = 0;
        for waited in [0, 0, 0, 0, 1, 2, 4, 8, 16, 32] {
            now += waited;
            assert_eq!(wait(&mut attempts, "192.0.2.1", now), None, "after {waited} s");
        }
        assert!(attempts.is_locked_out(whose("192.0.2.1")));
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
        let from = whose("192.0.2.1");
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
        for last in 0..10_000 {
            let from = format!("198.51.{}.{}", last / 250, last % 250);
            refused += u32::from(wait(&mut attempts, &from, 0).is_some());
        }
        // Each shared count gives its free attempts, and no more.
        let free = (ATTEMPTS_FREE + 1) * ATTEMPT_COUNTS_SHARED as u32;
        assert!(refused >= 10_000 - free, "{refused} of 10,000 newcomers");
        assert_eq!(wait(&mut attempts, "2001:db8::1", 0), Some(1), "nobody was forgotten for them");
        assert_eq!(wait(&mut attempts, "198.51.0.1", ATTEMPTS_LOCK.as_secs()), None);
    }

    /// Wrong guesses of 300 addresses, as fast as the waits allow.
    fn attacked(attempts: &mut Attempts, secs: u64) {
        for now in 0..secs {
            for last in 0..300 {
                let _ = wait(attempts, &format!("10.0.{}.{}", last / 250, last % 250), now);
            }
        }
    }

    #[test]
    fn f98_three_hundred_addresses_lock_neither_machine_nor_known_browser_nor_newcomer() {
        let mut attempts = Attempts::default();
        attacked(&mut attempts, 120);
        let own = [whose("127.0.0.1"), whose("::1"), Whose::Device(DeviceId::new([7; 16]))];
        for by in own {
            assert_eq!(wait_of(&mut attempts, by, 120), None, "{by:?}");
            assert!(!attempts.is_locked_out(by));
            attempts.was_right(by, at(120));
        }
        // A newcomer waits some seconds, then its attempt is allowed.
        let newcomer = "203.0.113.7";
        if let Some(waited) = wait(&mut attempts, newcomer, 120) {
            assert!(waited <= 8, "{waited} s");
            assert_eq!(wait(&mut attempts, newcomer, 120 + waited), None);
        }
        assert!(!attempts.is_locked_out(whose(newcomer)));
    }

    #[test]
    fn f98_who_is_wrong_at_the_machine_or_a_known_browser_is_slowed_and_never_locked() {
        let mut attempts = Attempts::default();
        for by in [whose("127.0.0.1"), Whose::Device(DeviceId::new([7; 16]))] {
            let mut now = 0;
            for _ in 0..50 {
                let waited = wait_of(&mut attempts, by, now).unwrap_or(0);
                assert!(waited <= 30, "{waited} s");
                now += waited;
                if waited > 0 {
                    assert_eq!(wait_of(&mut attempts, by, now), None);
                }
            }
            assert!(now > 60, "it is slowed: {now} s");
            assert!(!attempts.is_locked_out(by));
        }
        assert_eq!(attempts.wrong.len(), 0, "no address is counted for them");
    }

    #[test]
    fn f98_the_counts_of_browsers_are_bounded() {
        let mut attempts = Attempts::default();
        for id in 0..1000_u16 {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&id.to_be_bytes());
            let _ = wait_of(&mut attempts, Whose::Device(DeviceId::new(bytes)), id.into());
        }
        assert!(attempts.devices.len() <= DEVICES_COUNTED_MAX);
    }
}
