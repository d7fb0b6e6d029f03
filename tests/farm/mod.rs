//! A farm without sockets: the production [`Proxy`] with miners and pools that are lines of text.
//!
//! Tests read as conversations: [`Farm::send`] sends a miner's line and returns the answers,
//! [`Farm::pool_says`] and [`Farm::pool_hears`] are the other side. Time passes only in
//! [`Farm::wait`].
#![allow(dead_code, reason = "each test binary uses a part of the farm")]

use loka_stratum::downstream::Close;
use loka_stratum::identity::Identity;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, JOBS_PER_LINK, OUTPUT_BYTES_MIN, SEEN_BUCKET_PLACES,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{LinkSizes, Options, PoolLogin, Proxy, Storage, VerdictMode};
use loka_stratum::table::{IdBlock, MinerHandle, Slot};
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost};
use loka_stratum::vardiff;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::job::Job;
use serde_json::{Value, json};

/// A difficulty that every hash reaches.
pub const TRIVIAL: f64 = 1e-10;
/// A difficulty that no hash of a test reaches.
pub const HOPELESS: f64 = 1e12;

/// Most waiting shares per link of a farm.
pub const QUEUE: usize = 256;

/// The engine, with the inputs of a gateway.
pub struct Farm {
    pub proxy: Proxy<'static>,
    pub now: Instant,
    /// The lines to each link that the test has not read yet.
    heard: Vec<Vec<String>>,
    /// The buffer for outputs.
    buffer: Vec<u8>,
}

/// Options for a farm with `pools` pools and a trivial difficulty.
pub fn options(pools: usize) -> Options {
    let difficulty = |d| Difficulty::new(d).unwrap();
    let login = |index: usize| PoolLogin {
        user: "farm.gateway".try_into().unwrap(),
        password: "x".try_into().unwrap(),
        host: format!("pool{index}.example.com").as_str().try_into().unwrap(),
        port: 3333,
    };
    Options {
        pools: (0..pools).map(login).collect(),
        links: links::Policy { pools, standby: false, ..links::Policy::default() },
        vardiff: vardiff::Policy {
            start: difficulty(TRIVIAL),
            min: difficulty(1e-12),
            max: difficulty(1e15),
            share_interval: Duration::from_secs(10),
        },
        keepalive: Duration::from_secs(45),
        verdict: VerdictMode::Local,
        identity: Identity::Single,
        warm: true,
        submit_interval: Duration::from_millis(10),
        geometry: None,
        first_miner_id: 0,
        agent: "loka-stratum/test".try_into().unwrap(),
        seed: 7,
    }
}

/// Memory for `miners` miners and `links` links; it lives as long as the test.
pub fn storage(miners: usize, links: usize) -> Storage<'static> {
    Storage {
        slots: (0..miners).map(|_| Slot::VACANT).collect::<Vec<_>>().leak(),
        lines: vec![0; miners * DOWNSTREAM_LINE_BYTES_MAX].leak(),
        ids: vec![IdBlock::FREE; Storage::ID_BLOCKS].leak(),
        seen: vec![[0; SEEN_BUCKET_PLACES]; Storage::seen_for(miners)].leak(),
        link_sizes: LinkSizes { pending: QUEUE, ..LinkSizes::MAX },
        jobs: (0..links * JOBS_PER_LINK).map(|_| Job::vacant()).collect::<Vec<_>>().leak(),
        pending: vec![Pending::FREE; links * QUEUE].leak(),
        link_bytes: vec![0; links * Storage::LINK_BYTES].leak(),
    }
}

impl Farm {
    /// A farm for up to 64 miners with one pool.
    pub fn new() -> Self {
        Self::with(64, options(1))
    }

    /// A farm with these options and room for four links.
    pub fn with(miners: usize, options: Options) -> Self {
        Self::sized(miners, 4, options)
    }

