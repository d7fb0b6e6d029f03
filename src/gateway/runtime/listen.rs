//! The miners' doors: listeners for their connections.
//!
//! A listener accepts connections as fast as they come; each gets a slot in the table or is closed
//! at once (F44). When file descriptors run out, accepting pauses instead of spinning, and resumes
//! by itself (F45).
//!
//! `[::]` serves both families, unless the list has an IPv4 address at the same port; then each
//! family has its own listener. An IPv4 peer is known by its IPv4 address either way.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::LISTEN_BACKLOG;
use loka_stratum::settings;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::socket;
use crate::gateway::runtime::hub::Hub;

/// First and longest pause after a failed accept.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The listeners in use.
#[derive(Default)]
pub struct Doors {
    open: Vec<Door>,
}

/// An open door.
struct Door {
    wanted: Wanted,
    listening: Listening,
}

/// A listen address of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    address: SocketAddr,
    /// IPv4 has its own listener at this port.
    is_only_v6: bool,
}

/// A listener and its accepting task. Dropping it shuts the listener at once, so later connections
/// reach its replacement; the task ends a moment later.
pub struct Listening {
    listener: Rc<TcpListener>,
    task: AbortHandle,
}

/// Newly bound listeners, not yet in use.
pub struct Bound {
    new: Vec<(Wanted, TcpListener)>,
    wanted: Vec<Wanted>,
}

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Doors {
    /// Binds the addresses that are not open yet; nothing changes until [`Doors::open`].
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub fn bind(&self, settings: &settings::Listen) -> Result<Bound, BindError> {
        let of = |address: &SocketAddr| Wanted {
            address: *address,
            is_only_v6: settings.is_only_v6(*address),
        };
        let wanted: Vec<Wanted> = settings.addresses.iter().map(of).collect();
        let is_new = |wanted: &&Wanted| !self.open.iter().any(|door| door.wanted == **wanted);
        let leaving = self.open.iter().filter(|door| !wanted.contains(&door.wanted));
        let leaving: Vec<&TcpListener> = leaving.map(|door| door.listening.listener()).collect();
        let mut new = Vec::new();
        for place in wanted.iter().filter(is_new) {
            let Wanted { address, is_only_v6 } = *place;
            let listener = bind(address, is_only_v6, &leaving)
                .map_err(|source| BindError { address, source })?;
            new.push((*place, listener));
        }
        Ok(Bound { new, wanted })
    }

    /// Opens the newly bound listeners and closes those no longer wanted. Miners connected through
    /// a closed door stay. Returns the opened addresses.
    pub fn open(&mut self, bound: Bound, hub: &Rc<Hub>) -> Vec<SocketAddr> {
        self.open.retain(|door| bound.wanted.contains(&door.wanted));
        let mut opened = Vec::new();
        for (wanted, listener) in bound.new {
            opened.push(listener.local_addr().unwrap_or(wanted.address));
            let listening = Listening::start(listener, |listener| accept(hub.clone(), listener));
            self.open.push(Door { wanted, listening });
        }
        opened
    }

    /// Returns the addresses of the doors.
    pub fn places(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let place = |door: &Door| door.listening.listener().local_addr();
        self.open.iter().map(move |door| place(door).unwrap_or(door.wanted.address))
    }

    /// Closes all doors.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

impl Listening {
    /// Runs `accept` on a listener.
    pub fn start<F: Future<Output = ()> + 'static>(
        listener: TcpListener,
        accept: impl FnOnce(Rc<TcpListener>) -> F,
    ) -> Self {
        let listener = Rc::new(listener);
        let task = event_loop::spawn("listen", accept(listener.clone())).abort_handle();
        Self { listener, task }
    }

    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It fails only if the listener is closed already.
        let _ = SockRef::from(self.listener()).shutdown(Shutdown::Both);
        self.task.abort();
    }
}

