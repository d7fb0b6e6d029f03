//! The proxy: joins the farm's miners to the links with the pools.
//!
//! Read this first. [`Proxy`] is the whole engine behind one `&mut self`. It takes bytes, settings
//! and `now`; it returns bytes, handles and the next deadline. It reads no clock, opens no socket
//! and allocates nothing. The owner hands in all memory once, as [`Storage`].
//!
//! Methods come in four kinds (C2). Getters take `&self`. `handle_*` take events. Plain verbs are
//! commands of the owner. `poll_*` return pending work. The order of calls:
//!
//! 1. A miner's connection starts with [`Proxy::handle_connect`]. Before each read,
//!    [`Proxy::poll_read`] gives the number of bytes to read. After each read call
//!    [`Proxy::handle_input`], then [`Proxy::poll_output`] into the same buffer, then write the
//!    buffer. Repeat while input is left. When the connection is gone, call
//!    [`Proxy::handle_disconnect`]. If the owner decides on admission ([`Proxy::ask_admission`]),
//!    it takes the question after each [`Proxy::handle_input`]: [`Proxy::poll_admission`].
//! 2. A link: [`Proxy::poll_dial`] asks for a connection; [`Proxy::handle_link_up`] or
//!    [`Proxy::handle_link_down`] answers. Each read goes to [`Proxy::handle_link_input`].
//!    [`Proxy::poll_hangup`] names a link to close.
//! 3. After any of these, and after [`Proxy::handle_timeout`] at [`Proxy::poll_timeout`]: write the
//!    output of [`Proxy::poll_link_output`] for every link, and dial and hang up as asked. Close
//!    the miners that [`Proxy::poll_closed`] names, and write to those of [`Proxy::poll_due`]. If
//!    [`Proxy::poll_relief`] returns `true`, resume reading. If [`Proxy::poll_fan_out`] returns
//!    `true`, walk the miners by [`Proxy::poll_wanting`].
//!
//! [`Proxy::blocks`] holds block candidates without an answer. The owner writes them to durable
//! storage before it answers the miner. After a restart it returns them by
//! [`Proxy::restore_block`].
//!
//! The parts: `proxy::miners` holds the one `match` over (state, request), `proxy::pools` the one
//! over a pool's lines. `proxy::shares` takes a submit to its verdict; `proxy::room` makes room for
//! remembered shares. `proxy::holding` slows reads from miners; `proxy::suggesting` suggests
//! difficulties to pools. `proxy::splitting` moves miners between goals; `proxy::admission` asks
//! the owner to admit workers.

mod admission;
mod blame;
mod blocks;
mod earnings;
mod holding;
mod miners;
mod pools;
mod room;
mod shares;
mod splitting;
mod suggesting;
mod workers;

use crate::blocks::Blocks;
use crate::downstream::{Close, Downstream};
use crate::identity::{Account, Grant, Identity, KeptNames, Names};
use crate::ledger::{Bucket, Ledger};
use crate::limits::{
    ANSWER_MAX, DOWNSTREAM_LINE_BYTES_MAX, EVENTS_MAX, GOALS_MAX, HOLD_MAX, JOB_AGE_MAX,
    JOB_SILENCE_MAX, JOBS_PER_LINK, LANES_MAX, LINKS_MAX, MINER_ID_BYTES_MAX, MINERS_MAX,
    NO_ID_SAID, NOTIFY_LINE_BYTES_MAX, PASSWORD_BYTES_MAX, PENDING_SHARES_MAX,
    PENDING_SHARES_NARROW, POOLS_MAX, ROLL_BYTES_MAX, SEEN_BUCKET_PLACES, SEEN_PLACES_LEAST,
    SEEN_PLACES_PER_MINER, SWEEP_PARTS, SWEEP_STEP, UPSTREAM_LINE_BYTES_LEAST,
    UPSTREAM_LINE_BYTES_MAX, USER_AGENT_BYTES_MAX, WORKER_NAME_BYTES_MAX,
};
use crate::links::{self, Links, Switch};
use crate::offenders::Offenders;
use crate::pending::{Pending, Place, Stage, Verdict};
use crate::personality::Unfit;
use crate::refusals::{Fate, Trouble};
use crate::seen::SeenShares;
use crate::split::{PerGoal, Split};
use crate::table::{IdBlock, IdPool, IdsExhausted, MinerHandle, Slot, Table, TableFull};
use crate::time::{Duration, Instant};
use crate::upstream::{Link, LinkClose, LinkIndex, LinkStorage, State};
use crate::vardiff::{self, Vardiff};
use crate::words::{Sayings, Words};
use crate::work::extranonce::{Geometry, Incompatible};
use crate::work::header::BlockHash;
use crate::work::job::{Job, Serial};

use suggesting::Meter;

pub use admission::{Admission, Question};

/// When a miner hears the verdict on a share that goes to the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum VerdictMode {
    /// At once, from the gateway's own check.
    #[default]
    Local,
    /// After the pool's answer.
    Pool,
}

/// A pool login. Its debug text hides the password (F99).
#[derive(Clone, Default)]
pub struct PoolLogin {
    /// The account or worker.
    pub user: heapless::String<WORKER_NAME_BYTES_MAX>,
    /// Its password.
    pub password: heapless::String<PASSWORD_BYTES_MAX>,
    /// The only host that `client.reconnect` may name.
    pub host: heapless::String<{ crate::limits::HOST_BYTES_MAX }>,
    /// The port from the settings.
    pub port: u16,
}

impl PoolLogin {
    /// Returns the host, port and user of a link to the pool.
    pub fn account(&self) -> Account {
        Account { host: self.host.clone(), port: self.port, user: self.user.clone() }
    }
}

