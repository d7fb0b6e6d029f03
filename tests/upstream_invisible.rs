//! The invisible upstream (`docs/adr/0003`): under any fault of a link, a miner keeps its
//! connection and its extranonce1, and gets at most a notify with `clean_jobs`.

mod farm;

use farm::{Farm, HOPELESS, TRIVIAL, notified, notify, options, parse, set_difficulty};
use loka_stratum::ledger::{Bucket, Orphan, PoolReject};
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use serde_json::json;

#[test]
fn a_share_reaches_the_pool_under_its_own_job_and_extranonce() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let subscribed = parse(&heard[0]);
    assert_eq!(subscribed["result"][1], "00");
    assert_eq!(subscribed["result"][2], 4);
    let job = notified(&heard);
    assert!(job[2].as_str().unwrap().ends_with("c0ffee01000000"), "coinb1 ‖ E1 ‖ pad: {}", job[2]);
    assert_eq!(job[8], true);

    let answer = farm.submit(miner, json!(["farm.s19", job[0], "0a0b0c0d", job[7], "12345678"]));
    assert_eq!(answer["result"], true);
    let submit = farm.pool_accepts(link);
    let expected =
        json!(["farm.gateway", "job-1", "000000000a0b0c0d", "68426000", "12345678", "00000000"]);
    assert_eq!(submit["params"], expected);
    let ledger = farm.proxy.ledger();
    assert_eq!((ledger.submitted(), ledger.of(Bucket::PoolAccepted)), (1, 1));
}

#[test]
fn f24_another_extranonce1_costs_one_clean_notify() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);

    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    assert_eq!(farm.due(miner), Vec::<String>::new(), "nothing to say while the pool is away");
    let link = farm.dialled();
    farm.pool_up(link, "beef", 6, TRIVIAL);

    assert_eq!(farm.wanting(), [miner]);
    let second = notified(&farm.due(miner));
    assert!(second[2].as_str().unwrap().ends_with("beef00"), "new E1, new pad: {}", second[2]);
    assert_eq!(second[8], true);
    let stale = farm.submit(miner, json!(["farm.s19", first[0], "0a0b0c0d", first[7], "00000001"]));
    assert_eq!(stale["error"][0], 21, "no share crosses generations");
    let fresh =
        farm.submit(miner, json!(["farm.s19", second[0], "0a0b0c0d", second[7], "00000001"]));
    assert_eq!(fresh["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][2], "00000a0b0c0d".to_owned());
}

#[test]
fn f58_the_next_pool_serves_and_late_shares_find_the_first() {
    let mut farm = Farm::with(16, options(2));
    let first = farm.dialled();
    farm.pool_up(first, "aa", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let old = notified(&heard);
    farm.wait(Duration::from_secs(60));

    farm.pool_lost(first);
    farm.wait(Duration::from_secs(6));
    // The first is tried again and does not answer; the second is tried beside it.
    let mut dialled = vec![];
    while let Some((link, pool)) = farm.proxy.poll_dial(farm.now) {
        dialled.push((link, pool));
    }
    let (second, _) = *dialled.iter().find(|(_, pool)| *pool == 1).expect("the next pool is tried");
    farm.proxy.handle_link_up(second, farm.now);
    farm.pool_up(second, "bb", 8, TRIVIAL);
    let new = notified(&farm.due(miner));
    assert_eq!(new[8], true);
    assert_eq!(farm.proxy.links().active_pool(0), 1);

    let late = farm.submit(miner, json!(["farm.s19", old[0], "00000001", old[7], "00000001"]));
    assert_eq!(late["result"], true, "the job of the first pool still lives");
    assert_eq!(farm.proxy.ledger().of(Bucket::Held), 1, "held for the link that made its job");
    assert!(farm.pool_hears(second).is_empty());
}

#[test]
fn f56_a_resumed_session_gets_the_held_shares_once() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    let submit = |farm: &mut Farm, nonce: &str| {
        farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], nonce]))
    };
    submit(&mut farm, "00000001");
    assert_eq!(farm.pool_hears(link).len(), 1);
    farm.pool_lost(link);
    submit(&mut farm, "00000002");
    assert_eq!(farm.proxy.ledger().of(Bucket::Held), 2);

    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let sent = farm.pool_hears(link);
    assert_eq!(sent.len(), 2, "the unanswered and the new one: {sent:?}");
    for line in sent {
        farm.pool_says(link, &json!({"id": parse(&line)["id"], "result": true}).to_string());
    }
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolAccepted), 2);
}

