//! A link: dials a pool when the engine asks for it, then carries bytes both ways.
//!
//! Each link is a task. The engine may end it at any time; the task is aborted, and the next dial
//! is another task. Both directions are polled in one step, so a pool that does not read cannot
//! block its own lines. The kernel gives up on bytes that the pool does not acknowledge
//! (`socket::tune`).
//!
//! The reason of a failed dial is logged here in full; the engine gets only its kind.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use loka_stratum::limits::LINK_OUTPUT_BYTES_MIN;
use loka_stratum::time::Instant;
use loka_stratum::upstream::{Link, LinkClose, LinkIndex, Lost};
use loka_stratum::wire::writer::Writer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::gateway::base::clock;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::runtime::dial::{Connected, DialError, Dialer, Plain, Stream};
use crate::gateway::runtime::hub::Hub;

/// Time between two checks of an unset clock.
const CLOCK_CHECK: Duration = Duration::from_secs(1);

/// The gateway's end of a link.
#[derive(Default)]
pub struct LinkPort {
    /// The engine's index of the link, once dialled.
    link: Option<LinkIndex>,
    task: Option<AbortHandle>,
    /// Whether the connection is up.
    is_up: bool,
    /// Lines for the pool, and the number of bytes already sent.
    out: Vec<u8>,
    sent: usize,
    waker: Option<Waker>,
    /// Why the last dial failed, until one succeeds.
    pub error: Option<String>,
}

impl LinkPort {
    /// Closes the connection, or stops dialling.
    pub fn hang_up(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.close();
    }

    fn close(&mut self) {
        self.is_up = false;
        self.waker = None;
        self.out = Vec::new();
        self.sent = 0;
    }

    fn unsent(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }
}

impl Hub {
    /// Dials a pool for a link.
    pub(crate) fn dial(self: &Rc<Self>, link: LinkIndex, pool: u8) {
        let dialer = self.dialers.borrow().get(usize::from(pool)).cloned();
        let Some(dialer) = dialer else {
            // The settings just removed that pool; the engine drops the link next.
            self.lose(link, LinkClose::Unneeded);
            return;
        };
        let task = event_loop::spawn("link", run(self.clone(), link, pool, dialer)).abort_handle();
        self.with_link(link.index(), |port| {
            port.hang_up();
            port.link = Some(link);
            port.task = Some(task);
        });
    }

    /// Closes a link as the engine asks.
    pub(crate) fn hang_up(&self, link: LinkIndex) {
        self.with_link(link.index(), LinkPort::hang_up);
    }

    /// Takes the engine's next lines for the pools, and wakes the links' tasks to send them.
    pub(crate) fn fill_links(&self, now: Instant) {
        for port in self.links.borrow_mut().iter_mut().filter(|port| port.is_up) {
            if port.unsent().is_empty() {
                self.take_lines(port, now);
                if !port.unsent().is_empty()
                    && let Some(waker) = port.waker.take()
                {
                    waker.wake();
                }
            }
        }
    }

    fn take_lines(&self, port: &mut LinkPort, now: Instant) {
        port.out.clear();
        port.sent = 0;
        let Some(link) = port.link else { return };
        let scratch = &mut *self.scratch.borrow_mut();
        debug_assert!(scratch.write.len() >= LINK_OUTPUT_BYTES_MIN, "no room for a line");
        let mut out = Writer::new(&mut scratch.write);
        // Lines without room now are taken after these are sent.
        let _ = self.proxy.borrow_mut().poll_link_output(link, &mut out, now);
        port.out.extend_from_slice(out.as_slice());
    }

    fn lose(&self, link: LinkIndex, close: LinkClose) {
        self.with_link(link.index(), LinkPort::close);
        self.engine().handle_link_down(link, close, clock::now());
        self.pump.set();
    }

    fn with_link(&self, index: usize, act: impl FnOnce(&mut LinkPort)) {
        if let Some(port) = self.links.borrow_mut().get_mut(index) {
            act(port);
        }
    }
}

/// Dials, then carries bytes until one side ends it.
async fn run(hub: Rc<Hub>, link: LinkIndex, pool: u8, dialer: Rc<Dialer>) {
    let connected = match dial(&hub, link, pool, &dialer).await {
        Ok(connected) => connected,
        Err(error) => {
            let number = pool + 1;
            let lost = lost(&error);
            hub.with_link(link.index(), |port| port.error = Some(error.to_string()));
            hub.lose(link, LinkClose::Lost(lost));
            let then = hub.next_attempt(link, clock::now());
            log::warn(Kind::LinkDown, format_args!("pool {number}: {error}{then}"));
            return;
        }
    };
    announce(pool, &connected);
    hub.with_link(link.index(), |port| {
        port.is_up = true;
        port.error = None;
    });
    hub.engine().handle_link_up(link, clock::now());
    hub.pump.set();
    let mut stream = connected.stream;
    let close = poll_fn(|context| carry(&hub, link, &mut stream, context)).await;
    hub.lose(link, close);
}

