//! Compares our JSON reader with serde_json, and our hex reader with the standard library. Every
//! input that ours accepts, the other accepts with the same meaning. Ours may refuse more, and then
//! only by its own bounds.

use loka_stratum::limits::{JSON_DEPTH_MAX, NUMBER_BYTES_MAX};
use loka_stratum::wire::hex::{self, HexError};
use loka_stratum::wire::json::{self, JsonError, Value};
use serde_json::Value as Other;

/// Runs one input: each line of it, as JSON and as hex digits.
pub fn run(data: &[u8]) {
    data.split(|byte| *byte == b'\n').for_each(check);
}

fn check(data: &[u8]) {
    digits(data);
    let other = serde_json::from_slice::<Other>(data);
    match (json::scan(data), other) {
        (Ok(envelope), Ok(other)) => {
            for (key, value) in [
                ("method", envelope.method()),
                ("params", envelope.params()),
                ("result", envelope.result()),
                ("error", envelope.error()),
                ("reject-reason", envelope.reject_reason()),
            ] {
                match (value, other.get(key)) {
                    (Some(value), Some(other)) => same(value, other),
                    (None, None) => {}
                    (ours, theirs) => panic!("{key}: {ours:?} {theirs:?}"),
                }
            }
            let id = envelope.id().map(|raw| serde_json::from_slice::<Other>(raw).unwrap());
            assert_eq!(id.as_ref(), other.get("id"));
        }
        // It refuses a number beyond f64; ours keeps its digits.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{error}"),
        (Err(error), Ok(other)) => allowed(error, &other),
        (Err(error), Err(_)) => assert!(!error.to_string().is_empty()),
    }
}

/// Asserts that `ours` equals the value that serde_json read.
fn same(ours: Value<'_>, other: &Other) {
    match (ours, other) {
        (Value::Null, Other::Null) => {}
        (Value::Bool(ours), Other::Bool(other)) => assert_eq!(ours, *other),
        (Value::Number(_), Other::Number(other)) => {
            assert_eq!(ours.as_f64().map(f64::to_bits), other.as_f64().map(f64::to_bits));
            // serde_json reads whole numbers without point or exponent, except -0.
            if let Some(other) = other.as_u64() {
                assert_eq!(ours.as_u64(), Some(other));
            }
            if let Some(other) = other.as_i64() {
                assert_eq!(ours.as_i64(), Some(other));
            }
        }
        (Value::Text(ours), Other::String(other)) => {
            assert!(ours.eq_decoded(other), "{ours:?} {other:?}");
            assert_eq!(ours.chars().collect::<String>(), *other);
            assert!(ours.plain().is_none_or(|plain| plain == other));
            if other.len() <= 64 {
                assert_eq!(ours.decode::<64>().as_deref(), Ok(other.as_str()));
            } else {
                assert!(ours.decode::<64>().is_err());
            }
        }
        (Value::Array(ours), Other::Array(other)) => {
            assert_eq!(ours.elements().count(), other.len());
            ours.elements().zip(other).for_each(|(ours, other)| same(ours, other));
        }
        (Value::Object(ours), Other::Object(other)) => {
            for (key, other) in other {
                // For a repeated key serde_json keeps the last value.
                let value = ours.members().filter(|(name, _)| name.eq_decoded(key)).last();
                same(value.expect("a key that the other found").1, other);
            }
            assert!(ours.members().count() >= other.len());
        }
        (ours, other) => panic!("{ours:?} {other:?}"),
    }
}

/// Asserts that a bound of ours refused the text that serde_json accepted.
fn allowed(error: JsonError, other: &Other) {
    match error {
        JsonError::TooDeep { limit, .. } => assert_eq!(usize::from(limit), JSON_DEPTH_MAX),
        JsonError::NumberTooLong { limit, .. } => assert_eq!(usize::from(limit), NUMBER_BYTES_MAX),
        JsonError::NotAnObject => assert!(!other.is_object(), "{other}"),
        JsonError::DuplicateKey { .. } | JsonError::TooLong { .. } => {}
        error => panic!("{error}: {other}"),
    }
}

fn digits(data: &[u8]) {
    let mut room = vec![0; data.len()];
    let ours = hex::decode(data, &mut room).map(<[u8]>::to_vec);
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?;
        u8::from_str_radix(text, 16).ok()
    };
    let whole = data.len().is_multiple_of(2);
    let other: Option<Vec<u8>> = data.chunks(2).map(pair).collect();
    match (&ours, other.filter(|_| whole)) {
        (Ok(ours), Some(other)) => assert_eq!(*ours, other),
        (Err(HexError::Odd { len }), None) => assert_eq!(*len, data.len()),
        (Err(HexError::Digit { at }), None) => {
            assert!(data[..*at].iter().all(u8::is_ascii_hexdigit));
            assert!(!data[*at].is_ascii_hexdigit());
        }
        (ours, other) => panic!("{ours:?} {other:?}"),
    }
    if let Ok(bytes) = &ours {
        let number = <[u8; 4]>::try_from(bytes.as_slice()).map(u32::from_be_bytes).ok();
        assert_eq!(hex::u32_be(data).ok(), number);
    } else {
        assert!(hex::u32_be(data).is_err());
    }
}
