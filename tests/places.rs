//! A new miner is served while a slot is free, however often the farm reconnects (F88), and for any
//! lengths of the pools' extranonce2 and any order of their answers (F89).

mod farm;

use std::collections::HashSet;

use farm::{Farm, TRIVIAL, notified, notify, options, parse, set_difficulty};
use loka_stratum::downstream::Close;
use loka_stratum::proxy::{Event, KeptFrom, Options};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkIndex, State};
use loka_stratum::work::extranonce::Geometry;
use serde_json::{Value, json};

/// What no answer to a subscription contains.
const NOTIFY: &str = r#""method":"mining.notify""#;

/// What a miner was told of its place and its first job.
struct Placed {
    handle: MinerHandle,
    roll_bytes: usize,
    job: Option<Value>,
}

fn arrive(farm: &mut Farm) -> Placed {
    let (handle, heard) = farm.miner("w");
    let roll_bytes = parse(&heard[0])["result"][2].as_u64().expect("it is served") as usize;
    let is_told = heard.iter().any(|line| line.contains(NOTIFY));
    Placed { handle, roll_bytes, job: is_told.then(|| notified(&heard)) }
}

/// Submits as a miner that begins at zero; `0` is the first share of all.
fn share(farm: &mut Farm, placed: &Placed, job: &Value, nonce: u32) -> Value {
    let roll = "00".repeat(placed.roll_bytes);
    let nonce = format!("{nonce:08x}");
    farm.submit(placed.handle, json!(["w", job[0], roll, job[7], nonce]))
}

/// The rest of a submit that makes its share different from others for one pool job.
fn heard_shares(farm: &mut Farm, link: LinkIndex) -> Vec<String> {
    let lines = farm.pool_hears(link);
    let submits = lines.iter().map(|line| parse(line));
    let submits = submits.filter(|line| line["method"] == "mining.submit");
    let mut answers = vec![];
    let shares = submits
        .map(|submit| {
            answers.push(json!({"id": submit["id"], "result": true}).to_string());
            json!(submit["params"].as_array().unwrap()[1..]).to_string()
        })
        .collect();
    answers.iter().for_each(|line| farm.pool_says(link, line));
    shares
}

#[test]
fn f88_a_farm_that_comes_back_twenty_times_is_served_each_time_and_repeats_nothing() {
    for (miners, n2) in [(40, 3), (40, 4), (40, 8), (150, 4), (150, 7), (150, 8)] {
        let mut farm = Farm::with(miners, options(1));
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee01", n2, TRIVIAL);
        let mut shares = HashSet::new();
        for round in 0..20 {
            let placed: Vec<_> = (0..miners).map(|_| arrive(&mut farm)).collect();
            for placed in &placed {
                let job = placed.job.as_ref().expect("it mines at once");
                assert_eq!(share(&mut farm, placed, job, 0)["result"], true);
                for heard in heard_shares(&mut farm, link) {
                    assert!(shares.insert(heard.clone()), "{heard} again in round {round}");
                }
            }
            placed.iter().for_each(|placed| farm.proxy.handle_disconnect(placed.handle));
            farm.wait(Duration::from_secs(2));
        }
        assert_eq!(shares.len(), 20 * miners);
    }
}

#[test]
fn f88_one_that_connects_and_closes_without_end_costs_the_others_nothing() {
    let (mut farm, link) = Farm::live("c0ffee01", 4, TRIVIAL);
    let others: Vec<_> = (0..60).map(|_| arrive(&mut farm)).collect();
    let ids = |farm: &Farm| -> HashSet<_> {
        farm.proxy.miners().filter_map(|(_, s)| s.seat()).map(|seat| seat.space.id).collect()
    };
    for _ in 0..5_000 {
        let placed = arrive(&mut farm);
        assert!(placed.job.is_some());
        assert_eq!(ids(&farm).len(), 61);
        farm.proxy.handle_disconnect(placed.handle);
    }
    for placed in &others {
        assert_eq!(farm.due(placed.handle), [""; 0], "no notify because of others");
    }
    // Ids without work are not used up: the next id is the first of the next turn.
    let seat = |placed: &Placed, farm: &Farm| farm.proxy.miner(placed.handle).unwrap().seat();
    let placed = arrive(&mut farm);
    assert_eq!(seat(&placed, &farm).unwrap().space.turn, 0);
    assert_eq!(farm.pool_hears(link), [""; 0]);
}

