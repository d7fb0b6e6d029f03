//! Blame for refusals: a pool's verdict on a share is booked on its miner and, by sender, on the
//! pool's health. A miner that keeps repeating shares is reported (F90).

use super::{Event, Proxy};
use crate::health::{Answer, Who};
use crate::limits::OFFENCES_OF_CONNECTION;
use crate::offenders::Place;
use crate::table::MinerHandle;
use crate::time::{Duration, Instant};
use crate::upstream::LinkIndex;

impl Proxy<'_> {
    /// Books a pool's answer to a share of a miner. While the pool accepts any shares, a duplicate
    /// or too light share is its miner's fault.
    pub(super) fn book_answer(
        &mut self,
        index: LinkIndex,
        miner: MinerHandle,
        (answer, time): (Answer, Duration),
        now: Instant,
    ) {
        let Self { links, table, offenders, closing, .. } = self;
        let Some(link) = links.get_mut(index) else { return };
        // The address of a miner that left is gone, so this answer says nothing about one sender.
        let Some(session) = table.get_mut(miner) else { return };
        let who = Who { place: Place::of(session.peer), miner };
        link.health.handle_answer(answer, who, time, now);
        if answer != Answer::Faulty || !link.health.accepts_any() {
            return;
        }
        if let Err(close) = session.count_faulty_share() {
            // A full list holds only miners that end anyway; this miner's next refusal ends it.
            let _ = closing.push_back((miner, close));
        }
        offenders.book(session.peer, session.take_offences(), now);
    }

    /// Notes that a miner repeated an accepted share. A miner that keeps doing so is reported at
    /// intervals, and its address is charged for it.
    pub(super) fn note_repeat(&mut self, miner: MinerHandle, now: Instant) {
        let Some(session) = self.table.get_mut(miner) else { return };
        let peer = session.peer;
        if let Some(shares) = session.note_repeat(now) {
            self.offenders.book(peer, OFFENCES_OF_CONNECTION, now);
            self.push_event(Event::Repeats { miner, peer, shares });
        }
    }
}
