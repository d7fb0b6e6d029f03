//! The random choices of a seed: the world's size, its settings, its miners and pools, and the
//! faults.
//!
//! Swarm testing: each kind of fault is off in half of the seeds, so that no fault hides the effect
//! of another.

use loka_stratum::identity::Identity;
use loka_stratum::limits::GOALS_MAX;
use loka_stratum::proxy::VerdictMode;
use loka_stratum::split::Weights;

use crate::clock::Trick;
use crate::firmware::{ALL, Firmware};
use crate::rng::Rng;

pub const SECOND: u64 = 1_000_000;
pub const MILLI: u64 = 1_000;

/// The faults of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    // Links and wires.
    CutMiner,
    CutPool,
    PullMiner,
    PullPool,
    Clog,
    OneWay,
    Split,
    Loss,
    DialFails,
    Stall,
    // All of it.
    AllAway,
    Apply,
    // Pools.
    PoolDown,
    Garbage,
    BadNotify,
    SetExtranonce,
    BadExtranonce,
    LateAnswers,
    DoubleAnswers,
    NoAnswers,
    UnknownAnswers,
    Reconnect,
    HugeLine,
    RefuseAuthorize,
    SilentHandshake,
    OddDifficulty,
    MaskChanges,
    Requests,
    JobStorm,
    EarlyNotify,
    NewSize,
    Silence,
    FallSilent,
    RefuseWorkers,
    // Miners.
    Misbehave,
    Churn,
    // The farm and its neighbours.
    FarmReturns,
    OneChurns,
    SameWork,
    // Pools once more: later kinds stand at the end, so that a seed keeps its other faults.
    SlowAnswers,
}

impl Fault {
    pub const ALL: [Self; 40] = [
        Self::CutMiner,
        Self::CutPool,
        Self::PullMiner,
        Self::PullPool,
        Self::Clog,
        Self::OneWay,
        Self::Split,
        Self::Loss,
        Self::DialFails,
        Self::Stall,
        Self::AllAway,
        Self::Apply,
        Self::PoolDown,
        Self::Garbage,
        Self::BadNotify,
        Self::SetExtranonce,
        Self::BadExtranonce,
        Self::LateAnswers,
        Self::DoubleAnswers,
        Self::NoAnswers,
        Self::UnknownAnswers,
        Self::Reconnect,
        Self::HugeLine,
        Self::RefuseAuthorize,
        Self::SilentHandshake,
        Self::OddDifficulty,
        Self::MaskChanges,
        Self::Requests,
        Self::JobStorm,
        Self::EarlyNotify,
        Self::NewSize,
        Self::Silence,
        Self::FallSilent,
        Self::RefuseWorkers,
        Self::Misbehave,
        Self::Churn,
        Self::FarmReturns,
        Self::OneChurns,
        Self::SameWork,
        Self::SlowAnswers,
    ];

    /// The occasional mischief of a pool.
    pub const OF_POOLS: [Self; 16] = [
        Self::Garbage,
        Self::BadNotify,
        Self::SetExtranonce,
        Self::BadExtranonce,
        Self::UnknownAnswers,
        Self::Reconnect,
        Self::HugeLine,
        Self::OddDifficulty,
        Self::MaskChanges,
        Self::Requests,
        Self::JobStorm,
        Self::CutPool,
        Self::PoolDown,
        Self::Silence,
        Self::FallSilent,
        Self::SameWork,
    ];
}

/// Which faults are on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults(u64);

impl Faults {
    pub fn has(self, fault: Fault) -> bool {
        self.0 >> fault as u8 & 1 == 1
    }
}

/// A miner's behaviour until the faults stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Honest,
    /// Delays each step.
    Slow,
    /// Connects and says nothing, or nothing after its handshake.
    Silent,
    /// Sends invalid shares.
    Liar,
    /// Sends its shares twice, and repeats all its former shares.
    Duplicator,
    /// Sends requests without end.
    Flooder,
    /// Does not read.
    NonReader,
    /// Speaks another protocol, or none.
    Noise,
}

#[derive(Clone, Debug)]
pub struct MinerPlan {
    pub manners: Manners,
    pub firmware: &'static Firmware,
    /// Hashes per second.
    pub rate: f64,
    /// Number of shares in a duplicator's ring.
    pub ring: usize,
    pub weather: Weather,
}

