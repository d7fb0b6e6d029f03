//! Pool names that resolve slowly, not at all, to changing addresses, or to another server: F61,
//! F62.
//!
//! The gateway uses the system's resolver. A `resolv.conf` mounted for this process points it at
//! the test's DNS server.

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::gateway::{Folder, Gateway, Pool, program};
use super::skips::skipped;
use super::system::is_done;

/// The name of all pools in these tests.
const NAME: &str = "pool.loka.test";

/// A question about an IPv4 address (RFC 1035, 3.2.2).
const TYPE_A: u16 = 1;
const NO_SUCH_NAME: u8 = 3;

/// The server's answer for a name.
#[derive(Clone, Copy)]
enum Says {
    Address(Ipv4Addr),
    NoSuchName,
    /// No answer until the test changes it.
    Nothing,
}

/// A DNS server with one name, at its own address.
struct Names {
    address: Ipv4Addr,
    socket: UdpSocket,
    state: Arc<Mutex<State>>,
}

struct State {
    says: Says,
    /// Clients that wait for an answer, by question; a repeated question waits once.
    waiting: HashMap<(SocketAddr, u16), Vec<u8>>,
    /// Questions for an IPv4 address of the name.
    asked: usize,
}

impl Names {
    /// Starts it; `None` if port 53 is not available.
    fn start(last: u8, says: Says) -> Option<Self> {
        // Concurrent tests have separate addresses.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high, low, last);
        let socket = UdpSocket::bind((address, 53)).ok()?;
        let state = Arc::new(Mutex::new(State { says, waiting: HashMap::new(), asked: 0 }));
        let names = Self { address, socket, state };
        let (socket, state) = (names.socket.try_clone().ok()?, names.state.clone());
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut packet) {
                state.lock().unwrap().take(&socket, from, &packet[..len]);
            }
        });
        Some(names)
    }

    fn say(&self, says: Says) {
        let mut state = self.state.lock().unwrap();
        state.says = says;
        for ((to, _), question) in std::mem::take(&mut state.waiting) {
            state.answer(&self.socket, to, &question);
        }
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }
}

impl State {
    fn take(&mut self, socket: &UdpSocket, from: SocketAddr, packet: &[u8]) {
        let Some((kind, end)) = question_of(packet) else { return };
        self.asked += usize::from(kind == TYPE_A);
        if let Says::Nothing = self.says {
            let id = u16::from_be_bytes([packet[0], packet[1]]);
            self.waiting.insert((from, id), packet[..end].to_vec());
        } else {
            self.answer(socket, from, &packet[..end]);
        }
    }

    fn answer(&self, socket: &UdpSocket, to: SocketAddr, question: &[u8]) {
        let Some((kind, end)) = question_of(question) else { return };
        let (code, address) = match self.says {
            Says::Address(address) if kind == TYPE_A => (0, Some(address)),
            Says::Address(_) => (0, None),
            Says::NoSuchName => (NO_SUCH_NAME, None),
            Says::Nothing => return,
        };
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        if let Some(address) = address {
            // The name by its place in the question, A, IN, not to be kept, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        let _ = socket.send_to(&answer, to);
    }
}

/// Returns the type of a packet's question about the name, and the question's end.
fn question_of(packet: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    let mut name = Vec::new();
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(packet.get(at..at + len)?).to_lowercase());
        at += len;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    (name.join(".") == NAME).then_some((kind, at + 4))
}

