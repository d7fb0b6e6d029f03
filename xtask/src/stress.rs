//! The tests on a machine whose cores are busy: green three times in a row (F102).
//!
//! A test that waits for only one side, or for a time that only an idle machine meets, fails here.

use std::process::Child;

use crate::skips::Skips;
use crate::tally::Tally;
use crate::{process, test};

/// Runs of the whole suite.
const ROUNDS: u32 = 3;

/// Busy loops beside it: three per core of a small machine.
const SPINNERS: usize = 6;

/// A busy loop in a process, killed on drop.
struct Spinner(Child);

impl Spinner {
    fn start() -> Result<Self, String> {
        let mut command = process::command("sh");
        let started = command.args(["-c", "while :; do :; done"]).spawn();
        started.map(Self).map_err(|error| format!("sh: {error}"))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the tests, then runs them repeatedly beside the busy loops.
///
/// # Errors
///
/// A round failed; the later rounds run all the same.
pub fn run() -> Result<(), String> {
    test::build_tests()?;
    let spinners = (0..SPINNERS).map(|_| Spinner::start()).collect::<Result<Vec<_>, _>>()?;
    println!("{} programs spin", spinners.len());
    let mut failed = 0;
    let mut all = Tally::default();
    for round in 1..=ROUNDS {
        let skips = Skips::begin()?;
        let mut tally = Tally::default();
        let outcome = test::tests(&mut tally, &skips);
        skips.take_from(&mut tally);
        println!("round {round}: {tally}");
        failed += u32::from(outcome.is_err());
        all.add(tally);
    }
    println!("{all}");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {ROUNDS} rounds failed")) }
}
