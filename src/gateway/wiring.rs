//! The wiring: starts every part, joins them, and ends them in order.
//!
//! It is the only file of the gateway that knows all rooms; no room knows it (ADR 18).

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::blocks::BlockRecord;
use loka_stratum::identity::Account;
use loka_stratum::limits::{BLOCK_AGE_MAX, DISK_FINISH_MAX, DRAIN_MAX};
use loka_stratum::proxy::Proxy;
use loka_stratum::settings::{Pool, Settings};
use loka_stratum::time::Duration as EngineDuration;
use loka_stratum::upstream::State as LinkState;
use loka_stratum::work::extranonce::Geometry;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::gateway::access::Access;
use crate::gateway::access::admission::Admissions;
use crate::gateway::access::password::Passwords;
use crate::gateway::args::{CheckArgs, RunArgs};
use crate::gateway::base::clock;
use crate::gateway::base::disk::{Flash, thread};
use crate::gateway::base::event_loop;
#[cfg(feature = "defmt")]
use crate::gateway::base::frames;
use crate::gateway::base::log;
use crate::gateway::base::log::Kind;
use crate::gateway::base::process;
use crate::gateway::base::say::{USAGE, say, say_error};
use crate::gateway::base::shelf::Shelf;
use crate::gateway::base::state::State;
use crate::gateway::base::store::{Block, Blocks, Memory};
use crate::gateway::base::warnings;
use crate::gateway::boards::board;
use crate::gateway::boards::button;
use crate::gateway::boards::button::Button;
use crate::gateway::boards::watch::{Vitals, Watch};
use crate::gateway::doors::http;
use crate::gateway::doors::mdns;
use crate::gateway::doors::serial;
use crate::gateway::operate::config;
use crate::gateway::operate::config::{Merged, Sources};
use crate::gateway::operate::control::{Control, reset};
use crate::gateway::operate::load::{Loaded, Purpose, load, plain_warnings};
use crate::gateway::operate::options;
use crate::gateway::runtime::asking;
use crate::gateway::runtime::fanout;
use crate::gateway::runtime::hub::Hub;
use crate::gateway::runtime::pump;
use crate::gateway::update::{Updates, trial};

/// Threads for blocking work: the system's resolver, and other work beside the loop.
const BLOCKING_THREADS: usize = 4;

/// Time between two checks whether all pools were heard.
const POOLS_HEARD_CHECK: Duration = Duration::from_millis(20);

/// Time between two checks for missing verdicts while draining.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// The running gateway.
struct Gateway {
    hub: Rc<Hub>,
    control: Rc<Control>,
    updates: Rc<Updates>,
    /// The service manager, the watchdog and the LEDs.
    watch: Rc<RefCell<Watch>>,
    button: Option<Button>,
    /// The serial port named by a flag.
    serial: Option<PathBuf>,
}

