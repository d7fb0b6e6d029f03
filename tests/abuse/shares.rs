//! F27 to F41: work, shares and the pool's verdicts.

use loka_stratum::blocks::Unsaved;
use loka_stratum::downstream::Close;
use loka_stratum::ledger::{Bucket, Orphan, PoolReject, Reject};
use loka_stratum::limits::{
    ANSWER_MAX, DRAIN_MAX, EXCESS_REJECTS_MAX, HOLD_MAX, JOB_AGE_MAX, JOBS_PER_LINK,
    LINK_ODDITIES_MAX, PENDING_BLOCKS_RESERVED, SUBMITS_BURST_MAX,
};
use loka_stratum::proxy::{Event, Options, VerdictMode};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkClose, LinkIndex};
use loka_stratum::work::difficulty::Difficulty;
use serde_json::{Value, json};

use super::farm::{
    Farm, HOPELESS, QUEUE, TRIVIAL, job, notified, notify, notify_of, options, parse,
    set_difficulty,
};

const WORKER: &str = "farm.s19";

/// The params of a submit for a received job.
fn share(job: &Value, nonce: u32) -> Value {
    json!([WORKER, job[0], "0000000a", job[7], format!("{nonce:08x}")])
}

/// The line of a submit.
fn submit(id: u32, job: &Value, nonce: u32) -> String {
    json!({"id": id, "method": "mining.submit", "params": share(job, nonce)}).to_string()
}

/// A farm with a live pool, a miner, and its job.
fn farm(options: Options, difficulty: f64) -> (Farm, LinkIndex, MinerHandle, Value) {
    let mut farm = Farm::with(16, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, difficulty);
    let (miner, heard) = farm.miner(WORKER);
    (farm, link, miner, notified(&heard))
}

/// The same, with miners that wait for the pool's verdict.
fn waiting_farm() -> (Farm, LinkIndex, MinerHandle, Value) {
    farm(Options { verdict: VerdictMode::Pool, ..options(1) }, TRIVIAL)
}

/// The ids of the submits that a pool received.
fn submit_ids(heard: &[String]) -> Vec<Value> {
    let lines = heard.iter().map(|line| parse(line));
    lines.filter(|line| line["method"] == "mining.submit").map(|line| line["id"].clone()).collect()
}

fn orphaned(farm: &Farm, reason: Orphan) -> u64 {
    farm.proxy.ledger().of(Bucket::Orphaned(reason))
}

fn rejected(farm: &Farm, reason: Reject) -> u64 {
    farm.proxy.ledger().of(Bucket::Rejected(reason))
}

#[test]
fn f27_a_share_in_any_spelling_is_forwarded_once() {
    let (mut farm, link, miner, job) = farm(options(1), TRIVIAL);
    let spellings = [
        json!([WORKER, job[0], "0000abcd", job[7], "00b37bce"]),
        json!([WORKER, job[0], "0000ABCD", job[7], "00B37BCE"]),
        json!([WORKER, job[0], "0000AbCd", job[7], "00b37bCE", "00000000"]),
        json!([WORKER, job[0], "0000abcd", job[7], "00b37bce", null]),
        json!([WORKER, job[0], "0000abcd", job[7], "00b37bce", "00000000", "more"]),
    ];
    for (time, spelling) in spellings.into_iter().enumerate() {
        let answer = farm.submit(miner, spelling);
        let expected = if time == 0 { Value::Null } else { json!(22) };
        assert_eq!(answer["error"][0], expected, "{answer}");
    }
    assert_eq!(submit_ids(&farm.pool_hears(link)).len(), 1);
    assert_eq!(rejected(&farm, Reject::Duplicate), 4);
}

/// Sends each of `nonces` and expects it to be a duplicate.
#[track_caller]
fn repeats(farm: &mut Farm, miner: MinerHandle, job: &Value, nonces: impl Iterator<Item = u32>) {
    for nonce in nonces {
        assert_eq!(farm.submit(miner, share(job, nonce))["error"][0], 22, "{nonce}");
    }
}

#[test]
fn f28_a_share_is_taken_once_in_the_life_of_its_job_however_many_lie_between() {
    // Shares that meet the pool's difficulty, and lighter ones.
    for difficulty in [TRIVIAL, HOPELESS] {
        for ring in [2, 33, 1_000] {
            let (mut farm, link, miner, job) = farm(options(1), difficulty);
            let mut sent = 0;
            for nonce in 0..ring {
                assert_eq!(farm.submit(miner, share(&job, nonce))["result"], true, "{nonce}");
                for id in submit_ids(&farm.pool_hears(link)) {
                    farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
                    sent += 1;
                }
            }
            assert_eq!(sent, if difficulty == TRIVIAL { ring } else { 0 });
            // A flood of refused shares would end the connection.
            for round in 0..400 / ring {
                repeats(&mut farm, miner, &job, (0..ring).map(|n| (n + round) % ring));
            }
            repeats(&mut farm, miner, &job, [ring - 1, 0].into_iter());
            assert!(farm.pool_hears(link).is_empty());
            let ledger = farm.proxy.ledger();
            assert_eq!(ledger.accepted(), u64::from(ring), "{ring}");
            let session = farm.proxy.miner(miner).unwrap();
            let work = f64::from(ring) * session.told_difficulty().unwrap().as_f64();
            assert!((session.work() - work).abs() < work / 1e6, "counted once");
        }
    }
}

