//! The measurements: the started parts, their commands, and the readings.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::machine::Round;
use super::table::{Better, Figure};
use crate::lab::clock;
use crate::lab::pool::ledger::Ledger;
use crate::lab::rig::{Gateway, GatewayOptions, Part, Scratch, cpu_time, memory_kib};
use crate::lab::swarm::report::Report;

/// Miners find a share with every hash.
const MINER_DIFFICULTY: f64 = 1.0 / (1_u64 << 33) as f64;
/// One share in 16,384 is forwarded.
const POOL_DIFFICULTY: f64 = 1.0 / (1_u64 << 18) as f64;
/// One share in 1,024 is forwarded: a pool expects the same rate from 1,024 miners as from one.
const POOL_DIFFICULTY_OF_FARM: f64 = 1.0 / (1_u64 << 22) as f64;
/// Time limit for all miners to be ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Submits per second where latency is measured.
const PACE: u32 = 2_000;
/// Jobs per round whose delivery to the crowd is measured.
const PUSHES: usize = 5;
/// Miners that connect at the same time.
const AT_ONCE: usize = 64;
/// Miners and submits of an hour of a farm: one submit per miner in 3 s, a job in 30 s.
const HOUR_MINERS: usize = 1_000;
const HOUR_SUBMITS: u64 = 1_200_000;
const HOUR_JOBS: u64 = 120;

/// The extent of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub crowd: usize,
    pub is_quick: bool,
}

/// Miners that wait for the answers to a batch of submits before the next batch.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub miners: usize,
    pub at_a_time: u32,
    /// Milliseconds of a round: so short that no miner exceeds the gateway's allowance.
    millis: u64,
    /// Microseconds of CPU time that a submit may cost the gateway.
    reach: f64,
}

/// The loads under which CPU time is measured.
pub const LOADS: [Load; 4] = [
    Load { miners: 100, at_a_time: 1, millis: 1_500, reach: 9.0 },
    Load { miners: 1_000, at_a_time: 1, millis: 3_000, reach: 9.0 },
    Load { miners: 100, at_a_time: 8, millis: 1_500, reach: 5.0 },
    Load { miners: 1_000, at_a_time: 8, millis: 3_000, reach: 5.0 },
];

impl Load {
    /// Returns how long a round lasts.
    pub const fn run_for(self, plan: &Plan) -> Duration {
        Duration::from_millis(if plan.is_quick { self.millis / 3 } else { self.millis })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} miners, {} at a time", self.miners, self.at_a_time)
    }
}

/// The measured server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Gateway,
    BarePool,
}

impl Server {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::BarePool];
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::BarePool => "bare pool",
        })
    }
}

/// A pool, and the gateway before it where that is measured.
struct Site {
    pool: Part,
    gateway: Option<Gateway>,
    /// Where miners connect.
    address: SocketAddr,
    _scratch: Scratch,
}

impl Site {
    fn start(server: Server, miners: usize, pool_difficulty: f64) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let ca_file = scratch.file("ca.pem");
        let mut args: Vec<String> = ["--control", "--listen", "127.0.0.1:0", "--job-every", "3600"]
            .map(str::to_owned)
            .into();
        let difficulty = match server {
            Server::Gateway => {
                args.extend(["--tls".to_owned(), "--cert-out".to_owned()]);
                args.push(ca_file.display().to_string());
                pool_difficulty
            }
            // Its miners get the same difficulty as the gateway's miners.
            Server::BarePool => MINER_DIFFICULTY,
        };
        args.extend(["--difficulty".to_owned(), difficulty.to_string()]);
        let (pool, address) = Part::listening("pool", &args)?;
        if server == Server::BarePool {
            return Ok(Self { pool, gateway: None, address, _scratch: scratch });
        }
        let gateway = Gateway::start(&GatewayOptions {
            pools: vec![address],
            ca_file: Some(ca_file),
            // Room for the leaving miners of the last round.
            miners_max: (miners + (miners / 16).max(64)).min(16_384),
            difficulty: [MINER_DIFFICULTY; 3],
            seconds_per_share: 10,
            log: None,
        })?;
        gateway.wait_until_ready()?;
        let address = gateway.listen;
        Ok(Self { pool, gateway: Some(gateway), address, _scratch: scratch })
    }

    /// Returns the process that is measured.
    fn pid(&self) -> u32 {
        self.gateway.as_ref().map_or_else(|| self.pool.pid(), Gateway::pid)
    }
}

