//! Requests from miners, and the output to them.
//!
//! [`Proxy::handle_request`] owns the one `match` over (state, request). Requests may arrive in any
//! order that known firmware uses (`docs/stratum-quirks.md`). Each gets exactly one answer under
//! its own id, byte for byte.

use super::workers::WORKER_REFUSED;
use super::{Event, Proxy, VerdictMode};
use core::fmt::Write;

use crate::downstream::{Close, Downstream, Seat, State};
use crate::ledger::{Bucket, Reject};
use crate::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, ERROR_TEXT_BYTES_MAX, MINERS_MAX, PASSWORD_BYTES_MAX,
    REPLY_BYTES_MAX, USER_AGENT_BYTES_MAX, WISH_NTIME_SECS, WORKER_NAME_BYTES_MAX,
};
use crate::links::Lane;
use crate::pending::{Stage, Verdict};
use crate::personality::{Farewell, Personality, Steps, Unfit};
use crate::table::{IdPool, IdsExhausted, MinerHandle};
use crate::time::Instant;
use crate::upstream::{Link, LinkIndex};
use crate::wire::client::{self, Authorize, ClientError, Configure, Request, Subscribe};
use crate::wire::encode::{self, Granted};
use crate::wire::error_code::ErrorCode;
use crate::wire::guess::Guess;
use crate::wire::id::Id;
use crate::wire::message::{Method, ParseError};
use crate::wire::writer::{Full, Writer};
use crate::work::difficulty::Difficulty;
#[cfg(feature = "canary")]
use crate::work::extranonce::MinerId;
use crate::work::extranonce::{Geometry, Space};
use crate::work::job::Job;
use crate::work::target::Target;
use crate::work::version::VersionMask;

/// The session name in our subscribe answer; miners may send it back when they reconnect.
const SESSION: &str = "loka";

/// The answer to a share whose pool gave no verdict in time (F41).
pub(super) const NO_ANSWER: &str = "no answer from pool";

