//! One miner's connection: its handshake state, the work it was told, and its budgets.
//!
//! Read this first. A [`Downstream`] is a plain record with the rules for a single miner. It reads
//! and writes no lines: `proxy::miners` owns the one `match (state, request)` and calls in here;
//! `proxy::shares` judges submits.
//!
//! States, in the field's words: *connected* (configure and authorize may come before subscribe;
//! QUIRKS 1, 2), *subscribed* (it has its extranonce1), *authorized* (subscribed and at least one
//! worker: it gets jobs), *draining* (the gateway is ending; its submits still count).
//!
//! Invariants: the extranonce1 of a connection never changes (the invisible upstream,
//! `docs/adr/0003`). A repeated subscribe gets the same answer and never a second id (F15). A share
//! is judged by the difficulty that its job was sent with.

use core::num::{NonZeroU8, NonZeroU16};

use crate::identity::Standing;
use crate::ledger::Counts;
use crate::limits::{
    EXCESS_REJECTS_MAX, FORGIVE_INTERVAL, GOALS_MAX, INVALID_LINES_MAX, ODD_REQUESTS_MAX,
    OFFENCES_OF_CONNECTION, OWN_JOBS_MAX, POOL_DIFFICULTY_MAX, REJECTS_FORGIVEN_BY_SHARE,
    REPEATS_LEAST, REPEATS_PART, REPEATS_SAID, REPEATS_WINDOW, STRICT_DIVISOR, SUBMITS_BURST_MAX,
    TOLD_DIFFICULTIES_MAX, USER_AGENT_BYTES_MAX, WAITING_ID_BYTES_MAX, WISH_FACTOR, WISH_INTERVAL,
    WORKER_NAME_BYTES_MAX, WORKERS_BYTES_MAX,
};
use crate::pending::{NO_STINT, Place};
use crate::personality::{Personality, Steps};
use crate::time::{Duration, Instant};
use crate::upstream::LinkIndex;
use crate::vardiff::Vardiff;
use crate::wire::guess::Guess;
use crate::wire::line::Framer;
use crate::wire::text::Text;
use crate::work::difficulty::Difficulty;
use crate::work::extranonce::Space;
use crate::work::job::Serial;
use crate::work::target::Target;
use crate::work::version::VersionMask;

/// The state of a miner's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// TCP is open; no subscription yet.
    Connected,
    /// It has its extranonce1; no worker is authorized yet.
    Subscribed,
    /// It is subscribed, a worker is authorized, jobs go out.
    Authorized,
    /// The gateway is ending.
    Draining,
}

impl State {
    /// Returns the name that status pages show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Subscribed => "subscribed",
            Self::Authorized => "authorized",
            Self::Draining => "draining",
        }
    }
}

/// Why the gateway ends a miner's connection. Each reason is counted and logged, and sent to the
/// miner if the protocol allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Close {
    /// A line is longer than the limit in bytes.
    LineTooLong {
        /// The longest line that is read, in bytes.
        limit: usize,
    },
    /// The first bytes belong to another or an unknown protocol.
    NotStratum(Option<Guess>),
    /// Too many unreadable lines.
    InvalidLines,
    /// Too many wrong or unknown requests.
    OddRequests,
    /// Too many rejected submits in excess of accepted ones.
    ExcessRejects,
    /// No subscription or no worker in time.
    HandshakeTimeout(State),
    /// Every miner id is in use.
    IdsExhausted,
}

impl Close {
    /// Returns the name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::NotStratum(_) => "not_stratum",
            Self::InvalidLines => "invalid_lines",
            Self::OddRequests => "odd_requests",
            Self::ExcessRejects => "excess_rejects",
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::IdsExhausted => "ids_exhausted",
        }
    }
}

impl core::fmt::Display for Close {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LineTooLong { limit } => write!(f, "line too long: the limit is {limit} bytes"),
            Self::NotStratum(Some(guess)) => {
                write!(f, "not Stratum: looks like {guess}; point miners here only")
            }
            Self::NotStratum(None) => write!(f, "not Stratum: it does not open with a request"),
            Self::InvalidLines => {
                write!(f, "more than {INVALID_LINES_MAX} lines that are not JSON requests")
            }
            Self::OddRequests => {
                write!(f, "more than {ODD_REQUESTS_MAX} requests that are wrong or unknown")
            }
            Self::ExcessRejects => {
                write!(f, "more than {EXCESS_REJECTS_MAX} rejected submits in excess of accepted")
            }
            Self::HandshakeTimeout(state) => {
                write!(f, "handshake not finished in time: still {}", state.name())
            }
            Self::IdsExhausted => write!(
                f,
                "no miner id is free: the pools' extranonce2 numbers no more miners; \
                 use a pool whose extranonce2 has 4 bytes or more"
            ),
        }
    }
}

