//! The process under faults: slow, many, deaf or vanished peers, pools that come and go, a system
//! without free resources. F43 to F72, as far as they concern the process; `abuse.rs` has the cases
//! of a single session.
//!
//! The slow tests run in parallel, so the whole takes about as long as the longest.
#![cfg(feature = "lab")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

#[path = "process_fire/clock.rs"]
mod clock;
#[path = "clock/mod.rs"]
mod clocks;
#[path = "process_fire/disk.rs"]
mod disk;
#[path = "disk/mod.rs"]
mod disks;
#[path = "gateway/mod.rs"]
mod gateway;
mod lab;
#[path = "process_fire/names.rs"]
mod names;
#[path = "process_fire/network.rs"]
mod network;
#[path = "process_fire/peers.rs"]
mod peers;
#[path = "process_fire/pools.rs"]
mod pools;
mod skips;
#[path = "process_fire/system.rs"]
mod system;

use std::fs;
use std::time::Duration;

use gateway::Gateway;

/// CPU time of a gateway.
fn cpu_time(gateway: &Gateway) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", gateway.id())).unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Private memory of a gateway, in KiB, without the program's pages, which the system may drop.
fn memory_kib(gateway: &Gateway) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The sum of counts by a name.
fn sum(counts: &serde_json::Value) -> u64 {
    counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}
