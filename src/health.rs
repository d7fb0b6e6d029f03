//! How well a link serves: a score from what its pool does, and a circuit that opens by it.
//!
//! The score runs from 100 to 0. It falls with slow answers, with refused shares (a stale one
//! counts a third of any other), and with lost connections, which are forgiven with time; a share
//! that stays unanswered makes it 0 at once. The circuit has two thresholds, so that a pool on the
//! edge does not draw the farm to and fro:
//!
//! - *closed*: the pool is trusted. A lost connection or a score below [`HEALTH_FAULT`] opens it.
//! - *open*: another pool is better, if there is one.
//! - *half-open*: the pool is back and is watched. It closes after the policy's time of health
//!   with a score of at least [`HEALTH_GOOD`] throughout, and opens again at the next fault.
//!
//! Nothing here acts: [`crate::links`] chooses by it.

use crate::limits::{
    HEALTH_ANSWERS, HEALTH_FAULT, HEALTH_FORGIVE_INTERVAL, HEALTH_GOOD, HEALTH_LOSS,
    HEALTH_LOSSES_MAX,
};
use crate::time::{Duration, Instant};

/// Whether a pool is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Circuit {
    /// It is.
    Closed,
    /// It is not: it is away, or does badly.
    #[default]
    Open,
    /// It is back, and is watched.
    HalfOpen,
}

impl Circuit {
    /// Returns the name that status and metrics show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What an answer of the pool was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The share was taken.
    Accepted,
    /// It was stale, as some are after every new block.
    Stale,
    /// It was refused for another reason.
    Refused,
}

/// The health of one link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    circuit: Circuit,
    /// Since when the circuit has been half-open without a fault.
    good_since: Instant,
    /// Mean time of an answer: an eighth of it is the newest.
    answer_time: Duration,
    /// The last answers, the newest in the lowest bits, two bits each.
    answers: u64,
    answered: u8,
    /// What lost connections cost, forgiven with time.
    losses: u8,
    forgiven_at: Instant,
}

impl Health {
    /// Returns whether the pool is trusted.
    pub fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Returns the score, 0 to 100.
    pub fn score(&self) -> u8 {
        let slow = (self.answer_time.as_micros() / 100_000).min(30);
        let refused = self.refused_percent().saturating_mul(7) / 10;
        let lost = u64::from(self.losses);
        let left = 100_u64.saturating_sub(slow).saturating_sub(refused).saturating_sub(lost);
        u8::try_from(left).unwrap_or(0)
    }

    /// Refused shares among the last answers, in percent; none before there are eight.
    fn refused_percent(&self) -> u64 {
        if self.answered < 8 {
            return 0;
        }
        let thirds: u64 = (0..u32::from(self.answered))
            .map(|place| (self.answers >> place.saturating_mul(2)) & 3)
            .sum();
        let most = u64::from(self.answered).saturating_mul(3);
        thirds.saturating_mul(100).checked_div(most).unwrap_or(0)
    }

    /// Takes an answer and the time that the pool took for it.
    pub(crate) fn handle_answer(&mut self, answer: Answer, time: Duration) {
        let mean = self.answer_time.as_micros();
        let newest = time.as_micros() / 8;
        let mean = if self.answered == 0 {
            time.as_micros()
        } else {
            mean.saturating_sub(mean / 8).saturating_add(newest)
        };
        self.answer_time = Duration::from_micros(mean);
        let thirds = match answer {
            Answer::Accepted => 0,
            Answer::Stale => 1,
            Answer::Refused => 3,
        };
        self.answers = (self.answers << 2) | thirds;
        self.answered = self.answered.saturating_add(1).min(HEALTH_ANSWERS);
    }

    /// Takes the loss of a connection that was live.
    pub(crate) fn handle_loss(&mut self) {
        self.losses = self.losses.saturating_add(HEALTH_LOSS).min(HEALTH_LOSSES_MAX);
        self.circuit = Circuit::Open;
    }

    /// Moves the circuit: `live` says whether the session stands, `silent` whether a share has
    /// waited too long for its answer, `healthy` is the time of health that closes the circuit.
    pub(crate) fn handle_timeout(
        &mut self,
        live: bool,
        silent: bool,
        healthy: Duration,
        now: Instant,
    ) {
        if now.since(self.forgiven_at) >= HEALTH_FORGIVE_INTERVAL {
            self.forgiven_at = now;
            self.losses = self.losses.saturating_sub(1);
        }
        let fault = !live || silent || self.score() < HEALTH_FAULT;
        self.circuit = match self.circuit {
            _ if fault => {
                if silent {
                    // What it answered before says nothing of a pool that has fallen silent.
                    self.answered = 0;
                }
                Circuit::Open
            }
            Circuit::Closed => Circuit::Closed,
            Circuit::Open => {
                self.good_since = now;
                Circuit::HalfOpen
            }
            Circuit::HalfOpen => {
                if self.score() < HEALTH_GOOD {
                    self.good_since = now;
                }
                if now.since(self.good_since) >= healthy {
                    Circuit::Closed
                } else {
                    Circuit::HalfOpen
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn trusted() -> Health {
        let mut health = Health::default();
        health.handle_timeout(true, false, HEALTHY, at(0));
        assert_eq!(health.circuit(), Circuit::HalfOpen);
        health.handle_timeout(true, false, HEALTHY, at(59));
        assert_eq!(health.circuit(), Circuit::HalfOpen);
        health.handle_timeout(true, false, HEALTHY, at(60));
        assert_eq!(health.circuit(), Circuit::Closed);
        health
    }

    #[test]
    fn a_silent_pool_is_left_at_once_and_trusted_again_after_a_minute() {
        let mut health = trusted();
        health.handle_timeout(true, true, HEALTHY, at(61));
        assert_eq!(health.circuit(), Circuit::Open);
        health.handle_timeout(true, false, HEALTHY, at(62));
        assert_eq!(health.circuit(), Circuit::HalfOpen);
        health.handle_timeout(true, false, HEALTHY, at(121));
        assert_eq!(health.circuit(), Circuit::HalfOpen);
        health.handle_timeout(true, false, HEALTHY, at(122));
        assert_eq!(health.circuit(), Circuit::Closed);
    }

    #[test]
    fn f32_stale_shares_and_a_few_refused_open_no_circuit_and_all_refused_do() {
        let mut health = trusted();
        for _ in 0..HEALTH_ANSWERS {
            health.handle_answer(Answer::Stale, Duration::from_millis(50));
        }
        health.handle_timeout(true, false, HEALTHY, at(61));
        assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
        for _ in 0..HEALTH_ANSWERS {
            health.handle_answer(Answer::Refused, Duration::from_millis(50));
        }
        health.handle_timeout(true, false, HEALTHY, at(62));
        assert_eq!(health.circuit(), Circuit::Open, "score {}", health.score());
    }

    #[test]
    fn f60_a_slow_pool_keeps_the_farm_and_every_loss_is_forgiven_in_time() {
        let mut health = trusted();
        for _ in 0..HEALTH_ANSWERS {
            health.handle_answer(Answer::Accepted, Duration::from_secs(2));
        }
        health.handle_timeout(true, false, HEALTHY, at(61));
        assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
        let before = health.score();
        health.handle_loss();
        assert!(health.score() < before);
        assert_eq!(health.circuit(), Circuit::Open);
        for secs in 62..1000 {
            health.handle_timeout(true, false, HEALTHY, at(secs));
        }
        assert_eq!(health.score(), before);
        assert_eq!(health.circuit(), Circuit::Closed);
    }
}
