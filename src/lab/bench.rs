//! Benchmark of the whole process: gateway, bare pool, and the machine's own limits, in one run.
//!
//! Every part is a separate process, so the kernel counts its CPU time and memory. The load
//! consists of real shares that cost no search: at a difficulty below 2^-32 every hash is a share,
//! while the gateway's check costs the same as ever. A tiny part of the shares also meets the
//! pool's difficulty and is forwarded.
//!
//! Wall-clock figures need an otherwise idle machine; CPU figures are less sensitive.

mod limits;
mod machine;
mod scenes;
mod table;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::say;
use machine::Machine;
use scenes::{Plan, Server};
use table::{Figure, Table};

/// `lab bench`: measures the whole process.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One short round of every part, with fewer miners; a preview, no measurement.
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = rounds_within())]
    rounds: u32,
    /// Measure only these: limits, cpu, latency, crowd, switch, bytes.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Miners of the crowd.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    crowd: usize,
    /// Write the figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Answer every line at once, as the echo server for comparison.
    #[arg(long, hide = true)]
    echo: bool,
}

fn rounds_within() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=50)
}

/// Runs `lab bench`.
///
/// # Errors
///
/// A process cannot be started, or fails.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    super::raise_file_limit();
    if args.echo {
        return limits::serve_echo().map(|()| ExitCode::SUCCESS);
    }
    let plan = Plan {
        rounds: if args.quick { 1 } else { args.rounds },
        crowd: if args.quick { args.crowd.min(2_000) } else { args.crowd },
        is_quick: args.quick,
    };
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|it| it == name);
    let machine = Machine::look();
    say(&machine.to_string());
    let mut table = Table::default();
    if wanted("limits") {
        measure(&mut table, "limits", || limits::measure(&plan));
    }
    for server in Server::ALL {
        if wanted("cpu") {
            measure(&mut table, "cpu", || scenes::cpu(&plan, server));
        }
        if wanted("latency") {
            measure(&mut table, "latency", || scenes::latency(&plan, server));
        }
    }
    if wanted("crowd") {
        measure(&mut table, "crowd", || scenes::crowd(&plan));
    }
    if wanted("switch") {
        measure(&mut table, "switch", || scenes::switch(&plan));
    }
    if wanted("bytes") {
        measure(&mut table, "bytes", || scenes::bytes(&plan));
    }
    table.derive();
    say(&table.to_string());
    if let Some(path) = &args.json {
        let text =
            serde_json::to_string_pretty(&table.to_json(&machine)).map_err(io::Error::other)?;
        std::fs::write(path, text + "\n")?;
    }
    Ok(if table.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the figures of one part; a part that fails leaves a line and no figures.
fn measure(table: &mut Table, name: &str, part: impl FnOnce() -> io::Result<Vec<Figure>>) {
    match part() {
        Ok(figures) => {
            for figure in figures {
                say(&figure.to_string());
                table.add(figure);
            }
        }
        Err(error) => {
            table.fail(format!("{name}: {error}"));
            say(&format!("{name}: {error}"));
        }
    }
}
