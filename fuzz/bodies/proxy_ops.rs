//! The whole engine by operations: miners that connect, submit and leave; pools that answer,
//! change, disconnect and send noise; small buffers, changed settings, time.
//!
//! The handshakes are built in, so that a few bytes of input reach deep; raw bytes are operations
//! too. Invariants after each operation: every submit is in exactly one bucket, in total and for
//! its miner. No two miners share search space. All output is whole lines of JSON. No share is sent
//! twice in one session of a pool. At the end, with every answer overdue, no share is open.
//!
//! An operation is a byte followed by its arguments; after the input's end they are zeros.

use std::collections::HashSet;

use loka_stratum::identity::{FIRST_AUTHORIZATION, Identity};
use loka_stratum::ledger::Bucket;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, LINK_OUTPUT_BYTES_MIN, OUTPUT_BYTES_MIN, SEEN_BUCKET_PLACES,
    UPSTREAM_LINE_BYTES_LEAST,
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

const MINERS: usize = 5;
const LINKS: usize = 3;
const POOLS: usize = 2;

/// A link's memory: small, so that its queues are sometimes full.
const SIZES: LinkSizes =
    LinkSizes { jobs: 4, pending: 24, line_bytes: UPSTREAM_LINE_BYTES_LEAST, ..LinkSizes::MAX };

/// Operations of one input; more would only slow it down.
const OPERATIONS_MAX: usize = 256;

/// The input, byte by byte; zeros after its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// The next bytes; the first of them is their count.
    fn bytes(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
}

/// A connection from its miner's side.
struct Miner {
    handle: MinerHandle,
    /// Id and time of the newest job.
    job: Option<(String, String)>,
    last_share: Option<Value>,
    /// A part of a line was sent; the next bytes continue it.
    in_a_line: bool,
}

/// A session from its pool's side.
struct Session {
    link: LinkIndex,
    /// Requests heard but not answered.
    owed: Vec<Value>,
    seen: HashSet<String>,
}

struct World<'a> {
    proxy: Proxy<'a>,
    now: Instant,
    miners: Vec<Miner>,
    sessions: Vec<Session>,
    buffer: Vec<u8>,
    nonce: u32,
    jobs: u32,
    /// The compact network target: 207fffff makes every other share a block.
    nbits: &'static str,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let options = options(input.byte());
    let mut slots: Vec<Slot> = (0..MINERS).map(|_| Slot::VACANT).collect();
    let mut lines = vec![0; MINERS * DOWNSTREAM_LINE_BYTES_MAX];
    let mut ids = vec![IdBlock::FREE; Storage::ID_BLOCKS];
    let mut seen = vec![[0; SEEN_BUCKET_PLACES]; Storage::seen_min(MINERS)];
    let mut jobs: Vec<Job> = (0..LINKS * SIZES.jobs).map(|_| Job::vacant()).collect();
    let mut pending = vec![Pending::FREE; LINKS * SIZES.pending];
    let mut link_bytes = vec![0; LINKS * SIZES.bytes()];
    let storage = Storage {
        slots: &mut slots,
        lines: &mut lines,
        ids: &mut ids,
        seen: &mut seen,
        link_sizes: SIZES,
        jobs: &mut jobs,
        pending: &mut pending,
        link_bytes: &mut link_bytes,
    };
    let now = Instant::from_micros(1_000_000_000);
    let proxy = Proxy::new(storage, options, now).expect("the storage fits together");
    let mut world = World {
        proxy,
        now,
        miners: vec![],
        sessions: vec![],
        buffer: vec![0; OUTPUT_BYTES_MIN],
        nonce: 0,
        jobs: 0,
        nbits: "17023774",
    };
    world.wait(0);
    for _ in 0..OPERATIONS_MAX {
        if input.0.is_empty() {
            break;
        }
        world.operate(&mut input);
        world.settle();
        world.check();
    }
    world.finish();
}

