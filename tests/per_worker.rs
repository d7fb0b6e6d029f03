//! `identity.mode = "per-worker"`: each miner's own worker is authorized on the farm's one link,
//! and its shares go to the pool under that name.

mod farm;

use farm::{Farm, TRIVIAL, notified, notify, options, parse, set_difficulty};
use loka_stratum::identity::Identity;
use loka_stratum::ledger::{Bucket, Orphan, Reject};
use loka_stratum::limits::{
    AUTHORIZATION_WAIT_MAX, AUTHORIZATIONS_MAX, WORKER_NAME_BYTES_MAX, WORKERS_PER_MINER_MAX,
};
use loka_stratum::proxy::{Event, Options, VerdictMode};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use serde_json::{Value, json};

fn per_worker(pools: usize) -> Options {
    Options { identity: Identity::PerWorker, ..options(pools) }
}

fn live() -> (Farm, LinkIndex) {
    let mut farm = Farm::with(64, per_worker(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    (farm, link)
}

/// The pool's received requests of one method.
fn heard(farm: &mut Farm, link: LinkIndex, method: &str) -> Vec<Value> {
    let lines = farm.pool_hears(link);
    lines.iter().map(|line| parse(line)).filter(|line| line["method"] == method).collect()
}

/// The pool's received authorize requests, with their names.
fn asked(farm: &mut Farm, link: LinkIndex) -> Vec<(String, Value)> {
    let requests = heard(farm, link, "mining.authorize");
    let name = |line: &Value| line["params"][0].as_str().unwrap().to_owned();
    requests.iter().map(|line| (name(line), line["id"].clone())).collect()
}

#[track_caller]
fn only<T: Clone>(all: &[T]) -> T {
    assert_eq!(all.len(), 1);
    all[0].clone()
}

/// The pool's answer to one of them.
fn says(farm: &mut Farm, link: LinkIndex, id: &Value, yes: bool) {
    let line = match yes {
        true => json!({"id": id, "result": true, "error": null}),
        false => json!({"id": id, "result": null, "error": [24, "Unauthorized worker", null]}),
    };
    farm.pool_says(link, &line.to_string());
}

/// The output due to a miner, after the engine has listed it.
#[track_caller]
fn due(farm: &mut Farm, miner: MinerHandle) -> Vec<String> {
    assert!(farm.wanting().contains(&miner), "the miner is named");
    farm.due(miner)
}

/// A miner whose worker the pool accepts, and its job.
#[track_caller]
fn granted(farm: &mut Farm, link: LinkIndex, worker: &str) -> (MinerHandle, Value) {
    let (miner, heard) = farm.miner(worker);
    assert_eq!(heard.len(), 1, "the answer to subscribe alone: {heard:?}");
    let (_, id) = only(&asked(farm, link));
    says(farm, link, &id, true);
    let heard = due(farm, miner);
    assert_eq!(parse(&heard[0]), json!({"id": 2, "result": true, "error": null}));
    (miner, notified(&heard))
}

fn share(worker: &str, job: &Value, nonce: u32) -> Value {
    json!([worker, job[0], "0000000a", job[7], format!("{nonce:08x}")])
}

/// The same for a miner that subscribed before any pool was known, and has less to roll.
fn early_share(worker: &str, job: &Value, nonce: u32) -> Value {
    json!([worker, job[0], "000a", job[7], format!("{nonce:08x}")])
}

/// The workers of the pool's received shares, in order.
fn submitted(farm: &mut Farm, link: LinkIndex) -> Vec<String> {
    let shares = heard(farm, link, "mining.submit");
    shares.iter().map(|line| line["params"][0].as_str().unwrap().to_owned()).collect()
}

fn of(farm: &Farm, bucket: Bucket) -> u64 {
    farm.proxy.ledger().of(bucket)
}

#[test]
fn each_miner_works_under_its_own_name() {
    let (mut farm, link) = live();
    let (first, job) = granted(&mut farm, link, "farm.s19");
    let (second, _) = granted(&mut farm, link, "s21");
    assert_eq!(farm.submit(first, share("farm.s19", &job, 1))["result"], true);
    assert_eq!(farm.submit(second, share("s21", &job, 2))["result"], true);
    assert_eq!(submitted(&mut farm, link), ["farm.s19", "farm.s21"]);
    assert_eq!(of(&farm, Bucket::Pending), 2);
}

#[test]
fn single_asks_for_no_worker() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    farm.submit(miner, share("farm.s19", &notified(&heard), 1));
    let lines = farm.pool_hears(link);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(parse(&lines[0])["params"][0], "farm.gateway");
}

#[test]
fn f18_a_pool_that_refuses_a_worker_hurts_no_other() {
    let (mut farm, link) = live();
    let (good, job) = granted(&mut farm, link, "farm.s19");
    let (bad, _) = farm.miner("farm.bad");
    let (_, id) = only(&asked(&mut farm, link));
    says(&mut farm, link, &id, false);
    let refused =
        json!({"id": 2, "result": null, "error": [24, "worker refused by the pool", null]});
    assert_eq!(due(&mut farm, bad).iter().map(|line| parse(line)).collect::<Vec<_>>(), [refused]);
    assert_eq!(farm.submit(bad, share("farm.bad", &job, 1))["error"][0], 24);
    assert_eq!(farm.submit(good, share("farm.s19", &job, 2))["result"], true);
    assert_eq!(submitted(&mut farm, link), ["farm.s19"]);
    assert_eq!(farm.proxy.workers_refused(), 1);
    assert!(farm.proxy.miner(bad).unwrap().is_refused());
    assert!(!farm.proxy.miner(good).unwrap().is_refused());
    let events: Vec<Event> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert!(events.contains(&Event::WorkerRefused { link }));
    // A repeated authorize is answered here, and counts against the miner's budget.
    let again = farm.send(bad, r#"{"id":5,"method":"mining.authorize","params":["farm.bad"]}"#);
    assert_eq!(parse(&again[0])["error"][0], 24);
    assert!(asked(&mut farm, link).is_empty());
}

#[test]
fn f18_a_worker_that_is_refused_later_has_its_submits_refused() {
    let mut farm = Farm::with(8, per_worker(1));
    // No pool is live yet, so no authorize is sent.
    let (bad, heard) = farm.miner("farm.bad");
    assert_eq!(parse(&heard[1])["result"], true);
    let (good, _) = farm.miner("farm.s19");
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let job = notified(&due(&mut farm, bad));
    due(&mut farm, good);
    let requests = asked(&mut farm, link);
    assert_eq!(requests.len(), 2);
    // Before the pool's answer a share is accepted, and waits.
    assert_eq!(farm.submit(bad, early_share("farm.bad", &job, 1))["result"], true);
    assert_eq!(farm.submit(good, early_share("farm.s19", &job, 2))["result"], true);
    assert!(submitted(&mut farm, link).is_empty());
    for (name, id) in requests {
        says(&mut farm, link, &id, name != "farm.bad");
    }
    assert_eq!(submitted(&mut farm, link), ["farm.s19"]);
    assert_eq!(of(&farm, Bucket::Orphaned(Orphan::WorkerRefused)), 1);
    let answer = farm.submit(bad, early_share("farm.bad", &job, 3));
    assert_eq!(answer["error"], json!([24, "worker refused by the pool", null]));
    assert_eq!(of(&farm, Bucket::Rejected(Reject::WorkerRefused)), 1);
}

#[test]
fn i4_a_share_keeps_its_name_when_its_miner_is_gone() {
    let mut farm = Farm::with(8, per_worker(1));
    let (miner, _) = farm.miner("farm.s19");
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let job = notified(&due(&mut farm, miner));
    farm.submit(miner, early_share("farm.s19", &job, 1));
    only(&asked(&mut farm, link));
    // The asking miner is gone, so the share's own authorize is sent.
    farm.proxy.handle_disconnect(miner);
    let (name, id) = only(&asked(&mut farm, link));
    assert_eq!(name, "farm.s19");
    says(&mut farm, link, &id, true);
    assert_eq!(submitted(&mut farm, link), ["farm.s19"]);

    // Without an answer the link breaks and the pool resumes the session: the share is resent under
    // the same name.
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.handshake(link, "c0ffee01", 8);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-1", 1, false));
    assert!(of(&farm, Bucket::Pending) == 1, "{:?}", farm.proxy.ledger());
    let lines: Vec<Value> = farm.pool_hears(link).iter().map(|line| parse(line)).collect();
    let request = only(&lines);
    assert_eq!(
        (&request["method"], &request["params"][0]),
        (&json!("mining.authorize"), &json!("farm.s19"))
    );
    says(&mut farm, link, &request["id"], true);
    assert_eq!(submitted(&mut farm, link), ["farm.s19"]);
}

#[test]
fn another_connection_of_the_link_is_asked_again() {
    let (mut farm, link) = live();
    let (miner, _) = granted(&mut farm, link, "farm.s19");
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee02", 8, TRIVIAL);
    let (name, id) = only(&asked(&mut farm, link));
    assert_eq!(name, "farm.s19");
    let job = notified(&due(&mut farm, miner));
    farm.submit(miner, share("farm.s19", &job, 1));
    assert!(submitted(&mut farm, link).is_empty());
    says(&mut farm, link, &id, true);
    assert_eq!(submitted(&mut farm, link), ["farm.s19"]);
}

#[test]
fn i4_what_a_lost_connection_left_unanswered_grants_nothing_on_the_next() {
    let (mut farm, link) = live();
    let (miner, job) = granted(&mut farm, link, "farm.s19");
    farm.send(miner, r#"{"id":9,"method":"mining.authorize","params":["farm.more","x"]}"#);
    only(&asked(&mut farm, link));
    farm.submit(miner, share("farm.more", &job, 1));
    farm.pool_lost(link);
    // The pool's time for an answer passes.
    farm.wait(AUTHORIZATION_WAIT_MAX + Duration::from_secs(2));
    let link = farm.dialled();
    farm.handshake(link, "c0ffee01", 8);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-1", 1, false));
    let lines: Vec<Value> = farm.pool_hears(link).iter().map(|line| parse(line)).collect();
    assert!(!lines.is_empty());
    for request in lines {
        assert_eq!(request["method"], "mining.authorize", "before any share of that name");
        says(&mut farm, link, &request["id"], true);
    }
    assert_eq!(submitted(&mut farm, link), ["farm.more"]);
}

#[test]
fn requests_in_flight_are_bounded_and_all_are_asked_in_the_end() {
    let mut farm = Farm::with(64, per_worker(1));
    let count = 3 * AUTHORIZATIONS_MAX;
    for number in 0..count {
        farm.miner(&format!("farm.{number}"));
    }
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let mut names = vec![];
    loop {
        let requests = asked(&mut farm, link);
        assert!(requests.len() <= AUTHORIZATIONS_MAX);
        if requests.is_empty() {
            break;
        }
        for (name, id) in requests {
            says(&mut farm, link, &id, true);
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_burst_of_miners_on_a_live_link_is_asked_for_too() {
    let (mut farm, link) = live();
    let count = 3 * AUTHORIZATIONS_MAX;
    let miners: Vec<_> = (0..count).map(|n| farm.miner(&format!("farm.{n}")).0).collect();
    for _ in 0..4 {
        for (_, id) in asked(&mut farm, link) {
            says(&mut farm, link, &id, true);
        }
    }
    for miner in miners {
        notified(&due(&mut farm, miner));
    }
}

#[test]
fn f41_a_pool_that_keeps_silent_holds_nobody_up() {
    let (mut farm, link) = live();
    let (granted, job) = granted(&mut farm, link, "farm.s19");
    let (miner, heard) = farm.miner("farm.other");
    assert_eq!(heard.len(), 1);
    // A second worker of the working miner: its share waits for the pool's answer.
    farm.send(granted, r#"{"id":9,"method":"mining.authorize","params":["farm.more","x"]}"#);
    farm.submit(granted, share("farm.more", &job, 1));
    assert!(submitted(&mut farm, link).is_empty());
    farm.wait(AUTHORIZATION_WAIT_MAX + Duration::from_secs(1));
    assert_eq!(submitted(&mut farm, link), ["farm.more"], "the pool judges the share itself");
    let heard = due(&mut farm, miner);
    assert_eq!(parse(&heard[0])["result"], true);
    farm.submit(miner, share("farm.other", &notified(&heard), 1));
    assert_eq!(submitted(&mut farm, link), ["farm.other"]);
}

#[test]
fn f17_names_are_exact_or_refused() {
    let (mut farm, link) = live();
    let (_, _) = granted(&mut farm, link, "farm.s19 \"hall\" \\ é");
    let longest = "w".repeat(WORKER_NAME_BYTES_MAX - "farm.".len());
    let (miner, _) = farm.miner(&longest);
    let (name, id) = only(&asked(&mut farm, link));
    assert_eq!(name, format!("farm.{longest}"));
    says(&mut farm, link, &id, true);
    due(&mut farm, miner);
    // One more byte fits the miner's limit, but not the pool's.
    let (_, heard) = farm.miner(&format!("{longest}w"));
    assert_eq!(parse(&heard[1])["error"][0], 24);
    assert!(asked(&mut farm, link).is_empty());
}

#[test]
fn f16_several_workers_on_a_connection_keep_their_names() {
    let (mut farm, link) = live();
    let (miner, job) = granted(&mut farm, link, "farm.a");
    let heard = farm.send(miner, r#"{"id":3,"method":"mining.authorize","params":["farm.b","x"]}"#);
    assert!(heard.is_empty(), "{heard:?}");
    let (_, id) = only(&asked(&mut farm, link));
    says(&mut farm, link, &id, true);
    assert_eq!(parse(&due(&mut farm, miner)[0])["id"], 3);
    for (nonce, worker) in ["farm.b", "farm.a", "farm.b"].into_iter().enumerate() {
        farm.submit(miner, share(worker, &job, nonce as u32));
    }
    assert_eq!(farm.submit(miner, share("farm.c", &job, 9))["error"][0], 24);
    assert_eq!(submitted(&mut farm, link), ["farm.b", "farm.a", "farm.b"]);
    for number in 2..=WORKERS_PER_MINER_MAX {
        let line = json!({"id": 4, "method": "mining.authorize", "params": [format!("w{number}")]});
        let heard = farm.send(miner, &line.to_string());
        let refused = heard.iter().any(|line| parse(line)["error"][0] == 24);
        assert_eq!(refused, number == WORKERS_PER_MINER_MAX, "{number}: {heard:?}");
    }
}

#[test]
fn f39_f94_a_block_waits_for_no_name_and_is_sent_again_where_its_name_is_minded() {
    // Nothing is known of the name yet: a block goes at once, under the login.
    let (mut farm, link) = live();
    let (early, _) = farm.miner("farm.s19");
    farm.pool_hears(link);
    farm.pool_says(link, &notify("job-1", 1, true).replace("17023774", "207fffff"));
    farm.wait(AUTHORIZATION_WAIT_MAX + Duration::from_millis(300));
    let job = notified(&due(&mut farm, early));
    for nonce in 0..8 {
        farm.submit(early, share("farm.s19", &job, nonce));
    }
    let names = submitted(&mut farm, link);
    assert!(names.iter().any(|name| name == "farm.gateway"), "{names:?}");
    assert!(names.iter().any(|name| name == "farm.s19"), "{names:?}: every second is a block");

    // The name was granted, and the pool minds it all the same: the block goes once more.
    let (mut farm, link) = live();
    let (miner, _) = granted(&mut farm, link, "farm.s19");
    farm.pool_says(link, &notify("job-1", 1, true).replace("17023774", "207fffff"));
    let job = notified(&due(&mut farm, miner));
    let mut blocks = 0_u64;
    for nonce in 0..8 {
        farm.submit(miner, share("farm.s19", &job, nonce));
        let first = only(&heard(&mut farm, link, "mining.submit"));
        assert_eq!(first["params"][0], "farm.s19");
        let is_block = farm.proxy.blocks().records().count() > 0;
        farm.pool_says(
            link,
            &json!({"id": first["id"], "result": null, "error": [20, "Worker mismatch", null]})
                .to_string(),
        );
        let again = heard(&mut farm, link, "mining.submit");
        assert_eq!(again.len(), usize::from(is_block), "{again:?}");
        for line in again {
            assert_eq!(line["params"][0], "farm.gateway");
            assert_eq!(
                line["params"].as_array().unwrap()[1..],
                first["params"].as_array().unwrap()[1..]
            );
            let taken = json!({"id": line["id"], "result": true, "error": null});
            farm.pool_says(link, &taken.to_string());
            blocks += 1;
        }
        assert_eq!(farm.proxy.blocks().records().count(), 0, "it was taken");
    }
    assert!((1..8).contains(&blocks), "{blocks} of 8");
    assert_eq!(of(&farm, Bucket::PoolAccepted), blocks);
}

#[test]
fn f39_a_block_of_a_refused_worker_goes_out_under_the_login() {
    let (mut farm, link) = live();
    farm.pool_says(link, &notify("easy", 1, true).replace("17023774", "207fffff"));
    let (miner, job) = granted(&mut farm, link, "farm.s19");
    farm.send(miner, r#"{"id":3,"method":"mining.authorize","params":["farm.bad","x"]}"#);
    let (_, id) = only(&asked(&mut farm, link));
    says(&mut farm, link, &id, false);
    due(&mut farm, miner);
    let answers: Vec<Value> =
        (0..32).map(|n| farm.submit(miner, share("farm.bad", &job, n))).collect();
    let blocks = answers.iter().filter(|answer| answer["result"] == true).count();
    assert!(blocks > 0, "one of 32 hashes is a block");
    assert_eq!(submitted(&mut farm, link), vec!["farm.gateway"; blocks]);
    assert_eq!(of(&farm, Bucket::Rejected(Reject::WorkerRefused)), 32 - blocks as u64);
}

#[test]
fn the_next_pool_is_asked_with_its_own_account() {
    let mut settings = per_worker(2);
    settings.pools[1].user = "backup.gateway".try_into().unwrap();
    let mut farm = Farm::with(8, settings);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let (miner, _) = granted(&mut farm, link, "farm.s19");
    farm.pool_lost(link);
    let mut second = None;
    for _ in 0..30 {
        if second.is_some() {
            break;
        }
        farm.wait(Duration::from_secs(1));
        while let Some((link, pool)) = farm.proxy.poll_dial(farm.now) {
            if pool == 0 {
                farm.pool_lost(link);
            } else {
                farm.proxy.handle_link_up(link, farm.now);
                second = Some(link);
            }
        }
    }
    let second = second.expect("the second pool is dialled");
    farm.pool_up(second, "c0ffee02", 8, TRIVIAL);
    let (name, id) = only(&asked(&mut farm, second));
    assert_eq!(name, "backup.farm.s19");
    says(&mut farm, second, &id, true);
    let job = notified(&due(&mut farm, miner));
    farm.submit(miner, share("farm.s19", &job, 1));
    assert_eq!(submitted(&mut farm, second), ["backup.farm.s19"]);
}

#[test]
fn a_miner_that_waits_for_the_pools_verdict_hears_of_the_refusal() {
    let mut farm = Farm::with(8, Options { verdict: VerdictMode::Pool, ..per_worker(1) });
    let (miner, _) = farm.miner("farm.bad");
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let job = notified(&due(&mut farm, miner));
    assert_eq!(farm.submit(miner, early_share("farm.bad", &job, 1)), Value::Null, "it waits");
    let (_, id) = only(&asked(&mut farm, link));
    says(&mut farm, link, &id, false);
    let answer = parse(&due(&mut farm, miner)[0]);
    assert_eq!((&answer["id"], &answer["error"][0]), (&json!(9), &json!(24)));
    assert!(farm.proxy.is_drained());
}

#[test]
fn a_call_that_leaves_something_to_be_done_says_so() {
    let (mut farm, link) = live();
    let do_all = |farm: &mut Farm| {
        farm.wanting();
        let _ = asked(farm, link);
        while farm.proxy.poll_event().is_some() || farm.proxy.poll_fan_out() {}
    };
    do_all(&mut farm);
    assert!(!farm.proxy.has_due());
    let miner = farm.connect();
    farm.send(miner, r#"{"id":1,"method":"mining.subscribe","params":["t/1"]}"#);
    do_all(&mut farm);
    let authorize = r#"{"id":2,"method":"mining.authorize","params":["farm.s19","x"]}"#;
    farm.send_unsettled(miner, authorize);
    assert!(farm.proxy.has_due(), "the pool is asked for the name now, not at the next sweep");
    do_all(&mut farm);
    assert!(!farm.proxy.has_due());
    farm.pool_lost(link);
    assert!(farm.proxy.has_due(), "that the link is lost is worth a line");
}
