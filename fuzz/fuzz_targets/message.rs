//! Lines of both sides: read, written, read the same.
//!
//! The body is shared with `tests/fuzz_corpora.rs`.
#![no_main]

#[path = "../bodies/message.rs"]
mod message;

libfuzzer_sys::fuzz_target!(|data: &[u8]| message::run(data));
