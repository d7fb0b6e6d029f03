//! More shares than a pool answers in time: miners are read less before any is lost (F91).
//!
//! The test plays a gateway that reads only as much as the engine allows ([`Site`]), miners whose
//! lines wait in their sockets meanwhile, and a pool that answers after a set time; all in virtual
//! time.

mod farm;

use std::collections::VecDeque;

use farm::{
    Farm, HOPELESS, TRIVIAL, job, notified, notify, notify_of, options, parse, set_difficulty,
};
use loka_stratum::ledger::{Bucket, Orphan};
use loka_stratum::limits::{ANSWER_MAX, GOALS_MAX, HOLD_MAX};
use loka_stratum::links;
use loka_stratum::proxy::{Event, Options};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::LinkIndex;
use serde_json::{Value, json};

/// Time between two looks at everything.
const STEP: Duration = Duration::from_millis(10);

/// A miner and what it has sent that was not read.
struct Socket {
    miner: MinerHandle,
    job: Value,
    unread: VecDeque<u8>,
    sent: u64,
    taken: u64,
    refused: Vec<Value>,
    /// Steps in which it had something to read and was not read.
    held_back: u32,
}

/// A farm behind a gateway that reads no more than it may.
struct Site {
    farm: Farm,
    link: LinkIndex,
    sockets: Vec<Socket>,
    /// Answers of the pool that are on their way, and when they come.
    answers: VecDeque<(Instant, String)>,
    answer_time: Duration,
}

impl Site {
    fn new(miners: usize, queue: usize, answer_time: Duration) -> Self {
        let options = Options { submit_interval: Duration::ZERO, ..options(1) };
        let mut farm = Farm::queued(miners, 2, queue, options);
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
        let sockets = (0..miners)
            .map(|_| {
                let (miner, heard) = farm.miner("farm.s19");
                let job = notified(&heard);
                let unread = VecDeque::new();
                Socket { miner, job, unread, sent: 0, taken: 0, refused: vec![], held_back: 0 }
            })
            .collect();
        Self { farm, link, sockets, answers: VecDeque::new(), answer_time }
    }

    /// A miner sends so many shares that no other sent.
    fn send(&mut self, socket: usize, shares: u64) {
        let socket = &mut self.sockets[socket];
        for _ in 0..shares {
            let params = json!([
                "farm.s19",
                socket.job[0],
                "00000001",
                socket.job[7],
                format!("{:08x}", socket.sent)
            ]);
            let line = json!({"id": socket.sent, "method": "mining.submit", "params": params});
            socket.unread.extend(format!("{line}\n").bytes());
            socket.sent += 1;
        }
    }

    /// Reads what may be read of everybody, has the pool hear and answer, and lets time pass.
    fn step(&mut self) {
        self.farm.wait(STEP);
        let _ = self.farm.proxy.poll_relief();
        for at in 0..self.sockets.len() {
            self.read(at);
        }
        for line in self.farm.pool_hears(self.link) {
            let submit = parse(&line);
            if submit["method"] == "mining.submit" {
                let answer = json!({"id": submit["id"], "result": true, "error": null});
                self.answers.push_back((self.farm.now + self.answer_time, answer.to_string()));
            }
        }
        while self.answers.front().is_some_and(|(at, _)| *at <= self.farm.now) {
            let (_, answer) = self.answers.pop_front().unwrap();
            self.farm.pool_says_unsettled(self.link, &answer);
        }
    }

    fn read(&mut self, at: usize) {
        let socket = &mut self.sockets[at];
        while !socket.unread.is_empty() {
            let wanted = self.farm.proxy.poll_read(socket.miner).min(socket.unread.len());
            if wanted == 0 {
                socket.held_back += 1;
                return;
            }
            let bytes: Vec<u8> = socket.unread.drain(..wanted).collect();
            for answer in self.farm.read(socket.miner, &bytes) {
                let answer = parse(&answer);
                if answer["method"].is_string() {
                    continue;
                }
                if answer["result"] == true {
                    socket.taken += 1;
                } else {
                    socket.refused.push(answer["error"].clone());
                }
            }
        }
    }

