//! Tests that this machine cannot run: their names, the reasons, and CI's permission to skip them.
//!
//! The harness of `cargo test` has no skip, so a test that cannot run returns and counts as passed.
//! Each writes its name and reason to a file (`tests/skips/mod.rs`). This module reads the file
//! after the tests, and subtracts its tests from the passed ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::process;
use crate::tally::Tally;

/// The variable with the list's path.
const VARIABLE: &str = "TEST_SKIPS";

/// The tests that CI may skip, each with the command that runs it.
const ALLOWED: &str = "tests/skips/allowed.txt";

/// The skips of a run.
pub struct Skips {
    file: PathBuf,
}

impl Skips {
    /// Starts an empty list.
    ///
    /// # Errors
    ///
    /// The list of an earlier run cannot be removed.
    pub fn begin() -> Result<Self, String> {
        let file = process::root().join("target/skips.txt");
        let removed = std::fs::remove_file(&file);
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", process::shown(&file)))
            }
            _ => Ok(Self { file }),
        }
    }

    /// Sets the list's path for the tests of a command.
    pub fn follow<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(VARIABLE, &self.file)
    }

    /// Subtracts the skipped tests from the passed ones and prints each with its reason. Returns
    /// their names.
    pub fn take_from(&self, tally: &mut Tally) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let skips = by_name(&text);
        for (test, why) in &skips {
            println!("{:>8} {test}: {why}", "skipped");
        }
        tally.skip(skips.len() as u64);
        skips.into_keys().map(str::to_owned).collect()
    }
}

/// Compares the skipped tests with CI's list.
///
/// # Errors
///
/// Names each test on only one list.
pub fn check(skipped: &[String]) -> Result<(), String> {
    let path = process::root().join(ALLOWED);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{ALLOWED}: {error}"))?;
    let wrong = differences(skipped, &text);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn differences(skipped: &[String], allowed: &str) -> Vec<String> {
    let allowed = by_name(allowed);
    let unexpected = skipped.iter().filter(|test| !allowed.contains_key(test.as_str()));
    let unexpected = unexpected.map(|test| format!("{test} was skipped and is not in {ALLOWED}"));
    let stale = allowed.keys().filter(|test| !skipped.iter().any(|skipped| skipped == *test));
    unexpected.chain(stale.map(|test| format!("{test} is in {ALLOWED} and ran"))).collect()
}

/// Lines of a name, a tab and a text; a repeated test counts once.
fn by_name(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &str = "# a comment\nfire::slow\tcargo xtask chaos\n";

    #[test]
    fn f102_a_skip_counts_once_and_needs_its_line() {
        assert_eq!(by_name("fire::slow\tone\nfire::slow\ttwo\n").len(), 1);
        assert_eq!(differences(&["fire::slow".to_owned()], ALLOWED), [""; 0]);
        let both = differences(&["fire::other".to_owned()], ALLOWED);
        assert!(both[0].starts_with("fire::other was skipped"), "{both:?}");
        assert!(both[1].starts_with("fire::slow is in"), "{both:?}");
    }
}
