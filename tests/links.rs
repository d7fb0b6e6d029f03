//! The choice of the farm's pool: hot standby, health, and work divided among goals.

mod farm;

use farm::{Farm, TRIVIAL, notified, notify, options, parse, set_difficulty};
use loka_stratum::health::Circuit;
use loka_stratum::ledger::Bucket;
use loka_stratum::limits::GOALS_MAX;
use loka_stratum::links;
use loka_stratum::proxy::Options;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost, State};
use serde_json::{Value, json};

const HEALTHY: Duration = Duration::from_secs(60);

/// Options with a hot standby.
fn with_standby(pools: usize) -> Options {
    let options = options(pools);
    Options { links: links::Policy { standby: true, ..options.links }, ..options }
}

/// A goal for every pool.
fn with_goals(weights: &[u16]) -> Options {
    let options = options(weights.len());
    let mut of_goals = [0; GOALS_MAX];
    of_goals[..weights.len()].copy_from_slice(weights);
    let mut goals = options.links.goals;
    for (pool, goal) in goals.iter_mut().enumerate().take(weights.len()) {
        *goal = u8::try_from(pool).unwrap();
    }
    let links = links::Policy { goals, weights: of_goals, ..options.links };
    Options { links, ..options }
}

/// Dials all links that the engine requests and brings every pool up, each with its own extranonce1
/// and job; a link's index is its pool's.
fn all_up(options: Options) -> (Farm, Vec<LinkIndex>) {
    let count = options.pools.len();
    let mut farm = Farm::sized(128, 8, options);
    let mut links = vec![];
    for pool in 0..count {
        let link = farm.dialled();
        farm.pool_up(link, &format!("c0ffee{pool:02x}"), 8, TRIVIAL);
        links.push(link);
    }
    (farm, links)
}

/// A share for the miner's last job.
fn share(job: &Value, nonce: u32) -> Value {
    json!(["farm.1", job[0], "00000001", job[7], format!("{nonce:08x}")])
}

fn is_clean(lines: &[String]) -> bool {
    notified(lines)[8] == true
}

fn circuit(farm: &Farm, link: LinkIndex) -> Circuit {
    farm.proxy.links().get(link).unwrap().health().circuit()
}

fn pool_accepted(farm: &Farm) -> u64 {
    farm.proxy.ledger().of(Bucket::PoolAccepted)
}

#[test]
fn f58_a_standby_is_live_and_switching_is_one_clean_notify() {
    let (mut farm, links) = all_up(with_standby(2));
    let (miner, heard) = farm.miner("farm.1");
    let old = notified(&heard);
    farm.submit(miner, share(&old, 1));
    farm.pool_accepts(links[0]);
    assert_eq!(farm.proxy.links().active_pool(0), 0);

    farm.pool_lost(links[0]);
    farm.wait(Duration::from_millis(1));
    assert_eq!(farm.proxy.links().active_pool(0), 1, "at once, since the standby is live");
    let heard = farm.due(miner);
    let notifies = heard.iter().filter(|line| line.contains("mining.notify")).count();
    assert_eq!((notifies, is_clean(&heard)), (1, true), "{heard:?}");
    let new = notified(&heard);
    assert_ne!(new[0], old[0]);
    assert!(new[2].as_str().unwrap().contains("c0ffee01"), "the standby's extranonce1: {new}");
    assert!(farm.due(miner).is_empty(), "and nothing more");

    assert_eq!(farm.submit(miner, share(&new, 2))["result"], true);
    farm.pool_accepts(links[1]);
    assert_eq!(pool_accepted(&farm), 2);
}

/// Brings up all links that the engine requests, each with its pool's extranonce1 and an
/// extranonce2 of three bytes, with room for 192 or 256 miners; returns pool and lane of each.
fn narrow_links_up(farm: &mut Farm) -> Vec<(u8, u8)> {
    let mut up = vec![];
    while let Some(link) = farm.proxy.poll_hangup(farm.now) {
        farm.pool_lost(link);
    }
    while let Some((link, pool)) = farm.proxy.poll_dial(farm.now) {
        let lane = farm.proxy.links().get(link).unwrap().lane();
        farm.proxy.handle_link_up(link, farm.now);
        farm.handshake(link, &format!("c0ffee{pool:02x}{lane:02x}"), 3);
        farm.pool_says(link, &set_difficulty(TRIVIAL));
        farm.pool_says(link, &notify("job-1", 1, true));
        up.push((pool, lane));
    }
    up
}

