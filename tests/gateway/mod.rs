//! The gateway as a process, a pool of a few lines of JSON, and miners as sockets.
//!
//! Everything is on loopback, on ports that the system chooses. No test waits for a fixed time: it
//! polls for a condition, and fails after [`PATIENCE`].
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![expect(clippy::disallowed_methods, reason = "tests have threads of their own, which may block")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Limit of a test's wait for a condition. It measures nothing; a busy machine takes many times as
/// long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the program under test, without state unless a test names a directory: no test writes
/// into the user's home.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loka-stratum"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LOKA_")) {
        command.env_remove(name);
    }
    command.env_remove("STATE_DIRECTORY").env("LOKA_STATE__DIR", "");
    command
}

/// Returns the program under test, for a settings file that names `state.dir`.
pub fn program_with_state() -> Command {
    let mut command = program();
    command.env_remove("LOKA_STATE__DIR");
    command
}

/// A folder that is removed on drop.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes an empty one.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("loka-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway that runs until it is dropped.
pub struct Gateway {
    child: Child,
    /// Where miners connect, in the order of the settings.
    pub listen: Vec<SocketAddr>,
    /// The status port.
    pub status: Option<SocketAddr>,
    lines: Receiver<String>,
    /// Log lines that were read.
    pub log: Vec<String>,
}

impl Gateway {
    /// Starts a gateway for `pool` with two ports that the system chooses.
    #[track_caller]
    pub fn start(pool: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.args(["--pool", &format!("stratum+tcp://{pool}"), "--user", "farm"]);
        command.envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Starts a command that runs a gateway with a status port.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut gateway = Self { child, listen: vec![], status: None, lines, log: vec![] };
        let line = gateway.wait_for_line("listening for miners on ");
        gateway.listen.push(address_in(&line));
        let status = gateway.log.iter().find(|line| line.contains("status port at http://"));
        gateway.status = status.map(|line| address_in(line));
        gateway
    }

    /// Returns the first line of the log that holds `part`, waiting until there is one.
    #[track_caller]
    pub fn wait_for_line(&mut self, part: &str) -> String {
        if let Some(line) = self.log.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.log.push(line);
                    let line = self.log.last().expect("it was pushed");
                    if line.contains(part) {
                        return line.clone();
                    }
                }
                Err(error) => panic!("no line with {part:?} ({error}): {:#?}", self.log),
            }
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {id}");
    }

    /// Waits for the end and returns how it ended, with the rest of the log.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it was started");
        self.check_end(status);
        status
    }

    /// Fails the test where the program ended itself, as it does in tests when its event loop
    /// stood still, and reads the rest of the log.
    #[track_caller]
    fn check_end(&mut self, status: ExitStatus) {
        const ABORTED: i32 = 6;
        self.log.extend(self.lines.iter());
        if status.signal() == Some(ABORTED) && !thread::panicking() {
            let from = self.log.iter().position(|line| line.starts_with("BUG")).unwrap_or(0);
            panic!("the gateway aborted: {:#?}", &self.log[from..]);
        }
    }

    /// Ends the process without warning.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        let status = self.child.wait().expect("it was started");
        self.check_end(status);
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Connects a miner.
    pub fn miner(&self) -> Miner {
        Miner::connect(self.listen[0])
    }

    /// Asks the status port.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.status.expect("the status port is on");
        http(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n"))
    }

    /// Returns the status, whose sums are checked.
    #[track_caller]
    pub fn report(&self) -> Value {
        let (code, body) = self.get("/api/v1/status");
        assert_eq!(code, 200, "{body}");
        let report: Value = serde_json::from_str(&body).expect("it is JSON");
        check_sums(&report["ledger"]);
        report
    }

    /// Waits until the status is as wanted.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let report = self.report();
            if is_so(&report) {
                return report;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} did not come: {:#}", self.report());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.check_end(status);
        }
    }
}

