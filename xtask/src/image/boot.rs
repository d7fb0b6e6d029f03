//! Boots the image under QEMU, sets it up by its serial port, mines through it, cuts its power,
//! damages a slot, and updates it to a healthy and to a broken system.
//!
//! Pool and swarm run on this machine; the guest reaches nothing else: its only network is QEMU's,
//! restricted to the forwarded ports. The emulator is Debian's, unpacked into `tools/`, never
//! installed: its package would remove others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{BOARD, COMMAND_LINE, Image, Parts};
use crate::lab::{self, Pool, Swarm, count, sum};
use crate::tally::Tally;
use crate::{debs, process};

/// Time limit of each step of the guest; an emulator on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Goal for the time from the kernel's hand-over to the open port, in seconds. It is compared with
/// the emulator's processor time, and only reported: a busy machine is no fault.
const LISTENING_SECONDS_WANTED: f64 = 3.0;

/// Parts of lines that report a missing module, data partition, program, watchdog or button.
const FAULTS: [&str; 5] =
    [" not loaded", "no data partition", ": not found", "is not fed", "no reset button"];

/// Fields of `/proc/PID/stat` after the name, counted from 0: time in the program and in the
/// kernel, in hundredths of a second.
const STAT_USER: usize = 11;
const STAT_SYSTEM: usize = 12;

/// The pool's address inside the guest.
const POOL_IN_GUEST: &str = "10.0.2.100:3334";

/// Start of slot a on the disk, in bytes: after the table, boot and env.
const SLOT_A_AT: u64 = ((1 + super::BOOT_MIB + super::ENV_MIB) * super::MIB) as u64;

/// The password of the guest's administrator.
const PASSWORD: &str = "a password of this trial";

/// Versions of the guest's updates.
const KEPT_VERSION: &str = "0.1.1";
const DEAD_VERSION: &str = "0.1.2";

/// Seconds until the guest's initramfs abandons an unconfirmed system: longer than a healthy system
/// needs on the slowest machine, and short for the broken one.
const TRIAL_SECONDS: u32 = 600;
const TRIAL_SECONDS_DEAD: u32 = 10;

/// A useless replacement for the gateway's program.
const DEAD: &[u8] = b"#!/bin/sh\nexit 1\n";

/// A running guest.
struct Guest {
    qemu: Child,
    log: PathBuf,
    /// The terminal at the other end of its serial line.
    terminal: PathBuf,
    miners: SocketAddr,
    status: SocketAddr,
    page: SocketAddr,
    started: Instant,
}

/// The state between the parts of a trial.
struct Trial {
    image: Image,
    pool: Pool,
    /// The folder of the update keys.
    keys: PathBuf,
}

/// Makes an image whose gateway mines at a pool here, and tests it; each part of the trial counts
/// as a test.
///
/// # Errors
///
/// The missing event.
pub fn test(tally: &mut Tally) -> Result<(), String> {
    let folder = super::folder(BOARD)?;
    let identity = folder.join("pool.pem");
    let pool = Pool::start(&["--tls", "--identity", &identity.to_string_lossy()])?;
    let keys = folder.join("keys");
    let _ = std::fs::remove_dir_all(&keys);
    super::make_keys(Some(&keys))?;
    let image = super::build(BOARD, &parts(&keys))?;
    let trial = Trial { image, pool, keys };
    let mut slowest: f64 = 0.0;
    // Each part continues with the disk of the previous part.
    let parts = [
        Trial::first_boot,
        Trial::second_boot,
        Trial::damaged_slot,
        Trial::update_that_is_kept,
        Trial::update_that_is_dead,
    ];
    for part in parts {
        let outcome = part(&trial);
        tally.count(&outcome);
        slowest = slowest.max(outcome?);
    }
    if slowest > LISTENING_SECONDS_WANTED {
        println!("note: {slowest:.2} s to the open port, wanted {LISTENING_SECONDS_WANTED}");
    }
    Ok(())
}

