//! The real binary: start, service for miners, loss of a pool, reload, end.
#![cfg(feature = "gateway")]

mod gateway;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use gateway::{Gateway, Miner, Pool, program};
use serde_json::json;

/// A file that is removed on drop.
struct TempFile(std::path::PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("loka-process-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn connected(gateway: &Gateway, count: u64) {
    gateway.wait_for(&format!("{count} miners"), |r| r["miners"]["connected"] == count);
}

#[test]
fn one_line_without_a_file_runs_and_every_share_is_accounted_for() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let mut miner = gateway.miner();
    let subscription = miner.log_in("farm.1");
    assert_eq!(subscription["result"][2], 4, "{subscription}");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    assert_eq!(miner.submit("farm.1", &job, 1)["error"][0], 22);
    let report = gateway.wait_for("the pool's answer", |r| r["ledger"]["pool_accepted"] == 1);
    assert_eq!(report["ledger"]["submitted"], 2);
    assert_eq!(report["ledger"]["rejected"]["duplicate"], 1);
    assert_eq!(report["upstream"][0]["state"], "live");
    assert_eq!(report["upstream"][0]["extranonce2_size"], 8);
    assert!(report["upstream"][0]["answer_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert_eq!(report["ready"], true);
    let submit = &pool.submits()[0];
    assert_eq!(submit[0], "farm");
    assert_eq!(submit[2].as_str().map(str::len), Some(16), "pad, miner id and roll: {submit}");
}

#[test]
fn f24_a_pool_that_is_cut_and_returns_otherwise_disconnects_no_miner() {
    let pool = Pool::start("aaaa", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let mut miners: Vec<Miner> = (0..50).map(|_| gateway.miner()).collect();
    for (index, miner) in miners.iter_mut().enumerate() {
        miner.log_in(&format!("farm.{index}"));
        miner.wait_for_job();
    }
    let mut answered = 0;
    for (extranonce1, size) in [("bbbbbbbb", 7), ("cc", 12), ("aaaa", 8)] {
        pool.cut(extranonce1, size);
        for (index, miner) in miners.iter_mut().enumerate() {
            let job = miner.wait_for_job();
            assert_eq!(job["params"][8], true, "what came before is void");
            let coinb1 = job["params"][2].as_str().unwrap();
            assert!(coinb1.contains(&format!("08{extranonce1}")), "{coinb1}");
            let answer = miner.submit(&format!("farm.{index}"), &job, 7);
            assert_eq!(answer["result"], true, "{answer}");
        }
        answered += 50;
        gateway.wait_for("all answers", |r| r["ledger"]["pool_accepted"] == answered);
    }
    let report = gateway.report();
    assert_eq!(report["miners"]["connected"], 50);
    assert_eq!(report["miners"]["accepted"], 50, "nobody had to come back");
}

#[test]
fn f55_a_pool_that_is_down_at_the_start_is_named_and_miners_may_wait() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut gateway = Gateway::start(address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    assert_eq!(gateway.get("/healthz").0, 200);
    let (code, text) = gateway.get("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains(&address.to_string()), "{text}");
    gateway.wait_for_line(&format!("no connection to {address}"));
    assert_eq!(gateway.report()["upstream"][0]["state"], "idle");
}

#[test]
fn f70_sigterm_awaits_the_last_answers_and_ends_cleanly() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    for nonce in 0..20 {
        miner.submit("farm.1", &job, nonce);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{:#?}", gateway.log);
    assert!(miner.is_closed());
    let ended = gateway.log.iter().find(|line| line.contains("ended: ")).unwrap();
    let words = "ended: 20 shares came in, 20 were good, 20 of them good enough for the pool: it took \
                 20";
    assert!(ended.ends_with(words), "{ended}");
}

/// QUIRKS 45.
#[test]
fn a_miner_that_heeds_it_is_asked_to_come_back_at_the_end() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.ask("mining.subscribe", json!(["cgminer/4.11.1"]));
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{:#?}", gateway.log);
    miner.wait_for("the request", |line| line["method"] == "client.reconnect");
    assert!(miner.is_closed());
}

#[test]
fn f70_a_second_signal_ends_at_once() {
    let (_pool, mut gateway, _miner) = gateway::with_a_share_unanswered();
    gateway.signal("TERM");
    gateway.wait_for_line("ending");
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(
        gateway.log.iter().any(|line| line.contains("lost to it 1 (no answer: 1)")),
        "{:#?}",
        gateway.log
    );
}

#[test]
fn f70_f78_a_reload_applies_a_good_file_and_keeps_the_old_over_a_bad_one() {
    let (first, second) = (Pool::start("aaaa", 8), Pool::start("bbbb", 8));
    let text = |pool: &Pool, more: &str| {
        format!(
            "[[pool]]\nurl = \"stratum+tcp://{}\"\nuser = \"farm\"\n[status]\n\
             address = \"127.0.0.1:0\"\n[listen]\naddresses = [\"127.0.0.1:0\"]\n{more}",
            pool.address
        )
    };
    let file = TempFile::new("reload.toml", &text(&first, ""));
    let mut command = program();
    command.args(["run", "--config", file.path()]);
    let mut gateway = Gateway::spawn(command);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    assert!(miner.wait_for_job()["params"][2].as_str().unwrap().contains("08aaaa"));

    fs::write(file.path(), text(&second, "per_address_max = 0\nnonsense = 1\n")).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_line("per_address_max): got 0, allowed 1..16384");
    gateway.wait_for_line("nonsense: got an unknown key");
    gateway.wait_for_line("the settings before stay in use");
    assert_eq!(gateway.report()["upstream"][0]["url"], format!("stratum+tcp://{}", first.address));

    fs::write(file.path(), text(&second, "")).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_line("settings reloaded");
    let job = miner.wait_for("a job of the other pool", |line| {
        line["params"][2].as_str().is_some_and(|coinb1| coinb1.contains("08bbbb"))
    });
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    gateway.wait_for("the answer", |r| r["ledger"]["pool_accepted"] == 1);
    assert_eq!(second.submits().len(), 1);
}

#[test]
fn f83_plain_tcp_is_warned_of_at_the_start_and_in_the_status() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let warning = "pool 1 is reached over plain TCP";
    assert!(gateway.log.iter().any(|l| l.contains("WARN") && l.contains(warning)));
    assert!(gateway.report()["warnings"][0].as_str().unwrap().contains(warning));
    gateway.wait_for_line("PLAIN TCP to 127.0.0.1");
}

#[test]
fn f72_few_files_lower_the_capacity_with_a_warning_and_too_few_end_it() {
    let pool = Pool::start("abcd", 8);
    let run = |files: u32| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_loka-stratum");
        let pool = pool.address;
        command.args([
            "-c",
            &format!(
                "ulimit -n {files}; exec {program} run --no-state --listen 127.0.0.1:0 --status 127.0.0.1:0 \
                 --pool stratum+tcp://{pool} --user farm"
            ),
        ]);
        command
    };
    let gateway = Gateway::spawn(run(64));
    assert!(gateway.log.iter().any(|l| l.contains("open files are limited to 64: room for 10")));
    assert_eq!(gateway.report()["miners"]["max"], 10);
    let mut miners: Vec<Miner> = (0..10).map(|_| gateway.miner()).collect();
    for miner in &mut miners {
        miner.log_in("farm.1");
        miner.wait_for_job();
    }
    assert!(gateway.miner().is_closed(), "the table is full");
    assert_eq!(gateway.get("/healthz").0, 200, "and there are files left for the status port");
    let output = run(40).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("open files are limited to 40: the gateway needs 54"), "{text}");
}

#[test]
fn f69_a_state_directory_that_takes_nothing_is_named_in_log_and_status_and_mining_goes_on() {
    let folder = gateway::Folder::new("takes-nothing");
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    // A folder in place of the temporary file fails every write, even for root.
    let full = folder.0.join("full");
    std::fs::create_dir_all(full.join("probe.new")).unwrap();
    for place in [file.clone(), file.join("below"), full] {
        let place = place.to_str().unwrap();
        let pool = Pool::start("abcd", 8);
        let mut gateway = Gateway::start(pool.address, &[("LOKA_STATE__DIR", place)]);
        let mut miner = gateway.miner();
        miner.log_in("farm.1");
        let job = miner.wait_for_job();
        assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
        let report = gateway.wait_for("the answer", |r| r["ledger"]["pool_accepted"] == 1);
        let about = format!("State, Dir (state.dir): got {place}, where nothing can be written: ");
        let warnings = report["warnings"].as_array().unwrap();
        let warned = |warning: &&serde_json::Value| {
            warning.as_str().is_some_and(|text| text.starts_with(&about))
        };
        assert_eq!(warnings.iter().filter(warned).count(), 1, "{warnings:?}");
        gateway.kill();
        let said: Vec<_> = gateway.log.iter().filter(|line| line.contains(place)).collect();
        assert_eq!(said.len(), 1, "once: {said:#?}");
        assert!(said[0].contains(&about) && said[0].contains("Block candidates"), "{said:?}");
        let other =
            |line: &&String| line.contains("cannot be written") || line.contains("os error");
        let others: Vec<_> =
            gateway.log.iter().filter(other).filter(|l| !l.contains(place)).collect();
        assert!(others.is_empty(), "and in no other words: {others:#?}");
    }
}

/// Runs a command of the program under a memory limit in kB, set by the shell, with the given
/// number of miners on a board with room for them; returns exit code and standard error.
fn limited(limit: &str, command: &str, miners: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_loka-stratum");
    let pool = "--listen 127.0.0.1:0 --status off --pool stratum+ssl://pool.example:1 --user farm";
    let line =
        format!("ulimit {limit}; exec {program} {command} --no-state --board glinet-mt6000 {pool}");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &line]).env("LOKA_MINERS__MAX", miners).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn f67_a_plan_above_the_budget_does_not_start_and_both_numbers_are_said() {
    for command in ["check", "run"] {
        let (code, text) = limited("-v 65536", command, "9000");
        assert_eq!(code, Some(2), "{text}");
        assert!(text.starts_with(
            "LOKA_MINERS__MAX: Miners, Max (miners.max): got 9000, which takes up to "
        ));
        let budget = "the limit of this process (ulimit -v) gives 67108864; allowed 1..";
        assert!(text.contains(budget), "{text}");
        let (code, text) = limited("-v unlimited", command, "10001");
        assert_eq!(code, Some(2), "{text}");
        let bound = "Miners, Max (miners.max): got 10001, allowed 1..10000 on board glinet-mt6000";
        assert!(text.contains(bound), "{text}");
    }
}

#[test]
fn f67_memory_that_the_system_refuses_ends_the_start_cleanly() {
    let (code, text) = limited("-d 49152", "run", "9000");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the system does not give the "), "{text}");
    assert!(text.contains("lower miners.max"), "{text}");
}

#[test]
fn f87_no_core_dumps_and_no_password_in_the_log() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[("LOKA_POOL__1__PASSWORD", "hunter2")]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    gateway.wait_for_line("live");
    let (_, metrics) = gateway.get("/metrics");
    assert!(!gateway.report().to_string().contains("hunter2") && !metrics.contains("hunter2"));
    gateway.signal("TERM");
    gateway.wait();
    assert!(!gateway.log.iter().any(|line| line.contains("hunter2")), "{:#?}", gateway.log);
}