    fn run(&mut self, length: Duration) {
        let end = self.farm.now + length;
        while self.farm.now < end {
            self.step();
        }
    }

    fn of(&self, bucket: Bucket) -> u64 {
        self.farm.proxy.ledger().of(bucket)
    }

    /// What was lost of what was answered `true`, and everything that was refused.
    fn lost(&self) -> (u64, Vec<Value>) {
        let lost = Orphan::ALL.iter().map(|reason| self.of(Bucket::Orphaned(*reason))).sum();
        (lost, self.sockets.iter().flat_map(|socket| socket.refused.clone()).collect())
    }

    fn waits(&self) -> usize {
        self.farm.proxy.links().get(self.link).unwrap().pending().len()
    }
}

#[test]
fn f91_5_000_shares_a_second_at_400_ms_are_all_sent_and_answered() {
    let mut site = Site::new(100, 4096, Duration::from_millis(400));
    let steps = 120;
    let mut most = 0;
    for step in 0..steps {
        (0..50).for_each(|at| site.send((step + 2 * at) % 100, 1));
        site.step();
        most = most.max(site.waits());
    }
    site.run(Duration::from_secs(1));
    assert_eq!(site.lost(), (0, vec![]));
    let sent: u64 = site.sockets.iter().map(|socket| socket.sent).sum();
    assert_eq!(site.of(Bucket::PoolAccepted), sent);
    assert!(most >= 1_900, "{most} waited: the pool was not as slow as it should be");
    assert!(site.sockets.iter().all(|socket| socket.held_back == 0), "there was room for all");
}

#[test]
fn f91_beyond_what_the_queue_takes_miners_are_read_less_and_nothing_is_lost() {
    for queue in [3, 16, 256] {
        let mut site = Site::new(8, queue, Duration::from_millis(400));
        (0..8).for_each(|at| site.send(at, 60));
        site.run(Duration::from_secs(2));
        let held_back = site.sockets.iter().filter(|socket| socket.held_back > 0).count();
        assert!(held_back > 0, "a queue of {queue} was wide enough");
        // The rest is sent at the rate of the answers.
        site.answer_time = Duration::ZERO;
        site.run(Duration::from_secs(8));
        assert_eq!(site.lost(), (0, vec![]), "a queue of {queue}");
        assert_eq!(site.of(Bucket::PoolAccepted), 480, "a queue of {queue}");
        assert!(site.sockets.iter().all(|socket| socket.taken == 60));
    }
}

#[test]
fn f91_f56_a_cut_of_10_s_costs_a_farm_of_1_000_miners_nothing() {
    let mut site = Site::new(1_000, 1_024, Duration::from_millis(100));
    site.run(Duration::from_millis(200));
    site.farm.pool_lost(site.link);
    let mut at = 0;
    // 200 shares a second for 10 s, of which the queue takes half.
    for _ in 0..1_000 {
        for _ in 0..2 {
            site.send(at % 1_000, 1);
            at += 1;
        }
        site.step();
    }
    assert!(site.sockets.iter().any(|socket| socket.held_back > 0));
    assert_eq!(site.lost(), (0, vec![]));
    site.link = site.farm.dialled();
    site.farm.handshake(site.link, "c0ffee01", 8);
    site.farm.pool_says(site.link, &set_difficulty(TRIVIAL));
    site.farm.pool_says(site.link, &notify("job-1", 1, false));
    site.run(Duration::from_secs(2));
    assert_eq!(site.lost(), (0, vec![]));
    assert_eq!(site.of(Bucket::PoolAccepted), 2_000);
}

#[test]
fn f91_who_floods_is_held_back_first_and_alone() {
    let mut site = Site::new(5, 256, Duration::from_millis(500));
    site.send(0, 1_200);
    for step in 0..100 {
        (1..5).filter(|at| (step + at) % 5 == 0).for_each(|at| site.send(at, 1));
        site.step();
    }
    let (flood, others) = site.sockets.split_first().unwrap();
    assert!(flood.held_back > 50);
    for socket in others {
        assert_eq!((socket.held_back, socket.taken), (0, 20));
    }
    assert_eq!(site.lost(), (0, vec![]));
}

