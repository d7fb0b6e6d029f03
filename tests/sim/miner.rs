//! A miner: uses its firmware's requests, really hashes, and keeps its own record of the truth.
//!
//! All its knowledge comes from the gateway's lines. Each share carries the required verdict of the
//! gateway ([`Truth`]), computed by the simulation's own arithmetic.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::firmware::{Counting, Rolling};
use crate::hashing::{Hash, Header, Parts, merkle_root, words_reversed};
use crate::json::{elements, hex, message, unhex, unhex_array, unquoted};
use crate::plan::{Manners, MinerPlan, SECOND};
use crate::rng::Rng;
use crate::trace::{broken, hold};

/// A sent line, and its required answer.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The id as JSON text.
    pub id: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// No answer.
    Silent,
    /// Any answer.
    Request,
    /// Any answer, possibly the pool's.
    Authorize,
    /// A refusal.
    Refused,
    /// A verdict.
    Share(Share),
}

/// A submit.
#[derive(Clone, Debug)]
pub struct Share {
    /// The miner.
    pub by: usize,
    /// The key of its hash; 0 without a hash.
    pub key: u64,
    /// Its miner's difficulty.
    pub told: f64,
    /// The difficulty of its hash.
    pub difficulty: f64,
    /// The block hash again, for the network's target.
    pub is_block: bool,
    pub truth: Truth,
    /// The miner's job id.
    pub serial: u32,
    /// The origin of the job.
    pub origin: Origin,
    /// What was hashed, where its bits may be read with another mask.
    rolled: Option<Rolled>,
}

/// A header with version bits.
#[derive(Clone)]
struct Rolled {
    work: Rc<Work>,
    root: [u8; 32],
    ntime: u32,
    bits: u32,
    nonce: u32,
}

impl std::fmt::Debug for Rolled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x} of {:08x}", self.bits, self.work.mask)
    }
}

impl Share {
    /// The share of a miner that was told `mask` last. A submit does not say with which mask its
    /// bits are to be read: where it is too light with that of its job, it may be good with the
    /// newest, which is in force for jobs that are out already (BIP-0310). That is as much work,
    /// so it may be taken, and must be then for all else that it is: new, of its job's pool, and
    /// with bits that this pool's judge reads as they were hashed.
    pub fn read_with(&self, mask: u32) -> Option<Self> {
        let Rolled { work, root, ntime, bits, nonce } = self.rolled.as_ref()?;
        let is_light = self.truth == Truth::Wrong(&[23]);
        if !is_light || mask == work.mask || bits & !mask != 0 {
            return None;
        }
        let version = work.parts.version & !mask | bits;
        let hash = Header::new(&work.parts, root, version, *ntime).hash(*nonce);
        let (difficulty, is_block) = (hash.difficulty(), hash.is_block(work.parts.nbits));
        let is_enough = difficulty >= work.difficulty || is_block;
        let other = Self { key: hash.key(), difficulty, is_block, ..self.clone() };
        is_enough.then_some(Self { truth: Truth::Valid, ..other })
    }
}

/// A job of a pool's session: the pool, the job's number, the session's extranonce1.
pub type Origin = (u8, u32, u64);

/// The correct verdict on a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    Valid,
    /// One of these codes.
    Wrong(&'static [i64]),
}

/// A job in the miner's memory.
#[derive(Clone, Debug)]
pub struct Work {
    pub serial: u32,
    id: String,
    parts: Parts,
    difficulty: f64,
    mask: u32,
    pub origin: Origin,
}

/// A share found for a job, to be repeated.
#[derive(Clone, Debug)]
struct Found {
    serial: u32,
    roll: Vec<u8>,
    ntime: u32,
    bits: Option<u32>,
    nonce: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Handshake,
    Configure,
    Subscribe,
    Authorize,
    Share,
    Other,
}

pub struct Miner {
    pub index: usize,
    pub plan: MinerPlan,
    pub rng: Rng,
    pub conn: Option<usize>,
    /// Counts connections; events planned for an earlier one are void.
    pub generation: u32,
    /// The faults have stopped: the miner is honest.
    pub reformed: bool,
    /// The gateway refused it, as no id was free.
    worker: String,
    inbox: Vec<u8>,
    step: usize,
    next_id: u64,
    waiting: VecDeque<(String, Kind)>,
    extranonce1: Option<Vec<u8>>,
    size: usize,
    authorized: bool,
    difficulty: f64,
    mask: u32,
    jobs: VecDeque<Rc<Work>>,
    roll: u64,
    nonce: u32,
    last: Option<(String, Sent)>,
    /// A duplicator's found shares, newest last, including earlier connections.
    ring: VecDeque<Found>,
    /// Index of the next repeat.
    again: usize,
    pub verdicts: u64,
    shares: u64,
    told_any: bool,
}

