//! A fault injector: a TCP proxy between a gateway and its pool, or between miners and a gateway,
//! with the faults of real networks.
//!
//! A [`Fault`] either ends every connection once (`cut`, `reset`), or changes the carrying of bytes
//! (`delay`, `trickle`, `corrupt`, `half-open`, `refuse`) until `pass`. Faults come from flags at
//! given times, from a seed, or as lines on standard input. The counts are printed at the end.
//!
//! It carries bytes, not lines: it does not know Stratum or TLS, and does nothing below TCP. Bytes
//! of a half-open direction are not read. They wait in the system's buffers and arrive late, after
//! `pass`.

mod wire;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};

use super::random::Random;
use super::{clock, net};

/// Capacity of the command queue of the injector's thread; a sender waits when it is full.
const COMMANDS_MAX: usize = 16;
/// The longest delay and the slowest trickle of random faults.
const DRAWN_DELAY_MS_MAX: u32 = 1_500;
const DRAWN_TRICKLE_MAX: u32 = 2_000;

/// `lab faults`: carries connections to another address and disturbs them until SIGTERM, SIGINT or
/// `--for`, then prints the counts as JSON.
///
/// A FAULT is one of: cut, reset, delay MS, trickle BYTES_PER_SEC, corrupt,
/// half-open [up|down|both], refuse, pass.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen at; with port 0 the system chooses. The first line printed is
    /// `listening ADDR`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3334")]
    listen: SocketAddr,
    /// Address to which connections are carried.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    to: SocketAddr,
    /// A fault with its time in seconds, such as "5 reset" or "12.5 delay 800"; may be repeated.
    #[arg(long, value_name = "SECS FAULT")]
    at: Vec<Planned>,
    /// Draw a fault every so many seconds; each ends after a third of that.
    #[arg(long, value_name = "SECS", conflicts_with = "at")]
    every: Option<f64>,
    /// Stop after this many seconds.
    #[arg(long = "for", value_name = "SECS")]
    run_for: Option<f64>,
    /// Obey lines on standard input, and stop when it ends: any FAULT, counts, stop.
    #[arg(long)]
    control: bool,
    /// Seed of the random choices: faults and corrupted bits.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// The direction in which bytes are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Towards the injector's target.
    Up,
    /// Towards the client.
    Down,
    /// Both directions.
    Both,
}

/// A fault of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection is closed by FIN.
    Cut,
    /// Every connection is ended by RST.
    Reset,
    /// Bytes are delayed by this time, until [`Fault::Pass`].
    Delay(Duration),
    /// So many bytes a second are carried each way, until [`Fault::Pass`].
    Trickle(u32),
    /// One bit of each read is flipped, until [`Fault::Pass`].
    Corrupt,
    /// Connections stay open and new ones are accepted, but no bytes pass, until [`Fault::Pass`].
    HalfOpen(Way),
    /// Every connection is closed and none is accepted, until [`Fault::Pass`].
    Refuse,
    /// Bytes pass undisturbed.
    Pass,
}

impl Fault {
    /// Returns the fault's word in a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::Delay(_) => "delay",
            Self::Trickle(_) => "trickle",
            Self::Corrupt => "corrupt",
            Self::HalfOpen(_) => "half-open",
            Self::Refuse => "refuse",
            Self::Pass => "pass",
        }
    }

    /// Draws a fault; never [`Fault::Pass`].
    pub const fn draw(random: &mut Random) -> Self {
        match random.up_to(6) {
            0 => Self::Cut,
            1 => Self::Reset,
            2 => Self::Delay(Duration::from_millis(50 + random.up_to(DRAWN_DELAY_MS_MAX) as u64)),
            3 => Self::Trickle(50 + random.up_to(DRAWN_TRICKLE_MAX)),
            4 => Self::Corrupt,
            5 => Self::HalfOpen(match random.up_to(2) {
                0 => Way::Up,
                1 => Way::Down,
                _ => Way::Both,
            }),
            _ => Self::Refuse,
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let allowed = "cut, reset, delay MS, trickle BYTES, corrupt, half-open [WAY], refuse, \
                           pass";
            format!("got {text}, allowed {allowed}")
        };
        let mut words = text.split_whitespace();
        let (word, value) = (words.next().unwrap_or_default(), words.next());
        let number = || value.and_then(|value| value.parse::<u32>().ok()).ok_or_else(wrong);
        if words.next().is_some() {
            return Err(wrong());
        }
        match (word, value) {
            ("cut", None) => Ok(Self::Cut),
            ("reset", None) => Ok(Self::Reset),
            ("delay", _) => Ok(Self::Delay(Duration::from_millis(u64::from(number()?)))),
            ("trickle", _) => Ok(Self::Trickle(number()?.max(1))),
            ("corrupt", None) => Ok(Self::Corrupt),
            ("half-open", None | Some("both")) => Ok(Self::HalfOpen(Way::Both)),
            ("half-open", Some("up")) => Ok(Self::HalfOpen(Way::Up)),
            ("half-open", Some("down")) => Ok(Self::HalfOpen(Way::Down)),
            ("refuse", None) => Ok(Self::Refuse),
            ("pass", None) => Ok(Self::Pass),
            _ => Err(wrong()),
        }
    }
}

