//! Line transport of the lab's pool and swarm: one task per connection on one thread, one read
//! buffer for all, and immediate writes by any owner of the table.
//!
//! An idle connection costs a task and a [`Port`], and no buffer. Complete lines are handed out
//! from the shared read buffer; only a partial line, or the rest of a write to a full socket, is
//! kept. So the pool can serve as the bare pool of the bench.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsStream;

/// Backlog of the listener.
const BACKLOG: u32 = 4096;
/// Most bytes per read.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Most unsent bytes kept for a peer that does not read; beyond that the peer is disconnected.
const SPILL_BYTES_MAX: usize = 1024 * 1024;
/// Longest accepted line, in bytes.
const LINE_BYTES_MAX: usize = 128 * 1024;
/// Consecutive reads of one connection before the task yields.
const READS_IN_A_ROW: usize = 16;

/// Binds an address and listens there.
///
/// # Errors
///
/// The address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens at a former address again, once an aborted task has closed it.
pub async fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..100 {
        if let Ok(listener) = listen(address) {
            return Some(listener);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Handle of a connection: its slot in the table, and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub index: usize,
    pub generation: u32,
}

/// Lines and bytes in both directions, as the application sees them (inside TLS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub lines_in: u64,
    pub lines_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// The cause of a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed it.
    Closed,
    /// The socket or TLS failed.
    Failed,
    /// This side cut it, by [`Port::cut`] or because its table entry is gone.
    Cut,
    /// [`Table::handle_line`] ended it.
    Quit,
    /// The peer sent a line above the limit.
    LineTooLong,
}

/// The table ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quit;

/// The owner of the connections: the pool, or the swarm.
pub trait Table {
    /// Returns the port of a connection, or `None` after its end.
    fn port(&mut self, key: Key) -> Option<&mut Port>;

    /// Returns the counters of all connections together. The sender counts lines sent outside
    /// [`handle_line`](Self::handle_line).
    fn traffic(&mut self) -> &mut Traffic;

    /// Handles one line without its line end and appends the answers to `out`.
    ///
    /// # Errors
    ///
    /// [`Quit`] ends the connection, after `out` was handed to the socket.
    fn handle_line(&mut self, key: Key, line: &[u8], out: &mut Vec<u8>) -> Result<(), Quit>;
}

/// The table's half of a connection: it can be written to at any time.
#[derive(Debug, Default)]
pub struct Port {
    /// `None` under TLS, where only the task can write.
    tcp: Option<OwnedWriteHalf>,
    spill: Vec<u8>,
    partial: Vec<u8>,
    waker: Option<Waker>,
    is_cut: bool,
}

impl Port {
    /// Sends `bytes`: as much as the socket takes at once, the rest from the task.
    ///
    /// A peer with a mebibyte of unread bytes is disconnected.
    pub fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.spill.is_empty() {
            if let Some(tcp) = &self.tcp {
                match tcp.try_write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return self.cut(),
                }
            }
            if rest.is_empty() {
                return;
            }
        }
        if self.spill.len() + rest.len() > SPILL_BYTES_MAX {
            return self.cut();
        }
        self.spill.extend_from_slice(rest);
        self.wake();
    }

    /// Closes the connection without a further line.
    pub fn cut(&mut self) {
        self.is_cut = true;
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn remember(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

/// The task's half of a connection.
pub enum Stream {
    Tcp(OwnedReadHalf),
    Tls(Box<TlsStream<Counted>>),
}

impl Stream {
    /// Splits a TCP connection into the halves of task and table.
    pub fn tcp(socket: TcpStream) -> (Self, Port) {
        let (read, write) = socket.into_split();
        (Self::Tcp(read), Port { tcp: Some(write), ..Port::default() })
    }

    /// The same for a connection under TLS.
    pub fn tls(stream: TlsStream<Counted>) -> (Self, Port) {
        (Self::Tls(Box::new(stream)), Port::default())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes the unsent bytes of `port`; pending while the socket is full.
    fn poll_flush(&mut self, cx: &mut Context<'_>, port: &mut Port) -> Poll<io::Result<()>> {
        while !port.spill.is_empty() {
            let written = match (&mut *self, &mut port.tcp) {
                (Self::Tls(tls), _) => ready!(Pin::new(tls).poll_write(cx, &port.spill))?,
                (Self::Tcp(_), Some(tcp)) => ready!(Pin::new(tcp).poll_write(cx, &port.spill))?,
                (Self::Tcp(_), None) => {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                }
            };
            port.spill.drain(..written);
        }
        if port.spill.capacity() > READ_BYTES_MAX {
            port.spill = Vec::new();
        }
        match self {
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Tcp(_) => Poll::Ready(Ok(())),
        }
    }
}

/// The shared buffers of all connections of a thread; borrowed within one poll only.
pub struct Scratch {
    input: Box<[u8]>,
    out: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; READ_BYTES_MAX].into_boxed_slice(), out: Vec::new() }
    }
}

