//! Makes signatures: `xtask` signs updates with it, and so do the tests. The gateway never signs.
//!
//! A secret key's file is minisign's without a password (`minisign -G -W`).

use std::fmt;

use base64ct::{Base64, Encoding};
use blake2::{Blake2b512, Digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A signing key.
pub struct SecretKey {
    id: [u8; 8],
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

/// Why a file is not a usable signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKeyError {
    /// It is not a minisign secret key.
    Form,
    /// It is locked with a password.
    Locked,
}

/// The bytes before the key: ed25519, no password, BLAKE2b; then an empty salt and costs. The
/// checksum behind the key is zero too.
const HEAD: &[u8; 6] = b"Ed\0\0B2";
const HEAD_BYTES: usize = 6 + 32 + 16;
const FILE_BYTES: usize = HEAD_BYTES + 8 + 64 + 32;

impl SecretKey {
    /// Builds a key from random bytes.
    pub fn new(id: [u8; 8], seed: &[u8; 32]) -> Self {
        // Every seed of this length is a valid key.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        let pair = pair.unwrap_or_else(|error| unreachable!("{error}"));
        Self { id, seed: *seed, pair }
    }

    /// Parses a key's file.
    ///
    /// # Errors
    ///
    /// It is not a key, or it is locked.
    #[cfg_attr(test, allow(dead_code, reason = "xtask reads keys"))]
    pub fn parse(text: &str) -> Result<Self, SecretKeyError> {
        let line = text.lines().nth(1).unwrap_or_default();
        let bytes = Base64::decode_vec(line).map_err(|_| SecretKeyError::Form)?;
        if bytes.len() != FILE_BYTES || bytes.get(..2) != Some(b"Ed") {
            return Err(SecretKeyError::Form);
        }
        if bytes.get(..6) != Some(HEAD) {
            return Err(SecretKeyError::Locked);
        }
        let id = bytes.get(HEAD_BYTES..).and_then(|rest| rest.first_chunk::<8>());
        let seed = bytes.get(HEAD_BYTES + 8..).and_then(|rest| rest.first_chunk::<32>());
        let (Some(id), Some(seed)) = (id, seed) else { return Err(SecretKeyError::Form) };
        let key = Self::new(*id, seed);
        let public = bytes.get(HEAD_BYTES + 40..HEAD_BYTES + 72);
        if public == Some(key.pair.public_key().as_ref()) {
            Ok(key)
        } else {
            Err(SecretKeyError::Form)
        }
    }

    /// Returns the secret key's file.
    #[cfg_attr(test, allow(dead_code, reason = "xtask writes keys"))]
    pub fn secret_file(&self) -> String {
        let line = Base64::encode_string(&self.file_bytes());
        format!("untrusted comment: minisign secret key {}\n{line}\n", self.name())
    }

    /// Returns the public key's file.
    pub fn public_file(&self) -> String {
        let line = [&b"Ed"[..], &self.id, self.pair.public_key().as_ref()].concat();
        let line = Base64::encode_string(&line);
        format!("untrusted comment: minisign public key {}\n{line}\n", self.name())
    }

    /// Signs bytes and a comment: returns the four lines.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(&Blake2b512::digest(bytes));
        let with_comment = [signature.as_ref(), comment.as_bytes()].concat();
        let of_comment = Base64::encode_string(self.pair.sign(&with_comment).as_ref());
        let line = [&b"ED"[..], &self.id, signature.as_ref()].concat();
        let line = Base64::encode_string(&line);
        let first = format!("untrusted comment: signature from key {}", self.name());
        format!("{first}\n{line}\ntrusted comment: {comment}\n{of_comment}\n")
    }

    fn file_bytes(&self) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        bytes.resize(HEAD_BYTES, 0);
        bytes.extend([&self.id[..], &self.seed, self.pair.public_key().as_ref()].concat());
        bytes.resize(FILE_BYTES, 0);
        bytes
    }

    fn name(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.id))
    }
}

impl fmt::Display for SecretKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("got no secret key, allowed one of minisign -G -W"),
            Self::Locked => f.write_str(
                "got a key with a password, allowed one without; minisign -C -W takes it off",
            ),
        }
    }
}

impl std::error::Error for SecretKeyError {}
