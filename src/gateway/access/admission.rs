//! Admission of miners: the policy of `admit.*`.
//!
//! The door checks addresses before a miner gets a slot. Names are questions of the engine
//! ([`Question`]). A pattern is answered at once, and so is a listed worker whose password was
//! checked before. Otherwise the login waits while the password is hashed, one at a time and beside
//! the event loop. Each result is kept as a digest under a key of this process. A farm that returns
//! after a network cut costs no further hash.
//!
//! [`Request::Admit`] edits the list: names or patterns, each with a hash, kept in `state.dir`. If
//! several entries match a name, an entry without `*` wins, then the oldest.
//!
//! Bounds: [`ADMITTED_MAX`] workers in the list, [`ADMISSIONS_WAITING_MAX`] waiting logins; further
//! logins are told to try again.
//!
//! [`Request::Admit`]: loka_stratum::control::Request::Admit

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;

use loka_stratum::control::{Item, Refused};
use loka_stratum::limits::{
    ADMISSIONS_REFUSED_KEPT, ADMISSIONS_WAITING_MAX, ADMITTED_MAX, PASSWORD_BYTES_MAX,
    PATTERN_BYTES_MAX,
};
use loka_stratum::proxy::Question;
use loka_stratum::settings::{Admit, AdmitMode, Pattern};
use loka_stratum::visible::{self, Visible};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gateway::access::password::Passwords;
use crate::gateway::base::answer::{Answer, NO_WORKER};
use crate::gateway::base::shelf::Shelf;
use crate::gateway::base::signal::Signal;

/// The name of the store.
pub const NAME: &str = "admitted";

/// The workers admitted by password, and the logins that wait for a hash.
pub struct Admissions {
    passwords: Rc<Passwords>,
    state: RefCell<State>,
    /// Held by each change of the list, so that changes run one after the other.
    turn: tokio::sync::Mutex<()>,
    /// Wakes the task that hashes.
    pub wake: Signal,
}

#[derive(Default)]
struct State {
    list: Vec<Entry>,
    shelf: Option<Shelf<Stored>>,
    waiting: VecDeque<Question>,
    /// Wrong passwords, the oldest first; a full queue drops the oldest.
    refused: VecDeque<Proof>,
    /// Keys the digests, so that they mean nothing outside this process.
    key: [u8; 32],
}

/// A worker of the list.
struct Entry {
    worker: Pattern,
    /// A PHC string.
    hash: String,
    /// The last correct password.
    proved: Option<Proof>,
}

/// The digest of a password and the hash it was checked against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; 32]);

/// The list on disk; variants are only ever appended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    /// Workers and their hashes, at most [`ADMITTED_MAX`].
    V1(Vec<(String, String)>),
}

/// The known answer to a question.
pub enum Known {
    Granted,
    /// The reason of the refusal.
    Refused(&'static str),
    /// The password has to be hashed.
    Unknown(Proof),
}

/// Says whether the door admits an address.
pub fn is_open_to(admit: &Admit, address: IpAddr) -> bool {
    admit.mode != AdmitMode::Address || admit.addresses.iter().any(|range| range.contains(address))
}

/// Says whether names are checked.
pub fn asks_names(admit: &Admit) -> bool {
    matches!(admit.mode, AdmitMode::Name | AdmitMode::List)
}

impl Admissions {
    /// Creates an empty list, kept in memory only.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn new(passwords: Rc<Passwords>) -> io::Result<Self> {
        let mut state = State::default();
        getrandom::fill(&mut state.key).map_err(io::Error::other)?;
        let turn = tokio::sync::Mutex::new(());
        Ok(Self { passwords, state: RefCell::new(state), turn, wake: Signal::default() })
    }

