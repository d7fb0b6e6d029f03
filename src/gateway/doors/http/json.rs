//! The bodies of the API, as openapi.json describes them.

use loka_stratum::control::{Item, Origin};
use loka_stratum::settings::{Allowed, Applies, FIELDS, Field, Key, Pool, Settings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::Fault;
use crate::gateway::access::Listed;
use loka_stratum::control::Role;

/// A log-in: a role with its password, or the set-up code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    pub role: Option<Role>,
    pub password: Option<String>,
    pub code: Option<String>,
}

/// Changes of settings, in order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    pub edits: Vec<Edit>,
}

/// One change. Without a value the key returns to its default, or the pool is removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub key: String,
    pub value: Option<String>,
}

/// A pool to test: an address, or a pool of the settings with these changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub pool: String,
    #[serde(default)]
    pub edits: Vec<Edit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub role: Role,
    pub word: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sure {
    pub sure: String,
}

/// A worker and its password; an empty password removes the worker.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    pub worker: String,
    pub word: String,
}

/// A certificate chain and its private key, as consecutive PEM blocks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    pub pem: String,
}

/// An empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Serialize)]
pub struct SessionBody {
    pub role: Option<Role>,
    pub csrf: Option<String>,
    pub first_run: bool,
    pub seconds_left: Option<u16>,
    pub version: &'static str,
    pub secure: bool,
    /// The page's addresses as other machines reach it; logged-in users only.
    pub pages: Vec<String>,
    /// The addresses of the miners' ports, likewise.
    pub miners: Vec<String>,
}

/// The page's certificate; the fingerprint is absent until there is a page.
#[derive(Serialize)]
pub struct CertificateBody {
    pub fingerprint: Option<String>,
    pub is_own: bool,
}

/// One key, as a form needs it.
#[derive(Serialize)]
pub struct FieldBody {
    key: String,
    unit: &'static str,
    allowed: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<&'static [&'static str]>,
    effect: &'static str,
    applies: Applies,
    role: Role,
    secret: bool,
    default: String,
}

#[derive(Serialize)]
pub struct Value {
    pub key: String,
    pub value: String,
    pub origin: String,
    pub applies: Applies,
}

#[derive(Serialize)]
pub struct Change {
    pub key: String,
    pub from: String,
    pub to: String,
    pub applies: Applies,
}

#[derive(Serialize)]
pub struct Problem {
    pub key: String,
    pub text: String,
}

#[derive(Serialize)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub until: String,
    pub pin: String,
}

#[derive(Serialize)]
pub struct Miner {
    pub place: u16,
    pub peer: String,
    pub worker: String,
    pub agent: String,
    pub difficulty: f64,
    pub hashrate: f64,
    pub accepted: u32,
    pub rejected: u32,
}

/// The items of an answer, sorted by kind.
#[derive(Default)]
pub struct Items {
    pub lines: Vec<String>,
    pub values: Vec<Value>,
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    pub certificates: Vec<Certificate>,
    pub miners: Vec<Miner>,
    pub seconds_left: Option<u16>,
}

#[derive(Serialize)]
pub struct ValuesBody {
    pub values: Vec<Value>,
    pub seconds_left: Option<u16>,
}

#[derive(Serialize)]
pub struct CheckBody {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
}

#[derive(Serialize)]
pub struct CommitBody {
    pub changes: Vec<Change>,
    pub seconds_left: Option<u16>,
    pub stored: bool,
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub struct ConfirmBody {
    pub stored: bool,
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub struct RefusedBody {
    pub error: String,
    pub problems: Vec<Problem>,
}

#[derive(Serialize)]
pub struct TrialBody {
    pub ok: bool,
    pub steps: Vec<String>,
    pub chain: Vec<Certificate>,
    pub problem: Option<String>,
}

#[derive(Serialize)]
pub struct MinersBody {
    pub miners: Vec<Miner>,
}

#[derive(Serialize)]
pub struct WorkersBody {
    pub workers: Vec<String>,
}

#[derive(Serialize)]
pub struct SessionsBody {
    pub sessions: Vec<ListedSession>,
}

/// A session without its token.
#[derive(Serialize)]
pub struct ListedSession {
    pub id: u32,
    pub role: Role,
    pub from: String,
    pub age_secs: u64,
    pub left_secs: u64,
    pub own: bool,
}

impl From<&Listed> for ListedSession {
    fn from(listed: &Listed) -> Self {
        Self {
            id: listed.number,
            role: listed.session.role,
            from: listed.from.to_canonical().to_string(),
            age_secs: listed.age.as_secs(),
            left_secs: listed.left.as_secs(),
            own: listed.is_own,
        }
    }
}

#[derive(Serialize)]
pub struct LinesBody {
    pub lines: Vec<String>,
}

/// An empty object: done.
#[derive(Serialize)]
pub struct DoneBody {}

/// Parses a body. The parser's own text is not repeated, since it may quote a password.
///
/// # Errors
///
/// The position of the error, and the expected form.
pub fn read<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, Fault> {
    let read = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = format!("body: got something else at line {line}, column {column}, allowed");
        Fault::new(400, format!("{text} {form}"))
    })?;
    if has_names(body) {
        return Ok(read);
    }
    let text = "body: got a list or nothing where names and values stand, allowed";
    Err(Fault::new(400, format!("{text} {form}")))
}

