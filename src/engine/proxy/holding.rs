//! Slows reads from miners before the queue to their pool is full (F91).
//!
//! A share that finds the queue full is lost, and so is its pay. A miner is read only as far as the
//! queue has room for the shares in those bytes; the rest waits in its socket. One miner may take
//! only a part of the room left. So a flooding miner is held back first and alone, and the others'
//! shares find room. Shares waiting at the miner's previous pool take no room in this queue. A
//! block candidate without an answer does not hold its finder back.
//!
//! Output to miners is never held back: jobs, verdicts and keep-alives go out as usual. No miner is
//! closed for a silence caused by the gateway. A block candidate in an unread socket waits for the
//! queue's next answer at most; once read, it has room of its own (F39).
//!
//! Shares for a link other than the miner's own, as just after a switch, are not counted here.

use super::Proxy;
use crate::downstream::State;
use crate::limits::{READ_BYTES_MAX, SUBMIT_BYTES_MIN};
use crate::table::MinerHandle;
use crate::upstream::LinkIndex;

impl Proxy<'_> {
    /// Returns the number of bytes that the owner may read from a miner now and hand in at once. At
    /// 0 the miner is held back: do not read it until [`Proxy::poll_relief`] returns `true`.
    pub fn poll_read(&mut self, miner: MinerHandle) -> usize {
        #[cfg(feature = "canary")]
        if self.has(crate::canary::Defect::F91HoldBack) {
            return READ_BYTES_MAX;
        }
        let Some((index, room)) = self.room_for(miner) else { return READ_BYTES_MAX };
        if room == 0 {
            if let Some(link) = self.links.get_mut(index) {
                link.pending.hold_back();
            }
            if let Some(session) = self.table.get_mut(miner) {
                session.is_held_back = true;
            }
        }
        room.saturating_mul(SUBMIT_BYTES_MIN).min(READ_BYTES_MAX)
    }

    /// Says whether a miner would be held back now.
    pub fn is_held_back(&self, miner: MinerHandle) -> bool {
        self.room_for(miner).is_some_and(|(_, room)| room == 0)
    }

    /// Returns `true`, once, if every held-back miner is to be asked again by [`Proxy::poll_read`].
    pub fn poll_relief(&mut self) -> bool {
        let anyway = core::mem::take(&mut self.relief);
        self.links
            .iter_mut()
            .fold(false, |is_due, (_, link)| link.pending.take_relief(anyway) | is_due)
    }

    /// Returns the miner's link and the number of its shares that fit the queue; `None` if its
    /// shares go nowhere.
    fn room_for(&self, miner: MinerHandle) -> Option<(LinkIndex, usize)> {
        let session = self.table.get(miner)?;
        if self.no_pool || !matches!(session.state, State::Authorized | State::Draining) {
            return None;
        }
        let seat = session.seat?;
        let (index, link) = self.links.feed(seat.lane, session.goal(), seat.space.geometry)?;
        Some((index, link.pending.room_for(usize::from(session.waits_at(index)))))
    }
}