#[test]
fn f44_a_full_table_refuses_at_once_and_a_freed_place_serves() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[("LOKA_MINERS__MAX", "2")]);
    let mut first = gateway.miner();
    let mut second = gateway.miner();
    first.log_in("farm.1");
    second.log_in("farm.2");
    assert!(gateway.miner().is_closed());
    drop(first);
    connected(&gateway, 1);
    let mut third = gateway.miner();
    third.log_in("farm.3");
    third.wait_for_job();
    second.wait_for_job();
    assert_eq!(gateway.report()["miners"]["refused"]["table_full"], 1);
}

#[test]
fn f10_other_protocols_are_named_and_closed() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.send_raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(miner.is_closed());
    gateway.wait_for_line("closed: not Stratum");
    assert_eq!(gateway.report()["miners"]["ended"]["not_stratum"], 1);
}

#[test]
fn f45_connects_and_closes_leak_neither_places_nor_files() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[]);
    let files = || fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
    gateway.wait_for("the pool", |r| r["ready"] == true);
    let before = files();
    let address = gateway.listen[0];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for round in 0..300 {
                    let mut miner = Miner::connect(address);
                    match round % 3 {
                        0 => {}
                        1 => miner.send_raw(b"{\"id\":1,\"method\":").unwrap(),
                        _ => {
                            miner.log_in("farm.1");
                        }
                    }
                }
            });
        }
    });
    let report = gateway.wait_for("all gone", |r| r["miners"]["connected"] == 0);
    assert_eq!(report["miners"]["accepted"], 1200);
    assert!(files() <= before + 1, "{} files, {before} before", files());
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
}

