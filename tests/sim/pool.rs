//! A pool: sends jobs, judges shares by its own arithmetic, and may be hostile.
//!
//! The judge knows every share of the miners (the world's book). A received share that is in no
//! book was forged on the way (I4).

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use crate::hashing::{Hash, Header, Parts, merkle_root, words_reversed};
use crate::json::{elements, hex, push_hex, unhex, unquoted};
use crate::miner::Origin;
use crate::plan::{Fault, Faults, Illness, PoolPlan};
use crate::rng::Rng;

/// The kind of a pool's line, by the gateway's reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The answer to a submit.
    Answer { id: u32, accepted: bool, code: Option<u8> },
    /// A second answer to a submit.
    Repeated { id: u32 },
    /// It refused a share for the name that it came under.
    NameMinded { id: u32 },
    /// A request to reconnect, to its own host or another.
    Reconnect { same_host: bool },
    /// A refusal of the worker in this authorize request.
    Refused { request: u32 },
    /// Anything else.
    Other,
}

/// A job, with the difficulty and mask in force when a session got it.
#[derive(Clone, Debug)]
pub struct SessionJob {
    id: String,
    pub seq: u32,
    parts: Rc<Parts>,
    extranonce1: Vec<u8>,
    pub difficulty: f64,
    pub ended: bool,
}

/// One connection's session.
#[derive(Clone, Debug)]
pub struct Session {
    extranonce1: Vec<u8>,
    pub n2: u8,
    pub difficulty: f64,
    pub authorized: bool,
    pub subscribed: bool,
    /// Announced by set_extranonce, in force with the next job.
    next: Option<(Vec<u8>, u8)>,
    mask: u32,
    masks: Vec<u32>,
    pub jobs: VecDeque<SessionJob>,
    seen: HashSet<u64>,
    /// Those that it had before the connection was lost and the session resumed.
    seen_before: HashSet<u64>,
    job_number: u32,
    /// It sends nothing more, but keeps the connection.
    pub mute: bool,
    /// It answers no shares any more, but still sends jobs.
    pub deaf: bool,
    /// It is the session of an earlier run.
    is_earlier: bool,
    /// Which of the pool's sessions it is, from 1.
    number: u32,
}

/// The judgement of a submit.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub id: u32,
    pub hash: Hash,
    pub difficulty: f64,
    pub job_difficulty: f64,
    pub seq: u32,
    pub is_block: bool,
    /// It came under the name of the pool's account.
    pub is_login: bool,
}

pub struct Pool {
    pub index: usize,
    pub plan: PoolPlan,
    pub rng: Rng,
    pub down_until: u64,
    pub honest: bool,
    faults: Faults,
    /// The session of a lost connection, if it can be resumed.
    saved: Option<Session>,
    sessions: u32,
    seq: u32,
    height: u32,
    newest: Rc<Parts>,
    pub accepted: u64,
    pub received: u64,
    /// An earlier run's blocks for this pool.
    own_blocks: HashSet<u64>,
    /// The blocks that it has answered.
    pub answered: HashSet<u64>,
    /// The blocks that it has accepted.
    pub taken: HashSet<u64>,
}

/// The extranonce1 of the session in which an earlier run found its blocks.
pub const EARLIER_EXTRANONCE1: [u8; 4] = [0xe0, 1, 0, 1];

/// The time of the first job.
const NTIME: u32 = 0x6842_6000;

impl Session {
    /// The newest job's origin.
    pub fn newest(&self, pool: usize) -> Option<(Origin, f64)> {
        let job = self.jobs.back()?;
        let mut session = [0; 8];
        session[4..].copy_from_slice(&job.extranonce1[..4]);
        Some(((pool as u8, job.seq, u64::from_be_bytes(session)), job.difficulty))
    }
}

impl Pool {
    pub fn new(index: usize, plan: PoolPlan, faults: Faults, rng: Rng) -> Self {
        let honest = !plan.hostile;
        let mut pool = Self {
            index,
            plan,
            rng,
            down_until: 0,
            honest,
            faults,
            saved: None,
            sessions: 0,
            seq: 0,
            height: 1,
            newest: Rc::new(Parts::default()),
            accepted: 0,
            received: 0,
            own_blocks: HashSet::new(),
            answered: HashSet::new(),
            taken: HashSet::new(),
        };
        pool.next_job(0);
        pool
    }

