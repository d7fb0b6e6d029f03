//! The page's API from the network: logins, rights of the roles, and protection against other pages
//! in the user's browser (F74 to F76, F79, F87).
#![cfg(feature = "gateway")]

#[path = "web/client.rs"]
mod client;
#[path = "web/described.rs"]
mod described;
mod gateway;
#[path = "web/state.rs"]
mod state;

use client::{Client, Site, code_of};
use described::Description;
use gateway::Pool;
use serde_json::{Value, json};

const WORD: &str = "a password of the admin";

#[test]
fn the_code_sets_the_password_and_a_pool_is_changed_confirmed_and_rolled_back() {
    let site = Site::start();
    let mut admin = Client::new(&site);
    let before = admin.get("/api/v1/session");
    assert_eq!((before.code, &before.body["first_run"]), (200, &json!(true)));
    assert!(before.body["role"].is_null() && before.body["csrf"].is_null());
    let wrong = admin.post("/api/v1/session", json!({"code": "0000 0000"}));
    assert_eq!(wrong.code, 401, "{}", wrong.body);
    let opened = admin.post("/api/v1/session", json!({"code": code_of(&site.gateway)}));
    assert_eq!((opened.code, &opened.body["role"]), (200, &json!("admin")));
    let set = admin.post("/api/v1/password", json!({"role": "admin", "word": WORD}));
    assert_eq!((set.code, &set.body["first_run"]), (200, &json!(false)), "{}", set.body);
    let again = Client::new(&site).post("/api/v1/session", json!({"code": "12345678"}));
    assert_eq!(again.code, 403, "the code is over: {}", again.body);

    // The password survives a restart, and no code exists any more.
    let mut site = site;
    site.restart();
    assert!(!site.gateway.log.iter().any(|line| line.contains("set-up code")));
    let mut admin = Client::logged_in(&site, "admin", WORD);
    let other = Pool::start("beef", 8);
    let url = format!("stratum+tcp://{}", other.address);
    let edits = json!({"edits": [{"key": "pool.1.url", "value": url}]});
    let problem =
        json!({"edits": [{"key": "pool.1.url", "value": "ftp://x"}, {"key": "x", "value": "1"}]});
    let checked = admin.post("/api/v1/check", problem.clone());
    assert_eq!(checked.body["problems"].as_array().map(Vec::len), Some(2), "{}", checked.body);
    let refused = admin.post("/api/v1/commit", problem);
    assert_eq!((refused.code, refused.body["problems"].as_array().map(Vec::len)), (400, Some(2)));
    let checked = admin.post("/api/v1/check", edits.clone());
    assert_eq!(checked.body["changes"][0]["to"], json!(url), "{}", checked.body);
    assert_eq!(checked.body["changes"][0]["applies"], "provisional");
    assert_eq!(admin.value("pool.1.url"), format!("stratum+tcp://{}", site.pool.address));

    let committed = admin.post("/api/v1/commit", edits.clone());
    assert_eq!(committed.code, 200, "{}", committed.body);
    assert!(committed.body["seconds_left"].as_u64() > Some(60), "{}", committed.body);
    assert_eq!(admin.value("pool.1.url"), url);
    assert!(admin.get("/api/v1/session").body["seconds_left"].is_u64());
    assert_eq!(admin.post("/api/v1/commit", edits.clone()).code, 409, "one waits");
    assert_eq!(admin.post("/api/v1/rollback", json!({})).code, 200);
    assert_eq!(admin.value("pool.1.url"), format!("stratum+tcp://{}", site.pool.address));
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 409, "nothing waits");

    assert_eq!(admin.post("/api/v1/commit", edits).code, 200);
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200);
    assert_eq!(admin.value("pool.1.url"), url);
    assert!(admin.get("/api/v1/session").body["seconds_left"].is_null());
    site.gateway.wait_for("the new pool", |report| {
        report["upstream"][0]["url"] == json!(url) && report["ready"] == true
    });
}

