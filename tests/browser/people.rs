//! Roles and several users at once: roles, wrong passwords, ending sessions, and two operators with
//! one setting.

use std::time::Duration;

use serde_json::{Value, json};

use super::access::check_names;
use super::driver::{Browser, ENTER, ESCAPE, LAPTOP, TAB, TELEPHONE};
use super::settings::{commit_user, open, user};
use super::site::{PASSWORD, Site};

/// A password for the other roles, and admin's later password.
const OTHER: &str = "another long password";

/// Number of wrong passwords that locks out an address of the network, but not this machine.
const WRONG_MAX: usize = 10;

/// The longest wait of this machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Delay of an answer over a slow link.
const SLOW: Duration = Duration::from_millis(300);

/// Opens the page at a view as a role.
#[track_caller]
fn open_as(browser: &mut Browser, site: &Site, role: &str, view: &str) {
    browser.open(&format!("{}#{view}", site.page));
    choose_role(browser, "#role", role);
    browser.fill("#password", OTHER);
    browser.press(ENTER);
    browser.find(&format!("a[href='#{view}'][aria-current=page]"));
}

#[track_caller]
fn choose_role(browser: &Browser, css: &str, role: &str) {
    browser.find(css);
    browser.run(&format!("document.querySelector('{css}').value = '{role}'"));
}

/// Returns the names of the page's linked sections.
fn sections(browser: &Browser) -> Vec<String> {
    let names =
        browser.run("return [...document.querySelectorAll('nav a')].map((a) => a.innerText)");
    serde_json::from_value(names).expect("names")
}

#[test]
fn viewer_and_operator_see_what_they_may_and_no_more() {
    let (site, _pool) = Site::set_up();
    let mut admin = site.admin();
    for role in ["operator", "viewer"] {
        let reply = admin.post("/api/v1/password", json!({"role": role, "word": OTHER}));
        assert_eq!(reply.code, 200, "{}", reply.raw);
    }
    let fields = admin.get("/api/v1/fields").body;
    let rank = |role: &str| ["viewer", "operator", "admin"].iter().position(|r| *r == role);
    for role in ["operator", "viewer"] {
        let mut browser = Browser::start(LAPTOP);
        open_as(&mut browser, &site, role, "overview");
        browser.find("#figures dd");
        let expected = "Overview Pools Miners Difficulty Network Access Updates Log";
        assert_eq!(sections(&browser).join(" "), expected, "{role}");
        browser.click("a[href='#updates']");
        browser.find("#system p");
        assert!(!browser.sees("#hand-over"), "{role}: without slots nobody hands anything over");
        for view in ["pools", "miners", "difficulty", "network"] {
            browser.click(&format!("a[href='#{view}']"));
            browser.find(&format!("a[href='#{view}'][aria-current=page]"));
            for field in fields.as_array().unwrap() {
                let key = field["key"].as_str().unwrap().replace(".N.", ".1.");
                let locked =
                    browser.run(&format!("return document.getElementById('{key}')?.disabled"));
                let needs = field["role"].as_str().unwrap();
                let may = rank(role) >= rank(needs) && field["applies"] != "file";
                let shown = [Value::Null, json!(!may)];
                assert!(shown.contains(&locked), "{role}: {key} wants {needs}: {locked}");
            }
        }
        for (view, css) in [("pools", "#add"), ("pools", "#test-1"), ("pools", "#remove-1")] {
            browser.click(&format!("a[href='#{view}']"));
            browser.find(&format!("a[href='#{view}'][aria-current=page]"));
            assert_eq!(browser.sees(css), role == "operator", "{role}: {css}");
        }
        browser.click("a[href='#access']");
        browser.wait_for_text("main", &format!("logged in as {role}"));
        assert!(!browser.sees("main form"), "{role}: no password, session or certificate to set");
        browser.click("a[href='#audit']");
        browser.wait_for_text("main pre", "listening for miners");
        assert!(!browser.text("main").contains("Who changed what"), "{role}");
        // A view without the role's right is not shown, even by its address.
        browser.open(&format!("{}#backup", site.page));
        browser.find("a[href='#overview'][aria-current=page]");
        // The gateway refuses what the page does not offer.
        for (method, path) in [("GET", "audit"), ("POST", "reset"), ("POST", "password")] {
            let status = browser.run(&format!(
                "return ask('{method}', '{path}', {{ sure: 'reset', role: 'admin', word: 'x' }})\
                 .then(() => 200, (error) => error.status)"
            ));
            assert_eq!(status, 403, "{role}: {method} {path}");
        }
        assert_eq!(user(&site), "farm.gateway");
    }
}

