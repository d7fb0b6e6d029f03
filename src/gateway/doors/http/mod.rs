//! The ports of the page and the API: hyper carries HTTP, handlers written against embedded-svc
//! answer.
//!
//! A connection serves one request, so idle connections keep no slot. Each step has a deadline;
//! head, body and answer have length limits; one address gets a part of the slots and not all
//! (F74). An idle connection loses its slot to a newcomer (F97).
//!
//! The modules: `places` hands out slots; `exchange` adapts hyper to the traits; `routes` lists the
//! paths; `guard` checks a request's origin; `api` answers, and `basic` answers browsers without
//! scripts; `update` reads the one body that is too long for memory; `page` holds the page's files;
//! `answer`, `json` and `backup` are the answers.

mod answer;
mod api;
mod backup;
#[cfg(test)]
mod bare;
mod basic;
mod exchange;
mod guard;
mod json;
mod metrics;
mod page;
mod places;
mod routes;
mod update;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
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
use loka_stratum::limits::{HTTP_HEAD_BYTES_MAX, HTTP_TIMEOUT, HTTP_WORK_TIMEOUT, UPDATE_TIME_MAX};
use loka_stratum::settings::{PageAddress, Settings};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::gateway::base::clock;
use crate::gateway::base::event_loop;
use crate::gateway::base::handshakes;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::say::say;
use crate::gateway::base::socket;
use crate::gateway::operate::control::{self, Control};
use crate::gateway::runtime::listen::{self, Listening, WhyNot};
use crate::gateway::update::Updates;

use api::Api;
use exchange::{Exchange, Refusal};
use guard::Peer;
use places::{Places, Rank, Seat};

/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(200);

/// Deadline for a head, for a body, and for a peer to take an answer.
const STEP: Duration = Duration::from_micros(HTTP_TIMEOUT.as_micros());

/// Deadline to carry a request out.
const WORK: Duration = Duration::from_micros(HTTP_WORK_TIMEOUT.as_micros());

/// Deadline for a whole update; each of its pieces has [`STEP`].
const UPDATE: Duration = Duration::from_micros(UPDATE_TIME_MAX.as_micros());

/// The ports, the slots that they share, and the updates that come through them.
pub struct Ports {
    open: Rc<RefCell<OpenPorts>>,
    places: Rc<Places>,
    updates: Rc<Updates>,
}

/// What requests are carried out by.
struct Desk {
    control: Rc<Control>,
    updates: Rc<Updates>,
}

#[derive(Default)]
struct OpenPorts {
    status: Option<Port>,
    page: Option<Port>,
}

/// An open port.
struct Port {
    /// The address in the settings.
    wanted: SocketAddr,
    /// The bound address.
    address: SocketAddr,
    listening: Listening,
}

impl Ports {
    /// Creates the ports, all of them closed.
    pub fn new(updates: Rc<Updates>) -> Self {
        Self { open: Rc::default(), places: Rc::default(), updates }
    }
}

impl control::Ports for Ports {
    fn bind(&self, settings: &Settings, control: &Rc<Control>) -> io::Result<Box<dyn FnOnce()>> {
        let bind = |key: &str, open: &Option<Port>, wanted: Option<SocketAddr>, is_tls| {
            if open.as_ref().map(|port| port.wanted) == wanted {
                return Ok(None);
            }
            let Some(address) = wanted else { return Ok(Some(None)) };
            let leaving: Vec<&TcpListener> =
                open.iter().map(|port| port.listening.listener()).collect();
            let port = listen::bind(address, false, &leaving)
                .and_then(|listener| Port::open(address, listener, self, control, is_tls));
            let text = |error: io::Error| {
                let why = WhyNot(&error);
                io::Error::new(error.kind(), format!("{key} {address}: {why}"))
            };
            port.map(|port| Some(Some(port))).map_err(text)
        };
        let open = self.open.borrow();
        let status = bind("status.address", &open.status, settings.status.address, false)?;
        let page = bind("web.address", &open.page, settings.page_address(), true);
        let page = match page {
            // Nobody asked for this very address, so mining goes on without the page.
            Err(error) if settings.web.address == PageAddress::Auto => {
                let way_out = "web.address = \"off\", or another port, ends this";
                log::warn(Kind::Settings, format_args!("no page: {error}; {way_out}"));
                Some(None)
            }
            page => page?,
        };
        drop(open);
        let open = self.open.clone();
        Ok(Box::new(move || {
            let mut open = open.borrow_mut();
            if let Some(status) = status {
                open.status = status;
            }
            if let Some(page) = page {
                open.page = page;
            }
        }))
    }

    fn page(&self) -> Option<SocketAddr> {
        Some(self.open.borrow().page.as_ref()?.address)
    }
}

impl Port {
    fn open(
        wanted: SocketAddr,
        listener: TcpListener,
        ports: &Ports,
        control: &Rc<Control>,
        is_tls: bool,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        // For programs that start the gateway with port 0; people read the log on stderr.
        if is_tls {
            say(format_args!("web {address}"));
            if let Some(fingerprint) = control.access.certificate.fingerprint() {
                log::info(Kind::Settings, format_args!("fingerprint of the page: {fingerprint}"));
            }
            for place in socket::reached_at(address) {
                log::info(Kind::Settings, format_args!("page at https://{place}"));
            }
        } else {
            say(format_args!("status {address}"));
            log::info(Kind::Settings, format_args!("status port at http://{address}"));
        }
        let desk = Rc::new(Desk { control: control.clone(), updates: ports.updates.clone() });
        let places = ports.places.clone();
        let listening =
            Listening::start(listener, |listener| serve(listener, places, desk, is_tls));
        Ok(Self { wanted, address, listening })
    }
}

