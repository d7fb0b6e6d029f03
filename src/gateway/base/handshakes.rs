//! TLS handshakes beside the event loop.
//!
//! A handshake signs, or verifies a chain of signatures, in one indivisible step: with an RSA-4096
//! key it takes milliseconds on a fast machine and a tenth of a second on a slow one. So handshakes
//! are polled by two threads, one for the page and one for pools. The socket stays registered with
//! the event loop, which gets the finished connection. Work after a handshake is symmetric and
//! cheap.
//!
//! Pool handshakes are few, and we choose them. Page handshakes are chosen by the network. They
//! have limited slots, in all and by address ([`crate::gateway::doors::http`]). Their thread also
//! rests after each step for as long as the step took. So it uses at most half of one core, for any
//! number of handshakes and any key.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use crate::gateway::base::clock;

/// The lane of the page's handshakes.
pub static PAGE: Lane = Lane { name: "page-tls", rests: true, handle: Mutex::new(None) };

/// The lane of handshakes with pools.
pub static POOLS: Lane = Lane { name: "pool-tls", rests: false, handle: Mutex::new(None) };

static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Counts a handshake of the page that was refused before it began.
pub fn count_refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
}

/// Returns how many were refused since the start.
pub fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// Shorter steps are no signatures; the thread does not rest after them.
const STEP_MIN: Duration = Duration::from_micros(200);

/// A thread for one kind of handshake, started by the first.
pub struct Lane {
    name: &'static str,
    rests: bool,
    handle: Mutex<Option<Handle>>,
}

/// A handshake, aborted on drop.
struct Ongoing<T>(JoinHandle<T>);

impl<T> Drop for Ongoing<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lane {
    /// Runs a handshake on the lane's thread.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub async fn run<T: Send + 'static>(
        &'static self,
        handshake: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let rests = self.rests;
        let steps = async move {
            let mut handshake = pin!(handshake);
            poll_fn(|context| {
                let before = clock::now();
                let step: Poll<T> = handshake.as_mut().poll(context);
                let took = Duration::from_micros(clock::now().since(before).as_micros());
                if rests && took >= STEP_MIN {
                    thread::park_timeout(took);
                }
                step
            })
            .await
        };
        let mut ongoing = Ongoing(self.handle()?.spawn(steps));
        (&mut ongoing.0).await.map_err(io::Error::other)
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*handle {
            return Ok(handle.clone());
        }
        let runtime = Builder::new_current_thread().build()?;
        let new = handle.insert(runtime.handle().clone()).clone();
        let started = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || runtime.block_on(pending::<()>()));
        if let Err(error) = started {
            *handle = None;
            return Err(error);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn run<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn f97_a_handshake_is_polled_on_its_own_thread_and_others_go_on_meanwhile() {
        let here = thread::current().id();
        let (go_on, wait) = mpsc::sync_channel::<()>(0);
        let there = run(async {
            // A step that blocks until the loop has done its own work.
            let signature = PAGE.run(async move {
                wait.recv().unwrap();
                thread::current().id()
            });
            let work = async { go_on.send(()).unwrap() };
            let (there, ()) = tokio::join!(signature, async {
                tokio::task::yield_now().await;
                work.await;
            });
            there.unwrap()
        });
        assert_ne!(there, here);
    }

    #[test]
    fn a_handshake_that_nobody_waits_for_is_given_up() {
        let (alive, ended) = mpsc::sync_channel::<()>(1);
        run(async {
            let never = POOLS.run(async move {
                let _alive = alive;
                pending::<()>().await;
            });
            let is_over = tokio::time::timeout(Duration::from_millis(1), never).await;
            assert!(is_over.is_err());
        });
        assert_eq!(ended.recv(), Err(mpsc::RecvError), "what it held is let go");
    }
}