/// Offences of an unreadable line, and rejected submits per offence. The fourth line or the last
/// submit then uses up a connection's worth, as does the last odd request at one offence each.
const OFFENCES_OF_LINE: u16 = OFFENCES_OF_CONNECTION / (INVALID_LINES_MAX as u16 + 1);
const REJECTS_OF_OFFENCE: NonZeroU16 =
    match NonZeroU16::new(EXCESS_REJECTS_MAX / OFFENCES_OF_CONNECTION) {
        Some(rejects) => rejects,
        None => NonZeroU16::MIN,
    };
const STRICT: NonZeroU8 = match NonZeroU8::new(STRICT_DIVISOR) {
    Some(divisor) => divisor,
    None => NonZeroU8::MIN,
};

/// The stint of a miner's first link.
const FIRST_STINT: u8 = NO_STINT + 1;

/// The names that are authorized on a connection, end to end with a length byte in front of each.
#[derive(Clone, Debug, Default)]
pub struct Workers(heapless::Vec<u8, WORKERS_BYTES_MAX, u16>);

impl Workers {
    /// Says whether `name` is authorized here; `name` is a JSON string as it was sent.
    pub fn contains(&self, name: Text<'_>) -> bool {
        self.iter().any(|known| name.eq_decoded(known))
    }

    /// Adds a name; returns whether it is authorized now.
    pub fn insert(&mut self, name: &str) -> bool {
        if self.iter().any(|known| known == name) {
            return true;
        }
        let Ok(len) = u8::try_from(name.len()) else { return false };
        if name.is_empty()
            || name.len() > WORKER_NAME_BYTES_MAX
            || self.0.len().saturating_add(name.len()).saturating_add(1) > WORKERS_BYTES_MAX
        {
            return false;
        }
        self.0.push(len).is_ok() && self.0.extend_from_slice(name.as_bytes()).is_ok()
    }

    /// Returns the number of a name, which never changes; `name` is a JSON string as it was sent.
    pub fn position(&self, name: Text<'_>) -> Option<u8> {
        let at = self.iter().position(|known| name.eq_decoded(known))?;
        u8::try_from(at).ok()
    }

    /// Returns the number of a name.
    pub fn number(&self, name: &str) -> Option<u8> {
        let at = self.iter().position(|known| known == name)?;
        u8::try_from(at).ok()
    }

    /// Returns the name with a number.
    pub fn nth(&self, worker: u8) -> Option<&str> {
        self.iter().nth(usize::from(worker))
    }

    /// Says whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the names, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.0.as_slice();
        core::iter::from_fn(move || {
            let (len, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(*len))?;
            rest = after;
            core::str::from_utf8(name).ok()
        })
    }
}

/// The decider of a waiting authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The owner, which decides on admission.
    Owner,
    /// The pool.
    Pool {
        /// The number of the worker's name on the connection.
        worker: u8,
    },
}

/// An authorization that the engine does not answer itself.
#[derive(Clone, Debug)]
pub(crate) struct WaitingAuthorize {
    /// The id to answer under.
    pub(crate) reply: heapless::Vec<u8, WAITING_ID_BYTES_MAX, u8>,
    pub(crate) waits_for: WaitsFor,
    pub(crate) since: Instant,
    /// The answer, once known.
    pub(crate) yes: Option<bool>,
}

/// A difficulty and a mask told to the miner, and the first job they hold for.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The link whose jobs it holds for.
    pub link: LinkIndex,
    /// The first job sent with it.
    pub since: Serial,
    /// The difficulty told.
    pub difficulty: Difficulty,
    /// The bits that the miner may roll.
    pub mask: VersionMask,
}

/// The seat of a subscribed miner; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Seat {
    /// The lane that serves it.
    pub lane: u8,
    /// Its part of the extranonce2, including its extranonce1.
    pub space: Space,
    /// The newest job when the seat was taken.
    pub since: Serial,
}

