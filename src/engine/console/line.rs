//! One line while it is typed: letters, a cursor, and the terminal output that shows them.
//!
//! The meaning of a line is elsewhere. A line is read whole or not at all: an overlong line, or a
//! byte that is not text, spoils all of it (F73).

use core::fmt::{self, Write};

use heapless::{String, Vec};

use crate::limits::{CONSOLE_LINE_BYTES_MAX, ESCAPE_BYTES_MAX};

/// The letters of a line.
pub(super) type Text = String<CONSOLE_LINE_BYTES_MAX>;

/// An edit of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Inserts a letter.
    Letter(char),
    /// Deletes the letter before the cursor.
    Backspace,
    /// Deletes the letter under the cursor.
    Delete,
    /// Deletes the whole line.
    Clear,
    /// Deletes the word before the cursor.
    WordBack,
    Left,
    Right,
    Home,
    End,
}

/// Why a line is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoiled {
    /// It is longer than [`CONSOLE_LINE_BYTES_MAX`].
    TooLong,
    /// A byte at this column is not text.
    NoText { column: usize, byte: u8 },
}

/// A line while it is typed.
#[derive(Debug, Default)]
pub(super) struct Line {
    letters: Vec<char, CONSOLE_LINE_BYTES_MAX>,
    bytes: usize,
    cursor: usize,
    spoiled: Option<Spoiled>,
    is_hidden: bool,
}

impl Line {
    /// Starts a new line; a hidden line is not shown.
    pub(super) fn begin(&mut self, is_hidden: bool) {
        *self = Self { is_hidden, ..Self::default() };
    }

    /// Returns the letters, or why they must not be read.
    pub(super) fn text(&self) -> Result<Text, Spoiled> {
        match self.spoiled {
            None => Ok(collect(self.letters.iter())),
            Some(spoiled) => Err(spoiled),
        }
    }

    /// Returns the letters before the cursor.
    pub(super) fn before_cursor(&self) -> Text {
        collect(self.letters.iter().take(self.cursor))
    }

    /// Marks the line as spoiled by a byte that is not text.
    pub(super) fn spoil(&mut self, byte: u8) {
        let column = self.cursor.saturating_add(1);
        self.spoiled.get_or_insert(Spoiled::NoText { column, byte });
    }

    /// Shows the whole line after the prompt.
    pub(super) fn show(&self, out: &mut dyn Write) -> fmt::Result {
        if self.is_hidden {
            return Ok(());
        }
        self.show_from(0, out)?;
        move_back(self.letters.len().saturating_sub(self.cursor), out)
    }

    /// Replaces all letters by a text.
    pub(super) fn replace(&mut self, text: &str, out: &mut dyn Write) -> fmt::Result {
        self.edit(Edit::Clear, out)?;
        for letter in text.chars() {
            self.edit(Edit::Letter(letter), out)?;
        }
        Ok(())
    }

    /// Edits the line, and shows the result.
    pub(super) fn edit(&mut self, edit: Edit, out: &mut dyn Write) -> fmt::Result {
        let (from, length) = (self.cursor, self.letters.len());
        match edit {
            Edit::Letter(letter) => self.insert(letter, out),
            Edit::Backspace if from > 0 => {
                self.remove_before(1);
                self.move_back_shown(1, out)?;
                self.show_rest(1, out)
            }
            Edit::Delete if from < length => {
                self.cursor = from.saturating_add(1);
                self.remove_before(1);
                self.show_rest(1, out)
            }
            Edit::WordBack => {
                let before = self.letters.iter().take(from).rev();
                let blanks = before.clone().take_while(|letter| **letter == ' ').count();
                let word = before.skip(blanks).take_while(|letter| **letter != ' ').count();
                let count = blanks.saturating_add(word);
                self.remove_before(count);
                self.move_back_shown(count, out)?;
                self.show_rest(count, out)
            }
            Edit::Clear => {
                self.move_back_shown(from, out)?;
                self.begin(self.is_hidden);
                self.show_rest(length, out)
            }
            Edit::Left if from > 0 => {
                self.cursor = from.saturating_sub(1);
                self.move_back_shown(1, out)
            }
            Edit::Right if from < length => {
                self.cursor = from.saturating_add(1);
                self.move_on_shown(1, out)
            }
            Edit::Home => {
                self.cursor = 0;
                self.move_back_shown(from, out)
            }
            Edit::End => {
                self.cursor = length;
                self.move_on_shown(length.saturating_sub(from), out)
            }
            Edit::Backspace | Edit::Delete | Edit::Left | Edit::Right => Ok(()),
        }
    }

    fn insert(&mut self, letter: char, out: &mut dyn Write) -> fmt::Result {
        let bytes = self.bytes.saturating_add(letter.len_utf8());
        if bytes > CONSOLE_LINE_BYTES_MAX || self.letters.insert(self.cursor, letter).is_err() {
            self.spoiled.get_or_insert(Spoiled::TooLong);
            return Ok(());
        }
        self.bytes = bytes;
        let from = self.cursor;
        self.cursor = from.saturating_add(1);
        if self.is_hidden {
            return Ok(());
        }
        self.show_from(from, out)?;
        move_back(self.letters.len().saturating_sub(self.cursor), out)
    }

    /// Deletes `count` letters before the cursor.
    fn remove_before(&mut self, count: usize) {
        for _ in 0..count.min(self.cursor) {
            self.cursor = self.cursor.saturating_sub(1);
            let letter = self.letters.remove(self.cursor);
            self.bytes = self.bytes.saturating_sub(letter.len_utf8());
        }
    }

    fn show_from(&self, from: usize, out: &mut dyn Write) -> fmt::Result {
        self.letters.iter().skip(from).try_for_each(|letter| out.write_char(*letter))
    }

