//! What an operator can ask of a gateway, whichever way it is asked.
//!
//! Read this first: a serial console, a framed serial line and HTTP are three spellings of the
//! same [`Request`]s, answered by the same [`Item`]s. Whoever carries them out (the gateway's
//! `control`) knows no spelling; whoever spells them knows no setting. So a verb that is added here
//! is there everywhere, and a role that is demanded here is demanded everywhere.
//!
//! An answer is any number of items, then an end: done, or refused with one sentence
//! ([`Refused`]). Texts in items are for people, whole sentences or `key: got X, allowed Y`; what a
//! program needs stands in fields of its own. No item ever holds a secret.
//!
//! [`Request::parse`] is the grammar of the console: words divided by spaces, a value is the rest
//! of the line as it stands. An error has the column where reading stopped, counted from 1 (F73).
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

/// One thing that is asked.
///
/// Variants are appended, never reordered: they are numbers on a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// What this is: a text with name and version.
    Hello,
    /// The keys that begin with `prefix`, all for an empty one: a [`Item::Value`] each.
    Show {
        /// A key, or the first part of one: `pool`, `pool.2`, `miners.max`.
        prefix: &'a str,
    },
    /// Puts a value into the candidate.
    Set {
        /// The key.
        key: &'a str,
        /// Its text, as [`crate::settings::Settings::set`] reads it.
        value: &'a str,
    },
    /// Puts a key of the candidate back to its default; `pool.2` takes that pool away.
    Unset {
        /// The key, or a pool.
        key: &'a str,
    },
    /// What a commit would change: a [`Item::Change`] each, and a [`Item::Problem`] for everything
    /// that would stop it.
    Diff,
    /// Puts the candidate into use as a whole, or says everything that is wrong with it. Where a
    /// change may cut the operator off it is provisional ([`Item::Provisional`]).
    Commit,
    /// Keeps a provisional commit.
    Confirm,
    /// Takes a provisional commit back; where there is none, drops the candidate.
    Rollback,
    /// How the gateway is: a [`Item::Text`] per line.
    Status,
    /// The miners in the order of their places: a [`Item::Miner`] each.
    Miners {
        /// How many to pass over.
        skip: u16,
    },
    /// The newest lines of the log, the oldest first.
    Log {
        /// How many at most.
        count: u16,
    },
    /// Tries a pool: name, TCP, TLS with its certificates, subscribe, authorize. A [`Item::Text`]
    /// for each step, a [`Item::Certificate`] each, a [`Item::Problem`] in words where one fails.
    Test {
        /// An address, or `pool.N` for one of the candidate.
        pool: &'a str,
    },
    /// Sets the password of a role; an empty word takes it away from an operator or a viewer.
    Password {
        /// Whose.
        role: Role,
        /// The new one, in clear; it is kept as a hash only.
        word: &'a str,
    },
    /// Forgets all settings, passwords and the audit log, and starts anew.
    Reset {
        /// Must be `reset`, so that it is not done by a slip.
        sure: &'a str,
    },
    /// The newest entries of the audit log, the oldest first.
    Audit {
        /// How many at most.
        count: u16,
    },
    /// Lets a miner's worker in by a password (`admit.mode = "list"`), gives it another, or takes
    /// it out of the list with an empty one.
    Admit {
        /// Its name, or a pattern.
        worker: &'a str,
        /// The password, in clear; it is kept as a hash only.
        word: &'a str,
    },
    /// The workers that are let in by a password: a [`Item::Text`] each.
    Admitted,
    /// The newest events as defmt frames, the oldest first: a [`Item::Text`] with the build that
    /// made them, then one in hexadecimal for each.
    Frames {
        /// How many at most.
        count: u16,
    },
}

