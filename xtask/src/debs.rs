//! Debian packages that are unpacked into a folder instead of installed: a kernel and an emulator
//! for images, programs for trials. The machine itself does not change.
//!
//! Downloads stay in `tools/`, which git ignores.

use std::path::{Path, PathBuf};

use crate::{apt, process};

/// Longest time to download a package with its dependencies, in seconds: the largest, a kernel, has
/// 60 MB.
const DOWNLOAD_SECONDS_MAX: u32 = 300;

/// The words that apt prints before a package that it would install.
const WOULD_INSTALL: &str = "Inst ";

/// Unpacks `package` into `tools/<folder>`, once, and returns that folder. With `needs`, it also
/// unpacks all dependencies that apt would install here.
///
/// # Errors
///
/// There is no apt here, or it cannot fetch the package.
pub fn unpacked(package: &str, folder: &str, needs: bool) -> Result<PathBuf, String> {
    let root = process::root().join("tools").join(folder);
    let done = root.join(format!(".{}", package.replace(':', "_")));
    if done.is_file() {
        return Ok(root);
    }
    let error = |error: std::io::Error| format!("{}: {error}", root.display());
    let debs = root.join("debs");
    std::fs::create_dir_all(&debs).map_err(error)?;
    let packages = if needs { all_needed(package)? } else { vec![package.to_owned()] };
    // apt would verify them under a user without write access here, and warn.
    let words = ["-qq", "-o", "APT::Sandbox::User=root", "download"];
    let mut download = process::limited(DOWNLOAD_SECONDS_MAX, "apt-get", &words);
    download.args(&packages).current_dir(&debs);
    known(|| process::run(&mut download))?;
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&debs).map_err(error)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for deb in &paths {
        process::output(process::command("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
    }
    std::fs::remove_dir_all(&debs).map_err(error)?;
    std::fs::write(&done, "").map_err(error)?;
    Ok(root)
}

fn all_needed(package: &str) -> Result<Vec<String>, String> {
    let mut ask = process::command("apt-get");
    ask.args(["-s", "--no-install-recommends", "install", package]);
    let listed = process::output(&mut ask)?;
    let name = |line: &str| line.strip_prefix(WOULD_INSTALL)?.split(' ').next().map(str::to_owned);
    Ok(listed.lines().filter_map(name).collect())
}

/// Asks apt, and retries once after an update of the package lists, which may be missing or
/// outdated.
fn known<T>(mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    ask().or_else(|_| {
        apt::update()?;
        ask()
    })
}

/// The current package behind a metapackage, such as the kernel's.
///
/// # Errors
///
/// apt does not know it.
pub fn newest(package: &str, begins: &str) -> Result<String, String> {
    let mut ask = process::command("apt-cache");
    ask.args(["depends", package]);
    let listed = known(|| process::output(&mut ask))?;
    let words = listed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = words.map(str::to_owned).find(|name| name.starts_with(begins));
    found.ok_or(format!("{package}: needs no {begins}…"))
}

/// A program of an unpacked folder, with its library path set to that folder.
pub fn program(folder: &Path, path: &str) -> std::process::Command {
    let mut command = process::command(&folder.join(path).to_string_lossy());
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    let libraries = libraries.map(|path| folder.join(path).display().to_string()).join(":");
    command.env("LD_LIBRARY_PATH", libraries);
    command
}
