//! The span scanner: one pass over a line that finds where its values lie.
//!
//! It checks the line against RFC 8259 to the last byte and hands out borrowed spans; it builds
//! no tree, keeps no number as a float and decodes no string. It is iterative: nesting is a
//! counter and a bit per level, so depth costs neither stack nor heap (F07).
//!
//! What it refuses beyond RFC 8259: anything but an object at the top, nesting deeper than
//! [`JSON_DEPTH_MAX`], numbers longer than [`NUMBER_BYTES_MAX`], lone surrogates, and a second
//! `id`, `method`, `params`, `result`, `error` or `reject-reason`, however escaped. Other
//! keys are checked as JSON and ignored.
//!
//! What it accepts, serde_json accepts as well; the tests hold the two against each other.
//! serde-json-core does not stand here because it has no depth limit and takes junk in values
//! that it ignores.
//!
//! ```
//! use loka_stratum::wire::json::{self, Value};
//!
//! let envelope = json::scan(br#"{"id": 7, "method": "mining.ping", "params": [true, "x"]}"#)?;
//! assert_eq!(envelope.id, Some("7"));
//! let Some(Value::Array(params)) = envelope.params else { panic!("an array") };
//! assert!(matches!(params.elements().next(), Some(Value::Bool(true))));
//! # Ok::<(), json::JsonError>(())
//! ```

use core::fmt;

use super::swar;
use super::text::Text;
use crate::limits::{JSON_DEPTH_MAX, NUMBER_BYTES_MAX, PARAMS_KEPT_MAX};

/// What a line of Stratum holds at its top; every value is a span of the line.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The text of `id`, of any type.
    pub id: Option<&'a str>,
    /// `method`, of any type.
    pub method: Option<Value<'a>>,
    /// `params`, of any type.
    pub params: Option<Value<'a>>,
    /// `result`, of any type.
    pub result: Option<Value<'a>>,
    /// `error`, of any type.
    pub error: Option<Value<'a>>,
    /// `reject-reason`, of any type, as ckpool answers beside `result`.
    pub reject_reason: Option<Value<'a>>,
    /// The first elements of `params` where that is an array, since the scan passes them
    /// anyway.
    pub(super) first_params: [Value<'a>; PARAMS_KEPT_MAX],
    /// How many elements `params` has.
    pub(super) params_count: usize,
}

/// A JSON value as it lies in a line.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// The text of a number.
    Number(&'a str),
    /// The inside of a string.
    Text(Text<'a>),
    /// An array.
    Array(Array<'a>),
    /// An object.
    Object(Object<'a>),
}

/// The text of an array, brackets included.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a>(&'a str);

/// The text of an object, braces included.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(&'a str);

/// An iterator over the elements of an [`Array`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(Scanner<'a>);

/// An iterator over the keys and values of an [`Object`].
#[derive(Clone, Debug)]
pub struct Members<'a>(Scanner<'a>);

/// Why a line is not read; `at` is a byte position in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JsonError {
    /// The line is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        at: u32,
    },
    /// The line is something other than an object.
    NotAnObject,
    /// The byte here cannot stand where it stands.
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
    /// An escape is not one of JSON's, or is a lone surrogate.
    Escape {
        /// The position of its backslash.
        at: u32,
    },
    /// A number is longer than is read.
    NumberTooLong {
        /// Where it begins.
        at: u32,
        /// The limit in bytes.
        limit: u8,
    },
    /// Arrays and objects are nested deeper than is read.
    TooDeep {
        /// The bracket that is one too many.
        at: u32,
        /// The limit in levels.
        limit: u8,
    },
    /// A key of the envelope is there twice.
    DuplicateKey {
        /// Where the second begins.
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
    let mut envelope = Envelope::EMPTY;
    scan_into(line, &mut envelope)?;
    Ok(envelope)
}

/// Scans a line into `envelope`, which on an error holds what was read before it, so that an
/// id which came first can still be answered.
pub(super) fn scan_into<'a>(line: &'a [u8], envelope: &mut Envelope<'a>) -> Result<(), JsonError> {
    match core::str::from_utf8(line) {
        Ok(text) => Scanner { text, at: 0 }.envelope(envelope),
        Err(broken) => {
            let (valid, _) = line.split_at_checked(broken.valid_up_to()).unwrap_or_default();
            let text = core::str::from_utf8(valid).unwrap_or_default();
            let scanned = Scanner { text, at: 0 }.envelope(envelope);
            let not_utf8 = JsonError::NotUtf8 { at: position(valid.len()) };
            // An error at the very end of the valid part only says that it was cut there.
            scanned.and(Err(not_utf8)).map_err(|error| match error {
                JsonError::Cut { .. } => not_utf8,
                error => error,
            })
        }
    }
}