#[test]
fn f56_f90_a_share_that_the_pool_had_before_the_cut_is_paid_for_and_nobody_s_repeat() {
    let (mut farm, mut link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    for nonce in 0..40 {
        let nonce = format!("{nonce:08x}");
        farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], nonce]));
    }
    assert_eq!(farm.pool_hears(link).len(), 40);
    // The second cut comes before anything is sent again.
    for _ in 0..2 {
        farm.pool_lost(link);
        farm.wait(Duration::from_secs(5));
        link = farm.dialled();
    }
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let errors =
        [json!([22, "Duplicate share", null]), json!("duplicate"), json!([23, "low", null])];
    let sent = farm.pool_hears(link);
    for (line, error) in sent.iter().zip(errors.iter().chain(std::iter::repeat(&errors[0]))) {
        let answer = json!({"id": parse(line)["id"], "result": null, "error": error});
        farm.pool_says(link, &answer.to_string());
    }
    let ledger = farm.proxy.ledger();
    assert_eq!(ledger.of(Bucket::PoolAccepted), 39, "all that the pool calls duplicates");
    assert_eq!(ledger.of(Bucket::PoolRejected(PoolReject::LowDifficulty)), 1);
    assert!(!farm.proxy.miner(miner).unwrap().repeats_shares(farm.now));
    assert_eq!(farm.proxy.links().get(link).unwrap().refusals().trouble(), None);
    // What is found from here on is sent once, and a duplicate is one.
    let nonce = "deadbeef";
    farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], nonce]));
    let line = farm.pool_hears(link).remove(0);
    let answer = json!({"id": parse(&line)["id"], "result": null, "error": errors[0]});
    farm.pool_says(link, &answer.to_string());
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolRejected(PoolReject::Duplicate)), 1);
}

/// What the next connection asks the pool for when it subscribes.
fn asked_of(farm: &mut Farm) -> (LinkIndex, serde_json::Value) {
    farm.wait(Duration::from_secs(5));
    let link = farm.dialled();
    assert!(farm.pool_hears(link)[0].contains("mining.configure"));
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    let subscribe = parse(&farm.pool_hears(link)[0]);
    assert_eq!(subscribe["method"], "mining.subscribe");
    (link, subscribe["params"].clone())
}

#[test]
fn f56_a_lost_session_is_asked_for_by_its_id_and_one_that_the_pool_minds_only_once() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    farm.pool_lost(link);
    let (link, params) = asked_of(&mut farm);
    assert_eq!(params, json!(["loka-stratum/test", "s"]));
    // The pool hangs up on it, so the next attempt is like the first.
    farm.pool_lost(link);
    let (link, params) = asked_of(&mut farm);
    assert_eq!(params, json!(["loka-stratum/test"]));
    let answer = json!({"id": 2, "result": [[["mining.notify", "t"]], "aa", 8], "error": null});
    farm.pool_says(link, &answer.to_string());
    assert!(farm.pool_hears(link)[0].contains("mining.authorize"));
    farm.pool_lost(link);
    let (_, params) = asked_of(&mut farm);
    assert_eq!(params, json!(["loka-stratum/test", "t"]));
}

#[test]
fn f56_a_session_that_comes_back_with_the_same_job_is_not_heard_of_by_miners() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    assert!(farm.due(miner).is_empty(), "told to begin anew it would find the same shares again");
    let answer = farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], "00000001"]));
    assert_eq!(answer["result"], true, "its job goes on");
    assert_eq!(farm.pool_accepts(link)["params"][1], "job-1");
    // A later miner gets the same job, and the pool's next job goes to all.
    let (_, heard) = farm.miner("farm.late");
    assert_eq!(notified(&heard)[0], job[0]);
    farm.pool_says(link, &notify("job-2", 1, false));
    assert_eq!(farm.due(miner).len(), 1);
}

#[test]
fn f56_another_session_makes_orphans_with_the_reason() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], "00000001"]));
    assert_eq!(farm.pool_hears(link).len(), 1);
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_up(link, "00000000", 8, TRIVIAL);
    assert_eq!(farm.proxy.ledger().of(Bucket::Orphaned(Orphan::SessionLost)), 1);
    assert!(farm.pool_hears(link).is_empty());
}

#[test]
fn light_shares_stay_here() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    let answer = farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], "00000001"]));
    assert_eq!(answer["result"], true);
    assert!(farm.pool_hears(link).is_empty());
    assert_eq!(farm.proxy.ledger().of(Bucket::BelowUpstream), 1);
}

