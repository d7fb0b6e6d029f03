//! The span scanner: one pass over a line that finds its values.
//!
//! It checks the whole line against RFC 8259 and returns borrowed spans. It builds no tree, keeps
//! no number as a float and decodes no string. It is iterative: nesting is a counter and a bit per
//! level, so depth costs neither stack nor heap (F07).
//!
//! Beyond RFC 8259 it refuses: anything but an object at the top, nesting deeper than
//! [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX), numbers longer than
//! [`NUMBER_BYTES_MAX`](crate::limits::NUMBER_BYTES_MAX), lone surrogates, and a second `id`,
//! `method`, `params`, `result`, `error` or `reject-reason`, however escaped. Other keys are
//! checked as JSON and ignored.
//!
//! Every line that it accepts, serde_json accepts too; the tests compare both. serde-json-core is
//! not used, because it has no depth limit and accepts junk in ignored values.
//!
//! ```
//! use loka_stratum::wire::json::{self, Value};
//!
//! let envelope = json::scan(br#"{"id": 7, "method": "mining.ping", "params": [true, "x"]}"#)?;
//! assert_eq!(envelope.id(), Some(&b"7"[..]));
//! let Some(Value::Array(params)) = envelope.params() else { panic!("an array") };
//! assert!(matches!(params.elements().next(), Some(Value::Bool(true))));
//! # Ok::<(), json::JsonError>(())
//! ```

use core::fmt;
use core::str::FromStr;

use super::scanner::{Broken, Kind, Scanner, Span};
use super::text::Text;
use crate::limits::{PARAMS_KEPT_MAX, UPSTREAM_LINE_BYTES_MAX};

/// The top level of a Stratum line; every value is a span of the line.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    line: &'a [u8],
    /// The values' spans, by [`Key`].
    values: [Span; Key::COUNT],
    /// The first elements of `params` if it is an array, since the scan passes them anyway.
    first_params: [Span; PARAMS_KEPT_MAX],
    /// Number of elements of `params`.
    params_count: usize,
}

/// A JSON value as it lies in a line.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The text of a number.
    Number(&'a [u8]),
    /// The inside of a string.
    Text(Text<'a>),
    /// An array.
    Array(Array<'a>),
    /// An object.
    Object(Object<'a>),
}

/// The text of an array, brackets included.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a>(&'a [u8]);

/// The text of an object, braces included.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(&'a [u8]);

/// An iterator over the elements of an [`Array`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(Scanner<'a>);

/// An iterator over the keys and values of an [`Object`].
#[derive(Clone, Debug)]
pub struct Members<'a>(Scanner<'a>);

/// Why a line cannot be read; `at` is a byte position in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JsonError {
    /// The line is longer than the limit.
    TooLong {
        /// The limit in bytes.
        limit: u32,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        at: u32,
    },
    /// The line is not an object.
    NotAnObject,
    /// This byte is not allowed here.
    Unexpected {
        /// Its position.
        at: u32,
    },
    /// The line ends inside a value.
    Cut {
        /// The length of the line.
        at: u32,
    },
    /// A control character stands unescaped in a string.
    Control {
        /// Its position.
        at: u32,
    },
    /// An escape is unknown to JSON, or is a lone surrogate.
    Escape {
        /// The position of its backslash.
        at: u32,
    },
    /// A number is longer than the limit.
    NumberTooLong {
        /// Its position.
        at: u32,
        /// The limit in bytes.
        limit: u8,
    },
    /// Arrays and objects are nested deeper than the limit.
    TooDeep {
        /// The position of the first bracket beyond the limit.
        at: u32,
        /// The limit in levels.
        limit: u8,
    },
    /// A key of the envelope occurs twice.
    DuplicateKey {
        /// The position of the second key, or of the space before it.
        at: u32,
    },
    /// Something follows the object.
    Trailing {
        /// Its position.
        at: u32,
    },
}

/// Scans a line.
///
/// # Errors
///
/// [`JsonError`] with the position of the first byte that does not fit.
pub fn scan(line: &[u8]) -> Result<Envelope<'_>, JsonError> {
    let mut envelope = Envelope::new(line);
    envelope.scan()?;
    Ok(envelope)
}

/// Returns the text of `raw` if it is one JSON value without anything else, even space.
pub(super) fn whole_value(raw: &[u8]) -> Option<&[u8]> {
    if raw.first().is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let mut scanner = Scanner::new(raw, 0);
    scanner.value(scanner.peek(), 0).ok()?;
    scanner.is_at_end().then_some(raw)
}

