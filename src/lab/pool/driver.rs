//! The pool's thread: sockets, timers and commands around the [`Server`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::Command;
use super::ledger::Ledger;
use super::server::Server;
use crate::lab::net::{Counted, Port, Scratch, Stream, carry, listen_again};

/// How long a TLS handshake or a status request may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The shared state of the tasks of the pool's thread.
#[derive(Clone)]
struct Shared {
    server: Rc<RefCell<Server>>,
    scratch: Rc<RefCell<Scratch>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Shared {
    fn accept(&self, listener: TcpListener) -> AbortHandle {
        let shared = self.clone();
        spawn_local(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    // Out of file descriptors, most likely: let others finish.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let _ = socket.set_nodelay(true);
                spawn_local(shared.clone().serve(socket));
            }
        })
        .abort_handle()
    }

    async fn serve(self, socket: TcpStream) {
        let (stream, port) = match &self.tls {
            None => Stream::tcp(socket),
            // Boxed, so that the task of a connection without TLS stays small.
            Some(config) => match Box::pin(self.shake_hands(socket, config.clone())).await {
                Some(stream) => stream,
                None => return,
            },
        };
        let key = self.server.borrow_mut().connect(port);
        let end = carry(&self.server, &self.scratch, key, stream).await;
        self.server.borrow_mut().disconnect(key, end);
    }

    async fn shake_hands(
        &self,
        socket: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Option<(Stream, Port)> {
        let wire = self.server.borrow().wire_bytes();
        let handshake = TlsAcceptor::from(config).accept(Counted::new(socket, wire));
        match timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => Some(Stream::tls(TlsStream::Server(stream))),
            _ => {
                self.server.borrow_mut().count_failed_handshake();
                None
            }
        }
    }

    /// Answers every request on the status address with the ledger.
    fn serve_status(&self, listener: TcpListener) {
        let shared = self.clone();
        spawn_local(async move {
            loop {
                let Ok((mut socket, _)) = listener.accept().await else { continue };
                let shared = shared.clone();
                spawn_local(async move {
                    let mut request = [0; 2048];
                    let _ = timeout(HANDSHAKE_MAX, socket.read(&mut request)).await;
                    let body = shared.server.borrow().ledger();
                    let body = serde_json::to_string(&body).unwrap_or_default();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
                    let answer = format!(
                        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
    }
}

/// Runs the pool on the calling thread until it is told to stop; returns its ledger.
pub fn run(
    server: Server,
    listener: TcpListener,
    status: Option<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
    commands: mpsc::Receiver<Command>,
    runtime: &LocalRuntime,
) -> Ledger {
    let server = Rc::new(RefCell::new(server));
    let shared = Shared { server: server.clone(), scratch: Rc::default(), tls };
    runtime.block_on(async move {
        if let Some(status) = status {
            shared.serve_status(status);
        }
        obey(&shared, listener, commands).await;
    });
    server.borrow().ledger()
}

async fn obey(shared: &Shared, listener: TcpListener, mut commands: mpsc::Receiver<Command>) {
    let Ok(address) = listener.local_addr() else { return };
    let (job_every, block_every) = shared.server.borrow_mut().begin();
    let mut accepting = Some(shared.accept(listener));
    let mut jobs = ticker(job_every);
    let mut blocks = ticker(block_every.unwrap_or(Duration::MAX));
    loop {
        let command = tokio::select! {
            command = commands.recv() => command.unwrap_or(Command::Stop),
            _ = jobs.tick() => Command::Job,
            _ = blocks.tick(), if block_every.is_some() => Command::Block,
        };
        match command {
            Command::Down => {
                shared.server.borrow_mut().cut_all();
                if let Some(task) = accepting.take() {
                    task.abort();
                }
            }
            Command::Up(change) => {
                shared.server.borrow_mut().change(change);
                if accepting.is_none() {
                    accepting = listen_again(address).await.map(|it| shared.accept(it));
                }
            }
            Command::Stop => {
                let mut server = shared.server.borrow_mut();
                server.cut_all();
                server.save();
                return;
            }
            command => shared.server.borrow_mut().obey(command),
        }
    }
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let start = tokio::time::Instant::now();
    let far = Duration::from_secs(86_400 * 365);
    let every = every.min(far);
    let mut ticker = interval_at(start + every, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
