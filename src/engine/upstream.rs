//! One link: a session with a pool, from the handshake to its unanswered shares.
//!
//! Read this first. A [`Link`] keeps the pool's extranonce1, difficulty, mask and jobs, and the
//! shares without an answer. It writes the lines to the pool and keeps the one encoded notify for
//! all miners of a lane. It knows no miner and no ledger. Results that concern them are returned as
//! [`Heard`]; `proxy::pools` acts on them.
//!
//! States, in the field's words: *idle*, *connecting* (the owner dials), *configuring*,
//! *subscribing*, *authorizing*, *live* (subscribed, authorized, a job is known), *draining* (no
//! miner uses it any more; late shares still go out).
//!
//! Invariants: a new extranonce1, however it arrives, begins a new epoch and ends all jobs of the
//! old one (F24, F36). A pool whose extranonce2 is too short for any miner is refused with both
//! numbers (F25). An invalid difficulty or mask leaves the old one in force (F34).
//!
//! Sources: BIP-0310, the NiceHash extension, `pool-*.txt` of the transcripts.

mod notify_line;
mod told;

use crate::blocks::LinkSession;
use crate::downstream::Seat;
use crate::health::{Health, Who};
use crate::identity::{Account, Authorizations, LinkConnection, Names, WorkerName};
use crate::limits::{
    CLOSED_AT_CONFIGURE_MAX, CONFIGURE_AGAIN_AFTER, EARLY_LINE_BYTES_MAX, EXTRANONCE1_BYTES_MAX,
    FORGIVE_INTERVAL, HEALTH_FAULT, LINK_ODDITIES_MAX, POOL_JOB_ID_BYTES_MAX, QUEUE_FULL_LASTS,
    SESSION_BYTES_MAX, UNRESPONSIVE_MAX,
};
use crate::pending::PendingShares;
use crate::refusals::Refusals;
use crate::time::{Duration, Instant};
use crate::upstream::notify_line::NotifyLine;
use crate::wire::encode;
use crate::wire::hex;
use crate::wire::id::Id;
use crate::wire::line::Framer;
use crate::wire::server::{Notify, Outcome, Response, ServerError};
use crate::wire::text::Text;
use crate::wire::writer::{Full, Writer};
use crate::words::Words;
use crate::work::coinbase::CoinbasePrefix;
use crate::work::difficulty::Difficulty;
use crate::work::extranonce::{Extranonce1, Geometry, Incompatible};
use crate::work::header::{NTime, PrevHash};
use crate::work::job::{Job, JobRing, Serial, Task};
use crate::work::target::{NBits, Target};
use crate::work::version::{Version, VersionMask};

pub use told::{Reason, Told, is_of_login};

/// The index of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LinkIndex(pub(crate) u8);

impl LinkIndex {
    /// Returns the index, below [`crate::limits::LINKS_MAX`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The state of the session with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// Not wanted, or waiting for the next attempt.
    Idle,
    /// The owner was asked to connect.
    Connecting,
    /// mining.configure is sent.
    Configuring,
    /// mining.subscribe is sent.
    Subscribing,
    /// mining.authorize is sent.
    Authorizing,
    /// Subscribed, authorized, and a job is known.
    Live,
    /// No miner uses it; it stays open for late shares.
    Draining,
}

impl State {
    /// Returns the name that status pages show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Configuring => "configuring",
            Self::Subscribing => "subscribing",
            Self::Authorizing => "authorizing",
            Self::Live => "live",
            Self::Draining => "draining",
        }
    }

    /// Says whether a connection is open.
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Idle | Self::Connecting)
    }
}

/// Why a link was ended or could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LinkClose {
    /// A line is longer than the limit in bytes.
    LineTooLong {
        /// The longest line that is read, in bytes.
        limit: usize,
    },
    /// The first line comes from a web server: a captive portal, or the wrong port (F62).
    LooksLikeHttp,
    /// The pool refused the subscription, with this code if it gave one.
    SubscribeRefused(Option<i64>),
    /// The answer to the subscription cannot be read.
    SubscribeMalformed,
    /// The pool refused the account, with this code if it gave one.
    AuthorizeRefused(Option<i64>),
    /// The pool closed the connection in this state of the handshake.
    ClosedDuring(State),
    /// The extranonce2 is too short for the miners, or longer than the limit.
    Incompatible(Incompatible),
    /// A step of the handshake took too long.
    HandshakeTimeout(State),
    /// No job came for [`crate::limits::JOB_SILENCE_MAX`].
    JobSilence,
    /// Shares wait for an answer, and the pool sends no line.
    Unresponsive,
    /// Jobs arrive, but no share was answered for [`crate::limits::UNPAID_AFTER`].
    NoAnswers,
    /// Share refusals in a row whose codes show that the pool forgot the session.
    SessionForgotten,
    /// The pool broke the protocol too often.
    Oddities,
    /// The pool asked for it (`client.reconnect`).
    Reconnect,
    /// No miner needs the link any more.
    Unneeded,
    /// The owner lost the connection or could not make it.
    Lost(Lost),
}

/// How the owner lost a connection to a pool, or failed to make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Lost {
    /// The name could not be resolved.
    Name,
    /// No connection could be made.
    Connect,
    /// TLS refused the pool: certificate, name, pin, time or protocol.
    Tls,
    /// The pool closed the connection.
    Closed,
    /// The connection ended without a TLS close: the pool or a middlebox cut it.
    Cut,
    /// The connection was reset.
    Reset,
    /// Sent bytes were not acknowledged in time: the route to the pool is down.
    Unacknowledged,
    /// The received bytes are not TLS any more.
    Garbled,
    /// The connection broke in another way.
    Broken,
}

impl Lost {
    /// Says whether the pool, or a middlebox, closed an established connection.
    const fn is_close(self) -> bool {
        matches!(self, Self::Closed | Self::Cut | Self::Reset)
    }
}

