//! Shares on their way to a pool: the one place where a share waits for its answer.
//!
//! A [`Pending`] entry is made when a share reaches the pool's target. It is freed when its verdict
//! is final: the pool's answer, or the reason why none will come. Until then it is queued, sent,
//! held (the link is down), or answered (the miner was not told yet). Before the queue is full,
//! miners are read less (`proxy::holding`). A share without a free entry is refused, and orphaned
//! as `queue_full`. The last [`PENDING_BLOCKS_RESERVED`] entries are for block candidates only
//! (F39).
//!
//! Every entry is in exactly one list, by its stage, in order of arrival there. Each lookup
//! therefore takes constant time: the next share to send, the oldest unanswered share, a free
//! entry. A request id gives its entry by arithmetic, from the entry's number and its count of
//! uses.
//!
//! Nothing here reads or writes lines; the caller moves the ledger.

use crate::identity::{FIRST_AUTHORIZATION, Grant, Named, WorkerName};
use crate::ledger::Orphan;
use crate::limits::{
    PENDING_BLOCKS_RESERVED, PENDING_PER_BLOCK_RESERVED, PENDING_PER_MINER_PART,
    PENDING_PER_RELIEF, PENDING_SHARES_MAX, REPLY_ID_BYTES_MAX,
};
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::wire::error_code::ErrorCode;
use crate::words::Saying;
use crate::work::header::BlockHash;
use crate::work::job::Serial;
use crate::work::share::AcceptedShare;

/// The stage of a waiting share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not sent yet.
    Queued,
    /// Sent under the entry's request id.
    Sent,
    /// The link is down.
    Held,
    /// The verdict is known, but the miner was not told yet.
    Answered(Verdict),
}

/// The verdict for a miner that waits for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pool took the share.
    Accepted,
    /// The pool refused it.
    Refused {
        /// The protocol's error code.
        code: ErrorCode,
        /// The pool's text, if it is still known ([`crate::words::Sayings`]).
        said: Saying,
    },
    /// No answer will come.
    NoAnswer,
}

/// A miner's request id, kept until its answer is due.
pub type ReplyId = heapless::Vec<u8, REPLY_ID_BYTES_MAX, u8>;

/// The place of an answer due to a miner: a link, and the entry's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) link: u8,
    pub(crate) slot: u16,
}

impl Place {
    /// No place.
    pub(crate) const NOWHERE: Self = Self { link: 0, slot: NONE };
}

/// A share that waits.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Id of the request to the pool; zero in a free entry.
    pub request: u32,
    /// The stage of the share.
    pub stage: Stage,
    /// The miner that found it.
    pub miner: MinerHandle,
    /// The id to answer under, if the miner waits for the pool's verdict.
    pub reply: Option<ReplyId>,
    /// The job it was made for.
    pub job: Serial,
    /// The epoch of the link that it was made in.
    pub epoch: u16,
    /// Whether it was sent on an earlier connection: the pool may know it already.
    pub was_sent: bool,
    /// The share itself.
    pub share: Option<AcceptedShare>,
    /// The name that it is submitted under.
    pub worker: Named,
    /// The pool's verdict on that name on this connection; the share is sent after a grant.
    pub grant: Grant,
    /// Time of the last of: arrival, sending, loss of the link.
    pub since: Instant,
    /// The goal that it was found for, and its worth there: its job's difficulty.
    pub goal: u8,
    /// See [`Pending::goal`].
    pub worth: f32,
    /// The stint of its miner at the link in which it was queued; it counts against the miner
    /// during that stint. [`NO_STINT`] for a block candidate, which may wait as long as its job and
    /// has room of its own (F39). [`NO_STINT`] also for a late share of another link.
    pub(crate) stint: u8,
    /// The entry's place, and the next answer due to the same miner.
    pub(crate) place: Place,
    pub(crate) next_answer: Place,
    /// For the queue only: the entry's next request id, and its links in its list.
    pub(crate) next_request: u32,
    pub(crate) list: u8,
    pub(crate) next: u16,
    pub(crate) previous: u16,
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
        was_sent: false,
        share: None,
        worker: Named::Login,
        grant: Grant::Granted,
        since: Instant::ZERO,
        goal: 0,
        worth: 0.0,
        stint: NO_STINT,
        place: Place { link: 0, slot: 0 },
        next_answer: Place::NOWHERE,
        next_request: 0,
        list: 0,
        next: NONE,
        previous: NONE,
    };

    /// Says whether the share would be a block.
    pub fn is_block(&self) -> bool {
        self.share.as_ref().is_some_and(AcceptedShare::is_block)
    }

    /// Returns the hash of the block that the share would be.
    pub fn block(&self) -> Option<BlockHash> {
        self.share.as_ref().filter(|share| share.is_block()).map(AcceptedShare::hash)
    }

    /// Says whether the share is still to be sent or answered.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Answered(_))
    }

    /// Returns the reason under which an unanswered share is orphaned.
    pub fn orphaned_as(&self) -> Orphan {
        match self.stage {
            Stage::Sent | Stage::Answered(_) => Orphan::NoAnswer,
            Stage::Queued | Stage::Held if self.was_sent => Orphan::Unanswered,
            Stage::Queued | Stage::Held => Orphan::Unsent,
        }
    }

    /// Notes that the connection is gone, and with it the name's grant.
    pub fn forget_grant(&mut self) {
        if self.worker != Named::Login {
            self.grant = Grant::Unasked;
        }
    }

    /// The list for the entry's present stage.
    fn list(&self) -> u8 {
        match (self.stage, self.grant) {
            _ if self.request == 0 => FREE,
            (Stage::Queued, Grant::Granted) if self.is_block() => BLOCKS,
            (Stage::Queued, Grant::Granted) => READY,
            (Stage::Queued, Grant::Unasked) => UNASKED,
            (Stage::Queued, Grant::Asked | Grant::Refused) => ASKED,
            (Stage::Sent, _) => SENT,
            (Stage::Held, _) => HELD,
            (Stage::Answered(_), _) => ANSWERED,
        }
    }
}

