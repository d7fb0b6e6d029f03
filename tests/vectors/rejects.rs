//! Submits and their verdicts (`rejects.json`, `jobs.json`) through the production proxy.
//!
//! A context names the extranonce1 of a share. The test's pool gives its front; padding and miner
//! id form the rest, in every possible split. So a miner of the farm searches exactly the context's
//! space, and the pool must receive exactly its coinbase.

use loka_stratum::ledger::Bucket;
use loka_stratum::limits::JOBS_PER_LINK;
use loka_stratum::proxy::Event;
use loka_stratum::table::MinerHandle;
use loka_stratum::upstream::LinkIndex;
use loka_stratum::wire::client::{self, Request};
use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::{Geometry, MinerId, Space};
use loka_stratum::work::header::{NTime, PrevHash};
use loka_stratum::work::job::Job;
use loka_stratum::work::share::Share;
use loka_stratum::work::target::NBits;
use loka_stratum::work::version::{Version, VersionMask};
use serde_json::{Value, json};

use super::farm::{self, Farm, notified, parse, set_difficulty};
use super::{array, branches, bytes, collections, hex, target, text, word};

#[test]
fn rejects() {
    for folder in collections() {
        let document = std::fs::read_to_string(folder.join("rejects.json")).unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        let cases = document["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{}", folder.display());
        for case in cases {
            let context = &document["contexts"][text(case, "context")];
            for split in splits(context) {
                check_case(context, case, &split);
            }
        }
    }
}

#[test]
fn jobs_through_the_proxy() {
    super::for_each("jobs.json", "jobs", |job| {
        for split in splits(job) {
            let name = format!("{} as {split:?}", text(job, "name"));
            let mut session = Session::open(job, &split, &Before::authorized(job));
            let id = session.job.clone();
            for submit in job["submits"].as_array().unwrap() {
                let accept = submit["expect"]["verdict"] == "accept";
                let answer = session.submit(&with_job(&submit["params"], job, &id));
                assert_eq!(answer["result"] == true, accept, "{name}: {answer}");
                if accept {
                    session.check_forwarded(job, &split, &submit["params"], &name);
                }
                let is_block = submit["expect"]["block"] == true;
                assert_eq!(session.heard_of_block(), is_block, "{name}");
            }
        }
    });
}

/// The parts of an extranonce1: the pool's part, zeros, and the miner's id.
#[derive(Debug)]
struct Split {
    pool: Vec<u8>,
    id: Vec<u8>,
}

impl Split {
    /// The required miner id.
    fn miner_id(&self) -> u16 {
        self.id.iter().fold(0, |id, byte| id << 8 | u16::from(*byte))
    }

    /// The first id to assign, as an id of two bytes.
    fn first_id(&self) -> u16 {
        if self.id.len() == 1 { self.miner_id() << 8 } else { self.miner_id() }
    }

    /// The extranonce2 size of the pool for miners that roll `roll` bytes, without a pad.
    fn pool_size(&self, roll: u8) -> u8 {
        self.id.len() as u8 + roll
    }
}

/// Every split of a context's extranonce1; none if miners could not roll its size.
fn splits(context: &Value) -> Vec<Split> {
    let extranonce1 = bytes(text(context, "extranonce1"));
    let roll = roll_bytes(context);
    let mut splits = vec![];
    for id_bytes in 1..=2_u8 {
        if Geometry::new(id_bytes, roll).is_none() || extranonce1.len() < usize::from(id_bytes) {
            continue;
        }
        let (front, id) = extranonce1.split_at(extranonce1.len() - usize::from(id_bytes));
        let split = Split { pool: front.to_vec(), id: id.to_vec() };
        // A pool has no larger extranonce2.
        if split.pool_size(roll) <= 16 {
            splits.push(split);
        }
    }
    if splits.is_empty() {
        eprintln!("left out: no miner rolls {roll} bytes behind an extranonce1 of {extranonce1:?}");
    }
    splits
}

fn roll_bytes(context: &Value) -> u8 {
    context["extranonce2_size"].as_u64().unwrap().try_into().unwrap()
}

/// The miner's requests before the submit.
struct Before {
    subscribed: bool,
    workers: Vec<String>,
    difficulty: f64,
}

impl Before {
    fn of(context: &Value, case: &Value) -> Self {
        let state = |key: &str| case["state"].get(key).unwrap_or(&context[key]).clone();
        let workers = state("authorized");
        let difficulty = match case["difficulty"].as_str() {
            Some(text) => text.parse().unwrap(),
            None => context["difficulty"].as_f64().unwrap(),
        };
        Self {
            subscribed: state("subscribed") == true,
            workers: serde_json::from_value(workers).unwrap(),
            difficulty,
        }
    }

