//! Commits, and the confirmation or roll-back of provisional ones.

use std::rc::Rc;
use std::time::Duration;

use loka_stratum::control::{Item, Refused};
use loka_stratum::limits::{
    COMMIT_INTERVAL, COMMITS_BURST_MAX, DISK_ANSWER_MAX, TAKE_BACK_INTERVAL,
};
use loka_stratum::settings::{Applies, Settings};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bound::Stray;
use super::change::{changes, problems};
use super::{Answer, Candidate, Control, Failure, Whence};
use crate::gateway::base::answer::NOTHING_TO_COMMIT;
use crate::gateway::base::clock;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::shelf::Writing;
use crate::gateway::operate::config;

/// Texts for a commit that is not on the disk.
const NOT_KEPT: &str = "in use until the next start only: it cannot be written";
const NO_STATE_DIR: &str = "in use until the next start only: no state.dir is set to keep it in";

/// A commit that waits for its confirmation.
pub(super) struct Provisional {
    /// The settings to roll back to.
    before: Box<Settings>,
    until: Instant,
    /// The task that rolls back at the deadline.
    pub(super) timer: AbortHandle,
}

impl Control {
    pub(super) async fn commit(
        self: &Rc<Self>,
        candidate: &mut Candidate,
        writing: &mut Option<Writing>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let _turn = self.turn.lock().await;
        if self.state.borrow().provisional.is_some() {
            let text = "a commit waits to be confirmed; confirm or rollback comes first";
            return Err(Refused::Conflict(text.to_owned()));
        }
        if self.system.is_under_way() {
            let text = "an update of the system is under way, and the machine reboots after it; \
                        the changes stay, commit them then";
            return Err(Refused::Conflict(text.to_owned()));
        }
        let before = self.base();
        let new = candidate.apply(&before)?;
        let changes = changes(&before, &new);
        if changes.is_empty() {
            return Err(Refused::Conflict(NOTHING_TO_COMMIT.to_owned()));
        }
        if !self.state.borrow_mut().commits.allow(clock::now()) {
            let text = format!(
                "got more than {COMMITS_BURST_MAX} commits, allowed one in {} s, since each is \
                 written to flash; the changes stay, commit again later",
                COMMIT_INTERVAL.as_secs()
            );
            return Err(Refused::Conflict(text));
        }
        let merged = config::load_on(new, &self.sources).map_err(|error| {
            problems(&error, out);
            Refused::Invalid("nothing was changed; every problem is listed".to_owned())
        })?;
        let strays = self.all_strays(&merged, candidate);
        if !strays.is_empty() {
            for Stray { key, text } in &strays {
                out(Item::Problem { key: &key.to_string(), text });
            }
            let text = "nothing was changed; every problem is listed";
            return Err(Refused::Invalid(text.to_owned()));
        }
        self.take(merged).await.map_err(|error| Refused::Failed(error.to_string()))?;
        candidate.clear();
        for change in &changes {
            out(change.item());
        }
        for change in changes.iter().filter(|change| change.applies == Applies::Restart) {
            out(Item::Text(&format!("{} takes effect at the next start", change.name)));
        }
        if changes.iter().any(|change| change.applies == Applies::Provisional) {
            let seconds_left = self.wait_for_confirmation(before);
            out(Item::Provisional { seconds_left });
        } else {
            *writing = self.keep(out);
        }
        Ok(())
    }