/// Miners of three lanes, with the given number of links; returns the links in order.
fn three_lanes(links: usize) -> (Farm, Vec<MinerHandle>, Vec<(u8, u8)>) {
    let mut farm = Farm::sized(500, links, with_standby(2));
    let mut up = narrow_links_up(&mut farm);
    let mut miners = vec![];
    for _ in 0..500 {
        miners.push(farm.miner("farm.1").0);
        farm.wait(Duration::from_millis(1));
        up.extend(narrow_links_up(&mut farm));
    }
    for miner in &miners {
        farm.due(*miner);
    }
    (farm, miners, up)
}

fn lose_pool(farm: &mut Farm, pool: u8) {
    let of_pool = farm.proxy.links().iter().filter(|(_, link)| link.pool() == pool);
    let open = of_pool.filter(|(_, link)| link.state().is_open()).map(|(index, _)| index);
    for link in open.collect::<Vec<_>>() {
        farm.pool_lost(link);
    }
    farm.wait(Duration::from_millis(1));
}

#[test]
fn f58_every_lane_has_its_standby() {
    let (mut farm, miners, up) = three_lanes(8);
    assert_eq!(up, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
    lose_pool(&mut farm, 0);
    for miner in miners {
        let heard = farm.due(miner);
        let notifies = heard.iter().filter(|line| line.contains("mining.notify")).count();
        assert_eq!((notifies, is_clean(&heard)), (1, true), "{heard:?}");
        assert!(notified(&heard)[2].as_str().unwrap().contains("c0ffee01"), "{heard:?}");
    }
}

#[test]
fn a_lane_that_works_comes_before_the_standby_of_another() {
    let (mut farm, miners, up) = three_lanes(4);
    assert_eq!(up, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)], "the standby of lane 1 gave way");
    lose_pool(&mut farm, 0);
    for _ in 0..3 {
        farm.wait(Duration::from_secs(1));
        narrow_links_up(&mut farm);
    }
    let newest = |miner| farm.due(miner).iter().map(|line| parse(line)).next_back();
    let of_second = miners.into_iter().map(newest).filter(|heard| {
        heard.as_ref().is_some_and(|l| l["params"][2].as_str().unwrap().contains("c0ffee01"))
    });
    assert_eq!(of_second.count(), 500, "lanes without a standby follow as their links come");
}

#[test]
fn f55_the_first_pool_has_its_time_at_the_start_and_no_longer() {
    let mut farm = Farm::sized(128, 8, with_standby(2));
    let (first, second) = (farm.dialled(), farm.dialled());
    farm.pool_up(second, "beef", 8, TRIVIAL);
    farm.wait(Duration::from_secs(2));
    assert_eq!(farm.proxy.links().active_pool(0), 0, "the second was only quicker");
    farm.wait(Duration::from_secs(4));
    assert_eq!(farm.proxy.links().active_pool(0), 1);
    farm.pool_lost(first);
    farm.wait(Duration::from_secs(2));
    let first = farm.dialled();
    farm.pool_up(first, "c0ffee", 8, TRIVIAL);
    farm.wait(HEALTHY - Duration::from_secs(10));
    assert_eq!(farm.proxy.links().active_pool(0), 1);

    // The gateway does not wait for an unreachable pool.
    let mut farm = Farm::sized(128, 8, with_standby(2));
    let (first, second) = (farm.dialled(), farm.dialled());
    farm.pool_up(second, "beef", 8, TRIVIAL);
    farm.proxy.handle_link_down(first, LinkClose::Lost(Lost::Connect), farm.now);
    farm.wait(Duration::from_millis(1));
    assert_eq!(farm.proxy.links().active_pool(0), 1);
}

#[test]
fn f58_a_late_share_goes_where_its_job_came_from() {
    let (mut farm, links) = all_up(with_standby(2));
    let (miner, heard) = farm.miner("farm.1");
    let old = notified(&heard);
    // The first pool leaves a share unanswered, so the farm moves; its connection stays.
    farm.submit(miner, share(&old, 1));
    let sent = farm.pool_hears(links[0]);
    farm.wait(Duration::from_secs(5));
    assert_eq!(farm.proxy.links().active_pool(0), 1);
    farm.due(miner);
    assert_eq!(farm.submit(miner, share(&old, 2))["result"], true);
    assert_eq!(farm.pool_hears(links[0]).len(), 1, "late shares are the first pool's");
    assert!(farm.pool_hears(links[1]).is_empty());
    // Its late answers still count.
    let id = parse(sent.last().unwrap())["id"].clone();
    farm.pool_says(links[0], &json!({"id": id, "result": true}).to_string());
    assert_eq!(pool_accepted(&farm), 1);
}

