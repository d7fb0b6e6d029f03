//! Debian's Rust compiler, for targets whose `core` or `std` the toolchain lacks.
//!
//! Debian's compiler has a different version, so it is used only beside the project's: through the
//! variable `RUSTC`, in separate target folders. `tools/`, which git ignores, holds a system root
//! of links, and a wrapper that names it. (A link to the compiler would not work: rustc derives its
//! system root from the real path of its library.)

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::{apt, debs, process};

const COMPILER: &str = "/usr/bin/rustc";
const LIBRARIES: &str = "/usr/lib/rustlib";
const HOST: &str = "x86_64-unknown-linux-gnu";

/// The packages of the compiler and of its `std` sources, and the package of `std` and `test` for a
/// Debian architecture.
const COMPILER_PACKAGE: &str = "rustc-web";
const PACKAGES: [&str; 2] = [COMPILER_PACKAGE, "rust-web-src"];
const STD_PACKAGE: &str = "libstd-rust-web-dev";

/// Folder of the private system root.
pub fn system_root() -> PathBuf {
    process::root().join("tools/sysroot")
}

/// Debian's compiler with a private system root; installs it if it is missing.
///
/// # Errors
///
/// The reason why Debian's compiler cannot be installed.
pub fn rustc() -> Result<PathBuf, String> {
    let sources = Path::new(LIBRARIES).join("src/rust/library/core");
    if !Path::new(COMPILER).is_file() || !sources.is_dir() {
        apt::install(&PACKAGES)?;
    }
    let error = |error: std::io::Error| format!("tools/sysroot: {error}");
    let root = system_root();
    let host = root.join("lib/rustlib").join(HOST);
    std::fs::create_dir_all(&host).map_err(error)?;
    std::fs::create_dir_all(root.join("bin")).map_err(error)?;
    // Build scripts and macros are compiled for the host.
    link(&Path::new(LIBRARIES).join(HOST).join("lib"), &host.join("lib")).map_err(error)?;
    link(&Path::new(LIBRARIES).join("src"), &root.join("lib/rustlib/src")).map_err(error)?;
    // rust-lld links targets without an operating system; Debian leaves it out.
    let toolchain = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
    let linkers = Path::new(toolchain.trim()).join("lib/rustlib").join(HOST).join("bin");
    link(&linkers, &host.join("bin")).map_err(error)?;
    let wrapper = root.join("bin/rustc");
    let script = format!("#!/bin/sh\nexec {COMPILER} --sysroot '{}' \"$@\"\n", root.display());
    if std::fs::read_to_string(&wrapper).ok().as_ref() != Some(&script) {
        std::fs::write(&wrapper, script).map_err(error)?;
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&wrapper, executable).map_err(error)?;
    }
    Ok(wrapper)
}

/// The same compiler with Debian's prebuilt `std` and `test` of `architecture` for `triple`, so
/// they are not built here. They are unpacked, not installed: installing would pull in a compiler
/// for that architecture.
///
/// # Errors
///
/// The reason why compiler or libraries cannot be installed.
pub fn rustc_with_std(triple: &str, architecture: &str) -> Result<PathBuf, String> {
    let compiler = rustc()?;
    apt::know(architecture)?;
    // Only libraries of the very same version can be read.
    let mut ask = process::command("dpkg-query");
    let version = process::output(ask.args(["-W", "-f", "${Version}", COMPILER_PACKAGE]))?;
    let package = format!("{STD_PACKAGE}:{architecture}={version}");
    let libraries = debs::unpacked(&package, &format!("std-{architecture}-{version}"), false)?;
    let link_to = libraries.join("usr/lib/rustlib").join(triple);
    link(&link_to, &system_root().join("lib/rustlib").join(triple))
        .map_err(|error| format!("tools/sysroot: {error}"))?;
    Ok(compiler)
}

/// Links `from` to `to`, in place of an older link.
fn link(to: &Path, from: &Path) -> std::io::Result<()> {
    if std::fs::read_link(from).is_ok_and(|old| old == to) {
        return Ok(());
    }
    if from.is_symlink() {
        std::fs::remove_file(from)?;
    }
    symlink(to, from)
}
