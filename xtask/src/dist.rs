//! Builds a router's binary by `targets/<triple>/target.toml`, and checks its size.
//!
//! The target's `std` comes prebuilt from the toolchain, else prebuilt from Debian; else Debian's
//! compiler builds it from Debian's sources. No container is needed; if Debian has no C compiler,
//! zig is used. The binary contains no path of its build: [`twice`] proves it. The shipped binary
//! is a stripped copy; the binary with symbols stays beside it, to read a crash or a log.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest;

use crate::targets::{self, Libc, Link, Target};
use crate::{apt, debian, process, sizes};

/// A symbol that libgcc's unwinder imports from glibc since 2.35, and that musl lacks. "Not found"
/// makes a backtrace empty; a panic aborts here anyway, with its message.
const NO_FIND_OBJECT: &str =
    "int _dl_find_object(void *pc, void *result) { (void)pc; (void)result; return -1; }\n";

/// The smallest program that needs the headers of a C library, and the library itself.
const PROBE: &str =
    "#include <stdint.h>\n#include <stdio.h>\nint main(void) { return puts(\"\"); }\n";

/// Has the linker add a build id, which identifies the build.
const BUILD_ID: &str = "-Clink-arg=-Wl,--build-id=sha1";

/// The build id's section, and its length in bytes at the section's end.
const BUILD_ID_SECTION: &str = ".note.gnu.build-id";
const BUILD_ID_BYTES: usize = 20;

/// The part of `tools/` that contains its own path; the rest is downloaded, and is the same in
/// every place.
const MADE_HERE: [&str; 3] = ["sysroot", "unwind", "probe"];

/// The source of a target's `std`.
enum Std<'t> {
    /// Prebuilt by the toolchain.
    Toolchain,
    /// Prebuilt by Debian, for this Debian architecture.
    Debian(&'t str),
    /// It is built here.
    Sources,
}

impl Std<'_> {
    /// The matching compiler, installed if it is missing; none for the toolchain's own.
    fn rustc(&self, triple: &str) -> Result<Option<PathBuf>, String> {
        match self {
            Self::Toolchain => Ok(None),
            Self::Debian(architecture) => debian::rustc_with_std(triple, architecture).map(Some),
            Self::Sources => debian::rustc().map(Some),
        }
    }
}

impl fmt::Display for Std<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toolchain => "std of the toolchain",
            Self::Debian(_) => "std and compiler of Debian",
            Self::Sources => "std built from Debian's sources by Debian's rustc",
        })
    }
}

/// Prints the supported triples.
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
/// The missing tool, the failed step, or the excess size of the binary.
pub fn build(triple: &str) -> Result<(), String> {
    let target = &targets::one(triple)?;
    let zig = zig(target)?;
    let mut cargo = process::cargo(&[if zig.is_some() { "zigbuild" } else { "build" }]);
    ask_for_binary(&mut cargo, target);
    match &zig {
        // Without debug information zig also omits the symbols.
        Some(path) => drop(cargo.env("PATH", path).env("CARGO_PROFILE_RELEASE_STRIP", "none")),
        None => use_linker(&mut cargo, target)?,
    }
    let std = std_of(target)?;
    println!("{triple}: {std}");
    if let Some(rustc) = std.rustc(triple)? {
        cargo.env("RUSTC", rustc);
    }
    let mut rustflags = match std {
        Std::Sources => build_std(&mut cargo, target, zig.is_some())?,
        Std::Toolchain | Std::Debian(_) => target.link.prebuilt_rustflags.clone(),
    };
    rustflags.extend(same_paths()?);
    cargo.env(rustflags_variable(triple), rustflags.join(" "));
    process::run(&mut cargo)?;
    measure(target)
}

/// Builds it in a container, by cross and with the container's compilers. So its bytes differ from
/// [`build`]'s.
///
/// # Errors
///
/// As for [`build`]; cross is not installed.
pub fn build_by_cross(triple: &str) -> Result<(), String> {
    if !process::is_installed("cross") {
        let how = format!("cargo install cross --version {} --locked", targets::CROSS_VERSION);
        let instead = "without containers: leave --cross out";
        return Err(format!("cross is not installed: {how}, and docker or podman; {instead}"));
    }
    let target = &targets::one(triple)?;
    install_binutils(target)?;
    let mut cross = process::command("cross");
    ask_for_binary(cross.arg("build"), target);
    cross.env("CROSS_CONFIG", targets::CROSS).env("RUSTFLAGS", BUILD_ID);
    process::run(&mut cross)?;
    measure(target)
}

/// The common arguments of cargo.
fn ask_for_binary(cargo: &mut Command, target: &Target) {
    cargo.args(["--locked", "--release", "--bin", "loka-stratum", "--no-default-features"]);
    cargo.args(["--features", &target.build.features.join(","), "--target", &target.triple]);
    cargo.env("CARGO_TARGET_DIR", folder());
    cargo.env(targets::OPT_LEVEL, &target.build.opt_level);
}

