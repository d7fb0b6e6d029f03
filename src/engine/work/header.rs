//! The 80 bytes of a block header, and their hash.
//!
//! A header is six values in a fixed order, numbers least significant byte first. **It does not**
//! judge a header: its hash is compared with a [`Target`](super::target::Target) elsewhere.
//!
//! A 32-byte hash has three byte orders; this module keeps the order of the hash function:
//!
//! | where | order of the previous block's hash |
//! | --- | --- |
//! | in the header, and in [`PrevHash`] | as sha256d gave it |
//! | in `mining.notify` | each group of 4 bytes reversed |
//! | what people read, and `Display` | all 32 bytes reversed |
//!
//! Source: the recorded headers in `tests/vectors`; the Stratum order from the notify captures
//! there, each of which hashes to a share that its pool accepted.
//!
//! # Examples
//!
//! The first block of all:
//!
//! ```
//! use loka_stratum::work::header::{BlockHash, Header, NTime, Nonce, PrevHash};
//! use loka_stratum::work::merkle::MerkleRoot;
//! use loka_stratum::work::target::NBits;
//! use loka_stratum::work::version::Version;
//!
//! let header = Header {
//!     version: Version(1),
//!     prev_hash: PrevHash([0; 32]),
//!     merkle_root: MerkleRoot([
//!         0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b, 0x12, 0xb2, 0x7a, 0xc7, 0x2c, 0x3e, 0x67, 0x76,
//!         0x8f, 0x61, 0x7f, 0xc8, 0x1b, 0xc3, 0x88, 0x8a, 0x51, 0x32, 0x3a, 0x9f, 0xb8, 0xaa,
//!         0x4b, 0x1e, 0x5e, 0x4a,
//!     ]),
//!     ntime: NTime(0x495f_ab29),
//!     nbits: NBits(0x1d00_ffff),
//!     nonce: Nonce(0x7c2b_ac1d),
//! };
//! assert_eq!(Header::from_bytes(&header.to_bytes()), header);
//! assert_eq!(
//!     header.hash().to_string(),
//!     "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
//! );
//! ```

use core::{fmt, mem};

use super::merkle::MerkleRoot;
use super::sha256d::{self, BLOCK_BYTES, DIGEST_BYTES, HEADER_BYTES, Midstate};
use super::target::NBits;
use super::version::Version;

/// A header's time, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NTime(pub u32);

/// A header's nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Nonce(pub u32);

/// The hash of a header, in the order in which sha256d gives it: a number of 256 bits, least
/// significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BlockHash(pub [u8; DIGEST_BYTES]);

/// The hash of the previous block, in the byte order of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PrevHash(pub [u8; DIGEST_BYTES]);

/// A block header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The version, with the miner's bits in it.
    pub version: Version,
    /// The hash of the previous block.
    pub prev_hash: PrevHash,
    /// The root of the transactions.
    pub merkle_root: MerkleRoot,
    /// The time.
    pub ntime: NTime,
    /// The network's target in short form.
    pub nbits: NBits,
    /// The nonce.
    pub nonce: Nonce,
}

impl PrevHash {
    /// Reads the 32 bytes of a `mining.notify`, in which each group of 4 is reversed.
    #[must_use]
    pub fn from_stratum(bytes: &[u8; DIGEST_BYTES]) -> Self {
        Self(words_reversed(bytes))
    }

    /// Writes the 32 bytes of a `mining.notify`: the reverse of [`Self::from_stratum`].
    #[must_use]
    pub fn to_stratum(self) -> [u8; DIGEST_BYTES] {
        words_reversed(&self.0)
    }
}

impl From<BlockHash> for PrevHash {
    /// A found block is the next block's previous one.
    fn from(hash: BlockHash) -> Self {
        Self(hash.0)
    }
}

