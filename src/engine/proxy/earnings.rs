//! Reports a pool that does not pay, and renews the session if that may help.
//!
//! [`crate::refusals`] detects it, and `crate::links` leaves a pool by its health. This module
//! reports the beginning and the end, once each (F93).

use super::{Event, Proxy};
use crate::refusals::Change;
use crate::time::Instant;
use crate::upstream::{Link, LinkIndex, State};

impl Proxy<'_> {
    /// Checks how every pool answers shares.
    pub(super) fn tend_all_earnings(&mut self, now: Instant) {
        for index in 0..crate::limits::LINKS_MAX {
            let Some(index) = u8::try_from(index).ok().map(LinkIndex) else { break };
            self.tend_earnings(index, now);
        }
    }

    /// Checks how one pool answers shares: reports a change, and closes a session that may be the
    /// cause.
    pub(super) fn tend_earnings(&mut self, index: LinkIndex, now: Instant) {
        let Some(link) = self.links.get_mut(index).filter(|link| link.state == State::Live) else {
            return;
        };
        let pool = link.pool;
        let change = link.refusals.check(now);
        #[cfg(feature = "canary")]
        let change = change.filter(|change| !self.hides(*change));
        match change {
            Some(Change::Began(trouble)) => {
                self.push_event(Event::Unpaid { link: index, pool, trouble });
            }
            Some(Change::Ended) => self.push_event(Event::PaidAgain { link: index, pool }),
            None => {}
        }
        let is_spare = !self.links.is_active(pool);
        let renewal = self
            .links
            .get_mut(index)
            .and_then(|l: &mut Link<'_>| l.refusals.renewal(is_spare, now));
        #[cfg(feature = "canary")]
        let renewal = renewal.filter(|_| self.defect != Some(crate::canary::Defect::F93Forgotten));
        if let Some(close) = renewal {
            self.hang_up(index, close, now);
        }
    }

    /// Says whether a planted defect hides a change from the owner.
    #[cfg(feature = "canary")]
    fn hides(&self, change: Change) -> bool {
        use crate::canary::Defect::{F93Silent, F93Some, F93Unsaid};
        use crate::refusals::Trouble::{AnswersNone, AnswersSome};
        matches!(
            (self.defect, change),
            (Some(F93Unsaid), _)
                | (Some(F93Silent), Change::Began(AnswersNone { .. }))
                | (Some(F93Some), Change::Began(AnswersSome { .. }))
        )
    }
}
