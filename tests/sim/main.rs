//! The deterministic simulation: the production engine in a world drawn from a seed.
//!
//! `README.md` beside this file describes its use, the random choices, and the reading of a
//! failure.

#[cfg(feature = "canary")]
mod canary;
mod clock;
mod earlier;
mod earnings;
mod firmware;
mod hashing;
mod invariants;
mod json;
mod miner;
mod pipe;
mod plan;
mod pool;
mod regressions;
mod rng;
mod run;
mod scenes;
mod trace;
mod world;

use trace::Record;

/// A number from the environment, set by `cargo xtask sim`.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Panics of the worlds are caught and reported once; the default hook would print each.
fn quietly() {
    std::panic::set_hook(Box::new(|info| {
        if !info.payload().is::<trace::Broken>() {
            eprintln!("{info}");
        }
    }));
}

/// 500 seeds as a part of every test; as many as `SIM_SEEDS` says from `SIM_FROM` on otherwise.
/// Ten failures end it; with `SIM_ALL` none does, and all are listed by kind.
#[test]
fn seeds() {
    quietly();
    let count = number("SIM_SEEDS").unwrap_or(500);
    let from = number("SIM_FROM").unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number("SIM_THREADS").map_or(cores, |threads| threads as usize);
    let twice_in = if count > 500 { 16 } else { 1 };
    #[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
    let start = std::time::Instant::now();
    let ends_at = if number("SIM_ALL").is_some() { u64::MAX } else { 10 };
    let sum = run::many(from, count, threads, twice_in, ends_at);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} seeds from {from} in {seconds:.1} s on {threads} threads: {:.0} seeds/s, {:.0} events \
         and {:.0} s of virtual time to each, {:.0} times real time",
        sum.seeds,
        sum.seeds as f64 / seconds,
        sum.events as f64 / sum.seeds as f64,
        sum.micros as f64 / 1e6 / sum.seeds as f64,
        sum.micros as f64 / 1e6 / seconds,
    );
    for (seed, broken) in &sum.failed {
        println!("SEED={seed} {}: {}", broken.invariant, broken.detail);
    }
    for (kind, seeds) in &sum.kinds {
        println!("{kind}: {seeds} seeds failed");
    }
    if let Some((seed, broken)) = sum.failed.first() {
        let failed: u64 = sum.kinds.values().sum();
        panic!("{failed} seeds failed; the first:\n{}", run::report(*seed, broken));
    }
}

/// The one seed that `SIM_SEED` names, everything printed where `SIM_LOG` is set.
#[test]
fn one_seed() {
    let Some(seed) = number("SIM_SEED") else { return };
    quietly();
    let record = if number("SIM_LOG").is_some() { Record::All } else { Record::Last };
    let outcome = run::once(seed, run::Setup::new(record));
    println!("SEED={seed} trace {:016x}, {} events", outcome.hash, outcome.events);
    if let Some(broken) = &outcome.broken {
        panic!("{}", run::report(seed, broken));
    }
}

/// How many times faster than real time a hundred miners run, or as many fewer as `SIM_MINERS`
/// says; no speed is demanded, as the machine may have other work.
#[test]
fn a_hundred_miners() {
    quietly();
    let miners = number("SIM_MINERS").unwrap_or(100).clamp(1, 100) as usize;
    let setup = run::Setup { size: plan::Size::Miners(miners), ..run::Setup::new(Record::Hash) };
    let (mut micros, mut events) = (0, 0);
    #[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
    let start = std::time::Instant::now();
    for seed in 1..=3 {
        let outcome = run::once(seed, setup);
        assert!(outcome.broken.is_none(), "SEED={seed} {:?}", outcome.broken);
        micros += outcome.micros;
        events += outcome.events;
    }
    let (seconds, virtually) = (start.elapsed().as_secs_f64(), micros as f64 / 1e6);
    println!(
        "{miners} miners: {virtually:.0} s of virtual time, {events} events in {seconds:.3} s: \
         {:.0} times real time",
        virtually / seconds
    );
}
