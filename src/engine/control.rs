//! The operator's requests to a gateway, independent of the transport.
//!
//! Read this first: a serial console, a framed serial line and HTTP are three encodings of the same
//! [`Request`]s and [`Item`]s. The gateway's `control` carries them out and knows no encoding; the
//! encodings know no setting. So a verb added here, and a role demanded here, apply everywhere.
//!
//! An answer is any number of items, then an end: done, or refused with one sentence ([`Refused`]).
//! Texts in items are for people: whole sentences, or `key: got X, allowed Y`. Data for programs
//! has fields of its own. No item ever holds a secret.
//!
//! [`Request::parse`] is the grammar of the console: words separated by spaces; a value is the
//! unchanged rest of the line. An error holds the column where reading stopped, counted from 1
//! (F73).
//!
//! ```
//! use loka_stratum::control::Request;
//!
//! let line = "set pool.1.url stratum+ssl://pool.example:3334";
//! let Request::Set { key, value } = Request::parse(line).unwrap() else { panic!() };
//! assert_eq!((key, value), ("pool.1.url", "stratum+ssl://pool.example:3334"));
//!
//! let error = Request::parse("show all of it").unwrap_err();
//! assert_eq!(error.to_string(), "column 10: \"of\" is one word too many; show [KEY]");
//! ```

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::settings::{Applies, nearest};

/// One request.
///
/// Variants are appended, never reordered: their numbers go over a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Name and version of the gateway, as a text.
    Hello,
    /// The keys that begin with `prefix`, or all keys if it is empty: an [`Item::Value`] each.
    Show {
        /// A key, or the first part of one: `pool`, `pool.2`, `miners.max`.
        prefix: &'a str,
    },
    /// Sets a value in the candidate.
    Set {
        /// The key.
        key: &'a str,
        /// Its text, as [`crate::settings::Settings::set`] reads it.
        value: &'a str,
    },
    /// Resets a key of the candidate to its default; `pool.2` removes that pool.
    Unset {
        /// The key, or a pool.
        key: &'a str,
    },
    /// The changes that a commit would make: an [`Item::Change`] each, and an [`Item::Problem`] for
    /// each obstacle.
    Diff,
    /// Applies the whole candidate, or reports every problem in it. A change that may cut the
    /// operator off is provisional ([`Item::Provisional`]).
    Commit,
    /// Keeps a provisional commit.
    Confirm,
    /// Takes a provisional commit back; without one, drops the candidate.
    Rollback,
    /// The gateway's state: an [`Item::Text`] per line.
    Status,
    /// The miners in the order of their slots: an [`Item::Miner`] each.
    Miners {
        /// Number of miners to skip.
        skip: u16,
    },
    /// The newest log lines, oldest first.
    Log {
        /// Most lines to return.
        count: u16,
    },
    /// Tries a pool: name, TCP, TLS with its certificates, subscribe, authorize. An [`Item::Text`]
    /// per step, an [`Item::Certificate`] each, an [`Item::Problem`] in words for a failure.
    Test {
        /// An address, or `pool.N` for a pool of the candidate.
        pool: &'a str,
    },
    /// Sets the password of a role; an empty word removes it from an operator or a viewer.
    Password {
        /// The role.
        role: Role,
        /// The new password in clear text; only its hash is kept.
        word: &'a str,
    },
    /// Erases all settings, passwords and the audit log, and restarts.
    Reset {
        /// Must be `reset`, to guard against a slip.
        sure: &'a str,
    },
    /// The newest entries of the audit log, oldest first.
    Audit {
        /// Most entries to return.
        count: u16,
    },
    /// Admits a worker by password (`admit.mode = "list"`), changes its password, or removes it
    /// with an empty one.
    Admit {
        /// The worker's name, or a pattern.
        worker: &'a str,
        /// The password in clear text; only its hash is kept.
        word: &'a str,
    },
    /// The workers admitted by password: an [`Item::Text`] each.
    Admitted,
    /// The newest events as defmt frames, oldest first: an [`Item::Text`] with the build that made
    /// them, then one in hexadecimal per event.
    Frames {
        /// Most events to return.
        count: u16,
    },
}

