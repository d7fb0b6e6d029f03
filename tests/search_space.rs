//! No two miners ever search the same space, under any churn (F49, I4): not two that are
//! connected, and not a newcomer and the one whose id it was given, as long as a job that the
//! other knew can still bring a share.

mod farm;

use std::collections::{HashMap, HashSet};

use farm::{Farm, TRIVIAL, job, notified, notify, notify_of, options, parse, set_difficulty};
use loka_stratum::downstream::{Close, Seat};
use loka_stratum::proxy::Event;
use loka_stratum::table::{IdsExhausted, MinerHandle};
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Leave(Index),
    /// So many miners come and go, each with a job.
    Churn(u16),
    Job {
        clean: bool,
    },
    Wait(u16),
    /// The pool goes, and comes back as the same session or another.
    Reconnect {
        same: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Arrive),
        2 => any::<Index>().prop_map(Step::Leave),
        3 => (1..100_u16).prop_map(Step::Churn),
        3 => any::<bool>().prop_map(|clean| Step::Job { clean }),
        1 => (1..60_u16).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|same| Step::Reconnect { same }),
    ];
    prop::collection::vec(step, 1..60)
}

struct World {
    farm: Farm,
    link: LinkIndex,
    /// It asks the farm about others' jobs.
    prober: MinerHandle,
    miners: Vec<(MinerHandle, Option<String>)>,
    /// The last job that the last holder of a place was told.
    left: HashMap<(u8, u16), String>,
    nonce: u32,
    jobs: u32,
}

impl World {
    fn new() -> Self {
        let mut farm = Farm::sized(8, 4, options(1));
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee01", 3, TRIVIAL);
        let (prober, _) = farm.miner("prober");
        Self { farm, link, prober, miners: vec![], left: HashMap::new(), nonce: 0, jobs: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive if self.miners.len() < 6 => {
                let arrived = self.arrive();
                self.miners.extend(arrived);
            }
            Step::Arrive => {}
            Step::Leave(index) if !self.miners.is_empty() => {
                let leaving = self.miners.swap_remove(index.index(self.miners.len()));
                self.leave(leaving);
            }
            Step::Leave(_) => {}
            Step::Churn(times) => {
                for _ in 0..times {
                    if let Some(miner) = self.arrive() {
                        self.leave(miner);
                    }
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
                self.settle();
                self.jobs += 1;
                let extranonce1 =
                    if same { "c0ffee01".into() } else { format!("{:08x}", self.jobs) };
                self.come_up(&extranonce1);
            }
        }
        for (miner, told) in &mut self.miners {
            let heard = self.farm.due(*miner);
            if heard.iter().any(|line| line.contains("mining.notify")) {
                *told = Some(notified(&heard)[0].as_str().unwrap().to_owned());
            }
        }
        self.farm.due(self.prober);
        self.check();
    }

    /// Takes up what is to be dialled: the links of further lanes too, each another session.
    fn settle(&mut self) {
        while self.farm.proxy.poll_hangup(self.farm.now).is_some() {}
        self.come_up("c0ffee01");
    }

    fn come_up(&mut self, extranonce1: &str) {
        while let Some((link, _)) = self.farm.proxy.poll_dial(self.farm.now) {
            self.farm.proxy.handle_link_up(link, self.farm.now);
            self.farm.pool_hears(link);
            self.farm.pool_says(link, r#"{"id":1,"result":{}}"#);
            let extranonce1 = format!("{extranonce1}{:02x}", link.index());
            let session = json!({"id": 2, "result": [[], extranonce1, 3]});
            self.farm.pool_says(link, &session.to_string());
            self.farm.pool_says(link, r#"{"id":3,"result":true}"#);
            self.farm.pool_says(link, &set_difficulty(TRIVIAL));
            self.farm.pool_says(link, &notify_of(&job("up", 1, true)));
        }
    }

    fn seat(&self, miner: MinerHandle) -> Seat {
        self.farm.proxy.miner(miner).unwrap().seat().unwrap()
    }

    /// A miner that goes through the handshake, and the job that it was told.
    fn arrive(&mut self) -> Option<(MinerHandle, Option<String>)> {
        let miner = self.farm.connect();
        let subscribe = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n";
        let (_, close) = self.farm.bytes(miner, subscribe);
        if let Some(close) = close {
            assert_eq!(close, Close::IdsExhausted);
            return None;
        }
        let seat = self.seat(miner);
        if let Some(job) = self.left.remove(&(seat.lane, seat.id.0)) {
            self.probe(&job, seat);
        }
        let authorize = r#"{"id":2,"method":"mining.authorize","params":["w","x"]}"#;
        let heard = self.farm.send(miner, authorize);
        let told = heard.iter().any(|line| line.contains("mining.notify"));
        let job = told.then(|| notified(&heard)[0].as_str().unwrap().to_owned());
        Some((miner, job))
    }

    fn leave(&mut self, (miner, told): (MinerHandle, Option<String>)) {
        let seat = self.seat(miner);
        if let Some(job) = told {
            self.left.insert((seat.lane, seat.id.0), job);
        }
        self.farm.proxy.handle_disconnect(miner);
    }

    /// The job of the one who had this place before brings no share any more.
    fn probe(&mut self, job: &str, seat: Seat) {
        if seat.lane != self.seat(self.prober).lane {
            return;
        }
        self.nonce += 1;
        let nonce = format!("{:08x}", self.nonce);
        let answer =
            self.farm.submit(self.prober, json!(["prober", job, "0000", farm::NTIME, nonce]));
        assert_eq!(answer["error"][0], 21, "{seat:?} was given away while {job} lived: {answer}");
    }

    fn check(&self) {
        let mut seats = HashSet::new();
        for (_, session) in self.farm.proxy.miners() {
            if let Some(seat) = session.seat() {
                assert!(seats.insert((seat.lane, seat.id)), "two miners share {seat:?}");
            }
        }
        assert!(self.farm.proxy.ledger().check());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_two_miners_share_search_space_under_any_churn(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}

#[test]
fn f49_a_newcomer_without_an_id_hears_so_and_nobody_else_is_moved() {
    // Two links of 256 ids each, of which half stay free; a lane that has no link helps nobody.
    let mut farm = Farm::sized(300, 2, options(1));
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
    assert_eq!(seated, 2 * 128);
    assert_eq!(refused["error"][0], 20);
    let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
    assert_eq!(last, Some(Event::NoId(IdsExhausted { used: 256, resting: 0 })));
    assert_eq!(farm.proxy.occupancy().0, seated);
}
