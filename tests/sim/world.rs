//! The world around the production [`Proxy`]: a virtual clock, miners, pools, and the wires
//! between. [`World::serve`] plays the gateway's part.
//!
//! One queue of events, ordered by time and then by their planning, drives the world; so the same
//! seed gives the same run. After each event the gateway does its due work, and every invariant is
//! checked.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use loka_stratum::downstream::Close;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, OUTPUT_BYTES_MIN, READ_BYTES_MAX, SPILL_BYTES_MAX,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{
    Event, LinkSizes, Options, PoolLogin, Proxy, Refusal, Storage, VerdictMode,
};
use loka_stratum::table::{IdBlock, MinerHandle, Slot};
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost};
use loka_stratum::vardiff;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::Geometry;
use loka_stratum::work::job::Job;

use crate::clock::{Clock, Trick};
use crate::earlier::{self, Earlier};
use crate::earnings::Earnings;
use crate::invariants::{Checks, View, worker_of};
use crate::json::message;
use crate::miner::{Miner, Sent};
use crate::pipe::Way;
use crate::plan::{Fault, MILLI, Manners, Plan, PoolPlan, SECOND, Weather};
use crate::pool::{Judged, Pool, Said, Session};
use crate::rng::Rng;
use crate::trace::{Trace, hold};

/// Time from the end of the faults until every miner must be served (I6).
pub const LIVENESS: u64 = 30 * SECOND;
/// Time limit for a draining gateway to answer all shares (F70).
const DRAIN: u64 = 10 * SECOND;
/// Last part of that time, in which no share is answered: shorter than the invariant's limit.
const DEAF_AT_END: u64 = 4 * SECOND;
/// The same for a farm with a pool of one name, which is found by the shares that it refuses (F94):
/// those that wait for their names meanwhile may outlive the few jobs that are kept here.
const LIVENESS_OF_ONE_NAME: u64 = 60 * SECOND;
/// How often it is looked whether all is well.
const WELL_EVERY: u64 = 3 * SECOND;
/// Time limit for the last share to reach its pool.
const LAST_SHARE: u64 = 2 * SECOND;
/// The same where it may go under no name but the login's: until the pool has left the request for
/// the name unanswered for ten seconds, and the gateway's next look.
const LAST_SHARE_OF_ONE_NAME: u64 = 11 * SECOND;
/// Shares of each miner of which one must reach its pool.
const PROBES: usize = 3;
/// Time after which a blocked reader is closed, as in the gateway's settings.
const BLOCKED_MAX: u64 = 30 * SECOND;
/// Time after which the kernel gives up a pulled cable.
const PULLED_MAX: u64 = 9 * SECOND;

/// The engine's memory, owned for one run.
pub struct Memory {
    slots: Vec<Slot>,
    lines: Vec<u8>,
    ids: Vec<IdBlock>,
    seen: Vec<[u64; 8]>,
    jobs: Vec<Job>,
    pending: Vec<Pending>,
    link_bytes: Vec<u8>,
    sizes: LinkSizes,
}

impl Memory {
    pub fn new(plan: &Plan) -> Self {
        let Plan { slots, links, jobs, pending, line_bytes, .. } = *plan;
        let sizes = LinkSizes { jobs, pending, line_bytes, ..LinkSizes::MAX };
        Self {
            slots: (0..slots).map(|_| Slot::VACANT).collect(),
            lines: vec![0; slots * DOWNSTREAM_LINE_BYTES_MAX],
            ids: vec![IdBlock::FREE; Storage::ID_BLOCKS],
            seen: vec![[0; 8]; Storage::seen_min(slots) * plan.seen],
            jobs: (0..links * jobs).map(|_| Job::vacant()).collect(),
            pending: vec![Pending::FREE; links * pending],
            link_bytes: vec![0; links * sizes.bytes()],
            sizes,
        }
    }

    fn storage(&mut self) -> Storage<'_> {
        Storage {
            slots: &mut self.slots,
            lines: &mut self.lines,
            ids: &mut self.ids,
            seen: &mut self.seen,
            link_sizes: self.sizes,
            jobs: &mut self.jobs,
            pending: &mut self.pending,
            link_bytes: &mut self.link_bytes,
        }
    }
}

fn options(plan: &Plan) -> Options {
    let difficulty = |value| Difficulty::new(value).unwrap();
    let time = Duration::from_micros;
    let login = |pool: &PoolPlan| PoolLogin {
        user: pool.address.user.try_into().unwrap(),
        password: "x".try_into().unwrap(),
        host: pool.address.host.as_str().try_into().unwrap(),
        port: pool.address.port,
    };
    Options {
        pools: plan.pools.iter().map(login).collect(),
        links: links::Policy {
            pools: plan.pools.len(),
            retry_min: time(500 * MILLI),
            retry_max: time(plan.retry_max),
            healthy: time(plan.healthy),
            failover: time(plan.failover),
            standby: plan.standby,
            goals: core::array::from_fn(|pool| plan.pools.get(pool).map_or(0, |pool| pool.goal)),
            weights: plan.weights,
        },
        vardiff: vardiff::Policy {
            start: difficulty(plan.start_difficulty),
            min: difficulty(1e-10),
            max: difficulty(1e6),
            share_interval: time(plan.share_interval),
        },
        keepalive: time(plan.keepalive),
        identity: plan.identity,
        warm: plan.warm,
        verdict: plan.verdict,
        submit_interval: time(500),
        geometry: plan.geometry.and_then(|(id, roll)| Geometry::new(id, roll)),
        first_miner_id: plan.first_miner_id,
        agent: "loka-stratum/sim".try_into().unwrap(),
        seed: plan.engine_seed,
    }
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Miner { miner: usize, handle: MinerHandle },
    Pool { pool: usize, link: LinkIndex },
}

/// A connection of the gateway.
pub struct Conn {
    pub end: End,
    pub weather: Weather,
    pub to_gateway: Way,
    pub to_peer: Way,
    pub gateway_open: bool,
    pub peer_open: bool,
    /// The cable is pulled: nothing arrives any more, and neither side notices.
    pulled: bool,
    /// The peer reset it: a writer notices that without reading.
    reset: bool,
    /// Since when the miner's socket has been full.
    pub blocked_since: Option<u64>,
    /// It is held back until the engine has room for its shares.
    pub is_held_back: bool,
    /// The miner's bytes that the engine has not read.
    pub sent: VecDeque<Sent>,
    /// The read requests that still need an answer.
    pub due: Vec<Sent>,
    pub view: View,
    /// The pool's lines that the engine has not read.
    pub said: VecDeque<Said>,
    /// The submit of each line to the pool, if it is one.
    judged: VecDeque<Option<Judged>>,
    pub session: Option<Session>,
    inbox: Vec<u8>,
    /// Submits that wait for the pool's answer, and since when.
    pub outstanding: Vec<(u32, u64)>,
    /// The pool's authorize requests.
    pub asked: Vec<Asked>,
    pub may_reconnect: bool,
    /// What the pool did with its shares.
    pub earnings: Earnings,
}

