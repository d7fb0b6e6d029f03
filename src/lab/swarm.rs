//! A swarm of simulated ASICs in one process: thousands of connections on one thread, a hashing
//! budget that they share, and a count of everything that they were told.
//!
//! The shares are real: every one is found by hashing, at difficulties so small that a CPU finds
//! many. Where the difficulty is so small that every hash is a share (below 2^-32), a load test
//! spends no time on hashing here while the server's check of each share stays what it is.

pub mod report;
pub mod search;

mod miner;

use std::cell::RefCell;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loka_stratum::work::difficulty::Difficulty;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;

use crate::lab::histogram::Histogram;
use crate::lab::net::{End, Key, Port, Quit, Scratch, Stream, Table, Traffic, carry};
use crate::lab::personality::Cast;
use crate::lab::random::Random;
use crate::lab::{self, clock};
use miner::{Bench, Leave, Miner, Names};
use report::{Latency, Report, count};
use search::JobShelf;

/// Most miners of one process.
const MINERS_MAX: usize = 20_000;
/// Commands that wait for the swarm's thread; a sender waits when they are more.
const COMMANDS_MAX: usize = 16;
/// How often work is dealt out.
const TICK: Duration = Duration::from_millis(1);
/// The longest that hashing keeps the thread from its sockets.
const HASHING_MAX: Duration = Duration::from_millis(4);
/// Nonces of the slowest miner before it is the next one's turn.
const SLICE: u32 = 64;
/// Nonces that a load test spends on one share at most.
const LOAD_NONCES_MAX: u32 = 1 << 14;
/// How long answers are awaited before a report.
const ANSWERS_MAX: Duration = Duration::from_secs(10);
/// Pause before a miner connects again, and the random part on top.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_JITTER_MS: u32 = 1_000;

/// What the miners do once they have a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Nothing: they listen.
    Idle,
    /// They hash, all together this many times a second.
    Hash { per_sec: f64 },
    /// They submit shares, all together this many a second, whatever the answers do.
    Paced { per_sec: f64 },
    /// Each submits this many shares in one write, and as many again once all are answered.
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

/// `lab swarm`: runs simulated ASICs until SIGTERM, SIGINT or `--for`, then prints what they
/// were told as JSON.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway or pool to connect to.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    connect: SocketAddr,
    /// How many ASICs.
    #[arg(long, value_name = "N", default_value_t = 100)]
    miners: usize,
    /// `mixed`, or the one firmware that all have.
    #[arg(long, value_name = "NAME", default_value = "mixed")]
    personality: Cast,
    /// Hashes per second of all ASICs together.
    #[arg(long, value_name = "H", default_value_t = 1e6, conflicts_with = "rate")]
    hash_rate: f64,
    /// Submit this many shares per second instead, evenly over all ASICs.
    #[arg(long, value_name = "SHARES")]
    rate: Option<f64>,
    /// What to do: `idle`, `hash:RATE`, `paced:RATE` or `closed:COUNT`; in place of the rates.
    #[arg(long, value_name = "WORK")]
    work: Option<Work>,
    /// ASICs that connect at the same time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    at_once: usize,
    /// Loopback addresses that they come from: 127.0.0.1 and the following.
    #[arg(long, value_name = "N", default_value_t = 1)]
    sources: u32,
    /// Worker names are this, a dot, and a number.
    #[arg(long, value_name = "NAME", default_value = "farm")]
    worker: String,
    /// Password of every worker.
    #[arg(long, value_name = "WORD", default_value = "x")]
    password: String,
    /// Difficulty that those firmwares suggest which suggest one.
    #[arg(long, value_name = "D", default_value_t = 0.001)]
    suggest: f64,
    /// Stay away once disconnected.
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
    /// Seed of all that the swarm draws.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What a swarm is like.
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

/// What the swarm's thread can be told.
enum Command {
    Work(Work),
    Report(std::sync::mpsc::Sender<Report>),
    Reset,
    Stop,
}

/// A swarm that runs on a thread of its own.
pub struct Swarm;

/// The way to a running swarm; dropping it stops the swarm.
pub struct SwarmHandle {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<Report>>>,
}

impl Swarm {
    /// Starts a swarm; its miners connect from then on.
    ///
    /// # Errors
    ///
    /// An option is out of range, or the thread cannot be had.
    pub fn start(options: Options) -> io::Result<SwarmHandle> {
        if !(1..=MINERS_MAX).contains(&options.miners) {
            let text = format!("miners: got {}, allowed 1..{MINERS_MAX}", options.miners);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let thread = std::thread::Builder::new().name("lab-swarm".to_owned()).spawn(move || {
            let herd = Rc::new(RefCell::new(Herd::new(options)));
            if let Ok(runtime) = lab::local_runtime() {
                runtime.block_on(obey(herd.clone(), receiver));
            }
            herd.borrow().report()
        })?;
        Ok(SwarmHandle { commands, thread: Mutex::new(Some(thread)) })
    }
}

impl SwarmHandle {
    fn tell(&self, command: Command) {
        // A swarm that is gone has nothing left to be told.
        let _ = self.commands.blocking_send(command);
    }

