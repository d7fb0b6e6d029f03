//! Carries out operators' requests from every door ([`loka_stratum::control`]).
//!
//! Read this first. There are three sets of settings:
//!
//! - the **base**: the file or the last commit, whichever was written later ([`kept`]);
//! - the settings **in use**: the base under the environment and the flags;
//! - a **candidate** per operator: edits on top of the base, not in use. Edits, not settings, so
//!   two operators who change different keys do not undo each other.
//!
//! [`Control::take`] is the only way into use, for commit, reload and roll-back alike. It first
//! does every step that can fail (checks, memory, certificates, ports), then the steps that cannot.
//! So the settings in use are always one whole set (F78). A commit that may cut off the operator or
//! the farm is provisional: it is rolled back unless it is confirmed in time. It is not stored
//! before the confirmation, so a restart rolls it back too.
//!
//! Nothing here depends on the door: console, tool or page.

mod audit;
mod bound;
mod candidate;
mod change;
mod commit;
mod kept;
mod overruled;
pub mod reset;
mod show;
#[cfg(test)]
pub(in crate::gateway) mod tests;
mod watch;

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::control::{Item, Refused, Request, Role};
use loka_stratum::limits::{COMMIT_INTERVAL, COMMITS_BURST_MAX, CONFIRM_MAX};
use loka_stratum::settings::{Applies, Key, PageAddress, Settings};
use loka_stratum::work::extranonce::Geometry;
use tokio::sync::watch as channel;

use crate::gateway::access::Access;
use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::answer::{Actor, Answer, Whence};
use crate::gateway::base::clock;
use crate::gateway::base::disk::{Flash, thread};
use crate::gateway::base::event_loop;
#[cfg(feature = "defmt")]
use crate::gateway::base::frames;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::say::say;
use crate::gateway::base::shelf::{self, Writing};
use crate::gateway::base::socket;
use crate::gateway::base::warnings;
use crate::gateway::observe::report::Report;
use crate::gateway::observe::system::UpdateReport;
use crate::gateway::operate::config::{self, Merged, Sources};
use crate::gateway::operate::load::{Loaded, dialers_beside, plain_warnings};
use crate::gateway::operate::options;
use crate::gateway::operate::probe;
use crate::gateway::runtime::hub::Hub;
use crate::gateway::runtime::listen::{Bound, Doors};

use audit::Audit;
use bound::Stray;
use change::{changes, problems};
use commit::Provisional;

pub use candidate::Candidate;
pub use kept::Kept;

/// Puts settings into effect, and keeps all state around them.
pub struct Control {
    /// Accounts and sessions of the network doors.
    pub access: Access,
    hub: Rc<Hub>,
    sources: Sources,
    seed: u64,
    geometry: Option<Geometry>,
    state: RefCell<State>,
    audit: RefCell<Audit>,
    /// This machine's name in mDNS, without its domain; `None` if it has none.
    told_name: RefCell<Option<String>>,
    /// Held by each change of the settings in use, one after the other: a change may wait for
    /// files.
    turn: tokio::sync::Mutex<()>,
    /// The ports of status and page.
    ports: Box<dyn Ports>,
    /// Updates of the system.
    system: Rc<dyn System>,
    /// The time to confirm a commit.
    confirm_wait: Cell<Duration>,
    changed: channel::Sender<()>,
}

/// Updates of the system: their state for the status, and whether a commit has to wait for one.
pub trait System {
    /// Returns the state of updates.
    fn report(&self) -> UpdateReport;

    /// Says whether an update is being received, read back, or about to start.
    fn is_under_way(&self) -> bool;
}

/// Ports besides the miners' that settings open and close.
pub trait Ports {
    /// Binds the ports that the settings change. The call of the result switches to the new ports
    /// and closes the ones they replace; until then, or without it, the old ones stay open.
    ///
    /// # Errors
    ///
    /// An address cannot be bound, or no certificate can be made.
    fn bind(&self, settings: &Settings, control: &Rc<Control>) -> io::Result<Box<dyn FnOnce()>>;

    /// Returns the page's address; `None` while it is off.
    fn page(&self) -> Option<SocketAddr>;
}

