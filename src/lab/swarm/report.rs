//! The swarm's counts of the server's lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lab::net::Traffic;

/// Most refusal texts with separate counters.
const REASONS_MAX: usize = 32;

/// Everything that a swarm counts, as printed at its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub miners: u64,
    /// Connected miners, and those with a job.
    pub connected: u64,
    pub ready: u64,
    pub connects: u64,
    pub connect_failures: u64,
    /// Ended connections by cause, without the swarm's own stop.
    pub disconnects: BTreeMap<String, u64>,
    pub submitted: u64,
    pub accepted: u64,
    /// Refused submits by the refusal's code; 0 without a code.
    pub rejected: BTreeMap<i64, u64>,
    pub reasons: BTreeMap<String, u64>,
    /// Submits whose connection ended before the answer.
    pub unanswered: u64,
    /// Submits whose answer is still awaited.
    pub pending: u64,
    pub traffic: Traffic,
    pub jobs: u64,
    pub clean_jobs: u64,
    /// Longest time that a connected miner was without a new job, in milliseconds.
    pub job_gap_max_ms: u64,
    pub difficulties_set: u64,
    pub extranonces_set: u64,
    pub masks_set: u64,
    pub messages_shown: u64,
    /// Violations by the server, by kind: unreadable lines, answers without a request, …
    pub violations: BTreeMap<String, u64>,
    pub hashes: u64,
    /// From a submit's write to its answer's reading.
    pub latency: Latency,
    /// From the connect call to the first job.
    pub ready_after: Latency,
    /// From the first connect call until every miner had a job, once all have one.
    pub all_ready_ms: Option<f64>,
    /// The last jobs and when they came.
    pub jobs_seen: Vec<JobSeen>,
    pub by_personality: BTreeMap<String, ByPersonality>,
}

/// Quantiles of a time, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// One job's way to all miners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSeen {
    /// When the first and the last miner read it, in microseconds since 1970.
    pub first_at_micros: u64,
    pub last_at_micros: u64,
    pub count: u64,
    pub line_bytes: u64,
}

/// Counts of the miners of one firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByPersonality {
    pub miners: u64,
    pub submitted: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub disconnects: u64,
}

impl Report {
    /// Returns all refused submits.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Returns all ended connections.
    pub fn disconnects_total(&self) -> u64 {
        self.disconnects.values().sum()
    }

    /// Returns `true` if every submit is counted in exactly one place.
    pub fn is_balanced(&self) -> bool {
        self.submitted == self.accepted + self.rejected_total() + self.unanswered + self.pending
    }

    /// Counts one refusal.
    pub fn reject(&mut self, code: i64, reason: &str) {
        *self.rejected.entry(code).or_default() += 1;
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(reason) {
            count(&mut self.reasons, reason);
        }
    }
}

/// Adds one to the counter of that name.
pub fn count(counters: &mut BTreeMap<String, u64>, name: &str) {
    match counters.get_mut(name) {
        Some(counter) => *counter += 1,
        None => {
            counters.insert(name.to_owned(), 1);
        }
    }
}
