//! The gateway's end of the line to who keeps the slots ([`super::keeper`]).

use std::path::PathBuf;
use std::time::Duration;

use loka_stratum::control::Refused;
use loka_stratum::limits::{UPDATE_HEADER_BYTES_MAX, UPDATE_LINE_BYTES_MAX, UPDATE_SILENCE_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::env::{self, Name};

/// Where who keeps the slots is asked.
#[derive(Clone, Debug)]
pub struct Keeper(pub PathBuf);

/// What runs, and what starts next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The slot that runs.
    pub running: Name,
    /// The slot that starts next.
    pub active: Name,
    /// The slot that was confirmed last.
    pub good: Name,
    /// The version that runs.
    pub version: String,
    /// The board.
    pub board: String,
    /// Time that a new system has to show that it is well.
    pub trial: Duration,
}

/// An update on its way.
pub struct Upload {
    line: Line,
    /// The version and the bytes of the file, as soon as they are known to be signed.
    pub accepted: Option<(String, u64)>,
    /// The slot, as soon as all of it is written there and read back.
    written: Option<Name>,
    /// Bytes that were handed on.
    pub sent: u64,
    /// The first of them: whether they have an end of the header decides what is to be waited for.
    head: Vec<u8>,
}

/// An update that is written and read back.
pub struct Ready {
    line: Line,
    /// Its version.
    pub version: String,
    /// The slot that it is in.
    pub slot: Name,
}

struct Line {
    stream: UnixStream,
    heard: Vec<u8>,
}

type Result<T> = std::result::Result<T, Refused<String>>;

const SILENCE: Duration = Duration::from_micros(UPDATE_SILENCE_MAX.as_micros());

impl Keeper {
    /// Asks what runs.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub async fn standing(&self) -> Result<Standing> {
        let mut line = self.ask("state").await?;
        let text = line.hear("state ").await?;
        let value = |name: &str| env::value(&text, name);
        let standing = || {
            Some(Standing {
                running: Name::of(value("running")?)?,
                active: Name::of(value("active")?)?,
                good: Name::of(value("good")?)?,
                version: value("version")?.to_owned(),
                board: value("board")?.to_owned(),
                trial: Duration::from_secs(value("trial")?.parse().ok()?),
            })
        };
        standing().ok_or_else(|| Refused::Failed(format!("slots: got {text:?}")))
    }

    /// Keeps what runs.
    ///
    /// # Errors
    ///
    /// It was not done.
    pub async fn confirm(&self) -> Result<()> {
        self.ask("good").await?.hear("done").await.map(drop)
    }

    /// Has the slot that was confirmed last started next.
    ///
    /// # Errors
    ///
    /// It was not done.
    pub async fn go_back(&self) -> Result<()> {
        self.ask("back").await?.hear("done").await.map(drop)
    }

    /// Starts the machine anew.
    ///
    /// # Errors
    ///
    /// It was not done.
    pub async fn reboot(&self) -> Result<()> {
        self.ask("reboot").await?.hear("done").await.map(drop)
    }

    /// Begins to hand an update on.
    ///
    /// # Errors
    ///
    /// Nobody takes it.
    pub async fn install(&self, may_downgrade: bool) -> Result<Upload> {
        let word = if may_downgrade { "install downgrade" } else { "install" };
        Ok(Upload::over(self.ask(word).await?))
    }

    async fn ask(&self, word: &str) -> Result<Line> {
        let stream = UnixStream::connect(&self.0)
            .await
            .map_err(|error| Refused::Failed(format!("slots: {}: {error}", self.0.display())))?;
        let mut line = Line { stream, heard: Vec::new() };
        line.say(format!("{word}\n").as_bytes()).await?;
        Ok(line)
    }
}

impl Upload {
    fn over(line: Line) -> Self {
        Self { line, accepted: None, written: None, sent: 0, head: Vec::new() }
    }