    fn does(&mut self, fault: Fault, once_in: u64) -> bool {
        !self.honest && self.faults.has(fault) && self.rng.once_in(once_in)
    }

    /// What it does with every share of a session.
    fn sickness(&self, session: &Session) -> Option<Illness> {
        let is_forgotten = session.number == 1;
        let lasts = |ill: &Illness| !matches!(ill, Illness::Refuses(24 | 25)) || is_forgotten;
        self.plan.sick.filter(|ill| !self.honest && lasts(ill))
    }

    fn leaves_unanswered(&mut self, session: &Session) -> bool {
        match self.sickness(session) {
            Some(Illness::AnswersNone) => true,
            Some(Illness::AnswersSome(one_in)) => !self.rng.once_in(one_in),
            _ => false,
        }
    }

    /// Becomes honest; drops a session that could not be used.
    pub fn reform(&mut self) {
        self.honest = true;
        self.saved = None;
    }

    /// A session for a new connection.
    pub fn open(&mut self) -> Session {
        let mut n2 = self.plan.n2;
        if self.does(Fault::NewSize, 3) {
            n2 = *self.rng.pick(&[0, 2, 3, 4, 5, 8, 16, 17]);
        }
        let resumes = self.plan.resumes && self.plan.sick.is_none();
        if let Some(mut saved) = self.saved.take_if(|_| resumes) {
            saved.authorized = false;
            saved.subscribed = false;
            saved.mute = false;
            saved.deaf = false;
            saved.next = None;
            saved.seen_before = saved.seen.clone();
            return saved;
        }
        let extranonce1 = self.extranonce1();
        Session {
            extranonce1,
            n2,
            difficulty: self.plan.difficulty,
            authorized: false,
            subscribed: false,
            next: None,
            mask: self.plan.mask,
            masks: vec![self.plan.mask],
            jobs: VecDeque::new(),
            seen: HashSet::new(),
            seen_before: HashSet::new(),
            job_number: 0,
            mute: false,
            deaf: false,
            is_earlier: false,
            number: self.sessions,
        }
    }

    /// Adds a block of an earlier run; if the pool resumes sessions, it still has that run's
    /// session.
    pub fn remember(&mut self, block: u64) {
        self.own_blocks.insert(block);
        if self.saved.is_none() && self.plan.resumes {
            let mut session = self.open();
            session.extranonce1 = EARLIER_EXTRANONCE1.to_vec();
            session.n2 = self.plan.n2;
            session.subscribed = true;
            session.is_earlier = true;
            self.saved = Some(session);
        }
    }

    fn extranonce1(&mut self) -> Vec<u8> {
        self.sessions += 1;
        let mut bytes = vec![self.index as u8 + 0xe0, self.rng.bits() as u8];
        bytes.extend_from_slice(&(self.sessions as u16).to_be_bytes());
        bytes.resize(self.plan.extranonce1_len as usize, 0xee);
        bytes
    }

    /// Keeps the session of a lost connection.
    pub fn close(&mut self, session: Session) {
        if session.subscribed && (!self.honest || session.n2 == self.plan.n2) {
            self.saved = Some(session);
        }
    }

    /// Makes the next job; a clean job is on a new block.
    pub fn next_job(&mut self, now: u64) -> bool {
        self.seq += 1;
        let clean = self.seq == 1 || self.rng.once_in(3);
        if clean {
            self.height += 1;
        }
        let mut prev_hash = [self.index as u8; 32];
        prev_hash[..4].copy_from_slice(&self.height.to_be_bytes());
        let mut coinb2 = vec![self.index as u8];
        coinb2.extend_from_slice(&self.seq.to_be_bytes());
        coinb2.extend_from_slice(&[0xff; 8]);
        let branches = (0..self.rng.below(3)).map(|_| [self.rng.bits() as u8; 32]).collect();
        self.newest = Rc::new(Parts {
            coinb1: vec![2, 0, 0, 0, 1, 3, self.height as u8],
            coinb2,
            branches,
            prev_hash,
            version: 0x2000_0000,
            nbits: self.plan.nbits,
            ntime: NTIME + (now / 1_000_000) as u32,
        });
        clean
    }

