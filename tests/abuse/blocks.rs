//! F39, F92: block candidates of an earlier run or a lost session, and several pools at a host.

use loka_stratum::blocks::BlockRecord;
use loka_stratum::identity::Account;
use loka_stratum::limits::GOALS_MAX;
use loka_stratum::links;
use loka_stratum::proxy::{Event, Options};
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use loka_stratum::work::header::{BlockHash, NTime, Nonce};
use serde_json::{Value, json};

use super::farm::{Farm, notify, options, parse};

const HOST: &str = "pool.example.com";

/// Three accounts of one host: the second differs from the first in user, the third in port.
const ACCOUNTS: [(u16, &str); 3] = [(3333, "ann"), (3333, "bob"), (3334, "ann")];

/// The extranonce1 of every block's session.
const OWN: &str = "0a0b0c0d";

/// A farm that works for all three accounts at once.
fn farm() -> Farm {
    let mut options = options(ACCOUNTS.len());
    for (pool, (port, user)) in options.pools.iter_mut().zip(ACCOUNTS) {
        pool.host = HOST.try_into().unwrap();
        (pool.port, pool.user) = (port, user.try_into().unwrap());
    }
    let mut weights = [0; GOALS_MAX];
    weights[..ACCOUNTS.len()].fill(1);
    let mut goals = options.links.goals;
    (0..).zip(&mut goals).take(ACCOUNTS.len()).for_each(|(goal, of_pool)| *of_pool = goal);
    let links = links::Policy { goals, weights, ..options.links };
    Farm::with(4, Options { links, ..options })
}

/// A block that an earlier run found for one of the accounts.
fn block(of: usize) -> BlockRecord {
    let (port, user) = ACCOUNTS[of];
    BlockRecord {
        hash: BlockHash([of as u8 + 1; 32]),
        account: Account { host: HOST.try_into().unwrap(), port, user: user.try_into().unwrap() },
        session: format!("session-{of}").as_str().try_into().unwrap(),
        extranonce1: [0x0a, 0x0b, 0x0c, 0x0d].as_slice().try_into().unwrap(),
        job_id: format!("job-of-{user}-{port}").as_str().try_into().unwrap(),
        extranonce2: [0; 8].as_slice().try_into().unwrap(),
        ntime: NTime(0x6842_6000),
        nonce: Nonce(of as u32),
        version_bits: None,
    }
}

/// Brings a link up and returns the session that it requested from the pool.
fn up(farm: &mut Farm, link: LinkIndex, extranonce1: &str) -> Value {
    let heard = farm.pool_hears(link);
    assert!(heard[0].contains("mining.configure"), "{heard:?}");
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    let asked = parse(&farm.pool_hears(link)[0])["params"][1].clone();
    let session = json!({"id": 2, "result": [[["mining.notify", "new"]], extranonce1, 8]});
    farm.pool_says(link, &session.to_string());
    farm.pool_says(link, r#"{"id":3,"result":true,"error":null}"#);
    farm.pool_hears(link);
    farm.pool_says(link, &notify("job-9", 3, true));
    asked
}

/// Waits until a link is dialled again, and connects it.
fn dial_again(farm: &mut Farm, link: LinkIndex) {
    for _ in 0..120 {
        farm.wait(Duration::from_secs(1));
        while let Some((dialled, _)) = farm.proxy.poll_dial(farm.now) {
            farm.proxy.handle_link_up(dialled, farm.now);
            if dialled == link {
                return;
            }
        }
    }
    panic!("{link:?} is not dialled again");
}

/// The submits that a pool received.
fn submits(farm: &mut Farm, link: LinkIndex) -> Vec<Value> {
    farm.wait(Duration::from_secs(1));
    let heard = farm.pool_hears(link);
    let lines = heard.iter().map(|line| parse(line));
    lines.filter(|line| line["method"] == "mining.submit").collect()
}

fn answer(farm: &mut Farm, link: LinkIndex, submit: &Value, code: Option<i64>) {
    let error = code.map(|code| json!([code, "no", null]));
    let line = json!({"id": submit["id"], "result": error.is_none(), "error": error});
    farm.pool_says(link, &line.to_string());
}

fn waiting(farm: &Farm) -> usize {
    farm.proxy.blocks().records().count()
}

#[test]
fn f92_of_several_pools_at_a_host_each_hears_of_its_own_block_whichever_comes_first() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut farm = farm();
        for of in 0..ACCOUNTS.len() {
            farm.proxy.restore_block(block(of), Duration::ZERO, farm.now).unwrap();
        }
        let links: Vec<LinkIndex> = ACCOUNTS.iter().map(|_| farm.dialled()).collect();
        for (done, of) in order.into_iter().enumerate() {
            let asked = up(&mut farm, links[of], "11111111");
            assert_eq!(asked, format!("session-{of}"), "the session by its name");
            let heard = submits(&mut farm, links[of]);
            let (port, user) = ACCOUNTS[of];
            assert_eq!(heard.len(), 1, "{order:?}: {heard:?}");
            assert_eq!(heard[0]["params"][0], user);
            assert_eq!(heard[0]["params"][1], format!("job-of-{user}-{port}"));
            assert_eq!(waiting(&farm), ACCOUNTS.len() - done);
            answer(&mut farm, links[of], &heard[0], None);
            assert_eq!(waiting(&farm), ACCOUNTS.len() - done - 1);
        }
    }
}

