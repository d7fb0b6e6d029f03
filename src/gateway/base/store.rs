//! The store: small values that outlive the process, on flash that may lose power at any time.
//!
//! A [`Store`] keeps one value in two files and writes them in turn. Each file is written beside
//! its place, synced and renamed, so it is whole or absent. It carries a generation and a CRC-32;
//! [`Store::load`] returns the newest sound file (F68). A full or read-only disk costs the new
//! value only (F69).
//!
//! Absent and damaged files are told apart: [`Found`] lists the damaged ones. The first value goes
//! into both files, and so does a value written while one file is damaged. No single damage loses
//! both.
//!
//! The event loop uses a store through a [`Shelf`](crate::gateway::base::shelf::Shelf).
//!
//! The format is postcard, which does not describe itself. A value that may change later is an enum
//! of versions; variants and fields are only ever appended.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crc::{CRC_32_ISO_HDLC, Crc};
use loka_stratum::blocks::BlockRecord;
use loka_stratum::identity::Account;
use loka_stratum::limits::STATE_BYTES_MAX;
use loka_stratum::work::header::{BlockHash, NTime, Nonce};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::gateway::base::clock;
use crate::gateway::base::disk::{Disk, Flash};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Magic of every file, with the version of the frame around the value.
const MAGIC: [u8; 4] = *b"LKS1";

/// One value on disk.
pub struct Store<T, D = Flash> {
    disk: D,
    folder: PathBuf,
    name: &'static str,
    generation: u64,
    /// The value on disk, so that an equal value is not written again.
    newest: Option<T>,
    slots: [Slot; SLOTS],
}

/// The state of one file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Absent,
    Sound,
    /// The file is there and cannot be used.
    Unsound,
}

/// The files found at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The newest sound value.
    pub value: Option<T>,
    /// The damaged files, each with the reason.
    pub damage: Vec<String>,
}

impl<T> Found<T> {
    /// Says whether files exist and none of them can be used.
    pub fn is_unsound(&self) -> bool {
        self.value.is_none() && !self.damage.is_empty()
    }
}

/// The value and its generation, as written.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    magic: [u8; 4],
    generation: u64,
    value: T,
}

/// A value that a store can keep.
pub trait Value: Serialize + DeserializeOwned + Clone + PartialEq {}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq> Value for T {}

impl<T: Value> Store<T> {
    /// Opens the store `name` in a folder and returns its files. A missing folder is created.
    ///
    /// # Errors
    ///
    /// The folder cannot be created. A file that cannot be read counts as damaged.
    pub fn load(folder: &Path, name: &'static str) -> io::Result<(Self, Found<T>)> {
        Self::load_from(Flash, folder, name)
    }

    /// Returns the newest sound value of the store `name` without changing the folder.
    pub fn peek(folder: &Path, name: &'static str) -> Option<T> {
        Self::read(Flash, folder, name).1.value
    }
}

impl<T: Value, D: Disk> Store<T, D> {
    /// Does the same as [`Store::load`], on any disk.
    ///
    /// # Errors
    ///
    /// The same errors.
    pub fn load_from(disk: D, folder: &Path, name: &'static str) -> io::Result<(Self, Found<T>)> {
        let made = disk.make_folder(folder);
        let (store, mut found) = Self::read(disk, folder, name);
        if let Err(error) = made {
            // An unreadable folder is reported as damage: it may hold a value.
            found.damage.insert(0, error.to_string());
        }
        Ok((store, found))
    }