    /// The line that gives a session the newest job.
    pub fn notify(&mut self, session: &mut Session, clean: bool) -> String {
        if let Some((extranonce1, n2)) = session.next.take() {
            session.jobs.iter_mut().for_each(|job| job.ended = true);
            session.seen.clear();
            (session.extranonce1, session.n2) = (extranonce1, n2);
        }
        if clean {
            session.jobs.iter_mut().for_each(|job| job.ended = true);
        }
        session.job_number += 1;
        let id = if self.plan.reuses_ids {
            if clean {
                session.job_number = 1;
            }
            format!("job {}", session.job_number)
        } else {
            format!("{:x}{:x}", self.index, self.seq as u64 * 1_000_003 + session.job_number as u64)
        };
        let line = notify_line(&id, &self.newest, clean);
        session.jobs.push_back(SessionJob {
            id,
            seq: self.seq,
            parts: self.newest.clone(),
            extranonce1: session.extranonce1.clone(),
            difficulty: session.difficulty,
            ended: false,
        });
        line
    }

    /// Sometimes sends another difficulty.
    pub fn vary(&mut self, session: &mut Session) -> Option<String> {
        if !self.plan.varies || !self.rng.once_in(3) {
            return None;
        }
        let difficulty = *self.rng.pick(&[2.4e-10, 4.7e-10, 1e-9, 2e-9, 4e-9]);
        Some(set_difficulty(session, difficulty))
    }

    /// Sends an honest pool's last line: its own difficulty again.
    pub fn calm(&mut self, session: &mut Session) -> String {
        session.mute = false;
        session.deaf = false;
        set_difficulty(session, self.plan.difficulty)
    }

    /// Whether the pool refuses a name's shares.
    fn refuses_name(&self, name: &str) -> bool {
        let miner = name.rsplit('.').next().and_then(|digits| digits.parse().ok());
        miner.is_some_and(|miner| self.plan.refuses(miner))
    }

    /// Answers a request other than a submit.
    pub fn hear(
        &mut self,
        session: &mut Session,
        method: &str,
        (id, name): (&str, &str),
        now: u64,
    ) -> Vec<(String, Said)> {
        let mut lines = Vec::new();
        if self.does(Fault::SilentHandshake, 4) {
            return lines;
        }
        let mut say = |line: String| lines.push((line, Said::Other));
        match method {
            "mining.configure" if session.mask == 0 => {
                say(format!(
                    "{{\"id\":{id},\"result\":{{\"version-rolling\":false}},\"error\":null}}"
                ));
            }
            "mining.configure" => say(format!(
                "{{\"id\":{id},\"result\":{{\"version-rolling\":true,\"version-rolling.mask\":\"{:08x}\"}},\"error\":null}}",
                session.mask
            )),
            "mining.subscribe" => {
                if self.does(Fault::EarlyNotify, 2) {
                    say("{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}"
                        .to_owned());
                    // The last it hears is what is in force.
                    say(set_difficulty(session, self.plan.difficulty));
                    let clean = self.next_job(now) || session.jobs.iter().all(|job| job.ended);
                    say(self.notify(session, clean));
                }
                session.subscribed = true;
                session.jobs.iter_mut().for_each(|job| {
                    job.ended |= job.parts.prev_hash != self.newest.prev_hash;
                });
                say(format!(
                    "{{\"id\":{id},\"result\":[[[\"mining.set_difficulty\",\"s\"],[\"mining.notify\",\"s\"]],\"{}\",{}],\"error\":null}}",
                    hex(&session.extranonce1),
                    session.n2
                ));
            }
            "mining.authorize" if self.plan.one_name && session.authorized => {}
            "mining.authorize" if name != self.plan.address.user => {
                let takes = !self.refuses_name(name);
                let line = format!("{{\"id\":{id},\"result\":{takes},\"error\":null}}");
                let refused = Said::Refused { request: id.parse().unwrap_or(0) };
                lines.push((line, if takes { Said::Other } else { refused }));
            }
            "mining.authorize" => {
                if self.does(Fault::RefuseAuthorize, 3) {
                    say(format!("{{\"id\":{id},\"result\":false,\"error\":[24,\"no\",null]}}"));
                    return lines;
                }
                session.authorized = true;
                say(format!("{{\"id\":{id},\"result\":true,\"error\":null}}"));
                let difficulty = session.difficulty;
                say(set_difficulty(session, difficulty));
                // A resumed session on the same block has lost nothing.
                let clean = self.next_job(now) || session.jobs.iter().all(|job| job.ended);
                let line = self.notify(session, clean);
                lines.push((line, Said::Other));
            }
            // A third refuses, and a third does not answer.
            "mining.suggest_difficulty" => match self.rng.below(3) {
                0 => {
                    say(format!("{{\"error\":[40,\"unfit, ignore\"],\"id\":{id},\"result\":null}}"))
                }
                1 => say(format!("{{\"id\":{id},\"result\":true,\"error\":null}}")),
                _ => {}
            },
            _ => {}
        }
        lines
    }