type Lines = Vec<(String, Sent)>;

impl Miner {
    pub fn new(index: usize, plan: MinerPlan, rng: Rng) -> Self {
        Self {
            index,
            worker: worker(index),
            plan,
            rng,
            conn: None,
            generation: 0,
            reformed: false,
            inbox: Vec::new(),
            step: 0,
            next_id: 0,
            waiting: VecDeque::new(),
            extranonce1: None,
            size: 0,
            authorized: false,
            difficulty: 1.0,
            mask: 0,
            jobs: VecDeque::new(),
            roll: 0,
            nonce: index as u32 * 0x0100_0000,
            last: None,
            ring: VecDeque::new(),
            again: 0,
            verdicts: 0,
            shares: 0,
            told_any: false,
        }
    }

    pub fn manners(&self) -> Manners {
        if self.reformed { Manners::Honest } else { self.plan.manners }
    }

    pub fn newest(&self) -> Option<&Work> {
        self.jobs.back().map(Rc::as_ref)
    }

    /// Whether a share could be found at all: difficulties that no hash reaches exist.
    pub fn can_share(&self) -> bool {
        self.jobs.back().is_some_and(|work| work.difficulty < 1e-8)
    }

    /// Restarts on a fresh connection; returns its first lines.
    pub fn connected(&mut self, conn: usize) -> Lines {
        self.conn = Some(conn);
        self.generation += 1;
        self.inbox.clear();
        self.step = 0;
        self.next_id = self.plan.firmware.first_id;
        self.waiting.clear();
        self.extranonce1 = None;
        self.authorized = false;
        self.difficulty = 1.0;
        self.mask = 0;
        self.jobs.clear();
        self.last = None;
        self.told_any = false;
        let mut lines = Lines::new();
        match self.manners() {
            Manners::Silent if self.rng.once_in(2) => {}
            Manners::Slow => {}
            Manners::Noise => {
                let noise = *self.rng.pick(&[
                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                    "\u{16}\u{3}\u{1}\u{2}",
                    "SSH-2.0-Go\r\n",
                    "{\"id\":1,\"method\":\n{\"id\":2}\n[]\n{}\n{\"method\":7}\n",
                    "{}\n\n\r\n{{{{{{{{{{{{{{{{{{{{{\n",
                ]);
                // What is no line of a miner is told nothing that could be matched.
                lines.push((noise.to_owned(), Sent { id: String::new(), what: What::Silent }));
            }
            _ if self.plan.firmware.together => while self.next_step(&mut lines) {},
            _ => {
                self.next_step(&mut lines);
            }
        }
        lines
    }

    pub fn gone(&mut self) {
        self.conn = None;
        self.generation += 1;
        self.jobs.clear();
    }

    /// Whether the next step of a slow handshake is due.
    pub fn is_in_handshake(&self) -> bool {
        self.step < self.plan.firmware.handshake.len()
    }

    /// Sends the next request of the handshake; `false` after the last.
    pub fn next_step(&mut self, lines: &mut Lines) -> bool {
        let Some(text) = self.plan.firmware.handshake.get(self.step) else { return false };
        self.step += 1;
        let id = self.next_id.to_string();
        if text.contains("{i}") {
            self.next_id += 1;
        }
        let suggestion = "0.0000000005";
        let text = text.replace("{i}", &id).replace("{w}", &self.worker).replace("{s}", suggestion);
        let id = message(&text).map_or(String::new(), |message| message.id.to_owned());
        let has = |word: &str| text.contains(word);
        let kind = if has("mining.configure") {
            Kind::Configure
        } else if has("mining.subscribe") {
            Kind::Subscribe
        } else if has("mining.authorize") {
            Kind::Authorize
        } else {
            Kind::Handshake
        };
        let what = match kind {
            _ if id == "null" => What::Silent,
            Kind::Authorize => What::Authorize,
            _ => What::Request,
        };
        let is_silent = id == "null";
        self.say(text, id, what, kind, lines);
        // Nothing will be heard of it, so the next is due at once.
        if is_silent && !self.plan.firmware.together {
            return self.next_step(lines);
        }
        true
    }