/// One miner's connection.
#[derive(Debug)]
pub struct Downstream {
    pub(crate) state: State,
    pub(crate) peer: [u8; 16],
    pub(crate) connected: Instant,
    pub(crate) framer: Framer,
    pub(crate) seat: Option<Seat>,
    pub(crate) workers: Workers,
    /// It was told that one of its workers is authorized.
    pub(crate) authorized: bool,
    /// The one authorization that waits for an answer.
    pub(crate) waiting: Option<WaitingAuthorize>,
    /// Verdicts of pools on its workers.
    pub(crate) standing: Standing,
    pub(crate) user_agent: heapless::String<USER_AGENT_BYTES_MAX>,
    /// Its firmware's known limits.
    pub(crate) personality: &'static Personality,
    /// It suggested a difficulty below 1, so it takes fractions.
    pub(crate) takes_fractions: bool,
    /// An unreadable difficulty in its password was reported.
    pub(crate) says_unread: bool,
    /// Number of jobs whose coinbase its firmware may not survive.
    pub(crate) oversized_jobs: u32,
    /// The bits that the miner requested to roll; none without a configure.
    pub(crate) requested_mask: VersionMask,
    /// The mask that the miner was told last.
    pub(crate) told_mask: VersionMask,
    pub(crate) vardiff: Vardiff,
    /// The difficulty that it was told last.
    told_difficulty: Option<Difficulty>,
    told: heapless::Vec<Told, TOLD_DIFFICULTIES_MAX>,
    /// The record of told difficulties was full at some time.
    has_forgotten: bool,
    /// The target of the last told difficulty, which judges most shares.
    told_target: Target,
    /// The newest job sent.
    pub(crate) told_job: Serial,
    /// The id under which it was sent last.
    told_id: Serial,
    /// Ids under which only this miner was sent jobs: own id, shared id, and the ntime step in
    /// seconds.
    own_jobs: heapless::Vec<(Serial, Serial, u32), OWN_JOBS_MAX, u8>,
    /// A job is due for its wish, and the earliest time of the next.
    pub(crate) wish_due: bool,
    wishes_from: Instant,
    /// The link of its newest job.
    pub(crate) told_link: Option<LinkIndex>,
    /// The goal that the miner works for, and since when.
    goal: u8,
    pub(crate) moved: Instant,
    /// The newest job of each goal when the miner was moved away.
    left: [Serial; GOALS_MAX],
    /// Its waiting shares that count in the queue of its present link, and the number of its stint
    /// there.
    waits: u16,
    stint: u8,
    /// It was held back for want of room since the sweep saw it last.
    pub(crate) is_held_back: bool,
    /// Answers of the pool that wait to be sent to this miner.
    pub(crate) answers_due: u16,
    /// Where the first of them waits.
    pub(crate) answers: Option<Place>,
    /// The newest job that it found a light share for, and how many since then.
    light: (Serial, u32),
    pub(crate) counts: Counts,
    pub(crate) last_share: Option<Instant>,
    /// Difficulty of all accepted shares together: the work done.
    pub(crate) work: f64,
    /// A first line was read, so this is no scanner of another protocol.
    pub(crate) greeted: bool,
    /// What its address does cannot be remembered, so its budgets are smaller (F50).
    is_strict: bool,
    /// It was closed for what no budget allows.
    is_flagrant: bool,
    offences_taken: u16,
    forgiven_at: Instant,
    invalid_lines: u8,
    odd_requests: u8,
    excess_rejects: u16,
    /// Shares that it sent again, since when, and its submits until then.
    repeats: (u32, Instant, u32),
    /// When its repeats were last reported.
    repeats_said: Option<Instant>,
    submit_allowance_until: Instant,
}

