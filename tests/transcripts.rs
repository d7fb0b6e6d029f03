//! Replay of recorded sessions: each line of a miner and of a pool.
//!
//! The format and our own sessions are in `tests/transcripts`. A larger collection of recordings
//! runs as well, if it exists: the folder in `LOKA_TRANSCRIPTS`, or else `../shared/transcripts`.

mod farm;
#[path = "transcripts/replay.rs"]
mod replay;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::Value;

/// One file of a collection.
pub struct Session {
    /// The path, for messages.
    pub path: PathBuf,
    /// The sent lines, in order.
    pub lines: Vec<Line>,
}

/// A sent line.
pub struct Line {
    /// Its line number in the file, from 1.
    pub number: usize,
    /// The sender.
    pub from: Side,
    /// The text, without its line end.
    pub text: String,
}

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Miner,
    /// The server.
    Pool,
}

/// Reads our own sessions, and the larger collection, if there is one.
pub fn sessions() -> Vec<Session> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sessions = read_folder(&root.join("tests/transcripts"));
    assert!(!sessions.is_empty(), "no sessions in tests/transcripts");
    match std::env::var_os("LOKA_TRANSCRIPTS") {
        Some(folder) => {
            let more = read_folder(Path::new(&folder));
            assert!(!more.is_empty(), "LOKA_TRANSCRIPTS: no sessions in {}", folder.display());
            sessions.extend(more);
        }
        None => {
            let more = read_folder(&root.join("../shared/transcripts"));
            if more.is_empty() {
                ABSENT.call_once(say_absent);
            }
            sessions.extend(more);
        }
    }
    sessions
}

static ABSENT: Once = Once::new();

/// Reports that the larger collection is absent. It bypasses the harness, which hides the `println`
/// output of passing tests.
fn say_absent() {
    let text =
        "transcripts: only our own sessions; no LOKA_TRANSCRIPTS, no ../shared/transcripts\n";
    io::stderr().write_all(text.as_bytes()).unwrap();
}

fn read_folder(folder: &Path) -> Vec<Session> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.into_iter().map(read_session).collect()
}

fn read_session(path: PathBuf) -> Session {
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = vec![];
    for (index, line) in text.lines().enumerate() {
        let (from, sent) = match line.split_at_checked(2) {
            Some(("> ", sent)) => (Side::Miner, sent),
            Some(("< ", sent)) => (Side::Pool, sent),
            _ if line.starts_with('#') || line.is_empty() => continue,
            _ => panic!("{}:{}: neither `> `, `< ` nor `#`", path.display(), index + 1),
        };
        lines.push(Line { number: index + 1, from, text: sent.into() });
    }
    Session { path, lines }
}

/// The parsers and the framer against every line.
mod wire {
    use loka_stratum::limits::{DOWNSTREAM_LINE_BYTES_MAX, ID_BYTES_MAX, UPSTREAM_LINE_BYTES_MAX};
    use loka_stratum::wire::client::{self, ClientLine, Request};
    use loka_stratum::wire::hex;
    use loka_stratum::wire::line::Framer;
    use loka_stratum::wire::server::{self, Outcome, Response, ServerLine};
    use loka_stratum::wire::text::Text;

    use super::*;

    /// A reason to refuse a line.
    struct Refused {
        side: Side,
        why: &'static str,
        /// A check of serde_json's reading of the line, independent of our parser.
        is_so: fn(&str, &Value) -> bool,
    }

