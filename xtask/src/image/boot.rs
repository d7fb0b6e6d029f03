//! Boots the image under QEMU, mines through it, cuts its power, and boots it again.
//!
//! Pool and swarm run on this machine; the guest reaches nothing else: its only network is QEMU's,
//! restricted to the ports that are forwarded. The emulator is Debian's, unpacked into `tools/`,
//! never installed: its package would remove others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{COMMAND_LINE, Image};
use crate::lab::{self, Pool, Swarm};
use crate::{debs, process};

/// How long the guest may take for what must happen; an emulator on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Time from the kernel's hand-over to the open port that is aimed at, in seconds. It is compared
/// with the processor time that the emulator used, and only said: a busy machine is no fault.
const LISTENING_SECONDS_WANTED: f64 = 3.0;

/// Parts of lines that say what the system could not have: a module, its data, the watchdog, the
/// button.
const FAULTS: [&str; 4] = [" not loaded", "no data partition", "is not fed", "no reset button"];

/// Fields of `/proc/PID/stat` after the name, counted from 0: time in the program and in the
/// kernel, in hundredths of a second.
const STAT_USER: usize = 11;
const STAT_SYSTEM: usize = 12;

/// Where the guest finds the pool.
const POOL_IN_GUEST: &str = "10.0.2.100:3334";

/// Where slot a begins on the disk, in bytes: behind the table, boot and env.
const SLOT_A_AT: u64 = ((1 + super::BOOT_MIB + super::ENV_MIB) * super::MIB) as u64;

/// A running guest.
struct Guest {
    qemu: Child,
    log: PathBuf,
    miners: SocketAddr,
    status: SocketAddr,
    started: Instant,
}

/// Makes an image for `board` whose gateway mines at a pool here, and tries it.
///
/// # Errors
///
/// Says what did not happen.
pub fn test(board: &str) -> Result<(), String> {
    let folder = process::root().join("target/image").join(board);
    super::make_folder(&folder)?;
    let identity = folder.join("pool.pem");
    let pool = Pool::start(&["--tls", "--identity", &identity.to_string_lossy()])?;
    let pin = pool.pin.clone().ok_or("lab pool: it said no pin")?;
    let settings = folder.join("trial.toml");
    let text = format!(
        "[[pool]]\nurl = \"stratum+ssl://{POOL_IN_GUEST}\"\nuser = \"farm.gateway\"\n\
         trust = \"pin\"\npins = [\"{pin}\"]\n\n[status]\naddress = \"0.0.0.0:8080\"\n\n\
         [listen]\nper_address_max = 1024\n\n[state]\ndir = \"/data/state\"\n"
    );
    super::write(&settings, text.as_bytes())?;
    let image = super::build(board, Some(&settings))?;

    println!("\n== first boot");
    let guest = Guest::boot(&image, pool.address)?;
    let first = guest.wait_until_it_listens()?;
    let swarm =
        Swarm::start(guest.miners, &["--miners", "50", "--hash-rate", "300000", "--for", "20"])?;
    guest.wait_for_status("a share that the pool accepted", |s| count(s, "pool_accepted") > 0)?;
    println!("power on to the first accepted share: {:.2} s", guest.seconds());
    let report = swarm.report()?;
    let status =
        guest.wait_for_status("all answers", |s| count(s, "pending") + count(s, "held") == 0)?;
    compare(&report, &status, &pool.ledger()?)?;

    println!("\n== power cut while miners mine, second boot");
    let swarm =
        Swarm::start(guest.miners, &["--miners", "50", "--hash-rate", "300000", "--for", "3"])?;
    guest
        .wait_for_status("more shares", |s| count(s, "submitted") > count(&status, "submitted"))?;
    guest.cut_power()?;
    drop(swarm);
    let guest = Guest::boot(&image, pool.address)?;
    let second = guest.wait_until_it_listens()?;
    let swarm =
        Swarm::start(guest.miners, &["--miners", "50", "--hash-rate", "300000", "--for", "5"])?;
    guest.wait_for_status("its settings and its miners", |s| count(s, "pool_accepted") > 0)?;
    let report = swarm.report()?;
    if report["accepted"].as_u64() == Some(0) {
        return Err(format!("the second boot: nothing was accepted: {report}"));
    }
    guest.cut_power()?;

    println!("\n== slot a damaged, third boot");
    damage(&image.disk)?;
    let guest = Guest::boot(&image, pool.address)?;
    guest.wait_for_line("slot a cannot be used: slot b instead")?;
    guest.wait_until_it_listens()?;
    guest.cut_power()?;
    let slowest = first.max(second);
    if slowest > LISTENING_SECONDS_WANTED {
        println!("note: {slowest:.2} s to the open port, wanted {LISTENING_SECONDS_WANTED}");
    }
    Ok(())
}

