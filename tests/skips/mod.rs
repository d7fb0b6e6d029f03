//! The report of a test that this machine cannot run.
//!
//! The test harness has no skip: such a test returns and would count as passed. So it writes its
//! name and the reason to the file of the variable `TEST_SKIPS`. `cargo xtask test` sets the
//! variable, subtracts those tests from the passed ones, and lists them in its summary. Without the
//! variable the reason goes only to standard error.

use std::fs::OpenOptions;
use std::io::Write;

/// The variable with the path of the skip file. Each line has `program::module::test`, a tab, the
/// reason.
const FILE: &str = "TEST_SKIPS";

/// Reports the calling test as skipped, with the reason. The test must return at once.
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
