//! The ports of the page and the API: hyper carries HTTP, handlers written against embedded-svc
//! answer it.
//!
//! A connection is good for one request, so nobody holds one of the few places without asking
//! something; each step has a deadline, head, body and answer have a longest length, and one
//! address gets some of the places and not all (F74).
//!
//! What is where: `exchange` is the whole adapter between hyper and the traits; `routes` lists what
//! there is; `guard` says whether a request may be what it says; `api` answers; `answer` and `json`
//! are what is said.

mod answer;
mod api;
mod exchange;
mod guard;
mod json;
mod metrics;
mod routes;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use loka_stratum::limits::{
    HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_PER_ADDRESS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_TIMEOUT,
    HTTP_WORK_TIMEOUT,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::control::Control;
use super::listen;
use super::log::{self, Kind};

use api::Api;
use exchange::Exchange;
use guard::Peer;

/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(200);

/// Time for a head, for a body, and for a peer to take an answer.
const STEP: Duration = Duration::from_micros(HTTP_TIMEOUT.as_micros());

/// Time to carry a request out.
const WORK: Duration = Duration::from_micros(HTTP_WORK_TIMEOUT.as_micros());

/// A port, while it is open.
pub struct StatusPort {
    /// The address of the settings.
    pub wanted: SocketAddr,
    /// The address that it came to: another port where port 0 was asked for.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl StatusPort {
    /// Opens the port.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn open(wanted: SocketAddr, control: &Rc<Control>) -> io::Result<Self> {
        let listener = listen::bind(wanted)?;
        let address = listener.local_addr()?;
        let task = tokio::task::spawn_local(serve(listener, control.clone())).abort_handle();
        Ok(Self { wanted, address, task })
    }
}

impl Drop for StatusPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The places of a port.
#[derive(Default)]
struct Places {
    taken: RefCell<Vec<IpAddr>>,
}

/// A place that is taken, until it is dropped.
struct Place {
    of: Rc<Places>,
    by: IpAddr,
}

impl Places {
    /// Takes a place, if there is one for this address.
    fn take(self: &Rc<Self>, by: IpAddr) -> Option<Place> {
        let by = network(by);
        let mut taken = self.taken.borrow_mut();
        let of_address = taken.iter().filter(|address| **address == by).count();
        let is_free =
            taken.len() < HTTP_CONNECTIONS_MAX && of_address < HTTP_CONNECTIONS_PER_ADDRESS_MAX;
        is_free.then(|| {
            taken.push(by);
            Place { of: self.clone(), by }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.borrow_mut();
        if let Some(index) = taken.iter().position(|address| *address == self.by) {
            taken.swap_remove(index);
        }
    }
}

/// Returns what stands for an address: itself, or its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => (address.to_bits() >> 64 << 64).to_be_bytes().into(),
    }
}

async fn serve(listener: TcpListener, control: Rc<Control>) {
    let places = Rc::new(Places::default());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn(Kind::Http, format_args!("no connection can be taken: {error}"));
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(from.ip()) else {
            log::warn(Kind::Http, format_args!("{from} refused: all places are taken"));
            continue;
        };
        let (control, peer) = (control.clone(), Peer { address: from.ip(), is_tls: false });
        tokio::task::spawn_local(async move {
            let _place = place;
            exchange(stream, &control, peer).await;
        });
    }
}

/// Serves one request.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, control: &Rc<Control>, peer: Peer) {
    // When the peer, or we, have taken too long over the present step.
    let deadline = Cell::new(Instant::now() + STEP);
    let has_asked = Cell::new(false);
    let begin = |step| deadline.set(Instant::now() + step);
    let service = service_fn(|request| {
        has_asked.set(true);
        begin(STEP + WORK);
        Box::pin(async move {
            let answer = match timeout(STEP, Exchange::read(request)).await {
                Ok(Ok(exchange)) => answer(exchange, control, peer).await,
                Ok(Err(status)) => plain(status),
                Err(_) => plain(StatusCode::REQUEST_TIMEOUT),
            };
            begin(STEP);
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut is_late = false;
    {
        let mut ended = pin!(poll_fn(|context| connection.poll_without_shutdown(context)));
        while !is_late {
            let until = deadline.get();
            tokio::select! {
                result = &mut ended => {
                    if let Err(error) = result {
                        log::debug(Kind::Http, format_args!("{error}"));
                    }
                    break;
                }
                () = sleep_until(until) => is_late = deadline.get() <= until,
            }
        }
    }
    let mut stream = connection.into_parts().io.into_inner();
    let end = async {
        if is_late {
            log::debug(Kind::Http, format_args!("the peer is too slow"));
        }
        if is_late && !has_asked.get() {
            stream.write_all(TOO_SLOW).await?;
        }
        stream.shutdown().await
    };
    let _ = timeout(STEP, end).await;
}

/// What a peer hears that did not ask in time.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

async fn answer(
    mut exchange: Exchange,
    control: &Rc<Control>,
    peer: Peer,
) -> Response<Full<Bytes>> {
    let api = Api { control, access: &control.access, peer };
    match timeout(WORK, api.handle(&mut exchange)).await {
        Ok(Ok(())) => exchange.finish(),
        Ok(Err(error)) => {
            log::warn(Kind::Http, format_args!("no answer: {error}"));
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT),
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let text = status.canonical_reason().unwrap_or_default().to_ascii_lowercase();
    let mut response = Response::new(Full::new(Bytes::from(format!("{{\"error\":\"{text}\"}}\n"))));
    *response.status_mut() = status;
    let json = HeaderValue::from_static(answer::JSON);
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
