//! The page over TLS: its certificate, and hostile handshakes (F53).
#![cfg(feature = "gateway")]

#[path = "web/client.rs"]
mod client;
mod gateway;
#[path = "web/tls.rs"]
mod tls;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use client::{Client, Site, code_of};
use serde_json::json;
use tls::Browser;

/// A gateway with a page.
struct Page {
    site: Site,
    address: SocketAddr,
    /// The fingerprint from the gateway's output.
    fingerprint: String,
}

impl Page {
    fn start() -> Self {
        let site = Site::with(&[("LOKA_WEB__ADDRESS", "127.0.0.1:0"), ("LOKA_MDNS__NAME", "loka")]);
        let (address, fingerprint) = Self::printed(&site);
        Self { site, address, fingerprint }
    }

    fn printed(site: &Site) -> (SocketAddr, String) {
        let after = |part: &str| {
            let found = site.gateway.log.iter().find_map(|line| line.split_once(part));
            found.unwrap_or_else(|| panic!("no {part:?}: {:#?}", site.gateway.log)).1.to_owned()
        };
        let address = after("page at https://").parse().expect("an address");
        (address, after("fingerprint of the page: "))
    }
}

#[test]
fn the_page_proves_itself_and_a_password_passes() {
    let mut page = Page::start();
    let mut browser = Browser::at(page.address);
    let before = browser.send("GET", "/api/v1/session", "");
    assert_eq!(before.code, 200, "{}", before.raw);
    assert_eq!(before.body["secure"], true);
    assert_eq!(browser.fingerprint(), page.fingerprint);
    // Data that the status port shows to all clients needs a login here.
    for path in ["/api/v1/status", "/metrics", "/readyz"] {
        assert_eq!(browser.send("GET", path, "").code, 401, "{path}");
    }
    let code = json!({"code": code_of(&page.site.gateway)}).to_string();
    let opened = browser.send("POST", "/api/v1/session", &code);
    assert_eq!(opened.code, 200, "{}", opened.raw);
    let cookie = opened.header("set-cookie").expect("a cookie").to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Secure", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let password = json!({"role": "admin", "word": "a long password"}).to_string();
    assert_eq!(browser.send("POST", "/api/v1/password", &password).code, 200);
    assert_eq!(browser.send("GET", "/api/v1/status", "").code, 200);

    // The certificate is the same after a restart, and so is the password.
    page.site.restart_with(&[("LOKA_WEB__ADDRESS", "127.0.0.1:0")]);
    let (address, fingerprint) = Page::printed(&page.site);
    assert_eq!(fingerprint, page.fingerprint);
    let mut browser = Browser::at(address);
    let log_in = json!({"role": "admin", "password": "a long password"}).to_string();
    assert_eq!(browser.send("POST", "/api/v1/session", &log_in).code, 200);
}

#[test]
fn a_certificate_is_brought_and_dropped_while_the_page_serves() {
    let page = Page::start();
    let mut browser = Browser::at(page.address);
    let code = json!({"code": code_of(&page.site.gateway)}).to_string();
    assert_eq!(browser.send("POST", "/api/v1/session", &code).code, 200);
    let (pem, der) = client::certificate("gw.farm.example");
    let with_other_key = pem.split("-----BEGIN PRIVATE").next().unwrap().to_owned()
        + client::certificate("x").0.split_once("-----END CERTIFICATE-----\n").unwrap().1;
    let path = "/api/v1/certificate";
    for (bad, code) in
        [(with_other_key, 400), ("/etc/ssl/key.pem".into(), 400), ("x".repeat(20_000), 413)]
    {
        let refused = browser.send("PUT", path, &json!({ "pem": bad }).to_string());
        assert_eq!(refused.code, code, "{}", refused.raw);
        assert_eq!(browser.fingerprint(), page.fingerprint);
    }
    let brought = browser.send("PUT", path, &json!({ "pem": pem }).to_string());
    assert_eq!((brought.code, &brought.body["is_own"]), (200, &json!(false)), "{}", brought.raw);
    let shown = browser.send("GET", path, "");
    assert_eq!(browser.fingerprint(), tls::fingerprint(&der));
    assert_eq!(shown.body["fingerprint"], json!(tls::fingerprint(&der)));
    let dropped = browser.send("DELETE", path, "");
    assert_eq!((dropped.code, &dropped.body["is_own"]), (200, &json!(true)));
    assert_eq!(browser.send("GET", path, "").code, 200);
    assert_eq!(browser.fingerprint(), page.fingerprint);
    let log = page.site.end();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn f53_handshakes_that_stall_hold_neither_the_page_nor_miners_up() {
    let page = Page::start();
    let mut stalled: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(page.address).unwrap()).collect();
    for stream in &mut stalled {
        // Only the header of a record of the maximum length.
        let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x40, 0x00, 0x01]);
    }
    let mut miner = page.site.gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
    // Another client is served at once while they all stall, and so is the status port.
    let mut other = Browser::from("127.0.0.2", page.address);
    assert_eq!(other.send("GET", "/api/v1/session", "").code, 200);
    assert_eq!(Client::new(&page.site).get("/api/v1/session").code, 200);
    for stream in stalled {
        assert!(client::is_closed(stream), "a stalled handshake keeps its place");
    }
    let mut browser = Browser::at(page.address);
    assert_eq!(browser.send("GET", "/api/v1/session", "").code, 200);
}

