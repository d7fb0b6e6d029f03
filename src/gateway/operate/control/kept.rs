//! The last commit, on flash and in memory.
//!
//! Of the settings file and a commit, the later one counts, whole; they are never mixed ([ADR
//! 8](../../../docs/adr/0008-one-control-for-every-door.md)). A commit is stored with the mark of
//! the file it was made over; a file with another mark was edited since.

use std::path::Path;

use loka_stratum::settings::Settings;
use loka_stratum::settings::stored::{self, Stored};

use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::shelf::{Shelf, Writing};
use crate::gateway::base::store::Store;

/// The name of the store.
pub const NAME: &str = "settings";

/// The last commit.
#[derive(Default)]
pub struct Kept {
    shelf: Option<Shelf<Box<Stored>>>,
    over: Option<u32>,
    settings: Option<Box<Settings>>,
}

impl Kept {
    /// Loads the commit of a folder; without a folder a commit lasts until the process ends.
    pub fn open(folder: &str) -> Self {
        if folder.is_empty() {
            return Self::default();
        }
        match Shelf::open(Path::new(folder), NAME) {
            Ok((shelf, found)) => Self { shelf: Some(shelf), ..Self::of(found.value) },
            Err(error) => {
                let text = "what is committed will not be remembered";
                log::error(Kind::Store, format_args!("{text}: {folder}: {error}"));
                Self::default()
            }
        }
    }

    /// Does the same as [`Self::open`] without changing the folder.
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
        Self { shelf: None, over, settings: settings.map(Box::new) }
    }

    /// Returns the commit made over a file with this mark.
    pub fn over(&self, mark: Option<u32>) -> Option<Box<Settings>> {
        self.settings.clone().filter(|_| self.over == mark)
    }

    /// Returns the last commit, over any file.
    pub fn settings(&self) -> Option<Box<Settings>> {
        self.settings.clone()
    }

    /// Says whether there is a commit.
    pub fn has_settings(&self) -> bool {
        self.settings.is_some()
    }

    /// Says whether the newest commit is known to be on the disk.
    pub fn is_stored(&self) -> bool {
        self.shelf.as_ref().is_some_and(Shelf::is_written)
    }

    /// Returns the number of settings writes to this flash.
    pub fn writes(&self) -> u64 {
        self.shelf.as_ref().map_or(0, Shelf::generation)
    }

    /// Stores a commit, or `None` to let the file count. It takes effect at once, even if the write
    /// fails, until the process ends. Returns the write if there is a state folder.
    pub fn keep(&mut self, settings: Option<Box<Settings>>, over: Option<u32>) -> Option<Writing> {
        self.over = over;
        self.settings = settings;
        let settings = self.settings.as_deref().cloned();
        let stored = Box::new(Stored::V2(stored::Kept { over, settings }));
        self.shelf.as_ref().map(|shelf| shelf.put(stored))
    }

    /// Retries a failed write.
    pub fn retry(&self) {
        if let Some(shelf) = &self.shelf {
            shelf.retry();
        }
    }

    /// Forgets the commit; the caller erases the file later in the disk's queue.
    pub fn forget(&mut self) {
        self.over = None;
        self.settings = None;
        if let Some(shelf) = &self.shelf {
            shelf.forget();
        }
    }
}
