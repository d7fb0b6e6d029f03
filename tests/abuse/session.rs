//! F14 to F26: sessions of miners and of pools.

use loka_stratum::downstream::{Close, State};
use loka_stratum::ledger::{Bucket, Orphan, Reject};
use loka_stratum::limits::{
    JOB_SILENCE_MAX, LINK_ODDITIES_MAX, POOL_JOB_ID_BYTES_MAX, WORKER_NAME_BYTES_MAX,
};
use loka_stratum::proxy::Event;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{self, LinkClose, LinkIndex};
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::extranonce::Incompatible;
use serde_json::{Value, json};

use super::farm::{
    Farm, HOPELESS, TRIVIAL, job, notified, notify, notify_of, options, parse, set_difficulty,
};

fn request(id: u32, method: &str, params: &Value) -> String {
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// The params of a submit for a received job.
fn share(worker: &str, job: &Value, nonce: u32) -> Value {
    json!([worker, job[0], "0000000a", job[7], format!("{nonce:08x}")])
}

#[test]
fn f14_a_submit_before_its_time_says_what_is_missing() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (_, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    let miner = farm.connect();
    assert_eq!(farm.submit(miner, share("w", &job, 1))["error"][0], 25);
    farm.send(miner, &request(2, "mining.subscribe", &json!([])));
    assert_eq!(farm.submit(miner, share("w", &job, 1))["error"][0], 24);
    farm.send(miner, &request(3, "mining.authorize", &json!(["w", "x"])));
    assert_eq!(farm.submit(miner, share("w", &job, 1))["result"], true);
    let counts = farm.proxy.miner(miner).unwrap().counts();
    assert_eq!(counts.of(Bucket::Rejected(Reject::NotSubscribed)), 1);
    assert_eq!(counts.of(Bucket::Rejected(Reject::Unauthorized)), 1);
    assert_eq!(counts.submitted(), 3);
}

#[test]
fn f15_authorize_first_and_configure_last_are_taken() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let miner = farm.connect();
    let heard = farm.send(miner, &request(1, "mining.authorize", &json!(["w", "x"])));
    assert_eq!(parse(&heard[0])["result"], true);
    assert_eq!(heard.len(), 1, "no job before the subscription");
    let heard = farm.send(miner, &request(2, "mining.subscribe", &json!([])));
    assert!(heard[0].contains(r#""id":2"#), "the answer comes before anything else: {heard:?}");
    let job = notified(&heard);
    let rolling = json!([["version-rolling"], {"version-rolling.mask": "ffffffff"}]);
    let heard = farm.send(miner, &request(3, "mining.configure", &rolling));
    assert_eq!(parse(&heard[0])["result"]["version-rolling.mask"], "1fffe000");
    assert_eq!(farm.submit(miner, rolled("w", &job, 1, "00002000"))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][5], "00002000");
}

#[test]
fn f15_a_second_subscribe_hears_the_same_and_takes_no_second_place() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = parse(&heard[0])["result"].clone();
    for params in [json!([]), json!(["other/2", "loka"]), json!([null, null, "x", 4])] {
        let heard = farm.send(miner, &request(7, "mining.subscribe", &params));
        assert_eq!(heard.len(), 1, "no job again: {heard:?}");
        assert_eq!(parse(&heard[0])["result"], first);
    }
    let (_, heard) = farm.miner("farm.s20");
    assert_eq!(parse(&heard[0])["result"][1], "01", "the next id, none was left out");
}

#[test]
fn f16_each_worker_is_credited_for_its_own() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.a");
    let job = notified(&heard);
    farm.send(miner, &request(3, "mining.authorize", &json!(["farm.b", "x"])));
    let (other, _) = farm.miner("farm.c");
    for (nonce, (worker, code)) in [
        ("farm.a", Value::Null),
        ("farm.b", Value::Null),
        ("farm.c", json!(24)),
        ("FARM.A", json!(24)),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = farm.submit(miner, share(worker, &job, nonce as u32));
        assert_eq!(answer["error"][0], code, "{worker}");
    }
    assert_eq!(farm.proxy.miner(other).unwrap().counts().submitted(), 0);
    let workers: Vec<_> = farm.proxy.miner(miner).unwrap().workers().iter().collect();
    assert_eq!(workers, ["farm.a", "farm.b"]);
}

