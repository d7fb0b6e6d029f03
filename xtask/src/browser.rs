//! The tests of the set-up page in a real browser, which must be installed.

use crate::report::Ended;
use crate::skips::Skips;
use crate::tally::Tally;
use crate::{apt, process};

/// The browser's programs for the tests.
const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

/// Debian's packages of them.
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Longest time for the tests, in seconds.
const SECONDS_MAX: u32 = 600;

/// Runs the tests with Debian's Chromium, and installs it if possible.
///
/// # Errors
///
/// A test failed.
pub fn run(tally: &mut Tally, skips: &Skips) -> Result<Ended, String> {
    let is_there = || PROGRAMS.iter().all(|program| process::is_installed(program));
    if !is_there()
        && let Err(why) = apt::install(&PACKAGES)
    {
        return Ok(Ended::Skipped(why));
    }
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--test", "browser"];
    let mut command = process::limited(SECONDS_MAX, &cargo, &arguments);
    skips.follow(&mut command);
    process::run_watched(&mut command, |line| tally.read(line)).map(|()| Ended::Passed)
}