#[test]
fn f58_a_silent_pool_is_left_within_five_seconds_and_taken_again_after_a_minute_of_health() {
    let (mut farm, links) = all_up(with_standby(2));
    farm.wait(HEALTHY + Duration::from_secs(1));
    assert_eq!(circuit(&farm, links[0]), Circuit::Closed);
    let (miner, heard) = farm.miner("farm.1");
    farm.submit(miner, share(&notified(&heard), 1));
    let sent = farm.pool_hears(links[0]);
    farm.wait(Duration::from_secs(3));
    assert_eq!(farm.proxy.links().active_pool(0), 0, "three seconds are only slow (F60)");
    farm.wait(Duration::from_secs(2));
    assert_eq!(farm.proxy.links().active_pool(0), 1);
    assert_eq!(circuit(&farm, links[0]), Circuit::Open);
    // It answers again: it is watched before it is trusted.
    let id = parse(sent.last().unwrap())["id"].clone();
    farm.pool_says(links[0], &json!({"id": id, "result": true}).to_string());
    assert_eq!(circuit(&farm, links[0]), Circuit::HalfOpen);
    for link in &links {
        farm.pool_says(*link, &notify("further", 1, false));
    }
    farm.wait(HEALTHY - Duration::from_secs(2));
    assert_eq!(farm.proxy.links().active_pool(0), 1);
    farm.wait(Duration::from_secs(3));
    assert_eq!(farm.proxy.links().active_pool(0), 0);
    assert_eq!(circuit(&farm, links[0]), Circuit::Closed);
    assert!(is_clean(&farm.due(miner)));
}

#[test]
fn a_pool_that_refuses_everything_loses_the_farm_and_one_alone_keeps_it() {
    let refuse = |farm: &mut Farm, link: LinkIndex, miner: MinerHandle, job: &Value, nonce: u32| {
        farm.submit(miner, share(job, nonce));
        let heard = farm.pool_hears(link);
        let id = parse(heard.last().unwrap())["id"].clone();
        let refused = json!({"id": id, "result": null, "error": [20, "no", null]});
        farm.pool_says(link, &refused.to_string());
    };
    let (mut farm, links) = all_up(with_standby(2));
    let (miner, heard) = farm.miner("farm.1");
    let job = notified(&heard);
    for nonce in 0..32 {
        if farm.proxy.links().active_pool(0) == 0 {
            refuse(&mut farm, links[0], miner, &job, nonce);
        }
    }
    assert_eq!(farm.proxy.links().active_pool(0), 1);
    let (mut farm, links) = all_up(with_standby(1));
    let (miner, heard) = farm.miner("farm.1");
    let job = notified(&heard);
    for nonce in 0..32 {
        refuse(&mut farm, links[0], miner, &job, nonce);
    }
    assert_eq!(circuit(&farm, links[0]), Circuit::Open);
    assert_eq!(farm.submit(miner, share(&job, 99))["result"], true);
    assert_eq!(farm.pool_hears(links[0]).len(), 1, "there is nobody better");
}

#[test]
fn f63_a_connection_that_says_nothing_to_shares_is_made_anew() {
    let (mut farm, links) = all_up(with_standby(1));
    let (miner, heard) = farm.miner("farm.1");
    farm.submit(miner, share(&notified(&heard), 1));
    farm.pool_hears(links[0]);
    farm.wait(Duration::from_secs(46));
    assert_eq!(farm.proxy.poll_hangup(farm.now), Some(links[0]));
    farm.wait(Duration::from_secs(2));
    assert!(farm.proxy.poll_dial(farm.now).is_some());
}

/// Miners that find shares in turn, at the same rate, like a farm of one model.
struct Herd {
    farm: Farm,
    links: Vec<LinkIndex>,
    miners: Vec<(MinerHandle, Value)>,
    nonce: u32,
    half_minutes: u64,
}