/// Marks a share that counts against no miner's part of the queue.
pub(crate) const NO_STINT: u8 = 0;

/// No entry is free for a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// A list of entries at the same stage, by their numbers.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u16,
    last: u16,
}

/// No entry.
const NONE: u16 = u16::MAX;

// The lists, in the order of [`PendingShares::free_where`], so that an entry that moves to another
// list is seldom visited twice.
const ANSWERED: u8 = 0;
const SENT: u8 = 1;
const BLOCKS: u8 = 2;
const READY: u8 = 3;
const ASKED: u8 = 4;
const UNASKED: u8 = 5;
const HELD: u8 = 6;
const FREE: u8 = 7;

/// All lists of shares that wait.
const WAITING: [u8; 7] = [ANSWERED, SENT, BLOCKS, READY, ASKED, UNASKED, HELD];

/// Lists of shares that wait for a name's grant.
const UNNAMED: [u8; 3] = [ASKED, UNASKED, HELD];

/// The waiting shares of one link.
#[derive(Debug)]
pub struct PendingShares<'a> {
    entries: &'a mut [Pending],
    lists: [List; 8],
    len: usize,
    /// Open block candidates among them.
    blocks: usize,
    /// Whether a miner was held back for want of room, and entries freed since.
    holds: bool,
    freed: usize,
    next_other: u32,
}

/// Lower ids belong to the handshake.
const FIRST_REQUEST: u32 = 16;

/// Ids from here on belong to requests other than queued shares.
const FIRST_OTHER: u32 = 1 << 29;

/// Higher ids belong to authorizations of workers.
const LAST_OTHER: u32 = FIRST_AUTHORIZATION - 1;

const _: () = assert!(PENDING_SHARES_MAX < NONE as usize, "every entry has a number");
const _: () = assert!(FIRST_OTHER < LAST_OTHER);
const _: () = assert!(size_of::<Pending>() <= 136, "4,096 of them stay below 560 kB");

impl<'a> PendingShares<'a> {
    /// Takes the entries, at most [`PENDING_SHARES_MAX`] of them.
    pub fn new(entries: &'a mut [Pending]) -> Self {
        assert!(entries.len() <= PENDING_SHARES_MAX, "no more entries than the constant");
        let lists = [List { first: NONE, last: NONE }; 8];
        let mut shares = Self {
            entries,
            lists,
            len: 0,
            blocks: 0,
            holds: false,
            freed: 0,
            next_other: FIRST_OTHER,
        };
        for (slot, request) in (0..shares.entries.len()).zip(FIRST_REQUEST..) {
            let Ok(slot) = u16::try_from(slot) else { break };
            if let Some(entry) = shares.at_mut(slot) {
                *entry = Pending { next_request: request, list: FREE, ..Pending::FREE };
                entry.place.slot = slot;
            }
            shares.append(slot, FREE);
        }
        shares
    }

