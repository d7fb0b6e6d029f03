//! Broken, unconfirmed and impossible settings, through the process and its API.
#![cfg(feature = "gateway")]

#[path = "web/client.rs"]
mod client;
mod clock;
mod gateway;
mod skips;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use client::{Client, Site};
use clock::Clock;
use gateway::{Folder, Pool, program, program_with_state};
use serde_json::{Value, json};

fn edit(key: &str, value: &str) -> Value {
    json!({"edits": [{"key": key, "value": value}]})
}

#[track_caller]
fn commit(admin: &mut Client, key: &str, value: &str) -> Value {
    let committed = admin.post("/api/v1/commit", edit(key, value));
    assert_eq!(committed.code, 200, "{}", committed.body);
    committed.body
}

/// Restarts the gateway with a settings file of this text.
fn start_with(site: &mut Site, text: &str) {
    fs::write(site.folder.0.join("settings.toml"), text).unwrap();
    site.restart();
}

#[test]
fn f77_a_file_that_is_broken_leaves_the_last_commit_to_mine_with() {
    let mut site = Site::start();
    let file = site.folder.0.join("settings.toml");
    let good = fs::read_to_string(&file).unwrap();
    let mut admin = Client::with_code(&site);
    commit(&mut admin, "difficulty.start", "1024");
    let other = Pool::start("beef", 8);
    commit(&mut admin, "pool.1.url", &format!("stratum+tcp://{}", other.address));
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200);

    let wrong_value = good.replace("[status]", "[miners]\nmax = 0\nmxa = 1\n[status]");
    let half = format!("{good}[[pool]]\nurl = \"stratum+tc");
    for text in [&wrong_value, &half] {
        start_with(&mut site, text);
        site.gateway.wait_for_line("settings.toml:");
        site.gateway.wait_for_line("the settings file cannot be used");
        let report = site.gateway.wait_for("the pool", |report| report["ready"] == true);
        assert_eq!(report["upstream"][0]["url"], format!("stratum+tcp://{}", other.address));
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("the settings file cannot be used"), "{warnings}");
        let mut miner = site.gateway.miner();
        miner.log_in("farm.1");
        let job = miner.wait_for_job();
        assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
        let admin = Client::with_code(&site);
        let shown = admin.get("/api/v1/settings?prefix=difficulty.start").body;
        assert_eq!(shown["values"][0]["value"], "1024");
        assert_eq!(shown["values"][0]["origin"], "stored");
    }
    let check = program().arg("check").arg("--config").arg(&file).output().unwrap();
    assert_eq!(check.status.code(), Some(2), "a check is about the file");

    // A commit made now survives a restart; the file applies again once it is corrected.
    let mut admin = Client::with_code(&site);
    commit(&mut admin, "difficulty.start", "2048");
    site.restart();
    let admin = Client::with_code(&site);
    assert_eq!(admin.value("difficulty.start"), "2048");
    fs::write(&file, format!("{good}[difficulty]\nstart = 4096\n")).unwrap();
    site.gateway.wait_for_line("it counts, since it was edited last");
    assert_eq!(admin.value("difficulty.start"), "4096");
    let report = site.gateway.report();
    assert!(!report["warnings"].to_string().contains("cannot be used"), "{report}");
}

