//! The simulation: one seed with everything shown, or many as fast as the cores go.
//!
//! The seeds run in the test program `sim`, built of the engine alone in a profile of its own; it
//! reads what is asked of it from the environment.

use std::process::Command;

use crate::process;
use crate::report::Ended;

/// Longest time that the canary may take to build and run, in seconds.
const CANARY_SECONDS_MAX: u32 = 900;

const USAGE: &str = "usage: cargo xtask sim SEED [--log] | --seeds N [--from S] [--threads T] | \
                     --miners N";

/// Runs what the arguments ask for.
///
/// # Errors
///
/// Says how to call it, or that a seed failed; the test program has then said which.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    let mut command = program();
    match arguments {
        ["--seeds", options @ ..] => {
            command.arg("seeds");
            let (count, mut options) = options.split_first().ok_or(USAGE)?;
            command.env("SIM_SEEDS", number(count)?);
            while let [name, value, rest @ ..] = options {
                let variable = match *name {
                    "--from" => "SIM_FROM",
                    "--threads" => "SIM_THREADS",
                    _ => return Err(USAGE.to_owned()),
                };
                command.env(variable, number(value)?);
                options = rest;
            }
            if !options.is_empty() {
                return Err(USAGE.to_owned());
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

/// Plants one defect for each invariant and demands that each is found.
///
/// # Errors
///
/// Says that one was not.
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
            &["1", "-v"],
            &["--miners", "x"],
        ] {
            assert!(run(arguments).is_err_and(|error| error.contains("usage")), "{arguments:?}");
        }
    }
}