    /// Returns how many shares wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether no share waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of entries.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Returns the free entries for shares other than block candidates.
    pub fn room(&self) -> usize {
        self.usable().saturating_sub(self.len)
    }

    /// Returns the room for more shares of a miner with `waits` shares here. The miner gets a part
    /// of the free room, so that others find room whatever it sends.
    pub(crate) fn room_for(&self, waits: usize) -> usize {
        let room = self.room();
        (room / PENDING_PER_MINER_PART).max(1).min(room).saturating_sub(waits)
    }

    /// Returns the number of entries for shares other than block candidates.
    pub(crate) fn usable(&self) -> usize {
        self.entries.len().saturating_sub(self.reserved())
    }

    /// Notes that a miner is held back until entries come free.
    pub(crate) fn hold_back(&mut self) {
        self.holds = true;
    }

    /// Returns `true`, once, if held-back miners must be asked again: enough entries came free, or
    /// `anyway` is set.
    pub(crate) fn take_relief(&mut self, anyway: bool) -> bool {
        let is_due =
            self.holds && (anyway || self.freed >= (self.usable() / PENDING_PER_RELIEF).max(1));
        if is_due {
            (self.holds, self.freed) = (false, 0);
        }
        is_due
    }

    /// Says whether only block candidates still find room.
    pub fn is_crowded(&self) -> bool {
        self.room() == 0
    }

    /// Entries reserved for block candidates: at least one.
    fn reserved(&self) -> usize {
        (self.entries.len() / PENDING_PER_BLOCK_RESERVED).clamp(1, PENDING_BLOCKS_RESERVED)
    }

    /// Inserts a share, and returns its new request id.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] if no entry is free, or only reserved ones are.
    pub fn insert(&mut self, entry: Pending) -> Result<u32, QueueFull> {
        if !entry.is_block() && self.is_crowded() {
            return Err(QueueFull);
        }
        let slot = self.first(FREE).ok_or(QueueFull)?;
        self.unlink(slot);
        let request = self.at(slot).ok_or(QueueFull)?.next_request;
        let next_request = self.request_after(request, slot);
        let place = self.at_mut(slot).ok_or(QueueFull)?;
        let at = Place { link: entry.place.link, slot };
        *place = Pending { request, next_request, place: at, next_answer: Place::NOWHERE, ..entry };
        let list = place.list();
        let is_block = place.is_block() && place.is_open();
        self.append(slot, list);
        self.len = self.len.saturating_add(1);
        self.blocks = self.blocks.saturating_add(usize::from(is_block));
        Ok(request)
    }

    /// Returns an entry's request id after `request`: each entry has its own series of ids, which
    /// restarts after the last (F42).
    fn request_after(&self, request: u32, slot: u16) -> u32 {
        let capacity = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let next = request.checked_add(capacity).filter(|next| *next < FIRST_OTHER);
        next.unwrap_or(FIRST_REQUEST.saturating_add(u32::from(slot)))
    }

    /// Returns a request id that no share ever has, for other requests.
    pub(crate) fn unused_request(&mut self) -> u32 {
        let request = self.next_other;
        self.next_other =
            if request < LAST_OTHER { request.saturating_add(1) } else { FIRST_OTHER };
        request
    }

    /// Returns the share to send next: block candidates first, then the oldest.
    pub fn next_queued(&self) -> Option<&Pending> {
        self.first(BLOCKS).or_else(|| self.first(READY)).and_then(|slot| self.at(slot))
    }

    /// Notes that a share was sent.
    pub(crate) fn handle_sent(&mut self, request: u32, now: Instant) {
        if let Some(entry) = self.find_mut(request) {
            (entry.stage, entry.since) = (Stage::Sent, now);
            let slot = entry.place.slot;
            self.relist(slot);
        }
    }

    /// Says whether a share waits under a name that no request asked for.
    pub fn has_unasked(&self) -> bool {
        self.first(UNASKED).is_some()
    }