#[test]
fn f90_a_job_that_is_announced_anew_takes_no_share_of_the_one_before() {
    let (mut farm, link, miner, first) = farm(options(1), TRIVIAL);
    let ahead = |job: &Value, secs: u32, nonce| {
        let ntime = u32::from_str_radix(first[7].as_str().unwrap(), 16).unwrap() + secs;
        json!([WORKER, job[0], "0000000a", format!("{ntime:08x}"), format!("{nonce:08x}")])
    };
    for secs in [0, 44, 45, 100, 7_000] {
        assert_eq!(farm.submit(miner, ahead(&first, secs, 1))["result"], true);
    }
    for id in submit_ids(&farm.pool_hears(link)) {
        farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
    }
    farm.wait(Duration::from_secs(46));
    let second = notified(&farm.due(miner));
    assert_ne!(first[0], second[0]);
    for job in [&first, &second] {
        for (secs, code) in [(45, 22), (100, 22), (7_000, 22), (44, 22)] {
            let answer = farm.submit(miner, ahead(job, secs, 1));
            let is_before = secs < 45 && job[0] == second[0];
            assert_eq!(answer["error"][0], if is_before { 20 } else { code }, "{secs} {answer}");
        }
    }
    // The first job gets too old in the end, and its shares are invalid for all later jobs.
    for _ in 0..8 {
        farm.wait(Duration::from_secs(46));
        farm.pool_says(link, &notify("job-1", 1, false));
    }
    let last = notified(&farm.due(miner));
    assert_eq!(farm.submit(miner, ahead(&first, 100, 1))["error"][0], 21);
    let time = |job: &Value| u32::from_str_radix(job[7].as_str().unwrap(), 16).unwrap();
    let moved = time(&last) - time(&first);
    assert!((100..7_000).contains(&moved), "{moved}");
    for secs in [0, 44, 45, 100, 7_000] {
        let again = farm.submit(miner, ahead(&last, secs, 1));
        let is_before = secs < moved;
        assert_eq!(again["error"][0], if is_before { 20 } else { 22 }, "{secs} {again} {last}");
        assert_eq!(farm.submit(miner, ahead(&last, secs, 2))["result"] == true, !is_before);
    }
}

#[test]
fn f90_a_job_that_its_pool_sends_again_takes_no_share_of_the_one_before() {
    // Under the same id or another, ended between or not, on the same connection or a resumed one.
    for (id, clean, lost) in [
        ("job-1", true, false),
        ("job-2", true, false),
        ("job-2", false, false),
        ("job-1", true, true),
    ] {
        let (mut farm, link, miner, first) = farm(options(1), TRIVIAL);
        for nonce in 0..40 {
            assert_eq!(farm.submit(miner, share(&first, nonce))["result"], true);
        }
        farm.pool_hears(link);
        if lost {
            farm.pool_lost(link);
            farm.wait(Duration::from_secs(2));
            let link = farm.dialled();
            farm.handshake(link, "c0ffee01", 8);
            farm.pool_says(link, &notify("between", 1, true).replace("01000000", "02000000"));
        }
        farm.pool_says(link, &notify(id, 1, clean));
        let again = notified(&farm.due(miner));
        assert_ne!(first[0], again[0], "{id}");
        // Its time has advanced, so earlier shares are invalid for it: it is new work.
        let mut before = again.clone();
        before[7] = first[7].clone();
        assert_eq!(farm.submit(miner, share(&before, 0))["error"][0], 20);
        assert_eq!(farm.submit(miner, share(&again, 0))["result"], true);
        repeats(&mut farm, miner, &again, 0..1);
        if !lost {
            repeats(&mut farm, miner, &first, 0..40);
        }
    }
}

#[test]
fn f90_connections_and_workers_share_one_memory() {
    // Two lanes of a pool with the same extranonce1 for every session: equal ids, equal headers.
    let mut farm = Farm::sized(300, 4, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 3, TRIVIAL);
    let mut miners: Vec<_> = (0..193).map(|_| farm.miner(WORKER)).collect();
    let (last, _) = miners.pop().unwrap();
    let job = notified(&miners[0].1);
    farm.wait(Duration::from_secs(1));
    let second = farm.dialled();
    farm.pool_up(second, "c0ffee01", 3, TRIVIAL);
    let own = notified(&farm.due(last));
    let id_of = |farm: &Farm, miner| farm.proxy.miner(miner).unwrap().seat().unwrap().space.id;
    let (twin, _) = miners.iter().find(|(m, _)| id_of(&farm, *m) == id_of(&farm, last)).unwrap();
    let share = |job: &Value, nonce: &str| json!([WORKER, job[0], "0001", own[7], nonce]);
    for nonce in 0..50 {
        let nonce = format!("{nonce:08x}");
        assert_eq!(farm.submit(*twin, share(&job, &nonce))["result"], true);
        assert_eq!(farm.submit(last, share(&own, &nonce))["error"][0], 22);
    }
    assert!(farm.pool_hears(second).is_empty());
}

#[test]
fn f90_one_miner_alone_leaves_room_to_others_and_nothing_is_taken_unremembered() {
    let (mut farm, link, miner, job) = farm(options(1), HOPELESS);
    let mut taken = 0;
    for nonce in 0..1_900 {
        let answer = farm.submit(miner, share(&job, nonce));
        match answer["error"][1].as_str() {
            None => taken += 1,
            Some(text) => assert_eq!(text, "too many submits for one job"),
        }
    }
    assert!((500..1_900).contains(&taken), "{taken}");
    assert_eq!(rejected(&farm, Reject::Crowded), 1_900 - taken);
    assert_eq!(farm.proxy.poll_closed(), None, "its shares are good");
    repeats(&mut farm, miner, &job, 0..100);
    // Another miner has room, and so have heavier shares.
    let (other, heard) = farm.miner("farm.other");
    let others = notified(&heard);
    let of_other = json!(["farm.other", others[0], "0000000a", others[7], "00000001"]);
    assert_eq!(farm.submit(other, of_other)["result"], true);
    // Its difficulty is raised with a job for it, before the keep-alive is due.
    let before = farm.proxy.miner(miner).unwrap().told_difficulty();
    farm.wait(Duration::from_secs(11));
    let renewed = notified(&farm.due(miner));
    assert_ne!(renewed[0], job[0]);
    assert!(farm.proxy.miner(miner).unwrap().told_difficulty() > before);
    assert!(farm.pool_hears(link).is_empty());
}

#[test]
fn f90_shares_for_the_pool_have_room_when_light_ones_have_none() {
    let mut farm = Farm::with(16, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, HOPELESS);
    let miners: Vec<_> = (0..16).map(|_| farm.miner(WORKER)).collect();
    let mut full = 0;
    for nonce in 0..1_000 {
        for (miner, heard) in &miners {
            let answer = farm.submit(*miner, share(&notified(heard), nonce));
            full += u32::from(answer["error"][0] == 20);
        }
    }
    assert!(full > 10_000, "light ones find no room: {full}");
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-2", 1, false));
    let (miner, _) = miners[0];
    let job = notified(&farm.due(miner));
    for nonce in 5_000..5_100 {
        assert_eq!(farm.submit(miner, share(&job, nonce))["result"], true, "{nonce}");
        assert_eq!(farm.submit(miner, share(&job, nonce))["error"][0], 22, "{nonce}");
        farm.pool_hears(link);
    }
}

