//! One connection as the pool sees it, and its verdict on every share.
//!
//! The library provides values and hashing. This file keeps the seen shares, the difficulty of each
//! job and the authorized names, separate from the gateway's records.

use loka_stratum::wire::client::Submit;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::header::{BlockHash, Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle;
use loka_stratum::work::sha256d::sha256d;
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::Version;

use super::jobs::{Job, JobBook};
use super::ledger::Rejected;
use crate::lab::hex;

/// Names that one connection may authorize.
const WORKERS_MAX: usize = 4096;
/// Number of remembered difficulties of a connection's older jobs.
const TIERS_MAX: usize = 8;
/// How far a share's ntime may lie ahead of its job's, in seconds: ckpool's bound, written here
/// again because the gateway's own constant is what is being checked.
const NTIME_AHEAD_SECS: u32 = 7000;

/// Why a share is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    UnknownJob,
    Stale,
    Duplicate,
    LowDifficulty,
    Unauthorized,
    NotSubscribed,
    VersionBits,
    NTime,
    Extranonce2,
    Malformed,
}

impl Reason {
    /// Returns the error code and the text for the miner.
    pub const fn answer(self) -> (u8, &'static str) {
        match self {
            Self::UnknownJob => (21, "job not found"),
            Self::Stale => (21, "stale share"),
            Self::Duplicate => (22, "duplicate share"),
            Self::LowDifficulty => (23, "low difficulty share"),
            Self::Unauthorized => (24, "unauthorized worker"),
            Self::NotSubscribed => (25, "not subscribed"),
            Self::VersionBits => (20, "version bits outside the mask"),
            Self::NTime => (20, "ntime out of range"),
            Self::Extranonce2 => (20, "extranonce2 has the wrong size"),
            Self::Malformed => (20, "malformed share"),
        }
    }

    /// Returns the counter of this reason.
    pub const fn counter(self, rejected: &mut Rejected) -> &mut u64 {
        match self {
            Self::UnknownJob => &mut rejected.unknown_job,
            Self::Stale => &mut rejected.stale,
            Self::Duplicate => &mut rejected.duplicate,
            Self::LowDifficulty => &mut rejected.low_difficulty,
            Self::Unauthorized => &mut rejected.unauthorized,
            Self::NotSubscribed => &mut rejected.not_subscribed,
            Self::VersionBits => &mut rejected.version_bits,
            Self::NTime => &mut rejected.ntime,
            Self::Extranonce2 => &mut rejected.extranonce2,
            Self::Malformed => &mut rejected.malformed,
        }
    }
}

/// A share that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepted {
    /// Its target difficulty.
    pub difficulty: f64,
    /// Its hash, if it also meets the network's target.
    pub block: Option<[u8; 32]>,
}

/// The difficulty of all jobs from `first_serial` on.
#[derive(Clone, Copy, Debug)]
struct Tier {
    first_serial: u64,
    difficulty: Difficulty,
    target: Target,
}

/// The pool's record of a connection.
#[derive(Debug)]
pub struct Session {
    pub extranonce1: Vec<u8>,
    pub is_subscribed: bool,
    /// Whether the session was resumed with its old extranonce1: shares for its old jobs count too.
    pub is_resumed: bool,
    /// The granted version mask; 0 if none was.
    pub version_mask: u32,
    workers: Vec<Box<str>>,
    tiers: Vec<Tier>,
    /// Accepted shares since the difficulty was last looked at.
    pub shares_since: u32,
}

impl Session {
    /// Starts a session with its extranonce1.
    pub const fn new(extranonce1: Vec<u8>) -> Self {
        Self {
            extranonce1,
            is_subscribed: false,
            is_resumed: false,
            version_mask: 0,
            workers: Vec::new(),
            tiers: Vec::new(),
            shares_since: 0,
        }
    }

    /// Authorizes `worker`; `false` if the connection has too many names.
    pub fn authorize(&mut self, worker: &str) -> bool {
        if self.workers.iter().any(|known| **known == *worker) {
            return true;
        }
        if self.workers.len() >= WORKERS_MAX {
            return false;
        }
        self.workers.push(worker.into());
        true
    }

