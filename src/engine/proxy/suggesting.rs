//! Suggests to pools a difficulty that fits the farm (`mining.suggest_difficulty`).
//!
//! A pool with a low initial difficulty would be sent thousands of shares a second. Once it is live
//! and the farm's rate is known, it is sent a power of two as a suggestion. At that difficulty the
//! farm sends [`SUGGESTED_SHARES_PER_SEC`], or fewer if its queue is short. The rate is measured
//! from the goal's accepted shares. It outlives links, so a standby gets its suggestion when it
//! becomes live. Pools that are already high enough get none.
//!
//! An answer `true`, a new difficulty or silence are all fine. A pool that answers with an error,
//! or hangs up before an answer, gets no more suggestions until its settings change. Neither counts
//! against it.
//!
//! Sources: `pool-*.txt` of the transcripts; ckpool reads whole numbers only.

use super::{Event, Proxy};
use crate::limits::{
    LINKS_MAX, RATE_SHARES_MIN, RATE_WINDOW, SUGGESTED_CLOSE_MAX, SUGGESTED_FACTOR,
    SUGGESTED_INTERVAL, SUGGESTED_LOWER_INTERVAL, SUGGESTED_PER_QUEUE, SUGGESTED_SHARES_PER_SEC,
};
use crate::time::Instant;
use crate::upstream::{LinkClose, LinkIndex, Lost, State};
use crate::work::difficulty::Difficulty;

/// The measured work of a goal's miners, in difficulty per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    work: f64,
    shares: u32,
    since: Option<Instant>,
    rate: Option<f64>,
}

impl Meter {
    /// Counts a good share.
    pub(super) fn count(&mut self, difficulty: f64) {
        self.work += difficulty;
        self.shares = self.shares.saturating_add(1);
    }

    /// Measures the rate while a pool serves the goal; otherwise the last rate is kept.
    fn handle_timeout(&mut self, is_served: bool, now: Instant) {
        let Some(since) = self.since.filter(|_| is_served) else {
            *self = Self { rate: self.rate, since: is_served.then_some(now), ..Self::default() };
            return;
        };
        let length = now.since(since);
        let is_short = self.rate.is_none() && self.shares < RATE_SHARES_MIN;
        if length < RATE_WINDOW || is_short {
            return;
        }
        let newest = self.work / length.as_secs_f64();
        let rate = self.rate.map_or(newest, |rate| rate + (newest - rate) / 4.0);
        *self = Self { rate: Some(rate), since: Some(now), ..Self::default() };
    }
}

impl Proxy<'_> {
    /// Measures the work of each goal, and picks the pools that are due a suggestion.
    pub(super) fn suggest(&mut self, now: Instant) {
        let Self { links, meters, .. } = self;
        for (goal, meter) in (0u8..).zip(meters) {
            let is_served = links.iter().any(|(_, link)| {
                link.state == State::Live
                    && links.policy().goal_of(link.pool) == goal
                    && links.is_active(link.pool)
            });
            meter.handle_timeout(is_served, now);
        }
        for link in (0u8..).take(LINKS_MAX).map(LinkIndex) {
            self.suggest_to(link, now);
        }
    }

    /// Suggests a difficulty to a live pool, if one is due.
    pub(super) fn suggest_to(&mut self, index: LinkIndex, now: Instant) {
        let Some(link) = self.links.get(index) else { return };
        let (pool, state) = (link.pool, link.state);
        if state != State::Live || self.dislikes & bit_of(pool) != 0 {
            return;
        }
        let Some(wanted) = self.fitting(index) else { return };
        let (present, ratio) = (link.difficulty().as_f64(), wanted.as_f64());
        let is_low = ratio >= 2.0 * present;
        let is_due = match link.suggested {
            None => is_low,
            Some((before, at)) => {
                let (before, age) = (before.as_f64(), now.since(at));
                let rises = ratio >= SUGGESTED_FACTOR * before && is_low;
                let falls = SUGGESTED_FACTOR * ratio <= before && ratio < present;
                rises && age >= SUGGESTED_INTERVAL || falls && age >= SUGGESTED_LOWER_INTERVAL
            }
        };
        if !is_due {
            return;
        }
        if let Some(link) = self.links.get_mut(index) {
            link.suggest(wanted, now);
            self.push_event(Event::Suggested { pool, difficulty: wanted.as_f64() });
        }
    }

    /// The difficulty at which a link's miners send no more than the wanted number of shares.
    fn fitting(&self, index: LinkIndex) -> Option<Difficulty> {
        let link = self.links.get(index)?;
        let goal = self.links.policy().goal_of(link.pool);
        let rate = self.meters.get(usize::from(goal))?.rate?;
        let lanes = self.links.lanes().len().max(1) as f64;
        let places = link.pending.usable().max(1) as f64 / SUGGESTED_PER_QUEUE as f64;
        // An answer time below one second is counted as one second.
        let secs = link.answer_time.map_or(1.0, |time| time.as_secs_f64().max(1.0));
        let per_sec = (places / secs).min(SUGGESTED_SHARES_PER_SEC);
        let wanted = Difficulty::new(rate / lanes / per_sec).ok()?;
        Some(wanted.floor_power_of_two())
    }

    /// Remembers that a pool refused a suggestion.
    pub(super) fn handle_suggestion_refused(&mut self, index: LinkIndex) {
        let Some(pool) = self.links.get(index).map(|link| link.pool) else { return };
        if self.dislikes & bit_of(pool) == 0 {
            self.dislikes |= bit_of(pool);
            self.push_event(Event::SuggestionRefused { pool });
        }
    }

    /// Treats a close soon after a suggestion as a refusal.
    pub(super) fn note_close(&mut self, index: LinkIndex, close: LinkClose, now: Instant) {
        let by_pool = matches!(close, LinkClose::Lost(Lost::Closed | Lost::Broken));
        let asked = self.links.get(index).and_then(|link| link.unanswered_suggestion());
        if by_pool && asked.is_some_and(|at| now.since(at) < SUGGESTED_CLOSE_MAX) {
            self.handle_suggestion_refused(index);
        }
    }

    /// Forgets a refusal, for example when the pool changes.
    pub(super) fn forget_dislike(&mut self, pool: usize) {
        if let Ok(pool) = u8::try_from(pool) {
            self.dislikes &= !bit_of(pool);
        }
    }
}

const fn bit_of(pool: u8) -> u8 {
    match 1_u8.checked_shl(pool as u32) {
        Some(bit) => bit,
        None => 0,
    }
}
