//! Guesses from three hundred addresses: F98. Secrets that they could learn: F99.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Client, Reply, Site, code_of};
use crate::gateway::PATIENCE;
use crate::places::connect_from;

const WORD: &str = "a password of the admin";
const VIEWERS: &str = "a viewers password";
const SECRET: &str = "the word of the account";

/// Sends a request from an address.
fn ask(source: [u8; 4], to: SocketAddr, path: &str, cookie: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let mut stream: TcpStream = connect_from(source, to).expect("it is loopback");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncookie: {cookie}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let _ = stream.write_all(request.as_bytes());
    Reply::read(stream)
}

fn log_in(source: [u8; 4], to: SocketAddr, cookie: &str, word: &str) -> Reply {
    ask(source, to, "/api/v1/session", cookie, &json!({"role": "admin", "password": word}))
}

/// Returns the cookie that identifies a browser from now on.
fn device(reply: &Reply) -> Option<String> {
    let mut set = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    let device = set.rfind(|(_, value)| value.starts_with("loka_device="));
    let value = &device?.1;
    for part in ["; HttpOnly", "; SameSite=Strict", "; Max-Age="] {
        assert!(value.contains(part), "{value}");
    }
    Some(value.split(';').next()?.to_owned())
}

#[test]
fn f98_three_hundred_addresses_that_guess_change_no_code_and_lock_nobody_out() {
    let site = Site::start();
    let status = site.gateway.status.unwrap();
    let code = code_of(&site.gateway);
    let guessers: Vec<[u8; 4]> =
        (0..300_u16).map(|n| [127, 1, (n / 250) as u8, 1 + (n % 250) as u8]).collect();
    for source in &guessers {
        for guess in 0..4 {
            let guess = json!({"code": format!("0000 000{guess}")});
            let reply = ask(*source, status, "/api/v1/session", "", &guess);
            assert!([401, 429].contains(&reply.code), "{}", reply.raw);
        }
    }
    let mut admin = Client::with_code(&site);
    assert_eq!(code_of(&site.gateway), code, "the code is the one that was printed");
    for (role, word) in [("admin", WORD), ("viewer", VIEWERS)] {
        assert_eq!(admin.post("/api/v1/password", json!({"role": role, "word": word})).code, 200);
    }

    // A new client waits at most some seconds, and is known from then on.
    let (begun, at) = (Instant::now(), [127, 0, 0, 5]);
    let known = loop {
        let reply = log_in(at, status, "", WORD);
        if reply.code == 200 {
            break device(&reply).expect("the browser is known from now on");
        }
        assert_eq!(reply.code, 429, "{}", reply.raw);
        assert!(begun.elapsed() < PATIENCE, "a newcomer is locked out");
    };
    // Despite guesses from the same address, the known browser gets in, and so does this machine.
    let mut tries = 0;
    while log_in(at, status, "", "a wrong password").code != 429 {
        tries += 1;
        assert!(tries < 20, "nobody is slowed");
    }
    assert_eq!(log_in(at, status, "", WORD).code, 429);
    let again = log_in(at, status, &known, WORD);
    assert_eq!((again.code, device(&again)), (200, None), "{}", again.raw);
    assert_eq!(log_in([127, 0, 0, 1], status, "", WORD).code, 200);
    // The admin's device cookie is useless for another role.
    let other = json!({"role": "viewer", "password": "a wrong password"});
    while ask(at, status, "/api/v1/session", &known, &other).code != 429 {
        assert!(begun.elapsed() < PATIENCE, "guesses at another role are not slowed");
    }
}

#[test]
fn f99_no_role_finds_the_set_up_code_in_what_is_kept() {
    let site = Site::start();
    let code = code_of(&site.gateway);
    let mut admin = Client::with_code(&site);
    for (role, word) in [("viewer", VIEWERS), ("operator", "an operators password")] {
        assert_eq!(admin.post("/api/v1/password", json!({"role": role, "word": word})).code, 200);
    }
    let viewer = Client::logged_in(&site, "viewer", VIEWERS);
    let operator = Client::logged_in(&site, "operator", "an operators password");
    // Admin has no password yet, so the code is still good.
    for client in [&viewer, &operator, &admin] {
        for path in crate::client::PATHS.iter().chain(&["/api/v1/frames", "/api/v1/backup"]) {
            let reply = client.get(path);
            for part in [code.as_str(), &code.replace(' ', "")] {
                assert!(!reply.raw.contains(part), "{path}: {}", reply.raw);
            }
        }
    }
    assert_eq!(Client::new(&site).post("/api/v1/session", json!({ "code": code })).code, 200);
}

#[test]
fn f99_an_operator_cannot_lead_a_password_to_a_host_of_his_own() {
    let site = Site::with(&[("LOKA_POOL__1__PASSWORD", SECRET)]);
    let mut admin = Client::with_code(&site);
    let word = json!({"role": "operator", "word": "an operators password"});
    assert_eq!(admin.post("/api/v1/password", word).code, 200);
    let mut operator = Client::logged_in(&site, "operator", "an operators password");
    // The operator's own host, which would record the password.
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    own.set_nonblocking(true).unwrap();
    let url = format!("stratum+tcp://localhost:{}", own.local_addr().unwrap().port());
    let edits = json!([{"key": "pool.1.url", "value": url}]);
    let checked = operator.post("/api/v1/check", json!({ "edits": edits }));
    assert_eq!(checked.body["problems"][0]["key"], "pool.1.password", "{}", checked.body);
    let refused = operator.post("/api/v1/commit", json!({ "edits": edits }));
    assert_eq!(refused.code, 400, "{}", refused.body);
    let text = refused.body["problems"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("was given for 127.0.0.1"), "{text}");
    for pool in ["pool.1", url.as_str()] {
        let refused = operator.post("/api/v1/test", json!({ "pool": pool, "edits": edits }));
        assert_eq!(refused.code, 400, "{}", refused.body);
    }
    assert_eq!(own.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
    assert_eq!(operator.value("pool.1.url"), format!("stratum+tcp://{}", site.pool.address));
}
