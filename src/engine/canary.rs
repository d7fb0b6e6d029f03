//! Planted defects: one or more for each invariant of the simulation, to show that it finds them.
//!
//! Read this first. No shipped build contains this code: the feature `canary` is never a default.
//! Even with it the engine works correctly until [`Proxy::plant`] is called. `tests/sim/canary.rs`
//! plants each defect and requires that its invariant breaks.
//!
//! Each variant describes its defect; the feature's name marks the code.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::proxy::Proxy;
use crate::time::Duration;

/// A defect, named by the invariant that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A refused submit is answered and not counted.
    I1Conservation,
    /// What was accepted is forgotten whenever a few dozen shares are remembered.
    I1Replays,
    /// A share that its pool had before a cut, and calls a duplicate then, is booked as refused.
    I1Resent,
    /// The id of a miner that has left is not given back.
    I2Bounds,
    /// Only the miners in the first two slots are told of a new job.
    I3Isolation,
    /// Two miners in turn get the same id.
    I4Identity,
    /// Repeated work of a pool goes out unchanged, under another id.
    I5SameWork,
    /// A new difficulty counts as told, but is not sent.
    I5Order,
    /// A link that failed three times is never dialled again, nor is any other.
    I6Liveness,
    /// A pool may send the gateway to any host.
    I7FailClosed,
    /// A link ends without an event.
    I8Speech,
    /// Deadlines depend on the number of earlier ones, over all runs.
    I9Determinism,
    /// Late blocks, which only their records hold, are never sent.
    F39Blocks,
    /// A pool that pays for nothing is not reported.
    F93Unsaid,
    /// A pool that answers no share is not reported.
    F93Silent,
    /// A pool that leaves most shares unanswered is not reported.
    F93Some,
    /// A session that the pool forgot is kept.
    F93Forgotten,
    /// A pool that takes one name still gets shares under other names.
    F94Names,
    /// After a leap of the clock, the missed deadlines are worked off one by one.
    F66Leap,
    /// Shares that wait at the end are left open.
    F70Drain,
    /// A returned id is never given out again.
    F88Places,
    /// The first pool that answers fixes the geometry for all pools.
    F89Sizes,
    /// A late block goes to any pool at its host.
    F92Stranger,
    /// Miners are read even without room, and their lost shares are answered `true`.
    F91HoldBack,
}

impl Defect {
    /// All of them, in the order of the invariants.
    pub const ALL: [Self; 24] = [
        Self::I1Conservation,
        Self::I1Replays,
        Self::I1Resent,
        Self::I2Bounds,
        Self::I3Isolation,
        Self::I4Identity,
        Self::I5Order,
        Self::I5SameWork,
        Self::I6Liveness,
        Self::I7FailClosed,
        Self::I8Speech,
        Self::I9Determinism,
        Self::F39Blocks,
        Self::F93Unsaid,
        Self::F93Silent,
        Self::F93Some,
        Self::F93Forgotten,
        Self::F94Names,
        Self::F66Leap,
        Self::F70Drain,
        Self::F88Places,
        Self::F89Sizes,
        Self::F92Stranger,
        Self::F91HoldBack,
    ];
}

/// Shares remembered with [`Defect::I1Replays`].
pub(crate) const WINDOW: usize = 32;

impl Proxy<'_> {
    /// Makes the engine misbehave from now on.
    pub fn plant(&mut self, defect: Defect) {
        self.defect = Some(defect);
        for (_, link) in self.links.iter_mut() {
            link.keeps_time = defect == Defect::I5SameWork;
        }
    }

    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

/// A time that differs in every run, which no engine should use.
pub(crate) fn drift() -> Duration {
    static DEADLINES: AtomicU64 = AtomicU64::new(0);
    Duration::from_micros(DEADLINES.fetch_add(1, Ordering::Relaxed) % 1_009)
}