/// Checks that objects are objects, and that only an edit's value is null: serde would also accept
/// a list of the values in order.
fn has_names(body: &[u8]) -> bool {
    use serde_json::{Map, Value};
    let has_values = |object: &Map<String, Value>| {
        object.iter().all(|(name, value)| !value.is_null() || name == "value")
    };
    let Ok(Value::Object(top)) = serde_json::from_slice(body) else { return false };
    let mut lists = top.values().filter_map(Value::as_array);
    let is_edit = |one: &Value| one.as_object().is_some_and(has_values);
    has_values(&top) && lists.all(|list| list.iter().all(is_edit))
}

/// Describes all keys.
pub fn fields() -> Vec<FieldBody> {
    let mut settings = Settings::default();
    let _ = settings.pools.push(Pool::default());
    FIELDS.iter().map(|field| describe(field, &settings)).collect()
}

fn describe(field: &'static Field, settings: &Settings) -> FieldBody {
    let number = |number: u64| Some(number as f64);
    let (kind, min, max, words) = match field.allowed {
        Allowed::Integer { min, max } => ("integer", number(min), number(max), None),
        Allowed::IntegerOrAuto { min, max } => ("auto_integer", number(min), number(max), None),
        Allowed::Number { min, max } => ("number", Some(min), Some(max), None),
        Allowed::Switch => ("switch", None, None, None),
        Allowed::OneOf(words) => ("one_of", None, None, Some(words)),
        Allowed::Bytes { min, max } => ("text", number(min as u64), number(max as u64), None),
        Allowed::List { min, max, .. } => ("list", number(min as u64), number(max as u64), None),
        Allowed::Url | Allowed::UrlPart(_) => ("url", None, None, None),
        Allowed::Form(_) | Allowed::Relation(_) => ("form", None, None, None),
    };
    let key = if field.is_of_pool() {
        format!("pool.N.{}", field.name)
    } else {
        format!("{}.{}", field.section, field.name)
    };
    let default = Key::of(field, 0).map(|key| settings.show(key).to_string());
    FieldBody {
        key,
        unit: field.unit,
        allowed: field.allowed.to_string(),
        kind,
        min,
        max,
        words,
        effect: field.effect,
        applies: field.applies,
        role: field.role(),
        secret: field.is_secret(),
        default: default.unwrap_or_default(),
    }
}

impl Items {
    /// Adds an item.
    pub fn add(&mut self, item: &Item<'_>) {
        let own = str::to_owned;
        match *item {
            Item::Text(text) => self.lines.push(own(text)),
            Item::Value { key, value, origin, applies } => self.values.push(Value {
                key: own(key),
                value: own(value),
                origin: origin_text(&origin),
                applies,
            }),
            Item::Change { key, from, to, applies } => {
                let (key, from, to) = (own(key), own(from), own(to));
                self.changes.push(Change { key, from, to, applies });
            }
            Item::Problem { key, text } => {
                self.problems.push(Problem { key: own(key), text: own(text) });
            }
            Item::Provisional { seconds_left } => self.seconds_left = Some(seconds_left),
            Item::Certificate { subject, issuer, until, pin } => {
                self.certificates.push(Certificate {
                    subject: own(subject),
                    issuer: own(issuer),
                    until: own(until),
                    pin: own(pin),
                });
            }
            Item::Miner {
                place,
                peer,
                worker,
                agent,
                difficulty,
                hashrate,
                accepted,
                rejected,
            } => self.miners.push(Miner {
                place,
                peer: own(peer),
                worker: own(worker),
                agent: own(agent),
                difficulty,
                hashrate,
                accepted,
                rejected,
            }),
        }
    }
}

fn origin_text(origin: &Origin<'_>) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(line) => format!("file, line {line}"),
        Origin::Stored => "stored".to_owned(),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::Flag(flag) => format!("flag {flag}"),
        Origin::Candidate => "candidate".to_owned(),
        Origin::Unkept => "in use, not stored".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f75_a_body_is_an_object_with_names_and_nothing_else() {
        fn is<T: DeserializeOwned>(body: &str) -> bool {
            read::<T>(body.as_bytes(), "").is_ok()
        }
        assert!(is::<Nothing>("{}") && is::<Edits>(r#"{"edits":[{"key":"a","value":null}]}"#));
        assert!(is::<Edits>(r#"{"edits":[]}"#) && is::<Trial>(r#"{"pool":"pool.1"}"#));
        assert!(!is::<Nothing>("[]") && !is::<Nothing>("null") && !is::<Nothing>(""));
        assert!(!is::<NewPassword>(r#"["viewer","a password"]"#));
        assert!(!is::<Edits>(r#"{"edits":[["a","b"]]}"#) && !is::<Edits>(r#"[[]]"#));
        assert!(!is::<Edits>(r#"{"edits":[{"key":"a","value":"b","value":"c"}]}"#));
        assert!(!is::<LogIn>(r#"{"role":null,"password":null,"code":"12345678"}"#));
        assert!(!is::<Sure>(r#"{"sure":"reset"} {"sure":"reset"}"#));
    }
}
