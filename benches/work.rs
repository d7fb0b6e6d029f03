//! The cost of a share, piece by piece.
//!
//! ```text
//! cargo bench --no-default-features --bench work
//! ```
//!
//! Nearly all of it is SHA-256, so each name ends in its number of compressions (runs of the block
//! function); `compression` is a single one. `share/full check` is the whole check of a submit with
//! decoded hex. It covers a coinbase of 250 bytes (the first 64 hashed beforehand), 12 branches and
//! the header. The hash is compared with the targets of miner, pool and network.
//!
//! A time means little without the CPU's SHA instructions: `sha2` detects them at run time, and the
//! bench prints the result. With them a compression takes about 50 ns (x86-64 with SHA-NI). In
//! software it takes 3,379 instructions, and a full check 149,762 (x86-64, callgrind), 99 % of them
//! in the block function. Measured on one core of a 2.5 GHz Xeon **without** SHA instructions,
//! shared with other work, in CPU time: 470 to 640 ns for a compression, 17 to 23 us for a full
//! check. Compare by the count in the name, and by times on the board in question.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::{Geometry, MinerId, Space};
use loka_stratum::work::header::{BlockHash, Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle::{self, MerkleRoot};
use loka_stratum::work::sha256d::{Midstate, sha256d};
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::{Version, VersionMask};

/// Bytes of the coinbase: `coinb1` 58, extranonce1 4, pad 2, id 2, roll 4, `coinb2` 180.
const COINB1: [u8; 58] = [0x11; 58];
const EXTRANONCE1: [u8; 4] = [0x22; 4];
const PAD: [u8; 2] = [0; 2];
const COINB2: [u8; 180] = [0x44; 180];

/// Bytes of a block of SHA-256, and of the shortest padding of a message.
const BLOCK_BYTES: usize = 64;
const PADDING_BYTES_MIN: usize = 9;

/// Compressions of a header, or of a merkle node: two blocks, and the second hash.
const HEADER_COMPRESSIONS: usize = 3;
const NODE_COMPRESSIONS: usize = 3;

/// Returns the compressions of the sha256d of `bytes` with the first `cached` blocks already
/// hashed.
const fn compressions(bytes: usize, cached: usize) -> usize {
    (bytes + PADDING_BYTES_MIN).div_ceil(BLOCK_BYTES) - cached + 1
}

fn branches<const N: usize>() -> [[u8; 32]; N] {
    core::array::from_fn(|i| sha256d(&[i as u8]))
}

fn header() -> Header {
    Header {
        version: Version(0x2000_0000),
        prev_hash: PrevHash([0x55; 32]),
        merkle_root: MerkleRoot([0x66; 32]),
        ntime: NTime(0x6842_6000),
        nbits: NBits(0x1702_3774),
        nonce: Nonce(1),
    }
}

fn backend() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let has_sha = std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let has_sha = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has_sha = false;
    if has_sha { "the CPU's SHA instructions" } else { "software, no SHA instructions" }
}

fn hashes(c: &mut Criterion) {
    println!("sha256 by {}", backend());
    let mut group = c.benchmark_group("sha256d");
    group.bench_function("compression (1)", |b| {
        let block = [[0x77; BLOCK_BYTES]];
        let mut midstate = Midstate::new();
        b.iter(|| midstate.absorb(black_box(&block)));
    });
    group.bench_function(format!("header ({HEADER_COMPRESSIONS})"), |b| {
        let header = header();
        b.iter(|| black_box(&header).hash());
    });
    group.bench_function(format!("header from midstate ({})", HEADER_COMPRESSIONS - 1), |b| {
        let header = header();
        let midstate = header.midstate();
        b.iter(|| black_box(&header).hash_from(black_box(&midstate)));
    });

    let middle = [0x33; 6];
    let whole = [&COINB1[..], &EXTRANONCE1, &PAD, &middle, &COINB2].concat();
    let bytes = whole.len();
    group.bench_function(format!("coinbase {bytes} B whole ({})", compressions(bytes, 0)), |b| {
        b.iter(|| sha256d(black_box(&whole)));
    });
    group.bench_function(
        format!("coinbase {bytes} B prefixed ({})", compressions(bytes, 1)),
        |b| {
            let prefix = CoinbasePrefix::new(&[&COINB1, &EXTRANONCE1]);
            b.iter(|| black_box(&prefix).hash_with(black_box(&middle), black_box(&COINB2)));
        },
    );
    group.bench_function(format!("merkle root 12 branches ({})", 12 * NODE_COMPRESSIONS), |b| {
        let branches = branches::<12>();
        b.iter(|| merkle::root(black_box([0x88; 32]), black_box(&branches)));
    });
    group.finish();
}

fn shares(c: &mut Criterion) {
    let prefix = CoinbasePrefix::new(&[&COINB1, &EXTRANONCE1]);
    let branches = branches::<12>();
    let geometry = Geometry::new(2, 4).unwrap();
    let space = Space { geometry, id: MinerId(7), turn: 0 };
    let mask = VersionMask::BIP_0320;
    let targets = [
        Difficulty::new(8192.0).unwrap().to_target(),
        Difficulty::new(1e6).unwrap().to_target(),
        Target::from_nbits(header().nbits).unwrap(),
    ];
    let coinbase_bytes = COINB1.len() + EXTRANONCE1.len() + PAD.len() + 6 + COINB2.len();
    let all = compressions(coinbase_bytes, 1) + 12 * NODE_COMPRESSIONS + HEADER_COMPRESSIONS;

    let mut group = c.benchmark_group("share");
    group.bench_function(format!("full check ({all})"), |b| {
        let mut nonce = 0_u32;
        b.iter(|| {
            nonce = nonce.wrapping_add(1);
            let own = space.extranonce2(8, &black_box(nonce).to_be_bytes()).unwrap();
            let coinbase = black_box(&prefix).hash_with(&own, black_box(&COINB2));
            let header = Header {
                version: header().version.roll(mask, black_box(0x00b4_4000)),
                merkle_root: merkle::root(coinbase, black_box(&branches)),
                nonce: Nonce(nonce),
                ..header()
            };
            let hash = header.hash();
            targets.map(|target| target.is_met_by(hash))
        });
    });
    group.bench_function("extranonce2 for the pool (0)", |b| {
        let roll = [1, 2, 3, 4];
        b.iter(|| black_box(space).extranonce2(8, black_box(&roll)));
    });
    group.finish();
}

fn targets(c: &mut Criterion) {
    let difficulty = Difficulty::new(931.1).unwrap();
    let target = difficulty.to_target();
    let hash = BlockHash(sha256d(b"a share"));
    let mut group = c.benchmark_group("target");
    group.bench_function("compare (0)", |b| b.iter(|| target.is_met_by(black_box(hash))));
    group.bench_function("compare, equal to the last limb (0)", |b| {
        let equal = BlockHash(target.to_le_bytes());
        b.iter(|| black_box(&target).is_met_by(black_box(equal)));
    });
    group.bench_function("from difficulty (0)", |b| b.iter(|| black_box(difficulty).to_target()));
    group.bench_function("difficulty of a hash (0)", |b| {
        b.iter(|| Difficulty::from_hash(black_box(hash)));
    });
    group.finish();
}

criterion_group!(benches, hashes, shares, targets);
criterion_main!(benches);
