//! The invariants, each in functions named after it, and the books for their checks.
//!
//! The books are the simulation's own: miners' requests and answers, pools' received and sent
//! lines. The engine's getters are only compared with these books or with each other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use loka_stratum::blocks::BlockRecord;
use loka_stratum::downstream::{Close, Downstream, Seat, State};
use loka_stratum::identity::Identity;
use loka_stratum::ledger::{Bucket, Counts, Orphan};
use loka_stratum::limits::{ANSWER_MAX, AUTHORIZATION_WAIT_MAX, REPLY_BYTES_MAX};
use loka_stratum::links::Route;
use loka_stratum::pending::Stage;
use loka_stratum::proxy::{Proxy, VerdictMode};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{self, Link, LinkIndex};
use loka_stratum::work::job::Serial;

use crate::hashing::Hash;
use crate::json::{Message, elements, message, unhex, unquoted};
use crate::miner::{Origin, Sent, Share, Truth, What, origin, upstream_name};
use crate::plan::{Plan, PoolPlan};
use crate::pool::{Judged, Said};
use crate::trace::{broken, hold};
use crate::world::{Asked, Conn, End, World};

/// Longest wait of a share for an honest pool's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A map whose order of keys is never visible, so any deterministic hash suffices.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A miner's state, from its received lines.
#[derive(Clone, Debug, Default)]
pub struct View {
    difficulty: Option<f64>,
    mask: u32,
    serial: Option<u32>,
    origin: Option<Origin>,
    submitted: u32,
    /// Whether the engine accepted a share of it.
    worked: bool,
    seat: Option<Seat>,
    /// Its extranonce1, from the subscription's answer.
    extranonce1: String,
    /// The miner's own part of its job's coinbase.
    prefix: Option<String>,
    /// The starts of its jobs; an equal start means repeated work.
    began: Vec<String>,
    /// Begin of its wait for a first job while a pool has one.
    waits_since: Option<u64>,
    /// Number of its received jobs.
    pub told: Vec<u32>,
    /// How many of them were clean.
    pub clean: u32,
    /// Its lines are no Stratum, so answers are not matched.
    pub noise: bool,
}

/// A miner's share that the gateway accepted.
#[derive(Clone, Debug, Default)]
struct Made {
    by: usize,
    /// The pool of its job.
    pool: usize,
    is_block: bool,
    taken: u32,
    /// Connections to pools that it went out on, and those where it had a name of its own.
    sent: Vec<usize>,
    named: Vec<usize>,
    arrived: bool,
}

/// The books of a run.
pub struct Checks {
    /// The connection of each of the table's slots.
    pub ports: Vec<Option<usize>>,
    submitted: u64,
    below: u64,
    forwarded: u64,
    rejected: u64,
    /// Shares refused for lack of room in a queue, and all accepted blocks.
    full: (u64, u64),
    /// Answers of pools in time, and answers near or after the deadline.
    accepted: (u64, u64),
    refused: (u64, u64),
    made: Map<u64, Made>,
    /// The difficulty in force for each job that a session was given.
    given: Map<Origin, f64>,
    /// The job starts of departed miners that found shares.
    worked_on: BTreeSet<String>,
    pub links_down: u64,
    pub links_down_said: u64,
    /// Resent blocks, by connection and hash.
    late: BTreeSet<(usize, u64)>,
    probes: Vec<(usize, u64)>,
    /// Each pool's accepted shares, and their miners' difficulties.
    pub work: Vec<(u64, f64)>,
    /// Miners' connections that the gateway ended.
    pub ended: u64,
    identity: Identity,
    pools: Vec<PoolPlan>,
    /// Capacity of the table of seen shares.
    seen_places: usize,
}

impl Checks {
    pub fn new(plan: &Plan) -> Self {
        Self {
            ports: vec![None; plan.slots],
            identity: plan.identity,
            pools: plan.pools.clone(),
            seen_places: plan.slots * plan.seen * 32,
            submitted: 0,
            below: 0,
            forwarded: 0,
            rejected: 0,
            full: (0, 0),
            accepted: (0, 0),
            refused: (0, 0),
            made: Map::default(),
            given: Map::default(),
            worked_on: BTreeSet::new(),
            links_down: 0,
            links_down_said: 0,
            late: BTreeSet::new(),
            probes: Vec::new(),
            work: vec![(0, 0.0); plan.pools.len()],
            ended: 0,
        }
    }

    /// A session was given a job.
    pub fn job_given(&mut self, job: Option<(Origin, f64)>) {
        if let Some((origin, difficulty)) = job {
            self.given.insert(origin, difficulty);
        }
    }

    pub fn difficulty_of(&self, origin: Origin) -> Option<f64> {
        self.given.get(&origin).copied()
    }

    pub fn is_made(&self, key: u64) -> bool {
        self.made.contains_key(&key)
    }

    pub fn reached_pool(&mut self, key: u64) {
        if let Some(made) = self.made.get_mut(&key) {
            made.arrived = true;
        }
    }

