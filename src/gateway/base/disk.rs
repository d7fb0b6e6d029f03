//! The disk operations of the state files. The power may be cut at each of them.
//!
//! Any of them may block for long, so none runs on the event loop: [`thread`] runs them, and
//! [`Flash`] aborts a test's process that forgot it.
//!
//! [`Flash`] is the real disk. It counts its writes, since they wear flash out. The tests use
//! another disk: a power cut there loses unsynced bytes and tears the write in progress.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::gateway::base::event_loop::must_not_turn;
use crate::gateway::base::store::DAMAGED;

mod beneath;
pub mod thread;

use beneath::Beneath;

/// File operations of the stores.
pub trait Disk {
    /// Creates a folder and its missing parents.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Reads a file up to `bytes_max` + 1 bytes, so that a longer file shows.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;
    /// Creates an empty file.
    fn create(&self, path: &Path) -> io::Result<()>;
    /// Appends to a file.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Syncs a file's content.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; a missing file is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Syncs the names in a folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Renames a damaged file; it replaces one put aside before.
    fn put_aside(&self, path: &Path) -> io::Result<()>;
}

/// The real disk, below folders that we own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flash;

/// Writes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Number of writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
}

static WRITES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Private to our user: the files hold passwords.
const FOLDER_MODE: u32 = 0o700;