/// Options from the bits of a byte.
fn options(bits: u8) -> Options {
    let difficulty = |value| Difficulty::new(value).expect("above zero");
    let login = |index: usize| PoolLogin {
        user: "farm.gateway".try_into().expect("it fits"),
        password: "x".try_into().expect("it fits"),
        host: format!("pool{index}.example.com").as_str().try_into().expect("it fits"),
        port: 3333,
    };
    Options {
        pools: (0..POOLS).map(login).collect(),
        links: links::Policy { pools: POOLS, standby: false, ..links::Policy::default() },
        vardiff: vardiff::Policy {
            start: difficulty(1e-10),
            min: difficulty(1e-12),
            max: difficulty(1e15),
            share_interval: Duration::from_secs(10),
        },
        keepalive: Duration::from_secs(45),
        verdict: if bits & 1 == 0 { VerdictMode::Local } else { VerdictMode::Pool },
        identity: if bits & 8 == 0 { Identity::Single } else { Identity::PerWorker },
        warm: bits & 4 == 0,
        submit_interval: Duration::from_millis(if bits & 2 == 0 { 1 } else { 1000 }),
        geometry: None,
        first_miner_id: u16::from(bits),
        agent: "loka-stratum/fuzz".try_into().expect("it fits"),
        seed: 7,
    }
}

