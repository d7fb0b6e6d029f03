//! The memory plan of a gateway: its capacities, and their sum in bytes.
//!
//! The plan follows from the board's profile and the settings, at the start and at each reload. It
//! is never exceeded (B6, F67).

use std::fmt;

use loka_stratum::limits::{
    CONNECTION_BYTES_MAX, HTTP_ANSWER_BYTES_MAX, HTTP_BODY_BYTES_MAX, HTTP_CONNECTIONS_MAX,
    HTTP_HEAD_BYTES_MAX, HTTP_OWN_CONNECTIONS_MAX, HTTP_PAGE_CONNECTIONS_MAX, HTTP_TLS_BYTES_MAX,
    LINK_CONNECTION_BYTES_MAX, OUTPUT_BYTES_MIN, PROCESS_BYTES_MAX, READ_BYTES_MAX,
    SERIAL_ANSWER_BYTES_MAX,
};
use loka_stratum::proxy::{LinkSizes, Storage};

/// Most bytes of the gateway's end of one miner's connection.
pub const PORT_BYTES_MAX: usize = 128;

/// Most memory of a password's hash, in KiB: OWASP's choice.
pub const HASH_KIB_MAX: u32 = 7168;

/// Least memory of a password's hash, in KiB.
pub const HASH_KIB_MIN: u32 = 2048;

/// Divisor: a hash may use this part of the gateway's memory.
const HASH_PART: u64 = 16;

/// The capacities of a gateway, and their memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name of the profile.
    pub board: &'static str,
    /// Miner connections.
    pub miners: usize,
    /// Links to pools.
    pub links: usize,
    /// Shares that wait on a link to a pool.
    pub pending: usize,
    /// Links with room for that many shares: two per pool.
    pub wide: usize,
    /// Bytes of all spills together.
    pub spill_bytes: usize,
    /// The memory budget in bytes.
    pub bytes_max: u64,
}

impl Plan {
    /// Returns the sizes of each link.
    pub fn sizes(&self) -> LinkSizes {
        LinkSizes { pending: self.pending, wide: self.wide, ..LinkSizes::MAX }
    }

    /// Returns the bytes of all memory at its peak.
    pub fn bytes(&self) -> u64 {
        let bytes = Storage::bytes_for(self.miners, self.links, self.sizes())
            + self.miners * (PORT_BYTES_MAX + CONNECTION_BYTES_MAX)
            + self.links * LINK_CONNECTION_BYTES_MAX
            + self.spill_bytes
            + FIXED_BYTES;
        bytes as u64 + u64::from(hash_kib(self.bytes_max)) * 1024
    }
}

/// The bytes of the HTTP ports at their peak.
const HTTP_BYTES: usize = HTTP_CONNECTIONS_MAX
    * (HTTP_HEAD_BYTES_MAX + HTTP_BODY_BYTES_MAX + HTTP_ANSWER_BYTES_MAX)
    + (HTTP_PAGE_CONNECTIONS_MAX + HTTP_OWN_CONNECTIONS_MAX) * HTTP_TLS_BYTES_MAX;

/// The bytes that depend on no capacity.
const FIXED_BYTES: usize = PROCESS_BYTES_MAX
    + HTTP_BYTES
    + 2 * SERIAL_ANSWER_BYTES_MAX
    + READ_BYTES_MAX
    + (OUTPUT_BYTES_MIN + READ_BYTES_MAX);

/// Returns the KiB of one password hash, for a gateway with this many bytes in all.
pub fn hash_kib(gateway_bytes_max: u64) -> u32 {
    let part = u32::try_from(gateway_bytes_max / HASH_PART / 1024).unwrap_or(u32::MAX);
    part.clamp(HASH_KIB_MIN, HASH_KIB_MAX)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { board, miners, links, bytes_max, .. } = self;
        let bytes = self.bytes();
        write!(
            f,
            "board {board}: room for {miners} miners and {links} links, at most {bytes} bytes of \
             {bytes_max}"
        )
    }
}
