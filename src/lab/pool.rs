//! A Stratum V1 pool for rehearsals, tests and benches.
//!
//! It generates plausible jobs (changing coinbase, 0 to 14 branches, new blocks), sends each
//! connection a difficulty, judges every share itself and counts refusals by reason. It pays
//! nobody, knows no chain, and is not hardened against attacks: use it only for tests.
//!
//! As the bench's *bare pool* it also measures one thread that serves thousands of direct miners
//! without a gateway; see [`net`](crate::lab::net).

pub mod jobs;
pub mod ledger;
pub mod tls;

mod driver;
mod server;
mod session;

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::{Notify, mpsc};

use crate::lab::{self, clock, net};
use jobs::Branches;
use ledger::Ledger;
use server::Server;
use tls::Identity;

/// Capacity of the command queue of the pool's thread; a sender waits when it is full.
const COMMANDS_MAX: usize = 16;

/// `lab pool`: runs a pool until SIGTERM, SIGINT or `--for`, then prints its ledger as JSON.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen at; with port 0 the system chooses. The first line printed is
    /// `listening ADDR`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    listen: SocketAddr,
    /// Speak TLS, with a self-made certificate.
    #[arg(long)]
    tls: bool,
    /// Write the certificate of the CA to trust, as PEM.
    #[arg(long, value_name = "FILE")]
    cert_out: Option<PathBuf>,
    /// Keep the TLS key and certificates in this file; create it if it is missing.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Difficulty of every connection; fractions are allowed.
    #[arg(long, value_name = "D", default_value_t = 1.0)]
    difficulty: f64,
    /// Move each connection's difficulty towards this many shares a minute.
    #[arg(long, value_name = "N")]
    shares_per_min: Option<f64>,
    /// Bytes of extranonce1, 1 to 16.
    #[arg(long, value_name = "N", default_value_t = 4)]
    extranonce1_size: usize,
    /// Bytes of extranonce2, 2 to 8 (more only to test a gateway's refusal).
    #[arg(long, value_name = "N", default_value_t = 8)]
    extranonce2_size: usize,
    /// Merkle branches of a job: 0 to 14, or `random` for another count each time.
    #[arg(long, value_name = "N", default_value = "12")]
    branches: Branches,
    /// Seconds between jobs.
    #[arg(long, value_name = "SECS", default_value_t = 30.0)]
    job_every: f64,
    /// Seconds between new blocks of the network; without it the previous block stays.
    #[arg(long, value_name = "SECS")]
    block_every: Option<f64>,
    /// Version bits that miners may roll, in hex; 0 refuses version rolling.
    #[arg(long, value_name = "HEX", default_value = "1fffe000", value_parser = parse_hex)]
    version_mask: u32,
    /// Length of the coinbase transaction, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 250)]
    coinbase_bytes: usize,
    /// The network's target, as in a block header.
    #[arg(long, value_name = "HEX", default_value = "1d00ffff", value_parser = parse_hex)]
    nbits: u32,
    /// Give a returning session its extranonce1 again.
    #[arg(long)]
    resume: bool,
    /// Stop after this many seconds.
    #[arg(long = "for", value_name = "SECS")]
    run_for: Option<f64>,
    /// Serve the ledger as JSON over HTTP at this address; prints `status ADDR`.
    #[arg(long, value_name = "ADDR")]
    status: Option<SocketAddr>,
    /// Write the final ledger to this file as well.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the ledger to this file at every step, and continue from it after a kill.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Obey lines on standard input, and stop when it ends: job, block, difficulty D, extranonce,
    /// reconnect, cut, down, up [N2], ledger, stop.
    #[arg(long)]
    control: bool,
    /// Seed of the pool's random choices; by default the time of day.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn parse_hex(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 16).map_err(|_| format!("got {text}, allowed 0 to 8 hex digits"))
}

