//! The boot environment: which slot starts, in a line that `xtask/image/slots.sh` also reads and
//! writes.
//!
//! ```text
//! seq=7 active=b tries=2 good=a sum=0123456789abcdef0123456789abcdef
//! ```
//!
//! Two copies lie on their own partition, at 0 and at [`COPY_BYTES`]. The newer sound copy is valid
//! and the other one is written next, so a torn write leaves the previous line. The boot program
//! reads it before any system runs. It takes one from `tries` at every start of an `active` slot
//! that is not `good` yet.

use std::fmt;
use std::io;

use loka_stratum::wire::hex::Digits;
use sha2::{Digest, Sha256};

use super::slots::Medium;

/// Offset of the second copy, in bytes.
const COPY_BYTES: u64 = 4096;

/// Bytes of the longest line, with room.
const LINE_BYTES_MAX: usize = 128;

/// Bytes of the sum: half of a SHA-256.
const SUM_BYTES: usize = 16;

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The first slot.
    A,
    /// The second slot.
    B,
}

/// The boot environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// Its sequence number; [`Env::write`] increments it.
    pub(super) seq: u64,
    /// The slot that starts next.
    pub active: Name,
    /// Starts left before it must be confirmed.
    pub tries: u8,
    /// The last confirmed slot.
    pub good: Name,
}

