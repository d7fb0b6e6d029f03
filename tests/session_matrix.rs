//! Every state with every message, and every position of every message with every type.
//!
//! The tables below define all behaviour of a session: a cell gives the answer and the next state.
//! The states and the messages are listed here again, by hand, so no cell is missing.

mod farm;

use farm::{Farm, TRIVIAL, job, notified, notify, notify_of, parse, set_difficulty};
use loka_stratum::downstream::State;
use loka_stratum::ledger::{Bucket, Reject};
use loka_stratum::limits::{LINK_STEP_MAX, ODD_REQUESTS_MAX};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::{self, LinkClose, LinkIndex, Lost};
use loka_stratum::work::extranonce::Incompatible;
use serde_json::{Value, json};

// ---- miners: (state, request) ----------------------------------------------------------------

/// A miner's state before the request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Miner {
    Connected,
    /// Connected, with an authorized worker.
    Named,
    Subscribed,
    Authorized,
    Draining,
}

const MINERS: [Miner; 5] =
    [Miner::Connected, Miner::Named, Miner::Subscribed, Miner::Authorized, Miner::Draining];

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// `true`, no error.
    True,
    /// A result with contents, no error.
    Contents,
    /// An error with this code.
    Code(u64),
    /// No answer.
    Nothing,
}

use Answer::{Code, Contents, Nothing, True};
use State::{Authorized, Connected, Draining, Subscribed};

/// A cell: the answer, the next state, and whether a job follows.
type Cell = (Answer, State, bool);

/// A cell without a change of state: the answer is `answer`, no job follows.
const fn stays(answer: Answer) -> [Cell; 5] {
    [
        (answer, Connected, false),
        (answer, Connected, false),
        (answer, Subscribed, false),
        (answer, Authorized, false),
        (answer, Draining, false),
    ]
}

