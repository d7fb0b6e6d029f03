//! Liveness signals: the service manager, the hardware watchdog and the board's LEDs.
//!
//! The task that serves the engine's deadlines ([`crate::gateway::runtime::pump`]) sends all of
//! them once a second. They show that the event loop turns and nothing else. If the loop stops, the
//! service or the whole board is restarted (F71).
//!
//! Each file (watchdog, LEDs, `--alive`) has its own thread ([`Ear`]), which gets the beat from the
//! loop. A watchdog on a bus that hangs or an LED whose driver sleeps then delays neither the loop
//! nor the other threads. Without a beat a thread does nothing, so a stopped loop feeds nobody. The
//! service manager's socket never blocks.
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
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::gateway::base::event_loop::must_not_turn;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::boards::board::{Devices, Leds};

/// The flag's value that selects the watchdog of the board's profile.
const OF_THE_BOARD: &str = "board";

/// The kernel's folder of LEDs.
const LEDS_FOLDER: &str = "/sys/class/leds";

/// Shortest watchdog interval accepted from a service manager, in microseconds. The beat comes
/// every second, and one may be late.
const SERVICE_MICROS_MIN: u64 = 3_000_000;

/// Longest wait at the end for a thread that is still in a write.
const END_MAX: Duration = Duration::from_secs(1);

/// Who is told that the gateway lives; by default nobody.
#[derive(Default)]
pub struct Watch {
    service: Option<Supervisor>,
    /// The watchdog, the file and the LEDs, those that are told.
    ears: Vec<Ear>,
}

/// A receiver of beats on its own thread, which may block.
struct Ear {
    beats: SyncSender<Vitals>,
    ended: Receiver<()>,
}

/// What an ear hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Beat(Vitals),
    /// The gateway ends in order.
    End,
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
            Some((_, Ok(device))) => watch.tell("watchdog", device.told()),
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
        if let Some(path) = path {
            let mut pulse = Pulse { path: path.to_owned(), file: None, count: 0 };
            self.tell("alive", move |word| match word {
                Word::Beat(_) => pulse.beat(),
                Word::End => {}
            });
        }
    }

    /// Tells somebody of every beat, on a thread of the name.
    fn tell(&mut self, name: &str, told: impl FnMut(Word) + Send + 'static) {
        match Ear::start(name, told) {
            Ok(ear) => self.ears.push(ear),
            Err(error) => {
                log::error(Kind::Process, format_args!("{name} is not told of beats: {error}"));
            }
        }
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
        if let Some(light) = open(&leds.upstream) {
            self.light_by(light, |vitals| vitals.is_live);
        }
        if let Some(light) = open(&leds.miners) {
            self.light_by(light, |vitals| vitals.miners > 0);
        }
    }

    /// Sets an LED at each beat.
    fn light_by(&mut self, mut light: Light, is_on: fn(Vitals) -> bool) {
        self.tell("led", move |word| match word {
            Word::Beat(vitals) => light.set(is_on(vitals)),
            Word::End => light.set(false),
        });
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
        self.ears.iter().for_each(|ear| ear.beat(vitals));
    }

    /// Reports that the gateway is ending; beats go on while it waits for the pools' last answers.
    pub fn stopping(&mut self) {
        if let Some(service) = &self.service {
            service.send("STOPPING=1");
        }
    }

    /// Turns watchdog and LEDs off at the end of the process. The loop has ended, so this may wait.
    pub fn release(&mut self) {
        for ear in self.ears.drain(..) {
            ear.end();
        }
        if let Some(service) = &mut self.service {
            service.beat(Vitals { is_live: false, miners: 0 });
        }
    }
}

impl Ear {
    /// Starts the thread, which says that it ends when the beats do.
    fn start(name: &str, mut told: impl FnMut(Word) + Send + 'static) -> io::Result<Self> {
        let (beats, heard) = sync_channel(1);
        let (alive, ended) = sync_channel::<()>(0);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alive = alive;
            for vitals in heard {
                told(Word::Beat(vitals));
            }
            told(Word::End);
        })?;
        Ok(Self { beats, ended })
    }

    /// Hands a beat over. A thread that is still at an earlier one misses it: a beat is state, and
    /// the next comes in a second.
    fn beat(&self, vitals: Vitals) {
        let _ = self.beats.try_send(vitals);
    }

    /// Tells of the end, and waits until that is done.
    fn end(self) {
        drop(self.beats);
        let _ = self.ended.recv_timeout(END_MAX);
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

    /// Feeds at every beat, and turns itself off at the end.
    fn told(mut self) -> impl FnMut(Word) + Send + 'static {
        move |word| match word {
            Word::Beat(_) => self.feed(),
            Word::End => self.disarm(),
        }
    }

    fn feed(&mut self) {
        must_not_turn("the watchdog is fed");
        if let Err(error) = self.file.write_all(b"\0") {
            log::error(Kind::Process, format_args!("the watchdog is not fed: {error}"));
        }
    }

    fn disarm(&mut self) {
        must_not_turn("the watchdog is turned off");
        if let Err(error) = self.file.write_all(b"V") {
            log::error(Kind::Process, format_args!("the watchdog is not turned off: {error}"));
        }
    }
}

