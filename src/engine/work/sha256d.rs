//! SHA-256 applied twice: the hash of Bitcoin's coinbases, merkle trees and headers.
//!
//! It calls the block function of `sha2` directly, for three reasons. The state after a job's
//! constant bytes can be kept ([`Midstate`], [`Sha256d`]) and continued for each share. The padding
//! of frequent lengths (a digest, a merkle node, a header) is computed beforehand. The second hash
//! is always one block. `sha2` picks the CPU's SHA instructions at run time, if there are any.
//!
//! **It does not** compute single SHA-256 or other digests, or run in constant time: nothing hashed
//! here is secret.
//!
//! **Cost.** Each function states how often it runs the block function, since that takes nearly all
//! of its time.
//!
//! # Examples
//!
//! ```
//! use loka_stratum::work::sha256d::{Sha256d, sha256d};
//!
//! let mut hash = Sha256d::new();
//! hash.update(b"hel");
//! let kept = hash; // continues from here as often as needed
//! hash.update(b"lo");
//! assert_eq!(hash.finish(), sha256d(b"hello"));
//! assert_eq!(kept.finish(), sha256d(b"hel"));
//! ```
//!
//! Source: FIPS 180-4, sections 5.1.1 (padding), 5.3.3 (initial state), 6.2 (block function).

use sha2::block_api::compress256;

/// Bytes that the block function takes at once.
pub const BLOCK_BYTES: usize = 64;

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;

/// Bytes of a block header.
pub const HEADER_BYTES: usize = 80;

/// Bytes at a message's end that state its length in bits.
const LENGTH_BYTES: usize = 8;

/// The first byte after a message.
const END_MARK: u8 = 0x80;

/// The state before the first block.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The block that ends a message of exactly one block (a merkle node's two hashes).
const AFTER_ONE_BLOCK: [u8; BLOCK_BYTES] = padding::<0>(BLOCK_BYTES as u64);

/// The last block of a digest, with room for the digest.
const AFTER_DIGEST: [u8; BLOCK_BYTES] = padding::<DIGEST_BYTES>(DIGEST_BYTES as u64);

/// The last block of a header, with room for its last 16 bytes.
const AFTER_HEADER: [u8; BLOCK_BYTES] =
    padding::<{ HEADER_BYTES - BLOCK_BYTES }>(HEADER_BYTES as u64);

/// Builds the last block of a message of `message_bytes`, `USED` of which lie in that block.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time only")]
#[expect(clippy::arithmetic_side_effects, reason = "evaluated at compile time only")]
const fn padding<const USED: usize>(message_bytes: u64) -> [u8; BLOCK_BYTES] {
    assert!(USED < BLOCK_BYTES - LENGTH_BYTES, "the length needs a block of its own");
    let mut block = [0; BLOCK_BYTES];
    block[USED] = END_MARK;
    let length = (message_bytes * 8).to_be_bytes();
    let mut at = 0;
    while at < LENGTH_BYTES {
        block[BLOCK_BYTES - LENGTH_BYTES + at] = length[at];
        at += 1;
    }
    block
}

/// The state of the first hash after whole blocks.
///
/// Shares with the same first blocks start here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Midstate {
    state: [u32; 8],
    /// Bytes taken so far, a multiple of [`BLOCK_BYTES`].
    bytes: u64,
}

impl Midstate {
    /// The state before any block.
    pub const fn new() -> Self {
        Self { state: START, bytes: 0 }
    }

    /// Returns the bytes taken so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes whole blocks; one compression each.
    pub fn absorb(&mut self, blocks: &[[u8; BLOCK_BYTES]]) {
        compress256(&mut self.state, blocks);
        self.bytes = self.bytes.wrapping_add(blocks.as_flattened().len() as u64);
    }

    /// Returns the hash of a header whose first 64 bytes this state took; two compressions.
    ///
    /// `end` holds the header's last 16 bytes.
    ///
    /// # Panics
    ///
    /// Panics if this state took anything other than one block.
    pub fn header_hash(&self, end: &[u8; HEADER_BYTES - BLOCK_BYTES]) -> [u8; DIGEST_BYTES] {
        assert_eq!(self.bytes, BLOCK_BYTES as u64, "a header's first block");
        let mut state = self.state;
        compress256(&mut state, &[filled(&AFTER_HEADER, end)]);
        second_hash(&state)
    }
}

impl Default for Midstate {
    fn default() -> Self {
        Self::new()
    }
}

/// A message on its way through the first hash, in pieces of any length.
///
/// It is `Copy`: a copy continues on its own, so a job's constant part can be kept.
#[derive(Clone, Copy, Debug)]
pub struct Sha256d {
    midstate: Midstate,
    /// The bytes after the last whole block; those from `tail_bytes` on are zero.
    tail: [u8; BLOCK_BYTES],
    /// Below [`BLOCK_BYTES`].
    tail_bytes: u8,
}

impl Sha256d {
    /// Starts an empty message.
    pub const fn new() -> Self {
        Self { midstate: Midstate::new(), tail: [0; BLOCK_BYTES], tail_bytes: 0 }
    }

    /// Returns the bytes of the message so far.
    pub fn bytes(&self) -> u64 {
        self.midstate.bytes.wrapping_add(u64::from(self.tail_bytes))
    }

    /// Appends `bytes` to the message; one compression for each block that becomes whole.
    pub fn update(&mut self, bytes: &[u8]) {
        let rest = if self.tail_bytes == 0 { bytes } else { self.fill_tail(bytes) };
        let (blocks, rest) = rest.as_chunks::<BLOCK_BYTES>();
        self.midstate.absorb(blocks);
        let over = self.fill_tail(rest);
        assert!(over.is_empty(), "less than a block always fits the tail");
    }

