//! The pool's answers and pushes: sessions, jobs and the ledger of all its connections.

use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use loka_stratum::wire::client::{self, ClientLine, Configure, Request, Submit};
use loka_stratum::wire::id::Id;
use loka_stratum::wire::message::{Method, ParseError};
use loka_stratum::work::difficulty::Difficulty;

use super::jobs::{JobBook, Plan};
use super::ledger::{Ledger, Push};
use super::session::{Reason, Session};
use super::{Change, Command, Options};
use crate::lab::net::{End, Key, Port, Quit, Table, Traffic, WireBytes};
use crate::lab::{clock, hex};

/// Interval between two adjustments of a connection's difficulty.
const VARDIFF_EVERY: Duration = Duration::from_secs(5);
/// The largest step of a difficulty, as an exponent of two.
const VARDIFF_STEP_MAX: f64 = 6.0;

/// Asks a miner to connect again, to the same address.
const RECONNECT: &[u8] = b"{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}\n";

struct Connection {
    port: Port,
    session: Session,
    /// The extranonce1 can be changed during the session.
    takes_extranonce: bool,
    has_job: bool,
    looked_at: Instant,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// The shared state of all connections.
pub struct Server {
    options: Options,
    difficulty: Difficulty,
    ledger: Ledger,
    ledger_file: Option<std::fs::File>,
    wire: Rc<WireBytes>,
    wire_before: (u64, u64),
    book: JobBook,
    slots: Vec<Slot>,
    free: Vec<usize>,
    next_extranonce1: u64,
    coinbase: Vec<u8>,
}

impl Server {
    /// Sets up the pool, with the counts of an earlier run from the ledger's file, if any.
    ///
    /// # Errors
    ///
    /// The ledger's file cannot be read or created, or the difficulty is invalid.
    pub fn new(options: Options) -> io::Result<Self> {
        let mut ledger = Ledger::default();
        let mut ledger_file = None;
        if let Some(path) = &options.ledger {
            if let Ok(text) = std::fs::read(path) {
                ledger = serde_json::from_slice(&text).unwrap_or_default();
            }
            let mut open = std::fs::OpenOptions::new();
            ledger_file = Some(open.write(true).create(true).truncate(false).open(path)?);
        }
        ledger.starts += 1;
        ledger.connections.open = 0;
        let difficulty = difficulty_of(options.difficulty)?;
        let server = Self {
            difficulty,
            wire: Rc::default(),
            wire_before: (ledger.wire_bytes_in, ledger.wire_bytes_out),
            book: JobBook::new(plan(&options), options.seed),
            next_extranonce1: options.seed.rotate_left(32),
            options,
            ledger,
            ledger_file,
            slots: Vec::new(),
            free: Vec::new(),
            coinbase: Vec::new(),
        };
        server.save();
        Ok(server)
    }

    /// Makes the first job; returns the times between jobs and between blocks.
    pub fn begin(&mut self) -> (Duration, Option<Duration>) {
        self.book.make(clock::epoch_secs());
        self.ledger.jobs += 1;
        self.save();
        (self.options.job_every, self.options.block_every)
    }

    /// Returns the count of bytes under TLS, for the sockets to add to.
    pub fn wire_bytes(&self) -> Rc<WireBytes> {
        self.wire.clone()
    }

    /// Counts a connection that ended without a TLS session.
    pub const fn count_failed_handshake(&mut self) {
        self.ledger.connections.tls_failed += 1;
    }

    /// Takes a new connection into the table.
    pub fn connect(&mut self, port: Port) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let extranonce1 = self.draw_extranonce1();
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.connection = Some(Connection {
            port,
            session: Session::new(extranonce1),
            takes_extranonce: false,
            has_job: false,
            looked_at: clock::now(),
        });
        self.ledger.connections.opened += 1;
        self.ledger.connections.open += 1;
        Key { index, generation: self.slots[index].generation }
    }

