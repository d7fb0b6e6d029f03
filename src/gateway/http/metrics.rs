//! The report as OpenMetrics text, encoded by prometheus-client from the engine's own counters.
//!
//! Nothing is counted twice for the sake of a scrape: a custom collector reads the report. There
//! is no series per miner, so a scrape stays small whatever the farm.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::gateway::report::{Counts, Goal, Report, Upstream};

/// Encodes the report.
pub fn encode(report: &Report) -> String {
    let mut registry = Registry::with_prefix("loka");
    registry.register_collector(Box::new(Scrape(report.clone())));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        // A string takes whatever is written to it.
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
        // A state as a number orders itself: what alerts ask for is "not 2".
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
