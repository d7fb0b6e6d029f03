//! Lines from miners, typed.
//!
//! [`parse`] reads one line; it keeps no state and answers nothing. It is strict if two readings
//! are possible. It is tolerant only for recorded firmware. It accepts nulls and extra params in
//! subscribe, invalid session ids, and submit params beyond the sixth. It accepts numbers as
//! strings in configure and suggest_difficulty, and numbers as passwords.
//!
//! It does not decode the hex of a submit, look up jobs or workers, or know the session. A name may
//! still hold escaped control characters.
//!
//! Sources: BIP-0310 (configure), the transcripts under `tests/transcripts`.
//!
//! ```
//! use loka_stratum::wire::client::{self, Request};
//!
//! let line = br#"{"id":"7","method":"mining.submit","params":["w","1a","0001","6842","00"]}"#;
//! let message = client::parse(line).map_err(|error| error.kind)?;
//! assert_eq!(message.id.as_raw(), br#""7""#);
//! let Request::Submit(submit) = message.request else { panic!("a submit") };
//! assert_eq!(submit.job_id.plain(), Some("1a"));
//! assert!(submit.version_bits.is_none());
//! # Ok::<(), loka_stratum::wire::message::ParseError>(())
//! ```

use core::fmt;

use super::guess::Guess;
use super::hex;
use super::id::Id;
use super::json::{self, Envelope, JsonError, Value};
use super::message::{Method, Params, ParseError};
use super::text::Text;

/// A line of a miner.
#[derive(Clone, Copy, Debug)]
pub struct ClientLine<'a> {
    /// The id to answer under; null if there is none.
    pub id: Id<'a>,
    /// The request.
    pub request: Request<'a>,
}

/// A miner's request, or its answer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// `mining.configure`
    Configure(Configure),
    /// `mining.subscribe`
    Subscribe(Subscribe<'a>),
    /// `mining.authorize`
    Authorize(Authorize<'a>),
    /// `mining.extranonce.subscribe`
    ExtranonceSubscribe,
    /// `mining.suggest_difficulty`; finite and above 0.
    SuggestDifficulty(f64),
    /// `mining.suggest_target`; 2 to 64 hex digits, an even count.
    SuggestTarget(&'a [u8]),
    /// `mining.submit`
    Submit(Submit<'a>),
    /// `mining.get_transactions`
    GetTransactions,
    /// `mining.ping`
    Ping,
    /// `client.get_version`, normally sent by servers.
    GetVersion,
    /// A method unknown in the miner's direction; answered with an error (QUIRKS 13).
    Unknown {
        /// Its name.
        method: Text<'a>,
    },
    /// An answer to no request of ours (F12).
    Response,
}

/// The extensions requested by `mining.configure`. Only these may be answered: WhatsMiner M30S
/// disconnects at a key that it did not request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Configure {
    /// `version-rolling`
    pub version_rolling: Option<VersionRolling>,
    /// `minimum-difficulty` and its value, if finite and at least 0; 0 sets none.
    pub minimum_difficulty: Option<f64>,
    /// `subscribe-extranonce`
    pub subscribe_extranonce: bool,
    /// `info`
    pub info: bool,
    /// Number of other extensions requested.
    pub unknown: u8,
}

/// The `version-rolling` extension of BIP-0310 as a miner asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRolling {
    /// The bits that the miner can roll; all if it states none.
    pub mask: u32,
    /// Number of bits that it needs, 0 to 32; 0 if it states none.
    pub min_bit_count: u8,
}

/// `mining.subscribe`
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// The name and version of the miner.
    pub user_agent: Option<Text<'a>>,
    /// The session to resume; any string that a server gave.
    pub session_id: Option<Text<'a>>,
}

/// `mining.authorize`
#[derive(Clone, Copy, Debug)]
pub struct Authorize<'a> {
    /// The name of the worker.
    pub worker: Text<'a>,
    /// The password, which may hold parameters such as `d=1024`.
    pub password: Option<Text<'a>>,
}

/// `mining.submit`; the hex is not decoded.
#[derive(Clone, Copy, Debug)]
pub struct Submit<'a> {
    /// The name of the worker.
    pub worker: Text<'a>,
    /// The job that the share is for.
    pub job_id: Text<'a>,
    /// The rolled extranonce.
    pub extranonce2: Text<'a>,
    /// The time of the header.
    pub ntime: Text<'a>,
    /// The nonce of the header.
    pub nonce: Text<'a>,
    /// The rolled version bits, if the miner sends a sixth param.
    pub version_bits: Option<Text<'a>>,
}

