//! The report for Prometheus, encoded by prometheus-client from the engine's own counters.
//!
//! The text is the classic format 0.0.4, which every scraper reads. OpenMetrics is sent if `Accept`
//! names it with at least the quality of the classic format. The formats differ in the names of
//! counter families and in the end mark.
//!
//! A custom collector reads the report, so a scrape needs no second set of counters. There is no
//! series per miner; a scrape stays small in any farm.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::gateway::observe::report::{Counts, Goal, Report, Upstream};

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format.
    Classic,
    /// OpenMetrics 1.0.0.
    Open,
}

impl Format {
    /// Chooses the format by a client's `Accept` header.
    pub fn accepted(accept: &str) -> Self {
        let ranges = || accept.split(',').filter_map(Range::read);
        let open = ranges().filter(Range::is_open).map(|range| range.quality).max();
        // The most specific text range counts.
        let of_text = |kind: &str| {
            ranges().filter(|range| range.kind.eq_ignore_ascii_case(kind)).map(|r| r.quality).max()
        };
        let text = of_text("text/plain").or_else(|| of_text("text/*")).or_else(|| of_text("*/*"));
        match open {
            Some(open) if open > 0 && open >= text.unwrap_or(0) => Self::Open,
            _ => Self::Classic,
        }
    }

    /// Returns the type of the body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One type of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    /// Quality in thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let mut range = Self { kind, version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => range.quality = quality(value),
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                _ => {}
            }
        }
        Some(range)
    }

    fn is_open(&self) -> bool {
        self.kind.eq_ignore_ascii_case("application/openmetrics-text")
            && self.version.is_none_or(|version| version == "1.0.0")
    }
}

/// Parses a quality into thousandths; an invalid quality is 0.
fn quality(text: &str) -> u16 {
    match text.parse::<f64>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
        _ => 0,
    }
}

/// Encodes the report.
pub fn encode(report: &Report, format: Format) -> String {
    let open = encode_open(report);
    match format {
        Format::Open => open,
        Format::Classic => classic(&open),
    }
}

/// Turns OpenMetrics into the classic format: a counter's family gets the name of its samples, and
/// the end mark is dropped.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(of) = line.strip_prefix("# HELP ") {
            help = of.split_once(' ');
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|of| of.split_once(' '))
        else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let total = if kind == "counter" { "_total" } else { "" };
        if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
            text.push_str(&format!("# HELP {name}{total} {help}\n"));
        }
        text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
    }
    text
}

fn encode_open(report: &Report) -> String {
    let mut registry = Registry::with_prefix("loka");
    registry.register_collector(Box::new(Scrape(report.clone())));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a string cannot fail.
        Err(fmt::Error) => String::new(),
    }
}

#[derive(Debug)]
struct Scrape(Report);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let report = &self.0;
        gauges(
            &mut encoder,
            "build_info",
            "Version of the program.",
            &[([("version", report.version)], 1.0)],
        )?;
        let uptime = report.uptime_secs as f64;
        gauge(&mut encoder, "uptime_seconds", "Time since the start.", uptime)?;
        gauge(&mut encoder, "ready", "1 while miners get work.", f64::from(report.ready))?;
        let board = &self.0.board;
        let (planned, budget) = (board.memory_bytes as f64, board.memory_bytes_max as f64);
        gauge(&mut encoder, "memory_planned_bytes", "Memory at its most.", planned)?;
        gauge(&mut encoder, "memory_budget_bytes", "Memory that there is for it.", budget)?;
        let flash = &report.flash;
        counter(&mut encoder, "flash_writes", "Writes to disk.", flash.writes)?;
        counter(&mut encoder, "flash_written_bytes", "Bytes written to disk.", flash.bytes)?;
        let writes = flash.settings_writes as f64;
        gauge(&mut encoder, "settings_writes", "Settings ever written to this disk.", writes)?;
        let (help, refused) = ("Handshakes of the page not begun.", report.page.handshakes_refused);
        counter(&mut encoder, "page_handshakes_refused", help, refused)?;
        self.encode_miners(&mut encoder)?;
        self.encode_shares(&mut encoder)?;
        self.encode_upstream(&mut encoder)
    }
}

