//! From settings to what the engine is made of: its options and its memory.

use loka_stratum::identity::Identity;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, JOBS_PER_LINK, LANES_MAX, LINKS_MAX, PENDING_SHARES_MAX,
    SUBMIT_INTERVAL,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{Options, PoolLogin, Storage, VerdictMode};
use loka_stratum::settings::{self, Pool, Settings};
use loka_stratum::table::{RestingId, Slot};
use loka_stratum::time::Duration;
use loka_stratum::vardiff;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::Geometry;
use loka_stratum::work::job::Job;

/// What the gateway calls itself to pools.
const AGENT: &str = concat!("loka-stratum/", env!("CARGO_PKG_VERSION"));

/// Turns settings into the engine's options; `geometry` is what an earlier run remembered and
/// `seed` is random.
pub fn options(settings: &Settings, geometry: Option<Geometry>, seed: u64) -> Options {
    let secs = |secs: u16| Duration::from_secs(u64::from(secs));
    // The ranges of the settings lie within what a difficulty may be.
    let difficulty = |value| Difficulty::new(value).unwrap_or(Difficulty::ONE);
    let upstream = &settings.upstream;
    Options {
        pools: settings.pools.iter().map(login).collect(),
        links: links::Policy {
            pools: settings.pools.len(),
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
        // Another start begins at another id, so that a miner seldom repeats what was searched
        // before it.
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
    }
}

/// Sets the engine's memory aside, for as long as the process runs. It comes from the system as
/// zeros, so what is not used costs no memory.
pub fn storage(miners: usize, pools: usize) -> Storage<'static> {
    let links = (2 * pools + LANES_MAX).min(LINKS_MAX);
    Storage {
        slots: (0..miners).map(|_| Slot::VACANT).collect::<Vec<_>>().leak(),
        lines: vec![0; miners * DOWNSTREAM_LINE_BYTES_MAX].leak(),
        ids: vec![RestingId::FRESH; Storage::ids_for(miners)].leak(),
        jobs: (0..links * JOBS_PER_LINK).map(|_| Job::vacant()).collect::<Vec<_>>().leak(),
        pending: vec![Pending::FREE; links * PENDING_SHARES_MAX].leak(),
        link_bytes: vec![0; links * Storage::LINK_BYTES].leak(),
    }
}
