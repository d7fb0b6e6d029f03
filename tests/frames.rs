//! The log as defmt frames: written by the real gateway, stripped as for routers, and decoded with
//! the unstripped ELF.
#![cfg(feature = "decode")]

mod gateway;
#[path = "serial/line.rs"]
mod line;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::{Folder, Gateway, PATIENCE, Pool, program};
use line::{Cable, with_console};

/// The ELF with its symbols.
const ELF: &str = env!("CARGO_BIN_EXE_loka-stratum");

/// The log's text of an event, and the event's name.
const EVENTS: [(&str, &str); 5] = [
    (": live: ", "LinkLive {"),
    ("the pool closed the connection", "LinkDown {"),
    ("extranonce2, for miners that connect", "GeometryFixed {"),
    ("BLOCK CANDIDATE ", "Block {"),
    ("block candidate accepted", "BlockAnswered {"),
];

/// The largest size of both files together.
const RING_BYTES_MAX: u64 = 2 * 65_536;

/// Runs `ctl log --decode`.
fn decode(elf: &Path, words: &[&str]) -> Output {
    let mut command = program();
    command.args(["ctl", "log", "--decode", "--elf"]).arg(elf).args(words);
    command.output().expect("the program starts")
}

#[track_caller]
fn decoded(words: &[&str]) -> Vec<String> {
    let output = decode(Path::new(ELF), words);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("damaged"), "{errors}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    text.lines().map(str::to_owned).collect()
}

/// A copy of the program without its symbols.
fn stripped(folder: &Folder) -> PathBuf {
    let path = folder.0.join("loka-stratum");
    let status = Command::new("strip").arg("-o").arg(&path).arg(ELF).status();
    assert!(status.expect("binutils are there").success());
    path
}

fn start(program: &Path, folder: &Folder, pool: &Pool) -> Gateway {
    let mut command = Command::new(program);
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
    command.env("LOKA_STATE__DIR", &folder.0);
    Gateway::spawn(command)
}

fn ring_bytes(folder: &Folder) -> u64 {
    let length = |name: &str| std::fs::metadata(folder.0.join(name)).map_or(0, |file| file.len());
    length("events.0") + length("events.1")
}

/// The events of a text: of each line the time without its date, its level, and its name.
fn events(lines: &[String], name_of: impl Fn(&str) -> Option<&'static str>) -> Vec<String> {
    let event = |line: &String| Some(format!("{} {}", line.split(' ').nth(1)?, name_of(line)?));
    lines.iter().filter_map(event).collect()
}

