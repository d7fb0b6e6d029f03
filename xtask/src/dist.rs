//! Builds a router's binary as `targets/<triple>/target.toml` says, and holds it to its size.
//!
//! Where the toolchain has the target's `std` ready, that is used; else `std` is built here by
//! Debian's compiler from Debian's sources. Containers are not needed. The binary that is shipped
//! is a stripped copy; the one with symbols stays beside it, to read a crash or a log with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::targets::{self, Libc, Target};
use crate::{apt, debian, process, sizes};

/// Debian's compiler, and the sources of `std` that fit it.
pub const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// What libgcc's unwinder asks of glibc since 2.35 and musl does not have. "Not found" makes a
/// backtrace empty; a panic aborts here anyway, with its message.
const NO_FIND_OBJECT: &str =
    "int _dl_find_object(void *pc, void *result) { (void)pc; (void)result; return -1; }\n";

/// The least program that needs the headers of a C library, and the library itself.
const PROBE: &str =
    "#include <stdint.h>\n#include <stdio.h>\nint main(void) { return puts(\"\"); }\n";

/// Prints the triples that can be built for.
///
/// # Errors
///
/// Names the file of `targets/` that cannot be read.
pub fn list() -> Result<(), String> {
    for (triple, target) in targets::all()? {
        println!("{triple:<32} up to {} bytes", target.size.binary_bytes_max);
    }
    Ok(())
}

/// Builds, strips and measures the binary for `triple`.
///
/// # Errors
///
/// Says what is missing on this machine, what failed, or by how much the binary is too large.
pub fn build(triple: &str) -> Result<(), String> {
    let target = &targets::one(triple)?;
    let mut cargo = process::cargo(&["build", "--locked", "--release", "--bin", "loka-stratum"]);
    cargo.args(["--no-default-features", "--features", &target.build.features.join(",")]);
    cargo.args(["--target", triple]);
    prepare(&mut cargo, target)?;
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", &target.build.opt_level);
    if has_std(triple)? {
        println!("{triple}: std of the toolchain");
        let mut rustflags = target.link.prebuilt_rustflags.clone();
        rustflags.extend(same_paths()?);
        cargo.env(rustflags_variable(triple), rustflags.join(" "));
    } else {
        println!("{triple}: std built from Debian's sources by Debian's rustc");
        build_std(&mut cargo, target)?;
    }
    process::run(&mut cargo)?;
    measure(target)
}

/// Gives a build for `target` its folder, and the C compiler, which is installed where it is
/// missing.
///
/// # Errors
///
/// Says why there is no compiler.
pub fn prepare(cargo: &mut Command, target: &Target) -> Result<(), String> {
    install_linker(target)?;
    let variable = target.triple.replace('-', "_");
    cargo.env("CARGO_TARGET_DIR", folder());
    cargo.env(format!("CC_{variable}"), &target.link.linker);
    cargo.env(format!("AR_{variable}"), tool(target, "ar"));
    Ok(())
}

/// Where the binary that is shipped lies once it is built.
pub fn shipped(target: &Target) -> PathBuf {
    folder().join(format!("loka-stratum-{}", target.triple))
}

fn folder() -> PathBuf {
    process::root().join("target/dist")
}

/// The name of one of binutils for this target.
fn tool(target: &Target, name: &str) -> String {
    format!("{}{name}", target.link.binutils_prefix)
}

fn rustflags_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"))
}

/// Flags by which the paths in messages are the same on every machine, and tell nothing of it.
fn same_paths() -> Result<Vec<String>, String> {
    let root = process::root();
    let mut paths = vec![
        (debian::system_root().join("lib/rustlib/src/rust"), "rust"),
        (root.to_owned(), "loka-stratum"),
    ];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registry = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    for entry in std::fs::read_dir(&registry).into_iter().flatten().flatten() {
        paths.push((entry.path(), "crates"));
    }
    // Of several that fit, the compiler takes the last.
    paths.sort_by_key(|(path, _)| path.as_os_str().len());
    let flag =
        |(path, name): (PathBuf, &str)| format!("--remap-path-prefix={}=/{name}", path.display());
    Ok(paths.into_iter().map(flag).collect())
}

