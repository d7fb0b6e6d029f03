//! The work of one ASIC: real hashing, nonce by nonce, on one job.

use std::collections::VecDeque;
use std::rc::Rc;

use loka_stratum::wire::server;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::header::{BlockHash, Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle;
use loka_stratum::work::sha256d::{HEADER_BYTES, Midstate, sha256d};
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::Version;

use super::report::JobSeen;
use crate::lab::{clock, hex};

/// Number of remembered and reported jobs.
const JOBS_KEPT: usize = 64;
/// Nonces per header before version bits or extranonce2 advance.
const NONCES_PER_HEADER: u32 = 1 << 16;
/// Headers with other version bits before extranonce2 advances.
const ROLLS_PER_EXTRANONCE2: u32 = 4;

/// A received job; all miners with the same line share one value.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    pub prev_hash: PrevHash,
    pub coinb1: Vec<u8>,
    pub coinb2: Vec<u8>,
    pub branches: Vec<[u8; 32]>,
    pub version: u32,
    pub nbits: u32,
    pub ntime: u32,
    pub clean: bool,
}

/// The last jobs by their line, so that a fan-out is parsed once.
#[derive(Default)]
pub struct JobShelf {
    jobs: VecDeque<(Vec<u8>, Rc<Job>, JobSeen)>,
}

impl JobShelf {
    /// Returns the job of a known line, and counts its arrival.
    pub fn find(&mut self, line: &[u8]) -> Option<Rc<Job>> {
        let (_, job, seen) = self.jobs.iter_mut().rev().find(|(known, _, _)| known == line)?;
        seen.count += 1;
        seen.last_at_micros = clock::epoch_micros();
        Some(job.clone())
    }

    /// Stores a new job in place of the oldest.
    pub fn add(&mut self, line: &[u8], notify: &server::Notify<'_>) -> Option<Rc<Job>> {
        let job = Rc::new(Job::read(notify)?);
        if self.jobs.len() >= JOBS_KEPT {
            self.jobs.pop_front();
        }
        let now = clock::epoch_micros();
        let seen = JobSeen {
            first_at_micros: now,
            last_at_micros: now,
            count: 1,
            line_bytes: line.len() as u64 + 1,
        };
        self.jobs.push_back((line.to_vec(), job.clone(), seen));
        Some(job)
    }

    /// Returns the arrival times of the last jobs, oldest first.
    pub fn seen(&self) -> Vec<JobSeen> {
        self.jobs.iter().map(|(_, _, seen)| *seen).collect()
    }
}

impl Job {
    fn read(notify: &server::Notify<'_>) -> Option<Self> {
        let mut prev_hash = [0; 32];
        hex::read_exact(notify.prev_hash, &mut prev_hash)?;
        let branches: Option<Vec<[u8; 32]>> = notify
            .branches
            .iter()
            .map(|digits| {
                let mut branch = [0; 32];
                hex::read_exact(digits, &mut branch).map(|()| branch)
            })
            .collect();
        Some(Self {
            // The id is returned unchanged, with its escapes.
            id: notify.job_id.as_raw().to_owned(),
            prev_hash: PrevHash::from_stratum(&prev_hash),
            coinb1: hex::read(notify.coinb1)?,
            coinb2: hex::read(notify.coinb2)?,
            branches: branches?,
            version: notify.version,
            nbits: notify.nbits,
            ntime: notify.ntime,
            clean: notify.clean_jobs,
        })
    }
}

/// A share that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub extranonce2: Vec<u8>,
    pub ntime: u32,
    pub nonce: u32,
    /// The rolled version bits.
    pub bits: u32,
}

/// A miner's position in the search space of its job.
#[derive(Debug)]
pub struct Search {
    pub job: Rc<Job>,
    target: Target,
    /// The most significant 32 bits of the target, an upper bound for a share's.
    target_top: u32,
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
    /// The version bits that may be rolled; 0 for none.
    mask: u32,
    pub extranonce2: u64,
    roll: u32,
    ntime: u32,
    nonce: u32,
    header: Option<(Midstate, [u8; 16])>,
}

impl Search {
    /// Starts at the first nonce of `job`.
    pub fn new(
        job: Rc<Job>,
        difficulty: Difficulty,
        extranonce1: &[u8],
        extranonce2_size: usize,
        mask: u32,
        extranonce2: u64,
    ) -> Self {
        let target = difficulty.to_target();
        let top = target.to_le_bytes();
        Self {
            target,
            target_top: u32::from_le_bytes([top[28], top[29], top[30], top[31]]),
            extranonce1: extranonce1.to_vec(),
            extranonce2_size,
            mask,
            extranonce2,
            roll: 0,
            ntime: job.ntime,
            nonce: 0,
            header: None,
            job,
        }
    }

    /// Sets ntime to `seconds` after the job's.
    pub fn roll_ntime(&mut self, seconds: u32) {
        let ntime = self.job.ntime.saturating_add(seconds);
        if ntime != self.ntime {
            self.ntime = ntime;
            self.header = None;
        }
    }

