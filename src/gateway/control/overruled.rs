//! Keys that the environment or a flag sets: a commit of one would be stored and never in use.
//!
//! What is set there wins over what is committed, so who types such a key is told at once, by every
//! door, with the source and the way out. A value that is the one in use is no lie and is taken.

use loka_stratum::control::Refused;
use loka_stratum::limits::POOLS_MAX;
use loka_stratum::settings::{Applies, Key, Pool, Settings, trim};

use super::candidate::pool;
use super::{Answer, Control, State};
use crate::gateway::config::Origin;

impl Control {
    /// Checks that an edit of a path would have an effect; none as its value puts the default back,
    /// or takes a pool away.
    ///
    /// # Errors
    ///
    /// What sets it instead, and what to do.
    pub(super) fn is_ours(&self, path: &str, value: Option<&str>) -> Answer {
        self.overruled(path, value).map_or(Ok(()), |text| Err(Refused::Invalid(text)))
    }

    /// Says what sets a key over any commit, where that is so and the value is not the one in use.
    pub fn overruled(&self, path: &str, value: Option<&str>) -> Option<String> {
        let path = trim(path);
        let state = self.state.borrow();
        let over = |key: Key| {
            let is_replaced = self.sources.replaces_pools && key.field().is_of_pool();
            let replaced = || is_replaced.then_some(Origin::Flag("--pool"));
            state.over(key).cloned().or_else(replaced).map(|origin| (key, origin))
        };
        let (key, origin) = match (pool(path), value) {
            // The pools behind it would get other numbers.
            (Some(first), None) => {
                let of_pools = Key::all(POOLS_MAX).filter(|key| key.field().is_of_pool());
                of_pools.filter(|key| key.pool() >= first).find_map(over)?
            }
            // What no commit may set is refused for that.
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

    /// Says whether a value, or the default, is what a key has now.
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
    /// Says which variable or flag sets a key over what the file or a commit says.
    pub(super) fn over(&self, key: Key) -> Option<&Origin> {
        let is_over =
            |(of, origin): &&(Key, Origin)| *of == key && !matches!(origin, Origin::File { .. });
        self.origins.iter().rev().find(is_over).map(|(_, origin)| origin)
    }
}