impl<'a> Envelope<'a> {
    /// Starts with a line in which nothing was found yet.
    #[inline(always)]
    pub(super) const fn new(line: &'a [u8]) -> Self {
        Self {
            line,
            values: [Span::MISSING; Key::COUNT],
            first_params: [Span::MISSING; PARAMS_KEPT_MAX],
            params_count: 0,
        }
    }

    /// Returns the text of `id`, of whatever type.
    #[inline]
    pub fn id(&self) -> Option<&'a [u8]> {
        let span = self.span(Key::Id);
        if span.kind == Kind::Missing { None } else { Some(span.raw(self.line)) }
    }

    /// Returns `method`, of whatever type.
    #[inline]
    pub fn method(&self) -> Option<Value<'a>> {
        self.value(Key::Method)
    }

    /// Returns `params`, of whatever type.
    #[inline]
    pub fn params(&self) -> Option<Value<'a>> {
        self.value(Key::Params)
    }

    /// Returns `result`, of whatever type.
    #[inline]
    pub fn result(&self) -> Option<Value<'a>> {
        self.value(Key::Result)
    }

    /// Returns `error`, of whatever type.
    #[inline]
    pub fn error(&self) -> Option<Value<'a>> {
        self.value(Key::Error)
    }

    /// Returns `reject-reason`, of whatever type, as ckpool answers beside `result`.
    #[inline]
    pub fn reject_reason(&self) -> Option<Value<'a>> {
        self.value(Key::RejectReason)
    }

    /// Returns the number of elements of `params`, 0 if it is not an array.
    #[inline]
    pub(super) const fn params_count(&self) -> usize {
        self.params_count
    }

    /// Returns the kept element of `params` at a position.
    #[inline]
    pub(super) fn param(&self, at: usize) -> Option<Value<'a>> {
        self.first_params.get(at)?.value(self.line)
    }

    /// Returns the kept element of `params` at a position, if it is a string.
    #[inline(always)]
    pub(super) fn param_text(&self, at: usize) -> Option<Text<'a>> {
        self.first_params.get(at)?.text(self.line)
    }

    /// Says whether the element of `params` at a position is null, missing, or was not kept.
    #[inline(always)]
    pub(super) fn param_is_null(&self, at: usize) -> bool {
        let kind = self.first_params.get(at).map_or(Kind::Missing, |span| span.kind);
        matches!(kind, Kind::Missing | Kind::Null)
    }

    /// Returns `method` if it is a string.
    #[inline(always)]
    pub(super) fn method_text(&self) -> Option<Text<'a>> {
        self.span(Key::Method).text(self.line)
    }

    /// Says whether `method` is missing or null.
    pub(super) fn has_no_method(&self) -> bool {
        matches!(self.span(Key::Method).kind, Kind::Missing | Kind::Null)
    }

    /// Says whether the line is an answer.
    pub(super) fn is_answer(&self) -> bool {
        [Key::Result, Key::Error, Key::RejectReason]
            .into_iter()
            .any(|key| self.span(key).kind != Kind::Missing)
    }

    #[inline]
    fn value(&self, key: Key) -> Option<Value<'a>> {
        self.span(key).value(self.line)
    }

    #[inline(always)]
    fn span(&self, key: Key) -> Span {
        self.values.get(key as usize).copied().unwrap_or(Span::MISSING)
    }

    /// Scans the line. After an error the values read so far stay, so that an id read before can
    /// still be answered.
    pub(super) fn scan(&mut self) -> Result<(), JsonError> {
        if self.line.len() > UPSTREAM_LINE_BYTES_MAX {
            return Err(JsonError::TooLong { limit: UPSTREAM_LINE_BYTES_MAX as u32 });
        }
        let mut scanner = Scanner::new(self.line, 0);
        self.scan_with(&mut scanner).map_err(|Broken| scanner.error())
    }

    #[inline(always)]
    fn scan_with(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Broken> {
        if scanner.skip_space() != b'{' {
            return scanner.broken_by(JsonError::NotAnObject);
        }
        scanner.step();
        if scanner.skip_space() == b'}' {
            scanner.step();
        } else {
            loop {
                self.member(scanner)?;
                match scanner.skip_space() {
                    b',' => scanner.step(),
                    b'}' => break scanner.step(),
                    _ => return scanner.broken(),
                }
            }
        }
        scanner.skip_space();
        if !scanner.is_at_end() {
            return scanner.broken_by(JsonError::Trailing { at: scanner.position() });
        }
        Ok(())
    }

    /// Scans a key and its value, and stores the value's span.
    #[inline(always)]
    fn member(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Broken> {
        let key_at = scanner.position();
        let key = Key::scan(scanner)?;
        let first = scanner.skip_space();
        let span = if first == b'[' && matches!(key, Key::Params) {
            self.scan_params(scanner)?
        } else {
            scanner.value(first, 1)?
        };
        let Some(place) = self.values.get_mut(key as usize) else { return Ok(()) };
        if place.kind != Kind::Missing && !matches!(key, Key::Other) {
            // With two ids, neither may be answered.
            *place = Span::MISSING;
            return scanner.broken_by(JsonError::DuplicateKey { at: key_at });
        }
        *place = span;
        Ok(())
    }

    /// Scans the array of params and keeps its first elements.
    #[inline(always)]
    fn scan_params(&mut self, scanner: &mut Scanner<'a>) -> Result<Span, Broken> {
        let start = scanner.position();
        scanner.step();
        let mut count = 0_usize;
        let mut first = scanner.skip_space();
        if first == b']' {
            scanner.step();
        } else {
            loop {
                let element = scanner.value(first, 2)?;
                if let Some(place) = self.first_params.get_mut(count) {
                    *place = element;
                }
                count = count.wrapping_add(1);
                match scanner.skip_space() {
                    b',' => scanner.step(),
                    b']' => break scanner.step(),
                    _ => return scanner.broken(),
                }
                first = scanner.skip_space();
            }
        }
        self.params_count = count;
        Ok(Span { kind: Kind::Array, start, end: scanner.position() })
    }
}

impl Span {
    /// Returns the text of the value, quotes and brackets included.
    #[inline(always)]
    fn raw(self, line: &[u8]) -> &[u8] {
        line.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Returns the inside of a string.
    #[inline(always)]
    fn inside(self, line: &[u8]) -> &[u8] {
        let quote = 1;
        let start = (self.start as usize).wrapping_add(quote);
        let end = (self.end as usize).wrapping_sub(quote);
        line.get(start..end).unwrap_or_default()
    }

    /// Returns the string where it is one.
    #[inline(always)]
    fn text(self, line: &[u8]) -> Option<Text<'_>> {
        let is_text = matches!(self.kind, Kind::Plain | Kind::Escaped);
        is_text.then(|| Text::from_scanned(self.inside(line), matches!(self.kind, Kind::Escaped)))
    }

    #[inline(always)]
    fn value(self, line: &[u8]) -> Option<Value<'_>> {
        Some(match self.kind {
            Kind::Plain | Kind::Escaped => Value::Text(self.text(line)?),
            Kind::Missing => return None,
            Kind::Null => Value::Null,
            Kind::False => Value::Bool(false),
            Kind::True => Value::Bool(true),
            Kind::Number => Value::Number(self.raw(line)),
            Kind::Array => Value::Array(Array(self.raw(line))),
            Kind::Object => Value::Object(Object(self.raw(line))),
        })
    }
}

