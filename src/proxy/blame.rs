//! Who a refusal is to be laid to: what a pool finds wrong with a share is booked on its miner, and
//! on the pool's health by who sent it; who repeats shares is named (F90).

use super::{Event, Proxy};
use crate::health::{Answer, Who};
use crate::limits::OFFENCES_OF_CONNECTION;
use crate::offenders::Place;
use crate::table::MinerHandle;
use crate::time::{Duration, Instant};
use crate::upstream::LinkIndex;

impl Proxy<'_> {
    /// Books what a pool answered to a share of a miner. While it accepts any share at all, one
    /// that it has already or finds too light is its miner's doing.
    pub(super) fn book_answer(
        &mut self,
        index: LinkIndex,
        miner: MinerHandle,
        (answer, time): (Answer, Duration),
        now: Instant,
    ) {
        let Self { links, table, offenders, closing, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        // Of who is gone nobody knows any more whether he was one or many.
        let Some(session) = table.get_mut(miner) else { return };
        let who = Who { place: Place::of(session.peer), miner };
        link.health.handle_answer(answer, who, time, now);
        if answer != Answer::Faulty || !link.health.accepts_any() {
            return;
        }
        if let Err(close) = session.count_faulty_share() {
            // A full list is of those who end anyway; this one's next refusal ends it.
            let _ = closing.push_back((miner, close));
        }
        offenders.book(session.peer, session.take_offences(), now);
    }

    /// Notes that a miner sent a share that was taken before. One that does so time and again is
    /// named, once in a while, and its address has that to its account.
    pub(super) fn note_repeat(&mut self, miner: MinerHandle, now: Instant) {
        let Some(session) = self.table.get_mut(miner) else { return };
        let peer = session.peer;
        if let Some(shares) = session.note_repeat(now) {
            self.offenders.book(peer, OFFENCES_OF_CONNECTION, now);
            self.push_event(Event::Repeats { miner, peer, shares });
        }
    }
}
