//! The machine of the measurement, and its load by other processes.

use std::fmt;
use std::process::Command;
use std::time::Instant;

use crate::lab::clock;

/// The machine and the program.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// Whether the CPU has SHA-256 instructions.
    pub has_sha: bool,
    pub kernel: String,
    pub commit: String,
    /// Processes that were running when the measurement began, as a load average.
    pub load: String,
    /// Share of the last ten seconds in which a process waited for a CPU, in percent (PSI); empty
    /// without the kernel's support.
    pub pressure: String,
}

/// CPU use of other processes above which a round counts as disturbed, in cores.
const OTHERS_MAX: f64 = 0.1;

/// Ticks of the kernel's CPU accounting in a second, on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A round of measuring, with the CPU time of all processes and of the bench's own at its start.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    began: Instant,
    all: u64,
    own: u64,
}

impl Round {
    /// Begins a round.
    pub fn begin() -> Self {
        Self { began: clock::now(), all: all_ticks(), own: own_ticks() }
    }

    /// Says whether other processes, or other machines on the same host, used more than
    /// [`OTHERS_MAX`] since the beginning.
    pub fn is_disturbed(self) -> bool {
        let all = all_ticks().saturating_sub(self.all);
        let own = own_ticks().saturating_sub(self.own);
        let others = all.saturating_sub(own) as f64 / TICKS;
        others / self.began.elapsed().as_secs_f64() > OTHERS_MAX
    }
}

/// Ticks of running processes, and of processes delayed by the host (`proc_stat(5)`): user, nice,
/// system and steal. Interrupts are left out: those of loopback are the bench's own.
fn all_ticks() -> u64 {
    let stat = read("/proc/stat");
    let words: Vec<u64> =
        stat.lines().next().unwrap_or_default().split(' ').filter_map(|w| w.parse().ok()).collect();
    [0, 1, 2, 7].iter().filter_map(|place| words.get(*place)).sum()
}

/// Ticks of this process and those that it started: they share its process group.
fn own_ticks() -> u64 {
    let fields = |pid: &str| -> Option<(u64, u64)> {
        let stat = read(&format!("/proc/{pid}/stat"));
        // The name before the last parenthesis may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some((number(2)?, number(11)? + number(12)?))
    };
    let Some((group, _)) = fields("self") else { return 0 };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| fields(entry.file_name().to_str()?));
    processes.filter(|(of, _)| *of == group).map(|(_, ticks)| ticks).sum()
}

impl Machine {
    /// Reads the machine's properties; unknown values are marked so.
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
            pressure: pressure(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sha = if self.has_sha { "with" } else { "WITHOUT" };
        write!(
            f,
            "{}, {} cores, {sha} SHA extensions, Linux {}, load before {}, {}, commit {}",
            self.cpu, self.cores, self.kernel, self.load, self.pressure, self.commit
        )
    }
}

/// Reads the first line of `/proc/pressure/cpu`: `some avg10=1.23 avg60=...`.
fn pressure() -> String {
    let text = read("/proc/pressure/cpu");
    let words = text.split_whitespace();
    words.filter_map(|word| word.strip_prefix("avg10=")).next().map_or_else(
        || "pressure unknown".to_owned(),
        |percent| format!("CPU pressure {percent} %"),
    )
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
