//! Vardiff: each miner's difficulty, so that it sends a share every few seconds.
//!
//! It starts from the request of the miner or the settings, jumps after the first few shares, then
//! follows the proven hash-rate. It sends nothing and knows no job. The proxy reads
//! [`Vardiff::wanted`] for each outgoing job and caps it at the pool's difficulty. It judges shares
//! by the difficulty sent.
//!
//! Invariants: the difficulty is a power of two, since firmware rounds others up or down and loses
//! shares or hash-rate (QUIRKS 26). It stays within the policy's bounds. It changes on evidence
//! only: a rise needs [`VARDIFF_SHARES_MIN`] shares, a fall needs a window with too few of them.

use crate::limits::{
    SILENCE_FALL_PROVEN, SILENCE_FALL_UNPROVEN, VARDIFF_SHARES_MIN, VARDIFF_WINDOW_SHARES,
};
use crate::personality::Steps;
use crate::time::{Duration, Instant};
use crate::work::difficulty::Difficulty;

/// The settings for difficulty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The difficulty of a miner without a wish.
    pub start: Difficulty,
    /// The lowest difficulty.
    pub min: Difficulty,
    /// The highest difficulty.
    pub max: Difficulty,
    /// The target interval between a miner's shares.
    pub share_interval: Duration,
}

/// The difficulty of one miner, and the evidence since its last change.
#[derive(Clone, Copy, Debug)]
pub struct Vardiff {
    wanted: Difficulty,
    /// The miner's own minimum (`md=`, minimum-difficulty), which applies with `min`.
    floor: Option<Difficulty>,
    window_start: Instant,
    /// Difficulty-weighted work of the window: the sum of the shares' difficulties.
    window_work: f64,
    window_shares: u32,
    /// The lowest difficulty that silence alone may set.
    silence_floor: f64,
}

impl Vardiff {
    /// Starts with the policy's difficulty.
    pub fn new(policy: &Policy, now: Instant) -> Self {
        let wanted = within(policy, None, policy.start);
        Self {
            wanted,
            floor: None,
            window_start: now,
            window_work: 0.0,
            window_shares: 0,
            silence_floor: wanted.as_f64() / SILENCE_FALL_UNPROVEN,
        }
    }

    /// Returns the difficulty wanted for the next job, before the pool's cap.
    pub fn wanted(&self) -> Difficulty {
        self.wanted
    }

    /// Takes a miner's wish (`d=` in its password, `suggest_difficulty`, `suggest_target`).
    /// Firmware that takes any number gets it unchanged; other firmware gets the next power of two
    /// below. Only a wish below the minimum ends above itself.
    pub fn suggest(&mut self, policy: &Policy, difficulty: Difficulty, steps: Steps, now: Instant) {
        self.wanted = match steps {
            Steps::Any => clamped(policy, self.floor, difficulty),
            Steps::PowersOfTwo => within(policy, self.floor, difficulty),
        };
        self.silence_floor = self.wanted.as_f64() / SILENCE_FALL_UNPROVEN;
        self.restart(now);
    }

    /// Takes the lowest difficulty that a miner can work with (`md=`, minimum-difficulty).
    pub fn require_min(&mut self, policy: &Policy, difficulty: Difficulty, now: Instant) {
        self.floor = Some(difficulty);
        let (_, max) = bounds(policy, self.floor);
        let steps = if self.wanted.as_f64() >= max.min(difficulty.as_f64()) {
            Steps::Any
        } else {
            Steps::PowersOfTwo
        };
        self.suggest(policy, self.wanted, steps, now);
    }

    /// Restarts the evidence, as for a miner with its first job.
    pub fn restart(&mut self, now: Instant) {
        self.window_start = now;
        self.window_work = 0.0;
        self.window_shares = 0;
    }

