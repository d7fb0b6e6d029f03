//! The trial of a new system, and the outcome of updates.
//!
//! Before an update the gateway notes whether a pool was live and how many miners were connected.
//! The new system's gateway has some minutes to reach the same. Then it confirms its slot; else it
//! states the reason and goes back. A system that never gets so far confirms nothing, so the boot
//! program starts the old one again. That gateway finds the note and reports the failure.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::UPDATE_MINERS_BACK_PERCENT;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::client::{Keeper, Standing};
use super::{Updates, folder};
use crate::gateway::base::answer::Whence;
use crate::gateway::base::clock;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::observe::report::Report;
use crate::gateway::observe::system::{Outcome, Phase};
use crate::gateway::operate::control::{Control, System};
use crate::gateway::runtime::hub::Hub;

/// The update records on disk; variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Version 1.
    V1(Records),
}

/// The update records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// An update not yet confirmed or given up.
    pub pending: Option<Pending>,
    /// The outcome of the last update.
    pub last: Option<Outcome>,
}

/// An update that starts next, or runs unconfirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The version before.
    pub from: String,
    /// The new version.
    pub to: String,
    /// Its slot.
    pub slot: String,
    /// When it was written to the slot, in seconds since 1970.
    pub when: u64,
    /// The state before the update.
    pub before: Before,
}

/// The state before an update, which the new system must reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// A pool was live.
    pub is_live: bool,
    /// Connected miners.
    pub miners: u64,
}

/// Time between two checks.
const LOOK: Duration = Duration::from_secs(1);

/// Attempts to reach the keeper, which starts at the same time, before giving up.
const ASKED_MAX: u32 = 60;

/// Time for the answer to reach the uploader before the gateway ends.
const FAREWELL: Duration = Duration::from_secs(1);

impl Default for Record {
    fn default() -> Self {
        Self::V1(Records::default())
    }
}

impl Before {
    /// Returns the present state.
    pub fn of(report: &Report) -> Self {
        Self { is_live: report.ready, miners: report.miners.connected as u64 }
    }

    /// Says which part of the earlier state is missing now.
    pub fn missing(self, now: Self) -> Option<String> {
        let least = (self.miners * UPDATE_MINERS_BACK_PERCENT).div_ceil(100);
        if self.is_live && !now.is_live {
            Some("a pool was live before, and none is".to_owned())
        } else if now.miners < least {
            let (before, now) = (self.miners, now.miners);
            Some(format!("{before} miners were in before, {now} are back of the {least} wanted"))
        } else {
            None
        }
    }
}

/// Reports the outcome of an update, and judges the running system if it is on trial.
pub async fn watch(updates: Rc<Updates>, hub: Rc<Hub>, control: Rc<Control>) {
    let Some(keeper) = &updates.keeper else { return };
    let Some(standing) = standing(keeper).await else {
        log::error(Kind::Update, format_args!("the slot keeper does not answer: no updates"));
        return;
    };
    let Standing { running, version, .. } = &standing;
    log::info(Kind::Update, format_args!("system {version} in slot {running}"));
    *updates.standing.borrow_mut() = Some(standing.clone());
    let pending = updates.records.borrow().pending.clone();
    let is_of_running = pending.as_ref().is_some_and(|p| p.slot == running.letter());
    if standing.active == *running && standing.good != *running {
        let before = pending.filter(|_| is_of_running).map(|pending| pending.before);
        judge(&updates, &hub, &control, (&standing, before.unwrap_or_default())).await;
    } else if is_of_running {
        // The power went between confirmation and this record.
        updates.end(&control, true, "it was confirmed");
    } else if pending.is_some() && standing.active != *running {
        // The slot was activated, and the gateway ended before the machine did.
        log::warn(Kind::Update, format_args!("an update starts with the machine"));
        updates.phase.set(Phase::Restarting);
    } else {
        if pending.is_some() {
            updates.end(&control, false, "it was started and never showed that it is well");
        }
        folder::look(&updates, &hub, &control).await;
    }
}

/// Asks for the running system until the keeper answers.
async fn standing(keeper: &Keeper) -> Option<Standing> {
    for _ in 0..ASKED_MAX {
        match keeper.standing().await {
            Ok(standing) => return Some(standing),
            Err(refused) => log::debug(Kind::Update, format_args!("{refused}")),
        }
        sleep(LOOK).await;
    }
    None
}

