//! One snapshot of the gateway, from which status, metrics and health are rendered.
//!
//! A report is plain data read from the engine in one step, so its sums always hold. Rendering
//! needs neither the engine nor its thread. The field names are those of `/api/v1/status`; a change
//! breaks users' scripts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use loka_stratum::downstream::Close;
use loka_stratum::health::Circuit;
use loka_stratum::identity::Account;
use loka_stratum::ledger::{Bucket, Ledger, Orphan, PoolReject, Reject};
use loka_stratum::proxy::Proxy;
use loka_stratum::refusals::Trouble;
use loka_stratum::settings::Scheme;
use loka_stratum::upstream::{Link, State};
use loka_stratum::visible::Visible;
use serde::Serialize;

use crate::gateway::base::clock;
use crate::gateway::base::disk;
use crate::gateway::base::handshakes;
use crate::gateway::base::shelf;
use crate::gateway::base::warnings::{BAD_FILE, NO_POOL, one_name_warning, plain_warning};
use crate::gateway::observe::system::UpdateReport;
use crate::gateway::runtime::hub::{Hub, Tally};

/// Counts by a name.
pub type Counts = BTreeMap<&'static str, u64>;

/// The gateway at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the program.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_secs: u64,
    /// Whether miners get work: a pool is live and the gateway is not ending.
    pub ready: bool,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// The board and its memory.
    pub board: Board,
    /// Writes to disk.
    pub flash: Flash,
    /// What came to the page.
    pub page: Page,
    /// Updates of the system.
    pub update: UpdateReport,
    /// The miners.
    pub miners: Miners,
    /// The links, and the pools without a link.
    pub upstream: Vec<Upstream>,
    /// The goals and their parts of the work.
    pub goals: Vec<Goal>,
    /// The ledger of submits.
    pub ledger: Books,
    /// Blocks found.
    pub block_candidates: u64,
    /// Block candidates without a pool's answer yet.
    pub block_candidates_waiting: u64,
    /// Links that ended or failed to open, by reason.
    pub links_lost: Counts,
    /// Switches of a goal to another pool, by reason.
    pub switches: Counts,
}

/// The board and the gateway's memory on it.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// The name of the profile.
    pub profile: &'static str,
    /// Capacity of links.
    pub links_max: usize,
    /// The gateway's peak memory.
    pub memory_bytes: u64,
    /// The memory budget.
    pub memory_bytes_max: u64,
}

/// Writes to disk, which wear flash out.
#[derive(Clone, Debug, Serialize)]
pub struct Flash {
    /// Writes since the start.
    pub writes: u64,
    /// Bytes since the start.
    pub bytes: u64,
    /// Settings writes over the life of this disk.
    pub settings_writes: u64,
}

/// What came to the page, and was kept from it.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// TLS handshakes beyond what one address may begin, closed before they began.
    pub handshakes_refused: u64,
}

/// The miners at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Miners {
    /// Connected now.
    pub connected: usize,
    /// Most connections at once.
    pub max: usize,
    /// Connections admitted since the start.
    pub accepted: u64,
    /// Connections refused, by reason.
    pub refused: Counts,
    /// Connections that ended, by reason.
    pub ended: Counts,
    /// Connected miners by detected firmware.
    pub firmware: Counts,
    /// Workers refused by a pool (`identity.mode = "per-worker"`).
    pub workers_refused: u64,
    /// Jobs sent to miners whose firmware may not survive the coinbase.
    pub oversized_jobs: u64,
}

