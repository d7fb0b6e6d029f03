//! Loka Stratum: the mining gateway for Bitcoin farms.
//!
//! The root of the binary: it reads the command line and runs the matching part. The engine is the
//! library beside it (`src/engine`). Sockets, files and the clock are in [`gateway`]. The test
//! pool, the swarm and the demo are in `lab`, which router builds leave out.

#![cfg_attr(not(feature = "defmt"), forbid(unsafe_code))]
// The one exception: defmt's encoder, in `gateway::frames`, is an unsafe trait.
#![cfg_attr(feature = "defmt", deny(unsafe_code))]

mod ctl;
mod gateway;
#[cfg(feature = "lab")]
mod lab;

use std::process::ExitCode;

use clap::Parser;
use gateway::args::{CheckArgs, RunArgs};

/// Loka Stratum: thousands of ASICs on the LAN, one verified TLS link to the pool.
#[derive(clap::Parser)]
#[command(name = "loka-stratum", version, disable_help_subcommand = true)]
pub struct Args {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The command to run.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM.
    Run(RunArgs),
    /// Check the settings and list everything that is wrong.
    Check(CheckArgs),
    /// Print the state of a running gateway.
    Status(ctl::status::StatusArgs),
    /// Print a time server's time, in seconds since 1970.
    Time(ctl::ntp::TimeArgs),
    /// Keep the system slots for a gateway that may not write them; for images.
    Slots(gateway::update::keeper::SlotsArgs),
    /// Send requests to a gateway over its serial line or its page.
    Ctl(ctl::CtlArgs),
    /// Run a demo on this machine: a pool, the gateway with real TLS, 200 simulated ASICs.
    #[cfg(feature = "lab")]
    Demo(lab::demo::Args),
    /// Run a test pool, a swarm of simulated ASICs, or a bench.
    #[cfg(feature = "lab")]
    #[command(subcommand)]
    Lab(lab::Command),
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => gateway::run(&args),
        Command::Check(args) => gateway::check(&args),
        Command::Status(args) => ctl::status::run(&args),
        Command::Time(args) => ctl::ntp::run(&args),
        Command::Slots(args) => gateway::update::keeper::run(&args),
        Command::Ctl(args) => ctl::run(&args),
        #[cfg(feature = "lab")]
        Command::Demo(args) => done(lab::demo::run(&args)),
        #[cfg(feature = "lab")]
        Command::Lab(command) => done(lab::run(&command)),
    }
}

#[cfg(feature = "lab")]
fn done(result: std::io::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("loka-stratum: {error}");
        ExitCode::FAILURE
    })
}
