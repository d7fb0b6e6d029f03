//! Settings from any text, and back.
//!
//! The body is shared with `tests/fuzz_corpora.rs`.
#![no_main]

#[path = "../bodies/settings.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| settings::run(data));
