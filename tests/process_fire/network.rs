//! A network that is unplugged, loses and reorders packets, or silently forgets a connection: F47,
//! F60, F63. And all traffic of a gateway: F86.
//!
//! The gateway runs in its own network namespace, and reaches its peers on this machine through
//! another namespace, the router. F47 and F63 test the kernel's own timers, so they take a minute
//! and more, and run only with `LONG=1`.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::gateway::{Folder, Gateway, Pool, program};
use super::skips::skipped;
use super::sum;
use super::system::{is_done, is_long};

/// Time limits for freeing a vanished miner's slot, and for replacing a forgotten link.
const GONE_MAX: Duration = Duration::from_secs(90);

/// This machine, a router, and a gateway behind it; removed on drop.
struct Network {
    router: String,
    inner: String,
    /// This machine's end of the cable to the router.
    near: String,
    /// Number of this network; concurrent tests have separate networks.
    net: u8,
}

impl Network {
    /// Creates it, with 10.213.N.1 for this machine and 10.214.N.2 for the gateway; `None` without
    /// the permission.
    fn lay(net: u8) -> Option<Self> {
        let id = format!("{}{net}", std::process::id());
        let [router, inner, near] = ["lkr", "lkg", "lkn"].map(|prefix| format!("{prefix}{id}"));
        let network = Self { router, inner, near, net };
        let Self { router, inner, near, .. } = &network;
        let steps = [
            format!("ip netns add {router}"),
            format!("ip netns add {inner}"),
            format!("ip link add {near} type veth peer name lkup netns {router}"),
            format!("ip -n {router} link add lkdown type veth peer name lkup netns {inner}"),
            format!("ip addr add 10.213.{net}.1/30 dev {near}"),
            format!("ip -n {router} addr add 10.213.{net}.2/30 dev lkup"),
            format!("ip -n {router} addr add 10.214.{net}.1/30 dev lkdown"),
            format!("ip -n {inner} addr add 10.214.{net}.2/30 dev lkup"),
            format!("ip link set {near} up"),
            format!("ip -n {router} link set lkup up"),
            format!("ip -n {router} link set lkdown up"),
            format!("ip -n {inner} link set lkup up"),
            format!("ip -n {inner} link set lo up"),
            format!("ip route add 10.214.{net}.0/30 via 10.213.{net}.2"),
            format!("ip -n {inner} route add default via 10.214.{net}.1"),
            format!("ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1"),
        ];
        steps.iter().all(|step| run(step)).then_some(network)
    }

    /// Starts a gateway in it, with its pool on this machine.
    fn gateway(&self, pool: &Pool) -> Gateway {
        let Self { inner, net, .. } = self;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", inner]).arg(program().get_program());
        command.args(["run", "--no-state"]);
        let here = format!("10.214.{net}.2:0");
        command.args(["--listen", &here, "--status", &here, "--user", "farm"]);
        command.args(["--pool", &format!("stratum+tcp://10.213.{net}.1:{}", pool.address.port())]);
        Gateway::spawn(command)
    }

    /// Has the router drop a fifth of the packets of a TCP port of this machine, and delay a third
    /// of the rest, so that they arrive late and out of order.
    fn lose_and_disorder(&self, port: u16) -> bool {
        let Self { router, .. } = self;
        let queues = ["lkup", "lkdown"].iter().all(|device| {
            run(&format!("tc -n {router} qdisc add dev {device} root handle 1: htb default 1"))
                && run(&format!(
                    "tc -n {router} class add dev {device} parent 1: classid 1:1 htb rate 1gbit"
                ))
                && run(&format!(
                    "tc -n {router} class add dev {device} parent 1: classid 1:2 htb rate 32kbit"
                ))
        });
        let nft = |words: &str| run(&format!("ip netns exec {router} nft {words}"));
        queues
            && nft("add table ip loka")
            && nft("add chain ip loka way { type filter hook forward priority 0 ; }")
            && ["sport", "dport"].iter().all(|end| {
                let rule = format!("add rule ip loka way tcp {end} {port} numgen random mod 100");
                nft(&format!("{rule} < 20 drop"))
                    && nft(&format!("{rule} < 33 meta priority set 1:2"))
            })
    }

