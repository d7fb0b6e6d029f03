//! The API's handlers. They know embedded-svc's traits for HTTP and [`Control`] for the gateway; no
//! single setting appears here.
//!
//! A request is checked in this order: origin and host ([`guard`]), path and method ([`routes`]),
//! session and role, CSRF token, type and length of the body. Only then is it carried out.
//!
//! [`guard`]: super::guard
//! [`routes`]: super::routes

use std::net::SocketAddr;
use std::rc::Rc;

use embedded_svc::http::Method;
use embedded_svc::http::server::asynch::{Connection, Headers};
use loka_stratum::control::{Item, LINES_DEFAULT, Refused, Request, Role};
use loka_stratum::limits::{DEVICE_KEPT, HTTP_BODY_BYTES_MAX};

use super::answer::{Answer, BYTES, FORM, Fault, JSON};
use super::backup;
use super::guard::{self, Bearer, COOKIE, DEVICE, Peer, SESSION};
use super::json::{self, Edit, Items, Problem};
use super::metrics;
use super::routes::{self, Body, Call, Route, Who};
use crate::gateway::access::{Access, Denied, From as Comer, Opened, Proof};
use crate::gateway::base::answer::{Actor, Whence};
use crate::gateway::base::clock;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::observe::report::Report;
use crate::gateway::operate::control::{Candidate, Control};
use crate::gateway::update::Updates;

/// Answers one peer.
pub struct Api<'a> {
    /// Carries out the requests.
    pub control: &'a Rc<Control>,
    /// Takes updates of the system.
    pub updates: &'a Rc<Updates>,
    /// Log-in and sessions.
    pub access: &'a Access,
    /// The peer.
    pub peer: Peer,
}

/// A request whose head passed all checks.
struct Admitted<'p> {
    route: &'static Route,
    id: &'p str,
    bearer: Option<Bearer>,
    /// The device id that the browser sent.
    device: Option<String>,
    /// The wanted format of the counters.
    format: metrics::Format,
}

/// A request ready to be carried out.
pub(super) struct Asked<'r> {
    call: Call,
    query: &'r str,
    /// The path segment that matches `{id}`.
    id: &'r str,
    /// The body.
    pub(super) body: &'r [u8],
    /// The session, if there is one.
    pub(super) bearer: Option<Bearer>,
    /// The device id that the browser sent.
    device: Option<&'r str>,
    format: metrics::Format,
}

/// The description of the API.
pub const OPENAPI: &str = include_str!("openapi.json");

const EDITS: &str = r#"{"edits":[{"key":"pool.1.url","value":"text, or null"}]}"#;
const TRIAL: &str = r#"{"pool":"pool.1, or an address","edits":[]}"#;
const LOG_IN: &str = r#"{"role":"admin","password":"text"} or {"code":"the set-up code"}"#;

