//! Append-only records in two files that take turns, within a size bound.
//!
//! When both are full, the older file is emptied. Each record has a length and a CRC-32. A torn end
//! is found at the next start and cut off; the records before it stay readable. The owner knows the
//! records' content, and which file is newer.

use std::io;
use std::path::PathBuf;

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::gateway::base::disk::Disk;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Bytes around a record: its length before it, its CRC behind it.
const FRAME_BYTES: usize = 6;

/// The two files, the current one and its length.
pub struct Journal<D> {
    disk: D,
    folder: PathBuf,
    name: &'static str,
    file_bytes_max: usize,
    current: usize,
    length: usize,
}

/// The contents of one file.
#[derive(Debug, Default)]
pub struct Read {
    /// The records before the first damaged one.
    pub records: Vec<Vec<u8>>,
    /// Their bytes, including lengths and CRCs.
    pub length: usize,
    /// Whether more bytes follow.
    pub is_torn: bool,
}

impl<D: Disk> Journal<D> {
    /// Names the two files without touching them.
    pub fn new(disk: D, folder: PathBuf, name: &'static str, file_bytes_max: usize) -> Self {
        Self { disk, folder, name, file_bytes_max, current: 0, length: 0 }
    }

    /// Starts afresh; the caller erases the files.
    pub fn forget(&mut self) {
        (self.current, self.length) = (0, 0);
    }

    /// Continues after `length` bytes of a file.
    pub fn take_up(&mut self, file: usize, length: usize) {
        (self.current, self.length) = (file, length);
    }

    /// Continues in the other file, even if this one has room.
    pub fn turn(&mut self) {
        self.length = self.file_bytes_max;
    }

    /// Reads both files, the older first.
    pub fn read_all(&self) -> impl Iterator<Item = Read> + '_ {
        [1 - self.current, self.current].into_iter().map(|file| self.read(file))
    }

    /// Reads a file; an unreadable file gives no records.
    pub fn read(&self, file: usize) -> Read {
        let bytes = self.disk.read(&self.path(file), self.file_bytes_max);
        parse(&bytes.unwrap_or_default())
    }

    /// Says whether the next `bytes` begin a new file.
    pub fn begins_with(&self, bytes: usize) -> bool {
        self.length == 0 || self.length + bytes > self.file_bytes_max
    }

    /// Appends whole records made by [`encode`].
    ///
    /// # Errors
    ///
    /// The system's error; the next write goes to the other file.
    pub fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.begins_with(records.len()) {
            let other = 1 - self.current;
            self.disk.create(&self.path(other))?;
            self.take_up(other, 0);
        }
        if let Err(error) = self.disk.append(&self.path(self.current), records) {
            // The bytes written are torn: the next start cuts them, and the next write uses the
            // other file.
            self.turn();
            return Err(error);
        }
        self.length += records.len();
        Ok(())
    }

    /// Syncs the current file, and its name if the file is new.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn sync(&self, is_new: bool) -> io::Result<()> {
        self.disk.sync(&self.path(self.current))?;
        if is_new { self.disk.sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Cuts a torn end off.
    ///
    /// # Errors
    ///
    /// The system's error; the file is unchanged.
    pub fn cut(&self, file: usize, length: usize) -> io::Result<()> {
        let path = self.path(file);
        let beside = path.with_extension("new");
        let mut bytes = self.disk.read(&path, self.file_bytes_max)?;
        bytes.truncate(length);
        self.disk.create(&beside)?;
        self.disk.append(&beside, &bytes)?;
        self.disk.sync(&beside)?;
        self.disk.rename(&beside, &path)?;
        self.disk.sync_folder(&self.folder)
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.join(format!("{}.{file}", self.name))
    }
}

/// Parses the contents of a file.
pub fn parse(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    while let Some((record, size)) = decode(bytes.get(read.length..).unwrap_or_default()) {
        read.records.push(record.to_vec());
        read.length += size;
    }
    read.is_torn = read.length < bytes.len();
    read
}

/// Number of files.
pub const FILES: usize = 2;

/// Appends a record to `out`, with its length and CRC.
///
/// # Errors
///
/// The record is longer than 65,535 bytes.
pub fn encode(record: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    let length = u16::try_from(record.len()).map_err(io::Error::other)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(record);
    let sum = CRC.checksum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Decodes the first record; returns it and its size with length and CRC.
fn decode(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
    let size = length + FRAME_BYTES;
    let (record, sum) = bytes.get(..size)?.split_last_chunk::<4>()?;
    if CRC.checksum(record) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((record.get(2..)?, size))
}
