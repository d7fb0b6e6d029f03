//! Liveness signals: the service manager, the hardware watchdog and the board's LEDs.
//!
//! The task that serves the engine's deadlines ([`super::pump`]) sends all of them once a second.
//! They show that the event loop turns and nothing else. If the loop stops, the service or the
//! whole board is restarted (F71).
//!
//! A script that watches reads how often the loop turned from a file (`--alive`), and asks no port:
//! who fills the ports must not look like a loop that stands still (F97).
//!
//! The environment names the service manager's socket, as in `sd_notify(3)`. Watchdog and LEDs are
//! used only if a flag says so: on most systems other software owns them, and an open watchdog must
//! be fed for ever. It is fed by plain writes, without ioctl: any byte feeds it, `V` before closing
//! disarms it.
//!
//! No failure here stops the gateway: it is logged once, and mining goes on.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use super::board::{Devices, Leds};
use super::log::{self, Kind};

/// The flag's value that selects the watchdog of the board's profile.
const OF_THE_BOARD: &str = "board";

/// The kernel's folder of LEDs.
const LEDS_FOLDER: &str = "/sys/class/leds";

/// Shortest watchdog interval accepted from a service manager, in microseconds. The beat comes
/// every second, and one may be late.
const SERVICE_MICROS_MIN: u64 = 3_000_000;

/// Who is told that the gateway lives; by default nobody.
#[derive(Default)]
pub struct Watch {
    service: Option<Supervisor>,
    device: Option<Device>,
    pulse: Option<Pulse>,
    upstream: Option<Light>,
    miners: Option<Light>,
}

/// The state shown by the service manager and the LEDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Whether a pool is live.
    pub is_live: bool,
    /// Miners that are connected.
    pub miners: usize,
}

/// The client end of the service manager's notification socket.
struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The service manager expects a beat.
    is_watching: bool,
    told: Option<Vitals>,
}

/// A hardware watchdog, or the kernel's software watchdog.
struct Device {
    file: File,
}

/// A file whose content changes with every beat. A watching script compares two reads and uses no
/// port.
struct Pulse {
    path: PathBuf,
    file: Option<File>,
    count: u64,
}

/// One LED.
struct Light {
    folder: PathBuf,
    brightest: String,
    is_on: Option<bool>,
}

impl Watch {
    /// Opens the signals named by the environment and the flags. `watchdog` is a path or
    /// [`OF_THE_BOARD`].
    pub fn new(watchdog: Option<&str>, leds: bool, board: &Devices) -> Self {
        let mut watch = Self { service: Supervisor::from_environment(), ..Self::default() };
        let path = match watchdog {
            Some(OF_THE_BOARD) => board.watchdog.as_deref(),
            path => path,
        };
        match path.map(|path| (path, Device::open(Path::new(path)))) {
            Some((_, Ok(device))) => watch.device = Some(device),
            Some((path, Err(error))) => log::error(
                Kind::Process,
                format_args!(
                    "the watchdog {path} is not fed: {error}; leave --watchdog out where the \
                     system feeds it"
                ),
            ),
            None if watchdog.is_some() => {
                let text = "the board's profile names no watchdog; --watchdog takes a path too";
                log::error(Kind::Process, format_args!("{text}"));
            }
            None => {}
        }
        if leds {
            watch.light(Path::new(LEDS_FOLDER), &board.leds);
        }
        watch
    }

    /// Counts beats in a file from now on; the file belongs on a file system in memory.
    pub fn count_in(&mut self, path: Option<&Path>) {
        self.pulse = path.map(|path| Pulse { path: path.to_owned(), file: None, count: 0 });
    }

    fn light(&mut self, folder: &Path, leds: &Leds) {
        let open = |name: &Option<String>| {
            let name = name.as_ref()?;
            let light = Light::open(&folder.join(name));
            light
                .map_err(|error| {
                    log::warn(Kind::Process, format_args!("the LED {name} stays dark: {error}"));
                })
                .ok()
        };
        self.upstream = open(&leds.upstream);
        self.miners = open(&leds.miners);
    }

    /// Reports that miners can connect.
    pub fn ready(&mut self) {
        if let Some(service) = &self.service {
            service.send("READY=1");
        }
    }