impl core::fmt::Debug for PoolLogin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { user, host, .. } = self;
        write!(f, "PoolLogin {{ user: {user:?}, password: (redacted), host: {host:?} }}")
    }
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pools, first choice first.
    pub pools: heapless::Vec<PoolLogin, POOLS_MAX>,
    /// When the plan leaves a pool and when it tries one again.
    pub links: links::Policy,
    /// Difficulty of the miners.
    pub vardiff: vardiff::Policy,
    /// The newest job is sent again at this age, so that no miner thinks the pool dead.
    pub keepalive: Duration,
    /// When miners hear a verdict.
    pub verdict: VerdictMode,
    /// Under whose name shares go to the pool.
    pub identity: Identity,
    /// Whether miners get jobs while no pool is reachable.
    pub warm: bool,
    /// Minimum interval between two submits of one miner, on average.
    pub submit_interval: Duration,
    /// How the extranonce2 was divided in earlier runs; kept if the pools allow it.
    pub geometry: Option<Geometry>,
    /// The first miner id to give out.
    pub first_miner_id: u16,
    /// The user agent sent to pools.
    pub agent: heapless::String<USER_AGENT_BYTES_MAX>,
    /// Random bits, for jitter.
    pub seed: u64,
}

/// All memory of the engine, for its whole life.
#[derive(Debug)]
pub struct Storage<'a> {
    /// One slot per miner, at most [`MINERS_MAX`].
    pub slots: &'a mut [Slot],
    /// [`DOWNSTREAM_LINE_BYTES_MAX`] bytes per miner, for partial lines.
    pub lines: &'a mut [u8],
    /// [`Storage::ID_BLOCKS`] blocks of miner ids.
    pub ids: &'a mut [IdBlock],
    /// [`Storage::seen_for`] the number of miners; at least [`Storage::seen_min`].
    pub seen: &'a mut [[u64; SEEN_BUCKET_PLACES]],
    /// The size of each link's share of the following slices.
    pub link_sizes: LinkSizes,
    /// [`LinkSizes::jobs`] jobs per link.
    pub jobs: &'a mut [Job],
    /// [`LinkSizes::pending_for`] the number of links.
    pub pending: &'a mut [Pending],
    /// [`LinkSizes::bytes`] bytes per link.
    pub link_bytes: &'a mut [u8],
}

/// Memory of one link. A board may have less than the constants, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSizes {
    /// Jobs kept for late shares, 2 to [`JOBS_PER_LINK`].
    pub jobs: usize,
    /// Places in the share queue, 2 to [`PENDING_SHARES_MAX`].
    pub pending: usize,
    /// Number of links with a full-size share queue. The other links serve further lanes with few
    /// miners and have at most [`PENDING_SHARES_NARROW`] places.
    pub wide: usize,
    /// The longest line from a pool in bytes, [`UPSTREAM_LINE_BYTES_LEAST`] to
    /// [`UPSTREAM_LINE_BYTES_MAX`].
    pub line_bytes: usize,
}

impl LinkSizes {
    /// The largest sizes that the constants allow.
    pub const MAX: Self = Self {
        jobs: JOBS_PER_LINK,
        pending: PENDING_SHARES_MAX,
        wide: LINKS_MAX,
        line_bytes: UPSTREAM_LINE_BYTES_MAX,
    };

    /// Returns the bytes of lines and coinbases per link.
    pub const fn bytes(self) -> usize {
        self.line_bytes.saturating_add(self.notify_bytes()).saturating_add(self.coinb2_bytes())
    }

    /// Returns the total number of share places for `links` links.
    pub const fn pending_for(self, links: usize) -> usize {
        let wide = if links < self.wide { links } else { self.wide };
        let narrow = links.saturating_sub(wide).saturating_mul(self.pending_narrow());
        wide.saturating_mul(self.pending).saturating_add(narrow)
    }

    const fn pending_narrow(self) -> usize {
        if self.pending < PENDING_SHARES_NARROW { self.pending } else { PENDING_SHARES_NARROW }
    }

    /// Bytes of the encoded notify: the pool's line and the fields added to it.
    const fn notify_bytes(self) -> usize {
        self.line_bytes.saturating_add(NOTIFY_LINE_BYTES_MAX - UPSTREAM_LINE_BYTES_MAX)
    }

    /// Bytes of all second coinbase halves; the largest that fits a line fits twice.
    const fn coinb2_bytes(self) -> usize {
        self.line_bytes
    }

    fn is_allowed(self) -> bool {
        (2..=JOBS_PER_LINK).contains(&self.jobs)
            && (2..=PENDING_SHARES_MAX).contains(&self.pending)
            && (UPSTREAM_LINE_BYTES_LEAST..=UPSTREAM_LINE_BYTES_MAX).contains(&self.line_bytes)
    }
}

impl Storage<'_> {
    /// Bytes of lines and coinbases per link at the largest size.
    pub const LINK_BYTES: usize = LinkSizes::MAX.bytes();

    /// Blocks of ids: every two-byte id for the first lane, one block for each further lane.
    pub const ID_BLOCKS: usize = (1 << u8::BITS) + LANES_MAX - 1;

    /// Returns the number of seen-share buckets for a table of `miners`: [`SEEN_PLACES_PER_MINER`]
    /// places each, with a minimum for a small farm.
    pub const fn seen_for(miners: usize) -> usize {
        let (wanted, least) = (Self::seen_min(miners), SEEN_PLACES_LEAST / SEEN_BUCKET_PLACES);
        if wanted > least { wanted } else { least }
    }

    /// Returns the fewest seen-share buckets that a table of `miners` can work with.
    pub const fn seen_min(miners: usize) -> usize {
        miners.saturating_mul(SEEN_PLACES_PER_MINER / SEEN_BUCKET_PLACES)
    }

    /// Returns the bytes of all storage for `miners` and `links` of these sizes. A board's budget
    /// is checked against this sum (B6).
    pub const fn bytes_for(miners: usize, links: usize, sizes: LinkSizes) -> usize {
        let per_miner = size_of::<Slot>().saturating_add(DOWNSTREAM_LINE_BYTES_MAX);
        let ids = Self::ID_BLOCKS.saturating_mul(size_of::<IdBlock>());
        let seen = Self::seen_for(miners).saturating_mul(size_of::<[u64; SEEN_BUCKET_PLACES]>());
        let per_link = sizes.jobs.saturating_mul(size_of::<Job>()).saturating_add(sizes.bytes());
        let pending = sizes.pending_for(links).saturating_mul(size_of::<Pending>());
        miners
            .saturating_mul(per_miner)
            .saturating_add(ids)
            .saturating_add(seen)
            .saturating_add(links.saturating_mul(per_link))
            .saturating_add(pending)
            .saturating_add(size_of::<Proxy<'static>>())
    }
}

