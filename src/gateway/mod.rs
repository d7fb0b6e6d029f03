//! The gateway: sockets, TLS, timers and files around the engine.

pub mod args;
mod clock;
mod config;
mod dial;
mod log;
mod socket;

use std::process::ExitCode;

/// Checks the settings and prints what is wrong, or what they come to.
pub fn check(args: &args::SettingsArgs) -> ExitCode {
    match config::load(&args.sources()) {
        Ok(settings) => {
            println!("settings are good: {} pools", settings.pools.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
