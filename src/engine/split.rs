//! Divides the farm's work among goals.
//!
//! A *goal* is a weight and an ordered list of pools. Work is counted as it is done: the difficulty
//! of every accepted share counts for the goal whose pool made its job. A [`Split`] compares that
//! with the weights. It says how much of the farm's rate each goal should get next, to make up
//! deficits soon. The proxy then moves single miners, by a notify alone.
//!
//! A goal without a live pool takes no part. The others share its weight meanwhile, and its loss is
//! not made up afterwards. A goal of small weight gets a miner for part of the time, so none
//! starves.

use crate::limits::{GOALS_MAX, SPLIT_HORIZON_MAX, SPLIT_HORIZON_MIN, SPLIT_HORIZON_SHARES};
use crate::time::Duration;

/// The weights of the goals: [`GOALS_MAX`] of them, 0 for a goal that does not exist.
pub type Weights = [u16; GOALS_MAX];

/// Amounts per goal, in difficulty or difficulty per second.
pub type PerGoal = [f64; GOALS_MAX];

/// The work done for each goal since the last change of weights or goals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Split {
    done: PerGoal,
    shares: u64,
    /// The weights in force, of the goals with a pool.
    served: Weights,
}

impl Split {
    /// Counts a share of `difficulty` for a goal.
    pub(crate) fn credit(&mut self, goal: u8, difficulty: f64) {
        if let Some(done) = self.done.get_mut(usize::from(goal)) {
            *done += difficulty;
            self.shares = self.shares.saturating_add(1);
        }
    }

    /// Takes back counted work that a goal's pool was not sent, or left unanswered.
    pub(crate) fn lose(&mut self, goal: u8, difficulty: f64) {
        if let Some(done) = self.done.get_mut(usize::from(goal)) {
            *done = (*done - difficulty).max(0.0);
        }
    }

    /// Returns a goal's part of the work since the last change, 0 to 1.
    pub fn part(&self, goal: u8) -> f64 {
        let all: f64 = self.done.iter().sum();
        let done = self.done.get(usize::from(goal)).copied().unwrap_or(0.0);
        if all > 0.0 { done / all } else { 0.0 }
    }

    /// Says whether a goal takes part now.
    pub fn serves(&self, goal: u8) -> bool {
        self.served.get(usize::from(goal)).is_some_and(|weight| *weight > 0)
    }

    /// Sets the weights of the goals that can be served now; a change restarts the count.
    pub(crate) fn serve(&mut self, served: Weights) {
        if self.served != served {
            *self = Self { served, ..Self::default() };
        }
    }

    /// Returns the wanted division of the farm's rate, given the present rate of each goal's
    /// miners.
    pub(crate) fn wanted(&self, rates: &PerGoal) -> PerGoal {
        let rate: f64 = rates.iter().sum();
        let weight: f64 = self.served.iter().map(|weight| f64::from(*weight)).sum();
        let mut wanted = [0.0; GOALS_MAX];
        if weight <= 0.0 || rate <= 0.0 {
            return wanted;
        }
        let all: f64 = self.done.iter().sum();
        let horizon = self.horizon(all, rate);
        for ((wanted, served), done) in wanted.iter_mut().zip(self.served).zip(self.done) {
            let part = f64::from(served) / weight;
            let lacks = part * all - done;
            *wanted = (part * rate + lacks / horizon).clamp(0.0, rate);
        }
        wanted
    }

    /// The time in which a deficit is made up, in seconds: about that of a few dozen shares.
    fn horizon(&self, all: f64, rate: f64) -> f64 {
        let secs = |bound: Duration| bound.as_micros() as f64 / 1e6;
        let mean = if self.shares == 0 { 0.0 } else { all / self.shares as f64 };
        let shares = SPLIT_HORIZON_SHARES * mean / rate;
        shares.clamp(secs(SPLIT_HORIZON_MIN), secs(SPLIT_HORIZON_MAX))
    }

    /// Returns the goal for a newcomer, given the number of miners of each goal.
    pub(crate) fn goal_for_newcomer(&self, miners: &[u16; GOALS_MAX]) -> u8 {
        let all: f64 = miners.iter().map(|count| f64::from(*count)).sum::<f64>() + 1.0;
        let weight: f64 = self.served.iter().map(|weight| f64::from(*weight)).sum();
        let mut best = (0, f64::NEG_INFINITY);
        for ((goal, served), miners) in (0u8..).zip(self.served).zip(miners) {
            let lacks = f64::from(served) / weight.max(1.0) * all - f64::from(*miners);
            if served > 0 && lacks > best.1 {
                best = (goal, lacks);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(a: u16, b: u16) -> Weights {
        let mut weights = [0; GOALS_MAX];
        weights[0] = a;
        weights[1] = b;
        weights
    }

    fn rates(a: f64, b: f64) -> PerGoal {
        let mut rates = [0.0; GOALS_MAX];
        rates[0] = a;
        rates[1] = b;
        rates
    }

    #[test]
    fn rates_follow_weights_and_make_good_what_lacks() {
        let mut split = Split::default();
        split.serve(weights(70, 30));
        let wanted = split.wanted(&rates(100.0, 0.0));
        assert!((wanted[0] - 70.0).abs() < 1e-9 && (wanted[1] - 30.0).abs() < 1e-9);
        for _ in 0..100 {
            split.credit(0, 10.0);
        }
        let wanted = split.wanted(&rates(100.0, 0.0));
        assert!(wanted[1] > 30.0 && wanted[0] < 70.0, "{wanted:?}");
        assert!((split.part(0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_made_good_to_a_goal_that_was_away() {
        let mut split = Split::default();
        split.serve(weights(70, 0));
        for _ in 0..1000 {
            split.credit(0, 10.0);
        }
        split.serve(weights(70, 30));
        let wanted = split.wanted(&rates(100.0, 0.0));
        assert!((wanted[1] - 30.0).abs() < 1e-9, "{wanted:?}");
    }

    #[test]
    fn newcomers_are_dealt_by_weight() {
        let mut split = Split::default();
        split.serve(weights(3, 1));
        let mut miners = [0; GOALS_MAX];
        for _ in 0..100 {
            miners[usize::from(split.goal_for_newcomer(&miners))] += 1;
        }
        assert_eq!(&miners[..2], &[75, 25]);
    }
}
