//! Flags of `run` and `check`.

use std::path::PathBuf;

use crate::gateway::base::state;
use crate::gateway::boards::board::Machine;
use crate::gateway::operate::config::{self, Sources};

/// Flags of `run`.
#[derive(clap::Args)]
pub struct RunArgs {
    /// Where the settings come from.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Path of the serial port with the console; replaces serial.device.
    #[arg(long, value_name = "PATH")]
    pub serial: Option<PathBuf>,
    /// Path of a serial port for the log as compact defmt frames, for defmt-print and `ctl log
    /// --decode`. Not the console's port.
    #[cfg(feature = "defmt")]
    #[arg(long, value_name = "PATH")]
    pub frames: Option<PathBuf>,
    /// Print debug lines too.
    #[arg(long)]
    pub verbose: bool,
    /// Write the log to the system's log at this socket, such as /dev/log: each line with a
    /// priority and without a time. For a service manager that does not read priorities from
    /// standard error.
    #[arg(long, value_name = "SOCKET")]
    pub syslog: Option<PathBuf>,
    /// End as by SIGTERM when standard input ends: for a child that must not outlive its parent.
    #[arg(long)]
    pub until_input_ends: bool,
    /// Feed a hardware watchdog: the profile's, or this device. For a machine where no other
    /// program feeds it.
    #[arg(long, value_name = "board|PATH")]
    pub watchdog: Option<String>,
    /// Write a number that grows every second into a file, for a watching script; put the file on a
    /// file system in memory.
    #[arg(long, value_name = "FILE")]
    pub alive: Option<PathBuf>,
    /// Light the LEDs that the board's profile names: a pool is live, miners are connected.
    #[arg(long)]
    pub leds: bool,
    /// Obey the reset button of the board's profile: held for five seconds, it requests a factory
    /// reset.
    #[arg(long)]
    pub button: bool,
    /// Accept system updates through the slot keeper at this socket (`slots`).
    #[arg(long, value_name = "SOCKET")]
    pub slots: Option<PathBuf>,
}

/// Flags of `check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// Where the settings come from.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Print a file of all settings with their defaults, and check nothing.
    #[arg(long)]
    pub defaults: bool,
}

/// Flags that are settings; they win over the environment (LOKA_MINERS__MAX for miners.max) and
/// the environment over the file.
#[derive(clap::Args)]
pub struct SettingsArgs {
    /// File of settings; config/default.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for miners; repeatable [default: 0.0.0.0:3333]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// The pool, stratum+ssl://host:port; replaces all pools of the file.
    #[arg(long, value_name = "URL")]
    pool: Option<String>,
    /// The account at the pool, or account.worker.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password at the pool; other users of this machine can see it here, so pass a real
    /// password as LOKA_POOL__1__PASSWORD [default: x]
    #[arg(long, value_name = "WORD")]
    password: Option<String>,
    /// Board profile of this machine [default: auto, by the device tree]
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
    /// Address of the status port, or off [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR|off")]
    status: Option<String>,
    /// Store nothing: block candidates, commits and passwords are lost at the end
    #[arg(long)]
    no_state: bool,
}

impl SettingsArgs {
    /// Returns the sources of the settings; a relative path is resolved now, before a `cd`.
    pub fn sources(&self) -> Sources {
        let listen = (!self.listen.is_empty()).then(|| self.listen.join(","));
        let no_state = self.no_state.then(String::new);
        let flags = [
            ("--listen", "listen.addresses", &listen),
            ("--pool", "pool.1.url", &self.pool),
            ("--user", "pool.1.user", &self.user),
            ("--password", "pool.1.password", &self.password),
            ("--board", "board.profile", &self.board),
            ("--status", "status.address", &self.status),
            ("--no-state", "state.dir", &no_state),
        ];
        let given = |(flag, key, text): (_, _, &Option<String>)| Some((flag, key, text.clone()?));
        Sources {
            file: self
                .config
                .as_ref()
                .map(|file| std::path::absolute(file).unwrap_or(file.clone())),
            environment: config::environment(),
            flags: flags.into_iter().filter_map(given).collect(),
            replaces_pools: self.pool.is_some(),
            machine: Machine::read(),
            state_dir: state::default_folder(),
        }
    }
}
