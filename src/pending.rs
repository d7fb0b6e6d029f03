//! Shares on their way to a pool: the one place where a share waits for its answer.
//!
//! A [`Pending`] entry is made when a share reaches the pool's target, and is freed when its
//! verdict is final: the pool's answer, or the reason why there will be none. Until then it can
//! be queued, sent, held (the link is down), or answered (the miner waits for the pool's verdict
//! and has not been told yet). When all entries are taken a further share is orphaned as
//! `queue_full`; one in [`PENDING_PER_BLOCK_RESERVED`] is for block candidates only (F39).
//!
//! Nothing here reads or writes lines, and the ledger is moved by the caller.

use crate::identity::{FIRST_AUTHORIZATION, Grant, WorkerName};
use crate::ledger::Orphan;
use crate::limits::{ID_BYTES_MAX, PENDING_PER_BLOCK_RESERVED, PENDING_SHARES_MAX};
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::work::header::BlockHash;
use crate::work::job::Serial;
use crate::work::share::AcceptedShare;

/// How far a share has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Queued,
    /// Sent under the entry's request id.
    Sent,
    /// The link is down. `sent` tells whether the pool may know the share already.
    Held {
        /// Whether it was sent before the link was lost.
        sent: bool,
    },
    /// The verdict is known and waits for the miner to be told.
    Answered(Verdict),
}

/// What the miner hears when it waits for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pool took the share.
    Accepted,
    /// The pool refused it with this code.
    Refused(i64),
    /// There will be no answer.
    NoAnswer,
}

/// A request id of a miner, kept until its answer is due.
pub type ReplyId = heapless::Vec<u8, ID_BYTES_MAX, u8>;

/// A share that waits.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Id of the request to the pool; zero in a free entry.
    pub request: u32,
    /// How far it has come.
    pub stage: Stage,
    /// Who found it.
    pub miner: MinerHandle,
    /// The id to answer under, where the miner waits for the pool's verdict.
    pub reply: Option<ReplyId>,
    /// The job it was made for.
    pub job: Serial,
    /// The session of the link that it was made in.
    pub epoch: u16,
    /// The share itself.
    pub share: Option<AcceptedShare>,
    /// Under whose name it goes to the pool.
    pub worker: WorkerName,
    /// What the pool said about that name on this connection; it is sent once it was granted.
    pub grant: Grant,
    /// When it came, was sent, or its link was lost, whichever was last.
    pub since: Instant,
}

impl Pending {
    /// A free entry.
    pub const FREE: Self = Self {
        request: 0,
        stage: Stage::Queued,
        miner: MinerHandle::NOBODY,
        reply: None,
        job: Serial::NONE,
        epoch: 0,
        share: None,
        worker: WorkerName::LOGIN,
        grant: Grant::Granted,
        since: Instant::ZERO,
    };

    /// Says whether the share would be a block.
    pub fn is_block(&self) -> bool {
        self.block().is_some()
    }

    /// Returns the hash of the block that the share would be.
    pub fn block(&self) -> Option<BlockHash> {
        self.share.filter(AcceptedShare::is_block).map(|share| share.hash())
    }

    /// Says whether the pool has still to be sent it, or to answer it.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Answered(_))
    }

    /// Returns as what it is booked where no answer came, and none will.
    pub fn orphaned_as(&self) -> Orphan {
        match self.stage {
            Stage::Sent | Stage::Answered(_) => Orphan::NoAnswer,
            Stage::Held { sent: true } => Orphan::Unanswered,
            Stage::Queued | Stage::Held { sent: false } => Orphan::Unsent,
        }
    }

    /// Notes that its connection is gone, and with it what was granted there.
    pub fn forget_grant(&mut self) {
        if self.worker != WorkerName::LOGIN {
            self.grant = Grant::Unasked;
        }
    }

    fn is_free(&self) -> bool {
        self.request == 0
    }
}

/// No entry is free for a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// The shares of one link that wait.
#[derive(Debug)]
pub struct PendingShares<'a> {
    entries: &'a mut [Pending],
    next_request: u32,
    len: usize,
}

/// Ids below belong to the handshake.
const FIRST_REQUEST: u32 = 16;

/// Ids above belong to authorizations of workers.
const LAST_REQUEST: u32 = FIRST_AUTHORIZATION - 1;

impl<'a> PendingShares<'a> {
    /// Takes the entries, at most [`PENDING_SHARES_MAX`] of them.
    pub fn new(entries: &'a mut [Pending]) -> Self {
        assert!(entries.len() <= PENDING_SHARES_MAX, "no more entries than the constant");
        Self { entries, next_request: FIRST_REQUEST, len: 0 }
    }

    /// Returns how many shares wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether no share waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says whether there is no room left for a share that is no block candidate.
    pub fn is_crowded(&self) -> bool {
        self.len.saturating_add(self.reserved()) >= self.entries.len()
    }

