//! The proof that the engine needs no allocator: a final image links without one, and serves.
//!
//! `targets/bare-metal` serves a recorded session with the engine and has no allocator. On the host
//! it is always linked and run. For the boards of `boards.toml` it is linked with a built or
//! shipped `core`, measured, and run in QEMU, where it prints its verdicts by semihosting. Without
//! compiler or emulator the step is skipped with the reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::report::Ended;
use crate::{apt, debs, process, sizes, targets};

/// The boards: a 32-bit microcontroller and a 64-bit board, both without an operating system.
const BOARDS: &str = "targets/bare-metal/boards.toml";

/// The image's last line if every byte of the engine equals the recorded one.
const DONE: &str = "the session went as recorded";

/// The session that the image holds.
const SESSION: &str = "targets/bare-metal/session.txt";

/// Crates of Rust's own library in an image without an operating system.
const RUST: [&str; 2] = ["core", "compiler_builtins"];

/// A board, by its triple.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    /// The emulator and its arguments.
    machine: Vec<String>,
    /// Overrides of the release profile.
    opt_level: String,
    /// Most bytes of code and constants.
    flash_bytes_max: u64,
    /// The same without [`RUST`] and the session.
    engine_bytes_max: Option<u64>,
}

/// Parts of the names of an allocator's functions.
const ALLOCATION: [&str; 9] = [
    "__rust_alloc",
    "__rust_dealloc",
    "__rust_realloc",
    "__rg_",
    "__rdl_",
    "malloc",
    "calloc",
    "realloc",
    "5alloc",
];

/// Longest time to build `core` and the engine for a board, in seconds: some 60 on an idle machine
/// with two cores; 600 were too few on a machine shared by eight jobs, and 780 too few at a low
/// priority beside other steps.
const BUILD_SECONDS_MAX: u32 = 3000;

/// Longest time that the session may take, in seconds, also under an emulator on a loaded machine;
/// on an idle one it takes less than one.
const SESSION_SECONDS_MAX: u32 = 60;

/// Runs all parts: the host, then the boards.
///
/// # Errors
///
/// Names the part that did not build, link or run, or the allocator function found.
pub fn run() -> Result<(), String> {
    host()?;
    boards()?.say();
    Ok(())
}

/// Links the image for the host and runs it. It exits with 0 if the session matches the recording.
pub fn host() -> Result<Ended, String> {
    let mut clippy =
        process::cargo(&["clippy", "--locked", "--no-deps", "--package", "bare-metal"]);
    process::run(in_own_folder(&mut clippy).args(["--release", "--", "-D", "warnings"]))?;
    let mut build = process::cargo(&["build", "--locked", "--package", "bare-metal"]);
    process::run(in_own_folder(&mut build).arg("--release"))?;
    let image = target_folder().join("release/bare-metal");
    without_allocation(&image)?;
    serve(&mut process::limited(SESSION_SECONDS_MAX, &image.to_string_lossy(), &[]))?;
    Ok(Ended::Passed)
}

/// Links the image for boards without an operating system, and runs it on each.
pub fn boards() -> Result<Ended, String> {
    let boards: BTreeMap<String, Board> = targets::read(BOARDS)?;
    let mut skipped = Vec::new();
    for (triple, board) in &boards {
        let route = match Route::find(triple) {
            Ok(route) => route,
            Err(reason) => {
                skipped.push(format!("{triple}: {reason}"));
                continue;
            }
        };
        let image = link(triple, board, &route)?;
        match debs::unpacked("qemu-system-arm", "qemu", true) {
            Ok(tools) => emulate(&tools, board, &image)?,
            Err(reason) => skipped.push(format!("{triple}: linked and not run: {reason}")),
        }
    }
    if skipped.is_empty() { Ok(Ended::Passed) } else { Ok(Ended::Skipped(skipped.join("; "))) }
}

fn link(triple: &str, board: &Board, route: &Route) -> Result<PathBuf, String> {
    println!("{triple}: {route}");
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let mut build = process::limited(BUILD_SECONDS_MAX, &cargo, &["rustc", "--locked"]);
    build.args(["--package", "bare-metal", "--release", "--target", triple]);
    build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", &board.opt_level);
    route.apply(in_own_folder(&mut build));
    let script = process::root().join(format!("targets/bare-metal/{triple}.x"));
    process::run(build.arg("--").arg(format!("-Clink-arg=-T{}", script.display())))?;
    let image = target_folder().join(triple).join("release/bare-metal");
    without_allocation(&image)?;
    sizes::print(&image)?;
    let flash = sizes::of_sections(&image, &[".text", ".rodata", ".data"])?;
    let session = std::fs::metadata(process::root().join(SESSION)).map_or(0, |file| file.len());
    let beside = sizes::of_crates(&image, &RUST)? + session;
    let within = |what: &str, bytes: u64, limit: u64| {
        println!("{}: {bytes} bytes of {limit}, {what}", process::shown(&image));
        if bytes > limit { Err(format!("{what}: {} too large", bytes - limit)) } else { Ok(()) }
    };
    within("flash", flash, board.flash_bytes_max)?;
    if let Some(limit) = board.engine_bytes_max {
        within("engine", flash.saturating_sub(beside), limit)?;
    }
    Ok(image)
}