async fn serve(listener: Rc<TcpListener>, places: Rc<Places>, desk: Rc<Desk>, is_tls: bool) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok((stream, from)) => (stream, socket::canonical(from)),
            Err(error) => {
                log::warn(Kind::Http, format_args!("no connection can be taken: {error}"));
                sleep(PAUSE).await;
                continue;
            }
        };
        let (places, desk) = (places.clone(), desk.clone());
        // Each connection is served by its own task, so a slow peer does not block accepting (F53).
        event_loop::spawn("http", async move {
            let peer = Peer { address: from.ip(), is_tls };
            if is_tls && !desk.control.takes_at_page(peer.address) {
                let text = "refused: the page is for the local network as long as admin has no \
                            password, or web.address is \"auto\"";
                log::warn(Kind::Http, format_args!("{from} {text}"));
                return;
            }
            if is_tls && !places.may_shake_hands(peer.address, clock::now()) {
                let text = "refused: more handshakes than one address may begin";
                log::warn(Kind::Http, format_args!("{from} {text}"));
                return;
            }
            let Some(place) = places.connection(peer) else {
                log::warn(Kind::Http, format_args!("{from} refused: all places are taken"));
                return;
            };
            let seat = place.seat();
            let served = async {
                if !is_tls {
                    return exchange(stream, &desk, peer, seat).await;
                }
                match secure(stream, &places, &desk.control, peer).await {
                    Ok(stream) => exchange(stream, &desk, peer, seat).await,
                    Err(error) => log::debug(Kind::Http, format_args!("{from}: no TLS: {error}")),
                }
            };
            tokio::select! {
                () = served => {}
                () = seat.taken_back() => {
                    let text = "let go: it asked for nothing, and others came";
                    log::debug(Kind::Http, format_args!("{from} {text}"));
                }
            }
        });
    }
}

/// Does the TLS handshake, within a handshake slot and its deadline (F53).
async fn secure(
    stream: TcpStream,
    places: &Places,
    control: &Control,
    peer: Peer,
) -> io::Result<TlsStream<TcpStream>> {
    let place = places.handshake(peer.address);
    let place = place.ok_or_else(|| io::Error::other("all handshakes are taken"))?;
    let settings = control.settings().clone();
    let config = control.access.certificate.config(&settings).await?;
    // The signature is made beside the event loop.
    let shaken = handshakes::PAGE.run(TlsAcceptor::from(config).accept(stream));
    tokio::select! {
        stream = timeout(STEP, shaken) => stream??,
        () = place.seat().taken_back() => Err(io::Error::other("others came to shake hands")),
    }
}

/// Serves one request.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    desk: &Desk,
    peer: Peer,
    seat: &Seat,
) {
    // The deadline of the present step, for the peer or for us.
    let deadline = Cell::new(Instant::now() + STEP);
    let has_asked = Cell::new(false);
    let begin = |step| deadline.set(Instant::now() + step);
    let service = service_fn(|request| {
        has_asked.set(true);
        let is_file = routes::is_file(request.uri().path());
        let work = if is_file { UPDATE } else { WORK };
        begin(STEP + work);
        Box::pin(async move {
            let read = async {
                if is_file { Exchange::begin(request) } else { Exchange::read(request).await }
            };
            let answer = match timeout(STEP, read).await {
                Ok(Ok(exchange)) => {
                    seat.set_rank(rank(&exchange, &desk.control, peer));
                    answer(exchange, desk, peer, work).await
                }
                Ok(Err(Refusal(status, text))) => plain(status, text),
                Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
            };
            if seat.rank() < Rank::Known {
                seat.set_rank(Rank::Silent);
            }
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

/// Ranks the peer's claim to its slot.
fn rank(exchange: &Exchange, control: &Control, peer: Peer) -> Rank {
    let is_known = |device| control.access.is_known_device(device);
    let is_known = peer.bearer(exchange, &control.access).is_some()
        || guard::cookie(exchange, guard::DEVICE).is_some_and(is_known);
    if is_known { Rank::Known } else { Rank::Stranger }
}

/// The answer to a peer that sent no request in time.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

async fn answer(
    mut exchange: Exchange,
    Desk { control, updates }: &Desk,
    peer: Peer,
    work: Duration,
) -> Response<Full<Bytes>> {
    let api = Api { control, updates, access: &control.access, peer };
    match timeout(work, api.handle(&mut exchange)).await {
        Ok(Ok(())) => exchange.finish(),
        Ok(Err(error)) => {
            log::warn(Kind::Http, format_args!("no answer: {error}"));
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be made")
        }
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "it was not done in time"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{{\"error\":\"{text}\"}}\n"))));
    *response.status_mut() = status;
    let json = HeaderValue::from_static(answer::JSON);
    response.headers_mut().insert(CONTENT_TYPE, json);
    for (name, value) in answer::COMMON {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
