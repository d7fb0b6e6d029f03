//! The hash of a coinbase that is the same for every share except a few bytes.
//!
//! ```text
//! coinb1 ‖ E1 ‖ pad │ miner id ‖ roll │ coinb2
//! ─── the prefix ───  ── a share's ──   ── the job's ──
//! ```
//!
//! [`CoinbasePrefix`] hashes the bytes before a share's own once per job; a share then costs the
//! blocks from its own bytes on. **It does not** parse a coinbase: the pool may put anything in it,
//! and a wrong one only makes a wrong hash.
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::coinbase::CoinbasePrefix;
//! use loka_stratum::work::sha256d::sha256d;
//!
//! let (coinb1, extranonce1, pad) = ([1; 58], [2; 4], [0; 2]);
//! let prefix = CoinbasePrefix::new(&[&coinb1, &extranonce1, &pad]);
//! let middle = [3; 6]; // a miner's id and what it rolled
//! let coinb2 = [4; 120];
//!
//! let whole = [&coinb1[..], &extranonce1, &pad, &middle, &coinb2].concat();
//! assert_eq!(prefix.hash_with(&middle, &coinb2), sha256d(&whole));
//! ```

use super::sha256d::{DIGEST_BYTES, Sha256d};

/// The part of a coinbase before a miner's own bytes, hashed as far as whole blocks go.
#[derive(Clone, Copy, Debug)]
pub struct CoinbasePrefix {
    hash: Sha256d,
}

impl CoinbasePrefix {
    /// Hashes the whole 64-byte blocks of the `parts`, one after the other, and keeps the rest.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256d::new();
        parts.iter().for_each(|part| hash.update(part));
        Self { hash }
    }

    /// Returns the sha256d of the prefix, `middle` and `coinb2`.
    ///
    /// One compression for each block that begins after the prefix's whole blocks, and one for
    /// the second hash.
    #[must_use]
    pub fn hash_with(&self, middle: &[u8], coinb2: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hash = self.hash;
        hash.update(middle);
        hash.update(coinb2);
        hash.finish()
    }

    /// Returns the prefix's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.hash.bytes()
    }

    /// Says whether no bytes precede the miner's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