/// Builds the binary here, and again from a copy of the sources in another folder, and compares the
/// bytes: path and time must not matter.
///
/// # Errors
///
/// The failed build, or both digests if they differ.
pub fn twice(triple: &str) -> Result<(), String> {
    build(triple)?;
    let copy = process::root().join("target/twice/in-another-folder/loka");
    copy_sources(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    let mut again = process::command(&process::this());
    again.args(["dist", "--target", triple]).current_dir(&copy);
    process::run(again.env("CARGO_MANIFEST_DIR", copy.join("xtask")))?;
    let shipped = shipped(&targets::one(triple)?);
    let other = copy.join(shipped.strip_prefix(process::root()).unwrap_or(&shipped));
    let sum = |path: &Path| {
        let sums = process::output(process::command("sha256sum").arg(path))?;
        let sum = sums.split(' ').next().unwrap_or_default().to_owned();
        println!("{sum}  {}", process::shown(path));
        Ok::<_, String>(sum)
    };
    if sum(&shipped)? != sum(&other)? {
        return Err(format!("{triple}: two builds differ; both are kept to be compared"));
    }
    println!("{triple}: two builds in two folders are the same");
    std::fs::remove_dir_all(&copy).map_err(|error| format!("{}: {error}", copy.display()))
}

/// Copies tracked and addable files into an empty folder, and links the downloads into it.
fn copy_sources(copy: &Path) -> std::io::Result<()> {
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    let mut list = process::command("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let paths = process::output(&mut list).map_err(std::io::Error::other)?;
    for path in paths.split_terminator('\0') {
        let to = copy.join(path);
        std::fs::create_dir_all(to.parent().unwrap_or(copy))?;
        let named = |error| std::io::Error::other(format!("{path}: {error}"));
        std::fs::copy(process::root().join(path), &to).map_err(named)?;
    }
    let tools = copy.join("tools");
    std::fs::create_dir_all(&tools)?;
    for tool in std::fs::read_dir(process::root().join("tools"))?.flatten() {
        if !MADE_HERE.iter().any(|made| tool.file_name() == *made) {
            std::os::unix::fs::symlink(tool.path(), tools.join(tool.file_name()))?;
        }
    }
    Ok(())
}

/// The search path with zig first, if zig replaces a missing compiler: in a separate folder, since
/// it is no Debian package.
fn zig(target: &Target) -> Result<Option<OsString>, String> {
    let Link { linker, zig, .. } = &target.link;
    if zig.is_empty() || process::is_installed(linker) {
        return Ok(None);
    }
    install_binutils(target)?;
    let root = process::root().join("tools/zig");
    let bin = root.join("bin");
    if !bin.join("cargo-zigbuild").is_file() {
        let by_hand = format!("install {linker}, or by hand: pip install {}", zig.join(" "));
        let hint = |error| format!("{error}; {by_hand}");
        let mut make = process::command("python3");
        process::run(make.args(["-m", "venv"]).arg(&root)).map_err(hint)?;
        let mut install = process::command(&bin.join("pip").to_string_lossy());
        process::run(install.args(["install", "--quiet"]).args(zig)).map_err(hint)?;
    }
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&rest)));
    path.map(Some).map_err(|error| error.to_string())
}

/// Installs Debian's missing compilers of C and Rust for a build for `target`.
///
/// # Errors
///
/// Names the part that cannot be installed.
pub fn fetch(target: &Target) -> Result<(), String> {
    install_linker(target)?;
    rustc(target).map(drop)
}

/// The Rust compiler for `target`, installed if it is missing; none if the toolchain's own builds
/// for it.
///
/// # Errors
///
/// The reason why it cannot be installed.
pub fn rustc(target: &Target) -> Result<Option<PathBuf>, String> {
    std_of(target)?.rustc(&target.triple)
}

/// Sets a build's C compiler for `target`, and installs it if it is missing.
///
/// # Errors
///
/// The reason why no compiler is available.
pub fn use_linker(cargo: &mut Command, target: &Target) -> Result<(), String> {
    install_linker(target)?;
    let variable = target.triple.replace('-', "_");
    cargo.env(format!("CC_{variable}"), &target.link.linker);
    cargo.env(format!("AR_{variable}"), tool(target, "ar"));
    Ok(())
}

/// Path of the shipped binary.
pub fn shipped(target: &Target) -> PathBuf {
    folder().join(format!("loka-stratum-{}", target.triple))
}

/// The same binary before it was stripped.
pub fn with_symbols(target: &Target) -> PathBuf {
    folder().join(&target.triple).join("release/loka-stratum")
}

/// The target folder of builds for routers.
pub fn folder() -> PathBuf {
    process::root().join("target/dist")
}

/// The name of one of binutils for this target.
fn tool(target: &Target, name: &str) -> String {
    format!("{}{name}", target.link.binutils_prefix)
}

