//! The gateway: everything around the engine that needs an operating system.
//!
//! One thread, one event loop. Its tasks carry bytes between sockets and the shared engine
//! ([`hub::Hub`]); the engine decides everything. The tasks:
//!
//! | task | work |
//! | --- | --- |
//! | `listen` | accepts miners' connections; one per address |
//! | `miner` | reads a miner and sends its answers; one per miner |
//! | `pump` | serves the engine's deadlines, and the work left by calls |
//! | `fanout` | sends a new job to all miners |
//! | `admission` | hashes miners' passwords, one at a time |
//! | `mdns` | publishes the gateway's name on the network |
//! | `link` | dials a pool and carries its lines; one per link |
//! | `http` | serves the status port and the page; one per request |
//! | `serial` | serves the serial line: console, and frames for tools |
//! | `update::trial` | judges a new system after an update |
//!
//! Around them: `board` (capacities), `config` (file, environment, flags), `dial` (name, TCP, TLS),
//! `crowd` (addresses at their limit), `probe` (pool tests), `store` and `journal` on `disk` (state
//! files, written by `disk::thread` and used through a `shelf`), `event_loop` (its rules),
//! `handshakes` (TLS, beside it), `watch` (liveness signals), `button` (reset), `report` (status),
//! `log` and its compact form on flash (`frames`), `clock` (the only clock), `process`.
//!
//! Exit codes: 0 after a clean end; 1 if the gateway could not start or the answer is bad news; 2
//! for wrong flags or settings.

pub mod access;
pub mod args;
pub mod base;
mod boards;
mod doors;
pub mod observe;
mod operate;
mod runtime;
pub mod update;
mod wiring;

pub use wiring::{check, run};
