//! An update file in `update/` of `state.dir`, put there by somebody with the disk in hand.
//!
//! The folder is checked once at the start. The file is renamed before it is installed, so a failed
//! update is not tried again.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use embedded_svc::io::ErrorType;
use embedded_svc::io::asynch::Read;
use loka_stratum::control::Refused;

use super::{Updates, trial};
use crate::gateway::base::answer::Whence;
use crate::gateway::base::event_loop::beside;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::operate::control::Control;
use crate::gateway::runtime::hub::Hub;

/// The folder, and the extensions of its files before and after the rename.
const FOLDER: &str = "update";
const ENDING: &str = "loka-update";
const TAKEN: &str = "taken";

/// A file read beside the event loop, in pieces as small as the network's.
struct Source(Option<File>);

impl ErrorType for Source {
    type Error = embedded_svc::io::ErrorKind;
}

impl Read for Source {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        let failed = |_| embedded_svc::io::ErrorKind::Other;
        let mut file = self.0.take().ok_or(embedded_svc::io::ErrorKind::Other)?;
        let mut piece = vec![0; bytes.len()];
        let read = beside(move || {
            let count = file.read(&mut piece)?;
            Ok((file, piece, count))
        });
        let (file, piece, count) =
            read.await.and_then(|result: io::Result<_>| result).map_err(failed)?;
        self.0 = Some(file);
        for (to, from) in bytes.iter_mut().zip(piece.iter().take(count)) {
            *to = *from;
        }
        Ok(count)
    }
}

/// Installs an update file, if there is one.
pub async fn look(updates: &Rc<Updates>, hub: &Hub, control: &Control) {
    let folder = hub.settings.borrow().state.dir.as_str().to_owned();
    if folder.is_empty() {
        return;
    }
    let found = beside(move || find(&Path::new(&folder).join(FOLDER))).await;
    let Ok(Some((name, file))) = found else { return };
    let what = format!("update by the file {name}");
    let taken = match file {
        Ok(file) => match control.may_update() {
            Ok(()) => updates.install(hub, &mut Source(Some(file)), false).await,
            Err(refused) => Err(refused),
        },
        Err(error) => Err(Refused::Failed(error.to_string())),
    };
    match taken {
        Ok(installed) => {
            let result = format!("{} is written, the machine reboots", installed.to);
            control.note(None, Whence::File, &what, &result);
            trial::restart_soon(updates.clone()).await;
        }
        Err(refused) => {
            log::warn(Kind::Update, format_args!("{what}: {refused}"));
            control.note(None, Whence::File, &what, &refused.to_string());
        }
    }
}

/// Finds the first file by name, renames it and opens it.
fn find(folder: &Path) -> Option<(String, io::Result<File>)> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_update = |path: &PathBuf| path.extension().is_some_and(|end| end == ENDING);
    let path = paths.filter(is_update).min()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    let taken = path.with_extension(TAKEN);
    // A file that keeps its name would be installed at every start.
    Some((name, fs::rename(&path, &taken).and_then(|()| File::open(&taken))))
}
