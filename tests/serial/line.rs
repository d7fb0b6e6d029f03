//! Both ends of a serial line, and the line itself: pseudo terminals, noise, a person's screen, a
//! tool's frames.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use loka_stratum::console::Printer;
use loka_stratum::control::Request;
use loka_stratum::frame::{self, Body, Frame, Received, Receiver, WIRE_BYTES_MAX};
use serial2::SerialPort;

use crate::gateway::{Gateway, PATIENCE, Pool, program_with_state};

/// Time without a byte after which a tool asks again. A gateway that is slower than that hears the
/// question twice and answers it twice, which the test is about.
const SILENCE: Duration = Duration::from_millis(200);

/// A gateway with a pool and a console on a cable; its settings are in a file, so that all of them
/// can be changed.
pub fn with_console() -> (Pool, Gateway, Cable) {
    let pool = Pool::start("abcd", 8);
    let url = format!("stratum+tcp://{}", pool.address);
    let (gateway, cable) = spawn(&format!("[[pool]]\nurl = \"{url}\"\nuser = \"farm\"\n"));
    (pool, gateway, cable)
}

/// A gateway as it is at its first start: without a pool.
pub fn at_first_boot() -> (Gateway, Cable) {
    spawn("")
}

/// As at the first start, with a page.
pub fn with_page() -> (Gateway, Cable) {
    spawn("[web]\naddress = \"127.0.0.1:0\"\n")
}

fn spawn(pools: &str) -> (Gateway, Cable) {
    let cable = Cable::new();
    let name = format!("serial{}-{}", cable.path.replace('/', "-"), std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the disk is not full");
    start_in(&folder, cable, pools)
}

/// Starts a gateway that has its settings and its state in a folder, with a console on a cable.
pub fn start_in(folder: &Path, cable: Cable, text: &str) -> (Gateway, Cable) {
    let settings = format!(
        "{text}[listen]\naddresses = [\"127.0.0.1:0\"]\n[status]\naddress = \"127.0.0.1:0\"\n\
         [state]\ndir = {folder:?}\n"
    );
    let file = folder.join("settings.toml");
    std::fs::write(&file, settings).expect("the disk is not full");
    let mut command = program_with_state();
    command.arg("run").arg("--config").arg(&file).args(["--serial", &cable.path]);
    (Gateway::spawn(command), cable)
}

/// A line with a gateway's port at one end.
pub struct Cable {
    near: SerialPort,
    /// Kept open, so that the line stands while nobody has the far end.
    far: SerialPort,
    /// The gateway's port.
    pub path: String,
}

impl Cable {
    pub fn new() -> Self {
        let (near, far) = SerialPort::pair().expect("the system has pseudo terminals");
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&far));
        let path = std::fs::read_link(link).expect("an open file has a name");
        Self { near, far, path: path.to_str().expect("it is ASCII").to_owned() }
    }

    /// Reads what there is, waiting no longer than `patience` for the first of it.
    pub fn read(&mut self, patience: Duration) -> Vec<u8> {
        let mut bytes = [0; 4096];
        self.near.set_read_timeout(patience).expect("a timeout can be set");
        match self.near.read(&mut bytes) {
            Ok(count) => bytes[..count].to_vec(),
            Err(error) if error.kind() == ErrorKind::TimedOut => Vec::new(),
            Err(error) => panic!("the line broke: {error}"),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.near.set_write_timeout(PATIENCE).expect("a timeout can be set");
        self.near.write_all(bytes).expect("the gateway reads");
    }

    /// Lays the line on to another port, which a program can open by its path.
    pub fn lead_to_a_path(self, mut noise: Option<Noise>) -> (Relay, String) {
        let other = Self::new();
        let path = other.path.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = thread::spawn(move || {
            let (mut one, mut two) = (self, other);
            while !seen.load(Ordering::Relaxed) {
                for _ in 0..2 {
                    let mut bytes = one.read(Duration::from_millis(5));
                    if let Some(noise) = &mut noise {
                        bytes = noise.disturb(&bytes);
                    }
                    if !bytes.is_empty() {
                        two.write(&bytes);
                    }
                    std::mem::swap(&mut one, &mut two);
                }
            }
            drop((one.far, two.far));
        });
        (Relay { is_over, thread: Some(thread) }, path)
    }
}

/// What carries bytes between two ports, until it is dropped.
pub struct Relay {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Bytes by chance, and bytes that are changed by chance; the same for the same seed.
pub struct Noise {
    state: u64,
    faults: u32,
}

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, faults: 0 }
    }

    fn next(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next(256) as u8).collect()
    }

    /// Turns a bit, drops a byte or makes one up: one byte in two hundred.
    fn disturb(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for byte in bytes {
            let fault = self.next(600);
            self.faults += u32::from(fault < 3);
            match fault {
                0 => all.push(byte ^ (1 << self.next(8))),
                1 => {}
                2 => all.extend([*byte, self.next(256) as u8]),
                _ => all.push(*byte),
            }
        }
        all
    }
}

