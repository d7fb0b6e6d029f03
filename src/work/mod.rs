//! (skeleton) Work: values and arithmetic, no sessions.
pub mod coinbase;
pub mod difficulty;
pub mod extranonce;
pub mod header;
pub mod merkle;
pub mod sha256d;
pub mod target;
pub mod version;