#[test]
fn f29_a_flood_is_limited_then_closed_and_nobody_else_feels_it() {
    // Valid shares, shares for unknown jobs, unreadable shares.
    for kind in 0..3 {
        let (mut farm, link, miner, job) = farm(options(1), HOPELESS);
        let (honest, heard) = farm.miner("farm.honest");
        let honest_job = notified(&heard);
        let mut answered = 0;
        let mut closed = None;
        for nonce in 0..10_000 {
            let mut params = share(&job, nonce);
            match kind {
                0 => {}
                1 => params[1] = "deadbeef".into(),
                _ => params[4] = "x".into(),
            }
            let line = json!({"id": 9, "method": "mining.submit", "params": params}).to_string();
            let (heard, close) = farm.bytes(miner, format!("{line}\n").as_bytes());
            answered += heard.len();
            if close.is_some() {
                closed = close;
                break;
            }
        }
        assert_eq!(closed, Some(Close::ExcessRejects), "kind {kind}");
        assert_eq!(answered as u64, farm.proxy.ledger().submitted(), "each had its answer");
        assert!(answered <= 1 + SUBMITS_BURST_MAX as usize + 1 + usize::from(EXCESS_REJECTS_MAX));
        assert_eq!(
            farm.submit(
                honest,
                json!(["farm.honest", honest_job[0], "00000001", honest_job[7], "00000001"])
            )["result"],
            true
        );
        assert!(farm.pool_hears(link).is_empty());
    }
}

#[test]
fn f30_a_miner_cannot_reach_its_neighbours_space() {
    let (mut farm, link, miner, job) = farm(options(1), TRIVIAL);
    farm.miner("farm.neighbour");
    for extranonce2 in ["010000000a", "01000000", "0100000a0a", "", "00", "000000000000000a"] {
        let params = json!([WORKER, job[0], extranonce2, job[7], "00000001"]);
        let answer = farm.submit(miner, params);
        if extranonce2.len() == 8 {
            assert_eq!(answer["result"], true);
        } else {
            assert_eq!(answer["error"][0], 20, "{extranonce2}");
        }
    }
    let sent = farm.pool_hears(link);
    assert_eq!(sent.len(), 1);
    assert_eq!(parse(&sent[0])["params"][2], "0000000001000000", "its own id in front");
}

#[test]
fn f30_miners_of_other_lanes_have_jobs_of_their_own() {
    // An extranonce2 of three bytes: one names the miner, so the first lane holds 192.
    let mut farm = Farm::sized(300, 4, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 3, TRIVIAL);
    let mut miners: Vec<_> = (0..193).map(|_| farm.miner(WORKER)).collect();
    let (last, heard) = miners.pop().unwrap();
    assert!(heard.iter().all(|line| parse(line)["method"].is_null()), "its link is not up yet");
    let foreign = notified(&miners[0].1);
    farm.wait(Duration::from_secs(1));
    let second = farm.dialled();
    farm.pool_up(second, "c0ffee02", 3, TRIVIAL);
    let own = notified(&farm.due(last));
    assert!(own[2].as_str().unwrap().ends_with("c0ffee02"));
    let share = |job: &Value| json!([WORKER, job[0], "0001", job[7], "00000001"]);
    assert_eq!(farm.submit(last, share(&foreign))["error"][0], 21, "not a job of its lane");
    assert_eq!(farm.submit(last, share(&own))["result"], true);
    assert_eq!(farm.pool_accepts(second)["params"][2].as_str().unwrap().len(), 6);
    assert!(farm.pool_hears(link).is_empty());
}

#[test]
fn f31_a_flood_below_the_target_is_not_forwarded_and_ends() {
    let mut options = options(1);
    options.vardiff.start = Difficulty::new(1e9).unwrap();
    options.vardiff.min = options.vardiff.start;
    let (mut farm, link, miner, job) = farm(options, HOPELESS);
    for nonce in 0..=u32::from(EXCESS_REJECTS_MAX) {
        let (heard, close) = farm.bytes(miner, (submit(9, &job, nonce) + "\n").as_bytes());
        assert_eq!(parse(&heard[0])["error"][0], 23);
        let last = nonce == u32::from(EXCESS_REJECTS_MAX);
        assert_eq!(close, last.then_some(Close::ExcessRejects));
    }
    assert!(farm.pool_hears(link).is_empty());
    assert_eq!(rejected(&farm, Reject::LowDifficulty), u64::from(EXCESS_REJECTS_MAX) + 1);
}

#[test]
fn f32_honest_rejects_and_bursts_of_stales_never_close() {
    let (mut farm, link, miner, mut job) = farm(options(1), TRIVIAL);
    for block in 2..60_u8 {
        for nonce in 0..100_u32 {
            let unique = u32::from(block) << 8 | nonce;
            // Two in a hundred repeat the share before.
            let nonce = if nonce % 50 == 49 { unique - 1 } else { unique };
            farm.submit(miner, share(&job, nonce));
            for id in submit_ids(&farm.pool_hears(link)) {
                farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
            }
        }
        let old = job;
        farm.pool_says(link, &notify(&format!("b{block}"), block, true));
        job = notified(&farm.due(miner));
        for nonce in 0..50 {
            let answer = farm.submit(miner, share(&old, 0xffff_0000 + nonce));
            assert_eq!(answer["error"][0], 21);
        }
        farm.wait(Duration::from_secs(30));
    }
    assert_eq!(farm.proxy.poll_closed(), None);
    assert_eq!(rejected(&farm, Reject::Duplicate), 58 * 2);
    assert_eq!(rejected(&farm, Reject::Stale), 58 * 50);
}

