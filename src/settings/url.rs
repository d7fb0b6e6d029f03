//! The address of a pool: `stratum+ssl://host:port` or `stratum+tcp://host:port`.
//!
//! There is no form without a scheme and none without a port, so that nobody mines over plain
//! TCP by omission (F83). `stratum+tls` is read as `stratum+ssl`, which is what pools print.

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;

/// How a pool is reached.
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

/// Why a text is no address of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlError {
    /// It begins with none of the known schemes.
    Scheme,
    /// It holds a user name, which belongs in a key of its own.
    User,
    /// The host is missing, too long, or holds other characters than a host may.
    Host,
    /// The port is missing or not from 1 to 65535.
    Port,
    /// Something follows the port.
    Path,
}

impl PoolUrl {
    /// Returns how the pool is reached.
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
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("stratum+ssl") => Scheme::Tls,
            s if s.eq_ignore_ascii_case("stratum+tls") => Scheme::Tls,
            s if s.eq_ignore_ascii_case("stratum+tcp") => Scheme::Tcp,
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains('@') {
            return Err(UrlError::User);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(UrlError::Path);
        }
        let (host, port) = authority.rsplit_once(':').ok_or(UrlError::Port)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|host| is_ipv6(host)),
            None => Some(host).filter(|host| is_host(host)),
        };
        let host = host.and_then(|host| String::try_from(host).ok()).ok_or(UrlError::Host)?;
        // `parse` alone would take a sign.
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if is_number && port != 0 => Ok(Self { scheme, host, port }),
            _ => Err(UrlError::Port),
        }
    }
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
        f.write_str(match self {
            Self::Scheme => "stratum+ssl://host:port, or stratum+tcp://host:port without TLS",
            Self::User => "no name in the address; it belongs in pool.user",
            Self::Host => "a host name of letters, digits, '-', '_' and '.', or an IP address",
            Self::Port => "a port from 1 to 65535 after the host, such as :3333",
            Self::Path => "nothing after the port",
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
    fn f80_what_is_no_address_says_why() {
        check("pool.example:3333", Err(UrlError::Scheme));
        check("http://pool.example:3333", Err(UrlError::Scheme));
        check("stratum://pool.example:3333", Err(UrlError::Scheme));
        check("stratum+ssl://me:pw@pool.example:3333", Err(UrlError::User));
        check("stratum+ssl://pool.example", Err(UrlError::Port));
        check("stratum+ssl://pool.example:0", Err(UrlError::Port));
        check("stratum+ssl://pool.example:+1", Err(UrlError::Port));
        check("stratum+ssl://pool.example:70000", Err(UrlError::Port));
        check("stratum+ssl://:3333", Err(UrlError::Host));
        check("stratum+ssl://po ol:3333", Err(UrlError::Host));
        check("stratum+ssl://2001:db8::1:3333", Err(UrlError::Host));
        check("stratum+ssl://[pool]:3333", Err(UrlError::Host));
        check("stratum+ssl://pool.example:3333/#xnsub", Err(UrlError::Path));
    }

    #[test]
    fn an_address_prints_as_it_is_read() {
        for text in ["stratum+ssl://pool.example:1", "stratum+tcp://[::1]:3333"] {
            assert_eq!(text.parse::<PoolUrl>().map(|url| url.to_string()).as_deref(), Ok(text));
        }
    }
}
