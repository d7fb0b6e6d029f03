//! A long run of a farm: the gateway's memory and file descriptors must stay flat.
//!
//! The load is small: an occasional share from every miner. But every twenty seconds a small herd
//! comes and goes and a link breaks, so every leak shows. `/proc` is sampled. A straight line is
//! fitted to the samples after the first part of the run, in which caches fill.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::books::thousands;
use super::faults::Fault;
use super::random::Random;
use super::rig::{cpu_time, memory_kib, number};
use super::site::{self, Site};
use super::swarm::Work;
use super::{Ending, clock, say};

/// One round: a herd connects and leaves, a fault comes and goes, and all shares settle before the
/// sample.
const VISIT: Duration = Duration::from_secs(8);
const FAULT: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(11);
/// Rounds between two printed lines.
const ROUNDS_PER_PRINT: usize = 3;
/// First part of the run, whose samples do not count.
const WARM_UP: f64 = 1.0 / 3.0;
/// Growth over the rest of the run that counts as flat: a few pages of a settling allocator, and a
/// connection that comes or goes between two samples.
const MEMORY_KIB_MAX: f64 = 256.0;
const FILES_MAX: f64 = 3.0;

/// `lab soak`: the farm for a long time; the exit code says whether memory and descriptors of the
/// gateway were flat.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long, in minutes.
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// How many simulated ASICs.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    miners: usize,
    /// Shares per second of all ASICs together.
    #[arg(long, value_name = "SHARES", default_value_t = 20.0)]
    rate: f64,
    /// Seed of all random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the gateway's log to this file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    hours: f64,
    memory_kib: f64,
    files: f64,
}

/// A straight line through samples.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trend {
    per_hour: f64,
    /// Growth of the line over the samples.
    growth: f64,
}

/// The result of a run.
struct Outcome {
    samples: Vec<Sample>,
    memory: Trend,
    files: Trend,
    disconnects: u64,
}

/// Runs `lab soak`.
///
/// # Errors
///
/// A part cannot be started, or the gateway stops answering.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    super::raise_file_limit();
    let mut ending = Ending::new()?;
    let work = Work::Paced { per_sec: args.rate };
    let site = Site::start(args.miners, work, args.seed, args.log.clone())?;
    let before = cpu_time(site.gateway.pid())?;
    let start = clock::now();
    let samples = watch(args, &mut ending, &site)?;
    let used = cpu_time(site.gateway.pid())?.saturating_sub(before);
    let status = site.gateway.status()?;
    let disconnects = site.swarm.report().disconnects_total();
    let settled = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    let outcome = Outcome {
        memory: Trend::of(settled, |sample| sample.memory_kib),
        files: Trend::of(settled, |sample| sample.files),
        disconnects,
        samples,
    };
    say(&outcome.to_string());
    say(&format!(
        "{} submits, {} faults, {} connections taken; the gateway used {:.1} % of a core",
        thousands(number(&status, "/ledger/submitted")),
        site.counts().faults.values().sum::<u64>(),
        thousands(number(&status, "/miners/accepted")),
        100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64(),
    ));
    site.swarm.stop();
    let is_flat = outcome.is_flat();
    say(if is_flat { "soak: flat" } else { "soak: NOT FLAT" });
    Ok(if is_flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Samples, disturbs and prints, round by round, until the time is over.
fn watch(args: &Args, ending: &mut Ending, site: &Site) -> io::Result<Vec<Sample>> {
    let start = clock::now();
    let length = super::seconds(args.minutes * 60.0);
    let mut rest = |time: Duration| {
        let left = length.saturating_sub(start.elapsed());
        ending.wait(Some(time.min(left))) || start.elapsed() >= length
    };
    let mut random = Random::new(args.seed);
    let mut samples = Vec::new();
    loop {
        samples.push(sample(site.gateway.pid(), start.elapsed())?);
        if samples.len().is_multiple_of(ROUNDS_PER_PRINT) {
            print(start.elapsed(), samples.last());
        }
        let (count, work) = (args.miners / 20 + 1, Work::Paced { per_sec: 1.0 });
        let visitors = site::farm(site.gateway.listen, count, work, args.seed ^ 1)?;
        let is_over = rest(VISIT);
        visitors.stop();
        if is_over {
            return Ok(samples);
        }
        let active = Site::active(&site.gateway.status()?);
        let way = site.ways.get(active).unwrap_or(&site.ways[0]);
        way.faults.inject(Fault::draw(&mut random));
        let is_over = rest(FAULT);
        way.faults.inject(Fault::Pass);
        if is_over || rest(QUIET) {
            return Ok(samples);
        }
    }
}

fn print(elapsed: Duration, sample: Option<&Sample>) {
    let Some(Sample { memory_kib, files, .. }) = sample else { return };
    let minutes = elapsed.as_secs() / 60;
    say(&format!("{minutes:>4} min  {memory_kib:>8} KiB resident, {files:>5} descriptors"));
}

fn sample(pid: u32, elapsed: Duration) -> io::Result<Sample> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Sample {
        hours: elapsed.as_secs_f64() / 3600.0,
        memory_kib: memory_kib(pid)?.0 as f64,
        files: files as f64,
    })
}