/// Dials; with an unset clock it waits until the clock is plausible (F65). Meanwhile the engine
/// counts the pool as failing, so a pool that needs no clock gets its turn.
async fn dial(
    hub: &Hub,
    link: LinkIndex,
    pool: u8,
    dialer: &Dialer,
) -> Result<Connected, DialError> {
    loop {
        let port = hub.proxy.borrow().links().get(link).and_then(Link::port);
        match dialer.dial(port).await {
            Err(DialError::Clock(unset)) => {
                log::error(Kind::Clock, format_args!("pool {}: {unset}", pool + 1));
                hub.with_link(link.index(), |port| port.error = Some(unset.to_string()));
                sleep(CLOCK_CHECK).await;
            }
            result => return result,
        }
    }
}

fn announce(pool: u8, connected: &Connected) {
    let number = pool + 1;
    let address = connected.address;
    match (&connected.stream, connected.is_resumed) {
        (Stream::Plain(_), _) => {
            log::warn(
                Kind::Plain,
                format_args!(
                    "pool {number}: PLAIN TCP to {address}: anybody on the path can take the \
                     hash-rate; use stratum+ssl:// where the pool has it"
                ),
            );
        }
        (Stream::Tls(_), true) => {
            log::info(Kind::Tls, format_args!("pool {number}: TLS to {address}, resumed"));
        }
        (Stream::Tls(_), false) => {
            log::info(Kind::Tls, format_args!("pool {number}: TLS to {address}"));
        }
    }
}

fn lost(error: &DialError) -> Lost {
    match error {
        DialError::Resolve { .. } => Lost::Name,
        DialError::Connect { .. } => Lost::Connect,
        DialError::Tls { .. } | DialError::Clock(_) => Lost::Tls,
    }
}

/// Writes and reads as far as the connection allows; ready with the reason when it has ended.
fn carry(
    hub: &Hub,
    link: LinkIndex,
    stream: &mut Stream,
    context: &mut Context<'_>,
) -> Poll<LinkClose> {
    loop {
        if let Poll::Ready(Err(error)) = write(hub, link, stream, context) {
            return Poll::Ready(broken(hub, link, &error));
        }
        match ready!(read(hub, link, stream, context)) {
            Ok(true) => {}
            Ok(false) => return Poll::Ready(LinkClose::Lost(Lost::Closed)),
            Err(Broken::Engine(close)) => return Poll::Ready(close),
            Err(Broken::Io(error)) => return Poll::Ready(broken(hub, link, &error)),
        }
    }
}

enum Broken {
    Engine(LinkClose),
    Io(io::Error),
}

/// Classifies how an open connection was lost. The words of system and TLS go to the debug log.
fn broken(hub: &Hub, link: LinkIndex, error: &io::Error) -> LinkClose {
    let pool = hub.proxy.borrow().links().get(link).map_or(0, Link::pool);
    let error_text = Plain(error);
    log::debug(Kind::LinkDown, format_args!("pool {}: {error_text}", pool + 1));
    LinkClose::Lost(match error.kind() {
        io::ErrorKind::UnexpectedEof => Lost::Cut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Lost::Reset,
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Lost::Unacknowledged,
        io::ErrorKind::InvalidData => Lost::Garbled,
        _ => Lost::Broken,
    })
}

/// Sends the engine's lines until none are left, and registers the waker for more.
fn write(
    hub: &Hub,
    link: LinkIndex,
    stream: &mut Stream,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut links = hub.links.borrow_mut();
    let Some(port) = links.get_mut(link.index()) else { return Poll::Pending };
    loop {
        if port.unsent().is_empty() {
            hub.take_lines(port, clock::now());
            if port.unsent().is_empty() {
                port.waker = Some(context.waker().clone());
                return Pin::new(stream).poll_flush(context);
            }
        }
        let written = ready!(Pin::new(&mut *stream).poll_write(context, port.unsent()))?;
        port.sent += written;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
    }
}

/// Passes received bytes to the engine; `false` at the end of the stream.
fn read(
    hub: &Hub,
    link: LinkIndex,
    stream: &mut Stream,
    context: &mut Context<'_>,
) -> Poll<Result<bool, Broken>> {
    let scratch = &mut *hub.scratch.borrow_mut();
    let mut buffer = ReadBuf::new(&mut scratch.read);
    ready!(Pin::new(stream).poll_read(context, &mut buffer)).map_err(Broken::Io)?;
    if buffer.filled().is_empty() {
        return Poll::Ready(Ok(false));
    }
    let result = hub.engine().handle_link_input(link, buffer.filled(), clock::now());
    hub.pump.set();
    Poll::Ready(result.map(|()| true).map_err(Broken::Engine))
}
