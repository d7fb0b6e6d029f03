//! What is drawn from a seed: the world's size, its settings, who is in it and what goes wrong.
//!
//! Swarm testing: each kind of fault is off in half of the seeds, so that no fault hides what
//! another would have shown.

use loka_stratum::proxy::VerdictMode;

use crate::firmware::{ALL, Firmware};
use crate::rng::Rng;

pub const SECOND: u64 = 1_000_000;
pub const MILLI: u64 = 1_000;

/// What may go wrong in a seed.
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
    // Miners.
    Misbehave,
    Churn,
}

impl Fault {
    pub const ALL: [Self; 32] = [
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
        Self::Misbehave,
        Self::Churn,
    ];

    /// What a pool does of itself now and then.
    pub const OF_POOLS: [Self; 14] = [
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

/// What a miner is like until the faults stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Honest,
    /// Takes its time for each step.
    Slow,
    /// Connects and says nothing, or nothing after its handshake.
    Silent,
    /// Sends shares that are none.
    Liar,
    /// Sends its shares twice.
    Duplicator,
    /// Sends requests without end.
    Flooder,
    /// Leaves what it is sent unread.
    NonReader,
    /// Speaks another protocol, or none.
    Noise,
}

#[derive(Clone, Debug)]
pub struct MinerPlan {
    pub manners: Manners,
    pub firmware: &'static Firmware,
    /// Hashes a second.
    pub rate: f64,
    pub weather: Weather,
}

#[derive(Clone, Debug)]
pub struct PoolPlan {
    pub extranonce1_len: u64,
    pub n2: u8,
    pub difficulty: f64,
    pub nbits: u32,
    pub mask: u32,
    /// Gives a connection the extranonce1 of the one before, and remembers its jobs.
    pub resumes: bool,
    /// Counts its job ids from 1 in every session.
    pub reuses_ids: bool,
    /// Says set_difficulty again with another value now and then.
    pub varies: bool,
    pub job_every: u64,
    pub hostile: bool,
    pub weather: Weather,
}

/// How a wire carries bytes.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min: u64,
    pub delay_mean: u64,
    /// A chunk in so many comes a retransmission later; 0 is none.
    pub loss_in: u64,
    /// Reads end anywhere.
    pub splits: bool,
    /// Bytes that the gateway may write ahead of the reader.
    pub buffer: usize,
}

/// Everything that a seed decides at the start.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub miners: Vec<MinerPlan>,
    pub pools: Vec<PoolPlan>,
    pub faults: Faults,
    /// How long things go wrong.
    pub faults_for: u64,
    /// Mean time between two faults of the world.
    pub fault_every: u64,
    pub slots: usize,
    pub links: usize,
    pub jobs: usize,
    pub pending: usize,
    pub line_bytes: usize,
    pub few_ids: bool,
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

/// A world's size: the seeds' own, or a large one to measure speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Miners(usize),
}

impl Plan {
    /// Draws everything; the sequence goes on to the world.
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
        let pools = (0..rng.within(1, 3))
            .map(|_| PoolPlan::draw(&mut rng, faults, if same_size { Some(n2) } else { None }))
            .collect();
        let plan = Self {
            seed,
            miners: (0..miners).map(|_| MinerPlan::draw(&mut rng, faults)).collect(),
            pools,
            faults,
            faults_for: rng.within(5, 25) * SECOND,
            fault_every: rng.within(500, 5_000) * MILLI,
            slots,
            links: rng.within(3, 5) as usize,
            jobs: rng.within(2, 4) as usize,
            pending: rng.within(3, 16) as usize,
            line_bytes: 4096,
            few_ids: rng.once_in(4),
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