    pub fn probe(&mut self, miner: usize, lines: &[(String, Sent)]) {
        if let Some((_, Sent { what: What::Share(share), .. })) = lines.last() {
            self.probes.push((miner, share.key));
        }
    }

    /// Records a connection's end: no later miner may start where it did.
    pub fn miner_ends(&mut self, proxy: &Proxy<'_>, handle: MinerHandle, view: &View) {
        if view.worked {
            self.worked_on.extend(view.began.iter().cloned());
        }
        if let Some(session) = proxy.miner(handle) {
            hold!(
                "I1",
                session.counts().submitted() == view.submitted,
                "a leaving miner's submits"
            );
            i1_own_counts(session.counts());
        }
        self.ports[handle.index()] = None;
        self.ended += 1;
    }

    /// I1 and I3: the engine's immediate answers to its received lines.
    pub fn answered(
        &mut self,
        conn: &mut Conn,
        proxy: &Proxy<'_>,
        (read, result): (&[u8], Result<(), Close>),
        out: &[u8],
        verdict: VerdictMode,
        now: u64,
    ) {
        let text = std::str::from_utf8(out).unwrap_or("");
        let mut answers: VecDeque<&str> = text.lines().collect();
        if conn.view.noise {
            return;
        }
        if let Err(Close::LineTooLong { .. }) = result {
            hold!("I8", answers.pop_back().is_some(), "a line too long has no answer");
        }
        let lines = read.iter().filter(|byte| **byte == b'\n').count();
        hold!(
            "I2",
            out.len() <= REPLY_BYTES_MAX * (lines + 1),
            "{} B for {lines} lines",
            out.len()
        );
        for _ in 0..lines {
            let Some(mut sent) = conn.sent.pop_front() else {
                broken("I1", "a line nobody sent".to_owned())
            };
            let answer = answers.front().and_then(|line| message(line));
            if let What::Share(share) = &mut sent.what {
                self.submitted += 1;
                conn.view.submitted += 1;
                let own = answer.filter(|answer| answer.id == sent.id);
                if let Some(other) = share.read_with(conn.view.mask)
                    && !own.is_some_and(|answer| is_judged_bad(&answer))
                {
                    *share = other;
                }
            }
            match (&sent.what, answer) {
                (What::Silent, _) => {}
                (_, Some(answer)) if answer.id == sent.id => {
                    answers.pop_front();
                    if let Some(at) = answer.result.find("version-rolling.mask\":\"") {
                        let digits = &answer.result[at + 23..at + 31];
                        conn.view.mask = u32::from_str_radix(digits, 16).unwrap_or(0);
                    }
                    self.i8_answer(&sent, &answer);
                    if answer.result.starts_with("[[") {
                        let own = elements(answer.result).get(1).and_then(|text| unquoted(text));
                        conn.view.extranonce1 = own.unwrap_or("").to_owned();
                    }
                    if let What::Share(share) = &sent.what {
                        self.verdict(conn, proxy, share, &answer, verdict);
                    }
                }
                (What::Share(share), _) if verdict == VerdictMode::Pool => {
                    hold!("I1", share.truth == Truth::Valid, "a wrong share waits: {share:?}");
                    hold!("I1", self.reaches_pool(share), "a light share waits: {share:?}");
                    hold!("I1", !self.was_taken(share), "a duplicate waits: {share:?}");
                    conn.view.worked = true;
                    self.take(share);
                    self.forwarded += 1;
                    conn.due.push(sent);
                }
                (What::Authorize, _) if self.identity == Identity::PerWorker => {
                    conn.due.push(sent);
                }
                (what, _) => {
                    broken("I1", format!("no answer to {} {what:?} at {now}: {text}", sent.id))
                }
            }
        }
        hold!("I1", answers.is_empty(), "answers to nothing: {answers:?}");
    }

    /// I8: a refusal has a code of the closed list and a text.
    fn i8_answer(&self, sent: &Sent, answer: &Message<'_>) {
        let error = elements(answer.error);
        let is_refusal = !error.is_empty();
        if is_refusal {
            let code: i64 = error[0].parse().unwrap_or(0);
            let text = error.get(1).and_then(|text| unquoted(text)).unwrap_or("");
            hold!(
                "I8",
                (20..=25).contains(&code) && !text.is_empty(),
                "refused without a reason: {error:?}"
            );
        }
        let is_due = matches!(sent.what, What::Refused);
        hold!("I8", is_refusal || !is_due, "not refused: {sent:?}");
    }

    fn reaches_pool(&self, share: &Share) -> bool {
        let least = self.given.get(&share.origin).copied().unwrap_or(f64::INFINITY);
        share.is_block || share.difficulty >= least
    }