/// Returns the writes since the start.
pub fn wear() -> Wear {
    Wear { writes: WRITES.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
}

impl Disk for Flash {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        must_not_turn("a folder is made");
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.and_then(|()| Beneath::open(folder).map(drop)).map_err(named(folder))
    }

    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        must_not_turn("a file is read");
        let (folder, name) = Beneath::of(path)?;
        let mut bytes = Vec::new();
        folder.read(name)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        must_not_turn("a file is made");
        let (folder, name) = Beneath::of(path)?;
        folder.create(name).map(drop)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        must_not_turn("a file is written");
        let (folder, name) = Beneath::of(path)?;
        let mut file = folder.append(name)?;
        WRITES.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        file.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        must_not_turn("a file is synced");
        let (folder, name) = Beneath::of(path)?;
        folder.read(name)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        must_not_turn("a file is renamed");
        let ((of, from), (into, to)) = (Beneath::of(from)?, Beneath::of(to)?);
        fs::rename(of.path(from), into.path(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        must_not_turn("a file is removed");
        let (folder, name) = match Beneath::of(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let path = folder.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Another program put a folder in the file's place.
            Err(_) if fs::symlink_metadata(&path)?.is_dir() => fs::remove_dir_all(path),
            result => result,
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        must_not_turn("a folder is synced");
        Beneath::open(folder)?.sync()
    }

    fn put_aside(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension(DAMAGED);
        self.remove(&aside)?;
        self.rename(path, &aside)
    }
}

/// Prefixes a system error with the path, unless it is there already.
fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| {
        let (text, shown) = (error.to_string(), path.display().to_string());
        if text.contains(&shown) {
            return error;
        }
        io::Error::new(error.kind(), format!("{shown}: {text}"))
    }
}

/// Files of the user of a tool: read only, at any path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreign;

impl Foreign {
    /// Reads a file up to `bytes_max` + 1 bytes, so that a longer file shows.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn read(self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
pub mod cut {
    //! A disk whose power is cut after some steps.

    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::rc::Rc;

    /// A disk in memory; its copies are the same disk.
    #[derive(Clone, Default)]
    pub struct CutDisk(Rc<RefCell<Contents>>);

    #[derive(Default)]
    struct Contents {
        files: Vec<Content>,
        /// The synced names, and the changes made since.
        names: BTreeMap<PathBuf, usize>,
        done: Vec<Change>,
        /// Steps until the power is cut; each byte is one.
        left: Option<u64>,
        steps: u64,
    }

    /// A file: its synced bytes, and the bytes that programs see.
    #[derive(Default)]
    struct Content {
        synced: Vec<u8>,
        seen: Vec<u8>,
    }

    enum Change {
        Put(PathBuf, usize),
        Rename(PathBuf, PathBuf),
        Remove(PathBuf),
    }

    /// SplitMix64.
    pub struct Random(pub u64);

    impl Random {
        /// Returns a number below `limit`.
        pub fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % limit
        }
    }

    impl Change {
        fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
            match self {
                Self::Put(path, file) => {
                    names.insert(path.clone(), *file);
                }
                Self::Rename(from, to) => {
                    if let Some(file) = names.remove(from) {
                        names.insert(to.clone(), file);
                    }
                }
                Self::Remove(path) => {
                    names.remove(path);
                }
            }
        }
    }

    impl Contents {
        fn step(&mut self) -> io::Result<()> {
            self.steps += 1;
            match &mut self.left {
                Some(0) => Err(io::Error::other("the power was cut")),
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }

        fn change(&mut self, change: Change) {
            self.done.push(change);
        }

        /// The names as programs see them.
        fn seen(&self) -> BTreeMap<PathBuf, usize> {
            let mut names = self.names.clone();
            self.done.iter().for_each(|change| change.apply(&mut names));
            names
        }

        fn find(&self, path: &Path) -> io::Result<usize> {
            self.seen().get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    impl CutDisk {
        /// Cuts the power after this many more steps.
        pub fn cut_after(&self, steps: u64) {
            self.0.borrow_mut().left = Some(steps);
        }

        /// Returns the number of steps so far.
        pub fn steps(&self) -> u64 {
            self.0.borrow().steps
        }

        /// Restores the power. Of the unsynced changes, the first few renames survive in order. Of
        /// each file a prefix of its new bytes survives, perhaps with noise behind it.
        pub fn restart(&self, random: &mut Random) {
            let contents = &mut *self.0.borrow_mut();
            contents.left = None;
            let kept = random.below(contents.done.len() as u64 + 1) as usize;
            for change in contents.done.drain(..).take(kept) {
                change.apply(&mut contents.names);
            }
            for file in &mut contents.files {
                let is_longer = file.seen.starts_with(&file.synced);
                if is_longer {
                    let new = file.seen.len() - file.synced.len();
                    let part = random.below(new as u64 + 1) as usize;
                    file.seen.truncate(file.synced.len() + part);
                } else if random.below(2) == 0 {
                    file.seen = file.synced.clone();
                }
                if file.seen != file.synced && random.below(2) == 0 {
                    let noise = random.below(9);
                    file.seen.extend((0..noise).map(|_| random.below(256) as u8));
                }
                file.synced = file.seen.clone();
            }
        }
    }

    impl Disk for CutDisk {
        fn make_folder(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }

        fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
            let contents = self.0.borrow();
            let file = contents.find(path)?;
            let bytes = &contents.files[file].seen;
            Ok(bytes[..bytes.len().min(bytes_max + 1)].to_vec())
        }

        fn create(&self, path: &Path) -> io::Result<()> {
            let contents = &mut *self.0.borrow_mut();
            contents.step()?;
            if contents.find(path).is_ok() {
                contents.change(Change::Remove(path.to_owned()));
            }
            contents.files.push(Content::default());
            contents.change(Change::Put(path.to_owned(), contents.files.len() - 1));
            Ok(())
        }

        fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if self.0.borrow().find(path).is_err() {
                self.create(path)?;
            }
            let contents = &mut *self.0.borrow_mut();
            let file = contents.find(path)?;
            for byte in bytes {
                contents.step()?;
                contents.files[file].seen.push(*byte);
            }
            Ok(())
        }

        fn sync(&self, path: &Path) -> io::Result<()> {
            let contents = &mut *self.0.borrow_mut();
            contents.step()?;
            let file = contents.find(path)?;
            let file = &mut contents.files[file];
            file.synced = file.seen.clone();
            Ok(())
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            let contents = &mut *self.0.borrow_mut();
            contents.step()?;
            contents.change(Change::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            let contents = &mut *self.0.borrow_mut();
            contents.step()?;
            contents.change(Change::Remove(path.to_owned()));
            Ok(())
        }

        fn sync_folder(&self, _: &Path) -> io::Result<()> {
            let contents = &mut *self.0.borrow_mut();
            contents.step()?;
            contents.names = contents.seen();
            contents.done.clear();
            Ok(())
        }

        fn put_aside(&self, path: &Path) -> io::Result<()> {
            self.rename(path, &path.with_extension(DAMAGED))
        }
    }
}
