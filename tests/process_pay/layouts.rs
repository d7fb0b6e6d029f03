//! Pools whose extranonce2 differ in length, and work that a pool sends again: F89, QUIRKS 53.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::client::{Client, Site};
use super::gateway::{Gateway, Pool, Reply, TRIVIAL};
use super::lab::Part;
use super::{Digger, GOALS, dig_until, lines_of, start, sum, work_of};

/// A gateway whose first pool is not heard yet.
fn with_a_late_pool(pools: &[Pool; 2]) -> (Gateway, Part) {
    let to = pools[0].address.to_string();
    let mut way = Part::start(&["faults", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = way.line("listening ").parse().unwrap();
    way.tell("half-open both");
    way.ask("counts");
    (start(&[address, pools[1].address], &GOALS), way)
}

#[test]
fn f89_pools_of_8_and_4_bytes_are_both_mined_at_in_either_order_though_the_first_is_late() {
    let both = [(8, 4), (4, 8)].map(|(first, second)| {
        let pools = [Pool::start("aaaa", first), Pool::start("bbbb", second)];
        let (gateway, way) = with_a_late_pool(&pools);
        (pools, gateway, way)
    });
    let both = both.map(|(pools, gateway, mut way)| {
        // No pool is waited for longer than five seconds; nobody is seated meanwhile.
        gateway.wait_for("the second pool alone", |report| {
            report["upstream"][1]["state"] == "live" && report["uptime_secs"].as_u64() >= Some(6)
        });
        assert_eq!(gateway.report()["upstream"][0]["reached"], false);
        way.tell("pass");
        (pools, gateway, way)
    });
    for (pools, gateway, _way) in both {
        gateway.wait_for("the first pool", |report| report["upstream"][0]["state"] == "live");
        let mut farm: Vec<_> =
            (0..8).map(|n| Digger::at("127.0.0.1", &gateway, &format!("farm.{n}"))).collect();
        let are_used = || pools.iter().all(|pool| pool.submits().len() >= 8);
        let report = dig_until(&gateway, &mut farm, "shares at both", |_| are_used());
        assert_eq!(report["miners"]["accepted"], 8, "nobody had to come back");
        assert!(report["links_lost"]["incompatible"].is_null(), "{}", report["links_lost"]);
        assert_eq!(kept_from(&report, 1).or(kept_from(&report, 2)), None);
        assert_eq!(lines_of(gateway, "incompatible"), [""; 0]);
    }
}

/// Whom a pool is too narrow for, as the status says it.
fn kept_from(report: &Value, pool: u32) -> Option<String> {
    let begin = format!("pool {pool}: its extranonce2 has ");
    let warnings = report["warnings"].as_array().unwrap().iter().filter_map(Value::as_str);
    let mut of_pool = warnings.filter_map(|text| text.strip_prefix(&begin));
    of_pool.next().map(str::to_owned)
}

#[test]
fn f89_a_narrow_pool_that_is_committed_is_kept_from_those_seated_before_until_they_come_again() {
    let site = Site::start();
    let seat = |n: u32, first_nonce| {
        let mut digger = Digger::at("127.0.0.1", &site.gateway, &format!("farm.{n}"));
        digger.nonce = first_nonce;
        digger
    };
    const WIDE: u32 = 1_000_000;
    const AGAIN: u32 = 2_000_000;
    let mut wide: Vec<_> = (0..3).map(|n| seat(n, n * 10_000 + WIDE)).collect();
    assert!(wide.iter().all(|digger| digger.subscription["result"][2] == 4));

    let narrow = Pool::start("bbbb", 4);
    let mut admin = Client::with_code(&site);
    let url = format!("stratum+tcp://{}", narrow.address);
    let edits = [("url", url.as_str()), ("user", "farm"), ("goal", "narrow"), ("weight", "10000")]
        .map(|(key, value)| json!({"key": format!("pool.2.{key}"), "value": value}));
    let committed = admin.post("/api/v1/commit", json!({"edits": edits}));
    assert_eq!(committed.code, 200, "{}", committed.body);
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200);

    let report = site.gateway.wait_for("who is kept from it", |report| {
        kept_from(report, 2).is_some() && report["upstream"][1]["state"] == "live"
    });
    let told = "4 bytes, and 3 miners that connected before that was known need 6: \
                they are kept from it until they connect again";
    assert_eq!(kept_from(&report, 2).as_deref(), Some(told));

    let heard = |from: u32, to: u32| {
        let nonces = narrow.nonces_of("farm");
        let numbers = nonces.iter().map(|nonce| u32::from_str_radix(nonce, 16).unwrap());
        numbers.filter(|nonce| (from..to).contains(nonce)).count()
    };
    // Newcomers fit both pools; the miners before them go on where they are.
    let mut farm = wide.drain(..).chain((3..6).map(|n| seat(n, n * 10_000))).collect::<Vec<_>>();
    dig_until(&site.gateway, &mut farm, "newcomers at the narrow pool", |_| heard(0, WIDE) >= 20);
    assert_eq!(heard(WIDE, AGAIN), 0, "a share of a miner that does not fit");
    let of_wide = |nonce: &String| u32::from_str_radix(nonce, 16).unwrap() >= WIDE;
    assert!(site.pool.nonces_of("farm").iter().filter(|nonce| of_wide(nonce)).count() >= 3);

    // It ends with their own next connections, and with no other's.
    for left in (0..3).rev() {
        drop(farm.remove(0));
        let report = site.gateway.wait_for("its end", |report| {
            kept_from(report, 2).is_none_or(|text| text.contains(&format!("{left} miners")))
        });
        assert_eq!(kept_from(&report, 2).is_none(), left == 0, "{report:#}");
        farm.push(seat(left, left * 10_000 + AGAIN));
    }
    dig_until(&site.gateway, &mut farm, "all at the narrow pool", |_| heard(AGAIN, u32::MAX) >= 20);
    let log = site.end();
    let line = format!("WARN pool 2: its extranonce2 has {told}: {url}");
    assert_eq!(log.matches(&line).count(), 1, "{log}");
    assert_eq!(log.matches("every miner that is connected fits pool 2 again").count(), 1, "{log}");
}

/// Makes a pool know its newest job only, and every share once, and returns where the id of that
/// job is set.
fn clean_jobs_only(pool: &Pool) -> Arc<Mutex<String>> {
    let newest = Arc::new(Mutex::new("0".to_owned()));
    let (shared, mut known) = (newest.clone(), std::collections::HashSet::new());
    pool.behave(move |request| {
        let share = &request["params"];
        if request["method"] != "mining.submit" {
            Reply::Usual
        } else if share[1] != *shared.lock().unwrap().as_str() {
            Reply::refusal(request, &json!([21, "Job not found", null]))
        } else if !known.insert(work_of(share)) {
            Reply::refusal(request, &json!([22, "Duplicate share", null]))
        } else {
            Reply::Usual
        }
    });
    newest
}

#[test]
fn f88_work_that_a_pool_sends_again_at_each_difficulty_step_costs_no_share_by_either_id() {
    let pool = Pool::start("abcd", 8);
    let newest = clean_jobs_only(&pool);
    let gateway = start(&[pool.address], &[]);
    // One compares work byte by byte and keeps the old id; the other begins each job anew.
    let mut keeps = Digger::at("127.0.0.1", &gateway, "farm.keeps");
    let mut begins = Digger::at("127.0.0.1", &gateway, "farm.begins");
    let first = keeps.job.clone();
    let mut shares = 0;
    for step in 1..=8 {
        for nonce in 1..=20 {
            let share = begins.miner.share("farm.begins", &begins.job, nonce);
            assert_eq!(begins.submit(share)["result"], true, "new id, step {step}");
            let share = keeps.miner.share("farm.keeps", &first, step * 100 + nonce);
            assert_eq!(keeps.submit(share)["result"], true, "old id, step {step}");
            shares += 2;
        }
        gateway.wait_for("the pool's answers", |r| r["ledger"]["pool_accepted"] == shares);
        *newest.lock().unwrap() = format!("{step:x}");
        let difficulty = TRIVIAL / f64::from(step);
        pool.say(
            &json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty]})
                .to_string(),
        );
        pool.new_job();
        let next = begins.miner.wait_for_job();
        let content = |job: &Value| json!(job["params"].as_array().unwrap()[1..8]);
        assert_ne!(content(&next), content(&begins.job), "a miner that compares sees no news");
        begins.job = next;
        keeps.miner.wait_for_job();
    }
    let ledger = &gateway.report()["ledger"];
    assert_eq!(sum(&ledger["rejected"]) + sum(&ledger["pool_rejected"]), 0, "{ledger:#}");
    assert_eq!(pool.submits().len(), shares as usize);
}
