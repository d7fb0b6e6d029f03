//! Pool and swarm against each other, without a gateway between them.

use super::*;
use crate::lab::personality::ALL;
use crate::lab::pool::{self, Change, Pool};

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} within 10 s");
}

fn easy_pool() -> pool::Options {
    pool::Options { difficulty: 2f64.powi(-20), ..pool::Options::default() }
}

/// Both ends agree on every count once no share is in flight.
#[track_caller]
fn check_books(report: &Report, ledger: &pool::ledger::Ledger) {
    assert!(report.is_balanced(), "{report:?}");
    assert!(ledger.is_balanced(), "{ledger:?}");
    assert_eq!(report.violations, Default::default());
    assert_eq!(report.submitted, ledger.submitted);
    assert_eq!(report.accepted, ledger.accepted);
    assert_eq!(report.rejected_total(), ledger.rejected.total());
}

#[test]
fn every_personality_mines_and_both_books_agree() {
    let pool = Pool::start(easy_pool()).expect("a pool");
    let miners = 2 * ALL.len();
    let options = Options { miners, ..Options::new(pool.addr) };
    let swarm = Swarm::start(options).expect("a swarm");
    wait_until("shares of every personality", || {
        let report = swarm.report();
        report.by_personality.len() * 2 == miners
            && report.by_personality.values().all(|it| it.accepted >= 2)
    });
    pool.push_block();
    pool.push_job();
    let report = swarm.quiesce();
    let ledger = pool.ledger();
    check_books(&report, &ledger);
    assert_eq!(report.connected, miners as u64);
    assert_eq!(report.disconnects_total(), 0);
    assert_eq!(ledger.rejected.total() - ledger.rejected.stale, 0, "{:?}", ledger.rejected);
}

#[test]
fn miners_come_back_to_a_pool_with_other_sizes() {
    let pool = Pool::start(easy_pool()).expect("a pool");
    let swarm = Swarm::start(Options { miners: 12, ..Options::new(pool.addr) }).expect("a swarm");
    wait_until("first shares", || swarm.report().accepted > 50);
    pool.down();
    wait_until("all gone", || swarm.report().connected == 0);
    pool.up(Change { extranonce1_size: Some(5), extranonce2_size: Some(3), version_mask: None });
    let before = swarm.report().accepted;
    wait_until("all back", || swarm.report().ready == 12);
    wait_until("more shares", || swarm.report().accepted > before + 50);
    let report = swarm.quiesce();
    assert!(report.is_balanced(), "{report:?}");
    assert_eq!(report.rejected, Default::default());
    assert_eq!(pool.ledger().starts, 2);
}

#[test]
fn firmware_that_needs_version_rolling_leaves_without_it() {
    let pool = Pool::start(pool::Options { version_mask: 0, ..easy_pool() }).expect("a pool");
    let options = Options {
        miners: 1,
        cast: "apollo".parse().expect("a personality"),
        ..Options::new(pool.addr)
    };
    let swarm = Swarm::start(options).expect("a swarm");
    wait_until("it left", || {
        swarm.report().disconnects.contains_key("configure answer not accepted")
    });
    assert_eq!(swarm.report().submitted, 0);
}

#[test]
fn extranonce_and_difficulty_can_change_under_way() {
    let pool = Pool::start(easy_pool()).expect("a pool");
    let options = Options {
        miners: 4,
        cast: "nerdqaxe".parse().expect("a personality"),
        ..Options::new(pool.addr)
    };
    let swarm = Swarm::start(options).expect("a swarm");
    wait_until("first shares", || swarm.report().accepted > 20);
    pool.change_extranonce();
    pool.ask(2f64.powi(-18));
    let before = swarm.report().accepted;
    wait_until("more shares", || swarm.report().accepted > before + 20);
    let report = swarm.quiesce();
    let ledger = pool.ledger();
    check_books(&report, &ledger);
    assert_eq!(ledger.rejected.total() - ledger.rejected.stale, 0, "{:?}", ledger.rejected);
    assert_eq!(report.extranonces_set, 4);
}

#[test]
fn a_closed_loop_keeps_every_miner_at_its_count() {
    let options = pool::Options { difficulty: 2f64.powi(-40), ..pool::Options::default() };
    let pool = Pool::start(options).expect("a pool");
    let options = Options { miners: 8, work: Work::Idle, ..Options::new(pool.addr) };
    let swarm = Swarm::start(options).expect("a swarm");
    wait_until("all ready", || swarm.report().ready == 8);
    swarm.work(Work::Closed { at_a_time: 8 });
    wait_until("shares", || swarm.report().accepted > 2_000);
    let report = swarm.quiesce();
    check_books(&report, &pool.ledger());
    assert!(report.latency.count >= 2_000);
    assert_eq!(report.rejected, Default::default());
}