    /// Returns the request id of a share with an unasked name, and the name. All shares of that
    /// name then count as asked. `name` gives the name of a share.
    pub(crate) fn next_unasked(
        &mut self,
        name: impl Fn(&Pending) -> WorkerName,
    ) -> Option<(u32, WorkerName)> {
        let entry = self.first(UNASKED).and_then(|slot| self.at(slot))?;
        let (request, asked) = (entry.request, name(entry));
        self.walk(UNASKED, |entry| {
            if name(entry) == asked {
                entry.grant = Grant::Asked;
            }
            false
        });
        Some((request, asked))
    }

    /// Forgets requests for names that `miner`, now gone, may have caused.
    pub fn forget_asked(&mut self, miner: MinerHandle) {
        if self.listed(ASKED).any(|entry| entry.miner == miner) {
            self.walk(ASKED, |entry| {
                entry.grant = Grant::Unasked;
                false
            });
        }
    }

    /// Returns the share with the request id.
    pub fn find(&self, request: u32) -> Option<&Pending> {
        self.at(self.slot_of(request)?).filter(|entry| entry.request == request)
    }

    fn find_mut(&mut self, request: u32) -> Option<&mut Pending> {
        self.at_mut(self.slot_of(request)?).filter(|entry| entry.request == request)
    }

    /// Returns the share sent under `request`, if it has no answer yet.
    pub fn sent(&self, request: u32) -> Option<&Pending> {
        self.find(request).filter(|entry| entry.stage == Stage::Sent)
    }

    /// Says whether a share ever had the request id, so that an answer to it is one, however late.
    pub(crate) fn was_given(&self, request: u32) -> bool {
        let entry = self.slot_of(request).and_then(|slot| self.at(slot));
        entry.is_some_and(|entry| request < entry.next_request)
    }

    /// Queues a sent share again, under the link's login. It gets a new request id: a second answer
    /// to the first request is no answer to the second.
    pub(crate) fn send_again(&mut self, request: u32, now: Instant) {
        let Some(&Pending { next_request, place, .. }) = self.sent(request) else { return };
        let after = self.request_after(next_request, place.slot);
        self.change(place.slot, |entry| {
            (entry.request, entry.next_request) = (next_request, after);
            (entry.stage, entry.since) = (Stage::Queued, now);
            (entry.worker, entry.grant) = (Named::Login, Grant::Granted);
            false
        });
    }

    /// Moves all unsent shares to the link's login.
    pub(crate) fn use_login(&mut self, now: Instant) {
        self.free_where(|entry| {
            if matches!(entry.stage, Stage::Queued | Stage::Held) {
                if entry.stage == Stage::Queued {
                    entry.since = now;
                }
                (entry.worker, entry.grant) = (Named::Login, Grant::Granted);
            }
            false
        });
    }

    /// Returns the sending time of the oldest unanswered share.
    pub fn oldest_sent(&self) -> Option<Instant> {
        self.first(SENT).and_then(|slot| self.at(slot)).map(|entry| entry.since)
    }

    /// Returns the answered share at a place.
    pub(crate) fn answered(&self, place: Place) -> Option<&Pending> {
        self.at(place.slot).filter(|entry| !entry.is_open())
    }

    /// Says whether the block with this hash is still to be sent or answered.
    pub(crate) fn waits_for(&self, hash: BlockHash) -> bool {
        self.blocks > 0 && self.iter().any(|entry| entry.is_open() && entry.block() == Some(hash))
    }

