//! The health of a link: a score from its pool's answers, and a circuit that opens by the score.
//!
//! The score runs from 100 to 0. It falls with slow answers, with refused shares (a stale one
//! counts a third), and with lost connections, which are forgiven over time. An overdue answer
//! makes it 0 at once. The circuit has two thresholds, so that a pool near one does not move the
//! farm back and forth:
//!
//! - *closed*: the pool is trusted. A lost connection or a score below [`HEALTH_FAULT`] opens it.
//! - *open*: another pool is better, if there is one.
//! - *half-open*: the pool is back and is watched. It closes after the policy's time of health
//!   with a score of at least [`HEALTH_GOOD`] throughout, and opens again at the next fault.
//!
//! **A standby hears no answers**, so only a turn of the farm shows that a pool takes shares again
//! (F93). The circuit of a pool that refuses shares stays open for [`TRIAL_INTERVAL_MIN`]. Then its
//! answers are forgotten, and it closes as any other. Each failed trial doubles the time, to
//! [`TRIAL_INTERVAL_MAX`], until the pool takes [`PAID_SHARES_MIN`] shares. The first silence adds
//! no such time, since one unanswered share may be an accident.
//!
//! **Refusals count by sender** (F90, `docs/adr/0012`). Each miner has a `Voice`: its last
//! answers. Of several addresses, the address with the most refusals is left out, and the mean of
//! the others counts. Of several miners at one address, the miner with the most refusals is left
//! out. So no single miner or address opens a circuit while others are heard, however much it
//! sends. A lone miner's refusals count in full. Verdicts on the share itself, duplicate or low
//! difficulty, count only if two addresses get them, or if no share at all is accepted. Stale
//! shares count in full if no other answer came for [`UNPAID_AFTER`].
//!
//! Nothing here acts: [`crate::links`] chooses pools by it.

use core::cmp::Reverse;

use crate::ledger::{Bucket, PoolReject};
use crate::limits::{
    HEALTH_ANSWERS, HEALTH_ANSWERS_LEAST, HEALTH_FAULT, HEALTH_FORGIVE_INTERVAL, HEALTH_GOOD,
    HEALTH_HEARD_MAX, HEALTH_LOSS, HEALTH_LOSSES_MAX, HEALTH_VOICE_ANSWERS, HEALTH_VOICES,
    PAID_SHARES_MIN, TRIAL_DOUBLINGS_MAX, TRIAL_INTERVAL_MAX, TRIAL_INTERVAL_MIN, UNPAID_AFTER,
};
use crate::offenders::Place;
use crate::table::MinerHandle;
use crate::time::{Duration, Instant};

/// Whether a pool is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Circuit {
    /// The pool is trusted.
    Closed,
    /// The pool is not trusted: it is away, or serves badly.
    #[default]
    Open,
    /// The pool is back, on probation.
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

/// The kind of a pool's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The share was accepted.
    Accepted,
    /// The share was stale, as some are after every new block.
    Stale,
    /// The share itself was faulty: a duplicate, or too light.
    Faulty,
    /// The share was refused for another reason.
    Refused,
}

impl Answer {
    /// Returns the kind for the bucket of a share.
    pub(crate) const fn of(to: Bucket) -> Self {
        match to {
            Bucket::PoolRejected(PoolReject::JobNotFound) => Self::Stale,
            Bucket::PoolRejected(PoolReject::Duplicate | PoolReject::LowDifficulty) => Self::Faulty,
            Bucket::PoolRejected(_) => Self::Refused,
            _ => Self::Accepted,
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::Accepted => 0,
            Self::Stale => 1,
            Self::Faulty => 2,
            Self::Refused => 3,
        }
    }
}

/// The sender of a share: the address counts, and at one address the miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The connection; compared first, as it differs soonest.
    pub miner: MinerHandle,
    /// The address.
    pub place: Place,
}

/// A pool's last answers to one miner.
#[derive(Clone, Copy, Debug)]
struct Voice {
    who: Who,
    /// The last answers, the newest in the lowest bits, two bits each.
    answers: u16,
    answered: u8,
    /// Miners of its address that have a voice, itself included.
    of_place: u8,
    /// Time of the last answer, and the total of all answers at that time.
    at: Instant,
    total: u32,
}

/// The answers that count as the pool's fault.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// Whether faulty shares count.
    faults: bool,
    /// The weight of a stale share, in thirds.
    stale: u32,
}