/// A request for a worker, on one connection to a pool.
pub struct Asked {
    pub name: String,
    request: u32,
    pub at: u64,
    /// When the engine read the pool's refusal.
    pub refused: Option<u64>,
}

#[derive(Default)]
pub struct LinkEnd {
    pub conn: Option<usize>,
    /// Counts dials; the answer to an earlier one is void.
    dial: u32,
    pub dialling: bool,
    /// It was said that its pool pays for nothing, and not that it does again.
    pub is_unpaid: bool,
    /// A session was made anew because it paid for nothing.
    pub was_renewed: bool,
}

/// A planned event.
#[derive(Debug)]
enum Wake {
    ToGateway(usize),
    ToPeer(usize),
    Miner {
        miner: usize,
        generation: u32,
    },
    Job(usize),
    Mischief(usize),
    Say {
        conn: usize,
        line: String,
        said: Said,
    },
    Dialled {
        link: LinkIndex,
        dial: u32,
        pool: u8,
        ok: bool,
    },
    Fault,
    GivenUp(usize),
    /// A pool without answers to shares for a while falls silent.
    Mute(usize),
    AllAway(u64),
    /// All miners lose their connections, a number of times.
    FarmReturns(u64),
    /// One address connects and closes, a number of times.
    OneChurns(u64),
    Apply,
    Clock(Trick),
    Stop,
    Well(u64),
    Probe(usize),
    /// Pools stop answering shares.
    LastShares,
    Drained,
    End,
}

impl Wake {
    /// Whether the event wakes the gateway; it does not notice its peers' own actions.
    fn is_of_gateway(&self) -> bool {
        match self {
            Self::ToPeer(_) | Self::Job(_) | Self::Mischief(_) | Self::Say { .. } => false,
            Self::Mute(_) | Self::Miner { .. } | Self::Fault | Self::AllAway(_) => false,
            Self::FarmReturns(_) => false,
            Self::OneChurns(_) => true,
            Self::Clock(_) | Self::LastShares => false,
            Self::ToGateway(_) | Self::Dialled { .. } | Self::GivenUp(_) | Self::Apply => true,
            Self::Stop | Self::Well(_) | Self::Probe(_) | Self::Drained | Self::End => true,
        }
    }
}

struct Planned {
    at: u64,
    order: u64,
    wake: Wake,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Everything.
pub struct World<'a> {
    pub plan: Plan,
    pub now: u64,
    rng: Rng,
    pub proxy: Proxy<'a>,
    /// The settings in force.
    pub options: Options,
    queue: BinaryHeap<Reverse<Planned>>,
    order: u64,
    timer_at: u64,
    pub clock: Clock,
    /// Blocks that an earlier run left.
    pub earlier: Vec<Earlier>,
    /// The last event reached the gateway, not only its peers.
    touched: bool,
    /// The gateway's loop is blocked until then (F71).
    stalled_until: u64,
    pub conns: Vec<Conn>,
    pub miners: Vec<Miner>,
    pub pools: Vec<Pool>,
    pub links: Vec<LinkEnd>,
    buffer: Vec<u8>,
    pub trace: &'a mut Trace,
    pub checks: Checks,
    pub calm: bool,
    /// Deadline for every miner to be served (I6).
    well_by: u64,
    over: bool,
}

impl<'a> World<'a> {
    pub fn new(plan: Plan, mut rng: Rng, memory: &'a mut Memory, trace: &'a mut Trace) -> Self {
        let clock = Clock::default();
        let now = Instant::from_micros(clock.reads(0));
        let options = options(&plan);
        let mut proxy =
            Proxy::new(memory.storage(), options.clone(), now).expect("a plan that fits");
        let mut checks = Checks::new(&plan);
        let mut left = Vec::new();
        for (earlier, record) in earlier::records(&plan) {
            proxy.restore_block(record, Duration::ZERO, now).expect("room for a few");
            checks.restored(earlier.key, earlier.pool);
            left.push(earlier);
        }
        let miners = plan.miners.iter().enumerate();
        let miners = miners.map(|(i, plan)| Miner::new(i, plan.clone(), rng.fork())).collect();
        let pools = plan.pools.iter().enumerate();
        let pools = pools.map(|(i, pool)| Pool::new(i, pool.clone(), plan.faults, rng.fork()));
        let mut pools: Vec<Pool> = pools.collect();
        left.iter().for_each(|earlier: &Earlier| pools[earlier.pool].remember(earlier.key));
        let mut world = Self {
            now: 0,
            proxy,
            options,
            queue: BinaryHeap::new(),
            order: 0,
            timer_at: 0,
            clock,
            earlier: left,
            touched: false,
            stalled_until: 0,
            conns: Vec::new(),
            miners,
            pools,
            links: (0..plan.links).map(|_| LinkEnd::default()).collect(),
            buffer: vec![0; OUTPUT_BYTES_MIN + READ_BYTES_MAX],
            trace,
            checks,
            calm: false,
            well_by: 0,
            over: false,
            rng,
            plan,
        };
        world.plan_start();
        let seed = world.plan.seed;
        world.trace.event(0, 0, seed, format_args!("seed {seed}"));
        world
    }

    fn plan_start(&mut self) {
        for miner in 0..self.miners.len() {
            let at = self.rng.about(SECOND);
            self.later(at, Wake::Miner { miner, generation: 0 });
        }
        for pool in 0..self.pools.len() {
            let at = self.rng.about(self.pools[pool].plan.job_every);
            self.later(at, Wake::Job(pool));
            self.later(self.plan.fault_every, Wake::Mischief(pool));
        }
        self.later(self.plan.fault_every, Wake::Fault);
        self.later(self.plan.faults_for, Wake::Stop);
        if let Some((from, length)) = self.plan.away {
            self.later(from, Wake::AllAway(length));
        }
        if self.plan.faults.has(Fault::Apply) {
            let at = self.rng.below(self.plan.faults_for);
            self.later(at, Wake::Apply);
        }
        if self.plan.faults.has(Fault::FarmReturns) {
            let (at, times) = (self.rng.below(self.plan.faults_for), self.rng.within(1, 6));
            self.later(at, Wake::FarmReturns(times));
        }
        if self.plan.faults.has(Fault::OneChurns) {
            let (at, times) = (self.rng.below(self.plan.faults_for), self.rng.within(50, 600));
            self.later(at, Wake::OneChurns(times));
        }
        for (at, trick) in self.plan.tricks.clone() {
            self.later(at, Wake::Clock(trick));
        }
    }

    pub fn instant(&self) -> Instant {
        Instant::from_micros(self.clock.reads(self.now))
    }

    fn later(&mut self, delay: u64, wake: Wake) {
        self.at(self.now + delay, wake);
    }

    fn at(&mut self, at: u64, wake: Wake) {
        self.order += 1;
        self.queue.push(Reverse(Planned { at, order: self.order, wake }));
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        self.serve();
        while !self.over {
            self.step();
        }
    }

