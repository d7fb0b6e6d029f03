//! Texts from pools for people, bounded in length and with nothing hidden.
//!
//! [`Words`] keeps a text of the wire in its display form. Control characters, direction marks and
//! letters without width are escaped, as `\u{202e}`. A text longer than [`POOL_WORDS_BYTES_MAX`] is
//! cut and ends with `…`. A log, a terminal or a page therefore shows one line of ours, and obeys
//! nothing in it (F06).
//!
//! It judges no text; `upstream::told` and `proxy::pools` do.

use core::fmt;

use crate::limits::{POOL_WORDS_BYTES_MAX, POOL_WORDS_KEPT_MAX};
use crate::visible::is_hidden;
use crate::wire::text::Text;

/// A pool's text in display form; empty if the pool gave none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(heapless::String<POOL_WORDS_BYTES_MAX, u8>);

/// Marks the cut end of a text.
const CUT: char = '…';

impl Words {
    /// No words.
    pub const NONE: Self = Self(heapless::String::new());

    /// Takes a text of the wire, cut to fit.
    pub fn of(text: Text<'_>) -> Self {
        let mut kept = heapless::String::<POOL_WORDS_BYTES_MAX, u8>::new();
        let mut end = 0;
        for letter in text.chars() {
            let mut shown = heapless::String::<SHOWN_BYTES_MAX, u8>::new();
            // There is room: no letter's display form is longer.
            let _ = show(letter, &mut shown);
            if kept.push_str(&shown).is_err() {
                kept.truncate(end);
                let _ = kept.push(CUT);
                return Self(kept);
            }
            if kept.len().saturating_add(CUT.len_utf8()) <= POOL_WORDS_BYTES_MAX {
                end = kept.len();
            }
        }
        Self(kept)
    }

    /// Returns the text in display form, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether the pool gave no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether the text contains one of these parts, ignoring ASCII case.
    pub fn name_any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| contains(&self.0, part))
    }
}

/// A key of kept words; other words may have replaced them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saying(u8);

impl Saying {
    /// No words at all.
    pub const NONE: Self = Self(0);
}

/// The last different texts of refusals, for the miners that wait for one. The oldest is dropped
/// for a new one.
#[derive(Debug, Default)]
pub struct Sayings {
    kept: heapless::Deque<(Saying, Words), POOL_WORDS_KEPT_MAX>,
    last: u8,
}

impl Sayings {
    /// Keeps words and returns their key.
    pub fn keep(&mut self, words: &Words) -> Saying {
        if words.is_empty() {
            return Saying::NONE;
        }
        if let Some((saying, _)) = self.kept.iter().find(|(_, kept)| kept == words) {
            return *saying;
        }
        if self.kept.is_full() {
            self.kept.pop_front();
        }
        // Zero is no text; a key is reused after 255 different texts.
        self.last = self.last.checked_add(1).unwrap_or(1);
        let saying = Saying(self.last);
        // There is room: a full list has just dropped its oldest text.
        let _ = self.kept.push_back((saying, words.clone()));
        saying
    }

    /// Returns the words if they are still kept.
    pub fn get(&self, saying: Saying) -> Option<&str> {
        self.kept.iter().find(|(kept, _)| *kept == saying).map(|(_, words)| words.as_str())
    }
}

/// Says whether `text` contains `part`, ignoring ASCII case.
pub fn contains(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|at| at.eq_ignore_ascii_case(part.as_bytes()))
}

/// Most bytes of one letter in display form, as in `\u{10ffff}`.
const SHOWN_BYTES_MAX: usize = 10;

fn show(letter: char, out: &mut impl fmt::Write) -> fmt::Result {
    match letter {
        '\n' | '\r' | '\t' | '\0' => write!(out, "{}", letter.escape_debug()),
        _ if is_hidden(letter) => write!(out, "{}", letter.escape_unicode()),
        _ => out.write_char(letter),
    }
}

impl fmt::Display for Words {
    /// Writes them in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{self, Value};
    use std::format;
    use std::string::ToString;

    #[track_caller]
    fn words(inside: &str) -> Words {
        let line = format!("{{\"result\":\"{inside}\"}}");
        match json::scan(line.as_bytes()).unwrap().result() {
            Some(Value::Text(text)) => Words::of(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn f93_what_is_said_is_shown_as_it_was_said() {
        assert_eq!(words("Account suspended").to_string(), "\"Account suspended\"");
        assert_eq!(words(r#"it's \"no\""#).as_str(), "it's \"no\"");
        assert_eq!(words("Zahl nicht möglich").as_str(), "Zahl nicht möglich");
        assert!(words("").is_empty());
    }

    #[test]
    fn f93_nothing_of_it_is_hidden_and_nothing_is_obeyed() {
        assert_eq!(words(r"a\u001b[2Jb\n").as_str(), r"a\u{1b}[2Jb\n");
        assert_eq!(
            words(r"a\u202eb\u200bc\u2066d\ufeff").as_str(),
            r"a\u{202e}b\u{200b}c\u{2066}d\u{feff}"
        );
        assert_eq!(words(r"\u3164\u2800").as_str(), r"\u{3164}\u{2800}");
        assert_eq!(words(r"\u0000\u0085").as_str(), r"\0\u{85}");
    }

    #[test]
    fn f93_the_last_words_are_kept_each_once() {
        let mut sayings = Sayings::default();
        let stale = sayings.keep(&words("Stale"));
        assert_eq!(sayings.keep(&words("Stale")), stale);
        assert_eq!(sayings.keep(&Words::NONE), Saying::NONE);
        assert_eq!((sayings.get(stale), sayings.get(Saying::NONE)), (Some("Stale"), None));
        for number in 0..100 {
            let saying = sayings.keep(&words(&format!("text {number}")));
            assert_eq!(sayings.get(saying), Some(&*format!("text {number}")));
        }
        assert_eq!(sayings.get(stale), None);
    }

    #[test]
    fn f93_long_words_are_cut_at_a_letter_and_say_so() {
        let exact = "w".repeat(120);
        assert_eq!(words(&exact).as_str(), exact);
        assert_eq!(words(&"w".repeat(121)).as_str(), "w".repeat(117) + "…");
        for letter in ["ü", "€", "😀", r"\u202e"] {
            let kept = words(&letter.repeat(300));
            assert!((100..=120).contains(&kept.as_str().len()), "{kept}");
            assert!(kept.as_str().ends_with('…'));
        }
    }
}
