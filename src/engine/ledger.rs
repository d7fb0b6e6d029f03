//! The honest ledger: every submit gets exactly one verdict and lies in exactly one bucket.
//!
//! [`Ledger::open`] puts a submit in its first [`Bucket`]. [`Ledger::settle`] may later move it
//! from [`Bucket::Pending`] or [`Bucket::Held`] to a final one. There is no way to count a submit
//! twice or to drop it, so [`Ledger::check`] holds at every moment:
//!
//! ```text
//! submitted = accepted + rejected          accepted  = below_upstream + forwarded
//! forwarded = pool_accepted + pool_rejected + pending + held + orphaned
//! ```
//!
//! The same buckets are kept in total ([`Ledger`], 64 bits) and for each miner ([`Counts`], 32
//! bits). A single connection cannot exhaust 32 bits. The ledger knows no sessions and no shares;
//! the proxy decides about calls.

/// Why the gateway refused a submit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Reject {
    /// The params have the wrong shape, or a field is not strict hex of its exact length.
    Malformed,
    /// Version bits outside the granted mask, or any without a grant.
    VersionBits,
    /// The ntime lies below the job's or too far ahead of it.
    NTime,
    /// The job id was never given out or has left the ring.
    JobNotFound,
    /// The job was ended by a later one with `clean_jobs`, or by its age.
    Stale,
    /// The same header was accepted before, on whichever connection.
    Duplicate,
    /// The hash does not reach the difficulty that the job was sent with.
    LowDifficulty,
    /// The worker was not authorized on this connection.
    Unauthorized,
    /// No subscription precedes the submit.
    NotSubscribed,
    /// The miner sends more than its share of submits.
    RateLimited,
    /// The pool refused the worker.
    WorkerRefused,
    /// It was good and light, and there was no room to remember it: its miner sends more than its
    /// part for one job.
    Crowded,
}

impl Reject {
    /// All reasons, in the order of their buckets.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::VersionBits,
        Self::NTime,
        Self::JobNotFound,
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Unauthorized,
        Self::NotSubscribed,
        Self::RateLimited,
        Self::WorkerRefused,
        Self::Crowded,
    ];

    /// Returns the name that status and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::VersionBits => "version_bits",
            Self::NTime => "ntime",
            Self::JobNotFound => "job_not_found",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::Unauthorized => "unauthorized",
            Self::NotSubscribed => "not_subscribed",
            Self::RateLimited => "rate_limited",
            Self::WorkerRefused => "worker_refused",
            Self::Crowded => "crowded",
        }
    }
}

/// How a pool refused a share, by the code it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum PoolReject {
    /// Code 21, or a text that says stale or job not found.
    JobNotFound,
    /// Code 22.
    Duplicate,
    /// Code 23.
    LowDifficulty,
    /// Code 24.
    Unauthorized,
    /// Code 25.
    NotSubscribed,
    /// Code 20, any other code, or no code at all.
    Other,
}

impl PoolReject {
    /// All kinds, in the order of their buckets.
    pub const ALL: [Self; 6] = [
        Self::JobNotFound,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::Unauthorized,
        Self::NotSubscribed,
        Self::Other,
    ];

    /// Reads a pool's error code.
    pub const fn from_code(code: i64) -> Self {
        match code {
            21 => Self::JobNotFound,
            22 => Self::Duplicate,
            23 => Self::LowDifficulty,
            24 => Self::Unauthorized,
            25 => Self::NotSubscribed,
            _ => Self::Other,
        }
    }

    /// Returns the code as status and metrics write it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::JobNotFound => "21",
            Self::Duplicate => "22",
            Self::LowDifficulty => "23",
            Self::Unauthorized => "24",
            Self::NotSubscribed => "25",
            Self::Other => "20",
        }
    }
}

/// Why a share that should have reached a pool will never have its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Orphan {
    /// The link had no room for another unanswered share.
    QueueFull,
    /// The link was lost before the share was sent, and did not come back in time.
    Unsent,
    /// The share was sent, then the link was lost for good before the answer.
    Unanswered,
    /// The pool came back with another extranonce1, so the work is void.
    SessionLost,
    /// The pool came back on another block, or the job left the ring before its share could be
    /// sent, so the job is dead.
    JobDead,
    /// The pool kept the link but never answered.
    NoAnswer,
    /// No pool had been live for longer than shares are held; its miner was told so.
    NoPool,
    /// The pool refused the worker before the share could be sent.
    WorkerRefused,
}