/// Checks the settings; prints the problems, or the result.
pub fn check(args: &CheckArgs) -> ExitCode {
    if args.defaults {
        say(format_args!("{}", config::render_default().trim_end()));
        return ExitCode::SUCCESS;
    }
    match load(&args.settings.sources(), Purpose::Check) {
        Ok(Loaded { merged: Merged { settings, plan, .. }, filed, kept, .. }) => {
            say(format_args!("settings are good"));
            if kept.over(filed.mark).is_some() {
                let text = "they are those of the last commit, which is younger than the file";
                say(format_args!("{text}"));
            }
            if settings.pools.is_empty() {
                say(format_args!("{}", warnings::NO_POOL));
            }
            say(format_args!("{plan}"));
            for (index, pool) in settings.pools.iter().enumerate() {
                let number = index + 1;
                say(format_args!("pool {number}: {} as {}", pool.url, pool.user));
            }
            for text in plain_warnings(&settings) {
                say_error(format_args!("warning: {text}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            say_error(format_args!("{error}"));
            ExitCode::from(USAGE)
        }
    }
}

/// Runs the gateway until it is told to end.
pub fn run(args: &RunArgs) -> ExitCode {
    log::is_journal();
    if args.verbose {
        log::set_verbose();
    }
    if let Some(Err(error)) = args.syslog.as_deref().map(log::to_syslog) {
        log::warn(Kind::Process, format_args!("no way to the system's log: {error}"));
    }
    let sources = args.settings.sources();
    let loaded = match load(&sources, Purpose::Run) {
        Ok(loaded) => loaded,
        Err(error) => {
            say_error(format_args!("{error}"));
            return ExitCode::from(USAGE);
        }
    };
    let code = match start(args, sources, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(Kind::Process, format_args!("{error}"));
            ExitCode::FAILURE
        }
    };
    log::out::end();
    code
}

/// Starts everything and serves until the end.
fn start(
    args: &RunArgs,
    sources: Sources,
    loaded: Loaded,
) -> Result<(), Box<dyn std::error::Error>> {
    let (settings, mut plan) = (loaded.merged.settings.clone(), loaded.merged.plan.clone());
    process::forbid_core_dumps();
    plan.miners = process::make_room(plan.miners)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let seed = u64::from_le_bytes(seed);
    let state = loaded.state.clone();
    say_state(&state, &settings);
    let state_dir = state.folder.clone();
    #[cfg(feature = "defmt")]
    frames::start(state.writable());
    let (memory, geometry) = remembered(&state);
    let options = options::options(&settings, geometry, seed);
    let storage = options::storage(&plan)?;
    let proxy = Proxy::new(storage, options, clock::now())
        .map_err(|error| io::Error::other(format!("the engine's memory: {error:?}")))?;
    let passwords = Rc::new(Passwords::new(plan.bytes_max)?);
    let admissions = admissions(&state_dir, passwords.clone())?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build_local(LocalOptions::default())?;
    let devices = board::devices(plan.board);
    let mut watch = Watch::new(args.watchdog.as_deref(), args.leds, &devices);
    watch.count_in(args.alive.as_deref());
    let watch = Rc::new(RefCell::new(watch));
    let button = if args.button { button::of(&devices) } else { None };
    let result = runtime.block_on(async {
        let mut hub = Hub::new(proxy, plan, settings, loaded.dialers.clone(), admissions);
        let updates = Rc::new(Updates::new(args.slots.as_deref(), &state_dir));
        hub.state_dir.clone_from(&state_dir);
        let hub = Rc::new(hub);
        *hub.memory.borrow_mut() = memory;
        hub.state_problem.borrow_mut().clone_from(&state.problem);
        hub.recall_blocks(&state_dir);
        let access = Access::open(&state_dir, passwords)?;
        let ports = Box::new(http::Ports::new(updates.clone()));
        let control = Control::new(
            hub.clone(),
            access,
            sources,
            seed,
            geometry,
            loaded,
            (ports, updates.clone()),
        );
        let parent_end = process::input_end(args.until_input_ends);
        let serial = args.serial.clone();
        #[cfg(feature = "defmt")]
        if let Some(port) = args.frames.clone() {
            let baud = hub.settings.borrow().serial.baud;
            event_loop::spawn("frames", frames::run(port, baud));
        }
        let gateway = Gateway {
            hub: hub.clone(),
            control: control.clone(),
            updates: updates.clone(),
            watch: watch.clone(),
            button,
            serial,
        };
        let served = event_loop::steps("main", gateway.serve(parent_end)).await;
        control.end();
        updates.restart_if_asked().await;
        watch.borrow_mut().release();
        served
    });
    #[cfg(feature = "defmt")]
    frames::end();
    if !thread::finish(clock::std_time(DISK_FINISH_MAX)) {
        let text = "the disk does not answer: what was changed last may not be on it";
        log::error(Kind::Kept, format_args!("{text}"));
    }
    // A resolver that still blocks must not delay the end.
    runtime.shutdown_background();
    Ok(result?)
}

/// Returns the shelf of the geometry, and the geometry of an earlier run.
fn remembered(state: &State) -> (Option<Shelf<Memory>>, Option<Geometry>) {
    let folder = Path::new(&state.folder);
    if state.folder.is_empty() {
        return (None, None);
    }
    let (shelf, memory) = match Shelf::open(folder, "gateway") {
        Ok((shelf, found)) if state.problem.is_none() => (Some(shelf), found.value),
        Ok((_, found)) => (None, found.value),
        Err(_) => (None, None),
    };
    let geometry = memory.and_then(|Memory::V1 { miner_id_bytes, roll_bytes }| {
        Geometry::new(miner_id_bytes, roll_bytes)
    });
    (shelf, geometry)
}

/// Logs the state folder, or what is lost without it.
fn say_state(state: &State, settings: &Settings) {
    match &state.problem {
        Some(problem) => log::error(Kind::Store, format_args!("{problem}")),
        None if !state.folder.is_empty() => {
            log::info(Kind::Store, format_args!("state is kept in {}", state.folder));
        }
        None => {
            debug_assert!(settings.state.dir.is_empty(), "no place, and no problem with one");
            log::warn(Kind::Store, format_args!("{NO_STATE}"));
        }
    }
}

/// The text for a gateway without a state folder.
const NO_STATE: &str = "no state.dir is set, or it is empty: block candidates without an answer, \
     what is committed and passwords are lost when the gateway ends";

/// Returns the admission of workers, with the list of an earlier run.
fn admissions(folder: &str, passwords: Rc<Passwords>) -> io::Result<Admissions> {
    let admissions = Admissions::new(passwords)?;
    if !folder.is_empty()
        && let Err(error) = admissions.recall(folder)
    {
        let text = "the list of admitted workers is not known";
        log::error(Kind::Store, format_args!("{text}: {error}"));
    }
    Ok(admissions)
}

impl Hub {
    /// Restores the block candidates of an earlier run; those too old by a set clock are dropped.
    fn recall_blocks(&self, folder: &str) {
        if folder.is_empty() {
            return;
        }
        let (shelf, found) = match Shelf::<Blocks>::open(Path::new(folder), "blocks") {
            Ok(opened) => opened,
            // The missing folder was logged at the start.
            Err(_) => return,
        };
        *self.blocks.borrow_mut() = Some(shelf);
        let stored = found.value.map(Blocks::newest).unwrap_or_default();
        self.know_blocks(&stored);
        let mut proxy = self.proxy.borrow_mut();
        for mut block in stored {
            if block.port == 0 {
                block.port = self.only_port_of(&block).unwrap_or(0);
            }
            let age = EngineDuration::from_secs(block.age().map_or(0, |age| age.as_secs()));
            let Some(record) = block.record() else { continue };
            let BlockRecord { hash, account, .. } = &record;
            let text = if age >= BLOCK_AGE_MAX {
                "has no answer since an earlier run and is too old: it is forgotten"
            } else if proxy.has_account(account) {
                "has no answer since an earlier run; its pool is told once more"
            } else {
                "has no answer since an earlier run, and its pool is not set; it is kept for it"
            };
            let Account { host, port, user } = account;
            let of = format!("block candidate {hash}, of {user} at {host}:{port}");
            log::warn(Kind::Block, format_args!("{of}, {text}"));
            if age < BLOCK_AGE_MAX {
                // There is room: at most as many are stored as the engine keeps.
                let _ = proxy.restore_block(record, age, clock::now());
            }
        }
    }

    /// Returns the port of the only pool that a version 1 block, stored without a port, may belong
    /// to; `None` if several match.
    fn only_port_of(&self, block: &Block) -> Option<u16> {
        let settings = self.settings.borrow();
        let is_of = |pool: &&Pool| {
            pool.url.host().eq_ignore_ascii_case(&block.host) && pool.user == block.user.as_str()
        };
        let mut ports = settings.pools.iter().filter(is_of).map(|pool| pool.url.port());
        let port = ports.next()?;
        ports.all(|other| other == port).then_some(port)
    }
}

impl Hub {
    /// Returns the state for service manager and LEDs.
    fn vitals(&self) -> Vitals {
        let proxy = self.proxy.borrow();
        let is_live = proxy.links().iter().any(|(_, link)| link.state() == LinkState::Live);
        Vitals { is_live, miners: proxy.occupancy().0 }
    }
}

impl Gateway {
    /// Serves until a signal, or until `parent_end`.
    async fn serve(self, parent_end: impl Future<Output = ()>) -> io::Result<()> {
        let mut parent_end = pin!(parent_end);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let settings = self.hub.settings.borrow().clone();
        event_loop::turns();
        log::out::begin()?;
        let bound = self.control.bind_doors(&settings)?;
        self.control.open_web().await?;
        log::info(Kind::Process, format_args!("{}", self.hub.plan));
        for text in plain_warnings(&settings) {
            log::warn(Kind::Settings, format_args!("{text}"));
        }
        let (hub, watch) = (self.hub.clone(), self.watch.clone());
        let each_second = move || watch.borrow_mut().beat(hub.vitals());
        event_loop::spawn("pump", pump::run(self.hub.clone(), each_second));
        event_loop::spawn("fan-out", fanout::run(self.hub.clone()));
        let (hub, control) = (self.hub.clone(), self.control.clone());
        event_loop::spawn("serial", serial::run(hub, control, self.serial.clone()));
        event_loop::spawn("settings file", self.control.clone().watch());
        if settings.pools.is_empty() {
            log::warn(Kind::Settings, format_args!("{}", warnings::NO_POOL));
        }
        event_loop::spawn("admission", asking::run(self.hub.clone()));
        let name = event_loop::spawn("mdns", mdns::run(self.control.clone()));
        tokio::select! {
            () = self.hub.pools_heard() => {}
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut parent_end => return Ok(()),
        }
        self.control.announce(bound);
        self.watch.borrow_mut().ready();
        event_loop::spawn(
            "update",
            trial::watch(self.updates.clone(), self.hub.clone(), self.control.clone()),
        );
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = &mut parent_end => break,
                _ = hangup.recv() => {
                    let control = self.control.clone();
                    event_loop::spawn("reload", async move { control.reload().await });
                }
                () = self.reset_asked() => break,
                () = self.updates.restart_asked() => break,
            }
        }
        self.drain(&mut terminate, &mut interrupt).await;
        // The mDNS task has said goodbye meanwhile, or is about to.
        let _ = timeout(mdns::FAREWELL_MAX, name).await;
        Ok(())
    }

    /// Waits for the button's reset request, if there is a button, and leaves the request file.
    async fn reset_asked(&self) {
        match &self.button {
            Some(button) => button.reset().await,
            None => std::future::pending().await,
        }
        let folder = self.hub.settings.borrow().state.dir.as_str().to_owned();
        log::warn(Kind::Process, format_args!("the reset button was held: factory reset"));
        if folder.is_empty() {
            log::warn(Kind::Process, format_args!("there is no state.dir: nothing to reset"));
            return;
        }
        let asked = thread::run(move || reset::ask(&Flash, Path::new(&folder))).await;
        if let Err(error) = asked.and_then(|result| result) {
            log::error(Kind::Kept, format_args!("the reset cannot be asked for: {error}"));
        }
    }

    /// Ends: accepts no more connections, waits ten seconds for the pools' last answers, and tells
    /// the miners (F70). A second signal ends at once.
    async fn drain(&self, terminate: &mut Signal, interrupt: &mut Signal) {
        log::info(Kind::Process, format_args!("ending: waiting for the pools' last answers"));
        self.watch.borrow_mut().stopping();
        self.control.close_doors();
        self.hub.drain();
        let drained = async {
            while !self.hub.proxy.borrow().is_drained() {
                sleep(DRAIN_CHECK).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = sleep(Duration::from_micros(DRAIN_MAX.as_micros())) => {
                log::warn(Kind::Process, format_args!("some shares are left without an answer"));
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.hub.proxy.borrow_mut().settle_all();
        self.hub.turn();
        let writing = self.hub.save_blocks(clock::now());
        let written = async {
            if let Some(writing) = writing {
                // The shelf logs a failed write.
                let _ = writing.outcome().await;
            }
            while self.hub.holds_any() {
                sleep(DRAIN_CHECK).await;
            }
        };
        // The very last writes are awaited after the loop has ended.
        let _ = timeout(clock::std_time(DISK_FINISH_MAX), written).await;
        self.hub.end_all();
        log::info(Kind::Process, format_args!("ended: {}", self.control.report().ledger));
    }
}

impl Hub {
    /// Waits until every pool has told its extranonce2 size, or has timed out. Miners wait in the
    /// listeners' backlog meanwhile: the bytes a miner rolls are fixed while it stays connected.
    async fn pools_heard(&self) {
        while self.proxy.borrow().is_hearing(clock::now()) {
            sleep(POOLS_HEARD_CHECK).await;
        }
    }
}