impl Voice {
    /// Refusals among its answers, in percent. `None` if no answer counts.
    fn refused_percent(&self, counted: Counted) -> Option<u32> {
        let (mut thirds, mut count) = (0_u32, 0_u32);
        for place in 0..u32::from(self.answered) {
            let bits = (self.answers >> place.saturating_mul(2)) & 3;
            let (counts, weight) = match bits {
                0 => (true, 0),
                1 => (true, counted.stale),
                2 => (counted.faults, 3),
                _ => (true, 3),
            };
            if counts {
                thirds = thirds.saturating_add(weight);
                count = count.saturating_add(1);
            }
        }
        thirds.saturating_mul(100).checked_div(count.saturating_mul(3))
    }

    fn has(&self, answer: Answer) -> bool {
        (0..u32::from(self.answered))
            .any(|place| (self.answers >> place.saturating_mul(2)) & 3 == answer.bits())
    }
}

/// The health of one link.
#[derive(Clone, Debug, Default)]
pub struct Health {
    circuit: Circuit,
    /// Since when the circuit has been half-open without a fault.
    good_since: Instant,
    /// Moving average of the answer time, an eighth from the newest.
    answer_time: Duration,
    /// The miners with the most recent answers.
    voices: heapless::Vec<Voice, HEALTH_VOICES>,
    /// What they come to ([`Health::refused_percent`]), kept as it is asked for with every line of
    /// the pool and seldom changes.
    refused: u8,
    /// Answers so far.
    total: u32,
    /// No voice can have been silent for long before this time.
    silent_at: Instant,
    /// Points lost with connections, forgiven over time.
    losses: u8,
    forgiven_at: Instant,
    /// When the first share was refused since the last that was taken, and whether none was taken
    /// for long now.
    refused_since: Option<Instant>,
    refuses_all: bool,
    /// When the pool was left for its answers, how often since it last took shares, and how many it
    /// has taken since.
    left_at: Instant,
    failures: u8,
    taken: u32,
    /// It is not tried before.
    barred_until: Option<Instant>,
}

impl Health {
    /// Returns whether the pool is trusted.
    pub fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Returns the score, 0 to 100.
    pub fn score(&self) -> u8 {
        let slow = (self.answer_time.as_micros() / 100_000).min(30);
        let refused = u64::from(self.refused).saturating_mul(7) / 10;
        let lost = u64::from(self.losses);
        let left = 100_u64.saturating_sub(slow).saturating_sub(refused).saturating_sub(lost);
        u8::try_from(left).unwrap_or(0)
    }

    /// Refused shares among the last answers, in percent, without the address or miner with the
    /// most refusals; 0 before there are a few answers.
    fn refused_percent(&self) -> u8 {
        // A pool that accepts everything needs no weighing.
        if self.voices.iter().all(|voice| voice.answers == 0) {
            return 0;
        }
        let answered = self
            .voices
            .iter()
            .fold(0, |sum: u32, voice| sum.saturating_add(u32::from(voice.answered)));
        let Some(first) = self.voices.first().filter(|_| answered >= HEALTH_ANSWERS_LEAST) else {
            return 0;
        };
        let is_stale_only = self.refuses_all && !self.accepts_any();
        let counted =
            Counted { faults: self.counts_faults(), stale: if is_stale_only { 3 } else { 1 } };
        let is_one_place = self.voices.iter().all(|voice| voice.who.place == first.who.place);
        let (mut sum, mut worst, mut count) = (0_u32, 0_u32, 0_u32);
        let mut add = |percent: Option<u32>| {
            let Some(percent) = percent else { return };
            sum = sum.saturating_add(percent);
            worst = worst.max(percent);
            count = count.saturating_add(1);
        };
        for (index, voice) in self.voices.iter().enumerate() {
            let place = voice.who.place;
            let is_first = !self.voices.iter().take(index).any(|it| it.who.place == place);
            if is_one_place {
                add(voice.refused_percent(counted));
            } else if is_first {
                add(self.percent_of(place, counted));
            }
        }
        if count > 1 {
            (sum, count) = (sum.saturating_sub(worst), count.saturating_sub(1));
        }
        u8::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(100)
    }

    /// The mean of an address's miners.
    fn percent_of(&self, place: Place, counted: Counted) -> Option<u32> {
        let (mut sum, mut count) = (0_u32, 0_u32);
        let voices = self.voices.iter().filter(|voice| voice.who.place == place);
        for percent in voices.filter_map(|voice| voice.refused_percent(counted)) {
            sum = sum.saturating_add(percent);
            count = count.saturating_add(1);
        }
        sum.checked_div(count)
    }

