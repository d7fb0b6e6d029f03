//! The audit log: who asked for which change, when, from where, and with which result.
//!
//! Entries are only appended, to the two files of a [`Journal`]. Without `state.dir` the last
//! entries are kept in memory.
//!
//! The disk's thread writes them in batches. An entry of a logged-in operator goes with the next
//! write; an entry that anybody can cause waits for the next look. A log-in that came too early is
//! only counted, so no guess costs a write: see [`AUDIT_WRITES_BURST_MAX`]. An entry that finds the
//! queue full is counted too. The counts become entries.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loka_stratum::control::Role;
use loka_stratum::limits::{
    AUDIT_SEGMENT_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, AUDIT_WAITING_MAX, AUDIT_WRITE_INTERVAL,
    AUDIT_WRITES_BURST_MAX,
};
use loka_stratum::time::Instant;
use serde::{Deserialize, Serialize};

use super::Whence;
use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::clock::{self, Utc};
use crate::gateway::base::disk::{Disk, Flash, thread};
use crate::gateway::base::journal::{self, Journal};
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::shelf;

/// The name of the files, before their number.
pub const NAME: &str = "audit";

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, increasing by one.
    number: u64,
    /// The run of the gateway that wrote it; runs without entries are not counted.
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

/// The time of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum When {
    /// Seconds since 1970, by a plausible clock.
    Wall(u64),
    /// Seconds since the start of the process, before the clock was set.
    Up(u64),
}

/// The log as the event loop sees it.
pub struct Audit {
    shared: Arc<Shared>,
    next: u64,
    run: u32,
    allowance: Allowance,
}

struct Shared {
    /// The files; used only on the disk's thread once the loop turns. `None` keeps the log in
    /// memory.
    book: Option<Mutex<Book<Flash>>>,
    /// The path shown in messages.
    place: PathBuf,
    waiting: Mutex<Waiting>,
}

/// Entries not yet on disk.
#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Entries dropped because the queue was full.
    lost: u64,
    /// Log-ins that came too early, which get no entry each.
    early: u64,
    /// A batch is in the disk's queue; there is never more than one.
    is_writing: bool,
    /// The log was forgotten during the batch, so its entries are no longer in the queue.
    is_forgotten: bool,
    /// A write was requested during the batch; the next batch follows it.
    is_wanted: bool,
}

/// The log on disk.
struct Book<D> {
    journal: Journal<D>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Audit {
    /// Opens the log in a folder, before the loop turns; an empty folder keeps the log in memory.
    pub fn open(folder: &str) -> Self {
        let allowance = Allowance::new(AUDIT_WRITES_BURST_MAX, AUDIT_WRITE_INTERVAL);
        let folder = Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty());
        let place = folder.clone().unwrap_or_default().join(NAME);
        let (book, next, run) = match folder.map(|folder| Book::open(Flash, folder)) {
            Some((book, next, run)) => (Some(Mutex::new(book)), next, run),
            None => (None, 1, 1),
        };
        let shared = Shared { book, place, waiting: Mutex::default() };
        Self { shared: Arc::new(shared), next, run, allowance }
    }

    /// Adds an entry. An entry of a logged-in operator is written at once, other entries with the
    /// next batch.
    pub fn note(
        &mut self,
        role: Option<Role>,
        from: Whence,
        what: &str,
        result: &str,
        now: Instant,
    ) {
        let entry = self.entry(role, from, what, result, now);
        let is_in_memory = self.shared.book.is_none();
        lock(&self.shared.waiting).push(entry, is_in_memory);
        if role.is_some() || !matches!(from, Whence::Web(_)) {
            self.flush(now);
        }
    }

    /// Counts a log-in that came too early; the next batch reports the count.
    pub fn count_early(&self) {
        lock(&self.shared.waiting).early += 1;
    }

    fn entry(
        &mut self,
        role: Option<Role>,
        from: Whence,
        what: &str,
        result: &str,
        now: Instant,
    ) -> Entry {
        let when = match clock::wall_checked() {
            Ok(wall) => When::Wall(wall.as_secs()),
            Err(_) => When::Up(now.as_micros() / 1_000_000),
        };
        let (what, result) = (cut(what), cut(result));
        let entry = Entry { number: self.next, run: self.run, when, role, from, what, result };
        self.next += 1;
        entry
    }

