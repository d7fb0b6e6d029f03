//! The ledger under any order of events: connections, shares of every kind, time, and pools that
//! answer, fall silent, and come back with the same or another session.
//!
//! A model beside the farm counts its own requests and the answers. After every step: every submit
//! is in exactly one bucket, in total and for its miner; no two miners share a slot; no share is
//! sent twice to one session of the pool. At the end nothing is open, and every request has had
//! exactly one answer.

mod farm;

use std::collections::{HashMap, HashSet};

use farm::{Farm, HOPELESS, TRIVIAL, job, notified, notify, notify_of, options, parse};
use loka_stratum::downstream::State;
use loka_stratum::ledger::Bucket;
use loka_stratum::proxy::{Options, VerdictMode};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// The kind of a submit.
#[derive(Clone, Copy, Debug)]
enum Share {
    /// A new share for the miner's newest job.
    New,
    /// A new share, while the socket to the pool is full.
    Blocked,
    /// The previous share again.
    Again,
    /// For an unknown job.
    NoJob,
    /// Under an unauthorized name.
    NoName,
    /// With an invalid hex field.
    NoHex,
    /// No params at all.
    NoParams,
}

#[derive(Clone, Debug)]
enum Step {
    /// A miner that completes the handshake, so that most later steps have an effect.
    Miner,
    Connect,
    Subscribe(Index),
    Authorize(Index),
    Submit(Index, Share),
    Disconnect(Index),
    /// The pool accepts or refuses one of its received shares.
    Answer(Index, bool),
    /// The pool answers a share that it answered before, or never received.
    AnswerAgain,
    Job {
        clean: bool,
        block: bool,
    },
    /// A submit while the socket to the pool is full, and the number of jobs until it is free.
    Flood(Index, u8),
    Difficulty(bool),
    Extranonce(bool),
    Mask(bool),
    Lost,
    /// Dialled pools connect, with the same or another session.
    Back(bool),
    /// Dialled pools do not answer.
    Away,
    Wait(u16),
}

/// Steps, the pool that they concern, and whether miners read their due output afterwards: some are
/// slow.
fn steps() -> impl Strategy<Value = Vec<(Step, Index, bool)>> {
    let share = prop_oneof![
        6 => Just(Share::New),
        2 => Just(Share::Blocked),
        1 => Just(Share::Again),
        1 => Just(Share::NoJob),
        1 => Just(Share::NoName),
        1 => Just(Share::NoHex),
        1 => Just(Share::NoParams),
    ];
    let step = prop_oneof![
        4 => Just(Step::Miner),
        1 => Just(Step::Connect),
        1 => any::<Index>().prop_map(Step::Subscribe),
        1 => any::<Index>().prop_map(Step::Authorize),
        16 => (any::<Index>(), share).prop_map(|(miner, share)| Step::Submit(miner, share)),
        1 => any::<Index>().prop_map(Step::Disconnect),
        6 => (any::<Index>(), any::<bool>()).prop_map(|(id, yes)| Step::Answer(id, yes)),
        1 => Just(Step::AnswerAgain),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(clean, block)| Step::Job { clean, block }),
        1 => (any::<Index>(), 1..24_u8).prop_map(|(miner, jobs)| Step::Flood(miner, jobs)),
        1 => any::<bool>().prop_map(Step::Difficulty),
        1 => any::<bool>().prop_map(Step::Extranonce),
        1 => any::<bool>().prop_map(Step::Mask),
        1 => Just(Step::Lost),
        2 => any::<bool>().prop_map(Step::Back),
        1 => Just(Step::Away),
        2 => (0..20_000_u16).prop_map(Step::Wait),
    ];
    prop::collection::vec((step, any::<Index>(), prop::bool::weighted(0.7)), 1..120)
}

/// The model's record of a miner.
struct Miner {
    handle: MinerHandle,
    /// Its newest job.
    job: Option<Value>,
    last_share: Option<Value>,
    submitted: u32,
    /// Its requests, with the number of answers to each.
    answers: HashMap<u64, u32>,
}

/// The model's record of a session with a pool.
struct Session {
    link: LinkIndex,
    /// Received requests without an answer.
    owed: Vec<Value>,
    answered: Vec<Value>,
    /// The pool's received shares.
    seen: HashSet<String>,
}