/// A part of an answer.
///
/// Variants are appended, never reordered: they are numbers on a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item<'a> {
    /// A line for people.
    Text(&'a str),
    /// One key.
    Value {
        /// Which.
        key: &'a str,
        /// Its text; a secret is `(set)` or `(not set)`.
        value: &'a str,
        /// Where it comes from.
        origin: Origin<'a>,
        /// What a change of it needs.
        applies: Applies,
    },
    /// One key of the candidate that differs from what is in use.
    Change {
        /// Which.
        key: &'a str,
        /// What is in use; empty for a pool that is added.
        from: &'a str,
        /// What would be; empty for a pool that is taken away.
        to: &'a str,
        /// What the change needs.
        applies: Applies,
    },
    /// What is wrong, and where.
    Problem {
        /// The key; empty where it is of none.
        key: &'a str,
        /// `key: got X, allowed Y`.
        text: &'a str,
    },
    /// A commit waits to be confirmed.
    Provisional {
        /// Seconds until it is taken back.
        seconds_left: u16,
    },
    /// A certificate of a pool that was tried, the pool's own first.
    Certificate {
        /// Whose it is.
        subject: &'a str,
        /// Who signed it.
        issuer: &'a str,
        /// The day after which it is not good any more, as `2027-01-31`.
        until: &'a str,
        /// SHA-256 of its public key, 64 hex digits, as `pool.N.pins` takes it.
        pin: &'a str,
    },
    /// A miner.
    Miner {
        /// Its place in the table.
        place: u16,
        /// Its address.
        peer: &'a str,
        /// Its worker; empty before it has one.
        worker: &'a str,
        /// What its firmware calls itself.
        agent: &'a str,
        /// The difficulty that it has been told.
        difficulty: f64,
        /// Hashes per second, as its shares show.
        hashrate: f64,
        /// Shares that were good.
        accepted: u32,
        /// Shares that were not.
        rejected: u32,
    },
}

/// Where the value of a key comes from.
///
/// Variants are appended, never reordered: they are numbers on a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin<'a> {
    /// Nobody has set it.
    Default,
    /// A file; its line, from 1.
    File(u32),
    /// A commit by the console, the page or a tool.
    Stored,
    /// A variable of the environment, which wins over the ones above.
    Environment(&'a str),
    /// A flag, which wins over all.
    Flag(&'a str),
    /// It stands in the candidate and is not in use.
    Candidate,
    /// A commit that is in use and could not be written: a restart loses it.
    Unkept,
}

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks on.
    Viewer,
    /// Sets everything about pools, miners and difficulty.
    Operator,
    /// Sets everything.
    Admin,
}

/// Why something was not done, in one sentence.
///
/// Variants are appended, never reordered: they are numbers on a framed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused<T> {
    /// The role does not reach.
    Forbidden {
        /// The role that it takes.
        needs: Role,
    },
    /// Something is wrong with what was asked.
    Invalid(T),
    /// It cannot be done now.
    Conflict(T),
    /// It failed for a reason of the machine's: a disk, a network.
    Failed(T),
}

impl<T> Refused<T> {
    /// Returns the same with another form of its text.
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
    /// How it is written.
    pub usage: &'static str,
    /// What it does.
    pub effect: &'static str,
    /// The role that it takes.
    pub role: Role,
}

/// Every verb of the console, in the order that help shows.
pub const VERBS: &[Verb] = &[
    verb("help", "help [VERB]", "Lists the verbs, or explains one.", Role::Viewer),
    verb("show", "show [KEY]", "Shows settings and where each comes from.", Role::Viewer),
    verb("set", "set KEY VALUE", "Changes a setting, in effect after commit.", Role::Operator),
    verb("unset", "unset KEY", "Back to the default; unset pool.2 removes it.", Role::Operator),
    verb("diff", "diff", "Shows what commit would change, and what is wrong.", Role::Viewer),
    verb("commit", "commit", "Puts the changes into effect, all or none.", Role::Operator),
    verb("confirm", "confirm", "Keeps a commit that waits for it.", Role::Operator),
    verb("rollback", "rollback", "Takes back a waiting commit, or the changes.", Role::Operator),
    verb("test", "test POOL", "Tries a pool: an address, or pool.1.", Role::Operator),
    verb("status", "status", "Shows how the gateway is.", Role::Viewer),
    verb("miners", "miners [SKIP]", "Lists the miners.", Role::Viewer),
    verb("log", "log [COUNT]", "Shows the newest lines of the log.", Role::Viewer),
    verb("frames", "frames [COUNT]", "Shows events as frames, for ctl log.", Role::Viewer),
    verb("audit", "audit [COUNT]", "Shows who changed what.", Role::Admin),
    verb("admit", "admit WORKER", "Lets a worker in; asks for its password.", Role::Operator),
    verb("admitted", "admitted", "Lists the workers that are let in.", Role::Viewer),
    verb("password", "password ROLE", "Sets the password of a role; asks for it.", Role::Admin),
    verb("reset", "reset", "Forgets everything; asks first.", Role::Admin),
];

