//! Builds a router's binary as `targets/<triple>/target.toml` says, and holds it to its size.
//!
//! Where the toolchain has the target's `std` ready, that is used; else Debian's, where Debian has
//! it ready; else `std` is built here by Debian's compiler from Debian's sources. Containers are
//! not needed; where Debian has no compiler for C, zig is one. Nothing of where it is built gets
//! into the binary: [`twice`] shows it. The binary that is shipped is a stripped copy; the one with
//! symbols stays beside it, to read a crash or a log with.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest;

use crate::targets::{self, Libc, Link, Target};
use crate::{apt, debian, process, sizes};

/// What libgcc's unwinder asks of glibc since 2.35 and musl does not have. "Not found" makes a
/// backtrace empty; a panic aborts here anyway, with its message.
const NO_FIND_OBJECT: &str =
    "int _dl_find_object(void *pc, void *result) { (void)pc; (void)result; return -1; }\n";

/// The least program that needs the headers of a C library, and the library itself.
const PROBE: &str =
    "#include <stdint.h>\n#include <stdio.h>\nint main(void) { return puts(\"\"); }\n";

/// Has the compiler that links leave what tells builds apart.
const BUILD_ID: &str = "-Clink-arg=-Wl,--build-id=sha1";

/// Where it lies, and its length at the end of that.
const BUILD_ID_SECTION: &str = ".note.gnu.build-id";
const BUILD_ID_BYTES: usize = 20;

/// What of `tools/` has the place where it lies in it; the rest was fetched, and is the same
/// wherever it lies.
const MADE_HERE: [&str; 3] = ["sysroot", "unwind", "probe"];

/// Where a target's `std` is from.
enum Std<'t> {
    /// The toolchain has it ready.
    Toolchain,
    /// Debian has it ready, for this architecture of its own.
    Debian(&'t str),
    /// It is built here.
    Sources,
}

impl Std<'_> {
    /// The compiler that it fits, installed where it is missing; none for the toolchain's own.
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
    let zig = zig(target)?;
    let mut cargo = process::cargo(&[if zig.is_some() { "zigbuild" } else { "build" }]);
    ask_for_binary(&mut cargo, target);
    match &zig {
        // Told to leave debug information out, zig leaves the symbols out as well.
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

/// Builds it in a container, by cross and with its compilers. What it is built with is the
/// image's own, so its bytes are others than those of [`build`].
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

/// What every route asks cargo for.
fn ask_for_binary(cargo: &mut Command, target: &Target) {
    cargo.args(["--locked", "--release", "--bin", "loka-stratum", "--no-default-features"]);
    cargo.args(["--features", &target.build.features.join(","), "--target", &target.triple]);
    cargo.env("CARGO_TARGET_DIR", folder());
    cargo.env(targets::OPT_LEVEL, &target.build.opt_level);
}

/// Builds the binary here, and once more from a copy of the sources in another folder, and wants
/// the same bytes: nothing of the place or the time gets in.
///
/// # Errors
///
/// Says which build failed, or both sums where they differ.
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

/// Copies what git knows or would add into an empty folder, and links what was fetched to it.
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

/// The search path with zig first, where it stands in for a compiler that is not installed: in a
/// folder of its own, since it is no package of Debian.
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

/// Installs what a build for `target` needs of Debian and what is missing here: the compiler of C
/// and that of Rust.
///
/// # Errors
///
/// Says what cannot be had.
pub fn fetch(target: &Target) -> Result<(), String> {
    install_linker(target)?;
    rustc(target).map(drop)
}

/// The compiler of Rust that builds for `target`, installed where it is missing; none where the
/// toolchain's own does.
///
/// # Errors
///
/// Says why it cannot be had.
pub fn rustc(target: &Target) -> Result<Option<PathBuf>, String> {
    std_of(target)?.rustc(&target.triple)
}

/// Has a build compile C for `target`, by a compiler that is installed where it is missing.
///
/// # Errors
///
/// Says why there is no compiler.
pub fn use_linker(cargo: &mut Command, target: &Target) -> Result<(), String> {
    install_linker(target)?;
    let variable = target.triple.replace('-', "_");
    cargo.env(format!("CC_{variable}"), &target.link.linker);
    cargo.env(format!("AR_{variable}"), tool(target, "ar"));
    Ok(())
}

/// Where the binary that is shipped lies once it is built.
pub fn shipped(target: &Target) -> PathBuf {
    folder().join(format!("loka-stratum-{}", target.triple))
}

/// The same binary before it was stripped.
pub fn with_symbols(target: &Target) -> PathBuf {
    folder().join(&target.triple).join("release/loka-stratum")
}

/// What builds for routers are made in.
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

/// Installs the tools that strip for this target, where they are missing.
fn install_binutils(target: &Target) -> Result<(), String> {
    if process::is_installed(&tool(target, "strip")) { Ok(()) } else { install_packages(target) }
}

/// Installs the compiler that links for this target, where it is missing and Debian has it.
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

/// Has a build make `std` itself, and returns the compiler's flags for that.
fn build_std(cargo: &mut Command, target: &Target, has_zig: bool) -> Result<Vec<String>, String> {
    let mut rustflags = target.link.build_std_rustflags.clone();
    if target.link.libc == Libc::Musl && !has_zig {
        // From the root, as the linker sees it: names of symbols follow from the flags.
        rustflags.push(format!("-Lnative={}", process::shown(&unwinder(target)?)));
    }
    // Building std is not stable; the flags and this go together.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    Ok(rustflags)
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

/// Gives both binaries a build id that follows from what is shipped. The linker's counts debug
/// information as well, and the C library that zig builds has the place there where zig lies.
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
