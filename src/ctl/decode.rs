//! `ctl log --decode`: a gateway's frames as text, decoded with the unstripped ELF of its build.
//!
//! The frames come from a gateway, from a copy of its state directory, or from a capture of a
//! serial port. Frames of another build than the ELF's are counted and not decoded: the result
//! would be wrong without a sign of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use defmt_decoder::{DecodeError, Table};
use loka_stratum::control::{Item, Request};
use loka_stratum::wire::hex;

use super::{CtlError, Way};
use crate::gateway::base::frames::{self, BuildId, ring};
use crate::gateway::base::say::{say, say_error};

/// Longest capture that is read, in bytes.
const CAUGHT_BYTES_MAX: u64 = 64 << 20;

/// Events shown by default; a serial line carries them in four seconds.
const COUNT_DEFAULT: u16 = 1_000;

/// Shows events as text, from their frames.
#[derive(Parser)]
#[command(name = "ctl log", disable_help_subcommand = true)]
pub struct DecodeArgs {
    /// Decode frames, instead of showing the lines of the log.
    #[arg(long, required = true)]
    decode: bool,
    /// The ELF file of the gateway's build, with its symbols.
    #[arg(long, value_name = "FILE")]
    elf: PathBuf,
    /// A copy of a state directory, or a capture of a serial port. Without it: frames from the
    /// gateway.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Number of newest events.
    #[arg(value_name = "COUNT", default_value_t = COUNT_DEFAULT)]
    count: u16,
}

/// Frames of one build; the build is unknown in a capture of a serial port.
struct Part {
    build: Option<BuildId>,
    frames: Vec<Vec<u8>>,
}

impl DecodeArgs {
    /// Parses a line that asks for decoding; `None` for any other line.
    pub fn of(words: &[String]) -> Option<Result<Self, CtlError>> {
        if words.first()? != "log" || !words.iter().any(|word| word == "--decode") {
            return None;
        }
        let words = words.iter().map(OsString::from);
        Some(Self::try_parse_from(words).map_err(|error| CtlError::Usage(error.to_string())))
    }

    /// Says whether the frames come from a gateway.
    pub fn asks(&self) -> bool {
        self.from.is_none()
    }

    /// Prints the events, the oldest first.
    ///
    /// # Errors
    ///
    /// The ELF is of another build or none, there are no frames, or they could not be fetched.
    pub async fn run(&self, way: Option<&mut Way>) -> Result<(), CtlError> {
        let elf = self.elf.display();
        let wrong = |error: &dyn std::fmt::Display| CtlError::Usage(format!("{elf}: {error}"));
        let build = BuildId::of(&self.elf).map_err(|error| wrong(&error))?;
        let bytes = fs::read(&self.elf).map_err(|error| wrong(&error))?;
        let table = Table::parse(&bytes).ok().flatten().filter(|table| !table.is_empty());
        let stripped = "no texts in it: the ELF as it was before it was stripped is needed";
        let table = table.ok_or_else(|| wrong(&stripped))?;
        let parts = match (&self.from, way) {
            (Some(path), _) => from_files(path)?,
            (None, Some(way)) => vec![self.ask(way).await?],
            (None, None) => Vec::new(),
        };
        print(&table, &build, parts, self.count)
    }

    /// Fetches the newest frames of a gateway.
    async fn ask(&self, way: &mut Way) -> Result<Part, CtlError> {
        let mut lines = Vec::new();
        let request = Request::Frames { count: self.count };
        way.ask(&request, &mut |item| {
            if let Item::Text(line) = item {
                lines.push(line.to_owned());
            }
        })
        .await?;
        let bytes = |line: &str| {
            let mut buffer = vec![0; line.len() / 2];
            hex::decode(line.as_bytes(), &mut buffer).ok().map(<[u8]>::to_vec)
        };
        let (first, frames) = lines.split_first().ok_or_else(no_frames)?;
        let build = first.strip_prefix("build ").and_then(bytes);
        let build = build.and_then(|bytes| BuildId::from_bytes(&bytes));
        Ok(Part { build, frames: frames.iter().filter_map(|line| bytes(line)).collect() })
    }
}

fn no_frames() -> CtlError {
    CtlError::Lost("the gateway gave no frames".to_owned())
}

fn from_files(path: &Path) -> Result<Vec<Part>, CtlError> {
    let wrong =
        |error: &dyn std::fmt::Display| CtlError::Usage(format!("{}: {error}", path.display()));
    let about = fs::metadata(path).map_err(|error| wrong(&error))?;
    if about.is_dir() {
        let parts = ring::read(path);
        if parts.is_empty() {
            return Err(wrong(
                &"no frames in it; a state directory has them in events.0, events.1",
            ));
        }
        let part = |part: ring::Part| {
            if part.is_torn {
                say_error(format_args!("the end of a file was torn off; what came before is read"));
            }
            Part { build: Some(part.build), frames: part.frames }
        };
        return Ok(parts.into_iter().map(part).collect());
    }
    if about.len() > CAUGHT_BYTES_MAX {
        return Err(wrong(&format!("got {} bytes, up to {CAUGHT_BYTES_MAX}", about.len())));
    }
    let bytes = fs::read(path).map_err(|error| wrong(&error))?;
    let frames = frames::split(&bytes).map(<[u8]>::to_vec).collect();
    Ok(vec![Part { build: None, frames }])
}

fn print(table: &Table, build: &BuildId, parts: Vec<Part>, count: u16) -> Result<(), CtlError> {
    let mut frames = Vec::new();
    let mut others = 0;
    for part in parts {
        match part.build {
            Some(other) if other != *build => {
                let much = part.frames.len();
                others += much;
                say_error(format_args!("{much} frames are of build {other}, the ELF of {build}"));
            }
            _ => frames.extend(part.frames),
        }
    }
    if frames.is_empty() && others > 0 {
        let text = "not one frame is of the ELF's build; give the ELF of the other";
        return Err(CtlError::Usage(text.to_owned()));
    }
    let mut damaged = 0;
    let skip = frames.len().saturating_sub(count.into());
    for frame in frames.iter().skip(skip) {
        match line(table, frame) {
            Some(line) => say(format_args!("{line}")),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        say_error(format_args!("{damaged} frames are damaged"));
    }
    Ok(())
}

/// Decodes a frame into a log line.
fn line(table: &Table, frame: &[u8]) -> Option<String> {
    let mut stream = table.new_stream_decoder();
    stream.received(frame);
    stream.received(&[0]);
    let frame = stream.decode().map_err(|_: DecodeError| ()).ok()?;
    let time = frame.display_timestamp().map(|time| time.to_string()).unwrap_or_default();
    let level = frame.level().map_or("INFO", |level| level.as_str());
    // A pool may have chosen some words; control characters must not reach a terminal.
    let text = frame.display_message().to_string();
    let text = text.replace(char::is_control, "\u{fffd}");
    Some(format!("{time} {} {text}", level.to_uppercase()))
}
