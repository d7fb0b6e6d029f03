//! Replays the corpora of `fuzz/`: the fuzzer's interesting and failing inputs stay tested in every
//! test run, without nightly.
//!
//! The bodies are the fuzz targets' own, included by path.

use std::path::PathBuf;

#[path = "../fuzz/bodies/differential.rs"]
mod differential;
#[path = "../fuzz/bodies/line.rs"]
mod line;
#[path = "../fuzz/bodies/message.rs"]
mod message;
#[path = "../fuzz/bodies/proxy_ops.rs"]
mod proxy_ops;
#[path = "../fuzz/bodies/settings.rs"]
mod settings;

/// Number and total bytes of all corpora's files (`fuzz/README.md`).
const FILES_MAX: usize = 300;
const BYTES_MAX: usize = 400 << 10;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let paths = entries.map(|entry| entry.expect("a folder that can be read").path());
    paths.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

#[track_caller]
fn replay(target: &str, body: fn(&[u8])) {
    let inputs = corpus(target);
    assert!(!inputs.is_empty(), "the corpus of {target} is there");
    for (path, input) in inputs {
        // A panic in a body says what is wrong; this says with which input.
        let result = std::panic::catch_unwind(|| body(&input));
        assert!(result.is_ok(), "{target} fails on {}", path.display());
    }
}

#[test]
fn the_framer_over_its_corpus() {
    replay("line", line::run);
}

#[test]
fn messages_over_their_corpus() {
    replay("message", message::run);
}

#[test]
fn settings_over_their_corpus() {
    replay("settings", settings::run);
}

#[test]
fn the_engine_over_its_corpus() {
    replay("proxy_ops", proxy_ops::run);
}

#[test]
fn two_readers_over_their_corpus() {
    replay("differential", differential::run);
}

#[test]
fn the_corpora_stay_small() {
    let all: Vec<_> = ["line", "message", "settings", "proxy_ops", "differential"]
        .into_iter()
        .flat_map(corpus)
        .collect();
    let bytes: usize = all.iter().map(|(_, input)| input.len()).sum();
    assert!(all.len() <= FILES_MAX && bytes <= BYTES_MAX, "{} files, {bytes} bytes", all.len());
}
