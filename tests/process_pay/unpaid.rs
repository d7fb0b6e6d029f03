//! Pools that pay for nothing, and what an operator hears of it: F93, F94.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::clocks::Clock;
use super::gateway::{Folder, Gateway, Pool, Reply};
use super::skips::skipped;
use super::{Digger, command, dig_until, lines_of, start, sum};

/// The error that a pool has for every share; none where it takes them.
type Error = Arc<Mutex<Option<Value>>>;

/// Makes a pool refuse every share with what is in the cell.
fn refusing(pool: &Pool) -> Error {
    let error = Error::default();
    let shared = error.clone();
    pool.behave(move |request| match &*shared.lock().unwrap() {
        Some(error) if request["method"] == "mining.submit" => Reply::refusal(request, error),
        _ => Reply::Usual,
    });
    error
}

fn is_troubled(report: &Value) -> bool {
    !report["upstream"][0]["trouble"].is_null()
}

/// The gauge of the first pool.
fn is_unpaid(gateway: &Gateway) -> bool {
    let (_, metrics) = gateway.get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with("loka_upstream_unpaid{pool=\"1\""));
    let value: f64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
    value != 0.0
}

/// Checks that status, readiness and metrics say that the first pool pays for nothing.
#[track_caller]
fn assert_told(gateway: &Gateway, report: &Value, words: &str) {
    let warnings = report["warnings"].to_string().replace("\\\"", "\"");
    assert!(warnings.contains(words), "{words} is not in {warnings}");
    let (code, text) = gateway.get("/readyz");
    assert_eq!(code, 200, "miners get work");
    assert!(text.starts_with("ready, degraded\n") && text.contains(words), "{text}");
    assert!(is_unpaid(gateway));
}

/// Checks that nothing is said any more, and that the log had it once.
#[track_caller]
fn assert_over(gateway: Gateway, report: &Value, words: &str) {
    assert!(!report["warnings"].to_string().contains("shares"), "{}", report["warnings"]);
    assert_eq!(gateway.get("/readyz"), (200, "ready\n".to_owned()));
    assert!(!is_unpaid(&gateway));
    let lines = lines_of(gateway, "pool 1 ");
    let said: Vec<_> = lines.iter().filter(|line| line.contains("share")).collect();
    assert_eq!(said.len(), 2, "once, and its end: {lines:#?}");
    assert!(said[0].contains("WARN") && said[0].contains(words), "{said:?}");
    assert!(said[1].contains("pool 1 takes shares again"), "{said:?}");
}

#[test]
fn f93_a_pool_that_refuses_every_share_is_told_with_code_count_and_words_until_it_takes_them() {
    for (code, words) in
        [(24, "Unauthorized worker"), (25, "Not subscribed"), (23, "Low difficulty share of 0.25")]
    {
        let pool = Pool::start("abcd", 8);
        let error = refusing(&pool);
        *error.lock().unwrap() = Some(json!([code, words, null]));
        let gateway = start(&[pool.address], &[]);
        let mut farm = [Digger::at("127.0.0.1", &gateway, "farm.1")];
        let session = pool.link();
        let report = dig_until(&gateway, &mut farm, "a trouble", is_troubled);
        assert_eq!(report["upstream"][0]["trouble"], "refuses");
        let told = format!(": \"{words}\" (code {code})");
        if [24, 25].contains(&code) {
            // What the pool forgot may be healed by another session.
            let is_new = |report: &Value| report["ready"] == true && pool.link() != session;
            gateway.wait_for("another session", is_new);
        }
        let report = gateway.wait_for("the pool", |report| report["ready"] == true);
        assert_told(&gateway, &report, &told);
        assert!(report["warnings"].to_string().contains("pool 1 refuses shares, "), "{report}");
        let lost = sum(&report["links_lost"]);
        assert_eq!(lost, u64::from([24, 25].contains(&code)), "{}", report["links_lost"]);

        *error.lock().unwrap() = None;
        let report = dig_until(&gateway, &mut farm, "its end", |report| !is_troubled(report));
        assert_over(gateway, &report, &told);
    }
}

