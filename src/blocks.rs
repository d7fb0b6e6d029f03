//! Block candidates that no pool has answered yet: what must outlive the link and the process.
//!
//! A share that is a block is worth more than all others together, so it is kept twice. It waits
//! in its link's queue as every share does ([`crate::pending`]), and beside that its facts stay
//! here, as a [`BlockRecord`] that needs neither job nor session any more, until the pool answered
//! or [`BLOCK_AGE_MAX`] is over. The owner writes the records where they survive a power cut, and
//! hands them back at the next start.
//!
//! What became of the queue's copy (the link was lost, the session is another, the process is a
//! new one) does not matter then: the record is *late*, and is sent to the same pool as soon as a
//! link to it is live, once per session. That is a choice: a pool that gave another session will
//! most likely refuse it, but asking costs one line and a block may be worth a house.
//!
//! The ledger does not know late tries: the share was counted when it was found. When
//! [`BLOCKS_KEPT_MAX`] records are kept a further block is not kept here, counted, and told to the
//! owner; it waits in its queue as before.

use crate::limits::{
    BLOCK_AGE_MAX, BLOCKS_KEPT_MAX, EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, HOST_BYTES_MAX,
    POOL_JOB_ID_BYTES_MAX, SESSION_BYTES_MAX, WORKER_NAME_BYTES_MAX,
};
use crate::time::Instant;
use crate::upstream::LinkIndex;
use crate::work::header::{BlockHash, NTime, Nonce};

/// A block candidate as its pool can be told of it, at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// The hash of its header, by which it is known.
    pub hash: BlockHash,
    /// The host of the pool that gave the job.
    pub host: heapless::String<HOST_BYTES_MAX>,
    /// The name of the settings that it is sent for, also where miners have names of their own at
    /// the pool: every link authorizes this one.
    pub worker: heapless::String<WORKER_NAME_BYTES_MAX>,
    /// What the pool called the session, to ask for it again; empty where it gave no name.
    pub session: heapless::String<SESSION_BYTES_MAX>,
    /// The session's extranonce1.
    pub extranonce1: heapless::Vec<u8, EXTRANONCE1_BYTES_MAX>,
    /// The pool's job id, as the inside of a JSON string.
    pub job_id: heapless::String<POOL_JOB_ID_BYTES_MAX>,
    /// The whole extranonce2, as the pool knows it.
    pub extranonce2: heapless::Vec<u8, EXTRANONCE2_BYTES_MAX>,
    /// The time in the header.
    pub ntime: NTime,
    /// The nonce in the header.
    pub nonce: Nonce,
    /// The rolled version bits, where the pool allows any.
    pub version_bits: Option<u32>,
}

/// How far a kept block has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its share waits in the queue of a link.
    InQueue,
    /// Nobody else will send it.
    Late,
    /// It was sent from here, on a connection that began at `opened`.
    Sent { link: LinkIndex, opened: Instant, request: u32 },
}

#[derive(Clone, Debug)]
struct Kept {
    record: BlockRecord,
    stage: Stage,
    since: Instant,
}

/// What of the records is not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsaved {
    /// Nothing: what was written is what is kept.
    #[default]
    Nothing,
    /// Records are gone; writing that can wait.
    Gone,
    /// A block was found; its miner should not be answered before it is written.
    Found,
}

/// No room for another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlocksFull;

/// The records of all pools.
#[derive(Debug, Default)]
pub struct Blocks {
    kept: heapless::Vec<Kept, BLOCKS_KEPT_MAX>,
    unsaved: Unsaved,
    not_kept: u64,
}

impl Blocks {
    /// Keeps a block whose share was put into a link's queue.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] where there is no room.
    pub(crate) fn insert(&mut self, record: BlockRecord, now: Instant) -> Result<(), BlocksFull> {
        self.push(record, Stage::InQueue, now)
            .inspect(|()| self.unsaved = Unsaved::Found)
            .inspect_err(|_| self.not_kept = self.not_kept.saturating_add(1))
    }

    /// Takes back a block of an earlier run.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] where there is no room.
    pub(crate) fn restore(&mut self, record: BlockRecord, now: Instant) -> Result<(), BlocksFull> {
        self.push(record, Stage::Late, now)
    }

    fn push(&mut self, record: BlockRecord, stage: Stage, now: Instant) -> Result<(), BlocksFull> {
        if self.records().any(|known| known.hash == record.hash) {
            return Ok(());
        }
        self.kept.push(Kept { record, stage, since: now }).map_err(|_| BlocksFull)
    }

    /// Iterates over the records.
    pub fn records(&self) -> impl Iterator<Item = &BlockRecord> {
        self.kept.iter().map(|kept| &kept.record)
    }

    /// Says whether no block is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns how many blocks found no room here.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// Says what is not written yet.
    pub fn unsaved(&self) -> Unsaved {
        self.unsaved
    }

    pub(crate) fn handle_saved(&mut self) {
        self.unsaved = Unsaved::Nothing;
    }

    /// Forgets a block that the pool has answered.
    pub(crate) fn forget(&mut self, hash: BlockHash) {
        self.retain(|kept| kept.record.hash != hash);
    }

