//! The page over TLS: its own certificate, and an operator's certificate.

use serde_json::json;

use super::client;
use super::driver::{Browser, LAPTOP, decode};
use super::settings::open_at;
use super::site::Site;
use super::tls;

/// Reloads a page and returns the fingerprint of its certificate.
#[track_caller]
fn shown_to(browser: &Browser, page: &str) -> String {
    let origin = page.trim_end_matches('/');
    browser.cdp("Network.enable", &json!({}));
    browser.reload();
    browser.find("#figures, nav");
    let chain = browser.cdp("Network.getCertificate", &json!({"origin": origin}));
    let leaf = chain["tableNames"][0].as_str().unwrap_or_else(|| panic!("no chain: {chain}"));
    tls::fingerprint(&decode(leaf))
}

#[test]
fn the_page_over_tls_has_the_fingerprint_that_was_printed() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open_at(&mut browser, &site.secure, "access");
    browser.wait_for_text("main", "over TLS");
    browser.wait_for_text("main", &site.fingerprint);
    assert_eq!(shown_to(&browser, &site.secure), site.fingerprint);
    // The cookie is never sent to the port without TLS, and no script reads it.
    let cookies =
        browser.cdp("Network.getCookies", &json!({"urls": [site.secure]}))["cookies"].take();
    assert_eq!((&cookies[0]["secure"], &cookies[0]["httpOnly"]), (&json!(true), &json!(true)));
    assert_eq!(browser.run("return document.cookie"), "");
}

#[test]
fn a_certificate_of_ones_own_is_brought_and_taken_away_again() {
    let (site, _pool) = Site::set_up();
    let (pem, der) = client::certificate("gw.farm.example");
    let mut browser = Browser::start(LAPTOP);
    open_at(&mut browser, &site.secure, "access");
    browser.wait_for_text("main", &site.fingerprint);
    // Half a certificate is refused beside the field, and the one in use stays.
    browser.fill("#certificate", pem.split("-----BEGIN PRIVATE").next().unwrap());
    browser.click("#take-certificate");
    let said = browser.wait("an error", || {
        Some(browser.text_of("#certificate-form > [role=alert]")).filter(|said| !said.is_empty())
    });
    println!("{said}");
    assert!(said.contains("key"), "{said}");
    assert!(browser.text("main").contains(&site.fingerprint));

    browser.fill("#certificate", &pem);
    browser.click("#take-certificate");
    browser.wait_for_text("main", &tls::fingerprint(&der));
    let typed = browser.run("return document.querySelector('#certificate').value");
    assert_eq!(typed, "", "the key does not stay on the page");
    let mut other = Browser::start(LAPTOP);
    open_at(&mut other, &site.secure, "access");
    assert_eq!(shown_to(&other, &site.secure), tls::fingerprint(&der));
    drop(other);

    browser.click("#drop-certificate");
    browser.wait_for_text("main", &site.fingerprint);
    assert!(!browser.sees("#drop-certificate"));
}
