//! Who connects is served while a place is free, however often all others come and go: F88.

use std::time::Duration;

use socket2::SockRef;

use super::gateway::Pool;
use super::{Digger, assert_apart, know_shares, start, sum};

const MINERS: usize = 64;

#[test]
fn f88_a_full_table_loses_all_connections_six_times_and_everybody_mines_each_time() {
    for extranonce2_size in [3, 4, 8] {
        let pool = Pool::start("abcd", extranonce2_size);
        // Every miner begins at the first nonce each time: what it finds is new all the same.
        know_shares(&pool);
        let gateway = start(&[pool.address], &[("LOKA_MINERS__MAX", &MINERS.to_string())]);
        for round in 1..=6 {
            let mut farm: Vec<_> = (0..MINERS)
                .map(|n| Digger::at("127.0.0.1", &gateway, &format!("farm.{n}")))
                .collect();
            assert_apart(&farm);
            for digger in &mut farm {
                assert_eq!(digger.dig()["result"], true, "round {round}");
                if round % 2 == 0 {
                    let socket = SockRef::from(digger.miner.stream());
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
            drop(farm);
            gateway.wait_for("the end of all", |report| report["miners"]["connected"] == 0);
        }
        let report = gateway.wait_for("the pool's answers", |r| r["ledger"]["pending"] == 0);
        let all = 6 * MINERS;
        assert_eq!(report["ledger"]["pool_accepted"], all, "{:#}", report["ledger"]);
        assert_eq!(report["miners"]["accepted"], all);
        assert_eq!(sum(&report["miners"]["refused"]), 0, "{}", report["miners"]);
        assert!(report["miners"]["ended"]["ids_exhausted"].is_null(), "{}", report["miners"]);
    }
}

#[test]
fn f88_one_address_that_comes_and_goes_3_000_times_keeps_no_newcomer_out() {
    let pool = Pool::start("abcd", 8);
    know_shares(&pool);
    let gateway = start(&[pool.address], &[("LOKA_MINERS__MAX", &MINERS.to_string())]);
    let mut honest = vec![];
    let mut shares = 0;
    for visit in 0..3_000 {
        let mut visitor = Digger::at("127.0.0.2", &gateway, "farm.visitor");
        // Who finds a share has used its space up, and the next needs another.
        if visit % 3 == 0 {
            assert_eq!(visitor.dig()["result"], true);
            shares += 1;
        }
        if visit % 100 == 0 {
            honest.push(Digger::at("127.0.0.3", &gateway, "farm.honest"));
            for digger in &mut honest {
                assert_eq!(digger.dig()["result"], true, "after {visit} visits");
                shares += 1;
            }
            assert_apart(honest.iter().chain([&visitor]));
        }
    }
    let report = gateway.wait_for("the pool's answers", |r| {
        r["ledger"]["pending"] == 0 && r["miners"]["connected"] == honest.len()
    });
    assert_eq!(report["ledger"]["pool_accepted"], shares, "{:#}", report["ledger"]);
    assert_eq!(report["miners"]["accepted"], 3_000 + honest.len());
    assert_eq!(sum(&report["miners"]["refused"]), 0, "{}", report["miners"]);
}