    /// Reports that the event loop turns.
    pub fn beat(&mut self, vitals: Vitals) {
        if let Some(service) = &mut self.service {
            service.beat(vitals);
        }
        if let Some(device) = &mut self.device {
            device.feed();
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.beat();
        }
        let lights = [(&mut self.upstream, vitals.is_live), (&mut self.miners, vitals.miners > 0)];
        for (light, is_on) in lights {
            if let Some(light) = light {
                light.set(is_on);
            }
        }
    }

    /// Reports that the gateway is ending; beats go on while it waits for the pools' last answers.
    pub fn stopping(&mut self) {
        if let Some(service) = &self.service {
            service.send("STOPPING=1");
        }
    }

    /// Turns the watchdog off: what comes next is an end in order.
    pub fn release(&mut self) {
        if let Some(mut device) = self.device.take() {
            device.disarm();
        }
        self.beat(Vitals { is_live: false, miners: 0 });
    }
}

impl Supervisor {
    fn from_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET")?;
        let text = |name| std::env::var(name).ok();
        let is_ours = text("WATCHDOG_PID").is_none_or(|id| id == std::process::id().to_string());
        let micros = text("WATCHDOG_USEC").filter(|_| is_ours);
        let micros = micros.and_then(|micros| micros.parse::<u64>().ok());
        if micros.is_some_and(|micros| micros < SERVICE_MICROS_MIN) {
            let text = "WatchdogSec is below 3 s; the gateway gives a sign of life every second";
            log::warn(Kind::Process, format_args!("{text}"));
        }
        match Self::open(&path, micros.is_some()) {
            Ok(service) => Some(service),
            Err(error) => {
                log::warn(Kind::Process, format_args!("NOTIFY_SOCKET cannot be used: {error}"));
                None
            }
        }
    }

    fn open(path: &OsStr, is_watching: bool) -> io::Result<Self> {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, is_watching, told: None })
    }

    /// Sends lines without waiting; a lost beat is followed by the next one in a second.
    fn send(&self, lines: &str) {
        if let Err(error) = self.socket.send_to_addr(lines.as_bytes(), &self.address) {
            log::warn(Kind::Process, format_args!("the service manager is not told: {error}"));
        }
    }

    fn beat(&mut self, vitals: Vitals) {
        let mut lines = String::new();
        if self.is_watching {
            lines.push_str("WATCHDOG=1\n");
        }
        if self.told.replace(vitals) != Some(vitals) {
            let Vitals { is_live, miners } = vitals;
            let pool = if is_live { "a pool is live" } else { "no pool is live" };
            let _ = writeln!(lines, "STATUS={miners} miners, {pool}");
        }
        if !lines.is_empty() {
            self.send(&lines);
        }
    }
}

impl Device {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(b"\0")?;
        Ok(Self { file })
    }

    fn feed(&mut self) {
        if let Err(error) = self.file.write_all(b"\0") {
            log::error(Kind::Process, format_args!("the watchdog is not fed: {error}"));
        }
    }

    fn disarm(&mut self) {
        if let Err(error) = self.file.write_all(b"V") {
            log::error(Kind::Process, format_args!("the watchdog is not turned off: {error}"));
        }
    }
}

impl Pulse {
    /// Writes the next count; after a failure the file is opened again at the next beat.
    fn beat(&mut self) {
        self.count = self.count.wrapping_add(1);
        if let Err(error) = self.write() {
            self.file = None;
            let path = self.path.display();
            log::warn(Kind::Process, format_args!("the file {path} does not count: {error}"));
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(0o644);
                self.file.insert(options.open(&self.path)?)
            }
        };
        // The length is constant, so a reader never sees the end of an older number.
        file.write_all_at(format!("{:020}\n", self.count).as_bytes(), 0)
    }
}

impl Light {
    fn open(folder: &Path) -> io::Result<Self> {
        let brightest = fs::read_to_string(folder.join("max_brightness"))?.trim().to_owned();
        // Otherwise the kernel keeps blinking the LED for disks or the network.
        fs::write(folder.join("trigger"), "none")?;
        Ok(Self { folder: folder.to_owned(), brightest, is_on: None })
    }