    fn say(&mut self, text: String, id: String, what: What, kind: Kind, lines: &mut Lines) {
        if !matches!(what, What::Silent) {
            self.waiting.push_back((id.clone(), kind));
        }
        let end = if self.plan.firmware.carriage_return { "\r\n" } else { "\n" };
        lines.push((text + end, Sent { id, what }));
    }

    /// Handles bytes and returns its answers.
    pub fn hear(&mut self, bytes: &[u8]) -> Lines {
        let mut lines = Lines::new();
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = inbox[from..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&inbox[from..from + end]).unwrap_or("");
            self.hear_line(line, &mut lines);
            from += end + 1;
        }
        inbox.drain(..from);
        self.inbox = inbox;
        lines
    }

    fn hear_line(&mut self, line: &str, lines: &mut Lines) {
        if self.manners() == Manners::Noise {
            return;
        }
        let Some(message) = message(line) else {
            broken("I8", format!("miner {} is sent what is no JSON: {line}", self.index))
        };
        match message.method {
            Some("mining.notify") => self.hear_job(message.params, lines),
            Some("mining.set_difficulty") => {
                let number = elements(message.params).first().and_then(|text| text.parse().ok());
                let Some(number) = number else { broken("I5", format!("no difficulty: {line}")) };
                self.difficulty = number;
            }
            Some("mining.set_version_mask") => {
                self.mask = mask_of(elements(message.params)[0]);
            }
            Some(_) => broken("I7", format!("miner {} is told {line}", self.index)),
            None => self.hear_answer(message.id, message.result, line, lines),
        }
    }

    fn hear_answer(&mut self, id: &str, result: &str, line: &str, lines: &mut Lines) {
        let Some(at) = self.waiting.iter().position(|(known, _)| known == id) else {
            // Lines that are too long are answered under no id.
            hold!("I1", id == "null", "miner {}: an answer nobody waits for: {line}", self.index);
            return;
        };
        let Some((_, kind)) = self.waiting.remove(at) else { return };
        match kind {
            Kind::Configure => {
                if let Some(at) = result.find("version-rolling.mask\":") {
                    self.mask = mask_of(&result[at + 22..at + 32]);
                    if let Some(work) = self.jobs.back_mut() {
                        Rc::make_mut(work).mask = self.mask;
                    }
                }
            }
            Kind::Subscribe if result.starts_with('[') => {
                let parts = elements(result);
                let extranonce1 = unquoted(parts[parts.len() - 2]).and_then(unhex);
                let size = parts[parts.len() - 1].parse().unwrap_or(0);
                hold!("I4", (2..=8).contains(&size), "extranonce2 of {size} bytes");
                if let Some(before) = &self.extranonce1 {
                    let same = Some(before) == extranonce1.as_ref() && self.size == size;
                    hold!("I4", same, "miner {}: another extranonce1: {line}", self.index);
                }
                self.extranonce1 = extranonce1;
                self.size = size;
            }
            Kind::Authorize => self.authorized |= result == "true",
            Kind::Share => self.verdicts += 1,
            _ => {}
        }
        let in_turn =
            matches!(kind, Kind::Configure | Kind::Subscribe | Kind::Authorize | Kind::Handshake);
        if in_turn && !self.plan.firmware.together && self.manners() != Manners::Slow {
            self.next_step(lines);
        }
    }

    fn hear_job(&mut self, params: &str, lines: &mut Lines) {
        hold!(
            "I5",
            self.extranonce1.is_some(),
            "miner {}: a job before its extranonce1",
            self.index
        );
        let params = elements(params);
        hold!("I5", params.len() == 9, "a notify of {} params", params.len());
        let Some(work) = self.read_job(&params) else {
            broken("I5", format!("miner {}: a job that cannot be read: {params:?}", self.index))
        };
        let is_clean = params[8] == "true";
        if is_clean {
            self.jobs.clear();
        }
        if let Some(before) = self.jobs.back() {
            let news = work.serial > before.serial;
            hold!("I5", news, "job {:x} after job {:x}", work.serial, before.serial);
        }
        if self.jobs.len() >= 3 {
            self.jobs.pop_front();
        }
        self.jobs.push_back(Rc::new(work));
        match self.plan.firmware.counting {
            Counting::Up if !is_clean => {}
            Counting::Random => {}
            Counting::Up | Counting::Anew => self.roll = 0,
        }
        if let (true, Some(text)) = (is_clean, self.plan.firmware.health_check)
            && let Some(message) = message(text)
        {
            self.say(text.to_owned(), message.id.to_owned(), What::Refused, Kind::Other, lines);
        }
    }

    fn read_job(&self, params: &[&str]) -> Option<Work> {
        let id = unquoted(params[0])?;
        let number = |text: &str| u32::from_str_radix(unquoted(text)?, 16).ok();
        let hash = |text: &str| unhex_array::<32>(unquoted(text)?);
        Some(Work {
            serial: u32::from_str_radix(id, 16).ok()?,
            id: id.to_owned(),
            difficulty: self.difficulty,
            mask: self.mask,
            origin: origin(params[2], params[3])?,
            parts: Parts {
                coinb1: unhex(unquoted(params[2])?)?,
                coinb2: unhex(unquoted(params[3])?)?,
                branches: elements(params[4]).into_iter().map(hash).collect::<Option<_>>()?,
                prev_hash: words_reversed(hash(params[1])?),
                version: number(params[5])?,
                nbits: number(params[6])?,
                ntime: number(params[7])?,
            },
        })
    }

    /// The mean time to its next share.
    pub fn pace(&self) -> u64 {
        let difficulty = self.jobs.back().map_or(1e-9, |work| work.difficulty);
        let seconds = difficulty * 4_294_967_296.0 / self.plan.rate;
        ((seconds * 1e6) as u64).clamp(SECOND, 20 * SECOND)
    }

    /// Performs its due action.
    pub fn act(&mut self) -> Lines {
        let mut lines = Lines::new();
        if self.manners() == Manners::Slow && self.is_in_handshake() {
            self.next_step(&mut lines);
            return lines;
        }
        match self.manners() {
            Manners::Silent | Manners::Noise => {}
            Manners::Flooder => self.flood(&mut lines),
            Manners::Liar => {
                for _ in 0..self.rng.within(1, 6) {
                    self.lie(&mut lines);
                }
            }
            Manners::Duplicator => {
                self.share(0.0, &mut lines);
                if let Some((line, sent)) = self.last.clone() {
                    for _ in 0..self.rng.within(1, 3) {
                        // The same share in another spelling is the same share.
                        let line = if self.rng.once_in(2) {
                            line.replace(", ", " ,\t")
                        } else {
                            line.clone()
                        };
                        self.waiting.push_back((sent.id.clone(), Kind::Share));
                        lines.push((line, sent.clone()));
                    }
                }
                for _ in 0..self.ring.len().min(AGAIN_MAX) {
                    self.send_again(&mut lines);
                }
            }
            Manners::Honest | Manners::Slow | Manners::NonReader => {
                self.share(0.0, &mut lines);
            }
        }
        lines
    }

    /// Finds a share for one of its jobs that meets the job's difficulty and `least`, and submits
    /// it. The number of hashes is bounded, so it may find none.
    pub fn share(&mut self, least: f64, lines: &mut Lines) -> bool {
        if !self.authorized || self.jobs.is_empty() {
            return false;
        }
        // Now and then it was found for the job before.
        let late = least == 0.0 && self.jobs.len() > 1 && self.rng.once_in(5);
        let work = self.jobs[self.jobs.len() - if late { 2 } else { 1 }].clone();
        let (size, extranonce1) = (self.size, self.extranonce1.clone().unwrap_or_default());
        let value = match self.plan.firmware.counting {
            Counting::Random => self.rng.bits(),
            Counting::Up | Counting::Anew => self.roll,
        };
        self.roll += 1;
        let roll = value.to_be_bytes()[8 - size..].to_vec();
        let bits = match self.plan.firmware.rolling {
            Rolling::Never => None,
            Rolling::Idle => Some(0),
            Rolling::Forgets if self.rng.once_in(3) => None,
            Rolling::Always | Rolling::Forgets => {
                (work.mask != 0).then(|| self.rng.bits() as u32 & work.mask)
            }
        };
        let version =
            bits.map_or(work.parts.version, |bits| work.parts.version & !work.mask | bits);
        let ntime = work.parts.ntime + self.rng.below(8) as u32;
        let root = merkle_root(&work.parts, &[&extranonce1, &roll]);
        let header = Header::new(&work.parts, &root, version, ntime);
        let wanted = work.difficulty.max(least);
        for _ in 0..256 {
            self.nonce = self.nonce.wrapping_add(1);
            let hash = header.hash(self.nonce);
            if hash.difficulty() >= wanted {
                let (serial, nonce) = (work.serial, self.nonce);
                self.remember(Found { serial, roll: roll.clone(), ntime, bits, nonce });
                self.submit(&work, &roll, ntime, bits, Some((hash, Truth::Valid)), lines);
                return true;
            }
        }
        false
    }

    fn remember(&mut self, found: Found) {
        if self.manners() != Manners::Duplicator {
            return;
        }
        if self.ring.len() >= self.plan.ring {
            self.ring.pop_front();
        }
        self.ring.push_back(found);
    }

    /// Repeats the next share of its ring, for every held job with that serial or a later one: the
    /// same header may be valid again for a renewed job. On another connection the header differs.
    fn send_again(&mut self, lines: &mut Lines) {
        self.again += 1;
        let at = self.again % self.ring.len();
        let Found { serial, roll, ntime, bits, nonce } = self.ring[at].clone();
        let jobs = self.jobs.iter().filter(|work| work.serial >= serial);
        let jobs: Vec<_> = jobs.filter(|work| work.parts.ntime <= ntime).cloned().collect();
        if !self.authorized || roll.len() != self.size {
            return;
        }
        for work in jobs {
            let bits = bits.filter(|bits| bits & !work.mask == 0);
            let extranonce1 = self.extranonce1.clone().unwrap_or_default();
            let version =
                bits.map_or(work.parts.version, |bits| work.parts.version & !work.mask | bits);
            let root = merkle_root(&work.parts, &[&extranonce1, &roll]);
            let hash = Header::new(&work.parts, &root, version, ntime).hash(nonce);
            let is_enough = hash.difficulty() >= work.difficulty || hash.is_block(work.parts.nbits);
            let truth = if is_enough { Truth::Valid } else { Truth::Wrong(&[23]) };
            let own = std::mem::replace(&mut self.nonce, nonce);
            self.submit(&work, &roll, ntime, bits, Some((hash, truth)), lines);
            self.nonce = own;
            if let (Some(bits), Some((_, sent))) = (bits, lines.last_mut())
                && let What::Share(share) = &mut sent.what
            {
                share.rolled = Some(Rolled { work, root, ntime, bits, nonce });
                self.last = lines.last().cloned();
            }
        }
    }

    fn submit(
        &mut self,
        work: &Work,
        roll: &[u8],
        ntime: u32,
        bits: Option<u32>,
        found: Option<(Hash, Truth)>,
        lines: &mut Lines,
    ) {
        self.shares += 1;
        let firmware = self.plan.firmware;
        let mut roll = hex(roll);
        let mut truth = found.map_or(Truth::Wrong(&[20]), |(_, truth)| truth);
        if firmware.too_long && !self.reformed && found.is_some() && self.shares.is_multiple_of(3) {
            roll.push_str("00");
            truth = Truth::Wrong(&[20]);
        }
        let id = firmware.submit_id.map_or_else(|| self.next_id.to_string(), str::to_owned);
        self.next_id += 1;
        let bits_text = match (bits, firmware.more_params) {
            (Some(bits), true) => format!(", \"{bits:08x}\", null, 7"),
            (Some(bits), false) => format!(", \"{bits:08x}\""),
            (None, true) => ", null, null".to_owned(),
            (None, false) => String::new(),
        };
        let text = format!(
            "{{\"params\": [\"{}\", \"{}\", \"{roll}\", \"{ntime:08x}\", \"{:08x}\"{bits_text}], \
             \"id\": {id}, \"method\": \"mining.submit\"}}",
            self.worker, work.id, self.nonce
        );
        let hash = found.map(|(hash, _)| hash);
        let share = Share {
            by: self.index,
            told: work.difficulty,
            key: hash.map_or(0, |hash| hash.key()),
            difficulty: hash.map_or(0.0, |hash| hash.difficulty()),
            is_block: hash.is_some_and(|hash| hash.is_block(work.parts.nbits)),
            truth,
            serial: work.serial,
            origin: work.origin,
            rolled: None,
        };
        self.say(text, id, What::Share(share), Kind::Share, lines);
        self.last = lines.last().cloned();
    }

    /// Sends an invalid share.
    fn lie(&mut self, lines: &mut Lines) {
        if !self.authorized || self.jobs.is_empty() {
            return;
        }
        let work = self.jobs[self.jobs.len() - 1].clone();
        let ntime = work.parts.ntime;
        let roll = self.rng.bits().to_be_bytes()[8 - self.size..].to_vec();
        self.nonce = self.nonce.wrapping_add(1);
        match self.rng.below(8) {
            // Whatever the hash is: judged by the same arithmetic as an honest one.
            0 | 1 => {
                let extranonce1 = self.extranonce1.clone().unwrap_or_default();
                let root = merkle_root(&work.parts, &[&extranonce1, &roll]);
                let header = Header::new(&work.parts, &root, work.parts.version, ntime);
                let hash = header.hash(self.nonce);
                // Near the target the two arithmetics may round apart; nobody is that near.
                let is_enough =
                    hash.difficulty() >= work.difficulty || hash.is_block(work.parts.nbits);
                let truth = if is_enough { Truth::Valid } else { Truth::Wrong(&[23]) };
                self.submit(&work, &roll, ntime, None, Some((hash, truth)), lines);
            }
            2 => self.submit(&work, &roll[1..], ntime, None, None, lines),
            3 => self.submit(&work, &roll, ntime.wrapping_sub(1), None, None, lines),
            4 => self.submit(&work, &roll, ntime + 7_001, None, None, lines),
            // Bits that it never asked for; whoever asks for all has none of these.
            5 if self.plan.firmware.asks_for_all() => {}
            5 => self.submit(&work, &roll, ntime, Some(!self.mask | 1), None, lines),
            6 => {
                let id = self.rng.bits() as u32;
                let unknown = Work { id: format!("{id:08x}"), ..work.as_ref().clone() };
                self.submit(&unknown, &roll, ntime, None, None, lines);
            }
            _ => {
                let text = format!(
                    "{{\"id\":{LIE_ID},\"method\":\"mining.submit\",\"params\":[\"another.worker\",\"{}\",\"00\",\"00\",\"00\"]}}",
                    work.id
                );
                let share = Share {
                    by: self.index,
                    told: 0.0,
                    key: 0,
                    difficulty: 0.0,
                    is_block: false,
                    truth: Truth::Wrong(&[24]),
                    serial: work.serial,
                    origin: work.origin,
                    rolled: None,
                };
                self.say(text, LIE_ID.to_string(), What::Share(share), Kind::Share, lines);
            }
        }
    }

    /// Sends many requests at once.
    fn flood(&mut self, lines: &mut Lines) {
        let kind = self.rng.below(5);
        for _ in 0..self.rng.within(5, 40) {
            let id = self.next_id.to_string();
            self.next_id += 1;
            let (text, what) = match kind {
                0 => (
                    format!("{{\"id\":{id},\"method\":\"mining.ping\",\"params\":[]}}"),
                    What::Request,
                ),
                1 => (
                    format!("{{\"id\":{id},\"method\":\"no.such\",\"params\":[1]}}"),
                    What::Refused,
                ),
                2 => (
                    format!(
                        "{{\"id\":{id},\"method\":\"mining.suggest_difficulty\",\"params\":[{id}]}}"
                    ),
                    if id == "0" { What::Refused } else { What::Request },
                ),
                3 => (format!("{{\"id\":{id},\"result\":true,\"error\":null}}"), What::Silent),
                _ => {
                    self.share(0.0, lines);
                    continue;
                }
            };
            self.say(text, id, what, Kind::Other, lines);
        }
    }
}

