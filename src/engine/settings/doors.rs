//! Access for operators: the page, the serial line, and the gateway's mDNS name.
//!
//! No setting here can become a path (F79): a serial port is a name of letters and digits, and the
//! gateway prefixes `/dev/`.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::AUTO;
use crate::limits;

/// The page and the API over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    /// Their address.
    pub address: PageAddress,
    /// Host names that the page answers to, besides IP addresses, `localhost` and the mDNS name.
    pub hosts: Vec<HostName, { limits::WEB_HOSTS_MAX }>,
}

/// The address of the page.
///
/// On flash, the first two variants equal the earlier optional address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageAddress {
    /// No page.
    Off,
    /// This address.
    At(SocketAddr),
    /// Port [`limits::PAGE_PORT`] of every address, for the local network only, if there is storage
    /// for the passwords.
    #[default]
    Auto,
}

/// The serial line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serial {
    /// The port.
    pub device: Device,
    /// Its speed, in bits per second.
    pub baud: u32,
}

/// The gateway's mDNS name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mdns {
    /// The label before `.local`; `None` if mDNS is off.
    pub name: Option<HostName>,
}

/// A serial port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// No port.
    #[default]
    Off,
    /// The board's port, if its profile names one.
    Auto,
    /// The port of this name: letters and digits.
    Named(String<{ limits::DEVICE_NAME_BYTES_MAX }>),
}

/// The name of a host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName(String<{ limits::HOST_BYTES_MAX }>);

/// The word that switches a key off.
pub(super) const OFF: &str = "off";

impl HostName {
    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether it is one label: a name without a dot.
    pub fn is_label(&self) -> bool {
        !self.0.contains('.')
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self { device: Device::Off, baud: 115_200 }
    }
}

impl FromStr for HostName {
    type Err = ();

    /// Reads letters, digits and hyphens in labels of 1 to 63 (RFC 1123).
    fn from_str(text: &str) -> Result<Self, ()> {
        let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = |label: &str| {
            (1..=limits::HOST_LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(is_of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !text.split('.').all(is_label) {
            return Err(());
        }
        let mut name = String::try_from(text).map_err(|_| ())?;
        name.make_ascii_lowercase();
        Ok(Self(name))
    }
}

impl FromStr for Device {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            OFF => Ok(Self::Off),
            AUTO => Ok(Self::Auto),
            "" => Err(()),
            _ if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Err(()),
            _ => Ok(Self::Named(String::try_from(text).map_err(|_| ())?)),
        }
    }
}

impl FromStr for PageAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            OFF => Ok(Self::Off),
            AUTO => Ok(Self::Auto),
            _ => text.parse().map(Self::At).map_err(|_| ()),
        }
    }
}

impl fmt::Display for PageAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(OFF),
            Self::At(address) => write!(f, "{address}"),
            Self::Auto => f.write_str(AUTO),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => OFF,
            Self::Auto => AUTO,
            Self::Named(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn f79_a_serial_port_is_a_name_and_never_a_path() {
        for text in [
            "/dev/ttyS0",
            "../ttyS0",
            "tty/S0",
            "ttyS0 ",
            "tty.S0",
            "tty-S0",
            "",
            "ttyS0\0",
            "ttyß",
        ] {
            assert_eq!(text.parse::<Device>(), Err(()), "{text:?}");
        }
        assert_eq!("a".repeat(33).parse::<Device>(), Err(()));
        for text in ["ttyS0", "ttyAMA0", "ttyGS0", "off", "auto"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_has_labels_of_letters_digits_and_hyphens() {
        let long = "a".repeat(64);
        for text in ["", ".", "a..b", "-a", "a-", "a b", "a_b", "a/b", "a:80", "[::1]", &long] {
            assert_eq!(text.parse::<HostName>(), Err(()), "{text:?}");
        }
        let name: HostName = "Gateway.Farm.Example".parse().unwrap();
        assert_eq!(name.as_str(), "gateway.farm.example");
        assert!(!name.is_label());
        assert!("loka".parse::<HostName>().unwrap().is_label());
    }
}
