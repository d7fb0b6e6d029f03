//! Connections that never finish, from one, two and a hundred addresses: F97.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::gateway::{Folder, Gateway, PATIENCE, Pool, program};
use crate::tls::Browser;

/// Polls of the watchdog during an attack: more than its limit of failures.
const LOOKS: usize = 5;

/// The number of SIGKILL.
const SIGKILL: i32 = 9;

/// Opens a connection from one of this machine's addresses.
pub fn connect_from(source: [u8; 4], to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((source, 0)).into()).ok()?;
    socket.connect(&to.into()).ok()?;
    Some(socket.into())
}

/// Opens connections to all of `ports` from so many addresses and finishes none, until it is over.
fn hold(addresses: usize, ports: &[SocketAddr], is_over: &AtomicBool) {
    let mut held = std::collections::VecDeque::new();
    for n in (0..addresses).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        for port in ports {
            let source = [127, 0, 1, u8::try_from(n).unwrap()];
            let Some(mut stream) = connect_from(source, *port) else { continue };
            // The begin of a request, or of a handshake.
            let _ = stream.write_all(if n % 2 == 0 { b"GET / HT" } else { &[0x16, 3, 1, 0x40] });
            held.push_back(stream);
        }
        // As many as a desktop may open, and never fewer than there are slots.
        while held.len() > 200 {
            held.pop_front();
        }
        std::thread::yield_now();
    }
}

fn start(folder: &Folder, pool: &Pool) -> (Gateway, SocketAddr) {
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]);
    command.env("LOKA_WEB__ADDRESS", "127.0.0.1:0");
    command.arg("--alive").arg(folder.0.join("alive"));
    let mut gateway = Gateway::spawn(command);
    let line = gateway.wait_for_line("page at https://");
    let page = line.split_once("page at https://").unwrap().1.parse().expect("an address");
    (gateway, page)
}

#[test]
fn f97_connections_that_never_finish_keep_nobody_out_and_the_shipped_watchdog_finds_it_well() {
    let (folder, pool) = (Folder::new("alive"), Pool::start("abcd", 8));
    let (mut gateway, page) = start(&folder, &pool);
    let ports = [page, gateway.status.unwrap()];
    std::fs::write(folder.0.join("pid"), format!("{}\n", gateway.id())).unwrap();
    for addresses in [1, 2, 100] {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| hold(addresses, &ports, &is_over));
            let begun = Instant::now();
            // This machine's status and page, and a newcomer of the network.
            let served = |mut browser: Browser| {
                while browser.send("GET", "/api/v1/session", "").code != 200 {
                    assert!(
                        begun.elapsed() < PATIENCE,
                        "nobody of {addresses} addresses gives way"
                    );
                }
            };
            for _ in 0..10 {
                assert_eq!(gateway.get("/healthz").0, 200, "{addresses} addresses");
                served(Browser::at(page));
                served(Browser::from("127.0.0.9", page));
            }
            let mut miner = gateway.miner();
            miner.log_in("farm.1");
            miner.wait_for_job();
            if addresses == 2 {
                watched(&folder);
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
    // A stopped gateway is killed.
    gateway.signal("STOP");
    let mut watchdog = watchdog(&folder);
    let ended = gateway.wait();
    let _ = watchdog.kill();
    let _ = watchdog.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(SIGKILL));
}

/// Starts the script that OpenWrt's package ships; it says what it does.
fn watchdog(folder: &Folder) -> std::process::Child {
    let mut script = Command::new("sh");
    script.args(["-x", concat!(env!("CARGO_MANIFEST_DIR"), "/xtask/package/openwrt/watchdog")]);
    script.arg(folder.0.join("alive")).arg(folder.0.join("pid")).arg("1");
    script.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("there is a shell")
}

/// Waits until the watchdog has found the gateway well so many times.
fn watched(folder: &Folder) {
    let mut watchdog = watchdog(folder);
    let lines = BufReader::new(watchdog.stderr.take().unwrap()).lines().map_while(Result::ok);
    let well = lines.take_while(|line| !line.contains("kill -KILL"));
    let well = well.filter(|line| line == "+ failures=0").take(LOOKS + 1).count();
    let _ = watchdog.kill();
    let _ = watchdog.wait();
    assert_eq!(well, LOOKS + 1, "the watchdog ended a gateway that is well");
}

#[test]
fn f97_handshakes_that_an_address_throws_away_are_refused_before_they_begin_and_counted() {
    let (folder, pool) = (Folder::new("handshakes"), Pool::start("abcd", 8));
    let (gateway, page) = start(&folder, &pool);
    let refused = || gateway.report()["page"]["handshakes_refused"].as_u64().expect("a count");
    assert_eq!(refused(), 0);
    let begun = Instant::now();
    while refused() == 0 {
        assert!(begun.elapsed() < PATIENCE, "an address begins as many as it likes");
        (0..100).for_each(|_| drop(connect_from([127, 0, 1, 1], page)));
    }
    let served = |from: &str| {
        let begun = Instant::now();
        while Browser::from(from, page).send("GET", "/api/v1/session", "").code != 200 {
            assert!(begun.elapsed() < PATIENCE, "{from} is not served");
        }
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(connect_from([127, 0, 1, 1], page));
            }
        });
        (0..5).for_each(|_| served("127.0.0.9"));
        (0..200).for_each(|_| assert!(Browser::at(page).send("GET", "/healthz", "").code > 0));
        is_over.store(true, Ordering::Relaxed);
    });
    served("127.0.1.1");
    let metrics = gateway.get("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with("loka_page_handshakes_refused_total "));
    let count = line.and_then(|line| line.split(' ').nth(1)).expect("there is the metric");
    assert_eq!(count.parse::<u64>().ok(), Some(refused()), "it is settled");
}
