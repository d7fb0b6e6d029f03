//! The injector's thread: connections, and the current fault's effect on their bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, sleep_until};

use super::{Command, Counts, Fault, Way};
use crate::lab::random::Random;
use crate::lab::{clock, net};

/// Bytes that are read at once.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Bytes in flight on a delayed way, at most; the injector reads no more until some arrive.
const LATE_BYTES_MAX: usize = 4 << 20;
/// Pauses in a second of trickling.
const TRICKLES_PER_SEC: u32 = 20;

/// The shared state of all connections.
struct Shared {
    to: SocketAddr,
    state: RefCell<State>,
    /// Wakes all tasks at each fault.
    changed: Notify,
}

struct State {
    /// How bytes are carried; never [`Fault::Cut`] or [`Fault::Reset`].
    mode: Fault,
    /// Counts the faults that end connections, with the kind of the last.
    ended: u64,
    by_reset: bool,
    random: Random,
    counts: Counts,
}

/// Runs the injector until it is told to stop.
pub async fn run(
    listener: TcpListener,
    address: SocketAddr,
    to: SocketAddr,
    seed: u64,
    mut commands: mpsc::Receiver<Command>,
) -> Counts {
    let state = State {
        mode: Fault::Pass,
        ended: 0,
        by_reset: false,
        random: Random::new(seed),
        counts: Counts::default(),
    };
    let shared = Rc::new(Shared { to, state: RefCell::new(state), changed: Notify::new() });
    let mut accepting = Some(accept(&shared, listener));
    loop {
        match commands.recv().await.unwrap_or(Command::Stop) {
            Command::Fault(fault) => {
                shared.begin(fault);
                if fault == Fault::Refuse {
                    if let Some(task) = accepting.take() {
                        task.abort();
                        // The task drops the listener at its next poll.
                        tokio::task::yield_now().await;
                    }
                } else if accepting.is_none() && shared.state.borrow().mode != Fault::Refuse {
                    accepting = net::listen_again(address).await.map(|it| accept(&shared, it));
                }
            }
            Command::Counts(answer) => {
                let _ = answer.send(shared.state.borrow().counts.clone());
            }
            Command::Stop => return shared.state.borrow().counts.clone(),
        }
    }
}

fn accept(shared: &Rc<Shared>, listener: TcpListener) -> AbortHandle {
    let shared = shared.clone();
    spawn_local(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: let others finish.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            spawn_local(carry(shared.clone(), socket));
        }
    })
    .abort_handle()
}

impl Shared {
    fn begin(&self, fault: Fault) {
        let state = &mut *self.state.borrow_mut();
        if fault != Fault::Pass {
            *state.counts.faults.entry(fault.name().to_owned()).or_default() += 1;
        }
        match fault {
            Fault::Cut | Fault::Reset => {
                state.ended += 1;
                state.by_reset = fault == Fault::Reset;
            }
            Fault::Refuse => {
                state.ended += 1;
                state.by_reset = false;
                state.mode = fault;
            }
            mode => state.mode = mode,
        }
        self.changed.notify_waiters();
    }

    /// Waits until `is_so` gives something.
    async fn until<T>(&self, is_so: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = is_so(&self.state.borrow()) {
                return found;
            }
            changed.await;
        }
    }

    fn mode(&self) -> Fault {
        self.state.borrow().mode
    }

    /// Waits while bytes of one way are held back.
    fn open(&self, way: Way) -> impl Future<Output = ()> + '_ {
        self.until(move |state| match state.mode {
            Fault::HalfOpen(held) if held == way || held == Way::Both => None,
            _ => Some(()),
        })
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.state.borrow_mut().counts);
    }
}

/// Carries one connection until either end or a fault ends it.
async fn carry(shared: Rc<Shared>, mut down: TcpStream) {
    let ended = {
        let state = &mut *shared.state.borrow_mut();
        state.counts.connections += 1;
        state.counts.open += 1;
        state.ended
    };
    // A half-open client has completed the TCP handshake with the system only.
    let connected = async {
        shared.open(Way::Both).await;
        TcpStream::connect(shared.to).await
    };
    let fault = shared.until(|state| (state.ended != ended).then_some(state.by_reset));
    tokio::pin!(fault);
    let mut up = tokio::select! {
        biased;
        by_reset = &mut fault => return shared.end(&[&down], Some(by_reset)),
        up = connected => match up {
            Ok(up) => up,
            Err(_) => {
                shared.count(|counts| counts.unreachable += 1);
                return shared.end(&[&down], None);
            }
        },
    };
    let _ = down.set_nodelay(true).and_then(|()| up.set_nodelay(true));
    let end = {
        let ((down_read, down_write), (up_read, up_write)) = (down.split(), up.split());
        let both = async {
            tokio::try_join!(
                pump(&shared, Way::Up, down_read, up_write),
                pump(&shared, Way::Down, up_read, down_write),
            )
        };
        tokio::select! {
            biased;
            by_reset = &mut fault => Some(by_reset),
            _ = both => None,
        }
    };
    shared.end(&[&down, &up], end);
}