/// The id of a submit in another's name: none that a miner counts to, so that it is plain which of
/// two submits is answered.
const LIE_ID: u32 = 7_700_077;

/// How much of its ring a duplicator sends at a time.
const AGAIN_MAX: usize = 6;

/// A miner's name; half of them leave the account to the gateway.
pub fn worker(index: usize) -> String {
    if index.is_multiple_of(2) { format!("farm.{index}") } else { format!("rig.{index}") }
}

/// A miner's name at the pool in per-worker mode.
pub fn upstream_name(index: usize) -> String {
    if index.is_multiple_of(2) { worker(index) } else { format!("farm.{}", worker(index)) }
}

/// Reads a job's origin, which pools write into both halves of their coinbases.
pub fn origin(coinb1: &str, coinb2: &str) -> Option<Origin> {
    let number = |text: &str, from: usize, to: usize| {
        u64::from_str_radix(unquoted(text)?.get(2 * from..2 * to)?, 16).ok()
    };
    let pool = number(coinb2, 0, 1)? as u8;
    let session = number(coinb1, COINB1_BYTES, COINB1_BYTES + 4)?;
    Some((pool, number(coinb2, 1, 5)? as u32, session))
}

/// Bytes of every pool's coinb1.
const COINB1_BYTES: usize = 7;

fn mask_of(text: &str) -> u32 {
    match unquoted(text).and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(mask) => mask,
        None => broken("I5", format!("no mask: {text}")),
    }
}
