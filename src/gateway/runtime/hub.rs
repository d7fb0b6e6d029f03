//! The state that all tasks of the gateway share: the engine, the miners' sockets, the links.
//!
//! All tasks run on one thread. Each task borrows within one step and returns the borrow before it
//! waits. No borrow crosses an await; a borrow that fails is a bug.
//!
//! A miner costs a small task, a [`Port`] in the table and no buffer of its own. Reads go into one
//! scratch buffer that all share; answers are written from another. Only bytes that a full socket
//! refused are kept, until the socket takes them.
//!
//! The answers of a miner that found a block wait until the disk's thread has written the block
//! ([`Hub::hold`]). They lie in that miner's spill; no other miner waits.
//!
//! Tasks borrow the engine as an [`Engine`]. Its drop wakes the pump if the call left work.
//!
//! Invariants: a port is in the table exactly while the engine knows its miner. [`Hub::end`] is the
//! only way out: it updates the engine, the door's count and the table together.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::Waker;

use loka_stratum::blocks::Unsaved;
use loka_stratum::downstream::Close;
use loka_stratum::ledger::Bucket;
use loka_stratum::limits::{
    BLOCK_WRITE_INTERVAL, BLOCK_WRITES_BURST_MAX, LINKS_MAX, OUTPUT_BYTES_MIN, READ_BYTES_MAX,
    SPILL_BYTES_MAX,
};
use loka_stratum::links::Switch;
use loka_stratum::offenders::{Place, is_this_machine, octets};
use loka_stratum::proxy::{Options, Proxy, Refusal};
use loka_stratum::settings::Settings;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Instant;
use loka_stratum::wire::writer::Writer;
use tokio::net::TcpStream;

use crate::gateway::access::admission::{self, Admissions};
use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::clock;
use crate::gateway::base::event_loop;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::base::plan::{PORT_BYTES_MAX, Plan};
use crate::gateway::base::shelf::{Shelf, Writing};
use crate::gateway::base::signal::Signal;
use crate::gateway::base::store::{Block, Blocks, Memory};
use crate::gateway::runtime::crowd::Crowd;
use crate::gateway::runtime::dial::Dialer;
use crate::gateway::runtime::link::LinkPort;

/// Shared state of the tasks.
pub struct Hub {
    /// The engine.
    pub proxy: RefCell<Proxy<'static>>,
    /// The sizes of all tables, planned at start-up.
    pub plan: Plan,
    /// The settings in use.
    pub settings: RefCell<Box<Settings>>,
    /// The dialers of the pools, in the order of the settings.
    pub dialers: RefCell<Vec<Rc<Dialer>>>,
    /// The miners' sockets, by the index of their handles.
    pub(crate) ports: RefCell<Vec<Option<Port>>>,
    /// The state folder given at start-up; empty if there is none.
    pub(crate) state_dir: String,
    /// The [`Memory`] kept across restarts, if there is a state folder.
    pub(crate) memory: RefCell<Option<Shelf<Memory>>>,
    /// Why the state folder cannot be used.
    pub(crate) state_problem: RefCell<Option<String>>,
    /// The block candidates kept across restarts, if there is a state folder.
    pub(crate) blocks: RefCell<Option<Shelf<Blocks>>>,
    /// The block candidates last written to the shelf.
    known_blocks: RefCell<Vec<Block>>,
    /// Rate limit for writes of found blocks, since they wear flash out.
    writes: Cell<Allowance>,
    /// Settings writes over the life of this disk.
    pub(crate) settings_writes: Cell<u64>,
    /// The settings file on disk cannot be used.
    pub(crate) file_is_bad: Cell<bool>,
    /// The links' ends, by their index.
    pub(crate) links: RefCell<Vec<LinkPort>>,
    /// Miners that are not read until there is room for their shares.
    pub(crate) held_back: RefCell<Vec<MinerHandle>>,
    /// Miners whose sockets are full.
    pub(crate) blocked: RefCell<Vec<MinerHandle>>,
    /// Memory that holds their unsent bytes.
    pub(crate) spills: Spills,
    pub(crate) scratch: RefCell<Scratch>,
    door: RefCell<Door>,
    /// Addresses that have reached their connection limit.
    pub(crate) crowd: RefCell<Crowd>,
    /// Admission of workers.
    pub admissions: Admissions,
    counts: RefCell<Counts>,
    is_draining: Cell<bool>,
    /// Wakes the task that serves the engine's deadlines and the work that calls left.
    pub(crate) pump: Signal,
    /// Wakes the task that sends jobs to all miners.
    pub(crate) fan_out: Signal,
}

