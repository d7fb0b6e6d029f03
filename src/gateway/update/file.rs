//! An update file, parsed piece by piece: signature, manifest, then the image.
//!
//! The signature and the manifest come first and are small, so an untrusted file is refused before
//! any byte of its image is used. [`Reader`] stores only these; it passes the image through and
//! counts it.
//!
//! With plain tools: `head -n 4 FILE` prints the signature, `sed -n '5,/^$/p;/^$/q' FILE` the
//! signed part.

use std::fmt;

use loka_stratum::limits::UPDATE_HEADER_BYTES_MAX;

use super::manifest::{Manifest, ManifestError};
use super::signature::{PublicKey, Signature, SignatureError};

/// A file being parsed.
#[derive(Debug, Default)]
pub struct Reader {
    header: Vec<u8>,
    /// Bytes of the image still missing; `None` until the manifest is known.
    left: Option<u64>,
    whole: u64,
}

/// The result for one piece.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The manifest, once: with the bytes that completed it.
    pub manifest: Option<Manifest>,
    /// Bytes of the image.
    pub image: &'a [u8],
}

/// Why a file is not a usable update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The header does not end within its limit.
    Header,
    /// The header is not text.
    NoText,
    /// The signature is wrong.
    Signature(SignatureError),
    /// The manifest is malformed.
    Manifest(ManifestError),
    /// The image is longer than the manifest says.
    TooLong {
        /// Length of the image in bytes.
        allowed: u64,
    },
    /// The file ended too early.
    Cut {
        /// Missing bytes of the image; `None` if the header is cut.
        missing: Option<u64>,
    },
}

/// The lines of a signature.
const SIGNATURE_LINES: usize = 4;

impl Reader {
    /// Takes the next bytes of a file signed by one of `keys`.
    ///
    /// # Errors
    ///
    /// The fault; nothing of the file may be used then.
    pub fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        keys: &[PublicKey],
    ) -> Result<Taken<'a>, FileError> {
        if self.left.is_some() {
            return Ok(Taken { manifest: None, image: self.count(bytes)? });
        }
        let before = self.header.len();
        let room = UPDATE_HEADER_BYTES_MAX - before;
        self.header.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        let searched = before.saturating_sub(1);
        let new = self.header.get(searched..).unwrap_or_default();
        let Some(end) = new.windows(2).position(|pair| pair == b"\n\n") else {
            let is_full = self.header.len() == UPDATE_HEADER_BYTES_MAX;
            let none = Taken { manifest: None, image: &[] };
            return if is_full { Err(FileError::Header) } else { Ok(none) };
        };
        let end = searched + end;
        self.header.truncate(end + 2);
        let text = std::str::from_utf8(&self.header).map_err(|_| FileError::NoText)?;
        let manifest = verified(text, keys)?;
        self.left = Some(manifest.length);
        self.whole = self.header.len() as u64 + manifest.length;
        let rest = bytes.get(end + 2 - before..).unwrap_or_default();
        let image = self.count(rest)?;
        Ok(Taken { manifest: Some(manifest), image })
    }

    /// Returns the length of the whole file; 0 until the manifest is known.
    pub fn length(&self) -> u64 {
        self.whole
    }

    /// Says whether the whole file was read.
    pub fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    /// Checks the end of the file.
    ///
    /// # Errors
    ///
    /// A part is missing.
    pub fn end(&self) -> Result<(), FileError> {
        if self.is_whole() { Ok(()) } else { Err(FileError::Cut { missing: self.left }) }
    }

    fn count<'a>(&mut self, image: &'a [u8]) -> Result<&'a [u8], FileError> {
        let left = self.left.unwrap_or_default();
        let after = left.checked_sub(image.len() as u64);
        self.left = Some(after.ok_or(FileError::TooLong { allowed: left })?);
        Ok(image)
    }
}

