//! Whether a pool pays: how it answers shares, and when to report that it does not.
//!
//! A pool can fail without closing (QUIRKS 55): it refuses every share, or answers none, and still
//! sends jobs. [`Refusals`] watches one link for three signs, whatever the code:
//!
//! - more than half of a minute's shares were refused or unanswered;
//! - [`REFUSALS_IN_A_ROW`] shares in a row were refused; or fewer, over a whole minute;
//! - no share was answered for a minute, and at least [`UNPAID_SHARES_MIN`] are unanswered.
//!
//! Each is one [`Trouble`], reported when it begins and when it ends; its counts go on meanwhile.
//! Accepted shares end it; a reconnect does not. If the session itself may be the cause, as with
//! codes 24 and 25, `Refusals::renewal` asks for a new one at intervals.
//!
//! Nothing here acts or judges a single miner: `proxy` and [`crate::health`] do.

use core::fmt;

use crate::limits::{
    PAID_SHARES_MIN, REFUSALS_IN_A_ROW, RENEWAL_DOUBLINGS_MAX, RENEWAL_DOUBLINGS_SPARE_MAX,
    RENEWAL_INTERVAL_MIN, UNPAID_AFTER, UNPAID_ANSWERS_MIN, UNPAID_SHARES_MIN,
};
use crate::table::MinerHandle;
use crate::time::{Duration, Instant};
use crate::upstream::{LinkClose, Reason};
use crate::words::Words;

/// The outcome of a share at a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The pool accepted it.
    Accepted,
    /// The pool refused it, with this code if it gave one.
    Refused(Option<i64>),
    /// The pool left it unanswered for [`crate::limits::ANSWER_MAX`].
    Unanswered,
}

/// Why a pool pays nothing, or for less than half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Trouble {
    /// The pool refuses shares.
    Refuses {
        /// The code of the last refusal, if it had one.
        code: Option<i64>,
        /// Refused shares.
        count: u32,
        /// Answered shares.
        of: u32,
    },
    /// The pool answers no share, though it sends jobs.
    AnswersNone {
        /// Unanswered shares.
        count: u32,
    },
    /// The pool leaves shares unanswered.
    AnswersSome {
        /// Unanswered shares.
        count: u32,
        /// Shares in total.
        of: u32,
    },
}

/// A change that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pool stopped paying.
    Began(Trouble),
    /// The pool pays again.
    Ended,
}

/// The shares of about half a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    good: u32,
    refused: u32,
    unanswered: u32,
}

/// How a pool answers the shares of one link.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The minute in two parts: the previous one and the present one.
    parts: [Part; 2],
    part_since: Instant,
    /// Refusals in a row, and since when.
    in_a_row: u32,
    row_since: Instant,
    /// The same for codes that say that the session is gone, and whether more than one miner's name
    /// is affected.
    forgotten_in_a_row: u32,
    row_name: Option<MinerHandle>,
    is_of_all: bool,
    good_in_a_row: u32,
    /// Shares sent since the last answer, and the time of the first.
    silent: u32,
    silent_since: Instant,
    code: Option<i64>,
    words: Words,
    trouble: Option<Trouble>,
    /// Sessions renewed since the last accepted share.
    renewals: u8,
    renewed_at: Option<Instant>,
}

impl Trouble {
    /// Returns the name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuses { .. } => "refuses",
            Self::AnswersNone { .. } => "answers_none",
            Self::AnswersSome { .. } => "answers_some",
        }
    }

    const fn is_same_kind(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Refuses { .. }, Self::Refuses { .. })
                | (Self::AnswersNone { .. }, Self::AnswersNone { .. })
                | (Self::AnswersSome { .. }, Self::AnswersSome { .. })
        )
    }

    /// Returns it in words, with the pool's text on the last refused share.
    pub fn told(self, words: &Words) -> TroubleTold<'_> {
        TroubleTold { trouble: self, words }
    }
}

/// A trouble with the pool's own text, as a predicate of the pool.
#[derive(Clone, Copy, Debug)]
pub struct TroubleTold<'a> {
    trouble: Trouble,
    words: &'a Words,
}

impl fmt::Display for TroubleTold<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words;
        match self.trouble {
            Trouble::Refuses { code, count, of } => {
                write!(f, "refuses shares, {count} of {of}{}", Reason { code, words })
            }
            Trouble::AnswersNone { count } => {
                write!(f, "sends jobs and answers no share: {count} unanswered")
            }
            Trouble::AnswersSome { count, of } => {
                write!(f, "leaves shares unanswered, {count} of {of}")
            }
        }
    }
}