impl LinkClose {
    /// Returns the name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::LooksLikeHttp => "looks_like_http",
            Self::SubscribeRefused(_) => "subscribe_refused",
            Self::SubscribeMalformed => "subscribe_malformed",
            Self::AuthorizeRefused(_) => "authorize_refused",
            Self::ClosedDuring(_) => "closed",
            Self::Incompatible(_) => "incompatible",
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::JobSilence => "job_silence",
            Self::Unresponsive => "unresponsive",
            Self::NoAnswers => "no_answers",
            Self::SessionForgotten => "session_forgotten",
            Self::Oddities => "oddities",
            Self::Reconnect => "reconnect",
            Self::Unneeded => "unneeded",
            Self::Lost(Lost::Name) => "name",
            Self::Lost(Lost::Connect) => "connect",
            Self::Lost(Lost::Tls) => "tls",
            Self::Lost(Lost::Closed | Lost::Cut) => "closed",
            Self::Lost(Lost::Reset | Lost::Unacknowledged | Lost::Garbled | Lost::Broken) => {
                "broken"
            }
        }
    }
}

impl LinkClose {
    /// Says whether the pool decided to refuse us. An earlier attempt changes nothing, and a
    /// refused account should not be tried every few seconds.
    pub(crate) const fn is_decided(self) -> bool {
        matches!(
            self,
            Self::SubscribeRefused(_)
                | Self::AuthorizeRefused(_)
                | Self::SubscribeMalformed
                | Self::Incompatible(_)
                | Self::LineTooLong { .. }
                | Self::Oddities
        )
    }
}

impl core::fmt::Display for LinkClose {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LineTooLong { limit } => write!(f, "line too long: the limit is {limit} bytes"),
            Self::LooksLikeHttp => {
                write!(f, "the answer looks like HTTP: a captive portal, or the wrong port")
            }
            Self::SubscribeRefused(_) | Self::AuthorizeRefused(_) => {
                told::Told::new(*self, &Words::NONE).fmt(f)
            }
            Self::ClosedDuring(state) => told::closed_after(f, *state),
            Self::SubscribeMalformed => write!(f, "the answer to mining.subscribe cannot be read"),
            Self::Incompatible(Incompatible { got, need }) => {
                write!(f, "extranonce2 of {got} bytes: miners need {need}..=16")
            }
            Self::HandshakeTimeout(state) => write!(f, "no answer while {}", state.name()),
            Self::JobSilence => write!(f, "no job for two minutes"),
            Self::Unresponsive => {
                write!(f, "no line from the pool while shares wait for an answer")
            }
            Self::NoAnswers => {
                write!(f, "the pool sends jobs but answers no share: reconnecting")
            }
            Self::SessionForgotten => {
                write!(f, "the pool refuses shares as if it lost the session: reconnecting")
            }
            Self::Oddities => write!(f, "more than {LINK_ODDITIES_MAX} protocol violations"),
            Self::Reconnect => write!(f, "the pool asked to reconnect"),
            Self::Unneeded => write!(f, "no miner needs it"),
            Self::Lost(Lost::Name) => write!(f, "the pool's name cannot be resolved"),
            Self::Lost(Lost::Connect) => write!(f, "no connection could be made"),
            Self::Lost(Lost::Tls) => write!(f, "TLS refused the pool"),
            Self::Lost(Lost::Closed) => write!(f, "the pool closed the connection"),
            Self::Lost(Lost::Cut) => {
                write!(f, "the connection was cut: it ended without a TLS close")
            }
            Self::Lost(Lost::Reset) => write!(f, "the connection was reset"),
            Self::Lost(Lost::Unacknowledged) => {
                write!(f, "sent bytes are not acknowledged: the route to the pool is down")
            }
            Self::Lost(Lost::Garbled) => write!(f, "the received bytes are not TLS"),
            Self::Lost(Lost::Broken) => write!(f, "the connection broke"),
        }
    }
}

/// The effect of a pool's line beyond its link.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// No effect beyond the link.
    Nothing,
    /// The pool's extranonce2 length is known.
    Subscribed,
    /// The pool refused a suggested difficulty.
    SuggestionRefused,
    /// The share sent under this request id was answered.
    Answer {
        /// The request id.
        request: u32,
        /// The pool's verdict.
        outcome: Outcome<'a>,
    },
}

/// A job that is ready for miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The job's serial.
    pub serial: Serial,
    /// Whether all earlier jobs are void.
    pub clean: bool,
}

const ID_CONFIGURE: u32 = 1;
const ID_SUBSCRIBE: u32 = 2;
const ID_AUTHORIZE: u32 = 3;
const ID_SUGGEST: u32 = 4;

/// The mask requested from every pool: all bits, since the pool decides (BIP-0310).
const MASK_ASKED: VersionMask = VersionMask::ALL;

/// The id of a pool's request that waits for our answer (`client.get_version`, `mining.ping`).
#[derive(Clone, Debug)]
struct Owed {
    id: heapless::Vec<u8, { crate::limits::ID_BYTES_MAX }, u8>,
    version: bool,
}

/// The memory of a link.
#[derive(Debug)]
pub struct LinkStorage<'a> {
    /// A partial line from the pool; its length is the longest line that is read.
    pub rest: &'a mut [u8],
    /// The encoded notify, at most [`crate::limits::NOTIFY_LINE_BYTES_MAX`].
    pub line: &'a mut [u8],
    /// Second coinbase halves, at most [`crate::limits::COINB2_STORE_BYTES`].
    pub coinb2: &'a mut [u8],
    /// Jobs, at most [`crate::limits::JOBS_PER_LINK`].
    pub jobs: &'a mut [Job],
    /// Shares, at most [`crate::limits::PENDING_SHARES_MAX`].
    pub pending: &'a mut [crate::pending::Pending],
}