#[test]
fn f98_wrong_passwords_are_said_and_slow_who_is_at_the_machine_and_never_lock_him_out() {
    let Some((site, clock)) = Site::with_clock() else { return };
    let _pool = site.use_pool();
    let mut browser = Browser::start(TELEPHONE);
    let try_word = |browser: &mut Browser, word: &str| {
        // A reloaded page has no wait; the gateway still has.
        browser.open("about:blank");
        browser.open(&site.page);
        browser.fill("#password", word);
        browser.press(ENTER);
        browser.wait("an answer", || {
            let said = browser.text_of("form > [role=alert]");
            (!said.is_empty() || browser.sees("nav a")).then_some(said)
        })
    };
    let mut said = String::new();
    for wrong in 0..WRONG_MAX {
        said = try_word(&mut browser, "a wrong password");
        assert!(said.contains("not the password"), "{wrong}: {said}");
        clock.pass(Duration::from_secs(200));
    }
    println!("{said}");
    let said = try_word(&mut browser, "another wrong password");
    assert!(said.contains("not the password"), "{said}");
    // The wait applies to the right password too; the button counts down.
    let said = try_word(&mut browser, PASSWORD);
    println!("{said}");
    assert!(said.contains("too many attempts were wrong; the next may come in"), "{said}");
    let button = browser.text("form > button");
    println!("{button}");
    assert!(button.starts_with("Log in (0:"), "{button}: minutes and seconds");
    assert_eq!(browser.run("return document.querySelector('form > button').disabled"), true);
    browser.picture("locked-out");
    assert!(check_names(&browser, "locked out") >= 3);
    clock.pass(WAIT_MAX);
    assert_eq!(try_word(&mut browser, PASSWORD), "");
    browser.find("#figures");
}

#[test]
fn a_session_that_ends_loses_nothing_that_was_typed() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    browser.slow_down(SLOW);
    open(&mut browser, &site, "pools");
    browser.find("[id='pool.1.goal']");
    // Admin's password changes elsewhere, which ends this session.
    let mut admin = site.admin();
    let reply = admin.post("/api/v1/password", json!({"role": "admin", "word": OTHER}));
    assert_eq!(reply.code, 200, "{}", reply.raw);
    browser.fill("[id='pool.1.user']", "farm.typed");
    browser.press(TAB);
    browser.fill("[id='pool.1.goal']", "own");
    browser.press(TAB);
    // The page says so, and the user can continue typing.
    browser.wait_for_text("#changes", "Your session has ended.");
    browser.wait_for_focus("pool.1.weight");
    browser.wait_for_text("#diff", "pool.1.goal → own");
    browser.click("#commit");
    browser.wait_for_focus("again-password");
    browser.picture("session-ended");
    assert!(check_names(&browser, "session ended") >= 3);
    // The dialog can be dismissed, and returns with the next action that needs it.
    browser.press(ESCAPE);
    browser.wait("no dialog", || (!browser.sees("dialog")).then_some(()));
    assert_eq!(value(&browser, "pool.1.user"), "farm.typed");
    browser.click("#commit");
    browser.fill("dialog #again-password", PASSWORD);
    browser.press(ENTER);
    browser.wait_for_text("dialog [role=alert]", "not the password");
    browser.fill("dialog #again-password", OTHER);
    browser.press(ENTER);
    // The requested action is done.
    browser.find("#waiting");
    assert!(!browser.sees("dialog"));
    browser.click("#keep");
    browser.wait_for_text("#said", "kept");
    assert_eq!(admin.value("pool.1.user"), "farm.typed");
    assert_eq!(admin.value("pool.1.goal"), "own");

    // Another window of the same browser logs in: the cookie changes, and this window goes on.
    let log_in = format!(
        "return fetch('/api/v1/session', {{ method: 'POST', \
         headers: {{ 'content-type': 'application/json' }}, \
         body: JSON.stringify({{ role: 'admin', password: '{OTHER}' }}) }}).then((a) => a.status)"
    );
    assert_eq!(browser.run(&log_in), 200);
    commit_user(&mut browser, "farm.other-window");
    browser.click("#keep");
    browser.wait_for_text("#said", "kept");
    assert_eq!(admin.value("pool.1.user"), "farm.other-window");
}

#[test]
fn a_window_notices_that_another_logged_in_as_somebody_else() {
    let (site, _pool) = Site::set_up();
    let mut admin = site.admin();
    let reply = admin.post("/api/v1/password", json!({"role": "viewer", "word": OTHER}));
    assert_eq!(reply.code, 200, "{}", reply.raw);
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "overview");
    assert!(sections(&browser).contains(&"Backup".to_owned()));
    let log_in = format!(
        "return fetch('/api/v1/session', {{ method: 'POST', \
         headers: {{ 'content-type': 'application/json' }}, \
         body: JSON.stringify({{ role: 'viewer', password: '{OTHER}' }}) }}).then((a) => a.status)"
    );
    assert_eq!(browser.run(&log_in), 200);
    browser.wait_for_text("#said", "logged in as viewer");
    browser.wait("the page of a viewer", || {
        let sections = sections(&browser);
        (!sections.is_empty() && !sections.contains(&"Backup".to_owned())).then_some(())
    });
}

