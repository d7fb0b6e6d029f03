//! Carries out what operators ask, whichever way they ask it ([`loka_stratum::control`]).
//!
//! Read this first. There are three sets of settings:
//!
//! - the **base**: what the file says, or what was committed last ([`Control::ask`]);
//! - what is **in use**: the base under the environment and the flags;
//! - a **candidate** per operator: edits on top of the base that are not in use. Edits, not
//!   settings, so that two operators who change different keys do not undo each other.
//!
//! [`Control::take`] is the only way into use, for a commit, a reload and a roll-back alike. It
//! does everything that can fail first (checks, memory, certificates, ports), then what cannot;
//! so the settings in use are always one whole set (F78). A commit that may cut the operator or
//! the farm off is provisional: it is taken back unless it is confirmed in time, and it is not
//! stored before, so that a restart takes it back too.
//!
//! Nothing here knows whether it was a console, a tool or a page that asked.

mod candidate;

use std::cell::{Ref, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::control::{Item, Origin, Refused, Request, Role};
use loka_stratum::limits::CONFIRM_MAX;
use loka_stratum::settings::{Applies, FIELDS, Key, Settings};
use loka_stratum::work::extranonce::Geometry;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::access::Access;
use super::config::{self, ConfigError, Merged, Sources};
use super::http::StatusPort;
use super::hub::Hub;
use super::listen::{Bound, Doors};
use super::log::{self, Kind};
use super::report::Report;
use super::{dialers, options, plain_warnings, probe, say};

pub use candidate::Candidate;

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// What he may do.
    pub role: Role,
    /// Where he is.
    #[expect(dead_code, reason = "the audit log, which names it, comes with the next commits")]
    pub from: Whence,
}

/// Where somebody asks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The serial line.
    #[expect(dead_code, reason = "the console, which is there, comes with the next commits")]
    Serial,
    /// The page or a tool, over the network.
    Web(IpAddr),
}

/// Everything that settings are in effect through.
pub struct Control {
    /// Who may ask over the network.
    pub access: Access,
    hub: Rc<Hub>,
    sources: Sources,
    seed: u64,
    geometry: Option<Geometry>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    doors: Doors,
    web: Option<StatusPort>,
    base: Box<Settings>,
    origins: Vec<(Key, config::Origin)>,
    provisional: Option<Provisional>,
}

/// A commit that is not confirmed.
struct Provisional {
    /// What is taken back to.
    before: Box<Settings>,
    until: Instant,
    /// The task that takes it back.
    timer: AbortHandle,
}

/// How a request ended.
pub type Answer = Result<(), Refused<String>>;