    /// Says whether faulty shares are the pool's fault: several addresses have them, or no miner
    /// has an accepted share.
    fn counts_faults(&self) -> bool {
        let mut faulty = self.voices.iter().filter(|voice| voice.has(Answer::Faulty));
        let Some(first) = faulty.next() else { return false };
        faulty.any(|voice| voice.who.place != first.who.place) || !self.accepts_any()
    }

    /// Says whether any share was accepted lately, so that a faulty share is its miner's fault.
    pub fn accepts_any(&self) -> bool {
        self.voices.iter().any(|voice| voice.has(Answer::Accepted))
    }

    /// Books an answer, its sender, and its answer time.
    pub(crate) fn handle_answer(&mut self, answer: Answer, who: Who, time: Duration, now: Instant) {
        let mean = self.answer_time.as_micros();
        let newest = time.as_micros() / 8;
        let mean = if self.voices.is_empty() {
            time.as_micros()
        } else {
            mean.saturating_sub(mean / 8).saturating_add(newest)
        };
        self.answer_time = Duration::from_micros(mean);
        self.total = self.total.wrapping_add(1);
        let is_gone = self.drop_silent(now);
        let total = self.total;
        self.note_taken(answer == Answer::Accepted, now);
        let Some(voice) = self.voice(who, now) else { return };
        // One more accepted share of a miner whose last shares were all accepted.
        let is_same = voice.answered == HEALTH_VOICE_ANSWERS
            && voice.answers == 0
            && answer == Answer::Accepted;
        voice.answers = (voice.answers << 2) | answer.bits();
        voice.answered = voice.answered.saturating_add(1).min(HEALTH_VOICE_ANSWERS);
        (voice.at, voice.total) = (now, total);
        if is_gone || !is_same {
            self.refused = self.refused_percent();
        }
    }

    /// Drops each miner without a recent answer while many others had some; returns whether there
    /// was such a miner.
    fn drop_silent(&mut self, now: Instant) -> bool {
        if now < self.silent_at {
            return false;
        }
        let total = self.total;
        let is_silent = |voice: &Voice| {
            now.since(voice.at) >= HEALTH_HEARD_MAX
                && total.wrapping_sub(voice.total) >= u32::from(HEALTH_ANSWERS)
        };
        let mut is_any = false;
        while let Some(index) = self.voices.iter().position(is_silent) {
            self.drop_voice(index);
            is_any = true;
        }
        let longest_ago = self.voices.iter().map(|voice| voice.at).min().unwrap_or(now);
        self.silent_at = longest_ago + HEALTH_HEARD_MAX;
        is_any
    }

    fn drop_voice(&mut self, index: usize) {
        let place = self.voices.swap_remove(index).who.place;
        for voice in self.voices.iter_mut().filter(|voice| voice.who.place == place) {
            voice.of_place = voice.of_place.saturating_sub(1);
        }
    }

    /// Counts what is taken: enough of it, and the pool has shown that it is well.
    fn note_taken(&mut self, is_taken: bool, now: Instant) {
        if !is_taken {
            let since = *self.refused_since.get_or_insert(now);
            self.refuses_all = now.since(since) >= UNPAID_AFTER;
            return;
        }
        (self.refused_since, self.refuses_all) = (None, false);
        self.taken = self.taken.saturating_add(1);
        if self.taken >= PAID_SHARES_MIN {
            (self.failures, self.barred_until) = (0, None);
        }
    }

    /// Bars a pool that is left for its answers, for longer each time.
    fn bar(&mut self, silent: bool, now: Instant) {
        let doublings = self.failures.saturating_sub(u8::from(silent)).min(TRIAL_DOUBLINGS_MAX);
        let wait = TRIAL_INTERVAL_MIN.saturating_mul(1 << doublings).min(TRIAL_INTERVAL_MAX);
        self.barred_until = (!silent || self.failures > 0).then(|| now + wait);
        self.failures = self.failures.saturating_add(1);
        (self.left_at, self.taken) = (now, 0);
    }

    /// Returns since when the pool has to show that it takes shares again, where it has to.
    pub fn on_trial_since(&self) -> Option<Instant> {
        (self.failures > 0).then_some(self.left_at)
    }

