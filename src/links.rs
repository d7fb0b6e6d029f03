//! Which pool gets which miner: the links, the lanes they serve, and the plan that opens, leaves
//! and closes them.
//!
//! A *lane* is a group of miners whose ids are unique within one link. One lane serves the whole
//! farm as long as the pool's extranonce2 has room; where it leaves one byte for the miner id
//! further lanes are opened, each with a link of its own of the same login (DESIGN section 2).
//!
//! The plan ([`Links::plan`]) is one pure pass over all links: the pools are an ordered list, the
//! first that is live serves. A later pool is tried once those before it have failed for a few
//! seconds; an earlier one gets the miners back once it has been healthy for a minute. Moving a
//! lane to another link is a new serial for that link's newest job and nothing else: miners hear
//! a notify with `clean_jobs`, and stay connected (`docs/adr/0003`).
//!
//! Back-off is one function ([`Links::retry_delay`]): doubling from the least to the most, with
//! jitter, reset only by health (F55, F57).

use crate::limits::{LANES_MAX, LINGER, LINKS_MAX};
use crate::table::IdPool;
use crate::time::{Duration, Instant};
use crate::upstream::{Link, LinkClose, LinkIndex, State};
use crate::work::job::Serial;

/// When pools are left and tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of pools in the ordered list.
    pub pools: usize,
    /// First time between two attempts.
    pub retry_min: Duration,
    /// Longest time between two attempts.
    pub retry_max: Duration,
    /// Health that resets the back-off, and that an earlier pool shows before it serves again.
    pub healthy: Duration,
    /// Time without a live link after which the next pool is tried.
    pub failover: Duration,
}

/// Miners that share one id space, and the job that they should hold.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// The ids of its miners.
    pub(crate) ids: IdPool,
    /// The link that gives it jobs; kept while that is down, so that late shares find their way.
    pub(crate) serves: Option<LinkIndex>,
    /// The newest job for its miners.
    pub(crate) current: Option<Serial>,
    /// Miners whose last job is older than this are told to drop it.
    pub(crate) clean_since: Option<Serial>,
}

impl Lane {
    /// Returns the newest job for its miners.
    pub fn current(&self) -> Option<Serial> {
        self.current
    }

    /// Returns the link that gives it jobs, up or down.
    pub fn serves(&self) -> Option<LinkIndex> {
        self.serves
    }

    /// Returns how many of its miner ids are in use.
    pub fn ids_used(&self) -> usize {
        self.ids.used()
    }
}

/// What a pass of the plan changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// A lane has another job: miners are to be told.
    pub fan_out: bool,
    /// The farm now works for this pool.
    pub switched: Option<u8>,
}

/// All links and lanes.
#[derive(Debug)]
pub struct Links<'a> {
    links: heapless::Vec<Link<'a>, LINKS_MAX>,
    lanes: heapless::Vec<Lane, LANES_MAX>,
    policy: Policy,
    active: u8,
    switched_at: Instant,
    next_serial: Serial,
    random: u64,
}

