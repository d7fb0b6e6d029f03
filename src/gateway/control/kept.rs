//! What was committed last, on flash and in memory.
//!
//! Of the settings file and a commit, the one that was written last counts, whole, and they are
//! never mixed ([ADR 8](../../../docs/adr/0008-one-control-for-every-door.md)). A commit is kept
//! with the mark of the file that it was made over; a file with another mark was edited since.

use std::io;
use std::path::Path;

use loka_stratum::settings::Settings;
use loka_stratum::settings::stored::{self, Stored};

use crate::gateway::log::{self, Kind};
use crate::gateway::store::Store;

/// The name of the store.
pub const NAME: &str = "settings";

/// The last commit.
#[derive(Default)]
pub struct Kept {
    store: Option<Store<Box<Stored>>>,
    over: Option<u32>,
    settings: Option<Box<Settings>>,
}

impl Kept {
    /// Takes up what is kept in a folder; with none, a commit lasts until the process ends.
    pub fn open(folder: &str) -> Self {
        if folder.is_empty() {
            return Self::default();
        }
        match Store::load(Path::new(folder), NAME) {
            Ok((store, stored)) => Self { store: Some(store), ..Self::of(stored) },
            Err(error) => {
                let text = "what is committed will not be remembered";
                log::error(Kind::Store, format_args!("{text}: {folder}: {error}"));
                Self::default()
            }
        }
    }

    /// As [`Self::open`], for a look that leaves the folder as it is.
    pub fn peek(folder: &str) -> Self {
        if folder.is_empty() {
            Self::default()
        } else {
            Self::of(Store::peek(folder.as_ref(), NAME))
        }
    }

    fn of(stored: Option<Box<Stored>>) -> Self {
        let Some(stored) = stored else { return Self::default() };
        let stored::Kept { over, settings } = stored.into_present();
        Self { store: None, over, settings: settings.map(Box::new) }
    }

    /// Returns what was committed over a file with this mark.
    pub fn over(&self, mark: Option<u32>) -> Option<Box<Settings>> {
        self.settings.clone().filter(|_| self.over == mark)
    }

    /// Returns what was committed last, over whatever file.
    pub fn settings(&self) -> Option<Box<Settings>> {
        self.settings.clone()
    }

    /// Says whether there is a commit.
    pub fn has_settings(&self) -> bool {
        self.settings.is_some()
    }

    /// Says whether what is kept outlives the process.
    pub fn is_lasting(&self) -> bool {
        self.store.is_some()
    }

    /// Returns how often settings were written to this flash.
    pub fn writes(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::generation)
    }

    /// Keeps a commit; none where the file is to count from now on.
    ///
    /// # Errors
    ///
    /// It could not be written; it counts until the process ends.
    pub fn keep(&mut self, settings: Option<Box<Settings>>, over: Option<u32>) -> io::Result<()> {
        self.over = over;
        self.settings = settings;
        let Some(store) = &mut self.store else { return Ok(()) };
        let settings = self.settings.as_deref().cloned();
        store.save(&Box::new(Stored::V2(stored::Kept { over, settings })))
    }

    /// Forgets the commit in memory; what lies on flash is erased by the caller.
    pub fn forget(&mut self) {
        self.over = None;
        self.settings = None;
    }
}