#[test]
fn f33_the_pools_difficulty_counts_as_it_was_when_the_job_came() {
    for (before, after) in [(TRIVIAL, HOPELESS), (HOPELESS, TRIVIAL)] {
        let (mut farm, link, miner, first) = farm(options(1), before);
        farm.pool_says(link, &set_difficulty(after));
        let forwarded = |farm: &mut Farm, job: &Value, nonce| {
            assert_eq!(farm.submit(miner, share(job, nonce))["result"], true);
            submit_ids(&farm.pool_hears(link)).len() == 1
        };
        let trivial = |difficulty| difficulty == TRIVIAL;
        assert_eq!(forwarded(&mut farm, &first, 1), trivial(before), "not before the next job");
        farm.pool_says(link, &notify("job-2", 1, false));
        let second = notified(&farm.due(miner));
        assert_eq!(forwarded(&mut farm, &second, 2), trivial(after));
        assert_eq!(forwarded(&mut farm, &first, 3), trivial(before), "late, by its own job");
    }
}

#[test]
fn f33_a_miner_is_told_what_asics_take_and_never_more_than_the_pool_asks() {
    let told = |pool: f64| {
        let mut options = options(1);
        options.vardiff.start = options.vardiff.max;
        let mut farm = Farm::with(4, options);
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee01", 8, pool);
        let (_, heard) = farm.miner(WORKER);
        let mut lines = heard.iter().map(|line| parse(line));
        let difficulty = lines.find(|line| line["method"] == "mining.set_difficulty").unwrap();
        difficulty["params"][0].as_f64().unwrap()
    };
    let cases = [
        (0.001, 0.001),
        (0.5, 0.5),
        (1.0, 1.0),
        (1.9, 1.0),
        (699.0, 512.0),
        (931.1, 512.0),
        (65536.0, 65536.0),
        (500_000.0, 262_144.0),
        // The highest power of two that the policy's 1e15 allows.
        (1e15, 562_949_953_421_312.0),
    ];
    for (pool, miner) in cases {
        assert_eq!(told(pool), miner, "{pool}");
    }
}

#[test]
fn f34_what_is_no_difficulty_leaves_the_old_one_in_force() {
    let refused = [
        "0", "-0", "-5", "1e308", "1e19", "1e999", "1e-13", "1e-320", "\"1024\"", "null", "true",
        "[]", "{}", "\"nan\"",
    ];
    for value in refused {
        let (mut farm, link, miner, job) = farm(options(1), TRIVIAL);
        let line = format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{value}]}}"#);
        for time in 0..=LINK_ODDITIES_MAX {
            let result = farm.pool_bytes(link, format!("{line}\n").as_bytes());
            if time == 0 {
                farm.pool_says(link, &notify("job-2", 1, false));
                let second = notified(&farm.due(miner));
                assert_eq!(farm.submit(miner, share(&second, 1))["result"], true);
                assert_eq!(submit_ids(&farm.pool_hears(link)).len(), 1, "{value}: TRIVIAL holds");
                assert_eq!(farm.submit(miner, share(&job, 2))["result"], true);
            }
            let last = time == LINK_ODDITIES_MAX;
            let expected = if last { Err(LinkClose::Oddities) } else { Ok(()) };
            assert_eq!(result, expected, "{value}");
        }
    }
}

#[test]
fn f35_what_came_before_clean_jobs_is_the_pools_to_judge() {
    let (mut farm, link, miner, first) = farm(options(1), TRIVIAL);
    // Received before, but not sent yet.
    let heard = farm.send_unsettled(miner, &submit(9, &first, 1));
    assert_eq!(parse(&heard[0])["result"], true);
    farm.pool_says_unsettled(link, &notify("job-2", 2, true));
    assert_eq!(farm.submit(miner, share(&first, 2))["error"], json!([21, "stale", null]));
    let sent = farm.pool_hears(link);
    let ids = submit_ids(&sent);
    assert_eq!(ids.len(), 1);
    assert_eq!(parse(&sent[0])["params"][1], "job-1");
    farm.pool_says(link, &json!({"id": ids[0], "result": true}).to_string());
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolAccepted), 1);
    assert_eq!(rejected(&farm, Reject::Stale), 1);
    assert_eq!(rejected(&farm, Reject::JobNotFound), 0);
}

#[test]
fn f36_a_job_id_that_comes_again_is_another_job() {
    // The same session resumed, and another.
    for (extranonce1, block) in [("c0ffee01", 2), ("beef", 1)] {
        let (mut farm, link, miner, first) = farm(options(1), TRIVIAL);
        farm.pool_lost(link);
        farm.wait(Duration::from_secs(2));
        let link = farm.dialled();
        farm.handshake(link, extranonce1, 8);
        farm.pool_says(link, &notify("job-1", block, true));
        let second = notified(&farm.due(miner));
        assert_ne!(first[0], second[0], "both are the pool's job-1");
        assert_eq!(farm.submit(miner, share(&first, 1))["error"][0], 21);
        assert_eq!(farm.submit(miner, share(&second, 1))["result"], true);
        assert_eq!(farm.pool_accepts(link)["params"][1], "job-1");
    }
}

#[test]
fn f37_of_ten_thousand_jobs_the_newest_count() {
    let (mut farm, link, miner, _) = farm(options(1), TRIVIAL);
    let mut kept = vec![];
    for number in 0..10_000 {
        let line = notify(&format!("j{number}"), 1, false) + "\n";
        assert_eq!(farm.proxy.handle_link_input(link, line.as_bytes(), farm.now), Ok(()));
        if number >= 9_999 - JOBS_PER_LINK {
            let heard = farm.due(miner);
            assert_eq!(heard.len(), 1, "one job, however many came: {heard:?}");
            kept.push(notified(&heard));
        }
    }
    assert!(farm.due(miner).is_empty());
    let oldest = kept.remove(0);
    assert_eq!(farm.submit(miner, share(&oldest, 1))["error"][1], "job not found");
    for (nonce, job) in (2..).zip(&kept) {
        assert_eq!(farm.submit(miner, share(job, nonce))["result"], true);
    }
    let newest = farm.pool_hears(link).pop().unwrap();
    assert_eq!(parse(&newest)["params"][1], "j9999");
}