#[derive(Clone, Debug)]
pub struct PoolPlan {
    pub extranonce1_len: u64,
    pub n2: u8,
    pub difficulty: f64,
    pub nbits: u32,
    pub mask: u32,
    /// Resumes sessions: a new connection gets the former extranonce1 and jobs.
    pub resumes: bool,
    /// Counts its job ids from 1 in every session.
    pub reuses_ids: bool,
    /// Sometimes repeats set_difficulty with another value.
    pub varies: bool,
    pub job_every: u64,
    pub hostile: bool,
    pub goal: u8,
    pub address: Address,
    /// What it does with shares until the faults stop (F93).
    pub sick: Option<Illness>,
    /// Takes one authorization per connection, leaves a second without an answer, and refuses
    /// shares of any other name, as the ckpool family does (F94).
    pub one_name: bool,
    /// The miners with refused workers, one bit each.
    refuses: u8,
    pub weather: Weather,
}

/// What a pool does with shares, though its jobs go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illness {
    /// Refuses every one with this code; with 24 and 25 it has forgotten its first session, and
    /// another one is good.
    Refuses(u8),
    /// Answers none.
    AnswersNone,
    /// Answers one in so many.
    AnswersSome(u64),
}

impl Illness {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 => Self::Refuses(rng.within(20, 23) as u8),
            1 | 2 => Self::Refuses(rng.within(24, 25) as u8),
            3 => Self::AnswersNone,
            _ => Self::AnswersSome(rng.within(3, 6)),
        }
    }
}

/// A pool's address and account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: &'static str,
}

/// The accounts of all pools; by default the first.
const USERS: [&str; 2] = ["farm.gateway", "farm.second"];

/// The properties of a wire.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min: u64,
    pub delay_mean: u64,
    /// One chunk in this many arrives a retransmission later; 0 for none.
    pub loss_in: u64,
    /// Reads end anywhere.
    pub splits: bool,
    /// Size of the socket buffer towards the reader, in bytes.
    pub buffer: usize,
}

/// All initial choices of a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub miners: Vec<MinerPlan>,
    pub pools: Vec<PoolPlan>,
    pub faults: Faults,
    /// Duration of the faults.
    pub faults_for: u64,
    /// Mean time between two faults of the world.
    pub fault_every: u64,
    pub slots: usize,
    pub links: usize,
    pub jobs: usize,
    pub pending: usize,
    pub line_bytes: usize,
    /// Size of the table of seen shares, as a multiple of the minimum.
    pub seen: usize,
    pub weights: Weights,
    pub standby: bool,
    pub identity: Identity,
    pub warm: bool,
    /// Begin and duration of an outage of every pool.
    pub away: Option<(u64, u64)>,
    /// The events of the gateway's clock.
    pub tricks: Vec<(u64, Trick)>,
    /// The pools of an earlier run's unanswered blocks.
    pub earlier: Vec<usize>,
    /// The gateway drains at the end.
    pub drains: bool,
    pub verdict: VerdictMode,
    pub keepalive: u64,
    pub share_interval: u64,
    pub start_difficulty: f64,
    pub retry_max: u64,
    pub healthy: u64,
    pub failover: u64,
    pub first_miner_id: u16,
    pub geometry: Option<(u8, u8)>,
    /// The engine's own seed.
    pub engine_seed: u64,
}

/// A world's size: drawn from the seed, or large for a measurement of speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Miners(usize),
}