/// A session with a pool.
#[derive(Debug)]
pub struct Link<'a> {
    pub(crate) state: State,
    /// Index of the pool in the settings; meaningless while the link is idle and unused.
    pub(crate) pool: u8,
    /// The host, port and user of the dial; the settings at that index may have changed since.
    pub(crate) account: Account,
    /// The lane that the link serves.
    pub(crate) lane: u8,
    /// Whether the plan wants this link to be open.
    pub(crate) wanted: bool,
    /// The owner still has to close the connection.
    pub(crate) hangup: bool,
    /// When the state was entered.
    pub(crate) since: Instant,
    /// When the connection was made.
    pub(crate) opened: Instant,
    /// When the link became live, while it is.
    pub(crate) live_since: Option<Instant>,
    /// Since when the link has been wanted without being live.
    pub(crate) failing_since: Instant,
    /// The port that the pool asked for, instead of the port in the settings.
    port: Option<u16>,
    /// Whether it was live since it was assigned.
    pub(crate) was_live: bool,
    /// How well its pool serves.
    pub(crate) health: Health,
    /// The last suggested difficulty on this connection, and its time.
    pub(crate) suggested: Option<(Difficulty, Instant)>,
    /// Whether that suggestion was sent, and whether it was answered.
    suggestion_sent: bool,
    suggestion_answered: bool,
    /// When a share last found the queue full.
    full_at: Option<Instant>,
    /// When the first share went out that no line of the pool followed.
    pub(crate) asked: Option<Instant>,
    /// Attempts since it was last healthy.
    pub(crate) attempts: u32,
    /// The earliest time of the next dial.
    pub(crate) retry_at: Instant,
    /// The same while no other link serves its goal.
    pub(crate) hasty_at: Instant,
    /// When it was last dialled.
    pub(crate) dialled_at: Instant,
    /// A line arrived on this connection.
    heard: bool,
    /// Times in a row that the pool closed silently at mining.configure.
    closed_at_configure: u8,
    /// Since when mining.configure is left out, and whether that was reported.
    without_configure: Option<Instant>,
    without_was_said: bool,
    /// The pool's verdicts on worker names on this connection.
    pub(crate) names: Names,
    pub(crate) last_close: Option<LinkClose>,
    /// The pool's text with its last refusal, or its last text before it closed.
    words: Words,
    /// The pool's last message for people on this connection.
    message: Words,
    pub(crate) last_job: Instant,
    /// Time from the last answered share to its answer.
    pub(crate) answer_time: Option<Duration>,
    /// How the pool answers shares.
    pub(crate) refusals: Refusals,
    pub(crate) framer: Framer,
    pub(crate) rest: &'a mut [u8],
    pub(crate) jobs: JobRing<'a>,
    pub(crate) pending: PendingShares<'a>,
    /// Miners with an older job of this link are told to drop it.
    pub(crate) clean_since: Serial,
    /// How often the ids of its lane have wrapped.
    pub(crate) turn: u32,
    /// A planted defect for the canary run.
    #[cfg(feature = "canary")]
    pub(crate) keeps_time: bool,
    /// The newest job that miners may have been told.
    pub(crate) told: Serial,
    /// The number of the link's current connection.
    pub(crate) connection: u16,
    pub(crate) authorizations: Authorizations,
    line: NotifyLine<'a>,
    pub(crate) epoch: u16,
    extranonce1: Extranonce1,
    extranonce2_size: Option<u8>,
    /// The pool's name for the session, to resume it; empty if it gave none.
    session: heapless::String<SESSION_BYTES_MAX>,
    /// Number of times that the link became live.
    sessions: u16,
    /// The pool may reject the session it was asked for last, so none is asked for.
    asks_anew: bool,
    /// Announced by `mining.set_extranonce`; in force with the next notify (QUIRKS 22).
    next_extranonce: Option<(Extranonce1, u8)>,
    /// The next job ends all earlier ones, whatever its flag says.
    next_is_clean: bool,
    mask: VersionMask,
    difficulty: Difficulty,
    step_sent: bool,
    subscribed: bool,
    authorized: bool,
    owed: heapless::Deque<Owed, 4>,
    oddities: u16,
    forgiven_at: Instant,
    reconnected_at: Option<Instant>,
}

impl<'a> Link<'a> {
    /// Creates an unused link.
    pub fn new(storage: LinkStorage<'a>) -> Self {
        Self {
            state: State::Idle,
            pool: 0,
            account: Account::default(),
            lane: 0,
            wanted: false,
            hangup: false,
            since: Instant::ZERO,
            opened: Instant::ZERO,
            live_since: None,
            failing_since: Instant::ZERO,
            port: None,
            was_live: false,
            health: Health::default(),
            suggested: None,
            suggestion_sent: false,
            suggestion_answered: false,
            full_at: None,
            asked: None,
            attempts: 0,
            retry_at: Instant::ZERO,
            hasty_at: Instant::ZERO,
            dialled_at: Instant::ZERO,
            heard: false,
            closed_at_configure: 0,
            without_configure: None,
            without_was_said: false,
            names: Names::default(),
            last_close: None,
            words: Words::NONE,
            message: Words::NONE,
            last_job: Instant::ZERO,
            answer_time: None,
            refusals: Refusals::default(),
            framer: Framer::default(),
            rest: storage.rest,
            jobs: JobRing::new(storage.jobs, storage.coinb2),
            pending: PendingShares::new(storage.pending),
            clean_since: Serial::NONE,
            turn: 0,
            #[cfg(feature = "canary")]
            keeps_time: false,
            told: Serial::NONE,
            connection: 0,
            authorizations: Authorizations::default(),
            line: NotifyLine::new(storage.line),
            epoch: 0,
            extranonce1: Extranonce1::default(),
            extranonce2_size: None,
            session: heapless::String::new(),
            sessions: 0,
            asks_anew: false,
            next_extranonce: None,
            next_is_clean: true,
            mask: VersionMask::NONE,
            difficulty: Difficulty::ONE,
            step_sent: false,
            subscribed: false,
            authorized: false,
            owed: heapless::Deque::new(),
            oddities: 0,
            forgiven_at: Instant::ZERO,
            reconnected_at: None,
        }
    }

