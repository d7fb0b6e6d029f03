//! Assigns pools to miners: the links, the lanes they serve, and the plan that opens, leaves and
//! closes them.
//!
//! A *lane* is a group of miners whose ids are unique within one link. One lane serves the whole
//! farm as long as the pool's extranonce2 has room. If it leaves one byte for the miner id, further
//! lanes are opened. Each has its own link under the same login (DESIGN section 2).
//!
//! Miners seated before a pool's extranonce2 was known may need more bytes than it has. Only these
//! miners are kept from that pool (F89). While the first route's pool is too small for some miners,
//! a lane has a second route per goal, to the goal's roomiest pool.
//!
//! The plan (`Links::plan`) is one pure pass over all links. Each goal has an ordered list of
//! pools; one serves, and the next is kept live as standby. A pool is left when its circuit opens
//! ([`crate::health`]). A pool earlier in the list gets its goal back when its own circuit has
//! closed; for a pool that refused shares that is a trial. A lane has a [`Route`] per goal. To
//! point it at another link, that link's newest job gets a new serial. Miners get a notify with
//! `clean_jobs` and stay connected (`docs/adr/0003`, `docs/adr/0007`).
//!
//! Back-off is one function (`Links::retry_delay`): it doubles from a minimum to a maximum, with
//! jitter, and is reset only by health (F55, F57). While no pool serves a goal, its pools are
//! dialled every few seconds all the same (F95, `docs/adr/0015`).

use crate::health::Circuit;
use crate::limits::{
    GOALS_MAX, HEAR_MAX, LANES_MAX, LINGER, LINKS_MAX, POOLS_MAX, RETRY_UNSERVED_MAX,
};
use crate::split::Weights;
use crate::table::IdPool;
use crate::time::{Duration, Instant};
use crate::upstream::{Link, LinkClose, LinkIndex, State};
use crate::work::extranonce::Geometry;
use crate::work::header::NTime;
use crate::work::job::{Job, Serial};

/// When the plan leaves a pool, when it retries one, and each goal's part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Number of pools in the ordered list.
    pub pools: usize,
    /// The goal of each pool, below [`GOALS_MAX`]; a goal's pools are in order of preference.
    pub goals: [u8; POOLS_MAX],
    /// Each goal's part of the work.
    pub weights: Weights,
    /// Whether the next pool of a goal is kept connected as standby, with a live job.
    pub standby: bool,
    /// First retry delay.
    pub retry_min: Duration,
    /// Longest retry delay.
    pub retry_max: Duration,
    /// Time of health that resets the back-off; an earlier pool must show it before it serves
    /// again.
    pub healthy: Duration,
    /// Time without a live link after which the next pool is dialled. It is also the longest time
    /// that the farm stays with a pool that answers nothing.
    pub failover: Duration,
}

impl Default for Policy {
    /// The settings' defaults, without pools.
    fn default() -> Self {
        let mut weights = [0; GOALS_MAX];
        if let Some(first) = weights.first_mut() {
            *first = 1;
        }
        Self {
            pools: 0,
            goals: [0; POOLS_MAX],
            weights,
            standby: true,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            healthy: Duration::from_secs(60),
            failover: Duration::from_secs(5),
        }
    }
}

impl Policy {
    pub(crate) fn pools(&self) -> core::ops::Range<u8> {
        0..u8::try_from(self.pools.min(POOLS_MAX)).unwrap_or(u8::MAX)
    }

    /// Returns the goal of a pool.
    pub fn goal_of(&self, pool: u8) -> u8 {
        self.goals.get(usize::from(pool)).copied().unwrap_or(0)
    }

    /// Iterates over the pools of a goal, first choice first.
    fn pools_of(&self, goal: u8) -> impl Iterator<Item = u8> {
        let goals = self.goals;
        self.pools().filter(move |pool| goals.get(usize::from(*pool)) == Some(&goal))
    }

    /// Iterates over the goals that have a pool.
    fn goals(&self) -> impl Iterator<Item = u8> {
        let policy = *self;
        (0u8..).take(GOALS_MAX).filter(move |goal| policy.pools_of(*goal).next().is_some())
    }

    /// How long a share may wait for its answer before its pool counts as silent. It is short
    /// enough that the farm has moved within [`Policy::failover`].
    fn silence(&self) -> Duration {
        Duration::from_micros(self.failover.as_micros().saturating_mul(4) / 5)
    }
}