    fn take(&mut self, share: &Share) {
        let made = self.made.entry(share.key).or_default();
        made.taken += 1;
        made.by = share.by;
        made.pool = usize::from(share.origin.0);
        made.is_block = share.is_block;
        self.full.1 += u64::from(share.is_block);
        let work = &mut self.work[usize::from(share.origin.0)];
        *work = (work.0 + 1, work.1 + share.told);
    }

    /// Whether the gateway accepted the share before, from any miner and at any time.
    fn was_taken(&self, share: &Share) -> bool {
        self.made.get(&share.key).is_some_and(|made| made.taken > 0)
    }

    /// I1, I3: the verdict on a submit is correct, and is counted.
    fn verdict(
        &mut self,
        conn: &mut Conn,
        proxy: &Proxy<'_>,
        share: &Share,
        answer: &Message<'_>,
        verdict: VerdictMode,
    ) {
        let End::Miner { handle, .. } = conn.end else { return };
        let code: i64 =
            elements(answer.error).first().and_then(|code| code.parse().ok()).unwrap_or(0);
        let known = self.was_taken(share);
        let reaches = self.reaches_pool(share);
        if answer.result == "true" {
            hold!("I1", !known, "a duplicate was taken: {share:?}");
            hold!("I1", share.truth == Truth::Valid, "a wrong share was taken: {share:?}");
            hold!("I1", !(reaches && verdict == VerdictMode::Pool), "taken before the pool's word");
            conn.view.worked = true;
            self.take(share);
            if reaches {
                self.forwarded += 1
            } else {
                self.below += 1
            }
            return;
        }
        if answer.error.contains("no pool: not counted") {
            let away = proxy.links().iter().all(|(_, link)| link.state() != upstream::State::Live);
            hold!("I3", away && !known, "a pool was there: {share:?}");
            conn.view.worked = true;
            self.take(share);
            // It is booked as orphaned, whether it reaches the pool's target or not.
            self.forwarded += 1;
            return;
        }
        if answer.error.contains("the queue to the pool is full") {
            // It was read only because there was room for it.
            hold!("F91", reaches && share.truth == Truth::Valid, "of no pool: {share:?}");
            let is_current = self.is_current(conn, proxy, handle, share);
            hold!("F91", !is_current, "read without room for it: {share:?}");
            self.full.0 += 1;
            self.forwarded += 1;
            return;
        }
        if answer.error.contains("no answer from pool") {
            hold!("I1", reaches && verdict == VerdictMode::Pool, "no pool was asked: {share:?}");
            hold!("I1", !known, "a duplicate was taken: {share:?}");
            conn.view.worked = true;
            self.take(share);
            self.forwarded += 1;
            return;
        }
        self.rejected += 1;
        let fair = match (share.truth, code) {
            // It may be both too light for this job and known from the one before.
            (Truth::Wrong(_), 22) if known => true,
            (Truth::Wrong(codes), code) => codes.contains(&code) || code == 21,
            (Truth::Valid, 21) => !self.is_current(conn, proxy, handle, share),
            (Truth::Valid, 22) => known,
            // It could not be remembered; where it reaches its pool there is always room.
            (Truth::Valid, 20) => !reaches && self.is_room_scarce(),
            (Truth::Valid, 24) => self.is_refused(share.origin.0, share.by),
            (Truth::Valid, _) => false,
        };
        hold!("I3", fair, "an unfair refusal {}: {share:?} {:?}", answer.error, conn.view);
    }

    /// Whether the table may be too full for a light share: one miner alone may fill a good part of
    /// it.
    fn is_room_scarce(&self) -> bool {
        self.below + self.forwarded >= self.seen_places as u64 / 10
    }

    /// Whether a pool refuses all shares of a miner.
    fn is_refused(&self, pool: u8, miner: usize) -> bool {
        self.identity == Identity::PerWorker && self.pools[usize::from(pool)].refuses(miner)
    }

    /// Whether any pool refuses all its shares.
    pub fn is_refused_anywhere(&self, miner: usize) -> bool {
        (0..).zip(&self.pools).any(|(pool, _)| self.is_refused(pool, miner))
    }

    /// Whether the share is for its miner's current job.
    fn is_current(
        &self,
        conn: &Conn,
        proxy: &Proxy<'_>,
        handle: MinerHandle,
        share: &Share,
    ) -> bool {
        let Some(session) = proxy.miner(handle) else { return false };
        let Some((route, link)) = feed(proxy, session) else { return false };
        let serial = serial(share.serial);
        conn.view.serial == Some(share.serial)
            && route.current() == Some(serial)
            && link.state() == upstream::State::Live
            && link.kept_job(serial).is_some_and(|job| job.live)
    }

