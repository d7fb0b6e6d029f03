//! The framer: any split of a stream gives the same lines.
//!
//! The body is shared with `tests/fuzz_corpora.rs`.
#![no_main]

#[path = "../bodies/line.rs"]
mod line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| line::run(data));
