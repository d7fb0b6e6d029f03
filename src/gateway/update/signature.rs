//! Signatures as minisign writes them: ed25519, over the bytes or over their BLAKE2b.
//!
//! Read this first. A signature is four lines:
//!
//! ```text
//! untrusted comment: for people
//! base64 (form, key's id, signature)
//! trusted comment: for people, signed with the signature
//! base64 (signature of the signature and the comment)
//! ```
//!
//! `ED` signs the BLAKE2b-512 of the bytes, the older `Ed` the bytes themselves; both are accepted.
//! A key is two lines: a comment and base64 (`Ed`, id, key). The formats are minisign's, so each
//! side verifies the other's signatures (`minisign -S`, `minisign -V`).
//!
//! Source: the description of the formats at <https://jedisct1.github.io/minisign/>.

use std::fmt;

use base64ct::{Base64, Encoding};
use blake2::{Blake2b512, Digest};
use ring::signature::{ED25519, UnparsedPublicKey};

/// A key's id as minisign prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id.
    pub id: KeyId,
    key: [u8; 32],
}

/// A parsed, unverified signature.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    key_id: KeyId,
    is_of_hash: bool,
    signature: [u8; 64],
    comment: &'a str,
    of_comment: [u8; 64],
}

/// The fault of a key or a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// A line is malformed.
    Line {
        /// Its number, from 1.
        number: usize,
        /// The expected content.
        wanted: &'static str,
    },
    /// The signing key is not trusted.
    UnknownKey {
        /// The key that signed.
        got: KeyId,
        /// The trusted keys.
        trusted: Vec<KeyId>,
    },
    /// The signature does not match the bytes.
    Wrong(KeyId),
    /// The trusted comment does not match its signature.
    WrongComment(KeyId),
}

const COMMENT: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

impl PublicKey {
    /// Parses a key's file, or its second line alone.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Line`].
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with(COMMENT));
        let (index, line) = lines.next().unwrap_or_default();
        let wanted = "a key of minisign, 56 characters that begin with RW";
        let bytes: [u8; 42] = decoded(line, index + 1, wanted)?;
        let (form, id, key) = split(&bytes);
        if form == *b"Ed" {
            Ok(Self { id, key })
        } else {
            Err(SignatureError::Line { number: index + 1, wanted })
        }
    }
}

impl<'a> Signature<'a> {
    /// Parses the four lines.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Line`].
    pub fn parse(text: &'a str) -> Result<Self, SignatureError> {
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (first, second, third, fourth) = (next(), next(), next(), next());
        let line = |number, wanted| SignatureError::Line { number, wanted };
        if !first.starts_with(COMMENT) {
            return Err(line(1, "\"untrusted comment: \" and a text"));
        }
        let wanted = "a signature of minisign in base64";
        let bytes: [u8; 74] = decoded(second, 2, wanted)?;
        let (form, key_id, signature) = split(&bytes);
        let is_of_hash = match &form {
            b"ED" => true,
            b"Ed" => false,
            _ => return Err(line(2, wanted)),
        };
        let comment = third.strip_prefix(TRUSTED);
        let comment = comment.ok_or(line(3, "\"trusted comment: \" and a text"))?;
        let of_comment = decoded(fourth, 4, "the signature of the comment in base64")?;
        Ok(Self { key_id, is_of_hash, signature, comment, of_comment })
    }

    /// Verifies the signature of these bytes with the trusted keys; returns the signed comment.
    ///
    /// # Errors
    ///
    /// No trusted key made it, or it does not match.
    pub fn verify(&self, keys: &[PublicKey], bytes: &[u8]) -> Result<&'a str, SignatureError> {
        let unknown = || SignatureError::UnknownKey {
            got: self.key_id,
            trusted: keys.iter().map(|key| key.id).collect(),
        };
        let key = keys.iter().find(|key| key.id == self.key_id).ok_or_else(unknown)?;
        let ed25519 = UnparsedPublicKey::new(&ED25519, key.key);
        let result = if self.is_of_hash {
            ed25519.verify(&Blake2b512::digest(bytes), &self.signature)
        } else {
            ed25519.verify(bytes, &self.signature)
        };
        result.map_err(|_| SignatureError::Wrong(key.id))?;
        let with_comment = [&self.signature[..], self.comment.as_bytes()].concat();
        let result = ed25519.verify(&with_comment, &self.of_comment);
        result.map_err(|_| SignatureError::WrongComment(key.id))?;
        Ok(self.comment)
    }
}

/// Decodes a line of base64 with exactly `N` bytes.
fn decoded<const N: usize>(
    line: &str,
    number: usize,
    wanted: &'static str,
) -> Result<[u8; N], SignatureError> {
    let error = SignatureError::Line { number, wanted };
    let mut bytes = [0; N];
    match Base64::decode(line, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(error),
    }
}