impl Header {
    /// Returns the 80 bytes that are hashed.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, self.version.0.to_le_bytes());
        put(&mut rest, self.prev_hash.0);
        put(&mut rest, self.merkle_root.0);
        put(&mut rest, self.ntime.0.to_le_bytes());
        put(&mut rest, self.nbits.0.to_le_bytes());
        put(&mut rest, self.nonce.0.to_le_bytes());
        bytes
    }

    /// Reads a header's 80 bytes; any 80 bytes are one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            version: Version(u32::from_le_bytes(take(&mut rest))),
            prev_hash: PrevHash(take(&mut rest)),
            merkle_root: MerkleRoot(take(&mut rest)),
            ntime: NTime(u32::from_le_bytes(take(&mut rest))),
            nbits: NBits(u32::from_le_bytes(take(&mut rest))),
            nonce: Nonce(u32::from_le_bytes(take(&mut rest))),
        }
    }

    /// Returns the header's hash; three compressions.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(sha256d::header_hash(&self.to_bytes()))
    }

    /// Returns the state after the header's first 64 bytes: the version, the previous hash and
    /// 28 bytes of the merkle root. One compression.
    ///
    /// It serves code that tries many nonces on one header; a share has a merkle root of its own.
    #[must_use]
    pub fn midstate(&self) -> Midstate {
        let mut midstate = Midstate::new();
        let bytes = self.to_bytes();
        let (first, _) = bytes.as_chunks::<BLOCK_BYTES>();
        midstate.absorb(first);
        midstate
    }

    /// Returns the header's hash, given its [`midstate`](Self::midstate); two compressions.
    ///
    /// Only ntime, nbits and nonce may have changed since.
    ///
    /// # Panics
    ///
    /// Panics where `midstate` took anything else than one block.
    #[must_use]
    pub fn hash_from(&self, midstate: &Midstate) -> BlockHash {
        let bytes = self.to_bytes();
        let mut end = bytes.get(BLOCK_BYTES..).unwrap_or_default();
        BlockHash(midstate.header_hash(&take(&mut end)))
    }
}

impl fmt::Display for BlockHash {
    /// Writes 64 digits, most significant first, as block explorers do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_reversed(&self.0, f)
    }
}

impl fmt::Display for PrevHash {
    /// Writes 64 digits, most significant first, as block explorers do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_reversed(&self.0, f)
    }
}

/// Writes `bytes` as hex, the last byte first.
fn write_reversed(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reverses the bytes of each 32-bit word.
fn words_reversed(bytes: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
    let mut bytes = *bytes;
    let (words, _) = bytes.as_chunks_mut::<4>();
    words.iter_mut().for_each(|word| word.reverse());
    bytes
}

/// Writes `bytes` at the start of `rest`; nothing where they do not fit, which no caller lets
/// happen.
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((to, after)) = mem::take(rest).split_first_chunk_mut::<N>() {
        *to = bytes;
        *rest = after;
    }
}

/// Takes the first `N` bytes of `rest`; zeros where it is shorter, which no caller lets happen.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((taken, after)) => {
            *rest = after;
            *taken
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: Version(0x2000_0004),
            prev_hash: PrevHash(core::array::from_fn(|i| i as u8)),
            merkle_root: MerkleRoot(core::array::from_fn(|i| 0x80 | i as u8)),
            ntime: NTime(0x0102_0304),
            nbits: NBits(0x1702_3774),
            nonce: Nonce(0xdead_beef),
        }
    }

    #[test]
    fn bytes_go_there_and_back() {
        let bytes = header().to_bytes();
        assert_eq!(bytes[..5], [4, 0, 0, 0x20, 0]);
        assert_eq!(bytes[68..], [4, 3, 2, 1, 0x74, 0x37, 2, 0x17, 0xef, 0xbe, 0xad, 0xde]);
        assert_eq!(Header::from_bytes(&bytes), header());
    }

    #[test]
    fn a_midstate_serves_other_nonces() {
        let midstate = header().midstate();
        for nonce in 0..100 {
            let header = Header { nonce: Nonce(nonce), ntime: NTime(nonce), ..header() };
            assert_eq!(header.hash_from(&midstate), header.hash());
        }
    }

    #[test]
    fn stratum_reverses_each_word_of_the_previous_hash() {
        let stratum = header().prev_hash.to_stratum();
        assert_eq!(stratum[..8], [3, 2, 1, 0, 7, 6, 5, 4]);
        assert_eq!(PrevHash::from_stratum(&stratum), header().prev_hash);
    }
}