#[test]
fn f37_a_share_that_outlived_its_job_is_orphaned_with_the_reason() {
    let (mut farm, link, miner, first) = farm(options(1), TRIVIAL);
    farm.send_unsettled(miner, &submit(9, &first, 1));
    for number in 0..JOBS_PER_LINK {
        farm.pool_says_unsettled(link, &notify(&format!("j{number}"), 1, false));
    }
    assert!(farm.pool_hears(link).is_empty());
    assert_eq!(orphaned(&farm, Orphan::JobDead), 1);
    assert!(farm.proxy.is_drained());
}

/// A farm where half of all hashes are blocks.
fn regtest(options: Options, difficulty: f64) -> (Farm, LinkIndex, MinerHandle, Value) {
    let (mut farm, link, miner, _) = farm(options, difficulty);
    let mut regtest = job("regtest", 2, true);
    regtest[6] = "207fffff".into();
    farm.pool_says(link, &notify_of(&regtest));
    let job = notified(&farm.due(miner));
    while farm.proxy.poll_event().is_some() {}
    (farm, link, miner, job)
}

fn heard_of_block(farm: &mut Farm) -> bool {
    std::iter::from_fn(|| farm.proxy.poll_event()).any(|event| matches!(event, Event::Block { .. }))
}

/// Nonces with and without a block, found by a separate farm.
fn nonces(count: usize) -> (Vec<u32>, Vec<u32>) {
    let unlimited = Options { submit_interval: Duration::ZERO, ..options(1) };
    let (mut farm, link, miner, job) = regtest(unlimited, HOPELESS);
    let (mut blocks, mut others) = (vec![], vec![]);
    for nonce in 0.. {
        if blocks.len() >= count && others.len() >= count {
            break;
        }
        // One miner's bound of light shares is below this number.
        farm.submit(miner, share(&job, nonce));
        if heard_of_block(&mut farm) {
            farm.pool_accepts(link);
            blocks.push(nonce);
        } else {
            others.push(nonce);
        }
    }
    (blocks, others)
}

#[test]
fn f39_a_block_goes_up_whatever_the_difficulty_and_everybody_hears_of_it() {
    let (blocks, others) = nonces(2);
    let (mut farm, link, miner, job) = regtest(options(1), HOPELESS);
    farm.submit(miner, share(&job, others[0]));
    assert!(!heard_of_block(&mut farm));
    assert!(farm.pool_hears(link).is_empty());
    farm.submit(miner, share(&job, blocks[0]));
    assert!(heard_of_block(&mut farm));
    farm.pool_accepts(link);
    assert_eq!(farm.proxy.poll_event(), Some(Event::BlockAnswered { accepted: true, kept: false }));
    farm.submit(miner, share(&job, blocks[1]));
    let id = submit_ids(&farm.pool_hears(link)).remove(0);
    farm.pool_says(link, &json!({"id": id, "result": null, "error": [21, "x", null]}).to_string());
    let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
    assert_eq!(last, Some(Event::BlockAnswered { accepted: false, kept: false }));
}

#[test]
fn f39_a_block_is_sent_first() {
    let (blocks, others) = nonces(4);
    let (mut farm, link, miner, job) = regtest(options(1), TRIVIAL);
    for nonce in [others[0], others[1], blocks[0], others[2], blocks[1]] {
        farm.send_unsettled(miner, &submit(9, &job, nonce));
    }
    let order = farm.pool_hears(link).into_iter().map(|line| parse(&line)["params"][4].clone());
    let expected = [blocks[0], blocks[1], others[0], others[1], others[2]];
    assert!(order.eq(expected.map(|nonce| json!(format!("{nonce:08x}")))));
}

#[test]
fn f39_a_block_is_not_limited_and_finds_room() {
    let allowed = SUBMITS_BURST_MAX as usize + 1;
    let (blocks, others) = nonces(allowed + 1);
    let limited = Options { submit_interval: Duration::from_secs(3600), ..options(1) };
    let (mut farm, link, miner, job) = regtest(limited, TRIVIAL);
    // The pool answers nothing, and the queue fills up.
    let kept = QUEUE - PENDING_BLOCKS_RESERVED;
    for nonce in &others[..kept] {
        assert_eq!(farm.submit(miner, share(&job, *nonce))["result"], true);
    }
    let lost = farm.submit(miner, share(&job, others[kept]));
    assert_eq!(lost["error"], json!([20, "the queue to the pool is full: not counted", null]));
    assert_eq!(submit_ids(&farm.pool_hears(link)).len(), kept);
    assert_eq!(orphaned(&farm, Orphan::QueueFull), 1);
    for nonce in &others[kept + 1..=allowed] {
        farm.submit(miner, share(&job, *nonce));
    }
    assert_eq!(rejected(&farm, Reject::RateLimited), 1);
    for nonce in &blocks[..PENDING_BLOCKS_RESERVED] {
        assert_eq!(farm.submit(miner, share(&job, *nonce))["result"], true);
    }
    assert_eq!(submit_ids(&farm.pool_hears(link)).len(), PENDING_BLOCKS_RESERVED);
    farm.proxy.drain();
    let id = json!({"id": 16, "result": true});
    farm.pool_says(link, &id.to_string());
    assert_eq!(farm.submit(miner, share(&job, blocks[30]))["result"], true);
    assert_eq!(submit_ids(&farm.pool_hears(link)).len(), 1, "also while the gateway ends");
}

#[test]
fn f39_a_block_waits_for_its_pool_as_long_as_its_job_can_live() {
    let (blocks, others) = nonces(2);
    let (mut farm, link, miner, job) = regtest(options(1), TRIVIAL);
    farm.submit(miner, share(&job, blocks[0]));
    farm.pool_lost(link);
    assert_eq!(farm.pool_hears(link).len(), 1);
    farm.submit(miner, share(&job, blocks[1]));
    farm.submit(miner, share(&job, others[0]));
    farm.wait(HOLD_MAX + Duration::from_secs(60));
    assert_eq!(farm.proxy.ledger().of(Bucket::Held), 2);
    assert_eq!(orphaned(&farm, Orphan::Unsent), 1, "other shares are given up");
    let link = farm.dialled();
    farm.handshake(link, "c0ffee01", 8);
    let mut again = super::farm::job("again", 2, true);
    again[6] = "207fffff".into();
    farm.pool_says(link, &notify_of(&again));
    let sent = farm.pool_hears(link);
    assert_eq!(submit_ids(&sent).len(), 2, "both are sent, once: {sent:?}");
    // The wait for its verdict is longer, too.
    farm.wait(ANSWER_MAX);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.wait(Duration::from_secs(30));
    for id in submit_ids(&sent) {
        farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
    }
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolAccepted), 2);
}

