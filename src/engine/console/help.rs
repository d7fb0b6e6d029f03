//! The output of `help`, from the lists of verbs and keys.

use core::fmt::{self, Write};

use super::show::{Clean, INDENT, wrap};
use crate::control::{VERBS, Verb};
use crate::settings::{Applies, FIELDS, Key};

/// Returns the subject of a help request; empty for all of it.
pub(super) fn about(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let is_help = matches!(words.next(), Some("help" | "?"));
    is_help.then(|| words.next().unwrap_or_default())
}

/// Prints help about a verb or a key, or all of it.
pub(super) fn print(about: &str, out: &mut dyn Write) -> fmt::Result {
    if about.is_empty() {
        return overview(out);
    }
    if let Some(verb) = Verb::named(about) {
        writeln!(out, "{}", verb.usage)?;
        wrap(verb.effect, INDENT, out)?;
        return writeln!(out, "{:INDENT$}takes the role {}", "", verb.role);
    }
    if let Some(key) = Key::parse(about) {
        return one(key, out);
    }
    let section = about.split('.').next().unwrap_or_default();
    let mut fields = FIELDS.iter().filter(|field| field.section == section).peekable();
    if fields.peek().is_none() {
        let about = Clean(about);
        return writeln!(out, "error: no verb or key {about}; help lists all");
    }
    for field in fields {
        if let Some(key) = Key::of(field, 0) {
            writeln!(out, "{key}")?;
        }
    }
    writeln!(out, "help KEY explains one.")
}

fn overview(out: &mut dyn Write) -> fmt::Result {
    for verb in VERBS {
        writeln!(out, "{:<16} {}", verb.usage, verb.effect)?;
    }
    writeln!(out)?;
    write!(out, "Keys (help KEY):")?;
    let mut section = "";
    for field in FIELDS.iter().filter(|field| field.section != "pool") {
        if field.section != section {
            section = field.section;
            write!(out, " {section}.")?;
        }
    }
    writeln!(out, " pool.1.\nTab completes, the arrows recall lines, ^C drops a line.")
}

fn one(key: Key, out: &mut dyn Write) -> fmt::Result {
    let field = key.field();
    writeln!(out, "{key}")?;
    wrap(field.effect, INDENT, out)?;
    let unit = field.unit;
    let blank = if unit.is_empty() { "" } else { " " };
    writeln!(out, "{:INDENT$}allowed: {}{blank}{unit}", "", field.allowed)?;
    let applies = match field.applies {
        Applies::Live => "a commit applies it at once",
        Applies::Provisional => "a commit applies it, to be confirmed",
        Applies::Restart => "a commit applies it at the next start",
        Applies::File => "set by the file, the environment or a flag alone",
    };
    writeln!(out, "{:INDENT$}{applies}; takes the role {}", "", field.role())
}
