//! The whole engine: the cost of one submit and one notify, bytes to bytes.
//!
//! `cargo bench --bench engine`. `engine/submit` reads a submit line and writes a verdict line,
//! with full validation over 12 branches and a 250-byte coinbase. `engine/notify` reads a pool's
//! notify and encodes one line for every miner. `share/hashing` is only the hashing of that same
//! share; the difference is the engine's own cost on any processor.

#[path = "../tests/farm/mod.rs"]
mod farm;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use farm::{Farm, HOPELESS, notified};
use loka_stratum::limits::OUTPUT_BYTES_MIN;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::header::{Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle;
use loka_stratum::work::target::NBits;
use loka_stratum::work::version::Version;
use serde_json::json;
use std::hint::black_box;

/// A coinbase of 250 bytes: 100 before the extranonce, 12 of it, 138 after it.
const COINB1: usize = 100;
const COINB2: usize = 138;

fn notify(job_id: u32, clean: bool) -> String {
    let branches = [(); 12].map(|()| "5a".repeat(32));
    let params = json!([
        format!("{job_id:x}"),
        "0b".repeat(28) + "00000000",
        "01".repeat(COINB1),
        "02".repeat(COINB2),
        branches,
        "20000000",
        "17023774",
        farm::NTIME,
        clean
    ]);
    json!({"id": null, "method": "mining.notify", "params": params}).to_string() + "\n"
}

fn submit(criterion: &mut Criterion) {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    farm.pool_says(link, notify(2, true).trim_end());
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    let line = json!({"id": 4, "method": "mining.submit",
        "params": ["farm.s19", job[0], "00000001", job[7], "00000000"]});
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    let nonce_at = line.windows(10).rposition(|part| part == b"\"00000000\"").unwrap() + 1;
    let id = job[0].as_str().unwrap().as_bytes();
    let job_at = line.windows(id.len()).position(|part| part == id).unwrap();
    let mut buffer = vec![0; OUTPUT_BYTES_MIN];
    let mut nonce = 0u32;
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.bench_function("submit", |bencher| {
        bencher.iter(|| {
            nonce = nonce.wrapping_add(1);
            line[nonce_at..nonce_at + 8].copy_from_slice(&loka_stratum::wire::hex::digits(nonce));
            // Time passes as for a miner within its allowance.
            farm.now = farm.now + loka_stratum::time::Duration::from_millis(10);
            // A clean job now and then makes room to remember every share.
            if nonce.is_multiple_of(512) {
                farm.pool_says(link, notify(2, true).trim_end());
                let job = notified(&farm.due(miner));
                let id = job[0].as_str().unwrap().as_bytes();
                line[job_at..job_at + id.len()].copy_from_slice(id);
            }
            let mut out = Writer::new(&mut buffer);
            let mut input = &line[..];
            farm.proxy.handle_input(miner, &mut input, &mut out, farm.now).unwrap();
            farm.proxy.poll_output(miner, &mut out, farm.now).unwrap();
            black_box(out.len())
        });
    });
    group.finish();
    let rejected = farm.proxy.ledger().rejected();
    assert_eq!(rejected, 0, "every share of the bench is good");
}

fn notify_in(criterion: &mut Criterion) {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    let line = notify(7, false);
    criterion.bench_function("engine/notify", |bencher| {
        bencher.iter(|| farm.proxy.handle_link_input(link, line.as_bytes(), farm.now).unwrap());
    });
}

fn hashing(criterion: &mut Criterion) {
    let prefix = CoinbasePrefix::new(&[&[1; COINB1 + 6]]);
    let branches = [[0x5a; 32]; 12];
    let coinb2 = [2; COINB2];
    let mut nonce = 0u32;
    criterion.bench_function("share/hashing", |bencher| {
        bencher.iter(|| {
            nonce = nonce.wrapping_add(1);
            let coinbase = prefix.hash_with(&nonce.to_be_bytes(), &coinb2);
            let header = Header {
                version: Version(0x2000_0000),
                prev_hash: PrevHash([7; 32]),
                merkle_root: merkle::root(coinbase, &branches),
                ntime: NTime(0x6842_6000),
                nbits: NBits(0x1702_3774),
                nonce: Nonce(nonce),
            };
            black_box(header.hash())
        });
    });
}

criterion_group!(benches, submit, notify_in, hashing);
criterion_main!(benches);