/// A person's screen and keys.
pub struct Terminal {
    cable: Cable,
    /// What came and was not looked at yet.
    screen: String,
    prompt: String,
}

impl Terminal {
    pub fn new(cable: Cable) -> Self {
        Self { cable, screen: String::new(), prompt: "loka> ".to_owned() }
    }

    pub fn send(&mut self, mut bytes: &[u8]) {
        // What is echoed must be read while more is sent, as a terminal does it.
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(512));
            self.cable.write(now);
            bytes = later;
            if !bytes.is_empty() {
                let echo = self.cable.read(Duration::ZERO);
                self.screen += &String::from_utf8_lossy(&echo);
            }
        }
    }

    /// Waits for a part of the screen, and looks at no more of what stands before and in it.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) -> String {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(at) = self.screen.find(part) {
                let seen = self.screen[..at].to_owned();
                self.screen.drain(..at + part.len());
                return seen;
            }
            assert!(waited < PATIENCE, "no {part:?} came: {:?}", self.screen);
            let bytes = self.cable.read(SILENCE);
            if bytes.is_empty() {
                waited += SILENCE;
            }
            self.screen += &String::from_utf8_lossy(&bytes);
        }
    }

    /// Waits until nothing comes any more and what began in noise is given up, then for a prompt.
    pub fn settle(&mut self) {
        while !self.cable.read(Duration::from_secs(1)).is_empty() {}
        self.screen.clear();
        self.send(b"\x03");
        self.wait_for("loka");
        self.wait_for("> ");
    }

    /// Types a line and returns the answer, without the echo and the next prompt.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r").as_bytes());
        self.wait_for(&format!("{line}\r\n"));
        let answer = self.wait_for("loka");
        self.prompt = format!("loka{}> ", self.wait_for("> "));
        answer.replace("\r\n", "\n")
    }

    /// Returns the prompt after the last answer.
    pub fn prompt(&self) -> String {
        self.prompt.clone()
    }
}

/// A program that speaks in frames.
pub struct Tool {
    cable: Cable,
    receiver: Receiver,
    noise: Option<Noise>,
    seq: u32,
    /// How often something was asked again.
    pub repeats: u32,
}

impl Tool {
    pub fn new(cable: Cable, noise: Option<Noise>) -> Self {
        Self { cable, receiver: Receiver::new(), noise, seq: 1000, repeats: 0 }
    }

    pub fn faults(&self) -> u32 {
        self.noise.as_ref().map_or(0, |noise| noise.faults)
    }

    pub fn into_cable(self) -> Cable {
        self.cable
    }

    /// Asks until a whole answer came, and returns its items as they print.
    #[track_caller]
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Vec<String>, String> {
        self.seq += 1;
        let mut wire = [0; WIRE_BYTES_MAX];
        let body = Body::Request(*request);
        let bytes = frame::encode(self.seq, &body, &mut wire).expect("it is short");
        for _ in 0..100 {
            let sent = self.disturb(bytes.to_vec());
            self.cable.write(&sent);
            if let Some(answer) = self.listen() {
                return answer;
            }
            self.repeats += 1;
        }
        panic!("{request:?} is never answered");
    }

    fn disturb(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.noise.as_mut().map_or_else(|| bytes.clone(), |noise| noise.disturb(&bytes))
    }

    /// Returns the whole answer; none where a part of it is missing.
    fn listen(&mut self) -> Option<Result<Vec<String>, String>> {
        let mut items = Vec::new();
        loop {
            let bytes = self.cable.read(SILENCE);
            if bytes.is_empty() {
                return None;
            }
            for byte in self.disturb(bytes) {
                let Received::Frame(Frame { seq, body }) = self.receiver.handle_byte(byte) else {
                    continue;
                };
                if seq != self.seq {
                    continue;
                }
                match body.expect("a checksum that is right is no noise") {
                    Body::Item { index, item } if usize::from(index) == items.len() => {
                        let mut text = String::new();
                        Printer::default().print(&item, &mut text).expect("it is a string");
                        items.push(text.trim_end().to_owned());
                    }
                    Body::Item { .. } | Body::Request(_) => {}
                    Body::Done { items: count } if usize::from(count) == items.len() => {
                        return Some(Ok(items));
                    }
                    Body::Refused { why, .. } => return Some(Err(why.to_string())),
                    Body::Done { .. } => return None,
                }
            }
        }
    }
}
