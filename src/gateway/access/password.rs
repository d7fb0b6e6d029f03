//! Passwords: hashed with Argon2id, one at a time, beside the event loop.
//!
//! A hash is a PHC string with its own cost, so hashes made on another board stay valid. The cost
//! follows the gateway's memory: less memory means more passes, so a guess costs about the same
//! work everywhere ([ADR 9](../../docs/adr/0009-web-access.md)). Hashes run one after the other: a
//! flood of guesses uses the memory of one hash, and the event loop goes on.
//!
//! That memory is allocated with the first hash, wiped and kept for the next. An allocator keeps
//! freed memory per thread, and hashes move between threads. The board's plan includes it.

use std::io;
use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::gateway::base::plan::{HASH_KIB_MAX, HASH_KIB_MIN, hash_kib};

/// Passes over the most memory: OWASP's choice for 7 MiB.
const PASSES_AT_MAX: u32 = 5;

/// Most passes of a stored hash: twice the passes at the least memory.
const PASSES_MAX: u32 = 2 * (HASH_KIB_MAX * PASSES_AT_MAX).div_ceil(HASH_KIB_MIN);

/// Bytes of the salt.
const SALT_BYTES: usize = 16;

/// Fewest and most bytes of a page password.
pub const WORD_BYTES_MIN: usize = 8;
pub const WORD_BYTES_MAX: usize = 128;

/// Hashes passwords, one at a time.
pub struct Passwords {
    params: Params,
    /// A hash that no password matches.
    nobodys: String,
    /// The only slot for a hash, with its memory. A running hash holds it even after its caller is
    /// gone.
    place: Arc<Mutex<Memory>>,
}

/// The memory of a hash.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Passwords {
    /// Chooses the cost by the gateway's whole memory, in bytes.
    ///
    /// # Errors
    ///
    /// None in practice: the library accepts every cost chosen here.
    pub fn new(gateway_bytes_max: u64) -> io::Result<Self> {
        let memory = hash_kib(gateway_bytes_max);
        let passes = (HASH_KIB_MAX * PASSES_AT_MAX).div_ceil(memory);
        let params = Params::new(memory, passes, 1, None).map_err(io::Error::other)?;
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        let nobodys = format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${hash}");
        Ok(Self { params, nobodys, place: Arc::default() })
    }

    /// Hashes a password with a new salt, as a PHC string.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes or not enough memory.
    pub async fn hash(&self, word: &str) -> io::Result<String> {
        let mut memory = self.place.clone().lock_owned().await;
        let (params, word) = (self.params.clone(), word.to_owned());
        let hash = move || {
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(io::Error::other)?;
            let output = memory.hash(&params, word.as_bytes(), &salt).map_err(io::Error::other)?;
            let hash = PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params).map_err(io::Error::other)?,
                salt: Some(Salt::new(&salt).map_err(io::Error::other)?),
                hash: Some(output),
            };
            Ok(hash.to_string())
        };
        spawn_blocking(hash).await.map_err(io::Error::other)?
    }

    /// Checks `word` against a hash. Hashes costlier than ours are rejected. Without a hash it
    /// answers no after the same time.
    pub async fn is_right(&self, word: &str, hash: Option<&str>) -> bool {
        let (is_any, hash) = (hash.is_some(), hash.unwrap_or(&self.nobodys));
        let mut memory = self.place.clone().lock_owned().await;
        let (own, word, hash) = (self.params.clone(), word.to_owned(), hash.to_owned());
        let check = move || {
            let is_right = memory.is_right(word.as_bytes(), &hash).unwrap_or(false);
            memory.keep(&own);
            is_right
        };
        spawn_blocking(check).await.unwrap_or(false) && is_any
    }
}

impl Memory {
    fn hash(&mut self, params: &Params, word: &[u8], salt: &[u8]) -> argon2::Result<Output> {
        let Self(blocks) = self;
        blocks.resize(blocks.len().max(params.block_count()), Block::new());
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        let result =
            hasher.hash_password_into_with_memory(word, salt, &mut output, &mut blocks[..]);
        blocks.fill(Block::new());
        result?;
        Output::new(&output).map_err(|_| argon2::Error::OutputTooShort)
    }