/// The folder of the emulator.
///
/// # Errors
///
/// It cannot be fetched.
pub fn emulator() -> Result<PathBuf, String> {
    debs::unpacked("qemu-system-arm", "qemu", true)
}

fn parts(keys: &Path) -> Parts {
    let (trusted, key) = (vec![keys.join("update.pub")], Some(keys.join("update.key")));
    Parts { trusted, key, ..Parts::default() }
}

/// Each part returns the longest observed time to the open port.
impl Trial {
    fn boot(&self) -> Result<Guest, String> {
        Guest::boot(&self.image, self.pool.address, TRIAL_SECONDS)
    }

    /// Sets the gateway up over its serial line, mines, compares the books, and cuts the power
    /// while miners mine.
    fn first_boot(&self) -> Result<f64, String> {
        println!("\n== first boot, set up over the serial port");
        let guest = self.boot()?;
        let seconds = guest.wait_until_it_listens()?;
        self.set_up(&guest)?;
        guest.wait_for_status("a live pool", |s| s["ready"] == true)?;
        println!("power on to a live pool, set up by ctl: {:.2} s", guest.seconds());
        let swarm = miners(&guest, 50, 10)?;
        guest
            .wait_for_status("a share that the pool accepted", |s| count(s, "pool_accepted") > 0)?;
        println!(
            "power on to the first accepted share, set up in between: {:.2} s",
            guest.seconds()
        );
        let report = swarm.report()?;
        let status = guest
            .wait_for_status("all answers", |s| count(s, "pending") + count(s, "held") == 0)?;
        compare(&report, &status, &self.pool.ledger()?)?;
        let more = |s: &Value| count(s, "submitted") > count(&status, "submitted");
        let swarm = miners(&guest, 50, 3)?;
        guest.wait_for_status("more shares", more)?;
        guest.cut_power()?;
        drop(swarm);
        Ok(seconds)
    }

    /// Boots after the power cut, and measures the time to mining.
    fn second_boot(&self) -> Result<f64, String> {
        println!("\n== power cut while miners mined, second boot");
        let guest = self.boot()?;
        let seconds = guest.wait_until_it_listens()?;
        let swarm = miners(&guest, 50, 5)?;
        guest.wait_for_status("its settings and its miners", |s| count(s, "pool_accepted") > 0)?;
        println!("power on to the first accepted share: {:.2} s", guest.seconds());
        let report = swarm.report()?;
        if report["accepted"].as_u64() == Some(0) {
            return Err(format!("the second boot: nothing was accepted: {report}"));
        }
        guest.cut_power()?;
        Ok(seconds)
    }

    fn damaged_slot(&self) -> Result<f64, String> {
        println!("\n== slot a damaged, third boot");
        damage(&self.image.disk)?;
        let guest = self.boot()?;
        guest.wait_for_line("slot a cannot be used: slot b instead")?;
        let seconds = guest.wait_until_it_listens()?;
        guest.cut_power()?;
        Ok(seconds)
    }

    /// The remaining slot writes another system into the damaged slot; the new system is kept.
    fn update_that_is_kept(&self) -> Result<f64, String> {
        println!("\n== update to {KEPT_VERSION}, a healthy system");
        let version = Some(KEPT_VERSION.to_owned());
        let file = super::build_update(BOARD, &Parts { version, ..parts(&self.keys) })?;
        let guest = self.boot()?;
        let before = guest.wait_until_it_listens()?;
        self.update(guest, &file)?;
        let guest = self.boot()?;
        guest.wait_for_line("loka: slot a has ")?;
        let seconds = guest.wait_until_it_listens()?.max(before);
        let swarm = miners(&guest, 20, 60)?;
        let status = guest.wait_for_status("the update is kept", |s| {
            s["update"]["last"]["kept"] == true && s["update"]["version"] == KEPT_VERSION
        })?;
        println!("kept after {:.2} s: {}", guest.seconds(), status["update"]["last"]);
        drop(swarm);
        guest.cut_power()?;
        Ok(seconds)
    }

