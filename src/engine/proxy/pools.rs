//! Lines from pools, and the output to them.
//!
//! [`Proxy::handle_link_line`] owns the one `match` over a pool's line. The link keeps the state of
//! its session and returns the rest as [`Heard`].

use super::blocks::SubmitParts;
use super::workers::waiting_name;
use super::{Event, Proxy, settle};
use crate::blocks::BlockAnswer;
use crate::health::Answer;
use crate::identity::{FIRST_AUTHORIZATION, KeptNames, Named, WorkerName};
use crate::ledger::{Bucket, Orphan, PoolReject};
use crate::limits::{POOL_DIFFICULTY_MAX, POOL_DIFFICULTY_MIN, SESSION_BYTES_MAX};
use crate::pending::{Stage, Verdict};
use crate::refusals::Fate;
use crate::table::Table;
use crate::time::Instant;
use crate::upstream::{Announced, Heard, Link, LinkClose, LinkIndex, Login, State};
use crate::wire::encode::{self, SubmitFields};
use crate::wire::error_code::ErrorCode;
use crate::wire::line::LineTooLong;
use crate::wire::server::{self, Notify, Outcome, ServerLine};
use crate::wire::text::Text;
use crate::wire::writer::{Full, Writer};
use crate::words::{Words, contains};
use crate::work::difficulty::Difficulty;
use crate::work::extranonce::Incompatible;

