//! A console for people: a terminal's bytes in, its bytes out, requests out.
//!
//! Read this first. [`Console`] does no input or output and knows no setting. Its owner hands it
//! one byte at a time ([`Console::handle_byte`]). When that returns `true`, the owner carries out
//! the request ([`Console::request`]). It hands back each part of the answer
//! ([`Console::handle_item`]) and the end ([`Console::handle_end`]) before the next byte. Enter at
//! an empty prompt asks for the greeting ([`Console::take_call`]): the owner prints it, or only the
//! prompt.
//!
//! A line that is cut off, too long, or holds a byte that is not text is dropped whole, with a
//! message. Noise, a wrong baud rate or a paste of a megabyte therefore changes nothing (F73).
//! Commands change a candidate, which takes effect at `commit`.
//!
//! `help` and completion come from `VERBS` and `FIELDS`, so new verbs and keys appear here.
//! Passwords are asked for without echo, and lines with secrets do not enter the history.
//!
//! ```
//! use loka_stratum::console::Console;
//! use loka_stratum::control::{Item, Request};
//!
//! let (mut console, mut screen) = (Console::new(), String::new());
//! let is_there = b"show miners.max\r".map(|byte| console.handle_byte(byte, &mut screen));
//! assert_eq!(is_there.last(), Some(&true));
//! assert_eq!(console.request(), Some(Request::Show { prefix: "miners.max" }));
//! console.handle_item(&Item::Text("auto"), &mut screen);
//! console.handle_end(Ok(()), &mut screen);
//! assert_eq!(screen, "show miners.max\r\nauto\r\nloka> ");
//! ```

mod complete;
mod help;
mod line;
mod show;

use core::fmt::{self, Write};

use heapless::Deque;

use crate::control::{Item, ParseErrorKind, Request};
use crate::limits::{CONSOLE_HISTORY_MAX, CONSOLE_LINE_BYTES_MAX, PASSWORD_BYTES_MAX};
use crate::settings::Key as SettingKey;

use line::{Edit, Key, Keys, Line, Spoiled, Text};
pub use show::Printer;

/// The prompt's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// There are uncommitted changes.
    pub is_changed: bool,
    /// Seconds until an unconfirmed commit is taken back.
    pub seconds_left: Option<u16>,
}

/// A console.
#[derive(Default)]
pub struct Console {
    keys: Keys,
    line: Line,
    /// The line being carried out, or the line that raised the question.
    asked: Text,
    question: Question,
    word: Text,
    is_ready: bool,
    /// Enter was pressed at an empty prompt.
    is_called: bool,
    history: Deque<Text, CONSOLE_HISTORY_MAX>,
    /// How far back in the history the shown line stands; 0 for a new one.
    back: usize,
    prompt: Prompt,
    printer: Printer,
    is_answered: bool,
}

/// The question that the next line answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    /// The prompt.
    #[default]
    Verb,
    /// A question for a secret.
    Word,
    /// The same question, repeated.
    WordAgain,
    /// The question for confirmation.
    Sure,
}