/// A part of an answer.
///
/// Variants are appended, never reordered: their numbers go over a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item<'a> {
    /// A line for people.
    Text(&'a str),
    /// One key.
    Value {
        /// The key.
        key: &'a str,
        /// Its text; a secret is `(set)` or `(not set)`.
        value: &'a str,
        /// Where the value comes from.
        origin: Origin<'a>,
        /// When a change of it takes effect.
        applies: Applies,
    },
    /// One key of the candidate that differs from the value in use.
    Change {
        /// The key.
        key: &'a str,
        /// The value in use; empty for an added pool.
        from: &'a str,
        /// The candidate's value; empty for a removed pool.
        to: &'a str,
        /// When the change takes effect.
        applies: Applies,
    },
    /// A problem, and its key.
    Problem {
        /// The key; empty if the problem belongs to none.
        key: &'a str,
        /// `key: got X, allowed Y`.
        text: &'a str,
    },
    /// A commit waits to be confirmed.
    Provisional {
        /// Seconds until the commit is taken back.
        seconds_left: u16,
    },
    /// A certificate of a tried pool, the pool's own first.
    Certificate {
        /// The subject's name.
        subject: &'a str,
        /// The issuer's name.
        issuer: &'a str,
        /// The last day of its validity, as `2027-01-31`.
        until: &'a str,
        /// SHA-256 of its public key, 64 hex digits, as in `pool.N.pins`.
        pin: &'a str,
    },
    /// A miner.
    Miner {
        /// Its slot in the table.
        place: u16,
        /// Its address.
        peer: &'a str,
        /// Its worker; empty before it has one.
        worker: &'a str,
        /// Its firmware's user agent.
        agent: &'a str,
        /// The difficulty that it was told.
        difficulty: f64,
        /// Hashes per second, estimated from its shares.
        hashrate: f64,
        /// Accepted shares.
        accepted: u32,
        /// Rejected shares.
        rejected: u32,
    },
}

/// The source of a key's value.
///
/// Variants are appended, never reordered: their numbers go over a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin<'a> {
    /// The built-in default.
    Default,
    /// The settings file, with the line, from 1.
    File(u32),
    /// A commit by the console, the page or a tool.
    Stored,
    /// An environment variable, which overrides the sources above.
    Environment(&'a str),
    /// A flag, which overrides all.
    Flag(&'a str),
    /// The candidate; not in use.
    Candidate,
    /// A commit that is in use but could not be written: a restart loses it.
    Unkept,
}

/// Access rights; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Changes pools, miners and difficulty.
    Operator,
    /// Changes everything.
    Admin,
}

/// Why a request was refused, in one sentence.
///
/// Variants are appended, never reordered: their numbers go over a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused<T> {
    /// The role is too low.
    Forbidden {
        /// The role needed.
        needs: Role,
    },
    /// The request is wrong.
    Invalid(T),
    /// The request cannot be carried out now.
    Conflict(T),
    /// A disk, a network or another part of the machine failed.
    Failed(T),
}

impl<T> Refused<T> {
    /// Returns the same refusal with another form of its text.
    pub fn with_text<'a, U>(&'a self, form: impl FnOnce(&'a str) -> U) -> Refused<U>
    where
        T: AsRef<str>,
    {
        match self {
            Self::Forbidden { needs } => Refused::Forbidden { needs: *needs },
            Self::Invalid(text) => Refused::Invalid(form(text.as_ref())),
            Self::Conflict(text) => Refused::Conflict(form(text.as_ref())),
            Self::Failed(text) => Refused::Failed(form(text.as_ref())),
        }
    }
}

/// A verb of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its word.
    pub name: &'static str,
    /// Its syntax.
    pub usage: &'static str,
    /// Its effect, as help shows it.
    pub effect: &'static str,
    /// The role needed.
    pub role: Role,
}

