//! `ctl`, the client of a gateway's serial line and of its API: the verbs of the console, many
//! gateways from a list, and the errors without an answer.

mod gateway;
#[path = "serial/line.rs"]
mod line;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::{Folder, Gateway, Pool, program};
use line::{Cable, Noise, with_console};

/// The result of a command: exit code, standard output, standard error.
fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().expect("it is not killed"), text(&stdout), text(&stderr))
}

fn ok(text: &str) -> (i32, String, String) {
    (0, text.to_owned(), String::new())
}

/// Runs `ctl` over a gateway's API.
fn ask(gateway: &Gateway, password: &str, words: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", gateway.status.expect("the status port is on"));
    let mut command = program();
    command.args(["ctl", "--http", &url]).args(words).env("LOKA_CTL_PASSWORD", password);
    ended(&mut command)
}

/// Sets the first password by the set-up code.
fn with_password(gateway: &mut Gateway) {
    let line = gateway.wait_for_line("set-up code: ");
    let code = line.split("code: ").nth(1).expect("it has one").to_owned();
    let url = format!("http://{}", gateway.status.expect("the status port is on"));
    let mut command = program();
    command.args(["ctl", "--http", &url, "--code", &code, "password", "admin"]);
    let (status, said, error) = ended(command.env("LOKA_CTL_SECRET", "correct horse"));
    assert_eq!((status, said.as_str()), (0, "ok\n"), "{error}");
}

/// Writes a list for `ctl provision`.
fn list(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the disk is not full");
    path
}

