//! Lines from pools, typed; the gateway reads them in the role of a miner.
//!
//! [`parse`] reads one line. It accepts every recorded variation of pools: refusals as array,
//! object, string, `reject-reason` or nothing at all; subscribe results in any order and flat;
//! reconnect with and without its params. Fields that bear on money are strict: a notify with wrong
//! hex, lengths or flag is refused whole.
//!
//! It does not match answers to requests or judge difficulties or extranonce sizes beyond their
//! type. It carries out nothing.
//!
//! Invariants: the hex of a [`Notify`] decodes; its branches are at most
//! [`MERKLE_BRANCHES_MAX`] of 32 bytes each.
//!
//! Sources: BIP-0310 (configure, set_version_mask), nicehash/Specifications (set_extranonce),
//! the transcripts under `tests/transcripts`.
//!
//! ```
//! use loka_stratum::wire::server::{self, Outcome, ServerLine};
//!
//! let line = br#"{"reject-reason":"Stale","result":false,"error":null,"id":5333}"#;
//! let ServerLine::Response(response) = server::parse(line)? else { panic!("a response") };
//! assert_eq!(response.id.as_u64(), Some(5333));
//! let Outcome::Refused(refusal) = response.outcome() else { panic!("a refusal") };
//! assert_eq!((refusal.code, refusal.reason.as_raw()), (None, "Stale"));
//! # Ok::<(), server::ServerError>(())
//! ```

use core::fmt;

use super::guess::Guess;
use super::hex::{self, HexError};
use super::id::Id;
use super::json::{self, Array, Elements, Envelope, Object, Value};
use super::message::{Method, Params, ParseError};
use super::text::Text;
use crate::limits::MERKLE_BRANCHES_MAX;

/// A line of a pool.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ServerLine<'a> {
    /// The answer to a request.
    Response(Response<'a>),
    /// `mining.notify`
    Notify(Notify<'a>),
    /// `mining.set_difficulty`; finite and above 0.
    SetDifficulty(f64),
    /// `mining.set_extranonce`; takes effect with the next notify.
    SetExtranonce {
        /// Hex digits.
        extranonce1: Text<'a>,
        /// Bytes, as stated by the pool.
        extranonce2_size: u64,
    },
    /// `mining.set_version_mask`; valid at once.
    SetVersionMask(u32),
    /// `client.reconnect`
    Reconnect {
        /// The new host, or `None` for the same one.
        host: Option<Text<'a>>,
        /// The new port, or `None` for the same one.
        port: Option<u16>,
        /// Seconds to wait first.
        wait_secs: Option<u32>,
    },
    /// `client.show_message`
    ShowMessage(Text<'a>),
    /// `client.get_version`, to be answered.
    GetVersion {
        /// The id to answer under.
        id: Id<'a>,
    },
    /// `mining.ping`, to be answered.
    Ping {
        /// The id to answer under.
        id: Id<'a>,
    },
    /// A method unknown in the pool's direction.
    Unknown {
        /// The id to answer under.
        id: Id<'a>,
        /// Its name.
        method: Text<'a>,
    },
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The id of the request.
    pub id: Id<'a>,
    /// `result`; null if missing.
    pub result: Value<'a>,
    /// `error`; null if missing.
    pub error: Value<'a>,
    /// `reject-reason` of ckpool.
    pub reject_reason: Option<Text<'a>>,
}

/// The verdict in a response.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The request was granted.
    Accepted,
    /// The request was refused.
    Refused(Refusal<'a>),
}

/// A refusal by the pool.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The code, if the pool gave one: a number, or its digits in a string.
    pub code: Option<i64>,
    /// The reason; empty if the pool gave none.
    pub reason: Text<'a>,
}

/// The result of `mining.subscribe`.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// Hex digits; may be empty.
    pub extranonce1: Text<'a>,
    /// Bytes, as stated by the pool.
    pub extranonce2_size: u64,
    /// The id of the `mining.notify` subscription, which may resume a session.
    pub session_id: Option<Text<'a>>,
}