    fn read(disk: D, folder: &Path, name: &'static str) -> (Self, Found<T>) {
        let (folder, slots) = (folder.to_owned(), [Slot::Absent; SLOTS]);
        let mut store = Self { disk, folder, name, generation: 0, newest: None, slots };
        let mut damage = Vec::new();
        for slot in 0..SLOTS {
            let path = store.path(slot);
            let bytes = store.disk.read(&path, STATE_BYTES_MAX);
            store.slots[slot] = match bytes.and_then(|bytes| Record::<T>::decode(&bytes)) {
                Ok(record) => {
                    if record.generation >= store.generation {
                        store.generation = record.generation;
                        store.newest = Some(record.value);
                    }
                    Slot::Sound
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Slot::Absent,
                Err(error) => {
                    damage.push(format!("{}: {error}", path.display()));
                    Slot::Unsound
                }
            };
        }
        let value = store.newest.clone();
        (store, Found { value, damage })
    }

    /// Writes a value over the older file, and over the other file too if that is not sound. An
    /// equal value is not written again while both files are sound.
    ///
    /// # Errors
    ///
    /// The system's error; the value before it is still there.
    pub fn save(&mut self, value: &T) -> io::Result<()> {
        let is_whole = self.slots == [Slot::Sound; SLOTS];
        let is_known = self.newest.as_ref() == Some(value);
        if is_known && is_whole {
            return Ok(());
        }
        let generation = if is_known { self.generation } else { self.generation + 1 };
        let record = Record { magic: MAGIC, generation, value };
        let mut buffer = vec![0; STATE_BYTES_MAX];
        let bytes = postcard::to_slice_crc32(&record, &mut buffer, CRC.digest())
            .map_err(io::Error::other)?;
        let first = usize::from(generation % 2 == 1);
        for slot in [first, 1 - first] {
            let is_next = slot == first && !is_known;
            if is_next || self.slots[slot] != Slot::Sound {
                self.write(slot, bytes)?;
                self.generation = generation;
                self.newest = Some(value.clone());
            }
        }
        Ok(())
    }

    fn write(&mut self, slot: usize, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(slot);
        if self.slots[slot] == Slot::Unsound {
            self.disk.put_aside(&path)?;
        }
        let beside = path.with_extension("new");
        self.disk.create(&beside)?;
        self.disk.append(&beside, bytes)?;
        self.disk.sync(&beside)?;
        self.disk.rename(&beside, &path)?;
        self.slots[slot] = Slot::Sound;
        self.disk.sync_folder(&self.folder)
    }

    /// Forgets the value; the caller erases the files.
    pub fn forget(&mut self) {
        (self.newest, self.slots) = (None, [Slot::Absent; SLOTS]);
    }

    /// Returns the generation: the number of values ever written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("{}.{slot}", self.name))
    }
}

const SLOTS: usize = 2;

/// The extension of a damaged file that was put aside.
pub const DAMAGED: &str = "damaged";

/// The store name of event frames; a build without the feature `defmt` may find such files too.
pub const FRAMES: &str = "events";

/// Removes all files of these names. A power cut meanwhile may leave a part of them.
///
/// # Errors
///
/// The system's error.
pub fn erase(disk: &impl Disk, folder: &Path, names: &[&str]) -> io::Result<()> {
    for name in names {
        for extension in ["new", "0", "1", DAMAGED] {
            disk.remove(&folder.join(format!("{name}.{extension}")))?;
        }
    }
    disk.sync_folder(folder)
}

