//! Typed and pasted texts: the blanks around them, and the probable word behind a typing error.
//!
//! Nothing here guesses a value. The probable word is a hint in a message; the wrong word stays
//! refused.

use super::{FIELDS, Field};
use crate::visible;

/// Bytes of the longest text that is compared; a longer one is no typing error.
const WORD_BYTES_MAX: usize = 64;

/// One slip is forgiven in any word, and one more per this many letters.
const LETTERS_PER_SLIP: usize = 4;

/// Names of other programs for a pool's keys.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("host", "url"),
    ("address", "url"),
    ("server", "url"),
    ("worker", "user"),
    ("account", "user"),
    ("login", "user"),
    ("pw", "password"),
];

/// Trims the leftovers of a paste: blanks of every kind, line ends, and zero-width letters such as
/// an editor's byte order mark.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Says whether a letter is invisible and never meant at the end of a value.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || visible::is_hidden(letter)
}

/// Returns the nearest of some words, if one is near.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| slips(word, candidate).is_some();
    words.into_iter().filter(near).min_by_key(|candidate| slips(word, candidate))
}

/// Returns the field nearest to a path, if one is near: `miners.mxa`, `POOL_URL`, `url`.
pub fn nearest_field(path: &str) -> Option<&'static Field> {
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = words(path).filter(|part| !is_number(part));
    let first = parts.next()?;
    let (mut name, mut whole) = (Joined::default(), Joined::default());
    whole.push(first);
    parts.for_each(|part| {
        name.push(part);
        whole.push(part);
    });
    let name = if name.text().is_empty() { first } else { name.text() };
    let near = |slips: &dyn Fn(&Field) -> Option<usize>| {
        FIELDS.iter().filter(|field| slips(field).is_some()).min_by_key(|field| slips(field))
    };
    let of_name = |field: &Field| slips(name, field.name);
    if name == first {
        return near(&of_name).or_else(|| by_other_name(name));
    }
    if FIELDS.iter().any(|field| is_same(field.section.as_bytes(), first.as_bytes())) {
        let is_here = |field: &Field| is_same(field.section.as_bytes(), first.as_bytes());
        let of_section = |field: &Field| of_name(field).filter(|_| is_here(field));
        let other = || by_other_name(name).filter(|field| is_here(field));
        let mut elsewhere = FIELDS.iter().filter(|f| is_same(f.name.as_bytes(), name.as_bytes()));
        return near(&of_section).or_else(other).or_else(|| elsewhere.next());
    }
    let of_whole = |field: &Field| {
        let mut wanted = Joined::default();
        wanted.push(field.section);
        wanted.push(field.name);
        slips(whole.text(), wanted.text())
    };
    let is_pool = slips(first, "pool").is_some();
    near(&of_whole).or_else(|| by_other_name(name).filter(|_| is_pool))
}

/// Returns a pool's field by its name in another program.
fn by_other_name(name: &str) -> Option<&'static Field> {
    let (_, name) = OTHER_NAMES.iter().find(|(other, _)| name.eq_ignore_ascii_case(other))?;
    FIELDS.iter().find(|field| field.is_of_pool() && field.name == *name)
}

/// Returns the number of slips between two texts, if they are few: a letter inserted, dropped or
/// replaced, or two swapped. The beginning of a word is near too.
fn slips(word: &str, wanted: &str) -> Option<usize> {
    let (a, b) = (word.as_bytes(), wanted.as_bytes());
    if a.is_empty() || b.is_empty() || a.len().max(b.len()) > WORD_BYTES_MAX {
        return None;
    }
    let begins = |long: &[u8], short: &[u8]| {
        let start = long.get(..short.len());
        short.len() >= LETTERS_PER_SLIP && start.is_some_and(|start| is_same(start, short))
    };
    let allowed = (a.len().max(b.len()) / LETTERS_PER_SLIP).max(1);
    let distance = distance(a, b);
    if distance <= allowed && distance < b.len() {
        return Some(distance);
    }
    (begins(a, b) || begins(b, a)).then_some(1)
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| letter(*a) == letter(*b))
}

/// The letter in its form for comparison: lower case, and every separator alike.
fn letter(byte: u8) -> u8 {
    match byte {
        b'-' | b'.' | b' ' => b'_',
        _ => byte.to_ascii_lowercase(),
    }
}