#[test]
fn each_role_may_do_its_part_and_no_more() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    for (role, word) in
        [("admin", WORD), ("operator", "operators word"), ("viewer", "viewers word")]
    {
        let set = admin.post("/api/v1/password", json!({"role": role, "word": word}));
        assert_eq!(set.code, 200, "{}", set.body);
    }
    let mut operator = Client::logged_in(&site, "operator", "operators word");
    let mut viewer = Client::logged_in(&site, "viewer", "viewers word");
    let set = |key: &str, value: &str| json!({"edits": [{"key": key, "value": value}]});
    let nobody = Client::new(&site);
    for path in ["/api/v1/settings", "/api/v1/fields", "/api/v1/miners", "/api/v1/audit"] {
        assert_eq!(nobody.get(path).code, 401, "{path}");
    }
    for path in ["/api/v1/settings", "/api/v1/fields"] {
        assert_eq!(viewer.get(path).code, 200, "{path}");
    }
    assert_eq!(viewer.get("/api/v1/audit").code, 403);
    assert_eq!(viewer.post("/api/v1/check", set("difficulty.start", "1024")).code, 403);
    assert_eq!(viewer.post("/api/v1/commit", set("difficulty.start", "1024")).code, 403);
    assert_eq!(operator.post("/api/v1/commit", set("difficulty.start", "1024")).code, 200);
    assert_eq!(operator.post("/api/v1/commit", set("web.address", "127.0.0.1:0")).code, 403);
    let password = json!({"role": "admin", "word": "another password"});
    assert_eq!(operator.post("/api/v1/password", password).code, 403);
    assert_eq!(admin.value("difficulty.start"), "1024");

    // A new password ends the sessions of its role; an empty one takes the account away.
    let again = json!({"role": "viewer", "word": "another viewers word"});
    assert_eq!(admin.post("/api/v1/password", again).code, 200);
    assert_eq!(viewer.get("/api/v1/settings").code, 401);
    assert_eq!(admin.post("/api/v1/password", json!({"role": "viewer", "word": ""})).code, 200);
    assert_eq!(viewer.log_in("viewer", "another viewers word").code, 401);
    for word in ["", "short", &"x".repeat(129)] {
        assert_eq!(
            admin.post("/api/v1/password", json!({"role": "admin", "word": word})).code,
            400
        );
    }
    assert_eq!(operator.delete("/api/v1/session").code, 200);
    assert_eq!(operator.get("/api/v1/settings").code, 401);
}

#[test]
fn f76_who_is_logged_in_is_seen_and_another_is_put_out() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    for (role, word) in [("admin", WORD), ("viewer", "viewers word")] {
        assert_eq!(admin.post("/api/v1/password", json!({"role": role, "word": word})).code, 200);
    }
    let viewer = Client::logged_in(&site, "viewer", "viewers word");
    assert_eq!(viewer.get("/api/v1/sessions").code, 403);
    let listed = admin.get("/api/v1/sessions");
    let sessions = listed.body["sessions"].as_array().expect("a list");
    let of_role = |role: &str| {
        let found = sessions.iter().find(|session| session["role"] == role);
        found.unwrap_or_else(|| panic!("{}", listed.body))
    };
    assert_eq!((sessions.len(), &of_role("admin")["own"]), (2, &json!(true)));
    let other = of_role("viewer");
    assert_eq!((&other["from"], &other["own"]), (&json!("127.0.0.1"), &json!(false)));
    assert!(other["left_secs"].as_u64() > Some(60), "{other}");
    assert!(!listed.raw.contains(viewer.cookie.trim_start_matches("loka_session=")));

    let path = format!("/api/v1/sessions/{}", other["id"]);
    assert_eq!(viewer.delete(&path).code, 403, "not by a viewer");
    assert_eq!(viewer.get("/api/v1/settings").code, 200);
    assert_eq!(admin.delete(&path).code, 200);
    assert_eq!(viewer.get("/api/v1/settings").code, 401);
    for path in [&path, "/api/v1/sessions/x", "/api/v1/sessions/4294967296"] {
        assert_eq!(admin.delete(path).code, 404, "{path}");
    }
    let audit = admin.get("/api/v1/audit").body["lines"].to_string();
    assert!(audit.contains("end the session of viewer from 127.0.0.1: done"), "{audit}");
}

