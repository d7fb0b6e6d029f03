//! The audit log: who asked for what, when, from where, and what came of it.
//!
//! It is only ever appended to, in the two files of a [`Journal`]. Without `state.dir` the last
//! entries are kept in memory.
//!
//! A flood of entries, such as of guessed passwords, is written in batches: see
//! [`AUDIT_WRITES_BURST_MAX`]. What finds no room to wait in is counted, and the count is an entry.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use loka_stratum::control::Role;
use loka_stratum::limits::{
    AUDIT_SEGMENT_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, AUDIT_WAITING_MAX, AUDIT_WRITE_INTERVAL,
    AUDIT_WRITES_BURST_MAX,
};
use loka_stratum::time::Instant;
use serde::{Deserialize, Serialize};

use super::Whence;
use crate::gateway::allowance::Allowance;
use crate::gateway::clock::{self, Utc};
use crate::gateway::disk::{Disk, Flash};
use crate::gateway::journal::{self, Journal};
use crate::gateway::log::{self, Kind};

/// The name of the files, before their number.
pub const NAME: &str = "audit";

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, which grows by one.
    number: u64,
    /// Which run of the gateway wrote it; runs that wrote nothing are not counted.
    run: u32,
    when: When,
    role: Option<Role>,
    from: Whence,
    what: String,
    result: String,
}

/// An entry on disk; variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    V1(Entry),
}

/// When something was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum When {
    /// Seconds since 1970, by a clock that can be right.
    Wall(u64),
    /// Seconds since the start, before there was one.
    Up(u64),
}

/// The log.
pub struct Audit<D = Flash> {
    journal: Option<Journal<D>>,
    next: u64,
    run: u32,
    allowance: Allowance,
    /// Entries that are not on disk.
    waiting: VecDeque<Entry>,
    /// Entries that found no room to wait in.
    lost: u64,
}

impl Audit {
    /// Takes up the log in a folder; none where it is only kept in memory.
    pub fn open(folder: &str) -> Self {
        let folder = Some(folder).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        Self::open_on(Flash, folder)
    }
}

impl<D: Disk> Audit<D> {
    fn open_on(disk: D, folder: Option<PathBuf>) -> Self {
        let allowance = Allowance::new(AUDIT_WRITES_BURST_MAX, AUDIT_WRITE_INTERVAL);
        let journal =
            folder.map(|folder| Journal::new(disk, folder, NAME, AUDIT_SEGMENT_BYTES_MAX));
        let waiting = VecDeque::new();
        let mut audit = Self { journal, next: 1, run: 1, allowance, waiting, lost: 0 };
        audit.recall();
        audit
    }

    /// Finds where the files end, and cuts torn ends away.
    fn recall(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        for file in 0..journal::FILES {
            let read = journal.read(file);
            let entries = entries(&read.records);
            if read.is_torn
                && let Err(error) = journal.cut(file, read.length)
            {
                log::warn(Kind::Store, format_args!("the audit log cannot be mended: {error}"));
            }
            if let Some(last) = entries.last()
                && last.number >= self.next
            {
                self.next = last.number + 1;
                self.run = last.run.saturating_add(1);
                journal.take_up(file, read.length);
            }
        }
    }

    /// Takes an entry.
    pub fn note(
        &mut self,
        role: Option<Role>,
        from: Whence,
        what: &str,
        result: &str,
        now: Instant,
    ) {
        let when = match clock::wall_checked() {
            Ok(wall) => When::Wall(wall.as_secs()),
            Err(_) => When::Up(now.as_micros() / 1_000_000),
        };
        let (what, result) = (cut(what), cut(result));
        let entry = Entry { number: self.next, run: self.run, when, role, from, what, result };
        self.next += 1;
        if self.waiting.len() >= AUDIT_WAITING_MAX {
            if self.journal.is_some() {
                self.lost += 1;
                return;
            }
            self.waiting.pop_front();
        }
        self.waiting.push_back(entry);
        self.flush(now);
    }

