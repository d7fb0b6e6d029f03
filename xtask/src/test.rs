//! Everything that a commit must pass, quick layers first.
//!
//! What only other processors need is built beside the steps for this one (`beside`): those wait
//! half of their time.
//!
//! All host builds use the `dev` profile, so each crate is compiled once for checking and once for
//! running; only the proof without an allocator, a few small crates, needs a profile of its own.

use std::path::PathBuf;

use crate::beside::Beside;
use crate::report::{Ended, Report};
use crate::skips::{self, Skips};
use crate::tally::Tally;
use crate::{apt, bare_metal, browser, engine, image, lab, process, sim, tidy};

/// What the packages of the workspace that run on the host are called in cargo's arguments.
/// `bare-metal` has no `main` that a test program could be made of.
const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "bare-metal"];

/// What tests call, and which package of Debian has it: networks disturbed, metrics checked.
const TOOLS: [(&str, &str); 3] =
    [("ip", "iproute2"), ("nft", "nftables"), ("promtool", "prometheus")];

/// Longest time to build and run the tests, in seconds: one that hangs must end and be seen, and
/// a machine whose cores are busy takes three times as long.
const TEST_SECONDS_MAX: u32 = 2400;

/// Whether a test that could not run fails the whole, unless it is listed as one that may.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strict {
    Yes,
    No,
}

/// Runs all steps, then prints the summary and, as the last line, the totals of the tests.
///
/// # Errors
///
/// When a step failed, or when no test ran at all.
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
    // Not before: what was built for that step is of use for other processors too.
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

/// Starts the builds for other processors, in the order in which their steps come: first the one
/// that ends with minutes on one core.
fn beside(has_board: bool) -> Result<Beside, String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut commands = Vec::new();
    if has_board {
        commands.push(words(&["dist", "--target", &image::target()?]));
    }
    commands.extend([words(&["bare-metal", "--boards"]), words(&["emulate", "--engine"])]);
    Beside::start(commands)
}

/// What cannot be had here is a reason not to run a step, and no fault.
fn or_skipped(outcome: &Result<(), String>) -> Ended {
    outcome.as_ref().map_or_else(|reason| Ended::Skipped(reason.clone()), |()| Ended::Passed)
}

fn passed(mut command: std::process::Command) -> Result<Ended, String> {
    process::run(&mut command).map(|()| Ended::Passed)
}

/// Checks every target with every feature: also the benches and the tests, and the one test that
/// `--all-targets` leaves out since it is no part of `cargo test`.
fn clippy() -> Result<Ended, String> {
    let mut command = process::cargo(&["clippy", "--locked", "--all-targets", "--all-features"]);
    command.args(["--test", "browser"]).args(HOST_PACKAGES).args(["--", "-D", "warnings"]);
    passed(command)
}

/// Lints of the documents: a link that leads nowhere is an error; one to a private item is none,
/// as the documents are for those who work on the code.
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
        println!("tests that need {} will say that they are skipped: {why}", missing.join(", "));
    }
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--no-fail-fast"];
    let mut command = process::limited(TEST_SECONDS_MAX, &cargo, &arguments);
    skips.follow(command.args(HOST_PACKAGES));
    process::run_watched(&mut command, |line| tally.read(line)).map(|()| Ended::Passed)
}

/// What lets the steps of cargo-deny run.
const NO_DENY: &str = "cargo-deny is not installed (cargo install --locked cargo-deny)";

/// Checks licences, sources and duplicate crates where cargo-deny is installed.
fn deny() -> Result<Ended, String> {
    if !process::is_installed("cargo-deny") {
        return Ok(Ended::Skipped(NO_DENY.to_owned()));
    }
    passed(process::cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]))
}

/// Checks the crates against published advisories where cargo-deny has the database: `cargo deny
/// fetch` brings it, on a machine that reaches it.
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