    /// Judges a submit; `None` if it matches no share in `is_known`.
    pub fn judge(
        &self,
        session: &Session,
        id: &str,
        params: &str,
        is_known: impl Fn(&Hash) -> bool,
    ) -> Option<Judged> {
        let params = elements(params);
        let text = |at: usize| unquoted(params.get(at)?);
        let number = |at: usize| u32::from_str_radix(text(at)?, 16).ok();
        let (job_id, extranonce2) = (text(1)?, unhex(text(2)?)?);
        let (ntime, nonce) = (number(3)?, number(4)?);
        for job in session.jobs.iter().rev().filter(|job| job.id == job_id) {
            let root = merkle_root(&job.parts, &[&job.extranonce1, &extranonce2]);
            for mask in &session.masks {
                let version = match number(5) {
                    Some(bits) => job.parts.version & !mask | bits & mask,
                    None => job.parts.version,
                };
                let hash = Header::new(&job.parts, &root, version, ntime).hash(nonce);
                if is_known(&hash) {
                    return Some(Judged {
                        is_login: text(0) == Some(self.plan.address.user),
                        id: id.parse().ok()?,
                        hash,
                        difficulty: hash.difficulty(),
                        job_difficulty: job.difficulty,
                        seq: job.seq,
                        is_block: hash.is_block(job.parts.nbits),
                    });
                }
            }
        }
        None
    }

