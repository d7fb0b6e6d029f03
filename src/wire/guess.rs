//! What it is that speaks something other than Stratum (F10, F62).
//!
//! Scanners, browsers and mis-set miners reach the port; a pool's address can lead to a web
//! server or a captive portal. Naming the guess saves the operator the packet capture.

use core::fmt;

/// A protocol that is known by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Guess {
    /// HTTP, either side, or a page of it.
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