    /// Counts an accepted share of `difficulty` and returns whether the wanted difficulty changed.
    pub fn handle_share(&mut self, policy: &Policy, difficulty: Difficulty, now: Instant) -> bool {
        self.window_work += difficulty.as_f64();
        self.window_shares = self.window_shares.saturating_add(1);
        if self.window_shares < VARDIFF_SHARES_MIN {
            return false;
        }
        let window = now.since(self.window_start);
        let mean = window.as_micros().checked_div(u64::from(self.window_shares)).unwrap_or(0);
        let too_fast = mean < policy.share_interval.as_micros() / 2;
        if too_fast || self.window_shares >= VARDIFF_WINDOW_SHARES {
            return self.retarget(policy, now);
        }
        false
    }

    /// Checks a miner that may have become slow; call it every few seconds. Returns whether the
    /// wanted difficulty changed.
    pub fn handle_timeout(&mut self, policy: &Policy, now: Instant) -> bool {
        let window = now.since(self.window_start);
        let patience = policy
            .share_interval
            .saturating_mul(2)
            .saturating_mul(u64::from(self.window_shares.saturating_add(3)));
        window > patience && self.retarget(policy, now)
    }

    /// Sets the difficulty at which the window would have had one share per interval.
    fn retarget(&mut self, policy: &Policy, now: Instant) -> bool {
        let window = now.since(self.window_start).as_secs_f64().max(1e-3);
        // A window without a share proves only that the rate is below one share in it.
        let silent = self.window_shares < VARDIFF_SHARES_MIN;
        let work = self.window_work.max(self.wanted.as_f64() / 2.0);
        let ideal = work / window * policy.share_interval.as_secs_f64();
        let before = self.wanted;
        if let Ok(ideal) = Difficulty::new(ideal) {
            let least = if silent { self.silence_floor.min(before.as_f64()) } else { 0.0 };
            let floored = Difficulty::new(ideal.as_f64().max(least)).unwrap_or(ideal);
            let next = within(policy, self.floor, floored);
            let ratio = ideal.as_f64() / before.as_f64();
            // The next power of two below is worth a change only once it is clearly right.
            if ratio >= 2.0 || ratio <= 0.5 {
                self.wanted = next;
            }
            if !silent {
                self.silence_floor = self.wanted.as_f64() / SILENCE_FALL_PROVEN;
            }
        }
        self.restart(now);
        self.wanted != before
    }
}

/// The lowest and the highest difficulty allowed.
fn bounds(policy: &Policy, floor: Option<Difficulty>) -> (f64, f64) {
    let min = floor.map_or(policy.min.as_f64(), |f| f.as_f64().max(policy.min.as_f64()));
    (min, policy.max.as_f64().max(min))
}

fn clamped(policy: &Policy, floor: Option<Difficulty>, wish: Difficulty) -> Difficulty {
    let (min, max) = bounds(policy, floor);
    Difficulty::new(wish.as_f64().clamp(min, max)).unwrap_or(policy.min)
}

