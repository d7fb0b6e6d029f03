//! A disk that hangs, is full or refuses writes, while shares flow, blocks are found and log-ins
//! fail: F96.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::disks::Disk;
use super::gateway::{Folder, Gateway, Miner, Pool, http, program};
use super::skips::skipped;

/// A gateway with a state directory on a disk of the test's.
struct Site {
    pool: Pool,
    disk: Disk,
    gateway: Gateway,
    state: Folder,
    folder: Folder,
}

impl Site {
    /// Starts one; none where the disk cannot be had, and then it is said.
    fn start() -> Option<Self> {
        let (folder, state) = (Folder::new("disk-shim"), Folder::new("disk-state"));
        let Some(disk) = Disk::new(&folder.0, &state.0) else {
            skipped("there is no C compiler here, or no library can be loaded");
            return None;
        };
        let pool = Pool::start("abcd", 8);
        let mut command: Command = program();
        command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
        command.env("LOKA_STATE__DIR", &state.0).envs(disk.environment());
        let gateway = Gateway::spawn(command);
        disk.be("open");
        Some(Self { pool, disk, gateway, state, folder })
    }

    /// Starts one all of whose files are seen, with all that is told of beats by a file.
    fn start_seen() -> Option<Self> {
        let (folder, state) = (Folder::new("loop-shim"), Folder::new("loop-state"));
        let Some(disk) = Disk::new(&folder.0, Path::new("/")) else {
            skipped("there is no C compiler here, or no library can be loaded");
            return None;
        };
        let pool = Pool::start("abcd", 8);
        let watchdog = folder.0.join("watchdog");
        std::fs::write(&watchdog, "").unwrap();
        let mut command: Command = program();
        command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
        command.arg("--watchdog").arg(watchdog).arg("--alive").arg(folder.0.join("alive"));
        command.env("LOKA_STATE__DIR", &state.0).env("LOKA_WEB__ADDRESS", "127.0.0.1:0");
        command.envs(disk.environment());
        let gateway = Gateway::spawn(command);
        disk.be("open");
        Some(Self { pool, disk, gateway, state, folder })
    }

    fn miner(&self, worker: &str) -> (Miner, Value) {
        let mut miner = self.gateway.miner();
        miner.log_in(worker);
        let job = miner.wait_for_job();
        (miner, job)
    }

    /// Asks the API in the open from this machine, as `who` (cookie and token).
    fn post(&self, who: &Bearer, path: &str, body: &Value) -> (u16, Value) {
        post(self.gateway.status.unwrap(), who, path, body)
    }

    /// Logs in with the set-up code.
    fn bearer(&mut self) -> Bearer {
        let line = self.gateway.wait_for_line("set-up code: ");
        let code = line.rsplit("set-up code: ").next().unwrap();
        let address = self.gateway.status.unwrap();
        let body = json!({ "code": code }).to_string();
        let (head, body) = exchange(address, &Bearer::default(), "/api/v1/session", &body);
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        Bearer {
            cookie: cookie.split(';').next().unwrap().to_owned(),
            csrf: body["csrf"].as_str().unwrap().to_owned(),
        }
    }

    /// Says that no file of the state was touched by the thread of the event loop.
    #[track_caller]
    fn check_loop(&self) {
        let seen = self.disk.seen();
        let of_loop: Vec<_> = seen.iter().filter(|line| line.starts_with("main ")).collect();
        assert!(of_loop.is_empty(), "on the event loop: {of_loop:#?}");
        assert!(seen.iter().any(|line| line.starts_with("other ")), "nothing was written");
    }
}

#[derive(Clone, Default)]
struct Bearer {
    cookie: String,
    csrf: String,
}