    /// Writes what waits, where a write is allowed.
    pub fn flush(&mut self, now: Instant) {
        if self.journal.is_none() || self.waiting.is_empty() || !self.allowance.allow(now) {
            return;
        }
        if self.lost > 0 {
            let text = format!("{} entries came too fast to be kept", self.lost);
            let last = self.waiting.back().cloned();
            if let Some(mut entry) = last {
                self.lost = 0;
                entry.number = self.next;
                self.next += 1;
                (entry.role, entry.from) = (None, Whence::Gateway);
                (entry.what, entry.result) = (text, String::new());
                self.waiting.push_back(entry);
            }
        }
        if let Err(error) = self.write() {
            log::warn(Kind::Store, format_args!("the audit log cannot be written: {error}"));
        }
    }

    /// Forgets all; the files are erased by the caller.
    pub fn forget(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.forget();
        }
        (self.next, self.run) = (1, 1);
        self.waiting.clear();
        self.lost = 0;
    }

    /// Returns the newest entries, the oldest first, as lines for people.
    pub fn newest(&self, count: usize) -> Vec<String> {
        let files = self.journal.iter().flat_map(Journal::read_all);
        let on_disk = files.flat_map(|file| entries(&file.records));
        let all: Vec<Entry> = on_disk.chain(self.waiting.iter().cloned()).collect();
        let skip = all.len().saturating_sub(count);
        all.iter().skip(skip).map(ToString::to_string).collect()
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let mut bytes = Vec::new();
        for entry in &self.waiting {
            encode(entry, &mut bytes)?;
        }
        let is_new = journal.begins_with(bytes.len());
        journal.append(&bytes)?;
        journal.sync(is_new)?;
        self.waiting.clear();
        Ok(())
    }
}

fn encode(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; RECORD_BYTES_MAX];
    let record = Record::V1(entry.clone());
    journal::encode(postcard::to_slice(&record, &mut buffer).map_err(io::Error::other)?, out)
}

/// Two texts, two addresses' worth of numbers, and room.
const RECORD_BYTES_MAX: usize = 2 * AUDIT_TEXT_BYTES_MAX + 64;

/// Reads records; those of a later version of the program end it.
fn entries(records: &[Vec<u8>]) -> Vec<Entry> {
    let read = |record: &Vec<u8>| postcard::from_bytes(record).ok();
    records.iter().map_while(read).map(|Record::V1(entry)| entry).collect()
}