    /// Returns `true` where jobs may be sent.
    pub const fn is_ready(&self) -> bool {
        self.is_subscribed && !self.workers.is_empty()
    }

    /// Returns the difficulty that the next job will be sent with.
    pub fn difficulty(&self) -> Option<f64> {
        self.tiers.last().map(|tier| tier.difficulty.as_f64())
    }

    /// Sets `difficulty` for all jobs from `first_serial` on.
    pub fn ask(&mut self, difficulty: Difficulty, first_serial: u64) {
        self.tiers.retain(|tier| tier.first_serial < first_serial);
        if self.tiers.len() >= TIERS_MAX {
            self.tiers.remove(0);
        }
        self.tiers.push(Tier { first_serial, difficulty, target: difficulty.to_target() });
    }

    fn tier_of(&self, serial: u64) -> Option<&Tier> {
        self.tiers.iter().rev().find(|tier| tier.first_serial <= serial)
    }

    /// Judges one share.
    ///
    /// # Errors
    ///
    /// The first reason found, in the order of the checks.
    pub fn judge(
        &mut self,
        submit: &Submit<'_>,
        extranonce2_size: usize,
        book: &mut JobBook,
        coinbase: &mut Vec<u8>,
    ) -> Result<Accepted, Reason> {
        if !self.is_subscribed {
            return Err(Reason::NotSubscribed);
        }
        if !self.workers.iter().any(|worker| submit.worker.eq_decoded(worker)) {
            return Err(Reason::Unauthorized);
        }
        let job = book.find(submit.job_id.as_raw()).ok_or(Reason::UnknownJob)?;
        if job.is_stale {
            return Err(Reason::Stale);
        }
        let tier = self.tier_of(job.serial).ok_or(Reason::UnknownJob)?;
        let (difficulty, target) = (tier.difficulty.as_f64(), tier.target);
        let ntime = hex::read_u32(submit.ntime.as_bytes()).ok_or(Reason::Malformed)?;
        let nonce = hex::read_u32(submit.nonce.as_bytes()).ok_or(Reason::Malformed)?;
        if ntime < job.ntime || ntime - job.ntime > NTIME_AHEAD_SECS {
            return Err(Reason::NTime);
        }
        let version = self.version(submit, job)?;
        coinbase.clear();
        coinbase.extend_from_slice(&job.coinb1);
        coinbase.extend_from_slice(&self.extranonce1);
        let start = coinbase.len();
        coinbase.resize(start + extranonce2_size, 0);
        hex::read_exact(submit.extranonce2.as_bytes(), &mut coinbase[start..])
            .ok_or(Reason::Extranonce2)?;
        coinbase.extend_from_slice(&job.coinb2);
        let hash = block_hash(job, coinbase, version, ntime, nonce);
        if !target.is_met_by(hash) {
            return Err(Reason::LowDifficulty);
        }
        if !job.remember(&hash.0) {
            return Err(Reason::Duplicate);
        }
        self.shares_since += 1;
        let network = Target::from_nbits(NBits(job.nbits));
        let is_block = network.is_ok_and(|network| network.is_met_by(hash));
        Ok(Accepted { difficulty, block: is_block.then_some(hash.0) })
    }

    fn version(&self, submit: &Submit<'_>, job: &Job) -> Result<u32, Reason> {
        let Some(bits) = submit.version_bits else { return Ok(job.version) };
        let bits = hex::read_u32(bits.as_bytes()).ok_or(Reason::Malformed)?;
        if bits & !self.version_mask != 0 {
            return Err(Reason::VersionBits);
        }
        Ok((job.version & !self.version_mask) | bits)
    }
}

fn block_hash(job: &Job, coinbase: &[u8], version: u32, ntime: u32, nonce: u32) -> BlockHash {
    let root = merkle::root(sha256d(coinbase), &job.branches);
    let header = Header {
        version: Version(version),
        prev_hash: PrevHash(job.prev_hash),
        merkle_root: root,
        ntime: NTime(ntime),
        nbits: NBits(job.nbits),
        nonce: Nonce(nonce),
    };
    header.hash()
}