    /// Returns the message's sha256d; two compressions, three if the tail has more than 55 bytes.
    pub fn finish(&self) -> [u8; DIGEST_BYTES] {
        let length = self.bytes().wrapping_mul(8);
        let mut block = self.tail;
        if let Some(end) = block.get_mut(usize::from(self.tail_bytes)) {
            *end = END_MARK;
        }
        let mut state = self.midstate.state;
        if usize::from(self.tail_bytes) >= BLOCK_BYTES - LENGTH_BYTES {
            compress256(&mut state, &[block]);
            block = [0; BLOCK_BYTES];
        }
        if let Some(end) = block.last_chunk_mut() {
            *end = length.to_be_bytes();
        }
        compress256(&mut state, &[block]);
        second_hash(&state)
    }

    /// Copies the bytes that fit to the tail, and hashes the tail if it is full.
    ///
    /// Returns the bytes that did not fit.
    fn fill_tail<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let free = self.tail.get_mut(usize::from(self.tail_bytes)..).unwrap_or_default();
        let count = bytes.len().min(free.len());
        let (taken, rest) = bytes.split_at(count);
        let (place, still_free) = free.split_at_mut(count);
        place.copy_from_slice(taken);
        if still_free.is_empty() {
            self.midstate.absorb(&[self.tail]);
            self.tail = [0; BLOCK_BYTES];
            self.tail_bytes = 0;
        } else {
            self.tail_bytes = self.tail_bytes.wrapping_add(count as u8);
        }
        rest
    }
}

impl Default for Sha256d {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the sha256d of `bytes`; `bytes.len() / 64 + 2` compressions, one more if the last block
/// holds over 55 bytes.
pub fn sha256d(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256d::new();
    hash.update(bytes);
    hash.finish()
}

/// Returns the sha256d of two hashes side by side, a node of the merkle tree; three compressions.
pub fn node_hash(left: &[u8; DIGEST_BYTES], right: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
    let pair = [*left, *right];
    let (block, _) = pair.as_flattened().as_chunks::<BLOCK_BYTES>();
    let mut state = START;
    compress256(&mut state, block);
    compress256(&mut state, &[AFTER_ONE_BLOCK]);
    second_hash(&state)
}

/// Returns the sha256d of a block header; three compressions.
pub fn header_hash(header: &[u8; HEADER_BYTES]) -> [u8; DIGEST_BYTES] {
    let (first, end) = header.split_at(BLOCK_BYTES);
    let mut state = START;
    compress256(&mut state, &[filled(&[0; BLOCK_BYTES], first), filled(&AFTER_HEADER, end)]);
    second_hash(&state)
}

/// Returns the SHA-256 of the digest in `state`; one compression.
fn second_hash(state: &[u32; 8]) -> [u8; DIGEST_BYTES] {
    let mut second = START;
    compress256(&mut second, &[filled(&AFTER_DIGEST, &digest(state))]);
    digest(&second)
}

/// Writes a state's words as the bytes of a digest.
fn digest(state: &[u32; 8]) -> [u8; DIGEST_BYTES] {
    let mut bytes = [0; DIGEST_BYTES];
    let (words, _) = bytes.as_chunks_mut::<4>();
    for (to, word) in words.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    bytes
}

/// Returns `block` with `bytes` at its start.
fn filled(block: &[u8; BLOCK_BYTES], bytes: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = *block;
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// The same by `sha2`'s own digest, which shares the block function only.
    fn reference(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
        Sha256::digest(Sha256::digest(bytes)).into()
    }

    fn message(bytes: usize) -> std::vec::Vec<u8> {
        (0..bytes).map(|i| (i * 7 + 3) as u8).collect()
    }

    #[test]
    fn every_length_up_to_four_blocks_agrees() {
        for bytes in 0..=4 * BLOCK_BYTES {
            let message = message(bytes);
            assert_eq!(sha256d(&message), reference(&message), "{bytes} bytes");
        }
    }

    #[test]
    fn every_split_of_three_blocks_agrees() {
        let message = message(3 * BLOCK_BYTES - 5);
        for first in 0..message.len() {
            for second in [first, first + 1, first + 40, first + 64, first + 65] {
                let second = second.min(message.len());
                let mut hash = Sha256d::new();
                hash.update(&message[..first]);
                hash.update(&message[first..second]);
                hash.update(&message[second..]);
                assert_eq!(hash.bytes(), message.len() as u64);
                assert_eq!(hash.finish(), reference(&message), "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn short_cuts_agree_with_the_long_way() {
        let header: [u8; HEADER_BYTES] = message(HEADER_BYTES).try_into().unwrap();
        assert_eq!(header_hash(&header), reference(&header));

        let mut midstate = Midstate::new();
        let (first, end) = header.split_at(BLOCK_BYTES);
        midstate.absorb(&[first.try_into().unwrap()]);
        assert_eq!(midstate.bytes(), 64);
        assert_eq!(midstate.header_hash(end.try_into().unwrap()), reference(&header));

        let node: [u8; BLOCK_BYTES] = message(BLOCK_BYTES).try_into().unwrap();
        let (left, right) = node.split_at(DIGEST_BYTES);
        let hash = node_hash(left.try_into().unwrap(), right.try_into().unwrap());
        assert_eq!(hash, reference(&node));
    }
}