    /// Has the router silently drop packets from a TCP port of this machine to a port of the
    /// gateway.
    fn forget(&self, from: u16, to: u16) -> bool {
        let Self { router, .. } = self;
        let rule = "ipproto tcp sport";
        run(&format!("ip -n {router} rule add {rule} {from} dport {to} blackhole"))
            && run(&format!("ip -n {router} rule add {rule} {to} dport {from} blackhole"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        run(&format!("ip link del {}", self.near));
        run(&format!("ip netns del {}", self.router));
        run(&format!("ip netns del {}", self.inner));
    }
}

fn run(line: &str) -> bool {
    is_done(&line.split(' ').collect::<Vec<_>>())
}

/// Skips the test with the reason, if it cannot run.
fn long_network(net: u8) -> Option<Network> {
    if !is_long() {
        return None;
    }
    let network = Network::lay(net);
    if network.is_none() {
        skipped("a network namespace is not permitted");
    }
    network
}

/// The destinations of a host's packets that pass this machine.
struct Capture {
    seen: Arc<Mutex<BTreeSet<SocketAddrV4>>>,
    is_over: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

/// Every protocol, in the order of the network (`ETH_P_ALL`).
const ALL: i32 = 3_u16.to_be() as i32;

impl Capture {
    /// Records the destinations of `source` from now on; `None` without the permission.
    fn start(source: Ipv4Addr) -> Option<Self> {
        let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL))).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        let seen = Arc::<Mutex<BTreeSet<SocketAddrV4>>>::default();
        let is_over = Arc::<AtomicBool>::default();
        let (noted, over) = (seen.clone(), is_over.clone());
        let reader = std::thread::spawn(move || {
            let mut frame = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                let Ok(length) = socket.read(&mut frame) else { continue };
                if let Some((from, to)) = opens(&frame[..length])
                    && from == source
                {
                    noted.lock().unwrap().insert(to);
                }
            }
        });
        Some(Self { seen, is_over, reader: Some(reader) })
    }

    fn has(&self, to: SocketAddrV4) -> bool {
        self.seen.lock().unwrap().contains(&to)
    }

    /// Returns all recorded destinations.
    fn end(mut self) -> BTreeSet<SocketAddrV4> {
        self.is_over.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Source and destination of an Ethernet frame with IPv4; of a TCP connection only the first
/// packet. The port is 0 for protocols without ports.
fn opens(frame: &[u8]) -> Option<(Ipv4Addr, SocketAddrV4)> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let address = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    let segment = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    let protocol = *packet.get(9)?;
    if protocol == TCP && segment.get(13)? & (SYN | ACK) != SYN {
        return None;
    }
    let port = segment.get(2..4).filter(|_| matches!(protocol, TCP | UDP));
    let port = port.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    Some((address(12)?, SocketAddrV4::new(address(16)?, port)))
}

/// The name servers of this machine.
fn name_servers() -> Vec<Ipv4Addr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let of_line = |line: &str| line.strip_prefix("nameserver ")?.trim().parse().ok();
    text.lines().filter_map(of_line).collect()
}

#[test]
fn f86_only_configured_pools_and_name_servers_are_contacted() {
    let Some(network) = Network::lay(86) else {
        return skipped("a network namespace is not permitted");
    };
    let here = Ipv4Addr::new(10, 213, network.net, 1);
    let inner = Ipv4Addr::new(10, 214, network.net, 2);
    // The default route leads to this machine, which forwards nothing.
    let way = format!("ip -n {} route add default via {here}", network.router);
    let Some(capture) = Capture::start(inner).filter(|_| run(&way)) else {
        return skipped("packets may not be captured");
    };
    let pool = Pool::start_at(here, "abcd", 8);
    // A second pool with an unknown name; a third that is unreachable.
    let pools = [(here, pool.address.port()), (Ipv4Addr::new(198, 51, 100, 7), 3333)];
    let pools = pools.map(|(ip, port)| SocketAddrV4::new(ip, port));
    let absent = pools[1];
    let folder = Folder::new("f86");
    let settings = format!(
        "[[pool]]\nurl = \"stratum+tcp://{}\"\nuser = \"farm\"\n\
         [[pool]]\nurl = \"stratum+ssl://pool.invalid:3334\"\nuser = \"farm\"\n\
         [[pool]]\nurl = \"stratum+tcp://{absent}\"\nuser = \"farm\"\n\
         [upstream]\nretry_min_secs = 1\nfailover_secs = 2\n[state]\ndir = \"{}\"\n",
        pool.address,
        folder.0.join("state").display(),
    );
    std::fs::create_dir(folder.0.join("state")).unwrap();
    std::fs::write(folder.0.join("loka.toml"), settings).unwrap();
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &network.inner]).arg(program().get_program()).arg("run");
    let port = format!("{inner}:0");
    command.args(["--listen", &port, "--status", &port]);
    let mut gateway = Gateway::spawn({
        command.arg("--config").arg(folder.0.join("loka.toml"));
        command
    });
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    // A pool and a miner that try to redirect the gateway.
    let away = r#"{"id":null,"method":"client.reconnect","params":["203.0.113.9",3333,0]}"#;
    pool.say(away);
    gateway.wait_for_line("reconnect");
    let _ = miner.send_raw(format!("{away}\n").as_bytes());
    let start = Instant::now();
    while !capture.has(absent) {
        assert!(start.elapsed() < GONE_MAX, "{:#}", gateway.report());
        std::thread::sleep(Duration::from_millis(50));
    }
    pool.cut("beef", 8);
    gateway.wait_for("another link", |r| sum(&r["links_lost"]) > 0 && r["ready"] == true);
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let seen = capture.end();
    let of_names = |to: &SocketAddrV4| to.port() == 53 && name_servers().contains(to.ip());
    let others: Vec<_> = seen.iter().filter(|to| !pools.contains(to) && !of_names(to)).collect();
    assert!(others.is_empty(), "also contacted: {others:?}");
    assert!(pools.iter().all(|pool| seen.contains(pool)), "{seen:?}");
    println!("contacted: {seen:?}");
}

