//! Completion by Tab: verbs, keys, and the words that a key takes.

use core::fmt::{self, Display, Write};

use super::line::Text;
use crate::control::{Role, VERBS};
use crate::limits::POOLS_MAX;
use crate::settings::{Allowed, FIELDS, Key};

/// Columns of a listed word, five to a line of 80.
const WORD_COLUMNS: usize = 30;

/// The possible completions of a word.
pub(super) struct Found {
    /// Number of words that begin like it.
    pub count: usize,
    /// The letters that they all continue with.
    pub common: Text,
}

/// Returns the completions of the last word of a line.
pub(super) fn complete(line: &str) -> Found {
    let word = last_word(line);
    let mut found = Found { count: 0, common: Text::new() };
    candidates(line, &mut |candidate| {
        let Some(rest) = candidate.strip_prefix(word) else { return };
        if found.count == 0 {
            found.common = rest.try_into().unwrap_or_default();
        } else {
            let same = found.common.chars().zip(rest.chars()).take_while(|(a, b)| a == b);
            let bytes = same.map(|(letter, _)| letter.len_utf8()).sum();
            found.common.truncate(bytes);
        }
        found.count = found.count.saturating_add(1);
    });
    found
}

/// Prints all completions of the last word of a line, in columns.
pub(super) fn list(line: &str, out: &mut dyn Write) -> fmt::Result {
    let word = last_word(line);
    let (mut column, mut result) = (0_usize, Ok(()));
    candidates(line, &mut |candidate| {
        if result.is_err() || !candidate.starts_with(word) {
            return;
        }
        if column > 80_usize.saturating_sub(WORD_COLUMNS) {
            column = 0;
            result = writeln!(out);
        }
        column = column.saturating_add(WORD_COLUMNS);
        result = result.and_then(|()| write!(out, "{candidate:<WORD_COLUMNS$}"));
    });
    result.and_then(|()| writeln!(out))
}

fn last_word(line: &str) -> &str {
    line.rsplit(' ').next().unwrap_or_default()
}

/// Yields every word that may stand in the place of a line's last word.
fn candidates(line: &str, out: &mut dyn FnMut(&str)) {
    let mut words = line.split_whitespace();
    let (verb, key) = (words.next(), words.next());
    let is_begun = !line.ends_with(' ') && !line.is_empty();
    let place = line.split_whitespace().count().saturating_sub(usize::from(is_begun));
    match (verb.unwrap_or_default(), place) {
        (_, 0) => VERBS.iter().for_each(|verb| out(verb.name)),
        ("help", 1) => {
            VERBS.iter().for_each(|verb| out(verb.name));
            keys(out);
        }
        ("show" | "set" | "unset", 1) => keys(out),
        ("password", 1) => Role::ALL.iter().for_each(|role| out(role.name())),
        ("test", 1) => (1..=POOLS_MAX).for_each(|pool| say(out, &format_args!("pool.{pool}"))),
        ("set", 2) => match key.and_then(Key::parse).map(|key| key.field().allowed) {
            Some(Allowed::OneOf(words)) => words.iter().for_each(|word| out(word)),
            Some(Allowed::Switch) => ["true", "false"].into_iter().for_each(out),
            _ => {}
        },
        _ => {}
    }
}

/// Yields every key, including those of each pool.
fn keys(out: &mut dyn FnMut(&str)) {
    for field in FIELDS {
        let pools = if field.is_of_pool() { POOLS_MAX } else { 1 };
        for key in (0..pools).filter_map(|pool| Key::of(field, pool)) {
            say(out, &key);
        }
    }
}

fn say(out: &mut dyn FnMut(&str), word: &dyn Display) {
    let mut text = Text::new();
    if write!(text, "{word}").is_ok() {
        out(&text);
    }
}
