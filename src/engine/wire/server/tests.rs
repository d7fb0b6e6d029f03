use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::wire::json::JsonError;

#[track_caller]
fn ok(line: &str) -> ServerLine<'_> {
    parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[track_caller]
fn refuses(line: impl AsRef<[u8]>, error: ServerError) {
    let line = line.as_ref();
    match parse(line) {
        Ok(message) => panic!("{}: {message:?}", String::from_utf8_lossy(line)),
        Err(got) => assert_eq!(got, error, "{}", String::from_utf8_lossy(line)),
    }
}

#[track_caller]
fn response(line: &str) -> Response<'_> {
    match ok(line) {
        ServerLine::Response(response) => response,
        other => panic!("{line}: {other:?}"),
    }
}

/// Checks that a line is a no with this code and reason.
#[track_caller]
fn refusal(line: &str, code: i64, reason: &str) {
    match response(line).outcome() {
        Outcome::Refused(refusal) => {
            assert_eq!(
                (refusal.code.unwrap_or(0), refusal.reason.as_raw()),
                (code, reason),
                "{line}"
            );
        }
        Outcome::Accepted => panic!("{line} is a yes"),
    }
}

const PREV_HASH: &str = "4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000";

fn notify_line(branches: &str, tail: &str) -> String {
    format!(
        r#"{{"params": ["bf", "{PREV_HASH}", "01000000", "072f", {branches}, {tail}], "id": null, "method": "mining.notify"}}"#
    )
}

#[test]
fn the_notify_of_the_protocol_page() {
    let line = r#"{"params": ["bf", "4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000", "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff20020862062f503253482f04b8864e5008", "072f736c7573682f000000000100f2052a010000001976a914d23fcdf86f7e756a64a7a9688ef9903327048ed988ac00000000", [], "00000002", "1c2ac4af", "504e86b9", false], "id": null, "method": "mining.notify"}"#;
    let ServerLine::Notify(notify) = ok(line) else { panic!("a notify") };
    assert_eq!(notify.job_id.plain(), Some("bf"));
    assert_eq!(notify.prev_hash, PREV_HASH.as_bytes());
    assert!(notify.coinb1.starts_with(b"0100000001"));
    assert_eq!(notify.coinb1.len(), 116);
    assert!(notify.coinb2.ends_with(b"88ac00000000"));
    assert!(notify.branches.is_empty());
    assert_eq!(notify.branches.iter().count(), 0);
    assert_eq!(notify.branches_raw, b"[]");
    assert_eq!((notify.version, notify.nbits, notify.ntime), (2, 0x1c2a_c4af, 0x504e_86b9));
    assert!(!notify.clean_jobs);
}

#[test]
fn branches_are_hashes_and_not_too_many() {
    let branch = |nibble: char| format!("\"{}\"", String::from(nibble).repeat(64));
    let tail = r#""20000000","1d00ffff","5d10bc0a",true"#;
    let spaced = format!("[ {} ,{}\t]", branch('a'), branch('B'));
    let line = notify_line(&spaced, tail);
    let ServerLine::Notify(notify) = ok(&line) else { panic!("a notify") };
    let branches: Vec<&[u8]> = notify.branches.into_iter().collect();
    assert_eq!(branches, [&[b'a'; 64][..], &[b'B'; 64][..]]);
    assert_eq!(notify.branches.len(), 2);
    assert_eq!(notify.branches_raw, spaced.as_bytes());

    let many = |count: usize| format!("[{}]", vec![branch('0'); count].join(","));
    let line = notify_line(&many(MERKLE_BRANCHES_MAX), tail);
    let ServerLine::Notify(notify) = ok(&line) else { panic!("a notify") };
    assert_eq!(notify.branches.len(), MERKLE_BRANCHES_MAX);
    let (got, limit) = (MERKLE_BRANCHES_MAX + 1, MERKLE_BRANCHES_MAX);
    refuses(notify_line(&many(got), tail), ServerError::TooManyBranches { got, limit });

    let method = Method::Notify;
    let short = format!("[\"{}\"]", "0".repeat(62));
    let error = HexError::Length { got: 62, want: 64 };
    refuses(notify_line(&short, tail), ParseError::Hex { method, at: 4, error }.into());
    let odd = format!("[\"{}x\"]", "0".repeat(63));
    let error = HexError::Digit { at: 63 };
    refuses(notify_line(&odd, tail), ParseError::Hex { method, at: 4, error }.into());
    refuses(notify_line("[7]", tail), ParseError::Params { method, at: 4 }.into());
}

