//! Debian's Rust compiler, for targets whose `core` or `std` the toolchain here does not have.
//!
//! Debian's compiler is a version of its own, so it is only ever used beside the project's: by the
//! variable `RUSTC`, in target folders of its own. What it needs besides lies in `tools/`, which
//! git ignores: a system root of links, and a wrapper that names it. (A link to the compiler would
//! not do: rustc finds its system root from where its library really lies.)

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::{apt, debs, process};

const COMPILER: &str = "/usr/bin/rustc";
const LIBRARIES: &str = "/usr/lib/rustlib";
const HOST: &str = "x86_64-unknown-linux-gnu";

/// The packages of the compiler and of the sources of `std` that fit it, and that of `std` and
/// `test` for one of Debian's own architectures.
const COMPILER_PACKAGE: &str = "rustc-web";
const PACKAGES: [&str; 2] = [COMPILER_PACKAGE, "rust-web-src"];
const STD_PACKAGE: &str = "libstd-rust-web-dev";

/// Where the private system root lies.
pub fn system_root() -> PathBuf {
    process::root().join("tools/sysroot")
}

/// Debian's compiler with a private system root, installed where it is missing.
///
/// # Errors
///
/// Says why Debian's compiler cannot be had.
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
    // Targets without an operating system are linked by rust-lld, which Debian leaves out.
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

/// The same compiler with `std` and `test` for `triple` as Debian has built them for the
/// `architecture` of its own, so that nothing of them is built here. They are unpacked, not
/// installed, which would draw a compiler for that architecture in.
///
/// # Errors
///
/// Says why the compiler or the libraries cannot be had.
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