impl Control {
    /// Puts the parts together; `merged` is what the hub was made from.
    pub fn new(
        hub: Rc<Hub>,
        access: Access,
        sources: Sources,
        seed: u64,
        geometry: Option<Geometry>,
        merged: Merged,
    ) -> Rc<Self> {
        let Merged { base, origins, .. } = merged;
        let state = RefCell::new(State { base, origins, ..State::default() });
        Rc::new(Self { hub, access, sources, seed, geometry, state })
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
            Request::Set { key, value } => candidate.set(&self.base(), key, value, by.role),
            Request::Unset { key } => candidate.unset(&self.base(), key, by.role),
            Request::Diff => self.diff(candidate, out),
            Request::Commit => self.commit(candidate, out),
            Request::Confirm => self.confirm(),
            Request::Rollback => self.roll_back(candidate),
            Request::Test { pool } => {
                let farm = probe::Farm::of(&self.hub.proxy.borrow());
                probe::run(&*self.would_be(candidate)?, pool, farm, out).await
            }
            Request::Password { role, word } => self.access.set_password(role, word).await,
            _ => Err(Refused::Conflict("this gateway cannot do that yet".to_owned())),
        }
    }

    /// Binds where miners connect, for [`Self::announce`].
    ///
    /// # Errors
    ///
    /// An address that cannot be had.
    pub fn bind_doors(&self, settings: &Settings) -> io::Result<Bound> {
        let state = self.state.borrow();
        state.doors.bind(&settings.listen.addresses).map_err(io::Error::other)
    }

    /// Opens the web port where the settings have one.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn open_web(self: &Rc<Self>) -> io::Result<()> {
        let settings = self.hub.settings.borrow().clone();
        let web = self.bind_web(&settings)?;
        self.state.borrow_mut().web = web;
        Ok(())
    }

    /// Closes the doors; miners that are in stay.
    pub fn close_doors(&self) {
        self.state.borrow_mut().doors.close();
    }

    /// Reads the settings again. Whatever is wrong, the old ones stay in use as a whole (F70).
    pub fn reload(self: &Rc<Self>) {
        let result = config::load(&self.sources).map_err(Failure::from);
        match result.and_then(|merged| self.take(merged)) {
            Ok(()) => log::info(Kind::Settings, format_args!("settings reloaded")),
            Err(error) => {
                for line in error.to_string().lines() {
                    log::error(Kind::Settings, format_args!("{line}"));
                }
                log::error(Kind::Settings, format_args!("the settings before stay in use"));
            }
        }
    }

    /// Returns the settings in use.
    pub fn settings(&self) -> Ref<'_, Settings> {
        Ref::map(self.hub.settings.borrow(), |settings| &**settings)
    }

    /// Returns how the gateway is.
    pub fn report(&self) -> Report {
        self.hub.report()
    }

    fn base(&self) -> Box<Settings> {
        self.state.borrow().base.clone()
    }

    fn show(&self, candidate: &Candidate, prefix: &str, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        let state = self.state.borrow();
        let settings = self.hub.settings.borrow();
        let mut is_any = false;
        for key in keys(&settings) {
            let name = key.to_string();
            if !begins(&name, prefix) {
                continue;
            }
            is_any = true;
            let origin = state.origins.iter().rev().find(|(of, _)| *of == key);
            let origin = match origin.map(|(_, origin)| origin) {
                _ if candidate.touches(key) => Origin::Candidate,
                None => Origin::Default,
                Some(config::Origin::Stored) => Origin::Stored,
                Some(config::Origin::File { line, .. }) => {
                    Origin::File(u32::try_from(*line).unwrap_or(u32::MAX))
                }
                Some(config::Origin::Environment(name)) => Origin::Environment(name),
                Some(config::Origin::Flag(flag)) => Origin::Flag(flag),
            };
            let value = shown(&settings, key);
            let applies = key.field().applies;
            out(Item::Value { key: &name, value: &value, origin, applies });
        }
        if is_any {
            Ok(())
        } else {
            Err(Refused::Invalid(format!("no key begins with {prefix:?}; show lists them all")))
        }
    }

    fn diff(&self, candidate: &Candidate, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        let base = self.base();
        let new = candidate.apply(&base)?;
        for change in changes(&base, &new) {
            out(change.item());
        }
        if let Err(error) = config::load_on(new, &self.sources) {
            problems(&error, out);
        }
        Ok(())
    }

    /// Returns what a commit would put into use; where it is not allowed to, the candidate itself.
    fn would_be(&self, candidate: &Candidate) -> Result<Box<Settings>, Refused<String>> {
        let new = candidate.apply(&self.base())?;
        let merged = config::load_on(new.clone(), &self.sources);
        Ok(merged.map_or(new, |merged| merged.settings))
    }

    fn commit(self: &Rc<Self>, candidate: &mut Candidate, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        if self.state.borrow().provisional.is_some() {
            let text = "a commit waits to be confirmed; confirm or rollback comes first";
            return Err(Refused::Conflict(text.to_owned()));
        }
        let before = self.base();
        let new = candidate.apply(&before)?;
        let changes = changes(&before, &new);
        if changes.is_empty() {
            return Err(Refused::Conflict("there is nothing to commit".to_owned()));
        }
        let merged = config::load_on(new, &self.sources).map_err(|error| {
            problems(&error, out);
            Refused::Invalid("nothing was changed; every problem is listed".to_owned())
        })?;
        self.take(merged).map_err(|error| Refused::Failed(error.to_string()))?;
        candidate.clear();
        for change in &changes {
            out(change.item());
        }
        if changes.iter().any(|change| change.applies == Applies::Provisional) {
            let seconds_left = self.wait_for_confirmation(before);
            out(Item::Provisional { seconds_left });
        }
        Ok(())
    }

    /// Takes the present commit back after a while, unless it is confirmed; returns the seconds.
    fn wait_for_confirmation(self: &Rc<Self>, before: Box<Settings>) -> u16 {
        let wait = Duration::from_micros(CONFIRM_MAX.as_micros());
        let until = Instant::now() + wait;
        let control = self.clone();
        let timer = tokio::task::spawn_local(async move {
            sleep_until(until).await;
            log::warn(Kind::Settings, format_args!("nobody confirmed the last commit"));
            let _ = control.take_back();
        });
        let timer = timer.abort_handle();
        self.state.borrow_mut().provisional = Some(Provisional { before, until, timer });
        u16::try_from(wait.as_secs()).unwrap_or(u16::MAX)
    }

    fn confirm(&self) -> Answer {
        let Some(provisional) = self.state.borrow_mut().provisional.take() else {
            return Err(Refused::Conflict("no commit waits to be confirmed".to_owned()));
        };
        provisional.timer.abort();
        Ok(())
    }

    fn roll_back(self: &Rc<Self>, candidate: &mut Candidate) -> Answer {
        if self.state.borrow().provisional.is_some() {
            return self.take_back();
        }
        if candidate.is_empty() {
            return Err(Refused::Conflict("there is nothing to take back".to_owned()));
        }
        candidate.clear();
        Ok(())
    }

    /// Takes a provisional commit back.
    fn take_back(self: &Rc<Self>) -> Answer {
        let Some(provisional) = self.state.borrow_mut().provisional.take() else { return Ok(()) };
        let merged = config::load_on(provisional.before, &self.sources).map_err(Failure::from);
        let result = merged.and_then(|merged| self.take(merged));
        provisional.timer.abort();
        match result {
            Ok(()) => {
                log::warn(Kind::Settings, format_args!("the settings before the commit are back"));
                Ok(())
            }
            Err(error) => {
                log::error(Kind::Settings, format_args!("a commit cannot be taken back: {error}"));
                Err(Refused::Failed(error.to_string()))
            }
        }
    }

    /// Returns the seconds until a provisional commit is taken back.
    pub fn seconds_left(&self) -> Option<u16> {
        let state = self.state.borrow();
        let until = state.provisional.as_ref()?.until;
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        Some(u16::try_from(left).unwrap_or(u16::MAX))
    }

    /// Puts settings into use, as a whole or not at all.
    fn take(self: &Rc<Self>, merged: Merged) -> Result<(), Failure> {
        let Merged { settings, base, origins, .. } = merged;
        let before = self.hub.settings.borrow().clone();
        let dialers = {
            let kept = self.hub.dialers.borrow();
            dialers(&settings, Some((&before.pools, &kept)))?
        };
        let (bound, is_same_web) = {
            let state = self.state.borrow();
            let wanted = state.web.as_ref().map(|port| port.wanted);
            (self.bind_doors(&settings)?, settings.status.address == wanted)
        };
        let web = if is_same_web { None } else { self.bind_web(&settings)? };
        // From here on nothing fails.
        if !is_same_web {
            self.state.borrow_mut().web = web;
        }
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
        Ok(())
    }

    fn bind_web(self: &Rc<Self>, settings: &Settings) -> io::Result<Option<StatusPort>> {
        let Some(address) = settings.status.address else { return Ok(None) };
        let port = StatusPort::open(address, self).map_err(|error| {
            io::Error::new(error.kind(), format!("status port {address}: {error}"))
        })?;
        // For programs that start the gateway with port 0; people read the log on stderr.
        say(format_args!("status {}", port.address));
        log::info(Kind::Settings, format_args!("status port at http://{}", port.address));
        Ok(Some(port))
    }

    /// Opens what was bound.
    pub fn announce(&self, bound: Bound) {
        for address in self.state.borrow_mut().doors.open(bound, &self.hub) {
            let text = "listening for miners on";
            say(format_args!("listening {address}"));
            log::info(Kind::Settings, format_args!("{text} {address}"));
        }
    }
}