/// Returns the text of `raw` if it is one JSON value and nothing else, no space either.
pub(super) fn whole_value(raw: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(raw).ok()?;
    if text.starts_with(|first: char| first.is_ascii_whitespace()) {
        return None;
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.value(0).ok()?;
    (scanner.at == text.len()).then_some(text)
}

impl<'a> Envelope<'a> {
    /// A line in which nothing was found.
    pub(super) const EMPTY: Self = Self {
        id: None,
        method: None,
        params: None,
        result: None,
        error: None,
        reject_reason: None,
        first_params: [Value::Null; PARAMS_KEPT_MAX],
        params_count: 0,
    };

    /// Returns whether the line answers something.
    #[inline]
    pub(super) const fn is_answer(&self) -> bool {
        self.result.is_some() || self.error.is_some() || self.reject_reason.is_some()
    }

    /// Returns the place of the value under `key`, or `None` for a key that is ignored.
    #[inline]
    fn key(key: Text<'_>) -> Option<Key> {
        match key.plain() {
            Some(plain) => Key::from_name(plain),
            None => Key::ALL.into_iter().find(|known| key.eq_decoded(known.name())),
        }
    }
}

/// The keys of the envelope that have a meaning.
#[derive(Clone, Copy)]
enum Key {
    Id,
    Method,
    Params,
    Result,
    Error,
    RejectReason,
}

impl Key {
    const ALL: [Self; 6] =
        [Self::Id, Self::Method, Self::Params, Self::Result, Self::Error, Self::RejectReason];

    #[inline]
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "id" => Some(Self::Id),
            "method" => Some(Self::Method),
            "params" => Some(Self::Params),
            "result" => Some(Self::Result),
            "error" => Some(Self::Error),
            "reject-reason" => Some(Self::RejectReason),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Method => "method",
            Self::Params => "params",
            Self::Result => "result",
            Self::Error => "error",
            Self::RejectReason => "reject-reason",
        }
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
            Self::Number(number) => number.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// Reads a number without sign, point or exponent.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Reads a number without point or exponent.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Number(number) => number.parse().ok(),
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
    pub(super) const EMPTY: Array<'static> = Array("[]");

    /// Returns the text of the array as sent, brackets included.
    pub const fn as_raw(self) -> &'a str {
        self.0
    }

    /// Returns the elements in order.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        // Behind the bracket.
        Elements(Scanner { text: self.0, at: 1 })
    }
}

impl<'a> Object<'a> {
    /// Returns the text of the object as sent, braces included.
    pub const fn as_raw(self) -> &'a str {
        self.0
    }

    /// Returns the members in order; a key may come twice.
    pub fn members(self) -> Members<'a> {
        // Behind the brace.
        Members(Scanner { text: self.0, at: 1 })
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
        self.0.skip_separators();
        // The text was scanned before; the closing bracket is what fails here.
        self.0.value(0).ok()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.skip_separators();
        let key = self.0.key().ok()?;
        let value = self.0.value(0).ok()?;
        Some((key, value))
    }
}

/// A position in the text of a line.
#[derive(Clone, Debug)]
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// What stands where no byte is left. It can stand nowhere outside a string, so no rule needs
/// to ask for the end.
const END: u8 = 0;

impl<'a> Scanner<'a> {
    /// Scans the whole text as an envelope.
    fn envelope(&mut self, envelope: &mut Envelope<'a>) -> Result<(), JsonError> {
        self.skip_space();
        if self.peek() != b'{' {
            return Err(JsonError::NotAnObject);
        }
        self.step();
        self.skip_space();
        if self.peek() == b'}' {
            self.step();
        } else {
            loop {
                self.member(envelope)?;
                self.skip_space();
                match self.peek() {
                    b',' => self.step(),
                    b'}' => break self.step(),
                    _ => return Err(self.unexpected()),
                }
                self.skip_space();
            }
        }
        self.skip_space();
        if self.at < self.text.len() {
            return Err(JsonError::Trailing { at: position(self.at) });
        }
        Ok(())
    }