    /// Counts an ended connection and forgets it.
    pub fn disconnect(&mut self, key: Key, end: End) {
        let Some(slot) = self.slots.get_mut(key.index) else { return };
        if slot.generation != key.generation || slot.connection.take().is_none() {
            return;
        }
        self.free.push(key.index);
        self.ledger.connections.open -= 1;
        match end {
            End::Closed | End::Failed => self.ledger.connections.closed += 1,
            End::Cut | End::Quit | End::LineTooLong => self.ledger.connections.cut += 1,
        }
    }

    /// Returns an extranonce1 that no open connection has.
    fn draw_extranonce1(&mut self) -> Vec<u8> {
        loop {
            self.next_extranonce1 = self.next_extranonce1.wrapping_add(1);
            let mut extranonce1 = vec![0; self.options.extranonce1_size];
            let counter = self.next_extranonce1.to_be_bytes();
            let used = extranonce1.len().min(counter.len());
            let start = extranonce1.len() - used;
            extranonce1[start..].copy_from_slice(&counter[counter.len() - used..]);
            // A counter of three bytes and more does not wrap within the life of a connection.
            let may_repeat = self.options.extranonce1_size < 3;
            if !may_repeat || self.is_free(&extranonce1) || self.ledger.connections.open > 200 {
                return extranonce1;
            }
        }
    }

    fn is_free(&self, extranonce1: &[u8]) -> bool {
        let mut open = self.slots.iter().filter_map(|slot| slot.connection.as_ref());
        open.all(|connection| connection.session.extranonce1 != extranonce1)
    }

    fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(key.index)?;
        slot.connection.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Returns the ledger as of now.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = self.ledger.clone();
        ledger.wire_bytes_in = self.wire_before.0 + self.wire.read.get();
        ledger.wire_bytes_out = self.wire_before.1 + self.wire.written.get();
        ledger
    }

    /// Writes the ledger to its file, so that it survives a kill.
    pub fn save(&self) {
        let Some(file) = &self.ledger_file else { return };
        let Ok(mut text) = serde_json::to_vec(&self.ledger()) else { return };
        text.push(b'\n');
        // A shorter text than before is rare (counts never shrink, the list of pushes is bounded),
        // but would leave a tail of the old text.
        let _ = file.write_all_at(&text, 0).and_then(|()| file.set_len(text.len() as u64));
    }

    /// Makes a job and sends it to every ready connection.
    fn push_job(&mut self) {
        let vardiff = self.options.shares_per_min;
        let now = clock::now();
        let job = self.book.make(clock::epoch_secs());
        self.ledger.jobs += 1;
        let is_clean = job.line.ends_with(b"true]}\n");
        self.ledger.clean_jobs += u64::from(is_clean);
        let at_micros = clock::epoch_micros();
        let mut connections = 0;
        for connection in self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut()) {
            if !connection.has_job {
                continue;
            }
            if let Some(per_min) = vardiff {
                let line = connection.adjust(per_min, now, job.serial);
                send(&mut connection.port, &line, &mut self.ledger.traffic);
            }
            send(&mut connection.port, &job.line, &mut self.ledger.traffic);
            connections += 1;
        }
        let took_micros = clock::epoch_micros() - at_micros;
        self.ledger.push(Push { at_micros, connections, took_micros });
        self.save();
    }

    fn begin_block(&mut self, prev_hash: Option<[u8; 32]>) {
        self.book.begin_block(prev_hash);
        self.push_job();
    }

    /// Sets another difficulty for all connections, from the next job on.
    fn ask(&mut self, difficulty: Difficulty) {
        self.difficulty = difficulty;
        let serial = self.book.newest().map_or(0, |job| job.serial) + 1;
        let line = difficulty_line(difficulty);
        for connection in self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut()) {
            if connection.has_job {
                connection.session.ask(difficulty, serial);
                send(&mut connection.port, &line, &mut self.ledger.traffic);
            }
        }
        self.push_job();
    }

    /// Sends every supporting connection another extranonce1, then a clean job.
    fn change_extranonce(&mut self) {
        for index in 0..self.slots.len() {
            let extranonce1 = self.draw_extranonce1();
            let size = self.options.extranonce2_size;
            let Some(connection) = &mut self.slots[index].connection else { continue };
            if !connection.takes_extranonce || !connection.session.is_subscribed {
                continue;
            }
            let line = format!(
                "{{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"{}\",{size}]}}\n",
                hex::text(&extranonce1),
            );
            connection.session.extranonce1 = extranonce1;
            send(&mut connection.port, line.as_bytes(), &mut self.ledger.traffic);
        }
        self.begin_block(None);
    }

    fn broadcast(&mut self, line: &[u8]) {
        for connection in self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut()) {
            send(&mut connection.port, line, &mut self.ledger.traffic);
        }
    }

    /// Cuts every connection.
    pub fn cut_all(&mut self) {
        for connection in self.slots.iter_mut().filter_map(|slot| slot.connection.as_mut()) {
            connection.port.cut();
        }
    }

    /// Becomes another pool on the same address: other sizes, other jobs, no memory of the old.
    pub fn change(&mut self, change: Change) {
        let options = &mut self.options;
        options.seed = options.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        options.extranonce1_size = change.extranonce1_size.unwrap_or(options.extranonce1_size);
        options.extranonce2_size = change.extranonce2_size.unwrap_or(options.extranonce2_size);
        options.version_mask = change.version_mask.unwrap_or(options.version_mask);
        self.next_extranonce1 = options.seed.rotate_left(32);
        self.book = JobBook::new(plan(&self.options), self.options.seed);
        self.book.make(clock::epoch_secs());
        self.ledger.starts += 1;
    }

    /// Executes the commands that do not concern the listener.
    pub fn obey(&mut self, command: Command) {
        match command {
            Command::Job => self.push_job(),
            Command::Block => self.begin_block(None),
            Command::Ask(difficulty) => {
                if let Ok(difficulty) = Difficulty::new(difficulty) {
                    self.ask(difficulty);
                }
            }
            Command::ChangeExtranonce => self.change_extranonce(),
            Command::Reconnect => self.broadcast(RECONNECT),
            Command::CutAll => self.cut_all(),
            Command::Ledger(answer) => {
                let _ = answer.send(self.ledger());
            }
            Command::Down | Command::Up(_) | Command::Stop => {}
        }
    }

    fn handle_request(
        &mut self,
        key: Key,
        id: Id<'_>,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Quit> {
        match request {
            Request::Submit(submit) => self.handle_submit(key, id, submit, out),
            Request::Configure(configure) => self.handle_configure(key, id, configure, out)?,
            Request::Subscribe(subscribe) => {
                let session_id = subscribe.session_id.and_then(|text| text.plain());
                self.handle_subscribe(key, id, session_id, out)?;
            }
            Request::Authorize(authorize) => {
                let worker = authorize.worker.as_raw();
                let connection = self.connection(key).ok_or(Quit)?;
                if connection.session.authorize(worker) {
                    self.ledger.authorized += 1;
                    answer_true(id, out);
                } else {
                    answer_error(id, 24, "too many workers", out);
                }
            }
            Request::ExtranonceSubscribe => {
                self.connection(key).ok_or(Quit)?.takes_extranonce = true;
                answer_true(id, out);
            }
            Request::SuggestDifficulty(_) | Request::SuggestTarget(_) | Request::Ping => {
                answer_true(id, out);
            }
            Request::Response => {}
            _ => answer_error(id, 20, "method not found", out),
        }
        self.greet(key, out);
        self.save();
        Ok(())
    }

    fn handle_configure(
        &mut self,
        key: Key,
        id: Id<'_>,
        configure: &Configure,
        out: &mut Vec<u8>,
    ) -> Result<(), Quit> {
        let offered = self.options.version_mask;
        let connection = self.connection(key).ok_or(Quit)?;
        let mut results = Vec::new();
        if let Some(rolling) = &configure.version_rolling {
            let mask = rolling.mask & offered;
            connection.session.version_mask = mask;
            if mask == 0 {
                results.push("\"version-rolling\":false".to_owned());
            } else {
                let mask = format!("\"version-rolling.mask\":\"{mask:08x}\"");
                results.push(format!("\"version-rolling\":true,{mask}"));
            }
        }
        if configure.minimum_difficulty.is_some() {
            results.push("\"minimum-difficulty\":false".to_owned());
        }
        if configure.subscribe_extranonce {
            connection.takes_extranonce = true;
            results.push("\"subscribe-extranonce\":true".to_owned());
        }
        let result = results.join(",");
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(id.as_raw());
        out.extend_from_slice(format!(",\"result\":{{{result}}},\"error\":null}}\n").as_bytes());
        Ok(())
    }

    fn handle_subscribe(
        &mut self,
        key: Key,
        id: Id<'_>,
        session_id: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), Quit> {
        let wanted = session_id.filter(|_| self.options.resume).and_then(|text| {
            hex::read(text.as_bytes()).filter(|e1| e1.len() == self.options.extranonce1_size)
        });
        let resumed = wanted.filter(|extranonce1| self.is_free(extranonce1));
        let size = self.options.extranonce2_size;
        let session = &mut self.connection(key).ok_or(Quit)?.session;
        if let Some(extranonce1) = resumed {
            session.extranonce1 = extranonce1;
            session.is_resumed = true;
        }
        session.is_subscribed = true;
        let extranonce1 = hex::text(&session.extranonce1);
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(id.as_raw());
        let result = format!(
            ",\"result\":[[[\"mining.set_difficulty\",\"{extranonce1}\"],\
             [\"mining.notify\",\"{extranonce1}\"]],\"{extranonce1}\",{size}],\"error\":null}}\n"
        );
        out.extend_from_slice(result.as_bytes());
        Ok(())
    }

    fn handle_submit(&mut self, key: Key, id: Id<'_>, submit: &Submit<'_>, out: &mut Vec<u8>) {
        let Self { slots, book, coinbase, ledger, options, .. } = self;
        let Some(connection) = slots.get_mut(key.index).and_then(|slot| slot.connection.as_mut())
        else {
            return;
        };
        ledger.submitted += 1;
        let size = options.extranonce2_size;
        let mut block = None;
        match connection.session.judge(submit, size, book, coinbase) {
            Ok(accepted) => {
                ledger.accepted += 1;
                ledger.accepted_difficulty += accepted.difficulty;
                block = accepted.block;
                answer_true(id, out);
            }
            Err(reason) => refuse(ledger, reason, id, out),
        }
        if block.is_some() {
            // The finder gets the answer to its share before the next block's job.
            self.flush(key, out);
            self.ledger.blocks += 1;
            self.begin_block(block);
        }
    }

    /// Sends answers before the next push.
    fn flush(&mut self, key: Key, out: &mut Vec<u8>) {
        let traffic = &mut self.ledger.traffic;
        traffic.bytes_out += out.len() as u64;
        traffic.lines_out += out.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(connection) = self.connection(key) {
            connection.port.send(out);
        }
        out.clear();
    }

    /// Sends the difficulty and a job to a connection that has just become ready for them.
    fn greet(&mut self, key: Key, out: &mut Vec<u8>) {
        let difficulty = self.difficulty;
        let Self { slots, book, .. } = self;
        let Some(connection) = slots.get_mut(key.index).and_then(|slot| slot.connection.as_mut())
        else {
            return;
        };
        if connection.has_job || !connection.session.is_ready() {
            return;
        }
        let Some(job) = book.newest() else { return };
        connection.has_job = true;
        let from = if connection.session.is_resumed { 0 } else { job.serial };
        connection.session.ask(difficulty, from);
        out.extend_from_slice(&difficulty_line(difficulty));
        out.extend_from_slice(&job.line);
    }
}