/// The keys of the envelope with a meaning.
#[derive(Clone, Copy, Debug)]
enum Key {
    Id,
    Method,
    Params,
    Result,
    Error,
    RejectReason,
    /// Any other key; its value is checked and ignored.
    Other,
}

impl Key {
    const COUNT: usize = Self::OURS.len() + 1;
    const OURS: [Self; 6] =
        [Self::Id, Self::Method, Self::Params, Self::Result, Self::Error, Self::RejectReason];

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Id => Some("id"),
            Self::Method => Some("method"),
            Self::Params => Some("params"),
            Self::Result => Some("result"),
            Self::Error => Some("error"),
            Self::RejectReason => Some("reject-reason"),
            Self::Other => None,
        }
    }

    /// Scans a key and its colon, and the space before either.
    #[inline(always)]
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Broken> {
        let opening = scanner.rest().first_chunk::<8>();
        if let Some((key, len)) = opening.and_then(|bytes| Self::from_opening(*bytes)) {
            scanner.skip(len);
            scanner.colon()?;
            return Ok(key);
        }
        scanner.aside(Self::scan_rare)
    }

    /// Scans a key after a space, or a key that is not recognised at once.
    #[inline(never)]
    fn scan_rare(scanner: &mut Scanner<'_>) -> Result<Self, JsonError> {
        scanner.skip_space();
        let opening = scanner.rest().first_chunk::<8>();
        if let Some((key, len)) = opening.and_then(|bytes| Self::from_opening(*bytes)) {
            scanner.skip(len);
            scanner.colon().map_err(|Broken| scanner.error())?;
            return Ok(key);
        }
        let span = scanner.key().map_err(|Broken| scanner.error())?;
        let name = span.value(scanner.line()).and_then(Value::as_text);
        Ok(name.map_or(Self::Other, Self::from_text))
    }

    /// Recognises the most frequent keys by the eight bytes from their opening quote; returns the
    /// key and its length with both quotes.
    #[inline(always)]
    fn from_opening(bytes: [u8; 8]) -> Option<(Self, usize)> {
        const METHOD: u64 = u64::from_le_bytes(*b"\"method\"");
        const PARAMS: u64 = u64::from_le_bytes(*b"\"params\"");
        const RESULT: u64 = u64::from_le_bytes(*b"\"result\"");
        const ERROR: u64 = u64::from_le_bytes(*b"\"error\"\0");
        const ID: u64 = u64::from_le_bytes(*b"\"id\"\0\0\0\0");
        let word = u64::from_le_bytes(bytes);
        if word & 0xffff_ffff == ID {
            Some((Self::Id, 4))
        } else if word == METHOD {
            Some((Self::Method, 8))
        } else if word == PARAMS {
            Some((Self::Params, 8))
        } else if word == RESULT {
            Some((Self::Result, 8))
        } else if word & 0x00ff_ffff_ffff_ffff == ERROR {
            Some((Self::Error, 7))
        } else {
            None
        }
    }

    /// Returns the key with `name`, with or without escapes; unknown names give `Other`.
    fn from_text(name: Text<'_>) -> Self {
        Self::OURS
            .into_iter()
            .find(|key| key.name().is_some_and(|known| name.eq_decoded(known)))
            .unwrap_or(Self::Other)
    }
}