    pub(crate) fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.step_sent = false;
    }

    /// Begins the handshake on a fresh connection.
    pub(crate) fn handle_up(&mut self, now: Instant) {
        self.framer = Framer::default();
        self.opened = now;
        self.last_job = now;
        self.asked = None;
        self.suggested = None;
        self.words = Words::NONE;
        self.message = Words::NONE;
        self.subscribed = false;
        self.authorized = false;
        self.next_extranonce = None;
        self.line.forget_early();
        self.oddities = 0;
        self.owed.clear();
        self.connection = self.connection.wrapping_add(1);
        self.heard = false;
        self.names = Names::default();
        if self.without_configure.is_some_and(|since| now.since(since) >= CONFIGURE_AGAIN_AFTER) {
            // One more silent close confirms that nothing has changed.
            self.without_configure = None;
            self.closed_at_configure = self.closed_at_configure.saturating_sub(1);
        }
        if self.without_configure.is_some() {
            self.mask = VersionMask::NONE;
            self.enter(State::Subscribing, now);
        } else {
            self.enter(State::Configuring, now);
        }
    }

    /// Returns `true` once each time that mining.configure starts to be left out.
    pub(crate) fn leaves_configure_out_first(&mut self) -> bool {
        let is_out = self.without_configure.is_some();
        is_out && !core::mem::replace(&mut self.without_was_said, true)
    }

    /// Notes that a line arrived from the pool.
    pub(crate) fn note_line(&mut self) {
        self.asked = None;
        self.heard = true;
    }

    /// Counts connections that end silently at mining.configure. After two in a row the next
    /// attempt leaves it out, as long as that works (F93).
    fn note_configure(&mut self, close: LinkClose, now: Instant) {
        match close {
            LinkClose::ClosedDuring(State::Configuring) if !self.heard => {
                self.closed_at_configure = self.closed_at_configure.saturating_add(1);
                if self.closed_at_configure >= CLOSED_AT_CONFIGURE_MAX {
                    self.without_configure = Some(now);
                    self.without_was_said = false;
                }
            }
            // Leaving mining.configure out did not help.
            _ if self.without_configure.is_some() && self.live_since.is_none() => {
                self.without_configure = None;
                self.closed_at_configure = 0;
            }
            _ if self.state.is_open() && self.without_configure.is_none() => {
                self.closed_at_configure = 0;
            }
            _ => {}
        }
    }

    /// Books a closed connection. Jobs stay, in case the session is resumed.
    pub(crate) fn handle_down(&mut self, close: LinkClose, now: Instant) {
        self.note_configure(close, now);
        if self.live_since.is_none() && close != LinkClose::Reconnect {
            // This port leads nowhere: the next attempt uses the port in the settings.
            self.port = None;
        }
        if self.live_since.take().is_some() {
            self.failing_since = now;
        }
        let is_minded = matches!(close, LinkClose::NoAnswers | LinkClose::SessionForgotten);
        if is_minded || self.state == State::Subscribing {
            // The pool may reject the session; the next attempt asks for a new one.
            self.session.clear();
            self.asks_anew = true;
        }
        self.refusals.handle_session();
        self.answer_time = None;
        match close {
            LinkClose::SubscribeRefused(_) | LinkClose::AuthorizeRefused(_) => {}
            // The last message before a close is mostly its reason.
            LinkClose::ClosedDuring(_) | LinkClose::Lost(_) if self.state.is_open() => {
                self.words = core::mem::take(&mut self.message);
            }
            _ => self.words = Words::NONE,
        }
        // Unanswered authorizations grant nothing on the next connection.
        self.authorizations.clear();
        self.last_close = Some(close);
        self.next_is_clean = true;
        self.enter(State::Idle, now);
    }

    /// Reassigns a link to another pool or lane; nothing of its past is kept.
    pub(crate) fn assign(&mut self, pool: u8, lane: u8, now: Instant) {
        self.pool = pool;
        self.lane = lane;
        self.wanted = true;
        self.failing_since = now;
        self.retry_at = now;
        self.attempts = 0;
        self.hasty_at = now;
        self.closed_at_configure = 0;
        self.without_configure = None;
        self.port = None;
        self.was_live = false;
        self.health = Health::default();
        self.refusals = Refusals::default();
        self.names = Names::default();
        self.full_at = None;
        self.extranonce1 = Extranonce1::default();
        self.extranonce2_size = None;
        self.session.clear();
        self.asks_anew = false;
        self.mask = VersionMask::NONE;
        self.difficulty = Difficulty::ONE;
        self.last_close = None;
        self.words = Words::NONE;
        self.answer_time = None;
        self.jobs.clear();
        self.line.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Returns the handshake's state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the index of the pool in the settings.
    pub fn pool(&self) -> u8 {
        self.pool
    }

    /// Returns the lane that it serves.
    pub fn lane(&self) -> u8 {
        self.lane
    }

    /// Returns the port to dial if the pool asked for another than in the settings.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Takes the pool's answer for a worker name, or for the login; `granted` is `None` after a
    /// timeout.
    pub(crate) fn note_name(
        &mut self,
        name: Option<&WorkerName>,
        granted: Option<bool>,
        now: Instant,
    ) {
        match name {
            None => self.names.handle_login(granted),
            Some(name) => self.names.handle_answer(name, granted, now),
        }
    }

    /// Says whether the plan wants the link to be open.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Returns the reason of the last close.
    pub fn last_close(&self) -> Option<LinkClose> {
        self.last_close
    }

    /// Returns the last close in words for people, with the pool's own text.
    pub fn last_close_told(&self) -> Option<Told<'_>> {
        self.last_close.map(|close| Told::new(close, &self.words))
    }

    /// Returns the time until the next dial, if the link waits for one.
    pub fn next_attempt(&self, now: Instant) -> Option<Duration> {
        (self.state == State::Idle && self.wanted).then(|| self.retry_at.since(now))
    }

    /// Returns the pool's text with its last refusal, or before it closed; mostly empty.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Returns the pool's last message for people (`client.show_message`).
    pub fn message(&self) -> &Words {
        &self.message
    }

    /// Keeps a message from the pool for people.
    pub(crate) fn handle_message(&mut self, text: Text<'_>) {
        self.message = Words::of(text);
    }

    /// Names the handshake step in which a pool closed the connection.
    pub(crate) fn refine(&self, close: LinkClose) -> LinkClose {
        let is_step = match self.state {
            State::Configuring | State::Subscribing => true,
            State::Authorizing => !self.authorized,
            _ => false,
        };
        match close {
            LinkClose::Lost(lost) if lost.is_close() && is_step => {
                LinkClose::ClosedDuring(self.state)
            }
            close => close,
        }
    }

    /// Returns the time that the pool took for its last share answer.
    pub fn answer_time(&self) -> Option<Duration> {
        self.answer_time
    }

    /// Returns how the pool answers shares.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Returns how well the pool serves, 0 to 100; 0 while it is away or answers no shares, and low
    /// until a pool that refused them takes some again. `None` if it was never live.
    pub fn score(&self) -> Option<u8> {
        let serves = matches!(self.state, State::Live | State::Draining);
        let most = self.health.on_trial_since().map_or(u8::MAX, |_| HEALTH_FAULT);
        let score = self.health.score().min(most);
        let score = if serves && !self.refusals.is_unanswered() { score } else { 0 };
        self.was_live.then_some(score)
    }

    /// Says whether it was live since it was assigned.
    pub fn was_live(&self) -> bool {
        self.was_live
    }

    /// Returns how well the pool serves.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Returns the age of the oldest share that waits for the pool's answer.
    pub(crate) fn unanswered_for(&self, now: Instant) -> Duration {
        self.pending.oldest_sent().map_or(Duration::ZERO, |sent| now.since(sent))
    }

    /// Says whether the connection counts as dead: shares went out and no line arrived (F63).
    pub(crate) fn is_unresponsive(&self, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.since(asked) >= UNRESPONSIVE_MAX)
    }

    /// Returns the pool's extranonce2 size in bytes, once subscribed.
    pub fn extranonce2_size(&self) -> Option<u8> {
        self.extranonce2_size
    }

    /// Returns the pool's extranonce1.
    pub fn extranonce1(&self) -> &Extranonce1 {
        &self.extranonce1
    }

    /// Returns the pool's name for the session; empty if it gave none.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Returns the current connection, or the last one.
    pub(crate) fn at(&self, index: LinkIndex) -> LinkConnection {
        LinkConnection { link: index, number: self.connection }
    }

    /// Returns the live session, or the last one.
    pub(crate) fn live_session(&self, index: LinkIndex) -> LinkSession {
        LinkSession { connection: self.at(index), number: self.sessions }
    }

    /// Returns the connection that delivered a job; `None` if it is closed.
    pub(crate) fn given(&self, index: LinkIndex, job: &Job) -> Option<LinkConnection> {
        let stands = self.state.is_open() && job.received >= self.opened;
        stands.then(|| self.at(index))
    }

    /// Returns the pool's difficulty in force.
    pub fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// Returns the version bits that the pool allows to be rolled.
    pub fn mask(&self) -> VersionMask {
        self.mask
    }

    /// Returns the shares that wait to be sent or answered.
    pub fn pending(&self) -> &PendingShares<'a> {
        &self.pending
    }

    /// Queues a difficulty suggestion for the pool.
    pub(crate) fn suggest(&mut self, difficulty: Difficulty, now: Instant) {
        self.suggested = Some((difficulty, now));
        (self.suggestion_sent, self.suggestion_answered) = (false, false);
    }

    /// Returns when the unanswered suggestion was made, if there is one.
    pub(crate) fn unanswered_suggestion(&self) -> Option<Instant> {
        let asked = self.suggested.filter(|_| self.suggestion_sent && !self.suggestion_answered);
        asked.map(|(_, at)| at)
    }

    /// Books a share that found the queue full; returns whether that is news.
    pub(crate) fn handle_full(&mut self, who: Option<Who>, now: Instant) -> bool {
        let is_news = !self.is_full(now);
        self.full_at = Some(now);
        if let Some(who) = who {
            self.health.handle_lost_share(who, now);
        }
        is_news
    }

    /// Says whether shares were lost lately because the queue was full.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_some_and(|last| now.since(last) < QUEUE_FULL_LASTS)
    }

    /// Returns a job still in the ring, live or ended.
    pub fn kept_job(&self, serial: Serial) -> Option<&Job> {
        self.jobs.get(serial).map(|(job, _)| job)
    }

    /// Returns the job that is encoded, if there is one.
    pub(crate) fn announced(&self) -> Option<&Job> {
        if self.line.is_empty() { None } else { self.jobs.newest() }
    }

    /// Forgives one oddity per [`FORGIVE_INTERVAL`].
    pub(crate) fn forgive(&mut self, now: Instant) {
        if now.since(self.forgiven_at) >= FORGIVE_INTERVAL {
            self.forgiven_at = now;
            self.oddities = self.oddities.saturating_sub(1);
        }
    }

    /// Counts a line that breaks the protocol.
    pub(crate) fn count_oddity(&mut self) -> Result<(), LinkClose> {
        self.oddities = self.oddities.saturating_add(1);
        if self.oddities > LINK_ODDITIES_MAX { Err(LinkClose::Oddities) } else { Ok(()) }
    }

    /// Handles a line that cannot be parsed: noise is counted, HTTP ends the link.
    pub(crate) fn handle_error(&mut self, error: ServerError) -> Result<(), LinkClose> {
        match error {
            ServerError::LooksLikeHttp => Err(LinkClose::LooksLikeHttp),
            _ => self.count_oddity(),
        }
    }

    /// Reads an answer of the pool.
    pub(crate) fn handle_response<'l>(
        &mut self,
        response: &Response<'l>,
        now: Instant,
    ) -> Result<Heard<'l>, LinkClose> {
        let Some(id) = response.id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return self.count_oddity().map(|()| Heard::Nothing);
        };
        match (self.state, id) {
            (State::Configuring, ID_CONFIGURE) => {
                self.handle_configured(response);
                self.enter(State::Subscribing, now);
                Ok(Heard::Nothing)
            }
            // The answer to configure may come after its deadline (NiceHash).
            (_, ID_CONFIGURE) => {
                self.handle_configured(response);
                Ok(Heard::Nothing)
            }
            (State::Subscribing, ID_SUBSCRIBE) => {
                self.handle_subscribed(response)?;
                self.enter(State::Authorizing, now);
                Ok(Heard::Subscribed)
            }
            // A second answer may take an authorization back (`pool-nicehash-bitaxe.txt`).
            (_, ID_AUTHORIZE) => match response.outcome() {
                Outcome::Accepted => {
                    self.authorized = true;
                    self.go_live(now);
                    Ok(Heard::Nothing)
                }
                Outcome::Refused(refusal) => {
                    self.words = self.words_of(refusal.reason);
                    Err(LinkClose::AuthorizeRefused(refusal.code))
                }
            },
            (_, ID_SUGGEST) if self.suggested.is_some() => {
                self.suggestion_answered = true;
                Ok(match response.outcome() {
                    Outcome::Accepted => Heard::Nothing,
                    Outcome::Refused(_) => Heard::SuggestionRefused,
                })
            }
            (_, request) => Ok(Heard::Answer { request, outcome: response.outcome() }),
        }
    }

    fn handle_configured(&mut self, response: &Response<'_>) {
        // A pool that refuses or garbles the answer allows no rolling.
        let mask = response.configure().ok().filter(|result| result.version_rolling);
        self.mask = mask.map_or(VersionMask::NONE, |result| {
            result.mask.map_or(VersionMask::BIP_0320, VersionMask)
        });
    }

    /// The text of a refusal; without one, the pool's last message for people.
    fn words_of(&self, reason: Text<'_>) -> Words {
        if reason.is_empty() { self.message.clone() } else { Words::of(reason) }
    }

    fn handle_subscribed(&mut self, response: &Response<'_>) -> Result<(), LinkClose> {
        if let Outcome::Refused(refusal) = response.outcome() {
            self.words = self.words_of(refusal.reason);
            return Err(LinkClose::SubscribeRefused(refusal.code));
        }
        let subscription = response.subscribe().map_err(|_| LinkClose::SubscribeMalformed)?;
        let (extranonce1, size) =
            read_extranonce(subscription.extranonce1, subscription.extranonce2_size)?;
        self.begin_epoch(extranonce1, size);
        let session = subscription.session_id.and_then(Text::plain).unwrap_or_default();
        self.session = session.try_into().unwrap_or_default();
        self.asks_anew = false;
        self.subscribed = true;
        Ok(())
    }

    /// Takes an extranonce1 into use; a different one voids all earlier jobs.
    fn begin_epoch(&mut self, extranonce1: Extranonce1, size: u8) {
        self.next_is_clean = true;
        if self.extranonce1 == extranonce1 && self.extranonce2_size == Some(size) {
            return;
        }
        self.extranonce1 = extranonce1;
        self.extranonce2_size = Some(size);
        self.epoch = self.epoch.wrapping_add(1);
        self.jobs.end_all();
        // The last job of the old epoch is sent to no more miners.
        self.line.clear();
    }

    /// Keeps an extranonce that takes effect with the next notify.
    pub(crate) fn handle_set_extranonce(
        &mut self,
        extranonce1: Text<'_>,
        size: u64,
    ) -> Result<(), LinkClose> {
        self.next_extranonce = Some(read_extranonce(extranonce1, size)?);
        Ok(())
    }

    /// Takes a difficulty; it takes effect with the next notify.
    pub(crate) fn handle_set_difficulty(&mut self, difficulty: Difficulty) {
        self.difficulty = difficulty;
    }

    /// Takes a mask. It holds at once (BIP-0310): for shares sent from now on, and for the next
    /// announcement. Announced jobs keep the mask that miners were told.
    pub(crate) fn handle_set_version_mask(&mut self, mask: u32) {
        self.mask = VersionMask(mask);
    }

    /// Says whether to follow a pool's request to reconnect: to the same host only, and at most
    /// once a minute (F82).
    pub(crate) fn allow_reconnect(
        &mut self,
        to_same_host: bool,
        port: Option<u16>,
        now: Instant,
    ) -> bool {
        let soon = self
            .reconnected_at
            .is_some_and(|last| now.since(last) < crate::limits::RECONNECT_INTERVAL_MIN);
        if !to_same_host || soon {
            return false;
        }
        self.reconnected_at = Some(now);
        self.port = port.or(self.port);
        true
    }

    /// Queues the answer to a pool's request; if the queue is full, the new request is dropped.
    pub(crate) fn owe(&mut self, id: Id<'_>, version: bool) {
        if let (false, Ok(id)) = (id.is_null(), heapless::Vec::from_slice(id.as_raw())) {
            let _ = self.owed.push_back(Owed { id, version });
        }
    }

    /// Keeps a notify that came before the answer to mining.subscribe (QUIRKS 10); the newest wins.
    /// Returns `false` if the subscription was already answered.
    pub(crate) fn keep_early_notify(&mut self, line: &[u8]) -> bool {
        if !self.subscribed {
            self.line.keep_early(line);
        }
        !self.subscribed
    }

    /// Returns the early notify, to be read now.
    pub(crate) fn take_early_notify(&mut self) -> Option<heapless::Vec<u8, EARLY_LINE_BYTES_MAX>> {
        self.line.take_early()
    }

    /// Builds the job of a notify and encodes its line for all miners.
    pub(crate) fn handle_notify(
        &mut self,
        notify: &Notify<'_>,
        serial: Serial,
        now: Instant,
    ) -> Result<Announced, NotifyRefused> {
        if !self.subscribed {
            // The extranonce1 is not known yet; that of a former session may differ.
            return Err(NotifyRefused::NotSubscribed);
        }
        if let Some((extranonce1, size)) = self.next_extranonce.take() {
            self.begin_epoch(extranonce1, size);
        }
        let size = self.extranonce2_size.ok_or(NotifyRefused::NotSubscribed)?;
        let mut job = self.job(notify, size, serial, now)?;
        if self.next_is_clean
            && let Some(serial) = self.known(&job)
        {
            return self.go_on(notify, serial, now);
        }
        let ends_all = notify.clean_jobs || self.next_is_clean;
        if ends_all {
            self.jobs.end_all_but_repeated(&job);
        }
        #[cfg(feature = "canary")]
        let keeps_time = self.keeps_time;
        #[cfg(not(feature = "canary"))]
        let keeps_time = false;
        if !keeps_time {
            self.jobs.move_time_on(&mut job);
        }
        // A new block ends the miners' old work even if the pool does not say so (QUIRKS 37).
        // Shares found before it are still judged by the pool.
        let is_new_block = self.jobs.newest().is_some_and(|old| old.prev_hash != job.prev_hash);
        let clean = ends_all || is_new_block;
        self.jobs.push(job, notify.coinb2).map_err(|_| NotifyRefused::TooLong)?;
        let extranonce1 = self.extranonce1.as_bytes();
        self.line.encode(notify, extranonce1, serial).map_err(|Full| NotifyRefused::TooLong)?;
        self.next_is_clean = false;
        self.last_job = now;
        self.go_live(now);
        Ok(Announced { serial, clean })
    }

    /// Returns the serial of the newest job if a returned pool announces the same work.
    fn known(&self, job: &Job) -> Option<Serial> {
        let newest = self.jobs.newest().filter(|newest| newest.live)?;
        // A keep-alive may have moved the ntime on.
        let same = (newest.epoch, newest.task) == (job.epoch, job.task)
            && newest.pool_job_id == job.pool_job_id
            && newest.mask == job.mask
            && newest.ntime >= job.ntime
            && newest.difficulty == job.difficulty;
        same.then_some(newest.serial)
    }

    /// Goes on with the newest job, so that a resumed session costs the miners nothing. A clean
    /// notify would make them find the same shares again.
    fn go_on(
        &mut self,
        notify: &Notify<'_>,
        serial: Serial,
        now: Instant,
    ) -> Result<Announced, NotifyRefused> {
        let extranonce1 = self.extranonce1.as_bytes();
        // The line buffer was used as scratch space.
        self.line.encode(notify, extranonce1, serial).map_err(|Full| NotifyRefused::TooLong)?;
        if notify.clean_jobs {
            self.jobs.end_all_but_newest();
        }
        self.next_is_clean = false;
        self.last_job = now;
        self.go_live(now);
        Ok(Announced { serial, clean: false })
    }

    fn job(
        &mut self,
        notify: &Notify<'_>,
        extranonce2_size: u8,
        serial: Serial,
        now: Instant,
    ) -> Result<Job, NotifyRefused> {
        let nbits = NBits(notify.nbits);
        let network_target = Target::from_nbits(nbits).map_err(|_| NotifyRefused::NBits)?;
        let pool_job_id: heapless::String<POOL_JOB_ID_BYTES_MAX> =
            notify.job_id.as_raw().try_into().map_err(|_| NotifyRefused::JobId)?;
        // The line buffer is about to be rewritten, so it serves as scratch space here.
        let coinb1 =
            hex::decode(notify.coinb1, self.line.scratch()).map_err(|_| NotifyRefused::TooLong)?;
        let prefix = CoinbasePrefix::new(&[coinb1, self.extranonce1.as_bytes()]);
        let mut branches = heapless::Vec::new();
        for branch in notify.branches.iter() {
            let branch = hex::decode_exact(branch).map_err(|_| NotifyRefused::Branches)?;
            branches.push(branch).map_err(|_| NotifyRefused::Branches)?;
        }
        let prev_hash = hex::decode_exact(notify.prev_hash).map_err(|_| NotifyRefused::PrevHash)?;
        let coinb2 =
            hex::decode(notify.coinb2, self.line.scratch()).map_err(|_| NotifyRefused::TooLong)?;
        let place = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        let numbers = [notify.version, notify.nbits, place];
        let task = Task::of(prefix.hash_with(&[], coinb2), &branches, &prev_hash, numbers);
        Ok(Job {
            serial,
            epoch: self.epoch,
            task,
            live: true,
            received: now,
            pool_job_id,
            prefix,
            extranonce2_size,
            first: serial,
            turn: self.turn,
            branches,
            prev_hash: PrevHash::from_stratum(&prev_hash),
            version: Version(notify.version),
            mask: self.mask,
            nbits,
            ntime: NTime(notify.ntime),
            difficulty: self.difficulty,
            target: self.difficulty.to_target(),
            network_target,
            ..Job::vacant()
        })
    }

    /// Announces the newest job again, under a new id and with its ntime moved on.
    pub(crate) fn renew(&mut self, serial: Serial, ntime: NTime, now: Instant) -> Option<Serial> {
        if self.line.is_empty() {
            return None;
        }
        let serial = self.jobs.renew(serial, ntime, self.mask, now)?;
        self.line.renew(serial)?;
        Some(serial)
    }

    /// Writes the notify line of the newest job for a miner.
    pub(crate) fn write_notify(
        &self,
        seat: Seat,
        clean: bool,
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let Some(job) = self.jobs.newest() else { return Ok(()) };
        // A miner that does not fit gets no job from this link.
        let Ok(pad) = seat.space.pad(job.extranonce2_size) else { return Ok(()) };
        self.line.write(&pad, job.ntime_for(seat.space, seat.since), clean, out)
    }

    /// Says whether miners of a geometry fit the pool, as far as its length is known.
    pub(crate) fn fits(&self, geometry: Geometry) -> bool {
        self.extranonce2_size.is_none_or(|size| geometry.fits(size).is_ok())
    }

    /// Writes the newest job for one miner under another id, with its ntime moved on; never clean.
    pub(crate) fn write_notify_as(
        &self,
        seat: Seat,
        serial: Serial,
        later: u32,
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let Some(job) = self.jobs.newest() else { return Ok(()) };
        let Ok(pad) = seat.space.pad(job.extranonce2_size) else { return Ok(()) };
        let ntime = job.ntime_for(seat.space, seat.since);
        self.line.write_as(serial, &pad, NTime(ntime.0.saturating_add(later)), out)
    }

    fn go_live(&mut self, now: Instant) {
        if self.subscribed
            && self.authorized
            && !self.line.is_empty()
            && !self.next_is_clean
            && self.state == State::Authorizing
        {
            self.enter(State::Live, now);
            self.live_since = Some(now);
            self.was_live = true;
            self.sessions = self.sessions.wrapping_add(1);
        }
    }

    /// Writes the next line of the handshake or the next answer to the pool's requests; returns
    /// whether there was one.
    pub(crate) fn write_session(
        &mut self,
        login: Login<'_>,
        out: &mut Writer<'_>,
    ) -> Result<bool, Full> {
        if let Some(owed) = self.owed.front() {
            let id = Id::from_raw(&owed.id).unwrap_or(Id::NULL);
            if owed.version {
                encode::version_result(id, login.agent, out)?;
            } else {
                encode::pong(id, out)?;
            }
            self.owed.pop_front();
            return Ok(true);
        }
        if let (State::Live, Some((difficulty, _)), false) =
            (self.state, self.suggested, self.suggestion_sent)
        {
            encode::suggest_difficulty(ID_SUGGEST, difficulty.as_f64(), out)?;
            self.suggestion_sent = true;
            return Ok(true);
        }
        if self.step_sent {
            return Ok(false);
        }
        match self.state {
            State::Configuring => encode::configure(ID_CONFIGURE, MASK_ASKED.0, 2, out)?,
            State::Subscribing => {
                // A pool that resumes the session takes the shares held over a cut (F56).
                let known = if self.session.is_empty() { login.session } else { &self.session };
                let asks = |session: &&str| !session.is_empty() && !self.asks_anew;
                let session = Some(known).filter(asks);
                encode::subscribe(ID_SUBSCRIBE, login.agent, session, out)?;
            }
            State::Authorizing => {
                encode::authorize(ID_AUTHORIZE, login.user, login.password, out)?;
            }
            State::Idle | State::Connecting | State::Live | State::Draining => return Ok(false),
        }
        self.step_sent = true;
        Ok(true)
    }

    /// Skips a configure without an answer in time; a timeout of another step ends the link.
    pub(crate) fn handle_step_timeout(&mut self, now: Instant) -> Result<(), LinkClose> {
        if now.since(self.since) < crate::limits::LINK_STEP_MAX {
            return Ok(());
        }
        match self.state {
            State::Configuring => {
                self.mask = VersionMask::NONE;
                self.enter(State::Subscribing, now);
                Ok(())
            }
            State::Subscribing => Err(LinkClose::HandshakeTimeout(self.state)),
            // Once authorized it only waits for a job, which has its own deadline.
            State::Authorizing
                if !self.authorized
                    && now.since(self.opened) >= crate::limits::LINK_HANDSHAKE_MAX =>
            {
                Err(LinkClose::HandshakeTimeout(self.state))
            }
            _ => Ok(()),
        }
    }
}

