//! The workers of the mode *per-worker*: the authorization of names on links, and the effect of a
//! pool's answer.
//!
//! A name is sent for authorization in three cases: its miner authorizes, its link becomes live, or
//! a waiting share has a name not yet asked for on this connection. The last case follows a
//! reconnect after the miner left. A share waits in its queue until its name is granted. A refused
//! name concerns its miner only: that miner is told, and the link stays.
//!
//! If a pool leaves the request unanswered for [`AUTHORIZATION_WAIT_MAX`], it judges each share
//! instead.
//!
//! A block waits for no name. It goes out under the login, which the pool granted, unless the pool
//! has shown that it takes the miner's name. If that name is refused, the block is sent again under
//! the login (F39).
//!
//! A pool that takes one name per connection (QUIRKS 52) is detected by its answers
//! ([`crate::identity::Names`]). From then on all shares go to it under the link's login, including
//! waiting ones. A share just refused is sent again. This is reported once, and kept until the
//! settings change (F94).

use super::miners::answer;
use super::pools::refusal_code;
use super::{Due, Event, Proxy, settle};
use crate::downstream::{Close, Downstream, WaitingAuthorize, WaitsFor};
use crate::identity::{
    Asker, Grant, Identity, KeptNames, LinkConnection, Named, WorkerName, upstream_name,
};
use crate::ledger::{Bucket, Orphan};
use crate::limits::{
    AUTHORIZATION_WAIT_MAX, LINK_OUTPUT_BYTES_MIN, LINKS_MAX, WORKERS_PER_MINER_MAX,
};
use crate::pending::{Pending, Verdict};
use crate::table::{MinerHandle, Table};
use crate::time::Instant;
use crate::upstream::{LinkClose, LinkIndex, State};
use crate::wire::encode;
use crate::wire::error_code::ErrorCode;
use crate::wire::id::Id;
use crate::wire::server::Outcome;
use crate::wire::writer::{Full, Writer};
use crate::words::{Saying, Words};

/// The answer to a miner whose worker the pool refused.
pub(super) const WORKER_REFUSED: &str = "worker refused by the pool";