impl Plan {
    /// Draws the plan; the world continues the random sequence.
    pub fn draw(seed: u64, size: Size) -> (Self, Rng) {
        let mut rng = Rng::new(seed);
        let mut faults = Faults(rng.bits());
        // In one seed of sixteen nothing goes wrong at all.
        if rng.once_in(16) || size != Size::Small {
            faults = Faults(0);
        }
        let miners = match size {
            Size::Small => rng.within(1, 5) as usize,
            Size::Miners(miners) => miners,
        };
        let slots =
            if size == Size::Small { rng.within(miners as u64, 8) as usize } else { miners };
        let n2 = *rng.pick(&[3, 4, 4, 8, 8, 6, 5]);
        let same_size = !rng.once_in(4);
        let mut pools: Vec<PoolPlan> = (0..rng.within(1, 3))
            .map(|_| PoolPlan::draw(&mut rng, faults, if same_size { Some(n2) } else { None }))
            .collect();
        let goals = if rng.once_in(2) { rng.within(1, pools.len() as u64) } else { 1 };
        for (pool, plan) in (0..).zip(&mut pools) {
            plan.goal = if pool < goals { pool } else { rng.below(goals) } as u8;
        }
        let faults_for = rng.within(5, 25) * SECOND;
        // Of a sequence of their own, so that they change nothing else.
        let mut ill = Rng::new(seed ^ 0x7369_636b);
        let mut has = |kind: u64| size == Size::Small && faults.0 != 0 && ill.once_in(kind);
        let (is_sick, one_name) = (has(6), has(10));
        if is_sick || one_name {
            // The first is used most.
            let at = if ill.once_in(2) { 0 } else { ill.below(pools.len() as u64) as usize };
            pools[at].sick = is_sick.then(|| Illness::draw(&mut ill));
            pools[at].hostile |= is_sick;
            pools[at].one_name = one_name;
            // In half of these seeds nothing else goes wrong, and in a quarter there is no other.
            let (is_calm, is_alone) =
                *ill.pick(&[(true, true), (true, false), (false, false), (false, false)]);
            if is_alone {
                pools = vec![pools[at].clone()];
            }
            faults = Faults(if is_calm { 0 } else { faults.0 });
        }
        if one_name {
            pools.iter_mut().for_each(|pool| pool.refuses = 0);
        }
        // A minute or more has to pass before what they do is plain.
        let faults_for = faults_for + if is_sick || one_name { 80 * SECOND } else { 0 };
        let away = (faults.has(Fault::AllAway) && rng.once_in(8))
            .then(|| (rng.within(2, 10) * SECOND, rng.within(20, 45) * SECOND));
        // Of a sequence of their own, so that they change nothing else.
        let mut apart = Rng::new(seed ^ 0x636c_6f63_6b73);
        let tricks = if faults.0 != 0 && apart.once_in(8) { apart.within(1, 3) } else { 0 };
        let earlier = if size == Size::Small && apart.once_in(8) { apart.within(1, 3) } else { 0 };
        (0..).zip(&mut pools).for_each(|(at, pool)| pool.address = Address::of(at));
        let left = (0..earlier).map(|_| apart.below(pools.len() as u64) as usize).collect();
        if apart.once_in(3) {
            Address::share_a_host(&mut pools, &mut apart);
        }
        let plan = Self {
            seed,
            tricks: (0..tricks)
                .map(|_| (apart.below(faults_for), Trick::draw(&mut apart)))
                .collect(),
            earlier: left,
            miners: (0..miners).map(|_| MinerPlan::draw(&mut rng, faults)).collect(),
            pools,
            faults,
            faults_for: away.map_or(faults_for, |(from, length)| from + length + 5 * SECOND),
            fault_every: rng.within(500, 5_000) * MILLI,
            slots,
            // A board has links for two lanes of all pools at least.
            links: if goals > 1 { 6 } else { rng.within(3, 5) as usize },
            weights: weights(&mut rng, goals),
            standby: rng.once_in(2),
            identity: if rng.once_in(3) || one_name {
                Identity::PerWorker
            } else {
                Identity::Single
            },
            warm: !rng.once_in(4),
            away,
            drains: rng.once_in(4),
            jobs: rng.within(2, 4) as usize,
            // What has no answer takes a place for half a minute.
            pending: rng.within(3, 16) as usize + if is_sick { 40 } else { 0 },
            line_bytes: 4096,
            seen: *apart.pick(&[1, 1, 4, 64]),
            verdict: if rng.once_in(2) { VerdictMode::Pool } else { VerdictMode::Local },
            keepalive: rng.within(5, 40) * SECOND,
            share_interval: rng.within(2, 8) * SECOND,
            start_difficulty: *rng.pick(&[1e-10, 4.656_612_873_077_393e-10, 1e-9, 1e-8, 1.0]),
            retry_max: rng.within(1, 6) * SECOND,
            healthy: rng.within(2, 12) * SECOND,
            failover: rng.within(1, 5) * SECOND,
            first_miner_id: rng.bits() as u16,
            geometry: *rng.pick(&[None, None, None, Some((1, 2)), Some((1, 4)), Some((2, 2))]),
            engine_seed: rng.bits(),
        };
        (plan, rng)
    }
}

/// The weight of each goal.
pub fn weights(rng: &mut Rng, goals: u64) -> Weights {
    let mut weights = [0; GOALS_MAX];
    for weight in weights.iter_mut().take(goals as usize) {
        *weight = *rng.pick(&[1, 1, 3, 7, 9, 30, 50, 90]);
    }
    weights
}