/// One link, or a pool without a link.
#[derive(Clone, Debug, Serialize)]
pub struct Upstream {
    /// The pool's place in the list, from 1.
    pub pool: usize,
    /// The pool's URL.
    pub url: String,
    /// The state of the link.
    pub state: &'static str,
    /// The goal of the pool.
    pub goal: String,
    /// Whether the farm mines at this pool for that goal now; false while the pool is away.
    pub active: bool,
    /// Whether the pool was reached since it entered the settings.
    pub reached: bool,
    /// The state of its circuit: `closed`, `open` or `half-open`.
    pub circuit: &'static str,
    /// Its health score, 0 to 100; `None` if it was never reached.
    pub health: Option<u8>,
    /// Why the pool earns nothing now: `refuses`, `answers_none` or `answers_some`.
    pub trouble: Option<&'static str>,
    /// Whether the pool accepts only its own login, so all shares are sent under it.
    pub one_name: bool,
    /// The last message that the pool sent for people.
    pub message: Option<String>,
    /// Whether the connection is verified TLS.
    pub tls: bool,
    /// The pool's extranonce2 size, in bytes.
    pub extranonce2_size: Option<u8>,
    /// The pool's difficulty.
    pub difficulty: Option<f64>,
    /// Milliseconds of the pool's last answer to a share.
    pub answer_ms: Option<f64>,
    /// Why there is no connection.
    pub error: Option<String>,
}

/// A goal: pools that replace each other, and their part of the work.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// Its name; empty if the pools name none.
    pub name: String,
    /// Its weight in the settings.
    pub weight: u16,
    /// The part of the work done for it since goals or weights changed, 0 to 1.
    pub part: f64,
    /// Miners that work for it now.
    pub miners: u16,
    /// Its last switch of pool.
    pub switched: Option<Switch>,
}

/// A goal's last switch to another pool.
#[derive(Clone, Debug, Serialize)]
pub struct Switch {
    /// The new pool, from 1.
    pub pool: usize,
    /// The reason.
    pub why: String,
    /// Seconds since the switch.
    pub secs_ago: u64,
}

/// The ledger of submits; the sums are the engine's.
#[derive(Clone, Debug, Serialize)]
pub struct Books {
    /// All submits: `accepted` and all of `rejected`.
    pub submitted: u64,
    /// Accepted here: `below_upstream` and `forwarded`.
    pub accepted: u64,
    /// Accepted here, below the pool's difficulty.
    pub below_upstream: u64,
    /// At the pool's difficulty: `pool_accepted`, all of `pool_rejected` and `orphaned`, `pending`
    /// and `held`.
    pub forwarded: u64,
    /// Accepted by the pool.
    pub pool_accepted: u64,
    /// Rejected by the pool, by code.
    pub pool_rejected: Counts,
    /// Rejected here, by reason.
    pub rejected: Counts,
    /// On the way to the pool, or without its answer yet.
    pub pending: u64,
    /// Held while the link is down.
    pub held: u64,
    /// Lost to the pool, by reason.
    pub orphaned: Counts,
}

/// Counts the connected miners by detected firmware.
fn firmware(proxy: &Proxy<'_>) -> Counts {
    let mut counts = Counts::new();
    for (_, miner) in proxy.miners() {
        *counts.entry(miner.personality().name).or_default() += 1;
    }
    counts
}

