//! Who may do what over the network, and how he shows that he may; how we show who we are.
//!
//! There are three accounts, one per role, each with a password that is kept as a hash
//! ([`Passwords`]). A password opens a session ([`Session`]), within limits ([`attempts`]), and
//! makes the browser known ([`devices`]). As long as admin has no password, a set-up code does,
//! which is printed where only somebody at the device reads it and kept in no log that we show, is
//! new at every start, and is taken from the local network alone (F76). No wrong code draws another
//! (F98).
//!
//! Nothing here knows HTTP. No type here shows a secret in its debug text (F87).

mod attempts;
pub mod certificate;
mod devices;
mod sessions;

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use loka_stratum::control::{Refused, Role};
use loka_stratum::time::{Duration, Instant};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::log;
use super::password::{self, Passwords};
use super::shelf::{Shelf, Writing};
use super::socket;
use attempts::{Attempts, Whose};
use certificate::Certificate;
use devices::DeviceId;
use sessions::Sessions;

pub use sessions::{Listed, Session, Token};

/// The name of the store of accounts.
pub const NAME: &str = "accounts";

/// Accounts, sessions and attempts.
pub struct Access {
    /// What the page proves itself with.
    pub certificate: Certificate,
    passwords: Rc<Passwords>,
    state: RefCell<State>,
    /// Whoever changes an account has it, one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    accounts: Accounts,
    shelf: Option<Shelf<Stored>>,
    /// The accounts are there and cannot be used, so nobody is let in.
    is_unsound: bool,
    sessions: Sessions,
    attempts: Attempts,
    /// What admin logs in with before there is a password: eight digits.
    code: Option<String>,
}

/// The hash of each account's password, as a PHC string.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Accounts {
    admin: Option<String>,
    operator: Option<String>,
    viewer: Option<String>,
}

/// The accounts on disk; variants and fields are only ever appended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1(Accounts),
}

/// A log-in that was right.
pub struct Opened {
    /// What the bearer shows from now on.
    pub token: Token,
    /// What it is good for.
    pub session: Session,
    /// What his browser is known by; none where it is known already, and for the set-up code.
    pub device: Option<String>,
}

/// Where a log-in comes from.
#[derive(Clone, Copy)]
pub struct From<'a> {
    /// The other end of the connection.
    pub address: IpAddr,
    /// What the browser says it is known by.
    pub device: Option<&'a str>,
}

/// What somebody logs in with.
pub enum Proof<'a> {
    /// A password.
    Password {
        /// Whose.
        role: Role,
        /// In clear.
        word: &'a str,
    },
    /// The set-up code, with spaces or without.
    Code(&'a str),
}

impl Proof<'_> {
    /// Returns who it would log in, as the log calls him.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Password { role, .. } => role.name(),
            Self::Code(_) => "admin by set-up code",
        }
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is not the password, or there is none.
    Wrong,
    /// Too many were wrong before.
    TooEarly {
        /// How long is to be waited.
        wait: Duration,
    },
    /// The set-up code is good for nothing once there is a password.
    CodeIsOver,
    /// The set-up code is taken from the local network only.
    NotLocal,
    /// The accounts are there and cannot be used.
    Unsound,
    /// The system has no random numbers.
    Failed,
}

impl Access {
    /// Takes up the accounts in a folder; with none, what is set lasts until the process ends.
    /// `passwords` are hashed for others too, still one at a time.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or there are no random numbers.
    pub fn open(folder: &str, passwords: Rc<Passwords>) -> io::Result<Self> {
        let mut state = State::default();
        if !folder.is_empty() {
            let (shelf, found) = Shelf::open(Path::new(folder), NAME)?;
            state.shelf = Some(shelf);
            state.is_unsound = found.is_unsound();
            if let Some(Stored::V1(accounts)) = found.value {
                state.accounts = accounts;
            }
        }
        let access = Self {
            certificate: Certificate::open(folder)?,
            passwords,
            state: RefCell::new(state),
            turn: tokio::sync::Mutex::new(()),
        };
        if access.is_first_run() {
            access.draw_code()?;
        }
        Ok(access)
    }

