//! Workers whose admission the owner decides: the engine's side of `admit.*`.

mod farm;

use farm::{Farm, TRIVIAL, parse};
use loka_stratum::downstream::{Close, State};
use loka_stratum::limits::{
    AUTHORIZE_DEADLINE, ODD_REQUESTS_MAX, OUTPUT_BYTES_MIN, PASSWORD_BYTES_MAX,
};
use loka_stratum::proxy::{Admission, Question};
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::wire::writer::Writer;
use serde_json::{Value, json};

const SUBSCRIBE: &str = r#"{"id":1,"method":"mining.subscribe","params":["t/1"]}"#;

/// A farm with admission by its owner, and a live pool.
fn asking() -> Farm {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    farm.proxy.ask_admission(true);
    farm
}

fn authorize(id: impl Into<Value>, worker: &str, password: &str) -> String {
    let id = id.into();
    json!({"id": id, "method": "mining.authorize", "params": [worker, password]}).to_string()
}

/// The owner's verdict, and the miner's answer.
fn verdict(
    farm: &mut Farm,
    question: &Question,
    verdict: Admission,
) -> (Vec<String>, Result<(), Close>) {
    let mut buffer = vec![0; OUTPUT_BYTES_MIN];
    let mut out = Writer::new(&mut buffer);
    let result = farm.proxy.handle_admission(question, verdict, &mut out, farm.now);
    (farm::lines(out.as_slice()), result)
}

#[track_caller]
fn question(farm: &mut Farm, miner: MinerHandle, worker: &str, password: &str) -> Question {
    let question = farm.proxy.poll_admission().expect("the owner is asked");
    assert_eq!(question.miner, miner);
    assert_eq!((question.worker.as_str(), question.password.as_str()), (worker, password));
    assert_eq!(farm.proxy.poll_admission(), None, "once");
    question
}

/// A subscribed miner with an open authorize, and its question to the owner.
fn waiting(farm: &mut Farm) -> (MinerHandle, Question) {
    let miner = farm.connect();
    farm.send(miner, SUBSCRIBE);
    assert_eq!(farm.send(miner, &authorize("a-7", "farm.a", "pw")), Vec::<String>::new());
    let question = question(farm, miner, "farm.a", "pw");
    (miner, question)
}

fn state(farm: &Farm, miner: MinerHandle) -> State {
    farm.proxy.miner(miner).unwrap().state()
}

#[test]
fn an_owner_that_asks_nothing_is_asked_nothing() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.a");
    assert_eq!(farm.proxy.poll_admission(), None);
    assert_eq!(state(&farm, miner), State::Authorized);
}

#[test]
fn a_worker_that_is_let_in_hears_yes_under_its_id_and_gets_its_job() {
    let mut farm = asking();
    let (miner, question) = waiting(&mut farm);
    assert_eq!(state(&farm, miner), State::Subscribed);
    let (heard, result) = verdict(&mut farm, &question, Admission::Granted);
    assert_eq!(result, Ok(()));
    assert_eq!(parse(&heard[0]), json!({"id": "a-7", "result": true, "error": null}));
    assert_eq!(state(&farm, miner), State::Authorized);
    assert!(farm.due(miner).last().unwrap().contains("mining.notify"));
    let (heard, _) = verdict(&mut farm, &question, Admission::Granted);
    assert_eq!(heard, Vec::<String>::new(), "one answer for one request");
}

#[test]
fn f16_a_worker_that_is_not_let_in_hears_24_and_its_submits_too() {
    let mut farm = asking();
    let (miner, question) = waiting(&mut farm);
    let submit = json!(["farm.a", "1", "00000000", "65000000", "00000000"]);
    assert_eq!(farm.submit(miner, submit.clone())["error"][0], 24, "before the verdict");
    let (heard, result) = verdict(&mut farm, &question, Admission::Refused);
    assert_eq!(result, Ok(()), "it may try again");
    let answer = parse(&heard[0]);
    assert_eq!((&answer["id"], &answer["error"][0]), (&json!("a-7"), &json!(24)));
    assert_eq!(answer["error"][1], "unauthorized worker");
    assert_eq!(farm.submit(miner, submit)["error"][0], 24, "after it");
    assert_eq!(farm.due(miner), Vec::<String>::new(), "and no job");
}

#[test]
fn tries_end_with_the_miners_budget() {
    let mut farm = asking();
    let (miner, mut asked) = waiting(&mut farm);
    for _ in 0..ODD_REQUESTS_MAX {
        assert_eq!(verdict(&mut farm, &asked, Admission::Refused).1, Ok(()));
        farm.send(miner, &authorize(2, "farm.a", "guess"));
        asked = question(&mut farm, miner, "farm.a", "guess");
    }
    let (heard, result) = verdict(&mut farm, &asked, Admission::Refused);
    assert_eq!((heard.len(), result), (1, Err(Close::OddRequests)));
}