/// Returns the address at the end of a log line.
fn address_in(line: &str) -> SocketAddr {
    let last = line.split_whitespace().last().unwrap_or_default();
    last.trim_start_matches("http://").parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
}

/// Checks that every submit lies in one place.
#[track_caller]
pub fn check_sums(ledger: &Value) {
    let number = |key: &str| ledger[key].as_u64().unwrap_or_else(|| panic!("no {key}: {ledger}"));
    let sum = |key: &str| -> u64 {
        let counts = ledger[key].as_object().unwrap_or_else(|| panic!("no {key}: {ledger}"));
        counts.values().map(|count| count.as_u64().expect("a count")).sum()
    };
    assert_eq!(number("submitted"), number("accepted") + sum("rejected"), "{ledger}");
    assert_eq!(number("accepted"), number("below_upstream") + number("forwarded"), "{ledger}");
    assert_eq!(
        number("forwarded"),
        number("pool_accepted")
            + sum("pool_rejected")
            + sum("orphaned")
            + number("pending")
            + number("held"),
        "{ledger}"
    );
}

/// Sends a request as it is and returns status and body; 0 where there is no answer.
pub fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the status port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // A server may close before the whole request is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, body.to_owned())
}

/// A miner's socket.
pub struct Miner {
    reader: BufReader<TcpStream>,
    id: u64,
    /// Digits of the extranonce2 that it was told.
    roll_digits: usize,
}

impl Miner {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self::over(stream)
    }

    /// Speaks over a connection that stands already.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay can be set");
        Self { reader: BufReader::new(stream), id: 0, roll_digits: 0 }
    }

    /// Returns the socket.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a request and returns its id.
    #[track_caller]
    pub fn send(&mut self, method: &str, params: Value) -> u64 {
        self.id += 1;
        let line = json!({"id": self.id, "method": method, "params": params}).to_string() + "\n";
        self.send_raw(line.as_bytes()).expect("the gateway reads");
        self.id
    }

    /// Returns the next line; none at the end of the connection.
    pub fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("a line is JSON")),
        }
    }

    /// Returns the next line that `is_it`.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.read() {
                Some(line) if is_it(&line) => return line,
                Some(_) => {}
                None => panic!("the connection ended before {what}"),
            }
        }
    }

    /// Sends a request and returns its answer; what comes before it is passed over.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.wait_for(method, |line| line["id"] == id)
    }

    /// Subscribes and authorizes.
    #[track_caller]
    pub fn log_in(&mut self, worker: &str) -> Value {
        let subscription = self.ask("mining.subscribe", json!(["test/1"]));
        assert!(subscription["error"].is_null(), "{subscription}");
        self.roll_digits = 2 * subscription["result"][2].as_u64().expect("a size") as usize;
        let answer = self.ask("mining.authorize", json!([worker, "x"]));
        assert_eq!(answer["result"], true, "{answer}");
        subscription
    }

    /// Waits for a job.
    #[track_caller]
    pub fn wait_for_job(&mut self) -> Value {
        self.wait_for("a job", |line| line["method"] == "mining.notify")
    }

    /// Submits a share for a job and returns the answer.
    #[track_caller]
    pub fn submit(&mut self, worker: &str, job: &Value, nonce: u32) -> Value {
        self.ask("mining.submit", self.share(worker, job, nonce))
    }

    /// Returns the params of a submit.
    pub fn share(&self, worker: &str, job: &Value, nonce: u32) -> Value {
        let params = &job["params"];
        let roll = "0".repeat(self.roll_digits);
        json!([worker, params[0], roll, params[7], format!("{nonce:08x}")])
    }

    /// Says whether the gateway has closed the connection, waiting until it does.
    pub fn is_closed(&mut self) -> bool {
        while self.read().is_some() {}
        let mut byte = [0];
        let end = self.reader.get_mut().read(&mut byte);
        matches!(end, Ok(0)) || end.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
    }
}

