//! The whole engine by operations; the ledger is checked after each.
//!
//! The body is shared with `tests/fuzz_corpora.rs`.
#![no_main]

#[path = "../bodies/proxy_ops.rs"]
mod proxy_ops;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_ops::run(data));
