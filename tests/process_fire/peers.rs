//! Miners and clients that pretend to be miners: F43 to F52, F54.

use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use loka_stratum::limits::LANES_MAX;
use loka_stratum::offenders::{Place, octets};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use super::gateway::{Gateway, Miner, PATIENCE, Pool};
use super::system::{is_long, seconds};
use super::{cpu_time, memory_kib, sum};

/// A connection from one of this machine's addresses.
fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits for the other side's end of the connection; returns whether it came.
fn is_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    end.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn f43_f19_a_handshake_by_drops_is_ended_by_the_total_deadline_and_holds_nobody_up() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let address = gateway.listen[0];
    let start = Instant::now();
    let mut drops: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut silent = TcpStream::connect(address).unwrap();
    let mut unauthorized = gateway.miner();
    unauthorized.ask("mining.subscribe", json!(["slow/1"]));
    let line = json!({"id": 1, "method": "mining.subscribe", "params": ["drop/1"]}).to_string();
    for byte in line.as_bytes().chunks(1).cycle() {
        // A closed socket fails at the second write.
        drops.retain_mut(|stream| stream.write_all(byte).is_ok());
        if drops.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{} drop on", drops.len());
        // Others are served at once meanwhile.
        let mut honest = gateway.miner();
        let asked = Instant::now();
        honest.log_in("farm.1");
        honest.wait_for_job();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(start.elapsed() >= Duration::from_secs(9), "the deadline is 10 s");
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_ended(&mut silent));
    assert!(unauthorized.is_closed());
    assert!(start.elapsed() >= Duration::from_secs(14), "that for authorizing is 15 s");
    let report = gateway.wait_for("all ended", |r| r["miners"]["connected"] == 0);
    assert_eq!(report["miners"]["ended"]["handshake_timeout"], 52, "{}", report["miners"]);
}

#[test]
fn f44_one_address_gets_so_many_places_and_no_more() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[("LOKA_LISTEN__PER_ADDRESS_MAX", "3")]);
    let address = gateway.listen[0];
    let first: Vec<TcpStream> = (0..3).map(|_| connect_from("127.0.0.2", address)).collect();
    gateway.wait_for("three", |r| r["miners"]["connected"] == 3);
    assert!(is_ended(&mut connect_from("127.0.0.2", address)));
    let _other = connect_from("127.0.0.3", address);
    gateway.wait_for("another address", |r| r["miners"]["connected"] == 4);
    drop(first);
    gateway.wait_for("places", |r| r["miners"]["connected"] == 1);
    let start = Instant::now();
    let _again = connect_from("127.0.0.2", address);
    let report = gateway.wait_for("a freed place", |r| r["miners"]["connected"] == 2);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(report["miners"]["refused"]["address_full"], 1);
}

#[test]
fn f45_five_hundred_connects_and_closes_a_second_leak_nothing() {
    let Some(seconds) = seconds(30, 600) else { return };
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let mut job = miner.wait_for_job();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    let (files_before, mut memory_before) = (files(), 0);
    let a_second = 500;
    let start = Instant::now();
    for second in 0..seconds {
        for peer in 0..a_second {
            // Four addresses, as each has so many ports; and every other way to go.
            let source = format!("127.0.0.{}", 2 + peer % 4);
            let stream = connect_from(&source, gateway.listen[0]);
            if peer % 2 == 0 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        if second % 30 == 29 {
            pool.new_job();
            job = miner.wait_for_job();
        }
        assert_eq!(miner.submit("farm.1", &job, second)["result"], true);
        if second == seconds / 3 {
            memory_before = memory_kib(&gateway);
        }
        std::thread::sleep(
            Duration::from_secs(u64::from(second) + 1).saturating_sub(start.elapsed()),
        );
    }
    let report = gateway.wait_for("all gone", |r| r["miners"]["connected"] == 1);
    assert_eq!(report["miners"]["accepted"], 1 + seconds * a_second);
    assert_eq!(sum(&report["miners"]["ended"]), u64::from(seconds * a_second), "each once");
    assert!(files() <= files_before + 1, "{} files, {files_before} before", files());
    let grown = memory_kib(&gateway).saturating_sub(memory_before);
    assert!(grown < 256, "{grown} KiB more");
    let rate = f64::from(seconds * a_second) / start.elapsed().as_secs_f64();
    println!("{} connections, {rate:.0} a second, {grown} KiB more", seconds * a_second);
}

#[test]
fn f46_a_miner_that_does_not_read_is_closed_after_thirty_seconds() {
    if !is_long() {
        return;
    }
    let pool = Pool::start("abcd", 8);
    pool.pad_coinbase(20_000);
    let gateway = Gateway::start(pool.address, &[]);
    let (mut deaf, mut other) = (gateway.miner(), gateway.miner());
    deaf.log_in("farm.deaf");
    other.log_in("farm.other");
    other.wait_for_job();
    let start = Instant::now();
    // 40 kB each: more than the sockets between the two take.
    for _ in 0..1_000 {
        pool.new_job();
        other.wait_for_job();
    }
    let kib = memory_kib(&gateway);
    let sent = start.elapsed();
    let ended = |r: &Value| r["miners"]["ended"]["slow_reader"].as_u64().unwrap_or(0);
    while ended(&gateway.report()) == 0 {
        assert!(start.elapsed() < sent + Duration::from_secs(35), "{}", gateway.report()["miners"]);
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(30), "{took:?}");
    println!("closed {took:?} after the first of a thousand jobs, {kib} KiB resident");
    pool.new_job();
    let job = other.wait_for_job();
    assert_eq!(other.submit("farm.other", &job, 1)["result"], true);
}

/// The way a peer ends its connection.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Fin,
    Rst,
    /// It still reads but sends nothing more.
    HalfClosed,
}

