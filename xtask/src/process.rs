//! Runs other programs in the root of the repository.
//!
//! No program gets a standard input, so none can wait for an answer. `timeout` of coreutils
//! enforces time limits, and ends the program's children too.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Variables that `cargo run` sets for this program. If inherited, they would rerun build scripts
/// that watch them (such as ring's) at each change between `cargo` and `cargo xtask`.
const CARGO_RUN_PREFIXES: [&str; 4] =
    ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_"];

/// The root of the repository.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        here.parent().map_or(here.clone(), Path::to_path_buf)
    })
}

/// This program, by a path that stays valid while it runs: a build may replace the file.
pub fn this() -> String {
    format!("/proc/{}/exe", std::process::id())
}

/// A program that starts in the root of the repository, without the variables of `cargo run`.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let from_cargo_run = name
            .to_str()
            .is_some_and(|name| CARGO_RUN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        if from_cargo_run {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that runs this program, with `arguments`.
pub fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&program);
    command.args(arguments);
    command
}

/// `program` with `arguments`, ended after `seconds`.
pub fn limited(seconds: u32, program: &str, arguments: &[&str]) -> Command {
    let mut command = command("timeout");
    command.args(["--kill-after=10", &seconds.to_string(), program]).args(arguments);
    command
}

/// Shows and runs a command.
///
/// # Errors
///
/// The failed command and its failure, including a failed start.
pub fn run(command: &mut Command) -> Result<(), String> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// Runs a command and returns its standard output as text.
///
/// # Errors
///
/// The failed command and its standard error.
pub fn output(command: &mut Command) -> Result<String, String> {
    bytes(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs a command and returns its standard output as bytes.
///
/// # Errors
///
/// As for [`output`].
pub fn bytes(command: &mut Command) -> Result<Vec<u8>, String> {
    let line = line(command);
    let output = command.output().map_err(|error| format!("{line}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{line}: {}: {}", output.status, stderr.trim()));
    }
    Ok(output.stdout)
}

/// Shows and runs a command, and passes each line of its output to `seen` and to the terminal.
///
/// # Errors
///
/// As for [`run`].
pub fn run_watched(command: &mut Command, mut seen: impl FnMut(&str)) -> Result<(), String> {
    let line = line(command);
    println!("$ {line}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{line}: {error}"))?;
    if let Some(stdout) = child.stdout.take() {
        for printed in BufReader::new(stdout).split(b'\n') {
            let printed = printed.map_err(|error| format!("{line}: {error}"))?;
            let printed = String::from_utf8_lossy(&printed);
            println!("{printed}");
            seen(&printed);
        }
    }
    let status = child.wait().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// Returns whether `program` is on the search path.
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// A path as seen from the root of the repository.
pub fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}

/// The command as typed by a person: programs by their names, paths from the root.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let path = Path::new(word);
        let word = if path.is_absolute() && path.strip_prefix(root()).is_err() {
            path.file_name().unwrap_or(word).to_string_lossy()
        } else {
            shown(path).to_string().into()
        };
        word.into_owned()
    });
    words.collect::<Vec<_>>().join(" ")
}
