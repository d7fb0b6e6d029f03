//! A pool that goes bad without closing, and its reports: shares refused or without an answer,
//! refusals and closes at the login, refused names, and the time until a returned pool is used.

mod farm;

use farm::{Farm, TRIVIAL, notified, notify, options, parse, set_difficulty};
use loka_stratum::identity::Identity;
use loka_stratum::ledger::{Bucket, PoolReject};
use loka_stratum::links::{self, Why};
use loka_stratum::proxy::{Event, Options, VerdictMode};
use loka_stratum::refusals::Trouble;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost, State};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

fn events(farm: &mut Farm) -> Vec<Event> {
    std::iter::from_fn(|| farm.proxy.poll_event()).collect()
}

fn share(worker: &str, job: &Value, nonce: u32) -> Value {
    json!([worker, job[0], "0000000a", job[7], format!("{nonce:08x}")])
}

/// The ids and names of the shares that the pool heard.
fn submits(farm: &mut Farm, link: LinkIndex) -> Vec<(Value, String)> {
    let lines = farm.pool_hears(link);
    lines
        .iter()
        .map(|line| parse(line))
        .filter(|line| line["method"] == "mining.submit")
        .map(|line| (line["id"].clone(), line["params"][0].as_str().unwrap().to_owned()))
        .collect()
}

/// A share a second for so long; the pool answers each as `answer` says, or not at all.
fn mine(
    farm: &mut Farm,
    link: LinkIndex,
    (miner, job, first): (MinerHandle, &Value, u32),
    secs: u32,
    answer: impl Fn(&Value) -> Option<Value>,
) -> Vec<Event> {
    let mut all = vec![];
    for nonce in first..first + secs {
        farm.submit(miner, share("farm.1", job, nonce));
        for (id, _) in submits(farm, link) {
            if let Some(answer) = answer(&id) {
                let _ = farm.pool_bytes(link, format!("{answer}\n").as_bytes());
            }
        }
        all.extend(events(farm));
        farm.wait(SECOND);
        if nonce % 30 == 29 {
            let _ = farm.pool_bytes(
                link,
                b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1e-10]}\n",
            );
        }
    }
    all.extend(events(farm));
    all
}

fn unpaid(events: &[Event]) -> Vec<Trouble> {
    let of = |event: &Event| match event {
        Event::Unpaid { trouble, .. } => Some(*trouble),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn ended(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::PaidAgain { .. })).count()
}

fn refused(code: Value) -> impl Fn(&Value) -> Option<Value> {
    move |id| Some(json!({"id": id, "result": null, "error": [code, "no\u{202e} share", null]}))
}

fn taken(id: &Value) -> Option<Value> {
    Some(json!({"id": id, "result": true, "error": null}))
}

/// A farm of one miner at a live pool, and its job.
fn one() -> (Farm, LinkIndex, MinerHandle, Value) {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.1");
    events(&mut farm);
    (farm, link, miner, notified(&heard))
}

#[test]
fn f93_a_pool_that_refuses_every_share_is_said_once_and_so_is_its_end() {
    for code in [json!(20), json!(21), json!(22), json!(23), json!("23"), json!(-1)] {
        let (mut farm, link, miner, job) = one();
        let said = mine(&mut farm, link, (miner, &job, 0), 90, refused(code.clone()));
        let troubles = unpaid(&said);
        assert!(matches!(troubles[..], [Trouble::Refuses { .. }]), "{code}: {troubles:?}");
        let state = farm.proxy.links().get(link).unwrap();
        assert_eq!(state.refusals().words().as_str(), "no\\u{202e} share");
        assert!(matches!(state.refusals().trouble(), Some(Trouble::Refuses { count: 90, .. })));
        assert!(!said.iter().any(|event| matches!(event, Event::LinkDown { .. })), "{code}");
        let said = mine(&mut farm, link, (miner, &job, 100), 60, taken);
        assert_eq!((ended(&said), unpaid(&said).len()), (1, 0), "{code}");
        assert_eq!(farm.proxy.links().get(link).unwrap().refusals().trouble(), None);
    }
}