#[test]
fn f53_what_is_no_handshake_is_let_go_however_much_comes() {
    let page = Page::start();
    let long = [0x16; 20_000];
    for bytes in
        [&b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"[..], &long, &[0x16, 3, 1, 0xff, 0xff]]
    {
        for _ in 0..3_400 {
            let mut stream = TcpStream::connect(page.address).unwrap();
            let _ = stream.write_all(bytes);
            drop(stream);
        }
    }
    let mut miner = page.site.gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
    let served = (0..1000).any(|_| {
        let mut other = Browser::from("127.0.0.2", page.address);
        other.send("GET", "/healthz", "").code == 200
    });
    assert!(served);
}

/// Memory of a process in bytes: private, its peak since [`forget_peak`], and the program's pages,
/// which the system may drop and read again.
fn memory(site: &Site) -> (u64, u64, u64) {
    let id = site.gateway.id();
    let value = |file: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{id}/{file}")).expect("it runs");
        let line = text.lines().find(|line| line.starts_with(name)).expect("it is there");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB");
        kib * 1024
    };
    let own = value("smaps_rollup", "Private_Dirty:");
    let code = value("status", "VmRSS:").saturating_sub(own);
    (own, value("status", "VmHWM:").saturating_sub(code), code)
}

fn forget_peak(site: &Site) {
    let path = format!("/proc/{}/clear_refs", site.gateway.id());
    std::fs::write(path, "5").expect("the process is ours");
}

/// Loads the page and all its data.
fn browse(browser: &mut Browser) {
    let paths = ["/style.css", "/app.js", "/basic", "/api/v1/backup", "/api/v1/certificate"];
    for path in client::PATHS.iter().copied().chain(paths) {
        let reply = browser.send("GET", path, "");
        assert_eq!(reply.code, 200, "{path}: {}", reply.raw);
    }
}

#[test]
fn the_page_and_its_api_take_no_more_than_two_mebibytes() {
    const PAGE_MAX: u64 = 2 << 20;
    const HASH_MAX: u64 = 7 << 20;
    let without = Site::start();
    let page = Page::start();
    for site in [&without, &page.site] {
        let mut miner = site.gateway.miner();
        miner.log_in("farm.1");
        let job = miner.wait_for_job();
        assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    }
    let (base, _, base_code) = memory(&without);
    forget_peak(&page.site);
    let code = json!({"code": code_of(&page.site.gateway)}).to_string();
    let from = |host: u8| Browser::from(&format!("127.0.0.{host}"), page.address);
    let mut browsers: Vec<_> = (10..18).map(from).collect();
    std::thread::scope(|scope| {
        for browser in &mut browsers {
            let code = &code;
            scope.spawn(move || {
                assert_eq!(browser.send("POST", "/api/v1/session", code).code, 200);
                browse(browser);
            });
        }
    });
    let (after, peak, code) = memory(&page.site);
    // Any number of passwords uses the plan's memory for one hash.
    let password = json!({"role": "admin", "word": "a long password"}).to_string();
    assert_eq!(browsers[0].send("POST", "/api/v1/password", &password).code, 200);
    let log_in = json!({"role": "admin", "password": "a long password"}).to_string();
    for browser in &mut browsers {
        assert_eq!(browser.send("POST", "/api/v1/session", &log_in).code, 200);
    }
    let (hashed, hash_peak, _) = memory(&page.site);
    let above = |bytes: u64| bytes.saturating_sub(base) / 1024;
    let text = format!(
        "without the page {} KiB; with it and 8 sessions {} KiB more, {} KiB at the peak, and {} KiB \
         more of the program are in use; after 9 passwords {} KiB more, {} KiB at the peak",
        base / 1024,
        above(after),
        above(peak),
        code.saturating_sub(base_code) / 1024,
        above(hashed),
        above(hash_peak)
    );
    writeln!(std::io::stderr().lock(), "{text}").unwrap();
    assert!(after <= base + PAGE_MAX && peak <= base + PAGE_MAX, "{text}");
    assert!(hashed.max(hash_peak) <= base + PAGE_MAX + HASH_MAX, "{text}");
}

/// Returns the processor time of the threads with a name, by the scheduler's count.
fn cpu_of(gateway: &gateway::Gateway, name: &str) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let of = tasks.flatten().map(|task| task.path());
    let of = of.filter(|path| read(path.join("comm")).trim_end() == name);
    let nanos = |path: std::path::PathBuf| {
        let text = read(path.join("schedstat"));
        text.split(' ').next().unwrap().parse().unwrap_or(0)
    };
    of.map(nanos).map(Duration::from_nanos).sum()
}

#[test]
fn f97_signatures_of_a_large_key_are_made_beside_the_event_loop() {
    const HANDSHAKES: u32 = 30;
    let page = Page::start();
    let mut browser = Browser::at(page.address);
    let code = json!({"code": code_of(&page.site.gateway)}).to_string();
    assert_eq!(browser.send("POST", "/api/v1/session", &code).code, 200);
    let pem = include_str!("web/rsa4096.pem");
    let brought = browser.send("PUT", "/api/v1/certificate", &json!({ "pem": pem }).to_string());
    assert_eq!(brought.code, 200, "{}", brought.raw);
    let mut miner = page.site.gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let gateway = &page.site.gateway;
    let before = (cpu_of(gateway, "page-tls"), cpu_of(gateway, "loka-stratum"));
    for nonce in 0..HANDSHAKES {
        assert_eq!(browser.send("GET", "/healthz", "").code, 200);
        assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
    }
    let signing = cpu_of(gateway, "page-tls").saturating_sub(before.0);
    let turning = cpu_of(gateway, "loka-stratum").saturating_sub(before.1);
    // No machine signs with such a key in less.
    assert!(signing > HANDSHAKES * Duration::from_micros(500), "{signing:?}");
    assert!(signing > turning, "{signing:?} beside the loop, {turning:?} on it");
}
