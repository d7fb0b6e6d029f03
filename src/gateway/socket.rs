//! What every TCP connection of the gateway is set to; set on a listener, it holds for what that
//! accepts. And which addresses are ours, and near.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use loka_stratum::limits::{PEER_GONE_MAX, USER_TIMEOUT};
use socket2::{SockRef, TcpKeepalive};

/// Idle time before the first keep-alive probe, and between two. The kernel looks at each whether
/// the silence has lasted for [`USER_TIMEOUT`], which overrides its count of probes.
const PROBE_AFTER: Duration = Duration::from_secs(25);
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Addresses of this machine that are told.
const OWN_ADDRESSES_MAX: usize = 8;

const _: () = assert!(PROBE_AFTER.as_secs() + PROBE_EVERY.as_secs() <= USER_TIMEOUT.as_secs());
const _: () = assert!(
    USER_TIMEOUT.as_secs() + PROBE_EVERY.as_secs() + USER_TIMEOUT.as_secs()
        <= PEER_GONE_MAX.as_secs(),
    "silence, seen at a probe, and then what was sent just before that"
);

/// Sends small lines at once, and lets the kernel notice a peer that is gone (F47, F63).
///
/// # Errors
///
/// The socket is dead already.
pub fn tune<'s, S>(socket: &'s S) -> io::Result<()>
where
    SockRef<'s>: From<&'s S>,
{
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(USER_TIMEOUT.as_secs())))
}

/// Says whether an address is of this machine or of a network that the internet does not route.
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Returns the IPv4 addresses of this machine, from the kernel's table of routes; none where that
/// cannot be read.
pub fn own_addresses() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last.filter(|address| !address.is_loopback())
            && !found.contains(&address.into())
            && found.len() < OWN_ADDRESSES_MAX
        {
            found.push(address.into());
        }
    }
    found
}
