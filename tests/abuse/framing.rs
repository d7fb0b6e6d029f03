//! F01 to F12: lines and JSON, from miners and from pools.

use loka_stratum::downstream::{Close, State};
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, ID_BYTES_MAX, INVALID_LINES_MAX, JSON_DEPTH_MAX, ODD_REQUESTS_MAX,
    UPSTREAM_LINE_BYTES_MAX,
};
use loka_stratum::time::Duration;
use loka_stratum::upstream::{self, LinkClose};
use loka_stratum::wire::guess::Guess;
use serde_json::{Value, json};

use super::farm::{Farm, TRIVIAL, notified, notify, notify_with, parse, set_difficulty};

const HANDSHAKE: &str = concat!(
    r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{}]}"#,
    "\r\n",
    r#"{"id":2,"method":"mining.subscribe","params":["t/1"]}"#,
    "\n\n",
    r#"{"params":["farm.s19","x"],"id":"auth","method":"mining.authorize"}"#,
    "\n",
);

/// The answers among a miner's received lines, without the notifications.
fn answers(heard: &[String]) -> Vec<String> {
    heard.iter().filter(|line| parse(line)["method"].is_null()).cloned().collect()
}

/// Sends `text` in pieces and returns the answers.
#[track_caller]
fn in_pieces(farm: &mut Farm, text: &str, pieces: &[&[u8]]) -> (Vec<String>, State) {
    let miner = farm.connect();
    let mut heard = vec![];
    for piece in pieces {
        let (more, close) = farm.bytes(miner, piece);
        assert_eq!(close, None, "{text}");
        heard.extend(more);
    }
    let job = notified(&heard);
    let submit = json!({"id": 4, "method": "mining.submit",
        "params": ["farm.s19", job[0], "0000000a", job[7], "00000001"]});
    heard.extend(farm.send(miner, &submit.to_string()));
    let state = farm.proxy.miner(miner).unwrap().state();
    farm.proxy.handle_disconnect(miner);
    (answers(&heard), state)
}

#[test]
fn f01_a_miner_cut_anywhere_is_understood() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let bytes = HANDSHAKE.as_bytes();
    let whole = in_pieces(&mut farm, HANDSHAKE, &[bytes]);
    assert_eq!(whole.0.len(), 4, "{whole:?}");
    assert_eq!(whole.1, State::Authorized);
    // The extranonce1 is each connection's own.
    let same = |heard: &(Vec<String>, State)| {
        assert_eq!(heard.1, whole.1);
        for (one, other) in heard.0.iter().zip(&whole.0) {
            let (mut one, mut other) = (parse(one), parse(other));
            if one["id"] == 2 {
                one["result"][1].take();
                other["result"][1].take();
            }
            assert_eq!(one, other);
        }
        assert_eq!(heard.0.len(), whole.0.len());
    };
    for cut in 1..bytes.len() {
        same(&in_pieces(&mut farm, HANDSHAKE, &[&bytes[..cut], &bytes[cut..]]));
        // Ids rest until the pool has a new job.
        farm.pool_says(link, &notify("job-2", 1, true));
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    same(&in_pieces(&mut farm, HANDSHAKE, &single));
}

#[test]
fn f01_a_pool_cut_anywhere_is_understood() {
    let session = json!([[["mining.notify", "s"]], "c0ffee01", 8]);
    let text = [
        r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"}}"#.into(),
        json!({"id": 2, "result": session, "error": null}).to_string(),
        set_difficulty(TRIVIAL),
        r#"{"id":3,"result":true,"error":null}"#.into(),
        notify("job-1", 1, true),
        String::new(),
    ]
    .join("\r\n");
    let bytes = text.as_bytes();
    let mut jobs = vec![];
    let mut reads: Vec<Vec<&[u8]>> =
        (1..bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]).collect();
    reads.push(vec![bytes]);
    reads.push(bytes.chunks(1).collect());
    for pieces in reads {
        let mut farm = Farm::new();
        let link = farm.dialled();
        for piece in pieces {
            assert_eq!(farm.pool_bytes(link, piece), Ok(()));
        }
        assert_eq!(farm.proxy.links().get(link).unwrap().state(), upstream::State::Live);
        let (_, heard) = farm.miner("farm.s19");
        jobs.push(heard);
    }
    jobs.dedup();
    assert_eq!(jobs.len(), 1, "every miner hears the same: {jobs:?}");
}

