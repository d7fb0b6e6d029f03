//! A store as the event loop uses it: a put returns at once, and its outcome can be awaited.
//!
//! A value is state, not a message: a newer value replaces one not yet written, and both callers
//! get the outcome of that write. Each shelf has one slot in the queue of the disk's thread, so a
//! slow disk lengthens no queue.
//!
//! A failed write is a [trouble](troubles) until a write succeeds; a damaged file is a trouble
//! until it is rewritten.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::gateway::base::disk::thread;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::store::{Found, Store, Value};

/// The event loop's handle of a store.
pub struct Shelf<T: Value>(Arc<Shared<T>>);

struct Shared<T: Value> {
    /// Used only on the disk's thread once the loop turns.
    store: Mutex<Store<T>>,
    wanted: Mutex<Wanted<T>>,
    done: watch::Sender<Done>,
    place: PathBuf,
}

struct Wanted<T> {
    /// The value to write next, and its number.
    value: Option<T>,
    number: u64,
    /// The value whose write failed, unless a newer one was put since.
    failed: Option<T>,
    is_queued: bool,
}

/// The outcome of the last write.
#[derive(Clone, Debug, Default)]
struct Done {
    number: u64,
    generation: u64,
    failed: Option<(io::ErrorKind, String)>,
}

/// A write in progress.
pub struct Writing {
    number: u64,
    done: watch::Receiver<Done>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Value + Send + 'static> Shelf<T> {
    /// Opens the store `name` in a folder before the loop turns, and returns its files. A missing
    /// folder is created.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn open(folder: &Path, name: &'static str) -> io::Result<(Self, Found<T>)> {
        let (store, found) = Store::load(folder, name)?;
        let place = folder.join(name);
        note_damage(&place, &found);
        let done = Done { generation: store.generation(), ..Done::default() };
        let shared = Shared {
            store: Mutex::new(store),
            wanted: Mutex::new(Wanted { value: None, number: 0, failed: None, is_queued: false }),
            done: watch::Sender::new(done),
            place,
        };
        Ok((Self(Arc::new(shared)), found))
    }

    /// Queues a value; it replaces a value not yet written.
    pub fn put(&self, value: T) -> Writing {
        let mut wanted = lock(&self.0.wanted);
        wanted.number += 1;
        wanted.value = Some(value);
        wanted.failed = None;
        let writing = Writing { number: wanted.number, done: self.0.done.subscribe() };
        self.submit(wanted);
        writing
    }

    /// Retries a failed write; says whether there was one.
    pub fn retry(&self) -> bool {
        let mut wanted = lock(&self.0.wanted);
        let Some(value) = wanted.failed.take() else { return false };
        wanted.value.get_or_insert(value);
        self.submit(wanted);
        true
    }

    /// Drops the value not yet written and forgets the stored one. The caller erases the files
    /// later in the queue.
    pub fn forget(&self) {
        let mut wanted = lock(&self.0.wanted);
        (wanted.value, wanted.failed) = (None, None);
        drop(wanted);
        let shared = self.0.clone();
        let forgotten = thread::submit(move || {
            lock(&shared.store).forget();
            settle(&shared.place, &[Trouble::is_unwritten, Trouble::is_damage]);
        });
        if let Err(error) = forgotten {
            log::error(Kind::Kept, format_args!("{}: {error}", self.0.place.display()));
        }
    }

    /// Says whether the last value put is on the disk.
    pub fn is_written(&self) -> bool {
        let number = lock(&self.0.wanted).number;
        let done = self.0.done.borrow();
        done.number == number && done.failed.is_none()
    }

    /// Returns the number of values ever written.
    pub fn generation(&self) -> u64 {
        self.0.done.borrow().generation
    }

    fn submit(&self, mut wanted: MutexGuard<'_, Wanted<T>>) {
        if wanted.is_queued {
            return;
        }
        let shared = self.0.clone();
        wanted.is_queued = true;
        if let Err(error) = thread::submit(move || shared.write()) {
            wanted.is_queued = false;
            let (value, number) = (wanted.value.take(), wanted.number);
            wanted.failed = value;
            drop(wanted);
            self.0.tell(number, self.generation(), Err(error));
        }
    }
}

impl<T: Value> Shared<T> {
    /// Writes the newest value, on the disk's thread.
    fn write(&self) {
        let (value, number) = {
            let mut wanted = lock(&self.wanted);
            wanted.is_queued = false;
            (wanted.value.take(), wanted.number)
        };
        let Some(value) = value else { return };
        let (result, generation) = {
            let mut store = lock(&self.store);
            (store.save(&value), store.generation())
        };
        if result.is_err() {
            let mut wanted = lock(&self.wanted);
            if wanted.value.is_none() {
                wanted.failed = Some(value);
            }
        }
        self.tell(number, generation, result);
    }

    fn tell(&self, number: u64, generation: u64, result: io::Result<()>) {
        match &result {
            Ok(()) if settle(&self.place, &[Trouble::is_unwritten, Trouble::is_damage]) => {
                say_settled(&self.place);
            }
            Ok(()) => {}
            Err(error) => unwritten(&self.place, error),
        }
        let failed = result.err().map(|error| (error.kind(), error.to_string()));
        self.done.send_replace(Done { number, generation, failed });
    }
}

impl Writing {
    /// Waits until this value or a newer one is written.
    ///
    /// # Errors
    ///
    /// The disk's error.
    pub async fn outcome(mut self) -> io::Result<()> {
        let number = self.number;
        let done = self.done.wait_for(|done| done.number >= number).await;
        match done.map_err(io::Error::other)?.failed.clone() {
            Some((kind, text)) => Err(io::Error::new(kind, text)),
            None => Ok(()),
        }
    }
}