    /// Gives the miners something else to do.
    pub fn work(&self, work: Work) {
        self.tell(Command::Work(work));
    }

    /// Returns the counts as of now.
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

    /// Forgets the latencies and the jobs seen so far.
    pub fn reset(&self) {
        self.tell(Command::Reset);
    }

    /// Disconnects all and returns the last report, the first time that it is called.
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

/// One place for a miner, switched on once and connected again and again.
struct Stall {
    miner: Miner,
    generation: u32,
    port: Option<Port>,
    connected_at: Instant,
    /// Held while the miner is one of those that connect at once.
    permit: Option<OwnedSemaphorePermit>,
    was_ready: bool,
    disconnects: u64,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    leave: Option<Leave>,
}

/// Everything that the connections of the swarm share.
struct Herd {
    options: Options,
    stalls: Vec<Stall>,
    report: Report,
    shelf: JobShelf,
    latency: Histogram,
    ready_after: Histogram,
    random: Random,
    names: Names,
    work: Work,
    /// Nonces or submits that are due, and the miner whose turn it is.
    due: f64,
    turn: usize,
    started: Option<Instant>,
    ready: usize,
    stopping: bool,
    line: Vec<u8>,
}

impl Herd {
    fn new(options: Options) -> Self {
        let stalls = (0..options.miners).map(|index| Stall {
            miner: Miner::new(options.cast.of(index), format!("{}.{index}", options.worker)),
            generation: 0,
            port: None,
            connected_at: clock::now(),
            permit: None,
            was_ready: false,
            disconnects: 0,
            submitted: 0,
            accepted: 0,
            rejected: 0,
            leave: None,
        });
        let suggest = Difficulty::new(options.suggest).unwrap_or(Difficulty::ONE);
        let names = Names {
            password: options.password.clone(),
            host: options.connect.to_string(),
            suggest: suggest.as_f64().to_string(),
            target: suggest.to_target().to_string(),
        };
        Self {
            stalls: stalls.collect(),
            report: Report { miners: options.miners as u64, ..Report::default() },
            shelf: JobShelf::default(),
            latency: Histogram::default(),
            ready_after: Histogram::default(),
            random: Random::new(options.seed),
            names,
            work: options.work,
            due: 0.0,
            turn: 0,
            started: None,
            ready: 0,
            stopping: false,
            line: Vec::new(),
            options,
        }
    }

    fn report(&self) -> Report {
        let mut report = self.report.clone();
        report.ready = self.ready as u64;
        report.latency = latency(&self.latency);
        report.ready_after = latency(&self.ready_after);
        report.jobs_seen = self.shelf.seen();
        for stall in &self.stalls {
            let name = stall.miner.personality.name.to_owned();
            let entry = report.by_personality.entry(name).or_default();
            entry.miners += 1;
            entry.submitted += stall.submitted;
            entry.accepted += stall.accepted;
            entry.rejected += stall.rejected;
            entry.disconnects += stall.disconnects;
        }
        report
    }

    fn reset(&mut self) {
        self.latency = Histogram::default();
        self.shelf = JobShelf::default();
    }

    /// Begins the handshake of a miner that has just been connected.
    fn connect(
        &mut self,
        index: usize,
        port: Port,
        permit: OwnedSemaphorePermit,
        at: Instant,
    ) -> Key {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        self.report.connected += 1;
        let (stall, mut bench) = self.bench(index);
        stall.generation = stall.generation.wrapping_add(1);
        stall.connected_at = at;
        stall.permit = Some(permit);
        stall.leave = None;
        stall.port = Some(port);
        stall.miner.connect(&mut bench, &mut line);
        let key = Key { index, generation: stall.generation };
        self.send(index, &line);
        self.line = line;
        key
    }

    fn disconnect(&mut self, key: Key, end: End) {
        let stall = &mut self.stalls[key.index];
        if stall.miner.is_ready() {
            self.ready -= 1;
        }
        stall.port = None;
        stall.permit = None;
        stall.miner.disconnect(&mut self.report);
        self.report.connected -= 1;
        if self.stopping {
            return;
        }
        stall.disconnects += 1;
        let cause = match (stall.leave, end) {
            (Some(leave), _) => leave.name(),
            (None, End::Closed) => "closed by the server",
            (None, End::Failed) => "connection failed",
            (None, End::LineTooLong) => "line too long",
            (None, End::Cut | End::Quit) => "not reading",
        };
        count(&mut self.report.disconnects, cause);
    }