    /// Starts a write of the waiting entries, if a write is allowed and none is in the queue.
    pub fn flush(&mut self, now: Instant) {
        if self.shared.book.is_none() {
            return;
        }
        let begun = lock(&self.shared.waiting).begin(&mut self.allowance, now);
        let Some((lost, early)) = begun else { return };
        let texts = [
            (lost, "entries came too fast to be kept"),
            (early, "log-ins came too early and were refused"),
        ];
        for (count, text) in texts.into_iter().filter(|(count, _)| *count > 0) {
            let entry = self.entry(None, Whence::Gateway, &format!("{count} {text}"), "", now);
            lock(&self.shared.waiting).entries.push_back(entry);
        }
        let shared = self.shared.clone();
        if let Err(error) = thread::submit(move || shared.write()) {
            lock(&self.shared.waiting).is_writing = false;
            shelf::unwritten(&self.shared.place, &error);
        }
    }

    /// Queues the last write at the end of the process; the caller waits for the disk's thread.
    pub fn end(&mut self, now: Instant) {
        self.allowance = Allowance::new(1, AUDIT_WRITE_INTERVAL);
        self.flush(now);
    }

    /// Forgets all entries; the caller erases the files later in the disk's queue.
    pub fn forget(&mut self) {
        (self.next, self.run) = (1, 1);
        let mut waiting = lock(&self.shared.waiting);
        waiting.entries.clear();
        waiting.is_forgotten = true;
        drop(waiting);
        let shared = self.shared.clone();
        let forgotten = thread::submit(move || {
            if let Some(book) = &shared.book {
                lock(book).journal.forget();
            }
        });
        if let Err(error) = forgotten {
            shelf::unwritten(&self.shared.place, &error);
        }
    }

    /// Returns the newest entries as lines for people, the oldest first.
    pub fn newest(&self, count: usize) -> impl Future<Output = io::Result<Vec<String>>> + use<> {
        let shared = self.shared.clone();
        async move {
            if shared.book.is_none() {
                return Ok(shared.newest(count));
            }
            thread::run(move || shared.newest(count)).await
        }
    }
}

