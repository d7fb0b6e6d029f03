//! The instructions that a submit costs the engine, hashing left out: `benches/submit.rs` under
//! callgrind.
//!
//! Instructions depend on the compiler and not on who else uses the machine, so they show what a
//! change costs where times cannot.

use std::fs;
use std::path::Path;

use crate::process;

/// Submits of each way: fewer light shares than a miner may have for one job.
const SUBMITS: u64 = 1_000;

/// The ways of a share, with the most instructions that it may take; a crowd is the same as one
/// miner whose shares are forwarded.
const WAYS: [(&str, u64); 3] = [("light", 6_000), ("forwarded", 9_500), ("crowd", 9_500)];

/// What hashes, by its symbol.
const HASH: &str = "compress256";

/// Counts, and prints a table.
///
/// # Errors
///
/// The bench cannot be built, there is no valgrind, or a way takes more than it may.
pub fn run() -> Result<(), String> {
    let bench = build()?;
    let folder = process::root().join("target/instructions");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut above = 0;
    println!("| a submit | instructions without hashing | hashing | at most |");
    println!("| --- | ---: | ---: | ---: |");
    for (way, most) in WAYS {
        let (all, hashing) = count(&bench, way, &folder.join(way))?;
        let own = all.saturating_sub(hashing) / SUBMITS;
        println!("| {way} | {own} | {} | {most} |", hashing / SUBMITS);
        above += u32::from(own > most);
    }
    if above == 0 { Ok(()) } else { Err(format!("{above} ways take more than they may")) }
}

/// Builds the bench as it is shipped, and returns where it is.
fn build() -> Result<String, String> {
    let arguments = ["bench", "--no-default-features", "--bench", "submit", "--no-run"];
    let mut cargo = process::cargo(&arguments);
    let messages = process::output(cargo.arg("--message-format=json"))?;
    let of_bench = messages.lines().filter(|line| line.contains("\"name\":\"submit\""));
    let path = |line: &str| {
        let path = line.split_once("\"executable\":\"")?.1.split_once('"')?.0;
        Some(path.to_owned())
    };
    of_bench.filter_map(path).next().ok_or_else(|| "cargo names no program".to_owned())
}

/// Returns the instructions of all submits, and those of hashing among them.
fn count(bench: &str, way: &str, out: &Path) -> Result<(u64, u64), String> {
    let out = out.display();
    let mut valgrind = process::command("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted*"]);
    valgrind.arg(format!("--callgrind-out-file={out}"));
    process::output(valgrind.args([bench, way, &SUBMITS.to_string()]))?;
    let mut annotate = process::command("callgrind_annotate");
    let text = process::output(annotate.args(["--auto=no", "--threshold=100", &out.to_string()]))?;
    let (mut all, mut hashing) = (None, 0);
    for line in text.lines() {
        let Some(number) = line.split_whitespace().next() else { continue };
        let Ok(number) = number.replace(',', "").parse::<u64>() else { continue };
        if line.ends_with("PROGRAM TOTALS") {
            all = Some(number);
        } else if line.contains(HASH) {
            hashing += number;
        }
    }
    all.map(|all| (all, hashing)).ok_or_else(|| format!("{out}: there is no total"))
}