#[test]
fn f16_a_worker_is_let_in_by_its_password_as_the_api_has_it() {
    let mut site = Site::start();
    let mut admin = Client::with_code(&site);
    assert_eq!(admin.get("/api/v1/admitted").body["workers"], json!([]));
    let mode = json!({"edits": [{"key": "admit.mode", "value": "list"}]});
    let committed = admin.post("/api/v1/commit", mode);
    assert_eq!(committed.code, 200, "{}", committed.body);
    if committed.body["seconds_left"].is_u64() {
        assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200);
    }
    let admit = |worker: &str, word: &str| json!({"worker": worker, "word": word});
    assert_eq!(admin.post("/api/v1/admit", admit("farm.*", "of the farm")).code, 200);
    for (worker, word) in [("with a space", "x"), ("farm.1", &"x".repeat(500)), ("", "x")] {
        let refused = admin.post("/api/v1/admit", admit(worker, word));
        assert_eq!(refused.code, 400, "{}", refused.body);
    }
    assert_eq!(admin.post("/api/v1/admit", admit("other", "")).code, 409, "it is not there");
    assert_eq!(admin.get("/api/v1/admitted").body["workers"], json!(["farm.*"]));

    let authorize = |site: &Site, worker: &str, word: &str| {
        let mut miner = site.gateway.miner();
        miner.ask("mining.subscribe", json!(["test/1"]));
        miner.ask("mining.authorize", json!([worker, word]))
    };
    for _ in 0..2 {
        assert_eq!(authorize(&site, "farm.1", "of the farm")["result"], true);
        assert_eq!(authorize(&site, "farm.1", "of another")["error"][0], 24);
        assert_eq!(authorize(&site, "thief.1", "of the farm")["error"][0], 24);
        // The list and the policy survive a restart.
        site.restart();
        site.gateway.wait_for("the pool", |report| report["ready"] == true);
    }
    let mut admin = Client::with_code(&site);
    assert_eq!(admin.post("/api/v1/admit", admit("farm.*", "")).code, 200);
    assert_eq!(admin.get("/api/v1/admitted").body["workers"], json!([]));
    assert_eq!(authorize(&site, "farm.1", "of the farm")["error"][0], 24);
    // A reset forgets the list, also on disk.
    assert_eq!(admin.post("/api/v1/admit", admit("farm.*", "of the farm")).code, 200);
    assert_eq!(admin.post("/api/v1/reset", json!({"sure": "reset"})).code, 200);
    let left = std::fs::read_dir(site.folder.0.join("state")).unwrap();
    let names: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
    let is_list = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("admitted");
    assert_eq!(names.iter().find(is_list), None, "{names:?}");
}

#[test]
fn f68_looking_at_a_candidate_leaves_the_audit_log_alone_and_files_are_ours_alone() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    assert_eq!(admin.post("/api/v1/password", json!({"role": "operator", "word": WORD})).code, 200);
    let mut operator = Client::logged_in(&site, "operator", WORD);
    let audit = || admin.get("/api/v1/audit?count=500").body["lines"].clone();
    let before = audit();
    let edit = |key: &str, value: &str| json!({"edits": [{"key": key, "value": value}]});
    for number in 1024..1124 {
        let edit = edit("difficulty.start", &number.to_string());
        assert_eq!(operator.post("/api/v1/check", edit).code, 200);
    }
    assert_eq!(operator.post("/api/v1/check", edit("difficulty.start", "x")).code, 200);
    assert_eq!(audit(), before, "nothing was changed");
    // The audit log records requests beyond a role, and changes with their values.
    assert_eq!(operator.post("/api/v1/check", edit("web.address", "off")).code, 403);
    assert_eq!(operator.post("/api/v1/commit", edit("difficulty.start", "2048")).code, 200);
    let after = audit();
    let count = before.as_array().unwrap().len();
    let new = after.as_array().unwrap().iter().skip(count);
    let new: Vec<_> = new.filter_map(Value::as_str).collect();
    let ends = [
        "operator 127.0.0.1: set web.address: this takes the role admin",
        "operator 127.0.0.1: set difficulty.start 2048: done",
        "operator 127.0.0.1: commit difficulty.start: done",
    ];
    assert_eq!(new.len(), ends.len(), "{new:?}");
    for (line, end) in new.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }

    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
    };
    let state = site.folder.0.join("state");
    assert_eq!(mode(&state), 0o700);
    let files: Vec<_> = std::fs::read_dir(&state).unwrap().map(|file| file.unwrap()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
    }
}