    /// I1, I4, I5: the engine's unrequested lines to a miner.
    pub fn pushed(&mut self, conn: &mut Conn, proxy: &Proxy<'_>, out: &[u8], now: u64) {
        let End::Miner { handle, .. } = conn.end else { return };
        let Some(session) = proxy.miner(handle) else { return };
        let text = std::str::from_utf8(out).unwrap_or("");
        for line in text.lines() {
            let Some(message) = message(line) else { broken("I8", format!("no JSON: {line}")) };
            let params = elements(message.params);
            match message.method {
                Some("mining.set_difficulty") => conn.view.difficulty = params[0].parse().ok(),
                Some("mining.set_version_mask") => {
                    let digits = unquoted(params[0]).unwrap_or("");
                    conn.view.mask = u32::from_str_radix(digits, 16).unwrap_or(0);
                }
                Some("mining.notify") => {
                    let told = session.told_difficulty().map(|difficulty| difficulty.as_f64());
                    let view = &conn.view;
                    hold!(
                        "I5",
                        view.difficulty == told,
                        "job with {:?}, engine {told:?}",
                        view.difficulty
                    );
                    hold!(
                        "I5",
                        view.mask == session.told_mask().0,
                        "job with mask {:x}",
                        view.mask
                    );
                    self.i5_order(&mut conn.view, &params);
                }
                _ => {
                    let at = conn.due.iter().position(|sent| sent.id == message.id);
                    let Some(at) = at else {
                        broken("I1", format!("an answer to nothing: {line}"))
                    };
                    let sent = conn.due.remove(at);
                    self.i8_answer(&sent, &message);
                }
            }
        }
        let told = session.told_id();
        hold!(
            "I5",
            conn.view.serial.map_or(Serial::NONE, serial) == told,
            "told {:?}, engine {told:?} at {now}",
            conn.view.serial
        );
    }

    /// I4, I5: a job is new work for its miner, and no newcomer starts where a departed miner did.
    fn i4_place(&self, view: &mut View, params: &[&str]) {
        let began = format!("{} {}", view.extranonce1, params[1..].join(" "));
        let is_newcomer = view.told.is_empty();
        hold!(
            "I4",
            !is_newcomer || !self.worked_on.contains(&began),
            "a newcomer repeats another's work: {began}"
        );
        let is_same = view.began.last() == Some(&began);
        hold!("I5", !is_same, "the same work under another id: {began}");
        let front = unquoted(params[2]).unwrap_or("");
        view.prefix = Some(format!("{front}{}", view.extranonce1));
        view.began.push(began);
    }

    /// I5: jobs come in their pool's order.
    fn i5_order(&mut self, view: &mut View, params: &[&str]) {
        let number = unquoted(params[0]).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let from = origin(params[2], params[3]);
        if let (Some(before), Some(after)) = (view.origin, from)
            && (before.0, before.2) == (after.0, after.2)
        {
            hold!("I5", before.1 <= after.1, "job {after:?} after {before:?}");
        }
        self.i4_place(view, &params[..8]);
        let is_new = number.is_some_and(|number| !view.told.contains(&number));
        hold!("I5", is_new, "job id {number:?} again, after {:?}", view.serial);
        let from_pool = |origin: Option<Origin>| origin.map(|(pool, ..)| pool);
        let moved = view.origin.is_some() && from_pool(view.origin) != from_pool(from);
        hold!("I5", !moved || params[8] == "true", "another pool's job, and not clean: {params:?}");
        hold!(
            "I4",
            from.is_some_and(|from| self.given.contains_key(&from)),
            "a job of no pool: {params:?}"
        );
        view.serial = number;
        view.origin = from;
        view.told.extend(number);
        view.clean += u32::from(params[8] == "true");
    }

    /// I4: what goes to a pool is a share that a miner made for that job, once, and once more under
    /// the login where the pool takes no other name. Says whether it is sent again.
    pub fn sent_to_pool(
        &mut self,
        (conn, asked, user, takes_one_name): (usize, &[Asked], &str, bool),
        judged: Option<Judged>,
        line: &str,
        now: u64,
    ) -> (Judged, bool) {
        let Some(judged) = judged else {
            broken("I4", format!("a share that nobody made: {line}"));
        };
        let name = worker_of(line);
        let by = self.made.get(&judged.hash.key()).map_or(0, |made| made.by);
        let is_own = match self.identity {
            Identity::Single => name == user,
            Identity::PerWorker => {
                name == upstream_name(by) && asked.iter().any(|asked| asked.name == name)
            }
        };
        // A pool that takes one name per connection gets all under its login (F94).
        let is_login = (judged.is_block || takes_one_name) && name == user;
        hold!("I4", is_own || is_login, "another worker's share: {line}");
        let is_told = !takes_one_name || name == user;
        hold!("F94", is_told, "a name for a pool of one: {line}");
        // A pool that leaves a request without an answer in time judges each share instead; that it
        // said no to another request of the name, or says so later, changes nothing.
        let in_time =
            |asked: &Asked, until: u64| until - asked.at < AUTHORIZATION_WAIT_MAX.as_micros();
        let of_name = || asked.iter().filter(|asked| asked.name == name);
        let refused = of_name().any(|a| a.refused.is_some_and(|at| in_time(a, at)));
        let given_up = of_name().any(|a| !in_time(a, a.refused.unwrap_or(now)));
        let taken = is_login || !refused || given_up;
        hold!("I4", taken, "a share of a worker that is refused: {line}");
        let is_heavy = judged.is_block || judged.difficulty >= judged.job_difficulty;
        hold!("I4", is_heavy, "below the pool's difficulty: {judged:?}");
        let mut is_again = false;
        if let Some(made) = self.made.get_mut(&judged.hash.key()) {
            let was_named = name == user && made.named.contains(&conn);
            is_again = made.sent.contains(&conn);
            made.sent.push(conn);
            if name != user {
                made.named.push(conn);
            }
            let times = made.sent.iter().filter(|other| **other == conn).count();
            let most = made.taken as usize + usize::from(was_named);
            hold!("I4", times <= most, "sent {times} times: {line}");
        }
        (judged, is_again)
    }