impl Books {
    fn new(ledger: &Ledger) -> Self {
        let counts = |reasons: &[(&'static str, Bucket)]| {
            reasons.iter().map(|(name, bucket)| (*name, ledger.of(*bucket))).collect()
        };
        Self {
            submitted: ledger.submitted(),
            accepted: ledger.accepted(),
            below_upstream: ledger.below_upstream(),
            forwarded: ledger.forwarded(),
            pool_accepted: ledger.of(Bucket::PoolAccepted),
            pool_rejected: counts(&PoolReject::ALL.map(|r| (r.code(), Bucket::PoolRejected(r)))),
            rejected: counts(&Reject::ALL.map(|r| (r.name(), Bucket::Rejected(r)))),
            pending: ledger.of(Bucket::Pending),
            held: ledger.of(Bucket::Held),
            orphaned: counts(&Orphan::ALL.map(|r| (r.name(), Bucket::Orphaned(r)))),
        }
    }
}

impl fmt::Display for Books {
    /// A sentence for people; zero counts are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shares came in", self.submitted)?;
        if self.submitted == 0 {
            return Ok(());
        }
        write!(f, ", {} were good", self.accepted)?;
        write!(f, ", {} of them good enough for the pool", self.forwarded)?;
        write!(f, ": it took {}", self.pool_accepted)?;
        for (what, counts) in [("it refused", &self.pool_rejected), ("lost to it", &self.orphaned)]
        {
            write_counts(f, ", ", what, counts)?;
        }
        for (count, what) in [(self.pending, "without an answer"), (self.held, "held")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write_counts(f, "; ", "refused here", &self.rejected)
    }
}

/// Writes a sum with its reasons, where there is any.
fn write_counts(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    what: &str,
    counts: &Counts,
) -> fmt::Result {
    let all: u64 = counts.values().sum();
    if all == 0 {
        return Ok(());
    }
    write!(f, "{before}{what} {all}")?;
    let mut opening = " (";
    for (reason, count) in counts.iter().filter(|(_, count)| **count > 0) {
        // Pools give codes as reasons.
        let code = if reason.parse::<u16>().is_ok() { "code " } else { "" };
        write!(f, "{opening}{code}{}: {count}", reason.replace('_', " "))?;
        opening = ", ";
    }
    f.write_str(")")
}

impl Hub {
    /// Reads the whole report.
    pub fn report(&self, update: UpdateReport) -> Report {
        let proxy = self.proxy.borrow();
        let counts = self.counts();
        let (connected, max) = proxy.occupancy();
        let upstream = self.upstream();
        let wear = disk::wear();
        let is_live = upstream.iter().any(|link| link.active && link.state == State::Live.name());
        Report {
            version: env!("CARGO_PKG_VERSION"),
            uptime_secs: clock::now().as_micros() / 1_000_000,
            ready: is_live && !self.is_draining(),
            warnings: self.warnings(&proxy),
            board: Board {
                profile: self.plan.board,
                links_max: self.plan.links,
                memory_bytes: self.plan.bytes(),
                memory_bytes_max: self.plan.bytes_max,
            },
            flash: Flash {
                writes: wear.writes,
                bytes: wear.bytes,
                settings_writes: self.settings_writes.get(),
            },
            page: Page { handshakes_refused: handshakes::refused() },
            update,
            miners: Miners {
                connected,
                max,
                accepted: counts.accepted,
                refused: collect(&counts.refused),
                ended: collect(&counts.ended),
                firmware: firmware(&proxy),
                workers_refused: proxy.workers_refused(),
                oversized_jobs: proxy.oversized_jobs(),
            },
            upstream,
            goals: self.goals(),
            ledger: Books::new(proxy.ledger()),
            block_candidates: counts.blocks,
            block_candidates_waiting: proxy.blocks().records().count() as u64,
            links_lost: collect(&counts.links_lost),
            switches: collect(&counts.switches),
        }
    }

    fn goals(&self) -> Vec<Goal> {
        let (proxy, settings) = (self.proxy.borrow(), self.settings.borrow());
        let goals = settings.goals();
        let (counts, now) = (self.counts(), clock::now());
        let switched = |goal: u8| {
            counts.switched.get(&goal).map(|switched| Switch {
                pool: usize::from(switched.to) + 1,
                why: switched.why.clone(),
                secs_ago: now.since(switched.at).as_secs(),
            })
        };
        let first = |goal| goals.of_pool.iter().position(|of_pool| *of_pool == goal);
        (0u8..)
            .zip(goals.weights)
            .filter(|(_, weight)| *weight > 0)
            .map(|(goal, weight)| Goal {
                name: first(goal)
                    .and_then(|pool| settings.pools.get(pool))
                    .map_or(String::new(), |pool| Visible(&pool.goal).to_string()),
                weight,
                part: proxy.split().part(goal),
                miners: proxy.miners_at(goal),
                switched: switched(goal),
            })
            .collect()
    }

