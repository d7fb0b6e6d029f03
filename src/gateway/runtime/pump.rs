//! Serves the engine: its deadlines, and the work left by calls.
//!
//! [`Hub::turn`] is step 3 of the call order in the engine's documentation. One task runs it at the
//! engine's next deadline or when woken, so one timer serves all miners.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::downstream::Close;
use loka_stratum::limits::BLOCKS_KEPT_MAX;
use loka_stratum::links::{Switch, Why};
use loka_stratum::proxy::Event;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration as EngineDuration;
use loka_stratum::time::Instant;
use loka_stratum::upstream::{LinkClose, LinkIndex, Lost, Reason, Told};
use loka_stratum::visible::Visible;
use loka_stratum::words::Words;
use tokio::time::sleep;

use crate::gateway::base::clock;
#[cfg(feature = "defmt")]
use crate::gateway::base::frames;
use crate::gateway::base::log::{self, Kind, Level};
use crate::gateway::base::warnings;
use crate::gateway::runtime::hub::{End, Hub};

/// Least time between two turns that only the clock causes. A deadline that stays in the past must
/// not spin the loop (F66).
const PAUSE: Duration = Duration::from_millis(1);

/// Time between two checks of full sockets, and between two beats, in engine time.
const SLOW_READER_CHECK: EngineDuration = EngineDuration::from_secs(1);

/// Serves the engine for the life of the process. Calls `each_second` about once a second, as a
/// sign that the event loop turns.
pub async fn run(hub: Rc<Hub>, each_second: impl Fn()) {
    let mut check_at = clock::now();
    loop {
        hub.turn();
        let now = clock::now();
        if now >= check_at {
            check_at = now + SLOW_READER_CHECK;
            hub.end_slow_readers(now);
            // The task that found the block waits for its write; nobody waits here.
            let _ = hub.save_blocks(now);
            each_second();
            log::flush();
            #[cfg(feature = "defmt")]
            frames::flush(now);
        }
        let deadline = hub.proxy.borrow().poll_timeout().min(check_at);
        let ahead = Duration::from_micros(deadline.since(now).as_micros()).max(PAUSE);
        tokio::select! {
            biased;
            () = hub.pump.wait() => {}
            () = sleep(ahead) => {}
        }
    }
}

/// The text for a block refused by a session that cannot have known its job.
const TRIED_AGAIN: &str = "; it is kept, and tried in the pool's next session";

impl Hub {
    /// Does all due work.
    pub fn turn(self: &Rc<Self>) {
        let now = clock::now();
        if self.proxy.borrow().poll_timeout() <= now {
            self.proxy.borrow_mut().handle_timeout(now);
        }
        while let Some((miner, close)) = self.poll_closed() {
            self.end(miner, End::Closed(close));
        }
        while let Some(miner) = self.poll_due() {
            self.deliver(miner, now);
        }
        self.handle_events(now);
        while let Some(link) = self.poll_hangup(now) {
            self.hang_up(link);
        }
        while let Some((link, pool)) = self.poll_dial(now) {
            self.dial(link, pool);
        }
        self.fill_links(now);
        let is_relieved = self.proxy.borrow_mut().poll_relief();
        if is_relieved {
            self.relieve();
        }
        if self.proxy.borrow_mut().poll_fan_out() {
            self.fan_out.set();
        }
    }

    // Each returns the engine before the caller acts on the answer.

    fn poll_closed(&self) -> Option<(MinerHandle, Close)> {
        self.proxy.borrow_mut().poll_closed()
    }

    fn poll_due(&self) -> Option<MinerHandle> {
        self.proxy.borrow_mut().poll_due()
    }

    fn poll_event(&self) -> Option<Event> {
        self.proxy.borrow_mut().poll_event()
    }

    fn poll_hangup(&self, now: Instant) -> Option<LinkIndex> {
        self.proxy.borrow_mut().poll_hangup(now)
    }

    fn poll_dial(&self, now: Instant) -> Option<(LinkIndex, u8)> {
        self.proxy.borrow_mut().poll_dial(now)
    }

    fn handle_events(&self, now: Instant) {
        while let Some(event) = self.poll_event() {
            self.handle_event(&event, now);
        }
    }