    /// Whether a submit resends a block that is in no queue any more.
    pub fn is_late(&self, proxy: &Proxy<'_>, link: LinkIndex, id: &str) -> bool {
        let Some(link) = proxy.links().get(link) else { return false };
        !link.pending().iter().any(|entry| entry.request.to_string() == id)
    }

    /// I4: a resent block is a miner's; its pool may have forgotten the job. All params count: two
    /// blocks may have the same time and nonce for two jobs.
    pub fn late_block(&self, proxy: &Proxy<'_>, line: &str, message: &Message<'_>) -> Judged {
        let params = elements(message.params);
        let text = |at: usize| params.get(at).and_then(|text| unquoted(text));
        let number = |at: usize| u32::from_str_radix(text(at)?, 16).ok();
        let extranonce2 = text(2).and_then(unhex);
        let is_it = |record: &&BlockRecord| {
            Some(record.ntime.0) == number(3)
                && Some(record.nonce.0) == number(4)
                && text(1) == Some(record.job_id.as_str())
                && extranonce2.as_deref() == Some(record.extranonce2.as_slice())
        };
        let record = proxy.blocks().records().find(is_it);
        let hash = record.map(|record| Hash(record.hash.0)).filter(|hash| self.is_made(hash.key()));
        let Some(hash) = hash else { broken("I4", format!("a block that nobody made: {line}")) };
        Judged {
            id: message.id.parse().unwrap_or(0),
            hash,
            difficulty: hash.difficulty(),
            job_difficulty: 0.0,
            seq: u32::MAX,
            is_block: true,
            is_login: true,
        }
    }

    /// I4: a block is resent once per connection. F92: only to the pool for which it was found, in
    /// its account's name.
    pub fn tried_late(
        &mut self,
        conn: usize,
        (pool, user): (usize, &str),
        judged: &Judged,
        line: &str,
    ) {
        let key = judged.hash.key();
        let home = self.made.get(&key).map(|made| made.pool);
        hold!("F92", home == Some(pool), "to pool {pool}, and is of {home:?}: {judged:?}");
        hold!("F92", worker_of(line) == user, "for another account than {user}: {line}");
        hold!("I4", self.late.insert((conn, key)), "tried late again on {conn}: {judged:?}");
    }

    /// A block of an earlier run is treated like one of this run.
    pub fn restored(&mut self, key: u64, pool: usize) {
        let made = self.made.entry(key).or_default();
        (made.pool, made.is_block) = (pool, true);
    }

    /// The keys of all found blocks, with their pools.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, usize)> {
        let blocks = self.made.iter().filter(|(_, made)| made.is_block);
        blocks.map(|(key, made)| (*key, made.pool))
    }

    /// Whether a block was resent at all.
    pub fn was_tried_late(&self, key: u64) -> bool {
        self.late.iter().any(|(_, tried)| *tried == key)
    }

    /// I1: the counts of answers match the pool's answers.
    pub fn pool_said(&mut self, conn: &mut Conn, said: &[Said], ended: bool, now: u64) {
        for said in said {
            let (id, accepted, code) = match *said {
                Said::Answer { id, accepted, code } => (id, accepted, code),
                Said::NameMinded { id } => (id, false, None),
                Said::Repeated { id } => {
                    conn.earnings.repeated(id);
                    continue;
                }
                _ => continue,
            };
            let Some(at) = conn.outstanding.iter().position(|(known, _)| *known == id) else {
                continue;
            };
            let (_, since) = conn.outstanding.swap_remove(at);
            // Near the end of its time an answer may come too late, and so may one in the same
            // read as the line that ended the link.
            if matches!(said, Said::NameMinded { .. }) {
                conn.earnings.minded(now);
            }
            let may_go = !accepted && conn.earnings.may_go_again(id, code);
            let in_time = !ended && !may_go && now - since + 1_000_000 < ANSWER_MAX.as_micros();
            let counts = if accepted { &mut self.accepted } else { &mut self.refused };
            if in_time {
                counts.0 += 1
            } else {
                counts.1 += 1
            }
            conn.earnings.answered(id, in_time.then_some((accepted, code)));
        }
    }
}