    /// Scans a key and its value and files the value.
    #[inline]
    fn member(&mut self, envelope: &mut Envelope<'a>) -> Result<(), JsonError> {
        let key_at = self.at;
        let key = Envelope::key(self.key()?);
        self.skip_space();
        let start = self.at;
        let place = match key {
            None => return self.value(1).map(|_| ()),
            Some(Key::Id) => {
                self.value(1)?;
                let is_second = envelope.id.is_some();
                // Of two ids neither may be answered.
                envelope.id = if is_second { None } else { Some(self.span_from(start)) };
                return if is_second {
                    Err(JsonError::DuplicateKey { at: position(key_at) })
                } else {
                    Ok(())
                };
            }
            Some(Key::Params) => {
                if envelope.params.is_some() {
                    return Err(JsonError::DuplicateKey { at: position(key_at) });
                }
                envelope.params =
                    Some(if self.peek() == b'[' { self.params(envelope)? } else { self.value(1)? });
                return Ok(());
            }
            Some(Key::Method) => &mut envelope.method,
            Some(Key::Result) => &mut envelope.result,
            Some(Key::Error) => &mut envelope.error,
            Some(Key::RejectReason) => &mut envelope.reject_reason,
        };
        if place.is_some() {
            return Err(JsonError::DuplicateKey { at: position(key_at) });
        }
        *place = Some(self.value(1)?);
        Ok(())
    }

    /// Scans the array of params and keeps its first elements.
    #[inline]
    fn params(&mut self, envelope: &mut Envelope<'a>) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        self.step();
        self.skip_space();
        if self.peek() == b']' {
            self.step();
        } else {
            let mut places = envelope.first_params.iter_mut();
            loop {
                let element = self.value(2)?;
                envelope.params_count = envelope.params_count.saturating_add(1);
                if let Some(place) = places.next() {
                    *place = element;
                }
                self.skip_space();
                match self.peek() {
                    b',' => self.step(),
                    b']' => break self.step(),
                    _ => return Err(self.unexpected()),
                }
            }
        }
        Ok(Value::Array(Array(self.span_from(start))))
    }

    /// Scans a value that stands inside `depth` arrays and objects.
    #[inline]
    fn value(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.skip_space();
        match self.peek() {
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b'[' => Ok(Value::Array(Array(self.container(depth)?))),
            b'{' => Ok(Value::Object(Object(self.container(depth)?))),
            b'n' => self.word("null").map(|()| Value::Null),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            _ => Err(self.unexpected()),
        }
    }

