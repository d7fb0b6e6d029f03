//! The Stratum part of a pool test: configure, subscribe, authorize, the first job.
//!
//! Lines are parsed by the engine's `wire` module, within its bounds. The test judges as a link
//! would, in words instead of codes.

use std::net::SocketAddr;

use loka_stratum::control::Item;
use loka_stratum::limits::{
    CONNECT_MAX, LINK_HANDSHAKE_MAX, LINK_OUTPUT_BYTES_MIN, PROBE_LINES_MAX,
    UPSTREAM_LINE_BYTES_MAX,
};
use loka_stratum::settings::Pool;
use loka_stratum::upstream::{LinkClose, is_of_login};
use loka_stratum::wire::encode;
use loka_stratum::wire::guess::Guess;
use loka_stratum::wire::line::Framer;
use loka_stratum::wire::server::{self, Outcome, Refusal, Response, ServerLine};
use loka_stratum::wire::writer::{Full, Writer};
use loka_stratum::words::Words;
use loka_stratum::work::extranonce::{Geometry, Incompatible};
use loka_stratum::work::version::VersionMask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Farm, looks_like_http};
use crate::gateway::base::clock;
use crate::gateway::operate::options::AGENT;
use crate::gateway::runtime::dial::{self, Plain, Stream};

const ID_CONFIGURE: u32 = 1;
const ID_SUBSCRIBE: u32 = 2;
const ID_AUTHORIZE: u32 = 3;

/// The protocol that a port speaks without TLS.
pub enum Spoken {
    /// Stratum.
    Stratum,
    /// Another protocol.
    Other(Guess),
}

/// A conversation with a pool.
pub struct Talk<'a> {
    stream: Stream,
    pool: &'a Pool,
    key: &'a str,
    farm: Farm,
    /// No line was read yet.
    is_first: bool,
    is_subscribed: bool,
    is_authorized: bool,
    has_job: bool,
}

/// Returns a line as the engine encodes it.
fn line(write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) -> Result<Vec<u8>, String> {
    let mut buffer = vec![0; LINK_OUTPUT_BYTES_MIN];
    let mut out = Writer::new(&mut buffer);
    write(&mut out).map_err(|_| "user and password are too long to be sent".to_owned())?;
    Ok(out.as_slice().to_vec())
}

/// Subscribes without TLS after TLS was refused, to identify the protocol. No login is sent.
pub async fn open_guess(address: SocketAddr) -> Option<Spoken> {
    let subscribe = line(|out| encode::subscribe(ID_SUBSCRIBE, AGENT, None, out)).ok()?;
    let mut stream = dial::connect(address).await.ok()?;
    let answer = async {
        stream.write_all(&subscribe).await.ok()?;
        let mut bytes = [0; 256];
        let count = stream.read(&mut bytes).await.ok()?;
        let bytes = bytes.get(..count)?;
        let guess = Guess::of(bytes).map(Spoken::Other);
        guess.or_else(|| bytes.starts_with(b"{").then_some(Spoken::Stratum))
    };
    timeout(clock::std_time(CONNECT_MAX), answer).await.ok().flatten()
}

impl<'a> Talk<'a> {
    /// Takes over a connection.
    pub fn new(stream: Stream, pool: &'a Pool, key: &'a str, farm: Farm) -> Self {
        Self {
            stream,
            pool,
            key,
            farm,
            is_first: true,
            is_subscribed: false,
            is_authorized: false,
            has_job: false,
        }
    }