    /// Borrows one miner beside what it shares with the others.
    fn bench(&mut self, index: usize) -> (&mut Stall, Bench<'_>) {
        let Self { stalls, report, shelf, latency, random, names, .. } = self;
        (&mut stalls[index], Bench { report, shelf, latency, random, names })
    }

    /// Sends lines outside the handling of a line of the server.
    fn send(&mut self, index: usize, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let traffic = &mut self.report.traffic;
        traffic.bytes_out += lines.len() as u64;
        traffic.lines_out += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(port) = &mut self.stalls[index].port {
            port.send(lines);
        }
    }

    fn set_work(&mut self, work: Work) {
        self.work = work;
        self.due = 0.0;
        if let Work::Closed { at_a_time } = work {
            for index in 0..self.stalls.len() {
                self.submit_batch(index, at_a_time);
            }
        }
    }

    /// Sends the next batch of a miner whose submits are all answered.
    fn submit_batch(&mut self, index: usize, at_a_time: u32) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        self.next_batch(index, at_a_time, &mut line);
        self.send(index, &line);
        self.line = line;
    }

    fn next_batch(&mut self, index: usize, at_a_time: u32, out: &mut Vec<u8>) {
        let stall = &mut self.stalls[index];
        if stall.miner.pending_submits > 0 {
            return;
        }
        for _ in 0..at_a_time {
            let mut nonces = LOAD_NONCES_MAX;
            if stall.miner.hash(&mut nonces, &mut self.report, out) {
                stall.submitted += 1;
            }
        }
    }

    /// Deals out the work that has become due in `elapsed`.
    fn tick(&mut self, elapsed: Duration) {
        match self.work {
            Work::Idle => {}
            Work::Closed { at_a_time } => {
                // Miners that came or got their first job since the work was set.
                let index = self.next_turn();
                self.submit_batch(index, at_a_time);
            }
            Work::Hash { per_sec } => {
                let burst = per_sec * HASHING_MAX.as_secs_f64() * 8.0;
                self.due = (self.due + per_sec * elapsed.as_secs_f64()).min(burst);
                self.deal_nonces();
            }
            Work::Paced { per_sec } => {
                let burst = (per_sec * 0.1).max(1.0);
                self.due = (self.due + per_sec * elapsed.as_secs_f64()).min(burst);
                self.deal_submits();
            }
        }
    }

    fn deal_nonces(&mut self) {
        let start = clock::now();
        let mut idle = 0;
        let mut line = std::mem::take(&mut self.line);
        while self.due >= 1.0 && idle < self.stalls.len() {
            let index = self.next_turn();
            let stall = &mut self.stalls[index];
            let slice = SLICE * stall.miner.personality.speed;
            let mut budget = slice;
            line.clear();
            while budget > 0 && stall.miner.hash(&mut budget, &mut self.report, &mut line) {
                stall.submitted += 1;
            }
            idle = if budget == slice { idle + 1 } else { 0 };
            self.due -= f64::from(slice - budget);
            self.send(index, &line);
            if start.elapsed() > HASHING_MAX {
                break;
            }
        }
        self.line = line;
    }

    fn deal_submits(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let mut tries = self.stalls.len();
        while self.due >= 1.0 && tries > 0 {
            tries -= 1;
            let index = self.next_turn();
            let stall = &mut self.stalls[index];
            line.clear();
            let mut nonces = LOAD_NONCES_MAX;
            if stall.miner.hash(&mut nonces, &mut self.report, &mut line) {
                stall.submitted += 1;
                self.due -= 1.0;
                self.send(index, &line);
            }
        }
        self.line = line;
    }

    const fn next_turn(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.stalls.len();
        self.turn
    }

    /// Cuts miners whose server has been silent for too long.
    fn look_at_clock(&mut self) {
        let now = clock::now();
        for stall in &mut self.stalls {
            if let Some(port) = &mut stall.port
                && let Err(leave) = stall.miner.look_at_clock(now)
            {
                stall.leave = Some(leave);
                port.cut();
            }
        }
    }

    fn cut_all(&mut self) {
        for port in self.stalls.iter_mut().filter_map(|stall| stall.port.as_mut()) {
            port.cut();
        }
    }
}

impl Table for Herd {
    fn port(&mut self, key: Key) -> Option<&mut Port> {
        let stall = self.stalls.get_mut(key.index)?;
        stall.port.as_mut().filter(|_| stall.generation == key.generation)
    }

