//! The steps of a long command: runs each, keeps its time, and tells all at the end.
//!
//! A failed step does not stop the ones after it, so that one run shows all that is wrong.

use std::time::{Duration, Instant};

/// How a step that did not fail ended.
pub enum Ended {
    Passed,
    /// Not run, with the reason and what would let it run.
    Skipped(String),
}

impl Ended {
    /// What a line begins with that says why something was not run.
    pub const SKIPPED: &str = "skipped: ";

    /// Says why something was not run.
    pub fn say(&self) {
        if let Self::Skipped(reason) = self {
            println!("{}{reason}", Self::SKIPPED);
        }
    }
}

/// The outcome of the steps so far.
#[derive(Default)]
pub struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    outcome: Result<Ended, String>,
}

impl Report {
    /// Runs a step and notes how it ended.
    pub fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<Ended, String>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        match &outcome {
            Ok(ended) => ended.say(),
            Err(error) => println!("failed: {error}"),
        }
        self.steps.push(Step { name, took: start.elapsed(), outcome });
    }

    /// Prints a line per step and tells whether none failed.
    pub fn summary(&self) -> bool {
        println!("\n== summary");
        for step in &self.steps {
            let seconds = step.took.as_secs_f64();
            let (word, detail) = match &step.outcome {
                Ok(Ended::Passed) => ("ok", ""),
                Ok(Ended::Skipped(reason)) => ("skipped", reason.as_str()),
                Err(error) => ("FAILED", error.as_str()),
            };
            println!("{word:>8} {seconds:7.1} s  {:<28} {detail}", step.name);
        }
        let total: Duration = self.steps.iter().map(|step| step.took).sum();
        println!("{:>8} {:7.1} s", "in all", total.as_secs_f64());
        self.steps.iter().all(|step| step.outcome.is_ok())
    }
}