/// The result of `mining.configure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigureResult {
    /// Whether version rolling is granted.
    pub version_rolling: bool,
    /// The bits that may be rolled, if the pool states them.
    pub mask: Option<u32>,
}

/// `mining.notify`
#[derive(Clone, Copy, Debug)]
pub struct Notify<'a> {
    /// An opaque id, returned to the pool unchanged (QUIRKS 35).
    pub job_id: Text<'a>,
    /// 64 hex digits, in the word order of Stratum.
    pub prev_hash: &'a [u8],
    /// Hex of the coinbase before extranonce1.
    pub coinb1: &'a [u8],
    /// Hex of the coinbase after extranonce2.
    pub coinb2: &'a [u8],
    /// The merkle branches, each 64 hex digits.
    pub branches: Branches<'a>,
    /// The array of branches as sent.
    pub branches_raw: &'a [u8],
    /// The version of the header.
    pub version: u32,
    /// The target of the network, in compact form.
    pub nbits: u32,
    /// The time of the header, in seconds since 1970.
    pub ntime: u32,
    /// Whether older jobs are dead. The ninth param, or the last if there are more (QUIRKS 36).
    pub clean_jobs: bool,
}

/// The merkle branches of a notify: at most [`MERKLE_BRANCHES_MAX`], each 64 hex digits.
#[derive(Clone, Copy, Debug)]
pub struct Branches<'a> {
    array: Array<'a>,
    count: usize,
}

/// An iterator over the digits of each branch.
#[derive(Clone, Debug)]
pub struct BranchIter<'a>(Elements<'a>);

/// Why a line of a pool cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ServerError {
    /// The line is HTTP: a web server or a captive portal answers at the pool's address (F62).
    LooksLikeHttp,
    /// The line is not a message, or its params are wrong.
    Parse(ParseError),
    /// A job has more merkle branches than any block can need.
    TooManyBranches {
        /// Branches in the job.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// The result of a subscribe is not subscriptions, extranonce1 and extranonce2 size.
    Subscription,
    /// The result of a configure is not an object of extensions, or its mask is invalid.
    Configuration,
}

/// Reads a line of a pool, without its line end.
///
/// # Errors
///
/// [`ServerError`] if the line is not a JSON object, breaks a bound, or is a known method with
/// invalid params.
pub fn parse(line: &[u8]) -> Result<ServerLine<'_>, ServerError> {
    let mut envelope = Envelope::new(line);
    envelope.scan().map_err(|error| not_json(line, error))?;
    let id = match envelope.id() {
        Some(raw) => Id::from_scanned(raw).ok_or(ServerError::Parse(ParseError::ID))?,
        None => Id::NULL,
    };
    let Some(name) = envelope.method_text() else {
        return if envelope.has_no_method() && envelope.is_answer() {
            Ok(ServerLine::Response(Response::of(id, &envelope)))
        } else {
            Err(ServerError::Parse(ParseError::Method))
        };
    };
    let Some(method) = Method::from_text(name) else {
        return Ok(ServerLine::Unknown { id, method: name });
    };
    let params = || Params::of(method, &envelope);
    match method {
        Method::Notify => notify(params()?),
        Method::SetDifficulty => Ok(set_difficulty(params()?)?),
        Method::SetExtranonce => Ok(set_extranonce(params()?)?),
        Method::SetVersionMask => Ok(set_version_mask(params()?)?),
        Method::Reconnect => Ok(reconnect(params()?)?),
        Method::ShowMessage => Ok(ServerLine::ShowMessage(params()?.at_least(1)?.text(0)?)),
        Method::GetVersion => Ok(params().map(|_| ServerLine::GetVersion { id })?),
        Method::Ping => Ok(params().map(|_| ServerLine::Ping { id })?),
        // Methods that only miners send are unknown here.
        _ => Ok(ServerLine::Unknown { id, method: name }),
    }
}

