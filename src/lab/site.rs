//! The site of `lab chaos` and `lab soak`: two pools under TLS, an injector before each, the
//! gateway as a process, and miners.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::clock;
use super::faults::{Counts, Faults};
use super::pool::ledger::Ledger;
use super::pool::{Options as PoolOptions, Pool, PoolHandle};
use super::rig::{Gateway, GatewayOptions, Scratch, number};
use super::swarm::{Options as SwarmOptions, Swarm, SwarmHandle, Work};

/// Difficulty of every miner: so low that every hash is a share.
const MINER_DIFFICULTY: f64 = 1e-10;
/// Difficulty of the pools: about one share in nine meets it.
const POOL_DIFFICULTY: f64 = 2e-9;
/// Time between jobs of a pool, and between blocks.
const JOB_EVERY: Duration = Duration::from_secs(5);
const BLOCK_EVERY: Duration = Duration::from_secs(20);
/// Time limit for all miners to get a first job.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long open shares may take to settle at the end. A share of a lost link is held for 30 s, and
/// an answer may take as long.
const QUIET_MAX: Duration = Duration::from_secs(65);

/// A pool and the injector before it.
pub struct Way {
    pub pool: PoolHandle,
    pub faults: Faults,
}

/// The whole site.
pub struct Site {
    pub swarm: SwarmHandle,
    pub gateway: Gateway,
    pub ways: [Way; 2],
    _scratch: Scratch,
}

impl Site {
    /// Starts everything and returns once every miner has a job.
    ///
    /// # Errors
    ///
    /// A part cannot be started, or the miners do not get their jobs.
    pub fn start(miners: usize, work: Work, seed: u64, log: Option<PathBuf>) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let ways = [way(&scratch, seed, 0)?, way(&scratch, seed, 1)?];
        let ca_file = scratch.file("ca.pem");
        let identity = ways[0].pool.identity.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        std::fs::write(&ca_file, identity.ca_pem())?;
        let gateway = Gateway::start(&GatewayOptions {
            pools: ways.iter().map(|way| way.faults.address).collect(),
            ca_file: Some(ca_file),
            miners_max: (miners + miners / 4).clamp(16, 16_384),
            difficulty: [MINER_DIFFICULTY; 3],
            seconds_per_share: 10,
            log,
        })?;
        gateway.wait_until_ready()?;
        let swarm = farm(gateway.listen, miners, work, seed)?;
        let start = clock::now();
        while swarm.report().ready < miners as u64 {
            if start.elapsed() > READY_MAX {
                return Err(io::Error::other("not all miners got a job"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { swarm, gateway, ways, _scratch: scratch })
    }

    /// Returns the index of the farm's current pool.
    pub fn active(status: &Value) -> usize {
        let links = status["upstream"].as_array().map(Vec::as_slice).unwrap_or_default();
        let active = links.iter().find(|link| link["active"] == true);
        active.and_then(|link| link["pool"].as_u64()).map_or(0, |pool| pool as usize - 1)
    }

    /// Waits until no share is in flight, and returns the last status; the miners must be idle.
    ///
    /// # Errors
    ///
    /// The gateway does not answer.
    pub fn settle(&self) -> io::Result<Value> {
        let start = clock::now();
        loop {
            let status = self.gateway.status()?;
            if open(&status) == 0 || start.elapsed() > QUIET_MAX {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the sum of both pools' ledgers.
    pub fn pools(&self) -> Ledger {
        let mut sum = self.ways[0].pool.ledger();
        sum.add(&self.ways[1].pool.ledger());
        sum
    }

    /// Returns the sum of both injectors' counts.
    pub fn counts(&self) -> Counts {
        let mut sum = self.ways[0].faults.counts();
        for (name, count) in self.ways[1].faults.counts().faults {
            *sum.faults.entry(name).or_default() += count;
        }
        sum
    }
}

/// Shares without a verdict of the pool.
pub fn open(status: &Value) -> u64 {
    number(status, "/ledger/pending") + number(status, "/ledger/held")
}

/// Starts miners for the gateway at `connect`.
pub fn farm(connect: SocketAddr, miners: usize, work: Work, seed: u64) -> io::Result<SwarmHandle> {
    let suggest = MINER_DIFFICULTY;
    Swarm::start(SwarmOptions { miners, work, suggest, seed, ..SwarmOptions::new(connect) })
}

fn way(scratch: &Scratch, seed: u64, index: u64) -> io::Result<Way> {
    let pool = Pool::start(PoolOptions {
        tls: true,
        // One authority signs for both.
        identity: Some(scratch.file("identity.pem")),
        difficulty: POOL_DIFFICULTY,
        job_every: JOB_EVERY,
        block_every: Some(BLOCK_EVERY),
        // The first resumes sessions, the second never does.
        resume: index == 0,
        seed: seed.wrapping_add(index << 32),
        ..PoolOptions::default()
    })?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let faults = Faults::start(any, pool.addr, seed.wrapping_add(index))?;
    Ok(Way { pool, faults })
}