#[test]
fn f17_names_are_exact_or_refused() {
    let longest = "n".repeat(WORKER_NAME_BYTES_MAX);
    let umlauts = "\u{fc}".repeat(WORKER_NAME_BYTES_MAX / 2);
    for name in ["a.b", "a_b", "ä ö", "quote\"back\\slash", "emoji\u{1f600}", &longest, &umlauts]
    {
        let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (miner, heard) = farm.miner(name);
        let job = notified(&heard);
        assert_eq!(farm.submit(miner, share(name, &job, 1))["result"], true, "{name}");
        // The same name in escapes is the same name, a part of it is another.
        let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        let line = request(9, "mining.submit", &share("NAME", &job, 2)).replace("NAME", &escaped);
        assert_eq!(parse(&farm.send(miner, &line)[0])["result"], true, "{name}");
        let shorter: String = name.chars().skip(1).collect();
        assert_eq!(farm.submit(miner, share(&shorter, &job, 3))["error"][0], 24, "{name}");
    }
    let mut farm = Farm::new();
    let miner = farm.connect();
    let longer = "n".repeat(WORKER_NAME_BYTES_MAX + 1);
    let wider = "\u{fc}".repeat(WORKER_NAME_BYTES_MAX / 2) + "x";
    for name in [longer.as_str(), &wider, "", "line\nfeed", "\u{7f}"] {
        let heard = farm.send(miner, &request(1, "mining.authorize", &json!([name, "x"])));
        assert_eq!(parse(&heard[0])["error"][0], 24, "{name:?}");
    }
    assert!(farm.proxy.miner(miner).unwrap().workers().is_empty());
}

#[test]
fn f17_a_name_of_the_settings_is_escaped_for_the_pool() {
    let mut options = options(1);
    options.pools[0].user = "fa\"rm\\".try_into().unwrap();
    options.pools[0].password = "a\",\"b".try_into().unwrap();
    let mut farm = Farm::with(4, options);
    let link = farm.dialled();
    farm.pool_says(link, r#"{"id":1,"result":{}}"#);
    farm.pool_says(link, r#"{"id":2,"result":[[],"aa",8]}"#);
    let authorize = parse(farm.pool_hears(link).last().unwrap());
    assert_eq!(authorize["params"], json!(["fa\"rm\\", "a\",\"b"]));
}

#[test]
fn f18_a_refused_account_is_shown_and_miners_stay() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    while farm.proxy.poll_event().is_some() {}
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_says(link, r#"{"id":1,"result":{}}"#);
    farm.pool_says(link, r#"{"id":2,"result":[[],"c0ffee01",8]}"#);
    let refusal = b"{\"id\":3,\"result\":null,\"error\":[24,\"no such user\",null]}\n";
    let close = LinkClose::AuthorizeRefused(Some(24));
    assert_eq!(farm.pool_bytes(link, refusal), Err(close));
    let events: Vec<_> = std::iter::from_fn(|| farm.proxy.poll_event()).collect();
    assert!(events.contains(&Event::LinkDown { link, pool: 0, close }), "{events:?}");
    assert_eq!(farm.proxy.poll_closed(), None);
    assert_eq!(farm.proxy.miner(miner).unwrap().state(), State::Authorized);
}

#[test]
fn f19_a_handshake_has_one_deadline_for_all_of_it() {
    let mut farm = Farm::new();
    let silent = farm.connect();
    let slow = farm.connect();
    let unauthorized = farm.connect();
    farm.send(unauthorized, &request(1, "mining.subscribe", &json!([])));
    let mut closed = vec![];
    for (byte, second) in br#"{"id":1,"method":"mining.subscribe"}"#.iter().zip(1..) {
        farm.bytes(slow, &[*byte]);
        farm.wait(Duration::from_secs(1));
        while let Some((miner, close)) = farm.proxy.poll_closed() {
            farm.proxy.handle_disconnect(miner);
            closed.push((second, miner, close));
        }
    }
    let late = |seconds: u32, state| (seconds, Close::HandshakeTimeout(state));
    let of = |miner| {
        closed.iter().find(|(_, m, _)| *m == miner).map(|(second, _, close)| (*second, *close))
    };
    assert_eq!(closed.len(), 3, "each once: {closed:?}");
    // One sweep of the table takes a second.
    assert!([10, 11].map(|s| Some(late(s, State::Connected))).contains(&of(silent)), "{closed:?}");
    assert_eq!(of(slow), of(silent));
    assert!([15, 16].map(|s| Some(late(s, State::Subscribed))).contains(&of(unauthorized)));
}

#[test]
fn f20_a_miner_without_a_share_for_hours_is_kept() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, HOPELESS);
    let (miner, _) = farm.miner("farm.nerd");
    for minute in 0..120 {
        farm.wait(Duration::from_secs(60));
        farm.pool_says(link, &notify(&format!("m{minute}"), 1, false));
        assert!(!farm.due(miner).is_empty(), "it hears something every minute");
        assert_eq!(farm.proxy.poll_closed(), None);
    }
}

