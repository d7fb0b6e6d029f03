//! Loka Stratum: the mining gateway for Bitcoin farms.
//!
//! The root of the binary: it reads the command line and runs the matching part. The engine is the
//! library beside it (`src/lib.rs`). Sockets, files and the clock are in [`gateway`]. The test
//! pool, the swarm and the demo are in `lab`, which router builds leave out.

#![cfg_attr(not(feature = "defmt"), forbid(unsafe_code))]
// The one exception: defmt's encoder, in `gateway::frames`, is an unsafe trait.
#![cfg_attr(feature = "defmt", deny(unsafe_code))]

mod gateway;
#[cfg(feature = "lab")]
mod lab;

use std::process::ExitCode;

use clap::Parser;
use gateway::args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => gateway::run(&args),
        Command::Check(args) => gateway::check(&args),
        Command::Status(args) => gateway::status::run(&args),
        Command::Time(args) => gateway::ntp::run(&args),
        Command::Slots(args) => gateway::update::keeper::run(&args),
        Command::Ctl(args) => gateway::ctl::run(&args),
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