impl Herd {
    fn new(options: Options, miners: usize) -> Self {
        let (mut farm, links) = all_up(options);
        farm.wait(Duration::from_secs(1));
        let miners = (0..miners)
            .map(|_| {
                let (miner, heard) = farm.miner("farm.1");
                (miner, notified(&heard))
            })
            .collect();
        Self { farm, links, miners, nonce: 0, half_minutes: 0 }
    }

    /// Sends `shares` shares of the whole herd; returns the number of shares per pool.
    fn mine(&mut self, shares: usize, interval: Duration) -> Vec<u32> {
        let mut got = vec![0; self.links.len()];
        for number in 0..shares {
            let each = interval.as_micros() / u64::try_from(self.miners.len()).unwrap();
            self.farm.wait(Duration::from_micros(each));
            self.tell_jobs();
            let index = number % self.miners.len();
            let miner = self.miners[index].0;
            let heard = self.farm.due(miner);
            if heard.iter().any(|line| line.contains("mining.notify")) {
                self.miners[index].1 = notified(&heard);
            }
            self.nonce += 1;
            let job = self.miners[index].1.clone();
            let answer = self.farm.submit(miner, share(&job, self.nonce));
            assert_eq!(answer["result"], true, "{answer}");
            self.count(&mut got);
        }
        got
    }

    /// Pools send a job every half minute, as usual.
    fn tell_jobs(&mut self) {
        let half_minutes = self.farm.now.as_micros() / 30_000_000;
        if half_minutes == self.half_minutes {
            return;
        }
        self.half_minutes = half_minutes;
        for link in self.links.clone() {
            if self.farm.proxy.links().get(link).unwrap().state() == State::Live {
                self.farm.pool_says(link, &notify(&format!("job-{half_minutes}"), 1, false));
            }
        }
    }

    /// Every pool accepts its received shares.
    fn count(&mut self, got: &mut [u32]) {
        for (pool, link) in self.links.clone().into_iter().enumerate() {
            for line in self.farm.pool_hears(link) {
                let line = parse(&line);
                if line["method"] == "mining.submit" {
                    got[pool] += 1;
                    let taken = json!({"id": line["id"], "result": true}).to_string();
                    self.farm.pool_says(link, &taken);
                }
            }
        }
    }
}

#[track_caller]
fn assert_parts(got: &[u32], weights: &[u16]) {
    let all: u32 = got.iter().sum();
    let weight: u16 = weights.iter().sum();
    for (got, weighs) in got.iter().zip(weights) {
        let part = f64::from(*got) / f64::from(all);
        let due = f64::from(*weighs) / f64::from(weight);
        assert!((part - due).abs() <= 0.02, "{part:.3} instead of {due:.3}");
    }
}

#[test]
fn weights_hold_within_two_percent_over_a_thousand_shares() {
    for miners in [1, 8, 100] {
        for weights in [&[50, 50][..], &[70, 30], &[90, 9, 1]] {
            let mut herd = Herd::new(with_goals(weights), miners);
            let got = herd.mine(1000, Duration::from_secs(5));
            assert_eq!(got.iter().sum::<u32>(), 1000);
            assert_parts(&got, weights);
        }
    }
}

#[test]
fn weights_change_live_and_an_idle_goal_is_forgiven_and_served_again() {
    let mut herd = Herd::new(with_goals(&[50, 50]), 8);
    herd.mine(200, Duration::from_secs(5));
    herd.farm.proxy.apply(with_goals(&[80, 20]), herd.farm.now);
    assert_parts(&herd.mine(1000, Duration::from_secs(5)), &[80, 20]);

    // The second pool goes down: no miner is idle, and no deficit accumulates.
    let lost = herd.links[1];
    herd.farm.pool_lost(lost);
    herd.farm.wait(Duration::from_secs(6));
    let got = herd.mine(200, Duration::from_secs(5));
    assert_eq!(got, [200, 0]);
    let again = herd.farm.dialled();
    assert_eq!(again, lost);
    herd.farm.pool_up(again, "beef", 8, TRIVIAL);
    herd.farm.pool_says(herd.links[0], &notify("further", 1, false));
    herd.farm.pool_says(herd.links[0], &set_difficulty(TRIVIAL));
    assert_parts(&herd.mine(1000, Duration::from_secs(5)), &[80, 20]);
}