struct State {
    doors: Doors,
    base: Box<Settings>,
    /// The values that environment and flags set over the base.
    origins: Vec<(Key, config::Origin)>,
    file: Filed,
    /// The mark of the file that was read last, good or bad.
    tried: Option<u32>,
    kept: Kept,
    provisional: Option<Provisional>,
    commits: Allowance,
    is_ending: bool,
}

/// The contents of the settings file.
pub struct Filed {
    /// The file's settings alone.
    pub settings: Box<Settings>,
    /// The source of each key that was set, the latest last.
    pub origins: Vec<(Key, config::Origin)>,
    /// The file's mark.
    pub mark: Option<u32>,
}

impl Control {
    /// Builds the control; `loaded` is the same as the hub's.
    pub fn new(
        hub: Rc<Hub>,
        access: Access,
        sources: Sources,
        seed: u64,
        geometry: Option<Geometry>,
        loaded: Loaded,
        (ports, system): (Box<dyn Ports>, Rc<dyn System>),
    ) -> Rc<Self> {
        let Loaded { merged: Merged { base, origins, .. }, filed, kept, news, .. } = loaded;
        let audit = Audit::open(loaded.state.writable());
        let state = State {
            doors: Doors::default(),
            base,
            origins,
            tried: filed.mark,
            file: filed,
            kept,
            provisional: None,
            commits: Allowance::new(COMMITS_BURST_MAX, COMMIT_INTERVAL),
            is_ending: false,
        };
        let control = Rc::new(Self {
            access,
            hub,
            sources,
            seed,
            geometry,
            audit: RefCell::new(audit),
            state: RefCell::new(state),
            told_name: RefCell::default(),
            turn: tokio::sync::Mutex::new(()),
            ports,
            system,
            confirm_wait: Cell::new(Duration::from_micros(CONFIRM_MAX.as_micros())),
            changed: channel::Sender::new(()),
        });
        if news.was_reset {
            control.note(None, Whence::Button, "factory reset", "done");
        }
        if news.file_was_edited {
            control.forget_commit();
        }
        if news.file_is_bad {
            control.hub.file_is_bad.set(true);
            control.note(None, Whence::File, "start", warnings::BAD_FILE);
        }
        control.count_writes();
        control
    }

    /// Returns a channel that signals each change of the settings in use, and the end.
    pub fn changes(&self) -> channel::Receiver<()> {
        self.changed.subscribe()
    }

    /// Counts a log-in that came too early; it gets no entry of its own.
    pub fn count_early(&self) {
        self.audit.borrow().count_early();
    }

    /// Queues the last writes; the caller waits for the disk's thread.
    pub fn end(&self) {
        self.audit.borrow_mut().end(clock::now());
    }

    /// Adds an audit entry for an attempt, such as a log-in.
    pub fn note(&self, role: Option<Role>, from: Whence, what: &str, result: &str) {
        self.audit.borrow_mut().note(role, from, what, result, clock::now());
    }

    /// Carries out a request and hands each part of the answer to `out`.
    ///
    /// # Errors
    ///
    /// Why it was not done; nothing has changed then.
    pub async fn ask(
        self: &Rc<Self>,
        by: &Actor,
        candidate: &mut Candidate,
        request: &Request<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let edits = match request {
            Request::Commit => candidate.clone(),
            _ => Candidate::default(),
        };
        let mut writing = None;
        let answer = self.carry_out(by, candidate, request, &mut writing, out).await;
        let note = |what: &str, result: &str| self.note(Some(by.role), by.from, what, result);
        if answer.is_ok() {
            edits.described().for_each(|edit| note(&edit, "done"));
        }
        let is_beyond = matches!(answer, Err(Refused::Forbidden { .. }));
        if request.is_audited() || is_beyond {
            let result = match &answer {
                Ok(()) => "done".to_owned(),
                Err(refused) => refused.to_string(),
            };
            note(&described(request, &edits.keys()), &result);
        }
        // Last, since the caller may be gone before the disk answers.
        if let Some(writing) = writing {
            self.say_kept(writing, out).await;
        }
        answer
    }