/// A pool that gives every share its `true`.
pub struct Pool {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<PoolState>>,
}

struct PoolState {
    extranonce1: String,
    extranonce2_size: u8,
    difficulty: f64,
    job: u64,
    /// Hex digits of the second coinbase half.
    coinb2: String,
    nbits: &'static str,
    links: Vec<TcpStream>,
    submits: Vec<Value>,
    /// Whom the session was authorized as that each of them came in.
    users: Vec<String>,
    is_mute: bool,
    /// Answers every submit with this code.
    refusal: Option<i64>,
    /// What it does otherwise than others.
    manner: Option<Manner>,
}

/// What a pool does with a request.
pub enum Reply {
    /// What every pool does.
    Usual,
    /// Nothing.
    Silent,
    /// It says this line.
    Says(Value),
    /// It says these lines and closes the connection.
    Closes(Vec<Value>),
}

impl Reply {
    /// The answer that refuses a request, with an error in the form that the pool has for it.
    pub fn refusal(request: &Value, error: &Value) -> Self {
        Self::Says(json!({"id": request["id"], "result": null, "error": error}))
    }
}

/// Chooses the reply to a request.
type Manner = Box<dyn FnMut(&Value) -> Reply + Send>;

/// A difficulty that every hash reaches.
pub const TRIVIAL: f64 = 1e-10;

/// A pool that answers no submit, a gateway, and a miner whose share waits.
pub fn with_a_share_unanswered() -> (Pool, Gateway, Miner) {
    let pool = Pool::start("abcd", 8);
    pool.be_mute();
    let gateway = Gateway::start(pool.address, &[]);
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let job = miner.wait_for_job();
    miner.submit("farm.1", &job, 1);
    (pool, gateway, miner)
}

