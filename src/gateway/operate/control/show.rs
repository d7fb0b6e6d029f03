//! Read-only requests: settings with their origins, status, miners, log, audit log.

use std::net::IpAddr;

use loka_stratum::control::{Item, Origin, Refused};
use loka_stratum::downstream::Downstream;
use loka_stratum::limits::MINERS_LISTED_MAX;
use loka_stratum::settings::Key;
use loka_stratum::visible::Visible;

use super::change::{begins, shown};
use super::{Answer, Candidate, Control, State};
use crate::gateway::base::clock;
#[cfg(feature = "defmt")]
use crate::gateway::base::frames;
use crate::gateway::base::log;
use crate::gateway::observe::summary;
use crate::gateway::operate::config;

/// Hashes per share of difficulty 1.
const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;

impl Control {
    pub(super) fn show(
        &self,
        candidate: &Candidate,
        prefix: &str,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Answer {
        let state = self.state.borrow();
        let settings = self.hub.settings.borrow();
        let mut is_any = false;
        for key in Key::all(settings.pools.len()) {
            let name = key.to_string();
            if !begins(&name, prefix) {
                continue;
            }
            is_any = true;
            let origin = if candidate.touches(key) { Origin::Candidate } else { state.origin(key) };
            let value = shown(&settings, key);
            let applies = key.field().applies;
            out(Item::Value { key: &name, value: &value, origin, applies });
        }
        if is_any {
            Ok(())
        } else {
            Err(Refused::Invalid(format!("no key begins with {prefix:?}; show lists them all")))
        }
    }

    pub(super) fn status(&self, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        if let Some(seconds) = self.seconds_left() {
            let text = format!("a commit waits to be confirmed, and is taken back in {seconds} s");
            out(Item::Text(&text));
        }
        let report = serde_json::to_value(self.report())
            .map_err(|error| Refused::Failed(error.to_string()))?;
        summary::table(&report).lines().for_each(|line| out(Item::Text(line)));
        Ok(())
    }

    pub(super) fn miners(&self, skip: u16, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        let proxy = self.hub.proxy.borrow();
        let now = clock::now();
        let mut miners = proxy.miners().skip(skip.into());
        for (handle, miner) in miners.by_ref().take(MINERS_LISTED_MAX) {
            let counts = miner.counts();
            let elapsed = now.since(miner.connected_at()).as_micros() as f64 / 1e6;
            out(Item::Miner {
                place: u16::try_from(handle.index()).unwrap_or(u16::MAX),
                peer: &IpAddr::from(miner.peer()).to_canonical().to_string(),
                worker: &Visible(worker(miner)).to_string(),
                agent: &Visible(miner.user_agent()).to_string(),
                difficulty: miner.told_difficulty().map_or(0.0, |told| told.as_f64()),
                hashrate: miner.work() * HASHES_PER_DIFFICULTY / elapsed.max(1.0),
                accepted: counts.accepted(),
                rejected: counts.submitted().saturating_sub(counts.accepted()),
            });
        }
        if miners.next().is_some() {
            let next = usize::from(skip) + MINERS_LISTED_MAX;
            out(Item::Text(&format!("there are more: miners {next}")));
        }
        Ok(())
    }

    pub(super) fn log(count: u16, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        log::newest(count.into()).iter().for_each(|line| out(Item::Text(line)));
        Ok(())
    }

    /// Shows the newest events as frames, if this build keeps them.
    pub(super) async fn frames(count: u16, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        #[cfg(feature = "defmt")]
        let lines = frames::newest(count.into()).await;
        #[cfg(not(feature = "defmt"))]
        let lines: Option<Vec<String>> = Some(count).and(None);
        let lines = lines.ok_or_else(|| {
            let text = "there are no frames: no state.dir is set, or this build makes none";
            Refused::Failed(text.to_owned())
        })?;
        lines.iter().for_each(|line| out(Item::Text(line)));
        Ok(())
    }

    pub(super) async fn audit_log(&self, count: u16, out: &mut dyn FnMut(Item<'_>)) -> Answer {
        let lines = self.audit.borrow().newest(count.into());
        let lines = lines.await.map_err(|error| Refused::Failed(error.to_string()))?;
        lines.iter().for_each(|line| out(Item::Text(line)));
        Ok(())
    }
}

impl State {
    /// Returns the origin of a key's value in use.
    fn origin(&self, key: Key) -> Origin<'_> {
        let last = |origins: &'_ [(Key, config::Origin)]| {
            origins.iter().rev().find(|(of, _)| *of == key).map(|(_, origin)| origin.clone())
        };
        match self.over(key) {
            Some(config::Origin::Environment(name)) => return Origin::Environment(name),
            Some(config::Origin::Flag(flag)) => return Origin::Flag(flag),
            _ => {}
        }
        let show = |settings: &loka_stratum::settings::Settings| settings.show(key).to_string();
        if show(&self.base) != show(&self.file.settings) {
            return if self.kept.is_stored() { Origin::Stored } else { Origin::Unkept };
        }
        match last(&self.file.origins) {
            Some(config::Origin::File { line, .. }) => {
                Origin::File(u32::try_from(line).unwrap_or(u32::MAX))
            }
            _ => Origin::Default,
        }
    }
}

fn worker(miner: &Downstream) -> &str {
    miner.workers().nth(0).unwrap_or_default()
}