/// Buffers shared by all tasks, used within one step.
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) write: Box<[u8]>,
}

/// Memory of all miners together for bytes that full sockets refused (B6). When it is used up, the
/// next miner that needs more is closed; [`End::SpillsFull`] counts these closes.
pub(crate) struct Spills {
    used: Cell<usize>,
    max: usize,
}

/// The gateway's end of a miner's connection.
pub(crate) struct Port {
    pub(crate) miner: MinerHandle,
    pub(crate) stream: TcpStream,
    pub(crate) peer: [u8; 16],
    /// Bytes not yet taken by the socket.
    pub(crate) spill: Vec<u8>,
    /// When `spill` last became non-empty.
    pub(crate) blocked_since: Instant,
    /// Whether the miner is in the list of miners held back.
    pub(crate) is_held_back: bool,
    /// Pending writes of this miner's blocks; the bytes in `spill` wait for them.
    pub(crate) held: u16,
    /// The miner's task.
    pub(crate) waker: Option<Waker>,
}

const _: () = assert!(size_of::<Option<Port>>() <= PORT_BYTES_MAX, "the plan counts less");

/// The engine during a call. Only [`Hub::turn`], which does the due work, borrows without it.
pub(crate) struct Engine<'h> {
    proxy: RefMut<'h, Proxy<'static>>,
    /// Shares that waited for a pool before the call.
    pending: u64,
    pump: &'h Signal,
}

/// Why a miner's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The miner closed it.
    Gone,
    /// The connection broke.
    Broken,
    /// The engine ended it.
    Closed(Close),
    /// The miner left its answers unread for too long.
    SlowReader,
    /// The miner requested more than it read.
    Unread,
    /// The spill memory of all miners together is used up.
    SpillsFull,
    /// Its address has reached its limit, and the miner no longer answers.
    Vanished,
}

impl End {
    /// Returns the name that metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Broken => "broken",
            Self::Closed(close) => close.name(),
            Self::SlowReader => "slow_reader",
            Self::Unread => "unread",
            Self::SpillsFull => "spills_full",
            Self::Vanished => "vanished",
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Engine(Refusal),
    Address { allowed: u16 },
    NotAdmitted,
}

/// Connections by address.
#[derive(Default)]
struct Door {
    /// The map's hash is seeded, so chosen addresses cannot slow it down (F54). It holds at most
    /// one entry per miner.
    by_address: HashMap<Place, u16>,
}

/// Counters of the gateway itself.
#[derive(Clone, Default)]
pub struct Counts {
    /// Connections admitted.
    pub accepted: u64,
    /// Connections refused, by reason.
    pub refused: Tally,
    /// Connections that ended, by reason.
    pub ended: Tally,
    /// Links that ended or failed to open, by reason.
    pub links_lost: Tally,
    /// Blocks found.
    pub blocks: u64,
    /// Switches of a goal to another pool, by reason.
    pub switches: Tally,
    /// The last switch of each goal.
    pub switched: BTreeMap<u8, Switched>,
}

/// A goal's switch to another pool.
#[derive(Clone, Debug)]
pub struct Switched {
    /// The new pool.
    pub to: u8,
    /// The reason, in words.
    pub why: String,
    /// When it happened.
    pub at: Instant,
}

impl Counts {
    /// Counts a switch and keeps it as the last one of its goal.
    pub fn note_switch(&mut self, switch: Switch, why: &str, now: Instant) {
        self.switches.add(switch.why.name());
        let switched = Switched { to: switch.to, why: why.to_owned(), at: now };
        self.switched.insert(switch.goal, switched);
    }
}