    /// Loads the list of an earlier run and keeps it in that folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn recall(&self, folder: &str) -> io::Result<()> {
        let (shelf, found) = Shelf::open(Path::new(folder), NAME)?;
        let mut state = self.state.borrow_mut();
        let Stored::V1(stored) = found.value.unwrap_or(Stored::V1(Vec::new()));
        let entry = |(worker, hash): (String, String)| {
            Some(Entry { worker: worker.parse().ok()?, hash, proved: None })
        };
        state.list = stored.into_iter().filter_map(entry).take(ADMITTED_MAX).collect();
        state.shelf = Some(shelf);
        Ok(())
    }

    /// Adds a worker, changes its password, or removes it if the password is empty. Connected
    /// miners stay.
    ///
    /// # Errors
    ///
    /// The entry is wrong or could not be written; nothing has changed then.
    pub async fn set(&self, worker: &str, word: &str) -> Answer {
        let pattern = self.pattern(worker, word.is_empty())?;
        let worker = pattern.as_str();
        if word.len() > PASSWORD_BYTES_MAX {
            let got = word.len();
            let text = format!("password: got {got} bytes, allowed 1..{PASSWORD_BYTES_MAX}");
            return Err(Refused::Invalid(text));
        }
        let hash = match word {
            "" => None,
            _ => Some(self.passwords.hash(word).await.map_err(|e| Refused::Failed(e.to_string()))?),
        };
        let _turn = self.turn.lock().await;
        let stored = self.with(worker, &pattern, hash.as_ref())?;
        // Others only read the list meanwhile, since each change holds the turn.
        let writing = self.state.borrow().shelf.as_ref().map(|shelf| shelf.put(stored));
        if let Some(writing) = writing {
            let text = "the list cannot be written";
            let outcome = writing.outcome().await;
            outcome.map_err(|error| Refused::Failed(format!("{text}: {error}")))?;
        }
        let list = &mut self.state.borrow_mut().list;
        let place = list.iter().position(|entry| entry.worker == pattern);
        match (place, hash) {
            (Some(place), Some(hash)) => {
                list[place] = Entry { worker: pattern, hash, proved: None };
            }
            (Some(place), None) => drop(list.remove(place)),
            (None, Some(hash)) => list.push(Entry { worker: pattern, hash, proved: None }),
            (None, None) => {}
        }
        Ok(())
    }

    /// Returns the list with a worker's new hash, or without the worker.
    fn with(
        &self,
        worker: &str,
        pattern: &Pattern,
        hash: Option<&String>,
    ) -> Result<Stored, Refused<String>> {
        let state = self.state.borrow();
        let place = state.list.iter().position(|entry| entry.worker == *pattern);
        let mut stored: Vec<_> = state.list.iter().map(Entry::stored).collect();
        match (place, hash) {
            (None, None) => {
                let text = format!("there is no {} in the list", Visible(worker));
                return Err(Refused::Conflict(text));
            }
            (None, Some(_)) if stored.len() >= ADMITTED_MAX => {
                let text =
                    format!("got more than {ADMITTED_MAX} workers; a pattern takes one place");
                return Err(Refused::Conflict(text));
            }
            (None, Some(hash)) => stored.push((worker.to_owned(), hash.clone())),
            (Some(place), Some(hash)) => stored[place].1.clone_from(hash),
            (Some(place), None) => drop(stored.remove(place)),
        }
        Ok(Stored::V1(stored))
    }

    /// Parses a worker's name. A new name must not look like another or contain invisible letters.
    /// A listed name may be removed as the list shows it.
    fn pattern(&self, worker: &str, is_leaving: bool) -> Result<Pattern, Refused<String>> {
        let state = self.state.borrow();
        let shown = |entry: &&Entry| Visible(entry.worker.as_str()).to_string() == worker;
        if let Some(entry) = state.list.iter().find(shown).filter(|_| is_leaving) {
            return Ok(entry.worker.clone());
        }
        let pattern: Pattern = worker.parse().map_err(|()| {
            Refused::Invalid(format!(
                "got {worker:?}, allowed 1..{PATTERN_BYTES_MAX} bytes without spaces and commas"
            ))
        })?;
        if !is_leaving && !visible::is_plain(worker) {
            let text = "letters that can be seen and told apart; type the name again, as the miner \
                        has it";
            let shown = Visible(worker);
            return Err(Refused::Invalid(format!("worker: got {shown}, allowed {text}")));
        }
        Ok(pattern)
    }

    /// Lists the workers.
    pub fn show(&self, out: &mut dyn FnMut(Item<'_>)) {
        let workers = self.workers();
        if workers.is_empty() {
            out(Item::Text(NO_WORKER));
        }
        workers.iter().for_each(|worker| out(Item::Text(worker)));
    }

    /// Returns the workers of the list, escaped so that no two look the same.
    pub fn workers(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.list.iter().map(|entry| Visible(entry.worker.as_str()).to_string()).collect()
    }

    /// Forgets the list; the caller erases the file later in the disk's queue.
    pub fn forget(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(shelf) = &state.shelf {
            shelf.forget();
        }
        state.list.clear();
        state.refused.clear();
    }

    pub fn judge(&self, admit: &Admit, question: &Question) -> Known {
        match admit.mode {
            AdmitMode::Any | AdmitMode::Address => Known::Granted,
            AdmitMode::Name => {
                if admit.names.iter().any(|pattern| pattern.matches(&question.worker)) {
                    Known::Granted
                } else {
                    Known::Refused("its name fits none of admit.names")
                }
            }
            AdmitMode::List => {
                let state = self.state.borrow();
                let Some(entry) = state.entry(&question.worker) else {
                    return Known::Refused("it is not in the list of admitted workers");
                };
                let proof = state.proof(&entry.hash, &question.password);
                if entry.proved == Some(proof) {
                    Known::Granted
                } else if state.refused.contains(&proof) {
                    Known::Refused(WRONG_PASSWORD)
                } else {
                    Known::Unknown(proof)
                }
            }
        }
    }

    /// Hashes the password of a question, unless the answer became known meanwhile.
    pub async fn find_out(&self, admit: &Admit, question: &Question) -> Known {
        let Known::Unknown(proof) = self.judge(admit, question) else {
            return self.judge(admit, question);
        };
        let hash = self.state.borrow().entry(&question.worker).map(|entry| entry.hash.clone());
        let is_right = self.passwords.is_right(&question.password, hash.as_deref()).await;
        let state = &mut *self.state.borrow_mut();
        if is_right {
            let mut list = state.list.iter_mut();
            if let Some(entry) = list.find(|entry| Some(&entry.hash) == hash.as_ref()) {
                entry.proved = Some(proof);
            }
            return Known::Granted;
        }
        if state.refused.len() >= ADMISSIONS_REFUSED_KEPT {
            state.refused.pop_front();
        }
        state.refused.push_back(proof);
        Known::Refused(WRONG_PASSWORD)
    }

    /// Queues a question until its password is hashed; `false` if the queue is full.
    pub fn wait(&self, question: Question) -> bool {
        let waiting = &mut self.state.borrow_mut().waiting;
        let has_room = waiting.len() < ADMISSIONS_WAITING_MAX;
        if has_room {
            waiting.push_back(question);
            self.wake.set();
        }
        has_room
    }

    pub fn next(&self) -> Option<Question> {
        self.state.borrow_mut().waiting.pop_front()
    }
}

const WRONG_PASSWORD: &str = "its password is wrong";

impl State {
    fn entry(&self, worker: &str) -> Option<&Entry> {
        let exact = self.list.iter().find(|entry| entry.worker.as_str() == worker);
        exact.or_else(|| self.list.iter().find(|entry| entry.worker.matches(worker)))
    }

    fn proof(&self, hash: &str, password: &str) -> Proof {
        let mut digest = Sha256::new();
        digest.update(self.key);
        // A hash has no zero byte, so no two pairs give the same bytes.
        digest.update(hash);
        digest.update([0]);
        digest.update(password);
        Proof(digest.finalize().into())
    }
}

impl Entry {
    fn stored(&self) -> (String, String) {
        (self.worker.as_str().to_owned(), self.hash.clone())
    }
}

#[cfg(test)]
mod tests;
