//! An update that lies in `update/` of `state.dir`, where somebody put it who had the disk in hand.
//!
//! It is looked for once, at the start, and its name is changed before it is taken: whatever comes
//! of it, it is not taken again by itself.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use embedded_svc::io::ErrorType;
use embedded_svc::io::asynch::Read;
use loka_stratum::control::Refused;

use super::trial;
use crate::gateway::answer::Whence;
use crate::gateway::control::Control;
use crate::gateway::event_loop::beside;
use crate::gateway::hub::Hub;
use crate::gateway::log::{self, Kind};

/// The folder, and how files in it end before and after they were taken.
const FOLDER: &str = "update";
const ENDING: &str = "loka-update";
const TAKEN: &str = "taken";

/// A file that is read beside the event loop, in steps as short as those of the network.
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

/// Takes an update, where one lies there.
pub async fn look(hub: &Rc<Hub>, control: &Control) {
    let folder = hub.settings.borrow().state.dir.as_str().to_owned();
    if folder.is_empty() {
        return;
    }
    let found = beside(move || find(&Path::new(&folder).join(FOLDER))).await;
    let Ok(Some((name, file))) = found else { return };
    let what = format!("update by the file {name}");
    let taken = match file {
        Ok(file) => match control.may_update() {
            Ok(()) => hub.updates.install(hub, &mut Source(Some(file)), false).await,
            Err(refused) => Err(refused),
        },
        Err(error) => Err(Refused::Failed(error.to_string())),
    };
    match taken {
        Ok(installed) => {
            let result = format!("{} is written, the machine starts anew", installed.to);
            control.note(None, Whence::File, &what, &result);
            trial::restart_soon(hub.clone()).await;
        }
        Err(refused) => {
            log::warn(Kind::Update, format_args!("{what}: {refused}"));
            control.note(None, Whence::File, &what, &refused.to_string());
        }
    }
}

/// Finds the first file by name, gives it another, and opens it.
fn find(folder: &Path) -> Option<(String, io::Result<File>)> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_update = |path: &PathBuf| path.extension().is_some_and(|end| end == ENDING);
    let path = paths.filter(is_update).min()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    let taken = path.with_extension(TAKEN);
    // Where the name stays, the file would be taken at every start.
    Some((name, fs::rename(&path, &taken).and_then(|()| File::open(&taken))))
}