/// Whether an answer says that a share is stale, known or too light.
fn is_judged_bad(answer: &Message<'_>) -> bool {
    let error = elements(answer.error);
    let code: Option<i64> = error.first().and_then(|code| code.parse().ok());
    code.is_some_and(|code| (21..=23).contains(&code))
}

/// The first param of a submit.
pub fn worker_of(line: &str) -> String {
    let params = message(line).map(|message| elements(message.params));
    let name = params.and_then(|params| unquoted(params.first()?).map(str::to_owned));
    name.unwrap_or_default()
}

fn serial(number: u32) -> Serial {
    Serial::from_digits(format!("{number:08x}").as_bytes()).unwrap_or(Serial::NONE)
}

/// Checks all invariants that hold between any two events.
pub fn check(world: &mut World<'_>) {
    i1_conservation(world);
    i2_bounds(world);
    i3_isolation(world);
    i4_identity(world);
    service_within_two_seconds(world);
    i8_speech(world);
}

/// Submits received = accepted + rejected + pending + held + orphaned, in the engine's totals, in
/// the sums of its miners' counts, and in the books.
fn i1_conservation(world: &World<'_>) {
    let (ledger, checks) = (world.proxy.ledger(), &world.checks);
    hold!("I1", ledger.check(), "the ledger's sums disagree: {ledger:?}");
    let engine =
        (ledger.submitted(), ledger.below_upstream(), ledger.forwarded(), ledger.rejected());
    let books = (checks.submitted, checks.below, checks.forwarded, checks.rejected);
    hold!(
        "I1",
        engine == books,
        "submitted, below, forwarded, rejected: {engine:?}, sent {books:?}"
    );
    let accepted = ledger.of(Bucket::PoolAccepted);
    let (sure, unsure) = checks.accepted;
    let fits = (sure..=sure + unsure).contains(&accepted);
    hold!("I1", fits, "pool accepted {accepted}, pools said {sure} to {}", sure + unsure);
    let rejected = ledger.pool_rejected();
    let (sure, unsure) = checks.refused;
    let fits = (sure..=sure + unsure).contains(&rejected);
    hold!("I1", fits, "pool rejected {rejected}, pools said {sure} to {}", sure + unsure);
    let (said, blocks) = checks.full;
    let full = ledger.of(Bucket::Orphaned(Orphan::QueueFull));
    let fits = (said..=said + blocks).contains(&full);
    hold!("F91", fits, "{full} shares found no room, {said} miners heard so, {blocks} blocks");
    let mut waiting = [0_u64; 3];
    for (_, link) in world.proxy.links().iter() {
        for entry in link.pending().iter() {
            waiting[match entry.stage {
                Stage::Queued | Stage::Sent => 0,
                Stage::Held => 1,
                Stage::Answered(_) => 2,
            }] += 1;
        }
    }
    let counted = [ledger.of(Bucket::Pending), ledger.of(Bucket::Held)];
    hold!("I1", counted == waiting[..2], "pending, held: {counted:?}, waiting {waiting:?}");
    let due: u64 = world.proxy.miners().map(|(_, session)| u64::from(session.answers_due())).sum();
    hold!("I1", due <= waiting[2], "{due} answers due, {} kept", waiting[2]);
    // Of the miners' own counts those of one are looked at, in turn.
    let turn = world.trace.events as usize % checks.ports.len();
    let End::Miner { handle, .. } = (match checks.ports[turn] {
        Some(conn) => world.conns[conn].end,
        None => return,
    }) else {
        return;
    };
    if let Some(session) = world.proxy.miner(handle) {
        i1_own_counts(session.counts());
    }
}

/// A miner's orphaned shares were accepted before.
fn i1_own_counts(counts: &Counts) {
    let orphaned: u32 = Orphan::ALL.iter().map(|reason| counts.of(Bucket::Orphaned(*reason))).sum();
    hold!("I1", orphaned <= counts.accepted(), "a miner's counts: {counts:?}");
}

/// No container exceeds its bound, and nothing leaks: slots, ids, waiting shares.
fn i2_bounds(world: &World<'_>) {
    let (used, capacity) = world.proxy.occupancy();
    let ports = world.checks.ports.iter().flatten().count();
    hold!(
        "I2",
        used == ports && used <= capacity,
        "{used} of {capacity} places, {ports} connections"
    );
    let mut seated = [0_usize; 16];
    for (_, session) in world.proxy.miners() {
        if let Some(seat) = session.seat() {
            seated[usize::from(seat.lane)] += 1;
        }
    }
    for (lane, seated) in world.proxy.links().lanes().iter().zip(seated) {
        hold!("I2", lane.ids_used() == seated, "{} ids for {seated} miners", lane.ids_used());
    }
    for (index, link) in world.proxy.links().iter() {
        let pending = link.pending();
        let kept = pending.iter().count();
        hold!("I2", kept == pending.len(), "{index:?}: {kept} shares, counted {}", pending.len());
        hold!("I2", kept <= world.plan.pending, "{index:?}: {kept} shares wait");
    }
    hold!("I2", world.proxy.events_lost() == 0, "{} events lost", world.proxy.events_lost());
}

