//! Files of the state that are damaged, planted or owned by others: F103.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::client::{Client, Site, code_of};
use super::gateway::Gateway;

const WORD: &str = "a password of the admin";

/// The files of a store, those that are there.
fn files(site: &Site, name: &str) -> Vec<PathBuf> {
    let state = site.folder.0.join("state");
    let of = |slot: &str| state.join(format!("{name}.{slot}"));
    ["0", "1"].map(of).into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..20]).unwrap();
}

fn put_a_folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

fn link_elsewhere(path: &Path) {
    let other = path.with_extension("other");
    fs::rename(path, &other).unwrap();
    symlink(&other, path).unwrap();
}

fn warns(report: &Value, what: &str) -> bool {
    let mut warnings = report["warnings"].as_array().unwrap().iter();
    warnings.any(|text| text.as_str().unwrap().contains(what))
}

/// Sets the password of admin, so that there are accounts.
fn set_up() -> Site {
    let site = Site::start();
    let mut admin = Client::with_code(&site);
    let set = admin.post("/api/v1/password", json!({"role": "admin", "word": WORD}));
    assert_eq!(set.code, 200, "{}", set.body);
    site
}

#[test]
fn f103_accounts_that_cannot_be_used_close_the_page_and_a_reset_opens_it() {
    let damages = [flip, cut, put_a_folder, open_to_all, link_elsewhere];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut site = set_up();
        site.gateway.kill();
        let accounts = files(&site, "accounts");
        assert_eq!(accounts.len(), 2, "both are written at the first write");
        accounts.iter().for_each(|path| damage(path));
        site.restart();
        let log = site.gateway.log.join("\n");
        assert!(!log.contains("set-up code"), "damage {number}: {log}");
        let text = "ERROR the passwords of the page: nothing of it can be used";
        assert!(log.contains(text), "damage {number}: {log}");
        assert!(warns(&site.gateway.report(), "the passwords of the page"), "damage {number}");
        let mut anybody = Client::new(&site);
        assert_eq!(anybody.get("/api/v1/session").body["first_run"], false, "damage {number}");
        for proof in [json!({"code": "0000 0000"}), json!({"role": "admin", "password": WORD})] {
            let refused = anybody.post("/api/v1/session", proof);
            assert_eq!(refused.code, 503, "damage {number}: {}", refused.body);
        }
        fs::write(site.folder.0.join("state/factory-reset"), "").unwrap();
        site.restart();
        let opened =
            Client::new(&site).post("/api/v1/session", json!({"code": code_of(&site.gateway)}));
        assert_eq!(opened.code, 200, "damage {number}: {}", opened.body);
        assert!(!warns(&site.gateway.report(), "the passwords of the page"), "damage {number}");
    }
}

#[test]
fn f103_one_damaged_file_of_the_accounts_loses_nothing_and_is_said() {
    for slot in 0..2 {
        let mut site = set_up();
        site.gateway.kill();
        flip(&files(&site, "accounts")[slot]);
        site.restart();
        let log = site.gateway.log.join("\n");
        assert!(
            log.contains("ERROR the passwords of the page: the other of its two files"),
            "{log}"
        );
        let mut admin = Client::logged_in(&site, "admin", WORD);
        assert!(warns(&site.gateway.report(), "the passwords of the page"));
        let set = admin.post("/api/v1/password", json!({"role": "admin", "word": "another word"}));
        assert_eq!(set.code, 200, "{}", set.body);
        assert!(!warns(&site.gateway.report(), "the passwords of the page"), "it is mended");
        site.restart();
        Client::logged_in(&site, "admin", "another word");
    }
}

#[test]
fn f103_damaged_settings_leave_the_file_to_count_and_are_said() {
    let mut site = Site::start();
    let mut admin = Client::with_code(&site);
    let edits = json!({"edits": [{"key": "difficulty.start", "value": "4096"}]});
    let committed = admin.post("/api/v1/commit", edits);
    assert_eq!((committed.code, &committed.body["stored"]), (200, &json!(true)));
    site.gateway.kill();
    files(&site, "settings").iter().for_each(|path| cut(path));
    site.restart();
    let log = site.gateway.log.join("\n");
    assert!(log.contains("ERROR the last commit: nothing of it can be used"), "{log}");
    assert!(warns(&site.gateway.report(), "the last commit"));
    assert_eq!(Client::with_code(&site).value("difficulty.start"), "65536");
}