/// Runs the image on an emulated board.
fn emulate(tools: &Path, board: &Board, image: &Path) -> Result<(), String> {
    let (emulator, machine) = board.machine.split_first().ok_or("machine: names no emulator")?;
    let qemu = debs::program(tools, &format!("usr/bin/{emulator}"));
    let mut command =
        process::limited(SESSION_SECONDS_MAX, &qemu.get_program().to_string_lossy(), &[]);
    command.args(machine).envs(qemu.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg("-L").arg(tools.join("usr/share/qemu"));
    command.args(["-nodefaults", "-display", "none"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    serve(command.arg("-kernel").arg(image))
}

/// Runs the image; it exits with 0, and says so, if the session matches the recording.
fn serve(image: &mut Command) -> Result<(), String> {
    let output = image.output().map_err(|error| format!("the image: {error}"))?;
    // Semihosting prints to the emulator's standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    print!("{text}");
    if output.status.success() && text.contains(DONE) {
        Ok(())
    } else {
        Err(format!("the image did not serve the session: {}", output.status))
    }
}

/// The source of `core` for a board.
enum Route {
    /// The toolchain has it: the target is installed.
    Prebuilt,
    /// The toolchain has the sources.
    Sources,
    /// Debian's compiler and sources, through a wrapper that sets the system root.
    Debian { rustc: PathBuf },
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Prebuilt => "core of the toolchain",
            Self::Sources => "core built from the toolchain's sources",
            Self::Debian { .. } => "core built from Debian's sources by Debian's rustc",
        })
    }
}

impl Route {
    /// The first available source; installs Debian's compiler as the last resort.
    fn find(board: &str) -> Result<Self, String> {
        let mut rustc = process::command("rustc");
        let libraries = rustc.args(["--print", "target-libdir", "--target", board]);
        if holds_core(Path::new(process::output(libraries)?.trim())) {
            return Ok(Self::Prebuilt);
        }
        let toolchain = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
        let toolchain = Path::new(toolchain.trim());
        if toolchain.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Ok(Self::Sources);
        }
        crate::debian::rustc().map(|rustc| Self::Debian { rustc })
    }

    fn apply(&self, command: &mut Command) {
        if let Self::Debian { rustc } = self {
            command.env("RUSTC", rustc);
        }
        if !matches!(self, Self::Prebuilt) {
            // Building core is not stable; the flag below and this go together.
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
        }
    }
}

/// Returns whether a folder of libraries has a compiled `core`.
fn holds_core(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// A target folder that no other profile or compiler shares.
fn target_folder() -> PathBuf {
    process::root().join("target/bare-metal")
}

fn in_own_folder(command: &mut Command) -> &mut Command {
    command.env("CARGO_TARGET_DIR", target_folder())
}

/// Checks that the image neither has nor imports an allocator's function.
fn without_allocation(image: &Path) -> Result<(), String> {
    apt::provide("readelf", "binutils")?;
    let symbols =
        process::output(process::command("readelf").args(["--symbols", "--wide"]).arg(image))?;
    let found: Vec<&str> = allocating(&symbols).collect();
    if !found.is_empty() {
        return Err(format!("{}: allocates: {}", image.display(), found.join(", ")));
    }
    if !symbols.contains("FUNC") {
        return Err(format!("{}: has no symbols, so nothing is proved", image.display()));
    }
    println!("{}: 0 allocation symbols", process::shown(image));
    Ok(())
}

/// The names in a symbol table that belong to an allocator.
fn allocating(symbols: &str) -> impl Iterator<Item = &str> {
    let names = symbols.lines().filter_map(|line| line.split_whitespace().nth(7));
    names.filter(|name| ALLOCATION.iter().any(|part| name.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_an_allocator_in_a_symbol_table() {
        let symbols = "\
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     1: 0000000000001040    93 FUNC    GLOBAL DEFAULT   14 _start
     2: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND malloc@GLIBC_2.2.5 (2)
     3: 0000000000001100    12 FUNC    LOCAL  HIDDEN    14 _ZN5alloc5alloc6Global12alloc_impl17hE
     4: 0000000000001200    12 FUNC    LOCAL  HIDDEN    14 _ZN4core5slice6memchr17hE
";
        let found: Vec<&str> = allocating(symbols).collect();
        let expected = ["malloc@GLIBC_2.2.5", "_ZN5alloc5alloc6Global12alloc_impl17hE"];
        assert_eq!(found, expected);
    }
}