#[test]
fn f93_a_pool_that_answers_no_share_is_told_and_connected_anew_until_it_answers() {
    let folder = Folder::new("unanswered");
    let Some(clock) = Clock::new(&folder.0) else {
        return skipped("no C compiler, or a program that loads no libraries");
    };
    let pool = Pool::start("abcd", 8);
    pool.be_mute();
    let mut command = command(&[pool.address], &[]);
    command.envs(clock.environment());
    let gateway = Gateway::spawn(command);
    let mut farm = [Digger::at("127.0.0.1", &gateway, "farm.1")];
    let session = pool.link();
    for _ in 0..5 {
        assert_eq!(farm[0].dig()["result"], true);
    }
    gateway.wait_for("shares on their way", |report| report["ledger"]["pending"] == 5);
    pool.wait_for_submits(5);
    // A pool that says nothing at all would be another case: this one sends jobs.
    for _ in 0..3 {
        clock.pass(Duration::from_secs(20));
        pool.new_job();
        farm[0].job = farm[0].miner.wait_for_job();
    }
    let report = gateway.wait_for("a trouble, and another session", |report| {
        is_troubled(report) && report["ready"] == true && pool.link() != session
    });
    let told = "pool 1 sends jobs and answers no share: 5 unanswered";
    assert_eq!(report["upstream"][0]["trouble"], "answers_none");
    assert_told(&gateway, &report, told);
    pool.set_mute(false);
    let report = dig_until(&gateway, &mut farm, "its end", |report| !is_troubled(report));
    // The log's first line is from before another share could be left without an answer.
    assert_over(gateway, &report, told);
}

#[test]
fn f93_a_login_that_is_refused_or_ends_without_an_answer_is_told_in_the_pools_words() {
    let suspended = "Account suspended";
    let message = json!({"id": null, "method": "client.show_message", "params": [suspended]});
    let refusal = |request: &Value, error: Value| json!({"id": request["id"], "result": false, "error": error});
    type Manner = Box<dyn Fn(&Value) -> Vec<Value> + Send>;
    let cases: [(Manner, &str); 4] = [
        (Box::new(move |r| vec![refusal(r, json!(suspended))]), "the pool refused the user"),
        (
            Box::new(move |r| vec![refusal(r, json!({"code": -401, "message": suspended}))]),
            "the pool refused the user",
        ),
        (Box::new(move |r| vec![refusal(r, json!([24, suspended, null]))]), "(code 24)"),
        (
            Box::new(move |_| vec![message.clone()]),
            "closed the connection after mining.authorize, before its answer",
        ),
    ];
    for (says, happened) in cases {
        let pool = Pool::start("abcd", 8);
        pool.behave(move |request| match request["method"] == "mining.authorize" {
            true => Reply::Closes(says(request)),
            false => Reply::Usual,
        });
        let mut gateway = start(&[pool.address], &[]);
        let quoted = format!("\"{suspended}\"");
        let line = gateway.wait_for_line(happened);
        assert!(line.contains("WARN pool 1: ") && line.contains(&quoted), "{line}");
        assert!(line.contains("it is tried again in "), "{line}");
        assert!(!line.contains("check user and password"), "they may well be right: {line}");
        // While it is dialled again there is no error.
        gateway.wait_for("the pool's words in the status", |report| {
            let error = report["upstream"][0]["error"].as_str().unwrap_or_default();
            error.contains(&quoted) && error.contains(happened)
        });
        gateway.wait_for("the pool's words at /readyz", |_| {
            let (code, text) = gateway.get("/readyz");
            code == 503 && text.contains(&quoted)
        });
    }
}