impl Connection {
    /// Doubles or halves the difficulty towards `per_min` shares a minute; returns the line that
    /// says so, or nothing.
    fn adjust(&mut self, per_min: f64, now: Instant, next_serial: u64) -> Vec<u8> {
        let elapsed = now.duration_since(self.looked_at);
        let Some(difficulty) = self.session.difficulty().filter(|_| elapsed >= VARDIFF_EVERY)
        else {
            return Vec::new();
        };
        let wanted = per_min * elapsed.as_secs_f64() / 60.0;
        let step = (f64::from(self.session.shares_since).max(0.5) / wanted).log2().round();
        self.looked_at = now;
        self.session.shares_since = 0;
        let step = step.clamp(-VARDIFF_STEP_MAX, VARDIFF_STEP_MAX);
        let Ok(wanted) = Difficulty::new(difficulty * step.exp2()) else { return Vec::new() };
        if step == 0.0 {
            return Vec::new();
        }
        self.session.ask(wanted, next_serial);
        difficulty_line(wanted)
    }
}

impl Table for Server {
    fn port(&mut self, key: Key) -> Option<&mut Port> {
        self.connection(key).map(|connection| &mut connection.port)
    }

    fn traffic(&mut self) -> &mut Traffic {
        &mut self.ledger.traffic
    }