/// A fault with its time since the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    at: Duration,
    fault: Fault,
}

impl FromStr for Planned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("got {text}, allowed a time and a fault such as \"5 reset\"");
        let (at, fault) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let at = super::seconds(at.parse().map_err(|_| wrong())?);
        Ok(Self { at, fault: fault.parse()? })
    }
}

/// The injector's counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections accepted, open now, and failed to reach the target.
    pub connections: u64,
    pub open: u64,
    pub unreachable: u64,
    /// Bytes that were carried.
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Connections that were closed by FIN and by RST as a fault.
    pub cut: u64,
    pub reset: u64,
    /// Flipped bits.
    pub corrupted: u64,
    /// Faults by name.
    pub faults: BTreeMap<String, u64>,
}

/// Commands of the injector's thread.
enum Command {
    Fault(Fault),
    Counts(std::sync::mpsc::Sender<Counts>),
    Stop,
}

/// Handle of a running injector; dropping it stops the injector.
pub struct Faults {
    /// Where it listens.
    pub address: SocketAddr,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<Counts>>>,
}

impl Faults {
    /// Starts an injector on its own thread and returns once it listens.
    ///
    /// # Errors
    ///
    /// The address is in use, or the thread cannot be started.
    pub fn start(listen: SocketAddr, to: SocketAddr, seed: u64) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (started, start) = std::sync::mpsc::channel();
        let thread =
            std::thread::Builder::new().name("lab-faults".to_owned()).spawn(move || {
                let up = super::local_runtime().and_then(|runtime| {
                    let guard = runtime.enter();
                    let listener = net::listen(listen)?;
                    let address = listener.local_addr()?;
                    drop(guard);
                    Ok((runtime, listener, address))
                });
                match up {
                    Ok((runtime, listener, address)) => {
                        let _ = started.send(Ok(address));
                        runtime.block_on(wire::run(listener, address, to, seed, receiver))
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        Counts::default()
                    }
                }
            })?;
        let address = start.recv().map_err(io::Error::other)??;
        Ok(Self { address, commands, thread: Mutex::new(Some(thread)) })
    }

    fn tell(&self, command: Command) {
        // A stopped injector needs no command.
        let _ = self.commands.blocking_send(command);
    }

    /// Applies a fault to the connections.
    pub fn inject(&self, fault: Fault) {
        self.tell(Command::Fault(fault));
    }

    /// Returns the counts so far; every earlier fault has taken effect.
    pub fn counts(&self) -> Counts {
        let (answer, counts) = std::sync::mpsc::channel();
        self.tell(Command::Counts(answer));
        counts.recv().unwrap_or_default()
    }

    /// Ends all connections; the first call returns the last counts.
    pub fn stop(&self) -> Option<Counts> {
        let thread = self.thread.lock().ok()?.take()?;
        self.tell(Command::Stop);
        thread.join().ok()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs `lab faults`.
///
/// # Errors
///
/// The injector cannot start.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    super::raise_file_limit();
    let faults = Arc::new(Faults::start(args.listen, args.to, args.seed)?);
    super::say(&format!("listening {}", faults.address));
    let mut ending = super::Ending::new()?;
    if args.control {
        let (faults, told) = (faults.clone(), ending.told.clone());
        std::thread::spawn(move || control(&faults, &told));
    }
    follow(args, &faults, &mut ending);
    let counts = faults.stop().unwrap_or_default();
    super::say(&serde_json::to_string(&counts).map_err(io::Error::other)?);
    Ok(ExitCode::SUCCESS)
}

/// Injects the faults of the flags, until the end.
fn follow(args: &Args, faults: &Faults, ending: &mut super::Ending) {
    let start = clock::now();
    let end = args.run_for.map(super::seconds);
    let mut wait_until = |at: Option<Duration>| {
        let until = [at, end].into_iter().flatten().min();
        let is_over = ending.wait(until.map(|until| until.saturating_sub(start.elapsed())));
        is_over || (until == end && end.is_some())
    };
    if let Some(every) = args.every.map(super::seconds) {
        let mut random = Random::new(args.seed);
        let mut at = every;
        while !wait_until(Some(at)) {
            let fault = Fault::draw(&mut random);
            faults.inject(fault);
            if wait_until(Some(at + every / 3)) {
                return;
            }
            faults.inject(Fault::Pass);
            at += every;
        }
        return;
    }
    let mut plan = args.at.clone();
    plan.sort_by_key(|planned| planned.at);
    for planned in plan {
        if wait_until(Some(planned.at)) {
            return;
        }
        faults.inject(planned.fault);
    }
    wait_until(None);
}

/// Executes the lines of standard input and stops at its end; reports an invalid command.
fn control(faults: &Faults, told: &Notify) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.trim() {
            "counts" => super::say(&serde_json::to_string(&faults.counts()).unwrap_or_default()),
            "stop" => break,
            "" => {}
            text => match text.parse() {
                Ok(fault) => faults.inject(fault),
                Err(error) => super::say(&error),
            },
        }
    }
    told.notify_one();
}

#[cfg(test)]
mod tests;
