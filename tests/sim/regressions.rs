//! Seeds that once failed, by what was wrong then.
//!
//! What a seed draws changes with the simulation, so each defect also has a test of its own where
//! it was; the seeds stay because they cost nothing.

use crate::run::{Setup, checked, report};
use crate::trace::Record;

#[track_caller]
fn holds(seed: u64) {
    if let Some(broken) = checked(seed, Setup::new(Record::Hash), true).broken {
        panic!("{}", report(seed, &broken));
    }
}

/// The bits between a miner's mask and its pool's were told as zero.
#[test]
fn seed_7_version_bits_of_a_wider_mask() {
    holds(7);
}

/// A difficulty of 322 digits went to every miner.
#[test]
fn seed_45_a_difficulty_of_nearly_nothing() {
    holds(45);
}
