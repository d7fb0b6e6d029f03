//! Log lines on standard error: few, each with a kind, each kind rate-limited.
//!
//! A line has time, level and text: `2026-11-21T01:53:00Z WARN pool 1: …`. One line per [`Kind`] is
//! printed in ten seconds. Lines held back are counted; the kind's next line shows the count, or a
//! line of its own if none follows (F52). So no traffic of miners or pools wears out a router's
//! flash. Counters, not log lines, show how often an event happened.
//!
//! If standard error is systemd's journal (`JOURNAL_STREAM`), a line has a priority instead of time
//! and level: `<4>pool 1: …`. The journal adds its own time. procd logs all of standard error as
//! errors, so there a line goes to the system's log directly ([`to_syslog`]):
//! `<28>loka-stratum[123]: pool 1: …`.
//!
//! Text from the network is never printed raw: it is shown by `{:?}` or not at all, so no control
//! character reaches a terminal (F06).

pub mod out;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use loka_stratum::limits::{LOG_INTERVAL, LOG_LINE_BYTES_MAX, LOG_LINES_KEPT_MAX};
use loka_stratum::proxy::Event;
use loka_stratum::time::Instant;

use crate::gateway::base::clock;
use crate::gateway::base::event_loop::must_not_turn;
#[cfg(feature = "defmt")]
use crate::gateway::base::frames;

/// The facility in a priority: daemon, in syslog's numbers (RFC 5424, 6.2.1).
const SYSLOG_DAEMON: u8 = 3 << 3;

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Stays broken until somebody acts.
    Error,
    /// A fault that the gateway copes with.
    Warn,
    /// News for a reader of the log.
    Info,
    /// Details for finding a fault.
    Debug,
}

impl Level {
    /// Returns syslog's number.
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// The subject of a line; each has its own rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Start and end of the process.
    Process,
    /// Settings read, applied or refused.
    Settings,
    /// Listening and accepting.
    Listen,
    /// A miner was refused at the door.
    Refused,
    /// A miner was closed for what it did.
    Closed,
    /// A miner came or went.
    Miner,
    /// A miner sent shares again that were taken before.
    Repeats,
    /// A pool's TLS handshake is done.
    Tls,
    /// A pool is live.
    LinkUp,
    /// A pool's connection failed or ended.
    LinkDown,
    /// A pool behaves in a way that matters.
    Pool,
    /// A pool's message for people.
    PoolMessage,
    /// Whether a pool pays for shares, and which one the farm mines at.
    Earning,
    /// Plain TCP to a pool.
    Plain,
    /// The wall clock.
    Clock,
    /// A block candidate.
    Block,
    /// The state file.
    Store,
    /// State that memory and disk disagree on; logged when that begins and ends.
    Kept,
    /// The status port.
    Http,
    /// System updates.
    Update,
    /// Log-ins.
    Access,
    /// The name on the local network.
    Mdns,
    /// The serial line.
    Serial,
    /// An invariant of one connection does not hold.
    Bug,
}

const KINDS: usize = Kind::Bug as usize + 1;

#[derive(Clone, Copy)]
struct Window {
    printed: Option<Instant>,
    level: Level,
    held_back: u32,
}

const QUIET: Window = Window { printed: None, level: Level::Debug, held_back: 0 };

static WINDOWS: Mutex<[Window; KINDS]> = Mutex::new([QUIET; KINDS]);
/// The newest lines, for the status and the console; a full queue drops the oldest.
static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

static LEVEL_MAX: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Enables debug lines.
pub fn set_verbose() {
    LEVEL_MAX.store(Level::Debug as u8, Ordering::Relaxed);
}

/// Says whether a level is printed, to skip costly arguments.
pub fn is_on(level: Level) -> bool {
    level as u8 <= LEVEL_MAX.load(Ordering::Relaxed)
}

/// Prints an error.
pub fn error(kind: Kind, text: fmt::Arguments<'_>) {
    line(Level::Error, kind, text);
}

/// Prints a warning.
pub fn warn(kind: Kind, text: fmt::Arguments<'_>) {
    line(Level::Warn, kind, text);
}

/// Prints news.
pub fn info(kind: Kind, text: fmt::Arguments<'_>) {
    line(Level::Info, kind, text);
}

/// Prints debug details.
pub fn debug(kind: Kind, text: fmt::Arguments<'_>) {
    line(Level::Debug, kind, text);
}

/// Prints a secret at once for a person at the device, and stores it nowhere: the log shown by our
/// doors must not contain it (F99).
pub fn unkept(text: fmt::Arguments<'_>) {
    let _ = put(Level::Info, text);
}

/// Prints an event of the engine; a printed event also becomes a frame.
pub fn event(level: Level, kind: Kind, event: &Event, text: fmt::Arguments<'_>) {
    let printed = line(level, kind, text);
    #[cfg(feature = "defmt")]
    if let Some(held_back) = printed {
        frames::event(level, event, held_back);
    }
    #[cfg(not(feature = "defmt"))]
    let _ = (printed, event);
}

/// Returns the number of lines held back before this one, if it is printed.
fn line(level: Level, kind: Kind, text: fmt::Arguments<'_>) -> Option<u32> {
    if !is_on(level) {
        return None;
    }
    let held_back = admit(level, kind, clock::now())?;
    if held_back == 0 {
        print(level, text);
    } else {
        print(level, format_args!("{text} (and {held_back} more of this kind before)"));
    }
    Some(held_back)
}