    fn handle_line(&mut self, key: Key, line: &[u8], out: &mut Vec<u8>) -> Result<(), Quit> {
        match client::parse(line) {
            Ok(ClientLine { id, request }) => self.handle_request(key, id, &request, out),
            Err(error) => {
                if is_submit(error.kind) {
                    self.ledger.submitted += 1;
                    refuse(&mut self.ledger, Reason::Malformed, error.id, out);
                } else {
                    answer_error(error.id, 20, "malformed request", out);
                }
                Ok(())
            }
        }
    }
}

/// Returns `true` if a line was intended as a share.
const fn is_submit(error: ParseError) -> bool {
    match error {
        ParseError::NotAnArray { method }
        | ParseError::TooFewParams { method, .. }
        | ParseError::Params { method, .. }
        | ParseError::Hex { method, .. } => matches!(method, Method::Submit),
        _ => false,
    }
}

fn refuse(ledger: &mut Ledger, reason: Reason, id: Id<'_>, out: &mut Vec<u8>) {
    *reason.counter(&mut ledger.rejected) += 1;
    let (code, text) = reason.answer();
    answer_error(id, code, text, out);
}

fn send(port: &mut Port, line: &[u8], traffic: &mut Traffic) {
    if !line.is_empty() {
        traffic.bytes_out += line.len() as u64;
        traffic.lines_out += 1;
        port.send(line);
    }
}

fn answer_true(id: Id<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_raw());
    out.extend_from_slice(b",\"result\":true,\"error\":null}\n");
}

fn answer_error(id: Id<'_>, code: u8, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.as_raw());
    let rest = format!(",\"result\":null,\"error\":[{code},\"{text}\",null]}}\n");
    out.extend_from_slice(rest.as_bytes());
}

fn difficulty_line(difficulty: Difficulty) -> Vec<u8> {
    let difficulty = difficulty.as_f64();
    format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{difficulty}]}}\n")
        .into_bytes()
}

fn difficulty_of(value: f64) -> io::Result<Difficulty> {
    let wrong = || format!("difficulty: got {value}, allowed above 0");
    Difficulty::new(value).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, wrong()))
}

const fn plan(options: &Options) -> Plan {
    Plan {
        branches: options.branches,
        coinbase_bytes: options.coinbase_bytes,
        extranonce_bytes: options.extranonce1_size + options.extranonce2_size,
        nbits: options.nbits,
    }
}
