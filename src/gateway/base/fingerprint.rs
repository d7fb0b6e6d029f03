//! The fingerprint of a certificate: shown by a gateway, compared by `ctl`.

use std::fmt;

use loka_stratum::wire::hex::decode_exact;
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate in DER, as browsers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Parses 64 hex digits, in pairs with or without colons.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        decode_exact(&digits).ok().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for byte in self.0 {
            write!(f, "{separator}{byte:02X}")?;
            separator = ":";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_with_colons_and_without() {
        let plain = "0f".repeat(32);
        let print = Fingerprint::parse(&plain).unwrap();
        assert!(print.to_string().starts_with("0F:0F:"));
        assert_eq!(Fingerprint::parse(&print.to_string()), Some(print));
        for text in ["", "0f", &plain[1..], &format!("{plain}0f"), &plain.replace('f', "g")] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
        assert_eq!(Fingerprint::parse(&plain.replace("0f", "+f")), None, "a sign is no digit");
    }
}
