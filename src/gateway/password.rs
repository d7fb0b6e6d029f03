//! Passwords: hashed with Argon2id, one at a time, beside the event loop.
//!
//! A hash is kept as a PHC string, which names its own cost, so one that another board made still
//! counts. The cost follows the memory that the board gives the gateway: less memory means more
//! passes, so that a guess costs about the same work everywhere
//! ([ADR 9](../../docs/adr/0009-web-access.md)). Whoever waits for a hash waits in a queue of one
//! place: a flood of guesses costs the memory of one hash, and the event loop goes on.

use std::io;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Most memory of a hash, in KiB, and the passes over it: OWASP's choice for 7 MiB.
const MEMORY_KIB_MAX: u32 = 7168;
const PASSES_AT_MAX: u32 = 5;

/// Least memory of a hash, in KiB.
const MEMORY_KIB_MIN: u32 = 2048;

/// Part of the gateway's memory that a hash may take.
const MEMORY_PART: u64 = 16;

/// Most passes of a hash that was read from disk: twice what the least memory asks for.
const PASSES_MAX: u32 = 2 * (MEMORY_KIB_MAX * PASSES_AT_MAX).div_ceil(MEMORY_KIB_MIN);

/// Bytes of the salt.
const SALT_BYTES: usize = 16;

/// Fewest and most bytes of a password of ours.
pub const WORD_BYTES_MIN: usize = 8;
pub const WORD_BYTES_MAX: usize = 128;

/// Hashes passwords, one at a time.
pub struct Passwords {
    params: Params,
    /// The hash of what nobody knows.
    nobodys: String,
    place: Semaphore,
}

impl Passwords {
    /// Sets the cost by the memory that there is for the whole gateway, in bytes.
    ///
    /// # Errors
    ///
    /// None: the library takes every cost that this chooses.
    pub fn new(gateway_bytes_max: u64) -> io::Result<Self> {
        let memory = memory_kib(gateway_bytes_max);
        let passes = (MEMORY_KIB_MAX * PASSES_AT_MAX).div_ceil(memory);
        let params = Params::new(memory, passes, 1, None).map_err(io::Error::other)?;
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        let nobodys = format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${hash}");
        Ok(Self { params, nobodys, place: Semaphore::new(1) })
    }

    /// Hashes a password with a new salt, as a PHC string.
    ///
    /// # Errors
    ///
    /// There is no random number, or not as much memory.
    pub async fn hash(&self, word: &str) -> io::Result<String> {
        let _place = self.place.acquire().await.map_err(io::Error::other)?;
        let (params, word) = (self.params.clone(), word.to_owned());
        let hash = move || {
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(io::Error::other)?;
            let hash = argon2(params).hash_password_with_salt(word.as_bytes(), &salt);
            Ok(hash.map_err(io::Error::other)?.to_string())
        };
        spawn_blocking(hash).await.map_err(io::Error::other)?
    }

    /// Says whether `word` is what was hashed; it is not where the hash asks for more than any
    /// hash of ours. Where there is no hash it takes as long to say no.
    pub async fn is_right(&self, word: &str, hash: Option<&str>) -> bool {
        let (is_any, hash) = (hash.is_some(), hash.unwrap_or(&self.nobodys));
        let Ok(_place) = self.place.acquire().await else { return false };
        let (params, word, hash) = (self.params.clone(), word.to_owned(), hash.to_owned());
        let check = move || {
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            let cost = Params::try_from(&hash).ok();
            let is_bounded = cost.is_some_and(|cost| {
                cost.m_cost() <= MEMORY_KIB_MAX && cost.t_cost() <= PASSES_MAX && cost.p_cost() == 1
            });
            is_bounded && argon2(params).verify_password(word.as_bytes(), &hash).is_ok()
        };
        spawn_blocking(check).await.unwrap_or(false) && is_any
    }
}

/// Returns the memory of one hash, in bytes, where the gateway has so many in all.
pub fn memory_bytes(gateway_bytes_max: u64) -> u64 {
    u64::from(memory_kib(gateway_bytes_max)) * 1024
}

fn memory_kib(gateway_bytes_max: u64) -> u32 {
    let part = u32::try_from(gateway_bytes_max / MEMORY_PART / 1024).unwrap_or(u32::MAX);
    part.clamp(MEMORY_KIB_MIN, MEMORY_KIB_MAX)
}

fn argon2(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Says why a word is no password, if it is none.
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
}