    /// All reasons for a refusal, besides invalid JSON.
    const REFUSED: [Refused; 11] = [
        Refused {
            side: Side::Miner,
            why: "no object, such as a batch of JSON-RPC",
            is_so: |_, json| !json.is_object(),
        },
        Refused {
            side: Side::Pool,
            why: "no object, such as a batch of JSON-RPC",
            is_so: |_, json| !json.is_object(),
        },
        Refused {
            side: Side::Miner,
            why: "a key of the envelope twice",
            is_so: |line, _| line.matches("\"id\":").count() > 1,
        },
        Refused {
            side: Side::Miner,
            why: "an id that cannot be echoed",
            is_so: |_, json| {
                let id = &json["id"];
                id.is_array() || id.as_str().is_some_and(|id| id.len() + 2 > ID_BYTES_MAX)
            },
        },
        Refused {
            side: Side::Miner,
            why: "neither method nor answer",
            is_so: |_, json| !says_something(json),
        },
        Refused {
            side: Side::Pool,
            why: "neither method nor answer",
            is_so: |_, json| !says_something(json),
        },
        Refused {
            side: Side::Miner,
            why: "a submit without five strings, such as numbers as ntime",
            is_so: |_, json| {
                json["method"] == "mining.submit"
                    && !(0..5).all(|at| json["params"][at].is_string())
            },
        },
        Refused {
            side: Side::Miner,
            why: "an authorize without a name",
            is_so: |_, json| json["method"] == "mining.authorize" && !json["params"][0].is_string(),
        },
        Refused {
            side: Side::Miner,
            why: "a suggestion that is not above 0",
            is_so: |_, json| {
                let param = &json["params"][0];
                let number = param.as_f64().or_else(|| param.as_str()?.parse().ok());
                json["method"] == "mining.suggest_difficulty"
                    && number.is_none_or(|number| number <= 0.0)
            },
        },
        Refused {
            side: Side::Pool,
            why: "a setting without its value, such as a difficulty of 0",
            is_so: |_, json| is_bad_setting(json),
        },
        Refused {
            side: Side::Pool,
            why: "a job that cannot be rebuilt, such as one with odd hex",
            is_so: |_, json| json["method"] == "mining.notify" && !is_whole_job(json),
        },
    ];

    fn says_something(json: &Value) -> bool {
        ["method", "result", "error"].iter().any(|key| json.get(key).is_some())
    }

    fn is_bad_setting(json: &Value) -> bool {
        let params = &json["params"];
        match json["method"].as_str() {
            Some("mining.set_difficulty") => !params[0].as_f64().is_some_and(|value| value > 0.0),
            Some("mining.set_extranonce") => !params[0].is_string() || !params[1].is_u64(),
            Some("mining.set_version_mask") => {
                params[0].as_str().is_none_or(|mask| mask.len() != 8)
            }
            Some("client.reconnect") => params[1].as_u64().is_some_and(|port| port > 65_535),
            _ => false,
        }
    }

    fn is_whole_job(json: &Value) -> bool {
        let digits = |value: &Value| {
            let text = value.as_str().unwrap_or("x");
            text.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(text.len())
        };
        let params = json["params"].as_array().unwrap();
        params.len() >= 9
            && params[0].is_string()
            && digits(&params[1]) == Some(64)
            && [2, 3].iter().all(|at| digits(&params[*at]).is_some_and(|len| len % 2 == 0))
            && params[4].as_array().unwrap().iter().all(|branch| digits(branch) == Some(64))
            && [5, 6, 7].iter().all(|at| digits(&params[*at]) == Some(8))
            && params.last().unwrap().is_boolean()
    }