/// Counts by name; the names are few.
#[derive(Clone, Default)]
pub struct Tally(Vec<(&'static str, u64)>);

impl Hub {
    /// Builds the hub.
    pub fn new(
        proxy: Proxy<'static>,
        plan: Plan,
        settings: Box<Settings>,
        dialers: Vec<Rc<Dialer>>,
        admissions: Admissions,
    ) -> Self {
        let mut proxy = proxy;
        proxy.ask_admission(admission::asks_names(&settings.admit));
        let (_, capacity) = proxy.occupancy();
        Self {
            proxy: RefCell::new(proxy),
            spills: Spills::new(plan.spill_bytes),
            plan,
            state_dir: settings.state.dir.as_str().to_owned(),
            settings: RefCell::new(settings),
            dialers: RefCell::new(dialers),
            ports: RefCell::new((0..capacity).map(|_| None).collect()),
            memory: RefCell::default(),
            state_problem: RefCell::default(),
            blocks: RefCell::default(),
            known_blocks: RefCell::default(),
            writes: Cell::new(Allowance::new(BLOCK_WRITES_BURST_MAX, BLOCK_WRITE_INTERVAL)),
            settings_writes: Cell::default(),
            file_is_bad: Cell::default(),
            links: RefCell::new((0..LINKS_MAX).map(|_| LinkPort::default()).collect()),
            held_back: RefCell::default(),
            blocked: RefCell::default(),
            scratch: RefCell::new(Scratch {
                read: vec![0; READ_BYTES_MAX].into(),
                write: vec![0; OUTPUT_BYTES_MIN + READ_BYTES_MAX].into(),
            }),
            door: RefCell::default(),
            crowd: RefCell::default(),
            admissions,
            counts: RefCell::default(),
            is_draining: Cell::new(false),
            pump: Signal::default(),
            fan_out: Signal::default(),
        }
    }

    /// Returns a copy of the gateway's counters.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Updates the counters.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.borrow_mut());
    }

    /// Admits an accepted connection, or closes it.
    pub(crate) fn admit(self: &Rc<Self>, stream: TcpStream, from: SocketAddr) {
        let peer = octets(from.ip());
        let allowed = self.settings.borrow().listen.per_address_max;
        if !self.door.borrow().has_room(peer, allowed) {
            self.make_room(peer, clock::now());
        }
        match self.try_admit(stream, peer) {
            Ok(miner) => {
                log::debug(Kind::Miner, format_args!("miner from {from}"));
                event_loop::spawn(
                    "miner",
                    crate::gateway::runtime::miner::Task::new(self.clone(), miner),
                );
            }
            Err(Refused::Engine(refusal)) => {
                let name = match refusal {
                    Refusal::TableFull { .. } => "table_full",
                    Refusal::Draining => "draining",
                    Refusal::Offender { .. } => "offender",
                };
                self.count(|counts| counts.refused.add(name));
                log::warn(Kind::Refused, format_args!("miner from {from} refused: {refusal}"));
            }
            Err(Refused::Address { allowed }) => {
                self.count(|counts| counts.refused.add("address_full"));
                self.crowd.borrow_mut().refuse(from.ip(), allowed, clock::now());
                let text = "refused: its address has the";
                let end = "connections that listen.per_address_max allows";
                log::warn(Kind::Refused, format_args!("miner from {from} {text} {allowed} {end}"));
            }
            Err(Refused::NotAdmitted) => {
                self.count(|counts| counts.refused.add("address_not_admitted"));
                let text = "refused: its address lies in none of admit.addresses";
                log::warn(Kind::Refused, format_args!("miner from {from} {text}"));
            }
        }
    }

    fn try_admit(&self, stream: TcpStream, peer: [u8; 16]) -> Result<MinerHandle, Refused> {
        let now = clock::now();
        let allowed = {
            let settings = self.settings.borrow();
            if !admission::is_open_to(&settings.admit, address(peer)) {
                return Err(Refused::NotAdmitted);
            }
            settings.listen.per_address_max
        };
        let mut door = self.door.borrow_mut();
        if !door.has_room(peer, allowed) {
            return Err(Refused::Address { allowed });
        }
        let miner = self.engine().handle_connect(peer, now).map_err(Refused::Engine)?;
        door.enter(peer);
        let port = Port {
            miner,
            stream,
            peer,
            spill: Vec::new(),
            blocked_since: now,
            is_held_back: false,
            held: 0,
            waker: None,
        };
        if let Some(place) = self.ports.borrow_mut().get_mut(miner.index()) {
            debug_assert!(place.is_none(), "the engine gave a place that is in use");
            *place = Some(port);
        }
        self.count(|counts| counts.accepted += 1);
        Ok(miner)
    }

    /// Ends a miner's connection; a handle that has ended already is ignored.
    pub(crate) fn end(&self, miner: MinerHandle, end: End) {
        let port = match self.ports.borrow_mut().get_mut(miner.index()) {
            Some(place) if place.as_ref().is_some_and(|port| port.miner == miner) => place.take(),
            _ => None,
        };
        let Some(mut port) = port else { return };
        self.spills.release(&mut port.spill);
        self.engine().handle_disconnect(miner);
        self.door.borrow_mut().leave(port.peer);
        self.count(|counts| counts.ended.add(end.name()));
        let peer = address(port.peer);
        match end {
            End::Gone | End::Broken | End::Vanished => {
                log::debug(Kind::Miner, format_args!("{peer}: {end:?}"))
            }
            End::Closed(close) => {
                log::info(Kind::Closed, format_args!("miner {peer} closed: {close}"));
            }
            End::SlowReader | End::Unread => {
                let text = "closed: it leaves what it is sent unread";
                log::info(Kind::Closed, format_args!("miner {peer} {text}"));
            }
            End::SpillsFull => {
                let text = "closed: it leaves what it is sent unread, and so do too many others";
                log::warn(Kind::Closed, format_args!("miner {peer} {text}"));
            }
        }
        // The miner's task finds its port gone and ends.
        if let Some(waker) = port.waker {
            waker.wake();
        }
    }

    /// Sends a miner its due lines, unless its socket is full.
    pub(crate) fn deliver(&self, miner: MinerHandle, now: Instant) {
        let result = {
            let mut ports = self.ports.borrow_mut();
            let port = ports.get_mut(miner.index()).and_then(Option::as_mut);
            let Some(port) = port.filter(|port| port.miner == miner && port.takes_more()) else {
                return;
            };
            self.deliver_to(port, now)
        };
        if let Err(end) = result {
            self.end(miner, end);
        }
    }

    pub(crate) fn deliver_to(&self, port: &mut Port, now: Instant) -> Result<(), End> {
        let scratch = &mut *self.scratch.borrow_mut();
        let mut proxy = self.engine();
        loop {
            let mut out = Writer::new(&mut scratch.write);
            let is_full = proxy.poll_output(port.miner, &mut out, now).is_err();
            let was_empty = out.is_empty();
            self.send(port, out.as_slice(), now)?;
            if !is_full || was_empty || !port.spill.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends bytes to a miner: now if the socket takes them, the rest later by the miner's task.
    pub(crate) fn send(&self, port: &mut Port, bytes: &[u8], now: Instant) -> Result<(), End> {
        let mut rest = bytes;
        if port.takes_more() && !rest.is_empty() {
            match port.stream.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(End::Broken),
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        if port.spill.len() + rest.len() > SPILL_BYTES_MAX {
            return Err(End::Unread);
        }
        let was_empty = port.spill.is_empty();
        if !self.spills.extend(&mut port.spill, rest) {
            return Err(End::SpillsFull);
        }
        if was_empty && port.held == 0 {
            port.blocked_since = now;
            self.blocked.borrow_mut().push(port.miner);
        }
        if let Some(waker) = &port.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// Ends miners that have left their answers unread for too long (F46).
    pub(crate) fn end_slow_readers(&self, now: Instant) {
        let limit = u64::from(self.settings.borrow().miners.blocked_secs);
        let mut slow = Vec::new();
        {
            let ports = self.ports.borrow();
            self.blocked.borrow_mut().retain(|miner| {
                let port = ports.get(miner.index()).and_then(Option::as_ref);
                // A miner that waits for the disk is not slow.
                let is_blocked = |p: &&Port| !p.spill.is_empty() && p.held == 0;
                let Some(port) = port.filter(|p| p.miner == *miner && is_blocked(p)) else {
                    return false;
                };
                let is_slow = now.since(port.blocked_since).as_secs() >= limit;
                if is_slow {
                    slow.push(*miner);
                }
                !is_slow
            });
        }
        for miner in slow {
            self.end(miner, End::SlowReader);
        }
    }

    /// Stops reading a miner until there is room for its shares (F91).
    pub(crate) fn hold_back(&self, port: &mut Port) {
        if !std::mem::replace(&mut port.is_held_back, true) {
            self.held_back.borrow_mut().push(port.miner);
        }
    }

    /// Wakes every miner held back, in the order in which they were held back.
    pub(crate) fn relieve(&self) {
        let mut ports = self.ports.borrow_mut();
        for miner in self.held_back.take() {
            let port = ports.get_mut(miner.index()).and_then(Option::as_mut);
            if let Some(port) = port.filter(|port| port.miner == miner) {
                port.is_held_back = false;
                if let Some(waker) = &port.waker {
                    waker.wake_by_ref();
                }
            }
        }
    }

    /// Applies new settings. Miners stay connected; links to changed pools are reopened.
    pub fn replace(&self, settings: &Settings, dialers: Vec<Rc<Dialer>>, options: Options) {
        let changed: Vec<usize> = {
            let before = self.dialers.borrow();
            let is_same = |i: &usize| match (before.get(*i), dialers.get(*i)) {
                (Some(old), Some(new)) => Rc::ptr_eq(old, new),
                _ => true,
            };
            (0..dialers.len()).filter(|index| !is_same(index)).collect()
        };
        *self.dialers.borrow_mut() = dialers;
        **self.settings.borrow_mut() = settings.clone();
        let now = clock::now();
        let mut proxy = self.engine();
        // The engine sees host and login only; port, authority and pins belong to the dialer.
        changed.into_iter().for_each(|pool| proxy.reopen_pool(pool));
        proxy.apply(options, now);
        proxy.ask_admission(admission::asks_names(&settings.admit));
        drop(proxy);
        self.pump.set();
    }

    /// Stores the extranonce2 geometry, if there is a state folder.
    pub(crate) fn save_geometry(&self) {
        let Some(geometry) = self.proxy.borrow().geometry() else { return };
        let memory = Memory::V1 {
            miner_id_bytes: geometry.miner_id_bytes(),
            roll_bytes: geometry.roll_bytes(),
        };
        if let Some(shelf) = &*self.memory.borrow() {
            // Nobody waits for this write; the shelf logs a failure.
            let _ = shelf.put(memory);
        }
    }

    /// Queues a write of a block candidate found just now. Returns the write; only its miner's
    /// answer waits for it. If every share is a block, a few such writes pass and the rest follow
    /// within a second.
    pub(crate) fn save_found_block(&self, proxy: &mut Proxy<'_>, now: Instant) -> Option<Writing> {
        if proxy.blocks().unsaved() != Unsaved::Found {
            return None;
        }
        let mut writes = self.writes.get();
        let is_allowed = writes.allow(now);
        self.writes.set(writes);
        if is_allowed { self.write_blocks(proxy) } else { None }
    }

    /// Writes the open block candidates if they changed or the last write failed.
    pub(crate) fn save_blocks(&self, now: Instant) -> Option<Writing> {
        let proxy = &mut *self.proxy.borrow_mut();
        let mut writes = self.writes.get();
        writes.forgive(now);
        self.writes.set(writes);
        if proxy.blocks().unsaved() != Unsaved::Nothing {
            return self.write_blocks(proxy);
        }
        if let Some(shelf) = &*self.blocks.borrow() {
            shelf.retry();
        }
        if let Some(shelf) = &*self.memory.borrow() {
            shelf.retry();
        }
        None
    }

    /// Takes over the block candidates stored by an earlier run.
    pub(crate) fn know_blocks(&self, blocks: &[Block]) {
        self.known_blocks.borrow_mut().extend_from_slice(blocks);
    }

    /// Hands the open block candidates to the shelf, which from then on retries the write.
    fn write_blocks(&self, proxy: &mut Proxy<'_>) -> Option<Writing> {
        let blocks = {
            let known = self.known_blocks.borrow();
            let now = clock::wall_checked().ok().map(|now| now.as_secs());
            let of = |record| {
                let found = known.iter().find(|block| block.is_of(record));
                Block::new(record, found.and_then(|block| block.found_secs).or(now))
            };
            proxy.blocks().records().map(of).collect::<Vec<_>>()
        };
        proxy.handle_blocks_saved();
        self.blocks.borrow().as_ref().map(|shelf| {
            self.known_blocks.borrow_mut().clone_from(&blocks);
            shelf.put(Blocks::V2(blocks))
        })
    }

    /// Holds a miner's answers until a write is done; `false` if the spills have no room for them.
    pub(crate) fn hold(self: &Rc<Self>, port: &mut Port, bytes: &[u8], writing: Writing) -> bool {
        if !self.spills.extend(&mut port.spill, bytes) {
            return false;
        }
        port.held = port.held.saturating_add(1);
        let (hub, miner) = (self.clone(), port.miner);
        event_loop::spawn("found block", async move {
            // The shelf logs a failed write; the miner gets its answer all the same.
            let _ = writing.outcome().await;
            hub.release(miner, clock::now());
        });
        true
    }

    /// Releases the answers that waited for a write, unless the miner waits for another write.
    fn release(&self, miner: MinerHandle, now: Instant) {
        let is_empty = {
            let mut ports = self.ports.borrow_mut();
            let port = ports.get_mut(miner.index()).and_then(Option::as_mut);
            let Some(port) = port.filter(|port| port.miner == miner) else { return };
            port.held = port.held.saturating_sub(1);
            if port.held > 0 {
                return;
            }
            port.blocked_since = now;
            if let Some(waker) = &port.waker {
                waker.wake_by_ref();
            }
            port.spill.is_empty()
        };
        if is_empty {
            // Deliveries were skipped while the answers were held.
            self.deliver(miner, now);
        } else {
            self.blocked.borrow_mut().push(miner);
        }
    }

    /// Says whether any answer to a block still waits for the disk.
    pub(crate) fn holds_any(&self) -> bool {
        self.ports.borrow().iter().flatten().any(|port| port.held > 0)
    }

    /// Borrows the engine for a call. Dropping the borrow wakes the pump if the call left work.
    pub(crate) fn engine(&self) -> Engine<'_> {
        let proxy = self.proxy.borrow_mut();
        let pending = proxy.ledger().of(Bucket::Pending);
        Engine { proxy, pending, pump: &self.pump }
    }

    /// Takes no more connections and dials no more pools.
    pub fn drain(&self) {
        self.is_draining.set(true);
        self.proxy.borrow_mut().drain();
        self.pump.set();
    }

    /// Says whether the gateway is ending.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Sends a miner its last lines, if its socket takes them.
    fn take_leave(&self, miner: MinerHandle) {
        let mut ports = self.ports.borrow_mut();
        let Some(Some(port)) = ports.get_mut(miner.index()) else { return };
        let scratch = &mut *self.scratch.borrow_mut();
        let mut out = Writer::new(&mut scratch.write);
        self.proxy.borrow().take_leave(miner, &mut out);
        // The spill goes first; the last lines follow only if all of it was sent.
        let kept = port.spill.len();
        let is_sent =
            kept == 0 || port.stream.try_write(&port.spill).is_ok_and(|written| written == kept);
        if is_sent && !out.is_empty() {
            let _ = port.stream.try_write(out.as_slice());
        }
    }

    /// Ends all connections at shutdown.
    pub fn end_all(&self) {
        let miners: Vec<_> = self.ports.borrow().iter().flatten().map(|port| port.miner).collect();
        for miner in miners {
            self.take_leave(miner);
            self.end(miner, End::Gone);
        }
        for link in self.links.borrow_mut().iter_mut() {
            link.hang_up();
        }
    }
}

impl Port {
    /// Says whether new bytes may go to the socket at once.
    pub(crate) fn takes_more(&self) -> bool {
        self.spill.is_empty() && self.held == 0
    }
}

impl Deref for Engine<'_> {
    type Target = Proxy<'static>;

    fn deref(&self) -> &Self::Target {
        &self.proxy
    }
}

impl DerefMut for Engine<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.proxy
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        // A share that came or went changes the link's queue.
        if self.proxy.has_due() || self.proxy.ledger().of(Bucket::Pending) != self.pending {
            self.pump.set();
        }
    }
}

impl Spills {
    fn new(max: usize) -> Self {
        Self { used: Cell::new(0), max }
    }

    /// Appends bytes to a spill; `false` if the memory of all spills is used up.
    fn extend(&self, spill: &mut Vec<u8>, bytes: &[u8]) -> bool {
        let before = spill.capacity();
        let grown = (spill.len() + bytes.len()).saturating_sub(before);
        if self.used.get() + grown > self.max {
            return false;
        }
        spill.reserve_exact(bytes.len());
        spill.extend_from_slice(bytes);
        self.used.set(self.used.get() + spill.capacity() - before);
        true
    }

    /// Frees the memory of a spill and drops its bytes.
    pub(crate) fn release(&self, spill: &mut Vec<u8>) {
        self.used.set(self.used.get() - spill.capacity());
        *spill = Vec::new();
    }
}

impl Door {
    fn has_room(&self, peer: [u8; 16], allowed: u16) -> bool {
        is_this_machine(peer) || self.by_address.get(&Place::of(peer)).is_none_or(|n| *n < allowed)
    }

    fn enter(&mut self, peer: [u8; 16]) {
        if !is_this_machine(peer) {
            let count = self.by_address.entry(Place::of(peer)).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    fn leave(&mut self, peer: [u8; 16]) {
        if let Some(count) = self.by_address.get_mut(&Place::of(peer)) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&Place::of(peer));
            }
        }
    }
}