/// The variable that hands flags to the compiler for one target.
pub fn rustflags_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"))
}

/// Flags that make the paths in messages the same on every machine.
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
    // If several prefixes match, the compiler takes the last.
    paths.sort_by_key(|(path, _)| path.as_os_str().len());
    let flag =
        |(path, name): (PathBuf, &str)| format!("--remap-path-prefix={}=/{name}", path.display());
    Ok(paths.into_iter().map(flag).collect())
}

/// Returns whether the toolchain has a prebuilt `std` of the target.
fn has_std(triple: &str) -> Result<bool, String> {
    let mut rustc = process::command("rustc");
    let libraries = process::output(rustc.args(["--print", "target-libdir", "--target", triple]))?;
    Ok(std::fs::read_dir(Path::new(libraries.trim())).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    }))
}

fn std_of(target: &Target) -> Result<Std<'_>, String> {
    Ok(match (&target.link.architecture, target.link.libc) {
        _ if has_std(&target.triple)? => Std::Toolchain,
        (Some(architecture), Libc::Glibc) => Std::Debian(architecture),
        _ => Std::Sources,
    })
}

/// Installs the missing strip tools for this target.
fn install_binutils(target: &Target) -> Result<(), String> {
    if process::is_installed(&tool(target, "strip")) { Ok(()) } else { install_packages(target) }
}

/// Installs the missing linking compiler for this target, if Debian has it.
fn install_linker(target: &Target) -> Result<(), String> {
    let linker = &target.link.linker;
    if process::is_installed(linker) && can_link(linker)? {
        return Ok(());
    }
    install_packages(target)
}

fn install_packages(target: &Target) -> Result<(), String> {
    let Link { packages, architecture, .. } = &target.link;
    if let Some(architecture) = architecture {
        apt::know(architecture)?;
    }
    apt::install(&packages.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Returns whether a compiler can build a program. An installed compiler may lack headers: Debian's
/// musl compiler depends on the compiler for glibc, but not on glibc's headers.
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

/// Has a build compile `std`, and returns the compiler's flags for that.
fn build_std(cargo: &mut Command, target: &Target, has_zig: bool) -> Result<Vec<String>, String> {
    let mut rustflags = target.link.build_std_rustflags.clone();
    if target.link.libc == Libc::Musl && !has_zig {
        // Relative to the root, as for the linker: the flags enter the names of symbols.
        rustflags.push(format!("-Lnative={}", process::shown(&unwinder(target)?)));
    }
    // Building std is not stable; the flags and this go together.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    Ok(rustflags)
}

/// Makes the `libunwind.a` that std needs on musl, from the compiler's own unwinder.
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

/// Strips a copy of the binary, prints its size by part, and compares it with the target's limit.
fn measure(target: &Target) -> Result<(), String> {
    let Target { size, .. } = target;
    let built = with_symbols(target);
    let shipped = shipped(target);
    let mut strip = process::command(&tool(target, "strip"));
    process::run(strip.arg("--strip-all").arg("-o").arg(&shipped).arg(&built))?;
    if !target.link.zig.is_empty() {
        number(target, &shipped, &built)?;
    }
    let bytes = std::fs::metadata(&shipped)
        .map_err(|error| format!("{}: {error}", shipped.display()))?
        .len();
    sizes::print(&built)?;
    let limit = size.binary_bytes_max;
    println!("{}: {bytes} bytes of {limit}", process::shown(&shipped));
    if bytes > limit { Err(format!("{} bytes too large", bytes - limit)) } else { Ok(()) }
}

/// Gives both binaries a build id, computed from the shipped bytes. The linker's own id covers
/// debug information too, which contains zig's path in its C library.
fn number(target: &Target, shipped: &Path, built: &Path) -> Result<(), String> {
    let note = shipped.with_extension("note");
    let section = format!("{BUILD_ID_SECTION}={}", note.display());
    let copy = |verb: &str, binary: &Path| {
        let mut objcopy = process::command(&tool(target, "objcopy"));
        process::run(objcopy.args([verb, &section]).arg(binary))
    };
    let error = |error: std::io::Error| format!("{}: {error}", note.display());
    copy("--dump-section", shipped)?;
    let mut bytes = std::fs::read(&note).map_err(error)?;
    let mut set = |id: &[u8; BUILD_ID_BYTES]| {
        let place = bytes.last_chunk_mut().ok_or(format!("{}: too short", note.display()))?;
        *place = *id;
        std::fs::write(&note, &bytes).map_err(error)
    };
    set(&[0; BUILD_ID_BYTES])?;
    copy("--update-section", shipped)?;
    let all = std::fs::read(shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
    let sum = digest::digest(&digest::SHA256, &all);
    set(sum.as_ref().first_chunk().ok_or("a sum is shorter than a build id")?)?;
    copy("--update-section", shipped)?;
    copy("--update-section", built)?;
    std::fs::remove_file(&note).map_err(error)
}
