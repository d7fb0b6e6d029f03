//! Accessibility of the page: small screens, keyboard, screen readers, dark mode, slow machines, no
//! scripts.

use serde_json::{Value, json};

use super::driver::{Browser, ENTER, Kind, LAPTOP, TAB, TELEPHONE};
use super::settings::open;
use super::site::{PASSWORD, Site};

/// Limits for loading the page: `page.rs` bounds its files, this its requests.
const REQUESTS_MAX: usize = 3;
const BYTES_MAX: u64 = 60 * 1024;

const VIEWS: [&str; 8] =
    ["overview", "pools", "miners", "difficulty", "network", "access", "backup", "audit"];

/// Controls, links and states, by the role that the browser exposes.
const CONTROLS: [&str; 18] = [
    "button",
    "checkbox",
    "combobox",
    "dialog",
    "group",
    "link",
    "listbox",
    "menuitem",
    "navigation",
    "option",
    "progressbar",
    "radio",
    "region",
    "slider",
    "spinbutton",
    "table",
    "textbox",
    "timer",
];

/// Goes through every view as admin.
fn each_view(browser: &mut Browser, site: &Site, mut look: impl FnMut(&mut Browser, &str)) {
    open(browser, site, "overview");
    for view in VIEWS {
        browser.click(&format!("a[href='#{view}']"));
        browser.find(&format!("a[href='#{view}'][aria-current=page]"));
        look(browser, view);
    }
}

