//! The fields of a certificate, for people.
//!
//! Nothing here decides on trust; rustls does. The texts are chosen by the certificate's maker, so
//! they are truncated and escaped.

use std::net::IpAddr;
use std::time::Duration;

use loka_stratum::limits::CERTIFICATE_TEXT_CHARS_MAX;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::gateway::base::clock::Utc;
use crate::gateway::runtime::dial::key_of;

/// Most names shown of a certificate.
const NAMES_SHOWN_MAX: usize = 8;

/// Length of `2027-01-31`.
const DATE_CHARS: usize = 10;

/// The fields shown.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The subject.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// The last valid day.
    pub until: String,
    /// The end of its validity as time since 1970.
    pub not_after: Duration,
    /// SHA-256 of its public key.
    pub pin: String,
    /// The hosts it is valid for.
    pub names: Vec<String>,
    /// Whether issuer and subject are equal.
    pub is_self_signed: bool,
}

impl Certificate {
    /// Parses a certificate; `None` if it is malformed.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let pin = key_of(der).ok()?.to_string();
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = Duration::from_secs(not_after);
        let until = Utc(not_after).to_string().chars().take(DATE_CHARS).collect();
        Some(Self {
            subject: shown(&parsed.subject().to_string()),
            issuer: shown(&parsed.issuer().to_string()),
            until,
            not_after,
            pin,
            names: names(&parsed),
            is_self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from).ok();
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from).ok();
            v4.or_else(v6).map(|address| address.to_string())
        }
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).take(NAMES_SHOWN_MAX).collect()
}

/// Escapes and truncates a text of a certificate.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(CERTIFICATE_TEXT_CHARS_MAX) {
        match character {
            '\'' | '"' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f06_what_a_terminal_would_obey_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(shown("CN=Let's \"Encrypt\""), "CN=Let's \"Encrypt\"");
        assert_eq!(shown("CN=\u{1b}[2J\n\u{202e}x"), "CN=\\u{1b}[2J\\n\\u{202e}x");
        assert_eq!(shown(&"a".repeat(9999)).len(), CERTIFICATE_TEXT_CHARS_MAX);
    }
}
