//! A thousand miners, the gateway and a pool as three processes on loopback: their three ledgers
//! agree, and no pool fault disconnects a miner.
#![cfg(feature = "lab")]

#[path = "gateway/mod.rs"]
mod gateway;
mod lab;

use std::net::SocketAddr;
use std::path::PathBuf;

use gateway::{Gateway, program};
use lab::Part;
use serde_json::Value;

const MINERS: u64 = 1_000;
/// Shares a second of all miners together.
const RATE: u64 = 400;

/// The three parties, with the gateway's link under TLS and the pool's own CA.
struct Farm {
    pool: Part,
    gateway: Gateway,
    swarm: Part,
    folder: PathBuf,
}

impl Farm {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("loka-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let authority = folder.join("ca.pem");
        let authority = authority.to_str().expect("the path is text");
        let mut pool = Part::start(&[
            "pool",
            "--listen",
            "127.0.0.1:0",
            "--tls",
            "--cert-out",
            authority,
            // One share in some dozens is heavy enough for the pool.
            "--difficulty",
            "0.0000002",
            "--extranonce2-size",
            "8",
            "--job-every",
            "2",
        ]);
        let at: SocketAddr = pool.line("listening ").parse().expect("an address");
        let mut command = program();
        command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--pool", &format!("stratum+ssl://127.0.0.1:{}", at.port())]);
        command.args(["--user", "farm"]);
        command.env("LOKA_POOL__1__CA_FILE", authority);
        command.env("LOKA_DIFFICULTY__START", "0.0000000001");
        command.env("LOKA_DIFFICULTY__MIN", "0.0000000001");
        command.env("LOKA_DIFFICULTY__MAX", "0.0000000001");
        let gateway = Gateway::spawn(command);
        let listen = gateway.listen[0].to_string();
        let (miners, work) = (MINERS.to_string(), format!("paced:{RATE}"));
        let mut swarm =
            Part::start(&["swarm", "--connect", &listen, "--miners", &miners, "--work", &work]);
        swarm
            .wait_for("report", "a thousand miners with a job", |report| report["ready"] == MINERS);
        Self { pool, gateway, swarm, folder }
    }

    /// Stops the miners and returns the three ledgers once no share is in flight.
    fn books(&mut self) -> (Value, Value, Value) {
        let swarm = self.swarm.ask("quiesce");
        let gateway = self.gateway.wait_for("an answer to every share", |report| {
            report["ledger"]["pending"] == 0 && report["ledger"]["held"] == 0
        });
        let pool = self.pool.ask("ledger");
        (swarm, gateway, pool)
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn i1_three_ledgers_of_a_thousand_miners_agree() {
    let mut farm = Farm::start("ledgers");
    farm.swarm.wait_for("report", "2,000 shares", |report| number(&report["submitted"]) > 2_000);
    let (swarm, gateway, pool) = farm.books();
    let ledger = &gateway["ledger"];
    assert_eq!(gateway["miners"]["connected"], MINERS);
    assert_eq!(swarm["submitted"], ledger["submitted"]);
    assert_eq!(swarm["accepted"], ledger["accepted"]);
    assert_eq!(sum(&swarm["rejected"]), sum(&ledger["rejected"]));
    assert_eq!(ledger["forwarded"], pool["submitted"]);
    assert_eq!(ledger["pool_accepted"], pool["accepted"]);
    assert_eq!(sum(&ledger["pool_rejected"]), sum(&pool["rejected"]));
    assert_eq!(swarm["violations"], serde_json::json!({}), "nothing that any firmware minds");
    assert!(number(&pool["submitted"]) > 0, "some shares reach the pool");
    // One firmware in twelve asks for a minimum above the pool's difficulty: all of its go up.
    let light = number(&ledger["below_upstream"]);
    assert!(light > 5 * number(&ledger["forwarded"]), "most shares stay here: {ledger}");
}

#[test]
fn f24_f58_a_pool_that_is_cut_goes_down_or_changes_disconnects_nobody() {
    let mut farm = Farm::start("cuts");
    let live = |report: &Value| report["upstream"][0]["state"] == "live";
    let jobs = |farm: &mut Farm| number(&farm.swarm.ask("report")["clean_jobs"]);
    for change in ["cut", "extranonce", "down", "reconnect"] {
        let before = jobs(&mut farm);
        farm.pool.tell(change);
        if change == "down" {
            farm.gateway.wait_for("the loss of the pool", |report| !live(report));
            farm.pool.tell("up 6");
        } else if change == "extranonce" {
            // It applies from the next notify on.
            farm.pool.tell("job");
        }
        // Another extranonce1 costs every miner one clean notify.
        farm.swarm.wait_for("report", &format!("new work after {change}"), |report| {
            number(&report["clean_jobs"]) >= before + MINERS
        });
        farm.gateway.wait_for(&format!("a live pool after {change}"), live);
    }
    let heard = number(&farm.pool.ask("ledger")["accepted"]);
    farm.pool
        .wait_for("ledger", "shares after all that", |ledger| number(&ledger["accepted"]) > heard);
    let (swarm, gateway, pool) = farm.books();
    assert_eq!(gateway["upstream"][0]["extranonce2_size"], 6);
    assert_eq!((&swarm["connected"], &swarm["connects"]), (&MINERS.into(), &MINERS.into()));
    assert_eq!(swarm["disconnects"], serde_json::json!({}), "zero miners disconnected");
    let ledger = &gateway["ledger"];
    assert_eq!(swarm["submitted"], ledger["submitted"]);
    assert_eq!(swarm["accepted"], ledger["accepted"]);
    // The pool may have counted shares that were in flight at a cut; here they are orphans.
    let (accepted, orphaned) = (number(&ledger["pool_accepted"]), sum(&ledger["orphaned"]));
    let counted = number(&pool["accepted"]);
    assert!((accepted..=accepted + orphaned).contains(&counted), "{pool} {ledger}");
}