    async fn carry_out(
        self: &Rc<Self>,
        by: &Actor,
        candidate: &mut Candidate,
        request: &Request<'_>,
        writing: &mut Option<Writing>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let needs = request.role();
        if by.role < needs {
            return Err(Refused::Forbidden { needs });
        }
        match *request {
            Request::Hello => {
                out(Item::Text(concat!("loka-stratum ", env!("CARGO_PKG_VERSION"))));
                Ok(())
            }
            Request::Show { prefix } => self.show(candidate, prefix, out),
            Request::Set { key, value } => {
                self.is_ours(key, Some(value))?;
                candidate.set(&self.base(), key, value, by.role)
            }
            Request::Unset { key } => {
                self.is_ours(key, None)?;
                candidate.unset(&self.base(), key, by.role)
            }
            Request::Diff => self.diff(candidate, out),
            Request::Commit => self.commit(candidate, writing, out).await,
            Request::Confirm => self.confirm(writing, out).await,
            Request::Rollback => self.roll_back(candidate).await,
            Request::Admit { worker, word } => self.hub.admissions.set(worker, word).await,
            Request::Admitted => {
                self.hub.admissions.show(out);
                Ok(())
            }
            Request::Test { pool } => {
                let farm = probe::Farm::of(&self.hub.proxy.borrow());
                let settings = self.would_be(candidate)?;
                for stray in self.strays(&settings, candidate) {
                    if probe::is_of(pool, &settings, stray.key.pool()) {
                        return Err(Refused::Invalid(stray.text));
                    }
                }
                probe::run(&settings, pool, farm, out).await
            }
            Request::Password { role, word } => self.access.set_password(role, word).await,
            Request::Status => self.status(out),
            Request::Miners { skip } => self.miners(skip, out),
            Request::Log { count } => Self::log(count, out),
            Request::Frames { count } => Self::frames(count, out).await,
            Request::Audit { count } => self.audit_log(count, out).await,
            Request::Reset { sure } => self.reset(sure, candidate, out).await,
        }
    }

    /// Binds the miners' addresses, for [`Self::announce`].
    ///
    /// # Errors
    ///
    /// An address that cannot be bound.
    pub fn bind_doors(&self, settings: &Settings) -> io::Result<Bound> {
        let state = self.state.borrow();
        state.doors.bind(&settings.listen).map_err(io::Error::other)
    }

    /// Opens the ports of status and page, if the settings name them.
    ///
    /// # Errors
    ///
    /// An address cannot be bound.
    pub async fn open_web(self: &Rc<Self>) -> io::Result<()> {
        let settings = self.hub.settings.borrow().clone();
        self.prepare_page(&settings).await?;
        let open = self.ports.bind(&settings, self)?;
        open();
        Ok(())
    }

    /// Makes the page's certificate if there is a page and no certificate.
    async fn prepare_page(&self, settings: &Settings) -> io::Result<()> {
        if settings.page_address().is_none() {
            return Ok(());
        }
        match self.access.certificate.config(settings).await {
            // The page was not asked for explicitly; opening it makes the certificate again.
            Err(error) if settings.web.address == PageAddress::Auto => {
                log::warn(Kind::Settings, format_args!("no certificate for the page: {error}"));
                Ok(())
            }
            result => result.map(drop),
        }
    }

    /// Returns the page's addresses and fingerprint for a person at the device; empty if the page
    /// is off.
    pub fn about_page(&self) -> Vec<String> {
        let places = self.page_places();
        if places.is_empty() {
            return Vec::new();
        }
        let mut lines: Vec<_> =
            places.iter().map(|place| format!("page: https://{place}")).collect();
        let fingerprint = self.access.certificate.fingerprint();
        lines.extend(fingerprint.map(|print| format!("its fingerprint: {print}")));
        lines
    }

    /// Returns the gateway's state and its miners' addresses, for a person at the device.
    pub fn about_state(&self) -> Vec<String> {
        let report = self.hub.report(self.system.report());
        let miners = report.miners.connected;
        let state = match report.upstream.iter().find(|link| link.error.is_some()) {
            _ if report.ready => format!("state: ready, {miners} miners connected"),
            _ if report.upstream.is_empty() => "state: not ready: no pool is set".to_owned(),
            Some(link) => {
                let error = link.error.as_deref().unwrap_or_default();
                format!("state: not ready: pool {}: {error}", link.pool)
            }
            None => "state: not ready: no pool is live yet".to_owned(),
        };
        let places = self.miners_places();
        let places = places.iter().map(|place| format!("miners: stratum+tcp://{place}"));
        std::iter::once(state).chain(places).collect()
    }