#[test]
fn the_clean_flag_is_the_ninth_param_or_the_last() {
    let clean = |tail: &str| {
        let line = notify_line("[]", &format!(r#""20000000","1705c739","64495522",{tail}"#)).leak();
        match ok(line) {
            ServerLine::Notify(notify) => notify.clean_jobs,
            other => panic!("{other:?}"),
        }
    };
    assert!(clean("true"));
    assert!(!clean("false"));
    // Recorded with a doubled ntime.
    assert!(clean(r#""64495522",true"#));
    assert!(!clean("true,1,2,3,4,5,6,false"));
    let method = Method::Notify;
    let line = notify_line("[]", r#""20000000","1705c739","64495522",true,1"#);
    refuses(line, ParseError::Params { method, at: 9 }.into());
    let line = notify_line("[]", r#""20000000","1705c739","64495522""#);
    refuses(line, ParseError::TooFewParams { method, got: 8, need: 9 }.into());
}

#[test]
fn f05_a_notify_of_40_kb_is_read() {
    let coinb = "5a".repeat(10_000);
    let line = format!(
        r#"{{"id":null,"method":"mining.notify","params":["60192414783812809687929442797354436140","{PREV_HASH}","{coinb}","{coinb}",[],"20000000","1d00ffff","5d10bc0a",false]}}"#
    );
    let ServerLine::Notify(notify) = ok(&line) else { panic!("a notify") };
    assert_eq!((notify.coinb1.len(), notify.coinb2.len()), (20_000, 20_000));
}

#[test]
fn difficulties_are_finite_and_above_zero() {
    let line = |value: &str| {
        format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{value}]}}"#)
    };
    for (value, expected) in [
        ("2", 2.0),
        ("8192.0", 8192.0),
        ("58.60378105659038", 58.60378105659038),
        ("3755.5054340299434", 3755.5054340299434),
        ("1e15", 1e15),
        ("0.0001,1", 0.0001),
    ] {
        let line = line(value);
        let ServerLine::SetDifficulty(difficulty) = ok(&line) else { panic!("{value}") };
        assert_eq!(difficulty.to_bits(), f64::to_bits(expected));
    }
    let method = Method::SetDifficulty;
    // F34
    for value in ["0", "-5", "-0", "\"1024\"", "null", "true", "1e999", "-1e999", "[2]"] {
        refuses(line(value), ParseError::Params { method, at: 0 }.into());
    }
    refuses(line(""), ParseError::TooFewParams { method, got: 0, need: 1 }.into());
}

#[test]
fn set_extranonce_gives_hex_and_a_size() {
    let line =
        |params: &str| format!(r#"{{"id":1,"method":"mining.set_extranonce","params":{params}}}"#);
    for (params, extranonce1, size) in [
        (r#"["08000002", 4]"#, "08000002", 4),
        (r#"["", 2147483648]"#, "", 1 << 31),
        (r#"["3263b370affeb0d550",3,null]"#, "3263b370affeb0d550", 3),
    ] {
        let line = line(params);
        match ok(&line) {
            ServerLine::SetExtranonce { extranonce1: got, extranonce2_size } => {
                assert_eq!((got.as_raw(), extranonce2_size), (extranonce1, size));
            }
            other => panic!("{other:?}"),
        }
    }
    let method = Method::SetExtranonce;
    refuses(line("[]"), ParseError::TooFewParams { method, got: 0, need: 2 }.into());
    // F25
    for size in ["-1", "4.0", "\"4\"", "null", "18446744073709551616"] {
        let params = format!(r#"["08",{size}]"#);
        refuses(line(&params), ParseError::Params { method, at: 1 }.into());
    }
}

#[test]
fn set_version_mask_is_eight_digits() {
    for line in [
        r#"{"id": null, "method": "mining.set_version_mask", "params": ["1fffe000"], "error": null}"#,
        r#"{"params":["1FFFE000"], "id":null, "method": "mining.set_version_mask"}"#,
        r#"{"id":1,"method":"mining.set_version_mask","params":["1fffe000",1]}"#,
    ] {
        assert!(matches!(ok(line), ServerLine::SetVersionMask(0x1fff_e000)), "{line}");
    }
}

#[test]
fn reconnect_in_the_forms_on_record() {
    let line = |params: &str| {
        let line = format!(r#"{{"id":null,"method":"client.reconnect"{params}}}"#).leak();
        match ok(line) {
            ServerLine::Reconnect { host, port, wait_secs } => {
                (host.map(Text::as_raw), port, wait_secs)
            }
            other => panic!("{other:?}"),
        }
    };
    let host = Some("pool.example.com");
    assert_eq!(line(""), (None, None, None));
    assert_eq!(line(r#","params":[]"#), (None, None, None));
    assert_eq!(line(r#","params":["pool.example.com",3333,10]"#), (host, Some(3333), Some(10)));
    assert_eq!(line(r#","params":["pool.example.com","3333","10"]"#), (host, Some(3333), Some(10)));
    assert_eq!(line(r#","params":["",8333]"#), (None, Some(8333), None));
    assert_eq!(line(r#","params":[null,null,1000000000]"#), (None, None, Some(1_000_000_000)));
}

#[test]
fn the_other_calls_of_a_pool() {
    let line = r#"{"id":null,"method":"client.show_message","params":["Welcome to the pool!"]}"#;
    let ServerLine::ShowMessage(text) = ok(line) else { panic!("a message") };
    assert_eq!(text.as_raw(), "Welcome to the pool!");
    let line = r#"{"id":10,"method":"client.get_version","params":[]}"#;
    assert!(matches!(ok(line), ServerLine::GetVersion { id } if id.as_u64() == Some(10)));
    let line = r#"{"id":null,"method":"mining.ping","params":[]}"#;
    assert!(matches!(ok(line), ServerLine::Ping { id } if id.is_null()));
    // F26
    for name in ["mining.hashrate", "mining.submit", "mining.subscribe", "client.show_message2"] {
        let line = format!(r#"{{"id":3,"method":"{name}","params":{{}}}}"#);
        let ServerLine::Unknown { id, method } = ok(&line) else { panic!("{line}") };
        assert_eq!((id.as_u64(), method.as_raw()), (Some(3), name));
    }
}

#[test]
fn pools_say_no_in_many_ways() {
    refusal(
        r#"{"reject-reason":"Above target","result":false,"error":null,"id":8}"#,
        0,
        "Above target",
    );
    refusal(r#"{"id":120,"result":null,"error":[21,"Job not found",""]}"#, 21, "Job not found");
    refusal(r#"{"error":[40,"unfit, ignore"],"id":4,"result":null}"#, 40, "unfit, ignore");
    refusal(
        r#"{"jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null},"id":318}"#,
        22,
        "duplicate share",
    );
    refusal(
        r#"{"result":false,"error":{"code":22,"message":"duplicate share","data":null},"id":1}"#,
        22,
        "duplicate share",
    );
    refusal(r#"{"result":false,"error":"Stale","id":618}"#, 0, "Stale");
    refusal(r#"{"result":null,"error":"Stale","id":618}"#, 0, "Stale");
    refusal(r#"{"id":10,"result":null,"error":[2,"Stale",null]}"#, 2, "Stale");
    refusal(r#"{"id":10,"result":null,"error":null}"#, 0, "");
    refusal(r#"{"id":10,"result":false}"#, 0, "");
    refusal(r#"{"id":10,"error":null}"#, 0, "");
    refusal(r#"{"id":10,"error":true}"#, 0, "");
    refusal(r#"{"id":10,"error":-3}"#, -3, "");
    refusal(r#"{"id":10,"error":[]}"#, 0, "");
    refusal(r#"{"id":10,"error":{}}"#, 0, "");
    refusal(r#"{"id":10,"error":["21","Stale"]}"#, 21, "Stale");
    refusal(r#"{"id":10,"result":null,"error":["Stale","21"]}"#, 21, "Stale");
    refusal(
        r#"{"id":10,"result":null,"error":{"code":"21","message":"Job not found"}}"#,
        21,
        "Job not found",
    );
    refusal(r#"{"id":10,"result":false,"error":"-401"}"#, -401, "");
    refusal(
        r#"{"error":[-3,"Method 'get_transactions' not found",null],"id":"txlistfc8"}"#,
        -3,
        "Method 'get_transactions' not found",
    );
    refusal(r#"{"id":5,"reject-reason":"Stale"}"#, 0, "Stale");
    // An error is an error, whatever the result says.
    refusal(r#"{"id":10,"result":true,"error":[25,"Not subscribed",null]}"#, 25, "Not subscribed");
    refusal(r#"{"id":10,"result":true,"error":"x"}"#, 0, "x");
    // Not a yes, so a no.
    refusal(r#"{"id":10,"result":"Stale","error":null}"#, 0, "Stale");
    refusal(r#"{"id":10,"result":1,"error":null}"#, 0, "");
}

#[test]
fn pools_say_yes_in_few_ways() {
    for line in [
        r#"{"id":1,"result":true,"error":null}"#,
        r#"{"error":null,"jsonrpc":"2.0","id":4,"result":true}"#,
        r#"{"id":65536,"result":true}"#,
        r#"{"id":65536,"result":true,"error":false}"#,
        r#"{"id":1,"result":{"status":"OK"},"error":null}"#,
        r#"{"id":1,"result":[],"error":null}"#,
    ] {
        assert!(matches!(response(line).outcome(), Outcome::Accepted), "{line}");
    }
}

#[test]
fn an_answer_keeps_the_id_as_it_came() {
    for id in ["7", "\"7\"", "null", "\"2fe65ed2f\"", "7.0"] {
        let line = format!(r#"{{"id":{id},"result":true}}"#);
        assert_eq!(response(&line).id.as_raw(), id.as_bytes());
    }
    refuses(r#"{"id":[7],"result":true}"#, ServerError::Parse(ParseError::ID));
    refuses(r#"{"id":7}"#, ServerError::Parse(ParseError::Method));
    refuses("{}", ServerError::Parse(ParseError::Method));
}

#[test]
fn subscribe_results_in_the_forms_on_record() {
    let read = |result: &str| {
        let line = format!(r#"{{"id":1,"result":{result},"error":null}}"#).leak();
        response(line).subscribe().map(|subscription| {
            (
                subscription.extranonce1.as_raw(),
                subscription.extranonce2_size,
                subscription.session_id.map(Text::as_raw),
            )
        })
    };
    assert_eq!(
        read(
            r#"[ [ ["mining.set_difficulty", "b4b6"], ["mining.notify", "ae68"]], "08000002", 4]"#
        ),
        Ok(("08000002", 4, Some("ae68")))
    );
    assert_eq!(
        read(r#"[[["mining.notify","57a6f098"]],"57a6f098",4]"#),
        Ok(("57a6f098", 4, Some("57a6f098")))
    );
    assert_eq!(
        read(
            r#"[[["mining.notify","0000d85d1"],["mining.set_difficulty","0000d85d2"]],"0000d85d",8]"#
        ),
        Ok(("0000d85d", 8, Some("0000d85d1")))
    );
    // Flat, with an empty extranonce1.
    assert_eq!(read(r#"[["mining.notify", "ae68"], "", 4]"#), Ok(("", 4, Some("ae68"))));
    // Flat and more than one.
    assert_eq!(
        read(r#"[["mining.set_difficulty","1"],["mining.notify","2"],"08000002",4]"#),
        Ok(("08000002", 4, Some("2")))
    );
    assert_eq!(
        read(r#"[["mining.set_difficulty","1","mining.notify","2"],"08000002",4]"#),
        Ok(("08000002", 4, Some("2")))
    );
    assert_eq!(
        read(r#"[[["mining.set_difficulty","4"],["mining.notify","1"]],"6c6f010000000c",4]"#)
            .map(|read| read.1),
        Ok(4)
    );
    assert_eq!(read(r#"[[],"00",6]"#), Ok(("00", 6, None)));
    assert_eq!(read(r#"[null,"00",6]"#), Ok(("00", 6, None)));
    assert_eq!(read(r#"[[["mining.notify"]],"00",6]"#), Ok(("00", 6, None)));
}

#[test]
fn subscribe_results_that_mean_nothing_are_refused() {
    for result in [
        r#"["01650f001f25ea",4]"#,
        r#"[[["mining.notify","abc"]],"4de05269"]"#,
        "[]",
        "[[]]",
        "null",
        "true",
        "{}",
        r#"[[],"0",4]"#,
        r#"[[],"0x08",4]"#,
        r#"[[],8,4]"#,
        r#"[[],"08",-4]"#,
        r#"[[],"08","4"]"#,
        r#"[[],"08",4.0]"#,
        r#"[[],"08",null]"#,
    ] {
        let line = format!(r#"{{"id":1,"result":{result},"error":null}}"#);
        assert_eq!(response(&line).subscribe().err(), Some(ServerError::Subscription), "{line}");
    }
    let line = r#"{"id":1,"error":[20,"Other/Unknown",null]}"#;
    assert!(response(line).subscribe().is_err());
}

#[test]
fn configure_results_in_the_forms_on_record() {
    let read = |result: &str| {
        let line = format!(r#"{{"id":1,"result":{result},"error":null}}"#).leak();
        response(line).configure().map(|configured| (configured.version_rolling, configured.mask))
    };
    let mask = Some(0x1fff_e000);
    assert_eq!(
        read(r#"{"version-rolling":true,"version-rolling.mask":"1fffe000"}"#),
        Ok((true, mask))
    );
    assert_eq!(
        read(
            r#"{"version-rolling": true, "version-rolling.mask": "18000000", "minimum-difficulty": true}"#
        ),
        Ok((true, Some(0x1800_0000)))
    );
    assert_eq!(
        read(
            r#"{"version-rolling":true,"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":"00000005","minimum-difficulty":false}"#
        ),
        Ok((true, mask))
    );
    assert_eq!(read(r#"{"version-rolling":true}"#), Ok((true, None)));
    assert_eq!(read(r#"{"version-rolling":true,"version-rolling.mask":null}"#), Ok((true, None)));
    assert_eq!(read(r#"{"version-rolling":false}"#), Ok((false, None)));
    assert_eq!(
        read(r#"{"version-rolling":"not today","version-rolling.mask":7}"#),
        Ok((false, None))
    );
    assert_eq!(read("{}"), Ok((false, None)));
    for result in [
        "null",
        "true",
        "[]",
        r#"{"version-rolling":true,"version-rolling.mask":"1fffe00"}"#,
        r#"{"version-rolling":true,"version-rolling.mask":"1fffe00g"}"#,
        r#"{"version-rolling":true,"version-rolling.mask":7}"#,
    ] {
        assert_eq!(read(result), Err(ServerError::Configuration), "{result}");
    }
}

#[test]
fn f62_a_web_server_is_named() {
    for line in ["HTTP/1.1 400 Bad Request", "<html>", "<!DOCTYPE html>"] {
        refuses(line, ServerError::LooksLikeHttp);
    }
    refuses(
        b"\x15\x03\x01\x00\x02\x02\x0a",
        ServerError::Parse(ParseError::NotStratum(Guess::Tls)),
    );
    refuses("Welcome", ServerError::Parse(ParseError::Json(JsonError::NotAnObject)));
    assert_eq!(
        format!("{}", ServerError::LooksLikeHttp),
        "looks like http: a web server or a login page answers; check host and port"
    );
}

#[test]
fn an_id_without_quotes_is_no_json() {
    // AntPool, 2021.
    let error = JsonError::Unexpected { at: 19 };
    refuses(r#"{"error":null,"id":auth,"result":true}"#, ParseError::Json(error).into());
}

/// JSON of every type, and of values that some position might take by mistake.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "-1",
    "1.5",
    "65536",
    "4294967296",
    "1e999",
    r#""""#,
    r#""x""#,
    r#""7""#,
    r#""-7""#,
    r#""1fffe000""#,
    r#""\u0031fffe000""#,
    r#""4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000""#,
    "[]",
    "[7]",
    r#"["x"]"#,
    "{}",
];

/// A method, params that it takes, and for each position which of [`VALUES`] it takes too.
type Row = (Method, &'static [&'static str], &'static [fn(&str) -> bool]);

fn is_text(value: &str) -> bool {
    value.starts_with('"')
}

fn is_eight_digits(value: &str) -> bool {
    value == r#""1fffe000""#
}

fn is_hash(value: &str) -> bool {
    value.len() == 66
}

fn is_hex(value: &str) -> bool {
    is_eight_digits(value) || is_hash(value) || value == r#""""#
}

fn is_bool(value: &str) -> bool {
    matches!(value, "true" | "false")
}

fn is_whole(value: &str) -> bool {
    matches!(value, "0" | "7" | "65536" | "4294967296")
}

fn anything(_: &str) -> bool {
    true
}

#[test]
fn f09_a_wrong_type_in_any_position_of_any_method_is_refused() {
    const HASH: &str = r#""4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000""#;
    const WORD: &str = r#""1c2ac4af""#;
    let rows: [Row; 7] = [
        (
            Method::Notify,
            &[r#""bf""#, HASH, r#""0100""#, r#""""#, "[]", WORD, WORD, WORD, "true"],
            &[
                is_text,
                is_hash,
                is_hex,
                is_hex,
                |value| value == "[]",
                is_eight_digits,
                is_eight_digits,
                is_eight_digits,
                is_bool,
            ],
        ),
        (
            Method::Notify,
            &[r#""bf""#, HASH, "\"\"", "\"\"", "[]", WORD, WORD, WORD, "0", "0", "0", "0", "true"],
            &[
                is_text,
                is_hash,
                is_hex,
                is_hex,
                |value| value == "[]",
                is_eight_digits,
                is_eight_digits,
                is_eight_digits,
                anything,
                anything,
                anything,
                anything,
                is_bool,
            ],
        ),
        (
            Method::SetDifficulty,
            &["1", "0"],
            &[|value| matches!(value, "7" | "1.5" | "65536" | "4294967296"), anything],
        ),
        (Method::SetExtranonce, &[r#""08""#, "4", "0"], &[is_hex, is_whole, anything]),
        (Method::SetVersionMask, &[WORD, "0"], &[is_eight_digits, anything]),
        (
            Method::Reconnect,
            &[r#""h""#, "1", "1", "0"],
            &[
                |value| is_text(value) || value == "null",
                |value| matches!(value, "null" | "0" | "7" | r#""7""#),
                |value| matches!(value, "null" | "0" | "7" | "65536" | r#""7""#),
                anything,
            ],
        ),
        (Method::ShowMessage, &[r#""hello""#, "0"], &[is_text, anything]),
    ];
    for (method, params, takes) in rows {
        assert_eq!(params.len(), takes.len());
        for at in 0..params.len() {
            for value in VALUES {
                let mut params = params.to_vec();
                params[at] = value;
                check_position(method, &params, at, takes[at](value));
            }
        }
    }
}

fn check_position(method: Method, params: &[&str], at: usize, takes: bool) {
    let params = params.join(",");
    for line in [
        format!(r#"{{"id":null,"method":"{method}","params":[{params}]}}"#),
        format!(r#"{{"params": [{params}], "id": null, "method": "{method}"}}"#),
    ] {
        let error = match parse(line.as_bytes()) {
            Ok(message) => {
                assert!(takes, "{line}: {message:?}");
                continue;
            }
            Err(error) => error,
        };
        assert!(!takes, "{line}: {error}");
        let place = match error {
            ServerError::Parse(ParseError::Params { method, at }) => (method, usize::from(at)),
            ServerError::Parse(ParseError::Hex { method, at, .. }) => (method, usize::from(at)),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(place, (method, at), "{line}");
    }
}

#[test]
fn f09_params_that_are_no_array_are_refused_for_every_method() {
    let of_pools = [
        Method::Notify,
        Method::SetDifficulty,
        Method::SetExtranonce,
        Method::SetVersionMask,
        Method::Reconnect,
        Method::ShowMessage,
        Method::GetVersion,
        Method::Ping,
    ];
    for method in of_pools {
        for params in VALUES.into_iter().filter(|value| !value.starts_with('[')) {
            if params == "null" {
                continue;
            }
            let line = format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#);
            refuses(line, ParseError::NotAnArray { method }.into());
        }
    }
}

#[test]
fn f09_a_method_that_is_no_string_is_refused() {
    for method in VALUES.into_iter().filter(|value| !value.starts_with('"') && *value != "null") {
        let line = format!(r#"{{"id":1,"method":{method},"params":[],"result":true}}"#);
        refuses(line, ServerError::Parse(ParseError::Method));
    }
}
