//! Keeping and losing settings: backup, restore, an unconfirmed commit, and the factory reset.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, code_of};
use super::driver::{Browser, LAPTOP, TELEPHONE};
use super::settings::{commit_user, open, user};
use super::site::{PASSWORD, Site};

/// The time of an unconfirmed commit, and a margin.
const CONFIRM_TIME: Duration = Duration::from_secs(121);

/// Changes the pool's user over the API.
#[track_caller]
fn set_user(admin: &mut Client, name: &str) {
    let edits = json!({"edits": [{"key": "pool.1.user", "value": name}]});
    assert_eq!(admin.post("/api/v1/commit", edits).code, 200);
    assert_eq!(admin.post("/api/v1/confirm", json!({})).code, 200);
}

#[test]
fn a_backup_is_saved_and_restored_and_the_restore_is_kept_or_taken_back() {
    let (site, _pool) = Site::set_up();
    let folder = site.folder.join("downloads");
    fs::create_dir(&folder).unwrap();
    let mut browser = Browser::start(LAPTOP);
    browser.download_to(&folder);
    open(&mut browser, &site, "backup");
    browser.click("#save");
    let file = browser.wait("the download", || {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        // Its name has the day: loka-backup-2026-11-28.
        names.into_iter().find(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.strip_prefix("loka-backup-").is_some_and(|day| day.len() == 10)
        })
    });
    let saved = fs::read(&file).unwrap();
    assert!(saved.windows(12).any(|bytes| bytes == b"farm.gateway"), "{} bytes", saved.len());
    let password = PASSWORD.as_bytes();
    assert!(!saved.windows(password.len()).any(|bytes| bytes == password), "a password is in it");

    let mut admin = site.admin();
    set_user(&mut admin, "farm.other");
    for (answer, left) in [("#back", "farm.other"), ("#keep", "farm.gateway")] {
        browser.choose("#file", &file);
        browser.click("#restore");
        browser.find("#waiting");
        let seconds: u64 = browser.text("#left").parse().expect("a number");
        assert!((1..=120).contains(&seconds), "{seconds}");
        assert_eq!(user(&site), "farm.gateway", "it is in use at once");
        browser.click(answer);
        browser.wait("no bar", || (!browser.sees("#waiting")).then_some(()));
        assert_eq!(user(&site), left, "{answer}");
    }

    // A file that is no backup is refused beside its field, and nothing changes.
    let other = folder.join("settings.toml");
    fs::write(&other, "[[pool]]\nurl = \"stratum+tcp://pool.example:3333\"\n").unwrap();
    browser.choose("#file", &other);
    browser.click("#restore");
    browser.wait_for_text("[role=alert]", "this is no backup of a gateway");
    assert!(!browser.sees("#waiting"));
    assert_eq!(user(&site), "farm.gateway");
}

#[test]
fn a_commit_that_nobody_answers_for_is_taken_back_when_its_time_is_over() {
    let Some((site, clock)) = Site::with_clock() else { return };
    let _pool = site.use_pool();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "pools");
    commit_user(&mut browser, "farm.unanswered");
    assert_eq!(user(&site), "farm.unanswered");
    clock.pass(CONFIRM_TIME);
    browser.wait_for_text("#said", "taken back");
    browser.wait("no bar", || (!browser.sees("#waiting")).then_some(()));
    assert_eq!(user(&site), "farm.gateway");
    browser.wait("the old value", || {
        let shown = browser.run("return document.getElementById('pool.1.user').value");
        (shown == "farm.gateway").then_some(())
    });
    let audit = site.admin().get("/api/v1/audit").body.to_string();
    assert!(audit.contains("the last commit was not confirmed in time: taken back"), "{audit}");
}

#[test]
fn a_factory_reset_wants_the_word_and_leads_to_the_wizard() {
    let (mut site, _pool) = Site::set_up();
    let mut browser = Browser::start(TELEPHONE);
    open(&mut browser, &site, "backup");
    for word in ["", "yes", "Reset"] {
        browser.fill("#sure", word);
        browser.click("#reset");
        browser.wait_for_text("#sure-bad", "reset");
        assert_eq!(user(&site), "farm.gateway", "{word:?}");
    }
    browser.fill("#sure", "reset");
    browser.picture("reset");
    let old = code_of(&site.gateway);
    browser.click("#reset");
    browser.find("#code");
    let session = Client::at(site.gateway.status.unwrap()).get("/api/v1/session").body;
    assert_eq!((&session["first_run"], &session["role"]), (&json!(true), &Value::Null));
    site.gateway.wait_for("no pool", |report| report["upstream"] == json!([]));
    // A new set-up code is in the log, as at a first start.
    site.gateway.log.clear();
    let line = site.gateway.wait_for_line("set-up code: ");
    let code = line.split_once("set-up code: ").unwrap().1.to_owned();
    assert_ne!(code, old);
    browser.fill("#code", &old);
    browser.click("#next");
    browser.wait_for_text("#failure", "not");
    browser.fill("#code", &code);
    browser.click("#next");
    browser.find("#password");
}