impl Downstream {
    /// A connection that has just been accepted.
    pub(crate) fn new(peer: [u8; 16], vardiff: Vardiff, now: Instant) -> Self {
        Self {
            state: State::Connected,
            peer,
            connected: now,
            framer: Framer::default(),
            seat: None,
            workers: Workers::default(),
            authorized: false,
            waiting: None,
            standing: Standing::default(),
            user_agent: heapless::String::new(),
            personality: Personality::of(""),
            takes_fractions: false,
            says_unread: false,
            oversized_jobs: 0,
            requested_mask: VersionMask::NONE,
            told_mask: VersionMask::NONE,
            vardiff,
            told_difficulty: None,
            told: heapless::Vec::new(),
            has_forgotten: false,
            told_target: Target::MAX,
            told_job: Serial::NONE,
            told_id: Serial::NONE,
            own_jobs: heapless::Vec::new(),
            wish_due: false,
            wishes_from: now,
            told_link: None,
            goal: 0,
            moved: now,
            left: [Serial::NONE; GOALS_MAX],
            waits: 0,
            stint: NO_STINT,
            is_held_back: false,
            answers_due: 0,
            answers: None,
            light: (Serial::NONE, 0),
            counts: Counts::ZERO,
            last_share: None,
            work: 0.0,
            greeted: false,
            is_strict: false,
            is_flagrant: false,
            offences_taken: 0,
            forgiven_at: now,
            invalid_lines: 0,
            odd_requests: 0,
            excess_rejects: 0,
            repeats: (0, now, 0),
            repeats_said: None,
            submit_allowance_until: now,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let one = Difficulty::ONE;
        let share_interval = Duration::from_secs(10);
        let policy = crate::vardiff::Policy { start: one, min: one, max: one, share_interval };
        Self::new([0; 16], Vardiff::new(&policy, Instant::ZERO), Instant::ZERO)
    }

    /// Updates the state after a subscription or an authorization.
    pub(crate) fn advance(&mut self) {
        self.state = match (self.state, self.seat.is_some(), self.authorized) {
            (State::Draining, ..) => State::Draining,
            (_, true, true) => State::Authorized,
            (_, true, false) => State::Subscribed,
            (_, false, _) => State::Connected,
        };
    }

    /// Returns the deadline of the present handshake step; `None` once it is done.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Connected => Some(self.connected + crate::limits::SUBSCRIBE_DEADLINE),
            State::Subscribed => match &self.waiting {
                // The miner did its part in time; the pool and the owner have deadlines of their
                // own.
                Some(_) => None,
                None => Some(self.connected + crate::limits::AUTHORIZE_DEADLINE),
            },
            State::Authorized | State::Draining => None,
        }
    }

    /// Returns the target of a told difficulty.
    pub(crate) fn target_of(&self, told: &Told) -> Target {
        if self.told_difficulty == Some(told.difficulty) {
            self.told_target
        } else {
            told.difficulty.to_target()
        }
    }

    /// Returns the difficulty and mask told for the job `serial` of a link. If the job may be older
    /// than the record, returns the oldest known; `None` if the miner was never told the job.
    pub(crate) fn told_for(&self, link: LinkIndex, serial: Serial) -> Option<&Told> {
        let of_link = || self.told.iter().filter(|told| told.link == link);
        let forgotten = || of_link().next().or_else(|| self.told.first());
        of_link()
            .rev()
            .find(|told| told.since <= serial)
            .or_else(|| if self.has_forgotten { forgotten() } else { None })
    }

    /// Assigns the miner to another goal; its next job comes from there.
    pub(crate) fn work_for(&mut self, goal: u8, now: Instant) {
        if let Some(left) = self.left.get_mut(usize::from(self.goal)) {
            *left = self.told_job;
        }
        self.goal = goal;
        self.moved = now;
    }

    /// Says whether the miner was moved away from `goal` with this job in hand.
    pub(crate) fn has_left(&self, goal: u8, job: Serial) -> bool {
        self.left.get(usize::from(goal)) == Some(&job)
    }

    /// Returns the goal that the miner works for.
    pub fn goal(&self) -> u8 {
        self.goal
    }

    /// Returns the miner's hash-rate in difficulty per second, measured by its shares since it
    /// connected. Before the first share, its difficulty gives an estimate.
    pub(crate) fn rate(&self, share_interval: Duration, now: Instant) -> f64 {
        let secs = |length: Duration| length.as_micros() as f64 / 1e6;
        let supposed = self.told_difficulty().map_or(0.0, Difficulty::as_f64);
        (self.work + supposed) / (secs(now.since(self.connected)) + secs(share_interval)).max(1e-3)
    }

    /// Returns the difficulty that the miner was told last.
    pub fn told_difficulty(&self) -> Option<Difficulty> {
        self.told_difficulty
    }

    /// Returns the newest job that was sent, [`Serial::NONE`] before the first.
    pub fn told_job(&self) -> Serial {
        self.told_job
    }

    /// Returns the id under which the newest job was sent.
    pub fn told_id(&self) -> Serial {
        self.told_id
    }

    /// Notes the newest job, under the shared id.
    pub(crate) fn tell_job(&mut self, serial: Serial) {
        (self.told_job, self.told_id) = (serial, serial);
        self.wish_due = false;
    }

    /// Notes the miner's present link and starts a stint there. Shares waiting at the previous link
    /// no longer count.
    pub(crate) fn move_to_link(&mut self, link: LinkIndex) {
        if self.told_link != Some(link) {
            self.told_link = Some(link);
            self.stint = self.stint.checked_add(1).unwrap_or(FIRST_STINT);
            self.waits = 0;
        }
    }

    /// Returns the stint for a share at a link; [`NO_STINT`] if the miner works for another link.
    pub(crate) fn stint_at(&self, link: LinkIndex) -> u8 {
        if self.told_link == Some(link) { self.stint } else { NO_STINT }
    }

    /// Counts a share that starts to wait.
    pub(crate) fn begin_wait(&mut self, stint: u8) {
        self.waits = self.waits.saturating_add(u16::from(self.is_counted(stint)));
    }

    /// Counts a share whose wait ends.
    pub(crate) fn end_wait(&mut self, stint: u8) {
        self.waits = self.waits.saturating_sub(u16::from(self.is_counted(stint)));
    }

    fn is_counted(&self, stint: u8) -> bool {
        stint != NO_STINT && stint == self.stint
    }

    /// Returns the number of its shares that count in a link's queue.
    pub(crate) fn waits_at(&self, link: LinkIndex) -> u16 {
        if self.told_link == Some(link) { self.waits } else { 0 }
    }

    /// Notes that the newest job was sent again under this miner's own id.
    pub(crate) fn tell_own_job(&mut self, id: Serial, later: u32, now: Instant) {
        if self.own_jobs.is_full() {
            self.own_jobs.remove(0);
        }
        // There is room: a full record has just lost its oldest entry.
        let _ = self.own_jobs.push((id, self.told_job, later));
        self.told_id = id;
        self.wishes_from = now + WISH_INTERVAL;
    }

    /// Returns the shared id of the miner's job `id`, and its ntime step for this miner in seconds.
    pub(crate) fn job_called(&self, id: Serial) -> (Serial, u32) {
        let own = self.own_jobs.iter().find(|(own, ..)| *own == id);
        own.map_or((id, 0), |(_, job, later)| (*job, *later))
    }

    /// Notes a wish; returns whether it may get a job at once, which needs an interval since the
    /// last.
    pub(crate) fn take_wish(&mut self, now: Instant) -> bool {
        let works = self.state == State::Authorized && self.told_difficulty.is_some();
        self.wish_due = works && now >= self.wishes_from;
        self.wish_due
    }

    /// Says whether a difficulty differs enough from the one in force to be worth a job.
    pub(crate) fn is_far(&self, difficulty: Difficulty) -> bool {
        self.told_difficulty.is_some_and(|told| {
            let ratio = difficulty.as_f64() / told.as_f64();
            ratio >= WISH_FACTOR || ratio <= 1.0 / WISH_FACTOR
        })
    }

    /// Returns the mask that the miner was told last.
    pub fn told_mask(&self) -> VersionMask {
        self.told_mask
    }

    /// Returns the bits that the miner asked to roll, none before a configure.
    pub fn requested_mask(&self) -> VersionMask {
        self.requested_mask
    }

    /// Returns the number of pool verdicts that wait to be sent to the miner.
    pub fn answers_due(&self) -> u16 {
        self.answers_due
    }

    /// Records that jobs from `since` on are sent with `difficulty` and `mask`. An unchanged entry
    /// of the link takes no further place, so that a miner may move between links; it becomes the
    /// newest, and is forgotten last.
    pub(crate) fn tell(
        &mut self,
        link: LinkIndex,
        since: Serial,
        difficulty: Difficulty,
        mask: VersionMask,
    ) {
        if self.told_difficulty != Some(difficulty) {
            self.told_difficulty = Some(difficulty);
            self.told_target = difficulty.to_target();
        }
        let is_same = |told: &Told| (told.difficulty, told.mask) == (difficulty, mask);
        let last = self.told.iter().rposition(|told| told.link == link);
        let last = last.filter(|last| self.told.get(*last).is_some_and(is_same));
        let told = match last {
            Some(last) => self.told.remove(last),
            None => Told { link, since, difficulty, mask },
        };
        if self.told.is_full() {
            self.told.remove(0);
            self.has_forgotten = true;
        }
        // There is room: a full record has just lost its oldest entry.
        let _ = self.told.push(told);
    }

    /// Records that the newest job may be hashed with another mask than it was sent with, as after
    /// a configure. If it was sent again under an id of the miner's own, the shared id keeps the
    /// difficulty of the first time.
    pub(crate) fn tell_mask(&mut self, mask: VersionMask) {
        self.told_mask = mask;
        if let (Some(link), Some(difficulty)) = (self.told_link, self.told_difficulty) {
            self.tell(link, self.told_id, difficulty, mask);
        }
    }

    /// Applies the strict default instead of the usual budgets.
    pub(crate) fn be_strict(&mut self) {
        self.is_strict = true;
    }

    /// Counts an unreadable line.
    pub(crate) fn count_invalid_line(&mut self) -> Result<(), Close> {
        self.invalid_lines = self.invalid_lines.saturating_add(1);
        let allowed = INVALID_LINES_MAX / self.strictness();
        if self.invalid_lines > allowed { Err(Close::InvalidLines) } else { Ok(()) }
    }

    /// Counts a wrong or unknown request.
    pub(crate) fn count_odd_request(&mut self) -> Result<(), Close> {
        self.odd_requests = self.odd_requests.saturating_add(1);
        let allowed = ODD_REQUESTS_MAX / self.strictness();
        if self.odd_requests > allowed { Err(Close::OddRequests) } else { Ok(()) }
    }

    /// Counts a rejected submit of a kind that honest miners seldom send.
    pub(crate) fn count_excess_reject(&mut self) -> Result<(), Close> {
        self.excess_rejects = self.excess_rejects.saturating_add(1);
        let allowed = EXCESS_REJECTS_MAX / NonZeroU16::from(self.strictness());
        if self.excess_rejects > allowed { Err(Close::ExcessRejects) } else { Ok(()) }
    }

    /// Counts a share that was accepted here but found faulty by its pool: it forgives nothing.
    pub(crate) fn count_faulty_share(&mut self) -> Result<(), Close> {
        self.excess_rejects = self.excess_rejects.saturating_add(REJECTS_FORGIVEN_BY_SHARE);
        self.count_excess_reject()
    }

    /// Counts a repeated share. Returns the repeats of the last minute, at intervals, if they are
    /// too many to be an accident.
    pub(crate) fn note_repeat(&mut self, now: Instant) -> Option<u32> {
        if now.since(self.repeats.1) >= REPEATS_WINDOW {
            self.repeats = (0, now, self.counts.submitted());
        }
        let (repeats, _, before) = &mut self.repeats;
        *repeats = repeats.saturating_add(1);
        let (shares, submits) = (*repeats, self.counts.submitted().wrapping_sub(*before));
        let is_much = shares >= REPEATS_LEAST && shares.saturating_mul(REPEATS_PART) >= submits;
        if !is_much || self.repeats_shares(now) {
            return None;
        }
        self.repeats_said = Some(now);
        Some(shares)
    }

    /// Says whether the miner is known to repeat accepted shares.
    pub fn repeats_shares(&self, now: Instant) -> bool {
        self.repeats_said.is_some_and(|said| now.since(said) < REPEATS_SAID)
    }

    fn strictness(&self) -> NonZeroU8 {
        if self.is_strict { STRICT } else { NonZeroU8::MIN }
    }

    /// Notes the reason of the close.
    pub(crate) fn note_close(&mut self, close: Close) {
        self.is_flagrant |= matches!(close, Close::NotStratum(_) | Close::LineTooLong { .. });
    }

    /// Returns the budget used up since the last call, in offences (F50). Offences that time has
    /// forgiven are deducted first.
    pub(crate) fn take_offences(&mut self) -> u16 {
        let used = self.offences();
        let new = used.saturating_sub(self.offences_taken);
        self.offences_taken = used;
        new
    }

    fn offences(&self) -> u16 {
        let flagrant = if self.is_flagrant { OFFENCES_OF_CONNECTION } else { 0 };
        u16::from(self.invalid_lines)
            .saturating_mul(OFFENCES_OF_LINE)
            .saturating_add(u16::from(self.odd_requests))
            .saturating_add(self.excess_rejects / REJECTS_OF_OFFENCE)
            .saturating_add(flagrant)
    }

    /// Forgives one odd line and one odd request per [`FORGIVE_INTERVAL`].
    pub(crate) fn forgive(&mut self, now: Instant) {
        if now.since(self.forgiven_at) >= FORGIVE_INTERVAL {
            self.forgiven_at = now;
            self.odd_requests = self.odd_requests.saturating_sub(1);
            self.invalid_lines = self.invalid_lines.saturating_sub(1);
        }
    }

    /// Counts an accepted share of `difficulty`.
    pub(crate) fn count_share(&mut self, difficulty: Difficulty, now: Instant) {
        self.excess_rejects = self.excess_rejects.saturating_sub(REJECTS_FORGIVEN_BY_SHARE);
        self.last_share = Some(now);
        self.work += difficulty.as_f64();
    }

    /// Returns the number of light shares since the miner had a share for the job `serial` or a
    /// later one.
    pub(crate) fn light_shares(&self, serial: Serial) -> u32 {
        if serial > self.light.0 { 0 } else { self.light.1 }
    }

    /// Counts a light share for the job `serial`.
    pub(crate) fn count_light_share(&mut self, serial: Serial) {
        let shares = self.light_shares(serial).saturating_add(1);
        self.light = (self.light.0.max(serial), shares);
    }

    /// Takes one submit from the miner's allowance (GCRA); `false` if none is left.
    pub(crate) fn allow_submit(&mut self, interval: Duration, now: Instant) -> bool {
        let burst = interval.saturating_mul(u64::from(SUBMITS_BURST_MAX));
        let due = self.submit_allowance_until.max(now);
        if due.since(now) > burst {
            return false;
        }
        self.submit_allowance_until = due + interval;
        true
    }

    /// Says whether an authorization's answer is due to the miner.
    pub(crate) fn is_answer_due(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.yes.is_some())
    }

    /// Returns its lane; the first before it has a seat.
    pub(crate) fn lane(&self) -> u8 {
        self.seat.map_or(0, |seat| seat.lane)
    }

    /// Says whether a pool refused one of its workers.
    pub fn is_refused(&self) -> bool {
        self.standing.is_refused()
    }

    /// Returns the handshake's state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the peer's address as IPv6, with IPv4 mapped.
    pub fn peer(&self) -> [u8; 16] {
        self.peer
    }

    /// Returns the submits of this connection.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the authorized workers.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Returns the miner's user agent, cut to [`USER_AGENT_BYTES_MAX`].
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// Returns its firmware's known limits, by its user agent.
    pub fn personality(&self) -> &'static Personality {
        self.personality
    }

    /// Returns the difficulties that it takes unchanged.
    pub fn steps(&self) -> Steps {
        if self.takes_fractions { Steps::Any } else { self.personality.steps }
    }

    /// Returns the number of jobs whose coinbase its firmware may not survive.
    pub fn oversized_jobs(&self) -> u32 {
        self.oversized_jobs
    }

    /// Returns the sum of the difficulties of all accepted shares.
    pub fn work(&self) -> f64 {
        self.work
    }

    /// Returns when the connection was accepted.
    pub fn connected_at(&self) -> Instant {
        self.connected
    }

    /// Returns when the last share was accepted.
    pub fn last_share_at(&self) -> Option<Instant> {
        self.last_share
    }

    /// Returns lane and miner id once subscribed.
    pub fn seat(&self) -> Option<Seat> {
        self.seat
    }
}