    /// Shows the letters from the cursor on, over `gone` letters shown there before.
    fn show_rest(&self, gone: usize, out: &mut dyn Write) -> fmt::Result {
        if self.is_hidden || gone == 0 {
            return Ok(());
        }
        self.show_from(self.cursor, out)?;
        out.write_str("\x1b[K")?;
        move_back(self.letters.len().saturating_sub(self.cursor), out)
    }

    fn move_back_shown(&self, count: usize, out: &mut dyn Write) -> fmt::Result {
        if self.is_hidden { Ok(()) } else { move_back(count, out) }
    }

    fn move_on_shown(&self, count: usize, out: &mut dyn Write) -> fmt::Result {
        if self.is_hidden || count == 0 { Ok(()) } else { write!(out, "\x1b[{count}C") }
    }
}

/// Joins letters to a text; they fit, since their bytes are counted on insertion.
fn collect<'a>(letters: impl Iterator<Item = &'a char>) -> Text {
    let mut text = Text::new();
    for letter in letters {
        let _ = text.push(*letter);
    }
    text
}

fn move_back(count: usize, out: &mut dyn Write) -> fmt::Result {
    if count == 0 { Ok(()) } else { write!(out, "\x1b[{count}D") }
}

/// A key of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Edit(Edit),
    Enter,
    Tab,
    /// `^C`: drops the line.
    Interrupt,
    /// The line before in the history.
    Up,
    /// The line after in the history.
    Down,
    /// A key without a meaning here.
    Unknown,
    /// A byte that no key sends. A later line end still ends the line.
    Noise(u8),
}

/// Assembles a terminal's bytes to keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: KeyState,
    /// The last byte was a CR; an LF after it belongs to the same line end.
    was_return: bool,
}

#[derive(Debug, Default)]
enum KeyState {
    #[default]
    Plain,
    /// Inside a letter of several bytes.
    Letter { bytes: [u8; 4], length: u8, wanted: u8 },
    /// After ESC.
    Escape,
    /// After ESC and `[` or `O`: the number so far, and the count of letters.
    Sequence { number: u8, letters: u8 },
}

impl Keys {
    /// Takes a byte, and returns the key that it completes.
    pub(super) fn handle_byte(&mut self, byte: u8) -> Option<Key> {
        let was_return = core::mem::replace(&mut self.was_return, byte == b'\r');
        match core::mem::take(&mut self.state) {
            KeyState::Plain if byte == b'\n' && was_return => None,
            KeyState::Plain => self.plain(byte),
            KeyState::Letter { bytes, length, wanted } => self.letter(byte, bytes, length, wanted),
            KeyState::Escape => match byte {
                b'[' | b'O' => {
                    self.state = KeyState::Sequence { number: 0, letters: 0 };
                    None
                }
                byte => Some(Key::Noise(byte)),
            },
            KeyState::Sequence { number, letters } => self.sequence(byte, number, letters),
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x01 => Key::Edit(Edit::Home),
            0x02 => Key::Edit(Edit::Left),
            0x03 => Key::Interrupt,
            0x04 => Key::Edit(Edit::Delete),
            0x05 => Key::Edit(Edit::End),
            0x06 => Key::Edit(Edit::Right),
            0x08 | 0x7f => Key::Edit(Edit::Backspace),
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::Edit(Edit::Clear),
            0x17 => Key::Edit(Edit::WordBack),
            0x1b => {
                self.state = KeyState::Escape;
                return None;
            }
            b' '..=b'~' => Key::Edit(Edit::Letter(char::from(byte))),
            0xc2..=0xf4 => {
                let wanted = match byte {
                    0xc2..=0xdf => 2,
                    0xe0..=0xef => 3,
                    _ => 4,
                };
                self.state = KeyState::Letter { bytes: [byte, 0, 0, 0], length: 1, wanted };
                return None;
            }
            byte => Key::Noise(byte),
        })
    }

    fn letter(&mut self, byte: u8, mut bytes: [u8; 4], length: u8, wanted: u8) -> Option<Key> {
        if byte & 0xc0 != 0x80 {
            return Some(Key::Noise(byte));
        }
        if let Some(place) = bytes.get_mut(usize::from(length)) {
            *place = byte;
        }
        let length = length.saturating_add(1);
        if length < wanted {
            self.state = KeyState::Letter { bytes, length, wanted };
            return None;
        }
        let text = bytes.get(..usize::from(length)).and_then(|b| core::str::from_utf8(b).ok());
        Some(match text.and_then(|text| text.chars().next()) {
            Some(letter) if !letter.is_control() => Key::Edit(Edit::Letter(letter)),
            _ => Key::Noise(byte),
        })
    }

    fn sequence(&mut self, byte: u8, number: u8, letters: u8) -> Option<Key> {
        let letters = letters.saturating_add(1);
        Some(match byte {
            b'0'..=b'9' | b';' if letters < ESCAPE_BYTES_MAX => {
                let digit = byte.saturating_sub(b'0');
                let number = if byte == b';' {
                    u8::MAX
                } else {
                    number.saturating_mul(10).saturating_add(digit)
                };
                self.state = KeyState::Sequence { number, letters };
                return None;
            }
            b'A' => Key::Up,
            b'B' => Key::Down,
            b'C' => Key::Edit(Edit::Right),
            b'D' => Key::Edit(Edit::Left),
            b'H' => Key::Edit(Edit::Home),
            b'F' => Key::Edit(Edit::End),
            b'~' => match number {
                1 | 7 => Key::Edit(Edit::Home),
                3 => Key::Edit(Edit::Delete),
                4 | 8 => Key::Edit(Edit::End),
                _ => Key::Unknown,
            },
            b'@'..=b'}' => Key::Unknown,
            byte => Key::Noise(byte),
        })
    }
}
