//! Known browsers: others' guesses do not slow them down (F98).
//!
//! A password log-in sets a second, long-lived cookie, which opens no session: it selects a count
//! of attempts and ranks connections. It holds a random id and an HMAC over id and role, keyed by
//! the hash of the role's password. The server stores nothing and a restart changes nothing. A new
//! password invalidates all ids of the role. An id from the viewer's password does not help to
//! guess admin's.

use loka_stratum::control::Role;
use loka_stratum::wire::hex::{Digits, decode_exact};
use ring::hmac;

/// Bytes of an id, and of a seal.
const ID_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;
const BYTES: usize = ID_BYTES + SEAL_BYTES;

/// A browser's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId([u8; ID_BYTES]);

impl DeviceId {
    /// Creates an id from its bytes.
    #[cfg(test)]
    pub const fn new(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Draws an id; `None` if the system gives no random bytes.
    pub fn draw() -> Option<Self> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Returns the cookie's value for a role whose password has this hash.
    pub fn sealed(&self, role: Role, hash: &str) -> String {
        let seal = hmac::sign(&key(hash), &self.message(role));
        format!("{}{}", Digits(&self.0), Digits(seal.as_ref()))
    }

    /// Verifies a cookie's value; `None` unless [`Self::sealed`] made it.
    pub fn read(text: &str, role: Role, hash: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = decode_exact(text.as_bytes()).ok()?;
        let (id, seal) = bytes.split_first_chunk::<ID_BYTES>()?;
        let device = Self(*id);
        hmac::verify(&key(hash), &device.message(role), seal).ok()?;
        Some(device)
    }

    fn message(&self, role: Role) -> Vec<u8> {
        [&self.0, &b"device "[..], role.name().as_bytes()].concat()
    }
}

fn key(hash: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=7168,t=5,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

    #[test]
    fn f98_a_browser_is_known_by_its_role_and_password_alone() {
        let device = DeviceId::draw().unwrap();
        let shown = device.sealed(Role::Operator, HASH);
        assert_eq!(DeviceId::read(&shown, Role::Operator, HASH), Some(device));
        assert_eq!(DeviceId::read(&shown, Role::Admin, HASH), None, "another role");
        assert_eq!(DeviceId::read(&shown, Role::Operator, "another hash"), None);
        for index in 0..shown.len() {
            let mut other = shown.clone().into_bytes();
            other[index] = if other[index] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(DeviceId::read(&other, Role::Operator, HASH), None, "digit {index}");
        }
        for text in ["", "00", &"g".repeat(96), &format!("{shown}0")] {
            assert_eq!(DeviceId::read(text, Role::Operator, HASH), None, "{text}");
        }
    }
}