    /// Returns the voice of a miner. If the list is full, the address with the most voices loses
    /// its oldest, so that no address drowns out the others.
    fn voice(&mut self, who: Who, now: Instant) -> Option<&mut Voice> {
        let found = self.voices.iter().position(|voice| voice.who == who);
        if let Some(found) = found {
            return self.voices.get_mut(found);
        }
        if self.voices.is_full() {
            let voices = self.voices.iter().enumerate();
            let oldest = voices.min_by_key(|(_, voice)| (Reverse(voice.of_place), voice.at));
            self.drop_voice(oldest.map(|(index, _)| index)?);
        }
        let mut of_place = 1_u8;
        for voice in self.voices.iter_mut().filter(|voice| voice.who.place == who.place) {
            voice.of_place = voice.of_place.saturating_add(1);
            of_place = voice.of_place;
        }
        let voice = Voice { who, answers: 0, answered: 0, of_place, at: now, total: self.total };
        // There is room: a full list has just dropped one.
        let _ = self.voices.push(voice);
        self.voices.last_mut()
    }

    /// Takes it that a session is ended for what it brought: that says nothing of the next, which
    /// may be tried at once where it is the first.
    pub(crate) fn handle_renewal(&mut self, now: Instant) {
        if self.circuit != Circuit::Open {
            self.bar(true, now);
        }
        self.forget_answers();
        if self.failures <= 1 {
            self.barred_until = None;
        }
    }

    fn forget_answers(&mut self) {
        self.voices.clear();
        (self.refused_since, self.refuses_all) = (None, false);
        self.refused = 0;
    }

    /// Books a share that found the queue full: the pool answers too slowly for its difficulty.
    pub(crate) fn handle_lost_share(&mut self, who: Who, now: Instant) {
        self.handle_answer(Answer::Refused, who, self.answer_time, now);
    }

    /// Books the loss of a live connection.
    pub(crate) fn handle_loss(&mut self) {
        self.losses = self.losses.saturating_add(HEALTH_LOSS).min(HEALTH_LOSSES_MAX);
        self.circuit = Circuit::Open;
    }