#[test]
fn f93_a_switch_names_its_reason_in_log_status_and_metrics() {
    let (pool, other) = (Pool::start("aaaa", 8), Pool::start("bbbb", 8));
    let error = refusing(&pool);
    let mut gateway = start(&[pool.address, other.address], &[]);
    gateway.wait_for("both pools", |report| {
        report["upstream"][0]["active"] == true && report["upstream"][1]["state"] == "live"
    });
    *error.lock().unwrap() = Some(json!([20, "Out of order", null]));
    let mut farm = [Digger::at("127.0.0.1", &gateway, "farm.1")];
    let is_at = |report: &Value, pool: usize| report["goals"][0]["switched"]["pool"] == pool;
    let report = dig_until(&gateway, &mut farm, "the other pool", |report| is_at(report, 2));
    assert_eq!(report["upstream"][1]["active"], true);
    let line = gateway.wait_for_line("the farm mines at pool 2 now: ");
    let why = report["goals"][0]["switched"]["why"].as_str().unwrap();
    assert!(why.starts_with("pool 1 refuses shares, "), "{why}");
    assert!(why.ends_with(" in a row: \"Out of order\" (code 20)"), "{why}");
    assert!(line.contains("WARN") && line.ends_with(why), "{line} has not {why}");
    assert_eq!(sum(&report["switches"]), 1, "{}", report["switches"]);
    let reason = report["switches"].as_object().unwrap().keys().next().unwrap();
    let metric = format!("loka_switches_total{{reason=\"{reason}\"}} 1");
    assert!(gateway.get("/metrics").1.contains(&metric), "{metric}");

    // The other closes, and the first takes shares again: another reason.
    *error.lock().unwrap() = None;
    other.behave(|_| Reply::Closes(vec![]));
    other.cut("bbbb", 8);
    let report = dig_until(&gateway, &mut farm, "the first pool", |report| is_at(report, 1));
    let why = report["goals"][0]["switched"]["why"].as_str().unwrap();
    assert!(why.starts_with("pool 2: the pool closed the connection"), "{why}");
    let line = gateway.wait_for_line("the farm mines at pool 1 now: ");
    assert!(line.ends_with(why), "{line} has not {why}");
}

#[test]
fn f94_a_pool_that_takes_one_name_is_found_out_and_loses_nothing_after_that() {
    let pool = Pool::start("abcd", 8);
    // As ckpool: a second authorize has no answer, and any other name's share is refused.
    pool.behave(|request| match request["method"].as_str() {
        _ if request["params"][0] == "farm" => Reply::Usual,
        Some("mining.authorize") => Reply::Silent,
        Some("mining.submit") => Reply::refusal(request, &json!([20, "Worker mismatch", null])),
        _ => Reply::Usual,
    });
    let mut gateway = start(&[pool.address], &[("LOKA_IDENTITY__MODE", "per-worker")]);
    let begin = |n: u32, gateway: &Gateway| {
        let mut miner = gateway.miner();
        miner.send("mining.subscribe", json!(["test/1"]));
        miner.send("mining.authorize", json!([format!("farm.{n}"), "x"]));
        miner
    };
    // All wait for the pool at the same time.
    let waiting: Vec<_> = (0..3).map(|n| begin(n, &gateway)).collect();
    let mut farm: Vec<_> =
        (3..6).map(|n| Digger::at("127.0.0.1", &gateway, &format!("farm.{n}"))).collect();
    // `PATIENCE` is the minute that the pool may take to be found out.
    let one_name = |report: &Value| report["upstream"][0]["one_name"] == true;
    let report = dig_until(&gateway, &mut farm, "that it takes one name", one_name);
    let told = "pool 1 takes one worker per connection: all shares go to it under pool.1.user";
    assert!(report["warnings"].to_string().contains(told), "{}", report["warnings"]);
    let line = gateway.wait_for_line(told);
    assert!(line.contains("WARN"), "{line}");
    drop(waiting);

    let is_settled = |report: &Value| report["ledger"]["pending"] == 0;
    let before = gateway.wait_for("answers", is_settled)["ledger"].clone();
    farm.push(Digger::at("127.0.0.1", &gateway, "farm.newcomer"));
    for digger in &mut farm {
        for _ in 0..25 {
            assert_eq!(digger.dig()["result"], true);
        }
    }
    let after = gateway.wait_for("answers", is_settled)["ledger"].clone();
    let count = |ledger: &Value, key: &str| ledger[key].as_u64().unwrap();
    assert_eq!(count(&after, "pool_accepted"), count(&before, "pool_accepted") + 100);
    assert_eq!(after["pool_rejected"], before["pool_rejected"]);
    assert_eq!(after["orphaned"], before["orphaned"]);
}