fn within(policy: &Policy, floor: Option<Difficulty>, wish: Difficulty) -> Difficulty {
    let (min, _) = bounds(policy, floor);
    let clamped = clamped(policy, floor, wish);
    let rounded = clamped.floor_power_of_two();
    if rounded.as_f64() >= min {
        return rounded;
    }
    if wish.as_f64() >= min {
        // No power of two lies between the minimum and the wish, and a higher one was not
        // requested.
        return clamped;
    }
    // Rounding down went below the minimum; the next power of two above it still obeys.
    Difficulty::new(rounded.as_f64() * 2.0).unwrap_or(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difficulty(value: f64) -> Difficulty {
        Difficulty::new(value).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            start: difficulty(65_536.0),
            min: difficulty(0.001),
            max: difficulty(1e12),
            share_interval: Duration::from_secs(10),
        }
    }

    /// Runs a miner of `hash_rate` (difficulty-1 shares a second) for `length` and returns the
    /// difficulty it ends with. Shares come at their mean distance.
    fn run(vardiff: &mut Vardiff, hash_rate: f64, start: Instant, length: Duration) -> f64 {
        let policy = policy();
        let (mut now, mut work) = (start, 0.0);
        while now.since(start) < length {
            now = now + Duration::from_millis(50);
            work += hash_rate * 0.05;
            while work >= vardiff.wanted().as_f64() {
                work -= vardiff.wanted().as_f64();
                let told = vardiff.wanted();
                vardiff.handle_share(&policy, told, now);
            }
            vardiff.handle_timeout(&policy, now);
        }
        vardiff.wanted().as_f64()
    }

    #[test]
    fn a_miner_is_led_to_one_share_per_interval() {
        // From a Bitaxe of 0.5 TH/s to an S21 of 270 TH/s.
        for hash_rate in [116.0, 3_300.0, 25_600.0, 63_000.0] {
            let mut vardiff = Vardiff::new(&policy(), Instant::ZERO);
            let end = run(&mut vardiff, hash_rate, Instant::ZERO, Duration::from_secs(1800));
            let interval = end / hash_rate;
            assert!((3.0..=20.0).contains(&interval), "{hash_rate}: {interval} s at {end}");
            assert_eq!(end, difficulty(end).floor_power_of_two().as_f64());
        }
    }

    #[test]
    fn a_fast_miner_is_caught_after_its_first_shares() {
        let mut vardiff = Vardiff::new(&policy(), Instant::ZERO);
        vardiff.suggest(&policy(), difficulty(1.0), Steps::PowersOfTwo, Instant::ZERO);
        for _ in 0..VARDIFF_SHARES_MIN {
            let told = vardiff.wanted();
            vardiff.handle_share(&policy(), told, Instant::ZERO + Duration::from_millis(100));
        }
        assert!(vardiff.wanted().as_f64() >= 512.0, "{}", vardiff.wanted());
    }

    #[test]
    fn silence_lowers_only_so_far() {
        let mut vardiff = Vardiff::new(&policy(), Instant::ZERO);
        let hour = Duration::from_secs(3600);
        let proven = run(&mut vardiff, 25_600.0, Instant::ZERO, hour);
        let silent = run(&mut vardiff, 0.0, Instant::ZERO + hour, hour.saturating_mul(10));
        // The last shares before the silence count once more, as a slower rate.
        let least = proven / SILENCE_FALL_PROVEN / 4.0;
        assert!((least..proven).contains(&silent), "{proven} {silent}");
        let mut unproven = Vardiff::new(&policy(), Instant::ZERO);
        let silent = run(&mut unproven, 0.0, Instant::ZERO, hour.saturating_mul(10));
        assert_eq!(silent, 65_536.0 / SILENCE_FALL_UNPROVEN);
    }

    #[test]
    fn wishes_are_kept_within_the_policy() {
        let mut vardiff = Vardiff::new(&policy(), Instant::ZERO);
        vardiff.require_min(&policy(), difficulty(1_000.0), Instant::ZERO);
        vardiff.suggest(&policy(), difficulty(1.0), Steps::PowersOfTwo, Instant::ZERO);
        assert_eq!(vardiff.wanted().as_f64(), 1024.0, "the power of two that is not below");
        vardiff.suggest(&policy(), difficulty(1e300), Steps::PowersOfTwo, Instant::ZERO);
        assert!(vardiff.wanted().as_f64() <= 1e12);
    }

    #[test]
    fn f23_a_wish_is_rounded_towards_what_was_asked() {
        let given = |wish, steps| {
            let mut vardiff = Vardiff::new(&policy(), Instant::ZERO);
            vardiff.suggest(&policy(), difficulty(wish), steps, Instant::ZERO);
            vardiff.wanted().as_f64()
        };
        for (wish, power, any) in [
            (1_000.0, 512.0, 1_000.0),
            (512.0, 512.0, 512.0),
            (1_500.5, 1_024.0, 1_500.5),
            (0.75, 0.5, 0.75),
            // The power of two below lies under the least that is given.
            (0.0014, 0.0014, 0.0014),
            (0.001, 0.001, 0.001),
            // Below the least alone a miner gets more than it asked for.
            (0.000_15, 0.001_953_125, 0.001),
        ] {
            assert_eq!(given(wish, Steps::PowersOfTwo), power, "{wish}");
            assert_eq!(given(wish, Steps::Any), any, "{wish}");
        }
    }
}