impl Api<'_> {
    /// Answers a request.
    ///
    /// # Errors
    ///
    /// The connection's error.
    pub async fn handle<C: Connection>(&self, connection: &mut C) -> Result<(), C::Error> {
        let uri = connection.uri().to_owned();
        let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
        let admitted = {
            let method = connection.method();
            let (head, _) = connection.split();
            self.admit(method, path, head)
        };
        let bearer = admitted.as_ref().ok().and_then(|admitted| admitted.bearer);
        let answer = match admitted {
            Err(fault) => fault.into(),
            Ok(Admitted { route, bearer, .. }) if route.body == Body::File => {
                self.update(connection, query, bearer).await
            }
            Ok(Admitted { route, id, bearer, device, format }) => {
                let mut body = Vec::new();
                if route.body != Body::None && !read_body(connection, &mut body).await? {
                    let text = format!("body: got more, allowed {HTTP_BODY_BYTES_MAX} bytes");
                    Fault::new(413, text).into()
                } else {
                    let (call, device) = (route.call, device.as_deref());
                    let asked = Asked { call, query, id, body: &body, bearer, device, format };
                    self.call(&asked).await.unwrap_or_else(Answer::from)
                }
            }
        };
        // A page with another session learns of it from this header.
        let answer = match bearer {
            Some(bearer) => answer.with(SESSION, bearer.mark()),
            None => answer,
        };
        answer.write(connection).await
    }

    /// Checks a request by its head.
    fn admit<'p>(
        &self,
        method: Method,
        path: &'p str,
        head: &impl Headers,
    ) -> Result<Admitted<'p>, Fault> {
        // A health check may use any `Host`.
        if path != "/healthz" {
            let is_told = |label: &str| self.control.is_told_name(label);
            self.peer.check_origin(method, head, &self.control.settings(), &is_told)?;
        }
        let (route, id) = routes::find(method, path).map_err(|methods| unknown(&methods))?;
        let bearer = self.peer.bearer(head, self.access);
        let needs = match route.who {
            Who::Anyone => None,
            Who::OnStatusPort if !self.peer.is_tls => None,
            Who::OnStatusPort => Some(Role::Viewer),
            Who::Role(role) => Some(role),
        };
        if let Some(needs) = needs {
            let bearer = bearer.as_ref().ok_or_else(|| {
                Fault::new(401, "nobody is logged in; POST /api/v1/session does it")
            })?;
            bearer.check_role(needs)?;
            if guard::changes_something(method) {
                bearer.check_csrf(head)?;
            }
        }
        match route.body {
            Body::None => {}
            Body::Json => guard::check_type(head, JSON)?,
            Body::Bytes | Body::File => guard::check_type(head, BYTES)?,
            Body::Form => guard::check_type(head, FORM)?,
        }
        let device = guard::cookie(head, DEVICE).map(str::to_owned);
        let format = metrics::Format::accepted(head.header("accept").unwrap_or_default());
        Ok(Admitted { route, id, bearer, device, format })
    }

    /// Carries out a request.
    async fn call(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        match asked.call {
            Call::Page(file) => Ok(file.answer()),
            Call::Basic => self.basic(asked).await,
            Call::BasicForm => self.basic_form(asked).await,
            Call::Metrics => {
                let text = metrics::encode(&self.control.report(), asked.format);
                let answer = Answer::new(200, asked.format.content_type(), text.into_bytes());
                Ok(answer.with("vary", "accept".to_owned()))
            }
            // The answer itself shows that the event loop runs.
            Call::Health => Ok(Answer::text(200, "ok\n")),
            Call::Ready => Ok(ready(&self.control.report())),
            Call::Status => Ok(Answer::json(200, &self.control.report())),
            Call::OpenApi => Ok(Answer::new(200, JSON, OPENAPI.as_bytes())),
            Call::Session => Ok(Answer::json(200, &self.session(asked.bearer))),
            Call::LogIn => self.log_in(asked).await,
            Call::LogOut => Ok(self.log_out(asked)),
            Call::Sessions => Ok(self.sessions(asked)),
            Call::EndSession => self.end_session(asked),
            Call::Fields => Ok(Answer::json(200, &json::fields())),
            Call::Settings => self.settings(asked).await,
            Call::Check => self.check(asked).await,
            Call::Commit => {
                let json::Edits { edits } = json::read(asked.body, EDITS)?;
                self.commit(asked, &edits, Vec::new()).await
            }
            Call::Confirm => {
                json::read::<json::Nothing>(asked.body, "{}")?;
                let Items { lines: notes, .. } = self.ask(asked, &Request::Confirm).await?;
                let stored = self.control.is_stored();
                Ok(Answer::json(200, &json::ConfirmBody { stored, notes }))
            }
            Call::RollBack => self.plain(asked, &Request::Rollback).await,
            Call::Test => self.test(asked).await,
            Call::Miners => {
                let skip = number(asked.query, "skip", 0)?;
                let items = self.ask(asked, &Request::Miners { skip }).await?;
                Ok(Answer::json(200, &json::MinersBody { miners: items.miners }))
            }
            Call::Admitted => {
                Ok(Answer::json(200, &json::WorkersBody { workers: self.control.admitted() }))
            }
            Call::Admit => {
                let form = r#"{"worker":"name or pattern","word":"password, or nothing"}"#;
                let json::Admission { worker, word } = json::read(asked.body, form)?;
                self.ask(asked, &Request::Admit { worker: &worker, word: &word }).await?;
                Ok(Answer::json(200, &json::DoneBody {}))
            }
            Call::Log => {
                let count = number(asked.query, "count", LINES_DEFAULT)?;
                self.lines(asked, &Request::Log { count }).await
            }
            Call::Frames => {
                let count = number(asked.query, "count", LINES_DEFAULT)?;
                self.lines(asked, &Request::Frames { count }).await
            }
            Call::Audit => {
                let count = number(asked.query, "count", LINES_DEFAULT)?;
                self.lines(asked, &Request::Audit { count }).await
            }
            Call::Password => self.password(asked).await,
            Call::Reset => {
                let json::Sure { sure } = json::read(asked.body, r#"{"sure":"reset"}"#)?;
                self.ask(asked, &Request::Reset { sure: &sure }).await?;
                Ok(Answer::json(200, &json::DoneBody {}))
            }
            Call::Backup => match backup::make(&self.control.base()) {
                Some(bytes) => Ok(Answer::new(200, BYTES, bytes)),
                None => Err(Fault::new(500, "the settings are longer than a backup may be")),
            },
            Call::Restore => {
                let edits = backup::read(asked.body, &self.control.base());
                self.restore(asked, edits.map_err(|text| Fault::new(400, text))?).await
            }
            Call::Certificate => Ok(self.certificate()),
            Call::BringCertificate => {
                let form = r#"{"pem":"the chain and its private key"}"#;
                let json::NewCertificate { pem } = json::read(asked.body, form)?;
                {
                    let result = self.access.certificate.bring(&pem).await;
                    self.change_certificate(asked, "bring a certificate", result)
                }
            }
            Call::DropCertificate => {
                let result = self.access.certificate.drop_brought().await;
                self.change_certificate(asked, "drop a certificate", result)
            }
            // An update's body is read elsewhere, so its request was answered before.
            Call::Update => Err(Fault::new(500, "an update comes as a file")),
        }
    }

    fn session(&self, bearer: Option<Bearer>) -> json::SessionBody {
        let places = |places: Vec<SocketAddr>, scheme: &str| {
            let of_whom = bearer.map_or(0, |_| places.len());
            places.iter().take(of_whom).map(|place| format!("{scheme}://{place}")).collect()
        };
        json::SessionBody {
            role: bearer.map(|bearer| bearer.session.role),
            csrf: bearer.map(|bearer| bearer.token.csrf()),
            first_run: self.access.is_first_run(),
            seconds_left: bearer.and_then(|_| self.control.seconds_left()),
            version: env!("CARGO_PKG_VERSION"),
            secure: self.peer.is_tls,
            pages: places(self.control.page_places(), "https"),
            miners: places(self.control.miners_places(), "stratum+tcp"),
        }
    }

    async fn log_in(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let json::LogIn { role, password, code } = json::read(asked.body, LOG_IN)?;
        let proof = match (role, &password, &code) {
            (Some(role), Some(word), None) => Proof::Password { role, word },
            (None, None, Some(code)) => Proof::Code(code),
            _ => {
                return Err(Fault::new(
                    400,
                    format!("body: got another mixture, allowed {LOG_IN}"),
                ));
            }
        };
        let opened = self.open_session(asked, &proof).await?;
        if let Some(Bearer { token, .. }) = asked.bearer {
            self.access.log_out(&token);
        }
        let Opened { token, session, .. } = opened;
        let body = self.session(Some(Bearer { token, session }));
        Ok(self.remembered(Answer::json(200, &body), &opened))
    }

    /// Logs in, and records the result.
    pub(super) async fn open_session(
        &self,
        asked: &Asked<'_>,
        proof: &Proof<'_>,
    ) -> Result<Opened, Fault> {
        if matches!(proof, Proof::Password { .. }) && !self.peer.is_private() {
            let text = "a password passes over TLS (web.address) or from this machine only";
            return Err(Fault::new(403, text));
        }
        let (from, who) = (self.peer.address, proof.name());
        let comer = Comer { address: from, device: asked.device };
        match self.access.log_in(comer, proof, clock::now()).await {
            Ok(opened) => {
                log::info(Kind::Access, format_args!("{who} logged in from {from}"));
                self.control.note(None, Whence::Web(from), &format!("log-in as {who}"), "done");
                Ok(opened)
            }
            Err(denied) => {
                if denied == Denied::Wrong {
                    let is_locked_out = self.access.is_locked_out(comer, proof);
                    let end = if is_locked_out { ", locked out" } else { "" };
                    log::warn(Kind::Access, format_args!("{who} refused from {from}{end}"));
                }
                let fault = denied_fault(denied);
                if matches!(denied, Denied::TooEarly { .. }) {
                    // A guess that came too early must not cost a write.
                    self.control.count_early();
                    return Err(fault);
                }
                let what = format!("log-in as {who}");
                self.control.note(None, Whence::Web(from), &what, fault.text());
                Err(fault)
            }
        }
    }

    fn log_out(&self, asked: &Asked<'_>) -> Answer {
        if let Some(Bearer { token, .. }) = asked.bearer {
            self.access.log_out(&token);
        }
        let cookie = self.cookie("", "; Max-Age=0");
        Answer::json(200, &self.session(None)).with("set-cookie", cookie)
    }

    fn sessions(&self, asked: &Asked<'_>) -> Answer {
        let own = asked.bearer.as_ref().map(|bearer| &bearer.token);
        let sessions = self.access.sessions(own, clock::now());
        let sessions = sessions.iter().map(json::ListedSession::from).collect();
        Answer::json(200, &json::SessionsBody { sessions })
    }

    fn end_session(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let number = asked.id.parse().ok();
        let ended = number.and_then(|number| self.access.end_session(number, clock::now()));
        let Some(ended) = ended else {
            return Err(Fault::new(404, "there is no such session, or not any more"));
        };
        let Actor { role, from } = self.actor(asked)?;
        let what = format!("end the session of {} from {}", ended.session.role, ended.from);
        self.control.note(Some(role), from, &what, "done");
        Ok(Answer::json(200, &json::DoneBody {}))
    }

    pub(super) fn cookie(&self, value: &str, more: &str) -> String {
        let secure = if self.peer.is_tls { "; Secure" } else { "" };
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}")
    }

    /// Sets the cookies of session and device.
    pub(super) fn remembered(&self, answer: Answer, opened: &Opened) -> Answer {
        let answer = answer.with("set-cookie", self.cookie(&opened.token.text(), ""));
        let Some(device) = &opened.device else { return answer };
        let secure = if self.peer.is_tls { "; Secure" } else { "" };
        let kept = DEVICE_KEPT.as_secs();
        let cookie =
            format!("{DEVICE}={device}; Path=/; HttpOnly; SameSite=Strict; Max-Age={kept}{secure}");
        answer.with("set-cookie", cookie)
    }

    async fn settings(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let prefix = value(asked.query, "prefix").unwrap_or_default();
        let Items { values, .. } = self.ask(asked, &Request::Show { prefix }).await?;
        let seconds_left = self.control.seconds_left();
        Ok(Answer::json(200, &json::ValuesBody { values, seconds_left }))
    }

    async fn check(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let json::Edits { edits } = json::read(asked.body, EDITS)?;
        let (mut candidate, mut problems) = self.edit(asked, &edits).await?;
        let mut items = Items::default();
        if problems.is_empty() {
            let diff = Request::Diff;
            match self
                .control
                .ask(&self.actor(asked)?, &mut candidate, &diff, &mut |item| items.add(&item))
                .await
            {
                Ok(()) => {}
                Err(Refused::Invalid(text)) => problems.push(Problem { key: String::new(), text }),
                Err(refused) => return Err(refused.into()),
            }
        }
        problems.append(&mut items.problems);
        Ok(Answer::json(200, &json::CheckBody { changes: items.changes, problems }))
    }

    /// Applies the differences of a backup. Keys that the environment or a flag sets are skipped
    /// with a note: nobody can take them out of a backup.
    async fn restore(&self, asked: &Asked<'_>, mut edits: Vec<Edit>) -> Result<Answer, Fault> {
        let stays = |key: &str, value: Option<&str>| self.control.overruled(key, value).is_some();
        let overruled: Vec<_> = edits
            .iter()
            .filter(|edit| stays(&edit.key, edit.value.as_deref()))
            .map(|edit| edit.key.clone())
            .collect();
        // The password reset with an address belongs to that address.
        let is_left = |key: &str| {
            overruled.iter().any(|of| of == key || of.replace(".url", ".password") == key)
        };
        edits.retain(|edit| !is_left(&edit.key));
        let mut notes = Vec::new();
        if !overruled.is_empty() {
            let keys = overruled.join(", ");
            notes.push(format!("Not restored, as the environment or a flag sets it: {keys}."));
        }
        if !edits.is_empty() {
            return self.commit(asked, &edits, notes).await;
        }
        // Nothing differs: the wanted state is reached.
        let seconds_left = self.control.seconds_left();
        let stored = seconds_left.is_none() && self.control.is_stored();
        let changes = Vec::new();
        Ok(Answer::json(200, &json::CommitBody { changes, seconds_left, stored, notes }))
    }

    async fn commit(
        &self,
        asked: &Asked<'_>,
        edits: &[Edit],
        mut notes: Vec<String>,
    ) -> Result<Answer, Fault> {
        let (mut candidate, problems) = self.edit(asked, edits).await?;
        if !problems.is_empty() {
            let error = "nothing was changed; every problem is listed".to_owned();
            return Ok(Answer::json(400, &json::RefusedBody { error, problems }));
        }
        let mut items = Items::default();
        let commit = Request::Commit;
        let ended = self
            .control
            .ask(&self.actor(asked)?, &mut candidate, &commit, &mut |item| items.add(&item))
            .await;
        let Items { changes, problems, seconds_left, mut lines, .. } = items;
        notes.append(&mut lines);
        match ended {
            Ok(()) => {
                let stored = seconds_left.is_none() && self.control.is_stored();
                let body = json::CommitBody { changes, seconds_left, stored, notes };
                Ok(Answer::json(200, &body))
            }
            Err(Refused::Invalid(error)) => {
                Ok(Answer::json(400, &json::RefusedBody { error, problems }))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Applies edits to a candidate; returns a problem for each rejected edit.
    pub(super) async fn edit(
        &self,
        asked: &Asked<'_>,
        edits: &[Edit],
    ) -> Result<(Candidate, Vec<Problem>), Fault> {
        let actor = self.actor(asked)?;
        let (mut candidate, mut problems) = (Candidate::default(), Vec::new());
        for Edit { key, value } in edits {
            let request = match value {
                Some(value) => Request::Set { key, value },
                None => Request::Unset { key },
            };
            match self.control.ask(&actor, &mut candidate, &request, &mut |_| ()).await {
                Ok(()) => {}
                Err(Refused::Invalid(text)) => problems.push(Problem { key: key.clone(), text }),
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok((candidate, problems))
    }

    async fn test(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let json::Trial { pool, edits } = json::read(asked.body, TRIAL)?;
        let (mut candidate, problems) = self.edit(asked, &edits).await?;
        if !problems.is_empty() {
            let error = "no pool was tried; every problem is listed".to_owned();
            return Ok(Answer::json(400, &json::RefusedBody { error, problems }));
        }
        let mut items = Items::default();
        let test = Request::Test { pool: &pool };
        let actor = self.actor(asked)?;
        self.control.ask(&actor, &mut candidate, &test, &mut |item| items.add(&item)).await?;
        let Items { lines: steps, certificates: chain, problems, .. } = items;
        let problem = problems.into_iter().map(|problem| problem.text).next();
        let ok = problem.is_none();
        Ok(Answer::json(200, &json::TrialBody { ok, steps, chain, problem }))
    }

    async fn password(&self, asked: &Asked<'_>) -> Result<Answer, Fault> {
        let form = r#"{"role":"admin","word":"the new password"}"#;
        let json::NewPassword { role, word } = json::read(asked.body, form)?;
        self.set_password(asked, role, &word).await?;
        Ok(Answer::json(200, &self.session(asked.bearer)))
    }

    /// Sets a password; the caller's own session survives.
    pub(super) async fn set_password(
        &self,
        asked: &Asked<'_>,
        role: Role,
        word: &str,
    ) -> Result<(), Fault> {
        let Some(Bearer { token, .. }) = asked.bearer else { return Err(Fault::new(401, "")) };
        self.access.keep_session(&token, true);
        let result = self.ask(asked, &Request::Password { role, word }).await;
        self.access.keep_session(&token, false);
        result.map(|_| ())
    }

    fn certificate(&self) -> Answer {
        let certificate = &self.access.certificate;
        let fingerprint = certificate.fingerprint().map(|fingerprint| fingerprint.to_string());
        let is_own = !certificate.is_brought();
        Answer::json(200, &json::CertificateBody { fingerprint, is_own })
    }

    fn change_certificate(
        &self,
        asked: &Asked<'_>,
        what: &str,
        result: Result<(), Refused<String>>,
    ) -> Result<Answer, Fault> {
        let result = result.map_err(Fault::from);
        let (role, from) = (asked.bearer.map(|bearer| bearer.session.role), self.peer.address);
        let end = result.as_ref().err().map_or("done", Fault::text);
        self.control.note(role, Whence::Web(from), what, end);
        result.map(|()| self.certificate())
    }

    async fn plain(&self, asked: &Asked<'_>, request: &Request<'_>) -> Result<Answer, Fault> {
        json::read::<json::Nothing>(asked.body, "{}")?;
        self.ask(asked, request).await?;
        Ok(Answer::json(200, &json::DoneBody {}))
    }

    async fn lines(&self, asked: &Asked<'_>, request: &Request<'_>) -> Result<Answer, Fault> {
        let Items { lines, .. } = self.ask(asked, request).await?;
        Ok(Answer::json(200, &json::LinesBody { lines }))
    }

    /// Sends a request to control without edits.
    pub(super) async fn ask(
        &self,
        asked: &Asked<'_>,
        request: &Request<'_>,
    ) -> Result<Items, Fault> {
        let mut items = Items::default();
        let mut out = |item: Item<'_>| items.add(&item);
        let actor = self.actor(asked)?;
        self.control.ask(&actor, &mut Candidate::default(), request, &mut out).await?;
        Ok(items)
    }

    pub(super) fn actor(&self, asked: &Asked<'_>) -> Result<Actor, Fault> {
        let bearer = asked.bearer.ok_or_else(|| Fault::new(401, "nobody is logged in"))?;
        Ok(Actor { role: bearer.session.role, from: Whence::Web(self.peer.address) })
    }
}

impl From<Refused<String>> for Fault {
    fn from(refused: Refused<String>) -> Self {
        match refused {
            Refused::Forbidden { needs } => {
                Self::new(403, format!("this takes the role {} or one above", needs.name()))
            }
            Refused::Invalid(text) => Self::new(400, text),
            Refused::Conflict(text) => Self::new(409, text),
            Refused::Failed(text) => Self::new(500, text),
        }
    }
}

fn denied_fault(denied: Denied) -> Fault {
    match denied {
        Denied::Wrong => Fault::new(401, "that is not the password of this role, or not the code"),
        Denied::TooEarly { wait } => {
            let secs = wait.as_micros().div_ceil(1_000_000);
            let text = format!("too many attempts were wrong; the next may come in {secs} s");
            Fault::new(429, text).with("retry-after", secs.to_string())
        }
        Denied::CodeIsOver => {
            Fault::new(403, "admin has a password, so the set-up code is good for nothing")
        }
        Denied::NotLocal => Fault::new(403, "the set-up code is taken from the local network only"),
        Denied::Unsound => Fault::new(
            503,
            "the file of passwords is damaged, so nobody is let in; set admin's password over the \
             serial line, or reset the gateway",
        ),
        Denied::Failed => Fault::new(500, "the system has no random numbers"),
    }
}

fn unknown(methods: &[Method]) -> Fault {
    if methods.is_empty() {
        return Fault::new(404, "there is nothing here; /api/v1/openapi.json lists what there is");
    }
    let mut names: Vec<_> = methods.iter().map(|method| routes::name(*method)).collect();
    if methods.contains(&Method::Get) {
        names.push(routes::name(Method::Head));
    }
    let names = names.join(", ");
    Fault::new(405, format!("method: got another, allowed {names}")).with("allow", names)
}

fn ready(report: &Report) -> Answer {
    if report.ready {
        let troubled = report.upstream.iter().filter(|link| link.trouble.is_some());
        let troubled: Vec<_> = troubled.map(|link| link.pool).collect();
        let mut text = String::from("ready\n");
        if !troubled.is_empty() {
            // Miners get work, so a load balancer keeps the gateway; a person should look.
            text = String::from("ready, degraded\n");
            for warning in &report.warnings {
                let is_of = |pool: &usize| warning.starts_with(&format!("pool {pool} "));
                if troubled.iter().any(is_of) {
                    text += &format!("{warning}\n");
                }
            }
        }
        return Answer::text(200, text);
    }
    let mut text = String::from("not ready: no pool is live\n");
    for link in &report.upstream {
        let error = link.error.as_deref().unwrap_or(link.state);
        text += &format!("pool {}: {error}\n", link.pool);
    }
    Answer::text(503, text)
}

/// Reads a body; false if it exceeds the limit.
async fn read_body<C: Connection>(
    connection: &mut C,
    body: &mut Vec<u8>,
) -> Result<bool, C::Error> {
    let mut buffer = [0; 1024];
    loop {
        let count = connection.read(&mut buffer).await?;
        if count == 0 {
            return Ok(true);
        }
        body.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if body.len() > HTTP_BODY_BYTES_MAX {
            return Ok(false);
        }
    }
}

/// Returns a raw value of the query: no known value needs unescaping.
pub(super) fn value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
}

fn number(query: &str, name: &str, default: u16) -> Result<u16, Fault> {
    match value(query, name) {
        None => Ok(default),
        Some(text) => {
            let most = u16::MAX;
            text.parse().map_err(|_| Fault::new(400, format!("{name}: allowed 0..{most}")))
        }
    }
}
