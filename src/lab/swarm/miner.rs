//! One simulated ASIC: its handshake, its handling of the server's lines, its submits.
//!
//! It handles bytes and knows no socket. Its [`Personality`] defines its requests. Three rules are
//! common to all: answers belong to requests, a difficulty applies from the next job on, and a pool
//! that is silent for 90 s is dead.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use loka_stratum::wire::id::Id;
use loka_stratum::wire::json::Value;
use loka_stratum::wire::server::{self, Outcome, Response, ServerLine};
use loka_stratum::work::difficulty::Difficulty;

use super::report::{Report, count};
use super::search::{Found, Job, JobShelf, Search};
use crate::lab::histogram::Histogram;
use crate::lab::personality::{
    Extranonce2, Form, OnExtranonce, Pace, Personality, Request, Rolling, SubmitId, write,
};
use crate::lab::random::Random;
use crate::lab::{clock, hex};

/// Requests whose answers are awaited; at the bound the miner submits no more.
pub const PENDING_MAX: usize = 64;
/// Silence after which miners leave a pool (cgminer, `stratum_rthread`).
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Shortest line that is looked up among the received jobs, in bytes.
const JOB_LINE_BYTES_MIN: usize = 250;
/// Sizes of extranonce2 that firmware supports (QUIRKS 19).
const EXTRANONCE2_SIZES: std::ops::RangeInclusive<u64> = 2..=8;

/// The reason for a miner's leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// A `client.reconnect`.
    ToldTo,
    /// The line after configure was not its answer, or the answer was not acceptable.
    Configure,
    /// Subscribe was refused or gave no usable extranonce.
    Subscribe,
    /// Authorize was refused.
    Authorize,
    /// No line for 90 s.
    Silence,
    /// The line cannot be read.
    Unreadable,
}

impl Leave {
    /// Returns the name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToldTo => "told to reconnect",
            Self::Configure => "configure answer not accepted",
            Self::Subscribe => "subscribe refused",
            Self::Authorize => "authorize refused",
            Self::Silence => "silence",
            Self::Unreadable => "unreadable line",
        }
    }
}

/// The miners' shared state, borrowed by the active miner.
pub struct Bench<'a> {
    pub report: &'a mut Report,
    pub shelf: &'a mut JobShelf,
    pub latency: &'a mut Histogram,
    pub random: &'a mut Random,
    pub names: &'a Names,
}

/// The values for the placeholders of requests.
#[derive(Clone, Debug)]
pub struct Names {
    pub password: String,
    pub host: String,
    /// The difficulty that miners suggest, as text.
    pub suggest: String,
    /// The same as a target, in hex.
    pub target: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A request of the handshake, by its place there.
    Step(usize),
    Submit,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The id as raw JSON, or as a number if a number was sent.
    id: Result<&'static str, u64>,
    asked: Asked,
    sent: Instant,
}

impl Pending {
    /// Ids must come back in their own type: bmminer drops "3642" for 3642.
    fn is_for(&self, id: Id<'_>) -> bool {
        match self.id {
            Ok(raw) => id.as_raw() == raw.as_bytes(),
            Err(number) => id.as_u64() == Some(number) && !id.as_raw().starts_with(b"\""),
        }
    }
}

/// One simulated ASIC.
#[derive(Debug)]
pub struct Miner {
    pub personality: &'static Personality,
    pub worker: String,
    next_id: u64,
    session_id: Option<String>,
    /// Steps of the handshake that were sent.
    sent_steps: usize,
    pending: VecDeque<Pending>,
    pub pending_submits: usize,
    is_subscribed: bool,
    is_authorized: bool,
    extranonce1: Vec<u8>,
    extranonce2_size: usize,
    next_extranonce: Option<(Vec<u8>, usize)>,
    /// The granted version mask; 0 if none was.
    mask: u32,
    difficulty: Difficulty,
    pub search: Option<Search>,
    last_line: Instant,
    last_job: Option<Instant>,
}

impl Miner {
    /// Switches on a miner that has never been connected.
    pub fn new(personality: &'static Personality, worker: String) -> Self {
        Self {
            personality,
            worker,
            next_id: personality.first_id,
            session_id: None,
            sent_steps: 0,
            pending: VecDeque::new(),
            pending_submits: 0,
            is_subscribed: false,
            is_authorized: false,
            extranonce1: Vec::new(),
            extranonce2_size: 0,
            next_extranonce: None,
            mask: 0,
            // cgminer starts here.
            difficulty: Difficulty::ONE,
            search: None,
            last_line: clock::now(),
            last_job: None,
        }
    }

