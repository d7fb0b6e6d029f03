//! The pool's generated jobs: a changing coinbase, branches, and a chain of blocks.
//!
//! This file does not use the library's encoder. So the pool detects an error that gateway and
//! library share.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::lab::hex;
use crate::lab::random::Random;

/// Number of remembered jobs; a share for an older job is refused as an unknown job.
const JOBS_KEPT: usize = 32;
/// Most remembered shares of one job; further duplicates are not detected.
const SHARES_KEPT: usize = 1 << 21;
/// The height of the first block, as of 2026.
const FIRST_HEIGHT: u32 = 975_000;
/// The pool's name in the coinbase.
const TAG: &[u8] = b"/loka lab/";

/// How many merkle branches a job has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branches {
    Exactly(u8),
    /// 0 to 14, drawn for each job.
    Random,
}

/// Most branches of a job: 2^14 transactions are more than a block holds.
pub const BRANCHES_MAX: u8 = 14;

impl std::str::FromStr for Branches {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "random" {
            return Ok(Self::Random);
        }
        match text.parse() {
            Ok(count) if count <= BRANCHES_MAX => Ok(Self::Exactly(count)),
            _ => Err(format!("got {text}, allowed 0..{BRANCHES_MAX} or random")),
        }
    }
}

/// The common parameters of a pool's jobs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub branches: Branches,
    /// Length of the whole coinbase transaction, in bytes, approximated by its outputs.
    pub coinbase_bytes: usize,
    /// Length of extranonce1 and extranonce2 together, in bytes.
    pub extranonce_bytes: usize,
    pub nbits: u32,
}

/// One job as it was sent.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    /// Counts the pool's jobs from 1.
    pub serial: u64,
    pub coinb1: Vec<u8>,
    pub coinb2: Vec<u8>,
    pub branches: Vec<[u8; 32]>,
    /// The previous block's hash in header order.
    pub prev_hash: [u8; 32],
    pub version: u32,
    pub nbits: u32,
    pub ntime: u32,
    /// `true` once a job with another previous block was made.
    pub is_stale: bool,
    /// The whole notify line.
    pub line: Vec<u8>,
    seen: HashSet<u128, BuildHasherDefault<Identity>>,
}

impl Job {
    /// Records a share by its block hash; `false` for a duplicate.
    pub fn remember(&mut self, hash: &[u8; 32]) -> bool {
        let mut low = [0; 16];
        low.copy_from_slice(&hash[..16]);
        if self.seen.len() >= SHARES_KEPT {
            return !self.seen.contains(&u128::from_le_bytes(low));
        }
        self.seen.insert(u128::from_le_bytes(low))
    }
}

/// A block hash is uniform, so its low half serves as the hash-map key.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The pool's jobs, newest last.
pub struct JobBook {
    plan: Plan,
    random: Random,
    jobs: VecDeque<Job>,
    next_serial: u64,
    salt: u32,
    height: u32,
    prev_hash: [u8; 32],
}

impl JobBook {
    /// Starts with no job. The ids carry `seed`, so that two pools never share one.
    pub fn new(plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let salt = random.next() as u32;
        let prev_hash = block_like_hash(&mut random);
        Self {
            plan,
            random,
            jobs: VecDeque::with_capacity(JOBS_KEPT),
            next_serial: 1,
            salt,
            height: FIRST_HEIGHT,
            prev_hash,
        }
    }

    /// Returns the newest job.
    pub fn newest(&self) -> Option<&Job> {
        self.jobs.back()
    }

