//! The inside of a JSON string, as it is in the line.
//!
//! A [`Text`] is still escaped: it borrows from the line and costs nothing. Only the scanner makes
//! one. So it is valid UTF-8 without control characters or lone surrogates, and every escape is
//! well formed. Decoding therefore fails only for want of room. The *decoded* text may hold control
//! characters: `\u0000` is legal JSON, and the code that keeps a name decides about it.
//!
//! It holds bytes: most texts are compared or decoded as bytes, and the scanner checked the UTF-8.
//! A `str` is checked again on request.
//!
//! serde-json-core's `EscapedStr` is not used for unescaping: it refuses surrogate pairs and
//! accepts `\u+12f`.

use core::fmt;

/// The inside of a JSON string, without its quotes and still escaped.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    has_escapes: bool,
}

/// The decoded text is longer than its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTooLong {
    /// The size of the buffer, in bytes.
    pub limit: usize,
}

/// An iterator over the decoded characters of a [`Text`].
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    rest: core::str::Chars<'a>,
}

impl<'a> Text<'a> {
    /// The empty text.
    pub const EMPTY: Text<'static> = Text { raw: b"", has_escapes: false };

    /// Takes text checked by the scanner.
    #[inline]
    pub(super) const fn from_scanned(raw: &'a [u8], has_escapes: bool) -> Self {
        Self { raw, has_escapes }
    }

    /// Returns the raw text between the quotes, escapes included.
    pub fn as_raw(self) -> &'a str {
        core::str::from_utf8(self.raw).unwrap_or_default()
    }

    /// Returns the raw bytes between the quotes, escapes included.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.raw
    }

    /// Returns the text if it has no escapes, so that raw and decoded are the same.
    pub fn plain(self) -> Option<&'a str> {
        if self.has_escapes { None } else { Some(self.as_raw()) }
    }

    /// Returns the bytes of the text if it has no escapes, so that raw and decoded are the same.
    #[inline]
    pub const fn plain_bytes(self) -> Option<&'a [u8]> {
        if self.has_escapes { None } else { Some(self.raw) }
    }

    /// Says whether the text is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Returns the decoded characters in order.
    pub fn chars(self) -> Decoded<'a> {
        Decoded { rest: self.as_raw().chars() }
    }

    /// Returns whether the decoded text is `other`.
    #[inline]
    pub fn eq_decoded(self, other: &str) -> bool {
        match self.plain_bytes() {
            Some(plain) => plain == other.as_bytes(),
            None => self.chars().eq(other.chars()),
        }
    }

    /// Decodes the text into a string of at most `N` bytes.
    ///
    /// # Errors
    ///
    /// [`TextTooLong`] if the decoded text has more than `N` bytes; it is never cut.
    pub fn decode<const N: usize>(self) -> Result<heapless::String<N>, TextTooLong> {
        let mut decoded = heapless::String::new();
        let room = match self.plain() {
            Some(plain) => decoded.push_str(plain),
            None => self.chars().try_for_each(|character| decoded.push(character)),
        };
        room.map_err(|_| TextTooLong { limit: N })?;
        Ok(decoded)
    }
}

impl Iterator for Decoded<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.rest.next()? {
            '\\' => Some(self.escaped()),
            character => Some(character),
        }
    }
}

impl Decoded<'_> {
    /// Decodes an escape after its backslash. The scanner has checked it; an invalid one would
    /// become a replacement character.
    fn escaped(&mut self) -> char {
        match self.rest.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => self.code_point().unwrap_or(char::REPLACEMENT_CHARACTER),
            Some(character) => character,
            None => char::REPLACEMENT_CHARACTER,
        }
    }

    /// Decodes the digits of `\u`, and the second half of a surrogate pair.
    fn code_point(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        let mut units = [first, 0];
        let count = if (0xd800..0xdc00).contains(&first) {
            self.rest.next().filter(|&character| character == '\\')?;
            self.rest.next().filter(|&character| character == 'u')?;
            units = [first, self.code_unit()?];
            2
        } else {
            1
        };
        char::decode_utf16(units.into_iter().take(count)).next()?.ok()
    }

    fn code_unit(&mut self) -> Option<u16> {
        let mut unit = 0_u16;
        for _ in 0..4 {
            let digit = self.rest.next()?.to_digit(16)?;
            unit = (unit << 4) | digit as u16;
        }
        Some(unit)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_raw())
    }
}

impl fmt::Display for Text<'_> {
    /// Writes the decoded text with everything that could confuse a log escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|character| write!(f, "{}", character.escape_debug()))
    }
}

impl fmt::Display for TextTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text longer than {} bytes; use a shorter one", self.limit)
    }
}

impl core::error::Error for TextTooLong {}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use super::*;
    use crate::wire::json::{self, Value};

    /// Scans `inside` as the inside of a JSON string.
    #[track_caller]
    fn text(inside: &str) -> Text<'_> {
        let line = format!("{{\"result\":\"{inside}\"}}").leak();
        match json::scan(line.as_bytes()).unwrap().result() {
            Some(Value::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(inside: &str, decoded: &str) {
        let text = text(inside);
        assert_eq!(text.as_raw(), inside);
        assert_eq!(text.decode::<64>().unwrap(), decoded);
        assert!(text.eq_decoded(decoded));
        assert!(!text.eq_decoded(&format!("{decoded}x")));
        assert_eq!(text.plain(), (inside == decoded).then_some(inside));
        assert_eq!(text.plain_bytes(), text.plain().map(str::as_bytes));
        assert_eq!(text.is_empty(), decoded.is_empty());
        let oracle: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
        assert_eq!(oracle, decoded);
    }

    #[test]
    fn every_escape_decodes() {
        check("", "");
        check("account.S19xp000tx0y000", "account.S19xp000tx0y000");
        check("γ", "γ");
        check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r"wor\u006ber", "worker");
        check(r"\u00e9\u20ac", "é€");
        check(r"a\ud83d\ude00b", "a😀b");
        check(r"\uD83D\uDE00", "😀");
        check(r"\u0000", "\0");
        check(r"\\u0041", "\\u0041");
        check(r"😀\n", "😀\n");
    }

    #[test]
    fn a_text_is_decoded_whole_or_not_at_all() {
        assert_eq!(text("12345678").decode::<8>().unwrap(), "12345678");
        assert_eq!(text("123456789").decode::<8>(), Err(TextTooLong { limit: 8 }));
        // The raw text is longer than its place, the decoded one is not.
        assert_eq!(text(r"\u0031\u0032").decode::<2>().unwrap(), "12");
        assert_eq!(text(r"1\ud83d\ude00").decode::<4>(), Err(TextTooLong { limit: 4 }));
        assert_eq!(text("1€").decode::<3>(), Err(TextTooLong { limit: 3 }));
    }

    #[test]
    fn f06_a_log_line_stays_a_line() {
        let shown = text(r"a\u0000\n\u001b[31m\u202e").to_string();
        assert_eq!(shown, r"a\0\n\u{1b}[31m\u{202e}");
    }
}