/// Every verb of the console, in the order that help shows.
pub const VERBS: &[Verb] = &[
    verb("help", "help [VERB]", "Lists the verbs, or explains one.", Role::Viewer),
    verb("show", "show [KEY]", "Shows settings and where each comes from.", Role::Viewer),
    verb("set", "set KEY VALUE", "Changes a setting, in effect after commit.", Role::Operator),
    verb("unset", "unset KEY", "Back to the default; unset pool.2 removes it.", Role::Operator),
    verb("diff", "diff", "Shows pending changes and their problems.", Role::Viewer),
    verb("commit", "commit", "Puts the changes into effect, all or none.", Role::Operator),
    verb("confirm", "confirm", "Keeps a provisional commit.", Role::Operator),
    verb("rollback", "rollback", "Takes back a provisional commit or the changes.", Role::Operator),
    verb("test", "test POOL", "Tries a pool: an address, or pool.1.", Role::Operator),
    verb("status", "status", "Shows the gateway's state.", Role::Viewer),
    verb("miners", "miners [SKIP]", "Lists the miners.", Role::Viewer),
    verb("log", "log [COUNT]", "Shows the newest lines of the log.", Role::Viewer),
    verb("frames", "frames [COUNT]", "Shows events as frames, for ctl log.", Role::Viewer),
    verb("audit", "audit [COUNT]", "Shows who changed what.", Role::Admin),
    verb("admit", "admit WORKER", "Admits a worker; asks for its password.", Role::Operator),
    verb("admitted", "admitted", "Lists the admitted workers.", Role::Viewer),
    verb("password", "password ROLE", "Sets the password of a role; asks for it.", Role::Admin),
    verb("reset", "reset", "Erases everything; asks first.", Role::Admin),
];

const fn verb(name: &'static str, usage: &'static str, effect: &'static str, role: Role) -> Verb {
    Verb { name, usage, effect, role }
}

/// Lines that `log`, `frames`, `audit` and `miners` show without a count.
pub const LINES_DEFAULT: u16 = 20;

/// Why a console line is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError<'a> {
    /// Where reading stopped, from 1.
    pub column: usize,
    /// The error at that column.
    pub kind: ParseErrorKind<'a>,
}