    /// Says whether admin has no password, and never had one.
    pub fn is_first_run(&self) -> bool {
        let state = self.state.borrow();
        state.accounts.admin.is_none() && !state.is_unsound
    }

    /// Returns the set-up code as people read it; none where admin has a password.
    pub fn setup_code(&self) -> Option<String> {
        let state = self.state.borrow();
        let (high, low) = state.code.as_ref()?.split_at_checked(4)?;
        Some(format!("{high} {low}"))
    }

    /// Logs somebody in.
    ///
    /// # Errors
    ///
    /// Why not; it was counted where it was a guess.
    pub async fn log_in(
        &self,
        from: From<'_>,
        proof: &Proof<'_>,
        now: Instant,
    ) -> Result<Opened, Denied> {
        if self.state.borrow().is_unsound {
            return Err(Denied::Unsound);
        }
        if matches!(proof, Proof::Code(_)) {
            if !self.is_first_run() {
                return Err(Denied::CodeIsOver);
            }
            if !socket::is_local(from.address) {
                return Err(Denied::NotLocal);
            }
        }
        let known = self.device(from, proof);
        let whose = Whose::of(from.address, known);
        let early = self.state.borrow_mut().attempts.begin(whose, now);
        early.map_err(|early| Denied::TooEarly { wait: early.wait })?;
        let session = match *proof {
            Proof::Code(code) if self.is_code(code) => {
                Session { role: Role::Admin, is_setup: true }
            }
            Proof::Password { role, word } if self.is_password(role, word).await => {
                Session { role, is_setup: false }
            }
            _ => return Err(Denied::Wrong),
        };
        let mut state = self.state.borrow_mut();
        state.attempts.was_right(whose, now);
        let token = state.sessions.open(session, from.address, now).map_err(|_| Denied::Failed)?;
        let is_new = known.is_none() && !session.is_setup;
        let hash = state.accounts.of(session.role).as_deref().filter(|_| is_new);
        let device = hash.and_then(|hash| Some(DeviceId::draw()?.sealed(session.role, hash)));
        Ok(Opened { token, session, device })
    }

    /// Returns which browser it is, where it was logged in before as who it wants to be now.
    fn device(&self, from: From<'_>, proof: &Proof<'_>) -> Option<DeviceId> {
        let Proof::Password { role, .. } = *proof else { return None };
        let mut state = self.state.borrow_mut();
        DeviceId::read(from.device?, role, state.accounts.of(role).as_deref()?)
    }

    /// Says whether a browser was logged in before, as whomever.
    pub fn is_known_device(&self, text: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let mut is_of = |role: &Role| {
            let hash = state.accounts.of(*role).as_deref();
            hash.is_some_and(|hash| DeviceId::read(text, *role, hash).is_some())
        };
        Role::ALL.iter().any(&mut is_of)
    }

    /// Says whether somebody is locked out.
    pub fn is_locked_out(&self, from: From<'_>, proof: &Proof<'_>) -> bool {
        let whose = Whose::of(from.address, self.device(from, proof));
        self.state.borrow_mut().attempts.is_locked_out(whose)
    }

    /// Ends a session.
    pub fn log_out(&self, token: &Token) {
        self.state.borrow_mut().sessions.end(token);
    }

    /// Lists the sessions that are open; `own` is the token of whoever looks.
    pub fn sessions(&self, own: Option<&Token>, now: Instant) -> Vec<Listed> {
        self.state.borrow_mut().sessions.list(own, now)
    }

    /// Ends the session of a number; returns what it was, if there was one.
    pub fn end_session(&self, number: u32, now: Instant) -> Option<Listed> {
        self.state.borrow_mut().sessions.end_number(number, now)
    }

    /// Returns what a token is good for.
    pub fn session(&self, token: &Token, now: Instant) -> Option<Session> {
        self.state.borrow_mut().sessions.find(token, now)
    }