/// Cuts a text to what an entry holds.
fn cut(text: &str) -> String {
    let mut end = text.len().min(AUDIT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl fmt::Display for Entry {
    /// What came from the network is escaped, so that a terminal obeys nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Wall(secs) => write!(f, "{} ", Utc(Duration::from_secs(secs)))?,
            When::Up(secs) => write!(f, "run {} after {secs} s ", self.run)?,
        }
        if let Some(role) = self.role {
            write!(f, "{role} ")?;
        }
        let (what, result) = (self.what.escape_debug(), self.result.escape_debug());
        write!(f, "{}: {what}", self.from)?;
        if self.result.is_empty() { Ok(()) } else { write!(f, ": {result}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::disk::cut::{CutDisk, Random};
    use std::path::Path;

    const START: Instant = Instant::from_micros(0);

    fn open(disk: &CutDisk) -> Audit<CutDisk> {
        Audit::open_on(disk.clone(), Some(PathBuf::from("state")))
    }

    fn at(secs: u64) -> Instant {
        START + loka_stratum::time::Duration::from_secs(secs)
    }

    fn note(audit: &mut Audit<CutDisk>, what: &str, secs: u64) {
        let from = Whence::Web("192.0.2.7".parse().unwrap());
        audit.note(Some(Role::Admin), from, what, "done", at(secs));
    }

    fn whats(audit: &Audit<CutDisk>) -> Vec<String> {
        let what = |line: &String| line.split(": ").nth(1).unwrap().to_owned();
        audit.newest(usize::MAX).iter().map(what).collect()
    }

    #[test]
    fn an_entry_says_who_from_where_what_and_what_came_of_it() {
        let disk = CutDisk::default();
        note(&mut open(&disk), "commit pool.1.url\u{1b}[2J", 1);
        let audit = open(&disk);
        let lines = audit.newest(10);
        assert_eq!(lines.len(), 1);
        let text = "admin 192.0.2.7: commit pool.1.url\\u{1b}[2J: done";
        assert!(lines[0].ends_with(text), "{lines:?}");
        assert_eq!((audit.next, audit.run), (2, 2));
    }

    #[test]
    fn f68_a_torn_end_is_cut_away_and_what_was_written_is_still_read() {
        let mut random = Random(7);
        let whole = CutDisk::default();
        note(&mut open(&whole), "first", 1);
        let before = whole.steps();
        note(&mut open(&whole), "second", 1);
        let steps = whole.steps() - before;
        for cut in 0..=steps {
            for _ in 0..16 {
                let disk = CutDisk::default();
                note(&mut open(&disk), "first", 1);
                let mut audit = open(&disk);
                disk.cut_after(cut);
                note(&mut audit, "second", 1);
                disk.restart(&mut random);
                let mut audit = open(&disk);
                let found = whats(&audit);
                let expected: &[&str] = if found.len() == 2 || cut == steps {
                    &["first", "second"]
                } else {
                    &["first"]
                };
                assert_eq!(found, expected, "cut after {cut} of {steps}");
                note(&mut audit, "third", 1);
                assert_eq!(whats(&open(&disk)).last().unwrap(), "third", "it goes on behind");
            }
        }
    }

    #[test]
    fn it_is_bounded_and_the_newest_are_kept() {
        let disk = CutDisk::default();
        let mut audit = open(&disk);
        let what = "x".repeat(AUDIT_TEXT_BYTES_MAX);
        for number in 0..2_000_u64 {
            note(&mut audit, &format!("{number} {what}"), 10 * number);
        }
        let mut bytes = 0;
        for segment in ["audit.0", "audit.1"] {
            let path = Path::new("state").join(segment);
            bytes += disk.read(&path, usize::MAX - 1).unwrap().len();
        }
        assert!(bytes <= 2 * AUDIT_SEGMENT_BYTES_MAX, "{bytes}");
        let found = whats(&open(&disk));
        let numbers: Vec<u64> =
            found.iter().map(|what| what.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&1_999));
        assert!(numbers.len() > 200 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_flood_is_written_in_batches_and_what_has_no_room_is_counted() {
        let disk = CutDisk::default();
        let mut audit = open(&disk);
        let burst = u64::from(AUDIT_WRITES_BURST_MAX);
        for number in 0..burst + AUDIT_WAITING_MAX as u64 + 5 {
            note(&mut audit, &format!("{number}"), 1);
        }
        assert_eq!(whats(&open(&disk)).len() as u64, burst, "the rest waits");
        let steps = disk.steps();
        audit.flush(at(9));
        assert_eq!(disk.steps(), steps);
        audit.flush(at(11));
        let found = whats(&open(&disk));
        assert_eq!(found.len() as u64, burst + AUDIT_WAITING_MAX as u64 + 1);
        assert_eq!(found.last().unwrap(), "5 entries came too fast to be kept");
    }

    #[test]
    fn f69_a_disk_that_takes_nothing_costs_entries_and_nothing_else() {
        let disk = CutDisk::default();
        let mut audit = open(&disk);
        note(&mut audit, "first", 1);
        disk.cut_after(0);
        note(&mut audit, "second", 2);
        assert_eq!(whats(&audit), ["first", "second"], "it is shown from memory");
    }

    #[test]
    fn without_a_folder_the_last_are_kept_in_memory() {
        let mut audit = Audit::open_on(CutDisk::default(), None);
        for number in 0..100 {
            note(&mut audit, &format!("{number}"), 1);
        }
        let found = whats(&audit);
        assert_eq!((found.len(), found[63].as_str()), (AUDIT_WAITING_MAX, "99"));
    }
}