    /// A farm with these options and room for the given numbers of miners and links.
    pub fn sized(miners: usize, links: usize, options: Options) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let mut proxy = Proxy::new(storage(miners, links), options, now).unwrap();
        proxy.handle_timeout(now);
        Self { proxy, now, heard: vec![vec![]; links], buffer: vec![0; OUTPUT_BYTES_MIN] }
    }

    /// The same with queues of the given length.
    pub fn queued(miners: usize, links: usize, pending: usize, options: Options) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let storage = Storage {
            link_sizes: LinkSizes { pending, ..LinkSizes::MAX },
            pending: vec![Pending::FREE; links * pending].leak(),
            ..storage(miners, links)
        };
        let mut proxy = Proxy::new(storage, options, now).unwrap();
        proxy.handle_timeout(now);
        Self { proxy, now, heard: vec![vec![]; links], buffer: vec![0; OUTPUT_BYTES_MIN] }
    }

    /// A farm whose only pool is live, and the link to it.
    pub fn live(extranonce1: &str, extranonce2_size: u8, difficulty: f64) -> (Self, LinkIndex) {
        let mut farm = Self::new();
        let link = farm.dialled();
        farm.pool_up(link, extranonce1, extranonce2_size, difficulty);
        (farm, link)
    }

    // ---- miners ----------------------------------------------------------------------------

    /// A new connection.
    #[track_caller]
    pub fn connect(&mut self) -> MinerHandle {
        self.proxy.handle_connect([0; 16], self.now).unwrap()
    }

    /// A connection after the handshake, and its received lines.
    #[track_caller]
    pub fn miner(&mut self, worker: &str) -> (MinerHandle, Vec<String>) {
        self.miner_at([0; 16], worker)
    }

    /// The same, from an address.
    #[track_caller]
    pub fn miner_at(&mut self, peer: [u8; 16], worker: &str) -> (MinerHandle, Vec<String>) {
        let miner = self.proxy.handle_connect(peer, self.now).unwrap();
        let mut heard =
            self.send(miner, r#"{"id":1,"method":"mining.subscribe","params":["t/1"]}"#);
        let authorize = json!({"id": 2, "method": "mining.authorize", "params": [worker, "x"]});
        heard.extend(self.send(miner, &authorize.to_string()));
        (miner, heard)
    }

    /// Sends a line and returns the miner's immediate answers.
    #[track_caller]
    pub fn send(&mut self, miner: MinerHandle, line: &str) -> Vec<String> {
        let (heard, close) = self.bytes(miner, format!("{line}\n").as_bytes());
        assert_eq!(close, None, "closed by {line}");
        heard
    }

    /// Sends a line while the link's socket is full.
    #[track_caller]
    pub fn send_unsettled(&mut self, miner: MinerHandle, line: &str) -> Vec<String> {
        let line = format!("{line}\n");
        let mut out = Writer::new(&mut self.buffer);
        let result = self.proxy.handle_input(miner, &mut line.as_bytes(), &mut out, self.now);
        assert_eq!(result, Ok(()));
        lines(out.as_slice())
    }

    /// Sends bytes and returns the miner's answers, and whether it is closed.
    pub fn bytes(&mut self, miner: MinerHandle, mut input: &[u8]) -> (Vec<String>, Option<Close>) {
        let mut heard = vec![];
        loop {
            let mut out = Writer::new(&mut self.buffer);
            let result = self.proxy.handle_input(miner, &mut input, &mut out, self.now);
            heard.extend(lines(out.as_slice()));
            if let Err(close) = result {
                self.proxy.handle_disconnect(miner);
                return (heard, Some(close));
            }
            heard.extend(self.due(miner));
            if input.is_empty() {
                self.settle();
                return (heard, None);
            }
        }
    }

    /// Hands in bytes within the engine's read limit, like a gateway, and returns the miner's
    /// answers. [`Farm::pool_hears`] collects the lines to links.
    pub fn read(&mut self, miner: MinerHandle, mut input: &[u8]) -> Vec<String> {
        let mut heard = vec![];
        while !input.is_empty() {
            let mut out = Writer::new(&mut self.buffer);
            let result = self.proxy.handle_input(miner, &mut input, &mut out, self.now);
            assert_eq!(result, Ok(()));
            heard.extend(lines(out.as_slice()));
            heard.extend(self.due(miner));
        }
        heard
    }

    /// The output due to a miner now.
    #[track_caller]
    pub fn due(&mut self, miner: MinerHandle) -> Vec<String> {
        let mut out = Writer::new(&mut self.buffer);
        self.proxy.poll_output(miner, &mut out, self.now).unwrap();
        lines(out.as_slice())
    }

    /// Miners with due output, by the engine's list.
    pub fn wanting(&mut self) -> Vec<MinerHandle> {
        let mut cursor = 0;
        std::iter::from_fn(|| self.proxy.poll_wanting(&mut cursor)).collect()
    }

    /// Submits with request id 9 and returns the answer.
    #[track_caller]
    pub fn submit(&mut self, miner: MinerHandle, params: Value) -> Value {
        let line = json!({"id": 9, "method": "mining.submit", "params": params}).to_string();
        let heard = self.send(miner, &line);
        let answer = heard.iter().map(|line| parse(line)).find(|line| line["id"] == 9);
        answer.unwrap_or(Value::Null)
    }

    // ---- pools -----------------------------------------------------------------------------

    /// Connects the link that the engine requests, and returns it.
    #[track_caller]
    pub fn dialled(&mut self) -> LinkIndex {
        let (link, _) = self.proxy.poll_dial(self.now).expect("a link is to be dialled");
        self.proxy.handle_link_up(link, self.now);
        self.settle();
        link
    }

    /// Plays a pool's handshake and sends a first job.
    #[track_caller]
    pub fn pool_up(&mut self, link: LinkIndex, extranonce1: &str, size: u8, difficulty: f64) {
        self.handshake(link, extranonce1, size);
        self.pool_says(link, &set_difficulty(difficulty));
        self.pool_says(link, &notify("job-1", 1, true));
    }

    /// Plays a pool's handshake, with the mask of BIP-0320.
    #[track_caller]
    pub fn handshake(&mut self, link: LinkIndex, extranonce1: &str, size: u8) {
        self.handshake_with(link, extranonce1, size, Some("1fffe000"));
    }

    /// Plays a pool's handshake; without a mask the pool refuses version rolling.
    #[track_caller]
    pub fn handshake_with(
        &mut self,
        link: LinkIndex,
        extranonce1: &str,
        size: u8,
        mask: Option<&str>,
    ) {
        let granted = match mask {
            Some(mask) => json!({"version-rolling": true, "version-rolling.mask": mask}),
            None => json!({"version-rolling": false}),
        };
        assert!(self.pool_hears(link)[0].contains("mining.configure"));
        self.pool_says(link, &json!({"id": 1, "result": granted, "error": null}).to_string());
        assert!(self.pool_hears(link)[0].contains("mining.subscribe"));
        let session = json!([[["mining.notify", "s"]], extranonce1, size]);
        self.pool_says(link, &json!({"id": 2, "result": session, "error": null}).to_string());
        assert!(self.pool_hears(link)[0].contains("mining.authorize"));
        self.pool_says(link, r#"{"id":3,"result":true,"error":null}"#);
    }

    /// A line of the pool.
    #[track_caller]
    pub fn pool_says(&mut self, link: LinkIndex, line: &str) {
        let result = self.pool_bytes(link, format!("{line}\n").as_bytes());
        assert_eq!(result, Ok(()), "closed by {line}");
    }

    /// A line of the pool while the socket to it is full.
    #[track_caller]
    pub fn pool_says_unsettled(&mut self, link: LinkIndex, line: &str) {
        let line = format!("{line}\n");
        assert_eq!(self.proxy.handle_link_input(link, line.as_bytes(), self.now), Ok(()));
    }

    /// Bytes of the pool.
    pub fn pool_bytes(&mut self, link: LinkIndex, bytes: &[u8]) -> Result<(), LinkClose> {
        let result = self.proxy.handle_link_input(link, bytes, self.now);
        self.settle();
        result
    }

    /// The pool's received lines since the last call.
    pub fn pool_hears(&mut self, link: LinkIndex) -> Vec<String> {
        self.settle();
        std::mem::take(&mut self.heard[link.index()])
    }

    /// The connection to a pool breaks.
    pub fn pool_lost(&mut self, link: LinkIndex) {
        self.proxy.handle_link_down(link, LinkClose::Lost(Lost::Broken), self.now);
        self.settle();
    }

    /// Answers the pool's last received submit with `true`.
    #[track_caller]
    pub fn pool_accepts(&mut self, link: LinkIndex) -> Value {
        let heard = self.pool_hears(link);
        let submit = parse(heard.last().expect("the pool heard a submit"));
        assert_eq!(submit["method"], "mining.submit");
        self.pool_says(link, &json!({"id": submit["id"], "result": true}).to_string());
        submit
    }

    // ---- time ------------------------------------------------------------------------------

    /// Lets time pass, in the steps of the engine's deadlines.
    pub fn wait(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            self.now = self.proxy.poll_timeout().max(self.now + Duration::from_millis(1)).min(end);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Collects the lines to links and checks the ledger.
    fn settle(&mut self) {
        for index in 0..self.heard.len() {
            let Some((link, _)) = self.proxy.links().iter().nth(index) else { break };
            loop {
                let mut out = Writer::new(&mut self.buffer);
                let written = self.proxy.poll_link_output(link, &mut out, self.now);
                self.heard[index].extend(lines(out.as_slice()));
                if written.is_ok() {
                    break;
                }
            }
        }
        assert!(self.proxy.ledger().check(), "I1: {:?}", self.proxy.ledger());
    }
}

/// The lines of an output, each of which must be JSON.
#[track_caller]
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines only: {text:?}");
    text.lines().inspect(|line| drop(parse(line))).map(str::to_owned).collect()
}

#[track_caller]
pub fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The params of the last notify among `lines`.
#[track_caller]
pub fn notified(lines: &[String]) -> Value {
    let notify =
        lines.iter().map(|line| parse(line)).rfind(|line| line["method"] == "mining.notify");
    notify.expect("a notify was heard")["params"].clone()
}

/// A set_difficulty line.
pub fn set_difficulty(difficulty: f64) -> String {
    json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty]}).to_string()
}

