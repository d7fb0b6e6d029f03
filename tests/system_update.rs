//! Updates of a system in two slots, with the real gateway, the real slot keeper and the image's
//! scripts that choose the slot. Files replace the partitions. A reboot ends all processes and
//! starts them again.
#![cfg(feature = "gateway")]

mod gateway;
#[path = "../src/gateway/update/signing.rs"]
mod signing;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gateway::{Folder, Gateway, Miner, Pool, program};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use signing::SecretKey;

const WORD: &str = "correct horse";
const SLOT_BYTES: usize = 65_536;

/// A board with two slots.
struct Machine {
    folder: Folder,
    pool: Pool,
    keeper: Option<Child>,
    gateway: Option<Gateway>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.off();
    }
}

fn key() -> SecretKey {
    SecretKey::new(*b"farm key", &[5; 32])
}

/// An image: its first line is the version of its system.
fn image(version: &str) -> Vec<u8> {
    let filler = (0..40_000_u32).map(|index| (index * 7 % 251) as u8);
    format!("{version}\n").into_bytes().into_iter().chain(filler).collect()
}

fn update_by(key: &SecretKey, board: &str, version: &str) -> Vec<u8> {
    let image = image(version);
    let sum: String = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "loka-update 1\nboard {board}\ntarget none\nversion {version}\nbuilt 1795220164\n\
         replaces 0.1.0\nlength {}\nsha256 {sum}\n\n",
        image.len()
    );
    let signature = key.sign(manifest.as_bytes(), version);
    [signature.as_bytes(), manifest.as_bytes(), &image].concat()
}

fn update(version: &str) -> Vec<u8> {
    update_by(&key(), "test-board", version)
}

