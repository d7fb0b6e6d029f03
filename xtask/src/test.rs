//! All checks of a commit, quick layers first.
//!
//! Builds for other processors run beside the steps for this one (`beside`), which wait half of
//! their time.
//!
//! All host builds use the `dev` profile, so each crate is compiled once for checking and once for
//! running; only the proof without an allocator, a few small crates, needs a profile of its own.

use std::path::PathBuf;

use crate::beside::Beside;
use crate::report::{Ended, Report};
use crate::skips::{self, Skips};
use crate::tally::Tally;
use crate::{apt, bare_metal, browser, engine, image, lab, process, sim, tidy};

/// cargo's arguments for the workspace's packages that run on the host. `bare-metal` has no `main`,
/// so no test program can be made of it.
const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "bare-metal"];

/// Programs that tests call, with their Debian packages: network faults and the check of metrics.
const TOOLS: [(&str, &str); 3] =
    [("ip", "iproute2"), ("nft", "nftables"), ("promtool", "prometheus")];

/// Longest time to build and run the tests, in seconds: a hanging test must end and be noticed, and
/// a busy machine takes three times as long.
const TEST_SECONDS_MAX: u32 = 2400;

/// Whether a skipped test fails the run, unless it is on the list of allowed skips.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strict {
    Yes,
    No,
}

/// Runs all steps, then prints the summary and, as the last line, the totals of the tests.
///
/// # Errors
///
/// A step failed, or no test ran at all.
pub fn all(strict: Strict) -> Result<(), String> {
    let mut report = Report::default();
    let mut tally = Tally::default();
    let skips = Skips::begin()?;
    report.step("format", || passed(process::cargo(&["fmt", "--all", "--check"])));
    report.step("tidy", || tidy::run().map(|()| Ended::Passed));
    report.step("engine: allowed crates", engine::allowed_crates);
    let mut board = Ok(());
    report.step("packages for the board", || {
        board = image::fetch();
        Ok(or_skipped(&board))
    });
    report.step("engine: clippy", engine::clippy);
    report.step("engine: links without alloc", bare_metal::host);
    // Not earlier: that step's build is reused for other processors.
    let beside = beside(board.is_ok());
    let ended =
        |tally: &mut Tally| beside.as_ref().map_err(Clone::clone).and_then(|all| all.next(tally));
    report.step("clippy", clippy);
    report.step("docs", docs);
    report.step("tests", || tests(&mut tally, &skips));
    lab::use_what_tests_built();
    report.step("simulation: canary", sim::canary);
    report.step("licences and sources", deny);
    report.step("advisories", advisories);
    report.step("page in a browser", || browser::run(&mut tally, &skips));
    match &board {
        Ok(()) => {
            report.step("board: binary", || ended(&mut tally));
            report.step("board: boot", || image::boot_test(&mut tally).map(|()| Ended::Passed));
        }
        Err(_) => report.step("board: binary and boot", || Ok(or_skipped(&board))),
    }
    report.step("engine: bare metal", || ended(&mut tally));
    report.step("engine: tests on 64-bit ARM", || ended(&mut tally));
    let mut skipped = Vec::new();
    report.step("skipped tests", || {
        skipped = skips.take_from(&mut tally);
        match strict {
            Strict::Yes => skips::check(&skipped).map(|()| Ended::Passed),
            Strict::No => Ok(Ended::Passed),
        }
    });
    let passed = report.summary();
    println!("{tally}");
    match (passed, tally.passed) {
        (true, 1..) => Ok(()),
        (true, 0) => Err("no test ran".to_owned()),
        (false, _) => Err("a step failed; the summary says which".to_owned()),
    }
}

/// Starts the builds for other processors, in the order of their steps: first the build that ends
/// with minutes on one core.
fn beside(has_board: bool) -> Result<Beside, String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut commands = Vec::new();
    if has_board {
        commands.push(words(&["dist", "--target", &image::target()?]));
    }
    commands.extend([words(&["bare-metal", "--boards"]), words(&["emulate", "--engine"])]);
    Beside::start(commands)
}

/// A missing tool skips a step, and is no failure.
fn or_skipped(outcome: &Result<(), String>) -> Ended {
    outcome.as_ref().map_or_else(|reason| Ended::Skipped(reason.clone()), |()| Ended::Passed)
}

fn passed(mut command: std::process::Command) -> Result<Ended, String> {
    process::run(&mut command).map(|()| Ended::Passed)
}

/// Checks every target with every feature, including benches and tests, and the one test that
/// `--all-targets` leaves out, since `cargo test` does not run it.
fn clippy() -> Result<Ended, String> {
    let mut command = process::cargo(&["clippy", "--locked", "--all-targets", "--all-features"]);
    command.args(["--test", "browser"]).args(HOST_PACKAGES).args(["--", "-D", "warnings"]);
    passed(command)
}

/// Lints of the documents: a broken link is an error. A link to a private item is allowed, since
/// the documents are for the code's developers.
const DOC_LINTS: &str = "-D warnings -A rustdoc::private_intra_doc_links";

/// Renders the documents of the code, private items too.
fn docs() -> Result<Ended, String> {
    let mut command = process::cargo(&["doc", "--locked", "--no-deps", "--all-features"]);
    command.arg("--document-private-items").args(HOST_PACKAGES).env("RUSTDOCFLAGS", DOC_LINTS);
    passed(command)
}

/// Builds what [`tests`] runs.
///
/// # Errors
///
/// The build fails.
pub fn build_tests() -> Result<(), String> {
    let mut command = process::cargo(&["test", "--locked", "--no-run"]);
    process::run(command.args(HOST_PACKAGES))
}

/// Runs unit, integration and documentation tests, with the features of a workstation.
///
/// # Errors
///
/// A test failed.
pub fn tests(tally: &mut Tally, skips: &Skips) -> Result<Ended, String> {
    let missing = TOOLS.iter().filter(|(program, _)| !process::is_installed(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty()
        && let Err(why) = apt::install(&missing)
    {
        println!("tests that need {} are skipped: {why}", missing.join(", "));
    }
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--no-fail-fast"];
    let mut command = process::limited(TEST_SECONDS_MAX, &cargo, &arguments);
    skips.follow(command.args(HOST_PACKAGES));
    process::run_watched(&mut command, |line| tally.read(line)).map(|()| Ended::Passed)
}

/// The remedy for skipped steps of cargo-deny.
const NO_DENY: &str = "cargo-deny is not installed (cargo install --locked cargo-deny)";

/// Checks licences, sources and duplicate crates, if cargo-deny is installed.
fn deny() -> Result<Ended, String> {
    if !process::is_installed("cargo-deny") {
        return Ok(Ended::Skipped(NO_DENY.to_owned()));
    }
    passed(process::cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]))
}

/// Checks the crates against published advisories, if cargo-deny has the database: `cargo deny
/// fetch` downloads it.
fn advisories() -> Result<Ended, String> {
    if !process::is_installed("cargo-deny") {
        return Ok(Ended::Skipped(NO_DENY.to_owned()));
    }
    let has_database = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .is_some_and(|home| {
            ["advisory-db", "advisory-dbs"].iter().any(|name| home.join(name).is_dir())
        });
    if !has_database {
        let how = "the database of advisories is not here (cargo deny fetch)";
        return Ok(Ended::Skipped(how.to_owned()));
    }
    passed(process::cargo(&["deny", "--offline", "check", "advisories"]))
}
