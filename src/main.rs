//! Loka Stratum: the mining gateway for Bitcoin farms.

mod gateway;

use std::process::ExitCode;

use clap::Parser;
use gateway::args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Check(args) => gateway::check(&args),
        Command::Run(_) | Command::Status(_) => ExitCode::FAILURE,
    }
}