/// A ping of exactly `len` bytes.
fn ping(id: u32, len: usize) -> String {
    let (head, tail) = (format!(r#"{{"id":{id},"method":"mining.ping","params":[""#), r#""]}"#);
    let filling = "x".repeat(len - head.len() - tail.len());
    [&head, filling.as_str(), tail].concat()
}

#[test]
fn f02_many_lines_in_a_read_are_answered_in_order() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    let lines = [
        ping(1, 60),
        String::new(),
        ping(2, DOWNSTREAM_LINE_BYTES_MAX),
        "\r".to_owned(),
        ping(3, DOWNSTREAM_LINE_BYTES_MAX) + "\r",
        ping(4, 60) + "\r",
    ];
    let (heard, close) = farm.bytes(miner, (lines.join("\n") + "\n").as_bytes());
    assert_eq!(close, None);
    let ids: Vec<_> = heard.iter().map(|line| parse(line)["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn f02_more_answers_than_the_buffer_holds_wait_for_their_turn() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    let lines: String = (0..5_000).map(|id| ping(id, 60) + "\n").collect();
    let (heard, close) = farm.bytes(miner, lines.as_bytes());
    assert_eq!(close, None);
    assert_eq!(heard.len(), 5_000);
    assert!(heard.iter().zip(0..).all(|(line, id)| parse(line)["id"] == id));
}

#[test]
fn f03_one_byte_above_the_limit_closes_and_says_so() {
    let limit = DOWNSTREAM_LINE_BYTES_MAX;
    for chunk in [1, 1000, limit, 3 * limit] {
        let mut farm = Farm::new();
        let miner = farm.connect();
        let mut feed = |line: String| {
            let (mut heard, mut closed) = (vec![], None);
            for piece in (line + "\n").as_bytes().chunks(chunk) {
                let (more, close) = farm.bytes(miner, piece);
                heard.extend(more);
                closed = closed.or(close);
            }
            (heard, closed)
        };
        assert_eq!(feed(ping(1, limit)).1, None);
        let (heard, close) = feed(ping(2, limit + 1));
        assert_eq!(close, Some(Close::LineTooLong { limit }));
        assert_eq!(parse(&heard[0])["error"][0], 20);
        assert!(heard[0].contains("4096"), "the limit is named: {}", heard[0]);
    }
}

#[test]
fn f04_bytes_without_a_line_end_are_cut_off_and_nobody_else_is() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (honest, _) = farm.miner("farm.s19");
    let endless = farm.connect();
    let mut sent = 0;
    let close = loop {
        let piece = if sent == 0 { br#"{"id":1,"method":""#.to_vec() } else { vec![b'x'; 100] };
        sent += piece.len();
        if let (_, Some(close)) = farm.bytes(endless, &piece) {
            break close;
        }
        assert!(sent <= DOWNSTREAM_LINE_BYTES_MAX);
    };
    assert_eq!(close, Close::LineTooLong { limit: DOWNSTREAM_LINE_BYTES_MAX });
    assert_eq!(farm.send(honest, &ping(5, 60)).len(), 1);
}

#[test]
fn f05_a_long_notify_reaches_the_miners() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    let coinb2 = "ab".repeat(20 * 1024);
    farm.pool_says(link, &notify_with("long", 2, true, "01", &coinb2));
    let job = notified(&farm.due(miner));
    assert_eq!(job[3], coinb2);
    let answer = farm.submit(miner, json!(["farm.s19", job[0], "00000001", job[7], "00000001"]));
    assert_eq!(answer["result"], true);
    assert_eq!(farm.pool_accepts(link)["params"][1], "long");
}

#[test]
fn f05_the_longest_notify_fits_with_everything_added() {
    let (mut farm, link) = Farm::live(&"e1".repeat(32), 16, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    let line = notify_with("long", 2, true, "01", "");
    let coinb2 = "ab".repeat((UPSTREAM_LINE_BYTES_MAX - line.len()) / 2);
    farm.pool_says(link, &notify_with("long", 2, true, "01", &coinb2));
    let job = notified(&farm.due(miner));
    assert_eq!(job[3], coinb2);
    assert_eq!(job[2].as_str().unwrap().len(), 2 + 64 + 2 * (16 - 1 - 4));
}

#[test]
fn f05_a_line_above_the_limit_ends_the_link_with_the_number() {
    let (mut farm, link) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    let coinb2 = "ab".repeat(UPSTREAM_LINE_BYTES_MAX / 2);
    let limit = UPSTREAM_LINE_BYTES_MAX;
    let line = notify_with("long", 2, true, "01", &coinb2) + "\n";
    assert_eq!(farm.pool_bytes(link, line.as_bytes()), Err(LinkClose::LineTooLong { limit }));
    assert_eq!(farm.due(miner), [""; 0], "the job before it still stands");
    farm.wait(Duration::from_secs(2));
    let again = farm.dialled();
    farm.pool_up(again, "c0ffee02", 8, TRIVIAL);
    assert_eq!(notified(&farm.due(miner))[8], true);
}

/// Lines that are not JSON, or exceed one of our bounds.
fn unreadable() -> Vec<Vec<u8>> {
    let deep = JSON_DEPTH_MAX + 1;
    let mut lines: Vec<Vec<u8>> = [
        r#"{"id":7,"method":"mining.subscribe","params":["\ud800"]}"#,
        r#"{"id":7,"method":"mining.subscribe","params":["\u12"]}"#,
        r#"{"id":7,"method":"mining.subscribe","params":["\x"]}"#,
        r#"{"id":7,"method":"mining.subscribe","params":[}"#,
        r#"{"id":7,"method":"mining.subscribe","params":[]"#,
        r#"{"id":7,"method":"mining.subscribe","params":[]}}"#,
        r#"{"id":7,"method":"mining.subscribe","params":[],}"#,
        r#"{"id":7,"id":8,"method":"mining.subscribe","params":[]}"#,
        r#"{"id":7,"method":"mining.ping","method":"mining.subscribe","params":[]}"#,
        r#"{"id":7,"method":"mining.subscribe","params":[01]}"#,
        r#"{"id":7,"method":"mining.subscribe","params":[nul]}"#,
        r#"{"id":7}"#,
        r#"{"id":7,"method":7,"params":[]}"#,
        "{}",
        "{",
    ]
    .map(|line| line.as_bytes().to_vec())
    .to_vec();
    lines.push(b"{\"id\":7,\"method\":\"mining.subscribe\",\"params\":[\"\xff\xfe\"]}".to_vec());
    lines.push(b"{\"id\":7,\"method\":\"mining.subscribe\",\"params\":[\"a\0b\"]}".to_vec());
    lines.push(b"{\"id\":7,\"method\":\"mining.subscribe\",\"params\":[\"a\tb\"]}".to_vec());
    let subscribe = |param: String| {
        format!(r#"{{"id":7,"method":"mining.subscribe","params":[{param}]}}"#).into_bytes()
    };
    lines.push(subscribe("[".repeat(deep) + &"]".repeat(deep)));
    lines.push(subscribe("{\"a\":".repeat(600) + "1" + &"}".repeat(600)));
    lines.push(subscribe("[".repeat(4000)));
    lines.push(subscribe("9".repeat(400)));
    lines
}

#[test]
fn f06_what_cannot_be_read_is_answered_and_the_fourth_closes() {
    for line in unreadable() {
        let shown = String::from_utf8_lossy(&line).into_owned();
        let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (miner, _) = farm.miner("farm.s19");
        let line = [&line[..], b"\n"].concat();
        for time in 0..=INVALID_LINES_MAX {
            let (heard, close) = farm.bytes(miner, &line);
            assert_eq!(heard.len(), 1, "{shown}");
            let answer = parse(&heard[0]);
            assert_eq!(answer["error"][0], 20, "{shown}");
            let id = &answer["id"];
            assert!(id.is_null() || *id == 7, "the id or none: {answer}");
            let last = time == INVALID_LINES_MAX;
            assert_eq!(close, last.then_some(Close::InvalidLines), "{shown}");
        }
    }
}

#[test]
fn f06_control_characters_make_no_name() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    for name in [r"a\nb", r"a\u0000b", r"\u001b[2J", r"\u0085", r"\u007f"] {
        let line = format!(r#"{{"id":1,"method":"mining.authorize","params":["{name}","x"]}}"#);
        assert_eq!(parse(&farm.send(miner, &line)[0])["error"][0], 24, "{name}");
    }
    let agent = r#"{"id":2,"method":"mining.subscribe","params":["a\n\u001b[2Jb"]}"#;
    assert_eq!(parse(&farm.send(miner, agent)[0])["error"], Value::Null);
    assert_eq!(farm.proxy.miner(miner).unwrap().user_agent(), "a[2Jb");
}

#[test]
fn f06_a_byte_order_mark_is_no_opening() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    let (heard, close) = farm.bytes(miner, b"\xef\xbb\xbf{\"id\":1,\"method\":\"mining.ping\"}\n");
    assert_eq!((heard, close), (vec![], Some(Close::NotStratum(None))));
}

#[test]
fn f07_odd_numbers_and_long_arrays_are_bounded() {
    let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
    let (miner, _) = farm.miner("farm.s19");
    let suggest = |number: &str| {
        format!(r#"{{"id":7,"method":"mining.suggest_difficulty","params":[{number}]}}"#)
    };
    for number in ["1e999", "-0", "0", "-1", "1e-999", "\"nan\"", "\"inf\"", "null", "[]", "{}"] {
        let heard = farm.send(miner, &suggest(number));
        assert_eq!(parse(&heard[0])["error"][0], 20, "{number}");
    }
    for number in ["1", "0.5", "1e3", "4.0", "\"512\"", "1E+2"] {
        let heard = farm.send(miner, &suggest(number));
        assert_eq!(parse(&heard[0])["result"], true, "{number}");
    }
    let many =
        format!(r#"{{"id":7,"method":"mining.subscribe","params":[{}1]}}"#, "1,".repeat(1900));
    assert_eq!(parse(&farm.send(miner, &many)[0])["id"], 7);
}

#[test]
fn f08_ids_come_back_byte_for_byte_or_not_at_all() {
    let mut farm = Farm::new();
    let longest = "9".repeat(40);
    let text = format!("\"{}\"", "x".repeat(ID_BYTES_MAX - 2));
    let echoed = [
        "null",
        "0",
        "-1",
        "7.50",
        "1e2",
        "true",
        "false",
        "18446744073709551616",
        "\"\"",
        "\"7\"",
        "\"auth\"",
        r#""\u0041\"""#,
        "\"\u{fc}\"",
        &longest,
        &text,
    ];
    for id in echoed {
        let miner = farm.connect();
        let line = format!(r#"{{"method":"mining.ping","params":[],"id": {id} }}"#);
        let heard = farm.send(miner, &line);
        assert!(heard[0].contains(&format!("\"id\":{id},")), "{id}: {}", heard[0]);
    }
    let refused = ["[1]", "{}", "[[]]", &format!("\"{}\"", "x".repeat(1000))];
    for id in refused {
        let miner = farm.connect();
        let line = format!(r#"{{"method":"mining.ping","params":[],"id":{id}}}"#);
        let answer = parse(&farm.send(miner, &line)[0]);
        assert_eq!((&answer["id"], &answer["error"][0]), (&Value::Null, &json!(20)), "{id}");
    }
    let miner = farm.connect();
    let heard = farm.send(miner, r#"{"method":"mining.ping"}"#);
    assert_eq!(parse(&heard[0])["id"], Value::Null, "a missing id is null");
}

#[test]
fn f10_other_protocols_are_named_and_answered_nothing() {
    let openings: [(&[u8], Option<Guess>); 8] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(Guess::Http)),
        (b"POST /x HTTP/1.1\r\n", Some(Guess::Http)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some(Guess::Tls)),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Some(Guess::Ssh)),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Some(Guess::Proxy)),
        (b"\x03\x00\x00\x2f\x2a\xe0\0\0\0\0\0Cookie: mstshash=", Some(Guess::Rdp)),
        (b"\x00\x01\x02\x03", None),
        (b"hello\n", None),
    ];
    for (opening, guess) in openings {
        let (mut farm, _) = Farm::live("c0ffee01", 8, TRIVIAL);
        let miner = farm.connect();
        let (heard, close) = farm.bytes(miner, opening);
        assert_eq!((heard, close), (vec![], Some(Close::NotStratum(guess))), "{opening:?}");
        let (_, heard) = farm.miner("farm.s19");
        assert_eq!(parse(&heard[0])["result"][1], "00", "no id was used up");
        // In single bytes it is still no Stratum.
        let miner = farm.connect();
        let (_, close) = farm.bytes(miner, &opening[..1]);
        assert!(matches!(close, Some(Close::NotStratum(_))), "{opening:?}");
    }
}

#[test]
fn f11_unknown_methods_are_answered_until_the_budget_is_used_up() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    let line = b"{\"id\":7,\"method\":\"mining.hashrate\",\"params\":[]}\n";
    for time in 0..=ODD_REQUESTS_MAX {
        let (heard, close) = farm.bytes(miner, line);
        let answer = parse(&heard[0]);
        assert_eq!((&answer["id"], &answer["error"][0]), (&json!(7), &json!(20)));
        assert_eq!(close, (time == ODD_REQUESTS_MAX).then_some(Close::OddRequests));
    }
}

#[test]
fn f12_answers_to_nothing_are_ignored_until_the_budget_is_used_up() {
    let mut farm = Farm::new();
    let miner = farm.connect();
    let lines = [
        "{\"id\":1,\"result\":true,\"error\":null}\n",
        "{\"id\":99,\"result\":null,\"error\":[20,\"x\",null]}\n",
    ];
    for (line, time) in lines.iter().cycle().zip(0..=ODD_REQUESTS_MAX) {
        let (heard, close) = farm.bytes(miner, line.as_bytes());
        assert_eq!(heard, [""; 0]);
        assert_eq!(close, (time == ODD_REQUESTS_MAX).then_some(Close::OddRequests));
    }
}
