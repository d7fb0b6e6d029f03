//! Work as values: from a job's bytes to a share's verdict.
//!
//! The chain of a share, each step in the module named:
//!
//! ```text
//! coinb1 ‖ E1 ‖ pad │ miner id ‖ roll │ coinb2     coinbase, extranonce
//!                   └── sha256d ──┐
//! branches ───────────────────────┴─▶ merkle root  merkle
//! version (rolled within the mask) ‖ prev hash ‖ merkle root ‖ ntime ‖ nbits ‖ nonce
//!                   └── sha256d ──▶ block hash     version, header, sha256d
//! block hash <= target of the difficulty, of nbits target, difficulty
//! ```
//!
//! **It does not** know a session, a clock, a message or hex text on the wire; a target's 64 digits
//! are the one exception. Nothing is judged here: the share check and the ledger act on the values.
//!
//! **Invariants.** All arithmetic that decides about a share is on integers and exact: no
//! floating-point operation stands between a difficulty and its target, or between a hash and
//! its comparison. Nothing allocates, nothing panics on any input, and every function's work is
//! bounded by the lengths in [`limits`](crate::limits).
//!
//! **Byte orders.** Bytes are kept as they are hashed. For the 32-byte hashes people read the
//! reverse (block explorers, pool logs), which only `Display` writes. Stratum has a third order for
//! the previous block's hash, which [`PrevHash::from_stratum`](header::PrevHash::from_stratum)
//! undoes. A 32-bit number is a `u32` everywhere; Stratum writes it as 8 digits, most significant
//! first.
//!
//! **Sources.** BIP-0310 and BIP-0320 (version rolling), Bitcoin's `arith_uint256::SetCompact`
//! (nbits), and recorded jobs and blocks whose every intermediate value `tests/vectors.rs`
//! recomputes.
//!
//! # Examples
//!
//! The header of block 125552, from its parts to the network's verdict:
//!
//! ```
//! use loka_stratum::work::header::{Header, NTime, Nonce, PrevHash};
//! use loka_stratum::work::merkle::MerkleRoot;
//! use loka_stratum::work::target::{NBits, Target};
//! use loka_stratum::work::version::Version;
//!
//! let header = Header {
//!     version: Version(1),
//!     prev_hash: PrevHash([
//!         0x81, 0xcd, 0x02, 0xab, 0x7e, 0x56, 0x9e, 0x8b, 0xcd, 0x93, 0x17, 0xe2, 0xfe, 0x99,
//!         0xf2, 0xde, 0x44, 0xd4, 0x9a, 0xb2, 0xb8, 0x85, 0x1b, 0xa4, 0xa3, 0x08, 0, 0,
//!         0, 0, 0, 0,
//!     ]),
//!     merkle_root: MerkleRoot([
//!         0xe3, 0x20, 0xb6, 0xc2, 0xff, 0xfc, 0x8d, 0x75, 0x04, 0x23, 0xdb, 0x8b, 0x1e, 0xb9,
//!         0x42, 0xae, 0x71, 0x0e, 0x95, 0x1e, 0xd7, 0x97, 0xf7, 0xaf, 0xfc, 0x88, 0x92, 0xb0,
//!         0xf1, 0xfc, 0x12, 0x2b,
//!     ]),
//!     ntime: NTime(0x4dd7_f5c7),
//!     nbits: NBits(0x1a44_b9f2),
//!     nonce: Nonce(0x9546_a142),
//! };
//! let hash = header.hash();
//! assert_eq!(
//!     hash.to_string(),
//!     "00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d"
//! );
//! assert!(Target::from_nbits(header.nbits)?.is_met_by(hash));
//! # Ok::<(), loka_stratum::work::target::NBitsError>(())
//! ```
pub mod coinbase;
pub mod difficulty;
pub mod extranonce;
pub mod header;
pub mod job;
pub mod merkle;
pub mod sha256d;
pub mod share;
pub mod target;
pub mod version;