/// The options of a pool.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// Speak TLS; with a new identity if [`identity`](Self::identity) is `None`.
    pub tls: bool,
    pub identity: Option<PathBuf>,
    pub difficulty: f64,
    pub shares_per_min: Option<f64>,
    /// Bytes.
    pub extranonce1_size: usize,
    /// Bytes.
    pub extranonce2_size: usize,
    pub branches: Branches,
    pub job_every: Duration,
    pub block_every: Option<Duration>,
    pub version_mask: u32,
    pub coinbase_bytes: usize,
    pub nbits: u32,
    pub resume: bool,
    pub status: Option<SocketAddr>,
    pub ledger: Option<PathBuf>,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: false,
            identity: None,
            difficulty: 1.0,
            shares_per_min: None,
            extranonce1_size: 4,
            extranonce2_size: 8,
            branches: Branches::Exactly(12),
            job_every: Duration::from_secs(30),
            block_every: None,
            version_mask: 0x1fff_e000,
            coinbase_bytes: 250,
            nbits: 0x1d00_ffff,
            resume: false,
            status: None,
            ledger: None,
            seed: 1,
        }
    }
}

/// The changed options of a pool after [`PoolHandle::up`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    pub extranonce1_size: Option<usize>,
    pub extranonce2_size: Option<usize>,
    pub version_mask: Option<u32>,
}

/// Commands of the pool's thread.
enum Command {
    Job,
    Block,
    Ask(f64),
    ChangeExtranonce,
    Reconnect,
    CutAll,
    Down,
    Up(Change),
    Ledger(std::sync::mpsc::Sender<Ledger>),
    Stop,
}

/// A pool that runs on its own thread.
pub struct Pool;

/// Handle of a running pool; dropping it stops the pool.
pub struct PoolHandle {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Address of its ledger over HTTP.
    pub status: Option<SocketAddr>,
    /// Its TLS identity.
    pub identity: Option<Identity>,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<Ledger>>>,
}

impl Pool {
    /// Starts a pool and returns once it listens.
    ///
    /// # Errors
    ///
    /// The address is in use, a file cannot be used, or an option is out of range.
    pub fn start(options: Options) -> io::Result<PoolHandle> {
        check(&options)?;
        let identity = match (&options.identity, options.tls) {
            (_, false) => None,
            (Some(path), true) => Some(Identity::load_or_make(path)?),
            (None, true) => Some(Identity::make()?),
        };
        let tls = identity.as_ref().map(Identity::server_config).transpose()?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("lab-pool".to_owned()).spawn(move || {
            let up = set_up(options);
            let (server, listener, status, runtime) = match up {
                Ok(up) => up,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ledger::default();
                }
            };
            let addresses = listener.local_addr().and_then(|addr| {
                Ok((addr, status.as_ref().map(|it| it.local_addr()).transpose()?))
            });
            let _ = started.send(addresses);
            driver::run(server, listener, status, tls, receiver, &runtime)
        })?;
        let (addr, status) = start.recv().map_err(io::Error::other)??;
        Ok(PoolHandle { addr, status, identity, commands, thread: Mutex::new(Some(thread)) })
    }
}

type Up = (Server, tokio::net::TcpListener, Option<tokio::net::TcpListener>, LocalRuntime);

fn set_up(options: Options) -> io::Result<Up> {
    let runtime = lab::local_runtime()?;
    let guard = runtime.enter();
    let listener = net::listen(options.listen)?;
    let status = options.status.map(net::listen).transpose()?;
    drop(guard);
    Ok((Server::new(options)?, listener, status, runtime))
}

fn check(options: &Options) -> io::Result<()> {
    let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    let Options { extranonce1_size, extranonce2_size, coinbase_bytes, .. } = *options;
    if !(1..=16).contains(&extranonce1_size) {
        return wrong(format!("extranonce1-size: got {extranonce1_size}, allowed 1..16"));
    }
    if !(1..=16).contains(&extranonce2_size) {
        return wrong(format!("extranonce2-size: got {extranonce2_size}, allowed 1..16"));
    }
    if !(100..=16_384).contains(&coinbase_bytes) {
        return wrong(format!("coinbase-bytes: got {coinbase_bytes}, allowed 100..16384"));
    }
    Ok(())
}

impl PoolHandle {
    fn tell(&self, command: Command) {
        // A stopped pool needs no command.
        let _ = self.commands.blocking_send(command);
    }

    /// Returns the current ledger.
    pub fn ledger(&self) -> Ledger {
        let (answer, ledger) = std::sync::mpsc::channel();
        self.tell(Command::Ledger(answer));
        ledger.recv().unwrap_or_default()
    }

    /// Sends all connections a new job on the same block.
    pub fn push_job(&self) {
        self.tell(Command::Job);
    }

