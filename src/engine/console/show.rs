//! Answers in lines of up to 80 columns, for people.

use core::fmt::{self, Display, Write};

use crate::control::{Item, Origin};
use crate::settings::Applies;

/// Target width of a line; a longer value is not cut.
const COLUMNS: usize = 80;

/// Width of a key.
const KEY_COLUMNS: usize = 28;

/// Indentation of lines that belong to the line above.
pub(super) const INDENT: usize = 4;

/// Prints the items of one answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Printer {
    has_head: bool,
}

impl Printer {
    /// Prints an item, with a line end.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn print(&mut self, item: &Item<'_>, out: &mut dyn Write) -> fmt::Result {
        match *item {
            Item::Text(text) => writeln!(out, "{}", Clean(text)),
            Item::Value { key, value, origin, .. } => print_value(key, value, origin, out),
            Item::Change { key, from, to, applies } => {
                let note = match applies {
                    Applies::Live => "",
                    Applies::Provisional => " (to be confirmed)",
                    Applies::Restart | Applies::File => " (at the next start)",
                };
                let (key, from, to) = (Clean(key), OrNothing(from), OrNothing(to));
                writeln!(out, "{key}: {from} -> {to}{note}")
            }
            Item::Problem { text, .. } => writeln!(out, "problem: {}", Clean(text)),
            Item::Provisional { seconds_left } => writeln!(
                out,
                "in use for {seconds_left} s, then taken back; confirm keeps it, rollback ends it"
            ),
            Item::Certificate { subject, issuer, until, pin } => {
                writeln!(out, "certificate of {}", Clean(subject))?;
                let until = Clean(until);
                writeln!(out, "{:INDENT$}signed by {}, good until {until}", "", Clean(issuer))?;
                writeln!(out, "{:INDENT$}pin {}", "", Clean(pin))
            }
            Item::Miner {
                place,
                peer,
                worker,
                agent,
                difficulty,
                hashrate,
                accepted,
                rejected,
            } => {
                if !core::mem::replace(&mut self.has_head, true) {
                    writeln!(out, "{HEAD}")?;
                }
                write!(out, "{place:>5} ")?;
                pad(&Cut(peer, 21), 22, out)?;
                pad(&Cut(worker, 17), 18, out)?;
                let (difficulty, rate) = (Short(difficulty), Short(hashrate));
                writeln!(out, "{difficulty} {rate} {accepted:>6} {rejected:>5}")?;
                match agent {
                    "" => Ok(()),
                    agent => writeln!(out, "{:6}{}", "", Cut(agent, COLUMNS.saturating_sub(6))),
                }
            }
        }
    }
}

/// The head of the miners' table.
const HEAD: &str =
    "place peer                  worker            difficulty   hashes/s   good   bad";

fn print_value(key: &str, value: &str, origin: Origin<'_>, out: &mut dyn Write) -> fmt::Result {
    pad(&Clean(key), KEY_COLUMNS, out)?;
    write!(out, " {}", Clean(value))?;
    let used = columns(&Clean(value)).saturating_add(KEY_COLUMNS).saturating_add(1);
    let wanted = columns(&origin);
    let is_beside = used.saturating_add(wanted).saturating_add(2) <= COLUMNS;
    if !is_beside {
        writeln!(out)?;
    }
    let used = if is_beside { used } else { 0 };
    let blank = COLUMNS.saturating_sub(used).saturating_sub(wanted);
    writeln!(out, "{:blank$}{origin}", "")
}

/// Prints words with an indent, wrapped at the width of the screen.
pub(super) fn wrap(text: &str, indent: usize, out: &mut dyn Write) -> fmt::Result {
    let mut used = 0_usize;
    for word in text.split_whitespace() {
        let length = columns(&word).saturating_add(1);
        if used == 0 || used.saturating_add(length) > COLUMNS {
            if used > 0 {
                writeln!(out)?;
            }
            write!(out, "{:indent$}{word}", "")?;
            used = indent.saturating_add(length).saturating_sub(1);
        } else {
            write!(out, " {word}")?;
            used = used.saturating_add(length);
        }
    }
    writeln!(out)
}

/// Prints something, padded with blanks to `width` columns.
fn pad(what: &dyn Display, width: usize, out: &mut dyn Write) -> fmt::Result {
    let blank = width.saturating_sub(columns(what));
    write!(out, "{what}{:blank$}", "")
}

/// Returns the width of something, in letters.
fn columns(what: &dyn Display) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.saturating_add(text.chars().count());
            Ok(())
        }
    }
    let mut count = Count(0);
    let _ = write!(count, "{what}");
    count.0
}

