//! Block candidates: their records, and the late try of those that their queue lost.

use super::{Event, Proxy};
use crate::blocks::{BlockAnswer, BlockRecord, Blocks, BlocksFull};
use crate::identity::Account;
use crate::limits::EXTRANONCE2_BYTES_MAX;
use crate::time::{Duration, Instant};
use crate::upstream::{Link, LinkIndex, State};
use crate::wire::encode::{self, SubmitFields};
use crate::wire::writer::{Full, Writer};
use crate::work::header::BlockHash;
use crate::work::job::{Job, Serial};
use crate::work::share::AcceptedShare;
use crate::work::version::VersionMask;

impl Proxy<'_> {
    /// Returns the block candidates that no pool has answered. The owner writes them to durable
    /// storage and confirms by [`Proxy::handle_blocks_saved`].
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Confirms that all of [`Proxy::blocks`] is written.
    pub fn handle_blocks_saved(&mut self) {
        self.blocks.handle_saved();
    }

    /// Restores a block candidate of an earlier run, found `age` ago. Its pool gets it as soon as
    /// it is live.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] if there is no room.
    pub fn restore_block(
        &mut self,
        record: BlockRecord,
        age: Duration,
        now: Instant,
    ) -> Result<(), BlocksFull> {
        self.blocks.restore(record, age, now)
    }

    /// Says whether a block candidate's pool and account are in the settings.
    pub fn has_account(&self, account: &Account) -> bool {
        self.options.pools.iter().any(|pool| pool.account().is_same(account))
    }

    /// Keeps the record of a block candidate, whatever becomes of its share.
    pub(super) fn keep_block(
        &mut self,
        index: LinkIndex,
        serial: Serial,
        share: &AcceptedShare,
        now: Instant,
    ) {
        let Self { blocks, links, .. } = self;
        let Some(link) = links.get(index) else { return };
        let Some((job, _)) = link.jobs.get(serial) else { return };
        let record = record(link, job, share);
        let lost = match blocks.insert(record, link.given(index, job), now) {
            Ok(replaced) => replaced,
            Err(BlocksFull) => Some(share.hash()),
        };
        if let Some(hash) = lost {
            self.push_event(Event::BlockNotKept { hash });
        }
    }

    /// Finds blocks that only their records still hold, and drops those that are too old.
    pub(super) fn tend_blocks(&mut self, now: Instant) {
        while let Some(hash) = self.blocks.forget_old(now) {
            self.push_event(Event::BlockForgotten { hash });
        }
        let Self { blocks, links, .. } = self;
        if !blocks.is_empty() {
            blocks.tend(|hash| links.iter().any(|(_, link)| link.pending.waits_for(hash)));
        }
    }

    /// Books the pool's answer to a block; returns whether its record is kept.
    pub(super) fn handle_block_answer(
        &mut self,
        index: LinkIndex,
        hash: BlockHash,
        answer: BlockAnswer,
    ) -> bool {
        let Self { blocks, links, .. } = self;
        let Some(link) = links.get(index) else { return false };
        let extranonce1 = link.extranonce1().as_bytes();
        blocks.handle_answer(hash, answer, link.live_session(index), extranonce1)
    }

    /// Books the answer to a late block; returns whether the request was a late block.
    pub(super) fn handle_late_answer(
        &mut self,
        index: LinkIndex,
        request: u32,
        answer: BlockAnswer,
    ) -> bool {
        let Some(link) = self.links.get(index) else { return false };
        let Some(hash) = self.blocks.sent(link.at(index), request) else { return false };
        let kept = self.handle_block_answer(index, hash, answer);
        let accepted = answer == BlockAnswer::Accepted;
        self.push_event(Event::LateBlockAnswered { hash, accepted, kept });
        true
    }

    /// Returns the session of an earlier run that a link should ask for; mostly empty.
    pub(super) fn session_of_blocks(&self, index: LinkIndex) -> &str {
        if self.blocks.is_empty() {
            return "";
        }
        let Some(link) = self.links.get(index) else { return "" };
        let is_of = |other: &Link<'_>| other.wanted && other.account.is_same(&link.account);
        let before = self.links.iter().take_while(|(other, _)| *other != index);
        self.blocks.session(&link.account, before.filter(|(_, other)| is_of(other)).count())
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
        #[cfg(feature = "canary")]
        let by_host = self.has(crate::canary::Defect::F92Stranger);
        let Self { blocks, links, .. } = self;
        if blocks.is_empty() {
            return Ok(false);
        }
        let Some(link) = links.get_mut(index) else { return Ok(false) };
        if link.state != State::Live {
            return Ok(false);
        }
        let session = link.live_session(index);
        let mut written = false;
        loop {
            let record = blocks.late(&link.account, session);
            #[cfg(feature = "canary")]
            let record = if by_host { blocks.late_at_host(&link.account, session) } else { record };
            let Some(record) = record else { return Ok(written) };
            let hash = record.hash;
            let request = link.pending.unused_request();
            let fields = SubmitFields {
                worker: &record.account.user,
                job_id_raw: &record.job_id,
                extranonce2: &record.extranonce2,
                ntime: record.ntime.0,
                nonce: record.nonce.0,
                version_bits: record.version_bits,
            };
            encode::submit(request, &fields, out)?;
            blocks.handle_sent(hash, session, request);
            written = true;
        }
    }
}

/// The parts of a submit besides the job's id and the worker.
pub(super) struct SubmitParts {
    pub(super) extranonce2: heapless::Vec<u8, EXTRANONCE2_BYTES_MAX>,
    pub(super) version_bits: Option<u32>,
}

impl SubmitParts {
    /// Builds the parts of a share for a job of a link whose pool allows `mask` now.
    pub(super) fn new(mask: VersionMask, job: &Job, share: &AcceptedShare) -> Self {
        // There is room: both lengths have the same bound.
        let extranonce2 = heapless::Vec::from_slice(share.extranonce2());
        let version_bits = share.pool_bits(job, mask);
        Self { extranonce2: extranonce2.unwrap_or_default(), version_bits }
    }
}

/// Makes the record of a block candidate.
fn record(link: &Link<'_>, job: &Job, accepted: &AcceptedShare) -> BlockRecord {
    let SubmitParts { extranonce2, version_bits } = SubmitParts::new(link.mask(), job, accepted);
    BlockRecord {
        hash: accepted.hash(),
        account: link.account.clone(),
        session: link.session().try_into().unwrap_or_default(),
        // There is room: both have the same bound.
        extranonce1: heapless::Vec::from_slice(link.extranonce1().as_bytes()).unwrap_or_default(),
        job_id: job.pool_job_id.clone(),
        extranonce2,
        ntime: accepted.ntime(),
        nonce: accepted.nonce(),
        version_bits,
    }
}