#[test]
fn f91_who_is_held_back_keeps_its_difficulty_and_its_connection_and_hears_jobs() {
    let mut site = Site::new(1, 16, Duration::from_secs(3_600));
    site.send(0, 100);
    site.run(Duration::from_secs(2));
    let miner = site.sockets[0].miner;
    assert!(site.farm.proxy.is_held_back(miner));
    let before = site.farm.proxy.miner(miner).unwrap().told_difficulty();
    let line = notify("job-2", 2, false);
    site.farm.pool_says(site.link, &line);
    let heard = site.farm.due(miner);
    assert!(heard.iter().any(|line| line.contains("mining.notify")), "{heard:?}");
    for round in 3..8 {
        site.run(Duration::from_secs(4));
        // The pool gives jobs and answers no share.
        site.farm.pool_says(site.link, &notify(&format!("job-{round}"), round, false));
        site.farm.due(miner);
    }
    assert!(site.farm.proxy.poll_closed().is_none());
    assert_eq!(site.farm.proxy.miner(miner).unwrap().told_difficulty(), before);
    // Unanswered shares time out in the end, and the miner is read again.
    let taken = site.sockets[0].taken;
    site.run(ANSWER_MAX);
    assert!(site.sockets[0].taken > taken, "it is held back for ever");
}

#[test]
fn f91_nobody_is_held_back_while_no_pool_is_there() {
    let mut site = Site::new(2, 16, Duration::from_millis(10));
    site.farm.pool_lost(site.link);
    (0..2).for_each(|at| site.send(at, 30));
    site.run(HOLD_MAX + Duration::from_secs(2));
    let unread: usize = site.sockets.iter().map(|socket| socket.unread.len()).sum();
    assert_eq!(unread, 0);
    assert_eq!(site.of(Bucket::Orphaned(Orphan::QueueFull)), 0);
}

#[test]
fn f91_what_waits_at_a_pool_that_was_left_takes_no_room_at_the_next() {
    let mut options = Options { submit_interval: Duration::ZERO, ..options(2) };
    options.links.standby = true;
    let mut farm = Farm::queued(2, 2, 64, options);
    let (first, second) = (farm.dialled(), farm.dialled());
    farm.pool_up(first, "c0ffee01", 8, TRIVIAL);
    farm.pool_up(second, "c0ffee02", 8, TRIVIAL);
    let (busy, heard) = farm.miner("farm.s19");
    let (idle, _) = farm.miner("farm.s20");
    let job = notified(&heard);
    for nonce in 0..20 {
        let share = json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
        assert_eq!(farm.submit(busy, share)["result"], true);
    }
    assert!(farm.proxy.poll_read(busy) < farm.proxy.poll_read(idle));
    // The pool is lost with all of them.
    farm.pool_lost(first);
    for miner in [busy, idle] {
        assert_eq!(notified(&farm.due(miner))[8], true);
    }
    assert_eq!(farm.proxy.poll_read(busy), farm.proxy.poll_read(idle));
}

#[test]
fn f91_f39_a_block_that_its_pool_leaves_unanswered_does_not_hold_its_finder_back() {
    // A queue of four and a place for blocks; one miner may take half of what is left.
    let mut farm = Farm::queued(1, 2, 5, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, HOPELESS);
    let (miner, _) = farm.miner("farm.s19");
    let mut regtest = job("regtest", 2, true);
    regtest[6] = "207fffff".into();
    farm.pool_says(link, &notify_of(&regtest));
    let job = notified(&farm.due(miner));
    // Half of all hashes are blocks, and nothing else is sent.
    let is_sent = |nonce: u32| {
        let share = json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
        farm.submit(miner, share);
        !farm.pool_hears(link).is_empty()
    };
    assert!((0..64).any(is_sent));
    assert_eq!(farm.proxy.links().get(link).unwrap().pending().len(), 1);
    assert!(!farm.proxy.is_held_back(miner));
}

