use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::*;
use crate::limits::{JSON_DEPTH_MAX, NUMBER_BYTES_MAX};

#[track_caller]
fn accepts(line: &str) -> Envelope<'_> {
    scan(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[track_caller]
fn refuses(line: impl AsRef<[u8]>, error: JsonError) {
    let line = line.as_ref();
    assert_eq!(scan(line).err(), Some(error), "{}", String::from_utf8_lossy(line));
}

fn raw<'a>(value: Option<Value<'a>>) -> &'a [u8] {
    match value {
        Some(Value::Array(array)) => array.as_raw(),
        Some(Value::Object(object)) => object.as_raw(),
        Some(Value::Number(digits)) => digits,
        Some(Value::Text(text)) => text.as_bytes(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_six_keys_in_any_order_and_the_rest_ignored() {
    let envelope = accepts(
        r#" {"reject-reason" : "Stale" , "error":{"code":1},"jsonrpc":"2.0","id":"a\"b",
            "result":[ [1,"]"],{} ],"params":12e-1,	"method":"x","extra":[[{"id":1}]]} "#,
    );
    assert_eq!(envelope.id(), Some(&br#""a\"b""#[..]));
    assert_eq!(raw(envelope.method()), b"x");
    assert_eq!(raw(envelope.params()), b"12e-1");
    assert_eq!(raw(envelope.result()), br#"[ [1,"]"],{} ]"#);
    assert_eq!(raw(envelope.error()), br#"{"code":1}"#);
    assert_eq!(raw(envelope.reject_reason()), b"Stale");
}

#[test]
fn missing_is_not_null() {
    let envelope = accepts(r#"{"id":null,"result":null}"#);
    assert_eq!(envelope.id(), Some(&b"null"[..]));
    assert!(envelope.result().is_some_and(Value::is_null));
    assert!(envelope.error().is_none());
    assert!(envelope.is_answer());
    assert!(accepts("{}").id().is_none());
    assert!(!accepts("{}").is_answer());
}

#[test]
fn a_key_counts_however_it_is_escaped() {
    let envelope = accepts(r#"{"\u0069d":7,"m\u0065thod":"x","reject\u002dreason":"y"}"#);
    assert_eq!(envelope.id(), Some(&b"7"[..]));
    assert_eq!(raw(envelope.method()), b"x");
    assert_eq!(raw(envelope.reject_reason()), b"y");
    refuses(r#"{"id":1,"\u0069d":2}"#, JsonError::DuplicateKey { at: 8 });
}

#[test]
fn keys_that_only_begin_like_ours_are_others() {
    let envelope = accepts(r#"{"i":1,"ID":2,"id ":3,"ids":4,"methods":5,"Method":6,"erro":7}"#);
    assert!(envelope.id().is_none() && envelope.method().is_none());
    assert!(accepts(r#"{"error":0}"#).error().is_some());
    assert!(accepts(r#"{"":0}"#).id().is_none());
}

#[test]
fn f08_no_key_of_ours_is_there_twice() {
    for key in ["id", "method", "params", "result", "error", "reject-reason"] {
        let line = format!(r#"{{"{key}":1,"{key}":1}}"#);
        let at = key.len() as u32 + 6;
        refuses(&line, JsonError::DuplicateKey { at });
        refuses(line.replace('1', "null"), JsonError::DuplicateKey { at: at + 3 });
        refuses(line.replace('1', "[]"), JsonError::DuplicateKey { at: at + 1 });
    }
    accepts(r#"{"x":1,"x":2}"#);
    accepts(r#"{"params":[{"id":1,"id":2}]}"#);
}

#[test]
fn f08_of_two_ids_neither_is_answered() {
    let mut envelope = Envelope::new(br#"{"id":1,"id":2}"#);
    assert!(envelope.scan().is_err());
    assert!(envelope.id().is_none());
    let mut envelope = Envelope::new(br#"{"id":1,"method":2,"method":2}"#);
    assert!(envelope.scan().is_err());
    assert_eq!(envelope.id(), Some(&b"1"[..]));
}

#[test]
fn errors_point_at_the_byte() {
    refuses("", JsonError::NotAnObject);
    refuses("[]", JsonError::NotAnObject);
    refuses("7", JsonError::NotAnObject);
    refuses("\u{feff}{}", JsonError::NotAnObject);
    refuses("{", JsonError::Cut { at: 1 });
    refuses(r#"{"id""#, JsonError::Cut { at: 5 });
    refuses(r#"{"id":"#, JsonError::Cut { at: 6 });
    refuses(r#"{"id":1"#, JsonError::Cut { at: 7 });
    refuses(r#"{"id":1,"#, JsonError::Cut { at: 8 });
    refuses(r#"{"id":1,}"#, JsonError::Unexpected { at: 8 });
    refuses(r#"{,"id":1}"#, JsonError::Unexpected { at: 1 });
    refuses(r#"{"id" 1}"#, JsonError::Unexpected { at: 6 });
    refuses(r#"{"id"::1}"#, JsonError::Unexpected { at: 6 });
    refuses(r#"{id:1}"#, JsonError::Unexpected { at: 1 });
    refuses(r#"{'id':1}"#, JsonError::Unexpected { at: 1 });
    refuses(r#"{"id":1}}"#, JsonError::Trailing { at: 8 });
    refuses(r#"{"id":1} {}"#, JsonError::Trailing { at: 9 });
    refuses("{\"id\":1}\0", JsonError::Trailing { at: 8 });
    refuses(r#"{"id":auth}"#, JsonError::Unexpected { at: 6 });
    refuses(r#"{"id":nul}"#, JsonError::Unexpected { at: 9 });
    refuses(r#"{"id":nulll}"#, JsonError::Unexpected { at: 10 });
    refuses(r#"{"id":True}"#, JsonError::Unexpected { at: 6 });
    refuses(r#"{"id":tru"#, JsonError::Cut { at: 9 });
    refuses(r#"{"id":[1,]}"#, JsonError::Unexpected { at: 9 });
    refuses(r#"{"id":[1 2]}"#, JsonError::Unexpected { at: 9 });
    refuses(r#"{"id":[1}"#, JsonError::Unexpected { at: 8 });
    refuses(r#"{"id":{"a"}}"#, JsonError::Unexpected { at: 10 });
    refuses(r#"{"id":{"a":1,}}"#, JsonError::Unexpected { at: 13 });
    refuses(r#"{"id":{1:1}}"#, JsonError::Unexpected { at: 7 });
    refuses(r#"{"params":[1,]}"#, JsonError::Unexpected { at: 13 });
    refuses(r#"{"params":[,1]}"#, JsonError::Unexpected { at: 11 });
    refuses(r#"{"params":[1"#, JsonError::Cut { at: 12 });
    refuses("{\"id\":\u{a0}1}", JsonError::Unexpected { at: 6 });
    refuses("{\x0b}", JsonError::Unexpected { at: 1 });
}

#[test]
fn f06_strings_hold_no_control_characters() {
    for control in 0..0x20_u8 {
        let line = [b"{\"id\":\"1234567890", &[control][..], b"\"}"].concat();
        refuses(line, JsonError::Control { at: 17 });
    }
    accepts("{\"id\":\"\u{7f}\u{80}\u{2028}\"}");
}

#[test]
fn f06_strings_are_utf8() {
    let broken: [&[u8]; 8] = [
        b"\xff",
        b"\x80",
        b"\xc0\x80",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc3",
        b"\xf0\x9f\x98",
    ];
    for bytes in broken {
        refuses([b"{\"x\":\"a", bytes, b"\"}"].concat(), JsonError::NotUtf8 { at: 7 });
        refuses([b"{\"", bytes, b"\":1}"].concat(), JsonError::NotUtf8 { at: 2 });
    }
    refuses(b"{\"x\":\"\xc3", JsonError::Cut { at: 7 });
    refuses(b"{\"x\":\xff}", JsonError::Unexpected { at: 5 });
}

#[test]
fn f06_escapes_are_those_of_json() {
    accepts(r#"{"x":"\"\\\/\b\f\n\r\t\u0000\uFFFF\uD83D\uDE00"}"#);
    for bad in [r"\x", r"\u12g4", r"\u+123", r"\U0041", r"\'", r"\0", r"\u", r"\u123"] {
        refuses(format!(r#"{{"x":"{bad}"}}"#), JsonError::Escape { at: 6 });
    }
    refuses(r#"{"x":"\"#, JsonError::Cut { at: 7 });
}

#[test]
fn f06_surrogates_come_in_pairs() {
    for good in [r"\ud7ff", r"\ue000", r"\ud800\udc00", r"\udbff\udfff", r"\uDBFF\uDC00"] {
        accepts(&format!(r#"{{"x":"{good}"}}"#));
    }
    for bad in [
        r"\ud800",
        r"\udc00",
        r"\ud800x",
        r"\ud800\n",
        r"\ud800\ud800",
        r"\ud800\u0041",
        r"\udc00\ud800",
        r"\ud800u",
        r"\udfff",
        r"\udbff",
        r"\udbff\ue000",
        r"\ud800\udbff",
        r"\ud83dude00",
    ] {
        refuses(format!(r#"{{"x":"{bad}"}}"#), JsonError::Escape { at: 6 });
    }
}

#[test]
fn f07_numbers_are_those_of_json() {
    for good in ["0", "-0", "10", "-1", "0.5", "1.0", "1e3", "1E+3", "1e-3", "-0.0e0", "1e999"] {
        accepts(&format!(r#"{{"id":{good},"x":[{good}]}}"#));
    }
    for bad in ["01", "-", "+1", ".5", "1.", "1.e1", "1e", "1e+", "0x1", "1_0", "--1", "1-1"] {
        assert!(scan(format!(r#"{{"id":{bad}}}"#).as_bytes()).is_err(), "{bad}");
        assert!(scan(format!(r#"{{"x":[{bad}]}}"#).as_bytes()).is_err(), "{bad}");
    }
    for bad in ["NaN", "Infinity", "-Infinity", "-01", "00", "1.2.3", "1e2e3", "1 2"] {
        assert!(scan(format!(r#"{{"id":{bad}}}"#).as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn f07_numbers_have_a_longest() {
    let limit = NUMBER_BYTES_MAX as u8;
    for digit in ["7", "0.", "-1."] {
        let longest = format!("{digit}{}", "1".repeat(NUMBER_BYTES_MAX - digit.len()));
        accepts(&format!(r#"{{"id":{longest}}}"#));
        refuses(format!(r#"{{"id":{longest}1}}"#), JsonError::NumberTooLong { at: 6, limit });
        refuses(format!(r#"{{"x":[{longest}1]}}"#), JsonError::NumberTooLong { at: 6, limit });
    }
    let bomb = "9".repeat(400);
    refuses(format!(r#"{{"id":{bomb}}}"#), JsonError::NumberTooLong { at: 6, limit });
}

#[test]
fn f07_nesting_has_a_deepest() {
    let limit = JSON_DEPTH_MAX as u8;
    // The object of the line is the first level.
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{{\"x\":{}{}}}", open.repeat(levels), close.repeat(levels))
    };
    accepts(&nested("[", "]", JSON_DEPTH_MAX - 1));
    let at = 5 + JSON_DEPTH_MAX as u32 - 1;
    refuses(nested("[", "]", JSON_DEPTH_MAX), JsonError::TooDeep { at, limit });
    refuses(nested("[", "]", 30_000), JsonError::TooDeep { at, limit });
    assert!(scan(nested("[", "", 30_000).as_bytes()).is_err());
    let objects = nested("{\"a\":", "}", JSON_DEPTH_MAX - 1).replace(":}", ":1}");
    accepts(&objects);
    let deeper = nested("{\"a\":", "}", JSON_DEPTH_MAX).replace(":}", ":1}");
    assert!(matches!(scan(deeper.as_bytes()), Err(JsonError::TooDeep { .. })));
    // In params, whose elements the scan looks at one by one.
    let params = |levels| format!(r#"{{"params":[{}{}]}}"#, "[".repeat(levels), "]".repeat(levels));
    accepts(&params(JSON_DEPTH_MAX - 2));
    assert!(matches!(scan(params(JSON_DEPTH_MAX - 1).as_bytes()), Err(JsonError::TooDeep { .. })));
}

#[test]
fn f07_long_arrays_are_counted_not_kept() {
    let line = format!(r#"{{"params":[{}1]}}"#, "0,".repeat(20_000));
    let envelope = accepts(&line);
    assert_eq!(envelope.params_count(), 20_001);
    assert!(envelope.param(PARAMS_KEPT_MAX - 1).is_some());
    assert!(envelope.param(PARAMS_KEPT_MAX).is_none());
    let Some(Value::Array(params)) = envelope.params() else { panic!("an array") };
    assert_eq!(params.elements().count(), 20_001);
    assert_eq!(params.elements().last().and_then(Value::as_u64), Some(1));
}

#[test]
fn f07_a_line_above_the_bound_is_not_begun() {
    let mut line = vec![b' '; UPSTREAM_LINE_BYTES_MAX];
    line[0] = b'{';
    *line.last_mut().unwrap() = b'}';
    assert!(scan(&line).is_ok());
    line.push(b' ');
    refuses(&line, JsonError::TooLong { limit: UPSTREAM_LINE_BYTES_MAX as u32 });
}

#[test]
fn numbers_are_read_in_their_range() {
    let number = |digits: &'static str| Value::Number(digits.as_bytes());
    assert_eq!(number("8192.0").as_f64(), Some(8192.0));
    assert_eq!(number("1e5").as_f64(), Some(1e5));
    assert_eq!(number("1e999").as_f64(), None);
    assert_eq!(number("-0").as_f64(), Some(-0.0));
    assert_eq!(Value::Null.as_f64(), None);
    assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(number("18446744073709551616").as_u64(), None);
    assert_eq!(number("-1").as_u64(), None);
    assert_eq!(number("8.0").as_u64(), None);
    assert_eq!(number("-3").as_i64(), Some(-3));
    assert_eq!(number("9223372036854775808").as_i64(), None);
}

#[test]
fn members_are_found_by_their_decoded_key() {
    let envelope = accepts(r#"{"result":{ "a" : 1 , "\u0062":[2], "a":3 }}"#);
    let Some(Value::Object(object)) = envelope.result() else { panic!("an object") };
    assert_eq!(object.members().count(), 3);
    assert_eq!(object.get("a").and_then(Value::as_u64), Some(1));
    assert_eq!(raw(object.get("b")), b"[2]");
    assert!(object.get("c").is_none());
}

#[test]
fn errors_read_as_sentences() {
    let shown = |line: &str| scan(line.as_bytes()).err().map(|error| error.to_string()).unwrap();
    assert_eq!(shown("x"), "not a json object");
    assert_eq!(shown(r#"{"id":auth}"#), "not json: unexpected byte at 6");
    assert_eq!(shown("{\"id"), "not json: cut off at byte 4");
    assert_eq!(shown(r#"{"id":1,"id":2}"#), "duplicate key at byte 8; send it once");
    assert_eq!(shown(r#"{"x":[[[[[[[[1]]]]]]]]}"#), "nesting at byte 12 deeper than 8 levels");
}

/// The keys of the top object, for what serde_json would let pass.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = vec![];
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(array) => 1 + array.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The longest run of bytes that could be a number; strings of the tests hold none this long.
fn longest_number(line: &[u8]) -> usize {
    let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    line.split(|byte| !is_number(byte)).map(<[u8]>::len).max().unwrap_or(0)
}

/// What serde_json says within our bounds; `None` if it gives up over the size of a number,
/// which this scanner leaves to its caller.
fn oracle(line: &[u8]) -> Option<bool> {
    let value: serde_json::Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) if error.to_string().contains("number out of range") => return None,
        Err(_) => return Some(false),
    };
    if !value.is_object() || depth(&value) > JSON_DEPTH_MAX {
        return Some(false);
    }
    if longest_number(line) > NUMBER_BYTES_MAX {
        return Some(false);
    }
    let Keys(keys) = serde_json::from_slice(line).unwrap();
    let ours = ["id", "method", "params", "result", "error", "reject-reason"];
    let ours: Vec<&String> = keys.iter().filter(|key| ours.contains(&key.as_str())).collect();
    let distinct: BTreeSet<&&String> = ours.iter().collect();
    Some(distinct.len() == ours.len())
}

/// Builds the tree that we never build, to compare it.
fn tree(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(bool) => bool.into(),
        Value::Number(digits) => serde_json::from_slice(digits).unwrap(),
        Value::Text(text) => text.chars().collect::<String>().into(),
        Value::Array(array) => array.elements().map(tree).collect(),
        Value::Object(object) => serde_json::Value::Object(
            object
                .members()
                .map(|(key, value)| (key.chars().collect::<String>(), tree(value)))
                .collect(),
        ),
    }
}

fn json(levels: u32) -> impl Strategy<Value = String> {
    let space = || "[ \t\r\n]{0,2}";
    let string = r#"([ !#-\[\]-~γ😀]|\\["\\/bfnrt]|\\u00[0-9a-fA-F]{2}|\\ud83d\\ude0[0-9]){0,9}"#;
    let leaf = prop_oneof![
        Just("null".to_string()),
        Just("true".to_string()),
        Just("false".to_string()),
        "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?",
        string.prop_map(|inside| format!("\"{inside}\"")),
    ];
    leaf.prop_recursive(levels, 24, 4, move |inner| {
        let element = (space(), inner.clone(), space()).prop_map(|(a, b, c)| format!("{a}{b}{c}"));
        let member = (space(), string, space(), inner, space())
            .prop_map(|(a, key, b, value, c)| format!("{a}\"{key}\"{b}:{value}{c}"));
        prop_oneof![
            proptest::collection::vec(element, 0..4)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            proptest::collection::vec(member, 0..4)
                .prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        4 => Just("id"),
        4 => Just("method"),
        4 => Just("params"),
        2 => Just("result"),
        2 => Just("error"),
        1 => Just("reject-reason"),
        1 => Just("\\u0069d"),
        2 => Just("jsonrpc"),
    ];
    let member = (key, "[ \t]{0,1}", "[ \t]{0,1}", json(9))
        .prop_map(|(key, a, b, value)| format!("\"{key}\"{a}:{b}{value}"));
    proptest::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #[test]
    fn what_serde_json_accepts_is_accepted_and_reads_the_same(line in line()) {
        let expected = oracle(line.as_bytes());
        prop_assume!(expected.is_some());
        let scanned = scan(line.as_bytes());
        prop_assert_eq!(scanned.is_ok(), expected == Some(true), "{:?}", scanned.err());
        let Ok(envelope) = scanned else { return Ok(()) };
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let spans = [
            ("method", envelope.method()),
            ("params", envelope.params()),
            ("result", envelope.result()),
            ("error", envelope.error()),
            ("reject-reason", envelope.reject_reason()),
        ];
        for (key, span) in spans {
            prop_assert_eq!(span.map(tree), value.get(key).cloned());
        }
        if let Some(Value::Array(params)) = envelope.params() {
            prop_assert_eq!(params.elements().count(), envelope.params_count());
            for (at, element) in params.elements().take(PARAMS_KEPT_MAX).enumerate() {
                prop_assert_eq!(envelope.param(at).map(tree), Some(tree(element)));
            }
        }
        let id: Option<serde_json::Value> =
            envelope.id().map(|id| serde_json::from_slice(id).unwrap());
        prop_assert_eq!(id, value.get("id").cloned());
    }

    #[test]
    fn a_line_with_one_byte_changed_is_judged_as_serde_json_judges_it(
        line in line(), at: proptest::sample::Index, byte in prop_oneof![
            proptest::sample::select(&b"\"\\{}[]:,0123456789.eE+- ntfu\n\0"[..]), any::<u8>(),
        ], kind in 0..3,
    ) {
        let mut line = line.into_bytes();
        let at = at.index(line.len());
        match kind {
            0 => line[at] = byte,
            1 => line.insert(at, byte),
            _ => drop(line.remove(at)),
        }
        let expected = oracle(&line);
        prop_assume!(expected.is_some());
        let scanned = scan(&line);
        prop_assert_eq!(scanned.is_ok(), expected == Some(true), "{:?}", scanned.err());
    }

    #[test]
    fn a_line_cut_short_is_refused(line in line(), at: proptest::sample::Index) {
        let cut = &line.as_bytes()[..at.index(line.len())];
        prop_assert!(scan(cut).is_err());
    }

    #[test]
    fn letters_of_json_in_any_order_are_judged_as_serde_json_judges_them(
        inside in r#"([{}\[\]:,]|"[a-z]{0,3}"|"id"|-?[0-9]{1,2}|\.|e|null|true| |"|\\){0,12}"#,
    ) {
        let line = format!("{{{inside}}}");
        let expected = oracle(line.as_bytes());
        prop_assume!(expected.is_some());
        prop_assert_eq!(scan(line.as_bytes()).is_ok(), expected == Some(true));
    }

    #[test]
    fn no_bytes_break_the_scanner(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes);
    }
}