const fn verb(name: &'static str, usage: &'static str, effect: &'static str, role: Role) -> Verb {
    Verb { name, usage, effect, role }
}

/// Lines that `log`, `frames`, `audit` and `miners` show where no count is given.
pub const LINES_DEFAULT: u16 = 20;

/// Why a line of the console is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError<'a> {
    /// Where reading stopped, from 1.
    pub column: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind<'a>,
}

/// What is wrong with a line of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind<'a> {
    /// Nothing that asks anything.
    Empty,
    /// No verb is called that.
    UnknownVerb(&'a str),
    /// Something is missing.
    Missing(&'static Verb),
    /// Something is too much.
    Extra(&'a str, &'static Verb),
    /// A number was wanted.
    NoNumber(&'a str),
    /// A role was wanted.
    NoRole(&'a str),
}

impl<'a> Request<'a> {
    /// Reads a line of the console. `help` is not among what can be asked, since the console
    /// answers it itself; a password and the word that allows a reset are asked for afterwards,
    /// and are empty here.
    ///
    /// # Errors
    ///
    /// The column where the line stops making sense, and what is wrong there.
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
            // `help`, and whatever the list may have that this does not.
            _ => Self::Hello,
        };
        match words.next() {
            None => Ok(request),
            Some((column, word)) => {
                Err(ParseError { column, kind: ParseErrorKind::Extra(word, verb) })
            }
        }
    }

    /// Returns the role that it takes. Keys that name who may do what, where the page is, or where
    /// miners connect take [`Role::Admin`] whatever the verb: see [`crate::settings::Field::role`].
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

    /// Says whether an audit log keeps it: whatever is meant to change something. What is put
    /// into a candidate changes nothing; a commit says what was in it.
    pub fn is_audited(&self) -> bool {
        let is_looked_at =
            matches!(self, Self::Set { .. } | Self::Unset { .. } | Self::Audit { .. });
        self.role() > Role::Viewer && !is_looked_at
    }
}

impl Verb {
    /// Returns the verb of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VERBS.iter().find(|verb| verb.name == name)
    }
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role of a word.
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

    /// Returns what is left, without the space around it.
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

/// Columns are letters, not bytes.
fn column(line: &str, at: usize) -> usize {
    line.get(..at).map_or(0, |before| before.chars().count()).saturating_add(1)
}

impl fmt::Display for ParseError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: ", self.column)?;
        match self.kind {
            ParseErrorKind::Empty => f.write_str("nothing was asked; help lists what can be"),
            ParseErrorKind::UnknownVerb(name) => {
                write!(f, "there is no {name:?}; help lists what there is")?;
                match nearest(name, VERBS.iter().map(|verb| verb.name)) {
                    Some(verb) => write!(f, "; did you mean {verb}"),
                    None => Ok(()),
                }
            }
            ParseErrorKind::Missing(verb) => write!(f, "something is missing; {}", verb.usage),
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
            ("", "column 1: nothing was asked; help lists what can be"),
            ("   ", "column 1: nothing was asked; help lists what can be"),
            (
                " shwo",
                "column 2: there is no \"shwo\"; help lists what there is; did you mean show",
            ),
            ("set", "column 4: something is missing; set KEY VALUE"),
            ("set miners.max  ", "column 15: something is missing; set KEY VALUE"),
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
