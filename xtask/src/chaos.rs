//! Long runs of the whole process under faults: `chaos` and `soak`, both parts of the lab.
//!
//! They are separate commands because they take minutes to days; `test` does not run them. The
//! binary has the same features as in the tests, so it is built only once.

use crate::process;

/// Longest run of the chaos, in seconds: a hundred faults take some four minutes.
const CHAOS_SECONDS_MAX: u32 = 1800;

/// Number of kills; the ordinary test does a tenth of it.
const KILLS: &str = "200";

/// A thousand miners, two pools, a hundred faults between them; then two hundred kills, and the
/// tests that are too long for every run, such as a pulled cable.
///
/// # Errors
///
/// The build fails, or a condition failed.
pub fn chaos(arguments: &[&str]) -> Result<(), String> {
    let cargo = process::cargo(&[]).get_program().to_string_lossy().into_owned();
    let run = ["run", "--locked", "--quiet", "--", "lab", "chaos"];
    build()?;
    process::run(&mut process::limited(CHAOS_SECONDS_MAX, &cargo, &[&run, arguments].concat()))?;
    let mut kills = process::cargo(&["test", "--locked", "--test", "process_kills"]);
    process::run(kills.args(["--", "--nocapture"]).env("KILLS", KILLS))?;
    let mut fire = process::cargo(&["test", "--locked", "--test", "process_fire"]);
    process::run(fire.args(["--", "--nocapture"]).env("LONG", "1"))
}

/// A farm for the given time; fails if the gateway's memory or descriptors grow.
///
/// # Errors
///
/// The build fails, or memory or descriptors grew.
pub fn soak(arguments: &[&str]) -> Result<(), String> {
    build()?;
    let run = ["run", "--locked", "--quiet", "--", "lab", "soak"];
    process::run(&mut process::cargo(&[&run, arguments].concat()))
}

/// Builds first, so that the time limit covers only the run.
fn build() -> Result<(), String> {
    process::run(&mut process::cargo(&["build", "--locked"]))
}
