//! A bounded table of log-in sessions.
//!
//! The browser holds a random token; the table holds its SHA-256, so a leak of memory logs nobody
//! in. A session ends when idle or too old, whichever comes first. A full table ends the session
//! idle for longest, since the newcomer has shown a password.

use std::fmt;
use std::io;
use std::net::IpAddr;

use loka_stratum::control::Role;
use loka_stratum::limits::{SESSION_IDLE_MAX, SESSION_MAX, SESSIONS_MAX, SETUP_SESSION_MAX};
use loka_stratum::time::{Duration, Instant};
use loka_stratum::wire::hex::{Digits, decode_exact};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A session's secret. A hash of it also proves that a request comes from a page that can read our
/// answers.
#[derive(Clone, Copy)]
pub struct Token([u8; TOKEN_BYTES]);

/// The sessions.
#[derive(Default)]
pub struct Sessions {
    open: Vec<Entry>,
    /// Sessions opened so far.
    count: u32,
}

struct Entry {
    id: Id,
    /// Its number in lists; independent of its token.
    number: u32,
    session: Session,
    from: IpAddr,
    started: Instant,
    seen: Instant,
    is_kept: bool,
}

/// The SHA-256 of a token.
#[derive(Clone, Copy)]
struct Id([u8; 32]);

/// The rights of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The bearer's role.
    pub role: Role,
    /// Opened with the set-up code: allowed over plain HTTP, with a shorter life.
    pub is_setup: bool,
}

/// A session as shown in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub number: u32,
    /// Its rights.
    pub session: Session,
    /// The address that opened it.
    pub from: IpAddr,
    /// Time since it was opened.
    pub age: Duration,
    /// Time until it ends, if it stays idle.
    pub left: Duration,
    /// It is the caller's own session.
    pub is_own: bool,
}

impl Sessions {
    /// Opens a session for an address.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn open(&mut self, session: Session, from: IpAddr, now: Instant) -> io::Result<Token> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token = Token(bytes);
        self.end_old(now);
        if self.open.len() >= SESSIONS_MAX
            && let Some(oldest) = (0..self.open.len()).min_by_key(|index| self.open[*index].seen)
        {
            self.open.swap_remove(oldest);
        }
        self.count = self.count.wrapping_add(1);
        let (id, number) = (token.id(), self.count);
        let (started, seen) = (now, now);
        self.open.push(Entry { id, number, session, from, started, seen, is_kept: false });
        Ok(token)
    }

    /// Lists the open sessions, the oldest first; `own` is the caller's token.
    pub fn list(&mut self, own: Option<&Token>, now: Instant) -> Vec<Listed> {
        self.end_old(now);
        let own = own.map(Token::id);
        let mut list: Vec<_> =
            self.open.iter().map(|entry| entry.listed(own.as_ref(), now)).collect();
        list.sort_by_key(|listed| std::cmp::Reverse(listed.age));
        list
    }

    /// Ends the session with this number and returns it.
    pub fn end_number(&mut self, number: u32, now: Instant) -> Option<Listed> {
        self.end_old(now);
        let index = self.open.iter().position(|entry| entry.number == number)?;
        Some(self.open.swap_remove(index).listed(None, now))
    }

    /// Returns the session of a token and notes its use.
    pub fn find(&mut self, token: &Token, now: Instant) -> Option<Session> {
        self.end_old(now);
        let entry = self.entry(token)?;
        entry.seen = now;
        Some(entry.session)
    }

    /// Ends the session of a token.
    pub fn end(&mut self, token: &Token) {
        let id = token.id();
        self.open.retain(|entry| !entry.id.is(&id));
    }

    /// Ends all sessions of a role, except those marked as kept.
    pub fn end_all_of(&mut self, role: Role) {
        self.open.retain(|entry| entry.session.role != role || entry.is_kept);
    }

    /// Marks whether a token's session survives [`Self::end_all_of`].
    pub fn keep(&mut self, token: &Token, is_kept: bool) {
        if let Some(entry) = self.entry(token) {
            entry.is_kept = is_kept;
        }
    }

    fn entry(&mut self, token: &Token) -> Option<&mut Entry> {
        let id = token.id();
        self.open.iter_mut().find(|entry| entry.id.is(&id))
    }

    fn end_old(&mut self, now: Instant) {
        self.open.retain(|entry| entry.left(now) > Duration::ZERO);
    }
}

impl Entry {
    fn listed(&self, own: Option<&Id>, now: Instant) -> Listed {
        Listed {
            number: self.number,
            session: self.session,
            from: self.from,
            age: now.since(self.started),
            left: self.left(now),
            is_own: own.is_some_and(|own| self.id.is(own)),
        }
    }

    /// Returns the time left if it stays idle.
    fn left(&self, now: Instant) -> Duration {
        let of_all = self.session.longest() - now.since(self.started);
        of_all.min(SESSION_IDLE_MAX - now.since(self.seen))
    }
}

impl Session {
    fn longest(self) -> Duration {
        if self.is_setup { SETUP_SESSION_MAX } else { SESSION_MAX }
    }
}

