//! The lab: a pool, a swarm of simulated ASICs, a demo and a bench, for one machine.
//!
//! It rehearses a site before any ASIC is connected, and it measures and demonstrates the gateway.
//! Router builds leave it out (feature `lab`).
//!
//! The lab is independent on purpose. It reads messages and computes hashes with the library. But
//! it writes its own lines, reads its own hex and keeps its own books, so the ledgers of pool and
//! swarm can contradict the gateway's.
//!
//! ```text
//! swarm (personality) ──tcp──▶ gateway, a child process ──tls──▶ pool
//!   what it was told             /api/v1/status                  what it judged
//!        └──────────────── demo, bench: compare ────────────────────┘
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "the lab's parts run on threads of their own, which may block"
)]

pub mod bench;
pub mod chaos;
pub mod demo;
pub mod faults;
pub mod pool;
pub mod soak;
pub mod swarm;

mod books;
mod clock;
mod hex;
mod histogram;
mod net;
mod personality;
mod random;
mod rig;
mod site;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{LocalOptions, LocalRuntime, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// `lab …`: the parts of the lab one by one.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// A Stratum V1 pool that judges every share itself.
    Pool(pool::Args),
    /// Simulated ASICs that really hash.
    Swarm(swarm::Args),
    /// A proxy that disturbs connections: cut, reset, delay, trickle, corrupt, half-open, refuse.
    Faults(faults::Args),
    /// A farm of two pools under many faults: no miner is disconnected, every share is counted.
    Chaos(chaos::Args),
    /// A long run of a quiet farm: memory and descriptors of the gateway stay flat.
    Soak(soak::Args),
    /// Benchmark of the whole process, beside the machine's own limits.
    Bench(bench::Args),
}

/// Runs a part of the lab.
///
/// # Errors
///
/// A socket, file or child process cannot be opened.
pub fn run(command: &Command) -> io::Result<ExitCode> {
    match command {
        Command::Pool(args) => pool::run(args),
        Command::Swarm(args) => swarm::run(args),
        Command::Faults(args) => faults::run(args),
        Command::Chaos(args) => chaos::run(args),
        Command::Soak(args) => soak::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Prints a line; a closed standard output is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Returns a duration from fractional seconds; an invalid number becomes zero.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Returns a runtime for the calling thread, whose tasks share data without locks.
///
/// # Errors
///
/// The system has no more file descriptors.
fn local_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// The end of a part of the lab: SIGTERM, SIGINT, or a message of another thread.
struct Ending {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    told: Arc<Notify>,
}

impl Ending {
    /// Catches the signals; from then on they do not end the process.
    ///
    /// # Errors
    ///
    /// The signals cannot be caught.
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(guard);
        Ok(Self { runtime, terminate, interrupt, told: Arc::default() })
    }

    /// Waits for the end, at most for `limit`; returns `true` at the end.
    fn wait(&mut self, limit: Option<Duration>) -> bool {
        let Self { runtime, terminate, interrupt, told } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = told.notified() => true,
                () = tokio::time::sleep(limit.unwrap_or_default()), if limit.is_some() => false,
            }
        })
    }
}

/// Raises the limit of open files to the hard limit.
fn raise_file_limit() -> u64 {
    let Ok((_, hard)) = rlimit::Resource::NOFILE.get() else { return 0 };
    rlimit::increase_nofile_limit(hard).unwrap_or(0)
}
