//! The address of a pool: `stratum+ssl://host:port` or `stratum+tcp://host:port`.
//!
//! Scheme and port are mandatory, so that no miner uses plain TCP by omission (F83). Spellings that
//! can only mean TLS are read as `stratum+ssl`, since pools print them. A spelling that may mean
//! plain TCP must be written as `stratum+tcp`. An error names the wrong part, since people paste
//! addresses from help pages and other programs.

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::trim;
use crate::limits;

/// The transport to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Scheme {
    /// TLS, with the pool's certificate verified.
    #[default]
    Tls,
    /// Plain TCP, which anybody on the path can redirect.
    Tcp,
}

/// The address of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUrl {
    scheme: Scheme,
    /// A name or an IP address, without the brackets of IPv6.
    host: String<{ limits::HOST_BYTES_MAX }>,
    port: u16,
}

/// Why a text is not a pool address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is unknown.
    Scheme,
    /// TLS or plain TCP is not stated: there is no scheme, or `tcp://`.
    Unsaid,
    /// `//` is missing after the scheme.
    Slashes,
    /// There are two schemes.
    Schemes,
    /// The address is for Stratum V2.
    V2,
    /// The address is for a web page or getwork.
    Web,
    /// The address is for a WebSocket.
    WebSocket,
    /// The address holds a user name, which belongs in a key of its own.
    User,
    /// The host is missing, too long, or has characters not allowed in hosts.
    Host,
    /// The host is an IPv6 address without brackets.
    Brackets {
        /// The address.
        host: [u8; 16],
        /// The port after it; 0 if there is none.
        port: u16,
    },
    /// The port is missing.
    NoPort,
    /// The port is 0.
    PortZero,
    /// There are two ports.
    Ports,
    /// The port is not from 1 to 65535.
    Port,
    /// A path follows the port.
    Path,
    /// A query follows the port.
    Query,
    /// A fragment follows the port, such as `#xnsub`.
    Fragment,
}

/// Schemes that can only mean TLS.
const TLS: [&str; 5] = ["stratum+ssl", "stratum+tls", "stratum+tcps", "ssl", "tls"];

/// Ambiguous schemes: most programs mean plain TCP by them, some TLS.
const UNSAID: [&str; 4] = ["tcp", "stratum", "stratum1", "stratum1+tcp"];

impl PoolUrl {
    /// Returns the transport.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the name or the IP address; empty only by default.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 0 only by default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the same address with another port, as a `client.reconnect` may ask for.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }
}

impl FromStr for PoolUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = split_scheme(trim(text))?;
        if rest.contains('@') {
            return Err(UrlError::User);
        }
        if rest.contains("://") {
            return Err(UrlError::Schemes);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(before_path(authority)?)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|host| is_ipv6(host)),
            None => Some(host).filter(|host| is_host(host)),
        };
        let host = host.and_then(|host| String::try_from(host).ok()).ok_or(UrlError::Host)?;
        match number(port) {
            Some(0) => Err(UrlError::PortZero),
            Some(port) => Ok(Self { scheme, host, port }),
            None => Err(UrlError::Port),
        }
    }
}

/// Splits the scheme off.
fn split_scheme(text: &str) -> Result<(Scheme, &str), UrlError> {
    let begins = |schemes: &[&str], scheme: &str| {
        schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known))
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        let scheme = text.split([':', '/']).next().unwrap_or_default();
        let is_scheme = begins(&TLS, scheme) || begins(&["stratum+tcp"], scheme);
        return Err(if is_scheme { UrlError::Slashes } else { UrlError::Unsaid });
    };
    match scheme {
        _ if begins(&TLS, scheme) => Ok((Scheme::Tls, rest)),
        _ if begins(&["stratum+tcp"], scheme) => Ok((Scheme::Tcp, rest)),
        _ if begins(&UNSAID, scheme) => Err(UrlError::Unsaid),
        _ if begins(&["stratum2", "stratum2+tcp", "stratum2+ssl", "sv2"], scheme) => {
            Err(UrlError::V2)
        }
        _ if begins(&["http", "https", "getwork", "gbt"], scheme) => Err(UrlError::Web),
        _ if begins(&["ws", "wss"], scheme) => Err(UrlError::WebSocket),
        _ => Err(UrlError::Scheme),
    }
}