#[test]
fn f93_a_session_that_the_pool_forgot_is_made_anew_once_a_minute() {
    for code in [24, 25] {
        let (mut farm, link, miner, job) = one();
        let said = mine(&mut farm, link, (miner, &job, 0), 30, refused(json!(code)));
        assert_eq!(unpaid(&said).len(), 1);
        let downs: Vec<_> = said
            .iter()
            .filter_map(|event| match event {
                Event::LinkDown { close, .. } => Some(*close),
                _ => None,
            })
            .collect();
        assert_eq!(downs, [LinkClose::SessionForgotten]);
        assert_eq!(farm.proxy.poll_hangup(farm.now), Some(link), "the connection is closed");
        farm.wait(SECOND);
        // The link requests a new session, which fixes it.
        let link = farm.dialled();
        farm.pool_up(link, "c0ffee02", 8, TRIVIAL);
        let job = notified(&farm.due(miner));
        let said = mine(&mut farm, link, (miner, &job, 100), 20, taken);
        assert_eq!((ended(&said), unpaid(&said).len()), (1, 0), "{said:?}");
    }
}

#[test]
fn f93_a_session_that_serves_somebody_is_kept() {
    let (mut farm, link, miner, job) = one();
    // One good share a round, and many refused as if there were no session.
    let good = |id: &Value| id.as_u64().unwrap().is_multiple_of(16);
    let said = mine(&mut farm, link, (miner, &job, 0), 100, |id| {
        if good(id) { taken(id) } else { refused(json!(24))(id) }
    });
    assert!(!said.iter().any(|event| matches!(event, Event::LinkDown { .. })), "{said:?}");
    assert!(!unpaid(&said).is_empty());
}

#[test]
fn f93_a_pool_that_answers_no_share_is_closed_and_connected_anew() {
    let (mut farm, link, miner, job) = one();
    let mut said = mine(&mut farm, link, (miner, &job, 0), 59, |_| None);
    assert!(!said.iter().any(|event| matches!(event, Event::LinkDown { .. })), "{said:?}");
    said.extend(mine(&mut farm, link, (miner, &job, 100), 3, |_| None));
    assert!(matches!(unpaid(&said)[..], [Trouble::AnswersNone { .. }]), "{said:?}");
    let is_no_answers =
        |event: &Event| matches!(event, Event::LinkDown { close: LinkClose::NoAnswers, .. });
    assert_eq!(said.iter().filter(|event| is_no_answers(event)).count(), 1);
    assert_eq!(farm.proxy.links().get(link).unwrap().score(), Some(0));
    assert_eq!(farm.proxy.poll_hangup(farm.now), Some(link));
    farm.wait(SECOND);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee02", 8, TRIVIAL);
    // As silent as before: said already, and closed again later than a minute on.
    let job = notified(&farm.due(miner));
    let said = mine(&mut farm, link, (miner, &job, 200), 62, |_| None);
    assert_eq!(unpaid(&said), []);
    assert_eq!(farm.proxy.links().get(link).unwrap().score(), Some(0), "none of 124 is no 100");
}

#[test]
fn f93_an_answer_to_nothing_is_no_answer_to_a_share() {
    for (id, is_closed) in [(0_u32, true), (7, true), (15, true), (9_999, true), (16, false)] {
        let (mut farm, link, miner, job) = one();
        mine(&mut farm, link, (miner, &job, 0), 31, |_| None);
        // The first has waited for half a minute; what comes for it now is late and an answer.
        farm.pool_says(link, &format!("{{\"id\":{id},\"result\":true,\"error\":null}}"));
        let said = mine(&mut farm, link, (miner, &job, 100), 31, |_| None);
        let is_no_answers =
            |event: &Event| matches!(event, Event::LinkDown { close: LinkClose::NoAnswers, .. });
        assert_eq!(said.iter().any(is_no_answers), is_closed, "{id}: {said:?}");
    }
}

#[test]
fn f93_a_few_unanswered_shares_close_no_link() {
    let (mut farm, link, miner, job) = one();
    mine(&mut farm, link, (miner, &job, 0), 2, |_| None);
    for _ in 0..4 {
        farm.wait(Duration::from_secs(20));
        farm.pool_says(link, &set_difficulty(TRIVIAL));
    }
    assert_eq!(unpaid(&events(&mut farm)), []);
    assert_eq!(farm.proxy.links().get(link).unwrap().state(), State::Live);
}

