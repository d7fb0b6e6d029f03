//! The store: small facts that outlive the process, on flash that may lose power at any time.
//!
//! A [`Store`] keeps one value in two files that it writes in turn. Each file is whole or not
//! there: it is written beside its place, synced, and moved into it; and it carries a generation
//! and a CRC-32, so that the newest file that is sound is what [`Store::load`] returns (F68). A
//! disk that is full or read-only costs the new value only (F69).
//!
//! The format is postcard, which does not describe itself: a value that may change later is an
//! enum of versions whose variants and fields are only ever appended.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use loka_stratum::blocks::BlockRecord;
use loka_stratum::limits::STATE_BYTES_MAX;
use loka_stratum::work::header::{BlockHash, NTime, Nonce};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// First bytes of every file, with the version of the frame around the value.
const MAGIC: [u8; 4] = *b"LKS1";

/// One value on disk.
pub struct Store<T> {
    folder: PathBuf,
    name: &'static str,
    generation: u64,
    /// What is there, so that nothing is written twice.
    newest: Option<T>,
}

/// The value and how many came before it, as they are written.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    magic: [u8; 4],
    generation: u64,
    value: T,
}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq> Store<T> {
    /// Opens the store `name` in a folder, which is made where it is missing, and returns the
    /// newest sound value.
    ///
    /// # Errors
    ///
    /// The folder cannot be made. A file that cannot be read is like one that is not sound.
    pub fn load(folder: &Path, name: &'static str) -> io::Result<(Self, Option<T>)> {
        fs::create_dir_all(folder)?;
        let mut store = Self { folder: folder.to_owned(), name, generation: 0, newest: None };
        for slot in 0..SLOTS {
            if let Ok(record) = read::<T>(&store.path(slot))
                && record.generation >= store.generation
            {
                store.generation = record.generation;
                store.newest = Some(record.value);
            }
        }
        let newest = store.newest.clone();
        Ok((store, newest))
    }

    /// Writes a value into the place of the older of the two; one that is there already is not
    /// written again.
    ///
    /// # Errors
    ///
    /// What the system says; the value before it is still there.
    pub fn save(&mut self, value: &T) -> io::Result<()> {
        if self.newest.as_ref() == Some(value) {
            return Ok(());
        }
        let generation = self.generation + 1;
        let path = self.path(generation % SLOTS);
        let record = Record { magic: MAGIC, generation, value };
        let mut buffer = vec![0; STATE_BYTES_MAX];
        let bytes = postcard::to_slice_crc32(&record, &mut buffer, CRC.digest())
            .map_err(io::Error::other)?;
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, &path)?;
        File::open(&self.folder)?.sync_all()?;
        self.generation = generation;
        self.newest = Some(value.clone());
        Ok(())
    }

    /// Returns what is there.
    pub fn newest(&self) -> Option<&T> {
        self.newest.as_ref()
    }

    fn path(&self, slot: u64) -> PathBuf {
        self.folder.join(format!("{}.{slot}", self.name))
    }
}

const SLOTS: u64 = 2;

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Record<T>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(STATE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let record: Record<T> =
        postcard::from_bytes_crc32(&bytes, CRC.digest()).map_err(io::Error::other)?;
    if record.magic == MAGIC { Ok(record) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// What the gateway remembers of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// How the extranonce2 is divided.
    V1 {
        /// Bytes of the miner id.
        miner_id_bytes: u8,
        /// Bytes that a miner rolls.
        roll_bytes: u8,
    },
}

/// The block candidates that no pool has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocks {
    /// At most as many as the engine keeps.
    V1(Vec<Block>),
}

/// A block candidate, as [`BlockRecord`] in a form of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Seconds since 1970 when it was found, as the wall clock had it.
    pub found_secs: u64,
    hash: [u8; 32],
    host: String,
    worker: String,
    session: String,
    extranonce1: Vec<u8>,
    job_id: String,
    extranonce2: Vec<u8>,
    ntime: u32,
    nonce: u32,
    version_bits: Option<u32>,
}

impl Block {
    /// Turns a record into what is stored.
    pub fn new(record: &BlockRecord, found_secs: u64) -> Self {
        Self {
            found_secs,
            hash: record.hash.0,
            host: record.host.as_str().to_owned(),
            worker: record.worker.as_str().to_owned(),
            session: record.session.as_str().to_owned(),
            extranonce1: record.extranonce1.to_vec(),
            job_id: record.job_id.as_str().to_owned(),
            extranonce2: record.extranonce2.to_vec(),
            ntime: record.ntime.0,
            nonce: record.nonce.0,
            version_bits: record.version_bits,
        }
    }