/// Why a line of a miner is refused, and the id to answer under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientError<'a> {
    /// The id; null if it could not be read.
    pub id: Id<'a>,
    /// The error.
    pub kind: ParseError,
}

/// Reads a line of a miner, without its line end.
///
/// # Errors
///
/// [`ClientError`] if the line is not a JSON object, breaks a bound, or is a known method with
/// invalid params.
pub fn parse(line: &[u8]) -> Result<ClientLine<'_>, ClientError<'_>> {
    let mut envelope = Envelope::new(line);
    let scanned = envelope.scan();
    let echoed = envelope.id().map_or(Some(Id::NULL), Id::from_scanned);
    let id = echoed.unwrap_or(Id::NULL);
    if let Err(error) = scanned {
        return Err(ClientError { id, kind: not_json(line, error) });
    }
    if echoed.is_none() {
        return Err(ClientError { id, kind: ParseError::ID });
    }
    message(id, &envelope)
}

/// Names the protocol of a line that is not JSON, if it is recognised.
#[cold]
pub(super) fn not_json(line: &[u8], error: JsonError) -> ParseError {
    Guess::of(line).map_or(ParseError::Json(error), ParseError::NotStratum)
}

/// Reads the request.
#[inline(always)]
fn message<'a>(id: Id<'a>, envelope: &Envelope<'a>) -> Result<ClientLine<'a>, ClientError<'a>> {
    let wrong = |kind| ClientError { id, kind };
    let Some(name) = envelope.method_text() else {
        return if envelope.has_no_method() && envelope.is_answer() {
            Ok(ClientLine { id, request: Request::Response })
        } else {
            Err(wrong(ParseError::Method))
        };
    };
    let method = Method::from_text(name);
    // Frequent requests are built where they are returned; the others are moved there.
    let request = match method {
        Some(method @ Method::Submit) => {
            let submit = Params::of(method, envelope).and_then(submit).map_err(wrong)?;
            return Ok(ClientLine { id, request: Request::Submit(submit) });
        }
        Some(method @ Method::Subscribe) => {
            let subscribe = Params::of(method, envelope).and_then(subscribe).map_err(wrong)?;
            return Ok(ClientLine { id, request: Request::Subscribe(subscribe) });
        }
        Some(method) => rare_request(method, name, envelope),
        None => named_difficulty(name).unwrap_or(Ok(Request::Unknown { method: name })),
    };
    Ok(ClientLine { id, request: request.map_err(wrong)? })
}

#[inline(never)]
fn rare_request<'a>(
    method: Method,
    name: Text<'a>,
    envelope: &Envelope<'a>,
) -> Result<Request<'a>, ParseError> {
    let params = || Params::of(method, envelope);
    match method {
        Method::Authorize => authorize(params()?),
        Method::Configure => configure(params()?),
        Method::SuggestDifficulty => suggest_difficulty(params()?),
        Method::SuggestTarget => suggest_target(params()?),
        Method::ExtranonceSubscribe => params().map(|_| Request::ExtranonceSubscribe),
        Method::GetTransactions => params().map(|_| Request::GetTransactions),
        Method::Ping => params().map(|_| Request::Ping),
        Method::GetVersion => params().map(|_| Request::GetVersion),
        // Methods that only servers send are unknown here.
        _ => Ok(Request::Unknown { method: name }),
    }
}

#[inline(always)]
fn submit<'a>(params: Params<'_, 'a>) -> Result<Submit<'a>, ParseError> {
    let params = params.at_least(5)?;
    Ok(Submit {
        worker: params.text(0)?,
        job_id: params.text(1)?,
        extranonce2: params.text(2)?,
        ntime: params.text(3)?,
        nonce: params.text(4)?,
        version_bits: params.optional_text(5)?,
    })
}

#[inline(always)]
fn subscribe<'a>(params: Params<'_, 'a>) -> Result<Subscribe<'a>, ParseError> {
    Ok(Subscribe {
        user_agent: params.optional_text(0)?,
        // A value that is not a string cannot be a session of ours.
        session_id: params.text(1).ok(),
    })
}

fn authorize<'a>(params: Params<'_, 'a>) -> Result<Request<'a>, ParseError> {
    let params = params.at_least(1)?;
    let password = match params.value(1) {
        Value::Number(digits) => Some(Text::from_scanned(digits, false)),
        _ => params.optional_text(1)?,
    };
    Ok(Request::Authorize(Authorize { worker: params.text(0)?, password }))
}