#[test]
fn f93_the_pools_words_reach_the_miner_that_waits_for_them() {
    let mut farm = Farm::with(8, Options { verdict: VerdictMode::Pool, ..options(1) });
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.1");
    let job = notified(&heard);
    for (nonce, (error, code, text)) in [
        (json!(["21", "Job not found", null]), 21, "Job not found"),
        (json!({"code": "22", "message": "Duplicate"}), 22, "Duplicate"),
        (json!("Above target"), 23, "Above target"),
        (json!([21]), 21, "rejected by the pool"),
        (json!("w".repeat(500)), 20, &*("w".repeat(117) + "…")),
    ]
    .into_iter()
    .enumerate()
    {
        farm.submit(miner, share("farm.1", &job, nonce as u32));
        let (id, _) = submits(&mut farm, link).remove(0);
        farm.pool_says(link, &json!({"id": id, "result": null, "error": error}).to_string());
        let heard = farm.due(miner);
        assert_eq!(parse(&heard[0])["error"], json!([code, text, null]), "{heard:?}");
    }
    assert_eq!(farm.proxy.ledger().of(Bucket::PoolRejected(PoolReject::JobNotFound)), 2);
}

/// A farm of one miner, a pool and its standby, and the miner's job.
fn two() -> (Farm, [LinkIndex; 2], MinerHandle, Value) {
    let mut farm = Farm::sized(
        64,
        8,
        Options { links: links::Policy { standby: true, ..options(2).links }, ..options(2) },
    );
    let both = [farm.dialled(), farm.dialled()];
    farm.pool_up(both[0], "c0ffee00", 8, TRIVIAL);
    farm.pool_up(both[1], "c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.1");
    events(&mut farm);
    (farm, both, miner, notified(&heard))
}

/// A share every five seconds for so long, at two pools of which the second takes all; what the
/// first says is `answer`. Returns the switches with the time of each, and what it was sent.
fn mine_two(
    farm: &mut Farm,
    (both, miner, job): ([LinkIndex; 2], MinerHandle, &mut Value),
    (first, steps): (u32, u32),
    answer: impl Fn(&Value) -> Option<Value>,
) -> (Vec<(u64, u8, Why)>, usize) {
    let (start, mut switches, mut sent) = (farm.now, vec![], 0);
    for step in first..first + steps {
        let heard = farm.due(miner);
        if heard.iter().any(|line| line.contains("mining.notify")) {
            *job = notified(&heard);
        }
        farm.submit(miner, share("farm.1", job, step));
        for link in both {
            for (id, _) in submits(farm, link) {
                let is_first = link == both[0];
                sent += usize::from(is_first);
                if let Some(answer) = if is_first { answer(&id) } else { taken(&id) } {
                    let _ = farm.pool_bytes(link, format!("{answer}\n").as_bytes());
                }
            }
            // A session that is made anew is let in, and jobs go on.
            let state = farm.proxy.links().get(link).unwrap();
            if state.next_attempt(farm.now) == Some(Duration::ZERO) {
                farm.proxy.poll_hangup(farm.now);
                assert_eq!(farm.dialled(), link);
                farm.pool_up(link, &format!("c0{step:06}"), 8, TRIVIAL);
            } else if state.state() == State::Live && step % 6 == 0 {
                farm.pool_says(link, &notify(&format!("job-{step}"), (step % 200) as u8, false));
            }
        }
        farm.wait(Duration::from_secs(5));
        let at = farm.now.since(start).as_secs();
        for event in events(farm) {
            if let Event::Switched(switch) = event {
                switches.push((at, switch.to, switch.why));
            }
        }
    }
    (switches, sent)
}

