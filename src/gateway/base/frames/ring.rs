//! The frames on flash: two files of a [`Journal`], `events.0` and `events.1`.
//!
//! A file begins with its generation and its build, since only that build's ELF can decode its
//! frames. Another build begins another file. Batches of frames follow, as the encoder made them. A
//! file has at most [`FRAMES_FILE_BYTES_MAX`] bytes, so the ring has at most twice that.

use std::io;
use std::path::PathBuf;

use loka_stratum::limits::FRAMES_FILE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::build::BuildId;
use super::split;
use crate::gateway::base::disk::Disk;
use crate::gateway::base::journal::{self, Journal};
use crate::gateway::base::store::FRAMES as NAME;

/// The first record of a file; variants are appended, never reordered.
#[derive(Debug, Serialize, Deserialize)]
enum Head<'a> {
    V1 { generation: u32, build: &'a [u8] },
}

/// Most bytes of a head.
const HEAD_BYTES_MAX: usize = 64;

/// The ring being written.
pub struct Ring<D> {
    journal: Journal<D>,
    build: BuildId,
    generation: u32,
}

/// The frames of one build, the oldest first.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The build.
    pub build: BuildId,
    /// Frames without their terminating zeros.
    pub frames: Vec<Vec<u8>>,
    /// Whether its end was torn.
    pub is_torn: bool,
    generation: u32,
    file: usize,
    length: usize,
}

impl<D: Disk> Ring<D> {
    /// Opens the ring of a folder.
    pub fn open(disk: D, folder: PathBuf, build: BuildId) -> Self {
        let mut journal = Journal::new(disk, folder, NAME, FRAMES_FILE_BYTES_MAX);
        let mut generation = 0;
        if let Some(last) = parts(&journal).last() {
            generation = last.generation;
            let is_mended = !last.is_torn || journal.cut(last.file, last.length).is_ok();
            journal.take_up(last.file, last.length);
            if last.build != build || !is_mended {
                journal.turn();
            }
        }
        Self { journal, build, generation }
    }

    /// The writing build.
    pub fn build(&self) -> &BuildId {
        &self.build
    }

    /// Writes a batch of frames.
    ///
    /// # Errors
    ///
    /// The system's error; the batch is lost, and the next batch goes to the other file.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        journal::encode(frames, &mut bytes)?;
        if self.journal.begins_with(bytes.len()) {
            self.generation = self.generation.wrapping_add(1);
            let head = Head::V1 { generation: self.generation, build: self.build.as_bytes() };
            let mut buffer = [0; HEAD_BYTES_MAX];
            let head = postcard::to_slice(&head, &mut buffer).map_err(io::Error::other)?;
            bytes.clear();
            journal::encode(head, &mut bytes)?;
            journal::encode(frames, &mut bytes)?;
        }
        self.journal.append(&bytes)
    }

    /// Starts afresh; the caller erases the files.
    pub fn forget(&mut self) {
        self.journal.forget();
    }

    /// Returns the frames of this build.
    pub fn own_frames(&self) -> Vec<Vec<u8>> {
        let own = parts(&self.journal).into_iter().filter(|part| part.build == self.build);
        own.flat_map(|part| part.frames).collect()
    }
}

/// Reads a ring in any folder, such as a copy, the older file first.
#[cfg(feature = "decode")]
pub fn read(folder: &std::path::Path) -> Vec<Part> {
    sorted(|file| {
        let path = folder.join(format!("{NAME}.{file}"));
        let bytes = crate::gateway::base::disk::Foreign.read(&path, FRAMES_FILE_BYTES_MAX);
        journal::parse(&bytes.unwrap_or_default())
    })
}

fn parts<D: Disk>(journal: &Journal<D>) -> Vec<Part> {
    sorted(|file| journal.read(file))
}

/// Reads both files, the older first.
fn sorted(read: impl Fn(usize) -> journal::Read) -> Vec<Part> {
    let mut parts: Vec<Part> =
        (0..journal::FILES).filter_map(|file| part(file, &read(file))).collect();
    // Compared as serial numbers, so the generation may wrap.
    if let [first, second] = parts.as_slice()
        && first.generation.wrapping_sub(second.generation) < 1 << 31
    {
        parts.reverse();
    }
    parts
}