#[test]
fn f76_guessing_gets_slow_and_ends_and_miners_are_served() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    assert_eq!(admin.post("/api/v1/password", json!({"role": "admin", "word": WORD})).code, 200);
    let mut guesser = Client::new(&site);
    let codes: Vec<u16> =
        (0..40).map(|n| guesser.log_in("admin", &format!("guess {n:04}")).code).collect();
    assert_eq!(codes[..3], [401, 401, 401], "a few are free");
    let tried = codes.iter().filter(|code| **code == 401).count();
    assert!((4..=10).contains(&tried), "{codes:?}");
    assert!(codes.iter().all(|code| [401, 429].contains(code)), "{codes:?}");
    // The right password is refused too during the wait; the answer gives the remaining time.
    let late = guesser.log_in("admin", WORD);
    assert_eq!(late.code, 429);
    assert!(late.header("retry-after").is_some_and(|secs| secs.parse::<u32>().is_ok()), "{late:?}");
    // Logged-in users and miners stay connected.
    assert_eq!(admin.get("/api/v1/settings").code, 200);
    let mut miner = site.gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
}

#[test]
fn f75_no_other_page_can_change_anything() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let address = site.gateway.status.unwrap();
    let ours = format!("http://{address}");
    let body = r#"{"edits":[{"key":"difficulty.start","value":"2048"}]}"#;
    let with = |changes: &[(&str, Option<&str>)]| {
        let host = address.to_string();
        let mut headers = vec![
            ("host", host.as_str()),
            ("cookie", &admin.cookie),
            ("x-loka-csrf", &admin.csrf),
            ("content-type", "application/json"),
            ("origin", &ours),
            ("sec-fetch-site", "same-origin"),
        ];
        for (name, value) in changes {
            headers.retain(|(known, _)| known != name);
            headers.extend(value.map(|value| (*name, value)));
        }
        client::raw(address, "POST", "/api/v1/commit", &headers, body)
    };
    for (code, changes) in [
        (403, &[("host", Some("evil.example"))][..]),
        (403, &[("host", Some("evil.example:8080")), ("origin", Some("http://evil.example:8080"))]),
        (403, &[("host", None)]),
        (403, &[("origin", Some("http://evil.example"))]),
        (403, &[("origin", Some("null"))]),
        (403, &[("sec-fetch-site", Some("cross-site"))]),
        (403, &[("sec-fetch-site", Some("same-site"))]),
        (403, &[("x-loka-csrf", None)]),
        (403, &[("x-loka-csrf", Some(&"0".repeat(64)))]),
        (401, &[("cookie", None)]),
        (401, &[("cookie", Some(&format!("loka_session={}", "0".repeat(64))))]),
        (415, &[("content-type", None)]),
        (415, &[("content-type", Some("text/plain"))]),
        (415, &[("content-type", Some("application/x-www-form-urlencoded"))]),
        (415, &[("content-type", Some("multipart/form-data; boundary=x"))]),
    ] {
        let answer = with(changes);
        assert_eq!(answer.code, code, "{changes:?}: {}", answer.body);
        assert!(answer.body["error"].is_string(), "{}", answer.body);
    }
    assert_ne!(admin.value("difficulty.start"), "2048");
    let preflight = client::raw(
        address,
        "OPTIONS",
        "/api/v1/commit",
        &[
            ("host", &address.to_string()),
            ("origin", "http://evil.example"),
            ("access-control-request-method", "POST"),
        ],
        "",
    );
    assert_eq!(preflight.code, 403);
    let good = with(&[]);
    assert_eq!(good.code, 200, "{}", good.body);
    for answer in [preflight, good, admin.get("/api/v1/status"), admin.get("/api/v1/session")] {
        let cors = answer.headers.iter().find(|(name, _)| name.starts_with("access-control"));
        assert_eq!(cors, None);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"));
        assert!(answer.header("content-security-policy").is_some_and(|p| p.contains("'none'")));
    }
    assert_eq!(admin.value("difficulty.start"), "2048");
}