impl Name {
    /// Returns the other slot.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the slot of a letter.
    pub fn of(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// Returns its letter.
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Env {
    /// Reads the valid copy; without a sound copy, the first slot starts.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn read(medium: &impl Medium) -> io::Result<Self> {
        Ok(Self::find(medium)?.map_or(Self::FIRST, |(env, _)| env))
    }

    /// Writes a newer line over the older copy.
    ///
    /// # Errors
    ///
    /// The system's error; either this line or the previous one is valid then.
    pub fn write(self, medium: &mut impl Medium) -> io::Result<()> {
        let (before, copy) = Self::find(medium)?.unwrap_or((Self::FIRST, 1));
        let env = Self { seq: before.seq + 1, ..self };
        let mut block = [0; COPY_BYTES as usize];
        let line = env.line();
        for (place, byte) in block.iter_mut().zip(line.bytes()) {
            *place = byte;
        }
        medium.write_at((1 - copy) * COPY_BYTES, &block)?;
        medium.sync()
    }

    /// Says whether the running slot is still unconfirmed.
    pub fn is_on_trial(self, running: Name) -> bool {
        self.active == running && self.good != running
    }

    /// Returns the environment after the running slot is confirmed.
    pub fn confirmed(self, running: Name) -> Self {
        Self { active: running, good: running, tries: 0, ..self }
    }

    const FIRST: Self = Self { seq: 0, active: Name::A, tries: 0, good: Name::A };

    /// Finds the valid copy and its index.
    fn find(medium: &impl Medium) -> io::Result<Option<(Self, u64)>> {
        let mut found: Option<(Self, u64)> = None;
        for copy in 0..2 {
            let mut bytes = [0; LINE_BYTES_MAX];
            let count = medium.read_at(copy * COPY_BYTES, &mut bytes)?;
            let env = Self::parse(bytes.get(..count).unwrap_or_default());
            if let Some(env) = env
                && found.is_none_or(|(newest, _)| env.seq > newest.seq)
            {
                found = Some((env, copy));
            }
        }
        Ok(found)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let line = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let (text, sum) = line.rsplit_once(" sum=")?;
        if sum_of(text) != sum {
            return None;
        }
        Some(Self {
            seq: value(text, "seq")?.parse().ok().filter(|seq| *seq > 0)?,
            active: Name::of(value(text, "active")?)?,
            tries: value(text, "tries")?.parse().ok()?,
            good: Name::of(value(text, "good")?)?,
        })
    }

    fn line(&self) -> String {
        let Self { seq, active, tries, good } = self;
        let text = format!("seq={seq} active={active} tries={tries} good={good}");
        let sum = sum_of(&text);
        format!("{text} sum={sum}")
    }
}

/// Returns the value of a name in a line of `name=value` pairs, separated by spaces.
pub fn value<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn sum_of(text: &str) -> String {
    let sum = Sha256::digest(text.as_bytes());
    Digits(sum.get(..SUM_BYTES).unwrap_or_default()).to_string()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::update::slots::tests::Cut;
    use std::fs::{self, File, OpenOptions};
    use std::path::PathBuf;
    use std::process::Command;

    /// The scripts' implementation, with a file as partition and this machine's tools for
    /// busybox's.
    struct Scripts(PathBuf);

    impl Scripts {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loka-{name}-{}", std::process::id()));
            fs::write(&path, vec![0; 1 << 14]).unwrap();
            Self(path)
        }

        fn file(&self) -> File {
            OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
        }

        fn run(&self, text: &str) -> String {
            let slots = include_str!("../../../xtask/image/slots.sh");
            let slots = slots.replace("/dev/vda2", self.0.to_str().unwrap());
            let script = format!("{slots}\nenv_read\n{text}\necho $seq $active $tries $good");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    }

    impl Drop for Scripts {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn shown(env: Env) -> String {
        format!("{} {} {} {}", env.seq, env.active, env.tries, env.good)
    }

    #[test]
    fn the_scripts_of_the_image_and_this_read_and_write_the_same_bytes() {
        let scripts = Scripts::new("env");
        let mut file = scripts.file();
        assert_eq!(shown(Env::read(&file).unwrap()), scripts.run(""), "an empty partition");
        for round in 0..6_u8 {
            let active = if round % 2 == 0 { Name::B } else { Name::A };
            let env = Env { seq: 0, active, tries: round, good: active.other() };
            env.write(&mut file).unwrap();
            let read = shown(Env::read(&file).unwrap());
            assert_eq!(read, scripts.run(""), "what was written here");
            let ours = fs::read(&scripts.0).unwrap();
            let written = scripts.run("tries=9; env_write");
            assert_eq!(shown(Env::read(&file).unwrap()), written, "what was written there");
            // The scripts write the same line over the same copy.
            let theirs = fs::read(&scripts.0).unwrap();
            assert_ne!(ours, theirs);
            fs::write(&scripts.0, &ours).unwrap();
            Env { tries: 9, ..env }.write(&mut file).unwrap();
            assert_eq!(fs::read(&scripts.0).unwrap(), theirs, "byte for byte");
        }
    }

    #[test]
    fn a_damaged_copy_leaves_the_one_before() {
        let scripts = Scripts::new("env-damage");
        let mut file = scripts.file();
        let first = Env { seq: 0, active: Name::B, tries: 2, good: Name::A };
        first.write(&mut file).unwrap();
        Env { tries: 1, ..first }.write(&mut file).unwrap();
        let whole = fs::read(&scripts.0).unwrap();
        for index in 4096..4096 + first.line().len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 0x04;
            fs::write(&scripts.0, &damaged).unwrap();
            let read = shown(Env::read(&file).unwrap());
            assert_eq!(read, "1 b 2 a", "byte {index}");
            if index % 7 == 0 {
                assert_eq!(read, scripts.run(""), "byte {index}, as the scripts see it");
            }
        }
    }

    #[test]
    fn f68_a_write_that_the_power_cuts_leaves_the_old_line_or_the_new() {
        let old = Env { seq: 0, active: Name::A, tries: 0, good: Name::A };
        let new = Env { active: Name::B, tries: 2, ..old };
        let mut whole = Cut::new(3 * 4096);
        old.write(&mut whole).unwrap();
        for seed in 0..200 {
            for steps in 0..=whole.steps() + 1 {
                let mut medium = Cut::new(3 * 4096);
                old.write(&mut medium).unwrap();
                medium.cut_after(steps);
                let result = new.write(&mut medium);
                medium.restart(seed);
                let env = Env::read(&medium).unwrap();
                let is_new = env.active == Name::B && env.tries == 2;
                let is_old = env.active == Name::A && env.tries == 0;
                assert!(is_new || is_old && result.is_err(), "{env:?} after {steps} steps");
            }
        }
    }
}
