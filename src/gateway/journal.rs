//! Two files that take turns: what is only ever appended to, within a bound.
//!
//! When both are full the older is emptied. Each record has a length and a CRC-32, so an end that a
//! power cut tore off is found at the next start and cut away; what was written before it is still
//! read. What a record holds, and which of the two files is the newer one, its owner knows.

use std::io;
use std::path::PathBuf;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::disk::Disk;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Bytes around a record: its length before, its CRC behind.
const FRAME_BYTES: usize = 6;

/// The files: their place, which of them is written, and how much is in it.
pub struct Journal<D> {
    disk: D,
    folder: PathBuf,
    name: &'static str,
    file_bytes_max: usize,
    current: usize,
    length: usize,
}

/// What one of the files holds.
#[derive(Debug, Default)]
pub struct Read {
    /// The records before the first that is not whole.
    pub records: Vec<Vec<u8>>,
    /// Their length with what is around them.
    pub length: usize,
    /// Whether anything follows.
    pub is_torn: bool,
}

impl<D: Disk> Journal<D> {
    /// Names the two files; neither is touched yet.
    pub fn new(disk: D, folder: PathBuf, name: &'static str, file_bytes_max: usize) -> Self {
        Self { disk, folder, name, file_bytes_max, current: 0, length: 0 }
    }

    /// Begins anew: the files are erased by the caller.
    pub fn forget(&mut self) {
        (self.current, self.length) = (0, 0);
    }

    /// Goes on behind `length` bytes of a file.
    pub fn take_up(&mut self, file: usize, length: usize) {
        (self.current, self.length) = (file, length);
    }

    /// Goes on in the other file, whatever room is in this one.
    pub fn turn(&mut self) {
        self.length = self.file_bytes_max;
    }

    /// Reads both files, the older first.
    pub fn read_all(&self) -> impl Iterator<Item = Read> + '_ {
        [1 - self.current, self.current].into_iter().map(|file| self.read(file))
    }

    /// Reads a file; one that cannot be read holds nothing.
    pub fn read(&self, file: usize) -> Read {
        let bytes = self.disk.read(&self.path(file), self.file_bytes_max);
        parse(&bytes.unwrap_or_default())
    }

    /// Says whether a new file begins with the next `bytes`.
    pub fn begins_with(&self, bytes: usize) -> bool {
        self.length == 0 || self.length + bytes > self.file_bytes_max
    }

    /// Writes whole records, as [`encode`] makes them.
    ///
    /// # Errors
    ///
    /// What the system says; the next write goes to the other file.
    pub fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.begins_with(records.len()) {
            let other = 1 - self.current;
            self.disk.create(&self.path(other))?;
            self.take_up(other, 0);
        }
        if let Err(error) = self.disk.append(&self.path(self.current), records) {
            // What came through is torn: the next start finds it, and this one writes elsewhere.
            self.turn();
            return Err(error);
        }
        self.length += records.len();
        Ok(())
    }

    /// Waits until what was written is on the disk, and its name with it where that is new.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn sync(&self, is_new: bool) -> io::Result<()> {
        self.disk.sync(&self.path(self.current))?;
        if is_new { self.disk.sync_folder(&self.folder) } else { Ok(()) }
    }

    /// Cuts a torn end away.
    ///
    /// # Errors
    ///
    /// What the system says; the file is as it was.
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

/// Reads what a file holds.
pub fn parse(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    while let Some((record, size)) = decode(bytes.get(read.length..).unwrap_or_default()) {
        read.records.push(record.to_vec());
        read.length += size;
    }
    read.is_torn = read.length < bytes.len();
    read
}

/// How many files there are.
pub const FILES: usize = 2;

/// Appends a record to `out`, with what is around it.
///
/// # Errors
///
/// It is longer than a length can say.
pub fn encode(record: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    let length = u16::try_from(record.len()).map_err(io::Error::other)?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(record);
    let sum = CRC.checksum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Reads the record at the start, and how long it is with what is around it.
fn decode(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
    let size = length + FRAME_BYTES;
    let (record, sum) = bytes.get(..size)?.split_last_chunk::<4>()?;
    if CRC.checksum(record) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((record.get(2..)?, size))
}