impl Refusals {
    /// Forgets the counts of the old session; the trouble stays until shares are accepted.
    pub(crate) fn handle_session(&mut self) {
        self.parts = [Part::default(); 2];
        (self.in_a_row, self.forgotten_in_a_row, self.silent) = (0, 0, 0);
    }

    /// Notes that a share was sent.
    pub(crate) fn handle_sent(&mut self, now: Instant) {
        if self.silent == 0 {
            self.silent_since = now;
        }
        self.silent = self.silent.saturating_add(1);
    }

    /// Notes an answer that came too late to count: the pool is not silent.
    pub(crate) fn handle_late(&mut self) {
        self.silent = 0;
    }

    /// Books the outcome of a share. `words` is the pool's text with a refusal. `name` is the miner
    /// whose name it went under, if not the link's login.
    pub(crate) fn handle_fate(
        &mut self,
        fate: Fate,
        words: Words,
        name: Option<MinerHandle>,
        now: Instant,
    ) {
        self.turn(now);
        let [_, part] = &mut self.parts;
        match fate {
            Fate::Accepted => {
                part.good = part.good.saturating_add(1);
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                (self.in_a_row, self.forgotten_in_a_row, self.silent) = (0, 0, 0);
                self.renewals = 0;
            }
            Fate::Refused(code) => {
                part.refused = part.refused.saturating_add(1);
                if self.in_a_row == 0 {
                    self.row_since = now;
                    (self.row_name, self.is_of_all) = (name, false);
                }
                self.is_of_all |= name.is_none() || name != self.row_name;
                self.in_a_row = self.in_a_row.saturating_add(1);
                let is_forgotten = matches!(code, Some(24 | 25));
                let before = if is_forgotten { self.forgotten_in_a_row } else { 0 };
                self.forgotten_in_a_row = before.saturating_add(u32::from(is_forgotten));
                (self.good_in_a_row, self.silent) = (0, 0);
                (self.code, self.words) = (code, words);
            }
            Fate::Unanswered => {
                part.unanswered = part.unanswered.saturating_add(1);
                self.good_in_a_row = 0;
            }
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.count_on(fate);
        }
    }

    /// Starts another part of the minute when it is due.
    fn turn(&mut self, now: Instant) {
        let half = Duration::from_micros(UNPAID_AFTER.as_micros() / 2);
        let passed = now.since(self.part_since);
        if passed < half {
            return;
        }
        let [_, present] = self.parts;
        let before = if passed < UNPAID_AFTER { present } else { Part::default() };
        self.parts = [before, Part::default()];
        self.part_since = now;
    }

    /// Returns the change to report now, if any.
    pub(crate) fn check(&mut self, now: Instant) -> Option<Change> {
        self.turn(now);
        if self.has_ended(now) {
            // Earlier refusals do not count any more.
            self.parts = [Part::default(); 2];
            self.trouble = None;
            return Some(Change::Ended);
        }
        let found = self.find(now)?;
        if self.trouble.is_some_and(|known| known.is_same_kind(found)) {
            return None;
        }
        self.trouble = Some(found);
        Some(Change::Began(found))
    }

    fn has_ended(&self, now: Instant) -> bool {
        let minute = self.minute();
        let is_clean = minute.good > 0 && minute.refused == 0 && minute.unanswered == 0;
        let is_good = self.good_in_a_row >= PAID_SHARES_MIN || is_clean && !self.is_silent(now);
        self.trouble.is_some() && is_good
    }

    /// The trouble that the rules find now.
    fn find(&self, now: Instant) -> Option<Trouble> {
        if self.is_silent(now) {
            return Some(Trouble::AnswersNone { count: self.silent });
        }
        let is_row = self.in_a_row >= REFUSALS_IN_A_ROW
            || self.in_a_row >= UNPAID_SHARES_MIN && now.since(self.row_since) >= UNPAID_AFTER;
        if is_row {
            let (code, count) = (self.code, self.in_a_row);
            return Some(Trouble::Refuses { code, count, of: count });
        }
        let Part { good, refused, unanswered } = self.minute();
        let bad = refused.saturating_add(unanswered);
        let of = bad.saturating_add(good);
        if of < UNPAID_ANSWERS_MIN || bad <= of / 2 {
            return None;
        }
        if good == 0 && refused == 0 && self.is_unanswered() {
            return Some(Trouble::AnswersNone { count: self.silent });
        }
        Some(if refused >= unanswered {
            Trouble::Refuses { code: self.code, count: refused, of }
        } else {
            Trouble::AnswersSome { count: unanswered, of }
        })
    }

