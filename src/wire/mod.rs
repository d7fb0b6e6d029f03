//! (skeleton) Stratum V1 on the wire.
pub mod client;
pub mod error_code;
pub mod hex;
pub mod id;
pub mod json;
pub mod line;
pub mod server;
pub mod text;
pub mod writer;