    fn upstream(&self) -> Vec<Upstream> {
        let proxy = self.proxy.borrow();
        let settings = self.settings.borrow();
        let ports = self.links.borrow();
        let mut all = Vec::new();
        for (pool, of_settings) in settings.pools.iter().enumerate() {
            let entry = |link: Option<&Link<'_>>, error: Option<String>| Upstream {
                pool: pool + 1,
                url: of_settings.url.to_string(),
                state: link.map_or(State::Idle, Link::state).name(),
                active: u8::try_from(pool).is_ok_and(|pool| proxy.links().is_active(pool))
                    && link.is_some_and(|link| link.state() == State::Live),
                reached: link.is_some_and(Link::was_live),
                goal: of_settings.goal.to_string(),
                circuit: link.map_or(Circuit::Open, |link| link.health().circuit()).name(),
                health: link.and_then(Link::score),
                trouble: link.and_then(|link| link.refusals().trouble()).map(Trouble::name),
                one_name: proxy.takes_one_name(pool),
                message: link
                    .map(|link| link.message().as_str().to_owned())
                    .filter(|message| !message.is_empty()),
                tls: of_settings.url.scheme() == Scheme::Tls,
                extranonce2_size: link.and_then(Link::extranonce2_size),
                difficulty: link
                    .filter(|link| link.extranonce2_size().is_some())
                    .map(|link| link.difficulty().as_f64()),
                answer_ms: link
                    .and_then(Link::answer_time)
                    .map(|time| time.as_micros() as f64 / 1000.0),
                error,
            };
            let links = proxy.links().iter().filter(|(_, link)| {
                usize::from(link.pool()) == pool && (link.is_wanted() || link.state().is_open())
            });
            let before = all.len();
            for (index, link) in links {
                let dial = ports.get(index.index()).and_then(|port| port.error.clone());
                let close = || link.last_close_told().map(|told| told.to_string());
                let is_down = !link.state().is_open();
                let error = if is_down { dial.or_else(close) } else { None };
                all.push(entry(Some(link), error));
            }
            if all.len() == before {
                all.push(entry(None, None));
            }
        }
        all
    }

    /// Returns the lasting warnings for the operator (F83).
    fn warnings(&self, proxy: &Proxy<'_>) -> Vec<String> {
        let settings = self.settings.borrow();
        let mut warnings = Vec::new();
        if self.file_is_bad.get() {
            warnings.push(BAD_FILE.to_owned());
        }
        warnings.extend(self.state_problem.borrow().clone());
        warnings.extend(shelf::troubles(&self.state_dir));
        if settings.pools.is_empty() {
            warnings.push(NO_POOL.to_owned());
        }
        warnings.extend(self.crowd.borrow().warning(clock::now()));
        for (_, link) in proxy.links().iter().filter(|(_, link)| link.is_wanted()) {
            if let Some(trouble) = link.refusals().trouble() {
                let told = trouble.told(link.refusals().words());
                warnings.push(format!("pool {} {told}", link.pool() + 1));
            }
        }
        for index in 0..settings.pools.len() {
            if proxy.takes_one_name(index) {
                warnings.push(one_name_warning(index));
            }
        }
        for record in proxy.blocks().records().filter(|r| !proxy.has_account(&r.account)) {
            let Account { host, port, user } = &record.account;
            let text = "which no pool of the settings is: set it, and it is told";
            warnings.push(format!("a block candidate waits for {user} at {host}:{port}, {text}"));
        }
        for (index, pool) in settings.pools.iter().enumerate() {
            if pool.url.scheme() == Scheme::Tcp {
                warnings.push(plain_warning(index));
            }
        }
        let (proxy, now) = (self.proxy.borrow(), clock::now());
        let repeating = proxy.miners().filter(|(_, miner)| miner.repeats_shares(now));
        warnings.extend(repeating.take(WARNED_MINERS_MAX).map(|(_, miner)| {
            let (peer, worker) =
                (crate::gateway::runtime::hub::address(miner.peer()), miner.workers().nth(0));
            repeats_warning(peer, &Visible(worker.unwrap_or_default()))
        }));
        for pool in (0u8..).take(settings.pools.len()) {
            if let Some(kept) = proxy.kept_from(pool) {
                warnings.push(format!("pool {}: {kept}", pool + 1));
            }
        }
        if proxy.lacks_ids(clock::now()) {
            warnings.push(format!("miners are refused: {}", Close::IdsExhausted));
        }
        let full = proxy.links().iter().filter(|(_, link)| link.is_full(now));
        warnings.extend(full.map(|(_, link)| full_warning(usize::from(link.pool()))));
        let held_back = self.held_back.borrow().len();
        if held_back > 0 {
            warnings.push(format!("{held_back} {HELD_BACK}"));
        }
        warnings
    }
}