#[test]
fn keepalive_is_a_new_job_with_a_later_time() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    farm.wait(Duration::from_secs(46));
    let second = notified(&farm.due(miner));
    assert_ne!(first[0], second[0]);
    assert_eq!(second[7], "6842602d", "45 s later");
    assert_eq!(second[8], false);
    assert_eq!([&first[1], &first[2], &first[3]], [&second[1], &second[2], &second[3]]);
    let answer =
        farm.submit(miner, json!(["farm.s19", second[0], "00000001", second[7], "00000001"]));
    assert_eq!(answer["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][1], "job-1");
}

/// QUIRKS 54, above us: ckpool sends the difficulty and the first job with the answer to authorize.
#[test]
fn what_comes_with_the_answer_to_authorize_is_used_at_once() {
    let mut farm = Farm::new();
    let link = farm.dialled();
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    farm.pool_says(
        link,
        r#"{"id":2,"result":[[["mining.notify","s"]],"c0ffee01",8],"error":null}"#,
    );
    let authorized = r#"{"id":3,"result":true,"error":null}"#;
    let lines = [authorized, &set_difficulty(42.0), &notify("job-1", 1, true), ""].join("\n");
    farm.pool_bytes(link, lines.as_bytes()).unwrap();
    let state = farm.proxy.links().get(link).unwrap();
    assert_eq!(state.state(), loka_stratum::upstream::State::Live);
    let (_, heard) = farm.miner("farm.s19");
    assert_eq!(notified(&heard)[8], true);
}

/// QUIRKS 54, below us: a proxy of ckpool keeps difficulty 42 until it is told another, and has no
/// work for its miners before the second job where the first came with the answer to authorize.
#[test]
fn a_proxy_below_is_told_its_difficulty_before_its_first_job_and_soon_a_second_job() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.proxy");
    let is = |line: &str, what: &str| parse(line)["method"] == what;
    let at = |what: &str| heard.iter().position(|line| is(line, what)).unwrap();
    let answered = heard.iter().rposition(|line| parse(line)["id"] == 2).unwrap();
    assert!(answered < at("mining.set_difficulty"), "{heard:?}");
    assert!(at("mining.set_difficulty") < at("mining.notify"), "{heard:?}");
    // The pool says nothing meanwhile.
    farm.wait(Duration::from_secs(46));
    assert!(farm.due(miner).iter().any(|line| is(line, "mining.notify")));
}

#[test]
fn f35_clean_jobs_ends_what_came_before() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    farm.pool_says(link, &notify("job-2", 1, false));
    let second = notified(&farm.due(miner));
    assert_eq!(second[8], false);
    let params = |job: &serde_json::Value, nonce: &str| {
        json!(["farm.s19", job[0], "00000001", job[7], nonce])
    };
    assert_eq!(farm.submit(miner, params(&first, "00000001"))["result"], true);
    farm.pool_says(link, &notify("job-3", 2, true));
    let third = notified(&farm.due(miner));
    assert_eq!(third[8], true);
    assert_eq!(farm.submit(miner, params(&second, "00000002"))["error"][0], 21);
    assert_eq!(farm.submit(miner, params(&third, "00000003"))["result"], true);
}

#[test]
fn a_small_extranonce2_opens_further_links_of_the_same_login() {
    let mut farm = Farm::with(400, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "aa", 3, TRIVIAL);
    let heard: Vec<_> = (0..193).map(|n| farm.miner(&format!("farm.{n}"))).collect();
    let (last, _) = heard[192];
    assert_eq!(farm.proxy.miner(last).unwrap().seat().unwrap().lane, 1);
    assert!(farm.due(last).is_empty(), "no job before its own link is live");

    farm.wait(Duration::from_secs(1));
    let second = farm.dialled();
    farm.pool_up(second, "bb", 3, TRIVIAL);
    let job = notified(&farm.due(last));
    let answer = farm.submit(last, json!(["farm.192", job[0], "0001", job[7], "00000001"]));
    assert_eq!(answer["result"], true);
    assert_eq!(farm.pool_accepts(second)["params"][2].as_str().unwrap().len(), 6);
    assert!(farm.pool_hears(link).is_empty());
}

#[test]
fn f22_a_mask_that_changes_live_is_passed_on_at_once() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let miner = farm.connect();
    let configure = json!({"id": 0, "method": "mining.configure",
        "params": [["version-rolling"], {"version-rolling.mask": "ffffffff"}]});
    let granted = parse(&farm.send(miner, &configure.to_string())[0]);
    assert_eq!(granted["result"]["version-rolling.mask"], "1fffe000");
    farm.send(miner, r#"{"id":1,"method":"mining.subscribe","params":[]}"#);
    farm.send(miner, r#"{"id":2,"method":"mining.authorize","params":["farm.s19","x"]}"#);
    farm.pool_says(link, r#"{"id":null,"method":"mining.set_version_mask","params":["00c00000"]}"#);
    let heard = farm.due(miner);
    assert_eq!(parse(&heard[0])["params"][0], "00c00000");
    let job = notified(&heard);
    let submit = |farm: &mut Farm, bits: &str| {
        farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], "00000001", bits]))
    };
    assert_eq!(submit(&mut farm, "00002000")["error"][0], 20);
    assert_eq!(submit(&mut farm, "00400000")["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][5], "00400000");
}

#[test]
fn a_new_block_is_clean_for_miners_even_where_the_pool_does_not_say_so() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    farm.pool_says(link, &notify("job-2", 2, false));
    assert_eq!(notified(&farm.due(miner))[8], true);
    let late = farm.submit(miner, json!(["farm.s19", first[0], "00000001", first[7], "00000001"]));
    assert_eq!(late["result"], true, "the pool did not end the job, so it judges the share");
    assert_eq!(farm.pool_accepts(link)["params"][1], "job-1");
}
