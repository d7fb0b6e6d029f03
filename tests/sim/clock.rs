//! The gateway's clock, which may differ from the world's (F66): it may stand still for a while,
//! and it may leap, as after a suspend. It never goes back; the process guarantees that.

use crate::plan::{MILLI, SECOND};
use crate::rng::Rng;

/// The clock's start, which is not zero.
const BASE: u64 = 1_000_000_000;

/// An event of the clock.
#[derive(Clone, Copy, Debug)]
pub enum Trick {
    /// Shows the same time for that long, then catches up.
    Stand(u64),
    /// Leaps ahead by that much.
    Leap(u64),
}

impl Trick {
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.once_in(2) {
            Self::Stand(rng.within(1, 3_000) * MILLI)
        } else {
            // An answer's time, a job's, a block's.
            Self::Leap(*rng.pick(&[1, 10, 31, 121, 301, 3_600]) * SECOND)
        }
    }
}

#[derive(Debug, Default)]
pub struct Clock {
    ahead: u64,
    /// Begin and end of a stand-still.
    stands: (u64, u64),
}

impl Clock {
    /// The clock's time at a time of the world, in microseconds.
    pub fn reads(&self, now: u64) -> u64 {
        let (since, until) = self.stands;
        BASE + self.ahead + if now < until { since } else { now }
    }

    /// The world's time at which the clock shows `micros`.
    pub fn when(&self, micros: u64, now: u64) -> u64 {
        let at = micros.saturating_sub(BASE + self.ahead);
        let (since, until) = self.stands;
        if now < until && at > since { at.max(until) } else { at }
    }

    pub fn play(&mut self, trick: Trick, now: u64) {
        match trick {
            Trick::Stand(length) if now >= self.stands.1 => self.stands = (now, now + length),
            Trick::Stand(_) => {}
            Trick::Leap(length) => self.ahead += length,
        }
    }

    /// Runs with the world's time from now on.
    pub fn calm(&mut self) {
        self.stands = (0, 0);
    }

    /// The sum of its leaps.
    pub fn ahead(&self) -> u64 {
        self.ahead
    }
}