/// Every reading miner that can work has the newest job at once, whatever others do.
fn i3_isolation(world: &World<'_>) {
    if world.is_stalled() {
        return;
    }
    for conn in world.checks.ports.iter().flatten().map(|conn| &world.conns[*conn]) {
        let End::Miner { handle, miner } = conn.end else { continue };
        let Some(session) = world.proxy.miner(handle) else { continue };
        if conn.blocked_since.is_some() || session.state() != State::Authorized {
            continue;
        }
        // What it should hold.
        let due = feed(&world.proxy, session).and_then(|(route, link)| {
            let current = route.current()?;
            let is_live = link.state() == upstream::State::Live;
            (is_live && link.kept_job(current)?.live).then_some(current)
        });
        let told = session.told_job();
        let holds_it = due.is_none_or(|current| told == current);
        hold!("I3", holds_it, "miner {miner} holds {told:?} while {due:?} is out");
    }
}

/// The route and the link of a miner's jobs: the first of its goal that it fits.
fn feed<'p>(proxy: &'p Proxy<'_>, session: &Downstream) -> Option<(&'p Route, &'p Link<'p>)> {
    let (seat, goal) = (session.seat()?, session.goal());
    let lane = proxy.links().lanes().get(usize::from(seat.lane))?;
    let routes = [lane.route(goal)?, lane.roomy_route(goal)?];
    routes.into_iter().find_map(|route| {
        let link = proxy.links().get(route.serves()?)?;
        link.extranonce2_size().is_none_or(|size| size >= need(&seat)).then_some((route, link))
    })
}

/// Required bytes of a miner's extranonce2.
fn need(seat: &Seat) -> u8 {
    let geometry = seat.space.geometry;
    geometry.miner_id_bytes() + geometry.roll_bytes()
}

/// No two live miners share search space, by their own lines; a miner's space never changes, and it
/// fits every pool that is live at its assignment (F89).
fn i4_identity(world: &mut World<'_>) {
    let mut prefixes: Vec<&str> = Vec::new();
    for conn in world.checks.ports.iter().flatten() {
        let Some(own) = world.conns[*conn].view.prefix.as_deref() else { continue };
        let mut shared = prefixes.iter().filter(|at| at.starts_with(own) || own.starts_with(**at));
        hold!("I4", shared.next().is_none(), "two miners share {own}");
        prefixes.push(own);
    }
    for port in 0..world.checks.ports.len() {
        let Some(conn) = world.checks.ports[port] else { continue };
        let End::Miner { handle, .. } = world.conns[conn].end else { continue };
        let Some(seat) = world.proxy.miner(handle).and_then(|session| session.seat()) else {
            continue;
        };
        let known = world.conns[conn].view.seat;
        hold!("I4", known.is_none_or(|known| known == seat), "a miner was moved to {seat:?}");
        if known.is_none() {
            let open = world.proxy.links().iter().filter(|(_, link)| link.state().is_open());
            let least = open.filter_map(|(_, link)| link.extranonce2_size()).min();
            let fits = least.is_none_or(|least| need(&seat) <= least);
            hold!("F89", fits, "{seat:?} does not fit a pool of {least:?} bytes that is there");
            world.conns[conn].view.seat = Some(seat);
        }
    }
}

/// A new miner is mining within two seconds if a pool that it fits has work (F88).
fn service_within_two_seconds(world: &mut World<'_>) {
    let (now, is_stalled) = (world.now, world.is_stalled());
    for port in 0..world.checks.ports.len() {
        let Some(conn) = world.checks.ports[port] else { continue };
        let End::Miner { handle, miner } = world.conns[conn].end else { continue };
        let Some(session) = world.proxy.miner(handle) else { continue };
        let has_work = feed(&world.proxy, session).is_some_and(|(route, link)| {
            let job = route.current().and_then(|serial| link.kept_job(serial));
            link.state() == upstream::State::Live && job.is_some_and(|job| job.live)
        });
        let wire = &mut world.conns[conn];
        let waits = session.state() == State::Authorized
            && session.told_job() == Serial::NONE
            && wire.blocked_since.is_none()
            && has_work
            && !is_stalled;
        let since = *wire.view.waits_since.get_or_insert(now);
        if !waits {
            wire.view.waits_since = None;
        }
        hold!("F88", !waits || now - since < 2_000_000, "miner {miner} waits for its first job");
    }
}

/// Every end of a link has its event, and so a reason and a log line.
fn i8_speech(world: &World<'_>) {
    let (down, said) = (world.checks.links_down, world.checks.links_down_said);
    hold!("I8", down == said || world.is_stalled(), "{down} links went down, {said} were told");
}