#[test]
fn f75_no_other_page_can_send_the_basic_form() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let address = site.gateway.status.unwrap();
    let (host, ours) = (address.to_string(), format!("http://{address}"));
    let form = "application/x-www-form-urlencoded";
    let send = |origin: &str, kind: &str, csrf: &str| {
        let headers = [
            ("host", host.as_str()),
            ("cookie", &admin.cookie),
            ("origin", origin),
            ("content-type", kind),
        ];
        client::raw(address, "POST", "/basic", &headers, &format!("do=confirm&csrf={csrf}")).code
    };
    assert_eq!(send(&ours, form, &admin.csrf), 409, "it is ours, and nothing waits");
    for (origin, kind, csrf, code) in [
        ("http://evil.example", form, admin.csrf.as_str(), 403),
        ("null", form, &admin.csrf, 403),
        (&ours, form, "", 403),
        (&ours, form, &"0".repeat(64), 403),
        (&ours, "text/plain", &admin.csrf, 415),
        (&ours, "multipart/form-data; boundary=x", &admin.csrf, 415),
    ] {
        assert_eq!(send(origin, kind, csrf), code, "{origin} {kind} {csrf}");
    }
    // Another page cannot log anybody in.
    let headers =
        [("host", host.as_str()), ("origin", "http://evil.example"), ("content-type", form)];
    let code = client::code_of(&site.gateway);
    let reply = client::raw(address, "POST", "/basic", &headers, &format!("code={code}"));
    assert_eq!((reply.code, reply.header("set-cookie")), (403, None));
}

