//! The merkle root of a block, from its coinbase and the branches beside it.
//!
//! A pool sends the branches instead of the transactions. The coinbase is always the first leaf, so
//! each branch is the right-hand neighbour on the way up. Branches arrive in the order and byte
//! order in which they are hashed; they are **not** reversed, unlike the hashes in block explorers.
//! The parser bounds their number ([`MERKLE_BRANCHES_MAX`](crate::limits::MERKLE_BRANCHES_MAX)).
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::merkle::{self, MerkleRoot};
//! use loka_stratum::work::sha256d::sha256d;
//!
//! let coinbase = sha256d(b"a coinbase");
//! assert_eq!(merkle::root(coinbase, &[]), MerkleRoot(coinbase), "a block of one transaction");
//!
//! let branch = sha256d(b"another transaction");
//! let both = [coinbase, branch];
//! assert_eq!(merkle::root(coinbase, &[branch]), MerkleRoot(sha256d(both.as_flattened())));
//! ```

use super::sha256d::{DIGEST_BYTES, node_hash};

/// A merkle root, in the byte order of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MerkleRoot(pub [u8; DIGEST_BYTES]);

/// Returns the root over the coinbase's hash and the `branches`, lowest first.
///
/// Three compressions per branch.
pub fn root(coinbase_hash: [u8; DIGEST_BYTES], branches: &[[u8; DIGEST_BYTES]]) -> MerkleRoot {
    MerkleRoot(branches.iter().fold(coinbase_hash, |left, right| node_hash(&left, right)))
}
