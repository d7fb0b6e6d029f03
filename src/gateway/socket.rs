//! What every TCP connection of the gateway is set to; set on a listener, it holds for what that
//! accepts.

use std::io;
use std::time::Duration;

use loka_stratum::limits::USER_TIMEOUT;
use socket2::{SockRef, TcpKeepalive};

/// Idle time before the first keep-alive probe; the probes then fill [`USER_TIMEOUT`].
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

const _: () = assert!(
    PROBE_AFTER.as_secs() + PROBES as u64 * PROBE_EVERY.as_secs() <= USER_TIMEOUT.as_secs(),
    "a pulled cable is noticed within the user timeout (F47)"
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
    let keepalive =
        TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(USER_TIMEOUT.as_secs())))
}
