//! Real data: block headers, recorded jobs and shares, worked examples.
//!
//! The set in `tests/vectors/` always runs. A larger collection in the same format runs too, if it
//! exists: the folder in `LOKA_VECTORS`, else `../shared/vectors`. Every entry names its source.
//! This file is independent of the engine's methods and reads hex itself, so a fault in the
//! engine's hex code cannot hide a fault in its arithmetic.

mod farm;
#[path = "vectors/rejects.rs"]
mod rejects;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::{env, fs};

use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::header::{BlockHash, Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle::{self, MerkleRoot};
use loka_stratum::work::sha256d::sha256d;
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::{Version, VersionMask};
use serde_json::Value;

/// Runs `check` on each entry of `section` in `file` of every collection there is.
fn for_each(file: &str, section: &str, check: fn(&Value)) {
    for folder in collections() {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let document: Value = serde_json::from_str(&text).unwrap();
        let entries = document[section].as_array().unwrap();
        assert!(!entries.is_empty(), "{}: {section} is empty", path.display());
        entries.iter().for_each(check);
    }
}

/// Returns the folders to read: our own, and the larger collection, if there is one.
fn collections() -> Vec<PathBuf> {
    static SAY_ONCE: Once = Once::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("tests/vectors");
    if let Some(named) = env::var_os("LOKA_VECTORS") {
        return vec![own, named.into()];
    }
    let larger = root.join("../shared/vectors");
    if larger.is_dir() {
        return vec![own, larger];
    }
    SAY_ONCE.call_once(|| {
        eprintln!("no larger collection of vectors at {}: own set only", larger.display());
    });
    vec![own]
}

fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
    entry[key].as_str().unwrap_or_else(|| panic!("{key} is no text in {entry}"))
}