/// The job source for a lane's miners of one goal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Route {
    /// The serving link; kept while it is down, so that late shares find it.
    pub(crate) serves: Option<LinkIndex>,
    /// The newest job.
    pub(crate) current: Option<Serial>,
}

impl Route {
    /// Returns the serving link.
    pub fn serves(&self) -> Option<LinkIndex> {
        self.serves
    }

    /// Returns the newest job.
    pub fn current(&self) -> Option<Serial> {
        self.current
    }
}

/// Miners that share one id space, and their routes by goal.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// The ids of its miners.
    pub(crate) ids: IdPool,
    pub(crate) routes: [Route; GOALS_MAX],
    /// Routes for miners that do not fit the first route's pool.
    roomy: [Route; GOALS_MAX],
}

impl Lane {
    /// Returns how many ids its miners use.
    pub fn ids_used(&self) -> usize {
        self.ids.used()
    }

    /// Returns the route of the miners that work for `goal`.
    pub fn route(&self, goal: u8) -> Option<&Route> {
        self.routes.get(usize::from(goal))
    }

    /// Returns the route of the miners that do not fit the first route's pool.
    pub fn roomy_route(&self, goal: u8) -> Option<&Route> {
        self.roomy.get(usize::from(goal))
    }

    fn all_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().chain(&self.roomy)
    }

    fn all_routes_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.routes.iter_mut().chain(&mut self.roomy)
    }
}

/// A goal's work moved to another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Switch {
    /// The goal.
    pub goal: u8,
    /// The list place of the earlier pool.
    pub from: u8,
    /// The list place of the new pool.
    pub to: u8,
    /// The reason.
    pub why: Why,
}

/// Why a goal's work moved to another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Why {
    /// The earlier pool's link was lost or could not be made.
    Lost(LinkClose),
    /// The earlier pool did not become live in time.
    NotReached,
    /// The earlier pool leaves shares unanswered.
    Silent,
    /// The earlier pool refuses shares.
    Refuses {
        /// The code of the last refusal, if it had one.
        code: Option<i64>,
        /// Refusals in a row.
        count: u32,
    },
    /// The earlier pool serves badly.
    Unwell {
        /// Its health, 0 to 100.
        health: u8,
    },
    /// A pool earlier in the list has been healthy long enough.
    Preferred {
        /// That time in seconds.
        secs: u64,
    },
    /// The same, which had refused shares or left them unanswered: a few show whether it takes
    /// them again.
    Trial {
        /// Seconds since it was left for that.
        secs: u64,
    },
    /// The settings name other pools for the goal.
    Settings,
}

impl Why {
    /// Returns the name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::NotReached => "not_reached",
            Self::Silent => "silent",
            Self::Refuses { .. } => "refuses",
            Self::Unwell { .. } => "unwell",
            Self::Preferred { .. } => "preferred",
            Self::Trial { .. } => "trial",
            Self::Settings => "settings",
        }
    }
}

/// Changes made by a pass of the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// A route has another job: its miners must be told.
    pub fan_out: bool,
    /// Goals that moved to another pool.
    pub switched: [Option<Switch>; GOALS_MAX],
}

/// All links and lanes.
#[derive(Debug)]
pub struct Links<'a> {
    links: heapless::Vec<Link<'a>, LINKS_MAX>,
    lanes: heapless::Vec<Lane, LANES_MAX>,
    policy: Policy,
    /// The pool that each goal works for.
    active: [u8; GOALS_MAX],
    switched_at: [Instant; GOALS_MAX],
    next_serial: Serial,
    random: u64,
    /// Bytes of each pool's extranonce2, if it was ever heard.
    sizes: [Option<u8>; POOLS_MAX],
    /// Pools that answered a subscription, usable or not.
    heard: [bool; POOLS_MAX],
    /// Until this time, pools never heard are dialled for their extranonce2 alone.
    hears_until: Instant,
    /// The most bytes of extranonce2 that any seated miner needs.
    need_most: u8,
}

