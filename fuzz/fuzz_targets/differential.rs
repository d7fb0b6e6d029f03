//! Our readers of JSON and hex, compared with others.
//!
//! The body is shared with `tests/fuzz_corpora.rs`.
#![no_main]

#[path = "../bodies/differential.rs"]
mod differential;

libfuzzer_sys::fuzz_target!(|data: &[u8]| differential::run(data));
