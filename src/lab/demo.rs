//! Demo on one machine: pool, gateway and 200 simulated ASICs, with a live view. At the end it
//! compares the books of all three.
//!
//! Pool and gateway are separate processes, joined by real TLS with a fresh certificate. The pool
//! may be killed at any time. It restarts two seconds later with another extranonce1 and another
//! size of extranonce2, and the miners must not notice.

mod view;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::books::{Books, Rows};
use super::pool::ledger::Ledger;
use super::rig::{Gateway, GatewayOptions, Part, Scratch, number};
use super::swarm::report::Report;
use super::swarm::{Options as SwarmOptions, Swarm, SwarmHandle, Work};
use super::{Ending, clock, say, seconds};
use view::{Snapshot, View};

/// How long a killed pool stays away.
const POOL_AWAY: Duration = Duration::from_secs(2);
/// Interval of the redrawn view, and of the line per interval.
const REDRAW: Duration = Duration::from_millis(500);
const PRINT: Duration = Duration::from_secs(1);
/// How long open shares may take to settle at the end. A share of a lost link is held for 30 s, and
/// an answer may take as long.
const QUIET_MAX: Duration = Duration::from_secs(65);
/// Sizes of extranonce2 that the pool has in turn.
const EXTRANONCE2_SIZES: [usize; 2] = [8, 6];
/// Time between two shares of one ASIC, on average.
const SECONDS_PER_SHARE: u32 = 3;

/// `demo`: a pool, the gateway and a swarm on this machine, until Ctrl-C or `--for`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many simulated ASICs.
    #[arg(long, value_name = "N", default_value_t = 200)]
    miners: usize,
    /// Hashes per second of all ASICs together; real ones, on this CPU.
    #[arg(long, value_name = "H", default_value_t = 1e6)]
    hash_rate: f64,
    /// Stop after this long, such as 30s or 2m.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    run_for: Option<Duration>,
    /// Kill the pool after this long; it comes back by itself.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    kill_pool: Option<Duration>,
    /// Print a line a second instead of redrawing.
    #[arg(long)]
    plain: bool,
    /// Write the gateway's log to this file.
    #[arg(long, value_name = "FILE")]
    log: Option<std::path::PathBuf>,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("got {text}, allowed a duration such as 500ms, 30s or 2m");
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    match &text[digits.len()..] {
        "ms" => Ok(seconds(number / 1e3)),
        "s" | "" => Ok(seconds(number)),
        "m" => Ok(seconds(number * 60.0)),
        "h" => Ok(seconds(number * 3_600.0)),
        _ => Err(wrong()),
    }
}

/// The pool's process, with the arguments of its restart.
struct PoolKeeper {
    scratch: Scratch,
    part: Part,
    address: SocketAddr,
    /// When its death was noticed.
    died: Option<Instant>,
    /// Its last known ledger.
    ledger: Ledger,
    difficulty: f64,
    starts: usize,
}

impl PoolKeeper {
    fn start(difficulty: f64) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let args = pool_args(&scratch, listen, difficulty, EXTRANONCE2_SIZES[0]);
        let (part, address) = Part::listening("pool", &args)?;
        let ledger = Ledger::default();
        Ok(Self { scratch, part, address, died: None, ledger, difficulty, starts: 1 })
    }

    /// Restarts a dead pool on the same address, after its time away.
    fn look_after(&mut self) -> io::Result<()> {
        match self.died {
            None if self.part.is_alive() => {}
            None => self.died = Some(clock::now()),
            Some(died) if died.elapsed() < POOL_AWAY => {}
            Some(_) => {
                let size = EXTRANONCE2_SIZES[self.starts % EXTRANONCE2_SIZES.len()];
                let args = pool_args(&self.scratch, self.address, self.difficulty, size);
                self.part = Part::listening("pool", &args)?.0;
                self.starts += 1;
                self.died = None;
            }
        }
        Ok(())
    }

    /// Returns the pool's ledger from its file, which outlives the process.
    fn ledger(&mut self) -> &Ledger {
        // A read during a write is not JSON; the last valid ledger replaces it.
        if let Ok(text) = std::fs::read(self.scratch.file("ledger.json"))
            && let Ok(ledger) = serde_json::from_slice(&text)
        {
            self.ledger = ledger;
        }
        &self.ledger
    }
}