struct World {
    farm: Farm,
    sessions: Vec<Session>,
    miners: Vec<Miner>,
    submitted: u64,
    next_id: u64,
    next_job: u32,
    block: u8,
}

const WORKER: &str = "farm.s19";

impl World {
    fn new(verdict: VerdictMode, pools: usize) -> Self {
        let farm = Farm::sized(6, pools + 1, Options { verdict, ..options(pools) });
        let mut world = Self {
            farm,
            sessions: vec![],
            miners: vec![],
            submitted: 0,
            next_id: 100,
            next_job: 0,
            block: 1,
        };
        world.back("c0ffee");
        world
    }

    fn step(&mut self, step: Step, pool: Index, listen: bool) {
        self.hang_up();
        let session = (!self.sessions.is_empty()).then(|| pool.index(self.sessions.len()));
        let count = self.miners.len();
        let chosen = |index: &Index| (count > 0).then(|| index.index(count));
        match &step {
            Step::Connect => self.connect(),
            Step::Miner => {
                self.connect();
                if self.miners.len() > count {
                    self.say(count, "mining.subscribe", json!([]), false);
                    self.say(count, "mining.authorize", json!([WORKER, "x"]), false);
                }
            }
            Step::Subscribe(index) => {
                if let Some(miner) = chosen(index) {
                    self.say(miner, "mining.subscribe", json!([]), false);
                }
            }
            Step::Authorize(index) => {
                if let Some(miner) = chosen(index) {
                    self.say(miner, "mining.authorize", json!([WORKER, "x"]), false);
                }
            }
            Step::Submit(index, share) => {
                if let Some(miner) = chosen(index) {
                    self.submit(miner, *share);
                }
            }
            Step::Disconnect(index) => {
                if let Some(miner) = chosen(index) {
                    let gone = self.miners.swap_remove(miner);
                    self.farm.proxy.handle_disconnect(gone.handle);
                }
            }
            Step::Wait(millis) => self.farm.wait(Duration::from_millis(u64::from(*millis))),
            Step::Back(same) => self.back(if *same { "c0ffee" } else { "abad1d" }),
            Step::Away => self.away(),
            Step::Flood(index, jobs) => {
                if let (Some(miner), Some(session)) = (chosen(index), session) {
                    self.submit(miner, Share::Blocked);
                    self.flood(self.sessions[session].link, *jobs);
                }
            }
            pool => {
                if let Some(session) = session {
                    self.pool(session, pool);
                }
            }
        }
        if listen {
            self.listen();
        }
        self.check();
    }

    fn pool(&mut self, session: usize, step: &Step) {
        let session = &mut self.sessions[session];
        let link = session.link;
        match step {
            Step::Answer(index, yes) if !session.owed.is_empty() => {
                let id = session.owed.swap_remove(index.index(session.owed.len()));
                self.farm.pool_says(link, &json!({"id": id, "result": yes}).to_string());
                session.answered.push(id);
            }
            Step::AnswerAgain => {
                let id = session.answered.last().cloned().unwrap_or(json!(1_000_000));
                self.farm.pool_says(link, &json!({"id": id, "result": true}).to_string());
            }
            Step::Job { clean, block } => {
                self.block = self.block.wrapping_add(u8::from(*block));
                self.next_job += 1;
                let name = format!("job-{}", self.next_job);
                self.farm.pool_says(link, &notify(&name, self.block, *clean || *block));
            }
            Step::Difficulty(heavy) => {
                let difficulty = if *heavy { HOPELESS } else { TRIVIAL };
                self.farm.pool_says(link, &farm::set_difficulty(difficulty));
            }
            Step::Extranonce(other) => {
                let extranonce1 = if *other { "abad" } else { "c0ffee00" };
                let params = json!([extranonce1, 8]);
                self.tell(link, "mining.set_extranonce", &params);
            }
            Step::Mask(narrow) => {
                let mask = if *narrow { "00006000" } else { "1fffe000" };
                self.tell(link, "mining.set_version_mask", &json!([mask]));
            }
            Step::Lost => {
                self.farm.pool_lost(link);
                self.sessions.retain(|session| session.link != link);
            }
            _ => {}
        }
    }