/// Returns the host and the port, if nothing follows them.
fn before_path(authority: &str) -> Result<&str, UrlError> {
    match authority.find(['/', '?', '#']) {
        None => Ok(authority),
        Some(0) => Err(UrlError::Host),
        // A slash before it is an empty path.
        Some(at) => Err(match authority.get(at..).unwrap_or_default().trim_start_matches('/') {
            behind if behind.starts_with('?') => UrlError::Query,
            behind if behind.starts_with('#') => UrlError::Fragment,
            _ => UrlError::Path,
        }),
    }
}

/// Splits the port off; the host keeps the brackets of IPv6.
fn split_port(authority: &str) -> Result<(&str, &str), UrlError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(UrlError::Host)?;
        let (host, behind) = authority.split_at(end.saturating_add(1));
        return match behind.strip_prefix(':') {
            Some(port) if !port.is_empty() => Ok((host, port)),
            _ if matches!(behind, "" | ":") => Err(UrlError::NoPort),
            _ => Err(UrlError::Host),
        };
    }
    let (host, port) = authority.rsplit_once(':').ok_or(UrlError::NoPort)?;
    if host.contains(':') {
        // The last group of an address may look like a port; only brackets tell them apart.
        let with_port = host.parse::<Ipv6Addr>().ok().zip(number(port));
        let without = || authority.parse::<Ipv6Addr>().ok().map(|host| (host, 0));
        return Err(match with_port.or_else(without) {
            Some((host, port)) => UrlError::Brackets { host: host.octets(), port },
            None => UrlError::Ports,
        });
    }
    if port.is_empty() { Err(UrlError::NoPort) } else { Ok((host, port)) }
}

/// Reads a port; `parse` alone would accept a sign.
fn number(port: &str) -> Option<u16> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| is_number)
}

fn is_ipv6(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
}

fn is_host(host: &str) -> bool {
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && host.len() <= limits::HOST_BYTES_MAX && host.bytes().all(is_of_host)
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "stratum+ssl",
            Self::Tcp => "stratum+tcp",
        })
    }
}

impl fmt::Display for PoolUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.is_empty() {
            Ok(())
        } else if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Scheme => "stratum+ssl://host:port, or stratum+tcp://host:port without TLS",
            Self::Unsaid => "stratum+ssl://host:port; write stratum+tcp:// if the pool has no TLS",
            Self::Slashes => "two slashes after the scheme, as in stratum+ssl://host:port",
            Self::Schemes => "one scheme only, and there are two",
            Self::V2 => "no Stratum V2, which is not supported; use the pool's V1 address",
            Self::Web => {
                "no address of a web page or of getwork; use the pool's Stratum address, which \
                 begins with stratum+ssl:// or stratum+tcp://"
            }
            Self::WebSocket => {
                "no WebSocket; use the pool's Stratum address, which begins with stratum+ssl:// \
                 or stratum+tcp://"
            }
            Self::User => "no name in the address; it belongs in pool.user",
            Self::Host => {
                "a host name of letters, digits, '-', '_' and '.', or an IP address; other letters \
                 in their xn-- form"
            }
            Self::Brackets { host, port: 0 } => {
                let host = Ipv6Addr::from(host);
                return write!(f, "brackets and a port: write [{host}]:3333 for port 3333");
            }
            Self::Brackets { host, port } => {
                let host = Ipv6Addr::from(host);
                return write!(f, "an IPv6 address in brackets: write [{host}]:{port}");
            }
            Self::NoPort => "a port after the host, such as :3333; it is missing",
            Self::PortZero => "a port from 1 to 65535; no pool is at port 0",
            Self::Ports => "one port after the host, and there are two",
            Self::Port => "a port from 1 to 65535 after the host, such as :3333",
            Self::Path => "nothing after the port; leave the path out, since Stratum has none",
            Self::Query => "nothing after the port; leave out the query after '?'",
            Self::Fragment => {
                "nothing after the port; leave out what begins with '#': a pool that changes its \
                 extranonce is followed without it"
            }
        })
    }
}

impl core::error::Error for UrlError {}

