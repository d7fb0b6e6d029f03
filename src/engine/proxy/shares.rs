//! A submit's way to its verdict: checked, counted once, and forwarded to the pool if it is heavy
//! enough.

use super::miners::{NO_ANSWER, answer};
use super::{Event, Proxy};
use crate::downstream::Close;
use crate::health::Who;
use crate::identity::{Grant, Named};
use crate::ledger::{Bucket, Orphan, Reject};
use crate::offenders;
use crate::pending::{NO_STINT, Pending, Place, QueueFull, ReplyId, Stage};
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::upstream::{Link, LinkIndex, State};
use crate::wire::client::Submit;
use crate::wire::encode;
use crate::wire::error_code::ErrorCode;
use crate::wire::id::Id;
use crate::wire::writer::Writer;
use crate::work::difficulty::Difficulty;
use crate::work::job::Serial;
use crate::work::share::{AcceptedShare, Share};
use crate::work::version::VersionMask;

/// The answer to a good share while no pool is reachable.
const NO_POOL: &str = "no pool: not counted";

/// The answer to a good share when the pool's queue is full (F91).
const QUEUE_FULL: &str = "the queue to the pool is full: not counted";

/// The job of an accepted share: its link and its session.
#[derive(Clone, Copy, Debug)]
struct Origin {
    link: LinkIndex,
    job: Serial,
    epoch: u16,
    /// The index of the miner's name that it was found under.
    worker: u8,
    /// The difficulty that the miner was told.
    difficulty: Difficulty,
    /// The difficulty that the pool asked for.
    worth: Difficulty,
}