#[test]
fn f39_blocks_that_a_pool_leaves_unanswered_make_room_for_other_shares() {
    let (blocks, others) = nonces(QUEUE);
    let mut options = options(1);
    options.submit_interval = Duration::ZERO;
    let (mut farm, link, miner, job) = regtest(options, TRIVIAL);
    let unanswered = QUEUE - PENDING_BLOCKS_RESERVED;
    for nonce in &blocks[..unanswered] {
        assert_eq!(farm.submit(miner, share(&job, *nonce))["result"], true);
    }
    assert_eq!(submit_ids(&farm.pool_hears(link)).len(), unanswered);
    farm.submit(miner, share(&job, others[0]));
    assert_eq!(orphaned(&farm, Orphan::QueueFull), 1);
    farm.wait(ANSWER_MAX + Duration::from_secs(1));
    assert_eq!(orphaned(&farm, Orphan::NoAnswer), unanswered as u64);
    farm.pool_hears(link);
    farm.submit(miner, share(&job, others[1]));
    assert_eq!(farm.pool_hears(link).len(), 1, "it is sent at once");
}

#[test]
fn f70_what_still_waits_at_the_end_is_settled_and_its_miner_told() {
    let (mut farm, link, miner, job) = waiting_farm();
    farm.proxy.drain();
    farm.send(miner, &submit(7, &job, 1));
    assert_eq!(farm.pool_hears(link).len(), 1);
    farm.wait(DRAIN_MAX);
    assert!(!farm.proxy.is_drained());
    farm.proxy.settle_all();
    assert_eq!(orphaned(&farm, Orphan::NoAnswer), 1);
    assert_eq!(farm.proxy.ledger().of(Bucket::Pending), 0);
    assert_eq!(parse(&farm.due(miner)[0])["error"][1], "no answer from pool");
    assert!(farm.proxy.is_drained());
}

#[test]
fn f70_a_late_share_for_a_link_that_nobody_dials_again_does_not_wait() {
    let (mut farm, _, miner, job) = waiting_farm();
    let mut changed = Options { verdict: VerdictMode::Pool, ..options(1) };
    changed.pools[0].password = "other".try_into().unwrap();
    farm.proxy.apply(changed, farm.now);
    assert!(farm.proxy.poll_hangup(farm.now).is_some());
    let link = farm.dialled();
    farm.pool_up(link, "beef", 8, TRIVIAL);
    farm.send(miner, &submit(7, &job, 1));
    farm.wait(Duration::from_secs(1));
    assert_eq!(orphaned(&farm, Orphan::Unsent), 1);
    let told = farm.due(miner);
    assert!(told.iter().any(|line| line.contains("no answer from pool")), "{told:?}");
    assert!(farm.proxy.is_drained());
}

#[test]
fn f39_a_block_for_a_job_that_was_ended_is_tried_all_the_same() {
    let (blocks, others) = nonces(2);
    let (mut farm, link, miner, first) = regtest(options(1), HOPELESS);
    // The pool renews its jobs on the same block.
    let mut renewed = job("renewed", 2, true);
    (renewed[4], renewed[6]) = (json!([]), "207fffff".into());
    farm.pool_says(link, &notify_of(&renewed));
    farm.due(miner);
    assert_eq!(farm.submit(miner, share(&first, others[0]))["error"][1], "stale");
    assert_eq!(farm.submit(miner, share(&first, blocks[0]))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][1], "regtest");
    // In another session no share can have its coinbase.
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_up(link, "beef", 8, HOPELESS);
    assert_eq!(farm.submit(miner, share(&first, blocks[1]))["error"][1], "stale");
    assert!(farm.pool_hears(link).is_empty());
}

#[test]
fn f39_a_block_whose_pool_stays_away_is_an_orphan_in_the_end() {
    let (blocks, _) = nonces(1);
    let (mut farm, link, miner, job) = regtest(options(1), TRIVIAL);
    farm.submit(miner, share(&job, blocks[0]));
    farm.pool_lost(link);
    farm.wait(JOB_AGE_MAX + Duration::from_secs(1));
    assert_eq!(orphaned(&farm, Orphan::Unanswered), 1);
    assert!(farm.proxy.is_drained());
}

/// The pool's lines for late blocks, after the engine has resent them.
fn late(farm: &mut Farm, link: LinkIndex) -> Vec<serde_json::Value> {
    farm.wait(Duration::from_secs(1));
    farm.pool_hears(link).iter().map(|line| parse(line)).collect()
}

#[test]
fn f39_a_block_of_a_lost_session_is_tried_late_once_in_each_session() {
    let (blocks, _) = nonces(1);
    let (mut farm, link, miner, job) = regtest(options(1), HOPELESS);
    farm.submit(miner, share(&job, blocks[0]));
    let first = parse(&farm.pool_hears(link)[0]);
    assert_eq!(farm.proxy.blocks().unsaved(), Unsaved::Found);
    let mut tried = 0;
    for extranonce1 in ["aa", "bb"] {
        farm.pool_lost(link);
        farm.wait(Duration::from_secs(5));
        let again = farm.dialled();
        assert_eq!(again, link);
        farm.pool_up(link, extranonce1, 8, HOPELESS);
        let heard = late(&mut farm, link);
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0]["params"], first["params"], "word for word");
        assert!(late(&mut farm, link).is_empty(), "and not twice");
        tried += 1;
        if tried == 2 {
            let answer = json!({"id": heard[0]["id"], "result": true});
            farm.pool_says(link, &answer.to_string());
        }
    }
    assert!(farm.proxy.blocks().is_empty());
    let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
    assert!(matches!(last, Some(Event::LateBlockAnswered { accepted: true, .. })), "{last:?}");
    assert_eq!(orphaned(&farm, Orphan::SessionLost), 1, "the ledger counts it where it fell");
}

