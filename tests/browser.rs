//! The set-up page in a real browser, against the real program, as a technician uses it.
//!
//! `cargo xtask test` runs this last, and installs the browser if it can; by hand run `cargo test
//! --test browser`. Screenshots are in `target/browser`.
#![cfg(feature = "lab")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

#[path = "browser/access.rs"]
mod access;
#[path = "web/client.rs"]
mod client;
mod clock;
#[path = "browser/driver.rs"]
mod driver;
#[path = "gateway/mod.rs"]
mod gateway;
#[path = "browser/keeping.rs"]
mod keeping;
mod lab;
#[path = "browser/people.rs"]
mod people;
#[path = "browser/secure.rs"]
mod secure;
#[path = "browser/settings.rs"]
mod settings;
#[path = "browser/site.rs"]
mod site;
mod skips;
#[path = "web/tls.rs"]
mod tls;

use driver::{Browser, ENTER, LAPTOP, TELEPHONE};
use lab::Part;
use serde_json::Value;
use site::{PASSWORD, Site};

/// Limit from the first boot to hashing miners.
const INTERACTIONS_MAX: u32 = 12;

/// A pool over TLS at `host`, with a self-signed certificate.
fn tls_pool(host: &str) -> (Part, String) {
    let listen = format!("{host}:0");
    let mut pool = Part::start(&["pool", "--listen", &listen, "--tls", "--difficulty", "0.000001"]);
    let address = pool.line("listening");
    (pool, address)
}

/// Goes through the steps of code and password to the pool's address.
fn up_to_the_pool(browser: &mut Browser, site: &Site) {
    browser.open(&site.page);
    browser.fill("#code", &site.code);
    browser.click("#next");
    browser.fill("#password", PASSWORD);
    browser.click("#next");
    browser.find("#pool");
}

#[test]
fn first_boot_to_miners_hashing_takes_twelve_interactions() {
    let (_pool, address) = tls_pool("127.0.0.1");
    let site = Site::start();
    let mut browser = Browser::start(TELEPHONE);
    browser.open(&site.page);
    browser.find("#code");
    browser.picture("wizard-code");
    browser.fill("#code", &site.code);
    browser.click("#next");
    browser.fill("#password", PASSWORD);
    browser.click("#next");
    // Without a prefix it is TLS.
    browser.fill("#pool", &address);
    browser.click("#next");
    browser.find("#trust");
    browser.picture("wizard-trust");
    browser.click("#trust");
    browser.wait_for_text("#next", "Next");
    browser.picture("wizard-pool");
    browser.click("#next");
    browser.fill("#worker", "farm.gateway");
    browser.click("#next");
    browser.find("#listener");
    browser.click("#next");
    browser.wait_for_text(".address", &format!("stratum+tcp://{}", site.listen));
    browser.click("#keeping button");
    browser.wait_for_text("#outcome", "kept");
    let swarm = ["swarm", "--connect", &site.listen, "--miners", "3", "--hash-rate", "100000"];
    let _swarm = Part::start(&swarm);
    browser.wait_for_text("#outcome", "Miners are hashing.");
    browser.picture("wizard-done");
    let done = browser.interactions;
    println!("first boot to miners hashing: {done} interactions");
    assert!(done <= INTERACTIONS_MAX, "{done} interactions");
    site.gateway.wait_for("three miners", |report| report["miners"]["connected"] == 3);
    assert!(no_complaint(&browser.console()));
    // What was set is kept with the key that was trusted, and the wizard does not come again.
    browser.reload();
    browser.find("#figures");
    browser.picture("overview-telephone");
    let admin = site.admin();
    assert_eq!(admin.value("pool.1.url"), format!("stratum+ssl://{address}"));
    assert_eq!(admin.value("pool.1.user"), "farm.gateway");
    assert_eq!(admin.value("pool.1.trust"), "pin");
    assert_eq!(admin.value("pool.1.pins").len(), 64);
    assert_eq!(admin.get("/api/v1/session").body["seconds_left"], Value::Null);
}