impl Proxy<'_> {
    /// Judges a submit of an authorized miner and answers it.
    pub(super) fn handle_submit(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        submit: &Submit<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let interval = self.options.submit_interval;
        let allowed = self.table.get_mut(miner).is_some_and(|s| s.allow_submit(interval, now));
        // A submit beyond the allowance is judged all the same: it might be a block.
        match self.judge(miner, submit, now) {
            Err(_) if !allowed => self.reject(miner, id, Reject::RateLimited, out),
            Err(reason) => {
                if reason == Reject::Duplicate {
                    self.note_repeat(miner, now);
                }
                self.reject(miner, id, reason, out)
            }
            Ok((share, _)) if !allowed && !share.is_block() => {
                self.reject(miner, id, Reject::RateLimited, out)
            }
            Ok((share, origin)) => self.take_share(miner, id, share, origin, out, now),
        }
    }

    /// Takes a good share: counts it, answers it, and forwards it to its pool.
    fn take_share(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        share: AcceptedShare,
        origin: Origin,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        // No pool will pay for it; a block is kept all the same (F39).
        let is_unpaid = self.no_pool && !share.is_block();
        let name = self.name_of(miner, origin.worker, origin.link, share.is_block());
        // The pool refuses this worker; a block goes out under another name (F39).
        if !is_unpaid && name.1 == Grant::Refused {
            return self.reject(miner, id, Reject::WorkerRefused, out);
        }
        if !is_unpaid && self.finds_no_room(&share, origin.link) {
            self.count(miner, Bucket::Orphaned(Orphan::QueueFull), origin, now);
            #[cfg(feature = "canary")]
            if self.has(crate::canary::Defect::F91HoldBack) {
                answer(out, |out| encode::result_true(id, out));
                return Ok(());
            }
            answer(out, |out| encode::result_error(id, ErrorCode::Other, QUEUE_FULL, out));
            return Ok(());
        }
        if !self.remember(miner, &share, (origin.link, origin.job), now) {
            return self.reject(miner, id, Reject::Crowded, out);
        }
        if is_unpaid {
            self.count(miner, Bucket::Orphaned(Orphan::NoPool), origin, now);
            answer(out, |out| encode::result_error(id, ErrorCode::Other, NO_POOL, out));
            return Ok(());
        }
        let reply = ReplyId::from_slice(id.as_raw()).ok();
        let reply = reply.filter(|_| share.reaches_pool() && !self.answers_at_once());
        let waits = reply.is_some();
        let bucket = if share.reaches_pool() {
            self.forward(miner, name, reply, share, origin, now)
        } else {
            Bucket::BelowUpstream
        };
        self.count(miner, bucket, origin, now);
        if !waits {
            answer(out, |out| encode::result_true(id, out));
        } else if !bucket.is_open() {
            // The pool will never get the share, so this is its only answer.
            answer(out, |out| encode::result_error(id, ErrorCode::Other, NO_ANSWER, out));
        }
        Ok(())
    }

    /// Says whether the queue has no room for a share. Such a share is not remembered, so it may be
    /// sent again later. A block is remembered by its record.
    fn finds_no_room(&self, share: &AcceptedShare, link: LinkIndex) -> bool {
        let is_crowded = || self.links.get(link).is_some_and(|link| link.pending.is_crowded());
        share.reaches_pool() && !share.is_block() && is_crowded()
    }

    /// Runs the checks in the order of `rejects.json`.
    fn judge(
        &mut self,
        miner: MinerHandle,
        submit: &Submit<'_>,
        now: Instant,
    ) -> Result<(AcceptedShare, Origin), Reject> {
        let session = self.table.get_mut(miner).ok_or(Reject::NotSubscribed)?;
        let seat = session.seat.ok_or(Reject::NotSubscribed)?;
        let worker = session.workers.position(submit.worker).ok_or(Reject::Unauthorized)?;
        let id = Serial::from_digits(submit.job_id.as_bytes()).ok_or(Reject::JobNotFound)?;
        let (serial, later) = session.job_called(id);
        let feed = self.links.feed(seat.lane, session.goal(), seat.space.geometry);
        let serves = feed.map(|(index, _)| index);
        let of = |link| self.links.get(link)?.jobs.get(serial).map(|job| (link, job));
        let (link, (job, coinb2)) = serves
            .and_then(of)
            .or_else(|| {
                // A late share goes to the link that made its job; job ids of other lanes do not
                // count.
                let mut same_lane = self.links.iter().filter(|(_, link)| link.lane == seat.lane);
                same_lane.find_map(|(link, _)| of(link))
            })
            .ok_or(Reject::JobNotFound)?;
        let told = session.told_for(link, id).copied();
        // A miner that does not fit the pool was never told the job either.
        let told = told.filter(|_| seat.space.geometry.fits(job.extranonce2_size).is_ok());
        let told = told.ok_or(Reject::JobNotFound)?;
        let share = Share::decode(submit, seat.space, job.extranonce2_size)?;
        if share.ntime.0 < job.ntime_for(seat.space, seat.since).0.saturating_add(later) {
            return Err(Reject::NTime);
        }
        let target = session.target_of(&told);
        let is_known = |hash: &_| self.seen.contains(hash);
        let judge = |mask| share.judge(job, coinb2, mask, &target, is_known);
        let mut verdict = judge(told.mask);
        // A miner may apply a new mask to jobs it already has; its hash shows which mask it used.
        // The new mask may be another pool's: the job's own pool must allow the bits.
        if matches!(verdict, Err(Reject::VersionBits | Reject::LowDifficulty))
            && session.told_mask != told.mask
        {
            let allowed = self.links.get(link).map_or(VersionMask::NONE, Link::mask);
            let newest = judge(session.told_mask).ok();
            let newest = newest.filter(|share| share.is_allowed(job, allowed));
            verdict = newest.map_or(verdict, Ok);
        }
        // A pool also ends jobs on the block that it still builds on. A block candidate is worth a
        // late try if the session is the same (F39).
        let same_session = self.links.get(link).is_some_and(|link| link.epoch == job.epoch);
        let late_block = same_session && verdict.as_ref().is_ok_and(AcceptedShare::is_block);
        if !job.live && !late_block {
            return Err(Reject::Stale);
        }
        let difficulty = told.difficulty;
        let worth = job.difficulty;
        let origin = Origin { link, job: serial, epoch: job.epoch, worker, difficulty, worth };
        let share = verdict?;
        if !self.no_pool {
            session.vardiff.handle_share(&self.options.vardiff, told.difficulty, now);
        }
        Ok((share, origin))
    }

    /// Queues a share that reaches the pool's target on the link that made its job. Returns the
    /// share's bucket.
    fn forward(
        &mut self,
        miner: MinerHandle,
        (worker, grant): (Named, Grant),
        reply: Option<ReplyId>,
        share: AcceptedShare,
        origin: Origin,
        now: Instant,
    ) -> Bucket {
        if share.is_block() {
            self.push_event(Event::Block { hash: share.hash() });
            self.keep_block(origin.link, origin.job, &share, now);
        }
        let goal = self.goal_of(origin.link);
        let Some(link) = self.links.get_mut(origin.link) else {
            return Bucket::Orphaned(Orphan::SessionLost);
        };
        let open = link.state.is_open() && link.epoch == origin.epoch;
        let stage = if open && link.state != State::Configuring && link.state != State::Subscribing
        {
            Stage::Queued
        } else {
            Stage::Held
        };
        let session = self.table.get(miner).filter(|_| !share.is_block());
        let stint = session.map_or(NO_STINT, |session| session.stint_at(origin.link));
        let mut entry = Pending {
            stage,
            miner,
            reply,
            job: origin.job,
            epoch: origin.epoch,
            share: Some(share),
            worker,
            grant,
            since: now,
            goal,
            // A part of the work needs no better precision.
            worth: origin.worth.as_f64() as f32,
            stint,
            place: Place { link: origin.link.0, slot: 0 },
            ..Pending::FREE
        };
        if stage != Stage::Queued {
            // It will be sent on another connection, which has to grant the name anew.
            entry.forget_grant();
        }
        let inserted = link.pending.insert(entry);
        if inserted.is_ok()
            && let Some(session) = self.table.get_mut(miner)
        {
            session.begin_wait(stint);
        }
        match inserted {
            Ok(_) if stage == Stage::Queued => Bucket::Pending,
            Ok(_) => Bucket::Held,
            Err(QueueFull) => Bucket::Orphaned(Orphan::QueueFull),
        }
    }

    /// Counts an accepted share, in total and for its miner.
    fn count(&mut self, miner: MinerHandle, bucket: Bucket, origin: Origin, now: Instant) {
        self.ledger.open(bucket);
        if bucket == Bucket::Orphaned(Orphan::QueueFull) {
            return self.count_lost(miner, bucket, origin, now);
        }
        if let Some(session) = self.table.get_mut(miner) {
            session.counts.open(bucket);
            if bucket != Bucket::Orphaned(Orphan::NoPool) {
                session.count_share(origin.difficulty, now);
                self.offenders.vouch(session.peer, now);
            }
        }
        if bucket != Bucket::Orphaned(Orphan::NoPool) {
            let (goal, difficulty) = (self.goal_of(origin.link), origin.difficulty.as_f64());
            self.split.credit(goal, difficulty);
            self.meter(goal, difficulty);
        }
    }

    /// Counts a share that found the queue full. No goal gets its work, and the work credited for
    /// lighter shares in its stead is taken back.
    fn count_lost(&mut self, miner: MinerHandle, bucket: Bucket, origin: Origin, now: Instant) {
        let session = self.table.get_mut(miner);
        let who = session.map(|session| {
            session.counts.open(bucket);
            Who { place: offenders::Place::of(session.peer), miner }
        });
        let unpaid = origin.worth.as_f64() - origin.difficulty.as_f64();
        let goal = self.goal_of(origin.link);
        self.split.lose(goal, unpaid.max(0.0));
        // It still counts for the farm's rate.
        self.meter(goal, origin.difficulty.as_f64());
        let Some(link) = self.links.get_mut(origin.link) else { return };
        let pool = link.pool;
        if link.handle_full(who, now) {
            self.push_event(Event::QueueFull { link: origin.link, pool });
        }
    }

    /// Counts a good share towards its goal's rate.
    fn meter(&mut self, goal: u8, difficulty: f64) {
        if let Some(meter) = self.meters.get_mut(usize::from(goal)) {
            meter.count(difficulty);
        }
    }

    /// Returns the goal of a link's pool.
    fn goal_of(&self, link: LinkIndex) -> u8 {
        let pool = self.links.get(link).map_or(0, |link| link.pool);
        self.links.policy().goal_of(pool)
    }
}
