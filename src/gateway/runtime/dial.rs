//! The way to a pool: name, TCP connection, TLS.
//!
//! A [`Dialer`] is made once per pool and kept, because its configuration holds the TLS sessions to
//! resume. The trust rules are fixed at that moment and cannot be bypassed. [`Trust::Chain`]
//! requires chain, name, dates and, if pins are set, a pin; [`Trust::Pin`] requires one of the
//! pins. The handshake's signature is verified in both, so a copied certificate alone proves
//! nothing (F81).
//!
//! The name is resolved on its own thread, since the system's resolver blocks (F61). Only the
//! configured host is ever resolved and contacted (F86).
//!
//! 0-RTT is off: its data can be replayed, and a share must not be.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin as Pinned;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use loka_stratum::limits;
use loka_stratum::settings::{Key, Pin, Pool, PoolUrl, Scheme, Trust};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, HandshakeKind, InvalidMessage, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::base::clock::{self, ClockUnset};
use crate::gateway::base::event_loop::must_not_turn;
use crate::gateway::base::handshakes;
use crate::gateway::base::proven::{self, Judge, Shown};
use crate::gateway::base::socket;

/// The way to one pool.
pub struct Dialer {
    url: PoolUrl,
    tls: Option<Tls>,
    /// A lookup that timed out, or whose attempt was dropped. The next attempt waits for it instead
    /// of starting another, so there is at most one thread per dialer.
    lookup: Cell<Option<Lookup>>,
    /// Released when both the dialer and its lookup are gone.
    permit: Option<Permit>,
}

/// Limits the number of dialers of one kind.
type Permit = Arc<SemaphorePermit<'static>>;

type Lookup = JoinHandle<io::Result<Vec<IpAddr>>>;

/// The certificates of a pool, its own first; TLS bounds their total length.
pub type Chain = Vec<CertificateDer<'static>>;

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    verifier: Arc<Verifier>,
}

/// A connection to a pool, ready for Stratum.
pub struct Connected {
    /// Carries the lines.
    pub stream: Stream,
    /// The address reached.
    pub address: SocketAddr,
    /// Whether an earlier TLS session was resumed.
    pub is_resumed: bool,
}

/// A stream of lines to a pool.
pub enum Stream {
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// In clear.
    Plain(TcpStream),
}

/// Why a pool could not be reached.
#[derive(Debug)]
pub enum DialError {
    /// The name was not resolved.
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error; `None` after a timeout.
        source: Option<io::Error>,
    },
    /// The TCP connection failed.
    Connect {
        /// The last address tried.
        place: Place,
        /// The system's error; `None` after a timeout.
        source: Option<io::Error>,
    },
    /// The TLS handshake failed.
    Tls {
        /// The address.
        place: Place,
        /// The TLS error; `None` after a timeout.
        source: Option<io::Error>,
        /// The certificates offered, the pool's own first; none was trusted.
        chain: Chain,
    },
    /// The clock is not set, so certificate dates cannot be verified.
    Clock(ClockUnset),
}

/// The address of a pool that was tried.
#[derive(Debug)]
pub struct Place {
    address: SocketAddr,
    /// The host name; `None` if the settings give the address itself.
    name: Option<String>,
}

/// An error of the system or TLS, without the links to its manuals.
pub struct Plain<'a, T>(pub &'a T);

impl<T: fmt::Display> fmt::Display for Plain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let end = text.find("http").unwrap_or(text.len());
        f.write_str(text.get(..end).unwrap_or_default().trim_end_matches([':', ' ', '(']))
    }
}

/// Why a dialer could not be prepared.
#[derive(Debug)]
pub struct DialerError {
    /// The pool's key that is wrong.
    pub key: &'static str,
    got: String,
    reason: String,
}

impl Dialer {
    /// Prepares a dialer: reads the certificates and fixes the trust rules.
    ///
    /// # Errors
    ///
    /// The certificate file is unusable.
    pub fn new(pool: &Pool) -> Result<Self, DialerError> {
        let tls = match pool.url.scheme() {
            Scheme::Tcp => None,
            Scheme::Tls => Some(Tls::new(pool)?),
        };
        Ok(Self { url: pool.url.clone(), tls, lookup: Cell::new(None), permit: None })
    }