/// Firmware restarts its extranonce2 with every clean job (QUIRKS 24): the same job again would
/// make it repeat its shares.
#[test]
fn a_miner_that_comes_back_to_a_goal_gets_its_job_under_a_new_id_and_a_later_time() {
    let mut herd = Herd::new(with_goals(&[50, 50]), 1);
    let (miner, first) = herd.miners[0].clone();
    let mut told = vec![first];
    for nonce in 1..60 {
        let job = told.last().unwrap().clone();
        assert_eq!(herd.farm.submit(miner, share(&job, nonce))["result"], true);
        herd.count(&mut [0; 2]);
        herd.farm.wait(Duration::from_secs(1));
        let heard = herd.farm.due(miner);
        if heard.iter().any(|line| line.contains("mining.notify")) {
            told.push(notified(&heard));
        }
    }
    assert!(told.len() >= 4, "it was moved there and back: {told:?}");
    for (at, job) in told.iter().enumerate() {
        for before in &told[..at] {
            assert_ne!(before[0], job[0], "one id twice");
            assert_ne!((&before[2], &before[7]), (&job[2], &job[7]), "one search space twice");
        }
    }
}

/// A new password opens a new link; the old link keeps its waiting shares and the miners' last job.
#[test]
fn settings_that_change_often_leave_no_pool_without_a_link() {
    let of = |password: &str| {
        let mut options = options(1);
        options.pools[0].password = password.try_into().unwrap();
        options
    };
    let mut farm = Farm::sized(4, 2, of("a"));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee00", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.1");
    farm.submit(miner, share(&notified(&heard), 1));
    farm.pool_hears(link);
    for (password, extranonce1) in [("b", "c0ffee01"), ("c", "c0ffee02")] {
        farm.proxy.apply(of(password), farm.now);
        while farm.proxy.poll_hangup(farm.now).is_some() {}
        farm.wait(Duration::from_secs(1));
        let link = farm.dialled();
        farm.pool_up(link, extranonce1, 8, TRIVIAL);
        let job = notified(&farm.due(miner));
        assert!(job[2].as_str().unwrap().contains(extranonce1), "{job}");
        assert_eq!(job[8], true);
        assert_eq!(farm.submit(miner, share(&job, 2))["result"], true);
        farm.pool_accepts(link);
    }
}

#[test]
fn f82_a_pool_moves_the_farm_to_its_own_host_only_and_to_another_port_of_it() {
    let ask = |params: Value| {
        let (mut farm, links) = all_up(options(1));
        let line = json!({"id": null, "method": "client.reconnect", "params": params});
        let result = farm.pool_bytes(links[0], format!("{line}\n").as_bytes());
        let port = farm.proxy.links().get(links[0]).unwrap().port();
        (result == Err(LinkClose::Reconnect), port)
    };
    assert_eq!(ask(json!([])), (true, None));
    assert_eq!(ask(json!(["pool0.example.com", 4444, 1])), (true, Some(4444)));
    assert_eq!(ask(json!(["", "4444"])), (true, Some(4444)));
    for elsewhere in [
        "example.com",
        "pool1.example.com",
        "xpool0.example.com",
        "pool0.example.com.evil.org",
        "10.0.0.1",
    ] {
        assert_eq!(ask(json!([elsewhere, 4444])), (false, None), "{elsewhere}");
    }
    assert_eq!(ask(json!(["pool0.example.com", 0])), (false, None));
    assert_eq!(ask(json!(["pool0.example.com", 4444, 1e9])).1.unwrap_or(4444), 4444);

    // A port that leads nowhere is forgotten, and a second request within a minute refused.
    let (mut farm, links) = all_up(options(1));
    let line = json!({"id": null, "method": "client.reconnect", "params": ["", 4444]});
    let line = format!("{line}\n");
    assert!(farm.pool_bytes(links[0], line.as_bytes()).is_err());
    farm.wait(Duration::from_secs(2));
    assert_eq!(farm.proxy.poll_dial(farm.now), Some((links[0], 0)));
    farm.proxy.handle_link_down(links[0], LinkClose::Lost(Lost::Connect), farm.now);
    assert_eq!(farm.proxy.links().get(links[0]).unwrap().port(), None);
    farm.wait(Duration::from_secs(3));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee", 8, TRIVIAL);
    assert!(farm.pool_bytes(link, line.as_bytes()).is_ok(), "one in a minute");
}