/// The error in a console line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind<'a> {
    /// The line is empty.
    Empty,
    /// There is no verb of that name.
    UnknownVerb(&'a str),
    /// An argument is missing.
    Missing(&'static Verb),
    /// There is a word too many.
    Extra(&'a str, &'static Verb),
    /// A number is expected.
    NoNumber(&'a str),
    /// A role is expected.
    NoRole(&'a str),
}

impl<'a> Request<'a> {
    /// Reads a console line. `help` is no request, since the console answers it itself. A password,
    /// and the word that confirms a reset, are asked for later and are empty here.
    ///
    /// # Errors
    ///
    /// The column where reading stopped, and the error there.
    pub fn parse(line: &'a str) -> Result<Self, ParseError<'a>> {
        let mut words = Words { line, at: 0 };
        let (at, name) =
            words.next().ok_or(ParseError { column: 1, kind: ParseErrorKind::Empty })?;
        let Some(verb) = Verb::named(name) else {
            return Err(ParseError { column: at, kind: ParseErrorKind::UnknownVerb(name) });
        };
        let request = match verb.name {
            "show" => Self::Show { prefix: words.next().map_or("", |(_, word)| word) },
            "set" => {
                let key = words.need(verb)?;
                return match words.rest() {
                    "" => Err(words.missing(verb)),
                    value => Ok(Self::Set { key, value }),
                };
            }
            "unset" => Self::Unset { key: words.need(verb)? },
            "diff" => Self::Diff,
            "commit" => Self::Commit,
            "confirm" => Self::Confirm,
            "rollback" => Self::Rollback,
            "test" => Self::Test { pool: words.need(verb)? },
            "status" => Self::Status,
            "miners" => Self::Miners { skip: words.number(0)? },
            "log" => Self::Log { count: words.number(LINES_DEFAULT)? },
            "frames" => Self::Frames { count: words.number(LINES_DEFAULT)? },
            "audit" => Self::Audit { count: words.number(LINES_DEFAULT)? },
            "password" => Self::Password { role: words.role(verb)?, word: "" },
            "admit" => Self::Admit { worker: words.need(verb)?, word: "" },
            "admitted" => Self::Admitted,
            "reset" => Self::Reset { sure: "" },
            // `help`, and any verb of the list that this match lacks.
            _ => Self::Hello,
        };
        match words.next() {
            None => Ok(request),
            Some((column, word)) => {
                Err(ParseError { column, kind: ParseErrorKind::Extra(word, verb) })
            }
        }
    }

    /// Returns the role needed. Keys about access, the page's address or the miners' ports need
    /// [`Role::Admin`] with any verb: see [`crate::settings::Field::role`].
    pub fn role(&self) -> Role {
        match self {
            Self::Hello
            | Self::Show { .. }
            | Self::Diff
            | Self::Status
            | Self::Miners { .. }
            | Self::Log { .. }
            | Self::Frames { .. }
            | Self::Admitted => Role::Viewer,
            Self::Set { .. }
            | Self::Unset { .. }
            | Self::Commit
            | Self::Confirm
            | Self::Rollback
            | Self::Admit { .. }
            | Self::Test { .. } => Role::Operator,
            Self::Password { .. } | Self::Reset { .. } | Self::Audit { .. } => Role::Admin,
        }
    }

    /// Says whether the audit log records it: every request that may change something. Changes of a
    /// candidate are not recorded; its commit is.
    pub fn is_audited(&self) -> bool {
        let is_looked_at =
            matches!(self, Self::Set { .. } | Self::Unset { .. } | Self::Audit { .. });
        self.role() > Role::Viewer && !is_looked_at
    }
}

impl Verb {
    /// Returns the verb with a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VERBS.iter().find(|verb| verb.name == name)
    }
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns the role's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role for a word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The words of a line, each with its column.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.line.get(self.at..)?;
        let word_and_more = rest.trim_start();
        let start = self.line.len().saturating_sub(word_and_more.len());
        let word = word_and_more.split_whitespace().next()?;
        self.at = start.saturating_add(word.len());
        Some((column(self.line, start), word))
    }

    /// Returns the rest of the line, trimmed.
    fn rest(&mut self) -> &'a str {
        let rest = self.line.get(self.at..).unwrap_or_default();
        self.at = self.line.len();
        rest.trim()
    }

    fn need(&mut self, verb: &'static Verb) -> Result<&'a str, ParseError<'a>> {
        self.next().map(|(_, word)| word).ok_or_else(|| self.missing(verb))
    }

    fn missing(&self, verb: &'static Verb) -> ParseError<'a> {
        let end = self.line.trim_end().len();
        ParseError { column: column(self.line, end), kind: ParseErrorKind::Missing(verb) }
    }

    fn number(&mut self, default: u16) -> Result<u16, ParseError<'a>> {
        let Some((column, word)) = self.next() else { return Ok(default) };
        word.parse().map_err(|_| ParseError { column, kind: ParseErrorKind::NoNumber(word) })
    }

    fn role(&mut self, verb: &'static Verb) -> Result<Role, ParseError<'a>> {
        let Some((column, word)) = self.next() else { return Err(self.missing(verb)) };
        Role::named(word).ok_or(ParseError { column, kind: ParseErrorKind::NoRole(word) })
    }
}

/// Columns count letters, not bytes.
fn column(line: &str, at: usize) -> usize {
    line.get(..at).map_or(0, |before| before.chars().count()).saturating_add(1)
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: ", self.column)?;
        match self.kind {
            ParseErrorKind::Empty => f.write_str("empty line; help lists the verbs"),
            ParseErrorKind::UnknownVerb(name) => {
                write!(f, "unknown verb {name:?}; help lists the verbs")?;
                match nearest(name, VERBS.iter().map(|verb| verb.name)) {
                    Some(verb) => write!(f, "; did you mean {verb}"),
                    None => Ok(()),
                }
            }
            ParseErrorKind::Missing(verb) => write!(f, "an argument is missing; {}", verb.usage),
            ParseErrorKind::Extra(word, verb) => {
                write!(f, "{word:?} is one word too many; {}", verb.usage)
            }
            ParseErrorKind::NoNumber(word) => {
                write!(f, "got {word:?}, allowed 0..{}", u16::MAX)
            }
            ParseErrorKind::NoRole(word) => {
                write!(f, "got {word:?}, allowed viewer, operator or admin")
            }
        }
    }
}

impl core::error::Error for ParseError<'_> {}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "file, line {line}"),
            Self::Stored => f.write_str("stored"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Candidate => f.write_str("not committed"),
            Self::Unkept => f.write_str("in use, not stored"),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { needs } => write!(f, "this takes the role {needs}"),
            Self::Invalid(text) | Self::Conflict(text) | Self::Failed(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_verb_but_help_is_read_and_takes_the_role_that_it_shows() {
        for verb in VERBS.iter().filter(|verb| verb.name != "help") {
            let line = verb.usage.split('[').next().unwrap().replace("ROLE", "viewer");
            let request = Request::parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(request.role(), verb.role, "{line}");
        }
    }

    #[test]
    fn a_value_is_the_rest_of_the_line() {
        let line = "  set  pool.1.password   d=1024, x \r";
        let expected = Request::Set { key: "pool.1.password", value: "d=1024, x" };
        assert_eq!(Request::parse(line), Ok(expected));
    }

    #[test]
    fn f73_an_error_says_the_column() {
        for (line, text) in [
            ("", "column 1: empty line; help lists the verbs"),
            ("   ", "column 1: empty line; help lists the verbs"),
            (" shwo", "column 2: unknown verb \"shwo\"; help lists the verbs; did you mean show"),
            ("set", "column 4: an argument is missing; set KEY VALUE"),
            ("set miners.max  ", "column 15: an argument is missing; set KEY VALUE"),
            ("commit now", "column 8: \"now\" is one word too many; commit"),
            ("log ten", "column 5: got \"ten\", allowed 0..65535"),
            ("log 65536", "column 5: got \"65536\", allowed 0..65535"),
            ("password root", "column 10: got \"root\", allowed viewer, operator or admin"),
            ("show ü x", "column 8: \"x\" is one word too many; show [KEY]"),
        ] {
            assert_eq!(Request::parse(line).unwrap_err().to_string(), text, "{line:?}");
        }
    }

    #[test]
    fn what_changes_something_is_audited() {
        assert!(Request::Commit.is_audited());
        assert!(Request::Password { role: Role::Viewer, word: "" }.is_audited());
        assert!(!Request::Show { prefix: "" }.is_audited());
        assert!(!Request::Set { key: "", value: "" }.is_audited());
        assert!(!Request::Audit { count: 1 }.is_audited());
    }

    #[test]
    fn requests_and_items_keep_their_numbers() {
        let mut buffer = [0; 64];
        for (request, bytes) in [
            (Request::Hello, &[0][..]),
            (Request::Commit, &[5]),
            (Request::Reset { sure: "" }, &[13, 0]),
            (Request::Audit { count: 7 }, &[14, 7]),
            (Request::Frames { count: 7 }, &[17, 7]),
        ] {
            assert_eq!(postcard::to_slice(&request, &mut buffer).unwrap(), bytes);
        }
        let item = Item::Provisional { seconds_left: 120 };
        assert_eq!(postcard::to_slice(&item, &mut buffer).unwrap(), [4, 120]);
    }
}
