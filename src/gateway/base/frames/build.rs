//! The id of a build: the linker's note in the binary, which stripping keeps.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use loka_stratum::wire::hex::Digits;

/// Longest build id in bytes: SHA-256.
const ID_BYTES_MAX: usize = 32;

/// Most program headers that are read; a program has about ten.
const HEADERS_MAX: u64 = 64;

/// Longest segment of notes that is read, in bytes.
const NOTES_BYTES_MAX: u64 = 4096;

/// `p_type` of notes, and the type and owner of the build-id note.
const PT_NOTE: u64 = 4;
const NT_GNU_BUILD_ID: u64 = 3;
const OWNER: &[u8] = b"GNU\0";

/// A build's id; empty if the linker left no note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildId(heapless::Vec<u8, ID_BYTES_MAX>);

impl BuildId {
    /// Returns the running program's id.
    pub fn own() -> Self {
        Self::of(Path::new("/proc/self/exe")).unwrap_or_default()
    }

    /// Returns the id of an ELF file, stripped or not.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no ELF file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut start = [0; 64];
        file.read_exact_at(&mut start, 0)?;
        let layout = match start.get(..6) {
            Some(b"\x7fELF\x02\x01") => Layout::BITS_64,
            Some(b"\x7fELF\x01\x01") => Layout::BITS_32,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no ELF file")),
        };
        let at = number(&start, layout.headers_at, layout.word).unwrap_or(0);
        let size = number(&start, layout.header_size_at, 2).unwrap_or(0);
        let count = number(&start, layout.header_size_at + 2, 2).unwrap_or(0);
        for index in 0..count.min(HEADERS_MAX) {
            let mut header = [0; 56];
            let header = header.get_mut(..layout.header_bytes).unwrap_or_default();
            file.read_exact_at(header, at.saturating_add(index * size))?;
            if number(header, 0, 4) != Some(PT_NOTE) {
                continue;
            }
            let field = |at| number(header, at, layout.word).unwrap_or(0);
            let bytes = field(layout.size_at).min(NOTES_BYTES_MAX);
            let mut notes = vec![0; usize::try_from(bytes).unwrap_or(0)];
            file.read_exact_at(&mut notes, field(layout.offset_at))?;
            if let Some(id) = find(&notes) {
                return Ok(Self(id));
            }
        }
        Ok(Self::default())
    }

    /// Restores a stored id; `None` if it is too long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("unknown") } else { Digits(&self.0).fmt(f) }
    }
}

/// Offsets of the header fields in 32-bit or 64-bit ELF files.
struct Layout {
    /// Bytes of an address.
    word: usize,
    headers_at: usize,
    header_size_at: usize,
    header_bytes: usize,
    offset_at: usize,
    size_at: usize,
}

impl Layout {
    const BITS_64: Self = Self {
        word: 8,
        headers_at: 0x20,
        header_size_at: 0x36,
        header_bytes: 56,
        offset_at: 8,
        size_at: 0x20,
    };

    const BITS_32: Self = Self {
        word: 4,
        headers_at: 0x1c,
        header_size_at: 0x2a,
        header_bytes: 32,
        offset_at: 4,
        size_at: 0x10,
    };
}

/// Reads a little-endian number of `size` bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Finds the build id among notes.
fn find(mut notes: &[u8]) -> Option<heapless::Vec<u8, ID_BYTES_MAX>> {
    let padded = |size: u64| usize::try_from(size).ok()?.checked_next_multiple_of(4);
    loop {
        let field = |index: usize| number(notes, 4 * index, 4);
        let (owner, content, kind) = (field(0)?, field(1)?, field(2)?);
        let (name, rest) = notes.get(12..)?.split_at_checked(padded(owner)?)?;
        if kind == NT_GNU_BUILD_ID && name == OWNER {
            return rest.get(..usize::try_from(content).ok()?)?.try_into().ok();
        }
        notes = rest.get(padded(content)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_the_note_that_its_linker_left() {
        let notes =
            b"\x04\0\0\0\x02\0\0\0\x01\0\0\0GNU\0ab\0\0\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0xyz\0";
        assert_eq!(find(notes).as_deref(), Some(b"xyz".as_slice()));
        for length in 0..notes.len() - 1 {
            assert_eq!(find(&notes[..length]), None, "cut after {length}");
        }
        let own = BuildId::own();
        assert!(own.as_bytes().len() >= 16, "{own}");
        assert_eq!(BuildId::from_bytes(own.as_bytes()), Some(own));
        assert!(BuildId::of(Path::new("Cargo.toml")).is_err());
    }
}
