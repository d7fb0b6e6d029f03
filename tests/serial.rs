//! The serial line over real pseudo terminals, with the real gateway: a person at the console, a
//! tool with frames, and a line that flips, drops and inserts bytes.

mod gateway;
#[path = "serial/line.rs"]
mod line;

use std::path::Path;

use gateway::{Folder, Gateway, Pool};
use line::{Cable, Terminal, Tool, at_first_boot, start_in, with_console, with_page};
use loka_stratum::control::Request;
use serde_json::json;

/// A prompt, what is typed after it, and what comes.
struct Exchange {
    prompt: String,
    line: String,
    answer: String,
}

/// Reads the console of docs/operating.md.
fn transcript() -> Vec<Exchange> {
    let text = std::fs::read_to_string("docs/operating.md").expect("it is there");
    let block = text.split("```console\n").nth(1).expect("there is a console in it");
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in block.split("```").next().expect("it ends").lines() {
        match line.split_once("> ").filter(|(prompt, _)| prompt.starts_with("loka")) {
            Some((prompt, line)) => exchanges.push(Exchange {
                prompt: format!("{prompt}> "),
                line: line.to_owned(),
                answer: String::new(),
            }),
            None => {
                exchanges.last_mut().expect("it begins with a prompt").answer +=
                    &format!("{line}\n")
            }
        }
    }
    exchanges
}