/// Whether a miner fits no live pool: it connected before any of them was known, and is kept from
/// them until it reconnects.
fn is_kept_out(world: &World<'_>, session: &Downstream) -> bool {
    let fits = |seat: &Seat| world.pools.iter().any(|pool| pool.plan.n2 >= need(seat));
    session.seat().is_some_and(|seat| !fits(&seat))
}

/// The same for a miner of the world.
fn waits_outside(world: &World<'_>, miner: &crate::miner::Miner) -> bool {
    let End::Miner { handle, .. } = (match miner.conn {
        Some(conn) => world.conns[conn].end,
        None => return false,
    }) else {
        return false;
    };
    world.proxy.miner(handle).is_some_and(|session| is_kept_out(world, session))
}

/// A draining gateway has settled every share in time, and accepts no new miner.
pub fn f70_drained(world: &mut World<'_>) {
    // A block waits for its answer as long as it can (F39); miners go on until their connections
    // end, so the newest shares may be on their way.
    let now = world.instant();
    let links = world.proxy.links().iter();
    let mut waiting = links.flat_map(|(_, link)| link.pending().iter().map(move |e| (link, e)));
    let late = waiting.find(|(_, entry)| !entry.is_block() && now.since(entry.since) >= PATIENCE);
    if let Some((link, entry)) = late {
        let (age, state) = (now.since(entry.since), link.state());
        let is = (entry.request, entry.stage, &entry.worker, entry.grant);
        broken("F70", format!("waits for {age:?} at pool {}, {state:?}: {is:?}", link.pool()));
    }
}

/// At the end of that time nothing waits any more, whatever the pools did.
pub fn f70_settled(world: &World<'_>) {
    let ledger = world.proxy.ledger();
    let open = ledger.of(Bucket::Pending) + ledger.of(Bucket::Held);
    hold!("F70", open == 0 && ledger.check(), "{open} shares wait at the end");
    let readers = world.checks.ports.iter().flatten().map(|conn| &world.conns[*conn]);
    let due = |conn: &Conn| conn.due.iter().any(|sent| matches!(sent.what, What::Share(_)));
    let untold = readers.filter(|conn| conn.blocked_since.is_none() && due(conn)).count();
    hold!("F70", untold == 0, "{untold} miners wait for a verdict at the end");
    i1_conservation(world);
}

/// Whether every miner that can be served has the newest job of a live pool.
pub fn is_well(world: &World<'_>) -> bool {
    let miners = world.proxy.miners().filter(|(_, session)| session.state() == State::Authorized);
    let mut served = 0;
    for (_, session) in miners {
        served += 1;
        if is_kept_out(world, session) {
            continue;
        }
        let is_well = feed(&world.proxy, session).is_some_and(|(route, link)| {
            link.state() == upstream::State::Live && route.current() == Some(session.told_job())
        });
        if !is_well {
            return false;
        }
    }
    let has_job = |miner: &&crate::miner::Miner| {
        miner.conn.is_some() && (miner.newest().is_some() || waits_outside(world, miner))
    };
    served == world.miners.len() && world.miners.iter().filter(has_job).count() == served
}

/// 30 s after the faults every miner has the newest job of its pool.
pub fn i6_newest_job(world: &mut World<'_>) {
    for miner in &world.miners {
        if waits_outside(world, miner) || world.checks.is_refused_anywhere(miner.index) {
            continue;
        }
        let index = miner.index;
        hold!("I6", miner.conn.is_some(), "miner {index} is not connected");
        hold!("I6", miner.newest().is_some(), "miner {index} has no job");
    }
}

/// Every miner's share has reached its pool.
pub fn i6_liveness(world: &World<'_>) {
    if let Some(detail) = lacking(world) {
        broken("I6", detail);
    }
}

/// Returns the missing condition until every miner's share has reached a pool.
pub fn lacking(world: &World<'_>) -> Option<String> {
    let checks = &world.checks;
    let well = |index: usize| {
        !checks.is_refused_anywhere(index) && !waits_outside(world, &world.miners[index])
    };
    let probed: Vec<usize> = checks.probes.iter().map(|(miner, _)| *miner).collect();
    for miner in world.miners.iter().filter(|miner| well(miner.index)) {
        if !probed.contains(&miner.index) && miner.can_share() {
            return Some(format!("miner {} found no share", miner.index));
        }
    }
    let arrived = |miner: usize| {
        let of_miner = checks.probes.iter().filter(|(of, _)| *of == miner);
        of_miner.filter_map(|(_, key)| checks.made.get(key)).any(|made| made.arrived)
    };
    let late = probed.into_iter().filter(|miner| well(*miner)).find(|miner| !arrived(*miner));
    late.map(|miner| format!("the last shares of miner {miner} reached no pool"))
}

impl Checks {
    /// A share that was found too early is repeated.
    pub fn forget_probes(&mut self) {
        self.probes.clear();
    }
}