impl Proxy<'_> {
    /// Answers the authorization of a worker that the miner has now: at once, or after the pool's
    /// answer if a link is live.
    pub(super) fn answer_authorize(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        worker: u8,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let serving = self.serving(miner).filter(|at| self.has_names(at.link));
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let grant = serving.map_or(Grant::Granted, |at| session.standing.of(at, worker));
        match (grant, serving) {
            (Grant::Refused, _) => {
                answer(out, |out| {
                    encode::result_error(id, ErrorCode::Unauthorized, WORKER_REFUSED, out)
                });
                return session.count_odd_request();
            }
            (Grant::Unasked | Grant::Asked, Some(at)) => {
                // One at a time waits, with an id of usual length; any other gets yes at once.
                let reply = heapless::Vec::from_slice(id.as_raw());
                let reply = reply.ok().filter(|_| session.waiting.is_none());
                let waits = reply.is_some();
                if let Some(reply) = reply {
                    let waits_for = WaitsFor::Pool { worker };
                    session.waiting =
                        Some(WaitingAuthorize { reply, waits_for, since: now, yes: None });
                }
                if grant == Grant::Unasked
                    && let Some(link) = self.links.get_mut(at.link)
                {
                    link.authorizations.want(miner, worker);
                }
                if waits {
                    return Ok(());
                }
            }
            (Grant::Granted, _) | (_, None) => {}
        }
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        session.authorized = true;
        session.advance();
        answer(out, |out| encode::result_true(id, out));
        Ok(())
    }

    /// Says whether a miner may have one more worker: its name must be allowed at every pool.
    pub(super) fn takes_worker(&self, session: &Downstream, name: &str) -> bool {
        let mut pools = self.options.pools.iter();
        let count = session.workers.iter().filter(|known| *known != name).count();
        self.options.identity == Identity::Single
            || count < WORKERS_PER_MINER_MAX
                && pools.all(|pool| upstream_name(&pool.user, name).is_some())
    }

    /// Queues the names of a newly seated miner for authorization.
    pub(super) fn want_workers(&mut self, miner: MinerHandle) {
        if self.options.identity == Identity::Single {
            return;
        }
        let (Some(at), Some(session)) = (self.serving(miner), self.table.get(miner)) else {
            return;
        };
        let count = session.workers.iter().count();
        if let Some(link) = self.links.get_mut(at.link) {
            for worker in (0..count).filter_map(|worker| u8::try_from(worker).ok()) {
                link.authorizations.want(miner, worker);
            }
        }
    }

    /// Returns the live connection of the miner's link.
    fn serving(&self, miner: MinerHandle) -> Option<LinkConnection> {
        let session = self.table.get(miner)?;
        let seat = session.seat?;
        let (index, link) = self.links.feed(seat.lane, session.goal(), seat.space.geometry)?;
        let live = link.state == State::Live;
        live.then_some(LinkConnection { link: index, number: link.connection })
    }

    /// Returns the name of a share for `index`, and the pool's verdict on it. A block candidate
    /// goes out under the link's login unless the pool takes its worker (F39).
    pub(super) fn name_of(
        &self,
        miner: MinerHandle,
        worker: u8,
        index: LinkIndex,
        is_block: bool,
    ) -> (Named, Grant) {
        let login = (Named::Login, Grant::Granted);
        if !self.has_names(index) {
            return login;
        }
        let Some(link) = self.links.get(index) else { return login };
        let user = self.options.pools.get(usize::from(link.pool)).map(|pool| pool.user.as_str());
        let (Some(user), Some(session)) = (user, self.table.get(miner)) else { return login };
        let at = LinkConnection { link: index, number: link.connection };
        let name = session.workers.nth(worker).and_then(|name| upstream_name(user, name));
        let grant = session.standing.of(at, worker);
        match name {
            _ if is_block && !(grant == Grant::Granted && link.names.are_taken()) => login,
            None => (Named::Login, Grant::Refused),
            Some(_) => (Named::Miner(worker), grant),
        }
    }

    /// Writes the next authorization due on a link; returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`Full`] if there may be no room for one.
    pub(super) fn write_authorization(
        &mut self,
        index: LinkIndex,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<bool, Full> {
        if !self.has_names(index) {
            return Ok(false);
        }
        let Self { links, options, table, names, .. } = self;
        let (lane, goal) =
            links.get(index).map_or((0, 0), |link| (link.lane, links.policy().goal_of(link.pool)));
        let serves = links.serving().contains(&index);
        let Some(link) = links.get_mut(index) else { return Ok(false) };
        if link.state != State::Live {
            return Ok(false);
        }
        link.authorizations.set_serves(serves);
        if !link.authorizations.is_full()
            && out.room() >= LINK_OUTPUT_BYTES_MIN
            && let Some(pool) = options.pools.get(usize::from(link.pool))
            && link.names.wants_login(now)
        {
            let request = link.authorizations.ask(Asker::Login, now);
            encode::authorize(request, &pool.user, &pool.password, out)?;
            return Ok(true);
        }
        if link.authorizations.is_full()
            || link.authorizations.is_idle() && !link.pending.has_unasked()
        {
            return Ok(false);
        }
        if out.room() < LINK_OUTPUT_BYTES_MIN {
            return Err(Full);
        }
        let Some(pool) = options.pools.get(usize::from(link.pool)) else { return Ok(false) };
        let at = LinkConnection { link: index, number: link.connection };
        while let Some((miner, worker)) = link.authorizations.next_wanted() {
            let Some(session) = table.get_mut(miner) else { continue };
            if let Some(name) = unasked(session, at, worker, &pool.user) {
                let request = link.authorizations.ask(Asker::Miner { miner, worker }, now);
                return write(request, &name, &pool.password, out);
            }
        }
        while let Some(place) = link.authorizations.walk_from() {
            let next = table
                .at(place)
                .filter(|(_, session)| session.lane() == lane && session.goal() == goal);
            let asked = next.and_then(|(miner, session)| {
                let count = u8::try_from(session.workers.iter().count()).unwrap_or(u8::MAX);
                (0..count).find_map(|worker| {
                    let name = unasked(session, at, worker, &pool.user)?;
                    Some((Asker::Miner { miner, worker }, name))
                })
            });
            if let Some((asker, name)) = asked {
                let request = link.authorizations.ask(asker, now);
                return write(request, &name, &pool.password, out);
            }
            let further = place.saturating_add(1);
            link.authorizations.set_walk((further < table.capacity()).then_some(further));
        }
        let waiting = |entry: &Pending| waiting_name(entry, &pool.user, table, names);
        if let Some((request, name)) = link.pending.next_unasked(waiting) {
            let request = link.authorizations.ask(Asker::Share { request }, now);
            return write(request, &name, &pool.password, out);
        }
        Ok(false)
    }

    /// Takes the pool's answer to an authorization.
    pub(super) fn handle_worker_answer(
        &mut self,
        index: LinkIndex,
        request: u32,
        outcome: Outcome<'_>,
        now: Instant,
    ) -> Result<(), LinkClose> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let Some(asker) = link.authorizations.answered(request) else {
            // A late or repeated answer changes nothing; an answer to no request of ours counts as
            // odd.
            return if link.authorizations.was_sent(request) {
                Ok(())
            } else {
                link.count_oddity()
            };
        };
        let grant = match outcome {
            Outcome::Accepted => Grant::Granted,
            Outcome::Refused(_) => Grant::Refused,
        };
        self.note_name(index, asker, Some(grant == Grant::Granted), now);
        self.settle_worker(index, asker, grant);
        Ok(())
    }

    /// Notes a pool's answer for one name as evidence about all names.
    fn note_name(&mut self, index: LinkIndex, asker: Asker, granted: Option<bool>, now: Instant) {
        let Self { links, options, table, names, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        let Some(pool) = options.pools.get(usize::from(link.pool)) else { return };
        let name = match asker {
            Asker::Login => return link.note_name(None, granted, now),
            Asker::Share { request } => {
                let entry = link.pending.find(request);
                entry.map(|entry| waiting_name(entry, &pool.user, table, names))
            }
            Asker::Miner { miner, worker } => table
                .get(miner)
                .and_then(|session| upstream_name(&pool.user, session.workers.nth(worker)?)),
        };
        // The name of a departed miner proves nothing more.
        if let Some(name) = name {
            link.note_name(Some(&name), granted, now);
        }
    }

    /// Says whether a link's pool gets the miners' names.
    fn has_names(&self, index: LinkIndex) -> bool {
        let is_one = |pool: u8| self.one_name & bit_of(usize::from(pool)) != 0;
        self.options.identity == Identity::PerWorker
            && self.links.get(index).is_some_and(|link| !is_one(link.pool))
    }

    /// Says whether a pool takes one name per connection, so that all shares go to it under its
    /// login.
    pub fn takes_one_name(&self, pool: usize) -> bool {
        self.one_name & bit_of(pool) != 0
    }

    /// Forgets that a pool takes one name per connection, after a change of its settings.
    pub(super) fn forget_one_name(&mut self, pool: usize) {
        self.one_name &= !bit_of(pool);
    }

    /// Notes the answer to a share under a miner's own name as evidence about all names. Returns
    /// whether the share is sent again under the login, because the pool takes no other name.
    pub(super) fn is_sent_again(
        &mut self,
        index: LinkIndex,
        request: u32,
        outcome: &Outcome<'_>,
        now: Instant,
    ) -> bool {
        if self.options.identity == Identity::Single {
            return false;
        }
        let Some(link) = self.links.get_mut(index) else { return false };
        let own = link.pending.sent(request).filter(|entry| entry.worker != Named::Login);
        let Some(is_block) = own.map(Pending::is_block) else { return false };
        let Outcome::Refused(refusal) = outcome else {
            link.names.handle_taken();
            return false;
        };
        let words = Words::of(refusal.reason);
        let code = refusal_code(refusal.code, refusal.reason);
        let is_named = code == ErrorCode::Unauthorized || names_a_worker(&words);
        if !is_named && code != ErrorCode::Other {
            return false;
        }
        link.names.handle_refused(is_named);
        if link.names.is_one(now) {
            self.take_one_name(index, now);
        }
        if self.has_names(index) && !is_block {
            return false;
        }
        let Some(link) = self.links.get_mut(index) else { return false };
        link.pending.send_again(request, now);
        true
    }

    /// Sends all shares to a pool under the link's login from now on, including waiting ones.
    fn take_one_name(&mut self, index: LinkIndex, now: Instant) {
        let Some(pool) = self.links.get(index).map(|link| link.pool) else { return };
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::F94Names) {
            return;
        }
        if self.takes_one_name(usize::from(pool)) {
            return;
        }
        self.one_name |= bit_of(usize::from(pool));
        let Self { links, table, due, .. } = self;
        for (link, state) in links.iter_mut().filter(|(_, link)| link.pool == pool) {
            state.pending.use_login(now);
            state.authorizations.clear();
            let at = LinkConnection { link, number: state.connection };
            for place in 0..table.capacity() {
                if let Some((_, session)) = table.at(place) {
                    session.standing.forget(at);
                }
            }
        }
        for place in 0..table.capacity() {
            let Some((miner, session)) = table.at(place) else { continue };
            if let Some(waiting) = &mut session.waiting
                && waiting.yes.is_none()
                && matches!(waiting.waits_for, WaitsFor::Pool { .. })
            {
                // If another pool serves it later, that pool judges each share.
                waiting.yes = Some(true);
                due.push(miner);
            }
        }
        self.push_event(Event::OneName { link: index, pool });
    }

    /// Treats a pool that leaves an authorization unanswered as a pool that judges each share.
    pub(super) fn settle_authorizations(&mut self, now: Instant) {
        for index in (0u8..).take(LINKS_MAX).map(LinkIndex) {
            while let Some(asker) = self
                .links
                .get_mut(index)
                .and_then(|l| l.authorizations.overdue(AUTHORIZATION_WAIT_MAX, now))
            {
                self.note_name(index, asker, None, now);
                if !self.is_refused(index, asker) {
                    self.settle_worker(index, asker, Grant::Granted);
                }
            }
            let names = self.links.get(index).map(|link| link.names);
            if self.has_names(index) && names.is_some_and(|names| names.is_one(now)) {
                self.take_one_name(index, now);
            }
        }
    }

    /// Says whether the pool has refused the name meanwhile, as when it was asked twice.
    fn is_refused(&self, index: LinkIndex, asker: Asker) -> bool {
        let Asker::Miner { miner, worker } = asker else { return false };
        let (link, session) = (self.links.get(index), self.table.get(miner));
        let (Some(link), Some(session)) = (link, session) else { return false };
        let at = LinkConnection { link: index, number: link.connection };
        session.standing.of(at, worker) == Grant::Refused
    }

    /// Books the verdict on a name with its miner and with the shares that wait for it.
    fn settle_worker(&mut self, index: LinkIndex, asker: Asker, grant: Grant) {
        let Self { links, options, ledger, table, due, names, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        let Some(pool) = options.pools.get(usize::from(link.pool)) else { return };
        let at = LinkConnection { link: index, number: link.connection };
        let name = match asker {
            Asker::Login => return,
            Asker::Share { request } => {
                let entry = link.pending.find(request);
                entry.map(|entry| waiting_name(entry, &pool.user, table, names))
            }
            Asker::Miner { miner, worker } => table.get_mut(miner).and_then(|session| {
                session.standing.set(at, worker, grant);
                if let Some(waiting) = &mut session.waiting
                    && waiting.waits_for == (WaitsFor::Pool { worker })
                {
                    waiting.yes = Some(grant == Grant::Granted);
                    due.push(miner);
                }
                upstream_name(&pool.user, session.workers.nth(worker)?)
            }),
        };
        if grant == Grant::Refused {
            self.workers_refused = self.workers_refused.saturating_add(1);
        }
        if let Some(name) = name {
            link.pending.free_unnamed(|entry| {
                if entry.grant == Grant::Granted
                    || waiting_name(entry, &pool.user, table, names) != name
                {
                    return false;
                }
                match grant {
                    Grant::Refused if entry.is_block() => {
                        entry.worker = Named::Login;
                        entry.grant = Grant::Granted;
                        false
                    }
                    Grant::Refused => {
                        let to = Bucket::Orphaned(Orphan::WorkerRefused);
                        let code = ErrorCode::Unauthorized;
                        let verdict = Verdict::Refused { code, said: Saying::NONE };
                        settle(entry, to, verdict, ledger, table, due)
                    }
                    _ => {
                        entry.grant = grant;
                        false
                    }
                }
            });
        }
        if grant == Grant::Refused {
            self.push_event(Event::WorkerRefused { link: index });
        }
    }

    /// Writes the answer to an authorization that waited for the pool.
    pub(super) fn write_authorized(
        &mut self,
        miner: MinerHandle,
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let Some((yes, waiting)) = session.waiting.as_ref().and_then(|w| Some((w.yes?, w))) else {
            return Ok(());
        };
        let id = Id::from_raw(&waiting.reply).unwrap_or(Id::NULL);
        if yes {
            encode::result_true(id, out)?;
            session.authorized = true;
        } else {
            encode::result_error(id, ErrorCode::Unauthorized, WORKER_REFUSED, out)?;
        }
        session.waiting = None;
        session.advance();
        Ok(())
    }

    /// Lets the waiting shares of a departed miner ask for their names themselves, and keeps those
    /// names.
    pub(super) fn leave_shares(&mut self, miner: MinerHandle, session: &Downstream) {
        for index in (0u8..).take(LINKS_MAX).map(LinkIndex) {
            let Some(link) = self.links.get_mut(index).filter(|l| !l.pending.is_empty()) else {
                continue;
            };
            link.pending.forget_asked(miner);
            let pool = self.options.pools.get(usize::from(link.pool));
            let Some(pool) = pool.filter(|_| session.counts.is_open()) else { continue };
            for (worker, name) in (0u8..).zip(session.workers.iter()) {
                let named = Named::Miner(worker);
                let is_its = |entry: &Pending| entry.miner == miner && entry.worker == named;
                let waits = self.links.get(index).is_some_and(|l| l.pending.iter().any(is_its));
                let Some(name) = upstream_name(&pool.user, name).filter(|_| waits) else {
                    continue;
                };
                let links = &self.links;
                let is_used = |place| {
                    let named = Named::Kept(place);
                    links.iter().any(|(_, l)| l.pending.iter().any(|entry| entry.worker == named))
                };
                let kept = self.names.keep(name, is_used);
                let Some(link) = self.links.get_mut(index) else { continue };
                link.pending.free_where(|entry| {
                    if is_its(entry) {
                        entry.worker = kept;
                        if kept == Named::Login {
                            entry.grant = Grant::Granted;
                        }
                    }
                    false
                });
            }
        }
    }

    /// Returns the number of refused workers.
    pub fn workers_refused(&self) -> u64 {
        self.workers_refused
    }
}