/// Writes over the beginning of slot a, as a write that was cut would leave it.
fn damage(disk: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let open = std::fs::OpenOptions::new().write(true).open(disk);
    let written = open.and_then(|file| file.write_all_at(&[0xff; 4096], SLOT_A_AT));
    written.map_err(|error| format!("{}: {error}", disk.display()))
}

/// Holds the books of miners, gateway and pool side by side.
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

fn count(status: &Value, key: &str) -> u64 {
    sum(&status["ledger"][key])
}

/// A count, or the sum of counts by reason.
fn sum(value: &Value) -> u64 {
    let of_many =
        || value.as_object().map(|counts| counts.values().filter_map(Value::as_u64).sum());
    value.as_u64().or_else(of_many).unwrap_or(0)
}

impl Guest {
    fn boot(image: &Image, pool: SocketAddr) -> Result<Self, String> {
        let tools = debs::unpacked("qemu-system-arm", "qemu", true)?;
        let (miners, status) = (free_port()?, free_port()?);
        let log = image.folder.join("serial.log");
        let _ = std::fs::remove_file(&log);
        let here = std::env::current_exe().map_err(|error| format!("xtask: {error}"))?;
        let network = format!(
            "user,id=n0,restrict=on,hostfwd=tcp:{miners}-:3333,hostfwd=tcp:{status}-:8080,\
             guestfwd=tcp:{POOL_IN_GUEST}-cmd:{} pipe {pool}",
            here.display()
        );
        let mut qemu = debs::program(&tools, "usr/bin/qemu-system-aarch64");
        qemu.arg("-L").arg(tools.join("usr/share/qemu"));
        qemu.args(["-M", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", "256"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
        qemu.args(["-append", COMMAND_LINE]);
        qemu.arg("-serial").arg(format!("file:{}", log.display()));
        qemu.arg("-drive").arg(format!("if=none,id=d0,format=raw,file={}", image.disk.display()));
        qemu.args(["-device", "virtio-blk-device,drive=d0", "-netdev", &network]);
        qemu.args(["-device", "virtio-net-device,netdev=n0"]);
        let started = Instant::now();
        let spawned = qemu.stdout(Stdio::null()).spawn();
        let qemu = spawned.map_err(|error| format!("qemu-system-aarch64: {error}"))?;
        Ok(Self { qemu, log, miners, status, started })
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What came over the serial port so far.
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

    /// Waits until miners can connect; returns the seconds that it took since the kernel handed
    /// over, as processor time of the emulator.
    fn wait_until_it_listens(&self) -> Result<f64, String> {
        println!("{}", self.wait_for_line("loka: kernel handed over")?);
        let (handed_over, used_before) = (self.seconds(), self.processor_seconds()?);
        println!("{}", self.wait_for_line("loka: gateway starts")?);
        self.wait_for_line("listening for miners on")?;
        let said = self.said();
        if let Some(line) = said.lines().find(|line| FAULTS.iter().any(|f| line.contains(f))) {
            return Err(format!("the board is not as its profile says: {line}"));
        }
        let (all, used) = (self.seconds(), self.processor_seconds()?);
        let (wall, busy) = (all - handed_over, used - used_before);
        println!("kernel's hand-over to listening: {wall:.2} s, {busy:.2} s of them computing");
        println!("power on to listening: {all:.2} s, {used:.2} s of them computing");
        Ok(busy)
    }

    /// Processor time that the emulator has used.
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

    /// Waits until the status is as wanted.
    fn wait_for_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let limit = self.started.elapsed() + PATIENCE;
        let mut last = Err("no answer".to_owned());
        while self.started.elapsed() < limit {
            last = lab::get(self.status, "/api/v1/status");
            if let Ok(status) = &last
                && is_so(status)
            {
                return last;
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("{what} did not come: {last:?}"))
    }

    /// Ends the guest as a pulled plug does: nothing in it is told.
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

/// A port that nobody has at present.
fn free_port() -> Result<SocketAddr, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("no free port: {error}"))
}

/// Carries bytes between this process's standard streams and an address, as QEMU's `guestfwd` has
/// a program do for each connection of the guest.
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
