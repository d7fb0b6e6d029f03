//! The simulation: one seed with all its events, or many seeds on all cores.
//!
//! The seeds run in the test program `sim`, built from the engine alone in its own profile. It
//! reads its options from the environment.

use std::process::Command;

use crate::process;
use crate::report::Ended;

/// Longest time that the canary may take to build and run, in seconds.
const CANARY_SECONDS_MAX: u32 = 900;

const USAGE: &str = "usage: cargo xtask sim SEED [--log] | --seeds N [--from S] [--threads T] \
                     [--all] | --miners N";

/// Runs the seeds of the arguments.
///
/// # Errors
///
/// The usage, or a failed seed; the test program then has printed the seed.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    let mut command = program();
    match arguments {
        ["--seeds", options @ ..] => {
            command.arg("seeds");
            let (count, mut options) = options.split_first().ok_or(USAGE)?;
            command.env("SIM_SEEDS", number(count)?);
            while let [name, rest @ ..] = options {
                options = match (*name, rest) {
                    ("--all", _) => {
                        command.env("SIM_ALL", "1");
                        rest
                    }
                    ("--from", [value, rest @ ..]) => {
                        command.env("SIM_FROM", number(value)?);
                        rest
                    }
                    ("--threads", [value, rest @ ..]) => {
                        command.env("SIM_THREADS", number(value)?);
                        rest
                    }
                    _ => return Err(USAGE.to_owned()),
                };
            }
        }
        ["--miners", miners] => {
            command.arg("a_hundred_miners").env("SIM_MINERS", number(miners)?);
        }
        [seed] => {
            command.arg("one_seed").env("SIM_SEED", number(seed)?);
        }
        [seed, "--log"] => {
            command.arg("one_seed").env("SIM_SEED", number(seed)?).env("SIM_LOG", "1");
        }
        _ => return Err(USAGE.to_owned()),
    }
    process::run(command.args(["--exact", "--nocapture"]))
}

fn program() -> Command {
    let mut command = process::cargo(&["test", "--locked", "--quiet", "--profile", "sim"]);
    command.args(["--no-default-features", "--test", "sim", "--"]);
    command
}

fn number(text: &str) -> Result<&str, String> {
    text.parse::<u64>()
        .map(|_| text)
        .map_err(|_| format!("got {text}, a number is needed; {USAGE}"))
}

/// Plants one defect for each invariant and requires that the simulation finds each.
///
/// # Errors
///
/// A defect was not found.
pub fn canary() -> Result<Ended, String> {
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let arguments = ["test", "--locked", "--no-default-features", "--features", "canary"];
    let mut command = process::limited(CANARY_SECONDS_MAX, &cargo, &arguments);
    command.args(["--test", "sim", "--", "canary", "--nocapture"]);
    process::run(&mut command).map(|()| Ended::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_refused_before_anything_is_built() {
        for arguments in [
            &["x"][..],
            &[],
            &["--seeds"],
            &["--seeds", "1", "--from"],
            &["--seeds", "1", "--all", "x"],
            &["1", "-v"],
            &["--miners", "x"],
        ] {
            assert!(run(arguments).is_err_and(|error| error.contains("usage")), "{arguments:?}");
        }
    }
}
