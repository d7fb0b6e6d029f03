//! A gateway reached through its HTTP API (`openapi.json`), by the requests of the serial line.
//!
//! The API keeps no candidate between requests. Edits not yet committed are kept here, for the life
//! of the command.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use loka_stratum::control::{Item, Origin, Refused, Request, Role};
use loka_stratum::limits::{
    EDITS_MAX, HTTP_ANSWER_BYTES_MAX, HTTP_TIMEOUT, HTTP_WORK_TIMEOUT, UPDATE_TIME_MAX,
};
use loka_stratum::settings::Applies;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CtlError;
use super::secret;
use super::tls::{TlsArgs, Trust};
use crate::gateway::base::answer::NO_WORKER;
use crate::gateway::observe::summary;

/// Longest time of an exchange: the gateway's own limit, and the way there and back.
const EXCHANGE_MAX: Duration =
    Duration::from_secs(HTTP_WORK_TIMEOUT.as_secs() + 2 * HTTP_TIMEOUT.as_secs());

/// Longest time of an update.
const UPDATE_MAX: Duration = Duration::from_micros(UPDATE_TIME_MAX.as_micros());

/// The environment variable that may hold the log-in password.
const VARIABLE: &str = "LOKA_CTL_PASSWORD";

/// Log-in flags.
#[derive(clap::Args, Clone)]
pub struct LogInArgs {
    /// Role to log in as.
    #[arg(long, value_name = "ROLE", default_value = "admin", value_parser = role)]
    pub role: Role,
    /// File whose first line is the password. Without it: LOKA_CTL_PASSWORD in the environment, or
    /// a prompt.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The set-up code of a gateway without a password, as its serial line or log shows it.
    #[arg(long, value_name = "DIGITS")]
    pub code: Option<String>,
    #[command(flatten)]
    pub tls: TlsArgs,
}

fn role(name: &str) -> Result<Role, String> {
    Role::named(name).ok_or_else(|| "allowed viewer, operator or admin".to_owned())
}

/// A gateway reached through its API.
pub struct HttpWay {
    /// Host and port.
    place: String,
    host: String,
    trust: Option<Arc<Trust>>,
    args: LogInArgs,
    session: Option<Session>,
    /// Edited keys and their new texts; `None` resets a key to its default.
    edits: Vec<(String, Option<String>)>,
}

/// The cookie and CSRF token of a session.
struct Session {
    cookie: String,
    csrf: String,
}

/// The body of a request.
enum Content {
    Nothing,
    Json(String),
    File(Bytes),
}

/// An answer of the API.
struct Reply {
    status: StatusCode,
    cookie: Option<String>,
    body: Value,
}

