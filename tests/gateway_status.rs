//! The status port: what it answers, and what it does not let happen (F74).
#![cfg(feature = "gateway")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

mod gateway;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gateway::{Gateway, PATIENCE, Pool, http};

fn start() -> (Pool, Gateway) {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    (pool, gateway)
}

#[test]
fn the_four_pages() {
    let (_pool, gateway) = start();
    assert_eq!(gateway.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(gateway.get("/readyz"), (200, "ready\n".to_owned()));
    let report = gateway.report();
    for key in ["version", "uptime_secs", "ready", "warnings", "miners", "upstream", "ledger"] {
        assert!(!report[key].is_null(), "{key}");
    }
    for key in ["url", "state", "extranonce2_size", "difficulty", "answer_ms"] {
        assert!(report["upstream"][0].get(key).is_some(), "{key}");
    }
    let (code, metrics) = gateway.get("/metrics");
    assert_eq!(code, 200);
    for line in [
        "loka_miners_connected 0",
        "loka_shares_total{result=\"rejected\",reason=\"stale\"} 0",
        "loka_shares_total{result=\"pool_accepted\",reason=\"\"} 0",
        "loka_upstream_extranonce2_bytes{pool=\"1\",link=\"0\",url=\"",
        "loka_ready 1",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn f74_what_is_too_long_unknown_or_not_asked_for_is_refused() {
    let (_pool, gateway) = start();
    let address = gateway.status.unwrap();
    let head = "host: 127.0.0.1\r\n";
    let get = |path: &str| http(address, &format!("GET {path} HTTP/1.1\r\n{head}\r\n")).0;
    assert_eq!(get("/../etc/passwd"), 404);
    assert_eq!(get("/metrics?x=1"), 200);
    assert_eq!(http(address, &format!("DELETE /metrics HTTP/1.1\r\n{head}\r\n")).0, 405);
    let long = "a".repeat(20_000);
    assert_eq!(http(address, &format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n")).0, 431);
    let body = "b".repeat(20_000);
    let post = format!("POST / HTTP/1.1\r\n{head}content-length: 20000\r\n\r\n{body}");
    assert_eq!(http(address, &post).0, 413);
    assert_eq!(http(address, "NONSENSE\r\n\r\n").0, 400);
    let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_ne!(http(address, &format!("POST / HTTP/1.1\r\n{head}{both}")).0, 200);
    // Of two requests on one connection the first is answered.
    let two = format!("GET /healthz HTTP/1.1\r\n{head}\r\n").repeat(2);
    assert_eq!(http(address, &two), (200, "ok\n".to_owned()));
}

#[test]
fn f74_slow_and_many_connections_do_not_hold_miners_up() {
    let (_pool, gateway) = start();
    let address = gateway.status.unwrap();
    let mut slow: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET /metr");
    }
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
    // Those beyond the sixteen are let go at once, the others after five seconds.
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let timed_out = end.is_err_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        });
        assert!(!timed_out, "a slow connection keeps its place");
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(gateway.get("/healthz").0, 200);
}

#[test]
fn the_port_may_be_off() {
    let pool = Pool::start("abcd", 8);
    let mut command = gateway::program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "off", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]);
    let gateway = Gateway::spawn(command);
    assert_eq!(gateway.status, None);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
}