    fn set(&mut self, is_on: bool) {
        if self.is_on == Some(is_on) {
            return;
        }
        let brightness = if is_on { self.brightest.as_str() } else { "0" };
        match fs::write(self.folder.join("brightness"), brightness) {
            Ok(()) => self.is_on = Some(is_on),
            Err(error) => log::warn(Kind::Process, format_args!("an LED stays as it is: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("loka-watch-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const IDLE: Vitals = Vitals { is_live: false, miners: 0 };
    const BUSY: Vitals = Vitals { is_live: true, miners: 7 };

    #[test]
    fn f71_every_beat_feeds_the_watchdog_and_an_end_in_order_turns_it_off() {
        let folder = Folder::new("device");
        let path = folder.0.join("watchdog");
        fs::write(&path, "").unwrap();
        let mut watch = Watch { device: Some(Device::open(&path).unwrap()), ..Watch::default() };
        watch.beat(IDLE);
        watch.beat(BUSY);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0");
        watch.release();
        watch.beat(BUSY);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0V", "it is closed then");
    }

    #[test]
    fn f97_every_beat_is_another_line_of_the_file_and_a_file_that_cannot_be_had_stops_nothing() {
        let folder = Folder::new("alive");
        let path = folder.0.join("run/alive");
        let mut watch = Watch::default();
        watch.count_in(Some(&path));
        watch.beat(IDLE);
        assert!(!path.exists(), "its folder is not there");
        fs::create_dir(folder.0.join("run")).unwrap();
        let mut lines = Vec::new();
        for _ in 0..3 {
            watch.beat(IDLE);
            lines.push(fs::read_to_string(&path).unwrap());
        }
        assert!(lines.iter().all(|line| line.len() == lines[0].len() && line.ends_with('\n')));
        assert!(lines[0] != lines[1] && lines[1] != lines[2], "{lines:?}");
    }

    #[test]
    fn a_watchdog_that_is_not_there_stops_nothing() {
        let mut watch = Watch::new(Some("/nonexistent/watchdog"), true, &Devices::default());
        assert!(watch.device.is_none());
        assert!(Watch::new(Some(OF_THE_BOARD), false, &Devices::default()).device.is_none());
        watch.beat(BUSY);
    }

    #[test]
    fn lights_say_upstream_and_miners_and_are_written_only_when_they_change() {
        let folder = Folder::new("leds");
        for name in ["white:system", "blue:run"] {
            let led = folder.0.join(name);
            fs::create_dir(&led).unwrap();
            fs::write(led.join("max_brightness"), "255\n").unwrap();
            fs::write(led.join("trigger"), "[timer] none").unwrap();
        }
        let leds =
            Leds { upstream: Some("white:system".to_owned()), miners: Some("blue:run".to_owned()) };
        let mut watch = Watch::default();
        watch.light(&folder.0, &leds);
        let read = |name: &str| fs::read_to_string(folder.0.join(name)).unwrap_or_default();
        assert_eq!(read("blue:run/trigger"), "none");
        watch.beat(Vitals { is_live: true, miners: 0 });
        let both = || (read("white:system/brightness"), read("blue:run/brightness"));
        assert_eq!(both(), ("255".to_owned(), "0".to_owned()));
        fs::remove_file(folder.0.join("white:system/brightness")).unwrap();
        watch.beat(BUSY);
        assert_eq!(both(), (String::new(), "255".to_owned()), "the first did not change");
        watch.release();
        assert_eq!(both(), ("0".to_owned(), "0".to_owned()));
    }

    #[test]
    fn a_service_manager_hears_of_life_and_of_changes() {
        let folder = Folder::new("socket");
        let path = folder.0.join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let hear = || {
            let mut buffer = [0; 128];
            let bytes = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..bytes]).into_owned()
        };
        let service = Supervisor::open(path.as_os_str(), true).unwrap();
        let mut watch = Watch { service: Some(service), ..Watch::default() };
        watch.ready();
        assert_eq!(hear(), "READY=1");
        watch.beat(IDLE);
        assert_eq!(hear(), "WATCHDOG=1\nSTATUS=0 miners, no pool is live\n");
        watch.beat(IDLE);
        assert_eq!(hear(), "WATCHDOG=1\n");
        watch.beat(BUSY);
        assert_eq!(hear(), "WATCHDOG=1\nSTATUS=7 miners, a pool is live\n");
        watch.stopping();
        assert_eq!(hear(), "STOPPING=1");
        // A manager that expects no beat gets none; a vanished manager stops nothing.
        let service = Supervisor::open(path.as_os_str(), false).unwrap();
        watch.service = Some(service);
        watch.beat(BUSY);
        assert_eq!(hear(), "STATUS=7 miners, a pool is live\n");
        drop(manager);
        watch.beat(IDLE);
    }
}