#[test]
fn f21_what_is_granted_is_what_both_can() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let cases = [
        (json!({"version-rolling.mask": "ffffffff"}), json!("1fffe000")),
        (json!({"version-rolling.mask": "18000001"}), json!("18000000")),
        (json!({}), json!("1fffe000")),
        (json!({"version-rolling.mask": "00000000"}), Value::Null),
        (json!({"version-rolling.mask": "00000001"}), Value::Null),
    ];
    for (options, mask) in cases {
        let (miner, heard) = farm.miner("farm.s19");
        let job = notified(&heard);
        let extensions = json!(["version-rolling", "made-up", "x"]);
        let heard =
            farm.send(miner, &request(3, "mining.configure", &json!([extensions, options])));
        let result = parse(&heard[0])["result"].clone();
        assert_eq!(result["version-rolling"], !mask.is_null());
        assert_eq!(result["version-rolling.mask"], mask);
        assert!(result.as_object().unwrap().keys().all(|key| key.starts_with("version-rolling")));
        let outside = farm.submit(miner, rolled("farm.s19", &job, 1, "20000000"));
        assert_eq!(outside["error"], json!([20, "version bits outside the mask", null]));
        let none = farm.submit(miner, rolled("farm.s19", &job, 2, "00000000"));
        assert_eq!(none["result"], true);
    }
    let (miner, heard) = farm.miner("farm.cpu");
    let answer = farm.submit(miner, rolled("farm.cpu", &notified(&heard), 1, "00002000"));
    assert_eq!(answer["error"][1], "version bits outside the mask", "never negotiated");
    let counts = farm.proxy.miner(miner).unwrap().counts();
    assert_eq!(counts.of(Bucket::Rejected(Reject::VersionBits)), 1);
}

/// The params of a submit with rolled bits.
fn rolled(worker: &str, job: &Value, nonce: u32, bits: &str) -> Value {
    let mut params = share(worker, job, nonce);
    params.as_array_mut().unwrap().push(bits.into());
    params
}

/// A miner that rolls its granted bits, and its job.
fn rolling_miner(farm: &mut Farm) -> (loka_stratum::table::MinerHandle, Value, String) {
    let miner = farm.connect();
    let rolling = json!([["version-rolling"], {"version-rolling.mask": "ffffffff"}]);
    let heard = farm.send(miner, &request(1, "mining.configure", &rolling));
    let granted = parse(&heard[0])["result"]["version-rolling.mask"].clone();
    farm.send(miner, &request(2, "mining.subscribe", &json!([])));
    let heard = farm.send(miner, &request(3, "mining.authorize", &json!(["w", "x"])));
    (miner, notified(&heard), granted.as_str().unwrap_or_default().to_owned())
}

#[test]
fn f22_any_mask_of_the_pool_is_passed_on() {
    for mask in ["5fffe000", "00c00000", "1fffe000", "ffffffff", "00000001"] {
        let mut farm = Farm::new();
        let link = farm.dialled();
        farm.handshake_with(link, "c0ffee01", 8, Some(mask));
        farm.pool_says(link, &set_difficulty(TRIVIAL));
        farm.pool_says(link, &notify("job-1", 1, true));
        let (miner, job, granted) = rolling_miner(&mut farm);
        assert_eq!(granted, mask);
        assert_eq!(farm.submit(miner, rolled("w", &job, 1, mask))["result"], true);
        assert_eq!(farm.pool_accepts(link)["params"][5], mask);
    }
}

#[test]
fn f22_a_pool_hears_every_bit_of_its_mask_also_those_that_the_miner_may_not_roll() {
    let mut farm = Farm::new();
    let link = farm.dialled();
    farm.handshake_with(link, "c0ffee01", 8, Some("ffffffff"));
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-1", 1, true));
    let miner = farm.connect();
    let rolling = json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]);
    farm.send(miner, &request(1, "mining.configure", &rolling));
    farm.send(miner, &request(2, "mining.subscribe", &json!([])));
    let job = notified(&farm.send(miner, &request(3, "mining.authorize", &json!(["w", "x"]))));
    // The job's version is 20000000, and the pool uses all bits of the submit.
    for (nonce, (bits, heard)) in
        (1..).zip([("00002000", "20002000"), ("1fffe000", "3fffe000"), ("00000000", "20000000")])
    {
        assert_eq!(farm.submit(miner, rolled("w", &job, nonce, bits))["result"], true);
        assert_eq!(farm.pool_accepts(link)["params"][5], heard);
    }
}

/// BIP-0310 puts a new mask in force at once, and the miner cannot know of it yet.
#[test]
fn a_share_on_its_way_while_the_mask_changes_is_judged_as_it_was_hashed() {
    // The job's version is 20000000; the last mask does not cover the rolled bits.
    for (mask, heard) in
        [("ffffffff", "2000e000"), ("0000e000", "0000e000"), ("10000000", "0000e000")]
    {
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (miner, job, granted) = rolling_miner(&mut farm);
        assert_eq!(granted, "1fffe000");
        let line = json!({"id": null, "method": "mining.set_version_mask", "params": [mask]});
        farm.pool_says(link, &line.to_string());
        assert_eq!(farm.submit(miner, rolled("w", &job, 1, "0000e000"))["result"], true, "{mask}");
        assert_eq!(farm.pool_accepts(link)["params"][5], heard);
    }
}

