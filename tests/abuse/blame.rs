//! F90: the blame for a refused share. A miner that repeats shares is named and closed; no single
//! miner or address makes the farm leave its pool.

use std::net::Ipv4Addr;

use loka_stratum::downstream::Close;
use loka_stratum::health::Circuit;
use loka_stratum::ledger::{Bucket, PoolReject};
use loka_stratum::proxy::{Event, Refusal};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use serde_json::{Value, json};

use super::farm::{Farm, TRIVIAL, notified, notify, options, parse};

const WORKER: &str = "farm.s19";

fn v4(last: u8) -> [u8; 16] {
    Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets()
}

/// A miner, its job, and the nonce of its next share.
struct Rig {
    miner: MinerHandle,
    job: Value,
    nonce: u32,
}

impl Rig {
    fn at(farm: &mut Farm, peer: [u8; 16]) -> Self {
        let (miner, heard) = farm.miner_at(peer, WORKER);
        Self { miner, job: notified(&heard), nonce: 0 }
    }

    fn line(&self, nonce: u32) -> String {
        let params = json!([WORKER, self.job[0], "0000000a", self.job[7], format!("{nonce:08x}")]);
        json!({"id": 9, "method": "mining.submit", "params": params}).to_string()
    }

    /// Sends a share that the pool refuses with a code, or accepts.
    #[track_caller]
    fn share(&mut self, farm: &mut Farm, link: LinkIndex, code: Option<i64>) {
        self.nonce += 1;
        let heard = farm.send(self.miner, &self.line(self.nonce));
        assert_eq!(parse(&heard[0])["result"], true);
        let sent = farm.pool_hears(link);
        let submit = sent.iter().map(|line| parse(line)).find(|l| l["method"] == "mining.submit");
        let id = submit.expect("the share went up")["id"].clone();
        let answer = match code {
            Some(code) => json!({"id": id, "result": null, "error": [code, "no", null]}),
            None => json!({"id": id, "result": true, "error": null}),
        };
        farm.pool_says(link, &answer.to_string());
    }
}

fn farm_of_one_pool() -> (Farm, LinkIndex) {
    let mut farm = Farm::with(16, options(1));
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    farm.wait(Duration::from_secs(61));
    assert_eq!(circuit(&farm, link), Circuit::Closed);
    (farm, link)
}

fn circuit(farm: &Farm, link: LinkIndex) -> Circuit {
    farm.proxy.links().get(link).unwrap().health().circuit()
}

fn repeats(farm: &mut Farm) -> Vec<([u8; 16], u32)> {
    let events = std::iter::from_fn(|| farm.proxy.poll_event());
    let of = |event| match event {
        Event::Repeats { peer, shares, .. } => Some((peer, shares)),
        _ => None,
    };
    events.filter_map(of).collect()
}

#[test]
fn f90_who_repeats_shares_is_named_once_ends_and_is_refused_when_it_comes_back() {
    let (mut farm, link) = farm_of_one_pool();
    let mut honest = Rig::at(&mut farm, v4(1));
    let mut connections = 0;
    let refusal = loop {
        let taken = farm.proxy.handle_connect(v4(2), farm.now);
        let miner = match taken {
            Ok(miner) => miner,
            Err(refusal) => break refusal,
        };
        farm.proxy.handle_disconnect(miner);
        let mut replayer = Rig::at(&mut farm, v4(2));
        for _ in 0..3 {
            replayer.share(&mut farm, link, None);
        }
        let closed = (0..2_000).find_map(|n| {
            let line = replayer.line(1 + n % 3) + "\n";
            let closed = farm.bytes(replayer.miner, line.as_bytes()).1;
            let session = farm.proxy.miner(replayer.miner);
            assert_eq!(session.is_none_or(|s| s.repeats_shares(farm.now)), n >= 31, "{n}");
            closed
        });
        assert_eq!(closed, Some(Close::ExcessRejects));
        assert_eq!(repeats(&mut farm), [(v4(2), 32)], "once");
        farm.proxy.handle_disconnect(replayer.miner);
        honest.share(&mut farm, link, None);
        connections += 1;
        assert!(connections < 20, "never refused");
    };
    assert!(matches!(refusal, Refusal::Offender { .. }), "{refusal}");
    assert!(farm.pool_hears(link).is_empty(), "no repeat went up");
    assert_eq!(circuit(&farm, link), Circuit::Closed);
    assert!(!farm.proxy.miner(honest.miner).unwrap().repeats_shares(farm.now));
}

