//! Updates of a two-slot system: signed, written to the idle slot, tried, then confirmed or
//! reverted.
//!
//! Read this first ([ADR 10](../../docs/adr/0010-updates.md)). The gateway writes no slot. It
//! forwards an update to [`keeper`], a process of its own that verifies and writes, and asks it for
//! the running system. The gateway itself knows the state before the update ([`trial::Before`]),
//! and whether the new system reaches it.
//!
//! | part | content |
//! | --- | --- |
//! | `signature` | minisign's signatures |
//! | `manifest` | the facts of an update, and whether it fits this system |
//! | `file` | an update file, parsed piece by piece |
//! | `slots` | the two slots, and writing the idle one |
//! | `env` | the boot environment: which slot starts |
//! | `keeper` | the process that owns the slots, `loka-stratum slots` |
//! | `client` | the gateway's end of the keeper's socket |
//! | `folder` | an update file that somebody put on the disk |
//! | `trial` | the trial of a new system, and the outcome of updates |
//!
//! A gateway installed by a package manager has no slots, and says where its updates come from.

mod client;
mod env;
mod file;
mod folder;
pub mod keeper;
mod manifest;
mod signature;
#[cfg(test)]
mod signing;
mod slots;
pub mod trial;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use embedded_svc::io::asynch::Read;
use loka_stratum::control::Refused;
use loka_stratum::limits::UPDATE_CHUNK_BYTES;
use serde::Serialize;

use crate::gateway::base::clock;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::shelf::{Shelf, Writing};
use crate::gateway::base::signal::Signal;
use crate::gateway::observe::system::{Phase, UpdateReport};
use crate::gateway::operate::control::System;
use crate::gateway::runtime::hub::Hub;
use client::{Keeper, Standing, Upload};
use trial::{Before, Pending, Record, Records};

/// The answer of a system without slots.
pub const NO_SLOTS: &str = "this gateway was not started with --slots, so its system has no slots: \
                            a package is updated by its manager (apt, opkg, apk), a tarball by its \
                            installer";

/// Updates of this system.
#[derive(Default)]
pub struct Updates {
    keeper: Option<Keeper>,
    standing: RefCell<Option<Standing>>,
    phase: Cell<Phase>,
    shelf: RefCell<Option<Shelf<Record>>>,
    /// The update records, with or without a place on disk.
    records: RefCell<Records>,
    restart: Signal,
    restarts: Cell<bool>,
}

/// An update that is written, and starts next.
#[derive(Clone, Debug, Serialize)]
pub struct Installed {
    /// The version before.
    pub from: String,
    /// The new version.
    pub to: String,
    /// Its slot.
    pub slot: &'static str,
}

/// Admits the next update when it is dropped, however this one ends.
struct Turn<'a>(&'a Updates);

impl System for Updates {
    fn report(&self) -> UpdateReport {
        let standing = self.standing.borrow();
        let standing = standing.as_ref();
        UpdateReport {
            supported: self.keeper.is_some(),
            why_not: self.keeper.is_none().then_some(NO_SLOTS),
            version: standing.map(|standing| standing.version.clone()),
            slot: standing.map(|standing| standing.running.letter()),
            board: standing.map(|standing| standing.board.clone()),
            progress: self.phase.get(),
            last: self.records.borrow().last.clone(),
        }
    }

    fn is_under_way(&self) -> bool {
        !matches!(self.phase.get(), Phase::Idle | Phase::Trial { .. })
    }
}

impl Updates {
    /// Prepares updates through the keeper's socket, with records in a folder.
    pub fn new(socket: Option<&Path>, folder: &str) -> Self {
        let keeper = socket.map(|socket| Keeper(PathBuf::from(socket)));
        let updates = Self { keeper, ..Self::default() };
        if updates.keeper.is_some() && !folder.is_empty() {
            match Shelf::open(Path::new(folder), "update") {
                Ok((shelf, found)) => {
                    *updates.shelf.borrow_mut() = Some(shelf);
                    let Record::V1(records) = found.value.unwrap_or_default();
                    *updates.records.borrow_mut() = records;
                }
                Err(error) => {
                    log::warn(Kind::Update, format_args!("updates are not remembered: {error}"));
                }
            }
        }
        updates
    }