#[test]
fn f48_a_peer_that_goes_at_any_step_frees_its_place_once_and_its_shares_keep_their_fate() {
    let pool = Pool::start("abcd", 8);
    pool.be_mute();
    let gateway = Gateway::start(pool.address, &[]);
    let mut half_closed = Vec::new();
    let (mut connections, mut shares) = (0, 0);
    for leave in [Leave::Fin, Leave::Rst, Leave::HalfClosed] {
        for step in 0..7 {
            let mut stream = TcpStream::connect(gateway.listen[0]).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut miner = Miner::over(stream.try_clone().unwrap());
            connections += 1;
            match step {
                0 => {}
                1 => stream.write_all(b"{\"id\":1,\"meth").unwrap(),
                2 => drop(miner.ask("mining.configure", json!([["version-rolling"], {}]))),
                3 => drop(miner.ask("mining.subscribe", json!(["x/1"]))),
                4 => drop(miner.log_in("farm.1")),
                _ => {
                    miner.log_in("farm.1");
                    let job = miner.wait_for_job();
                    let share = miner.share("farm.1", &job, connections);
                    if step == 5 {
                        miner.ask("mining.submit", share);
                    } else {
                        // It does not wait for the answer; after a FIN its share still arrives.
                        miner.send("mining.submit", share);
                        gateway.wait_for("the share", |r| r["ledger"]["submitted"] == shares + 1);
                    }
                    shares += 1;
                }
            }
            match leave {
                Leave::Fin => {}
                Leave::Rst => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
                Leave::HalfClosed => {
                    stream.shutdown(Shutdown::Write).unwrap();
                    half_closed.push(stream);
                }
            }
        }
    }
    for stream in &mut half_closed {
        assert!(is_ended(stream));
    }
    let report = gateway.wait_for("all gone", |r| r["miners"]["connected"] == 0);
    assert_eq!(report["miners"]["accepted"], connections);
    assert_eq!(sum(&report["miners"]["ended"]), u64::from(connections), "each once");
    // The pool has said nothing, so that is where they are; `report` checks the sums.
    assert_eq!(report["ledger"]["submitted"], shares);
    assert_eq!(report["ledger"]["pending"], shares, "{}", report["ledger"]);
}

#[test]
fn f49_without_a_free_id_a_newcomer_hears_so_and_those_who_mine_go_on() {
    // Three bytes: one is the miner's id, and the first link keeps a quarter of its 256 for miners
    // that need more bytes.
    let pool = Pool::start("abcd", 3);
    let mut gateway = Gateway::start(pool.address, &[("LOKA_MINERS__MAX", "2000")]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let mut first = gateway.miner();
    first.log_in("farm.1");
    let job = first.wait_for_job();
    let seats = 192 + 256 * (LANES_MAX - 1);
    let subscribe = || {
        let mut miner = gateway.miner();
        let answer = miner.ask("mining.subscribe", json!(["test/1"]));
        (miner, answer)
    };
    let mut seated = vec![];
    let refused = loop {
        let (mut miner, answer) = subscribe();
        if !answer["error"].is_null() {
            assert!(miner.is_closed());
            break answer;
        }
        seated.push(miner);
        assert!(seated.len() < seats, "more than the ids that there are");
    };
    assert_eq!(seated.len(), seats - 1, "all of them, and the first");
    assert_eq!(refused["error"][0], 20, "{refused}");
    let report = gateway.report();
    assert_eq!(report["miners"]["ended"], json!({"ids_exhausted": 1}));
    assert_eq!(report["miners"]["connected"], seats);
    assert_eq!(first.submit("farm.1", &job, 1)["result"], true);

    assert!(report["warnings"].to_string().contains("no miner id is free"), "{report}");

    // Each leaving miner frees a slot for the next, any number of times.
    drop(seated.pop());
    for nonce in 2..50 {
        gateway.wait_for("its end", |report| report["miners"]["connected"] == seats - 1);
        let mut miner = gateway.miner();
        miner.log_in("farm.2");
        let own = miner.wait_for_job();
        let answer = miner.submit("farm.2", &own, nonce);
        assert_eq!(answer["result"], true, "{answer} of share {nonce}");
    }
    assert_eq!(first.submit("farm.1", &job, 2)["result"], true);
    gateway.wait_for_line("IdsExhausted { used: ");
}

#[test]
fn f50_an_address_that_is_no_miner_is_refused_and_its_miners_stay() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let address = gateway.listen[0];
    let mut miner = Miner::over(connect_from("127.0.0.2", address));
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let refused = |report: &Value| report["miners"]["refused"]["offender"].as_u64().unwrap_or(0);
    for knocks in 1.. {
        let mut stream = connect_from("127.0.0.2", address);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        assert!(is_ended(&mut stream));
        if refused(&gateway.report()) > 0 {
            break;
        }
        assert!(knocks <= 9, "eight connections' budgets");
    }
    let line = gateway.wait_for_line("sent too much that is not Stratum");
    assert!(line.contains("127.0.0.2") && line.contains("accepted again in"), "{line}");
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true, "who is in stays in");
    Miner::over(connect_from("127.0.0.3", address)).log_in("farm.2");
}