/// Reads the extensions and their options, BIP-0310.
fn configure<'a>(params: Params<'_, 'a>) -> Result<Request<'a>, ParseError> {
    let params = params.at_least(1)?;
    let Value::Array(extensions) = params.value(0) else { return Err(params.wrong(0)) };
    let options = match params.value(1) {
        Value::Object(options) => Some(options),
        Value::Null => None,
        _ => return Err(params.wrong(1)),
    };
    let option = |key| options.and_then(|options| options.get(key)).unwrap_or(Value::Null);
    let mut asked = Configure::default();
    for extension in extensions.elements() {
        let name = extension.as_text().ok_or(params.wrong(0))?;
        if name.eq_decoded("version-rolling") {
            let rolling = version_rolling(
                option("version-rolling.mask"),
                option("version-rolling.min-bit-count"),
            );
            asked.version_rolling = Some(rolling.ok_or(params.wrong(1))?);
        } else if name.eq_decoded("minimum-difficulty") {
            let value = minimum_difficulty(option("minimum-difficulty.value"));
            asked.minimum_difficulty = Some(value.ok_or(params.wrong(1))?);
        } else if name.eq_decoded("subscribe-extranonce") {
            asked.subscribe_extranonce = true;
        } else if name.eq_decoded("info") {
            asked.info = true;
        } else {
            asked.unknown = asked.unknown.saturating_add(1);
        }
    }
    Ok(Request::Configure(asked))
}

/// Reads the options of `version-rolling`. Recorded counts of bits are numbers, strings, negative
/// or missing.
fn version_rolling(mask: Value<'_>, min_bit_count: Value<'_>) -> Option<VersionRolling> {
    let mask = match mask {
        Value::Null => u32::MAX,
        Value::Text(text) => hex::u32_be(text.as_bytes()).ok()?,
        _ => return None,
    };
    let count = match min_bit_count {
        Value::Null => 0,
        Value::Text(text) => text.plain()?.parse().ok()?,
        number => number.as_i64()?,
    };
    let min_bit_count = u8::try_from(count.clamp(0, i64::from(u32::BITS))).ok()?;
    Some(VersionRolling { mask, min_bit_count })
}

/// Reads the value of `minimum-difficulty`; a missing one sets no minimum.
fn minimum_difficulty(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        number => number.as_f64().filter(|difficulty| *difficulty >= 0.0),
    }
}

fn suggest_difficulty<'a>(params: Params<'_, 'a>) -> Result<Request<'a>, ParseError> {
    let params = params.at_least(1)?;
    let difficulty = match params.value(0) {
        // cpuminer-opt quotes it (QUIRKS 5).
        Value::Text(text) => text.plain_bytes().and_then(decimal),
        number => number.as_f64(),
    };
    let difficulty = difficulty.filter(|difficulty| *difficulty > 0.0);
    difficulty.map(Request::SuggestDifficulty).ok_or(params.wrong(0))
}

/// Reads `mining.suggest_difficulty(512)`, with the number inside the name, as ckpool does.
#[cold]
fn named_difficulty(name: Text<'_>) -> Option<Result<Request<'static>, ParseError>> {
    let rest = name.plain_bytes()?.strip_prefix(Method::SuggestDifficulty.name().as_bytes())?;
    let number = rest.strip_prefix(b"(")?.strip_suffix(b")")?;
    let difficulty = decimal(number).filter(|difficulty| *difficulty > 0.0);
    Some(difficulty.map(Request::SuggestDifficulty).ok_or(ParseError::Method))
}

/// Reads a JSON number from a string.
fn decimal(text: &[u8]) -> Option<f64> {
    let is_number = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    let number = json::whole_value(text).filter(|_| is_number)?;
    Value::Number(number).as_f64()
}

fn suggest_target<'a>(params: Params<'_, 'a>) -> Result<Request<'a>, ParseError> {
    let params = params.at_least(1)?;
    let target = params.hex(0, |digits| {
        let bytes = hex::check(digits)?;
        let limit = hex::HexError::TooLong { limit: TARGET_BYTES };
        if bytes > TARGET_BYTES { Err(limit) } else { Ok(digits) }
    })?;
    if target.is_empty() { Err(params.wrong(0)) } else { Ok(Request::SuggestTarget(target)) }
}

/// The size of a target.
const TARGET_BYTES: usize = 32;

impl fmt::Display for ClientError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl core::error::Error for ClientError<'_> {}

#[cfg(test)]
mod tests;