    /// All fields of a share for this job.
    fn authorized(job: &Value) -> Self {
        let workers = job["submits"].as_array().unwrap().iter();
        let workers = workers.map(|submit| submit["params"][0].as_str().unwrap().to_owned());
        let difficulty = job["difficulty"].as_f64().unwrap();
        Self { subscribed: true, workers: workers.collect(), difficulty }
    }
}

/// A farm with one miner, which searches a context's space.
struct Session {
    farm: Farm,
    link: LinkIndex,
    miner: MinerHandle,
    /// The miners' id of the job.
    job: String,
}

impl Session {
    #[track_caller]
    fn open(context: &Value, split: &Split, before: &Before) -> Self {
        // The second pool never answers, so the stored geometry applies.
        let mut options = farm::options(2);
        options.geometry = Geometry::new(split.id.len() as u8, roll_bytes(context));
        options.first_miner_id = split.first_id();
        // Above every pool, so that a miner is told the pool's difficulty or just below.
        options.vardiff.start = options.vardiff.max;
        let miners = if split.id.len() == 1 { 2 } else { 129 };
        let mut farm = Farm::sized(miners, 1, options);
        let link = farm.dialled();
        let mask = context["version_mask"].as_str();
        farm.handshake_with(link, &hex(&split.pool), split.pool_size(roll_bytes(context)), mask);
        farm.pool_says(link, &set_difficulty(before.difficulty));
        farm.pool_says(link, &notify(&context["notify"]));

        let miner = farm.connect();
        let mut heard = vec![];
        if let Some(mask) = mask {
            let rolling = json!([["version-rolling"], {"version-rolling.mask": mask}]);
            heard = farm.send(miner, &request(1, "mining.configure", &rolling));
            assert_eq!(parse(&heard[0])["result"]["version-rolling.mask"], mask);
        }
        if before.subscribed {
            heard = farm.send(miner, &request(2, "mining.subscribe", &json!([])));
            let result = &parse(&heard[0])["result"];
            assert_eq!(result[1], hex(&split.id), "the miner's own part of extranonce1");
            assert_eq!(result[2], roll_bytes(context));
        }
        for worker in &before.workers {
            heard.extend(farm.send(miner, &request(3, "mining.authorize", &json!([worker, "x"]))));
        }
        // A miner that is not told the job could have it from its neighbour.
        if before.workers.is_empty() {
            (_, heard) = farm.miner("neighbour");
        }
        let notify = notified(&heard);
        let coinb1 =
            [context["notify"][2].as_str().unwrap(), text(context, "extranonce1")].concat();
        let coinb1 = coinb1.strip_suffix(&hex(&split.id)).unwrap();
        assert_eq!(notify[2], coinb1, "coinb1 ‖ E1");
        for same in [1, 3, 4, 5, 6, 7] {
            assert_eq!(notify[same], context["notify"][same]);
        }
        let job = notify[0].as_str().unwrap().to_owned();
        farm.pool_hears(link);
        Self { farm, link, miner, job }
    }

    #[track_caller]
    fn submit(&mut self, params: &Value) -> Value {
        let submitted = self.farm.proxy.ledger().submitted();
        let answer = self.farm.submit(self.miner, params.clone());
        assert_eq!(self.farm.proxy.ledger().submitted(), submitted + 1, "counted once");
        answer
    }

    /// Checks that the pool receives the share unchanged, and accepts it.
    #[track_caller]
    fn check_forwarded(&mut self, context: &Value, split: &Split, submit: &Value, name: &str) {
        let accepted = self.farm.proxy.ledger().of(Bucket::PoolAccepted);
        let heard = self.farm.pool_accepts(self.link);
        assert_eq!(self.farm.proxy.ledger().of(Bucket::PoolAccepted), accepted + 1, "{name}");
        let field = |at: usize| submit[at].as_str().unwrap().to_lowercase();
        let extranonce2 = [hex(&split.id), field(2)].concat();
        let job = &context["notify"];
        let mut expected = vec!["farm.gateway".to_owned(), job[0].as_str().unwrap().to_owned()];
        expected.extend([extranonce2, field(3), field(4)]);
        if let Some(mask) = context["version_mask"].as_str() {
            let unrolled = word(job[5].as_str().unwrap()) & word(mask);
            let bits = submit[5].as_str().map_or(unrolled, word);
            expected.push(format!("{bits:08x}"));
        }
        assert_eq!(heard["params"], json!(expected), "{name}");
    }

    fn heard_of_block(&mut self) -> bool {
        let events = std::iter::from_fn(|| self.farm.proxy.poll_event());
        events.filter(|event| matches!(event, Event::Block { .. })).count() == 1
    }

