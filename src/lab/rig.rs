//! Child processes of the same binary, for the parts of the lab that measure or compare them. The
//! gateway is read through its status port; pool and swarm get commands as lines.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::clock;

/// Time limit for a child to print its address, and to end after a stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time limit of a request to the status port.
const STATUS_MAX: Duration = Duration::from_secs(5);

/// A directory that is removed on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory.
    ///
    /// # Errors
    ///
    /// The system's directory for temporary files cannot be written to.
    pub fn new() -> io::Result<Self> {
        let name = format!("loka-lab-{}-{}", std::process::id(), clock::epoch_micros());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Returns the path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The settings of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The pools, first choice first.
    pub pools: Vec<SocketAddr>,
    /// The CA of pools that speak TLS.
    pub ca_file: Option<PathBuf>,
    pub miners_max: usize,
    /// Difficulty at first, at least and at most.
    pub difficulty: [f64; 3],
    pub seconds_per_share: u32,
    /// File of its log; none by default.
    pub log: Option<PathBuf>,
}

/// A gateway that runs as a child process.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// Where miners connect.
    pub listen: SocketAddr,
    status: SocketAddr,
    _scratch: Scratch,
}

impl Gateway {
    /// Starts `run` of this binary and returns once it listens.
    ///
    /// # Errors
    ///
    /// The process cannot be started, or does not listen within 20 s.
    pub fn start(options: &GatewayOptions) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let config = scratch.file("gateway.toml");
        std::fs::write(&config, config_text(options))?;
        let log = options.log.as_deref().map(std::fs::File::create).transpose()?;
        let mut command = Command::new(std::env::current_exe()?);
        // The child ends with this process, even after a crash.
        command.arg("run").arg("--no-state").arg("--until-input-ends").arg("--config").arg(&config);
        // Settings in the caller's environment are not meant for this gateway.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LOKA_") {
                command.env_remove(name);
            }
        }
        // Ctrl-C reaches only the demo, which then stops its children.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe.into());
        match lines.and_then(|lines| announced(lines, log)) {
            Ok([listen, status]) => Ok(Self { child, listen, status, _scratch: scratch }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns `/api/v1/status`.
    ///
    /// # Errors
    ///
    /// The status port does not answer, or not with JSON.
    pub fn status(&self) -> io::Result<Value> {
        get_json(self.status, "/api/v1/status")
    }

    /// Waits for the gateway's first job, so that it knows the pool's extranonce2 before it answers
    /// the first miner.
    ///
    /// # Errors
    ///
    /// It has none within 20 s.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        let start = clock::now();
        while start.elapsed() < PATIENCE {
            if self.status()?["ready"] == true {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the gateway got no job of the pool"))
    }

    /// Stops the gateway by SIGTERM, and kills it after 20 s.
    pub fn stop(mut self) -> bool {
        end(&mut self.child)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_text(options: &GatewayOptions) -> String {
    let scheme = if options.ca_file.is_some() { "stratum+ssl" } else { "stratum+tcp" };
    let [start, min, max] = options.difficulty;
    let mut text = String::new();
    // Writing to a string cannot fail.
    for pool in &options.pools {
        let _ = writeln!(text, "[[pool]]\nurl = \"{scheme}://{pool}\"\nuser = \"farm.gateway\"");
        if let Some(ca_file) = &options.ca_file {
            let _ = writeln!(text, "ca_file = {:?}", ca_file.display().to_string());
        }
    }
    let _ = write!(
        text,
        "[listen]\naddresses = [\"127.0.0.1:0\"]\nper_address_max = {miners}\n\
         [miners]\nmax = {miners}\n\
         [difficulty]\nstart = {start}\nmin = {min}\nmax = {max}\nseconds_per_share = {}\n\
         [upstream]\nretry_max_secs = 2\n\
         [status]\naddress = \"127.0.0.1:0\"\n",
        options.seconds_per_share,
        miners = options.miners_max,
    );
    text
}

/// The texts before an address in the gateway's log: miners' port and status port.
const ANNOUNCEMENTS: [&str; 2] = ["listening for miners on ", "status port at http://"];

/// Reads both addresses from the log, and copies the log to a file, if one is given.
fn announced(lines: ChildStderr, log: Option<std::fs::File>) -> io::Result<[SocketAddr; 2]> {
    let (found, wait) = std::sync::mpsc::channel();
    // The thread reads on until the child ends, so that the child never blocks on its log.
    std::thread::spawn(move || read_log(lines, log, &found));
    match wait.recv_timeout(PATIENCE) {
        Ok(found) => found.map_err(|line| io::Error::other(format!("the gateway ended: {line}"))),
        Err(_) => Err(io::Error::other("the gateway did not print its addresses")),
    }
}

/// Sends the addresses once both are known, or the last line if the log ends before.
fn read_log(
    lines: ChildStderr,
    mut log: Option<std::fs::File>,
    found: &Sender<Result<[SocketAddr; 2], String>>,
) {
    let mut addresses = [None; 2];
    let mut last = String::new();
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        if let Some(log) = &mut log {
            let _ = writeln!(log, "{line}");
        }
        for (address, words) in addresses.iter_mut().zip(ANNOUNCEMENTS) {
            if let Some((_, text)) = line.split_once(words) {
                *address = text.trim().parse().ok();
            }
        }
        if let [Some(listen), Some(status)] = addresses {
            addresses = [None; 2];
            let _ = found.send(Ok([listen, status]));
        }
        last = line;
    }
    // The receiver is dropped after it got the addresses.
    let _ = found.send(Err(last));
}

/// Fetches JSON over HTTP.
fn get_json(address: SocketAddr, path: &str) -> io::Result<Value> {
    let mut stream = TcpStream::connect_timeout(&address, STATUS_MAX)?;
    stream.set_read_timeout(Some(STATUS_MAX))?;
    stream.set_write_timeout(Some(STATUS_MAX))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4 * 1024 * 1024).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let body = end.map_or(&[][..], |at| &answer[at + 4..]);
    serde_json::from_slice(body).map_err(io::Error::other)
}

/// Sends SIGTERM, then SIGKILL after the time limit; returns whether the process exited by itself
/// with 0.
fn end(child: &mut Child) -> bool {
    // The standard library knows no signal but SIGKILL; a shell knows them all.
    let kill = format!("kill -TERM {}", child.id());
    let told = Command::new("sh").arg("-c").arg(kill).stderr(Stdio::null()).status();
    if told.is_ok_and(|status| status.success()) {
        let start = clock::now();
        while start.elapsed() < PATIENCE {
            match child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(_) => break,
            }
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// A pool or swarm as a child process that takes commands as lines.
#[derive(Debug)]
pub struct Part {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Part {
    /// Starts `lab NAME` of this binary, controlled by its standard input until the end of that.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(name: &str, args: &[String]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["lab", name])
            .args(args)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let commands = child.stdin.take().ok_or_else(broken)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(broken)?);
        Ok(Self { child, commands, answers })
    }

    /// Starts a part that listens, and returns its address.
    ///
    /// # Errors
    ///
    /// The process cannot be started, or ends at once.
    pub fn listening(name: &str, args: &[String]) -> io::Result<(Self, SocketAddr)> {
        let mut part = Self::start(name, args)?;
        let line = part.line()?;
        let address = line.strip_prefix("listening ").and_then(|text| text.trim().parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("{name} said {line:?}")))?;
        Ok((part, address))
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command that has no answer.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn tell(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()
    }

    /// Sends a command and reads its answer, a line of JSON.
    ///
    /// # Errors
    ///
    /// The process has ended, or answers something else.
    pub fn ask<T: DeserializeOwned>(&mut self, command: &str) -> io::Result<T> {
        self.tell(command)?;
        loop {
            let line = self.line()?;
            if line.starts_with('{') {
                return serde_json::from_str(&line).map_err(io::Error::other);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// Returns `true` while the process lives.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends `stop`, waits for the end, and kills the process after the time limit.
    pub fn stop(mut self) {
        let _ = self.tell("stop");
        let start = clock::now();
        while self.is_alive() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

/// CPU time that the calling thread has used.
///
/// # Errors
///
/// The kernel keeps no such count.
pub fn own_cpu_time() -> io::Result<Duration> {
    first_number(&std::fs::read_to_string("/proc/thread-self/schedstat")?)
}

fn first_number(text: &str) -> io::Result<Duration> {
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(first.ok_or(io::ErrorKind::InvalidData)?))
}

/// CPU time that a process has used, all its threads together.
///
/// # Errors
///
/// The process is gone.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut time = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        time += first_number(&text)?;
    }
    Ok(time)
}

/// Memory of a process: resident now, and its peak, in KiB.
///
/// # Errors
///
/// The process is gone.
pub fn memory_kib(pid: u32) -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    match (value("VmRSS:"), value("VmHWM:")) {
        (Some(now), Some(highest)) => Ok((now, highest)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Reads a number at a path such as `/ledger/submitted`; 0 if it is missing, the sum of an object
/// of numbers.
pub fn number(status: &Value, path: &str) -> u64 {
    match status.pointer(path) {
        Some(Value::Object(members)) => members.values().filter_map(Value::as_u64).sum(),
        Some(value) => value.as_u64().unwrap_or(0),
        None => 0,
    }
}