#[test]
fn f93_a_pool_that_refused_every_share_gets_ever_rarer_turns_and_stays_when_it_pays() {
    for code in [20, 23, -1] {
        let (mut farm, both, miner, mut job) = two();
        let farm_of = (both, miner, &mut job);
        let (switches, sent) = mine_two(&mut farm, farm_of, (0, 900), refused(json!(code)));
        // 75 minutes: left at once, and tried after 5, 10 and 20 minutes and a minute of health.
        let left = switches.iter().filter(|(_, to, _)| *to == 1);
        assert_eq!(left.count(), 4, "{code}: {switches:?}");
        let why = |why: &Why| matches!(why, Why::Refuses { count: 8.., .. });
        assert!(switches.iter().all(|(_, to, reason)| *to == 0 || why(reason)), "{switches:?}");
        let turns = switches.iter().filter_map(|(_, to, reason)| match reason {
            Why::Trial { secs } if *to == 0 => Some(secs / 60),
            _ => None,
        });
        assert_eq!(turns.collect::<Vec<_>>(), [6, 11, 21], "{code}: {switches:?}");
        assert!(sent <= 4 * 10, "{code}: {sent} of 900 shares for nothing");
        let known = farm.proxy.links().get(both[0]).unwrap();
        assert!(known.score() <= Some(40), "{:?}", known.score());
        // It pays again: the next turn is for good, and is said.
        let farm_of = (both, miner, &mut job);
        let (switches, sent) = mine_two(&mut farm, farm_of, (900, 120), taken);
        assert!(matches!(switches[..], [(_, 0, Why::Trial { .. })]), "{code}: {switches:?}");
        assert!(sent >= 20, "{code}: {sent}");
        assert_eq!(farm.proxy.links().get(both[0]).unwrap().score(), Some(100));
        assert_eq!(farm.proxy.links().get(both[0]).unwrap().refusals().trouble(), None);
    }
}

#[test]
fn f93_a_pool_that_answers_no_share_gets_a_turn_ever_more_seldom_too() {
    let (mut farm, both, miner, mut job) = two();
    let farm_of = (both, miner, &mut job);
    let (switches, sent) = mine_two(&mut farm, farm_of, (0, 720), |_| None);
    let turns = switches.iter().filter(|(_, to, why)| *to == 0 && matches!(why, Why::Trial { .. }));
    assert!((1..=4).contains(&turns.count()), "an hour: {switches:?}");
    assert!(sent <= 10, "{sent} of 720 shares for nothing: {switches:?}");
}

#[test]
fn f93_every_switch_says_why() {
    let why = |farm: &mut Farm| {
        let switch = |event: &Event| match event {
            Event::Switched(switch) => Some((switch.from, switch.to, switch.why)),
            _ => None,
        };
        events(farm).iter().filter_map(switch).collect::<Vec<_>>()
    };
    let (mut farm, links, ..) = two();
    farm.pool_lost(links[0]);
    let lost = Why::Lost(LinkClose::Lost(Lost::Broken));
    assert_eq!(why(&mut farm), [(0, 1, lost)]);
    farm.wait(SECOND);
    let first = farm.dialled();
    farm.pool_up(first, "c0ffee02", 8, TRIVIAL);
    farm.wait(Duration::from_secs(62));
    assert_eq!(why(&mut farm), [(1, 0, Why::Preferred { secs: 60 })]);

    let (mut farm, links, miner, job) = two();
    farm.submit(miner, share("farm.1", &job, 1));
    farm.pool_hears(links[0]);
    farm.wait(Duration::from_secs(5));
    assert_eq!(why(&mut farm), [(0, 1, Why::Silent)]);

    let (mut farm, links, miner, job) = two();
    let said = mine(&mut farm, links[0], (miner, &job, 0), 9, refused(json!(20)));
    let refuses = |event: &Event| match event {
        Event::Switched(switch) => {
            matches!(switch.why, Why::Refuses { code: Some(20), count: 8.. })
        }
        _ => false,
    };
    assert!(said.iter().any(refuses), "{said:?}");

    let (mut farm, ..) = two();
    let one = Options { links: links::Policy { standby: true, ..options(1).links }, ..options(1) };
    let mut other = one.clone();
    other.pools[0].host = "another.example.com".try_into().unwrap();
    farm.proxy.apply(other, farm.now);
    farm.wait(SECOND);
    let reasons = why(&mut farm);
    assert!(reasons.iter().all(|(_, _, why)| *why == Why::Settings), "{reasons:?}");
}

/// What is shown of a link that is down.
fn told(farm: &Farm, link: LinkIndex) -> String {
    farm.proxy.links().get(link).unwrap().last_close_told().unwrap().to_string()
}