#[test]
fn f88_a_newcomer_of_a_later_turn_hears_new_work_with_each_renewal() {
    // Four bytes: the pad has no room for the turn.
    let (mut farm, link) = Farm::live("c0ffee01", 4, TRIVIAL);
    for _ in 0..500 {
        let placed = arrive(&mut farm);
        let job = placed.job.clone().unwrap();
        assert_eq!(share(&mut farm, &placed, &job, 0)["result"], true);
        heard_shares(&mut farm, link);
        farm.proxy.handle_disconnect(placed.handle);
    }
    let late = arrive(&mut farm);
    let mut told = late.job.clone().unwrap();
    for _ in 0..5 {
        farm.pool_says(link, &notify("job-1", 1, false));
        let next = notified(&farm.due(late.handle));
        assert!(next[7].as_str() > told[7].as_str(), "{next} after {told}");
        assert_eq!(share(&mut farm, &late, &next, 0)["result"], true);
        told = next;
    }
}

#[test]
fn f88_a_newcomer_of_a_later_turn_has_no_share_of_a_time_before_the_one_that_it_was_told() {
    // Four bytes: the pad has no room for the turn, so the time tells two of one id apart.
    let (mut farm, link) = Farm::live("c0ffee01", 4, TRIVIAL);
    let first = arrive(&mut farm).job.unwrap();
    let late = loop {
        let placed = arrive(&mut farm);
        let job = placed.job.clone().unwrap();
        if job[7] != first[7] {
            break placed;
        }
        share(&mut farm, &placed, &job, 0);
        heard_shares(&mut farm, link);
        farm.proxy.handle_disconnect(placed.handle);
    };
    let mut before = late.job.clone().unwrap();
    before[7] = first[7].clone();
    assert_eq!(share(&mut farm, &late, &before, 1)["error"][1], "ntime out of range");
    let job = late.job.clone().unwrap();
    assert_eq!(share(&mut farm, &late, &job, 1)["result"], true);
}

#[test]
fn f88_a_job_that_a_miner_was_never_told_is_not_found() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let first = arrive(&mut farm);
    let old = first.job.clone().unwrap();
    farm.pool_says(link, &notify("job-2", 1, false));
    let late = arrive(&mut farm);
    assert_eq!(share(&mut farm, &late, &old, 1)["error"][0], 21);
    assert_eq!(share(&mut farm, &first, &old, 1)["result"], true);
}

#[test]
fn f88_when_more_miners_come_than_three_bytes_number_the_owner_is_told() {
    let mut farm = Farm::sized(500, 1, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 3, TRIVIAL);
    for _ in 0..192 {
        arrive(&mut farm);
    }
    assert!(!farm.proxy.lacks_ids(farm.now));
    let miner = farm.connect();
    let subscribe = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
    let (heard, close) = farm.bytes(miner, subscribe);
    assert_eq!(
        (parse(&heard[0])["error"][0].clone(), close),
        (json!(20), Some(Close::IdsExhausted))
    );
    let text = Close::IdsExhausted.to_string();
    assert!(text.contains("extranonce2") && !text.contains("lanes"), "{text}");
    assert!(farm.proxy.lacks_ids(farm.now));
    farm.wait(Duration::from_secs(61));
    assert!(!farm.proxy.lacks_ids(farm.now));
}

fn two_pools(standby: bool, goals: bool) -> Options {
    let mut options = options(2);
    options.links.standby = standby;
    options.links.healthy = Duration::from_secs(5);
    if goals {
        options.links.goals = [0, 1, 0, 0];
        options.links.weights = [1, 1, 0, 0];
    }
    options
}

/// The links of both pools, by pool; they are not connected yet.
fn both(farm: &mut Farm) -> [LinkIndex; 2] {
    let mut links = [None; 2];
    for _ in 0..2 {
        let (link, pool) = farm.proxy.poll_dial(farm.now).expect("both pools are dialled");
        links[usize::from(pool)] = Some(link);
    }
    links.map(Option::unwrap)
}