impl Pulse {
    /// Writes the next count; after a failure the file is opened again at the next beat.
    fn beat(&mut self) {
        must_not_turn("beats are counted in a file");
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
        must_not_turn("an LED is set");
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
    use crate::gateway::base::clock;

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

    /// Beats, and lets the beat be carried out.
    #[track_caller]
    fn beat_until(watch: &mut Watch, vitals: Vitals, is_done: impl Fn() -> bool) {
        watch.beat(vitals);
        let begun = clock::now();
        while !is_done() {
            assert!(clock::now().since(begun).as_secs() < 60, "the beat is not carried out");
            thread::yield_now();
        }
    }

    #[test]
    fn f71_every_beat_feeds_the_watchdog_and_an_end_in_order_turns_it_off() {
        let folder = Folder::new("device");
        let path = folder.0.join("watchdog");
        fs::write(&path, "").unwrap();
        let mut watch = Watch::new(path.to_str(), false, &Devices::default());
        let read = || fs::read(&path).unwrap();
        beat_until(&mut watch, IDLE, || read() == b"\0\0");
        beat_until(&mut watch, BUSY, || read() == b"\0\0\0");
        watch.release();
        assert_eq!(read(), b"\0\0\0V");
        watch.beat(BUSY);
        assert_eq!(read(), b"\0\0\0V", "it is closed then");
    }

    #[test]
    fn f96_who_does_not_come_back_from_a_beat_keeps_neither_the_loop_nor_others_waiting() {
        let folder = Folder::new("stuck");
        let path = folder.0.join("alive");
        let mut watch = Watch::default();
        let (go_on, wait) = sync_channel::<()>(0);
        let (said, heard) = sync_channel(4);
        watch.tell("stuck", move |word| {
            let _ = wait.recv();
            said.send(word).unwrap();
        });
        watch.count_in(Some(&path));
        let count = || fs::read_to_string(&path).unwrap_or_default();
        for _ in 0..5 {
            let before = count();
            beat_until(&mut watch, IDLE, || count() != before);
        }
        assert!(heard.try_recv().is_err(), "it is still at the first");
        drop(go_on);
        watch.release();
        let words: Vec<_> = heard.iter().collect();
        assert_eq!(words, [Word::Beat(IDLE), Word::Beat(IDLE), Word::End], "no beats pile up");
    }

    #[test]
    fn f97_every_beat_is_another_line_of_the_file_and_a_file_that_cannot_be_had_stops_nothing() {
        let folder = Folder::new("alive");
        let path = folder.0.join("run/alive");
        let mut pulse = Pulse { path: path.clone(), file: None, count: 0 };
        pulse.beat();
        assert!(!path.exists(), "its folder is not there");
        fs::create_dir(folder.0.join("run")).unwrap();
        let mut lines = Vec::new();
        for _ in 0..3 {
            pulse.beat();
            lines.push(fs::read_to_string(&path).unwrap());
        }
        assert!(lines.iter().all(|line| line.len() == lines[0].len() && line.ends_with('\n')));
        assert!(lines[0] != lines[1] && lines[1] != lines[2], "{lines:?}");
    }

    #[test]
    fn a_watchdog_that_is_not_there_stops_nothing() {
        let mut watch = Watch::new(Some("/nonexistent/watchdog"), true, &Devices::default());
        assert!(watch.ears.is_empty());
        assert!(Watch::new(Some(OF_THE_BOARD), false, &Devices::default()).ears.is_empty());
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
        let both = || (read("white:system/brightness"), read("blue:run/brightness"));
        let text = |upstream: &str, miners: &str| (upstream.to_owned(), miners.to_owned());
        let live = Vitals { is_live: true, miners: 0 };
        beat_until(&mut watch, live, || both() == text("255", "0"));
        fs::remove_file(folder.0.join("white:system/brightness")).unwrap();
        beat_until(&mut watch, BUSY, || both() == text("", "255"));
        watch.release();
        assert_eq!(both(), text("0", "0"));
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
