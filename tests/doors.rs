//! Attacks on the ports: connections that never finish (F97), guesses from many addresses (F98),
//! and secrets in stored and displayed data (F99).
#![cfg(feature = "gateway")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

#[path = "web/client.rs"]
mod client;
mod gateway;
#[path = "doors/guesses.rs"]
mod guesses;
#[path = "doors/places.rs"]
mod places;
#[path = "web/tls.rs"]
mod tls;