#[test]
fn f46_a_miner_that_does_not_read_costs_little_and_holds_nobody_up() {
    let pool = Pool::start("abcd", 8);
    pool.pad_coinbase(20_000);
    let gateway = Gateway::start(
        pool.address,
        &[("LOKA_MINERS__BLOCKED_SECS", "5"), ("LOKA_MINERS__MAX", "64")],
    );
    let mut deaf = gateway.miner();
    deaf.log_in("farm.deaf");
    let mut other = gateway.miner();
    other.log_in("farm.other");
    other.wait_for_job();
    // 40 kB each: more than the sockets between the two take.
    for _ in 0..400 {
        pool.new_job();
        other.wait_for_job();
    }
    let memory = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let resident = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 40_000, "{resident}");
    gateway.wait_for("the deaf one's end", |r| r["miners"]["ended"]["slow_reader"] == 1);
    let job = {
        pool.new_job();
        other.wait_for_job()
    };
    assert_eq!(other.submit("farm.other", &job, 1)["result"], true);
}

#[test]
fn a_geometry_is_remembered_across_restarts() {
    let folder = std::env::temp_dir().join(format!("loka-state-{}", std::process::id()));
    let state = [("LOKA_STATE__DIR", folder.to_str().unwrap())];
    let pool = Pool::start("abcd", 4);
    let gateway = Gateway::start(pool.address, &state);
    let mut miner = gateway.miner();
    let size = miner.log_in("farm.1")["result"][2].clone();
    miner.wait_for_job();
    // No task waits for that write, so a kill may come before it.
    let is_there = || ["gateway.0", "gateway.1"].iter().all(|name| folder.join(name).exists());
    gateway.wait_for("the geometry on the disk", |_| is_there());
    drop(gateway);
    // That pool is the second of the next run, and away: nothing but memory can tell its size.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let longer = Pool::start("abcd", 8);
    let url = format!("stratum+tcp://{away}");
    let second = [("LOKA_POOL__2__URL", url.as_str()), ("LOKA_POOL__2__USER", "farm")];
    let gateway = Gateway::start(longer.address, &[&state[..], &second].concat());
    assert_eq!(gateway.miner().log_in("farm.1")["result"][2], size);
    drop(gateway);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn check_and_exit_codes() {
    let run = |args: &[&str]| {
        let output = program().args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    let pool = ["--pool", "stratum+ssl://pool.example:3334", "--user", "farm"];
    assert_eq!(run(&[&["check"], &pool[..]].concat()), (Some(0), String::new()));
    assert_eq!(run(&["check"]).0, Some(2));
    assert_eq!(run(&["no-such-command"]).0, Some(2));
    assert_eq!(run(&["run", "--no-such-flag"]).0, Some(2));
    let file = TempFile::new(
        "bad.toml",
        "[miners]\nmax = 0\nmin = 1\n[[pool]]\nurl = \"http://pool.example\"\n",
    );
    let expected = format!(
        "{path}:2: Miners, Max (miners.max): got 0, allowed 1..16384 or \"auto\"\n\
         {path}:3: miners.min: got an unknown key, allowed max, blocked_secs; did you mean min in \
         [difficulty]\n\
         {path}:5: Pool 1, URL (pool.1.url): got \"http://pool.example\", allowed no address of a web page or of \
         getwork; use the pool's Stratum address, which begins with stratum+ssl:// or \
         stratum+tcp://\n",
        path = file.path()
    );
    for command in ["check", "run"] {
        let (code, text) = run(&[command, "--config", file.path()]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.starts_with(&expected), "{text}");
    }
    let (code, text) = run(&["check", "--config", "/no/such/file"]);
    assert_eq!(code, Some(2));
    assert!(text.starts_with("/no/such/file: cannot be read"), "{text}");
    let ca_file = [("LOKA_POOL__1__CA_FILE", "/no/such/file")];
    let output = program().arg("check").args(pool).envs(ca_file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("Pool 1, CA file (pool.1.ca_file): got \"/no/such/file\", allowed a file"),
        "{text}"
    );
}

/// Pasted values in the environment: corrected, or refused in one true line with the remedy.
#[test]
fn f80_a_pasted_address_is_taken_or_refused_in_one_line() {
    let check = |url: &str, user: &str| {
        let given = [("LOKA_POOL__1__URL", url), ("LOKA_POOL__1__USER", user)];
        let output = program().arg("check").envs(given).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for url in [
        "stratum+tcps://p.example:3333",
        "ssl://p.example:3333",
        "tls://p.example:3333",
        "SSL://p.example:3333",
        "stratum+tls://p.example:3333",
        " stratum+ssl://p.example:3333",
        "stratum+ssl://p.example:3333 ",
        "\u{feff}stratum+ssl://p.example:3333\u{a0}\n",
    ] {
        let (code, out, err) = check(url, " a.b\n");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{url:?}");
        assert!(out.contains("pool 1: stratum+ssl://p.example:3333 as a.b\n"), "{url:?}: {out}");
    }
    for (url, way_out) in [
        ("tcp://p.example:3333", "write stratum+tcp:// if the pool has no TLS"),
        ("p.example:3333", "write stratum+tcp:// if the pool has no TLS"),
        ("stratum2+tcp://p.example:3333/9auqWEz", "V2, which is not supported; use the pool's V1"),
        ("stratum+tcp://2001:db8::1:3333", "write [2001:db8::1]:3333"),
        ("stratum+tcp://p.example:3333/stratum", "leave the path out"),
        ("stratum+tcp://p.example:3333/#xnsub", "begins with '#'"),
        ("https://p.example:443", "web page"),
        ("wss://p.example:443", "WebSocket"),
        ("stratum+tcp://p.example", "it is missing"),
        ("stratum+tcp://p.example:3333:3333", "there are two"),
        ("stratum+tcp://p.example:0", "port 0"),
        ("", "got nothing"),
    ] {
        let (code, _, err) = check(url, "a.b");
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{url:?}: {err}");
        assert!(err.contains(way_out), "{url:?}: {err}");
    }
    let (_, _, err) = check("stratum+ssl://p.example:3333", &"u".repeat(129));
    assert_eq!(
        err,
        "LOKA_POOL__1__USER: Pool 1, User (pool.1.user): got 129 bytes, allowed 1..128 bytes\n"
    );
    let (_, _, err) = check("http://me:hunter2@p.example:3333", "a.b");
    assert!(!err.contains("hunter2"), "{err}");
}

#[test]
fn both_families_listen_at_one_port_and_a_miner_of_ipv4_is_shown_as_such() {
    let pool = Pool::start("abcd", 8);
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    for listen in [format!("0.0.0.0:{port},[::]:{port}"), format!("[::]:{port}")] {
        let given = [("LOKA_LISTEN__ADDRESSES", listen.as_str())];
        let mut command = program();
        command.args(["run", "--verbose", "--status", "127.0.0.1:0", "--user", "farm"]);
        command.args(["--pool", &format!("stratum+tcp://{}", pool.address)]).envs(given);
        let mut gateway = Gateway::spawn(command);
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            Miner::connect(address.parse().unwrap()).log_in("farm.1");
        }
        gateway.wait_for_line("miner from 127.0.0.1:");
        let mapped = gateway.log.iter().find(|line| line.contains("::ffff:"));
        assert_eq!(mapped, None, "{listen}");
    }
    for (listen, code) in [
        (format!("0.0.0.0:{port},[::]:{port}"), Some(0)),
        (format!("0.0.0.0:{port},127.0.0.1:{port}"), Some(2)),
        (format!("[::]:{port},[::1]:{port}"), Some(2)),
    ] {
        let mut command = program();
        command.args(["check", "--pool", "stratum+ssl://p.example:1", "--user", "farm"]);
        let output = command.env("LOKA_LISTEN__ADDRESSES", &listen).output().unwrap();
        assert_eq!(output.status.code(), code, "{listen}: what check says, run does");
    }
}

#[test]
fn a_line_for_the_journal_has_a_priority_and_no_second_time() {
    use std::os::unix::fs::MetadataExt;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = |is_journal: bool| {
        let path =
            std::env::temp_dir().join(format!("loka-log-{}-{is_journal}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        let data = file.metadata().unwrap();
        let mut command = program();
        command.args(["run", "--listen", &taken.local_addr().unwrap().to_string()]);
        command.args(["--status", "off", "--pool", "stratum+tcp://127.0.0.1:1", "--user", "farm"]);
        if is_journal {
            command.env("JOURNAL_STREAM", format!("{}:{}", data.dev(), data.ino()));
        } else {
            // The stream of a shell that was started by the journal, and is not ours.
            command.env("JOURNAL_STREAM", "8:1");
        }
        assert_eq!(command.stderr(file).status().unwrap().code(), Some(1));
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        text
    };
    let text = log(true);
    let known = ["<3>", "<4>", "<6>"];
    assert!(text.lines().all(|line| known.iter().any(|p| line.starts_with(p))), "{text}");
    assert!(
        text.lines().any(|l| l.starts_with("<3>") && l.contains("cannot be listened")),
        "{text}"
    );
    assert!(!text.contains("T0") && !text.contains(" ERROR "), "{text}");
    assert!(log(false).contains("Z ERROR "), "time and level");
}

/// procd takes every line of standard error as an error, and sets its time before it.
#[test]
fn f52_a_line_for_the_systems_log_has_its_priority_and_no_second_time() {
    use std::os::unix::net::UnixDatagram;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = std::env::temp_dir().join(format!("loka-syslog-{}", std::process::id()));
    let run = || {
        let mut command = program();
        command.args(["run", "--listen", &taken.local_addr().unwrap().to_string()]);
        command.args(["--status", "off", "--pool", "stratum+tcp://127.0.0.1:1", "--user", "farm"]);
        let output = command.arg("--syslog").arg(&place).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let socket = UnixDatagram::bind(&place).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(run(), "", "all of it goes to the system's log");
    let mut lines = Vec::new();
    let mut bytes = [0; 2048];
    while let Ok(count) = socket.recv(&mut bytes) {
        lines.push(String::from_utf8(bytes[..count].to_vec()).unwrap());
    }
    fs::remove_file(&place).unwrap();
    // The facility of daemons is 3: eight times that and the priority.
    let known = ["<27>loka-stratum[", "<28>loka-stratum[", "<30>loka-stratum["];
    assert!(lines.iter().all(|line| known.iter().any(|p| line.starts_with(p))), "{lines:#?}");
    let is_error = |line: &&String| line.starts_with(known[0]);
    let error = lines.iter().find(is_error).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(error.contains("]: ") && error.contains("cannot be listened"), "{error}");
    assert!(lines.iter().any(|line| line.starts_with(known[1])), "a warning: {lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("ERROR") && !line.contains('Z')), "{lines:#?}");
    // Where nobody keeps the system's log, no line is lost.
    assert!(run().contains("cannot be listened"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--status"), ("--status", "--listen")] {
        let output = program()
            .args(["run", "--pool", "stratum+ssl://pool.example:1", "--user", "farm"])
            .args([flag, &address, other, "127.0.0.1:0"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&address) && text.contains("in use"), "{text}");
    }
}

#[test]
fn status_prints_a_table() {
    let pool = Pool::start("abcd", 8);
    let gateway = Gateway::start(pool.address, &[("LOKA_BOARD__PROFILE", "virt-aarch64")]);
    gateway.wait_for("the pool", |r| r["ready"] == true);
    let address = gateway.status.unwrap().to_string();
    let output = program().args(["status", &address]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("ready") && text.contains(&format!("stratum+tcp://{}", pool.address)));
    assert!(text.contains("board      virt-aarch64: at most "), "{text}");
    let output = program().args(["status", &address, "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["miners"]["max"], json!(1024));
    assert_eq!(report["board"]["profile"], "virt-aarch64");
    assert!(
        report["board"]["memory_bytes"].as_u64() <= report["board"]["memory_bytes_max"].as_u64()
    );
    drop(gateway);
    assert_eq!(program().args(["status", &address]).output().unwrap().status.code(), Some(1));
}

#[test]
fn miners_come_in_by_the_name_of_their_worker() {
    let pool = Pool::start("abcd", 8);
    let names = [("LOKA_ADMIT__MODE", "name"), ("LOKA_ADMIT__NAMES", "farm.*,*.s19")];
    let mut gateway = Gateway::start(pool.address, &names);
    gateway.wait_for("the pool", |r| r["ready"] == true);
    let mut miner = gateway.miner();
    miner.ask("mining.subscribe", json!(["test/1"]));
    let answer = miner.ask("mining.authorize", json!(["thief.1", "x"]));
    assert_eq!(answer["error"][0], 24, "{answer}");
    gateway.wait_for_line("worker \"thief.1\" is not let in: its name fits none of admit.names");
    let answer = miner.ask("mining.authorize", json!(["farm.7", "x"]));
    assert_eq!(answer["result"], true, "it may try again: {answer}");
    miner.wait_for_job();
    gateway.wait_for("the count", |r| r["miners"]["refused"]["worker_not_admitted"] == 1);
}

#[test]
fn miners_come_in_by_where_they_are() {
    let pool = Pool::start("abcd", 8);
    let elsewhere = [("LOKA_ADMIT__MODE", "address"), ("LOKA_ADMIT__ADDRESSES", "192.0.2.0/24")];
    let gateway = Gateway::start(pool.address, &elsewhere);
    gateway.wait_for("the pool", |r| r["ready"] == true);
    assert!(gateway.miner().is_closed(), "before a word");
    gateway.wait_for("the count", |r| {
        r["miners"]["refused"]["address_not_admitted"] == 1 && r["miners"]["accepted"] == 0
    });
    let here = [("LOKA_ADMIT__MODE", "address"), ("LOKA_ADMIT__ADDRESSES", "127.0.0.0/8")];
    let gateway = Gateway::start(pool.address, &here);
    gateway.wait_for("the pool", |r| r["ready"] == true);
    gateway.miner().log_in("farm.7");
}
