//! `ctl`: sends requests to a gateway over its serial line or its API, in the console's words.
//!
//! Read this first. A [`Way`] carries requests to a gateway and items back; the rest does not
//! depend on the way. Verbs, grammar and the look of answers are the console's
//! ([`loka_stratum::control`], [`loka_stratum::console`]), so every console command works here.
//!
//! A secret never has to stand on the command line, where other users of the machine could see it.
//! Passwords, and values of secret keys, come from a file, the environment or a prompt without
//! echo.
//!
//! Exit codes are the same for all verbs and both ways. 0: done, and the answer is good news. 1:
//! not done, or bad news (a pool that fails its test, a gateway that is not ready, a problem in the
//! candidate). 2: nothing was sent. A commit without changes is good news, and so is a commit that
//! needs no confirmation.

#[cfg(feature = "decode")]
mod decode;
mod find;
mod http;
pub mod ntp;
mod provision;
mod secret;
mod serial;
pub mod status;
mod tls;
mod update;

use std::fmt;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use loka_stratum::console::{self, Printer};
use loka_stratum::control::{Item, Refused, Request};
use serde_json::{Value, json};

use crate::gateway::base::answer::NOTHING_TO_COMMIT;
use crate::gateway::base::say::{USAGE, say, say_error};
use crate::gateway::observe::summary::NOT_READY;
use find::FindArgs;
use http::{HttpWay, LogInArgs};
use provision::ProvisionArgs;
use secret::SecretArgs;
use serial::SerialWay;

/// Flags of `ctl`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CtlArgs {
    #[command(subcommand)]
    command: Option<CtlCommand>,
    #[command(flatten)]
    way: WayArgs,
    #[command(flatten)]
    secret: SecretArgs,
    /// Print each part of an answer as JSON, a line each.
    #[arg(long)]
    json: bool,
    /// Commit after the verbs, unless one of them failed.
    #[arg(long)]
    commit: bool,
    /// Confirm the commit as soon as it is done.
    #[arg(long, requires = "commit")]
    confirm: bool,
    /// Command as at the console (help lists them), or update FILE [--allow-downgrade]. Without it:
    /// lines from standard input.
    #[arg(value_name = "VERB", trailing_var_arg = true)]
    verb: Vec<String>,
}

/// Commands of `ctl` besides the console's.
#[derive(clap::Subcommand)]
enum CtlCommand {
    /// Set up many gateways from lists; skip gateways that match already.
    Provision(ProvisionArgs),
    /// List the gateways that publish their name on this network (mdns.name).
    Find(FindArgs),
}

/// How the gateway is reached.
#[derive(clap::Args)]
struct WayArgs {
    /// Serial port that leads to its console.
    #[arg(long, value_name = "PATH", conflicts_with = "http")]
    serial: Option<PathBuf>,
    /// The address of its page, https://host:port.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    #[command(flatten)]
    log_in: LogInArgs,
    /// Speed of that port, in baud.
    #[arg(long, value_name = "BAUD", default_value_t = 115_200)]
    baud: u32,
}

/// A way to a gateway.
enum Way {
    Serial(Box<SerialWay>),
    Http(Box<HttpWay>),
}

/// Why a command failed.
#[derive(Debug)]
pub enum CtlError {
    /// The gateway refused it.
    Refused(Refused<String>),
    /// Nothing was sent: the command line, a file or a flag is wrong.
    Usage(String),
    /// The gateway was not reached, or no answer came.
    Lost(String),
    /// The answer is bad news.
    BadNews(&'static str),
}

/// Facts of an answer that decide what follows.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// A commit waits for its confirmation.
    is_provisional: bool,
    /// The answer named a problem.
    has_problem: bool,
    /// The gateway reported that it is not ready.
    is_not_ready: bool,
}

/// Runs the command; the exit codes are in the module's documentation.
pub fn run(args: &CtlArgs) -> ExitCode {
    let provision = match &args.command {
        Some(CtlCommand::Find(args)) => return find::run(args),
        Some(CtlCommand::Provision(args)) => Some(args),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match provision {
                Some(args) => provision::run(args).await,
                None => ask_all(args).await,
            }
        }),
        Err(error) => Err(CtlError::Lost(error.to_string())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(format_args!("error: {error}"));
            if matches!(error, CtlError::Usage(_)) {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn ask_all(args: &CtlArgs) -> Result<(), CtlError> {
    let line = args.verb.join(" ");
    if let Some(about) = console::help_about(&line) {
        let mut text = String::new();
        let _ = console::print_help(about, &mut text);
        say(format_args!("{}", text.trim_end()));
        return Ok(());
    }
    let is_change = matches!(args.verb.first().map(String::as_str), Some("set" | "unset"));
    if args.way.http.is_some() && is_change && !args.commit {
        let text = "over HTTP a change lives as long as the command: add --commit before the verb, \
                    or give several lines on standard input";
        return Err(CtlError::Usage(text.to_owned()));
    }
    #[cfg(feature = "decode")]
    if let Some(decode) = decode::DecodeArgs::of(&args.verb) {
        let decode = decode?;
        let mut way = if decode.asks() { Some(Way::open(&args.way)?) } else { None };
        return decode.run(way.as_mut()).await;
    }
    let mut way = Way::open(&args.way)?;
    if args.verb.first().is_some_and(|verb| verb == update::VERB) {
        return update::run(&mut way, args.verb.get(1..).unwrap_or_default(), args.json).await;
    }
    if args.verb.is_empty() {
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| CtlError::Usage(error.to_string()))?;
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                ask_line(&mut way, args, &line).await?;
            }
        }
    } else {
        ask_line(&mut way, args, &line).await?;
    }
    if !args.commit {
        return Ok(());
    }
    let waits = match ask_line(&mut way, args, "commit").await {
        Ok(heard) => heard.is_provisional,
        // The settings are as wanted already.
        Err(error) if error.to_string() == NOTHING_TO_COMMIT => {
            if !args.json {
                say(format_args!("{error}: it is so already"));
            }
            false
        }
        Err(error) => return Err(error),
    };
    // A commit that took effect for good needs no confirmation.
    if args.confirm && waits {
        ask_line(&mut way, args, "confirm").await?;
    }
    Ok(())
}

