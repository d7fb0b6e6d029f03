//! A way to the pool that is slow, cut or full loses no share that was answered `true`: F91.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::clocks::Clock;
use super::gateway::{Folder, Gateway, PATIENCE, Pool};
use super::lab::Part;
use super::skips::skipped;
use super::{Digger, GOALS, command, dig_until, start, sum};

/// A pool of the lab whose every job takes every hash, and a way to it that may be disturbed.
fn pool_behind_faults(more: &[&str]) -> (Part, Part, std::net::SocketAddr) {
    let of_all = ["pool", "--listen", "127.0.0.1:0", "--difficulty", "0.0000000001"];
    let mut pool = Part::start(&[&of_all[..], more].concat());
    let to = pool.line("listening ");
    let mut way = Part::start(&["faults", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = way.line("listening ").parse().unwrap();
    (pool, way, address)
}

fn swarm(gateway: &Gateway, miners: u64, work: &str) -> Part {
    let (listen, count) = (gateway.listen[0].to_string(), miners.to_string());
    let mut swarm = Part::start(&[
        "swarm",
        "--connect",
        &listen,
        "--miners",
        &count,
        "--sources",
        "8",
        "--personality",
        "antminer",
        "--work",
        "idle",
    ]);
    swarm.wait_for("report", "all miners with a job", |report| report["ready"] == miners);
    swarm.tell(&format!("work {work}"));
    swarm
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// Stops the miners and checks that every share that was answered `true` is paid for.
#[track_caller]
fn assert_all_paid(swarm: &mut Part, gateway: &Gateway, pools: &mut [&mut Part]) -> u64 {
    let told = swarm.ask("quiesce");
    let report = gateway.wait_for("an answer to every share", |report| {
        report["ledger"]["pending"] == 0 && report["ledger"]["held"] == 0
    });
    let ledger = &report["ledger"];
    assert_eq!(ledger["orphaned"]["queue_full"], 0, "{ledger:#}");
    assert_eq!(sum(&ledger["orphaned"]), 0, "{ledger:#}");
    assert_eq!(told["rejected"], serde_json::json!({}), "{told}");
    assert_eq!((&told["unanswered"], &told["pending"]), (&0.into(), &0.into()));
    assert_eq!(told["submitted"], ledger["forwarded"], "every share is for a pool");
    let paid: u64 = pools.iter_mut().map(|pool| number(&pool.ask("ledger")["accepted"])).sum();
    assert_eq!(number(&ledger["pool_accepted"]), paid);
    assert_eq!(number(&told["submitted"]), paid);
    paid
}

#[test]
fn f91_a_thousand_miners_that_send_as_fast_as_they_are_answered_lose_none_at_400_ms() {
    let (mut pool, mut way, address) = pool_behind_faults(&[]);
    let gateway = start(&[address], &[]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    way.tell("delay 200");
    way.ask("counts");
    // As many as this machine carries: 1,000 × 5 a second where it carries as many.
    let mut swarm = swarm(&gateway, 1_000, "closed:5");
    let begin = Instant::now();
    let mut most = 0;
    while number(&swarm.ask("report")["submitted"]) < 20_000 {
        assert!(begin.elapsed() < 2 * PATIENCE, "{}", swarm.ask("report"));
        most = most.max(number(&gateway.report()["ledger"]["pending"]));
    }
    let rate = 20_000.0 / begin.elapsed().as_secs_f64();
    let paid = assert_all_paid(&mut swarm, &gateway, &mut [&mut pool]);
    println!("{paid} shares, {rate:.0} a second, {most} on their way at most");
}

#[test]
fn f91_f56_a_cut_of_10_s_of_a_pool_that_resumes_costs_300_miners_no_share() {
    let (mut pool, mut way, address) = pool_behind_faults(&["--resume"]);
    let gateway = start(&[address], &[]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let mut swarm = swarm(&gateway, 300, "paced:300");
    swarm.wait_for("report", "shares", |report| number(&report["submitted"]) > 300);
    way.tell("refuse");
    let lost = gateway.wait_for("the loss", |report| report["ready"] == false);
    let back_at = number(&lost["uptime_secs"]) + 10;
    let kept =
        gateway.wait_for("the tenth second of the cut", |r| number(&r["uptime_secs"]) >= back_at);
    assert!(number(&kept["ledger"]["held"]) > 240, "{:#}", kept["ledger"]);
    way.tell("pass");
    gateway.wait_for("the pool again", |report| report["ready"] == true);
    let paid = assert_all_paid(&mut swarm, &gateway, &mut [&mut pool]);
    println!("{paid} shares, {} of them held at the end of the cut", kept["ledger"]["held"]);
}

#[test]
fn f91_of_two_goals_the_one_whose_pool_does_not_answer_is_credited_with_what_it_paid_for_only() {
    let folder = Folder::new("split");
    let Some(clock) = Clock::new(&folder.0) else {
        return skipped("no C compiler, or a program that loads no libraries");
    };
    let pools = [Pool::start("aaaa", 8), Pool::start("bbbb", 8)];
    let mut command = command(&[pools[0].address, pools[1].address], &GOALS);
    command.envs(clock.environment());
    let gateway = Gateway::spawn(command);
    gateway.wait_for("both pools", |report| {
        (0..2).all(|pool| report["upstream"][pool]["state"] == "live")
    });
    // Work is counted from when both can be served, which is looked at now and then.
    clock.pass(Duration::from_secs(5));
    let mut farm: Vec<_> =
        (0..4).map(|n| Digger::at("127.0.0.1", &gateway, &format!("farm.{n}"))).collect();
    let heard = |pool: usize| pools[pool].submits().len();
    dig_until(&gateway, &mut farm, "work for both", |_| (0..2).all(|pool| heard(pool) >= 100));
    gateway.wait_for("their answers", |report| report["ledger"]["pending"] == 0);
    pools[1].be_mute();
    let paid = heard(1);
    dig_until(&gateway, &mut farm, "work in vain", |_| heard(1) >= paid + 200);
    let report = gateway.wait_for("the other's answers", |report| {
        number(&report["ledger"]["pending"]) == (heard(1) - paid) as u64
    });
    let part = |report: &Value, goal: usize| report["goals"][goal]["part"].as_f64().unwrap();
    let of_sent = heard(1) as f64 / (heard(0) + heard(1)) as f64;
    assert!((part(&report, 1) - of_sent).abs() < 0.01, "{of_sent} of {:#}", report["goals"]);
    // It sends jobs, and no answers for half a minute.
    for _ in 0..2 {
        clock.pass(Duration::from_secs(16));
        pools.iter().for_each(Pool::new_job);
        farm.iter_mut().for_each(|digger| drop(digger.miner.wait_for_job()));
    }
    let lost = (heard(1) - paid) as u64;
    let is_lost = |report: &Value| report["ledger"]["orphaned"]["no_answer"] == lost;
    gateway.wait_for("the end of what was not answered", is_lost);
    let of_paid = paid as f64 / (heard(0) + paid) as f64;
    gateway.wait_for("that it is credited with what it paid for", |report| {
        (part(report, 1) - of_paid).abs() < 0.01
    });
}