#[test]
fn f32_firmware_that_begins_anew_at_each_job_is_no_offender() {
    let (mut farm, link) = farm_of_one_pool();
    let mut rig = Rig::at(&mut farm, v4(1));
    for _ in 0..100 {
        // Two of fifteen are repeats, as with a pool that repeats identical work.
        for _ in 0..13 {
            rig.share(&mut farm, link, None);
        }
        for again in 0..2 {
            let heard = farm.send(rig.miner, &rig.line(rig.nonce - again));
            assert_eq!(parse(&heard[0])["error"][0], 22);
        }
        farm.wait(Duration::from_millis(500));
    }
    assert!(repeats(&mut farm).is_empty());
    assert_eq!(farm.proxy.poll_closed(), None);
}

#[test]
fn f90_what_a_pool_finds_wrong_with_shares_is_booked_on_their_miner() {
    for (code, kind) in [(22, PoolReject::Duplicate), (23, PoolReject::LowDifficulty)] {
        let (mut farm, link) = farm_of_one_pool();
        let (mut honest, mut other) = (Rig::at(&mut farm, v4(1)), Rig::at(&mut farm, v4(2)));
        let mut faulty = 0;
        let closed = loop {
            honest.share(&mut farm, link, None);
            other.share(&mut farm, link, Some(code));
            faulty += 1;
            farm.wait(Duration::from_millis(20));
            if let Some(closed) = farm.proxy.poll_closed() {
                break closed;
            }
            assert!(faulty < 2_000, "never closed");
        };
        assert_eq!(closed, (other.miner, Close::ExcessRejects));
        let counts = farm.proxy.miner(other.miner).unwrap().counts();
        assert_eq!(counts.of(Bucket::PoolRejected(kind)), faulty);
        assert!(faulty > 256, "a burst ends nobody: {faulty}");
        assert_eq!(circuit(&farm, link), Circuit::Closed);
        let named = usize::from(code == 22);
        assert_eq!(repeats(&mut farm).len(), named, "duplicates are repeats to whoever finds them");
    }
}

#[test]
fn f90_a_pool_that_finds_every_share_wrong_is_to_blame_and_no_miner() {
    // After code 24 the link requests a new session; see `tests/unpaid.rs`.
    for code in [20, 22, 23] {
        let (mut farm, link) = farm_of_one_pool();
        let mut rig = Rig::at(&mut farm, v4(1));
        for _ in 0..600 {
            rig.share(&mut farm, link, Some(code));
            farm.wait(Duration::from_millis(20));
        }
        assert_eq!(circuit(&farm, link), Circuit::Open, "a farm of one is told: {code}");
        assert_eq!(farm.proxy.poll_closed(), None, "{code}");
    }
}

#[test]
fn f90_no_address_alone_takes_the_farm_away_and_all_together_do() {
    let mut farm = Farm::with(16, options(2));
    let first = farm.dialled();
    farm.pool_up(first, "c0ffee01", 8, TRIVIAL);
    farm.wait(Duration::from_secs(1));
    let mut honest = Rig::at(&mut farm, v4(1));
    let mut others: Vec<_> = (0..5).map(|_| Rig::at(&mut farm, v4(2))).collect();
    for round in 0..100 {
        honest.share(&mut farm, first, None);
        for other in &mut others {
            // Occasional other shares are accepted or refused.
            let code = [Some(20), Some(24), Some(22), Some(23), None][round % 5];
            (0..4).for_each(|_| other.share(&mut farm, first, code));
        }
        farm.wait(Duration::from_secs(1));
        assert_ne!(circuit(&farm, first), Circuit::Open, "round {round}");
        if round % 10 == 0 {
            farm.pool_says(first, &notify(&format!("j{round}"), 1, false));
        }
    }
    for _ in 0..8 {
        honest.share(&mut farm, first, Some(20));
        others.iter_mut().for_each(|other| other.share(&mut farm, first, Some(20)));
    }
    farm.wait(Duration::from_secs(1));
    assert_eq!(circuit(&farm, first), Circuit::Open);
}