    /// Sends all connections a clean job on a new block.
    pub fn push_block(&self) {
        self.tell(Command::Block);
    }

    /// Sets another difficulty for all connections, from a new job on.
    pub fn ask(&self, difficulty: f64) {
        self.tell(Command::Ask(difficulty));
    }

    /// Changes the extranonce1 of every connection that supports it.
    pub fn change_extranonce(&self) {
        self.tell(Command::ChangeExtranonce);
    }

    /// Sends `client.reconnect` to all connections.
    pub fn ask_to_reconnect(&self) {
        self.tell(Command::Reconnect);
    }

    /// Cuts every connection and goes on listening.
    pub fn cut_all(&self) {
        self.tell(Command::CutAll);
    }

    /// Cuts every connection and stops listening.
    pub fn down(&self) {
        self.tell(Command::Down);
    }

    /// Listens at the same address again, like another pool.
    pub fn up(&self, change: Change) {
        self.tell(Command::Up(change));
    }

    /// Stops the pool; the first call returns its last ledger.
    pub fn stop(&self) -> Option<Ledger> {
        let thread = self.thread.lock().ok()?.take()?;
        self.tell(Command::Stop);
        thread.join().ok()
    }
}

impl Drop for PoolHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Args {
    fn options(&self) -> Options {
        Options {
            listen: self.listen,
            tls: self.tls,
            identity: self.identity.clone(),
            difficulty: self.difficulty,
            shares_per_min: self.shares_per_min,
            extranonce1_size: self.extranonce1_size,
            extranonce2_size: self.extranonce2_size,
            branches: self.branches,
            job_every: lab::seconds(self.job_every),
            block_every: self.block_every.map(lab::seconds),
            version_mask: self.version_mask,
            coinbase_bytes: self.coinbase_bytes,
            nbits: self.nbits,
            resume: self.resume,
            status: self.status,
            ledger: self.ledger.clone(),
            seed: self.seed.unwrap_or_else(clock::epoch_micros),
        }
    }
}

/// Runs `lab pool`.
///
/// # Errors
///
/// The pool cannot start, or the report cannot be written.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    lab::raise_file_limit();
    let pool = Arc::new(Pool::start(args.options())?);
    // The certificate is written before the address is printed.
    if let (Some(identity), Some(path)) = (&pool.identity, &args.cert_out) {
        std::fs::write(path, identity.ca_pem())?;
    }
    lab::say(&format!("listening {}", pool.addr));
    if let Some(status) = pool.status {
        lab::say(&format!("status {status}"));
    }
    if let Some(identity) = &pool.identity {
        lab::say(&format!("pin sha256 {}", identity.pin()?));
    }
    let mut ending = lab::Ending::new()?;
    if args.control {
        let (pool, told) = (pool.clone(), ending.told.clone());
        std::thread::spawn(move || control(&pool, &told));
    }
    ending.wait(args.run_for.map(lab::seconds));
    let ledger = pool.stop().unwrap_or_default();
    let text = serde_json::to_string(&ledger).map_err(io::Error::other)?;
    lab::say(&text);
    if let Some(path) = &args.report {
        std::fs::write(path, text + "\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Executes the lines of standard input and stops at its end; reports an invalid command.
fn control(pool: &PoolHandle, told: &Notify) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let mut words = line.split_whitespace();
        let (word, value) = (words.next().unwrap_or_default(), words.next());
        let number = value.and_then(|value| value.parse::<f64>().ok());
        match (word, number) {
            ("job", _) => pool.push_job(),
            ("block", _) => pool.push_block(),
            ("difficulty", Some(difficulty)) => pool.ask(difficulty),
            ("extranonce", _) => pool.change_extranonce(),
            ("reconnect", _) => pool.ask_to_reconnect(),
            ("cut", _) => pool.cut_all(),
            ("down", _) => pool.down(),
            ("up", size) => {
                let extranonce2_size = size.map(|size| (size as usize).clamp(1, 16));
                pool.up(Change { extranonce2_size, ..Change::default() });
            }
            ("ledger", _) => {
                lab::say(&serde_json::to_string(&pool.ledger()).unwrap_or_default());
            }
            ("stop", _) => break,
            ("", _) => {}
            _ => lab::say(&format!("unknown command {line:?}")),
        }
    }
    told.notify_one();
}

#[cfg(test)]
mod tests;
