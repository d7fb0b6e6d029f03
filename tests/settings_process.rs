//! Settings of a running gateway: without any pool, after an edit of the file, after a reset.
#![cfg(feature = "gateway")]

mod gateway;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use gateway::{Folder, Gateway, Pool, program};

const HERE: &str = "[listen]\naddresses = [\"127.0.0.1:0\"]\n[status]\naddress = \"127.0.0.1:0\"\n";

fn pool(pool: &Pool) -> String {
    format!("[[pool]]\nurl = \"stratum+tcp://{}\"\nuser = \"farm\"\n{HERE}", pool.address)
}

/// A command with the settings file of a folder, and its state beside the file.
fn command(verb: &str, folder: &Folder, text: &str) -> Command {
    let file = folder.0.join("farm.toml");
    fs::write(&file, text).unwrap();
    let mut command = program();
    command.arg(verb).arg("--config").arg(file).env("LOKA_STATE__DIR", folder.0.join("state"));
    command
}

#[track_caller]
fn has(output: &Output, text: &str) {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains(text), "{text:?} is not in\n{all}");
}

#[test]
fn a_gateway_without_a_pool_waits_for_one_and_its_miners_wait_with_it() {
    let folder = Folder::new("no-pool-yet");
    let mut gateway = Gateway::spawn(command("run", &folder, HERE));
    gateway.wait_for_line("no pool is set: set-up mode");
    let mut miner = gateway.miner();
    // A miner gets two bytes to roll, which every later pool allows.
    assert_eq!(miner.log_in("farm.1")["result"][2], 2, "it is answered");
    let (code, text) = gateway.get("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("no pool"), "{text}");

    // Writing the pool into the file suffices.
    let first = Pool::start("aaaa", 8);
    fs::write(folder.0.join("farm.toml"), pool(&first)).unwrap();
    gateway.wait_for_line("settings reloaded");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    let report = gateway.wait_for("the answer", |r| r["ledger"]["pool_accepted"] == 1);
    assert_eq!(report["miners"]["accepted"], 1, "the miner did not have to come back");
    assert!(report["flash"]["writes"].as_u64().is_some_and(|writes| writes > 0), "{report}");
    assert!(gateway.get("/metrics").1.contains("loka_flash_written_bytes_total "));
}

#[test]
fn state_has_a_place_without_a_setting_and_none_where_that_is_said() {
    let folder = Folder::new("place");
    let of_service = folder.0.join("service");
    let set = folder.0.join("set");
    let pool = Pool::start("aaaa", 8);
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = program();
        command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
        command.env_remove("LOKA_STATE__DIR").env("STATE_DIRECTORY", &of_service);
        change(&mut command);
        Gateway::spawn(command)
    };
    let kept_in = |folder: &Path| format!("state is kept in {}", folder.display());
    run(&|_| ()).wait_for_line(&kept_in(&of_service));
    let mut gateway = run(&|command| {
        command.env("LOKA_STATE__DIR", &set);
    });
    gateway.wait_for_line(&kept_in(&set));
    // Two never write over each other's state.
    let mut second = run(&|command| {
        command.env("LOKA_STATE__DIR", &set);
    });
    second.wait_for_line("another gateway keeps its state there");
    drop((gateway, second));
    let nothing = "what is committed and passwords are lost when the gateway ends";
    run(&|command| {
        command.arg("--no-state");
    })
    .wait_for_line(nothing);
    run(&|command| {
        command.env("LOKA_STATE__DIR", "");
    })
    .wait_for_line(nothing);
    for kept in [of_service, set] {
        assert!(kept.join("lock").exists(), "{} is empty", kept.display());
    }
}

#[test]
fn without_a_pool_and_without_a_place_to_keep_one_it_does_not_start() {
    let folder = Folder::new("no-place");
    for verb in ["run", "check"] {
        let mut command = command(verb, &folder, HERE);
        let output = command.env("LOKA_STATE__DIR", "").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb}");
        has(
            &output,
            "Pool 1, URL (pool.1.url): got nothing, allowed at least one pool; none only with state.dir",
        );
    }
}

#[test]
fn a_check_says_that_it_would_be_set_up_and_leaves_the_folder_alone() {
    let folder = Folder::new("check");
    let output = command("check", &folder, HERE).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    has(&output, "settings are good");
    has(&output, "no pool is set: set-up mode");
    assert!(!folder.0.join("state").exists());
}

#[test]
fn f70_a_file_that_is_edited_badly_changes_nothing_and_lists_every_problem() {
    let (first, second) = (Pool::start("aaaa", 8), Pool::start("bbbb", 8));
    let folder = Folder::new("bad-edit");
    let mut gateway = Gateway::spawn(command("run", &folder, &pool(&first)));
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    miner.wait_for_job();
    let file = folder.0.join("farm.toml");
    fs::write(&file, pool(&second) + "[miners]\nmax = 0\nmxa = 1\n").unwrap();
    gateway.wait_for_line("Miners, Max (miners.max): got 0, allowed 1..16384");
    gateway.wait_for_line("miners.mxa: got an unknown key");
    gateway.wait_for_line("the settings before stay in use");
    assert_eq!(gateway.report()["upstream"][0]["url"], format!("stratum+tcp://{}", first.address));
    fs::write(&file, pool(&second)).unwrap();
    let job = miner.wait_for("a job of the other pool", |line| {
        line["params"][2].as_str().is_some_and(|coinb1| coinb1.contains("08bbbb"))
    });
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
}

#[test]
fn f68_a_button_resets_and_what_mining_needs_stays() {
    let pool_of_all = Pool::start("abcd", 8);
    let folder = Folder::new("button");
    let state = folder.0.join("state");
    fs::create_dir_all(&state).unwrap();
    for name in ["factory-reset", "accounts.0", "audit.1", "settings.1", "events.1", "blocks.7"] {
        fs::write(state.join(name), "x").unwrap();
    }
    let mut gateway = Gateway::spawn(command("run", &folder, &pool(&pool_of_all)));
    gateway.wait_for_line("factory reset: settings, passwords and the audit log are forgotten");
    let left = |name: &&str| state.join(name).exists();
    let names = ["factory-reset", "accounts.0", "audit.1", "settings.1", "events.1", "blocks.7"];
    assert_eq!(names.into_iter().filter(left).collect::<Vec<_>>(), ["blocks.7"]);
    gateway.kill();
    let again = Gateway::spawn(command("run", &folder, &pool(&pool_of_all)));
    assert!(!again.log.iter().any(|line| line.contains("factory reset")), "{:#?}", again.log);
}
