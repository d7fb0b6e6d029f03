//! Base: the clock, the log, the disk and its thread, stores, sockets; every room may use it.
//!
//! `clock` is the only clock. `log` writes lines, `frames` the same as defmt frames on flash.
//! `disk` and its thread write files, `shelf` and `store` keep values, `journal` keeps entries.
//! `event_loop` guards the loop against work that blocks, `handshakes` computes TLS beside it.

pub mod allowance;
pub mod answer;
pub mod clock;
pub mod disk;
pub mod event_loop;
pub mod fingerprint;
#[cfg(feature = "defmt")]
pub mod frames;
pub mod handshakes;
pub mod journal;
pub mod log;
pub mod plan;
pub mod process;
pub mod proven;
pub mod say;
pub mod service;
pub mod shelf;
pub mod signal;
pub mod socket;
pub mod state;
pub mod store;
pub mod warnings;
