//! Assigns miners to goals: newcomers are dealt, others move when a goal gets too little work.
//!
//! To move a miner, its slot gets another goal. The miner stays connected and gets a clean notify
//! from the new pool. Shares for its old job still go to the pool that made it.

use super::Proxy;
use crate::downstream::State;
use crate::limits::{GOALS_MAX, SPLIT_DWELL};
use crate::split::PerGoal;
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::work::extranonce::Geometry;

impl Proxy<'_> {
    /// Picks a goal for a miner that takes its seat.
    pub(super) fn seat_at_goal(&mut self, geometry: Geometry) -> u8 {
        let goal = self.split.goal_for_newcomer(&self.at_goal);
        let goal = self.goal_with_room(goal, geometry);
        if let Some(count) = self.at_goal.get_mut(usize::from(goal)) {
            *count = count.saturating_add(1);
        }
        goal
    }

    /// Returns `goal`, or another with room for the geometry if `goal` has none (F89).
    fn goal_with_room(&self, goal: u8, geometry: Geometry) -> u8 {
        let has_room = |goal: &u8| self.links.has_room(*goal, geometry);
        let mut others = (0u8..).take(GOALS_MAX).filter(|goal| self.split.serves(*goal));
        if has_room(&goal) { goal } else { others.find(has_room).unwrap_or(goal) }
    }

    /// Moves the miner of a slot from a goal that it does not fit to a goal that it fits.
    pub(super) fn settle_goal(&mut self, index: usize, now: Instant) {
        let Some((miner, session)) = self.table.at(index) else { return };
        let Some(seat) = session.seat else { return };
        let from = session.goal();
        let to = self.goal_with_room(from, seat.space.geometry);
        if to != from {
            self.move_to(miner, to, now);
        }
    }

    /// Moves a miner to another goal; its next job comes from there.
    fn move_to(&mut self, miner: MinerHandle, goal: u8, now: Instant) {
        let Some(session) = self.table.get_mut(miner) else { return };
        let Some(seat) = session.seat else { return };
        let from = session.goal();
        session.work_for(goal, now);
        let feed = self.links.feed(seat.lane, goal, seat.space.geometry);
        let again = feed.and_then(|(index, link)| Some((index, link.announced()?.serial)));
        if let Some((link, _)) = again.filter(|(_, job)| session.has_left(goal, *job)) {
            // The miner had that job before, and would find the same shares again (QUIRKS 24).
            self.announce_again(link, now);
        }
        self.fan_out = true;
        self.leave_goal(from);
        if let Some(count) = self.at_goal.get_mut(usize::from(goal)) {
            *count = count.saturating_add(1);
        }
        self.want_workers(miner);
    }

    /// Counts a seated miner out of a goal.
    pub(super) fn leave_goal(&mut self, goal: u8) {
        if let Some(count) = self.at_goal.get_mut(usize::from(goal)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Moves miners from goals above their part to goals below it, and at once from goals without a
    /// pool.
    pub(super) fn balance(&mut self, now: Instant) {
        for (goal, lost) in (0u8..).zip(core::mem::take(&mut self.due.lost)) {
            self.split.lose(goal, lost);
        }
        let served = self.links.served(now);
        if served.iter().all(|weight| *weight == 0) {
            // No miner moves until a pool is back.
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

    /// The summed rates of the miners, by goal.
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

    /// Moves the miner of a slot if that brings the rates nearer to the wanted ones.
    fn consider(&mut self, index: usize, rates: &mut PerGoal, wanted: &PerGoal, now: Instant) {
        let interval = self.options.vardiff.share_interval;
        let Some((miner, session)) = self.table.at(index) else { return };
        let Some(seat) = session.seat else { return };
        let from = session.goal();
        let has_room = |goal: u8| self.links.has_room(goal, seat.space.geometry);
        let lacks = |goal: usize| Some(wanted.get(goal).copied()? - rates.get(goal).copied()?);
        let neediest = (0..GOALS_MAX)
            .filter(|goal| {
                u8::try_from(*goal).is_ok_and(|goal| self.split.serves(goal) && has_room(goal))
            })
            .max_by(|a, b| lacks(*a).partial_cmp(&lacks(*b)).unwrap_or(core::cmp::Ordering::Equal));
        let Some(to) = neediest.filter(|to| *to != usize::from(from)) else { return };
        let rate = session.rate(interval, now);
        let too_much = lacks(usize::from(from)).map_or(0.0, |lack| -lack);
        let gap = too_much.min(lacks(to).unwrap_or(0.0));
        let stranded = !self.split.serves(from);
        let rested = now.since(session.moved) >= SPLIT_DWELL;
        // A miner moves only if its rate is below 4/3 of the gap. Nearer to twice the gap the error
        // would only change sides, and a lone miner would move back and forth.
        if !stranded && (!rested || rate <= 0.0 || 1.5 * rate >= 2.0 * gap) {
            return;
        }
        let Ok(goal) = u8::try_from(to) else { return };
        self.move_to(miner, goal, now);
        if let Some(to) = rates.get_mut(to) {
            *to += rate;
        }
        if let Some(from) = rates.get_mut(usize::from(from)) {
            *from -= rate;
        }
    }
}
