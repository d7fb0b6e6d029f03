//! The demo's live view: a few redrawn lines, or one line a second without a terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::Value;

use crate::lab::books::thousands;
use crate::lab::pool::ledger::Ledger;
use crate::lab::rig::number;
use crate::lab::swarm::report::Report;

/// Time over which rates are averaged.
const WINDOW: Duration = Duration::from_secs(5);

/// The three parties at one moment.
pub struct Snapshot {
    pub elapsed: Duration,
    pub report: Report,
    /// The gateway's `/api/v1/status`, null without an answer.
    pub status: Value,
    pub ledger: Ledger,
    /// `None` while the pool is down.
    pub pool_pid: Option<u32>,
}

/// The screen.
pub struct View {
    redraws: bool,
    limit: Option<Duration>,
    drawn_lines: usize,
    /// Elapsed time, hashes and submits of the last seconds.
    window: VecDeque<(Duration, u64, u64)>,
}

impl View {
    /// Begins with nothing on the screen.
    pub const fn new(redraws: bool, limit: Option<Duration>) -> Self {
        Self { redraws, limit, drawn_lines: 0, window: VecDeque::new() }
    }

    /// Shows one moment.
    pub fn show(&mut self, now: &Snapshot) {
        let rates = self.rates(now);
        let text = if self.redraws { self.screen(now, rates) } else { line(now, rates) };
        let mut out = io::stdout().lock();
        let up = std::mem::replace(&mut self.drawn_lines, text.lines().count());
        if self.redraws && up > 0 {
            // Up to the first line and clear from there.
            let _ = write!(out, "\x1b[{up}F\x1b[J");
        }
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Leaves the last picture on the screen.
    pub fn close(&mut self) {
        self.drawn_lines = 0;
        super::say("");
    }

    /// Returns hashes and submits per second.
    fn rates(&mut self, now: &Snapshot) -> (f64, f64) {
        self.window.push_back((now.elapsed, now.report.hashes, now.report.submitted));
        while self.window.len() > 2 && now.elapsed - self.window[0].0 > WINDOW {
            self.window.pop_front();
        }
        let (at, hashes, submits) = self.window[0];
        let secs = (now.elapsed - at).as_secs_f64();
        if secs <= 0.0 {
            return (0.0, 0.0);
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / secs;
        (rate(hashes, now.report.hashes), rate(submits, now.report.submitted))
    }

    fn screen(&self, now: &Snapshot, (hashes, submits): (f64, f64)) -> String {
        let of = |path: &str| number(&now.status, path);
        let Report { connected, ready, miners, .. } = now.report;
        let limit = self
            .limit
            .map_or_else(|| "Ctrl-C ends".to_owned(), |it| format!("of {} s", it.as_secs()));
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<11}{value}");
        };
        row("Loka demo", format!("{} s, {limit}", now.elapsed.as_secs()));
        row(
            "miners",
            format!(
                "{connected} of {miners} connected, {ready} with a job, {} lost",
                now.report.disconnects_total()
            ),
        );
        row("hash-rate", format!("{}H/s, {submits:.1} shares/s", metric(hashes)));
        let [link, terms] = upstream(&now.status);
        row("gateway", link);
        row("", terms);
        row("pool", pool(now));
        row("upstream", saved(now));
        row(
            "ledger",
            format!(
                "submitted {} = accepted {} + rejected {}",
                thousands(of("/ledger/submitted")),
                thousands(of("/ledger/accepted")),
                thousands(of("/ledger/rejected")),
            ),
        );
        row(
            "",
            format!(
                "forwarded {}: pool accepted {}, rejected {}, open {}, orphaned {}",
                of("/ledger/forwarded"),
                of("/ledger/pool_accepted"),
                of("/ledger/pool_rejected"),
                of("/ledger/pending") + of("/ledger/held"),
                of("/ledger/orphaned"),
            ),
        );
        text
    }
}

/// One line for a log.
fn line(now: &Snapshot, (hashes, submits): (f64, f64)) -> String {
    let of = |path: &str| number(&now.status, path);
    let lines = saved_percent(now).map_or_else(|| "-".to_owned(), |it| format!("{it:.1} %"));
    format!(
        "{:>4} s  miners {}  {}H/s  {submits:.1} shares/s  accepted {}  rejected {}  forwarded {}  \
         pool {} {}  upstream lines saved {lines}\n",
        now.elapsed.as_secs(),
        now.report.ready,
        metric(hashes),
        of("/ledger/accepted"),
        of("/ledger/rejected"),
        of("/ledger/forwarded"),
        if now.pool_pid.is_some() { "up" } else { "AWAY" },
        now.ledger.accepted,
    )
}

/// Returns the link's state and the pool's difficulty in two rows of less than 80 columns, since a
/// wrapped row cannot be redrawn.
fn upstream(status: &Value) -> [String; 2] {
    let Some(link) = status.pointer("/upstream/0") else {
        return ["does not answer".to_owned(), String::new()];
    };
    let text = |key: &str| match link.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) if !value.is_null() => value.to_string(),
        _ => "-".to_owned(),
    };
    let (state, url, size) = (text("state"), text("url"), text("extranonce2_size"));
    let number = |key: &str| link.get(key).and_then(Value::as_f64).unwrap_or_default();
    let (difficulty, answer) = (number("difficulty"), number("answer_ms"));
    [
        format!("{state}, {url}"),
        format!("extranonce2 {size} bytes, difficulty {difficulty:.7}, answers in {answer:.2} ms"),
    ]
}

fn pool(now: &Snapshot) -> String {
    let jobs = format!("{} jobs, {} of them clean", now.ledger.jobs, now.ledger.clean_jobs);
    match now.pool_pid {
        Some(pid) => format!("{jobs}; kill {pid}, and another one takes over"),
        None => format!("{jobs}; AWAY, another one takes over in 2 s"),
    }
}

fn saved(now: &Snapshot) -> String {
    let (up, direct) = lines(now);
    let percent = saved_percent(now).map_or_else(String::new, |it| format!(", {it:.1} % saved"));
    format!("{} lines instead of {}{percent}", thousands(up), thousands(direct))
}

/// Lines on the link to the pool, and lines of the same miners on direct connections.
const fn lines(now: &Snapshot) -> (u64, u64) {
    let (up, direct) = (&now.ledger.traffic, &now.report.traffic);
    (up.lines_in + up.lines_out, direct.lines_in + direct.lines_out)
}

fn saved_percent(now: &Snapshot) -> Option<f64> {
    let (up, direct) = lines(now);
    (direct > 0).then(|| 100.0 * (1.0 - up as f64 / direct as f64))
}

/// Writes a rate with its metric prefix.
fn metric(value: f64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.iter().find(|(step, _)| value >= *step) {
        Some((step, prefix)) => format!("{:.2} {prefix}", value / step),
        None => format!("{value:.0} "),
    }
}
