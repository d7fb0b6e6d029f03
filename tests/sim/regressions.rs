//! Seeds that once failed, by their defect.
//!
//! A seed's choices change with the simulation, so each defect also has its own test at its place
//! in the engine; the seeds stay because they cost nothing.

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

/// Eight told difficulties are remembered; four were too few.
#[test]
fn seed_2663_a_late_share_by_its_own_difficulty() {
    holds(2663);
}

/// A goal waited for a pool without a link.
#[test]
fn seed_2675_a_pool_without_a_link_is_not_awaited() {
    holds(2675);
}

/// A pool that did not answer an authorize had refused that worker before.
#[test]
fn seed_9732_a_worker_that_was_refused_and_asked_for_again() {
    holds(9732);
}

/// A pool remembers all its jobs.
#[test]
fn seed_203677_a_storm_of_jobs_over_a_clogged_wire() {
    holds(203_677);
}

/// A late share for a link that is not dialled again must not wait.
#[test]
fn seed_2037340_a_late_share_at_the_end() {
    holds(2_037_340);
}

/// Blocks without an answer leave room for other shares.
#[test]
fn seed_1019415_unanswered_blocks_fill_a_queue() {
    holds(1_019_415);
}

/// A job that came before its link was live is announced once the link is live.
#[test]
fn seed_3528841_a_job_before_the_authorization() {
    holds(3_528_841);
}

/// An unanswered authorize of a lost connection grants nothing on the next.
#[test]
fn seed_5123600_a_grant_of_another_connection() {
    holds(5_123_600);
}

/// Shares of a worker without the pool's answer wait no longer than its miner.
#[test]
fn seed_5147273_a_worker_that_the_pool_says_nothing_of() {
    holds(5_147_273);
}

/// A block that its pool left unanswered held its finder back for five minutes.
#[test]
fn seed_3163_an_unanswered_block_holds_its_finder_back() {
    holds(3163);
}

/// A miner of a later turn had shares with a time before its first job's.
#[test]
fn seed_32518_a_time_before_the_one_that_was_told() {
    holds(32518);
}

/// Shares for the job before were read with a mask that only the next pool allows.
#[test]
fn seed_14536_the_mask_of_another_pool() {
    holds(14536);
}

/// A pool refused one name, and had no time to answer for its login.
#[test]
fn seed_24401_a_login_on_a_way_that_stands_still() {
    holds(24401);
}

/// A session of an odd size outlived the faults, and no miner fits it.
#[test]
fn seed_35487_a_session_of_another_size() {
    holds(35487);
}

/// A pool answered a share twice, and the second answer counted for the share sent again.
#[test]
fn seed_77803_a_second_answer_to_a_share_that_is_sent_again() {
    holds(77803);
}

/// A second answer to a share came between the first shares without any.
#[test]
fn seed_102369_a_second_answer_ends_a_silence() {
    holds(102_369);
}

/// Two blocks of one miner had the same time and nonce for two jobs.
#[test]
fn seed_306038_two_blocks_of_one_time_and_nonce() {
    holds(306_038);
}

/// What a miner was told again at its first link was forgotten before what it was told meanwhile.
#[test]
fn seed_208314_a_mask_that_was_told_again() {
    holds(208_314);
}

/// A configure gave a job the difficulty of its second id under its first one too.
#[test]
fn seed_337051_a_configure_after_an_own_job() {
    holds(337_051);
}

/// A pool ended a connection in the read in which the gateway ended it too.
#[test]
fn seed_368365_a_connection_that_both_ends_close() {
    holds(368_365);
}