    /// Returns the reason for which a line must be refused.
    fn refused(line: &Line) -> Option<&'static str> {
        let Ok(json) = serde_json::from_str(&line.text) else { return Some("not JSON") };
        let mut reasons = REFUSED.iter().filter(|reason| reason.side == line.from);
        reasons.find(|reason| (reason.is_so)(&line.text, &json)).map(|reason| reason.why)
    }

    #[test]
    fn every_line_is_read_or_refused_for_a_reason() {
        for session in sessions() {
            for line in &session.lines {
                let place = format!("{}:{}", session.path.display(), line.number);
                let read = match line.from {
                    Side::Miner => client::parse(line.text.as_bytes())
                        .map(|message| check_miner(message, &line.text))
                        .map_err(|error| error.to_string()),
                    Side::Pool => server::parse(line.text.as_bytes())
                        .map(|message| check_pool(message, &line.text))
                        .map_err(|error| error.to_string()),
                };
                match (read, refused(line)) {
                    (Ok(()), None) | (Err(_), Some(_)) => {}
                    (Ok(()), Some(reason)) => panic!("{place}: read, although {reason}"),
                    (Err(error), None) => panic!("{place}: {error}"),
                }
            }
        }
    }

    /// Compares our reading of a miner's line with serde_json's.
    fn check_miner(message: ClientLine<'_>, line: &str) {
        let json: Value = serde_json::from_str(line).unwrap();
        let params = &json["params"];
        check_id(message.id.as_raw(), &json, line);
        match message.request {
            Request::Submit(submit) => {
                assert_eq!(json["method"], "mining.submit");
                let texts =
                    [submit.worker, submit.job_id, submit.extranonce2, submit.ntime, submit.nonce];
                for (at, text) in texts.into_iter().enumerate() {
                    assert_eq!(params[at], decoded(text));
                }
                assert_eq!(
                    params.get(5).and_then(Value::as_str),
                    submit.version_bits.and_then(Text::plain)
                );
            }
            Request::Subscribe(subscribe) => {
                assert_eq!(json["method"], "mining.subscribe");
                assert_eq!(params[0].as_str(), subscribe.user_agent.map(decoded).as_deref());
                assert_eq!(params[1].as_str(), subscribe.session_id.map(decoded).as_deref());
            }
            Request::Authorize(authorize) => {
                assert_eq!(json["method"], "mining.authorize");
                assert_eq!(params[0], decoded(authorize.worker));
            }
            Request::Configure(configure) => {
                assert_eq!(json["method"], "mining.configure");
                let asked = |name: &str| params[0].as_array().unwrap().contains(&name.into());
                assert_eq!(configure.version_rolling.is_some(), asked("version-rolling"));
                assert_eq!(configure.minimum_difficulty.is_some(), asked("minimum-difficulty"));
                assert_eq!(configure.subscribe_extranonce, asked("subscribe-extranonce"));
                let mask = params[1]["version-rolling.mask"].as_str().unwrap_or("ffffffff");
                if let Some(rolling) = configure.version_rolling {
                    assert_eq!(Ok(rolling.mask), u32::from_str_radix(mask, 16));
                }
            }
            Request::SuggestDifficulty(difficulty) => {
                let named = json["method"].as_str().unwrap().contains(&format!("({difficulty})"));
                let text = params[0].as_str().and_then(|text| text.parse().ok());
                assert!(named || params[0].as_f64().or(text) == Some(difficulty), "{line}");
            }
            Request::Response => assert_eq!(json.get("method"), None),
            Request::Unknown { method } => assert_eq!(json["method"], decoded(method)),
            _ => {}
        }
    }

    /// Compares our reading of a pool's line with serde_json's.
    fn check_pool(message: ServerLine<'_>, line: &str) {
        let json: Value = serde_json::from_str(line).unwrap();
        let params = &json["params"];
        match message {
            ServerLine::Response(response) => {
                check_id(response.id.as_raw(), &json, line);
                check_response(&response, &json);
            }
            ServerLine::Notify(notify) => {
                let text = |digits: &[u8]| Value::from(str::from_utf8(digits).unwrap());
                assert_eq!(params[0], decoded(notify.job_id));
                assert_eq!(params[1], text(notify.prev_hash));
                assert_eq!(params[2], text(notify.coinb1));
                assert_eq!(params[3], text(notify.coinb2));
                assert_eq!(params[4], notify.branches.iter().map(text).collect::<Value>());
                assert_eq!(notify.branches.len(), params[4].as_array().unwrap().len());
                let words = [notify.version, notify.nbits, notify.ntime];
                for (at, word) in words.into_iter().enumerate() {
                    assert_eq!(
                        params[5 + at].as_str().unwrap().to_lowercase(),
                        format!("{word:08x}")
                    );
                }
                assert_eq!(*params.as_array().unwrap().last().unwrap(), notify.clean_jobs);
            }
            ServerLine::SetDifficulty(difficulty) => {
                // serde_json reads floats to the last digit but one.
                let ratio = params[0].as_f64().unwrap() / difficulty;
                assert!((ratio - 1.0).abs() < 1e-15, "{line}");
            }
            ServerLine::SetExtranonce { extranonce1, extranonce2_size } => {
                assert_eq!(params[0], decoded(extranonce1));
                assert_eq!(params[1], extranonce2_size);
            }
            ServerLine::SetVersionMask(mask) => assert_eq!(params[0], format!("{mask:08x}")),
            ServerLine::ShowMessage(text) => assert_eq!(params[0], decoded(text)),
            ServerLine::GetVersion { id } | ServerLine::Ping { id } => {
                check_id(id.as_raw(), &json, line);
            }
            ServerLine::Unknown { method, .. } => assert_eq!(json["method"], decoded(method)),
            _ => {}
        }
    }

    fn check_response(response: &Response<'_>, json: &Value) {
        let is_yes = !matches!(json["result"], Value::Null | Value::Bool(false));
        let is_error = !matches!(json["error"], Value::Null | Value::Bool(false));
        match response.outcome() {
            Outcome::Accepted => assert!(is_yes && !is_error, "{json}"),
            Outcome::Refused(refusal) => {
                assert!(!is_yes || is_error, "{json}");
                let error = &json["error"];
                let code = error[0].as_i64().or(error["code"].as_i64()).unwrap_or(0);
                assert_eq!(refusal.code.unwrap_or(0), code, "{json}");
                let texts = [&error[1], &error["message"], error, &json["reject-reason"]];
                let text = texts.into_iter().find_map(Value::as_str).unwrap_or_default();
                assert_eq!(decoded(refusal.reason), text, "{json}");
            }
        }
        if let Some(result) = json["result"].as_array() {
            match response.subscribe() {
                Ok(subscription) => {
                    let from_end = |count: usize| &result[result.len() - count];
                    assert_eq!(*from_end(2), decoded(subscription.extranonce1));
                    assert!(hex::check(subscription.extranonce1.as_bytes()).is_ok());
                    assert_eq!(*from_end(1), subscription.extranonce2_size);
                }
                Err(error) => assert_eq!(result.len(), 2, "{json}: {error}"),
            }
        }
        if let Some(granted) = json["result"].get("version-rolling") {
            let configured = response.configure().unwrap();
            assert_eq!(configured.version_rolling, *granted == true);
            let mask = json["result"]["version-rolling.mask"].as_str();
            assert_eq!(configured.mask.map(|mask| format!("{mask:08x}")).as_deref(), mask);
        }
    }

    /// Checks that an id has exactly the bytes of the line.
    fn check_id(id: &[u8], json: &Value, line: &str) {
        let id = str::from_utf8(id).unwrap();
        assert_eq!(json["id"], serde_json::from_str::<Value>(id).unwrap());
        assert!(json.get("id").is_none() || line.contains(id));
    }

    fn decoded(text: Text<'_>) -> String {
        text.chars().collect()
    }

    fn storage(from: Side) -> Vec<u8> {
        match from {
            Side::Miner => vec![0; DOWNSTREAM_LINE_BYTES_MAX],
            Side::Pool => vec![0; UPSTREAM_LINE_BYTES_MAX],
        }
    }

    /// Frames pieces and returns the lines.
    fn framed(rest: &mut [u8], pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut framer = Framer::default();
        let mut lines = vec![];
        for piece in pieces {
            let mut input = *piece;
            while let Some(line) = framer.next_line(rest, &mut input).unwrap() {
                lines.push(line.to_vec());
            }
        }
        assert!(!framer.is_partial());
        lines
    }

    /// F01. The parsers see only the line, so equal lines have equal results.
    #[test]
    fn every_line_cut_at_every_byte_is_the_same_line() {
        for session in sessions() {
            for line in &session.lines {
                let mut rest = storage(line.from);
                let sent = [line.text.as_bytes(), b"\r\n"].concat();
                for at in 0..=sent.len() {
                    let (first, second) = sent.split_at(at);
                    let lines = framed(&mut rest, &[first, second]);
                    assert_eq!(lines, [line.text.as_bytes()], "cut at {at}");
                }
            }
        }
    }

    /// F01, F02. All bytes of one side, in one read, and one byte per read.
    #[test]
    fn every_session_in_one_read_or_a_thousand_is_the_same_lines() {
        for session in sessions() {
            for from in [Side::Miner, Side::Pool] {
                let lines = session.lines.iter().filter(|line| line.from == from);
                let expected: Vec<Vec<u8>> = lines.map(|line| line.text.clone().into()).collect();
                let stream: Vec<u8> =
                    expected.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect();
                assert_eq!(framed(&mut storage(from), &[&stream]), expected);
                let bytes: Vec<&[u8]> = stream.chunks(1).collect();
                assert_eq!(framed(&mut storage(from), &bytes), expected);
            }
        }
    }
}
