//! What a farm earns by the real binary, over sockets: places for all who come (F88, F89), shares
//! that count once (F90), a way to the pool that loses none (F91), and pools that pay for nothing,
//! take one name, or are back (F93 to F95).
//!
//! The engine's tests have every case of each; here is the case that cost money.
#![cfg(feature = "lab")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

#[path = "process_pay/back.rs"]
mod back;
#[path = "web/client.rs"]
mod client;
#[path = "clock/mod.rs"]
mod clocks;
mod gateway;
mod lab;
#[path = "process_pay/layouts.rs"]
mod layouts;
#[path = "process_pay/places.rs"]
mod places;
#[path = "process_pay/queue.rs"]
mod queue;
#[path = "process_pay/repeats.rs"]
mod repeats;
mod skips;
#[path = "process_pay/unpaid.rs"]
mod unpaid;

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gateway::{Gateway, Miner, PATIENCE, Pool, Reply, program};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// Each pool has a goal of its own, so that both are mined at.
const GOALS: [(&str, &str); 4] = [
    ("LOKA_POOL__1__GOAL", "first"),
    ("LOKA_POOL__1__WEIGHT", "1"),
    ("LOKA_POOL__2__GOAL", "second"),
    ("LOKA_POOL__2__WEIGHT", "1"),
];

/// A command that runs a gateway for these pools, with more in its environment.
fn command(pools: &[SocketAddr], environment: &[(&str, &str)]) -> std::process::Command {
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    for (number, pool) in (1..).zip(pools) {
        command.env(format!("LOKA_POOL__{number}__URL"), format!("stratum+tcp://{pool}"));
        command.env(format!("LOKA_POOL__{number}__USER"), "farm");
    }
    command.envs(environment.iter().copied());
    command
}

fn start(pools: &[SocketAddr], environment: &[(&str, &str)]) -> Gateway {
    Gateway::spawn(command(pools, environment))
}

/// Connects from an address of this machine.
fn connect_from(source: &str, gateway: &Gateway) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&gateway.listen[0].into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A miner that works on the newest job it was told, with one nonce after the other.
struct Digger {
    miner: Miner,
    worker: String,
    /// What it was told of its place.
    subscription: Value,
    job: Value,
    nonce: u32,
}

impl Digger {
    /// Connects from an address of this machine, and waits for a job.
    #[track_caller]
    fn at(source: &str, gateway: &Gateway, worker: &str) -> Self {
        let mut miner = Miner::over(connect_from(source, gateway));
        let subscription = miner.log_in(worker);
        let job = miner.wait_for_job();
        Self { miner, worker: worker.to_owned(), subscription, job, nonce: 0 }
    }

    /// Finds the next share and returns the answer.
    #[track_caller]
    fn dig(&mut self) -> Value {
        self.nonce += 1;
        let share = self.miner.share(&self.worker, &self.job, self.nonce);
        self.submit(share)
    }

    /// Submits a share; a job that comes before the answer is the newest.
    #[track_caller]
    fn submit(&mut self, share: Value) -> Value {
        let id = self.miner.send("mining.submit", share);
        loop {
            let line = self.miner.read().expect("the connection stands");
            if line["id"] == id {
                return line;
            }
            if line["method"] == "mining.notify" {
                self.job = line;
            }
        }
    }

    /// What of a coinbase is its own, in hex, from the start to the bytes that it rolls.
    fn space(&self) -> String {
        let text = |value: &Value| value.as_str().expect("hex").to_owned();
        text(&self.job["params"][2]) + &text(&self.subscription["result"][1])
    }
}

/// Checks that no two of these miners can make the same coinbase.
#[track_caller]
fn assert_apart<'a>(diggers: impl IntoIterator<Item = &'a Digger>) {
    let mut spaces: Vec<_> = diggers.into_iter().map(Digger::space).collect();
    spaces.sort();
    for pair in spaces.windows(2) {
        assert!(!pair[1].starts_with(&pair[0]), "{pair:?}");
    }
}

/// Makes a pool refuse shares that it had before, as real ones do: all its jobs are one work.
fn know_shares(pool: &Pool) {
    let mut known = HashSet::new();
    pool.behave(move |request| {
        let is_share = request["method"] == "mining.submit";
        if !is_share || known.insert(work_of(&request["params"])) {
            return Reply::Usual;
        }
        Reply::refusal(request, &json!([22, "Duplicate share", null]))
    });
}

/// What the header of a share is made from: all of it but the names of worker and job.
fn work_of(share: &Value) -> String {
    json!(share.as_array().expect("params")[2..]).to_string()
}

/// Has miners dig while they have a pool, until the status is as wanted.
#[track_caller]
fn dig_until(
    gateway: &Gateway,
    diggers: &mut [Digger],
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    let start = Instant::now();
    loop {
        let report = gateway.report();
        if is_so(&report) {
            return report;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come: {report:#}");
        match report["ready"] == true {
            true => diggers.iter_mut().for_each(|digger| drop(digger.dig())),
            false => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The sum of counts by a name.
fn sum(counts: &Value) -> u64 {
    counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// Ends a gateway in order and returns the lines of its log that hold `part`.
#[track_caller]
fn lines_of(mut gateway: Gateway, part: &str) -> Vec<String> {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    std::mem::take(&mut gateway.log).into_iter().filter(|line| line.contains(part)).collect()
}