    /// Answers a judged share; each line has its delay in microseconds.
    pub fn answer(&mut self, session: &mut Session, judged: &Judged) -> Vec<(u64, String, Said)> {
        self.received += 1;
        if self.plan.one_name && !judged.is_login {
            let id = judged.id;
            let error = "[20,\"Worker mismatch\",null]";
            let line = format!("{{\"id\":{id},\"result\":null,\"error\":{error}}}");
            return vec![(self.rng.about(20_000), line, Said::NameMinded { id })];
        }
        let job = session.jobs.iter().rev().find(|job| job.seq == judged.seq);
        let key = judged.hash.key();
        let is_new = session.seen.insert(key);
        let is_earlier = session.is_earlier && self.own_blocks.contains(&key);
        let code = if job.is_none_or(|job| job.ended) && !is_earlier {
            Some(21)
        } else if !is_new {
            Some(22)
        } else {
            None
        };
        // A block is taken all the same: what becomes of those is looked at apart.
        let code = match self.sickness(session) {
            Some(Illness::Refuses(code)) if !judged.is_block => Some(code),
            _ => code,
        };
        self.accepted += u64::from(code.is_none());
        if code.is_none() && judged.is_block {
            self.taken.insert(key);
        }
        let id = judged.id;
        // The last form has no code.
        let forms = if self.plan.sick.is_some() { 2 } else { 3 };
        let line = match (code, self.rng.below(forms)) {
            (None, _) => format!("{{\"id\":{id},\"result\":true,\"error\":null}}"),
            (Some(code), 0) => {
                format!("{{\"id\":{id},\"result\":null,\"error\":[{code},\"no\",null]}}")
            }
            (Some(code), 1) => {
                format!(
                    "{{\"id\":{id},\"result\":false,\"error\":{{\"code\":{code},\"message\":\"no\"}}}}"
                )
            }
            (Some(code), _) => {
                let word = if code == 22 { "duplicate" } else { "stale" };
                format!(
                    "{{\"id\":{id},\"result\":false,\"error\":null,\"reject-reason\":\"{word}\"}}"
                )
            }
        };
        // A share that the pool had before its link was lost was taken then.
        let was_taken = code == Some(22) && session.seen_before.contains(&key);
        let code = code.filter(|_| !was_taken);
        let said = Said::Answer { id, accepted: code.is_none(), code };
        let mut lines = Vec::new();
        if session.deaf || self.does(Fault::NoAnswers, 4) || self.leaves_unanswered(session) {
            return lines;
        }
        self.answered.insert(key);
        let mut delay = self.rng.about(20_000);
        if self.does(Fault::LateAnswers, 4) {
            delay += self.rng.within(1, 40) * 1_000_000;
        }
        if self.does(Fault::SlowAnswers, 1) {
            // More come in that time than any queue here holds.
            delay += 1_000_000 + self.rng.within(0, 2_000_000);
        }
        lines.push((delay, line.clone(), said));
        if self.does(Fault::DoubleAnswers, 3) {
            // The second says the opposite, which must change nothing.
            let line = format!("{{\"id\":{id},\"result\":{},\"error\":null}}", code.is_some());
            lines.push((delay + 1_000, line, Said::Repeated { id }));
        }
        lines
    }