#[test]
fn f92_a_block_outlives_every_session_that_cannot_know_it() {
    let mut farm = farm();
    farm.proxy.restore_block(block(0), Duration::ZERO, farm.now).unwrap();
    let link = farm.dialled();
    // A restarted pool; a pool that resumes an extranonce1 but has forgotten the job; a pool with a
    // dead session.
    for (extranonce1, code) in [("11111111", 21), ("22222222", 23), (OWN, 21), (OWN, 24)] {
        up(&mut farm, link, extranonce1);
        let heard = submits(&mut farm, link);
        assert_eq!(heard.len(), 1, "{heard:?}");
        answer(&mut farm, link, &heard[0], Some(code));
        assert_eq!(waiting(&farm), 1, "{extranonce1} {code}");
        let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
        let is_kept = |event| matches!(event, Event::LateBlockAnswered { kept: true, .. });
        assert!(last.is_some_and(is_kept), "{last:?}");
        assert!(submits(&mut farm, link).is_empty(), "once in a session");
        farm.pool_lost(link);
        dial_again(&mut farm, link);
    }
    up(&mut farm, link, OWN);
    let heard = submits(&mut farm, link);
    answer(&mut farm, link, &heard[0], Some(20));
    assert_eq!(waiting(&farm), 0, "its own session has judged it");
    let last = std::iter::from_fn(|| farm.proxy.poll_event()).last();
    let is_over = |event| matches!(event, Event::LateBlockAnswered { kept: false, .. });
    assert!(last.is_some_and(is_over), "{last:?}");
}

#[test]
fn f92_a_pool_that_will_not_hear_of_an_old_session_is_asked_for_a_new_one() {
    let mut farm = farm();
    farm.proxy.restore_block(block(0), Duration::ZERO, farm.now).unwrap();
    let link = farm.dialled();
    farm.pool_hears(link);
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    assert_eq!(parse(&farm.pool_hears(link)[0])["params"][1], "session-0");
    farm.pool_lost(link);
    dial_again(&mut farm, link);
    assert_eq!(up(&mut farm, link, "11111111"), Value::Null);
    assert_eq!(submits(&mut farm, link).len(), 1);
}

#[test]
fn f92_a_block_that_no_pool_decided_about_is_forgotten_after_a_day_and_said() {
    let mut farm = farm();
    farm.proxy.restore_block(block(0), Duration::from_secs(86_000), farm.now).unwrap();
    farm.wait(Duration::from_secs(390));
    assert_eq!(waiting(&farm), 1);
    farm.wait(Duration::from_secs(15));
    assert_eq!(waiting(&farm), 0);
    let hash = block(0).hash;
    let mut events = std::iter::from_fn(|| farm.proxy.poll_event());
    assert!(events.any(|event| event == Event::BlockForgotten { hash }));
}