/// Why settings were not taken into use.
type Failure = Box<dyn std::error::Error>;

/// A key whose value differs between two sets of settings.
struct Change {
    key: Key,
    name: String,
    from: String,
    to: String,
    applies: Applies,
}

impl Change {
    fn item(&self) -> Item<'_> {
        Item::Change { key: &self.name, from: &self.from, to: &self.to, applies: self.applies }
    }
}

fn changes(from: &Settings, to: &Settings) -> Vec<Change> {
    let longer = if to.pools.len() > from.pools.len() { to } else { from };
    let differs = |key: &Key| from.show(*key).to_string() != to.show(*key).to_string();
    let change = |key: Key| Change {
        key,
        name: key.to_string(),
        from: shown(from, key),
        to: shown(to, key),
        applies: key.field().applies,
    };
    keys(longer).filter(differs).map(change).collect()
}

/// All keys of settings with so many pools.
fn keys(settings: &Settings) -> impl Iterator<Item = Key> {
    let pools = settings.pools.len();
    let of_pools = (0..pools).flat_map(|pool| {
        let of_pool = FIELDS.iter().filter(|field| field.is_of_pool());
        of_pool.filter_map(move |field| Key::of(field, pool))
    });
    let others = FIELDS.iter().filter(|field| !field.is_of_pool());
    of_pools.chain(others.filter_map(|field| Key::of(field, 0)))
}

/// Shows a value to people: never a secret.
fn shown(settings: &Settings, key: Key) -> String {
    let text = settings.show(key).to_string();
    match (key.field().is_secret(), text.is_empty()) {
        (false, _) => text,
        (true, true) => "(not set)".to_owned(),
        (true, false) => "(set)".to_owned(),
    }
}

/// Says whether a key is `prefix`, or lies under it.
fn begins(key: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('.');
    match key.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

fn problems(error: &ConfigError, out: &mut dyn FnMut(Item<'_>)) {
    for line in error.lines() {
        let key = line.split(": got ").next().unwrap_or_default();
        let key = key.rsplit(": ").next().unwrap_or_default();
        let key = if Key::parse(key).is_some() { key } else { "" };
        out(Item::Problem { key, text: line });
    }
}