fn rows() -> Vec<(&'static str, [Cell; 5])> {
    vec![
        (
            r#"{"id":7,"method":"mining.configure","params":[["version-rolling"],{}]}"#,
            stays(Contents),
        ),
        (
            r#"{"id":7,"method":"mining.subscribe","params":["t/1"]}"#,
            [
                (Contents, Subscribed, false),
                (Contents, Authorized, true),
                (Contents, Subscribed, false),
                (Contents, Authorized, false),
                (Contents, Draining, false),
            ],
        ),
        (
            r#"{"id":7,"method":"mining.authorize","params":["w","x"]}"#,
            [
                (True, Connected, false),
                (True, Connected, false),
                (True, Authorized, true),
                (True, Authorized, false),
                (True, Draining, false),
            ],
        ),
        (r#"{"id":7,"method":"mining.authorize","params":["","x"]}"#, stays(Code(24))),
        (r#"{"id":7,"method":"mining.extranonce.subscribe","params":[]}"#, stays(True)),
        (r#"{"id":7,"method":"mining.suggest_difficulty","params":[512]}"#, stays(True)),
        (r#"{"id":null,"method":"mining.suggest_difficulty","params":[512]}"#, stays(Nothing)),
        (r#"{"id":7,"method":"mining.suggest_difficulty(512)","params":[]}"#, stays(True)),
        (r#"{"id":7,"method":"mining.suggest_difficulty","params":[0]}"#, stays(Code(20))),
        (
            r#"{"id":7,"method":"mining.suggest_target","params":["00000000ffff0000000000000000000000000000000000000000000000000000"]}"#,
            stays(True),
        ),
        // Less than a whole target could mean two things.
        (r#"{"id":7,"method":"mining.suggest_target","params":["00ff"]}"#, stays(Code(20))),
        (
            r#"{"id":7,"method":"mining.submit","params":["w","JOB","0000000a","68426000","0a"]}"#,
            [
                (Code(25), Connected, false),
                (Code(25), Connected, false),
                (Code(24), Subscribed, false),
                (Code(20), Authorized, false),
                (Code(20), Draining, false),
            ],
        ),
        (
            r#"{"id":7,"method":"mining.submit","params":["w","JOB","0000000a","68426000","0000000a"]}"#,
            [
                (Code(25), Connected, false),
                (Code(25), Connected, false),
                (Code(24), Subscribed, false),
                (True, Authorized, false),
                (True, Draining, false),
            ],
        ),
        (
            r#"{"id":7,"method":"mining.submit","params":["w"]}"#,
            [
                (Code(25), Connected, false),
                (Code(25), Connected, false),
                (Code(20), Subscribed, false),
                (Code(20), Authorized, false),
                (Code(20), Draining, false),
            ],
        ),
        (r#"{"id":7,"method":"mining.get_transactions","params":["JOB"]}"#, stays(Code(20))),
        (r#"{"id":7,"method":"mining.ping","params":[]}"#, stays(Contents)),
        (r#"{"id":7,"method":"client.get_version","params":[]}"#, stays(Code(20))),
        (r#"{"id":7,"method":"mining.hashrate","params":[]}"#, stays(Code(20))),
        // Methods of pools.
        (r#"{"id":7,"method":"mining.notify","params":[]}"#, stays(Code(20))),
        (r#"{"id":7,"method":"client.reconnect","params":[]}"#, stays(Code(20))),
        (r#"{"id":7,"result":true,"error":null}"#, stays(Nothing)),
        (r#"{"id":7,"result":null,"error":[20,"x",null]}"#, stays(Nothing)),
        (r#"{"id":7,"params":[]}"#, stays(Code(20))),
        ("not json", stays(Code(20))),
    ]
}

/// A farm with a miner in this state, and the miners' job.
fn miner_in(state: Miner) -> (Farm, MinerHandle, String) {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (_, heard) = farm.miner("neighbour");
    let job = notified(&heard)[0].as_str().unwrap().to_owned();
    let miner = farm.connect();
    // A client that opens with a request counts as a miner from then on.
    farm.send(miner, r#"{"id":1,"method":"mining.ping","params":[]}"#);
    if matches!(state, Miner::Named | Miner::Authorized | Miner::Draining) {
        farm.send(miner, r#"{"id":3,"method":"mining.authorize","params":["w","x"]}"#);
    }
    if matches!(state, Miner::Subscribed | Miner::Authorized | Miner::Draining) {
        farm.send(miner, r#"{"id":2,"method":"mining.subscribe","params":[]}"#);
    }
    if state == Miner::Draining {
        farm.proxy.drain();
    }
    (farm, miner, job)
}

#[test]
fn every_state_of_a_miner_meets_every_request() {
    for (line, cells) in rows() {
        for (state, (answer, after, job_follows)) in MINERS.into_iter().zip(cells) {
            let (mut farm, miner, job) = miner_in(state);
            let name = format!("{state:?} hears {line}");
            let submitted = farm.proxy.ledger().submitted();
            let heard = farm.send(miner, &line.replace("JOB", &job));
            check_answer(answer, &heard, &name);
            assert_eq!(farm.proxy.miner(miner).unwrap().state(), after, "{name}");
            let told = heard.iter().any(|line| parse(line)["method"] == "mining.notify");
            assert_eq!(told, job_follows, "{name}");
            let is_submit = line.contains("mining.submit");
            let counted = farm.proxy.ledger().submitted() - submitted;
            assert_eq!(counted, u64::from(is_submit), "{name}");
            let counts = farm.proxy.miner(miner).unwrap().counts();
            assert_eq!(u64::from(counts.submitted()), counted, "{name}");
        }
    }
}

/// One answer under the sent id, or none.
#[track_caller]
fn check_answer(expected: Answer, heard: &[String], name: &str) {
    let mut answers = heard.iter().map(|line| parse(line)).filter(|line| line["method"].is_null());
    let answer = answers.next();
    assert_eq!(answers.next(), None, "{name}: one answer");
    let Some(answer) = answer else {
        return assert_eq!(expected, Nothing, "{name}");
    };
    // The id of a line that is not JSON cannot be known.
    assert!(answer["id"] == 7 || answer["id"].is_null(), "{name}: {answer}");
    assert!(heard[0].contains(r#""id":"#), "{name}: answers come first");
    let got = match (&answer["result"], &answer["error"]) {
        (Value::Bool(true), Value::Null) => True,
        (Value::Null, error) => Code(error[0].as_u64().unwrap()),
        (_, Value::Null) => Contents,
        other => panic!("{name}: neither yes nor no: {other:?}"),
    };
    assert_eq!(got, expected, "{name}: {answer}");
}

// ---- pools: (state, message) -----------------------------------------------------------------

/// A link's state before the message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pool {
    Idle,
    Connecting,
    Configuring,
    Subscribing,
    Authorizing,
    /// Authorizing, with a job.
    Named,
    /// Authorized, without a job.
    Jobless,
    Live,
}

const POOLS: [Pool; 8] = [
    Pool::Idle,
    Pool::Connecting,
    Pool::Configuring,
    Pool::Subscribing,
    Pool::Authorizing,
    Pool::Named,
    Pool::Jobless,
    Pool::Live,
];

/// A message's effect on a link.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// Nothing.
    Stay,
    /// The next state.
    To(upstream::State),
    /// The link ends.
    End(LinkClose),
}

use Then::{End, Stay, To};

/// A message with the same effect in all states of an open link.
const fn always(then: Then) -> [Then; 8] {
    [Stay, Stay, then, then, then, then, then, then]
}

fn messages() -> Vec<(String, [Then; 8])> {
    use upstream::State::{Authorizing, Live, Subscribing};
    let configured = To(Subscribing);
    let subscribed = To(Authorizing);
    let refused = End(LinkClose::AuthorizeRefused(Some(24)));
    let too_small = End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 }));
    let in_subscribing = |then| [Stay, Stay, Stay, then, Stay, Stay, Stay, Stay];
    let line = |text: &str| text.to_owned();
    vec![
        (
            line(r#"{"id":1,"result":{"version-rolling":true},"error":null}"#),
            [Stay, Stay, configured, Stay, Stay, Stay, Stay, Stay],
        ),
        (
            line(r#"{"id":1,"result":null,"error":[20,"unknown method",null]}"#),
            [Stay, Stay, configured, Stay, Stay, Stay, Stay, Stay],
        ),
        (line(r#"{"id":2,"result":[[],"c0ffee01",8],"error":null}"#), in_subscribing(subscribed)),
        (
            line(r#"{"id":2,"result":null,"error":[20,"no",null]}"#),
            in_subscribing(End(LinkClose::SubscribeRefused(Some(20)))),
        ),
        (
            line(r#"{"id":2,"result":["c0ffee01",8],"error":null}"#),
            in_subscribing(End(LinkClose::SubscribeMalformed)),
        ),
        (line(r#"{"id":2,"result":[[],"c0ffee01",1],"error":null}"#), in_subscribing(too_small)),
        (
            line(r#"{"id":3,"result":true,"error":null}"#),
            [Stay, Stay, Stay, Stay, Stay, To(Live), Stay, Stay],
        ),
        // Also one that was given before may be taken back (`pool-nicehash-bitaxe.txt`).
        (line(r#"{"id":3,"result":null,"error":[24,"no such user",null]}"#), always(refused)),
        (line(r#"{"id":16,"result":true,"error":null}"#), always(Stay)),
        (line(r#"{"id":"auth","result":true,"error":null}"#), always(Stay)),
        (set_difficulty(512.0), always(Stay)),
        (set_difficulty(0.0), always(Stay)),
        (notify("job-2", 2, true), [Stay, Stay, Stay, Stay, Stay, Stay, To(Live), Stay]),
        (notify("job-2", 2, false), [Stay, Stay, Stay, Stay, Stay, Stay, To(Live), Stay]),
        (line(r#"{"id":null,"method":"mining.notify","params":["x"]}"#), always(Stay)),
        (line(r#"{"id":null,"method":"mining.set_extranonce","params":["beef",8]}"#), always(Stay)),
        (
            line(r#"{"id":null,"method":"mining.set_extranonce","params":["beef",1]}"#),
            [
                Stay,
                Stay,
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
                End(LinkClose::Incompatible(Incompatible { got: 1, need: 3 })),
            ],
        ),
        (
            line(r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#),
            always(Stay),
        ),
        (
            line(r#"{"id":null,"method":"client.reconnect","params":[]}"#),
            always(End(LinkClose::Reconnect)),
        ),
        (
            line(
                r#"{"id":null,"method":"client.reconnect","params":["pool0.example.com",3334,1]}"#,
            ),
            always(End(LinkClose::Reconnect)),
        ),
        (
            line(
                r#"{"id":null,"method":"client.reconnect","params":["elsewhere.example.com",3333]}"#,
            ),
            always(Stay),
        ),
        (line(r#"{"id":null,"method":"client.show_message","params":["hello"]}"#), always(Stay)),
        (line(r#"{"id":5,"method":"client.get_version","params":[]}"#), always(Stay)),
        (line(r#"{"id":5,"method":"mining.ping","params":[]}"#), always(Stay)),
        (line(r#"{"id":null,"method":"mining.hashrate","params":[]}"#), always(Stay)),
        (line(r#"{"id":4,"method":"mining.submit","params":[]}"#), always(Stay)),
        (line("noise"), always(Stay)),
        (line("HTTP/1.1 400 Bad Request"), always(End(LinkClose::LooksLikeHttp))),
        (line("<html>log in</html>"), always(End(LinkClose::LooksLikeHttp))),
    ]
}

/// A farm with a link in this state.
fn link_in(state: Pool) -> (Farm, LinkIndex) {
    let mut farm = Farm::new();
    let (link, _) = farm.proxy.poll_dial(farm.now).unwrap();
    let lines: &[&str] = match state {
        Pool::Idle | Pool::Connecting | Pool::Configuring => &[],
        Pool::Subscribing => &["configured"],
        Pool::Authorizing => &["configured", "subscribed"],
        Pool::Named => &["configured", "subscribed", "job"],
        Pool::Jobless => &["configured", "subscribed", "authorized"],
        Pool::Live => &["configured", "subscribed", "authorized", "job"],
    };
    match state {
        Pool::Idle => {
            let lost = LinkClose::Lost(Lost::Connect);
            farm.proxy.handle_link_down(link, lost, farm.now);
        }
        Pool::Connecting => {}
        _ => farm.proxy.handle_link_up(link, farm.now),
    }
    for line in lines {
        match *line {
            "configured" => farm.pool_says(link, r#"{"id":1,"result":{},"error":null}"#),
            "subscribed" => farm.pool_says(link, r#"{"id":2,"result":[[],"c0ffee01",8]}"#),
            "authorized" => farm.pool_says(link, r#"{"id":3,"result":true}"#),
            _ => farm.pool_says(link, &notify("job-1", 1, true)),
        }
    }
    (farm, link)
}

fn state_of(farm: &Farm, link: LinkIndex) -> upstream::State {
    farm.proxy.links().get(link).unwrap().state()
}

#[test]
fn every_state_of_a_link_meets_every_message() {
    for (line, cells) in messages() {
        for (pool, then) in POOLS.into_iter().zip(cells) {
            let name = format!("{pool:?} hears {line}");
            let (mut farm, link) = link_in(pool);
            let before = state_of(&farm, link);
            let result = farm.pool_bytes(link, format!("{line}\n").as_bytes());
            let (expected, after) = match then {
                Stay => (Ok(()), before),
                To(state) => (Ok(()), state),
                End(close) => (Err(close), upstream::State::Idle),
            };
            assert_eq!(result, expected, "{name}");
            assert_eq!(state_of(&farm, link), after, "{name}");
            // In every case the farm goes on: the pool is live again within a minute.
            if let End(_) = then {
                farm.wait(Duration::from_secs(2));
                let link = farm.dialled();
                farm.pool_hears(link);
                assert_eq!(state_of(&farm, link), upstream::State::Configuring, "{name}");
            }
        }
    }
}

#[test]
fn every_state_of_a_link_meets_silence() {
    use upstream::State;
    let timeout = |state| Some(LinkClose::HandshakeTimeout(state));
    for pool in POOLS {
        let (mut farm, link) = link_in(pool);
        let before = state_of(&farm, link);
        farm.wait(LINK_STEP_MAX + LINK_STEP_MAX);
        farm.wait(LINK_STEP_MAX + LINK_STEP_MAX);
        let close = farm.proxy.links().get(link).unwrap().last_close();
        let expected = match pool {
            Pool::Idle => Some(LinkClose::Lost(Lost::Connect)),
            // The owner limits the time of a dial.
            Pool::Connecting => None,
            // An unanswered configure is skipped.
            Pool::Configuring | Pool::Subscribing => timeout(State::Subscribing),
            Pool::Authorizing | Pool::Named => timeout(State::Authorizing),
            // These have no job for up to two minutes.
            Pool::Jobless | Pool::Live => None,
        };
        assert_eq!(close, expected, "{pool:?}");
        let ended = expected.is_some();
        let after = if ended { State::Idle } else { before };
        assert_eq!(state_of(&farm, link), after, "{pool:?}");
        assert_eq!(farm.proxy.poll_hangup(farm.now).is_some(), ended && pool != Pool::Idle);
    }
}

// ---- (method, position, type) ----------------------------------------------------------------

/// One value of each JSON kind, and some that resemble valid values.
fn kinds() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(7),
        json!(1.5),
        json!(u64::MAX),
        json!("text"),
        json!([]),
        json!(["text"]),
        json!([[]]),
        json!({}),
        json!({"a": 1}),
    ]
}

/// Whether a position accepts a value.
type Takes = fn(&Value) -> bool;

const TEXT: Takes = Value::is_string;
const TEXT_OR_NULL: Takes = |value| value.is_string() || value.is_null();
const ANY: Takes = |_| true;

/// A miner's method: valid params, and the accepted kinds of each position.
struct Form {
    method: &'static str,
    params: Value,
    takes: Vec<Takes>,
    /// Number of required params.
    least: usize,
}

fn forms() -> Vec<Form> {
    let form = |method, params, takes: &[Takes], least| Form {
        method,
        params,
        takes: takes.to_vec(),
        least,
    };
    let names: Takes =
        |value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    vec![
        form(
            "mining.configure",
            json!([["info"], {}]),
            &[names, |value| value.is_object() || value.is_null()],
            1,
        ),
        form("mining.subscribe", json!(["t/1", "s"]), &[TEXT_OR_NULL, ANY], 0),
        form(
            "mining.authorize",
            json!(["w", "x"]),
            &[TEXT, |value| value.is_string() || value.is_null() || value.is_number()],
            1,
        ),
        form("mining.extranonce.subscribe", json!([0]), &[ANY], 0),
        form("mining.ping", json!([0]), &[ANY], 0),
        form(
            "mining.suggest_difficulty",
            json!([512]),
            &[|value| value.as_f64().is_some_and(|number| number > 0.0)],
            1,
        ),
        form("mining.suggest_target", json!(["00ff"]), &[|_| false], 1),
        form(
            "mining.submit",
            json!(["w", "JOB", "0000000a", "68426000", "0000000a", "00000000", 0]),
            &[TEXT, TEXT, TEXT, TEXT, TEXT, TEXT_OR_NULL, ANY],
            5,
        ),
    ]
}

/// An authorized miner, and the check that its connection is still open.
struct Subject {
    farm: Farm,
    miner: MinerHandle,
    job: String,
    odd: u8,
}

impl Subject {
    fn new() -> Self {
        let (farm, miner, job) = miner_in(Miner::Authorized);
        Self { farm, miner, job, odd: 0 }
    }

    /// Sends a request and returns its answer; opens a fresh connection before the budget is used
    /// up.
    #[track_caller]
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.odd += 1;
        if self.odd == ODD_REQUESTS_MAX {
            *self = Self::new();
        }
        let line = json!({"id": 7, "method": method, "params": params}).to_string();
        let before = self.farm.proxy.ledger().submitted();
        let heard = self.farm.send(self.miner, &line.replace("JOB", &self.job));
        let counted = self.farm.proxy.ledger().submitted() - before;
        assert_eq!(counted, u64::from(method == "mining.submit"), "{line}: counted once");
        let answers: Vec<_> = heard.iter().filter(|line| line.contains(r#""id":7"#)).collect();
        assert_eq!(answers.len(), 1, "{line}: {heard:?}");
        let alive = self.farm.send(self.miner, r#"{"id":8,"method":"mining.ping","params":[]}"#);
        assert_eq!(parse(&alive[0])["id"], 8, "{line}: it lives");
        parse(answers[0])
    }
}

#[test]
fn f09_a_wrong_type_in_any_position_is_code_20_and_the_connection_lives() {
    let mut subject = Subject::new();
    for form in forms() {
        for (at, takes) in form.takes.iter().enumerate() {
            for value in kinds() {
                let mut params = form.params.clone();
                params[at] = value.clone();
                let answer = subject.ask(form.method, &params);
                let code = &answer["error"][0];
                let name = format!("{} with {value} at {at}: {answer}", form.method);
                if !takes(&value) {
                    assert_eq!(*code, 20, "{name}");
                } else if form.method != "mining.submit" {
                    assert_eq!(*code, Value::Null, "{name}");
                } else {
                    // The right type with a value that is not right, or a share like the last.
                    assert!([20, 21, 22, 24].iter().any(|c| code == c) || code.is_null(), "{name}");
                }
            }
        }
    }
}

#[test]
fn f09_params_of_a_wrong_shape_are_code_20_and_the_connection_lives() {
    let mut subject = Subject::new();
    for form in forms() {
        let all = form.params.as_array().unwrap();
        for count in 0..all.len() {
            let answer = subject.ask(form.method, &json!(all[..count]));
            let code = answer["error"][0].as_u64();
            let name = format!("{} with {count} params: {answer}", form.method);
            if count < form.least {
                assert_eq!(code, Some(20), "{name}");
            } else {
                assert!(code.is_none_or(|code| code == 22), "{name}");
            }
        }
        for params in [json!({}), json!("text"), json!(7), json!(true)] {
            let answer = subject.ask(form.method, &params);
            assert_eq!(answer["error"][0], 20, "{} with {params} for params", form.method);
        }
        let answer = subject.ask(form.method, &Value::Null);
        let expected = if form.least == 0 { Value::Null } else { json!(20) };
        assert_eq!(answer["error"][0], expected, "{} with null for params", form.method);
    }
}

#[test]
fn f09_wrong_types_within_configure_are_code_20() {
    let mut subject = Subject::new();
    let hex: Takes = |value| value.is_null();
    let count: Takes = |value| value.is_null() || value.is_i64() && !value.is_f64();
    let number: Takes =
        |value| value.is_null() || value.as_f64().is_some_and(|number| number >= 0.0);
    let options: [(&str, &str, Takes); 3] = [
        ("version-rolling", "version-rolling.mask", hex),
        ("version-rolling", "version-rolling.min-bit-count", count),
        ("minimum-difficulty", "minimum-difficulty.value", number),
    ];
    for (extension, option, takes) in options {
        for value in kinds() {
            let answer =
                subject.ask("mining.configure", &json!([[extension], {(option): value.clone()}]));
            let expected = if takes(&value) { Value::Null } else { json!(20) };
            assert_eq!(answer["error"][0], expected, "{option} is {value}: {answer}");
        }
    }
}

#[test]
fn f09_a_submit_of_a_wrong_shape_is_malformed_and_nothing_else() {
    let mut subject = Subject::new();
    for at in 0..5 {
        let mut params = json!(["w", "JOB", "0000000a", "68426000", "0000000a"]);
        params[at] = json!({});
        subject.ask("mining.submit", &params);
    }
    let counts = subject.farm.proxy.miner(subject.miner).unwrap().counts();
    assert_eq!((counts.submitted(), counts.of(Bucket::Rejected(Reject::Malformed))), (5, 5));
    assert!(subject.farm.proxy.ledger().check());
}

#[test]
fn f09_a_wrong_type_from_a_pool_changes_nothing() {
    let notify = job("other", 3, true);
    let nothing: Takes = |_| false;
    let port: Takes = |value| value.is_null() || value.as_u64().is_some_and(|port| port <= 65535);
    let wait: Takes =
        |value| value.is_null() || value.as_u64().is_some_and(|wait| wait <= u64::from(u32::MAX));
    let lists: Takes = |value| value.as_array().is_some_and(Vec::is_empty);
    let forms: [(&str, Value, Vec<Takes>); 6] = [
        (
            "mining.set_difficulty",
            json!([512]),
            vec![|value| value.as_f64().is_some_and(|number| number > 0.0)],
        ),
        (
            "mining.notify",
            notify,
            vec![
                TEXT,
                nothing,
                nothing,
                nothing,
                lists,
                nothing,
                nothing,
                nothing,
                Value::is_boolean,
            ],
        ),
        ("mining.set_extranonce", json!(["beef", 8]), vec![nothing, |value| *value == 7]),
        ("mining.set_version_mask", json!(["1fffe000"]), vec![nothing]),
        ("client.reconnect", json!(["elsewhere", 1, 1]), vec![TEXT_OR_NULL, port, wait]),
        ("client.show_message", json!(["hello"]), vec![TEXT]),
    ];
    for (method, params, takes) in forms {
        for (at, takes) in takes.into_iter().enumerate() {
            let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
            let (miner, _) = farm.miner("farm.s19");
            for value in kinds().into_iter().filter(|value| !takes(value)) {
                let mut params = params.clone();
                params[at] = value;
                let line = json!({"id": null, "method": method, "params": params}).to_string();
                let result = farm.pool_bytes(link, format!("{line}\n").as_bytes());
                // A number that no extranonce2 has is no wrong type.
                if method == "mining.set_extranonce" && params[1].is_u64() && result.is_err() {
                    break;
                }
                assert_eq!(result, Ok(()), "{line}");
                assert_eq!(farm.due(miner), [""; 0], "{line}");
                assert_eq!(state_of(&farm, link), upstream::State::Live, "{line}");
            }
        }
        let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
        for params in [json!({}), json!("text"), json!(7), json!(true)] {
            let line = json!({"id": null, "method": method, "params": params}).to_string();
            farm.pool_says(link, &line);
            assert_eq!(state_of(&farm, link), upstream::State::Live, "{line}");
        }
    }
    // The control: the same job with nothing wrong is sent out.
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    farm.pool_says(link, &notify_of(&job("other", 3, true)));
    notified(&farm.due(miner));
}