    /// A system whose gateway exits at once is started twice, and abandoned.
    fn update_that_is_dead(&self) -> Result<f64, String> {
        println!("\n== update to {DEAD_VERSION}, whose gateway exits at once");
        let (version, gateway) = (Some(DEAD_VERSION.to_owned()), Some(DEAD.to_vec()));
        let parts = Parts { version, gateway, ..parts(&self.keys) };
        let file = super::build_update(BOARD, &parts)?;
        let guest = self.boot()?;
        guest.wait_for_line("loka: slot a at")?;
        let before = guest.wait_until_it_listens()?;
        self.update(guest, &file)?;
        for start in ["first", "second"] {
            let guest = Guest::boot(&self.image, self.pool.address, TRIAL_SECONDS_DEAD)?;
            println!("{start} start: {}", guest.wait_for_line("loka: slot b has ")?);
            println!("{}", guest.wait_for_line("slot b is not confirmed")?);
            guest.wait_for_the_end()?;
        }
        let guest = self.boot()?;
        println!("{}", guest.wait_for_line("slot b was never confirmed, back to slot a")?);
        let seconds = guest.wait_until_it_listens()?.max(before);
        let swarm = miners(&guest, 20, 60)?;
        let status = guest.wait_for_status("miners mine on the system before", |s| {
            s["update"]["last"]["kept"] == false && count(s, "pool_accepted") > 0
        })?;
        if status["update"]["version"] != KEPT_VERSION {
            return Err(format!("{KEPT_VERSION} does not run: {}", status["update"]));
        }
        println!("rolled back: {}", status["update"]["last"]);
        drop(swarm);
        guest.cut_power()?;
        Ok(seconds)
    }

    /// Sets the gateway's pool, ports and password over the serial line, like a technician.
    fn set_up(&self, guest: &Guest) -> Result<(), String> {
        let pin = self.pool.pin.as_ref().ok_or("lab pool: it printed no pin")?;
        let lines = format!(
            "set pool.1.url stratum+ssl://{POOL_IN_GUEST}\nset pool.1.user farm.gateway\n\
             set pool.1.trust pin\nset pool.1.pins {pin}\nset status.address 0.0.0.0:8081\n\
             set listen.per_address_max 1024\n"
        );
        let path = self.image.folder.join("set-up");
        super::write(&path, lines.as_bytes())?;
        let input = std::fs::File::open(&path).map_err(|error| error.to_string())?;
        let mut ctl = guest.ctl_by_serial()?;
        ctl.args(["--commit", "--confirm"]).stdin(input);
        let said = process::output(&mut ctl)?;
        println!("{}", said.lines().last().unwrap_or_default());
        let mut ctl = guest.ctl_by_serial()?;
        process::output(ctl.args(["password", "admin"]).env("LOKA_CTL_SECRET", PASSWORD)).map(drop)
    }

    /// Has miners mine, uploads an update, and waits until the guest reboots.
    fn update(&self, guest: Guest, file: &Path) -> Result<(), String> {
        let swarm = miners(&guest, 20, 300)?;
        guest.wait_for_status("its miners", |s| {
            s["miners"]["connected"].as_u64() == Some(20) && count(s, "pool_accepted") > 0
        })?;
        let known = self.image.folder.join("gateways");
        let _ = std::fs::remove_file(&known);
        let mut ctl = lab::program(&["ctl", "--http", &format!("https://{}", guest.page)])?;
        ctl.args(["--accept-new", "--known"]).arg(&known).arg("update").arg(file);
        let started = Instant::now();
        let said = process::output(ctl.env("LOKA_CTL_PASSWORD", PASSWORD))?;
        println!(
            "{} ({:.2} s)",
            said.lines().next().unwrap_or_default(),
            started.elapsed().as_secs_f64()
        );
        guest.wait_for_the_end()?;
        drop(swarm);
        Ok(())
    }
}