    /// Runs until a time, or until a condition holds; returns whether it holds.
    pub fn run_until(&mut self, end: u64, is_so: impl Fn(&Self) -> bool) -> bool {
        while self.now < end && !is_so(self) {
            self.step();
        }
        is_so(self)
    }

    fn step(&mut self) {
        let next = self.queue.peek().map_or(u64::MAX, |Reverse(planned)| planned.at);
        if self.timer_at.max(self.stalled_until) < next {
            self.now = self.timer_at.max(self.stalled_until).max(self.now);
            self.trace.event(self.now, 1, 0, format_args!("timer"));
            self.touched = true;
        } else {
            let Some(Reverse(planned)) = self.queue.pop() else { return };
            self.now = planned.at.max(self.now);
            self.touched |= planned.wake.is_of_gateway();
            self.wake(planned.wake);
        }
        if self.touched {
            if self.now >= self.stalled_until {
                self.touched = false;
                self.serve();
            }
            crate::invariants::check(self);
        }
    }

    fn wake(&mut self, wake: Wake) {
        if self.now < self.stalled_until
            && matches!(
                wake,
                Wake::ToGateway(_)
                    | Wake::Dialled { .. }
                    | Wake::GivenUp(_)
                    | Wake::Apply
                    | Wake::Stop
            )
        {
            self.at(self.stalled_until, wake);
            return;
        }
        match wake {
            Wake::ToGateway(conn) => self.gateway_reads(conn),
            Wake::ToPeer(conn) => self.peer_reads(conn),
            Wake::Miner { miner, generation } => self.miner_acts(miner, generation),
            Wake::Job(pool) => self.new_job(pool),
            Wake::Mischief(pool) => self.mischief(pool),
            Wake::Say { conn, line, said } => self.pool_says(conn, &line, said),
            Wake::Dialled { link, dial, pool, ok } => self.dialled(link, dial, pool, ok),
            Wake::Fault => self.fault(),
            Wake::GivenUp(conn) => self.lose(conn),
            Wake::Mute(conn) => {
                if let Some(session) = &mut self.conns[conn].session {
                    session.mute |= session.deaf;
                }
            }
            Wake::AllAway(length) => {
                for pool in 0..self.pools.len() {
                    self.down(pool, length);
                }
            }
            Wake::FarmReturns(times) => self.farm_returns(times),
            Wake::OneChurns(times) => self.one_churns(times),
            Wake::Clock(trick) => {
                self.trace.event(self.now, 19, 0, format_args!("the clock: {trick:?}"));
                self.clock.play(trick, self.now);
                // When it stands, a deadline is as far off as that is long.
                self.timer_at = self.now;
            }
            Wake::Apply if self.calm => {}
            Wake::Apply => self.apply(),
            Wake::LastShares => {
                (0..self.pools.len()).for_each(|pool| self.deafen(pool));
                (0..self.miners.len()).for_each(|miner| self.find(miner));
            }
            Wake::Drained => {
                crate::invariants::f70_drained(self);
                // The time is up: what no honest pool could answer is settled all the same.
                self.proxy.settle_all();
                self.serve();
                crate::invariants::f70_settled(self);
                self.over = true;
            }
            Wake::Stop => self.stop(),
            Wake::Well(end) => self.is_well(end),
            Wake::Probe(round) => self.probe(round),
            Wake::End => {
                // Tried before the 30 s were over, as most farms are well long before.
                if self.now < self.well_by && crate::invariants::lacking(self).is_some() {
                    self.checks.forget_probes();
                    self.at(self.well_by, Wake::Well(self.well_by));
                    return;
                }
                crate::invariants::i6_liveness(self);
                earlier::f39_brought(self);
                earlier::f92_kept(self);
                if self.plan.drains {
                    self.proxy.drain();
                    self.later(DRAIN - DEAF_AT_END, Wake::LastShares);
                    self.later(DRAIN, Wake::Drained);
                } else {
                    self.over = true;
                }
            }
        }
    }

    pub fn is_stalled(&self) -> bool {
        self.now < self.stalled_until
    }

    // ---- the gateway ---------------------------------------------------------------------------

    /// The gateway loop's work after every event: step 3 of the engine's order of calls.
    fn serve(&mut self) {
        self.serve_once();
        while self.proxy.poll_relief() {
            self.relieve();
            self.serve_once();
        }
    }

    fn serve_once(&mut self) {
        let now = self.instant();
        if self.proxy.poll_timeout() <= now {
            self.proxy.handle_timeout(now);
        }
        self.end_slow_readers();
        while let Some((miner, close)) = self.proxy.poll_closed() {
            if let Some(conn) = self.conn_of(miner) {
                self.end_miner(conn, Some(close));
            }
        }
        while let Some(miner) = self.proxy.poll_due() {
            if let Some(conn) = self.conn_of(miner) {
                self.deliver(conn);
            }
        }
        while let Some(link) = self.proxy.poll_hangup(now) {
            // A connection that its peer ended in the same read is counted already.
            let end = &self.links[link.index()];
            self.checks.links_down += u64::from(end.dialling || end.conn.is_some());
            self.hang_up(link);
        }
        while let Some((link, pool)) = self.proxy.poll_dial(now) {
            self.dial(link, pool);
        }
        for link in 0..self.links.len() {
            self.fill_link(link);
        }
        if self.proxy.poll_fan_out() {
            let mut cursor = 0;
            while let Some(miner) = self.proxy.poll_wanting(&mut cursor) {
                if let Some(conn) = self.conn_of(miner) {
                    self.deliver(conn);
                }
            }
        }
        while let Some(event) = self.proxy.poll_event() {
            self.note(&event);
        }
        crate::earnings::f93_said(self);
        let deadline = self.proxy.poll_timeout();
        hold!("F66", deadline > now, "at {now:?} the next deadline is {deadline:?}");
        self.timer_at = self.clock.when(deadline.as_micros(), self.now).max(self.now + MILLI);
    }

    fn note(&mut self, event: &Event) {
        self.trace.event(self.now, 2, 0, format_args!("event {event:?}"));
        match event {
            Event::Unpaid { link, .. } => self.links[link.index()].is_unpaid = true,
            Event::PaidAgain { link, .. } => {
                let end = &mut self.links[link.index()];
                end.is_unpaid = false;
                if let Some(conn) = end.conn {
                    self.conns[conn].earnings.forgive();
                }
            }
            Event::LinkDown { link, close, .. } => {
                let end = &mut self.links[link.index()];
                let is_silent = *close == LinkClose::NoAnswers;
                hold!("F93", !is_silent || end.is_unpaid, "closed without a word: {event:?}");
                end.was_renewed |= is_silent;
            }
            _ => {}
        }
        if let Event::OneName { pool, .. } = event {
            // Each of the others answers for every name, and refuses one at most.
            let plan = &self.pools[usize::from(*pool)].plan;
            let is_so = plan.hostile || plan.one_name;
            hold!("F94", is_so, "pool {pool} takes names, and is said to take none");
        }
        if let Event::LinkDown { link, close, .. } = event {
            self.checks.links_down_said += 1;
            if *close == LinkClose::Reconnect {
                let end = &self.links[link.index()];
                let conn = end.conn;
                let asked = conn.is_some_and(|conn| self.conns[conn].may_reconnect);
                hold!("I7", asked, "a redirection to another host was followed");
            }
        }
    }

