//! Loka Stratum: the mining gateway for Bitcoin farms.

#![forbid(unsafe_code)]

mod gateway;

use std::process::ExitCode;

use clap::Parser;
use gateway::args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => gateway::run(&args),
        Command::Check(args) => gateway::check(&args),
        Command::Status(args) => gateway::status::run(&args),
    }
}