#[test]
fn f39_a_block_of_an_earlier_run_has_its_session_asked_for_and_is_sent_again() {
    let (blocks, _) = nonces(1);
    let (mut before, link, miner, job) = regtest(options(1), HOPELESS);
    before.submit(miner, share(&job, blocks[0]));
    let first = parse(&before.pool_hears(link)[0]);
    let record = before.proxy.blocks().records().next().unwrap().clone();

    let mut farm = Farm::new();
    farm.proxy.restore_block(record, Duration::ZERO, farm.now).unwrap();
    let link = farm.dialled();
    assert!(farm.pool_hears(link)[0].contains("mining.configure"));
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    assert_eq!(parse(&farm.pool_hears(link)[0])["params"][1], "s", "the session by its id");
    let session = json!({"id": 2, "result": [[["mining.notify", "s"]], "c0ffee01", 8]});
    farm.pool_says(link, &session.to_string());
    farm.pool_says(link, r#"{"id":3,"result":true,"error":null}"#);
    farm.pool_hears(link);
    farm.pool_says(link, &notify("job-9", 3, true));
    let heard = late(&mut farm, link);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["params"], first["params"]);
    let refusal = json!({"id": heard[0]["id"], "result": null, "error": [23, "late", null]});
    farm.pool_says(link, &refusal.to_string());
    assert!(farm.proxy.blocks().is_empty(), "its own session has judged it");
    assert_eq!(farm.proxy.ledger().submitted(), 0, "it was counted by the run that found it");
}

