//! `ctl provision`: sets up many gateways from lists, several at a time.
//!
//! A list names each gateway's address and its wanted settings. Matching settings are left alone: a
//! second run changes nothing. A gateway that refuses a setting stays as it was, since nothing
//! takes effect before its commit; the others go on. A provisional commit is confirmed once the
//! gateway answers after it, so a gateway that cut itself off rolls back.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loka_stratum::control::{Item, Request, Role};
use loka_stratum::limits::CONFIG_BYTES_MAX;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use toml::Value;

use super::http::LogInArgs;
use super::tls::TlsArgs;
use super::{CtlError, HttpWay, SerialWay, Way};
use crate::gateway::base::say::say;

/// Most gateways in a list.
const GATEWAYS_MAX: usize = 4096;

/// Flags of `ctl provision`.
#[derive(clap::Args)]
pub struct ProvisionArgs {
    /// Lists of gateways.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Gateways that are set up at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
    /// Show the changes without making them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// A list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// Settings of all gateways; a gateway's own settings win.
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    #[serde(default)]
    gateway: Vec<Entry>,
}

/// A gateway in a list.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    url: Option<String>,
    serial: Option<PathBuf>,
    baud: Option<u32>,
    fingerprint: Option<String>,
    password_file: Option<PathBuf>,
    code: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

/// The outcome for one gateway.
enum Outcome {
    AsWanted,
    Changed(usize),
    WouldChange(usize),
}

/// Returns a value as the text of a setting.
fn text(value: &Value) -> Result<String, CtlError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(integer) => Ok(integer.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(switch) => Ok(switch.to_string()),
        Value::Array(list) => Ok(list.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(",")),
        Value::Table(_) | Value::Datetime(_) => {
            let (got, allowed) = (value.type_str(), "a text, a number, a switch or a list");
            Err(CtlError::Usage(format!("got a value of type {got}, allowed {allowed}")))
        }
    }
}

impl Entry {
    fn label(&self) -> String {
        let way = || self.url.clone().or_else(|| Some(self.serial.as_ref()?.display().to_string()));
        self.name.clone().or_else(way).unwrap_or_default()
    }

    fn open(&self, tls: &TlsArgs) -> Result<Way, CtlError> {
        match (&self.serial, &self.url) {
            (Some(path), None) => {
                let baud = self.baud.unwrap_or(115_200);
                Ok(Way::Serial(Box::new(SerialWay::open(path, baud)?)))
            }
            (None, Some(url)) => {
                let mut tls = tls.clone();
                tls.fingerprint = self.fingerprint.clone().or(tls.fingerprint);
                let (password_file, code) = (self.password_file.clone(), self.code.clone());
                let log_in = LogInArgs { role: Role::Admin, password_file, code, tls };
                Ok(Way::Http(Box::new(HttpWay::new(url, &log_in)?)))
            }
            _ => Err(CtlError::Usage("it takes either url or serial".to_owned())),
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// A list is unusable, or some gateways are not as wanted.
pub async fn run(args: &ProvisionArgs) -> Result<(), CtlError> {
    let mut entries = Vec::new();
    for path in &args.files {
        entries.extend(read(path)?);
    }
    let total = entries.len();
    if total == 0 || total > GATEWAYS_MAX {
        let text = format!("got {total} gateways, allowed 1..{GATEWAYS_MAX}");
        return Err(CtlError::Usage(text));
    }
    let failed = LocalSet::new().run_until(all(args, entries)).await;
    match failed {
        0 => Ok(()),
        failed => Err(CtlError::Lost(format!("{failed} of {total} gateways are not as wanted"))),
    }
}

/// Reads a list and merges the common settings into each entry.
fn read(path: &Path) -> Result<Vec<Entry>, CtlError> {
    let usage = |text: String| CtlError::Usage(format!("{}: {text}", path.display()));
    let length = fs::metadata(path).map_err(|error| usage(error.to_string()))?.len();
    if length > CONFIG_BYTES_MAX as u64 {
        return Err(usage(format!("got {length} bytes, allowed {CONFIG_BYTES_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let list: List = toml::from_str(&text).map_err(|error| usage(error.to_string()))?;
    let mut entries = list.gateway;
    for entry in &mut entries {
        for (key, value) in &list.settings {
            entry.settings.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(entries)
}

/// Sets up all gateways and reports; returns how many are not as wanted.
async fn all(args: &ProvisionArgs, entries: Vec<Entry>) -> usize {
    let is_terminal = io::stdout().is_terminal();
    let target =
        if is_terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(entries.len() as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let places = Arc::new(Semaphore::new(usize::from(args.at_once)));
    let mut tasks = JoinSet::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let (places, tls, is_dry) = (places.clone(), args.tls.clone(), args.dry_run);
        tasks.spawn_local(async move {
            let _place = places.acquire().await;
            let result = one(&entry, &tls, is_dry).await;
            (index, entry.label(), result)
        });
    }
    let mut report = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let Ok((index, label, result)) = done else { continue };
        let (is_good, text) = match result {
            Ok(Outcome::AsWanted) => (true, "as wanted".to_owned()),
            Ok(Outcome::Changed(count)) => (true, format!("{count} changed")),
            Ok(Outcome::WouldChange(count)) => (true, format!("{count} would change")),
            Err(error) => (false, format!("FAILED: {error}")),
        };
        if !is_terminal {
            say(format_args!("{label}: {text}"));
        }
        bar.set_message(label.clone());
        bar.inc(1);
        report.push((index, label, is_good, text));
    }
    bar.finish_and_clear();
    report.sort_by_key(|(index, ..)| *index);
    let failed = report.iter().filter(|(_, _, is_good, _)| !is_good).count();
    if is_terminal {
        for (_, label, _, text) in &report {
            say(format_args!("{label}: {text}"));
        }
    }
    say(format_args!("{} gateways, {failed} failed", report.len()));
    failed
}

/// Sets up one gateway.
async fn one(entry: &Entry, tls: &TlsArgs, is_dry: bool) -> Result<Outcome, CtlError> {
    let mut way = entry.open(tls)?;
    let mut is_used = false;
    way.ask(&Request::Diff, &mut |item| is_used |= matches!(item, Item::Change { .. })).await?;
    if is_used {
        let text =
            "somebody has changes there that are not committed; commit or rollback comes first";
        return Err(CtlError::Usage(text.to_owned()));
    }
    for (key, value) in &entry.settings {
        way.ask(&Request::Set { key, value: &text(value)? }, &mut |_| {}).await?;
    }
    let (mut changes, mut problems) = (0, Vec::new());
    way.ask(&Request::Diff, &mut |item| match item {
        Item::Change { .. } => changes += 1,
        Item::Problem { text, .. } => problems.push(text.to_owned()),
        _ => {}
    })
    .await?;
    if !problems.is_empty() {
        let _ = way.ask(&Request::Rollback, &mut |_| {}).await;
        return Err(CtlError::Usage(problems.join("; ")));
    }
    if changes == 0 || is_dry {
        let _ = way.ask(&Request::Rollback, &mut |_| {}).await;
        return Ok(if changes == 0 { Outcome::AsWanted } else { Outcome::WouldChange(changes) });
    }
    let mut is_provisional = false;
    let mut commit = |item: Item<'_>| is_provisional |= matches!(item, Item::Provisional { .. });
    way.ask(&Request::Commit, &mut commit).await?;
    if is_provisional {
        let mut way = entry.open(tls)?;
        way.ask(&Request::Confirm, &mut |_| {}).await?;
    }
    Ok(Outcome::Changed(changes))
}
