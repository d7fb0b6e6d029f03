//! A system that stalls, or has no file descriptors or disk space left: F45, F66, F69 to F71.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::cpu_time;
use super::gateway::{self, Folder, Gateway, Miner, PATIENCE, Pool, program};
use super::skips::skipped;

/// Runs a command of the system; `false` if it is missing or not permitted.
pub fn is_done(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns whether tests of minutes are enabled; otherwise reports the skip.
pub fn is_long() -> bool {
    let is_long = std::env::var_os("LONG").is_some();
    if !is_long {
        skipped("it takes a minute or more; LONG=1 runs it, and cargo xtask chaos does");
    }
    is_long
}

/// Length of a long test in seconds: `long` with `LONG=1`, `whole`, the case's full length, with
/// `LONG=whole`; otherwise the test is skipped.
pub fn seconds(long: u32, whole: u32) -> Option<u32> {
    let is_whole = std::env::var_os("LONG").is_some_and(|word| word == "whole");
    is_long().then_some(if is_whole { whole } else { long })
}

#[test]
fn f45_without_descriptors_accepting_pauses_and_goes_on_by_itself() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    let pid = gateway.id().to_string();
    // Below what is open already: the next accept fails.
    if !is_done(&["prlimit", "--pid", &pid, "--nofile=4:1024"]) {
        return skipped("prlimit is not there or not permitted");
    }
    let mut waiting = gateway.miner();
    gateway.wait_for_line("no connection can be taken");
    let (before, start) = (cpu_time(&gateway), Instant::now());
    for nonce in 0..20 {
        assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true, "who is in stays in");
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = cpu_time(&gateway).saturating_sub(before);
    assert!(used < start.elapsed() / 3, "{used:?}: it spins");
    assert!(is_done(&["prlimit", "--pid", &pid, "--nofile=1024:1024"]));
    waiting.log_in("farm.2");
    waiting.wait_for_job();
}

#[test]
fn f71_a_process_that_stood_still_for_five_seconds_loses_nothing() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let mut miners: Vec<(Miner, serde_json::Value)> = (0..20)
        .map(|index| {
            let mut miner = gateway.miner();
            miner.log_in(&format!("farm.{index}"));
            let job = miner.wait_for_job();
            (miner, job)
        })
        .collect();
    gateway.signal("STOP");
    let start = Instant::now();
    let mut sent = Vec::new();
    for (index, (miner, job)) in miners.iter_mut().enumerate() {
        let worker = format!("farm.{index}");
        for nonce in 0..10 {
            let share = miner.share(&worker, job, nonce);
            sent.push((index, miner.send("mining.submit", share)));
        }
    }
    std::thread::sleep(Duration::from_secs(5));
    gateway.signal("CONT");
    for (index, id) in sent {
        let answer = miners[index].0.wait_for("the answer", |line| line["id"] == id);
        assert_eq!(answer["result"], true, "{answer}");
    }
    assert!(start.elapsed() >= Duration::from_secs(5));
    let report = gateway.wait_for("the pool's answers", |r| r["ledger"]["pool_accepted"] == 200);
    assert_eq!(report["miners"]["connected"], 20);
    assert_eq!(report["links_lost"], json!({}));
}

#[test]
fn f71_service_manager_and_watchdog_hear_of_life_only_while_the_loop_turns() {
    let folder = Folder::new("watch");
    std::fs::create_dir_all(&folder.0).unwrap();
    let (socket, device) = (folder.0.join("notify"), folder.0.join("watchdog"));
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    std::fs::write(&device, "").unwrap();
    let pool = Pool::start("abcd", 8);
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--user", "farm"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]);
    command.arg("--watchdog").arg(&device);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "10000000");
    let mut gateway = Gateway::spawn(command);
    let hear = || {
        let mut buffer = [0; 256];
        let bytes = manager.recv(&mut buffer).expect("the service manager is told");
        String::from_utf8_lossy(&buffer[..bytes]).into_owned()
    };
    let wait_for = |word: &str| while !hear().contains(word) {};
    wait_for("READY=1");
    wait_for("STATUS=0 miners, a pool is live");
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    wait_for("STATUS=1 miners, a pool is live");
    gateway.signal("STOP");
    // Messages sent before the stop are drained; none may follow.
    manager.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 256];
    while manager.recv(&mut buffer).is_ok() {}
    let fed = std::fs::read(&device).unwrap();
    assert!(!fed.is_empty() && fed.iter().all(|&byte| byte == 0), "{fed:?}");
    assert!(manager.recv(&mut buffer).is_err(), "a loop that stands still feeds nobody");
    assert_eq!(std::fs::read(&device).unwrap(), fed);
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    gateway.signal("CONT");
    wait_for("WATCHDOG=1");
    gateway.signal("TERM");
    wait_for("STOPPING=1");
    assert!(gateway.wait().success());
    assert_eq!(std::fs::read(&device).unwrap().last(), Some(&b'V'), "it is turned off");
}

#[test]
fn f70_a_mute_pool_delays_the_end_by_ten_seconds_and_no_more() {
    let (_pool, mut gateway, _miner) = gateway::with_a_share_unanswered();
    let start = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let took = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(13)).contains(&took), "{took:?}");
    assert!(gateway.log.iter().any(|line| line.contains("left without an answer")));
}

/// A small file system that is removed on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(name: &str, options: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("loka-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).ok()?;
        let path = folder.to_str()?;
        let is_mounted = is_done(&["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]);
        if !is_mounted {
            let _ = std::fs::remove_dir(&folder);
        }
        is_mounted.then_some(Self(folder))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        is_done(&["umount", self.path()]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn f69_a_disk_that_is_full_or_read_only_costs_what_is_remembered_and_nothing_else() {
    let Some(full) = Disk::mount("full", "size=4k,mode=700") else {
        return skipped("mounting a file system is not permitted");
    };
    std::fs::write(full.0.join("ballast"), [0; 4096]).unwrap();
    let Some(read_only) = Disk::mount("read-only", "ro,size=64k,mode=700") else {
        return skipped("mounting a file system is not permitted");
    };
    for disk in [&full, &read_only] {
        let pool = Pool::start("abcd", 8);
        pool.make_blocks_easy();
        let mut gateway = Gateway::start(pool.address, &[("LOKA_STATE__DIR", disk.path())]);
        let mut miner = gateway.miner();
        miner.log_in("farm.1");
        let job = miner.wait_for_job();
        for nonce in 0..10 {
            assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
        }
        gateway.wait_for("the answers", |r| r["ledger"]["pool_accepted"] == 10);
        gateway.wait_for_line("ERROR the list of block candidates is not on the disk");
    }
}

#[test]
fn f66_a_machine_that_has_been_up_for_a_century_is_like_any_other() {
    let pool = Pool::start("abcd", 8);
    let century = (100_u64 * 365 * 86_400).to_string();
    let unshare = ["unshare", "--time", "--monotonic", &century, "--boottime", &century];
    if !is_done(&[&unshare[..], &["--", "true"]].concat()) {
        return skipped("a time namespace is not permitted");
    }
    let mut command = Command::new(unshare[0]);
    command.args(&unshare[1..]).arg("--").arg(program().get_program());
    command.args(["run", "--no-state", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
    let gateway = Gateway::spawn(command);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    let report = gateway.wait_for("the answer", |r| r["ledger"]["pool_accepted"] == 1);
    assert!(report["uptime_secs"].as_u64().unwrap() < 60, "it counts from its own start");
}