/// Starts a gateway for the pool of that name, with `names` as its DNS server; `None` without the
/// permission to mount.
fn gateway_with(names: &Names, scheme: &str, port: u16, folder: &Path) -> Option<Gateway> {
    let resolv = folder.join("resolv.conf");
    // The resolver waits as long as it takes, so that the gateway's own bound is what counts.
    let text = format!("nameserver {}\noptions timeout:30 attempts:1\n", names.address);
    std::fs::write(&resolv, text).unwrap();
    let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", mount, resolv.to_str().unwrap()];
    if !is_done(&[&words[..], &["true"]].concat()) {
        return None;
    }
    let program = program();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(program.get_program());
    command.args(["run", "--no-state", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", &format!("{scheme}://{NAME}:{port}"), "--user", "farm"]);
    command.env("LOKA_UPSTREAM__RETRY_MAX_SECS", "1");
    Some(Gateway::spawn(command))
}

/// Waits until the status gives the reason for the unreachable pool, and returns it.
#[track_caller]
fn wait_for_error(gateway: &Gateway, part: &str) -> String {
    let error = |report: &Value| report["upstream"][0]["error"].as_str().map(str::to_owned);
    let report = gateway.wait_for(part, |report| error(report).is_some_and(|e| e.contains(part)));
    error(&report).unwrap()
}

fn is_ready(report: &Value) -> bool {
    report["ready"] == true
}

const NOT_PERMITTED: &str = "port 53 or a mount is not permitted";

#[test]
fn f61_a_name_service_that_is_slow_holds_nobody_up_and_its_answer_is_used_when_it_comes() {
    let folder = Folder::new("slow-name");
    let pool = Pool::start("abcd", 8);
    let Some(names) = Names::start(1, Says::Nothing) else { return skipped(NOT_PERMITTED) };
    let (port, start) = (pool.address.port(), Instant::now());
    let Some(gateway) = gateway_with(&names, "stratum+tcp", port, &folder.0) else {
        return skipped(NOT_PERMITTED);
    };
    let asked = Instant::now();
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    assert_eq!(gateway.get("/healthz").0, 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "the resolver is not in the way");
    let error = wait_for_error(&gateway, "not resolved within 8 s");
    assert!(error.contains(NAME), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
    gateway.wait_for("a second attempt", |r| r["links_lost"]["name"].as_u64() >= Some(2));
    assert_eq!(names.asked(), 1, "the second attempt waits for the first one's question");
    names.say(Says::Address(Ipv4Addr::LOCALHOST));
    gateway.wait_for("the pool", is_ready);
    miner.wait_for_job();
    assert_eq!(names.asked(), 1, "it was the late answer that was used");
}

#[test]
fn f61_f62_each_attempt_asks_anew_and_whoever_answers_for_the_pool_is_named() {
    let folder = Folder::new("other-name");
    let pool = Pool::start("abcd", 8);
    let port = pool.address.port();
    let Some(names) = Names::start(2, Says::NoSuchName) else { return skipped(NOT_PERMITTED) };
    // A captive portal answers at the pool's port, at the address that it gives for every name.
    let Ok(portal) = TcpListener::bind((names.address, port)) else {
        return skipped("the portal's address is not to be had");
    };
    std::thread::spawn(move || {
        for mut stream in portal.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://portal/\r\n\r\n");
        }
    });
    let Some(gateway) = gateway_with(&names, "stratum+tcp", port, &folder.0) else {
        return skipped(NOT_PERMITTED);
    };
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let error = wait_for_error(&gateway, "not resolved: ");
    assert!(error.contains(NAME), "{error}");

    let nobody = Ipv4Addr::new(127, 255, 255, 3);
    names.say(Says::Address(nobody));
    let error = wait_for_error(&gateway, &format!("{NAME} at {nobody}:{port}"));
    assert!(error.contains("a private address"), "{error}");

    names.say(Says::Address(names.address));
    gateway.wait_for("the portal", |r| r["links_lost"]["looks_like_http"].as_u64() >= Some(1));
    assert_eq!(gateway.report()["ready"], false);

    let IpAddr::V4(right) = pool.address.ip() else { unreachable!("it is bound to IPv4") };
    names.say(Says::Address(right));
    gateway.wait_for("the pool", is_ready);
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    gateway.wait_for("the answer", |report| report["ledger"]["pool_accepted"] == 1);

    // An open link does not resolve the name; a new link resolves it again.
    let asked = names.asked();
    pool.cut("ef01", 8);
    gateway.wait_for("the next question", |_| names.asked() > asked);
    gateway.wait_for("the pool again", is_ready);
    assert_eq!(gateway.report()["miners"]["connected"], 1, "the miner stayed through it all");
}

#[test]
fn f62_a_portal_in_the_place_of_a_pool_with_tls_is_named_and_left_for_the_pool() {
    let folder = Folder::new("portal");
    let Some(names) = Names::start(3, Says::NoSuchName) else { return skipped(NOT_PERMITTED) };
    let portal = TcpListener::bind((names.address, 0)).unwrap();
    let port = portal.local_addr().unwrap().port();
    names.say(Says::Address(names.address));
    std::thread::spawn(move || {
        for mut stream in portal.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let Some(gateway) = gateway_with(&names, "stratum+ssl", port, &folder.0) else {
        return skipped(NOT_PERMITTED);
    };
    let error = wait_for_error(&gateway, "or a captive portal");
    assert!(error.contains(NAME) && error.contains("a private address"), "{error}");
    gateway.wait_for("a second try", |r| r["links_lost"]["tls"].as_u64() >= Some(2));
    assert_eq!(gateway.report()["ready"], false);
}
