//! A farm under faults: a thousand miners, the gateway, and two pools behind injectors. The
//! injectors cut, reset, delay, trickle, corrupt, hold and refuse, a hundred times in all.
//!
//! Four conditions must hold: no pool fault disconnects a miner; every share is in one place of the
//! gateway's ledger; the ledgers of miners, gateway and pools agree; shares found outside faults
//! reach the pool. The last is measured in windows. A window opens when the pool is live and no
//! share is in flight, and closes just before the next fault. It counts the forwarded shares whose
//! answer was due.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::books::{Books, Rows, thousands};
use super::faults::{Counts, Fault};
use super::random::Random;
use super::rig::number;
use super::site::{self, Site};
use super::swarm::Work;
use super::{clock, say};

/// The part of the shares found outside faults that the pool has to accept.
const ACCEPTED_MIN: f64 = 0.999;
/// Length of a fault, and of the pause before the next.
const FAULT_MS: [u32; 2] = [200, 1_200];
const WHOLE_MS: [u32; 2] = [300, 900];
/// How long the farm may take to recover after a fault.
const WHOLE_AGAIN_MAX: Duration = Duration::from_secs(60);

/// `lab chaos`: the farm under fire; the exit code says whether all conditions held.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many simulated ASICs.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    miners: usize,
    /// How many faults.
    #[arg(long, value_name = "N", default_value_t = 100)]
    faults: usize,
    /// Shares per second of all ASICs together.
    #[arg(long, value_name = "SHARES", default_value_t = 400.0)]
    rate: f64,
    /// Seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the gateway's log to this file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Shares found outside faults, and how many of them the pool accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outside {
    found: u64,
    accepted: u64,
}

impl Outside {
    /// Adds the difference of two reports; the first has no share in flight.
    fn add(&mut self, before: &Value, after: &Value) {
        let grown = |path: &str| number(after, path) - number(before, path);
        self.found += grown("/ledger/forwarded").saturating_sub(site::open(after));
        self.accepted += grown("/ledger/pool_accepted");
    }

    fn ratio(self) -> f64 {
        if self.found == 0 { 0.0 } else { self.accepted as f64 / self.found as f64 }
    }
}

/// The result of a run.
struct Outcome {
    books: Books,
    counts: Counts,
    outside: Outside,
}

