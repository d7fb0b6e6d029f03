//! Answers the engine's questions about workers, for a miner's connection.
//!
//! A question that the list decides is answered at once. Otherwise the password is hashed beside
//! the event loop, one at a time, and the miner waits for the verdict.

use std::rc::Rc;

use loka_stratum::downstream::Close;
use loka_stratum::proxy::{Admission, Proxy, Question};
use loka_stratum::time::Instant;
use loka_stratum::wire::writer::Writer;

use crate::gateway::access::admission::Known;
use crate::gateway::base::clock;
use crate::gateway::base::log::{self, Kind};
use crate::gateway::runtime::hub::{End, Hub, address};

/// Hashes the waiting passwords one after the other, for the life of the process.
pub async fn run(hub: Rc<Hub>) {
    loop {
        let Some(question) = hub.admissions.next() else {
            hub.admissions.wake.wait().await;
            continue;
        };
        if hub.proxy.borrow().miner(question.miner).is_none() {
            continue;
        }
        let admit = hub.settings.borrow().admit.clone();
        let known = hub.admissions.find_out(&admit, &question).await;
        hub.tell(&question, known);
    }
}

impl Hub {
    /// Answers the engine's question, if there is one, or queues it.
    pub(crate) fn answer_question(
        &self,
        proxy: &mut Proxy<'_>,
        out: &mut Writer<'_>,
        now: Instant,
    ) -> Result<(), Close> {
        let Some(question) = proxy.poll_admission() else { return Ok(()) };
        let known = self.admissions.judge(&self.settings.borrow().admit, &question);
        let verdict = match known {
            Known::Unknown(_) if self.admissions.wait(question.clone()) => return Ok(()),
            Known::Unknown(_) => Admission::Busy,
            known => self.verdict(proxy, &question, &known),
        };
        proxy.handle_admission(&question, verdict, out, now)
    }

    /// Counts and logs a verdict.
    fn verdict(&self, proxy: &Proxy<'_>, question: &Question, known: &Known) -> Admission {
        let Known::Refused(why) = known else { return Admission::Granted };
        self.count(|counts| counts.refused.add("worker_not_admitted"));
        let (worker, peer) = (question.worker.as_str(), proxy.miner(question.miner));
        let peer = peer.map(|miner| address(miner.peer()));
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        log::warn(
            Kind::Refused,
            format_args!("miner {peer}: worker {worker:?} is not let in: {why}"),
        );
        Admission::Refused
    }

    /// Gives a miner its verdict.
    fn tell(&self, question: &Question, known: Known) {
        let (miner, now) = (question.miner, clock::now());
        let result = {
            let mut ports = self.ports.borrow_mut();
            let port = ports.get_mut(miner.index()).and_then(Option::as_mut);
            let Some(port) = port.filter(|port| port.miner == miner) else { return };
            let answered = {
                let scratch = &mut *self.scratch.borrow_mut();
                let proxy = &mut *self.engine();
                let verdict = self.verdict(proxy, question, &known);
                let mut out = Writer::new(&mut scratch.write);
                let result = proxy.handle_admission(question, verdict, &mut out, now);
                self.send(port, out.as_slice(), now).and(result.map_err(End::Closed))
            };
            answered.and_then(|()| {
                // A miner with a full socket gets its job when the socket takes bytes again.
                if port.takes_more() { self.deliver_to(port, now) } else { Ok(()) }
            })
        };
        if let Err(end) = result {
            self.end(miner, end);
        }
    }
}