impl Console {
    /// Creates a console with an empty screen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Greets a new user, with one line per text.
    pub fn greet<'a>(&mut self, lines: impl Iterator<Item = &'a str>, out: &mut dyn Write) {
        let mut out = Crlf(out);
        let _ = writeln!(out);
        for line in lines {
            let _ = writeln!(out, "{}", show::Clean(line));
        }
        let _ = writeln!(out, "help lists the verbs.");
        self.begin(Question::Verb, out.0);
    }

    /// Sets the prompt's status from now on.
    pub fn set_prompt(&mut self, prompt: Prompt) {
        self.prompt = prompt;
    }

    /// Takes a byte; returns whether a request is ready.
    pub fn handle_byte(&mut self, byte: u8, out: &mut dyn Write) -> bool {
        // A closed terminal is no reason to fail.
        let _ = self.take(byte, out);
        self.is_ready
    }

    /// Returns `true`, once, after Enter at an empty prompt; the prompt is not shown again yet.
    pub fn take_call(&mut self) -> bool {
        core::mem::take(&mut self.is_called)
    }

    /// Shows the prompt again, without a greeting.
    pub fn prompt_again(&mut self, out: &mut dyn Write) {
        self.begin(Question::Verb, out);
    }

    /// Returns the pending request.
    pub fn request(&self) -> Option<Request<'_>> {
        if !self.is_ready {
            return None;
        }
        if let Some(key) = secret_key(&self.asked) {
            return Some(Request::Set { key, value: &self.word });
        }
        Some(match Request::parse(&self.asked).ok()? {
            Request::Password { role, .. } => Request::Password { role, word: &self.word },
            Request::Admit { worker, .. } => Request::Admit { worker, word: &self.word },
            Request::Reset { .. } => Request::Reset { sure: &self.word },
            request => request,
        })
    }

    /// Prints a part of the answer.
    pub fn handle_item(&mut self, item: &Item<'_>, out: &mut dyn Write) {
        self.is_answered = true;
        let _ = self.printer.print(item, &mut Crlf(out));
    }

    /// Prints the end of the answer, and the prompt.
    pub fn handle_end(&mut self, end: Result<(), &dyn fmt::Display>, out: &mut dyn Write) {
        let mut crlf = Crlf(out);
        let _ = match end {
            Ok(()) if self.is_answered => Ok(()),
            Ok(()) => writeln!(crlf, "ok"),
            Err(refused) => writeln!(crlf, "error: {refused}"),
        };
        self.begin(Question::Verb, out);
    }

    /// Prints an unrequested line above the line being typed.
    pub fn handle_notice(&mut self, text: &str, out: &mut dyn Write) {
        let _ = write!(out, "\r\x1b[K{}\r\n", show::Clean(text));
        let _ = self.show_prompt(out).and_then(|()| self.line.show(out));
    }

    /// Forgets a partial line and a question: another person types now.
    pub fn drop_line(&mut self) {
        self.keys = Keys::default();
        self.set_question(Question::Verb);
    }

    fn take(&mut self, byte: u8, out: &mut dyn Write) -> fmt::Result {
        let Some(key) = self.keys.handle_byte(byte) else { return Ok(()) };
        match key {
            Key::Edit(edit) => self.line.edit(edit, out),
            Key::Enter => self.enter(out),
            Key::Tab if self.question == Question::Verb => self.complete(out),
            Key::Up if self.question == Question::Verb => self.recall(true, out),
            Key::Down if self.question == Question::Verb => self.recall(false, out),
            Key::Tab | Key::Up | Key::Down | Key::Unknown => out.write_char('\x07'),
            Key::Interrupt => {
                out.write_str("^C\r\n")?;
                self.begin(Question::Verb, out);
                Ok(())
            }
            Key::Noise(byte) => {
                self.line.spoil(byte);
                if matches!(byte, b'\r' | b'\n') { self.enter(out) } else { Ok(()) }
            }
        }
    }

    fn enter(&mut self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("\r\n")?;
        match self.line.text() {
            Ok(text) => self.answer(text, out),
            Err(spoiled) => {
                write!(out, "error: {spoiled}\r\n")?;
                self.begin(Question::Verb, out);
                Ok(())
            }
        }
    }

    /// Takes a whole line as the answer to the current question.
    fn answer(&mut self, text: Text, out: &mut dyn Write) -> fmt::Result {
        match self.question {
            Question::Verb => self.read(text, out),
            Question::Word if text.len() > PASSWORD_BYTES_MAX => {
                let length = text.len();
                let allowed = "bytes; nothing was changed";
                write!(
                    out,
                    "error: got {length} bytes, allowed 0..{PASSWORD_BYTES_MAX} {allowed}\r\n"
                )?;
                self.begin(Question::Verb, out);
                Ok(())
            }
            Question::Word => {
                self.word = text;
                self.begin(Question::WordAgain, out);
                Ok(())
            }
            Question::WordAgain if text != self.word => {
                out.write_str("error: the two entries differ; nothing was changed\r\n")?;
                self.begin(Question::Verb, out);
                Ok(())
            }
            Question::Sure if text.trim() != "reset" => {
                out.write_str("error: not confirmed; nothing was changed\r\n")?;
                self.begin(Question::Verb, out);
                Ok(())
            }
            Question::WordAgain => {
                self.is_ready = true;
                Ok(())
            }
            Question::Sure => {
                self.word = text.trim().try_into().unwrap_or_default();
                self.is_ready = true;
                Ok(())
            }
        }
    }

    /// Reads a line typed at the prompt.
    fn read(&mut self, text: Text, out: &mut dyn Write) -> fmt::Result {
        self.asked = text;
        if !self.has_secret() {
            self.remember();
        }
        if let Some(about) = help::about(&self.asked) {
            help::print(about, &mut Crlf(out))?;
            self.begin(Question::Verb, out);
            return Ok(());
        }
        let question = match Request::parse(&self.asked) {
            Ok(Request::Password { .. } | Request::Admit { .. }) => Question::Word,
            Ok(Request::Reset { .. }) => Question::Sure,
            Ok(_) => {
                self.is_ready = true;
                return Ok(());
            }
            Err(error) if error.kind == ParseErrorKind::Empty => {
                self.set_question(Question::Verb);
                self.is_called = true;
                return Ok(());
            }
            Err(_) if secret_key(&self.asked).is_some() => Question::Word,
            Err(error) => {
                write!(out, "error: {error}\r\n")?;
                Question::Verb
            }
        };
        self.begin(question, out);
        Ok(())
    }

    /// Says whether the line holds a secret, which the history must not keep.
    fn has_secret(&self) -> bool {
        let mut words = self.asked.split_whitespace();
        words.next() == Some("set")
            && words.next().and_then(SettingKey::parse).is_some_and(|key| key.field().is_secret())
    }

    fn remember(&mut self) {
        let is_same = self.history.front().is_some_and(|last| *last == self.asked);
        if is_same || self.asked.trim().is_empty() {
            return;
        }
        if self.history.is_full() {
            self.history.pop_back();
        }
        let _ = self.history.push_front(self.asked.clone());
    }

    /// Shows the previous or next line of the history.
    fn recall(&mut self, is_before: bool, out: &mut dyn Write) -> fmt::Result {
        let back =
            if is_before { self.back.saturating_add(1) } else { self.back.saturating_sub(1) };
        let text = match back.checked_sub(1) {
            None if self.back == 0 => return out.write_char('\x07'),
            None => "",
            Some(index) => match self.history.iter().nth(index) {
                Some(text) => text.as_str(),
                None => return out.write_char('\x07'),
            },
        };
        self.back = back;
        self.line.replace(text, out)
    }

    fn complete(&mut self, out: &mut dyn Write) -> fmt::Result {
        let before = self.line.before_cursor();
        let found = complete::complete(&before);
        for letter in found.common.chars() {
            self.line.edit(Edit::Letter(letter), out)?;
        }
        match found.count {
            0 => out.write_char('\x07'),
            1 => self.line.edit(Edit::Letter(' '), out),
            _ if found.common.is_empty() => {
                out.write_str("\r\n")?;
                complete::list(&before, &mut Crlf(out))?;
                self.show_prompt(out)?;
                self.line.show(out)
            }
            _ => Ok(()),
        }
    }

    fn set_question(&mut self, question: Question) {
        self.question = question;
        self.is_ready = false;
        self.back = 0;
        if question == Question::Verb {
            self.asked.clear();
            self.word.clear();
            self.is_answered = false;
            self.printer = Printer::default();
        }
        let is_hidden = matches!(question, Question::Word | Question::WordAgain);
        self.line.begin(is_hidden);
    }

    fn begin(&mut self, question: Question, out: &mut dyn Write) {
        self.set_question(question);
        let _ = self.show_prompt(out);
    }

    fn show_prompt(&self, out: &mut dyn Write) -> fmt::Result {
        match self.question {
            Question::Verb => self.prompt.fmt_to(out),
            Question::Word => match Request::parse(&self.asked) {
                Ok(Request::Password { role, .. }) => write!(out, "new password of {role}: "),
                Ok(Request::Admit { worker, .. }) => write!(out, "new password of {worker}: "),
                _ => write!(out, "{}: ", secret_key(&self.asked).unwrap_or_default()),
            },
            Question::WordAgain => out.write_str("once more: "),
            Question::Sure => {
                out.write_str("This forgets all settings and passwords. Type reset to do it: ")
            }
        }
    }
}