/// The wishes in a worker's password, and at the end of its name. Keys are an initial difficulty
/// (`d`, `diff`, `difficulty`, `fixed_diff`) and a minimum (`md`, `minimum`), in any case. They
/// have the form `key=value` or `key:value`, between `,` `;` `+` `&` `|` or blanks (QUIRKS 29). The
/// `+` of `1e+3` is part of its number. Other text is ignored, as passwords are mostly `x`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PasswordWishes {
    /// The initial difficulty.
    pub start: Option<Difficulty>,
    /// The minimum difficulty.
    pub min: Option<Difficulty>,
    /// A key has a value that is not a difficulty.
    pub is_unread: bool,
}

impl PasswordWishes {
    /// Reads a password.
    pub fn read(password: &str) -> Self {
        let mut wishes = Self::default();
        for part in parts(password, &[',', ';', ' ', '+', '&', '|']) {
            let Some((key, value)) = part.split_once(['=', ':']) else { continue };
            let is = |known: &&str| key.trim().eq_ignore_ascii_case(known);
            let place = if ["d", "diff", "difficulty", "fixed_diff"].iter().any(is) {
                &mut wishes.start
            } else if ["md", "minimum"].iter().any(is) {
                &mut wishes.min
            } else {
                continue;
            };
            match difficulty_in(value) {
                Some(difficulty) => *place = Some(difficulty),
                None => wishes.is_unread = true,
            }
        }
        wishes
    }

