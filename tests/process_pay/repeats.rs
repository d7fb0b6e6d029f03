//! A share counts once, and who sends it again moves nobody's farm: F90.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::gateway::{Pool, Reply};
use super::{Digger, connect_from, start, sum, work_of};

/// Nonces from here on are shares that the pool knows already, by whatever way.
const KNOWN_TO_POOL: u32 = 5_000;

fn nonce(share: &Value) -> u32 {
    u32::from_str_radix(share[4].as_str().unwrap(), 16).unwrap()
}

#[test]
fn f90_a_ring_of_64_shares_is_refused_each_time_and_its_sender_is_named_and_moves_nobody() {
    let (pool, other) = (Pool::start("aaaa", 8), Pool::start("bbbb", 8));
    pool.behave(|request| {
        let is_known =
            request["method"] == "mining.submit" && nonce(&request["params"]) >= KNOWN_TO_POOL;
        match is_known {
            true => Reply::refusal(request, &json!([22, "Duplicate share", null])),
            false => Reply::Usual,
        }
    });
    let environment =
        [("LOKA_UPSTREAM__HEALTHY_SECS", "10"), ("LOKA_LISTEN__PER_ADDRESS_MAX", "2")];
    let mut gateway = start(&[pool.address, other.address], &environment);
    gateway.wait_for("both pools, trusted", |report| {
        report["upstream"][0]["active"] == true
            && (0..2).all(|pool| report["upstream"][pool]["circuit"] == "closed")
    });
    let mut honest = Digger::at("127.0.0.3", &gateway, "farm.honest");
    let mut ring = Digger::at("127.0.0.2", &gateway, "farm.ring");
    let ring_job = ring.job.clone();
    // Who knocks at the door in vain does not hide what is said of the ring.
    let _knocks = [(); 4].map(|()| connect_from("127.0.0.4", &gateway));
    gateway.wait_for_line("miner from 127.0.0.4");
    let shares: Vec<_> =
        (1..=64).map(|nonce| ring.miner.share("farm.ring", &ring_job, nonce)).collect();
    for share in &shares {
        assert_eq!(ring.submit(share.clone())["result"], true);
    }
    for round in 0..3 {
        assert_eq!(honest.dig()["result"], true);
        for share in &shares {
            let answer = ring.submit(share.clone());
            assert_eq!(answer["error"][0], 22, "{answer} in round {round}");
            assert_ne!(answer["result"], true);
        }
    }
    let line = gateway.wait_for_line("miner 127.0.0.2, worker farm.ring, sent ");
    assert!(line.contains("WARN") && line.contains("that were taken before"), "{line}");
    let report = gateway.wait_for("the pool's answers", |r| r["ledger"]["pending"] == 0);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("miner 127.0.0.2, worker farm.ring, repeats shares"), "{warnings}");
    assert!(!warnings.contains("127.0.0.3"), "{warnings}");
    assert_eq!(report["ledger"]["rejected"]["duplicate"], 3 * 64);
    assert_eq!(report["ledger"]["pool_accepted"], 64 + 3);
    let heard: Vec<_> = pool.submits().iter().map(work_of).collect();
    assert_eq!(heard.len(), 64 + 3);
    assert_eq!(heard.iter().collect::<HashSet<_>>().len(), heard.len(), "each once");

    // Shares that only the pool knows as duplicates are their sender's as well.
    ring.nonce = KNOWN_TO_POOL;
    for _ in 0..40 {
        ring.dig();
        assert_eq!(honest.dig()["result"], true);
    }
    let report = gateway.wait_for("the pool's answers", |report| {
        report["ledger"]["pool_accepted"] == 64 + 3 + 40 && report["ledger"]["pending"] == 0
    });
    assert_eq!(report["ledger"]["pool_rejected"]["22"], 40, "{:#}", report["ledger"]);
    assert_eq!(report["upstream"][0]["circuit"], "closed", "{:#}", report["upstream"]);
    assert_eq!(report["upstream"][0]["active"], true);
    assert_eq!(sum(&report["switches"]), 0, "{}", report["switches"]);
    assert_eq!(other.submits(), [Value::Null; 0]);
}