const _: () = assert!(size_of::<Slot>() <= 1072, "10,000 slots stay below 10.8 MB");
const _: () =
    assert!(Storage::bytes_for(10_000, 4, LinkSizes::MAX) <= 64 << 20, "10,000 in 64 MiB");
const _: () = assert!(size_of::<Proxy<'static>>() <= 96 << 10, "the proxy itself fits a stack");

/// The parts of the storage do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// No slot, or more than [`MINERS_MAX`].
    Miners {
        /// Slots that were handed in.
        got: usize,
    },
    /// Too few bytes for partial lines.
    Lines {
        /// Bytes that were handed in.
        got: usize,
        /// Bytes that the slots need.
        need: usize,
    },
    /// Too few blocks of ids.
    Ids {
        /// Blocks of ids that were handed in.
        got: usize,
        /// Blocks that are needed.
        need: usize,
    },
    /// Too few seen-share buckets.
    Seen {
        /// Buckets that were handed in.
        got: usize,
        /// Buckets that the slots need.
        need: usize,
    },
    /// Link sizes outside the limits.
    LinkSizes {
        /// Sizes that were asked for.
        got: LinkSizes,
    },
    /// Not enough memory for one link.
    Links,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// Every slot is in use.
    TableFull {
        /// Number of slots.
        capacity: usize,
    },
    /// The gateway is shutting down.
    Draining,
    /// Its address broke the protocol too often (F50).
    Offender {
        /// Seconds until the address is accepted again.
        secs: u64,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TableFull { capacity } => {
                write!(
                    f,
                    "all {capacity} miner slots are in use; raise miners.max or add a gateway"
                )
            }
            Self::Draining => write!(f, "the gateway is shutting down"),
            Self::Offender { secs } => {
                let text = "its address has sent too much that is not Stratum";
                write!(f, "{text}; it is accepted again in {secs} s")
            }
        }
    }
}

impl From<TableFull> for Refusal {
    fn from(full: TableFull) -> Self {
        Self::TableFull { capacity: full.capacity }
    }
}

/// An event that the owner may log, count or show.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A link is live.
    LinkLive {
        /// The link.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
    },
    /// A link was ended or could not be opened.
    LinkDown {
        /// The link.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
        /// The reason.
        close: LinkClose,
    },
    /// A pool was sent a suggested difficulty that fits the farm.
    Suggested {
        /// The pool's place in the list.
        pool: u8,
        /// The suggested difficulty.
        difficulty: f64,
    },
    /// A pool refused a suggested difficulty; no more are sent to it.
    SuggestionRefused {
        /// The pool's place in the list.
        pool: u8,
    },
    /// No pool has been live for longer than shares are held.
    NoPool,
    /// A link's share queue is full and a share was refused; reported once until it has room.
    QueueFull {
        /// The link.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
    },
    /// A pool refused a miner's worker; the link stays.
    WorkerRefused {
        /// The link with the refusal.
        link: LinkIndex,
    },
    /// A miner keeps sending shares that were already accepted.
    Repeats {
        /// The miner's handle, valid while it is connected.
        miner: MinerHandle,
        /// Its address as IPv6; an IPv4 address is mapped.
        peer: [u8; 16],
        /// Repeated shares in the last minute.
        shares: u32,
    },
    /// A miner's password holds an unreadable difficulty; the rest of the password is used.
    WishUnread {
        /// The miner.
        miner: MinerHandle,
    },
    /// A coinbase or worker name is longer than a miner's firmware is known to handle.
    Unfit {
        /// The miner.
        miner: MinerHandle,
        /// The field that is too long.
        unfit: Unfit,
    },
    /// The farm works for another pool from now on.
    Switched(Switch),
    /// A pool pays for no share, or for less than half; reported once.
    Unpaid {
        /// The link that the shares went out on.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
        /// How the pool fails to pay.
        trouble: Trouble,
    },
    /// The pool pays again.
    PaidAgain {
        /// The link that the shares went out on.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
    },
    /// A pool closed twice at `mining.configure`, so it is left out: no version rolling.
    ConfigureLeftOut {
        /// The link of the new attempt.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
    },
    /// A pool takes one name per connection, so all shares use the link's login.
    OneName {
        /// The link that showed this.
        link: LinkIndex,
        /// Its pool's place in the list.
        pool: u8,
    },
    /// Newcomers get a miner id and a roll of these lengths from now on.
    GeometryFixed {
        /// Bytes of the miner id.
        miner_id_bytes: u8,
        /// Bytes that a miner rolls.
        roll_bytes: u8,
    },
    /// No miner id is free for a newcomer.
    NoId(IdsExhausted),
    /// A share is a block.
    Block {
        /// The hash of its header.
        hash: BlockHash,
    },
    /// The pool answered a block candidate.
    BlockAnswered {
        /// Whether the pool accepted it.
        accepted: bool,
        /// Whether the record is kept for another try in a new session.
        kept: bool,
    },
    /// The pool answered a block candidate of a lost session or an earlier run.
    LateBlockAnswered {
        /// The hash of its header.
        hash: BlockHash,
        /// Whether the pool accepted it.
        accepted: bool,
        /// Whether the record is kept for another try in a new session.
        kept: bool,
    },
    /// A block candidate is too old to be worth anything, and no pool has answered it.
    BlockForgotten {
        /// The hash of its header.
        hash: BlockHash,
    },
    /// The list of block candidates is full, and this one was dropped from it.
    BlockNotKept {
        /// The hash of its header.
        hash: BlockHash,
    },
    /// A `client.reconnect` to another host, or one too soon, was ignored (F82).
    ReconnectRefused {
        /// The link that it came on.
        link: LinkIndex,
    },
    /// A notify could not be made into a job.
    NotifyRefused {
        /// The link that it came on.
        link: LinkIndex,
        /// The reason's name.
        reason: &'static str,
    },
    /// The pool sent a message for people.
    PoolMessage {
        /// The link that it came on.
        link: LinkIndex,
    },
    /// The pool's extranonce2 is too short or too long for any miner.
    Incompatible(Incompatible),
    /// Miners seated before a pool's extranonce2 was known do not fit it.
    KeptFrom {
        /// The pool's place in the list.
        pool: u8,
        /// How many miners, and the lengths.
        kept: KeptFrom,
    },
    /// Every connected miner fits the pool again.
    AllFit {
        /// The pool's place in the list.
        pool: u8,
    },
}