impl Machine {
    /// A machine whose first slot runs 0.1.0, with a trial of `trial_secs` for a new system.
    fn new(name: &str, trial_secs: u32) -> Self {
        let folder = Folder::new(name);
        let at = |name: &str| folder.0.join(name);
        fs::write(at("env"), vec![0; 16_384]).unwrap();
        let mut slot = image("0.1.0");
        slot.resize(SLOT_BYTES, 0);
        fs::write(at("a"), &slot).unwrap();
        fs::write(at("b"), vec![0; SLOT_BYTES]).unwrap();
        for folder in ["keys", "state"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("keys/farm.pub"), key().public_file()).unwrap();
        let path = |name: &str| at(name).display().to_string();
        let text = format!(
            "socket = {:?}\nenv = {:?}\na = {:?}\nb = {:?}\nrunning = {:?}\nversion = {:?}\n\
             board = \"test-board\"\ntarget = \"none\"\nkeys = [{:?}, \"/not/there\"]\n\
             reboot = [\"touch\", {:?}]\ntrial_secs = {trial_secs}\n",
            path("s"),
            path("env"),
            path("a"),
            path("b"),
            path("running"),
            path("version"),
            path("keys"),
            path("reboot"),
        );
        fs::write(at("slots.toml"), text).unwrap();
        let mut machine =
            Self { folder, pool: Pool::start("f00d", 8), keeper: None, gateway: None };
        machine.boot(true);
        let line = machine.gateway().wait_for_line("set-up code: ");
        let code = line.split("code: ").nth(1).unwrap().to_owned();
        let mut command = machine.ctl(&["--code", &code, "password", "admin"]);
        let output = command.env("LOKA_CTL_SECRET", WORD).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Runs the initramfs's own script to choose the slot; returns the slot.
    fn choose(&self) -> String {
        let slots = include_str!("../xtask/image/slots.sh");
        let slots = slots.replace("/dev/vda2", &self.at("env").display().to_string());
        let script = format!("{slots}\nenv_choose\necho $slot");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts the machine; `is_whole` says whether its gateway comes up. Returns the slot.
    fn boot(&mut self, is_whole: bool) -> String {
        self.off();
        let slot = self.choose();
        let image = fs::read(self.at(&slot)).unwrap();
        let end = image.iter().position(|byte| *byte == b'\n').expect("the slot has a system");
        fs::write(self.at("version"), &image[..end]).unwrap();
        fs::write(self.at("running"), format!("{slot}\n")).unwrap();
        if is_whole {
            let mut keeper = program();
            keeper.arg("slots").arg(self.at("slots.toml")).stdout(Stdio::piped());
            let mut keeper = keeper.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert!(line.starts_with("slots "), "{line}");
            self.keeper = Some(keeper);
            let mut command = program();
            command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
            let pool = format!("stratum+tcp://{}", self.pool.address);
            command.args(["--pool", &pool, "--user", "farm", "--slots"]).arg(self.at("s"));
            command.env("LOKA_STATE__DIR", self.at("state"));
            self.gateway = Some(Gateway::spawn(command));
            self.gateway().wait_for_line(&format!("in slot {slot}"));
        }
        slot
    }

    /// Pulls the plug.
    fn off(&mut self) {
        self.gateway = None;
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }

    fn gateway(&mut self) -> &mut Gateway {
        self.gateway.as_mut().expect("it runs")
    }

    fn ctl(&self, words: &[&str]) -> Command {
        let status = self.gateway.as_ref().expect("it runs").status.unwrap();
        let mut command = program();
        command.args(["ctl", "--http", &format!("http://{status}")]).args(words);
        command.env("LOKA_CTL_PASSWORD", WORD);
        command
    }

    /// Uploads an update to the gateway; returns the output, or the reason of the refusal.
    fn update(&self, bytes: &[u8], words: &[&str]) -> Result<String, String> {
        let path = self.at("file.loka-update");
        fs::write(&path, bytes).unwrap();
        let path = path.display().to_string();
        let output = self.ctl(&["update", &path]).args(words).output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Waits until the gateway has ended and requested a reboot, and reboots.
    fn reboot(&mut self) -> String {
        let status = self.gateway().wait();
        assert!(status.success(), "{status}");
        assert!(self.at("reboot").exists(), "{:#?}", self.gateway().log);
        fs::remove_file(self.at("reboot")).unwrap();
        self.boot(true)
    }

    fn env(&self) -> String {
        let bytes = fs::read(self.at("env")).unwrap();
        String::from_utf8_lossy(&bytes).replace('\0', "")
    }

    /// Waits for the outcome of the last update.
    fn outcome(&mut self) -> Value {
        let is_over = |report: &Value| report["update"]["last"].is_object();
        self.gateway().wait_for("the outcome", is_over)["update"].clone()
    }

    /// Connects miners.
    fn miners(&mut self, count: usize) -> Vec<Miner> {
        let miners = (0..count).map(|index| {
            let mut miner = self.gateway().miner();
            miner.log_in(&format!("farm.rig{index}"));
            miner
        });
        miners.collect()
    }
}

#[test]
fn an_update_is_tried_and_kept_when_pool_and_miners_are_back() {
    let mut machine = Machine::new("update-kept", 300);
    let output = machine.ctl(&["--commit", "set", "miners.blocked_secs", "9"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let miners = machine.miners(3);
    machine.gateway().wait_for("a live pool", |report| report["ready"] == true);
    let said = machine.update(&update("0.2.0"), &[]).unwrap();
    assert!(said.starts_with("0.1.0 runs; 0.2.0 is in slot b"), "{said}");
    assert_eq!(machine.reboot(), "b");
    drop(miners);
    let trial = |report: &Value| report["update"]["progress"]["phase"] == "trial";
    machine.gateway().wait_for("the trial", trial);
    let _one = machine.miners(1);
    machine.gateway().wait_for("one of three", |report| report["miners"]["connected"] == 1);
    assert!(trial(&machine.gateway().report()), "one of three is too few");
    let _more = machine.miners(1);
    let update = machine.outcome();
    let last = &update["last"];
    let expected = (&json!("0.1.0"), &json!("0.2.0"), &json!(true));
    assert_eq!((&last["from"], &last["to"], &last["kept"]), expected, "{update}");
    assert_eq!((&update["version"], &update["slot"]), (&json!("0.2.0"), &json!("b")));
    assert!(machine.env().contains("active=b tries=0 good=b"), "{}", machine.env());
    let output = machine.ctl(&["show", "miners.blocked_secs"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains('9'), "settings are kept: {output:?}");
    let output = machine.ctl(&["audit"]).output().unwrap();
    let audit = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(audit.contains("update from 0.1.0 to 0.2.0: written to slot b"), "{audit}");
    assert!(audit.contains("gateway: update from 0.1.0 to 0.2.0: kept, it is well"), "{audit}");
    assert_eq!(machine.boot(true), "b", "it stays");
}

#[test]
fn what_is_not_signed_whole_or_meant_for_this_system_changes_nothing() {
    let machine = Machine::new("update-refused", 300);
    let (env, a) = (machine.env(), fs::read(machine.at("a")).unwrap());
    let good = update("0.2.0");
    let other = SecretKey::new(*b"other's!", &[6; 32]);
    let same_name = SecretKey::new(*b"farm key", &[6; 32]);
    let changed = |at: usize, bit: u8| {
        let mut file = good.clone();
        file[at] ^= bit;
        file
    };
    let head = good.len() - image("0.2.0").len();
    for (what, file, why) in [
        ("another key", update_by(&other, "test-board", "0.2.0"), "signature: got one by key"),
        ("a key's name", update_by(&same_name, "test-board", "0.2.0"), "it is not by key"),
        ("another board", update_by(&key(), "virt-aarch64", "0.2.0"), "allowed one for test-board"),
        ("a downgrade", update("0.0.9"), "--allow-downgrade"),
        ("another manifest", changed(head - 8, 1), "it is not by key"),
        ("a flipped bit of the image", changed(head + 30_000, 4), "is not the one that was signed"),
        ("its last byte", changed(good.len() - 1, 128), "is not the one that was signed"),
        ("cut in its head", good[..100].to_vec(), "the file is cut in its head"),
        ("cut behind it", good[..head].to_vec(), "bytes are missing"),
        ("cut before its end", good[..good.len() - 1].to_vec(), "1 bytes are missing"),
        ("nothing", Vec::new(), "the file is cut in its head"),
        ("another file", vec![0x7f; 90_000], "another kind of file"),
    ] {
        let error = machine.update(&file, &[]).expect_err(what);
        assert!(error.contains(why), "{what}: {error}");
        assert_eq!(machine.env(), env, "{what}: the same slot starts");
        assert_eq!(fs::read(machine.at("b")).unwrap()[..512], [0; 512], "{what}: no system in b");
    }
    assert_eq!(fs::read(machine.at("a")).unwrap(), a, "what runs is not touched");
    let said = machine.update(&update("0.1.0"), &[]).expect("the same version again");
    assert!(said.contains("0.1.0 is in slot b"), "{said}");
}

#[test]
fn a_downgrade_takes_the_word_of_who_keeps_the_slots() {
    let mut machine = Machine::new("update-downgrade", 300);
    machine.update(&update("0.2.0"), &[]).unwrap();
    assert_eq!(machine.reboot(), "b");
    assert_eq!(machine.outcome()["version"], "0.2.0");
    // The keeper refuses a downgrade by the gateway's process, even with `--allow-downgrade`.
    for asked in [&[][..], &["--allow-downgrade"]] {
        let error = machine.update(&update("0.1.0"), asked).unwrap_err();
        assert!(error.contains("got 0.1.0, allowed 0.2.0 (running) or later"), "{error}");
        assert!(error.contains("downgrades = true"), "{error}");
    }
    let file = machine.at("slots.toml");
    let text = fs::read_to_string(&file).unwrap() + "downgrades = true\n";
    fs::write(&file, text).unwrap();
    assert_eq!(machine.boot(true), "b");
    machine.update(&update("0.1.0"), &[]).expect_err("it is not asked for");
    machine.update(&update("0.1.0"), &["--allow-downgrade"]).unwrap();
    assert_eq!(machine.reboot(), "a");
    let is_kept = |report: &Value| report["update"]["last"]["to"] == "0.1.0";
    let report = machine.gateway().wait_for("the outcome", is_kept);
    assert_eq!(report["update"]["last"]["kept"], true, "{report}");
}

#[test]
fn a_system_whose_gateway_never_comes_up_is_started_twice_and_left() {
    let mut machine = Machine::new("update-dead", 300);
    machine.gateway().wait_for("a live pool", |report| report["ready"] == true);
    machine.update(&update("0.2.0"), &[]).unwrap();
    let status = machine.gateway().wait();
    assert!(status.success(), "{status}");
    assert_eq!(machine.boot(false), "b");
    assert_eq!(machine.boot(false), "b");
    assert_eq!(machine.boot(true), "a");
    let update = machine.outcome();
    assert_eq!((&update["version"], &update["slot"]), (&json!("0.1.0"), &json!("a")));
    let last = &update["last"];
    assert_eq!((&last["to"], &last["kept"]), (&json!("0.2.0"), &json!(false)));
    assert!(last["why"].as_str().unwrap().contains("never showed that it is well"), "{last}");
    let output = machine.ctl(&["audit"]).output().unwrap();
    let audit = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(audit.contains("update from 0.1.0 to 0.2.0: left"), "{audit}");
    machine.update(&update_by(&key(), "test-board", "0.2.1"), &[]).expect("it can be tried anew");
}

#[test]
fn a_system_that_is_not_well_in_time_says_why_and_goes_back() {
    let mut machine = Machine::new("update-unwell", 1);
    let _miners = machine.miners(2);
    machine.gateway().wait_for("a live pool", |report| report["ready"] == true);
    machine.update(&update("0.2.0"), &[]).unwrap();
    // No miner reconnects.
    assert_eq!(machine.reboot(), "b");
    assert_eq!(machine.reboot(), "a");
    let last = machine.outcome()["last"].clone();
    assert_eq!((&last["from"], &last["kept"]), (&json!("0.1.0"), &json!(false)));
    let why = last["why"].as_str().unwrap();
    assert!(why.starts_with("2 miners were in before, 0 are back of the 1 wanted"), "{why}");
    assert!(machine.env().contains("active=a tries=0 good=a"), "{}", machine.env());
}

#[test]
fn a_file_on_the_disk_is_taken_at_the_start_and_only_once() {
    let mut machine = Machine::new("update-file", 300);
    fs::create_dir_all(machine.at("state/update")).unwrap();
    let path = machine.at("state/update/new.loka-update");
    fs::write(&path, update("0.0.9")).unwrap();
    assert_eq!(machine.boot(true), "a");
    machine
        .gateway()
        .wait_for_line("update by the file new.loka-update: update: version: got 0.0.9");
    assert!(!path.exists());
    fs::write(&path, update("0.2.0")).unwrap();
    assert_eq!(machine.boot(true), "a");
    assert_eq!(machine.reboot(), "b");
    assert_eq!(machine.outcome()["version"], "0.2.0");
    assert!(!path.exists() && machine.at("state/update/new.taken").exists());
}

#[test]
fn a_gateway_without_slots_says_where_its_updates_come_from() {
    let pool = Pool::start("f00d", 8);
    let mut gateway = Gateway::start(pool.address, &[]);
    let report = gateway.report();
    assert_eq!(report["update"]["supported"], false);
    assert!(report["update"]["why_not"].as_str().unwrap().contains("apt, opkg, apk"));
    let line = gateway.wait_for_line("set-up code: ");
    let code = line.split("code: ").nth(1).unwrap().to_owned();
    let url = format!("http://{}", gateway.status.unwrap());
    let folder = Folder::new("update-nowhere");
    let file = folder.0.join("file");
    fs::write(&file, update("0.2.0")).unwrap();
    let mut command = program();
    command.args(["ctl", "--http", &url, "--code", &code, "update"]).arg(&file);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("apt, opkg, apk"), "{error}");
}
