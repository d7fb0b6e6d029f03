//! A swarm of simulated ASICs in one process: thousands of connections on one thread, a shared
//! hashing budget, and a count of every line of the server.
//!
//! The shares are real: every one is found by hashing, at difficulties so small that a CPU finds
//! many. Below 2^-32 every hash is a share: then a load test spends no time on hashing here, while
//! the server's check of each share costs the same.

pub mod report;
pub mod search;

mod herd;
mod miner;

use std::cell::RefCell;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::lab::personality::Cast;
use crate::lab::{self, clock};
use herd::Herd;
use report::Report;

/// Most miners of one process.
const MINERS_MAX: usize = 20_000;
/// Capacity of the command queue of the swarm's thread; a sender waits when it is full.
const COMMANDS_MAX: usize = 16;
/// Time limit for outstanding answers before a report.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

/// The miners' work once they have a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Nothing: they listen.
    Idle,
    /// They hash, all together this many times a second.
    Hash { per_sec: f64 },
    /// They submit this many shares a second, all together, independent of the answers.
    Paced { per_sec: f64 },
    /// Each submits this many shares in one write, and repeats that once all are answered.
    Closed { at_a_time: u32 },
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("got {text}, allowed idle, hash:RATE, paced:RATE, closed:COUNT");
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let rate = || value.parse().ok().filter(|rate: &f64| *rate >= 0.0 && rate.is_finite());
        match kind {
            "idle" => Ok(Self::Idle),
            "hash" => Ok(Self::Hash { per_sec: rate().ok_or_else(wrong)? }),
            "paced" => Ok(Self::Paced { per_sec: rate().ok_or_else(wrong)? }),
            "closed" => {
                let at_a_time: u32 = value.parse().map_err(|_| wrong())?;
                Ok(Self::Closed { at_a_time: at_a_time.clamp(1, miner::PENDING_MAX as u32) })
            }
            _ => Err(wrong()),
        }
    }
}

/// `lab swarm`: runs simulated ASICs until SIGTERM, SIGINT or `--for`, then prints the counts as
/// JSON.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway or pool to connect to.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    connect: SocketAddr,
    /// How many ASICs.
    #[arg(long, value_name = "N", default_value_t = 100)]
    miners: usize,
    /// `mixed`, or one firmware for all.
    #[arg(long, value_name = "NAME", default_value = "mixed")]
    personality: Cast,
    /// Hashes per second of all ASICs together.
    #[arg(long, value_name = "H", default_value_t = 1e6, conflicts_with = "rate")]
    hash_rate: f64,
    /// Submit this many shares per second instead, evenly over all ASICs.
    #[arg(long, value_name = "SHARES")]
    rate: Option<f64>,
    /// Work: `idle`, `hash:RATE`, `paced:RATE` or `closed:COUNT`; replaces the rates.
    #[arg(long, value_name = "WORK")]
    work: Option<Work>,
    /// ASICs that connect at the same time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    at_once: usize,
    /// Number of source addresses on loopback, from 127.0.0.1 on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    sources: u32,
    /// Worker names are this, a dot, and a number.
    #[arg(long, value_name = "NAME", default_value = "farm")]
    worker: String,
    /// Password of every worker.
    #[arg(long, value_name = "WORD", default_value = "x")]
    password: String,
    /// Difficulty of firmwares that suggest one.
    #[arg(long, value_name = "D", default_value_t = 0.001)]
    suggest: f64,
    /// Do not reconnect after a disconnect.
    #[arg(long)]
    no_reconnect: bool,
    /// Stop after this many seconds.
    #[arg(long = "for", value_name = "SECS")]
    run_for: Option<f64>,
    /// Write the final report to this file as well.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Obey lines on standard input, and stop when it ends: work WORK, quiesce, report, reset,
    /// stop.
    #[arg(long)]
    control: bool,
    /// Seed of the swarm's random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// The options of a swarm.
#[derive(Clone, Debug)]
pub struct Options {
    pub connect: SocketAddr,
    pub miners: usize,
    pub cast: Cast,
    pub work: Work,
    pub at_once: usize,
    pub sources: u32,
    pub worker: String,
    pub password: String,
    pub suggest: f64,
    pub reconnect: bool,
    pub seed: u64,
}

impl Options {
    /// Returns a small mixed swarm for the server at `connect`.
    pub fn new(connect: SocketAddr) -> Self {
        Self {
            connect,
            miners: 100,
            cast: Cast::Mixed,
            work: Work::Hash { per_sec: 1e6 },
            at_once: 64,
            sources: 1,
            worker: "farm".to_owned(),
            password: "x".to_owned(),
            suggest: 0.001,
            reconnect: true,
            seed: 1,
        }
    }
}