impl<T: DeserializeOwned> Record<T> {
    fn decode(bytes: &[u8]) -> io::Result<Self> {
        match postcard::from_bytes_crc32(bytes, CRC.digest()) {
            Ok(record @ Self { magic: MAGIC, .. }) => Ok(record),
            _ => {
                let got = bytes.len();
                let text = format!("{got} bytes that are damaged, or of a later version");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

/// Facts that the gateway keeps about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// The division of the extranonce2.
    V1 {
        /// Bytes of the miner id.
        miner_id_bytes: u8,
        /// Bytes that a miner rolls.
        roll_bytes: u8,
    },
}

/// The block candidates not yet decided by a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocks {
    /// At most as many as the engine keeps.
    V1(Vec<BlockV1>),
    /// As V1, with the pool's port and an optional time.
    V2(Vec<Block>),
}

/// A block candidate: [`BlockRecord`] in its stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Seconds since 1970 when it was found; `None` if the clock was not set.
    pub found_secs: Option<u64>,
    hash: [u8; 32],
    /// The pool's host in the settings.
    pub host: String,
    /// The pool's port in the settings; 0 if unknown.
    pub port: u16,
    /// The account's user.
    pub user: String,
    session: String,
    extranonce1: Vec<u8>,
    job_id: String,
    extranonce2: Vec<u8>,
    ntime: u32,
    nonce: u32,
    version_bits: Option<u32>,
}

/// A block in version 1 of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockV1 {
    found_secs: u64,
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

impl Blocks {
    /// Returns the blocks in the newest form.
    pub fn newest(self) -> Vec<Block> {
        match self {
            Self::V1(blocks) => blocks.into_iter().map(Block::from).collect(),
            Self::V2(blocks) => blocks,
        }
    }
}

impl From<BlockV1> for Block {
    fn from(old: BlockV1) -> Self {
        let BlockV1 { hash, host, session, extranonce1, job_id, extranonce2, .. } = old;
        Self {
            // A time written before the clock was set means nothing.
            found_secs: Some(old.found_secs).filter(|secs| clock::may_be_right(*secs)),
            hash,
            host,
            port: 0,
            user: old.worker,
            session,
            extranonce1,
            job_id,
            extranonce2,
            ntime: old.ntime,
            nonce: old.nonce,
            version_bits: old.version_bits,
        }
    }
}

impl Block {
    /// Turns a record into its stored form.
    pub fn new(record: &BlockRecord, found_secs: Option<u64>) -> Self {
        Self {
            found_secs,
            hash: record.hash.0,
            host: record.account.host.as_str().to_owned(),
            port: record.account.port,
            user: record.account.user.as_str().to_owned(),
            session: record.session.as_str().to_owned(),
            extranonce1: record.extranonce1.to_vec(),
            job_id: record.job_id.as_str().to_owned(),
            extranonce2: record.extranonce2.to_vec(),
            ntime: record.ntime.0,
            nonce: record.nonce.0,
            version_bits: record.version_bits,
        }
    }

    /// Returns the block's age; `None` if the clock was not set then or is not set now.
    pub fn age(&self) -> Option<Duration> {
        let found = Duration::from_secs(self.found_secs?);
        clock::wall_checked().ok()?.checked_sub(found)
    }

    /// Says whether this is the stored form of the record.
    pub fn is_of(&self, record: &BlockRecord) -> bool {
        self.hash == record.hash.0
    }