    /// Keeps a permit for the life of the dialer and its lookup.
    pub fn holding(self, permit: Permit) -> Self {
        Self { permit: Some(permit), ..self }
    }

    /// Connects to the configured port, or to another port of the same host that the pool asked
    /// for.
    ///
    /// # Errors
    ///
    /// The step that failed, with its error.
    pub async fn dial(&self, port: Option<u16>) -> Result<Connected, DialError> {
        self.check_clock()?;
        let addresses = self.resolve().await?;
        let (stream, address) = self.connect(&addresses, port).await?;
        self.encrypt(stream, address).await
    }

    /// Checks that the clock is set, if certificate dates are to be verified.
    pub fn check_clock(&self) -> Result<(), DialError> {
        self.tls.as_ref().map_or(Ok(()), Tls::check_clock)
    }

    /// Resolves the host name.
    pub async fn resolve(&self) -> Result<Vec<IpAddr>, DialError> {
        let host = self.url.host();
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let answer = poll_fn(|context| {
            let begin = || look_up(host.to_owned(), self.permit.clone());
            let mut lookup = self.lookup.take().unwrap_or_else(begin);
            let answer = Pinned::new(&mut lookup).poll(context);
            if answer.is_pending() {
                self.lookup.set(Some(lookup));
            }
            answer
        });
        match timeout(clock::std_time(limits::RESOLVE_MAX), answer).await {
            Ok(Ok(Ok(mut addresses))) => {
                addresses.dedup();
                Ok(addresses)
            }
            Ok(Ok(Err(error))) => Err(self.unresolved(Some(error))),
            Ok(Err(error)) => Err(self.unresolved(Some(io::Error::other(error)))),
            Err(_) => Err(self.unresolved(None)),
        }
    }

    /// Connects to the first reachable address.
    pub async fn connect(
        &self,
        addresses: &[IpAddr],
        port: Option<u16>,
    ) -> Result<(TcpStream, SocketAddr), DialError> {
        let port = port.unwrap_or(self.url.port());
        let mut failed = None;
        for address in addresses.iter().take(limits::ADDRESSES_TRIED_MAX) {
            let address = SocketAddr::new(*address, port);
            match connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(source) => {
                    failed = Some(DialError::Connect { place: self.place(address), source });
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.unresolved(Some(io::Error::other("no address")))))
    }

    fn place(&self, address: SocketAddr) -> Place {
        let host = self.url.host();
        let name = host.parse::<IpAddr>().is_err().then(|| host.to_owned());
        Place { address, name }
    }

    fn unresolved(&self, source: Option<io::Error>) -> DialError {
        DialError::Resolve { host: self.url.host().to_owned(), source }
    }

    /// Does the TLS handshake, if the settings want TLS.
    pub async fn encrypt(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Connected, DialError> {
        let Some(tls) = &self.tls else {
            return Ok(Connected { stream: Stream::Plain(stream), address, is_resumed: false });
        };
        tls.verifier.take_offered();
        // Verifying a chain may take long, and the server may be anybody (F97).
        let handshake = handshakes::POOLS.run(tls.connector.connect(tls.name.clone(), stream));
        let failed = |source| {
            let chain = tls.verifier.take_offered();
            DialError::Tls { place: self.place(address), source, chain }
        };
        let stream = match timeout(clock::std_time(limits::TLS_HANDSHAKE_MAX), handshake).await {
            Ok(result) => result.and_then(|shaken| shaken).map_err(|error| failed(Some(error)))?,
            Err(_) => return Err(failed(None)),
        };
        // The offered certificates are only kept for a refusal.
        tls.verifier.take_offered();
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Connected { stream: Stream::Tls(Box::new(stream)), address, is_resumed })
    }
}

fn look_up(host: String, permit: Option<Permit>) -> Lookup {
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    })
}

