//! Block candidates without a pool's answer: records that outlive the link and the process.
//!
//! A block is worth more than all other shares together, so it is kept twice. Its share waits in
//! the link's queue ([`crate::pending`]). Its data also stays here, as a [`BlockRecord`] that needs
//! neither job nor session. The owner writes the records to durable storage, and restores them at
//! the next start.
//!
//! If the queue loses its copy (lost link, new session, new process), the record is *late*. It is
//! sent to the same account of the same pool only, once in each session. A session with another
//! extranonce1 will most likely refuse it, but the try costs one line.
//!
//! A record is kept until its pool accepts the block, a session that knew its job refuses it, or
//! [`BLOCK_AGE_MAX`] passes. Two refusals decide nothing: "job not found" in a session that did not
//! give the job, and any refusal in a session with another extranonce1. The right session may come
//! back (`docs/adr/0014`).
//!
//! The ledger ignores late tries: the share was counted when it was found. If [`BLOCKS_KEPT_MAX`]
//! records are kept, a further block replaces the oldest that a session refused. If none was
//! refused, the new block is not kept here. It is counted and reported, and still waits in its
//! queue.

use crate::identity::{Account, LinkConnection};
use crate::limits::{
    BLOCK_AGE_MAX, BLOCKS_KEPT_MAX, EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, LINKS_MAX,
    POOL_JOB_ID_BYTES_MAX, SESSION_BYTES_MAX,
};
use crate::time::{Duration, Instant};
use crate::wire::error_code::ErrorCode;
use crate::work::header::{BlockHash, NTime, Nonce};

/// A block candidate, with all that its pool needs at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// The hash of its header, its key here.
    pub hash: BlockHash,
    /// The pool that gave the job, and the account there. The share goes out under the account's
    /// user, even in the mode *per-worker*: every link authorizes that user.
    pub account: Account,
    /// The pool's name for the session, to resume it; empty if it gave none.
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
    /// The rolled version bits, if the pool allows any.
    pub version_bits: Option<u32>,
}

/// A session of a link: one connection may have several in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSession {
    /// The connection.
    pub connection: LinkConnection,
    /// The number of the link's session.
    pub number: u16,
}

/// A pool's answer to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAnswer {
    /// The pool accepted it.
    Accepted,
    /// The pool refused it with this code.
    Refused(ErrorCode),
}

/// A session that was sent a block, or has refused it.
#[derive(Clone, Copy, Debug)]
struct Try {
    session: LinkSession,
    /// The request of a late try that has no answer yet.
    request: Option<u32>,
}

/// The stage of a kept block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its share waits in the queue of a link.
    InQueue,
    /// No queue has it any more; only its record is left.
    Late,
}

#[derive(Clone, Debug)]
struct Kept {
    record: BlockRecord,
    stage: Stage,
    expires: Instant,
    /// The connection on which the pool gave its job; `None` if that is closed.
    given: Option<LinkConnection>,
    /// For each link, the newest session that was sent it.
    tries: heapless::Vec<Try, LINKS_MAX, u8>,
    /// A session other than its own refused it.
    refused: bool,
}

impl Kept {
    /// Says whether an answer ends it: an acceptance, or a refusal by a session that knows its job.
    fn is_ended_by(&self, answer: BlockAnswer, at: LinkConnection, extranonce1: &[u8]) -> bool {
        let is_own = self.record.extranonce1 == *extranonce1;
        let was_given = self.given == Some(at);
        match answer {
            BlockAnswer::Accepted => true,
            // The session is gone, which says nothing about the block.
            BlockAnswer::Refused(ErrorCode::Unauthorized | ErrorCode::NotSubscribed) => false,
            BlockAnswer::Refused(ErrorCode::JobNotFound) => is_own && was_given,
            BlockAnswer::Refused(_) => is_own,
        }
    }

    fn was_tried(&self, session: LinkSession) -> bool {
        self.tries.iter().any(|tried| tried.session == session)
    }