    /// Takes a share in, under a request id of its own.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] where no entry is free, or only those for block candidates are.
    pub fn insert(&mut self, mut entry: Pending) -> Result<(), QueueFull> {
        if !entry.is_block() && self.is_crowded() {
            return Err(QueueFull);
        }
        entry.request = self.unused_request();
        let free = self.entries.iter_mut().find(|entry| entry.is_free()).ok_or(QueueFull)?;
        *free = entry;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Entries for block candidates only: at least one.
    fn reserved(&self) -> usize {
        (self.entries.len() / PENDING_PER_BLOCK_RESERVED).max(1)
    }

    /// Returns a request id that no waiting share has (F42).
    pub(crate) fn unused_request(&mut self) -> u32 {
        loop {
            let request = self.next_request;
            self.next_request =
                if request < LAST_REQUEST { request.saturating_add(1) } else { FIRST_REQUEST };
            if !self.entries.iter().any(|entry| entry.request == request) {
                return request;
            }
        }
    }

    /// Returns the share to send next: block candidates first, then the one that waits longest.
    pub fn next_queued(&mut self) -> Option<&mut Pending> {
        if self.is_empty() {
            return None;
        }
        self.entries
            .iter_mut()
            .filter(|entry| {
                !entry.is_free() && entry.stage == Stage::Queued && entry.grant == Grant::Granted
            })
            .min_by_key(|entry| (!entry.is_block(), entry.since, entry.request))
    }

    /// Says whether a share waits whose name nobody asked for.
    pub fn has_unasked(&self) -> bool {
        !self.is_empty() && self.entries.iter().any(Self::is_unasked)
    }

    /// Returns the request id of a share whose name nobody asked for, and that name; all shares of
    /// the name are then asked for.
    pub fn next_unasked(&mut self) -> Option<(u32, WorkerName)> {
        let entry = self.entries.iter().find(|entry| Self::is_unasked(entry))?;
        let (request, name) = (entry.request, entry.worker.clone());
        for entry in self.entries.iter_mut() {
            if Self::is_unasked(entry) && entry.worker == name {
                entry.grant = Grant::Asked;
            }
        }
        Some((request, name))
    }

    fn is_unasked(entry: &Pending) -> bool {
        !entry.is_free() && entry.stage == Stage::Queued && entry.grant == Grant::Unasked
    }

    /// Returns the name of the share that has the request id.
    pub fn worker_of(&self, request: u32) -> Option<&WorkerName> {
        let entry = self.entries.iter().find(|entry| entry.request == request && request != 0)?;
        Some(&entry.worker)
    }

    /// Forgets that names were asked for where `miner`, who is gone, may have been the one to ask.
    pub fn forget_asked(&mut self, miner: MinerHandle) {
        let asked = |entry: &Pending| !entry.is_free() && entry.grant == Grant::Asked;
        if self.entries.iter().any(|entry| asked(entry) && entry.miner == miner) {
            for entry in self.entries.iter_mut().filter(|entry| asked(entry)) {
                entry.grant = Grant::Unasked;
            }
        }
    }

    /// Returns the share that was sent under `request` and has no answer yet.
    pub fn sent(&mut self, request: u32) -> Option<&mut Pending> {
        self.entries
            .iter_mut()
            .find(|entry| entry.request == request && request != 0 && entry.stage == Stage::Sent)
    }

    /// Returns when the share was sent that waits longest for its answer.
    pub fn oldest_sent(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        self.entries
            .iter()
            .filter(|entry| !entry.is_free() && entry.stage == Stage::Sent)
            .map(|entry| entry.since)
            .min()
    }

    /// Returns a share whose answer waits for `miner`.
    pub fn answered(&mut self, miner: MinerHandle) -> Option<&mut Pending> {
        self.entries.iter_mut().find(|entry| {
            !entry.is_free() && entry.miner == miner && matches!(entry.stage, Stage::Answered(_))
        })
    }

    /// Says whether the block with this hash is still to be sent or answered.
    pub(crate) fn waits_for(&self, hash: BlockHash) -> bool {
        !self.is_empty() && self.iter().any(|entry| entry.is_open() && entry.block() == Some(hash))
    }

    /// Iterates over the shares that wait.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.entries.iter().filter(|entry| !entry.is_free())
    }

    /// Returns how many shares could wait.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Iterates over the shares that wait, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.entries.iter_mut().filter(|entry| !entry.is_free())
    }

    /// Frees entries that are done: those for which `done` answers true.
    pub fn free_where(&mut self, mut done: impl FnMut(&mut Pending) -> bool) {
        if self.is_empty() {
            return;
        }
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_free()) {
            if done(entry) {
                *entry = Pending::FREE;
                self.len = self.len.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PENDING_BLOCKS_RESERVED;
    use std::vec;

    #[test]
    fn f42_a_request_id_is_used_again_only_when_it_is_free() {
        let mut entries = vec![Pending::FREE; PENDING_SHARES_MAX];
        let mut pending = PendingShares::new(&mut entries);
        let sent = Pending { stage: Stage::Sent, ..Pending::FREE };
        pending.insert(sent.clone()).unwrap();
        assert!(pending.sent(FIRST_REQUEST).is_some());
        pending.next_request = LAST_REQUEST;
        pending.insert(sent.clone()).unwrap();
        assert!(pending.sent(LAST_REQUEST).is_some());
        // The first id is still waited for, so the numbering passes over it.
        pending.insert(sent.clone()).unwrap();
        assert!(pending.sent(FIRST_REQUEST + 1).is_some());
        pending.free_where(|entry| entry.request == FIRST_REQUEST);
        assert!(pending.sent(FIRST_REQUEST).is_none());
        pending.next_request = FIRST_REQUEST;
        pending.insert(sent).unwrap();
        assert!(pending.sent(FIRST_REQUEST).is_some());
        assert_eq!(pending.len(), 3);
        assert!(pending.sent(0).is_none(), "no request has the id of a free entry");
    }

    #[test]
    fn f39_the_last_entries_are_for_block_candidates() {
        let mut entries = vec![Pending::FREE; PENDING_SHARES_MAX];
        let mut pending = PendingShares::new(&mut entries);
        let mut kept = 0;
        while pending.insert(Pending::FREE).is_ok() {
            kept += 1;
        }
        assert_eq!(kept, PENDING_SHARES_MAX - PENDING_BLOCKS_RESERVED);
        assert_eq!(pending.len(), kept);
    }
}