/// Connects; the error is `None` after a timeout.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, Option<io::Error>> {
    match timeout(clock::std_time(limits::CONNECT_MAX), TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            socket::tune(&stream).map_err(Some)?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(Some(error)),
        Err(_) => Err(None),
    }
}

impl Tls {
    fn new(pool: &Pool) -> Result<Self, DialerError> {
        let provider = Arc::new(ring::default_provider());
        let chain = match pool.trust {
            Trust::Pin => None,
            Trust::Chain => Some(chain_verifier(&pool.ca_file, &provider)?),
        };
        let verifier = Arc::new(Verifier {
            chain,
            pins: pool.pins.iter().copied().collect(),
            offered: Mutex::default(),
        });
        let invalid = |reason: &dyn fmt::Display| DialerError {
            key: "url",
            got: pool.url.to_string(),
            reason: reason.to_string(),
        };
        let time = Arc::new(WallClock { is_needed: pool.trust == Trust::Chain });
        let proven = proven::verifier(verifier.clone(), &provider);
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error))?
            .dangerous()
            .with_custom_certificate_verifier(proven)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(limits::TLS_SESSIONS_MAX);
        let name = ServerName::try_from(pool.url.host().to_owned()).map_err(|e| invalid(&e))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, verifier })
    }

    fn check_clock(&self) -> Result<(), DialError> {
        if self.verifier.chain.is_some() {
            clock::wall_checked().map_err(DialError::Clock)?;
        }
        Ok(())
    }
}

fn chain_verifier(
    ca_file: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, DialerError> {
    let mut roots = RootCertStore::empty();
    let invalid = |reason: String| DialerError { key: "ca_file", got: ca_file.to_owned(), reason };
    if ca_file.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        let pem = read_limited(ca_file).map_err(|error| invalid(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(invalid("it holds no certificate".to_owned()));
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| invalid(error.to_string()))
}

fn read_limited(path: &str) -> io::Result<Vec<u8>> {
    must_not_turn("a file of certificates is read");
    let mut bytes = Vec::new();
    let limit = limits::CA_FILE_BYTES_MAX;
    std::fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("longer than the allowed {limit} bytes")));
    }
    Ok(bytes)
}

/// Decides whether a certificate is the pool's.
#[derive(Debug)]
struct Verifier {
    /// Verifies chain, name and dates; `None` if only a pin is required.
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    /// The certificates of the present handshake, for the refusal's text.
    offered: Mutex<Chain>,
}

impl Verifier {
    fn take_offered(&self) -> Chain {
        std::mem::take(&mut *self.offered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the value that pins name: the SHA-256 of a certificate's public key.
pub fn key_of(certificate: &CertificateDer<'_>) -> Result<Pin, rustls::Error> {
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(Pin::new(Sha256::digest(info.as_ref()).into()))
}

impl Judge for Verifier {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        let Shown { leaf, intermediates, name, ocsp, now } = *shown;
        let chain = [leaf].into_iter().chain(intermediates);
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) =
            chain.map(|certificate| certificate.clone().into_owned()).collect();
        let key = key_of(leaf)?;
        if let Some(chain) = &self.chain {
            chain.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        }
        let is_pinned = self.pins.contains(&key);
        let needs_pin = self.chain.is_none() || !self.pins.is_empty();
        if needs_pin && !is_pinned {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }
}

/// Gives TLS the time; fails if dates matter and the clock is not set (F65).
#[derive(Debug)]
struct WallClock {
    is_needed: bool,
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let checked = clock::wall_checked();
        let time = if self.is_needed { checked.ok()? } else { checked.unwrap_or(clock::wall()) };
        Some(UnixTime::since_unix_epoch(time))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pinned<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pinned::new(stream.as_mut()).poll_read(context, buffer),
            Self::Plain(stream) => Pinned::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pinned<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pinned::new(stream.as_mut()).poll_write(context, bytes),
            Self::Plain(stream) => Pinned::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pinned::new(stream.as_mut()).poll_flush(context),
            Self::Plain(stream) => Pinned::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pinned<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pinned::new(stream.as_mut()).poll_shutdown(context),
            Self::Plain(stream) => Pinned::new(stream).poll_shutdown(context),
        }
    }
}