/// Carries the lines of one connection until it ends.
pub async fn carry<T: Table>(
    table: &RefCell<T>,
    scratch: &RefCell<Scratch>,
    key: Key,
    mut stream: Stream,
) -> End {
    poll_fn(|cx| poll(table, scratch, key, &mut stream, cx)).await
}

fn poll<T: Table>(
    table: &RefCell<T>,
    scratch: &RefCell<Scratch>,
    key: Key,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let mut table = table.borrow_mut();
    let mut scratch = scratch.borrow_mut();
    let Scratch { input, out } = &mut *scratch;
    for _ in 0..READS_IN_A_ROW {
        let Some(port) = table.port(key) else { return Poll::Ready(End::Cut) };
        if port.is_cut {
            return Poll::Ready(End::Cut);
        }
        if let Poll::Ready(Err(_)) = stream.poll_flush(cx, port) {
            return Poll::Ready(End::Failed);
        }
        let count = match stream.poll_read(cx, input) {
            Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) => return Poll::Ready(End::Failed),
            Poll::Pending => {
                port.remember(cx.waker());
                return Poll::Pending;
            }
        };
        if let Err(end) = handle_input(&mut *table, key, &input[..count], out) {
            return Poll::Ready(end);
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn handle_input<T: Table>(
    table: &mut T,
    key: Key,
    mut input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), End> {
    out.clear();
    table.traffic().bytes_in += input.len() as u64;
    let mut quit = Ok(());
    while quit.is_ok() && !input.is_empty() {
        let start = input;
        // A slice's own search is the standard library's memchr, which is not public.
        let used = input.skip_until(b'\n').unwrap_or(0);
        let taken = &start[..used];
        let Some(port) = table.port(key) else { return Err(End::Cut) };
        let Some(line) = taken.strip_suffix(b"\n") else {
            port.partial.extend_from_slice(taken);
            if port.partial.len() > LINE_BYTES_MAX {
                return Err(End::LineTooLong);
            }
            break;
        };
        quit = if port.partial.is_empty() {
            handle_line(table, key, line, out)
        } else {
            let mut whole = std::mem::take(&mut port.partial);
            whole.extend_from_slice(line);
            handle_line(table, key, &whole, out)
        };
    }
    reply(table, key, out);
    quit.map_err(|Quit| End::Quit)
}

fn handle_line<T: Table>(
    table: &mut T,
    key: Key,
    line: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Quit> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Ok(());
    }
    table.traffic().lines_in += 1;
    table.handle_line(key, line, out)
}

fn reply<T: Table>(table: &mut T, key: Key, out: &[u8]) {
    if out.is_empty() {
        return;
    }
    let traffic = table.traffic();
    traffic.bytes_out += out.len() as u64;
    traffic.lines_out += out.iter().filter(|byte| **byte == b'\n').count() as u64;
    if let Some(port) = table.port(key) {
        port.send(out);
    }
}

/// A socket that counts the bytes on the wire, TLS records and handshakes included.
pub struct Counted {
    socket: TcpStream,
    counts: Rc<WireBytes>,
}

/// Bytes on the wire both ways, of all connections that share it.
#[derive(Debug, Default)]
pub struct WireBytes {
    pub read: Cell<u64>,
    pub written: Cell<u64>,
}

impl Counted {
    /// Counts the bytes through `socket` in `counts`.
    pub const fn new(socket: TcpStream, counts: Rc<WireBytes>) -> Self {
        Self { socket, counts }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        let count = (buffer.filled().len() - before) as u64;
        this.counts.read.set(this.counts.read.get() + count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.socket).poll_write(cx, bytes))?;
        this.counts.written.set(this.counts.written.get() + count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