/// Confirms the running system once the earlier state is reached, or goes back.
async fn judge(
    updates: &Updates,
    hub: &Hub,
    control: &Control,
    (standing, before): (&Standing, Before),
) {
    let Some(keeper) = &updates.keeper else { return };
    let until = Instant::now() + standing.trial;
    log::warn(Kind::Update, format_args!("this system is on trial: {before}"));
    loop {
        let now = Before::of(&hub.report(updates.report()));
        let missing = before.missing(now);
        let left = until.saturating_duration_since(Instant::now());
        updates.phase.set(Phase::Trial { seconds_left: left.as_secs() });
        match missing {
            None => match keeper.confirm().await {
                Ok(()) => {
                    updates.end(control, true, &format!("it is well: {now}"));
                    updates.phase.set(Phase::Idle);
                    if let Ok(standing) = keeper.standing().await {
                        *updates.standing.borrow_mut() = Some(standing);
                    }
                    return;
                }
                Err(refused) => {
                    log::error(Kind::Update, format_args!("it cannot be confirmed: {refused}"));
                }
            },
            Some(missing) if left.is_zero() => {
                let secs = standing.trial.as_secs();
                updates.end(control, false, &format!("{missing} after {secs} s"));
                return leave(updates, keeper).await;
            }
            Some(_) => {}
        }
        sleep(LOOK).await;
    }
}

/// Goes back to the system before.
async fn leave(updates: &Updates, keeper: &Keeper) {
    updates.phase.set(Phase::Restarting);
    if let Err(refused) = keeper.go_back().await {
        // The boot program counts the tries and leaves this system as well.
        log::error(Kind::Update, format_args!("the system before is not chosen: {refused}"));
    }
    updates.restart();
}

/// Reboots the machine after the uploader has received the answer.
pub async fn restart_soon(updates: Rc<Updates>) {
    sleep(FAREWELL).await;
    updates.restart();
}

impl Updates {
    /// Records the outcome of the pending update.
    fn end(&self, control: &Control, kept: bool, why: &str) {
        let when = clock::wall().as_secs();
        let mut outcome = None;
        // The end of the process waits for this write.
        let _ = self.remember(|records| {
            if let Some(Pending { from, to, .. }) = records.pending.take() {
                let why = why.to_owned();
                records.last = Some(Outcome { from, to, when, kept, why });
                outcome.clone_from(&records.last);
            }
        });
        let Some(outcome) = outcome else {
            log::warn(Kind::Update, format_args!("a system that nobody wrote down: {why}"));
            return;
        };
        let what = format!("update from {} to {}", outcome.from, outcome.to);
        let result = if kept { format!("kept, {why}") } else { format!("left, {why}") };
        log::warn(Kind::Update, format_args!("{what}: {result}"));
        control.note(None, Whence::Gateway, &what, &result);
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = if self.is_live { "a pool live" } else { "no pool live" };
        write!(f, "{pool}, {} miners in", self.miners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_as_before_must_be_back() {
        let before = Before { is_live: true, miners: 9 };
        let missing = |is_live, miners| before.missing(Before { is_live, miners });
        assert_eq!(missing(true, 9), None);
        assert_eq!(missing(true, 5), None);
        let text = "9 miners were in before, 4 are back of the 5 wanted";
        assert_eq!(missing(true, 4).as_deref(), Some(text));
        assert_eq!(missing(false, 9).as_deref(), Some("a pool was live before, and none is"));
        let nothing = Before::default();
        assert_eq!(nothing.missing(nothing), None, "nothing was there, so nothing is missing");
    }

    #[test]
    fn the_form_on_disk_is_the_one_it_was() {
        let before = Before { is_live: true, miners: 300 };
        let (from, to, slot) = ("0.1.0".to_owned(), "0.2.0".to_owned(), "b".to_owned());
        let pending = Pending { from, to, slot, when: 1_795_220_164, before };
        let record = Record::V1(Records { pending: Some(pending), last: None });
        let mut buffer = [0; 64];
        let bytes = postcard::to_slice(&record, &mut buffer).unwrap();
        let wanted = b"\x00\x01\x050.1.0\x050.2.0\x01b\xc4\xc5\x83\xd8\x06\x01\xac\x02\x00";
        assert_eq!(bytes, wanted);
        assert_eq!(postcard::from_bytes::<Record>(wanted).unwrap(), record);
    }
}
