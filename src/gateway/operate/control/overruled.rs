//! Keys that the environment or a flag sets: their commit would be stored and never used.
//!
//! Environment and flags win over a commit. So every door refuses an edit of such a key at once,
//! with the source and the remedy. An edit to the value in use is accepted.

use loka_stratum::control::Refused;
use loka_stratum::limits::POOLS_MAX;
use loka_stratum::settings::{Applies, Key, Pool, Settings, trim};

use super::candidate::pool;
use super::{Answer, Control, State};
use crate::gateway::operate::config::Origin;

impl Control {
    /// Checks that an edit of a path would have an effect. A value of `None` resets the key, or
    /// removes the pool.
    ///
    /// # Errors
    ///
    /// The source that sets it instead, and the remedy.
    pub(super) fn is_ours(&self, path: &str, value: Option<&str>) -> Answer {
        self.overruled(path, value).map_or(Ok(()), |text| Err(Refused::Invalid(text)))
    }

    /// Returns the source that overrides commits of a key, unless the value is in use already.
    pub fn overruled(&self, path: &str, value: Option<&str>) -> Option<String> {
        let path = trim(path);
        let state = self.state.borrow();
        let over = |key: Key| {
            let is_replaced = self.sources.replaces_pools && key.field().is_of_pool();
            let replaced = || is_replaced.then_some(Origin::Flag("--pool"));
            state.over(key).cloned().or_else(replaced).map(|origin| (key, origin))
        };
        let (key, origin) = match (pool(path), value) {
            // The pools behind it would be renumbered.
            (Some(first), None) => {
                let of_pools = Key::all(POOLS_MAX).filter(|key| key.field().is_of_pool());
                of_pools.filter(|key| key.pool() >= first).find_map(over)?
            }
            // A key that no commit may set is refused elsewhere.
            _ => over(Key::parse(path).filter(|key| key.field().applies != Applies::File)?)?,
        };
        if pool(path).is_none() && self.is_in_use(key, value) {
            return None;
        }
        let source = match origin {
            Origin::Environment(name) => format!("the environment variable {name}"),
            Origin::Flag(flag) => format!("the flag {flag}"),
            Origin::File { .. } => return None,
        };
        Some(format!(
            "{} is set by {source}, which wins over what is committed; change or remove it where \
             the gateway is started (its service file, uci on OpenWrt), and start it again",
            key.title()
        ))
    }

    /// Says whether a key has this value, or its default, now.
    fn is_in_use(&self, key: Key, value: Option<&str>) -> bool {
        let in_use = self.hub.settings.borrow();
        if key.field().is_of_pool() && key.pool() >= in_use.pools.len() {
            return false;
        }
        let mut other = in_use.clone();
        let is_set = other.set(key, value.unwrap_or(&default(key))).is_ok();
        is_set && other.show(key).to_string() == in_use.show(key).to_string()
    }
}

/// Returns the text of a key's default.
fn default(key: Key) -> String {
    let mut settings = Settings::default();
    while key.field().is_of_pool()
        && key.pool() >= settings.pools.len()
        && settings.pools.push(Pool::default()).is_ok()
    {}
    settings.show(key).to_string()
}

impl State {
    /// Returns the variable or flag that sets a key over file and commit.
    pub(super) fn over(&self, key: Key) -> Option<&Origin> {
        let is_over =
            |(of, origin): &&(Key, Origin)| *of == key && !matches!(origin, Origin::File { .. });
        self.origins.iter().rev().find(is_over).map(|(_, origin)| origin)
    }
}
