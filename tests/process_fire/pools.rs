//! Pools that lie, flap, or are down, and bad routes to them: F55 to F64.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::clocks::Clock;
use super::gateway::{Folder, Gateway, PATIENCE, Pool, program, with_a_share_unanswered};
use super::lab::Part;
use super::skips::skipped;
use super::system::seconds;
use super::{memory_kib, sum};

/// A gateway with an injector before its pool.
fn behind_faults(pool: &Pool) -> (Gateway, Part) {
    let to = pool.address.to_string();
    let mut faults = Part::start(&["faults", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = faults.line("listening ").parse().unwrap();
    (Gateway::start(address, &[]), faults)
}

#[test]
fn f56_a_share_that_had_no_answer_is_sent_once_more_to_its_session_and_to_no_other() {
    let (pool, gateway, mut miner) = with_a_share_unanswered();
    gateway.wait_for("the share under way", |r| r["ledger"]["pending"] == 1);
    let sent = pool.wait_for_submits(1);
    pool.set_mute(false);
    pool.cut("abcd", 8);
    gateway.wait_for("its answer", |r| r["ledger"]["pool_accepted"] == 1);
    assert_eq!(pool.submits(), [&sent[..], &sent[..]].concat(), "the same share, once more");

    // Another extranonce1: the share's session is gone, and the pool does not receive the share.
    pool.be_mute();
    pool.new_job();
    let job = miner.wait_for_job();
    miner.submit("farm.1", &job, 2);
    gateway.wait_for("the second under way", |r| r["ledger"]["pending"] == 1);
    let sent = pool.wait_for_submits(3).len();
    pool.set_mute(false);
    pool.cut("ef01", 8);
    let lost =
        gateway.wait_for("its end", |report| report["ledger"]["orphaned"]["session_lost"] == 1);
    assert_eq!(lost["ledger"]["pool_accepted"], 1);
    assert_eq!(pool.submits().len(), sent);
    let job = miner.wait_for("a clean job", |line| line["params"][8] == true);
    assert_eq!(miner.submit("farm.1", &job, 3)["result"], true);
    gateway.wait_for("work for the new session", |r| r["ledger"]["pool_accepted"] == 2);
}

#[test]
fn f57_a_pool_that_closes_every_link_is_tried_less_and_less_and_no_miner_hears_much_of_it() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
    let start = Instant::now();
    let links_lost = |report: &serde_json::Value| sum(&report["links_lost"]);
    for losses in 1..=4 {
        gateway.wait_for("a live pool", |r| r["upstream"][0]["state"] == "live");
        pool.cut("abcd", 8);
        gateway.wait_for("the loss", |report| links_lost(report) == losses);
    }
    // After the first three losses: 1, 2 and 4 s, each less a quarter at most.
    assert!(start.elapsed() >= Duration::from_millis(5_250), "{:?}", start.elapsed());
    assert_eq!(gateway.report()["miners"]["accepted"], 1, "the miner stayed");
}

#[test]
fn f59_a_link_that_is_open_but_brings_no_job_for_two_minutes_is_made_anew() {
    let folder = Folder::new("silence");
    let Some(clock) = Clock::new(&folder.0) else {
        return skipped("no C compiler, or a program that loads no libraries");
    };
    let pool = Pool::start("abcd", 8);
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
    command.envs(clock.environment());
    let gateway = Gateway::spawn(command);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let link = pool.link();

    clock.pass(Duration::from_secs(110));
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    gateway.wait_for("its answer", |report| report["ledger"]["pool_accepted"] == 1);
    assert_eq!((sum(&gateway.report()["links_lost"]), pool.link()), (0, link), "not before");
    // Answers are no jobs.
    clock.pass(Duration::from_secs(11));
    let lost = gateway.wait_for("the loss", |report| sum(&report["links_lost"]) == 1);
    assert_eq!(lost["links_lost"]["job_silence"], 1, "{}", lost["links_lost"]);
    gateway.wait_for("the pool again", |report| report["ready"] == true);
    assert_ne!(pool.link(), link);
    // The job goes on, with a time that has moved on.
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 2)["result"], true);
    let report = gateway.wait_for("its answer", |r| r["ledger"]["pool_accepted"] == 2);
    assert_eq!(report["miners"]["connected"], 1, "the miner stayed");
}

#[test]
fn f60_a_late_or_trickling_way_to_the_pool_costs_time_only() {
    let pool = Pool::start("abcd", 8);
    let (gateway, mut faults) = behind_faults(&pool);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let mut nonce = 0;
    for fault in ["delay 700", "trickle 300", "half-open up", "half-open down"] {
        faults.tell(fault);
        // Its answer confirms that the fault has taken effect.
        faults.ask("counts");
        for _ in 0..20 {
            nonce += 1;
            assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
        }
        if fault.starts_with("half-open") {
            gateway.wait_for("shares under way", |r| r["ledger"]["pending"] == 20);
            faults.tell("pass");
        }
        gateway.wait_for(fault, |r| r["ledger"]["pool_accepted"] == nonce);
    }
    assert_eq!(sum(&gateway.report()["links_lost"]), 0);
    assert_eq!(pool.submits().len() as u32, nonce, "each once");
}

