//! Runs seeds: a single seed with all its events, or many on all cores.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::{Plan, Size};
use crate::trace::{Broken, Record, Trace};
use crate::world::{Memory, World};

/// The result of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub hash: u64,
    pub events: u64,
    pub micros: u64,
    pub broken: Option<Broken>,
    pub last: Vec<String>,
}

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub size: Size,
    pub record: Record,
    #[cfg(feature = "canary")]
    pub defect: Option<loka_stratum::canary::Defect>,
}

impl Setup {
    pub fn new(record: Record) -> Self {
        Self {
            size: Size::Small,
            record,
            #[cfg(feature = "canary")]
            defect: None,
        }
    }
}

/// Runs a seed once.
pub fn once(seed: u64, setup: Setup) -> Outcome {
    let (plan, rng) = Plan::draw(seed, setup.size);
    let record = setup.record;
    if record == Record::All {
        println!("{plan:#?}");
    }
    let mut memory = Memory::new(&plan);
    let mut trace = Trace::new(record);
    let mut micros = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, rng, &mut memory, &mut trace);
        #[cfg(feature = "canary")]
        if let Some(defect) = setup.defect {
            world.proxy.plant(defect);
        }
        world.run();
        micros = world.now;
    }));
    let broken = result.err().map(|payload| broken_of(payload.as_ref()));
    Outcome { hash: trace.hash(), events: trace.events, micros, broken, last: trace.last() }
}

fn broken_of(payload: &(dyn Any + Send)) -> Broken {
    if let Some(broken) = payload.downcast_ref::<Broken>() {
        return broken.clone();
    }
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    Broken { invariant: "panic", detail: text.unwrap_or("of an unknown kind").to_owned() }
}

/// Runs a seed and, where `twice`, once more: the traces must be the same (I9).
pub fn checked(seed: u64, setup: Setup, twice: bool) -> Outcome {
    let first = once(seed, setup);
    if first.broken.is_some() || !twice {
        return first;
    }
    let second = once(seed, setup);
    if second.hash == first.hash && second.broken.is_none() {
        return first;
    }
    let detail = format!("trace {:016x}, then {:016x}", first.hash, second.hash);
    Outcome { broken: Some(Broken { invariant: "I9", detail }), ..second }
}

/// The report of a failed seed, as text.
pub fn report(seed: u64, broken: &Broken) -> String {
    let again = once(seed, Setup::new(Record::Last));
    let commit = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}\nSEED={seed} commit {}\n{}: {}\nagain: cargo xtask sim {seed} --log\n",
        again.last.join("\n"),
        commit.unwrap_or_default(),
        broken.invariant,
        broken.detail
    )
}

/// Failed seeds of which the detail is kept; of more only the kind is counted.
const KEPT: usize = 50;

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Sum {
    pub seeds: u64,
    pub events: u64,
    pub micros: u64,
    /// The first [`KEPT`] that failed.
    pub failed: Vec<(u64, Broken)>,
    /// How many seeds failed of each kind.
    pub kinds: BTreeMap<String, u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.micros += outcome.micros;
        let Some(broken) = outcome.broken else { return };
        *self.kinds.entry(kind_of(&broken)).or_default() += 1;
        if self.failed.len() < KEPT {
            eprintln!("seed {seed} failed: {}", broken.invariant);
            self.failed.push((seed, broken));
        }
    }
}

/// The invariant and what its detail begins with, without the numbers of one seed.
fn kind_of(broken: &Broken) -> String {
    let words = broken.detail.split_whitespace();
    let words = words.take_while(|word| !word.contains(['{', '[', '(', ':']));
    let words: Vec<&str> = words
        .map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word })
        .collect();
    format!("{}: {}", broken.invariant, words.join(" "))
}

/// Runs seeds on `threads` threads until all are done or `ends_at` have failed; every
/// `twice_in`-th is run twice.
pub fn many(from: u64, count: u64, threads: usize, twice_in: u64, ends_at: u64) -> Sum {
    let next = AtomicU64::new(from);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let outcome =
                        checked(seed, Setup::new(Record::Hash), seed.is_multiple_of(twice_in));
                    let mut sum = sum.lock().unwrap();
                    sum.add(seed, outcome);
                    if sum.kinds.values().sum::<u64>() >= ends_at {
                        next.store(from + count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap();
    sum.failed.sort_by_key(|(seed, _)| *seed);
    sum
}