/// Miners whose needs exceed a pool's extranonce2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeptFrom {
    /// Bytes of the pool's extranonce2.
    pub got: u8,
    /// Bytes of extranonce2 needed by the most demanding of these miners.
    pub need: u8,
    /// Number of these miners.
    pub miners: u16,
}

impl core::fmt::Display for KeptFrom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { got, need, miners } = self;
        write!(
            f,
            "its extranonce2 has {got} bytes, and {miners} miners that connected before that was \
             known need {need}: they are kept from it until they connect again"
        )
    }
}

/// Consequences of settled shares: miners with answers due, and lost work. If the queue of miners
/// overflows, all miners are walked instead.
#[derive(Debug, Default)]
struct Due {
    miners: heapless::Deque<MinerHandle, EVENTS_MAX>,
    overflowed: bool,
    /// Work per goal to be taken back: its pool was not sent it, or left it unanswered.
    lost: PerGoal,
}

impl Due {
    fn push(&mut self, miner: MinerHandle) {
        self.overflowed |= self.miners.push_back(miner).is_err();
    }

    fn lose(&mut self, goal: u8, worth: f64) {
        if let Some(lost) = self.lost.get_mut(usize::from(goal)) {
            *lost += worth;
        }
    }
}

/// The engine: all state behind one `&mut self`.
#[derive(Debug)]
pub struct Proxy<'a> {
    options: Options,
    table: Table<'a>,
    offenders: Offenders,
    lines: &'a mut [u8],
    ids: &'a mut [IdBlock],
    pub(crate) links: Links<'a>,
    /// The geometry for newcomers, once it was chosen.
    geometry: Option<Geometry>,
    /// Seated miners, indexed by the bytes of extranonce2 that they need.
    needs: [u16; NEEDS],
    /// Pools reported as too short for some seated miners ([`Event::KeptFrom`]).
    keeps_out: [bool; POOLS_MAX],
    /// When a newcomer was last refused for want of a free id.
    no_id_at: Option<Instant>,
    ledger: Ledger,
    /// Accepted shares that could be sent again.
    seen: SeenShares<'a>,
    /// When room for seen shares was made last.
    room_made: Instant,
    /// A miner used up its part of light shares for one job.
    wants_renewal: bool,
    split: Split,
    /// The measured work of each goal's miners.
    meters: [Meter; GOALS_MAX],
    /// Pools that refused a suggested difficulty, one bit each.
    dislikes: u8,
    /// Seated miners per goal.
    at_goal: [u16; GOALS_MAX],
    blocks: Blocks,
    events: heapless::Deque<Event, EVENTS_MAX>,
    events_lost: u64,
    closing: heapless::Deque<(MinerHandle, Close), EVENTS_MAX>,
    /// Whether the owner decides on every new worker.
    asks_admission: bool,
    /// The open question that the owner has not taken yet.
    question: Option<Question>,
    due: Due,
    fan_out: bool,
    /// All held-back miners are to be asked again, whatever their queue says.
    relief: bool,
    sweep_at: Instant,
    sweep_part: u32,
    draining: bool,
    #[cfg(feature = "canary")]
    pub(crate) defect: Option<crate::canary::Defect>,
    /// When a pool was last live.
    pool_seen: Instant,
    /// Reasons that pools gave when they refused shares.
    sayings: Sayings,
    /// Pools that take one name per connection, one bit each.
    one_name: u8,
    /// No pool has been live for longer than shares are held.
    no_pool: bool,
    workers_refused: u64,
    /// Names of miners that left while their shares wait.
    names: KeptNames,
    oversized_jobs: u64,
}

impl<'a> Proxy<'a> {
    /// Creates the engine from options and memory.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the parts of the storage do not fit together.
    pub fn new(storage: Storage<'a>, options: Options, now: Instant) -> Result<Self, StorageError> {
        let miners = storage.slots.len();
        if miners == 0 || miners > MINERS_MAX {
            return Err(StorageError::Miners { got: miners });
        }
        let (got, need) = (storage.lines.len(), miners.saturating_mul(DOWNSTREAM_LINE_BYTES_MAX));
        if got < need {
            return Err(StorageError::Lines { got, need });
        }
        let (got, need) = (storage.ids.len(), Storage::ID_BLOCKS);
        if got < need {
            return Err(StorageError::Ids { got, need });
        }
        let (got, need) = (storage.seen.len(), Storage::seen_min(miners));
        if got < need {
            return Err(StorageError::Seen { got, need });
        }
        let sizes = storage.link_sizes;
        if !sizes.is_allowed() {
            return Err(StorageError::LinkSizes { got: sizes });
        }
        let links = links_of(sizes, storage.jobs, storage.pending, storage.link_bytes);
        if links.is_empty() {
            return Err(StorageError::Links);
        }
        let mut links = Links::new(links, options.links, options.seed, now);
        if let (Some(lane), Some(blocks)) = (links.lane_mut(0), id_blocks(storage.ids, 0)) {
            lane.ids = IdPool::new(blocks, miners, options.first_miner_id);
        }
        Ok(Self {
            links,
            seen: SeenShares::new(storage.seen, options.seed),
            room_made: now,
            wants_renewal: false,
            options,
            table: Table::new(storage.slots),
            offenders: Offenders::default(),
            lines: storage.lines,
            ids: storage.ids,
            geometry: None,
            needs: [0; NEEDS],
            keeps_out: [false; POOLS_MAX],
            no_id_at: None,
            ledger: Ledger::ZERO,
            split: Split::default(),
            meters: [Meter::default(); GOALS_MAX],
            dislikes: 0,
            at_goal: [0; GOALS_MAX],
            blocks: Blocks::default(),
            events: heapless::Deque::new(),
            events_lost: 0,
            closing: heapless::Deque::new(),
            asks_admission: false,
            question: None,
            due: Due::default(),
            fan_out: false,
            relief: false,
            sweep_at: now,
            sweep_part: 0,
            draining: false,
            #[cfg(feature = "canary")]
            defect: None,
            pool_seen: now,
            sayings: Sayings::default(),
            one_name: 0,
            no_pool: false,
            workers_refused: 0,
            names: KeptNames::default(),
            oversized_jobs: 0,
        })
    }