    /// Installs an update from a door and makes its slot start next. The door reports that, then
    /// calls [`Updates::restart`].
    ///
    /// # Errors
    ///
    /// The reason; nothing has changed then.
    pub async fn install<R: Read>(
        &self,
        hub: &Hub,
        file: &mut R,
        may_downgrade: bool,
    ) -> Result<Installed, Refused<String>> {
        let keeper = self.keeper.as_ref().ok_or(Refused::Conflict(NO_SLOTS.to_owned()))?;
        let _turn = self.take_turn()?;
        let standing = keeper.standing().await?;
        let mut upload = keeper.install(may_downgrade).await?;
        let mut bytes = vec![0; UPDATE_CHUNK_BYTES];
        loop {
            let Ok(count) = file.read(&mut bytes).await else {
                let _ = upload.give_up().await;
                return Err(Refused::Failed("the file did not come to its end".to_owned()));
            };
            if count == 0 {
                break;
            }
            upload.push(bytes.get(..count).unwrap_or_default()).await?;
            let of = upload.accepted.as_ref().map_or(0, |(_, bytes)| *bytes);
            self.phase.set(Phase::Receiving { bytes: upload.sent, of });
        }
        self.finish(hub, standing, upload).await
    }

    async fn finish(
        &self,
        hub: &Hub,
        standing: Standing,
        upload: Upload,
    ) -> Result<Installed, Refused<String>> {
        self.phase.set(Phase::Checking);
        let ready = upload.finish().await?;
        let (to, slot) = (ready.version.clone(), ready.slot);
        let (before, from) = (Before::of(&hub.report(self.report())), standing.version.clone());
        let when = clock::wall().as_secs();
        let pending = Pending {
            from: from.clone(),
            to: to.clone(),
            slot: slot.letter().into(),
            when,
            before,
        };
        // The record is written first: a cut between the two leaves an update that was not started.
        if let Some(writing) = self.remember(|records| records.pending = Some(pending)) {
            // The shelf logs a failed write; the update goes on.
            let _ = writing.outcome().await;
        }
        if let Err(refused) = ready.activate().await {
            let _ = self.remember(|records| records.pending = None);
            return Err(refused);
        }
        self.restarts.set(true);
        self.phase.set(Phase::Restarting);
        log::warn(
            Kind::Update,
            format_args!(
                "{from} in slot {}: {to} is in slot {slot} and starts next",
                standing.running
            ),
        );
        Ok(Installed { from, to, slot: slot.letter() })
    }

    /// Requests a reboot of the machine.
    pub fn restart(&self) {
        self.restarts.set(true);
        self.restart.set();
    }

    /// Waits for a reboot request.
    pub async fn restart_asked(&self) {
        self.restart.wait().await;
    }

    /// Reboots the machine if requested, as the gateway's last step.
    pub async fn restart_if_asked(&self) {
        let Some(keeper) = self.keeper.as_ref().filter(|_| self.restarts.get()) else { return };
        if let Err(refused) = keeper.reboot().await {
            log::error(Kind::Update, format_args!("the machine does not reboot: {refused}"));
        }
    }

    fn take_turn(&self) -> Result<Turn<'_>, Refused<String>> {
        if self.phase.get() != Phase::Idle {
            let text = "an update is under way; its state is in the status";
            return Err(Refused::Conflict(text.to_owned()));
        }
        self.phase.set(Phase::Receiving { bytes: 0, of: 0 });
        Ok(Turn(self))
    }

    /// Changes the records; returns the write if there is a state folder.
    fn remember(&self, change: impl FnOnce(&mut Records)) -> Option<Writing> {
        change(&mut self.records.borrow_mut());
        let record = Record::V1(self.records.borrow().clone());
        self.shelf.borrow().as_ref().map(|shelf| shelf.put(record))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.0.phase.get() != Phase::Restarting {
            self.0.phase.set(Phase::Idle);
        }
    }
}