    /// Begins the handshake on a new connection.
    pub fn connect(&mut self, bench: &mut Bench<'_>, out: &mut Vec<u8>) {
        let next_id =
            if self.personality.ids_survive { self.next_id } else { self.personality.first_id };
        *self = Self {
            next_id,
            session_id: self.session_id.take(),
            ..Self::new(self.personality, std::mem::take(&mut self.worker))
        };
        self.send_steps(bench, out);
    }

    /// Ends the connection; open submits stay without an answer.
    pub fn disconnect(&mut self, report: &mut Report) {
        report.unanswered += self.pending_submits as u64;
        report.pending -= self.pending_submits as u64;
        self.pending.clear();
        self.pending_submits = 0;
        self.search = None;
        self.last_job = None;
    }

    /// Returns `true` if the miner has a job.
    pub const fn is_ready(&self) -> bool {
        self.search.is_some()
    }

    /// Returns `true` if another submit may be sent.
    pub fn may_submit(&self) -> bool {
        self.search.is_some() && self.pending.len() < PENDING_MAX
    }

    /// Leaves a server that was silent for too long.
    ///
    /// # Errors
    ///
    /// The miner leaves.
    pub fn look_at_clock(&self, now: Instant) -> Result<(), Leave> {
        if now.duration_since(self.last_line) > SILENCE_MAX {
            return Err(Leave::Silence);
        }
        Ok(())
    }

