//! Loads the settings at the start: from the file, the environment, the flags and the last commit.

use std::rc::Rc;

use loka_stratum::settings::{Key, Pool, Scheme, Settings};

use crate::gateway::base::disk::Flash;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::state::State;
use crate::gateway::base::warnings;
use crate::gateway::operate::config::{self, ConfigError, Merged, Problem, Sources};
use crate::gateway::operate::control::{Filed, Kept, reset};
use crate::gateway::runtime::dial::{Dialer, DialerError};

/// The loaded settings and state.
pub struct Loaded {
    /// The settings in use, under environment and flags.
    pub merged: Merged,
    /// The settings file's contents.
    pub filed: Filed,
    /// The state folder, and whether it is usable.
    pub state: State,
    /// The last commit.
    pub kept: Kept,
    /// Findings for the audit log.
    pub news: News,
    /// The ways to the pools.
    pub dialers: Vec<Rc<Dialer>>,
}

/// Findings at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// A factory reset was requested.
    pub was_reset: bool,
    /// The file was edited after the last commit.
    pub file_was_edited: bool,
    /// The file is unusable, so the last commit counts.
    pub file_is_bad: bool,
}

/// Whether the state folder may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The gateway runs on it.
    Run,
    /// It is only looked at.
    Check,
}

/// Finds the settings that count: the file's or the last commit's, whichever was written later.
/// Plans the memory and prepares the dialers. If the file is unusable, the last commit counts, if
/// there is one.
pub fn load(sources: &Sources, purpose: Purpose) -> Result<Loaded, ConfigError> {
    let read = with_dialers(config::load(sources));
    let folder = match &read {
        Ok((merged, _)) => merged.settings.state.dir.as_str().to_owned(),
        Err(_) => config::state_dir(sources),
    };
    let mut news = News::default();
    let (state, kept) = match purpose {
        Purpose::Check => (State::look(&folder), Kept::peek(&folder)),
        Purpose::Run => {
            let state = State::open(&folder);
            news.was_reset = reset::carry_out_if_asked(&Flash, &state.folder);
            let kept = if state.problem.is_some() {
                Kept::peek(&state.folder)
            } else {
                Kept::open(&state.folder)
            };
            (state, kept)
        }
    };
    let (merged, dialers) = match read {
        Ok(read) => read,
        Err(error) if purpose == Purpose::Run => {
            return without_the_file(sources, state, kept, news, error);
        }
        Err(error) => return Err(error),
    };
    let filed = Filed::of(&merged);
    if let Some(committed) = kept.over(filed.mark) {
        match with_dialers(config::load_on(committed, sources)) {
            Ok((merged, dialers)) => {
                return Ok(Loaded { merged, filed, state, kept, news, dialers });
            }
            // As after an update whose settings allow less.
            Err(error) => {
                for Problem { text, .. } in &error.problems {
                    log::error(Kind::Settings, format_args!("the last commit: {text}"));
                }
                let text = "the last commit cannot be used as it is, so the file counts";
                log::error(Kind::Settings, format_args!("{text}"));
            }
        }
    } else {
        news.file_was_edited = kept.has_settings();
    }
    Ok(Loaded { merged, filed, state, kept, news, dialers })
}

/// Uses the last commit because the file is unusable, even if it was made over another file. A slip
/// of the pen must not stop a farm. Without a usable commit, returns the file's problems.
fn without_the_file(
    sources: &Sources,
    state: State,
    kept: Kept,
    mut news: News,
    error: ConfigError,
) -> Result<Loaded, ConfigError> {
    let Some(committed) = kept.settings() else { return Err(error) };
    let Ok((merged, dialers)) = with_dialers(config::load_on(committed, sources)) else {
        return Err(error);
    };
    for Problem { text, .. } in &error.problems {
        log::error(Kind::Settings, format_args!("{text}"));
    }
    log::error(Kind::Settings, format_args!("{}", warnings::BAD_FILE));
    news.file_is_bad = true;
    let filed = Filed::unusable(config::mark(sources));
    Ok(Loaded { merged, filed, state, kept, news, dialers })
}

fn with_dialers(
    merged: Result<Merged, ConfigError>,
) -> Result<(Merged, Vec<Rc<Dialer>>), ConfigError> {
    let merged = merged?;
    let dialers = dialers(&merged.settings)?;
    Ok((merged, dialers))
}

/// Prepares the dialers before the loop turns.
fn dialers(settings: &Settings) -> Result<Vec<Rc<Dialer>>, ConfigError> {
    assemble(settings.pools.iter().map(|pool| Dialer::new(pool).map(Rc::new)))
}

/// Does the same as [`dialers`] while the loop turns: certificate files are read beside it. The
/// dialer of an unchanged pool is kept, since its TLS sessions may be resumed.
pub async fn dialers_beside(
    settings: &Settings,
    (pools, dialers): (&[Pool], &[Rc<Dialer>]),
) -> Result<Vec<Rc<Dialer>>, ConfigError> {
    let kept = |pool: &Pool| {
        let is_same = |(old, _): &(&Pool, &Rc<Dialer>)| {
            (&old.url, &old.ca_file, &old.pins, old.trust)
                == (&pool.url, &pool.ca_file, &pool.pins, pool.trust)
        };
        pools.iter().zip(dialers).find(is_same).map(|(_, dialer)| dialer.clone())
    };
    let kept: Vec<_> = settings.pools.iter().map(kept).collect();
    let of_new = |(pool, kept): (&Pool, &Option<_>)| kept.is_none().then(|| pool.clone());
    let new: Vec<_> = settings.pools.iter().zip(&kept).map(of_new).collect();
    let read = event_loop::beside(move || {
        let read = |pool: Option<Pool>| pool.map(|pool| Dialer::new(&pool));
        new.into_iter().map(read).collect::<Vec<_>>()
    });
    let read = read.await.map_err(ConfigError::of)?;
    assemble(
        kept.into_iter().zip(read).filter_map(|(kept, new)| {
            kept.map(Ok).or_else(|| new.map(|dialer| dialer.map(Rc::new)))
        }),
    )
}

fn assemble(
    all: impl Iterator<Item = Result<Rc<Dialer>, DialerError>>,
) -> Result<Vec<Rc<Dialer>>, ConfigError> {
    let mut dialers = Vec::new();
    let mut problems = Vec::new();
    for (index, dialer) in all.enumerate() {
        match dialer {
            Ok(dialer) => dialers.push(dialer),
            Err(error) => {
                let key = Key::named("pool", error.key, index);
                let text = error.of_pool(index);
                problems.push(Problem { key, text });
            }
        }
    }
    if problems.is_empty() { Ok(dialers) } else { Err(ConfigError { problems }) }
}

/// Returns the warnings about pools over plain TCP, at the start and at every reload (F83).
pub fn plain_warnings(settings: &Settings) -> impl Iterator<Item = String> + '_ {
    let is_plain = |(_, pool): &(usize, &Pool)| pool.url.scheme() == Scheme::Tcp;
    settings.pools.iter().enumerate().filter(is_plain).map(|(i, _)| warnings::plain_warning(i))
}