impl Proxy<'_> {
    /// Takes the connection requested by [`Proxy::poll_dial`]; the handshake begins.
    pub fn handle_link_up(&mut self, index: LinkIndex, now: Instant) {
        if let Some(link) = self.links.get_mut(index)
            && link.state == State::Connecting
        {
            link.handle_up(now);
            if link.leaves_configure_out_first() {
                let pool = link.pool;
                self.push_event(Event::ConfigureLeftOut { link: index, pool });
            }
        }
    }

    /// Takes bytes from a pool.
    ///
    /// # Errors
    ///
    /// [`LinkClose`] if the connection must be closed; it is already booked as closed.
    pub fn handle_link_input(
        &mut self,
        index: LinkIndex,
        mut input: &[u8],
        now: Instant,
    ) -> Result<(), LinkClose> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        if !link.state.is_open() {
            return Ok(());
        }
        let mut framer = link.framer;
        // The buffer leaves the link while one of its lines is read.
        let rest = core::mem::take(&mut link.rest);
        let mut result = Ok(());
        while result.is_ok() {
            result = match framer.next_line(rest, &mut input) {
                Ok(Some(line)) => self.handle_link_line(index, line, now),
                Ok(None) => break,
                Err(LineTooLong { limit }) => Err(LinkClose::LineTooLong { limit }),
            };
        }
        if let Some(link) = self.links.get_mut(index) {
            link.framer = framer;
            link.rest = rest;
        }
        if let Err(close) = result {
            self.book_link_down(index, close, now);
        }
        self.tend_earnings(index, now);
        self.replan(now);
        self.note_pools(now);
        result
    }

    /// The one place that acts on a pool's line.
    fn handle_link_line(
        &mut self,
        index: LinkIndex,
        line: &[u8],
        now: Instant,
    ) -> Result<(), LinkClose> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        link.note_line();
        let parsed = match server::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => return link.handle_error(error),
        };
        match parsed {
            ServerLine::Response(response) => {
                let was_live = link.state == State::Live;
                let heard = match link.handle_response(&response, now) {
                    Err(LinkClose::Incompatible(incompatible)) => {
                        return Err(self.note_incompatible(index, incompatible));
                    }
                    heard => heard?,
                };
                self.act(index, heard, now)?;
                self.note_live(index, was_live, now);
                Ok(())
            }
            ServerLine::Notify(_) if link.keep_early_notify(line) => Ok(()),
            ServerLine::Notify(notify) => self.handle_notify(index, &notify, now),
            ServerLine::SetDifficulty(difficulty) => match Difficulty::new(difficulty) {
                Ok(difficulty)
                    if (POOL_DIFFICULTY_MIN..=POOL_DIFFICULTY_MAX)
                        .contains(&difficulty.as_f64()) =>
                {
                    link.handle_set_difficulty(difficulty);
                    Ok(())
                }
                _ => link.count_oddity(),
            },
            ServerLine::SetExtranonce { extranonce1, extranonce2_size } => {
                link.handle_set_extranonce(extranonce1, extranonce2_size)
            }
            ServerLine::SetVersionMask(mask) => {
                link.handle_set_version_mask(mask);
                self.announce_again(index, now);
                Ok(())
            }
            ServerLine::Reconnect { host, port, .. } => {
                self.handle_reconnect(index, host, port, now)
            }
            ServerLine::ShowMessage(text) => {
                link.handle_message(text);
                self.push_event(Event::PoolMessage { link: index });
                Ok(())
            }
            ServerLine::GetVersion { id } => {
                link.owe(id, true);
                Ok(())
            }
            ServerLine::Ping { id } => {
                link.owe(id, false);
                Ok(())
            }
            ServerLine::Unknown { .. } => link.count_oddity(),
        }
    }

    fn act(&mut self, index: LinkIndex, heard: Heard<'_>, now: Instant) -> Result<(), LinkClose> {
        match heard {
            Heard::Nothing => Ok(()),
            Heard::SuggestionRefused => {
                self.handle_suggestion_refused(index);
                Ok(())
            }
            Heard::Subscribed => {
                self.note_size(index);
                self.handle_early_notify(index, now)
            }
            Heard::Answer { request, outcome } => self.handle_answer(index, request, outcome, now),
        }
    }

    /// Reports that a pool's extranonce2 has no room for any miner.
    fn note_incompatible(&mut self, index: LinkIndex, incompatible: Incompatible) -> LinkClose {
        let _ = self.links.note_size(index, false);
        self.push_event(Event::Incompatible(incompatible));
        LinkClose::Incompatible(incompatible)
    }

    /// Reads the notify that came before the answer to mining.subscribe.
    fn handle_early_notify(&mut self, index: LinkIndex, now: Instant) -> Result<(), LinkClose> {
        let early = self.links.get_mut(index).and_then(Link::take_early_notify);
        match early.as_deref().map(server::parse) {
            Some(Ok(ServerLine::Notify(notify))) => self.handle_notify(index, &notify, now),
            _ => Ok(()),
        }
    }

    fn handle_notify(
        &mut self,
        index: LinkIndex,
        notify: &Notify<'_>,
        now: Instant,
    ) -> Result<(), LinkClose> {
        let serial = self.links.issue_on(index);
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let was_live = link.state == State::Live;
        let Announced { serial, clean } = match link.handle_notify(notify, serial, now) {
            Ok(announced) => announced,
            Err(refused) => {
                self.push_event(Event::NotifyRefused { link: index, reason: refused.name() });
                return match self.links.get_mut(index) {
                    Some(link) => link.count_oddity(),
                    None => Ok(()),
                };
            }
        };
        // The extranonce of mining.set_extranonce is in force now.
        self.note_size(index);
        self.resume_held(index, now);
        self.fan_out |= self.links.handle_job(index, serial, clean);
        self.note_live(index, was_live, now);
        Ok(())
    }

    /// Announces the newest job again, for example after a new mask: it holds at once (BIP-0310).
    pub(super) fn announce_again(&mut self, index: LinkIndex, now: Instant) {
        if let Some(serial) = self.links.renew(index, now) {
            self.fan_out |= self.links.handle_job(index, serial, false);
        }
    }

    fn note_live(&mut self, index: LinkIndex, was_live: bool, now: Instant) {
        let Some(link) = self.links.get(index) else { return };
        let pool = link.pool;
        if !was_live && link.state == State::Live {
            self.push_event(Event::LinkLive { link: index, pool });
            self.resume_held(index, now);
            self.suggest_to(index, now);
            // The job may have come before the authorization, when it could not be announced.
            self.fan_out = true;
        }
    }

    /// Decides about shares held over a lost link, once the pool gave a first job. The same session
    /// on the same block takes them; otherwise they become orphans (F56).
    fn resume_held(&mut self, index: LinkIndex, now: Instant) {
        let Self { links, ledger, table, due, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        if link.state != State::Live {
            return;
        }
        let Link { pending, jobs, epoch, .. } = link;
        let block = jobs.newest().map(|job| job.prev_hash);
        pending.free_where(|entry| {
            if !matches!(entry.stage, Stage::Held) {
                return false;
            }
            let lost = if entry.epoch != *epoch {
                Some(Orphan::SessionLost)
            } else if jobs.get(entry.job).map(|(job, _)| job.prev_hash) != block {
                Some(Orphan::JobDead)
            } else {
                None
            };
            if let Some(reason) = lost {
                return settle(
                    entry,
                    Bucket::Orphaned(reason),
                    Verdict::NoAnswer,
                    ledger,
                    table,
                    due,
                );
            }
            ledger.settle(Bucket::Held, Bucket::Pending);
            if let Some(session) = table.get_mut(entry.miner) {
                session.counts.settle(Bucket::Held, Bucket::Pending);
            }
            entry.stage = Stage::Queued;
            entry.since = now;
            false
        });
    }

    /// Books the pool's answer to a share. An answer to no waiting share counts as odd.
    fn handle_answer(
        &mut self,
        index: LinkIndex,
        request: u32,
        outcome: Outcome<'_>,
        now: Instant,
    ) -> Result<(), LinkClose> {
        if request >= FIRST_AUTHORIZATION {
            return self.handle_worker_answer(index, request, outcome, now);
        }
        let outcome = self.answer_before_cut(index, request, outcome);
        let block_answer = match outcome {
            Outcome::Accepted => BlockAnswer::Accepted,
            Outcome::Refused(refusal) => {
                BlockAnswer::Refused(refusal_code(refusal.code, refusal.reason))
            }
        };
        if self.handle_late_answer(index, request, block_answer) {
            return Ok(());
        }
        if self.is_sent_again(index, request, &outcome, now) {
            return Ok(());
        }
        let is_farm = self.needs.iter().map(|count| usize::from(*count)).sum::<usize>() > 1;
        let Self { links, ledger, table, due, sayings, .. } = self;
        let Some(link) = links.get_mut(index) else { return Ok(()) };
        let Some(entry) = link.pending.sent(request) else {
            if link.pending.was_given(request) {
                link.refusals.handle_late();
            }
            return link.count_oddity();
        };
        let (block, answer_time) = (entry.block(), now.since(entry.since));
        let miner = entry.miner;
        let (to, verdict, fate, words) = match outcome {
            Outcome::Accepted => {
                (Bucket::PoolAccepted, Verdict::Accepted, Fate::Accepted, Words::NONE)
            }
            Outcome::Refused(refusal) => {
                let code = refusal_code(refusal.code, refusal.reason);
                let words = Words::of(refusal.reason);
                let said = sayings.keep(&words);
                let to = Bucket::PoolRejected(PoolReject::from_code(i64::from(code.code())));
                (to, Verdict::Refused { code, said }, Fate::Refused(refusal.code), words)
            }
        };
        // A refusal of one miner's name does not concern the session that the others share.
        let is_own = is_farm && entry.worker != Named::Login;
        link.refusals.handle_fate(fate, words, is_own.then_some(miner), now);
        link.pending.free_if(request, |entry| settle(entry, to, verdict, ledger, table, due));
        link.answer_time = Some(answer_time);
        self.book_answer(index, miner, (Answer::of(to), answer_time), now);
        if to == Bucket::PoolRejected(PoolReject::Duplicate) {
            self.note_repeat(miner, now);
        }
        if let Some(hash) = block {
            let kept = self.handle_block_answer(index, hash, block_answer);
            let accepted = block_answer == BlockAnswer::Accepted;
            self.push_event(Event::BlockAnswered { accepted, kept });
        }
        Ok(())
    }

    /// Returns "accepted" where a pool calls a resent share a duplicate: the pool took it before
    /// the cut, and that answer was lost with the connection (F56). The miner repeated nothing.
    fn answer_before_cut<'b>(
        &self,
        index: LinkIndex,
        request: u32,
        outcome: Outcome<'b>,
    ) -> Outcome<'b> {
        let Outcome::Refused(refusal) = &outcome else { return outcome };
        let code = refusal_code(refusal.code, refusal.reason);
        let entry = self.links.get(index).and_then(|link| link.pending.sent(request));
        let is_known = entry.is_some_and(|entry| entry.was_sent);
        #[cfg(feature = "canary")]
        let is_known = is_known && !self.has(crate::canary::Defect::I1Resent);
        if is_known && code == ErrorCode::Duplicate { Outcome::Accepted } else { outcome }
    }

    /// Follows a pool's request to reconnect, but only to the host it was dialled as; the port may
    /// change (F82).
    fn handle_reconnect(
        &mut self,
        index: LinkIndex,
        host: Option<Text<'_>>,
        port: Option<u16>,
        now: Instant,
    ) -> Result<(), LinkClose> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        let same = host.is_none_or(|host| host.is_empty() || host.eq_decoded(&link.account.host));
        #[cfg(feature = "canary")]
        let same = same || self.defect == Some(crate::canary::Defect::I7FailClosed);
        if link.allow_reconnect(same && port != Some(0), port, now) {
            return Err(LinkClose::Reconnect);
        }
        self.push_event(Event::ReconnectRefused { link: index });
        Ok(())
    }

    /// Books a connection that closed or could not be made; its unanswered shares are held.
    pub fn handle_link_down(&mut self, index: LinkIndex, close: LinkClose, now: Instant) {
        self.book_link_down(index, close, now);
        // The standby takes over at once, not at the next timeout.
        self.replan(now);
    }

    /// Books a closed connection; the caller makes the new plan.
    pub(super) fn book_link_down(&mut self, index: LinkIndex, close: LinkClose, now: Instant) {
        let Some(link) = self.links.get_mut(index) else { return };
        if link.state == State::Idle {
            return;
        }
        let (pool, close) = (link.pool, link.refine(close));
        self.note_close(index, close, now);
        let Self { links, ledger, table, .. } = self;
        if let Some(link) = links.get_mut(index) {
            link.pending.free_where(|entry| {
                entry.forget_grant();
                if !matches!(entry.stage, Stage::Queued | Stage::Sent) {
                    return false;
                }
                entry.was_sent |= entry.stage == Stage::Sent;
                ledger.settle(Bucket::Pending, Bucket::Held);
                if let Some(session) = table.get_mut(entry.miner) {
                    session.counts.settle(Bucket::Pending, Bucket::Held);
                }
                entry.stage = Stage::Held;
                entry.since = now;
                false
            });
        }
        self.links.handle_down(index, close, now);
        if close == LinkClose::Unneeded {
            self.void_held(index);
        }
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I8Speech) {
            return;
        }
        self.push_event(Event::LinkDown { link: index, pool, close });
    }

    /// Settles the shares that a link holds when no one will resume its session, so that the link
    /// is free. A block candidate is tried late, from its record (F39).
    pub(super) fn void_held(&mut self, index: LinkIndex) {
        let Self { links, ledger, table, due, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        let to = Bucket::Orphaned(Orphan::SessionLost);
        link.pending.free_where(|entry| settle(entry, to, Verdict::NoAnswer, ledger, table, due));
    }

    /// Writes the next lines for a pool: session requests and handshake first, then shares, block
    /// candidates first among them. Returns whether anything was written.
    ///
    /// # Errors
    ///
    /// [`Full`] if `out` has no room for the next line: send it and call again. An empty buffer of
    /// [`crate::limits::LINK_OUTPUT_BYTES_MIN`] always has room for one line.
    pub fn poll_link_output(
        &mut self,
        index: LinkIndex,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<bool, Full> {
        let mut written = self.write_late_blocks(index, out)?;
        written |= self.write_session(index, out)?;
        while self.write_authorization(index, out, now)? {
            written = true;
        }
        let Self { links, ledger, table, due, names, .. } = self;
        let Some(link) = links.get_mut(index) else { return Ok(written) };
        loop {
            match write_share(link, (table, names), out, now)? {
                NextShare::None => return Ok(written),
                NextShare::Written => written = true,
                NextShare::Void { request, reason } => {
                    let to = Bucket::Orphaned(reason);
                    link.pending.free_if(request, |entry| {
                        settle(entry, to, Verdict::NoAnswer, ledger, table, due)
                    });
                }
            }
        }
    }

    /// Writes the session's own lines.
    fn write_session(&mut self, index: LinkIndex, out: &mut Writer<'_>) -> Result<bool, Full> {
        let session: heapless::String<SESSION_BYTES_MAX> =
            self.session_of_blocks(index).try_into().unwrap_or_default();
        let Self { links, options, .. } = self;
        let Some(link) = links.get_mut(index) else { return Ok(false) };
        if !link.state.is_open() {
            return Ok(false);
        }
        let Some(pool) = options.pools.get(usize::from(link.pool)) else { return Ok(false) };
        let login = Login {
            agent: &options.agent,
            user: &pool.user,
            password: &pool.password,
            session: &session,
        };
        let mut written = false;
        while link.write_session(login, out)? {
            written = true;
        }
        Ok(written)
    }
}

/// The outcome of writing the next share.
enum NextShare {
    /// No share waits.
    None,
    /// The share was written.
    Written,
    /// The pool could not judge the share any more.
    Void { request: u32, reason: Orphan },
}

/// Writes the next share of a live link.
fn write_share(
    link: &mut Link<'_>,
    (table, names): (&Table<'_>, &KeptNames),
    out: &mut Writer<'_>,
    now: Instant,
) -> Result<NextShare, Full> {
    if !matches!(link.state, State::Live | State::Draining) {
        return Ok(NextShare::None);
    }
    let mask = link.mask();
    let Link { pending, jobs, epoch, account, .. } = link;
    let Some(entry) = pending.next_queued() else { return Ok(NextShare::None) };
    let request = entry.request;
    if entry.epoch != *epoch {
        // Its extranonce1 is no longer the session's (F24).
        return Ok(NextShare::Void { request, reason: Orphan::SessionLost });
    }
    let (Some((job, _)), Some(share)) = (jobs.get(entry.job), &entry.share) else {
        // The ring dropped the job while its share waited.
        return Ok(NextShare::Void { request, reason: Orphan::JobDead });
    };
    let SubmitParts { extranonce2, version_bits } = SubmitParts::new(mask, job, share);
    let name =
        (entry.worker != Named::Login).then(|| waiting_name(entry, &account.user, table, names));
    let fields = SubmitFields {
        worker: name.as_ref().and_then(WorkerName::get).unwrap_or(&account.user),
        job_id_raw: &job.pool_job_id,
        extranonce2: &extranonce2,
        ntime: share.ntime().0,
        nonce: share.nonce().0,
        version_bits,
    };
    encode::submit(request, &fields, out)?;
    pending.handle_sent(request, now);
    link.asked.get_or_insert(now);
    link.refusals.handle_sent(now);
    Ok(NextShare::Written)
}

/// The code of a refusal; without one, the code that its words imply.
pub(super) fn refusal_code(code: Option<i64>, reason: Text<'_>) -> ErrorCode {
    if let Some(known) = code.and_then(ErrorCode::from_code) {
        return known;
    }
    let says = |word: &str| contains(reason.as_raw(), word);
    if says("stale") || says("job not found") || says("invalid job") {
        ErrorCode::JobNotFound
    } else if says("duplicate") {
        ErrorCode::Duplicate
    } else if says("difficulty") || says("above target") {
        ErrorCode::LowDifficulty
    } else {
        ErrorCode::Other
    }
}
