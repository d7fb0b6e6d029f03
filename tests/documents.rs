//! The commands of README.md and docs/operating.md: the program takes each, and those of the
//! rehearsal run as they stand.
#![cfg(feature = "lab")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

mod gateway;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::{Folder, PATIENCE, program};

const DOCUMENTS: [&str; 2] = ["README.md", "docs/operating.md"];

/// First words of commands that are not run here, and why.
const OTHERS: [(&str, &str); 9] = [
    ("cargo xtask", "a step of CI, or a build for another processor"),
    ("sudo", "installs into this system"),
    ("journalctl", "asks a systemd that runs the package"),
    ("opkg", "is OpenWrt's"),
    ("uci", "is OpenWrt's"),
    ("logread", "is OpenWrt's"),
    ("tar", "unpacks what cargo xtask package makes"),
    ("cd", "goes where that was unpacked"),
    ("head", "shows an update that cargo xtask image makes"),
];

/// Time between two looks at what must come to hold.
const POLL: Duration = Duration::from_millis(50);

/// The commands of a document: lines of its blocks of shell, without comments.
fn commands(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).expect("it is there");
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let line = |line: &str| line.split(" # ").next().unwrap().trim().to_owned();
    blocks.flat_map(str::lines).map(line).filter(|line| !line.is_empty()).collect()
}

/// Splits a command into words as a shell does, as far as the documents need it.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('"').enumerate();
    quoted
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// Makes a command of the program of words, of which the first may set variables.
fn of_words(mut words: &[String]) -> Command {
    let mut command = program();
    command.env_remove("LOKA_STATE__DIR");
    while let Some((name, value)) = words[0].split_once('=') {
        command.env(name, value);
        words = &words[1..];
    }
    assert_eq!(words[0], "loka-stratum", "{words:?}");
    command.args(&words[1..]);
    command
}

#[test]
fn every_command_of_the_documents_is_one_that_the_program_takes() {
    let mut count = 0;
    for path in DOCUMENTS {
        for line in commands(path) {
            if OTHERS.iter().any(|(first, _)| line.starts_with(first)) {
                continue;
            }
            let line = line.replace("cargo run --release --", "loka-stratum");
            // Nothing is asked of another machine, nor of a port of this one.
            let asked = line.split(" < ").next().unwrap();
            let asked = asked.replace("https://192.168.1.20:8443", "https://127.0.0.1:1");
            let asked = asked.replace("https://192.168.8.1", "https://127.0.0.1:1");
            let asked = asked.replace("/dev/ttyUSB0", "/no/such/port");
            let asked = asked.replace("3F:A0:…", &"3F:".repeat(32));
            let mut command = of_words(&words(&asked));
            // What follows a verb of ctl is the verb's.
            if !asked.contains("loka-stratum ctl") {
                command.arg("--help");
            }
            command.env("LOKA_CTL_PASSWORD", "none").stdin(Stdio::null());
            let output = command.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            let is_taken = !error.contains("Usage:") && !error.contains("--help");
            assert!(is_taken, "{path}: {line}: {error}");
            count += 1;
        }
    }
    assert!(count > 8, "{count} commands");
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that nobody has.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_rehearsal_of_the_documents_mines() {
    let folder = Folder::new("rehearsal");
    let all = commands("docs/operating.md");
    let first = all.iter().position(|line| line.contains("lab pool")).expect("it is there");
    let (pool, miners) = (free(), free());
    let start = |line: &str, more: &[&str]| {
        let line = line.replace("127.0.0.1:3461", &pool.to_string());
        let line = line.replace("127.0.0.1:3462", &miners.to_string());
        let mut command = of_words(&words(&line));
        command.current_dir(&folder.0).args(more).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("it runs"))
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "no {what}");
            std::thread::sleep(POLL);
        }
    };
    let _pool = start(&all[first], &[]);
    until("certificate", &|| folder.0.join("ca.pem").exists());
    let status = free().to_string();
    let _gateway = start(&all[first + 1], &["--status", &status]);
    until("port for miners", &|| std::net::TcpStream::connect(miners).is_ok());
    let _swarm = start(&all[first + 2], &[]);
    until("share that the pool takes", &|| {
        let output = program().args(["status", &status, "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        report["ledger"]["pool_accepted"].as_u64() > Some(0)
    });
}