    /// Changes the allowed version bits.
    pub fn set_mask(&mut self, mask: u32) {
        self.mask = mask;
        self.header = None;
    }

    /// Tries up to `budget` nonces, which it reduces by those tried, until one is a share.
    pub fn run(&mut self, budget: &mut u32) -> Option<Found> {
        while *budget > 0 {
            if self.nonce >= NONCES_PER_HEADER {
                self.next_header();
            }
            *budget -= 1;
            let nonce = self.nonce;
            self.nonce += 1;
            // If every hash is a share, as in a load test, no hash is computed here.
            if self.target == Target::MAX || self.is_share(nonce) {
                return Some(Found {
                    extranonce2: self.extranonce2_bytes(),
                    ntime: self.ntime,
                    nonce,
                    bits: self.bits(),
                });
            }
        }
        None
    }

    fn is_share(&mut self, nonce: u32) -> bool {
        let (midstate, mut end) = match self.header {
            Some(header) => header,
            None => *self.header.insert(self.build_header()),
        };
        end[12..].copy_from_slice(&nonce.to_le_bytes());
        let hash = midstate.header_hash(&end);
        let top = u32::from_le_bytes([hash[28], hash[29], hash[30], hash[31]]);
        top <= self.target_top && self.target.is_met_by(BlockHash(hash))
    }

    fn next_header(&mut self) {
        self.nonce = 0;
        self.header = None;
        self.roll += 1;
        if self.mask == 0 || self.roll >= ROLLS_PER_EXTRANONCE2 {
            self.roll = 0;
            self.extranonce2 = self.extranonce2.wrapping_add(1);
        }
    }

    /// Spreads the roll's count over the lowest bits of the mask.
    const fn bits(&self) -> u32 {
        let (mut mask, mut count, mut bits) = (self.mask, self.roll, 0);
        while count > 0 && mask > 0 {
            let lowest = mask & mask.wrapping_neg();
            if count & 1 == 1 {
                bits |= lowest;
            }
            mask ^= lowest;
            count >>= 1;
        }
        bits
    }

    fn extranonce2_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.extranonce2_size];
        let counter = self.extranonce2.to_le_bytes();
        let used = bytes.len().min(counter.len());
        bytes[..used].copy_from_slice(&counter[..used]);
        bytes
    }

    fn build_header(&self) -> (Midstate, [u8; 16]) {
        let mut coinbase = self.job.coinb1.clone();
        coinbase.extend_from_slice(&self.extranonce1);
        coinbase.extend_from_slice(&self.extranonce2_bytes());
        coinbase.extend_from_slice(&self.job.coinb2);
        let header = Header {
            version: Version((self.job.version & !self.mask) | self.bits()),
            prev_hash: self.job.prev_hash,
            merkle_root: merkle::root(sha256d(&coinbase), &self.job.branches),
            ntime: NTime(self.ntime),
            nbits: NBits(self.job.nbits),
            nonce: Nonce(0),
        };
        let bytes: [u8; HEADER_BYTES] = header.to_bytes();
        let mut end = [0; 16];
        end.copy_from_slice(&bytes[HEADER_BYTES - 16..]);
        (header.midstate(), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Rc<Job> {
        Rc::new(Job {
            id: "1".to_owned(),
            prev_hash: PrevHash([3; 32]),
            coinb1: vec![1; 60],
            coinb2: vec![2; 100],
            branches: vec![[7; 32]; 3],
            version: 0x2000_0000,
            nbits: 0x1d00_ffff,
            ntime: 1_700_000_000,
            clean: true,
        })
    }

    fn search(difficulty: f64, mask: u32) -> Search {
        let difficulty = Difficulty::new(difficulty).unwrap_or_else(|_| panic!("a difficulty"));
        Search::new(job(), difficulty, &[9, 9], 4, mask, 0)
    }

    #[test]
    fn shares_meet_the_target_as_often_as_it_says() {
        // 2^-24 asks for 256 hashes a share on average.
        let mut search = search(2f64.powi(-24), 0x1fff_e000);
        let mut budget = 256 * 400;
        let mut found = Vec::new();
        while let Some(share) = search.run(&mut budget) {
            found.push(share);
        }
        assert!((300..500).contains(&found.len()), "{} shares", found.len());
        let total = found.len();
        found.dedup();
        assert_eq!(found.len(), total, "no share twice");
        assert!(found.iter().all(|share| share.bits & !0x1fff_e000 == 0));
    }

    #[test]
    fn every_nonce_is_a_share_where_the_target_is_all_ones() {
        let mut search = search(2f64.powi(-40), 0);
        let mut budget = 3;
        let nonces: Vec<u32> =
            std::iter::from_fn(|| search.run(&mut budget)).map(|it| it.nonce).collect();
        assert_eq!(nonces, [0, 1, 2]);
    }

    #[test]
    fn headers_go_through_bits_then_extranonce2() {
        let mut search = search(1e9, 0b1010_0000);
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push((search.bits(), search.extranonce2));
            search.next_header();
        }
        assert_eq!(seen, [(0, 0), (0x20, 0), (0x80, 0), (0xa0, 0), (0, 1)]);
    }
}