#[test]
fn a_bad_pool_is_said_in_words() {
    let (_pool, address) = tls_pool("127.0.0.2");
    let plain = gateway::Pool::start("abcd", 8);
    let site = Site::start();
    let mut browser = Browser::start(LAPTOP);
    up_to_the_pool(&mut browser, &site);
    let closed = site::free_port();
    let cases = [
        (String::new(), ""),
        ("stratum+ssl://".to_owned(), ""),
        ("http://pool.example:3334".to_owned(), "stratum+ssl://"),
        ("pool.example:70000".to_owned(), "port"),
        ("no-such-name.invalid:3334".to_owned(), "name"),
        (closed, "refuses"),
        (plain.address.to_string(), "plain Stratum"),
        (address, "certificate"),
    ];
    for (url, word) in cases {
        browser.fill("#pool", &url);
        browser.click("#next");
        let said = browser.wait("an answer in words", || {
            let said = browser.run(
                "return document.querySelector('#next').disabled ? '' : \
                 [...document.querySelectorAll('.bad')].map((e) => e.innerText).join(' ').trim()",
            );
            said.as_str().filter(|said| !said.is_empty()).map(str::to_owned)
        });
        println!("{url:?}: {said}");
        assert!(said.contains(word), "{url:?}: {said:?} without {word:?}");
        assert_eq!(browser.text("#next"), "Test", "{url:?} is not passed");
    }
    browser.picture("wizard-bad-pool");
    let settings = site.admin().get("/api/v1/settings").body;
    let keys = settings["values"].as_array().unwrap().iter().filter_map(|v| v["key"].as_str());
    assert_eq!(keys.filter(|key| key.starts_with("pool.")).count(), 0, "{settings}");
}

#[test]
fn the_wizard_can_be_done_by_keyboard_alone() {
    let (_pool, address) = tls_pool("127.0.0.1");
    let site = Site::start();
    let mut browser = Browser::start(LAPTOP);
    browser.open(&site.page);
    for (field, text) in [("code", site.code.as_str()), ("password", PASSWORD), ("pool", &address)]
    {
        browser.wait_for_focus(field);
        browser.press(text);
        browser.press(ENTER);
    }
    browser.find("#trust");
    browser.tab_to("trust");
    browser.press(ENTER);
    browser.wait_for_text("#next", "Next");
    browser.wait_for_focus("next");
    browser.press(ENTER);
    browser.wait_for_focus("worker");
    browser.press("farm.gateway");
    browser.press(ENTER);
    browser.wait_for_focus("listener");
    browser.press(ENTER);
    browser.wait_for_focus("keep-it");
    browser.press(ENTER);
    browser.wait_for_text("#outcome", "kept");
    browser.wait_for_focus("finish");
    browser.press(ENTER);
    browser.find("#figures");
    site.gateway.wait_for("the pool", |report| report["ready"] == true);
}

#[test]
fn the_wizard_speaks_the_language_that_is_chosen() {
    let site = Site::start();
    let mut browser = Browser::start(TELEPHONE);
    browser.open(&site.page);
    for (language, word) in [("de", "Einrichtungscode"), ("zh", "设置码"), ("en", "Set-up code")]
    {
        browser.find("#code");
        browser.run(&format!(
            "const chosen = document.querySelector('#language'); chosen.value = '{language}'; \
             chosen.dispatchEvent(new Event('change'))"
        ));
        browser.wait_for_text("label[for=code]", word);
        assert_eq!(browser.run("return document.documentElement.lang"), language);
    }
    browser.fill("#code", "0000 0000");
    browser.click("#next");
    browser.wait_for_text("#failure", "code");
    // What the gateway says is in the language too.
    browser.run(
        "const chosen = document.querySelector('#language'); chosen.value = 'de'; \
         chosen.dispatchEvent(new Event('change'))",
    );
    browser.wait_for_text("label[for=code]", "Einrichtungscode");
    browser.fill("#code", "0000 0001");
    browser.click("#next");
    browser.wait_for_text("#failure", "das ist nicht der Code");
    browser.wait_for_text("#state", "Nicht bereit: kein Pool");
}

/// Returns whether a console has no messages except the browsers' usual ones about password fields.
fn no_complaint(console: &[String]) -> bool {
    let strange: Vec<_> = console.iter().filter(|line| !line.contains("[DOM]")).collect();
    assert!(strange.is_empty(), "{strange:#?}");
    true
}
