//! The state folder: named by a setting, else by the service manager, else the user's default.
//!
//! A gateway always has a state folder unless an operator turned it off, by `--no-state` or an
//! empty `state.dir`: a block candidate must outlive the process (`docs/adr/0014`). Two processes
//! never share one, since each would overwrite the other's files.
//!
//! An unusable folder stops no farm. It is reported once, as an error in the log and a warning in
//! the status. Existing files are read as far as possible; new values stay in memory.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::gateway::base::disk::{Disk, Flash};

/// The name of the gateway's own folder.
const NAME: &str = "loka-stratum";

/// The lock file, held by the one process that may write.
const LOCK: &str = "lock";

/// A file created and removed to test the folder.
const PROBE: &str = "probe.new";

/// The state folder and its condition.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The folder; empty if there is none, or none that can be read.
    pub folder: String,
    /// Why it cannot be written.
    pub problem: Option<String>,
    /// The lock, which the system releases however the process ends.
    _lock: Option<Rc<File>>,
}

impl State {
    /// Locks the folder for this process; a missing folder is created.
    pub fn open(folder: &str) -> Self {
        if folder.is_empty() {
            return Self::default();
        }
        let path = Path::new(folder);
        match try_out(&Flash, path).and_then(|()| lock(path)) {
            Ok(lock) => Self { folder: folder.to_owned(), problem: None, _lock: lock.map(Rc::new) },
            Err(error) => {
                let is_shared = error.kind() == io::ErrorKind::ResourceBusy;
                let can_be_read = path.is_dir() && !is_shared;
                let folder_read = if can_be_read { folder.to_owned() } else { String::new() };
                Self { folder: folder_read, problem: Some(problem_of(folder, &error)), _lock: None }
            }
        }
    }

    /// Returns the state of a folder without changing it.
    pub fn look(folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..Self::default() }
    }

    /// Returns the folder if it is writable, else an empty text.
    pub fn writable(&self) -> &str {
        if self.problem.is_some() { "" } else { &self.folder }
    }
}

fn problem_of(folder: &str, error: &io::Error) -> String {
    format!(
        "State, Dir (state.dir): got {folder}, where nothing can be written: {error}. Block \
         candidates, what is committed, passwords, the certificate of the page and the audit log \
         are lost when the gateway ends. Name a directory that its user (id {}) may write to, and start it again",
        user()
    )
}

/// Creates the missing folder, and a file in it.
fn try_out(disk: &impl Disk, folder: &Path) -> io::Result<()> {
    disk.make_folder(folder)?;
    let probe = folder.join(PROBE);
    disk.create(&probe)?;
    disk.append(&probe, b"\n")?;
    disk.remove(&probe)
}

/// Locks the folder while the file is open. `None` on a file system without locks; the operator
/// must then start only one gateway.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let file = match options.clone().create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(&path)?,
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let text = "another gateway keeps its state there";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Returns the default state folder.
pub fn default_folder() -> Option<String> {
    folder_of(|name| std::env::var_os(name), user() == 0)?.into_os_string().into_string().ok()
}

/// Returns systemd's `STATE_DIRECTORY`; else the system's folder for root; else the user's XDG
/// folder. A relative path is ignored.
fn folder_of(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let named = |name| absolute(PathBuf::from(variable(name)?));
    // systemd separates several folders by colons; the first is the service's own.
    let of_service = variable("STATE_DIRECTORY").and_then(|all| all.into_string().ok());
    let first = of_service.and_then(|all| all.split(':').next().map(PathBuf::from));
    if let Some(folder) = first.and_then(absolute) {
        return Some(folder);
    }
    if is_root {
        return Some(Path::new("/var/lib").join(NAME));
    }
    let home = || Some(named("HOME")?.join(".local/state"));
    Some(named("XDG_STATE_HOME").or_else(home)?.join(NAME))
}

/// Returns the process's user id.
fn user() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], is_root: bool, expected: Option<&str>) {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        assert_eq!(folder_of(find, is_root), expected.map(PathBuf::from), "{variables:?}");
    }

    #[test]
    fn state_has_a_place_by_the_service_the_system_or_the_user() {
        let home = ("HOME", "/users/ann");
        let xdg = ("XDG_STATE_HOME", "/users/ann/state");
        check(&[home], false, Some("/users/ann/.local/state/loka-stratum"));
        check(&[home, xdg], false, Some("/users/ann/state/loka-stratum"));
        check(
            &[home, ("XDG_STATE_HOME", "state")],
            false,
            Some("/users/ann/.local/state/loka-stratum"),
        );
        check(&[home, ("XDG_STATE_HOME", "")], false, Some("/users/ann/.local/state/loka-stratum"));
        check(&[home, xdg], true, Some("/var/lib/loka-stratum"));
        let service = ("STATE_DIRECTORY", "/var/lib/private/loka");
        check(&[home, xdg, service], false, Some("/var/lib/private/loka"));
        check(&[service], true, Some("/var/lib/private/loka"));
        check(&[("STATE_DIRECTORY", "/a:/b")], false, Some("/a"));
        check(&[("STATE_DIRECTORY", "")], true, Some("/var/lib/loka-stratum"));
        check(&[("HOME", "")], false, None);
        check(&[], false, None);
    }

    #[test]
    fn f69_a_place_that_takes_nothing_is_named_with_the_reason_and_what_is_lost() {
        let folder = std::env::temp_dir().join(format!("loka-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let State { folder, problem, .. } = State::open(path.to_str().unwrap());
            assert_eq!(folder, "", "there is nothing to be read");
            let problem = problem.unwrap();
            for part in ["(state.dir): got ", path.to_str().unwrap(), "irector", "Block candidates"]
            {
                assert!(problem.contains(part), "{part:?} is not in {problem}");
            }
        }
        // A folder in the way fails the write as a read-only disk would, for root too.
        fs::create_dir_all(folder.join(PROBE)).unwrap();
        let state = State::open(folder.to_str().unwrap());
        assert_eq!(state.folder, folder.to_str().unwrap(), "what is there is read");
        assert_eq!(state.writable(), "");
        assert!(state.problem.is_some());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn two_gateways_never_share_a_place() {
        let folder = std::env::temp_dir().join(format!("loka-shared-{}", std::process::id()));
        let text = folder.to_str().unwrap();
        let first = State::open(text);
        assert_eq!(first.writable(), text);
        // A lock of the same process conflicts like another's.
        let second = State::open(text);
        assert_eq!(second.folder, "", "not even to be read");
        assert!(second.problem.unwrap().contains("another gateway"));
        drop(first);
        assert_eq!(State::open(text).writable(), text, "it is free again");
        fs::remove_dir_all(&folder).unwrap();
    }
}