    fn flood(&mut self, link: LinkIndex, jobs: u8) {
        for number in 0..jobs {
            let line = notify(&format!("flood-{number}"), self.block, false);
            self.farm.pool_says_unsettled(link, &line);
        }
    }

    fn tell(&mut self, link: LinkIndex, method: &str, params: &Value) {
        let line = json!({"id": null, "method": method, "params": params});
        self.farm.pool_says(link, &line.to_string());
    }

    fn connect(&mut self) {
        if let Ok(handle) = self.farm.proxy.handle_connect([0; 16], self.farm.now) {
            let answers = HashMap::new();
            self.miners.push(Miner { handle, job: None, last_share: None, submitted: 0, answers });
        }
    }

    /// Closes the connections that the engine has ended.
    fn hang_up(&mut self) {
        while let Some(link) = self.farm.proxy.poll_hangup(self.farm.now) {
            self.sessions.retain(|session| session.link != link);
        }
    }

    /// The dialled pools connect.
    fn back(&mut self, extranonce1: &str) {
        while let Some((link, pool)) = self.farm.proxy.poll_dial(self.farm.now) {
            self.farm.proxy.handle_link_up(link, self.farm.now);
            self.farm.pool_hears(link);
            let session = json!([[], format!("{extranonce1}{pool:02x}"), 8]);
            self.farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":true}}"#);
            self.farm.pool_says(link, &json!({"id": 2, "result": session}).to_string());
            self.farm.pool_says(link, r#"{"id":3,"result":true}"#);
            self.farm.pool_says(link, &farm::set_difficulty(TRIVIAL));
            self.farm.pool_says(link, &notify_of(&job("back", self.block, true)));
            let session = Session { link, owed: vec![], answered: vec![], seen: HashSet::new() };
            self.sessions.push(session);
        }
    }

    /// The dialled pools do not answer.
    fn away(&mut self) {
        while let Some((link, _)) = self.farm.proxy.poll_dial(self.farm.now) {
            let lost = LinkClose::Lost(Lost::Connect);
            self.farm.proxy.handle_link_down(link, lost, self.farm.now);
        }
    }

    fn submit(&mut self, miner: usize, share: Share) {
        let known = &self.miners[miner];
        let job =
            known.job.clone().unwrap_or(json!(["a0000001", "", "", "", [], "", "", "68426000"]));
        let nonce = format!("{:08x}", self.next_id);
        let new = json!([WORKER, job[0], "0000000a", job[7], nonce]);
        let mut params = new.clone();
        match share {
            Share::New | Share::Blocked => {}
            Share::Again => params = known.last_share.clone().unwrap_or(new),
            Share::NoJob => params[1] = "deadbeef".into(),
            Share::NoName => params[0] = "nobody".into(),
            Share::NoHex => params[4] = "xyzxyzxy".into(),
            Share::NoParams => params = Value::Null,
        }
        self.miners[miner].last_share = Some(params.clone());
        self.miners[miner].submitted += 1;
        self.submitted += 1;
        self.say(miner, "mining.submit", params, matches!(share, Share::Blocked));
    }

    fn say(&mut self, miner: usize, method: &str, params: Value, blocked: bool) {
        self.next_id += 1;
        let id = self.next_id;
        let line = json!({"id": id, "method": method, "params": params}).to_string();
        let handle = self.miners[miner].handle;
        self.miners[miner].answers.insert(id, 0);
        let heard = match blocked {
            true => self.farm.send_unsettled(handle, &line),
            false => self.farm.send(handle, &line),
        };
        self.hear(miner, &heard);
    }

    /// Records a miner's received lines.
    fn hear(&mut self, miner: usize, heard: &[String]) {
        let miner = &mut self.miners[miner];
        for line in heard.iter().map(|line| parse(line)) {
            match line["method"].as_str() {
                None => {
                    let id = line["id"].as_u64().unwrap();
                    *miner.answers.get_mut(&id).expect("an answer to a request of its own") += 1;
                    assert!(line["result"].is_null() != line["error"].is_null(), "{line}");
                }
                Some("mining.notify") => miner.job = Some(notified(&[line.to_string()])),
                Some(_) => {}
            }
        }
    }

    /// Delivers all due output to miners and pool.
    fn listen(&mut self) {
        while let Some((handle, close)) = self.farm.proxy.poll_closed() {
            self.farm.proxy.handle_disconnect(handle);
            assert_eq!(close.name(), "handshake_timeout");
            self.miners.retain(|miner| miner.handle != handle);
        }
        for miner in 0..self.miners.len() {
            let heard = self.farm.due(self.miners[miner].handle);
            self.hear(miner, &heard);
        }
        for session in &mut self.sessions {
            for line in self.farm.pool_hears(session.link) {
                let line = parse(&line);
                if line["method"] == "mining.submit" {
                    let share = line["params"].to_string();
                    assert!(session.seen.insert(share), "sent twice to one session: {line}");
                    session.owed.push(line["id"].clone());
                }
            }
        }
    }

    fn check(&self) {
        let ledger = self.farm.proxy.ledger();
        assert!(ledger.check(), "{ledger:?}");
        assert_eq!(ledger.submitted(), self.submitted);
        assert_eq!(ledger.submitted(), ledger.accepted() + ledger.rejected());
        let mut seats = HashSet::new();
        let mut totals: HashMap<usize, u64> = HashMap::new();
        for miner in &self.miners {
            let session = self.farm.proxy.miner(miner.handle).unwrap();
            let counts = session.counts();
            assert_eq!(counts.submitted(), miner.submitted);
            let in_buckets: u32 = Bucket::all().map(|bucket| counts.of(bucket)).sum();
            assert_eq!(in_buckets, miner.submitted, "{counts:?}");
            for (index, bucket) in Bucket::all().enumerate() {
                *totals.entry(index).or_default() += u64::from(counts.of(bucket));
            }
            if let Some(seat) = session.seat() {
                assert!(seats.insert((seat.lane, seat.space.id)), "two miners share {seat:?}");
            }
            assert!(miner.answers.values().all(|count| *count <= 1), "{:?}", miner.answers);
        }
        for (index, bucket) in Bucket::all().enumerate() {
            let connected = totals.get(&index).copied().unwrap_or(0);
            assert!(connected <= ledger.of(bucket), "{bucket:?}: {connected} of {ledger:?}");
        }
    }

    /// Pools are live again, and every miner works for one of them (I6).
    fn revive(&mut self) {
        for _ in 0..70 {
            self.farm.wait(Duration::from_secs(1));
            self.hang_up();
            self.back("c0ffee");
            self.listen();
        }
        for session in &self.sessions {
            self.farm.pool_says(session.link, &farm::set_difficulty(TRIVIAL));
            self.farm.pool_says(session.link, &notify("last", self.block, true));
        }
        self.listen();
        for miner in 0..self.miners.len() {
            let state = self.farm.proxy.miner(self.miners[miner].handle).unwrap().state();
            if state == State::Authorized {
                let before = self.farm.proxy.ledger().of(Bucket::Pending);
                self.submit(miner, Share::New);
                let pending = self.farm.proxy.ledger().of(Bucket::Pending);
                assert_eq!(pending, before + 1, "a share of miner {miner} reaches a pool");
            }
        }
        self.listen();
        self.check();
    }

    /// Runs until nothing is open.
    fn finish(mut self) {
        for _ in 0..3 {
            self.farm.wait(Duration::from_secs(31));
            self.hang_up();
            self.listen();
            self.check();
        }
        let ledger = self.farm.proxy.ledger();
        assert_eq!((ledger.of(Bucket::Pending), ledger.of(Bucket::Held)), (0, 0));
        assert!(self.farm.proxy.is_drained());
        for miner in &self.miners {
            let unanswered = miner.answers.values().filter(|count| **count != 1).count();
            assert_eq!(unanswered, 0, "exactly one answer each: {:?}", miner.answers);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_submit_lies_in_one_bucket_and_has_one_answer(
        steps in steps(),
        waits in any::<bool>(),
        pools in 1..3_usize,
    ) {
        let verdict = if waits { VerdictMode::Pool } else { VerdictMode::Local };
        let mut world = World::new(verdict, pools);
        for (step, pool, listen) in steps {
            world.step(step, pool, listen);
        }
        world.revive();
        world.finish();
    }
}
