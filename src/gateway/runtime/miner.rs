//! A miner's connection: carries bytes between its socket and the engine.
//!
//! The task is two words and has no buffer. A read goes into the scratch buffer that all
//! connections share. The engine takes the lines from there and writes its answers into another
//! buffer, which goes to the socket at once. Bytes that the socket refuses are kept in the miner's
//! port. While any are kept the miner is not read, so it cannot grow the gateway's buffers (F46).
//! Nor is it read beyond the room in its pool's queue (F91).
//!
//! A miner that found a block gets its answers once the block is on disk. They wait in its port as
//! for a full socket, and reading resumes then. No other miner waits.
//!
//! The read goes through `poll_read`, which takes a read shorter than the buffer as the end of the
//! data: the next call waits without asking the kernel again.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use loka_stratum::table::MinerHandle;
use loka_stratum::wire::writer::Writer;
use tokio::io::{AsyncRead, ReadBuf};

use crate::gateway::base::clock;
use crate::gateway::runtime::hub::{End, Hub, Port};

/// Reads of one connection before other tasks get their turn.
const READS_IN_A_ROW: usize = 4;

/// Carries one miner's bytes.
pub struct Task {
    hub: Rc<Hub>,
    miner: MinerHandle,
}

/// The result of one step of a connection.
enum Step {
    /// More work may be ready at once.
    Again,
    /// The socket is not ready.
    Wait,
}

impl Task {
    /// Creates the task of a miner whose port is in the table.
    pub fn new(hub: Rc<Hub>, miner: MinerHandle) -> Self {
        Self { hub, miner }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { hub, miner } = &*self;
        for _ in 0..READS_IN_A_ROW {
            match hub.step(*miner, context) {
                Some(Ok(Step::Again)) => {}
                Some(Ok(Step::Wait)) => return Poll::Pending,
                Some(Err(end)) => {
                    hub.end(*miner, end);
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Hub {
    /// Writes the spill, or reads and answers once; `None` if the connection has ended.
    fn step(
        self: &Rc<Self>,
        miner: MinerHandle,
        context: &mut Context<'_>,
    ) -> Option<Result<Step, End>> {
        let mut ports = self.ports.borrow_mut();
        let port = ports.get_mut(miner.index())?.as_mut().filter(|port| port.miner == miner)?;
        if !port.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            port.waker = Some(context.waker().clone());
        }
        if port.held > 0 {
            Some(Ok(Step::Wait))
        } else if port.spill.is_empty() {
            Some(self.read(port, context))
        } else {
            Some(self.write_spill(port, context))
        }
    }

    fn read(self: &Rc<Self>, port: &mut Port, context: &mut Context<'_>) -> Result<Step, End> {
        let wanted = self.proxy.borrow_mut().poll_read(port.miner);
        if wanted == 0 {
            self.hold_back(port);
            return Ok(Step::Wait);
        }
        let scratch = &mut *self.scratch.borrow_mut();
        let mut whole = ReadBuf::new(&mut scratch.read);
        let mut buffer = whole.take(wanted);
        match Pin::new(&mut port.stream).poll_read(context, &mut buffer) {
            Poll::Pending => return Ok(Step::Wait),
            Poll::Ready(Err(_)) => return Err(End::Broken),
            Poll::Ready(Ok(())) => {}
        }
        let mut input = buffer.filled();
        if input.is_empty() {
            return Err(End::Gone);
        }
        let now = clock::now();
        let mut proxy = self.engine();
        loop {
            let mut out = Writer::new(&mut scratch.write);
            let taken = proxy.handle_input(port.miner, &mut input, &mut out, now);
            let taken = taken.and_then(|()| self.answer_question(&mut proxy, &mut out, now));
            let writing = self.save_found_block(&mut proxy, now);
            let is_full = port.takes_more()
                && taken.is_ok()
                && proxy.poll_output(port.miner, &mut out, now).is_err();
            let is_held = writing.is_some_and(|writing| self.hold(port, out.as_slice(), writing));
            let sent = if is_held { Ok(()) } else { self.send(port, out.as_slice(), now) };
            taken.map_err(End::Closed)?;
            sent?;
            if input.is_empty() && !is_full {
                break;
            }
        }
        Ok(Step::Again)
    }

    fn write_spill(&self, port: &mut Port, context: &mut Context<'_>) -> Result<Step, End> {
        match port.stream.poll_write_ready(context) {
            Poll::Pending => return Ok(Step::Wait),
            Poll::Ready(Err(_)) => return Err(End::Broken),
            Poll::Ready(Ok(())) => {}
        }
        match port.stream.try_write(&port.spill) {
            Ok(written) if written == port.spill.len() => {
                self.spills.release(&mut port.spill);
                // Deliveries were skipped meanwhile: a job is state, not a message.
                self.deliver_to(port, clock::now())?;
            }
            Ok(written) => {
                port.spill.drain(..written);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(End::Broken),
        }
        Ok(Step::Again)
    }
}
