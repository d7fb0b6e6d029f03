//! The scanner below [`json`](super::json): it moves a position forward by one value at a time, and
//! returns each value's place and kind.
//!
//! Code for nearly every line is inlined into one loop, so that the position stays in a register.
//! Rare cases work on a copy of the scanner, out of line. For the same reason the error of a
//! [`Broken`] line is kept aside: a result without contents costs one comparison. Frequent kinds
//! are told apart by comparisons, not by a jump table. On processors that guard indirect jumps, a
//! jump costs as much as a short string. `benches/wire.rs` gives the figures.

use super::json::JsonError;
use super::swar;
use crate::limits::{JSON_DEPTH_MAX, NUMBER_BYTES_MAX};

/// A value's place in its line, quotes and brackets included, and its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no value.
    Missing,
    Null,
    False,
    True,
    Number,
    /// A string whose decoded and raw texts are equal.
    Plain,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

impl Span {
    pub(super) const MISSING: Self = Self { kind: Kind::Missing, start: 0, end: 0 };
}

/// A position in a line, or in a part of it.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
    error: Option<JsonError>,
}

/// The line is invalid; the scanner holds the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

/// The byte read at the end. It is invalid outside strings, so no rule needs to check for the end.
const END: u8 = 0;

impl<'a> Scanner<'a> {
    /// Starts at position `at` of a line, which has fewer than 2^32 bytes.
    #[inline(always)]
    pub(super) const fn new(line: &'a [u8], at: usize) -> Self {
        Self { line, at, error: None }
    }