/// A pool says how long its extranonce2 is, and gives a job where that is of use.
fn hear(farm: &mut Farm, link: LinkIndex, size: u8) {
    farm.proxy.handle_link_up(link, farm.now);
    if size >= 3 {
        farm.pool_up(link, &format!("c0ffee{:02x}", link.index()), size, TRIVIAL);
        return;
    }
    farm.pool_hears(link);
    farm.pool_says(link, r#"{"id":1,"result":{}}"#);
    let line = format!("{{\"id\":2,\"result\":[[],\"c0ffee01\",{size}]}}\n");
    assert!(farm.pool_bytes(link, line.as_bytes()).is_err());
}

#[test]
fn f89_in_any_order_of_answers_each_pool_is_used_by_a_miner_that_comes_after_both() {
    let sizes = [2, 3, 4, 8, 16];
    for (first, second) in sizes.iter().flat_map(|a| sizes.map(|b| (*a, b))) {
        let is_odd = (first + second) % 3 == 0;
        for (goals, swapped, miners) in
            [(true, is_odd, if is_odd { 8 } else { 300 }), (false, true, 8)]
        {
            let mut farm = Farm::with(miners, two_pools(true, goals));
            let mut order = both(&mut farm).into_iter().zip([first, second]).collect::<Vec<_>>();
            let of_pool = order.clone();
            if swapped {
                order.reverse();
            }
            for (at, (link, size)) in order.into_iter().enumerate() {
                assert!(farm.proxy.is_hearing(farm.now), "{at} of two were heard");
                hear(&mut farm, link, size);
            }
            assert!(!farm.proxy.is_hearing(farm.now));
            let placed: Vec<_> = (0..4).map(|_| arrive(&mut farm)).collect();
            let mut used = HashSet::new();
            for second in 0..3 {
                farm.wait(Duration::from_secs(1));
                for placed in &placed {
                    let heard = farm.due(placed.handle);
                    let job = match heard.iter().any(|line| line.contains(NOTIFY)) {
                        true => notified(&heard),
                        false if second == 0 && placed.job.is_some() => placed.job.clone().unwrap(),
                        false => continue,
                    };
                    share(&mut farm, placed, &job, second);
                }
                for (link, size) in &of_pool {
                    if !heard_shares(&mut farm, *link).is_empty() {
                        used.insert(*size);
                    }
                }
            }
            let of_use = [first, second].into_iter().filter(|size| *size >= 3);
            if goals {
                let all: HashSet<_> = of_use.collect();
                assert_eq!(used, all, "{first} and {second}, swapped {swapped}");
            } else {
                let serves = of_use.take(1).collect::<HashSet<_>>();
                assert_eq!(used, serves, "{first} before {second}");
            }
        }
    }
}

#[test]
fn f89_pools_have_five_seconds_to_be_heard_and_nothing_is_fixed_before_a_miner_comes() {
    let mut farm = Farm::with(300, two_pools(false, false));
    let [first, second] = both(&mut farm);
    hear(&mut farm, second, 8);
    assert!(farm.proxy.is_hearing(farm.now));
    farm.wait(Duration::from_millis(4_900));
    assert!(farm.proxy.is_hearing(farm.now));
    farm.wait(Duration::from_millis(200));
    assert!(!farm.proxy.is_hearing(farm.now));
    assert_eq!(farm.proxy.geometry(), Geometry::new(2, 4));
    // No miner has connected yet, so the first pool's change still applies.
    hear(&mut farm, first, 4);
    assert_eq!(farm.proxy.geometry(), Geometry::new(2, 2));
    assert_eq!(arrive(&mut farm).roll_bytes, 2);
}

#[test]
fn f89_only_who_came_too_early_is_kept_from_a_pool_until_it_connects_again() {
    let mut farm = Farm::with(300, two_pools(false, false));
    let [first, second] = both(&mut farm);
    hear(&mut farm, second, 8);
    farm.wait(Duration::from_secs(6));
    let early = arrive(&mut farm);
    let job = early.job.clone().expect("the second pool serves");
    assert_eq!(early.roll_bytes, 4);
    while farm.proxy.poll_event().is_some() {}

    hear(&mut farm, first, 4);
    let kept = KeptFrom { got: 4, need: 6, miners: 1 };
    let events: Vec<_> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert!(events.contains(&Event::KeptFrom { pool: 0, kept }), "{events:?}");
    assert_eq!(farm.proxy.kept_from(0), Some(kept));
    let text = kept.to_string();
    assert!(text.contains("4 bytes") && text.contains("need 6"), "{text}");
    farm.wait(Duration::from_secs(10));
    assert_eq!(farm.proxy.links().active_pool(0), 0, "the first pool is trusted again");

    let late = arrive(&mut farm);
    assert_eq!(late.roll_bytes, 2);
    let late_job = late.job.clone().expect("it is served");
    assert_eq!(share(&mut farm, &late, &late_job, 1)["result"], true);
    assert_eq!(heard_shares(&mut farm, first).len(), 1);
    // The other miner keeps working for the pool that it fits, with its new jobs, long after all
    // others left that pool.
    assert_eq!(share(&mut farm, &early, &job, 1)["result"], true);
    assert_eq!(heard_shares(&mut farm, second).len(), 1);
    farm.wait(Duration::from_secs(90));
    while farm.proxy.poll_hangup(farm.now).is_some() {}
    assert_eq!(farm.proxy.links().get(second).unwrap().state(), State::Live);
    farm.pool_says(second, &notify("job-2", 2, true));
    let job = notified(&farm.due(early.handle));
    assert_eq!(share(&mut farm, &early, &job, 1)["result"], true);
    assert_eq!(heard_shares(&mut farm, second).len(), 1);

    farm.proxy.handle_disconnect(early.handle);
    let events: Vec<_> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert!(events.contains(&Event::AllFit { pool: 0 }), "{events:?}");
    assert_eq!(farm.proxy.kept_from(0), None);
    let again = arrive(&mut farm);
    assert_eq!(again.roll_bytes, 2);
    let job = again.job.clone().unwrap();
    assert_eq!(share(&mut farm, &again, &job, 1)["result"], true);
    assert_eq!(heard_shares(&mut farm, first).len(), 1);
}

#[test]
fn f89_who_fits_no_pool_of_its_goal_works_for_another() {
    let mut farm = Farm::with(300, two_pools(false, true));
    let [first, second] = both(&mut farm);
    hear(&mut farm, second, 8);
    farm.wait(Duration::from_secs(6));
    let early: Vec<_> = (0..4).map(|_| arrive(&mut farm)).collect();
    hear(&mut farm, first, 4);
    let late: Vec<_> = (0..4).map(|_| arrive(&mut farm)).collect();
    for _ in 0..20 {
        farm.wait(Duration::from_secs(2));
        farm.pool_says(first, &set_difficulty(TRIVIAL));
        for placed in early.iter().chain(&late) {
            farm.due(placed.handle);
        }
    }
    for placed in &early {
        assert_eq!(farm.proxy.miner(placed.handle).unwrap().goal(), 1);
    }
    let at_first = late.iter().filter(|p| farm.proxy.miner(p.handle).unwrap().goal() == 0);
    assert!(at_first.count() >= 3, "those who fit make up for the others");
}

#[test]
fn f89_beyond_the_ids_of_three_bytes_miners_work_for_the_longer_pool() {
    let mut farm = Farm::sized(400, 4, two_pools(false, true));
    let [first, second] = both(&mut farm);
    hear(&mut farm, first, 3);
    hear(&mut farm, second, 8);
    let placed: Vec<_> = (0..400).map(|_| arrive(&mut farm)).collect();
    assert!(placed[..192].iter().all(|placed| placed.roll_bytes == 2));
    // All links are in use by lanes; later miners get an id of two bytes.
    let lanes = farm.proxy.links().lanes().len();
    assert!(lanes <= 4);
    let seats: HashSet<_> = farm
        .proxy
        .miners()
        .filter_map(|(_, session)| session.seat())
        .map(|seat| (seat.lane, seat.space))
        .collect();
    assert_eq!(seats.len(), 400);
}