impl World<'_> {
    /// The one place that turns a byte into an operation.
    fn operate(&mut self, input: &mut Input<'_>) {
        match input.byte() % 24 {
            0 => self.miner(input.byte()),
            1 => self.connect(),
            2 => {
                if let Some(miner) = self.picked_miner(input) {
                    self.say(miner, input.bytes());
                }
            }
            3 => {
                if let Some(miner) = self.picked_miner(input) {
                    self.say(miner, &[input.bytes(), b"\n"].concat());
                }
            }
            4..8 => {
                if let Some(miner) = self.picked_miner(input) {
                    self.submit(miner, input.byte());
                }
            }
            8 => {
                if let Some(miner) = self.picked_miner(input) {
                    let gone = self.miners.swap_remove(miner);
                    self.proxy.handle_disconnect(gone.handle);
                }
            }
            9 => {
                if let Some(miner) = self.picked_miner(input) {
                    self.request(miner, input.byte());
                }
            }
            10..12 => self.pool_up(input.byte()),
            12..14 => self.pool_answers(input),
            14 => self.pool_gives_a_job(input),
            15 => self.pool_changes(input),
            16 => {
                if let Some(session) = self.picked_session(input) {
                    let bytes = [input.bytes(), b"\n"].concat();
                    self.pool_bytes(self.sessions[session].link, &bytes);
                }
            }
            17 => {
                if let Some(session) = self.picked_session(input) {
                    let link = self.sessions.swap_remove(session).link;
                    let close = LinkClose::Lost(Lost::Broken);
                    self.proxy.handle_link_down(link, close, self.now);
                }
            }
            18 => {
                if let Some((link, _)) = self.proxy.poll_dial(self.now) {
                    let close = LinkClose::Lost(Lost::Connect);
                    self.proxy.handle_link_down(link, close, self.now);
                }
            }
            19 => self.wait(u64::from(input.byte()) * 50),
            20 => self.wait(u64::from(input.byte()) * 1000),
            21 => {
                if let Some(miner) = self.picked_miner(input) {
                    self.small_output(miner, usize::from(input.byte()) * 4);
                }
            }
            22 => self.proxy.apply(options(input.byte()), self.now),
            _ => match input.byte() % 16 {
                0 => self.proxy.drain(),
                pool => self.proxy.reopen_pool(usize::from(pool) % POOLS),
            },
        }
    }

    fn picked_miner(&self, input: &mut Input<'_>) -> Option<usize> {
        usize::from(input.byte()).checked_rem(self.miners.len())
    }

    fn picked_session(&self, input: &mut Input<'_>) -> Option<usize> {
        usize::from(input.byte()).checked_rem(self.sessions.len())
    }

    // ---- miners ----------------------------------------------------------------------------

    fn connect(&mut self) {
        if let Ok(handle) = self.proxy.handle_connect([0; 16], self.now) {
            self.miners.push(Miner { handle, job: None, last_share: None, in_a_line: false });
        }
    }

    /// A connection with its handshake finished.
    fn miner(&mut self, bits: u8) {
        let count = self.miners.len();
        self.connect();
        if self.miners.len() == count {
            return;
        }
        if bits & 1 == 0 {
            self.request(count, 0);
        }
        self.request(count, 1);
        self.request(count, if bits & 2 == 0 { 2 } else { 3 });
    }

    fn request(&mut self, miner: usize, kind: u8) {
        let (method, params) = match kind % 10 {
            0 => (
                "mining.configure",
                json!([["version-rolling"], {"version-rolling.mask": "1fffe000"}]),
            ),
            1 => ("mining.subscribe", json!(["t/1"])),
            2 => ("mining.authorize", json!(["farm.s19", "x"])),
            3 => ("mining.authorize", json!(["other", "d=1"])),
            4 => ("mining.suggest_difficulty", json!([1e-9])),
            5 => ("mining.suggest_difficulty", json!([1_000_000])),
            6 => ("mining.extranonce.subscribe", json!([])),
            7 => ("mining.ping", json!([])),
            8 => ("mining.get_transactions", json!([])),
            _ => ("mining.authorize", json!([format!("farm.w{}", self.nonce), ""])),
        };
        self.nonce += 1;
        let line = json!({"id": self.nonce, "method": method, "params": params});
        self.say(miner, format!("{line}\n").as_bytes());
    }

    fn submit(&mut self, miner: usize, kind: u8) {
        self.nonce += 1;
        let known = &mut self.miners[miner];
        let (job, ntime) = known.job.clone().unwrap_or(("0000000a".into(), "68426000".into()));
        let nonce = format!("{:08x}", self.nonce);
        let new = json!(["farm.s19", job, "0000000a", ntime, nonce]);
        let mut params = new.clone();
        match kind % 16 {
            0 => params = known.last_share.clone().unwrap_or(new),
            1 => params[1] = "deadbeef".into(),
            2 => params[0] = "other".into(),
            3 => params[4] = "xyzxyzxy".into(),
            4 => params[3] = "00000000".into(),
            5 => params = Value::Null,
            6 => params = json!(["farm.s19", job, "0000000a", ntime, nonce, "00002000"]),
            _ => {}
        }
        known.last_share = Some(params.clone());
        let before = self.proxy.ledger().submitted();
        let line = json!({"id": self.nonce, "method": "mining.submit", "params": params});
        let whole = !self.miners[miner].in_a_line;
        let alive = self.say(miner, format!("{line}\n").as_bytes());
        let after = self.proxy.ledger().submitted();
        assert!(!alive || !whole || after == before + 1, "a submit is counted once");
    }

    /// Sends bytes, and reads the answers and the due output. Returns whether the connection stays
    /// open.
    fn say(&mut self, miner: usize, mut bytes: &[u8]) -> bool {
        let Miner { handle, in_a_line, .. } = &mut self.miners[miner];
        let handle = *handle;
        *in_a_line = match bytes.last() {
            Some(last) => *last != b'\n',
            None => *in_a_line,
        };
        while !bytes.is_empty() {
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut out = Writer::new(&mut buffer);
            let result = self.proxy.handle_input(handle, &mut bytes, &mut out, self.now);
            let heard = lines(out.as_slice());
            self.buffer = buffer;
            if result.is_err() {
                self.proxy.handle_disconnect(handle);
                self.miners.swap_remove(miner);
                return false;
            }
            self.hear(miner, &heard);
            self.due(miner);
        }
        true
    }

    /// Reads a miner's due output.
    fn due(&mut self, miner: usize) {
        let handle = self.miners[miner].handle;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut out = Writer::new(&mut buffer);
        let written = self.proxy.poll_output(handle, &mut out, self.now);
        assert!(written.is_ok(), "an empty buffer of OUTPUT_BYTES_MIN has room");
        let heard = lines(out.as_slice());
        self.buffer = buffer;
        self.hear(miner, &heard);
    }

    /// Writes a miner's due output into a buffer that may be too small.
    fn small_output(&mut self, miner: usize, size: usize) {
        let handle = self.miners[miner].handle;
        let mut buffer = vec![0; size];
        let mut out = Writer::new(&mut buffer);
        let _ = self.proxy.poll_output(handle, &mut out, self.now);
        let heard = lines(out.as_slice());
        self.hear(miner, &heard);
    }

    fn hear(&mut self, miner: usize, heard: &[Value]) {
        for line in heard {
            match line["method"].as_str() {
                Some("mining.notify") => {
                    let text = |at: usize| line["params"][at].as_str().unwrap_or("").to_owned();
                    self.miners[miner].job = Some((text(0), text(7)));
                }
                Some(_) => {}
                None => assert!(line["result"].is_null() != line["error"].is_null(), "{line}"),
            }
        }
    }

    // ---- pools -----------------------------------------------------------------------------

    /// Accepts the dials of all pools; `bits` keep their sessions or change them.
    fn pool_up(&mut self, bits: u8) {
        while let Some((link, pool)) = self.proxy.poll_dial(self.now) {
            self.sessions.push(Session { link, owed: vec![], seen: HashSet::new() });
            self.proxy.handle_link_up(link, self.now);
            let extranonce1 = format!("c0ffee{pool:02x}{:02x}", bits & 3);
            let size = [8, 8, 6, 4, 3, 2, 16, 17][usize::from(bits >> 2 & 7)];
            self.nbits = if bits & 0x20 == 0 { "17023774" } else { "207fffff" };
            let difficulty = if bits & 0x40 == 0 { 1e-12 } else { 1e12 };
            let session = json!([[["mining.notify", "s"]], extranonce1, size]);
            let rolling = json!({"version-rolling": true, "version-rolling.mask": "1fffe000"});
            for line in [
                json!({"id": 1, "result": rolling}),
                json!({"id": 2, "result": session, "error": null}),
                json!({"id": 3, "result": bits & 0x80 == 0, "error": null}),
                json!({"id": null, "method": "mining.set_difficulty", "params": [difficulty]}),
            ] {
                self.settle();
                self.pool_bytes(link, format!("{line}\n").as_bytes());
            }
            self.job(link, 1, true);
        }
    }

    fn pool_bytes(&mut self, link: LinkIndex, bytes: &[u8]) {
        if self.proxy.handle_link_input(link, bytes, self.now).is_err() {
            self.sessions.retain(|session| session.link != link);
        }
    }

    fn job(&mut self, link: LinkIndex, block: u8, clean: bool) {
        self.jobs += 1;
        let prev_hash = format!("{block:02x}").repeat(28) + "00000000";
        let params = json!([
            format!("job-{}", self.jobs),
            prev_hash,
            "0200000001000000ff",
            "ffffffff00",
            ["23f1b9edaa61c812af81af3adc750cc09d7ace2e164a3410e0e803ff65b581ce"],
            "20000000",
            self.nbits,
            "68426000",
            clean
        ]);
        let line = json!({"id": null, "method": "mining.notify", "params": params});
        self.pool_bytes(link, format!("{line}\n").as_bytes());
    }

    fn pool_gives_a_job(&mut self, input: &mut Input<'_>) {
        let Some(session) = self.picked_session(input) else { return };
        let bits = input.byte();
        let link = self.sessions[session].link;
        // Several at once: the miners get only the last.
        for _ in 0..(bits >> 4) * 2 + 1 {
            self.job(link, bits & 3, bits & 4 != 0);
        }
    }

    fn pool_answers(&mut self, input: &mut Input<'_>) {
        let Some(session) = self.picked_session(input) else { return };
        let Session { link, owed, .. } = &mut self.sessions[session];
        let link = *link;
        let bits = input.byte();
        let Some(at) = usize::from(bits >> 3).checked_rem(owed.len()) else { return };
        // An answer may arrive twice.
        let id = if bits & 4 == 0 { owed.swap_remove(at) } else { owed[at].clone() };
        let line = match bits & 3 {
            0 | 1 => json!({"id": id, "result": true, "error": null}),
            2 => json!({"id": id, "result": null, "error": [21, "Job not found", null]}),
            _ => json!({"id": id, "result": false, "error": null, "reject-reason": "Duplicate"}),
        };
        self.pool_bytes(link, format!("{line}\n").as_bytes());
    }

    fn pool_changes(&mut self, input: &mut Input<'_>) {
        let Some(session) = self.picked_session(input) else { return };
        let link = self.sessions[session].link;
        let bits = input.byte();
        let (method, params) = match bits % 8 {
            0 => ("mining.set_difficulty", json!([1e-12])),
            1 => ("mining.set_difficulty", json!([1e12])),
            2 => ("mining.set_extranonce", json!(["abad", 8])),
            3 => ("mining.set_extranonce", json!(["abad1dea", bits >> 3])),
            4 => ("mining.set_version_mask", json!(["00006000"])),
            5 => ("mining.set_version_mask", json!(["ffffffff"])),
            6 => ("client.reconnect", json!([])),
            _ => ("mining.ping", json!([])),
        };
        let line = json!({"id": bits, "method": method, "params": params});
        self.pool_bytes(link, format!("{line}\n").as_bytes());
    }

    // ---- time, and what follows --------------------------------------------------------------

    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        // An owner may be late; over a long time it is late here, for speed.
        let step = Duration::from_millis((millis / 10).max(100));
        loop {
            self.proxy.handle_timeout(self.now);
            self.settle();
            if self.now >= end {
                return;
            }
            self.now = self.proxy.poll_timeout().max(self.now + step);
            self.now = self.now.min(end);
        }
    }

    /// Does the owner's work after each event.
    fn settle(&mut self) {
        while let Some((handle, _)) = self.proxy.poll_closed() {
            self.proxy.handle_disconnect(handle);
            self.miners.retain(|miner| miner.handle != handle);
        }
        while let Some(link) = self.proxy.poll_hangup(self.now) {
            self.sessions.retain(|session| session.link != link);
        }
        let links: Vec<LinkIndex> = self.proxy.links().iter().map(|(link, _)| link).collect();
        for link in links {
            let mut out = Writer::new(&mut self.buffer[..LINK_OUTPUT_BYTES_MIN]);
            while self.proxy.poll_link_output(link, &mut out, self.now).is_err() {
                assert!(!out.as_slice().is_empty(), "LINK_OUTPUT_BYTES_MIN has room for a line");
                hear_at_pool(&mut self.sessions, link, &lines(out.as_slice()));
                out = Writer::new(&mut self.buffer[..LINK_OUTPUT_BYTES_MIN]);
            }
            hear_at_pool(&mut self.sessions, link, &lines(out.as_slice()));
        }
        while self.proxy.poll_event().is_some() {}
        while let Some(handle) = self.proxy.poll_due() {
            if let Some(miner) = self.miners.iter().position(|miner| miner.handle == handle) {
                self.due(miner);
            }
        }
        if self.proxy.poll_fan_out() {
            let mut cursor = 0;
            while let Some(handle) = self.proxy.poll_wanting(&mut cursor) {
                let miner = self.miners.iter().position(|miner| miner.handle == handle);
                self.due(miner.expect("only miners that are connected want something"));
            }
        }
    }

    fn check(&self) {
        let ledger = self.proxy.ledger();
        assert!(ledger.check(), "{ledger:?}");
        let (len, capacity) = self.proxy.occupancy();
        assert_eq!((len, capacity), (self.miners.len(), MINERS));
        let open = ledger.of(Bucket::Pending) + ledger.of(Bucket::Held);
        assert!(!self.proxy.is_drained() || open == 0, "nothing waits, and {open} are open");
        let mut seats = HashSet::new();
        let mut connected = vec![0; Bucket::COUNT];
        for (_, session) in self.proxy.miners() {
            let counts = session.counts();
            let all: u32 = Bucket::all().map(|bucket| counts.of(bucket)).sum();
            assert_eq!(all, counts.submitted(), "{counts:?}");
            for (sum, bucket) in connected.iter_mut().zip(Bucket::all()) {
                *sum += u64::from(counts.of(bucket));
            }
            if let Some(seat) = session.seat() {
                assert!(seats.insert((seat.lane, seat.space.id)), "two miners share {seat:?}");
            }
        }
        for (sum, bucket) in connected.into_iter().zip(Bucket::all()) {
            assert!(sum <= ledger.of(bucket), "{bucket:?}: {sum} of {ledger:?}");
        }
    }

    /// Lets every share end: pools stay silent, and time passes.
    fn finish(mut self) {
        for _ in 0..4 {
            self.wait(200_000);
            self.check();
        }
        let ledger = self.proxy.ledger();
        assert_eq!((ledger.of(Bucket::Pending), ledger.of(Bucket::Held)), (0, 0), "{ledger:?}");
        assert!(self.proxy.is_drained());
    }
}

/// Books the lines to a pool; a session gets no share twice.
fn hear_at_pool(sessions: &mut [Session], link: LinkIndex, heard: &[Value]) {
    for line in heard {
        let session = sessions.iter_mut().find(|session| session.link == link);
        let session = session.expect("only an open link is written to");
        if line["method"] == "mining.submit" {
            assert!(session.seen.insert(line["params"].to_string()), "sent twice: {line}");
            session.owed.push(line["id"].clone());
        } else if line["id"].as_u64() >= Some(u64::from(FIRST_AUTHORIZATION)) {
            session.owed.push(line["id"].clone());
        }
    }
}

/// The lines of an output, all whole and valid JSON.
fn lines(bytes: &[u8]) -> Vec<Value> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "whole lines only");
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON is written")).collect()
}