impl<'a> Links<'a> {
    /// Takes the links; the first plan opens them.
    pub fn new(
        links: heapless::Vec<Link<'a>, LINKS_MAX>,
        policy: Policy,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            links,
            // There is room for the first lane, which usually serves the farm alone.
            lanes: core::iter::once(Lane::default()).collect(),
            policy,
            active: core::array::from_fn(|goal| {
                u8::try_from(goal).ok().and_then(|goal| policy.pools_of(goal).next()).unwrap_or(0)
            }),
            switched_at: [now; GOALS_MAX],
            next_serial: Serial::FIRST,
            random: seed | 1,
            sizes: [None; POOLS_MAX],
            heard: [false; POOLS_MAX],
            hears_until: now + HEAR_MAX,
            need_most: 0,
        }
    }

    /// Returns the bytes of a pool's extranonce2, if it was ever heard.
    pub fn size_of(&self, pool: u8) -> Option<u8> {
        self.sizes.get(usize::from(pool)).copied().flatten()
    }

    /// Returns the shortest known extranonce2 of the configured pools.
    pub(crate) fn size_least(&self) -> Option<u8> {
        self.policy.pools().filter_map(|pool| self.size_of(pool)).min()
    }

    /// Says whether the extranonce2 length of every configured pool is known.
    pub(crate) fn knows_all(&self) -> bool {
        self.policy.pools().all(|pool| self.size_of(pool).is_some())
    }

    /// Says whether miners should still wait for pools that were never heard.
    pub(crate) fn is_hearing(&self, now: Instant) -> bool {
        now < self.hears_until && self.policy.pools().any(|pool| !self.was_heard(pool))
    }

    fn was_heard(&self, pool: u8) -> bool {
        self.heard.get(usize::from(pool)).copied().unwrap_or(true)
    }

    /// Notes that a link's pool was heard; returns the pool and its extranonce2 length if that is
    /// new.
    pub(crate) fn note_size(&mut self, link: LinkIndex, usable: bool) -> Option<(u8, u8)> {
        let link = self.get(link)?;
        let (pool, size) = (link.pool, link.extranonce2_size());
        if let Some(heard) = self.heard.get_mut(usize::from(pool)) {
            *heard = true;
        }
        let size = size.filter(|_| usable)?;
        let known = self.sizes.get_mut(usize::from(pool))?;
        (known.replace(size) != Some(size)).then_some((pool, size))
    }

    /// Forgets what was heard of a pool, since the settings now name another pool in its place.
    pub(crate) fn forget_size(&mut self, pool: usize) {
        if let (Some(size), Some(heard)) = (self.sizes.get_mut(pool), self.heard.get_mut(pool)) {
            (*size, *heard) = (None, false);
        }
    }

    /// Sets the most bytes of extranonce2 that any seated miner needs.
    pub(crate) fn set_need_most(&mut self, need: u8) {
        self.need_most = need;
    }

    /// Returns the serial for the next announcement.
    pub(crate) fn issue(&mut self) -> Serial {
        let serial = self.next_serial;
        self.next_serial = serial.next();
        serial
    }

    /// Returns the serial for the next announcement on a link, and gives the link its lane's id
    /// turn.
    pub(crate) fn issue_on(&mut self, link: LinkIndex) -> Serial {
        let lane = self.get(link).and_then(|link| self.lanes.get(usize::from(link.lane)));
        let turn = lane.map_or(0, |lane| lane.ids.turn());
        if let Some(link) = self.get_mut(link) {
            link.turn = turn;
        }
        self.issue()
    }

    /// Returns the serial issued last.
    pub(crate) fn last_issued(&self) -> Serial {
        self.links
            .iter()
            .filter_map(|link| link.jobs.newest().map(|job| job.serial))
            .max()
            .unwrap_or(Serial::NONE)
    }

    /// Returns the oldest live job of all links for which `is_wanted` is true, except each link's
    /// newest.
    pub(crate) fn oldest_but_newest(
        &self,
        is_wanted: impl Fn(&Job) -> bool,
    ) -> Option<(LinkIndex, Serial)> {
        let old = self.iter().flat_map(|(index, link)| {
            let newest = link.jobs.newest().map(|job| job.serial);
            let old = link.jobs.iter().filter(move |job| Some(job.serial) != newest);
            old.map(move |job| (index, job))
        });
        old.filter(|(_, job)| job.live && is_wanted(job))
            .min_by_key(|(_, job)| job.received)
            .map(|(index, job)| (index, job.serial))
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

    /// Returns the links that serve a route.
    pub(crate) fn serving(&self) -> heapless::Vec<LinkIndex, LINKS_MAX> {
        self.iter().map(|(index, _)| index).filter(|index| self.is_serving(*index)).collect()
    }

    fn is_serving(&self, link: LinkIndex) -> bool {
        self.lanes.iter().flat_map(Lane::all_routes).any(|route| route.serves == Some(link))
    }

    /// Returns the route of a lane's miners that work for `goal`.
    pub fn route(&self, lane: u8, goal: u8) -> Option<&Route> {
        self.lanes.get(usize::from(lane))?.route(goal)
    }

    /// Returns the link that serves a lane, goal and geometry, if one fits.
    pub(crate) fn feed(
        &self,
        lane: u8,
        goal: u8,
        geometry: Geometry,
    ) -> Option<(LinkIndex, &Link<'a>)> {
        let lane = self.lanes.get(usize::from(lane))?;
        let routes = [lane.route(goal)?, lane.roomy_route(goal)?];
        routes.into_iter().find_map(|route| {
            let index = route.serves?;
            let link = self.get(index)?;
            link.fits(geometry).then_some((index, link))
        })
    }

    /// Says whether miners of a geometry can work for a goal, as far as its pools are known.
    pub(crate) fn has_room(&self, goal: u8, geometry: Geometry) -> bool {
        let fits = |pool| self.size_of(pool).is_none_or(|size| geometry.fits(size).is_ok());
        let active = self.active_pool(goal);
        fits(active) || self.policy.pools_of(goal).any(|pool| fits(pool) && self.is_live(pool, 0))
    }

    pub(crate) fn lane_mut(&mut self, lane: u8) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::from(lane))
    }

    /// Opens another lane with fresh ids. Returns `false` if [`LANES_MAX`] are open, or if no link
    /// is left for it: its miners would wait in vain.
    pub(crate) fn open_lane(&mut self, ids: IdPool) -> bool {
        self.lanes.len() < self.links.len()
            && self.lanes.push(Lane { ids, ..Lane::default() }).is_ok()
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the pool that a goal works for.
    pub fn active_pool(&self, goal: u8) -> u8 {
        self.active.get(usize::from(goal)).copied().unwrap_or(0)
    }

    /// Says whether its goal works for this pool.
    pub fn is_active(&self, pool: u8) -> bool {
        self.active_pool(self.policy.goal_of(pool)) == pool
    }

    /// Returns the weights of the goals with a live pool, or with one lost a moment ago; 0 for the
    /// others.
    pub(crate) fn served(&self, now: Instant) -> Weights {
        let mut served = [0; GOALS_MAX];
        let weights = self.policy.weights;
        for goal in self.policy.goals() {
            let active = self.active_pool(goal);
            let is_served = self.is_live(active, 0)
                || self.find(active, 0).is_some_and(|link| {
                    link.was_live && self.failing_for(active, now) < self.policy.failover
                });
            let weight = weights.get(usize::from(goal)).copied().unwrap_or(0);
            if let (true, Some(place)) = (is_served, served.get_mut(usize::from(goal))) {
                *place = weight;
            }
        }
        served
    }

    /// Announces a link's newest job again with its ntime moved on, so that miners that had it find
    /// other shares (QUIRKS 24).
    pub(crate) fn renew(&mut self, link: LinkIndex, now: Instant) -> Option<Serial> {
        let serial = self.issue_on(link);
        let link = self.get_mut(link)?;
        let job = link.announced()?;
        let ahead = u32::try_from(now.since(job.received).as_secs()).unwrap_or(u32::MAX);
        // For miners that had it a moment ago, the ntime must move too.
        let ahead = if job.serial <= link.told { ahead.max(1) } else { ahead };
        let ntime = NTime(job.ntime.0.saturating_add(ahead));
        link.renew(serial, ntime, now)
    }

    /// Takes a link's new job; returns whether any route's miners must be told.
    pub(crate) fn handle_job(&mut self, link: LinkIndex, serial: Serial, clean: bool) -> bool {
        let mut told = false;
        let routes = self.lanes.iter_mut().flat_map(Lane::all_routes_mut);
        for route in routes.filter(|route| route.serves == Some(link)) {
            route.current = Some(serial);
            told = true;
        }
        if let Some(link) = self.get_mut(link) {
            if clean {
                link.clean_since = serial;
            }
            if told {
                link.told = serial;
            }
        }
        told
    }

    /// Returns the next link to dial, and marks it as connecting.
    pub(crate) fn poll_dial(&mut self, now: Instant) -> Option<(LinkIndex, u8)> {
        let (index, link) = self.iter_mut().find(|(_, link)| {
            link.state == State::Idle && link.wanted && !link.hangup && link.retry_at <= now
        })?;
        link.enter(State::Connecting, now);
        link.dialled_at = now;
        Some((index, link.pool))
    }

    /// Books a lost or failed connection and sets the time of the next attempt.
    pub(crate) fn handle_down(&mut self, link: LinkIndex, close: LinkClose, now: Instant) {
        let random = self.random();
        let (healthy, policy) = (self.policy.healthy, self.policy);
        let Some(link) = self.links.get_mut(link.index()) else { return };
        let was_healthy = link.live_since.is_some_and(|since| now.since(since) >= healthy);
        let spread = random.checked_rem(RETRY_UNSERVED_MAX.as_micros() / 4).unwrap_or(0);
        let unserved = Duration::from_micros(RETRY_UNSERVED_MAX.as_micros().saturating_sub(spread));
        link.attempts = if was_healthy { 0 } else { link.attempts.saturating_add(1) };
        if link.live_since.is_some() && close != LinkClose::Unneeded {
            if matches!(close, LinkClose::NoAnswers | LinkClose::SessionForgotten) {
                // Answers of the old session say nothing about the next.
                link.health.handle_renewal(now);
            }
            link.health.handle_loss();
        }
        link.handle_down(close, now);
        link.retry_at = now + Self::retry_delay(&policy, link.attempts, random);
        // Measured from the dial, so that a slow dial is not waited for twice.
        let least = now + Self::retry_delay(&policy, link.attempts.min(1), random);
        let sooner = least.max(link.dialled_at + unserved);
        link.hasty_at = if close.is_decided() { link.retry_at } else { sooner.min(link.retry_at) };
    }

    /// The delay before attempt number `attempts`: doubling, capped, and shortened by up to a
    /// quarter at random, so that a thousand gateways do not retry in step.
    fn retry_delay(policy: &Policy, attempts: u32, random: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        let full = policy.retry_min.saturating_mul(1 << doublings).as_micros();
        let full = full.min(policy.retry_max.as_micros());
        // The first attempt after the loss of a healthy link comes sooner.
        let full = if attempts == 0 { full / 4 } else { full };
        let spread = (full / 4).max(1);
        Duration::from_micros(full.saturating_sub(random.checked_rem(spread).unwrap_or(0)))
    }

    /// xorshift64, for retry jitter only.
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

    fn failing_for(&self, pool: u8, now: Instant) -> Duration {
        match self.find(pool, 0) {
            Some(link) if link.state != State::Live => now.since(link.failing_since),
            _ => Duration::ZERO,
        }
    }

    /// Updates the health of every link.
    pub(crate) fn check_health(&mut self, now: Instant) {
        let Policy { healthy, .. } = self.policy;
        let patience = self.policy.silence();
        for link in self.links.iter_mut().filter(|link| link.wanted) {
            let silent = link.unanswered_for(now) >= patience;
            link.health.handle_timeout(link.state == State::Live, silent, healthy, now);
        }
    }

    /// Reconciles links and lanes with the policy and the live links.
    pub(crate) fn plan(&mut self, now: Instant) -> Planned {
        let mut planned = Planned::default();
        self.check_health(now);
        let policy = self.policy;
        for goal in policy.goals() {
            let (active, why) = self.choose_active(goal, now);
            let place = usize::from(goal);
            if let (Some(before), Some(switched), Some(at)) = (
                self.active.get_mut(place),
                planned.switched.get_mut(place),
                self.switched_at.get_mut(place),
            ) && *before != active
            {
                *switched = Some(Switch { goal, from: *before, to: active, why });
                *before = active;
                *at = now;
            }
        }
        self.want_links(now);
        planned.fan_out = self.seat_lanes(now);
        self.release_links(now);
        self.hasten();
        planned
    }

    /// Shortens the back-off of links whose lane and goal no other link serves: a pool that is
    /// reachable again should get the farm within seconds (F95).
    fn hasten(&mut self) {
        for index in 0..self.links.len() {
            let Some(link) = self.links.get(index) else { break };
            if !link.wanted || link.state != State::Idle || link.retry_at <= link.hasty_at {
                continue;
            }
            let (lane, goal) = (link.lane, self.policy.goal_of(link.pool));
            let is_served = self.links.iter().any(|other| {
                other.wanted
                    && other.lane == lane
                    && self.policy.goal_of(other.pool) == goal
                    && other.state == State::Live
                    && other.health.circuit() != Circuit::Open
            });
            if let (false, Some(link)) = (is_served, self.links.get_mut(index)) {
                link.retry_at = link.hasty_at;
            }
        }
    }

    /// The pool that a goal should work for. The active pool stays while its circuit is not open,
    /// unless an earlier pool's circuit has closed. Otherwise the best pool is chosen, see
    /// [`Self::choose_best`].
    fn choose_active(&self, goal: u8, now: Instant) -> (u8, Why) {
        let active = self.active_pool(goal);
        let mut pools = self.policy.pools_of(goal);
        if self.policy.goal_of(active) != goal || usize::from(active) >= self.policy.pools {
            let best = self.choose_best(goal).or_else(|| pools.next()).unwrap_or(0);
            return (best, Why::Settings);
        }
        let is_closed = |pool: &u8| self.circuit(*pool) == Some(Circuit::Closed);
        if self.circuit(active).is_some_and(|circuit| circuit != Circuit::Open) {
            let preferred = pools.take_while(|pool| *pool != active).find(is_closed);
            let why = self.why_preferred(preferred.unwrap_or(active), now);
            return (preferred.unwrap_or(active), why);
        }
        let why = self.why_left(active, now);
        if self.is_awaited(active, now) {
            return (active, why);
        }
        (self.choose_best(goal).unwrap_or(active), why)
    }

    /// Says why a pool gets its goal back.
    fn why_preferred(&self, pool: u8, now: Instant) -> Why {
        match self.find(pool, 0).and_then(|link| link.health.on_trial_since()) {
            Some(since) => Why::Trial { secs: now.since(since).as_secs() },
            None => Why::Preferred { secs: self.policy.healthy.as_secs() },
        }
    }

    /// Names the fault of a pool whose circuit is open, or that is not live.
    fn why_left(&self, pool: u8, now: Instant) -> Why {
        let Some(link) = self.find(pool, 0) else { return Why::NotReached };
        let (count, code) = link.refusals.row();
        match (link.state, link.last_close) {
            (State::Live, _) if link.unanswered_for(now) >= self.policy.silence() => Why::Silent,
            (State::Live, _) if count > 0 => Why::Refuses { code, count },
            (State::Live, _) => Why::Unwell { health: link.health.score() },
            (_, Some(close)) => Why::Lost(close),
            (_, None) => Why::NotReached,
        }
    }

    /// Says whether a pool had no time yet to become live, as at the start. A later pool that
    /// answers sooner should not get the farm meanwhile.
    fn is_awaited(&self, pool: u8, now: Instant) -> bool {
        // A pool without a link is not awaited, as after a change of settings with every link in
        // use.
        self.find(pool, 0).is_some_and(|link| {
            let failing = self.failing_for(pool, now);
            !link.was_live && link.attempts == 0 && failing < self.policy.failover
        })
    }

    /// The first pool of a goal whose circuit is closed, else half-open. Otherwise the active pool
    /// if it is live, else the first live pool.
    fn choose_best(&self, goal: u8) -> Option<u8> {
        let first =
            |wanted| self.policy.pools_of(goal).find(|pool| self.circuit(*pool) == Some(wanted));
        let active = self.active_pool(goal);
        let live = |pool: &u8| self.is_live(*pool, 0);
        first(Circuit::Closed)
            .or_else(|| first(Circuit::HalfOpen))
            .or_else(|| Some(active).filter(|pool| live(pool)))
            .or_else(|| self.policy.pools_of(goal).find(live))
    }

    /// The circuit of a pool's live link in the first lane.
    fn circuit(&self, pool: u8) -> Option<Circuit> {
        let link = self.find(pool, 0).filter(|link| link.state == State::Live)?;
        Some(link.health.circuit())
    }

    /// Says whether a pool should have a link. Pools up to the active one do. So does the next pool
    /// that does not fail, as hot standby or because the active pool fails.
    fn is_needed(&self, pool: u8, now: Instant) -> bool {
        let goal = self.policy.goal_of(pool);
        let active = self.active_pool(goal);
        let fails = |pool: u8| self.failing_for(pool, now) >= self.policy.failover;
        let is_unheard = now < self.hears_until && !self.was_heard(pool);
        if pool <= active || is_unheard || self.is_roomy(pool) {
            return true;
        }
        let mut between = self.policy.pools_of(goal).filter(|p| (active..pool).contains(p));
        if self.policy.standby {
            between.all(|between| between == active || fails(between))
        } else {
            between.all(fails)
        }
    }

    /// Says whether a pool has more room than its goal's active pool, and miners need it.
    fn is_roomy(&self, pool: u8) -> bool {
        let active = self.active_pool(self.policy.goal_of(pool));
        match (self.size_of(active), self.size_of(pool)) {
            (Some(least), Some(size)) => least < self.need_most && least < size,
            _ => false,
        }
    }

    /// Says whether a further lane should have a standby link to a pool.
    fn is_standby(&self, pool: u8, now: Instant) -> bool {
        self.policy.standby && self.is_behind(pool) && self.is_needed(pool, now)
    }

    /// Says whether a pool comes after its goal's active pool.
    fn is_behind(&self, pool: u8) -> bool {
        pool > self.active_pool(self.policy.goal_of(pool))
    }

    /// Assigns links: first to the pools of the first lane, then to the active pools of further
    /// lanes, then to their standbys.
    fn want_links(&mut self, now: Instant) {
        let policy = self.policy;
        let further = 1..u8::try_from(self.lanes.len()).unwrap_or(u8::MAX);
        for pool in policy.pools() {
            if self.is_needed(pool, now) {
                self.want(pool, 0, now);
            }
        }
        let mut lacking = 0;
        for lane in further.clone() {
            for goal in policy.goals() {
                let is_served = self.want(self.active_pool(goal), lane, now);
                lacking = usize::saturating_add(lacking, usize::from(!is_served));
            }
        }
        if lacking > 0 {
            self.take_standbys(lacking);
            return;
        }
        for lane in further {
            for pool in policy.pools() {
                if (self.is_standby(pool, now) || self.is_roomy(pool)) && self.has_spare() {
                    self.want(pool, lane, now);
                }
            }
        }
    }

    /// Releases standbys until enough links are on their way to be free: a working lane comes
    /// before a prepared one.
    fn take_standbys(&mut self, lacking: usize) {
        let leaving =
            self.links.iter().filter(|link| !link.wanted && link.pending.is_empty()).count();
        for _ in leaving..lacking {
            let is_standby = |link: &Link<'_>| {
                link.wanted && link.pending.is_empty() && link.lane > 0 && self.is_behind(link.pool)
            };
            let standby =
                self.iter().find(|(index, link)| is_standby(link) && !self.is_serving(*index));
            let Some((index, _)) = standby else { return };
            if let Some(link) = self.get_mut(index) {
                link.wanted = false;
            }
        }
    }

    /// Says whether a free link exists that late shares do not need.
    fn has_spare(&self) -> bool {
        self.iter().any(|(index, link)| Self::is_free(link) && !self.is_serving(index))
    }

    fn is_free(link: &Link<'_>) -> bool {
        !link.wanted && link.state == State::Idle && link.pending.is_empty()
    }

    /// Gives a lane a link to a pool; `false` if it has none and every link is in use.
    fn want(&mut self, pool: u8, lane: u8, now: Instant) -> bool {
        if self.find(pool, lane).is_some() {
            return true;
        }
        // A link that served last is taken only if no other is free: late shares go out on it. If
        // every link is in use, the pool waits for a release. The link with the largest queue goes
        // to the lane with the most miners.
        let free = self.iter().filter(|(_, link)| Self::is_free(link));
        let key = |(index, link): &(LinkIndex, &Link<'_>)| {
            let room = link.pending.capacity();
            (
                self.is_serving(*index),
                if lane == 0 { usize::MAX.saturating_sub(room) } else { room },
            )
        };
        let Some((index, _)) = free.min_by_key(key) else { return false };
        let routes = self.lanes.iter_mut().flat_map(Lane::all_routes_mut);
        for route in routes.filter(|route| route.serves == Some(index)) {
            *route = Route::default();
        }
        if let Some(link) = self.get_mut(index) {
            link.assign(pool, lane, now);
        }
        true
    }

    /// Points every route at its link to the goal's active pool once that link is live.
    fn seat_lanes(&mut self, now: Instant) -> bool {
        let policy = self.policy;
        let mut changed = false;
        for lane in 0..u8::try_from(self.lanes.len()).unwrap_or(u8::MAX) {
            for goal in policy.goals() {
                changed |= self.seat_route(lane, goal, now);
            }
        }
        changed
    }

    fn seat_route(&mut self, lane: u8, goal: u8, now: Instant) -> bool {
        let before = self.route(lane, goal).copied().unwrap_or_default();
        let active = self.active_pool(goal);
        let mut changed = false;
        if let Some(index) = self.index_of(active, lane)
            && before.serves != Some(index)
            && self.is_live(active, lane)
            // A new serial, so that the serials of a route always grow.
            && let Some(route) = self.route_to(index, now)
        {
            let place = self.lane_mut(lane).and_then(|l| l.routes.get_mut(usize::from(goal)));
            if let Some(place) = place {
                *place = route;
            }
            changed = true;
        }
        changed | self.seat_roomy(lane, goal, before, now)
    }

    /// Announces a link's newest job for a new route to it.
    fn route_to(&mut self, index: LinkIndex, now: Instant) -> Option<Route> {
        let serial = self.renew(index, now)?;
        let link = self.get_mut(index)?;
        link.told = serial;
        // Miners with older jobs of this link, and none since, must drop them too.
        link.clean_since = serial;
        Some(Route { serves: Some(index), current: Some(serial) })
    }

    /// Points a goal's second route at its roomiest live link while the first route's pool is too
    /// small for some miners. If the link of `before` is roomy enough, that route is kept as it is.
    fn seat_roomy(&mut self, lane: u8, goal: u8, before: Route, now: Instant) -> bool {
        let room = |link: &Link<'_>| link.extranonce2_size().unwrap_or(0);
        let serves = self.route(lane, goal).and_then(|route| self.get(route.serves?));
        let least = serves.and_then(Link::extranonce2_size).unwrap_or(u8::MAX);
        let roomy = self.lanes.get(usize::from(lane)).and_then(|lane| lane.roomy_route(goal));
        let roomy = roomy.copied().unwrap_or_default();
        let does = |route: Route| {
            let link = route.serves.and_then(|index| self.get(index));
            link.is_some_and(|link| {
                link.state == State::Live && link.wanted && room(link) >= self.need_most
            })
        };
        let next = if least >= self.need_most {
            Route::default()
        } else if does(roomy) {
            roomy
        } else if does(before) {
            before
        } else {
            let of_goal = |link: &Link<'_>| {
                link.lane == lane && self.policy.goal_of(link.pool) == goal && link.wanted
            };
            let live = self.iter().filter(|(_, l)| l.state == State::Live && of_goal(l));
            let best = live.max_by_key(|(_, link)| room(link)).filter(|(_, l)| room(l) > least);
            match best.map(|(index, _)| index) {
                // Late shares need the old route until there is another.
                None => roomy,
                Some(index) if roomy.serves == Some(index) => roomy,
                Some(index) => self.route_to(index, now).unwrap_or_default(),
            }
        };
        let place = self.lane_mut(lane).and_then(|lane| lane.roomy.get_mut(usize::from(goal)));
        let changed = roomy.serves != next.serves;
        if let Some(place) = place {
            *place = next;
        }
        changed && next.serves.is_some()
    }

    /// Releases links that are not needed any more, once late shares had their time. Further lanes
    /// also release lost links to pools that are neither active nor standby, since they need those
    /// links elsewhere.
    fn release_links(&mut self, now: Instant) {
        for index in 0..self.links.len() {
            let Some(link) = self.links.get(index) else { break };
            let (pool, lane) = (link.pool, link.lane);
            if !link.wanted || !link.pending.is_empty() || usize::from(pool) >= self.policy.pools {
                continue;
            }
            let goal = self.policy.goal_of(pool);
            let active_live = self.is_live(self.active_pool(goal), 0);
            let since = self.switched_at.get(usize::from(goal)).copied().unwrap_or(now);
            let settled = now.since(since) >= LINGER;
            let needless = if lane == 0 {
                settled && !self.is_needed(pool, now)
            } else {
                !self.is_active(pool)
                    && !self.is_standby(pool, now)
                    && !self.is_roomy(pool)
                    && (settled || link.state == State::Idle)
            };
            if active_live
                && needless
                && let Some(link) = self.links.get_mut(index)
            {
                link.wanted = false;
            }
        }
    }

    /// Returns the next open link that the plan does not want.
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

    /// Sets another policy after a change of settings; new pools get time to be heard.
    pub(crate) fn set_policy(&mut self, policy: Policy, now: Instant) {
        self.policy = policy;
        self.hears_until = now + HEAR_MAX;
    }

    /// Returns the time of the plan's next dial.
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
        Policy { pools: 2, ..Policy::default() }
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