#[cold]
fn not_json(line: &[u8], error: json::JsonError) -> ServerError {
    match Guess::of(line) {
        Some(Guess::Http) => ServerError::LooksLikeHttp,
        Some(guess) => ServerError::Parse(ParseError::NotStratum(guess)),
        None => ServerError::Parse(ParseError::Json(error)),
    }
}

fn notify<'a>(params: Params<'_, 'a>) -> Result<ServerLine<'a>, ServerError> {
    let params = params.at_least(9)?;
    let Value::Array(array) = params.value(4) else { return Err(params.wrong(4).into()) };
    let (clean_at, clean_jobs) = params.last();
    let Value::Bool(clean_jobs) = clean_jobs else { return Err(params.wrong(clean_at).into()) };
    Ok(ServerLine::Notify(Notify {
        job_id: params.text(0)?,
        prev_hash: params.hex(1, hash_digits)?,
        coinb1: params.hex(2, checked)?,
        coinb2: params.hex(3, checked)?,
        branches: branches(params, array)?,
        branches_raw: array.as_raw(),
        version: params.hex(5, hex::u32_be)?,
        nbits: params.hex(6, hex::u32_be)?,
        ntime: params.hex(7, hex::u32_be)?,
        clean_jobs,
    }))
}

/// Checks and counts the branches of a notify.
fn branches<'a>(params: Params<'_, 'a>, array: Array<'a>) -> Result<Branches<'a>, ServerError> {
    let mut count = 0_usize;
    for branch in array.elements() {
        let digits = branch.as_text().ok_or(params.wrong(4))?.as_bytes();
        hash_digits(digits).map_err(|error| params.bad_hex(4, error))?;
        count = count.saturating_add(1);
    }
    if count > MERKLE_BRANCHES_MAX {
        return Err(ServerError::TooManyBranches { got: count, limit: MERKLE_BRANCHES_MAX });
    }
    Ok(Branches { array, count })
}

/// Returns `digits` if they are the hex of any bytes.
fn checked(digits: &[u8]) -> Result<&[u8], HexError> {
    hex::check(digits).map(|_| digits)
}

/// Returns `digits` if they are the hex of a hash.
fn hash_digits(digits: &[u8]) -> Result<&[u8], HexError> {
    if digits.len() != HASH_DIGITS {
        return Err(HexError::Length { got: digits.len(), want: HASH_DIGITS });
    }
    checked(digits)
}

/// Hex digits of a hash of 32 bytes.
const HASH_DIGITS: usize = 64;

fn set_difficulty<'a>(params: Params<'_, 'a>) -> Result<ServerLine<'a>, ParseError> {
    let params = params.at_least(1)?;
    let difficulty = params.value(0).as_f64().filter(|difficulty| *difficulty > 0.0);
    difficulty.map(ServerLine::SetDifficulty).ok_or(params.wrong(0))
}

fn set_extranonce<'a>(params: Params<'_, 'a>) -> Result<ServerLine<'a>, ParseError> {
    let params = params.at_least(2)?;
    params.hex(0, hex::check)?;
    Ok(ServerLine::SetExtranonce {
        extranonce1: params.text(0)?,
        extranonce2_size: params.value(1).as_u64().ok_or(params.wrong(1))?,
    })
}

fn set_version_mask<'a>(params: Params<'_, 'a>) -> Result<ServerLine<'a>, ParseError> {
    params.at_least(1)?.hex(0, hex::u32_be).map(ServerLine::SetVersionMask)
}

/// Reads a reconnect. Every param may be missing, and numbers may be strings (QUIRKS 45).
fn reconnect<'a>(params: Params<'_, 'a>) -> Result<ServerLine<'a>, ParseError> {
    let port = whole_number(params.value(1)).ok_or(params.wrong(1))?;
    let wait = whole_number(params.value(2)).ok_or(params.wrong(2))?;
    Ok(ServerLine::Reconnect {
        host: params.optional_text(0)?.filter(|host| !host.is_empty()),
        port: port.map(u16::try_from).transpose().map_err(|_| params.wrong(1))?,
        wait_secs: wait.map(u32::try_from).transpose().map_err(|_| params.wrong(2))?,
    })
}

