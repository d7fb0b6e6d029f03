//! Network access: accounts and roles, log-in, and the page's certificate.
//!
//! There are three accounts, one per role, each with a hashed password ([`Passwords`]). A password
//! opens a session ([`Session`]), within limits ([`attempts`]), and makes the browser known
//! ([`devices`]). Until admin has a password, a set-up code is accepted. It is printed where only a
//! person at the device reads it, kept in no log that we show, drawn anew at every start, and
//! accepted from the local network only (F76). A wrong code does not draw another (F98).
//!
//! This module knows no HTTP. No type here shows a secret in its debug text (F87).

pub mod admission;
mod attempts;
pub mod certificate;
mod devices;
pub mod password;
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

use crate::gateway::base::log;
use crate::gateway::base::shelf::{Shelf, Writing};
use crate::gateway::base::socket;
use attempts::{Attempts, Whose};
use certificate::Certificate;
use devices::DeviceId;
use password::Passwords;
use sessions::Sessions;

pub use sessions::{Listed, Session, Token};

/// The name of the store of accounts.
pub const NAME: &str = "accounts";

/// Accounts, sessions and attempts.
pub struct Access {
    /// The page's certificate.
    pub certificate: Certificate,
    passwords: Rc<Passwords>,
    state: RefCell<State>,
    /// Held by each change of an account, so that changes run one after the other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    accounts: Accounts,
    shelf: Option<Shelf<Stored>>,
    /// The stored accounts are unusable, so nobody is let in.
    is_unsound: bool,
    sessions: Sessions,
    attempts: Attempts,
    /// The set-up code, with which admin logs in until a password is set: eight digits.
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

/// A successful log-in.
pub struct Opened {
    /// The session's token, which the browser sends from now on.
    pub token: Token,
    /// The session's rights.
    pub session: Session,
    /// The browser's new device id; `None` if it has one, or used the set-up code.
    pub device: Option<String>,
}

/// The origin of a log-in.
#[derive(Clone, Copy)]
pub struct From<'a> {
    /// The peer's address.
    pub address: IpAddr,
    /// The device id that the browser sent.
    pub device: Option<&'a str>,
}

/// The secret of a log-in.
pub enum Proof<'a> {
    /// A password.
    Password {
        /// The account.
        role: Role,
        /// The password in clear.
        word: &'a str,
    },
    /// The set-up code, with spaces or without.
    Code(&'a str),
}

impl Proof<'_> {
    /// Returns the account's name for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Password { role, .. } => role.name(),
            Self::Code(_) => "admin by set-up code",
        }
    }
}

/// Why a log-in is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The password is wrong, or the account has none.
    Wrong,
    /// Too many attempts failed before.
    TooEarly {
        /// The time left to wait.
        wait: Duration,
    },
    /// The set-up code ends with the first password.
    CodeIsOver,
    /// The set-up code is accepted from the local network only.
    NotLocal,
    /// The stored accounts are unusable.
    Unsound,
    /// The system gives no random bytes.
    Failed,
}

impl Access {
    /// Loads the accounts of a folder; without a folder they last until the process ends.
    /// `passwords` also hashes for others, still one at a time.
    ///
    /// # Errors
    ///
    /// The folder cannot be created, or the system gives no random bytes.
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

    /// Says whether admin never had a password.
    pub fn is_first_run(&self) -> bool {
        let state = self.state.borrow();
        state.accounts.admin.is_none() && !state.is_unsound
    }

    /// Returns the set-up code as people read it; `None` once admin has a password.
    pub fn setup_code(&self) -> Option<String> {
        let state = self.state.borrow();
        let (high, low) = state.code.as_ref()?.split_at_checked(4)?;
        Some(format!("{high} {low}"))
    }

    /// Logs in.
    ///
    /// # Errors
    ///
    /// The log-in is refused; a wrong guess is counted.
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

    /// Returns the browser's device id, if it logged in to this account before.
    fn device(&self, from: From<'_>, proof: &Proof<'_>) -> Option<DeviceId> {
        let Proof::Password { role, .. } = *proof else { return None };
        let mut state = self.state.borrow_mut();
        DeviceId::read(from.device?, role, state.accounts.of(role).as_deref()?)
    }

    /// Says whether a browser logged in before, to any account.
    pub fn is_known_device(&self, text: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let mut is_of = |role: &Role| {
            let hash = state.accounts.of(*role).as_deref();
            hash.is_some_and(|hash| DeviceId::read(text, *role, hash).is_some())
        };
        Role::ALL.iter().any(&mut is_of)
    }

    /// Says whether attempts of this origin are locked out.
    pub fn is_locked_out(&self, from: From<'_>, proof: &Proof<'_>) -> bool {
        let whose = Whose::of(from.address, self.device(from, proof));
        self.state.borrow_mut().attempts.is_locked_out(whose)
    }

    /// Ends a session.
    pub fn log_out(&self, token: &Token) {
        self.state.borrow_mut().sessions.end(token);
    }

    /// Lists the open sessions; `own` is the caller's token.
    pub fn sessions(&self, own: Option<&Token>, now: Instant) -> Vec<Listed> {
        self.state.borrow_mut().sessions.list(own, now)
    }

    /// Ends the session with this number and returns it.
    pub fn end_session(&self, number: u32, now: Instant) -> Option<Listed> {
        self.state.borrow_mut().sessions.end_number(number, now)
    }

    /// Returns the session of a token.
    pub fn session(&self, token: &Token, now: Instant) -> Option<Session> {
        self.state.borrow_mut().sessions.find(token, now)
    }

    /// Sets whether a token's session survives a change of its role's password.
    pub fn keep_session(&self, token: &Token, is_kept: bool) {
        self.state.borrow_mut().sessions.keep(token, is_kept);
    }

    /// Sets a role's password and ends the role's sessions. An empty word removes the password of
    /// operator or viewer.
    ///
    /// # Errors
    ///
    /// It is too short or too long, it would remove admin's password, or it cannot be written.
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
        // It takes effect at once, so that memory and disk agree even if the caller is gone before
        // the write ends.
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

    /// Forgets all passwords and certificates, ends all sessions and draws a new set-up code. The
    /// caller erases the files later in the disk's queue.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
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
        // Modulo bias: 2^64 values over 10^8 codes differ by at most one in 10^11.
        let digits = format!("{:08}", u64::from_le_bytes(bytes) % 100_000_000);
        self.state.borrow_mut().code = Some(digits);
        if let Some(code) = self.setup_code() {
            log::unkept(format_args!("set-up code: {code}"));
        }
        Ok(())
    }
}

impl State {
    /// Puts accounts into use; returns the write if there is a state folder.
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