    /// Reads a password; without a wish in it, reads the number after the last `+` of the worker's
    /// name. The name itself is unchanged.
    pub fn of(worker: &str, password: &str) -> Self {
        let mut wishes = Self::read(password);
        let end = parts(worker, &['+']).skip(1).last().and_then(difficulty_in);
        wishes.start = wishes.start.or(end);
        wishes
    }
}

/// Splits a text at separators, except at a `+` within a number (`1e+3`).
fn parts<'a>(text: &'a str, separators: &'a [char]) -> impl Iterator<Item = &'a str> {
    let mut rest = Some(text);
    core::iter::from_fn(move || {
        let text = rest?;
        let is_end = |&(at, letter): &(usize, char)| {
            separators.contains(&letter) && !(letter == '+' && is_of_exponent(text, at))
        };
        let Some((at, letter)) = text.char_indices().find(is_end) else { return rest.take() };
        rest = text.get(at.saturating_add(letter.len_utf8())..);
        text.get(..at)
    })
}

/// Says whether the `+` at a place is within a number: after `1e`, and before a digit.
fn is_of_exponent(text: &str, plus: usize) -> bool {
    let behind = text.get(plus.saturating_add(1)..).unwrap_or_default();
    let before = text.get(..plus).and_then(|before| before.strip_suffix(['e', 'E']));
    let mantissa = before.and_then(|before| before.rsplit(['=', ':', '+']).next());
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok_and(f64::is_finite);
    behind.starts_with(|letter: char| letter.is_ascii_digit()) && mantissa.is_some_and(is_number)
}