impl DialError {
    /// Returns the TLS error, if TLS failed.
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls { source: Some(source), .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source: Some(source) } => {
                write!(f, "name {host} not resolved: {}", Plain(source))
            }
            Self::Resolve { host, source: None } => {
                let limit = limits::RESOLVE_MAX.as_secs();
                write!(f, "name {host} not resolved within {limit} s: is there a DNS server?")
            }
            Self::Connect { place, source: Some(source) } => {
                write!(f, "no connection to {place}: {}", Plain(source))
            }
            Self::Connect { place, source: None } => {
                let limit = limits::CONNECT_MAX.as_secs();
                write!(f, "no connection to {place} within {limit} s")
            }
            Self::Clock(error) => write!(f, "{error}"),
            Self::Tls { place, source: None, .. } => {
                let limit = limits::TLS_HANDSHAKE_MAX.as_secs();
                write!(f, "no TLS with {place} within {limit} s: is it a stratum+tcp port?")
            }
            Self::Tls { place, source: Some(source), chain } => {
                write!(f, "no TLS with {place}: ")?;
                let key = chain.first().and_then(|certificate| key_of(certificate).ok());
                match self.tls() {
                    Some(error) => explain(f, error, key),
                    None => explain_io(f, source),
                }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, name } = self;
        let Some(name) = name else { return write!(f, "{address}") };
        write!(f, "{name} at {address}")?;
        if name != "localhost" && is_private(address.ip()) {
            f.write_str(
                " (a private address: unless the pool is on this network, something else \
                 answers for its name)",
            )?;
        }
        Ok(())
    }
}

/// Says whether an address is unreachable in the public network (F61).
fn is_private(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_carriers = match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [100, b, ..] if b & 0xc0 == 64), // RFC 6598
        IpAddr::V6(_) => false,
    };
    socket::is_local(address) || address.is_unspecified() || is_carriers
}

/// Explains a TLS error, with a remedy if there is one.
fn explain(f: &mut fmt::Formatter<'_>, error: &rustls::Error, key: Option<Pin>) -> fmt::Result {
    let key = |f: &mut fmt::Formatter<'_>| match key {
        Some(key) => write!(f, " (its key is {key})"),
        None => Ok(()),
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            f.write_str("the certificate's key is none of pool.pins")?;
            key(f)
        }
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::Other(_),
        ) => {
            f.write_str(
                "the certificate was signed by nobody that is trusted; if it is the pool's",
            )?;
            f.write_str(" own, name its authority in pool.ca_file or pin its key")?;
            key(f)
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. },
        ) => {
            let now = clock::Utc(clock::wall());
            write!(f, "{error}; clock reads {now}")
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            f.write_str("the answer is not TLS: is it a stratum+tcp port, or a captive portal?")
        }
        _ => write!(f, "{}", Plain(error)),
    }
}

/// Explains how the connection ended before TLS was up.
fn explain_io(f: &mut fmt::Formatter<'_>, error: &io::Error) -> fmt::Result {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            f.write_str("the connection was closed in the handshake: is it a stratum+tcp port?")
        }
        io::ErrorKind::ConnectionReset => f.write_str("the connection was reset in the handshake"),
        _ => write!(f, "{}", Plain(error)),
    }
}

impl std::error::Error for DialError {}

impl DialerError {
    /// Returns the error's text for the pool at an index.
    pub fn of_pool(&self, index: usize) -> String {
        Key::named("pool", self.key, index)
            .map_or_else(|| self.to_string(), |key| format!("{}: {self}", key.title()))
    }
}

impl fmt::Display for DialerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, got, reason } = self;
        let allowed = match *key {
            "ca_file" => "a file of PEM certificates",
            _ => "a host that TLS can name",
        };
        write!(f, "got {got:?}, allowed {allowed}: {reason}")
    }
}

impl std::error::Error for DialerError {}

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod tests;
