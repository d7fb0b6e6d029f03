//! The manifest of an update, and whether the update fits this system.
//!
//! ```text
//! loka-update 1
//! board virt-aarch64
//! target aarch64-unknown-linux-musl
//! version 0.2.0
//! built 1795220164
//! replaces 0.1.0
//! length 3657728
//! sha256 64 hex digits of the image
//!
//! ```
//!
//! Signed are exactly these lines, in this order, with the empty line at the end. Any other word is
//! another form and is refused: a signed text is never guessed at.

use std::fmt;

use loka_stratum::limits::{UPDATE_IMAGE_BYTES_MAX, UPDATE_TEXT_BYTES_MAX};
use loka_stratum::wire::hex;
use semver::Version;

/// The facts of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The board.
    pub board: String,
    /// The target triple of its programs.
    pub target: String,
    /// Its version.
    pub version: Version,
    /// Build time in seconds since 1970.
    pub built: u64,
    /// The oldest version that it may replace.
    pub replaces: Version,
    /// Length of the image in bytes.
    pub length: u64,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
}

/// The facts of the running system that an update must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The board.
    pub board: String,
    /// The target triple of its programs.
    pub target: String,
    /// The version of the system.
    pub version: Version,
}

/// Why an update does not fit this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is for another board.
    Board { got: String, allowed: String },
    /// It is for other processors.
    Target { got: String, allowed: String },
    /// It is older than the running system.
    Downgrade { got: Version, runs: Version },
    /// The running system is too old for it.
    TooOld { runs: Version, least: Version, got: Version },
}

/// A malformed line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Its number, from 1.
    line: usize,
    got: String,
    wanted: String,
}

/// The first line, with the version of the format.
const FIRST: &str = "loka-update 1";

impl Manifest {
    /// Parses a manifest, including its empty line.
    ///
    /// # Errors
    ///
    /// The first malformed line.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut lines = Lines { lines: text.split('\n'), number: 0 };
        lines.next("", |line| (line == FIRST).then_some(()), FIRST)?;
        let name = "a name of small letters, digits and - _";
        let version = "a version such as 1.2.3";
        let number = "a number";
        let image = format!("a number from 1 to {UPDATE_IMAGE_BYTES_MAX}");
        let is_length = |length: &u64| (1..=UPDATE_IMAGE_BYTES_MAX).contains(length);
        let manifest = Self {
            board: lines.next("board ", named, name)?,
            target: lines.next("target ", named, name)?,
            version: lines.next("version ", |text| Version::parse(text).ok(), version)?,
            built: lines.next("built ", |text| text.parse().ok(), number)?,
            replaces: lines.next("replaces ", |text| Version::parse(text).ok(), version)?,
            length: lines.next("length ", |text| text.parse().ok().filter(is_length), &image)?,
            sha256: lines.next("sha256 ", sum, "64 hex digits")?,
        };
        lines.next("", |line| line.is_empty().then_some(()), "the empty line")?;
        Ok(manifest)
    }

    /// Checks that the update fits this system.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn check(&self, system: &System, may_downgrade: bool) -> Result<(), Unfit> {
        let (got, runs) = (self.version.clone(), system.version.clone());
        if self.board != system.board {
            Err(Unfit::Board { got: self.board.clone(), allowed: system.board.clone() })
        } else if self.target != system.target {
            Err(Unfit::Target { got: self.target.clone(), allowed: system.target.clone() })
        } else if got.cmp_precedence(&runs).is_lt() {
            if may_downgrade { Ok(()) } else { Err(Unfit::Downgrade { got, runs }) }
        } else if runs.cmp_precedence(&self.replaces).is_lt() {
            Err(Unfit::TooOld { runs, least: self.replaces.clone(), got })
        } else {
            Ok(())
        }
    }
}

struct Lines<'a> {
    lines: std::str::Split<'a, char>,
    number: usize,
}

impl Lines<'_> {
    /// Parses the text after `word` in the next line.
    fn next<T>(
        &mut self,
        word: &str,
        read: impl FnOnce(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<T, ManifestError> {
        self.number += 1;
        let line = self.lines.next().unwrap_or_default();
        let text = line.strip_prefix(word).filter(|text| text.len() <= UPDATE_TEXT_BYTES_MAX);
        text.and_then(read).ok_or_else(|| ManifestError {
            line: self.number,
            got: line.chars().take(UPDATE_TEXT_BYTES_MAX).collect(),
            wanted: format!("{word}{wanted}"),
        })
    }
}

fn named(text: &str) -> Option<String> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = text.bytes().all(|byte| is_good(byte) || b"-_".contains(&byte));
    (is_name && !text.is_empty()).then(|| text.to_owned())
}