impl Scrape {
    fn encode_miners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let miners = &self.0.miners;
        let connected = miners.connected as f64;
        gauge(encoder, "miners_connected", "Miners connected now.", connected)?;
        gauge(encoder, "miners_max", "Miners that have a place.", miners.max as f64)?;
        counter(encoder, "miners_accepted", "Connections taken.", miners.accepted)?;
        by(encoder, "miners_refused", "Connections not taken.", "reason", &miners.refused)?;
        by(encoder, "miners_ended", "Connections that ended.", "reason", &miners.ended)?;
        let refused = miners.workers_refused;
        counter(encoder, "workers_refused", "Workers that a pool refused.", refused)?;
        let oversized = miners.oversized_jobs;
        counter(encoder, "oversized_jobs", "Jobs too long for their miners.", oversized)
    }

    fn encode_shares(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ledger = &self.0.ledger;
        let mut rows = vec![
            ([("result", "below_upstream"), ("reason", "")], ledger.below_upstream),
            ([("result", "pool_accepted"), ("reason", "")], ledger.pool_accepted),
        ];
        for (result, counts) in [
            ("pool_rejected", &ledger.pool_rejected),
            ("rejected", &ledger.rejected),
            ("orphaned", &ledger.orphaned),
        ] {
            let of_reason = |(reason, count): (&&'static str, &u64)| {
                ([("result", result), ("reason", *reason)], *count)
            };
            rows.extend(counts.iter().map(of_reason));
        }
        counters(encoder, "shares", "Submits whose fate is settled.", &rows)?;
        counter(encoder, "submits", "Submits that came.", ledger.submitted)?;
        gauges(
            encoder,
            "shares_open",
            "Accepted shares without the pool's answer.",
            &[
                ([("state", "pending")], ledger.pending as f64),
                ([("state", "held")], ledger.held as f64),
            ],
        )?;
        let report = &self.0;
        counter(encoder, "block_candidates", "Shares that are blocks.", report.block_candidates)?;
        let help = "Blocks that no pool has answered yet.";
        gauge(encoder, "block_candidates_waiting", help, report.block_candidates_waiting as f64)
    }

    fn encode_upstream(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = |value: fn(&Upstream) -> Option<f64>| {
            let row = |(link, upstream): (usize, &Upstream)| {
                let labels = [
                    ("pool", upstream.pool.to_string()),
                    ("link", link.to_string()),
                    ("url", upstream.url.clone()),
                ];
                value(upstream).map(|value| (labels, value))
            };
            self.0.upstream.iter().enumerate().filter_map(row).collect::<Vec<_>>()
        };
        let live = rows(|link| Some(f64::from(link.state == "live")));
        gauges(encoder, "upstream_live", "1 while the link is live.", &live)?;
        let active = rows(|link| Some(f64::from(link.active)));
        gauges(encoder, "upstream_active", "1 for the pool that its goal mines at.", &active)?;
        // The state as an ordered number: alerts test for "not 2".
        let circuit = rows(|link| match link.circuit {
            "closed" => Some(2.0),
            "half-open" => Some(1.0),
            _ => Some(0.0),
        });
        let help =
            "2 while the pool is trusted (closed), 1 while it is watched (half-open), 0 open.";
        gauges(encoder, "upstream_circuit", help, &circuit)?;
        let health = rows(|link| link.health.map(f64::from));
        gauges(encoder, "upstream_health", "How well the pool serves, 0 to 100.", &health)?;
        let unpaid = rows(|link| Some(f64::from(link.trouble.is_some())));
        let help = "1 while the pool refuses shares or leaves them without an answer.";
        gauges(encoder, "upstream_unpaid", help, &unpaid)?;
        let one_name = rows(|link| Some(f64::from(link.one_name)));
        let help = "1 for a pool that takes no names of miners (identity.mode = per-worker).";
        gauges(encoder, "upstream_one_name", help, &one_name)?;
        let difficulty = rows(|link| link.difficulty);
        gauges(encoder, "upstream_difficulty", "The pool's difficulty.", &difficulty)?;
        let size = rows(|link| link.extranonce2_size.map(f64::from));
        gauges(encoder, "upstream_extranonce2_bytes", "The pool's extranonce2.", &size)?;
        let of_goals = |value: fn(&Goal) -> f64| {
            let row = |goal: &Goal| ([("goal", goal.name.clone())], value(goal));
            self.0.goals.iter().map(row).collect::<Vec<_>>()
        };
        let weight = of_goals(|goal| f64::from(goal.weight));
        gauges(encoder, "goal_weight", "The goal's weight in the settings.", &weight)?;
        let part = of_goals(|goal| goal.part);
        gauges(encoder, "goal_work_ratio", "Part of the work done for the goal.", &part)?;
        let miners = of_goals(|goal| f64::from(goal.miners));
        gauges(encoder, "goal_miners", "Miners that work for the goal.", &miners)?;
        let answer = rows(|link| link.answer_ms.map(|ms| ms / 1000.0));
        gauges(encoder, "upstream_answer_seconds", "The pool's last answer.", &answer)?;
        let switches = &self.0.switches;
        by(encoder, "switches", "Goals that went to another pool.", "reason", switches)?;
        by(encoder, "links_lost", "Links that ended.", "reason", &self.0.links_lost)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: &[(L, f64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        family.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: &[(L, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        let mut metric = family.encode_family(labels)?;
        metric.encode_counter::<NoLabelSet, _, u64>(value, None)?;
    }
    Ok(())
}

fn by(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    counts: &Counts,
) -> fmt::Result {
    let rows: Vec<_> = counts.iter().map(|(value, count)| ([(label, *value)], *count)).collect();
    counters(encoder, name, help, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_names_it_and_the_classic_format_for_everybody_else() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0,application/\
             openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let of_prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;\
             q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
             escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1";
        let of_protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.\
             MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            of_prometheus,
            of_prometheus_3,
            of_protobuf,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"",
            "application/openmetrics-text;q=0.5, */*;q=0.5",
            "text/*;q=0.1, application/openmetrics-text;q=0.2",
        ] {
            assert_eq!(Format::accepted(accept), Format::Open, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4",
            "application/vnd.google.protobuf",
            "application/json, text/html;q=0.9",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.0, text/plain",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=0.4, text/*;q=0.5",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=nan",
            "application/openmetrics-text;q=2",
            "application/*",
            ",;,q=1,;q",
        ] {
            assert_eq!(Format::accepted(accept), Format::Classic, "{accept}");
        }
    }

    #[test]
    fn a_counter_has_one_name_in_the_classic_format() {
        let open = "# HELP loka_submits Submits that came.\n# TYPE loka_submits counter\n\
                    loka_submits_total 3\n# HELP loka_ready 1 while miners get work.\n\
                    # TYPE loka_ready gauge\nloka_ready 1\n# EOF\n";
        let expected = "# HELP loka_submits_total Submits that came.\n\
                        # TYPE loka_submits_total counter\nloka_submits_total 3\n\
                        # HELP loka_ready 1 while miners get work.\n# TYPE loka_ready gauge\n\
                        loka_ready 1\n";
        assert_eq!(classic(open), expected);
    }
}