/// Tells whether the toolchain has the target's `std` ready.
///
/// # Errors
///
/// The compiler cannot be asked.
pub fn has_std(triple: &str) -> Result<bool, String> {
    let mut rustc = process::command("rustc");
    let libraries = process::output(rustc.args(["--print", "target-libdir", "--target", triple]))?;
    Ok(std::fs::read_dir(Path::new(libraries.trim())).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    }))
}

/// Installs the compiler that links for this target, where it is missing and Debian has it.
fn install_linker(target: &Target) -> Result<(), String> {
    let Target { triple, link, .. } = target;
    if process::is_installed(&link.linker) && can_link(&link.linker)? {
        return Ok(());
    }
    if link.packages.is_empty() {
        let instead = "CROSS_CONFIG=cross.toml cross build --release --target";
        return Err(format!("{}: not in Debian; instead: {instead} {triple}", link.linker));
    }
    if let Some(architecture) = &link.architecture {
        process::run(process::command("dpkg").args(["--add-architecture", architecture]))?;
    }
    apt::install(&link.packages.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Tells whether a compiler has what a program needs. It may be there without: Debian's compiler
/// for musl brings the one for glibc, but not glibc's headers.
fn can_link(linker: &str) -> Result<bool, String> {
    let folder = process::root().join("tools/probe");
    let error = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(error)?;
    let source = folder.join("probe.c");
    std::fs::write(&source, PROBE).map_err(error)?;
    let mut compile = process::command(linker);
    compile.arg(&source).arg("-o").arg(folder.join("probe"));
    Ok(process::output(&mut compile).is_ok())
}

/// Sets a build up so that it makes `std` itself.
fn build_std(cargo: &mut Command, target: &Target) -> Result<(), String> {
    let Target { triple, link, .. } = target;
    let mut rustflags = link.build_std_rustflags.clone();
    rustflags.extend(same_paths()?);
    if link.libc == Libc::Musl {
        rustflags.push(format!("-Lnative={}", unwinder(target)?.display()));
    }
    cargo.env("RUSTC", debian::rustc(&COMPILER_PACKAGES)?);
    // Building std is not stable; the flags below and this go together.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env(rustflags_variable(triple), rustflags.join(" "));
    cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    Ok(())
}

/// Makes the `libunwind.a` that std asks for on musl, from the compiler's own unwinder.
fn unwinder(target: &Target) -> Result<PathBuf, String> {
    let folder = process::root().join("tools/unwind").join(&target.triple);
    let error = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(error)?;
    let (source, object) = (folder.join("stub.c"), folder.join("stub.o"));
    let library = folder.join("libunwind.a");
    std::fs::write(&source, NO_FIND_OBJECT).map_err(error)?;
    let linker = &target.link.linker;
    let mut compile = process::command(linker);
    process::run(compile.arg("-Os").arg("-c").arg(&source).arg("-o").arg(&object))?;
    let mut find = process::command(linker);
    let unwinder = process::output(find.arg("-print-file-name=libgcc_eh.a"))?;
    std::fs::copy(unwinder.trim(), &library).map_err(error)?;
    let mut add = process::command(&tool(target, "ar"));
    process::run(add.arg("r").arg(&library).arg(&object))?;
    Ok(folder)
}

/// Strips a copy of the binary, says where its bytes are, and compares its size with the target's.
fn measure(target: &Target) -> Result<(), String> {
    let Target { triple, size, .. } = target;
    let built = folder().join(triple).join("release/loka-stratum");
    let shipped = shipped(target);
    let mut strip = process::command(&tool(target, "strip"));
    process::run(strip.arg("--strip-all").arg("-o").arg(&shipped).arg(&built))?;
    let bytes = std::fs::metadata(&shipped)
        .map_err(|error| format!("{}: {error}", shipped.display()))?
        .len();
    sizes::print(&built)?;
    let limit = size.binary_bytes_max;
    println!("{}: {bytes} bytes of {limit}", process::shown(&shipped));
    if bytes > limit { Err(format!("{} bytes too large", bytes - limit)) } else { Ok(()) }
}
