//! What pools do with shares, by the simulation's own count: whether people hear of a pool that
//! pays for nothing (F93), and of one that takes no name but its login's (F94).

use std::collections::BTreeSet;

use loka_stratum::identity::Identity;
use loka_stratum::upstream::LinkIndex;

use crate::plan::SECOND;
use crate::pool::Judged;
use crate::trace::hold;
use crate::world::{End, World};

/// Refused shares in a row that are to be said.
const IN_A_ROW: u32 = 20;
/// The same as if there were no session, after which another is to be made.
const FORGOTTEN: u32 = 12;
/// Shares without any answer, for so long, that are to be said: a minute and some.
const SILENT: (u32, u64) = (4, 75 * SECOND);
/// Time for an answer; what comes later may not count.
const ANSWERED_WITHIN: u64 = 32 * SECOND;
/// So many more bad ones than good ones for each minute, of a connection that is not older, are to
/// be said: in one of them more than half of eight or more were bad. Minutes may begin at any time,
/// so those of the gateway that share time with a connection's are one more than that has begun.
const BAD: (u32, u64) = (8, 150 * SECOND);
/// Time from what is to be said until it is: the gateway looks every quarter of a second, and its
/// clock may leap over all other bounds.
const NOTICED_WITHIN: u64 = SECOND;
/// Time from the first share that is refused for its name until no name is told any more.
const NAMES: u64 = 60 * SECOND;

/// A share that was sent and has had no answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u32,
    since: u64,
    /// A block may wait longer.
    is_block: bool,
    is_login: bool,
}

/// What the pool did with the shares of one connection.
#[derive(Clone, Debug, Default)]
pub struct Earnings {
    /// Refused in a row, and those of them as if there were no session.
    refused: u32,
    forgotten: u32,
    /// It has taken a share.
    has_paid: bool,
    /// Sent since the last answer, and when the first of them was.
    silent: u32,
    silent_since: u64,
    /// Shares that had an answer.
    answered: BTreeSet<u32>,
    waiting: Vec<Waiting>,
    good: u32,
    bad: u32,
    /// When the first share was sent that is counted.
    since: Option<u64>,
    /// When the first share was refused for its name.
    minded_at: Option<u64>,
    /// Since when it has been silent for too long, and mostly bad, by the world's time.
    silent_at: Option<u64>,
    bad_at: Option<u64>,
}

impl Earnings {
    /// A share goes out.
    pub fn sent(&mut self, id: u32, judged: &Judged, now: u64) {
        if self.silent == 0 {
            self.silent_since = now;
        }
        self.silent += 1;
        self.since.get_or_insert(now);
        let Judged { is_block, is_login, .. } = *judged;
        self.waiting.push(Waiting { id, since: now, is_block, is_login });
    }

    /// Whether a share that is refused with this code may go out once more, under the login.
    pub fn may_go_again(&self, id: u32, code: Option<u8>) -> bool {
        let is_named = self.waiting.iter().any(|share| share.id == id && !share.is_login);
        is_named && code.is_none_or(|code| matches!(code, 20 | 24))
    }

    /// The same share goes out once more: how it was refused before may not count.
    pub fn sent_again(&mut self) {
        (self.refused, self.forgotten) = (0, 0);
    }

    /// The gateway reads an answer; none where it may not have waited for it any more.
    pub fn answered(&mut self, id: u32, fate: Option<(bool, Option<u8>)>) {
        self.waiting.retain(|waiting| waiting.id != id);
        self.silent = 0;
        self.answered.insert(id);
        let Some((accepted, code)) = fate else {
            (self.refused, self.forgotten) = (0, 0);
            return;
        };
        if accepted {
            self.has_paid = true;
            self.good += 1;
            (self.refused, self.forgotten) = (0, 0);
            return;
        }
        self.bad += 1;
        self.refused += 1;
        let is_forgotten = code.is_some_and(|code| code >= 24);
        self.forgotten = if is_forgotten { self.forgotten + 1 } else { 0 };
    }