/// A lasting problem of a state file, shown to the operator.
struct Trouble {
    place: PathBuf,
    is_damage: bool,
    text: String,
}

impl Trouble {
    fn is_damage(&self) -> bool {
        self.is_damage
    }

    fn is_unwritten(&self) -> bool {
        !self.is_damage
    }
}

/// At most one of each kind per store.
static TROUBLES: Mutex<Vec<Trouble>> = Mutex::new(Vec::new());

/// Returns the present troubles of a folder, for status and console.
pub fn troubles(folder: &str) -> Vec<String> {
    let troubles = lock(&TROUBLES);
    let is_here = |trouble: &&Trouble| trouble.place.parent() == Some(Path::new(folder));
    troubles.iter().filter(is_here).map(|trouble| trouble.text.clone()).collect()
}

/// Notes that the newest value of a place is not on the disk; logged once until a write succeeds.
pub fn unwritten(place: &Path, error: &dyn fmt::Display) {
    let text = format!(
        "{} is not on the disk as it is in use, and a restart loses the difference: {}: {error}",
        what(place),
        place.display()
    );
    note(place, false, text);
}

/// Notes that a place was written.
pub fn written(place: &Path) {
    if settle(place, &[Trouble::is_unwritten]) {
        say_settled(place);
    }
}

/// Notes the damaged files of a place, and which value is used instead.
fn note_damage<T>(place: &Path, found: &Found<T>) {
    settle(place, &[Trouble::is_damage, Trouble::is_unwritten]);
    if found.damage.is_empty() {
        return;
    }
    let instead = match found.value {
        Some(_) => "the other of its two files counts, which may be older",
        None => "nothing of it can be used",
    };
    let text = format!("{}: {instead}: {}", what(place), found.damage.join("; "));
    note(place, true, text);
}

fn note(place: &Path, is_damage: bool, text: String) {
    let mut troubles = lock(&TROUBLES);
    let is_same = |known: &&mut Trouble| known.place == place && known.is_damage == is_damage;
    match troubles.iter_mut().find(is_same) {
        Some(known) if known.text == text => return,
        Some(known) => known.text.clone_from(&text),
        None => {
            troubles.push(Trouble { place: place.to_owned(), is_damage, text: text.clone() });
        }
    }
    drop(troubles);
    log::error(Kind::Kept, format_args!("{text}"));
}

/// Removes troubles; says whether there were any.
fn settle(place: &Path, kinds: &[fn(&Trouble) -> bool]) -> bool {
    let mut troubles = lock(&TROUBLES);
    let before = troubles.len();
    let is_over = |known: &Trouble| known.place == place && kinds.iter().any(|is| is(known));
    troubles.retain(|known| !is_over(known));
    troubles.len() < before
}

fn say_settled(place: &Path) {
    log::info(Kind::Kept, format_args!("{} is on the disk again", what(place)));
}

/// Returns people's name for a stored value.
fn what(place: &Path) -> &'static str {
    match place.file_name().and_then(|name| name.to_str()) {
        Some("accounts") => "the passwords of the page",
        Some("admitted") => "the list of admitted workers",
        Some("audit") => "the audit log",
        Some("blocks") => "the list of block candidates",
        Some("events") => "the log in frames",
        Some("gateway") => "the division of the extranonce2",
        Some("page") => "the page's certificate",
        Some("settings") => "the last commit",
        Some("update") => "what is known of updates",
        _ => "a file of the state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::base::store::Memory;
    use std::fs;
    use std::future::Future;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    const FIRST: Memory = Memory::V1 { miner_id_bytes: 2, roll_bytes: 4 };
    const SECOND: Memory = Memory::V1 { miner_id_bytes: 1, roll_bytes: 2 };

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// A folder removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("loka-shelf-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn open(&self) -> (Shelf<Memory>, Option<Memory>) {
            let (shelf, found) = Shelf::open(&self.0, "gateway").unwrap();
            (shelf, found.value)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn f96_of_what_comes_while_the_disk_is_busy_the_newest_is_written_and_all_are_told() {
        let folder = Folder::new("busy");
        let (shelf, _) = folder.open();
        let (go_on, wait) = sync_channel::<()>(0);
        thread::submit(move || assert!(wait.recv().is_err())).unwrap();
        let (first, second) = (shelf.put(FIRST), shelf.put(SECOND));
        drop(go_on);
        run(first.outcome()).unwrap();
        run(second.outcome()).unwrap();
        assert_eq!(shelf.generation(), 1, "one write");
        assert_eq!(folder.open().1, Some(SECOND));
    }

    #[test]
    fn f69_what_is_not_on_the_disk_is_a_trouble_until_it_is() {
        let folder = Folder::new("trouble");
        let (shelf, _) = folder.open();
        let here = folder.0.to_str().unwrap();
        run(shelf.put(FIRST).outcome()).unwrap();
        // A folder in the way fails the write as a full disk would, for root too.
        fs::create_dir(folder.0.join("gateway.new")).unwrap();
        assert!(run(shelf.put(SECOND).outcome()).is_err());
        assert!(!shelf.is_written());
        let text = "the division of the extranonce2 is not on the disk as it is in use";
        assert!(troubles(here).iter().any(|trouble| trouble.starts_with(text)));
        fs::remove_dir(folder.0.join("gateway.new")).unwrap();
        assert!(shelf.retry());
        assert!(thread::finish(Duration::from_secs(60)));
        assert!(shelf.is_written() && troubles(here).is_empty());
        assert_eq!(folder.open().1, Some(SECOND));
        assert!(!shelf.retry(), "there is nothing left to try");
    }
}