    /// Returns the record; `None` if a text is longer than the engine allows.
    pub fn record(&self) -> Option<BlockRecord> {
        Some(BlockRecord {
            hash: BlockHash(self.hash),
            account: Account {
                host: self.host.as_str().try_into().ok()?,
                port: self.port,
                user: self.user.as_str().try_into().ok()?,
            },
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
    use crate::gateway::base::disk::cut::{CutDisk, Random};
    use std::fs;

    const FIRST: Memory = Memory::V1 { miner_id_bytes: 2, roll_bytes: 4 };
    const SECOND: Memory = Memory::V1 { miner_id_bytes: 1, roll_bytes: 2 };

    /// A folder removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("loka-store-{}", std::process::id()));
            Self(folder.join(name))
        }

        fn load(&self) -> (Store<Memory>, Option<Memory>) {
            let (store, found) = Store::load(&self.0, "gateway").unwrap();
            (store, found.value)
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
        let newest = store.path(store.generation as usize % SLOTS);
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
        // The next value goes over the damaged file.
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

    fn on(disk: &CutDisk) -> (Store<Memory, CutDisk>, Option<Memory>) {
        let (store, found) = Store::load_from(disk.clone(), Path::new("state"), "gateway").unwrap();
        assert_eq!(found.damage, [""; 0], "a power cut damages nothing");
        (store, found.value)
    }

    #[test]
    fn f68_the_power_is_cut_at_every_byte_and_every_step_of_a_write() {
        let whole = CutDisk::default();
        let (mut store, _) = on(&whole);
        store.save(&FIRST).unwrap();
        let before = whole.steps();
        store.save(&SECOND).unwrap();
        let steps = whole.steps() - before;
        assert_eq!(steps, 12 + 4, "its bytes, create, sync, rename, and sync of the folder");
        for cut in 0..=steps {
            for seed in 0..32 {
                let disk = CutDisk::default();
                let (mut store, _) = on(&disk);
                store.save(&FIRST).unwrap();
                disk.cut_after(cut);
                let is_saved = store.save(&SECOND).is_ok();
                disk.restart(&mut Random(seed));
                let found = on(&disk).1;
                let is_whole = found == Some(SECOND) || (!is_saved && found == Some(FIRST));
                assert!(is_whole, "cut after {cut} of {steps} steps, seed {seed}: {found:?}");
                assert_eq!(is_saved, cut == steps);
            }
        }
    }

    #[test]
    fn f68_a_thousand_random_power_cuts_leave_the_old_or_the_new() {
        let mut random = Random(0x6c6f_6b61);
        let disk = CutDisk::default();
        let mut before = None;
        let (mut cuts, mut kept) = (0, 0);
        for round in 0..4_000_u32 {
            let (mut store, found) = on(&disk);
            assert_eq!(found, before, "round {round}");
            let [low, high, ..] = round.to_le_bytes();
            let new = Memory::V1 { miner_id_bytes: low, roll_bytes: high };
            disk.cut_after(random.below(40));
            let is_saved = store.save(&new).is_ok();
            disk.restart(&mut random);
            before = on(&disk).1;
            cuts += u32::from(!is_saved);
            kept += u32::from(!is_saved && before == Some(new));
            let is_old = before == found && !is_saved;
            assert!(is_old || before == Some(new), "round {round}: {before:?} after {found:?}");
            if cuts == 1_000 {
                break;
            }
        }
        assert_eq!(cuts, 1_000);
        assert!(kept > 0, "some cuts came when the new value was safe already");
    }

    #[test]
    fn what_is_erased_cannot_be_read_any_more() {
        let folder = Folder::new("erased");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        store.save(&SECOND).unwrap();
        assert_eq!(store.generation(), 2);
        erase(&Flash, &folder.0, &["gateway", "nothing"]).unwrap();
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        assert_eq!(Store::<Memory>::peek(&folder.0, "gateway"), None);
    }

    #[test]
    fn nobody_else_may_read_what_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("mode");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        let mode = fs::metadata(store.path(1)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
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
            account: Account {
                host: "h".repeat(253).as_str().try_into().unwrap(),
                port: u16::MAX,
                user: "w".repeat(128).as_str().try_into().unwrap(),
            },
            session: "s".repeat(64).as_str().try_into().unwrap(),
            extranonce1: [1; 32].as_slice().try_into().unwrap(),
            job_id: "j".repeat(64).as_str().try_into().unwrap(),
            extranonce2: [2; 16].as_slice().try_into().unwrap(),
            ntime: NTime(u32::MAX),
            nonce: Nonce(u32::MAX),
            version_bits: Some(u32::MAX),
        };
        let block = Block::new(&record, Some(u64::MAX));
        assert!(block.is_of(&record));
        assert_eq!(block.record(), Some(record));
        let folder = Folder::new("blocks");
        let all = Blocks::V2(vec![block; loka_stratum::limits::BLOCKS_KEPT_MAX]);
        Store::load(&folder.0, "blocks").unwrap().0.save(&all).unwrap();
        assert_eq!(Store::load(&folder.0, "blocks").unwrap().1.value, Some(all));
    }

    #[test]
    fn f68_the_first_value_stands_twice_and_damage_is_said_and_mended_by_the_next() {
        let folder = Folder::new("twice");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        let found = |folder: &Folder| Store::<Memory>::load(&folder.0, "gateway").unwrap();
        for slot in 0..SLOTS {
            let whole = fs::read(store.path(slot)).unwrap();
            for damaged in [&whole[..whole.len() - 1], b"", &[0xff; 20]] {
                fs::write(store.path(slot), damaged).unwrap();
                let (mut store, found_now) = found(&folder);
                assert_eq!(found_now.value, Some(FIRST), "the other is there");
                assert_eq!(found_now.damage.len(), 1, "{found_now:?}");
                store.save(&FIRST).unwrap();
                assert_eq!(found(&folder).1, Found { value: Some(FIRST), damage: Vec::new() });
            }
        }
        for slot in 0..SLOTS {
            fs::remove_file(store.path(slot)).unwrap();
            fs::create_dir(store.path(slot)).unwrap();
        }
        let (mut store, found_now) = found(&folder);
        assert!(found_now.is_unsound(), "{found_now:?}");
        store.save(&SECOND).unwrap();
        assert_eq!(found(&folder).1, Found { value: Some(SECOND), damage: Vec::new() });
        assert_eq!(store.generation(), 1, "nothing says how many there were");
    }

    #[test]
    fn a_store_that_was_forgotten_writes_the_same_again() {
        let folder = Folder::new("forgotten");
        let (mut store, _) = folder.load();
        store.save(&FIRST).unwrap();
        erase(&Flash, &folder.0, &["gateway"]).unwrap();
        store.forget();
        store.save(&FIRST).unwrap();
        assert_eq!(folder.load().1, Some(FIRST));
    }

    /// A version 1 file with one block, and a version 2 file, both put together by hand after the
    /// format of postcard.
    const BLOCKS_V1: &str = "\
        4c4b5331150001c08df6d706070707070707070707070707070707070707070707070707070707070707\
        07070c706f6f6c2e6578616d706c65046661726d0273310401020304016208000000000000002a80c089\
        c206818080780180403952d3ca";
    const BLOCKS_V2: &str = "\
        4c4b533115010101c08df6d7060707070707070707070707070707070707070707070707070707070707\
        0707070c706f6f6c2e6578616d706c65851a046661726d0273310401020304016208000000000000002a\
        80c089c206818080780180400142fa5f";

    /// The block in both files; version 1 did not keep the port.
    fn stored(port: u16) -> BlockRecord {
        BlockRecord {
            hash: BlockHash([7; 32]),
            account: Account {
                host: "pool.example".try_into().unwrap(),
                port,
                user: "farm".try_into().unwrap(),
            },
            session: "s1".try_into().unwrap(),
            extranonce1: [1, 2, 3, 4].as_slice().try_into().unwrap(),
            job_id: "b".try_into().unwrap(),
            extranonce2: [0, 0, 0, 0, 0, 0, 0, 42].as_slice().try_into().unwrap(),
            ntime: NTime(0x6842_6000),
            nonce: Nonce(0x0f00_0001),
            version_bits: Some(0x2000),
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn f92_blocks_of_version_1_are_read_and_written_as_version_2() {
        let folder = Folder::new("blocks-v1");
        Flash.make_folder(&folder.0).unwrap();
        fs::write(folder.0.join("blocks.1"), bytes(BLOCKS_V1)).unwrap();
        let (mut store, found) = Store::<Blocks>::load(&folder.0, "blocks").unwrap();
        let [block] = found.value.unwrap().newest().try_into().unwrap();
        assert_eq!(block.found_secs, Some(1_795_000_000));
        assert_eq!(block.record(), Some(stored(0)));
        let block = Block { port: 3333, ..block };
        store.save(&Blocks::V2(vec![block])).unwrap();
        let found = Store::<Blocks>::load(&folder.0, "blocks").unwrap().1;
        assert_eq!(found.value.unwrap().newest()[0].record(), Some(stored(3333)));
    }

    #[test]
    fn f92_the_bytes_of_blocks_do_not_change() {
        let blocks = Blocks::V2(vec![Block::new(&stored(3333), Some(1_795_000_000))]);
        let record = Record { magic: MAGIC, generation: 21, value: blocks };
        let mut buffer = [0; 256];
        let written = postcard::to_slice_crc32(&record, &mut buffer, CRC.digest()).unwrap();
        assert_eq!(written, bytes(BLOCKS_V2));
        let record = Record::<Blocks>::decode(&bytes(BLOCKS_V1)).unwrap();
        let written = postcard::to_slice_crc32(&record, &mut buffer, CRC.digest()).unwrap();
        assert_eq!(written, bytes(BLOCKS_V1), "no stored version is ever changed");
    }

    #[test]
    fn a_time_before_this_program_was_written_is_no_time() {
        let Blocks::V1(mut old) = Record::<Blocks>::decode(&bytes(BLOCKS_V1)).unwrap().value else {
            panic!("another version");
        };
        old[0].found_secs = 3_600;
        assert_eq!(Blocks::V1(old).newest()[0].found_secs, None);
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
