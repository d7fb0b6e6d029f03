//! Long runs of the whole process under fire: `chaos` and `soak`, both parts of the lab.
//!
//! They are commands of their own because they take minutes to days; `test` does not run them.
//! The binary is built as the tests build it, so that no build is needed twice.

use crate::process;

/// Longest run of the chaos, in seconds: a hundred faults take some four minutes.
const CHAOS_SECONDS_MAX: u32 = 1800;

/// How often the process is killed; the test by itself does a tenth of it.
const KILLS: &str = "200";

/// A thousand miners, two pools, a hundred faults between them; then two hundred kills, and
/// what takes too long for every run of the tests, such as a pulled cable.
///
/// # Errors
///
/// The build fails, or something did not hold.
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

/// A farm for as long as asked; fails where the gateway's memory or descriptors grow.
///
/// # Errors
///
/// The build fails, or something grew.
pub fn soak(arguments: &[&str]) -> Result<(), String> {
    build()?;
    let run = ["run", "--locked", "--quiet", "--", "lab", "soak"];
    process::run(&mut process::cargo(&[&run, arguments].concat()))
}

/// Builds first, so that the time of the run is the run's.
fn build() -> Result<(), String> {
    process::run(&mut process::cargo(&["build", "--locked"]))
}