    /// Checks a word against a hash; `None` if the hash is of another kind or too costly.
    fn is_right(&mut self, word: &[u8], hash: &str) -> Option<bool> {
        let hash = PasswordHash::new(hash).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let is_ours = hash.algorithm == Algorithm::Argon2id.ident()
            && hash.version == Some(Version::V0x13.into())
            && params.m_cost() <= HASH_KIB_MAX
            && params.t_cost() <= PASSES_MAX
            && params.p_cost() == 1
            && params.output_len() == Some(Params::DEFAULT_OUTPUT_LEN);
        if !is_ours {
            return None;
        }
        let output = self.hash(&params, word, &hash.salt?).ok()?;
        // Compared in constant time.
        Some(hash.hash? == output)
    }

    /// Frees memory beyond the need of this board's hashes.
    fn keep(&mut self, own: &Params) {
        if self.0.len() > own.block_count() {
            self.0 = Vec::new();
        }
    }
}

/// Says why a word is unusable as a password.
pub fn problem(word: &str) -> Option<String> {
    let bytes = word.len();
    let is_good = (WORD_BYTES_MIN..=WORD_BYTES_MAX).contains(&bytes);
    (!is_good)
        .then(|| format!("password: got {bytes} bytes, allowed {WORD_BYTES_MIN}..{WORD_BYTES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_hash_knows_its_password_and_names_its_cost() {
        let small = Passwords::new(0).unwrap();
        let large = Passwords::new(u64::MAX).unwrap();
        let hash = run(small.hash("a long word")).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=2048,t=18,p=1$"), "{hash}");
        assert!(run(large.is_right("a long word", Some(&hash))), "whoever made it");
        assert!(!run(small.is_right("a long wore", Some(&hash))));
        let again = run(small.hash("a long word")).unwrap();
        assert_ne!(hash, again, "the salt is new each time");
        assert!(run(large.hash("x")).unwrap().starts_with("$argon2id$v=19$m=7168,t=5,p=1$"));
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_not_tried() {
        let passwords = Passwords::new(0).unwrap();
        for cost in ["m=1048576,t=1,p=1", "m=2048,t=1000,p=1", "m=2048,t=1,p=64"] {
            let hash =
                format!("$argon2id$v=19${cost}$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA");
            assert!(!run(passwords.is_right("a long word", Some(&hash))), "{cost}");
        }
        assert!(!run(passwords.is_right("", Some(""))));
        assert!(!run(passwords.is_right("", None)));
    }

    #[test]
    fn the_memory_of_a_hash_is_kept_wiped_and_no_more_than_the_board_has_for_it() {
        let small = Passwords::new(0).unwrap();
        let large = Passwords::new(u64::MAX).unwrap();
        let memory = |passwords: &Passwords| {
            let memory = passwords.place.try_lock().unwrap();
            let is_wiped =
                memory.0.iter().all(|block| block.as_ref().iter().all(|word| *word == 0));
            (memory.0.len(), is_wiped)
        };
        assert_eq!(memory(&small), (0, true), "nothing before the first");
        run(small.hash("a long word")).unwrap();
        assert_eq!(memory(&small), (HASH_KIB_MIN as usize, true));
        let hash = run(large.hash("a long word")).unwrap();
        assert!(run(small.is_right("a long word", Some(&hash))), "of a larger board");
        assert_eq!(memory(&small), (0, true));
    }

    #[test]
    fn hashes_of_the_library_are_known() {
        use argon2::PasswordHasher;
        let params = Params::new(2048, 1, 1, None).unwrap();
        let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = theirs.hash_password_with_salt(b"a long word", b"0123456789abcdef").unwrap();
        let passwords = Passwords::new(0).unwrap();
        assert!(run(passwords.is_right("a long word", Some(&hash.to_string()))));
        assert!(!run(passwords.is_right("a long worf", Some(&hash.to_string()))));
    }
}