    /// Stores the base as the last commit; returns the write if there is a state folder.
    fn keep(&self, out: &mut dyn FnMut(Item<'_>)) -> Option<Writing> {
        let state = &mut *self.state.borrow_mut();
        let writing = state.kept.keep(Some(state.base.clone()), state.file.mark);
        if writing.is_none() {
            out(Item::Text(NO_STATE_DIR));
        }
        writing
    }

    /// Says whether the last commit is on the disk.
    pub fn is_stored(&self) -> bool {
        self.state.borrow().kept.is_stored()
    }

    /// Waits until a commit is written, and tells a failure or delay.
    pub(super) async fn say_kept(&self, writing: Writing, out: &mut dyn FnMut(Item<'_>)) {
        let longest = Duration::from_micros(DISK_ANSWER_MAX.as_micros());
        let text = match timeout(longest, writing.outcome()).await {
            Ok(Ok(())) => return self.count_writes(),
            Ok(Err(error)) => format!("{NOT_KEPT}: {error}"),
            Err(_) => format!("{NOT_KEPT} yet: the disk takes longer than {longest:?}"),
        };
        log::error(Kind::Kept, format_args!("the commit is {text}"));
        out(Item::Text(&text));
    }

    pub(super) fn count_writes(&self) {
        self.hub.settings_writes.set(self.state.borrow().kept.writes());
    }

    /// Starts the timer that rolls the present commit back; returns its seconds.
    fn wait_for_confirmation(self: &Rc<Self>, before: Box<Settings>) -> u16 {
        let wait = self.confirm_wait.get();
        let until = Instant::now() + wait;
        let control = self.clone();
        let timer = event_loop::spawn("confirmation", async move {
            sleep_until(until).await;
            log::warn(Kind::Settings, format_args!("nobody confirmed the last commit"));
            while let Err(error) = control.take_back().await {
                let text = "the last commit was not confirmed";
                control.note(None, Whence::Gateway, text, &format!("{error}; tried again"));
                sleep(Duration::from_micros(TAKE_BACK_INTERVAL.as_micros())).await;
            }
            let text = "the last commit was not confirmed in time";
            control.note(None, Whence::Gateway, text, "taken back");
        });
        let timer = timer.abort_handle();
        self.state.borrow_mut().provisional = Some(Provisional { before, until, timer });
        u16::try_from(wait.as_secs()).unwrap_or(u16::MAX)
    }

    pub(super) async fn confirm(
        &self,
        writing: &mut Option<Writing>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let _turn = self.turn.lock().await;
        let Some(provisional) = self.state.borrow_mut().provisional.take() else {
            return Err(Refused::Conflict("no commit waits to be confirmed".to_owned()));
        };
        provisional.timer.abort();
        *writing = self.keep(out);
        Ok(())
    }

    pub(super) async fn roll_back(self: &Rc<Self>, candidate: &mut Candidate) -> Answer {
        if self.state.borrow().provisional.is_some() {
            return self.take_back().await;
        }
        if candidate.is_empty() {
            return Err(Refused::Conflict("there is nothing to take back".to_owned()));
        }
        candidate.clear();
        Ok(())
    }

    /// Rolls a provisional commit back; if that fails, it stays provisional.
    async fn take_back(self: &Rc<Self>) -> Answer {
        let _turn = self.turn.lock().await;
        let before = match &self.state.borrow().provisional {
            Some(provisional) => provisional.before.clone(),
            None => return Ok(()),
        };
        let merged = config::load_on(before, &self.sources).map_err(Failure::from);
        let taken = match merged {
            Ok(merged) => self.take(merged).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => {
                // If the timer itself calls, this is its last act.
                let provisional = self.state.borrow_mut().provisional.take();
                if let Some(provisional) = provisional.filter(|p| p.until > Instant::now()) {
                    provisional.timer.abort();
                }
                log::warn(Kind::Settings, format_args!("the settings before the commit are back"));
                Ok(())
            }
            Err(error) => {
                log::error(Kind::Settings, format_args!("a commit cannot be taken back: {error}"));
                Err(Refused::Failed(error.to_string()))
            }
        }
    }

    /// Returns the seconds until a provisional commit is rolled back.
    pub fn seconds_left(&self) -> Option<u16> {
        let state = self.state.borrow();
        let until = state.provisional.as_ref()?.until;
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        Some(u16::try_from(left).unwrap_or(u16::MAX))
    }
}