#[test]
fn f77_a_broken_file_and_nothing_committed_is_an_error_that_lists_it_all() {
    let folder = Folder::new("nothing-committed");
    let file = folder.0.join("settings.toml");
    let state = folder.0.join("state");
    let text = format!("[state]\ndir = {state:?}\n[miners]\nmax = 0\n[[pool]]\nurl = \"x\"\n");
    fs::write(&file, text).unwrap();
    let output = program_with_state().arg("run").arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in [
        ":4: Miners, Max (miners.max): got 0, allowed 1..",
        ":6: Pool 1, URL (pool.1.url): got \"x\", allowed",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// OpenWrt's init script hands uci's options on so: the page must not say that another is in use.
#[test]
fn f77_a_key_that_the_environment_sets_is_refused_by_every_door_with_the_way_out() {
    let site = Site::with(&[("LOKA_POOL__1__USER", "of.uci")]);
    let mut admin = Client::with_code(&site);
    let said = "Pool 1, User (pool.1.user) is set by the environment variable LOKA_POOL__1__USER, \
                which wins over what is committed; change or remove it where the gateway is \
                started (its service file, uci on OpenWrt), and start it again";
    let problems = json!([{"key": "pool.1.user", "text": said}]);
    let checked = admin.post("/api/v1/check", edit("pool.1.user", "other"));
    assert_eq!((checked.code, &checked.body["problems"]), (200, &problems), "{}", checked.body);
    let committed = admin.post("/api/v1/commit", edit("pool.1.user", "other"));
    assert_eq!((committed.code, &committed.body["problems"]), (400, &problems));
    let mut trial = edit("pool.1.user", "other");
    trial["pool"] = json!("pool.1");
    let tried = admin.post("/api/v1/test", trial);
    assert_eq!((tried.code, &tried.body["problems"]), (400, &problems));
    let url = format!("http://{}", site.gateway.status.unwrap());
    let code = client::code_of(&site.gateway);
    let mut ctl = program();
    ctl.args(["ctl", "--http", &url, "--code", &code, "--commit", "set", "pool.1.user", "other"]);
    let output = ctl.output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(said), "{error}");
    assert_eq!(admin.value("pool.1.user"), "of.uci");
    // Others beside it, and the value in use, are taken.
    let both = json!({"edits": [
        {"key": "pool.1.user", "value": "of.uci"},
        {"key": "difficulty.start", "value": "2048"},
    ]});
    assert_eq!(admin.post("/api/v1/commit", both).code, 200);
    assert_eq!(admin.value("difficulty.start"), "2048");
}

#[test]
fn f78_nobody_confirms_and_the_process_takes_it_back() {
    let folder = Folder::new("passing-time");
    let Some(clock) = Clock::new(&folder.0) else {
        return skips::skipped("no C compiler, or a program that loads no libraries");
    };
    let environment = clock.environment().map(|(name, path)| (name, path.to_str().unwrap()));
    let site = Site::with(&environment);
    let mut admin = Client::with_code(&site);
    let before = admin.value("pool.1.url");
    let other = Pool::start("beef", 8);
    let body = commit(&mut admin, "pool.1.url", &format!("stratum+tcp://{}", other.address));
    let left = body["seconds_left"].as_u64().unwrap();
    assert!((119..=120).contains(&left), "{body}");
    let in_use = |url: &str| {
        let url = json!(url);
        site.gateway.wait_for("the pool", |r| r["upstream"][0]["url"] == url && r["ready"] == true);
    };
    in_use(&format!("stratum+tcp://{}", other.address));

    // Ninety seconds later it still waits, and shows the remaining time.
    clock.pass(Duration::from_secs(90));
    let left = admin.get("/api/v1/session").body["seconds_left"].as_u64().unwrap();
    assert!(left <= 30, "{left}");
    assert_ne!(admin.value("pool.1.url"), before);
    clock.pass(Duration::from_secs(31));
    in_use(before.trim_end_matches('/'));
    assert_eq!(admin.value("pool.1.url"), before);
    assert!(admin.get("/api/v1/session").body["seconds_left"].is_null());
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 409, "nothing waits");
    let audit = admin.get("/api/v1/audit").body["lines"].to_string();
    assert!(audit.contains("gateway: the last commit was not confirmed in time"), "{audit}");
    let log = site.end();
    assert!(log.contains("nobody confirmed the last commit"), "{log}");
}

#[test]
fn f78_a_port_that_is_taken_leaves_everything_as_it_was_at_once() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    let mut miner = site.gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let before = admin.get("/api/v1/settings").body["values"].clone();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen.addresses", "status.address", "web.address"] {
        let both = json!({"edits": [
            {"key": key, "value": address},
            {"key": "difficulty.start", "value": "2048"},
        ]});
        let refused = admin.post("/api/v1/commit", both);
        assert_eq!(refused.code, 500, "{key}: {}", refused.body);
        assert!(refused.body["error"].to_string().contains(&address), "{}", refused.body);
        assert_eq!(admin.get("/api/v1/settings").body["values"], before, "{key}: as a whole");
        assert!(admin.get("/api/v1/session").body["seconds_left"].is_null(), "{key}");
    }
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true, "who is in stays in");
    site.gateway.miner().log_in("farm.2");
}

#[test]
fn a_port_is_moved_from_this_machine_to_all_addresses_in_one_commit() {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    let mut miner = site.gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    for (key, open) in [
        ("listen.addresses", site.gateway.listen[0]),
        ("status.address", site.gateway.status.unwrap()),
    ] {
        commit(&mut admin, key, &format!("0.0.0.0:{}", open.port()));
        assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200, "{key}");
    }
    assert_eq!(site.gateway.report()["ready"], true);
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true, "who is in stays in");
    site.gateway.miner().log_in("farm.2");
}