    /// Talks until a job arrives.
    ///
    /// # Errors
    ///
    /// The fault, in words.
    pub async fn run(mut self, out: &mut dyn FnMut(Item<'_>)) -> Result<(), String> {
        let opening = line(|out| {
            encode::configure(ID_CONFIGURE, VersionMask::ALL.0, 2, out)?;
            encode::subscribe(ID_SUBSCRIBE, AGENT, None, out)
        })?;
        self.send(&opening).await?;
        let deadline = Instant::now() + clock::std_time(LINK_HANDSHAKE_MAX);
        let mut framer = Framer::default();
        let mut rest = vec![0; UPSTREAM_LINE_BYTES_MAX];
        let mut bytes = vec![0; 4096];
        let mut lines = 0;
        while !self.is_done() {
            let read = timeout_at(deadline, self.stream.read(&mut bytes)).await;
            let count = match read {
                Err(_) => return Err(self.silence()),
                Ok(Err(error)) => return Err(format!("the connection broke: {}", Plain(&error))),
                Ok(Ok(0)) => return Err(self.end()),
                Ok(Ok(count)) => count,
            };
            let mut input = bytes.get(..count).unwrap_or_default();
            if std::mem::take(&mut self.is_first) {
                self.check_opening(input)?;
            }
            while let Some(next) = framer
                .next_line(&mut rest, &mut input)
                .map_err(|long| LinkClose::LineTooLong { limit: long.limit }.to_string())?
            {
                let answer = self.hear(next, out)?;
                lines += 1;
                if lines > PROBE_LINES_MAX {
                    return Err(format!("more than {PROBE_LINES_MAX} lines and no job"));
                }
                if let Some(answer) = answer {
                    self.send(&answer).await?;
                }
            }
        }
        if self.pool.user.is_empty() {
            out(Item::Text("login: not tried, since no user is set"));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_subscribed && (self.pool.user.is_empty() || self.is_authorized && self.has_job)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(clock::std_time(LINK_HANDSHAKE_MAX), sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection broke: {}", Plain(&error))),
            Err(_) => Err("the pool does not read what it is sent".to_owned()),
        }
    }

    /// Identifies a protocol other than Stratum by its first bytes.
    fn check_opening(&self, bytes: &[u8]) -> Result<(), String> {
        match Guess::of(bytes) {
            Some(Guess::Http) => Err(looks_like_http()),
            Some(Guess::Tls) => {
                let (host, port) = (self.pool.url.host(), self.pool.url.port());
                Err(format!("this port speaks TLS; use stratum+ssl://{host}:{port}"))
            }
            Some(guess) => Err(format!("this port speaks {guess}, not Stratum")),
            None => Ok(()),
        }
    }

    /// Handles a line of the pool; returns the next line to send.
    fn hear(
        &mut self,
        line: &[u8],
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<Option<Vec<u8>>, String> {
        let response = match server::parse(line) {
            Ok(ServerLine::Response(response)) => response,
            Ok(ServerLine::Notify(_)) => {
                if !std::mem::replace(&mut self.has_job, true) {
                    out(Item::Text("job: the pool sent one"));
                }
                return Ok(None);
            }
            Ok(_) => return Ok(None),
            Err(error) if self.is_subscribed => {
                return Err(format!("a line cannot be read: {error}"));
            }
            Err(error) => return Err(format!("this is no Stratum V1 pool: {error}")),
        };
        match response.id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(ID_CONFIGURE) => {
                let granted = response.configure().is_ok_and(|result| result.version_rolling);
                out(Item::Text(if granted {
                    "configure: the pool allows version rolling"
                } else {
                    "configure: the pool does not allow version rolling"
                }));
                Ok(None)
            }
            Some(ID_SUBSCRIBE) if !self.is_subscribed => self.hear_subscribed(&response, out),
            Some(ID_AUTHORIZE) if !self.is_authorized => {
                self.hear_authorized(&response, out)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn hear_subscribed(
        &mut self,
        response: &Response<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<Option<Vec<u8>>, String> {
        if let Outcome::Refused(refusal) = response.outcome() {
            return Err(format!("the pool refused to subscribe: {}", because(&refusal)));
        }
        let subscription = response.subscribe().map_err(|error| error.to_string())?;
        let size = u8::try_from(subscription.extranonce2_size).unwrap_or(u8::MAX);
        Geometry::choose(self.farm.places, Some(size)).map_err(|Incompatible { got, need }| {
            format!(
                "{}; ask the pool for more",
                LinkClose::Incompatible(Incompatible { got, need })
            )
        })?;
        self.is_subscribed = true;
        let too_long = self.farm.geometry.filter(|geometry| geometry.fits(size).is_err());
        let text = match too_long {
            None => format!("subscribe: extranonce2 of {size} bytes, which fits the miners"),
            Some(geometry) => format!(
                "subscribe: extranonce2 of {size} bytes; miners that are connected now need {} and \
                 would be kept from this pool until they connect again",
                geometry.need()
            ),
        };
        out(Item::Text(&text));
        if self.pool.user.is_empty() {
            return Ok(None);
        }
        let (user, password) = (self.pool.user.as_str(), self.pool.password.expose());
        line(|out| encode::authorize(ID_AUTHORIZE, user, password, out)).map(Some)
    }

    fn hear_authorized(
        &mut self,
        response: &Response<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), String> {
        let user = self.pool.user.as_str();
        match response.outcome() {
            Outcome::Accepted => {
                self.is_authorized = true;
                out(Item::Text(&format!("login: the pool takes {user:?}")));
                Ok(())
            }
            Outcome::Refused(refusal) => {
                let (key, why) = (self.key, because(&refusal));
                let advice = if is_of_login(refusal.code, &Words::of(refusal.reason)) {
                    format!("; check {key}.user and {key}.password")
                } else {
                    String::new()
                };
                Err(format!("the pool refused the login of {user:?}: {why}{advice}"))
            }
        }
    }

    /// Says which answer did not come in time.
    fn silence(&self) -> String {
        let secs = LINK_HANDSHAKE_MAX.as_secs();
        match (self.is_subscribed, self.is_authorized) {
            (false, _) => format!(
                "the port takes connections and says nothing to mining.subscribe for {secs} s: is \
                 it a Stratum V1 port?"
            ),
            (true, false) => format!("the pool says nothing to the login for {secs} s"),
            (true, true) => format!("the pool takes the login and sends no job for {secs} s"),
        }
    }

    /// Says after which step the pool hung up.
    fn end(&self) -> String {
        let after = match (self.is_first, self.is_subscribed, self.is_authorized) {
            (true, ..) => "without a word: is it a Stratum V1 port, and is the scheme right?",
            (_, false, _) => "before it answered mining.subscribe",
            (_, true, false) => "at the login: check user and password",
            (_, true, true) => "before it sent a job",
        };
        format!("the pool hung up {after}")
    }
}

/// Shows the reason that a pool gave.
fn because(refusal: &Refusal<'_>) -> String {
    let words = Words::of(refusal.reason);
    match (refusal.code, words.is_empty()) {
        (None, true) => "it gives no reason".to_owned(),
        (None, false) => words.to_string(),
        (Some(code), true) => format!("code {code}"),
        (Some(code), false) => format!("code {code}, {words}"),
    }
}