    fn conn_of(&self, miner: MinerHandle) -> Option<usize> {
        let conn = (*self.checks.ports.get(miner.index())?)?;
        matches!(self.conns[conn].end, End::Miner { handle, .. } if handle == miner).then_some(conn)
    }

    fn end_slow_readers(&mut self) {
        for slot in 0..self.checks.ports.len() {
            let Some(conn) = self.checks.ports[slot] else { continue };
            if self.conns[conn].blocked_since.is_some_and(|since| self.now - since >= BLOCKED_MAX) {
                self.trace.event(self.now, 3, conn as u64, format_args!("slow reader {conn}"));
                self.end_miner(conn, None);
            }
        }
    }

    /// Ends a miner's connection from the gateway's side.
    pub fn end_miner(&mut self, conn: usize, close: Option<Close>) {
        let End::Miner { handle, miner } = self.conns[conn].end else { return };
        if !self.conns[conn].gateway_open {
            return;
        }
        self.trace.event(self.now, 4, conn as u64, format_args!("end of {conn}: {close:?}"));
        hold!(
            "F88",
            close != Some(Close::IdsExhausted),
            "miner {miner} was refused for want of ids"
        );
        self.checks.miner_ends(&self.proxy, handle, &self.conns[conn].view);
        self.proxy.handle_disconnect(handle);
        let wire = &mut self.conns[conn];
        wire.gateway_open = false;
        wire.due.clear();
        wire.to_gateway.drop_all();
        self.finish_to_peer(conn);
    }

    fn finish_to_peer(&mut self, conn: usize) {
        let wire = &mut self.conns[conn];
        if wire.peer_open && !wire.pulled {
            let at = wire.to_peer.finish(self.now, &wire.weather, &mut self.rng);
            self.at(at, Wake::ToPeer(conn));
        }
    }

    /// Sends a miner its due output, unless its socket is full.
    fn deliver(&mut self, conn: usize) {
        let End::Miner { handle, .. } = self.conns[conn].end else { return };
        loop {
            if self.conns[conn].blocked_since.is_some() || !self.conns[conn].gateway_open {
                return;
            }
            let now = self.instant();
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut out = Writer::new(&mut buffer);
            let is_full = self.proxy.poll_output(handle, &mut out, now).is_err();
            let len = out.len();
            self.checks.pushed(&mut self.conns[conn], &self.proxy, &buffer[..len], self.now);
            self.write_miner(conn, &buffer[..len]);
            self.buffer = buffer;
            if !is_full || len == 0 {
                return;
            }
        }
    }

    fn write_miner(&mut self, conn: usize, bytes: &[u8]) {
        if bytes.is_empty() || !self.conns[conn].gateway_open {
            return;
        }
        self.trace.bytes(self.now, 5, conn as u64, "to miner", bytes);
        let wire = &mut self.conns[conn];
        if wire.peer_open && !wire.pulled {
            for at in wire.to_peer.send(bytes, self.now, &wire.weather, &mut self.rng) {
                self.at(at, Wake::ToPeer(conn));
            }
        } else {
            wire.to_peer.bytes += bytes.len();
        }
        let wire = &mut self.conns[conn];
        if wire.to_peer.bytes > wire.weather.buffer && wire.blocked_since.is_none() {
            wire.blocked_since = Some(self.now);
        }
        if wire.to_peer.bytes > wire.weather.buffer + SPILL_BYTES_MAX {
            self.end_miner(conn, None);
        }
    }

    fn gateway_reads(&mut self, conn: usize) {
        if !self.conns[conn].gateway_open || self.conns[conn].pulled {
            return;
        }
        let mut bytes = Vec::new();
        match self.conns[conn].end {
            End::Miner { .. } if self.conns[conn].blocked_since.is_some() => {
                if self.conns[conn].reset {
                    self.end_miner(conn, None);
                }
            }
            End::Miner { handle, .. } => {
                self.read_miner(conn, handle);
                if self.conns[conn].to_gateway.is_over(self.now) {
                    self.end_miner(conn, None);
                }
            }
            End::Pool { link, .. } => {
                self.conns[conn].to_gateway.take(self.now, &mut bytes);
                self.link_input(conn, link, &bytes);
                if self.conns[conn].to_gateway.is_over(self.now) {
                    self.lose(conn);
                }
            }
        }
    }

    /// Reads a miner as far as the engine has room for its shares (F91).
    fn read_miner(&mut self, conn: usize, handle: MinerHandle) {
        loop {
            let wanted = self.proxy.poll_read(handle);
            self.conns[conn].is_held_back = wanted == 0;
            let mut bytes = Vec::new();
            self.conns[conn].to_gateway.take_some(self.now, wanted, &mut bytes);
            self.miner_input(conn, handle, &bytes);
            let wire = &self.conns[conn];
            if bytes.is_empty() || !wire.gateway_open || wire.blocked_since.is_some() {
                return;
            }
        }
    }

    /// Resumes held-back miners, if there is room now.
    fn relieve(&mut self) {
        for slot in 0..self.checks.ports.len() {
            let Some(conn) = self.checks.ports[slot] else { continue };
            if std::mem::take(&mut self.conns[conn].is_held_back) {
                self.gateway_reads(conn);
            }
        }
    }

    fn miner_input(&mut self, conn: usize, handle: MinerHandle, bytes: &[u8]) {
        let End::Miner { miner, .. } = self.conns[conn].end else { return };
        if !bytes.is_empty() {
            self.trace.bytes(self.now, 6, conn as u64, "from miner", bytes);
        }
        let now = self.instant();
        let model = &self.miners[miner].plan;
        // Where ids say nothing about which submit is answered, each is looked at by itself.
        let one_by_one = self.plan.verdict == VerdictMode::Pool
            && (model.firmware.submit_id.is_some() || model.manners == Manners::Duplicator);
        let mut rest = bytes;
        while !rest.is_empty() && self.conns[conn].gateway_open {
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let given = if one_by_one { &rest[..end] } else { rest };
            let mut input = given;
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut out = Writer::new(&mut buffer);
            let result = self.proxy.handle_input(handle, &mut input, &mut out, now);
            let answered = out.len();
            if result.is_ok() && self.conns[conn].blocked_since.is_none() {
                // What does not fit is delivered by the next turn.
                let _ = self.proxy.poll_output(handle, &mut out, now);
            }
            let len = out.len();
            let taken = given.len() - input.len();
            hold!("I2", taken > 0 || result.is_err(), "miner's input is not read");
            let (conns, proxy) = (&mut self.conns[conn], &self.proxy);
            let read = (&given[..taken], result);
            self.checks.answered(
                conns,
                proxy,
                read,
                &buffer[..answered],
                self.plan.verdict,
                self.now,
            );
            self.checks.pushed(conns, proxy, &buffer[answered..len], self.now);
            self.write_miner(conn, &buffer[..len]);
            self.buffer = buffer;
            rest = &rest[taken..];
            if let Err(close) = result {
                self.end_miner(conn, Some(close));
            }
        }
    }

