//! Helper processes of a trial: a pool and a swarm of the lab, a gateway.
//!
//! The lab is in the binary as the tests build it. Every process ends when its owner is dropped, so
//! a failed trial leaves none behind.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process;

/// Longest time that a process of a trial may run, in seconds.
const SECONDS_MAX: u32 = 900;

/// Number of polls, and pause between them, for the end of a process after SIGTERM.
const ENDING_LOOKS_MAX: u32 = 600;
const ENDING_LOOK: Duration = Duration::from_millis(20);

/// Time limit of a status request.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Time limit for an expected status, and the pause between two polls: an emulator on a busy
/// machine is slow.
const STATUS_MAX: Duration = Duration::from_secs(120);
const STATUS_PAUSE: Duration = Duration::from_millis(20);

/// A process whose standard output is read.
pub struct Process {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{name}: {error}"))?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        Ok(Self { name, child, lines })
    }

    /// Waits for a line that begins with `word`, and returns the rest of the line.
    ///
    /// # Errors
    ///
    /// The process ended without such a line.
    pub fn find(&mut self, word: &str) -> Result<String, String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let found =
            lines.find_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_owned()));
        found.ok_or(format!("{}: no line {word:?}", self.name))
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&self, name: &str) -> Result<(), String> {
        let id = self.id().to_string();
        process::output(process::command("kill").args([&format!("-{name}"), &id])).map(|_| ())
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// The system reports an error.
    pub fn wait(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().map_err(|error| format!("{}: {error}", self.name))
    }

    /// Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// The system reports an error.
    pub fn is_over(&mut self) -> Result<bool, String> {
        let ended = self.child.try_wait().map_err(|error| format!("{}: {error}", self.name))?;
        Ok(ended.is_some())
    }

    /// Reads the remaining output.
    pub fn rest(&mut self) -> String {
        let lines: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        lines.join("\n")
    }
}

impl Drop for Process {
    /// Sends SIGTERM, so that `timeout` ends its program too, and SIGKILL after a limit.
    fn drop(&mut self) {
        let _ = self.signal("TERM").and_then(|()| self.signal("CONT"));
        for _ in 0..ENDING_LOOKS_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(ENDING_LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the lab once; returns a command of it.
///
/// # Errors
///
/// The build fails.
fn lab(part: &str) -> Result<Command, String> {
    let mut command = program(&["lab", part])?;
    // The lab prints its books at the end, on standard output.
    command.stderr(Stdio::null());
    Ok(command)
}

/// Whether the gateway with its lab is built, or the reason why not.
static BUILT: OnceLock<Result<(), String>> = OnceLock::new();

fn binary() -> PathBuf {
    process::root().join("target/debug/loka-stratum")
}

/// Uses the gateway from the tests' build. A separate build would have other features in some
/// crates, and take minutes.
pub fn use_what_tests_built() {
    if binary().is_file() {
        let _ = BUILT.set(Ok(()));
    }
}

/// Builds the gateway with its lab once; returns a command of it.
///
/// # Errors
///
/// The build fails.
pub fn program(words: &[&str]) -> Result<Command, String> {
    let build = || process::run(&mut process::cargo(&["build", "--locked", "--quiet"]));
    BUILT.get_or_init(build).clone()?;
    Ok(process::limited(SECONDS_MAX, &binary().to_string_lossy(), words))
}

/// A pool of the lab.
pub struct Pool {
    /// Ends with the pool.
    _process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// The pin of its certificate, with TLS.
    pub pin: Option<String>,
    status: SocketAddr,
}

impl Pool {
    /// Starts a pool with a difficulty so low that any CPU finds many shares.
    ///
    /// # Errors
    ///
    /// It does not listen.
    pub fn start(arguments: &[&str]) -> Result<Self, String> {
        let mut command = lab("pool")?;
        command.args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--difficulty", "0.000001"]).args(arguments);
        let mut process = Process::start(&mut command)?;
        let address = address(&process.find("listening ")?)?;
        let status = self::address(&process.find("status ")?)?;
        let speaks_tls = arguments.contains(&"--tls");
        let pin = if speaks_tls { Some(process.find("pin sha256 ")?) } else { None };
        Ok(Self { _process: process, address, pin, status })
    }

    /// Its ledger so far.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn ledger(&self) -> Result<Value, String> {
        get(self.status, "/")
    }
}

/// Reads an address that a program printed.
///
/// # Errors
///
/// It is none.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("got {text}, an address was expected"))
}

/// A swarm of the lab.
pub struct Swarm(Process);

impl Swarm {
    /// Starts miners that connect to `address`.
    ///
    /// # Errors
    ///
    /// They cannot be started.
    pub fn start(address: SocketAddr, arguments: &[&str]) -> Result<Self, String> {
        let mut command = lab("swarm")?;
        command.args(["--connect", &address.to_string()]).args(arguments);
        Process::start(&mut command).map(Self)
    }

    /// Waits until its time is over and returns its miners' report.
    ///
    /// # Errors
    ///
    /// It printed none.
    pub fn report(mut self) -> Result<Value, String> {
        json(&mut self.0)
    }
}

/// The JSON at the end of a lab part's output.
fn json(process: &mut Process) -> Result<Value, String> {
    let text = process.rest();
    let at = text.find('{').ok_or(format!("{}: no report: {text}", process.name))?;
    serde_json::from_str(&text[at..]).map_err(|error| format!("{}: {error}", process.name))
}

/// Reads JSON from a status port.
///
/// # Errors
///
/// No answer, or the answer is not JSON.
pub fn get(address: SocketAddr, path: &str) -> Result<Value, String> {
    let text = fetch(address, path).map_err(|error| format!("{address}{path}: {error}"))?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|error| format!("{address}{path}: {error}: {text}"))
}

/// Waits until a gateway's status meets a condition.
///
/// # Errors
///
/// The missing condition, and the last answer.
pub fn wait_for_status(
    address: SocketAddr,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value, String> {
    let started = Instant::now();
    let mut last = Err("no answer".to_owned());
    while started.elapsed() < STATUS_MAX {
        last = get(address, "/api/v1/status");
        if let Ok(status) = &last
            && is_so(status)
        {
            return last;
        }
        std::thread::sleep(STATUS_PAUSE);
    }
    Err(format!("{what} did not come: {last:?}"))
}

/// A count of the ledger in a gateway's status.
pub fn count(status: &Value, key: &str) -> u64 {
    sum(&status["ledger"][key])
}

/// A count, or the sum of counts by reason.
pub fn sum(value: &Value) -> u64 {
    let of_many =
        || value.as_object().map(|counts| counts.values().filter_map(Value::as_u64).sum());
    value.as_u64().or_else(of_many).unwrap_or(0)
}

fn fetch(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    // One write: a server may answer and close before it has read everything.
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
