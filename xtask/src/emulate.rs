//! Runs what was built for another processor, by the user-mode emulator of QEMU.
//!
//! [`binary`] starts a router's binary as an operator would, [`engine`] runs the engine's unit
//! tests as another processor computes them. Neither is a part of `test`: the first needs a build
//! of minutes, the second builds `std` for the target.

use std::path::Path;
use std::process::Command;

use crate::lab::Process;
use crate::report::Ended;
use crate::targets::{self, Target};
use crate::{apt, debian, dist, process};

/// Debian's package of the emulator.
const PACKAGES: [&str; 1] = ["qemu-user"];

/// The target whose tests are run: its C library unwinds, which tests that must panic need.
const ENGINE_TARGET: &str = "aarch64-unknown-linux-gnu";

/// Longest time that an emulated program may take, in seconds.
const RUN_SECONDS_MAX: u32 = 60;

/// Longest time to build the engine with its tests and run them, in seconds.
const ENGINE_SECONDS_MAX: u32 = 1200;

/// A pool where nobody listens, on a board that any machine can hold.
const GATEWAY: [&str; 6] =
    ["--board", "virt-aarch64", "--pool", "stratum+tcp://127.0.0.1:1", "--user", "farm"];

/// Runs the binary that `dist` built: its version, a check, and a gateway until it is told to
/// end, with its status asked for by the same binary.
///
/// # Errors
///
/// Says what was not as it should be.
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
    let check = process::output(start(&emulator, &binary).arg("check").args(GATEWAY))?;
    if !check.contains("board virt-aarch64: room for 1024 miners") {
        return Err(format!("check: {check}"));
    }
    print!("{version}{check}");
    let mut gateway = start(&emulator, &binary);
    gateway.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]).args(GATEWAY);
    run(&mut gateway, |status| {
        let output = start(&emulator, &binary)
            .args(["status", status])
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        // There is no pool: the right answer is 1.
        match output.status.code() {
            Some(1) if text.contains("board      virt-aarch64") => Ok(()),
            code => Err(format!("status: exit code {code:?}: {text}")),
        }
    })
}

/// Starts a gateway, has `ask` ask the address of its status port, ends it, and wants exit code 0.
///
/// # Errors
///
/// It does not start, `ask` is not content, or it does not end in order.
pub fn run(
    gateway: &mut Command,
    ask: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    let mut gateway = Process::start(gateway)?;
    let status = gateway.find("status ")?;
    gateway.find("listening ")?;
    let asked = ask(&status);
    // `timeout` hands the signal on to the program.
    let told = gateway.signal("TERM");
    let ended = gateway.wait()?;
    asked.and(told)?;
    if ended.success() { Ok(()) } else { Err(format!("run: {ended}")) }
}

/// Runs the engine's unit tests on [`ENGINE_TARGET`]; skipped where its compiler or the emulator
/// cannot be had.
///
/// # Errors
///
/// A test failed, or was not built.
pub fn engine() -> Result<Ended, String> {
    let target = targets::one(ENGINE_TARGET)?;
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--lib", "--no-default-features", "--target"];
    let mut command = process::limited(ENGINE_SECONDS_MAX, &cargo, &arguments);
    command.arg(ENGINE_TARGET);
    let mut prepare = || {
        emulator(&target)?;
        dist::prepare(&mut command, &target)?;
        if !dist::has_std(ENGINE_TARGET)? {
            command.env("RUSTC", debian::rustc(&dist::COMPILER_PACKAGES)?);
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,test,panic_unwind");
        }
        Ok::<(), String>(())
    };
    if let Err(reason) = prepare() {
        return Ok(Ended::Skipped(reason));
    }
    process::run(&mut command).map(|()| Ended::Passed)
}

/// The words before an emulated program; none where this machine can run it as it is. Installs
/// the emulator where it is missing.
///
/// # Errors
///
/// Says why the emulator cannot be had.
pub fn emulator(target: &Target) -> Result<Vec<String>, String> {
    let Some(runner) = targets::runner(&target.triple)? else { return Ok(Vec::new()) };
    let words: Vec<String> = runner.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|program| !process::is_installed(program)) {
        apt::install(&PACKAGES)?;
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
