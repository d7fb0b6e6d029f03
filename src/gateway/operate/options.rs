//! Builds the engine's options and memory from the settings.

use std::fmt;
use std::hint::black_box;

use loka_stratum::identity::Identity;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, JOBS_PER_LINK, SEEN_BUCKET_PLACES, SUBMIT_INTERVAL,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{Options, PoolLogin, Storage, VerdictMode};
use loka_stratum::settings::{self, Pool, Settings};
use loka_stratum::table::{IdBlock, Slot};
use loka_stratum::time::Duration;
use loka_stratum::vardiff;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::Geometry;
use loka_stratum::work::job::Job;

use crate::gateway::base::plan::Plan;

/// The system has less memory than the plan.
#[derive(Debug)]
pub struct OutOfMemory {
    wanted: u64,
}

/// The gateway's user agent at pools.
pub const AGENT: &str = concat!("loka-stratum/", env!("CARGO_PKG_VERSION"));

/// Turns settings into the engine's options. `geometry` is from an earlier run; `seed` is random.
pub fn options(settings: &Settings, geometry: Option<Geometry>, seed: u64) -> Options {
    let secs = |secs: u16| Duration::from_secs(u64::from(secs));
    // The settings' ranges lie within the valid difficulties.
    let difficulty = |value| Difficulty::new(value).unwrap_or(Difficulty::ONE);
    let (upstream, goals) = (&settings.upstream, settings.goals());
    Options {
        pools: settings.pools.iter().map(login).collect(),
        links: links::Policy {
            pools: settings.pools.len(),
            goals: goals.of_pool,
            weights: goals.weights,
            standby: upstream.standby,
            retry_min: secs(upstream.retry_min_secs),
            retry_max: secs(upstream.retry_max_secs),
            healthy: secs(upstream.healthy_secs),
            failover: secs(upstream.failover_secs),
        },
        vardiff: vardiff::Policy {
            start: difficulty(settings.difficulty.start),
            min: difficulty(settings.difficulty.min),
            max: difficulty(settings.difficulty.max),
            share_interval: secs(settings.difficulty.seconds_per_share),
        },
        keepalive: secs(upstream.keepalive_secs),
        verdict: match settings.verdict.mode {
            settings::VerdictMode::Local => VerdictMode::Local,
            settings::VerdictMode::Pool => VerdictMode::Pool,
        },
        identity: match settings.identity.mode {
            settings::IdentityMode::Single => Identity::Single,
            settings::IdentityMode::PerWorker => Identity::PerWorker,
        },
        warm: upstream.warm,
        submit_interval: SUBMIT_INTERVAL,
        geometry,
        // A random first id per start, so a miner seldom repeats search space of the previous run.
        first_miner_id: seed.to_le_bytes().first_chunk().map_or(0, |low| u16::from_le_bytes(*low)),
        agent: AGENT.try_into().unwrap_or_default(),
        seed,
    }
}

fn login(pool: &Pool) -> PoolLogin {
    PoolLogin {
        user: pool.user.clone(),
        password: pool.password.expose().try_into().unwrap_or_default(),
        host: pool.url.host().try_into().unwrap_or_default(),
        port: pool.url.port(),
    }
}

/// Allocates the engine's memory for the life of the process. Most of it is zeroed by the system,
/// so unused parts cost no memory.
///
/// # Errors
///
/// The system refuses the plan's peak memory (F67).
pub fn storage(plan: &Plan) -> Result<Storage<'static>, OutOfMemory> {
    let &Plan { miners, links, .. } = plan;
    // The allocations below would abort on failure, so the sum is reserved once first.
    let wanted = plan.bytes();
    let mut all = Vec::<u8>::new();
    usize::try_from(wanted)
        .ok()
        .and_then(|bytes| all.try_reserve_exact(bytes).ok())
        .ok_or(OutOfMemory { wanted })?;
    // Keeps the compiler from removing the test allocation.
    drop(black_box(all));
    Ok(Storage {
        slots: (0..miners).map(|_| Slot::VACANT).collect::<Vec<_>>().leak(),
        lines: vec![0; miners * DOWNSTREAM_LINE_BYTES_MAX].leak(),
        ids: vec![IdBlock::FREE; Storage::ID_BLOCKS].leak(),
        seen: vec![[0; SEEN_BUCKET_PLACES]; Storage::seen_for(miners)].leak(),
        link_sizes: plan.sizes(),
        jobs: (0..links * JOBS_PER_LINK).map(|_| Job::vacant()).collect::<Vec<_>>().leak(),
        pending: vec![Pending::FREE; plan.sizes().pending_for(links)].leak(),
        link_bytes: vec![0; links * Storage::LINK_BYTES].leak(),
    })
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = self.wanted;
        write!(
            f,
            "the system does not give the {wanted} bytes that the gateway may need: lower \
             miners.max, or leave it to board.profile"
        )
    }
}

impl std::error::Error for OutOfMemory {}