    /// Notes a try; only the newest of each link counts.
    fn note(&mut self, tried: Try) {
        let link = tried.session.connection.link;
        self.tries.retain(|before| before.session.connection.link != link);
        // There is room: there are as many places as links.
        let _ = self.tries.push(tried);
    }
}

/// Whether the records must be written, and how soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsaved {
    /// Nothing to write: the written records are the kept ones.
    #[default]
    Nothing,
    /// Records were dropped; the write can wait.
    Gone,
    /// A block was found; write it before its miner is answered.
    Found,
}

/// There is no room for another record.
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
    /// Keeps a block whose share was put into a link's queue. `given` is the connection that gave
    /// its job, if it still stands. Returns the hash of a block dropped to make room.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] if there is no room.
    pub(crate) fn insert(
        &mut self,
        record: BlockRecord,
        given: Option<LinkConnection>,
        now: Instant,
    ) -> Result<Option<BlockHash>, BlocksFull> {
        let is_known = self.records().any(|known| known.hash == record.hash);
        let replaced = if self.kept.is_full() && !is_known { self.give_up_refused() } else { None };
        let lost = self.push(record, Stage::InQueue, given, now + BLOCK_AGE_MAX).is_err();
        if lost || replaced.is_some() {
            self.not_kept = self.not_kept.saturating_add(1);
        }
        if lost {
            return Err(BlocksFull);
        }
        self.unsaved = Unsaved::Found;
        Ok(replaced)
    }

    /// Restores a block of an earlier run, found `age` ago.
    ///
    /// # Errors
    ///
    /// [`BlocksFull`] if there is no room.
    pub(crate) fn restore(
        &mut self,
        record: BlockRecord,
        age: Duration,
        now: Instant,
    ) -> Result<(), BlocksFull> {
        let left = BLOCK_AGE_MAX.as_micros().saturating_sub(age.as_micros());
        self.push(record, Stage::Late, None, now + Duration::from_micros(left))
    }

    fn push(
        &mut self,
        record: BlockRecord,
        stage: Stage,
        given: Option<LinkConnection>,
        expires: Instant,
    ) -> Result<(), BlocksFull> {
        if self.records().any(|known| known.hash == record.hash) {
            return Ok(());
        }
        let tries = heapless::Vec::new();
        let kept = Kept { record, stage, expires, given, tries, refused: false };
        self.kept.push(kept).map_err(|_| BlocksFull)
    }

    /// Drops the oldest block that a session refused.
    fn give_up_refused(&mut self) -> Option<BlockHash> {
        let index = self.kept.iter().position(|kept| kept.refused)?;
        Some(self.kept.remove(index).record.hash)
    }

    /// Iterates over the records.
    pub fn records(&self) -> impl Iterator<Item = &BlockRecord> {
        self.kept.iter().map(|kept| &kept.record)
    }

    /// Says whether no block is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Returns the number of blocks that found no room here.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// Says whether the records must be written.
    pub fn unsaved(&self) -> Unsaved {
        self.unsaved
    }

    pub(crate) fn handle_saved(&mut self) {
        self.unsaved = Unsaved::Nothing;
    }

    fn forget(&mut self, index: usize) -> BlockHash {
        self.unsaved = self.unsaved.max(Unsaved::Gone);
        self.kept.remove(index).record.hash
    }

    /// Drops a block that is too old, and returns its hash.
    pub(crate) fn forget_old(&mut self, now: Instant) -> Option<BlockHash> {
        let index = self.kept.iter().position(|kept| now >= kept.expires)?;
        Some(self.forget(index))
    }

    /// Marks blocks as late that no queue has any more; `is_queued` says whether a link's queue
    /// still has a block.
    pub(crate) fn tend(&mut self, is_queued: impl Fn(BlockHash) -> bool) {
        for kept in &mut self.kept {
            if kept.stage == Stage::InQueue && !is_queued(kept.record.hash) {
                kept.stage = Stage::Late;
            }
        }
    }

    /// Returns a late block of an account that was not yet sent in this session.
    pub(crate) fn late(&self, account: &Account, session: LinkSession) -> Option<&BlockRecord> {
        let is_due = |kept: &&Kept| {
            kept.stage == Stage::Late
                && kept.record.account.is_same(account)
                && !kept.was_tried(session)
        };
        self.kept.iter().find(is_due).map(|kept| &kept.record)
    }

    /// The same by the host alone: a planted defect.
    #[cfg(feature = "canary")]
    pub(crate) fn late_at_host(
        &self,
        account: &Account,
        session: LinkSession,
    ) -> Option<&BlockRecord> {
        let is_due = |kept: &&Kept| {
            kept.stage == Stage::Late
                && kept.record.account.host == account.host
                && !kept.was_tried(session)
        };
        self.kept.iter().find(is_due).map(|kept| &kept.record)
    }

    /// Returns the session worth asking an account's pool for, on the account's link number `rank`;
    /// empty if there is none for that link.
    pub(crate) fn session(&self, account: &Account, rank: usize) -> &str {
        let mut names = heapless::Vec::<&str, BLOCKS_KEPT_MAX>::new();
        for kept in self.kept.iter().filter(|kept| kept.record.account.is_same(account)) {
            let name = kept.record.session.as_str();
            if kept.stage == Stage::Late && !name.is_empty() && !names.contains(&name) {
                // There is room for all kept records.
                let _ = names.push(name);
            }
        }
        names.get(rank).copied().unwrap_or_default()
    }

    /// Books a late block as sent.
    pub(crate) fn handle_sent(&mut self, hash: BlockHash, session: LinkSession, request: u32) {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.record.hash == hash) {
            kept.note(Try { session, request: Some(request) });
        }
    }

    /// Returns the late block that a pool's answer belongs to.
    pub(crate) fn sent(&self, at: LinkConnection, request: u32) -> Option<BlockHash> {
        let is_it = |tried: &Try| (tried.session.connection, tried.request) == (at, Some(request));
        self.kept.iter().find(|kept| kept.tries.iter().any(is_it)).map(|kept| kept.record.hash)
    }

    /// Books a pool's answer to a block, given in a session with this extranonce1; returns whether
    /// the block is still kept.
    pub(crate) fn handle_answer(
        &mut self,
        hash: BlockHash,
        answer: BlockAnswer,
        session: LinkSession,
        extranonce1: &[u8],
    ) -> bool {
        let mut all = self.kept.iter();
        let Some(index) = all.position(|kept| kept.record.hash == hash) else { return false };
        let Some(kept) = self.kept.get_mut(index) else { return false };
        if kept.is_ended_by(answer, session.connection, extranonce1) {
            self.forget(index);
            return false;
        }
        kept.refused = true;
        kept.stage = Stage::Late;
        kept.note(Try { session, request: None });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::LinkIndex;

    const HOST: &str = "pool.example";

    fn account(host: &str, port: u16, user: &str) -> Account {
        Account { host: host.try_into().unwrap(), port, user: user.try_into().unwrap() }
    }

    fn record(number: u8) -> BlockRecord {
        BlockRecord {
            hash: BlockHash([number; 32]),
            account: account(HOST, 3333, "farm"),
            session: heapless::String::new(),
            extranonce1: OWN.try_into().unwrap(),
            job_id: "1".try_into().unwrap(),
            extranonce2: heapless::Vec::new(),
            ntime: NTime(1),
            nonce: Nonce(2),
            version_bits: None,
        }
    }

    fn session(link: u8, connection: u16, number: u16) -> LinkSession {
        let connection = LinkConnection { link: LinkIndex(link), number: connection };
        LinkSession { connection, number }
    }

    /// What is kept after a block of the connection 3/1 was answered in the session 3/`connection`.
    fn is_kept(answer: BlockAnswer, connection: u16, extranonce1: &[u8]) -> bool {
        let mut blocks = Blocks::default();
        blocks.insert(record(1), Some(FIRST.connection), NOW).unwrap();
        let kept = blocks.handle_answer(
            record(1).hash,
            answer,
            session(3, connection, connection),
            extranonce1,
        );
        assert_eq!(kept, !blocks.is_empty());
        kept
    }

    fn late(blocks: &Blocks, session: LinkSession) -> Option<BlockHash> {
        blocks.late(&account(HOST, 3333, "farm"), session).map(|record| record.hash)
    }

    const NOW: Instant = Instant::from_micros(1_000_000);
    const OWN: &[u8] = &[1, 2, 3, 4];
    const OTHER: &[u8] = &[1, 2, 3, 5];
    const FIRST: LinkSession =
        LinkSession { connection: LinkConnection { link: LinkIndex(3), number: 1 }, number: 1 };

    #[test]
    fn f39_a_block_is_late_once_its_queue_has_lost_it_and_due_once_in_each_session() {
        let mut blocks = Blocks::default();
        let hash = record(1).hash;
        assert_eq!(blocks.insert(record(1), Some(FIRST.connection), NOW), Ok(None));
        assert_eq!(blocks.unsaved(), Unsaved::Found);
        blocks.tend(|_| true);
        assert_eq!(late(&blocks, FIRST), None, "its share is in the queue");
        blocks.tend(|_| false);
        assert_eq!(late(&blocks, FIRST), Some(hash));
        blocks.handle_sent(hash, FIRST, 77);
        assert_eq!(late(&blocks, FIRST), None, "once per session");
        assert_eq!(blocks.sent(FIRST.connection, 77), Some(hash));
        assert_eq!(blocks.sent(FIRST.connection, 78), None);
        assert_eq!(late(&blocks, session(4, 1, 1)), Some(hash), "another link's");
        blocks.handle_sent(hash, session(4, 1, 1), 77);
        for again in [session(3, 1, 2), session(3, 2, 2)] {
            assert_eq!(late(&blocks, again), Some(hash));
            assert_eq!(blocks.sent(session(3, 2, 2).connection, 77), None, "of its connection");
            blocks.handle_sent(hash, again, 79);
            assert_eq!(late(&blocks, again), None);
        }
        assert_eq!(late(&blocks, session(4, 1, 1)), None);
    }

    #[test]
    fn f92_a_block_is_for_its_own_account_of_its_own_pool_only() {
        let mut blocks = Blocks::default();
        blocks.restore(record(1), Duration::ZERO, NOW).unwrap();
        for own in [account(HOST, 3333, "farm"), account("POOL.example.", 3333, "farm")] {
            assert!(blocks.late(&own, FIRST).is_some(), "{own:?}");
        }
        for stranger in [
            account(HOST, 3333, "farm2"),
            account(HOST, 3333, "farm.gateway"),
            account(HOST, 3333, "Farm"),
            account(HOST, 3334, "farm"),
            account(HOST, 0, "farm"),
            account("other.example", 3333, "farm"),
            account("eu.pool.example", 3333, "farm"),
            account("", 3333, "farm"),
        ] {
            assert!(blocks.late(&stranger, FIRST).is_none(), "{stranger:?}");
            assert_eq!(blocks.session(&stranger, 0), "");
        }
        let unknown = BlockRecord { account: account(HOST, 0, "farm"), ..record(2) };
        let mut blocks = Blocks::default();
        blocks.restore(unknown, Duration::ZERO, NOW).unwrap();
        for port in [0, 3333] {
            assert!(blocks.late(&account(HOST, port, "farm"), FIRST).is_none());
        }
    }

    #[test]
    fn f92_only_a_session_that_knew_the_job_decides() {
        use BlockAnswer::{Accepted, Refused};
        for (connection, extranonce1) in [(1, OWN), (2, OWN), (1, OTHER), (2, OTHER)] {
            assert!(!is_kept(Accepted, connection, extranonce1));
            let is_own = extranonce1 == OWN;
            for code in [ErrorCode::Other, ErrorCode::Duplicate, ErrorCode::LowDifficulty] {
                assert_eq!(is_kept(Refused(code), connection, extranonce1), !is_own, "{code:?}");
            }
            let was_given = connection == 1 && is_own;
            assert_eq!(
                is_kept(Refused(ErrorCode::JobNotFound), connection, extranonce1),
                !was_given
            );
            assert!(
                is_kept(Refused(ErrorCode::Unauthorized), connection, extranonce1),
                "no session at all"
            );
            assert!(is_kept(Refused(ErrorCode::NotSubscribed), connection, extranonce1));
        }
    }

    #[test]
    fn f92_a_refused_block_waits_for_the_next_session() {
        let mut blocks = Blocks::default();
        let hash = record(1).hash;
        blocks.restore(record(1), Duration::ZERO, NOW).unwrap();
        blocks.handle_sent(hash, FIRST, 9);
        assert!(blocks.handle_answer(
            hash,
            BlockAnswer::Refused(ErrorCode::JobNotFound),
            FIRST,
            OWN
        ));
        assert_eq!(late(&blocks, FIRST), None);
        for request in [0, 9, u32::MAX] {
            assert_eq!(blocks.sent(FIRST.connection, request), None, "it has its answer");
        }
        assert_eq!(late(&blocks, session(3, 1, 2)), Some(hash));
    }

    #[test]
    fn f92_each_link_of_an_account_asks_for_a_session_of_its_own() {
        let mut blocks = Blocks::default();
        for (number, name) in [(1, "a"), (2, ""), (3, "a"), (4, "b")] {
            let session = name.try_into().unwrap();
            let record = BlockRecord { session, ..record(number) };
            blocks.restore(record, Duration::ZERO, NOW).unwrap();
        }
        let asked: [&str; 3] =
            core::array::from_fn(|rank| blocks.session(&account(HOST, 3333, "farm"), rank));
        assert_eq!(asked, ["a", "b", ""]);
    }

    #[test]
    fn f92_a_block_is_kept_for_a_day_whatever_restarts_there_are() {
        let mut blocks = Blocks::default();
        let day = Duration::from_secs(86_400);
        let hour = Duration::from_secs(3_600);
        blocks.insert(record(1), None, NOW).unwrap();
        blocks.restore(record(2), hour, NOW).unwrap();
        blocks.restore(record(3), day + hour, NOW).unwrap();
        blocks.handle_saved();
        assert_eq!(blocks.forget_old(NOW), Some(record(3).hash));
        assert_eq!(blocks.unsaved(), Unsaved::Gone);
        let second = Duration::from_secs(1);
        assert_eq!(blocks.forget_old(NOW + Duration::from_secs(86_400 - 3_601)), None);
        assert_eq!(blocks.forget_old(NOW + Duration::from_secs(82_800)), Some(record(2).hash));
        assert_eq!(blocks.forget_old(NOW + Duration::from_secs(86_399)), None);
        assert_eq!(blocks.forget_old(NOW + day + second), Some(record(1).hash));
        assert!(blocks.is_empty());
    }

    #[test]
    fn so_many_are_kept_and_none_twice() {
        let mut blocks = Blocks::default();
        let max = u8::try_from(BLOCKS_KEPT_MAX).unwrap();
        (0..max).for_each(|number| {
            blocks.insert(record(number), None, NOW).unwrap();
        });
        blocks.insert(record(0), None, NOW).unwrap();
        assert_eq!((blocks.records().count(), blocks.not_kept()), (BLOCKS_KEPT_MAX, 0));
        assert_eq!(blocks.insert(record(max), None, NOW), Err(BlocksFull));
        assert_eq!((blocks.records().count(), blocks.not_kept()), (BLOCKS_KEPT_MAX, 1));
        assert_eq!(blocks.restore(record(max), Duration::ZERO, NOW), Err(BlocksFull));
        // A block that a session refused is worth less than a block without a verdict.
        blocks.handle_answer(
            record(5).hash,
            BlockAnswer::Refused(ErrorCode::JobNotFound),
            FIRST,
            OTHER,
        );
        assert_eq!(blocks.insert(record(max), None, NOW), Ok(Some(record(5).hash)));
        assert_eq!((blocks.records().count(), blocks.not_kept()), (BLOCKS_KEPT_MAX, 2));
    }
}