    fn handle_event(&self, event: &Event, now: Instant) {
        let say = |level, kind, text: fmt::Arguments<'_>| log::event(level, kind, event, text);
        match *event {
            Event::LinkLive { pool, .. } => {
                let url = self.url(pool);
                say(Level::Info, Kind::LinkUp, format_args!("pool {}: live: {url}", pool + 1));
            }
            Event::LinkDown { link, pool, close } => {
                self.count(|counts| counts.links_lost.add(close.name()));
                // The dialling task logged its failure in more detail.
                if close != LinkClose::Unneeded && !was_dialling(close) {
                    let told = self.told(link, close, now);
                    say(Level::Warn, Kind::LinkDown, format_args!("pool {}: {told}", pool + 1));
                }
            }
            Event::Switched(switch) => {
                let (url, why) = (self.url(switch.to), self.why(switch));
                let number = switch.to + 1;
                self.count(|counts| counts.note_switch(switch, &why, now));
                say(
                    Level::Warn,
                    Kind::Earning,
                    format_args!("the farm mines at pool {number} now: {url}: {why}"),
                );
            }
            Event::Unpaid { link, pool, trouble } => {
                let proxy = self.proxy.borrow();
                let Some(link) = proxy.links().get(link) else { return };
                let (number, told) = (pool + 1, trouble.told(link.refusals().words()));
                say(Level::Warn, Kind::Earning, format_args!("pool {number} {told}"));
            }
            Event::PaidAgain { pool, .. } => {
                let text = "takes shares again";
                say(Level::Warn, Kind::Earning, format_args!("pool {} {text}", pool + 1));
            }
            Event::ConfigureLeftOut { pool, .. } => {
                let text = "closed twice at mining.configure: it is tried without, so that miners \
                            roll no version bits";
                say(Level::Warn, Kind::Earning, format_args!("pool {} {text}", pool + 1));
            }
            Event::OneName { pool, .. } => {
                let text = warnings::one_name_warning(usize::from(pool));
                say(Level::Warn, Kind::Earning, format_args!("{text}"));
            }
            Event::NoPool => {
                let text = "no pool has been there for 30 s: what miners find is not paid for";
                say(Level::Error, Kind::Earning, format_args!("{text}"));
            }
            Event::Suggested { pool, difficulty } => {
                let text = "asked for difficulty";
                say(
                    Level::Info,
                    Kind::Pool,
                    format_args!("pool {}: {text} {difficulty}", pool + 1),
                );
            }
            Event::SuggestionRefused { pool } => {
                let text = "it does not want to be asked for a difficulty, and is not any more";
                say(Level::Info, Kind::Pool, format_args!("pool {}: {text}", pool + 1));
            }
            Event::QueueFull { pool, .. } => {
                let text = "the queue is full and shares are lost: it answers too slowly for so \
                            many; ask it for a higher difficulty";
                say(Level::Warn, Kind::Earning, format_args!("pool {}: {text}", pool + 1));
            }
            Event::WorkerRefused { .. } => {
                let text = "the pool refused a miner's worker; only that worker is affected";
                say(Level::Warn, Kind::Refused, format_args!("{text}"));
            }
            Event::Repeats { miner, peer, shares } => {
                let proxy = self.proxy.borrow();
                let worker = proxy.miner(miner).and_then(|miner| miner.workers().nth(0));
                let (peer, worker) = (
                    crate::gateway::runtime::hub::address(peer),
                    Visible(worker.unwrap_or("gone")),
                );
                let text = "shares again that were taken before, in a minute: they are refused";
                let text = format_args!("miner {peer}, worker {worker}, sent {shares} {text}");
                say(Level::Warn, Kind::Repeats, text);
            }
            Event::WishUnread { miner } => {
                let proxy = self.proxy.borrow();
                let worker = proxy.miner(miner).and_then(|miner| miner.workers().nth(0));
                let worker = Visible(worker.unwrap_or_default());
                let text = "its password asks for a difficulty that is none: allowed d=1024 or so";
                say(Level::Warn, Kind::Refused, format_args!("miner {worker}: {text}"));
            }
            Event::Unfit { miner, unfit } => {
                let proxy = self.proxy.borrow();
                let name = proxy.miner(miner).map_or("gone", |miner| miner.personality().name);
                say(Level::Warn, Kind::Refused, format_args!("a miner ({name}) was given {unfit}"));
            }
            Event::GeometryFixed { miner_id_bytes, roll_bytes } => {
                self.save_geometry();
                let text = "extranonce2, for miners that connect from now on: miner id of";
                say(
                    Level::Info,
                    Kind::Process,
                    format_args!("{text} {miner_id_bytes} bytes, {roll_bytes} to roll"),
                );
            }
            Event::NoId(exhausted) => {
                say(
                    Level::Error,
                    Kind::Refused,
                    format_args!("a miner was refused: {} ({exhausted:?})", Close::IdsExhausted),
                );
            }
            Event::Block { hash } => {
                self.count(|counts| counts.blocks += 1);
                say(Level::Info, Kind::Block, format_args!("BLOCK CANDIDATE {hash}"));
            }
            Event::BlockAnswered { accepted, kept } => {
                let text = if accepted { "accepted" } else { "REJECTED" };
                let then = if kept { TRIED_AGAIN } else { "" };
                say(
                    Level::Info,
                    Kind::Block,
                    format_args!("block candidate {text} by the pool{then}"),
                );
            }
            Event::LateBlockAnswered { hash, accepted, kept } => {
                let text = if accepted { "accepted" } else { "not taken" };
                let then = if kept { TRIED_AGAIN } else { "" };
                say(
                    Level::Warn,
                    Kind::Block,
                    format_args!("block candidate {hash}, sent late: {text}{then}"),
                );
            }
            Event::BlockForgotten { hash } => {
                let text = "is forgotten: for a day no session of its pool knew its job";
                say(Level::Error, Kind::Block, format_args!("block candidate {hash} {text}"));
            }
            Event::BlockNotKept { hash } => {
                let text = "block candidates wait for their pools, one is not remembered";
                say(Level::Error, Kind::Block, format_args!("{BLOCKS_KEPT_MAX} {text}: {hash}"));
            }
            Event::ReconnectRefused { .. } => {
                let text = "client.reconnect refused: it names another host, or comes too often";
                say(Level::Warn, Kind::Pool, format_args!("{text}"));
            }
            Event::NotifyRefused { reason, .. } => {
                say(
                    Level::Warn,
                    Kind::Pool,
                    format_args!("a job of the pool cannot be used: {reason}"),
                );
            }
            Event::PoolMessage { link } => {
                let proxy = self.proxy.borrow();
                let Some(link) = proxy.links().get(link) else { return };
                let (pool, message) = (link.pool() + 1, link.message());
                say(Level::Info, Kind::PoolMessage, format_args!("pool {pool} says: {message}"));
            }
            Event::Incompatible(incompatible) => {
                say(
                    Level::Error,
                    Kind::Pool,
                    format_args!("{}", LinkClose::Incompatible(incompatible)),
                );
            }
            Event::KeptFrom { pool, kept } => {
                let url = self.url(pool);
                say(Level::Warn, Kind::Earning, format_args!("pool {}: {kept}: {url}", pool + 1));
            }
            Event::AllFit { pool } => {
                let text = "every miner that is connected fits pool";
                say(Level::Info, Kind::Earning, format_args!("{text} {} again", pool + 1));
            }
        }
    }