impl Orphan {
    /// All reasons, in the order of their buckets.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::Unsent,
        Self::Unanswered,
        Self::SessionLost,
        Self::JobDead,
        Self::NoAnswer,
        Self::NoPool,
        Self::WorkerRefused,
    ];

    /// Returns the name that status and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unsent => "unsent",
            Self::Unanswered => "unanswered",
            Self::SessionLost => "session_lost",
            Self::JobDead => "job_dead",
            Self::NoAnswer => "no_answer",
            Self::NoPool => "no_pool",
            Self::WorkerRefused => "worker_refused",
        }
    }
}

/// Where a submit lies; exactly one at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bucket {
    /// Accepted here; too light for the pool.
    BelowUpstream,
    /// On its way to the pool, or there without an answer yet.
    Pending,
    /// Kept while the link is down, to be sent again if the session comes back.
    Held,
    /// Accepted by the pool.
    PoolAccepted,
    /// Rejected by the pool.
    PoolRejected(PoolReject),
    /// Rejected here.
    Rejected(Reject),
    /// Accepted here and lost to the pool.
    Orphaned(Orphan),
}

const FIRST_POOL_REJECT: usize = 4;
const FIRST_REJECT: usize = FIRST_POOL_REJECT + PoolReject::ALL.len();
const FIRST_ORPHAN: usize = FIRST_REJECT + Reject::ALL.len();

impl Bucket {
    /// Number of buckets.
    pub const COUNT: usize = FIRST_ORPHAN + Orphan::ALL.len();

    const fn index(self) -> usize {
        match self {
            Self::BelowUpstream => 0,
            Self::Pending => 1,
            Self::Held => 2,
            Self::PoolAccepted => 3,
            Self::PoolRejected(kind) => FIRST_POOL_REJECT.saturating_add(kind as usize),
            Self::Rejected(reason) => FIRST_REJECT.saturating_add(reason as usize),
            Self::Orphaned(reason) => FIRST_ORPHAN.saturating_add(reason as usize),
        }
    }

    /// Iterates over all buckets.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::BelowUpstream, Self::Pending, Self::Held, Self::PoolAccepted]
            .into_iter()
            .chain(PoolReject::ALL.map(Self::PoolRejected))
            .chain(Reject::ALL.map(Self::Rejected))
            .chain(Orphan::ALL.map(Self::Orphaned))
    }

    /// Says whether a submit in this bucket can still move.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Held)
    }
}

/// The submits of one miner's connection, by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    submitted: u32,
    buckets: [u32; Bucket::COUNT],
}

impl Counts {
    /// No submit yet.
    pub const ZERO: Self = Self { submitted: 0, buckets: [0; Bucket::COUNT] };

    /// Counts a new submit into its first bucket.
    pub fn open(&mut self, bucket: Bucket) {
        self.submitted = self.submitted.wrapping_add(1);
        self.shift(bucket, 1);
    }

    /// Moves a submit from an open bucket to another.
    pub fn settle(&mut self, from: Bucket, to: Bucket) {
        self.shift(from, u32::MAX);
        self.shift(to, 1);
    }

    fn shift(&mut self, bucket: Bucket, by: u32) {
        if let Some(count) = self.buckets.get_mut(bucket.index()) {
            *count = count.wrapping_add(by);
        }
    }

    /// Returns how many submits lie in `bucket`.
    pub fn of(&self, bucket: Bucket) -> u32 {
        self.buckets.get(bucket.index()).copied().unwrap_or(0)
    }

    /// Says whether a submit can still move.
    pub fn is_open(&self) -> bool {
        [Bucket::Pending, Bucket::Held].into_iter().any(|bucket| self.of(bucket) > 0)
    }

    /// Returns how many submits came.
    pub fn submitted(&self) -> u32 {
        self.submitted
    }

    /// Returns how many submits were rejected here.
    pub fn rejected(&self) -> u32 {
        Reject::ALL.iter().fold(0, |sum: u32, r| sum.wrapping_add(self.of(Bucket::Rejected(*r))))
    }

    /// Returns how many submits were accepted here.
    pub fn accepted(&self) -> u32 {
        self.submitted.wrapping_sub(self.rejected())
    }
}