pub(crate) fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

impl Tally {
    /// Adds one to a count.
    pub fn add(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }

    /// Iterates over names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};

    #[test]
    fn f44_an_address_gets_so_many_places_and_gets_them_back() {
        let mut door = Door::default();
        let peer = octets("192.0.2.1".parse().unwrap());
        let other = octets("192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            assert!(door.has_room(peer, 3));
            door.enter(peer);
        }
        assert!(!door.has_room(peer, 3));
        assert!(door.has_room(other, 3));
        door.leave(peer);
        assert!(door.has_room(peer, 3));
        door.leave(peer);
        door.leave(peer);
        assert!(door.by_address.is_empty(), "nothing is kept of who has left");
    }

    /// An address that counts how often it is compared.
    #[derive(Clone)]
    struct Compared<'c>(Place, &'c Cell<u32>);

    impl PartialEq for Compared<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.set(self.1.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Compared<'_> {}

    impl Hash for Compared<'_> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    /// Looks every address up in a map of them all and returns how many were compared.
    #[expect(clippy::mutable_key_type, reason = "the count is no part of what is compared")]
    fn comparisons(places: &[Place], seed: impl BuildHasher) -> u32 {
        let count = Cell::new(0);
        let mut map = HashMap::with_hasher(seed);
        map.extend(places.iter().map(|place| (Compared(*place, &count), 1_u16)));
        count.set(0);
        assert!(places.iter().all(|place| map.contains_key(&Compared(*place, &count))));
        count.get()
    }

    #[test]
    fn f54_addresses_chosen_to_collide_are_found_as_fast_as_any() {
        type Unseeded = BuildHasherDefault<DefaultHasher>;
        // Alike in the bits that choose a place in the map, and in those that are looked at first.
        let alike = |place: &Place| {
            let hash = Unseeded::default().hash_one(place);
            hash & 0x7f == 0 && hash >> 57 == 0
        };
        let of = |number: u32| Place::of(octets(IpAddr::from(number.to_be_bytes())));
        let chosen: Vec<Place> = (0..).map(of).filter(alike).take(64).collect();
        let any: Vec<Place> = (0..64).map(of).collect();
        let unseeded = comparisons(&chosen, Unseeded::default());
        assert!(unseeded > 64 * 20, "{unseeded}: the choice is none");
        // The seed of the door's map is secret; a few addresses collide by chance all the same.
        let seed = || Door::default().by_address.hasher().clone();
        let (chosen, any) = (comparisons(&chosen, seed()), comparisons(&any, seed()));
        assert!(chosen < 64 * 2 && any < 64 * 2, "{chosen} and {any} comparisons for 64");
    }

    #[test]
    fn f46_full_sockets_together_are_kept_so_much_and_no_more() {
        let spills = Spills::new(1000);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        assert!(spills.extend(&mut one, &[1; 300]) && spills.extend(&mut other, &[2; 400]));
        assert!(spills.extend(&mut one, &[3; 300]), "just full");
        assert!(!spills.extend(&mut other, &[4]), "one more byte");
        assert_eq!((one.len(), other.len()), (600, 400), "nothing of it was kept");
        one.drain(..500);
        assert!(spills.extend(&mut one, &[5; 500]), "room that was taken before");
        spills.release(&mut one);
        assert!(spills.extend(&mut other, &[6; 600]));
        spills.release(&mut other);
        assert_eq!(spills.used.get(), 0);
    }

    #[test]
    fn f50_a_64_of_ipv6_is_one_address() {
        let mut door = Door::default();
        door.enter(octets("2001:db8::1".parse().unwrap()));
        assert!(!door.has_room(octets("2001:db8::ffff:2".parse().unwrap()), 1));
        assert!(door.has_room(octets("2001:db8:0:1::1".parse().unwrap()), 1));
    }

    #[test]
    fn this_machine_is_not_counted() {
        let mut door = Door::default();
        for text in ["127.0.0.1", "::1"] {
            let peer = octets(text.parse().unwrap());
            door.enter(peer);
            assert!(door.has_room(peer, 1));
            door.leave(peer);
        }
    }
}