    /// Takes a new connection of a miner; `peer` is its address as IPv6, with IPv4 mapped.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the connection is not accepted.
    pub fn handle_connect(&mut self, peer: [u8; 16], now: Instant) -> Result<MinerHandle, Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        if let Some(left) = self.offenders.refused_for(peer, now) {
            return Err(Refusal::Offender { secs: left.as_secs().saturating_add(1) });
        }
        let mut session = Downstream::new(peer, Vardiff::new(&self.options.vardiff, now), now);
        if self.offenders.is_strict_for(peer, now) {
            session.be_strict();
        }
        Ok(self.table.insert(session)?)
    }

    /// Frees the slot of a closed connection. A stale handle does nothing.
    pub fn handle_disconnect(&mut self, miner: MinerHandle) {
        let Some(session) = self.table.remove(miner) else { return };
        let mut answer = session.answers;
        while let Some(place) = answer {
            // The verdict is booked; its miner is gone.
            let link = self.links.get_mut(LinkIndex(place.link));
            answer = link.and_then(|link| link.pending.take_answered(place));
        }
        if self.options.identity == Identity::PerWorker {
            self.leave_shares(miner, &session);
        }
        let Some(seat) = session.seat else { return };
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I2Bounds) {
            return;
        }
        self.leave_goal(session.goal());
        let worked = session.counts.accepted() > 0;
        self.leave_seat(seat, worked);
    }

    /// Does all work that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.check_links(now);
        self.tend_all_earnings(now);
        self.replan(now);
        self.note_pools(now);
        self.settle_authorizations(now);
        self.send_keepalives(now);
        self.settle_overdue(now);
        self.tend_blocks(now);
        self.sweep(now);
    }

    /// Returns the next deadline for [`Proxy::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I6Liveness) {
            return self.sweep_at;
        }
        match self.links.next_attempt() {
            Some(retry) if !self.draining => retry.min(self.sweep_at),
            _ => self.sweep_at,
        }
    }

    /// Returns the next link to connect, and its pool's place in the list.
    pub fn poll_dial(&mut self, now: Instant) -> Option<(LinkIndex, u8)> {
        if self.draining {
            return None;
        }
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I6Liveness)
            && self.links.iter().any(|(_, link)| link.attempts >= 3)
        {
            return None;
        }
        let (index, pool) = self.links.poll_dial(now)?;
        if let Some(link) = self.links.get_mut(index)
            && let Some(login) = self.options.pools.get(usize::from(pool))
        {
            link.account = login.account();
        }
        Some((index, pool))
    }

    /// Returns the next link to close; it is already booked as closed.
    pub fn poll_hangup(&mut self, now: Instant) -> Option<LinkIndex> {
        while let Some(link) = self.links.unneeded() {
            self.hang_up(link, LinkClose::Unneeded, now);
        }
        self.links.poll_hangup()
    }

    /// Returns a miner to disconnect, and the reason. The owner closes its connection.
    pub fn poll_closed(&mut self) -> Option<(MinerHandle, Close)> {
        self.closing.pop_front()
    }

    /// Returns a single miner with output due.
    pub fn poll_due(&mut self) -> Option<MinerHandle> {
        self.due.miners.pop_front()
    }

    /// Returns `true`, once, if any miner may have output due.
    pub fn poll_fan_out(&mut self) -> bool {
        core::mem::take(&mut self.fan_out) | core::mem::take(&mut self.due.overflowed)
    }

    /// Returns the next miner at or after `cursor` with output due, and moves the cursor past it.
    pub fn poll_wanting(&mut self, cursor: &mut usize) -> Option<MinerHandle> {
        let feeds = self.feeds();
        while *cursor < self.table.capacity() {
            let index = *cursor;
            *cursor = index.saturating_add(1);
            #[cfg(feature = "canary")]
            if self.has(crate::canary::Defect::I3Isolation) && index > 1 {
                return None;
            }
            if let Some((miner, session)) = self.table.at(index) {
                let authorized = session.state == crate::downstream::State::Authorized;
                let job_due = authorized && feeds && is_job_due(&self.links, session);
                let wish_due = authorized && feeds && session.wish_due;
                if job_due || wish_due || session.answers_due > 0 || session.is_answer_due() {
                    return Some(miner);
                }
            }
        }
        None
    }

    /// Says whether a call left anything to poll, besides shares bound for a pool and the next
    /// deadline. It is cheap: an owner may ask after each call.
    pub fn has_due(&self) -> bool {
        let asks = |link: &Link<'_>| {
            let authorizations = &link.authorizations;
            link.state == State::Live && !authorizations.is_idle() && !authorizations.is_full()
        };
        !self.closing.is_empty()
            || !self.due.miners.is_empty()
            || self.due.overflowed
            || self.fan_out
            || !self.events.is_empty()
            || self.links.iter().any(|(_, link)| asks(link))
    }

    /// Returns the oldest event not yet taken.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Stops accepting connections and dialling links; submits of connected miners still count.
    pub fn drain(&mut self) {
        self.draining = true;
        for index in 0..self.table.capacity() {
            if let Some((_, session)) = self.table.at(index) {
                session.state = crate::downstream::State::Draining;
            }
        }
    }

    /// Settles every waiting share when the owner ends and no pool's answer can arrive (F70).
    /// Miners waiting for a verdict are due one. Block candidates without an answer stay in
    /// [`Proxy::blocks`] for the next run.
    pub fn settle_all(&mut self) {
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::F70Drain) {
            return;
        }
        let Self { links, ledger, table, due, .. } = self;
        for (_, link) in links.iter_mut() {
            link.pending.free_where(|entry| {
                let to = Bucket::Orphaned(entry.orphaned_as());
                settle(entry, to, Verdict::NoAnswer, ledger, table, due)
            });
            // Held-back miners have no reason to be read any more.
            link.pending.take_relief(true);
        }
    }

    /// Says whether no share waits for an answer any more.
    pub fn is_drained(&self) -> bool {
        self.links.iter().all(|(_, link)| link.pending.is_empty())
    }

    /// Takes new options. Miners stay; links to a changed pool are reopened.
    pub fn apply(&mut self, options: Options, now: Instant) {
        for index in 0..POOLS_MAX {
            let same = match (self.options.pools.get(index), options.pools.get(index)) {
                (Some(old), Some(new)) => {
                    old.password == new.password && old.account() == new.account()
                }
                (None, None) => true,
                _ => false,
            };
            if !same {
                self.reopen_pool(index);
            }
        }
        if self.options.identity != options.identity {
            // The names must be authorized anew, or are no longer used.
            (0..POOLS_MAX).for_each(|pool| self.reopen_pool(pool));
        }
        self.options = options;
        self.links.set_policy(self.options.links, now);
        self.choose_geometry();
        self.handle_timeout(now);
    }

    /// Closes every link of a pool; the plan reopens them.
    pub fn reopen_pool(&mut self, pool: usize) {
        self.forget_dislike(pool);
        self.forget_one_name(pool);
        self.links.forget_size(pool);
        for index in 0..LINKS_MAX {
            let Some(index) = u8::try_from(index).ok().map(LinkIndex) else { break };
            let Some(link) = self.links.get_mut(index) else { break };
            if usize::from(link.pool) != pool {
                continue;
            }
            link.names = Names::default();
            link.wanted = false;
            if link.state == State::Idle {
                self.void_held(index);
            }
        }
    }

    /// Returns how the work was divided among goals.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// Returns how many miners work for a goal.
    pub fn miners_at(&self, goal: u8) -> u16 {
        self.at_goal.get(usize::from(goal)).copied().unwrap_or(0)
    }

    /// Returns the ledger of all miners since the start.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Iterates over the connected miners.
    pub fn miners(&self) -> impl Iterator<Item = (MinerHandle, &Downstream)> {
        self.table.iter()
    }

    /// Returns a connected miner.
    pub fn miner(&self, miner: MinerHandle) -> Option<&Downstream> {
        self.table.get(miner)
    }

    /// Returns how many miners are connected, and how many could be.
    pub fn occupancy(&self) -> (usize, usize) {
        (self.table.len(), self.table.capacity())
    }

    /// Returns the links and their lanes.
    pub fn links(&self) -> &Links<'a> {
        &self.links
    }

    /// Says whether new miners should wait: no miner has a seat, and some pool may still tell its
    /// extranonce2 length in time (F89).
    pub fn is_hearing(&self, now: Instant) -> bool {
        self.needs.iter().all(|count| *count == 0) && self.links.is_hearing(now)
    }

    /// Returns the miners that do not fit a pool's extranonce2; they fit after they reconnect.
    pub fn kept_from(&self, pool: u8) -> Option<KeptFrom> {
        let got = self.links.size_of(pool)?;
        let longer = (0u8..).zip(self.needs).filter(|(need, count)| *need > got && *count > 0);
        longer.fold(None, |kept: Option<KeptFrom>, (need, count)| {
            let miners = kept.map_or(0, |kept| kept.miners).saturating_add(count);
            Some(KeptFrom { got, need, miners })
        })
    }

    /// Says whether a newcomer was refused a moment ago for want of a free id.
    pub fn lacks_ids(&self, now: Instant) -> bool {
        self.no_id_at.is_some_and(|at| now.since(at) < NO_ID_SAID)
    }

    /// Returns the geometry for newcomers, once a pool was heard or a miner came.
    pub fn geometry(&self) -> Option<Geometry> {
        self.geometry
    }

    /// Returns the number of jobs sent to miners whose firmware may not survive the coinbase.
    pub fn oversized_jobs(&self) -> u64 {
        self.oversized_jobs
    }

    /// Returns the number of events dropped because the queue was full.
    pub fn events_lost(&self) -> u64 {
        self.events_lost
    }

    /// Reconciles links and routes with the live links, and reports switches.
    fn replan(&mut self, now: Instant) {
        let planned = self.links.plan(now);
        self.fan_out |= planned.fan_out;
        for switch in planned.switched.into_iter().flatten() {
            self.push_event(Event::Switched(switch));
        }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.is_full() {
            self.events.pop_front();
            self.events_lost = self.events_lost.saturating_add(1);
        }
        // There is room: a full queue has just dropped its oldest event.
        let _ = self.events.push_back(event);
    }

    /// Closes links that are silent, slow or break the protocol.
    fn check_links(&mut self, now: Instant) {
        for index in 0..LINKS_MAX {
            let Some(link) = u8::try_from(index).ok().map(LinkIndex) else { break };
            let Some(state) = self.links.get_mut(link) else { break };
            state.forgive(now);
            let verdict = match state.state {
                State::Idle | State::Connecting => Ok(()),
                _ if now.since(state.last_job) >= JOB_SILENCE_MAX => Err(LinkClose::JobSilence),
                _ if state.is_unresponsive(now) => Err(LinkClose::Unresponsive),
                _ => state.handle_step_timeout(now),
            };
            if let Err(close) = verdict {
                self.hang_up(link, close, now);
            }
        }
    }

    /// Books a link as closed and asks the owner to close it.
    fn hang_up(&mut self, link: LinkIndex, close: LinkClose, now: Instant) {
        self.book_link_down(link, close, now);
        if let Some(link) = self.links.get_mut(link) {
            link.hangup = true;
        }
    }

    /// Notes whether any pool is live, and reports when none has been for too long.
    fn note_pools(&mut self, now: Instant) {
        if self.links.iter().any(|(_, link)| link.state == State::Live) {
            self.pool_seen = now;
        }
        let away = now.since(self.pool_seen) >= HOLD_MAX;
        if away && !self.no_pool {
            self.push_event(Event::NoPool);
        }
        self.no_pool = away;
    }

    /// Says whether miners get jobs: not while all pools are away, unless the farm is kept warm.
    fn feeds(&self) -> bool {
        !self.no_pool || self.options.warm
    }

    /// Sends the newest job again at the keep-alive's age, so that no miner gives up.
    fn send_keepalives(&mut self, now: Instant) {
        if !self.feeds() {
            return;
        }
        for link in self.links.serving() {
            let Some(job) = self.links.get(link).and_then(|link| link.announced()) else {
                continue;
            };
            let age = now.since(job.received);
            if age < self.options.keepalive {
                continue;
            }
            self.announce_again(link, now);
        }
    }

    /// Settles shares past their deadline, and ends jobs past their age.
    fn settle_overdue(&mut self, now: Instant) {
        let Self { links, ledger, table, due, draining, .. } = self;
        let serving = links.serving();
        for (index, link) in links.iter_mut() {
            if now.as_micros() > JOB_AGE_MAX.as_micros() {
                let before =
                    Instant::from_micros(now.as_micros().saturating_sub(JOB_AGE_MAX.as_micros()));
                link.jobs.end_older(before, serving.contains(&index));
            }
            let open = link.state.is_open();
            // The link is not dialled again: late shares for its jobs wait in vain.
            let is_over = link.state == State::Idle && (!link.wanted || *draining);
            let is_crowded = link.pending.is_crowded();
            let mut unanswered = 0_u32;
            link.pending.free_where(|entry| {
                let age = now.since(entry.since);
                // A block candidate waits as long as its job can live (F39). If the pool answers
                // none and the queue is crowded, candidates leave it sooner: each is tried late
                // from its record.
                let hold = if entry.is_block() { JOB_AGE_MAX } else { HOLD_MAX };
                let answer = if entry.is_block() && !is_crowded { JOB_AGE_MAX } else { ANSWER_MAX };
                let is_overdue = match entry.stage {
                    Stage::Sent => age >= answer,
                    // Its name was neither granted nor refused, as after a change of the mode.
                    Stage::Queued if open => {
                        age >= ANSWER_MAX + hold && entry.grant != Grant::Granted
                    }
                    Stage::Queued | Stage::Held => is_over || age >= hold,
                    Stage::Answered(_) => false,
                };
                let to = Bucket::Orphaned(entry.orphaned_as());
                let is_lost = is_overdue && entry.stage == Stage::Sent;
                unanswered = unanswered.saturating_add(u32::from(is_lost));
                is_overdue && settle(entry, to, Verdict::NoAnswer, ledger, table, due)
            });
            for _ in 0..unanswered {
                link.refusals.handle_fate(Fate::Unanswered, Words::NONE, None, now);
            }
        }
    }

    /// Sweeps a part of the table: handshake deadlines, vardiff of slow miners, goals.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        #[cfg(feature = "canary")]
        let passed = self.sweep_at;
        self.sweep_at = now + SWEEP_STEP;
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::F66Leap) {
            self.sweep_at = passed + SWEEP_STEP;
        }
        self.tend_seen(now);
        self.relief = true;
        self.balance(now);
        self.suggest(now);
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I9Determinism) {
            self.sweep_at = self.sweep_at + crate::canary::drift();
        }
        let size = self.table.capacity().div_ceil(SWEEP_PARTS as usize);
        let first = size.saturating_mul(self.sweep_part as usize);
        self.sweep_part = self.sweep_part.saturating_add(1) % SWEEP_PARTS;
        for index in first..first.saturating_add(size).min(self.table.capacity()) {
            let Some((miner, session)) = self.table.at(index) else { continue };
            if session.deadline().is_some_and(|deadline| now >= deadline) {
                let close = Close::HandshakeTimeout(session.state);
                if self.closing.push_back((miner, close)).is_err() {
                    // The next sweep finds the rest.
                    break;
                }
            }
            session.forgive(now);
            workers::end_wait(session, miner, &mut self.due, now);
            let feed = session
                .seat
                .and_then(|seat| self.links.feed(seat.lane, session.goal(), seat.space.geometry));
            let working = feed.is_some_and(|(_, link)| link.state == State::Live);
            if core::mem::take(&mut session.is_held_back) {
                // A held-back miner is silent because it is not read.
            } else if working && session.told_job != Serial::NONE {
                session.vardiff.handle_timeout(&self.options.vardiff, now);
            } else {
                // Without work, silence proves nothing.
                session.vardiff.restart(now);
            }
            self.settle_goal(index, now);
        }
    }

    /// Returns a lane and its blocks of ids.
    fn lane_and_ids(&mut self, lane: u8) -> Option<(&mut links::Lane, &mut [IdBlock])> {
        Some((self.links.lane_mut(lane)?, id_blocks(self.ids, lane)?))
    }
}