fn sum(text: &str) -> Option<[u8; 32]> {
    hex::decode_exact(text.as_bytes()).ok()
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Board { got, allowed } => {
                write!(f, "board: got an update for {got}, allowed one for {allowed}")
            }
            Self::Target { got, allowed } => {
                write!(f, "target: got an update for {got}, allowed one for {allowed}")
            }
            Self::Downgrade { got, runs } => write!(
                f,
                "version: got {got}, allowed {runs} (running) or later; an older one needs \
                 downgrades = true in the slot keeper's file, and --allow-downgrade \
                 (downgrade=true)"
            ),
            Self::TooOld { runs, least, got } => write!(
                f,
                "version: got {got}, which replaces {least} or later, and {runs} runs; \
                 update to {least} first"
            ),
        }
    }
}

impl std::error::Error for Unfit {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, got, wanted } = self;
        write!(f, "manifest: line {line}: got {got:?}, allowed {wanted}")
    }
}

impl std::error::Error for ManifestError {}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The sum is the SHA-256 of no bytes.
    pub const TEXT: &str = "loka-update 1\nboard virt-aarch64\n\
        target aarch64-unknown-linux-musl\nversion 0.2.0\nbuilt 1795220164\nreplaces 0.1.0\n\
        length 3657728\n\
        sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n";

    pub fn system(version: &str) -> System {
        System {
            board: "virt-aarch64".to_owned(),
            target: "aarch64-unknown-linux-musl".to_owned(),
            version: version.parse().unwrap(),
        }
    }

    #[test]
    fn a_manifest_is_read() {
        let manifest = Manifest::parse(TEXT).unwrap();
        assert_eq!(manifest.board, "virt-aarch64");
        assert_eq!(manifest.target, "aarch64-unknown-linux-musl");
        assert_eq!(manifest.version, Version::new(0, 2, 0));
        assert_eq!((manifest.built, manifest.length), (1_795_220_164, 3_657_728));
        assert_eq!(manifest.replaces, Version::new(0, 1, 0));
        assert_eq!(manifest.sha256[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    }

    #[test]
    fn each_line_must_be_as_it_is() {
        for (from, to, line) in [
            ("loka-update 1", "loka-update 2", 1),
            ("board virt-aarch64", "board Virt/../x", 2),
            ("board virt-aarch64", "board ", 2),
            ("target aarch64", "targets aarch64", 3),
            ("version 0.2.0", "version 0.2", 4),
            (
                "version 0.2.0",
                "version 0.2.0-0123456789012345678901234567890123456789012345678901234567",
                4,
            ),
            ("built 1795220164", "built yesterday", 5),
            ("replaces 0.1.0\n", "", 6),
            ("length 3657728", "length 0", 7),
            ("length 3657728", "length 67108865", 7),
            ("length 3657728", "length -1", 7),
            ("sha256 e3", "sha256 g3", 8),
            ("sha256 e3", "sha256 ", 8),
            ("b855\n\n", "b855\nmore of it\n\n", 9),
            ("\n", "\r\n", 1),
        ] {
            assert!(TEXT.contains(from));
            let error = Manifest::parse(&TEXT.replace(from, to)).unwrap_err();
            assert_eq!(error.line, line, "{to:?}: {error}");
        }
        let error = Manifest::parse(&TEXT.replace("0.2.0", "2")).unwrap_err().to_string();
        let text = "manifest: line 4: got \"version 2\", allowed version a version such as 1.2.3";
        assert_eq!(error, text);
    }

    #[test]
    fn another_board_an_older_version_and_one_that_skips_are_refused() {
        let manifest = Manifest::parse(TEXT).unwrap();
        let judged = |system: &System, may| manifest.check(system, may).map_err(|e| e.to_string());
        assert_eq!(judged(&system("0.1.0"), false), Ok(()));
        assert_eq!(judged(&system("0.2.0"), false), Ok(()), "the same again");
        assert_eq!(judged(&system("0.2.0-rc.1"), false), Ok(()));
        let other = System { board: "raspberry-pi-4".to_owned(), ..system("0.1.0") };
        let text = "board: got an update for virt-aarch64, allowed one for raspberry-pi-4";
        assert_eq!(judged(&other, true), Err(text.to_owned()));
        let other = System { target: "armv7".to_owned(), ..system("0.1.0") };
        assert!(judged(&other, true).unwrap_err().starts_with("target: got"));
        let older = judged(&system("0.10.0"), false).unwrap_err();
        assert!(older.starts_with("version: got 0.2.0, allowed 0.10.0 (running)"), "{older}");
        assert_eq!(judged(&system("0.10.0"), true), Ok(()), "asked for");
        let skipped = judged(&system("0.0.9"), true).unwrap_err();
        assert!(skipped.ends_with("update to 0.1.0 first"), "{skipped}");
    }
}