impl Waiting {
    fn push(&mut self, entry: Entry, is_in_memory: bool) {
        if self.entries.len() >= AUDIT_WAITING_MAX {
            if !is_in_memory {
                self.lost += 1;
                return;
            }
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Begins a batch if entries wait and a write is allowed. Returns the counts of lost entries
    /// and early log-ins, and resets them.
    fn begin(&mut self, allowance: &mut Allowance, now: Instant) -> Option<(u64, u64)> {
        if self.is_writing {
            self.is_wanted = true;
            return None;
        }
        if self.entries.is_empty() || !allowance.allow(now) {
            return None;
        }
        (self.is_writing, self.is_forgotten) = (true, false);
        Some((std::mem::take(&mut self.lost), std::mem::take(&mut self.early)))
    }

    /// Ends a batch with its number of written entries; says whether another batch follows.
    fn end(&mut self, written: usize) -> bool {
        if !self.is_forgotten {
            self.entries.drain(..written.min(self.entries.len()));
        }
        let follows = std::mem::take(&mut self.is_wanted) && written > 0;
        (self.is_writing, self.is_forgotten) = (follows && !self.entries.is_empty(), false);
        self.is_writing
    }
}

impl Shared {
    /// Writes the waiting entries, on the disk's thread.
    fn write(&self) {
        let Some(book) = &self.book else { return };
        let mut book = lock(book);
        loop {
            let batch: Vec<Entry> = lock(&self.waiting).entries.iter().cloned().collect();
            let result = book.write(&batch);
            match &result {
                Ok(()) => shelf::written(&self.place),
                Err(error) => shelf::unwritten(&self.place, error),
            }
            if !lock(&self.waiting).end(if result.is_ok() { batch.len() } else { 0 }) {
                return;
            }
        }
    }

    fn newest(&self, count: usize) -> Vec<String> {
        let mut all = self.book.as_ref().map(|book| lock(book).entries()).unwrap_or_default();
        all.extend(lock(&self.waiting).entries.iter().cloned());
        let skip = all.len().saturating_sub(count);
        all.iter().skip(skip).map(ToString::to_string).collect()
    }
}

impl<D: Disk> Book<D> {
    /// Finds the end of the files and cuts torn ends away; also returns the next number and run.
    fn open(disk: D, folder: PathBuf) -> (Self, u64, u32) {
        let mut journal = Journal::new(disk, folder, NAME, AUDIT_SEGMENT_BYTES_MAX);
        let (mut next, mut run) = (1, 1);
        for file in 0..journal::FILES {
            let read = journal.read(file);
            let entries = entries(&read.records);
            if read.is_torn
                && let Err(error) = journal.cut(file, read.length)
            {
                log::warn(Kind::Store, format_args!("the audit log cannot be mended: {error}"));
            }
            if let Some(last) = entries.last()
                && last.number >= next
            {
                (next, run) = (last.number + 1, last.run.saturating_add(1));
                journal.take_up(file, read.length);
            }
        }
        (Self { journal }, next, run)
    }

    fn write(&mut self, batch: &[Entry]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in batch {
            encode(entry, &mut bytes)?;
        }
        let is_new = self.journal.begins_with(bytes.len());
        self.journal.append(&bytes)?;
        self.journal.sync(is_new)
    }

    fn entries(&self) -> Vec<Entry> {
        self.journal.read_all().flat_map(|file| entries(&file.records)).collect()
    }
}

fn encode(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; RECORD_BYTES_MAX];
    let record = Record::V1(entry.clone());
    journal::encode(postcard::to_slice(&record, &mut buffer).map_err(io::Error::other)?, out)
}

/// Two texts, the numbers of two addresses, and room.
const RECORD_BYTES_MAX: usize = 2 * AUDIT_TEXT_BYTES_MAX + 64;

/// Decodes records up to the first record of a later version.
fn entries(records: &[Vec<u8>]) -> Vec<Entry> {
    let read = |record: &Vec<u8>| postcard::from_bytes(record).ok();
    records.iter().map_while(read).map(|Record::V1(entry)| entry).collect()
}

/// Truncates a text to the limit of an entry.
fn cut(text: &str) -> String {
    let mut end = text.len().min(AUDIT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl fmt::Display for Entry {
    /// Text from the network is escaped, so a terminal obeys none of it.
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
    use crate::gateway::base::disk::cut::{CutDisk, Random};
    use std::path::Path;

    const START: Instant = Instant::from_micros(0);

    fn at(secs: u64) -> Instant {
        START + loka_stratum::time::Duration::from_secs(secs)
    }

    /// A log on a disk whose power can be cut, written entry by entry.
    struct Log {
        book: Book<CutDisk>,
        next: u64,
        run: u32,
    }

    fn open(disk: &CutDisk) -> Log {
        let (book, next, run) = Book::open(disk.clone(), PathBuf::from("state"));
        Log { book, next, run }
    }

    fn entry(what: &str, number: u64, run: u32) -> Entry {
        let from = Whence::Web("192.0.2.7".parse().unwrap());
        let (what, result) = (cut(what), "done".to_owned());
        Entry { number, run, when: When::Up(1), role: Some(Role::Admin), from, what, result }
    }

    impl Log {
        fn note(&mut self, what: &str) -> bool {
            let entry = entry(what, self.next, self.run);
            self.next += 1;
            self.book.write(&[entry]).is_ok()
        }

        fn whats(&self) -> Vec<String> {
            self.book.entries().into_iter().map(|entry| entry.what).collect()
        }
    }

    #[test]
    fn an_entry_says_who_from_where_what_and_what_came_of_it() {
        let disk = CutDisk::default();
        open(&disk).note("commit pool.1.url\u{1b}[2J");
        let log = open(&disk);
        let lines: Vec<_> = log.book.entries().iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1);
        let text = "admin 192.0.2.7: commit pool.1.url\\u{1b}[2J: done";
        assert!(lines[0].ends_with(text), "{lines:?}");
        assert_eq!((log.next, log.run), (2, 2));
    }

    #[test]
    fn f68_a_torn_end_is_cut_away_and_what_was_written_is_still_read() {
        let mut random = Random(7);
        let whole = CutDisk::default();
        open(&whole).note("first");
        let before = whole.steps();
        open(&whole).note("second");
        let steps = whole.steps() - before;
        for cut in 0..=steps {
            for _ in 0..16 {
                let disk = CutDisk::default();
                open(&disk).note("first");
                let mut log = open(&disk);
                disk.cut_after(cut);
                log.note("second");
                disk.restart(&mut random);
                let mut log = open(&disk);
                let found = log.whats();
                let expected: &[&str] = if found.len() == 2 || cut == steps {
                    &["first", "second"]
                } else {
                    &["first"]
                };
                assert_eq!(found, expected, "cut after {cut} of {steps}");
                log.note("third");
                assert_eq!(open(&disk).whats().last().unwrap(), "third", "it goes on behind");
            }
        }
    }

    #[test]
    fn it_is_bounded_and_the_newest_are_kept() {
        let disk = CutDisk::default();
        let mut log = open(&disk);
        let what = "x".repeat(AUDIT_TEXT_BYTES_MAX);
        for number in 0..2_000_u64 {
            assert!(log.note(&format!("{number} {what}")));
        }
        let mut bytes = 0;
        for segment in ["audit.0", "audit.1"] {
            let path = Path::new("state").join(segment);
            bytes += disk.read(&path, usize::MAX - 1).unwrap().len();
        }
        assert!(bytes <= 2 * AUDIT_SEGMENT_BYTES_MAX, "{bytes}");
        let found = open(&disk).whats();
        let numbers: Vec<u64> =
            found.iter().map(|what| what.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&1_999));
        assert!(numbers.len() > 200 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn f96_a_flood_is_written_in_batches_and_what_has_no_room_is_counted() {
        let mut allowance = Allowance::new(1, AUDIT_WRITE_INTERVAL);
        let mut waiting = Waiting::default();
        let push = |waiting: &mut Waiting, count: usize| {
            (0..count).for_each(|_| waiting.push(entry("guess", 1, 1), false));
        };
        push(&mut waiting, 3);
        assert_eq!(waiting.begin(&mut allowance, at(1)), Some((0, 0)));
        push(&mut waiting, AUDIT_WAITING_MAX + 2);
        assert_eq!(waiting.begin(&mut allowance, at(99)), None, "one batch is on its way");
        assert!(waiting.end(3), "what was wanted meanwhile follows at once");
        assert_eq!(waiting.entries.len(), AUDIT_WAITING_MAX - 3, "what came meanwhile waits");
        assert!(!waiting.end(0), "and where it cannot be written, with the next look");
        waiting.early = 7;
        assert_eq!(waiting.begin(&mut allowance, at(100)), Some((5, 7)), "counted once");
        assert!(!waiting.end(0));
        assert_eq!(waiting.entries.len(), AUDIT_WAITING_MAX - 3, "nothing of it was written");
        assert_eq!(waiting.begin(&mut allowance, at(101)), None, "not so soon");
    }

    #[test]
    fn f96_log_ins_that_come_too_early_cost_no_write() {
        let mut waiting = Waiting { early: 96, ..Waiting::default() };
        let mut allowance = Allowance::new(9, AUDIT_WRITE_INTERVAL);
        assert_eq!(waiting.begin(&mut allowance, at(1)), None);
        assert_eq!(waiting.early, 96, "they are told with the next entry");
    }

    #[test]
    fn f69_a_disk_that_takes_nothing_costs_entries_and_nothing_else() {
        let disk = CutDisk::default();
        let mut log = open(&disk);
        assert!(log.note("first"));
        disk.cut_after(0);
        assert!(!log.note("second"));
        assert_eq!(log.whats(), ["first"]);
    }

    #[test]
    fn without_a_folder_the_last_are_kept_in_memory() {
        let mut audit = Audit::open("");
        for number in 0..100 {
            let from = Whence::Web("192.0.2.7".parse().unwrap());
            audit.note(None, from, &format!("{number}"), "done", at(1));
        }
        let found = audit.shared.newest(usize::MAX);
        assert_eq!(found.len(), AUDIT_WAITING_MAX);
        assert!(found[63].ends_with("192.0.2.7: 99: done"), "{found:?}");
    }
}