fn part(file: usize, read: &journal::Read) -> Option<Part> {
    let (head, batches) = read.records.split_first()?;
    let Head::V1 { generation, build } = postcard::from_bytes(head).ok()?;
    let build = BuildId::from_bytes(build)?;
    let frames = batches.iter().flat_map(|batch| split(batch)).map(<[u8]>::to_vec).collect();
    Some(Part { build, frames, is_torn: read.is_torn, generation, file, length: read.length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::base::disk::cut::{CutDisk, Random};
    use crate::gateway::base::store;
    use std::path::Path;

    fn build(name: u8) -> BuildId {
        BuildId::from_bytes(&[name; 20]).unwrap()
    }

    fn open(disk: &CutDisk, name: u8) -> Ring<CutDisk> {
        Ring::open(disk.clone(), PathBuf::from("state"), build(name))
    }

    fn batch(number: u32) -> Vec<u8> {
        format!("frame {number}\0and {number}\0").into_bytes()
    }

    fn texts(ring: &Ring<CutDisk>) -> Vec<String> {
        ring.own_frames().into_iter().map(|frame| String::from_utf8(frame).unwrap()).collect()
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_newest() {
        let disk = CutDisk::default();
        for run in 0..60 {
            let mut ring = open(&disk, 1);
            for number in 100 * run..100 * (run + 1) {
                ring.write(&batch(number)).unwrap();
            }
            for name in ["events.0", "events.1"] {
                let path = Path::new("state").join(name);
                let length = disk.read(&path, usize::MAX - 1).map_or(0, |bytes| bytes.len());
                assert!(length <= FRAMES_FILE_BYTES_MAX, "{name}: {length}");
            }
        }
        let texts = texts(&open(&disk, 1));
        assert_eq!(texts.last().unwrap(), "and 5999");
        let first: usize = texts[0].strip_prefix("frame ").unwrap().parse().unwrap();
        assert_eq!(texts.len(), 2 * (6_000 - first), "none is missing in between");
        assert!((4_000..8_000).contains(&texts.len()), "{}", texts.len());
    }

    #[test]
    fn f68_what_a_power_cut_tears_costs_that_batch_alone() {
        let mut random = Random(11);
        let whole = CutDisk::default();
        open(&whole, 1).write(&batch(1)).unwrap();
        let before = whole.steps();
        open(&whole, 1).write(&batch(2)).unwrap();
        let steps = whole.steps() - before;
        for cut in 0..=steps {
            for _ in 0..16 {
                let disk = CutDisk::default();
                open(&disk, 1).write(&batch(1)).unwrap();
                for file in ["events.0", "events.1"] {
                    let _ = disk.sync(&Path::new("state").join(file));
                }
                disk.sync_folder(Path::new("state")).unwrap();
                let mut ring = open(&disk, 1);
                disk.cut_after(cut);
                let _ = ring.write(&batch(2));
                disk.restart(&mut random);
                let mut ring = open(&disk, 1);
                let found = texts(&ring);
                assert!(found.starts_with(&["frame 1".to_owned(), "and 1".to_owned()]));
                assert!([2, 4].contains(&found.len()), "cut after {cut} of {steps}: {found:?}");
                ring.write(&batch(3)).unwrap();
                assert_eq!(texts(&open(&disk, 1)).last().unwrap(), "and 3", "it goes on behind");
            }
        }
    }

    #[test]
    fn another_build_begins_another_file() {
        let disk = CutDisk::default();
        open(&disk, 1).write(&batch(1)).unwrap();
        open(&disk, 2).write(&batch(2)).unwrap();
        open(&disk, 2).write(&batch(3)).unwrap();
        let ring = open(&disk, 2);
        assert_eq!(texts(&ring), ["frame 2", "and 2", "frame 3", "and 3"]);
        let builds: Vec<BuildId> =
            parts(&ring.journal).into_iter().map(|part| part.build).collect();
        assert_eq!(builds, [build(1), build(2)], "the older one is still there for its own ELF");
    }

    #[test]
    fn one_that_was_erased_begins_anew() {
        let disk = CutDisk::default();
        let mut ring = open(&disk, 1);
        for number in 0..3_000 {
            ring.write(&batch(number)).unwrap();
        }
        store::erase(&disk, Path::new("state"), &[NAME]).unwrap();
        ring.forget();
        assert!(texts(&ring).is_empty());
        ring.write(&batch(1)).unwrap();
        assert_eq!(texts(&ring), ["frame 1", "and 1"]);
        assert_eq!(texts(&open(&disk, 1)), ["frame 1", "and 1"]);
    }

    #[test]
    fn f69_a_disk_that_takes_nothing_costs_frames_and_nothing_else() {
        let disk = CutDisk::default();
        let mut ring = open(&disk, 1);
        ring.write(&batch(1)).unwrap();
        disk.cut_after(0);
        assert!(ring.write(&batch(2)).is_err());
        assert!(ring.write(&batch(3)).is_err());
    }
}
