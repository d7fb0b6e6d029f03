//! The id of a request, kept as its JSON text so that it is echoed byte for byte.
//!
//! Firmware drops an answer whose id changed its type: bmminer sent `3642` and got `"3642"`.
//! BFGMiner names its requests `"auth"`; cpuminer sends every submit with id 4. So an id is never a
//! key, only the bytes received (F08).

use core::fmt;

use super::json;
use crate::limits::ID_BYTES_MAX;

/// The raw JSON text of an id: `null`, a number, a string or a boolean of at most
/// [`ID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id<'a>(&'a [u8]);

impl<'a> Id<'a> {
    /// The id of a notification, and of an answer to a request whose id could not be read.
    pub const NULL: Id<'static> = Id(b"null");

    /// Takes an id from its JSON text. `None` if it is not a JSON value, is an array or object, or
    /// has more than [`ID_BYTES_MAX`] bytes.
    pub fn from_raw(raw: &'a [u8]) -> Option<Self> {
        Self::from_scanned(json::whole_value(raw)?)
    }

    /// Takes an id from the text of a value that the scanner checked.
    #[inline]
    pub(super) fn from_scanned(raw: &'a [u8]) -> Option<Self> {
        let is_container = matches!(raw.first(), Some(b'[' | b'{'));
        (!is_container && raw.len() <= ID_BYTES_MAX).then_some(Self(raw))
    }

    /// Returns the JSON text of the id.
    #[inline]
    pub const fn as_raw(self) -> &'a [u8] {
        self.0
    }

    /// Returns whether the id is `null`.
    #[inline]
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// Reads the id as a number: decimal digits without sign, point, exponent or leading zero. A
    /// string of digits counts too, since some pools echo numbers so.
    pub fn as_u64(self) -> Option<u64> {
        let quoted = self.0.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let digits = quoted.unwrap_or(self.0);
        let is_canonical = digits == b"0" || matches!(digits.first(), Some(b'1'..=b'9'));
        core::str::from_utf8(digits).ok().filter(|_| is_canonical)?.parse().ok()
    }
}

impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", core::str::from_utf8(self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec;

    use super::*;

    #[test]
    fn f08_an_id_of_any_simple_type_is_kept_byte_for_byte() {
        let ids = [
            "null",
            "true",
            "false",
            "0",
            "7",
            "-1",
            "7.5",
            "1e3",
            "18446744073709551616",
            "\"\"",
            "\"auth\"",
            "\"3642\"",
            "\"txlistfc8\"",
            r#""\u0041\"""#,
            "\"γ\"",
        ];
        for raw in ids {
            let id = Id::from_raw(raw.as_bytes()).unwrap();
            assert_eq!(id.as_raw(), raw.as_bytes());
            assert_eq!(id.is_null(), raw == "null");
            assert_eq!(format!("{id:?}"), format!("Id({raw})"));
        }
    }

    #[test]
    fn f08_what_is_no_simple_value_is_no_id() {
        let not_ids = [
            "",
            "[]",
            "{}",
            "[1]",
            "auth",
            "nul",
            "01",
            "1 ",
            " 1",
            "1,2",
            "\"a",
            "\"a\"b",
            "-",
            "1.",
            "\"\\ud800\"",
            "\"\n\"",
        ];
        for raw in not_ids {
            assert_eq!(Id::from_raw(raw.as_bytes()), None, "{raw}");
        }
        assert_eq!(Id::from_raw(b"\"\xff\""), None);
    }

    #[test]
    fn f08_an_id_is_at_most_its_limit() {
        let mut raw = vec![b'a'; ID_BYTES_MAX];
        raw[0] = b'"';
        *raw.last_mut().unwrap() = b'"';
        assert!(Id::from_raw(&raw).is_some());
        raw.insert(1, b'a');
        assert_eq!(Id::from_raw(&raw), None);
    }

    #[test]
    fn a_number_is_one_spelling_only() {
        let read = |raw: &'static str| Id::from_raw(raw.as_bytes()).unwrap().as_u64();
        assert_eq!(read("3642"), Some(3642));
        assert_eq!(read("\"3642\""), Some(3642));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for raw in ["18446744073709551616", "-1", "1.0", "1e3", "null", "true", "\"\"", "\"+1\""] {
            assert_eq!(read(raw), None, "{raw}");
        }
        for raw in ["\"01\"", "\"1 \"", "\"0x1\"", "\"auth\"", "\"\\u0031\""] {
            assert_eq!(read(raw), None, "{raw}");
        }
    }
}
