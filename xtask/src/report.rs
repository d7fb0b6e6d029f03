//! The steps of a long command: runs each, measures its time, and prints a summary at the end.
//!
//! A failed step does not stop the later steps, so that one run shows all failures.

use std::time::{Duration, Instant};

/// The outcome of a step without a failure.
pub enum Ended {
    Passed,
    /// Not run, with the reason and the remedy.
    Skipped(String),
}

impl Ended {
    /// The prefix of a line with the reason for a skip.
    pub const SKIPPED: &str = "skipped: ";

    /// Prints the reason for a skip.
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
    /// Runs a step and records its outcome.
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

    /// Prints a line per step and returns whether none failed.
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