/// Starts miners that connect to a guest's gateway.
fn miners(guest: &Guest, count: u32, seconds: u32) -> Result<Swarm, String> {
    let (count, seconds) = (count.to_string(), seconds.to_string());
    let words = ["--miners", &count, "--hash-rate", "300000", "--for", &seconds];
    Swarm::start(guest.miners, &words)
}

/// Overwrites the beginning of slot a, like an interrupted write.
fn damage(disk: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let open = std::fs::OpenOptions::new().write(true).open(disk);
    let written = open.and_then(|file| file.write_all_at(&[0xff; 4096], SLOT_A_AT));
    written.map_err(|error| format!("{}: {error}", disk.display()))
}

/// Compares the books of miners, gateway and pool.
fn compare(report: &Value, status: &Value, pool: &Value) -> Result<(), String> {
    let of = |value: &Value, key: &str| sum(&value[key]);
    let ledger = &status["ledger"];
    let rows = [
        ("submitted", of(report, "submitted"), of(ledger, "submitted")),
        ("accepted", of(report, "accepted"), of(ledger, "accepted")),
        ("forwarded", of(ledger, "forwarded"), of(pool, "submitted")),
        ("accepted by the pool", of(ledger, "pool_accepted"), of(pool, "accepted")),
    ];
    let mut is_equal = true;
    for (name, one, other) in rows {
        println!("{name:<22} {one:>8} {other:>8}");
        is_equal &= one == other;
    }
    if is_equal && rows.iter().all(|(_, count, _)| *count > 0) {
        println!("the ledgers are equal");
        Ok(())
    } else {
        Err(format!("the ledgers differ: {report} {ledger} {pool}"))
    }
}