/// The gateway's login at a pool.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The user agent.
    pub agent: &'a str,
    /// The account or worker.
    pub user: &'a str,
    /// Its password, mostly `x`.
    pub password: &'a str,
    /// A session of an earlier run worth resuming; mostly empty.
    pub session: &'a str,
}

/// Why a notify was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyRefused {
    /// It came before the answer to mining.subscribe.
    NotSubscribed,
    /// The compact target is negative, zero or above 2^256.
    NBits,
    /// The job id is longer than [`POOL_JOB_ID_BYTES_MAX`].
    JobId,
    /// A branch is not 32 bytes, or there are too many.
    Branches,
    /// The previous hash is not 32 bytes.
    PrevHash,
    /// The coinbase does not fit.
    TooLong,
}

impl NotifyRefused {
    /// Returns the name that the log uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not_subscribed",
            Self::NBits => "nbits",
            Self::JobId => "job_id",
            Self::Branches => "branches",
            Self::PrevHash => "prev_hash",
            Self::TooLong => "too_long",
        }
    }
}

fn read_extranonce(extranonce1: Text<'_>, size: u64) -> Result<(Extranonce1, u8), LinkClose> {
    let got = u8::try_from(size).unwrap_or(u8::MAX);
    // Any size is accepted that the smallest geometry fits; each miner's fit is checked apart.
    Geometry::choose(1, Some(got)).map_err(LinkClose::Incompatible)?;
    let mut bytes = [0; EXTRANONCE1_BYTES_MAX];
    let extranonce1 = hex::decode(extranonce1.as_bytes(), &mut bytes)
        .map_err(|_| LinkClose::SubscribeMalformed)?;
    let extranonce1 = Extranonce1::new(extranonce1).map_err(|_| LinkClose::SubscribeMalformed)?;
    Ok((extranonce1, got))
}
