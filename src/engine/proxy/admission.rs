//! Admission of workers by the owner, if it wants to decide.
//!
//! A worker name that is new on a connection becomes a [`Question`]. Its request stays unanswered
//! until the owner's verdict, which may come later; the connection goes on meanwhile. A second new
//! name in that time is refused, so a miner has one open question at most. A refused miner may try
//! again within its budget of odd requests.
//!
//! Names authorized on a connection stay so, even if the owner's rules change.

use core::fmt;

use super::miners::answer;
use super::{Event, Proxy};
use crate::downstream::{Close, PasswordWishes, WaitingAuthorize, WaitsFor};
use crate::identity::Identity;
use crate::limits::{PASSWORD_BYTES_MAX, WORKER_NAME_BYTES_MAX};
use crate::table::MinerHandle;
use crate::time::Instant;
use crate::wire::client::Authorize;
use crate::wire::encode;
use crate::wire::error_code::ErrorCode;
use crate::wire::id::Id;
use crate::wire::writer::Writer;

/// The answer to a worker that is not admitted.
const UNAUTHORIZED: &str = "unauthorized worker";

/// A worker that asks for admission.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// The miner.
    pub miner: MinerHandle,
    /// Its worker name.
    pub worker: heapless::String<WORKER_NAME_BYTES_MAX>,
    /// Its password.
    pub password: heapless::String<PASSWORD_BYTES_MAX>,
}

/// The owner's verdict on a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The worker is admitted.
    Granted,
    /// The worker is not admitted, and the attempt counts.
    Refused,
    /// The owner has too many open questions; the attempt does not count.
    Busy,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { miner, worker, .. } = self;
        write!(f, "Question {{ miner: {miner:?}, worker: {worker:?}, password: (redacted) }}")
    }
}

impl Proxy<'_> {
    /// Sets whether the owner decides on every new worker name.
    pub fn ask_admission(&mut self, asks: bool) {
        self.asks_admission = asks;
    }

    /// Returns the question at which the last [`Proxy::handle_input`] stopped. Answer it by
    /// [`Proxy::handle_admission`], now or later, and hand in the rest of the input.
    pub fn poll_admission(&mut self) -> Option<Question> {
        self.question.take()
    }

    /// Takes the owner's verdict and writes the answer; nothing if the miner left.
    ///
    /// # Errors
    ///
    /// [`Close`] if the connection must end, after `out` was sent.
    pub fn handle_admission(
        &mut self,
        question: &Question,
        verdict: Admission,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let miner = question.miner;
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let asked = session.waiting.take_if(|waiting| waiting.waits_for == WaitsFor::Owner);
        let Some(asked) = asked else { return Ok(()) };
        let id = Id::from_raw(&asked.reply).unwrap_or(Id::NULL);
        let (code, text) = match verdict {
            Admission::Granted => {
                return self.take_worker(miner, id, &question.worker, &question.password, out, now);
            }
            Admission::Refused => (ErrorCode::Unauthorized, UNAUTHORIZED),
            Admission::Busy => (ErrorCode::Other, "too many logins at once; try again"),
        };
        answer(out, |out| encode::result_error(id, code, text, out));
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        if verdict == Admission::Refused { session.count_odd_request() } else { Ok(()) }
    }

    /// Says whether a question waits to be taken.
    pub(super) fn has_question(&self) -> bool {
        self.question.is_some()
    }

    /// Leaves an authorization to the owner.
    pub(super) fn ask(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        worker: heapless::String<WORKER_NAME_BYTES_MAX>,
        authorize: &Authorize<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let password = authorize.password.map_or(Ok(heapless::String::new()), |text| text.decode());
        let is_taken = self.question.is_some();
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let reply = heapless::Vec::from_slice(id.as_raw()).ok();
        let is_free = session.waiting.is_none() && !is_taken;
        let (code, text) = match (reply, password) {
            (Some(reply), Ok(password)) if is_free => {
                let waits_for = WaitsFor::Owner;
                session.waiting =
                    Some(WaitingAuthorize { reply, waits_for, since: now, yes: None });
                self.question = Some(Question { miner, worker, password });
                return Ok(());
            }
            (_, Err(_)) => (ErrorCode::Unauthorized, UNAUTHORIZED),
            (None, _) => (ErrorCode::Other, "the id is too long"),
            _ => (ErrorCode::Other, "one login at a time: the previous one is unanswered"),
        };
        answer(out, |out| encode::result_error(id, code, text, out));
        session.count_odd_request()
    }

    /// Authorizes an admitted worker, and answers.
    pub(super) fn take_worker(
        &mut self,
        miner: MinerHandle,
        id: Id<'_>,
        worker: &str,
        password: &str,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        let known = session.workers.number(worker).is_some();
        if !session.workers.insert(worker) {
            return self.refuse_name(miner, id, out);
        }
        let number = session.workers.number(worker);
        let wishes = PasswordWishes::of(worker, password);
        let says_unread = wishes.is_unread && !session.says_unread;
        session.says_unread |= wishes.is_unread;
        let steps = session.steps();
        if let Some(least) = wishes.min {
            session.vardiff.require_min(&self.options.vardiff, least, now);
        }
        if let Some(start) = wishes.start {
            session.vardiff.suggest(&self.options.vardiff, start, steps, now);
        }
        if wishes.start.is_some() {
            self.grant_wish(miner, now);
        }
        if says_unread {
            self.push_event(Event::WishUnread { miner });
        }
        if !known {
            self.note_worker(miner, worker.len());
        }
        if let (Identity::PerWorker, Some(number)) = (self.options.identity, number) {
            return self.answer_authorize(miner, id, number, out, now);
        }
        let Some(session) = self.table.get_mut(miner) else { return Ok(()) };
        session.authorized = true;
        session.advance();
        answer(out, |out| encode::result_true(id, out));
        Ok(())
    }
}