impl Pool {
    /// Opens a pool.
    pub fn start(extranonce1: &str, extranonce2_size: u8) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, extranonce1, extranonce2_size)
    }

    /// Opens a pool at one of this machine's addresses.
    pub fn start_at(ip: Ipv4Addr, extranonce1: &str, extranonce2_size: u8) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("the address is this machine's");
        let address = listener.local_addr().expect("it is bound");
        let state = PoolState {
            extranonce1: extranonce1.to_owned(),
            extranonce2_size,
            difficulty: TRIVIAL,
            job: 0,
            coinb2: "ffffffff00000000".to_owned(),
            nbits: "1d00ffff",
            links: Vec::new(),
            submits: Vec::new(),
            users: Vec::new(),
            is_mute: false,
            refusal: None,
            manner: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.set_nodelay(true);
                let shared = shared.clone();
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, state }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Cuts all links; the next get another extranonce1 and size.
    pub fn cut(&self, extranonce1: &str, extranonce2_size: u8) {
        let mut state = self.lock();
        state.extranonce1 = extranonce1.to_owned();
        state.extranonce2_size = extranonce2_size;
        for link in state.links.drain(..) {
            let _ = link.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Returns where the newest link comes from.
    pub fn link(&self) -> Option<SocketAddr> {
        self.lock().links.last().and_then(|link| link.peer_addr().ok())
    }

    /// Sends all links a new job.
    pub fn new_job(&self) {
        let mut state = self.lock();
        state.job += 1;
        let line = notify(&state);
        for mut link in &state.links {
            let _ = link.write_all(line.as_bytes());
        }
    }

    /// Sends all links a line.
    pub fn say(&self, line: &str) {
        for mut link in &self.lock().links {
            let _ = link.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Makes the coinbase so many bytes longer.
    pub fn pad_coinbase(&self, bytes: usize) {
        self.lock().coinb2 = "00".repeat(bytes) + "ffffffff00000000";
    }

    /// Leaves submits without an answer from now on.
    pub fn be_mute(&self) {
        self.set_mute(true);
    }

    /// Leaves submits without an answer, or answers them again.
    pub fn set_mute(&self, is_mute: bool) {
        self.lock().is_mute = is_mute;
    }

    /// Refuses every submit with this code from now on, or takes them again.
    pub fn refuse(&self, code: Option<i64>) {
        self.lock().refusal = code;
    }

    /// Replies as this says from now on.
    pub fn behave(&self, manner: impl FnMut(&Value) -> Reply + Send + 'static) {
        self.lock().manner = Some(Box::new(manner));
    }

    /// Returns the nonces of all submits in sessions of a user.
    pub fn nonces_of(&self, user: &str) -> Vec<String> {
        let state = self.lock();
        let of_user = state.users.iter().zip(&state.submits).filter(|(of, _)| *of == user);
        of_user.filter_map(|(_, submit)| submit[4].as_str().map(str::to_owned)).collect()
    }

    /// Gives jobs of a network on which nearly every hash is a block.
    pub fn make_blocks_easy(&self) {
        self.lock().nbits = "2100ffff";
    }

    /// Returns the params of all submits so far.
    pub fn submits(&self) -> Vec<Value> {
        self.lock().submits.clone()
    }

    /// Waits for so many submits and returns the params of all: what a gateway has sent is read
    /// by the pool's thread when that has its turn.
    #[track_caller]
    pub fn wait_for_submits(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let submits = self.submits();
            if submits.len() >= count {
                return submits;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{count} submits did not come: {:#?}", self.submits());
    }
}

fn notify(state: &PoolState) -> String {
    let job = format!("{:x}", state.job);
    let coinb1 =
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff08";
    let params = json!([
        job,
        "00".repeat(32),
        coinb1,
        state.coinb2,
        [],
        "20000000",
        state.nbits,
        "60000000",
        true
    ]);
    json!({"id": null, "method": "mining.notify", "params": params}).to_string() + "\n"
}

fn serve(stream: &TcpStream, shared: &Mutex<PoolState>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut user = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        let request: Value = serde_json::from_str(&line).expect("the gateway sends JSON");
        line.clear();
        let mut state = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if request["method"] == "mining.submit" {
            state.submits.push(request["params"].clone());
            state.users.push(user.clone());
        }
        let reply = state.manner.as_mut().map_or(Reply::Usual, |manner| manner(&request));
        if !matches!(reply, Reply::Usual) {
            drop(state);
            if !say(stream, &reply) {
                return;
            }
            continue;
        }
        let id = &request["id"];
        let result = match request["method"].as_str() {
            Some("mining.configure") => {
                json!({"version-rolling": true, "version-rolling.mask": "1fffe000"})
            }
            Some("mining.subscribe") => {
                json!([[["mining.notify", "s"]], state.extranonce1, state.extranonce2_size])
            }
            Some("mining.submit") if state.is_mute => continue,
            Some("mining.submit") => json!(state.refusal.is_none()),
            Some("mining.authorize") => {
                user = request["params"][0].as_str().unwrap_or_default().to_owned();
                json!(true)
            }
            _ => json!(true),
        };
        let error = state.refusal.filter(|_| result == false).map(|code| json!([code, "no", null]));
        let mut answer = json!({"id": id, "result": result, "error": error}).to_string() + "\n";
        if request["method"] == "mining.authorize" {
            let params = json!([state.difficulty]);
            answer += &json!({"id": null, "method": "mining.set_difficulty", "params": params})
                .to_string();
            answer += "\n";
            answer += &notify(&state);
            state.links.extend(stream.try_clone().ok());
        }
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Says what a pool says instead of its usual answer; whether the connection goes on.
fn say(mut stream: &TcpStream, reply: &Reply) -> bool {
    let (lines, goes_on) = match reply {
        Reply::Usual | Reply::Silent => return true,
        Reply::Says(line) => (std::slice::from_ref(line), true),
        Reply::Closes(lines) => (&lines[..], false),
    };
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let is_said = stream.write_all(text.as_bytes()).is_ok();
    if !goes_on {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    is_said && goes_on
}