/// The Damerau-Levenshtein distance in which no letter is moved twice.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before = [0_usize; WORD_BYTES_MAX + 1];
    let mut last = [0_usize; WORD_BYTES_MAX + 1];
    for (index, cell) in last.iter_mut().enumerate() {
        *cell = index;
    }
    let mut row = last;
    let at = |text: &[u8], index: usize| text.get(index.wrapping_sub(1)).map(|byte| letter(*byte));
    let cell = |row: &[usize; WORD_BYTES_MAX + 1], index: usize| {
        row.get(index).copied().unwrap_or(WORD_BYTES_MAX)
    };
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let (j1, j2) = (j.saturating_sub(1), j.saturating_sub(2));
            let differs = usize::from(at(a, i) != at(b, j));
            let mut least = cell(&last, j1).saturating_add(differs);
            least = least.min(cell(&last, j).saturating_add(1));
            least = least.min(cell(&row, j1).saturating_add(1));
            let changed_places =
                i > 1 && j > 1 && at(a, i) == at(b, j1) && at(a, i.saturating_sub(1)) == at(b, j);
            if changed_places {
                least = least.min(cell(&before, j2).saturating_add(1));
            }
            if let Some(place) = row.get_mut(j) {
                *place = least;
            }
        }
        before = last;
        last = row;
    }
    cell(&last, b.len())
}

/// The words of a path, with any separators.
fn words(path: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    path.split(['.', '_', '-', ' ']).filter(|part| !part.is_empty())
}

/// Words with one separator between them.
#[derive(Default)]
struct Joined(heapless::String<{ WORD_BYTES_MAX + 1 }>);

impl Joined {
    fn push(&mut self, part: &str) {
        let is_first = self.0.is_empty();
        // A text that does not fit is cut, and then near to nothing.
        let _ = if is_first { Ok(()) } else { self.0.push('_') };
        let _ = self.0.push_str(part);
    }

    fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f80_what_a_paste_brings_around_a_text_is_cut() {
        for blank in [
            " ", "\t", "\n", "\r\n", "\u{a0}", "\u{200b}", "\u{feff}", "\u{2060}", "\u{3000}", "\0",
        ] {
            let text = std::format!("{blank}{blank}a b{blank}");
            assert_eq!(trim(&text), "a b", "{blank:?}");
        }
        assert_eq!(trim(" \u{200b} "), "");
    }

    #[test]
    fn a_slip_of_a_finger_is_near_and_another_word_is_not() {
        let words = ["single", "per-worker"];
        assert_eq!(nearest("singel", words), Some("single"));
        assert_eq!(nearest("perworker", words), Some("per-worker"));
        assert_eq!(nearest("PER_WORKER", words), Some("per-worker"));
        assert_eq!(nearest("both", words), None);
        assert_eq!(nearest("", words), None);
        assert_eq!(nearest(&"s".repeat(65), words), None);
    }

    #[test]
    fn the_field_that_was_meant_is_found_however_its_path_is_written() {
        let of = |path| nearest_field(path).map(|field| (field.section, field.name));
        for (path, expected) in [
            ("miners.mxa", ("miners", "max")),
            ("miner.max", ("miners", "max")),
            ("MINERS_MAX", ("miners", "max")),
            ("pool_1_url", ("pool", "url")),
            ("pools.1.url", ("pool", "url")),
            ("pool.1.usr", ("pool", "user")),
            ("pool.2.username", ("pool", "user")),
            ("pool.1.worker", ("pool", "user")),
            ("pool_pass", ("pool", "password")),
            ("pool.host", ("pool", "url")),
            ("url", ("pool", "url")),
            ("user", ("pool", "user")),
            ("worker", ("pool", "user")),
            ("listen.address", ("listen", "addresses")),
            ("upstream.retry_min", ("upstream", "retry_min_secs")),
            ("state_dir", ("state", "dir")),
            ("miners.start", ("difficulty", "start")),
            ("miners.min", ("difficulty", "min")),
        ] {
            assert_eq!(of(path), Some(expected), "{path}");
        }
        for path in ["vectors", "", ".", "1", "no.such.thing", "home", "miners.port"] {
            assert_eq!(of(path), None, "{path:?}");
        }
    }
}
