//! The pool's ledger, independent of the gateway's.

use serde::{Deserialize, Serialize};

use crate::lab::net::Traffic;

/// Number of remembered pushes.
const PUSHES_KEPT: usize = 64;

/// All counts of the pool. Each submit is in `accepted` or in one field of `rejected`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Number of starts of the pool with this ledger.
    pub starts: u64,
    pub connections: Connections,
    pub traffic: Traffic,
    /// Bytes under TLS, its records and handshakes included; 0 without TLS.
    pub wire_bytes_in: u64,
    pub wire_bytes_out: u64,
    /// Names that were authorized, counted once per connection.
    pub authorized: u64,
    pub submitted: u64,
    pub accepted: u64,
    pub rejected: Rejected,
    /// Accepted shares that also met the network's target.
    pub blocks: u64,
    /// Sum of the target difficulties of the accepted shares.
    pub accepted_difficulty: f64,
    /// Jobs made, and how many of them had a new previous block.
    pub jobs: u64,
    pub clean_jobs: u64,
    /// The last pushes of a job to all connections, oldest first.
    pub pushes: Vec<Push>,
}

/// Connections by state and by the cause of their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub opened: u64,
    pub open: u64,
    /// Connections that ended without a TLS session.
    pub tls_failed: u64,
    pub closed: u64,
    /// Closed by the pool: cut on demand, or the peer broke the protocol or did not read.
    pub cut: u64,
}

/// Refused submits by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    pub unknown_job: u64,
    pub stale: u64,
    pub duplicate: u64,
    pub low_difficulty: u64,
    pub unauthorized: u64,
    pub not_subscribed: u64,
    pub version_bits: u64,
    pub ntime: u64,
    pub extranonce2: u64,
    pub malformed: u64,
}

impl Rejected {
    /// Adds the refusals of another pool.
    pub const fn add(&mut self, other: &Self) {
        self.unknown_job += other.unknown_job;
        self.stale += other.stale;
        self.duplicate += other.duplicate;
        self.low_difficulty += other.low_difficulty;
        self.unauthorized += other.unauthorized;
        self.not_subscribed += other.not_subscribed;
        self.version_bits += other.version_bits;
        self.ntime += other.ntime;
        self.extranonce2 += other.extranonce2;
        self.malformed += other.malformed;
    }

    /// Returns all refused submits.
    pub const fn total(&self) -> u64 {
        self.unknown_job
            + self.stale
            + self.duplicate
            + self.low_difficulty
            + self.unauthorized
            + self.not_subscribed
            + self.version_bits
            + self.ntime
            + self.extranonce2
            + self.malformed
    }
}

/// One push of a job to every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// When the first byte was written, in microseconds since 1970.
    pub at_micros: u64,
    /// Connections that received it.
    pub connections: u64,
    /// Duration of the writes, in microseconds.
    pub took_micros: u64,
}

impl Ledger {
    /// Remembers a push in place of the oldest one.
    pub fn push(&mut self, push: Push) {
        if self.pushes.len() >= PUSHES_KEPT {
            self.pushes.remove(0);
        }
        self.pushes.push(push);
    }

    /// Adds the shares, blocks and traffic of another pool.
    pub fn add(&mut self, other: &Self) {
        self.traffic.lines_in += other.traffic.lines_in;
        self.traffic.lines_out += other.traffic.lines_out;
        self.submitted += other.submitted;
        self.accepted += other.accepted;
        self.blocks += other.blocks;
        self.rejected.add(&other.rejected);
    }

    /// Returns `true` if every submit is counted in exactly one place.
    pub const fn is_balanced(&self) -> bool {
        self.submitted == self.accepted + self.rejected.total()
    }
}