/// Commands of the swarm's thread.
enum Command {
    Work(Work),
    Report(std::sync::mpsc::Sender<Report>),
    Reset,
    Stop,
}

/// A swarm that runs on its own thread.
pub struct Swarm;

/// Handle of a running swarm; dropping it stops the swarm.
pub struct SwarmHandle {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<Report>>>,
}

impl Swarm {
    /// Starts a swarm, whose miners begin to connect.
    ///
    /// # Errors
    ///
    /// An option is out of range, or the thread cannot be started.
    pub fn start(options: Options) -> io::Result<SwarmHandle> {
        if !(1..=MINERS_MAX).contains(&options.miners) {
            let text = format!("miners: got {}, allowed 1..{MINERS_MAX}", options.miners);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let thread = std::thread::Builder::new().name("lab-swarm".to_owned()).spawn(move || {
            let herd = Rc::new(RefCell::new(Herd::new(options)));
            if let Ok(runtime) = lab::local_runtime() {
                runtime.block_on(herd::obey(herd.clone(), receiver));
            }
            herd.borrow().report()
        })?;
        Ok(SwarmHandle { commands, thread: Mutex::new(Some(thread)) })
    }
}

impl SwarmHandle {
    fn tell(&self, command: Command) {
        // A stopped swarm needs no command.
        let _ = self.commands.blocking_send(command);
    }

    /// Changes the miners' work.
    pub fn work(&self, work: Work) {
        self.tell(Command::Work(work));
    }

    /// Returns the current counts.
    pub fn report(&self) -> Report {
        let (answer, report) = std::sync::mpsc::channel();
        self.tell(Command::Report(answer));
        report.recv().unwrap_or_default()
    }

    /// Stops the work and waits until every submit is answered, 10 s at most; the miners stay
    /// connected.
    pub fn quiesce(&self) -> Report {
        self.work(Work::Idle);
        let start = clock::now();
        loop {
            let report = self.report();
            if report.pending == 0 || start.elapsed() > ANSWERS_MAX {
                return report;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Clears the latencies and the jobs seen so far.
    pub fn reset(&self) {
        self.tell(Command::Reset);
    }

    /// Disconnects all miners; the first call returns the last report.
    pub fn stop(&self) -> Option<Report> {
        let thread = self.thread.lock().ok()?.take()?;
        self.tell(Command::Stop);
        thread.join().ok()
    }
}

impl Drop for SwarmHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Args {
    fn options(&self) -> Options {
        let work = match (self.work, self.rate) {
            (Some(work), _) => work,
            (None, Some(per_sec)) => Work::Paced { per_sec },
            (None, None) => Work::Hash { per_sec: self.hash_rate },
        };
        Options {
            connect: self.connect,
            miners: self.miners,
            cast: self.personality,
            work,
            at_once: self.at_once,
            sources: self.sources,
            worker: self.worker.clone(),
            password: self.password.clone(),
            suggest: self.suggest,
            reconnect: !self.no_reconnect,
            seed: self.seed,
        }
    }
}

/// Runs `lab swarm`: at the end the work stops, answers are awaited, and the report is printed
/// before the miners disconnect.
///
/// # Errors
///
/// The swarm cannot start, or the report cannot be written.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    lab::raise_file_limit();
    let swarm = Arc::new(Swarm::start(args.options())?);
    let mut ending = lab::Ending::new()?;
    if args.control {
        let (swarm, told) = (swarm.clone(), ending.told.clone());
        std::thread::spawn(move || control(&swarm, &told));
    }
    ending.wait(args.run_for.map(lab::seconds));
    let report = swarm.quiesce();
    let text = serde_json::to_string(&report).map_err(io::Error::other)?;
    lab::say(&text);
    if let Some(path) = &args.report {
        std::fs::write(path, text + "\n")?;
    }
    swarm.stop();
    Ok(ExitCode::SUCCESS)
}

/// Executes the lines of standard input and stops at its end; reports an invalid command.
fn control(swarm: &SwarmHandle, told: &Notify) {
    let print = |report: &Report| lab::say(&serde_json::to_string(report).unwrap_or_default());
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let (word, value) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        match (word, value.parse::<Work>()) {
            ("work", Ok(work)) => swarm.work(work),
            ("quiesce", _) => print(&swarm.quiesce()),
            ("report", _) => print(&swarm.report()),
            ("reset", _) => swarm.reset(),
            ("stop", _) => break,
            ("", _) => {}
            _ => lab::say(&format!("unknown command {line:?}")),
        }
    }
    told.notify_one();
}

#[cfg(test)]
mod tests;