    /// Says whether this is what is stored of the record.
    pub fn is_of(&self, record: &BlockRecord) -> bool {
        self.hash == record.hash.0
    }

    /// Returns the record; none where a text is longer than any record has it.
    pub fn record(&self) -> Option<BlockRecord> {
        Some(BlockRecord {
            hash: BlockHash(self.hash),
            host: self.host.as_str().try_into().ok()?,
            worker: self.worker.as_str().try_into().ok()?,
            session: self.session.as_str().try_into().ok()?,
            extranonce1: self.extranonce1.as_slice().try_into().ok()?,
            job_id: self.job_id.as_str().try_into().ok()?,
            extranonce2: self.extranonce2.as_slice().try_into().ok()?,
            ntime: NTime(self.ntime),
            nonce: Nonce(self.nonce),
            version_bits: self.version_bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Memory = Memory::V1 { miner_id_bytes: 2, roll_bytes: 4 };
    const SECOND: Memory = Memory::V1 { miner_id_bytes: 1, roll_bytes: 2 };

    /// A folder that is gone when the test is over.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("loka-store-{}", std::process::id()));
            Self(folder.join(name))
        }

        fn load(&self) -> (Store<Memory>, Option<Memory>) {
            Store::load(&self.0, "gateway").unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_last_value_comes_back() {
        let folder = Folder::new("last");
        let (mut store, value) = folder.load();
        assert_eq!(value, None);
        for value in [FIRST, SECOND, FIRST] {
            store.save(&value).unwrap();
            assert_eq!(folder.load().1, Some(value));
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "two places and nothing else");
    }

    #[test]
    fn f68_a_file_that_was_cut_anywhere_leaves_the_value_before_it() {
        let folder = Folder::new("cut");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        store.save(&SECOND).unwrap();
        let newest = store.path(store.generation % SLOTS);
        let whole = fs::read(&newest).unwrap();
        for length in 0..whole.len() {
            fs::write(&newest, &whole[..length]).unwrap();
            assert_eq!(folder.load().1, Some(FIRST), "cut after {length} bytes");
        }
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 0x10;
            fs::write(&newest, &damaged).unwrap();
            assert_eq!(folder.load().1, Some(FIRST), "damaged at {index}");
        }
        // The next value goes where the damage is.
        let (mut store, _) = folder.load();
        store.save(&SECOND).unwrap();
        assert_eq!(folder.load().1, Some(SECOND));
    }

    #[test]
    fn f68_a_write_that_did_not_finish_is_not_seen() {
        let folder = Folder::new("unfinished");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        fs::write(folder.0.join("gateway.new"), b"half").unwrap();
        assert_eq!(folder.load().1, Some(FIRST));
    }

    #[test]
    fn f69_a_disk_that_takes_nothing_costs_the_new_value_only() {
        let folder = Folder::new("full");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        // A folder in the way fails the write as a read-only disk would, for root too.
        fs::create_dir(folder.0.join("gateway.new")).unwrap();
        assert!(store.save(&SECOND).is_err());
        assert_eq!(folder.load().1, Some(FIRST));
    }

    #[test]
    fn a_block_comes_back_as_it_was_and_all_of_them_fit() {
        let record = BlockRecord {
            hash: BlockHash([7; 32]),
            host: "h".repeat(253).as_str().try_into().unwrap(),
            worker: "w".repeat(128).as_str().try_into().unwrap(),
            session: "s".repeat(64).as_str().try_into().unwrap(),
            extranonce1: [1; 32].as_slice().try_into().unwrap(),
            job_id: "j".repeat(64).as_str().try_into().unwrap(),
            extranonce2: [2; 16].as_slice().try_into().unwrap(),
            ntime: NTime(u32::MAX),
            nonce: Nonce(u32::MAX),
            version_bits: Some(u32::MAX),
        };
        let block = Block::new(&record, u64::MAX);
        assert!(block.is_of(&record));
        assert_eq!(block.record(), Some(record));
        let folder = Folder::new("blocks");
        let all = Blocks::V1(vec![block; loka_stratum::limits::BLOCKS_KEPT_MAX]);
        Store::load(&folder.0, "blocks").unwrap().0.save(&all).unwrap();
        assert_eq!(Store::load(&folder.0, "blocks").unwrap().1, Some(all));
    }

    #[test]
    fn the_format_of_version_1_does_not_change() {
        let record = Record { magic: MAGIC, generation: 3, value: FIRST };
        let mut buffer = [0; 64];
        let bytes = postcard::to_slice_crc32(&record, &mut buffer, CRC.digest()).unwrap();
        assert_eq!(&bytes[..8], b"LKS1\x03\x00\x02\x04");
        assert_eq!(bytes.len(), 12);
    }
}
