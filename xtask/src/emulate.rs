//! Runs binaries for another processor, by the user-mode emulator of QEMU.
//!
//! [`binary`] starts a router's binary like an operator, has miners mine through it, and reads its
//! stored frames. [`engine`] runs the engine's unit tests on the other processor. The second is a
//! step of `test`; the first needs a build of minutes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::{self, Pool, Process, Swarm};
use crate::report::Ended;
use crate::tally::Tally;
use crate::targets::{self, Target};
use crate::{apt, dist, process};

/// Debian's package of the emulator.
const PACKAGE: &str = "qemu-user";

/// The target of the tests: its C library supports unwinding, which tests with expected panics
/// need.
const ENGINE_TARGET: &str = "aarch64-unknown-linux-gnu";

/// Leaves out the dependencies of other tests (`Cargo.toml`).
const ENGINE_FLAGS: &str = "--cfg engine_alone";

/// Settings of a build for a single run: optimising takes longer than it saves. A difference of the
/// processor shows in the first cases of a property; the host runs all cases.
const ENGINE_SETTINGS: [(&str, &str); 4] = [
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "0"),
    ("PROPTEST_CASES", "64"),
];

/// Longest time that an emulated program may take, in seconds.
const RUN_SECONDS_MAX: u32 = 300;

/// Longest time to build the engine with its tests and run them, in seconds.
const ENGINE_SECONDS_MAX: u32 = 3000;

/// A board profile that fits any machine.
const BOARD: [&str; 2] = ["--board", "virt-aarch64"];

/// The miners of an emulated gateway, and the number of their shares that the pool must accept.
const MINERS: [&str; 4] = ["--miners", "8", "--hash-rate", "100000"];
const SHARES_WANTED: u64 = 16;

/// The required frames of such a run, in this order.
const TOLD: [&str; 4] = [" INFO start of version ", " GeometryFixed {", " LinkLive {", " INFO end"];

/// Runs the binary that `dist` built: its version, a check, and a gateway that serves miners over
/// TLS until SIGTERM, with its status read by the same binary. Then its stored frames are decoded
/// with the unstripped ELF.
///
/// # Errors
///
/// The failed condition.
pub fn binary(triple: &str) -> Result<(), String> {
    let target = targets::one(triple)?;
    let binary = dist::shipped(&target);
    if !binary.is_file() {
        return Err(format!("first: cargo xtask dist --target {triple}"));
    }
    let emulator = emulator(&target)?;
    let version = process::output(start(&emulator, &binary).arg("--version"))?;
    if !version.starts_with("loka-stratum ") {
        return Err(format!("--version: {version}"));
    }
    let pool = Pool::start(&["--tls"])?;
    let url = format!("stratum+ssl://{}", pool.address);
    let state = state(triple)?;
    let gateway = |verb| {
        let mut gateway = start(&emulator, &binary);
        gateway.arg(verb).args(BOARD).args(["--pool", &url, "--user", "farm.gateway"]);
        gateway.env("LOKA_STATE__DIR", &state).env("LOKA_POOL__1__TRUST", "pin");
        gateway.env("LOKA_POOL__1__PINS", pool.pin.as_deref().unwrap_or_default());
        gateway
    };
    let check = process::output(&mut gateway("check"))?;
    if !check.contains("board virt-aarch64: room for 1024 miners") {
        return Err(format!("check: {check}"));
    }
    print!("{version}{check}");
    let mut gateway = gateway("run");
    gateway.args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    run(&mut gateway, |status, miners| {
        let address = lab::address(status)?;
        let swarm = Swarm::start(lab::address(miners)?, &MINERS)?;
        lab::wait_for_status(address, "shares", |status| {
            lab::count(status, "pool_accepted") >= SHARES_WANTED
        })?;
        drop(swarm);
        let text = process::output(start(&emulator, &binary).args(["status", status]))?;
        print!("{text}");
        if !(text.starts_with("ready") && text.contains("board      virt-aarch64")) {
            return Err(format!("status: {text}"));
        }
        let is_settled = |status: &Value| {
            let there = pool.ledger().ok().and_then(|ledger| ledger["accepted"].as_u64());
            lab::count(status, "pending") + lab::count(status, "held") == 0
                && Some(lab::count(status, "pool_accepted")) == there
        };
        let status = lab::wait_for_status(address, "the pool's own count", is_settled)?;
        println!("both counted {} shares", lab::count(&status, "pool_accepted"));
        Ok(())
    })?;
    frames(&target, &state)
}

