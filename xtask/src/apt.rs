//! Installs the Debian packages of a step, if the machine allows it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::process;

/// Longest time for one call of apt, in seconds; a slow mirror must not hold up the other steps.
const APT_SECONDS_MAX: u32 = 300;

/// Longest time that apt waits for another apt, in seconds.
const LOCK_SECONDS_MAX: u32 = 60;

/// Whether the package lists were updated; once per run suffices.
static IS_UP_TO_DATE: AtomicBool = AtomicBool::new(false);

/// Installs the package of a missing program.
///
/// # Errors
///
/// As [`install`].
pub fn provide(program: &str, package: &str) -> Result<(), String> {
    if process::is_installed(program) { Ok(()) } else { install(&[package]) }
}

/// Installs `packages`, which contain the caller's missing files or programs.
///
/// # Errors
///
/// The reason: not root, no apt, or apt's error.
pub fn install(packages: &[&str]) -> Result<(), String> {
    let by_hand = format!("install by hand: {}", packages.join(" "));
    if !process::is_installed("apt-get") {
        return Err(format!("no apt-get on this machine; {by_hand}"));
    }
    let user = process::output(process::command("id").arg("-u"))?;
    if user.trim() != "0" {
        return Err(format!("apt-get needs root; {by_hand}"));
    }
    update().map_err(|error| format!("{error}; {by_hand}"))?;
    let lock = lock();
    let mut install = process::limited(
        APT_SECONDS_MAX,
        "apt-get",
        &["-qq", "-o", &lock, "-y", "--no-install-recommends", "install"],
    );
    install.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    install.stdout(std::process::Stdio::null());
    process::run(&mut install).map_err(|error| format!("{error}; {by_hand}"))
}

/// Adds another architecture to apt, if it is not there yet.
///
/// # Errors
///
/// dpkg's error; it needs root.
pub fn know(architecture: &str) -> Result<(), String> {
    let known = process::output(process::command("dpkg").arg("--print-foreign-architectures"))?;
    if known.lines().any(|line| line == architecture) {
        return Ok(());
    }
    IS_UP_TO_DATE.store(false, Ordering::Relaxed);
    process::run(process::command("dpkg").args(["--add-architecture", architecture]))
}

/// Updates the package lists once per run.
///
/// # Errors
///
/// apt's error.
pub fn update() -> Result<(), String> {
    if IS_UP_TO_DATE.load(Ordering::Relaxed) {
        return Ok(());
    }
    let arguments = ["-qq", "-o", &lock(), "update"];
    process::run(&mut process::limited(APT_SECONDS_MAX, "apt-get", &arguments))?;
    IS_UP_TO_DATE.store(true, Ordering::Relaxed);
    Ok(())
}

fn lock() -> String {
    format!("DPkg::Lock::Timeout={LOCK_SECONDS_MAX}")
}
