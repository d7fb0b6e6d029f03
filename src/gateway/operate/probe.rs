//! Tests a pool for an operator: name, TCP, TLS with its certificates, login, first job.
//!
//! Each step is the same as a link's ([`Dialer`]), with the same trust; a test never connects where
//! a link would refuse. A failure is explained, with the remedy. Refused certificates are shown as
//! well, so a person can compare their keys with the pool's publication and pin one.
//!
//! Invariants: one test at a time, of at most [`PROBE_MAX`]. Its lookup uses at most one thread,
//! which may outlast it. Text from the pool is shown escaped and truncated.

mod certificate;
mod talk;

use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use loka_stratum::control::{Item, Refused};
use loka_stratum::limits::{self, CERTIFICATES_SHOWN_MAX, CONNECT_MAX, PROBE_MAX};
use loka_stratum::proxy::Proxy;
use loka_stratum::settings::{Pool, PoolUrl, Settings};
use loka_stratum::wire::guess::Guess;
use loka_stratum::work::extranonce::Geometry;
use rustls::{CertificateError, Error as TlsError, PeerIncompatible};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::gateway::base::answer::Answer;
use crate::gateway::base::clock;
use crate::gateway::base::event_loop::beside;
use crate::gateway::runtime::dial::{Connected, DialError, Dialer, Stream};
use certificate::Certificate;

/// Limits the tests to one at a time.
static TRIALS: Semaphore = Semaphore::const_new(1);

/// The miners' needs of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Farm {
    /// The extranonce2 geometry, once fixed.
    pub geometry: Option<Geometry>,
    /// Capacity of miners.
    pub places: usize,
}

impl Farm {
    /// Returns the needs of an engine's miners.
    pub fn of(proxy: &Proxy<'_>) -> Self {
        Self { geometry: proxy.geometry(), places: proxy.occupancy().1 }
    }
}

/// Tests a pool by `name`: `pool.N` of the settings, or an address.
///
/// # Errors
///
/// The pool is unknown, or another test is running. A failed test is not an error but an
/// [`Item::Problem`].
pub async fn run(
    settings: &Settings,
    name: &str,
    farm: Farm,
    out: &mut dyn FnMut(Item<'_>),
) -> Answer {
    let (pool, key) = target(settings, name)?;
    let permit = TRIALS.try_acquire().map_err(|_| {
        Refused::Conflict("another pool is being tried; that ends within a minute".to_owned())
    })?;
    let of_pool = pool.clone();
    let dialer = beside(move || Dialer::new(&of_pool)).await;
    let dialer = match dialer.map_err(|error| Refused::Failed(error.to_string()))? {
        Ok(dialer) => dialer.holding(Arc::new(permit)),
        Err(error) => {
            let number = key.strip_prefix("pool.").and_then(|text| text.parse::<usize>().ok());
            let index = number.and_then(|number| number.checked_sub(1));
            let text = index.map_or_else(|| error.to_string(), |index| error.of_pool(index));
            return Err(Refused::Invalid(text));
        }
    };
    Trial { pool: &pool, key: &key, dialer, farm }.run(out).await;
    Ok(())
}

/// Finds a pool by number or address; an unknown address is tested without a login.
fn target(settings: &Settings, name: &str) -> Result<(Pool, String), Refused<String>> {
    let pools = &settings.pools;
    if let Some(number) = name.strip_prefix("pool.") {
        let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let pool = index.and_then(|index| pools.get(index)).filter(|pool| pool.url.port() != 0);
        return pool.cloned().map(|pool| (pool, name.to_owned())).ok_or_else(|| {
            let count = pools.len();
            Refused::Invalid(format!("{name}: got no pool with an address, of {count} there are"))
        });
    }
    let url: PoolUrl =
        name.parse().map_err(|error| Refused::Invalid(format!("got {name:?}, {error}")))?;
    match pools.iter().position(|pool| pool.url == url) {
        Some(index) => Ok((pools[index].clone(), format!("pool.{}", index + 1))),
        None => Ok((Pool { url, ..Pool::default() }, "pool.N".to_owned())),
    }
}

/// Says whether `name` names the pool at an index.
pub fn is_of(name: &str, settings: &Settings, index: usize) -> bool {
    let Ok((pool, key)) = target(settings, name) else { return false };
    key == format!("pool.{}", index + 1)
        || settings.pools.get(index).is_some_and(|known| known.url == pool.url)
}

struct Trial<'a> {
    pool: &'a Pool,
    /// The pool's key prefix, such as `pool.1`.
    key: &'a str,
    dialer: Dialer,
    farm: Farm,
}