/// Leaves the seconds of a countdown out.
fn without_seconds(prompt: &str) -> String {
    prompt.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[test]
fn the_console_of_the_documents_brings_a_miner_to_a_pool_in_four_lines() {
    let (old, gateway, cable) = with_console();
    let new = Pool::start("1234", 8);
    let real = |text: &str| {
        let text = text.replace(
            "stratum+ssl://old.example.com:3333",
            &format!("stratum+tcp://{}", old.address),
        );
        let text = text.replace("nobody", "farm");
        text.replace(
            "stratum+ssl://pool.example.com:3334",
            &format!("stratum+tcp://{}", new.address),
        )
    };
    let mut terminal = Terminal::new(cable);
    terminal.wait_for("loka> ");
    let mut lines = 0;
    for Exchange { prompt, line, answer } in transcript() {
        assert_eq!(without_seconds(&terminal.prompt()), without_seconds(&prompt), "{line}");
        assert_eq!(terminal.ask(&real(&line)), real(&answer), "{line}");
        lines += usize::from(line.starts_with("set pool.1.u") || line.starts_with("co"));
    }
    assert_eq!(lines, 4, "the set-up itself");
    let url = format!("stratum+tcp://{}", new.address);
    gateway.wait_for("the new pool", |report| {
        let links = report["upstream"].as_array().expect("a list");
        links.iter().any(|link| link["url"] == url.as_str() && link["state"] == "live")
    });
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    let is_there = |_: &serde_json::Value| !new.submits().is_empty();
    gateway.wait_for("the share at the new pool", is_there);
    assert!(old.submits().is_empty());
}

#[test]
fn from_first_boot_to_a_miner_that_hashes_in_four_lines() {
    let pool = Pool::start("abcd", 8);
    let (gateway, cable) = at_first_boot();
    let mut terminal = Terminal::new(cable);
    terminal.wait_for("set-up code of the page: ");
    terminal.wait_for("loka> ");
    let url = format!("set pool.1.url stratum+tcp://{}", pool.address);
    let lines = [url.as_str(), "set pool.1.user farm", "commit", "confirm"];
    assert!(lines.len() <= 6, "the issue's reach");
    for line in lines {
        let answer = terminal.ask(line);
        assert!(!answer.contains("error") && !answer.contains("problem"), "{line}: {answer}");
    }
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    gateway.wait_for("the share at the pool", |_| !pool.submits().is_empty());
}

#[test]
fn the_console_says_where_the_page_is_what_proves_it_and_how_to_log_in() {
    let (mut gateway, cable) = with_page();
    let print = gateway.wait_for_line("fingerprint of the page: ");
    let print = print.split_once("of the page: ").expect("it has it").1.to_owned();
    let place = gateway.wait_for_line("page at https://");
    let place = place.split_once("page at ").expect("it has it").1.to_owned();
    let code = gateway.wait_for_line("set-up code: ");
    let code = code.split_once("code: ").expect("it has it").1.to_owned();
    let mut terminal = Terminal::new(cable);
    let banner = [
        format!("page: {place}\r\n"),
        format!("its fingerprint: {print}\r\n"),
        format!("set-up code of the page: {code}\r\n"),
    ];
    for line in &banner {
        terminal.wait_for(line);
    }
    terminal.wait_for("loka> ");
    // Who comes later with a cable presses Enter, and sees the same.
    terminal.send(b"\r");
    terminal.wait_for(
        "loka-stratum 0.1.0\r\nstate: not ready: no pool is set\r\nminers: stratum+tcp://",
    );
    for line in &banner {
        terminal.wait_for(line);
    }
    terminal.wait_for("loka> ");
    // Where the page comes to be elsewhere it is said without being asked for.
    terminal.ask("set web.address 127.0.0.2:0");
    terminal.send(b"commit\r");
    terminal.wait_for("page: https://127.0.0.2:");
    terminal.wait_for(&banner[1]);
}

#[test]
fn a_person_sees_changes_and_commits_them() {
    let (_pool, _gateway, cable) = with_console();
    let mut terminal = Terminal::new(cable);
    terminal.wait_for("loka-stratum 0.1.0");
    terminal.wait_for("loka> ");
    let shown = terminal.ask("show difficulty.seconds_per_share");
    assert!(shown.starts_with("difficulty.seconds_per_share 10 "), "{shown}");
    assert_eq!(terminal.ask("set difficulty.seconds_per_share 20"), "ok\n");
    let (column, screen) = (terminal.ask("set difficulty.seconds_per_share 0"), "allowed 1..600");
    assert!(column.starts_with("error: ") && column.contains(screen), "{column}");
    let change = "difficulty.seconds_per_share: 10 -> 20\n";
    assert_eq!(terminal.ask("diff"), change);
    assert_eq!(terminal.ask("commit"), change);
    let refused = terminal.ask("commit");
    assert_eq!(refused, "error: there is nothing to commit\n");
}

#[test]
fn a_change_that_may_cut_off_is_taken_back_or_kept() {
    let (_pool, mut gateway, cable) = with_console();
    let mut terminal = Terminal::new(cable);
    terminal.wait_for("loka> ");
    let new = "127.0.0.2:0";
    terminal.ask(&format!("set listen.addresses {new}"));
    let answer = terminal.ask("commit");
    assert!(answer.contains(&format!("-> {new} (to be confirmed)\nin use for 120 s")), "{answer}");
    let prompt = terminal.prompt();
    assert!(prompt.starts_with("loka (confirm within 1"), "{prompt}");
    gateway.wait_for_line("listening for miners on 127.0.0.2:");
    assert_eq!(terminal.ask("rollback"), "ok\n");
    let shown = terminal.ask("show listen.addresses");
    assert!(shown.contains(" 127.0.0.1:0 "), "{shown}");
    terminal.ask(&format!("set listen.addresses {new}"));
    terminal.ask("commit");
    assert_eq!(terminal.ask("confirm"), "ok\n");
    assert_eq!(terminal.prompt(), "loka> ");
}

#[test]
fn f73_noise_half_commands_and_a_megabyte_change_nothing() {
    let (_pool, gateway, cable) = with_console();
    let mut terminal = Terminal::new(cable);
    terminal.wait_for("loka> ");
    let before = terminal.ask("show");
    let mut noise = line::Noise::new(73);
    for _ in 0..200 {
        terminal.send(&noise.bytes(64));
    }
    // A person who types again after the noise: whatever it began is over by then.
    terminal.send(b"\x03\r");
    terminal.settle();
    terminal.send(b"set miners.blocked_secs 9\r commit confirm\r\x00\x00set miners.blocked_secs 8");
    terminal.settle();
    terminal.send(&b"set miners.blocked_secs 7 ".repeat(40_000));
    terminal.send(b"\r");
    terminal.wait_for("error: got a line of more than 256 bytes; the line was dropped");
    terminal.ask("rollback");
    assert_eq!(terminal.ask("show"), before);
    assert_eq!(gateway.report()["ready"], true);
    gateway.miner().log_in("farm.1");
}

#[test]
fn f73_every_framed_request_is_answered_once_over_a_noisy_line() {
    let (_pool, _gateway, cable) = with_console();
    let mut tool = Tool::new(cable, Some(line::Noise::new(7)));
    for round in 0..60 {
        let (key, value) = ("difficulty.seconds_per_share", (20 + round).to_string());
        assert_eq!(tool.ask(&Request::Set { key, value: &value }), Ok(vec![]));
        assert_eq!(tool.ask(&Request::Diff), Ok(vec![format!("{key}: 10 -> {value}")]));
        // What was carried out twice has nothing to take back the second time.
        assert_eq!(tool.ask(&Request::Rollback), Ok(vec![]));
    }
    assert!(tool.faults() > 40 && tool.repeats > 20, "{} {}", tool.faults(), tool.repeats);
}

#[test]
fn the_console_works_again_after_frames() {
    let (_pool, _gateway, cable) = with_console();
    let mut tool = Tool::new(cable, None);
    tool.ask(&Request::Set { key: "miners.blocked_secs", value: "9" }).expect("it is taken");
    let mut terminal = Terminal::new(tool.into_cable());
    // What a tool changed and did not commit is there for the person.
    assert_eq!(terminal.ask("diff"), "miners.blocked_secs: 30 -> 9\n");
}

/// Sets a password at the console.
fn set_password(terminal: &mut Terminal, word: &str) {
    terminal.wait_for("loka> ");
    terminal.send(b"password admin\r");
    terminal.wait_for("new password of admin: ");
    terminal.send(format!("{word}\r").as_bytes());
    terminal.wait_for("once more: ");
    terminal.send(format!("{word}\r").as_bytes());
    let answer = terminal.wait_for("loka> ");
    assert!(!answer.contains("error"), "{answer}");
}

/// Logs in at the page's API, from this machine.
fn log_in(gateway: &Gateway, proof: &serde_json::Value) -> u16 {
    let address = gateway.status.expect("a status port");
    let (body, length) = (proof.to_string(), proof.to_string().len());
    let request = format!(
        "POST /api/v1/session HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    gateway::http(address, &request).0
}

fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("the disk is not full");
}

#[test]
fn f103_passwords_that_cannot_be_used_are_healed_at_the_serial_line_and_stand_twice() {
    let folder = Folder::new("heal");
    let page = "[web]\naddress = \"127.0.0.1:0\"\n";
    let start = || start_in(&folder.0, Cable::new(), page);
    let files = ["accounts.0", "accounts.1"].map(|name| folder.0.join(name));
    let proof = |word: &str| json!({"role": "admin", "password": word});
    let (mut gateway, cable) = start();
    set_password(&mut Terminal::new(cable), "the first password");
    assert_eq!(log_in(&gateway, &proof("the first password")), 200);
    gateway.kill();
    files.iter().for_each(|path| flip_a_bit(path));

    let (mut gateway, cable) = start();
    gateway.wait_for_line("ERROR the passwords of the page: nothing of it can be used");
    for closed in [proof("the first password"), json!({"code": "0000 0000"})] {
        assert_eq!(log_in(&gateway, &closed), 503, "{closed}");
    }
    let mut terminal = Terminal::new(cable);
    set_password(&mut terminal, "the second password");
    assert_eq!(log_in(&gateway, &proof("the second password")), 200);
    assert_eq!(log_in(&gateway, &proof("the first password")), 401);
    assert!(!gateway.log.join("\n").contains("set-up code"), "it was set up before");
    gateway.wait_for("nothing to warn of", |report| {
        !report["warnings"].to_string().contains("the passwords of the page")
    });
    gateway.kill();

    // Either file alone is enough.
    for path in &files {
        let whole = std::fs::read(path).expect("both are written");
        flip_a_bit(path);
        let (mut gateway, _cable) = start();
        assert_eq!(log_in(&gateway, &proof("the second password")), 200, "without {path:?}");
        gateway.kill();
        std::fs::write(path, whole).expect("the disk is not full");
    }
}
