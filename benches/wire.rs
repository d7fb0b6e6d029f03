//! The cost of reading and writing a line. `cargo bench --no-default-features --bench wire`.
//!
//! It is compared with a parser of `serde_json` and derived types, the shortest code for the same
//! message. That parser accepts whole-number ids and string params only, and checks neither depth
//! nor duplicate params.
//!
//! Results are read in place: passing one by value would also time the copy.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use loka_stratum::limits::UPSTREAM_LINE_BYTES_MAX;
use loka_stratum::wire::client::{self, Request};
use loka_stratum::wire::encode::{self, HexField, NotifyFields};
use loka_stratum::wire::hex;
use loka_stratum::wire::id::Id;
use loka_stratum::wire::line::Framer;
use loka_stratum::wire::server::{self, ServerLine};
use loka_stratum::wire::writer::Writer;
use serde::Deserialize;

const SUBSCRIBE: &[u8] = br#"{"id":1,"method":"mining.subscribe","params":[]}"#;
const SUBMIT: &[u8] = br#"{"id":42,"method":"mining.submit","params":["username.worker1","job123","extranonce2","ntime","nonce"]}"#;
const SUBMIT_ASIC: &[u8] = br#"{"params": ["accountname.S19xp000tx0y000", "2dc3427c2e", "0a00000000000000", "64c25820", "591d28da", "00092000"], "id": 2955, "method": "mining.submit"}"#;
const ACCEPTED: &[u8] = br#"{"id":5333,"result":true,"error":null}"#;

#[derive(Deserialize)]
struct SerdeLine<'a> {
    id: u64,
    #[serde(borrow)]
    method: &'a str,
    #[serde(borrow)]
    params: Vec<&'a str>,
}

#[expect(dead_code, reason = "the fields are what is measured")]
enum SerdeRequest<'a> {
    Subscribe {
        user_agent: Option<&'a str>,
        session_id: Option<&'a str>,
    },
    Submit {
        worker: &'a str,
        job_id: &'a str,
        extranonce2: &'a str,
        ntime: &'a str,
        nonce: &'a str,
        version_bits: Option<&'a str>,
    },
}

fn serde_parse(line: &[u8]) -> Option<(u64, SerdeRequest<'_>)> {
    let line: SerdeLine<'_> = serde_json::from_slice(line).ok()?;
    let param = |at: usize| line.params.get(at).copied();
    let request = match line.method {
        "mining.subscribe" => {
            SerdeRequest::Subscribe { user_agent: param(0), session_id: param(1) }
        }
        "mining.submit" => SerdeRequest::Submit {
            worker: param(0)?,
            job_id: param(1)?,
            extranonce2: param(2)?,
            ntime: param(3)?,
            nonce: param(4)?,
            version_bits: param(5),
        },
        _ => return None,
    };
    Some((line.id, request))
}

fn parse_client(c: &mut Criterion) {
    assert!(matches!(client::parse(SUBSCRIBE).unwrap().request, Request::Subscribe(_)));
    assert!(matches!(client::parse(SUBMIT).unwrap().request, Request::Submit(_)));
    let mut group = c.benchmark_group("parse");
    let lines =
        [("subscribe", SUBSCRIBE), ("submit", SUBMIT), ("submit of an S19 XP", SUBMIT_ASIC)];
    for (name, line) in lines {
        assert!(client::parse(line).is_ok() && serde_parse(line).is_some());
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(format!("{name}, ours"), |b| {
            b.iter(|| {
                black_box(&client::parse(black_box(line)));
            });
        });
        group.bench_function(format!("{name}, serde_json"), |b| {
            b.iter(|| {
                black_box(&serde_parse(black_box(line)));
            });
        });
    }
    group.finish();
}

fn parse_server(c: &mut Criterion) {
    let notify = notify_line(12, 125);
    let large = notify_line(0, 12_000);
    let mut group = c.benchmark_group("parse");
    let lines = [
        ("accepted", ACCEPTED),
        ("notify, 12 branches, 250-byte coinbase", &notify),
        ("notify, 24 kB coinbase", &large),
    ];
    for (name, line) in lines {
        assert!(server::parse(line).is_ok());
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(&server::parse(black_box(line)));
            });
        });
    }
    group.finish();
}

fn frame(c: &mut Criterion) {
    let mut stream = SUBMIT_ASIC.to_vec();
    stream.push(b'\n');
    let stream = stream.repeat(64);
    let mut rest = [0; 4096];
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 submits in one read", |b| {
        b.iter(|| {
            let mut framer = Framer::default();
            let mut input = black_box(&stream[..]);
            let mut count = 0;
            while let Ok(Some(line)) = framer.next_line(&mut rest, &mut input) {
                count += line.len();
            }
            count
        });
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let notify = notify_line(12, 125);
    let Ok(ServerLine::Notify(job)) = server::parse(&notify) else { panic!("a notify") };
    let mut buf = vec![0; UPSTREAM_LINE_BYTES_MAX];
    let id = Id::from_raw(b"2955").unwrap();
    let mut group = c.benchmark_group("write");
    group.bench_function("true", |b| {
        b.iter(|| {
            let mut out = Writer::new(&mut buf);
            encode::result_true(black_box(id), &mut out).map(|()| out.len())
        });
    });
    group.bench_function("notify, 12 branches, 250-byte coinbase", |b| {
        b.iter(|| {
            let mut out = Writer::new(&mut buf);
            let fields = NotifyFields {
                job_id: "1a2b",
                prev_hash: HexField::Digits(job.prev_hash),
                coinb1: &[
                    HexField::Digits(job.coinb1),
                    HexField::Bytes(&[8, 0, 0, 2]),
                    HexField::Bytes(&[0, 0]),
                ],
                coinb2: HexField::Digits(job.coinb2),
                version: job.version,
                nbits: job.nbits,
                ntime: job.ntime,
                clean_jobs: job.clean_jobs,
            };
            encode::notify(black_box(&fields), job.branches.iter().map(HexField::Digits), &mut out)
                .map(|()| out.len())
        });
    });
    group.bench_function("decode 250 bytes of hex", |b| {
        let mut out = [0; 250];
        let digits = [b'a'; 500];
        b.iter(|| hex::decode(black_box(&digits), &mut out).map(<[u8]>::len));
    });
    group.finish();
}

/// Makes a notify with `branches` branches and a coinbase of two halves of `half` bytes.
fn notify_line(branches: usize, half: usize) -> Vec<u8> {
    let mut buf = vec![0; UPSTREAM_LINE_BYTES_MAX];
    let mut out = Writer::new(&mut buf);
    let half = vec![0x5a; half];
    let fields = NotifyFields {
        job_id: "6a72bdc00001dfdb",
        prev_hash: HexField::Bytes(&[0x26; 32]),
        coinb1: &[HexField::Bytes(&half)],
        coinb2: HexField::Bytes(&half),
        version: 0x2000_0004,
        nbits: 0x1705_6102,
        ntime: 0x64c2_5820,
        clean_jobs: false,
    };
    let branch = [0x3f; 32];
    encode::notify(&fields, (0..branches).map(|_| HexField::Bytes(&branch)), &mut out).unwrap();
    out.as_slice().trim_ascii_end().to_vec()
}

criterion_group!(benches, parse_client, parse_server, frame, write);
criterion_main!(benches);
