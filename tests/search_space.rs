//! No two miners ever search the same space, under any churn (F49, F88, I4): neither two connected
//! miners, nor a newcomer and a former miner of the same job.

mod farm;

use std::collections::HashSet;

use farm::{Farm, TRIVIAL, job, notified, notify, notify_of, options, parse, set_difficulty};
use loka_stratum::downstream::Close;
use loka_stratum::proxy::Event;
use loka_stratum::table::{IdsExhausted, MinerHandle};
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Leave(Index),
    /// A number of miners come and go, each with a job.
    Churn(u16),
    Job {
        clean: bool,
    },
    Wait(u16),
    /// The pool goes, and comes back with the same or another session.
    Reconnect {
        same: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Arrive),
        2 => any::<Index>().prop_map(Step::Leave),
        3 => (1..30_u16).prop_map(Step::Churn),
        3 => any::<bool>().prop_map(|clean| Step::Job { clean }),
        1 => (1..60_u16).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|same| Step::Reconnect { same }),
    ];
    prop::collection::vec(step, 1..40)
}

struct World {
    farm: Farm,
    link: LinkIndex,
    n2: u8,
    extranonce1: String,
    miners: Vec<Miner>,
    /// The job starts of departed miners that found shares.
    worked_on: HashSet<String>,
    jobs: u32,
}

struct Miner {
    handle: MinerHandle,
    extranonce1: String,
    roll_bytes: usize,
    /// Its newest job.
    told: Option<Value>,
    /// The start of every job, as one text: an equal text means repeated work.
    began: Vec<String>,
}

impl Miner {
    fn hear(&mut self, heard: &[String]) {
        if heard.iter().any(|line| line.contains(r#""method":"mining.notify""#)) {
            let job = notified(heard);
            let coinbase = format!("{}{}", job[2].as_str().unwrap(), self.extranonce1);
            self.began.push(json!([coinbase, job[1], job[3], job[4], job[5], job[7]]).to_string());
            self.told = Some(job);
        }
    }

    /// The miner's own part of the coinbase.
    fn prefix(&self) -> Option<String> {
        Some(format!("{}{}", self.told.as_ref()?[2].as_str()?, self.extranonce1))
    }
}

impl World {
    fn new(n2: u8) -> Self {
        let mut farm = Farm::sized(8, 4, options(1));
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee0100", n2, TRIVIAL);
        let extranonce1 = "c0ffee01".to_owned();
        Self { farm, link, n2, extranonce1, miners: vec![], worked_on: HashSet::new(), jobs: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive if self.miners.len() < 6 => {
                let arrived = self.arrive();
                self.miners.push(arrived);
            }
            Step::Arrive => {}
            Step::Leave(index) if !self.miners.is_empty() => {
                let leaving = self.miners.swap_remove(index.index(self.miners.len()));
                self.leave(leaving);
            }
            Step::Leave(_) => {}
            Step::Churn(times) => {
                for _ in 0..times {
                    let miner = self.arrive();
                    self.leave(miner);
                }
            }
            Step::Job { clean } => {
                self.jobs += 1;
                let line = notify(&format!("job-{}", self.jobs), 1, clean);
                self.farm.pool_says(self.link, &line);
            }
            Step::Wait(seconds) => {
                self.farm.wait(Duration::from_secs(u64::from(seconds)));
                self.settle();
            }
            Step::Reconnect { same } => {
                self.farm.pool_lost(self.link);
                self.farm.wait(Duration::from_secs(61));
                self.jobs += 1;
                if !same {
                    self.extranonce1 = format!("{:08x}", self.jobs);
                }
                self.settle();
            }
        }
        for miner in &mut self.miners {
            let heard = self.farm.due(miner.handle);
            miner.hear(&heard);
        }
        self.check();
    }

    /// Connects all requested links, including further lanes', each with another session.
    fn settle(&mut self) {
        while self.farm.proxy.poll_hangup(self.farm.now).is_some() {}
        while let Some((link, _)) = self.farm.proxy.poll_dial(self.farm.now) {
            self.farm.proxy.handle_link_up(link, self.farm.now);
            self.farm.pool_hears(link);
            self.farm.pool_says(link, r#"{"id":1,"result":{}}"#);
            let extranonce1 = format!("{}{:02x}", self.extranonce1, link.index());
            let session = json!({"id": 2, "result": [[], extranonce1, self.n2]});
            self.farm.pool_says(link, &session.to_string());
            self.farm.pool_says(link, r#"{"id":3,"result":true}"#);
            self.farm.pool_says(link, &set_difficulty(TRIVIAL));
            self.farm.pool_says(link, &notify_of(&job("up", 1, true)));
        }
    }

    /// A miner that completes the handshake; a slot is free, so it is served.
    fn arrive(&mut self) -> Miner {
        let (handle, heard) = self.farm.miner("w");
        let result = &parse(&heard[0])["result"];
        let (extranonce1, roll_bytes) = (result[1].as_str().unwrap(), result[2].as_u64().unwrap());
        let mut miner = Miner {
            handle,
            extranonce1: extranonce1.to_owned(),
            roll_bytes: roll_bytes as usize,
            told: None,
            began: vec![],
        };
        miner.hear(&heard);
        if let Some(began) = miner.began.last() {
            assert!(!self.worked_on.contains(began), "a newcomer repeats {began}");
        }
        miner
    }

    /// Every second miner finds a share before it leaves.
    fn leave(&mut self, miner: Miner) {
        if let Some(job) = miner.told.filter(|_| self.jobs.is_multiple_of(2)) {
            let roll = "00".repeat(miner.roll_bytes);
            let answer =
                self.farm.submit(miner.handle, json!(["w", job[0], roll, job[7], "00000000"]));
            let is_fresh = answer["result"] == true || answer["error"][0] == 21;
            assert!(is_fresh, "{answer} to {job}");
            self.worked_on.extend(miner.began);
        }
        self.farm.proxy.handle_disconnect(miner.handle);
    }

    fn check(&self) {
        let prefixes: Vec<_> = self.miners.iter().filter_map(Miner::prefix).collect();
        for (at, one) in prefixes.iter().enumerate() {
            let others = prefixes.iter().skip(at + 1);
            let mut shared =
                others.filter(|other| other.starts_with(one) || one.starts_with(*other));
            assert_eq!(shared.next(), None, "shared with {one}");
        }
        assert!(self.farm.proxy.ledger().check());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn no_two_miners_share_search_space_under_any_churn(
        n2 in prop::sample::select(vec![3_u8, 4, 6, 8]),
        steps in steps(),
    ) {
        let mut world = World::new(n2);
        for step in steps {
            world.step(step);
        }
    }
}

#[test]
fn f49_a_newcomer_without_an_id_hears_so_and_nobody_else_is_moved() {
    // Two links of 256 ids each; the first reserves some for miners of other divisions. A lane
    // without a link serves no miner.
    let mut farm = Farm::sized(500, 2, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 3, TRIVIAL);
    let mut seated = 0;
    let refused = loop {
        let miner = farm.connect();
        let line = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
        let (heard, close) = farm.bytes(miner, line);
        if close.is_some() {
            assert_eq!(close, Some(Close::IdsExhausted));
            break parse(&heard[0]);
        }
        seated += 1;
    };
    assert_eq!(seated, 192 + 256);
    assert_eq!(refused["error"][0], 20);
    let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
    assert_eq!(last, Some(Event::NoId(IdsExhausted { used: 448 })));
    assert_eq!(farm.proxy.occupancy().0, seated);
}