impl Proxy<'_> {
    /// Takes bytes from a miner and writes the answers.
    ///
    /// Whole lines are consumed while `out` has room for an answer ([`REPLY_BYTES_MAX`]). Send
    /// `out`, then hand the rest of `input` to the next call.
    ///
    /// # Errors
    ///
    /// [`Close`] if the connection must end, after `out` was sent.
    pub fn handle_input(
        &mut self,
        miner: MinerHandle,
        input: &mut &[u8],
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let result = self.read_lines(miner, input, out, now);
        if let Some(session) = self.table.get_mut(miner) {
            if let Err(close) = result {
                session.note_close(close);
            }
            self.offenders.book(session.peer, session.take_offences(), now);
        }
        result
    }

    fn read_lines(
        &mut self,
        miner: MinerHandle,
        input: &mut &[u8],
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let Some(session) = self.table.get_mut(miner) else {
            *input = &[];
            return Ok(());
        };
        // Only at the start of a line: a read may end in the middle of one (F01).
        if !session.greeted
            && !session.framer.is_partial()
            && let Some(close) = not_stratum(input)
        {
            return Err(close);
        }
        let mut framer = session.framer;
        // The line buffers leave `self` while a line is read, so that `self` can be borrowed.
        let lines = core::mem::take(&mut self.lines);
        let first = miner.index().saturating_mul(DOWNSTREAM_LINE_BYTES_MAX);
        let rest = lines.get_mut(first..first.saturating_add(DOWNSTREAM_LINE_BYTES_MAX));
        let mut result = Ok(());
        if let Some(rest) = rest {
            // The owner takes a question before the next line may raise another.
            while result.is_ok() && out.room() >= REPLY_BYTES_MAX && !self.has_question() {
                result = match framer.next_line(rest, input) {
                    Ok(Some(line)) => self.handle_line(miner, line, out, now),
                    Ok(None) => break,
                    Err(too_long) => Err(say_too_long(too_long.limit, out)),
                };
            }
        }
        self.lines = lines;
        if let Some(session) = self.table.get_mut(miner) {
            session.framer = framer;
        }
        result
    }

    fn handle_line(
        &mut self,
        miner: MinerHandle,
        line: &[u8],
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        match client::parse(line) {
            Ok(line) => {
                if let Some(session) = self.table.get_mut(miner) {
                    session.greeted = true;
                }
                self.handle_request(miner, line.id, &line.request, out, now)
            }
            Err(error) => self.handle_unreadable(miner, error, out),
        }
    }

    /// Answers a line that is no valid request. A malformed request counts less than invalid JSON.
    fn handle_unreadable(
        &mut self,
        miner: MinerHandle,
        error: ClientError<'_>,
        out: &mut Writer<'_>,
    ) -> Result<(), Close> {
        let method = match error.kind {
            ParseError::NotStratum(guess) => return Err(Close::NotStratum(Some(guess))),
            ParseError::NotAnArray { method }
            | ParseError::TooFewParams { method, .. }
            | ParseError::Params { method, .. }
            | ParseError::Hex { method, .. } => Some(method),
            _ => None,
        };
        if method == Some(Method::Submit) {
            // The shape is checked after the subscription (`rejects.json`).
            let subscribed = self.table.get(miner).is_some_and(|s| s.seat.is_some());
            let reason = if subscribed { Reject::Malformed } else { Reject::NotSubscribed };
            return self.reject(miner, error.id, reason, out);
        }
        let mut text = heapless::String::<ERROR_TEXT_BYTES_MAX>::new();
        // A text that is too long is cut.
        let _ = write!(text, "{}", error.kind);
        answer(out, |out| encode::result_error(error.id, ErrorCode::Other, &text, out));
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        if method.is_some() { session.count_odd_request() } else { session.count_invalid_line() }
    }

    /// The one place that matches a request to a state.
    fn handle_request(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        request: &Request<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        match (session.state, request) {
            (State::Authorized | State::Draining, Request::Submit(submit)) => {
                self.handle_submit(miner, id, submit, out, now)
            }
            (State::Connected, Request::Submit(_)) => {
                self.reject(miner, id, Reject::NotSubscribed, out)
            }
            (State::Subscribed, Request::Submit(_)) => {
                self.reject(miner, id, Reject::Unauthorized, out)
            }
            (_, Request::Configure(configure)) => {
                self.handle_configure(miner, id, configure, out, now);
                Ok(())
            }
            (_, Request::Subscribe(subscribe)) => {
                self.handle_subscribe(miner, id, subscribe, out, now)
            }
            (_, Request::Authorize(authorize)) => {
                self.handle_authorize(miner, id, authorize, out, now)
            }
            // Subscribing changes nothing: the extranonce1 that miners know never changes.
            (_, Request::ExtranonceSubscribe) => {
                answer(out, |out| encode::result_true(id, out));
                Ok(())
            }
            (_, Request::SuggestDifficulty(difficulty)) => {
                let difficulty = Difficulty::new(*difficulty).ok();
                self.handle_suggestion(miner, id, difficulty, out, now)
            }
            (_, Request::SuggestTarget(target)) => {
                let target = Target::from_be_hex(target).ok();
                let difficulty = target.and_then(Difficulty::from_target);
                self.handle_suggestion(miner, id, difficulty, out, now)
            }
            (_, Request::Ping) => {
                answer(out, |out| encode::pong(id, out));
                Ok(())
            }
            (_, Request::GetTransactions | Request::GetVersion | Request::Unknown { .. }) => {
                answer(out, |out| {
                    encode::result_error(id, ErrorCode::Other, "method not supported", out)
                });
                // BFGMiner polls for the transactions as a sign of life.
                if matches!(request, Request::GetTransactions) {
                    return Ok(());
                }
                session.count_odd_request()
            }
            (_, Request::Response) => session.count_odd_request(),
        }
    }

    /// Grants the requested extensions and answers no others (QUIRKS 12).
    fn handle_configure(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        configure: &Configure,
        out: &mut Writer<'_>,
        now: Instant,
    ) {
        let offered = self.offered_mask(miner);
        let Some(session) = self.table.get_mut(miner) else { return };
        let mut granted = Granted::default();
        if let Some(rolling) = configure.version_rolling {
            let requested = VersionMask(rolling.mask);
            let mask = requested.intersect(offered);
            let enough = mask != VersionMask::NONE
                && mask.bit_count() >= u32::from(rolling.min_bit_count.min(32));
            // Too few bits are granted as well: some firmware leaves after a refusal.
            session.requested_mask = requested;
            session.tell_mask(mask);
            granted.version_rolling = Some((enough || mask != VersionMask::NONE).then_some(mask.0));
        }
        if let Some(least) = configure.minimum_difficulty {
            // Zero is no difficulty: there is no minimum to apply, and the request is granted.
            if let Ok(least) = Difficulty::new(least) {
                session.vardiff.require_min(&self.options.vardiff, least, now);
            }
            granted.minimum_difficulty = Some(true);
        }
        granted.subscribe_extranonce = configure.subscribe_extranonce.then_some(true);
        granted.info = configure.info.then_some(true);
        answer(out, |out| encode::configure_result(id, &granted, out));
    }

    /// The version bits that the miner's link allows now; BIP-0320's if no pool is known yet.
    fn offered_mask(&self, miner: MinerHandle) -> VersionMask {
        let session = self.table.get(miner);
        let goal = session.map_or(0, Downstream::goal);
        let link = match session.and_then(|session| session.seat) {
            Some(seat) => self.links.feed(seat.lane, goal, seat.space.geometry).map(|(_, l)| l),
            None => self.links.route(0, goal).and_then(|route| self.links.get(route.serves?)),
        };
        match link {
            Some(link) => link.mask(),
            None => self
                .links
                .iter()
                .find(|(_, link)| link.extranonce2_size().is_some())
                .map_or(VersionMask::BIP_0320, |(_, link)| link.mask()),
        }
    }

    /// Seats the miner, once. A repeated subscribe gets the same answer and counts as odd (F15).
    fn handle_subscribe(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        subscribe: &Subscribe<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let seated = self.table.get(miner).and_then(|session| session.seat);
        let seat = match seated {
            Some(seat) => seat,
            None => match self.take_seat(now) {
                Ok(seat) => seat,
                Err(close) => {
                    answer(out, |out| {
                        encode::result_error(id, ErrorCode::Other, "no miner id is free", out)
                    });
                    return Err(close);
                }
            },
        };
        let geometry = seat.space.geometry;
        let goal = if seated.is_none() { self.seat_at_goal(geometry) } else { 0 };
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        if seated.is_none() {
            session.seat = Some(seat);
            session.work_for(goal, now);
            session.vardiff.restart(now);
        }
        if let Some(agent) = subscribe.user_agent {
            session.user_agent = cut::<USER_AGENT_BYTES_MAX>(agent.chars());
            session.personality = Personality::of(&session.user_agent);
        }
        session.advance();
        let extranonce1 = seat.space.extranonce1();
        answer(out, |out| {
            encode::subscribe_result(id, SESSION, &extranonce1, geometry.roll_bytes(), out)
        });
        if seated.is_some() {
            // The answer is twice as long as the request, so repeats are bounded (F51).
            return session.count_odd_request();
        }
        self.want_workers(miner);
        Ok(())
    }

    /// Takes a seat for a newcomer. It fits every known pool; if no such id is left, it fits the
    /// pool with the longest extranonce2.
    fn take_seat(&mut self, now: Instant) -> Result<Seat, Close> {
        let geometry = self.choose_geometry();
        let mut space = self.take_space(geometry);
        if space.is_none() {
            let pools = self.options.links.pools();
            let most = pools.filter_map(|pool| self.links.size_of(pool)).max();
            let longer = Geometry::choose(MINERS_MAX, most).ok();
            let is_longer = |g: &Geometry| g.miner_id_bytes() > geometry.miner_id_bytes();
            space = longer.filter(is_longer).and_then(|longer| self.take_space(longer));
        }
        let Some((lane, space)) = space else {
            let used = self.links.lanes().iter().map(Lane::ids_used).sum();
            self.push_event(Event::NoId(IdsExhausted { used }));
            self.no_id_at = Some(now);
            return Err(Close::IdsExhausted);
        };
        let need = usize::from(space.geometry.need());
        if let Some(count) = self.needs.get_mut(need) {
            *count = count.saturating_add(1);
        }
        self.note_needs();
        Ok(Seat { lane, space, since: self.links.last_issued() })
    }

    /// Takes an id from the first lane with a free one; if none has, opens a further lane.
    fn take_space(&mut self, geometry: Geometry) -> Option<(u8, Space)> {
        #[cfg(feature = "canary")]
        let same_for_two = self.has(crate::canary::Defect::I4Identity);
        #[cfg(feature = "canary")]
        let uses_up = self.has(crate::canary::Defect::F88Places);
        let mut lane = 0;
        while usize::from(lane) < self.links.lanes().len() || self.open_lane(geometry) {
            let Some((open, blocks)) = self.lane_and_ids(lane) else { break };
            #[cfg(feature = "canary")]
            if uses_up && open.ids.is_used_up(blocks, geometry) {
                break;
            }
            if let Ok(space) = open.ids.take(blocks, geometry) {
                #[cfg(feature = "canary")]
                let space = Space {
                    id: if same_for_two { MinerId(space.id.0 & !1) } else { space.id },
                    ..space
                };
                return Some((lane, space));
            }
            lane = lane.saturating_add(1);
        }
        None
    }

    /// Opens a further lane if the geometry and the storage allow it.
    fn open_lane(&mut self, geometry: Geometry) -> bool {
        let Ok(lane) = u8::try_from(self.links.lanes().len()) else { return false };
        let (capacity, first) = (self.table.capacity(), self.options.first_miner_id);
        if geometry.miner_id_bytes() > 1 {
            return false;
        }
        let Some(blocks) = super::id_blocks(self.ids, lane) else { return false };
        self.links.open_lane(IdPool::new(blocks, capacity, first))
    }

    /// Returns a seat that no miner uses any more.
    pub(super) fn leave_seat(&mut self, seat: Seat, worked: bool) {
        #[cfg(feature = "canary")]
        let same_for_two = self.has(crate::canary::Defect::I4Identity);
        if let Some((lane, blocks)) = self.lane_and_ids(seat.lane) {
            #[cfg(feature = "canary")]
            let seat = {
                // Two miners were told one id: the second to leave returns its own.
                let mut seat = seat;
                if same_for_two && !IdPool::is_given(blocks, seat.space) {
                    seat.space.id = MinerId(seat.space.id.0 | 1);
                }
                seat
            };
            lane.ids.give_back(blocks, seat.space, worked);
        }
        let need = usize::from(seat.space.geometry.need());
        if let Some(count) = self.needs.get_mut(need) {
            *count = count.saturating_sub(1);
        }
        self.note_needs();
    }

    /// Tells the plan how many bytes miners need, and reports when all fit a pool again.
    fn note_needs(&mut self) {
        let seated = (0u8..).zip(self.needs).filter(|(_, count)| *count > 0);
        self.links.set_need_most(seated.map(|(need, _)| need).max().unwrap_or(0));
        for pool in (0u8..).take(self.keeps_out.len()) {
            let keeps_out = self.kept_from(pool).is_some();
            if let Some(said) = self.keeps_out.get_mut(usize::from(pool))
                && *said
                && !keeps_out
            {
                *said = false;
                self.push_event(Event::AllFit { pool });
            }
        }
    }

    /// Takes the length of a pool's extranonce2. Newcomers get a geometry that fits it; seated
    /// miners that do not fit are kept from that pool.
    pub(super) fn note_size(&mut self, link: LinkIndex) {
        let Some((pool, _)) = self.links.note_size(link, true) else { return };
        self.choose_geometry();
        if let Some(kept) = self.kept_from(pool)
            && let Some(said) = self.keeps_out.get_mut(usize::from(pool))
            && !core::mem::replace(said, true)
        {
            self.push_event(Event::KeptFrom { pool, kept });
        }
        self.note_needs();
    }

    /// Divides the extranonce2 for newcomers so that they fit every known pool. While some pools
    /// are unknown, the remembered geometry is kept if it fits the known ones.
    pub(super) fn choose_geometry(&mut self) -> Geometry {
        let (capacity, size) = (self.table.capacity(), self.links.size_least());
        let any = Geometry::ANY;
        let chosen = Geometry::choose(capacity, size).unwrap_or(any);
        let remembered = self.options.geometry.filter(|remembered| {
            !self.links.knows_all()
                && remembered.miner_id_bytes() == chosen.miner_id_bytes()
                && match size {
                    Some(size) => remembered.fits(size).is_ok(),
                    None => remembered.roll_bytes() <= chosen.roll_bytes(),
                }
        });
        let geometry = remembered.unwrap_or(chosen);
        #[cfg(feature = "canary")]
        let geometry = match self.geometry {
            Some(first) if self.has(crate::canary::Defect::F89Sizes) => first,
            _ => geometry,
        };
        if self.geometry.replace(geometry) != Some(geometry) {
            self.push_event(Event::GeometryFixed {
                miner_id_bytes: geometry.miner_id_bytes(),
                roll_bytes: geometry.roll_bytes(),
            });
        }
        geometry
    }

    fn handle_authorize(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        authorize: &Authorize<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let name = authorize.worker.decode::<WORKER_NAME_BYTES_MAX>().ok();
        let is_clean = |name: &_| !str::chars(name).any(char::is_control);
        let session = self.table.get(miner);
        let name = name.filter(|name| is_clean(name)).zip(session).and_then(|(name, session)| {
            let is_known = session.workers.number(&name).is_some();
            self.takes_worker(session, &name).then_some((name, is_known))
        });
        match name {
            Some((name, false)) if self.asks_admission => {
                self.ask(miner, id, name, authorize, out, now)
            }
            Some((name, _)) => {
                let password = authorize.password.map(|text| text.decode::<PASSWORD_BYTES_MAX>());
                // A password that is too long holds no wishes.
                let password = password.and_then(Result::ok).unwrap_or_default();
                self.take_worker(miner, id, &name, &password, out, now)
            }
            None => self.refuse_name(miner, id, out),
        }
    }

    /// Refuses a worker whose name cannot be stored.
    pub(super) fn refuse_name(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        out: &mut Writer<'_>,
    ) -> Result<(), Close> {
        answer(out, |out| {
            encode::result_error(id, ErrorCode::Unauthorized, "worker name refused", out)
        });
        match self.table.get_mut(miner) {
            Some(session) => session.count_odd_request(),
            None => Ok(()),
        }
    }

    /// Takes a suggested difficulty; it applies within the policy, from the next job.
    fn handle_suggestion(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        difficulty: Option<Difficulty>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let Some(difficulty) = difficulty else {
            answer(out, |out| {
                encode::result_error(id, ErrorCode::Other, "difficulty must be above 0", out)
            });
            return session.count_odd_request();
        };
        session.takes_fractions |= difficulty < Difficulty::ONE;
        let steps = session.steps();
        session.vardiff.suggest(&self.options.vardiff, difficulty, steps, now);
        // A suggestion may come as a notification, which gets no answer (QUIRKS 7).
        if !id.is_null() {
            answer(out, |out| encode::result_true(id, out));
        }
        self.grant_wish(miner, now);
        Ok(())
    }

    /// Sends a working miner its job once more if its wish is far from the difficulty in force
    /// (QUIRKS 56).
    pub(super) fn grant_wish(&mut self, miner: MinerHandle, now: Instant) {
        if self.table.get_mut(miner).is_some_and(|session| session.take_wish(now)) {
            self.due.push(miner);
        }
    }

    /// Counts a refused submit and answers it.
    pub(super) fn reject(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        reason: Reject,
        out: &mut Writer<'_>,
    ) -> Result<(), Close> {
        let (code, text) = refusal(reason);
        answer(out, |out| encode::result_error(id, code, text, out));
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::I1Conservation) {
            return Ok(());
        }
        self.ledger.open(Bucket::Rejected(reason));
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        session.counts.open(Bucket::Rejected(reason));
        match reason {
            // Honest miners send bursts of these after a new block.
            Reject::Stale | Reject::JobNotFound => Ok(()),
            // The share was good; its worker's refusal is between the worker's owner and the pool.
            Reject::WorkerRefused => Ok(()),
            // The share was good; its difficulty rises, and the allowance bounds its rate.
            Reject::Crowded => Ok(()),
            _ => session.count_excess_reject(),
        }
    }

    /// Writes all output due to a miner: pool verdicts, then the newest job with its difficulty.
    /// Returns whether anything was written.
    ///
    /// # Errors
    ///
    /// [`Full`] if `out` has no room for all of it: send it and call again. An empty buffer of
    /// [`crate::limits::OUTPUT_BYTES_MIN`] always has room.
    pub fn poll_output(
        &mut self,
        miner: MinerHandle,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<bool, Full> {
        #[cfg(feature = "canary")]
        let keeps_difficulty = self.has(crate::canary::Defect::I5Order);
        let Some(session) = self.table.get_mut(miner) else { return Ok(false) };
        let before = out.len();
        if session.is_answer_due() {
            self.write_authorized(miner, out)?;
        }
        let Some(session) = self.table.get_mut(miner) else { return Ok(false) };
        if session.answers_due > 0 {
            self.write_verdicts(miner, out)?;
        }
        let feeds = self.feeds();
        let Some(session) = self.table.get_mut(miner) else { return Ok(false) };
        let (State::Authorized, Some(seat)) = (session.state, session.seat) else {
            return Ok(out.len() > before);
        };
        if feeds
            && let Some((index, link)) =
                self.links.feed(seat.lane, session.goal(), seat.space.geometry)
            && link.announced().is_some_and(|job| job.serial != session.told_job)
        {
            let first = session.told_difficulty().is_none();
            #[cfg(feature = "canary")]
            if let (true, Some(job)) = (keeps_difficulty, link.announced()) {
                let told = below(session.vardiff.wanted(), job.difficulty, session.steps());
                session.tell(index, job.serial, told, session.told_mask);
            }
            out.line(|out| write_job(session, seat, (index, link), out))?;
            if first {
                session.vardiff.restart(now);
            }
            let bytes = link.announced().map_or(0, Job::coinbase_bytes);
            self.note_coinbase(miner, bytes);
        } else if session.wish_due {
            self.write_own_job(miner, seat, out, now)?;
        }
        Ok(out.len() > before)
    }

    /// Writes the newest job again for one miner, with the difficulty it wished for. The job's id
    /// is unique to the miner and its ntime is moved on, so that a restarted search finds other
    /// shares. No other miner gets it.
    fn write_own_job(
        &mut self,
        miner: MinerHandle,
        seat: Seat,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Full> {
        let feeds = self.feeds();
        let id = self.links.issue();
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let link = session.told_link.and_then(|index| Some((index, self.links.get(index)?)));
        let Some((index, link)) = link.filter(|_| feeds) else { return Ok(()) };
        let Some(job) = link.announced().filter(|job| job.live && job.serial == session.told_job)
        else {
            return Ok(());
        };
        let difficulty = below(session.vardiff.wanted(), job.difficulty, session.steps());
        if !session.is_far(difficulty) {
            session.wish_due = false;
            return Ok(());
        }
        let passed = u32::try_from(now.since(job.received).as_secs()).unwrap_or(u32::MAX);
        let later = passed.saturating_add(WISH_NTIME_SECS);
        out.line(|out| {
            encode::set_difficulty(difficulty.as_f64(), out)?;
            link.write_notify_as(seat, id, later, out)
        })?;
        let mask = session.told_mask;
        session.tell(index, id, difficulty, mask);
        session.tell_own_job(id, later, now);
        session.wish_due = false;
        Ok(())
    }

    /// Counts a job whose coinbase the miner's firmware may not survive, and reports it once. The
    /// pool's job is the only one, so it is sent anyway.
    fn note_coinbase(&mut self, miner: MinerHandle, got: u32) {
        let Some(session) = self.table.get_mut(miner) else { return };
        let Some(limit) = session.personality.coinbase_bytes_max.filter(|max| got > *max) else {
            return;
        };
        let first = session.oversized_jobs == 0;
        session.oversized_jobs = session.oversized_jobs.saturating_add(1);
        self.oversized_jobs = self.oversized_jobs.saturating_add(1);
        if first {
            self.push_event(Event::Unfit { miner, unfit: Unfit::Coinbase { got, limit } });
        }
    }

    /// Reports a worker name longer than the miner's firmware is known to keep.
    pub(super) fn note_worker(&mut self, miner: MinerHandle, bytes: usize) {
        let max = self.table.get(miner).and_then(|session| session.personality.worker_bytes_max);
        let got = u8::try_from(bytes).unwrap_or(u8::MAX);
        if let Some(limit) = max.filter(|max| got > *max) {
            self.push_event(Event::Unfit { miner, unfit: Unfit::WorkerName { got, limit } });
        }
    }

    /// Writes the pool verdicts that the miner waits for, and frees their entries.
    fn write_verdicts(&mut self, miner: MinerHandle, out: &mut Writer<'_>) -> Result<(), Full> {
        let Self { links, table, sayings, .. } = self;
        let Some(session) = table.get_mut(miner) else { return Ok(()) };
        while let Some(place) = session.answers {
            let Some(link) = links.get_mut(LinkIndex(place.link)) else { break };
            let Some(entry) = link.pending.answered(place) else { break };
            let id = entry.reply.as_deref().and_then(Id::from_raw).unwrap_or(Id::NULL);
            match entry.stage {
                Stage::Answered(Verdict::Accepted) => encode::result_true(id, out)?,
                Stage::Answered(Verdict::Refused { code, said }) => {
                    let said = sayings.get(said).unwrap_or("rejected by the pool");
                    encode::result_error(id, code, said, out)?;
                }
                _ => encode::result_error(id, ErrorCode::Other, NO_ANSWER, out)?,
            }
            session.end_wait(entry.stint);
            session.answers_due = session.answers_due.saturating_sub(1);
            session.answers = link.pending.take_answered(place);
        }
        Ok(())
    }

    /// Writes a farewell to a miner when the gateway stops, if its firmware heeds one. Without it
    /// such firmware may mine for its own pools for minutes.
    pub fn take_leave(&self, miner: MinerHandle, out: &mut Writer<'_>) {
        let session = self.table.get(miner).filter(|session| session.seat.is_some());
        if session.is_some_and(|s| s.personality.farewell == Farewell::Reconnect) {
            answer(out, encode::reconnect);
        }
    }

    /// Says whether the miner hears verdicts at once, not after the pool's answer.
    pub(super) fn answers_at_once(&self) -> bool {
        self.options.verdict == VerdictMode::Local
    }
}

/// Writes mask, difficulty and notify, in this order, each only if it is new to the miner (I5).
fn write_job(
    session: &mut Downstream,
    seat: Seat,
    (index, link): (LinkIndex, &Link<'_>),
    out: &mut Writer<'_>,
) -> Result<(), Full> {
    let Some(job) = link.announced() else { return Ok(()) };
    let mask = session.requested_mask.intersect(job.mask);
    if mask != session.told_mask {
        encode::set_version_mask(mask.0, out)?;
    }
    let difficulty = below(session.vardiff.wanted(), job.difficulty, session.steps());
    let news = session.told_difficulty() != Some(difficulty);
    if news {
        encode::set_difficulty(difficulty.as_f64(), out)?;
    }
    let moved = session.told_link != Some(index);
    let clean = moved || session.told_job < link.clean_since;
    link.write_notify(seat, clean, out)?;
    session.told_mask = mask;
    session.tell(index, job.serial, difficulty, mask);
    session.tell_job(job.serial);
    session.move_to_link(index);
    Ok(())
}

/// The wanted difficulty, capped at the pool's. For firmware that takes powers of two only, the cap
/// is rounded down to one (QUIRKS 26, 28).
fn below(wanted: Difficulty, pool: Difficulty, steps: Steps) -> Difficulty {
    if wanted <= pool {
        wanted
    } else if pool >= Difficulty::ONE && steps == Steps::PowersOfTwo {
        pool.floor_power_of_two()
    } else {
        pool
    }
}

/// The code and text that answer a refused submit.
fn refusal(reason: Reject) -> (ErrorCode, &'static str) {
    match reason {
        Reject::Malformed => (ErrorCode::Other, "malformed field"),
        Reject::VersionBits => (ErrorCode::Other, "version bits outside the mask"),
        Reject::NTime => (ErrorCode::Other, "ntime out of range"),
        Reject::JobNotFound => (ErrorCode::JobNotFound, "job not found"),
        Reject::Stale => (ErrorCode::JobNotFound, "stale"),
        Reject::Duplicate => (ErrorCode::Duplicate, "duplicate share"),
        Reject::LowDifficulty => (ErrorCode::LowDifficulty, "low difficulty share"),
        Reject::Unauthorized => (ErrorCode::Unauthorized, "unauthorized worker"),
        Reject::NotSubscribed => (ErrorCode::NotSubscribed, "not subscribed"),
        Reject::RateLimited => (ErrorCode::Other, "too many submits"),
        Reject::WorkerRefused => (ErrorCode::Unauthorized, WORKER_REFUSED),
        Reject::Crowded => (ErrorCode::Other, "too many submits for one job"),
    }
}

/// Answers why the connection ends. The line was not kept, so its id is unknown.
fn say_too_long(limit: usize, out: &mut Writer<'_>) -> Close {
    let close = Close::LineTooLong { limit };
    let mut text = heapless::String::<ERROR_TEXT_BYTES_MAX>::new();
    // A text that is too long is cut.
    let _ = write!(text, "{close}");
    answer(out, |out| encode::result_error(Id::NULL, ErrorCode::Other, &text, out));
    close
}

/// Writes an answer; the caller ensured the room.
pub(super) fn answer(
    out: &mut Writer<'_>,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>,
) {
    let written = out.line(write);
    debug_assert!(written.is_ok(), "an answer is longer than REPLY_BYTES_MAX");
}

/// Names a protocol other than Stratum by its first bytes (F10).
fn not_stratum(input: &[u8]) -> Option<Close> {
    if let Some(guess) = Guess::of(input) {
        return Some(Close::NotStratum(Some(guess)));
    }
    match input.trim_ascii_start().first() {
        Some(b'{') | None => None,
        // Enough of a word, and no known protocol begins so.
        Some(_) => Some(Close::NotStratum(None)),
    }
}

/// Keeps as many characters as fit, without control characters.
fn cut<const N: usize>(characters: impl Iterator<Item = char>) -> heapless::String<N> {
    let mut kept = heapless::String::new();
    for character in characters.filter(|c| !c.is_control()) {
        if kept.push(character).is_err() {
            break;
        }
    }
    kept
}
