//! The first ten minutes: a gateway with nothing but a state directory, and a laptop on its LAN.
//!
//! The gateway runs in its own network namespace. So its default ports are free, and its printed
//! address is reachable only over a network. The laptop is this machine.
#![cfg(feature = "gateway")]

#[path = "web/client.rs"]
mod client;
mod gateway;
mod skips;
#[path = "web/tls.rs"]
mod tls;

use std::net::SocketAddr;
use std::process::Command;

use client::code_of;
use gateway::{Folder, Gateway, Miner, Pool, program};
use serde_json::{Value, json};
use tls::Browser;

/// A virtual cable between this machine and a gateway, removed on drop.
struct Cable {
    gateway: String,
    near: String,
}

/// The laptop's address, the gateway's, and a non-local address of the laptop.
const LAPTOP: [u8; 4] = [10, 215, 7, 1];
const GATEWAY: &str = "10.215.7.2";
const ELSEWHERE: &str = "203.0.113.7";

impl Cable {
    /// Creates it; `None` without the permission.
    fn lay() -> Option<Self> {
        let id = std::process::id();
        let cable = Self { gateway: format!("lkf{id}"), near: format!("lkl{id}") };
        let Self { gateway, near } = &cable;
        let steps = [
            format!("netns add {gateway}"),
            format!("link add {near} type veth peer name lan netns {gateway}"),
            format!("addr add 10.215.7.1/30 dev {near}"),
            format!("addr add {ELSEWHERE}/32 dev {near}"),
            format!("-n {gateway} addr add {GATEWAY}/30 dev lan"),
            format!("link set {near} up"),
            format!("-n {gateway} link set lan up"),
            format!("-n {gateway} link set lo up"),
            format!("-n {gateway} route add default via 10.215.7.1"),
        ];
        steps.iter().all(|step| ip(step)).then_some(cable)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.near));
        ip(&format!("netns del {}", self.gateway));
    }
}

fn ip(words: &str) -> bool {
    let output = Command::new("ip").args(words.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

/// A technician's actions: each step counts its entries and clicks.
struct Technician {
    browser: Browser,
    interactions: u32,
}

impl Technician {
    /// Performs a step of the wizard.
    #[track_caller]
    fn does(&mut self, interactions: u32, path: &str, body: &Value) -> Value {
        self.interactions += interactions;
        let reply = self.browser.send("POST", &format!("/api/v1/{path}"), &body.to_string());
        assert_eq!(reply.code, 200, "{path}: {}", reply.raw);
        reply.body
    }
}

#[test]
fn a_laptop_on_the_lan_sets_a_fresh_gateway_up_at_the_address_that_it_prints() {
    let Some(cable) = Cable::lay() else {
        return skips::skipped("a network namespace is not permitted");
    };
    let folder = Folder::new("first-run");
    let pool = Pool::start_at(LAPTOP.into(), "abcd", 8);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &cable.gateway]).arg(program().get_program()).arg("run");
    command.env("LOKA_STATE__DIR", folder.0.join("state"));
    let mut gateway = Gateway::spawn(command);
    gateway.wait_for_line("miners reach it at stratum+tcp://10.215.7.2:3333");
    let printed: Vec<&str> = gateway
        .log
        .iter()
        .filter_map(|line| Some(line.split_once("page at https://")?.1))
        .collect();
    assert_eq!(printed, ["10.215.7.2:8443"], "addresses that can be opened, and no other");
    let address: SocketAddr = printed[0].parse().unwrap();

    // A client outside the local network gets no page, with or without a code.
    assert_eq!(Browser::from(ELSEWHERE, address).send("GET", "/", "").code, 0);

    let mut person = Technician { browser: Browser::at_any(address), interactions: 0 };
    let page = person.browser.send("GET", "/", "");
    assert_eq!(page.code, 200, "{}", page.raw);
    // Without the code nothing is disclosed about the network behind.
    let session = person.browser.send("GET", "/api/v1/session", "").body;
    assert_eq!((&session["pages"], &session["miners"]), (&json!([]), &json!([])));
    let code = code_of(&gateway);
    person.does(2, "session", &json!({"code": code}));
    person.does(2, "password", &json!({"role": "admin", "word": "a long password"}));
    let url = json!({"key": "pool.1.url", "value": format!("stratum+tcp://{}", pool.address)});
    let user = json!({"key": "pool.1.user", "value": "farm.1"});
    let tried = person.does(3, "test", &json!({"pool": "pool.1", "edits": [url]}));
    assert_eq!(tried["ok"], true, "{tried}");
    let tried = person.does(2, "test", &json!({"pool": "pool.1", "edits": [url, user]}));
    assert_eq!(tried["ok"], true, "{tried}");
    person.does(1, "commit", &json!({"edits": [url, user]}));
    let session = person.browser.send("GET", "/api/v1/session", "").body;
    assert_eq!(session["miners"], json!(["stratum+tcp://10.215.7.2:3333"]), "what is typed in");
    assert_eq!(session["pages"], json!(["https://10.215.7.2:8443"]));

    let mut miner = Miner::connect(session["miners"][0].as_str().unwrap()[14..].parse().unwrap());
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);
    assert!(person.interactions <= 10, "{} entries and clicks", person.interactions);
    println!("a miner hashes after {} entries and clicks", person.interactions);
    person.does(1, "confirm", &json!({}));
}