/// Prints the counts of kinds without a line since their ten seconds ended.
pub fn flush() {
    let now = clock::now();
    let mut due = [QUIET; KINDS];
    if let Ok(mut windows) = WINDOWS.lock() {
        for (window, due) in windows.iter_mut().zip(&mut due) {
            if window.held_back > 0 && is_over(window, now) {
                *due = *window;
                window.held_back = 0;
            }
        }
    }
    for (index, window) in due.iter().enumerate().filter(|(_, window)| window.held_back > 0) {
        let name = NAMES.get(index).copied().unwrap_or("");
        print(window.level, format_args!("{name}: {} more lines held back", window.held_back));
    }
}

/// Names of the kinds in the order of [`Kind`], for lines that only count.
const NAMES: [&str; KINDS] = [
    "process",
    "settings",
    "listen",
    "refused miners",
    "closed miners",
    "miners",
    "repeated shares",
    "pool tls",
    "pool up",
    "pool down",
    "pool",
    "pool messages",
    "pool earnings",
    "plain tcp",
    "clock",
    "block",
    "store",
    "what is kept",
    "status port",
    "updates",
    "access",
    "mdns",
    "serial line",
    "bug",
];

/// Counts the line; returns the number held back before it, if it is to be printed.
fn admit(level: Level, kind: Kind, now: Instant) -> Option<u32> {
    // Not limited: lines about the process, settings and updates are rare, and so are unwritten
    // state and pools that stop paying, by the engine's own rules. A block candidate is worth a
    // line.
    use Kind::{Block, Earning, Kept, Process, Settings, Update};
    if matches!(kind, Process | Settings | Block | Update | Kept | Earning) {
        return Some(0);
    }
    let mut windows = WINDOWS.lock().ok()?;
    let window = windows.get_mut(kind as usize)?;
    if is_over(window, now) {
        let held_back = std::mem::take(&mut window.held_back);
        *window = Window { printed: Some(now), level, held_back: 0 };
        Some(held_back)
    } else {
        window.held_back = window.held_back.saturating_add(1);
        window.level = window.level.min(level);
        None
    }
}

fn is_over(window: &Window, now: Instant) -> bool {
    window.printed.is_none_or(|printed| now.since(printed) >= LOG_INTERVAL)
}

fn print(level: Level, text: fmt::Arguments<'_>) {
    let line = put(level, text);
    if let Ok(mut lines) = LINES.lock() {
        keep(&mut lines, line);
    }
}

/// Has lines go to the system's log, by its socket, from now on; where it takes none they go to
/// standard error.
///
/// # Errors
///
/// There can be no socket.
pub fn to_syslog(path: &Path) -> io::Result<()> {
    out::to_syslog(path)
}

/// Writes a line out, and returns it with its time and level.
fn put(level: Level, text: fmt::Arguments<'_>) -> String {
    out::write(form(level, text));
    whole(level, text)
}

/// Renders an outgoing line: with a priority for a log that keeps the time, else with time and
/// level.
fn form(level: Level, text: fmt::Arguments<'_>) -> String {
    if out::is_syslog() {
        let priority = SYSLOG_DAEMON | level.priority();
        format!("<{priority}>loka-stratum[{}]: {text}", std::process::id())
    } else if is_journal() {
        format!("<{}>{text}", level.priority())
    } else {
        whole(level, text)
    }
}

/// Says whether standard error is systemd's journal, which keeps the time and reads a priority. The
/// first call comes before the loop turns: standard error may be a file on a disk.
pub fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(look_for_journal)
}

fn look_for_journal() -> bool {
    must_not_turn("standard error is looked at");
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let is_it = |data: std::fs::Metadata| named == format!("{}:{}", data.dev(), data.ino());
    std::fs::metadata("/proc/self/fd/2").is_ok_and(is_it)
}

/// Prefixes a text with time and level.
fn whole(level: Level, text: fmt::Arguments<'_>) -> String {
    let level = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    format!("{} {level} {text}", clock::Utc(clock::wall()))
}

fn keep(lines: &mut VecDeque<String>, mut line: String) {
    let mut end = line.len().min(LOG_LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.shrink_to_fit();
    if lines.len() >= LOG_LINES_KEPT_MAX {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Returns the newest lines, the oldest first.
pub fn newest(count: usize) -> Vec<String> {
    let Ok(lines) = LINES.lock() else { return Vec::new() };
    lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use loka_stratum::time::Duration;

    #[test]
    fn f52_one_line_per_kind_and_ten_seconds_with_a_count() {
        let at = |secs| Instant::from_micros(1) + Duration::from_secs(secs);
        assert_eq!(admit(Level::Warn, Kind::Bug, at(0)), Some(0));
        for _ in 0..100_000 {
            assert_eq!(admit(Level::Warn, Kind::Bug, at(9)), None);
        }
        assert_eq!(admit(Level::Warn, Kind::Bug, at(10)), Some(100_000));
        assert_eq!(admit(Level::Warn, Kind::Bug, at(11)), None);
    }

    #[test]
    fn f99_a_secret_for_who_stands_at_the_device_is_not_kept() {
        unkept(format_args!("set-up code: 0918 2736"));
        assert!(!newest(usize::MAX).iter().any(|line| line.contains("0918")));
    }

    #[test]
    fn the_newest_lines_are_kept_and_long_ones_cut() {
        let mut lines = VecDeque::new();
        for number in 0..2 * LOG_LINES_KEPT_MAX {
            keep(&mut lines, format!("{number}{}", "ü".repeat(LOG_LINE_BYTES_MAX)));
        }
        assert_eq!(lines.len(), LOG_LINES_KEPT_MAX);
        assert!(lines.iter().all(|line| (500..=LOG_LINE_BYTES_MAX).contains(&line.len())));
        assert!(lines[0].starts_with(&LOG_LINES_KEPT_MAX.to_string()));
    }
}