    /// Does something that is forbidden to a pool.
    pub fn misbehave(&mut self, session: &mut Session, fault: Fault) -> Vec<(String, Said)> {
        let other = |line: &str| vec![(line.to_owned(), Said::Other)];
        match fault {
            Fault::Garbage => other(self.rng.pick::<&str>(&[
                "{",
                "[]",
                "{\"id\":null}",
                "{\"method\":\"mining.notify\",\"params\":null}",
                "nonsense \u{0}",
                "{\"id\":1e999,\"result\":true}",
                "{\"id\":null,\"method\":\"no.such\",\"params\":[]}",
                "[[[[[[[[[[[[[[[[[[[[",
                "{\"id\":-1,\"result\":true}",
            ])),
            Fault::BadNotify => self.bad_notify(),
            // As public-pool does at each of its difficulty steps; the difficulty stays, so that it
            // is plain which of the two ids a share is judged by.
            Fault::SameWork => {
                let is_newest = |job: &SessionJob| {
                    (job.seq, job.difficulty) == (self.seq, session.difficulty)
                        && job.extranonce1 == session.extranonce1
                        && !job.ended
                };
                if session.next.is_some() || !session.jobs.back().is_some_and(is_newest) {
                    return Vec::new();
                }
                let clean = self.rng.once_in(2);
                vec![(self.notify(session, clean), Said::Other)]
            }
            Fault::SetExtranonce => {
                let extranonce1 = self.extranonce1();
                let n2 = session.n2;
                let line = set_extranonce(&extranonce1, u64::from(n2));
                session.next = Some((extranonce1, n2));
                vec![(line, Said::Other)]
            }
            Fault::BadExtranonce => {
                let size = *self.rng.pick(&[0, 1, 2, 17, 255, 1 << 31, u64::MAX]);
                vec![(set_extranonce(&self.extranonce1(), size), Said::Other)]
            }
            Fault::UnknownAnswers => {
                let id = *self.rng.pick(&[0_u64, 1, 2, 7, 9_999, u64::MAX]);
                let result = self.rng.once_in(2);
                let line = format!("{{\"id\":{id},\"result\":{result},\"error\":null}}");
                // An answer to the handshake's own ids may end the session, so it is not repeated.
                if (1..=3).contains(&id) { Vec::new() } else { vec![(line, Said::Other)] }
            }
            Fault::Reconnect => {
                let own = format!("[\"{}\",3333,0]", self.plan.address.host);
                let (params, same_host) = *self.rng.pick(&[
                    ("[]", true),
                    (own.as_str(), true),
                    ("[\"evil.example.org\",3333,0]", false),
                    ("[\"evil.pool.example.com\",\"3333\",0]", false),
                    ("[\"10.0.0.1\",0,1000000000]", false),
                ]);
                let line =
                    format!("{{\"id\":null,\"method\":\"client.reconnect\",\"params\":{params}}}");
                vec![(line, Said::Reconnect { same_host })]
            }
            Fault::HugeLine => {
                let length = *self.rng.pick(&[3_000_usize, 4_000, 4_096, 5_000, 9_000]);
                other(&format!(
                    "{{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"{}\"]}}",
                    "x".repeat(length)
                ))
            }
            Fault::OddDifficulty => {
                let value =
                    *self.rng.pick(&["0", "-1", "\"8\"", "1e308", "1e19", "null", "1e-320"]);
                other(&format!(
                    "{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{value}]}}"
                ))
            }
            Fault::MaskChanges => {
                let mask = *self.rng.pick(&[0, 0x1fff_e000, 0x0000_e000, 0x3ff0_0000, u32::MAX]);
                session.mask = mask;
                if !session.masks.contains(&mask) {
                    session.masks.push(mask);
                }
                other(&format!(
                    "{{\"id\":null,\"method\":\"mining.set_version_mask\",\"params\":[\"{mask:08x}\"]}}"
                ))
            }
            Fault::Requests => other(self.rng.pick::<&str>(&[
                "{\"id\":5,\"method\":\"client.get_version\",\"params\":[]}",
                "{\"id\":\"p\",\"method\":\"mining.ping\",\"params\":[]}",
                "{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hello\"]}",
            ])),
            Fault::Silence => {
                session.mute = true;
                Vec::new()
            }
            Fault::FallSilent => {
                session.deaf = true;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// An invalid job.
    fn bad_notify(&mut self) -> Vec<(String, Said)> {
        let good = notify_line("bad", &self.newest, true);
        let prev_hash = hex(&words_reversed(self.newest.prev_hash));
        let nbits = format!("\"{:08x}\",", self.newest.nbits);
        let line = match self.rng.below(6) {
            0 => good.replace(&prev_hash, "00"),
            1 => good.replace(&nbits, "\"ff7fffff\","),
            2 => good.replace(",true]", "]"),
            3 => good.replace("\"20000000\"", "20000000"),
            4 => good.replace("\"bad\"", &format!("\"{}\"", "j".repeat(65))),
            _ => good.replace("\"02", "\"0g"),
        };
        vec![(line, Said::Other)]
    }
}

fn set_extranonce(extranonce1: &[u8], size: u64) -> String {
    let extranonce1 = hex(extranonce1);
    format!(
        "{{\"id\":null,\"method\":\"mining.set_extranonce\",\"params\":[\"{extranonce1}\",{size}]}}"
    )
}

fn set_difficulty(session: &mut Session, difficulty: f64) -> String {
    session.difficulty = difficulty;
    format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{difficulty:e}]}}")
}

fn notify_line(id: &str, parts: &Parts, clean: bool) -> String {
    let mut line = String::with_capacity(700);
    line.push_str("{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"");
    line.push_str(id);
    line.push_str("\",\"");
    push_hex(&words_reversed(parts.prev_hash), &mut line);
    line.push_str("\",\"");
    push_hex(&parts.coinb1, &mut line);
    line.push_str("\",\"");
    push_hex(&parts.coinb2, &mut line);
    line.push_str("\",[");
    for (at, branch) in parts.branches.iter().enumerate() {
        line.push_str(if at == 0 { "\"" } else { ",\"" });
        push_hex(branch, &mut line);
        line.push('"');
    }
    line.push_str(&format!(
        "],\"{:08x}\",\"{:08x}\",\"{:08x}\",{clean}]}}",
        parts.version, parts.nbits, parts.ntime
    ));
    line
}