#[test]
fn f87_no_secret_is_in_the_log_or_an_answer() {
    let site = Site::with(&[("LOKA_POOL__1__PASSWORD", "poolsecret")]);
    let mut admin = Client::with_code(&site);
    let mut secrets = vec!["poolsecret".to_owned(), WORD.to_owned(), "operators word".to_owned()];
    for (role, word) in [("admin", WORD), ("operator", "operators word")] {
        admin.post("/api/v1/password", json!({"role": role, "word": word}));
    }
    let mut seen = String::new();
    let mut note = |answer: client::Reply| seen += &answer.raw;
    // The answer does not repeat the wrong value.
    for body in [
        json!({"role": "admin", "word": {"x": "wrongsecret"}}),
        json!({"role": "wrongsecret", "word": "wrongsecret"}),
        json!({"wrongsecret": "wrongsecret"}),
    ] {
        note(admin.post("/api/v1/password", body));
    }
    let edits = |value: &str| json!({"edits": [{"key": "pool.1.password", "value": value}]});
    for path in ["/api/v1/check", "/api/v1/commit"] {
        note(admin.post(path, edits(&"wrongsecret".repeat(40))));
        note(admin.post(path, edits("othersecret")));
    }
    secrets.extend(["wrongsecret".to_owned(), "othersecret".to_owned()]);
    note(admin.post("/api/v1/rollback", json!({})));
    note(Client::new(&site).log_in("admin", "wrongsecret"));
    for path in client::PATHS {
        note(admin.get(path));
    }
    secrets.push(admin.cookie.trim_start_matches("loka_session=").to_owned());
    let log = site.end();
    for secret in &secrets {
        assert!(!seen.contains(secret), "{secret} was answered");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(log.contains("logged in"), "{log}");
}

#[test]
fn f74_ten_thousand_connections_are_taken_or_let_go_and_miners_are_served() {
    let site = Site::start();
    let address = site.gateway.status.unwrap();
    let mut miner = site.gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    for n in 0..10_000_u32 {
        let stream = std::net::TcpStream::connect(address).expect("the port is open");
        drop(stream);
        if n.is_multiple_of(1000) {
            let answer = miner.submit("farm.1", &job, n);
            assert_eq!(answer["result"], true, "{answer}");
        }
    }
    let client = Client::new(&site);
    client.wait_until_served();
    assert_eq!(client.get("/api/v1/session").code, 200);
}

#[test]
fn f74_a_request_has_its_place_length_and_time() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let address = site.gateway.status.unwrap();
    let host = address.to_string();
    let host = ("host", host.as_str());
    let long = "x".repeat(20_000);
    let session = [host, ("cookie", &admin.cookie), ("x-loka-csrf", &admin.csrf)];
    let json = ("content-type", "application/json");
    let all: Vec<_> = session.into_iter().chain([json]).collect();
    for (code, method, path, headers, body) in [
        (404, "GET", "/../../etc/passwd", &session[..], ""),
        (404, "GET", "/api/v1/%2e%2e/", &session, ""),
        (404, "POST", "/api/v2/commit", &all, "{}"),
        (405, "PUT", "/api/v1/commit", &all, "{}"),
        (405, "TRACE", "/", &session, ""),
        (413, "POST", "/api/v1/commit", &all, &long),
        (431, "GET", "/", &[host, ("x", &long)], ""),
        (400, "POST", "/api/v1/commit", &all, "{\"edits\":"),
        (400, "POST", "/api/v1/commit", &all, "[[[[[[[["),
        (400, "GET", "/api/v1/miners?skip=-1", &session, ""),
    ] {
        assert_eq!(client::raw(address, method, path, headers, body).code, code, "{method} {path}");
    }
    let allow = client::raw(address, "PUT", "/api/v1/commit", &all, "{}");
    assert_eq!(allow.header("allow"), Some("POST"));
    // A head that does not come, and a body that does not.
    assert_eq!(client::part(address, "GET / HTTP/1.1\r\nhost: 127").code, 408);
    let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let part = format!("POST /api/v1/commit HTTP/1.1\r\n{head}content-length: 100\r\n\r\n{{");
    assert_eq!(client::part(address, &part).code, 408);
}

/// Valid bodies for each operation, with replacements for bodies that would end the test.
fn body_for(path: &str, site: &Site) -> Value {
    let pool = format!("stratum+tcp://{}", site.pool.address);
    let change = json!([{"key": "difficulty.start", "value": "2048"}]);
    match path {
        "/api/v1/session" => json!({"code": code_of(&site.gateway)}),
        "/api/v1/check" | "/api/v1/commit" => json!({ "edits": change }),
        "/api/v1/test" => json!({ "pool": pool }),
        "/api/v1/password" => json!({"role": "viewer", "word": "a viewers word"}),
        "/api/v1/reset" => json!({"sure": "not at all"}),
        "/api/v1/admit" => json!({"worker": "farm.1", "word": "a miners word"}),
        "/api/v1/certificate" => json!({"pem": client::certificate("gw.farm.example").0}),
        _ => json!({}),
    }
}

#[test]
fn f06_miners_whose_names_look_the_same_are_listed_by_names_that_differ() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let names = ["acct.rig1", "acct.rig1\u{200b}", "acct.r\u{456}g1", "acct.rig1\u{202e}"];
    let miners: Vec<_> = names
        .iter()
        .map(|name| {
            let mut miner = site.gateway.miner();
            miner.log_in(name);
            miner
        })
        .collect();
    let listed = admin.get("/api/v1/miners").body["miners"].clone();
    let mut shown: Vec<_> =
        listed.as_array().unwrap().iter().map(|miner| miner["worker"].as_str().unwrap()).collect();
    shown.sort_unstable();
    assert_eq!(
        shown,
        ["acct.r\\u{456}g1", "acct.rig1", "acct.rig1\\u{200b}", "acct.rig1\\u{202e}"]
    );
    drop(miners);
}

