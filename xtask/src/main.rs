//! The project's own commands, as `cargo xtask COMMAND`.
//!
//! `test` runs all checks of a commit in one command; the other commands are its parts, or build
//! the shipped files. Nothing is written outside the repository, and rustup is never called.

mod apt;
mod archive;
mod bare_metal;
mod beside;
mod browser;
mod chaos;
mod debian;
mod debs;
mod dist;
mod emulate;
mod engine;
mod fuzz;
mod hooks;
mod image;
mod instructions;
mod lab;
mod package;
mod process;
mod report;
mod sim;
mod sizes;
mod skips;
mod stress;
mod tally;
mod targets;
mod test;
mod tidy;

use std::process::ExitCode;

use tally::Tally;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test                    all checks of a commit: format, tidy, clippy, tests, docs,
                          the engine without an allocator; ends with the totals
  ci                      the same, for .ci/run; a skip that is not listed is a failure
  stress                  the tests three times in a row, beside six busy loops
  tidy                    the rules of CONTRIBUTING.md that a program can check
  bare-metal [--boards]   the engine without an allocator serves a recorded session, on the host
                          and on two boards under QEMU, or on these alone
  dist --target TRIPLE [--twice|--cross]
                          a router's binary, with its size by part; --list names the triples;
                          --twice builds in two folders and compares; --cross uses a container
  package --target TRIPLE [--format deb|ipk|tar]
                          packages of that binary, with their bill of materials
  package --trial         installs them into chroot roots, starts them, reads the status, removes
  image --board NAME [--settings FILE] [--trust FILE]...
                          a disk image of the board with that binary; it accepts updates signed
                          by the trusted keys, by default target/keys/update.pub
  image --board NAME --update [--key FILE] [--trust FILE]...
                          the same system as an update, signed by target/keys/update.key
  keys [FOLDER]           a key pair for updates, in target/keys or FOLDER
  image --boot-test       such an image under QEMU: set up by its serial port, miners, a power cut,
                          an update that is kept, one that is rolled back, a damaged slot
  emulate --target TRIPLE that binary under QEMU's user-mode emulator: version, check, a short run
  emulate --engine        the engine's unit tests on a 64-bit ARM, under the same emulator
  sim SEED [--log]        one seed of the simulation, with all its events
  sim --seeds N [--from S] [--threads T]
                          many seeds on all cores; ends with seeds per second
  chaos [OPTIONS]         a thousand miners and two pools under a hundred faults, two hundred
                          kills, a pulled cable: some seven minutes
  soak [OPTIONS]          memory and descriptors stay flat; --minutes N [--miners N]
  fuzz TARGET --seconds N a fuzz target for N seconds, with nightly (fuzz/README.md)
  instructions            what a submit costs the engine without hashing, counted by callgrind
  hooks                   makes git run .githooks/pre-commit
";

/// The exit code for an invalid command line.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test"] => test::all(test::Strict::No),
        ["ci"] => test::all(test::Strict::Yes),
        ["stress"] => stress::run(),
        ["tidy"] => tidy::run(),
        ["bare-metal"] => bare_metal::run(),
        ["bare-metal", "--boards"] => bare_metal::boards().map(|ended| ended.say()),
        ["dist", "--list"] => dist::list(),
        ["dist", "--target", triple] => dist::build(triple),
        ["dist", "--target", triple, "--twice"] => dist::twice(triple),
        ["dist", "--target", triple, "--cross"] => dist::build_by_cross(triple),
        ["package", "--target", triple] => package::run(triple, None),
        ["package", "--target", triple, "--format", format] => package::run(triple, Some(format)),
        ["package", "--trial"] => package::trial(),
        ["image", "--board", board, options @ ..] => image::run(board, options),
        ["keys"] => image::make_keys(None),
        ["keys", folder] => image::make_keys(Some(folder.as_ref())),
        ["image", "--boot-test"] => image::boot_test(&mut Tally::default()),
        // QEMU starts this for each connection of a guest to the pool.
        ["pipe", address] => image::pipe(address),
        ["sim", arguments @ ..] => sim::run(arguments),
        ["chaos", options @ ..] => chaos::chaos(options),
        ["soak", options @ ..] => chaos::soak(options),
        ["emulate", "--target", triple] => emulate::binary(triple),
        ["emulate", "--engine"] => emulate::engine(&mut Tally::default()).map(|ended| ended.say()),
        ["fuzz", target, "--seconds", seconds] => fuzz::run(target, seconds),
        ["instructions"] => instructions::run(),
        ["hooks"] => hooks::install(),
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
