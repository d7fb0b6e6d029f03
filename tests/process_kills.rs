//! Kills of the process at any point of a write: no file is ever partial, and a block candidate
//! with the answer `true` reaches the pool.
//!
//! `KILLS=200 cargo test --test process_kills` sets the number of kills; `cargo xtask chaos` does
//! so. And the lab's children end with the lab.
#![cfg(feature = "lab")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

mod gateway;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crc::{CRC_32_ISO_HDLC, Crc};
use gateway::{Folder, Gateway, PATIENCE, Pool, program};
use serde_json::Value;

/// Default number of kills: a few seconds.
const KILLS: u64 = 20;

/// SplitMix64, from a seed that a failure prints.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Checks that each final file is complete: its last four bytes are the CRC of the others.
/// Temporary files may be partial.
fn check_files(folder: &Path) {
    for name in ["gateway.0", "gateway.1", "blocks.0", "blocks.1"] {
        let Ok(bytes) = fs::read(folder.join(name)) else { continue };
        let (value, sum) = bytes.split_at(bytes.len().saturating_sub(4));
        let expected = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(value).to_le_bytes();
        assert_eq!(sum, expected, "{name} of {} bytes is not whole", bytes.len());
    }
}

#[test]
fn f68_f39_killed_at_any_point_no_file_is_half_and_no_block_is_lost() {
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut random = Random(std::process::id().into());
    println!("SEED={}", random.0);
    let folder = Folder::new("kills");
    let state = [("LOKA_STATE__DIR", folder.0.to_str().unwrap())];
    let pool = Pool::start("abcd", 8);
    pool.make_blocks_easy();
    let mut acknowledged = BTreeSet::new();
    let (mut nonce, mut recalled) = (0_u32, 0);
    for round in 0..kills {
        // A silent pool leaves blocks for the next run, which gets the answers.
        pool.set_mute(round % 2 == 0);
        if round % 3 == 0 {
            // This makes the gateway rewrite the geometry.
            let _ = fs::remove_file(folder.0.join("gateway.0"));
            let _ = fs::remove_file(folder.0.join("gateway.1"));
        }
        let mut gateway = Gateway::start(pool.address, &state);
        recalled += gateway.log.iter().filter(|line| line.contains("told once more")).count();
        if round % 4 == 1 {
            // No more than can be remembered: four in each of the rounds up to the next like this.
            gateway.wait_for("the answers", |report| report["block_candidates_waiting"] == 0);
        }
        let mut miner = gateway.miner();
        miner.log_in("farm.1");
        let job = miner.wait_for_job();
        if round % 4 == 3 {
            // Blocks found now can reach the pool only through the disk.
            pool.cut("abcd", 8);
        }
        let mut sent = Vec::new();
        for _ in 0..=random.below(4) {
            nonce += 1;
            let share = miner.share("farm.1", &job, nonce);
            sent.push((miner.send("mining.submit", share), format!("{nonce:08x}")));
        }
        let nonce_of = |line: &Value| {
            let answered = sent.iter().find(|(id, _)| line["id"] == *id && line["result"] == true);
            answered.map(|(_, nonce)| nonce.clone())
        };
        // Every other time not before one has its answer, however busy the machine is.
        if round % 2 == 1 {
            let answer = miner.wait_for("an answer", |line| nonce_of(line).is_some());
            acknowledged.extend(nonce_of(&answer));
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        gateway.kill();
        acknowledged.extend(std::iter::from_fn(|| miner.read()).filter_map(|line| nonce_of(&line)));
        check_files(&folder.0);
    }
    pool.set_mute(false);
    let _last = Gateway::start(pool.address, &state);
    let missing = |acknowledged: &BTreeSet<String>| {
        let submits = pool.submits();
        let heard: BTreeSet<&str> = submits.iter().filter_map(|s| s[4].as_str()).collect();
        acknowledged.iter().filter(|nonce| !heard.contains(nonce.as_str())).cloned().collect()
    };
    let mut left: Vec<String> = missing(&acknowledged);
    for _ in 0..PATIENCE.as_millis() / 10 {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        left = missing(&acknowledged);
    }
    println!("{kills} kills, {} blocks acknowledged, {recalled} recalled", acknowledged.len());
    assert_eq!(left, [""; 0], "of {} acknowledged blocks", acknowledged.len());
    assert!(acknowledged.len() as u64 >= kills / 2, "{} blocks acknowledged", acknowledged.len());
    assert!(recalled as u64 > kills / 4, "{recalled} blocks recalled");
}

/// A pool of the settings: its address, and the user.
type Account<'a> = (&'a Pool, &'static str);

/// Starts a gateway that works for these accounts, the first before the others.
fn start_for(folder: &Folder, accounts: &[Account<'_>]) -> Gateway {
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
    command.env("LOKA_STATE__DIR", &folder.0);
    for (number, (pool, user)) in (1..).zip(accounts) {
        command.env(format!("LOKA_POOL__{number}__URL"), format!("stratum+tcp://{}", pool.address));
        command.env(format!("LOKA_POOL__{number}__USER"), user);
    }
    Gateway::spawn(command)
}

/// Waits until every account of the settings has a live link.
fn wait_for_all(gateway: &Gateway, count: usize) {
    gateway.wait_for("live links to all", |report| {
        let links = report["upstream"].as_array().unwrap();
        links.len() == count && links.iter().all(|link| link["state"] == "live")
    });
}

/// Finds a block for the first account, which its pool does not answer, and kills the gateway;
/// returns the block's nonce.
fn find_and_kill(folder: &Folder, accounts: &[Account<'_>], nonce: u32) -> String {
    let mut gateway = start_for(folder, accounts);
    wait_for_all(&gateway, accounts.len());
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
    gateway.kill();
    format!("{nonce:08x}")
}

/// Ends a gateway by SIGTERM: the decision on a block is written shortly after it, or at the end.
fn end(gateway: &mut Gateway) {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
fn f92_killed_before_the_answer_a_block_goes_to_its_own_account_and_port_only() {
    let folder = Folder::new("strangers");
    let (first, second) = (Pool::start("aaaa", 8), Pool::start("bbbb", 8));
    [&first, &second].into_iter().for_each(Pool::make_blocks_easy);
    let (own, other_port, other_user) = ((&first, "ann"), (&second, "ann"), (&first, "bob"));
    for (nonce, stranger) in (1..).zip([other_port, other_user]) {
        for order in 0..3 {
            let heard = |(pool, user): Account<'_>| pool.nonces_of(user);
            first.be_mute();
            second.be_mute();
            let nonce = find_and_kill(&folder, &[own, stranger], 10 * nonce + order);
            let before = heard(own).iter().filter(|known| **known == nonce).count();
            first.set_mute(false);
            second.set_mute(false);
            let order: &[Account<'_>] = match order {
                0 => &[own, stranger],
                1 => &[stranger, own],
                // The block's own account is set again only after a run without it.
                _ => {
                    let mut gateway = start_for(&folder, &[stranger]);
                    gateway.wait_for_line("its pool is not set");
                    wait_for_all(&gateway, 1);
                    let report = gateway.wait_for("the block that waits", |report| {
                        report["block_candidates_waiting"] == 1
                    });
                    let warnings = report["warnings"].to_string();
                    assert!(warnings.contains("a block candidate waits for ann"), "{warnings}");
                    gateway.kill();
                    &[own, stranger]
                }
            };
            let mut gateway = start_for(&folder, order);
            wait_for_all(&gateway, order.len());
            gateway.wait_for("the answer", |report| report["block_candidates_waiting"] == 0);
            let after = heard(own).iter().filter(|known| **known == nonce).count();
            // Lines of the killed run may still have been in flight.
            assert!(after > before, "its own account is told once more");
            assert!(!heard(stranger).contains(&nonce), "a stranger was told");
            end(&mut gateway);
        }
    }
}

#[test]
fn f92_a_pool_that_has_forgotten_the_job_does_not_end_the_block() {
    let folder = Folder::new("forgotten");
    let pool = Pool::start("aaaa", 8);
    pool.make_blocks_easy();
    pool.be_mute();
    let own = (&pool, "ann");
    let nonce = find_and_kill(&folder, &[own], 7);
    pool.set_mute(false);
    // "Job not found": the restarted pool cannot know it, and its own session may come back.
    pool.refuse(Some(21));
    for _ in 0..2 {
        let mut gateway = start_for(&folder, &[own]);
        gateway.wait_for_line("sent late: not taken; it is kept");
        assert_eq!(gateway.report()["block_candidates_waiting"], 1);
        gateway.kill();
    }
    pool.refuse(None);
    let mut gateway = start_for(&folder, &[own]);
    gateway.wait_for_line("sent late: accepted");
    gateway.wait_for("the end of it", |report| report["block_candidates_waiting"] == 0);
    end(&mut gateway);
    let told = pool.nonces_of("ann").iter().filter(|known| **known == nonce).count();
    assert!(told >= 3, "each of the three runs told it, the first perhaps too: {told}");
    let mut last = start_for(&folder, &[own]);
    wait_for_all(&last, 1);
    last.kill();
    assert!(!last.log.iter().any(|line| line.contains("block candidate")), "{:#?}", last.log);
}

/// Live child processes of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| status_of(*id).is_some_and(|(of, _)| of == parent)).collect()
}

/// Parent and state of a process; `None` after its end.
fn status_of(id: u32) -> Option<(u32, char)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let mut rest = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = rest.next()?.chars().next()?;
    Some((rest.next()?.parse().ok()?, state))
}

fn lives(id: u32) -> bool {
    status_of(id).is_some_and(|(_, state)| state != 'Z')
}

#[test]
fn a_lab_that_is_killed_takes_its_children_with_it() {
    for (words, signal) in [
        (&["lab", "chaos", "--miners", "5", "--faults", "10000"][..], "KILL"),
        (&["lab", "chaos", "--miners", "5", "--faults", "10000"][..], "TERM"),
        (&["demo", "--miners", "5"][..], "KILL"),
    ] {
        let mut lab = program();
        lab.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        let mut lab = lab.spawn().unwrap();
        let started = wait_until(|| !children(lab.id()).is_empty());
        let gateways = children(lab.id());
        let id = lab.id().to_string();
        assert!(
            Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success()
        );
        lab.wait().unwrap();
        assert!(started, "{words:?} starts a gateway");
        let ended = wait_until(|| !gateways.iter().any(|id| lives(*id)));
        assert!(ended, "{gateways:?} outlived {words:?} after SIG{signal}");
    }
}

fn wait_until(is_so: impl Fn() -> bool) -> bool {
    (0..PATIENCE.as_millis() / 20).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        is_so()
    })
}