impl Trend {
    /// Fits a line to the samples by least squares.
    fn of(samples: &[Sample], value: fn(&Sample) -> f64) -> Self {
        let count = samples.len() as f64;
        let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let (hours, height) = (mean(&|sample| sample.hours), mean(&value));
        let spread = mean(&|sample| (sample.hours - hours).powi(2));
        let rise = mean(&|sample| (sample.hours - hours) * (value(sample) - height));
        let per_hour = if spread > 0.0 { rise / spread } else { f64::NAN };
        let length = match samples {
            [first, .., last] => last.hours - first.hours,
            _ => f64::NAN,
        };
        Self { per_hour, growth: per_hour * length }
    }
}

impl Outcome {
    fn is_flat(&self) -> bool {
        // Too few samples do not count as flat.
        self.memory.growth < MEMORY_KIB_MAX
            && self.files.growth < FILES_MAX
            && self.disconnects == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, memory, files, disconnects } = self;
        let hours = samples.last().map_or(0.0, |sample| sample.hours);
        let skipped = hours * WARM_UP * 60.0;
        let span = format!("{:.1} min, the first {skipped:.1} not counted", hours * 60.0);
        let ends = |value: fn(&Sample) -> f64| {
            let of = |sample: Option<&Sample>| sample.map_or(f64::NAN, value);
            format!("{} at first, {} at last", of(samples.first()), of(samples.last()))
        };
        writeln!(f, "{} samples over {span}", samples.len())?;
        writeln!(
            f,
            "memory       {:+.0} KiB per hour ({:+.0} KiB in the run, allowed {MEMORY_KIB_MAX}): {} KiB",
            memory.per_hour,
            memory.growth,
            ends(|sample| sample.memory_kib)
        )?;
        writeln!(
            f,
            "descriptors  {:+.1} per hour ({:+.1} in the run, allowed {FILES_MAX}): {}",
            files.per_hour,
            files.growth,
            ends(|sample| sample.files)
        )?;
        write!(f, "miners disconnected  {disconnects}, must be 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(memory_per_minute: f64, files_per_minute: f64) -> Outcome {
        let samples: Vec<Sample> = (0..30)
            .map(|minute| {
                let minutes = f64::from(minute);
                // Noise: a few pages, and a connection that comes and goes.
                let noise = f64::from(minute % 3);
                Sample {
                    hours: minutes / 60.0,
                    memory_kib: 9_000.0 + minutes * memory_per_minute + 16.0 * noise,
                    files: 1_020.0 + minutes * files_per_minute + noise,
                }
            })
            .collect();
        let memory = Trend::of(&samples, |sample| sample.memory_kib);
        let files = Trend::of(&samples, |sample| sample.files);
        Outcome { samples, memory, files, disconnects: 0 }
    }

    #[test]
    fn what_only_wavers_is_flat() {
        let outcome = outcome(0.0, 0.0);
        assert!(outcome.is_flat(), "{outcome}");
    }

    #[test]
    fn a_leak_of_memory_or_of_descriptors_is_seen() {
        assert!(!outcome(20.0, 0.0).is_flat());
        assert!(!outcome(0.0, 0.5).is_flat());
        let leak = outcome(20.0, 0.0);
        assert!((leak.memory.per_hour - 1_200.0).abs() < 60.0, "{leak}");
    }

    #[test]
    fn too_few_samples_are_not_flat() {
        let trend = Trend::of(&[], |sample| sample.files);
        let outcome = Outcome { samples: Vec::new(), memory: trend, files: trend, disconnects: 0 };
        assert!(!outcome.is_flat());
    }
}
