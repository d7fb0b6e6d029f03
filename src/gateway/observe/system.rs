//! The updates of the system, as status and page show them.

use serde::{Deserialize, Serialize};

/// The progress of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Phase {
    /// No update.
    #[default]
    Idle,
    /// The file arrives and is written.
    Receiving {
        /// Bytes received.
        bytes: u64,
        /// Bytes of the file; 0 until known.
        of: u64,
    },
    /// The slot is read back.
    Checking,
    /// The machine is about to reboot.
    Restarting,
    /// The new system runs and must prove that it is well.
    Trial {
        /// Seconds left of the trial.
        seconds_left: u64,
    },
}

/// The state of updates for status and page.
#[derive(Clone, Debug, Serialize)]
pub struct UpdateReport {
    /// Whether this system can be updated here.
    pub supported: bool,
    /// Why it cannot.
    pub why_not: Option<&'static str>,
    /// The running version.
    pub version: Option<String>,
    /// Its slot.
    pub slot: Option<&'static str>,
    /// The board that updates must be for.
    pub board: Option<String>,
    /// The progress of an update.
    pub progress: Phase,
    /// The outcome of the last update.
    pub last: Option<Outcome>,
}

/// The outcome of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The version before.
    pub from: String,
    /// The new version.
    pub to: String,
    /// When the outcome was known, in seconds since 1970.
    pub when: u64,
    /// Whether the new version is kept.
    pub kept: bool,
    /// Why not, or how it proved that it is well.
    pub why: String,
}