/// Sends raw bytes.
fn bytes(address: std::net::SocketAddr, bytes: &[u8]) -> client::Reply {
    let mut stream = std::net::TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(gateway::PATIENCE)).expect("a timeout can be set");
    let _ = std::io::Write::write_all(&mut stream, bytes);
    client::Reply::read(stream)
}

#[test]
fn f75_every_wrong_head_body_and_query_is_answered_as_it_is_described() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let described = Description::read(admin.get("/api/v1/openapi.json").body);
    let address = site.gateway.status.unwrap();
    let (cookie, csrf) = (&admin.cookie, &admin.csrf);
    let long = "x".repeat(20_000);
    for operation in described.operations() {
        let (path, method) = (operation.path.replace("{id}", "0"), operation.method.as_str());
        let kind = operation.body_type().unwrap_or("application/json");
        let ask = |target: &str, more: &[u8], without: &str, body: &str| {
            let head: String = [
                format!("host: {address}\r\n"),
                format!("cookie: {cookie}\r\n"),
                format!("x-loka-csrf: {csrf}\r\n"),
                format!("content-type: {kind}\r\n"),
                format!("content-length: {}\r\n", body.len()),
            ]
            .into_iter()
            .filter(|line| without.is_empty() || !line.starts_with(without))
            .collect();
            let start = format!("{method} {target} HTTP/1.1\r\n{head}");
            let reply =
                bytes(address, &[start.as_bytes(), more, b"\r\n", body.as_bytes()].concat());
            let kind = reply.header("content-type").unwrap_or_default();
            described.check(&operation, reply.code, kind, &reply.body);
            reply.code
        };
        let is_file = path == "/api/v1/update";
        let changes = method != "GET";
        let is_open = path == "/healthz";
        let same = format!("host: {address}\r\n");
        for (code, more, without) in [
            (400, &b"host: evil.example\r\n"[..], ""),
            (400, same.as_bytes(), ""),
            (400, b"origin: http://\xff\r\n", ""),
            (400, b"host: \xff\r\n", "host"),
        ] {
            let got = ask(&path, more, without, "{}");
            assert_eq!(got, code, "{method} {path} {}", more.escape_ascii());
        }
        let got = ask(&format!("http://evil.example{path}"), b"", "", "{}");
        assert_eq!(got, 400, "{method} {path} of another host");
        for (text, more, without) in [
            ("no host", &b""[..], "host"),
            ("another host", b"host: evil.example\r\n", "host"),
            ("a host in other letters", "host: loka\u{200b}.local\r\n".as_bytes(), "host"),
        ] {
            let got = ask(&path, more, without, "{}");
            assert!(got == 403 || is_open, "{method} {path} {text}: {got}");
        }
        if changes {
            let got = ask(&path, "origin: http://ünïcode.example\r\n".as_bytes(), "", "{}");
            assert_eq!(got, 403, "{method} {path}");
            let is_log_in = (method, path.as_str()) == ("POST", "/api/v1/session");
            assert!(ask(&path, b"", "x-loka-csrf", "{}") == 403 || is_log_in, "{method} {path}");
        }
        if operation.body_type().is_some() {
            assert_eq!(ask(&path, b"content-type: text/plain\r\n", "content-type", "{}"), 415);
            assert_eq!(ask(&path, b"", "content-type", "{}"), 415);
            for body in ["", "null", "[]", "{", "\"\u{0}\"", "{\"x\":1}", "7"] {
                assert_eq!(
                    ask(&path, b"", "", body),
                    if is_file { 409 } else { 400 },
                    "{path} {body}"
                );
            }
        }
        if !is_file {
            assert_eq!(ask(&path, b"", "", &long), 413, "{method} {path}");
        }
        for name in operation.queries() {
            for value in ["-1", "x", "65536", "1e3", "%00", ""] {
                let got = ask(&format!("{path}?{name}={value}"), b"", "", "{}");
                assert!((200..500).contains(&got), "{path}?{name}={value}: {got}");
            }
        }
    }
}

