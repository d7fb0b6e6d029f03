//! Runs a fuzz target for a while, bounded in time and memory.
//!
//! The build equals cargo-fuzz's, without cargo-fuzz: nightly for the address sanitizer, and the
//! compiler's own coverage counters. New inputs go to `fuzz/target/corpus`, failures to
//! `fuzz/target/artifacts`; git ignores both.

use crate::process;

/// The targets, which are also the folders of `fuzz/corpus`.
pub const TARGETS: [&str; 5] = ["line", "message", "settings", "proxy_ops", "differential"];

/// cargo-fuzz's flags: coverage counters, traced comparisons, the sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
                     -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// Longest generated input, in bytes; a miner's line has at most 4,096.
const INPUT_BYTES_MAX: u32 = 4096;

/// Memory limit of a target, in MiB, including the sanitizer's.
const MEMORY_MIB_MAX: u32 = 2048;

/// Builds and runs `target` for `seconds`.
///
/// # Errors
///
/// The target is unknown, does not build, or fails on an input.
pub fn run(target: &str, seconds: &str) -> Result<(), String> {
    if !TARGETS.contains(&target) {
        return Err(format!("no fuzz target {target}; there are {}", TARGETS.join(", ")));
    }
    let seconds: u32 = seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?;
    let host = "x86_64-unknown-linux-gnu";
    // This needs rustup's cargo, which understands +nightly, not the running one. An explicit
    // target keeps the flags away from build scripts.
    let mut build = process::command("cargo");
    build.args(["+nightly", "build", "--locked", "--release", "--manifest-path"]);
    build.args(["fuzz/Cargo.toml", "--target-dir", "fuzz/target", "--target", host]);
    build.args(["--bin", target]).env("RUSTFLAGS", FLAGS);
    process::run(&mut build)?;

    let new = format!("fuzz/target/corpus/{target}");
    let artifacts = format!("fuzz/target/artifacts/{target}/");
    for folder in [&new, &artifacts] {
        let path = process::root().join(folder);
        std::fs::create_dir_all(&path).map_err(|error| format!("{folder}: {error}"))?;
    }
    let mut fuzz = process::command(&format!("fuzz/target/{host}/release/{target}"));
    fuzz.args([new, format!("fuzz/corpus/{target}")]);
    fuzz.arg(format!("-max_total_time={seconds}"));
    fuzz.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzz.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    fuzz.arg(format!("-artifact_prefix={artifacts}"));
    fuzz.args(["-timeout=10", "-print_final_stats=1"]);
    process::run(&mut fuzz)
}