impl HttpWay {
    /// Prepares requests to an address, `https://host:port`.
    ///
    /// # Errors
    ///
    /// The address is invalid, or no certificate to trust was given.
    pub fn new(url: &str, args: &LogInArgs) -> Result<Self, CtlError> {
        let wrong = || {
            let text = "https://host:port, or http://host:port on this machine";
            CtlError::Usage(format!("{url:?} is no address of a gateway, allowed {text}"))
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (host, is_tls) = match (uri.host(), uri.scheme_str()) {
            (Some(host), Some("https")) => (host, true),
            (Some(host), Some("http")) => (host, false),
            _ => return Err(wrong()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let place = format!("{host}:{port}");
        let trust = if is_tls { Some(args.tls.trust(&place)?) } else { None };
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { place, host, trust, args: args.clone(), session: None, edits: Vec::new() })
    }

    /// Sends a request and hands each part of the answer to `out`.
    ///
    /// # Errors
    ///
    /// The gateway refused it, or no answer came.
    pub async fn ask(
        &mut self,
        request: &Request<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), CtlError> {
        match *request {
            Request::Hello => {
                let body = self.get("/api/v1/session").await?;
                out(Item::Text(&format!("loka-stratum {}", text(&body["version"]))));
                Ok(())
            }
            Request::Show { prefix } => {
                let body = self.get(&format!("/api/v1/settings?prefix={prefix}")).await?;
                each(&body["values"], &mut |value| out(value_item(value)));
                Ok(())
            }
            Request::Set { key, value } => self.edit(key, Some(value), out).await,
            Request::Unset { key } => self.edit(key, None, out).await,
            Request::Diff => {
                let body = self.post("/api/v1/check", &self.edits_json(), out).await?;
                each(&body["changes"], &mut |change| out(change_item(change)));
                each(&body["problems"], &mut |problem| out(problem_item(problem)));
                Ok(())
            }
            Request::Commit => {
                let body = self.post("/api/v1/commit", &self.edits_json(), out).await?;
                self.edits.clear();
                each(&body["changes"], &mut |change| out(change_item(change)));
                each(&body["notes"], &mut |note| out(Item::Text(text(note))));
                if let Some(seconds_left) = number(&body["seconds_left"]) {
                    out(Item::Provisional { seconds_left });
                }
                Ok(())
            }
            Request::Confirm => {
                let body = self.post("/api/v1/confirm", &json!({}), out).await?;
                each(&body["notes"], &mut |note| out(Item::Text(text(note))));
                Ok(())
            }
            Request::Rollback if !self.edits.is_empty() => {
                self.edits.clear();
                Ok(())
            }
            Request::Rollback => self.done("/api/v1/rollback", &json!({}), out).await,
            Request::Status => {
                let body = self.get("/api/v1/status").await?;
                summary::table(&body).trim_end().lines().for_each(|line| out(Item::Text(line)));
                Ok(())
            }
            Request::Miners { skip } => {
                let body = self.get(&format!("/api/v1/miners?skip={skip}")).await?;
                each(&body["miners"], &mut |miner| out(miner_item(miner)));
                Ok(())
            }
            Request::Log { count } => self.lines(&format!("/api/v1/log?count={count}"), out).await,
            Request::Frames { count } => {
                self.lines(&format!("/api/v1/frames?count={count}"), out).await
            }
            Request::Audit { count } => {
                self.lines(&format!("/api/v1/audit?count={count}"), out).await
            }
            Request::Test { pool } => self.test(pool, out).await,
            Request::Password { role, word } => {
                self.done("/api/v1/password", &json!({"role": role, "word": word}), out).await
            }
            Request::Admit { worker, word } => {
                self.done("/api/v1/admit", &json!({"worker": worker, "word": word}), out).await
            }
            Request::Admitted => {
                let body = self.get("/api/v1/admitted").await?;
                let workers = &body["workers"];
                if workers.as_array().is_none_or(Vec::is_empty) {
                    out(Item::Text(NO_WORKER));
                }
                each(workers, &mut |worker| out(Item::Text(text(worker))));
                Ok(())
            }
            Request::Reset { sure } => {
                self.done("/api/v1/reset", &json!({"sure": sure}), out).await
            }
        }
    }

    /// Adds an edit, and removes it if the gateway rejects it.
    async fn edit(
        &mut self,
        key: &str,
        value: Option<&str>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), CtlError> {
        if self.edits.len() >= EDITS_MAX {
            let text = format!("got more than {EDITS_MAX} changes; commit or rollback comes first");
            return Err(CtlError::Refused(Refused::Conflict(text)));
        }
        self.edits.push((key.to_owned(), value.map(str::to_owned)));
        let checked = self.post("/api/v1/check", &self.edits_json(), out).await;
        let fault = match checked {
            Ok(body) => {
                let problems = body["problems"].as_array().into_iter().flatten();
                let of_key = problems.filter(|problem| problem["key"] == key);
                of_key.map(|problem| text(&problem["text"]).to_owned()).next()
            }
            Err(error) => {
                self.edits.pop();
                return Err(error);
            }
        };
        match fault {
            None => Ok(()),
            Some(fault) => {
                self.edits.pop();
                Err(CtlError::Refused(Refused::Invalid(fault)))
            }
        }
    }

    fn edits_json(&self) -> Value {
        let edit = |(key, value): &(String, Option<String>)| json!({"key": key, "value": value});
        json!({"edits": self.edits.iter().map(edit).collect::<Vec<_>>()})
    }

    async fn test(&mut self, pool: &str, out: &mut dyn FnMut(Item<'_>)) -> Result<(), CtlError> {
        let mut body = self.edits_json();
        body["pool"] = pool.into();
        let body = self.post("/api/v1/test", &body, out).await?;
        each(&body["steps"], &mut |step| out(Item::Text(text(step))));
        each(&body["chain"], &mut |certificate| {
            out(Item::Certificate {
                subject: text(&certificate["subject"]),
                issuer: text(&certificate["issuer"]),
                until: text(&certificate["until"]),
                pin: text(&certificate["pin"]),
            });
        });
        if let Some(text) = body["problem"].as_str() {
            out(Item::Problem { key: "", text });
        }
        Ok(())
    }

    async fn lines(&mut self, path: &str, out: &mut dyn FnMut(Item<'_>)) -> Result<(), CtlError> {
        let body = self.get(path).await?;
        each(&body["lines"], &mut |line| out(Item::Text(text(line))));
        Ok(())
    }

    /// Uploads an update and returns the gateway's answer.
    ///
    /// # Errors
    ///
    /// The gateway refused it, or the transfer failed.
    pub async fn update(&mut self, file: Vec<u8>, may_downgrade: bool) -> Result<Value, CtlError> {
        self.log_in().await?;
        let path = format!("/api/v1/update?downgrade={may_downgrade}");
        let content = Content::File(Bytes::from(file));
        self.exchange(Method::PUT, &path, content).await?.good(&mut |_| {})
    }

    async fn done(
        &mut self,
        path: &str,
        body: &Value,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), CtlError> {
        self.post(path, body, out).await.map(|_| ())
    }

    async fn get(&mut self, path: &str) -> Result<Value, CtlError> {
        self.log_in().await?;
        let reply = self.exchange(Method::GET, path, Content::Nothing).await?;
        reply.good(&mut |_| {})
    }

    async fn post(
        &mut self,
        path: &str,
        body: &Value,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<Value, CtlError> {
        self.log_in().await?;
        let content = Content::Json(body.to_string());
        self.exchange(Method::POST, path, content).await?.good(out)
    }

    /// Logs in, unless a session is open.
    async fn log_in(&mut self) -> Result<(), CtlError> {
        if self.session.is_some() {
            return Ok(());
        }
        let proof = match (&self.args.code, &self.args.password_file) {
            (Some(code), _) => json!({"code": code.replace(' ', "")}),
            (None, Some(path)) => self.password(secret::first_line(path)?),
            (None, None) => match std::env::var(VARIABLE) {
                Ok(word) => self.password(word),
                Err(_) => {
                    let what = format!("password of {} at {}", self.args.role, self.place);
                    self.password(secret::prompt(&what)?)
                }
            },
        };
        let reply = self
            .exchange(Method::POST, "/api/v1/session", Content::Json(proof.to_string()))
            .await?;
        let cookie = reply.cookie.clone().unwrap_or_default();
        let body = reply.good(&mut |_| {})?;
        self.session = Some(Session { cookie, csrf: text(&body["csrf"]).to_owned() });
        if let Some(trust) = &self.trust {
            self.args.tls.remember(&self.place, trust)?;
        }
        Ok(())
    }

    fn password(&self, word: String) -> Value {
        json!({"role": self.args.role, "password": word})
    }

    /// Sends one request on its own connection; the gateway serves one per connection.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<Reply, CtlError> {
        let lost = |text: String| CtlError::Lost(format!("{}: {text}", self.place));
        let mut request = hyper::Request::builder().method(method).uri(path);
        request = request.header(HOST, &self.place);
        if let Some(session) = &self.session {
            request = request.header(COOKIE, &session.cookie).header("x-loka-csrf", &session.csrf);
        }
        let limit = if matches!(content, Content::File(_)) { UPDATE_MAX } else { EXCHANGE_MAX };
        let (kind, bytes) = match content {
            Content::Nothing => (None, Bytes::new()),
            Content::Json(text) => (Some("application/json"), Bytes::from(text)),
            Content::File(bytes) => (Some("application/octet-stream"), bytes),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| CtlError::Usage(format!("{path:?} cannot be asked for: {error}")))?;
        let exchange = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port())).await;
            let stream = stream.map_err(|error| lost(error.to_string()))?;
            match &self.trust {
                None => send(stream, request).await.map_err(lost),
                Some(trust) => {
                    let name = ServerName::try_from(self.host.clone())
                        .map_err(|error| lost(error.to_string()))?;
                    let stream = trust.connector()?.connect(name, stream).await;
                    let why = |error: std::io::Error| {
                        lost(trust.complaint().unwrap_or_else(|| error.to_string()))
                    };
                    send(stream.map_err(why)?, request).await.map_err(lost)
                }
            }
        };
        match timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(lost(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    fn port(&self) -> u16 {
        self.place.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }
}

/// Sends a request and returns the answer.
async fn send<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let say = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(say)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(say)?;
        let status = response.status();
        let cookie = response.headers().get(SET_COOKIE);
        let cookie = cookie.and_then(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookie = cookie.map(str::to_owned);
        let body = Limited::new(response.into_body(), HTTP_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Reply { status, cookie, body })
    };
    // The connection drives the exchange and ends after it.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

impl Reply {
    /// Returns the body of a success. On a failure, hands out its problems and returns the reason.
    fn good(self, out: &mut dyn FnMut(Item<'_>)) -> Result<Value, CtlError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        each(&self.body["problems"], &mut |problem| out(problem_item(problem)));
        let why = match self.body["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!("the gateway answers {}", self.status),
        };
        Err(CtlError::Refused(Refused::Failed(why)))
    }
}

fn each(list: &Value, out: &mut dyn FnMut(&Value)) {
    list.as_array().into_iter().flatten().for_each(out);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

fn applies(value: &Value) -> Applies {
    serde_json::from_value(value.clone()).unwrap_or(Applies::Live)
}

fn value_item(value: &Value) -> Item<'_> {
    let (key, shown) = (text(&value["key"]), text(&value["value"]));
    Item::Value {
        key,
        value: shown,
        origin: origin(text(&value["origin"])),
        applies: applies(&value["applies"]),
    }
}

/// Parses the words of an origin.
fn origin(words: &str) -> Origin<'_> {
    match words.split_once(' ') {
        Some(("environment", name)) => Origin::Environment(name),
        Some(("flag", flag)) => Origin::Flag(flag),
        Some(("file,", line)) => {
            let line = line.trim_start_matches("line ");
            Origin::File(line.parse().unwrap_or_default())
        }
        _ if words == "stored" => Origin::Stored,
        _ if words == "candidate" => Origin::Candidate,
        _ if words == "in use, not stored" => Origin::Unkept,
        _ => Origin::Default,
    }
}

fn change_item(change: &Value) -> Item<'_> {
    Item::Change {
        key: text(&change["key"]),
        from: text(&change["from"]),
        to: text(&change["to"]),
        applies: applies(&change["applies"]),
    }
}

fn problem_item(problem: &Value) -> Item<'_> {
    Item::Problem { key: text(&problem["key"]), text: text(&problem["text"]) }
}

fn miner_item(miner: &Value) -> Item<'_> {
    Item::Miner {
        place: number(&miner["place"]).unwrap_or_default(),
        peer: text(&miner["peer"]),
        worker: text(&miner["worker"]),
        agent: text(&miner["agent"]),
        difficulty: miner["difficulty"].as_f64().unwrap_or_default(),
        hashrate: miner["hashrate"].as_f64().unwrap_or_default(),
        accepted: number(&miner["accepted"]).unwrap_or_default(),
        rejected: number(&miner["rejected"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_back_as_they_were_written() {
        for origin_in in [
            Origin::Default,
            Origin::File(7),
            Origin::Stored,
            Origin::Environment("LOKA_X"),
            Origin::Flag("--x"),
            Origin::Unkept,
        ] {
            assert_eq!(origin(&origin_in.to_string()), origin_in);
        }
        assert_eq!(origin("candidate"), Origin::Candidate);
    }
}
