//! The gateway's clock, which need not go as the world does (F66): it may show the same time for a
//! while, and it may leap, as after a suspended machine. It never goes back; the process sees to
//! that.

use crate::plan::{MILLI, SECOND};
use crate::rng::Rng;

/// It does not begin at zero.
const BASE: u64 = 1_000_000_000;

/// What the clock does at some time.
#[derive(Clone, Copy, Debug)]
pub enum Trick {
    /// Shows the same time for that long, and goes on as if it had not.
    Stand(u64),
    /// Is that much later at once.
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
    /// Since when it stands, and until when.
    stands: (u64, u64),
}

impl Clock {
    /// What it shows at a time of the world, in microseconds.
    pub fn reads(&self, now: u64) -> u64 {
        let (since, until) = self.stands;
        BASE + self.ahead + if now < until { since } else { now }
    }

    /// The world's time when it will show `micros`.
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

    /// Goes as the world does from now on.
    pub fn calm(&mut self) {
        self.stands = (0, 0);
    }

    /// How far it has leapt.
    pub fn ahead(&self) -> u64 {
        self.ahead
    }
}