#[test]
fn f92_a_block_of_a_pool_that_was_set_anew_is_its_account_s() {
    let (blocks, _) = nonces(2);
    let (mut farm, link, miner, job) = regtest(options(1), HOPELESS);
    farm.send_unsettled(miner, &submit(9, &job, blocks[0]));
    let mut other = options(1);
    other.pools[0].user = "stranger".try_into().unwrap();
    farm.proxy.apply(other, farm.now);
    // The connection is still open: shares on it go under its own name.
    farm.send_unsettled(miner, &submit(10, &job, blocks[1]));
    let accounts: Vec<_> =
        farm.proxy.blocks().records().map(|record| record.account.user.as_str()).collect();
    assert_eq!(accounts, ["farm.gateway"; 2]);
    let heard = farm.pool_hears(link);
    let submits: Vec<Value> = heard.iter().map(|line| parse(line)).collect();
    assert_eq!(submits.len(), 2, "{submits:?}");
    assert!(submits.iter().all(|submit| submit["params"][0] == "farm.gateway"), "{submits:?}");
    farm.wait(Duration::from_secs(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, HOPELESS);
    assert!(submit_ids(&farm.pool_hears(link)).is_empty(), "a stranger's link");
    assert_eq!(farm.proxy.blocks().records().count(), 2);
}

/// The refusal forms of pools, with the code of each (`pool-refusal-forms.txt`).
const REFUSALS: [(&str, u64, PoolReject); 16] = [
    (r#""reject-reason":"Stale","result":false,"error":null"#, 21, PoolReject::JobNotFound),
    (
        r#""reject-reason":"Above target","result":false,"error":null"#,
        23,
        PoolReject::LowDifficulty,
    ),
    (r#""result":null,"error":[21,"Job not found",""]"#, 21, PoolReject::JobNotFound),
    (r#""result":null,"error":[21,"Job not found (=stale)",null]"#, 21, PoolReject::JobNotFound),
    (r#""result":null,"error":[23,"Difficulty too low",""]"#, 23, PoolReject::LowDifficulty),
    (
        r#""jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null}"#,
        22,
        PoolReject::Duplicate,
    ),
    (
        r#""result":false,"error":{"code":22,"message":"duplicate share","data":null}"#,
        22,
        PoolReject::Duplicate,
    ),
    (r#""result":false,"error":"Stale""#, 21, PoolReject::JobNotFound),
    (r#""result":null,"error":"duplicate""#, 22, PoolReject::Duplicate),
    (r#""result":null,"error":[2,"Stale",null]"#, 21, PoolReject::JobNotFound),
    (r#""result":null,"error":null"#, 20, PoolReject::Other),
    (r#""result":false"#, 20, PoolReject::Other),
    (r#""error":true"#, 20, PoolReject::Other),
    (r#""result":null,"error":[24,"unauthorized",null]"#, 24, PoolReject::Unauthorized),
    (r#""result":null,"error":[25,"not subscribed",null]"#, 25, PoolReject::NotSubscribed),
    (r#""result":null,"error":[-3,"no idea",null]"#, 20, PoolReject::Other),
];

#[test]
fn f41_every_form_of_refusal_is_one_verdict() {
    for (form, code, bucket) in REFUSALS {
        for verdict in [VerdictMode::Local, VerdictMode::Pool] {
            let (mut farm, link, miner, job) = farm(Options { verdict, ..options(1) }, TRIVIAL);
            let at_once = farm.submit(miner, share(&job, 1));
            let id = submit_ids(&farm.pool_hears(link)).remove(0);
            farm.pool_says(link, &format!(r#"{{{form},"id":{id}}}"#));
            assert_eq!(farm.proxy.ledger().of(Bucket::PoolRejected(bucket)), 1, "{form}");
            let later = farm.due(miner);
            match verdict {
                VerdictMode::Local => {
                    assert_eq!((at_once["result"].clone(), later.len()), (json!(true), 0));
                }
                VerdictMode::Pool => {
                    assert_eq!(at_once, Value::Null, "not before the pool has spoken");
                    assert_eq!(later.len(), 1);
                    assert_eq!(parse(&later[0])["error"][0], code, "{form}");
                    assert_eq!(parse(&later[0])["id"], 9);
                }
            }
        }
    }
}

#[test]
fn f41_answers_out_of_order_find_their_shares_and_ids_in_strings_too() {
    let (mut farm, link, miner, job) = waiting_farm();
    let lines: String = (1..=6).map(|n| submit(100 + n, &job, n) + "\n").collect();
    farm.bytes(miner, lines.as_bytes());
    let sent = farm.pool_hears(link);
    for line in sent.iter().rev() {
        let line = parse(line);
        let odd = line["params"][4].as_str().unwrap().ends_with(['1', '3', '5']);
        let id = if odd { line["id"].to_string().into() } else { line["id"].clone() };
        farm.pool_says(link, &json!({"id": id, "result": odd}).to_string());
        assert_eq!(farm.proxy.poll_due(), Some(miner));
    }
    let heard = farm.due(miner);
    assert_eq!(heard.len(), 6, "each once: {heard:?}");
    for line in heard {
        let line = parse(&line);
        let odd = line["id"].as_u64().unwrap() % 2 == 1;
        assert_eq!(line["result"] == true, odd, "{line}");
    }
    assert!(farm.proxy.is_drained());
}

#[test]
fn f41_an_answer_that_never_comes_is_an_orphan_and_a_late_one_changes_nothing() {
    let (mut farm, link, miner, job) = waiting_farm();
    assert_eq!(farm.submit(miner, share(&job, 1)), Value::Null);
    let id = submit_ids(&farm.pool_hears(link)).remove(0);
    farm.wait(ANSWER_MAX - Duration::from_secs(1));
    assert!(farm.due(miner).is_empty());
    farm.wait(Duration::from_secs(2));
    let heard = farm.due(miner);
    assert_eq!(parse(&heard[0])["error"], json!([20, "no answer from pool", null]));
    assert_eq!(parse(&heard[0])["id"], 9);
    assert_eq!(orphaned(&farm, Orphan::NoAnswer), 1);
    assert_eq!(farm.proxy.ledger().pool_rejected(), 0, "counted apart from rejects");
    for _ in 0..3 {
        farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
    }
    assert!(farm.due(miner).is_empty());
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolAccepted), 0);
}

#[test]
fn f41_a_second_answer_and_answers_for_others_change_nothing() {
    let (mut farm, link, miner, job) = waiting_farm();
    farm.submit(miner, share(&job, 1));
    let id = submit_ids(&farm.pool_hears(link)).remove(0);
    for other in
        [json!(0), json!(4), json!(u64::MAX), json!(-1), json!("x"), json!(null), json!(1.5)]
    {
        farm.pool_says(link, &json!({"id": other, "result": true}).to_string());
        assert!(farm.due(miner).is_empty(), "{other}");
    }
    farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
    farm.pool_says(link, &json!({"id": id, "result": false}).to_string());
    assert_eq!(farm.due(miner).len(), 1);
    let ledger = farm.proxy.ledger();
    assert_eq!((ledger.of(Bucket::PoolAccepted), ledger.pool_rejected()), (1, 0));
}

#[test]
fn f41_verdicts_for_miners_that_left_are_booked_and_take_no_room() {
    let (mut farm, link, _, _) = waiting_farm();
    for round in 0..3 * QUEUE as u32 {
        let (miner, heard) = farm.miner(WORKER);
        // An id is reused in the end with the same work, so the share must differ.
        farm.submit(miner, share(&notified(&heard), round));
        let id = submit_ids(&farm.pool_hears(link)).remove(0);
        // Half of them leave before the verdict, half with the verdict unheard.
        if round % 2 == 0 {
            farm.proxy.handle_disconnect(miner);
        }
        farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
        if round % 2 == 1 {
            farm.proxy.handle_disconnect(miner);
        }
        assert!(farm.proxy.is_drained());
        // Ids rest until the pool has another job.
        farm.pool_says(link, &notify("next", 1, true));
    }
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolAccepted), 3 * QUEUE as u64);
}

#[test]
fn f41_a_share_without_room_is_answered_at_once() {
    let (mut farm, _, miner, job) = waiting_farm();
    let kept = (QUEUE - PENDING_BLOCKS_RESERVED) as u32;
    for nonce in 0..kept {
        assert_eq!(farm.submit(miner, share(&job, nonce)), Value::Null);
    }
    let answer = farm.submit(miner, share(&job, kept));
    let full = "the queue to the pool is full: not counted";
    assert_eq!(answer["error"], json!([20, full, null]));
    assert_eq!(orphaned(&farm, Orphan::QueueFull), 1);
}

#[test]
fn f41_more_verdicts_at_once_than_the_list_holds_reach_everybody() {
    let options = Options { verdict: VerdictMode::Pool, ..options(1) };
    let mut farm = Farm::with(200, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let miners: Vec<_> = (0..150)
        .map(|_| {
            let (miner, heard) = farm.miner(WORKER);
            farm.submit(miner, share(&notified(&heard), 1));
            miner
        })
        .collect();
    while farm.proxy.poll_fan_out() {}
    let answers: String = submit_ids(&farm.pool_hears(link))
        .iter()
        .map(|id| json!({"id": id, "result": true}).to_string() + "\n")
        .collect();
    farm.pool_bytes(link, answers.as_bytes()).unwrap();
    assert!(farm.proxy.poll_fan_out(), "all miners are to be looked at");
    assert_eq!(farm.wanting(), miners);
    for miner in miners {
        assert_eq!(farm.due(miner).len(), 1);
    }
}

#[test]
fn f49_ids_come_back_although_a_pool_stays_away() {
    let mut farm = Farm::with(8, options(2));
    let first = farm.dialled();
    farm.pool_up(first, "aa", 8, TRIVIAL);
    farm.miner(WORKER);
    farm.pool_lost(first);
    farm.wait(Duration::from_secs(6));
    let mut second = None;
    while let Some((link, pool)) = farm.proxy.poll_dial(farm.now) {
        if pool == 1 {
            farm.proxy.handle_link_up(link, farm.now);
            second = Some(link);
        }
    }
    let second = second.expect("the next pool is tried");
    farm.pool_up(second, "bb", 8, TRIVIAL);
    // Many more connections than ids, while the first pool's last job never ends.
    for round in 0..1_000 {
        let (miner, heard) = farm.miner(WORKER);
        let seat = farm.proxy.miner(miner).unwrap().seat().unwrap();
        assert_eq!(seat.lane, 0, "an id is free in round {round}");
        notified(&heard);
        farm.proxy.handle_disconnect(miner);
        if round % 10 == 0 {
            farm.wait(Duration::from_secs(60));
            farm.pool_says(second, &notify(&format!("j{round}"), 1, true));
            while let Some((link, _)) = farm.proxy.poll_dial(farm.now) {
                let lost = loka_stratum::upstream::Lost::Connect;
                farm.proxy.handle_link_down(link, LinkClose::Lost(lost), farm.now);
            }
        }
    }
}