impl Guest {
    fn boot(image: &Image, pool: SocketAddr, trial_seconds: u32) -> Result<Self, String> {
        let tools = emulator()?;
        let (miners, status, page) = (free_port()?, free_port()?, free_port()?);
        let log = image.folder.join("serial.log");
        let said = image.folder.join("qemu.log");
        for old in [&log, &said] {
            let _ = std::fs::remove_file(old);
        }
        let network = format!(
            "user,id=n0,restrict=on,hostfwd=tcp:{miners}-:3333,hostfwd=tcp:{status}-:8081,\
             hostfwd=tcp:{page}-:8443,guestfwd=tcp:{POOL_IN_GUEST}-cmd:{} pipe {pool}",
            process::this()
        );
        let mut qemu = debs::program(&tools, "usr/bin/qemu-system-aarch64");
        qemu.arg("-L").arg(tools.join("usr/share/qemu"));
        qemu.args(["-M", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", "256"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
        qemu.args(["-append", &format!("{COMMAND_LINE} loka.trial_secs={trial_seconds}")]);
        qemu.arg("-chardev").arg(format!("pty,id=s0,logfile={}", log.display()));
        qemu.args(["-serial", "chardev:s0"]);
        qemu.arg("-drive").arg(format!("if=none,id=d0,format=raw,file={}", image.disk.display()));
        qemu.args(["-device", "virtio-blk-device,drive=d0", "-netdev", &network]);
        qemu.args(["-device", "virtio-net-device,netdev=n0"]);
        let started = Instant::now();
        let output = std::fs::File::create(&said).map_err(|error| error.to_string())?;
        let both = output.try_clone().map_err(|error| error.to_string())?;
        let spawned = qemu.stdout(output).stderr(both).spawn();
        let qemu = spawned.map_err(|error| format!("qemu-system-aarch64: {error}"))?;
        let terminal = PathBuf::new();
        let mut guest = Self { qemu, log, terminal, miners, status, page, started };
        guest.terminal = guest.find_terminal(&said)?;
        Ok(guest)
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The terminal that QEMU created for the serial line, from its output.
    fn find_terminal(&self, said: &Path) -> Result<PathBuf, String> {
        let limit = self.started.elapsed() + PATIENCE;
        while self.started.elapsed() < limit {
            let text = std::fs::read_to_string(said).unwrap_or_default();
            let rest = text.split_once("redirected to ").map(|(_, rest)| rest);
            if let Some((path, _)) = rest.and_then(|rest| rest.split_once(' ')) {
                return Ok(PathBuf::from(path));
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("{}: QEMU names no terminal", said.display()))
    }

    /// `ctl` at the other end of the serial line.
    fn ctl_by_serial(&self) -> Result<Command, String> {
        lab::program(&["ctl", "--serial", &self.terminal.to_string_lossy()])
    }

    /// Waits until the guest reboots, which ends its emulator.
    fn wait_for_the_end(mut self) -> Result<(), String> {
        let limit = self.started.elapsed() + PATIENCE;
        while self.started.elapsed() < limit {
            match self.qemu.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => std::thread::sleep(PAUSE),
                Err(error) => return Err(format!("qemu: {error}")),
            }
        }
        Err(format!("the guest did not reboot: {}", self.said()))
    }

    /// The serial port's output so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of the serial port.
    fn wait_for_line(&self, part: &str) -> Result<String, String> {
        let limit = self.started.elapsed() + PATIENCE;
        while self.started.elapsed() < limit {
            if let Some(line) = self.said().lines().find(|line| line.contains(part)) {
                return Ok(line.trim().to_owned());
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("no line {part:?} on the serial port: {}", self.said()))
    }

    /// Waits until miners can connect; returns the seconds since the kernel's hand-over, as
    /// processor time of the emulator.
    fn wait_until_it_listens(&self) -> Result<f64, String> {
        println!("{}", self.wait_for_line("loka: kernel handed over")?);
        let (handed_over, used_before) = (self.seconds(), self.processor_seconds()?);
        println!("{}", self.wait_for_line("loka: gateway starts")?);
        self.wait_for_line("listening for miners on")?;
        let said = self.said();
        if let Some(line) = said.lines().find(|line| FAULTS.iter().any(|f| line.contains(f))) {
            return Err(format!("the board differs from its profile: {line}"));
        }
        let (all, used) = (self.seconds(), self.processor_seconds()?);
        let (wall, busy) = (all - handed_over, used - used_before);
        println!("kernel's hand-over to listening: {wall:.2} s, {busy:.2} s of them computing");
        println!("power on to listening: {all:.2} s, {used:.2} s of them computing");
        Ok(busy)
    }

    /// Processor time of the emulator.
    fn processor_seconds(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.qemu.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let fields: Vec<&str> =
            text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let of = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        match (of(STAT_USER), of(STAT_SYSTEM)) {
            (Some(user), Some(system)) => Ok((user + system) / 100.0),
            _ => Err(format!("{path}: {text}")),
        }
    }

    /// Waits until the status meets a condition.
    fn wait_for_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, String> {
        lab::wait_for_status(self.status, what, is_so)
    }

    /// Kills the emulator, like a pulled plug: the guest gets no signal.
    fn cut_power(mut self) -> Result<(), String> {
        let error = |error: std::io::Error| format!("qemu: {error}");
        self.qemu.kill().map_err(error)?;
        self.qemu.wait().map(|_| ()).map_err(error)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A currently free port.
fn free_port() -> Result<SocketAddr, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("no free port: {error}"))
}

/// Carries bytes between standard input and output and an address. QEMU's `guestfwd` starts it for
/// each connection of the guest.
///
/// # Errors
///
/// Nobody listens at the address.
pub fn pipe(address: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
    let copy = |mut from: Box<dyn Read>, mut to: Box<dyn Write>| {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
    };
    let up = stream.try_clone().map_err(|error| format!("{address}: {error}"))?;
    let ending = stream.try_clone().map_err(|error| format!("{address}: {error}"))?;
    std::thread::spawn(move || {
        copy(Box::new(std::io::stdin()), Box::new(up));
        let _ = ending.shutdown(std::net::Shutdown::Both);
    });
    copy(Box::new(stream), Box::new(std::io::stdout()));
    Ok(())
}