impl Plan {
    /// A farm without random faults, for scripted tests; its pools have one goal each, or one
    /// common goal.
    pub fn quiet(miners: usize, pools: usize, goals: &[u16]) -> (Self, Rng) {
        let (mut plan, mut rng) = Self::draw(1, Size::Miners(miners));
        let first = PoolPlan::draw(&mut rng, Faults(0), Some(8));
        plan.pools = (0..pools)
            .map(|pool| PoolPlan {
                extranonce1_len: 4,
                difficulty: 1e-9,
                nbits: 0x1d00_ffff,
                mask: 0x1fff_e000,
                varies: false,
                resumes: false,
                hostile: false,
                job_every: 30 * SECOND,
                goal: if goals.len() > 1 { pool as u8 } else { 0 },
                address: Address::of(pool),
                ..first.clone()
            })
            .collect();
        for miner in &mut plan.miners {
            (miner.firmware, miner.rate) = (&ALL[0], 1.0);
            miner.weather.buffer = 20_000;
        }
        plan.weights = [0; GOALS_MAX];
        plan.weights[..goals.len()].copy_from_slice(goals);
        plan.faults_for = u64::MAX / 4;
        plan.fault_every = u64::MAX / 4;
        (plan.links, plan.jobs, plan.pending) = (8, 16, 64);
        plan.geometry = None;
        (plan.verdict, plan.identity) = (VerdictMode::Local, Identity::Single);
        (plan.standby, plan.warm) = (true, true);
        plan.keepalive = 45 * SECOND;
        plan.share_interval = 4 * SECOND;
        plan.start_difficulty = 5e-10;
        (plan.retry_max, plan.healthy, plan.failover) = (4 * SECOND, 20 * SECOND, 5 * SECOND);
        (plan, rng)
    }
}

impl Address {
    /// A host of its own.
    fn of(pool: usize) -> Self {
        Self { host: format!("pool{pool}.example.com"), port: 3333, user: USERS[0] }
    }

    /// Puts all pools at one host, with different ports or accounts.
    fn share_a_host(pools: &mut [PoolPlan], rng: &mut Rng) {
        let mut left: Vec<(u16, &str)> =
            [3333, 3334].into_iter().flat_map(|port| USERS.map(|user| (port, user))).collect();
        for pool in pools {
            let (port, user) = left.swap_remove(rng.below(left.len() as u64) as usize);
            pool.address = Self { port, user, ..Self::of(0) };
        }
    }
}

impl PoolPlan {
    /// Whether the pool refuses a miner's worker.
    pub fn refuses(&self, miner: usize) -> bool {
        miner < 8 && self.refuses >> miner & 1 == 1
    }
}

impl MinerPlan {
    fn draw(rng: &mut Rng, faults: Faults) -> Self {
        let misbehaves = faults.has(Fault::Misbehave) && rng.once_in(2);
        let manners = if misbehaves {
            *rng.pick(&[
                Manners::Slow,
                Manners::Silent,
                Manners::Liar,
                Manners::Duplicator,
                Manners::Flooder,
                Manners::NonReader,
                Manners::Noise,
            ])
        } else {
            Manners::Honest
        };
        Self {
            manners,
            firmware: rng.pick(ALL),
            rate: *rng.pick(&[0.25, 0.5, 1.0, 2.0]),
            ring: if manners == Manners::Duplicator { *rng.pick(&[2, 33, 1_000]) } else { 0 },
            weather: Weather::draw(rng, faults, 20 * MILLI),
        }
    }
}

impl PoolPlan {
    fn draw(rng: &mut Rng, faults: Faults, n2: Option<u8>) -> Self {
        Self {
            extranonce1_len: *rng.pick(&[4, 4, 8, 5]),
            n2: n2.unwrap_or_else(|| *rng.pick(&[3, 4, 5, 6, 8, 12])),
            difficulty: *rng.pick(&[4.656_612_873_077_393e-10, 1e-9, 1.5e-9, 3e-9]),
            nbits: *rng.pick(&[0x1d00_ffff, 0x2000_ffff, 0x2003_ffff]),
            mask: *rng.pick(&[0x1fff_e000, 0x1fff_e000, 0x00ff_e000, 0x1fff_e000, 0, 0xffff_ffff]),
            resumes: rng.once_in(3),
            reuses_ids: rng.once_in(3),
            varies: rng.once_in(2),
            job_every: rng.within(2, 12) * SECOND,
            hostile: !rng.once_in(3),
            goal: 0,
            address: Address::of(0),
            sick: None,
            one_name: false,
            refuses: if faults.has(Fault::RefuseWorkers) { 1 << rng.below(6) & 0x1f } else { 0 },
            weather: Weather::draw(rng, faults, 60 * MILLI),
        }
    }
}

impl Weather {
    fn draw(rng: &mut Rng, faults: Faults, delay: u64) -> Self {
        Self {
            delay_min: rng.within(50, delay / 4),
            delay_mean: rng.within(50, delay),
            loss_in: if faults.has(Fault::Loss) { rng.within(5, 50) } else { 0 },
            splits: faults.has(Fault::Split) && rng.once_in(2),
            buffer: *rng.pick(&[1_500, 6_000, 20_000]),
        }
    }
}