/// A notify line; `block` selects the previous block.
pub fn notify(job_id: &str, block: u8, clean: bool) -> String {
    notify_of(&job(job_id, block, clean))
}

/// A notify line with the given coinbase halves.
pub fn notify_with(job_id: &str, block: u8, clean: bool, coinb1: &str, coinb2: &str) -> String {
    let mut params = job(job_id, block, clean);
    params[2] = coinb1.into();
    params[3] = coinb2.into();
    notify_of(&params)
}

/// A notify line with these params.
pub fn notify_of(params: &Value) -> String {
    json!({"id": null, "method": "mining.notify", "params": params}).to_string()
}

/// The params of a notify; `block` selects the previous block.
pub fn job(job_id: &str, block: u8, clean: bool) -> Value {
    let prev_hash = format!("{block:02x}").repeat(28) + "00000000";
    let branches = [BRANCH, BRANCH];
    json!([job_id, prev_hash, COINB1, COINB2, branches, "20000000", "17023774", NTIME, clean])
}

/// The time of every job of [`notify`].
pub const NTIME: &str = "68426000";
const COINB1: &str =
    "02000000010000000000000000000000000000000000000000000000000000000000000000ffffffff0c0340420f";
const COINB2: &str =
    "ffffffff0100f2052a01000000160014000000000000000000000000000000000000000000000000";
const BRANCH: &str = "23f1b9edaa61c812af81af3adc750cc09d7ace2e164a3410e0e803ff65b581ce";
