//! Block candidates: what is remembered of them, and the late try of those that their queue lost.

use super::{Event, Proxy};
use crate::blocks::{BlockRecord, Blocks, BlocksFull};
use crate::limits::EXTRANONCE2_BYTES_MAX;
use crate::proxy::PoolLogin;
use crate::time::Instant;
use crate::upstream::{Link, LinkIndex, State};
use crate::wire::encode::{self, SubmitFields};
use crate::wire::server::Outcome;
use crate::wire::writer::{Full, Writer};
use crate::work::extranonce::Geometry;
use crate::work::job::Job;
use crate::work::share::AcceptedShare;
use crate::work::version::VersionMask;

impl Proxy<'_> {
    /// Returns the block candidates that no pool has answered; the owner keeps them where they
    /// survive its own end, and says so by [`Proxy::handle_blocks_saved`].
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Takes it that all of [`Proxy::blocks`] is written.
    pub fn handle_blocks_saved(&mut self) {
        self.blocks.handle_saved();
    }

    /// Takes back a block candidate of an earlier run: its pool is told as soon as it is live.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] where there is no room.
    pub fn restore_block(&mut self, record: BlockRecord, now: Instant) -> Result<(), BlocksFull> {
        self.blocks.restore(record, now)
    }

    /// Looks which blocks only their records know any more.
    pub(super) fn tend_blocks(&mut self, now: Instant) {
        let Self { blocks, links, .. } = self;
        if blocks.is_empty() {
            return;
        }
        blocks.tend(
            now,
            |hash| links.iter().any(|(_, link)| link.pending.waits_for(hash)),
            |link, opened| {
                links.get(link).is_some_and(|link| link.state.is_open() && link.opened == opened)
            },
        );
    }

    /// Books the answer to a late block; says whether it was for one.
    pub(super) fn handle_late_answer(
        &mut self,
        link: LinkIndex,
        request: u32,
        outcome: &Outcome<'_>,
    ) -> bool {
        let Some(hash) = self.blocks.sent(link, request) else { return false };
        self.blocks.forget(hash);
        let accepted = matches!(outcome, Outcome::Accepted);
        self.push_event(Event::LateBlockAnswered { hash, accepted });
        true
    }

    /// Writes the late blocks of a link's pool; returns whether there were any.
    pub(super) fn write_late_blocks(
        &mut self,
        index: LinkIndex,
        out: &mut Writer<'_>,
    ) -> Result<bool, Full> {
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::F39Blocks) {
            return Ok(false);
        }
        let Self { blocks, links, options, .. } = self;
        if blocks.is_empty() {
            return Ok(false);
        }
        let Some(link) = links.get_mut(index) else { return Ok(false) };
        let pool = options.pools.get(usize::from(link.pool));
        let (Some(pool), State::Live) = (pool, link.state) else { return Ok(false) };
        let mut written = false;
        while let Some(record) = blocks.late(&pool.host) {
            let hash = record.hash;
            let request = link.pending.unused_request();
            let fields = SubmitFields {
                worker: &record.worker,
                job_id_raw: &record.job_id,
                extranonce2: &record.extranonce2,
                ntime: record.ntime.0,
                nonce: record.nonce.0,
                version_bits: record.version_bits,
            };
            encode::submit(request, &fields, out)?;
            blocks.handle_sent(hash, index, link.opened, request);
            written = true;
        }
        Ok(written)
    }
}

/// What a pool is told of a share beside the job's id and the worker.
pub(super) struct SubmitParts {
    pub(super) extranonce2: heapless::Vec<u8, EXTRANONCE2_BYTES_MAX>,
    pub(super) version_bits: Option<u32>,
}

impl SubmitParts {
    /// Puts together what belongs to a share for a job of a link, whose extranonce2 has `size`
    /// bytes and whose pool allows `mask` now.
    pub(super) fn new(
        (size, mask): (u8, VersionMask),
        geometry: Geometry,
        job: &Job,
        share: &AcceptedShare,
    ) -> Self {
        let mut extranonce2 = heapless::Vec::new();
        let pad = geometry.fits(size).map_or(0, usize::from);
        // There is room: pad and end together are the pool's size, which was checked.
        let _ = extranonce2.resize(pad, 0);
        let _ = extranonce2.extend_from_slice(share.share().extranonce2_end());
        Self { extranonce2, version_bits: share.pool_bits(job, mask) }
    }
}

/// What is remembered of a block candidate.
pub(super) fn record(
    link: &Link<'_>,
    pool: &PoolLogin,
    geometry: Geometry,
    job: &Job,
    accepted: &AcceptedShare,
) -> BlockRecord {
    let share = accepted.share();
    let now = (link.extranonce2_size().unwrap_or(0), link.mask());
    let SubmitParts { extranonce2, version_bits } = SubmitParts::new(now, geometry, job, accepted);
    BlockRecord {
        hash: accepted.hash(),
        host: pool.host.clone(),
        worker: pool.user.clone(),
        session: link.session().try_into().unwrap_or_default(),
        // There is room: both have the same bound.
        extranonce1: heapless::Vec::from_slice(link.extranonce1().as_bytes()).unwrap_or_default(),
        job_id: job.pool_job_id.clone(),
        extranonce2,
        ntime: share.ntime,
        nonce: share.nonce,
        version_bits,
    }
}
