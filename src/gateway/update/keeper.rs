//! The keeper of the system slots: `loka-stratum slots FILE`, the only process of the image that
//! may write them.
//!
//! Read this first. The gateway faces two networks and may write no part of the system. It forwards
//! an update over a socket to this process, which faces no network. The keeper does not trust the
//! gateway: it checks the update against keys that the gateway cannot change ([ADR
//! 10](../../../docs/adr/0010-updates.md)). The gateway cannot lower the version floor either: an
//! older version also needs `downgrades = true` in the keeper's own file.
//!
//! A request is one line; the answer is one or more lines:
//!
//! ```text
//! > state                      < state running=a active=a good=a version=0.1.0 board=... ...
//! > install | install downgrade
//! > the bytes of a file        < accepted 0.2.0 3658346     signed, and for this system
//!                              < written b                  and read back
//! > activate                   < done                       it starts next
//! > good | back | reboot       < done
//! anything                     < refused invalid|conflict|failed TEXT
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use embedded_svc::io::Write as _;
use embedded_svc::ota::{Ota, OtaUpdate, OtaUpdateFinished};
use loka_stratum::control::Refused;
use loka_stratum::limits::{
    UPDATE_CHUNK_BYTES, UPDATE_HEALTH_DEFAULT, UPDATE_HEALTH_MAX, UPDATE_IMAGE_BYTES_MAX,
    UPDATE_KEY_BYTES_MAX, UPDATE_KEYS_MAX, UPDATE_LINE_BYTES_MAX, UPDATE_SILENCE_MAX,
};
use serde::Deserialize;

use super::env::Name;
use super::file::{FileError, Reader};
use super::manifest::{Manifest, System, Unfit};
use super::signature::PublicKey;
use super::slots::{SlotError, Slots, Writing};
use crate::gateway::base::disk::Foreign;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::say::{USAGE, say, say_error};

/// Flags of `slots`.
#[derive(clap::Args)]
pub struct SlotsArgs {
    /// File with the slots' partitions and the trusted keys.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// The contents of FILE.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keeping {
    /// The socket that the gateway connects to.
    socket: PathBuf,
    /// The uid that may connect; by default the keeper's own.
    owner: Option<u32>,
    /// Partitions: the boot environment and the two slots.
    env: PathBuf,
    a: PathBuf,
    b: PathBuf,
    /// File with the letter of the running slot.
    running: PathBuf,
    /// File with the running version.
    version: PathBuf,
    board: String,
    target: String,
    /// Folders with public keys, `*.pub`.
    keys: Vec<PathBuf>,
    caches: Option<PathBuf>,
    reboot: Vec<String>,
    /// Seconds within which a new system must prove that it is well.
    trial_secs: Option<u64>,
    /// Whether the gateway may ask for a version older than the running one.
    #[serde(default)]
    downgrades: bool,
}

/// One connection of the gateway.
struct Talk {
    stream: UnixStream,
    /// Bytes received and not yet used.
    ahead: Vec<u8>,
}

type Answer = Result<(), Refused<String>>;

const LETTER_BYTES_MAX: usize = 16;
const VERSION_BYTES_MAX: usize = 128;
const FILE_BYTES_MAX: usize = 16_384;

/// Runs the command for as long as the machine is up.
pub fn run(args: &SlotsArgs) -> ExitCode {
    let keeping = match Keeping::read(&args.file) {
        Ok(keeping) => keeping,
        Err(text) => {
            say_error(format_args!("{text}"));
            return ExitCode::from(USAGE);
        }
    };
    match keeping.serve() {
        Ok(never) => match never {},
        Err(error) => {
            say_error(format_args!("{}: {error}", keeping.socket.display()));
            ExitCode::FAILURE
        }
    }
}