/// Returns the name of a share at a pool whose settings have `user`.
pub(super) fn waiting_name(
    entry: &Pending,
    user: &str,
    table: &Table<'_>,
    names: &KeptNames,
) -> WorkerName {
    let name = match entry.worker {
        Named::Login => None,
        Named::Miner(worker) => table
            .get(entry.miner)
            .and_then(|session| upstream_name(user, session.workers.nth(worker)?)),
        Named::Kept(place) => names.get(place).cloned(),
    };
    name.unwrap_or(WorkerName::LOGIN)
}

const fn bit_of(pool: usize) -> u8 {
    match 1_u8.checked_shl(pool as u32) {
        Some(bit) => bit,
        None => 0,
    }
}

const _: () = assert!(crate::limits::POOLS_MAX <= 8, "a bit per pool in a u8");

/// Says whether a refusal is about the share's worker name.
fn names_a_worker(words: &Words) -> bool {
    words.name_any(&["worker", "mismatch", "user", "unauthori"])
}

/// Returns the name numbered `worker` if it is due to be asked, and marks it as asked. A name that
/// the pool cannot be told counts as refused.
fn unasked(
    session: &mut Downstream,
    at: LinkConnection,
    worker: u8,
    user: &str,
) -> Option<WorkerName> {
    if session.standing.of(at, worker) != Grant::Unasked {
        return None;
    }
    let name = upstream_name(user, session.workers.nth(worker)?);
    let grant = if name.is_some() { Grant::Asked } else { Grant::Refused };
    session.standing.set(at, worker, grant);
    name
}

fn write(
    request: u32,
    name: &WorkerName,
    password: &str,
    out: &mut Writer<'_>,
) -> Result<bool, Full> {
    // Only workers' names are asked for, never the login.
    encode::authorize(request, name.get().unwrap_or_default(), password, out)?;
    Ok(true)
}

/// Ends a miner's wait for a slow pool: it may begin, and its shares wait instead.
pub(super) fn end_wait(session: &mut Downstream, miner: MinerHandle, due: &mut Due, now: Instant) {
    if let Some(waiting) = &mut session.waiting
        && waiting.yes.is_none()
        && waiting.waits_for != WaitsFor::Owner
        && now.since(waiting.since) >= AUTHORIZATION_WAIT_MAX
    {
        waiting.yes = Some(true);
        due.push(miner);
    }
}
