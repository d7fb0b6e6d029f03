//! Every pool down for longer than shares are held: the miners' work, answers and counts.

mod farm;

use farm::{Farm, TRIVIAL, notified, notify, notify_with, options, set_difficulty};
use loka_stratum::ledger::{Bucket, Orphan};
use loka_stratum::proxy::{Event, Options};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost};
use serde_json::{Value, json};

const NTIME: usize = 7;
const JOB: usize = 0;

/// A farm with a working miner, its pool, and its job.
fn at_work(options: Options) -> (Farm, LinkIndex, MinerHandle, Value) {
    let mut farm = Farm::with(8, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    (farm, link, miner, notified(&heard))
}

/// Lets time pass without an answer of the pools. Returns the miner's newest job.
fn alone(farm: &mut Farm, miner: MinerHandle, seconds: u64) -> Option<Value> {
    let mut job = None;
    for _ in 0..seconds {
        while let Some((link, _)) = farm.proxy.poll_dial(farm.now) {
            farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Connect), farm.now);
        }
        farm.wait(Duration::from_secs(1));
        if farm.wanting().contains(&miner) {
            job = Some(notified(&farm.due(miner)));
        }
    }
    job
}

fn share(job: &Value, nonce: u32) -> Value {
    json!(["farm.s19", job[JOB], "0000000a", job[NTIME], format!("{nonce:08x}")])
}

fn no_pool(farm: &Farm) -> u64 {
    farm.proxy.ledger().of(Bucket::Orphaned(Orphan::NoPool))
}

#[test]
fn f64_miners_keep_warm_and_what_they_find_is_said_not_to_count() {
    let (mut farm, link, miner, first) = at_work(options(1));
    farm.pool_lost(link);
    // While shares are held, they are answered `true`.
    assert_eq!(farm.submit(miner, share(&first, 1))["result"], true);
    let job = alone(&mut farm, miner, 90).expect("the last job comes again");
    assert_ne!(job[JOB], first[JOB]);
    assert!(job[NTIME].as_str() > first[NTIME].as_str(), "its time was moved on: {job}");
    let events: Vec<Event> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert_eq!(events.iter().filter(|event| **event == Event::NoPool).count(), 1);

    let before = *farm.proxy.miner(miner).unwrap().counts();
    let work = farm.proxy.miner(miner).unwrap().work();
    let answer = farm.submit(miner, share(&job, 2));
    assert_eq!(answer["error"], json!([20, "no pool: not counted", null]));
    // The checks are unchanged.
    assert_eq!(farm.submit(miner, share(&job, 2))["error"][0], 22);
    let mut stranger = share(&job, 3);
    stranger[0] = "nobody".into();
    assert_eq!(farm.submit(miner, stranger)["error"][0], 24);
    let counts = farm.proxy.miner(miner).unwrap().counts();
    assert_eq!(no_pool(&farm), 1);
    assert_eq!(counts.submitted(), before.submitted() + 3);
    assert_eq!(farm.proxy.miner(miner).unwrap().work(), work, "it is not earned");
}

#[test]
fn f64_shares_that_nobody_pays_for_neither_close_a_miner_nor_move_its_difficulty() {
    let (mut farm, link, miner, _) = at_work(options(1));
    farm.pool_lost(link);
    let mut job = alone(&mut farm, miner, 90).expect("the last job comes again");
    for nonce in 0..1_500 {
        assert_eq!(farm.submit(miner, share(&job, nonce))["error"][0], 20);
        if nonce % 50 == 0 {
            job = alone(&mut farm, miner, 1).unwrap_or(job);
        }
    }
    assert_eq!(no_pool(&farm), 1_500);
    let told = farm.proxy.miner(miner).unwrap().told_difficulty().unwrap();
    alone(&mut farm, miner, 50);
    assert_eq!(farm.proxy.miner(miner).unwrap().told_difficulty(), Some(told));
}

#[test]
fn f64_without_warmth_no_more_jobs_come_until_a_pool_is_back() {
    let (mut farm, link, miner, first) = at_work(Options { warm: false, ..options(1) });
    farm.pool_lost(link);
    assert!(alone(&mut farm, miner, 300).is_none(), "no job while every pool is away");
    let (newcomer, heard) = farm.miner("farm.s21");
    assert!(!heard.iter().any(|line| line.contains("\"method\":\"mining.notify\"")), "{heard:?}");
    assert_eq!(farm.submit(miner, share(&first, 1))["error"][0], 20);

    farm.wait(Duration::from_secs(61));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee02", 8, TRIVIAL);
    let job = notified(&farm.due(miner));
    notified(&farm.due(newcomer));
    assert_eq!(farm.submit(miner, share(&job, 2))["result"], true);
    assert_eq!(farm.proxy.ledger().of(Bucket::Pending), 1);
}

#[test]
fn f39_a_block_found_while_every_pool_is_away_is_held() {
    let (mut farm, link, miner, _) = at_work(options(1));
    // A network of which every other hash is a block.
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    let easy = notify("easy", 1, true).replace("17023774", "207fffff");
    farm.pool_says(link, &easy);
    farm.due(miner);
    farm.pool_lost(link);
    let job = alone(&mut farm, miner, 90).expect("the last job comes again");
    let answers: Vec<Value> = (0..32).map(|n| farm.submit(miner, share(&job, n))).collect();
    let held = farm.proxy.ledger().of(Bucket::Held);
    assert!(held > 0, "one of 32 hashes is a block");
    assert_eq!(answers.iter().filter(|answer| answer["result"] == true).count() as u64, held);
    assert_eq!(no_pool(&farm) + held, 32);
    farm.wait(Duration::from_secs(61));
    let link = farm.dialled();
    farm.handshake(link, "c0ffee01", 8);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify_with("again", 1, false, "02", "ff"));
    let sent = farm.pool_hears(link).iter().filter(|line| line.contains("submit")).count();
    assert_eq!(sent as u64, held, "all of them go out when the pool is back");
}