#[test]
fn ctl_has_the_verbs_of_the_console() {
    let (_pool, _gateway, cable) = with_console();
    let (_relay, path) = cable.lead_to_a_path(Some(Noise::new(4)));
    let ctl = |words: &[&str]| {
        let mut command = program();
        ended(command.args(["ctl", "--serial", &path]).args(words))
    };
    assert_eq!(ctl(&["set", "miners.blocked_secs", "9"]), ok("ok\n"));
    assert_eq!(ctl(&["diff"]), ok("miners.blocked_secs: 30 -> 9\n"));
    assert_eq!(ctl(&["--commit", "set", "pool.1.goal", "own"]).0, 0);
    let (code, shown, _) = ctl(&["--json", "show", "miners.blocked_secs"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("a line of JSON");
    assert_eq!(
        (code, &shown["value"], &shown["key"]),
        (0, &"9".into(), &"miners.blocked_secs".into())
    );
    let (code, _, error) = ctl(&["set", "miners.blocked_secs", "4"]);
    assert_eq!(code, 1);
    assert!(error.contains("got 4, allowed 5.."), "{error}");
    let (code, _, error) = ctl(&["shwo"]);
    assert_eq!(code, 2);
    assert!(error.contains("column 1: unknown verb \"shwo\""), "{error}");
}

#[test]
fn ctl_says_what_it_may_be_when_nobody_answers() {
    let cable = Cable::new();
    let (_relay, path) = Cable::new().lead_to_a_path(None);
    drop(cable);
    let output = program().args(["ctl", "--serial", &path, "diff"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is it the right port, at the right speed"), "{error}");
}

#[test]
fn ctl_sets_up_a_gateway_by_its_api() {
    let (_pool, mut gateway, _cable) = with_console();
    with_password(&mut gateway);
    let (code, _, error) = ask(&gateway, "wrong", &["diff"]);
    assert_eq!(code, 1, "{error}");
    let ask = |words: &[&str]| ask(&gateway, "correct horse", words);
    assert_eq!(ask(&["diff"]), ok("ok\n"));
    let (code, _, error) = ask(&["set", "miners.blocked_secs", "9"]);
    assert_eq!(code, 2);
    assert!(error.contains("add --commit"), "{error}");
    let change = "ok\nminers.blocked_secs: 30 -> 9\n";
    assert_eq!(ask(&["--commit", "set", "miners.blocked_secs", "9"]), ok(change));
    let (_, shown, _) = ask(&["show", "miners.blocked_secs"]);
    assert!(shown.starts_with("miners.blocked_secs          9 "), "{shown}");
    let (code, _, error) = ask(&["--commit", "set", "miners.blocked_secs", "4"]);
    assert_eq!(code, 1);
    assert!(error.contains("Miners, Blocked (miners.blocked_secs): got 4, allowed 5.."), "{error}");
    let (code, status, _) = ask(&["status"]);
    assert_eq!(code, 0);
    assert!(status.starts_with("ready, version"), "{status}");
}

#[test]
fn provision_sets_up_what_is_not_as_wanted_and_reports_what_failed() {
    let (_pool, mut one, _cable) = with_console();
    let (_other_pool, _two, cable) = with_console();
    let (_relay, path) = cable.lead_to_a_path(None);
    with_password(&mut one);
    let secret = list("provision-secret", "correct horse\n");
    let url = one.status.expect("the status port is on");
    let text = format!(
        "[settings]\n\"miners.blocked_secs\" = 9\n\"upstream.warm\" = false\n\
         [[gateway]]\nname = \"one\"\nurl = \"http://{url}\"\npassword_file = {secret:?}\n\
         settings = {{ \"listen.addresses\" = [\"127.0.0.3:0\"] }}\n\
         [[gateway]]\nname = \"two\"\nserial = \"{path}\"\n\
         [[gateway]]\nname = \"gone\"\nserial = \"/dev/none\"\n"
    );
    let file = list("provision.toml", &text);
    let run = || ended(program().args(["ctl", "provision"]).arg(&file));
    let (code, report, error) = run();
    assert_eq!(
        (code, error.as_str()),
        (1, "error: 1 of 3 gateways are not as wanted\n"),
        "{report}"
    );
    for line in [
        "one: 3 changed\n",
        "two: 2 changed\n",
        "gone: FAILED: /dev/none: ",
        "3 gateways, 1 failed\n",
    ] {
        assert!(report.contains(line), "{line:?}: {report}");
    }
    one.wait_for_line("listening for miners on 127.0.0.3:");
    let (_, shown, _) = ask(&one, "correct horse", &["--json", "show", "listen.addresses"]);
    assert!(shown.contains("127.0.0.3:0"), "{shown}");
    let (code, report, _) = run();
    assert_eq!(code, 1);
    for line in ["one: as wanted\n", "two: as wanted\n"] {
        assert!(report.contains(line), "{line:?}: {report}");
    }
}

#[test]
fn ctl_sends_a_password_to_the_gateway_of_a_fingerprint_and_to_no_other() {
    let pool = Pool::start("abcd", 8);
    let mut gateway = Gateway::start(pool.address, &[("LOKA_WEB__ADDRESS", "127.0.0.1:0")]);
    with_password(&mut gateway);
    let mut after = |part: &str| {
        let line = gateway.wait_for_line(part);
        line.split_once(part).expect("it has it").1.to_owned()
    };
    let (url, print) = (format!("https://{}", after("page at https://")), after("of the page: "));
    let folder = Folder::new("ctl-known");
    let known = folder.0.join("gateways");
    let ask = |password: &str, flags: &[&str]| {
        let mut command = program();
        command.args(["ctl", "--http", &url, "--known"]).arg(&known).args(flags).arg("status");
        ended(command.env("LOKA_CTL_PASSWORD", password))
    };
    // For an unknown gateway `ctl` shows the fingerprint, and sends nothing.
    let (code, said, error) = ask("correct horse", &[]);
    assert_eq!((code, said.as_str()), (1, ""), "{error}");
    assert!(error.contains(&format!("its certificate is {print}")), "{error}");
    assert!(error.contains("--accept-new"), "{error}");
    let other = "0F:".repeat(31) + "0F";
    let (code, said, error) = ask("correct horse", &["--fingerprint", &other]);
    assert_eq!((code, said.as_str()), (1, ""), "{error}");
    assert!(error.contains(&print) && error.contains(&other), "both are shown: {error}");
    assert!(!known.exists(), "nobody was remembered");

    let (code, said, error) = ask("correct horse", &["--fingerprint", &print]);
    assert_eq!(code, 0, "{error}");
    assert!(said.starts_with("ready, version"), "{said}");
    assert_eq!(ask("correct horse", &["--fingerprint", "0F"]).0, 2, "that is none");
    // Once accepted, its fingerprint is known, and another certificate is refused.
    assert_eq!(ask("wrong", &["--accept-new"]).0, 1);
    assert!(!known.exists(), "who did not log in has accepted nobody");
    assert_eq!(ask("correct horse", &["--accept-new"]).0, 0);
    assert_eq!(ask("correct horse", &[]).0, 0);
    let text = std::fs::read_to_string(&known).expect("it was written");
    assert!(text.contains(&print), "{text}");
    std::fs::write(&known, text.replace(&print, &other)).expect("the disk is not full");
    let (code, _, error) = ask("correct horse", &["--accept-new"]);
    assert_eq!(code, 1, "not even then");
    assert!(error.contains(&print) && error.contains(&other), "{error}");
}

/// The exit codes for scripts, the same over both ways.
#[test]
fn ctl_ends_with_one_code_for_one_outcome() {
    let (pool, mut gateway, cable) = with_console();
    with_password(&mut gateway);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let url = format!("http://{}", gateway.status.expect("the status port is on"));
    let (_relay, port) = cable.lead_to_a_path(None);
    let live = "set difficulty.seconds_per_share 20";
    let good = format!("test stratum+tcp://{}", pool.address);
    for (flags, verb, code) in [
        (&["--commit", "--confirm"][..], live, 0),
        (&["--commit", "--confirm"], live, 0),
        (&["--commit"], live, 0),
        (&["--commit", "--confirm"], "set upstream.standby maybe", 1),
        (&["--commit", "--confirm"], "set pool.1.goal own", 0),
        (&[], "confirm", 1),
        (&[], "status", 0),
        (&[], "miners", 0),
        (&[], "show pool", 0),
        (&[], good.as_str(), 0),
        (&[], "test stratum+tcp://127.0.0.1:1", 1),
        (&[], "statsu", 2),
        (&[], "log ten", 2),
    ] {
        for way in [["--http", &url], ["--serial", &port]] {
            let mut command = program();
            command.arg("ctl").args(way).args(flags).args(verb.split(' '));
            let (got, said, error) = ended(command.env("LOKA_CTL_PASSWORD", "correct horse"));
            assert_eq!(got, code, "{way:?} {flags:?} {verb}: {said}{error}");
        }
    }
    let mut lost = Gateway::start("127.0.0.1:1".parse().unwrap(), &[]);
    with_password(&mut lost);
    let (code, said, error) = ask(&lost, "correct horse", &["status"]);
    assert_eq!(code, 1, "{said}{error}");
    assert!(said.starts_with("NOT READY"), "{said}");
}

#[test]
fn ctl_keeps_the_list_of_workers_over_the_api() {
    let (_pool, mut gateway, _cable) = with_console();
    with_password(&mut gateway);
    let run = |words: &[&str]| ask(&gateway, "correct horse", words);
    assert_eq!(run(&["admitted"]), ok("no worker is in the list\n"));
    let url = format!("http://{}", gateway.status.expect("the status port is on"));
    let admit = |word: &str| {
        let mut command = program();
        command.args(["ctl", "--http", &url, "admit", "farm.*"]);
        command.env("LOKA_CTL_PASSWORD", "correct horse").env("LOKA_CTL_SECRET", word);
        ended(&mut command)
    };
    assert_eq!(admit("of the farm"), ok("ok\n"));
    assert_eq!(run(&["admitted"]), ok("farm.*\n"));
    assert_eq!(admit(""), ok("ok\n"));
    assert_eq!(run(&["admitted"]), ok("no worker is in the list\n"));
}