    fn link_input(&mut self, conn: usize, link: LinkIndex, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.trace.bytes(self.now, 7, conn as u64, "from pool", bytes);
        self.conns[conn].may_reconnect = false;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let said: Vec<Said> =
            (0..lines).filter_map(|_| self.conns[conn].said.pop_front()).collect();
        self.conns[conn].may_reconnect =
            said.iter().any(|said| matches!(said, Said::Reconnect { same_host: true }));
        let result = self.proxy.handle_link_input(link, bytes, self.instant());
        for said in &said {
            if let Said::Refused { request } = said {
                let mut asked = self.conns[conn].asked.iter_mut();
                if let Some(asked) = asked.find(|asked| asked.request == *request) {
                    asked.refused = Some(self.clock.reads(self.now));
                }
            }
        }
        let now = self.clock.reads(self.now);
        self.checks.pool_said(&mut self.conns[conn], &said, result.is_err(), now);
        if result.is_err() {
            self.checks.links_down += 1;
            // Whether it was allowed to is looked at when the event comes.
            while let Some(event) = self.proxy.poll_event() {
                self.note(&event);
            }
            self.close_pool_conn(conn);
        }
    }

    /// Tells the gateway of a broken or closed connection.
    fn lose(&mut self, conn: usize) {
        if !self.conns[conn].gateway_open {
            return;
        }
        match self.conns[conn].end {
            End::Miner { .. } => self.end_miner(conn, None),
            End::Pool { link, .. } => {
                self.trace.event(
                    self.now,
                    8,
                    conn as u64,
                    format_args!("pool connection {conn} lost"),
                );
                self.checks.links_down += 1;
                self.proxy.handle_link_down(link, LinkClose::Lost(Lost::Broken), self.instant());
                self.close_pool_conn(conn);
            }
        }
    }

    fn close_pool_conn(&mut self, conn: usize) {
        let End::Pool { link, .. } = self.conns[conn].end else { return };
        let wire = &mut self.conns[conn];
        wire.gateway_open = false;
        wire.to_gateway.drop_all();
        wire.outstanding.clear();
        if self.links[link.index()].conn == Some(conn) {
            self.links[link.index()].conn = None;
        }
        self.finish_to_peer(conn);
        if self.conns[conn].pulled {
            self.peer_gone(conn);
        }
    }

    fn hang_up(&mut self, link: LinkIndex) {
        self.trace.event(self.now, 9, link.index() as u64, format_args!("hang up {link:?}"));
        let end = &mut self.links[link.index()];
        end.dial += 1;
        end.dialling = false;
        if let Some(conn) = end.conn {
            self.close_pool_conn(conn);
        }
    }

    fn dial(&mut self, link: LinkIndex, pool: u8) {
        self.trace.event(
            self.now,
            10,
            u64::from(pool),
            format_args!("dial {link:?} to pool {pool}"),
        );
        let known = usize::from(pool) < self.options.pools.len();
        hold!("I7", known, "pool {pool} is not in the settings");
        let end = &mut self.links[link.index()];
        hold!("I2", end.conn.is_none() && !end.dialling, "{link:?} is dialled twice");
        end.dial += 1;
        end.dialling = true;
        let dial = end.dial;
        let is_down = self.pools[usize::from(pool)].down_until > self.now;
        let fails = !self.calm && self.plan.faults.has(Fault::DialFails) && self.rng.once_in(4);
        let ok = !is_down && !fails;
        let delay =
            if ok { self.rng.about(100 * MILLI) } else { self.rng.within(1, 5_000) * MILLI };
        self.later(delay, Wake::Dialled { link, dial, pool, ok });
    }

    fn dialled(&mut self, link: LinkIndex, dial: u32, pool: u8, ok: bool) {
        if self.links[link.index()].dial != dial {
            return;
        }
        self.links[link.index()].dialling = false;
        let now = self.instant();
        if !ok || self.pools[usize::from(pool)].down_until > self.now {
            self.checks.links_down += 1;
            self.proxy.handle_link_down(link, LinkClose::Lost(Lost::Connect), now);
            return;
        }
        let pool = usize::from(pool);
        let weather = self.pools[pool].plan.weather;
        let conn = self.connect(End::Pool { pool, link }, weather);
        self.conns[conn].session = Some(self.pools[pool].open());
        self.links[link.index()].conn = Some(conn);
        self.proxy.handle_link_up(link, now);
    }

    fn connect(&mut self, end: End, weather: Weather) -> usize {
        self.conns.push(Conn {
            end,
            weather: if self.calm { Weather { loss_in: 0, ..weather } } else { weather },
            to_gateway: Way::default(),
            to_peer: Way::default(),
            gateway_open: true,
            peer_open: true,
            pulled: false,
            reset: false,
            blocked_since: None,
            is_held_back: false,
            sent: VecDeque::new(),
            due: Vec::new(),
            view: View::default(),
            said: VecDeque::new(),
            judged: VecDeque::new(),
            session: None,
            inbox: Vec::new(),
            outstanding: Vec::new(),
            asked: Vec::new(),
            may_reconnect: false,
            earnings: Earnings::default(),
        });
        self.conns.len() - 1
    }

    fn fill_link(&mut self, link: usize) {
        let Some(conn) = self.links[link].conn else { return };
        let End::Pool { link, pool } = self.conns[conn].end else { return };
        if self.conns[conn].to_peer.bytes > self.conns[conn].weather.buffer {
            return;
        }
        let now = self.instant();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut out = Writer::new(&mut buffer);
        // What does not fit goes with the next turn.
        let _ = self.proxy.poll_link_output(link, &mut out, now);
        let len = out.len();
        if len > 0 {
            self.trace.bytes(self.now, 11, conn as u64, "to pool", &buffer[..len]);
            self.judge_lines(conn, (pool, link), &buffer[..len]);
            let wire = &mut self.conns[conn];
            if wire.peer_open && !wire.pulled {
                for at in wire.to_peer.send(&buffer[..len], self.now, &wire.weather, &mut self.rng)
                {
                    self.at(at, Wake::ToPeer(conn));
                }
            }
        }
        self.buffer = buffer;
    }

