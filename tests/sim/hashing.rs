//! The arithmetic of a share, implemented again without the engine's `work`.
//!
//! Miners hash and pools judge with it. So an error in the engine's chain from coinbase to hash
//! appears as a share that no miner made.

use sha2::{Digest, Sha256};

/// A job's fixed parts, in the byte order of the header.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub coinb1: Vec<u8>,
    pub coinb2: Vec<u8>,
    pub branches: Vec<[u8; 32]>,
    pub prev_hash: [u8; 32],
    pub version: u32,
    pub nbits: u32,
    pub ntime: u32,
}

/// Hashes twice.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The merkle root over a coinbase whose extranonces are `middle`.
pub fn merkle_root(parts: &Parts, middle: &[&[u8]]) -> [u8; 32] {
    let mut coinbase = parts.coinb1.clone();
    middle.iter().for_each(|part| coinbase.extend_from_slice(part));
    coinbase.extend_from_slice(&parts.coinb2);
    parts.branches.iter().fold(sha256d(&coinbase), |left, right| {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&left);
        pair[32..].copy_from_slice(right);
        sha256d(&pair)
    })
}

/// A header without its nonce: the constant part is hashed once.
#[derive(Clone)]
pub struct Header {
    head: Sha256,
    tail: [u8; 16],
}

impl Header {
    pub fn new(parts: &Parts, root: &[u8; 32], version: u32, ntime: u32) -> Self {
        let mut head = [0; 64];
        head[..4].copy_from_slice(&version.to_le_bytes());
        head[4..36].copy_from_slice(&parts.prev_hash);
        head[36..].copy_from_slice(&root[..28]);
        let mut tail = [0; 16];
        tail[..4].copy_from_slice(&root[28..]);
        tail[4..8].copy_from_slice(&ntime.to_le_bytes());
        tail[8..12].copy_from_slice(&parts.nbits.to_le_bytes());
        Self { head: Sha256::new_with_prefix(head), tail }
    }

    /// The hash with this nonce.
    pub fn hash(&self, nonce: u32) -> Hash {
        let mut tail = self.tail;
        tail[12..].copy_from_slice(&nonce.to_le_bytes());
        Hash(Sha256::digest(self.head.clone().chain_update(tail).finalize()).into())
    }
}

/// A block hash, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Half of it, its key in the books.
    pub fn key(&self) -> u64 {
        u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| self.0[at]))
    }

    /// The number, most significant 16 bytes.
    fn top(&self) -> u128 {
        let mut top = [0; 16];
        top.copy_from_slice(&self.0[16..]);
        u128::from_le_bytes(top)
    }

    /// Its difficulty, relative to difficulty 1, `0xffff << 208`.
    pub fn difficulty(&self) -> f64 {
        // Both numbers without their low 128 bits.
        (0xffff_u128 << 80) as f64 / self.top() as f64
    }

    /// Whether it is a block for this compact target, whose exponent is above 18.
    pub fn is_block(&self, nbits: u32) -> bool {
        let shift = 8 * (nbits >> 24) - 8 * 3 - 128;
        self.top() < u128::from(nbits & 0x7f_ffff) << shift
    }
}

/// Swaps the byte order of the words of a `prevhash` in a notify.
pub fn words_reversed(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.chunks_mut(4).for_each(<[u8]>::reverse);
    bytes
}