impl<'a> Value<'a> {
    /// Returns the inside of a string.
    #[inline]
    pub const fn as_text(self) -> Option<Text<'a>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a finite number.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Number(digits) => number::<f64>(digits).filter(|number| number.is_finite()),
            _ => None,
        }
    }

    /// Reads a number without sign, point or exponent.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Number(digits) => number(digits),
            _ => None,
        }
    }

    /// Reads a number without point or exponent.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Number(digits) => number(digits),
            _ => None,
        }
    }

    /// Returns whether this is `null`.
    #[inline]
    pub const fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }
}

impl<'a> Array<'a> {
    /// An array without elements.
    pub(super) const EMPTY: Array<'static> = Array(b"[]");

    /// Returns the text of the array as sent, brackets included.
    pub const fn as_raw(self) -> &'a [u8] {
        self.0
    }

    /// Returns the elements in order.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        // Behind the bracket.
        Elements(Scanner::new(self.0, 1))
    }
}

impl<'a> Object<'a> {
    /// Returns the text of the object as sent, braces included.
    pub const fn as_raw(self) -> &'a [u8] {
        self.0
    }

    /// Returns the members in order; a key may come twice.
    pub fn members(self) -> Members<'a> {
        // Behind the brace.
        Members(Scanner::new(self.0, 1))
    }

    /// Returns the value of the first member called `key`.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.members().find(|(name, _)| name.eq_decoded(key)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let first = self.0.skip_separators();
        // The text was scanned before; only the closing bracket fails here.
        self.0.value(first, 0).ok()?.value(self.0.line())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.skip_separators();
        let line = self.0.line();
        let key = self.0.key().ok()?.value(line)?.as_text()?;
        let first = self.0.skip_space();
        let value = self.0.value(first, 0).ok()?.value(line)?;
        Some((key, value))
    }
}

/// Reads the digits of a number.
fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "line longer than {limit} bytes"),
            Self::NotUtf8 { at } => write!(f, "not utf-8 at byte {at}"),
            Self::NotAnObject => f.write_str("not a json object"),
            Self::Unexpected { at } => write!(f, "not json: unexpected byte at {at}"),
            Self::Cut { at } => write!(f, "not json: cut off at byte {at}"),
            Self::Control { at } => {
                write!(f, "not json: control character at byte {at}; escape it")
            }
            Self::Escape { at } => write!(f, "not json: bad escape at byte {at}"),
            Self::NumberTooLong { at, limit } => {
                write!(f, "number at byte {at} longer than {limit} bytes")
            }
            Self::TooDeep { at, limit } => {
                write!(f, "nesting at byte {at} deeper than {limit} levels")
            }
            Self::DuplicateKey { at } => write!(f, "duplicate key at byte {at}; send it once"),
            Self::Trailing { at } => {
                write!(f, "extra bytes after the json object at byte {at}; end it with a line feed")
            }
        }
    }
}

impl core::error::Error for JsonError {}

#[cfg(test)]
mod tests;