    /// The gateway reads a second answer to a share. It keeps no answered shares, so it cannot tell
    /// this answer from one that came too late. Both say that the pool still judges shares, so its
    /// silence begins with the next share. Neither changes a count of good or bad ones.
    pub fn repeated(&mut self, id: u32) {
        if self.answered.contains(&id) {
            self.silent = 0;
        }
    }

    /// F94: the gateway reads that a share was refused for its name.
    pub fn minded(&mut self, now: u64) {
        let since = *self.minded_at.get_or_insert(now);
        let secs = (now - since) / SECOND;
        hold!("F94", now - since < NAMES, "a name is told {secs} s after the pool minded one");
    }

    /// It was said that the pool pays again: what was before counts no more.
    pub fn forgive(&mut self) {
        (self.good, self.bad, self.since) = (0, 0, None);
        self.waiting.clear();
    }

    /// Counts what has waited too long.
    fn give_up(&mut self, now: u64) {
        let is_lost = |waiting: &Waiting| now - waiting.since >= ANSWERED_WITHIN;
        let lost = self.waiting.iter().filter(|waiting| is_lost(waiting) && !waiting.is_block);
        self.bad += lost.count() as u32;
        self.waiting.retain(|waiting| !is_lost(waiting));
    }

    fn is_silent(&self, now: u64) -> bool {
        self.silent >= SILENT.0 && now - self.silent_since >= SILENT.1
    }

    fn is_mostly_bad(&self, now: u64) -> bool {
        let age = now - self.since.unwrap_or(now);
        let minutes = (age / (60 * SECOND)) as u32 + 2;
        age <= BAD.1 && self.bad > self.good + minutes * BAD.0
    }
}

/// F93: what pays for nothing is said, and a session that may be why is made anew.
pub fn f93_said(world: &mut World<'_>) {
    let (now, real) = (world.clock.reads(world.now), world.now);
    for link in 0..world.links.len() {
        let Some(conn) = world.links[link].conn else { continue };
        let End::Pool { link: index, .. } = world.conns[conn].end else { continue };
        let is_open = is_open(world, index);
        let earnings = &mut world.conns[conn].earnings;
        earnings.give_up(now);
        let Earnings { refused, forgotten, silent, good, bad, .. } = *earnings;
        let (is_silent, is_bad) = (earnings.is_silent(now), earnings.is_mostly_bad(now));
        let is_silent = lasts(&mut earnings.silent_at, is_silent, real);
        let is_bad = lasts(&mut earnings.bad_at, is_bad, real);
        let is_kept = is_open && forgotten >= FORGOTTEN && !earnings.has_paid;
        let end = &world.links[link];
        let said = |holds: bool, what: std::fmt::Arguments<'_>| {
            hold!("F93", holds || end.is_unpaid, "{what}, and not a word");
        };
        said(refused < IN_A_ROW, format_args!("{refused} shares refused in a row"));
        said(!is_silent, format_args!("{silent} shares without an answer"));
        said(!is_bad, format_args!("{bad} shares for nothing and {good} good ones"));
        // One miner's name may be what is refused.
        let is_single = world.plan.identity == Identity::Single;
        hold!("F93", !(is_kept && is_single), "{forgotten} refused, and the session is kept");
        let is_kept = is_open && is_silent && !end.was_renewed;
        hold!("F93", !is_kept, "{silent} without an answer, and the session is kept");
    }
}

/// Whether something has been so for long enough to be noticed.
fn lasts(since: &mut Option<u64>, is_so: bool, now: u64) -> bool {
    if !is_so {
        *since = None;
    }
    is_so && now - *since.get_or_insert(now) >= NOTICED_WITHIN
}

fn is_open(world: &World<'_>, link: LinkIndex) -> bool {
    world.proxy.links().get(link).is_some_and(|link| link.state().is_open())
}