    /// Iterates over the shares that wait.
    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        WAITING.into_iter().flat_map(|list| self.listed(list))
    }

    /// Iterates over the shares of a list, in order of arrival there.
    fn listed(&self, list: u8) -> impl Iterator<Item = &Pending> {
        let mut at = self.first(list);
        core::iter::from_fn(move || {
            let entry = self.at(at?)?;
            at = Some(entry.next).filter(|next| *next != NONE);
            Some(entry)
        })
    }

    /// Frees the entries for which `done` returns `true`.
    pub fn free_where(&mut self, mut done: impl FnMut(&mut Pending) -> bool) {
        WAITING.into_iter().for_each(|list| self.walk(list, &mut done));
    }

    /// The same for shares that wait for their name or for the link.
    pub(crate) fn free_unnamed(&mut self, mut done: impl FnMut(&mut Pending) -> bool) {
        UNNAMED.into_iter().for_each(|list| self.walk(list, &mut done));
    }

    /// The same for the one share with the request id.
    pub(crate) fn free_if(&mut self, request: u32, done: impl FnOnce(&mut Pending) -> bool) {
        let Some(slot) = self.slot_of(request) else { return };
        if self.at(slot).is_some_and(|entry| entry.request == request) {
            self.change(slot, done);
        }
    }

    /// Frees an entry whose verdict was told to its miner; returns the place of its next answer.
    pub(crate) fn take_answered(&mut self, place: Place) -> Option<Place> {
        let next = self.answered(place)?.next_answer;
        self.change(place.slot, |_| true);
        Some(next).filter(|next| *next != Place::NOWHERE)
    }

    /// Visits the entries that were in a list at the start.
    fn walk(&mut self, list: u8, mut done: impl FnMut(&mut Pending) -> bool) {
        let last = self.lists.get(usize::from(list)).map_or(NONE, |list| list.last);
        let mut at = self.first(list);
        while let Some(slot) = at {
            at = self.at(slot).map(|entry| entry.next).filter(|next| *next != NONE && slot != last);
            self.change(slot, &mut done);
        }
    }

    /// Changes an entry, then moves it to its list or frees it.
    fn change(&mut self, slot: u16, done: impl FnOnce(&mut Pending) -> bool) {
        let Some(entry) = self.at_mut(slot) else { return };
        let was_open = entry.is_block() && entry.is_open();
        let is_done = done(entry);
        let is_open = !is_done && entry.is_block() && entry.is_open();
        if is_done {
            let (place, next_request) = (entry.place, entry.next_request);
            let (list, next, previous) = (entry.list, entry.next, entry.previous);
            *entry = Pending { place, next_request, list, next, previous, ..Pending::FREE };
            self.len = self.len.saturating_sub(1);
            self.freed = self.freed.saturating_add(1);
        }
        if was_open && !is_open {
            self.blocks = self.blocks.saturating_sub(1);
        }
        self.relist(slot);
    }

    /// Moves an entry to the list of its present stage.
    fn relist(&mut self, slot: u16) {
        let Some(entry) = self.at(slot) else { return };
        let list = entry.list();
        if entry.list != list {
            self.unlink(slot);
            self.append(slot, list);
        }
    }

    fn append(&mut self, slot: u16, list: u8) {
        let Some(ends) = self.lists.get_mut(usize::from(list)) else { return };
        let last = core::mem::replace(&mut ends.last, slot);
        if last == NONE {
            ends.first = slot;
        }
        if let Some(entry) = self.at_mut(slot) {
            (entry.list, entry.previous, entry.next) = (list, last, NONE);
        }
        if let Some(entry) = self.at_mut(last) {
            entry.next = slot;
        }
    }

    fn unlink(&mut self, slot: u16) {
        let Some(&Pending { list, next, previous, .. }) = self.at(slot) else { return };
        match self.at_mut(previous) {
            Some(entry) => entry.next = next,
            None => self.lists.get_mut(usize::from(list)).into_iter().for_each(|l| l.first = next),
        }
        match self.at_mut(next) {
            Some(entry) => entry.previous = previous,
            None => {
                self.lists.get_mut(usize::from(list)).into_iter().for_each(|l| l.last = previous);
            }
        }
    }

    fn first(&self, list: u8) -> Option<u16> {
        self.lists.get(usize::from(list)).map(|list| list.first).filter(|first| *first != NONE)
    }

    fn at(&self, slot: u16) -> Option<&Pending> {
        self.entries.get(usize::from(slot))
    }

    fn at_mut(&mut self, slot: u16) -> Option<&mut Pending> {
        self.entries.get_mut(usize::from(slot))
    }

    /// The entry of a request id, whether the id is its present one or not.
    fn slot_of(&self, request: u32) -> Option<u16> {
        let count = request.checked_sub(FIRST_REQUEST)?;
        let slot = count.checked_rem(u32::try_from(self.entries.len()).ok()?)?;
        u16::try_from(slot).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn requests(shares: &PendingShares<'_>) -> Vec<u32> {
        let mut requests: Vec<u32> = shares.iter().map(|entry| entry.request).collect();
        requests.sort_unstable();
        requests
    }

    fn sent() -> Pending {
        Pending { stage: Stage::Sent, ..Pending::FREE }
    }

    #[test]
    fn f94_a_share_that_is_sent_again_has_a_new_request_id() {
        let mut entries = vec![Pending::FREE; 4];
        let mut pending = PendingShares::new(&mut entries);
        let first = pending.insert(sent()).unwrap();
        pending.send_again(first, Instant::ZERO);
        let second = pending.next_queued().unwrap().request;
        assert_ne!(first, second);
        pending.handle_sent(second, Instant::ZERO);
        // The pool answers the first request a second time.
        assert!(pending.sent(first).is_none() && pending.was_given(first));
        assert!(pending.sent(second).is_some());
        // No later share in the same entry has one of these ids.
        pending.free_if(second, |_| true);
        for _ in 0..8 {
            let later = pending.insert(sent()).unwrap();
            assert!(![first, second].contains(&later), "{later}");
            pending.free_if(later, |_| true);
        }
    }

    #[test]
    fn f42_a_request_id_is_used_again_only_when_it_is_free() {
        let mut entries = vec![Pending::FREE; 4];
        let mut pending = PendingShares::new(&mut entries);
        assert_eq!(pending.insert(sent()), Ok(FIRST_REQUEST));
        assert_eq!(pending.insert(sent()), Ok(FIRST_REQUEST + 1));
        // The second is answered again and again while the first is waited for.
        let mut last = FIRST_REQUEST + 1;
        for _ in 0..100 {
            pending.free_if(last, |_| true);
            assert!(pending.sent(last).is_none(), "{last} is free");
            last = pending.insert(sent()).unwrap();
            assert!(pending.sent(last).is_some());
            assert_ne!(last, FIRST_REQUEST);
        }
        // All ids were used: the numbering begins anew, and passes over the first.
        for entry in pending.entries.iter_mut() {
            entry.next_request = FIRST_OTHER - 4 + u32::from(entry.place.slot);
        }
        for _ in 0..20 {
            pending.free_if(last, |_| true);
            last = pending.insert(sent()).unwrap();
            assert!((FIRST_REQUEST + 1..FIRST_OTHER).contains(&last), "{last}");
            assert_eq!(requests(&pending), [FIRST_REQUEST, last]);
        }
        pending.free_if(FIRST_REQUEST, |_| true);
        assert_eq!(requests(&pending), [last]);
        assert!(pending.sent(0).is_none(), "no request has the id of a free entry");
    }

    #[test]
    fn f42_ids_fit_31_bits_and_those_of_late_blocks_are_no_share_s() {
        let mut entries = vec![Pending::FREE; PENDING_SHARES_MAX];
        let mut pending = PendingShares::new(&mut entries);
        assert_eq!(pending.unused_request(), FIRST_OTHER);
        pending.next_other = LAST_OTHER;
        assert_eq!(pending.unused_request(), LAST_OTHER);
        assert_eq!(pending.unused_request(), FIRST_OTHER);
        const { assert!(LAST_OTHER < 1 << 30) };
        assert!(pending.find(FIRST_OTHER).is_none());
        assert!(pending.find(u32::MAX).is_none() && pending.find(FIRST_REQUEST - 1).is_none());
    }

    #[test]
    fn f39_the_last_entries_are_for_block_candidates() {
        for size in [2, 3, 64, PENDING_SHARES_MAX] {
            let mut entries = vec![Pending::FREE; size];
            let mut pending = PendingShares::new(&mut entries);
            let mut kept = 0;
            while pending.insert(Pending::FREE).is_ok() {
                kept += 1;
            }
            assert_eq!(kept, size - (size / 16).clamp(1, PENDING_BLOCKS_RESERVED));
            assert_eq!((pending.len(), pending.room()), (kept, 0));
        }
    }

    #[test]
    fn f91_whatever_some_send_there_is_room_for_others() {
        for size in [3, 16, PENDING_SHARES_MAX] {
            for floods in [1, 2, 5] {
                let mut entries = vec![Pending::FREE; size];
                let mut pending = PendingShares::new(&mut entries);
                let mut waits = vec![0; floods];
                while let Some(flood) = (0..floods).find(|at| pending.room_for(waits[*at]) > 0) {
                    pending.insert(Pending::FREE).expect("it was let in");
                    waits[flood] += 1;
                }
                let free = pending.room();
                // The next has half of what the one before left, and less.
                let least = pending.usable() >> floods;
                assert!(free >= least, "{floods} leave {free} of {size}");
                assert_eq!(pending.room_for(0) > 0, free > 0);
            }
        }
    }

    #[test]
    fn f91_who_is_held_back_is_asked_again_when_a_part_is_free() {
        let mut entries = vec![Pending::FREE; 256];
        let mut pending = PendingShares::new(&mut entries);
        let ids: Vec<u32> = (0..240).map(|_| pending.insert(Pending::FREE).unwrap()).collect();
        assert!(!pending.take_relief(true), "nobody is held back");
        pending.hold_back();
        assert!(!pending.take_relief(false));
        ids[..14].iter().for_each(|id| pending.free_if(*id, |_| true));
        assert!(!pending.take_relief(false), "a few more are worth waiting for");
        pending.free_if(ids[14], |_| true);
        assert!(pending.take_relief(false) && !pending.take_relief(true));
        pending.hold_back();
        assert!(pending.take_relief(true));
    }

    #[test]
    fn shares_are_sent_and_answered_in_the_order_in_which_they_came() {
        let mut entries = vec![Pending::FREE; 8];
        let mut pending = PendingShares::new(&mut entries);
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        let ids: Vec<u32> = (0..4).map(|_| pending.insert(Pending::FREE).unwrap()).collect();
        for (id, secs) in ids.iter().zip(1..) {
            assert_eq!(pending.next_queued().unwrap().request, *id);
            pending.handle_sent(*id, at(secs));
        }
        assert!(pending.next_queued().is_none());
        assert_eq!(pending.oldest_sent(), Some(at(1)));
        // An answer out of order leaves the others as they are.
        pending.free_if(ids[1], |_| true);
        assert_eq!(pending.oldest_sent(), Some(at(1)));
        pending.free_if(ids[0], |_| true);
        assert_eq!(pending.oldest_sent(), Some(at(3)));
        // The link is lost and comes back: they go again as they went.
        pending.free_where(|entry| {
            entry.stage = Stage::Held;
            false
        });
        assert_eq!((pending.oldest_sent(), pending.len()), (None, 2));
        pending.free_where(|entry| {
            entry.stage = Stage::Queued;
            false
        });
        assert_eq!(pending.next_queued().unwrap().request, ids[2]);
        pending.free_where(|_| true);
        assert!(pending.is_empty() && pending.next_queued().is_none());
        assert_eq!(pending.iter().count(), 0);
    }

    #[test]
    fn a_share_waits_for_its_name_and_is_asked_for_once() {
        let mut entries = vec![Pending::FREE; 8];
        let mut pending = PendingShares::new(&mut entries);
        let unasked = Pending { grant: Grant::Unasked, worker: Named::Miner(0), ..Pending::FREE };
        let first = pending.insert(unasked.clone()).unwrap();
        pending.insert(unasked).unwrap();
        assert!(pending.has_unasked() && pending.next_queued().is_none());
        let (request, name) = pending.next_unasked(|_| WorkerName::LOGIN).unwrap();
        assert_eq!((request, name), (first, WorkerName::LOGIN));
        assert!(!pending.has_unasked());
        pending.forget_asked(MinerHandle::NOBODY);
        assert!(pending.has_unasked());
        pending.free_unnamed(|entry| {
            entry.grant = Grant::Granted;
            false
        });
        assert_eq!(pending.next_queued().map(|entry| entry.request), Some(first));
    }

    /// Any order of what can happen to shares leaves every entry in one list, and all are found.
    #[test]
    fn lists_and_count_agree_whatever_happens() {
        let mut entries = vec![Pending::FREE; 13];
        let mut pending = PendingShares::new(&mut entries);
        let mut random = 7_u64;
        for step in 0..20_000_u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let grants = [Grant::Granted, Grant::Unasked, Grant::Asked];
            let grant = grants[(random >> 8) as usize % 3];
            let nth = |n: u64, all: &[u32]| all.get(n as usize % all.len().max(1)).copied();
            let request = nth(random >> 16, &requests(&pending)).unwrap_or(0);
            match random % 5 {
                0 | 1 => {
                    let _ = pending.insert(Pending { grant, ..Pending::FREE });
                }
                2 => pending.handle_sent(request, Instant::from_micros(step)),
                3 => pending.free_if(request, |_| true),
                _ => pending.free_if(request, |entry| {
                    entry.stage = Stage::Held;
                    false
                }),
            }
            let listed: Vec<u32> = requests(&pending);
            assert_eq!(listed.len(), pending.len());
            assert!(listed.iter().all(|request| pending.find(*request).is_some()));
            assert_eq!(pending.listed(FREE).count() + listed.len(), 13);
        }
    }
}