/// Parses a line as the console does, sends it, and prints the answer as it comes.
async fn ask_line(way: &mut Way, args: &CtlArgs, line: &str) -> Result<Heard, CtlError> {
    let usage = |error: loka_stratum::control::ParseError<'_>| {
        CtlError::Usage(format!("{line:?}: {error}"))
    };
    let word;
    let request = match (Request::parse(line), console::secret_key(line)) {
        (Err(_), Some(key)) => {
            word = args.secret.read(key)?;
            Request::Set { key, value: &word }
        }
        (Ok(Request::Password { role, .. }), _) => {
            word = args.secret.read(&format!("new password of {role}"))?;
            Request::Password { role, word: &word }
        }
        (Ok(Request::Admit { worker, .. }), _) => {
            word = args.secret.read(&format!("new password of {worker}"))?;
            Request::Admit { worker, word: &word }
        }
        (Ok(Request::Reset { .. }), _) => {
            word = sure()?;
            Request::Reset { sure: &word }
        }
        (Ok(request), _) => request,
        (Err(error), _) => return Err(usage(error)),
    };
    let mut printer = Printer::default();
    let mut is_answered = false;
    let mut heard = Heard::default();
    way.ask(&request, &mut |item| {
        is_answered = true;
        heard.is_provisional |= matches!(item, Item::Provisional { .. });
        heard.has_problem |= matches!(item, Item::Problem { .. });
        heard.is_not_ready |= matches!(item, Item::Text(text) if text.starts_with(NOT_READY));
        if args.json {
            say(format_args!("{}", item_json(&item)));
        } else {
            let mut text = String::new();
            let _ = printer.print(&item, &mut text);
            say(format_args!("{}", text.trim_end_matches('\n')));
        }
    })
    .await?;
    if !is_answered && !args.json {
        say(format_args!("ok"));
    }
    match request {
        Request::Test { .. } if heard.has_problem => Err(CtlError::BadNews("the pool failed")),
        Request::Diff if heard.has_problem => {
            Err(CtlError::BadNews("a commit would be refused, as the problems say"))
        }
        Request::Status if heard.is_not_ready => Err(CtlError::BadNews("the gateway is not ready")),
        _ => Ok(heard),
    }
}

/// Asks for the word that confirms a reset.
fn sure() -> Result<String, CtlError> {
    if io::stdin().is_terminal() {
        say_error(format_args!("This forgets all settings and passwords. Type reset to do it:"));
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| CtlError::Usage(error.to_string()))?;
    match line.trim() {
        "reset" => Ok("reset".to_owned()),
        _ => Err(CtlError::Usage("that was not reset; nothing was asked".to_owned())),
    }
}

impl Way {
    fn open(args: &WayArgs) -> Result<Self, CtlError> {
        match (&args.serial, &args.http) {
            (Some(path), _) => Ok(Self::Serial(Box::new(SerialWay::open(path, args.baud)?))),
            (None, Some(url)) => Ok(Self::Http(Box::new(HttpWay::new(url, &args.log_in)?))),
            (None, None) => {
                Err(CtlError::Usage("which gateway? --serial PATH or --http URL".to_owned()))
            }
        }
    }

    /// Sends a request and hands each part of the answer to `out`.
    ///
    /// # Errors
    ///
    /// It was not done, or its outcome is unknown.
    async fn ask(
        &mut self,
        request: &Request<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), CtlError> {
        match self {
            Self::Serial(way) => way.ask(request, out).await,
            Self::Http(way) => way.ask(request, out).await,
        }
    }
}

/// Renders an item as JSON.
fn item_json(item: &Item<'_>) -> Value {
    match *item {
        Item::Text(text) => json!({"item": "text", "text": text}),
        Item::Value { key, value, origin, applies } => json!({
            "item": "value", "key": key, "value": value, "origin": origin.to_string(),
            "applies": applies,
        }),
        Item::Change { key, from, to, applies } => {
            json!({"item": "change", "key": key, "from": from, "to": to, "applies": applies})
        }
        Item::Problem { key, text } => json!({"item": "problem", "key": key, "text": text}),
        Item::Provisional { seconds_left } => {
            json!({"item": "provisional", "seconds_left": seconds_left})
        }
        Item::Certificate { subject, issuer, until, pin } => json!({
            "item": "certificate", "subject": subject, "issuer": issuer, "until": until,
            "pin": pin,
        }),
        Item::Miner { place, peer, worker, agent, difficulty, hashrate, accepted, rejected } => {
            json!({
                "item": "miner", "place": place, "peer": peer, "worker": worker, "agent": agent,
                "difficulty": difficulty, "hashrate": hashrate, "accepted": accepted,
                "rejected": rejected,
            })
        }
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Usage(text) | Self::Lost(text) => f.write_str(text),
            Self::BadNews(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CtlError {}