    /// Hands the next bytes of the file on.
    ///
    /// # Errors
    ///
    /// It is refused, or cannot be written.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.line.say(bytes).await?;
        self.sent += bytes.len() as u64;
        let room = UPDATE_HEADER_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        self.line.listen()?;
        while let Some(text) = self.line.next_line() {
            self.take(&text)?;
        }
        Ok(())
    }

    /// Waits until all of it is written and read back.
    ///
    /// # Errors
    ///
    /// It is refused, or cannot be written.
    pub async fn finish(mut self) -> Result<Ready> {
        let has_header = self.head.len() == UPDATE_HEADER_BYTES_MAX
            || self.head.windows(2).any(|pair| pair == b"\n\n");
        if has_header && self.accepted.is_none() {
            let text = self.line.hear("").await?;
            self.take(&text)?;
        }
        let Some((version, _)) = self.accepted.take_if(|(_, bytes)| self.sent >= *bytes) else {
            return Err(self.give_up().await);
        };
        loop {
            if let Some(slot) = self.written {
                return Ok(Ready { line: self.line, version, slot });
            }
            let text = self.line.hear("").await?;
            self.take(&text)?;
        }
    }

    /// Ends the file before its end, to hear what is thought of it.
    ///
    /// # Errors
    ///
    /// Always.
    pub async fn give_up(mut self) -> Refused<String> {
        let _ = self.line.stream.shutdown().await;
        let mut last = Ok(String::new());
        while last.is_ok() {
            last = self.line.hear("").await;
        }
        last.err().unwrap_or_else(|| Refused::Failed("slots: no answer".to_owned()))
    }

    /// Takes an answer, which may come before it is waited for.
    fn take(&mut self, text: &str) -> Result<()> {
        let text = understood(text, "")?;
        let words: Vec<&str> = text.split(' ').collect();
        let other = || Refused::Failed(format!("slots: got {text:?}, an answer of another form"));
        match words.as_slice() {
            ["accepted", version, bytes] => {
                let bytes = bytes.parse().map_err(|_| other())?;
                self.accepted = Some(((*version).to_owned(), bytes));
            }
            ["written", slot] => self.written = Some(Name::of(slot).ok_or_else(other)?),
            _ => return Err(other()),
        }
        Ok(())
    }
}

impl Ready {
    /// Has it started next.
    ///
    /// # Errors
    ///
    /// It was not done.
    pub async fn activate(mut self) -> Result<()> {
        self.line.say(b"activate\n").await?;
        self.line.hear("done").await.map(drop)
    }
}

impl Line {
    async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        match timeout(SILENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            // Who does not listen any more has said why.
            Ok(Err(error)) => {
                let heard = self.hear("").await;
                Err(heard.err().unwrap_or_else(|| gone(error)))
            }
            Err(_) => Err(Refused::Failed("slots: nothing is taken any more".to_owned())),
        }
    }

    /// Waits for a line that begins with `word`; returns what stands behind it.
    async fn hear(&mut self, word: &str) -> Result<String> {
        loop {
            if let Some(text) = self.next_line() {
                return understood(&text, word);
            }
            let mut bytes = [0; 256];
            let read = timeout(SILENCE, self.stream.read(&mut bytes)).await;
            let read = read.map_err(|_| Refused::Failed("slots: no answer".to_owned()))?;
            match read.map_err(gone)? {
                0 => return Err(gone(std::io::ErrorKind::UnexpectedEof.into())),
                count => self.keep(bytes.get(..count).unwrap_or_default())?,
            }
        }
    }

    /// Takes what was said meanwhile, without waiting.
    fn listen(&mut self) -> Result<()> {
        let mut bytes = [0; 256];
        match self.stream.try_read(&mut bytes) {
            Ok(count) => self.keep(bytes.get(..count).unwrap_or_default()),
            Err(_) => Ok(()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        self.heard.extend_from_slice(bytes);
        if self.heard.len() > 4 * UPDATE_LINE_BYTES_MAX {
            return Err(Refused::Failed("slots: got a line without an end".to_owned()));
        }
        Ok(())
    }

    fn next_line(&mut self) -> Option<String> {
        let end = self.heard.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// Reads a line of an answer.
fn understood(text: &str, word: &str) -> Result<String> {
    if let Some(refusal) = text.strip_prefix("refused ") {
        let (kind, text) = refusal.split_once(' ').unwrap_or(("", refusal));
        let text = text.to_owned();
        return Err(match kind {
            "invalid" => Refused::Invalid(text),
            "conflict" => Refused::Conflict(text),
            _ => Refused::Failed(text),
        });
    }
    let rest = text.strip_prefix(word);
    rest.map(str::to_owned)
        .ok_or_else(|| Refused::Failed(format!("slots: got {text:?}, allowed {word:?}")))
}

fn gone(error: std::io::Error) -> Refused<String> {
    Refused::Failed(format!("slots: who writes them is gone: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_written_before_anybody_waits_for_it_is_heard_of() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stream, mut keeper) = UnixStream::pair().unwrap();
            let mut upload = Upload::over(Line { stream, heard: Vec::new() });
            upload.push(b"head\n\nimage").await.unwrap();
            keeper.write_all(b"accepted 0.2.0 11\nwritten b\n").await.unwrap();
            upload.line.stream.readable().await.unwrap();
            upload.push(b"").await.unwrap();
            drop(keeper);
            let ready = upload.finish().await.map(|ready| (ready.version, ready.slot));
            assert_eq!(ready, Ok(("0.2.0".to_owned(), Name::B)));
        });
    }
}
