//! Build settings of each router: `cross.toml`, `targets/<triple>/target.toml`, `board/*.toml`.
//!
//! The same names stand in several files because several tools read them: cargo its own
//! configuration, cross `cross.toml`, the xtask the rest. [`disagreements`] compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::process;

/// The settings of cross, and its version.
pub const CROSS: &str = "cross.toml";
pub const CROSS_VERSION: &str = "0.2.5";

/// The optimisation level of `Cargo.toml`'s release profile; cross needs an override for a
/// different level.
const OPT_LEVEL_DEFAULT: &str = "3";

/// The variable with a build's optimisation level.
pub const OPT_LEVEL: &str = "CARGO_PROFILE_RELEASE_OPT_LEVEL";

/// `targets/<triple>/target.toml`: linker settings and size limit of a binary for one kind of
/// machine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub triple: String,
    pub link: Link,
    pub build: Build,
    pub size: Size,
    pub package: Option<Package>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The compiler for linking and for crates with C code; also in `.cargo/config.toml`.
    pub linker: String,
    /// The prefix of the names of `ar` and `strip` for this target.
    pub binutils_prefix: String,
    /// Debian's packages with the linker, or with the tools that zig lacks.
    pub packages: Vec<String>,
    /// Packages of PyPI with zig, the replacement for a missing linker.
    #[serde(default)]
    pub zig: Vec<String>,
    /// The Debian architecture of some of them, if it is not the host's; for glibc also the
    /// architecture with a prebuilt `std` for this target.
    pub architecture: Option<String>,
    /// The C library: `glibc`, or `musl`, which is linked statically.
    pub libc: Libc,
    /// Flags with a prebuilt `std`.
    pub prebuilt_rustflags: Vec<String>,
    /// Flags with a `std` built here.
    pub build_std_rustflags: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    Glibc,
    Musl,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Features of the package, over `--no-default-features`.
    pub features: Vec<String>,
    /// Overrides the release profile's: `3`, `s` or `z`.
    pub opt_level: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Size limit of the stripped binary, in bytes.
    pub binary_bytes_max: u64,
}

/// Other systems' names for this architecture, if packages are made for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Debian's architecture.
    pub debian: String,
    /// OpenWrt's architectures, which name the core too; one package each.
    pub openwrt: Vec<String>,
}

