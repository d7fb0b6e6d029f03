//! The wires: bytes arrive later, in order, in pieces, or not at all.
//!
//! A lost packet arrives later, as in TCP. A clog delays one direction; a pulled cable silently
//! drops everything.

use std::collections::VecDeque;

use crate::plan::{MILLI, Weather};
use crate::rng::Rng;

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Way {
    queue: VecDeque<(u64, Vec<u8>)>,
    last: u64,
    pub clogged_until: u64,
    /// Sent bytes that are not read yet.
    pub bytes: usize,
    /// When the end of the stream arrives.
    pub end: Option<u64>,
}

impl Way {
    /// Sends bytes and returns when each piece arrives.
    pub fn send(&mut self, bytes: &[u8], now: u64, weather: &Weather, rng: &mut Rng) -> Vec<u64> {
        let mut rest = bytes;
        let mut times = Vec::with_capacity(1);
        while !rest.is_empty() {
            let len = if weather.splits && rng.once_in(3) {
                rng.within(1, rest.len() as u64) as usize
            } else {
                rest.len()
            };
            let (piece, after) = rest.split_at(len);
            let at = self.arrival(now, weather, rng);
            self.bytes += piece.len();
            self.queue.push_back((at, piece.to_vec()));
            times.push(at);
            rest = after;
        }
        times
    }

    /// Ends the stream and returns the time at which the reader sees the end.
    pub fn finish(&mut self, now: u64, weather: &Weather, rng: &mut Rng) -> u64 {
        let at = self.arrival(now, weather, rng);
        self.end = Some(at);
        at
    }

    fn arrival(&mut self, now: u64, weather: &Weather, rng: &mut Rng) -> u64 {
        let mut at = now + weather.delay_min + rng.about(weather.delay_mean);
        if weather.loss_in > 0 && rng.once_in(weather.loss_in) {
            at += (200 * MILLI) << rng.below(4);
        }
        self.last = at.max(self.last).max(self.clogged_until);
        self.last
    }

    /// Takes all arrived bytes.
    pub fn take(&mut self, now: u64, into: &mut Vec<u8>) {
        self.take_some(now, usize::MAX, into);
    }

    /// Takes at most the given number of arrived bytes.
    pub fn take_some(&mut self, now: u64, max: usize, into: &mut Vec<u8>) {
        let mut left = max;
        while left > 0 && self.queue.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, mut piece)) = self.queue.pop_front() else { break };
            if piece.len() > left {
                self.queue.push_front((at, piece.split_off(left)));
            }
            left -= piece.len();
            self.bytes -= piece.len();
            into.extend_from_slice(&piece);
        }
    }

    /// Drops the bytes in flight.
    pub fn drop_all(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Whether everything has been read and the stream has ended.
    pub fn is_over(&self, now: u64) -> bool {
        self.queue.is_empty() && self.end.is_some_and(|at| at <= now)
    }
}
