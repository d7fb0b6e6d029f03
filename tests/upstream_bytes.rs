//! WAN traffic: an hour of 1,000 miners through the engine, in virtual time, compared with the same
//! miners on direct connections to the pool.
//!
//! Both ways get the same jobs (one in 30 s, 12 branches) and the pool sets each connection's
//! difficulty for 20 shares a minute, as pools do. Direct connections are counted from the same
//! lines that the engine writes and reads: a handshake, every notify, every share with its answer.
//! TLS adds the same few per cent to both and is omitted.

mod farm;

use farm::{Farm, TRIVIAL, notified, parse};
use loka_stratum::ledger::Bucket;
use loka_stratum::limits::OUTPUT_BYTES_MIN;
use loka_stratum::time::Duration;
use loka_stratum::wire::writer::Writer;
use serde_json::json;

const MINERS: usize = 1_000;
const SHARES_PER_MINUTE: usize = 6;
const POOL_SHARES_PER_MINUTE: usize = 20;
/// Hashes per share at this difficulty, which gives the pool's 20 shares a minute for the farm.
const ONE_IN: f64 = (MINERS * SHARES_PER_MINUTE / POOL_SHARES_PER_MINUTE) as f64;

fn notify(job: usize) -> String {
    let branches = [(); 12].map(|()| "5a".repeat(32));
    let params = json!([
        format!("{job:x}"),
        "0b".repeat(28) + "00000000",
        "01".repeat(100),
        "02".repeat(138),
        branches,
        "20000000",
        "17023774",
        farm::NTIME,
        job.is_multiple_of(20)
    ]);
    json!({"id": null, "method": "mining.notify", "params": params}).to_string()
}

const ANSWER: &str = "{\"id\":4,\"result\":true,\"error\":null}\n";

fn submit(worker: &str, (job, time): (&str, &str), extranonce2: &str, nonce: usize) -> String {
    format!(
        "{{\"id\":4,\"method\":\"mining.submit\",\"params\":\
         [\"{worker}\",\"{job}\",\"{extranonce2}\",\"{time}\",\"{nonce:08x}\"]}}\n"
    )
}

#[test]
fn an_hour_of_a_thousand_miners_costs_the_wan_a_hundredth() {
    let mut farm = Farm::with(MINERS, farm::options(1));
    let link = farm.dialled();
    let pool_difficulty = ONE_IN / 2f64.powi(32);
    farm.pool_up(link, "c0ffee01", 8, pool_difficulty);
    let miners: Vec<_> = (0..MINERS).map(|n| farm.miner(&format!("farm.{n}")).0).collect();
    let mut buffer = vec![0; OUTPUT_BYTES_MIN];
    let handshake: usize = 600;
    let (mut through, mut direct) = (handshake, MINERS * handshake);

    for minute in 0..60 {
        for half in 0..2 {
            let line = notify(2 * minute + half);
            through += line.len() + 1;
            direct += MINERS * (line.len() + 1);
            farm.pool_says(link, &line);
            let job = notified(&farm.due(miners[0]));
            // The same work comes again, so miners are told it with a later time.
            let job = (job[0].as_str().unwrap(), job[7].as_str().unwrap());
            for (number, miner) in miners.iter().enumerate() {
                farm.proxy.poll_output(*miner, &mut Writer::new(&mut buffer), farm.now).unwrap();
                for share in 0..SHARES_PER_MINUTE / 2 {
                    let nonce = minute * SHARES_PER_MINUTE + half * 3 + share;
                    let line = submit(&format!("farm.{number}"), job, "00000001", nonce);
                    let mut out = Writer::new(&mut buffer);
                    let mut input = line.as_bytes();
                    farm.proxy.handle_input(*miner, &mut input, &mut out, farm.now).unwrap();
                    assert_eq!(out.as_slice(), ANSWER.as_bytes());
                }
            }
            // Direct, the pool's vardiff would have every miner send 20 a minute.
            let line = submit("farm.100", ("job-1", farm::NTIME), "0000000000000001", 1);
            direct += MINERS * POOL_SHARES_PER_MINUTE / 2 * (line.len() + ANSWER.len());
            for line in farm.pool_hears(link) {
                let answer = json!({"id": parse(&line)["id"], "result": true, "error": null});
                through += line.len() + answer.to_string().len() + 2;
                farm.pool_says(link, &answer.to_string());
            }
            farm.wait(Duration::from_secs(30));
        }
    }

    let ledger = farm.proxy.ledger();
    assert_eq!(ledger.submitted(), (MINERS * SHARES_PER_MINUTE * 60) as u64);
    assert_eq!(ledger.rejected(), 0);
    assert_eq!(ledger.forwarded(), ledger.of(Bucket::PoolAccepted));
    let less = 100.0 * (1.0 - through as f64 / direct as f64);
    println!(
        "upstream bytes in an hour of {MINERS} miners: {through} through the gateway, {direct} \
         direct: {less:.2} % less; {} of {} shares went up",
        ledger.forwarded(),
        ledger.submitted()
    );
    assert!(less >= 99.0, "{less} % less");
    assert!(TRIVIAL < pool_difficulty, "light shares stay here");
}