/// Parses the manifest and verifies its signature.
fn verified(text: &str, keys: &[PublicKey]) -> Result<Manifest, FileError> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    let end = ends.clone().nth(SIGNATURE_LINES - 1).unwrap_or(text.len());
    let (signature, manifest) = text.split_at(end);
    let signature = Signature::parse(signature).map_err(FileError::Signature)?;
    signature.verify(keys, manifest.as_bytes()).map_err(FileError::Signature)?;
    Manifest::parse(manifest).map_err(FileError::Manifest)
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = "allowed a .loka-update, as cargo xtask image --update makes it";
        match self {
            Self::Header | Self::NoText => write!(f, "update: got another kind of file, {form}"),
            Self::Signature(error) => write!(f, "update: {error}"),
            Self::Manifest(error) => write!(f, "update: {error}"),
            Self::TooLong { .. } => {
                f.write_str("update: got more bytes than its manifest says; fetch the file again")
            }
            Self::Cut { missing: Some(missing) } => {
                write!(f, "update: the file is cut, {missing} bytes are missing; fetch it again")
            }
            Self::Cut { missing: None } => write!(f, "update: the file is cut in its head, {form}"),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::gateway::update::signing::SecretKey;
    use loka_stratum::wire::hex::Digits;
    use sha2::{Digest, Sha256};

    pub fn key() -> SecretKey {
        SecretKey::new(*b"\x01testkey", &[7; 32])
    }

    pub fn trusted() -> Vec<PublicKey> {
        vec![PublicKey::parse(&key().public_file()).unwrap()]
    }

    /// An update file with this version and image, signed by a key.
    pub fn update_by(key: &SecretKey, version: &str, image: &[u8]) -> Vec<u8> {
        let sum = Sha256::digest(image);
        let sum = Digits(&sum).to_string();
        let manifest = crate::gateway::update::manifest::tests::TEXT
            .replace("version 0.2.0", &format!("version {version}"))
            .replace("length 3657728", &format!("length {}", image.len()));
        let at = manifest.find("sha256 ").unwrap();
        let manifest = format!("{}sha256 {sum}\n\n", &manifest[..at]);
        let signature = key.sign(manifest.as_bytes(), &format!("loka-stratum {version}"));
        [signature.as_bytes(), manifest.as_bytes(), image].concat()
    }

    pub fn update(version: &str, image: &[u8]) -> Vec<u8> {
        update_by(&key(), version, image)
    }

    /// Parses a file in pieces; returns the image.
    fn read(file: &[u8], piece: usize) -> Result<Vec<u8>, FileError> {
        let (mut reader, mut image) = (Reader::default(), Vec::new());
        for piece in file.chunks(piece) {
            let taken = reader.take(piece, &trusted())?;
            assert!(taken.image.is_empty() || reader.left.is_some());
            image.extend_from_slice(taken.image);
        }
        reader.end().map(|()| image)
    }

    const IMAGE: &[u8] = b"hsqs, then\n\nan image\n\n";

    #[test]
    fn the_image_comes_through_in_pieces_of_any_length() {
        let file = update("0.2.0", IMAGE);
        for piece in 1..file.len() + 1 {
            assert_eq!(read(&file, piece).as_deref(), Ok(IMAGE), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let file = update("0.2.0", IMAGE);
        for length in 0..file.len() {
            for piece in [1, 7, length.max(1)] {
                let error = read(&file[..length], piece).unwrap_err();
                assert!(matches!(error, FileError::Cut { .. }), "cut after {length}: {error}");
            }
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(matches!(read(&longer, 5), Err(FileError::TooLong { .. })));
    }

    #[test]
    fn a_flipped_byte_before_the_image_is_found_before_the_image() {
        let file = update("0.2.0", IMAGE);
        let first_line = file.iter().position(|byte| *byte == b'\n').unwrap();
        for index in first_line + 1..file.len() - IMAGE.len() {
            for bit in [0x01, 0x20] {
                let mut file = file.clone();
                file[index] ^= bit;
                let mut reader = Reader::default();
                let taken = reader.take(&file[..file.len() - IMAGE.len()], &trusted());
                let is_known = taken.is_ok_and(|taken| taken.manifest.is_some());
                assert!(!is_known, "byte {index} of the header, bit {bit:#x}");
            }
        }
    }

    #[test]
    fn another_key_and_other_files_are_refused() {
        let other = SecretKey::new([9; 8], &[9; 32]);
        let error = read(&update_by(&other, "0.2.0", IMAGE), 64).unwrap_err().to_string();
        assert!(error.starts_with("update: signature: got one by key 0909090909090909"), "{error}");
        let endless = vec![b'x'; UPDATE_HEADER_BYTES_MAX + 9];
        assert_eq!(read(&endless, 100), Err(FileError::Header));
        assert!(read(b"\x7fELF\n\n", 100).unwrap_err().to_string().contains("line 1: allowed"));
        assert_eq!(read(b"\xff\xfe\n\n", 100), Err(FileError::NoText));
    }
}