fn value(browser: &Browser, key: &str) -> String {
    let value = browser.run(&format!("return document.getElementById('{key}')?.value"));
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn two_operators_at_once_are_told_of_each_other() {
    let (site, _pool) = Site::set_up();
    let (mut first, mut second) = (Browser::start(LAPTOP), Browser::start(LAPTOP));
    open(&mut first, &site, "pools");
    open(&mut second, &site, "pools");
    first.fill("[id='pool.1.user']", "farm.first");
    first.press(TAB);
    first.wait_for_text("#diff", "farm.gateway → farm.first");
    commit_user(&mut second, "farm.second");
    // All users see the waiting commit, and no other commit is possible until it is kept or taken
    // back.
    first.find("#waiting");
    first.click("#commit");
    first.wait_for_text("#late", "pool.1.user is farm.second by now, was farm.gateway");
    first.click("#commit");
    let said = first.wait_for_text("#commit-failure", "waits to be confirmed");
    println!("{said}");
    second.click("#keep");
    first.wait("no bar", || (!first.sees("#waiting")).then_some(()));
    first.picture("overtaken");
    assert_eq!(value(&first, "pool.1.user"), "farm.first", "what was typed stays");
    assert_eq!(first.text("#commit"), "Commit all the same");
    first.wait_for_text("#diff", "farm.second → farm.first");
    first.click("#commit");
    first.click("#keep");
    first.wait_for_text("#said", "kept");
    assert_eq!(user(&site), "farm.first");
    // A user without own edits sees the new value at once.
    second.wait("the other's value", || {
        (value(&second, "pool.1.user") == "farm.first").then_some(())
    });
}

#[test]
fn admin_sees_who_is_logged_in_and_ends_a_session() {
    let (site, _pool) = Site::set_up();
    let reply = site.admin().post("/api/v1/password", json!({"role": "operator", "word": OTHER}));
    assert_eq!(reply.code, 200, "{}", reply.raw);
    let (mut operator, mut admin) = (Browser::start(TELEPHONE), Browser::start(LAPTOP));
    open_as(&mut operator, &site, "operator", "pools");
    open(&mut admin, &site, "access");
    let listed = admin.wait_for_text("#open-sessions", "operator");
    println!("{listed}");
    assert!(listed.contains("127.0.0.1") && listed.contains("this one"), "{listed}");
    admin.picture("sessions");
    admin.click("[aria-label='End the session of operator from 127.0.0.1']");
    admin.wait_for_text("#said", "The session of operator from 127.0.0.1 has ended.");
    admin
        .wait("it to go", || (!admin.text_of("#open-sessions").contains("operator")).then_some(()));
    // The user whose session ended is asked again at the next action.
    operator.click("#test-1");
    operator.find("dialog #again-password");
    admin.click("a[href='#audit']");
    admin.wait_for_text("main pre", "end");
}

#[test]
fn workers_are_put_on_the_list_and_taken_off_it() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(TELEPHONE);
    browser.slow_down(SLOW);
    open(&mut browser, &site, "miners");
    browser.wait_for_text("#admit-form", "nobody yet");
    browser.find("[id='admit.mode']");
    browser.run(
        "const mode = document.getElementById('admit.mode'); mode.value = 'list'; \
         mode.dispatchEvent(new Event('change'))",
    );
    browser.wait_for_text("#diff", "admit.mode: any → list");
    browser.click("#commit");
    browser.wait("the commit", || (!browser.sees("#changes")).then_some(()));
    let comes_in = |worker: &str, word: &str| {
        let mut miner = site.gateway.miner();
        miner.ask("mining.subscribe", json!(["test/1"]));
        miner.ask("mining.authorize", json!([worker, word]))["result"] == true
    };
    assert!(!comes_in("farm.hall-1.7", "of hall 1"));
    // Text typed before the page has reloaded the settings stays. Name and password are sent only
    // together.
    browser.fill("#admit-worker", "farm.hall-1.*");
    browser.click("#admit-form > button");
    browser.wait_for_text("#admit-password-bad", "fill this in");
    // A check of the settings clears only its own messages.
    browser.run("return check()");
    assert!(browser.text_of("#admit-password-bad").contains("fill this in"));
    browser.fill("#admit-password", "of hall 1");
    browser.click("#admit-form > button");
    browser.wait_for_text("#admit-form table", "farm.hall-1.*");
    browser.picture("list-of-workers");
    assert!(check_names(&browser, "list of workers") >= 4);
    assert_eq!(browser.run("return document.querySelector('#admit-password').value"), "");
    assert!(comes_in("farm.hall-1.7", "of hall 1"));
    assert!(!comes_in("farm.hall-1.8", "of another"));
    assert!(!comes_in("farm.hall-2.7", "of hall 1"));
    browser.click("[aria-label='Remove farm.hall-1.*']");
    browser.wait_for_text("#admit-form", "nobody yet");
    assert!(!comes_in("farm.hall-1.9", "of hall 1"));
}