/// Starts a swarm that connects and then waits.
fn swarm(address: SocketAddr, miners: usize) -> io::Result<Part> {
    let words = [
        "--control".to_owned(),
        "--connect".to_owned(),
        address.to_string(),
        "--miners".to_owned(),
        miners.to_string(),
        "--at-once".to_owned(),
        AT_ONCE.to_string(),
    ];
    let fixed = ["--personality", "antminer", "--work", "idle", "--no-reconnect"];
    let args: Vec<String> = words.into_iter().chain(fixed.map(str::to_owned)).collect();
    Part::start("swarm", &args)
}

/// Waits until every miner of a swarm has a job.
fn wait_until_ready(swarm: &mut Part, miners: usize) -> io::Result<Report> {
    let start = clock::now();
    loop {
        let report: Report = swarm.ask("report")?;
        if report.ready == miners as u64 {
            return Ok(report);
        }
        if start.elapsed() > READY_MAX {
            let causes = report.disconnects;
            let text = format!("{} of {miners} miners are ready; ended: {causes:?}", report.ready);
            return Err(io::Error::other(text));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fails unless every submit was accepted: otherwise the figure would measure something else.
fn check_accepted(report: &Report) -> io::Result<()> {
    if report.rejected_total() > 0 || report.disconnects_total() > 0 {
        let (reasons, disconnects) = (&report.reasons, &report.disconnects);
        let text = format!("submits were refused: {reasons:?}, connections ended: {disconnects:?}");
        return Err(io::Error::other(text));
    }
    Ok(())
}

/// CPU time per submit under each load.
///
/// # Errors
///
/// A part does not start, or submits are refused.
pub fn cpu(plan: &Plan, server: Server) -> io::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for load in LOADS {
        let name = format!("{server}: CPU per submit, {load}");
        let mut figure = Figure::new(name, "µs", Better::Lower);
        if server == Server::Gateway {
            figure = figure.reach(load.reach);
        }
        let site = Site::start(server, load.miners, POOL_DIFFICULTY)?;
        for _ in 0..plan.rounds {
            let mut swarm = swarm(site.address, load.miners)?;
            wait_until_ready(&mut swarm, load.miners)?;
            let round = Round::begin();
            let before = cpu_time(site.pid())?;
            swarm.tell(&format!("work closed:{}", load.at_a_time))?;
            std::thread::sleep(load.run_for(plan));
            let report: Report = swarm.ask("quiesce")?;
            let used = cpu_time(site.pid())?.saturating_sub(before);
            check_accepted(&report)?;
            figure.add(used.as_secs_f64() * 1e6 / report.accepted as f64, report.accepted);
            figure.mark(round.is_disturbed());
            swarm.stop();
        }
        figures.push(figure);
    }
    Ok(figures)
}

/// Sends submits at a steady pace; returns the report and the figures' values.
fn pace(swarm: &mut Part, plan: &Plan) -> io::Result<Report> {
    swarm.tell("reset")?;
    swarm.tell(&format!("work paced:{PACE}"))?;
    std::thread::sleep(Duration::from_secs(if plan.is_quick { 2 } else { 5 }));
    let report: Report = swarm.ask("quiesce")?;
    check_accepted(&report)?;
    Ok(report)
}

fn latency_figures(server: Server, miners: usize, reach: [f64; 2]) -> [Figure; 2] {
    ["p50", "p99"].map(|quantile| {
        let name = format!("{server}: submit to answer, {miners} miners, {PACE}/s, {quantile}");
        let figure = Figure::new(name, "µs", Better::Lower);
        let reach = if quantile == "p50" { reach[0] } else { reach[1] };
        if server == Server::Gateway && reach > 0.0 { figure.reach(reach) } else { figure }
    })
}

/// Time from submit to answer at 1,000 miners.
///
/// # Errors
///
/// A part does not start, or submits are refused.
pub fn latency(plan: &Plan, server: Server) -> io::Result<Vec<Figure>> {
    const MINERS: usize = 1_000;
    let [mut p50, mut p99] = latency_figures(server, MINERS, [60.0, 1_000.0]);
    let site = Site::start(server, MINERS, POOL_DIFFICULTY)?;
    let mut swarm = swarm(site.address, MINERS)?;
    wait_until_ready(&mut swarm, MINERS)?;
    for _ in 0..plan.rounds {
        let round = Round::begin();
        let latency = pace(&mut swarm, plan)?.latency;
        p50.add(latency.p50_us, latency.count);
        p99.add(latency.p99_us, latency.count);
        let is_disturbed = round.is_disturbed();
        [&mut p50, &mut p99].into_iter().for_each(|figure| figure.mark(is_disturbed));
    }
    swarm.stop();
    Ok(vec![p50, p99])
}

/// The figures of one server with a crowd of miners.
struct CrowdFigures {
    connect: Figure,
    push: Figure,
    p50: Figure,
    p99: Figure,
    resident: Figure,
    idle_miner: Figure,
}

impl CrowdFigures {
    fn new(server: Server, miners: usize) -> Self {
        let [p50, p99] = latency_figures(server, miners, [0.0, 2_000.0]);
        let figure =
            |name: &str, unit, better| Figure::new(format!("{server}: {name}"), unit, better);
        let resident = figure("resident memory with the crowd", "MiB", Better::Lower);
        Self {
            connect: figure("all mining, 64 at once", "miners/s", Better::Higher),
            push: figure("job to the last of the crowd", "ms", Better::Lower),
            p50,
            p99,
            resident: if server == Server::Gateway { resident.reach(32.0) } else { resident },
            idle_miner: figure("memory per idle miner", "KiB", Better::Lower),
        }
    }

    fn into_vec(self) -> Vec<Figure> {
        vec![self.connect, self.push, self.p50, self.p99, self.resident, self.idle_miner]
    }
}

/// Connecting, jobs, latency and memory with a crowd of miners, gateway and bare pool by turns.
///
/// # Errors
///
/// A part does not start, or submits are refused.
pub fn crowd(plan: &Plan) -> io::Result<Vec<Figure>> {
    let mut figures = Server::ALL.map(|server| CrowdFigures::new(server, plan.crowd));
    for _ in 0..plan.rounds.min(5) {
        for (server, figures) in Server::ALL.into_iter().zip(&mut figures) {
            crowd_round(plan, server, figures)?;
        }
    }
    Ok(figures.into_iter().flat_map(CrowdFigures::into_vec).collect())
}

fn crowd_round(plan: &Plan, server: Server, figures: &mut CrowdFigures) -> io::Result<()> {
    let miners = plan.crowd;
    let count = miners as u64;
    let round = Round::begin();
    let mut site = Site::start(server, miners, POOL_DIFFICULTY)?;
    let empty_kib = memory_kib(site.pid())?.0;
    let mut swarm = swarm(site.address, miners)?;
    let report = wait_until_ready(&mut swarm, miners)?;
    let all_ready =
        report.all_ready_ms.ok_or_else(|| io::Error::other("no time of the last miner"))?;
    figures.connect.add(miners as f64 / (all_ready / 1e3), count);
    swarm.tell("reset")?;
    for _ in 0..PUSHES {
        std::thread::sleep(Duration::from_millis(300));
        site.pool.tell("block")?;
    }
    std::thread::sleep(Duration::from_millis(1_000));
    let report: Report = swarm.ask("report")?;
    let ledger: Ledger = site.pool.ask("ledger")?;
    let times = push_times(&report, &ledger, count);
    for time in &times {
        figures.push.add(*time, count);
    }
    if times.is_empty() {
        return Err(io::Error::other("no job reached every miner"));
    }
    let latency = pace(&mut swarm, plan)?.latency;
    figures.p50.add(latency.p50_us, latency.count);
    figures.p99.add(latency.p99_us, latency.count);
    let (now_kib, highest_kib) = memory_kib(site.pid())?;
    figures.resident.add(highest_kib as f64 / 1024.0, count);
    figures.idle_miner.add(now_kib.saturating_sub(empty_kib) as f64 / miners as f64, count);
    let is_disturbed = round.is_disturbed();
    let timed = [&mut figures.connect, &mut figures.push, &mut figures.p50, &mut figures.p99];
    timed.into_iter().for_each(|figure| figure.mark(is_disturbed));
    swarm.stop();
    Ok(())
}

/// Returns, for each job that reached all miners, the milliseconds from the pool's first byte to
/// the last miner's reading.
fn push_times(report: &Report, ledger: &Ledger, miners: u64) -> Vec<f64> {
    let whole = report.jobs_seen.iter().filter(|job| job.count >= miners);
    whole
        .filter_map(|job| {
            let before = |at: &u64| *at <= job.first_at_micros;
            let pushed = ledger.pushes.iter().map(|push| push.at_micros).filter(before).max()?;
            Some((job.last_at_micros - pushed) as f64 / 1e3)
        })
        .collect()
}

/// Miners of the farm that changes its pool.
const SWITCHED: usize = 1_000;

/// From the end of the first pool's process to the last miner's reading of the standby's job.
///
/// # Errors
///
/// A part does not start, or not every miner has the other pool's job within a second.
pub fn switch(plan: &Plan) -> io::Result<Vec<Figure>> {
    let name = format!("gateway: pool lost, {SWITCHED} miners on the standby's job");
    let mut figure = Figure::new(name, "ms", Better::Lower).reach(100.0);
    for _ in 0..plan.rounds {
        let round = Round::begin();
        figure.add(switch_round()?, SWITCHED as u64);
        figure.mark(round.is_disturbed());
    }
    Ok(vec![figure])
}

fn switch_round() -> io::Result<f64> {
    let args: Vec<String> =
        ["--control", "--listen", "127.0.0.1:0", "--job-every", "3600"].map(str::to_owned).into();
    let (first, first_at) = Part::listening("pool", &args)?;
    let (_standby, standby_at) = Part::listening("pool", &args)?;
    let gateway = Gateway::start(&GatewayOptions {
        pools: vec![first_at, standby_at],
        ca_file: None,
        miners_max: SWITCHED + SWITCHED / 2,
        difficulty: [MINER_DIFFICULTY; 3],
        seconds_per_share: 10,
        log: None,
    })?;
    gateway.wait_until_ready()?;
    let mut swarm = swarm(gateway.listen, SWITCHED)?;
    wait_until_ready(&mut swarm, SWITCHED)?;
    // The standby is live by now, and no other traffic is in flight.
    std::thread::sleep(Duration::from_millis(500));
    let lost_at = clock::epoch_micros();
    drop(first);
    std::thread::sleep(Duration::from_secs(1));
    let report: Report = swarm.ask("report")?;
    check_accepted(&report)?;
    let switched = report.jobs_seen.iter().find(|job| job.first_at_micros >= lost_at);
    let whole = switched.filter(|job| job.count >= SWITCHED as u64);
    let last_at = whole.ok_or_else(|| io::Error::other("not every miner has the other job"))?;
    swarm.stop();
    Ok((last_at.last_at_micros - lost_at) as f64 / 1e3)
}

/// Bytes to and from the pool for an hour of a farm, compressed into a minute: over one link, and
/// over one connection per miner.
///
/// # Errors
///
/// A part does not start, or submits are refused.
pub fn bytes(plan: &Plan) -> io::Result<Vec<Figure>> {
    let part = if plan.is_quick { 20 } else { 1 };
    let mut measured = Vec::new();
    let mut figures = Vec::new();
    for server in Server::ALL {
        let ledger = hour(server, part)?;
        let plain = ledger.traffic.bytes_in + ledger.traffic.bytes_out;
        let total = plain.max(ledger.wire_bytes_in + ledger.wire_bytes_out);
        let link = if server == Server::Gateway { "one link, TLS" } else { "direct, no TLS" };
        let minutes = 60 / part;
        let name = format!("bytes to the pool and back, 1,000 miners, {minutes} min: {link}");
        let mut figure = Figure::new(name, "MB", Better::Lower);
        figure.add(total as f64 / 1e6, HOUR_SUBMITS / part);
        measured.push(total as f64);
        figures.push(figure);
    }
    let mut saved =
        Figure::new("bytes saved on the way to the pool", "%", Better::Higher).reach(99.0);
    saved.add(100.0 * (1.0 - measured[0] / measured[1]), HOUR_SUBMITS / part);
    figures.push(saved);
    Ok(figures)
}

/// Sends the farm's submits of the given part of an hour, compressed into a minute.
fn hour(server: Server, part: u64) -> io::Result<Ledger> {
    let (submits, jobs) = (HOUR_SUBMITS / part, HOUR_JOBS / part);
    let mut site = Site::start(server, HOUR_MINERS, POOL_DIFFICULTY_OF_FARM)?;
    let mut swarm = swarm(site.address, HOUR_MINERS)?;
    wait_until_ready(&mut swarm, HOUR_MINERS)?;
    swarm.tell("work closed:1")?;
    let start = clock::now();
    let mut pushed = 0;
    loop {
        let report: Report = swarm.ask("report")?;
        // Jobs keep step with the submits at any speed.
        while pushed < jobs && report.submitted * jobs >= pushed * submits {
            site.pool.tell("job")?;
            pushed += 1;
        }
        if report.submitted >= submits {
            break;
        }
        if start.elapsed() > Duration::from_secs(300) {
            return Err(io::Error::other("an hour's submits took more than five minutes"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let report: Report = swarm.ask("quiesce")?;
    if report.rejected_total() > 0 {
        return Err(io::Error::other(format!("submits were refused: {:?}", report.reasons)));
    }
    // The last shares may be in flight.
    std::thread::sleep(Duration::from_millis(500));
    let ledger: Ledger = site.pool.ask("ledger")?;
    swarm.stop();
    Ok(ledger)
}