#[test]
fn f62_bytes_that_are_changed_on_the_way_harm_neither_gateway_nor_miner() {
    let pool = Pool::start("abcd", 8);
    let (gateway, mut faults) = behind_faults(&pool);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    faults.tell("corrupt");
    for nonce in 0..300 {
        // Every submit has its answer; which one depends on the job that the pool is heard to give.
        miner.submit("farm.1", &job, nonce);
        if nonce % 20 == 0 {
            pool.new_job();
            // `report` checks that the sums hold.
            gateway.report();
        }
    }
    faults.tell("reset");
    faults.tell("pass");
    gateway.wait_for("a live pool", |r| r["upstream"][0]["state"] == "live");
    let before = gateway.report()["ledger"]["pool_accepted"].as_u64().unwrap();
    pool.new_job();
    let job = miner.wait_for("a job after all that", |line| line["method"] == "mining.notify");
    assert!(job["params"][0].is_string());
    // Jobs may be many by now; the last that comes counts.
    let accepted = |r: &serde_json::Value| r["ledger"]["pool_accepted"].as_u64().unwrap() > before;
    let mut fresh = gateway.miner();
    fresh.log_in("farm.2");
    let job = fresh.wait_for_job();
    assert_eq!(fresh.submit("farm.2", &job, 1_000_000)["result"], true);
    gateway.wait_for("a share at the pool", accepted);
    assert_eq!(gateway.report()["miners"]["connected"], 2);
}

#[test]
fn f61_a_name_that_does_not_resolve_is_named_and_holds_nobody_up() {
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", "stratum+ssl://no-such-pool.invalid:3334", "--user", "farm"]);
    let mut gateway = Gateway::spawn(command);
    let mut miner = gateway.miner();
    let asked = Instant::now();
    miner.log_in("farm.1");
    assert_eq!(gateway.get("/healthz").0, 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "the resolver is not in the way");
    let line = gateway.wait_for_line("no-such-pool.invalid");
    assert!(line.contains("pool 1"), "{line}");
    gateway.wait_for("the reason", |report| {
        report["upstream"][0]["error"].as_str().is_some_and(|e| e.contains("no-such-pool.invalid"))
    });
}

#[test]
fn f62_a_web_server_in_the_pools_place_is_named_and_tried_again_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://portal/\r\n\r\n");
        }
    });
    let start = Instant::now();
    let mut gateway = Gateway::start(address, &[]);
    let line = gateway.wait_for_line("looks like HTTP");
    assert!(line.contains("captive portal"), "{line}");
    gateway.wait_for("a second try", |r| r["links_lost"]["looks_like_http"].as_u64() >= Some(2));
    assert!(start.elapsed() >= Duration::from_millis(750), "after a pause");
    assert_eq!(gateway.report()["ready"], false);
}

#[test]
fn f64_all_pools_away_for_a_while_and_every_miner_is_served_when_they_are_back() {
    away(300, Duration::ZERO);
}

#[test]
fn f64_all_pools_away_for_minutes_with_a_thousand_miners() {
    if let Some(seconds) = seconds(180, 3600) {
        away(1_000, Duration::from_secs(seconds.into()));
    }
}

/// The default of `upstream.retry_max_secs`.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Every pool is down for the time of one share per miner, and `longer`.
fn away(miners: u64, longer: Duration) {
    let pool = Pool::start("abcd", 8);
    let (gateway, mut faults) = behind_faults(&pool);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let (listen, count) = (gateway.listen[0].to_string(), miners.to_string());
    let args = ["swarm", "--connect", &listen, "--miners", &count, "--work", "paced:50"];
    let mut swarm = Part::start(&args);
    swarm.wait_for("report", "all miners at work", |report| report["ready"] == miners);
    let before = memory_kib(&gateway);
    faults.tell("refuse");
    gateway.wait_for("the loss", |report| report["ready"] == false);
    // They continue with their job; their shares are held, within bounds.
    let found = |report: &serde_json::Value| report["submitted"].as_u64().unwrap();
    let so_far = found(&swarm.ask("report"));
    swarm.wait_for("report", "300 shares more", |report| found(report) > so_far + 300);
    std::thread::sleep(longer);
    let heard = swarm.ask("report")["jobs"].as_u64().unwrap();
    faults.tell("pass");
    let back = Instant::now();
    // By then the gateway may have come to its longest pause between two attempts.
    while gateway.report()["ready"] != true {
        assert!(back.elapsed() < RETRY_MAX + PATIENCE, "{:#}", gateway.report());
        std::thread::sleep(Duration::from_millis(50));
    }
    let reached = back.elapsed();
    pool.new_job();
    swarm.wait_for("report", "a job for all", |report| {
        report["jobs"].as_u64().unwrap() >= heard + miners
    });
    let took = back.elapsed() - reached;
    assert!(took < Duration::from_secs(30), "{took:?}");
    let report = swarm.ask("quiesce");
    assert_eq!(report["disconnects"], serde_json::json!({}));
    let grown = memory_kib(&gateway).saturating_sub(before);
    assert!(grown < 2_048, "{grown} KiB more");
    let ledger = gateway.wait_for("an end of all shares", |r| {
        r["ledger"]["pending"] == 0 && r["ledger"]["held"] == 0
    });
    assert_eq!(ledger["ledger"]["submitted"], report["submitted"]);
    println!(
        "{miners} miners without a pool: reached again after {reached:?}, all served {took:?} after \
         that, {grown} KiB more"
    );
}
