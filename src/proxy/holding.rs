//! Reading less of miners before the way to their pool is full (F91).
//!
//! A share that finds no room on its way is lost, and with it what was paid for the power. So a
//! miner is read only as far as its pool's queue has room for what it may bring: what it sends
//! beyond that waits in its socket. Of the room that is left one miner may take a part, so that one
//! that floods is held back first and alone, and the others' shares find room whatever it does.
//!
//! What goes to miners is not held back: jobs, verdicts and keep-alives reach them as ever, and
//! none is closed for a silence that is the gateway's own. A block candidate behind what is not
//! read waits for no more than the queue's first answer; one that was read finds room of its own
//! (F39).
//!
//! A share for another link than the miner's own, as just after a switch, is not foreseen here.

use super::Proxy;
use crate::downstream::State;
use crate::limits::{READ_BYTES_MAX, SUBMIT_BYTES_MIN};
use crate::table::MinerHandle;
use crate::upstream::LinkIndex;

impl Proxy<'_> {
    /// Returns how many bytes of a miner the owner may read now, and hand in at once. At 0 the
    /// miner is held back: it is not to be read before [`Proxy::poll_relief`] has said so.
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

    /// Says, once, that every miner that is held back is to be asked again by [`Proxy::poll_read`].
    pub fn poll_relief(&mut self) -> bool {
        let anyway = core::mem::take(&mut self.relief);
        self.links
            .iter_mut()
            .fold(false, |is_due, (_, link)| link.pending.take_relief(anyway) | is_due)
    }

    /// The link that a miner works for, and for how many of its shares there is room on the way;
    /// none where what it sends goes nowhere.
    fn room_for(&self, miner: MinerHandle) -> Option<(LinkIndex, usize)> {
        let session = self.table.get(miner)?;
        if self.no_pool || !matches!(session.state, State::Authorized | State::Draining) {
            return None;
        }
        let seat = session.seat?;
        let (index, link) = self.links.feed(seat.lane, session.goal(), seat.space.geometry)?;
        Some((index, link.pending.room_for(usize::from(session.waits))))
    }
}