/// `board/<name>.toml`: the facts of one router.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the xtask checks the form; the gateway and the images use the facts")]
pub struct Board {
    pub name: String,
    pub target: String,
    pub compatible: Vec<String>,
    /// `generic` is no real machine and has none of these four.
    pub soc: Option<Soc>,
    pub memory: Option<Memory>,
    pub serial: Option<Serial>,
    pub watchdog: Option<Watchdog>,
    pub leds: Option<Leds>,
    pub button: Option<Button>,
    pub network: Option<Network>,
    pub capacity: Capacity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Soc {
    pub name: String,
    pub cores: u8,
    pub core: String,
    pub sha2_instructions: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub ram_bytes: u64,
    pub flash_bytes: u64,
    pub flash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Serial {
    pub device: String,
    pub baud: u32,
    pub connector: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Watchdog {
    pub device: Option<String>,
    pub driver: Option<String>,
    pub timeout_secs_max: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Leds {
    pub upstream: Option<String>,
    pub miners: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Button {
    pub code: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Network {
    pub wan: String,
    pub lan: Vec<String>,
}

/// A test of the gateway compares these with its own limits and sum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Board")]
pub struct Capacity {
    pub miners_max: u32,
    pub links_max: u32,
    pub pending_max: u64,
    pub spill_bytes_max: u64,
    pub gateway_bytes_max: u64,
}

/// The keys of `cross.toml` in [`CROSS_VERSION`]; cross only warns of others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "cross reads it; here the form counts, and what targets/ has too")]
struct Cross {
    build: Option<CrossBuild>,
    target: BTreeMap<String, CrossTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "as for Cross")]
struct CrossBuild {
    default_target: Option<String>,
    pre_build: Option<Vec<String>>,
    build_std: Option<bool>,
    xargo: Option<bool>,
    env: Option<CrossEnv>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "as for Cross")]
struct CrossTarget {
    image: Option<String>,
    dockerfile: Option<String>,
    runner: Option<String>,
    pre_build: Option<Vec<String>>,
    build_std: Option<bool>,
    xargo: Option<bool>,
    env: Option<CrossEnv>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as for Cross")]
struct CrossEnv {
    volumes: Option<Vec<String>>,
    passthrough: Option<Vec<String>>,
}

/// The part of `.cargo/config.toml` that names targets.
#[derive(Deserialize)]
struct CargoConfig {
    target: BTreeMap<String, CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    linker: String,
    runner: Option<String>,
}

/// All targets by triple.
///
/// # Errors
///
/// Names the file that cannot be read, the line and the key.
pub fn all() -> Result<BTreeMap<String, Target>, String> {
    let mut targets = BTreeMap::new();
    for folder in names_in("targets")? {
        let path = format!("targets/{folder}/target.toml");
        if process::root().join(&path).is_file() {
            let target: Target = read(&path)?;
            targets.insert(folder, target);
        }
    }
    Ok(targets)
}

/// The target of a triple.
///
/// # Errors
///
/// Names the known ones.
pub fn one(triple: &str) -> Result<Target, String> {
    let mut targets = all()?;
    targets.remove(triple).ok_or_else(|| {
        let known: Vec<&str> = targets.keys().map(String::as_str).collect();
        format!("{triple}: no such target; there are {}", known.join(", "))
    })
}

/// What runs a program of a target here, as `.cargo/config.toml` has it; none where the machine
/// itself does.
///
/// # Errors
///
/// The file cannot be read.
pub fn runner(triple: &str) -> Result<Option<String>, String> {
    let mut cargo: CargoConfig = read(".cargo/config.toml")?;
    Ok(cargo.target.remove(triple).and_then(|target| target.runner))
}

/// Where the files do not agree, or cannot be read: path and message.
pub fn disagreements() -> Vec<(String, String)> {
    match find_disagreements() {
        Ok(found) => found,
        Err(error) => vec![("targets".to_owned(), error)],
    }
}

fn find_disagreements() -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let targets = all()?;
    let cross: Cross = read(CROSS)?;
    let cargo: CargoConfig = read(".cargo/config.toml")?;
    let triples: BTreeSet<&String> = targets.keys().collect();
    for (path, named) in [
        (CROSS, cross.target.keys().collect::<BTreeSet<_>>()),
        (".cargo/config.toml", cargo.target.keys().collect()),
    ] {
        for triple in named.symmetric_difference(&triples) {
            let message = format!("{triple}: must be here and a folder of targets/, or neither");
            found.push((path.to_owned(), message));
        }
    }
    for (folder, target) in &targets {
        let path = format!("targets/{folder}/target.toml");
        if target.triple != *folder {
            found
                .push((path.clone(), format!("triple: got {}, the folder differs", target.triple)));
        }
        let linker = cargo.target.get(folder).map(|target| target.linker.as_str());
        if linker.is_some_and(|linker| linker != target.link.linker) {
            found.push((path, "linker: differs from .cargo/config.toml".to_owned()));
        }
        if let Some(cross) = cross.target.get(folder) {
            found.extend(check_cross(cross, target).map(|message| (CROSS.to_owned(), message)));
        }
    }
    for name in names_in("board")? {
        if name.ends_with(".toml") {
            found.extend(check_board(&name, &targets)?);
        }
    }
    Ok(found)
}

/// Whether cross builds a target as its folder says: in its own image, optimised in the same way.
fn check_cross(cross: &CrossTarget, target: &Target) -> impl Iterator<Item = String> {
    let Target { triple, build, .. } = target;
    let say = |key, got: String, wanted: String| {
        (got != wanted).then(|| format!("{triple}: {key}: got {got}, expected {wanted}"))
    };
    let image = format!("ghcr.io/cross-rs/{triple}:{CROSS_VERSION}");
    let passed = cross.env.as_ref().and_then(|env| env.passthrough.as_deref()).unwrap_or_default();
    let wanted = (build.opt_level != OPT_LEVEL_DEFAULT)
        .then(|| format!("{OPT_LEVEL}={}", build.opt_level))
        .into_iter()
        .collect::<Vec<_>>();
    [
        say("image", cross.image.clone().unwrap_or_default(), image),
        say("env.passthrough", format!("{passed:?}"), format!("{wanted:?}")),
    ]
    .into_iter()
    .flatten()
}

fn check_board(
    file: &str,
    targets: &BTreeMap<String, Target>,
) -> Result<Vec<(String, String)>, String> {
    let path = format!("board/{file}");
    let board: Board = read(&path)?;
    let mut found = Vec::new();
    let mut say = |message: String| found.push((path.clone(), message));
    if Some(board.name.as_str()) != file.strip_suffix(".toml") {
        say(format!("name: got {}, the file's name differs", board.name));
    }
    if !targets.contains_key(&board.target) {
        say(format!("target: {} is no folder of targets/", board.target));
    }
    if let Some(Memory { ram_bytes, flash_bytes, flash }) = board.memory {
        if flash_bytes == 0 && flash != "removable" {
            say("flash_bytes: 0 is for removable storage only".to_owned());
        }
        // A router does other work beside: a quarter of its memory is the most that fits.
        if board.capacity.gateway_bytes_max > ram_bytes / 4 {
            say("gateway_bytes_max: more than a quarter of the memory".to_owned());
        }
    }
    Ok(found)
}

/// The profile of a board.
///
/// # Errors
///
/// Names the known ones.
pub fn board(name: &str) -> Result<Board, String> {
    let file = format!("{name}.toml");
    let known: Vec<String> =
        names_in("board")?.into_iter().filter(|name| name.ends_with(".toml")).collect();
    if known.contains(&file) {
        return read(&format!("board/{file}"));
    }
    let known: Vec<&str> = known.iter().filter_map(|name| name.strip_suffix(".toml")).collect();
    Err(format!("{name}: no such board; there are {}", known.join(", ")))
}

/// Reads a file of the repository as TOML of a fixed form.
///
/// # Errors
///
/// Names the file, the line and the key.
pub fn read<T: DeserializeOwned>(path: &str) -> Result<T, String> {
    let text = std::fs::read_to_string(process::root().join(path))
        .map_err(|error| format!("{path}: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

/// The names in a folder of the repository, in order.
fn names_in(folder: &str) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(process::root().join(Path::new(folder)))
        .map_err(|error| format!("{folder}: {error}"))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{folder}: {error}"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_agree() {
        assert_eq!(disagreements(), []);
    }

    #[test]
    fn keys_that_cross_does_not_know_are_found() {
        let known = "[target.a]\nimage = \"b\"\nbuild-std = false\n";
        assert!(toml::from_str::<Cross>(known).is_ok());
        let error = |text: &str| toml::from_str::<Cross>(text).err().map(|e| e.to_string());
        let unknown = known.replace("image", "images");
        assert!(error(&unknown).is_some_and(|error| error.contains("images")));
        // Newer versions of cross take a list here; 0.2.5 does not.
        let list = known.replace("false", "[\"std\"]");
        assert!(error(&list).is_some_and(|error| error.contains("boolean")));
    }

    #[test]
    fn what_cross_would_build_otherwise_is_found() {
        let target = one("aarch64-unknown-linux-musl").unwrap();
        let image = "image = \"ghcr.io/cross-rs/aarch64-unknown-linux-musl:0.2.5\"\n";
        let env = "[env]\npassthrough = [\"CARGO_PROFILE_RELEASE_OPT_LEVEL=s\"]\n";
        let found = |text: &str| {
            let cross: CrossTarget = toml::from_str(text).unwrap();
            check_cross(&cross, &target).count()
        };
        assert_eq!(found(&format!("{image}{env}")), 0);
        assert_eq!(found(&format!("{image}{env}").replace("0.2.5", "main")), 1);
        assert_eq!(found(&format!("{image}{env}").replace("=s", "=z")), 1);
        assert_eq!(found(image), 1);
        assert_eq!(found(env), 1);
        assert_eq!(found(""), 2);
    }

    #[test]
    fn a_board_without_a_target_is_found() {
        let found = check_board("virt-aarch64.toml", &BTreeMap::new());
        let path = "board/virt-aarch64.toml".to_owned();
        let message = "target: aarch64-unknown-linux-musl is no folder of targets/".to_owned();
        assert_eq!(found, Ok(vec![(path, message)]));
    }
}