/// Reads a number, also from a string. Null gives `Some(None)`; an unreadable value gives `None`.
fn whole_number(value: Value<'_>) -> Option<Option<u64>> {
    match value {
        Value::Null => Some(None),
        Value::Text(text) => text.plain()?.parse().ok().map(Some),
        number => number.as_u64().map(Some),
    }
}

impl<'a> Response<'a> {
    fn of(id: Id<'a>, envelope: &Envelope<'a>) -> Self {
        Self {
            id,
            result: envelope.result().unwrap_or(Value::Null),
            error: envelope.error().unwrap_or(Value::Null),
            reject_reason: envelope.reject_reason().and_then(Value::as_text),
        }
    }

    /// Returns the verdict, in every form that pools use.
    ///
    /// An acceptance is a result of `true`, or one with contents, and no error. Everything else is
    /// a refusal, even `null`, a number or a string: a share must not count as accepted by a guess.
    pub fn outcome(&self) -> Outcome<'a> {
        let mut refusal = match (self.error, self.result) {
            (Value::Null | Value::Bool(false), result) => match result {
                Value::Bool(true) | Value::Array(_) | Value::Object(_) => {
                    return Outcome::Accepted;
                }
                _ => Refusal::because(Text::EMPTY),
            },
            (Value::Array(error), _) => Refusal::from_array(error),
            (Value::Object(error), _) => Refusal::from_object(error),
            (Value::Text(text), _) => Refusal::because(text),
            (Value::Number(_), _) => Refusal { code: self.error.as_i64(), reason: Text::EMPTY },
            (Value::Bool(true), _) => Refusal::because(Text::EMPTY),
        };
        if refusal.reason.is_empty() {
            // ckpool gives the reason in a member of its own, other pools in place of the result.
            let result = self.result.as_text();
            refusal.reason = self.reject_reason.or(result).unwrap_or(Text::EMPTY);
        }
        Outcome::Refused(refusal)
    }

    /// Reads the result of a subscribe. The last two elements are extranonce1 and the size of
    /// extranonce2; the elements before them are subscriptions, nested or not.
    ///
    /// # Errors
    ///
    /// [`ServerError::Subscription`] if there are fewer than three elements, extranonce1 is not
    /// hex, or the size is not a whole number.
    pub fn subscribe(&self) -> Result<Subscription<'a>, ServerError> {
        let Value::Array(result) = self.result else { return Err(ServerError::Subscription) };
        // The last two elements seen; earlier ones are the subscriptions.
        let mut last = (Value::Null, Value::Null);
        let mut count = 0_usize;
        let mut session_id = None;
        for element in result.elements() {
            if let Value::Array(entry) = last.0 {
                session_id = session_id.or_else(|| notify_session(entry));
            }
            last = (last.1, element);
            count = count.saturating_add(1);
        }
        let (Value::Text(extranonce1), size) = last else { return Err(ServerError::Subscription) };
        let is_whole = count >= 3 && hex::check(extranonce1.as_bytes()).is_ok();
        let extranonce2_size = size.as_u64().filter(|_| is_whole);
        let extranonce2_size = extranonce2_size.ok_or(ServerError::Subscription)?;
        Ok(Subscription { extranonce1, extranonce2_size, session_id })
    }

    /// Reads the result of a configure. An extension that is refused with a text instead of
    /// `false`, as BIP-0310 allows, is refused; a result without `version-rolling` grants none.
    ///
    /// # Errors
    ///
    /// [`ServerError::Configuration`] if the result is not an object, or a granted mask is not
    /// eight hex digits.
    pub fn configure(&self) -> Result<ConfigureResult, ServerError> {
        let Value::Object(result) = self.result else { return Err(ServerError::Configuration) };
        let version_rolling = matches!(result.get("version-rolling"), Some(Value::Bool(true)));
        let mask = match result.get("version-rolling.mask") {
            Some(Value::Text(text)) if version_rolling => {
                Some(hex::u32_be(text.as_bytes()).map_err(|_| ServerError::Configuration)?)
            }
            None | Some(Value::Null) => None,
            _ if !version_rolling => None,
            _ => return Err(ServerError::Configuration),
        };
        Ok(ConfigureResult { version_rolling, mask })
    }
}