    /// Says why a link was lost, in the pool's words if it sent any, and what follows.
    fn told(&self, link: LinkIndex, close: LinkClose, now: Instant) -> String {
        let words = self.proxy.borrow().links().get(link).map(|link| link.words().clone());
        let told = Told::new(close, words.as_ref().unwrap_or(&Words::NONE)).to_string();
        told + &self.next_attempt(link, now)
    }

    /// Says when a link is tried again, as the end of a line; empty where it is not.
    pub fn next_attempt(&self, link: LinkIndex, now: Instant) -> String {
        let proxy = self.proxy.borrow();
        let ahead = proxy.links().get(link).and_then(|link| link.next_attempt(now));
        let secs = ahead.map(|ahead| ahead.as_micros() as f64 / 1e6);
        secs.map_or(String::new(), |secs| format!("; it is tried again in {secs:.1} s"))
    }

    /// Says why the farm was moved, in the words of the pool that it left.
    fn why(&self, switch: Switch) -> String {
        let proxy = self.proxy.borrow();
        let number = switch.from + 1;
        let left = proxy
            .links()
            .iter()
            .find(|(_, link)| link.pool() == switch.from && link.lane() == 0 && link.is_wanted());
        let none = Words::NONE;
        let (words, refused) =
            left.map_or((&none, &none), |(_, l)| (l.words(), l.refusals().words()));
        match switch.why {
            Why::Lost(close) => format!("pool {number}: {}", Told::new(close, words)),
            Why::NotReached => format!("pool {number} was not reached in time"),
            Why::Silent => format!("pool {number} leaves shares without an answer"),
            Why::Refuses { code, count } => {
                let reason = Reason { code, words: refused };
                format!("pool {number} refuses shares, {count} in a row{reason}")
            }
            Why::Unwell { health } => format!("pool {number} serves badly, health {health} %"),
            Why::Preferred { secs } => {
                format!("pool {} comes first and has been healthy for {secs} s", switch.to + 1)
            }
            Why::Trial { secs } => format!(
                "pool {} comes first and gets a turn {secs} s after it refused shares or left them \
                 without an answer: a few show whether it takes them again",
                switch.to + 1
            ),
            Why::Settings => "the settings changed".to_owned(),
        }
    }

    fn url(&self, pool: u8) -> String {
        let settings = self.settings.borrow();
        let url = settings.pools.get(usize::from(pool)).map(|pool| pool.url.to_string());
        url.unwrap_or_default()
    }
}

fn was_dialling(close: LinkClose) -> bool {
    matches!(close, LinkClose::Lost(Lost::Name | Lost::Connect | Lost::Tls))
}