    /// Returns the page's addresses as other machines reach it; empty if it is off.
    pub fn page_places(&self) -> Vec<SocketAddr> {
        self.ports.page().map_or_else(Vec::new, socket::reached_at)
    }

    /// Says whether the page accepts a connection from an address. It serves only the local network
    /// while the set-up code is valid, and while its address is automatic (F76).
    pub fn takes_at_page(&self, from: IpAddr) -> bool {
        let is_auto = self.settings().web.address == PageAddress::Auto;
        socket::is_local(from) || (!is_auto && !self.access.is_first_run())
    }

    /// Returns the addresses at which miners reach this machine.
    pub fn miners_places(&self) -> Vec<SocketAddr> {
        let state = self.state.borrow();
        state.doors.places().flat_map(socket::reached_at).collect()
    }

    /// Closes the doors for good; connected miners stay.
    pub fn close_doors(&self) {
        let mut state = self.state.borrow_mut();
        state.doors.close();
        state.is_ending = true;
        drop(state);
        self.changed.send_replace(());
    }

    /// Says whether the gateway is ending.
    pub fn is_ending(&self) -> bool {
        self.state.borrow().is_ending
    }

    /// Reads the settings again. After any problem the old settings stay in use as a whole (F70).
    pub async fn reload(self: &Rc<Self>) {
        let turn = self.turn.lock().await;
        let result = self.read_again().await;
        drop(turn);
        self.hub.file_is_bad.set(result.is_err());
        match result {
            Ok(text) => log::info(Kind::Settings, format_args!("{text}")),
            Err(error) => {
                for line in error.to_string().lines() {
                    log::error(Kind::Settings, format_args!("{line}"));
                }
                log::error(Kind::Settings, format_args!("the settings before stay in use"));
                self.note(None, Whence::File, "reload", "refused: the log lists what is wrong");
            }
        }
    }

    /// Returns the troubles of the state files, for a person at the device.
    pub fn troubles(&self) -> Vec<String> {
        shelf::troubles(&self.hub.state_dir)
    }