/// The warning about a pool whose queue is full.
fn full_warning(index: usize) -> String {
    format!(
        "pool {}: shares were lost in the last minute because its queue is full; ask it for a \
         higher difficulty (d= in its password, or another port)",
        index + 1
    )
}

/// The warning about miners held back.
const HELD_BACK: &str = "miners are read less for now: their pool has answered too few of the \
     shares sent to it; ask it for a higher difficulty (d= in its password, or another port)";

/// Most miners named in warnings; further ones are no news.
const WARNED_MINERS_MAX: usize = 8;

/// The warning about a miner that repeats its shares.
fn repeats_warning(peer: IpAddr, worker: &Visible<'_>) -> String {
    format!(
        "miner {peer}, worker {worker}, repeats shares that were accepted before: they are \
         refused and credited to nobody; check its firmware, and whose miner it is"
    )
}

fn collect(tally: &Tally) -> Counts {
    tally.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_the_books_hold() {
        let mut ledger = Ledger::ZERO;
        for reject in Reject::ALL {
            ledger.open(Bucket::Rejected(reject));
        }
        for bucket in [Bucket::BelowUpstream, Bucket::Pending, Bucket::Held, Bucket::PoolAccepted] {
            ledger.open(bucket);
        }
        for code in PoolReject::ALL {
            ledger.open(Bucket::PoolRejected(code));
        }
        let books = Books::new(&ledger);
        let sum = |counts: &Counts| counts.values().sum::<u64>();
        assert_eq!(books.submitted, books.accepted + sum(&books.rejected));
        assert_eq!(books.accepted, books.below_upstream + books.forwarded);
        assert_eq!(
            books.forwarded,
            books.pool_accepted
                + sum(&books.pool_rejected)
                + sum(&books.orphaned)
                + books.pending
                + books.held
        );
        assert_eq!(books.rejected.len(), Reject::ALL.len(), "no two reasons share a name");
    }

    #[test]
    fn f52_the_books_are_a_sentence_for_people() {
        let mut ledger = Ledger::ZERO;
        assert_eq!(Books::new(&ledger).to_string(), "0 shares came in");
        for bucket in [
            Bucket::BelowUpstream,
            Bucket::PoolAccepted,
            Bucket::PoolAccepted,
            Bucket::Held,
            Bucket::PoolRejected(PoolReject::ALL[1]),
            Bucket::Orphaned(Orphan::NoAnswer),
            Bucket::Rejected(Reject::ALL[0]),
        ] {
            ledger.open(bucket);
        }
        let (code, reason) = (PoolReject::ALL[1].code(), Reject::ALL[0].name().replace('_', " "));
        let expected = format!(
            "7 shares came in, 6 were good, 5 of them good enough for the pool: it took 2, it \
             refused 1 (code {code}: 1), lost to it 1 (no answer: 1), 1 held; refused here 1 \
             ({reason}: 1)"
        );
        assert_eq!(Books::new(&ledger).to_string(), expected);
    }
}
