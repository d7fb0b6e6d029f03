//! Special treatment of firmwares, and the warnings where it may not suffice.

mod farm;

use farm::{Farm, TRIVIAL, notify, notify_with, options, set_difficulty};
use loka_stratum::personality::{Steps, Unfit};
use loka_stratum::proxy::{Event, Options};
use loka_stratum::table::MinerHandle;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::difficulty::Difficulty;
use serde_json::json;

fn connect(farm: &mut Farm, agent: &str, worker: &str) -> MinerHandle {
    let miner = farm.connect();
    let subscribe = json!({"id": 1, "method": "mining.subscribe", "params": [agent]});
    farm.send(miner, &subscribe.to_string());
    let authorize = json!({"id": 2, "method": "mining.authorize", "params": [worker, "x"]});
    farm.send(miner, &authorize.to_string());
    miner
}

fn told(farm: &Farm, miner: MinerHandle) -> f64 {
    farm.proxy.miner(miner).unwrap().told_difficulty().unwrap().as_f64()
}

fn unfit(farm: &mut Farm) -> Vec<Unfit> {
    let events = std::iter::from_fn(|| farm.proxy.poll_event());
    events
        .filter_map(|e| if let Event::Unfit { unfit, .. } = e { Some(unfit) } else { None })
        .collect()
}

/// QUIRKS 26, 27: difficulties below a pool's 1,000.
#[test]
fn an_asic_gets_a_power_of_two_and_a_program_the_pools_own_difficulty() {
    let mut settings: Options = options(1);
    settings.vardiff.start = Difficulty::new(65_536.0).unwrap();
    let mut farm = Farm::with(8, settings);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, 1000.0);
    for (agent, expected) in [
        ("bmminer/2.0.0", 512.0),
        ("a new thing", 512.0),
        ("cpuminer/2.5.1", 1000.0),
        ("NerdMinerV2/V1.8.3", 1000.0),
    ] {
        let miner = connect(&mut farm, agent, "w");
        assert_eq!(told(&farm, miner), expected, "{agent}");
    }
}

#[test]
fn who_suggests_a_fraction_takes_fractions() {
    let mut farm = Farm::with(8, options(1));
    let miner = connect(&mut farm, "a new thing", "w");
    assert_eq!(farm.proxy.miner(miner).unwrap().steps(), Steps::PowersOfTwo);
    farm.send(miner, r#"{"id":3,"method":"mining.suggest_difficulty","params":[1024]}"#);
    assert_eq!(farm.proxy.miner(miner).unwrap().steps(), Steps::PowersOfTwo);
    farm.send(miner, r#"{"id":4,"method":"mining.suggest_difficulty","params":[0.0001]}"#);
    assert_eq!(farm.proxy.miner(miner).unwrap().steps(), Steps::Any);
}

/// QUIRKS 41: each job is counted, and the first is logged.
#[test]
fn a_coinbase_that_a_firmware_may_not_survive_is_counted_and_said_once() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let small = connect(&mut farm, "Antminer S19", "w");
    let large = connect(&mut farm, "bitaxe/BM1370/v2.13.1", "w");
    let unknown = connect(&mut farm, "a new thing", "w");
    assert_eq!(unfit(&mut farm), []);
    for number in 0..3 {
        let coinb2 = "00".repeat(1000);
        farm.pool_says(link, &notify_with(&format!("long-{number}"), 1, false, "02", &coinb2));
        for miner in [small, large, unknown] {
            farm.due(miner);
        }
    }
    let session = |miner| farm.proxy.miner(miner).unwrap().oversized_jobs();
    assert_eq!([session(small), session(large), session(unknown)], [3, 0, 0]);
    assert_eq!(farm.proxy.oversized_jobs(), 3);
    // coinb1, extranonce1, extranonce2, coinb2.
    let got = 1 + 4 + 8 + 1000;
    assert_eq!(unfit(&mut farm), [Unfit::Coinbase { got, limit: 730 }]);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("short", 2, true));
    farm.due(small);
    assert_eq!(farm.proxy.oversized_jobs(), 3);
}

/// QUIRKS 44: an Avalon cuts names at 63 letters, so a name of 63 letters may be a part of a longer
/// one.
#[test]
fn a_name_that_may_have_been_cut_is_said() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    connect(&mut farm, "cgminer/4.11.1", &"w".repeat(62));
    connect(&mut farm, "whatsminer/v1.1", &"w".repeat(127));
    assert_eq!(unfit(&mut farm), []);
    connect(&mut farm, "cgminer/4.11.1", &"w".repeat(63));
    connect(&mut farm, "whatsminer/v1.1", &"w".repeat(128));
    assert_eq!(
        unfit(&mut farm),
        [Unfit::WorkerName { got: 63, limit: 62 }, Unfit::WorkerName { got: 128, limit: 127 }]
    );
}

/// QUIRKS 45: without a host, and only to firmware that is known to obey it.
#[test]
fn a_firmware_that_heeds_it_is_asked_to_come_back() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let last_words = |farm: &Farm, miner| {
        let mut buffer = [0; 256];
        let mut out = Writer::new(&mut buffer);
        farm.proxy.take_leave(miner, &mut out);
        String::from_utf8(out.as_slice().to_vec()).unwrap()
    };
    let heeding = connect(&mut farm, "cgminer/4.11.1", "w");
    let deaf = connect(&mut farm, "bitaxe/BM1370/v2.13.1", "w");
    let unknown = connect(&mut farm, "a new thing", "w");
    let too_new = farm.connect();
    let asked = "{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}\n";
    assert_eq!(last_words(&farm, heeding), asked);
    for miner in [deaf, unknown, too_new] {
        assert_eq!(last_words(&farm, miner), "");
    }
}
