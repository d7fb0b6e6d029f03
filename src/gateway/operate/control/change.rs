//! Differences between two sets of settings, and values as people see them.

use loka_stratum::control::Item;
use loka_stratum::settings::{Applies, Key, Settings};

use crate::gateway::operate::config::ConfigError;

/// A key whose value differs between two sets of settings.
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) name: String,
    from: String,
    to: String,
    pub(super) applies: Applies,
}

impl Change {
    pub(super) fn item(&self) -> Item<'_> {
        Item::Change { key: &self.name, from: &self.from, to: &self.to, applies: self.applies }
    }
}

pub(super) fn changes(from: &Settings, to: &Settings) -> Vec<Change> {
    let longer = from.pools.len().max(to.pools.len());
    let differs = |key: &Key| from.show(*key).to_string() != to.show(*key).to_string();
    let change = |key: Key| Change {
        key,
        name: key.to_string(),
        from: shown(from, key),
        to: shown(to, key),
        applies: key.field().applies,
    };
    Key::all(longer).filter(differs).map(change).collect()
}

/// Shows a value to people; a secret is masked.
pub(super) fn shown(settings: &Settings, key: Key) -> String {
    let text = settings.show(key).to_string();
    match (key.field().is_secret(), text.is_empty()) {
        (false, _) => text,
        (true, true) => "(not set)".to_owned(),
        (true, false) => "(set)".to_owned(),
    }
}

/// Says whether a key equals `prefix` or lies below it.
pub(super) fn begins(key: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('.');
    match key.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

pub(super) fn problems(error: &ConfigError, out: &mut dyn FnMut(Item<'_>)) {
    for problem in &error.problems {
        let key = problem.key.map(|key| key.to_string()).unwrap_or_default();
        out(Item::Problem { key: &key, text: &problem.text });
    }
}
