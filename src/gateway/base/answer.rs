//! Requests to the gateway: the operator, his origin, and the result.

use std::fmt;
use std::net::IpAddr;

use loka_stratum::control::{Refused, Role};
use serde::{Deserialize, Serialize};

/// The outcome of a request.
pub type Answer = Result<(), Refused<String>>;

/// The answer to a commit without changes.
pub const NOTHING_TO_COMMIT: &str = "there is nothing to commit";

/// The line that shows an empty list of admitted workers.
pub const NO_WORKER: &str = "no worker is in the list";

/// An operator and his origin.
#[derive(Clone, Debug)]
pub struct Actor {
    /// His role.
    pub role: Role,
    /// His origin.
    pub from: Whence,
}

/// The origin of a request.
///
/// Variants are appended, never reordered: the audit log stores their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whence {
    /// The serial line.
    Serial,
    /// The page or a tool, over the network.
    Web(IpAddr),
    /// The settings file.
    File,
    /// The board's button.
    Button,
    /// The gateway itself.
    Gateway,
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial => f.write_str("serial line"),
            Self::Web(address) => write!(f, "{address}"),
            Self::File => f.write_str("file"),
            Self::Button => f.write_str("button"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}