impl Shared {
    /// Counts the end of a connection, and sets up its sockets for FIN or RST on drop.
    fn end(&self, sockets: &[&TcpStream], fault: Option<bool>) {
        if fault == Some(true) {
            for socket in sockets {
                // Closing then sends RST, and discards unsent bytes.
                let _ = SockRef::from(*socket).set_linger(Some(Duration::ZERO));
            }
        }
        self.count(|counts| {
            counts.open -= 1;
            match fault {
                Some(true) => counts.reset += 1,
                Some(false) => counts.cut += 1,
                None => {}
            }
        });
    }
}

/// Carries the bytes of one direction until it ends, under the current fault.
async fn pump(
    shared: &Shared,
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES_MAX];
    let mut late = Late::default();
    loop {
        let read = async {
            shared.open(way).await;
            from.read(&mut buffer).await
        };
        let count = tokio::select! {
            biased;
            () = late.is_due(), if !late.is_empty() => {
                forward(shared, way, &late.next(), &mut to).await?;
                continue;
            }
            count = read, if late.bytes < LATE_BYTES_MAX => count?,
        };
        // The fault may have changed during the wait.
        shared.open(way).await;
        if count == 0 {
            while !late.is_empty() {
                late.is_due().await;
                forward(shared, way, &late.next(), &mut to).await?;
            }
            return to.shutdown().await;
        }
        let bytes = &mut buffer[..count];
        match shared.mode() {
            Fault::Delay(delay) => late.push(bytes, delay),
            Fault::Corrupt => shared.corrupt(bytes),
            _ => {}
        }
        match late.is_empty() {
            true => forward(shared, way, bytes, &mut to).await?,
            // Bytes never overtake each other.
            false if !matches!(shared.mode(), Fault::Delay(_)) => late.push(bytes, Duration::ZERO),
            false => {}
        }
    }
}

/// Bytes in flight on a delayed way.
#[derive(Default)]
struct Late {
    queue: VecDeque<(Instant, Vec<u8>)>,
    /// Sum of the queue.
    bytes: usize,
}

impl Late {
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues bytes that arrive after `delay`.
    fn push(&mut self, bytes: &[u8], delay: Duration) {
        self.bytes += bytes.len();
        self.queue.push_back((clock::now() + delay, bytes.to_vec()));
    }

    /// Waits until the first bytes are due.
    async fn is_due(&self) {
        if let Some((due, _)) = self.queue.front() {
            sleep_until((*due).into()).await;
        }
    }

    /// Removes and returns the first bytes.
    fn next(&mut self) -> Vec<u8> {
        let bytes = self.queue.pop_front().map_or(Vec::new(), |(_, bytes)| bytes);
        self.bytes -= bytes.len();
        bytes
    }
}

/// Writes bytes and counts them.
async fn forward(
    shared: &Shared,
    way: Way,
    bytes: &[u8],
    to: &mut WriteHalf<'_>,
) -> io::Result<()> {
    shared.open(way).await;
    trickle(shared, bytes, to).await?;
    shared.count(|counts| match way {
        Way::Up => counts.bytes_up += bytes.len() as u64,
        Way::Down | Way::Both => counts.bytes_down += bytes.len() as u64,
    });
    Ok(())
}

/// Writes bytes, a few at a time during a trickle.
async fn trickle(shared: &Shared, mut bytes: &[u8], to: &mut WriteHalf<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        let Fault::Trickle(per_sec) = shared.mode() else { return to.write_all(bytes).await };
        let steps = TRICKLES_PER_SEC.min(per_sec);
        let piece = (per_sec / steps) as usize;
        let (now, later) = bytes.split_at(piece.min(bytes.len()));
        to.write_all(now).await?;
        bytes = later;
        let pause = sleep(Duration::from_secs(1) / steps);
        tokio::select! {
            () = pause => {}
            () = shared.until(|s| (!matches!(s.mode, Fault::Trickle(_))).then_some(())) => {}
        }
    }
    Ok(())
}

impl Shared {
    /// Turns one bit.
    fn corrupt(&self, bytes: &mut [u8]) {
        let state = &mut *self.state.borrow_mut();
        let last = u32::try_from(bytes.len() - 1).unwrap_or(u32::MAX);
        let (index, bit) = (state.random.up_to(last) as usize, state.random.up_to(7));
        bytes[index] ^= 1 << bit;
        state.counts.corrupted += 1;
    }
}