/// Runs `lab chaos`.
///
/// # Errors
///
/// A part cannot be started, or the gateway stops answering or working.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    super::raise_file_limit();
    let start = clock::now();
    let work = Work::Paced { per_sec: args.rate };
    let site = Site::start(args.miners, work, args.seed, args.log.clone())?;
    let mut random = Random::new(args.seed);
    let mut outside = Outside::default();
    for index in 1..=args.faults {
        let before = whole(&site)?;
        wait(&mut random, WHOLE_MS);
        let after = site.gateway.status()?;
        outside.add(&before, &after);
        strike(&site, Site::active(&after), &mut random);
        if index.is_multiple_of(10) {
            let (elapsed, connected) = (start.elapsed().as_secs(), &after["miners"]["connected"]);
            say(&format!("{elapsed:>4} s  {index} faults, {connected} miners connected"));
        }
    }
    whole(&site)?;
    let report = site.swarm.quiesce();
    let status = site.settle()?;
    let books = Books { report, status, pool: site.pools() };
    let outcome = Outcome { books, counts: site.counts(), outside };
    let Site { swarm, gateway, .. } = site;
    swarm.stop();
    let ended_well = gateway.stop();
    say(&outcome.to_string());
    if !ended_well {
        say("the gateway did not end by itself after SIGTERM");
    }
    let all_held = outcome.faults().is_empty() && ended_well;
    Ok(if all_held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wait(random: &mut Random, [least, most]: [u32; 2]) {
    sleep(Duration::from_millis(u64::from(least + random.up_to(most - least))));
}

/// Waits until the pool is live and no share is in flight.
fn whole(site: &Site) -> io::Result<Value> {
    let start = clock::now();
    loop {
        let status = site.gateway.status()?;
        if status["ready"] == true && site::open(&status) == 0 {
            return Ok(status);
        }
        if start.elapsed() > WHOLE_AGAIN_MAX {
            let text = format!("the farm did not recover: {status:#}");
            return Err(io::Error::other(text));
        }
        sleep(Duration::from_millis(10));
    }
}

/// Disturbs the way to a pool: mostly the pool in use, sometimes the other, sometimes both.
fn strike(site: &Site, active: usize, random: &mut Random) {
    let fault = Fault::draw(random);
    let [struck, other] = match random.up_to(9) {
        0 => [false, true],
        1 | 2 => [true, true],
        _ => [true, false],
    };
    let ways = site.ways.iter().enumerate();
    let chosen = ways.filter(|(index, _)| if *index == active { struck } else { other });
    let chosen: Vec<_> = chosen.map(|(_, way)| way).collect();
    for way in &chosen {
        way.faults.inject(fault);
    }
    wait(random, FAULT_MS);
    for way in &chosen {
        way.faults.inject(Fault::Pass);
    }
}

impl Outcome {
    fn accounted(&self) -> u64 {
        let of = |path: &str| number(&self.books.status, path);
        of("/ledger/below_upstream")
            + of("/ledger/pool_accepted")
            + of("/ledger/pool_rejected")
            + of("/ledger/rejected")
            + of("/ledger/orphaned")
    }

    /// The conditions that failed.
    fn faults(&self) -> Vec<String> {
        let report = &self.books.report;
        let ended = number(&self.books.status, "/miners/ended");
        let checks = [
            ("no miner is disconnected", report.disconnects_total() == 0 && ended == 0),
            ("every share made is accounted for", report.submitted == self.accounted()),
            ("the ledgers agree", Rows::of(&self.books).agree()),
            ("shares were found outside faults", self.outside.found > 0),
            ("the pool accepts what is found outside", self.outside.ratio() >= ACCEPTED_MIN),
        ];
        checks.iter().filter(|(_, holds)| !holds).map(|(name, _)| (*name).to_owned()).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { books: Books { report, status, .. }, counts, outside } = self;
        let kinds: Vec<String> =
            counts.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let made = report.submitted;
        let lost = made.saturating_sub(self.accounted());
        let orphaned: Vec<String> = status["ledger"]["orphaned"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let rows = [
            ("faults injected", counts.faults.values().sum(), kinds.join(", ")),
            ("miners disconnected", report.disconnects_total(), "must be 0".to_owned()),
            ("shares made", made, String::new()),
            ("accounted for", self.accounted(), "must be all".to_owned()),
            ("lost", lost, "must be 0".to_owned()),
            ("orphaned by faults", number(status, "/ledger/orphaned"), orphaned.join(", ")),
            ("found outside faults", outside.found, "heavy enough for the pool".to_owned()),
            (
                "accepted of those",
                outside.accepted,
                format!("{:.3} %, must be at least 99.9 %", 100.0 * outside.ratio()),
            ),
        ];
        for (name, count, note) in rows {
            writeln!(f, "{name:<22}{:>10}  {note}", thousands(count))?;
        }
        writeln!(f, "\n{}", Rows::of(&self.books))?;
        for fault in self.faults() {
            writeln!(f, "DOES NOT HOLD: {fault}")?;
        }
        f.write_str(if self.faults().is_empty() { "chaos: all held" } else { "chaos: FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::pool::ledger::Ledger;
    use crate::lab::swarm::report::Report;
    use serde_json::json;

    fn outcome() -> Outcome {
        let report = Report {
            submitted: 100,
            accepted: 99,
            rejected: [(21, 1)].into(),
            ..Report::default()
        };
        let pool = Ledger { submitted: 5, accepted: 5, ..Ledger::default() };
        let status = json!({"miners": {"ended": {}}, "ledger": {
            "submitted": 100, "accepted": 99, "below_upstream": 93, "forwarded": 6,
            "pool_accepted": 5, "pool_rejected": {}, "rejected": {"stale": 1},
            "pending": 0, "held": 0, "orphaned": {"session_lost": 1},
        }});
        let outside = Outside { found: 1000, accepted: 999 };
        Outcome { books: Books { report, status, pool }, counts: Counts::default(), outside }
    }

    #[test]
    fn what_holds_passes() {
        let outcome = outcome();
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{outcome}");
    }

    #[test]
    fn each_thing_that_does_not_hold_is_named() {
        let lose = |part: &str, change: fn(&mut Outcome)| {
            let mut outcome = outcome();
            change(&mut outcome);
            assert!(outcome.faults().iter().any(|f| f.contains(part)), "{part}: {outcome}");
        };
        lose("disconnected", |o| o.books.status["miners"]["ended"] = json!({"gone": 1}));
        lose("accounted", |o| o.books.report.submitted += 1);
        lose("ledgers", |o| o.books.pool.accepted += 2);
        lose("outside faults", |o| o.outside = Outside::default());
        lose("accepts", |o| o.outside.accepted -= 1);
    }

    #[test]
    fn a_window_counts_what_had_its_answer_due() {
        let status = |forwarded, accepted, pending| {
            json!({"ledger": {"forwarded": forwarded, "pool_accepted": accepted,
                "pending": pending, "held": 0}})
        };
        let mut outside = Outside::default();
        outside.add(&status(10, 8, 0), &status(20, 15, 2));
        assert_eq!(outside, Outside { found: 8, accepted: 7 });
    }
}