impl Prompt {
    fn fmt_to(self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("loka")?;
        if self.is_changed {
            out.write_str(" (not committed)")?;
        }
        if let Some(seconds) = self.seconds_left {
            write!(out, " (confirm within {seconds} s)")?;
        }
        out.write_str("> ")
    }
}

impl fmt::Display for Spoiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "got a line of more than {CONSOLE_LINE_BYTES_MAX} bytes; ")?;
            }
            Self::NoText { column, byte } => {
                write!(f, "column {column}: got byte 0x{byte:02x}, which is not text; ")?;
            }
        }
        f.write_str("the line was dropped")
    }
}

/// Returns the subject of a help request; empty for all of it.
pub fn help_about(line: &str) -> Option<&str> {
    help::about(line)
}

/// Prints help about a verb or a key, or all of it.
///
/// # Errors
///
/// Those of `out`.
pub fn print_help(about: &str, out: &mut dyn Write) -> fmt::Result {
    help::print(about, out)
}

/// Returns the key of `set KEY` without a value, if its value is a secret: the console asks for it
/// like a password.
pub fn secret_key(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let (verb, key, rest) = (words.next()?, words.next()?, words.next());
    let is_secret = SettingKey::parse(key)?.field().is_secret();
    (verb == "set" && rest.is_none() && is_secret).then_some(key)
}

/// Ends lines with CR and LF, as a terminal needs.
struct Crlf<'a>(&'a mut dyn Write);

impl Write for Crlf<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut parts = text.split('\n');
        if let Some(first) = parts.next() {
            self.0.write_str(first)?;
        }
        parts.try_for_each(|part| {
            self.0.write_str("\r\n")?;
            self.0.write_str(part)
        })
    }
}

#[cfg(test)]
mod tests;
