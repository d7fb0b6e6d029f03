//! Commands that run beside the steps of a long command: builds for other processors while the
//! tests mostly wait. They run one after the other, at a low priority. Each command's output goes
//! to a file, which its own step shows and reads.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use crate::process;
use crate::report::Ended;
use crate::tally::Tally;

/// The priority for `nice`: a quarter of the processor if other programs need it.
const NICENESS: &str = "5";

/// Longest time for a command, in seconds. The longest, a router's binary, takes some six minutes
/// on two idle cores; on a shared machine it may take many times that.
const SECONDS_MAX: u32 = 3600;

/// The commands that were started, in their order.
pub struct Beside {
    ended: Receiver<(PathBuf, Result<(), String>)>,
}

impl Beside {
    /// Starts to run `commands`, one after the other.
    ///
    /// # Errors
    ///
    /// The files for their output cannot be created.
    pub fn start(commands: Vec<Vec<String>>) -> Result<Self, String> {
        let folder = process::root().join("target/beside");
        let error = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(error)?;
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            for (index, words) in commands.iter().enumerate() {
                let log = folder.join(format!("{index}.log"));
                let outcome = run(words, &log);
                if sender.send((log, outcome)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { ended })
    }

    /// Waits for the next command in the given order, shows its output and adds its tests to
    /// `tally`.
    ///
    /// # Errors
    ///
    /// The command failed.
    pub fn next(&self, tally: &mut Tally) -> Result<Ended, String> {
        let (log, outcome) = self.ended.recv().map_err(|_| "no command is left".to_owned())?;
        let text = std::fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut ended = Ended::Passed;
        for line in String::from_utf8_lossy(&text).lines() {
            tally.read(line);
            match line.strip_prefix(Ended::SKIPPED) {
                Some(reason) => ended = Ended::Skipped(reason.to_owned()),
                None => println!("{line}"),
            }
        }
        outcome.map(|()| ended)
    }
}

fn run(words: &[String], log: &Path) -> Result<(), String> {
    let error = |error: std::io::Error| format!("{}: {error}", log.display());
    let file = File::create(log).map_err(error)?;
    let mut command = process::limited(SECONDS_MAX, "nice", &["-n", NICENESS, &process::this()]);
    command.args(words).stdout(file.try_clone().map_err(error)?).stderr(file);
    let status = command.status().map_err(|error| format!("timeout: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("xtask {}: {status}", words.join(" "))) }
}
