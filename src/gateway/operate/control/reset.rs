//! Factory reset: its parts, and its atomicity.
//!
//! A file `factory-reset` in `state.dir` requests it. The board's button creates the file, and so
//! does the request before any other step; it is removed last. A reset that a power cut interrupts
//! continues at the next start, so no reset stays half done.
//!
//! It erases settings, accounts, the audit log and the event frames. Block candidates stay: they
//! are worth more than everything else on the board. The extranonce2 geometry stays too, since
//! connected miners depend on it.

use std::io;
use std::path::{Path, PathBuf};

use super::{audit, kept};
use crate::gateway::access::admission;
use crate::gateway::access::{self, certificate};
use crate::gateway::base::disk::Disk;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::store;

/// The file in `state.dir` that requests a reset at the next start.
pub const RESET_FILE: &str = "factory-reset";

/// The erased stores: settings, audit log, accounts, worker list, page certificate, event frames.
pub const FORGOTTEN: [&str; 6] =
    [kept::NAME, audit::NAME, access::NAME, admission::NAME, certificate::NAME, store::FRAMES];

fn request(folder: &Path) -> PathBuf {
    folder.join(RESET_FILE)
}

/// Requests a reset, so that it survives any interruption.
///
/// # Errors
///
/// The disk failed; nothing was changed.
pub fn ask(disk: &impl Disk, folder: &Path) -> io::Result<()> {
    disk.create(&request(folder))?;
    disk.sync(&request(folder))?;
    disk.sync_folder(folder)
}

/// Withdraws the request.
pub fn withdraw(disk: &impl Disk, folder: &Path) {
    if let Err(error) = disk.remove(&request(folder)) {
        log::error(Kind::Store, format_args!("the next start resets: {error}"));
    }
}

/// Erases everything.
///
/// # Errors
///
/// The system's error; the next start continues.
pub fn carry_out(disk: &impl Disk, folder: &Path) -> io::Result<()> {
    store::erase(disk, folder, &FORGOTTEN)?;
    disk.remove(&request(folder))?;
    disk.sync_folder(folder)
}

/// Carries out a requested reset at the start; says whether there was one.
pub fn carry_out_if_asked(disk: &impl Disk, folder: &str) -> bool {
    let folder = Path::new(folder);
    if folder.as_os_str().is_empty() {
        return false;
    }
    match disk.read(&request(folder), 0) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
        Err(error) => {
            let text = "factory reset: it is asked for by something that is not taken";
            log::error(Kind::Settings, format_args!("{text}: {error}"));
            return false;
        }
    }
    match carry_out(disk, folder) {
        Ok(()) => {
            let text = "factory reset: settings, passwords and the audit log are forgotten";
            log::warn(Kind::Settings, format_args!("{text}"));
        }
        Err(error) => {
            let text = "factory reset: not all could be forgotten, the next start goes on";
            log::error(Kind::Settings, format_args!("{text}: {error}"));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::base::disk::cut::{CutDisk, Random};

    #[test]
    fn f68_a_reset_is_whole_wherever_the_power_is_cut() {
        let folder = Path::new("state");
        let names = [
            "settings.0",
            "admitted.1",
            "accounts.0",
            "audit.1",
            "events.1",
            "blocks.0",
            "gateway.1",
        ];
        for cut in 0..40 {
            for seed in 0..16 {
                let disk = CutDisk::default();
                for name in names {
                    disk.append(&folder.join(name), b"x").unwrap();
                    disk.sync(&folder.join(name)).unwrap();
                }
                disk.sync_folder(folder).unwrap();
                disk.cut_after(cut);
                let result = ask(&disk, folder).and_then(|()| carry_out(&disk, folder));
                disk.restart(&mut Random(seed));
                carry_out_if_asked(&disk, "state");
                let left = |name: &&str| disk.read(&folder.join(name), 9).is_ok();
                let left: Vec<_> = names.into_iter().filter(left).collect();
                assert!(left.ends_with(&["blocks.0", "gateway.1"]), "{left:?}");
                assert!(
                    left.len() == 2 || (left.len() == names.len() && result.is_err()),
                    "cut after {cut}, seed {seed}: {left:?}"
                );
                assert!(disk.read(&request(folder), 0).is_err(), "it is asked for no more");
            }
        }
    }
}