#[test]
fn f75_another_method_is_answered_with_those_that_there_are() {
    let site = Site::start();
    let admin = Client::with_code(&site);
    let described = Description::read(admin.get("/api/v1/openapi.json").body);
    let address = site.gateway.status.unwrap();
    let host = address.to_string();
    let headers =
        [("host", host.as_str()), ("cookie", &admin.cookie), ("x-loka-csrf", &admin.csrf)];
    let operations: Vec<_> = described.operations().collect();
    for path in operations.iter().map(|operation| operation.path) {
        let of_path = operations.iter().filter(|operation| operation.path == path);
        let mut there: Vec<&str> = of_path.map(|operation| operation.method.as_str()).collect();
        if there.contains(&"GET") {
            there.push("HEAD");
        }
        let path = path.replace("{id}", "0");
        let others = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FROB"];
        for method in others.iter().filter(|method| !there.contains(method)) {
            let reply = client::raw(address, method, &path, &headers, "");
            assert_eq!(reply.code, 405, "{method} {path}: {}", reply.raw);
            let mut allowed: Vec<&str> =
                reply.header("allow").unwrap_or_default().split(", ").collect();
            let mut there = there.clone();
            allowed.sort_unstable();
            there.sort_unstable();
            assert_eq!(allowed, there, "{method} {path}");
        }
        if there.contains(&"HEAD") {
            let (get, head) = (
                client::raw(address, "GET", &path, &headers, ""),
                client::raw(address, "HEAD", &path, &headers, ""),
            );
            assert_eq!(head.code, get.code, "{path}");
            assert!(head.raw.ends_with("\r\n\r\n"), "{path}: {}", head.raw);
            assert_ne!(head.header("content-length"), Some("0"), "{path}");
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        }
    }
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    let document = admin.get("/api/v1/openapi.json").body;
    let described = Description::read(document);
    let address = site.gateway.status.unwrap();
    let host = address.to_string();
    let backup = admin.get("/api/v1/backup");
    assert_eq!(backup.code, 200);
    // Nothing that comes after it may end the session.
    let (log_out, others): (Vec<_>, Vec<_>) = described
        .operations()
        .partition(|o| (o.method.as_str(), o.path) == ("DELETE", "/api/v1/session"));
    let mut count = 0;
    for operation in others.iter().chain(&log_out) {
        let (path, method) = (&operation.path.replace("{id}", "0"), operation.method.as_str());
        let mut bodies = vec![body_for(path, &site).to_string(), "{\"x\":1}".to_owned()];
        bodies
            .extend((operation.body_type() == Some("application/octet-stream")).then(String::new));
        for body in &bodies {
            let kind = operation.body_type().unwrap_or("application/json");
            let mut headers = vec![("host", host.as_str()), ("content-type", kind)];
            let (cookie, csrf) = (admin.cookie.clone(), admin.csrf.clone());
            headers.extend([("cookie", cookie.as_str()), ("x-loka-csrf", &csrf)]);
            let reply = admin.keep(client::raw(address, method, path, &headers, body));
            let kind = reply.header("content-type").unwrap_or_default();
            described.check(operation, reply.code, kind, &reply.body);
            let stranger = client::raw(address, method, path, &headers[..2], body);
            let kind = stranger.header("content-type").unwrap_or_default();
            described.check(operation, stranger.code, kind, &stranger.body);
            assert_eq!(stranger.code == 401, operation.wants_a_role, "{method} {path}");
            count += 2;
        }
    }
    assert!(count > 90, "{count} answers");
}