fn exchange(address: SocketAddr, who: &Bearer, path: &str, body: &str) -> (String, String) {
    use std::io::{Read, Write};
    let Bearer { cookie, csrf } = who;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\nx-loka-csrf: {csrf}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn post(address: SocketAddr, who: &Bearer, path: &str, body: &Value) -> (u16, Value) {
    let (head, body) = exchange(address, who, path, &body.to_string());
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn commit(value: &str) -> Value {
    json!({"edits": [{"key": "difficulty.start", "value": value}]})
}

/// Says whether nothing has come to a miner yet, without waiting.
fn is_silent(miner: &mut Miner) -> bool {
    let stream = miner.stream();
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn f96_while_the_disk_does_not_answer_everybody_is_served_but_the_finder_of_a_block() {
    let Some(mut site) = Site::start() else { return };
    let (mut miner, job) = site.miner("farm.1");
    let (mut finder, _) = site.miner("farm.2");
    let bearer = site.bearer();
    site.disk.be("closed");

    // People fail to log in: each hears so, and the entries of the audit log wait for the disk, or
    // behind what came before them.
    let address = site.gateway.status.unwrap();
    let wrong = json!({"role": "admin", "password": "not the password"});
    let codes: Vec<u16> =
        (0..6).map(|_| site.post(&Bearer::default(), "/api/v1/session", &wrong).0).collect();
    assert!(codes.starts_with(&[401]) && codes.contains(&429), "{codes:?}");
    site.disk.wait_for_waiting();
    for nonce in 0..50 {
        let answer = miner.submit("farm.1", &job, nonce);
        assert_eq!(answer["result"], true, "{answer}");
    }

    // A commit is answered when it is on the disk.
    let asked = bearer.clone();
    let committing =
        thread::spawn(move || post(address, &asked, "/api/v1/commit", &commit("4096")));
    site.gateway.wait_for("the commit is in use", |_| {
        let (_, body) = http(address, &shown(&bearer, address));
        body.contains("4096")
    });
    assert!(!committing.is_finished(), "it is not on the disk yet");

    // A block is found: it goes to its pool at once, and its miner is answered when the record is
    // on the disk.
    site.pool.make_blocks_easy();
    site.pool.new_job();
    let block_job = finder.wait_for_job();
    miner.wait_for_job();
    let before = site.pool.wait_for_submits(50).len();
    let share = finder.share("farm.2", &block_job, 7);
    let id = finder.send("mining.submit", share);
    site.pool.wait_for_submits(before + 1);
    for _ in 0..20 {
        let (mut newcomer, _) = site.miner("farm.3");
        assert!(
            newcomer.ask("mining.submit", json!(["farm.3", "none", "0", "0", "0"])).is_object()
        );
    }
    assert!(miner.ask("mining.submit", json!(["farm.1", "none", "0", "0", "0"])).is_object());
    assert_eq!(site.gateway.report()["block_candidates"], 1);
    assert!(is_silent(&mut finder), "it was answered before its block was on the disk");
    let is_blocks = |line: &String| line.contains("rename") && line.contains("/blocks.");
    assert!(!site.disk.seen().iter().any(is_blocks));

    site.disk.be("open");
    let answer = finder.wait_for("the answer", |line| line["id"] == id);
    assert_eq!(answer["result"], true, "{answer}");
    assert!(site.disk.seen().iter().any(is_blocks), "it is on the disk now");
    // On a busy machine the answer was given after ten seconds: not yet.
    let (code, body) = committing.join().unwrap();
    let is_late = body["notes"][0].as_str().is_some_and(|note| note.contains("yet"));
    assert!(code == 200 && (body["stored"] == true || is_late), "{code} {body}");
    site.gateway.wait_for("it is stored", |_| {
        http(address, &shown(&bearer, address)).1.contains("\"stored\"")
    });
    site.check_loop();
    site.gateway.signal("TERM");
    assert!(site.gateway.wait().success());
}

fn shown(who: &Bearer, address: SocketAddr) -> String {
    let cookie = &who.cookie;
    let path = "/api/v1/settings?prefix=difficulty.start";
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n")
}

/// What the watch over the loop in this build looks at by itself.
const OWN: [&str; 2] = ["/proc/stat", "/proc/thread-self/schedstat"];

#[test]
fn f96_no_file_at_all_is_touched_by_the_event_loop_of_the_state_the_kernel_or_a_device() {
    let Some(mut site) = Site::start_seen() else { return };
    let (mut miner, job) = site.miner("farm.1");
    let bearer = site.bearer();
    for nonce in 0..20 {
        assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
    }
    for path in ["/metrics", "/readyz", "/healthz", "/", "/app.js"] {
        assert_eq!(site.gateway.get(path).0, 200, "{path}");
    }
    let (code, body) = site.post(&bearer, "/api/v1/commit", &commit("4096"));
    assert_eq!((code, &body["stored"]), (200, &json!(true)), "{body}");
    site.gateway.signal("HUP");
    let feeds = || {
        let seen = site.disk.seen();
        seen.iter().filter(|line| line.contains("write") && line.ends_with("/watchdog")).count()
    };
    let before = feeds();
    site.gateway.wait_for("three beats", |_| feeds() >= before + 3);
    let seen = site.disk.seen();
    let is_own = |line: &&String| OWN.iter().any(|path| line.ends_with(path));
    let of_loop: Vec<_> =
        seen.iter().filter(|line| line.starts_with("main ") && !is_own(line)).collect();
    assert!(of_loop.is_empty(), "on the event loop: {of_loop:#?}");
    site.gateway.signal("TERM");
    assert!(site.gateway.wait().success());
    let watchdog = std::fs::read(site.folder.0.join("watchdog")).unwrap();
    assert_eq!(watchdog.last(), Some(&b'V'), "an end in order turns it off");
}

/// A disk that takes nothing costs what was to be kept; everybody hears of it, and mines.
fn takes_nothing(mode: &str, error: &str) {
    let Some(mut site) = Site::start() else { return };
    let (mut miner, job) = site.miner("farm.1");
    let bearer = site.bearer();
    site.disk.be(mode);
    let (code, body) = site.post(&bearer, "/api/v1/commit", &commit("4096"));
    assert_eq!((code, &body["stored"]), (200, &json!(false)), "{body}");
    let note = body["notes"][0].as_str().unwrap();
    assert!(note.contains("in use until the next start only") && note.contains(error), "{note}");
    for nonce in 0..20 {
        assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
    }
    site.pool.make_blocks_easy();
    site.pool.new_job();
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 7)["result"], true, "its finder hears all the same");
    let warns = |report: &Value, what: &str| {
        let mut warnings = report["warnings"].as_array().unwrap().iter();
        warnings.any(|text| text.as_str().unwrap().contains(what))
    };
    let report = site.gateway.wait_for("the warnings", |report| {
        warns(report, "the last commit is not on the disk")
            && warns(report, "the list of block candidates is not on the disk")
    });
    assert!(warns(&report, error), "{report:#}");
    for what in ["ERROR the last commit is not on", "ERROR the list of block candidates is not on"]
    {
        site.gateway.wait_for_line(what);
    }
    site.disk.be("open");
    let what = "nothing to warn of, when the disk takes what was kept for it";
    site.gateway.wait_for(what, |report| !warns(report, "is not on the disk"));
    site.gateway.kill();
    let blocks = std::fs::read_dir(&site.state.0).unwrap().flatten();
    let names: Vec<_> = blocks.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("blocks.")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("settings.")), "{names:?}");
    site.check_loop();
}

#[test]
fn f96_f69_a_full_disk_costs_what_is_kept_and_no_miner_waits() {
    takes_nothing("full", "No space left on device");
}

#[test]
fn f96_f69_a_read_only_disk_costs_what_is_kept_and_no_miner_waits() {
    takes_nothing("read-only", "Read-only file system");
}
