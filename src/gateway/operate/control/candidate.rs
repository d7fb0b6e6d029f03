//! An operator's uncommitted changes: a bounded list of edits.

use loka_stratum::control::{Refused, Role};
use loka_stratum::limits::EDITS_MAX;
use loka_stratum::settings::{Key, Settings, nearest_field, trim};

use super::Answer;

/// Edits in order, at most one per key.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    edits: Vec<Edit>,
}

#[derive(Clone)]
enum Edit {
    Set(Key, String),
    Unset(Key),
    RemovePool(usize),
}

impl std::fmt::Debug for Edit {
    /// Values may be secrets, so they are not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set(key, _) => write!(f, "set {key}"),
            Self::Unset(key) => write!(f, "unset {key}"),
            Self::RemovePool(pool) => write!(f, "unset pool.{}", pool + 1),
        }
    }
}

impl Candidate {
    /// Sets a value; its range is checked at once, relations with other keys at the commit.
    pub(super) fn set(&mut self, base: &Settings, path: &str, value: &str, role: Role) -> Answer {
        let key = key(path)?;
        is_allowed(key, role)?;
        let mut settings = self.apply(base)?;
        settings.set(key, value).map_err(|problem| Refused::Invalid(problem.to_string()))?;
        self.push(Edit::Set(key, value.to_owned()))
    }

    /// Resets a key to its default, or removes a pool.
    pub(super) fn unset(&mut self, base: &Settings, path: &str, role: Role) -> Answer {
        let settings = self.apply(base)?;
        if let Some(pool) = pool(path) {
            let count = settings.pools.len();
            if pool >= count {
                let text = format!("{path}: there are {count} pools");
                return Err(Refused::Invalid(text));
            }
            return self.push(Edit::RemovePool(pool));
        }
        let key = key(path)?;
        is_allowed(key, role)?;
        self.push(Edit::Unset(key))
    }

    fn push(&mut self, edit: Edit) -> Answer {
        if let Edit::Set(new, _) | Edit::Unset(new) = &edit {
            // Edits before the last removal of a pool use older pool numbers.
            let is_removal = |edit: &Edit| matches!(edit, Edit::RemovePool(_));
            let last = self.edits.iter().rposition(is_removal).map_or(0, |index| index + 1);
            let is_same =
                |edit: &Edit| matches!(edit, Edit::Set(key, _) | Edit::Unset(key) if key == new);
            let tail = self.edits.split_off(last);
            self.edits.extend(tail.into_iter().filter(|edit| !is_same(edit)));
        }
        if self.edits.len() >= EDITS_MAX {
            let text = format!("got more than {EDITS_MAX} changes; commit or rollback comes first");
            return Err(Refused::Conflict(text));
        }
        self.edits.push(edit);
        Ok(())
    }

    /// Returns the settings that a commit on this base would give.
    pub(super) fn apply(&self, base: &Settings) -> Result<Box<Settings>, Refused<String>> {
        let mut settings = Box::new(base.clone());
        let default = Settings::default();
        for edit in &self.edits {
            let result = match edit {
                Edit::Set(key, text) => settings.set(*key, text),
                Edit::Unset(key) => reset(&mut settings, &default, *key),
                Edit::RemovePool(pool) => {
                    if *pool < settings.pools.len() {
                        settings.pools.remove(*pool);
                    }
                    Ok(())
                }
            };
            result.map_err(|problem| Refused::Invalid(problem.to_string()))?;
        }
        Ok(settings)
    }

    /// Says whether a key was edited.
    pub(super) fn touches(&self, of: Key) -> bool {
        self.edits.iter().any(|edit| match edit {
            Edit::Set(key, _) | Edit::Unset(key) => *key == of,
            Edit::RemovePool(pool) => of.field().is_of_pool() && of.pool() >= *pool,
        })
    }

    /// Says whether a pool, by its final number, was given this password.
    pub(super) fn gives(&self, of: Key, word: &str) -> bool {
        let mut scratch = Settings::default();
        self.of_present_pools().any(|edit| match edit {
            Edit::Set(key, text) if *key == of => {
                scratch.set(*key, text).is_ok() && scratch.show(*key).to_string() == word
            }
            _ => false,
        })
    }

    /// Says whether a key of a pool, by its final number, was set.
    pub(super) fn sets(&self, of: Key) -> bool {
        self.of_present_pools().any(|edit| matches!(edit, Edit::Set(key, _) if *key == of))
    }

    /// The edits after the last removal of a pool: earlier ones may concern another pool.
    fn of_present_pools(&self) -> impl Iterator<Item = &Edit> {
        let is_removal = |edit: &Edit| matches!(edit, Edit::RemovePool(_));
        let first = self.edits.iter().rposition(is_removal).map_or(0, |index| index + 1);
        self.edits.iter().skip(first)
    }

    /// Names the edited keys.
    pub(super) fn keys(&self) -> String {
        let name = |edit: &Edit| match edit {
            Edit::Set(key, _) | Edit::Unset(key) => key.to_string(),
            Edit::RemovePool(pool) => format!("pool.{}", pool + 1),
        };
        self.edits.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Describes the edits for the audit log, without secrets.
    pub(super) fn described(&self) -> impl Iterator<Item = String> + '_ {
        self.edits.iter().map(|edit| match edit {
            Edit::Set(key, value) if !key.field().is_secret() => format!("set {key} {value}"),
            edit => format!("{edit:?}"),
        })
    }

    /// Says whether there are no edits.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Forgets all edits.
    pub fn clear(&mut self) {
        self.edits.clear();
    }
}

fn reset(
    settings: &mut Settings,
    default: &Settings,
    key: Key,
) -> Result<(), loka_stratum::settings::Problem> {
    let mut pool = Settings::default();
    let default = if key.field().is_of_pool() {
        // The defaults of a pool's keys are those of a new pool.
        for _ in 0..=key.pool() {
            let _ = pool.pools.push(loka_stratum::settings::Pool::default());
        }
        &pool
    } else {
        default
    };
    settings.set(key, &default.show(key).to_string())
}

fn key(path: &str) -> Result<Key, Refused<String>> {
    let path = trim(path);
    Key::parse(path).ok_or_else(|| {
        let meant = nearest_field(path).map(|field| {
            let mut numbers = path.split('.').filter_map(|part| part.parse::<usize>().ok());
            match numbers.next() {
                Some(number) if field.is_of_pool() => format!("pool.{number}.{}", field.name),
                _ if field.is_of_pool() => format!("pool.1.{}", field.name),
                _ => format!("{}.{}", field.section, field.name),
            }
        });
        let end = meant.map_or_else(String::new, |key| format!("; did you mean {key}"));
        Refused::Invalid(format!("{path:?} is no key; show lists them all{end}"))
    })
}

/// Parses `pool.2` into the index 1.
pub(super) fn pool(path: &str) -> Option<usize> {
    path.strip_prefix("pool.")?.parse::<usize>().ok()?.checked_sub(1)
}

fn is_allowed(key: Key, role: Role) -> Answer {
    use loka_stratum::settings::Applies;
    let needs = key.field().role();
    if role < needs {
        return Err(Refused::Forbidden { needs });
    }
    if key.field().applies == Applies::File {
        let text = "is set in the file, the environment or by a flag, since it names a path";
        return Err(Refused::Invalid(format!("{} {text}", key.title())));
    }
    Ok(())
}