impl Keeping {
    fn read(path: &Path) -> Result<Self, String> {
        let of = |text: String| format!("{}: {text}", path.display());
        let bytes = Foreign.read(path, FILE_BYTES_MAX).map_err(|error| of(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| of(error.to_string()))?;
        let keeping: Self = toml::from_str(text).map_err(|error| of(error.to_string()))?;
        let (secs, most) = (keeping.trial_secs(), UPDATE_HEALTH_MAX.as_secs());
        if (1..=most).contains(&secs) {
            Ok(keeping)
        } else {
            Err(of(format!("trial_secs: got {secs}, allowed 1..{most}")))
        }
    }

    fn trial_secs(&self) -> u64 {
        self.trial_secs.unwrap_or(UPDATE_HEALTH_DEFAULT.as_secs())
    }

    fn serve(&self) -> io::Result<std::convert::Infallible> {
        let _ = fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600))?;
        if let Some(owner) = self.owner {
            chown(&self.socket, Some(owner), None)?;
        }
        say(format_args!("slots {}", self.socket.display()));
        loop {
            let (stream, _) = listener.accept()?;
            if let Err(error) = self.answer(stream) {
                log::warn(Kind::Update, format_args!("a question was not answered: {error}"));
            }
        }
    }

    /// Answers one request.
    fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let silence = Duration::from_micros(UPDATE_SILENCE_MAX.as_micros());
        stream.set_read_timeout(Some(silence))?;
        stream.set_write_timeout(Some(silence))?;
        let mut talk = Talk { stream, ahead: Vec::new() };
        let word = talk.line()?;
        let answer = self.carry_out(&word, &mut talk);
        match answer {
            Ok(()) => talk.say(format_args!("done")),
            Err(refused) => {
                let (kind, text) = match &refused {
                    Refused::Invalid(text) => ("invalid", text.as_str()),
                    Refused::Conflict(text) => ("conflict", text.as_str()),
                    Refused::Failed(text) => ("failed", text.as_str()),
                    Refused::Forbidden { .. } => ("failed", "it is not allowed"),
                };
                log::warn(Kind::Update, format_args!("{word}: {text}"));
                talk.say(format_args!("refused {kind} {}", text.replace('\n', " ")))?;
                talk.pass_over_the_rest()
            }
        }
    }

    fn carry_out(&self, word: &str, talk: &mut Talk) -> Answer {
        let mut slots = self.open().map_err(Refused::Failed)?;
        match word {
            "state" => {
                let env = slots.env()?;
                let text = format!(
                    "running={} active={} good={} version={} board={} target={} \
                     trial={}",
                    slots.running,
                    env.active,
                    env.good,
                    slots.version,
                    self.board,
                    self.target,
                    self.trial_secs()
                );
                talk.say(format_args!("state {text}")).map_err(lost)
            }
            "good" => Ok(slots.mark_running_slot_valid()?),
            "back" => Ok(slots.go_back()?),
            "reboot" => Ok(slots.reboot()?),
            "install" => self.install(&mut slots, false, talk),
            // The request comes from the untrusted gateway, so the keeper's own file decides on the
            // floor.
            "install downgrade" => self.install(&mut slots, self.downgrades, talk),
            _ => Err(Refused::Invalid(format!("got {word:?}, allowed the commands of keeper.rs"))),
        }
    }

    /// Receives an update, and activates it if the gateway asks for that afterwards.
    fn install(&self, slots: &mut Slots<File>, may_downgrade: bool, talk: &mut Talk) -> Answer {
        let keys = self.trusted().map_err(Refused::Failed)?;
        let system = self.system(slots)?;
        let (idle, room) = (slots.idle(), slots.room()?);
        let mut reader = Reader::default();
        let mut bytes = vec![0; UPDATE_CHUNK_BYTES];
        let (manifest, first) = loop {
            let taken = reader.take(talk.piece(&mut bytes, &reader)?, &keys)?;
            if let Some(manifest) = taken.manifest {
                break (manifest, taken.image.to_vec());
            }
        };
        manifest.check(&system, may_downgrade)?;
        if manifest.length > room {
            return Err(SlotError::Full { allowed: room }.into());
        }
        let mut writing = slots.initiate_update()?;
        let (version, whole) = (&manifest.version, reader.length());
        talk.say(format_args!("accepted {version} {whole}")).map_err(lost)?;
        writing.write_all(&first)?;
        while !reader.is_whole() {
            let piece = talk.piece(&mut bytes, &reader)?;
            writing.write_all(reader.take(piece, &keys)?.image)?;
        }
        finish(writing, &manifest, idle, talk)
    }

    fn open(&self) -> Result<Slots<File>, String> {
        let of = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let text = |path: &Path, bytes_max| {
            let bytes = Foreign.read(path, bytes_max).map_err(|error| of(path, error))?;
            Ok::<_, String>(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        let letter = text(&self.running, LETTER_BYTES_MAX)?;
        let running = Name::of(&letter)
            .ok_or_else(|| format!("{}: got {letter:?}, allowed a or b", self.running.display()))?;
        let version = text(&self.version, VERSION_BYTES_MAX)?;
        let open = |path: &Path, may_write| {
            let file = OpenOptions::new().read(true).write(may_write).open(path);
            file.map_err(|error| of(path, error))
        };
        Ok(Slots {
            env: open(&self.env, true)?,
            // The running slot is not even opened for writing.
            a: open(&self.a, running != Name::A)?,
            b: open(&self.b, running != Name::B)?,
            running,
            version,
            caches: self.caches.clone(),
            reboot: self.reboot.clone(),
        })
    }

    fn system(&self, slots: &Slots<File>) -> Result<System, Refused<String>> {
        let version = slots.version.parse().map_err(|error| {
            let text = format!("{}: {:?}: {error}", self.version.display(), slots.version);
            Refused::Failed(text)
        })?;
        Ok(System { board: self.board.clone(), target: self.target.clone(), version })
    }

    /// Reads the trusted keys afresh.
    fn trusted(&self) -> Result<Vec<PublicKey>, String> {
        let mut keys = Vec::new();
        for folder in &self.keys {
            // A missing folder holds no keys.
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let mut paths: Vec<PathBuf> =
                paths.filter(|path| path.extension().is_some_and(|end| end == "pub")).collect();
            paths.sort();
            for path in paths {
                let of = |text: String| format!("{}: {text}", path.display());
                let bytes = Foreign.read(&path, UPDATE_KEY_BYTES_MAX);
                let bytes = bytes.map_err(|error| of(error.to_string()))?;
                let key = PublicKey::parse(&String::from_utf8_lossy(&bytes));
                keys.push(key.map_err(|error| of(error.to_string()))?);
            }
        }
        if keys.len() > UPDATE_KEYS_MAX {
            return Err(format!("keys: got {}, allowed {UPDATE_KEYS_MAX}", keys.len()));
        }
        Ok(keys)
    }
}

/// Completes a received slot, and activates it if the gateway asks for that.
fn finish(writing: Writing<'_, File>, manifest: &Manifest, slot: Name, talk: &mut Talk) -> Answer {
    if writing.sha256() != manifest.sha256 {
        writing.abort()?;
        let text = "image: its SHA-256 is not the one that was signed; fetch the file again";
        return Err(Refused::Invalid(text.to_owned()));
    }
    let written = writing.finish()?;
    talk.say(format_args!("written {slot}")).map_err(lost)?;
    match talk.line().map_err(lost)?.as_str() {
        "activate" => {
            written.activate()?;
            let version = &manifest.version;
            log::info(Kind::Update, format_args!("slot {slot} has {version} and starts next"));
            Ok(())
        }
        word => Err(Refused::Invalid(format!("got {word:?}, allowed activate"))),
    }
}

impl Talk {
    /// Reads a line.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.ahead.len() > UPDATE_LINE_BYTES_MAX {
                return Err(io::Error::other("a line is too long"));
            }
            let mut bytes = [0; 256];
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.ahead.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Reads the next piece of the update file.
    fn piece<'b>(
        &mut self,
        bytes: &'b mut [u8],
        reader: &Reader,
    ) -> Result<&'b [u8], Refused<String>> {
        let count = self.read(bytes)?;
        if count == 0 {
            reader.end()?;
        }
        Ok(bytes.get(..count).unwrap_or_default())
    }

    /// Reads bytes; returns 0 at the end.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Refused<String>> {
        if self.ahead.is_empty() {
            return self.stream.read(bytes).map_err(lost);
        }
        let count = self.ahead.len().min(bytes.len());
        for (place, byte) in bytes.iter_mut().zip(self.ahead.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }

    /// Drains the rest of the upload, so that the gateway reads the refusal sent before.
    fn pass_over_the_rest(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let rest = (&self.stream).take(UPDATE_IMAGE_BYTES_MAX);
        io::copy(&mut { rest }, &mut io::sink()).map(|_| ())
    }
}

fn lost(error: io::Error) -> Refused<String> {
    Refused::Failed(format!("the gateway is gone: {error}"))
}

impl From<SlotError> for Refused<String> {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::OnTrial => Self::Conflict(error.to_string()),
            SlotError::Full { .. } => Self::Invalid(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<FileError> for Refused<String> {
    fn from(error: FileError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<Unfit> for Refused<String> {
    fn from(error: Unfit) -> Self {
        Self::Invalid(format!("update: {error}"))
    }
}
