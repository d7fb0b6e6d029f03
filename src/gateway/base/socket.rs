//! Socket options of the gateway's TCP connections, and this machine's addresses. Options set on a
//! listener are inherited by its accepted connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use loka_stratum::limits::{PEER_GONE_MAX, USER_TIMEOUT};
use socket2::{SockRef, TcpKeepalive};

/// Idle time before the first keep-alive probe, and between two probes. At each probe the kernel
/// compares the silence with [`USER_TIMEOUT`], which overrides its count of probes.
const PROBE_AFTER: Duration = Duration::from_secs(25);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// The same for a peer at a full address.
const PROBE_SOON: Duration = Duration::from_secs(1);

/// Most own addresses that are shown.
const OWN_ADDRESSES_MAX: usize = 8;

const _: () = assert!(PROBE_AFTER.as_secs() + PROBE_EVERY.as_secs() <= USER_TIMEOUT.as_secs());
const _: () = assert!(
    USER_TIMEOUT.as_secs() + PROBE_EVERY.as_secs() + USER_TIMEOUT.as_secs()
        <= PEER_GONE_MAX.as_secs(),
    "silence, seen at a probe, and then what was sent just before that"
);

/// Disables Nagle's algorithm, and lets the kernel detect a dead peer (F47, F63).
///
/// # Errors
///
/// The socket is already dead.
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

/// Makes the kernel probe an idle peer every second, until [`tune`] is called.
///
/// # Errors
///
/// The socket is already dead.
pub fn probe_now(socket: &tokio::net::TcpStream) -> io::Result<()> {
    let often = TcpKeepalive::new().with_time(PROBE_SOON).with_interval(PROBE_SOON);
    SockRef::from(socket).set_tcp_keepalive(&often)
}

/// Returns an address as people write it: an IPv4 address from a dual-stack listener loses its IPv6
/// form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // Unchanged, with its scope.
        IpAddr::V6(_) => address,
    }
}

/// Says whether an address is local: loopback, private, or link-local.
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

/// Returns this machine's IPv4 addresses, or its IPv6 addresses if it has no other. Local networks
/// come first; the list is empty if the system gives none.
pub fn own_addresses() -> Vec<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in all.iter().map(if_addrs::Interface::ip) {
        // A link-local address needs a scope, so it cannot be typed.
        let is_local_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !ip.is_loopback() && !is_local_link && !found.contains(&ip) {
            found.push(ip);
        }
    }
    if found.iter().any(IpAddr::is_ipv4) {
        found.retain(IpAddr::is_ipv4);
    }
    found.sort_by_key(|ip| !is_local(*ip));
    found.truncate(OWN_ADDRESSES_MAX);
    found
}

/// Returns the addresses that reach a port from another machine: its own, or every address of this
/// machine if it is bound to all.
pub fn reached_at(place: SocketAddr) -> Vec<SocketAddr> {
    if !place.ip().is_unspecified() {
        return vec![place];
    }
    let mut own = own_addresses();
    if own.is_empty() {
        own.push(IpAddr::from([127, 0, 0, 1]));
    }
    own.into_iter().map(|ip| SocketAddr::new(ip, place.port())).collect()
}
