//! The doors: where miners connect.
//!
//! A listener takes connections as fast as they come; each costs a place in the table or is let
//! go at once (F44). When the process or the system has no file descriptors left, accepting
//! pauses instead of spinning, and goes on by itself (F45).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::LISTEN_BACKLOG;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::hub::Hub;
use super::log::{self, Kind};
use super::socket;

/// First and longest pause when no connection can be taken.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The listeners in use.
#[derive(Default)]
pub struct Doors {
    open: Vec<(SocketAddr, AbortHandle)>,
}

/// Listeners that are bound and not used yet.
pub struct Bound {
    new: Vec<(SocketAddr, TcpListener)>,
    wanted: Vec<SocketAddr>,
}

/// An address that cannot be listened at.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Doors {
    /// Binds those of the addresses that are not open yet; nothing changes before
    /// [`Doors::open`].
    ///
    /// # Errors
    ///
    /// The first address that cannot be had.
    pub fn bind(&self, addresses: &[SocketAddr]) -> Result<Bound, BindError> {
        let is_new = |address: &&SocketAddr| !self.open.iter().any(|(open, _)| open == *address);
        let mut new = Vec::new();
        for address in addresses.iter().filter(is_new) {
            let listener =
                bind(*address).map_err(|source| BindError { address: *address, source })?;
            new.push((*address, listener));
        }
        Ok(Bound { new, wanted: addresses.to_vec() })
    }

    /// Opens what was bound and closes what is not wanted any more; miners that came through a
    /// door stay when it closes. Returns the addresses that were opened.
    pub fn open(&mut self, bound: Bound, hub: &Rc<Hub>) -> Vec<SocketAddr> {
        self.open.retain(|(address, task)| {
            let is_wanted = bound.wanted.contains(address);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        let mut opened = Vec::new();
        for (address, listener) in bound.new {
            opened.push(listener.local_addr().unwrap_or(address));
            let task = tokio::task::spawn_local(accept(hub.clone(), listener));
            self.open.push((address, task.abort_handle()));
        }
        opened
    }

    /// Closes all doors.
    pub fn close(&mut self) {
        for (_, task) in self.open.drain(..) {
            task.abort();
        }
    }
}

/// Binds an address. What is set here, each accepted connection inherits.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket::tune(&socket)?;
    socket.listen(LISTEN_BACKLOG)
}

async fn accept(hub: Rc<Hub>, listener: TcpListener) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                pause = PAUSE_MIN;
                hub.admit(stream, from);
            }
            // The peer was gone before it was accepted.
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                hub.count(|counts| counts.refused.add("accept"));
                let millis = pause.as_millis();
                let text = "no connection can be taken; trying again in";
                log::error(Kind::Listen, format_args!("{text} {millis} ms: {error}"));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be listened at: {}", self.address, self.source)
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use tokio::net::TcpStream;

    #[test]
    fn f47_accepted_connections_inherit_what_the_listener_is_set_to() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(40)));
        });
    }
}
