//! A pool that is back is used, however long it was away, while no other serves: F95.

use std::time::Duration;

use serde_json::Value;

use super::clocks::Clock;
use super::gateway::{Folder, Gateway, PATIENCE, program};
use super::lab::Part;
use super::skips::skipped;
use super::{Digger, dig_until, sum};

#[test]
fn f95_a_pool_by_tls_that_was_away_for_minutes_is_dialled_every_5_s_and_used_when_it_is_back() {
    let folder = Folder::new("back");
    let Some(clock) = Clock::new(&folder.0) else {
        return skipped("no C compiler, or a program that loads no libraries");
    };
    let authority = folder.0.join("ca.pem");
    let authority = authority.to_str().unwrap();
    let mut pool = Part::start(&[
        "pool",
        "--listen",
        "127.0.0.1:0",
        "--tls",
        "--cert-out",
        authority,
        "--difficulty",
        "0.0000000001",
    ]);
    let to = pool.line("listening ");
    let mut way = Part::start(&["faults", "--listen", "127.0.0.1:0", "--to", &to]);
    let address = way.line("listening ");
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+ssl://{address}")]);
    command.env("LOKA_POOL__1__CA_FILE", authority).envs(clock.environment());
    let mut gateway = Gateway::spawn(command);
    let mut digger = Digger::at("127.0.0.1", &gateway, "farm.1");
    assert_eq!(digger.dig()["result"], true);

    way.tell("refuse");
    let lost = gateway.wait_for("the loss", |report| report["ready"] == false);
    let count = |report: &Value| sum(&report["links_lost"]);
    let uptime = |report: &Value| report["uptime_secs"].as_u64().unwrap();
    let (mut dials, since) = (0, uptime(&lost));
    let mut before = count(&lost);
    // 24 dials without a pool: a back-off that doubles would be at its minute by now.
    while dials < 24 {
        clock.pass(Duration::from_secs(4));
        let report = gateway.wait_for("a dial", |report| count(report) > before);
        dials += count(&report) - before;
        before = count(&report);
        let took = uptime(&report) - since;
        let allowed = 5 * dials + PATIENCE.as_secs();
        assert!(took <= allowed, "{dials} dials in {took} s");
    }
    way.tell("pass");
    way.ask("counts");
    clock.pass(Duration::from_secs(4));
    gateway.wait_for("the pool again", |report| report["ready"] == true);
    let accepted = |report: &Value| report["ledger"]["pool_accepted"].as_u64().unwrap();
    let so_far = accepted(&gateway.report());
    dig_until(&gateway, &mut [digger], "a share at the pool", |report| accepted(report) > so_far);

    // Every line about it names the pool, what happened and what is done; a kind of line comes
    // once in ten seconds.
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let about = |line: &&String| line.contains("it is tried again in ");
    let lines: Vec<_> = gateway.log.iter().filter(about).collect();
    assert!(lines.len() > 5, "{:#?}", gateway.log);
    let no_connection = format!("no connection to {address}: ");
    for line in &lines {
        assert!(line.contains("WARN pool 1: ") && !line.contains("http"), "{line}");
    }
    assert!(lines[1..].iter().all(|line| line.contains(&no_connection)), "{lines:#?}");
}