#[test]
fn a_miner_may_roll_the_bits_of_a_new_mask_for_the_job_before_it() {
    let mut farm = Farm::new();
    let link = farm.dialled();
    farm.handshake_with(link, "c0ffee01", 8, Some("0000e000"));
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-1", 1, true));
    let (miner, job, granted) = rolling_miner(&mut farm);
    assert_eq!(granted, "0000e000");
    let line = json!({"id": null, "method": "mining.set_version_mask", "params": ["1fffe000"]});
    farm.pool_says(link, &line.to_string());
    let early = farm.submit(miner, rolled("w", &job, 1, "10000000"));
    assert_eq!(early["error"][1], "version bits outside the mask", "it was not told yet");
    farm.due(miner);
    assert_eq!(farm.submit(miner, rolled("w", &job, 1, "10000000"))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][5], "10000000");
}

#[test]
fn f22_a_late_share_has_no_bits_that_only_the_next_pool_allows() {
    let mut options = options(2);
    options.links.standby = true;
    let mut farm = Farm::with(1, options);
    let (first, second) = (farm.dialled(), farm.dialled());
    for (link, mask) in [(first, "0000e000"), (second, "1fffe000")] {
        farm.handshake_with(link, "c0ffee01", 8, Some(mask));
        farm.pool_says(link, &set_difficulty(TRIVIAL));
        farm.pool_says(link, &notify("job-1", 1, true));
    }
    let (miner, job, granted) = rolling_miner(&mut farm);
    assert_eq!(granted, "0000e000");
    farm.pool_lost(first);
    assert!(farm.due(miner)[0].contains("1fffe000"), "it is told the mask of the second");
    let answer = farm.submit(miner, rolled("w", &job, 1, "10000000"));
    assert_eq!(answer["error"][1], "version bits outside the mask");
    assert_eq!(farm.submit(miner, rolled("w", &job, 2, "00002000"))["result"], true);
}

#[test]
fn f22_a_mask_that_changes_live_is_told_with_a_job_at_once() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _, granted) = rolling_miner(&mut farm);
    assert_eq!(granted, "1fffe000");
    for (nonce, mask) in (1..).zip(["5fffe000", "00006000", "1fffe000"]) {
        let line = json!({"id": null, "method": "mining.set_version_mask", "params": [mask]});
        farm.pool_says(link, &line.to_string());
        assert!(farm.wanting().contains(&miner));
        let heard = farm.due(miner);
        assert_eq!(parse(&heard[0])["method"], "mining.set_version_mask", "{heard:?}");
        assert_eq!(parse(&heard[0])["params"][0], mask);
        let share = rolled("w", &notified(&heard), nonce, mask);
        assert_eq!(farm.submit(miner, share)["result"], true, "{mask}");
        assert_eq!(farm.pool_accepts(link)["params"][5], mask);
    }
}

#[test]
fn f22_a_reconnect_takes_no_mask_away_while_it_lasts() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, ..) = rolling_miner(&mut farm);
    farm.wait(Duration::from_secs(43));
    farm.due(miner);
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(1));
    farm.dialled();
    // The pool delays its answer to configure; the keep-alive falls due meanwhile.
    farm.wait(Duration::from_secs(2));
    let heard = farm.due(miner);
    notified(&heard);
    assert!(!heard.iter().any(|line| line.contains("set_version_mask")), "{heard:?}");
    let (_, _, granted) = rolling_miner(&mut farm);
    assert_eq!(granted, "1fffe000", "newcomers are not refused either");
}

#[test]
fn f23_the_last_suggestion_wins_within_the_policy_and_nothing_is_stormed() {
    let mut options = options(1);
    options.vardiff.max = Difficulty::new(4096.0).unwrap();
    options.vardiff.min = Difficulty::new(0.001).unwrap();
    let mut farm = Farm::with(4, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, 1e6);
    let (miner, _) = farm.miner("farm.s19");
    let told = |farm: &mut Farm, name: &str| {
        farm.pool_says(link, &notify(name, 1, false));
        let heard = farm.due(miner);
        let difficulty = heard
            .iter()
            .map(|line| parse(line))
            .find(|line| line["method"] == "mining.set_difficulty");
        difficulty.map(|line| line["params"][0].as_f64().unwrap())
    };
    for suggestion in 1..=1000 {
        let heard =
            farm.send(miner, &request(1, "mining.suggest_difficulty", &json!([suggestion])));
        // The first differs much from the difficulty in force; suggestions within seconds make no
        // job.
        let jobs = usize::from(suggestion == 1) * 2;
        assert_eq!(heard.len(), 1 + jobs, "{heard:?}");
    }
    assert_eq!(told(&mut farm, "j1"), Some(512.0), "a power of two below the last");
    for (wish, got) in
        [(1e15, Some(4096.0)), (5000.0, None), (1e-9, Some(0.001)), (700.0, Some(700.0))]
    {
        farm.send(miner, &request(1, "mining.suggest_difficulty", &json!([wish])));
        assert_eq!(told(&mut farm, "j2"), got, "{wish}");
    }
}

