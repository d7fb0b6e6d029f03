//! The ordinary page: changes, commits that are kept or rolled back, and generated fields.

use serde_json::{Value, json};

use super::driver::{Browser, ENTER, Kind, LAPTOP, TAB};
use super::site::{PASSWORD, Site};

/// Opens the page without TLS as admin at a view.
pub fn open(browser: &mut Browser, site: &Site, view: &str) {
    open_at(browser, &site.page, view);
}

/// Opens a page as admin at a view.
pub fn open_at(browser: &mut Browser, page: &str, view: &str) {
    browser.open(&format!("{page}#{view}"));
    browser.fill("#password", PASSWORD);
    browser.press(super::ENTER);
    browser.find(&format!("a[href='#{view}'][aria-current=page]"));
}

/// Changes the pool's user and commits it.
pub fn commit_user(browser: &mut Browser, user: &str) {
    browser.fill("[id='pool.1.user']", user);
    browser.press(TAB);
    browser.wait_for_text("#diff", user);
    browser.click("#commit");
    browser.find("#waiting");
}

pub fn user(site: &Site) -> String {
    site.admin().value("pool.1.user")
}

/// Returns the seconds that the page shows.
fn seconds_left(browser: &Browser) -> u64 {
    browser.text("#left").parse().expect("a number")
}

#[test]
fn a_commit_is_kept_or_taken_back() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "pools");
    commit_user(&mut browser, "farm.taken-back");
    assert_eq!(user(&site), "farm.taken-back");
    browser.picture("waiting");
    let before = seconds_left(&browser);
    // The page forgets, the gateway does not.
    browser.reload();
    browser.find("#waiting");
    assert!((1..=before).contains(&seconds_left(&browser)), "{before}");
    browser.click("#back");
    browser.wait_for_text("#said", "taken back");
    assert!(!browser.sees("#waiting"));
    assert_eq!(user(&site), "farm.gateway");
    commit_user(&mut browser, "farm.kept");
    browser.click("#keep");
    browser.wait_for_text("#said", "kept");
    browser.wait("no bar", || (!browser.sees("#waiting")).then_some(()));
    assert_eq!(user(&site), "farm.kept");
    assert_eq!(site.admin().get("/api/v1/session").body["seconds_left"], Value::Null);
}

#[test]
fn the_page_follows_the_gateway_when_the_time_is_over() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "pools");
    commit_user(&mut browser, "farm.late");
    // By the page's clock the time is over; it asks, and the gateway denies that.
    browser.run("const now = Date.now; Date.now = () => now() + 200000; window.now = now");
    browser.wait("the bar to end or begin anew", || {
        let left = browser.run("return document.querySelector('#left').textContent");
        left.as_str()?.parse::<u64>().ok().filter(|left| *left > 0)
    });
    browser.run("Date.now = window.now");
    browser.find("#waiting");
    // The gateway rolls it back.
    assert_eq!(site.admin().post("/api/v1/rollback", json!({})).code, 200);
    browser.wait("no bar", || (!browser.sees("#waiting")).then_some(()));
    browser.wait_for_text("#said", "taken back");
    browser.wait("the old value", || {
        let shown = browser.run("return document.getElementById('pool.1.user').value");
        (shown == "farm.gateway").then_some(())
    });
}

/// A telephone as most people have.
const USUAL_TELEPHONE: Kind = Kind { scripts: true, size: (390, 780) };

/// Where an element is in the window: its top and its bottom.
fn edges(browser: &Browser, css: &str) -> (f64, f64) {
    let script = format!(
        "const r = document.querySelector({css:?}).getBoundingClientRect(); \
         return [r.top, r.bottom, innerHeight]"
    );
    let found = browser.run(&script);
    let number = |at: usize| found[at].as_f64().expect("a number");
    assert!(number(0) >= 0.0 && number(1) <= number(2), "{css} is out of the window: {found}");
    (number(0), number(1))
}