impl Trial<'_> {
    async fn run(&self, out: &mut dyn FnMut(Item<'_>)) {
        let result = timeout(clock::std_time(PROBE_MAX), self.steps(out)).await;
        let problem = match result {
            Ok(Ok(())) => return out(Item::Text("the pool is good")),
            Ok(Err(problem)) => problem,
            Err(_) => format!("not done within {} s", PROBE_MAX.as_secs()),
        };
        out(Item::Problem { key: "", text: &problem });
    }

    async fn steps(&self, out: &mut dyn FnMut(Item<'_>)) -> Result<(), String> {
        let host = self.pool.url.host();
        let addresses = timed(self.dialer.resolve()).await;
        let (addresses, took) = addresses.map_err(|error| unreached(&error))?;
        if host.parse::<IpAddr>().is_err() {
            let all = listed(addresses.iter().take(limits::ADDRESSES_TRIED_MAX));
            out(Item::Text(&format!("name: {host} is {all}, {took}")));
        }
        let connection = timed(self.dialer.connect(&addresses, None)).await;
        let ((stream, address), took) = connection.map_err(|error| unreached(&error))?;
        out(Item::Text(&format!("TCP: {address} answers, {took}")));
        self.dialer.check_clock().map_err(|error| unreached(&error))?;
        let (connected, took) = match timed(self.dialer.encrypt(stream, address)).await {
            Ok(connected) => connected,
            Err(error) => return Err(self.refused(&error, address, out).await),
        };
        self.announce(&connected, &took, out);
        let talk = talk::Talk::new(connected.stream, self.pool, self.key, self.farm);
        talk.run(out).await
    }

    fn announce(&self, connected: &Connected, took: &str, out: &mut dyn FnMut(Item<'_>)) {
        let Stream::Tls(stream) = &connected.stream else {
            let text = "TLS: none; anybody on the path can read and redirect the work";
            return out(Item::Text(text));
        };
        let session = stream.get_ref().1;
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        out(Item::Text(&format!("TLS: version {version}, certificate verified, {took}")));
        show(session.peer_certificates().unwrap_or_default(), out);
    }

    /// Explains a failed TLS handshake, and shows the offered certificates.
    async fn refused(
        &self,
        error: &DialError,
        address: SocketAddr,
        out: &mut dyn FnMut(Item<'_>),
    ) -> String {
        let DialError::Tls { source, chain, .. } = error else { return unreached(error) };
        let chain = show(chain, out);
        match (error.tls(), source) {
            (Some(TlsError::InvalidCertificate(why)), _) => self.distrusted(why, &chain, error),
            (Some(TlsError::PeerIncompatible(why)), _) => incompatible(why),
            (Some(TlsError::AlertReceived(alert)), _) => {
                format!("the pool broke the TLS handshake off: {alert:?}")
            }
            // A timeout, an early end, or another protocol: a try without TLS tells which.
            _ => match talk::open_guess(address).await {
                Some(talk::Spoken::Stratum) => {
                    let (host, port) = (self.pool.url.host(), self.pool.url.port());
                    format!(
                        "this port speaks plain Stratum, not TLS; use the pool's TLS port, or \
                         stratum+tcp://{host}:{port}, which anybody on the path can redirect"
                    )
                }
                Some(talk::Spoken::Other(Guess::Http)) => looks_like_http(),
                Some(talk::Spoken::Other(guess)) => format!("this port speaks {guess}, not TLS"),
                None => format!("{error}; nothing there speaks TLS or Stratum"),
            },
        }
    }

    /// Explains why a certificate is refused, with the remedy.
    fn distrusted(
        &self,
        why: &CertificateError,
        chain: &[Certificate],
        error: &DialError,
    ) -> String {
        use CertificateError as E;
        let (Some(own), host, key) = (chain.first(), self.pool.url.host(), self.key) else {
            return error.to_string();
        };
        let now = clock::wall();
        let pin = &own.pin;
        let way_out = format!(
            "; if {pin} is the key that the pool publishes, pin it: set {key}.pins {pin} and \
             {key}.trust pin"
        );
        match why {
            E::Expired | E::ExpiredContext { .. } => {
                let old = chain.iter().find(|one| one.not_after < now).unwrap_or(own);
                format!(
                    "the certificate of {} expired on {}; the clock here reads {}",
                    old.subject,
                    old.until,
                    clock::Utc(now)
                )
            }
            E::NotValidYet | E::NotValidYetContext { .. } => format!(
                "the certificate is not valid yet; the clock here reads {}: is that right?",
                clock::Utc(now)
            ),
            E::NotValidForName | E::NotValidForNameContext { .. } => {
                let names = if own.names.is_empty() {
                    "no name at all".to_owned()
                } else {
                    listed(&own.names)
                };
                format!(
                    "the certificate is for {names}, not for {host}; use one of its names{way_out}"
                )
            }
            E::ApplicationVerificationFailure => format!(
                "the pool's key {pin} is none of {key}.pins; somebody else answers, or the pool \
                 has a new key, which it should have announced"
            ),
            E::UnknownIssuer | E::Other(_) if own.is_self_signed => {
                format!("the certificate is signed by itself, so nobody vouches for it{way_out}")
            }
            E::UnknownIssuer | E::Other(_) => format!(
                "the certificate was signed by {}, which is not trusted here; name that authority \
                 in {key}.ca_file{way_out}",
                chain.last().unwrap_or(own).issuer
            ),
            _ => error.to_string(),
        }
    }
}

/// Shows certificates, the pool's own first.
fn show(
    chain: &[rustls::pki_types::CertificateDer<'_>],
    out: &mut dyn FnMut(Item<'_>),
) -> Vec<Certificate> {
    let read = chain.iter().take(CERTIFICATES_SHOWN_MAX).filter_map(Certificate::read);
    let read: Vec<_> = read.collect();
    for Certificate { subject, issuer, until, pin, .. } in &read {
        out(Item::Certificate { subject, issuer, until, pin });
    }
    read
}

/// Explains why a pool was not reached.
fn unreached(error: &DialError) -> String {
    use io::ErrorKind as E;
    match error {
        DialError::Resolve { host, source: Some(source) } => {
            if is_unknown_name(source) {
                format!("there is no such name: {host}; check how it is spelled")
            } else {
                format!("{host} cannot be looked up: {source}; has this network a DNS server?")
            }
        }
        DialError::Connect { place, source } => match source.as_ref().map(io::Error::kind) {
            Some(E::ConnectionRefused) => {
                format!("{place} refuses connections: nothing listens there; check the port")
            }
            Some(E::NetworkUnreachable | E::HostUnreachable) => {
                format!("there is no way to {place}: is the WAN connected?")
            }
            None | Some(E::TimedOut) => format!(
                "{place} does not answer within {} s: a wrong address or port, or a firewall",
                CONNECT_MAX.as_secs()
            ),
            _ => error.to_string(),
        },
        _ => error.to_string(),
    }
}

/// Says whether the resolver knows that the name does not exist; glibc and musl tell it only in
/// words.
fn is_unknown_name(error: &io::Error) -> bool {
    let text = error.to_string();
    ["not known", "does not resolve", "No address associated"].iter().any(|no| text.contains(no))
}

fn incompatible(why: &PeerIncompatible) -> String {
    format!("the pool offers no TLS that is safe, version 1.2 or 1.3: {why:?}")
}

fn looks_like_http() -> String {
    "a web server (HTTP) answers: a login page of the network, or the wrong port".to_owned()
}

/// Adds the duration of a finished step.
async fn timed<T, E>(done: impl Future<Output = Result<T, E>>) -> Result<(T, String), E> {
    let begun = clock::now();
    let value = pin!(done).await?;
    let millis = clock::now().since(begun).as_micros() / 1000;
    Ok((value, format!("{millis} ms")))
}

fn listed<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for (index, one) in all.into_iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{one}");
    }
    text
}

#[cfg(test)]
mod tests;