    /// Returns the line that the positions refer to.
    #[inline(always)]
    pub(super) const fn line(&self) -> &'a [u8] {
        self.line
    }

    /// Returns the error of a broken line.
    pub(super) fn error(&self) -> JsonError {
        self.error.unwrap_or_else(|| self.unexpected())
    }

    /// Scans a value that stands inside `depth` arrays and objects; `first` is its first byte,
    /// which is not passed.
    #[inline(always)]
    pub(super) fn value(&mut self, first: u8, depth: usize) -> Result<Span, Broken> {
        let start = self.position();
        let kind = match first {
            b'"' => self.string()?,
            b'1'..=b'9' => self.whole_number()?,
            _ => self.aside(|scanner| scanner.other(depth))?,
        };
        Ok(Span { kind, start, end: self.position() })
    }

    /// Scans a key and its colon.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Span, Broken> {
        let start = self.position();
        if self.peek() != b'"' {
            return self.broken();
        }
        let kind = self.string()?;
        let end = self.position();
        self.colon()?;
        Ok(Span { kind, start, end })
    }

    /// Scans a colon and the space before it.
    #[inline(always)]
    pub(super) fn colon(&mut self) -> Result<(), Broken> {
        if self.skip_space() != b':' {
            return self.broken();
        }
        self.step();
        Ok(())
    }

    /// Scans a string, standing at its quote.
    #[inline(always)]
    fn string(&mut self) -> Result<Kind, Broken> {
        self.step();
        let rest = self.rest();
        let len = swar::plain_string_len(rest);
        if rest.get(len) == Some(&b'"') {
            self.skip(len.wrapping_add(1));
            Ok(Kind::Plain)
        } else {
            self.aside(Scanner::rich_string)
        }
    }

    /// Scans a number, standing at its first digit, which is not 0.
    #[inline(always)]
    fn whole_number(&mut self) -> Result<Kind, Broken> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.step();
        }
        let is_long = self.at.wrapping_sub(start) > NUMBER_BYTES_MAX;
        if is_long || matches!(self.peek(), b'.' | b'e' | b'E') {
            self.at = start;
            return self.aside(Scanner::number);
        }
        Ok(Kind::Number)
    }

    /// Marks the line as broken at the next byte, which cannot stand there.
    #[inline(always)]
    pub(super) fn broken<T>(&mut self) -> Result<T, Broken> {
        self.broken_by(self.unexpected())
    }

    /// Marks the line as broken.
    #[inline(always)]
    pub(super) fn broken_by<T>(&mut self, error: JsonError) -> Result<T, Broken> {
        self.error = Some(error);
        Err(Broken)
    }

    /// Runs rare code on a copy, so that only the copy needs memory.
    #[inline(always)]
    pub(super) fn aside<T>(
        &mut self,
        rare: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, Broken> {
        let mut copy = Self { line: self.line, at: self.at, error: None };
        let done = rare(&mut copy);
        self.at = copy.at;
        done.or_else(|error| self.broken_by(error))
    }

    /// Scans a value that is neither string nor positive whole number.
    #[inline(never)]
    fn other(&mut self, depth: usize) -> Result<Kind, JsonError> {
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number(),
            b'n' => self.word("null", Kind::Null),
            b't' => self.word("true", Kind::True),
            b'f' => self.word("false", Kind::False),
            b'[' => self.container(depth).map(|()| Kind::Array).map_err(|Broken| self.error()),
            b'{' => self.container(depth).map(|()| Kind::Object).map_err(|Broken| self.error()),
            _ => Err(self.unexpected()),
        }
    }

    /// Scans an array or object with all it holds, standing at its bracket.
    #[inline(never)]
    fn container(&mut self, outer_depth: usize) -> Result<(), Broken> {
        let mut depth = outer_depth;
        // Bit `n` says whether level `n` is an object; the levels are fewer than the bits.
        let mut objects = 0_u32;
        loop {
            // A value is due.
            match self.peek() {
                opening @ (b'[' | b'{') => {
                    if depth >= JSON_DEPTH_MAX {
                        return self.broken_by(self.too_deep());
                    }
                    let is_object = opening == b'{';
                    objects = (objects & !(1 << depth)) | (u32::from(is_object) << depth);
                    depth = depth.saturating_add(1);
                    self.step();
                    match (self.skip_space(), is_object) {
                        (b']', false) | (b'}', true) => {}
                        (_, false) => continue,
                        (_, true) => {
                            self.key()?;
                            self.skip_space();
                            continue;
                        }
                    }
                }
                b'"' => {
                    self.string()?;
                }
                // A container was matched above, so this cannot come back here.
                _ => {
                    self.aside(|scanner| scanner.other(JSON_DEPTH_MAX))?;
                }
            }
            // A value has ended, or an empty array or object is to be closed.
            loop {
                if depth == outer_depth {
                    return Ok(());
                }
                let is_object = objects & (1 << depth.saturating_sub(1)) != 0;
                match (self.skip_space(), is_object) {
                    (b',', false) => {
                        self.step();
                        self.skip_space();
                        break;
                    }
                    (b',', true) => {
                        self.step();
                        self.skip_space();
                        self.key()?;
                        self.skip_space();
                        break;
                    }
                    (b']', false) | (b'}', true) => {
                        self.step();
                        depth = depth.saturating_sub(1);
                    }
                    _ => return self.broken(),
                }
            }
        }
    }

    /// Scans a string that holds more than plain characters, standing behind its quote.
    #[cold]
    #[inline(never)]
    fn rich_string(&mut self) -> Result<Kind, JsonError> {
        let start = self.at;
        let mut kind = Kind::Plain;
        loop {
            self.skip(swar::plain_string_len(self.rest()));
            match self.rest().first() {
                Some(b'"') => break,
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(0x80..) => self.step(),
                Some(_) => return Err(JsonError::Control { at: self.position() }),
                None => return Err(JsonError::Cut { at: self.position() }),
            }
        }
        let inside = self.line.get(start..self.at).unwrap_or_default();
        if let Err(broken) = core::str::from_utf8(inside) {
            self.at = start.wrapping_add(broken.valid_up_to());
            return Err(JsonError::NotUtf8 { at: self.position() });
        }
        self.step();
        Ok(kind)
    }

    /// Scans an escape, standing at its backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        let bad = JsonError::Escape { at: self.position() };
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
            None => Err(JsonError::Cut { at: self.position() }),
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
    #[inline(never)]
    fn number(&mut self) -> Result<Kind, JsonError> {
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
        if self.at.wrapping_sub(start) > NUMBER_BYTES_MAX {
            self.at = start;
            let limit = NUMBER_BYTES_MAX as u8;
            return Err(JsonError::NumberTooLong { at: self.position(), limit });
        }
        Ok(Kind::Number)
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
    fn word(&mut self, word: &str, kind: Kind) -> Result<Kind, JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.unexpected_in(word));
        }
        self.skip(word.len());
        Ok(kind)
    }

    /// Skips what stands between two elements of a text that was scanned before, and returns the
    /// byte behind it.
    #[inline]
    pub(super) fn skip_separators(&mut self) -> u8 {
        let byte = self.skip_space();
        if byte == b',' {
            self.step();
            return self.skip_space();
        }
        byte
    }

    /// Skips space and returns the byte behind it, which is not passed.
    #[inline(always)]
    pub(super) fn skip_space(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            // One comparison where there is no space: all four kinds are at or below it.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return byte;
            }
            self.step();
        }
    }

    /// Returns the next byte, or [`END`].
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.line.get(self.at).copied().unwrap_or(END)
    }

    /// Returns the rest of the line.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Returns whether nothing is left.
    #[inline(always)]
    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    #[inline(always)]
    pub(super) fn step(&mut self) {
        self.skip(1);
    }

    /// Goes on by `count` bytes. The position stays near the length of the line, far from
    /// where it could wrap.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
    }

    /// Returns the position as spans and errors carry it; a line has fewer than 2^32 bytes.
    #[inline(always)]
    pub(super) const fn position(&self) -> u32 {
        self.at as u32
    }

    #[cold]
    pub(super) fn unexpected(&self) -> JsonError {
        let at = self.position();
        if self.is_at_end() { JsonError::Cut { at } } else { JsonError::Unexpected { at } }
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
        JsonError::TooDeep { at: self.position(), limit: JSON_DEPTH_MAX as u8 }
    }
}