#[test]
fn on_a_telephone_no_bar_hides_an_error_or_its_button_and_an_absence_is_survived() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(USUAL_TELEPHONE);
    open(&mut browser, &site, "pools");
    // A click on a section leaves the sections in view, for the next.
    browser.click("a[href='#network']");
    browser.find("a[href='#network'][aria-current=page]");
    edges(&browser, "a[href='#network']");
    browser.click("a[href='#pools']");

    // What is wrong is seen above the bar of changes, and so is the bar's own button.
    browser.fill("[id='pool.1.weight']", "0");
    browser.press(ENTER);
    browser.wait_for_text("[id='pool.1.weight-bad']", "Pool 1, Weight (pool.1.weight)");
    let (_, bottom) = edges(&browser, "[id='pool.1.weight-bad']");
    let (top, _) = edges(&browser, "#changes");
    assert!(bottom <= top, "the error ends at {bottom}, the bar begins at {top}");
    edges(&browser, "#discard");
    let on_top = "const r = document.querySelector('#discard').getBoundingClientRect(); \
                  return document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2).id";
    assert_eq!(browser.run(on_top), "discard");
    browser.click("#discard");
    browser.wait("no changes", || (!browser.sees("#changes")).then_some(()));

    // The gateway is away while somebody types: its numbers are dimmed, and what was typed can be
    // committed once it is back.
    browser.find("#pool-table table");
    let dimmed = "return getComputedStyle(document.querySelector('#pool-table table')).opacity < 1";
    assert_eq!(browser.run(dimmed), false);
    browser.cut_off(true);
    browser.fill("[id='pool.1.user']", "farm.away");
    browser.press(TAB);
    browser.wait_for_text("#changes", "The gateway does not answer.");
    browser.wait("dimmed numbers", || (browser.run(dimmed) == true).then_some(()));
    browser.cut_off(false);
    browser.wait("clear numbers", || (browser.run(dimmed) == false).then_some(()));
    browser.wait_for_text("#diff", "farm.away");
    assert_eq!(browser.run("return document.querySelector('#commit').disabled"), false);
    browser.click("#commit");
    browser.find("#waiting");
    assert_eq!(user(&site), "farm.away");
}

#[test]
fn every_key_has_a_field_and_what_is_wrong_stands_beside_it() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "overview");
    let fields = site.admin().get("/api/v1/fields").body;
    let mut wanted: Vec<String> = fields
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["key"].as_str().unwrap().replace(".N.", ".1."))
        .collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    for view in ["pools", "miners", "difficulty", "network", "access"] {
        browser.click(&format!("a[href='#{view}']"));
        browser.find(&format!("a[href='#{view}'][aria-current=page]"));
        wanted.retain(|key| !browser.sees(&format!("[id='{key}']")));
    }
    assert_eq!(wanted, [""; 0], "keys without a field");
    browser.click("a[href='#difficulty']");
    browser.fill("[id='difficulty.start']", "-3");
    browser.press(TAB);
    let said = browser.wait_for_text(
        "[id='difficulty.start-bad']",
        "Difficulty, Start (difficulty.start): got -3, allowed",
    );
    println!("{said}");
    assert_eq!(browser.run("return document.querySelector('#commit').disabled"), true);
    assert_eq!(
        browser
            .run("return document.getElementById('difficulty.start').getAttribute('aria-invalid')"),
        "true"
    );
    browser.picture("problem");
    browser.fill("[id='difficulty.start']", "1024");
    browser.press(TAB);
    browser.wait_for_text("#diff", "difficulty.start: 65536 → 1024");
    // Changes outlive the page until they are committed or discarded.
    browser.reload();
    browser.wait_for_text("#diff", "difficulty.start: 65536 → 1024");
    browser.click("#commit");
    browser.wait("the commit", || (!browser.sees("#changes")).then_some(()));
    assert_eq!(site.admin().value("difficulty.start"), "1024");
    assert!(!browser.sees("#waiting"), "nothing that cuts anybody off waits");
}

#[test]
fn pools_are_added_and_removed() {
    let (site, pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "pools");
    browser.click("#add");
    browser.fill("[id='pool.2.url']", &format!("stratum+tcp://{}", pool.address));
    browser.fill("[id='pool.2.user']", "farm.second");
    browser.press(TAB);
    browser.wait_for_text("#diff", "farm.second");
    browser.click("#test-2");
    browser.wait_for_text("fieldset", "The pool works.");
    browser.picture("pools");
    browser.click("#commit");
    browser.click("#keep");
    browser.wait_for_text("#said", "kept");
    // The first goes; the second becomes the first.
    browser.click("#remove-1");
    browser.wait_for_text("#diff", "pool.2.user: farm.second → nothing");
    browser.click("#commit");
    browser.click("#keep");
    browser.wait_for_text("#said", "kept");
    browser.wait("one pool", || (!browser.sees("[id='pool.2.url']")).then_some(()));
    assert_eq!(user(&site), "farm.second");
}