    /// Scans an array or object with all it holds, standing at its bracket.
    fn container(&mut self, outer_depth: usize) -> Result<&'a str, JsonError> {
        let start = self.at;
        let mut depth = outer_depth;
        // Bit `n` says whether level `n` is an object; the levels are fewer than the bits.
        let mut objects = 0_u32;
        loop {
            // A value is due.
            match self.peek() {
                opening @ (b'[' | b'{') => {
                    if depth >= JSON_DEPTH_MAX {
                        return Err(self.too_deep());
                    }
                    let is_object = opening == b'{';
                    objects = (objects & !(1 << depth)) | (u32::from(is_object) << depth);
                    depth += 1;
                    self.step();
                    self.skip_space();
                    match (self.peek(), is_object) {
                        (b']', false) | (b'}', true) => {}
                        (_, false) => continue,
                        (_, true) => {
                            self.key()?;
                            self.skip_space();
                            continue;
                        }
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // A value has ended, or an empty array or object is to be closed.
            loop {
                if depth == outer_depth {
                    return Ok(self.span_from(start));
                }
                self.skip_space();
                let is_object = objects & (1 << (depth - 1)) != 0;
                match (self.peek(), is_object) {
                    (b',', false) => break self.step(),
                    (b',', true) => {
                        self.step();
                        self.skip_space();
                        self.key()?;
                        break;
                    }
                    (b']', false) | (b'}', true) => {
                        self.step();
                        depth -= 1;
                    }
                    _ => return Err(self.unexpected()),
                }
            }
            self.skip_space();
        }
    }

    /// Scans a value that is neither array nor object.
    #[inline]
    fn scalar(&mut self) -> Result<Value<'a>, JsonError> {
        match self.peek() {
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b'n' => self.word("null").map(|()| Value::Null),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            _ => Err(self.unexpected()),
        }
    }

    /// Scans a key and its colon.
    #[inline]
    fn key(&mut self) -> Result<Text<'a>, JsonError> {
        if self.peek() != b'"' {
            return Err(self.unexpected());
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != b':' {
            return Err(self.unexpected());
        }
        self.step();
        Ok(key)
    }

    /// Scans a string, standing at its quote.
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.step();
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.skip(swar::plain_string_len(self.rest()));
            match self.rest().first() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                Some(_) => return Err(JsonError::Control { at: position(self.at) }),
                None => return Err(JsonError::Cut { at: position(self.at) }),
            }
        }
        let inside = self.span_from(start);
        self.step();
        Ok(Text::from_scanned(inside, has_escapes))
    }

    /// Scans an escape, standing at its backslash.
    #[cold]
    fn escape(&mut self) -> Result<(), JsonError> {
        let bad = JsonError::Escape { at: position(self.at) };
        self.step();
        match self.rest().first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.step();
                Ok(())
            }
            Some(b'u') => match self.code_unit().ok_or(bad)? {
                0xdc00..=0xdfff => Err(bad),
                0xd800..=0xdbff => {
                    let is_escape = self.peek() == b'\\';
                    self.step();
                    match self.code_unit() {
                        Some(0xdc00..=0xdfff) if is_escape => Ok(()),
                        _ => Err(bad),
                    }
                }
                _ => Ok(()),
            },
            Some(_) => Err(bad),
            None => Err(JsonError::Cut { at: position(self.at) }),
        }
    }

    /// Reads the `u` of an escape and its four digits.
    fn code_unit(&mut self) -> Option<u16> {
        if self.peek() != b'u' {
            return None;
        }
        self.step();
        let digits = self.rest().first_chunk::<4>()?;
        let mut unit = 0;
        for digit in digits {
            unit = (unit << 4) | char::from(*digit).to_digit(16)?;
        }
        self.skip(digits.len());
        u16::try_from(unit).ok()
    }

    /// Scans a number, standing at its sign or first digit.
    #[inline]
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == b'-' {
            self.step();
        }
        if self.peek() == b'0' {
            self.step();
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.step();
            if matches!(self.peek(), b'+' | b'-') {
                self.step();
            }
            self.digits()?;
        }
        let number = self.span_from(start);
        if number.len() > NUMBER_BYTES_MAX {
            return Err(JsonError::NumberTooLong {
                at: position(start),
                limit: NUMBER_BYTES_MAX as u8,
            });
        }
        Ok(number)
    }

    /// Scans one or more digits.
    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek().is_ascii_digit() {
            return Err(self.unexpected());
        }
        while self.peek().is_ascii_digit() {
            self.step();
        }
        Ok(())
    }

    /// Scans one of the three words of JSON.
    #[inline]
    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.unexpected_in(word));
        }
        self.skip(word.len());
        Ok(())
    }

    /// Skips what stands between two elements of a text that was scanned before.
    #[inline]
    fn skip_separators(&mut self) {
        self.skip_space();
        if self.peek() == b',' {
            self.step();
            self.skip_space();
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.step();
        }
    }

    /// Returns the next byte, or [`END`].
    #[inline]
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(END)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn step(&mut self) {
        self.skip(1);
    }

    /// Goes on by `count` bytes. The position stays near the length of the text, far from
    /// where it could wrap.
    #[inline]
    fn skip(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
    }

    /// Returns the text from `start` to here.
    #[inline]
    fn span_from(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[cold]
    fn unexpected(&self) -> JsonError {
        let at = position(self.at);
        if self.at < self.text.len() { JsonError::Unexpected { at } } else { JsonError::Cut { at } }
    }

    /// Names the byte that does not belong to `word`.
    #[cold]
    fn unexpected_in(&mut self, word: &str) -> JsonError {
        let same = self.rest().iter().zip(word.as_bytes()).take_while(|(got, due)| got == due);
        let count = same.count();
        self.skip(count);
        self.unexpected()
    }

    #[cold]
    fn too_deep(&self) -> JsonError {
        JsonError::TooDeep { at: position(self.at), limit: JSON_DEPTH_MAX as u8 }
    }
}

/// Returns a position as errors carry it.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { at } => write!(f, "not utf-8 at byte {at}"),
            Self::NotAnObject => f.write_str("not a json object"),
            Self::Unexpected { at } => write!(f, "not json: unexpected byte at {at}"),
            Self::Cut { at } => write!(f, "not json: ends too early, at byte {at}"),
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
            Self::DuplicateKey { at } => write!(f, "key at byte {at} is there twice; send it once"),
            Self::Trailing { at } => {
                write!(f, "something after the json object at byte {at}; end it with a line feed")
            }
        }
    }
}

impl core::error::Error for JsonError {}