/// A text that a terminal shows and never obeys, whatever its source (F06).
#[derive(Clone, Copy)]
pub(super) struct Clean<'a>(pub &'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| f.write_char(shown(letter)))
    }
}

/// Like [`Clean`], and cut to this many letters.
#[derive(Clone, Copy)]
struct Cut<'a>(&'a str, usize);

impl Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(self.1).try_for_each(|letter| f.write_char(shown(letter)))
    }
}

fn shown(letter: char) -> char {
    if letter.is_control() { '?' } else { letter }
}

/// A value of a change, which may be empty.
#[derive(Clone, Copy)]
struct OrNothing<'a>(&'a str);

impl Display for OrNothing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("(nothing)"),
            text => Clean(text).fmt(f),
        }
    }
}

/// A number in ten columns, with a suffix for its thousands.
#[derive(Clone, Copy)]
struct Short(f64);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut letter) = (self.0, ' ');
        if number != 0.0 && number < 0.01 {
            return write!(f, "{number:>10.1e}");
        }
        for next in ['k', 'M', 'G', 'T', 'P', 'E'] {
            if number < 1000.0 {
                break;
            }
            number /= 1000.0;
            letter = next;
        }
        write!(f, "{number:>9.2}{letter}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn printed(items: &[Item<'_>]) -> String {
        let (mut printer, mut out) = (Printer::default(), String::new());
        for item in items {
            printer.print(item, &mut out).unwrap();
        }
        out
    }

    fn value<'a>(key: &'a str, value: &'a str, origin: Origin<'a>) -> Item<'a> {
        Item::Value { key, value, origin, applies: Applies::Live }
    }

    #[test]
    fn values_stand_in_columns_and_origins_at_the_right() {
        let url = "stratum+ssl://a.pool.with.a.long.name.example.com:3334";
        let out = printed(&[
            value("miners.max", "auto", Origin::Default),
            value("pool.1.url", url, Origin::Environment("LOKA_POOL__1__URL")),
        ]);
        let expected = "\
miners.max                   auto                                        default
pool.1.url                   stratum+ssl://a.pool.with.a.long.name.example.com:3334
                                                   environment LOKA_POOL__1__URL
";
        assert_eq!(out, expected);
    }

    #[test]
    fn miners_stand_in_a_table_with_one_head() {
        let miner = Item::Miner {
            place: 7,
            peer: "192.168.100.200:54321",
            worker: "farm.rack-3.shelf-12.left",
            agent: "cgminer/4.12",
            difficulty: 65536.0,
            hashrate: 104.2e12,
            accepted: 1234,
            rejected: 0,
        };
        let expected = "\
place peer                  worker            difficulty   hashes/s   good   bad
    7 192.168.100.200:54321 farm.rack-3.shelf     65.54k    104.20T   1234     0
      cgminer/4.12
    7 192.168.100.200:54321 farm.rack-3.shelf     65.54k    104.20T   1234     0
      cgminer/4.12
";
        assert_eq!(printed(&[miner, miner]), expected);
    }

    #[test]
    fn changes_and_problems_say_what_and_when() {
        let applies = Applies::Provisional;
        let out = printed(&[
            Item::Change { key: "pool.1.user", from: "", to: "farm", applies },
            Item::Provisional { seconds_left: 120 },
            Item::Problem { key: "x", text: "x: got 1, allowed 2" },
        ]);
        let expected = "\
pool.1.user: (nothing) -> farm (to be confirmed)
in use for 120 s, then taken back; confirm keeps it, rollback ends it
problem: x: got 1, allowed 2
";
        assert_eq!(out, expected);
    }

    #[test]
    fn f06_what_others_wrote_moves_no_cursor() {
        let text = "a\x1b[2Jb\rc\u{9b}d";
        let (key, from, to) = (text, text, text);
        let out = printed(&[
            Item::Text(text),
            value(text, text, Origin::Default),
            Item::Change { key, from, to, applies: Applies::Live },
            Item::Problem { key: "", text },
            Item::Certificate { subject: text, issuer: text, until: text, pin: text },
            Item::Miner {
                place: 1,
                peer: text,
                worker: text,
                agent: text,
                difficulty: 1.0,
                hashrate: 1.0,
                accepted: 1,
                rejected: 1,
            },
        ]);
        assert!(out.chars().all(|letter| letter == '\n' || !letter.is_control()), "{out:?}");
    }
}