    /// Plays the pool's preceding events of a case.
    fn happen(&mut self, context: &Value, event: &str) {
        let mut later = context["notify"].clone();
        later[0] = "later".into();
        let mut times = 1;
        match event {
            "notify of another job with clean_jobs true and another prevhash" => {
                later[1] = "11".repeat(32).into();
                later[8] = true.into();
            }
            "notify of another job with clean_jobs false and the same prevhash" => {
                later[8] = false.into();
            }
            "as many later notifies with clean_jobs false as push the job out of the bound" => {
                later[8] = false.into();
                times = JOBS_PER_LINK;
            }
            // The pool knows the gateway's account only; a name is refused to a miner by being
            // no name at all.
            "authorize worker.1 answered with result false" => {
                let refused = request(4, "mining.authorize", &json!(["", "x"]));
                let heard = self.farm.send(self.miner, &refused);
                assert_eq!(parse(&heard[0])["error"][0], 24);
                return;
            }
            other => panic!("an event that is not known: {other}"),
        }
        for _ in 0..times {
            self.farm.pool_says(self.link, &notify(&later));
            self.farm.due(self.miner);
        }
    }
}

#[track_caller]
fn check_case(context: &Value, case: &Value, split: &Split) {
    let name = format!("{} as {split:?}", text(case, "name"));
    if let Some(target) = case["target"].as_str() {
        return check_exactly(context, case, split, target, &name);
    }
    let mut session = Session::open(context, split, &Before::of(context, case));
    let job = session.job.clone();
    for before in case["accepted_before"].as_array().into_iter().flatten() {
        let answer = session.submit(&with_job(before, context, &job));
        assert_eq!(answer["result"], true, "{name}: {before}");
        session.check_forwarded(context, split, before, &name);
    }
    for event in case["events_before"].as_array().into_iter().flatten() {
        session.happen(context, event.as_str().unwrap());
    }
    let answer = session.submit(&with_job(&case["submit"], context, &job));
    check_verdict(case, answer["error"][0].as_u64(), answer["result"] == true, &name);
    if answer["result"] == true {
        session.check_forwarded(context, split, &case["submit"], &name);
    } else {
        assert_eq!(session.farm.pool_hears(session.link), [""; 0], "{name}: nothing is forwarded");
    }
}

#[track_caller]
fn check_verdict(case: &Value, code: Option<u64>, accepted: bool, name: &str) {
    let expect = &case["expect"];
    let also = expect["also_acceptable"].as_array().into_iter().flatten();
    let mut codes = also.chain(expect.get("code"));
    let good = match code {
        None => accepted && expect["accept"] == true,
        Some(code) => !accepted && codes.any(|acceptable| *acceptable == code),
    };
    assert!(good, "{name}: got {code:?} instead of {expect}");
}

/// Judges a share against a target without a corresponding difficulty, which no pool could set.
#[track_caller]
fn check_exactly(context: &Value, case: &Value, split: &Split, display: &str, name: &str) {
    let line = request(1, "mining.submit", &case["submit"]);
    let Request::Submit(submit) = client::parse(line.as_bytes()).unwrap().request else {
        panic!("{name}: no submit");
    };
    let geometry = Geometry::new(split.id.len() as u8, roll_bytes(context)).unwrap();
    let space = Space { geometry, id: MinerId(split.miner_id()), turn: 0 };
    let share = Share::decode(&submit, space, split.pool_size(roll_bytes(context))).unwrap();
    let notify = |at: usize| context["notify"][at].as_str().unwrap();
    let mask = VersionMask(context["version_mask"].as_str().map_or(0, word));
    let mut job = Job::vacant();
    job.prefix = CoinbasePrefix::new(&[&bytes(notify(2)), &split.pool]);
    job.branches = branches(&context["notify"][4]).into_iter().collect();
    job.prev_hash = PrevHash::from_stratum(&array(notify(1)));
    job.version = Version(word(notify(5)));
    job.nbits = NBits(word(notify(6)));
    job.ntime = NTime(word(notify(7)));
    // Nothing reaches the pool or the network by itself.
    job.target = Difficulty::new(1e60).unwrap().to_target();
    job.network_target = job.target;
    let coinb2 = bytes(notify(3));
    let verdict = share.judge(&job, &coinb2, mask, &target(display), |_| false);
    let code = verdict.as_ref().err().map(|_| 23);
    check_verdict(case, code, verdict.is_ok(), name);
}

/// The params of a submit, with the pool's job id replaced by the miners' id.
fn with_job(params: &Value, context: &Value, job: &str) -> Value {
    let mut params = params.clone();
    let known = context["notify"][0].as_str().unwrap();
    let id = params.get(1).and_then(Value::as_str).unwrap_or("").to_owned();
    if id == known {
        params[1] = job.into();
    } else if id.eq_ignore_ascii_case(known) {
        // The same id in another case.
        assert_ne!(job, job.to_uppercase());
        params[1] = job.to_uppercase().into();
    }
    params
}

fn notify(params: &Value) -> String {
    json!({"id": null, "method": "mining.notify", "params": params}).to_string()
}

fn request(id: u32, method: &str, params: &Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}
