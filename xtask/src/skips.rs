//! Tests that this machine cannot run: which, why, and whether CI may do without them.
//!
//! The harness of `cargo test` knows no skip, so a test that cannot run returns and counts as
//! passed. Each writes its name and reason to a file (`tests/skips/mod.rs`); here that file is read
//! after the tests, and what it names is taken from the passed ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::process;
use crate::tally::Tally;

/// Tells the tests where to write.
const VARIABLE: &str = "TEST_SKIPS";

/// The tests that CI may skip, each with the command that runs it.
const ALLOWED: &str = "tests/skips/allowed.txt";

/// The skips of a run.
pub struct Skips {
    file: PathBuf,
}

impl Skips {
    /// Begins an empty list.
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

    /// Has the tests of a command write to the list.
    pub fn follow<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(VARIABLE, &self.file)
    }

    /// Takes the tests that were skipped from the passed ones and prints each with its reason.
    /// Returns their names.
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

/// Compares the tests that were skipped with those that CI may skip.
///
/// # Errors
///
/// Names each test that is on one list only.
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

/// Lines of a name, a tab and a text; each test counts once, however often it says so.
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