/// Reads a miner's wish; `None` for a text that is not a difficulty, or one above any pool's.
fn difficulty_in(text: &str) -> Option<Difficulty> {
    let value = text.trim().parse().ok().filter(|value| *value <= POOL_DIFFICULTY_MAX)?;
    Difficulty::new(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_wishes_are_read_and_the_rest_is_left() {
        let read = |text| PasswordWishes::read(text);
        let difficulty = |d| Difficulty::new(d).ok();
        assert_eq!(read("x"), PasswordWishes::default());
        assert_eq!(read("d=8192,md=1024").start, difficulty(8192.0));
        assert_eq!(read("d=8192,md=1024").min, difficulty(1024.0));
        assert_eq!(read("d=0.02;p=0.24").start, difficulty(0.02));
        for text in ["d=1024", "d=65536+x", "x+D=1024", "d:1024", "Difficulty=1024", "x|d=1024"] {
            assert!(read(text).start.is_some() && !read(text).is_unread, "{text}");
        }
        assert_eq!(read("fixed_diff=512&x").start, difficulty(512.0));
        for text in ["d=1e+3", "x+d=1.0E+3", "d=1e+3+x", "D:1e+3,x", "d=1e3+x"] {
            assert_eq!(read(text).start, difficulty(1000.0), "{text}");
            assert!(!read(text).is_unread, "{text}");
        }
        assert_eq!(read("d=1500.5").start, difficulty(1500.5));
        assert_eq!(read("x=e+d=64").start, difficulty(64.0), "e is no number");
        assert_eq!(read("md=2+d=1e-3").start, difficulty(0.001));
        assert_eq!(read("minimum=1;d=2048").min, difficulty(1.0));
        for text in ["d=0", "d=-1", "d=", "d=1e30", "d=99999999999999999999", "md=nan", "diff=x"] {
            let unread = PasswordWishes { is_unread: true, ..PasswordWishes::default() };
            assert_eq!(read(text), unread, "{text}");
        }
        let of = |name, password| PasswordWishes::of(name, password).start;
        assert_eq!(of("acct.m1+1024", "x"), difficulty(1024.0));
        assert_eq!(of("acct.m1+1024", "d=512"), difficulty(512.0));
        assert_eq!(of("acct.m1+1e+3", "x"), difficulty(1000.0));
        assert_eq!(of("acct.m1e+1024", "x"), difficulty(1024.0), "a name that ends like a number");
        assert_eq!(of("acct.m1+1500.5", "x"), difficulty(1500.5));
        for name in ["acct+m1", "acct.m1+", "acct.m1+0", "m1"] {
            assert_eq!(PasswordWishes::of(name, "x"), PasswordWishes::default(), "{name}");
        }
    }

    #[test]
    fn f17_names_are_exact_or_refused() {
        let mut workers = Workers::default();
        let longest = "w".repeat(WORKER_NAME_BYTES_MAX);
        assert!(workers.insert("a.b"));
        assert!(workers.insert("a.b"));
        assert!(workers.insert(&longest));
        assert!(!workers.insert(&"w".repeat(WORKER_NAME_BYTES_MAX + 1)));
        assert!(!workers.insert(""));
        assert!(!workers.insert(&"v".repeat(WORKER_NAME_BYTES_MAX)));
        assert_eq!(workers.iter().collect::<std::vec::Vec<_>>(), ["a.b", &longest]);
    }

    #[test]
    fn f29_the_allowance_comes_back_with_time() {
        let mut miner = Downstream::for_tests();
        let interval = Duration::from_millis(10);
        let mut allowed = 0;
        while miner.allow_submit(interval, Instant::ZERO) {
            allowed += 1;
        }
        assert_eq!(allowed, SUBMITS_BURST_MAX + 1);
        let later = Instant::ZERO + Duration::from_millis(10);
        assert!(miner.allow_submit(interval, later));
        assert!(!miner.allow_submit(interval, later));
    }

    #[test]
    fn f33_a_job_keeps_the_difficulty_it_was_sent_with() {
        let mut miner = Downstream::for_tests();
        let serials: std::vec::Vec<_> =
            core::iter::successors(Some(Serial::FIRST), |s| Some(s.next())).take(9).collect();
        let difficulty = |d| Difficulty::new(d).unwrap();
        let (link, other, mask) = (LinkIndex(0), LinkIndex(1), VersionMask::NONE);
        miner.tell(link, serials[1], difficulty(8.0), mask);
        miner.tell(link, serials[4], difficulty(16.0), mask);
        miner.tell(other, serials[0], difficulty(2.0), mask);
        let of = |serial| miner.told_for(link, serial).unwrap().difficulty.as_f64();
        assert_eq!([of(serials[1]), of(serials[3])], [8.0; 2]);
        assert!(miner.told_for(link, serials[0]).is_none(), "it was never told that job");
        assert_eq!([of(serials[4]), of(serials[8])], [16.0; 2]);
        // Back to the first link with what it had there: nothing new is remembered, and targets are
        // those of each.
        miner.tell(link, serials[5], difficulty(16.0), mask);
        for (link, serial, told) in [(link, serials[8], 16.0), (other, serials[8], 2.0)] {
            let target = miner.target_of(miner.told_for(link, serial).unwrap());
            assert_eq!(target, difficulty(told).to_target());
        }
        let of_other = miner.told_for(other, serials[8]).unwrap().difficulty.as_f64();
        assert_eq!(of_other, 2.0, "jobs of another link have their own");
    }

    #[test]
    fn f33_a_new_mask_leaves_the_first_id_of_a_job_its_difficulty() {
        let mut miner = Downstream::for_tests();
        let (link, none, wide) = (LinkIndex(0), VersionMask::NONE, VersionMask(0x1fff_e000));
        let (first, own) = (Serial::FIRST, Serial::FIRST.next());
        let difficulty = |d| Difficulty::new(d).unwrap();
        miner.tell(link, first, difficulty(8.0), none);
        miner.tell_job(first);
        miner.move_to_link(link);
        // The same job again, heavier and under an id of its own; then the miner configures.
        miner.tell(link, own, difficulty(16.0), none);
        miner.tell_own_job(own, 1, Instant::ZERO);
        miner.tell_mask(wide);
        let told = |id| miner.told_for(link, id).unwrap();
        assert_eq!((told(first).difficulty, told(first).mask), (difficulty(8.0), none));
        assert_eq!((told(own).difficulty, told(own).mask), (difficulty(16.0), wide));
    }

    #[test]
    fn f33_what_a_miner_was_told_again_is_forgotten_last() {
        let mut miner = Downstream::for_tests();
        let mut serials = core::iter::successors(Some(Serial::FIRST), |s| Some(s.next()));
        let mut tell = |miner: &mut Downstream, link, difficulty, mask| {
            let serial = serials.next().unwrap();
            miner.tell(LinkIndex(link), serial, Difficulty::new(difficulty).unwrap(), mask);
            serial
        };
        let (none, wide) = (VersionMask::NONE, VersionMask(0x1fff_e000));
        tell(&mut miner, 0, 8.0, wide);
        (1..8).for_each(|step| _ = tell(&mut miner, 1, f64::from(step), none));
        // Its first link again, with what it was told there: the next record takes another's place.
        let again = tell(&mut miner, 0, 8.0, wide);
        tell(&mut miner, 0, 8.0, none);
        let told = miner.told_for(LinkIndex(0), again).unwrap();
        assert_eq!((told.mask, told.difficulty.as_f64()), (wide, 8.0));
    }
}