/// Says whether a miner's link has a newer job than the miner was told.
fn is_job_due(links: &Links<'_>, session: &Downstream) -> bool {
    let feed = session.seat.and_then(|s| links.feed(s.lane, session.goal(), s.space.geometry));
    let job = feed.and_then(|(_, link)| link.announced());
    job.is_some_and(|job| job.serial != session.told_job)
}

/// The blocks of a lane: all two-byte ids for the first, one block for each other.
fn id_blocks(blocks: &mut [IdBlock], lane: u8) -> Option<&mut [IdBlock]> {
    let (wide, narrow) = blocks.split_at_mut_checked(1 << u8::BITS)?;
    match usize::from(lane).checked_sub(1) {
        None => Some(wide),
        Some(place) => narrow.get_mut(place).map(core::slice::from_mut),
    }
}

/// One place for every number of bytes that a geometry can need.
const NEEDS: usize = (MINER_ID_BYTES_MAX + ROLL_BYTES_MAX + 1) as usize;

/// Gives a waiting share its final bucket; returns whether its entry is free now. If its miner
/// waits for the verdict, the entry stays until the miner was told.
fn settle(
    entry: &mut Pending,
    to: Bucket,
    verdict: Verdict,
    ledger: &mut Ledger,
    table: &mut Table<'_>,
    due: &mut Due,
) -> bool {
    let from = match entry.stage {
        Stage::Held => Bucket::Held,
        Stage::Queued | Stage::Sent => Bucket::Pending,
        // Already counted; its miner may have left.
        Stage::Answered(_) => return table.get(entry.miner).is_none(),
    };
    ledger.settle(from, to);
    if matches!(to, Bucket::Orphaned(_)) {
        due.lose(entry.goal, f64::from(entry.worth));
    }
    let Some(session) = table.get_mut(entry.miner) else { return true };
    session.counts.settle(from, to);
    if entry.reply.is_none() {
        session.end_wait(entry.stint);
        return true;
    }
    entry.stage = Stage::Answered(verdict);
    entry.next_answer = session.answers.replace(entry.place).unwrap_or(Place::NOWHERE);
    session.answers_due = session.answers_due.saturating_add(1);
    due.push(entry.miner);
    false
}