    /// Returns the settings in use.
    pub fn settings(&self) -> Ref<'_, Settings> {
        Ref::map(self.hub.settings.borrow(), |settings| &**settings)
    }

    /// Checks that an update may begin. The machine reboots after it, which would silently roll
    /// back a provisional commit.
    ///
    /// # Errors
    ///
    /// A commit waits to be confirmed.
    pub fn may_update(&self) -> Answer {
        if self.state.borrow().provisional.is_none() {
            return Ok(());
        }
        let text =
            "a commit waits to be confirmed; confirm or rollback comes first, then the update";
        Err(Refused::Conflict(text.to_owned()))
    }

    /// Stores this machine's name in mDNS, without its domain.
    pub fn set_told_name(&self, name: Option<&str>) {
        if self.told_name.borrow().as_deref() != name {
            *self.told_name.borrow_mut() = name.map(str::to_owned);
        }
    }

    /// Says whether this is the machine's name in mDNS, without its domain.
    pub fn is_told_name(&self, name: &str) -> bool {
        self.told_name.borrow().as_ref().is_some_and(|told| told.eq_ignore_ascii_case(name))
    }

    /// Returns the workers admitted by password.
    pub fn admitted(&self) -> Vec<String> {
        self.hub.admissions.workers()
    }

    /// Returns the tasks' shared state, for requests beyond settings: an update.
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// Returns the gateway's report.
    pub fn report(&self) -> Report {
        self.hub.report(self.system.report())
    }

    async fn read_again(self: &Rc<Self>) -> Result<&'static str, Failure> {
        let sources = self.sources.clone();
        let read = event_loop::beside(move || (config::mark(&sources), config::load(&sources)));
        let (mark, merged) = read.await?;
        self.state.borrow_mut().tried = mark;
        let merged = merged?;
        let filed = Filed::of(&merged);
        let (committed, is_same, is_provisional) = {
            let state = self.state.borrow();
            let is_same = state.file.mark == filed.mark;
            (state.kept.over(filed.mark), is_same, state.provisional.is_some())
        };
        if is_same && is_provisional {
            return Ok(
                "the file is as it was, and a commit waits to be confirmed: nothing is read",
            );
        }
        if let Some(committed) = committed {
            self.take(config::load_on(committed, &self.sources)?).await?;
            self.state.borrow_mut().file = filed;
            return Ok("settings reloaded: the last commit, which is younger than the file");
        }
        self.take(merged).await?;
        let provisional = {
            let mut state = self.state.borrow_mut();
            state.file = filed;
            state.provisional.take()
        };
        if let Some(provisional) = provisional {
            provisional.timer.abort();
        }
        if !is_same {
            self.forget_commit();
        }
        Ok("settings reloaded")
    }

    /// Drops the commit, since the file was edited after it.
    fn forget_commit(&self) {
        let mut state = self.state.borrow_mut();
        let mark = state.file.mark;
        let had_settings = state.kept.has_settings();
        if had_settings {
            // The shelf logs a failed write, and the control retries it.
            let _ = state.kept.keep(None, mark);
        }
        drop(state);
        let text = "it counts, since it was edited last";
        if had_settings {
            let more = "what was committed before is forgotten";
            log::warn(Kind::Settings, format_args!("the settings file: {text}; {more}"));
        }
        self.count_writes();
        self.note(None, Whence::File, "the settings file was edited", text);
    }

    /// Returns the settings without environment and flags.
    pub fn base(&self) -> Box<Settings> {
        self.state.borrow().base.clone()
    }

    fn diff(&self, candidate: &Candidate, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        let base = self.base();
        let new = candidate.apply(&base)?;
        for change in changes(&base, &new) {
            out(change.item());
        }
        match config::load_on(new, &self.sources) {
            Ok(merged) => {
                for Stray { key, text } in self.all_strays(&merged, candidate) {
                    out(Item::Problem { key: &key.to_string(), text: &text });
                }
            }
            Err(error) => problems(&error, out),
        }
        Ok(())
    }

    /// Lists passwords and pins that the settings would use for another host than they were given
    /// for.
    fn strays(&self, new: &Settings, candidate: &Candidate) -> Vec<Stray> {
        let (base, in_use) = (self.base(), self.hub.settings.borrow());
        bound::strays(&[&base, &in_use], new, candidate)
    }

    /// Lists strays of the settings put into use, and of the base, which counts if environment and
    /// flags change at the next start.
    fn all_strays(&self, merged: &Merged, candidate: &Candidate) -> Vec<Stray> {
        let mut strays = self.strays(&merged.settings, candidate);
        for stray in self.strays(&merged.base, candidate) {
            if !strays.iter().any(|known| known.key == stray.key) {
                strays.push(stray);
            }
        }
        strays
    }

    /// Returns the settings after a commit; if the commit is not allowed, the candidate itself.
    fn would_be(&self, candidate: &Candidate) -> Result<Box<Settings>, Refused<String>> {
        let new = candidate.apply(&self.base())?;
        let merged = config::load_on(new.clone(), &self.sources);
        Ok(merged.map_or(new, |merged| merged.settings))
    }

    /// Erases settings, accounts and the audit log, and continues with the file's settings or none.
    async fn reset(
        self: &Rc<Self>,
        sure: &str,
        candidate: &mut Candidate,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        if sure != "reset" {
            let text = "reset forgets all settings, passwords and the audit log: it takes the word \
                        \"reset\"";
            return Err(Refused::Invalid(text.to_owned()));
        }
        let _turn = self.turn.lock().await;
        let failed =
            |error: &dyn fmt::Display| Refused::Failed(format!("nothing is reset: {error}"));
        let folder = PathBuf::from(self.hub.settings.borrow().state.dir.as_str());
        let folder = Some(folder).filter(|folder| !folder.as_os_str().is_empty());
        let (sources, asked) = (self.sources.clone(), folder.clone());
        let begun = thread::run(move || {
            let merged = config::load(&sources).map_err(|error| error.to_string())?;
            let asked = asked.map_or(Ok(()), |folder| reset::ask(&Flash, &folder));
            asked.map(|()| merged).map_err(|error| error.to_string())
        });
        let merged =
            begun.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let filed = Filed::of(&merged);
        if let Err(error) = self.take(merged).await {
            let error = failed(&error);
            if let Some(folder) = folder {
                // The failed withdrawal was logged.
                let _ = thread::run(move || reset::withdraw(&Flash, &folder)).await;
            }
            return Err(error);
        }
        candidate.clear();
        self.forget_all(filed);
        log::warn(Kind::Settings, format_args!("factory reset: the settings are as at first"));
        let Some(folder) = folder else { return Ok(()) };
        let erased = thread::run(move || reset::carry_out(&Flash, &folder)).await;
        if let Err(error) = erased.and_then(|result| result) {
            let text = format!("not all could be erased, the next start goes on: {error}");
            log::error(Kind::Kept, format_args!("factory reset: {text}"));
            out(Item::Text(&text));
        }
        Ok(())
    }

    /// Forgets all erased state in one step; the files are erased after it.
    fn forget_all(&self, filed: Filed) {
        self.hub.admissions.forget();
        if let Err(error) = self.access.forget() {
            log::error(Kind::Access, format_args!("factory reset: no set-up code: {error}"));
        }
        let mut state = self.state.borrow_mut();
        state.file = filed;
        state.kept.forget();
        if let Some(provisional) = state.provisional.take() {
            provisional.timer.abort();
        }
        drop(state);
        self.audit.borrow_mut().forget();
        #[cfg(feature = "defmt")]
        frames::forget();
    }

    /// Puts settings into use, as a whole or not at all; the caller holds the turn.
    async fn take(self: &Rc<Self>, merged: Merged) -> Result<(), Failure> {
        let Merged { settings, base, origins, .. } = merged;
        let before = self.hub.settings.borrow().clone();
        let kept = self.hub.dialers.borrow().clone();
        let dialers = dialers_beside(&settings, (&before.pools, &kept)).await?;
        self.prepare_page(&settings).await?;
        let bound = self.bind_doors(&settings)?;
        let open = self.ports.bind(&settings, self)?;
        // From here on no step fails and none waits.
        open();
        for text in plain_warnings(&settings) {
            log::warn(Kind::Settings, format_args!("{text}"));
        }
        for change in changes(&before, &settings) {
            if matches!(change.applies, Applies::Restart | Applies::File) {
                let key = change.key;
                log::warn(Kind::Settings, format_args!("{key} changes at the next start"));
            }
        }
        let options = options::options(&settings, self.geometry, self.seed);
        self.hub.replace(&settings, dialers, options);
        {
            let mut state = self.state.borrow_mut();
            state.base = base;
            state.origins = origins;
        }
        self.announce(bound);
        self.changed.send_replace(());
        Ok(())
    }

    /// Opens the newly bound doors.
    pub fn announce(&self, bound: Bound) {
        for address in self.state.borrow_mut().doors.open(bound, &self.hub) {
            let text = "listening for miners on";
            say(format_args!("listening {address}"));
            log::info(Kind::Settings, format_args!("{text} {address}"));
            let places = socket::reached_at(address).into_iter().filter(|place| *place != address);
            for place in places {
                log::info(Kind::Settings, format_args!("miners reach it at stratum+tcp://{place}"));
            }
        }
    }
}

