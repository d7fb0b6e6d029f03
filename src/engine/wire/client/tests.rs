use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::limits::ID_BYTES_MAX;
use crate::wire::hex::HexError;

#[track_caller]
fn ok(line: &str) -> ClientLine<'_> {
    parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[track_caller]
fn request(line: &str) -> Request<'_> {
    ok(line).request
}

/// Checks that a line is refused under `id`.
#[track_caller]
fn refuses(line: impl AsRef<[u8]>, id: &str, kind: ParseError) {
    let line = line.as_ref();
    let error = match parse(line) {
        Ok(message) => panic!("{}: {message:?}", String::from_utf8_lossy(line)),
        Err(error) => error,
    };
    assert_eq!(error.kind, kind, "{}", String::from_utf8_lossy(line));
    assert_eq!(error.id.as_raw(), id.as_bytes());
}

#[track_caller]
fn configure(params: &str) -> Configure {
    match request(&format!(r#"{{"id":1,"method":"mining.configure","params":{params}}}"#)) {
        Request::Configure(configure) => configure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submit_of_an_s9_and_of_an_s19_xp() {
    let line = r#"{"params": ["stage.s9x16", "00000000fc7d9b53", "c7520000000000", "62d8978d", "78563064"], "id": 2238, "method": "mining.submit"}"#;
    let message = ok(line);
    assert_eq!(message.id.as_u64(), Some(2238));
    let Request::Submit(submit) = message.request else { panic!("{message:?}") };
    assert_eq!(submit.worker.plain(), Some("stage.s9x16"));
    assert_eq!(submit.job_id.plain(), Some("00000000fc7d9b53"));
    assert_eq!(submit.extranonce2.as_bytes(), b"c7520000000000");
    assert_eq!(submit.ntime.as_bytes(), b"62d8978d");
    assert_eq!(submit.nonce.as_bytes(), b"78563064");
    assert!(submit.version_bits.is_none());

    let line = r#"{"params": ["accountname.S19xp000tx0y000", "2dc3427c2e", "0a00000000000000", "64c25820", "591d28da", "00092000"], "id": 2955, "method": "mining.submit"}"#;
    let Request::Submit(submit) = request(line) else { panic!("a submit") };
    assert_eq!(submit.version_bits.map(Text::as_bytes), Some(&b"00092000"[..]));
}

#[test]
fn a_submit_may_hold_null_bits_and_more_params() {
    let line = |more: &str| {
        format!(r#"{{"id":4,"method":"mining.submit","params":["w","j","e","t","n"{more}]}}"#)
    };
    for (more, bits) in [
        ("", None),
        (",null", None),
        (r#","00000000""#, Some("00000000")),
        (r#","00002000",null,7,{},"x""#, Some("00002000")),
    ] {
        let line = line(more);
        let Request::Submit(submit) = request(&line) else { panic!("a submit") };
        assert_eq!(submit.version_bits.and_then(Text::plain), bits);
    }
    let many = line(&",0".repeat(500));
    refuses(&many, "4", ParseError::Params { method: Method::Submit, at: 5 });
}

#[test]
fn f13_hex_of_a_submit_is_handed_on_as_it_is() {
    // What the session makes of it is told apart there: `hex` refuses all of these.
    for field in ["", "0x12", "ABC", "12 34", "g", "123456789abcdef0123456789abcdef01"] {
        let line =
            format!(r#"{{"id":1,"method":"mining.submit","params":["w","j","{field}","t","n"]}}"#);
        let Request::Submit(submit) = request(&line) else { panic!("a submit") };
        assert_eq!(submit.extranonce2.plain(), Some(field));
        assert!(hex::decode_exact::<4>(submit.extranonce2.as_bytes()).is_err());
    }
}

#[test]
fn subscribe_in_the_forms_on_record() {
    let agent_and_session = |params: &str| {
        let line = format!(r#"{{"id":1,"method":"mining.subscribe","params":{params}}}"#).leak();
        let Request::Subscribe(subscribe) = request(line) else { panic!("a subscribe") };
        (subscribe.user_agent.and_then(Text::plain), subscribe.session_id.and_then(Text::plain))
    };
    assert_eq!(agent_and_session("[]"), (None, None));
    assert_eq!(agent_and_session("null"), (None, None));
    assert_eq!(agent_and_session(r#"["cgminer/4.11.1"]"#), (Some("cgminer/4.11.1"), None));
    assert_eq!(agent_and_session(r#"["bmminer/2.0.0", "5"]"#), (Some("bmminer/2.0.0"), Some("5")));
    assert_eq!(
        agent_and_session(r#"["Braiins OS 2019-06-05",null,"stratum.slushpool.com:3333",null]"#),
        (Some("Braiins OS 2019-06-05"), None)
    );
    assert_eq!(
        agent_and_session(r#"["NiceHash/1.0.0","1662637786319","3e747837"]"#),
        (Some("NiceHash/1.0.0"), Some("1662637786319"))
    );
    assert_eq!(agent_and_session(r#"["NerdOCTAXE-γ/1"]"#), (Some("NerdOCTAXE-γ/1"), None));
    assert_eq!(agent_and_session("[null,7]"), (None, None));
    assert_eq!(agent_and_session(r#"["x",["deadbeef"]]"#), (Some("x"), None));
    assert!(matches!(request(r#"{"method":"mining.subscribe"}"#), Request::Subscribe(_)));
}

#[test]
fn authorize_with_and_without_a_password() {
    let password = |params: &str| {
        let line =
            format!(r#"{{"id":"auth","method":"mining.authorize","params":{params}}}"#).leak();
        let Request::Authorize(authorize) = request(line) else { panic!("an authorize") };
        assert_eq!(authorize.worker.plain(), Some("account.worker"));
        authorize.password.and_then(Text::plain)
    };
    assert_eq!(password(r#"["account.worker","d=8192,md=1024"]"#), Some("d=8192,md=1024"));
    assert_eq!(password(r#"["account.worker",""]"#), Some(""));
    assert_eq!(password(r#"["account.worker"]"#), None);
    assert_eq!(password(r#"["account.worker",null]"#), None);
    assert_eq!(password(r#"["account.worker",123]"#), Some("123"));
    assert_eq!(password(r#"["account.worker","x",null,1]"#), Some("x"));
}

#[test]
fn f17_a_name_of_any_characters_is_kept() {
    let line = r#"{"id":1,"method":"mining.authorize","params":["a\"b\\c\n\u0000.γ"]}"#;
    let Request::Authorize(authorize) = request(line) else { panic!("an authorize") };
    assert_eq!(authorize.worker.decode::<128>().unwrap(), "a\"b\\c\n\0.γ");
}

#[test]
fn configure_in_the_forms_on_record() {
    let rolling = |mask, min_bit_count| Some(VersionRolling { mask, min_bit_count });
    let asked = |version_rolling| Configure { version_rolling, ..Configure::default() };
    for (options, expected) in [
        (
            r#",{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16}"#,
            (0x1fff_e000, 16),
        ),
        (
            r#",{"version-rolling.mask":"1fffffe0","version-rolling.min-bit-count":"16"}"#,
            (0x1fff_ffe0, 16),
        ),
        (
            r#",{"version-rolling.mask":"1fffffe0","version-rolling.min-bit-count":-1}"#,
            (0x1fff_ffe0, 0),
        ),
        (r#",{"version-rolling.mask":"FFFFFFFF"}"#, (u32::MAX, 0)),
        (r#",{"version-rolling.min-bit-count":99}"#, (u32::MAX, 32)),
        (r#",{"version-rolling.mask":null,"version-rolling.min-bit-count":null}"#, (u32::MAX, 0)),
        (r#",{"version-rolling.mask":"00000000"}"#, (0, 0)),
        (r#",{}"#, (u32::MAX, 0)),
        (r#",null"#, (u32::MAX, 0)),
        ("", (u32::MAX, 0)),
    ] {
        let params = format!(r#"[["version-rolling"]{options}]"#);
        assert_eq!(configure(&params), asked(rolling(expected.0, expected.1)), "{params}");
    }
}

#[test]
fn configure_keeps_what_was_asked_for_and_nothing_else() {
    let params = r#"[["version-rolling","minimum-difficulty","subscribe-extranonce"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16,"minimum-difficulty.value":2048}]"#;
    assert_eq!(
        configure(params),
        Configure {
            version_rolling: Some(VersionRolling { mask: 0x1fff_e000, min_bit_count: 16 }),
            minimum_difficulty: Some(2048.0),
            subscribe_extranonce: true,
            info: false,
            unknown: 0,
        }
    );
    // Options of an extension that is not in the list do not ask for it.
    let params = r#"[["info","multi-version","x"],{"version-rolling.mask":"junk","minimum-difficulty.value":-1}]"#;
    assert_eq!(configure(params), Configure { info: true, unknown: 2, ..Configure::default() });
    assert_eq!(configure("[[]]"), Configure::default());
    let many = format!(r#"[[{}"x"]]"#, r#""x","#.repeat(400));
    assert_eq!(configure(&many).unknown, u8::MAX);
    let minimum = configure(r#"[["minimum-difficulty"],{"minimum-difficulty.value":0.5}]"#);
    assert_eq!(minimum.minimum_difficulty, Some(0.5));
    assert_eq!(configure(r#"[["minimum-difficulty"]]"#).minimum_difficulty, Some(0.0));
}

#[test]
fn configure_refuses_options_that_mean_nothing() {
    let method = Method::Configure;
    for options in [
        r#"{"version-rolling.mask":"1fffe00"}"#,
        r#"{"version-rolling.mask":"0x1fffe0"}"#,
        r#"{"version-rolling.mask":536862720}"#,
        r#"{"version-rolling.mask":true}"#,
        r#"{"version-rolling.min-bit-count":1.5}"#,
        r#"{"version-rolling.min-bit-count":"x"}"#,
        r#"{"version-rolling.min-bit-count":[]}"#,
        r#"{"version-rolling.min-bit-count":1e999}"#,
    ] {
        let line = format!(
            r#"{{"id":1,"method":"mining.configure","params":[["version-rolling"],{options}]}}"#
        );
        refuses(line, "1", ParseError::Params { method, at: 1 });
    }
    for value in ["-1", "\"512\"", "1e999", "[]"] {
        let line = format!(
            r#"{{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{{"minimum-difficulty.value":{value}}}]}}"#
        );
        refuses(line, "1", ParseError::Params { method, at: 1 });
    }
    let line = r#"{"id":1,"method":"mining.configure","params":[["version-rolling",7]]}"#;
    refuses(line, "1", ParseError::Params { method, at: 0 });
}

#[test]
fn suggest_difficulty_in_the_forms_on_record() {
    for (line, expected) in [
        (r#"{"id": 3, "method": "mining.suggest_difficulty", "params": [0.0001]}"#, 0.0001),
        (r#"{"id": 1, "method": "mining.suggest_difficulty", "params": ["0.001000"]}"#, 0.001),
        (r#"{"id": 5, "method": "mining.suggest_difficulty(512)", "params": []}"#, 512.0),
        (r#"{"id": 5, "method": "mining.suggest_difficulty(0.5)"}"#, 0.5),
        (r#"{"method":"mining.suggest_difficulty","params":[1000,"x"]}"#, 1000.0),
        (r#"{"id":1,"method":"mining.suggest_difficulty","params":[1e15]}"#, 1e15),
    ] {
        let Request::SuggestDifficulty(difficulty) = request(line) else { panic!("{line}") };
        assert_eq!(difficulty.to_bits(), f64::to_bits(expected), "{line}");
    }
    for name in ["(0)", "(-5)", "(1e999)", "(x)", "()", "(\\u0031)"] {
        let line = format!(r#"{{"id":5,"method":"mining.suggest_difficulty{name}"}}"#);
        if name.contains('\\') {
            assert!(matches!(request(&line), Request::Unknown { .. }));
        } else {
            refuses(&line, "5", ParseError::Method);
        }
    }
}

#[test]
fn suggest_target_is_hex_of_at_most_a_hash() {
    let line = |target: &str| {
        format!(r#"{{"id":1,"method":"mining.suggest_target","params":["{target}"]}}"#)
    };
    let method = Method::SuggestTarget;
    let full = "00000000ffff".repeat(6)[..64].into();
    for target in [full, String::from("ffff"), String::from("AB")] {
        let line = line(&target);
        let Request::SuggestTarget(digits) = request(&line) else { panic!("{line}") };
        assert_eq!(digits, target.as_bytes());
    }
    refuses(line(""), "1", ParseError::Params { method, at: 0 });
    let error = HexError::TooLong { limit: 32 };
    refuses(line(&"0".repeat(66)), "1", ParseError::Hex { method, at: 0, error });
    let error = HexError::Odd { len: 3 };
    refuses(line("fff"), "1", ParseError::Hex { method, at: 0, error });
    let error = HexError::Digit { at: 1 };
    refuses(line("0xff"), "1", ParseError::Hex { method, at: 0, error });
}

#[test]
fn methods_without_params_take_any() {
    for params in ["", r#","params":[]"#, r#","params":null"#, r#","params":["1a2b"]"#] {
        let line = |method: &str| format!(r#"{{"id":9,"method":"{method}"{params}}}"#);
        assert!(matches!(
            request(&line("mining.extranonce.subscribe")),
            Request::ExtranonceSubscribe
        ));
        assert!(matches!(request(&line("mining.get_transactions")), Request::GetTransactions));
        assert!(matches!(request(&line("mining.ping")), Request::Ping));
        assert!(matches!(request(&line("client.get_version")), Request::GetVersion));
    }
}

#[test]
fn f11_other_methods_are_unknown_whatever_they_hold() {
    for name in ["mining.multi_version", "mining.notify", "eth_submitWork", "", "MINING.SUBMIT"] {
        for params in ["[]", "{}", "7", "null", "[[[1]]]"] {
            let line = format!(r#"{{"id":9,"method":"{name}","params":{params}}}"#);
            let message = ok(&line);
            assert_eq!(message.id.as_raw(), b"9");
            let Request::Unknown { method } = message.request else { panic!("{message:?}") };
            assert_eq!(method.plain(), Some(name));
        }
    }
}

#[test]
fn a_method_counts_however_it_is_escaped() {
    let line = r#"{"id":1,"method":"mining\u002eping"}"#;
    assert!(matches!(request(line), Request::Ping));
    let long = format!(r#"{{"id":1,"method":"{}"}}"#, r"\u0061".repeat(100));
    assert!(matches!(request(&long), Request::Unknown { .. }));
}

#[test]
fn f12_answers_are_told_apart() {
    for line in [
        r#"{"id":1,"result":true,"error":null}"#,
        r#"{"id":1,"result":"pong"}"#,
        r#"{"id":1,"method":null,"error":[20,"x",null]}"#,
        r#"{"result":null}"#,
    ] {
        assert!(matches!(request(line), Request::Response), "{line}");
    }
    refuses("{}", "null", ParseError::Method);
    refuses(r#"{"id":1}"#, "1", ParseError::Method);
    refuses(r#"{"id":1,"method":null}"#, "1", ParseError::Method);
}

#[test]
fn f08_ids_of_every_type_are_kept() {
    for id in ["null", "0", "7", "-7", "7.5", "true", "\"7\"", "\"\"", "18446744073709551616"] {
        let line = format!(r#"{{"id":{id},"method":"mining.ping"}}"#);
        assert_eq!(ok(&line).id.as_raw(), id.as_bytes());
    }
    assert!(ok(r#"{"method":"mining.ping"}"#).id.is_null());
    for id in ["[]", "{}", "[1]", &format!("\"{}\"", "x".repeat(1000))] {
        let line = format!(r#"{{"id":{id},"method":"mining.ping"}}"#);
        refuses(line, "null", ParseError::Id { limit: ID_BYTES_MAX as u8 });
    }
}

#[test]
fn f06_an_id_that_came_first_is_answered() {
    let line = b"{\"id\":7,\"method\":\"mining.authorize\",\"params\":[\"\xff\"]}";
    let at = JsonError::NotUtf8 { at: 47 };
    refuses(line, "7", ParseError::Json(at));
    let line = b"{\"params\":[\"a\nb\"],\"id\":7,\"method\":\"mining.authorize\"}";
    refuses(line, "null", ParseError::Json(JsonError::Control { at: 13 }));
    let line = b"{\"id\":7,\"method\":\"mining.authorize\",\"params\":[\"a\0b\"]}";
    refuses(line, "7", ParseError::Json(JsonError::Control { at: 48 }));
    let line = br#"{"id":7,"method":"mining.authorize","params":["\ud800"]}"#;
    refuses(line, "7", ParseError::Json(JsonError::Escape { at: 47 }));
}

#[test]
fn f08_two_requests_are_never_confused() {
    let line = r#"{"id":1,"method":"mining.ping","id":2}"#;
    refuses(line, "null", ParseError::Json(JsonError::DuplicateKey { at: 31 }));
    let line = r#"{"id":1,"method":"mining.ping","method":"mining.submit"}"#;
    refuses(line, "1", ParseError::Json(JsonError::DuplicateKey { at: 31 }));
    let line = r#"{"id":1,"method":"mining.ping"}{"id":2,"method":"mining.ping"}"#;
    refuses(line, "1", ParseError::Json(JsonError::Trailing { at: 31 }));
}

#[test]
fn f10_other_protocols_are_named() {
    refuses("GET / HTTP/1.1", "null", ParseError::NotStratum(Guess::Http));
    refuses(b"\x16\x03\x01\x02\x00", "null", ParseError::NotStratum(Guess::Tls));
    refuses("SSH-2.0-OpenSSH_9.2", "null", ParseError::NotStratum(Guess::Ssh));
    refuses("PROXY TCP4 192.0.2.1", "null", ParseError::NotStratum(Guess::Proxy));
    refuses("noise", "null", ParseError::Json(JsonError::NotAnObject));
}

#[test]
fn params_that_must_be_there_are() {
    for (method, need) in [(Method::Submit, 5), (Method::Authorize, 1), (Method::Configure, 1)] {
        for params in ["", r#","params":null"#, r#","params":[]"#] {
            let line = format!(r#"{{"id":1,"method":"{method}"{params}}}"#);
            refuses(line, "1", ParseError::TooFewParams { method, got: 0, need });
        }
    }
    let line = r#"{"id":1,"method":"mining.submit","params":["w","j","e","t"]}"#;
    let method = Method::Submit;
    refuses(line, "1", ParseError::TooFewParams { method, got: 4, need: 5 });
}

/// JSON of every type, and of values that some position might take by mistake.
const VALUES: [&str; 20] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "-1",
    "1.5",
    "1e999",
    r#""""#,
    r#""x""#,
    r#""7""#,
    r#""ff""#,
    r#""\u0066f""#,
    r#""NaN""#,
    "[]",
    "[7]",
    r#"["version-rolling"]"#,
    "{}",
    r#"{"a":[]}"#,
];

/// A method, params that it takes, and for each position which of [`VALUES`] it takes too.
type Row = (Method, &'static [&'static str], &'static [fn(&str) -> bool]);

fn is_text(value: &str) -> bool {
    value.starts_with('"')
}

fn is_text_or_null(value: &str) -> bool {
    is_text(value) || value == "null"
}

fn is_password(value: &str) -> bool {
    is_text_or_null(value) || value.starts_with(|first: char| first == '-' || first.is_numeric())
}

fn anything(_: &str) -> bool {
    true
}

#[test]
fn f09_a_wrong_type_in_any_position_of_any_method_is_refused_under_its_id() {
    let rows: [Row; 6] = [
        (
            Method::Submit,
            &[
                r#""w""#,
                r#""1a""#,
                r#""00""#,
                r#""64c25820""#,
                r#""591d28da""#,
                r#""00092000""#,
                "0",
            ],
            &[is_text, is_text, is_text, is_text, is_text, is_text_or_null, anything],
        ),
        (Method::Subscribe, &[r#""agent""#, r#""5""#, "0"], &[is_text_or_null, anything, anything]),
        (Method::Authorize, &[r#""w""#, r#""x""#, "0"], &[is_text, is_password, anything]),
        (
            Method::Configure,
            &[r#"["version-rolling"]"#, "{}", "0"],
            &[
                |value| matches!(value, "[]" | r#"["version-rolling"]"#),
                |value| value == "null" || value.starts_with('{'),
                anything,
            ],
        ),
        (
            Method::SuggestDifficulty,
            &["1", "0"],
            &[|value| matches!(value, "7" | "1.5" | r#""7""#), anything],
        ),
        (Method::SuggestTarget, &[r#""ff""#, "0"], &[|value| value == r#""ff""#, anything]),
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
    // Both orders, since the scan meets the params before or after the method.
    for line in [
        format!(r#"{{"id":"a7","method":"{method}","params":[{params}]}}"#),
        format!(r#"{{"params": [{params}], "id": "a7", "method": "{method}"}}"#),
    ] {
        match parse(line.as_bytes()) {
            Ok(message) => {
                assert!(takes, "{line}: {message:?}");
                assert_eq!(message.id.as_raw(), br#""a7""#);
            }
            Err(error) => {
                assert!(!takes, "{line}: {error}");
                assert_eq!(error.id.as_raw(), br#""a7""#);
                let place = match error.kind {
                    ParseError::Params { method, at } => (method, usize::from(at)),
                    ParseError::Hex { method, at, .. } => (method, usize::from(at)),
                    other => panic!("{line}: {other:?}"),
                };
                assert_eq!(place, (method, at), "{line}");
            }
        }
    }
}

#[test]
fn f09_params_that_are_no_array_are_refused_for_every_method() {
    let of_miners = Method::ALL.into_iter().filter(|method| {
        let line = format!(r#"{{"id":1,"method":"{method}","params":["w","j","e","t","n"]}}"#);
        !matches!(parse(line.as_bytes()), Ok(ClientLine { request: Request::Unknown { .. }, .. }))
    });
    let of_miners: Vec<Method> = of_miners.collect();
    assert_eq!(of_miners.len(), 10);
    for method in of_miners {
        for params in VALUES.into_iter().filter(|value| !value.starts_with('[')) {
            if params == "null" {
                continue;
            }
            let line = format!(r#"{{"id":1,"method":"{method}","params":{params}}}"#);
            refuses(line, "1", ParseError::NotAnArray { method });
        }
    }
}

#[test]
fn f09_a_method_that_is_no_string_is_refused() {
    for method in VALUES.into_iter().filter(|value| !value.starts_with('"')) {
        let line = format!(r#"{{"id":1,"method":{method},"params":[]}}"#);
        refuses(line, "1", ParseError::Method);
    }
}