/// The submits of all miners since the start, by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
    submitted: u64,
    buckets: [u64; Bucket::COUNT],
}

impl Ledger {
    /// No submit yet.
    pub const ZERO: Self = Self { submitted: 0, buckets: [0; Bucket::COUNT] };

    /// Counts a new submit into its first bucket.
    pub fn open(&mut self, bucket: Bucket) {
        self.submitted = self.submitted.saturating_add(1);
        self.shift(bucket, 1);
    }

    /// Moves a submit from an open bucket to another.
    pub fn settle(&mut self, from: Bucket, to: Bucket) {
        assert!(from.is_open(), "a submit leaves an open bucket only, not {from:?}");
        assert!(self.of(from) > 0, "a submit leaves a bucket that holds one, not {from:?}");
        self.shift(from, u64::MAX);
        self.shift(to, 1);
    }

    fn shift(&mut self, bucket: Bucket, by: u64) {
        if let Some(count) = self.buckets.get_mut(bucket.index()) {
            *count = count.wrapping_add(by);
        }
    }

    /// Returns how many submits lie in `bucket`.
    pub fn of(&self, bucket: Bucket) -> u64 {
        self.buckets.get(bucket.index()).copied().unwrap_or(0)
    }

    /// Returns how many submits came.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Returns how many submits were accepted here.
    pub fn accepted(&self) -> u64 {
        self.below_upstream().saturating_add(self.forwarded())
    }

    /// Returns how many submits were accepted here and are too light for the pool.
    pub fn below_upstream(&self) -> u64 {
        self.of(Bucket::BelowUpstream)
    }

    /// Returns how many submits reached the pool's own target, whatever became of them.
    pub fn forwarded(&self) -> u64 {
        self.of(Bucket::Pending)
            .saturating_add(self.of(Bucket::Held))
            .saturating_add(self.of(Bucket::PoolAccepted))
            .saturating_add(self.pool_rejected())
            .saturating_add(self.orphaned())
    }

    /// Returns how many submits the pools rejected.
    pub fn pool_rejected(&self) -> u64 {
        PoolReject::ALL.iter().map(|kind| self.of(Bucket::PoolRejected(*kind))).sum()
    }

    /// Returns how many submits were rejected here.
    pub fn rejected(&self) -> u64 {
        Reject::ALL.iter().map(|reason| self.of(Bucket::Rejected(*reason))).sum()
    }

    /// Returns how many submits were accepted here and lost to the pool.
    pub fn orphaned(&self) -> u64 {
        Orphan::ALL.iter().map(|reason| self.of(Bucket::Orphaned(*reason))).sum()
    }

    /// Says whether every submit lies in exactly one bucket (invariant I1).
    pub fn check(&self) -> bool {
        self.submitted == self.accepted().saturating_add(self.rejected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_bucket_has_a_place_of_its_own() {
        let all = Bucket::all().collect::<Vec<_>>();
        assert_eq!(all.len(), Bucket::COUNT);
        for (index, bucket) in all.iter().enumerate() {
            assert_eq!(bucket.index(), index);
        }
    }

    #[test]
    fn sums_hold_whatever_happens() {
        let mut ledger = Ledger::ZERO;
        let mut counts = Counts::ZERO;
        for bucket in Bucket::all().collect::<Vec<_>>() {
            ledger.open(bucket);
            counts.open(bucket);
            assert!(ledger.check());
        }
        ledger.settle(Bucket::Pending, Bucket::Held);
        ledger.settle(Bucket::Held, Bucket::Orphaned(Orphan::SessionLost));
        ledger.settle(Bucket::Held, Bucket::PoolAccepted);
        assert!(ledger.check());
        assert_eq!(ledger.submitted(), Bucket::COUNT as u64);
        assert_eq!(ledger.rejected(), Reject::ALL.len() as u64);
        assert_eq!(ledger.of(Bucket::Orphaned(Orphan::SessionLost)), 2);
        assert_eq!(u64::from(counts.accepted()), ledger.accepted());
    }

    #[test]
    #[should_panic(expected = "leaves an open bucket only")]
    fn a_final_bucket_is_final() {
        let mut ledger = Ledger::ZERO;
        ledger.open(Bucket::PoolAccepted);
        ledger.settle(Bucket::PoolAccepted, Bucket::BelowUpstream);
    }
}