#[test]
fn f103_a_planted_link_is_not_followed_and_a_planted_fifo_blocks_nothing() {
    let mut site = Site::start();
    let state = site.folder.0.join("state");
    let victim = site.folder.0.join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, state.join("accounts.new")).unwrap();
    let mut admin = Client::with_code(&site);
    let set = admin.post("/api/v1/password", json!({"role": "admin", "word": WORD}));
    assert_eq!(set.code, 200, "{}", set.body);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    site.gateway.kill();
    for name in ["settings.0", "blocks.1", "audit.0", "factory-reset"] {
        let _ = fs::remove_file(state.join(name));
        let made = Command::new("mkfifo").arg(state.join(name)).status().unwrap();
        assert!(made.success());
    }
    site.restart();
    assert!(warns(&site.gateway.report(), "the last commit: nothing of it can be used"));
    Client::logged_in(&site, "admin", WORD);
}

#[test]
fn f103_a_state_directory_that_others_may_write_is_refused_with_what_to_do() {
    let mut site = set_up();
    site.gateway.kill();
    let state = site.folder.0.join("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    site.restart();
    let log = site.gateway.log.join("\n");
    let said = "got mode 0777, which others may write, allowed 0700: chmod 700";
    assert!(log.contains("ERROR State, Dir (state.dir): got ") && log.contains(said), "{log}");
    assert!(!log.contains("set-up code"), "{log}");
    assert!(warns(&site.gateway.report(), &format!("{said} {}", state.display())));
    let refused = Client::new(&site).log_in("admin", WORD);
    assert_eq!(refused.code, 503, "{}", refused.body);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    site.restart();
    Client::logged_in(&site, "admin", WORD);
}

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Ends the gateway and starts it as a user that file permissions bind: root may read and
/// write in spite of them.
fn restart_bound(site: &mut Site) {
    site.gateway.kill();
    // Where that user may go, wherever the program was built.
    let program = site.folder.0.join("program");
    fs::copy(env!("CARGO_BIN_EXE_loka-stratum"), &program).unwrap();
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOKA_")) {
        command.env_remove(name);
    }
    command.env_remove("STATE_DIRECTORY");
    command.arg("run").arg("--config").arg(site.folder.0.join("settings.toml"));
    site.gateway = Gateway::spawn(command);
}

#[test]
fn f103_accounts_that_the_gateways_user_may_not_read_are_damaged_and_not_absent() {
    let mut site = set_up();
    site.gateway.kill();
    let state = site.folder.0.join("state");
    if is_root() {
        chown(&state, Some(NOBODY), None).unwrap();
    }
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        let is_accounts = path.file_name().unwrap().to_str().unwrap().starts_with("accounts.");
        match (is_accounts, is_root()) {
            (true, true) => {}
            (true, false) => fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap(),
            (false, true) => chown(&path, Some(NOBODY), None).unwrap(),
            (false, false) => {}
        }
    }
    restart_bound(&mut site);
    let log = site.gateway.log.join("\n");
    assert!(log.contains("ERROR the passwords of the page: nothing of it can be used"), "{log}");
    assert!(log.contains("Permission denied"), "{log}");
    assert!(!log.contains("set-up code"), "{log}");
    assert!(!log.contains("ERROR state.dir"), "{log}");
    assert_eq!(Client::new(&site).log_in("admin", WORD).code, 503);
    assert!(warns(&site.gateway.report(), "the passwords of the page"));
}

#[test]
fn f103_a_state_directory_that_the_gateways_user_may_not_write_is_said_and_mining_goes_on() {
    let mut site = set_up();
    site.gateway.kill();
    let state = site.folder.0.join("state");
    let mode = if is_root() { 0o755 } else { 0o555 };
    fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    restart_bound(&mut site);
    let log = site.gateway.log.join("\n");
    let said =
        format!("State, Dir (state.dir): got {}, where nothing can be written", state.display());
    assert!(log.contains(&format!("ERROR {said}")), "{log}");
    assert!(!log.contains("set-up code"), "{log}");
    let report = site.gateway.wait_for("the pool", |report| report["ready"] == true);
    assert!(warns(&report, &said), "{report:#}");
    let mut miner = site.gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
}