#[test]
fn a_busy_owner_costs_a_try_nothing() {
    let mut farm = asking();
    let (miner, mut asked) = waiting(&mut farm);
    for _ in 0..=2 * ODD_REQUESTS_MAX {
        let (heard, result) = verdict(&mut farm, &asked, Admission::Busy);
        assert_eq!((parse(&heard[0])["error"][0].clone(), result), (json!(20), Ok(())));
        farm.send(miner, &authorize(2, "farm.a", "pw"));
        asked = question(&mut farm, miner, "farm.a", "pw");
    }
}

#[test]
fn one_question_of_a_miner_is_open_at_a_time_and_the_rest_of_it_goes_on() {
    let mut farm = asking();
    let (miner, first) = waiting(&mut farm);
    let heard = farm.send(miner, &authorize(8, "farm.b", "pw"));
    assert_eq!(parse(&heard[0])["error"][1], "one login at a time: the previous one is unanswered");
    assert_eq!(farm.proxy.poll_admission(), None);
    let heard = farm.send(miner, r#"{"id":9,"method":"mining.ping","params":[]}"#);
    assert_eq!(parse(&heard[0])["id"], 9);
    assert_eq!(parse(&verdict(&mut farm, &first, Admission::Granted).0[0])["id"], "a-7");
}

#[test]
fn several_logins_in_one_read_are_asked_for_one_after_the_other() {
    let mut farm = asking();
    let miner = farm.connect();
    farm.send(miner, SUBSCRIBE);
    let lines = [authorize(2, "farm.a", "x"), authorize(3, "farm.b", "x")].join("\n") + "\n";
    let mut input = lines.as_bytes();
    for (id, worker) in [(2, "farm.a"), (3, "farm.b")] {
        let mut buffer = vec![0; OUTPUT_BYTES_MIN];
        let mut out = Writer::new(&mut buffer);
        assert_eq!(farm.proxy.handle_input(miner, &mut input, &mut out, farm.now), Ok(()));
        let asked = question(&mut farm, miner, worker, "x");
        let (heard, _) = verdict(&mut farm, &asked, Admission::Granted);
        assert_eq!(parse(&heard[0])["id"], id);
    }
    assert!(input.is_empty());
}

#[test]
fn f19_a_miner_that_waits_for_the_owner_is_not_late_and_one_that_was_refused_is() {
    let mut farm = asking();
    let (miner, question) = waiting(&mut farm);
    farm.wait(AUTHORIZE_DEADLINE + AUTHORIZE_DEADLINE);
    assert_eq!(farm.proxy.poll_closed(), None, "its part is done");
    let _ = verdict(&mut farm, &question, Admission::Refused);
    farm.wait(Duration::from_secs(2));
    let closed = farm.proxy.poll_closed();
    assert_eq!(closed, Some((miner, Close::HandshakeTimeout(State::Subscribed))));
}

#[test]
fn f48_a_verdict_on_a_miner_that_is_gone_reaches_nobody() {
    let mut farm = asking();
    let (miner, question) = waiting(&mut farm);
    farm.proxy.handle_disconnect(miner);
    let next = farm.connect();
    assert_eq!(next.index(), miner.index(), "the same place");
    farm.send(next, SUBSCRIBE);
    let (heard, result) = verdict(&mut farm, &question, Admission::Granted);
    assert_eq!((heard, result), (vec![], Ok(())));
    assert_eq!(state(&farm, next), State::Subscribed);
}

#[test]
fn f17_names_and_passwords_above_their_bounds_are_refused_unasked() {
    let mut farm = asking();
    let miner = farm.connect();
    farm.send(miner, SUBSCRIBE);
    for line in [
        authorize(2, &"n".repeat(129), "x"),
        authorize(2, "farm\u{7}", "x"),
        authorize(2, "farm.a", &"p".repeat(PASSWORD_BYTES_MAX + 1)),
    ] {
        let heard = farm.send(miner, &line);
        assert_eq!(parse(&heard[0])["error"][0], 24);
        assert_eq!(farm.proxy.poll_admission(), None);
    }
    let heard = farm.send(miner, &authorize("i".repeat(40), "farm.a", "x"));
    assert_eq!(parse(&heard[0])["error"][1], "the id is too long");
}

#[test]
fn f87_a_question_shows_no_password() {
    let mut farm = asking();
    let (_, question) = waiting(&mut farm);
    let shown = format!("{question:?}");
    assert!(shown.contains("farm.a") && !shown.contains("pw"), "{shown}");
}