#[test]
fn f91_what_is_lost_all_the_same_is_refused_once_said_and_nobody_s_work() {
    let options = Options { submit_interval: Duration::ZERO, ..options(1) };
    let mut farm = Farm::queued(4, 2, 32, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    let share =
        |nonce: u32| json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
    for nonce in 0..30 {
        assert_eq!(farm.submit(miner, share(nonce))["result"], true);
    }
    while farm.proxy.poll_event().is_some() {}
    let work = farm.proxy.miner(miner).unwrap().work();
    let health = farm.proxy.links().get(link).unwrap().health().score();
    for nonce in 30..46 {
        let answer = farm.submit(miner, share(nonce));
        assert_eq!(
            answer["error"],
            json!([20, "the queue to the pool is full: not counted", null])
        );
    }
    let ledger = farm.proxy.ledger();
    assert_eq!(ledger.of(Bucket::Orphaned(Orphan::QueueFull)), 16);
    assert_eq!(ledger.of(Bucket::Pending), 30);
    assert_eq!(farm.proxy.miner(miner).unwrap().work().to_bits(), work.to_bits());
    let events: Vec<Event> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert_eq!(events, [Event::QueueFull { link, pool: 0 }], "it is said once");
    let state = farm.proxy.links().get(link).unwrap();
    assert!(state.health().score() < health && state.is_full(farm.now));
    // When there is room again, the same share is accepted.
    let sent: Vec<Value> = farm.pool_hears(link).iter().map(|line| parse(line)).collect();
    for line in sent.iter().filter(|line| line["method"] == "mining.submit") {
        farm.pool_says(link, &json!({"id": line["id"], "result": true}).to_string());
    }
    assert_eq!(farm.submit(miner, share(45))["result"], true);
}

#[test]
fn f91_the_split_counts_what_its_pool_was_sent_and_answered() {
    let mut options = options(2);
    let (mut goals, mut weights) = ([0; 4], [0; GOALS_MAX]);
    (goals[1], weights[0], weights[1]) = (1, 1, 1);
    options.links = links::Policy { goals, weights, ..options.links };
    options.submit_interval = Duration::ZERO;
    let mut farm = Farm::queued(2, 4, 64, options);
    let pools: Vec<LinkIndex> = (0..2)
        .map(|pool| {
            let link = farm.dialled();
            farm.pool_up(link, &format!("c0ffee{pool:02x}"), 8, TRIVIAL);
            link
        })
        .collect();
    // Each goal has a miner of its own, once both are served.
    farm.wait(Duration::from_secs(1));
    let miners: Vec<_> = (0..2).map(|_| farm.miner("farm.s19")).collect();
    for (miner, heard) in &miners {
        let job = notified(heard);
        for nonce in 0..20 {
            let params = json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
            assert_eq!(farm.submit(*miner, params)["result"], true);
        }
    }
    let part = |farm: &Farm| farm.proxy.split().part(0);
    assert!((part(&farm) - 0.5).abs() < 1e-9, "{}", part(&farm));
    // The first answers all; the second lives, and answers nothing.
    for line in farm.pool_hears(pools[0]) {
        let id = parse(&line)["id"].clone();
        farm.pool_says(pools[0], &json!({"id": id, "result": true}).to_string());
    }
    for round in 2..14 {
        farm.wait(Duration::from_secs(3));
        pools.iter().for_each(|link| farm.pool_says(*link, &set_difficulty(HOPELESS)));
        let line = notify(&format!("job-{round}"), round, false);
        pools.iter().for_each(|link| farm.pool_says(*link, &line));
    }
    let lost = farm.proxy.ledger().of(Bucket::Orphaned(Orphan::NoAnswer));
    assert_eq!(lost, 20, "{:?}", farm.proxy.ledger());
    assert!(part(&farm) > 0.999, "{}: what was lost is counted", part(&farm));
}

/// A farm that has proven a rate of 20 shares a second, whose pool began at [`TRIVIAL`].
fn fast_farm(pools: usize, standby: bool) -> (Farm, LinkIndex, Value) {
    let mut options = options(pools);
    options.submit_interval = Duration::ZERO;
    options.links = links::Policy { standby, ..options.links };
    let mut farm = Farm::with(8, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    farm.wait(Duration::from_millis(500));
    work(&mut farm, miner, &job, 0);
    (farm, link, job)
}

/// Two and a half seconds of work, 20 shares in each.
fn work(farm: &mut Farm, miner: MinerHandle, job: &Value, first: u32) {
    for nonce in first..first + 50 {
        let params = json!(["farm.s19", job[0], "00000001", job[7], format!("{nonce:08x}")]);
        assert_eq!(farm.submit(miner, params)["result"], true);
        farm.wait(Duration::from_millis(50));
    }
}

/// The difficulties that a pool was asked for, with the request ids.
fn suggestions(farm: &mut Farm, link: LinkIndex) -> Vec<(Value, f64)> {
    let heard = farm.pool_hears(link);
    let lines = heard.iter().map(|line| parse(line));
    lines
        .filter(|line| line["method"] == "mining.suggest_difficulty")
        .map(|line| (line["id"].clone(), line["params"][0].as_f64().unwrap()))
        .collect()
}

/// The power of two at which 20 shares a second of [`TRIVIAL`] are a few a second. The farm's short
/// queue has places for 3.75 a second.
#[track_caller]
fn fits(difficulty: f64) {
    assert_eq!(difficulty.log2().fract(), 0.0, "{difficulty} is no power of two");
    let per_sec = 20.0 * TRIVIAL / difficulty;
    assert!((1.0..=10.0).contains(&per_sec), "{difficulty} gives {per_sec} a second");
}

#[test]
fn f91_a_pool_that_begins_low_is_asked_once_for_a_difficulty_that_fits() {
    let (mut farm, link, job) = fast_farm(1, false);
    let asked = suggestions(&mut farm, link);
    assert_eq!(asked.len(), 1, "{asked:?}");
    fits(asked[0].1);
    // A share of the queue is no answer to it, nor is its answer an oddity.
    farm.pool_says(link, &json!({"id": asked[0].0, "result": true, "error": null}).to_string());
    let miner = farm.proxy.miners().next().unwrap().0;
    work(&mut farm, miner, &job, 100);
    work(&mut farm, miner, &job, 200);
    assert!(suggestions(&mut farm, link).is_empty(), "the rate is the same");
}

#[test]
fn f91_a_pool_that_is_high_enough_is_asked_for_nothing() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    work(&mut farm, miner, &job, 0);
    assert!(suggestions(&mut farm, link).is_empty());
}

#[test]
fn f91_a_standby_is_asked_as_it_becomes_live() {
    let (mut farm, first, _) = fast_farm(2, false);
    farm.pool_hears(first);
    farm.pool_lost(first);
    farm.wait(Duration::from_secs(6));
    let (second, pool) = std::iter::from_fn(|| farm.proxy.poll_dial(farm.now))
        .find(|(_, pool)| *pool == 1)
        .expect("the second pool is dialled");
    assert_eq!(pool, 1);
    farm.proxy.handle_link_up(second, farm.now);
    farm.handshake(second, "c0ffee02", 8);
    assert!(suggestions(&mut farm, second).is_empty(), "not before the handshake is through");
    farm.pool_says(second, &set_difficulty(TRIVIAL));
    farm.pool_says(second, &notify("job-1", 1, true));
    let asked = suggestions(&mut farm, second);
    assert_eq!(asked.len(), 1, "{asked:?}");
    fits(asked[0].1);
}

#[test]
fn f91_a_pool_that_refuses_to_be_asked_is_not_asked_again() {
    for hangs_up in [false, true] {
        let (mut farm, link, _) = fast_farm(1, false);
        let (id, _) = suggestions(&mut farm, link).remove(0);
        let health = farm.proxy.links().get(link).unwrap().health().score();
        if !hangs_up {
            let unfit = json!({"error": [40, "unfit, ignore"], "id": id, "result": null});
            farm.pool_says(link, &unfit.to_string());
            assert_eq!(farm.proxy.links().get(link).unwrap().health().score(), health);
        }
        farm.pool_lost(link);
        farm.wait(Duration::from_secs(3));
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee02", 8, TRIVIAL);
        farm.wait(Duration::from_secs(3));
        assert!(suggestions(&mut farm, link).is_empty(), "hangs up: {hangs_up}");
    }
}