fn number(entry: &Value, key: &str) -> f64 {
    entry[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {entry}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn word(hex: &str) -> u32 {
    assert_eq!(hex.len(), 8, "{hex}");
    u32::from_str_radix(hex, 16).unwrap()
}

/// Reads a hash of 64 digits, most significant first.
fn hash(display: &str) -> BlockHash {
    let mut bytes: [u8; 32] = array(display);
    bytes.reverse();
    BlockHash(bytes)
}

fn target(display: &str) -> Target {
    Target::from_le_bytes(hash(display).0)
}

fn branches(list: &Value) -> Vec<[u8; 32]> {
    list.as_array().unwrap().iter().map(|branch| array(branch.as_str().unwrap())).collect()
}

#[test]
fn headers() {
    for_each("headers.json", "headers", |entry| {
        let name = text(entry, "name");
        let bytes: [u8; 80] = array(text(entry, "header"));
        let header = Header::from_bytes(&bytes);
        assert_eq!(header.to_bytes(), bytes, "{name}");
        assert_eq!(header.version, Version(word(text(entry, "version"))), "{name}");
        assert_eq!(header.prev_hash.to_string(), text(entry, "prev_hash"), "{name}");
        let PrevHash(prev_hash) = header.prev_hash;
        let stratum = header.prev_hash.to_stratum();
        assert_eq!(PrevHash::from_stratum(&stratum).0, prev_hash, "{name}");
        let MerkleRoot(merkle_root) = header.merkle_root;
        assert_eq!(merkle_root, hash(text(entry, "merkle_root")).0, "{name}");
        assert_eq!(header.ntime, NTime(word(text(entry, "ntime"))), "{name}");
        assert_eq!(header.nbits, NBits(word(text(entry, "nbits"))), "{name}");
        assert_eq!(header.nonce, Nonce(word(text(entry, "nonce"))), "{name}");

        let hash = header.hash();
        assert_eq!(hash.to_string(), text(entry, "hash"), "{name}");
        assert_eq!(header.hash_from(&header.midstate()), hash, "{name}");
        assert_eq!(sha256d(&bytes), hash.0, "{name}");
        let target = Target::from_nbits(header.nbits).unwrap();
        assert_eq!(target.to_string(), text(entry, "target"), "{name}");
        assert!(target.is_met_by(hash), "{name}");
        let difficulty = Difficulty::from_target(target).unwrap();
        assert_eq!(difficulty.as_f64(), number(entry, "difficulty"), "{name}");
        assert_eq!(Difficulty::from_hash(hash), number(entry, "hash_difficulty"), "{name}");
        if let Some(bits) = entry["bip320_bits"].as_str() {
            let rolled = Version(0x2000_0000).roll(VersionMask::BIP_0320, word(bits));
            assert_eq!(
                rolled.roll(VersionMask(0x1fff), header.version.0),
                header.version,
                "{name}"
            );
        }
    });
}

#[test]
fn difficulty_to_target() {
    for_each("difficulty.json", "difficulty_to_target", |entry| {
        let difficulty = text(entry, "difficulty");
        let target = Difficulty::new(difficulty.parse().unwrap()).unwrap().to_target();
        assert_eq!(target.to_string(), text(entry, "target"), "{difficulty}");
        let decimal = entry["target_if_read_as_exact_decimal"].as_str();
        assert_ne!(Some(target.to_string().as_str()), decimal, "{difficulty}");
        let is_clamped = entry["clamped"].as_bool().unwrap_or(false);
        assert_eq!(target == Target::MAX, is_clamped, "{difficulty}");
    });
}

#[test]
fn nbits_to_target() {
    for_each("difficulty.json", "nbits_to_target", |entry| {
        let nbits = text(entry, "nbits");
        let target = Target::from_nbits(NBits(word(nbits))).unwrap();
        assert_eq!(target.to_string(), text(entry, "target"), "{nbits}");
        let difficulty = Difficulty::from_target(target).unwrap();
        assert_eq!(difficulty.as_f64(), number(entry, "difficulty"), "{nbits}");
    });
}

#[test]
fn nbits_refused() {
    for_each("difficulty.json", "nbits_refused", |entry| {
        let nbits = NBits(word(text(entry, "nbits")));
        assert!(Target::from_nbits(nbits).is_err(), "{entry}");
    });
}

#[test]
fn hash_to_difficulty() {
    for_each("difficulty.json", "hash_to_difficulty", |entry| {
        let difficulty = Difficulty::from_hash(hash(text(entry, "hash")));
        assert_eq!(difficulty, number(entry, "difficulty"), "{entry}");
    });
}

#[test]
fn difficulty_one_is_0xffff_times_2_to_the_208() {
    // The section is an object that holds the rows.
    for folder in collections() {
        let document = fs::read_to_string(folder.join("difficulty.json")).unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        let rows = document["difficulty_one_has_two_meanings"]["rows"].as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let difficulty: f64 = text(row, "difficulty").parse().unwrap();
            let got = Difficulty::new(difficulty).unwrap().to_target();
            assert_eq!(got, target(text(row, "target")), "{row}");
            assert!(got < target(text(row, "target_pdiff")), "{row}");
        }
    }
}

#[test]
fn compare() {
    for_each("difficulty.json", "compare", |entry| {
        let target = target(text(entry, "target"));
        let accept = entry["accept"].as_bool().unwrap();
        assert_eq!(target.is_met_by(hash(text(entry, "hash"))), accept, "{entry}");
        assert_eq!(Target::from_be_hex(text(entry, "target").as_bytes()), Ok(target), "{entry}");
    });
}

#[test]
fn refused_difficulties() {
    for_each("difficulty.json", "refused_difficulties", |entry| {
        // The reader refuses texts that are no numbers; `Difficulty` refuses the rest.
        let number = entry.as_str().unwrap().parse::<f64>();
        assert!(number.is_err() || Difficulty::new(number.unwrap()).is_err(), "{entry}");
    });
}

#[test]
fn jobs() {
    for_each("jobs.json", "jobs", |job| {
        for submit in job["submits"].as_array().unwrap() {
            check_share(job, submit);
        }
    });
}

/// Follows a share from its coinbase to its verdict.
#[track_caller]
fn check_share(job: &Value, submit: &Value) {
    let name = text(job, "name");
    let notify = |at: usize| job["notify"][at].as_str().unwrap();
    let param = |at: usize| submit["params"][at].as_str();
    let expect = &submit["expect"];

    let (coinb1, coinb2) = (bytes(notify(2)), bytes(notify(3)));
    let extranonce1 = bytes(text(job, "extranonce1"));
    let extranonce2 = bytes(param(2).unwrap());
    let coinbase = [&coinb1[..], &extranonce1, &extranonce2, &coinb2].concat();
    assert_eq!(hex(&coinbase), text(expect, "coinbase"), "{name}");
    let coinbase_hash = sha256d(&coinbase);
    assert_eq!(hex(&coinbase_hash), text(expect, "coinbase_hash"), "{name}");
    for pad in 0..=extranonce2.len() {
        let (pad, middle) = extranonce2.split_at(pad);
        let prefix = CoinbasePrefix::new(&[&coinb1, &extranonce1, pad]);
        assert_eq!(prefix.hash_with(middle, &coinb2), coinbase_hash, "{name}");
    }

    let merkle_root = merkle::root(coinbase_hash, &branches(&job["notify"][4]));
    assert_eq!(hex(&merkle_root.0), text(expect, "merkle_root"), "{name}");
    let mask = VersionMask(job["version_mask"].as_str().map_or(0, word));
    let bits = param(5).map_or(0, word);
    assert!(mask.allows(bits), "{name}");
    let version = Version(word(notify(5)));
    let header = Header {
        // A share without bits keeps the job's, whatever the mask.
        version: if param(5).is_some() { version.roll(mask, bits) } else { version },
        prev_hash: PrevHash::from_stratum(&array(notify(1))),
        merkle_root,
        ntime: NTime(word(param(3).unwrap())),
        nbits: NBits(word(notify(6))),
        nonce: Nonce(word(param(4).unwrap())),
    };
    assert_eq!(hex(&header.to_bytes()), text(expect, "header"), "{name}");
    let hash = header.hash();
    assert_eq!(hash.to_string(), text(expect, "hash"), "{name}");

    assert_eq!(Difficulty::from_hash(hash), number(expect, "share_difficulty"), "{name}");
    let is_block = Target::from_nbits(header.nbits).unwrap().is_met_by(hash);
    assert_eq!(Some(is_block), expect["block"].as_bool(), "{name}");
    let difficulty = Difficulty::new(number(job, "difficulty")).unwrap();
    let is_accepted = Target::from_difficulty(difficulty).is_met_by(hash);
    assert_eq!(is_accepted, text(expect, "verdict") == "accept", "{name}");
}

#[test]
fn merkle_only() {
    for_each("jobs.json", "merkle_only", |entry| {
        let part = |key| bytes(text(entry, key));
        let prefix = CoinbasePrefix::new(&[&part("coinb1"), &part("extranonce1")]);
        let coinbase_hash = prefix.hash_with(&part("extranonce2"), &part("coinb2"));
        let MerkleRoot(root) = merkle::root(coinbase_hash, &branches(&entry["branches"]));
        assert_eq!(hex(&root), text(entry, "merkle_root"), "{entry}");
    });
}

#[test]
fn header_only() {
    for_each("jobs.json", "header_only", |entry| {
        let header = Header {
            version: Version(word(text(entry, "version"))),
            prev_hash: PrevHash::from_stratum(&array(text(entry, "prevhash"))),
            merkle_root: MerkleRoot(array(text(entry, "merkle_root"))),
            ntime: NTime(word(text(entry, "ntime"))),
            nbits: NBits(word(text(entry, "nbits"))),
            nonce: Nonce(word(text(entry, "nonce"))),
        };
        assert_eq!(hex(&header.to_bytes()), text(entry, "header"), "{entry}");
        let hash = header.hash();
        assert_eq!(hash.to_string(), text(entry, "hash"), "{entry}");
        assert_eq!(Difficulty::from_hash(hash), number(entry, "share_difficulty"), "{entry}");
    });
}