    /// Updates the circuit. `live`: the session stands. `silent`: an answer is overdue. `healthy`:
    /// the time of health that closes the circuit.
    pub(crate) fn handle_timeout(
        &mut self,
        live: bool,
        silent: bool,
        healthy: Duration,
        now: Instant,
    ) {
        if !live {
            // While the pool is away, no points are given back.
            self.forgiven_at = now;
        } else if now.since(self.forgiven_at) >= HEALTH_FORGIVE_INTERVAL {
            self.forgiven_at = now;
            self.losses = self.losses.saturating_sub(1);
        }
        if self.barred_until.is_some_and(|until| now >= until) {
            // What it answered then is no answer to what comes now.
            self.forget_answers();
            self.barred_until = None;
        }
        // Losses and slow answers alone never come to that: it is refusals.
        let refuses = self.score() < HEALTH_FAULT;
        let is_new = self.barred_until.is_none() && (refuses || self.circuit != Circuit::Open);
        if live && (silent || refuses) && is_new {
            self.bar(silent, now);
        }
        let fault = !live || silent || refuses;
        self.circuit = match self.circuit {
            _ if fault => {
                if silent {
                    // Earlier answers say nothing about a pool that fell silent.
                    self.forget_answers();
                }
                Circuit::Open
            }
            Circuit::Open if self.barred_until.is_some() => Circuit::Open,
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
    use proptest::prelude::*;
    use std::format;

    const HEALTHY: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn who(place: u8, miner: u16) -> Who {
        let address = core::net::Ipv4Addr::new(192, 0, 2, place).to_ipv6_mapped().octets();
        Who { place: Place::of(address), miner: MinerHandle::for_tests(miner) }
    }

    fn answer(health: &mut Health, answer: Answer, place: u8, miner: u16, secs: u64) {
        health.handle_answer(answer, who(place, miner), Duration::from_millis(50), at(secs));
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
            answer(&mut health, Answer::Stale, 1, 1, 60);
        }
        health.handle_timeout(true, false, HEALTHY, at(61));
        assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
        for _ in 0..HEALTH_ANSWERS {
            answer(&mut health, Answer::Refused, 1, 1, 61);
        }
        health.handle_timeout(true, false, HEALTHY, at(62));
        assert_eq!(health.circuit(), Circuit::Open, "score {}", health.score());
    }

    #[test]
    fn f93_a_pool_that_takes_nothing_but_calls_all_stale_is_left_after_a_minute() {
        let mut health = trusted();
        for secs in 61..=120 {
            answer(&mut health, Answer::Stale, 1, 1, secs);
            health.handle_timeout(true, false, HEALTHY, at(secs));
            assert_eq!(health.circuit(), Circuit::Closed, "{secs} s");
        }
        answer(&mut health, Answer::Stale, 1, 1, 121);
        health.handle_timeout(true, false, HEALTHY, at(121));
        assert_eq!(health.circuit(), Circuit::Open, "score {}", health.score());
    }

    /// Refuses until it is left, and returns when its circuit closes again.
    fn trial(health: &mut Health, secs: u64, is_silent: bool) -> u64 {
        if !is_silent {
            (0..8).for_each(|_| answer(health, Answer::Refused, 1, 1, secs));
        }
        health.handle_timeout(true, is_silent, HEALTHY, at(secs));
        assert_eq!(health.circuit(), Circuit::Open);
        (secs + 1..)
            .find(|secs| {
                // It is silent as long as its shares are waited for.
                health.handle_timeout(true, is_silent && *secs % 7 == 1, HEALTHY, at(*secs));
                health.circuit() == Circuit::Closed
            })
            .unwrap()
            - secs
    }

    #[test]
    fn f93_a_pool_that_refused_all_is_tried_again_ever_more_seldom_until_it_takes_shares() {
        let mut health = trusted();
        let mut secs = 61;
        let mut waits = std::vec::Vec::new();
        for _ in 0..7 {
            let waited = trial(&mut health, secs, false);
            waits.push(waited.div_euclid(60));
            secs += waited;
            assert!(health.on_trial_since().is_some());
        }
        // The time, and the minute of health.
        assert_eq!(waits, [6, 11, 21, 41, 61, 61, 61]);
        // Seven shares are not enough; eight are, and all begins anew.
        for _ in 0..7 {
            answer(&mut health, Answer::Accepted, 1, 1, secs);
        }
        assert!(health.on_trial_since().is_some());
        answer(&mut health, Answer::Accepted, 1, 1, secs);
        assert_eq!(health.on_trial_since(), None);
        assert_eq!(trial(&mut health, secs, false).div_euclid(60), 6);
    }

    #[test]
    fn f93_a_log_in_is_no_evidence_and_another_session_is() {
        let mut health = trusted();
        (0..8).for_each(|_| answer(&mut health, Answer::Refused, 1, 1, 61));
        health.handle_timeout(true, false, HEALTHY, at(61));
        health.handle_timeout(false, false, HEALTHY, at(62));
        for secs in 63..361 {
            health.handle_timeout(true, false, HEALTHY, at(secs));
            assert_eq!(health.circuit(), Circuit::Open, "{secs} s");
        }
        // The first that is made for it may be tried at once, a second is not.
        for expected in [Circuit::HalfOpen, Circuit::Open] {
            health.handle_renewal(at(360));
            health.handle_timeout(true, false, HEALTHY, at(360));
            assert_eq!(health.circuit(), expected);
            (0..8).for_each(|_| answer(&mut health, Answer::Refused, 1, 1, 360));
            health.handle_timeout(true, false, HEALTHY, at(360));
        }
    }

    #[test]
    fn f60_a_slow_pool_keeps_the_farm_and_every_loss_is_forgiven_in_time() {
        let mut health = trusted();
        for _ in 0..HEALTH_ANSWERS {
            health.handle_answer(Answer::Accepted, who(1, 1), Duration::from_secs(2), at(60));
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

    proptest! {
        /// The kept percentage equals a fresh count, as miners come and fall silent.
        #[test]
        fn f90_what_answers_come_to_is_kept_as_it_would_be_counted_anew(
            answers in proptest::collection::vec((0..40_u8, 0..4_u8, 0..3_u16, 0..30_u64), 1..300),
        ) {
            let mut health = trusted();
            let mut secs = 60;
            for (kind, place, miner, pause) in answers {
                secs += if pause == 0 { 200 } else { pause / 16 };
                let of = match kind {
                    0 => Answer::Refused,
                    1 => Answer::Faulty,
                    2 => Answer::Stale,
                    _ => Answer::Accepted,
                };
                let miner = u16::from(place) * 8 + miner * u16::from(kind);
                answer(&mut health, of, place, miner, secs);
                prop_assert_eq!(health.refused, health.refused_percent());
                for voice in &health.voices {
                    let is_near = |it: &&Voice| it.who.place == voice.who.place;
                    let count = health.voices.iter().filter(is_near).count();
                    prop_assert_eq!(usize::from(voice.of_place), count);
                }
            }
        }
    }

    #[test]
    fn f90_one_address_opens_no_circuit_while_another_is_served_and_two_do() {
        for bad in [Answer::Refused, Answer::Faulty] {
            let mut health = trusted();
            for secs in 61..200 {
                answer(&mut health, Answer::Accepted, 1, 1, secs);
                // Many miners of one address, with many shares each.
                (0..100).for_each(|miner| answer(&mut health, bad, 2, miner, secs));
                health.handle_timeout(true, false, HEALTHY, at(secs));
                assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
                assert!(health.accepts_any());
            }
            (0..8).for_each(|_| answer(&mut health, bad, 1, 1, 200));
            health.handle_timeout(true, false, HEALTHY, at(200));
            assert_eq!(health.circuit(), Circuit::Open, "score {}", health.score());
        }
    }

    #[test]
    fn f90_one_miner_behind_an_address_of_many_opens_no_circuit() {
        let mut health = trusted();
        for secs in 61..200 {
            answer(&mut health, Answer::Accepted, 1, 1, secs);
            answer(&mut health, Answer::Accepted, 1, 2, secs);
            (0..100).for_each(|_| answer(&mut health, Answer::Refused, 1, 3, secs));
            health.handle_timeout(true, false, HEALTHY, at(secs));
            assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
        }
    }

    #[test]
    fn f90_a_pool_that_refuses_everything_is_left_also_by_a_farm_of_one() {
        for (places, miners) in [(1, 1), (1, 300), (2, 1), (5, 3), (40, 1)] {
            for bad in [Answer::Refused, Answer::Faulty] {
                let mut health = trusted();
                let everybody =
                    || (0..places).flat_map(|place| (0..miners).map(move |miner| (place, miner)));
                // It did well for long, and each had many shares accepted.
                for _ in 0..20 {
                    for (place, miner) in everybody() {
                        answer(&mut health, Answer::Accepted, place, miner, 61);
                    }
                }
                for _ in 0..8 {
                    for (place, miner) in everybody() {
                        answer(&mut health, bad, place, miner, 62);
                    }
                }
                health.handle_timeout(true, false, HEALTHY, at(62));
                let case = format!("{places} {miners} {bad:?} {}", health.score());
                assert_eq!(health.circuit(), Circuit::Open, "{case}");
            }
        }
    }

    #[test]
    fn f90_duplicates_of_one_address_alone_are_its_own_fault() {
        let mut health = trusted();
        for secs in 61..100 {
            answer(&mut health, Answer::Accepted, 1, 1, secs);
            (0..50).for_each(|_| answer(&mut health, Answer::Faulty, 1, 1, secs));
            if secs > 80 {
                // Until nothing at all is accepted.
                (0..8).for_each(|_| answer(&mut health, Answer::Faulty, 1, 1, secs));
            }
        }
        health.handle_timeout(true, false, HEALTHY, at(100));
        assert_eq!(health.circuit(), Circuit::Open);
        let mut health = trusted();
        for secs in 61..200 {
            answer(&mut health, Answer::Accepted, 1, 1, secs);
            (0..7).for_each(|_| answer(&mut health, Answer::Faulty, 1, 1, secs));
            health.handle_timeout(true, false, HEALTHY, at(secs));
            assert_eq!(health.circuit(), Circuit::Closed, "score {}", health.score());
        }
    }

    proptest! {
        /// Whatever one address is answered, and however often, no circuit opens while another is
        /// served; that one's few stale shares among them.
        #[test]
        fn f90_no_address_alone_moves_the_farm(
            answers in prop::collection::vec((0usize..6, 0u16..40, 0u64..30), 1..800),
        ) {
            let mut health = trusted();
            let mut secs = 61;
            answer(&mut health, Answer::Accepted, 9, 1, secs);
            for (kind, miner, wait) in answers {
                secs += wait;
                // Another's share in two minutes is enough.
                if secs / 60 != (secs - wait) / 60 {
                    answer(&mut health, Answer::Accepted, 9, 1, secs);
                }
                let kinds = [Answer::Accepted, Answer::Stale, Answer::Faulty, Answer::Refused];
                answer(&mut health, *kinds.get(kind).unwrap_or(&Answer::Refused), 2, miner, secs);
                health.handle_timeout(true, false, HEALTHY, at(secs));
                prop_assert_eq!(health.circuit(), Circuit::Closed);
            }
        }
    }
}