    fn minute(&self) -> Part {
        let [before, present] = self.parts;
        Part {
            good: before.good.saturating_add(present.good),
            refused: before.refused.saturating_add(present.refused),
            unanswered: before.unanswered.saturating_add(present.unanswered),
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.silent >= UNPAID_SHARES_MIN && now.since(self.silent_since) >= UNPAID_AFTER
    }

    /// Returns the reason for a new session, if one is due: a new session may fix the fault. The
    /// interval between two doubles, up to a longer one while another pool serves.
    pub(crate) fn renewal(&mut self, is_spare: bool, now: Instant) -> Option<LinkClose> {
        let is_long = now.since(self.row_since) >= UNPAID_AFTER;
        let least = if is_long { UNPAID_SHARES_MIN } else { UNPAID_ANSWERS_MIN };
        // A session counts as gone only if no share was accepted in it.
        let is_of_all = self.is_of_all && self.minute().good == 0;
        let is_forgotten = is_of_all && self.forgotten_in_a_row >= least;
        let close = if self.is_silent(now) {
            LinkClose::NoAnswers
        } else if is_forgotten {
            LinkClose::SessionForgotten
        } else {
            return None;
        };
        let most = if is_spare { RENEWAL_DOUBLINGS_SPARE_MAX } else { RENEWAL_DOUBLINGS_MAX };
        let doublings = self.renewals.saturating_sub(1).min(most);
        let interval = RENEWAL_INTERVAL_MIN.saturating_mul(1 << doublings);
        if self.renewed_at.is_some_and(|at| now.since(at) < interval) {
            return None;
        }
        self.renewed_at = Some(now);
        self.renewals = self.renewals.saturating_add(1);
        Some(close)
    }

    /// Returns the present trouble.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Returns the pool's text on the last refused share.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Returns the number of refusals in a row, and the last code.
    pub(crate) fn row(&self) -> (u32, Option<i64>) {
        (self.in_a_row, self.code)
    }

    /// Says whether the last shares are all unanswered.
    pub fn is_unanswered(&self) -> bool {
        self.silent >= UNPAID_SHARES_MIN
    }
}

impl Trouble {
    fn count_on(&mut self, fate: Fate) {
        match (self, fate) {
            (Self::Refuses { code, count, of }, fate) => {
                if let Fate::Refused(newest) = fate {
                    *code = newest;
                    *count = count.saturating_add(1);
                }
                *of = of.saturating_add(1);
            }
            (Self::AnswersNone { count }, Fate::Unanswered) => *count = count.saturating_add(1),
            (Self::AnswersNone { .. }, _) => {}
            (Self::AnswersSome { count, of }, fate) => {
                *count = count.saturating_add(u32::from(fate == Fate::Unanswered));
                *of = of.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn at(secs: u64) -> Instant {
        Instant::from_micros((1000 + secs) * 1_000_000)
    }

    const fn refused(code: i64) -> Fate {
        Fate::Refused(Some(code))
    }

    /// Takes a share a second with these fates, sent just before, and returns what is said.
    fn said(refusals: &mut Refusals, from: u64, fates: &[Fate]) -> Vec<(u64, Change)> {
        let mut changes = Vec::new();
        for (second, fate) in (from..).zip(fates) {
            refusals.handle_sent(at(second));
            if *fate != Fate::Unanswered {
                refusals.handle_fate(*fate, Words::NONE, None, at(second));
            }
            changes.extend(refusals.check(at(second)).map(|change| (second, change)));
        }
        changes
    }

    #[test]
    fn f93_every_code_is_said_once_and_its_end_too() {
        for code in [None, Some(20), Some(21), Some(22), Some(23), Some(24), Some(25), Some(-2)] {
            let mut refusals = Refusals::default();
            let changes = said(&mut refusals, 0, &[Fate::Refused(code); 150]);
            let [(second, Change::Began(Trouble::Refuses { code: got, count, of }))] = changes[..]
            else {
                panic!("{changes:?}")
            };
            assert!(second <= 20 && got == code && count == of, "{changes:?}");
            assert!(matches!(
                refusals.trouble(),
                Some(Trouble::Refuses { count: 150, of: 150, .. })
            ));
            let changes = said(&mut refusals, 150, &[Fate::Accepted; 60]);
            assert!(matches!(changes[..], [(150..=160, Change::Ended)]), "{changes:?}");
            assert_eq!(refusals.trouble(), None);
        }
    }

    #[test]
    fn f93_a_slow_farm_hears_of_it_within_two_minutes() {
        let mut refusals = Refusals::default();
        for minute in 0..3 {
            assert_eq!(refusals.check(at(30 * minute)), None);
            refusals.handle_fate(refused(23), Words::NONE, None, at(30 * minute));
        }
        assert!(matches!(
            refusals.check(at(60)),
            Some(Change::Began(Trouble::Refuses { count: 3, of: 3, .. }))
        ));
    }

    #[test]
    fn f93_more_than_half_is_said_and_half_is_not() {
        let most = [refused(20), refused(20), Fate::Accepted].repeat(20);
        let changes = said(&mut Refusals::default(), 0, &most);
        assert!(matches!(changes[..], [(_, Change::Began(_))]), "{changes:?}");
        let half = [Fate::Accepted, refused(20)].repeat(100);
        assert_eq!(said(&mut Refusals::default(), 0, &half), []);
        // A burst of stale shares after a block is no trouble.
        let mut burst = [Fate::Accepted; 60].to_vec();
        burst.extend([refused(21); 7]);
        burst.extend([Fate::Accepted; 60]);
        assert_eq!(said(&mut Refusals::default(), 0, &burst), []);
    }

    #[test]
    fn f93_no_answer_is_said_after_a_minute_and_only_with_three_shares() {
        let mut refusals = Refusals::default();
        let changes = said(&mut refusals, 0, &[Fate::Unanswered; 150]);
        assert!(matches!(changes[..], [(60, Change::Began(Trouble::AnswersNone { .. }))]));
        assert!(refusals.is_unanswered());
        let mut few = Refusals::default();
        assert_eq!(said(&mut few, 0, &[Fate::Unanswered; 2]), []);
        assert_eq!(few.check(at(300)), None);
        few.handle_sent(at(300));
        assert!(few.check(at(301)).is_some());
        // One answer, even late, and it is not silent.
        few.handle_late();
        assert!(!few.is_unanswered());
    }

    #[test]
    fn f93_answers_to_some_are_told_from_answers_to_none() {
        let mut refusals = Refusals::default();
        let mut changes = Vec::new();
        for second in 0..60 {
            refusals.handle_sent(at(second));
            let fate = if second % 3 == 0 { Fate::Accepted } else { Fate::Unanswered };
            refusals.handle_fate(fate, Words::NONE, None, at(second));
            changes.extend(refusals.check(at(second)));
        }
        assert!(matches!(changes[..], [Change::Began(Trouble::AnswersSome { .. })]), "{changes:?}");
    }

    #[test]
    fn f93_a_session_is_made_anew_once_a_minute_and_less_often_in_vain() {
        let renewals = |is_spare| {
            let mut refusals = Refusals::default();
            let mut at_secs: Vec<u64> = Vec::new();
            for second in 0..4000 {
                refusals.handle_fate(refused(24), Words::NONE, None, at(second));
                if let Some(close) = refusals.renewal(is_spare, at(second)) {
                    assert_eq!(close, LinkClose::SessionForgotten);
                    refusals.handle_session();
                    at_secs.push(second);
                }
            }
            at_secs.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
        };
        assert_eq!(renewals(false)[..5], [60, 120, 240, 480, 480]);
        assert_eq!(renewals(true)[..5], [60, 120, 240, 480, 960]);
        let mut other = Refusals::default();
        for second in 0..100 {
            other.handle_fate(refused(20), Words::NONE, None, at(second));
            assert_eq!(other.renewal(false, at(second)), None, "its session is not what is wrong");
        }
    }

    #[test]
    fn a_trouble_is_told_in_words() {
        let trouble = Trouble::Refuses { code: Some(24), count: 20, of: 20 };
        assert_eq!(trouble.told(&Words::NONE).to_string(), "refuses shares, 20 of 20: code 24");
        let trouble = Trouble::AnswersNone { count: 3 };
        assert!(trouble.told(&Words::NONE).to_string().contains("answers no share: 3"));
    }
}