    /// Checks the gateway's lines to a pool, before the wire carries them.
    fn judge_lines(&mut self, conn: usize, (pool, link): (usize, LinkIndex), bytes: &[u8]) {
        let now = self.clock.reads(self.now);
        let text = std::str::from_utf8(bytes).unwrap_or("");
        let mut light_was_sent = false;
        for line in text.lines() {
            let Some(message) = message(line) else { crate::trace::broken("I8", line.to_owned()) };
            let judged = if message.method == Some("mining.submit") {
                let Some(session) = &self.conns[conn].session else { continue };
                let judged = self.pools[pool].judge(session, message.id, message.params, |hash| {
                    self.checks.is_made(hash.key())
                });
                let is_late = self.checks.is_late(&self.proxy, link, message.id);
                let judged = if is_late {
                    let late = || self.checks.late_block(&self.proxy, line, &message);
                    let judged = judged.unwrap_or_else(late);
                    let login = (pool, self.pools[pool].plan.address.user);
                    self.checks.tried_late(conn, login, &judged, line);
                    judged
                } else {
                    let id = message.id.parse().unwrap_or(0);
                    self.conns[conn].outstanding.push((id, now));
                    let user = self.pools[pool].plan.address.user;
                    let one_name = self.proxy.takes_one_name(pool);
                    let to = (conn, self.conns[conn].asked.as_slice(), user, one_name);
                    let (judged, is_again) = self.checks.sent_to_pool(to, judged, line, now);
                    let earnings = &mut self.conns[conn].earnings;
                    if is_again {
                        earnings.sent_again();
                    }
                    earnings.sent(id, &judged, now);
                    judged
                };
                hold!("I5", !(judged.is_block && light_was_sent), "a block after a share: {line}");
                light_was_sent |= !judged.is_block;
                Some(judged)
            } else {
                if message.method == Some("mining.authorize") {
                    let (name, request) = (worker_of(line), message.id.parse().unwrap_or(0));
                    let asked = Asked { name, request, at: now, refused: None };
                    self.conns[conn].asked.push(asked);
                }
                None
            };
            self.conns[conn].judged.push_back(judged);
        }
    }

    // ---- the peers -----------------------------------------------------------------------------

    fn peer_reads(&mut self, conn: usize) {
        if !self.conns[conn].peer_open || self.conns[conn].pulled {
            return;
        }
        if let End::Miner { miner, .. } = self.conns[conn].end
            && self.miners[miner].manners() == Manners::NonReader
            && self.conns[conn].to_peer.end.is_none_or(|at| at > self.now)
        {
            // It reads only as long as its handshake needs it to.
            if !self.miners[miner].is_in_handshake() && self.miners[miner].newest().is_some() {
                return;
            }
        }
        let mut bytes = Vec::new();
        let wire = &mut self.conns[conn];
        wire.to_peer.take(self.now, &mut bytes);
        if wire.blocked_since.is_some() && wire.to_peer.bytes <= wire.weather.buffer / 2 {
            wire.blocked_since = None;
            // The gateway goes on: it writes what became due, and reads again.
            self.touched = true;
            self.deliver(conn);
            self.at(self.now, Wake::ToGateway(conn));
        }
        match self.conns[conn].end {
            End::Miner { miner, .. } => {
                let lines = self.miners[miner].hear(&bytes);
                self.miner_says(conn, lines);
            }
            End::Pool { pool, .. } => self.pool_hears(conn, pool, &bytes),
        }
        if self.conns[conn].to_peer.is_over(self.now) {
            self.peer_gone(conn);
        }
    }

    fn peer_gone(&mut self, conn: usize) {
        if !self.conns[conn].peer_open {
            return;
        }
        self.conns[conn].peer_open = false;
        match self.conns[conn].end {
            End::Miner { miner, .. } => {
                self.miners[miner].gone();
                let generation = self.miners[miner].generation;
                let delay = self.rng.within(100, 1_500) * MILLI;
                self.later(delay, Wake::Miner { miner, generation });
            }
            End::Pool { pool, .. } => {
                if let Some(session) = self.conns[conn].session.take() {
                    self.pools[pool].close(session);
                }
            }
        }
    }

    /// The peer ends a connection; `politely` means a FIN after all sent bytes.
    fn peer_ends(&mut self, conn: usize, politely: bool) {
        if !self.conns[conn].peer_open {
            return;
        }
        self.trace.event(self.now, 12, conn as u64, format_args!("peer of {conn} ends it"));
        self.peer_gone(conn);
        let wire = &mut self.conns[conn];
        if !politely {
            wire.reset = true;
            wire.to_gateway.drop_all();
        }
        wire.to_peer.drop_all();
        if wire.pulled {
            return;
        }
        let at = wire.to_gateway.finish(self.now, &wire.weather, &mut self.rng);
        self.at(at, Wake::ToGateway(conn));
    }

    fn miner_says(&mut self, conn: usize, lines: Vec<(String, Sent)>) {
        for (line, sent) in lines {
            let wire = &mut self.conns[conn];
            wire.sent.push_back(sent);
            if wire.pulled || !wire.peer_open {
                continue;
            }
            for at in wire.to_gateway.send(line.as_bytes(), self.now, &wire.weather, &mut self.rng)
            {
                self.at(at, Wake::ToGateway(conn));
            }
        }
    }

    fn miner_acts(&mut self, miner: usize, generation: u32) {
        if self.miners[miner].generation != generation {
            return;
        }
        match self.miners[miner].conn {
            None => self.miner_connects(miner),
            Some(conn) => {
                if !self.calm && self.plan.faults.has(Fault::Churn) && self.rng.once_in(12) {
                    let politely = self.rng.once_in(2);
                    self.peer_ends(conn, politely);
                    return;
                }
                let lines = self.miners[miner].act();
                self.miner_says(conn, lines);
                let pace = self.miners[miner].pace();
                let delay = 50 * MILLI + self.rng.about(pace);
                self.later(delay, Wake::Miner { miner, generation });
            }
        }
    }

    fn miner_connects(&mut self, miner: usize) {
        let now = self.instant();
        let generation = self.miners[miner].generation;
        if self.now < self.stalled_until {
            self.at(self.stalled_until, Wake::Miner { miner, generation });
            return;
        }
        if self.proxy.is_hearing(now) {
            // It waits in the listener's queue.
            self.later(20 * MILLI, Wake::Miner { miner, generation });
            return;
        }
        self.touched = true;
        // One that has reformed comes from another address: what the old one did outlives it (F50).
        let is_honest = self.miners[miner].manners() == Manners::Honest;
        let mut peer = [miner as u8; 16];
        peer[0] = if is_honest { 0x20 } else { 0x30 };
        match self.proxy.handle_connect(peer, now) {
            Ok(handle) => {
                let weather = self.miners[miner].plan.weather;
                let firmware = self.miners[miner].plan.firmware.name;
                let conn = self.connect(End::Miner { miner, handle }, weather);
                self.trace.event(
                    self.now,
                    13,
                    conn as u64,
                    format_args!("miner {miner}, {firmware}, is {conn}"),
                );
                self.conns[conn].view.noise = self.miners[miner].manners() == Manners::Noise;
                self.checks.ports[handle.index()] = Some(conn);
                let lines = self.miners[miner].connected(conn);
                self.miner_says(conn, lines);
                let generation = self.miners[miner].generation;
                let delay = self.rng.about(2 * SECOND);
                self.later(delay, Wake::Miner { miner, generation });
            }
            Err(Refusal::Draining) => {
                self.later(500 * MILLI, Wake::Miner { miner, generation });
            }
            Err(refusal @ Refusal::Offender { .. }) => {
                hold!("I3", !is_honest, "miner {miner}, which did nothing: {refusal}");
                self.later(500 * MILLI, Wake::Miner { miner, generation });
            }
            Err(refusal) => {
                let (used, capacity) = self.proxy.occupancy();
                hold!("I8", used == capacity, "{refusal} with {used} of {capacity} places taken");
                self.later(500 * MILLI, Wake::Miner { miner, generation });
            }
        }
    }

