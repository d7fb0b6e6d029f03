//! The miners of a swarm and what they share: a table of connections, a budget of work distributed
//! in turns, one report.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loka_stratum::work::difficulty::Difficulty;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::MissedTickBehavior;

use super::miner::{Bench, Leave, Miner, Names};
use super::report::{Latency, Report, count};
use super::search::JobShelf;
use super::{Command, Options, Work};
use crate::lab::clock;
use crate::lab::histogram::Histogram;
use crate::lab::net::{End, Key, Port, Quit, Scratch, Stream, Table, Traffic, carry};
use crate::lab::random::Random;

/// Interval of the distribution of work.
const TICK: Duration = Duration::from_millis(1);
/// The longest time of hashing between two polls of the sockets.
const HASHING_MAX: Duration = Duration::from_millis(4);
/// Nonces of the slowest miner per turn.
const SLICE: u32 = 64;
/// Most nonces per share in a load test.
const LOAD_NONCES_MAX: u32 = 1 << 14;
/// Pause before a miner connects again, and the random part on top.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_JITTER_MS: u32 = 1_000;

/// One miner's slot, switched on once and reconnected as needed.
struct Stall {
    miner: Miner,
    generation: u32,
    port: Option<Port>,
    connected_at: Instant,
    /// Held while the miner is one of the simultaneous connects.
    permit: Option<OwnedSemaphorePermit>,
    was_ready: bool,
    disconnects: u64,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    leave: Option<Leave>,
}

/// The shared state of all connections of the swarm.
pub struct Herd {
    options: Options,
    stalls: Vec<Stall>,
    report: Report,
    shelf: JobShelf,
    latency: Histogram,
    ready_after: Histogram,
    random: Random,
    names: Names,
    work: Work,
    /// The due nonces or submits, and the miner of the current turn.
    due: f64,
    turn: usize,
    started: Option<Instant>,
    ready: usize,
    stopping: bool,
    line: Vec<u8>,
}

impl Herd {
    /// Sets the miners up; none is connected.
    pub fn new(options: Options) -> Self {
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

    /// Returns the current counts.
    pub fn report(&self) -> Report {
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

    /// Sends lines that are no answer to a line of the server.
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

    /// Sends the next batch of a miner without open submits.
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

    /// Distributes the work due after `elapsed`.
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

/// Runs the swarm on the calling thread until it is told to stop.
pub async fn obey(herd: Rc<RefCell<Herd>>, mut commands: mpsc::Receiver<Command>) {
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

/// Connects one miner, and reconnects it after each end.
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

/// Returns a miner's source address, if the swarm has several.
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