impl<'a> Links<'a> {
    /// Takes the links; none is opened before the first plan.
    pub fn new(
        links: heapless::Vec<Link<'a>, LINKS_MAX>,
        policy: Policy,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            links,
            lanes: heapless::Vec::new(),
            policy,
            active: 0,
            switched_at: now,
            next_serial: Serial::FIRST,
            random: seed | 1,
        }
    }

    /// Returns the serial for the next announcement.
    pub(crate) fn issue(&mut self) -> Serial {
        let serial = self.next_serial;
        self.next_serial = serial.next();
        serial
    }

    /// Returns the serial that was issued last.
    pub(crate) fn last_issued(&self) -> Serial {
        self.links
            .iter()
            .filter_map(|link| link.jobs.newest().map(|job| job.serial))
            .max()
            .unwrap_or(Serial::NONE)
    }

    /// Returns the oldest job that may still bring a share; the next to be issued where none is.
    pub(crate) fn oldest_live(&self) -> Serial {
        self.links
            .iter()
            .filter_map(|link| link.jobs.oldest_live())
            .min()
            .unwrap_or(self.next_serial)
    }

    /// Returns a link.
    pub fn get(&self, link: LinkIndex) -> Option<&Link<'a>> {
        self.links.get(link.index())
    }

    /// Returns a link to change it.
    pub(crate) fn get_mut(&mut self, link: LinkIndex) -> Option<&mut Link<'a>> {
        self.links.get_mut(link.index())
    }

    /// Iterates over all links with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (LinkIndex, &Link<'a>)> {
        (0u8..).map(LinkIndex).zip(self.links.iter())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkIndex, &mut Link<'a>)> {
        (0u8..).map(LinkIndex).zip(self.links.iter_mut())
    }

    /// Returns the lanes.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Returns the links that lanes have their jobs from.
    pub(crate) fn serving(&self) -> heapless::Vec<LinkIndex, LANES_MAX> {
        self.lanes.iter().filter_map(|lane| lane.serves).collect()
    }

    pub(crate) fn lane_mut(&mut self, lane: u8) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(lane))
    }

    /// Closes all lanes; only while no miner is seated.
    pub(crate) fn close_lanes(&mut self) {
        self.lanes.clear();
    }

    /// Opens another lane over fresh ids; `false` where [`LANES_MAX`] are open, or where it could
    /// have no link: its miners would wait for a job in vain.
    pub(crate) fn open_lane(&mut self, ids: IdPool) -> bool {
        self.lanes.len() < self.links.len()
            && self.lanes.push(Lane { ids, ..Lane::default() }).is_ok()
    }

    /// Returns the index of the pool that the farm works for.
    pub fn active_pool(&self) -> u8 {
        self.active
    }

    /// Takes a job that a link announced; returns whether a lane's miners are to be told.
    pub(crate) fn handle_job(&mut self, link: LinkIndex, serial: Serial, clean: bool) -> bool {
        let mut told = false;
        for lane in self.lanes.iter_mut().filter(|lane| lane.serves == Some(link)) {
            lane.current = Some(serial);
            if clean {
                lane.clean_since = Some(serial);
            }
            told = true;
        }
        told
    }

    /// Returns the next link to dial, and marks it as being dialled.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<(LinkIndex, u8)> {
        let (index, link) = self.iter_mut().find(|(_, link)| {
            link.state == State::Idle && link.wanted && !link.hangup && link.retry_at <= now
        })?;
        link.enter(State::Connecting, now);
        Some((index, link.pool))
    }

    /// Books a lost or failed connection and sets the time of the next attempt.
    pub(crate) fn handle_down(&mut self, link: LinkIndex, close: LinkClose, now: Instant) {
        let random = self.random();
        let (healthy, policy) = (self.policy.healthy, self.policy);
        let Some(link) = self.links.get_mut(link.index()) else { return };
        let was_healthy = link.live_since.is_some_and(|since| now.since(since) >= healthy);
        link.attempts = if was_healthy { 0 } else { link.attempts.saturating_add(1) };
        link.handle_down(close, now);
        link.retry_at = now + Self::retry_delay(&policy, link.attempts, random);
    }

    /// The time before attempt number `attempts`: doubling, capped, and spread by up to a quarter
    /// so that a thousand gateways do not come back in step.
    fn retry_delay(policy: &Policy, attempts: u32, random: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        let full = policy.retry_min.saturating_mul(1 << doublings).as_micros();
        let full = full.min(policy.retry_max.as_micros());
        // After a healthy link is lost the first attempt comes at once.
        let full = if attempts == 0 { full / 4 } else { full };
        let spread = (full / 4).max(1);
        Duration::from_micros(full.saturating_sub(random.checked_rem(spread).unwrap_or(0)))
    }

    /// xorshift64: spreads retries, decides nothing else.
    fn random(&mut self) -> u64 {
        let mut x = self.random;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random = x;
        x
    }

    fn find(&self, pool: u8, lane: u8) -> Option<&Link<'a>> {
        self.links.iter().find(|link| link.wanted && link.pool == pool && link.lane == lane)
    }

    fn index_of(&self, pool: u8, lane: u8) -> Option<LinkIndex> {
        self.iter()
            .find(|(_, link)| link.wanted && link.pool == pool && link.lane == lane)
            .map(|(index, _)| index)
    }

    fn is_live(&self, pool: u8, lane: u8) -> bool {
        self.find(pool, lane).is_some_and(|link| link.state == State::Live)
    }

    fn live_for(&self, pool: u8, now: Instant) -> Duration {
        self.find(pool, 0)
            .and_then(|link| link.live_since)
            .map_or(Duration::ZERO, |since| now.since(since))
    }

    fn failing_for(&self, pool: u8, now: Instant) -> Duration {
        match self.find(pool, 0) {
            Some(link) if link.state != State::Live => now.since(link.failing_since),
            _ => Duration::ZERO,
        }
    }

    /// Brings links and lanes into line with the policy and what is live.
    pub(crate) fn plan(&mut self, now: Instant) -> Planned {
        let mut planned = Planned::default();
        let active = self.choose_active(now);
        if active != self.active {
            self.active = active;
            self.switched_at = now;
            planned.switched = Some(active);
        }
        self.want_links(now);
        planned.fan_out = self.seat_lanes(now);
        self.release_links(now);
        planned
    }

    /// The active pool while it is live, unless an earlier one has been healthy for long enough;
    /// else the first that is live; else the one that was active.
    fn choose_active(&self, now: Instant) -> u8 {
        let pools = u8::try_from(self.policy.pools).unwrap_or(u8::MAX);
        let active = if self.active < pools { self.active } else { 0 };
        if !self.is_live(active, 0) {
            return (0..pools).find(|pool| self.is_live(*pool, 0)).unwrap_or(active);
        }
        let healthy =
            |pool: &u8| self.is_live(*pool, 0) && self.live_for(*pool, now) >= self.policy.healthy;
        (0..active).find(healthy).unwrap_or(active)
    }

    /// Wants the pools in order, up to the first that is not failing, and the active one.
    fn want_links(&mut self, now: Instant) {
        let pools = u8::try_from(self.policy.pools).unwrap_or(u8::MAX);
        for pool in 0..pools {
            self.want(pool, 0, now);
            if self.failing_for(pool, now) < self.policy.failover && pool >= self.active {
                break;
            }
        }
        for lane in 1..u8::try_from(self.lanes.len()).unwrap_or(u8::MAX) {
            self.want(self.active, lane, now);
        }
    }

    fn want(&mut self, pool: u8, lane: u8, now: Instant) {
        if self.find(pool, lane).is_some() {
            return;
        }
        // With every link in use the pool has to wait until one is released.
        let serving = |index: LinkIndex| self.lanes.iter().any(|l| l.serves == Some(index));
        let free = self
            .iter()
            .find(|(index, link)| {
                !link.wanted
                    && link.state == State::Idle
                    && link.pending.is_empty()
                    && !serving(*index)
            })
            .map(|(index, _)| index);
        if let Some(link) = free.and_then(|index| self.get_mut(index)) {
            link.assign(pool, lane, now);
        }
    }

    /// Points every lane at its link of the active pool as soon as that is live.
    fn seat_lanes(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for lane in 0..u8::try_from(self.lanes.len()).unwrap_or(u8::MAX) {
            let Some(index) = self.index_of(self.active, lane) else { continue };
            let serves = self.lanes.get(usize::from(lane)).and_then(|lane| lane.serves);
            if serves == Some(index) || !self.is_live(self.active, lane) {
                continue;
            }
            // A new serial, so that announcements to a miner always grow.
            let serial = self.issue();
            let Some(link) = self.links.get_mut(index.index()) else { continue };
            let Some(ntime) = link.jobs.newest().map(|job| job.ntime) else { continue };
            let Some(serial) = link.renew(serial, ntime, now) else { continue };
            if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
                lane.serves = Some(index);
                lane.current = Some(serial);
                lane.clean_since = Some(serial);
                changed = true;
            }
        }
        changed
    }

    /// Lets go of links to pools after the active one, once late shares had their time, and of
    /// further lanes' lost links to any pool but the active: those lanes need them elsewhere.
    fn release_links(&mut self, now: Instant) {
        let (active, settled) = (self.active, now.since(self.switched_at) >= LINGER);
        let active_live = self.is_live(active, 0);
        for link in self.links.iter_mut() {
            let owed = !link.pending.is_empty();
            let left_behind = link.lane > 0 && link.pool != active && link.state == State::Idle;
            let later = settled && link.pool > active;
            if active_live && link.wanted && !owed && (left_behind || later) {
                link.wanted = false;
            }
        }
    }

    /// Returns the next open link that nobody wants.
    pub(crate) fn unneeded(&self) -> Option<LinkIndex> {
        self.iter()
            .find(|(_, link)| !link.wanted && link.state != State::Idle)
            .map(|(index, _)| index)
    }

    /// Returns the next link whose connection the owner has to close.
    pub(crate) fn poll_hangup(&mut self) -> Option<LinkIndex> {
        let (index, link) = self.iter_mut().find(|(_, link)| link.hangup)?;
        link.hangup = false;
        Some(index)
    }

    /// Takes another policy, as after a change of settings.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Returns when the plan wants to be looked at next.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        self.links
            .iter()
            .filter(|link| link.wanted && link.state == State::Idle)
            .map(|link| link.retry_at)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            pools: 2,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            healthy: Duration::from_secs(60),
            failover: Duration::from_secs(5),
        }
    }

    #[test]
    fn f55_back_off_doubles_to_its_bound_with_jitter() {
        let policy = policy();
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc] {
            for attempts in 0..40 {
                let delay = Links::retry_delay(&policy, attempts, random);
                assert!(delay <= policy.retry_max);
                if attempts > 0 {
                    let full = policy.retry_min.saturating_mul(1 << (attempts - 1).min(16));
                    let full = full.min(policy.retry_max);
                    assert!(delay <= full && delay.as_micros() >= full.as_micros() / 4 * 3);
                }
            }
        }
    }
}