    fn pool_hears(&mut self, conn: usize, pool: usize, bytes: &[u8]) {
        let mut inbox = std::mem::take(&mut self.conns[conn].inbox);
        inbox.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = inbox[from..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&inbox[from..from + end]).unwrap_or("");
            from += end + 1;
            let judged = self.conns[conn].judged.pop_front().flatten();
            let Some(message) = message(line) else { continue };
            let Some(mut session) = self.conns[conn].session.take() else { continue };
            let lines = match judged {
                Some(judged) => {
                    self.checks.reached_pool(judged.hash.key());
                    self.pools[pool].answer(&mut session, &judged)
                }
                None => {
                    let method = message.method.unwrap_or("");
                    let said = (message.id, worker_of(line));
                    let said = (said.0, said.1.as_str());
                    let lines = self.pools[pool].hear(&mut session, method, said, self.now);
                    lines.into_iter().map(|(line, said)| (0, line, said)).collect()
                }
            };
            self.checks.job_given(session.newest(pool));
            self.conns[conn].session = Some(session);
            for (delay, line, said) in lines {
                match delay {
                    0 => self.pool_says(conn, &line, said),
                    _ => self.later(delay, Wake::Say { conn, line, said }),
                }
            }
        }
        inbox.drain(..from);
        self.conns[conn].inbox = inbox;
    }

    fn pool_says(&mut self, conn: usize, line: &str, said: Said) {
        let wire = &mut self.conns[conn];
        if !wire.peer_open || wire.pulled || wire.session.as_ref().is_none_or(|s| s.mute) {
            return;
        }
        wire.said.push_back(said);
        let line = format!("{line}\n");
        for at in wire.to_gateway.send(line.as_bytes(), self.now, &wire.weather, &mut self.rng) {
            self.at(at, Wake::ToGateway(conn));
        }
    }

    fn new_job(&mut self, pool: usize) {
        let every = self.pools[pool].plan.job_every;
        let delay = every / 2 + self.rng.about(every / 2);
        self.later(delay, Wake::Job(pool));
        self.give_job(pool, false);
    }

    /// Gives all sessions of a pool a new job.
    fn give_job(&mut self, pool: usize, clean: bool) {
        let clean = self.pools[pool].next_job(self.now) || clean;
        for conn in self.sessions_of(pool) {
            let Some(mut session) = self.conns[conn].session.take() else { continue };
            let varied = if self.calm { None } else { self.pools[pool].vary(&mut session) };
            let line = self.pools[pool].notify(&mut session, clean);
            self.checks.job_given(session.newest(pool));
            self.conns[conn].session = Some(session);
            if let Some(line) = varied {
                self.pool_says(conn, &line, Said::Other);
            }
            self.pool_says(conn, &line, Said::Other);
        }
    }

    /// The connections whose session has had its first job.
    fn sessions_of(&self, of: usize) -> Vec<usize> {
        let is_of = |conn: &Conn| {
            matches!(conn.end, End::Pool { pool, .. } if pool == of)
                && conn.peer_open
                && conn.session.as_ref().is_some_and(|session| session.authorized)
        };
        (0..self.conns.len()).filter(|conn| is_of(&self.conns[*conn])).collect()
    }

    // ---- what goes wrong -----------------------------------------------------------------------

    fn mischief(&mut self, pool: usize) {
        if self.calm || self.pools[pool].honest {
            return;
        }
        let delay = self.rng.about(self.plan.fault_every);
        self.later(delay, Wake::Mischief(pool));
        let fault = *self.rng.pick(&Fault::OF_POOLS);
        if !self.plan.faults.has(fault) {
            return;
        }
        self.trace.event(self.now, 14, pool as u64, format_args!("pool {pool}: {fault:?}"));
        match fault {
            Fault::PoolDown => {
                let length = self.rng.within(1, 15) * SECOND;
                self.down(pool, length);
            }
            Fault::CutPool => self.cut_pool(pool),
            Fault::JobStorm => {
                for _ in 0..self.rng.within(3, 20) {
                    self.give_job(pool, false);
                }
            }
            _ => {
                for conn in self.sessions_of(pool) {
                    let Some(mut session) = self.conns[conn].session.take() else { continue };
                    let lines = self.pools[pool].misbehave(&mut session, fault);
                    self.conns[conn].session = Some(session);
                    for (line, said) in lines {
                        self.pool_says(conn, &line, said);
                    }
                    if fault == Fault::FallSilent {
                        let delay = self.rng.within(2, 12) * SECOND;
                        self.later(delay, Wake::Mute(conn));
                    }
                }
            }
        }
    }

    /// The owner changes settings: weights, failover, a password, the last pool.
    fn apply(&mut self) {
        let mut options = options(&self.plan);
        if !self.calm {
            let goals = options.links.weights.iter().filter(|weight| **weight > 0).count();
            options.links.weights = crate::plan::weights(&mut self.rng, goals as u64);
            options.links.standby = self.rng.once_in(2);
            options.warm = self.rng.once_in(2);
            let last = options.pools.len() - 1;
            if self.rng.once_in(3) {
                options.pools[last].password = "y".try_into().unwrap();
            } else if last > 0 && self.rng.once_in(3) {
                options.pools.truncate(last);
                options.links.pools = last;
            }
            let delay = self.rng.within(2, 12) * SECOND;
            self.later(delay, Wake::Apply);
        }
        self.trace.event(self.now, 18, options.pools.len() as u64, format_args!("apply"));
        self.change(options);
    }

    /// Puts other settings in force.
    pub fn change(&mut self, options: Options) {
        self.options = options.clone();
        self.proxy.apply(options, self.instant());
    }

    /// A pool is down for a time, and loses its connections.
    pub fn down(&mut self, pool: usize, length: u64) {
        self.pools[pool].down_until = self.now + length;
        self.cut_pool(pool);
    }

    /// A pool answers no shares any more, but still sends jobs.
    pub fn deafen(&mut self, pool: usize) {
        for conn in self.sessions_of(pool) {
            if let Some(session) = &mut self.conns[conn].session {
                session.deaf = true;
            }
        }
    }

    fn cut_pool(&mut self, of: usize) {
        for conn in 0..self.conns.len() {
            if matches!(self.conns[conn].end, End::Pool { pool, .. } if pool == of) {
                let politely = self.rng.once_in(2);
                self.peer_ends(conn, politely);
            }
        }
    }

    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let delay = self.rng.about(self.plan.fault_every);
        self.later(delay, Wake::Fault);
        let fault = *self.rng.pick(&Fault::ALL[..10]);
        let open: Vec<usize> =
            (0..self.conns.len()).filter(|c| self.conns[*c].gateway_open).collect();
        if open.is_empty() || !self.plan.faults.has(fault) {
            return;
        }
        let conn = *self.rng.pick(&open);
        let is_miner = matches!(self.conns[conn].end, End::Miner { .. });
        self.trace.event(self.now, 15, conn as u64, format_args!("{fault:?} on {conn}"));
        match fault {
            Fault::CutMiner if is_miner => self.peer_ends(conn, false),
            Fault::CutPool if !is_miner => self.peer_ends(conn, false),
            Fault::PullMiner | Fault::PullPool if is_miner == (fault == Fault::PullMiner) => {
                self.conns[conn].pulled = true;
                self.later(PULLED_MAX, Wake::GivenUp(conn));
                // The miner has a watchdog of its own.
                if is_miner {
                    self.peer_gone(conn);
                }
            }
            Fault::Clog | Fault::OneWay => {
                let until = self.now + self.rng.within(1, 40) * SECOND / 2;
                let wire = &mut self.conns[conn];
                wire.to_peer.clogged_until = until;
                if fault == Fault::Clog {
                    wire.to_gateway.clogged_until = until;
                }
            }
            Fault::Stall => self.stalled_until = self.now + self.rng.within(50, 5_000) * MILLI,
            _ => {}
        }
    }

    /// A switch flaps: every miner loses its connection and comes back.
    fn farm_returns(&mut self, times: u64) {
        if self.calm {
            return;
        }
        self.trace.event(self.now, 20, times, format_args!("the farm loses its connections"));
        for conn in 0..self.conns.len() {
            if matches!(self.conns[conn].end, End::Miner { .. }) && self.conns[conn].gateway_open {
                self.peer_ends(conn, false);
            }
        }
        if times > 1 {
            let delay = self.rng.within(200, 6_000) * MILLI;
            self.later(delay, Wake::FarmReturns(times - 1));
        }
    }

    /// A host in the farm's network connects, completes the handshake and closes.
    fn one_churns(&mut self, times: u64) {
        let now = self.instant();
        if self.now < self.stalled_until || self.proxy.is_hearing(now) {
            self.later(500 * MILLI, Wake::OneChurns(times));
            return;
        }
        self.trace.event(self.now, 21, times, format_args!("one address churns"));
        let lines = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
        for _ in 0..times {
            let Ok(handle) = self.proxy.handle_connect([0x40; 16], now) else { return };
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut out = Writer::new(&mut buffer);
            let result = self.proxy.handle_input(handle, &mut lines.as_bytes(), &mut out, now);
            hold!("F88", result != Err(Close::IdsExhausted), "a newcomer was refused");
            self.buffer = buffer;
            self.proxy.handle_disconnect(handle);
        }
    }

    /// The faults stop: misbehaving peers restart, hanging connections are cut.
    fn stop(&mut self) {
        self.trace.event(self.now, 16, 0, format_args!("the faults stop"));
        self.calm = true;
        self.clock.calm();
        if self.plan.faults.has(Fault::Apply) {
            self.apply();
        }
        for pool in 0..self.pools.len() {
            self.pools[pool].reform();
            self.pools[pool].down_until = 0;
        }
        for conn in 0..self.conns.len() {
            self.conns[conn].weather.loss_in = 0;
            self.conns[conn].to_peer.clogged_until = 0;
            self.conns[conn].to_gateway.clogged_until = 0;
            let wire = &self.conns[conn];
            match wire.end {
                End::Miner { miner, .. } => {
                    if wire.pulled || !wire.peer_open {
                        self.at(self.now, Wake::GivenUp(conn));
                    } else if self.miners[miner].manners() != Manners::Honest
                        && self.miners[miner].conn == Some(conn)
                    {
                        self.peer_ends(conn, false);
                    }
                }
                End::Pool { pool, .. } => {
                    // A session of another size fits no miner that came before it, so it is none
                    // of an honest pool's either.
                    let size = self.pools[pool].plan.n2;
                    let is_whole = wire.session.as_ref().is_some_and(|session| {
                        let speaks = session.authorized && !session.mute && !session.deaf;
                        speaks && session.n2 == size
                    });
                    if wire.pulled {
                        self.at(self.now, Wake::GivenUp(conn));
                    } else if !is_whole {
                        self.peer_ends(conn, true);
                    }
                }
            }
        }
        self.miners.iter_mut().for_each(|miner| miner.reformed = true);
        for pool in 0..self.pools.len() {
            for conn in self.sessions_of(pool) {
                let Some(mut session) = self.conns[conn].session.take() else { continue };
                let line = self.pools[pool].calm(&mut session);
                self.conns[conn].session = Some(session);
                self.pool_says(conn, &line, Said::Other);
            }
            self.give_job(pool, true);
        }
        // Within 30 s: one that is well sooner is not waited for, but in every fourth seed.
        let patient = self.plan.seed.is_multiple_of(4);
        let is_one_name = self.has_one_name();
        self.well_by = self.now + if is_one_name { LIVENESS_OF_ONE_NAME } else { LIVENESS };
        self.later(if patient { LIVENESS } else { WELL_EVERY }, Wake::Well(self.well_by));
        self.plan.drains &= patient;
    }

    /// Says whether a pool takes no name but its login's.
    fn has_one_name(&self) -> bool {
        self.plan.pools.iter().any(|pool| pool.one_name)
    }

    /// Looks whether every miner has a job of a pool that is there; if so, or when the time is up,
    /// shares must come.
    fn is_well(&mut self, end: u64) {
        if self.now >= end || crate::invariants::is_well(self) {
            self.probe(0);
        } else {
            self.later(WELL_EVERY, Wake::Well(end));
        }
    }

    /// Has a miner find a share that its pool would accept.
    fn find(&mut self, miner: usize) {
        if let Some(conn) = self.miners[miner].conn
            && let Some(origin) = self.miners[miner].newest().map(|work| work.origin)
        {
            let least = self.checks.difficulty_of(origin).unwrap_or(0.0);
            let mut lines = Vec::new();
            if self.miners[miner].share(least, &mut lines) {
                self.checks.probe(miner, &lines);
            }
            self.miner_says(conn, lines);
        }
    }

    /// Has every miner find more shares that its pool would accept, one after the other, since a
    /// link in a small world has room for few.
    fn probe(&mut self, round: usize) {
        self.trace.event(self.now, 17, round as u64, format_args!("probe {round}"));
        if round == 0 {
            crate::invariants::i6_newest_job(self);
        }
        self.find(round % self.miners.len());
        if round + 1 < PROBES * self.miners.len() {
            self.later(LAST_SHARE / 4, Wake::Probe(round + 1));
        } else {
            let is_one_name = self.has_one_name();
            self.later(if is_one_name { LAST_SHARE_OF_ONE_NAME } else { LAST_SHARE }, Wake::End);
        }
    }
}