/// Binds an address. Accepted connections inherit the options set here.
///
/// The address may overlap one still held by a listener that is about to close: a single address
/// against all addresses, at the same port. For that moment both listeners share the port; before
/// and after it no other process can.
pub fn bind(
    address: SocketAddr,
    is_only_v6: bool,
    leaving: &[&TcpListener],
) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // Overrides the system's default.
        SockRef::from(&socket).set_only_v6(is_only_v6)?;
    }
    socket.set_reuseaddr(true)?;
    socket::tune(&socket)?;
    let share = |is_shared| {
        let mut leaving = leaving.iter();
        leaving.try_for_each(|listener| SockRef::from(*listener).set_reuse_port(is_shared))
    };
    SockRef::from(&socket).set_reuse_port(!leaving.is_empty())?;
    share(true)?;
    let bound = socket.bind(address).and_then(|()| socket.listen(LISTEN_BACKLOG));
    share(false)?;
    let listener = bound?;
    SockRef::from(&listener).set_reuse_port(false)?;
    Ok(listener)
}

async fn accept(hub: Rc<Hub>, listener: Rc<TcpListener>) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                pause = PAUSE_MIN;
                hub.admit(stream, socket::canonical(from));
            }
            // The peer closed before it was accepted.
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

/// Says why an address cannot be bound, and the remedy.
pub struct WhyNot<'a>(pub &'a io::Error);

impl std::fmt::Display for WhyNot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = self.0;
        write!(f, "{error}")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("; another program has this port, and `ss -ltnp` shows which")
            }
            io::ErrorKind::PermissionDenied => f.write_str(
                "; a port below 1024 needs CAP_NET_BIND_SERVICE; a higher port such as 8443 \
                 needs no right",
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str("; this machine has no such address"),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be listened at: {}", self.address, WhyNot(&self.source))
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use tokio::net::TcpStream;

    #[test]
    fn f47_accepted_connections_inherit_what_the_listener_is_set_to() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = bind("127.0.0.1:0".parse().unwrap(), false, &[]).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(40)));
        });
    }

    #[test]
    fn a_port_goes_from_one_address_to_all_and_back_and_belongs_to_nobody_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let one = bind((Ipv4Addr::LOCALHOST, 0).into(), false, &[]).unwrap();
            let port = one.local_addr().unwrap().port();
            let all = (Ipv4Addr::UNSPECIFIED, port).into();
            assert_eq!(bind(all, false, &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let second = bind(all, false, &[&one]).unwrap();
            let of_others = || std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port));
            assert_eq!(of_others().unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(one);
            let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            second.accept().await.unwrap();
            let third = bind((Ipv4Addr::LOCALHOST, port).into(), false, &[&second]).unwrap();
            drop(second);
            let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            third.accept().await.unwrap();
        });
    }

    #[test]
    fn both_families_have_one_port_and_a_port_goes_from_one_listener_to_two_and_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            let both = bind(any, false, &[]).unwrap();
            let port = both.local_addr().unwrap().port();
            let connect = |address: IpAddr| TcpStream::connect((address, port));
            let _client = connect(Ipv4Addr::LOCALHOST.into()).await.unwrap();
            let (_, from) = both.accept().await.unwrap();
            assert!(from.is_ipv6(), "mapped");
            assert_eq!(socket::canonical(from).ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
            let v6 = bind((Ipv6Addr::UNSPECIFIED, port).into(), true, &[&both]).unwrap();
            let v4 = bind((Ipv4Addr::UNSPECIFIED, port).into(), false, &[&both]).unwrap();
            drop(both);
            let _client = connect(Ipv4Addr::LOCALHOST.into()).await.unwrap();
            assert!(v4.accept().await.unwrap().1.is_ipv4());
            let _client = connect(Ipv6Addr::LOCALHOST.into()).await.unwrap();
            assert!(v6.accept().await.unwrap().1.is_ipv6());
            let both = bind((Ipv6Addr::UNSPECIFIED, port).into(), false, &[&v4, &v6]).unwrap();
            drop((v4, v6));
            let _client = connect(Ipv4Addr::LOCALHOST.into()).await.unwrap();
            both.accept().await.unwrap();
        });
    }
}