    fn retain(&mut self, keep: impl FnMut(&Kept) -> bool) {
        let before = self.kept.len();
        self.kept.retain(keep);
        if self.kept.len() != before {
            self.unsaved = self.unsaved.max(Unsaved::Gone);
        }
    }

    /// Forgets what is too old, and finds out what nobody else will send: `is_queued` tells whether
    /// a link's queue still has a block, `is_open` whether a connection of a link still stands.
    pub(crate) fn tend(
        &mut self,
        now: Instant,
        is_queued: impl Fn(BlockHash) -> bool,
        is_open: impl Fn(LinkIndex, Instant) -> bool,
    ) {
        self.retain(|kept| now.since(kept.since) < BLOCK_AGE_MAX);
        for kept in &mut self.kept {
            let is_late = match kept.stage {
                Stage::InQueue => !is_queued(kept.record.hash),
                Stage::Late => false,
                Stage::Sent { link, opened, .. } => !is_open(link, opened),
            };
            if is_late {
                kept.stage = Stage::Late;
            }
        }
    }

    /// Returns a late block of the pool at `host`.
    pub(crate) fn late(&self, host: &str) -> Option<&BlockRecord> {
        let is_late = |kept: &&Kept| kept.stage == Stage::Late && kept.record.host == host;
        self.kept.iter().find(is_late).map(|kept| &kept.record)
    }

    /// Books a late block as sent.
    pub(crate) fn handle_sent(
        &mut self,
        hash: BlockHash,
        link: LinkIndex,
        opened: Instant,
        request: u32,
    ) {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.record.hash == hash) {
            kept.stage = Stage::Sent { link, opened, request };
        }
    }

    /// Returns the late block that a pool's answer is for.
    pub(crate) fn sent(&self, link: LinkIndex, request: u32) -> Option<BlockHash> {
        let is_it = |kept: &&Kept| match kept.stage {
            Stage::Sent { link: on, request: under, .. } => (on, under) == (link, request),
            _ => false,
        };
        self.kept.iter().find(is_it).map(|kept| kept.record.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn record(number: u8) -> BlockRecord {
        BlockRecord {
            hash: BlockHash([number; 32]),
            host: "pool.example".try_into().unwrap(),
            worker: "farm".try_into().unwrap(),
            session: heapless::String::new(),
            extranonce1: heapless::Vec::new(),
            job_id: "1".try_into().unwrap(),
            extranonce2: heapless::Vec::new(),
            ntime: NTime(1),
            nonce: Nonce(2),
            version_bits: None,
        }
    }

    const NOW: Instant = Instant::from_micros(1_000_000);
    const LINK: LinkIndex = LinkIndex(3);

    #[test]
    fn f39_a_block_is_late_once_its_queue_has_lost_it_and_again_when_its_answer_cannot_come() {
        let mut blocks = Blocks::default();
        blocks.insert(record(1), NOW).unwrap();
        assert_eq!(blocks.unsaved(), Unsaved::Found);
        blocks.tend(NOW, |_| true, |_, _| true);
        assert_eq!(blocks.late("pool.example"), None, "its share is in the queue");
        blocks.tend(NOW, |_| false, |_, _| true);
        assert_eq!(blocks.late("other.example"), None);
        assert_eq!(blocks.late("pool.example"), Some(&record(1)));
        blocks.handle_sent(record(1).hash, LINK, NOW, 77);
        assert_eq!(blocks.late("pool.example"), None, "once per session");
        assert_eq!(blocks.sent(LINK, 77), Some(record(1).hash));
        assert_eq!(blocks.sent(LINK, 78), None);
        blocks.tend(NOW, |_| false, |_, _| false);
        assert_eq!(blocks.late("pool.example"), Some(&record(1)));
    }

    #[test]
    fn a_block_is_forgotten_when_it_is_answered_or_too_old() {
        let mut blocks = Blocks::default();
        blocks.insert(record(1), NOW).unwrap();
        blocks.restore(record(2), NOW).unwrap();
        blocks.handle_saved();
        blocks.forget(record(1).hash);
        assert_eq!(blocks.unsaved(), Unsaved::Gone);
        let young = Duration::from_micros(BLOCK_AGE_MAX.as_micros() - 1);
        blocks.tend(NOW + young, |_| false, |_, _| true);
        assert_eq!(blocks.records().count(), 1);
        blocks.tend(NOW + BLOCK_AGE_MAX, |_| false, |_, _| true);
        assert!(blocks.is_empty());
    }

    #[test]
    fn so_many_are_kept_and_none_twice() {
        let mut blocks = Blocks::default();
        let max = u8::try_from(BLOCKS_KEPT_MAX).unwrap();
        (0..max).for_each(|number| blocks.insert(record(number), NOW).unwrap());
        blocks.insert(record(0), NOW).unwrap();
        assert_eq!((blocks.records().count(), blocks.not_kept()), (BLOCKS_KEPT_MAX, 0));
        assert_eq!(blocks.insert(record(max), NOW), Err(BlocksFull));
        assert_eq!((blocks.records().count(), blocks.not_kept()), (BLOCKS_KEPT_MAX, 1));
        assert_eq!(blocks.restore(record(max), NOW), Err(BlocksFull));
    }
}