fn links_of<'a>(
    sizes: LinkSizes,
    jobs: &'a mut [Job],
    mut pending: &'a mut [Pending],
    bytes: &'a mut [u8],
) -> heapless::Vec<Link<'a>, LINKS_MAX> {
    let mut links = heapless::Vec::new();
    let parts = jobs.chunks_exact_mut(sizes.jobs).zip(bytes.chunks_exact_mut(sizes.bytes()));
    for (index, (jobs, bytes)) in parts.take(LINKS_MAX).enumerate() {
        let many = if index < sizes.wide { sizes.pending } else { sizes.pending_narrow() };
        let Some((waiting, others)) = pending.split_at_mut_checked(many) else { break };
        pending = others;
        let (rest, bytes) = bytes.split_at_mut(sizes.line_bytes);
        let (line, coinb2) = bytes.split_at_mut(sizes.notify_bytes());
        // There is room: at most LINKS_MAX are taken.
        let _ = links.push(Link::new(LinkStorage { rest, line, coinb2, jobs, pending: waiting }));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn links_with(link_sizes: LinkSizes) -> Result<usize, StorageError> {
        let jobs = link_sizes.jobs;
        let storage = Storage {
            slots: vec![Slot::VACANT].leak(),
            lines: vec![0; DOWNSTREAM_LINE_BYTES_MAX].leak(),
            ids: vec![IdBlock::FREE; Storage::ID_BLOCKS].leak(),
            seen: vec![[0; SEEN_BUCKET_PLACES]; Storage::seen_min(1)].leak(),
            link_sizes,
            jobs: (0..2 * jobs).map(|_| Job::vacant()).collect::<Vec<_>>().leak(),
            pending: vec![Pending::FREE; link_sizes.pending_for(2)].leak(),
            link_bytes: vec![0; 2 * link_sizes.bytes()].leak(),
        };
        let difficulty = crate::work::difficulty::Difficulty::ONE;
        let options = Options {
            pools: heapless::Vec::new(),
            links: links::Policy { standby: false, ..links::Policy::default() },
            vardiff: vardiff::Policy {
                start: difficulty,
                min: difficulty,
                max: difficulty,
                share_interval: Duration::ZERO,
            },
            keepalive: Duration::ZERO,
            identity: Identity::Single,
            warm: true,
            verdict: VerdictMode::Local,
            submit_interval: Duration::ZERO,
            geometry: None,
            first_miner_id: 0,
            agent: heapless::String::new(),
            seed: 0,
        };
        let proxy = Proxy::new(storage, options, Instant::ZERO)?;
        Ok(proxy.links().iter().count())
    }

    #[test]
    fn f99_no_debug_text_of_the_options_shows_a_password() {
        let login = PoolLogin { password: "hunter22".try_into().unwrap(), ..PoolLogin::default() };
        assert!(!std::format!("{login:?}").contains("hunter22"));
    }

    #[test]
    fn f90_the_plan_has_room_for_the_shares_that_are_remembered() {
        let bytes = |miners| Storage::seen_for(miners) * size_of::<[u64; SEEN_BUCKET_PLACES]>();
        assert_eq!(bytes(10_000), 10_000 * 256);
        assert_eq!(bytes(1), 64 << 10, "a small farm has the least");
        let of = |miners| Storage::bytes_for(miners, 4, LinkSizes::MAX);
        let per_miner = size_of::<Slot>() + DOWNSTREAM_LINE_BYTES_MAX + 256;
        assert_eq!(of(12_000) - of(11_000), 1_000 * per_miner);
    }

    #[test]
    fn a_board_may_have_less_per_link_and_never_more() {
        let small = LinkSizes { jobs: 4, pending: 16, wide: 2, line_bytes: 8192 };
        assert_eq!(links_with(small), Ok(2));
        assert_eq!(links_with(LinkSizes { wide: 1, ..LinkSizes::MAX }), Ok(2));
        assert_eq!(links_with(LinkSizes::MAX), Ok(2));
        for got in [
            LinkSizes { jobs: JOBS_PER_LINK + 1, ..small },
            LinkSizes { jobs: 1, ..small },
            LinkSizes { pending: PENDING_SHARES_MAX + 1, ..small },
            LinkSizes { line_bytes: UPSTREAM_LINE_BYTES_MAX + 1, ..small },
            LinkSizes { line_bytes: UPSTREAM_LINE_BYTES_LEAST - 1, ..small },
        ] {
            assert_eq!(links_with(got), Err(StorageError::LinkSizes { got }));
        }
    }
}