#[test]
fn f93_what_a_pool_says_before_it_closes_is_told() {
    let mut farm = Farm::new();
    let link = farm.dialled();
    farm.pool_says(link, r#"{"id":1,"result":{"version-rolling":false},"error":null}"#);
    farm.pool_says(
        link,
        r#"{"id":null,"method":"client.show_message","params":["Banned for \u001b[2J a day"]}"#,
    );
    farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Closed), farm.now);
    let expected = "the pool closed the connection after mining.subscribe, before its answer; \
                    it said \"Banned for \\u{1b}[2J a day\"";
    assert_eq!(told(&farm, link), expected);
    assert!(events(&mut farm).contains(&Event::PoolMessage { link }));

    let mut farm = Farm::new();
    let link = farm.dialled();
    let refused = r#"{"id":1,"result":null,"error":null}
{"id":2,"result":null,"error":[20,"Pool is full",null]}
"#;
    assert!(farm.pool_bytes(link, refused.as_bytes()).is_err());
    assert_eq!(told(&farm, link), "the pool refused to subscribe: \"Pool is full\" (code 20)");
}

#[test]
fn f93_a_pool_that_closes_at_configure_is_tried_without_it() {
    let mut farm = Farm::new();
    let mut firsts = vec![];
    for _ in 0..2 {
        let link = farm.dialled();
        firsts.extend(farm.pool_hears(link));
        farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Closed), farm.now);
        let text = "the pool closed the connection after mining.configure, before any answer";
        assert_eq!(told(&farm, link), text);
        farm.wait(Duration::from_secs(4));
    }
    assert!(firsts.iter().all(|line| line.contains("mining.configure")) && firsts.len() == 2);
    events(&mut farm);
    let subscribed = |farm: &mut Farm| {
        let link = farm.dialled();
        let heard = farm.pool_hears(link);
        assert!(heard[0].contains("mining.subscribe"), "{heard:?}");
        farm.pool_says(
            link,
            r#"{"id":2,"result":[[["mining.notify","s"]],"c0ffee01",8],"error":null}"#,
        );
        farm.pool_says(link, r#"{"id":3,"result":true,"error":null}"#);
        farm.pool_says(link, &set_difficulty(TRIVIAL));
        farm.pool_says(link, &notify("job-1", 1, true));
        farm.pool_hears(link);
        link
    };
    let link = subscribed(&mut farm);
    let said = events(&mut farm);
    assert!(said.iter().any(|event| matches!(event, Event::ConfigureLeftOut { .. })), "{said:?}");
    // While that works it goes on so, without a further word.
    farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Closed), farm.now);
    farm.wait(Duration::from_secs(4));
    let link = subscribed(&mut farm);
    let said = events(&mut farm);
    assert!(!said.iter().any(|event| matches!(event, Event::ConfigureLeftOut { .. })), "{said:?}");
    // After an hour it is asked again.
    for _ in 0..62 {
        farm.wait(Duration::from_secs(60));
        farm.pool_says(link, &notify("job-2", 1, false));
    }
    farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Closed), farm.now);
    farm.wait(Duration::from_secs(4));
    let link = farm.dialled();
    assert!(farm.pool_hears(link)[0].contains("mining.configure"));

    // If the pool's reason was another, configure is sent again.
    let mut farm = Farm::new();
    let mut said = vec![];
    for _ in 0..4 {
        let link = farm.dialled();
        said.push(farm.pool_hears(link)[0].contains("mining.configure"));
        farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Closed), farm.now);
        farm.wait(Duration::from_secs(20));
    }
    assert_eq!(said, [true, true, false, true]);
}

/// The seconds between dials of a pool that is away for so long.
fn dials(farm: &mut Farm, link: LinkIndex, away: u64) -> Vec<f64> {
    let start = farm.now;
    let mut at: Vec<Instant> = vec![];
    while farm.now.since(start).as_secs() < away {
        if let Some((dialled, _)) = farm.proxy.poll_dial(farm.now)
            && dialled == link
        {
            at.push(farm.now);
            farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Connect), farm.now);
        }
        farm.wait(Duration::from_millis(50));
    }
    at.windows(2).map(|pair| pair[1].since(pair[0]).as_micros() as f64 / 1e6).collect()
}