/// An empty folder for a gateway's state.
fn state(triple: &str) -> Result<PathBuf, String> {
    let folder = process::root().join("target/emulate").join(triple);
    let error = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(error)?;
    }
    std::fs::create_dir_all(&folder).map_err(error)?;
    Ok(folder)
}

/// Decodes a gateway's frames by the host's program, and prints them.
fn frames(target: &Target, state: &Path) -> Result<(), String> {
    let mut decode = lab::program(&["ctl", "log", "--decode", "--elf"])?;
    let text = process::output(decode.arg(dist::with_symbols(target)).arg("--from").arg(state))?;
    print!("{text}");
    let mut lines = text.lines();
    match TOLD.iter().find(|told| !lines.any(|line| line.contains(*told))) {
        None => Ok(()),
        Some(told) => Err(format!("frames: \"{told}\" is not where it was expected")),
    }
}

/// Starts a gateway, calls `ask` with the addresses of its status port and of its miners' port,
/// ends it, and requires exit code 0.
///
/// # Errors
///
/// It does not start, `ask` fails, or its exit code is not 0.
pub fn run(
    gateway: &mut Command,
    ask: impl FnOnce(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut gateway = Process::start(gateway)?;
    let status = gateway.find("status ")?;
    let miners = gateway.find("listening ")?;
    let asked = ask(&status, &miners);
    // `timeout` forwards the signal to the program.
    let told = gateway.signal("TERM");
    let ended = gateway.wait()?;
    asked.and(told)?;
    if ended.success() { Ok(()) } else { Err(format!("run: {ended}")) }
}

/// Runs the engine's unit tests on [`ENGINE_TARGET`], with the toolchain's `std` for it, else with
/// Debian's; skipped if compiler or emulator cannot be installed.
///
/// # Errors
///
/// A test failed, or was not built.
pub fn engine(tally: &mut Tally) -> Result<Ended, String> {
    let target = targets::one(ENGINE_TARGET)?;
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--lib", "--no-default-features", "--target"];
    let mut command = process::limited(ENGINE_SECONDS_MAX, &cargo, &arguments);
    command.arg(ENGINE_TARGET).envs(ENGINE_SETTINGS).env("CARGO_TARGET_DIR", dist::folder());
    command.env(dist::rustflags_variable(ENGINE_TARGET), ENGINE_FLAGS);
    let mut prepare = || {
        emulator(&target)?;
        dist::use_linker(&mut command, &target)?;
        if let Some(rustc) = dist::rustc(&target)? {
            command.env("RUSTC", rustc);
        }
        Ok::<(), String>(())
    };
    if let Err(reason) = prepare() {
        return Ok(Ended::Skipped(reason));
    }
    process::run_watched(&mut command, |line| tally.read(line)).map(|()| Ended::Passed)
}

/// The command line before an emulated program; empty if this machine runs it natively. Installs a
/// missing emulator.
///
/// # Errors
///
/// The reason why the emulator cannot be installed.
pub fn emulator(target: &Target) -> Result<Vec<String>, String> {
    let Some(runner) = targets::runner(&target.triple)? else { return Ok(Vec::new()) };
    let words: Vec<String> = runner.split_whitespace().map(str::to_owned).collect();
    if let Some(program) = words.first() {
        apt::provide(program, PACKAGE)?;
    }
    Ok(words)
}

fn start(emulator: &[String], binary: &Path) -> Command {
    let binary = binary.to_string_lossy().into_owned();
    let mut words = emulator.iter().chain([&binary]);
    let program = words.next().unwrap_or(&binary);
    let mut command = process::limited(RUN_SECONDS_MAX, program, &[]);
    command.args(words);
    command
}
