//! The engine of Loka Stratum: hundreds to thousands of Stratum V1 miners, one link to the pool.
//!
//! This library decides everything that needs no socket, clock, thread or heap. It takes bytes and
//! `now`, and returns bytes, handles and the next deadline. The binary beside it (`src/main.rs`,
//! `src/gateway`) does the rest. `docs/ARCHITECTURE.md` draws both.
//!
//! # Where things live, in reading order
//!
//! | module | contents |
//! | --- | --- |
//! | [`limits`] | how many, how long, how big, and why that number |
//! | [`time`] | instants and durations that cannot overflow |
//! | [`wire`] | bytes to typed messages and back: framing, JSON, hex, every Stratum V1 method |
//! | [`work`] | the data that is hashed: coinbase, merkle root, header, target, job, share |
//! | [`ledger`] | the bucket of every submit, and the sums that always agree |
//! | [`vardiff`] | the difficulty of each miner |
//! | [`personality`] | known firmware and its limits |
//! | [`identity`] | the names that shares are submitted under |
//! | [`downstream`] | one miner's connection |
//! | [`offenders`] | addresses that broke the protocol lately |
//! | [`table`] | all miners in a fixed table, and the ids that keep their search spaces apart |
//! | [`seen`] | the accepted shares, so that none is accepted twice |
//! | [`pending`] | shares on their way to a pool |
//! | [`blocks`] | block candidates that must outlive link and process |
//! | [`upstream`] | one link to a pool |
//! | [`words`] | pools' texts for people, bounded and with nothing hidden |
//! | [`refusals`] | whether a pool pays for its shares |
//! | [`health`] | how well a link serves, and whether its pool is trusted |
//! | [`split`] | the division of the farm's work among goals |
//! | [`links`] | the assignment of pools to miners, and its changes |
//! | [`proxy`] | the engine as its owner sees it, and the order of calls |
//! | [`settings`] | the operator's settings, and their checks, the same for every source |
//! | [`control`] | the operator's requests, independent of the transport |
//! | [`console`] | a terminal's bytes to requests, and answers for people to read |
//! | [`frame`] | the same for programs, over a line that may lose and flip bits |
//!
//! # The one idea
//!
//! A miner never sees the pool's extranonce1. It is told `coinb1 ‖ E1 ‖ pad` as `coinb1` and its
//! own id as extranonce1. So nothing it was told changes with the pool: failover, reconnect and a
//! new extranonce1 cost one notify. The notify has the same bytes for every miner, and no miner is
//! disconnected because of the WAN (`docs/adr/0003-invisible-upstream.md`).
//!
//! # Features
//!
//! None is needed: `cargo build --lib --no-default-features` is the engine alone, `no_std`, without
//! `alloc`. `defmt` derives `defmt::Format` for the engine's reports. `canary` plants defects for
//! the simulator to find, and is for its test only.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// No peer's input reaches a panic or a wrap-around (E5). Exceptions state their reason in place.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used,
    )
)]

#[cfg(test)]
extern crate std;

pub mod blocks;
#[cfg(feature = "canary")]
pub mod canary;
pub mod console;
pub mod control;
pub mod downstream;
pub mod frame;
pub mod health;
pub mod identity;
pub mod ledger;
pub mod limits;
pub mod links;
pub mod offenders;
pub mod pending;
pub mod personality;
pub mod proxy;
pub mod refusals;
pub mod seen;
pub mod settings;
pub mod split;
pub mod table;
pub mod time;
pub mod upstream;
pub mod vardiff;
pub mod visible;
pub mod wire;
pub mod words;
pub mod work;
