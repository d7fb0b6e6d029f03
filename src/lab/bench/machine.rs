//! What the figures were measured on.

use std::fmt;
use std::process::Command;

/// The machine and the program.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Whether the CPU computes SHA-256 by itself.
    pub has_sha: bool,
    pub kernel: String,
    pub commit: String,
    /// Processes that were running when the measurement began, as a load average.
    pub load: String,
}

impl Machine {
    /// Looks at the machine; what cannot be seen is said so.
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        Self {
            cpu: field("model name").unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            has_sha: flags.split_whitespace().any(|flag| flag == "sha_ni" || flag == "sha2"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            commit: commit(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sha = if self.has_sha { "with" } else { "WITHOUT" };
        write!(
            f,
            "{}, {} cores, {sha} SHA extensions, Linux {}, load before {}, commit {}",
            self.cpu, self.cores, self.kernel, self.load, self.commit
        )
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown".to_owned(),
    }
}