#[test]
fn f95_a_pool_that_is_back_is_used_within_5_s_where_no_other_serves() {
    for away in [10, 40, 600] {
        let (mut farm, link, ..) = one();
        farm.pool_lost(link);
        let gaps = dials(&mut farm, link, away);
        assert!(gaps.iter().all(|gap| (0.7..4.1).contains(gap)), "{away}: {gaps:?}");
        let spread =
            gaps.iter().copied().fold(0.0, f64::max) - gaps.iter().copied().fold(9.0, f64::min);
        assert!(away < 600 || spread > 0.5, "no jitter: {gaps:?}");
    }
    // An account that is refused is not tried more often for that.
    let mut farm = Farm::new();
    let mut waits = vec![];
    for _ in 0..7 {
        let link = farm.dialled();
        farm.pool_says(link, r#"{"id":1,"result":null,"error":null}"#);
        farm.pool_says(link, r#"{"id":2,"result":[[],"c0ffee01",8],"error":null}"#);
        assert!(
            farm.pool_bytes(link, b"{\"id\":3,\"result\":false,\"error\":[24,\"no\",null]}\n")
                .is_err()
        );
        let before = farm.now;
        while farm.proxy.links().get(link).unwrap().next_attempt(farm.now).unwrap() > Duration::ZERO
        {
            farm.wait(Duration::from_millis(100));
        }
        waits.push(farm.now.since(before).as_secs());
    }
    assert!(waits[6] >= 45, "{waits:?}");
}

#[test]
fn f57_f95_a_pool_that_flaps_backs_off_while_another_serves_and_is_hastened_when_it_ends() {
    let standby = |options: Options| Options {
        links: links::Policy { standby: true, ..options.links },
        ..options
    };
    let mut farm = Farm::sized(64, 8, standby(options(2)));
    let (first, second) = (farm.dialled(), farm.dialled());
    farm.pool_up(second, "c0ffee01", 8, TRIVIAL);
    farm.proxy.handle_link_down(first, LinkClose::Lost(Lost::Connect), farm.now);
    let until = |farm: &mut Farm, secs: u64| {
        let start = farm.now;
        let mut count = 0;
        while farm.now.since(start).as_secs() < secs {
            if let Some((link, _)) = farm.proxy.poll_dial(farm.now) {
                count += usize::from(link == first);
                farm.proxy.handle_link_down(link, LinkClose::Lost(Lost::Connect), farm.now);
            }
            farm.wait(Duration::from_millis(200));
            if second_is_live(farm, second) {
                farm.pool_says(second, &notify("job-9", 1, false));
            }
        }
        count
    };
    fn second_is_live(farm: &Farm, link: LinkIndex) -> bool {
        farm.proxy.links().get(link).unwrap().state() == State::Live
    }
    let dialled = until(&mut farm, 200);
    assert!(dialled <= 10, "{dialled} dials in 200 s while another pool serves");
    farm.pool_lost(second);
    let dialled = until(&mut farm, 20);
    assert!(dialled >= 4, "{dialled} dials in 20 s while none serves");
}

#[test]
fn f94_a_pool_of_one_name_gets_all_shares_under_its_login() {
    let mut farm = Farm::with(16, Options { identity: Identity::PerWorker, ..options(1) });
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    let miners: Vec<_> = (1..4).map(|n| farm.miner(&format!("farm.{n}")).0).collect();
    events(&mut farm);
    let start = farm.now;
    let mut jobs: Vec<Option<Value>> = vec![None; miners.len()];
    let (mut lost, mut took, mut said_after) = (0, vec![], None);
    for second in 0..60_u32 {
        for (place, miner) in miners.iter().enumerate() {
            let heard = farm.due(*miner);
            if heard.iter().any(|line| line.contains("mining.notify")) {
                jobs[place] = Some(notified(&heard));
            }
            if let Some(job) = &jobs[place] {
                farm.submit(*miner, share(&format!("farm.{}", place + 1), job, second));
            }
        }
        // A second authorize is left unanswered, and any other name's share is refused.
        loop {
            let shares = submits(&mut farm, link);
            if shares.is_empty() {
                break;
            }
            for (id, name) in shares {
                let is_login = name == "farm.gateway";
                let answer = if is_login {
                    took.push(name);
                    json!({"id": id, "result": true, "error": null})
                } else {
                    lost += 1;
                    json!({"id": id, "result": null, "error": [20, "Worker mismatch", null]})
                };
                farm.pool_says(link, &answer.to_string());
            }
        }
        if events(&mut farm).iter().any(|event| matches!(event, Event::OneName { pool: 0, .. })) {
            said_after = Some(farm.now.since(start).as_secs());
        }
        farm.wait(SECOND);
    }
    assert!(said_after.is_some_and(|secs| secs <= 30), "{said_after:?}");
    assert!(farm.proxy.takes_one_name(0));
    assert!(took.len() > 100, "{} shares were taken", took.len());
    let rejected = farm.proxy.ledger().of(Bucket::PoolRejected(PoolReject::Other));
    assert!(rejected <= 2 && rejected < lost, "{rejected} of {lost} refused were lost");
    // A later miner's name is not authorized at the pool; the miner is answered at once.
    let (_, heard) = farm.miner("farm.9");
    assert!(heard.iter().any(|line| parse(line)["id"] == 2), "{heard:?}");
    // Until the settings change.
    let mut other = Options { identity: Identity::PerWorker, ..options(1) };
    other.pools[0].user = "other.gateway".try_into().unwrap();
    farm.proxy.apply(other, farm.now);
    assert!(!farm.proxy.takes_one_name(0));
}

/// A pool that answers every further authorize as `answer` says, for so many miners.
fn named(names: &[&str], answer: impl Fn(&str) -> bool) -> Farm {
    let mut farm = Farm::with(16, Options { identity: Identity::PerWorker, ..options(1) });
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    for name in names {
        farm.miner(name);
    }
    for _ in 0..40 {
        for line in farm.pool_hears(link) {
            let line = parse(&line);
            if line["method"] == "mining.authorize" {
                let yes = answer(line["params"][0].as_str().unwrap());
                let error = if yes { Value::Null } else { json!([24, "no", null]) };
                let answer = json!({"id": line["id"], "result": yes, "error": error});
                farm.pool_says(link, &answer.to_string());
            }
        }
        farm.wait(SECOND);
    }
    farm
}

#[test]
fn f94_a_pool_that_refuses_every_further_name_is_one_too() {
    let all = ["farm.1", "farm.2", "farm.3"];
    assert!(named(&all, |_| false).proxy.takes_one_name(0));
    assert!(named(&all, |name| name == "farm.gateway").proxy.takes_one_name(0));
    assert!(named(&["farm.1"], |_| false).proxy.takes_one_name(0), "not even its login again");
}

#[test]
fn f18_f94_one_miner_that_comes_again_and_again_is_one_name() {
    let mut farm = Farm::with(16, Options { identity: Identity::PerWorker, ..options(1) });
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    for _ in 0..40 {
        let (miner, _) = farm.miner("farm.1");
        for line in farm.pool_hears(link) {
            let line = parse(&line);
            let yes = line["params"][0] == "farm.gateway";
            farm.pool_says(link, &json!({"id": line["id"], "result": yes}).to_string());
        }
        farm.wait(SECOND);
        farm.proxy.handle_disconnect(miner);
    }
    assert!(!farm.proxy.takes_one_name(0));
}

#[test]
fn f18_f94_what_a_stalled_pool_leaves_unanswered_says_nothing_of_its_names() {
    let mut farm = Farm::with(16, Options { identity: Identity::PerWorker, ..options(1) });
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, TRIVIAL);
    farm.miner("farm.1");
    for line in farm.pool_hears(link) {
        let line = parse(&line);
        assert_eq!(line["params"][0], "farm.1");
        farm.pool_says(link, &json!({"id": line["id"], "result": false}).to_string());
    }
    // From here on nothing comes of it: neither its login nor another name is answered.
    farm.miner("farm.2");
    for _ in 0..40 {
        farm.wait(SECOND);
        farm.pool_hears(link);
    }
    assert!(!farm.proxy.takes_one_name(0));
}

#[test]
fn f18_f94_a_pool_that_refuses_one_name_is_none() {
    let all = ["farm.1", "farm.2", "farm.3"];
    assert!(!named(&all, |name| name != "farm.2").proxy.takes_one_name(0));
    assert!(!named(&["farm.1"], |name| name == "farm.gateway").proxy.takes_one_name(0));
}
