//! Which miner works for which goal: newcomers are dealt, others moved as the work falls short.
//!
//! Moving a miner is a word in its slot: it hears of it by the next notify, which is clean, and
//! stays connected. What it still finds for its old job goes to the pool that made it.

use super::Proxy;
use crate::downstream::State;
use crate::limits::{GOALS_MAX, SPLIT_DWELL};
use crate::split::PerGoal;
use crate::time::Instant;

impl Proxy<'_> {
    /// Picks a goal for a miner that takes its seat.
    pub(super) fn seat_at_goal(&mut self) -> u8 {
        let goal = self.split.goal_for_newcomer(&self.at_goal);
        if let Some(count) = self.at_goal.get_mut(usize::from(goal)) {
            *count = count.saturating_add(1);
        }
        goal
    }

    /// Counts a seated miner out.
    pub(super) fn leave_goal(&mut self, goal: u8) {
        if let Some(count) = self.at_goal.get_mut(usize::from(goal)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Moves miners from goals that get more than their part to goals that get less, and at once
    /// from goals that have no pool.
    pub(super) fn balance(&mut self, now: Instant) {
        let served = self.links.served(now);
        if served.iter().all(|weight| *weight == 0) {
            // Everybody stays where they are until a pool is back.
            return;
        }
        self.split.serve(served);
        let lone = served.iter().filter(|weight| **weight > 0).count() == 1;
        let stranded =
            self.at_goal.iter().zip(served).any(|(count, weight)| *count > 0 && weight == 0);
        if lone && !stranded {
            return;
        }
        let mut rates = self.rates(now);
        let wanted = self.split.wanted(&rates);
        for index in 0..self.table.capacity() {
            self.consider(index, &mut rates, &wanted, now);
        }
    }

    /// The rates of all miners, by goal.
    fn rates(&self, now: Instant) -> PerGoal {
        let interval = self.options.vardiff.share_interval;
        let mut rates = [0.0; GOALS_MAX];
        for (_, session) in self.table.iter() {
            if let Some(rate) = rates.get_mut(usize::from(session.goal()))
                && session.state == State::Authorized
            {
                *rate += session.rate(interval, now);
            }
        }
        rates
    }

    /// Moves the miner of a slot where that brings the rates nearer to what is wanted.
    fn consider(&mut self, index: usize, rates: &mut PerGoal, wanted: &PerGoal, now: Instant) {
        let interval = self.options.vardiff.share_interval;
        let Some((miner, session)) = self.table.at(index) else { return };
        if session.seat.is_none() {
            return;
        }
        let from = session.goal();
        let lacks = |goal: usize| Some(wanted.get(goal).copied()? - rates.get(goal).copied()?);
        let neediest = (0..GOALS_MAX)
            .filter(|goal| u8::try_from(*goal).is_ok_and(|goal| self.split.serves(goal)))
            .max_by(|a, b| lacks(*a).partial_cmp(&lacks(*b)).unwrap_or(core::cmp::Ordering::Equal));
        let Some(to) = neediest.filter(|to| *to != usize::from(from)) else { return };
        let rate = session.rate(interval, now);
        let too_much = lacks(usize::from(from)).map_or(0.0, |lack| -lack);
        let gap = too_much.min(lacks(to).unwrap_or(0.0));
        let stranded = !self.split.serves(from);
        let rested = now.since(session.moved) >= SPLIT_DWELL;
        // A whole miner is moved where a good part of it is missing: at half of it the rates would
        // be as far off on the other side, and a lone miner would go to and fro.
        if !stranded && (!rested || rate <= 0.0 || 1.5 * rate >= 2.0 * gap) {
            return;
        }
        let Ok(goal) = u8::try_from(to) else { return };
        session.work_for(goal, now);
        let (lane, route) = (session.lane(), |lane| self.links.route(lane, goal).copied());
        let again =
            route(lane).filter(|r| r.current.is_some_and(|job| session.has_left(goal, job)));
        if let Some(link) = again.and_then(|route| route.serves) {
            // It had that job before, and would find the same shares once more (QUIRKS 24).
            self.announce_again(link, now);
        }
        self.fan_out = true;
        self.leave_goal(from);
        if let (Some(count), Some(to)) = (self.at_goal.get_mut(to), rates.get_mut(to)) {
            *count = count.saturating_add(1);
            *to += rate;
        }
        if let Some(from) = rates.get_mut(usize::from(from)) {
            *from -= rate;
        }
        self.want_workers(miner);
    }
}