#[test]
fn f51_before_authorization_little_more_is_sent_than_was_received() {
    let pool = Pool::start("abcd", 8);
    pool.pad_coinbase(15_000);
    let gateway = Gateway::start(pool.address, &[]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let requests = [
        json!({"id": 1, "method": "mining.subscribe", "params": []}),
        json!({"id": "0123456789012345678901234567890123456789", "method": "x", "params": []}),
        json!({"id": 3, "method": "mining.configure", "params": [["version-rolling"], {}]}),
        json!({"id": 4, "method": "mining.submit", "params": ["a", "b", "c", "d", "e"]}),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(gateway.listen[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let line = request.to_string() + "\n";
        let mut sent = 0;
        for _ in 0..500 {
            if stream.write_all(line.as_bytes()).is_err() {
                break;
            }
            sent += line.len();
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        let allowed = sent + 16_384;
        assert!(received.len() <= allowed, "{} for {sent} bytes of {request}", received.len());
    }
}

#[test]
fn f52_a_flood_of_bad_lines_is_a_few_lines_of_log_and_all_counted() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let start = Instant::now();
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(gateway.listen[0]).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    let flood = |report: &Value| sum(&report["miners"]["ended"]) == 1_000;
    let report = gateway.wait_for("the last", flood);
    let named = report["miners"]["ended"]["not_stratum"].as_u64().unwrap();
    assert!(named > 900, "{}", report["miners"]);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let lines = gateway.log.iter().filter(|line| line.contains("closed")).count() as u64;
    let allowed = 2 + start.elapsed().as_secs() / 10;
    assert!((1..=allowed).contains(&lines), "{lines} lines: {:#?}", gateway.log);
}

/// Addresses of this machine that collide in a map whose hash key is known.
fn alike() -> impl Iterator<Item = IpAddr> {
    let known = BuildHasherDefault::<DefaultHasher>::default();
    let second = u32::from(Ipv4Addr::new(127, 0, 1, 0));
    let addresses = (second..).map(|number| IpAddr::from(Ipv4Addr::from(number)));
    addresses.filter(move |address| {
        let hash = known.hash_one(Place::of(octets(*address)));
        hash & 0x7f == 0 && hash >> 57 == 0
    })
}

#[test]
fn f54_addresses_chosen_to_collide_have_their_own_places_and_hold_nobody_up() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[("LOKA_LISTEN__PER_ADDRESS_MAX", "1")]);
    let address = gateway.listen[0];
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let chosen: Vec<IpAddr> = alike().take(200).collect();
    let any = (0..200).map(|number| IpAddr::from([127, 100, 0, number]));
    let mut used = vec![];
    for addresses in [any.collect(), chosen] {
        let before = cpu_time(&gateway);
        let connect = |from: &IpAddr| connect_from(&from.to_string(), address);
        let first: Vec<TcpStream> = addresses.iter().map(connect).collect();
        gateway.wait_for("one each", |r| r["miners"]["connected"] == 201);
        assert!(addresses.iter().all(|from| is_ended(&mut connect(from))), "and no second");
        drop(first);
        gateway.wait_for("their end", |r| r["miners"]["connected"] == 1);
        let _again: Vec<TcpStream> = addresses.iter().map(connect).collect();
        gateway.wait_for("freed places", |r| r["miners"]["connected"] == 201);
        used.push(cpu_time(&gateway).saturating_sub(before));
    }
    gateway.wait_for("their end", |r| r["miners"]["connected"] == 1);
    assert_eq!(gateway.report()["miners"]["refused"]["address_full"], 400);
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    let [any, chosen] = used.try_into().unwrap();
    println!("600 connections: {any:?} of CPU from any addresses, {chosen:?} from chosen ones");
}