    /// Handles one line of the server.
    ///
    /// # Errors
    ///
    /// The miner leaves.
    pub fn handle_line(
        &mut self,
        line: &[u8],
        bench: &mut Bench<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Leave> {
        self.last_line = clock::now();
        if line.len() >= JOB_LINE_BYTES_MIN
            && let Some(job) = bench.shelf.find(line)
        {
            return self.handle_job(job, bench, out);
        }
        let Ok(message) = server::parse(line) else {
            count(&mut bench.report.violations, "unreadable line");
            return Err(Leave::Unreadable);
        };
        if self.personality.reads_one_line
            && self.awaits("mining.configure")
            && !matches!(message, ServerLine::Response(_))
        {
            count(&mut bench.report.violations, "line before the configure answer");
            return Err(Leave::Configure);
        }
        match message {
            ServerLine::Response(response) => self.handle_response(&response, bench, out),
            ServerLine::Notify(notify) => {
                let Some(job) = bench.shelf.add(line, &notify) else {
                    count(&mut bench.report.violations, "unusable job");
                    return Err(Leave::Unreadable);
                };
                self.handle_job(job, bench, out)
            }
            other => self.handle_other(&other, bench, out),
        }
    }

    fn handle_other(
        &mut self,
        message: &ServerLine<'_>,
        bench: &mut Bench<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Leave> {
        match message {
            ServerLine::SetDifficulty(difficulty) => {
                bench.report.difficulties_set += 1;
                // It applies from the next job on (QUIRKS 25).
                match Difficulty::new(*difficulty) {
                    Ok(difficulty) => self.difficulty = difficulty,
                    Err(_) => count(&mut bench.report.violations, "difficulty not above 0"),
                }
            }
            ServerLine::SetExtranonce { extranonce1, extranonce2_size } => {
                bench.report.extranonces_set += 1;
                self.handle_extranonce(extranonce1.as_bytes(), *extranonce2_size);
            }
            ServerLine::SetVersionMask(mask) => {
                bench.report.masks_set += 1;
                if self.mask != 0 {
                    self.mask = *mask;
                    if let Some(search) = &mut self.search {
                        search.set_mask(*mask);
                    }
                }
            }
            ServerLine::Reconnect { .. } => return Err(Leave::ToldTo),
            ServerLine::ShowMessage(_) => bench.report.messages_shown += 1,
            ServerLine::GetVersion { id } => {
                answer(*id, "\"loka lab\"", out);
            }
            ServerLine::Ping { id } => answer(*id, "\"pong\"", out),
            _ => count(&mut bench.report.violations, "unknown method"),
        }
        Ok(())
    }

    fn handle_extranonce(&mut self, extranonce1: &[u8], size: u64) {
        let Some(extranonce1) = hex::read(extranonce1) else { return };
        let next = (extranonce1, usize::try_from(size).unwrap_or(usize::MAX).min(16));
        match self.personality.on_extranonce {
            OnExtranonce::Ignores => {}
            OnExtranonce::WithNextJob => self.next_extranonce = Some(next),
            OnExtranonce::AtOnce => {
                (self.extranonce1, self.extranonce2_size) = next;
                if let Some(search) = &self.search {
                    self.search = Some(self.begin(search.job.clone(), 0));
                }
            }
        }
    }

    fn handle_job(
        &mut self,
        job: Rc<Job>,
        bench: &mut Bench<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Leave> {
        bench.report.jobs += 1;
        bench.report.clean_jobs += u64::from(job.clean);
        if let Some(last) = self.last_job.replace(self.last_line) {
            let gap = self.last_line.duration_since(last).as_millis() as u64;
            bench.report.job_gap_max_ms = bench.report.job_gap_max_ms.max(gap);
        }
        if !self.is_subscribed {
            // Pools send stray lines before the subscribe answer; the miner waits for it.
            count(&mut bench.report.violations, "job before the subscribe answer");
            return Ok(());
        }
        if let Some((extranonce1, size)) = self.next_extranonce.take() {
            (self.extranonce1, self.extranonce2_size) = (extranonce1, size);
        }
        if job.clean
            && let Some(check) = &self.personality.health_check
        {
            self.send(check, Asked::Other, bench, out);
        }
        let start = match self.personality.extranonce2 {
            Extranonce2::RestartsWithEveryJob => 0,
            Extranonce2::Random => bench.random.next(),
            Extranonce2::Counts if job.clean => 0,
            Extranonce2::Counts => self.search.as_ref().map_or(0, |search| search.extranonce2 + 1),
        };
        self.search = Some(self.begin(job, start));
        Ok(())
    }

    fn begin(&self, job: Rc<Job>, extranonce2: u64) -> Search {
        let mask = if self.personality.rolling == Rolling::Idle { 0 } else { self.mask };
        let (extranonce1, size) = (&self.extranonce1, self.extranonce2_size);
        Search::new(job, self.difficulty, extranonce1, size, mask, extranonce2)
    }

    fn handle_response(
        &mut self,
        response: &Response<'_>,
        bench: &mut Bench<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Leave> {
        let Some(at) = self.pending.iter().position(|pending| pending.is_for(response.id)) else {
            count(&mut bench.report.violations, "answer to no request");
            return Ok(());
        };
        let Some(pending) = self.pending.remove(at) else { return Ok(()) };
        match pending.asked {
            Asked::Submit => {
                self.pending_submits -= 1;
                bench.report.pending -= 1;
                bench.latency.record(self.last_line.duration_since(pending.sent));
                match response.outcome() {
                    Outcome::Accepted => bench.report.accepted += 1,
                    Outcome::Refused(no) => {
                        bench.report.reject(no.code.unwrap_or(0), no.reason.as_raw())
                    }
                }
                Ok(())
            }
            Asked::Other => Ok(()),
            Asked::Step(step) => {
                self.handle_step(step, response)?;
                self.send_steps(bench, out);
                Ok(())
            }
        }
    }

    fn handle_step(&mut self, step: usize, response: &Response<'_>) -> Result<(), Leave> {
        match self.personality.handshake[step].method {
            "mining.configure" => self.handle_configured(response),
            "mining.subscribe" => {
                let subscription = response.subscribe().map_err(|_| Leave::Subscribe)?;
                if !EXTRANONCE2_SIZES.contains(&subscription.extranonce2_size) {
                    return Err(Leave::Subscribe);
                }
                self.extranonce1 =
                    hex::read(subscription.extranonce1.as_bytes()).ok_or(Leave::Subscribe)?;
                self.extranonce2_size = subscription.extranonce2_size as usize;
                self.session_id = subscription.session_id.map(|id| id.as_raw().to_owned());
                self.is_subscribed = true;
                Ok(())
            }
            "mining.authorize" => match response.outcome() {
                Outcome::Accepted => {
                    self.is_authorized = true;
                    Ok(())
                }
                Outcome::Refused(_) => Err(Leave::Authorize),
            },
            // The rest may be refused without harm.
            _ => Ok(()),
        }
    }

    fn handle_configured(&mut self, response: &Response<'_>) -> Result<(), Leave> {
        if self.personality.minds_extra_keys
            && let Value::Object(result) = response.result
        {
            let asked = ["version-rolling", "version-rolling.mask"];
            for (key, _) in result.members() {
                if !asked.iter().any(|known| key.eq_decoded(known)) {
                    return Err(Leave::Configure);
                }
            }
        }
        let result = response.configure().unwrap_or_default();
        if result.version_rolling {
            // BIP-0310 makes the mask a must; without one nothing may be rolled.
            self.mask = result.mask.unwrap_or(0);
        } else if self.personality.rolling == Rolling::Needs {
            return Err(Leave::Configure);
        }
        Ok(())
    }

    fn awaits(&self, method: &str) -> bool {
        self.pending.iter().any(|pending| match pending.asked {
            Asked::Step(step) => self.personality.handshake[step].method == method,
            Asked::Submit | Asked::Other => false,
        })
    }

    /// Sends the handshake's next requests.
    fn send_steps(&mut self, bench: &mut Bench<'_>, out: &mut Vec<u8>) {
        let steps = self.personality.handshake;
        while self.sent_steps < steps.len() {
            let step = self.sent_steps;
            let waits = self.pending.iter().any(|it| matches!(it.asked, Asked::Step(_)));
            if waits && self.personality.pace == Pace::OneByOne {
                return;
            }
            self.sent_steps += 1;
            self.send(&steps[step], Asked::Step(step), bench, out);
        }
    }

    fn send(&mut self, request: &Request, asked: Asked, bench: &Bench<'_>, out: &mut Vec<u8>) {
        let id = request.id.ok_or_else(|| self.draw_id());
        let text = id.map_or_else(|number| number.to_string(), str::to_owned);
        let params = self.fill(request.params, bench.names);
        write(self.personality.form, &text, request.method, &params, out);
        out.push(b'\n');
        self.pending.push_back(Pending { id, asked, sent: clock::now() });
    }

    fn fill(&self, params: &str, names: &Names) -> String {
        // Without an earlier session a firmware sends no second param, or a null.
        let session = self.session_id.as_deref().unwrap_or_default();
        let without = if session.is_empty() { ", \"{session}\"" } else { "\u{0}" };
        params
            .replace(without, "")
            .replace("{session}", session)
            .replace("{worker}", &self.worker)
            .replace("{password}", &names.password)
            .replace("{host}", &names.host)
            .replace("{suggest}", &names.suggest)
            .replace("{target}", &names.target)
    }

    const fn draw_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Hashes up to `budget` nonces, which it reduces; appends a submit for the first share.
    /// Returns whether there was one.
    pub fn hash(&mut self, budget: &mut u32, report: &mut Report, out: &mut Vec<u8>) -> bool {
        if !self.may_submit() {
            return false;
        }
        let Some(search) = &mut self.search else { return false };
        if self.personality.rolls_ntime
            && let Some(last_job) = self.last_job
        {
            search.roll_ntime(clock::now().duration_since(last_job).as_secs() as u32);
        }
        let before = *budget;
        let found = search.run(budget);
        report.hashes += u64::from(before - *budget);
        let Some(found) = found else { return false };
        let job = search.job.clone();
        self.submit(&job.id, &found, report, out);
        true
    }

    fn submit(&mut self, job_id: &str, found: &Found, report: &mut Report, out: &mut Vec<u8>) {
        let id = match self.personality.submit_id {
            SubmitId::Running => self.draw_id(),
            SubmitId::Always(id) => id,
        };
        let mut params = Vec::with_capacity(128);
        let form = self.personality.submit_form;
        let comma: &[u8] = if form == Form::Compact { b"\",\"" } else { b"\", \"" };
        params.extend_from_slice(b"[\"");
        params.extend_from_slice(self.worker.as_bytes());
        params.extend_from_slice(comma);
        params.extend_from_slice(job_id.as_bytes());
        params.extend_from_slice(comma);
        hex::push(&found.extranonce2, &mut params);
        for number in [found.ntime, found.nonce] {
            params.extend_from_slice(comma);
            hex::push(&number.to_be_bytes(), &mut params);
        }
        if self.mask != 0 {
            params.extend_from_slice(comma);
            hex::push(&found.bits.to_be_bytes(), &mut params);
        }
        params.extend_from_slice(b"\"]");
        // Only hex, the pool's own job id and the lab's own names are in it.
        let params = String::from_utf8_lossy(&params);
        write(form, itoa(id, &mut [0; 20]), "mining.submit", &params, out);
        out.push(b'\n');
        report.submitted += 1;
        report.pending += 1;
        self.pending_submits += 1;
        self.pending.push_back(Pending { id: Err(id), asked: Asked::Submit, sent: clock::now() });
    }
}

fn answer(id: Id<'_>, result: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\": ");
    out.extend_from_slice(id.as_raw());
    out.extend_from_slice(b", \"result\": ");
    out.extend_from_slice(result.as_bytes());
    out.extend_from_slice(b", \"error\": null}\n");
}

/// Writes a number without a heap allocation.
fn itoa(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return str::from_utf8(&digits[start..]).unwrap_or_default();
        }
    }
}
