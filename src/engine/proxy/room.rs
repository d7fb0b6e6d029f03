//! Room for remembered shares: each miner's part, and the jobs that end or are announced anew
//! before the room runs out.
//!
//! A light share without room is refused as [`Reject::Crowded`](crate::ledger::Reject); no share is
//! accepted without being remembered. Before that, three steps make room, in this order. Shares
//! that cannot be sent again are forgotten. Old jobs with remembered shares end, the oldest first,
//! but never the newest of a link. A newest job with many shares is announced anew with its ntime
//! moved on, so that it can end too.

use super::Proxy;
use crate::limits::{
    LIGHT_SHARES_LEAST, LIGHT_SHARES_PART, LINKS_MAX, SEEN_RENEWAL_MIN, SEEN_RENEWAL_OF_ONE_MIN,
    SEEN_RETRY,
};
use crate::links::Links;
use crate::seen::{Generation, Weight};
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::upstream::LinkIndex;
use crate::work::job::{Job, Serial};
use crate::work::share::AcceptedShare;

impl Proxy<'_> {
    /// Remembers a share before it is accepted for a job of a link. Returns `false` if there is no
    /// room; the share must then be refused.
    pub(super) fn remember(
        &mut self,
        miner: MinerHandle,
        share: &AcceptedShare,
        (link, job): (LinkIndex, Serial),
        now: Instant,
    ) -> bool {
        let weight = match (share.is_block(), share.reaches_pool()) {
            (true, _) => Weight::Block,
            (false, true) => Weight::Heavy,
            (false, false) => Weight::Light,
        };
        if weight == Weight::Light && self.has_sent_enough(miner, job) {
            self.wants_renewal = true;
            return false;
        }
        if !self.insert_seen(share, (link, job), weight) {
            let was_tried = now.since(self.room_made) < SEEN_RETRY && weight != Weight::Block;
            if was_tried || !self.make_room(now).insert_seen(share, (link, job), weight) {
                return false;
            }
        }
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I1Replays) && self.seen.len() >= crate::canary::WINDOW {
            self.seen.forget_all();
        }
        if let (Weight::Light, Some(session)) = (weight, self.table.get_mut(miner)) {
            session.count_light_share(job);
        }
        true
    }

    /// Says whether a miner used up its part of light shares for a job. The part shrinks with the
    /// room left, so a single miner leaves most of it to the others.
    fn has_sent_enough(&self, miner: MinerHandle, job: Serial) -> bool {
        let sent = self.table.get(miner).map_or(0, |session| session.light_shares(job));
        sent >= LIGHT_SHARES_LEAST && sent >= self.seen.light_left() / LIGHT_SHARES_PART
    }

    fn insert_seen(
        &mut self,
        share: &AcceptedShare,
        (link, job): (LinkIndex, Serial),
        weight: Weight,
    ) -> bool {
        let job = self.links.get(link).and_then(|link| link.kept_job(job));
        job.is_some_and(|job| self.seen.insert(&share.hash(), job, share.ntime(), weight).is_ok())
    }

    /// Makes room before it runs out.
    pub(super) fn tend_seen(&mut self, now: Instant) {
        if self.seen.is_crowded() {
            self.make_room(now);
        }
        let share = self.seen.light_max() / 2;
        let wants_renewal = core::mem::take(&mut self.wants_renewal);
        for index in 0..LINKS_MAX {
            let Some(index) = u8::try_from(index).ok().map(LinkIndex) else { break };
            let Some(job) = self.links.get(index).and_then(|link| link.announced()) else {
                continue;
            };
            let age = now.since(job.received);
            let is_large = age >= SEEN_RENEWAL_MIN && self.holds_much(job.serial, share);
            let is_due = wants_renewal && age >= SEEN_RENEWAL_OF_ONE_MIN;
            // The request stands until the job is old enough.
            self.wants_renewal |= wants_renewal && !is_due;
            if is_large || is_due {
                self.announce_again(index, now);
            }
        }
    }

    /// Says whether the newest jobs hold `share` places in total, a quarter of them for `serial`.
    fn holds_much(&self, serial: Serial, share: u32) -> bool {
        let own = self.seen.shares_of(serial);
        let newest = self.links.iter().filter_map(|(_, link)| link.announced());
        let all =
            newest.fold(0, |sum: u32, job| sum.saturating_add(self.seen.shares_of(job.serial)));
        all >= share && own >= all / 4
    }

    /// Forgets shares that cannot be sent again, and ends the oldest jobs until there is room.
    fn make_room(&mut self, now: Instant) -> &mut Self {
        self.room_made = now;
        let Self { seen, links, .. } = self;
        seen.reclaim(|generation| is_replayable(links, generation));
        while seen.is_crowded() {
            let holds = |job: &Job| seen.shares_of(job.serial) > 0;
            let Some((index, serial)) = links.oldest_but_newest(holds) else { break };
            // If the job had a block, a late copy of the block could be sent again.
            let is_forgotten = seen.has_block_of(serial);
            if let Some(link) = links.get_mut(index) {
                link.jobs.end(serial, is_forgotten);
            }
            seen.reclaim(|generation| is_replayable(links, generation));
        }
        self
    }
}

/// Says whether a share of a generation could be sent again for a job still kept.
fn is_replayable(links: &Links<'_>, generation: &Generation) -> bool {
    links.iter().any(|(_, link)| {
        link.jobs.iter().any(|job| generation.is_replayable(job, job.epoch == link.epoch))
    })
}
