//! Stratum V1 on the wire: bytes to typed messages and back.
//!
//! Read in this order. [`mod@line`] cuts a stream into bounded lines. [`json`] finds a line's
//! values in one pass and checks the JSON. [`client`] types lines from miners, [`server`] lines
//! from pools. [`encode`] writes every line of either side into a [`writer`]. [`text`], [`id`] and
//! [`hex`] are the fields, and [`message`] is common to both directions. [`error_code`] holds the
//! codes of refusals, and [`guess`] names protocols other than Stratum.
//!
//! The module knows no session, no job and no clock. It borrows from the line, copies nothing
//! and allocates nothing.
//!
//! Invariants:
//! - no input panics, and work is linear in its length;
//! - a line is read whole or refused with a position and a limit, never partly;
//! - where two readings are possible the line is refused; the exceptions are forms that real
//!   firmware and pools send, each named where it is read;
//! - a value that is echoed (ids, job ids) keeps its bytes;
//! - a written line stays one line, whatever a name holds.
//!
//! Stratum V1 has no standard. The sources are BIP-0310, the specifications of NiceHash, the
//! sources of ckpool, cgminer and ESP-Miner, and recorded sessions.
//!
//! ```
//! use loka_stratum::wire::client::{self, Request};
//! use loka_stratum::wire::line::Framer;
//! use loka_stratum::wire::{encode, writer::Writer};
//!
//! let mut input = &b"{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\r\n"[..];
//! let (mut framer, mut rest) = (Framer::default(), [0; 4096]);
//! let mut reply = [0; 64];
//! let mut out = Writer::new(&mut reply);
//! while let Some(line) = framer.next_line(&mut rest, &mut input)? {
//!     match client::parse(line) {
//!         Ok(message) if matches!(message.request, Request::Ping) => {
//!             encode::pong(message.id, &mut out)?;
//!         }
//!         other => panic!("{other:?}"),
//!     }
//! }
//! assert_eq!(out.as_slice(), b"{\"id\":1,\"result\":\"pong\",\"error\":null}\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod client;
pub mod encode;
pub mod error_code;
pub mod guess;
pub mod hex;
pub mod id;
pub mod json;
pub mod line;
pub mod message;
mod scanner;
pub mod server;
mod swar;
pub mod text;
pub mod writer;