fn pool_args(scratch: &Scratch, listen: SocketAddr, difficulty: f64, size: usize) -> Vec<String> {
    let file = |name: &str| scratch.file(name).display().to_string();
    let words = [
        ("--listen", listen.to_string()),
        ("--identity", file("identity.pem")),
        ("--cert-out", file("ca.pem")),
        ("--ledger", file("ledger.json")),
        ("--difficulty", difficulty.to_string()),
        ("--extranonce2-size", size.to_string()),
        ("--branches", "random".to_owned()),
        ("--job-every", "5".to_owned()),
        ("--block-every", "20".to_owned()),
    ];
    let mut args = vec!["--control".to_owned(), "--tls".to_owned()];
    args.extend(words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    args
}

/// Runs the demo.
///
/// # Errors
///
/// A process cannot be started.
pub fn run(args: &Args) -> io::Result<ExitCode> {
    super::raise_file_limit();
    let mut ending = Ending::new()?;
    // The farm finds a share for the pool every second or so, whatever its hash-rate.
    let hashes_per_difficulty = 2f64.powi(32);
    let upstream = power_of_two(args.hash_rate / hashes_per_difficulty);
    let per_miner = args.hash_rate / args.miners.max(1) as f64;
    let start = power_of_two(per_miner * f64::from(SECONDS_PER_SHARE) / hashes_per_difficulty);
    let mut pool = PoolKeeper::start(upstream)?;
    let gateway = Gateway::start(&GatewayOptions {
        pools: vec![pool.address],
        ca_file: Some(pool.scratch.file("ca.pem")),
        miners_max: (args.miners + args.miners / 4).clamp(16, 16_384),
        difficulty: [start, start / 64.0, start * 64.0],
        seconds_per_share: SECONDS_PER_SHARE,
        log: args.log.clone(),
    })?;
    gateway.wait_until_ready()?;
    let swarm = Swarm::start(SwarmOptions {
        miners: args.miners,
        work: Work::Hash { per_sec: args.hash_rate },
        suggest: start,
        ..SwarmOptions::new(gateway.listen)
    })?;
    watch(args, &mut ending, &mut pool, &gateway, &swarm)?;
    let books = settle(&mut ending, &mut pool, &gateway, &swarm)?;
    swarm.stop();
    let ended_well = gateway.stop();
    pool.part.kill();
    let rows = Rows::of(&books);
    say(&rows.to_string());
    if !ended_well {
        say("the gateway did not end by itself after SIGTERM");
    }
    Ok(if rows.agree() && ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn power_of_two(value: f64) -> f64 {
    value.log2().floor().exp2()
}

/// Shows the view until the demo is stopped.
fn watch(
    args: &Args,
    ending: &mut Ending,
    pool: &mut PoolKeeper,
    gateway: &Gateway,
    swarm: &SwarmHandle,
) -> io::Result<()> {
    let start = clock::now();
    let redraws = io::stdout().is_terminal() && !args.plain;
    let mut view = View::new(redraws, args.run_for);
    let mut kill_at = args.kill_pool;
    loop {
        let every = if redraws { REDRAW } else { PRINT };
        let left = args.run_for.map(|limit| limit.saturating_sub(start.elapsed()));
        if left == Some(Duration::ZERO) || ending.wait(Some(left.map_or(every, |it| it.min(every))))
        {
            view.close();
            return Ok(());
        }
        if kill_at.is_some_and(|at| start.elapsed() >= at) {
            kill_at = None;
            pool.part.kill();
        }
        pool.look_after()?;
        let (is_away, pid) = (pool.died.is_some(), pool.part.pid());
        view.show(&Snapshot {
            elapsed: start.elapsed(),
            report: swarm.report(),
            status: gateway.status().unwrap_or(Value::Null),
            ledger: pool.ledger().clone(),
            pool_pid: (!is_away).then_some(pid),
        });
    }
}

/// Stops the hashing, waits until no share is in flight, and reads all three books.
fn settle(
    ending: &mut Ending,
    pool: &mut PoolKeeper,
    gateway: &Gateway,
    swarm: &SwarmHandle,
) -> io::Result<Books> {
    let report: Report = swarm.quiesce();
    let start = clock::now();
    let mut told = false;
    loop {
        pool.look_after()?;
        let status = gateway.status()?;
        let open = number(&status, "/ledger/pending") + number(&status, "/ledger/held");
        if open == 0 || start.elapsed() > QUIET_MAX {
            return Ok(Books { report, status, pool: pool.ledger().clone() });
        }
        if !told && start.elapsed() > Duration::from_secs(2) {
            told = true;
            say(&format!("waiting for {open} shares that the pool has not answered"));
        }
        if ending.wait(Some(Duration::from_millis(50))) {
            return Ok(Books { report, status, pool: pool.ledger().clone() });
        }
    }
}