/// Splits bytes into the form, the key's id and the rest.
fn split<const N: usize, const REST: usize>(bytes: &[u8; N]) -> ([u8; 2], KeyId, [u8; REST]) {
    const { assert!(N == REST + 10) };
    let (mut form, mut id, mut rest) = ([0; 2], [0; 8], [0; REST]);
    let (form_bytes, others) = bytes.split_at(2);
    let (id_bytes, rest_bytes) = others.split_at(8);
    form.copy_from_slice(form_bytes);
    id.copy_from_slice(id_bytes);
    rest.copy_from_slice(rest_bytes);
    (form, KeyId(id), rest)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { number, wanted } => write!(f, "line {number}: allowed {wanted}"),
            Self::UnknownKey { got, trusted } if trusted.is_empty() => {
                write!(f, "signature: got one by key {got}, and no key is trusted here")
            }
            Self::UnknownKey { got, trusted } => {
                let names: Vec<_> = trusted.iter().map(KeyId::to_string).collect();
                write!(f, "signature: got one by key {got}, allowed {}", names.join(", "))
            }
            Self::Wrong(key) => {
                write!(f, "signature: it is not by key {key}, or what it signed was changed")
            }
            Self::WrongComment(key) => {
                write!(f, "trusted comment: it is not the one that key {key} signed")
            }
        }
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::update::signing::SecretKey;

    /// Key and signatures made by minisign 0.11: `minisign -G -W`, `-S -x` and `-S -l -x`.
    const KEY: &str = include_str!("../../../tests/update/minisign.pub");
    const HASHED: &str = include_str!("../../../tests/update/hashed.minisig");
    const LEGACY: &str = include_str!("../../../tests/update/legacy.minisig");
    const SIGNED: &[u8] = include_bytes!("../../../tests/update/signed.txt");

    #[test]
    fn what_minisign_signs_is_verified() {
        let key = PublicKey::parse(KEY).unwrap();
        for (text, comment) in [(HASHED, "of a test, hashed"), (LEGACY, "of a test, legacy")] {
            let signature = Signature::parse(text).unwrap();
            assert_eq!(signature.verify(&[key], SIGNED), Ok(comment));
            let other = [SIGNED, b" "].concat();
            assert_eq!(signature.verify(&[key], &other), Err(SignatureError::Wrong(key.id)));
        }
        let line = KEY.lines().nth(1).unwrap();
        assert_eq!(PublicKey::parse(line).unwrap(), key, "the key's line is enough");
        assert!(KEY.contains(&key.id.to_string()), "it goes by the name that minisign gave it");
    }

    #[test]
    fn a_change_of_any_character_is_found() {
        let key = PublicKey::parse(KEY).unwrap();
        for (index, byte) in HASHED.bytes().enumerate() {
            let is_untrusted = index < HASHED.find('\n').unwrap();
            if byte == b'\n' || is_untrusted {
                continue;
            }
            let mut text = HASHED.as_bytes().to_vec();
            text[index] = if byte == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(text).unwrap();
            let verified = Signature::parse(&text).and_then(|s| s.verify(&[key], SIGNED).map(drop));
            assert!(verified.is_err(), "character {index} of\n{text}");
        }
    }

    #[test]
    fn only_the_keys_that_are_trusted_count() {
        let ours = SecretKey::new([1; 8], &[2; 32]);
        let text = ours.sign(b"bytes", "ours");
        let key = PublicKey::parse(&ours.public_file()).unwrap();
        let other = PublicKey::parse(&SecretKey::new([3; 8], &[4; 32]).public_file()).unwrap();
        let same_name = PublicKey::parse(&SecretKey::new([1; 8], &[4; 32]).public_file()).unwrap();
        let signature = Signature::parse(&text).unwrap();
        assert_eq!(signature.verify(&[other, key], b"bytes"), Ok("ours"));
        assert_eq!(signature.verify(&[same_name], b"bytes"), Err(SignatureError::Wrong(key.id)));
        let error = signature.verify(&[other], b"bytes").unwrap_err().to_string();
        let ones = "0101010101010101";
        assert_eq!(error, format!("signature: got one by key {ones}, allowed 0303030303030303"));
        let error = signature.verify(&[], b"bytes").unwrap_err().to_string();
        assert!(error.ends_with("no key is trusted here"), "{error}");
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_said_by_its_line() {
        for (text, number) in [("", 1), ("untrusted comment: x\nRWQ", 2), ("RWQ=\n", 1)] {
            let error = PublicKey::parse(text).unwrap_err();
            let is_line = matches!(error, SignatureError::Line { number: n, .. } if n == number);
            assert!(is_line || text.is_empty(), "{text:?}: {error}");
        }
        let lines: Vec<&str> = HASHED.lines().collect();
        for cut in 0..4 {
            let error = Signature::parse(&lines[..cut].join("\n")).unwrap_err();
            let is_next = matches!(error, SignatureError::Line { number, .. } if number == cut + 1);
            assert!(is_next, "after {cut} lines: {error}");
        }
    }
}