impl Filed {
    /// Returns the file's part of newly read settings.
    pub fn of(merged: &Merged) -> Self {
        let Merged { base, origins, mark, .. } = merged;
        Self { settings: base.clone(), origins: origins.clone(), mark: *mark }
    }

    /// Stands for an unusable file: it sets nothing.
    pub fn unusable(mark: Option<u32>) -> Self {
        Self { settings: Box::default(), origins: Vec::new(), mark }
    }
}

/// Describes a request for the audit log, without secrets; `keys` are the candidate's.
fn described(request: &Request<'_>, keys: &str) -> String {
    match *request {
        // An unknown key may be a misplaced password.
        Request::Set { key, .. } if Key::parse(key).is_none() => "set of no key".to_owned(),
        Request::Set { key, .. } => format!("set {key}"),
        Request::Unset { key } => format!("unset {key}"),
        Request::Commit => format!("commit {keys}"),
        Request::Audit { .. } => "audit".to_owned(),
        Request::Confirm => "confirm".to_owned(),
        Request::Rollback => "rollback".to_owned(),
        Request::Test { pool } => match pool.contains('@') {
            false => format!("test {pool}"),
            true => "test".to_owned(),
        },
        Request::Password { role, .. } => format!("password {role}"),
        Request::Admit { worker, word: "" } => format!("admit {worker:?}, taken out"),
        Request::Admit { worker, .. } => format!("admit {worker:?}"),
        Request::Reset { .. } => "reset".to_owned(),
        _ => format!("{request:?}"),
    }
}

/// Why settings were not put into use.
type Failure = Box<dyn std::error::Error>;