    /// Finds a job by the id that a submit names.
    pub fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().rev().find(|job| job.id == id)
    }

    /// Advances to the next block; `prev_hash` is the hash of the found block, random if `None`.
    pub fn begin_block(&mut self, prev_hash: Option<[u8; 32]>) {
        self.prev_hash = prev_hash.unwrap_or_else(|| block_like_hash(&mut self.random));
        self.height += 1;
        for job in &mut self.jobs {
            job.is_stale = true;
        }
    }

    /// Makes the next job; it is clean after a new block.
    pub fn make(&mut self, ntime: u32) -> &Job {
        let clean = self.jobs.back().is_none_or(|job| job.is_stale);
        let (coinb1, coinb2) = self.coinbase(ntime);
        let count = match self.plan.branches {
            Branches::Exactly(count) => u32::from(count),
            Branches::Random => self.random.up_to(u32::from(BRANCHES_MAX)),
        };
        let branches: Vec<[u8; 32]> = (0..count).map(|_| self.random.bytes()).collect();
        let mut job = Job {
            id: format!("{:08x}{:08x}", self.salt, self.next_serial),
            serial: self.next_serial,
            coinb1,
            coinb2,
            branches,
            prev_hash: self.prev_hash,
            version: 0x2000_0000,
            nbits: self.plan.nbits,
            ntime,
            is_stale: false,
            line: Vec::new(),
            seen: HashSet::default(),
        };
        job.line = notify_line(&job, clean);
        self.next_serial += 1;
        if self.jobs.len() >= JOBS_KEPT {
            self.jobs.pop_front();
        }
        self.jobs.push_back(job);
        &self.jobs[self.jobs.len() - 1]
    }

    /// Returns both halves of the coinbase around the extranonces.
    fn coinbase(&mut self, time: u32) -> (Vec<u8>, Vec<u8>) {
        let mut coinb1 = Vec::with_capacity(64);
        coinb1.extend_from_slice(&[1, 0, 0, 0, 1]);
        coinb1.extend_from_slice(&[0; 32]);
        coinb1.extend_from_slice(&[0xff; 4]);
        // BIP-0034: the height comes first, as a push of three bytes little-endian.
        let height = self.height.to_le_bytes();
        let script_bytes = 4 + 5 + self.plan.extranonce_bytes + TAG.len();
        coinb1.push(script_bytes as u8);
        coinb1.extend_from_slice(&[3, height[0], height[1], height[2], 4]);
        coinb1.extend_from_slice(&time.to_le_bytes());

        let mut coinb2 = TAG.to_vec();
        coinb2.extend_from_slice(&[0xff; 4]);
        let fees = u64::from(self.random.up_to(9_999_999));
        let payout: [u8; 20] = *b"the farm is paid her";
        let commitment: [u8; 32] = self.random.bytes();
        let fixed = coinb1.len() + self.plan.extranonce_bytes + coinb2.len() + 1 + 31 + 47 + 4;
        let padding = padding_output(self.plan.coinbase_bytes.saturating_sub(fixed));
        coinb2.push(if padding.is_empty() { 2 } else { 3 });
        coinb2.extend_from_slice(&(312_500_000 + fees).to_le_bytes());
        coinb2.extend_from_slice(&[22, 0, 20]);
        coinb2.extend_from_slice(&payout);
        coinb2.extend_from_slice(&[0; 8]);
        // BIP-0141: the witness commitment.
        coinb2.extend_from_slice(&[38, 0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed]);
        coinb2.extend_from_slice(&commitment);
        coinb2.extend_from_slice(&padding);
        coinb2.extend_from_slice(&[0; 4]);
        (coinb1, coinb2)
    }
}

/// Returns an output of `bytes` bytes with an OP_RETURN script, or nothing if `bytes` is too few.
fn padding_output(bytes: usize) -> Vec<u8> {
    let Some(script_bytes) = bytes.checked_sub(8 + 1).filter(|script| *script > 0) else {
        return Vec::new();
    };
    let mut output = vec![0; 8];
    let script_bytes = if script_bytes < 0xfd {
        output.push(script_bytes as u8);
        script_bytes
    } else {
        let script_bytes = (script_bytes - 2).max(0xfd);
        output.push(0xfd);
        output.extend_from_slice(&(script_bytes as u16).to_le_bytes());
        script_bytes
    };
    output.push(0x6a);
    output.resize(output.len() + script_bytes - 1, 0x51);
    output
}

/// Draws a hash with the leading zeros of a real block (in header order they are at the end).
fn block_like_hash(random: &mut Random) -> [u8; 32] {
    let mut hash: [u8; 32] = random.bytes();
    hash[22..].fill(0);
    hash
}

fn notify_line(job: &Job, clean: bool) -> Vec<u8> {
    let mut prev_hash = job.prev_hash;
    for word in prev_hash.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    let branches: Vec<String> =
        job.branches.iter().map(|branch| format!("\"{}\"", hex::text(branch))).collect();
    format!(
        "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{}\",\"{}\",\"{}\",\"{}\",[{}],\
         \"{:08x}\",\"{:08x}\",\"{:08x}\",{clean}]}}\n",
        job.id,
        hex::text(&prev_hash),
        hex::text(&job.coinb1),
        hex::text(&job.coinb2),
        branches.join(","),
        job.version,
        job.nbits,
        job.ntime,
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(coinbase_bytes: usize) -> Plan {
        Plan {
            branches: Branches::Random,
            coinbase_bytes,
            extranonce_bytes: 12,
            nbits: 0x1d00_ffff,
        }
    }

    #[test]
    fn coinbase_has_the_wanted_length() {
        for wanted in [200, 250, 265, 400, 499, 730, 2_250, 6_500, 16_384] {
            let mut book = JobBook::new(plan(wanted), 7);
            let job = book.make(1_700_000_000);
            let got = job.coinb1.len() + 12 + job.coinb2.len();
            assert!(got.abs_diff(wanted) <= 2, "wanted {wanted}, got {got}");
        }
    }

    #[test]
    fn only_a_new_block_makes_a_clean_job() {
        let mut book = JobBook::new(plan(250), 7);
        let clean = |job: &Job| job.line.ends_with(b",true]}\n");
        assert!(clean(book.make(1)));
        assert!(!clean(book.make(2)));
        book.begin_block(None);
        let first = book.jobs[0].id.clone();
        assert!(book.find(&first).is_some_and(|job| job.is_stale));
        assert!(clean(book.make(3)));
        assert!(!clean(book.make(4)));
    }

    #[test]
    fn old_jobs_are_forgotten_and_shares_are_remembered() {
        let mut book = JobBook::new(plan(250), 7);
        let first = book.make(1).id.clone();
        assert!(book.find(&first).is_some_and(|job| job.remember(&[5; 32])));
        assert!(book.find(&first).is_some_and(|job| !job.remember(&[5; 32])));
        for _ in 0..JOBS_KEPT {
            book.make(2);
        }
        assert!(book.find(&first).is_none());
    }
}