#[test]
fn f23_a_wish_after_the_first_job_takes_effect_at_once_and_for_its_miner_alone() {
    let mut options = options(1);
    options.vardiff.start = Difficulty::new(1024.0).unwrap();
    let mut farm = Farm::with(4, options);
    let link = farm.dialled();
    farm.pool_up(link, "c0ffee01", 8, 1024.0);
    let (miner, heard) = farm.miner("farm.bitaxe");
    let (other, _) = farm.miner("farm.other");
    let first = notified(&heard);
    let wish = |farm: &mut Farm, wish: f64| {
        farm.send(miner, &request(7, "mining.suggest_difficulty", &json!([wish])))
    };
    let heard = wish(&mut farm, 512.0);
    let lines: Vec<_> = heard.iter().map(|line| parse(line)).collect();
    assert_eq!(lines.len(), 3, "{heard:?}");
    assert_eq!((&lines[0]["id"], &lines[0]["result"]), (&json!(7), &json!(true)));
    assert_eq!(lines[1]["method"], "mining.set_difficulty");
    assert_eq!(lines[1]["params"][0].as_f64(), Some(512.0));
    let again = notified(&heard);
    assert_ne!(again[0], first[0], "a new id");
    assert_ne!(again[7], first[7], "a later time: other shares for who begins anew");
    assert_eq!(again[8], false);
    assert_eq!((&again[1], &again[2], &again[3]), (&first[1], &first[2], &first[3]));
    assert!(farm.due(other).is_empty(), "nobody else hears of it");
    // The new job's id is valid, and so is the previous id.
    for job in [&again, &first] {
        let answer = farm.submit(miner, share("farm.bitaxe", job, 1));
        assert_eq!(answer["error"][1], "low difficulty share", "{answer}");
    }
    let stolen = farm.submit(other, share("farm.other", &again, 1));
    assert_eq!(stolen["error"][1], "job not found", "it is this miner's alone");
    // A suggestion soon after it, or near the difficulty in force, waits for the next job.
    assert_eq!(wish(&mut farm, 64.0).len(), 1);
    farm.wait(Duration::from_secs(11));
    assert_eq!(wish(&mut farm, 511.0).len(), 3, "256 is half of what is in force");
    farm.wait(Duration::from_secs(11));
    assert_eq!(wish(&mut farm, 300.0).len(), 1, "256 is in force");
    farm.wait(Duration::from_secs(11));
    let heard = wish(&mut farm, 1023.5);
    let told =
        heard.iter().map(|line| parse(line)).find(|l| l["method"] == "mining.set_difficulty");
    assert_eq!(told.unwrap()["params"][0].as_f64(), Some(512.0), "a fraction above 1");
}

#[test]
fn f24_set_extranonce_holds_from_the_next_notify_and_ends_what_came_before() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    farm.pool_says(link, r#"{"id":null,"method":"mining.set_extranonce","params":["beef",6]}"#);
    assert_eq!(farm.due(miner), [""; 0], "nothing changes yet");
    assert_eq!(farm.submit(miner, share("farm.s19", &first, 1))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][2], "000000000000000a");
    farm.pool_says(link, &notify("job-1", 1, false));
    let second = notified(&farm.due(miner));
    assert_eq!(second[8], true, "whatever the pool's flag says");
    assert!(second[2].as_str().unwrap().ends_with("beef00"), "{}", second[2]);
    let stale = farm.submit(miner, share("farm.s19", &first, 2));
    assert_eq!(stale["error"][0], 21);
    assert_eq!(farm.submit(miner, share("farm.s19", &second, 2))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][2], "00000000000a");
}

#[test]
fn f24_a_share_that_was_not_sent_in_time_is_orphaned_not_bent() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    // The socket to the pool is full: the engine's output for it is not fetched.
    let line = request(9, "mining.submit", &share("farm.s19", &first, 1));
    assert_eq!(parse(&farm.send_unsettled(miner, &line)[0])["result"], true);
    let set = r#"{"id":null,"method":"mining.set_extranonce","params":["beef",8]}"#;
    farm.pool_says_unsettled(link, set);
    farm.pool_says_unsettled(link, &notify("job-2", 1, false));
    assert_eq!(farm.pool_hears(link), [""; 0]);
    assert_eq!(farm.proxy.ledger().of(Bucket::Orphaned(Orphan::SessionLost)), 1);
}