/// Asserts that every control and every state has an accessible name; returns their number.
#[track_caller]
pub fn check_names(browser: &Browser, place: &str) -> usize {
    let tree = browser.cdp("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().expect("a tree").iter();
    let controls = nodes.filter(|node| {
        let role = node["role"]["value"].as_str().unwrap_or_default().to_lowercase();
        node["ignored"] != true && CONTROLS.contains(&role.as_str())
    });
    let mut count = 0;
    for control in controls {
        let name = control["name"]["value"].as_str().unwrap_or_default().trim();
        assert!(!name.is_empty(), "{place}: a control without a name: {control:#}");
        count += 1;
    }
    count
}

#[test]
fn every_control_has_a_name() {
    let (site, _pool) = Site::set_up();
    let fresh = Site::start();
    let mut browser = Browser::start(LAPTOP);
    browser.open(&fresh.page);
    browser.find("#code");
    assert!(check_names(&browser, "wizard, code") >= 3);
    super::up_to_the_pool(&mut browser, &fresh);
    assert!(check_names(&browser, "wizard, pool") >= 3);
    browser.open(&site.page);
    browser.find("#role");
    assert!(check_names(&browser, "log-in") >= 4);
    each_view(&mut browser, &site, |browser, view| {
        let count = check_names(browser, view);
        println!("{view}: {count} controls");
        assert!(count >= VIEWS.len() + 2, "{view}: {count}");
        // A pointer may press a label, and each control has one.
        let unlabelled = browser.run(
            "return [...document.querySelectorAll('main input, main select, main textarea')]\
             .filter((e) => e.labels.length !== 1).map((e) => e.outerHTML)",
        );
        assert_eq!(unlabelled, json!([]), "{view}");
    });
}

/// Returns the texts whose contrast with their background is below WCAG's AA.
const WEAK_TEXTS: &str = r"
    const number = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const color = number(getComputedStyle(e).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const weak = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const e = node.parentElement;
        const isShown = e.getClientRects().length && !e.closest(':disabled, .quiet, .skip');
        if (!node.data.trim() || !isShown) continue;
        seen += 1;
        const style = getComputedStyle(e);
        const [a, b] = [light(number(style.color)), light(behind(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        const large = parseFloat(style.fontSize) >= 24;
        if (ratio < (large ? 3 : 4.5)) weak.push(`${node.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return { weak, seen };
";

#[test]
fn every_text_can_be_read_in_the_light_and_in_the_dark() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    each_view(&mut browser, &site, |browser, view| {
        for scheme in ["light", "dark"] {
            let feature = json!({"name": "prefers-color-scheme", "value": scheme});
            browser.cdp("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
            let found = browser.run(WEAK_TEXTS);
            assert_eq!(found["weak"], json!([]), "{view}, {scheme}");
            assert!(found["seen"].as_u64() > Some(10), "{view}: {found}");
        }
        if view == "overview" {
            browser.picture("overview-dark");
        }
    });
}

#[test]
fn the_page_fits_a_small_telephone() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(TELEPHONE);
    each_view(&mut browser, &site, |browser, view| {
        if view == "pools" {
            browser.picture("pools-telephone");
        }
        check_thumbs(browser, view);
    });
    // Also with the bar of changes, and with a waiting commit.
    browser.click("a[href='#pools']");
    browser.fill("[id='pool.1.user']", "farm.telephone");
    browser.press(TAB);
    browser.wait_for_text("#diff", "farm.telephone");
    check_thumbs(&browser, "changes");
    browser.click("#commit");
    browser.find("#waiting");
    check_thumbs(&browser, "waiting");
    browser.picture("waiting-telephone");
    browser.click("#back");
    browser.wait("no bar", || (!browser.sees("#waiting")).then_some(()));
    browser.click("#leave");
    browser.find("#password");
    check_thumbs(&browser, "log-in");
}

#[test]
fn the_wizard_and_the_basic_form_fit_a_small_telephone() {
    let (_pool, address) = super::tls_pool("127.0.0.1");
    let site = Site::start();
    let mut browser = Browser::start(TELEPHONE);
    browser.open(&format!("{}basic", site.page));
    check_thumbs(&browser, "basic form, log-in");
    browser.open(&site.page);
    browser.find("#code");
    check_thumbs(&browser, "code");
    super::up_to_the_pool(&mut browser, &site);
    browser.fill("#pool", &address);
    browser.click("#next");
    browser.find("#trust");
    check_thumbs(&browser, "a key to trust");
    // The certificates' details are shown, and fit too.
    browser.click("summary");
    check_thumbs(&browser, "certificates");
    browser.picture("wizard-certificates");
    browser.open(&format!("{}basic", site.page));
    browser.find("#url");
    check_thumbs(&browser, "basic form");
}

/// Asserts that nothing is wider than the window, and that touch targets are high enough for a
/// thumb.
#[track_caller]
fn check_thumbs(browser: &Browser, place: &str) {
    let width = browser.run("return document.documentElement.scrollWidth");
    assert!(width.as_u64() <= Some(320), "{place}: {width} pixels wide");
    let low = browser.run(
        "const thumbs = 'button, nav a, select, summary, input:not([type=checkbox])'; \
         const low = (e) => e.offsetHeight < (e.type === 'checkbox' ? 28 : 40); \
         return [...document.querySelectorAll(thumbs + ', [type=checkbox]')]\
         .filter((e) => e.getClientRects().length && e.type !== 'hidden' && low(e))\
         .map((e) => e.outerHTML)",
    );
    assert_eq!(low, json!([]), "{place}");
}

#[test]
fn tab_reaches_every_control_in_its_order() {
    let (site, _pool) = Site::set_up();
    let mut browser = Browser::start(LAPTOP);
    open(&mut browser, &site, "difficulty");
    browser.run(
        "window.seen = []; document.activeElement.blur(); \
         document.addEventListener('focusin', (event) => window.seen.push(event.target))",
    );
    let controls = "[...document.querySelectorAll('a, button, input, select, [tabindex=\"0\"]')]\
                    .filter((e) => !e.disabled)\
                    .filter((e) => e.getClientRects().length || e.matches('.skip'))";
    let count = browser.run(&format!("return {controls}.length")).as_u64().unwrap();
    assert!(count >= 14, "{count}");
    // At the end the focus leaves the page for the browser and comes back at the beginning.
    for _ in 0..count + 2 {
        browser.press(TAB);
    }
    let is_same = format!(
        "const all = {controls}; const first = all.indexOf(window.seen[0]); \
         const turned = [...all.slice(first), ...all.slice(0, first)]; \
         return window.seen.length >= all.length && turned.every((e, i) => e === window.seen[i])"
    );
    assert_eq!(
        browser.run(&is_same),
        true,
        "{}",
        browser.run("return window.seen.map((e) => e.outerHTML)")
    );
    // The skip link leads past the sections.
    browser.run("document.querySelector('.skip').focus()");
    browser.press(ENTER);
    browser.wait_for_focus("main");
}

/// Loads of a page to measure.
const LOADS: usize = 5;

#[test]
fn the_page_is_there_after_three_requests() {
    let site = Site::start();
    let browser = Browser::start(LAPTOP);
    browser.cdp("Emulation.setCPUThrottlingRate", &json!({"rate": 6}));
    for page in [&site.page, &site.secure] {
        let mut paints = [0; LOADS];
        for paint in &mut paints {
            // Another page in between, so that each load gets a new process.
            browser.open("about:blank");
            browser.cdp("Network.clearBrowserCache", &json!({}));
            browser.open(page);
            browser.find("#code");
            *paint = first_paint(&browser);
        }
        let found = browser.run(
            "const files = [...performance.getEntriesByType('navigation'), \
             ...performance.getEntriesByType('resource')].filter((e) => !e.name.includes('/api/')); \
             return { files: files.map((e) => e.name), \
             bytes: files.reduce((sum, e) => sum + e.transferSize, 0), \
             blocked: performance.getEntriesByType('resource')\
             .filter((e) => e.renderBlockingStatus === 'blocking').map((e) => e.name) }",
        );
        paints.sort_unstable();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "first paint with the processor at a sixth: {} ms at least, {} in the median, {} at \
             most of {LOADS}; load of the machine {load}{found}",
            paints[0],
            paints[LOADS / 2],
            paints[LOADS - 1],
        );
        assert!(found["files"].as_array().unwrap().len() <= REQUESTS_MAX, "{found}");
        assert!(found["bytes"].as_u64() <= Some(BYTES_MAX), "{found}");
        // Only the style delays the first paint.
        assert_eq!(found["blocked"], json!([format!("{page}style.css")]), "{found}");
    }
}

/// Returns the time of the page's first paint, in milliseconds after the request.
#[track_caller]
fn first_paint(browser: &Browser) -> u64 {
    browser.wait("a paint", || {
        let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        browser.run(paint).as_f64().map(|paint| paint as u64)
    })
}

#[test]
fn the_frame_is_painted_without_script_and_api() {
    let site = Site::start();
    let browser = Browser::start(TELEPHONE);
    browser.cdp("Network.enable", &json!({}));
    for blocked in ["*/app.js", "*/api/*"] {
        browser.cdp("Network.setBlockedURLs", &json!({"urls": [blocked]}));
        browser.open(&site.page);
        assert!(first_paint(&browser) > 0, "{blocked}");
        assert_eq!(browser.text("h1"), "Loka Stratum", "{blocked}");
        let said = browser.text("main");
        println!("{blocked}: {said}");
        assert!(!said.is_empty(), "{blocked}");
    }
    browser.wait_for_text("main [role=alert]", "does not answer");
    // It continues once the gateway is up.
    browser.cdp("Network.setBlockedURLs", &json!({"urls": []}));
    browser.run("document.querySelector('main button').click()");
    browser.find("#code");
}

#[test]
fn the_basic_form_sets_a_gateway_up_without_scripts() {
    let pool = super::gateway::Pool::start("abcd", 8);
    let site = Site::start();
    let mut browser = Browser::start(Kind { scripts: false, ..TELEPHONE });
    browser.open(&site.page);
    browser.click("noscript a");
    browser.find("#code");
    assert!(check_names(&browser, "basic, code") >= 2);
    browser.fill("#code", "0000 0000");
    browser.click("button");
    browser.wait_for_text("[role=alert]", "not");
    browser.fill("#code", &site.code);
    browser.click("button");
    browser.fill("#word", PASSWORD);
    browser.fill("#url", "stratum+tcp://");
    browser.fill("#user", "farm.gateway");
    browser.click("button");
    let said = browser.wait_for_text("[role=alert]", "pool.1.url");
    println!("{said}");
    browser.fill("#word", PASSWORD);
    browser.fill("#url", &format!("stratum+tcp://{}", pool.address));
    browser.picture("basic");
    browser.click("button");
    browser.click("#keep");
    browser.wait_for_text("[role=status]", "kept");
    site.gateway.wait_for("the pool", |report| report["ready"] == true);
    let admin = site.admin();
    assert_eq!(admin.value("pool.1.user"), "farm.gateway");
    assert_eq!(admin.get("/api/v1/session").body["seconds_left"], Value::Null);
}
