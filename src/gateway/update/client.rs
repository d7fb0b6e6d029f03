//! The gateway's end of the socket to the keeper of the slots ([`super::keeper`]).

use std::path::PathBuf;
use std::time::Duration;

use loka_stratum::control::Refused;
use loka_stratum::limits::{UPDATE_HEADER_BYTES_MAX, UPDATE_LINE_BYTES_MAX, UPDATE_SILENCE_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::env::{self, Name};

/// The path of the keeper's socket.
#[derive(Clone, Debug)]
pub struct Keeper(pub PathBuf);

/// The running system and the one that starts next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The running slot.
    pub running: Name,
    /// The slot that starts next.
    pub active: Name,
    /// The last confirmed slot.
    pub good: Name,
    /// The running version.
    pub version: String,
    /// The board.
    pub board: String,
    /// The time within which a new system must prove that it is well.
    pub trial: Duration,
}

/// An update being uploaded.
pub struct Upload {
    line: Line,
    /// The version and the file's length, once the signature is verified.
    pub accepted: Option<(String, u64)>,
    /// The slot, once it is written and read back.
    written: Option<Name>,
    /// Bytes sent to the keeper.
    pub sent: u64,
    /// The first bytes sent: if they hold a whole header, the keeper answers to it.
    head: Vec<u8>,
}

/// An update that is written and read back.
pub struct Ready {
    line: Line,
    /// Its version.
    pub version: String,
    /// Its slot.
    pub slot: Name,
}

struct Line {
    stream: UnixStream,
    heard: Vec<u8>,
}

type Result<T> = std::result::Result<T, Refused<String>>;

const SILENCE: Duration = Duration::from_micros(UPDATE_SILENCE_MAX.as_micros());

impl Keeper {
    /// Asks for the running system.
    ///
    /// # Errors
    ///
    /// The keeper does not answer.
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

    /// Confirms the running system.
    ///
    /// # Errors
    ///
    /// The keeper refused or failed.
    pub async fn confirm(&self) -> Result<()> {
        self.ask("good").await?.hear("done").await.map(drop)
    }

    /// Makes the last confirmed slot the one that starts next.
    ///
    /// # Errors
    ///
    /// The keeper refused or failed.
    pub async fn go_back(&self) -> Result<()> {
        self.ask("back").await?.hear("done").await.map(drop)
    }

    /// Reboots the machine.
    ///
    /// # Errors
    ///
    /// The keeper refused or failed.
    pub async fn reboot(&self) -> Result<()> {
        self.ask("reboot").await?.hear("done").await.map(drop)
    }

    /// Begins an upload.
    ///
    /// # Errors
    ///
    /// The keeper does not answer.
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

    /// Sends the next bytes of the file.
    ///
    /// # Errors
    ///
    /// The update is refused, or cannot be written.
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

    /// Waits until the slot is written and read back.
    ///
    /// # Errors
    ///
    /// The update is refused, or cannot be written.
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

    /// Ends the upload early and returns the keeper's refusal.
    ///
    pub async fn give_up(mut self) -> Refused<String> {
        let _ = self.line.stream.shutdown().await;
        let mut last = Ok(String::new());
        while last.is_ok() {
            last = self.line.hear("").await;
        }
        last.err().unwrap_or_else(|| Refused::Failed("slots: no answer".to_owned()))
    }

    /// Handles an answer, which may come before anybody waits for it.
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
    /// Makes it the slot that starts next.
    ///
    /// # Errors
    ///
    /// The keeper refused or failed.
    pub async fn activate(mut self) -> Result<()> {
        self.line.say(b"activate\n").await?;
        self.line.hear("done").await.map(drop)
    }
}

impl Line {
    async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        match timeout(SILENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            // A keeper that closed the socket has sent its reason before.
            Ok(Err(error)) => {
                let heard = self.hear("").await;
                Err(heard.err().unwrap_or_else(|| gone(error)))
            }
            Err(_) => Err(Refused::Failed("slots: the keeper accepts no more bytes".to_owned())),
        }
    }

    /// Waits for a line that begins with `word`; returns the rest.
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

    /// Reads pending answers without waiting.
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

/// Parses a line of an answer.
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
    Refused::Failed(format!("slots: the keeper is gone: {error}"))
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
