//! Foreign names in readable form: letters that are invisible or look like others are escaped.
//!
//! Two workers may differ in a zero-width space, a Cyrillic letter or a trailing blank. A pool sees
//! two workers, and the eye sees one. So only distinguishable letters are shown as they are:
//! printable ASCII, the letters of Western Europe, and scripts that no Latin letter resembles.
//! Every other letter is shown by its number, as Rust escapes it. So is an invisible blank: at
//! either end, or next to another. Only the display changes; the name keeps its bytes.
//!
//! ```
//! use loka_stratum::visible::Visible;
//!
//! assert_eq!(Visible("farm.rig-1").to_string(), "farm.rig-1");
//! assert_eq!(Visible("farm.rig-1\u{200b}").to_string(), r"farm.rig-1\u{200b}");
//! ```

use core::fmt::{self, Display, Write};

/// A name in a form in which different names look different.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a>(pub &'a str);

/// Letters that show nothing, though they count as printable: blanks of syllabic block scripts, and
/// the empty pattern of Braille.
const BLANKS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Says whether a letter is invisible: control characters, line ends, direction marks, joiners,
/// combining marks, and blanks other than the space.
pub fn is_hidden(letter: char) -> bool {
    // Rust escapes letters without a picture of their own, and these three.
    let is_of_text = matches!(letter, '\'' | '"' | '\\');
    (!is_of_text && letter.escape_debug().count() > 1) || BLANKS.contains(&letter)
}

/// Says whether a name is shown unchanged, without escapes.
pub fn is_plain(name: &str) -> bool {
    struct Same<'a>(core::str::Chars<'a>);
    impl Write for Same<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let is_same = text.chars().all(|letter| self.0.next() == Some(letter));
            if is_same { Ok(()) } else { Err(fmt::Error) }
        }
    }
    write!(Same(name.chars()), "{}", Visible(name)).is_ok()
}

/// Says whether a letter is visible and distinct: ASCII, the letters of Western Europe, and scripts
/// that no Latin letter resembles.
fn is_told_apart(letter: char) -> bool {
    match letter {
        '!'..='~' => letter != '\\',
        '\u{c0}'..='\u{ff}' => !matches!(letter, '×' | '÷'),
        // Kana, the common ideographs of Chinese and Japanese, the syllables of Korean.
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' => true,
        '\u{4e00}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7a3}' => true,
        _ => false,
    }
}

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = self.0.chars().peekable();
        let mut is_after_blank = true;
        while let Some(letter) = letters.next() {
            let is_before_blank = letters.peek().is_none_or(|next| *next == ' ');
            match letter {
                // Escaped, so that no name can imitate another's escapes.
                '\\' => f.write_str("\\\\")?,
                ' ' if !is_after_blank && !is_before_blank => f.write_char(' ')?,
                _ if is_told_apart(letter) => f.write_char(letter)?,
                _ => write!(f, "{}", letter.escape_unicode())?,
            }
            is_after_blank = letter == ' ';
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const NAME: &str = "acct.honest1";

    #[test]
    fn f06_names_that_look_the_same_are_shown_differently() {
        let others = [
            NAME,
            "acct.honest1\u{200b}",
            "acct.hon\u{200d}est1",
            "\u{feff}acct.honest1",
            "acct.hоnest1",
            "\u{202e}1tsenoh.tcca",
            "acct.honest1 ",
            " acct.honest1",
            "acct.honest1\u{a0}",
            "acct.honest1\u{3164}",
            "acct.honest1\u{301}",
            "acct.honest１",
            "acct.honest1\t",
            "acct.honest1\n",
            "acct.honest1\0",
            "acct.honest1\u{1b}[2J",
            "acct.honest1\\u{200b}",
            "acct.honеst1",
            "ａcct.honest1",
            "acct.honest𝟏",
            "acct․honest1",
        ];
        let shown: BTreeSet<String> = others.iter().map(|name| Visible(name).to_string()).collect();
        assert_eq!(shown.len(), others.len(), "{shown:#?}");
        for (name, text) in others.iter().map(|name| (name, Visible(name).to_string())) {
            assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text}");
            assert_eq!(text == NAME, *name == NAME);
            assert_eq!(is_plain(name), *name == NAME, "{text}");
        }
        assert_eq!(Visible("a  b").to_string(), r"a\u{20}\u{20}b");
    }

    #[test]
    fn names_of_people_are_shown_as_they_are() {
        for name in ["farm.rig-1", "Grube Süd.3", "农场.1", "ラック7", "농장", "a b", "", "x=1,y_2"]
        {
            assert_eq!(Visible(name).to_string(), name);
            assert!(is_plain(name));
            assert!(!name.chars().any(is_hidden));
        }
    }

    #[test]
    fn f06_what_nobody_sees_is_hidden_and_what_is_seen_is_not() {
        let hidden: Vec<char> =
            "\0\n\r\u{1b}\u{7f}\u{85}\u{a0}\u{ad}\u{61c}\u{200b}\u{200e}\u{2028}\
            \u{202e}\u{2066}\u{2800}\u{3000}\u{3164}\u{feff}\u{e0041}\u{301}\u{fe0f}"
                .chars()
                .collect();
        for letter in hidden {
            assert!(is_hidden(letter), "{letter:?}");
        }
        assert!(!"aA0 '\"\\-_.,=äßж农".chars().any(is_hidden));
    }
}