#[test]
fn frames_of_a_stripped_program_tell_what_its_log_told() {
    let folder = Folder::new("frames");
    let program = stripped(&folder);
    let texts = std::fs::read(&program).expect("it is there");
    let needle = b"frames came too fast to be kept";
    assert!(!texts.windows(needle.len()).any(|part| part == needle), "texts are in the ELF alone");

    let pool = Pool::start("abcd", 8);
    pool.make_blocks_easy();
    let mut gateway = start(&program, &folder, &pool);
    let build = gateway.wait_for_line(" build ");
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    for nonce in 0..24 {
        miner.submit("farm.1", &job, nonce);
    }
    gateway.wait_for("blocks", |report| report["block_candidates"].as_u64() > Some(8));
    pool.cut("dcba", 8);
    gateway.wait_for_line("the pool closed the connection");
    gateway.wait_for("a link", |report| report["upstream"][0]["state"] == "live");
    gateway.signal("TERM");
    assert!(gateway.wait().success());

    let state = folder.0.to_str().expect("it is text");
    let lines = decoded(&["--from", state]);
    assert!(lines[0].contains("INFO start of version "), "{lines:#?}");
    assert!(lines.last().is_some_and(|line| line.ends_with(" INFO end")), "{lines:#?}");
    let told = events(&gateway.log, |line| {
        EVENTS.iter().find(|(text, _)| line.contains(text)).map(|(_, name)| *name)
    });
    let framed = events(&lines, |line| {
        EVENTS.iter().find(|(_, name)| line.contains(&format!(" {name}"))).map(|(_, name)| *name)
    });
    assert_eq!(framed, told, "{lines:#?}\n{:#?}", gateway.log);
    for (_, name) in EVENTS {
        assert!(framed.iter().any(|event| event.ends_with(name)), "no {name} in {framed:#?}");
    }
    let bytes = ring_bytes(&folder);
    let text: usize = gateway
        .log
        .iter()
        .filter(|line| EVENTS.iter().any(|(text, _)| line.contains(text)))
        .map(|line| line.len() + 1)
        .sum();
    println!("{} events: {bytes} bytes of frames, {text} of text", framed.len());
    assert!(bytes < text as u64 / 2, "{bytes} against {text}");

    let refused = decode(&program, &["--from", state]);
    assert_eq!(refused.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(errors.contains("before it was stripped"), "{errors}");
    assert!(build.contains(&own_build(&program)), "{build}");
}

/// The build of a file, as readelf reads it.
fn own_build(program: &Path) -> String {
    let output = Command::new("readelf").arg("--notes").arg(program).output().expect("binutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let id = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.expect("the linker leaves one").to_owned()
}

#[test]
fn f68_a_ring_is_read_whenever_the_gateway_was_killed() {
    let folder = Folder::new("frames-killed");
    let pool = Pool::start("abcd", 8);
    for round in 1..=6 {
        let before = ring_bytes(&folder);
        let mut gateway = start(Path::new(ELF), &folder, &pool);
        gateway.wait_for("a batch on disk", |_| ring_bytes(&folder) > before);
        gateway.kill();
        let lines = decoded(&["--from", folder.0.to_str().expect("it is text")]);
        let starts = lines.iter().filter(|line| line.contains("INFO start of version "));
        assert_eq!(starts.count(), round, "{lines:#?}");
        assert!(ring_bytes(&folder) <= RING_BYTES_MAX);
    }
    // A batch that is cut in the middle is lost, and no other.
    let path = folder.0.join("events.0");
    let bytes = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, &bytes[..bytes.len() - 3]).expect("the disk is not full");
    let lines = decoded(&["--from", folder.0.to_str().expect("it is text")]);
    assert!(lines.iter().filter(|line| line.contains("INFO start of version ")).count() >= 5);
}

#[test]
fn ctl_reads_frames_over_the_line_of_a_console() {
    let (pool, gateway, cable) = with_console();
    gateway.wait_for("a link", |report| report["upstream"][0]["state"] == "live");
    let (_relay, path) = cable.lead_to_a_path(None);
    let mut command = program();
    command.args(["ctl", "--serial", &path, "log", "--decode", "--elf", ELF, "100"]);
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" INFO start of version ") && text.contains("LinkLive {"), "{text}");
    drop(pool);
}

#[test]
fn a_port_of_its_own_gets_frames_as_they_come() {
    let folder = Folder::new("frames-port");
    let pool = Pool::start("abcd", 8);
    let mut cable = Cable::new();
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.args(["--pool", &format!("stratum+tcp://{}", pool.address), "--user", "farm"]);
    command.args(["--frames", &cable.path]);
    let gateway = Gateway::spawn(command);
    gateway.wait_for("a link", |report| report["upstream"][0]["state"] == "live");
    let caught = folder.0.join("caught");
    let mut bytes = Vec::new();
    loop {
        let more = cable.read(PATIENCE);
        assert!(!more.is_empty(), "nothing more came within {PATIENCE:?}");
        bytes.extend(more);
        std::fs::write(&caught, &bytes).expect("the disk is not full");
        let whole = bytes.iter().rposition(|byte| *byte == 0).map_or(0, |end| end + 1);
        std::fs::write(&caught, &bytes[..whole]).expect("the disk is not full");
        let lines = decoded(&["--from", caught.to_str().expect("it is text")]);
        if lines.iter().any(|line| line.contains("LinkLive {")) {
            break;
        }
    }
}
