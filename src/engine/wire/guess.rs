//! Names a protocol other than Stratum by its first bytes (F10, F62).
//!
//! Scanners, browsers and misconfigured miners reach the port; a pool's address can lead to a web
//! server or a captive portal. The name saves the operator a packet capture.

use core::fmt;

/// A protocol recognised by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Guess {
    /// HTTP from either side, or an HTML page.
    Http,
    /// A TLS record.
    Tls,
    /// SSH.
    Ssh,
    /// The PROXY protocol of load balancers, version 1 or 2.
    Proxy,
    /// Remote desktop, as port scanners send it.
    Rdp,
}

impl Guess {
    const OPENINGS: [(&'static [u8], Self); 17] = [
        (b"GET ", Self::Http),
        (b"POST ", Self::Http),
        (b"HEAD ", Self::Http),
        (b"PUT ", Self::Http),
        (b"DELETE ", Self::Http),
        (b"OPTIONS ", Self::Http),
        (b"CONNECT ", Self::Http),
        (b"PRI * HTTP/2", Self::Http),
        (b"HTTP/", Self::Http),
        (b"<!", Self::Http),
        (b"<html", Self::Http),
        (b"\x16\x03", Self::Tls),
        (b"\x15\x03", Self::Tls),
        (b"SSH-", Self::Ssh),
        (b"PROXY ", Self::Proxy),
        (b"\r\n\r\n\0\r\nQUIT\n", Self::Proxy),
        (b"\x03\0\0", Self::Rdp),
    ];

    /// Guesses from the first bytes of a connection or a line.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let opening = Self::OPENINGS.iter().find(|(opening, _)| bytes.starts_with(opening));
        opening.map(|(_, guess)| *guess)
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Ssh => "ssh",
            Self::Proxy => "the proxy protocol",
            Self::Rdp => "remote desktop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_known_openings_are_named() {
        let openings: [(&[u8], Guess); 9] = [
            (b"GET / HTTP/1.1\r\nHost: 10.0.0.1:3333\r\n", Guess::Http),
            (b"CONNECT pool.example.com:443 HTTP/1.1", Guess::Http),
            (b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel/", Guess::Http),
            (b"<!DOCTYPE html>", Guess::Http),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Guess::Tls),
            (b"SSH-2.0-OpenSSH_9.2p1", Guess::Ssh),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 3333", Guess::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", Guess::Proxy),
            (b"\x03\x00\x00\x2f\x2a\xe0\x00\x00\x00\x00\x00Cookie: mstshash=", Guess::Rdp),
        ];
        for (bytes, guess) in openings {
            assert_eq!(Guess::of(bytes), Some(guess));
        }
    }

    #[test]
    fn f10_stratum_and_noise_are_not_named() {
        let others: [&[u8]; 6] = [b"", b"{\"id\":1}", b" {}", b"\x00\x01", b"GETTING", b"\x16"];
        for bytes in others {
            assert_eq!(Guess::of(bytes), None);
        }
    }
}