impl Id {
    fn is(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl Token {
    /// Parses a token; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        decode_exact(text.as_bytes()).ok().map(Self)
    }

    /// Returns the token as the cookie holds it.
    pub fn text(&self) -> String {
        Digits(&self.0).to_string()
    }

    /// Returns the CSRF token, which a page sends with every change. It is derived from the token,
    /// and not the other way round.
    pub fn csrf(&self) -> String {
        let sum = Sha256::new_with_prefix(b"csrf").chain_update(self.0).finalize();
        Digits(&sum).to_string()
    }

    /// Says whether a text equals [`Self::csrf`], in constant time.
    pub fn is_csrf(&self, text: &str) -> bool {
        bool::from(self.csrf().as_bytes().ct_eq(text.as_bytes()))
    }

    fn id(&self) -> Id {
        Id(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: Session = Session { role: Role::Admin, is_setup: false };
    const SETUP: Session = Session { role: Role::Admin, is_setup: true };

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(length: Duration) -> Instant {
        Instant::from_micros(1) + length
    }

    #[test]
    fn a_session_is_found_by_its_token_until_it_is_ended() {
        let mut sessions = Sessions::default();
        let token = sessions.open(ADMIN, HERE, at(Duration::ZERO)).unwrap();
        let other = sessions.open(SETUP, HERE, at(Duration::ZERO)).unwrap();
        let read = Token::parse(&token.text()).unwrap();
        assert_eq!(sessions.find(&read, at(Duration::ZERO)), Some(ADMIN));
        assert!(read.is_csrf(&token.csrf()));
        assert!(!read.is_csrf(&other.csrf()) && !read.is_csrf(&token.text()) && !read.is_csrf(""));
        sessions.end(&token);
        assert_eq!(sessions.find(&token, at(Duration::ZERO)), None);
        assert_eq!(sessions.find(&other, at(Duration::ZERO)), Some(SETUP));
        for text in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn f76_a_session_ends_when_it_is_not_used_and_when_it_is_old() {
        let mut sessions = Sessions::default();
        let token = sessions.open(ADMIN, HERE, at(Duration::ZERO)).unwrap();
        let setup = sessions.open(SETUP, HERE, at(Duration::ZERO)).unwrap();
        let step = Duration::from_secs(20 * 60);
        let mut now = Duration::ZERO;
        let mut setup_ended = None;
        while sessions.find(&token, at(now)).is_some() {
            if sessions.find(&setup, at(now)).is_none() && setup_ended.is_none() {
                setup_ended = Some(now);
            }
            now = now + step;
        }
        assert_eq!(now, SESSION_MAX, "however often it is used");
        assert_eq!(setup_ended, Some(SETUP_SESSION_MAX));
        let token = sessions.open(ADMIN, HERE, at(now)).unwrap();
        assert_eq!(sessions.find(&token, at(now + SESSION_IDLE_MAX)), None);
    }

    #[test]
    fn a_full_table_ends_the_one_that_was_used_longest_ago() {
        let mut sessions = Sessions::default();
        let second = |secs| at(Duration::from_secs(secs));
        let tokens: Vec<_> = (0..SESSIONS_MAX as u64)
            .map(|n| sessions.open(ADMIN, HERE, second(n)).unwrap())
            .collect();
        assert!(sessions.find(&tokens[0], second(100)).is_some());
        sessions.open(ADMIN, HERE, second(101)).unwrap();
        assert_eq!(sessions.open.len(), SESSIONS_MAX);
        assert!(sessions.find(&tokens[0], second(102)).is_some());
        assert!(sessions.find(&tokens[1], second(102)).is_none());
    }

    #[test]
    fn a_new_password_ends_the_sessions_of_its_role_but_not_the_one_that_set_it() {
        let mut sessions = Sessions::default();
        let now = at(Duration::ZERO);
        let viewer = Session { role: Role::Viewer, is_setup: false };
        let (mine, other) =
            (sessions.open(ADMIN, HERE, now).unwrap(), sessions.open(ADMIN, HERE, now).unwrap());
        let viewing = sessions.open(viewer, HERE, now).unwrap();
        sessions.keep(&mine, true);
        sessions.end_all_of(Role::Admin);
        sessions.keep(&mine, false);
        assert!(sessions.find(&mine, now).is_some() && sessions.find(&viewing, now).is_some());
        assert!(sessions.find(&other, now).is_none());
        sessions.end_all_of(Role::Admin);
        assert!(sessions.find(&mine, now).is_none());
    }

    #[test]
    fn sessions_are_listed_without_what_opens_them_and_ended_by_their_number() {
        let mut sessions = Sessions::default();
        let minute = |count: u64| at(Duration::from_secs(60 * count));
        let other = sessions.open(SETUP, "192.0.2.7".parse().unwrap(), minute(0)).unwrap();
        let mine = sessions.open(ADMIN, HERE, minute(10)).unwrap();
        let list = sessions.list(Some(&mine), minute(15));
        let shown: Vec<_> =
            list.iter().map(|one| (one.number, one.age.as_secs(), one.is_own)).collect();
        assert_eq!(shown, [(1, 900, false), (2, 300, true)]);
        assert_eq!(list[0].from, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(list[0].left, SESSION_IDLE_MAX - Duration::from_secs(900));
        assert_eq!(sessions.end_number(1, minute(15)), Some(list[0]));
        assert_eq!(sessions.end_number(1, minute(15)), None);
        assert!(sessions.find(&other, minute(15)).is_none());
        assert!(sessions.find(&mine, minute(15)).is_some());
    }

    #[test]
    fn f87_a_token_is_not_in_its_debug_text() {
        let token = Sessions::default().open(ADMIN, HERE, at(Duration::ZERO)).unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
