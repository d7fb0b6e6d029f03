//! How a test says that this machine cannot run it.
//!
//! The test harness knows no skip: such a test returns and would count as passed. So each writes
//! its name and the reason to the file that `TEST_SKIPS` names. `cargo xtask test` sets it, takes
//! those tests from the passed ones, and shows them in its summary. Without that variable the
//! reason goes to standard error alone.

use std::fs::OpenOptions;
use std::io::Write;

/// Names the file of skips, one line to each: `program::module::test`, a tab, the reason.
const FILE: &str = "TEST_SKIPS";

/// Says that the calling test is skipped, and why. It is to return at once.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed");
    let line = format!("{}::{test}\t{why}\n", env!("CARGO_CRATE_NAME"));
    // One write, so that tests of several threads and programs do not mix their lines.
    if let Some(file) = std::env::var_os(FILE) {
        let opened = OpenOptions::new().append(true).create(true).open(&file);
        let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let _ = write!(std::io::stderr().lock(), "skipped: {line}");
}
