//! The lab: a pool, a swarm of simulated ASICs, a demo and a bench, for one machine.
//!
//! A site can be rehearsed with it before any ASIC is plugged in, and the gateway is measured and
//! shown with it. Nothing here runs in a router build (feature `lab`).
//!
//! The lab is a third party on purpose. It reads messages and computes hashes with the library,
//! but writes its own lines, reads its own hex and keeps its own books, so that the pool's and
//! the swarm's ledgers can contradict the gateway's.
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
    /// A farm of two pools under many faults: nobody is disconnected and every share accounted.
    Chaos(chaos::Args),
    /// A farm at rest for a long time: memory and descriptors of the gateway stay flat.
    Soak(soak::Args),
    /// The whole process measured, beside what the machine can do at all.
    Bench(bench::Args),
}

/// Runs a part of the lab.
///
/// # Errors
///
/// A socket, file or child process that cannot be had.
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

/// Prints a line; a reader that is gone is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Returns a length of time from seconds with a fraction; what is none becomes zero.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Returns a runtime for the calling thread, whose tasks share what they work on.
///
/// # Errors
///
/// The system has no more file descriptors.
fn local_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// What ends a part of the lab: SIGTERM, SIGINT, or a word from another thread.
struct Ending {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    told: Arc<Notify>,
}

impl Ending {
    /// Begins to listen for the signals, which from then on do not end the process.
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

    /// Waits for the end, or for `limit`; returns `true` where the end has come.
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

/// Lets this process open as many sockets as the system allows it.
fn raise_file_limit() -> u64 {
    let Ok((_, hard)) = rlimit::Resource::NOFILE.get() else { return 0 };
    rlimit::increase_nofile_limit(hard).unwrap_or(0)
}