    fn traffic(&mut self) -> &mut Traffic {
        &mut self.report.traffic
    }

    fn handle_line(&mut self, key: Key, line: &[u8], out: &mut Vec<u8>) -> Result<(), Quit> {
        let (accepted, rejected) = (self.report.accepted, self.report.rejected_total());
        let (stall, mut bench) = self.bench(key.index);
        let was_ready = stall.miner.is_ready();
        let answer = stall.miner.handle_line(line, &mut bench, out);
        stall.accepted += bench.report.accepted - accepted;
        stall.rejected += bench.report.rejected_total() - rejected;
        if let Err(leave) = answer {
            stall.leave = Some(leave);
            return Err(Quit);
        }
        if !was_ready && stall.miner.is_ready() {
            stall.permit = None;
            let after = stall.connected_at.elapsed();
            stall.was_ready = true;
            self.ready += 1;
            self.ready_after.record(after);
            if self.ready == self.stalls.len() && self.report.all_ready_ms.is_none() {
                let since = self.started.map_or(Duration::ZERO, |start| start.elapsed());
                self.report.all_ready_ms = Some(since.as_secs_f64() * 1e3);
            }
        }
        if let Work::Closed { at_a_time } = self.work {
            self.next_batch(key.index, at_a_time, out);
        }
        Ok(())
    }
}

fn latency(histogram: &Histogram) -> Latency {
    Latency {
        count: histogram.count(),
        p50_us: histogram.micros_at(0.5),
        p99_us: histogram.micros_at(0.99),
        max_us: histogram.max_micros(),
    }
}

async fn obey(herd: Rc<RefCell<Herd>>, mut commands: mpsc::Receiver<Command>) {
    let scratch = Rc::new(RefCell::new(Scratch::default()));
    let (count, at_once) = {
        let mut herd = herd.borrow_mut();
        herd.started = Some(clock::now());
        (herd.stalls.len(), herd.options.at_once.max(1))
    };
    let permits = Arc::new(Semaphore::new(at_once));
    for index in 0..count {
        spawn_local(live(herd.clone(), scratch.clone(), permits.clone(), index));
    }
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = clock::now();
    let mut looked = last;
    loop {
        let command = tokio::select! {
            command = commands.recv() => command.unwrap_or(Command::Stop),
            _ = ticks.tick() => {
                let mut herd = herd.borrow_mut();
                let now = clock::now();
                herd.tick(now.duration_since(last));
                last = now;
                if now.duration_since(looked) > Duration::from_secs(1) {
                    looked = now;
                    herd.look_at_clock();
                }
                continue;
            }
        };
        let mut herd = herd.borrow_mut();
        match command {
            Command::Work(work) => herd.set_work(work),
            Command::Report(answer) => {
                let _ = answer.send(herd.report());
            }
            Command::Reset => herd.reset(),
            Command::Stop => {
                herd.stopping = true;
                herd.cut_all();
                return;
            }
        }
    }
}

/// Connects one miner again and again.
async fn live(
    herd: Rc<RefCell<Herd>>,
    scratch: Rc<RefCell<Scratch>>,
    permits: Arc<Semaphore>,
    index: usize,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (connect, source) = {
            let herd = herd.borrow();
            (herd.options.connect, source(&herd.options, index))
        };
        let start = clock::now();
        match dial(connect, source).await {
            Ok(socket) => {
                herd.borrow_mut().report.connects += 1;
                let (stream, port) = Stream::tcp(socket);
                let key = herd.borrow_mut().connect(index, port, permit, start);
                let end = carry(&herd, &scratch, key, stream).await;
                herd.borrow_mut().disconnect(key, end);
            }
            Err(_) => {
                drop(permit);
                herd.borrow_mut().report.connect_failures += 1;
            }
        }
        let pause = {
            let mut herd = herd.borrow_mut();
            if herd.stopping || !herd.options.reconnect {
                return;
            }
            BACK_OFF + Duration::from_millis(u64::from(herd.random.up_to(BACK_OFF_JITTER_MS)))
        };
        tokio::time::sleep(pause).await;
    }
}

/// Returns the address that a miner comes from, where they have several.
fn source(options: &Options, index: usize) -> Option<SocketAddr> {
    if options.sources <= 1 || !options.connect.ip().is_loopback() || !options.connect.is_ipv4() {
        return None;
    }
    let offset = (index as u32) % options.sources;
    let address = u32::from(Ipv4Addr::LOCALHOST) + offset;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), 0))
}

async fn dial(connect: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if connect.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(source)?;
    }
    let socket = socket.connect(connect).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
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

/// Obeys the lines of standard input and stops with it; what is no command is said so.
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