fn connected(gateway: &Gateway) -> u64 {
    gateway.report()["miners"]["connected"].as_u64().unwrap()
}

#[test]
fn f47_a_pulled_cable_gives_the_place_back_within_90_seconds_whatever_is_sent_meanwhile() {
    let Some(network) = long_network(47) else { return };
    // Here the miners are behind the router, so that the gateway's status is reached throughout.
    let pool = Pool::start("abcd", 8);
    let mut command = program();
    let here = format!("10.213.{}.1:0", network.net);
    command.args(["run", "--listen", &here, "--status", "127.0.0.1:0", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]);
    let gateway = Gateway::spawn(command);
    let listen = gateway.listen[0].to_string();
    let mut miners = Command::new("ip")
        .args(["netns", "exec", &network.inner])
        .arg(program().get_program())
        .args(["lab", "swarm", "--connect", &listen, "--miners", "5", "--work", "idle"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    gateway.wait_for("five miners", |report| report["miners"]["connected"] == 5);
    // Beyond the router and silently: no end sees a link go down.
    assert!(run(&format!("ip -n {} rule add pref 1 blackhole", network.router)));
    let start = Instant::now();
    // The worst moment for a job: just before the silence is long enough.
    while start.elapsed() < Duration::from_secs(36) {
        assert_eq!(connected(&gateway), 5, "after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    pool.new_job();
    while connected(&gateway) != 0 {
        assert!(start.elapsed() < GONE_MAX, "{}", gateway.report()["miners"]);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("five places came back after {:?}", start.elapsed());
    miners.kill().unwrap();
    miners.wait().unwrap();
}

/// A swarm of idle miners in a network namespace, ended with its connections on drop.
struct Swarm(std::process::Child);

impl Swarm {
    /// Starts it, with local ports from `port` on.
    fn start(network: &Network, listen: &str, miners: usize, port: u16) -> Self {
        let range = format!("net.ipv4.ip_local_port_range={port} {}", port + 999);
        let mut sysctl = Command::new("ip");
        sysctl.args(["netns", "exec", &network.inner, "sysctl", "-qw", &range]);
        assert!(sysctl.status().unwrap().success());
        let mut swarm = Command::new("ip");
        swarm.args(["netns", "exec", &network.inner]).arg(program().get_program());
        swarm.args(["lab", "swarm", "--connect", listen, "--work", "idle"]);
        swarm.args(["--miners", &miners.to_string()]).stdout(Stdio::null());
        Self(swarm.spawn().unwrap())
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A router forgets the connections of a hall. Its miners reconnect at once from the same address,
/// which has no free connection left.
#[test]
fn f47_miners_come_back_behind_a_router_that_forgot_them_though_their_address_is_full() {
    const MINERS: usize = 40;
    let Some(network) = Network::lay(48) else {
        return skipped("a network namespace is not permitted");
    };
    let pool = Pool::start("abcd", 8);
    let mut command = program();
    let here = format!("10.213.{}.1:0", network.net);
    command.args(["run", "--listen", &here, "--status", "127.0.0.1:0", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]);
    command.env("LOKA_LISTEN__PER_ADDRESS_MAX", MINERS.to_string());
    let gateway = Gateway::spawn(command);
    let listen = gateway.listen[0].to_string();
    let first = Swarm::start(&network, &listen, MINERS, 20_000);
    let all = |report: &Value| report["miners"]["connected"] == MINERS;
    gateway.wait_for("the hall", all);
    // Neither end hears of it.
    for end in ["sport", "dport"] {
        let rule = format!("rule add pref 1 ipproto tcp {end} 20000-20999 blackhole");
        assert!(run(&format!("ip -n {} {rule}", network.router)));
    }
    let start = Instant::now();
    drop(first);
    let second = Swarm::start(&network, &listen, MINERS, 30_000);
    let vanished = |report: &Value| report["miners"]["ended"]["vanished"].as_u64().unwrap_or(0);
    let report = gateway.wait_for("a refusal that is shown", |report| {
        report["warnings"].to_string().contains("listen.per_address_max")
    });
    assert!(report["miners"]["refused"]["address_full"].as_u64().unwrap() > 0);
    gateway.wait_for("the hall again", |report| vanished(report) == MINERS as u64 && all(report));
    println!("{MINERS} miners were back after {:?}", start.elapsed());
    // A connected miner keeps its slot, however quiet, even if others want it.
    let refused = |report: &Value| report["miners"]["refused"]["address_full"].as_u64().unwrap();
    let before = refused(&gateway.report());
    let _third = Swarm::start(&network, &listen, 2, 40_000);
    let report = gateway.wait_for("more of them", |report| refused(report) >= before + 6);
    assert!(all(&report), "{}", report["miners"]);
    assert_eq!(vanished(&report), MINERS as u64, "{}", report["miners"]);
    drop(second);
}

#[test]
fn f60_lost_and_disordered_packets_cost_time_only() {
    let Some(network) = Network::lay(60) else {
        return skipped("a network namespace is not permitted");
    };
    let pool = Pool::start_at(Ipv4Addr::new(10, 213, network.net, 1), "abcd", 8);
    let gateway = network.gateway(&pool);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let mut job = miner.wait_for_job();
    if !network.lose_and_disorder(pool.address.port()) {
        return skipped("nft or tc is not there, or not permitted");
    }
    let retransmitted = || retransmissions(&network.inner);
    let before = retransmitted();
    for round in 0..10 {
        for nonce in 0..20 {
            assert_eq!(miner.submit("farm.1", &job, round * 20 + nonce)["result"], true);
        }
        pool.new_job();
        job = miner.wait_for_job();
    }
    let report = gateway.wait_for("an answer to every share", |report| {
        let ledger = &report["ledger"];
        ledger["pending"] == 0 && ledger["held"] == 0
    });
    let ledger = &report["ledger"];
    assert_eq!(ledger["submitted"], 200);
    assert_eq!(pool.submits().len() as u64, ledger["pool_accepted"].as_u64().unwrap(), "each once");
    assert_eq!(ledger["pool_accepted"], 200, "{ledger}");
    assert_eq!(sum(&report["links_lost"]), 0, "{}", report["links_lost"]);
    assert_eq!(connected(&gateway), 1);
    let again = retransmitted() - before;
    assert!(again > 0, "nothing was lost on the way");
    println!("200 shares over a fifth of loss: all accepted, {again} segments sent again");
}

/// Number of retransmitted segments from a namespace.
fn retransmissions(namespace: &str) -> u64 {
    let shown = Command::new("ip")
        .args(["netns", "exec", namespace, "cat", "/proc/net/snmp"])
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let at = names.split(' ').position(|name| name == "RetransSegs").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Has the router forget the current link, runs an action, and waits for a new link.
fn forget_link(
    network: &Network,
    pool: &Pool,
    gateway: &Gateway,
    mut act: impl FnMut(),
) -> Duration {
    let is_ready = |report: &Value| report["ready"] == true;
    let lost = sum(&gateway.wait_for("the pool", is_ready)["links_lost"]);
    let link = pool.link().expect("there is a link");
    assert!(network.forget(pool.address.port(), link.port()));
    let start = Instant::now();
    act();
    loop {
        let report = gateway.report();
        if sum(&report["links_lost"]) > lost && is_ready(&report) {
            return start.elapsed();
        }
        assert!(start.elapsed() < GONE_MAX, "{report:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn f63_a_link_that_a_nat_forgot_is_found_and_made_anew_idle_or_not() {
    let Some(network) = long_network(63) else { return };
    let pool = Pool::start_at(Ipv4Addr::new(10, 213, network.net, 1), "abcd", 8);
    let gateway = network.gateway(&pool);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    gateway.wait_for("the answer", |report| report["ledger"]["pool_accepted"] == 1);

    // On an idle link the kernel's probes detect it.
    let idle = forget_link(&network, &pool, &gateway, || ());
    println!("an idle link that was forgotten was made anew after {idle:?}");
    assert!(idle <= Duration::from_secs(50), "{idle:?}");

    // With shares in flight, their missing answers detect it; in the end the pool has each share
    // once.
    let found = forget_link(&network, &pool, &gateway, || {
        for nonce in 2..12 {
            assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
        }
    });
    println!("a link that was forgotten with shares under way was made anew after {found:?}");
    assert!(found <= Duration::from_secs(50), "{found:?}");
    let ledger = |report: &Value, place: &str| report["ledger"][place].as_u64().unwrap();
    let report = gateway.wait_for("an end of all shares", |report| {
        ledger(report, "pending") == 0 && ledger(report, "held") == 0
    });
    let accepted = ledger(&report, "pool_accepted");
    assert_eq!(accepted as usize, pool.submits().len(), "each once");
    assert_eq!(accepted + sum(&report["ledger"]["orphaned"]), 11, "{}", report["ledger"]);
    assert_eq!(connected(&gateway), 1, "the miner stayed");
}