/// Finds the id of `mining.notify` in an entry, which is a subscription or a list of them.
fn notify_session(entry: Array<'_>) -> Option<Text<'_>> {
    let mut is_notify = false;
    for element in entry.elements() {
        match element {
            Value::Text(text) if is_notify => return Some(text),
            Value::Text(text) => is_notify = text.eq_decoded(Method::Notify.name()),
            Value::Array(inner) => {
                let mut pair = inner.elements().filter_map(Value::as_text);
                if pair.next().is_some_and(|name| name.eq_decoded(Method::Notify.name())) {
                    return pair.next();
                }
            }
            _ => {}
        }
    }
    None
}

impl<'a> Refusal<'a> {
    /// Reads a text; digits alone are a code.
    fn because(text: Text<'a>) -> Self {
        match code_of(Value::Text(text)) {
            Some(code) => Self { code: Some(code), reason: Text::EMPTY },
            None => Self { code: None, reason: text },
        }
    }

    /// Reads `[code, "reason", …]`, in which either may be missing.
    fn from_array(error: Array<'a>) -> Self {
        let mut elements = error.elements();
        let code = elements.clone().find_map(code_of);
        let reason = elements
            .find_map(|element| element.as_text().filter(|_| code_of(element).is_none()))
            .unwrap_or(Text::EMPTY);
        Self { code, reason }
    }

    /// Reads `{"code":…,"message":"reason",…}`.
    fn from_object(error: Object<'a>) -> Self {
        let code = error.get("code").and_then(code_of);
        let reason = error.get("message").and_then(Value::as_text).unwrap_or(Text::EMPTY);
        Self { code, reason }
    }
}

/// Reads a code: a whole number, or its digits in a string (QUIRKS 14).
fn code_of(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Text(text) => text.plain()?.trim().parse().ok(),
        number => number.as_i64(),
    }
}

impl<'a> Branches<'a> {
    /// No branches.
    pub const NONE: Branches<'static> = Branches { array: Array::EMPTY, count: 0 };

    /// Returns how many branches there are.
    pub const fn len(self) -> usize {
        self.count
    }

    /// Returns whether there are none, as in a block of the coinbase alone.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Returns the digits of each branch in order.
    pub fn iter(self) -> BranchIter<'a> {
        BranchIter(self.array.elements())
    }
}

impl<'a> IntoIterator for Branches<'a> {
    type Item = &'a [u8];
    type IntoIter = BranchIter<'a>;

    fn into_iter(self) -> BranchIter<'a> {
        self.iter()
    }
}

impl<'a> Iterator for BranchIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next().and_then(Value::as_text).map(Text::as_bytes)
    }
}

impl From<ParseError> for ServerError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLikeHttp => f.write_str(
                "looks like http: a web server or a login page answers; check host and port",
            ),
            Self::Parse(error) => error.fmt(f),
            Self::TooManyBranches { got, limit } => {
                write!(f, "mining.notify: got {got} merkle branches, allowed {limit}")
            }
            Self::Subscription => f.write_str(
                "mining.subscribe: result must be subscriptions, extranonce1, extranonce2 size",
            ),
            Self::Configuration => {
                f.write_str("mining.configure: result must be an object, its mask eight hex digits")
            }
        }
    }
}

impl core::error::Error for ServerError {}

#[cfg(test)]
mod tests;
