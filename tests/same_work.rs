//! A pool that repeats the same work, under a new id or the old one (QUIRKS 24): miners get new
//! work, and their shares for the old id stay valid.

mod farm;

use farm::{Farm, NTIME, TRIVIAL, job, notified, notify, notify_of, parse, set_difficulty};
use loka_stratum::table::MinerHandle;
use loka_stratum::upstream::LinkIndex;
use serde_json::{Value, json};

/// The fields that a miner compares or hashes: all of a notify except its id and flag.
fn content(params: &Value) -> Value {
    json!(params.as_array().unwrap()[1..8])
}

fn accepted(farm: &mut Farm, miner: MinerHandle, job: &Value, ntime: &Value, nonce: u32) {
    let nonce = format!("{nonce:08x}");
    let answer = farm.submit(miner, json!(["w", job, "00000000", ntime, nonce]));
    assert_eq!(answer["result"], true, "{answer}");
}

/// Job id and ntime of the pool's last received submit.
fn forwarded(farm: &mut Farm, link: LinkIndex) -> (Value, Value) {
    let submit = farm.pool_accepts(link);
    (submit["params"][1].clone(), submit["params"][3].clone())
}

/// A pool's difficulty steps, each with the same work under the next id.
fn steps(clean: bool) -> impl Iterator<Item = (String, f64, String)> {
    (2..=6).map(move |step| {
        let id = format!("job-{step}");
        let difficulty = TRIVIAL / f64::from(step);
        (id.clone(), difficulty, notify(&id, 1, clean))
    })
}

#[test]
fn a_miner_that_begins_anew_repeats_nothing_at_any_step_of_its_pool() {
    for clean in [true, false] {
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (miner, heard) = farm.miner("w");
        let mut told = notified(&heard);
        accepted(&mut farm, miner, &told[0], &told[7], 0);
        farm.pool_accepts(link);
        for (id, difficulty, line) in steps(clean) {
            farm.pool_says(link, &set_difficulty(difficulty));
            farm.pool_says(link, &line);
            let next = notified(&farm.due(miner));
            assert_ne!(content(&told), content(&next), "a miner that compares sees no news");
            assert_eq!(next[8], clean);
            // It begins at the first nonce again.
            accepted(&mut farm, miner, &next[0], &next[7], 0);
            assert_eq!(forwarded(&mut farm, link), (json!(id), next[7].clone()));
            told = next;
        }
    }
}

#[test]
fn a_miner_that_stays_with_the_old_id_loses_nothing_at_any_step_of_its_pool() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("w");
    let old = notified(&heard);
    for (nonce, (id, difficulty, line)) in (1..).zip(steps(true)) {
        farm.pool_says(link, &set_difficulty(difficulty));
        farm.pool_says(link, &line);
        farm.due(miner);
        accepted(&mut farm, miner, &old[0], &old[7], nonce);
        // After a clean job the pool knows the new id only.
        assert_eq!(forwarded(&mut farm, link), (json!(id), json!(NTIME)));
    }
}

#[test]
fn a_share_for_the_old_id_is_held_to_the_difficulty_of_the_new_one() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("w");
    let old = notified(&heard);
    farm.pool_says(link, &set_difficulty(farm::HOPELESS));
    farm.pool_says(link, &notify("job-2", 1, true));
    farm.due(miner);
    farm.pool_hears(link);
    accepted(&mut farm, miner, &old[0], &old[7], 7);
    assert_eq!(farm.pool_hears(link), [""; 0], "it is too light for the pool by now");
}

#[test]
fn work_that_differs_in_anything_ends_the_old_id() {
    let other: [(usize, Value); 5] = [
        (1, json!("02".repeat(28) + "00000000")),
        (2, json!("0200000001ffffffff0c0340420e")),
        (3, json!("ffffffff0100f2052a01000001160014")),
        (4, json!([])),
        (5, json!("20000004")),
    ];
    for (at, value) in other {
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (miner, heard) = farm.miner("w");
        let old = notified(&heard);
        let mut params = job("job-2", 1, true);
        params[at] = value;
        farm.pool_says(link, &notify_of(&params));
        let new = notified(&farm.due(miner));
        assert_eq!(new[7], NTIME, "its time is the pool's own");
        let answer = farm.submit(miner, json!(["w", old[0], "00000000", NTIME, "00000001"]));
        assert_eq!(answer["error"][0], 21, "param {at}: {answer}");
    }
}

#[test]
fn an_older_time_than_the_pools_next_is_stale() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("w");
    let old = notified(&heard);
    let mut params = job("job-2", 1, true);
    params[7] = json!("6842601e");
    farm.pool_says(link, &notify_of(&params));
    assert_eq!(notified(&farm.due(miner))[7], "6842601e");
    let answer = farm.submit(miner, json!(["w", old[0], "00000000", NTIME, "00000001"]));
    assert_eq!(answer["error"][0], 21, "the pool would refuse its ntime: {answer}");
}

#[test]
fn the_same_line_again_and_again_moves_the_time_on_and_no_further_than_pools_take() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("w");
    let time =
        |heard: &[String]| u32::from_str_radix(notified(heard)[7].as_str().unwrap(), 16).unwrap();
    let most = u32::from_str_radix(NTIME, 16).unwrap() + 3_500;
    let mut before = time(&heard);
    for _ in 0..4_000 {
        farm.pool_says(link, &notify("job-1", 1, false));
        let heard = farm.due(miner);
        assert_eq!(parse(heard.last().unwrap())["method"], "mining.notify");
        let ntime = time(&heard);
        assert!(ntime > before || ntime == most, "{ntime} after {before}");
        before = ntime;
    }
}
