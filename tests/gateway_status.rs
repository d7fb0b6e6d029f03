//! The status port: its answers, and its bounds (F74).
#![cfg(feature = "gateway")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

mod gateway;
mod skips;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
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
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// Requests the counters and returns the answer's type and body.
fn metrics(gateway: &Gateway, accept: &str) -> (String, String) {
    let address = gateway.status.unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n{accept}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (kind.to_owned(), body.to_owned())
}

/// Reads the classic text format strictly: every family has HELP, then TYPE, then its samples.
fn read_classic(text: &str) -> Vec<(String, String, usize)> {
    let mut families: Vec<(String, String, usize)> = Vec::new();
    let mut help: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("a name and words");
            assert!(!words.trim().is_empty() && help.is_none(), "{line}");
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(help.take().as_deref(), Some(name), "HELP comes first: {line}");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.iter().all(|(known, _, _)| known != name), "twice: {line}");
            families.push((name.to_owned(), kind.to_owned(), 0));
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
            let name = sample.split('{').next().unwrap();
            let family = families.last_mut().expect("a family before its samples");
            assert_eq!(name, family.0, "{line}");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            family.2 += 1;
        }
    }
    assert!(text.ends_with('\n'));
    families
}

#[test]
fn counters_come_in_the_format_that_is_asked_for() {
    let (_pool, gateway) = start();
    for accept in [
        "",
        "accept: */*\r\n",
        "accept: text/plain\r\n",
        "accept: text/plain;version=0.0.4\r\n",
        "accept: application/vnd.google.protobuf\r\n",
        "accept: application/openmetrics-text;q=0.1,text/plain\r\n",
    ] {
        let (kind, body) = metrics(&gateway, accept);
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        let families = read_classic(&body);
        assert!(families.len() > 25, "{families:?}");
        let has = |name: &str, kind: &str| {
            families.iter().any(|(n, k, samples)| n == name && k == kind && *samples > 0)
        };
        assert!(has("loka_miners_accepted_total", "counter"), "{families:?}");
        assert!(has("loka_shares_total", "counter") && has("loka_ready", "gauge"), "{families:?}");
    }
    let of_prometheus = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (kind, body) = metrics(&gateway, of_prometheus);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.contains("# TYPE loka_miners_accepted counter\n") && body.ends_with("# EOF\n"));
}

/// Checks the classic format with Prometheus's own tool, if it is installed.
#[test]
fn promtool_has_nothing_to_say_of_the_counters() {
    let (_pool, gateway) = start();
    let (_, body) = metrics(&gateway, "");
    let mut command = std::process::Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut tool) = command.stdout(Stdio::piped()).spawn() else {
        return skips::skipped("there is no promtool (Debian's package prometheus has it)");
    };
    tool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{body}");
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
    // Connections beyond the sixteen are closed at once, the others after five seconds.
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