    /// Keeps the session of a token when the password of its role changes, or not any more.
    pub fn keep_session(&self, token: &Token, is_kept: bool) {
        self.state.borrow_mut().sessions.keep(token, is_kept);
    }

    /// Sets the password of a role, and ends the sessions of that role; an empty word takes it
    /// away from an operator or a viewer.
    ///
    /// # Errors
    ///
    /// It is too short or too long, admin cannot be without one, or it cannot be kept.
    pub async fn set_password(&self, role: Role, word: &str) -> Result<(), Refused<String>> {
        let hash = if word.is_empty() {
            if role == Role::Admin {
                let text = "admin cannot be without a password; reset forgets it with all else";
                return Err(Refused::Invalid(text.to_owned()));
            }
            None
        } else {
            if let Some(problem) = password::problem(word) {
                return Err(Refused::Invalid(problem));
            }
            let hash = self.passwords.hash(word).await;
            Some(hash.map_err(|error| Refused::Failed(format!("no password is set: {error}")))?)
        };
        let _turn = self.turn.lock().await;
        let before = self.state.borrow().accounts.clone();
        let was_unsound = self.state.borrow().is_unsound;
        if was_unsound && role != Role::Admin {
            let text = "the accounts are damaged: a new password of admin comes first";
            return Err(Refused::Conflict(text.to_owned()));
        }
        let mut accounts = before.clone();
        *accounts.of(role) = hash;
        // It counts at once, so that what is in use and what is written are the same also where
        // whoever asked is gone before the disk has answered.
        let writing = self.state.borrow_mut().put(accounts);
        if let Some(writing) = writing
            && let Err(error) = writing.outcome().await
        {
            let mut state = self.state.borrow_mut();
            (state.accounts, state.is_unsound) = (before, was_unsound);
            let text = "the password cannot be kept in state.dir";
            return Err(Refused::Failed(format!("{text}: {error}")));
        }
        let mut state = self.state.borrow_mut();
        state.sessions.end_all_of(role);
        if role == Role::Admin {
            state.code = None;
        }
        Ok(())
    }

    /// Forgets all passwords and certificates and ends all sessions; another set-up code is drawn.
    /// What is on disk is erased by the caller, behind this in the disk's queue.
    ///
    /// # Errors
    ///
    /// There are no random numbers.
    pub fn forget(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        (state.accounts, state.is_unsound) = (Accounts::default(), false);
        if let Some(shelf) = &state.shelf {
            shelf.forget();
        }
        state.sessions = Sessions::default();
        drop(state);
        self.certificate.forget();
        self.draw_code()
    }

    async fn is_password(&self, role: Role, word: &str) -> bool {
        let hash = self.state.borrow_mut().accounts.of(role).clone();
        self.passwords.is_right(word, hash.as_deref()).await
    }

    fn is_code(&self, text: &str) -> bool {
        let given: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let state = self.state.borrow();
        let code = state.code.as_ref();
        code.is_some_and(|code| bool::from(code.as_bytes().ct_eq(given.as_bytes())))
    }

    fn draw_code(&self) -> io::Result<()> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        // Of 2^64 numbers each of 10^8 codes gets as many, but for one in 10^11.
        let digits = format!("{:08}", u64::from_le_bytes(bytes) % 100_000_000);
        self.state.borrow_mut().code = Some(digits);
        if let Some(code) = self.setup_code() {
            log::unkept(format_args!("set-up code: {code}"));
        }
        Ok(())
    }
}

impl State {
    /// Puts accounts into use; returns the write, where they outlive the process.
    fn put(&mut self, accounts: Accounts) -> Option<Writing> {
        let writing = self.shelf.as_ref().map(|shelf| shelf.put(Stored::V1(accounts.clone())));
        (self.accounts, self.is_unsound) = (accounts, false);
        writing
    }
}

impl Accounts {
    fn of(&mut self, role: Role) -> &mut Option<String> {
        match role {
            Role::Admin => &mut self.admin,
            Role::Operator => &mut self.operator,
            Role::Viewer => &mut self.viewer,
        }
    }
}