impl Serialize for PoolUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PoolUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::<{ limits::URL_BYTES_MAX }>::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[track_caller]
    fn check(text: &str, expected: Result<(Scheme, &str, u16), UrlError>) {
        let url = text.parse::<PoolUrl>();
        assert_eq!(
            url.as_ref().map(|u| (u.scheme(), u.host(), u.port())).map_err(|e| *e),
            expected
        );
    }

    #[test]
    fn addresses_of_pools() {
        check("stratum+ssl://pool.example:3334", Ok((Scheme::Tls, "pool.example", 3334)));
        check("stratum+tls://pool.example:3334/", Ok((Scheme::Tls, "pool.example", 3334)));
        check("STRATUM+TCP://10.0.0.1:1", Ok((Scheme::Tcp, "10.0.0.1", 1)));
        check("stratum+ssl://[2001:db8::1]:65535", Ok((Scheme::Tls, "2001:db8::1", 65535)));
    }

    #[test]
    fn f80_every_spelling_of_tls_means_it() {
        for scheme in ["stratum+ssl", "stratum+tls", "stratum+tcps", "ssl", "tls", "SSL", "Tls"] {
            let text = std::format!("{scheme}://pool.example:3334");
            check(&text, Ok((Scheme::Tls, "pool.example", 3334)));
            let text = std::format!("\u{feff} \t{scheme}://pool.example:3334/\r\n\u{a0}\u{200b}");
            check(&text, Ok((Scheme::Tls, "pool.example", 3334)));
        }
    }

    #[test]
    fn f80_what_is_no_address_says_why() {
        check("pool.example:3333", Err(UrlError::Unsaid));
        check("stratum.pool.example:3333", Err(UrlError::Unsaid));
        check("tcp://pool.example:3333", Err(UrlError::Unsaid));
        check("stratum://pool.example:3333", Err(UrlError::Unsaid));
        check("gopher://pool.example:3333", Err(UrlError::Scheme));
        check("http://pool.example:3333", Err(UrlError::Web));
        check("HTTPS://pool.example/help", Err(UrlError::Web));
        check("wss://pool.example:3333", Err(UrlError::WebSocket));
        check("stratum2+tcp://pool.example:3333/9auqWEzQDVyd2oe1J", Err(UrlError::V2));
        check("stratum+ssl:pool.example:3333", Err(UrlError::Slashes));
        check("stratum+tcp:/pool.example:3333", Err(UrlError::Slashes));
        check("stratum+tcp//pool.example:3333", Err(UrlError::Slashes));
        check("stratum+tcp://stratum+tcp://pool.example:3333", Err(UrlError::Schemes));
        check("stratum+tcp:///pool.example:3333", Err(UrlError::Host));
        check("stratum+ssl://me:pw@pool.example:3333", Err(UrlError::User));
        check("stratum+ssl://pool.example", Err(UrlError::NoPort));
        check("stratum+ssl://pool.example:", Err(UrlError::NoPort));
        check("stratum+ssl://[2001:db8::1]", Err(UrlError::NoPort));
        check("stratum+ssl://pool.example:0", Err(UrlError::PortZero));
        check("stratum+ssl://pool.example:3333:3333", Err(UrlError::Ports));
        check("stratum+ssl://pool.example:+1", Err(UrlError::Port));
        check("stratum+ssl://pool.example:33a", Err(UrlError::Port));
        check("stratum+ssl://pool.example:70000", Err(UrlError::Port));
        check("stratum+ssl://:3333", Err(UrlError::Host));
        check("stratum+ssl://po ol:3333", Err(UrlError::Host));
        check("stratum+ssl://p\u{f6}ol.example:3333", Err(UrlError::Host));
        check("stratum+ssl://[pool]:3333", Err(UrlError::Host));
        check("stratum+ssl://[::1]3333", Err(UrlError::Host));
        check("stratum+ssl://pool.example:3333/stratum", Err(UrlError::Path));
        check("stratum+ssl://pool.example:3333/a?b#c", Err(UrlError::Path));
        check("stratum+ssl://pool.example:3333?a=b", Err(UrlError::Query));
        check("stratum+ssl://pool.example:3333#xnsub", Err(UrlError::Fragment));
        check("stratum+ssl://pool.example:3333/#xnsub", Err(UrlError::Fragment));
    }

    #[test]
    fn f80_an_ipv6_address_without_brackets_is_shown_with_them() {
        for (text, said) in [
            ("2001:db8::1:3333", "[2001:db8::1]:3333"),
            ("2001:DB8:0::1:3333", "[2001:db8::1]:3333"),
            ("::1:3334", "[::1]:3334"),
            ("2001:db8:1:2:3:4:5:6:65535", "[2001:db8:1:2:3:4:5:6]:65535"),
            ("2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]:3333"),
            ("2001:db8::a", "[2001:db8::a]:3333"),
            ("::ffff:192.0.2.1:3333", "[::ffff:192.0.2.1]:3333"),
        ] {
            let error = std::format!("stratum+tcp://{text}").parse::<PoolUrl>().unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_prints_as_it_is_read() {
        for text in ["stratum+ssl://pool.example:1", "stratum+tcp://[::1]:3333"] {
            assert_eq!(text.parse::<PoolUrl>().map(|url| url.to_string()).as_deref(), Ok(text));
        }
    }
}