#[test]
fn f24_a_job_before_the_subscription_is_not_given_the_last_extranonce() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(2));
    let link = farm.dialled();
    farm.pool_says(link, &notify("stray", 2, true));
    assert_eq!(farm.due(miner), [""; 0], "its extranonce1 is not known");
    farm.pool_says(link, r#"{"id":1,"result":{}}"#);
    farm.pool_says(link, r#"{"id":2,"result":[[],"beef",8]}"#);
    // A newcomer does not get the job of the lost session.
    let (_, heard) = farm.miner("farm.s20");
    assert!(heard.iter().all(|line| parse(line)["method"].is_null()), "{heard:?}");
    assert_eq!(farm.submit(miner, share("farm.s19", &first, 1))["error"][0], 21);
    farm.pool_says(link, r#"{"id":3,"result":true}"#);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-2", 2, true));
    let second = notified(&farm.due(miner));
    assert!(second[2].as_str().unwrap().ends_with("beef000000"), "{}", second[2]);
}

/// QUIRKS 10: ckpool sends a job before it answers mining.subscribe; the next may be a minute away.
#[test]
fn a_job_that_comes_before_the_subscription_is_used_once_that_is_answered() {
    let mut farm = Farm::with(8, options(1));
    let link = farm.dialled();
    farm.pool_hears(link);
    farm.pool_says(link, r#"{"id":1,"result":{}}"#);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("older", 1, true));
    farm.pool_says(link, &notify("early", 1, true));
    farm.pool_hears(link);
    farm.pool_says(link, r#"{"id":2,"result":[[],"c0ffee01",8]}"#);
    farm.pool_says(link, r#"{"id":3,"result":true}"#);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    assert!(job[2].as_str().unwrap().ends_with("c0ffee01000000"), "{}", job[2]);
    farm.submit(miner, share("farm.s19", &job, 1));
    let sent = farm.pool_hears(link);
    let submit = sent.iter().find(|line| line.contains("mining.submit")).expect("a share is sent");
    assert_eq!(parse(submit)["params"][1], "early");
}

/// What came early on a connection that broke before its subscription is of no use to the next.
#[test]
fn a_job_before_a_subscription_that_never_came_is_forgotten() {
    let mut farm = Farm::with(8, options(1));
    let link = farm.dialled();
    farm.pool_says(link, &notify("early", 1, true));
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(5));
    let link = farm.dialled();
    farm.handshake(link, "c0ffee01", 8);
    let (_, heard) = farm.miner("farm.s19");
    assert!(heard.iter().all(|line| parse(line)["method"].is_null()), "{heard:?}");
}

#[test]
fn f25_sizes_that_hold_no_farm_are_refused_with_both_numbers() {
    let incompatible = |got, need| LinkClose::Incompatible(Incompatible { got, need });
    let sizes = [
        ("0", 16, incompatible(0, 3)),
        ("1", 300, incompatible(1, 3)),
        ("2", 16, incompatible(2, 3)),
        ("17", 16, incompatible(17, 16)),
        ("2147483648", 16, incompatible(255, 16)),
        ("18446744073709551615", 16, incompatible(255, 16)),
        ("-1", 16, LinkClose::SubscribeMalformed),
        ("4.5", 16, LinkClose::SubscribeMalformed),
        ("\"4\"", 16, LinkClose::SubscribeMalformed),
        ("null", 16, LinkClose::SubscribeMalformed),
    ];
    for (size, miners, close) in sizes {
        let mut farm = Farm::with(miners, options(1));
        let link = farm.dialled();
        farm.pool_says(link, r#"{"id":1,"result":{}}"#);
        let line = format!("{{\"id\":2,\"result\":[[],\"c0ffee01\",{size}]}}\n");
        assert_eq!(farm.pool_bytes(link, line.as_bytes()), Err(close), "{size}");
        assert_eq!(farm.proxy.links().get(link).unwrap().state(), upstream::State::Idle);
    }
    for size in 3..=16 {
        let (mut farm, _) = Farm::live("c0ffee01", size, TRIVIAL);
        let (miner, heard) = farm.miner("farm.s19");
        let job = notified(&heard);
        let roll = parse(&heard[0])["result"][2].as_u64().unwrap() as usize;
        let share = json!(["farm.s19", job[0], "5a".repeat(roll), job[7], "00000001"]);
        assert_eq!(farm.submit(miner, share)["result"], true, "{size}");
    }
}

#[test]
fn f25_a_live_pool_that_shrinks_below_any_miner_is_left() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    let set = b"{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"beef\",2]}\n";
    let close = LinkClose::Incompatible(Incompatible { got: 2, need: 3 });
    assert_eq!(farm.pool_bytes(link, set), Err(close));
    assert_eq!(farm.proxy.poll_closed(), None);
    assert_eq!(farm.proxy.miner(miner).unwrap().state(), State::Authorized);
}

#[test]
fn f26_what_else_a_pool_says_is_answered_or_counted() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    while farm.proxy.poll_event().is_some() {}
    farm.pool_says(link, r#"{"id":null,"method":"client.show_message","params":["Hello\u0007"]}"#);
    assert_eq!(farm.proxy.poll_event(), Some(Event::PoolMessage { link }));
    farm.pool_says(link, r#"{"id":"v","method":"client.get_version","params":[]}"#);
    let answer = parse(&farm.pool_hears(link)[0]);
    assert_eq!(answer, json!({"id": "v", "result": "loka-stratum/test", "error": null}));
    farm.pool_says(link, r#"{"id":10,"method":"mining.ping","params":[]}"#);
    assert_eq!(parse(&farm.pool_hears(link)[0])["id"], 10);
    farm.pool_says(link, r#"{"id":null,"method":"mining.ping","params":[]}"#);
    farm.pool_says(link, r#"{"id":null,"method":"mining.hashrate","params":[]}"#);
    farm.pool_says(link, r#"{"id":null,"method":"client.show_message","params":[5]}"#);
    assert_eq!(farm.pool_hears(link), [""; 0]);
    assert_eq!(farm.due(miner), [""; 0], "miners hear nothing of it");
}

#[test]
fn f26_more_oddities_than_the_budget_end_the_link() {
    let odd: [&[u8]; 6] = [
        b"{\"id\":null,\"method\":\"mining.hashrate\",\"params\":[]}\n",
        b"{\"id\":12345,\"result\":true,\"error\":null}\n",
        b"{\"id\":\"x\",\"result\":true,\"error\":null}\n",
        b"{\"error\":null,\"id\":auth,\"result\":true}\n",
        b"noise\n",
        b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[]}\n",
    ];
    for line in odd {
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        for time in 0..=LINK_ODDITIES_MAX {
            let last = time == LINK_ODDITIES_MAX;
            let expected = if last { Err(LinkClose::Oddities) } else { Ok(()) };
            assert_eq!(farm.pool_bytes(link, line), expected);
        }
    }
}

#[test]
fn f26_a_job_that_cannot_be_used_leaves_the_last_one_in_force() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    let changes: [(usize, Value); 9] = [
        (0, "j".repeat(POOL_JOB_ID_BYTES_MAX + 1).into()),
        (1, "00".repeat(31).into()),
        (2, "0g".into()),
        (3, "000".into()),
        (4, json!(["00"])),
        (4, json!(vec!["00".repeat(32); 33])),
        (6, "ff123456".into()),
        (6, "00000000".into()),
        (8, json!("true")),
    ];
    for (at, value) in changes {
        let mut refused = job("bad", 2, true);
        refused[at] = value;
        farm.pool_says(link, &notify_of(&refused));
        assert_eq!(farm.due(miner), [""; 0], "{refused}");
    }
    farm.wait(Duration::from_secs(46));
    let again = notified(&farm.due(miner));
    assert_eq!((&again[1], &again[2]), (&first[1], &first[2]), "the keep-alive is the old job");
    assert_eq!(farm.submit(miner, share("farm.s19", &again, 1))["result"], true);
}

#[test]
fn draining_takes_no_newcomers_and_still_counts_submits() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    farm.proxy.drain();
    assert!(farm.proxy.handle_connect([0; 16], farm.now).is_err());
    assert_eq!(farm.proxy.miner(miner).unwrap().state(), State::Draining);
    assert_eq!(farm.submit(miner, share("farm.s19", &job, 1))["result"], true);
    assert!(!farm.proxy.is_drained());
    farm.pool_accepts(link);
    assert!(farm.proxy.is_drained());
    // A link lost now is not dialled again, and needs no event.
    farm.pool_lost(link);
    farm.wait(Duration::from_secs(5));
    assert_eq!(farm.proxy.poll_dial(farm.now), None::<(LinkIndex, u8)>);
    assert!(farm.proxy.poll_timeout() > farm.now);
}

/// Connects whatever is to be dialled and brings pool `pool` up on it; other pools are away.
fn only_pool_up(farm: &mut Farm, pool: u8, extranonce1: &str) -> Vec<LinkIndex> {
    let mut up = vec![];
    while farm.proxy.poll_hangup(farm.now).is_some() {}
    while let Some((link, of)) = farm.proxy.poll_dial(farm.now) {
        if of == pool {
            farm.proxy.handle_link_up(link, farm.now);
            farm.pool_hears(link);
            farm.pool_says(link, r#"{"id":1,"result":{}}"#);
            let session = json!([[], format!("{extranonce1}{:02x}", link.index()), 3]);
            farm.pool_says(link, &json!({"id": 2, "result": session}).to_string());
            farm.pool_says(link, r#"{"id":3,"result":true}"#);
            farm.pool_says(link, &set_difficulty(TRIVIAL));
            farm.pool_says(link, &notify("job-1", 1, true));
            up.push(link);
        } else {
            let lost = LinkClose::Lost(upstream::Lost::Connect);
            farm.proxy.handle_link_down(link, lost, farm.now);
        }
    }
    up
}

#[test]
fn f58_every_lane_follows_to_the_next_pool_and_back() {
    // Three bytes of extranonce2 hold 192 miners on the first link and 256 on each other: 500 need
    // three.
    let mut farm = Farm::sized(500, 5, options(2));
    let mut first = only_pool_up(&mut farm, 0, "aa");
    let miners: Vec<_> = (0..500).map(|_| farm.miner("farm.s19").0).collect();
    for _ in 0..3 {
        farm.wait(Duration::from_secs(1));
        first.extend(only_pool_up(&mut farm, 0, "aa"));
    }
    let served = |farm: &mut Farm, extranonce1: &str| {
        let mut served = 0;
        for miner in &miners {
            let heard = farm.due(*miner);
            let notify =
                heard.iter().map(|line| parse(line)).rfind(|l| l["method"] == "mining.notify");
            let coinb1 = notify.map(|notify| notify["params"][2].as_str().unwrap().to_owned());
            let Some(coinb1) = coinb1 else { continue };
            served += usize::from(coinb1[coinb1.len() - 4..].starts_with(extranonce1));
        }
        served
    };
    assert_eq!(first.len(), 3, "a link for each lane");
    assert!(served(&mut farm, "aa") >= 500 - 192);

    for link in first {
        farm.pool_lost(link);
    }
    let mut second = vec![];
    for _ in 0..60 {
        farm.wait(Duration::from_secs(1));
        second.extend(only_pool_up(&mut farm, 1, "bb"));
    }
    assert_eq!(second.len(), 3, "each lane has a link to the next pool");
    assert_eq!(served(&mut farm, "bb"), 500);

    for round in 0..180 {
        farm.wait(Duration::from_secs(1));
        only_pool_up(&mut farm, 0, "cc");
        if round % 30 == 0 {
            let open: Vec<_> = farm
                .proxy
                .links()
                .iter()
                .filter(|(_, l)| l.state().is_open())
                .map(|(i, _)| i)
                .collect();
            for link in open {
                farm.pool_says(link, &notify(&format!("j{round}"), 1, false));
            }
        }
    }
    assert_eq!(farm.proxy.links().active_pool(0), 0);
    assert_eq!(served(&mut farm, "cc"), 500, "and back when the first is healthy");
    assert_eq!(farm.proxy.poll_closed(), None);
}

#[test]
fn f59_a_pool_that_gives_no_job_for_two_minutes_is_connected_anew() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    farm.wait(JOB_SILENCE_MAX - Duration::from_secs(2));
    assert_eq!(farm.proxy.poll_hangup(farm.now), None);
    // Without a job its other lines are useless.
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.wait(Duration::from_secs(2));
    assert_eq!(farm.proxy.poll_hangup(farm.now), Some(link));
    let state = farm.proxy.links().get(link).unwrap();
    assert_eq!(state.last_close(), Some(LinkClose::JobSilence));
    farm.wait(Duration::from_secs(2));
    farm.due(miner);
    let link = farm.dialled();
    farm.pool_up(link, "beef", 8, TRIVIAL);
    let job = notified(&farm.due(miner));
    assert_eq!(job[8], true);
    assert_eq!(farm.submit(miner, share("farm.s19", &job, 1))["result"], true);
    assert_eq!(farm.proxy.poll_closed(), None, "the miner stayed");
}

#[test]
fn f66_time_that_repeats_leaps_or_goes_back_storms_nobody() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let job = notified(&heard);
    farm.submit(miner, share("farm.s19", &job, 1));
    let start = farm.now;
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    for now in
        [start, start, loka_stratum::time::Instant::ZERO, start + years, start, start + years]
    {
        farm.now = now;
        farm.proxy.handle_timeout(now);
        let mut steps = 0;
        while farm.proxy.poll_hangup(now).is_some() || farm.proxy.poll_dial(now).is_some() {
            steps += 1;
            assert!(steps < 100, "the links settle");
        }
        farm.proxy.handle_timeout(now);
        let due = farm.proxy.poll_timeout();
        assert!(due > now, "{due:?} at {now:?}");
        assert!(farm.proxy.ledger().check());
    }
    assert_eq!(farm.proxy.poll_closed(), None, "an authorized miner stays");
    assert!(farm.proxy.links().get(link).is_some());
}

#[test]
fn f78_another_pool_in_the_settings_costs_one_clean_notify() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, heard) = farm.miner("farm.s19");
    let first = notified(&heard);
    assert_eq!(farm.submit(miner, share("farm.s19", &first, 1))["result"], true);
    farm.pool_accepts(link);

    let mut changed = options(1);
    changed.pools[0].user = "other.account".try_into().unwrap();
    farm.proxy.apply(changed, farm.now);
    assert_eq!(farm.proxy.poll_hangup(farm.now), Some(link), "the old link is let go");
    let link = farm.dialled();
    farm.handshake(link, "beef", 8);
    let authorize = farm.proxy.links().get(link).unwrap().state();
    assert_eq!(authorize, upstream::State::Authorizing);
    farm.pool_says(link, &set_difficulty(TRIVIAL));
    farm.pool_says(link, &notify("job-1", 1, false));
    let second = notified(&farm.due(miner));
    assert_eq!(second[8], true);
    assert_eq!(farm.submit(miner, share("farm.s19", &second, 2))["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][0], "other.account");
    assert_eq!(farm.proxy.poll_closed(), None);
}
